//! The head, folded into what is asked of it: a running log-sum-exp and the logits of the wanted tokens.

use std::cell::RefCell;

use syncabel_kernels::simd::{exp, max, sum};
use syncabel_kernels::{multiversion, team};

use crate::weights::{Left, Weights};

/// Rows and columns whose logits are there at once, on each thread: a quarter of a megabyte, which stays in its cache.
const ROWS: usize = 128;
const COLUMNS: usize = 512;

/// Wanted tokens that one task takes where the head is computed for these alone.
const FEW_TOKENS: usize = 64;

thread_local! {
    static LOGITS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

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
    let (width, vocab) = (weights.shape.hidden, weights.shape.vocab);
    let mut out = Vec::with_capacity(wanted.len());
    for (hidden, wanted) in hidden.chunks(ROWS * width).zip(wanted.chunks(ROWS)) {
        let picks: Vec<Picks> = wanted.iter().map(|w| Picks::new(*w)).collect();
        let ready = left.of(weights.precision, hidden, width);
        let mut blocks = vec![Vec::new(); vocab.div_ceil(COLUMNS)];
        team::for_each_part(blocks.iter_mut().enumerate(), |(number, parts)| {
            let columns = number * COLUMNS..((number + 1) * COLUMNS).min(vocab);
            LOGITS.with_borrow_mut(|logits| {
                logits.resize(picks.len() * columns.len(), 0.0);
                ready.times_columns(logits, &weights.head, columns.clone());
                let rows = logits.chunks_exact(columns.len()).zip(&picks);
                let first = columns.start as u32;
                parts.extend(rows.map(|(logits, picks)| Part::new(logits, first, picks)));
            });
        });
        for (row, picks) in picks.into_iter().enumerate() {
            out.push(finish(
                blocks.iter_mut().map(|parts| &mut parts[row]),
                picks,
            ));
        }
    }
    out
}

/// Log-probabilities among the wanted tokens: only their rows of the head are computed.
///
/// # Shapes
/// - hidden: `[wanted.len(), hidden]`, normalised
pub(crate) fn among_wanted(weights: &Weights, hidden: &[f32], wanted: &[&[u32]]) -> Vec<Row> {
    let mut logits: Vec<Vec<f32>> = wanted.iter().map(|w| vec![0.0; w.len()]).collect();
    let rows = hidden.chunks_exact(weights.shape.hidden).zip(wanted);
    let parts = logits
        .iter_mut()
        .zip(rows)
        .flat_map(|(logits, (hidden, tokens))| {
            let parts = logits.chunks_mut(FEW_TOKENS).zip(tokens.chunks(FEW_TOKENS));
            parts.map(move |part| (hidden, part))
        });
    team::for_each_part(parts, |(hidden, (logits, tokens))| {
        for (logit, &token) in logits.iter_mut().zip(tokens) {
            *logit = weights.logit(token, hidden);
        }
    });
    let scores = |(logits, tokens): (Vec<f32>, &&[u32])| {
        if tokens.is_empty() {
            return Some(Vec::new());
        }
        let parts: Vec<Total> = logits.chunks(COLUMNS).map(Total::of).collect();
        let normalizer = Total::log(&parts)?;
        let pairs = tokens.iter().zip(logits);
        Some(
            pairs
                .map(|(&token, logit)| (token, score(logit, normalizer)))
                .collect(),
        )
    };
    logits.into_iter().zip(wanted).map(scores).collect()
}

fn score(logit: f32, normalizer: f64) -> f32 {
    (f64::from(logit) - normalizer) as f32
}

/// The sum of some exponentials, divided by that of the largest.
#[derive(Clone, Copy)]
struct Total {
    largest: f32,
    sum: f64,
}

impl Total {
    /// Of at most [`COLUMNS`] logits: a sum of thousands in float32 would lose digits.
    fn of(logits: &[f32]) -> Self {
        let largest = largest(logits);
        // Of hidden tokens alone -∞ is the largest, and would be no number less itself.
        let sum = f64::from(sum_exp(logits, largest.max(f32::MIN)));
        Self { largest, sum }
    }

