//! Corpora as Parquet: a table with a row for every mention, as pandas, polars and Hugging Face `datasets` read it.
//!
//! | column | type | holds |
//! |---|---|---|
//! | `document_id` | string | unique in the file; the rows of a document share it |
//! | `text` | string | the document's text, the same in all its rows |
//! | `language` | string | `en`, `fr`, `es`, `de` |
//! | `split` | string | `train`, `validation`, `test`; null where unknown |
//! | `origin` | string | `human`, `synthetic`, `predicted` |
//! | `generator` | string | what made a synthetic document; null for others |
//! | `mention_id` | string | unique in its document |
//! | `start_span`, `end_span` | uint32 | first character and one past the last, in Unicode code points: Python's `text[start_span:end_span]` |
//! | `fragment_starts`, `fragment_ends` | list of uint32 | the pieces of the mention in text order; one each unless it is discontinuous |
//! | `span` | string | the pieces' text joined by one blank |
//! | `label` | string | entity type or semantic group |
//! | `code` | string | gold: `+` joins the parts of a composite, `\|` separates alternatives; empty for no concept |
//!
//! A document without mentions has one row whose columns from `mention_id` on are null. Names are those of the prediction
//! file where both have a column. Read as well are tables without `language`, `split`, `origin`, `generator`, `mention_id`,
//! `label` or the fragments, with integers of any type, and with the rows of a document apart; and tables in BigBio's schema with a row
//! for every document and nested columns `passages` and `entities`, as `datasets` keeps them.
//!
//! The writer keeps one row group in memory ([`GROUP_ROWS`] rows), whatever the size of the corpus, and so does the reader
//! ([`Documents`]) where the rows of a document lie together.

mod documents;
mod writer;

pub use documents::{Documents, read};
pub use writer::Writer;

use crate::error::BadInput;
use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame, DataType, ParquetReader, PolarsError, SerReader};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, SpanChars, Split};

/// Rows of a row group: some 10 MB of synthetic sentences.
pub const GROUP_ROWS: usize = 1 << 15;

/// Columns without which a table is no corpus.
const REQUIRED: [&str; 6] = [
    "document_id",
    "text",
    "start_span",
    "end_span",
    "span",
    "code",
];

/// Columns that are read where they are there.
const COLUMNS: [&str; 14] = [
    "document_id",
    "text",
    "language",
    "split",
    "origin",
    "generator",
    "mention_id",
    "start_span",
    "end_span",
    "fragment_starts",
    "fragment_ends",
    "span",
    "label",
    "code",
];

/// The names of a table's columns.
///
/// # Errors
/// A file that cannot be read or is no Parquet.
pub fn columns(path: &Path) -> Result<Vec<String>> {
    let mut reader = ParquetReader::new(open(path)?);
    let schema = reader.schema().map_err(failed(path))?;
    Ok(schema.iter_names().map(|name| name.to_string()).collect())
}

/// Column of a table of answers that holds what the model said.
pub const ANSWER: &str = "llm_output";

/// Names under which a table of answers holds the concept; the authors write `CUI`.
const CODES: [&str; 4] = ["CUI", "SCUI", "cui", "code"];

/// What a language model answered for one concept, in the table that the authors' generation leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The row, from 1.
    pub row: usize,
    /// The concept.
    pub code: String,
    /// Lines with bracketed mentions, or the word `FAIL`.
    pub text: String,
}

/// Hands out the rows of a table of answers: a column with the code (`CUI`) and `llm_output`.
///
/// # Errors
/// With file, row and column, as [`read`]; what `f` returns.
pub fn each_answer(path: &Path, mut f: impl FnMut(Answer) -> Result<()>) -> Result<()> {
    let found = columns(path)?;
    let Some(code) = CODES.iter().find(|c| found.iter().any(|f| f == *c)) else {
        return Err(no_column(path, CODES[0], &found, "").into());
    };
    each_slice(path, &[code, ANSWER], |slice| {
        for row in 0..slice.rows {
            let concept = slice.text(code, row)?;
            let concept = concept.ok_or_else(|| slice.bad(code, row, "it is null"))?;
            f(Answer {
                row: slice.number(row),
                code: concept.to_owned(),
                text: slice.text(ANSWER, row)?.unwrap_or_default().to_owned(),
            })?;
        }
        Ok(())
    })
}

