//! The exact search of one mention: the best names under the trie, by the model and not by luck.
//!
//! A log-probability is never positive, so the sum of a beginning bounds the sum of every name that goes on from it. The
//! search keeps all beginnings that it knows of in one heap, best bound first, and lets the model read where the bound
//! is best. When K names are finished whose scores no bound exceeds, they are the best K names of the group; nothing was
//! cut off on the way.
//!
//! With a length penalty `a` a name of `n` tokens scores `sum / n^a`. A beginning of `d` tokens whose names have between
//! `s` and `l` more bounds them by `sum / (d + l)^a` for positive `a` (a long name spreads the same sum thinner) and by
//! `sum / (d + s)^a` for negative `a`.
//!
//! That bound is as tight as can be without asking the model: nobody knows that the tokens to come are not certain. A short beginning of
//! long names therefore has a good bound whatever it says, and with `a` = 1 a search reads many beginnings to refute them.
//!
//! **Within reach of the most probable name.** [`super::SearchOptions::within`] keeps the length penalty and the cheap bound. The answers are
//! the best K by score of those names whose sum is at most `w` nats below the highest sum. The heap is ordered by sums, so the search first
//! finds the highest sum and ends where the best sum of what is open lies more than `w` below it: this set is complete, and 0 gives
//! the most probable name (and its equals) alone, a very large number the answers of a search without `w`. As soon as nothing open can have
//! a higher sum than the best finished name, membership is known, and beginnings whose bound by score is beaten by K
//! members are dropped as well.
//!
//! **Limit.** A mention that has read 8,192 tokens ends with the best names found so far, and if there is none, with the one that the best
//! beginning leads to, token by token; [`super::Work::unproven`] counts such mentions. What they have read by then depends on how many places
//! were read in one pass, so their answers, and theirs alone, may depend on who was open beside them.
//!
//! **Ties.** Names of equal score come in the order of their tokens, whatever the order in which they were found.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::answers::Answers;
use super::path::{Move, Paths, Place};
use super::pool::{Run, Scores, State, Wanted};
use super::{Constraint, Hypothesis, Query, Rules, Scoring};
use crate::{Error, Trie};

pub(super) struct BestFirst<'q> {
    query: &'q Query,
    index: usize,
    paths: Paths,
    frontier: BinaryHeap<Beginning>,
    answers: Answers,
    /// What the model reads now.
    reading: Vec<(Beginning, Run)>,
    started: bool,
    /// Beginnings made so far: the last word on ties in the heap.
    count: u64,
    /// Tokens read behind the prompt.
    rows: usize,
    /// Whether it was cut off at [`MOST_ROWS`].
    unproven: bool,
}

/// Tokens behind the prompt that one mention may read: a thousand times what a tuned model needs, 380 MB of keys and values
/// at the shape of SmolLM2. With a length penalty the bounds of long names are so loose that a search could read the
/// whole group.
const MOST_ROWS: usize = 8192;

/// A beginning of names whose last token has not been read.
struct Beginning {
    /// Greater is read sooner: the bound, or the sum where reach is limited.
    priority: f64,
    /// No name below scores higher.
    bound: f64,
    number: u64,
    sum_log_prob: f64,
    /// The last token read, none for the prompt.
    last: Option<u32>,
    token: u32,
    log_prob: f32,
    /// Tokens, the unread one included.
    length: usize,
    after: State,
    place: Place,
}

impl<'q> BestFirst<'q> {
    pub(super) fn new(index: usize, query: &'q Query, rules: &Rules<'_>) -> Result<Self, Error> {
        // Asked for its error: the group has to exist.
        Place::start(index, query, rules)?;
        Ok(Self {
            query,
            index,
            paths: Paths::default(),
            frontier: BinaryHeap::new(),
            answers: Answers::new(rules),
            reading: Vec::new(),
            started: false,
            count: 0,
            rows: 0,
            unproven: false,
        })
    }

