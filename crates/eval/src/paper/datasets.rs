//! What our readers count in the corpora, for the table that the paper has of its data sets.
//!
//! [`Datasets::count`] needs the corpora; its counts are committed as `results/published/datasets.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, read};

use super::Sources;
use super::tables::{NOT_KNOWN, corpus_name};
use crate::tables::Table;
use crate::{Error, published::CORPORA};

/// Counts of the corpora at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datasets {
    /// One entry per corpus and split.
    pub splits: Vec<SplitCounts>,
    /// The rows that the authors' code watches training on for SPACCC.
    pub monitoring: Option<Monitoring>,
}

/// One split of one corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts {
    /// The corpus.
    pub corpus: String,
    /// `train`, `dev` or `test`.
    pub split: String,
    /// Documents.
    pub documents: usize,
    /// Annotated mentions.
    pub mentions: usize,
    /// Mentions without a code, or with one that says that there is none.
    pub without_code: usize,
    /// Mentions with several codes.
    pub several_codes: usize,
}

/// The last tenth of SPACCC's test rows, in the order of the released file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitoring {
    /// Rows of the test file.
    pub test_rows: usize,
    /// Documents of the test file.
    pub test_documents: usize,
    /// Rows of its last tenth.
    pub rows: usize,
    /// Documents that those rows lie in.
    pub documents: usize,
}

/// File of a split, by corpus, split and format.
const FILES: [(&str, &str, CorpusFormat, &str); 11] = [
    (
        "MEDLINE",
        "train",
        CorpusFormat::Quaero,
        "quaero/MEDLINE_train.jsonl",
    ),
    (
        "MEDLINE",
        "dev",
        CorpusFormat::Quaero,
        "quaero/MEDLINE_dev.jsonl",
    ),
    (
        "MEDLINE",
        "test",
        CorpusFormat::Quaero,
        "quaero/MEDLINE_test.jsonl",
    ),
    (
        "EMEA",
        "train",
        CorpusFormat::Quaero,
        "quaero/EMEA_train.jsonl",
    ),
    ("EMEA", "dev", CorpusFormat::Quaero, "quaero/EMEA_dev.jsonl"),
    (
        "EMEA",
        "test",
        CorpusFormat::Quaero,
        "quaero/EMEA_test.jsonl",
    ),
    ("SPACCC", "train", CorpusFormat::Spaccc, "spaccc/train.tsv"),
    ("SPACCC", "test", CorpusFormat::Spaccc, "spaccc/test.tsv"),
    (
        "NCBI Disease",
        "train",
        CorpusFormat::Pubtator,
        "ncbi_disease/train.pubtator.txt",
    ),
    (
        "NCBI Disease",
        "dev",
        CorpusFormat::Pubtator,
        "ncbi_disease/dev.pubtator.txt",
    ),
    (
        "NCBI Disease",
        "test",
        CorpusFormat::Pubtator,
        "ncbi_disease/test.pubtator.txt",
    ),
];

impl Datasets {
    /// Counts what a folder of released data holds; files that are absent are left out.
    ///
    /// # Errors
    /// Those of reading.
    pub fn count(data: &Path) -> Result<Self, Error> {
        let mut datasets = Datasets::default();
        for (corpus, split, format, file) in FILES {
            let path = data.join(file);
            if !path.is_file() {
                continue;
            }
            let options = match format {
                CorpusFormat::Pubtator => ReadOptions::preset("ncbi_disease")?,
                _ => ReadOptions::default(),
            };
            let (documents, _) = read(&path, format, &options)?;
            datasets
                .splits
                .push(SplitCounts::of(corpus, split, &documents));
        }
        let test = data.join("spaccc/test.tsv");
        if test.is_file() {
            datasets.monitoring = Some(Monitoring::count(&test)?);
        }
        Ok(datasets)
    }

