//! Is a score worth something? Thresholds, risk against coverage, calibration.
//!
//! Rows without a score are never kept by a threshold, come last when mentions are ranked, and are left out of the
//! calibration. Rows of equal score cannot be told apart, so a measure that ranks takes them together: nothing here
//! depends on the order of the rows.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::Interval;
use crate::score::{Outcome, SCORE_COLUMNS};

/// Thresholds that are reported.
pub const THRESHOLDS: [f64; 12] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// Bins of the reliability diagram, of equal width.
pub const CALIBRATION_BINS: usize = 10;

/// Points of the risk-coverage curve, at equal steps of coverage.
const COVERAGE_POINTS: usize = 20;

/// What a score column is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReport {
    /// The column.
    pub column: String,
    /// Mentions with a score.
    pub scored: usize,
    /// Mentions without one.
    pub missing: usize,
    /// Mentions whose score is exactly 0.
    pub zeros: usize,
    /// Precision, recall and F1 of what scores at or above each of [`THRESHOLDS`].
    pub thresholds: Vec<ThresholdPoint>,
    /// The threshold, of all scores that occur, with the highest F1; the lowest of equals.
    pub best_f1: BestThreshold,
    /// Share of wrong answers among the highest-scored mentions, by the share of mentions that is answered.
    pub risk_coverage: Vec<RiskPoint>,
    /// Area under that curve: the mean risk over all coverages. Lower is better; 0 would be no errors at all.
    pub aurc: f64,
    /// Area that a perfect ranking of the same answers would have.
    pub aurc_optimal: f64,
    /// Whether the score is a probability; absent where scores leave the range from 0 to 1.
    pub calibration: Option<Calibration>,
}

/// What a threshold keeps. F1 is `2 × right / (mentions + kept)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThresholdPoint {
    /// Predictions that score at or above are kept.
    pub threshold: f64,
    /// How many that are.
    pub kept: usize,
    /// Right ones among them.
    pub correct: usize,
    /// `correct / kept`; 0 where nothing is kept.
    pub precision: f64,
    /// 95 % interval, document-level bootstrap.
    pub precision_ci95: Interval,
    /// `correct` over all mentions.
    pub recall: f64,
    /// 95 % interval.
    pub recall_ci95: Interval,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// 95 % interval.
    pub f1_ci95: Interval,
}

/// The best threshold. It is chosen on the very mentions it is reported on, so it flatters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestThreshold {
    /// The threshold.
    pub threshold: f64,
    /// Precision there.
    pub precision: f64,
    /// Recall there.
    pub recall: f64,
    /// F1 there.
    pub f1: f64,
}

/// A point of the risk-coverage curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// Share of mentions answered, highest scores first.
    pub coverage: f64,
    /// Share of wrong answers among them.
    pub risk: f64,
}

/// How far a score can be read as the probability of being right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: mean distance of score and accuracy over the bins, weighted by their rows.
    pub ece: f64,
    /// Largest distance in a bin.
    pub mce: f64,
    /// Mean squared distance of score and credit (Brier score).
    pub brier: f64,
    /// The reliability diagram; a score on the border of two bins is in the upper one, 1 in the last.
    pub bins: Vec<CalibrationBin>,
}

/// A bin of the reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower border.
    pub lower: f64,
    /// Upper border.
    pub upper: f64,
    /// Mentions in it.
    pub rows: usize,
    /// Their mean score; 0 without rows.
    pub mean_score: f64,
    /// Their share of right answers; 0 without rows.
    pub accuracy: f64,
}

/// Score columns (by index into [`SCORE_COLUMNS`]) that hold at least one number.
pub(crate) fn columns_present(outcomes: &[Outcome]) -> Vec<usize> {
    let present = |&column: &usize| outcomes.iter().any(|o| o.scores[column].is_finite());
    (0..SCORE_COLUMNS.len())
        .into_par_iter()
        .filter(present)
        .collect()
}

/// How many of the thresholds keep a mention; none does without a score. Thresholds grow, so it is the first so many.
pub(crate) fn keeping(score: f64) -> usize {
    THRESHOLDS.iter().take_while(|t| score >= **t).count()
}

/// Score and credit of a mention.
type Pair = (f64, f64);

