//! Corpus files of every format: those of `syncabel-corpus`, and Parquet where the build has it.

use anyhow::Result;
use std::path::Path;
use syncabel_corpus::{Corpus, CorpusFormat, Document, ReadOptions, ReadReport, jsonl};

/// Reads a corpus file.
///
/// # Errors
/// Bad input with file and place; see [`syncabel_corpus::read`].
pub fn read(
    path: &Path,
    format: CorpusFormat,
    options: &ReadOptions,
) -> Result<(Corpus, ReadReport)> {
    match format {
        #[cfg(feature = "parquet")]
        CorpusFormat::Parquet => crate::parquet::read(path, options),
        #[cfg(not(feature = "parquet"))]
        CorpusFormat::Parquet => Err(no_parquet(path)),
        _ => Ok(syncabel_corpus::read(path, format, options)?),
    }
}

/// The documents of a corpus file one by one: what [`read`] reads, in the same order.
pub enum Documents {
    /// Of a format that `syncabel-corpus` reads.
    Text(Box<syncabel_corpus::Documents>),
    /// Of Parquet.
    #[cfg(feature = "parquet")]
    Parquet(Box<crate::parquet::Documents>),
}

/// Streams a corpus file.
///
/// # Errors
/// As [`read`]; here those that the beginning of the file shows, from the iterator the others.
pub fn documents(path: &Path, format: CorpusFormat, options: &ReadOptions) -> Result<Documents> {
    match format {
        #[cfg(feature = "parquet")]
        CorpusFormat::Parquet => Ok(Documents::Parquet(Box::new(
            crate::parquet::Documents::open(path, options)?,
        ))),
        #[cfg(not(feature = "parquet"))]
        CorpusFormat::Parquet => Err(no_parquet(path)),
        _ => Ok(Documents::Text(Box::new(syncabel_corpus::Documents::open(
            path, format, options,
        )?))),
    }
}

impl Documents {
    /// What was found so far.
    pub fn report(&self) -> &ReadReport {
        match self {
            Documents::Text(documents) => documents.report(),
            #[cfg(feature = "parquet")]
            Documents::Parquet(documents) => documents.report(),
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Documents::Text(documents) => Some(documents.next()?.map_err(Into::into)),
            #[cfg(feature = "parquet")]
            Documents::Parquet(documents) => documents.next(),
        }
    }
}

/// Writes a corpus file; an old file is replaced only when the new one is complete.
///
/// # Errors
/// See [`syncabel_corpus::write`].
pub fn write(corpus: &Corpus, path: &Path, format: CorpusFormat) -> Result<()> {
    match format {
        CorpusFormat::Parquet => {
            let mut writer = Writer::create(path, format)?;
            for document in &corpus.documents {
                writer.write(document)?;
            }
            writer.finish()
        }
        _ => Ok(syncabel_corpus::write(corpus, path, format)?),
    }
}

/// Streams documents into a file of a format that can be written piece by piece.
pub enum Writer {
    /// JSON Lines.
    Jsonl(jsonl::Writer),
    /// Parquet.
    #[cfg(feature = "parquet")]
    Parquet(Box<crate::parquet::Writer>),
}

impl Writer {
    /// Whether a format can be written piece by piece.
    pub fn streams(format: CorpusFormat) -> bool {
        matches!(format, CorpusFormat::Jsonl | CorpusFormat::Parquet)
    }

    /// Starts a file: Parquet where the format says so, else JSON Lines.
    ///
    /// # Errors
    /// A folder that cannot be written to; Parquet in a build without it.
    pub fn create(path: &Path, format: CorpusFormat) -> Result<Self> {
        match format {
            #[cfg(feature = "parquet")]
            CorpusFormat::Parquet => Ok(Writer::Parquet(Box::new(crate::parquet::Writer::create(
                path,
            )?))),
            #[cfg(not(feature = "parquet"))]
            CorpusFormat::Parquet => Err(no_parquet(path)),
            _ => Ok(Writer::Jsonl(jsonl::Writer::create(path)?)),
        }
    }

    /// Adds one document.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn write(&mut self, document: &Document) -> Result<()> {
        match self {
            Writer::Jsonl(writer) => Ok(writer.write(document)?),
            #[cfg(feature = "parquet")]
            Writer::Parquet(writer) => writer.write(document),
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn finish(self) -> Result<()> {
        match self {
            Writer::Jsonl(writer) => Ok(writer.finish()?),
            #[cfg(feature = "parquet")]
            Writer::Parquet(writer) => writer.finish(),
        }
    }
}

#[cfg(not(feature = "parquet"))]
fn no_parquet(path: &Path) -> anyhow::Error {
    let message = "this build has no Parquet; build with `--features parquet`";
    crate::error::BadInput(format!("{}: {message}", path.display())).into()
}
