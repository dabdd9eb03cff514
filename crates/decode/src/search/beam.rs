//! The beam search of one mention.

use std::cmp::Ordering;
use std::rc::Rc;

use super::path::{Move, Paths, Place};
use super::pool::{Run, Scores, State, Wanted};
use super::{Constraint, EarlyStopping, Hypothesis, Query, Rules, Scoring};
use crate::Error;

/// One mention.
pub(super) struct BeamSearch<'q> {
    query: &'q Query,
    index: usize,
    paths: Paths,
    /// Best first, by the rule of ties.
    live: Vec<Beam>,
    /// Best first.
    finished: Vec<Finished>,
    /// Tokens of every live beam.
    length: usize,
    /// The beams whose runs are being read, in the order of the runs, and where these lead.
    reading: Vec<(usize, Run, Place)>,
}

/// A running hypothesis.
struct Beam {
    last: Option<u32>,
    sum_log_prob: f64,
    place: Place,
    ahead: Ahead,
}

/// What is known of the tokens behind a hypothesis.
#[derive(Clone)]
enum Ahead {
    /// Nothing: its last token has yet to be read behind a state; without one, the prompt has.
    Unread(Option<(State, u32)>),
    /// It ends with token `at` of a run that has been read.
    Read { run: Rc<ReadRun>, at: usize },
}

struct ReadRun {
    tokens: Vec<u32>,
    scores: Scores,
}

/// A possible next token of a beam.
struct Candidate {
    sum_log_prob: f64,
    beam: u32,
    token: u32,
    log_prob: f32,
    /// Where it leads; nowhere for the end of sequence.
    place: Option<Place>,
}

struct Finished {
    last: u32,
    sum_log_prob: f64,
    score: f64,
}

impl<'q> BeamSearch<'q> {
    pub(super) fn new(index: usize, query: &'q Query, rules: &Rules<'_>) -> Result<Self, Error> {
        let start = Beam {
            last: None,
            sum_log_prob: 0.0,
            place: Place::start(index, query, rules)?,
            ahead: Ahead::Unread(None),
        };
        Ok(Self {
            query,
            index,
            paths: Paths::default(),
            live: vec![start],
            finished: Vec::new(),
            length: 0,
            reading: Vec::new(),
        })
    }

    /// Asks for the last token of every beam that has not been read, and for some of what follows it without a choice: up
    /// to `room` rows in all. Half of what is read ahead belongs to beams that die before they get there, so this is for
    /// passes that have room.
    pub(super) fn ask(
        &mut self,
        room: usize,
        rules: &Rules<'_>,
        runs: &mut Vec<Run>,
    ) -> Result<(), Error> {
        self.reading.clear();
        loop {
            let unread = |beam: &&Beam| matches!(beam.ahead, Ahead::Unread(_));
            let unread = self.live.iter().filter(unread).count();
            let ahead = (room / unread.max(1)).saturating_sub(1);
            for number in 0..self.live.len() {
                let Ahead::Unread(unread) = self.live[number].ahead.clone() else {
                    continue;
                };
                let (run, place) = self.run(number, unread, ahead, rules)?;
                match must_end(&run, place, rules) {
                    Some(known) => self.live[number].ahead = known,
                    None => self.reading.push((number, run, place)),
                }
            }
            if !self.reading.is_empty() || self.live.is_empty() {
                break;
            }
            // Nothing needs the model: what can be said without it may be all there is to say.
            self.advance(rules)?;
        }
        runs.extend(self.reading.iter().map(|(_, run, _)| run.clone()));
        Ok(())
    }

    /// Takes the scores of the runs asked for, and as many steps as they allow.
    pub(super) fn tell(
        &mut self,
        scores: &mut dyn Iterator<Item = Scores>,
        rules: &Rules<'_>,
    ) -> Result<(), Error> {
        for (number, run, _) in self.reading.drain(..) {
            let Some(mut scores) = scores.next() else {
                break;
            };
            let tokens = match run.after {
                Some(_) => run.tokens,
                // The prompt is no part of the answer; its last token stands for it.
                None => vec![*run.tokens.last().unwrap_or(&0)],
            };
            // Without a choice a token costs nothing where scores are renormalised.
            scores.read.resize(tokens.len() - 1, 0.0);
            let run = Rc::new(ReadRun { tokens, scores });
            self.live[number].ahead = Ahead::Read { run, at: 0 };
        }
        while !self.live.is_empty()
            && self
                .live
                .iter()
                .all(|beam| matches!(beam.ahead, Ahead::Read { .. }))
        {
            self.advance(rules)?;
        }
        Ok(())
    }

    pub(super) fn into_hypotheses(self) -> Vec<Hypothesis> {
        let paths = &self.paths;
        self.finished
            .iter()
            .map(|done| paths.hypothesis(done.last, done.sum_log_prob, done.score))
            .collect()
    }

    fn run(
        &self,
        number: usize,
        unread: Option<(State, u32)>,
        ahead: usize,
        rules: &Rules<'_>,
    ) -> Result<(Run, Place), Error> {
        let place = self.live[number].place;
        let Some((after, token)) = unread else {
            let run = Run {
                mention: self.index,
                after: None,
                tokens: self.query.prompt.clone(),
                score_read: false,
                wanted: self.wanted(place, rules)?,
            };
            return Ok((run, place));
        };
        let room = rules.options.max_new_tokens - self.length;
        let room = match rules.options.scoring {
            Scoring::Full => room.min(ahead),
            // Forced tokens cost nothing there, and whether a name must end behind them is to be seen at once.
            Scoring::Local => room,
        };
        let (forced, place) = match rules.constraint {
            Constraint::Guided(trie) if rules.forced_runs => place.forced(trie, room),
            _ => (Vec::new(), place),
        };
        let mut tokens = vec![token];
        tokens.extend(forced);
        let run = Run {
            mention: self.index,
            after: Some(after),
            score_read: rules.options.scoring == Scoring::Full,
            wanted: self.wanted(place, rules)?,
            tokens,
        };
        Ok((run, place))
    }

