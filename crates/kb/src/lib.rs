//! Concepts, names, semantic groups: the knowledge base (KB) that everything else links to.

pub mod artefact;
pub mod build;
pub mod clean;
pub mod digest;
mod error;
mod ids;
mod inspect;
mod kb;
mod lookup;
mod raw;
pub mod read;
pub mod select;

pub use artefact::{Counts, Manifest, PartInfo, SourceDigest};
pub use build::{BuildOptions, BuildReport, DecisionKind, DuplicateCodes, EmptyNames, build};
pub use digest::Digest;
pub use error::Error;
pub use ids::{ConceptId, GroupId, NameId};
pub use kb::{Concept, Kb, Name};
pub use raw::{RawConcept, SourceLocation};
pub use read::{Source, SourceFormat, load, read_source};
