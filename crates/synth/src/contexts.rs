//! Human sentences to imitate, from the training split and from nowhere else.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use syncabel_corpus::marked::{MarkOptions, mark};
use syncabel_corpus::{Corpus, Document, Language, Origin, SpanChars, Split, sentence};
use syncabel_kb::{GroupId, Kb};

use crate::Error;

/// A human training sentence with one of its mentions in focus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Document it comes from.
    pub document: String,
    /// Its language.
    pub language: Language,
    /// The sentence; line breaks are blanks.
    pub text: String,
    /// Where the mention stands in `text`.
    pub mention: SpanChars,
    /// The mention as written.
    pub surface: String,
    /// Semantic group of the mention.
    pub group: GroupId,
    /// Gold codes of the mention.
    pub codes: Vec<String>,
    /// Whether the annotation is one single code, without alternatives.
    pub single: bool,
    /// Whether another mention of the sentence has one of these codes.
    pub repeated: bool,
    /// See [`Sentence::bracketed`]; a generation shows the same sentences thousands of times.
    bracketed: String,
}

impl Sentence {
    /// The sentence as the model reads it, `... [mention]{group} ...`: the context example of a prompt.
    pub fn marked(&self, kb: &Kb) -> String {
        let (before, after) = self.around();
        format!(
            "{before}[{}]{{{}}}{after}",
            self.surface,
            kb.group_name(self.group)
        )
    }

    /// The sentence with its mention in brackets, as a language model is to write it. Brackets of the text itself become parentheses,
    /// as everywhere else.
    pub fn bracketed(&self) -> &str {
        &self.bracketed
    }

    /// The text before and after the mention.
    pub fn around(&self) -> (&str, &str) {
        let byte = |chars: u32| {
            self.text
                .char_indices()
                .nth(chars as usize)
                .map_or(self.text.len(), |(at, _)| at)
        };
        (
            &self.text[..byte(self.mention.start)],
            &self.text[byte(self.mention.end)..],
        )
    }
}

/// The human sentences of the training split, by semantic group.
///
/// This is the only way to human text that a [`crate::Generator`] has, and it can only be made from documents that
/// are marked both as human and as `train`: validation and test sentences cannot get into a prompt or a transplant.
#[derive(Debug, Clone, Default)]
pub struct TrainSentences {
    sentences: Vec<Sentence>,
    by_group: Vec<Vec<u32>>,
    counts: ContextCounts,
}

/// What was taken from a corpus and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextCounts {
    /// Documents read.
    pub documents: usize,
    /// Documents left out: not marked as train.
    pub not_train: usize,
    /// Documents left out: not annotated by people.
    pub not_human: usize,
    /// Mentions with their sentence, taken.
    pub sentences: usize,
    /// Mentions left out: discontinuous.
    pub discontinuous: usize,
    /// Mentions left out: no semantic group of the KB.
    pub without_group: usize,
}

impl TrainSentences {
    /// Cuts the human training documents of a corpus into sentences, one entry per mention.
    ///
    /// `options` says how labels become semantic groups, as everywhere else.
    ///
    /// # Errors
    /// [`Error::NoTrainingSentence`] if nothing is left, [`Error::Corpus`] if a document cannot be marked.
    pub fn from_corpus(corpus: &Corpus, kb: &Kb, options: &MarkOptions) -> Result<Self, Error> {
        let mut set = TrainSentences {
            by_group: vec![Vec::new(); kb.group_count()],
            ..Self::default()
        };
        for document in &corpus.documents {
            set.counts.documents += 1;
            if document.split != Some(Split::Train) {
                set.counts.not_train += 1;
            } else if document.origin != Origin::Human {
                set.counts.not_human += 1;
            } else {
                set.add(document, kb, options)?;
            }
        }
        if set.sentences.is_empty() {
            let ContextCounts {
                documents,
                not_train,
                not_human,
                ..
            } = set.counts;
            return Err(Error::NoTrainingSentence {
                documents,
                not_train,
                not_human,
            });
        }
        set.counts.sentences = set.sentences.len();
        Ok(set)
    }

