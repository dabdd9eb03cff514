//! All metrics of one prediction file.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::bootstrap::{Interval, Ratio, Sums};
use crate::confidence::{self, ScoreReport, THRESHOLDS, ThresholdPoint};
use crate::judge::{self, JudgeCounts, Label};
use crate::score::{EvalOptions, Outcome, Removed, score};
use crate::strata::{PARTITIONS, SEEN};
use crate::{Error, Scored, TrainingSet};

/// Cut-offs for which recall among the candidates is reported where [`EvalOptions::recall_at`] says nothing else.
pub const RECALL_CUTOFFS: [u32; 4] = [2, 5, 10, 20];

/// Recall of one part of the mentions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stratum {
    /// Mentions.
    pub rows: usize,
    /// Right answers.
    pub correct: usize,
    /// Sum of credits over `rows` (`correct / rows` unless ties earn a part), from 0 to 1; 0 for an empty stratum.
    pub recall_at_1: f64,
    /// 95 % interval, document-level bootstrap.
    pub ci95: Interval,
}

/// A share of the mentions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// From 0 to 1.
    pub rate: f64,
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
    /// Sum of credits over `rows`: `correct / rows` unless ties earn a part.
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
    /// Shares that follow from the verdicts, over all mentions: `strict`, `exact`, `correct` (codes equal or judged EXACT),
    /// `broad` (with PARTIAL), `narrow`, `no_relation`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub judge_rates: BTreeMap<String, Rate>,
    /// Share of mentions with a right answer among the first k candidates, by k; empty without candidates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub recall_at: BTreeMap<u32, f64>,
    /// 95 % intervals of `recall_at`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub recall_at_ci95: BTreeMap<u32, Interval>,
    /// Every partition of [`crate::strata`] and its parts that have mentions.
    #[serde(default)]
    pub strata: BTreeMap<String, BTreeMap<String, Stratum>>,
    /// Thresholds, risk-coverage and calibration of each score column that holds numbers.
    #[serde(default)]
    pub scores: Vec<ScoreReport>,
    /// Answers that name several concepts.
    #[serde(default)]
    pub tied: usize,
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

/// Names of the derived rates, in the order of their columns.
pub const JUDGE_RATES: [&str; 6] = [
    "strict",
    "exact",
    "correct",
    "broad",
    "narrow",
    "no_relation",
];

/// Where each metric's sums stand in the bootstrap's table. Column 0 counts mentions.
struct Layout {
    columns: usize,
    /// Mentions and, in the next column, credits of the strata: groups first, then the parts of each partition.
    strata: Vec<[usize; 2]>,
    cutoffs: Vec<(u32, usize)>,
    judge: Option<usize>,
    /// Score columns, and where the kept rows and their credit stand for each of [`THRESHOLDS`].
    thresholds: Vec<(usize, [[usize; 2]; THRESHOLDS.len()])>,
}

const ALL: usize = 0;
const CREDIT: usize = 1;

impl Layout {
    fn new(scored: &Scored, recall_at: &[u32]) -> Self {
        let mut columns = 2;
        let mut take = |count: usize| {
            columns += count;
            columns - count
        };
        let parts: usize = PARTITIONS.iter().map(|p| p.parts.len()).sum();
        let mut pair = || {
            let first = take(2);
            [first, first + 1]
        };
        let strata = (0..scored.groups.len() + parts).map(|_| pair()).collect();
        let score_columns = confidence::columns_present(&scored.outcomes);
        let thresholds = score_columns
            .into_iter()
            .map(|column| (column, THRESHOLDS.map(|_| pair())))
            .collect();
        let longest = scored
            .outcomes
            .iter()
            .map(|o| o.candidates)
            .max()
            .unwrap_or(0);
        // Recall@1 is the credit of the answers themselves.
        let asked: BTreeSet<u32> = recall_at.iter().copied().filter(|k| *k > 1).collect();
        let cutoffs = asked
            .into_iter()
            .filter(|k| *k <= longest)
            .map(|k| (k, take(1)))
            .collect();
        let judge = scored
            .judge_column
            .as_ref()
            .map(|_| take(JUDGE_RATES.len()));
        Layout {
            columns,
            strata,
            cutoffs,
            judge,
            thresholds,
        }
    }

