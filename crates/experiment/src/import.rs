//! The generator `import`: corpora that others generated, from files, folders or data sets of the Hugging Face Hub.

use crate::config::{CorpusFile, ExperimentFile, resolve_path};
use crate::error::BadInput;
use crate::human;
use crate::synthesis::{FilterChoice, Made, Material};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use syncabel_corpus::{Document, jsonl};
use syncabel_kb::Digest;
use syncabel_synth::import::Importer;
use syncabel_synth::quality::{Filters, Quality};

/// `synth: {generator: import, ...}`: a synthetic corpus that exists already.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSynth {
    /// Files, or folders all of whose corpus files are taken (`.json` in BigBio's form, `.jsonl`, `.parquet`, gzipped or not).
    #[serde(default)]
    pub files: Vec<CorpusFile>,
    /// A data set of the Hugging Face Hub, `owner/name` or `owner/name@revision`; the authors' is `Aremaki/SynCABEL`.
    #[serde(default)]
    pub hub: Option<String>,
    /// Of the files in folders and data sets, only those whose path there contains this (`SynthQUAERO`).
    #[serde(default)]
    pub include: Option<String>,
    /// Quality filters.
    #[serde(default)]
    pub filters: FilterChoice,
}

impl ImportSynth {
    /// The hub's data set and revision.
    pub fn data_set(&self) -> Option<(&str, Option<&str>)> {
        let text = self.hub.as_deref()?;
        Some(
            text.split_once('@')
                .map_or((text, None), |(r, v)| (r, Some(v))),
        )
    }

    fn included(&self) -> &str {
        self.include.as_deref().unwrap_or_default()
    }

    /// The files themselves, in the order of the experiment file, those of a folder by their paths; files of the hub are
    /// fetched.
    ///
    /// # Errors
    /// A path that does not exist, a folder or data set without a file that is asked for, a network that fails.
    pub fn sources(&self, file: &ExperimentFile) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        for (i, entry) in self.files.iter().enumerate() {
            let key = format!("synth.files[{i}].path");
            let path = resolve_path(&file.path, file.folder(), &key, &entry.path)?;
            let found = files_at(&path, self.included()).map_err(|error| {
                match error.downcast::<BadInput>() {
                    Ok(BadInput(message)) => file.refuse(&key, message).into(),
                    Err(error) => error,
                }
            })?;
            for path in found {
                sources.push(Source::new(path, entry.clone())?);
            }
        }
        sources.extend(self.hub_sources().context("key `synth.hub`")?);
        Ok(sources)
    }

    /// The files of the hub's data set, if there is one.
    ///
    /// # Errors
    /// A name that no data set can have, a data set without a file that is asked for, a network that fails.
    pub fn hub_sources(&self) -> Result<Vec<Source>> {
        let Some((repo, revision)) = self.data_set() else {
            return Ok(Vec::new());
        };
        let wanted = |name: &str| includes(self.included(), name);
        let found = syncabel_model::data_set_files(repo, revision, &wanted)?;
        let source = |path| Source::new(path, CorpusFile::plain());
        found.into_iter().map(source).collect()
    }
}

/// A file, or the corpus files below a folder whose paths there contain `include`.
///
/// # Errors
/// A path that does not exist, a folder without such a file.
pub fn files_at(path: &Path, include: &str) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.is_dir() {
        return Err(BadInput(format!("{} does not exist", path.display())).into());
    }
    let mut found = below(path)?;
    found.retain(|file| {
        let name = file.strip_prefix(path).unwrap_or(file);
        includes(include, &name.to_string_lossy())
    });
    if found.is_empty() {
        let asked = match include {
            "" => String::new(),
            include => {
                format!(" with `{include}` in its path (key `synth.include`, option `--include`)")
            }
        };
        let message = format!(
            "{} holds no .json, .jsonl or .parquet file{asked}",
            path.display()
        );
        return Err(BadInput(message).into());
    }
    Ok(found)
}

fn includes(include: &str, name: &str) -> bool {
    name.contains(include) && is_data(name)
}

/// Whether a file's name is that of a corpus file, and not of what `datasets` keeps beside them.
fn is_data(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let beside = [
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
    ];
    let known = [".json", ".jsonl", ".parquet"];
    known.iter().any(|end| plain.ends_with(end)) && !beside.contains(&plain)
}

/// Files below a folder, hidden ones aside, by their paths.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'));
        match path.is_dir() {
            _ if hidden => {}
            true => found.extend(below(&path)?),
            false => found.push(path),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A file to import.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// How it is read.
    pub entry: CorpusFile,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Source {
    /// A file, read as `entry` says.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn new(path: PathBuf, entry: CorpusFile) -> Result<Self> {
        let digest =
            Digest::of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Source {
            path,
            entry,
            digest,
        })
    }

    /// What decides what is read from it; the name tells nothing.
    pub fn identity(&self) -> serde_json::Value {
        let CorpusFile { format, rules, .. } = &self.entry;
        serde_json::json!([self.digest.to_string(), format, rules])
    }
}

/// Takes the files in, filters what they hold and writes it.
///
/// # Errors
/// Bad input with file and place.
pub fn make(
    material: &Material<'_>,
    sources: &[Source],
    filters: &Filters,
    out: &Path,
) -> Result<Made> {
    let mut quality = Quality::new(material.kb, material.human, &filters.without_model());
    let mut file = jsonl::Writer::create(out)?;
    let mut importer = Importer::new(material.kb, &material.corpus.groups);
    let mut sink = |document: Document| -> Result<(), syncabel_synth::Error> {
        if quality.keep(&document) {
            file.write(&document)?;
        }
        Ok(())
    };
    for source in sources {
        tracing::info!(file = %source.path.display(), "importing");
        if !answers(material, source, &mut importer, &mut sink)? {
            let (corpus, _) = human::read_file(&source.path, &source.entry, material.corpus, None)?;
            for document in corpus.documents {
                importer.document(document, &mut sink)?;
            }
        }
    }
    let report = importer.finish();
    file.finish()?;
    let filters = quality.finish();
    Ok(Made { report, filters })
}

/// Takes in a table of a language model's answers; `false` if the file is none.
#[cfg(feature = "parquet")]
fn answers(
    material: &Material<'_>,
    source: &Source,
    importer: &mut Importer<'_>,
    sink: &mut syncabel_synth::import::Sink<'_>,
) -> Result<bool> {
    use crate::parquet;
    use syncabel_corpus::CorpusFormat;
    let format = source.entry.format;
    let format = format.or_else(|| CorpusFormat::detect(&source.path));
    if format != Some(CorpusFormat::Parquet) {
        return Ok(false);
    }
    let columns = parquet::columns(&source.path)?;
    let has = |name: &str| columns.iter().any(|c| c == name);
    if !has(parquet::ANSWER) || has("document_id") {
        return Ok(false);
    }
    parquet::each_answer(&source.path, |answer| {
        let language = material.corpus.language;
        Ok(importer.answer(&answer.code, &answer.text, language, sink)?)
    })?;
    Ok(true)
}

#[cfg(not(feature = "parquet"))]
fn answers(
    _: &Material<'_>,
    _: &Source,
    _: &mut Importer<'_>,
    _: &mut syncabel_synth::import::Sink<'_>,
) -> Result<bool> {
    Ok(false)
}
