//! How sure: from scores to probabilities.
//!
//! A score says which candidate is better, not how often such a candidate is right. The *share* of a concept is what its
//! names hold of the candidates' probability: softmax over the candidates' log-scores, summed by code. On predictions whose
//! gold is known, and that were not trained on, a fit turns shares into probabilities; the two usual ways are offered.

use serde::{Deserialize, Serialize};
use syncabel_corpus::Gold;
use syncabel_corpus::predictions::{Candidate, Prediction};

use crate::Error;

/// From the share of the predicted concept among the candidates to the probability that it is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Calibration {
    /// Log-scores are divided by one number before the softmax. Needs few examples, keeps the order of candidates.
    Temperature {
        /// Above 1 for a model that is too sure of itself.
        temperature: f64,
    },
    /// A monotone step function of the share (pool adjacent violators), straight lines between the middles of its steps.
    /// Fits any shape, needs some hundred examples.
    Isotonic {
        /// Share and probability, both ascending.
        points: Vec<(f64, f64)>,
    },
}

/// What a fit achieved on the predictions that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// Predictions with candidates and gold.
    pub rows: usize,
    /// Share of them that are right.
    pub accuracy: f64,
    /// Mean difference between confidence and accuracy over ten bins of equal size, before the fit.
    pub error_before: f64,
    /// The same after it.
    pub error_after: f64,
}

/// Bins of [`CalibrationReport`].
const BINS: usize = 10;

impl Calibration {
    /// The probability that a prediction's concept is right; `None` for a prediction without candidates.
    pub fn probability(&self, prediction: &Prediction) -> Option<f64> {
        let code = predicted(prediction)?;
        Some(match self {
            Self::Temperature { temperature } => share(&prediction.candidates, code, *temperature),
            Self::Isotonic { points } => {
                interpolate(points, share(&prediction.candidates, code, 1.0))
            }
        })
    }

    /// What makes it no calibration, if anything does: files can be edited.
    pub(super) fn defect(&self) -> Option<&'static str> {
        match self {
            Self::Temperature { temperature } => (!(temperature.is_finite() && *temperature > 0.0))
                .then_some("`temperature` must be a positive number"),
            Self::Isotonic { points } => {
                let inside = |x: &f64| (0.0..=1.0).contains(x);
                let fits = points.iter().all(|(share, p)| inside(share) && inside(p))
                    && points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1)
                    && !points.is_empty();
                (!fits).then_some(
                    "`points` must be pairs of a share and a probability between 0 and 1, both ascending",
                )
            }
        }
    }

    /// The temperature under which the outcomes of `predictions` are most likely.
    ///
    /// # Errors
    /// [`Error::Option`] when no prediction has candidates and gold, or none has candidates of two concepts.
    pub fn fit_temperature(predictions: &[Prediction]) -> Result<(Self, CalibrationReport), Error> {
        let rows = comparable(predictions)?;
        let loss = |log_temperature: f64| -> f64 {
            let temperature = log_temperature.exp();
            let surprise = |(prediction, right): &(&Prediction, bool)| {
                let code = predicted(prediction).unwrap_or_default();
                let p = share(&prediction.candidates, code, temperature).clamp(1e-6, 1.0 - 1e-6);
                -if *right { p.ln() } else { (1.0 - p).ln() }
            };
            rows.iter().map(surprise).sum()
        };
        let fit = Self::Temperature {
            temperature: minimum(&loss, -4.0, 4.0).exp(),
        };
        let report = fit.report(&rows);
        Ok((fit, report))
    }

    /// The monotone function with the smallest squared error on `predictions`.
    ///
    /// # Errors
    /// As [`Calibration::fit_temperature`].
    pub fn fit_isotonic(predictions: &[Prediction]) -> Result<(Self, CalibrationReport), Error> {
        let rows = comparable(predictions)?;
        let mut pairs: Vec<(f64, f64)> = rows
            .iter()
            .map(|&(prediction, right)| {
                let code = predicted(prediction).unwrap_or_default();
                (
                    share(&prediction.candidates, code, 1.0),
                    f64::from(u8::from(right)),
                )
            })
            .collect();
        // Of equal shares the right ones first: one share, one step.
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let fit = Self::Isotonic {
            points: pool_adjacent_violators(&pairs),
        };
        let report = fit.report(&rows);
        Ok((fit, report))
    }

    fn report(&self, rows: &[(&Prediction, bool)]) -> CalibrationReport {
        let error = |calibration: &Self| {
            let pair = |&(prediction, right): &(&Prediction, bool)| {
                let confidence = calibration.probability(prediction).unwrap_or(0.0);
                (confidence, f64::from(u8::from(right)))
            };
            let mut pairs: Vec<(f64, f64)> = rows.iter().map(pair).collect();
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let gap = |bin: &[(f64, f64)]| bin.iter().map(|(p, y)| p - y).sum::<f64>().abs();
            let bins = pairs.chunks(pairs.len().div_ceil(BINS).max(1));
            bins.map(gap).sum::<f64>() / pairs.len() as f64
        };
        let right = rows.iter().filter(|row| row.1).count();
        CalibrationReport {
            rows: rows.len(),
            accuracy: right as f64 / rows.len() as f64,
            error_before: error(&Self::Temperature { temperature: 1.0 }),
            error_after: error(self),
        }
    }
}

