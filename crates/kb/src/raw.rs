//! A concept as a terminology file states it, before cleaning.

use std::fmt;
use std::path::PathBuf;

/// Where something stands in a source: file and line (1-based; in Parquet the row).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    /// The file as the user named it.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// One concept as read, nothing cleaned or decided yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawConcept {
    /// The primary code, for example `D001249` or `HP:0002099`.
    pub code: String,
    /// Other codes that mean this concept.
    pub alt_codes: Vec<String>,
    /// The name that the source prefers.
    pub preferred_name: String,
    /// All names, the preferred one included.
    pub names: Vec<String>,
    /// Semantic groups; at least one.
    pub groups: Vec<String>,
    /// Semantic types, finer than groups.
    pub semantic_types: Vec<String>,
    /// Definitions, in the order of the source.
    pub definitions: Vec<String>,
    /// Codes of broader concepts; they may lie outside the KB.
    pub parents: Vec<String>,
    /// Where the concept starts in its source.
    pub location: SourceLocation,
}
