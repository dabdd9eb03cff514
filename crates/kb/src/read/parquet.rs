//! The terminology table in Parquet: the columns of `docs/tsv.md`, each a string or a list of
//! strings. A string column is cut at bars as in the TSV, a list column is taken as it is.

use std::fs::File;
use std::path::Path;

use polars::prelude::{Column, DataFrame, DataType, ParquetReader, SerReader};

use super::Concepts;
use super::lines::Place;
use super::record::Record;
use super::tsv::{check_header, values};
use crate::Error;

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let table = ParquetReader::new(file)
        .finish()
        .map_err(|error| problem(path, error))?;
    let columns = columns(path, &table)?;
    let mut read = Concepts::default();
    for row in 0..table.height() {
        let place = Place {
            path,
            line: row + 1,
        };
        let mut record = Record::default();
        for (name, cells) in &columns {
            record.set(name, cells[row].clone());
        }
        read.concepts
            .push(record.into_concept(place, default_group)?);
    }
    Ok(read)
}

/// The values of a column, row by row.
type Cells = Vec<Vec<String>>;

fn columns(path: &Path, table: &DataFrame) -> Result<Vec<(String, Cells)>, Error> {
    let header: Vec<String> = table
        .get_column_names()
        .into_iter()
        .map(|name| name.to_string())
        .collect();
    check_header(Place { path, line: 1 }, &header)?;
    header
        .into_iter()
        .zip(table.columns())
        .map(|(name, column)| Ok((name.clone(), cells(path, &name, column)?)))
        .collect()
}

fn cells(path: &Path, name: &str, column: &Column) -> Result<Cells, Error> {
    let to_error = |error| problem(path, error);
    let wrong = || Error::FieldType {
        at: Place { path, line: 1 }.location(),
        field: name.to_owned(),
        expected: "a column of strings or of lists of strings",
    };
    match column.dtype() {
        DataType::String => {
            let texts = column.str().map_err(to_error)?;
            Ok(texts
                .iter()
                .map(|cell| cell.map_or_else(Vec::new, |text| values(name, text)))
                .collect())
        }
        DataType::Null => Ok(vec![Vec::new(); column.len()]),
        // Of several codes or preferred names all but one would be lost.
        DataType::List(_) if matches!(name, "code" | "name") => Err(Error::FieldType {
            at: Place { path, line: 1 }.location(),
            field: name.to_owned(),
            expected: "a column of strings, one a row",
        }),
        DataType::List(inner) if **inner == DataType::String => {
            let lists = column.list().map_err(to_error)?;
            (0..column.len())
                .map(|row| match lists.get_as_series(row) {
                    None => Ok(Vec::new()),
                    Some(list) => {
                        let texts = list.str().map_err(to_error)?;
                        Ok(texts.iter().flatten().map(str::to_owned).collect())
                    }
                })
                .collect()
        }
        _ => Err(wrong()),
    }
}

fn problem(path: &Path, error: polars::error::PolarsError) -> Error {
    Error::Parquet {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::{IntoColumn, NamedFrom, ParquetWriter, Series};

    use super::*;

    fn write(path: &Path, columns: Vec<Series>) {
        let rows = columns[0].len();
        let columns = columns.into_iter().map(Series::into_column).collect();
        let mut table = DataFrame::new(rows, columns).unwrap();
        let file = File::create(path).unwrap();
        ParquetWriter::new(file).finish(&mut table).unwrap();
    }

    #[test]
    fn strings_and_lists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kb.parquet");
        let types = [
            Series::new("".into(), ["T1", "T2"]),
            Series::new("".into(), [] as [&str; 0]),
        ];
        write(
            &path,
            vec![
                Series::new("code".into(), ["C1", "C2"]),
                Series::new("name".into(), ["Asthma", "Flu"]),
                Series::new("synonyms".into(), [Some("Asthmas|Wheeze"), None]),
                Series::new("semantic_type".into(), types),
            ],
        );
        let concepts = read(&path, Some("Disease")).unwrap().concepts;
        assert_eq!(concepts[0].names, ["Asthma", "Asthmas", "Wheeze"]);
        assert_eq!(concepts[0].semantic_types, ["T1", "T2"]);
        assert_eq!(concepts[1].names, ["Flu"]);
        assert!(concepts[1].semantic_types.is_empty());
        assert_eq!(concepts[1].location.line, 2);
    }

    #[test]
    fn bad_columns_and_bad_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kb.parquet");
        write(&path, vec![Series::new("code".into(), ["C1"])]);
        assert!(matches!(
            read(&path, None),
            Err(Error::MissingColumn { .. })
        ));
        let name = Series::new("name".into(), ["x"]);
        write(&path, vec![Series::new("code".into(), [1i32]), name]);
        assert!(matches!(read(&path, None), Err(Error::FieldType { .. })));
        std::fs::write(&path, b"PAR1 no").unwrap();
        assert!(matches!(read(&path, None), Err(Error::Parquet { .. })));
    }
}
