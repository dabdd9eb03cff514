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

use std::collections::HashMap;

use syncabel_kb::{ConceptId, GroupId, Kb};

use super::english;
use crate::contexts::TrainSentences;
use crate::generator::stable_hash;

/// So many concepts must have two names that differ in a pair of words for the pair to count.
const MIN_SUPPORT: u32 = 4;
/// Share of the rarer word's concepts that must support a pair, unless [`AMPLE_SUPPORT`] concepts do.
const MIN_COVERAGE: f64 = 0.1;
/// So many concepts are enough for the words that stand in thousands of names (`disease`, `hereditary`).
const AMPLE_SUPPORT: u32 = 20;
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
    /// Lower-cased word to (seen in lower case, seen capitalised), inside human sentences and names written like them.
    inner_case: HashMap<String, (u32, u32)>,
    /// Lower-cased word to (written in capitals throughout, written otherwise) in names of mixed case.
    acronyms: HashMap<String, (u32, u32)>,
}

impl Lexicon {
    pub(super) fn learn(kb: &Kb, contexts: &TrainSentences) -> Self {
        let mut lexicon = Lexicon {
            owners: HashMap::with_capacity(kb.name_count() * 2),
            synonyms: HashMap::new(),
            concepts_of_word: HashMap::new(),
            inner_case: HashMap::new(),
            acronyms: HashMap::new(),
        };
        let mut slots = Vec::new();
        let mut vocabulary = Vocabulary::default();
        for (group, _) in kb.groups() {
            for name in kb.names(group) {
                lexicon.note_owner(group, name.text, name.concept);
                lexicon.note_acronyms(name.text);
                if is_sentence_case(name.text) {
                    lexicon.note_inner_case(name.text);
                }
                note_slots(&mut slots, &mut vocabulary, name.text, name.concept);
            }
        }
        lexicon.concepts_of_word = concepts_per_word(&slots, &vocabulary);
        lexicon.synonyms = word_pairs(&mut slots, &vocabulary, &lexicon.concepts_of_word);
        for (group, _) in kb.groups() {
            contexts
                .of_group(group)
                .for_each(|sentence| lexicon.note_inner_case(&sentence.text));
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
    ///
    /// A phrase of the style `Blepharophimosis syndrome Ohdo type` already says which words are names; in one of the
    /// style `Eye Diseases` or `EYE DISEASES` each word is judged by how others write it.
    pub(super) fn decapitalise(&self, phrase: &str) -> String {
        let shouting = !phrase.chars().any(char::is_lowercase);
        if shouting && !phrase.contains(' ') {
            return self.decapitalise_shouted_word(phrase);
        }
        let written_as_text = is_sentence_case(phrase);
        let words: Vec<&str> = words(phrase).collect();
        let mut out = String::with_capacity(phrase.len());
        let mut rest = phrase;
        for (at, word) in words.iter().enumerate() {
            let start = rest.find(word).unwrap_or(0);
            out.push_str(&rest[..start]);
            rest = &rest[start + word.len()..];
            let next = words.get(at + 1).copied();
            let name_follows =
                written_as_text && next.is_some_and(|w| w.starts_with(char::is_uppercase));
            let hyphenated = rest
                .strip_prefix('-')
                .and(next)
                .is_some_and(|next| self.may_be_eponym(next));
            // `(-)-menthol`: a hyphen may stand before the first word.
            let before = at.checked_sub(1).map(|before| words[before]);
            let hyphenated = hyphenated
                || (out.ends_with('-') && before.is_some_and(|before| self.may_be_eponym(before)));
            let eponym_place = name_follows || hyphenated || next.is_some_and(heads_an_eponym);
            if written_as_text && at > 0 {
                out.push_str(word);
            } else {
                out.push_str(&self.decapitalise_word(word, shouting, eponym_place));
            }
        }
        out.push_str(rest);
        out
    }

    /// `GOUT` is a word, `DFNB67` and `PKU` are none.
    fn decapitalise_shouted_word(&self, word: &str) -> String {
        let lower = word.to_lowercase();
        let (in_lower, in_upper) = self.written(&lower);
        let acronym = word.chars().any(char::is_numeric) || word.chars().count() <= 6;
        if in_lower > in_upper || !acronym {
            lower
        } else {
            word.to_owned()
        }
    }

    fn decapitalise_word(&self, word: &str, shouting: bool, eponym_place: bool) -> String {
        let lower = word.to_lowercase();
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        if letters <= 1 || word.chars().any(char::is_numeric) || english::is_roman(word) {
            return word.to_owned(); // X-linked, type A, type II, SCA2
        }
        let (as_acronym, otherwise) = self.acronyms.get(&lower).copied().unwrap_or_default();
        if as_acronym > otherwise && letters <= 6 && (shouting || english::is_acronym(word)) {
            return word.to_uppercase();
        }
        let mixed =
            word.chars().skip(1).any(char::is_uppercase) && word.chars().any(char::is_lowercase);
        if mixed || (!shouting && english::is_acronym(word)) {
            return word.to_owned(); // McLeod, HbS, HIV
        }
        let (in_lower, in_upper) = self.written(&lower);
        let eponym = match in_lower + in_upper {
            0 => eponym_place && self.may_be_eponym(word),
            _ => in_upper > in_lower,
        };
        if eponym {
            english::capitalise(&lower)
        } else {
            lower
        }
    }

    /// A rare word without the ending of an adjective or a disease.
    pub(super) fn may_be_eponym(&self, word: &str) -> bool {
        const NOT_NAMES: [&str; 20] = [
            "ic", "al", "ous", "ive", "ary", "oma", "emia", "itis", "osis", "pathy", "trophy",
            "plasia", "borne", "ed", "ing", "ar", "ent", "ant", "oid", "less",
        ];
        let lower = word.to_lowercase();
        self.is_rare(&lower) && !NOT_NAMES.iter().any(|ending| lower.ends_with(ending))
    }

    /// How often a word is written in lower case, and how often with a capital, where the place asks for none.
    fn written(&self, lower: &str) -> (u32, u32) {
        self.inner_case.get(lower).copied().unwrap_or_default()
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
        if !name.chars().any(char::is_lowercase) {
            return;
        }
        for word in words(name).filter(|w| !english::is_roman(w)) {
            let entry = self.acronyms.entry(word.to_lowercase()).or_default();
            let capitals = !word.chars().any(char::is_lowercase) && english::is_acronym(word);
            *(if capitals { &mut entry.0 } else { &mut entry.1 }) += 1;
        }
    }

    /// Counts capitals of words inside a sentence, or a name written like one, the first word aside.
    fn note_inner_case(&mut self, text: &str) {
        for word in words(text).skip(1) {
            let mut chars = word.chars();
            let Some(first) = chars.next().filter(|c| c.is_alphabetic()) else {
                continue;
            };
            if chars.as_str().chars().any(char::is_uppercase) {
                continue;
            }
            let entry = self.inner_case.entry(word.to_lowercase()).or_default();
            *(if first.is_uppercase() {
                &mut entry.1
            } else {
                &mut entry.0
            }) += 1;
        }
    }
}

/// Whether a name is written as in running text: an ordinary word behind the first is in lower case.
fn is_sentence_case(name: &str) -> bool {
    let function = |w: &str| {
        matches!(
            w,
            "with" | "without" | "from" | "type" | "due" | "into" | "than" | "that"
        )
    };
    words(name)
        .skip(1)
        .any(|w| w.chars().count() > 3 && !function(w) && !w.chars().any(char::is_uppercase))
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
fn word_pairs(
    slots: &mut Vec<Slot>,
    vocabulary: &Vocabulary,
    concepts_of_word: &HashMap<String, u32>,
) -> HashMap<String, Vec<String>> {
    slots.sort_unstable();
    slots.dedup();
    let support = support(slots, vocabulary);
    let across = disagreements(slots, &support);
    let concepts = |word: u32| {
        concepts_of_word
            .get(&vocabulary.words[word as usize])
            .copied()
            .unwrap_or(1)
    };
    let mut kept: Vec<(u32, u32, u32)> = support
        .into_iter()
        .filter(|&((a, b), support)| {
            let against = across.get(&(a, b)).copied().unwrap_or(0);
            let reliable = f64::from(support) / f64::from(support + against) >= MIN_RELIABILITY;
            let covered =
                f64::from(support) / f64::from(concepts(a).min(concepts(b))) >= MIN_COVERAGE;
            reliable && (covered || support >= AMPLE_SUPPORT)
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

/// In how many concepts two names differ in just this pair of words, for pairs with enough of them.
fn support(slots: &[Slot], vocabulary: &Vocabulary) -> HashMap<(u32, u32), u32> {
    let mut witnesses: Vec<(u32, u32, ConceptId)> = Vec::new();
    for frame in slots.chunk_by(|a, b| a.0 == b.0) {
        let mut by_concept: Vec<(ConceptId, u32)> =
            frame.iter().map(|slot| (slot.2, slot.1)).collect();
        by_concept.sort_unstable();
        for of_one in by_concept.chunk_by(|a, b| a.0 == b.0) {
            for (i, a) in of_one.iter().enumerate() {
                witnesses.extend(of_one[i + 1..].iter().map(|b| (a.1, b.1, a.0)));
            }
        }
    }
    witnesses.sort_unstable();
    witnesses.dedup();
    let pairs = witnesses.chunk_by(|x, y| (x.0, x.1) == (y.0, y.1));
    let counted = pairs.map(|pair| ((pair[0].0, pair[0].1), pair.len() as u32));
    counted
        .filter(|(pair, support)| *support >= MIN_SUPPORT && may_be_synonyms(*pair, vocabulary))
        .collect()
}

/// Opposites that terminologies sometimes file under one concept. A qualifier must matter.
const OPPOSITES: [(&str, &str); 10] = [
    ("benign", "malignant"),
    ("lower", "upper"),
    ("complete", "partial"),
    ("acute", "chronic"),
    ("left", "right"),
    ("dominant", "recessive"),
    ("primary", "secondary"),
    ("external", "internal"),
    ("acquired", "congenital"),
    ("cryptogenic", "symptomatic"),
];

/// Whether a pair is about meaning: no digits, numerals or short words, no opposites, not two numbers of one noun.
fn may_be_synonyms((a, b): (u32, u32), vocabulary: &Vocabulary) -> bool {
    let (a, b) = (
        vocabulary.words[a as usize].as_str(),
        vocabulary.words[b as usize].as_str(),
    );
    let is_word = |w: &str| {
        w.chars().count() > 2
            && w.chars().all(char::is_alphabetic)
            && !english::is_roman(&w.to_uppercase())
    };
    let opposites = OPPOSITES
        .iter()
        .any(|pair| *pair == (a, b) || *pair == (b, a));
    is_word(a) && is_word(b) && !opposites && !is_inflection(a, b)
}

/// Whether two words are singular and plural of one, Greek and Latin plurals included.
fn is_inflection(a: &str, b: &str) -> bool {
    const ENDINGS: [(&str, &str); 9] = [
        ("", "s"),
        ("", "es"),
        ("y", "ies"),
        ("is", "es"),
        ("is", "ides"),
        ("us", "i"),
        ("a", "ata"),
        ("ex", "ices"),
        ("ex", "exes"),
    ];
    ENDINGS.iter().any(|(one, many)| {
        let same = |x: &str, y: &str| {
            matches!((x.strip_suffix(one), y.strip_suffix(many)), (Some(p), Some(q)) if p == q)
        };
        same(a, b) || same(b, a)
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