fn no_column(path: &Path, column: &str, found: &[String], hint: &str) -> BadInput {
    BadInput(format!(
        "{}: the column `{column}` is missing; the table has {}{hint}",
        path.display(),
        found.join(", ")
    ))
}

/// Some rows of a table.
struct Slice<'a> {
    path: &'a Path,
    first: usize,
    rows: usize,
    /// Text as text, whole numbers as 64-bit ones, lists as they are; each with the column as it stood in the file.
    columns: Vec<(&'a str, Column, Column)>,
}

/// Pieces of a table.
struct Frames {
    path: PathBuf,
    wanted: Vec<String>,
    /// Rows read, and all there are.
    next: usize,
    total: usize,
}

impl Frames {
    fn new(path: &Path, wanted: &[&str]) -> Result<Self> {
        let total = ParquetReader::new(open(path)?).num_rows();
        Ok(Frames {
            path: path.to_owned(),
            wanted: wanted.iter().map(|name| (*name).to_owned()).collect(),
            next: 0,
            total: total.map_err(failed(path))?,
        })
    }

    /// The next rows, and the number of those before them; `None` at the end.
    fn next_frame(&mut self) -> Result<Option<(usize, DataFrame)>> {
        if self.next >= self.total {
            return Ok(None);
        }
        let first = self.next;
        self.next += GROUP_ROWS;
        let frame = ParquetReader::new(open(&self.path)?)
            .with_columns(Some(self.wanted.clone()))
            .with_slice(Some((first, GROUP_ROWS)))
            .finish()
            .map_err(failed(&self.path))?;
        Ok(Some((first, frame)))
    }
}

