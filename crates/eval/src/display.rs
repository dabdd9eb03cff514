//! A report as text for people at a terminal.

use std::fmt;

use crate::EvalReport;
use crate::cells::percent;
use crate::score::Removed;

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
