//! The MEDIC dictionary; the format is described in `docs/medic.md`.

use std::path::Path;

use super::Concepts;
use super::lines::{Place, for_each_line};
use crate::{Error, RawConcept};

/// The group of all concepts where no default is given: MEDIC is a vocabulary of diseases.
const GROUP: &str = "Disease";

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let group = default_group.unwrap_or(GROUP);
    let mut read = Concepts::default();
    for_each_line(path, |place, line| {
        if !line.trim().is_empty() {
            read.concepts.push(concept(place, line, group)?);
        }
        Ok(())
    })?;
    Ok(read)
}

fn concept(place: Place<'_>, line: &str, group: &str) -> Result<RawConcept, Error> {
    let Some((codes, names)) = line.split_once("||") else {
        if line.starts_with('#') {
            return Err(place.comment());
        }
        return Err(Error::FieldCount {
            path: place.path.to_owned(),
            line: place.line,
            expected: "2 (codes||names)".to_owned(),
            found: 1,
        });
    };
    let mut codes = codes.split('|').map(|code| code.trim().to_owned());
    let code = codes.next().unwrap_or_default();
    let alt_codes: Vec<String> = codes.collect();
    if code.is_empty() || alt_codes.iter().any(String::is_empty) {
        return Err(Error::MissingField {
            at: place.location(),
            field: "code",
        });
    }
    let names: Vec<String> = names.split('|').map(str::to_owned).collect();
    Ok(RawConcept {
        code,
        alt_codes,
        preferred_name: names.first().cloned().unwrap_or_default(),
        names,
        groups: vec![group.to_owned()],
        location: place.location(),
        ..RawConcept::default()
    })
}
