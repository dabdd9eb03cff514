//! What the KB itself and the human sentences say about words.
//!
//! Three things are learned, none of them from a list of diseases:
//!
//! * **whose name is it?** ([`Lexicon::owner`]): every name folded to lower case, and to a bag of words without
//!   number, with the concept that has it, so that a variant which is another concept's name is refused;
//! * **which words may stand for each other** ([`Lexicon::synonyms`]): two names of one concept that differ in one
//!   word (`renal failure`, `kidney failure`) speak for the pair, two names of *different* concepts that differ in the
//!   same pair (`type 1`, `type 2`) against it. Pairs with enough support and little against them are kept;
//! * **which words are written with capitals** ([`Lexicon::decapitalise`]), since terminologies write `Eye Diseases` and
//!   `EYE DISEASES` where people write `eye diseases`, but `Wilms tumor` and `HIV` stay.
//!
//! Cost: one pass over the names and one sort of (name, word position) pairs, 16 bytes each. 76,000 names take about
//! a fifth of a second.

use std::collections::{HashMap, HashSet};

use syncabel_kb::{ConceptId, GroupId, Kb};

use super::english;
use crate::contexts::TrainSentences;
use crate::generator::stable_hash;

/// Names of one concept that differ in a pair of words, at least so many times, for the pair to count.
const MIN_SUPPORT: u32 = 3;
/// Share of all occurrences of a pair that must be inside one concept.
const MIN_RELIABILITY: f64 = 0.6;
/// A word in at most so many concepts is rare: an eponym, a gene, a place.
const RARE_CONCEPTS: u32 = 6;

/// Whose name a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(ConceptId),
    Several,
}

/// Knowledge about words, from a KB and human training sentences.
pub(super) struct Lexicon {
    owners: HashMap<(GroupId, u64), Owner>,
    synonyms: HashMap<String, Vec<String>>,
    concepts_of_word: HashMap<String, u32>,
    /// Lower-cased word to (seen in lower case, seen capitalised, the capitalised form) in human sentences.
    human_case: HashMap<String, (u32, u32)>,
    /// Words that names in mixed case write in capitals throughout.
    acronyms: HashSet<String>,
}

impl Lexicon {
    pub(super) fn learn(kb: &Kb, contexts: &TrainSentences) -> Self {
        let mut lexicon = Lexicon {
            owners: HashMap::with_capacity(kb.name_count() * 2),
            synonyms: HashMap::new(),
            concepts_of_word: HashMap::new(),
            human_case: HashMap::new(),
            acronyms: HashSet::new(),
        };
        let mut slots = Vec::new();
        let mut vocabulary = Vocabulary::default();
        for (group, _) in kb.groups() {
            for name in kb.names(group) {
                lexicon.note_owner(group, name.text, name.concept);
                lexicon.note_acronyms(name.text);
                note_slots(&mut slots, &mut vocabulary, name.text, name.concept);
            }
        }
        lexicon.concepts_of_word = concepts_per_word(&slots, &vocabulary);
        lexicon.synonyms = word_pairs(&mut slots, &vocabulary);
        for (group, _) in kb.groups() {
            contexts
                .of_group(group)
                .for_each(|sentence| lexicon.note_human_case(&sentence.text));
        }
        lexicon
    }

    /// Whether a string, as it stands or as a bag of words, is the name of another concept of the group.
    pub(super) fn belongs_to_other(&self, group: GroupId, text: &str, concept: ConceptId) -> bool {
        [fold(text), bag(text)].iter().any(|&key| {
            self.owners
                .get(&(group, key))
                .is_some_and(|owner| *owner != Owner::One(concept))
        })
    }

    /// Words that may stand for this one, lower-case, best supported first.
    pub(super) fn synonyms(&self, word: &str) -> &[String] {
        self.synonyms.get(word).map_or(&[], Vec::as_slice)
    }

    /// Whether few concepts have this word in a name.
    pub(super) fn is_rare(&self, word: &str) -> bool {
        self.concepts_of_word
            .get(&word.to_lowercase())
            .copied()
            .unwrap_or(0)
            <= RARE_CONCEPTS
    }

