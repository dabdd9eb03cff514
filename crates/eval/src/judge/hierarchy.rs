//! A judge that needs no model: where the predicted concept stands in the KB's hierarchy, seen from the gold concept.

mod counts;

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_kb::{ConceptId, Kb};

use super::Label;
use crate::codes::{Canonicaliser, is_answer};

pub use counts::{RelationCount, RelationCounts};

/// How a predicted concept relates to the gold one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "relation", content = "steps")]
pub enum Relation {
    /// The same concept or composite.
    Same,
    /// Some of a composite's parts and nothing else.
    Part,
    /// So many steps above the gold concept.
    Ancestor(u32),
    /// So many steps below it.
    Descendant(u32),
    /// Another child of one of its parents.
    Sibling,
    /// None of these.
    Unrelated,
    /// One of the two has neither parent nor child in the KB: the hierarchy says nothing about it.
    Unplaced,
    /// A code that the KB does not have, or a composite that is none of the above: it has no place in the hierarchy.
    Unknown,
}

impl Relation {
    /// The verdict that the relation stands for: parts of a composite are PARTIAL, an ancestor is BROAD, a descendant NARROW.
    /// None where the hierarchy says nothing.
    pub fn label(self) -> Option<Label> {
        match self {
            Relation::Same => Some(Label::Strict),
            Relation::Part => Some(Label::Partial),
            Relation::Ancestor(_) => Some(Label::Broad),
            Relation::Descendant(_) => Some(Label::Narrow),
            Relation::Sibling | Relation::Unrelated | Relation::Unknown => Some(Label::NoRelation),
            Relation::Unplaced => None,
        }
    }

