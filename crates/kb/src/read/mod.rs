//! Readers of terminology files: [`read_source`] and [`load`].
//!
//! Each reader turns a file into [`RawConcept`]s and decides nothing: names stay as they are
//! written, codes are only trimmed. A gzip-compressed file is told by its first bytes and unpacked
//! on the fly, whatever it is called. A byte order mark and carriage returns are taken off.

mod ctd;
mod jsonl;
mod lines;
mod medic;
mod obo;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod tsv;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::artefact::SourceDigest;
use crate::{Digest, Error, RawConcept};

/// The formats that terminologies are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// The MEDIC dictionary as BioSyn writes it, see [`formats::medic`].
    Medic,
    /// A vocabulary as CTD publishes it (`CTD_diseases.tsv`), see [`formats::ctd`].
    Ctd,
    /// OBO 1.2 and 1.4, see [`formats::obo`].
    Obo,
    /// Our own table, see [`formats::tsv`].
    Tsv,
    /// One JSON object a line, see [`formats::jsonl`].
    Jsonl,
    /// The columns of the table in Parquet; needs the crate feature `parquet`.
    Parquet,
}

/// What the formats look like, in full.
pub mod formats {
    #[doc = include_str!("../../docs/medic.md")]
    pub mod medic {}
    #[doc = include_str!("../../docs/ctd.md")]
    pub mod ctd {}
    #[doc = include_str!("../../docs/obo.md")]
    pub mod obo {}
    #[doc = include_str!("../../docs/tsv.md")]
    pub mod tsv {}
    #[doc = include_str!("../../docs/jsonl.md")]
    pub mod jsonl {}
}

impl SourceFormat {
    /// The format that a file's name suggests, `.gz` aside; `CTD_*.tsv` is CTD's, a `.txt` is taken for MEDIC.
    pub fn guess(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.starts_with("medic") {
            return Some(Self::Medic);
        }
        if name.starts_with("ctd_") && name.ends_with(".tsv") {
            return Some(Self::Ctd);
        }
        match name.rsplit_once('.')?.1 {
            "txt" => Some(Self::Medic),
            "obo" => Some(Self::Obo),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The word for the format on command lines and in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medic => "medic",
            Self::Ctd => "ctd",
            Self::Obo => "obo",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceFormat {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        [
            Self::Medic,
            Self::Ctd,
            Self::Obo,
            Self::Tsv,
            Self::Jsonl,
            Self::Parquet,
        ]
        .into_iter()
        .find(|format| format.as_str().eq_ignore_ascii_case(word))
        .ok_or_else(|| Error::UnknownFormat {
            given: word.to_owned(),
        })
    }
}

/// A terminology file in memory, with its provenance for the manifest.
#[derive(Clone, Debug)]
pub struct Source {
    /// The concepts, in the order of the file.
    pub concepts: Vec<RawConcept>,
    /// What the manifest will say about the file.
    pub digest: SourceDigest,
}

/// Concepts of a file and what was left out.
#[derive(Default)]
pub(crate) struct Concepts {
    pub(crate) concepts: Vec<RawConcept>,
    pub(crate) obsolete: u64,
}

/// Reads a terminology file.
///
/// `default_group` is the semantic group of concepts for which the file names none.
///
/// # Errors
/// [`Error::Io`], [`Error::NotUtf8`], [`Error::EmptySource`], and what is wrong with a line, with
/// file and line.
pub fn read_source(
    path: &Path,
    format: SourceFormat,
    default_group: Option<&str>,
) -> Result<Vec<RawConcept>, Error> {
    read(path, format, default_group).map(|read| read.concepts)
}

/// [`read_source`] together with the file's digest and counts.
///
/// # Errors
/// As [`read_source`].
pub fn load(
    path: &Path,
    format: SourceFormat,
    default_group: Option<&str>,
) -> Result<Source, Error> {
    let Concepts { concepts, obsolete } = read(path, format, default_group)?;
    let bytes = std::fs::metadata(path)
        .map_err(|source| Error::io(path, source))?
        .len();
    let digest = SourceDigest {
        file: path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        format,
        bytes,
        digest: Digest::of_file(path)?,
        concepts: concepts.len() as u64,
        obsolete,
    };
    Ok(Source { concepts, digest })
}

fn read(path: &Path, format: SourceFormat, default_group: Option<&str>) -> Result<Concepts, Error> {
    let read = match format {
        SourceFormat::Medic => medic::read(path, default_group)?,
        SourceFormat::Ctd => ctd::read(path, default_group)?,
        SourceFormat::Obo => obo::read(path, default_group)?,
        SourceFormat::Tsv => tsv::read(path, default_group)?,
        SourceFormat::Jsonl => jsonl::read(path, default_group)?,
        SourceFormat::Parquet => read_parquet(path, default_group)?,
    };
    if read.concepts.is_empty() {
        return Err(Error::EmptySource {
            path: path.to_owned(),
        });
    }
    Ok(read)
}

#[cfg(feature = "parquet")]
fn read_parquet(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    parquet::read(path, default_group)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path, _default_group: Option<&str>) -> Result<Concepts, Error> {
    Err(Error::Parquet {
        path: path.to_owned(),
        problem:
            "this program was built without the feature `parquet`; convert the file to TSV or JSONL"
                .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_guessed_from_names() {
        for (name, format) in [
            ("medic_06Jul2012.tsv.gz", Some(SourceFormat::Medic)),
            ("CTD.txt", Some(SourceFormat::Medic)),
            ("CTD_diseases.tsv.gz", Some(SourceFormat::Ctd)),
            ("hp_2025-01-16.obo.gz", Some(SourceFormat::Obo)),
            ("kb.TSV", Some(SourceFormat::Tsv)),
            ("kb.jsonl", Some(SourceFormat::Jsonl)),
            ("kb.parquet", Some(SourceFormat::Parquet)),
            ("kb.csv", None),
            ("kb", None),
        ] {
            assert_eq!(SourceFormat::guess(Path::new(name)), format, "{name}");
        }
        assert_eq!("OBO".parse::<SourceFormat>().unwrap(), SourceFormat::Obo);
        assert!("rrf".parse::<SourceFormat>().is_err());
    }
}