    fn wanted(&self, place: Place, rules: &Rules<'_>) -> Result<Wanted, Error> {
        Ok(match rules.constraint {
            Constraint::Free => Wanted::Best(2 * rules.options.beams),
            Constraint::Guided(trie) => {
                let moves = place.moves(trie, self.index, self.query, rules)?;
                Wanted::Tokens(moves.into_iter().map(|(token, _)| token).collect())
            }
        })
    }

    /// Takes one step.
    fn advance(&mut self, rules: &Rules<'_>) -> Result<(), Error> {
        let beams = rules.options.beams;
        let mut candidates = self.candidates(rules)?;
        keep_best(&mut candidates, 2 * beams);
        self.length += 1;
        let out_of_tokens = self.length == rules.options.max_new_tokens;
        let mut live = Vec::with_capacity(beams);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let ends = candidate.place.is_none();
            // A free answer may be cut short, as `generate` does; a piece of a name is no answer.
            let is_answer = ends || (out_of_tokens && matches!(rules.constraint, Constraint::Free));
            if is_answer && rank < beams {
                self.finish(&candidate, rules);
            } else if let Some(place) = candidate.place
                && live.len() < beams
            {
                live.push(self.continue_with(&candidate, place));
            }
        }
        self.live = live;
        if out_of_tokens || self.is_done(rules) {
            self.live.clear();
        }
        Ok(())
    }

    /// Every allowed continuation of every live beam (in free search: the best 2K of each beam, which is enough).
    fn candidates(&self, rules: &Rules<'_>) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for (number, beam) in self.live.iter().enumerate() {
            let Ahead::Read { run, at } = &beam.ahead else {
                continue;
            };
            let mut offer = |token: u32, log_prob: f32, place: Option<Place>| {
                if log_prob > f32::NEG_INFINITY {
                    candidates.push(Candidate {
                        sum_log_prob: beam.sum_log_prob + f64::from(log_prob),
                        beam: number as u32,
                        token,
                        log_prob,
                        place,
                    });
                }
            };
            let next = &run.scores.next;
            match rules.constraint {
                Constraint::Guided(trie) => match run.tokens.get(at + 1) {
                    Some(&token) => {
                        let (_, place) = beam.place.forced(trie, 1);
                        offer(token, run.scores.read[*at], Some(place));
                    }
                    None => {
                        let moves = beam.place.moves(trie, self.index, self.query, rules)?;
                        for ((token, way), &(_, log_prob)) in moves.into_iter().zip(next) {
                            let place = match way {
                                Move::To(place) => Some(place),
                                Move::End => None,
                            };
                            offer(token, log_prob, place);
                        }
                    }
                },
                Constraint::Free => {
                    for &(token, log_prob) in next {
                        let ends = token == rules.special.eos;
                        offer(token, log_prob, (!ends).then_some(beam.place));
                    }
                }
            }
        }
        Ok(candidates)
    }

    fn continue_with(&mut self, candidate: &Candidate, place: Place) -> Beam {
        let before = &self.live[candidate.beam as usize];
        let ahead = match &before.ahead {
            Ahead::Read { run, at } if at + 1 < run.tokens.len() => Ahead::Read {
                run: Rc::clone(run),
                at: at + 1,
            },
            Ahead::Read { run, .. } => Ahead::Unread(Some((run.scores.state, candidate.token))),
            Ahead::Unread(_) => unreachable!("only beams that were read have candidates"),
        };
        let last = self
            .paths
            .add(before.last, candidate.token, candidate.log_prob);
        Beam {
            last: Some(last),
            sum_log_prob: candidate.sum_log_prob,
            place,
            ahead,
        }
    }

    fn finish(&mut self, candidate: &Candidate, rules: &Rules<'_>) {
        let score = candidate.sum_log_prob / rules.length_divisor(self.length);
        // Behind all that are as good: what finished first stays first.
        let position = self.finished.partition_point(|other| other.score >= score);
        if position < rules.options.beams {
            let before = self.live[candidate.beam as usize].last;
            let last = self.paths.add(before, candidate.token, candidate.log_prob);
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

    /// Whether nothing better is to be expected.
    fn is_done(&self, rules: &Rules<'_>) -> bool {
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
            EarlyStopping::Exhaustive | EarlyStopping::Heuristic => self.length,
        };
        best.sum_log_prob / rules.length_divisor(hoped_length) <= worst.score
    }
}

/// What is known of a run without reading it: where scores are renormalised over what is allowed, and nothing is allowed
/// but the end, everything.
fn must_end(run: &Run, place: Place, rules: &Rules<'_>) -> Option<Ahead> {
    let (Constraint::Guided(trie), Scoring::Local) = (rules.constraint, rules.options.scoring)
    else {
        return None;
    };
    let state = run.after.filter(|_| place.must_end(trie, rules))?;
    let scores = Scores {
        state,
        read: vec![0.0; run.tokens.len() - 1],
        next: vec![(rules.special.eos, 0.0)],
    };
    let tokens = run.tokens.clone();
    let run = Rc::new(ReadRun { tokens, scores });
    Some(Ahead::Read { run, at: 0 })
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