    /// The phrase as it would stand in running text: capitals only where people write them.
    pub(super) fn decapitalise(&self, phrase: &str) -> String {
        let shouting = phrase
            .chars()
            .filter(|c| c.is_alphabetic())
            .all(char::is_uppercase);
        let words: Vec<&str> = words(phrase).collect();
        let mut out = String::with_capacity(phrase.len());
        let mut rest = phrase;
        for (at, word) in words.iter().enumerate() {
            let start = rest.find(word).unwrap_or(0);
            out.push_str(&rest[..start]);
            let eponym_place = words.get(at + 1).is_some_and(|next| heads_an_eponym(next));
            out.push_str(&self.decapitalise_word(word, shouting, eponym_place));
            rest = &rest[start + word.len()..];
        }
        out.push_str(rest);
        out
    }

    fn decapitalise_word(&self, word: &str, shouting: bool, eponym_place: bool) -> String {
        let lower = word.to_lowercase();
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        if letters <= 1 || word.chars().any(char::is_numeric) || english::is_roman(word) {
            return word.to_owned(); // X-linked, type A, type II, SCA2
        }
        if self.acronyms.contains(&lower) && letters <= 6 && (shouting || english::is_acronym(word))
        {
            return word.to_uppercase();
        }
        let mixed =
            word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase);
        if mixed || (!shouting && english::is_acronym(word)) {
            return word.to_owned(); // McLeod, HbS, HIV
        }
        let (in_lower, in_upper) = self.human_case.get(&lower).copied().unwrap_or_default();
        let eponym = match in_lower + in_upper {
            0 => {
                eponym_place
                    && self.is_rare(&lower)
                    && !lower.ends_with("ic")
                    && !lower.ends_with("al")
            }
            _ => in_upper > in_lower,
        };
        if eponym {
            english::capitalise(&lower)
        } else {
            lower
        }
    }

    fn note_owner(&mut self, group: GroupId, name: &str, concept: ConceptId) {
        for key in [fold(name), bag(name)] {
            let owner = self
                .owners
                .entry((group, key))
                .or_insert(Owner::One(concept));
            if *owner != Owner::One(concept) {
                *owner = Owner::Several;
            }
        }
    }

    fn note_acronyms(&mut self, name: &str) {
        if name.chars().any(char::is_lowercase) {
            let acronyms = words(name).filter(|w| english::is_acronym(w) && !english::is_roman(w));
            self.acronyms.extend(acronyms.map(str::to_lowercase));
        }
    }

    /// Counts capitals of words inside a sentence, the first word aside.
    fn note_human_case(&mut self, sentence: &str) {
        for word in words(sentence).skip(1) {
            let mut chars = word.chars();
            let Some(first) = chars.next().filter(|c| c.is_alphabetic()) else {
                continue;
            };
            if chars.as_str().chars().any(char::is_uppercase) {
                continue;
            }
            let entry = self.human_case.entry(word.to_lowercase()).or_default();
            *(if first.is_uppercase() {
                &mut entry.1
            } else {
                &mut entry.0
            }) += 1;
        }
    }
}

/// Pieces of letters and digits.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
}

/// Hash of the letters and digits in lower case: blind to case, blanks and punctuation.
fn fold(text: &str) -> u64 {
    let folded: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    stable_hash(0, &[folded.as_bytes()])
}

/// Hash of the sorted words in lower case and singular: blind to order as well.
pub(super) fn bag(text: &str) -> u64 {
    let mut folded: Vec<String> = words(text)
        .map(|word| {
            let lower = word.to_lowercase();
            english::singularise(&lower).unwrap_or(lower)
        })
        .filter(|word| !matches!(word.as_str(), "of" | "the" | "s" | "type"))
        .collect();
    folded.sort_unstable();
    stable_hash(1, &[folded.join(" ").as_bytes()])
}

fn heads_an_eponym(word: &str) -> bool {
    matches!(
        word.to_lowercase().as_str(),
        "disease"
            | "syndrome"
            | "tumor"
            | "tumour"
            | "palsy"
            | "anomaly"
            | "sarcoma"
            | "lymphoma"
            | "s"
    )
}

/// Numbers for words.
#[derive(Default)]
struct Vocabulary {
    ids: HashMap<String, u32>,
    words: Vec<String>,
}

impl Vocabulary {
    fn id(&mut self, word: String) -> u32 {
        *self.ids.entry(word).or_insert_with_key(|word| {
            self.words.push(word.clone());
            self.words.len() as u32 - 1
        })
    }
}

/// A name with one word taken out: hash of what is left, the word, the concept.
type Slot = (u64, u32, ConceptId);

