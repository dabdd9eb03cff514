//! The knowledge base as the rest of the system sees it: [`Kb`], [`Concept`], [`Name`].

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::artefact::{FLAG, Manifest, Part, Parts};
use crate::{ConceptId, Digest, GroupId, NameId};

/// Vocabulary prefixes that corpora put before a code and terminologies often leave out.
const PREFIXES: [&str; 14] = [
    "CUI",
    "DOID",
    "HP",
    "HPO",
    "MESH",
    "MIM",
    "MSH",
    "OMIM",
    "ORDO",
    "ORPHANET",
    "SCTID",
    "SNOMEDCT",
    "SNOMEDCT_US",
    "UMLS",
];

/// A knowledge base: concepts, their names, and the promise that inside one semantic group a name
/// leads to exactly one concept.
///
/// It is immutable and cheap to share between threads. [`crate::build()`] makes one,
/// [`Kb::open`] maps one from disk.
pub struct Kb {
    pub(crate) parts: Parts,
    pub(crate) manifest: Manifest,
    /// Where it was opened, for messages.
    pub(crate) dir: Option<PathBuf>,
}

/// One name of a KB in one semantic group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Its id.
    pub id: NameId,
    /// Its cleaned text.
    pub text: &'a str,
    /// The group in which it stands.
    pub group: GroupId,
    /// The one concept that it leads to in that group.
    pub concept: ConceptId,
    /// Whether the source prefers it for the concept.
    pub preferred: bool,
}

/// One concept of a KB: a view, free to copy.
#[derive(Clone, Copy)]
pub struct Concept<'a> {
    kb: &'a Kb,
    id: ConceptId,
}

impl Kb {
    /// Identity of the content; a trie built from this KB remembers it.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// What the KB is made of and from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Number of concepts, those that disambiguation left without a name included.
    pub fn concept_count(&self) -> usize {
        self.manifest.counts.concepts as usize
    }

    /// Number of names; a name that stands in two groups counts twice.
    pub fn name_count(&self) -> usize {
        self.manifest.counts.names as usize
    }

    /// Number of semantic groups.
    pub fn group_count(&self) -> usize {
        self.manifest.counts.groups as usize
    }

