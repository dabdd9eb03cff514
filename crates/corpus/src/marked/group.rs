//! Which semantic group stands in the tag, and what the gold codes resolve to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncabel_kb::{ConceptId, GroupId, Kb};

use super::SEP;
use crate::document::{Composite, Corpus, Document, Mention};
use crate::error::{Error, Location};

/// How a mention gets its semantic group. First rule that applies:
///
/// 1. the label is in `map`: the mapped group;
/// 2. the gold concept has exactly one group in the KB: that one (the paper's first rule; the group of a mention
///    is given to the model, it is not something it must find out);
/// 3. the concept has several: the one the label names (as a group, as a UMLS group abbreviation such as `DISO`, or as a UMLS
///    semantic type such as `T047`), else the concept's first group in the KB;
/// 4. no concept is known: the group the label names, else `default`, else the only group of the KB, else an error.
///
/// Without a KB: the mapped label, else `default`, else the label itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupRule {
    /// From a label of the corpus to a group of the KB.
    pub map: BTreeMap<String, String>,
    /// The group where nothing else decides.
    pub default: Option<String>,
}

impl GroupRule {
    /// Refuses a label for which neither the rule nor the KB knows a group, even where a gold concept would give it away:
    /// in text without gold the mention could not be linked, and the label is most often a misspelt one.
    ///
    /// `place` says where the document at a position of the corpus stands.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`] for the first such mention.
    pub fn check_labels(
        &self,
        corpus: &Corpus,
        kb: &Kb,
        place: impl Fn(usize) -> Location,
    ) -> Result<(), Error> {
        for (position, document) in corpus.documents.iter().enumerate() {
            for mention in &document.mentions {
                let known = group_without_concept(document, mention, kb, self).map(drop);
                known.map_err(|error| error.at(place(position)))?;
            }
        }
        Ok(())
    }
}

/// One gold code found in the KB, with the group it is asked for under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) concept: ConceptId,
    pub(super) group: GroupId,
}

/// The group tag of a mention.
pub(super) fn tag(
    doc: &Document,
    mention: &Mention,
    kb: Option<&Kb>,
    rule: &GroupRule,
) -> Result<String, Error> {
    let Some(kb) = kb else {
        let mapped = rule.map.get(&mention.label).or(rule.default.as_ref());
        return Ok(mapped.unwrap_or(&mention.label).clone());
    };
    // The first alternative that is wholly in the KB; failing that, the first of which some part is.
    let resolved: Vec<(Vec<Target>, bool)> = mention
        .gold
        .alternatives
        .iter()
        .map(|alternative| targets(doc, mention, alternative, kb, rule))
        .collect::<Result<_, Error>>()?;
    let whole = resolved.iter().find(|(_, whole)| *whole);
    match whole.or_else(|| resolved.iter().find(|(targets, _)| !targets.is_empty())) {
        Some((targets, _)) => Ok(tag_of(targets, kb)),
        None => Ok(kb
            .group_name(group_without_concept(doc, mention, kb, rule)?)
            .to_owned()),
    }
}

