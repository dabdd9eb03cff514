//! Which human sentence a mention is put into.
//!
//! A sentence is usable if nothing else in it depends on the mention that stood there: not the definition of an
//! abbreviation, not a second mention of the same concept, not an enumeration inside the mention. Usable sentences of a
//! group wait in one shuffled queue; each use puts a sentence at the end, so all are used about equally often. A few at the
//! front are looked at, and the one that fits best is taken.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use syncabel_kb::GroupId;

use super::english::{self, Number};
use super::lexicon::words;
use super::variant::Place;
use crate::contexts::{Sentence, TrainSentences};
use crate::generator::stable_hash;

/// How many sentences at the front of the queue are looked at.
const LOOK_AHEAD: usize = 16;
/// Sentence lengths that are used, in characters.
const LENGTH_CHARS: std::ops::RangeInclusive<usize> = 40..=420;
/// Words that must stand around the mention.
const MIN_WORDS_AROUND: usize = 5;

/// Words that may follow a mention without making it a modifier.
const NO_NOUN: [&str; 60] = [
    "a",
    "after",
    "also",
    "among",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "but",
    "by",
    "can",
    "caused",
    "causes",
    "could",
    "did",
    "does",
    "due",
    "during",
    "for",
    "from",
    "had",
    "has",
    "have",
    "if",
    "in",
    "into",
    "is",
    "may",
    "might",
    "not",
    "of",
    "on",
    "or",
    "resulting",
    "results",
    "should",
    "since",
    "such",
    "than",
    "that",
    "the",
    "this",
    "through",
    "to",
    "via",
    "was",
    "were",
    "when",
    "where",
    "whereas",
    "which",
    "while",
    "who",
    "with",
    "without",
];

/// A usable sentence and what its mention's place asks for.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) sentence: &'a Sentence,
    pub(super) place: Place,
}

/// The sentences of one group, least used first: those whose place asks for a noun that can be counted (`an ...`,
/// plural), and the others. One queue for both would fill its front with places that nothing fits.
pub(super) struct Queue<'a> {
    countable: VecDeque<Slot<'a>>,
    neutral: VecDeque<Slot<'a>>,
    /// Uses so far of the countable places, in units of their number.
    countable_uses: usize,
    neutral_uses: usize,
}

impl<'a> Queue<'a> {
    pub(super) fn new(contexts: &'a TrainSentences, group: GroupId, seed: u64) -> Self {
        let mut slots: Vec<Slot<'a>> = contexts
            .of_group(group)
            .filter(|s| is_usable(s))
            .map(Slot::new)
            .collect();
        if slots.is_empty() {
            slots = contexts
                .of_group(group)
                .filter(|s| s.single && has_clean_edges(s))
                .map(Slot::new)
                .collect();
        }
        slots.shuffle(&mut ChaCha8Rng::seed_from_u64(stable_hash(
            seed,
            &[b"queue", &group.0.to_le_bytes()],
        )));
        let (countable, neutral): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| slot.wants_countable());
        Queue {
            countable: countable.into(),
            neutral: neutral.into(),
            countable_uses: 0,
            neutral_uses: 0,
        }
    }

    /// A fitting place for this name among the next few; a sentence that already says the name is passed over.
    pub(super) fn take(&mut self, name: &str) -> Option<Slot<'a>> {
        let countable = english::number(name) != Number::Mass && !is_acronym(name);
        // Rounds through each queue so far; the one that lags behind is next.
        let lagging =
            self.countable_uses * self.neutral.len() <= self.neutral_uses * self.countable.len();
        let from_countable =
            !self.countable.is_empty() && (self.neutral.is_empty() || (countable && lagging));
        let (slots, uses) = if from_countable {
            (&mut self.countable, &mut self.countable_uses)
        } else {
            (&mut self.neutral, &mut self.neutral_uses)
        };
        let folded = name.to_lowercase();
        let misfit = |slot: &Slot<'_>| {
            let says_it = slot.sentence.text.to_lowercase().contains(&folded);
            let clumsy = slot.place.modifier && (words(name).count() > 4 || name.contains(','));
            u32::from(says_it) * 2 + u32::from(clumsy)
        };
        let near = slots.iter().take(LOOK_AHEAD).enumerate();
        let best = near
            .min_by_key(|(at, slot)| (misfit(slot), *at))
            .map(|(at, _)| at)?;
        let slot = slots.remove(best)?;
        slots.push_back(slot);
        *uses += 1;
        Some(slot)
    }
}

impl<'a> Slot<'a> {
    fn new(sentence: &'a Sentence) -> Self {
        let (before, after) = sentence.around();
        let place = Place {
            language: sentence.language,
            number: english::number(&sentence.surface),
            indefinite: indefinite_before(before).is_some(),
            modifier: noun_follows(after),
        };
        Slot { sentence, place }
    }

    fn wants_countable(&self) -> bool {
        self.place.number == Number::Plural || self.place.indefinite
    }
}

/// The `a` or `an` at the end of a text: what stands before it, and whether it is capitalised.
pub(super) fn indefinite_before(before: &str) -> Option<(&str, bool)> {
    let article = ["a ", "an ", "A ", "An "].into_iter().find(|article| {
        before
            .strip_suffix(article)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with([' ', '(']))
    })?;
    Some((
        &before[..before.len() - article.len()],
        article.starts_with('A'),
    ))
}

fn is_usable(sentence: &Sentence) -> bool {
    let (before, after) = sentence.around();
    let surface = sentence.surface.to_lowercase();
    let enumeration = [" and ", " or ", ","]
        .iter()
        .any(|mark| surface.contains(mark))
        || surface.contains('/');
    let repeats = surface.chars().count() >= 3
        && [before, after]
            .iter()
            .any(|text| text.to_lowercase().contains(&surface));
    let defines = before.trim_end().ends_with('(') || after.trim_start().starts_with('(');
    sentence.single
        && !sentence.repeated
        && !enumeration
        && !repeats
        && !defines
        && has_clean_edges(sentence)
        && LENGTH_CHARS.contains(&sentence.text.chars().count())
        && words(before).count() + words(after).count() >= MIN_WORDS_AROUND
}

/// Whether the mention is a word of its own, not part of `APC-linked`.
fn has_clean_edges(sentence: &Sentence) -> bool {
    let (before, after) = sentence.around();
    let glued = |c: char| c.is_alphanumeric() || matches!(c, '-' | '/' | '\'');
    !before.ends_with(glued) && !after.starts_with(glued)
}

fn noun_follows(after: &str) -> bool {
    let Some(rest) = after.strip_prefix(' ') else {
        return false;
    };
    let word: String = rest.chars().take_while(|c| c.is_alphabetic()).collect();
    word.starts_with(char::is_lowercase) && !NO_NOUN.contains(&word.as_str())
}

fn is_acronym(text: &str) -> bool {
    !text.contains(' ') && english::is_acronym(text)
}
