//! One concept per code, sorted; the list of groups.

use std::collections::BTreeSet;

use super::{BuildOptions, BuildReport, DecisionKind, DuplicateCodes};
use crate::{Error, RawConcept};

/// Sorts by code and makes concepts of the same code one.
pub(super) fn by_code(
    mut raw: Vec<RawConcept>,
    options: &BuildOptions,
    report: &mut BuildReport,
) -> Result<Vec<RawConcept>, Error> {
    for concept in &mut raw {
        normalise(concept)?;
    }
    // Location and content break ties, so that the input order has no say.
    raw.sort_by(|a, b| (&a.code, &a.location, &a.names).cmp(&(&b.code, &b.location, &b.names)));
    let mut merged: Vec<RawConcept> = Vec::with_capacity(raw.len());
    for concept in raw {
        match merged.last_mut() {
            Some(last) if last.code == concept.code => {
                fold(last, concept, options.duplicate_codes, report)?;
            }
            _ => merged.push(concept),
        }
    }
    Ok(merged)
}

/// All group names, ascending.
pub(super) fn group_names(concepts: &[RawConcept]) -> Result<Vec<String>, Error> {
    let groups: BTreeSet<&String> = concepts.iter().flat_map(|c| &c.groups).collect();
    let limit = u64::from(u16::MAX) + 1;
    if groups.len() as u64 > limit {
        return Err(Error::TooLarge {
            what: "semantic groups",
            limit,
        });
    }
    Ok(groups.into_iter().cloned().collect())
}

fn normalise(concept: &mut RawConcept) -> Result<(), Error> {
    trim(&mut concept.code);
    concept.names.sort_unstable(); // the preferred one is known apart
    let lists = [
        &mut concept.alt_codes,
        &mut concept.groups,
        &mut concept.semantic_types,
        &mut concept.parents,
    ];
    for list in lists {
        list.iter_mut().for_each(trim);
        list.retain(|text| !text.is_empty());
        list.sort_unstable();
        list.dedup();
    }
    check_code(concept, &concept.code)?;
    if concept.groups.is_empty() {
        return Err(Error::NoGroup {
            at: concept.location.clone(),
            code: concept.code.clone(),
        });
    }
    concept
        .alt_codes
        .iter()
        .try_for_each(|code| check_code(concept, code))
}

fn trim(text: &mut String) {
    if text.trim().len() != text.len() {
        *text = text.trim().to_owned();
    }
}

/// Gold and prediction fields join codes with `+` and `|` and sit between tabs.
fn check_code(concept: &RawConcept, code: &str) -> Result<(), Error> {
    if code.is_empty() {
        return Err(Error::MissingField {
            at: concept.location.clone(),
            field: "code",
        });
    }
    let problem = code.chars().find_map(|c| match c {
        '+' => Some("a `+`"),
        '|' => Some("a `|`"),
        c if c.is_control() => Some("a control character"),
        _ => None,
    });
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::BadCode {
            at: concept.location.clone(),
            code: code.to_owned(),
            problem,
        }),
    }
}

/// Folds `next` into `kept`, which has the same code.
fn fold(
    kept: &mut RawConcept,
    next: RawConcept,
    policy: DuplicateCodes,
    report: &mut BuildReport,
) -> Result<(), Error> {
    let Some(field) = first_difference(kept, &next) else {
        report.count(DecisionKind::IdenticalConcept, || kept.code.clone());
        return Ok(());
    };
    if policy == DuplicateCodes::Refuse {
        return Err(Error::DuplicateCode {
            code: next.code,
            first: kept.location.clone(),
            second: next.location,
            field,
        });
    }
    report.count(DecisionKind::MergedConcept, || {
        format!("{} ({field} differs)", kept.code)
    });
    if next.preferred_name < kept.preferred_name {
        kept.preferred_name = next.preferred_name;
    }
    kept.names.extend(next.names);
    for (into, from) in [
        (&mut kept.alt_codes, next.alt_codes),
        (&mut kept.groups, next.groups),
        (&mut kept.semantic_types, next.semantic_types),
        (&mut kept.parents, next.parents),
    ] {
        into.extend(from);
        into.sort_unstable();
        into.dedup();
    }
    for definition in next.definitions {
        if !kept.definitions.contains(&definition) {
            kept.definitions.push(definition);
        }
    }
    Ok(())
}

fn first_difference(a: &RawConcept, b: &RawConcept) -> Option<&'static str> {
    fn set(names: &[String]) -> BTreeSet<&String> {
        names.iter().collect()
    }
    [
        ("name", a.preferred_name == b.preferred_name),
        ("synonyms", set(&a.names) == set(&b.names)),
        ("group", a.groups == b.groups),
        ("semantic_type", a.semantic_types == b.semantic_types),
        ("definition", a.definitions == b.definitions),
        ("alt_codes", a.alt_codes == b.alt_codes),
        ("parents", a.parents == b.parents),
    ]
    .into_iter()
    .find_map(|(field, equal)| (!equal).then_some(field))
}