impl ScoreReport {
    /// Everything but the thresholds, whose intervals come from the file's bootstrap.
    pub(crate) fn new(outcomes: &[Outcome], column: usize) -> Self {
        let pairs: Vec<Pair> = outcomes
            .iter()
            .map(|o| (o.scores[column], o.credit))
            .collect();
        let known = || pairs.iter().filter(|(score, _)| score.is_finite());
        let scored = known().count();
        let zeros = known().filter(|(score, _)| *score == 0.0).count();
        let calibration = calibration(&pairs);
        let aurc_optimal = optimal(&pairs);
        let blocks = blocks(pairs);
        let (risk_coverage, aurc) = risk_coverage(&blocks, outcomes.len());
        ScoreReport {
            column: SCORE_COLUMNS[column].to_owned(),
            scored,
            missing: outcomes.len() - scored,
            zeros,
            thresholds: Vec::new(),
            best_f1: best_f1(&blocks, outcomes.len()),
            risk_coverage,
            aurc,
            aurc_optimal,
            calibration,
        }
    }
}

/// Mentions of one score: the score, how many, and the credit of their answers.
struct Block {
    score: f64,
    rows: usize,
    credit: f64,
}

/// Blocks of equal score, highest first, missing scores last.
fn blocks(mut rows: Vec<Pair>) -> Vec<Block> {
    for (score, _) in rows.iter_mut().filter(|(score, _)| !score.is_finite()) {
        *score = f64::NEG_INFINITY;
    }
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut blocks: Vec<Block> = Vec::new();
    for (score, credit) in rows {
        match blocks.last_mut() {
            Some(last) if last.score == score => {
                last.rows += 1;
                last.credit += credit;
            }
            _ => blocks.push(Block {
                score,
                rows: 1,
                credit,
            }),
        }
    }
    blocks
}

fn best_f1(blocks: &[Block], all: usize) -> BestThreshold {
    let mut best = BestThreshold {
        threshold: 0.0,
        precision: 0.0,
        recall: 0.0,
        f1: 0.0,
    };
    let (mut kept, mut credit) = (0usize, 0.0);
    for block in blocks.iter().filter(|b| b.score.is_finite()) {
        kept += block.rows;
        credit += block.credit;
        let f1 = 2.0 * credit / (all + kept) as f64;
        if f1 >= best.f1 {
            best = BestThreshold {
                threshold: block.score,
                precision: credit / kept as f64,
                recall: credit / all as f64,
                f1,
            };
        }
    }
    best
}

/// The curve at equal steps and the mean risk over every number of answered mentions. Inside a block of equal scores the
/// errors are spread evenly, which is what a random order gives on average.
fn risk_coverage(blocks: &[Block], all: usize) -> (Vec<RiskPoint>, f64) {
    let mut points = Vec::with_capacity(COVERAGE_POINTS);
    let (mut answered, mut wrong, mut area) = (0usize, 0.0, 0.0);
    for block in blocks {
        let rate = 1.0 - block.credit / block.rows as f64;
        for _ in 0..block.rows {
            answered += 1;
            wrong += rate;
            let risk = wrong / answered as f64;
            area += risk;
            let step = points.len() + 1;
            if step <= COVERAGE_POINTS && answered * COVERAGE_POINTS >= step * all {
                points.push(RiskPoint {
                    coverage: answered as f64 / all as f64,
                    risk,
                });
            }
        }
    }
    (points, area / all as f64)
}

/// The area when every right answer is ranked before every wrong one.
fn optimal(pairs: &[Pair]) -> f64 {
    let mut partial: Vec<f64> = Vec::new();
    let (mut right, mut wrong) = (0usize, 0usize);
    for &(_, credit) in pairs {
        match credit {
            credit if credit >= 1.0 => right += 1,
            credit if credit <= 0.0 => wrong += 1,
            credit => partial.push(credit),
        }
    }
    partial.sort_unstable_by(|a, b| b.total_cmp(a));
    partial.extend(std::iter::repeat_n(0.0, wrong));
    let (mut errors, mut area) = (0.0, 0.0);
    for (index, credit) in partial.iter().enumerate() {
        errors += 1.0 - credit;
        area += errors / (right + index + 1) as f64;
    }
    area / pairs.len() as f64
}

