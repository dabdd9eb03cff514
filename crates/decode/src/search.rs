//! Search for names: beam search, guided by a [`Trie`] or free, and exact best-first search under a trie.
//!
//! # Beam search
//! The semantics are those of Hugging Face `generate` with `num_beams = num_return_sequences = K` and a
//! `prefix_allowed_tokens_fn`, because that is what published systems of this kind run (paper, section on inference):
//!
//! 1. A token's score is its log-probability under the softmax over the **whole** vocabulary; the trie then only
//!    forbids. A forced token therefore still costs what the model thinks of it.
//! 2. Each step ranks all continuations of a mention's live beams by their summed log-probability and looks at the
//!    best 2K. Those among the first K that end the answer are finished, with the sum divided by
//!    `length ^ length_penalty` (the end token counts); the best K that do not end go on.
//! 3. A mention keeps its K best finished answers. It stops when K are finished and, by [`EarlyStopping`], none that
//!    is still running is expected to do better, or when nothing runs any more.
//!
//! Where we differ, on purpose: a beam that nothing may continue is gone, where `generate` pads it on with a score of
//! -10⁹ and may return it (facebookresearch/GENRE#47); a guided answer that hits `max_new_tokens` is no name and is
//! dropped; sums are kept in `f64`; and the probability of every token is kept along the ancestry of its beam.
//!
//! **Ties** have a rule: of two continuations with the same sum, the one of the better-ranked beam comes first, then
//! the smaller token; of two finished answers with the same score, the one that finished first, then by the rule above.
//!
//! # Best-first search
//! [`Strategy::BestFirst`] finds the K names with the highest scores, proven: see the module `best_first` for the bound.
//! With a trained model and no length penalty it lets the model read a fraction of what five beams read. With a length
//! penalty a proof takes many times as long; [`SearchOptions::within`] ranks by it among the most probable names alone.
//!
//! # Models
//! [`search`] runs over a [`PoolModel`]: many mentions in one stream of passes, forced tokens in one pass, the tokens asked
//! for scored without a logit vector in between. [`beam_search`] runs the same beams over a [`StepModel`], one token a pass. On
//! a GPU a [`BatchSearch`] keeps trie and hypotheses beside the weights.

mod answers;
mod beam;
mod best_first;
#[cfg(feature = "model")]
mod device;
mod path;
mod pool;
mod scores;
mod stepwise;

use serde::{Deserialize, Serialize};
use syncabel_kb::GroupId;

use crate::{Error, StepModel, Trie};
use stepwise::Stepwise;

#[cfg(feature = "model")]
pub use device::DeviceBeams;
pub use pool::{PoolModel, Run, Scores, State, Wanted, Work};
pub use scores::log_normalizer;

/// One mention to decode: what the model reads, and the groups whose names are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The tokens up to and including the prompt's verb.
    pub prompt: Vec<u32>,
    /// The mention's semantic groups, one for nearly every mention. The n-th name of an answer comes from the n-th
    /// group, and from the last one when there are more names than groups.
    pub groups: Vec<GroupId>,
    /// Names of the first group that are answers in any case, by their tokens without the end; what the search does not find of
    /// them is scored behind its answers. Others and those that are too long are left out. Only with a trie,
    /// [`Scoring::Full`] and a [`PoolModel`].
    pub given: Vec<Vec<u32>>,
}

impl Query {
    /// A mention of one semantic group; no names are given.
    pub fn new(prompt: Vec<u32>, group: GroupId) -> Self {
        Self {
            prompt,
            groups: vec![group],
            given: Vec::new(),
        }
    }

    /// The group of the name behind `names` others; `None` if the query has no group at all.
    pub fn group_of(&self, names: usize) -> Option<GroupId> {
        self.groups.get(names).or(self.groups.last()).copied()
    }
}

/// What may be generated.
#[derive(Clone, Copy, Debug)]
pub enum Constraint<'t> {
    /// Only names of the query's semantic group.
    Guided(&'t Trie),
    /// Anything: the paper's "without guided inference".
    Free,
}