    fn tally(&self, scored: &Scored) -> Tally {
        let mut sums = Sums::new(scored.documents.len(), self.columns);
        let mut full = vec![0; self.strata.len()];
        let mut full_kept = vec![[0; THRESHOLDS.len()]; self.thresholds.len()];
        let (mut correct, mut tied) = (0, 0);
        for outcome in &scored.outcomes {
            correct += usize::from(outcome.correct);
            tied += usize::from(outcome.tied);
            let mut row = sums.row(outcome.document);
            row.add_pair(ALL, outcome.credit);
            let mut add_stratum = |stratum: usize| {
                row.add_pair(self.strata[stratum][0], outcome.credit);
                full[stratum] += usize::from(outcome.correct);
            };
            add_stratum(outcome.group as usize);
            let mut first = scored.groups.len();
            for partition in &PARTITIONS {
                if let Some(part) = (partition.part)(outcome) {
                    add_stratum(first + part);
                }
                first += partition.parts.len();
            }
            for ((column, thresholds), full) in self.thresholds.iter().zip(&mut full_kept) {
                // Only the highest that keeps it; what lower ones keep is added up below.
                let keeping = confidence::keeping(outcome.scores[*column]);
                if let Some(highest) = keeping.checked_sub(1) {
                    row.add_pair(thresholds[highest][0], outcome.credit);
                    full[highest] += usize::from(outcome.correct);
                }
            }
            for &(k, column) in &self.cutoffs {
                let right = outcome.first_right.is_some_and(|rank| rank <= k);
                row.add(column, f64::from(u8::from(right)));
            }
            if let Some(first) = self.judge {
                for (rate, holds) in judge_rates(outcome).into_iter().enumerate() {
                    row.add(first + rate, f64::from(u8::from(holds)));
                }
            }
        }
        for full in &mut full_kept {
            for index in (1..full.len()).rev() {
                full[index - 1] += full[index];
            }
        }
        for (_, thresholds) in &self.thresholds {
            for index in (1..thresholds.len()).rev() {
                for (low, high) in thresholds[index - 1].into_iter().zip(thresholds[index]) {
                    sums.add_column(low, high);
                }
            }
        }
        Tally {
            sums,
            full,
            full_kept,
            correct,
            tied,
        }
    }

    /// All ratios, in the order in which [`Scored::report`] takes their intervals.
    fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = vec![Ratio::new(CREDIT, ALL)];
        ratios.extend(
            self.strata
                .iter()
                .map(|[rows, credit]| Ratio::new(*credit, *rows)),
        );
        ratios.extend(
            self.cutoffs
                .iter()
                .map(|(_, column)| Ratio::new(*column, ALL)),
        );
        if let Some(first) = self.judge {
            ratios.extend((0..JUDGE_RATES.len()).map(|rate| Ratio::new(first + rate, ALL)));
        }
        for columns in self.thresholds.iter().flat_map(|(_, columns)| columns) {
            ratios.extend(threshold_ratios(*columns));
        }
        ratios
    }
}

/// What one pass over the mentions adds up.
struct Tally {
    sums: Sums,
    /// Answers with full credit, by stratum.
    full: Vec<usize>,
    /// Answers with full credit that each threshold keeps, by score column.
    full_kept: Vec<[usize; THRESHOLDS.len()]>,
    correct: usize,
    tied: usize,
}

/// Precision, recall and F1 of what a threshold keeps.
fn threshold_ratios([kept, credit]: [usize; 2]) -> [Ratio; 3] {
    let f1 = Ratio {
        factor: 2.0,
        and: Some(kept),
        ..Ratio::new(credit, ALL)
    };
    [Ratio::new(credit, kept), Ratio::new(credit, ALL), f1]
}

/// Which of [`JUDGE_RATES`] a mention counts for.
fn judge_rates(outcome: &Outcome) -> [bool; 6] {
    let label = outcome.label;
    [
        label == Some(Label::Strict),
        label == Some(Label::Exact),
        outcome.correct || label == Some(Label::Exact),
        matches!(label, Some(Label::Broad | Label::Partial)),
        label == Some(Label::Narrow),
        label == Some(Label::NoRelation),
    ]
}

