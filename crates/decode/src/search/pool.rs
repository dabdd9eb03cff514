//! Many mentions in one stream of forward passes.
//!
//! A search says which token runs it wants read next; the pool collects the runs of all open mentions, hands them to the
//! model as one batch, and hands the scores back. A mention that is done leaves and the next one joins at once, so the
//! batches stay full to the end of the queue and nobody waits for the slowest.

use super::{
    Constraint, Hypothesis, Query, Rules, Scoring, Strategy, beam::BeamSearch,
    best_first::BestFirst,
};
use crate::Error;

/// A place in a model's memory: all that was read up to the last token of a run, prompt included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub u32);

/// Tokens that a model is to read in one pass, and what it is to say about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose run it is. States live until [`PoolModel::close`] of their mention.
    pub mention: usize,
    /// What was read before; `None` for a prompt, which opens the mention.
    pub after: Option<State>,
    /// At least one token.
    pub tokens: Vec<u32>,
    /// Whether the tokens behind the first one are to be scored.
    pub score_read: bool,
    /// What is to be said about the token behind the run.
    pub wanted: Wanted,
}

/// Which tokens behind a run are to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These, in this order.
    Tokens(Vec<u32>),
    /// So many with the highest scores, in any order; of equal ones those with the smaller ids.
    Best(usize),
}

/// What a model says about a [`Run`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The place behind the run.
    pub state: State,
    /// Log-probability of each token of the run but the first, given all before it, over the whole vocabulary; empty
    /// unless asked for.
    pub read: Vec<f32>,
    /// The wanted tokens with their log-probabilities by the [`Scoring`] that was asked for. -∞ for an impossible one.
    pub next: Vec<(u32, f32)>,
}

/// A language model that reads token runs of many mentions in one pass.
///
/// Unlike a [`crate::StepModel`] it may be asked to go on from any place that an open mention has reached, by any number of
/// tokens, and mentions come and go between passes. What it answers about a run does not depend on the other runs
/// (as far as its arithmetic does not).
pub trait PoolModel {
    /// Number of tokens that the head knows.
    fn vocab_size(&self) -> usize;

    /// Most tokens of a prompt and what follows it.
    fn positions(&self) -> usize {
        usize::MAX
    }

    /// Reads all `runs` and answers them in their order. A run never goes on from a run of the same call.
    ///
    /// # Errors
    /// [`Error::Model`], and [`Error::NotFinite`] for scores that are no numbers.
    fn forward(&mut self, runs: &[Run], scoring: Scoring) -> Result<Vec<Scores>, Error>;

    /// Forgets a mention and all its states.
    fn close(&mut self, mention: usize);
}

/// What a search did, for tables of costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Forward passes.
    pub passes: u64,
    /// Tokens read as prompts.
    pub prompt_tokens: u64,
    /// Tokens read behind prompts.
    pub rows: u64,
    /// Of these, tokens behind the first one of their run.
    pub forced_rows: u64,
    /// Mentions whose best-first search was cut off before its answers were proved to be the best.
    pub unproven: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.passes += other.passes;
        self.prompt_tokens += other.prompt_tokens;
        self.rows += other.rows;
        self.forced_rows += other.forced_rows;
        self.unproven += other.unproven;
    }
}

impl<M: PoolModel + ?Sized> PoolModel for &mut M {
    fn vocab_size(&self) -> usize {
        (**self).vocab_size()
    }

    fn positions(&self) -> usize {
        (**self).positions()
    }

    fn forward(&mut self, runs: &[Run], scoring: Scoring) -> Result<Vec<Scores>, Error> {
        (**self).forward(runs, scoring)
    }

    fn close(&mut self, mention: usize) {
        (**self).close(mention);
    }
}

impl Work {
    fn count(&mut self, runs: &[Run]) {
        self.passes += 1;
        for run in runs {
            let tokens = run.tokens.len() as u64;
            if run.after.is_none() {
                self.prompt_tokens += tokens;
            } else {
                self.rows += tokens;
                self.forced_rows += tokens - 1;
            }
        }
    }
}

/// Tokens behind their prompts that open best-first searches may have read together before only the first of them goes on, so that
/// not all of them can come to their limit at the same time: with that limit, twice as many at most.
const MOST_OPEN_ROWS: usize = 8192;

/// Rows that a pass may have for hardly more than one: what reading the weights costs anyway. A best-first search that
/// is alone looks at several places at once up to this many.
const CHEAP_ROWS: usize = 6;

/// Rows up to which a pass is filled with forced tokens of beams, which may turn out not to be needed because the beam
/// dies first: about as many as take as long to multiply as the weights to read. A pass that has them anyway, from many
/// open mentions, reads nothing ahead.
const AHEAD_ROWS: usize = 32;

