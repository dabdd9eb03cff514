//! One name of a given concept for a given mention.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::vector::{Vector, Vectorizer};
use crate::clean::clean_text;
use crate::{ConceptId, GroupId, Kb, Name, NameId};

/// How the target name of a training example is chosen among the names of its concept.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The name with the highest TF-IDF cosine (the paper's choice).
    #[default]
    Tfidf,
    /// The name with the smallest edit distance in characters, casing included.
    Levenshtein,
    /// The preferred name, whatever the mention.
    Preferred,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tfidf => "tfidf",
            Self::Levenshtein => "levenshtein",
            Self::Preferred => "preferred",
        })
    }
}

/// The word names no way of selection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name selection; say tfidf, levenshtein or preferred")]
pub struct ParseSelectionError(String);

impl FromStr for Selection {
    type Err = ParseSelectionError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Tfidf, Self::Levenshtein, Self::Preferred]
            .into_iter()
            .find(|selection| selection.to_string() == word)
            .ok_or_else(|| ParseSelectionError(word.to_owned()))
    }
}

/// Selects names of concepts of the KB that it was made for.
pub struct NameSelector {
    method: Method,
}

enum Method {
    Tfidf(Vectorizer),
    Levenshtein,
    Preferred,
}

impl NameSelector {
    /// Prepares a selection; for TF-IDF that counts the 3-grams of all names, a fraction of a
    /// second for MEDIC.
    pub fn new(kb: &Kb, selection: Selection) -> Self {
        let method = match selection {
            Selection::Tfidf => Method::Tfidf(Vectorizer::fit(kb)),
            Selection::Levenshtein => Method::Levenshtein,
            Selection::Preferred => Method::Preferred,
        };
        Self { method }
    }

    /// The name of the concept in the group that suits the mention best, by the rule for ties of
    /// [`crate::select`]. `None` where the concept has no name in the group.
    pub fn select(
        &self,
        kb: &Kb,
        mention: &str,
        concept: ConceptId,
        group: GroupId,
    ) -> Option<NameId> {
        let names = kb.names_of(concept, group);
        match &self.method {
            Method::Preferred => best(names, |_| 0.0),
            Method::Levenshtein => {
                let mention = clean_text(mention);
                best(names, |name| -(strsim::levenshtein(&mention, name) as f32))
            }
            Method::Tfidf(vectorizer) => {
                let mention: Vector = vectorizer.vector(mention);
                best(names, |name| mention.cosine(&vectorizer.vector(name)))
            }
        }
    }
}

fn best<'a>(names: impl Iterator<Item = Name<'a>>, score: impl Fn(&str) -> f32) -> Option<NameId> {
    names
        .map(|name| (score(name.text), name))
        .min_by(|a, b| rank(*a, *b))
        .map(|(_, name)| name.id)
}

/// The rule for ties: `Less` comes first.
pub(super) fn rank(a: (f32, Name<'_>), b: (f32, Name<'_>)) -> Ordering {
    let chars = |name: Name<'_>| name.text.chars().count();
    b.0.total_cmp(&a.0)
        .then_with(|| b.1.preferred.cmp(&a.1.preferred))
        .then_with(|| chars(a.1).cmp(&chars(b.1)))
        .then_with(|| a.1.text.cmp(b.1.text))
}