    /// The semantic groups, ascending by name.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &str)> {
        (0..self.group_count()).map(|index| {
            let group = GroupId(index as u16); // the build refuses more than 65,536 groups
            (group, self.group_name(group))
        })
    }

    /// The group of that exact name.
    pub fn group_id(&self, name: &str) -> Option<GroupId> {
        let groups = self.parts.strings(Part::Groups);
        let index = groups.find(0..groups.len(), name)?;
        u16::try_from(index).ok().map(GroupId)
    }

    /// The name of a group; empty if the id is not of this KB.
    pub fn group_name(&self, group: GroupId) -> &str {
        self.parts.strings(Part::Groups).get(group.index())
    }

    /// All concepts, ascending by code.
    pub fn concepts(&self) -> impl ExactSizeIterator<Item = Concept<'_>> {
        (0..self.manifest.counts.concepts).map(|id| self.concept(ConceptId(id)))
    }

    /// One concept. An id of another KB gives an empty one.
    pub fn concept(&self, id: ConceptId) -> Concept<'_> {
        Concept { kb: self, id }
    }

    /// The concept of a code as corpora write it.
    ///
    /// Outer blanks are ignored. A primary code wins over an alternate one. Where the text as such
    /// is no code, a well-known vocabulary prefix such as `MESH:` or `omim:` is put in upper case
    /// and then taken off.
    ///
    /// ```
    /// # use syncabel_kb::{build, BuildOptions, RawConcept};
    /// # let raw = RawConcept { code: "D001249".into(), alt_codes: vec!["600807".into()], preferred_name: "Asthma".into(),
    /// #     names: vec!["Asthma".into()], groups: vec!["Disease".into()], ..RawConcept::default() };
    /// # let (kb, _) = build(vec![raw], vec![], &BuildOptions::default())?;
    /// let asthma = kb.resolve("D001249");
    /// assert!(asthma.is_some());
    /// assert_eq!(kb.resolve(" mesh:D001249"), asthma);
    /// assert_eq!(kb.resolve("OMIM:600807"), asthma);
    /// assert_eq!(kb.resolve("D000000"), None);
    /// # Ok::<(), syncabel_kb::Error>(())
    /// ```
    pub fn resolve(&self, code: &str) -> Option<ConceptId> {
        let code = code.trim();
        if let Some(concept) = self.resolve_exactly(code) {
            return Some(concept);
        }
        let (prefix, bare) = code.split_once(':')?;
        let prefix = prefix.trim().to_ascii_uppercase();
        if !PREFIXES.contains(&prefix.as_str()) {
            return None;
        }
        let bare = bare.trim();
        self.resolve_exactly(&format!("{prefix}:{bare}"))
            .or_else(|| self.resolve_exactly(bare))
    }

    fn resolve_exactly(&self, code: &str) -> Option<ConceptId> {
        let codes = self.parts.strings(Part::Codes);
        if let Some(index) = codes.find(0..codes.len(), code) {
            return Some(ConceptId(index as u32));
        }
        let alternates = self.parts.strings(Part::AltCodes);
        let index = alternates.find(0..alternates.len(), code)?;
        let owner = self.parts.numbers(Part::AltOwners).get(index)?;
        Some(ConceptId(owner))
    }

    /// The names of a group, ascending by bytes; their ids are contiguous and ascending too.
    pub fn names(&self, group: GroupId) -> impl ExactSizeIterator<Item = Name<'_>> {
        self.name_range(group)
            .map(move |id| self.name_in(NameId(id), group))
    }

    /// The ids of a group's names.
    pub fn name_range(&self, group: GroupId) -> Range<u32> {
        let starts = self.parts.numbers(Part::GroupNames);
        let bound = |index| {
            starts
                .get(index)
                .unwrap_or(0)
                .min(self.manifest.counts.names)
        };
        let (start, end) = (bound(group.index()), bound(group.index() + 1));
        start..end.max(start)
    }

    /// One name. An id of another KB gives an empty text.
    pub fn name(&self, id: NameId) -> Name<'_> {
        self.name_in(id, self.group_of(id))
    }

    fn group_of(&self, id: NameId) -> GroupId {
        let (mut low, mut high) = (0, self.group_count().saturating_sub(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name_range(GroupId(middle as u16)).end <= id.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        GroupId(low as u16)
    }

    fn name_in(&self, id: NameId, group: GroupId) -> Name<'_> {
        let owner = self.parts.numbers(Part::NameOwners).get(id.index());
        let owner = owner.unwrap_or(0);
        Name {
            id,
            text: self.parts.strings(Part::Names).get(id.index()),
            group,
            concept: ConceptId(owner & !FLAG),
            preferred: owner & FLAG != 0,
        }
    }

    /// The name with exactly this text in a group.
    pub fn find_name(&self, group: GroupId, text: &str) -> Option<Name<'_>> {
        let range = self.name_range(group);
        let names = self.parts.strings(Part::Names);
        let index = names.find(range.start as usize..range.end as usize, text)?;
        Some(self.name_in(NameId(index as u32), group))
    }

    /// The concept that a name, written exactly so, leads to in a group.
    pub fn concept_of(&self, group: GroupId, name: &str) -> Option<ConceptId> {
        self.find_name(group, name).map(|name| name.concept)
    }

    /// A concept's names in a group, the preferred one first, the others ascending by bytes.
    pub fn names_of(&self, concept: ConceptId, group: GroupId) -> impl Iterator<Item = Name<'_>> {
        let range = self.name_range(group);
        self.parts
            .lists(Part::ConceptNames)
            .get(concept.index())
            .filter(move |id| range.contains(id))
            .map(move |id| self.name_in(NameId(id), group))
    }

    /// All names, ascending by (lower-cased text, id).
    pub(crate) fn names_by_folded_text(&self) -> impl Iterator<Item = Name<'_>> {
        let order = self.parts.numbers(Part::NamesFolded);
        order.iter().map(|id| self.name(NameId(id)))
    }

    /// All names, in any group, whose lower-cased text equals the lower-cased `text`, ascending
    /// by id. They may lead to different concepts: [`crate::inspect()`] counts such twins.
    pub fn names_ignoring_case(&self, text: &str) -> impl Iterator<Item = Name<'_>> {
        let folded = text.to_lowercase();
        let order = self.parts.numbers(Part::NamesFolded);
        let lower = |position: usize| {
            let id = order.get(position).unwrap_or(0) as usize;
            self.parts.strings(Part::Names).get(id).to_lowercase()
        };
        let (mut low, mut high) = (0, order.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if lower(middle) < folded {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low..order.len())
            .filter_map(move |position| order.get(position))
            .map(|id| self.name(NameId(id)))
            .take_while(move |name| name.text.to_lowercase() == folded)
    }
}

