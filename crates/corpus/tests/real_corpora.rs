//! NCBI Disease, BC5CDR, SPACCC and QUAERO against the counts written down beside them.

mod common;

use std::collections::BTreeSet;

use common::data;
use rstest::rstest;
use syncabel_corpus::marked::{AbbreviationStep, MarkOptions, mark};
use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, ReadReport, Split, read, stats, write};

fn ncbi(split: &str) -> Option<(Corpus, ReadReport)> {
    let path = data(&format!("ncbi_disease/{split}.pubtator.txt"))?;
    let options = ReadOptions {
        split: Some(split.parse().unwrap()),
        ..ReadOptions::preset("ncbi_disease").unwrap()
    };
    Some(read(&path, CorpusFormat::Pubtator, &options).unwrap())
}

fn bc5cdr(split: &str) -> Option<(Corpus, ReadReport)> {
    let path = data(&format!("bc5cdr/{split}.pubtator.txt"))?;
    Some(
        read(
            &path,
            CorpusFormat::Pubtator,
            &ReadOptions::preset("bc5cdr").unwrap(),
        )
        .unwrap(),
    )
}

#[rstest]
// Composite counts: rows with `|` plus rows with `+`. The train file's repeated document has 11 mentions, none composite.
#[case("train", 592, 5145 - 11, 93 + 22, 647, 1)]
#[case("dev", 100, 787, 20 + 10, 170, 0)]
#[case("test", 100, 960, 15, 200, 0)]
fn ncbi_disease_has_its_counts(
    #[case] split: &str,
    #[case] documents: usize,
    #[case] mentions: usize,
    #[case] composite: usize,
    #[case] codes: usize,
    #[case] duplicates: usize,
) {
    let Some((corpus, report)) = ncbi(split) else {
        return;
    };
    let expected = ReadReport {
        documents,
        mentions,
        composite,
        duplicate_documents: duplicates,
        duplicate_mentions: 11 * duplicates,
        white_space_differences: duplicates,
        document_lines: report.document_lines.clone(),
        ..ReadReport::default()
    };
    assert_eq!(report, expected);
    let distinct: BTreeSet<&str> = corpus
        .documents
        .iter()
        .flat_map(|d| &d.mentions)
        .flat_map(|m| m.gold.codes())
        .collect();
    assert_eq!(distinct.len(), codes);
    assert!(
        distinct.iter().all(|c| !c.contains(':') && c.trim() == *c),
        "prefixes and blanks are gone"
    );
    corpus.documents.iter().for_each(|d| d.validate().unwrap());
}

#[rstest]
// One row of each file repeats a code (`D020258|D020258|D020258`) and so is no composite: 98 and 100 rows hold a `|`.
#[case("train", 9385, 97, 76, 1038, 107)]
#[case("dev", 9591, 99, 59, 1012, 89)]
fn bc5cdr_has_its_counts(
    #[case] split: &str,
    #[case] mentions: usize,
    #[case] composite: usize,
    #[case] without_concept: usize,
    #[case] relation_lines: usize,
    #[case] component_columns: usize,
) {
    let Some((corpus, report)) = bc5cdr(split) else {
        return;
    };
    let expected = ReadReport {
        documents: 500,
        mentions,
        composite,
        without_concept,
        relation_lines,
        component_columns,
        document_lines: report.document_lines.clone(),
        ..ReadReport::default()
    };
    assert_eq!(report, expected);
    corpus.documents.iter().for_each(|d| d.validate().unwrap());
}

#[test]
fn ncbi_statistics_agree_with_the_notes() {
    let (Some(train), Some(dev), Some(test)) = (ncbi("train"), ncbi("dev"), ncbi("test")) else {
        return;
    };
    let documents = [&train.0, &test.0]
        .into_iter()
        .flat_map(|c| c.documents.clone())
        .collect();
    let stats = stats::statistics(&Corpus { documents });
    println!("{stats}");
    let row = stats
        .rows
        .iter()
        .find(|r| r.split == Some(Split::Test) && r.label.is_none())
        .unwrap();
    assert_eq!(
        (row.documents, row.mentions, row.codes, row.unseen_codes),
        (100, 960, 200, Some(61))
    );
    // The notes count 166: one composite mention has a seen and an unseen part.
    assert_eq!(row.mentions_with_unseen_codes, Some(165));
    // Strings are compared with train and dev there, so dev is made train here.
    let mut all: Vec<_> = [train.0, dev.0, test.0]
        .into_iter()
        .flat_map(|c| c.documents)
        .collect();
    all.iter_mut()
        .filter(|d| d.split == Some(Split::Validation))
        .for_each(|d| d.split = Some(Split::Train));
    let stats = stats::statistics(&Corpus { documents: all });
    let row = stats
        .rows
        .iter()
        .find(|r| r.split == Some(Split::Test) && r.label.is_none())
        .unwrap();
    assert_eq!(
        (row.unseen_codes, row.mentions_with_unseen_codes),
        (Some(56), Some(150))
    );
    assert_eq!(row.mentions_with_unseen_strings, Some(335));
}