/// One mention's search.
enum Search<'q> {
    Beam(BeamSearch<'q>),
    BestFirst(BestFirst<'q>),
}

impl<'q> Search<'q> {
    fn new(index: usize, query: &'q Query, rules: &Rules<'_>) -> Result<Self, Error> {
        Ok(match rules.options.strategy {
            Strategy::Beam => Self::Beam(BeamSearch::new(index, query, rules)?),
            Strategy::BestFirst => Self::BestFirst(BestFirst::new(index, query, rules)?),
        })
    }

    /// Adds the runs that it needs next, beside those of `open` mentions in all: at least one unless it is done.
    fn ask(&mut self, open: usize, rules: &Rules<'_>, runs: &mut Vec<Run>) -> Result<(), Error> {
        match self {
            Self::Beam(search) => search.ask(AHEAD_ROWS / open, rules, runs),
            Self::BestFirst(search) => search.ask((CHEAP_ROWS / open).max(1), rules, runs),
        }
    }

    fn tell(
        &mut self,
        scores: &mut dyn Iterator<Item = Scores>,
        rules: &Rules<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Beam(search) => search.tell(scores, rules),
            Self::BestFirst(search) => search.tell(scores, rules),
        }
    }

    fn is_unproven(&self) -> bool {
        matches!(self, Self::BestFirst(search) if search.is_unproven())
    }

    /// Tokens that it has read behind the prompt and that may be many.
    fn rows(&self) -> usize {
        match self {
            Self::Beam(_) => 0,
            Self::BestFirst(search) => search.rows(),
        }
    }

    fn into_hypotheses(self, rules: &Rules<'_>) -> Vec<Hypothesis> {
        match self {
            Self::Beam(search) => search.into_hypotheses(),
            Self::BestFirst(search) => search.into_hypotheses(rules),
        }
    }
}

struct Open<'q> {
    index: usize,
    query: &'q Query,
    stage: Stage<'q>,
    /// What was said about the prompt, if names are given that begin behind it.
    prompt: Option<Scores>,
    /// Runs in the present pass.
    asked: usize,
    /// Whether it sits the present pass out.
    waits: bool,
}

enum Stage<'q> {
    Searching(Search<'q>),
    /// The search is done; names that it did not find are being read.
    Reading {
        found: Vec<Hypothesis>,
        names: Vec<&'q [u32]>,
    },
}

impl<'q> Open<'q> {
    fn new(index: usize, query: &'q Query, rules: &Rules<'_>) -> Result<Self, Error> {
        Ok(Self {
            index,
            query,
            stage: Stage::Searching(Search::new(index, query, rules)?),
            prompt: None,
            asked: 0,
            waits: false,
        })
    }

    fn rows(&self) -> usize {
        match &self.stage {
            Stage::Searching(search) => search.rows(),
            Stage::Reading { .. } => 0,
        }
    }

    /// Adds the runs that it needs next, beside those of `open` mentions in all; none when it is done.
    fn ask(
        &mut self,
        open: usize,
        rules: &Rules<'_>,
        runs: &mut Vec<Run>,
        work: &mut Work,
    ) -> Result<(), Error> {
        let before = runs.len();
        if let Stage::Searching(search) = &mut self.stage {
            search.ask(open, rules, runs)?;
            if runs.len() == before {
                work.unproven += u64::from(search.is_unproven());
                self.read_names(rules);
            }
        }
        if let (Stage::Reading { names, .. }, Some(prompt)) = (&self.stage, &self.prompt) {
            runs.extend(names.iter().map(|name| Run {
                mention: self.index,
                after: Some(prompt.state),
                tokens: name.to_vec(),
                score_read: true,
                wanted: Wanted::Tokens(vec![rules.special.eos]),
            }));
        }
        self.asked = runs.len() - before;
        Ok(())
    }