/// The distinct groups of the targets, in order, joined with [`SEP`].
pub(super) fn tag_of(targets: &[Target], kb: &Kb) -> String {
    let mut names: Vec<&str> = Vec::with_capacity(targets.len());
    for target in targets {
        let name = kb.group_name(target.group);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(SEP)
}

/// The parts of an alternative that the KB has, with their groups, and whether it has all of them. Two codes of one concept are one part:
/// nobody means "X and X".
pub(super) fn targets(
    doc: &Document,
    mention: &Mention,
    alternative: &Composite,
    kb: &Kb,
    rule: &GroupRule,
) -> Result<(Vec<Target>, bool), Error> {
    let mut targets: Vec<Target> = Vec::with_capacity(alternative.0.len());
    let mut found = 0;
    for concept in alternative.0.iter().filter_map(|code| kb.resolve(code)) {
        if let Some(group) = group_of_concept(doc, mention, concept, kb, rule)? {
            found += 1;
            let known = |other: &Target| (other.concept, other.group) == (concept, group);
            if !targets.iter().any(known) {
                targets.push(Target { concept, group });
            }
        }
    }
    Ok((targets, found == alternative.0.len()))
}

fn group_of_concept(
    doc: &Document,
    mention: &Mention,
    concept: ConceptId,
    kb: &Kb,
    rule: &GroupRule,
) -> Result<Option<GroupId>, Error> {
    if let Some(group) = rule.map.get(&mention.label) {
        return known(doc, mention, group, kb).map(Some);
    }
    let groups: Vec<GroupId> = kb.concept(concept).groups().collect();
    if let [only] = groups[..] {
        return Ok(Some(only));
    }
    let named = named_group(&mention.label, kb).filter(|g| groups.contains(g));
    Ok(named.or(groups.first().copied()))
}

fn group_without_concept(
    doc: &Document,
    mention: &Mention,
    kb: &Kb,
    rule: &GroupRule,
) -> Result<GroupId, Error> {
    if let Some(group) = rule.map.get(&mention.label) {
        return known(doc, mention, group, kb);
    }
    if let Some(group) = named_group(&mention.label, kb) {
        return Ok(group);
    }
    if let Some(group) = &rule.default {
        return known(doc, mention, group, kb);
    }
    let mut groups = kb.groups();
    match (groups.next(), groups.next()) {
        (Some((only, _)), None) => Ok(only),
        _ => known(doc, mention, &mention.label, kb),
    }
}

/// The group a label names.
fn named_group(label: &str, kb: &Kb) -> Option<GroupId> {
    kb.group_id(label)
        .or_else(|| kb.group_id(umls_group(label)?))
}

fn known(doc: &Document, mention: &Mention, group: &str, kb: &Kb) -> Result<GroupId, Error> {
    kb.group_id(group).ok_or_else(|| Error::UnknownGroup {
        at: Box::new(Location::document(&doc.id)),
        mention: mention.id.clone(),
        label: mention.label.clone(),
        group: group.to_owned(),
        known: kb
            .groups()
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// The UMLS semantic group with this abbreviation, or the one that holds this semantic type.
fn umls_group(label: &str) -> Option<&'static str> {
    let wanted = label.to_ascii_uppercase();
    let number = wanted
        .strip_prefix('T')
        .filter(|n| n.len() == 3)
        .and_then(|n| n.parse::<u16>().ok());
    UMLS_GROUPS
        .iter()
        .find(|(abbreviation, _, types)| {
            *abbreviation == wanted || number.is_some_and(|n| types.contains(&n))
        })
        .map(|(_, name, _)| *name)
}

/// The UMLS semantic groups: abbreviation, name, semantic types (`T` and three digits).
const UMLS_GROUPS: [(&str, &str, &[u16]); 15] = [
    (
        "ACTI",
        "Activities & Behaviors",
        &[51, 52, 53, 54, 55, 56, 57, 64, 66],
    ),
    (
        "ANAT",
        "Anatomy",
        &[17, 18, 21, 22, 23, 24, 25, 26, 29, 30, 31],
    ),
    (
        "CHEM",
        "Chemicals & Drugs",
        &[
            103, 104, 109, 110, 111, 114, 115, 116, 118, 119, 120, 121, 122, 123, 124, 125, 126,
            127, 129, 130, 131, 192, 195, 196, 197, 200,
        ],
    ),
    (
        "CONC",
        "Concepts & Ideas",
        &[77, 78, 79, 80, 81, 82, 89, 102, 169, 170, 171, 185],
    ),
    ("DEVI", "Devices", &[74, 75, 203]),
    (
        "DISO",
        "Disorders",
        &[19, 20, 33, 37, 46, 47, 48, 49, 50, 184, 190, 191],
    ),
    ("GENE", "Genes & Molecular Sequences", &[28, 85, 86, 87, 88]),
    ("GEOG", "Geographic Areas", &[83]),
    (
        "LIVB",
        "Living Beings",
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 96, 97, 98, 99, 100, 101, 194,
            204,
        ],
    ),
    ("OBJC", "Objects", &[71, 72, 73, 167, 168]),
    ("OCCU", "Occupations", &[90, 91]),
    ("ORGA", "Organizations", &[92, 93, 94, 95]),
    ("PHEN", "Phenomena", &[34, 38, 67, 68, 69, 70]),
    ("PHYS", "Physiology", &[32, 39, 40, 41, 42, 43, 44, 45, 201]),
    ("PROC", "Procedures", &[58, 59, 60, 61, 62, 63, 65]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn umls_abbreviations_and_types_name_groups() {
        assert_eq!(umls_group("DISO"), Some("Disorders"));
        assert_eq!(umls_group("t047"), Some("Disorders"));
        assert_eq!(umls_group("T121"), Some("Chemicals & Drugs"));
        assert_eq!(umls_group("T999"), None);
        assert_eq!(umls_group("Disease"), None);
    }

    #[test]
    fn no_semantic_type_is_in_two_groups() {
        let mut all: Vec<u16> = UMLS_GROUPS
            .iter()
            .flat_map(|(_, _, types)| types.iter().copied())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