    /// The logarithm of all sums together, added up in their order. `None` if a logit was NaN or +∞, or all were -∞.
    fn log(parts: &[Self]) -> Option<f64> {
        let largest = parts
            .iter()
            .map(|part| part.largest)
            .fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        let scaled = |part: &Self| match part.largest {
            // What `exp` leaves of them is not zero.
            f32::NEG_INFINITY if !part.sum.is_nan() => 0.0,
            own => part.sum * (f64::from(own) - largest).exp(),
        };
        let log = largest + parts.iter().map(scaled).sum::<f64>().ln();
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

/// What is to be picked from a row's logits.
enum Picks {
    /// So many tokens in all; which, in order, and the place of each among the wanted ones.
    Tokens(Vec<(u32, u32)>),
    Best(usize),
}

impl Picks {
    fn new(wanted: Wanted<'_>) -> Self {
        match wanted {
            Wanted::Tokens(tokens) => {
                let mut places: Vec<(u32, u32)> = tokens.iter().copied().zip(0..).collect();
                places.sort_unstable();
                Self::Tokens(places)
            }
            Wanted::Best(count) => Self::Best(count),
        }
    }
}

/// What is kept of one row's logits in one block of columns.
#[derive(Clone)]
struct Part {
    total: Total,
    /// The logits picked, by token; of the best ones the best first.
    picked: Vec<(f32, u32)>,
}

impl Part {
    /// Of the logits of the tokens from `first` on.
    fn new(logits: &[f32], first: u32, picks: &Picks) -> Self {
        let picked = match picks {
            Picks::Tokens(places) => {
                let from = places.partition_point(|place| place.0 < first);
                let inside = |token: u32| logits.get((token - first) as usize).copied();
                places[from..]
                    .iter()
                    .map_while(|place| inside(place.0).zip(Some(place.0)))
                    .collect()
            }
            Picks::Best(count) => best_of(*count, first, logits),
        };
        let total = Total::of(logits);
        Self { total, picked }
    }
}

/// Scores of one row from its parts in order.
fn finish<'p>(parts: impl Iterator<Item = &'p mut Part>, picks: Picks) -> Row {
    let (mut totals, mut picked) = (Vec::new(), Vec::new());
    for part in parts {
        totals.push(part.total);
        picked.append(&mut part.picked);
    }
    let normalizer = Total::log(&totals)?;
    Some(match picks {
        Picks::Tokens(places) => {
            let mut scores = vec![(0, 0.0); places.len()];
            for ((token, place), (logit, _)) in places.into_iter().zip(picked) {
                scores[place as usize] = (token, score(logit, normalizer));
            }
            scores
        }
        Picks::Best(count) => {
            picked.sort_unstable_by(by_logit);
            picked.truncate(count);
            let pairs = picked.into_iter();
            pairs
                .map(|(logit, token)| (token, score(logit, normalizer)))
                .collect()
        }
    })
}

/// Higher logit first, then smaller token.
fn by_logit(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

/// The `count` highest logits and their tokens, of which the first is `first`.
fn best_of(count: usize, first: u32, logits: &[f32]) -> Vec<(f32, u32)> {
    let (mut best, mut bar) = (Vec::new(), f32::NEG_INFINITY);
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
    best
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
        for step in [1, 16, 100, 512] {
            let mut parts: Vec<Total> = logits.chunks(step).map(Total::of).collect();
            assert!((Total::log(&parts).unwrap() - right).abs() < 1e-6, "{step}");
            parts.insert(0, Total::of(&[f32::NEG_INFINITY; 3]));
            assert!((Total::log(&parts).unwrap() - right).abs() < 1e-6, "{step}");
            for bad in [f32::NAN, f32::INFINITY] {
                for place in [0, 1, parts.len()] {
                    let mut parts = parts.clone();
                    parts.insert(place, Total::of(&[1.0, bad]));
                    assert_eq!(Total::log(&parts), None);
                }
            }
        }
        for hidden in [&[f32::NEG_INFINITY; 20][..], &[f32::NEG_INFINITY, f32::NAN]] {
            assert_eq!(Total::log(&[Total::of(hidden)]), None);
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
                best.extend(best_of(count, (number * step) as u32, part));
            }
            best.sort_unstable_by(by_logit);
            best.truncate(count);
            let found: Vec<u32> = best.iter().map(|b| b.1).collect();
            assert_eq!(found, order[..count], "{count} {step}");
        }
    }
}
