//! The head, folded into what is asked of it: a running log-sum-exp and the logits of the wanted tokens.

use rayon::prelude::*;
use syncabel_kernels::simd::{exp, max, sum};
use syncabel_kernels::{Write, multiversion};

use crate::weights::{HEAD_COLUMNS, Left, Weights};

/// Rows whose logits of one block of columns are there at once.
const ROWS: usize = 128;

/// What is wanted of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'w> {
    /// The scores of these tokens, in this order.
    Tokens(&'w [u32]),
    /// So many tokens with the highest scores; of equal ones those with the smaller ids.
    Best(usize),
}

/// Log-probabilities of one row; `None` if they are no numbers.
pub(crate) type Row = Option<Vec<(u32, f32)>>;

/// Log-probabilities over the whole vocabulary.
///
/// # Shapes
/// - hidden: `[wanted.len(), hidden]`, normalised
pub(crate) fn over_all(
    weights: &Weights,
    left: &mut Left,
    hidden: &[f32],
    wanted: &[Wanted<'_>],
) -> Vec<Row> {
    let width = weights.shape.hidden;
    let mut out = Vec::with_capacity(wanted.len());
    let mut logits = Vec::new();
    for (hidden, wanted) in hidden.chunks(ROWS * width).zip(wanted.chunks(ROWS)) {
        let mut rows: Vec<Running<'_>> = wanted.iter().map(|w| Running::new(*w)).collect();
        let ready = left.of(weights.precision, hidden, width);
        for (number, block) in weights.head.iter().enumerate() {
            let columns = block.outer();
            logits.resize(wanted.len() * columns, 0.0);
            ready.times(&mut logits, Write::Replace, block);
            let first = (number * HEAD_COLUMNS) as u32;
            rows.par_iter_mut()
                .zip(logits.par_chunks_exact(columns))
                .for_each(|(row, logits)| row.take(first, logits));
        }
        out.extend(rows.into_iter().map(Running::finish));
    }
    out
}

/// Log-probabilities among the wanted tokens: only their rows of the head are computed.
///
/// # Shapes
/// - hidden: `[wanted.len(), hidden]`, normalised
pub(crate) fn among_wanted(weights: &Weights, hidden: &[f32], wanted: &[&[u32]]) -> Vec<Row> {
    let table = weights.head_table();
    hidden
        .par_chunks_exact(weights.shape.hidden)
        .zip(wanted)
        .map(|(hidden, tokens)| {
            let logits: Vec<f32> = tokens
                .par_iter()
                .with_min_len(64)
                .map(|&token| table.dot(token as usize, hidden))
                .collect();
            if logits.is_empty() {
                return Some(Vec::new());
            }
            let mut total = Total::default();
            total.add(&logits);
            let normalizer = total.log()?;
            let score =
                |(&token, &logit): (&u32, &f32)| (token, (f64::from(logit) - normalizer) as f32);
            Some(tokens.iter().zip(&logits).map(score).collect())
        })
        .collect()
}

/// A log-sum-exp in the making.
#[derive(Default)]
struct Total {
    max: Option<f32>,
    sum: f64,
}

impl Total {
    fn add(&mut self, logits: &[f32]) {
        let largest = largest(logits);
        let max = self.max.map_or(largest, |max| max.max(largest));
        if let Some(before) = self.max
            && before < max
        {
            self.sum *= f64::from(before - max).exp();
        }
        // Widened often: a sum of thousands in float32 alone would lose digits.
        for part in logits.chunks(512) {
            self.sum += f64::from(sum_exp(part, max));
        }
        self.max = Some(max);
    }

    /// `None` if a logit was NaN or +∞, or all were -∞.
    fn log(&self) -> Option<f64> {
        let log = f64::from(self.max?) + self.sum.ln();
        log.is_finite().then_some(log)
    }
}

multiversion! {
    fn largest(logits: &[f32]) -> f32 {
        max(logits)
    }

    fn sum_exp(logits: &[f32], max: f32) -> f32 {
        sum([logits], |[logit]| exp(logit - max))
    }
}

/// One row while the columns go by.
struct Running<'w> {
    total: Total,
    picks: Picks<'w>,
}

