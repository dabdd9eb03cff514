//! Marked mentions in, predictions out.
//!
//! # Scores
//! With `p_1 .. p_n` the probabilities of an answer's tokens, the end included, and length penalty 1:
//!
//! | column | value |
//! | --- | --- |
//! | `Candidates` | every answer of the search (with [`Lexical`] also the nearest names), best first (with [`Lexical`] by the sum that ranks, not by the score shown); names of one concept stay apart; score = `exp` of the answer's length-normalised log-probability, `(p_1 ... p_n)^(1/n)` |
//! | `Prediction_beam_score` | the score of the answer that is predicted: the best candidate, with [`ConceptRule::SummedNames`] the best of the predicted concept |
//! | `Prediction_score` | `exp` of the mean log-probability of that answer's tokens without end and separators |
//! | `Margin` | lead of the predicted concept over the next one in nats, by what [`ConceptRule`] compares, so never negative; empty when every candidate has the same code (with [`SearchOptions::within`]: no other concept is within reach) |
//! | `Probability` | that the predicted concept is right, by a [`Calibration`] fitted on held-out data; empty without one |

mod calibration;
mod gold;
mod memory;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use syncabel_corpus::marked::{MarkedMention, SEP, completion};
use syncabel_corpus::predictions::{Candidate, Prediction};
use syncabel_kb::select::TfidfIndex;
use syncabel_kb::{ConceptId, GroupId, Kb};

use crate::search::{
    BatchSearch, Constraint, Hypothesis, PoolModel, Query, Scoring, SearchOptions, SpecialTokens,
    Work, beam_search, search,
};
use crate::{Error, NodeId, StepModel, Tokenizer, Trie};
use memory::Memory;

pub use calibration::{Calibration, CalibrationReport};
pub use gold::{GoldRule, semantic_rel};

/// The code of "no answer".
pub const NIL: &str = "NIL";

/// The code of an answer that is no name of the knowledge base: only free search gives such answers.
pub const NO_CODE: &str = "NO_CODE";

/// Options of a [`Linker`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkOptions {
    /// How to search.
    pub search: SearchOptions,
    /// Mentions decoded together. Memory depends on it, answers do not, but for those that [`Work::unproven`] counts.
    pub batch: usize,
    /// How names decide about concepts.
    pub concepts: ConceptRule,
    /// Ranks answers also by how much they look like the mention.
    pub lexical: Option<Lexical>,
    /// Turns scores into probabilities.
    pub calibration: Option<Calibration>,
    /// An answer that is less probable than this becomes [`NIL`]; its candidates stay. Needs a calibration.
    pub min_probability: Option<f64>,
    /// What the `code` column says is right.
    pub gold: GoldRule,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            search: SearchOptions::default(),
            batch: 16,
            concepts: ConceptRule::default(),
            lexical: None,
            calibration: None,
            min_probability: None,
            gold: GoldRule::default(),
        }
    }
}

/// String similarity beside the model: the names nearest to a mention become answers too, and all answers are ranked by
///
/// `score + weight * cosine`
///
/// with the length-normalised log-probability of a name (nats a token) and the cosine of its TF-IDF vector over character 3-grams and
/// the mention's. A model that has never seen a concept often does not dare to write its name, even where the mention is
/// that name. The reported scores stay those of the model; [`Prediction::margin`] is a difference of this sum.
///
/// A [`Calibration`] sees the model's scores alone: it must be fitted on predictions made with the same options, and what the cosine
/// has put first is the first to become [`NIL`].
///
/// Needs a trie, [`Scoring::Full`], single answers, [`ConceptRule::BestName`] and a model that is a [`PoolModel`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lexical {
    /// Nearest names that become answers.
    pub names: usize,
    /// What a cosine of 1 is worth, in nats a token.
    pub weight: f64,
}

impl Default for Lexical {
    fn default() -> Self {
        Self {
            names: 5,
            weight: 1.0,
        }
    }
}

/// More nearest names help nobody, and all of a mention are read in one pass.
const MOST_NAMES: usize = 100;