/// The concept that the scores speak for: the predicted one, or the best candidate's where the answer was withheld.
fn predicted(prediction: &Prediction) -> Option<&str> {
    let best = prediction.candidates.first()?;
    let known = |c: &&Candidate| c.code == prediction.predicted_code;
    Some(
        &prediction
            .candidates
            .iter()
            .find(known)
            .unwrap_or(best)
            .code,
    )
}

/// [`rows`] of which one at least has something to compare.
fn comparable(predictions: &[Prediction]) -> Result<Vec<(&Prediction, bool)>, Error> {
    let rows = rows(predictions)?;
    let compares = |(prediction, _): &(&Prediction, bool)| {
        let mut concepts = prediction
            .candidates
            .iter()
            .map(|c| sorted(c.code.split('+')));
        let first = concepts.next();
        concepts.any(|other| Some(other) != first)
    };
    if !rows.iter().any(compares) {
        return Err(Error::Option {
            key: "calibration",
            reason: "no prediction has candidates of two concepts, so nothing can be compared; link with more beams",
        });
    }
    Ok(rows)
}

/// Predictions that can teach something, and whether they are right.
fn rows(predictions: &[Prediction]) -> Result<Vec<(&Prediction, bool)>, Error> {
    let row = |prediction| {
        let code = predicted(prediction)?;
        let gold = Gold::from_field(&prediction.code);
        let found: Vec<&str> = sorted(code.split('+'));
        let right =
            |all: &syncabel_corpus::Composite| sorted(all.0.iter().map(String::as_str)) == found;
        (!gold.is_none()).then(|| (prediction, gold.alternatives.iter().any(right)))
    };
    let rows: Vec<_> = predictions.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Err(Error::Option {
            key: "calibration",
            reason: "needs predictions with candidates and gold codes; this file has none",
        });
    }
    Ok(rows)
}

fn sorted<'c>(codes: impl Iterator<Item = &'c str>) -> Vec<&'c str> {
    let mut codes: Vec<&str> = codes.collect();
    codes.sort_unstable();
    codes
}

/// What the names of a code hold of the softmax over the candidates' log-scores.
fn share(candidates: &[Candidate], code: &str, temperature: f64) -> f64 {
    let log = |candidate: &Candidate| candidate.score.max(f64::MIN_POSITIVE).ln() / temperature;
    let best = candidates.iter().map(log).fold(f64::NEG_INFINITY, f64::max);
    let weight = |candidate: &Candidate| (log(candidate) - best).exp();
    let own: f64 = candidates
        .iter()
        .filter(|c| c.code == code || sorted(c.code.split('+')) == sorted(code.split('+')))
        .map(weight)
        .sum();
    let all: f64 = candidates.iter().map(weight).sum();
    own / all
}

/// Golden-section search for the minimum of a function with one valley.
fn minimum(f: &dyn Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..60 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if f(a) <= f(b) { high = b } else { low = a }
    }
    (low + high) / 2.0
}

/// Middles and heights of the steps of the best monotone fit.
fn pool_adjacent_violators(pairs: &[(f64, f64)]) -> Vec<(f64, f64)> {
    // Sum of shares, sum of outcomes, count.
    let mut steps: Vec<(f64, f64, f64)> = Vec::new();
    for &(x, y) in pairs {
        let mut step = (x, y, 1.0);
        while let Some(&(sum_x, sum_y, count)) = steps.last() {
            if sum_y * step.2 < step.1 * count {
                break;
            }
            steps.pop();
            step = (step.0 + sum_x, step.1 + sum_y, step.2 + count);
        }
        steps.push(step);
    }
    steps.into_iter().map(|(x, y, n)| (x / n, y / n)).collect()
}

