//! Free text by sampling, many texts side by side.
//!
//! Texts join and leave between any two passes, as mentions do in a [`search`](crate::search): a pass reads the prompts of
//! those that join and one token of every other. Prompts that begin alike share that beginning while the model remembers one of
//! them, so a long instruction is read once; a few finished texts are remembered for a question that goes on where they began.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::Error;
use crate::search::{PoolModel, Run, Scoring, State, Wanted};

/// Tokens that are drawn among, at most: what lies beyond the 64 likeliest is not asked of the head. With the usual
/// temperatures below 1 and a nucleus of 0.9 that cuts off next to nothing.
pub const CANDIDATES: usize = 64;

/// A text to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// What the model reads, at least one token.
    pub prompt: Vec<u32>,
    /// Logits are divided by it; 0 takes the likeliest token each time.
    pub temperature: f64,
    /// Draws among the fewest likeliest tokens that have this share of the probability (after the temperature).
    pub top_p: f64,
    /// Most tokens of the text.
    pub max_new_tokens: usize,
    /// Seed of what is drawn. The text depends on it, and not on the texts beside it.
    pub seed: u64,
}

/// A text that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether the model ended it, and not the limit.
    pub ended: bool,
}

/// Writes texts, a token each a pass.
#[derive(Debug)]
pub struct Sampler<M> {
    model: M,
    /// Tokens that end a text.
    ends: Vec<u32>,
    open: Vec<Open>,
    /// Finished texts whose prompts the model still remembers, the oldest first, and how many may be.
    remembered: VecDeque<usize>,
    memory: usize,
    next: usize,
}

#[derive(Debug)]
struct Open {
    ticket: usize,
    draw: Draw,
    rng: ChaCha8Rng,
    state: Option<State>,
    tokens: Vec<u32>,
}

impl<M: PoolModel> Sampler<M> {
    /// A sampler over a model; any of `ends` ends a text, and the prompts of `memory` finished texts are remembered.
    pub fn new(model: M, ends: Vec<u32>, memory: usize) -> Self {
        Sampler {
            model,
            ends,
            open: Vec::new(),
            remembered: VecDeque::new(),
            memory,
            next: 0,
        }
    }

    /// Texts being written.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes a text on; [`step`](Self::step) hands it out under the number returned. A text has at least one token.
    pub fn add(&mut self, draw: Draw) -> usize {
        let ticket = self.next;
        self.next += 1;
        self.open.push(Open {
            ticket,
            rng: ChaCha8Rng::seed_from_u64(draw.seed),
            draw,
            state: None,
            tokens: Vec::new(),
        });
        ticket
    }

    /// Writes a token of every open text and hands out those that are finished. `stop` is shown every text that goes on and
    /// may end it.
    ///
    /// # Errors
    /// The model's. All open texts are dropped then.
    pub fn step(
        &mut self,
        stop: &mut dyn FnMut(usize, &[u32]) -> bool,
    ) -> Result<Vec<(usize, Drawn)>, Error> {
        let runs: Vec<Run> = self.open.iter().map(Open::run).collect();
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let scores = match self.model.forward(&runs, Scoring::Full) {
            Ok(scores) => scores,
            Err(error) => {
                self.open
                    .drain(..)
                    .for_each(|text| self.model.close(text.ticket));
                return Err(error);
            }
        };
        let mut finished = Vec::new();
        let open = std::mem::take(&mut self.open);
        for (mut text, scores) in open.into_iter().zip(scores) {
            text.state = Some(scores.state);
            let token = choose(scores.next, &text.draw, &mut text.rng);
            let ended = self.ends.contains(&token) || {
                text.tokens.push(token);
                stop(text.ticket, &text.tokens)
            };
            if ended || text.tokens.len() >= text.draw.max_new_tokens {
                self.remembered.push_back(text.ticket);
                let tokens = text.tokens;
                finished.push((text.ticket, Drawn { tokens, ended }));
            } else {
                self.open.push(text);
            }
        }
        while self.remembered.len() > self.memory {
            let oldest = self.remembered.pop_front();
            oldest.into_iter().for_each(|text| self.model.close(text));
        }
        Ok(finished)
    }
}

impl Open {
    fn run(&self) -> Run {
        let candidates = if self.draw.temperature > 0.0 {
            CANDIDATES
        } else {
            1
        };
        Run {
            mention: self.ticket,
            after: self.state,
            tokens: match self.tokens.last() {
                None => self.draw.prompt.clone(),
                Some(&token) => vec![token],
            },
            score_read: false,
            wanted: Wanted::Best(candidates),
        }
    }
}

/// Draws a token by temperature, then nucleus, as transformers does.
fn choose(mut next: Vec<(u32, f32)>, draw: &Draw, rng: &mut ChaCha8Rng) -> u32 {
    next.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let best = next[0];
    if draw.temperature <= 0.0 {
        return best.0;
    }
    let weight = |log_prob: f32| (f64::from(log_prob - best.1) / draw.temperature).exp();
    let weights: Vec<f64> = next.iter().map(|&(_, log_prob)| weight(log_prob)).collect();
    let share = draw.top_p * weights.iter().sum::<f64>();
    let mut nucleus = 0.0;
    let inside = weights.iter().take_while(|&&w| {
        let before = nucleus;
        nucleus += w;
        before < share
    });
    let count = inside.count().max(1);
    let mut left = uniform(rng) * weights[..count].iter().sum::<f64>();
    for (&(token, _), weight) in next[..count].iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return token;
        }
    }
    next[count - 1].0
}