    /// Its name without the number of steps.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Relation::Same => "same",
            Relation::Part => "part",
            Relation::Ancestor(_) => "ancestor",
            Relation::Descendant(_) => "descendant",
            Relation::Sibling => "sibling",
            Relation::Unrelated => "unrelated",
            Relation::Unplaced => "unplaced",
            Relation::Unknown => "unknown",
        }
    }

    /// How many steps lie between the two, where one is above the other.
    pub(crate) fn steps(self) -> Option<u32> {
        match self {
            Relation::Ancestor(steps) | Relation::Descendant(steps) => Some(steps),
            _ => None,
        }
    }

    /// Lower is closer.
    fn distance(self) -> [u32; 2] {
        match self {
            Relation::Same => [0, 0],
            Relation::Part => [1, 0],
            Relation::Ancestor(steps) | Relation::Descendant(steps) => [2, steps],
            Relation::Sibling => [3, 0],
            Relation::Unrelated => [4, 0],
            Relation::Unplaced => [5, 0],
            Relation::Unknown => [6, 0],
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps() {
            Some(steps) => write!(f, "{} {steps}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

/// The hierarchy of a KB.
#[derive(Debug)]
pub struct Hierarchy<'k> {
    kb: &'k Kb,
    /// Concepts that have a parent or a child in the KB.
    placed: HashSet<ConceptId>,
}

impl<'k> Hierarchy<'k> {
    /// The hierarchy; `None` for a KB of whose concepts none has a parent in it.
    pub fn of(kb: &'k Kb) -> Option<Self> {
        let mut placed = HashSet::new();
        for concept in kb.concepts() {
            for parent in concept.parents().filter_map(|parent| kb.resolve(parent)) {
                if parent != concept.id() {
                    placed.extend([parent, concept.id()]);
                }
            }
        }
        (!placed.is_empty()).then_some(Hierarchy { kb, placed })
    }

    /// The relation of an answer to a gold field, both as prediction files have them: alternatives (`|`) of composites (`+`).
    ///
    /// The closest of the gold's alternatives counts. An answer of several alternatives has not decided for one, so its farthest
    /// counts. With several ways up, the shortest counts.
    ///
    /// Cost: linear in the ancestors of the concepts; a hierarchy with a cycle does no harm.
    pub fn relation(&self, gold: &str, predicted: &str) -> Relation {
        let closest = |answer: &str| {
            let relations = gold.split('|').map(|gold| self.of_composites(gold, answer));
            relations.min_by_key(|relation| relation.distance())
        };
        let answers = predicted.split('|').filter_map(closest);
        answers
            .max_by_key(|relation| relation.distance())
            .unwrap_or(Relation::Unknown)
    }

    fn of_composites(&self, gold: &str, predicted: &str) -> Relation {
        if !gold.contains('+') && !predicted.contains('+') {
            return self.of_codes(gold.trim(), predicted.trim());
        }
        let mut codes = Canonicaliser::new(Some(self.kb));
        let [gold, predicted] = [gold, predicted].map(|field| codes.composite(field));
        if !predicted.is_answer() {
            return Relation::Unknown;
        }
        if gold.key == predicted.key {
            return Relation::Same;
        }
        let belongs = predicted.parts.iter().all(|part| gold.parts.contains(part));
        match gold.parts.len() > 1 && belongs {
            true => Relation::Part,
            false => Relation::Unknown,
        }
    }

    fn of_codes(&self, gold: &str, predicted: &str) -> Relation {
        // Right answers are right whether or not this KB knows them.
        if gold == predicted && !gold.is_empty() && is_answer(gold) {
            return Relation::Same;
        }
        let (Some(gold), Some(predicted)) = (self.kb.resolve(gold), self.kb.resolve(predicted))
        else {
            return Relation::Unknown;
        };
        if gold == predicted {
            return Relation::Same;
        }
        if ![gold, predicted].iter().all(|c| self.placed.contains(c)) {
            return Relation::Unplaced;
        }
        let above_gold = ancestors(self.kb, gold);
        if let Some(&steps) = above_gold.get(&predicted) {
            return Relation::Ancestor(steps);
        }
        let above_predicted = ancestors(self.kb, predicted);
        if let Some(&steps) = above_predicted.get(&gold) {
            return Relation::Descendant(steps);
        }
        let parent = |(concept, &steps): (&ConceptId, &u32)| {
            steps == 1 && above_predicted.get(concept) == Some(&1)
        };
        if above_gold.iter().any(parent) {
            Relation::Sibling
        } else {
            Relation::Unrelated
        }
    }
}

/// Ancestors with their distance. Looked up only, never iterated for an order.
fn ancestors(kb: &Kb, of: ConceptId) -> HashMap<ConceptId, u32> {
    let mut found = HashMap::new();
    let mut level = vec![of];
    let mut steps = 0;
    while !level.is_empty() {
        steps += 1;
        let mut next = Vec::new();
        for concept in level {
            for parent in kb.concept(concept).parents() {
                let Some(parent) = kb.resolve(parent) else {
                    continue;
                };
                if parent != of && !found.contains_key(&parent) {
                    found.insert(parent, steps);
                    next.push(parent);
                }
            }
        }
        level = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use syncabel_kb::{BuildOptions, RawConcept, build};

    use super::*;

    /// root above a and b, a above leaf, leaf above bud; top above below; other stands alone.
    fn kb() -> Kb {
        let concept = |code: &str, parents: &[&str]| RawConcept {
            code: code.into(),
            preferred_name: format!("Name of {code}"),
            names: vec![format!("Name of {code}")],
            groups: vec!["Disease".into()],
            parents: parents.iter().map(|&p| p.to_owned()).collect(),
            ..RawConcept::default()
        };
        let raw = vec![
            concept("root", &["outside"]),
            concept("a", &["root"]),
            concept("b", &["root"]),
            concept("leaf", &["a", "root"]),
            concept("bud", &["leaf"]),
            concept("other", &[]),
            concept("top", &[]),
            concept("below", &["top"]),
        ];
        build(raw, Vec::new(), &BuildOptions::default()).unwrap().0
    }

    #[test]
    fn relations_and_their_distance() {
        let kb = kb();
        let hierarchy = Hierarchy::of(&kb).unwrap();
        for (gold, predicted, expected) in [
            ("a", "a", Relation::Same),
            ("bud", "a", Relation::Ancestor(2)),
            ("bud", "root", Relation::Ancestor(2)),
            ("a", "bud", Relation::Descendant(2)),
            ("a", "b", Relation::Sibling),
            ("b", "leaf", Relation::Sibling),
            ("b", "bud", Relation::Unrelated),
            ("a", "below", Relation::Unrelated),
            ("a", "other", Relation::Unplaced),
            ("other", "other", Relation::Same),
            ("a", "nowhere", Relation::Unknown),
            ("a", "", Relation::Unknown),
            ("nowhere", "NIL", Relation::Unknown),
            ("nowhere", "nowhere", Relation::Same),
            ("", "", Relation::Unknown),
            ("NIL", "NIL", Relation::Unknown),
            ("other|bud|leaf", "a", Relation::Ancestor(1)),
            ("other | nowhere", "a", Relation::Unplaced),
            ("other|a", " a ", Relation::Same),
            ("leaf", "a|other", Relation::Unplaced),
            ("a+b", "b + a", Relation::Same),
            ("a+b", "b", Relation::Part),
            ("a+b", "a|b", Relation::Part),
            ("a+b|leaf", "root", Relation::Ancestor(1)),
            ("a+b", "root", Relation::Unknown),
            ("a", "a+b", Relation::Unknown),
            ("a+b", "NIL", Relation::Unknown),
        ] {
            assert_eq!(
                hierarchy.relation(gold, predicted),
                expected,
                "{gold} {predicted}"
            );
        }
        assert_eq!(Relation::Ancestor(2).label(), Some(Label::Broad));
        assert_eq!(Relation::Part.label(), Some(Label::Partial));
        assert_eq!(Relation::Sibling.label(), Some(Label::NoRelation));
        assert_eq!(Relation::Unplaced.label(), None);
    }
}