/// The tokens that mean something to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Ends an answer.
    pub eos: u32,
    /// Stands between the names of a composite answer.
    pub sep: Option<u32>,
}

/// How names are searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The paper's: K hypotheses, one token after the other, with the finishing rule of `generate`.
    #[default]
    Beam,
    /// The K best names, found exactly. Needs a trie and a [`PoolModel`].
    BestFirst,
}

/// What a token costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Its log-probability among all tokens of the vocabulary, as `generate` has it: a token that the trie forces
    /// still costs what the model thinks of it.
    #[default]
    Full,
    /// Its log-probability among the tokens that the trie allows: a forced token costs nothing. Another ranking.
    Local,
}

/// Options of a search; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchOptions {
    /// How names are searched for.
    pub strategy: Strategy,
    /// What a token costs.
    pub scoring: Scoring,
    /// Hypotheses kept per mention, and answers returned.
    pub beams: usize,
    /// Longest answer in tokens, the end of sequence included.
    pub max_new_tokens: usize,
    /// Exponent of the length by which a finished sum is divided: 0 ranks by probability, 1 by the mean per token. The
    /// bound of a best-first search is tight at 0; at 1 it reads many times as much, unless [`SearchOptions::within`] says where
    /// to stop.
    pub length_penalty: f32,
    /// With [`Strategy::BestFirst`]: answers are names whose summed log-probability is at most so many nats below that of the most
    /// probable name, at most `beams` of them, the best by score. Every such name is known when a search ends, so the answers are
    /// exact; 0 leaves the most probable name. `None`: all names of the group may be answers.
    pub within: Option<f32>,
    /// When a mention has enough answers.
    pub early_stopping: EarlyStopping,
    /// Most names in one answer when several are allowed: where a name may end, the separator may follow, and behind it
    /// the group's names begin anew. `None`: one name. Only guided search needs to be told.
    pub multi_answer: Option<usize>,
}

/// When a mention that has K finished answers stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// When the best running beam, ended at its present length, would not beat the worst answer. May stop too early,
    /// since a longer answer can have a better mean; it is what `generate` does by default (`early_stopping=False`).
    #[default]
    Heuristic,
    /// At once (`early_stopping=True`).
    FirstFull,
    /// When no running beam can beat the worst answer even if every later token were certain (`"never"`).
    Exhaustive,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            scoring: Scoring::default(),
            beams: 5,
            max_new_tokens: 128,
            length_penalty: 1.0,
            within: None,
            early_stopping: EarlyStopping::default(),
            multi_answer: None,
        }
    }
}

/// An answer with its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The generated tokens; the last one is the end of sequence unless the search ran into `max_new_tokens`.
    pub tokens: Vec<u32>,
    /// Log-probability of the whole answer: the sum of `token_log_probs`, in nats.
    pub sum_log_prob: f64,
    /// `sum_log_prob / tokens.len() ^ length_penalty`, by which answers are ranked.
    pub score: f64,
    /// Log-probability of each token given the prompt and the tokens before it, by the scoring asked for: over the whole
    /// vocabulary, or among what the trie allows (0 where that is one token).
    pub token_log_probs: Vec<f32>,
}

impl Hypothesis {
    /// Whether the answer came to its end; always so in guided search.
    pub fn is_finished(&self, special: &SpecialTokens) -> bool {
        self.tokens.last() == Some(&special.eos)
    }

