//! The search of one mention: its beams, its finished answers, and one step.

use std::cmp::Ordering;

use super::{
    Constraint, EarlyStopping, Hypothesis, Query, SearchOptions, SpecialTokens, log_normalizer,
};
use crate::trie::NodeId;
use crate::{Error, Trie};

/// What all mentions of one call share.
pub(super) struct Rules<'a> {
    pub(super) constraint: Constraint<'a>,
    pub(super) special: SpecialTokens,
    pub(super) options: &'a SearchOptions,
    pub(super) vocab: usize,
}

/// One mention.
pub(super) struct Search<'q> {
    query: &'q Query,
    index: usize,
    /// Every token that ever entered a beam; hypotheses share their beginnings.
    links: Vec<Link>,
    /// Best first, by the rule of ties.
    live: Vec<Beam>,
    /// Best first.
    finished: Vec<Finished>,
    /// Where the rows of `live` begin in the model's last output.
    first_row: usize,
}

/// One token of a hypothesis and the link of the token before it.
struct Link {
    before: Option<u32>,
    token: u32,
    log_prob: f32,
}

/// A running hypothesis.
struct Beam {
    last: Option<u32>,
    token: u32,
    /// Position of the continued beam in `live` of the step before.
    parent: u32,
    sum_log_prob: f64,
    place: Place,
}

/// Where a hypothesis stands in the trie. Free search stands nowhere and ignores it.
#[derive(Clone, Copy)]
struct Place {
    node: NodeId,
    /// Names completed by a separator.
    names: usize,
}

/// A possible next token of a beam.
struct Candidate {
    sum_log_prob: f64,
    beam: u32,
    token: u32,
    log_prob: f32,
    place: Place,
}

struct Finished {
    last: u32,
    sum_log_prob: f64,
    score: f64,
}

impl<'q> Search<'q> {
    pub(super) fn new(index: usize, query: &'q Query, rules: &Rules<'_>) -> Result<Self, Error> {
        let node = match rules.constraint {
            Constraint::Free => NodeId(0),
            Constraint::Guided(trie) => root(trie, index, query, 0)?,
        };
        let start = Beam {
            last: None,
            token: 0,
            parent: 0,
            sum_log_prob: 0.0,
            place: Place { node, names: 0 },
        };
        Ok(Self {
            query,
            index,
            links: Vec::new(),
            live: vec![start],
            finished: Vec::new(),
            first_row: index,
        })
    }

