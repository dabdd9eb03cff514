//! The project's own corpus format: JSON Lines, one [`Document`] a line, UTF-8, gzip or not.
//!
//! ```json
//! {"id": "note-17", "text": "Breast and ovarian cancer run in the family.", "language": "en", "split": "train",
//!  "origin": "human", "mentions": [
//!   {"id": "note-17.1", "spans": [[0, 6], [19, 25]], "text": "Breast cancer", "label": "Disease", "gold": [["D001943"]]}]}
//! ```
//! (on one line in the file.)
//!
//! | field | meaning | if left out |
//! |---|---|---|
//! | `id` | unique in the file | required |
//! | `text` | what the spans point into | required |
//! | `language` | `en`, `fr`, `es`, `de`; another one than was asked for is refused | [`ReadOptions::language`], `en` if nobody asked |
//! | `split` | `train`, `validation` (or `dev`), `test` | none |
//! | `origin` | `"human"`, `"predicted"`, `{"synthetic": {"generator": NAME}}` | `"human"` |
//! | `mentions[].id` | unique in the document | `DOCUMENT.N`, N from 1 |
//! | `mentions[].spans` | fragments `[start, end]` in Unicode code points, end exclusive, in text order | required |
//! | `mentions[].text` | the fragments' text joined by one space | required |
//! | `mentions[].label` | entity type or semantic group | required; any word will do where all are alike |
//! | `mentions[].gold` | alternatives (OR), each a list of codes (AND); or that list as `{"alternatives": ..}`; or a string such as `"A+B\|C"` | `[]`, no concept |
//!
//! Unknown fields are refused with the known one that is spelled most alike; spans and texts are checked.

mod borrowed;

use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::document::{Corpus, Document, Language};
use crate::error::{Error, Location, nearest};
use crate::format::{ReadOptions, ReadReport};
use crate::io::{Lines, NewFile};
use crate::stream::{Gate, Source};

pub use borrowed::{DocumentRef, GoldRef, MentionRef, text};

/// Reads a whole file.
///
/// # Errors
/// See [`crate::read`].
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Corpus, ReadReport), Error> {
    let mut lines = Lines::open(path)?;
    let mut gate = Gate::new(options);
    let mut corpus = Corpus::default();
    let mut batch: Vec<(String, Location)> = Vec::with_capacity(BATCH_LINES);
    loop {
        batch.clear();
        while batch.len() < BATCH_LINES
            && let Some(line) = lines.next_line()?
        {
            if !line.trim().is_empty() {
                let line = line.to_owned();
                batch.push((line, lines.at()));
            }
        }
        if batch.is_empty() {
            gate.refuse_nothing(path)?;
            return Ok((corpus, gate.report().clone()));
        }
        // Checking is most of the work and needs no order; collecting does.
        let checked = |(line, at): &(String, Location)| document(line, options.language, at);
        let documents: Vec<_> = batch.par_iter().map(checked).collect();
        for (document, (_, at)) in documents.into_iter().zip(&batch) {
            corpus.documents.extend(gate.pass(document?, at)?);
        }
    }
}

/// Lines that are checked side by side.
const BATCH_LINES: usize = 256;

/// The document of one line, checked; in `language` if it states none.
fn document(line: &str, language: Language, at: &Location) -> Result<Document, Error> {
    let mut document: Document =
        serde_json::from_str(line).map_err(|error| explain(line, &error, at))?;
    document.validate_at(at)?;
    // A document without a language is read as one in the default language, so only that one may stand for nothing.
    if document.language == Language::default()
        && language != Language::default()
        && !states_language(line)
    {
        document.language = language;
    }
    Ok(document)
}

/// Whether a line that is a document has the field `language`.
fn states_language(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Stated {
        language: Option<IgnoredAny>,
    }
    serde_json::from_str(line).is_ok_and(|stated: Stated| stated.language.is_some())
}

