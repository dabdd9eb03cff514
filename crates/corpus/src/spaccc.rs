//! SPACCC: a tab-separated table of mentions and, in another file, the texts they point into.
//!
//! | table column | kept as |
//! |---|---|
//! | `filename` | document id |
//! | `label` | label: `ENFERMEDAD`, `SINTOMA`, `PROCEDIMIENTO` |
//! | `start_span`, `end_span` | the span, in characters |
//! | `span` | checked against the text |
//! | `code` | gold; `+` joins the parts of a composite, and nothing means "or" |
//! | any other | not kept |
//!
//! The texts of `train.tsv` are looked for beside it: `train_texts.jsonl` (`{"doc_id": .., "text": ..}` a line), the
//! same gzipped, or one file a document, `DOCUMENT.txt`, in a folder `train_texts` or `txt`. Documents come in the
//! order in which the table first names them, those without a mention last; the language is Spanish.
//!
//! What real files hold, and the rule for each: a span whose quotes are doubled, missing or of another shape (a table that
//! went through too many programs) is accepted and the covered text kept; a code that a spreadsheet has turned into a number
//! (`1.63195610001191E+016`) is lost and becomes "no concept"; so does a code field with `NO_CODE`, `NOMAP` or `N+O` in
//! it, since part of what was meant is unknown. All are counted ([`crate::ReadReport`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::document::{Corpus, Document, Gold, Language, Mention, Origin, SpanChars};
use crate::error::{Error, Location};
use crate::format::{Collector, ReadOptions, ReadReport};
use crate::io::{self, Lines};
use crate::text::CharIndex;

const COLUMNS: [&str; 6] = [
    "filename",
    "label",
    "start_span",
    "end_span",
    "span",
    "code",
];

/// Words that stand where a code should.
const NO_CONCEPT: [&str; 3] = ["NO_CODE", "NOMAP", "N+O"];

/// Reads a table and its texts, gzip or not.
///
/// # Errors
/// See [`crate::read`]; [`Error::Structure`] where there are no texts, or none for a document of the table.
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Corpus, ReadReport), Error> {
    let mut collector = Collector::new(options);
    let mut documents = texts(path)?;
    let mut order: HashMap<String, usize> = HashMap::with_capacity(documents.len());
    for (position, document) in documents.iter().enumerate() {
        order.insert(document.id.clone(), position);
    }
    let mut first_row = vec![usize::MAX; documents.len()];
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .flexible(true)
        .has_headers(false)
        .from_reader(io::open(path)?);
    let mut columns: Option<[usize; COLUMNS.len()]> = None;
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|error| table_error(error, path))?;
        let at = Location::line(path, record.position().map_or(0, |p| p.line() as usize));
        let Some(columns) = columns else {
            columns = Some(header(path, &record)?);
            continue;
        };
        let row = Row::new(&record, &columns, at)?;
        let Some(&position) = order.get(row.document) else {
            return Err(Error::Structure {
                at: row.at,
                problem: format!(
                    "column filename: there is no text of document {:?}",
                    row.document
                ),
            });
        };
        first_row[position] = first_row[position].min(number);
        row.add_to(&mut documents[position], collector.report())?;
    }
    let mut positions: Vec<usize> = (0..documents.len()).collect();
    positions.sort_by_key(|&position| (first_row[position], position));
    let mut documents: Vec<Option<Document>> = documents.into_iter().map(Some).collect();
    for position in positions {
        if let Some(document) = documents[position].take() {
            let at = Location::document(&document.id);
            collector.add(document, &at)?;
        }
    }
    collector.finish(path)
}

/// Positions of our columns.
fn header(path: &Path, record: &csv::StringRecord) -> Result<[usize; COLUMNS.len()], Error> {
    let name = |cell: &str| cell.trim_start_matches('\u{feff}').trim().to_owned();
    let names: Vec<String> = record.iter().map(name).collect();
    let mut found = [0; COLUMNS.len()];
    for (position, column) in found.iter_mut().zip(COLUMNS) {
        *position = names
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| Error::MissingColumn {
                path: path.to_path_buf(),
                column,
                found: names.join(", "),
            })?;
    }
    Ok(found)
}