#[rstest]
#[case(CorpusFormat::Pubtator, "x.txt.gz")]
#[case(CorpusFormat::Jsonl, "x.jsonl")]
#[case(CorpusFormat::Bigbio, "x.json")]
fn every_format_keeps_the_test_corpora(#[case] format: CorpusFormat, #[case] name: &str) {
    let (Some(ncbi), Some(bc5cdr)) = (ncbi("test"), bc5cdr("dev")) else {
        return;
    };
    for mut corpus in [ncbi.0, bc5cdr.0] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        write(&corpus, &path, format).unwrap();
        let (again, _) = read(&path, format, &ReadOptions::default()).unwrap();
        if format != CorpusFormat::Jsonl {
            corpus.documents.iter_mut().for_each(|d| d.split = None);
        }
        assert_eq!(again, corpus);
    }
}

#[test]
fn abbreviations_of_ncbi_test_mentions() {
    let Some((corpus, _)) = ncbi("test") else {
        return;
    };
    let expand = MarkOptions {
        abbreviations: AbbreviationStep::Expand,
        ..MarkOptions::default()
    };
    let mut changed = Vec::new();
    let mut total = 0;
    for document in &corpus.documents {
        let plain = mark(document, None, &MarkOptions::default()).unwrap();
        let expanded = mark(document, None, &expand).unwrap();
        for (before, after) in plain.iter().zip(expanded) {
            assert!(after.prompt().ends_with(&format!("[{}] is", after.mention)));
            assert!(!after.sentence.contains('\n'));
            total += 1;
            if before.mention != after.mention {
                changed.push(format!(
                    "{}\t{} -> {}",
                    after.document, before.mention, after.mention
                ));
            }
        }
    }
    println!("{} of {total} mentions expanded; a sample:", changed.len());
    for line in changed.iter().step_by((changed.len() / 30).max(1)) {
        println!("{line}");
    }
    assert_eq!(total, 960);
    assert!(
        (150..400).contains(&changed.len()),
        "{} mentions expanded",
        changed.len()
    );
    for expected in [
        "T-PLL -> T-cell prolymphocytic leukaemia",
        "HUS -> hemolytic uremic syndrome",
    ] {
        assert!(
            changed
                .iter()
                .any(|line| line.to_lowercase().ends_with(&expected.to_lowercase())),
            "{expected}"
        );
    }
}

#[rstest]
// A search for `E+` finds more lines: those with `NO_CODE+`.
#[case("train", 750, 18_973, 3, 22)]
#[case("test", 250, 9_250, 15, 12)]
fn spaccc_has_its_counts(
    #[case] split: &str,
    #[case] documents: usize,
    #[case] mentions: usize,
    #[case] lost_codes: usize,
    #[case] quote_differences: usize,
) {
    let Some(path) = data(&format!("spaccc/{split}.tsv")) else {
        return;
    };
    assert_eq!(CorpusFormat::detect(&path), Some(CorpusFormat::Spaccc));
    let options = ReadOptions::default();
    let (corpus, report) = read(&path, CorpusFormat::Spaccc, &options).unwrap();
    assert_eq!(
        (
            report.documents,
            report.mentions,
            report.lost_codes,
            report.quote_differences
        ),
        (documents, mentions, lost_codes, quote_differences)
    );
    let codes: BTreeSet<&str> = corpus
        .documents
        .iter()
        .flat_map(|d| &d.mentions)
        .flat_map(|m| m.gold.codes())
        .collect();
    assert!(
        codes
            .iter()
            .all(|code| code.bytes().all(|b| b.is_ascii_digit())),
        "only SNOMED codes are left"
    );
}

#[rstest]
#[case("EMEA", "train", 11, 2_695, 27, 0)]
#[case("EMEA", "dev", 12, 2_260, 15, 0)]
#[case("EMEA", "test", 15, 2_204, 42, 1)]
#[case("MEDLINE", "train", 833, 2_994, 13, 0)]
#[case("MEDLINE", "dev", 832, 2_977, 21, 2)]
#[case("MEDLINE", "test", 833, 3_103, 23, 9)]
fn quaero_has_its_counts(
    #[case] part: &str,
    #[case] split: &str,
    #[case] documents: usize,
    #[case] mentions: usize,
    #[case] discontinuous: usize,
    #[case] without: usize,
) {
    let Some(path) = data(&format!("quaero/{part}_{split}.jsonl")) else {
        return;
    };
    assert_eq!(CorpusFormat::detect(&path), Some(CorpusFormat::Quaero));
    let (corpus, report) = read(&path, CorpusFormat::Quaero, &ReadOptions::default()).unwrap();
    assert_eq!(
        (report.documents, report.mentions, report.without_concept),
        (documents, mentions, without)
    );
    let several = corpus
        .documents
        .iter()
        .flat_map(|d| &d.mentions)
        .filter(|m| m.spans.len() > 1);
    // Fragments that overlap are joined, so a few mentions may have become continuous.
    assert!(several.count().abs_diff(discontinuous) <= report.reordered_spans);
}
