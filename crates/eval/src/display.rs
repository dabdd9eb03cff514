//! A report as a table for people, in percent with one decimal, as the paper prints its scores.

use std::fmt;

use crate::score::Removed;
use crate::tables::Table;
use crate::{Error, EvalReport, Stratum};

impl EvalReport {
    /// Every stratum as a line: part, mentions, right answers, recall in percent, interval.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn table(&self, title: &str) -> Result<Table, Error> {
        let columns = [
            "mentions of",
            "mentions",
            "right",
            "recall@1, %",
            "95 % interval",
        ];
        let mut table = Table::new(title, columns.map(String::from).to_vec());
        for (name, stratum) in self.lines() {
            let [low, high] = stratum.ci95.map(percent);
            table.push(vec![
                name,
                stratum.rows.to_string(),
                stratum.correct.to_string(),
                percent(stratum.recall_at_1),
                format!("{low} to {high}"),
            ])?;
        }
        Ok(table)
    }

    /// Thresholds of every score column.
    ///
    /// # Errors
    /// As [`EvalReport::table`].
    pub fn threshold_table(&self) -> Result<Table, Error> {
        let columns = [
            "score",
            "threshold",
            "kept",
            "precision, %",
            "recall, %",
            "F1, %",
            "F1 95 %",
        ];
        let mut table = Table::new("Thresholds", columns.map(String::from).to_vec());
        for (column, point) in self
            .scores
            .iter()
            .flat_map(|s| s.thresholds.iter().map(|p| (s.column.as_str(), p)))
        {
            let [low, high] = point.f1_ci95.map(percent);
            table.push(vec![
                column.to_owned(),
                point.threshold.to_string(),
                point.kept.to_string(),
                percent(point.precision),
                percent(point.recall),
                percent(point.f1),
                format!("{low} to {high}"),
            ])?;
        }
        Ok(table)
    }

    fn lines(&self) -> Vec<(String, Stratum)> {
        let overall = Stratum {
            rows: self.rows,
            correct: self.correct,
            recall_at_1: self.recall_at_1,
            ci95: self.ci95,
        };
        let mut lines = vec![("all".to_owned(), overall)];
        let groups = self.by_group.iter();
        lines.extend(groups.map(|(name, stratum)| (name.clone(), stratum.clone())));
        for (partition, parts) in &self.strata {
            let name = partition.replace('_', " ");
            lines.extend(
                parts
                    .iter()
                    .map(|(part, stratum)| (format!("{name}: {part}"), stratum.clone())),
            );
        }
        lines
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.1}", 100.0 * fraction)
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let width = lines
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        writeln!(
            f,
            "{:width$}  {:>8}  {:>8}  {:>8}   95 % interval",
            "", "mentions", "right", "recall@1"
        )?;
        for (name, s) in lines {
            let [low, high] = s.ci95.map(percent);
            writeln!(
                f,
                "{name:width$}  {:>8}  {:>8}  {:>7}%   {low} to {high}",
                s.rows,
                s.correct,
                percent(s.recall_at_1)
            )?;
        }
        for (k, recall) in &self.recall_at {
            writeln!(
                f,
                "right answer among the first {k} candidates: {}%",
                percent(*recall)
            )?;
        }
        if let Some(missing) = self.gold_not_in_kb {
            writeln!(
                f,
                "gold codes that the KB does not have: {missing} of {} mentions",
                self.rows
            )?;
        }
        self.write_judge(f)?;
        self.write_scores(f)?;
        if self.tied > 0 {
            let policy = format!("{:?}", self.options.ties).to_lowercase();
            writeln!(
                f,
                "answers of several concepts: {} (policy {policy})",
                self.tied
            )?;
        }
        let Removed {
            duplicates,
            no_code,
            no_gold,
        } = self.removed;
        writeln!(
            f,
            "{} documents; left out: {duplicates} duplicates, {no_code} with gold NO_CODE, {no_gold} without gold",
            self.documents
        )
    }
}

impl EvalReport {
    fn write_judge(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(judge) = &self.judge else {
            return Ok(());
        };
        let share = |count: usize| format!("{}%", percent(count as f64 / self.rows as f64));
        writeln!(
            f,
            "judge ({}): clinically valid {}, strict {}, exact {}, partial {}, broad {}, narrow {}, no relation {}",
            judge.column,
            share(judge.correct),
            share(judge.strict),
            share(judge.exact),
            share(judge.partial),
            share(judge.broad),
            share(judge.narrow),
            share(judge.no_relation)
        )
    }

    fn write_scores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for s in &self.scores {
            write!(
                f,
                "{}: best F1 {}% at {:.3}, risk-coverage area {:.3} (perfect ranking {:.3})",
                s.column,
                percent(s.best_f1.f1),
                s.best_f1.threshold,
                s.aurc,
                s.aurc_optimal
            )?;
            if let Some(c) = &s.calibration {
                write!(f, ", calibration error {:.3}", c.ece)?;
            }
            if s.zeros + s.missing > 0 {
                write!(f, "; {} zero, {} missing", s.zeros, s.missing)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
