//! Is one system better than another? Paired tests on the same mentions.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::Error;
use crate::bootstrap::{Bootstrap, Interval, Ratio, Sums, draw_weights, percentile_interval};
use crate::score::{EvalOptions, Outcome, Scored, score};

/// How many mentions an error about different mentions lists.
const SAMPLE: usize = 5;

/// Two systems on the same mentions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Mentions.
    pub rows: usize,
    /// Documents.
    pub documents: usize,
    /// Recall of the first system.
    pub recall_first: f64,
    /// Recall of the second system.
    pub recall_second: f64,
    /// Recall of the second minus recall of the first.
    pub difference: f64,
    /// 95 % interval of the difference, paired document-level bootstrap.
    pub difference_ci95: Interval,
    /// Two-sided bootstrap p-value of "no difference": twice the smaller share of replicates on one side of 0, each
    /// share counted with one replicate more, so that it is never 0.
    pub p_bootstrap: f64,
    /// Mentions that only the first system has right.
    pub only_first_right: usize,
    /// Mentions that only the second system has right.
    pub only_second_right: usize,
    /// Exact two-sided McNemar p-value over mentions. It takes mentions as independent, which they are not inside a
    /// document; read it beside the bootstrap.
    pub p_mcnemar: f64,
}

/// Compares two systems. Duplicates are always removed, for they cannot be paired; other rules are the options'.
///
/// # Errors
/// [`Error::DifferentMentions`] if one system lacks a mention of the other, [`Error::DifferentGold`] if they were
/// scored against different annotation, and the errors of [`score`].
pub fn compare(
    first: &[Prediction],
    second: &[Prediction],
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Comparison, Error> {
    let options = EvalOptions {
        deduplicate: true,
        ..options.clone()
    };
    let first = score(first, None, kb, &options)?;
    let second = score(second, None, kb, &options)?;
    compare_scored(&first, &second, &options)
}

/// As [`compare`], for systems that are scored already (with `deduplicate`).
///
/// # Errors
/// As [`compare`].
pub fn compare_scored(
    first: &Scored,
    second: &Scored,
    options: &EvalOptions,
) -> Result<Comparison, Error> {
    let pairs = pair(first, second)?;
    let right = |credit: f64| credit >= 1.0;
    let only = |side: bool| {
        let differ = pairs
            .iter()
            .filter(|(a, b)| right(a.credit) != right(b.credit));
        differ.filter(|(_, b)| right(b.credit) == side).count()
    };
    let (only_first_right, only_second_right) = (only(false), only(true));

    let documents = first.documents.len();
    let mut sums = Sums::new(documents, 3);
    for (a, b) in &pairs {
        sums.add(a.document, 0, 1.0);
        sums.add(a.document, 1, a.credit);
        sums.add(a.document, 2, b.credit);
    }
    let recalls = [Ratio::new(1, 0), Ratio::new(2, 0)];
    let replicates = options.bootstrap.ratio_replicates(&sums, &recalls)?;
    let mut replicates: Vec<f64> = replicates.chunks(2).map(|pair| pair[1] - pair[0]).collect();
    let [recall_first, recall_second] = recalls.map(|ratio| sums.ratio(ratio));
    Ok(Comparison {
        rows: pairs.len(),
        documents,
        recall_first,
        recall_second,
        difference: recall_second - recall_first,
        p_bootstrap: two_sided(&replicates),
        difference_ci95: percentile_interval(&mut replicates),
        only_first_right,
        only_second_right,
        p_mcnemar: mcnemar_exact(only_first_right, only_second_right),
    })
}

/// Exact two-sided McNemar test: the binomial test of `b` against `c` discordant pairs.
pub fn mcnemar_exact(b: usize, c: usize) -> f64 {
    let n = b + c;
    let mut log_term = -(n as f64) * std::f64::consts::LN_2; // ln of C(n, 0) / 2^n
    let mut tail = log_term.exp();
    for i in 1..=b.min(c) {
        log_term += ((n - i + 1) as f64).ln() - (i as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// The second system minus the first over one part of the mentions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mentions per seed, on average.
    pub rows: usize,
    /// Recall of the second system minus recall of the first.
    pub difference: f64,
    /// 95 % interval; replicates draw documents and, with several seeds, seeds.
    pub ci95: Interval,
    /// As [`Comparison::p_bootstrap`].
    pub p_bootstrap: f64,
}

/// Compares two systems over the seeds that both have, each pair scored (with `deduplicate`): all mentions, those of seen
/// and those of unseen concepts. The last two only where both systems call the same concepts seen.
///
/// # Errors
/// As [`compare_scored`].
pub fn compare_seeds(
    seeds: &[(&Scored, &Scored)],
    bootstrap: Bootstrap,
) -> Result<[Option<Difference>; 3], Error> {
    let mut documents: HashMap<&str, usize> = HashMap::new();
    for name in seeds.iter().flat_map(|(first, _)| &first.documents) {
        let next = documents.len();
        documents.entry(name.as_str()).or_insert(next);
    }
    let mut cells: Vec<Vec<PartSums>> =
        vec![vec![PartSums::default(); documents.len()]; seeds.len()];
    let mut alike = true;
    for (cells, (first, second)) in cells.iter_mut().zip(seeds) {
        for (a, b) in pair(first, second)? {
            alike &= a.seen.is_some() && a.seen == b.seen;
            let document = first.documents[a.document as usize].as_str();
            for part in [0, if a.seen == Some(true) { 1 } else { 2 }] {
                let sums = &mut cells[documents[document]][part];
                sums[0] += 1.0;
                sums[1] += b.credit - a.credit;
            }
        }
    }
    let (one_each, once) = (vec![1; seeds.len()], vec![1; documents.len()]);
    let observed = differences(&cells, &one_each, &once);
    let replicates = bootstrap.replicate_with(documents.len(), |weights, rng| {
        let mut drawn = vec![0; seeds.len()];
        draw_weights(&mut drawn, rng);
        differences(&cells, &drawn, weights)
    })?;
    Ok([0, 1, 2].map(|part| {
        let rows: f64 = cells.iter().flatten().map(|cell| cell[part][0]).sum();
        if rows == 0.0 || (part > 0 && !alike) {
            return None;
        }
        let mut column: Vec<f64> = replicates.iter().map(|r| r[part]).collect();
        Some(Difference {
            rows: (rows / seeds.len() as f64).round() as usize,
            difference: observed[part],
            p_bootstrap: two_sided(&column),
            ci95: percentile_interval(&mut column),
        })
    }))
}

/// Mentions and difference of credits: all, seen, unseen.
type PartSums = [[f64; 2]; 3];

fn differences(cells: &[Vec<PartSums>], seeds: &[u32], documents: &[u32]) -> [f64; 3] {
    let mut sums = PartSums::default();
    for (cells, &seed) in cells.iter().zip(seeds).filter(|(_, seed)| **seed > 0) {
        for (cell, &document) in cells.iter().zip(documents).filter(|(_, d)| **d > 0) {
            let weight = f64::from(seed * document);
            for (sum, of) in sums.iter_mut().zip(cell) {
                sum[0] += weight * of[0];
                sum[1] += weight * of[1];
            }
        }
    }
    sums.map(|[rows, credit]| if rows == 0.0 { 0.0 } else { credit / rows })
}

/// The outcomes of each mention in both systems, in the order of the first.
fn pair<'s>(
    first: &'s Scored,
    second: &'s Scored,
) -> Result<Vec<(&'s Outcome, &'s Outcome)>, Error> {
    let documents = translate(&first.documents, &second.documents);
    let groups = translate(&first.groups, &second.groups);
    let mut partner: HashMap<[u32; 4], usize> = HashMap::with_capacity(second.outcomes.len());
    for (index, outcome) in second.outcomes.iter().enumerate() {
        if let Some(key) = key(outcome, &documents, &groups) {
            partner.insert(key, index);
        }
    }
    let mut matched = vec![false; second.outcomes.len()];
    let mut pairs = Vec::with_capacity(first.outcomes.len());
    let mut only_first = Vec::new();
    for outcome in &first.outcomes {
        let key = [
            outcome.document,
            outcome.group,
            outcome.start_span,
            outcome.end_span,
        ];
        let Some(&index) = partner.get(&key) else {
            only_first.push(outcome);
            continue;
        };
        matched[index] = true;
        let other = &second.outcomes[index];
        let [gold, other_gold] = [
            &first.concepts[outcome.concept as usize],
            &second.concepts[other.concept as usize],
        ];
        if gold != other_gold {
            return Err(Error::DifferentGold {
                mention: describe(first, outcome),
                first: gold.clone(),
                second: other_gold.clone(),
            });
        }
        pairs.push((outcome, other));
    }
    let lonely = second.outcomes.iter().zip(&matched);
    let only_second: Vec<&Outcome> = lonely
        .filter(|(_, matched)| !**matched)
        .map(|(outcome, _)| outcome)
        .collect();
    if only_first.is_empty() && only_second.is_empty() {
        return Ok(pairs);
    }
    Err(Error::DifferentMentions {
        only_first: only_first.len(),
        first_sample: sample(first, &only_first),
        only_second: only_second.len(),
        second_sample: sample(second, &only_second),
    })
}

/// For each name of `of`, its index in `to`.
fn translate(to: &[String], of: &[String]) -> Vec<Option<u32>> {
    let indices: HashMap<&str, u32> = to.iter().map(String::as_str).zip(0..).collect();
    of.iter()
        .map(|name| indices.get(name.as_str()).copied())
        .collect()
}

/// What identifies a mention of the second system, in the numbers of the first; `None` if that cannot have it.
fn key(outcome: &Outcome, documents: &[Option<u32>], groups: &[Option<u32>]) -> Option<[u32; 4]> {
    Some([
        documents[outcome.document as usize]?,
        groups[outcome.group as usize]?,
        outcome.start_span,
        outcome.end_span,
    ])
}

/// File and line, where there are such, document, span and label of a mention.
pub(crate) fn describe(scored: &Scored, o: &Outcome) -> String {
    let place = match (&scored.source, o.line) {
        (Some(path), line) if line > 0 => format!("{}:{line}: ", path.display()),
        _ => String::new(),
    };
    format!(
        "{place}{} {}-{} {}",
        scored.documents[o.document as usize],
        o.start_span,
        o.end_span,
        scored.groups[o.group as usize]
    )
}

fn sample(scored: &Scored, outcomes: &[&Outcome]) -> String {
    if outcomes.is_empty() {
        return "none".to_owned();
    }
    let shown = outcomes.iter().take(SAMPLE).map(|o| describe(scored, o));
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if outcomes.len() > SAMPLE {
        text.push_str("; ...");
    }
    text
}

fn two_sided(differences: &[f64]) -> f64 {
    let share = |count: usize| (count + 1) as f64 / (differences.len() + 1) as f64;
    let at_most = differences.iter().filter(|d| **d <= 0.0).count();
    let at_least = differences.iter().filter(|d| **d >= 0.0).count();
    (2.0 * share(at_most.min(at_least))).min(1.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.difference_ci95.map(|end| end * 100.0);
        writeln!(
            f,
            "recall@1 first {:.1}%, second {:.1}%",
            self.recall_first * 100.0,
            self.recall_second * 100.0
        )?;
        write!(
            f,
            "difference {:+.1} points (95 % interval {low:+.1} to {high:+.1}), ",
            self.difference * 100.0
        )?;
        writeln!(f, "bootstrap p = {:.4}", self.p_bootstrap)?;
        write!(
            f,
            "only the first right {}, only the second {}, ",
            self.only_first_right, self.only_second_right
        )?;
        writeln!(f, "McNemar exact p = {:.4}", self.p_mcnemar)?;
        writeln!(f, "{} mentions in {} documents", self.rows, self.documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_agrees_with_the_binomial_by_hand() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(5, 5), 1.0);
        assert!((mcnemar_exact(1, 9) - 2.0 * 11.0 / 1024.0).abs() < 1e-12);
        assert_eq!(mcnemar_exact(9, 1), mcnemar_exact(1, 9));
        assert!((mcnemar_exact(0, 5) - 2.0 / 32.0).abs() < 1e-12);
        let large = mcnemar_exact(400, 500);
        assert!(
            large > 0.0008 && large < 0.0011,
            "normal approximation gives 0.00095, got {large}"
        );
    }

    #[test]
    fn seeds_are_pooled_and_strata_need_one_line() {
        use crate::TrainingSet;
        let system = |right: fn(usize) -> bool| -> Vec<Prediction> {
            let row = |i: usize| Prediction {
                filename: format!("d{}", i / 2),
                start_span: i as u32,
                end_span: i as u32 + 1,
                code: if i.is_multiple_of(4) { "A" } else { "B" }.into(),
                predicted_code: match (right(i), i.is_multiple_of(4)) {
                    (true, true) => "A",
                    (true, false) => "B",
                    (false, _) => "C",
                }
                .into(),
                ..Prediction::default()
            };
            (0..40).map(row).collect()
        };
        let options = EvalOptions {
            deduplicate: true,
            ..EvalOptions::default()
        };
        let training = TrainingSet::from_fields([("A", "a")], None);
        let scored = |right, training| score(&system(right), training, None, &options).unwrap();
        let (none, seen_only, all) = (
            scored(|_| false, Some(&training)),
            scored(|i| i.is_multiple_of(4), Some(&training)),
            scored(|_| true, Some(&training)),
        );
        let parts =
            compare_seeds(&[(&none, &seen_only), (&none, &all)], options.bootstrap).unwrap();
        let [over_all, seen, unseen] = parts.map(Option::unwrap);
        assert_eq!((over_all.rows, seen.rows, unseen.rows), (40, 10, 30));
        assert_eq!((seen.difference, unseen.difference), (1.0, 0.5));
        assert!((over_all.difference - 0.625).abs() < 1e-12);
        assert_eq!(seen.ci95, [1.0, 1.0]);
        // Which seed is drawn decides on the unseen part.
        assert_eq!(unseen.ci95, [0.0, 1.0]);
        let other = TrainingSet::from_fields([("B", "b")], None);
        let elsewhere = scored(|_| true, Some(&other));
        let parts = compare_seeds(&[(&none, &elsewhere)], options.bootstrap).unwrap();
        assert!(parts[0].is_some() && parts[1].is_none() && parts[2].is_none());
    }

    #[test]
    fn bootstrap_p_is_never_zero() {
        assert_eq!(two_sided(&[1.0; 999]), 2.0 / 1000.0);
        assert_eq!(two_sided(&[0.0; 9]), 1.0);
    }
}
