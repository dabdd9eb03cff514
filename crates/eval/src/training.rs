//! What the human training data covers: the line between seen and unseen.

use std::collections::{HashMap, HashSet};

use syncabel_corpus::{Corpus, Document, Mention, Origin, Split};
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser};
use crate::score::SeenRule;

/// How many of the most frequent concepts and mention strings count as frequent (the paper's partition).
pub const FREQUENT: usize = 100;

/// Codes and mention strings of the human training data.
///
/// Only human annotation counts: a concept that occurs in synthetic sentences alone is still unseen, for that is
/// what the comparison is about.
#[derive(Debug, Clone, Default)]
pub struct TrainingSet {
    codes: Coverage,
    /// The codes that each mention string was annotated with.
    mentions: HashMap<String, Coverage>,
    concept_counts: HashMap<String, usize>,
    mention_counts: HashMap<String, usize>,
}

/// Codes in the three readings of [`SeenRule`].
#[derive(Debug, Clone, Default)]
struct Coverage {
    /// Code strings, the parts of a composite in file order (the authors' rule).
    strings: HashSet<String>,
    /// Code strings, the parts of a composite sorted.
    keys: HashSet<String>,
    /// Single codes.
    parts: HashSet<String>,
}

impl Coverage {
    fn add(&mut self, composite: &Canonical) {
        self.strings.insert(composite.unsorted());
        self.keys.insert(composite.key.clone());
        self.parts.extend(composite.parts.iter().cloned());
    }

    fn has(&self, gold: &[Canonical], rule: SeenRule) -> bool {
        gold.iter().any(|composite| match rule {
            SeenRule::CodeString => self.strings.contains(&composite.key),
            SeenRule::CodeSet => self.keys.contains(&composite.key),
            SeenRule::AnyConcept => composite.parts.iter().any(|part| self.parts.contains(part)),
        })
    }
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
        let human = documents
            .into_iter()
            .filter(|document| matches!(document.origin, Origin::Human));
        Self::from_mentions(human.flat_map(|document| &document.mentions), kb)
    }

    /// These mentions, for whoever trains on a part of a corpus.
    pub fn from_mentions<'m>(
        mentions: impl IntoIterator<Item = &'m Mention>,
        kb: Option<&Kb>,
    ) -> Self {
        let mut set = TrainingSet::default();
        let mut codes = Canonicaliser::new(kb);
        for mention in mentions {
            let alternatives = mention.gold.alternatives.iter();
            let alternatives: Vec<Canonical> = alternatives
                .map(|c| codes.of_parts(c.0.iter().map(String::as_str)))
                .collect();
            set.add(&alternatives, &mention.text);
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
            set.add(&codes.alternatives(field), mention);
        }
        set
    }

    /// Number of distinct code strings.
    pub fn code_count(&self) -> usize {
        self.codes.strings.len()
    }

    /// Number of distinct mention strings.
    pub fn mention_count(&self) -> usize {
        self.mentions.len()
    }

    /// Whether the training data covers a gold annotation.
    pub(crate) fn has_concept(&self, gold: &[Canonical], rule: SeenRule) -> bool {
        self.codes.has(gold, rule)
    }

    /// Whether this very mention string was annotated, capitals and all.
    pub(crate) fn has_mention(&self, mention: &str) -> bool {
        self.mentions.contains_key(mention)
    }

    /// Whether this very mention string was annotated with this concept.
    pub(crate) fn has_pair(&self, gold: &[Canonical], mention: &str, rule: SeenRule) -> bool {
        let codes = self.mentions.get(mention);
        codes.is_some_and(|codes| codes.has(gold, rule))
    }

    /// The [`FREQUENT`] most frequent code strings (composite parts sorted); the first in the alphabet among equals.
    pub(crate) fn frequent_concepts(&self) -> HashSet<&str> {
        most_frequent(&self.concept_counts)
    }

    /// The [`FREQUENT`] most frequent mention strings.
    pub(crate) fn frequent_mentions(&self) -> HashSet<&str> {
        most_frequent(&self.mention_counts)
    }

    fn add(&mut self, alternatives: &[Canonical], mention: &str) {
        if !self.mentions.contains_key(mention) {
            self.mentions
                .insert(mention.to_owned(), Coverage::default());
        }
        *self.mention_counts.entry(mention.to_owned()).or_default() += 1;
        for composite in alternatives {
            self.codes.add(composite);
            *self
                .concept_counts
                .entry(composite.key.clone())
                .or_default() += 1;
            if let Some(codes) = self.mentions.get_mut(mention) {
                codes.add(composite);
            }
        }
    }
}

fn most_frequent(counts: &HashMap<String, usize>) -> HashSet<&str> {
    let mut sorted: Vec<(&str, usize)> = counts.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    sorted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    sorted.into_iter().take(FREQUENT).map(|(k, _)| k).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_differ_on_composites() {
        let set = TrainingSet::from_fields([("B+A", "x"), ("C", "y")], None);
        let gold = |field: &str| Canonicaliser::new(None).alternatives(field);
        let rules = [
            SeenRule::CodeString,
            SeenRule::CodeSet,
            SeenRule::AnyConcept,
        ];
        let verdicts = |field: &str| rules.map(|rule| set.has_concept(&gold(field), rule));
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
        let pairs = |field: &str, mention: &str| {
            rules.map(|rule| set.has_pair(&gold(field), mention, rule))
        };
        assert_eq!(pairs("A+B", "x"), [false, true, true]);
        assert_eq!(pairs("C", "y"), [true; 3]);
        assert_eq!(pairs("C", "x"), [false; 3], "both are seen, not together");
    }

    #[test]
    fn the_hundred_most_frequent_are_cut_by_count_then_alphabet() {
        let fields: Vec<(String, String)> = (0..150)
            .flat_map(|i| {
                let times = if i == 149 { 3 } else { 1 };
                std::iter::repeat_n((format!("C{i:03}"), format!("m{i:03}")), times)
            })
            .collect();
        let set =
            TrainingSet::from_fields(fields.iter().map(|(c, m)| (c.as_str(), m.as_str())), None);
        let concepts = set.frequent_concepts();
        assert_eq!(concepts.len(), FREQUENT);
        assert!(concepts.contains("C149") && concepts.contains("C098"));
        assert!(!concepts.contains("C099"));
        assert!(set.frequent_mentions().contains("m149"));
    }
}