    /// JSON with one line per entry.
    pub fn to_json(&self) -> String {
        let line = |split: &SplitCounts| serde_json::to_string(split).unwrap_or_default();
        let splits: Vec<String> = self.splits.iter().map(line).collect();
        let monitoring = serde_json::to_string(&self.monitoring).unwrap_or_default();
        format!(
            "{{\"splits\": [\n{}\n],\n\"monitoring\": {monitoring}}}\n",
            splits.join(",\n")
        )
    }
}

impl SplitCounts {
    fn of(corpus: &str, split: &str, read: &Corpus) -> Self {
        let codes = |mention: &syncabel_corpus::Mention| mention.gold.codes().count();
        let mentions = || read.documents.iter().flat_map(|d| &d.mentions).map(codes);
        SplitCounts {
            corpus: corpus.to_owned(),
            split: split.to_owned(),
            documents: read.documents.len(),
            mentions: read.mention_count(),
            without_code: mentions().filter(|codes| *codes == 0).count(),
            several_codes: mentions().filter(|codes| *codes > 1).count(),
        }
    }
}

impl Monitoring {
    fn count(test: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(test).map_err(Error::io(test))?;
        let names: Vec<&str> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split('\t').next())
            .collect();
        let distinct = |names: &[&str]| names.iter().collect::<BTreeSet<_>>().len();
        let tail = &names[names.len() * 9 / 10..];
        Ok(Monitoring {
            test_rows: names.len(),
            test_documents: distinct(&names),
            rows: tail.len(),
            documents: distinct(tail),
        })
    }
}

/// Documents and mentions: totals that the authors state, then what our readers count.
pub(super) fn counts(sources: &Sources) -> Result<Table, Error> {
    let mut table = Table::of(
        "Documents and mentions",
        &[
            "corpus",
            "split",
            "documents",
            "mentions",
            "without a code",
            "several codes",
            "scored",
        ],
    );
    let known = |count: Option<usize>| count.map_or(NOT_KNOWN.to_owned(), |n| n.to_string());
    for row in &sources.published.datasets {
        let mut cells = vec![
            corpus_name(&row.corpus).to_owned(),
            row.part.clone(),
            known(row.documents),
            known(row.mentions),
        ];
        cells.extend([0; 3].map(|_| NOT_KNOWN.to_owned()));
        table.push(cells)?;
    }
    for split in &sources.datasets.splits {
        table.push(vec![
            split.corpus.clone(),
            split.split.clone(),
            split.documents.to_string(),
            split.mentions.to_string(),
            split.without_code.to_string(),
            split.several_codes.to_string(),
            scored(sources, split),
        ])?;
    }
    Ok(table)
}

/// Mentions of a test split that the authors' prediction files are scored on.
fn scored(sources: &Sources, split: &SplitCounts) -> String {
    if split.split != "test" || !CORPORA.contains(&split.corpus.as_str()) {
        return "–".to_owned();
    }
    let report = sources.recomputed.main(&split.corpus, "interleaved");
    report.map_or("no file".to_owned(), |r| r.rows.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_committed_counts_are_those_of_the_corpora() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let data = root.join("../shared/data");
        if !data.join("spaccc/test.tsv").is_file() {
            // not `eprintln!`: the test harness would swallow it in a test that passes
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {} is absent, the corpora are not counted",
                data.display()
            );
            return;
        }
        let committed = fs::read_to_string(root.join("results/published/datasets.json")).unwrap();
        assert_eq!(Datasets::count(&data).unwrap().to_json(), committed);
    }

    #[test]
    fn the_last_tenth_is_counted_in_the_order_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.tsv");
        let rows: String = (0..19).map(|i| format!("d{}\tx\n", i / 2)).collect();
        fs::write(&path, format!("filename\tlabel\n{rows}")).unwrap();
        let monitoring = Monitoring::count(&path).unwrap();
        assert_eq!((monitoring.test_rows, monitoring.rows), (19, 2));
        assert_eq!((monitoring.test_documents, monitoring.documents), (10, 2));
    }
}