/// From 0 to 1, 1 excluded.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Scores;

    const END: u32 = 9;

    /// Says after a token `t` that `t + 1` has probability 0.7 and `t + 2` 0.3, modulo 10.
    #[derive(Default)]
    struct Counting {
        read: Vec<Vec<u32>>,
        open: Vec<usize>,
        broken: bool,
    }

    impl PoolModel for &mut Counting {
        fn vocab_size(&self) -> usize {
            10
        }

        fn forward(&mut self, runs: &[Run], _: Scoring) -> Result<Vec<Scores>, Error> {
            if self.broken {
                return Err(Error::Model("broken".into()));
            }
            let answer = |run: &Run| {
                let last = *run.tokens.last().unwrap();
                let mut next = vec![
                    ((last + 2) % 10, 0.3f32.ln()),
                    ((last + 1) % 10, 0.7f32.ln()),
                ];
                if run.wanted == Wanted::Best(1) {
                    next.remove(0);
                }
                Scores {
                    state: State(0),
                    read: Vec::new(),
                    next,
                }
            };
            for run in runs.iter() {
                self.read.push(run.tokens.clone());
                if run.after.is_none() {
                    self.open.push(run.mention);
                }
            }
            Ok(runs.iter().map(answer).collect())
        }

        fn close(&mut self, mention: usize) {
            self.open.retain(|&open| open != mention);
        }
    }

    fn draw(seed: u64) -> Draw {
        Draw {
            prompt: vec![7, 0],
            temperature: 1.0,
            top_p: 1.0,
            max_new_tokens: 100,
            seed,
        }
    }

    /// All texts, by ticket.
    fn write(model: &mut Counting, draws: &[Draw], at_once: usize) -> Vec<Drawn> {
        let mut sampler = Sampler::new(model, vec![END], 0);
        let mut waiting = draws.iter();
        let mut texts = vec![None; draws.len()];
        loop {
            for draw in waiting.by_ref().take(at_once - sampler.open()) {
                sampler.add(draw.clone());
            }
            if sampler.open() == 0 {
                break;
            }
            for (ticket, text) in sampler.step(&mut |_, _| false).unwrap() {
                texts[ticket] = Some(text);
            }
        }
        texts.into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn a_text_does_not_depend_on_its_neighbours() {
        let draws: Vec<Draw> = (0..20).map(draw).collect();
        let mut model = Counting::default();
        let alone = write(&mut model, &draws, 1);
        assert!(model.open.is_empty(), "every text is closed");
        assert_eq!(write(&mut Counting::default(), &draws, 7), alone);
        assert!(alone.iter().any(|text| text != &alone[0]), "seeds differ");
    }

    #[test]
    fn temperature_zero_counts_to_the_end_and_limits_cut() {
        let greedy = Draw {
            temperature: 0.0,
            ..draw(1)
        };
        let short = Draw {
            max_new_tokens: 3,
            ..greedy.clone()
        };
        let texts = write(&mut Counting::default(), &[greedy, short], 2);
        assert_eq!(
            texts[0],
            Drawn {
                tokens: (1..9).collect(),
                ended: true
            }
        );
        assert_eq!(
            texts[1],
            Drawn {
                tokens: vec![1, 2, 3],
                ended: false
            }
        );
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_nucleus() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let next = || vec![(4, 0.3f32.ln()), (5, 0.7f32.ln())];
        let mut share = |temperature, top_p| {
            let draw = Draw {
                temperature,
                top_p,
                ..draw(0)
            };
            let fives = (0..20_000).filter(|_| choose(next(), &draw, &mut rng) == 5);
            fives.count() as f64 / 20_000.0
        };
        assert!((share(1.0, 1.0) - 0.7).abs() < 0.02);
        // 0.7² / (0.7² + 0.3²)
        assert!((share(0.5, 1.0) - 0.845).abs() < 0.02);
        assert_eq!(share(1.0, 0.6), 1.0);
        assert!((share(1.0, 0.71) - 0.7).abs() < 0.02);
    }

    #[test]
    fn a_stop_ends_a_text_and_an_error_drops_all() {
        let mut model = Counting::default();
        let mut sampler = Sampler::new(&mut model, vec![END], 2);
        let ticket = sampler.add(Draw {
            temperature: 0.0,
            ..draw(0)
        });
        assert!(sampler.step(&mut |_, _| false).unwrap().is_empty());
        let finished = sampler.step(&mut |_, tokens| tokens == [1, 2]).unwrap();
        assert_eq!(
            finished,
            [(
                ticket,
                Drawn {
                    tokens: vec![1, 2],
                    ended: true
                }
            )]
        );
        drop(sampler);
        assert_eq!(model.open, [ticket], "remembered");
        let mut model = Counting {
            broken: true,
            ..Counting::default()
        };
        let mut sampler = Sampler::new(&mut model, vec![END], 2);
        sampler.add(draw(0));
        assert!(sampler.step(&mut |_, _| false).is_err());
        assert_eq!(sampler.open(), 0);
    }
}
