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
//! order in which the table first names them, those without a mention last; the language is Spanish, and
//! [`crate::ReadOptions::language`] may not say otherwise.
//!
//! The rows of a document may lie apart, as they do in the real tables, label after label. So table and texts are read twice:
//! once to learn where everything is (16 bytes a row are held), then document by document. What is gzipped cannot be
//! read in pieces and is held in memory, unpacked.
//!
//! What real files hold, and the rule for each: a span whose quotes are doubled, missing or of another shape (a table that
//! went through too many programs) is accepted and the covered text kept; a code that a spreadsheet has turned into a number
//! (`1.63195610001191E+016`) is lost and becomes "no concept"; so does a code field with `NO_CODE`, `NOMAP` or `N+O` in
//! it, since part of what was meant is unknown. All are counted ([`crate::ReadReport`]).

mod texts;

use std::collections::HashMap;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use self::texts::Texts;
use crate::document::{Document, Gold, Language, Mention, Origin, SpanChars};
use crate::error::{Error, Location};
use crate::format::ReadReport;
use crate::io::{self, Seekable};
use crate::stream::Source;
use crate::text::CharIndex;

/// The language of the corpus.
pub(crate) const LANGUAGE: Language = Language::Es;

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

/// Size of the pieces in which rows that lie apart are read.
const ROWS_BYTES: usize = 1 << 13;

/// The documents of a table, one by one.
pub(crate) struct Table {
    path: PathBuf,
    rows: csv::Reader<Box<dyn Seekable>>,
    columns: [usize; COLUMNS.len()],
    texts: Texts,
    ids: Vec<String>,
    /// Positions of the documents' texts, in the order in which the documents come.
    order: std::vec::IntoIter<usize>,
    /// Number of the document that comes next.
    next: u32,
    /// Where the rows lie, document after document.
    places: Peekable<std::vec::IntoIter<Place>>,
}

/// Where a row lies.
#[derive(Clone, Copy)]
struct Place {
    /// Its document, by the position of the text; later by the place in the order of documents.
    document: u32,
    line: u32,
    byte: u64,
}

impl Place {
    fn of(record: &csv::StringRecord, document: usize) -> Option<Self> {
        let position = record.position()?;
        Some(Place {
            document: document as u32,
            line: position.line() as u32,
            byte: position.byte(),
        })
    }

    fn position(self) -> csv::Position {
        let mut position = csv::Position::new();
        position
            .set_byte(self.byte)
            .set_line(self.line.into())
            .set_record(0);
        position
    }
}

impl Table {
    /// Reads the table once, to learn where each document's rows are.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let (texts, ids) = Texts::find(path)?;
        let mut positions: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
        for (position, id) in ids.iter().enumerate() {
            positions.insert(id, position);
        }
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .flexible(true)
            .has_headers(false)
            .buffer_capacity(ROWS_BYTES)
            .from_reader(io::open_seekable(path)?);
        let mut columns: Option<[usize; COLUMNS.len()]> = None;
        let mut places: Vec<Place> = Vec::new();
        let mut first_row = vec![usize::MAX; ids.len()];
        let mut record = csv::StringRecord::new();
        while read_row(&mut rows, &mut record, path)? {
            let Some(columns) = &columns else {
                columns = Some(header(path, &record)?);
                continue;
            };
            let row = Row::new(&record, columns, place(&record, path))?;
            let Some(&position) = positions.get(row.document) else {
                return Err(Error::Structure {
                    at: row.at,
                    problem: format!(
                        "column filename: there is no text of document {:?}",
                        row.document
                    ),
                });
            };
            first_row[position] = first_row[position].min(places.len());
            places.extend(Place::of(&record, position));
        }
        // Those without a mention come last, in the order of their texts.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|&position| (first_row[position], position));
        let mut rank = vec![0; order.len()];
        for (number, &position) in (0..).zip(&order) {
            rank[position] = number;
        }
        for place in &mut places {
            place.document = rank[place.document as usize];
        }
        places.sort_unstable_by_key(|place| (place.document, place.byte));
        Ok(Table {
            path: path.to_path_buf(),
            rows,
            // A table without a line has no rows to find them in.
            columns: columns.unwrap_or_default(),
            texts,
            ids,
            order: order.into_iter(),
            next: 0,
            places: places.into_iter().peekable(),
        })
    }
}

impl Source for Table {
    fn next(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        let Some(position) = self.order.next() else {
            return Ok(None);
        };
        let text = self.texts.read(position)?;
        let index = CharIndex::new(&text);
        let mut mentions = Vec::new();
        let mut record = csv::StringRecord::new();
        while let Some(row) = self.places.next_if(|row| row.document == self.next) {
            let sought = self.rows.seek(row.position());
            sought.map_err(|error| table_error(error, &self.path))?;
            read_row(&mut self.rows, &mut record, &self.path)?;
            let row = Row::new(&record, &self.columns, place(&record, &self.path))?;
            mentions.push(row.mention(&index, report)?);
        }
        self.next += 1;
        let document = Document {
            id: std::mem::take(&mut self.ids[position]),
            text,
            language: LANGUAGE,
            split: None,
            origin: Origin::Human,
            mentions,
        };
        let at = Location::document(&document.id);
        Ok(Some((document, at)))
    }
}

/// Reads a row; false at the end of the table.
fn read_row(
    rows: &mut csv::Reader<Box<dyn Seekable>>,
    record: &mut csv::StringRecord,
    path: &Path,
) -> Result<bool, Error> {
    let read = rows.read_record(record);
    read.map_err(|error| table_error(error, path))
}

fn place(record: &csv::StringRecord, path: &Path) -> Location {
    Location::line(path, record.position().map_or(0, |p| p.line() as usize))
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

    /// The mention in the text of its document.
    fn mention(self, index: &CharIndex<'_>, report: &mut ReadReport) -> Result<Mention, Error> {
        let covered = index
            .slice(self.span)
            .filter(|covered| !covered.is_empty())
            .ok_or_else(|| Error::SpanOutside {
                at: self.at.clone(),
                document: self.document.to_owned(),
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
                    document: self.document.to_owned(),
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
        Ok(Mention {
            id: String::new(),
            spans: vec![self.span],
            text: covered,
            label: self.label.to_owned(),
            gold: if none {
                Gold::none()
            } else {
                Gold::composite(self.code.split('+').map(str::trim))
            },
        })
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
    use crate::{Corpus, CorpusFormat, ReadOptions, ReadReport};

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
        crate::read(&path, CorpusFormat::Spaccc, &ReadOptions::default())
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
        let error = crate::read(&path, CorpusFormat::Spaccc, &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("lonely_texts.jsonl"), "{error}");
    }
}