    /// Tokens read behind the prompt.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Asks for the prompt first, then for the best beginnings that may still matter, until they have `room` rows.
    pub(super) fn ask(
        &mut self,
        room: usize,
        rules: &Rules<'_>,
        runs: &mut Vec<Run>,
    ) -> Result<(), Error> {
        let trie = trie(rules)?;
        if !self.started {
            self.started = true;
            let place = Place::start(self.index, self.query, rules)?;
            runs.push(Run {
                mention: self.index,
                after: None,
                tokens: self.query.prompt.clone(),
                score_read: false,
                wanted: self.wanted(place, trie, rules)?,
            });
            return Ok(());
        }
        let open = self.frontier.peek();
        let highest = open.map_or(f64::NEG_INFINITY, |best| best.priority);
        self.answers.settle(highest, rules);
        let mut read = 0;
        while read < room {
            let Some(best) = self.frontier.pop() else {
                break;
            };
            if self.answers.exclude(best.sum_log_prob, best.bound, rules) {
                continue;
            }
            if self.rows >= MOST_ROWS {
                self.unproven = true;
                self.frontier.clear();
                if !(self.answers.is_empty() && self.reading.is_empty()) {
                    break;
                }
            }
            let (forced, place) = best
                .place
                .forced(trie, rules.options.max_new_tokens - best.length);
            let mut tokens = vec![best.token];
            tokens.extend(forced);
            self.rows += tokens.len();
            read += tokens.len();
            let run = Run {
                mention: self.index,
                after: Some(best.after),
                tokens,
                score_read: rules.options.scoring == Scoring::Full,
                wanted: self.wanted(place, trie, rules)?,
            };
            self.reading.push((Beginning { place, ..best }, run));
        }
        runs.extend(self.reading.iter().map(|(_, run)| run.clone()));
        Ok(())
    }

    pub(super) fn tell(
        &mut self,
        scores: &mut dyn Iterator<Item = Scores>,
        rules: &Rules<'_>,
    ) -> Result<(), Error> {
        let trie = trie(rules)?;
        let reading = std::mem::take(&mut self.reading);
        if reading.is_empty() {
            let place = Place::start(self.index, self.query, rules)?;
            if let Some(scores) = scores.next() {
                self.expand(None, 0.0, 0, place, &scores, trie, rules)?;
            }
        }
        for ((beginning, run), scores) in reading.into_iter().zip(scores) {
            let mut sum = beginning.sum_log_prob;
            let mut last = self
                .paths
                .add(beginning.last, beginning.token, beginning.log_prob);
            for (position, &token) in run.tokens[1..].iter().enumerate() {
                // Without a choice a token costs nothing where scores are renormalised.
                let log_prob = scores.read.get(position).copied().unwrap_or(0.0);
                sum += f64::from(log_prob);
                last = self.paths.add(Some(last), token, log_prob);
            }
            let length = beginning.length + run.tokens.len() - 1;
            self.expand(
                Some(last),
                sum,
                length,
                beginning.place,
                &scores,
                trie,
                rules,
            )?;
        }
        Ok(())
    }

    /// Whether the answers are the best that were found, and not proved to be the best there are.
    pub(super) fn is_unproven(&self) -> bool {
        self.unproven
    }

    pub(super) fn into_hypotheses(self, rules: &Rules<'_>) -> Vec<Hypothesis> {
        self.answers.into_best(rules)
    }

    fn wanted(&self, place: Place, trie: &Trie, rules: &Rules<'_>) -> Result<Wanted, Error> {
        let moves = place.moves(trie, self.index, self.query, rules)?;
        Ok(Wanted::Tokens(
            moves.into_iter().map(|(token, _)| token).collect(),
        ))
    }

