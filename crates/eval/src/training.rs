//! What the human training data covers: the line between seen and unseen.

use std::collections::HashSet;

use syncabel_corpus::{Corpus, Document, Origin, Split};
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser};
use crate::score::SeenRule;

/// Codes and mention strings of the human training data.
///
/// Only human annotation counts: a concept that occurs in synthetic sentences alone is still unseen, for that is
/// what the comparison is about.
#[derive(Debug, Clone, Default)]
pub struct TrainingSet {
    /// Code strings, the parts of a composite in file order (the authors' rule).
    strings: HashSet<String>,
    /// Code strings, the parts of a composite sorted.
    keys: HashSet<String>,
    /// Single codes.
    parts: HashSet<String>,
    mentions: HashSet<String>,
}

impl TrainingSet {
    /// The human documents of a corpus that are marked as training data or not marked at all.
    ///
    /// Whoever also trains on validation documents hands them to [`TrainingSet::from_documents`].
    /// With a KB, alternate ids count as the concept they resolve to.
    pub fn from_corpus(corpus: &Corpus, kb: Option<&Kb>) -> Self {
        let trained = |d: &&Document| matches!(d.split, None | Some(Split::Train));
        Self::from_documents(corpus.documents.iter().filter(trained), kb)
    }

    /// The human documents among `documents`, whatever split they are marked with.
    pub fn from_documents<'d>(
        documents: impl IntoIterator<Item = &'d Document>,
        kb: Option<&Kb>,
    ) -> Self {
        let mut set = TrainingSet::default();
        let mut codes = Canonicaliser::new(kb);
        for document in documents {
            if !matches!(document.origin, Origin::Human) {
                continue;
            }
            for mention in &document.mentions {
                let alternatives = mention.gold.alternatives.iter();
                let alternatives = alternatives
                    .map(|c| codes.of_parts(c.0.iter().map(String::as_str)))
                    .collect();
                set.add(alternatives, &mention.text);
            }
        }
        set
    }

    /// From `(code field, mention string)` pairs, the field as in a prediction file (`+` and, for alternatives, `|`).
    pub fn from_fields<'f>(
        fields: impl IntoIterator<Item = (&'f str, &'f str)>,
        kb: Option<&Kb>,
    ) -> Self {
        let mut set = TrainingSet::default();
        let mut codes = Canonicaliser::new(kb);
        for (field, mention) in fields {
            set.add(codes.alternatives(field), mention);
        }
        set
    }

    /// Number of distinct code strings.
    pub fn code_count(&self) -> usize {
        self.strings.len()
    }

    /// Number of distinct mention strings.
    pub fn mention_count(&self) -> usize {
        self.mentions.len()
    }

    /// Whether the training data covers a gold annotation.
    pub(crate) fn has_concept(&self, gold: &[Canonical], rule: SeenRule) -> bool {
        gold.iter().any(|composite| match rule {
            SeenRule::CodeString => self.strings.contains(&composite.key),
            SeenRule::CodeSet => self.keys.contains(&composite.key),
            SeenRule::AnyConcept => composite.parts.iter().any(|part| self.parts.contains(part)),
        })
    }

    /// Whether this very mention string was annotated, capitals and all.
    pub(crate) fn has_mention(&self, mention: &str) -> bool {
        self.mentions.contains(mention)
    }

    fn add(&mut self, alternatives: Vec<Canonical>, mention: &str) {
        self.mentions.insert(mention.to_owned());
        for composite in alternatives {
            self.strings.insert(composite.unsorted());
            self.parts.extend(composite.parts);
            self.keys.insert(composite.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_differ_on_composites() {
        let set = TrainingSet::from_fields([("B+A", "x"), ("C", "y")], None);
        let gold = |field: &str| Canonicaliser::new(None).alternatives(field);
        let verdicts = |field: &str| {
            [
                SeenRule::CodeString,
                SeenRule::CodeSet,
                SeenRule::AnyConcept,
            ]
            .map(|rule| set.has_concept(&gold(field), rule))
        };
        assert_eq!(
            verdicts("A+B"),
            [false, true, true],
            "the authors sort gold but not training strings"
        );
        assert_eq!(verdicts("A"), [false, false, true]);
        assert_eq!(verdicts("D|C"), [true; 3], "one alternative is enough");
        assert_eq!(verdicts("D"), [false; 3]);
        assert!(set.has_mention("x") && !set.has_mention("X"));
        assert_eq!((set.code_count(), set.mention_count()), (2, 2));
    }
}
