//! A judge that needs no model: where the predicted concept stands in the KB's hierarchy, seen from the gold concept.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_kb::{ConceptId, Kb};

use super::Label;
use crate::codes::Canonicaliser;

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
    /// A code that the KB does not have, or a composite that is none of the above: it has no place in the hierarchy.
    Unknown,
}

impl Relation {
    /// The verdict that the relation stands for: parts of a composite are PARTIAL, an ancestor is BROAD, a descendant NARROW.
    pub fn label(self) -> Label {
        match self {
            Relation::Same => Label::Strict,
            Relation::Part => Label::Partial,
            Relation::Ancestor(_) => Label::Broad,
            Relation::Descendant(_) => Label::Narrow,
            Relation::Sibling | Relation::Unrelated | Relation::Unknown => Label::NoRelation,
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
            Relation::Unknown => [5, 0],
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Same => f.write_str("same"),
            Relation::Part => f.write_str("part"),
            Relation::Ancestor(steps) => write!(f, "ancestor {steps}"),
            Relation::Descendant(steps) => write!(f, "descendant {steps}"),
            Relation::Sibling => f.write_str("sibling"),
            Relation::Unrelated => f.write_str("unrelated"),
            Relation::Unknown => f.write_str("unknown"),
        }
    }
}

/// The relation of an answer to a gold field, both as prediction files have them: alternatives (`|`) of composites (`+`).
///
/// The closest of the gold's alternatives counts. An answer of several alternatives has not decided for one, so its farthest
/// counts. With several ways up, the shortest counts.
///
/// Cost: linear in the ancestors of the concepts; a hierarchy with a cycle does no harm.
pub fn relation(kb: &Kb, gold: &str, predicted: &str) -> Relation {
    let closest = |answer: &str| {
        let relations = gold.split('|').map(|gold| of_composites(kb, gold, answer));
        relations.min_by_key(|relation| relation.distance())
    };
    let answers = predicted.split('|').filter_map(closest);
    answers
        .max_by_key(|relation| relation.distance())
        .unwrap_or(Relation::Unknown)
}

fn of_composites(kb: &Kb, gold: &str, predicted: &str) -> Relation {
    if !gold.contains('+') && !predicted.contains('+') {
        return of_codes(kb, gold.trim(), predicted.trim());
    }
    let mut codes = Canonicaliser::new(Some(kb));
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

fn of_codes(kb: &Kb, gold: &str, predicted: &str) -> Relation {
    let (Some(gold), Some(predicted)) = (kb.resolve(gold), kb.resolve(predicted)) else {
        return Relation::Unknown;
    };
    if gold == predicted {
        return Relation::Same;
    }
    let above_gold = ancestors(kb, gold);
    if let Some(&steps) = above_gold.get(&predicted) {
        return Relation::Ancestor(steps);
    }
    let above_predicted = ancestors(kb, predicted);
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

/// Whether any concept of the KB has a parent in it.
pub fn has_hierarchy(kb: &Kb) -> bool {
    kb.concepts()
        .any(|c| c.parents().any(|parent| kb.resolve(parent).is_some()))
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

    /// root above a and b, a above leaf, leaf above bud; other stands alone.
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
        ];
        build(raw, Vec::new(), &BuildOptions::default()).unwrap().0
    }

    #[test]
    fn relations_and_their_distance() {
        let kb = kb();
        for (gold, predicted, expected) in [
            ("a", "a", Relation::Same),
            ("bud", "a", Relation::Ancestor(2)),
            ("bud", "root", Relation::Ancestor(2)),
            ("a", "bud", Relation::Descendant(2)),
            ("a", "b", Relation::Sibling),
            ("b", "leaf", Relation::Sibling),
            ("b", "bud", Relation::Unrelated),
            ("a", "other", Relation::Unrelated),
            ("a", "nowhere", Relation::Unknown),
            ("a", "", Relation::Unknown),
            ("nowhere", "NIL", Relation::Unknown),
            ("other|bud|leaf", "a", Relation::Ancestor(1)),
            ("other | nowhere", "a", Relation::Unrelated),
            ("other|a", " a ", Relation::Same),
            ("leaf", "a|other", Relation::Unrelated),
            ("a+b", "b + a", Relation::Same),
            ("a+b", "b", Relation::Part),
            ("a+b", "a|b", Relation::Part),
            ("a+b|leaf", "root", Relation::Ancestor(1)),
            ("a+b", "root", Relation::Unknown),
            ("a", "a+b", Relation::Unknown),
            ("a+b", "NIL", Relation::Unknown),
        ] {
            assert_eq!(
                relation(&kb, gold, predicted),
                expected,
                "{gold} {predicted}"
            );
        }
        assert!(has_hierarchy(&kb));
        assert_eq!(Relation::Ancestor(2).label(), Label::Broad);
        assert_eq!(Relation::Part.label(), Label::Partial);
        assert_eq!(Relation::Sibling.label(), Label::NoRelation);
    }
}
