//! Runs of words that stand in human documents.

use std::collections::HashMap;

use syncabel_corpus::{Corpus, Split, sentence};

use super::HumanCopyFilter;
use super::similar::hash_words;
use super::words::words;

/// Hashes of all runs of a number of words, with the splits they stand in.
#[derive(Debug, Default)]
pub(super) struct HumanText {
    words: usize,
    runs: HashMap<u64, u8>,
    /// Hashes of whole sentences that are shorter than a run.
    short: HashMap<u64, u8>,
}

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

/// Sentences of fewer words than this may coincide.
const SHORTEST: usize = 4;

fn bit(split: Split) -> u8 {
    match split {
        Split::Train => 1,
        Split::Validation => 2,
        Split::Test => 4,
    }
}

impl HumanText {
    pub(super) fn new(corpora: &[&Corpus], filter: &HumanCopyFilter) -> Self {
        let mut text = HumanText {
            words: filter.words.max(1),
            ..HumanText::default()
        };
        for document in corpora.iter().flat_map(|c| &c.documents) {
            let split = document.split.unwrap_or(Split::Train);
            if !filter.splits.contains(&split) {
                continue;
            }
            let chars: Vec<char> = document.text.chars().collect();
            for span in sentence::split(&document.text, document.language, &[]) {
                let piece: String = chars[span.start as usize..span.end as usize]
                    .iter()
                    .collect();
                text.add(&words(&piece), bit(split));
            }
        }
        text
    }

    fn add(&mut self, words: &[String], split: u8) {
        if words.len() < self.words {
            if words.len() >= SHORTEST {
                *self.short.entry(hash_words(words)).or_default() |= split;
            }
            return;
        }
        for run in words.windows(self.words) {
            *self.runs.entry(hash_words(run)).or_default() |= split;
        }
    }

    /// The splits that a sentence shares a run with, each with the first such run.
    pub(super) fn copied(&self, words: &[String]) -> Vec<(Split, String)> {
        let mut found: Vec<(Split, String)> = Vec::new();
        let mut note = |splits: u8, run: &[String]| {
            for split in SPLITS {
                if splits & bit(split) != 0 && found.iter().all(|(s, _)| *s != split) {
                    found.push((split, run.join(" ")));
                }
            }
        };
        if words.len() < self.words {
            if let Some(&splits) = self.short.get(&hash_words(words)) {
                note(splits, words);
            }
            return found;
        }
        for run in words.windows(self.words) {
            if let Some(&splits) = self.runs.get(&hash_words(run)) {
                note(splits, run);
            }
        }
        found
    }
}