impl LinkOptions {
    /// Why [`Lexical`] cannot work with the other options, if so.
    pub fn lexical_defect(&self, guided: bool) -> Option<&'static str> {
        let lexical = self.lexical?;
        if !lexical.weight.is_finite() {
            return Some("its weight must be a finite number");
        }
        if lexical.names > MOST_NAMES {
            return Some("its names must be at most 100");
        }
        let possible = guided
            && self.search.scoring == Scoring::Full
            && self.search.multi_answer.is_none()
            && self.concepts == ConceptRule::BestName;
        (!possible).then_some(
            "needs guided search, full scores, one name an answer and the concept of the best name",
        )
    }
}

/// How names decide about concepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConceptRule {
    /// The best name's concept is predicted; concepts are compared by the score of their best name.
    #[default]
    BestName,
    /// Probabilities of a concept's names among the candidates are summed, and the largest sum is predicted, by its best
    /// name. A lower bound of the concept's probability: names that are no candidate are missing.
    SummedNames,
}

/// What a linker knows beyond a prediction, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The candidates of the prediction, token by token.
    pub candidates: Vec<Vec<Piece>>,
}

/// One token of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// What it spells; nothing for the end of sequence.
    pub text: String,
    /// Its log-probability, in nats.
    pub log_prob: f32,
    /// Whether the trie allowed nothing else.
    pub forced: bool,
}

