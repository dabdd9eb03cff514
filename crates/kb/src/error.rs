//! The one error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::raw::SourceLocation;

/// Everything that can go wrong between a terminology file and an opened KB.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A compressed file that ends too early or was changed.
    #[error("{}: the gzip file is damaged or cut short ({source}); fetch it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The format cannot be told from the file name, or the name given is not a format.
    #[error(
        "`{given}` names no terminology format; say one of medic, ctd, obo, tsv, jsonl, parquet"
    )]
    UnknownFormat {
        /// The word or file name.
        given: String,
    },
    /// A file without a single concept.
    #[error("{}: the file holds no concept", path.display())]
    EmptySource {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are not UTF-8.
    #[error("{}:{line}: not UTF-8 at byte {byte} of the line; convert the file first, for example with iconv", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Byte in the line, from 1.
        byte: usize,
    },
    /// The header lacks a column that every concept needs.
    #[error("{}:1: column `{column}` is missing; the header has: {found}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The columns that are there.
        found: String,
    },
    /// The header names a column twice.
    #[error("{}:1: column `{column}` stands twice in the header", path.display())]
    RepeatedColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// A column or JSON field that nobody reads: most often a misspelt one.
    #[error("{}:{line}: unknown field `{field}`; the nearest known one is `{nearest}`", path.display())]
    UnknownField {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The field as written.
        field: String,
        /// The known field with the smallest edit distance.
        nearest: &'static str,
    },
    /// A line with another number of fields than its header or format asks for.
    #[error("{}:{line}: {found} fields where {expected} are expected", path.display())]
    FieldCount {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the format asks for.
        expected: String,
        /// What the line has.
        found: usize,
    },
    /// A field that every concept needs is absent or blank.
    #[error("{at}: `{field}` is missing or blank")]
    MissingField {
        /// File and line.
        at: SourceLocation,
        /// The field.
        field: &'static str,
    },
    /// A JSON field or a Parquet column of another type.
    #[error("{at}: field `{field}` must be {expected}")]
    FieldType {
        /// File and line.
        at: SourceLocation,
        /// The field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A line that does not follow its format.
    #[error("{at}: {problem}")]
    Syntax {
        /// File and line.
        at: SourceLocation,
        /// What is wrong, and where it helps the way out.
        problem: String,
    },
    /// No semantic group, neither in the file nor as default.
    #[error(
        "{at}: concept `{code}` has no semantic group; add one to the file or give a default group"
    )]
    NoGroup {
        /// File and line.
        at: SourceLocation,
        /// The concept's code.
        code: String,
    },
    /// A code that could not be told apart in a gold or prediction field.
    #[error("{at}: code `{code}` holds {problem}, which separates codes in prediction files")]
    BadCode {
        /// File and line.
        at: SourceLocation,
        /// The code.
        code: String,
        /// The offending character, described.
        problem: &'static str,
    },
    /// Nothing is left of a name.
    #[error(
        "{at}: concept `{code}` has a name that is empty after cleaning: {name:?}; correct it, or set `empty_names: skip`"
    )]
    EmptyName {
        /// File and line.
        at: SourceLocation,
        /// The concept's code.
        code: String,
        /// The name as the source has it.
        name: String,
    },
    /// One code, two different concepts.
    #[error(
        "{second}: code `{code}` is already at {first} with another `{field}`; remove one, or set `duplicate_codes: merge`"
    )]
    DuplicateCode {
        /// The code.
        code: String,
        /// The first place.
        first: SourceLocation,
        /// The second place.
        second: SourceLocation,
        /// The field in which the two differ.
        field: &'static str,
    },
    /// After cleaning and disambiguation there is nothing to link to.
    #[error("no name is left after cleaning and disambiguation ({concepts} concepts read)")]
    NoNames {
        /// Concepts that came in.
        concepts: usize,
    },
    /// More than the format can count.
    #[error(
        "too many {what} for format version {}: the limit is {limit}",
        crate::artefact::FORMAT_VERSION
    )]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Parquet support was not compiled in, or the file cannot be read as Parquet.
    #[error("{}: {problem}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The folder is no KB artefact.
    #[error("{}: not a KB artefact ({problem}); build one with `syncabel kb build`", path.display())]
    NotAKb {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The artefact was written by another version of the format.
    #[error("{}: KB format version {found}, this program reads version {supported}; build the KB again from its sources, or use the program that wrote it", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version in the manifest.
        found: u64,
        /// The version that is read here.
        supported: u32,
    },
    /// A part is shorter, longer or otherwise not what the manifest says.
    #[error("{}: damaged: {problem}; build the KB again", path.display())]
    Corrupt {
        /// The part.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A part has other bytes than when it was written.
    #[error("{}: damaged: digest {found}, but {expected} was written; build the KB again", path.display())]
    DigestMismatch {
        /// The part.
        path: PathBuf,
        /// The digest in the manifest.
        expected: Digest,
        /// The digest of the bytes that are there.
        found: Digest,
    },
    /// Writing would replace a folder that is no KB.
    #[error("{}: exists and is not a KB artefact; choose another folder or remove it", path.display())]
    WouldReplace {
        /// The folder.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// A failed read of a file that may be compressed: the decompressor's complaints are about the file, not the system.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match source.kind() {
            InvalidData | InvalidInput | UnexpectedEof => Self::Gzip {
                path: path.to_owned(),
                source,
            },
            _ => Self::io(path, source),
        }
    }

    pub(crate) fn corrupt(path: &Path, problem: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}
