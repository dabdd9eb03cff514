//! Prediction files and tables as Parquet, with the columns of the tab-separated form.

use std::fs::File;
use std::path::Path;

use polars::prelude::{
    Column, DataFrame, DataType, NamedFrom, ParquetReader, ParquetWriter, SerReader, Series,
};
use syncabel_corpus::predictions::{COLUMNS, Candidate, Prediction};

use crate::Error;
use crate::tables::Table;

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

/// Reads a prediction file. Columns may have any type that can be written as text; null is an empty cell.
///
/// # Errors
/// [`Error::Io`] and [`Error::Parquet`]: no Parquet, a required column is missing, a cell is no number where one is due.
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let frame = ParquetReader::new(file).finish().map_err(failed(path))?;
    let columns: Vec<(String, Vec<Option<String>>)> = frame
        .columns()
        .iter()
        .map(|column| texts(path, column))
        .collect::<Result<_, _>>()?;
    if let Some(column) = REQUIRED
        .into_iter()
        .find(|c| columns.iter().all(|(name, _)| name != c))
    {
        let found: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let reason = format!(
            "the column `{column}` is missing; the file has {}",
            found.join(", ")
        );
        return Err(Error::Parquet {
            path: path.to_path_buf(),
            reason,
        });
    }
    (0..frame.height())
        .map(|row| {
            Row {
                path,
                columns: &columns,
                row,
            }
            .prediction()
        })
        .collect()
}

/// Writes a prediction file: spans as `u32`, scores as `f64` with null for unknown, everything else as text.
///
/// # Errors
/// [`Error::Io`], [`Error::Parquet`].
pub fn write_predictions(path: &Path, predictions: &[Prediction]) -> Result<(), Error> {
    let text = |name: &str, cell: &dyn Fn(&Prediction) -> String| {
        Column::from(Series::new(
            name.into(),
            predictions.iter().map(cell).collect::<Vec<_>>(),
        ))
    };
    let spans = |name: &str, cell: &dyn Fn(&Prediction) -> u32| {
        Column::from(Series::new(
            name.into(),
            predictions.iter().map(cell).collect::<Vec<_>>(),
        ))
    };
    let numbers = |name: &str, cell: &dyn Fn(&Prediction) -> Option<f64>| {
        let cells: Vec<Option<f64>> = predictions
            .iter()
            .map(|p| cell(p).filter(|x| x.is_finite()))
            .collect();
        Column::from(Series::new(name.into(), cells))
    };
    let mut columns = vec![
        text("filename", &|p| p.filename.clone()),
        text("mention_id", &|p| p.mention_id.clone()),
        text("label", &|p| p.label.clone()),
        spans("start_span", &|p| p.start_span),
        spans("end_span", &|p| p.end_span),
        text("span", &|p| p.span.clone()),
        text("code", &|p| p.code.clone()),
        text("semantic_rel", &|p| p.semantic_rel.clone()),
        text("annotation", &|p| p.annotation.clone()),
        text("sentence", &|p| p.sentence.clone()),
        text("Prediction", &|p| p.prediction.clone()),
        numbers("Prediction_score", &|p| Some(p.prediction_score)),
        numbers("Prediction_beam_score", &|p| Some(p.prediction_beam_score)),
        text("Predicted_code", &|p| p.predicted_code.clone()),
        text("Candidates", &|p| candidates_to_json(&p.candidates)),
        numbers("Probability", &|p| p.probability),
        numbers("Margin", &|p| p.margin),
    ];
    debug_assert_eq!(columns.len(), COLUMNS.len());
    let mut extra: Vec<&str> = Vec::new();
    for (name, _) in predictions.iter().flat_map(|p| &p.extra) {
        if !extra.contains(&name.as_str()) {
            extra.push(name);
        }
    }
    for name in extra {
        let value = |p: &Prediction| {
            p.extra
                .iter()
                .find(|(n, _)| n == name)
                .map_or(String::new(), |(_, v)| v.clone())
        };
        columns.push(text(name, &value));
    }
    write(path, predictions.len(), columns)
}

/// Writes a table, every column as text.
///
/// # Errors
/// [`Error::Io`], [`Error::Parquet`].
pub fn write_table(path: &Path, table: &Table) -> Result<(), Error> {
    let column = |(index, name): (usize, &String)| {
        let cells: Vec<&str> = table.rows().iter().map(|row| row[index].as_str()).collect();
        Column::from(Series::new(name.as_str().into(), cells))
    };
    write(
        path,
        table.rows().len(),
        table.columns.iter().enumerate().map(column).collect(),
    )
}

