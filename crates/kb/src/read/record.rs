//! What TSV, JSONL and Parquet have in common: the fields of a concept.

use super::lines::Place;
use crate::{Error, RawConcept};

/// The fields, by the names that headers and JSON objects use.
pub(super) const FIELDS: [&str; 8] = [
    "code",
    "name",
    "synonyms",
    "group",
    "semantic_type",
    "definition",
    "alt_codes",
    "parents",
];

/// The fields that no concept can do without.
pub(super) const REQUIRED: [&str; 2] = ["code", "name"];

/// The known field with the smallest edit distance; the first of several.
pub(super) fn nearest_field(field: &str) -> &'static str {
    let lower = field.to_lowercase();
    FIELDS
        .into_iter()
        .min_by_key(|known| strsim::levenshtein(known, &lower))
        .unwrap_or("code")
}

/// The fields of one concept, split into values but otherwise as written.
#[derive(Default)]
pub(super) struct Record {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) synonyms: Vec<String>,
    pub(super) group: Vec<String>,
    pub(super) semantic_type: Vec<String>,
    pub(super) definition: Vec<String>,
    pub(super) alt_codes: Vec<String>,
    pub(super) parents: Vec<String>,
}

impl Record {
    /// Puts the values of a field in place; `false` for a field that is not known.
    pub(super) fn set(&mut self, field: &str, mut values: Vec<String>) -> bool {
        match field {
            "code" => self.code = values.pop().unwrap_or_default(),
            "name" => self.name = values.pop().unwrap_or_default(),
            "synonyms" => self.synonyms = values,
            "group" => self.group = values,
            "semantic_type" => self.semantic_type = values,
            "definition" => self.definition = values,
            "alt_codes" => self.alt_codes = values,
            "parents" => self.parents = values,
            _ => return false,
        }
        true
    }

    pub(super) fn into_concept(
        self,
        place: Place<'_>,
        default_group: Option<&str>,
    ) -> Result<RawConcept, Error> {
        for (field, value) in [("code", &self.code), ("name", &self.name)] {
            if value.trim().is_empty() {
                return Err(Error::MissingField {
                    at: place.location(),
                    field,
                });
            }
        }
        let code = self.code.trim().to_owned();
        let groups = groups_or_default(self.group, default_group, place, &code)?;
        let mut names = Vec::with_capacity(self.synonyms.len() + 1);
        names.push(self.name.clone());
        names.extend(self.synonyms);
        Ok(RawConcept {
            code,
            alt_codes: self.alt_codes,
            preferred_name: self.name,
            names,
            groups,
            semantic_types: self.semantic_type,
            definitions: self.definition,
            parents: self.parents,
            location: place.location(),
        })
    }
}

/// The groups of a concept, or the default where the file names none.
pub(super) fn groups_or_default(
    mut groups: Vec<String>,
    default_group: Option<&str>,
    place: Place<'_>,
    code: &str,
) -> Result<Vec<String>, Error> {
    groups.retain(|group| !group.trim().is_empty());
    if groups.is_empty() {
        let group = default_group.ok_or_else(|| Error::NoGroup {
            at: place.location(),
            code: code.to_owned(),
        })?;
        groups.push(group.to_owned());
    }
    Ok(groups)
}
