//! Terminology as JSON lines; the format is described in `docs/jsonl.md`.

use std::path::Path;

use serde_json::{Map, Value};

use super::Concepts;
use super::lines::{Place, for_each_line};
use super::record::{FIELDS, Record, nearest_field};
use crate::Error;

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let mut read = Concepts::default();
    for_each_line(path, |place, line| {
        if line.trim().is_empty() {
            return Ok(());
        }
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
            // serde_json knows one line only; its text ends in "at line 1 column 7".
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            place.syntax(format!("column {}: no JSON object: {what}", error.column()))
        })?;
        let record = record(place, object)?;
        read.concepts
            .push(record.into_concept(place, default_group)?);
        Ok(())
    })?;
    Ok(read)
}

fn record(place: Place<'_>, object: Map<String, Value>) -> Result<Record, Error> {
    let mut record = Record::default();
    for (field, value) in object {
        if !FIELDS.contains(&field.as_str()) {
            return Err(Error::UnknownField {
                path: place.path.to_owned(),
                line: place.line,
                nearest: nearest_field(&field),
                field,
            });
        }
        let values = strings(place, &field, value)?;
        record.set(&field, values);
    }
    Ok(record)
}

fn strings(place: Place<'_>, field: &str, value: Value) -> Result<Vec<String>, Error> {
    let single = matches!(field, "code" | "name");
    let wrong = || Error::FieldType {
        at: place.location(),
        field: field.to_owned(),
        expected: match single {
            true => "a string",
            false => "a string or a list of strings",
        },
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text]),
        Value::Array(items) if !single => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}