fn note_slots(slots: &mut Vec<Slot>, vocabulary: &mut Vocabulary, name: &str, concept: ConceptId) {
    let folded: Vec<String> = words(name).map(str::to_lowercase).collect();
    if folded.len() > 12 {
        return;
    }
    for (at, word) in folded.iter().enumerate() {
        let frame: Vec<&[u8]> = folded
            .iter()
            .enumerate()
            .map(|(i, w)| if i == at { &b"*"[..] } else { w.as_bytes() })
            .collect();
        slots.push((stable_hash(2, &frame), vocabulary.id(word.clone()), concept));
    }
}

fn concepts_per_word(slots: &[Slot], vocabulary: &Vocabulary) -> HashMap<String, u32> {
    let mut pairs: Vec<(u32, ConceptId)> = slots.iter().map(|slot| (slot.1, slot.2)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut counts = HashMap::with_capacity(vocabulary.words.len());
    for (word, _) in pairs {
        *counts
            .entry(vocabulary.words[word as usize].clone())
            .or_insert(0) += 1;
    }
    counts
}

/// Pairs of words that stand for each other: `word -> [other, ...]`, best supported first.
fn word_pairs(slots: &mut Vec<Slot>, vocabulary: &Vocabulary) -> HashMap<String, Vec<String>> {
    slots.sort_unstable();
    slots.dedup();
    let mut within: HashMap<(u32, u32), u32> = HashMap::new();
    for frame in slots.chunk_by(|a, b| a.0 == b.0) {
        // Inside a frame, group by concept: the words that one concept puts into it.
        let mut by_concept: Vec<(ConceptId, u32)> =
            frame.iter().map(|slot| (slot.2, slot.1)).collect();
        by_concept.sort_unstable();
        for of_one in by_concept.chunk_by(|a, b| a.0 == b.0) {
            for (i, a) in of_one.iter().enumerate() {
                for b in &of_one[i + 1..] {
                    *within.entry((a.1, b.1)).or_insert(0) += 1;
                }
            }
        }
    }
    within.retain(|pair, support| *support >= MIN_SUPPORT && may_be_synonyms(pair, vocabulary));
    let across = disagreements(slots, &within);
    let mut kept: Vec<(u32, u32, u32)> = within
        .into_iter()
        .filter(|(pair, support)| {
            let against = across.get(pair).copied().unwrap_or(0);
            f64::from(*support) / f64::from(support + against) >= MIN_RELIABILITY
        })
        .map(|((a, b), support)| (support, a, b))
        .collect();
    kept.sort_unstable_by(|x, y| y.cmp(x));
    let mut synonyms: HashMap<String, Vec<String>> = HashMap::new();
    for (_, a, b) in kept {
        let (a, b) = (&vocabulary.words[a as usize], &vocabulary.words[b as usize]);
        synonyms.entry(a.clone()).or_default().push(b.clone());
        synonyms.entry(b.clone()).or_default().push(a.clone());
    }
    synonyms
}

/// Whether a pair is about meaning: no digits, numerals or single letters, and not just two numbers of one noun.
fn may_be_synonyms(&(a, b): &(u32, u32), vocabulary: &Vocabulary) -> bool {
    let words = [&vocabulary.words[a as usize], &vocabulary.words[b as usize]];
    words.iter().all(|w| {
        w.chars().count() > 2
            && w.chars().all(char::is_alphabetic)
            && !english::is_roman(&w.to_uppercase())
    })
}

/// How often the words of a pair stand in the same frame for two different concepts.
fn disagreements(slots: &[Slot], pairs: &HashMap<(u32, u32), u32>) -> HashMap<(u32, u32), u32> {
    let mut partners: HashMap<u32, Vec<u32>> = HashMap::new();
    for &(a, b) in pairs.keys() {
        partners.entry(a).or_default().push(b);
    }
    let mut across = HashMap::new();
    for frame in slots.chunk_by(|a, b| a.0 == b.0) {
        let of_word = |word: u32| {
            let start = frame.partition_point(|slot| slot.1 < word);
            frame[start..]
                .iter()
                .take_while(move |slot| slot.1 == word)
                .map(|slot| slot.2)
        };
        for of_a in frame.chunk_by(|a, b| a.1 == b.1) {
            let a = of_a[0].1;
            for &b in partners.get(&a).into_iter().flatten() {
                let shared = of_word(b).any(|concept| of_a.iter().any(|slot| slot.2 == concept));
                if !shared && of_word(b).next().is_some() {
                    *across.entry((a, b)).or_insert(0) += 1;
                }
            }
        }
    }
    across
}
