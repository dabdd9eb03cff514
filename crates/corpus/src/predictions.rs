//! Prediction files: tab-separated, with header, the columns of the authors' released files and ours on top.
//!
//! | column | read as | if the column is missing |
//! |---|---|---|
//! | `filename`, `span`, `code`, `Predicted_code`, `label` | text | error |
//! | `start_span`, `end_span` | characters | error |
//! | `mention_id`, `semantic_rel`, `annotation`, `sentence`, `Prediction` | text | empty |
//! | `Prediction_score`, `Prediction_beam_score` | number; an empty cell is NaN | NaN |
//! | `Candidates` | JSON list of `{"name", "code", "score"}`, best first | no candidates |
//! | `Probability`, `Margin` | number or empty | none |
//! | any other | kept as it is, in file order | |
//!
//! Cells are quoted as CSV quotes (`"` around, `""` inside) where they hold a tab, a quote or a line break. A byte order
//! mark, `\r\n` and gzip are accepted.

mod rows;
mod write;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Location};
use rows::Records;

pub use write::{TsvWriter, write_tsv};

/// One answer the search came up with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The KB name.
    pub name: String,
    /// Its concept's code.
    pub code: String,
    /// Its score, higher is better.
    pub score: f64,
}

/// One row of a prediction file: a mention, its gold, and what was predicted for it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Prediction {
    /// Document id.
    pub filename: String,
    /// Mention id; empty where the file has none.
    pub mention_id: String,
    /// The mention's label.
    pub label: String,
    /// First character of the first fragment.
    pub start_span: u32,
    /// One past the last character of the last fragment.
    pub end_span: u32,
    /// The mention's text.
    pub span: String,
    /// Gold, in the form of [`crate::Gold::to_field`].
    pub code: String,
    /// `EXACT`, `COMPOSITE`, or another word of the corpus.
    pub semantic_rel: String,
    /// The name or names that training would have asked for.
    pub annotation: String,
    /// The marked sentence.
    pub sentence: String,
    /// The predicted name or names.
    pub prediction: String,
    /// Exponential of the mean log-probability of the predicted tokens; NaN if unknown.
    pub prediction_score: f64,
    /// Exponential of the beam score; NaN if unknown.
    pub prediction_beam_score: f64,
    /// The predicted code, `NIL` for none.
    pub predicted_code: String,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Calibrated probability of being right.
    pub probability: Option<f64>,
    /// Lead over the next concept.
    pub margin: Option<f64>,
    /// Further columns, in file order.
    pub extra: Vec<(String, String)>,
}

/// Column names in file order, as they are written.
pub const COLUMNS: [&str; 17] = [
    "filename",
    "mention_id",
    "label",
    "start_span",
    "end_span",
    "span",
    "code",
    "semantic_rel",
    "annotation",
    "sentence",
    "Prediction",
    "Prediction_score",
    "Prediction_beam_score",
    "Predicted_code",
    "Candidates",
    "Probability",
    "Margin",
];

/// Columns without which a file is no prediction file.
const REQUIRED: [&str; 7] = [
    "filename",
    "label",
    "start_span",
    "end_span",
    "span",
    "code",
    "Predicted_code",
];

/// Reads a whole prediction file.
///
/// # Errors
/// With file, line and column: an empty file, a missing column, a row with another number of cells than the header, a cell
/// that is no number where one is due, a quote that is never closed, bad UTF-8.
pub fn read_tsv(path: &Path) -> Result<Vec<Prediction>, Error> {
    let mut reader = Reader::open(path)?;
    let mut predictions = Vec::new();
    while let Some(row) = reader.next_row()? {
        predictions.push(row);
    }
    Ok(predictions)
}

/// Streams the rows of a prediction file: memory is one row.
///
/// ```
/// use syncabel_corpus::predictions::{Prediction, Reader};
/// # let path = std::env::temp_dir().join(format!("syncabel-rows-{}.tsv", std::process::id()));
/// # std::fs::write(&path, "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code\nd\tD\t0\t4\tgout\tA\tA\n").unwrap();
/// let mut reader = Reader::open(&path)?;
/// let mut row = Prediction::default();
/// let mut right = 0;
/// while reader.read(&mut row)? {
///     right += usize::from(row.code == row.predicted_code);
/// }
/// assert_eq!(right, 1);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), syncabel_corpus::Error>(())
/// ```
pub struct Reader {
    records: Records,
    header: Header,
}

