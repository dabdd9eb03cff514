//! The terminology table; the format is described in `docs/tsv.md`.

use std::path::Path;

use super::Concepts;
use super::lines::{Place, for_each_line};
use super::record::{FIELDS, REQUIRED, Record, nearest_field};
use crate::Error;

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let mut header: Vec<String> = Vec::new();
    let mut read = Concepts::default();
    for_each_line(path, |place, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let fields = line.split('\t');
        if header.is_empty() {
            if line.starts_with('#') {
                return Err(place.comment());
            }
            header = fields.map(|field| field.trim().to_owned()).collect();
            return check_header(place, &header);
        }
        let fields: Vec<&str> = fields.collect();
        if fields.len() != header.len() {
            return Err(Error::FieldCount {
                path: path.to_owned(),
                line: place.line,
                expected: format!("{} (one for each column of the header)", header.len()),
                found: fields.len(),
            });
        }
        let mut record = Record::default();
        for (column, field) in header.iter().zip(fields) {
            record.set(column, values(column, field));
        }
        read.concepts
            .push(record.into_concept(place, default_group)?);
        Ok(())
    })?;
    Ok(read)
}

/// Refuses a header with a column too many, twice, or missing. Parquet schemas pass through too.
pub(super) fn check_header(place: Place<'_>, header: &[String]) -> Result<(), Error> {
    let path = || place.path.to_owned();
    for column in REQUIRED {
        if !header.iter().any(|found| found == column) {
            return Err(Error::MissingColumn {
                path: path(),
                column,
                found: header.join(", "),
            });
        }
    }
    for (index, column) in header.iter().enumerate() {
        if !FIELDS.contains(&column.as_str()) {
            return Err(Error::UnknownField {
                path: path(),
                line: place.line,
                field: column.clone(),
                nearest: nearest_field(column),
            });
        }
        if header[..index].contains(column) {
            return Err(Error::RepeatedColumn {
                path: path(),
                column: column.clone(),
            });
        }
    }
    Ok(())
}

/// The values of a field: at the bars, except where a bar is just a bar.
pub(super) fn values(column: &str, field: &str) -> Vec<String> {
    if field.trim().is_empty() {
        return Vec::new();
    }
    match column {
        "code" | "name" | "definition" => vec![field.to_owned()],
        _ => field.split('|').map(str::to_owned).collect(),
    }
}