/// One mention of the table.
struct Row<'r> {
    at: Location,
    document: &'r str,
    label: &'r str,
    span: SpanChars,
    text: &'r str,
    code: &'r str,
}

impl<'r> Row<'r> {
    fn new(
        record: &'r csv::StringRecord,
        columns: &[usize; COLUMNS.len()],
        at: Location,
    ) -> Result<Self, Error> {
        let cell = |column: usize| {
            record
                .get(columns[column])
                .ok_or_else(|| Error::FieldCount {
                    at: at.clone(),
                    found: record.len(),
                    expected: format!(
                        "at least {}, up to the column {}",
                        columns[column] + 1,
                        COLUMNS[column]
                    ),
                })
        };
        let offset = |column: usize| {
            let value = cell(column)?;
            value.trim().parse::<u32>().map_err(|_| Error::Cell {
                at: at.clone(),
                column: COLUMNS[column].to_owned(),
                value: value.to_owned(),
                expected: "an offset in characters",
            })
        };
        let row = Row {
            document: cell(0)?,
            label: cell(1)?,
            span: SpanChars::new(offset(2)?, offset(3)?),
            text: cell(4)?,
            code: cell(5)?.trim(),
            at: at.clone(),
        };
        Ok(row)
    }

    fn add_to(self, document: &mut Document, report: &mut ReadReport) -> Result<(), Error> {
        let index = CharIndex::new(&document.text);
        let covered = index
            .slice(self.span)
            .filter(|covered| !covered.is_empty())
            .ok_or_else(|| Error::SpanOutside {
                at: self.at.clone(),
                document: document.id.clone(),
                mention: self.text.to_owned(),
                start: self.span.start.into(),
                end: self.span.end.into(),
                length_chars: index.len_chars(),
            })?
            .to_owned();
        if covered != self.text {
            if bare(&covered) != bare(self.text) {
                return Err(Error::SpanText {
                    at: self.at,
                    document: document.id.clone(),
                    start: self.span.start,
                    end: self.span.end,
                    covered,
                    stated: self.text.to_owned(),
                });
            }
            report.quote_differences += 1;
        }
        let lost = is_number(self.code);
        report.lost_codes += usize::from(lost);
        let none = lost
            || NO_CONCEPT.contains(&self.code)
            || self
                .code
                .split('+')
                .any(|part| NO_CONCEPT.contains(&part.trim()));
        document.mentions.push(Mention {
            id: String::new(),
            spans: vec![self.span],
            text: covered,
            label: self.label.to_owned(),
            gold: if none {
                Gold::none()
            } else {
                Gold::composite(self.code.split('+').map(str::trim))
            },
        });
        Ok(())
    }
}

/// A text without its quotes, of whatever shape, and white space: what is left when quoting went wrong.
fn bare(text: &str) -> String {
    const QUOTES: [char; 9] = ['"', '\'', '“', '”', '‘', '’', '«', '»', '´'];
    text.chars()
        .filter(|c| !QUOTES.contains(c) && !c.is_whitespace())
        .collect()
}

/// Whether a spreadsheet wrote this code as a number with an exponent.
fn is_number(code: &str) -> bool {
    code.contains(['E', 'e']) && code.contains('.') && code.parse::<f64>().is_ok()
}

#[derive(Deserialize)]
struct TextLine {
    doc_id: String,
    text: String,
}

/// The texts that belong to a table, as documents without mentions.
fn texts(table: &Path) -> Result<Vec<Document>, Error> {
    let folder = table.parent().unwrap_or(Path::new(""));
    let name = table
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let stem = name.split('.').next().unwrap_or_default();
    for file in [
        format!("{stem}_texts.jsonl"),
        format!("{stem}_texts.jsonl.gz"),
    ] {
        let path = folder.join(file);
        if path.is_file() {
            return text_lines(&path);
        }
    }
    for name in [format!("{stem}_texts"), "txt".to_owned()] {
        let path = folder.join(name);
        if path.is_dir() {
            return text_files(&path);
        }
    }
    Err(Error::Structure {
        at: Location::line(table, 0),
        problem: format!(
            "the texts are missing: put {stem}_texts.jsonl (`doc_id` and `text` a line) or a folder {stem}_texts of DOCUMENT.txt beside the table"
        ),
    })
}