    /// What was taken and what was not.
    pub fn counts(&self) -> ContextCounts {
        self.counts
    }

    /// All sentences of a group, in corpus order.
    pub fn of_group(&self, group: GroupId) -> impl ExactSizeIterator<Item = &Sentence> {
        let indices = self
            .by_group
            .get(usize::from(group.0))
            .map_or(&[][..], Vec::as_slice);
        indices.iter().map(|&index| &self.sentences[index as usize])
    }

    /// Up to `count` sentences of a group, drawn without replacement; the same seed draws the same.
    /// No two of them have the same text.
    pub fn draw(&self, group: GroupId, count: usize, seed: u64) -> Vec<&Sentence> {
        let indices = self
            .by_group
            .get(usize::from(group.0))
            .map_or(&[][..], Vec::as_slice);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn: Vec<&Sentence> = Vec::with_capacity(count);
        // A sentence with several mentions stands in the pool several times, hence a few more than asked for.
        for at in index::sample(
            &mut rng,
            indices.len(),
            indices.len().min(count.saturating_mul(8)),
        ) {
            if drawn.len() == count {
                break;
            }
            let sentence = &self.sentences[indices[at] as usize];
            if drawn.iter().all(|other| other.text != sentence.text) {
                drawn.push(sentence);
            }
        }
        drawn
    }

    fn add(&mut self, document: &Document, kb: &Kb, options: &MarkOptions) -> Result<(), Error> {
        let groups: HashMap<String, String> = mark(document, Some(kb), options)?
            .into_iter()
            .map(|m| (m.mention_id, m.group))
            .collect();
        let chars: Vec<char> = document.text.chars().collect();
        let spans: Vec<SpanChars> = document
            .mentions
            .iter()
            .flat_map(|m| m.spans.iter().copied())
            .collect();
        let sentences = sentence::split(&document.text, document.language, &spans);
        for mention in &document.mentions {
            let &[span] = mention.spans.as_slice() else {
                self.counts.discontinuous += 1;
                continue;
            };
            let Some(group) = groups.get(&mention.id).and_then(|name| kb.group_id(name)) else {
                self.counts.without_group += 1;
                continue;
            };
            let Some(at) = sentences
                .iter()
                .find(|s| s.start <= span.start && span.end <= s.end)
            else {
                continue;
            };
            let codes: Vec<String> = mention.gold.codes().map(|code| code.to_string()).collect();
            let repeated = document.mentions.iter().any(|other| {
                other.id != mention.id
                    && other
                        .spans
                        .iter()
                        .any(|s| at.start <= s.start && s.end <= at.end)
                    && other
                        .gold
                        .codes()
                        .any(|code| codes.iter().any(|c| *c == *code))
            });
            let text: String = chars[at.start as usize..at.end as usize]
                .iter()
                .map(|&c| one_line(c))
                .collect();
            let surface = chars[span.start as usize..span.end as usize]
                .iter()
                .map(|&c| one_line(c))
                .collect();
            self.by_group[usize::from(group.0)].push(self.sentences.len() as u32);
            let mut sentence = Sentence {
                document: document.id.clone(),
                language: document.language,
                text,
                mention: SpanChars {
                    start: span.start - at.start,
                    end: span.end - at.start,
                },
                surface,
                group,
                single: codes.len() == 1,
                codes,
                repeated,
                bracketed: String::new(),
            };
            sentence.bracketed = bracketed(&sentence);
            self.sentences.push(sentence);
        }
        Ok(())
    }
}

fn bracketed(sentence: &Sentence) -> String {
    let plain = |text: &str| text.replace(['[', '{'], "(").replace([']', '}'], ")");
    let (before, after) = sentence.around();
    let mention = plain(&sentence.surface);
    format!("{}[{mention}]{}", plain(before), plain(after))
        .trim()
        .to_owned()
}

fn one_line(c: char) -> char {
    if c.is_whitespace() { ' ' } else { c }
}
