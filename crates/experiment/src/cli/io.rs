//! What several subcommands share: reading corpora by name.

use crate::error::BadInput;
use anyhow::Result;
use std::path::Path;
use std::str::FromStr;
use syncabel_corpus::{Corpus, CorpusFormat, Language, PubtatorRules, ReadOptions};

/// Reads a corpus; the format is guessed from the file name where it is not given.
///
/// # Errors
/// Bad input, with file and line.
pub(super) fn read_corpus(
    path: &Path,
    format: Option<&str>,
    rules: Option<&str>,
    language: Option<&str>,
) -> Result<Corpus> {
    let format = corpus_format(path, format)?;
    let pubtator = rules
        .map(PubtatorRules::preset)
        .transpose()?
        .unwrap_or_default();
    let language = language
        .map(Language::from_str)
        .transpose()?
        .unwrap_or_default();
    let options = ReadOptions {
        pubtator,
        language,
        ..ReadOptions::default()
    };
    Ok(syncabel_corpus::read(path, format, &options)?.0)
}

/// The format that was named, or the one that the file name suggests.
///
/// # Errors
/// Bad input where neither tells.
pub(super) fn corpus_format(path: &Path, format: Option<&str>) -> Result<CorpusFormat> {
    match format {
        Some(name) => Ok(CorpusFormat::from_str(name)?),
        None => CorpusFormat::detect(path).ok_or_else(|| {
            let message = "cannot tell the corpus format from the file name; name it: pubtator, jsonl, bigbio, spaccc or quaero";
            BadInput(format!("{}: {message}", path.display())).into()
        }),
    }
}
