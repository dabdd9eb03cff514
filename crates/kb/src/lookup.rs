//! Finding one's way in a KB by code or by name: [`lookup`].

use std::fmt;

use serde::Serialize;

use crate::select::TfidfIndex;
use crate::{Concept, GroupId, Kb, Name};

/// The answer of [`lookup`]. Displays as text, serialises as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lookup {
    /// What was looked up.
    pub query: String,
    /// The concept of that code, in full.
    pub concept: Option<ConceptCard>,
    /// Names written exactly so, one for each group that has it.
    pub exact: Vec<NameHit>,
    /// Names that differ in casing only.
    pub other_casing: Vec<NameHit>,
    /// Names that look alike, best first.
    pub nearest: Vec<NameHit>,
}

/// A name and the concept it leads to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NameHit {
    /// The name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Code of its concept.
    pub code: String,
    /// Preferred name of its concept.
    pub preferred_name: String,
    /// TF-IDF cosine with the query, where that was what found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// Everything the KB says about a concept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConceptCard {
    /// Primary code.
    pub code: String,
    /// Alternate codes.
    pub alt_codes: Vec<String>,
    /// Preferred name.
    pub preferred_name: String,
    /// Names by group, the preferred one first.
    pub groups: Vec<GroupNames>,
    /// Semantic types.
    pub semantic_types: Vec<String>,
    /// Definitions.
    pub definitions: Vec<String>,
    /// Codes of parents.
    pub parents: Vec<String>,
}

/// A concept's names in one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupNames {
    /// The group.
    pub group: String,
    /// The names that lead to the concept; empty where disambiguation left none.
    pub names: Vec<String>,
}

/// Looks a text up as a code, as a name, as a name in any casing and, given an index, among the
/// `k` nearest names of each group (or of `group` alone).
pub fn lookup(
    kb: &Kb,
    query: &str,
    group: Option<GroupId>,
    index: Option<&TfidfIndex>,
    k: usize,
) -> Lookup {
    let wanted = |name: &Name<'_>| group.is_none_or(|group| group == name.group);
    let (exact, other_casing): (Vec<Name<'_>>, Vec<Name<'_>>) = kb
        .names_ignoring_case(query)
        .filter(wanted)
        .partition(|name| name.text == query);
    let mut nearest = Vec::new();
    if let Some(index) = index {
        let groups = kb.groups().map(|(id, _)| id);
        for group in groups.filter(|&id| group.is_none_or(|group| group == id)) {
            nearest.extend(index.nearest(kb, group, query, k));
        }
        nearest.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: by group, then the rule for ties
        nearest.truncate(k);
    }
    let hits = |names: Vec<Name<'_>>| {
        let hits = names.into_iter();
        hits.map(|name| NameHit::new(kb, name, None)).collect()
    };
    Lookup {
        query: query.to_owned(),
        concept: kb
            .resolve(query)
            .map(|concept| ConceptCard::new(kb, kb.concept(concept))),
        exact: hits(exact),
        other_casing: hits(other_casing),
        nearest: nearest
            .into_iter()
            .map(|(id, score)| NameHit::new(kb, kb.name(id), Some(score)))
            .collect(),
    }
}

impl Lookup {
    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.concept.is_none()
            && self.exact.is_empty()
            && self.other_casing.is_empty()
            && self.nearest.is_empty()
    }
}

impl NameHit {
    fn new(kb: &Kb, name: Name<'_>, score: Option<f32>) -> Self {
        let concept = kb.concept(name.concept);
        Self {
            name: name.text.to_owned(),
            group: kb.group_name(name.group).to_owned(),
            code: concept.code().to_owned(),
            preferred_name: concept.preferred_name().to_owned(),
            score,
        }
    }
}

impl ConceptCard {
    /// The card of a concept of this KB.
    pub fn new(kb: &Kb, concept: Concept<'_>) -> Self {
        let groups = concept.groups().map(|group| GroupNames {
            group: kb.group_name(group).to_owned(),
            names: kb
                .names_of(concept.id(), group)
                .map(|name| name.text.to_owned())
                .collect(),
        });
        Self {
            code: concept.code().to_owned(),
            alt_codes: owned(concept.alt_codes()),
            preferred_name: concept.preferred_name().to_owned(),
            groups: groups.collect(),
            semantic_types: owned(concept.semantic_types()),
            definitions: owned(concept.definitions()),
            parents: owned(concept.parents()),
        }
    }
}

fn owned<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    texts.map(str::to_owned).collect()
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing found for {:?}", self.query);
        }
        if let Some(concept) = &self.concept {
            write!(f, "{concept}")?;
        }
        for (title, hits) in [
            ("names written so", &self.exact),
            ("in another casing", &self.other_casing),
            ("nearest names", &self.nearest),
        ] {
            if !hits.is_empty() {
                writeln!(f, "{title}")?;
            }
            for hit in hits {
                writeln!(f, "  {hit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for NameHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(score) = self.score {
            write!(f, "{score:.3}  ")?;
        }
        write!(
            f,
            "{}  {} ({}), {}",
            self.name, self.code, self.preferred_name, self.group
        )
    }
}

impl fmt::Display for ConceptCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}", self.code, self.preferred_name)?;
        for group in &self.groups {
            writeln!(f, "  names in {}: {}", group.group, group.names.join(" | "))?;
        }
        for (title, values) in [
            ("alternate codes", &self.alt_codes),
            ("semantic types", &self.semantic_types),
            ("parents", &self.parents),
        ] {
            if !values.is_empty() {
                writeln!(f, "  {title}: {}", values.join(" | "))?;
            }
        }
        for definition in &self.definitions {
            writeln!(f, "  definition: {definition}")?;
        }
        Ok(())
    }
}