/// Writes a whole file; it takes its place when it is complete.
///
/// # Errors
/// [`Error::Io`].
pub fn write(corpus: &Corpus, path: &Path) -> Result<(), Error> {
    let mut writer = Writer::create(path)?;
    for document in &corpus.documents {
        writer.write(document)?;
    }
    writer.finish()
}

/// Streams documents out of a file that is known to be sound, as one that was written here: neither ids nor copies are looked
/// after. Memory is one document. See [`crate::Documents`] for files from elsewhere.
pub struct Reader {
    lines: Lines,
    /// Of the documents that state none.
    language: Language,
}

impl Reader {
    /// Opens a file, gzip or not. A document that states no language is in English; what was written here states one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Reader::open_with(path, &ReadOptions::default())
    }

    pub(crate) fn open_with(path: &Path, options: &ReadOptions) -> Result<Self, Error> {
        Ok(Reader {
            lines: Lines::open(path)?,
            language: options.language,
        })
    }

    /// The next document, checked; blank lines are skipped. `None` at the end.
    ///
    /// # Errors
    /// With file and line: bad UTF-8, bad JSON, an unknown field, a span or text that does not fit.
    pub fn next_document(&mut self) -> Result<Option<Document>, Error> {
        let located = self.next_located()?;
        Ok(located.map(|(document, _)| document))
    }

    fn next_located(&mut self) -> Result<Option<(Document, Location)>, Error> {
        loop {
            match self.lines.next_line()? {
                None => return Ok(None),
                Some(line) if line.trim().is_empty() => continue,
                Some(line) => {
                    let line = line.to_owned();
                    let at = self.lines.at();
                    return Ok(Some((document(&line, self.language, &at)?, at)));
                }
            }
        }
    }
}

impl Source for Reader {
    fn next(&mut self, _: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        self.next_located()
    }
}

impl Iterator for Reader {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

/// Streams documents into a file, which takes its place when [`Writer::finish`] is called.
pub struct Writer {
    path: PathBuf,
    file: NewFile,
}

impl Writer {
    /// Starts a file, gzip if the name ends in `.gz`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        Ok(Writer {
            path: path.to_path_buf(),
            file: NewFile::create(path)?,
        })
    }

    /// Adds one document.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, document: &Document) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, document)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(Error::io(&self.path))
    }

    /// Syncs the file and puts it in its place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<(), Error> {
        self.file.finish()
    }
}

const DOCUMENT: [&str; 6] = ["id", "text", "language", "split", "origin", "mentions"];
const MENTION: [&str; 5] = ["id", "spans", "text", "label", "gold"];
const SPAN: [&str; 2] = ["start", "end"];
const GOLD: [&str; 1] = ["alternatives"];

/// The best account of why a line is no document: an unknown field or a mention without a label if there is one, else what the parser says.
fn explain(line: &str, error: &serde_json::Error, at: &Location) -> Error {
    let value = serde_json::from_str::<Value>(line).unwrap_or_default();
    if let Some((field, object, known)) = unknown_field(&value) {
        return Error::UnknownField {
            at: at.clone(),
            nearest: nearest(&field, known),
            field,
            object,
            known: known.join(", "),
        };
    }
    if let Some(number) = unlabelled_mention(&value) {
        return Error::Structure {
            at: at.clone(),
            problem: format!(
                "field label of mention {number} is missing or no text; write the entity type there, or any one word where all mentions are alike, and say with `--group GROUP` (in an experiment `corpus.default_group`) which semantic group it stands for"
            ),
        };
    }
    let text = error.to_string();
    // The parser's own place counts lines of the one line it saw; ours is the file's.
    let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Error::Json {
        at: at.clone(),
        column: error.column().max(1),
        problem,
    }
}

/// The number, from 1, of the first mention whose label is no text.
fn unlabelled_mention(document: &Value) -> Option<usize> {
    let mentions = document.get("mentions")?.as_array()?;
    let unlabelled = |mention: &Value| mention.is_object() && !mention["label"].is_string();
    Some(mentions.iter().position(unlabelled)? + 1)
}

