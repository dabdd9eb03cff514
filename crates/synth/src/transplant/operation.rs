//! The named ways in which an inserted mention differs from the KB name it was made from.

use std::fmt;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::english::{self, capitalise, last_word, recase};
use super::lexicon::{Lexicon, words};

/// One thing done to a KB name on its way into a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The name is not the preferred one.
    AnotherName,
    /// `Dystrophy, Myotonic` became `Myotonic Dystrophy`.
    CommaOrder,
    /// `Gaucher disease type II` became `type II Gaucher disease`, or the other way round.
    TypeOrder,
    /// `type` was left out: `mucopolysaccharidosis IVA`.
    TypeWordDropped,
    /// `C7 deficiency` became `deficiency of C7`, or the other way round.
    OfPhrase,
    /// A word was exchanged for one that the KB itself uses in its place: `renal` for `kidney`.
    SynonymWord,
    /// `disease`, `disorder`, `syndrome` exchanged.
    HeadWord,
    /// `disease`, `syndrome` left out behind an eponym.
    GenericDropped,
    /// `disease`, `syndrome` put behind a name without it, where another name of the concept has the word.
    GenericAdded,
    /// A word that distinguishes no concept put in front: `sporadic`.
    QualifierAdded,
    /// `II` became `2`, or the other way round.
    Numeral,
    /// `Wilms tumor` became `Wilms' tumor`, or the other way round.
    Possessive,
    /// Hyphen to blank, or `SCA2` to `SCA-2`.
    Hyphen,
    /// British for American spelling, or the other way round.
    Spelling,
    /// Singular to plural, or the other way round.
    Number,
    /// Two letters changed places, or one is missing.
    Typo,
    /// Capitals taken away, as in running text.
    Case,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Operation::AnotherName => "another name",
            Operation::CommaOrder => "comma order",
            Operation::TypeOrder => "type order",
            Operation::TypeWordDropped => "type word dropped",
            Operation::OfPhrase => "of phrase",
            Operation::SynonymWord => "synonym word",
            Operation::HeadWord => "head word",
            Operation::GenericDropped => "generic word dropped",
            Operation::GenericAdded => "generic word added",
            Operation::QualifierAdded => "qualifier added",
            Operation::Numeral => "numeral",
            Operation::Possessive => "possessive",
            Operation::Hyphen => "hyphen",
            Operation::Spelling => "spelling",
            Operation::Number => "number",
            Operation::Typo => "typo",
            Operation::Case => "case",
        })
    }
}

/// What an operation may look at.
pub(super) struct Material<'a> {
    pub(super) lexicon: &'a Lexicon,
    /// All names of the concept in the group.
    pub(super) names: &'a [&'a str],
}