enum Picks<'w> {
    Tokens {
        tokens: &'w [u32],
        logits: Vec<f32>,
    },
    Best {
        count: usize,
        /// Logit and token, best first once it is full.
        best: Vec<(f32, u32)>,
    },
}

impl<'w> Running<'w> {
    fn new(wanted: Wanted<'w>) -> Self {
        let picks = match wanted {
            Wanted::Tokens(tokens) => Picks::Tokens {
                tokens,
                logits: vec![0.0; tokens.len()],
            },
            Wanted::Best(count) => Picks::Best {
                count,
                best: Vec::with_capacity(2 * count),
            },
        };
        Self {
            total: Total::default(),
            picks,
        }
    }

    /// Takes the logits of the tokens from `first` on.
    fn take(&mut self, first: u32, logits: &[f32]) {
        self.total.add(logits);
        match &mut self.picks {
            Picks::Tokens {
                tokens,
                logits: picked,
            } => {
                for (&token, picked) in tokens.iter().zip(picked) {
                    let inside = token
                        .checked_sub(first)
                        .and_then(|at| logits.get(at as usize));
                    if let Some(&logit) = inside {
                        *picked = logit;
                    }
                }
            }
            Picks::Best { count, best } => keep_best(best, *count, first, logits),
        }
    }

    fn finish(self) -> Row {
        let normalizer = self.total.log()?;
        let score = |token: u32, logit: f32| (token, (f64::from(logit) - normalizer) as f32);
        Some(match self.picks {
            Picks::Tokens { tokens, logits } => tokens
                .iter()
                .zip(logits)
                .map(|(&token, logit)| score(token, logit))
                .collect(),
            Picks::Best { best, count } => best
                .into_iter()
                .take(count)
                .map(|(logit, token)| score(token, logit))
                .collect(),
        })
    }
}

fn keep_best(best: &mut Vec<(f32, u32)>, count: usize, first: u32, logits: &[f32]) {
    let by_logit =
        |&(x, i): &(f32, u32), &(y, j): &(f32, u32)| y.total_cmp(&x).then_with(|| i.cmp(&j));
    let mut bar = best
        .get(count.wrapping_sub(1))
        .map_or(f32::NEG_INFINITY, |b| b.0);
    for (at, &logit) in logits.iter().enumerate() {
        if logit > bar && count > 0 {
            best.push((logit, first + at as u32));
            if best.len() == 2 * count {
                best.sort_unstable_by(by_logit);
                best.truncate(count);
                bar = best[count - 1].0;
            }
        }
    }
    best.sort_unstable_by(by_logit);
    best.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_sum_is_the_sum() {
        let logits: Vec<f32> = (0..5000)
            .map(|i| ((i * 37) % 101) as f32 / 7.0 - 3.0)
            .collect();
        let right = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        for step in [1, 16, 700, 4096, 5000] {
            let mut total = Total::default();
            logits.chunks(step).for_each(|part| total.add(part));
            assert!((total.log().unwrap() - right).abs() < 1e-6, "{step}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut total = Total::default();
            total.add(&logits);
            total.add(&[1.0, bad]);
            assert_eq!(total.log(), None);
        }
    }

    #[test]
    fn the_best_are_those_of_a_full_sort_however_they_come() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 23) as f32).collect();
        let mut order: Vec<u32> = (0..1000).collect();
        order.sort_by(|&a, &b| {
            logits[b as usize]
                .total_cmp(&logits[a as usize])
                .then(a.cmp(&b))
        });
        for (count, step) in [(1, 10), (10, 1), (10, 333), (7, 1000), (0, 50)] {
            let mut best = Vec::new();
            for (number, part) in logits.chunks(step).enumerate() {
                keep_best(&mut best, count, (number * step) as u32, part);
            }
            let found: Vec<u32> = best.iter().map(|b| b.1).collect();
            assert_eq!(found, order[..count], "{count} {step}");
        }
    }
}