fn unknown_field(document: &Value) -> Option<(String, &'static str, &'static [&'static str])> {
    let stray = |value: &Value, known: &[&str]| {
        value
            .as_object()?
            .keys()
            .find(|key| !known.contains(&key.as_str()))
            .cloned()
    };
    if let Some(field) = stray(document, &DOCUMENT) {
        return Some((field, "a document", &DOCUMENT));
    }
    for mention in document.get("mentions")?.as_array()? {
        if let Some(field) = stray(mention, &MENTION) {
            return Some((field, "a mention", &MENTION));
        }
        if let Some(field) = mention.get("gold").and_then(|gold| stray(gold, &GOLD)) {
            return Some((field, "a gold", &GOLD));
        }
        for span in mention
            .get("spans")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(field) = stray(span, &SPAN) {
                return Some((field, "a span", &SPAN));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(Corpus, ReadReport), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path, &ReadOptions::default())
    }

    #[test]
    fn fills_in_ids_and_round_trips() {
        let line = r#"{"id":"d","text":"gout é","mentions":[{"spans":[[0,4]],"text":"gout","label":"D","gold":"A+B"}]}"#;
        let (corpus, report) = read_text(&format!("\u{feff}{line}\r\n\n")).unwrap();
        assert_eq!(corpus.documents[0].mentions[0].id, "d.1");
        assert_eq!(
            (report.documents, report.mentions, report.composite),
            (1, 1, 1)
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl.gz");
        write(&corpus, &path).unwrap();
        assert_eq!(
            read(&path, &ReadOptions::default()).unwrap(),
            (corpus, report)
        );
    }

    #[test]
    fn errors_name_line_and_way_out() {
        let good = r#"{"id":"d","text":"gout"}"#;
        let cases = [
            (
                r#"{"id":"e","text":"x","mention":[]}"#,
                "x.jsonl:2: unknown field \"mention\" in a document; did you mean \"mentions\"?",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"span":[[0,1]],"text":"x","label":"D"}]}"#,
                "did you mean \"spans\"?",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[{"start":0,"ende":1}],"text":"x","label":"D"}]}"#,
                "did you mean \"end\"?",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[[0,1]],"text":"x","label":"D","gold":{"alternativs":[]}}]}"#,
                "did you mean \"alternatives\"?",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[[0,2]],"text":"x","label":"D"}]}"#,
                "x.jsonl:2: span 0-2",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[[0,1]],"text":"y","label":"D"}]}"#,
                "covers \"x\", the annotation says \"y\"",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[],"text":"","label":"D"}]}"#,
                "has no span",
            ),
            (
                r#"{"id":"e","text":"x","language":"xx"}"#,
                "unknown variant `xx`",
            ),
            (
                r#"{"id":"e","text":"x","language":null}"#,
                "x.jsonl:2, column 33",
            ),
            (
                r#"{"id":"e","text":"xx","mentions":[{"spans":[[0,1]],"text":"x","label":"D"},{"spans":[[1,2]],"text":"x"}]}"#,
                "x.jsonl:2: field label of mention 2 is missing or no text; write the entity type there",
            ),
            (
                r#"{"id":"e","text":"x","mentions":[{"spans":[[0,1]],"text":"x","label":null}]}"#,
                "x.jsonl:2: field label of mention 1 is missing or no text",
            ),
            (r#"{"id":"e"}"#, "missing field `text`"),
            (r#"{"id":"e""#, "x.jsonl:2, column 9"),
            (
                r#"{"id":"d","text":"other"}"#,
                "x.jsonl:2: document d differs",
            ),
        ];
        for (line, message) in cases {
            let error = read_text(&format!("{good}\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{line} gave {error}");
        }
        assert!(read_text("").unwrap_err().to_string().contains("is empty"));
    }
}