/// What decodes.
enum Model<'a> {
    /// One token a pass.
    Steps(Box<dyn StepModel + 'a>),
    /// Mentions come and go.
    Pool(Box<dyn PoolModel + 'a>),
    /// A batch at a time, where the weights are.
    Batches(Box<dyn BatchSearch + 'a>),
}

/// Links mentions to the concepts of a knowledge base.
///
/// With a trie the search is guided, without one it is free and answers are looked up by their text. Prompts are
/// decoded many at a time, equal prompts once, also those of earlier calls that were answered lately; answers come in the order of the
/// mentions.
pub struct Linker<'a> {
    model: Model<'a>,
    tokenizer: &'a dyn Tokenizer,
    kb: &'a Kb,
    trie: Option<&'a Trie>,
    options: LinkOptions,
    /// Of all names, if the nearest ones are wanted.
    index: Option<TfidfIndex>,
    work: Work,
    memory: Memory,
}

impl<'a> Linker<'a> {
    /// A linker over any model; `Linker::new` takes a checkpoint.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a trie of another knowledge base or tokenizer, [`Error::Option`] for an empty batch.
    pub fn with_model(
        model: Box<dyn StepModel + 'a>,
        tokenizer: &'a dyn Tokenizer,
        kb: &'a Kb,
        trie: Option<&'a Trie>,
        options: LinkOptions,
    ) -> Result<Self, Error> {
        Self::with(Model::Steps(model), tokenizer, kb, trie, options)
    }

    /// A linker over a model that takes many mentions at once, such as the CPU engine.
    ///
    /// # Errors
    /// As [`Linker::with_model`].
    pub fn with_pool(
        model: Box<dyn PoolModel + 'a>,
        tokenizer: &'a dyn Tokenizer,
        kb: &'a Kb,
        trie: Option<&'a Trie>,
        options: LinkOptions,
    ) -> Result<Self, Error> {
        Self::with(Model::Pool(model), tokenizer, kb, trie, options)
    }

    /// A linker over something that searches by itself, such as the beams of a GPU. `trie` is the one that it searches.
    ///
    /// # Errors
    /// As [`Linker::with_model`].
    pub fn with_batches(
        search: Box<dyn BatchSearch + 'a>,
        tokenizer: &'a dyn Tokenizer,
        kb: &'a Kb,
        trie: &'a Trie,
        options: LinkOptions,
    ) -> Result<Self, Error> {
        Self::with(Model::Batches(search), tokenizer, kb, Some(trie), options)
    }

    fn with(
        model: Model<'a>,
        tokenizer: &'a dyn Tokenizer,
        kb: &'a Kb,
        trie: Option<&'a Trie>,
        options: LinkOptions,
    ) -> Result<Self, Error> {
        if let Some(trie) = trie {
            trie.check_digests(kb.digest(), &tokenizer.digest())?;
        }
        options
            .search
            .check(trie.map_or(Constraint::Free, Constraint::Guided))?;
        let refuse = |key, reason| Err(Error::Option { key, reason });
        if options.batch == 0 {
            return refuse("batch", "must be at least 1 mention");
        }
        match options.min_probability {
            Some(least) if !(0.0..=1.0).contains(&least) => {
                return refuse("min_probability", "must lie between 0 and 1");
            }
            Some(_) if options.calibration.is_none() => {
                return refuse(
                    "min_probability",
                    "needs a calibration: scores alone are no probabilities; fit one on held-out predictions",
                );
            }
            _ => {}
        }
        if let Some(reason) = options.lexical_defect(trie.is_some()) {
            return refuse("lexical", reason);
        }
        if options.lexical.is_some() && !matches!(model, Model::Pool(_)) {
            return refuse(
                "lexical",
                "needs a model that goes on from any place, which this device does not offer; link on the CPU",
            );
        }
        if let Some(reason) = options.calibration.as_ref().and_then(Calibration::defect) {
            return refuse("calibration", reason);
        }
        let candidates = options.search.beams + options.lexical.map_or(0, |lexical| lexical.names);
        if options.calibration.is_some() && candidates < 2 {
            return refuse(
                "calibration",
                "compares the candidates of a mention: ask for two or more of them (`beams`)",
            );
        }
        Ok(Self {
            model,
            tokenizer,
            kb,
            trie,
            index: options.lexical.map(|_| TfidfIndex::fit(kb)),
            options,
            work: Work::default(),
            memory: Memory::default(),
        })
    }

    /// Whether a mention's prompt and the longest possible answer fit into the model's context; [`Linker::link`] refuses others.
    ///
    /// # Errors
    /// [`Error::Mention`] around [`Error::TooLong`], and what the tokenizer reports.
    pub fn check_length(&self, mention: &MarkedMention) -> Result<(), Error> {
        if !self.may_be_too_long(mention.prompt().len()) {
            return Ok(());
        }
        let needed = self.tokenizer.encode(&mention.prompt())?.len() + self.longest_answer();
        let capacity = self.positions();
        if needed <= capacity {
            return Ok(());
        }
        Err(Error::Mention {
            document: mention.document.clone(),
            mention: mention.mention_id.clone(),
            source: Box::new(Error::TooLong {
                query: 0,
                needed,
                capacity,
            }),
        })
    }

    /// Whether [`Linker::check_length`] may refuse any prompt of so many bytes: a token has one at least, and a tokenizer adds a
    /// few of its own.
    pub fn may_be_too_long(&self, bytes: usize) -> bool {
        const ADDED: usize = 8;
        let needed = bytes.saturating_add(ADDED + self.longest_answer());
        needed > self.positions()
    }

    fn longest_answer(&self) -> usize {
        let constraint = self.trie.map_or(Constraint::Free, Constraint::Guided);
        self.options.search.longest_answer(constraint)
    }

    fn positions(&self) -> usize {
        match &self.model {
            Model::Steps(model) => model.positions(),
            Model::Pool(model) => model.positions(),
            Model::Batches(model) => model.positions(),
        }
    }

    /// What the model has read so far; nothing is counted over a [`StepModel`].
    pub fn work(&self) -> Work {
        self.work
    }

    /// Links all `mentions`; predictions in the same order.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`] for a mention whose group the knowledge base does not have (before any work is done), and
    /// what tokenizer, model and search report.
    pub fn link(&mut self, mentions: &[MarkedMention]) -> Result<Vec<Prediction>, Error> {
        self.link_with_progress(mentions, &mut |_| {})
    }

    /// [`Linker::link`], telling `progress` after each batch how many mentions are done.
    ///
    /// # Errors
    /// As [`Linker::link`].
    pub fn link_with_progress(
        &mut self,
        mentions: &[MarkedMention],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Prediction>, Error> {
        let linked = self.link_and(mentions, progress, &mut |_, _, _| ())?;
        Ok(linked
            .into_iter()
            .map(|(prediction, ())| prediction)
            .collect())
    }

    /// [`Linker::link_with_progress`], with what a person wants to know about each answer.
    ///
    /// # Errors
    /// As [`Linker::link`].
    pub fn link_explained(
        &mut self,
        mentions: &[MarkedMention],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<(Prediction, Explanation)>, Error> {
        self.link_and(mentions, progress, &mut |linker, query, found| {
            linker.explain(query, found)
        })
    }

    /// Links, and asks `more` once for all mentions of one query.
    fn link_and<T: Clone>(
        &mut self,
        mentions: &[MarkedMention],
        progress: &mut dyn FnMut(usize),
        more: &mut dyn FnMut(&Self, &Query, &[Ranked]) -> T,
    ) -> Result<Vec<(Prediction, T)>, Error> {
        let queries = mentions
            .iter()
            .map(|mention| self.query(mention))
            .collect::<Result<Vec<_>, _>>()?;
        let padded = !matches!(self.model, Model::Pool(_));
        let work = group_equal(&queries, padded);
        let distinct: Vec<Query> = work.iter().map(|same| queries[same[0]].clone()).collect();
        let mut found: Vec<Option<Vec<Hypothesis>>> = distinct
            .iter()
            .map(|query| self.memory.recall(query))
            .collect();
        let (known, new): (Vec<usize>, Vec<usize>) =
            (0..distinct.len()).partition(|&query| found[query].is_some());
        let mut done: usize = known.iter().map(|&query| work[query].len()).sum();
        if done > 0 {
            progress(done);
        }
        let asked: Vec<Query> = new.iter().map(|&query| distinct[query].clone()).collect();
        let unproven = self.work.unproven;
        let searched = self.search(&asked, &mut |query| {
            done += work[new[query]].len();
            progress(done);
        });
        let searched =
            searched.map_err(|error| match error.query().and_then(|at| new.get(at)) {
                Some(&query) => Error::Mention {
                    document: mentions[work[query][0]].document.clone(),
                    mention: mentions[work[query][0]].mention_id.clone(),
                    source: Box::new(error),
                },
                None => error,
            })?;
        // An answer that was not proven depends on what else was open.
        let is_proven = self.work.unproven == unproven;
        for (query, answers) in new.into_iter().zip(searched) {
            if is_proven {
                self.memory.keep(&distinct[query], &answers);
            }
            found[query] = Some(answers);
        }
        let found = found.into_iter().flatten();
        let mut linked: Vec<Option<(Prediction, T)>> = vec![None; mentions.len()];
        for ((same, query), found) in work.iter().zip(&distinct).zip(found) {
            let ranked = self.rank(&mentions[same[0]], query, found);
            let answers: Vec<Answer> = ranked.iter().map(|one| self.answer(query, one)).collect();
            let more = more(self, query, &ranked);
            for &mention in same {
                let prediction = self.prediction(&mentions[mention], query, &answers);
                linked[mention] = Some((prediction, more.clone()));
            }
        }
        Ok(linked.into_iter().flatten().collect())
    }

    /// Prompt and groups of a mention.
    fn query(&self, mention: &MarkedMention) -> Result<Query, Error> {
        let group = |name: &str| {
            self.kb.group_id(name).ok_or_else(|| Error::UnknownGroup {
                document: mention.document.clone(),
                mention: mention.mention_id.clone(),
                group: name.to_owned(),
                known: self
                    .kb
                    .groups()
                    .map(|(_, name)| name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
        };
        let groups = mention.groups().map(group).collect::<Result<Vec<_>, _>>()?;
        let given = match (groups.first(), self.options.lexical, &self.index) {
            (Some(&group), Some(lexical), Some(index)) => {
                self.nearest(mention, group, lexical.names, index)?
            }
            _ => Vec::new(),
        };
        Ok(Query {
            prompt: self.tokenizer.encode(&mention.prompt())?,
            groups,
            given,
        })
    }

    /// The tokens of the names nearest to a mention.
    fn nearest(
        &self,
        mention: &MarkedMention,
        group: GroupId,
        count: usize,
        index: &TfidfIndex,
    ) -> Result<Vec<Vec<u32>>, Error> {
        let names = index.nearest(self.kb, group, &mention.mention, count);
        let spelled = |(name, _)| completion(&[self.kb.name(name).text]);
        names
            .into_iter()
            .map(|name| self.tokenizer.encode(&spelled(name)))
            .collect()
    }

    /// Answers by what they are worth, best first.
    fn rank(&self, mention: &MarkedMention, query: &Query, found: Vec<Hypothesis>) -> Vec<Ranked> {
        let lexical = self.options.lexical.zip(self.index.as_ref());
        let worth = |hypothesis: &Hypothesis| {
            let (lexical, index) = lexical?;
            let name = self.name(query.group_of(0)?, self.only_name(hypothesis)).0;
            let cosine = index.cosine(&mention.mention, &name);
            Some(lexical.weight * f64::from(cosine))
        };
        let mut ranked: Vec<Ranked> = found
            .into_iter()
            .map(|hypothesis| Ranked {
                worth: hypothesis.score + worth(&hypothesis).unwrap_or(0.0),
                hypothesis,
            })
            .collect();
        // Stable: what the search put first stays first.
        ranked.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        ranked
    }

    fn only_name<'h>(&self, hypothesis: &'h Hypothesis) -> &'h [u32] {
        let mut names = hypothesis.names(&self.tokenizer.special());
        names.next().unwrap_or_default()
    }

    /// Answers to every query; `done` hears of each one that is finished.
    fn search(
        &mut self,
        queries: &[Query],
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Hypothesis>>, Error> {
        let constraint = self.trie.map_or(Constraint::Free, Constraint::Guided);
        let (special, options) = (self.tokenizer.special(), &self.options.search);
        let batch = self.options.batch;
        match &mut self.model {
            Model::Steps(model) => in_batches(queries, batch, done, |part| {
                beam_search(model.as_mut(), part, constraint, special, options)
            }),
            Model::Batches(model) => in_batches(queries, batch, done, |part| {
                model.search(part, special, options)
            }),
            Model::Pool(model) => {
                let mut found = vec![Vec::new(); queries.len()];
                let model = model.as_mut();
                let mut take = |query: usize, answers| {
                    found[query] = answers;
                    done(query);
                };
                self.work += search(
                    model, queries, constraint, special, options, batch, &mut take,
                )?;
                Ok(found)
            }
        }
    }

    fn explain(&self, query: &Query, found: &[Ranked]) -> Explanation {
        let candidates = found
            .iter()
            .map(|answer| self.pieces(query, &answer.hypothesis));
        Explanation {
            candidates: candidates.collect(),
        }
    }

    fn pieces(&self, query: &Query, answer: &Hypothesis) -> Vec<Piece> {
        let special = self.tokenizer.special();
        let limit = self.options.search.multi_answer.unwrap_or(1);
        let mut names = 0;
        let mut node = self.root(query, names);
        let scored = answer.tokens.iter().zip(&answer.token_log_probs);
        scored
            .map(|(&token, &log_prob)| {
                let forced = self.trie.zip(node).is_some_and(|(trie, node)| {
                    let ends = usize::from(trie.terminal(node).is_some());
                    let separator = usize::from(special.sep.is_some() && names + 1 < limit);
                    trie.children(node).len() + ends * (1 + separator) == 1
                });
                if Some(token) == special.sep {
                    names += 1;
                    node = self.root(query, names);
                } else {
                    node = self
                        .trie
                        .zip(node)
                        .and_then(|(trie, node)| trie.child(node, token));
                }
                let text = if token == special.eos {
                    String::new()
                } else {
                    self.tokenizer.decode(&[token])
                };
                Piece {
                    text,
                    log_prob,
                    forced,
                }
            })
            .collect()
    }

    fn root(&self, query: &Query, names: usize) -> Option<NodeId> {
        self.trie?.root(query.group_of(names)?)
    }

    fn answer(&self, query: &Query, ranked: &Ranked) -> Answer {
        let hypothesis = &ranked.hypothesis;
        let special = self.tokenizer.special();
        let mut names: Vec<String> = Vec::new();
        let mut codes: Vec<&str> = Vec::new();
        for (position, tokens) in hypothesis.names(&special).enumerate() {
            let (name, concept) = match query.group_of(position) {
                Some(group) => self.name(group, tokens),
                None => (self.tokenizer.decode(tokens), None),
            };
            let code = concept.map_or(NO_CODE, |concept| self.kb.concept(concept).code());
            names.push(name);
            // Two names of one concept are one concept.
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        let code = codes.join("+");
        codes.sort_unstable();
        Answer {
            name: names.join(SEP),
            code,
            concepts: codes.join("+"),
            worth: ranked.worth,
            log_score: hypothesis.score,
            sum_log_prob: hypothesis.sum_log_prob,
            token_probability: hypothesis.mean_token_probability(&special),
        }
    }

    /// The name that tokens spell, and its concept: by the trie's terminal, or in free search by the text.
    fn name(&self, group: GroupId, tokens: &[u32]) -> (String, Option<ConceptId>) {
        if let Some(terminal) = self.trie.and_then(|trie| trie.lookup(group, tokens)) {
            return (
                self.kb.name(terminal.name).text.to_owned(),
                Some(terminal.concept),
            );
        }
        let text = self.tokenizer.decode(tokens).trim().to_owned();
        let concept = self.kb.concept_of(group, &text);
        (text, concept)
    }

    fn prediction(&self, mention: &MarkedMention, query: &Query, answers: &[Answer]) -> Prediction {
        let gold = self.options.gold.resolve(&mention.gold, self.kb);
        let (best, margin) = self.choose(answers);
        let candidate = |answer: &Answer| Candidate {
            name: answer.name.clone(),
            code: answer.code.clone(),
            score: answer.beam_score(),
        };
        let mut prediction = Prediction {
            filename: mention.document.clone(),
            mention_id: mention.mention_id.clone(),
            label: mention.group.clone(),
            start_span: mention.start_chars,
            end_span: mention.end_chars,
            span: mention.span.clone(),
            semantic_rel: semantic_rel(&gold).to_owned(),
            annotation: gold::names(&gold, self.kb, query).join(SEP),
            code: gold.to_field(),
            sentence: mention.sentence.clone(),
            prediction: best.map_or_else(String::new, |best| best.name.clone()),
            prediction_score: best.map_or(0.0, |best| best.token_probability),
            prediction_beam_score: best.map_or(0.0, Answer::beam_score),
            predicted_code: best.map_or_else(|| NIL.to_owned(), |best| best.code.clone()),
            candidates: answers.iter().map(candidate).collect(),
            probability: None,
            margin,
            extra: Vec::new(),
        };
        if let Some(calibration) = &self.options.calibration {
            prediction.probability = calibration.probability(&prediction);
            let improbable = prediction.probability.zip(self.options.min_probability);
            if improbable.is_some_and(|(probability, least)| probability < least) {
                prediction.predicted_code = NIL.to_owned();
                prediction.prediction = String::new();
            }
        }
        prediction
    }

    /// The answer to predict, and the lead of its concept over the next one.
    fn choose<'s>(&self, answers: &'s [Answer]) -> (Option<&'s Answer>, Option<f64>) {
        let Some(best) = answers.first() else {
            return (None, None);
        };
        match self.options.concepts {
            ConceptRule::BestName => {
                let rival = answers
                    .iter()
                    .find(|answer| answer.concepts != best.concepts);
                (Some(best), rival.map(|rival| best.worth - rival.worth))
            }
            ConceptRule::SummedNames => {
                // Candidates are few, and their order decides ties.
                let mut sums: Vec<(&Answer, f64)> = Vec::new();
                for answer in answers {
                    let same = |(first, _): &&mut (&Answer, f64)| first.concepts == answer.concepts;
                    match sums.iter_mut().find(same) {
                        Some((_, sum)) => *sum = log_add(*sum, answer.sum_log_prob),
                        None => sums.push((answer, answer.sum_log_prob)),
                    }
                }
                sums.sort_by(|a, b| b.1.total_cmp(&a.1));
                let margin = sums.get(1).map(|next| sums[0].1 - next.1);
                (Some(sums[0].0), margin)
            }
        }
    }
}

/// Searches `batch` queries at a time, and says which are done.
fn in_batches(
    queries: &[Query],
    batch: usize,
    done: &mut dyn FnMut(usize),
    mut search: impl FnMut(&[Query]) -> Result<Vec<Vec<Hypothesis>>, Error>,
) -> Result<Vec<Vec<Hypothesis>>, Error> {
    let mut found = Vec::with_capacity(queries.len());
    for part in queries.chunks(batch) {
        let from = found.len();
        found.extend(search(part).map_err(|error| error.shifted(from))?);
        (from..found.len()).for_each(&mut *done);
    }
    Ok(found)
}

/// `ln(exp(a) + exp(b))`, which neither underflows nor overflows.
fn log_add(a: f64, b: f64) -> f64 {
    let (more, less) = if a > b { (a, b) } else { (b, a) };
    more + (less - more).exp().ln_1p()
}

impl Trie {
    /// [`Trie::build`] with a tokenizer: its digest, its end of sequence, and no name that spells its separator.
    ///
    /// # Errors
    /// As [`Trie::build`].
    pub fn for_tokenizer(kb: &Kb, tokenizer: &dyn Tokenizer) -> Result<Self, Error> {
        let SpecialTokens { eos, sep } = tokenizer.special();
        // The trie refuses what has no tokens; that is what a name which cannot be told from two names has.
        let encode = |text: &str| {
            let tokens = tokenizer.encode(text).unwrap_or_default();
            if sep.is_some_and(|sep| tokens.contains(&sep)) {
                Vec::new()
            } else {
                tokens
            }
        };
        Self::build(kb, &encode, eos, tokenizer.digest())
    }
}

/// A hypothesis and what ranks it.
struct Ranked {
    hypothesis: Hypothesis,
    /// Its score, with [`Lexical`] more than that.
    worth: f64,
}

/// What one hypothesis says.
struct Answer {
    name: String,
    code: String,
    /// The codes in an order of their own: a composite is a set.
    concepts: String,
    worth: f64,
    log_score: f64,
    sum_log_prob: f64,
    token_probability: f64,
}

impl Answer {
    fn beam_score(&self) -> f64 {
        self.log_score.exp()
    }
}

/// Positions of equal queries together. Where prompts are padded to one length, long ones first: batches of like length
/// waste little, and if memory is short it shows at once. Else in the order of their tokens, so that prompts which begin
/// alike, as those of one sentence do, are open at the same time and share what they have in common.
fn group_equal(queries: &[Query], padded: bool) -> Vec<Vec<usize>> {
    let key = |&i: &usize| {
        (
            padded.then(|| Reverse(queries[i].prompt.len())),
            &queries[i].prompt,
            &queries[i].groups,
            &queries[i].given,
            i,
        )
    };
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    order
        .chunk_by(|&a, &b| queries[a] == queries[b])
        .map(<[usize]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_queries_are_asked_once_and_long_prompts_first() {
        let query = |prompt: &[u32], group| Query::new(prompt.to_vec(), GroupId(group));
        let queries = [
            query(&[1], 0),
            query(&[3, 1], 0),
            query(&[1], 0),
            query(&[1], 1),
            query(&[2, 9], 0),
        ];
        assert_eq!(
            group_equal(&queries, true),
            [vec![4], vec![1], vec![0, 2], vec![3]]
        );
        assert_eq!(
            group_equal(&queries, false),
            [vec![0, 2], vec![3], vec![4], vec![1]]
        );
        assert!(group_equal(&[], true).is_empty());
    }
}
