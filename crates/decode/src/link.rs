//! Marked mentions in, predictions out.
//!
//! # Scores
//! With `p_1 .. p_n` the probabilities of an answer's tokens, the end included, and length penalty 1:
//!
//! | column | value |
//! | --- | --- |
//! | `Candidates` | every answer of the search, best first; names of one concept stay apart; score = `exp` of the answer's length-normalised log-probability, `(p_1 ... p_n)^(1/n)` |
//! | `Prediction_beam_score` | the score of the best candidate |
//! | `Prediction_score` | `exp` of the mean log-probability of the best answer's tokens without end and separators |
//! | `Margin` | length-normalised log-probability of the best answer minus that of the best one with another code, in nats, so never negative; empty when every candidate has the same code |
//! | `Probability` | empty: needs calibration on held-out data |

mod gold;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use syncabel_corpus::marked::{MarkedMention, SEP};
use syncabel_corpus::predictions::{Candidate, Prediction};
use syncabel_kb::{ConceptId, GroupId, Kb};

use crate::search::{Constraint, Hypothesis, Query, SearchOptions, SpecialTokens, beam_search};
use crate::{Error, StepModel, Tokenizer, Trie};

pub use gold::GoldRule;

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
    /// Mentions decoded together. Answers do not depend on it, memory does.
    pub batch: usize,
    /// What the `code` column says is right.
    pub gold: GoldRule,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            search: SearchOptions::default(),
            batch: 16,
            gold: GoldRule::default(),
        }
    }
}

/// Links mentions to the concepts of a knowledge base.
///
/// With a trie the search is guided, without one it is free and answers are looked up by their text. Prompts are
/// decoded in batches of like length, equal prompts once; answers come in the order of the mentions.
pub struct Linker<'a> {
    model: Box<dyn StepModel + 'a>,
    tokenizer: &'a dyn Tokenizer,
    kb: &'a Kb,
    trie: Option<&'a Trie>,
    options: LinkOptions,
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
        if let Some(trie) = trie {
            trie.check_digests(kb.digest(), &tokenizer.digest())?;
        }
        if options.batch == 0 {
            return Err(Error::Option {
                key: "batch",
                reason: "must be at least 1 mention",
            });
        }
        Ok(Self {
            model,
            tokenizer,
            kb,
            trie,
            options,
        })
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
        let queries = mentions
            .iter()
            .map(|mention| self.query(mention))
            .collect::<Result<Vec<_>, _>>()?;
        let work = group_equal(&queries);
        let mut predictions = vec![Prediction::default(); mentions.len()];
        let mut done = 0;
        for batch in work.chunks(self.options.batch) {
            let asked: Vec<Query> = batch.iter().map(|same| queries[same[0]].clone()).collect();
            let found = self.search(&asked)?;
            for (same, found) in batch.iter().zip(&found) {
                let answers = self.answers(&queries[same[0]], found);
                for &mention in same {
                    predictions[mention] =
                        self.prediction(&mentions[mention], &queries[mention], &answers);
                }
                done += same.len();
            }
            progress(done);
        }
        Ok(predictions)
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
        Ok(Query {
            prompt: self.tokenizer.encode(&mention.prompt())?,
            groups,
        })
    }

    fn search(&mut self, queries: &[Query]) -> Result<Vec<Vec<Hypothesis>>, Error> {
        let constraint = self.trie.map_or(Constraint::Free, Constraint::Guided);
        beam_search(
            self.model.as_mut(),
            queries,
            constraint,
            self.tokenizer.special(),
            &self.options.search,
        )
    }

    fn answers(&self, query: &Query, found: &[Hypothesis]) -> Vec<Answer> {
        found
            .iter()
            .map(|hypothesis| self.answer(query, hypothesis))
            .collect()
    }

    fn answer(&self, query: &Query, hypothesis: &Hypothesis) -> Answer {
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
        Answer {
            name: names.join(SEP),
            code: codes.join("+"),
            log_score: hypothesis.score,
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
        let gold = gold::resolve(&mention.gold, self.kb, self.options.gold);
        let best = answers.first();
        let rival = best.and_then(|best| answers.iter().find(|answer| answer.code != best.code));
        let candidate = |answer: &Answer| Candidate {
            name: answer.name.clone(),
            code: answer.code.clone(),
            score: answer.beam_score(),
        };
        Prediction {
            filename: mention.document.clone(),
            mention_id: mention.mention_id.clone(),
            label: mention.group.clone(),
            start_span: mention.start_chars,
            end_span: mention.end_chars,
            span: mention.span.clone(),
            semantic_rel: gold::relation(&gold).to_owned(),
            annotation: gold::names(&gold, self.kb, query).join(SEP),
            code: gold.to_field(),
            sentence: mention.sentence.clone(),
            prediction: best.map_or_else(String::new, |best| best.name.clone()),
            prediction_score: best.map_or(0.0, |best| best.token_probability),
            prediction_beam_score: best.map_or(0.0, Answer::beam_score),
            predicted_code: best.map_or_else(|| NIL.to_owned(), |best| best.code.clone()),
            candidates: answers.iter().map(candidate).collect(),
            probability: None,
            margin: best
                .zip(rival)
                .map(|(best, rival)| best.log_score - rival.log_score),
            extra: Vec::new(),
        }
    }
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

/// What one hypothesis says.
struct Answer {
    name: String,
    code: String,
    log_score: f64,
    token_probability: f64,
}

impl Answer {
    fn beam_score(&self) -> f64 {
        self.log_score.exp()
    }
}

/// Positions of equal queries together, long prompts first: batches of like length waste little padding, and if memory
/// is short it shows at once.
fn group_equal(queries: &[Query]) -> Vec<Vec<usize>> {
    let key = |&i: &usize| {
        (
            Reverse(queries[i].prompt.len()),
            &queries[i].prompt,
            &queries[i].groups,
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
            group_equal(&queries),
            [vec![4], vec![1], vec![0, 2], vec![3]]
        );
        assert!(group_equal(&[]).is_empty());
    }
}
