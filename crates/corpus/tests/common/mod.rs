//! Real corpora beside the repository, where they are.

use std::io::Write;
use std::path::{Path, PathBuf};

use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, Split};

/// A file or folder of the shared data; says loudly that it is not there.
pub(crate) fn data(path: &str) -> Option<PathBuf> {
    let full =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(path);
    if full.exists() {
        return Some(full);
    }
    // not `eprintln!`: the test harness would swallow it in a test that passes
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no {path} under ../shared/data beside the repository"
    );
    None
}

/// A QUAERO file.
#[allow(dead_code)]
pub(crate) fn quaero(path: &str) -> Option<Corpus> {
    Some(read_as(&data(path)?, CorpusFormat::Quaero))
}

/// SPACCC's texts and annotation table.
#[allow(dead_code)]
pub(crate) fn spaccc(split: &str) -> Option<Corpus> {
    Some(read_as(
        &data(&format!("spaccc/{split}.tsv"))?,
        CorpusFormat::Spaccc,
    ))
}

#[allow(dead_code)]
fn read_as(path: &Path, format: CorpusFormat) -> Corpus {
    let options = ReadOptions {
        split: Some(Split::Test),
        ..ReadOptions::default()
    };
    syncabel_corpus::read(path, format, &options).unwrap().0
}