fn text_lines(path: &Path) -> Result<Vec<Document>, Error> {
    let mut lines = Lines::open(path)?;
    let mut documents = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed = serde_json::from_str::<TextLine>(line);
        let line = parsed.map_err(|error| Error::Json {
            at: lines.at(),
            column: error.column().max(1),
            problem: error.to_string(),
        })?;
        documents.push(empty(line.doc_id, line.text));
    }
    Ok(documents)
}

fn text_files(folder: &Path) -> Result<Vec<Document>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::io(folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    let document = |path: &PathBuf| {
        let id = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Ok(empty(id, io::read_to_string(path)?))
    };
    paths.iter().map(document).collect()
}

fn empty(id: String, text: String) -> Document {
    Document {
        id,
        text,
        language: Language::Es,
        split: None,
        origin: Origin::Human,
        mentions: Vec::new(),
    }
}

fn table_error(error: csv::Error, path: &Path) -> Error {
    let line = error.position().map_or(0, |p| p.line() as usize);
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::reading(path)(source),
        csv::ErrorKind::Utf8 { err, .. } => Error::NotUtf8 {
            at: Location::line(path, line),
            byte: err.valid_up_to() + 1,
        },
        _ => Error::Structure {
            at: Location::line(path, line),
            problem: text,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tsemantic_rel\n";

    fn read_table(rows: &str) -> Result<(Corpus, ReadReport), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.tsv");
        std::fs::write(&path, format!("\u{feff}{HEADER}{rows}")).unwrap();
        std::fs::write(
            dir.path().join("train_texts.jsonl"),
            "{\"doc_id\":\"a\",\"text\":\"Tos y \\\"fiebre\\\".\"}\n{\"doc_id\":\"b\",\"text\":\"Asma é.\"}\n",
        )
        .unwrap();
        read(&path, &ReadOptions::default())
    }

    #[test]
    fn codes_texts_and_order() {
        let rows = "b\tE\t0\t4\tAsma\t1+2\tCOMPOSITE\r\n\
            a\tS\t0\t3\tTos\t3\tEXACT\n\
            a\tS\t6\t14\t\"\"\"\"\"fiebre\"\"\"\"\"\t1.63195610001191E+016\tEXACT\n\
            b\tE\t5\t6\té\t9+NO_CODE\tCOMPOSITE\n";
        let (corpus, report) = read_table(rows).unwrap();
        let ids: Vec<&str> = corpus.documents.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["b", "a"], "in the table's order");
        assert_eq!(corpus.documents[0].mentions[0].gold.to_field(), "1+2");
        assert_eq!(corpus.documents[1].mentions[1].text, "\"fiebre\"");
        assert_eq!(corpus.documents[0].language, Language::Es);
        assert_eq!(
            (
                report.lost_codes,
                report.quote_differences,
                report.without_concept,
                report.composite
            ),
            (1, 1, 2, 1)
        );
    }

    #[test]
    fn errors_name_the_place() {
        let cases = [
            (
                "c\tE\t0\t4\tAsma\t1\tEXACT\n",
                "train.tsv:2: column filename: there is no text of document \"c\"",
            ),
            (
                "b\tE\tx\t4\tAsma\t1\tEXACT\n",
                "train.tsv:2, column start_span: \"x\"",
            ),
            ("b\tE\t0\t40\tAsma\t1\tEXACT\n", "train.tsv:2: span 0-40"),
            (
                "b\tE\t0\t3\tAsma\t1\tEXACT\n",
                "covers \"Asm\", the annotation says \"Asma\"",
            ),
            (
                "b\tE\t0\t4\n",
                "train.tsv:2: 4 tab-separated fields, expected at least 5",
            ),
        ];
        for (row, message) in cases {
            let error = read_table(row).unwrap_err().to_string();
            assert!(error.contains(message), "{row} gave {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lonely.tsv");
        std::fs::write(&path, HEADER).unwrap();
        let error = read(&path, &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("lonely_texts.jsonl"), "{error}");
    }
}