impl Reader {
    /// Opens a file, gzip or not, and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Empty`], [`Error::MissingColumn`], [`Error::Structure`] for a column that stands twice.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut records = Records::open(path)?;
        let found = records.read()?;
        if !found || (0..records.len()).all(|i| records.cell(i).trim().is_empty()) {
            return Err(Error::Empty {
                path: path.to_path_buf(),
            });
        }
        let names: Vec<String> = (0..records.len())
            .map(|i| records.cell(i).to_owned())
            .collect();
        let header = Header::new(path, names)?;
        Ok(Reader { records, header })
    }

    /// Reads the next row into `row`, whose memory is used again; false at the end of the file.
    ///
    /// # Errors
    /// As [`read_tsv`].
    pub fn read(&mut self, row: &mut Prediction) -> Result<bool, Error> {
        if !self.records.read()? {
            return Ok(false);
        }
        self.header.fill(&self.records, row)?;
        Ok(true)
    }

    /// Line at which the row read last began, from 1, and the file.
    pub fn at(&self) -> Location {
        self.records.at()
    }

    /// Line at which the row read last began, from 1.
    pub fn line(&self) -> usize {
        self.records.row_line()
    }

    /// Column names, in file order.
    pub fn columns(&self) -> &[String] {
        &self.header.names
    }

    fn next_row(&mut self) -> Result<Option<Prediction>, Error> {
        let mut row = Prediction::default();
        Ok(self.read(&mut row)?.then_some(row))
    }
}

/// Where each column of ours stands in the file.
struct Header {
    names: Vec<String>,
    /// Position in the file of `COLUMNS[i]`.
    ours: [Option<usize>; COLUMNS.len()],
    /// Positions of the other columns.
    extra: Vec<usize>,
}

impl Header {
    fn new(path: &Path, names: Vec<String>) -> Result<Self, Error> {
        let find = |column: &str| names.iter().position(|name| name == column);
        if let Some(column) = REQUIRED.into_iter().find(|column| find(column).is_none()) {
            return Err(Error::MissingColumn {
                path: path.to_path_buf(),
                column,
                found: names.join(", "),
            });
        }
        if let Some((_, twice)) = names
            .iter()
            .enumerate()
            .find(|(i, name)| find(name).is_some_and(|first| first < *i))
        {
            return Err(Error::Structure {
                at: Location::line(path, 1),
                problem: format!(
                    "the column {twice:?} stands twice in the header; rename or remove one"
                ),
            });
        }
        let ours = COLUMNS.map(find);
        let extra = (0..names.len())
            .filter(|i| !ours.contains(&Some(*i)))
            .collect();
        Ok(Header { names, ours, extra })
    }

    fn fill(&self, cells: &Records, prediction: &mut Prediction) -> Result<(), Error> {
        if cells.len() != self.names.len() {
            return Err(self.wrong_count(cells));
        }
        let row = Row {
            header: self,
            cells,
        };
        let text = |column: usize, into: &mut String| {
            into.clear();
            into.push_str(row.cell(column));
        };
        text(0, &mut prediction.filename);
        text(1, &mut prediction.mention_id);
        text(2, &mut prediction.label);
        prediction.start_span = row.chars(3)?;
        prediction.end_span = row.chars(4)?;
        text(5, &mut prediction.span);
        text(6, &mut prediction.code);
        text(7, &mut prediction.semantic_rel);
        text(8, &mut prediction.annotation);
        text(9, &mut prediction.sentence);
        text(10, &mut prediction.prediction);
        prediction.prediction_score = row.number(11)?.unwrap_or(f64::NAN);
        prediction.prediction_beam_score = row.number(12)?.unwrap_or(f64::NAN);
        text(13, &mut prediction.predicted_code);
        prediction.candidates = row.candidates(14)?;
        prediction.probability = row.number(15)?;
        prediction.margin = row.number(16)?;
        prediction
            .extra
            .resize_with(self.extra.len(), Default::default);
        for (&column, (name, value)) in self.extra.iter().zip(&mut prediction.extra) {
            if *name != self.names[column] {
                name.clone_from(&self.names[column]);
            }
            value.clear();
            value.push_str(cells.cell(column));
        }
        Ok(())
    }

