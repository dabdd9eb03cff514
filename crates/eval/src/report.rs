//! All metrics of one prediction file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::bootstrap::Interval;
use crate::judge::{self, JudgeCounts};
use crate::score::{EvalOptions, Outcome, Removed, score};
use crate::{DocumentSums, Error, Scored, TrainingSet};

/// Cut-offs for which recall among the candidates is reported, as far as the file's candidate lists reach.
pub const RECALL_CUTOFFS: [u32; 4] = [2, 5, 10, 20];

/// Recall of one part of the mentions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stratum {
    /// Mentions.
    pub rows: usize,
    /// Right answers.
    pub correct: usize,
    /// `correct / rows`, from 0 to 1; 0 for an empty stratum.
    pub recall_at_1: f64,
    /// 95 % interval, document-level bootstrap.
    pub ci95: Interval,
}

/// The metrics of one prediction file; serialised, it is the object that `eval --json` prints.
///
/// Fractions are between 0 and 1. Keys may be added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Mentions scored.
    pub rows: usize,
    /// Right answers.
    pub correct: usize,
    /// `correct / rows`.
    pub recall_at_1: f64,
    /// 95 % interval, document-level bootstrap.
    pub ci95: Interval,
    /// Mentions none of whose gold alternatives is fully in the KB; `null` without a KB.
    pub gold_not_in_kb: Option<usize>,
    /// By semantic group (the label column).
    pub by_group: BTreeMap<String, Stratum>,
    /// Gold concept occurs in the training data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen: Option<Stratum>,
    /// Gold concept does not occur in the training data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unseen: Option<Stratum>,
    /// Mention string (case-sensitive) occurs in the training data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen_mention: Option<Stratum>,
    /// Mention string does not occur in the training data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unseen_mention: Option<Stratum>,
    /// Verdicts of a judge, where the file has them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub judge: Option<JudgeCounts>,
    /// Share of mentions with a right answer among the first k candidates, by k; empty without candidates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub recall_at: BTreeMap<u32, f64>,
    /// Documents with a scored mention.
    pub documents: usize,
    /// Rows that were not scored.
    pub removed: Removed,
    /// The rules that were applied.
    pub options: EvalOptions,
}

/// Scores `predictions` and computes every metric.
///
/// # Errors
/// [`Error::NothingToScore`], [`Error::NoReplicates`], and those of the judge column.
pub fn evaluate(
    predictions: &[Prediction],
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<EvalReport, Error> {
    score(predictions, training, kb, options)?.report(options)
}

impl Scored<'_> {
    /// Sums of the mentions that `keep` selects, per document.
    pub fn sums(&self, keep: impl Fn(&Outcome) -> bool) -> DocumentSums {
        let rows = self
            .outcomes
            .iter()
            .filter(|o| keep(o))
            .map(|o| (o.document, o.correct));
        DocumentSums::from_rows(self.documents.len(), rows)
    }

    /// Every metric of these verdicts.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn report(&self, options: &EvalOptions) -> Result<EvalReport, Error> {
        let groups = self.group_names();
        let mut sums = vec![
            self.sums(|_| true),
            self.sums(|o| o.seen == Some(true)),
            self.sums(|o| o.seen == Some(false)),
            self.sums(|o| o.seen_mention == Some(true)),
            self.sums(|o| o.seen_mention == Some(false)),
        ];
        let fixed = sums.len();
        sums.extend(
            groups
                .iter()
                .map(|group| self.sums(|o| self.predictions[o.row].label == *group)),
        );
        let intervals = options.bootstrap.intervals(self.documents.len(), &sums)?;
        let mut strata = sums
            .iter()
            .zip(intervals)
            .map(|(sums, ci95)| Stratum::new(sums, ci95))
            .collect::<Vec<_>>();
        let by_group = groups
            .iter()
            .map(|g| (*g).to_owned())
            .zip(strata.drain(fixed..))
            .collect();
        let trained = self.outcomes[0].seen.is_some();
        let stratum = |index: usize| trained.then(|| strata[index].clone());
        Ok(EvalReport {
            rows: strata[0].rows,
            correct: strata[0].correct,
            recall_at_1: strata[0].recall_at_1,
            ci95: strata[0].ci95,
            gold_not_in_kb: self.gold_not_in_kb(),
            by_group,
            seen: stratum(1),
            unseen: stratum(2),
            seen_mention: stratum(3),
            unseen_mention: stratum(4),
            judge: judge::count(self, options.judge_column.as_deref())?,
            recall_at: self.recall_at(),
            documents: self.documents.len(),
            removed: self.removed,
            options: options.clone(),
        })
    }

    fn group_names(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self
            .outcomes
            .iter()
            .map(|o| self.predictions[o.row].label.as_str())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn gold_not_in_kb(&self) -> Option<usize> {
        self.outcomes
            .iter()
            .map(|o| o.missing_from_kb.map(usize::from))
            .sum()
    }

    fn recall_at(&self) -> BTreeMap<u32, f64> {
        let longest = self
            .outcomes
            .iter()
            .map(|o| self.predictions[o.row].candidates.len())
            .max()
            .unwrap_or(0);
        let within = |k: u32| {
            self.outcomes
                .iter()
                .filter(|o| o.first_right.is_some_and(|rank| rank <= k))
                .count()
        };
        RECALL_CUTOFFS
            .into_iter()
            .filter(|k| *k as usize <= longest)
            .map(|k| (k, within(k) as f64 / self.outcomes.len() as f64))
            .collect()
    }
}

