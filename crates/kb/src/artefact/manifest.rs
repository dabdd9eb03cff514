//! `manifest.json`: what the artefact is, what it was built from, and the digest of every part.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FORMAT_VERSION, MAGIC};
use crate::build::{BuildOptions, DecisionCounts};
use crate::{Digest, Error, SourceFormat};

/// The manifest of a KB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MAGIC`].
    pub magic: String,
    /// Version of the layout, see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote the artefact.
    pub tool_version: String,
    /// Identity of the content: the digest of the parts' names, sizes and digests. Where two KBs
    /// have the same one, they hold the same concepts, names and ids, whatever file they came from.
    pub digest: Digest,
    /// How much of what.
    pub counts: Counts,
    /// The files that the KB was built from.
    pub sources: Vec<SourceDigest>,
    /// The options of the build.
    pub options: BuildOptions,
    /// How often the build took each decision.
    pub decisions: DecisionCounts,
    /// The parts, in a fixed order.
    pub parts: Vec<PartInfo>,
    /// Digest of this manifest with this field absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Digest>,
}

/// Sizes of a KB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Concepts, those without a name included.
    pub concepts: u32,
    /// Names, counted once per group.
    pub names: u32,
    /// Semantic groups.
    pub groups: u32,
    /// Alternate codes that lead to a concept.
    pub alt_codes: u32,
    /// Definitions.
    pub definitions: u32,
    /// Distinct semantic types.
    pub semantic_types: u32,
    /// Distinct parent codes.
    pub parents: u32,
    /// Preferred names that lead nowhere, because another concept of the group has them.
    pub titles: u32,
}

/// One file that a KB was built from. It holds the file's name without its folder, so that the
/// same file gives the same manifest on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDigest {
    /// File name without folder.
    pub file: String,
    /// The format it was read as.
    pub format: SourceFormat,
    /// Size as it lies on disk.
    pub bytes: u64,
    /// Digest of the file as it lies on disk.
    pub digest: Digest,
    /// Concepts read.
    pub concepts: u64,
    /// Obsolete concepts that were left out (OBO only).
    pub obsolete: u64,
}

/// One part of the artefact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartInfo {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
}

impl Manifest {
    pub(crate) fn new(
        counts: Counts,
        sources: Vec<SourceDigest>,
        options: BuildOptions,
        decisions: DecisionCounts,
        parts: Vec<PartInfo>,
    ) -> Self {
        let mut manifest = Self {
            magic: MAGIC.to_owned(),
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: content_digest(FORMAT_VERSION, &parts),
            counts,
            sources,
            options,
            decisions,
            parts,
            checksum: None,
        };
        manifest.checksum = Some(Digest::of_bytes(manifest.to_json().as_bytes()));
        manifest
    }

    pub(crate) fn to_json(&self) -> String {
        pretty(self)
    }

    /// Parses and checks everything that the manifest says about itself.
    pub(crate) fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let not_a_kb = |problem: String| Error::NotAKb {
            path: path.to_owned(),
            problem,
        };
        // Magic and version first: another version may well have other fields.
        let mut value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|error| not_a_kb(format!("the manifest is no JSON: {error}")))?;
        if value.get("magic").and_then(|magic| magic.as_str()) != Some(MAGIC) {
            return Err(not_a_kb(format!(
                "the manifest lacks \"magic\": \"{MAGIC}\""
            )));
        }
        match value
            .get("format_version")
            .and_then(|version| version.as_u64())
        {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(found) => {
                return Err(Error::Version {
                    path: path.to_owned(),
                    found,
                    supported: FORMAT_VERSION,
                });
            }
            None => return Err(not_a_kb("the manifest has no format_version".into())),
        }
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| Error::corrupt(path, format!("the manifest: {error}")))?;
        let Some(expected) = manifest.checksum else {
            return Err(Error::corrupt(path, "the manifest has no checksum"));
        };
        // Over the fields as they stand in the file, so that a later program with more fields
        // finds the same checksum.
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("checksum");
        }
        check_digest(path, expected, Digest::of_bytes(pretty(&value).as_bytes()))?;
        check_digest(
            path,
            manifest.digest,
            content_digest(manifest.format_version, &manifest.parts),
        )?;
        Ok(manifest)
    }
}

fn check_digest(path: &Path, expected: Digest, found: Digest) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        path: path.to_owned(),
        expected,
        found,
    })
}

fn pretty(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| unreachable!("a manifest is plain data: {error}"));
    json.push('\n');
    json
}

fn content_digest(format_version: u32, parts: &[PartInfo]) -> Digest {
    let mut text = format!("{MAGIC} {format_version}\n");
    for part in parts {
        text += &format!("{} {} {}\n", part.name, part.bytes, part.digest);
    }
    Digest::of_bytes(text.as_bytes())
}
