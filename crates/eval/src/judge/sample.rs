//! The sample that people annotate: wrong answers, drawn evenly from the groups, without a word on who gave them.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use syncabel_corpus::predictions::Prediction;

use crate::Scored;
use crate::judge::HUMAN_COLUMN;

/// One row to annotate, and who gave the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// The row as the annotator sees it: no scores, no judge, an empty [`HUMAN_COLUMN`].
    pub row: Prediction,
    /// Systems that gave this answer, by number; for the key, not for the annotator.
    pub systems: Vec<usize>,
}

/// Draws about `size` wrong answers of one or several systems.
///
/// An answer that two systems share is one row. Groups get the same number of rows each (what a small group lacks goes to the
/// others); within a group rows are drawn at random, and the order of the whole is random, so that neither group nor system
/// can be told from the place. Same systems, same seed: same sample.
pub fn draw_sample(systems: &[(&[Prediction], &Scored)], size: usize, seed: u64) -> Vec<SampleRow> {
    /// Document, first and last character, predicted code.
    type Answer<'a> = (&'a str, u32, u32, &'a str);
    let mut wrong: BTreeMap<&str, BTreeMap<Answer<'_>, SampleRow>> = BTreeMap::new();
    for (system, (predictions, scored)) in systems.iter().enumerate() {
        for outcome in scored.outcomes.iter().filter(|o| !o.correct) {
            let row = &predictions[outcome.row as usize];
            let key = (
                row.filename.as_str(),
                row.start_span,
                row.end_span,
                row.predicted_code.as_str(),
            );
            let of_group = wrong.entry(row.label.as_str()).or_default();
            let entry = of_group.entry(key).or_insert_with(|| SampleRow {
                row: blind(row),
                systems: Vec::new(),
            });
            entry.systems.push(system);
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut groups: Vec<Vec<SampleRow>> = wrong
        .into_values()
        .map(|rows| {
            let mut rows: Vec<SampleRow> = rows.into_values().collect();
            rows.shuffle(&mut rng);
            rows
        })
        .collect();
    let mut sample = Vec::with_capacity(size);
    while sample.len() < size && groups.iter().any(|group| !group.is_empty()) {
        for group in &mut groups {
            if sample.len() < size {
                sample.extend(group.pop());
            }
        }
    }
    sample.shuffle(&mut rng);
    sample
}

/// A row without what tells the system: scores, candidates and other judges.
fn blind(row: &Prediction) -> Prediction {
    Prediction {
        prediction_score: f64::NAN,
        prediction_beam_score: f64::NAN,
        candidates: Vec::new(),
        probability: None,
        margin: None,
        extra: vec![(HUMAN_COLUMN.to_owned(), String::new())],
        ..row.clone()
    }
}

/// Rows per group, for the report to the person who draws.
pub fn rows_per_group(sample: &[SampleRow]) -> BTreeMap<String, usize> {
    let groups: BTreeSet<&str> = sample.iter().map(|s| s.row.label.as_str()).collect();
    let count = |group: &str| sample.iter().filter(|s| s.row.label == group).count();
    groups
        .into_iter()
        .map(|group| (group.to_owned(), count(group)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalOptions, score};

    fn rows(wrong: &str) -> Vec<Prediction> {
        let row = |i: u32| Prediction {
            filename: format!("d{}", i % 10),
            label: ["A", "B", "rare"][if i < 4 { 2 } else { i as usize % 2 }].into(),
            start_span: i,
            end_span: i + 1,
            code: "C".into(),
            predicted_code: if i.is_multiple_of(3) { "C" } else { wrong }.into(),
            prediction_score: 0.5,
            extra: vec![("LLM_Evaluation".into(), "BROAD".into())],
            ..Prediction::default()
        };
        (0..90).map(row).collect()
    }

    #[test]
    fn even_over_groups_blind_and_reproducible() {
        let sets = [rows("X"), rows("X"), rows("Y")];
        let scored = sets
            .each_ref()
            .map(|s| score(s, None, None, &EvalOptions::default()).unwrap());
        let systems: Vec<(&[Prediction], &Scored)> =
            sets.iter().map(Vec::as_slice).zip(&scored).collect();
        let sample = draw_sample(&systems, 30, 1);
        assert_eq!(sample.len(), 30);
        let groups = rows_per_group(&sample);
        // The rare group has two wrong mentions, with an answer X shared by two systems and an answer Y each.
        assert_eq!((groups["rare"], groups["A"], groups["B"]), (4, 13, 13));
        for s in &sample {
            assert!(s.row.prediction_score.is_nan());
            assert_eq!(s.row.extra, [(HUMAN_COLUMN.to_owned(), String::new())]);
            let expected = if s.row.predicted_code == "X" {
                vec![0, 1]
            } else {
                vec![2]
            };
            assert_eq!(s.systems, expected);
        }
        // Missing scores are NaN and equal nothing, so the rows are compared by what identifies them.
        let keys = |sample: &[SampleRow]| -> Vec<(u32, String)> {
            let key = |s: &SampleRow| (s.row.start_span, s.row.predicted_code.clone());
            sample.iter().map(key).collect()
        };
        assert_eq!(keys(&sample), keys(&draw_sample(&systems, 30, 1)));
        assert_ne!(keys(&sample), keys(&draw_sample(&systems, 30, 2)));
        assert_eq!(
            draw_sample(&systems, 1000, 1).len(),
            120,
            "no more than there are"
        );
    }
}