    /// Leaves the search for the names that it did not find.
    fn read_names(&mut self, rules: &Rules<'_>) {
        let done = Stage::Reading {
            found: Vec::new(),
            names: Vec::new(),
        };
        let Stage::Searching(search) = std::mem::replace(&mut self.stage, done) else {
            return;
        };
        let found = search.into_hypotheses(rules);
        let eos = rules.special.eos;
        let is_found = |name: &[u32]| {
            found
                .iter()
                .any(|answer| answer.tokens.strip_suffix(&[eos]) == Some(name))
        };
        let mut names: Vec<&[u32]> = Vec::new();
        if let (Constraint::Guided(trie), Some(group)) = (rules.constraint, self.query.group_of(0))
        {
            for name in self.query.given.iter().map(Vec::as_slice) {
                let fits =
                    name.len() < rules.options.max_new_tokens && trie.lookup(group, name).is_some();
                if fits && !is_found(name) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        self.stage = Stage::Reading { found, names };
    }

    fn tell(&mut self, scores: Vec<Scores>, rules: &Rules<'_>) -> Result<(), Error> {
        if self.prompt.is_none() && !self.query.given.is_empty() {
            self.prompt = scores.first().cloned();
        }
        match &mut self.stage {
            Stage::Searching(search) => search.tell(&mut scores.into_iter(), rules),
            Stage::Reading { found, names } => {
                let read = names.drain(..).zip(&scores);
                let begun = self.prompt.iter().flat_map(|prompt| &prompt.next);
                let begun: Vec<(u32, f32)> = begun.copied().collect();
                found.extend(read.filter_map(|(name, scores)| given(name, &begun, scores, rules)));
                Ok(())
            }
        }
    }

    fn into_hypotheses(self) -> Vec<Hypothesis> {
        match self.stage {
            Stage::Searching(_) => Vec::new(),
            Stage::Reading { found, .. } => found,
        }
    }
}

/// The answer that a given name is; `None` where the model holds it for impossible.
fn given(
    name: &[u32],
    begun: &[(u32, f32)],
    scores: &Scores,
    rules: &Rules<'_>,
) -> Option<Hypothesis> {
    let first = begun
        .iter()
        .find(|(token, _)| Some(token) == name.first())?
        .1;
    let end = scores.next.first()?.1;
    let token_log_probs: Vec<f32> = [first]
        .into_iter()
        .chain(scores.read.iter().copied())
        .chain([end])
        .collect();
    let mut tokens = name.to_vec();
    tokens.push(rules.special.eos);
    let sum_log_prob: f64 = token_log_probs.iter().copied().map(f64::from).sum();
    if !sum_log_prob.is_finite() {
        return None;
    }
    Some(Hypothesis {
        score: sum_log_prob / rules.length_divisor(tokens.len()),
        tokens,
        sum_log_prob,
        token_log_probs,
    })
}

/// Decodes `queries`, at most `open_at_once` of them at any time, handing each result over as soon as it is there.
pub(super) fn decode(
    model: &mut dyn PoolModel,
    queries: &[Query],
    rules: &Rules<'_>,
    open_at_once: usize,
    done: &mut dyn FnMut(usize, Vec<Hypothesis>),
) -> Result<Work, Error> {
    rules.check_lengths(queries, model.positions())?;
    let mut open: Vec<Open<'_>> = Vec::new();
    let outcome = pump(model, queries, rules, open_at_once, &mut open, done);
    if outcome.is_err() {
        open.iter().for_each(|mention| model.close(mention.index));
    }
    outcome
}

fn pump<'q>(
    model: &mut dyn PoolModel,
    queries: &'q [Query],
    rules: &Rules<'_>,
    open_at_once: usize,
    open: &mut Vec<Open<'q>>,
    done: &mut dyn FnMut(usize, Vec<Hypothesis>),
) -> Result<Work, Error> {
    let mut work = Work::default();
    let mut waiting = queries.iter().enumerate();
    let mut runs = Vec::new();
    loop {
        runs.clear();
        let is_full = open.iter().map(Open::rows).sum::<usize>() >= MOST_OPEN_ROWS;
        for (place, mention) in open.iter_mut().enumerate() {
            mention.asked = 0;
            mention.waits = is_full && place > 0;
        }
        loop {
            let room = if is_full {
                0
            } else {
                open_at_once - open.len()
            };
            for (index, query) in waiting.by_ref().take(room) {
                open.push(Open::new(index, query, rules)?);
            }
            let together = open.len();
            let goes_on = |mention: &&mut Open<'_>| mention.asked == 0 && !mention.waits;
            for mention in open.iter_mut().filter(goes_on) {
                mention.ask(together, rules, &mut runs, &mut work)?;
            }
            // Who asks for nothing has its answers; its place is free for another one.
            let before = open.len();
            let is_done = |mention: &mut Open<'_>| mention.asked == 0 && !mention.waits;
            for mention in open.extract_if(.., is_done) {
                model.close(mention.index);
                done(mention.index, mention.into_hypotheses());
            }
            if open.len() == before || waiting.len() == 0 || is_full {
                break;
            }
        }
        if open.is_empty() && waiting.len() == 0 {
            return Ok(work);
        }
        if runs.is_empty() {
            // The one that went on is done; the others had been waiting for it.
            continue;
        }
        work.count(&runs);
        let scores = model.forward(&runs, rules.options.scoring)?;
        check(&runs, &scores)?;
        let mut scores = scores.into_iter();
        for mention in open.iter_mut().filter(|mention| !mention.waits) {
            let own = scores.by_ref().take(mention.asked).collect();
            mention.tell(own, rules)?;
        }
    }
}

/// The promises that indexing relies on.
fn check(runs: &[Run], scores: &[Scores]) -> Result<(), Error> {
    let keeps = |(run, scores): (&Run, &Scores)| {
        let read = if run.score_read {
            run.tokens.len() - 1
        } else {
            0
        };
        let next = match &run.wanted {
            Wanted::Tokens(tokens) => scores
                .next
                .iter()
                .map(|pair| pair.0)
                .eq(tokens.iter().copied()),
            Wanted::Best(count) => scores.next.len() <= *count,
        };
        scores.read.len() == read && next
    };
    if runs.len() == scores.len() && runs.iter().zip(scores).all(keeps) {
        Ok(())
    } else {
        Err(Error::Model("it did not answer what it was asked".into()))
    }
}