impl Scored {
    /// Every metric of these verdicts.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn report(&self, options: &EvalOptions) -> Result<EvalReport, Error> {
        let layout = Layout::new(self, &options.recall_at);
        let (tally, scores) = rayon::join(
            || layout.tally(self),
            || {
                let columns = layout.thresholds.par_iter();
                columns
                    .map(|(column, _)| ScoreReport::new(&self.outcomes, *column))
                    .collect()
            },
        );
        let sums = &tally.sums;
        let intervals = options.bootstrap.ratio_intervals(sums, &layout.ratios())?;
        let mut intervals = intervals.into_iter();
        let mut next = || intervals.next().unwrap_or_default();
        let overall = next();
        let mut strata = layout
            .strata
            .iter()
            .zip(&tally.full)
            .map(|([rows, credit], correct)| Stratum {
                rows: sums.total(*rows) as usize,
                correct: *correct,
                recall_at_1: sums.ratio(Ratio::new(*credit, *rows)),
                ci95: next(),
            });
        let by_group: BTreeMap<String, Stratum> = self
            .groups
            .iter()
            .map(|group| (group.clone(), strata.next().unwrap_or_default()))
            .collect();
        let parts: Vec<Stratum> = strata.collect();
        let [seen, unseen, seen_mention, unseen_mention] = self.seen_and_unseen(&parts);
        let mut recall_at = BTreeMap::new();
        let mut recall_at_ci95 = BTreeMap::new();
        for &(k, column) in &layout.cutoffs {
            recall_at.insert(k, sums.ratio(Ratio::new(column, ALL)));
            recall_at_ci95.insert(k, next());
        }
        let mut judge_rates = BTreeMap::new();
        if let Some(first) = layout.judge {
            for (index, name) in JUDGE_RATES.into_iter().enumerate() {
                let rate = sums.ratio(Ratio::new(first + index, ALL));
                judge_rates.insert(name.to_owned(), Rate { rate, ci95: next() });
            }
        }
        let scores = with_thresholds(scores, &layout, &tally, next);
        Ok(EvalReport {
            rows: self.outcomes.len(),
            correct: tally.correct,
            recall_at_1: sums.ratio(Ratio::new(CREDIT, ALL)),
            ci95: overall,
            gold_not_in_kb: self.gold_not_in_kb(),
            by_group,
            seen,
            unseen,
            seen_mention,
            unseen_mention,
            judge: judge::count(self),
            judge_rates,
            recall_at,
            recall_at_ci95,
            strata: named(parts),
            scores,
            tied: tally.tied,
            documents: self.documents.len(),
            removed: self.removed,
            options: options.clone(),
        })
    }

    /// The first two partitions, where there is training data.
    fn seen_and_unseen(&self, parts: &[Stratum]) -> [Option<Stratum>; 4] {
        let trained = self.outcomes[0].seen.is_some();
        [0, 1, SEEN.len(), SEEN.len() + 1].map(|part| trained.then(|| parts[part].clone()))
    }

    fn gold_not_in_kb(&self) -> Option<usize> {
        self.outcomes
            .iter()
            .map(|o| o.missing_from_kb.map(usize::from))
            .sum()
    }
}

/// The reports with what their thresholds keep; `next` gives the intervals of [`threshold_ratios`] in order.
fn with_thresholds(
    mut reports: Vec<ScoreReport>,
    layout: &Layout,
    tally: &Tally,
    mut next: impl FnMut() -> Interval,
) -> Vec<ScoreReport> {
    let columns = layout.thresholds.iter().zip(&tally.full_kept);
    for (report, ((_, thresholds), full)) in reports.iter_mut().zip(columns) {
        for ((columns, threshold), &correct) in thresholds.iter().zip(THRESHOLDS).zip(full) {
            let [precision, recall, f1] = threshold_ratios(*columns).map(|r| tally.sums.ratio(r));
            report.thresholds.push(ThresholdPoint {
                threshold,
                kept: tally.sums.total(columns[0]) as usize,
                correct,
                precision,
                precision_ci95: next(),
                recall,
                recall_ci95: next(),
                f1,
                f1_ci95: next(),
            });
        }
    }
    reports
}

/// Strata by partition and part, those without mentions left out.
fn named(parts: Vec<Stratum>) -> BTreeMap<String, BTreeMap<String, Stratum>> {
    let mut parts = parts.into_iter();
    let mut strata: BTreeMap<String, BTreeMap<String, Stratum>> = BTreeMap::new();
    for partition in &PARTITIONS {
        for (part, stratum) in partition.parts.iter().zip(parts.by_ref()) {
            if stratum.rows > 0 {
                let of_partition = strata.entry(partition.name.to_owned()).or_default();
                of_partition.insert((*part).to_owned(), stratum);
            }
        }
    }
    strata
}
