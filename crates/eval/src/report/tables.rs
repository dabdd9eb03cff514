//! Everything that a report holds, as tables.

use serde::Serialize;

use super::{EvalReport, JUDGE_RATES, Stratum};
use crate::Error;
use crate::cells::{percent, percent_interval};
use crate::strata::PARTITIONS;
use crate::tables::Table;

impl EvalReport {
    /// All tables that have a row, by the stem of their file.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn tables(&self) -> Result<Vec<(&'static str, Table)>, Error> {
        let mut tables = vec![
            ("overview", self.overview_table()?),
            ("recall_at_k", self.recall_table()?),
            ("strata", self.table("Recall@1 by stratum")?),
            ("judge", self.judge_table()?),
            ("scores", self.score_table()?),
            ("calibration_bins", self.bin_table()?),
            ("thresholds", self.threshold_table()?),
            ("risk_coverage", self.risk_table()?),
        ];
        tables.retain(|(_, table)| !table.rows().is_empty());
        Ok(tables)
    }

    /// What was scored, and by which rules.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn overview_table(&self) -> Result<Table, Error> {
        let options = &self.options;
        let mut table = Table::of("What was scored", &["what", "value"]);
        let lines = [
            ("mentions", self.rows.to_string()),
            ("documents", self.documents.to_string()),
            ("right answers", self.correct.to_string()),
            ("recall@1, %", percent(self.recall_at_1)),
            ("recall@1, 95 % interval", percent_interval(self.ci95)),
            ("answers of several concepts", self.tied.to_string()),
            (
                "gold codes that the KB does not have",
                self.gold_not_in_kb
                    .map_or("not known".to_owned(), |n| n.to_string()),
            ),
            (
                "left out: repeated rows",
                self.removed.duplicates.to_string(),
            ),
            (
                "left out: gold holds NO_CODE",
                self.removed.no_code.to_string(),
            ),
            ("left out: no gold", self.removed.no_gold.to_string()),
            ("rule for composites", setting(&options.composite)),
            ("rule for ties", setting(&options.ties)),
            ("rule for seen concepts", setting(&options.seen)),
            (
                "bootstrap replicates",
                options.bootstrap.replicates.to_string(),
            ),
            ("bootstrap seed", options.bootstrap.seed.to_string()),
        ];
        for (what, value) in lines {
            table.push(vec![what.to_owned(), value])?;
        }
        Ok(table)
    }

    /// Recall among the first k answers, k = 1 first.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn recall_table(&self) -> Result<Table, Error> {
        let columns = ["k", "mentions", "recall@k, %", "95 % interval"];
        let mut table = Table::of("Right answer among the first k", &columns);
        for (k, recall, ci95) in self.recall_curve() {
            table.push(vec![
                k.to_string(),
                self.rows.to_string(),
                percent(recall),
                percent_interval(ci95),
            ])?;
        }
        Ok(table)
    }

    /// k, recall@k as a fraction and its 95 % interval, k = 1 first.
    pub fn recall_curve(&self) -> Vec<(u32, f64, crate::Interval)> {
        let mut points = vec![(1, self.recall_at_1, self.ci95)];
        points.extend(self.recall_at.iter().filter_map(|(k, recall)| {
            let ci95 = self.recall_at_ci95.get(k)?;
            Some((*k, *recall, *ci95))
        }));
        points
    }

    /// Every stratum as a line: part, mentions, right answers, recall in percent, interval.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn table(&self, title: &str) -> Result<Table, Error> {
        let columns = [
            "mentions of",
            "mentions",
            "right",
            "recall@1, %",
            "95 % interval",
        ];
        let mut table = Table::of(title, &columns);
        for (name, stratum) in self.lines() {
            table.push(vec![
                name,
                stratum.rows.to_string(),
                stratum.correct.to_string(),
                percent(stratum.recall_at_1),
                percent_interval(stratum.ci95),
            ])?;
        }
        Ok(table)
    }

    /// The judge's verdicts and the rates that follow from them; without rows where there was no judge.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn judge_table(&self) -> Result<Table, Error> {
        let columns = ["rate", "verdicts", "mentions", "share, %", "95 % interval"];
        let Some(judge) = &self.judge else {
            return Ok(Table::of("The judge's rates", &columns));
        };
        let title = format!("The judge's rates, column {}", judge.column);
        let mut table = Table::of(&title, &columns);
        for name in JUDGE_RATES {
            let Some(rate) = self.judge_rates.get(name) else {
                continue;
            };
            let (verdicts, count) = match name {
                "strict" => ("STRICT", judge.strict),
                "exact" => ("EXACT", judge.exact),
                "correct" => ("codes equal, or EXACT", judge.correct),
                "broad" => ("BROAD or PARTIAL", judge.broad + judge.partial),
                "narrow" => ("NARROW", judge.narrow),
                _ => ("NO_RELATION", judge.no_relation),
            };
            table.push(vec![
                name.replace('_', " "),
                verdicts.to_owned(),
                count.to_string(),
                percent(rate.rate),
                percent_interval(rate.ci95),
            ])?;
        }
        if judge.unlabelled > 0 {
            table.push(vec![
                "no verdict".to_owned(),
                "empty".to_owned(),
                judge.unlabelled.to_string(),
                percent(judge.unlabelled as f64 / self.rows as f64),
                String::new(),
            ])?;
        }
        Ok(table)
    }

    /// What each score column is worth: as a probability, and for ranking.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn score_table(&self) -> Result<Table, Error> {
        let columns = [
            "score",
            "scored",
            "missing",
            "zero",
            "ECE",
            "largest bin error",
            "Brier score",
            "risk-coverage area",
            "area of a perfect ranking",
            "best F1, %",
            "at threshold",
        ];
        let mut table = Table::of("Calibration and ranking by score column", &columns);
        for s in &self.scores {
            let of = |value: fn(&crate::confidence::Calibration) -> f64| match &s.calibration {
                Some(calibration) => format!("{:.3}", value(calibration)),
                None => "not a probability".to_owned(),
            };
            table.push(vec![
                s.column.clone(),
                s.scored.to_string(),
                s.missing.to_string(),
                s.zeros.to_string(),
                of(|c| c.ece),
                of(|c| c.mce),
                of(|c| c.brier),
                format!("{:.3}", s.aurc),
                format!("{:.3}", s.aurc_optimal),
                percent(s.best_f1.f1),
                format!("{:.3}", s.best_f1.threshold),
            ])?;
        }
        Ok(table)
    }

    /// The bins of the reliability diagrams that hold a mention.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn bin_table(&self) -> Result<Table, Error> {
        let columns = [
            "score",
            "from",
            "to",
            "mentions",
            "mean score, %",
            "right, %",
            "distance, points",
        ];
        let mut table = Table::of("Bins of the reliability diagrams", &columns);
        let calibrations = self
            .scores
            .iter()
            .filter_map(|s| Some((&s.column, s.calibration.as_ref()?)));
        for (column, bin) in
            calibrations.flat_map(|(column, c)| c.bins.iter().map(move |bin| (column, bin)))
        {
            if bin.rows > 0 {
                table.push(vec![
                    column.clone(),
                    format!("{:.1}", bin.lower),
                    format!("{:.1}", bin.upper),
                    bin.rows.to_string(),
                    percent(bin.mean_score),
                    percent(bin.accuracy),
                    percent((bin.mean_score - bin.accuracy).abs()),
                ])?;
            }
        }
        Ok(table)
    }

    /// Thresholds of every score column.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn threshold_table(&self) -> Result<Table, Error> {
        let columns = [
            "score",
            "threshold",
            "kept",
            "precision, %",
            "precision 95 %",
            "recall, %",
            "recall 95 %",
            "F1, %",
            "F1 95 %",
        ];
        let mut table = Table::of("Thresholds", &columns);
        for (column, point) in self
            .scores
            .iter()
            .flat_map(|s| s.thresholds.iter().map(|p| (s.column.as_str(), p)))
        {
            table.push(vec![
                column.to_owned(),
                point.threshold.to_string(),
                point.kept.to_string(),
                percent(point.precision),
                percent_interval(point.precision_ci95),
                percent(point.recall),
                percent_interval(point.recall_ci95),
                percent(point.f1),
                percent_interval(point.f1_ci95),
            ])?;
        }
        Ok(table)
    }

    /// The risk-coverage curves.
    ///
    /// # Errors
    /// As [`EvalReport::tables`].
    pub fn risk_table(&self) -> Result<Table, Error> {
        let columns = ["score", "answered, %", "wrong among them, %"];
        let mut table = Table::of("Risk by coverage, highest scores first", &columns);
        for s in &self.scores {
            for point in &s.risk_coverage {
                table.push(vec![
                    s.column.clone(),
                    percent(point.coverage),
                    percent(point.risk),
                ])?;
            }
        }
        Ok(table)
    }

    /// All mentions, then every group, then every part of every partition, each with the name that tables print.
    pub(crate) fn lines(&self) -> Vec<(String, Stratum)> {
        let overall = Stratum {
            rows: self.rows,
            correct: self.correct,
            recall_at_1: self.recall_at_1,
            ci95: self.ci95,
        };
        let mut lines = vec![("all".to_owned(), overall)];
        let groups = self.by_group.iter();
        lines.extend(groups.map(|(name, stratum)| (name.clone(), stratum.clone())));
        for partition in &PARTITIONS {
            let Some(of) = self.strata.get(partition.name) else {
                continue;
            };
            let parts = partition.parts.iter();
            lines.extend(parts.filter_map(|part| {
                let stratum = of.get(*part)?;
                let name = format!("{}: {part}", partition.name).replace('_', " ");
                Some((name, stratum.clone()))
            }));
        }
        lines
    }
}

/// A rule as configurations and the command line name it.
fn setting(rule: &impl Serialize) -> String {
    let text = serde_json::to_string(rule).unwrap_or_default();
    text.trim_matches('"').replace('_', " ")
}