    /// Takes one step with the logits behind each live beam. Does nothing when the mention is done.
    pub(super) fn advance(
        &mut self,
        step: usize,
        logits: &[f32],
        rules: &Rules<'_>,
    ) -> Result<(), Error> {
        if self.live.is_empty() {
            return Ok(());
        }
        let beams = rules.options.beams;
        let mut candidates = self.candidates(step, logits, rules)?;
        keep_best(&mut candidates, 2 * beams);
        let out_of_tokens = step + 1 == rules.options.max_new_tokens;
        let mut live = Vec::with_capacity(beams);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let ends = candidate.token == rules.special.eos;
            // A free answer may be cut short, as `generate` does; a piece of a name is no answer.
            let is_answer = ends || (out_of_tokens && matches!(rules.constraint, Constraint::Free));
            if is_answer && rank < beams {
                self.finish(&candidate, step + 1, rules);
            } else if !ends && live.len() < beams {
                live.push(self.continue_with(candidate));
            }
        }
        self.live = live;
        if out_of_tokens || self.is_done(step + 1, rules) {
            self.live.clear();
        }
        Ok(())
    }

    /// Appends one row for each live beam, and remembers where they are.
    pub(super) fn claim_rows(&mut self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>) {
        let parents_begin = self.first_row as u32;
        self.first_row = tokens.len();
        for beam in &self.live {
            tokens.push(beam.token);
            parents.push(parents_begin + beam.parent);
        }
    }

    pub(super) fn into_hypotheses(self) -> Vec<Hypothesis> {
        self.finished
            .iter()
            .map(|finished| self.unroll(finished))
            .collect()
    }

    /// Every allowed continuation of every live beam (in free search: the best 2K of each beam, which is enough).
    fn candidates(
        &self,
        step: usize,
        logits: &[f32],
        rules: &Rules<'_>,
    ) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for (number, beam) in self.live.iter().enumerate() {
            let row = &logits[(self.first_row + number) * rules.vocab..][..rules.vocab];
            let normalizer = log_normalizer(row).ok_or(Error::NotFinite {
                query: self.index,
                step,
            })?;
            let mut offer = |token: u32, place: Place| {
                let logit = *row
                    .get(token as usize)
                    .ok_or(Error::TokenOutsideVocabulary {
                        token,
                        vocab: rules.vocab,
                    })?;
                if logit > f32::NEG_INFINITY {
                    let log_prob = (f64::from(logit) - normalizer) as f32;
                    let sum_log_prob = beam.sum_log_prob + f64::from(log_prob);
                    candidates.push(Candidate {
                        sum_log_prob,
                        beam: number as u32,
                        token,
                        log_prob,
                        place,
                    });
                }
                Ok(())
            };
            match rules.constraint {
                Constraint::Guided(trie) => {
                    self.offer_names(trie, beam.place, rules, &mut offer)?
                }
                Constraint::Free => {
                    for token in best_tokens(row, 2 * rules.options.beams) {
                        offer(token, beam.place)?;
                    }
                }
            }
        }
        Ok(candidates)
    }

    /// What the trie allows: the children, and where a name may end the end of sequence and the separator.
    fn offer_names(
        &self,
        trie: &Trie,
        place: Place,
        rules: &Rules<'_>,
        offer: &mut dyn FnMut(u32, Place) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (token, node) in trie.children(place.node).iter() {
            offer(token, Place { node, ..place })?;
        }
        if trie.terminal(place.node).is_some() {
            offer(rules.special.eos, place)?;
            let names = place.names + 1;
            if let (Some(sep), Some(limit)) = (rules.special.sep, rules.options.multi_answer)
                && names < limit
            {
                offer(
                    sep,
                    Place {
                        node: root(trie, self.index, self.query, names)?,
                        names,
                    },
                )?;
            }
        }
        Ok(())
    }

    fn continue_with(&mut self, candidate: Candidate) -> Beam {
        let last = Some(self.link(&candidate));
        let Candidate {
            sum_log_prob,
            beam,
            token,
            place,
            ..
        } = candidate;
        Beam {
            last,
            token,
            parent: beam,
            sum_log_prob,
            place,
        }
    }

    fn finish(&mut self, candidate: &Candidate, length: usize, rules: &Rules<'_>) {
        let score = candidate.sum_log_prob / length_divisor(length, rules);
        // Behind all that are as good: what finished first stays first.
        let position = self.finished.partition_point(|other| other.score >= score);
        if position < rules.options.beams {
            let last = self.link(candidate);
            self.finished.insert(
                position,
                Finished {
                    last,
                    sum_log_prob: candidate.sum_log_prob,
                    score,
                },
            );
            self.finished.truncate(rules.options.beams);
        }
    }

    /// Whether nothing better is to be expected, `length` tokens being generated.
    fn is_done(&self, length: usize, rules: &Rules<'_>) -> bool {
        let Some(best) = self.live.first() else {
            return true;
        };
        let Some(worst) = self.finished.get(rules.options.beams - 1) else {
            return false;
        };
        let options = rules.options;
        let hoped_length = match options.early_stopping {
            EarlyStopping::FirstFull => return true,
            EarlyStopping::Exhaustive if options.length_penalty > 0.0 => options.max_new_tokens,
            EarlyStopping::Exhaustive | EarlyStopping::Heuristic => length,
        };
        best.sum_log_prob / length_divisor(hoped_length, rules) <= worst.score
    }

    fn link(&mut self, candidate: &Candidate) -> u32 {
        let before = self.live[candidate.beam as usize].last;
        self.links.push(Link {
            before,
            token: candidate.token,
            log_prob: candidate.log_prob,
        });
        (self.links.len() - 1) as u32
    }

    fn unroll(&self, finished: &Finished) -> Hypothesis {
        let (mut tokens, mut token_log_probs) = (Vec::new(), Vec::new());
        let mut at = Some(finished.last);
        while let Some(link) = at.map(|index| &self.links[index as usize]) {
            tokens.push(link.token);
            token_log_probs.push(link.log_prob);
            at = link.before;
        }
        tokens.reverse();
        token_log_probs.reverse();
        Hypothesis {
            tokens,
            sum_log_prob: finished.sum_log_prob,
            score: finished.score,
            token_log_probs,
        }
    }
}

impl Rules<'_> {
    /// The most tokens that an answer can have, so that a model need not allocate for more.
    pub(super) fn longest_answer(&self) -> usize {
        let Constraint::Guided(trie) = self.constraint else {
            return self.options.max_new_tokens;
        };
        let name_and_end = trie.longest_name_tokens() + 1;
        let names = self.options.multi_answer.unwrap_or(1);
        self.options
            .max_new_tokens
            .min(name_and_end.saturating_mul(names))
    }

    pub(super) fn check_specials(&self) -> Result<(), Error> {
        for token in [Some(self.special.eos), self.special.sep]
            .into_iter()
            .flatten()
        {
            if token as usize >= self.vocab {
                return Err(Error::TokenOutsideVocabulary {
                    token,
                    vocab: self.vocab,
                });
            }
        }
        Ok(())
    }

    pub(super) fn check_logits(&self, logits: &[f32], rows: usize) -> Result<(), Error> {
        let expected = rows * self.vocab;
        if logits.len() == expected {
            return Ok(());
        }
        Err(Error::LogitsShape {
            found: logits.len(),
            rows,
            vocab: self.vocab,
            expected,
        })
    }
}

/// Where the name behind `names` others begins.
fn root(trie: &Trie, index: usize, query: &Query, names: usize) -> Result<NodeId, Error> {
    let group = query
        .group_of(names)
        .ok_or(Error::NoGroup { query: index })?;
    trie.root(group).ok_or(Error::NoSuchGroup {
        query: index,
        group: group.0,
        groups: trie.group_count(),
    })
}

fn length_divisor(length: usize, rules: &Rules<'_>) -> f64 {
    (length as f64).powf(f64::from(rules.options.length_penalty))
}

/// Leaves the best `count` candidates, best first.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if candidates.len() > count {
        candidates.select_nth_unstable_by(count - 1, compare);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(compare);
}

/// The rule of ties: higher sum, then better-ranked beam, then smaller token. No two candidates are equal.
fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    b.sum_log_prob
        .total_cmp(&a.sum_log_prob)
        .then_with(|| a.beam.cmp(&b.beam))
        .then_with(|| a.token.cmp(&b.token))
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
