//! Gold as the prediction file states it.

use serde::{Deserialize, Serialize};
use syncabel_corpus::{Composite, Gold};
use syncabel_kb::{ConceptId, Kb};

use crate::Query;

/// What counts as right for a composite annotation: part of a protocol, so part of an experiment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoldRule {
    /// All parts of one alternative.
    #[default]
    AsAnnotated,
    /// Any part of any alternative: composites become alternatives.
    AnyPart,
}

impl GoldRule {
    /// Gold by this rule, every code that the knowledge base knows under another one replaced by its primary code. Codes that
    /// it does not know stay as they are, for the evaluation to count.
    pub fn resolve(self, gold: &Gold, kb: &Kb) -> Gold {
        let primary = |code: &str| match kb.resolve(code) {
            Some(concept) => kb.concept(concept).code().to_owned(),
            None => code.trim().to_owned(),
        };
        let composites = match self {
            GoldRule::AsAnnotated => gold
                .alternatives
                .iter()
                .map(|all| Composite(all.0.iter().map(|code| primary(code)).collect()))
                .collect(),
            GoldRule::AnyPart => gold
                .codes()
                .map(|code| Composite(vec![primary(code)]))
                .collect(),
        };
        Gold::from_alternatives(composites)
    }
}

/// What the column `semantic_rel` says: `EXACT` or `COMPOSITE`; nothing where there is no gold.
pub fn semantic_rel(gold: &Gold) -> &'static str {
    match gold {
        gold if gold.is_none() => "",
        gold if gold.is_composite() => "COMPOSITE",
        _ => "EXACT",
    }
}

/// Preferred names of the first alternative that the knowledge base knows in full, in the mention's groups where they
/// have one there.
pub(super) fn names(gold: &Gold, kb: &Kb, query: &Query) -> Vec<String> {
    let concepts = |all: &Composite| {
        all.0
            .iter()
            .map(|code| kb.resolve(code))
            .collect::<Option<Vec<ConceptId>>>()
    };
    let known = gold
        .alternatives
        .iter()
        .find_map(concepts)
        .unwrap_or_default();
    let name = |(position, concept): (usize, ConceptId)| {
        let in_group = query
            .group_of(position)
            .and_then(|group| kb.names_of(concept, group).next());
        in_group
            .map_or_else(|| kb.concept(concept).preferred_name(), |name| name.text)
            .to_owned()
    };
    known.into_iter().enumerate().map(name).collect()
}