    /// The tokens of each name of the answer, without end and separators.
    pub fn names<'h>(
        &'h self,
        special: &SpecialTokens,
    ) -> impl Iterator<Item = &'h [u32]> + use<'h> {
        let SpecialTokens { eos, sep } = *special;
        let text = self.tokens.strip_suffix(&[eos]).unwrap_or(&self.tokens);
        text.split(move |&token| Some(token) == sep)
    }

    /// `exp` of the mean log-probability of the tokens that spell names: the paper's `Prediction_score`, here along the
    /// ancestry of the answer's own beam. 0 for an answer without such tokens.
    pub fn mean_token_probability(&self, special: &SpecialTokens) -> f64 {
        let spells = |token: u32| token != special.eos && Some(token) != special.sep;
        let (mut sum, mut count) = (0.0, 0u32);
        for (&token, &log_prob) in self.tokens.iter().zip(&self.token_log_probs) {
            if spells(token) {
                sum += f64::from(log_prob);
                count += 1;
            }
        }
        if count == 0 {
            0.0
        } else {
            (sum / f64::from(count)).exp()
        }
    }
}

/// Decodes all `queries` together and returns, for each in input order, its answers, best first: at most
/// `options.beams`, fewer when fewer were found, none when none was.
///
/// An answer depends on its query alone, not on its companions (as far as the model's arithmetic does not either).
/// A mention that is done has no rows in later steps.
///
/// # Errors
/// [`Error::Option`], [`Error::NoSuchGroup`], [`Error::TokenOutsideVocabulary`], [`Error::LogitsShape`],
/// [`Error::NotFinite`], and what the model reports.
pub fn beam_search(
    model: &mut dyn StepModel,
    queries: &[Query],
    constraint: Constraint<'_>,
    special: SpecialTokens,
    options: &SearchOptions,
) -> Result<Vec<Vec<Hypothesis>>, Error> {
    if options.strategy != Strategy::Beam {
        return Err(Error::Option {
            key: "strategy",
            reason: "best_first needs a model that goes on from any place, which this device does not offer; take beam",
        });
    }
    check_given(queries, false)?;
    let rules = Rules::new(constraint, special, options, model.vocab_size(), false)?;
    let mut found = vec![Vec::new(); queries.len()];
    if !queries.is_empty() {
        let mut model = Stepwise::new(model, options.beams, rules.longest_answer());
        let mut done = |query: usize, answers| found[query] = answers;
        pool::decode(&mut model, queries, &rules, queries.len(), &mut done)?;
    }
    Ok(found)
}

/// Decodes `queries`, at most `open_at_once` of them at any time, and hands each query's number and answers to `done` as
/// soon as they are there: at most `options.beams` answers, best first, and behind them those of the names given with the query
/// that are not among them.
///
/// Answers depend on the query alone, not on its companions or their order (as far as the model's arithmetic does not).
///
/// # Errors
/// [`Error::Option`], [`Error::NoSuchGroup`], [`Error::TokenOutsideVocabulary`], [`Error::NotFinite`], and what the model
/// reports. No mention stays open after an error.
pub fn search(
    model: &mut dyn PoolModel,
    queries: &[Query],
    constraint: Constraint<'_>,
    special: SpecialTokens,
    options: &SearchOptions,
    open_at_once: usize,
    done: &mut dyn FnMut(usize, Vec<Hypothesis>),
) -> Result<Work, Error> {
    let rules = Rules::new(constraint, special, options, model.vocab_size(), true)?;
    check_given(
        queries,
        options.scoring == Scoring::Full && matches!(constraint, Constraint::Guided(_)),
    )?;
    pool::decode(model, queries, &rules, open_at_once.max(1), done)
}

/// Something that searches names for whole batches by itself, where its weights are.
pub trait BatchSearch {
    /// Most tokens of a prompt and what follows it.
    fn positions(&self) -> usize {
        usize::MAX
    }

    /// Decodes all `queries` together; for each, in input order, its answers, best first: at most `options.beams`.
    ///
    /// # Errors
    /// As [`beam_search`].
    fn search(
        &mut self,
        queries: &[Query],
        special: SpecialTokens,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>, Error>;
}

fn check_given(queries: &[Query], possible: bool) -> Result<(), Error> {
    if !possible && queries.iter().any(|query| !query.given.is_empty()) {
        return Err(Error::Option {
            key: "given",
            reason: "names are given only to `search` with a trie and full scores",
        });
    }
    Ok(())
}

/// What all mentions of one search share.
struct Rules<'a> {
    constraint: Constraint<'a>,
    special: SpecialTokens,
    options: &'a SearchOptions,
    vocab: usize,
    /// Whether tokens without a choice are read together.
    forced_runs: bool,
}

