//! The KB artefact: a folder of flat parts and a manifest, opened by mmap.
//!
//! # Layout
//!
//! `manifest.json` ([`Manifest`]) names every other file with its size and digest. A part is one of
//! three shapes, told by its extension. All numbers are unsigned, 32 bits, little-endian.
//!
//! ```text
//! .str  string table    ┌───────┬─────────────────────┬──────────────────────┐
//!                       │ n     │ n + 1 offsets       │ body: UTF-8 text     │  string i = body[offset i .. offset i+1],
//!                       │ 4 B   │ 4 B each, in bytes  │ last offset bytes    │  first offset 0
//!                       └───────┴─────────────────────┴──────────────────────┘
//! .lst  list table      ┌───────┬─────────────────────┬──────────────────────┐
//!                       │ n     │ n + 1 offsets       │ body: values         │  list i = body[offset i .. offset i+1],
//!                       │ 4 B   │ 4 B each, in values │ 4 B each             │  first offset 0
//!                       └───────┴─────────────────────┴──────────────────────┘
//! .u32  number table    ┌──────────────────────┐
//!                       │ values, 4 B each     │
//!                       └──────────────────────┘
//! ```
//!
//! | part | rows | holds |
//! | --- | --- | --- |
//! | `groups.str` | group | names of the semantic groups, ascending by bytes |
//! | `codes.str` | concept | primary codes, ascending by bytes |
//! | `alt_codes.str` | alternate code | alternate codes, ascending by bytes |
//! | `alt_owners.u32` | alternate code | the concept it leads to |
//! | `concept_alts.lst` | concept | its rows of `alt_codes.str` |
//! | `concept_groups.lst` | concept | its groups |
//! | `types.str` | type | semantic types, ascending by bytes |
//! | `concept_types.lst` | concept | its rows of `types.str` |
//! | `parents.str` | parent | codes of parents, in the KB or not, ascending by bytes |
//! | `concept_parents.lst` | concept | its rows of `parents.str` |
//! | `definitions.str` | definition | definitions, concept after concept |
//! | `concept_definitions.u32` | concept, +1 | first row of `definitions.str`; the extra value ends the last |
//! | `names.str` | name | names, ascending by (group, bytes) |
//! | `name_owners.u32` | name | bits 0-30: the concept; bit 31: it is the concept's preferred name |
//! | `group_names.u32` | group, +1 | first name of the group; the extra value ends the last |
//! | `concept_names.lst` | concept | its names, by group, the preferred one first, then by bytes |
//! | `names_folded.u32` | name | all names, ascending by (lower-cased text, name id) |
//! | `preferred.u32` | concept | bit 31 clear: a name; set: bits 0-30 are a row of `titles.str` |
//! | `titles.str` | title | preferred names that are not among the concept's names |
//!
//! At UMLS scale (3 M concepts, 7 M names of 40 bytes) that is about 0.6 GB, of which a lookup
//! touches a few pages.
//!
//! # Trust
//!
//! [`crate::Kb::open`] checks what it can without reading the parts: the manifest's own checksum,
//! the size of each file, the counts and ends of each table. Up to [`FULL_CHECK_BYTES`] it also
//! runs [`crate::Kb::verify`], which digests every byte and checks every index and string; above,
//! that takes longer than the work at hand and is left to `kb inspect` and to builds.

mod manifest;
mod open;
pub(crate) mod tables;
mod write;

use std::ops::Deref;

pub use manifest::{Counts, Manifest, PartInfo, SourceDigest};

use crate::Digest;

/// First words of a manifest.
pub const MAGIC: &str = "syncabel-kb";

/// Version of the layout. Any other version in a manifest is refused: there is nothing to migrate
/// that building again from the sources would not give.
pub const FORMAT_VERSION: u32 = 1;

/// Artefacts up to this size are verified in full when they are opened (a few milliseconds).
pub const FULL_CHECK_BYTES: u64 = 32 << 20;

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Marks the preferred name in `name_owners.u32` and a title in `preferred.u32`.
pub(crate) const FLAG: u32 = 1 << 31;

macro_rules! parts {
    ($($part:ident = $file:literal),* $(,)?) => {
        /// One file of the artefact, in the order in which the manifest lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Part { $($part),* }

        impl Part {
            pub(crate) const ALL: [Part; [$($file),*].len()] = [$(Part::$part),*];

            pub(crate) fn file(self) -> &'static str {
                match self { $(Part::$part => $file),* }
            }
        }
    };
}

parts! {
    Groups = "groups.str",
    Codes = "codes.str",
    AltCodes = "alt_codes.str",
    AltOwners = "alt_owners.u32",
    ConceptAlts = "concept_alts.lst",
    ConceptGroups = "concept_groups.lst",
    Types = "types.str",
    ConceptTypes = "concept_types.lst",
    Parents = "parents.str",
    ConceptParents = "concept_parents.lst",
    Definitions = "definitions.str",
    ConceptDefinitions = "concept_definitions.u32",
    Names = "names.str",
    NameOwners = "name_owners.u32",
    GroupNames = "group_names.u32",
    ConceptNames = "concept_names.lst",
    NamesFolded = "names_folded.u32",
    Preferred = "preferred.u32",
    Titles = "titles.str",
}

/// The bytes of one part, on the heap (just built) or mapped (opened).
pub(crate) enum Bytes {
    Owned(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}

/// All parts, indexed by [`Part`].
pub(crate) struct Parts(pub(crate) [Bytes; Part::ALL.len()]);

impl Parts {
    pub(crate) fn bytes(&self, part: Part) -> &[u8] {
        &self.0[part as usize]
    }

    pub(crate) fn strings(&self, part: Part) -> tables::Strings<'_> {
        tables::Strings(self.bytes(part))
    }

    pub(crate) fn lists(&self, part: Part) -> tables::Lists<'_> {
        tables::Lists(self.bytes(part))
    }

    pub(crate) fn numbers(&self, part: Part) -> tables::Numbers<'_> {
        tables::Numbers(self.bytes(part))
    }

    pub(crate) fn infos(&self) -> Vec<PartInfo> {
        Part::ALL
            .into_iter()
            .map(|part| PartInfo {
                name: part.file().to_owned(),
                bytes: self.bytes(part).len() as u64,
                digest: Digest::of_bytes(self.bytes(part)),
            })
            .collect()
    }
}
