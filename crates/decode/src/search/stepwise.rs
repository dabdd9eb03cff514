//! A [`StepModel`] in the place of a [`PoolModel`]: all mentions at once, one token a pass.

use rayon::prelude::*;

use super::pool::{PoolModel, Run, Scores, State, Wanted};
use super::{Scoring, log_normalizer};
use crate::{Error, StepModel};

/// Serves a beam search whose mentions start together and whose runs are single tokens.
pub(super) struct Stepwise<'m> {
    model: &'m mut dyn StepModel,
    beams: usize,
    max_new_tokens: usize,
    passes: usize,
}

impl<'m> Stepwise<'m> {
    pub(super) fn new(model: &'m mut dyn StepModel, beams: usize, max_new_tokens: usize) -> Self {
        Self {
            model,
            beams,
            max_new_tokens,
            passes: 0,
        }
    }

    fn logits(&mut self, runs: &[Run]) -> Result<Vec<f32>, Error> {
        if self.passes == 0 {
            let prompts: Vec<Vec<u32>> = runs.iter().map(|run| run.tokens.clone()).collect();
            return self
                .model
                .prefill(&prompts, self.beams, self.max_new_tokens);
        }
        let tokens: Vec<u32> = runs.iter().map(|run| run.tokens[0]).collect();
        let parents: Vec<u32> = runs
            .iter()
            .map(|run| run.after.map_or(0, |state| state.0))
            .collect();
        self.model.step(&tokens, &parents)
    }
}

impl PoolModel for Stepwise<'_> {
    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn positions(&self) -> usize {
        self.model.positions()
    }

    fn forward(&mut self, runs: &[Run], scoring: Scoring) -> Result<Vec<Scores>, Error> {
        let vocab = self.vocab_size();
        let logits = self.logits(runs)?;
        let expected = runs.len() * vocab;
        if logits.len() != expected {
            return Err(Error::LogitsShape {
                found: logits.len(),
                rows: runs.len(),
                vocab,
                expected,
            });
        }
        let step = self.passes;
        self.passes += 1;
        runs.par_iter()
            .zip(logits.par_chunks_exact(vocab.max(1)))
            .enumerate()
            .map(|(row, (run, logits))| {
                let next = next(logits, &run.wanted, scoring).ok_or(Error::NotFinite {
                    query: run.mention,
                    step,
                })?;
                Ok(Scores {
                    state: State(row as u32),
                    read: Vec::new(),
                    next,
                })
            })
            .collect()
    }

    fn close(&mut self, _mention: usize) {}
}

/// Scores of the wanted tokens of one row; `None` if the row holds what is no number.
fn next(row: &[f32], wanted: &Wanted, scoring: Scoring) -> Option<Vec<(u32, f32)>> {
    let normalizer = log_normalizer(row)?;
    let tokens = match wanted {
        Wanted::Tokens(tokens) => tokens.clone(),
        Wanted::Best(count) => best_tokens(row, *count),
    };
    let logit = |token: u32| row[token as usize];
    let normalizer = match scoring {
        Scoring::Full => normalizer,
        Scoring::Local => {
            let allowed: Vec<f32> = tokens.iter().map(|&token| logit(token)).collect();
            // Nothing possible is allowed: every score is -∞ all the same.
            log_normalizer(&allowed).unwrap_or(normalizer)
        }
    };
    let score = |token: u32| (token, (f64::from(logit(token)) - normalizer) as f32);
    Some(tokens.into_iter().map(score).collect())
}

/// The tokens with the `count` highest logits, smaller tokens first among equals, in no particular order.
fn best_tokens(row: &[f32], count: usize) -> Vec<u32> {
    let by_logit =
        |&(x, i): &(f32, u32), &(y, j): &(f32, u32)| y.total_cmp(&x).then_with(|| i.cmp(&j));
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(2 * count);
    let mut bar = f32::NEG_INFINITY;
    for (token, &logit) in row.iter().enumerate() {
        if logit > bar {
            best.push((logit, token as u32));
            if best.len() == 2 * count {
                best.select_nth_unstable_by(count - 1, by_logit);
                best.truncate(count);
                // Later tokens with this very logit have larger numbers and lose the tie.
                bar = best[count - 1].0;
            }
        }
    }
    if best.len() > count {
        best.select_nth_unstable_by(count - 1, by_logit);
        best.truncate(count);
    }
    best.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_tokens_are_those_of_a_full_sort() {
        for (length, count) in [(1, 4), (7, 2), (100, 10), (1000, 10)] {
            let row: Vec<f32> = (0..length).map(|i| ((i * 37) % 23) as f32).collect();
            let mut expected: Vec<u32> = (0..length as u32).collect();
            expected.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
            expected.truncate(count);
            expected.sort_unstable();
            let mut got = best_tokens(&row, count);
            got.sort_unstable();
            assert_eq!(got, expected, "{length} {count}");
        }
    }
}