impl Stratum {
    fn new(sums: &DocumentSums, ci95: Interval) -> Self {
        let (rows, correct) = (sums.rows(), sums.correct());
        let recall_at_1 = if rows == 0 {
            0.0
        } else {
            correct as f64 / rows as f64
        };
        Stratum {
            rows,
            correct,
            recall_at_1,
            ci95,
        }
    }
}

/// A table for people, in percent with one decimal, as the paper prints its scores.
impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overall = Stratum {
            rows: self.rows,
            correct: self.correct,
            recall_at_1: self.recall_at_1,
            ci95: self.ci95,
        };
        let mut lines = vec![("all", &overall)];
        let strata = [
            ("seen concepts", &self.seen),
            ("unseen concepts", &self.unseen),
            ("seen mention strings", &self.seen_mention),
            ("unseen mention strings", &self.unseen_mention),
        ];
        lines.extend(
            strata
                .into_iter()
                .filter_map(|(name, stratum)| Some((name, stratum.as_ref()?))),
        );
        lines.extend(
            self.by_group
                .iter()
                .map(|(name, stratum)| (name.as_str(), stratum)),
        );
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
            let [low, high] = s.ci95.map(|end| end * 100.0);
            let recall = s.recall_at_1 * 100.0;
            writeln!(
                f,
                "{name:width$}  {:>8}  {:>8}  {recall:>7.1}%   {low:.1} to {high:.1}",
                s.rows, s.correct
            )?;
        }
        for (k, recall) in &self.recall_at {
            writeln!(
                f,
                "right answer among the first {k} candidates: {:.1}%",
                recall * 100.0
            )?;
        }
        if let Some(missing) = self.gold_not_in_kb {
            writeln!(
                f,
                "gold codes that the KB does not have: {missing} of {} mentions",
                self.rows
            )?;
        }
        if let Some(judge) = &self.judge {
            let share = |count: usize| format!("{:.1}%", count as f64 * 100.0 / self.rows as f64);
            write!(
                f,
                "judge ({}): clinically valid {}, ",
                judge.column,
                share(judge.correct)
            )?;
            write!(
                f,
                "strict {}, exact {}, ",
                share(judge.strict),
                share(judge.exact)
            )?;
            write!(
                f,
                "partial {}, broad {}, ",
                share(judge.partial),
                share(judge.broad)
            )?;
            writeln!(
                f,
                "narrow {}, no relation {}",
                share(judge.narrow),
                share(judge.no_relation)
            )?;
        }
        let Removed {
            duplicates,
            no_code,
        } = self.removed;
        writeln!(
            f,
            "{} documents; left out: {duplicates} duplicates, {no_code} with gold NO_CODE",
            self.documents
        )
    }
}