/// Rewrites a name, or declines.
pub(super) type Rewrite = fn(&str, &Material<'_>, &mut ChaCha8Rng) -> Option<String>;

/// The English rewrites in the order in which they are tried, with the probability that one is tried where it applies.
/// Number and case depend on the sentence and come last, in [`super::variant`].
pub(super) const ENGLISH: [(Operation, f64, Rewrite); 13] = [
    (Operation::CommaOrder, 0.95, comma_order),
    (Operation::TypeOrder, 0.2, type_order),
    (Operation::OfPhrase, 0.15, of_phrase),
    (Operation::SynonymWord, 0.25, synonym_word),
    (Operation::HeadWord, 0.06, head_word),
    (Operation::GenericDropped, 0.1, generic_dropped),
    (Operation::GenericAdded, 0.1, generic_added),
    (Operation::QualifierAdded, 0.03, qualifier_added),
    (Operation::Numeral, 0.2, numeral),
    (Operation::TypeWordDropped, 0.15, type_word_dropped),
    (Operation::Possessive, 0.15, possessive),
    (Operation::Hyphen, 0.12, hyphen),
    (Operation::Spelling, 0.3, spelling),
];

/// How often a letter goes wrong.
pub(super) const TYPO_PROBABILITY: f64 = 0.004;

/// Heads that are turned around `of`.
const OF_HEADS: [&str; 4] = ["deficiency", "deficiencies", "absence", "inflammation"];
/// Heads that take an organ behind `of the`.
const ORGAN_HEADS: [&str; 9] = [
    "cancer",
    "cancers",
    "carcinoma",
    "tumor",
    "tumors",
    "neoplasm",
    "neoplasms",
    "disease",
    "infection",
];
const ORGANS: [&str; 22] = [
    "bladder",
    "brain",
    "breast",
    "cervix",
    "colon",
    "ear",
    "esophagus",
    "eye",
    "heart",
    "kidney",
    "larynx",
    "liver",
    "lung",
    "ovary",
    "pancreas",
    "pharynx",
    "prostate",
    "skin",
    "spleen",
    "stomach",
    "thyroid",
    "uterus",
];
const GENERIC: [&str; 3] = ["disease", "syndrome", "disorder"];
/// Words in front that name no subtype. Each use is still checked against the names of other concepts.
const QUALIFIERS: [&str; 8] = [
    "sporadic",
    "classical",
    "typical",
    "inherited",
    "clinical",
    "symptomatic",
    "suspected",
    "isolated",
];

/// Parts behind a comma that stay behind the name.
fn stays_behind(part: &str) -> bool {
    let first = words(part).next().unwrap_or_default();
    let lower = first.to_lowercase();
    matches!(
        lower.as_str(),
        "type" | "group" | "form" | "stage" | "grade" | "with" | "without" | "due" | "and" | "or"
    ) || first.chars().all(|c| c.is_numeric())
        || first.chars().count() == 1
        || english::is_roman(first)
}

fn comma_order(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let mut parts: Vec<&str> = name
        .split(", ")
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect();
    parts.retain(|part| !part.eq_ignore_ascii_case("included"));
    if !name.contains(", ") || parts.len() > 4 || name.contains(';') || name.contains('(') {
        return None;
    }
    let list = |part: &str| {
        ["and ", "or "]
            .iter()
            .any(|word| part.to_lowercase().starts_with(word))
    };
    if parts.iter().any(|part| list(part)) {
        return None;
    }
    let head = *parts.first()?;
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for part in &parts[1..] {
        match part.rsplit_once(' ') {
            _ if stays_behind(part) => behind.push(*part),
            // X-LINKED 21: the number belongs behind the name
            Some((words, number)) if is_index(number) => {
                before.push(words);
                behind.push(number);
            }
            _ => before.push(*part),
        }
    }
    before.reverse();
    let pieces: Vec<&str> = before.into_iter().chain([head]).chain(behind).collect();
    Some(pieces.join(" "))
}

fn is_index(word: &str) -> bool {
    english::is_roman(word) || (word.len() <= 3 && word.starts_with(|c: char| c.is_ascii_digit()))
}

fn type_order(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let pieces: Vec<&str> = name.split(' ').collect();
    let at = pieces.iter().position(|p| p.eq_ignore_ascii_case("type"))?;
    if pieces.len() < 4 || name.contains(',') {
        return None;
    }
    let value = *pieces.get(at + 1)?;
    let reordered: Vec<&str> = if at == 0 {
        pieces[2..]
            .iter()
            .copied()
            .chain([pieces[0], value])
            .collect()
    } else if at + 2 == pieces.len() {
        [pieces[at], value]
            .into_iter()
            .chain(pieces[..at].iter().copied())
            .collect()
    } else {
        return None;
    };
    Some(reordered.join(" "))
}

fn type_word_dropped(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let pieces: Vec<&str> = name.split(' ').collect();
    let at = pieces.iter().position(|p| p.eq_ignore_ascii_case("type"))?;
    if at == 0 || at + 2 != pieces.len() || !is_index(pieces[at + 1]) {
        return None;
    }
    Some(format!(
        "{} {}",
        pieces[..at].join(" ").trim_end_matches(','),
        pieces[at + 1]
    ))
}

fn of_phrase(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    if name.contains(',') {
        return None;
    }
    let lower = name.to_lowercase();
    if lower.len() != name.len() {
        return None;
    }
    if let Some(at) = lower.find(" of ") {
        let (head, of) = (&name[..at], &name[at + 4..]);
        let of = of
            .strip_prefix("the ")
            .or(of.strip_prefix("The "))
            .unwrap_or(of);
        let turns = OF_HEADS.contains(&&lower[..at]) || ORGAN_HEADS.contains(&&lower[..at]);
        return (turns && words(of).count() <= 4 && !of.contains(" of "))
            .then(|| format!("{of} {head}"));
    }
    let (of, head) = name.rsplit_once(' ')?;
    let (of_lower, head_lower) = (of.to_lowercase(), head.to_lowercase());
    if OF_HEADS.contains(&head_lower.as_str()) {
        return Some(format!("{head} of {of}"));
    }
    (ORGAN_HEADS.contains(&head_lower.as_str()) && ORGANS.contains(&of_lower.as_str()))
        .then(|| format!("{head} of the {of_lower}"))
}

fn synonym_word(name: &str, material: &Material<'_>, rng: &mut ChaCha8Rng) -> Option<String> {
    let replaceable: Vec<&str> = words(name)
        .filter(|w| !material.lexicon.synonyms(&w.to_lowercase()).is_empty())
        .collect();
    let word = *replaceable.choose(rng)?;
    let synonyms = material.lexicon.synonyms(&word.to_lowercase());
    let synonym = synonyms[..synonyms.len().min(3)].choose(rng)?;
    if words(name).any(|other| other.eq_ignore_ascii_case(synonym)) {
        return None;
    }
    let upper = word.chars().all(char::is_uppercase);
    Some(replace_word(name, word, &recase(synonym, word, upper)))
}

fn head_word(name: &str, _: &Material<'_>, rng: &mut ChaCha8Rng) -> Option<String> {
    let head = last_word(name);
    let lower = head.to_lowercase();
    let others: Vec<&&str> = GENERIC.iter().filter(|word| **word != lower).collect();
    if others.len() == GENERIC.len() || words(name).count() < 2 {
        return None;
    }
    let upper = head.chars().all(char::is_uppercase);
    Some(format!(
        "{}{}",
        &name[..name.len() - head.len()],
        recase(others.choose(rng)?, head, upper)
    ))
}

fn generic_dropped(name: &str, material: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let head = last_word(name);
    let rest = name[..name.len() - head.len()].trim_end();
    let eponym =
        words(rest).any(|word| word.chars().count() > 3 && material.lexicon.may_be_eponym(word));
    let of = rest.to_lowercase().ends_with(" of");
    (GENERIC.contains(&head.to_lowercase().as_str()) && eponym && !of && !rest.contains(',')).then(
        || {
            rest.trim_end_matches("'s")
                .trim_end_matches('\'')
                .to_owned()
        },
    )
}

fn generic_added(name: &str, material: &Material<'_>, rng: &mut ChaCha8Rng) -> Option<String> {
    let bare =
        !GENERIC.contains(&last_word(name).to_lowercase().as_str()) && words(name).count() == 1;
    if !bare || english::number(name) == english::Number::Plural {
        return None;
    }
    let heads: Vec<&&str> = GENERIC
        .iter()
        .filter(|generic| {
            material
                .names
                .iter()
                .any(|other| last_word(other).eq_ignore_ascii_case(generic))
        })
        .collect();
    heads.choose(rng).map(|head| format!("{name} {head}"))
}

fn qualifier_added(name: &str, _: &Material<'_>, rng: &mut ChaCha8Rng) -> Option<String> {
    let qualifier = QUALIFIERS.choose(rng)?;
    let qualified = words(name).any(|word| QUALIFIERS.contains(&word.to_lowercase().as_str()));
    (!qualified && words(name).count() >= 2).then(|| format!("{qualifier} {name}"))
}

fn numeral(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let (rest, last) = name.rsplit_once([' ', '-'])?;
    let other = english::other_numeral(last)?;
    // A lone `I`, `V` or `X` at the end is a numeral only behind a word that counts.
    let counted = words(rest).last().is_some_and(|w| w.chars().count() > 2);
    counted.then(|| format!("{}{other}", &name[..name.len() - last.len()]))
}

fn possessive(name: &str, material: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    for mark in ["'s ", "s' ", "' "] {
        if let Some((before, after)) = name.split_once(mark) {
            let s = if mark == "s' " { "s" } else { "" };
            return Some(format!("{before}{s} {after}"));
        }
    }
    let (eponym, head) = name.split_once(' ')?;
    let capital = eponym.chars().next().is_some_and(char::is_uppercase);
    let name_like =
        capital && eponym.chars().skip(1).all(char::is_lowercase) && eponym.chars().count() > 3;
    let ends = ["ic", "al", "ous", "ive", "ar", "ed", "ing"]
        .iter()
        .any(|ending| eponym.ends_with(ending));
    if !name_like
        || ends
        || !material.lexicon.is_rare(eponym)
        || !GENERIC.contains(&head.to_lowercase().as_str())
    {
        return None;
    }
    let mark = if eponym.ends_with('s') { "'" } else { "'s" };
    Some(format!("{eponym}{mark} {head}"))
}

fn hyphen(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    let chars: Vec<char> = name.chars().collect();
    let long = |at: usize, step: isize| {
        let next = |offset: isize| {
            chars
                .get((at as isize + offset) as usize)
                .is_some_and(|c| c.is_lowercase())
        };
        next(step) && next(2 * step)
    };
    if let Some(at) = chars.iter().position(|&c| c == '-') {
        if at < 2 || !long(at, -1) || !long(at, 1) {
            return None; // X-linked, beta-1
        }
        let mut changed = chars.clone();
        changed[at] = ' ';
        return Some(changed.into_iter().collect());
    }
    // SCA2 -> SCA-2
    let at = chars
        .windows(2)
        .position(|w| w[0].is_uppercase() && w[1].is_ascii_digit())?;
    let acronym =
        words(name).count() == 1 && at >= 1 && chars[..=at].iter().all(|c| c.is_uppercase());
    acronym.then(|| {
        chars[..=at]
            .iter()
            .chain(['-'].iter())
            .chain(&chars[at + 1..])
            .collect()
    })
}

fn spelling(name: &str, _: &Material<'_>, _: &mut ChaCha8Rng) -> Option<String> {
    english::respell(name)
}

/// Swaps two neighbouring letters inside a long word, or leaves one out.
pub(super) fn typo(name: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let long: Vec<&str> = words(name)
        .filter(|w| w.chars().count() >= 8 && w.is_ascii())
        .collect();
    let word = *long.choose(rng)?;
    let mut letters: Vec<char> = word.chars().collect();
    let at = rng.random_range(2..letters.len() - 2);
    if rng.random_bool(0.5) && letters[at] != letters[at + 1] {
        letters.swap(at, at + 1);
    } else {
        letters.remove(at);
    }
    Some(replace_word(
        name,
        word,
        &letters.into_iter().collect::<String>(),
    ))
}

/// Replaces the first occurrence of a whole word.
fn replace_word(name: &str, word: &str, by: &str) -> String {
    let is_inside = |c: char| c.is_alphanumeric();
    let found = name.match_indices(word).find(|(at, _)| {
        !name[..*at].ends_with(is_inside) && !name[at + word.len()..].starts_with(is_inside)
    });
    match found {
        Some((at, _)) => format!("{}{by}{}", &name[..at], &name[at + word.len()..]),
        None => name.to_owned(),
    }
}

/// First letter upper-case: for the beginning of a sentence.
pub(super) fn sentence_start(text: &str) -> String {
    capitalise(text)
}
