//! What several subcommands share: reading corpora by name.

use crate::error::BadInput;
use anyhow::Result;
use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::path::Path;
use std::str::FromStr;
use syncabel_corpus::{Corpus, CorpusFormat, Language, PubtatorRules, ReadOptions};

/// Buffered stdout. A reader that went away (`| head`) has seen enough: the program ends with exit code 0.
pub(super) fn stdout() -> BufWriter<UntilNobodyReads> {
    BufWriter::new(UntilNobodyReads(std::io::stdout()))
}

/// See [`stdout`].
pub(super) struct UntilNobodyReads(Stdout);

fn end_if_nobody_reads<T>(result: std::io::Result<T>) -> std::io::Result<T> {
    match result {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

impl Write for UntilNobodyReads {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        end_if_nobody_reads(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        end_if_nobody_reads(self.0.flush())
    }
}

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
    let options = read_options(rules, language)?;
    let (corpus, report) = crate::corpus_file::read(path, format, &options)?;
    // What a reader leaves out is not to be found in what it gives.
    tracing::info!("{}: {report}", path.display());
    Ok(corpus)
}

/// How a corpus is to be read.
///
/// # Errors
/// Bad input for rules or a language that do not exist.
pub(super) fn read_options(rules: Option<&str>, language: Option<&str>) -> Result<ReadOptions> {
    Ok(ReadOptions {
        pubtator: rules
            .map(PubtatorRules::preset)
            .transpose()?
            .unwrap_or_default(),
        language: language
            .map(Language::from_str)
            .transpose()?
            .unwrap_or_default(),
        language_is_given: language.is_some(),
        ..ReadOptions::default()
    })
}

/// The format that was named, or the one that the file name suggests.
///
/// # Errors
/// Bad input where neither tells.
pub(super) fn corpus_format(path: &Path, format: Option<&str>) -> Result<CorpusFormat> {
    match format {
        Some(name) => Ok(CorpusFormat::from_str(name)?),
        None => CorpusFormat::detect(path).ok_or_else(|| {
            let message = "cannot tell the corpus format from the file name; name it: pubtator, jsonl, bigbio, spaccc, quaero or parquet";
            BadInput(format!("{}: {message}", path.display())).into()
        }),
    }
}

/// A number that is not zero.
///
/// # Errors
/// What is no such number.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
