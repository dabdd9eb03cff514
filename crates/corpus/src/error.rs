//! What can go wrong with a corpus, always with the place where it went wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::document::Language;
use crate::format::CorpusFormat;

/// Where a problem was found: a line of a file, or a document that is only in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, or `document ID` for a document that was never in a file.
    pub path: PathBuf,
    /// Line of the file, 1-based; 0 when there is no line.
    pub line: usize,
}

impl Location {
    /// A line (1-based) of a file.
    pub fn line(path: &Path, line: usize) -> Self {
        Location {
            path: path.to_path_buf(),
            line,
        }
    }

    /// A row (1-based) of a table that has no lines.
    pub fn row(path: &Path, row: usize) -> Self {
        Location {
            path: PathBuf::from(format!("{}, row {row}", path.display())),
            line: 0,
        }
    }

    /// A document that was made in memory.
    pub fn document(id: &str) -> Self {
        Location {
            path: PathBuf::from(format!("document {id}")),
            line: 0,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.path.display()),
            line => write!(f, "{}:{line}", self.path.display()),
        }
    }
}

/// Every failure of this crate. The message names the place and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A compressed file that ends too early or was changed.
    #[error("{path}: the gzip file is damaged or cut short ({source}); write or fetch it again", path = path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decompressor says.
        source: std::io::Error,
    },
    /// The file holds nothing, or nothing but white space.
    #[error("{path}: the file is empty", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("{at}: not UTF-8 at byte {byte} of the line; convert the file to UTF-8 first")]
    NotUtf8 {
        /// The line.
        at: Location,
        /// Position of the first bad byte in the line, 1-based.
        byte: usize,
    },
    /// A line has another number of fields than its kind allows.
    #[error("{at}: {found} tab-separated fields, expected {expected}")]
    FieldCount {
        /// The line.
        at: Location,
        /// Fields found.
        found: usize,
        /// What the format allows, in words.
        expected: String,
    },
    /// A field that must be a number is none.
    #[error("{at}: {field} is {value:?}, not {expected}")]
    NotANumber {
        /// The line.
        at: Location,
        /// Name of the field.
        field: String,
        /// What stands there.
        value: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A span is empty or leaves the text.
    #[error(
        "{at}: span {start}-{end} of mention {mention:?} is not inside the text of document {document}, which has {length_chars} characters (offsets count Unicode code points from 0, the end is exclusive)"
    )]
    SpanOutside {
        /// The line.
        at: Location,
        /// Document id.
        document: String,
        /// Text or id of the mention.
        mention: String,
        /// First character.
        start: u64,
        /// One past the last character.
        end: u64,
        /// Length of the document.
        length_chars: usize,
    },
    /// The text a mention claims is not the text its span covers.
    #[error(
        "{at}: span {start}-{end} of document {document} covers {covered:?}, the annotation says {stated:?}"
    )]
    SpanText {
        /// The line.
        at: Location,
        /// Document id.
        document: String,
        /// First character.
        start: u32,
        /// One past the last character.
        end: u32,
        /// What the document has there.
        covered: String,
        /// What the annotation has.
        stated: String,
    },
    /// Lines in an order, or of a shape, that the format does not know.
    #[error("{at}: {problem}")]
    Structure {
        /// The line.
        at: Location,
        /// What is wrong, in words.
        problem: String,
    },
    /// Two documents with one id that are not copies of each other.
    #[error(
        "{at}: document {id} differs from the document of the same id{}; give one of them another id (identical copies are dropped)", at_line(*first_line)
    )]
    DuplicateDocument {
        /// The line where the second one starts.
        at: Location,
        /// The id.
        id: String,
        /// The line where the first one starts; 0 where it has none.
        first_line: usize,
    },
    /// Not JSON, or JSON of another shape.
    #[error("{at}, column {column}: {problem}")]
    Json {
        /// The line.
        at: Location,
        /// Column in the line, 1-based.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// A document is in another language than the one that was asked for.
    #[error(
        "{at}: {}, but `--language` (in an experiment `corpus.language`) asks for \"{asked}\"; leave out `--language`, ask for \"{stated}\"{}",
        says_language(*stated, *every), if every.is_none() { ", or change the field" } else { "" }
    )]
    OtherLanguage {
        /// The line.
        at: Location,
        /// The language of the document.
        stated: Language,
        /// The language of the options.
        asked: Language,
        /// The format, where all its files are in one language and there is no field to change.
        every: Option<CorpusFormat>,
    },
    /// A JSON object has a key that the format does not know.
    #[error(
        "{at}: unknown field {field:?} in {object}; did you mean {nearest:?}? ({object} has {known})"
    )]
    UnknownField {
        /// The line.
        at: Location,
        /// The key.
        field: String,
        /// Which kind of object.
        object: &'static str,
        /// The known key that is spelled most alike.
        nearest: &'static str,
        /// All known keys.
        known: String,
    },
    /// A table lacks a column it must have.
    #[error("{path}: no column {column:?}; the header has {found}", path = path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The header.
        found: String,
    },
    /// A cell of a table cannot be read.
    #[error("{at}, column {column}: {value:?} is not {expected}")]
    Cell {
        /// The line.
        at: Location,
        /// Name of the column.
        column: String,
        /// What stands there.
        value: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A mention's semantic group is not one the KB has.
    #[error(
        "{at}, mention {mention}: {group:?} (from label {label:?}) is no semantic group of the KB, which has {known}; map the label to a group, or set a default group"
    )]
    UnknownGroup {
        /// The line of the document, or the document. Boxed: errors travel by value.
        at: Box<Location>,
        /// Mention id.
        mention: String,
        /// The mention's label.
        label: String,
        /// The group that was looked for.
        group: String,
        /// The groups of the KB.
        known: String,
    },
    /// A format cannot hold what the corpus has.
    #[error("document {document}: {format} cannot hold {what}; write jsonl instead")]
    NotRepresentable {
        /// Document id.
        document: String,
        /// The format.
        format: &'static str,
        /// What it cannot hold.
        what: String,
    },
    /// A name that stands for nothing.
    #[error("{value:?} is no {what}; known are {known}")]
    UnknownName {
        /// What kind of name.
        what: &'static str,
        /// The name.
        value: String,
        /// All known names.
        known: String,
    },
}

impl Error {
    /// An unknown group with its place in a file instead of its document.
    pub(crate) fn at(mut self, place: Location) -> Self {
        if let Error::UnknownGroup { at, .. } = &mut self {
            **at = place;
        }
        self
    }
}

fn says_language(stated: Language, every: Option<CorpusFormat>) -> String {
    match every {
        None => format!("field language is \"{stated}\""),
        Some(format) => format!("language is \"{stated}\" in every {format} file"),
    }
}

fn at_line(line: usize) -> String {
    match line {
        0 => " before it".to_owned(),
        line => format!(" at line {line}"),
    }
}

impl Error {
    /// A failed read of a file that may be compressed: the decompressor's complaints are about the file, not the system.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        move |source| match source.kind() {
            InvalidData | InvalidInput | UnexpectedEof => Error::Gzip {
                path: path.to_path_buf(),
                source,
            },
            _ => Error::io(path)(source),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// The known word that is spelled most like `word` (Levenshtein; the first of equals).
pub(crate) fn nearest(word: &str, known: &[&'static str]) -> &'static str {
    known
        .iter()
        .copied()
        .min_by_key(|k| strsim::levenshtein(word, k))
        .unwrap_or("")
}