fn interpolate(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|point| point.0 < x);
    match (after.checked_sub(1).map(|i| points[i]), points.get(after)) {
        (Some((x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some(&(_, y))) => y,
        (None, None) => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(scores: &[(&str, f64)], gold: &str) -> Prediction {
        let candidate = |&(code, score): &(&str, f64)| Candidate {
            name: code.to_lowercase(),
            code: code.into(),
            score,
        };
        Prediction {
            code: gold.into(),
            predicted_code: scores[0].0.into(),
            candidates: scores.iter().map(candidate).collect(),
            ..Prediction::default()
        }
    }

    #[test]
    fn names_of_one_concept_are_summed() {
        let row = prediction(&[("A", 0.4), ("B", 0.3), ("A", 0.3)], "A");
        let calm = Calibration::Temperature { temperature: 1.0 };
        assert!((calm.probability(&row).unwrap() - 0.7).abs() < 1e-12);
        let flat = Calibration::Temperature { temperature: 1e9 };
        assert!((flat.probability(&row).unwrap() - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(calm.probability(&Prediction::default()), None);
        // The parts of a composite have no order.
        let row = prediction(&[("A+B", 0.4), ("C", 0.3), ("B+A", 0.3)], "A+B");
        assert!((calm.probability(&row).unwrap() - 0.7).abs() < 1e-12);
    }

    #[test]
    fn single_candidates_teach_nothing() {
        let rows: Vec<Prediction> = (0..10)
            .map(|i| prediction(&[("A", 0.9)], if i < 6 { "A" } else { "C" }))
            .collect();
        for fit in [Calibration::fit_temperature, Calibration::fit_isotonic] {
            let error = fit(&rows).unwrap_err().to_string();
            assert!(error.contains("more beams"), "{error}");
        }
    }

    /// Confidence 0.9 that is right six times in ten.
    fn too_sure() -> Vec<Prediction> {
        (0..100)
            .map(|i| {
                let gold = if i % 10 < 6 { "A" } else { "C" };
                prediction(&[("A", 0.9), ("B", 0.1)], gold)
            })
            .collect()
    }

    #[test]
    fn a_model_that_is_too_sure_is_cooled_down() {
        let rows = too_sure();
        for (fit, report) in [
            Calibration::fit_temperature(&rows).unwrap(),
            Calibration::fit_isotonic(&rows).unwrap(),
        ] {
            let p = fit.probability(&rows[0]).unwrap();
            assert!((p - 0.6).abs() < 1e-3, "{fit:?}: {p}");
            assert_eq!((report.rows, report.accuracy), (100, 0.6));
            assert!((report.error_before - 0.3).abs() < 1e-9);
            assert!(report.error_after < 1e-3, "{report:?}");
        }
    }

    #[test]
    fn isotonic_fits_rise() {
        let pairs = [
            (0.1, 1.0),
            (0.2, 0.0),
            (0.3, 0.0),
            (0.6, 1.0),
            (0.7, 0.0),
            (0.9, 1.0),
        ];
        let points = pool_adjacent_violators(&pairs);
        assert!(
            points.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1),
            "{points:?}"
        );
        assert_eq!(points.len(), 3);
        assert!((points[0].1 - 1.0 / 3.0).abs() < 1e-12 && (points[1].1 - 0.5).abs() < 1e-12);
        let fit = Calibration::Isotonic { points };
        let low = fit.probability(&prediction(&[("A", 0.3), ("B", 0.3), ("C", 0.4)], "A"));
        let high = fit.probability(&prediction(&[("A", 0.99), ("B", 0.01)], "A"));
        assert!(low < high && high == Some(1.0));
    }

    #[test]
    fn right_means_all_parts_of_one_alternative() {
        let row = |code: &str, gold: &str| {
            let all = [prediction(&[(code, 0.5)], gold)];
            rows(&all).unwrap()[0].1
        };
        assert!(row("A", "B|A") && row("B+A", "A+B") && !row("A", "A+B"));
        assert!(rows(&[prediction(&[("A", 1.0)], "")]).is_err());
    }

    #[test]
    fn a_calibration_survives_its_file() {
        let fit = Calibration::Isotonic {
            points: vec![(0.1, 0.2), (0.8, 0.9)],
        };
        let text = serde_json::to_string(&fit).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), fit);
        assert!(text.contains("\"method\":\"isotonic\""));
    }
}
