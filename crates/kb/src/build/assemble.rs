//! From decisions to the parts of the artefact.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::disambiguate::Kept;
use super::{BuildOptions, BuildReport, CleanConcept, DecisionKind};
use crate::artefact::tables::{Lists, Numbers, Strings};
use crate::artefact::{Bytes, Counts, FLAG, Manifest, Part, Parts, SourceDigest};
use crate::{Error, Kb, RawConcept};

pub(super) fn assemble(
    concepts: &[RawConcept],
    clean: &[CleanConcept],
    groups: &[String],
    kept: &[Kept<'_>],
    sources: Vec<SourceDigest>,
    options: &BuildOptions,
    report: &mut BuildReport,
) -> Result<Kb, Error> {
    let mut parts = Draft::default();
    put_codes(&mut parts, concepts, report)?;
    put_groups(&mut parts, concepts, groups)?;
    put_vocabulary(&mut parts, Part::Types, Part::ConceptTypes, concepts, |c| {
        &c.semantic_types
    })?;
    put_vocabulary(
        &mut parts,
        Part::Parents,
        Part::ConceptParents,
        concepts,
        |c| &c.parents,
    )?;
    put_definitions(&mut parts, concepts)?;
    put_names(&mut parts, concepts.len(), groups.len(), kept)?;
    put_preferred(&mut parts, clean, kept)?;
    let parts = parts.finish();

    let rows = |part| parts.strings(part).len() as u32; // below 2^31, checked when written
    let counts = Counts {
        concepts: rows(Part::Codes),
        names: rows(Part::Names),
        groups: rows(Part::Groups),
        alt_codes: rows(Part::AltCodes),
        definitions: rows(Part::Definitions),
        semantic_types: rows(Part::Types),
        parents: rows(Part::Parents),
        titles: rows(Part::Titles),
    };
    report.concepts = u64::from(counts.concepts);
    report.names = u64::from(counts.names);
    report.groups = u64::from(counts.groups);
    let infos = parts.infos();
    Ok(Kb {
        manifest: Manifest::new(counts, sources, options.clone(), report.counts(), infos),
        parts,
        dir: None,
    })
}

/// Parts as they are made, in any order.
#[derive(Default)]
struct Draft([Option<Vec<u8>>; Part::ALL.len()]);

impl Draft {
    fn put(&mut self, part: Part, bytes: Vec<u8>) {
        self.0[part as usize] = Some(bytes);
    }

    fn finish(self) -> Parts {
        Parts(self.0.map(|part| Bytes::Owned(part.unwrap_or_default())))
    }
}

fn put_codes(
    parts: &mut Draft,
    concepts: &[RawConcept],
    report: &mut BuildReport,
) -> Result<(), Error> {
    let codes: Vec<&str> = concepts.iter().map(|c| c.code.as_str()).collect();
    let mut claims: Vec<(&str, u32)> = Vec::new();
    for (concept, raw) in (0u32..).zip(concepts) {
        for alt in raw.alt_codes.iter().filter(|alt| **alt != raw.code) {
            match codes.binary_search(&alt.as_str()) {
                Err(_) => claims.push((alt, concept)),
                Ok(_) => report.count(DecisionKind::AltCodeIsPrimary, || {
                    format!("{alt} of {}", raw.code)
                }),
            }
        }
    }
    claims.sort_unstable();
    let mut owned: Vec<Vec<u32>> = vec![Vec::new(); concepts.len()];
    let mut alternates: Vec<(&str, u32)> = Vec::with_capacity(claims.len());
    for run in claims.chunk_by(|a, b| a.0 == b.0) {
        let (alt, owner) = run[0];
        owned[owner as usize].push(alternates.len() as u32);
        alternates.push((alt, owner));
        report.count_many(DecisionKind::AltCodeShared, run.len() - 1, || {
            format!("{alt} leads to {}", codes[owner as usize])
        });
    }
    parts.put(Part::Codes, Strings::write("codes", &codes)?);
    let texts = alternates.iter().map(|(alt, _)| alt);
    parts.put(Part::AltCodes, Strings::write("alternate codes", texts)?);
    let owners = alternates.iter().map(|&(_, owner)| owner);
    parts.put(Part::AltOwners, Numbers::write(owners));
    parts.put(Part::ConceptAlts, Lists::write("alternate codes", owned)?);
    Ok(())
}

fn put_groups(parts: &mut Draft, concepts: &[RawConcept], groups: &[String]) -> Result<(), Error> {
    parts.put(Part::Groups, Strings::write("semantic groups", groups)?);
    let lists = concepts.iter().map(|concept| {
        let found = concept
            .groups
            .iter()
            .map(|group| groups.binary_search(group));
        found
            .flatten()
            .map(|index| index as u32)
            .collect::<Vec<_>>()
    });
    parts.put(
        Part::ConceptGroups,
        Lists::write("group memberships", lists)?,
    );
    Ok(())
}

/// A sorted table of the distinct strings, and for each concept a list of rows of it.
fn put_vocabulary(
    parts: &mut Draft,
    strings: Part,
    lists: Part,
    concepts: &[RawConcept],
    of: impl Fn(&RawConcept) -> &Vec<String>,
) -> Result<(), Error> {
    let distinct: BTreeSet<&str> = concepts.iter().flat_map(&of).map(String::as_str).collect();
    let distinct: Vec<&str> = distinct.into_iter().collect();
    let rows = concepts.iter().map(|concept| {
        let found = of(concept)
            .iter()
            .map(|text| distinct.binary_search(&text.as_str()));
        found
            .flatten()
            .map(|index| index as u32)
            .collect::<Vec<_>>()
    });
    parts.put(lists, Lists::write(lists.file(), rows)?);
    parts.put(strings, Strings::write(strings.file(), &distinct)?);
    Ok(())
}

fn put_definitions(parts: &mut Draft, concepts: &[RawConcept]) -> Result<(), Error> {
    let texts = concepts.iter().flat_map(|concept| &concept.definitions);
    parts.put(Part::Definitions, Strings::write("definitions", texts)?);
    let ends = concepts.iter().scan(0u32, |end, concept| {
        *end += concept.definitions.len() as u32; // the table above was counted
        Some(*end)
    });
    let starts = std::iter::once(0).chain(ends);
    parts.put(Part::ConceptDefinitions, Numbers::write(starts));
    Ok(())
}

fn put_names(
    parts: &mut Draft,
    concept_count: usize,
    group_count: usize,
    kept: &[Kept<'_>],
) -> Result<(), Error> {
    parts.put(
        Part::Names,
        Strings::write("names", kept.iter().map(|row| row.name))?,
    );
    let owners = kept.iter().map(|row| match row.preferred {
        true => row.concept | FLAG,
        false => row.concept,
    });
    parts.put(Part::NameOwners, Numbers::write(owners));

    let starts =
        (0..=group_count as u32).map(|group| kept.partition_point(|row| row.group < group) as u32);
    parts.put(Part::GroupNames, Numbers::write(starts));

    let mut of_concept: Vec<Vec<u32>> = vec![Vec::new(); concept_count];
    for (id, row) in (0u32..).zip(kept) {
        of_concept[row.concept as usize].push(id);
    }
    for ids in &mut of_concept {
        ids.sort_unstable_by_key(|&id| {
            let row = &kept[id as usize];
            (row.group, !row.preferred, id)
        });
    }
    parts.put(Part::ConceptNames, Lists::write("names", of_concept)?);

    let mut folded: Vec<(String, u32)> = kept
        .par_iter()
        .enumerate()
        .map(|(id, row)| (row.name.to_lowercase(), id as u32))
        .collect();
    folded.par_sort_unstable();
    let order = folded.into_iter().map(|(_, id)| id);
    parts.put(Part::NamesFolded, Numbers::write(order));
    Ok(())
}

/// Points each concept to its preferred name among the names, or keeps the text as a title.
fn put_preferred(
    parts: &mut Draft,
    clean: &[CleanConcept],
    kept: &[Kept<'_>],
) -> Result<(), Error> {
    let mut chosen: Vec<Option<u32>> = vec![None; clean.len()];
    for (id, row) in (0u32..).zip(kept).filter(|(_, row)| row.preferred) {
        chosen[row.concept as usize].get_or_insert(id);
    }
    let mut titles: Vec<&str> = Vec::new();
    let mut pointers = Vec::with_capacity(clean.len());
    for (concept, choice) in clean.iter().zip(chosen) {
        pointers.push(choice.unwrap_or_else(|| {
            titles.push(&concept.preferred);
            (titles.len() - 1) as u32 | FLAG
        }));
    }
    parts.put(Part::Preferred, Numbers::write(pointers));
    parts.put(Part::Titles, Strings::write("titles", &titles)?);
    Ok(())
}