    /// A row with another number of cells than the header; a quoted cell over several lines is the usual suspect.
    fn wrong_count(&self, cells: &Records) -> Error {
        let expected = format!("{}, as many as the header has columns", self.names.len());
        if cells.row_lines() > 1
            && let Some(index) = (0..cells.len()).find(|&i| cells.cell(i).contains('\n'))
        {
            let column = self.names.get(index).map_or("", String::as_str);
            return Error::Structure {
                at: cells.at(),
                problem: format!(
                    "{} tab-separated fields, expected {expected}; the quote that opens column {column} closes only {} lines further on: put quotes around the whole cell and write a quote inside it twice",
                    cells.len(),
                    cells.row_lines() - 1
                ),
            };
        }
        Error::FieldCount {
            at: cells.at(),
            found: cells.len(),
            expected,
        }
    }
}

/// A row of cells; columns are named by their index in [`COLUMNS`].
struct Row<'a> {
    header: &'a Header,
    cells: &'a Records,
}

impl Row<'_> {
    fn cell(&self, column: usize) -> &str {
        self.header.ours[column].map_or("", |i| self.cells.cell(i))
    }

    fn chars(&self, column: usize) -> Result<u32, Error> {
        let cell = self.cell(column).trim();
        // Data-frame tools turn a column of integers with gaps into `12.0`.
        let digits = cell.strip_suffix(".0").unwrap_or(cell);
        digits
            .parse()
            .map_err(|_| self.bad(column, "an offset in characters"))
    }

    fn number(&self, column: usize) -> Result<Option<f64>, Error> {
        match self.cell(column).trim() {
            "" => Ok(None),
            cell => cell
                .parse()
                .map(Some)
                .map_err(|_| self.bad(column, "a number")),
        }
    }

    fn candidates(&self, column: usize) -> Result<Vec<Candidate>, Error> {
        match self.cell(column).trim() {
            "" => Ok(Vec::new()),
            cell => serde_json::from_str(cell)
                .map_err(|_| self.bad(column, "a JSON list of objects with name, code and score")),
        }
    }

    fn bad(&self, column: usize, expected: &'static str) -> Error {
        Error::Cell {
            at: self.cells.at(),
            column: COLUMNS[column].to_owned(),
            value: self.cell(column).to_owned(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.tsv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn error_of(text: impl AsRef<[u8]>) -> String {
        let (_dir, path) = file(text);
        read_tsv(&path).unwrap_err().to_string()
    }

    fn prediction(i: u32) -> Prediction {
        Prediction {
            filename: format!("doc{i}"),
            mention_id: format!("doc{i}.1"),
            label: "Disease".into(),
            start_span: i,
            end_span: i + 4,
            span: "\"gout\"\tof\nyears, 𝛼".into(),
            code: "A+B|C".into(),
            sentence: "The [\"gout\"]{Disease}.".into(),
            prediction: "Gout".into(),
            prediction_score: 0.1 + f64::from(i),
            prediction_beam_score: 1e-7,
            predicted_code: "NIL".into(),
            candidates: vec![Candidate {
                name: "Gout".into(),
                code: "A".into(),
                score: -0.25,
            }],
            probability: Some(0.5),
            extra: vec![("LLM_Evaluation".into(), "BROAD".into())],
            ..Prediction::default()
        }
    }

    const MINIMAL: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code";

    #[test]
    fn missing_optional_columns_and_unknown_ones() {
        let (_dir, path) = file(format!(
            "\u{feff}{MINIMAL}\tJudge\r\nd\tD\t1\t5.0\tgout\tA\tB\tBROAD\r\n"
        ));
        let rows = read_tsv(&path).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (
                rows[0].filename.as_str(),
                rows[0].start_span,
                rows[0].end_span
            ),
            ("d", 1, 5)
        );
        assert!(
            rows[0].mention_id.is_empty()
                && rows[0].prediction_score.is_nan()
                && rows[0].candidates.is_empty()
        );
        assert_eq!(rows[0].extra, [("Judge".to_owned(), "BROAD".to_owned())]);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let row = "d\tD\t1\t5\tgout\tA\tB";
        assert!(
            error_of(format!("{MINIMAL}\n{row}\nd\tD\tx\t5\tgout\tA\tB\n"))
                .contains("p.tsv:3, column start_span: \"x\"")
        );
        assert!(
            error_of(format!("{MINIMAL}\n{row}\nd\tD\n"))
                .contains("p.tsv:3: 2 tab-separated fields")
        );
        assert!(error_of("filename\tspan\nd\tx\n").contains("no column \"label\""));
        assert!(
            error_of(format!("{MINIMAL}\tPrediction_score\n{row}\thigh\n"))
                .contains("column Prediction_score: \"high\"")
        );
        assert!(
            error_of(format!("{MINIMAL}\tCandidates\n{row}\t[1]\n")).contains("column Candidates")
        );
        assert!(error_of("").contains("is empty"));
        assert!(
            error_of(format!("{MINIMAL}\tcode\n{row}\tA\n"))
                .contains("p.tsv:1: the column \"code\" stands twice")
        );
        let open = error_of(format!(
            "{MINIMAL}\n{row}\nd\tD\t1\t5\t\"gout\tA\tB\n{row}\n"
        ));
        assert!(
            open.contains("p.tsv:3: the quote that opens cell 5"),
            "{open}"
        );
        let late = error_of(format!(
            "{MINIMAL}\n{row}\nd\tD\t1\t5\t\"gout\tA\tB\nd\tD\t1\t5\"\tgout\tA\tB\n{row}\n"
        ));
        assert!(
            late.contains("p.tsv:3: 8 tab")
                && late.contains("opens column span closes only 1 lines"),
            "{late}"
        );
        let mut bytes = format!("{MINIMAL}\nd\tD\t1\t5\tg").into_bytes();
        bytes.extend(b"\xff\tA\tB\n");
        let error = error_of(bytes);
        assert!(error.contains("p.tsv:2: not UTF-8 at byte 10"), "{error}");
    }

    #[test]
    fn a_quoted_line_break_does_not_disturb_line_numbers() {
        let error = error_of(format!(
            "{MINIMAL}\nd\tD\t1\t5\t\"go\nut\"\tA\tB\nd\tD\t?\t5\tgout\tA\tB\n"
        ));
        assert!(error.contains("p.tsv:4, column start_span"), "{error}");
    }

    #[test]
    fn round_trips_plain_and_gzip() {
        let rows: Vec<Prediction> = (0..3).map(prediction).collect();
        for name in ["p.tsv", "p.tsv.gz"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            write_tsv(&path, &rows).unwrap();
            assert_eq!(read_tsv(&path).unwrap(), rows);
        }
    }

    #[test]
    fn appending_drops_a_torn_row_wherever_it_was_torn() {
        let extra = ["LLM_Evaluation".to_owned()];
        let rows: Vec<Prediction> = (0..3).map(prediction).collect();
        let (_dir, path) = file("");
        let mut writer = TsvWriter::create(&path, &extra).unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        assert_eq!(writer.rows(), 3);
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut writer, done) = TsvWriter::append(&path, &extra).unwrap();
            assert!(done <= 3);
            rows[done..]
                .iter()
                .for_each(|row| writer.write(row).unwrap());
            writer.finish().unwrap();
            assert_eq!(
                std::fs::read(&path).unwrap(),
                whole,
                "torn after {length} bytes"
            );
        }
    }

    #[test]
    fn appending_to_another_table_is_refused() {
        let (_dir, path) = file(format!("{MINIMAL}\nd\tD\t1\t5\tgout\tA\tB\n"));
        let error = TsvWriter::append(&path, &[]).err().unwrap().to_string();
        assert!(error.contains("cannot append"), "{error}");
    }

    #[test]
    fn unannounced_extra_columns_are_refused() {
        let (_dir, path) = file("");
        let mut writer = TsvWriter::create(&path, &[]).unwrap();
        assert!(writer.write(&prediction(1)).is_err());
    }
}