/// Calls `f` with pieces of a table, the columns in the types that they should have.
fn each_slice(
    path: &Path,
    wanted: &[&str],
    mut f: impl FnMut(&Slice<'_>) -> Result<()>,
) -> Result<()> {
    let mut frames = Frames::new(path, wanted)?;
    while let Some((first, frame)) = frames.next_frame()? {
        f(&Slice::new(path, first, &frames.wanted, &frame)?)?;
    }
    Ok(())
}

fn bad(path: &Path, row: usize, column: &str, what: &str) -> BadInput {
    BadInput(format!(
        "{}, row {row}, column `{column}`: {what}",
        path.display()
    ))
}

impl<'a> Slice<'a> {
    fn new(path: &'a Path, first: usize, wanted: &'a [String], frame: &DataFrame) -> Result<Self> {
        let columns = wanted.iter().map(|name| {
            let column = frame.column(name).map_err(failed(path))?;
            let to = match name.as_str() {
                "start_span" | "end_span" => DataType::Int64,
                "fragment_starts" | "fragment_ends" => DataType::List(Box::new(DataType::Int64)),
                _ => DataType::String,
            };
            let cast = column.cast(&to).map_err(|error| {
                BadInput(format!(
                    "{}, column `{name}`: a column of {} where {to} is due ({error})",
                    path.display(),
                    column.dtype()
                ))
            })?;
            Ok((name.as_str(), cast, column.clone()))
        });
        Ok(Slice {
            path,
            first,
            rows: frame.height(),
            columns: columns.collect::<Result<_>>()?,
        })
    }

    /// The document of a row.
    fn id(&self, row: usize) -> Result<&str> {
        let id = self.text("document_id", row)?;
        Ok(id.ok_or_else(|| self.bad("document_id", row, "it is null"))?)
    }

    /// The number of a row in the file, from 1.
    fn number(&self, row: usize) -> usize {
        self.first + row + 1
    }

    fn bad(&self, column: &str, row: usize, what: &str) -> BadInput {
        bad(self.path, self.number(row), column, what)
    }

    fn column(&self, name: &str) -> Option<(&Column, &Column)> {
        let found = self.columns.iter().find(|(column, ..)| *column == name);
        found.map(|(_, cast, column)| (cast, column))
    }

    fn text(&self, name: &str, row: usize) -> Result<Option<&str>> {
        let Some((cast, _)) = self.column(name) else {
            return Ok(None);
        };
        Ok(cast.str().map_err(failed(self.path))?.get(row))
    }

    /// A word out of few.
    fn word<T: FromStr<Err = syncabel_corpus::Error>>(
        &self,
        name: &str,
        row: usize,
    ) -> Result<Option<T>> {
        let text = self.text(name, row)?.filter(|text| !text.is_empty());
        let parsed = text.map(|text| {
            text.parse()
                .map_err(|e: T::Err| self.bad(name, row, &e.to_string()))
        });
        Ok(parsed.transpose()?)
    }

    fn document(&self, id: &str, text: &str, row: usize, language: Language) -> Result<Document> {
        let generator = self.text("generator", row)?.unwrap_or("unknown").to_owned();
        let origin = match self.text("origin", row)? {
            None | Some("" | "human") => Origin::Human,
            Some("synthetic") => Origin::Synthetic { generator },
            Some("predicted") => Origin::Predicted,
            Some(other) => {
                let what = format!("`{other}` is none of human, synthetic, predicted");
                return Err(self.bad("origin", row, &what).into());
            }
        };
        Ok(Document {
            id: id.to_owned(),
            text: text.to_owned(),
            language: self.word("language", row)?.unwrap_or(language),
            split: self.word::<Split>("split", row)?,
            origin,
            mentions: Vec::new(),
        })
    }

    /// The mention of a row; `None` for a document without mentions.
    fn mention(&self, row: usize) -> Result<Option<Mention>> {
        let Some(text) = self.text("span", row)? else {
            return Ok(None);
        };
        let starts = self.list("fragment_starts", row)?;
        let ends = self.list("fragment_ends", row)?;
        let spans = match (starts, ends) {
            (Some(starts), Some(ends)) if starts.len() == ends.len() => {
                let pairs = starts.into_iter().zip(ends);
                pairs
                    .map(|(start, end)| SpanChars::new(start, end))
                    .collect()
            }
            (Some(starts), Some(ends)) => {
                let what = format!("{} ends for {} starts", ends.len(), starts.len());
                return Err(self.bad("fragment_ends", row, &what).into());
            }
            _ => vec![SpanChars::new(
                self.chars("start_span", row)?,
                self.chars("end_span", row)?,
            )],
        };
        Ok(Some(Mention {
            id: self.text("mention_id", row)?.unwrap_or_default().to_owned(),
            spans,
            text: text.to_owned(),
            label: self.text("label", row)?.unwrap_or_default().to_owned(),
            gold: Gold::from_field(self.text("code", row)?.unwrap_or_default()),
        }))
    }

    fn chars(&self, name: &str, row: usize) -> Result<u32> {
        let number = self.column(name).map(|(cast, column)| {
            let number = cast.i64().map(|numbers| numbers.get(row));
            (number, column.get(row).map(|cell| cell.to_string()))
        });
        match number {
            Some((Ok(Some(number)), _)) if u32::try_from(number).is_ok() => Ok(number as u32),
            Some((_, cell)) => {
                let cell = cell.unwrap_or_else(|_| "nothing".to_owned());
                let what = format!("{cell} is no offset in characters");
                Err(self.bad(name, row, &what).into())
            }
            None => Err(self.bad(name, row, "there is none").into()),
        }
    }

    fn list(&self, name: &str, row: usize) -> Result<Option<Vec<u32>>> {
        let Some((cast, _)) = self.column(name) else {
            return Ok(None);
        };
        let lists = cast.list().map_err(failed(self.path))?;
        let Some(series) = lists.get_as_series(row) else {
            return Ok(None);
        };
        let numbers = series.i64().map_err(failed(self.path))?;
        let number = |number: Option<i64>| {
            let number = number.and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| {
                self.bad(name, row, "an entry is no offset in characters")
                    .into()
            })
        };
        numbers.iter().map(number).collect::<Result<_>>().map(Some)
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Bad input, unless the system is to blame.
fn failed(path: &Path) -> impl Fn(PolarsError) -> anyhow::Error + '_ {
    move |error| match error {
        PolarsError::IO { error, .. } if error.raw_os_error().is_some() => {
            anyhow::Error::new(std::io::Error::from(error.kind()))
                .context(format!("{}: {error}", path.display()))
        }
        error => BadInput(format!("{}: no usable Parquet: {error}", path.display())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::{IntoColumn, IntoSeries, NamedFrom, ParquetWriter, Series};
    use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions};

    const LINES: &str = concat!(
        r#"{"id":"é1","text":"Breast 🤒 and ovarian cancer.","language":"fr","split":"train","origin":{"synthetic":{"generator":"openai"}},"mentions":[{"id":"a","spans":[[0,6],[21,27]],"text":"Breast cancer","label":"Disorders","gold":[["A","B"],["C"]]},{"id":"b","spans":[[13,27]],"text":"ovarian cancer","label":"Disorders","gold":[]}]}"#,
        "\n",
        r#"{"id":"2","text":"Nothing here.","mentions":[]}"#,
        "\n"
    );

    fn folder() -> (tempfile::TempDir, Corpus) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.jsonl");
        std::fs::write(&path, LINES).unwrap();
        let read = syncabel_corpus::read(&path, CorpusFormat::Jsonl, &ReadOptions::default());
        (folder, read.unwrap().0)
    }

    /// A table of text columns and columns of 64-bit numbers, as pandas would write it.
    fn table(path: &Path, texts: &[(&str, &[&str])], numbers: &[(&str, &[Option<f64>])]) {
        let text = |(name, cells): &(&str, &[&str])| Series::new((*name).into(), *cells);
        let number = |(name, cells): &(&str, &[Option<f64>])| Series::new((*name).into(), *cells);
        let series: Vec<Series> = texts
            .iter()
            .map(text)
            .chain(numbers.iter().map(number))
            .collect();
        let rows = series[0].len();
        let columns = series.into_iter().map(Series::into_column).collect();
        let mut frame = DataFrame::new(rows, columns).unwrap();
        ParquetWriter::new(File::create(path).unwrap())
            .finish(&mut frame)
            .unwrap();
    }

    fn write(corpus: &Corpus, path: &Path) -> Result<()> {
        let mut writer = Writer::create(path)?;
        for document in &corpus.documents {
            writer.write(document)?;
        }
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read_back_and_is_the_same_twice() {
        let (folder, corpus) = folder();
        let path = folder.path().join("c.parquet");
        write(&corpus, &path).unwrap();
        assert_eq!(read(&path, &ReadOptions::default()).unwrap().0, corpus);
        let bytes = std::fs::read(&path).unwrap();
        write(&corpus, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "temporary files are gone");
    }

    #[test]
    fn rows_of_one_document_may_lie_apart_and_numbers_may_be_floats() {
        let (folder, _) = folder();
        let path = folder.path().join("t.parquet");
        let texts: [(&str, &[&str]); 4] = [
            ("document_id", &["1", "2", "1"]),
            ("text", &["gout, flu", "gout", "gout, flu"]),
            ("span", &["gout", "gout", "flu"]),
            ("code", &["A", "A", "B"]),
        ];
        let ends: [(&str, &[Option<f64>]); 2] = [
            ("start_span", &[Some(0.0), Some(0.0), Some(6.0)]),
            ("end_span", &[Some(4.0), Some(4.0), Some(9.0)]),
        ];
        table(&path, &texts, &ends);
        let (corpus, report) = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!((report.documents, report.mentions), (2, 3));
        assert_eq!(corpus.documents[0].mentions[1].gold, Gold::one("B"));
        assert_eq!(corpus.documents[0].mentions[1].id, "1.2");

        let refused = |texts: &[(&str, &[&str])], ends: &[(&str, &[Option<f64>])]| {
            table(&path, texts, ends);
            read(&path, &ReadOptions::default())
                .unwrap_err()
                .to_string()
        };
        let bad = [("start_span", &[Some(0.0), None, Some(6.0)][..]), ends[1]];
        let message = refused(&texts, &bad);
        assert!(
            message.contains("t.parquet, row 2, column `start_span`"),
            "{message}"
        );
        let bad = [
            ("start_span", &[Some(0.0), Some(1.0), Some(6.0)][..]),
            ends[1],
        ];
        let message = refused(&texts, &bad);
        assert!(message.contains("t.parquet, row 2: span 1-4"), "{message}");
        let mut other = texts;
        other[1] = ("text", &["gout, flu", "gout", "other"]);
        let message = refused(&other, &ends);
        assert!(
            message.contains("row 3, column `text`") && message.contains("row 1"),
            "{message}"
        );
        let message = refused(&texts[..3], &ends);
        assert!(message.contains("column `code` is missing"), "{message}");
    }

    /// A column of lists of structs, one list a row.
    fn structs(name: &str, fields: Vec<Series>) -> Series {
        let fields = fields.into_iter().map(Series::into_column);
        let fields: Vec<Column> = fields.collect();
        let rows = fields[0].len();
        let table = DataFrame::new(rows, fields).unwrap();
        let inner = table.into_struct("".into()).into_series();
        Series::new(name.into(), [inner])
    }

    #[test]
    fn nested_tables_in_bigbios_schema_are_read() {
        let (folder, _) = folder();
        let path = folder.path().join("nested.parquet");
        let list = |name: &str, items: &[Series]| Series::new(name.into(), items);
        let numbers = |numbers: &[i32]| Series::new("".into(), numbers);
        let texts = |texts: &[&str]| Series::new("".into(), texts);
        let offsets = |pairs: &[[i32; 2]]| {
            let pairs: Vec<Series> = pairs.iter().map(|p| numbers(p)).collect();
            list("", &pairs)
        };
        let write = |end: i32| {
            let passages = structs(
                "passages",
                vec![
                    Series::new("id".into(), ["t"]),
                    list("text", &[texts(&["L'été, gout and flu."])]),
                    list("offsets", &[offsets(&[[0, 20]])]),
                ],
            );
            let codes = |code: &str| {
                structs("", vec![Series::new("db_id".into(), [code])])
                    .list()
                    .unwrap()
                    .get_as_series(0)
                    .unwrap()
            };
            let entities = structs(
                "entities",
                vec![
                    Series::new("id".into(), [Some("a"), None]),
                    Series::new("type".into(), ["D", "D"]),
                    list("text", &[texts(&["gout"]), texts(&["flu"])]),
                    list("offsets", &[offsets(&[[7, end]]), offsets(&[[16, 19]])]),
                    list("normalized", &[codes("A"), codes("B+C")]),
                ],
            );
            let id = Series::new("document_id".into(), ["d"]);
            let columns = [id, passages, entities].map(Series::into_column);
            let mut frame = DataFrame::new(1, columns.into()).unwrap();
            ParquetWriter::new(File::create(&path).unwrap())
                .finish(&mut frame)
                .unwrap();
        };
        write(11);
        let (corpus, _) = read(&path, &ReadOptions::default()).unwrap();
        let mentions = &corpus.documents[0].mentions;
        assert_eq!(
            (
                mentions[0].text.as_str(),
                mentions[0].gold.to_field().as_str()
            ),
            ("gout", "A")
        );
        assert_eq!(
            (
                mentions[1].id.as_str(),
                mentions[1].gold.to_field().as_str()
            ),
            ("d.2", "B+C")
        );
        write(13);
        let message = read(&path, &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("nested.parquet, row 1: span 7-13"),
            "{message}"
        );
    }

    #[test]
    fn answers_are_handed_out_and_other_files_refused() {
        let (folder, _) = folder();
        let path = folder.path().join("sample_0.parquet");
        let texts: [(&str, &[&str]); 2] = [("CUI", &["C1", "C2"]), (ANSWER, &["[a] b", "FAIL"])];
        table(&path, &texts, &[]);
        let mut answers = Vec::new();
        each_answer(&path, |answer| {
            answers.push(answer);
            Ok(())
        })
        .unwrap();
        assert_eq!(answers[1].row, 2);
        assert_eq!(
            (answers[1].code.as_str(), answers[0].text.as_str()),
            ("C2", "[a] b")
        );
        let message = read(&path, &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(message.contains("`import`"), "{message}");

        std::fs::write(&path, "PAR1 no").unwrap();
        let error = read(&path, &ReadOptions::default()).unwrap_err();
        assert_eq!(crate::error::exit_code(&error), 2, "{error:#}");
    }
}