impl fmt::Debug for Kb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kb")
            .field("digest", self.digest())
            .field("concepts", &self.concept_count())
            .field("names", &self.name_count())
            .field("groups", &self.group_count())
            .finish_non_exhaustive()
    }
}

impl<'a> Concept<'a> {
    /// Its id.
    pub fn id(self) -> ConceptId {
        self.id
    }

    /// Its primary code.
    pub fn code(self) -> &'a str {
        self.kb.parts.strings(Part::Codes).get(self.id.index())
    }

    /// The cleaned name that the source prefers. It need not lead back to this concept: another
    /// concept of the group may have won it.
    pub fn preferred_name(self) -> &'a str {
        let parts = &self.kb.parts;
        match parts.numbers(Part::Preferred).get(self.id.index()) {
            Some(value) if value & FLAG != 0 => {
                parts.strings(Part::Titles).get((value & !FLAG) as usize)
            }
            Some(value) => parts.strings(Part::Names).get(value as usize),
            None => "",
        }
    }

    /// The other codes that lead to it, ascending.
    pub fn alt_codes(self) -> impl Iterator<Item = &'a str> {
        self.strings(Part::ConceptAlts, Part::AltCodes)
    }

    /// Its semantic groups, ascending.
    pub fn groups(self) -> impl Iterator<Item = GroupId> + 'a {
        self.kb
            .parts
            .lists(Part::ConceptGroups)
            .get(self.id.index())
            .map(|group| GroupId(group as u16))
    }

    /// Its semantic types, ascending.
    pub fn semantic_types(self) -> impl Iterator<Item = &'a str> {
        self.strings(Part::ConceptTypes, Part::Types)
    }

    /// Its definitions, in the order of the source.
    pub fn definitions(self) -> impl Iterator<Item = &'a str> {
        let parts = &self.kb.parts;
        let starts = parts.numbers(Part::ConceptDefinitions);
        let rows = self.kb.manifest.counts.definitions as usize;
        let bound = |index| (starts.get(index).unwrap_or(0) as usize).min(rows);
        (bound(self.id.index())..bound(self.id.index() + 1))
            .map(|row| parts.strings(Part::Definitions).get(row))
    }

    /// Codes of its parents, in the KB or not, ascending.
    pub fn parents(self) -> impl Iterator<Item = &'a str> {
        self.strings(Part::ConceptParents, Part::Parents)
    }

    /// All its names in all its groups: by group, the preferred one first, then by bytes.
    pub fn names(self) -> impl Iterator<Item = Name<'a>> {
        self.kb
            .parts
            .lists(Part::ConceptNames)
            .get(self.id.index())
            .map(|id| self.kb.name(NameId(id)))
    }

    fn strings(self, lists: Part, strings: Part) -> impl Iterator<Item = &'a str> {
        let table = self.kb.parts.strings(strings);
        self.kb
            .parts
            .lists(lists)
            .get(self.id.index())
            .map(move |row| table.get(row as usize))
    }
}

impl fmt::Debug for Concept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Concept({} {:?})", self.code(), self.preferred_name())
    }
}