    /// Takes what the model says about the tokens behind a place.
    #[allow(clippy::too_many_arguments)]
    fn expand(
        &mut self,
        last: Option<u32>,
        sum: f64,
        length: usize,
        place: Place,
        scores: &Scores,
        trie: &Trie,
        rules: &Rules<'_>,
    ) -> Result<(), Error> {
        if length >= rules.options.max_new_tokens {
            return Ok(());
        }
        let moves = place.moves(trie, self.index, self.query, rules)?;
        for ((token, way), &(_, log_prob)) in moves.into_iter().zip(&scores.next) {
            if log_prob == f32::NEG_INFINITY {
                continue;
            }
            let sum_log_prob = sum + f64::from(log_prob);
            match way {
                Move::End => self.finish(last, token, log_prob, sum_log_prob, length + 1, rules),
                Move::To(place) => {
                    let bound = bound(sum_log_prob, length + 1, place, trie, rules);
                    let beginning = Beginning {
                        priority: match rules.options.within {
                            Some(_) => sum_log_prob,
                            None => bound,
                        },
                        bound,
                        number: self.count,
                        sum_log_prob,
                        last,
                        token,
                        log_prob,
                        length: length + 1,
                        after: scores.state,
                        place,
                    };
                    self.count += 1;
                    self.remember(beginning, trie, rules);
                }
            }
        }
        Ok(())
    }

    /// Puts a beginning into the heap, or where the rest of it costs nothing, ends it.
    fn remember(&mut self, beginning: Beginning, trie: &Trie, rules: &Rules<'_>) {
        let (sum, bound) = (beginning.sum_log_prob, beginning.bound);
        let (shortest, _) = beginning.place.tokens_left(trie, rules);
        let ends_too_late =
            beginning.length.saturating_add(shortest) > rules.options.max_new_tokens;
        if ends_too_late || self.answers.exclude(sum, bound, rules) {
            return;
        }
        if rules.options.scoring == Scoring::Local {
            let room = rules.options.max_new_tokens - beginning.length;
            let (forced, place) = beginning.place.forced(trie, room);
            if place.must_end(trie, rules) {
                let length = beginning.length + forced.len() + 1;
                let score = sum / rules.length_divisor(length);
                if length > rules.options.max_new_tokens || self.answers.exclude(sum, score, rules)
                {
                    return;
                }
                let mut last = self
                    .paths
                    .add(beginning.last, beginning.token, beginning.log_prob);
                for token in forced {
                    last = self.paths.add(Some(last), token, 0.0);
                }
                self.finish(Some(last), rules.special.eos, 0.0, sum, length, rules);
                return;
            }
        }
        self.frontier.push(beginning);
    }

    fn finish(
        &mut self,
        last: Option<u32>,
        token: u32,
        log_prob: f32,
        sum: f64,
        length: usize,
        rules: &Rules<'_>,
    ) {
        let score = sum / rules.length_divisor(length);
        if self.answers.exclude(sum, score, rules) {
            return;
        }
        let last = self.paths.add(last, token, log_prob);
        let name = self.paths.hypothesis(last, sum, score);
        self.answers.add(name, rules);
    }
}

/// The highest score that a name may have which begins with `length` tokens of `sum_log_prob` and goes on from `place`.
fn bound(sum_log_prob: f64, length: usize, place: Place, trie: &Trie, rules: &Rules<'_>) -> f64 {
    let (shortest, longest) = place.tokens_left(trie, rules);
    let most = rules.options.max_new_tokens;
    let end = if rules.options.length_penalty >= 0.0 {
        length.saturating_add(longest).min(most)
    } else {
        length.saturating_add(shortest).min(most)
    };
    sum_log_prob / rules.length_divisor(end)
}

fn trie<'t>(rules: &Rules<'t>) -> Result<&'t Trie, Error> {
    match rules.constraint {
        Constraint::Guided(trie) => Ok(trie),
        Constraint::Free => Err(Error::Option {
            key: "strategy",
            reason: "best_first needs a trie: free text has no end to its names; take beam",
        }),
    }
}

impl Ord for Beginning {
    /// Greater is to be read sooner.
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority
            .total_cmp(&other.priority)
            .then_with(|| other.number.cmp(&self.number))
    }
}

impl PartialOrd for Beginning {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Beginning {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Beginning {}
