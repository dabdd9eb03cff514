//! From raw concepts to a KB: cleaning, merging, disambiguation (paper, section on knowledge bases).
//!
//! The order of the input does not matter: concepts are sorted by code, names by bytes, and every
//! "first" below means first by code. So the same concepts give the same bytes.
//!
//! 1. Names are cleaned ([`crate::clean`]) and de-duplicated per concept.
//! 2. Each concept stands in each of its groups with all its names. In each group, in turn:
//!    - **level 0** keeps the names that only one concept carries;
//!    - **level 1**, for the concepts that have none yet, keeps the names that only one of *them* carries;
//!    - **level 2**, for those that still have none, gives each of their names to the first of them;
//!    - a preferred name that nobody holds now goes back to a concept that prefers it, one without
//!      a name first;
//!    - a name in capitals is dropped where the concept has the same name in another casing.
//! 3. What is left is a function from (group, name) to concept. [`BuildReport`] counts the rest.

mod assemble;
mod disambiguate;
mod merge;
mod report;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use report::{BuildReport, Decision, DecisionCounts, DecisionKind};

use crate::artefact::SourceDigest;
use crate::clean::{NameCleaning, clean_name_with};
use crate::{Error, Kb, RawConcept};

/// The choices of a build. The defaults follow the paper; every step can be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildOptions {
    /// What to do with a name that is empty after cleaning.
    pub empty_names: EmptyNames,
    /// What to do with two concepts of the same code that differ.
    pub duplicate_codes: DuplicateCodes,
    /// Beyond the paper: resolve XML character references such as `&apos;` in names.
    pub decode_references: bool,
    /// Strip trailing `NOS` and `SAI` from names.
    pub strip_unspecified: bool,
    /// Upper-case the first character of names.
    pub uppercase_first: bool,
    /// Disambiguation level 1: names that are unique among concepts without a name.
    pub level_1: bool,
    /// Disambiguation level 2: a shared name goes to the first concept without one.
    pub level_2: bool,
    /// Give a preferred name that nobody holds back to a concept that prefers it.
    pub restore_preferred: bool,
    /// Drop a name in capitals where the same concept has it in another casing.
    pub drop_capitals: bool,
    /// Beyond the paper: drop a name in capitals also where *another* concept of the group has it
    /// in another casing, unless it is the concept's only name. Decides most case twins of MEDIC
    /// (OMIM writes titles in capitals) in favour of the concept with the ordinary spelling.
    pub drop_capital_twins: bool,
    /// Beyond the paper: where names of several concepts differ in casing only and exactly one of the
    /// concepts prefers its name, drop the others' (`Saethre-Chotzen Syndrome`, one of a dozen synonyms of
    /// acrocephalosyndactyly, beside the concept `SAETHRE-CHOTZEN SYNDROME`), unless it is a concept's
    /// only name. Goes before [`BuildOptions::drop_capital_twins`].
    pub twins_to_preferred: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            empty_names: EmptyNames::Refuse,
            duplicate_codes: DuplicateCodes::Refuse,
            decode_references: true,
            strip_unspecified: true,
            uppercase_first: true,
            level_1: true,
            level_2: true,
            restore_preferred: true,
            drop_capitals: true,
            drop_capital_twins: false,
            twins_to_preferred: false,
        }
    }
}

/// What to do with a name that is empty after cleaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyNames {
    /// Stop with file and line.
    #[default]
    Refuse,
    /// Leave the name out and count it.
    Skip,
}

/// What to do with two concepts of the same code that differ. Equal ones are always made one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateCodes {
    /// Stop with both places.
    #[default]
    Refuse,
    /// Make one concept with everything that either has; of several preferred names the first by
    /// bytes stays preferred.
    Merge,
}

/// Builds a KB in memory. [`Kb::write`] puts it on disk.
///
/// Cost: sorting all names, well under a second for MEDIC (76,237 names), see the bench `kb_build`.
///
/// # Errors
/// Empty names, bad or duplicate codes, each with file and line; [`Error::NoNames`] when nothing
/// is left; [`Error::TooLarge`] beyond 2^31 names or 65,536 groups.
pub fn build(
    raw: Vec<RawConcept>,
    mut sources: Vec<SourceDigest>,
    options: &BuildOptions,
) -> Result<(Kb, BuildReport), Error> {
    let mut report = BuildReport::new(&raw);
    let merged = merge::by_code(raw, options, &mut report)?;
    let clean = clean_concepts(&merged, options, &mut report)?;
    let groups = merge::group_names(&merged)?;
    let kept = disambiguate::run(&merged, &clean, &groups, options, &mut report);
    if kept.is_empty() {
        return Err(Error::NoNames {
            concepts: merged.len(),
        });
    }
    sources.sort_by(|a, b| (&a.file, a.digest).cmp(&(&b.file, b.digest)));
    let kb = assemble::assemble(
        &merged,
        &clean,
        &groups,
        &kept,
        sources,
        options,
        &mut report,
    )?;
    Ok((kb, report))
}

/// Names of one concept after cleaning: sorted, distinct, none empty.
pub(crate) struct CleanConcept {
    names: Vec<String>,
    /// The preferred name; always among `names`, unless it was empty and skipped.
    preferred: String,
}

fn clean_concepts(
    concepts: &[RawConcept],
    options: &BuildOptions,
    report: &mut BuildReport,
) -> Result<Vec<CleanConcept>, Error> {
    let cleaned: Vec<(CleanConcept, BuildReport)> = concepts
        .par_iter()
        .map(|concept| {
            let mut own = BuildReport::default();
            clean_one(concept, options, &mut own).map(|clean| (clean, own))
        })
        .collect::<Vec<Result<_, Error>>>()
        .into_iter()
        .collect::<Result<_, _>>()?; // the first error by code, whichever thread met it
    let mut clean = Vec::with_capacity(cleaned.len());
    for (concept, own) in cleaned {
        report.add(own);
        clean.push(concept);
    }
    Ok(clean)
}

fn clean_one(
    concept: &RawConcept,
    options: &BuildOptions,
    report: &mut BuildReport,
) -> Result<CleanConcept, Error> {
    let steps = NameCleaning {
        decode_references: options.decode_references,
        strip_unspecified: options.strip_unspecified,
        uppercase_first: options.uppercase_first,
    };
    let mut names = Vec::with_capacity(concept.names.len() + 1);
    for raw in &concept.names {
        let name = clean_name_with(raw, steps);
        if name.is_empty() {
            if options.empty_names == EmptyNames::Refuse {
                return Err(Error::EmptyName {
                    at: concept.location.clone(),
                    code: concept.code.clone(),
                    name: raw.clone(),
                });
            }
            report.count(DecisionKind::EmptyNameSkipped, || {
                format!("{} {raw:?}", concept.code)
            });
            continue;
        }
        if name != *raw {
            report.count(DecisionKind::NameCleaned, || format!("{raw:?} to {name:?}"));
        }
        names.push(name);
    }
    let before = names.len();
    names.sort_unstable();
    names.dedup();
    report.count_many(DecisionKind::RepeatedName, before - names.len(), || {
        concept.code.clone()
    });
    let mut preferred = clean_name_with(&concept.preferred_name, steps);
    match names.binary_search(&preferred) {
        Ok(_) => {}
        Err(_) if preferred.is_empty() => preferred = names.first().cloned().unwrap_or_default(),
        Err(place) => names.insert(place, preferred.clone()),
    }
    Ok(CleanConcept { names, preferred })
}
