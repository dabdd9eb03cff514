//! Parts of the test set that are reported on their own.
//!
//! | partition | parts | decided by |
//! |---|---|---|
//! | `concept` | `seen`, `unseen` | gold concept in the training data ([`crate::SeenRule`]) |
//! | `mention` | `seen`, `unseen` | mention string in the training data, capitals and all |
//! | `pair` | `seen`, `unseen` | mention string annotated with that concept in the training data |
//! | `frequent_concept` | `top_100`, `other` | concept among the hundred most frequent of the training data |
//! | `frequent_mention` | `top_100`, `other` | mention string among the hundred most frequent |
//! | `target_name` | `equal`, `different` | mention is the target name (column `annotation`), capitals aside |
//! | `words` | `1`, `2`, `3`, `4+` | words of the mention, by white space |
//! | `abbreviation` | `yes`, `no` | [`is_abbreviation`] |
//! | `repeated_concept` | `yes`, `no` | concept at least twice in the document, among scored mentions |
//! | `gold` | `simple`, `composite` | gold has several parts |

use crate::score::Outcome;

/// Longest abbreviation, in characters.
const ABBREVIATION_CHARS: usize = 10;

/// What a mention string looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surface {
    /// Words by white space, 4 standing for four and more.
    pub words: u8,
    /// Whether it is an abbreviation.
    pub abbreviation: bool,
}

impl Surface {
    pub(crate) fn of(mention: &str) -> Self {
        Surface {
            words: mention.split_whitespace().take(4).count().max(1) as u8,
            abbreviation: is_abbreviation(mention),
        }
    }
}

/// Whether a mention is an abbreviation by its looks: one word of at most ten characters (letters, digits, and the signs
/// `. - / & +`), that begins with a letter or digit, has at least two capitals, and no more small letters than capitals.
///
/// ```
/// use syncabel_eval::strata::is_abbreviation;
/// assert!(["HD", "COVID-19", "mRNA", "T.A.C.", "PaCO2"].into_iter().all(is_abbreviation));
/// assert!(!["Asthma", "HD disease", "pH", "IgG levels", "+--", ""].into_iter().any(is_abbreviation));
/// ```
pub fn is_abbreviation(mention: &str) -> bool {
    let mention = mention.trim();
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '/' | '&' | '+');
    let (mut capitals, mut small) = (0, 0);
    for (index, c) in mention.chars().enumerate() {
        // Most mentions are longer or have a blank, and nothing more has to be known of them.
        if index == ABBREVIATION_CHARS || !allowed(c) {
            return false;
        }
        capitals += usize::from(c.is_uppercase());
        small += usize::from(c.is_lowercase());
    }
    mention.starts_with(char::is_alphanumeric) && capitals >= 2 && small <= capitals
}

/// A way of cutting the test set into parts.
pub(crate) struct Partition {
    pub(crate) name: &'static str,
    /// What a person calls it.
    pub(crate) title: &'static str,
    pub(crate) parts: &'static [&'static str],
    /// What a mention of each part is tagged with where it is shown; nothing for parts that go without saying.
    pub(crate) tags: &'static [&'static str],
    /// Which part a mention belongs to; `None` where it cannot be told.
    pub(crate) part: fn(&Outcome) -> Option<usize>,
}

/// First where `yes`, second where not.
fn first_if(yes: bool) -> usize {
    usize::from(!yes)
}

pub(crate) const SEEN: [&str; 2] = ["seen", "unseen"];
const FREQUENT: [&str; 2] = ["top_100", "other"];
const YES: [&str; 2] = ["yes", "no"];

/// All partitions; the first two are also reported under names of their own.
pub(crate) const PARTITIONS: [Partition; 10] = [
    Partition {
        name: "concept",
        title: "Concept",
        parts: &SEEN,
        tags: &["seen concept", "unseen concept"],
        part: |o| o.seen.map(first_if),
    },
    Partition {
        name: "mention",
        title: "Mention string",
        parts: &SEEN,
        tags: &["seen string", "unseen string"],
        part: |o| o.seen_mention.map(first_if),
    },
    Partition {
        name: "pair",
        title: "String with its concept",
        parts: &SEEN,
        tags: &["seen pair", "unseen pair"],
        part: |o| o.seen_pair.map(first_if),
    },
    Partition {
        name: "frequent_concept",
        title: "Concept by frequency",
        parts: &FREQUENT,
        tags: &["frequent concept", ""],
        part: |o| o.frequent_concept.map(first_if),
    },
    Partition {
        name: "frequent_mention",
        title: "String by frequency",
        parts: &FREQUENT,
        tags: &["frequent string", ""],
        part: |o| o.frequent_mention.map(first_if),
    },
    Partition {
        name: "target_name",
        title: "Mention and target name",
        parts: &["equal", "different"],
        tags: &["is the target name", ""],
        part: |o| o.equals_target.map(first_if),
    },
    Partition {
        name: "words",
        title: "Words",
        parts: &["1", "2", "3", "4+"],
        tags: &["1 word", "2 words", "3 words", "4+ words"],
        part: |o| Some(usize::from(o.surface.words) - 1),
    },
    Partition {
        name: "abbreviation",
        title: "Abbreviation",
        parts: &YES,
        tags: &["abbreviation", ""],
        part: |o| Some(first_if(o.surface.abbreviation)),
    },
    Partition {
        name: "repeated_concept",
        title: "Concept repeated in document",
        parts: &YES,
        tags: &["repeated", ""],
        part: |o| Some(first_if(o.repeated)),
    },
    Partition {
        name: "gold",
        title: "Gold",
        parts: &["simple", "composite"],
        tags: &["", "composite"],
        part: |o| Some(usize::from(o.composite)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_tag() {
        for partition in &PARTITIONS {
            assert_eq!(
                partition.parts.len(),
                partition.tags.len(),
                "{}",
                partition.name
            );
            // The page writes a part as one digit.
            assert!(partition.parts.len() < 10, "{}", partition.name);
        }
    }
}
