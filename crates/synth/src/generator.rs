//! The one trait that every maker of synthetic sentences implements.
//!
//! A generator gets a [`Batch`]: the KB, the human training sentences and a list of [`Task`]s, one per concept and
//! semantic group. It delivers one answer per task, in any order and from any thread: sentences with their
//! mentions ([`Draft`]s), or a [`Failure`]. Putting the answers in order, checking them and giving them ids is
//! [`crate::synthesise`]'s work, so that the corpus does not depend on who finished first.

use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::{Language, SpanChars};
use syncabel_kb::{ConceptId, GroupId, Kb};

use crate::contexts::{Sentence, TrainSentences};
use crate::transplant::Operation;

/// Makes sentences for concepts.
pub trait Generator {
    /// Short name, written into the origin of every document: `transplant`, `openai`.
    fn name(&self) -> &str;

    /// Answers every task of the batch once, by index, in any order.
    ///
    /// # Errors
    /// Only what makes going on pointless, as [`crate::Error::Stopped`]. What concerns one concept is delivered as
    /// its [`Failure`].
    fn generate(&self, batch: &Batch<'_>, deliver: &mut Deliver<'_>) -> Result<(), crate::Error>;
}

/// Where a generator puts its answers: index of the task, then the drafts or why there are none.
pub type Deliver<'a> = dyn FnMut(usize, Result<Vec<Draft>, Failure>) + 'a;

/// What a generator works from.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// The knowledge base: names, groups, types, definitions of each concept.
    pub kb: &'a Kb,
    /// Human sentences of the training split.
    pub contexts: &'a TrainSentences,
    /// What to make.
    pub tasks: &'a [Task],
    /// Sentences wanted for each task.
    pub sentences_per_concept: usize,
    /// Seed of the whole generation.
    pub seed: u64,
}

impl<'a> Batch<'a> {
    /// A seed for one task that depends on the concept, not on its place in the batch: taking more concepts, or fewer,
    /// leaves the sentences of the others alone.
    pub fn task_seed(&self, task: &Task) -> u64 {
        let code = self.kb.concept(task.concept).code();
        stable_hash(
            self.seed,
            &[code.as_bytes(), self.kb.group_name(task.group).as_bytes()],
        )
    }

    /// Up to `count` human sentences of the task's group, drawn without replacement: context examples for a prompt.
    pub fn examples(&self, task: &Task, count: usize) -> Vec<&'a Sentence> {
        self.contexts.draw(task.group, count, self.task_seed(task))
    }
}

/// One concept in one of its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// The concept.
    pub concept: ConceptId,
    /// The group it is written about as.
    pub group: GroupId,
}

/// One sentence with its mentions of the concept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The sentence, without marks.
    pub text: String,
    /// Its language.
    pub language: Language,
    /// Mentions of the task's concept.
    pub mentions: Vec<DraftMention>,
    /// Human document whose sentence was used, if one was.
    pub context: Option<String>,
}

/// A mention in a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftMention {
    /// Where it stands in the sentence.
    pub span: SpanChars,
    /// KB name it was made from, if it was made from one.
    pub source_name: Option<String>,
    /// What was done to that name, in order.
    pub operations: Vec<Operation>,
}

impl Draft {
    /// Reads `... [mention] ...` as language models write it: every bracketed piece is a mention, the brackets go.
    ///
    /// A `{...}` right behind a bracket (models imitate their examples) is dropped too. `None` if there is no
    /// non-empty bracketed piece or brackets do not match, those braces included.
    pub fn from_bracketed(line: &str, language: Language) -> Option<Draft> {
        let mut text = String::with_capacity(line.len());
        let mut length_chars = 0u32;
        let mut mentions = Vec::new();
        let mut open: Option<u32> = None;
        let mut rest = line.trim();
        while let Some(at) = rest.find(['[', ']']) {
            let (piece, bracket) = rest.split_at(at);
            text.push_str(piece);
            length_chars += piece.chars().count() as u32;
            rest = &bracket[1..];
            if bracket.starts_with('[') {
                if open.replace(length_chars).is_some() {
                    return None;
                }
                continue;
            }
            let span = SpanChars {
                start: open.take()?,
                end: length_chars,
            };
            if span.end > span.start {
                mentions.push(DraftMention {
                    span,
                    source_name: None,
                    operations: Vec::new(),
                });
            }
            if rest.starts_with('{') {
                // One that is never closed holds who knows how much of the sentence.
                rest = rest.split_once('}')?.1;
            }
        }
        text.push_str(rest);
        (open.is_none() && !mentions.is_empty()).then_some(Draft {
            text,
            language,
            mentions,
            context: None,
        })
    }
}

/// Why there is no sentence for a concept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub reason: String,
    /// The last answer of a language model, if one answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_answer: Option<String>,
}

impl Failure {
    /// A failure without an answer.
    pub fn new(reason: impl Into<String>) -> Self {
        Failure {
            reason: reason.into(),
            last_answer: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// 64-bit FNV-1a over the parts, finished with a mixing step: the same on every machine and in every version.
pub(crate) fn stable_hash(seed: u64, parts: &[&[u8]]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(PRIME);
    for part in parts {
        for &byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(draft: &Draft) -> Vec<String> {
        let chars: Vec<char> = draft.text.chars().collect();
        let piece = |m: &DraftMention| {
            chars[m.span.start as usize..m.span.end as usize]
                .iter()
                .collect()
        };
        draft.mentions.iter().map(piece).collect()
    }

    #[test]
    fn brackets_become_mentions_in_any_script() {
        let draft =
            Draft::from_bracketed("L'été, [œdème]{Disorders} et [fièvre 🤒] .", Language::Fr)
                .unwrap();
        assert_eq!(draft.text, "L'été, œdème et fièvre 🤒 .");
        assert_eq!(spans(&draft), ["œdème", "fièvre 🤒"]);
    }

    #[test]
    fn unmatched_or_empty_brackets_are_refused() {
        for bad in [
            "no mention",
            "[]",
            "[open",
            "close]",
            "[a [b] c]",
            "the [gout]{Disorders attack was severe",
        ] {
            assert_eq!(Draft::from_bracketed(bad, Language::En), None, "{bad}");
        }
    }

    #[test]
    fn the_hash_is_fixed_and_parts_are_apart() {
        assert_ne!(
            stable_hash(1, &[b"ab", b"c"]),
            stable_hash(1, &[b"a", b"bc"])
        );
        assert_ne!(stable_hash(1, &[b"a"]), stable_hash(2, &[b"a"]));
        assert_eq!(stable_hash(7, &[b"D003924"]), stable_hash(7, &[b"D003924"]));
    }
}