impl<'a> Rules<'a> {
    fn new(
        constraint: Constraint<'a>,
        special: SpecialTokens,
        options: &'a SearchOptions,
        vocab: usize,
        forced_runs: bool,
    ) -> Result<Self, Error> {
        options.check(constraint)?;
        for token in [Some(special.eos), special.sep].into_iter().flatten() {
            if token as usize >= vocab {
                return Err(Error::TokenOutsideVocabulary { token, vocab });
            }
        }
        Ok(Self {
            constraint,
            special,
            options,
            vocab,
            forced_runs,
        })
    }

    fn longest_answer(&self) -> usize {
        self.options.longest_answer(self.constraint)
    }

    /// Refuses what does not fit into so many positions, before anything is read.
    fn check_lengths(&self, queries: &[Query], capacity: usize) -> Result<(), Error> {
        let longest = self.longest_answer();
        let needed = |query: &Query| query.prompt.len().saturating_add(longest);
        match queries.iter().position(|query| needed(query) > capacity) {
            Some(query) => Err(Error::TooLong {
                query,
                needed: needed(&queries[query]),
                capacity,
            }),
            None => Ok(()),
        }
    }

    fn length_divisor(&self, length: usize) -> f64 {
        (length as f64).powf(f64::from(self.options.length_penalty))
    }
}

/// More beams than any group has plausible names; the memory for their candidates is taken at once.
const MOST_BEAMS: usize = 1 << 16;

impl SearchOptions {
    /// Why [`SearchOptions::within`] cannot work with the other options, if so.
    pub fn within_defect(&self) -> Option<&'static str> {
        match self.within? {
            _ if self.strategy != Strategy::BestFirst => {
                Some("is for best-first search only: beams stop by their own rule; leave it out")
            }
            nats if !(nats.is_finite() && nats >= 0.0) => {
                Some("must be a number of nats, 0 or more")
            }
            _ => None,
        }
    }

    /// The most tokens that an answer can have, so that a model need not allocate for more.
    pub(crate) fn longest_answer(&self, constraint: Constraint<'_>) -> usize {
        let Constraint::Guided(trie) = constraint else {
            return self.max_new_tokens;
        };
        let name_and_end = trie.longest_name_tokens() + 1;
        let names = self.multi_answer.unwrap_or(1);
        self.max_new_tokens.min(name_and_end.saturating_mul(names))
    }

    pub(crate) fn check(&self, constraint: Constraint<'_>) -> Result<(), Error> {
        let refuse = |key, reason| Err(Error::Option { key, reason });
        if matches!(constraint, Constraint::Free) {
            if self.strategy == Strategy::BestFirst {
                return refuse(
                    "strategy",
                    "best_first needs a trie; take beam for free text",
                );
            }
            if self.scoring == Scoring::Local {
                return refuse(
                    "scoring",
                    "local needs a trie, which says what is allowed; take full",
                );
            }
        }
        if !(1..=MOST_BEAMS).contains(&self.beams) {
            return refuse("beams", "must be between 1 and 65536");
        }
        if self.max_new_tokens == 0 {
            return refuse("max_new_tokens", "must be at least 1");
        }
        if !self.length_penalty.is_finite() {
            return refuse("length_penalty", "must be a finite number");
        }
        if let Some(defect) = self.within_defect() {
            return refuse("within", defect);
        }
        if self.multi_answer == Some(0) {
            return refuse(
                "multi_answer",
                "must be at least 1 name (or absent for one)",
            );
        }
        Ok(())
    }
}