/// Of mentions that have a score.
fn calibration(pairs: &[Pair]) -> Option<Calibration> {
    let pairs = || pairs.iter().filter(|(score, _)| score.is_finite());
    let count = pairs().count();
    if count == 0 || pairs().any(|(score, _)| !(0.0..=1.0).contains(score)) {
        return None;
    }
    let mut sums = [(0usize, 0.0, 0.0); CALIBRATION_BINS];
    let mut brier = 0.0;
    for &(score, credit) in pairs() {
        let bin = ((score * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1);
        sums[bin].0 += 1;
        sums[bin].1 += score;
        sums[bin].2 += credit;
        brier += (score - credit) * (score - credit);
    }
    let border = |bin: usize| bin as f64 / CALIBRATION_BINS as f64;
    let bins: Vec<CalibrationBin> = sums
        .into_iter()
        .enumerate()
        .map(|(bin, (rows, score, credit))| CalibrationBin {
            lower: border(bin),
            upper: border(bin + 1),
            rows,
            mean_score: score / rows.max(1) as f64,
            accuracy: credit / rows.max(1) as f64,
        })
        .collect();
    let gap = |b: &CalibrationBin| (b.mean_score - b.accuracy).abs();
    let n = count as f64;
    Some(Calibration {
        ece: bins.iter().map(|b| gap(b) * b.rows as f64 / n).sum(),
        mce: bins.iter().map(gap).fold(0.0, f64::max),
        brier: brier / n,
        bins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalOptions, score};
    use syncabel_corpus::predictions::Prediction;

    fn report(rows: &[(f64, bool)]) -> ScoreReport {
        let row = |(i, &(score, right)): (usize, &(f64, bool))| Prediction {
            filename: format!("d{i}"),
            code: "A".into(),
            predicted_code: if right { "A" } else { "B" }.into(),
            prediction_score: score,
            prediction_beam_score: f64::NAN,
            ..Prediction::default()
        };
        let rows: Vec<Prediction> = rows.iter().enumerate().map(row).collect();
        let scored = score(&rows, None, None, &EvalOptions::default()).unwrap();
        assert_eq!(columns_present(&scored.outcomes), [0]);
        ScoreReport::new(&scored.outcomes, 0)
    }

    #[test]
    fn calibration_by_hand() {
        let r = report(&[
            (0.95, true),
            (0.95, false),
            (0.25, false),
            (0.0, true),
            (1.0, true),
        ]);
        let c = r.calibration.unwrap();
        assert_eq!((c.bins[9].rows, c.bins[2].rows, c.bins[0].rows), (3, 1, 1));
        let last = (2.9f64 / 3.0 - 2.0 / 3.0).abs();
        assert!((c.ece - (3.0 * last + 0.25 + 1.0) / 5.0).abs() < 1e-12);
        assert_eq!(c.mce, 1.0);
        assert_eq!(r.zeros, 1);
    }

    #[test]
    fn risk_coverage_ranks_and_spreads_ties() {
        // Best first: right, then two of equal score of which one is wrong, then one without a score, wrong.
        let r = report(&[(0.5, true), (f64::NAN, false), (0.9, true), (0.5, false)]);
        let expected = [0.0, 0.25, 1.0 / 3.0, 0.5];
        assert!((r.aurc - expected.iter().sum::<f64>() / 4.0).abs() < 1e-12);
        assert!((r.aurc_optimal - (1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-12);
        let last = r.risk_coverage.last().unwrap();
        assert_eq!((last.coverage, last.risk), (1.0, 0.5));
        assert_eq!((r.scored, r.missing), (3, 1));
    }

    #[test]
    fn the_best_threshold_is_found_among_all_scores() {
        let r = report(&[(0.9, true), (0.8, true), (0.3, false), (0.1, false)]);
        assert_eq!((r.best_f1.threshold, r.best_f1.precision), (0.8, 1.0));
        assert!((r.best_f1.f1 - 4.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn scores_outside_the_range_have_no_calibration() {
        assert_eq!(report(&[(-3.0, true), (0.5, false)]).calibration, None);
    }
}
