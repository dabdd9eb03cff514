//! Concepts, names, semantic groups: the knowledge base (KB) that everything else links to.
//!
//! A terminology file goes in ([`load`], [`read_source`]); cleaning and disambiguation ([`build()`])
//! make of it a [`Kb`] in which **one (semantic group, name) leads to exactly one concept**, so that
//! a model that writes a name has named a concept; [`Kb::write`] puts it on disk as a folder that
//! [`Kb::open`] maps back in. What the build decided is counted in a [`BuildReport`].
//!
//! # Cost
//!
//! A build holds the sources in memory and sorts their names: half a second for MEDIC (76,237 names), reading
//! and writing included (bench `kb_build`), and in proportion for more. An open KB costs address space, not memory: nothing is parsed, pages come in when
//! they are touched. At UMLS scale (3 M concepts, 7 M names) the artefact has about 0.6 GB and opens in
//! well under a millisecond; [`inspect()`] prints the bytes of each part. A TF-IDF index
//! ([`select::TfidfIndex`]) lives on the heap, about 200 bytes a name.
//!
//! # Key types
//!
//! - [`Kb`] answers questions; [`Concept`] and [`Name`] are views into it, free to copy.
//! - [`ConceptId`], [`NameId`], [`GroupId`] are ranks in sorted tables: dense, and the names of a group
//!   are one ascending range, which is what a trie or an index wants.
//! - [`RawConcept`] is a concept as the source states it; [`SourceFormat`] says how it is read
//!   ([`read::formats`] describes the files).
//! - [`Manifest`] and [`Digest`] tell where a KB came from and whether two are the same.
//! - [`select::NameSelector`] chooses the name a model is trained on; [`lookup()`] finds concepts for people.
//!
//! # Example
//!
//! ```
//! use syncabel_kb::{BuildOptions, Kb, SourceFormat, build, load};
//!
//! let dir = tempfile::tempdir()?;
//! let table = dir.path().join("kb.tsv");
//! std::fs::write(&table, "code\tname\tsynonyms\tgroup\n\
//!     D001249\tAsthma\tasthmas|bronchial asthma\tDisease\n\
//!     D000067877\tAutism Spectrum Disorder\tASD\tDisease\n\
//!     D006344\tHeart Septal Defects, Atrial\tASD|atrial septal defect\tDisease\n")?;
//!
//! let source = load(&table, SourceFormat::Tsv, None)?;
//! let (kb, report) = build(source.concepts, vec![source.digest], &BuildOptions::default())?;
//! kb.write(&dir.path().join("kb"))?;
//!
//! let kb = Kb::open(&dir.path().join("kb"))?;
//! let disease = kb.group_id("Disease").expect("the table has it");
//! let asthma = kb.concept_of(disease, "Bronchial asthma").expect("cleaning upper-cased it");
//! assert_eq!(kb.concept(asthma).code(), "D001249");
//! assert_eq!(kb.concept_of(disease, "ASD"), None); // two concepts claim it, both have other names
//! println!("{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod artefact;
pub mod build;
pub mod clean;
pub mod digest;
mod error;
mod ids;
pub mod inspect;
mod kb;
pub mod lookup;
mod raw;
pub mod read;
pub mod select;

pub use artefact::{Counts, Manifest, PartInfo, SourceDigest};
pub use build::{
    BuildOptions, BuildReport, Decision, DecisionKind, DuplicateCodes, EmptyNames, build,
};
pub use digest::Digest;
pub use error::Error;
pub use ids::{ConceptId, GroupId, NameId};
pub use inspect::inspect;
pub use kb::{Concept, Kb, Name};
pub use lookup::lookup;
pub use raw::{RawConcept, SourceLocation};
pub use read::{Source, SourceFormat, load, read_source};
