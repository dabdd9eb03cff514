//! What a KB holds and what it weighs: [`inspect`].

use std::fmt;

use serde::Serialize;

use crate::artefact::{Counts, FORMAT_VERSION};
use crate::build::{DecisionCounts, DecisionKind};
use crate::{Digest, Error, Kb, Name, SourceDigest};

/// Examples of collisions that are shown.
const SAMPLES: usize = 5;

/// The answer of [`inspect`]. Displays as a page of text, serialises as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Identity of the content.
    pub digest: Digest,
    /// Version of the layout.
    pub format_version: u32,
    /// How much of what.
    pub counts: Counts,
    /// Concepts without any name: they cannot be predicted.
    pub concepts_without_name: u64,
    /// One entry a group, ascending by name.
    pub groups: Vec<GroupInspection>,
    /// Names that stand in more than one group; in each they may lead to another concept.
    pub names_in_several_groups: u64,
    /// What the build decided.
    pub decisions: DecisionCounts,
    /// The files that the KB was built from.
    pub sources: Vec<SourceDigest>,
    /// Size of each part, largest first.
    pub parts: Vec<PartBytes>,
    /// Size of all parts.
    pub total_bytes: u64,
}

/// One semantic group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupInspection {
    /// Its name.
    pub name: String,
    /// Concepts with at least one name in it.
    pub concepts: u64,
    /// Names in it.
    pub names: u64,
    /// Characters of its longest name.
    pub longest_name_chars: u64,
    /// Lower-cased names that lead to several concepts depending on their casing.
    pub collisions: u64,
    /// The first few collisions, each with the spellings and their codes.
    pub collision_samples: Vec<String>,
}

/// Size of one part.
#[derive(Clone, Debug, Serialize)]
pub struct PartBytes {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
}

/// Verifies a KB in full and describes it. Reads everything once: seconds at UMLS scale.
///
/// # Errors
/// As [`Kb::verify`].
pub fn inspect(kb: &Kb) -> Result<Inspection, Error> {
    kb.verify()?;
    let manifest = kb.manifest();
    let mut groups: Vec<GroupInspection> = kb
        .groups()
        .map(|(group, name)| GroupInspection {
            name: name.to_owned(),
            concepts: 0,
            names: kb.names(group).len() as u64,
            longest_name_chars: longest_chars(kb.names(group)),
            collisions: 0,
            collision_samples: Vec::new(),
        })
        .collect();
    let mut concepts_without_name = 0;
    for concept in kb.concepts() {
        let mut last = None;
        for name in concept.names() {
            if last.replace(name.group) != Some(name.group) {
                groups[name.group.index()].concepts += 1;
            }
        }
        concepts_without_name += u64::from(last.is_none());
    }
    let names_in_several_groups = count_collisions(kb, &mut groups);
    let mut parts: Vec<PartBytes> = manifest
        .parts
        .iter()
        .map(|part| PartBytes {
            name: part.name.clone(),
            bytes: part.bytes,
        })
        .collect();
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(Inspection {
        digest: manifest.digest,
        format_version: FORMAT_VERSION,
        counts: manifest.counts,
        concepts_without_name,
        groups,
        names_in_several_groups,
        decisions: manifest.decisions.clone(),
        sources: manifest.sources.clone(),
        parts,
        total_bytes: kb.total_bytes(),
    })
}

fn longest_chars<'a>(names: impl Iterator<Item = Name<'a>>) -> u64 {
    names
        .map(|name| name.text.chars().count() as u64)
        .max()
        .unwrap_or(0)
}

/// Walks the names in the order of their lower-cased text, where twins stand side by side.
/// Returns how many spellings stand in several groups.
fn count_collisions(kb: &Kb, groups: &mut [GroupInspection]) -> u64 {
    let folded: Vec<(String, Name<'_>)> = kb
        .names_by_folded_text()
        .map(|name| (name.text.to_lowercase(), name))
        .collect();
    let mut in_several_groups = 0;
    for twins in folded.chunk_by(|a, b| a.0 == b.0) {
        let mut spellings: Vec<&str> = twins.iter().map(|(_, name)| name.text).collect();
        spellings.sort_unstable();
        in_several_groups += spellings
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() > 1)
            .count() as u64;
        // Ids ascend within the run, so the names of a group stand side by side.
        for twins in twins.chunk_by(|a, b| a.1.group == b.1.group) {
            if twins
                .iter()
                .all(|(_, name)| name.concept == twins[0].1.concept)
            {
                continue;
            }
            let group = &mut groups[twins[0].1.group.index()];
            group.collisions += 1;
            if group.collision_samples.len() < SAMPLES {
                let shown: Vec<String> = twins
                    .iter()
                    .map(|(_, name)| format!("{:?} {}", name.text, kb.concept(name.concept).code()))
                    .collect();
                group.collision_samples.push(shown.join(" / "));
            }
        }
    }
    in_several_groups
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(f, "KB {} (format {})", self.digest, self.format_version)?;
        writeln!(
            f,
            "{} concepts ({} without a name), {} names, {} groups, {} alternate codes, {} definitions",
            counts.concepts,
            self.concepts_without_name,
            counts.names,
            counts.groups,
            counts.alt_codes,
            counts.definitions
        )?;
        writeln!(
            f,
            "{} names stand in several groups",
            self.names_in_several_groups
        )?;
        writeln!(f, "\ngroups")?;
        for group in &self.groups {
            writeln!(
                f,
                "  {}: {} concepts, {} names, the longest of {} characters, {} collisions by casing",
                group.name, group.concepts, group.names, group.longest_name_chars, group.collisions
            )?;
            for sample in &group.collision_samples {
                writeln!(f, "    {sample}")?;
            }
        }
        writeln!(f, "\ndecisions of the build")?;
        for kind in DecisionKind::ALL {
            let count = self.decisions.get(&kind).copied().unwrap_or(0);
            writeln!(f, "{count:>12}  {}", kind.words())?;
        }
        writeln!(f, "\nsources")?;
        for source in &self.sources {
            writeln!(
                f,
                "  {} ({}): {} concepts, {} obsolete left out, digest {}",
                source.file, source.format, source.concepts, source.obsolete, source.digest
            )?;
        }
        writeln!(f, "\nbytes")?;
        for part in &self.parts {
            writeln!(f, "{:>12}  {}", part.bytes, part.name)?;
        }
        write!(f, "{:>12}  in all", self.total_bytes)
    }
}