fn write(path: &Path, rows: usize, columns: Vec<Column>) -> Result<(), Error> {
    let mut frame = DataFrame::new(rows, columns).map_err(failed(path))?;
    let file = File::create(path).map_err(Error::io(path))?;
    ParquetWriter::new(file)
        .finish(&mut frame)
        .map_err(failed(path))?;
    Ok(())
}

fn texts(path: &Path, column: &Column) -> Result<(String, Vec<Option<String>>), Error> {
    let cast = column.cast(&DataType::String).map_err(failed(path))?;
    let cells = cast.str().map_err(failed(path))?;
    Ok((
        column.name().to_string(),
        cells.iter().map(|cell| cell.map(str::to_owned)).collect(),
    ))
}

fn candidates_to_json(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return String::new();
    }
    serde_json::to_string(candidates).expect("strings and numbers always serialise")
}

fn failed(path: &Path) -> impl Fn(polars::error::PolarsError) -> Error + '_ {
    move |error| Error::Parquet {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

/// One row of text cells.
struct Row<'a> {
    path: &'a Path,
    columns: &'a [(String, Vec<Option<String>>)],
    row: usize,
}

impl Row<'_> {
    fn prediction(&self) -> Result<Prediction, Error> {
        let text = |name: &str| self.cell(name).unwrap_or_default().to_owned();
        let candidates = match self.cell("Candidates") {
            None => Vec::new(),
            Some(json) => {
                serde_json::from_str(json).map_err(|_| self.bad("Candidates", "a JSON list"))?
            }
        };
        let extra = self
            .columns
            .iter()
            .filter(|(name, _)| !COLUMNS.contains(&name.as_str()));
        Ok(Prediction {
            filename: text("filename"),
            mention_id: text("mention_id"),
            label: text("label"),
            start_span: self.chars("start_span")?,
            end_span: self.chars("end_span")?,
            span: text("span"),
            code: text("code"),
            semantic_rel: text("semantic_rel"),
            annotation: text("annotation"),
            sentence: text("sentence"),
            prediction: text("Prediction"),
            prediction_score: self.number("Prediction_score")?.unwrap_or(f64::NAN),
            prediction_beam_score: self.number("Prediction_beam_score")?.unwrap_or(f64::NAN),
            predicted_code: text("Predicted_code"),
            candidates,
            probability: self.number("Probability")?,
            margin: self.number("Margin")?,
            extra: extra
                .map(|(name, cells)| (name.clone(), cells[self.row].clone().unwrap_or_default()))
                .collect(),
        })
    }

    fn cell(&self, name: &str) -> Option<&str> {
        let (_, cells) = self.columns.iter().find(|(column, _)| column == name)?;
        cells[self.row].as_deref().filter(|cell| !cell.is_empty())
    }

    fn chars(&self, name: &str) -> Result<u32, Error> {
        let cell = self.cell(name).unwrap_or_default();
        cell.strip_suffix(".0")
            .unwrap_or(cell)
            .parse()
            .map_err(|_| self.bad(name, "an offset in characters"))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        self.cell(name)
            .map(|cell| cell.parse().map_err(|_| self.bad(name, "a number")))
            .transpose()
    }

    fn bad(&self, column: &str, expected: &str) -> Error {
        let found = self.cell(column).unwrap_or_default();
        let reason = format!(
            "row {}, column `{column}`: expected {expected}, got `{found}`",
            self.row + 1
        );
        Error::Parquet {
            path: self.path.to_path_buf(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.parquet");
        let rows = vec![
            Prediction {
                filename: "é1".into(),
                start_span: 3,
                end_span: 9,
                prediction_score: 0.25,
                prediction_beam_score: 0.5,
                predicted_code: "NIL".into(),
                candidates: vec![Candidate {
                    name: "Gout".into(),
                    code: "D1".into(),
                    score: -0.5
                }],
                margin: Some(0.125),
                extra: vec![("LLM_Evaluation".into(), "BROAD".into())],
                ..Prediction::default()
            };
            2
        ];
        write_predictions(&path, &rows).unwrap();
        assert_eq!(read_predictions(&path).unwrap(), rows);
    }

    #[test]
    fn a_table_is_no_prediction_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut table = Table::new("t", vec!["strategy".into()]);
        table.push(vec!["human_only".into()]).unwrap();
        write_table(&path, &table).unwrap();
        let error = read_predictions(&path).unwrap_err().to_string();
        assert!(
            error.contains("`filename` is missing") && error.contains("strategy"),
            "{error}"
        );
    }
}
