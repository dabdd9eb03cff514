//! Sentence splitting and marking on real corpora, beside what the paper's authors released.

mod common;

use std::collections::HashMap;

use common::{data, quaero, spaccc};
use rstest::rstest;
use syncabel_corpus::marked::{GroupRule, MarkOptions, mark};
use syncabel_corpus::predictions::read_tsv;
use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, SpanChars, read, sentence};

/// Sentence lengths in characters, sorted, with checks that hold for any corpus.
fn lengths(corpus: &Corpus) -> Vec<u32> {
    let mut lengths = Vec::new();
    for document in &corpus.documents {
        let spans: Vec<SpanChars> = document
            .mentions
            .iter()
            .flat_map(|m| m.spans.iter().copied())
            .collect();
        let sentences = sentence::split(&document.text, document.language, &spans);
        for span in spans {
            let at = sentences.partition_point(|s| s.end <= span.start);
            assert!(
                sentences[at].contains(span),
                "{:?} of {} is cut",
                span,
                document.id
            );
        }
        lengths.extend(sentences.iter().map(|s| s.len_chars()));
    }
    lengths.sort_unstable();
    lengths
}

#[test]
fn sentences_of_real_corpora_have_plausible_lengths() {
    let pubtator = |path: &str, preset: &str| {
        let path = data(path)?;
        Some(
            read(
                &path,
                CorpusFormat::Pubtator,
                &ReadOptions::preset(preset).unwrap(),
            )
            .unwrap()
            .0,
        )
    };
    let corpora = [
        (
            "NCBI train",
            pubtator("ncbi_disease/train.pubtator.txt", "ncbi_disease"),
        ),
        (
            "BC5CDR train",
            pubtator("bc5cdr/train.pubtator.txt", "bc5cdr"),
        ),
        ("SPACCC train", spaccc("train")),
        ("QUAERO EMEA train", quaero("quaero/EMEA_train.jsonl")),
        ("QUAERO MEDLINE train", quaero("quaero/MEDLINE_train.jsonl")),
    ];
    for (name, corpus) in corpora {
        let Some(corpus) = corpus else { continue };
        let lengths = lengths(&corpus);
        let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize];
        let short = lengths.iter().filter(|l| **l < 15).count() as f64 / lengths.len() as f64;
        println!(
            "{name}: {} documents, {} sentences, characters: 5% {}, median {}, 95% {}, longest {}; {:.1}% under 15",
            corpus.documents.len(),
            lengths.len(),
            at(0.05),
            at(0.5),
            at(0.95),
            at(1.0),
            short * 100.0
        );
        assert!((30..250).contains(&at(0.5)) && at(0.95) < 600, "{name}");
    }
}

/// Our marked sentences against the released ones, which were made with NLTK's trained splitters.
#[rstest]
#[case("SPACCC", 0.97)]
#[case("MEDLINE", 0.99)]
fn marked_sentences_agree_with_the_released_ones(#[case] name: &str, #[case] at_least: f64) {
    let corpus = if name == "SPACCC" {
        spaccc("test")
    } else {
        quaero("quaero/MEDLINE_test.jsonl")
    };
    let file = data(&format!(
        "syncabel_predictions/{name}_Llama_guided_with_SynCABEL.tsv.gz"
    ));
    let (Some(corpus), Some(file)) = (corpus, file) else {
        return;
    };
    // The released tag is compared too, so labels become the groups of that file.
    let groups = [
        ("ANAT", "Anatomy"),
        ("CHEM", "Chemicals & Drugs"),
        ("DEVI", "Devices"),
        ("DISO", "Disorders"),
        ("GEOG", "Geographic Areas"),
        ("LIVB", "Living Beings"),
        ("OBJC", "Objects"),
        ("PHEN", "Phenomena"),
        ("PHYS", "Physiology"),
        ("PROC", "Procedures"),
    ];
    let map = groups
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect();
    let options = MarkOptions {
        groups: GroupRule { map, default: None },
        ..MarkOptions::default()
    };
    let mut ours: HashMap<(String, u32, u32, String), Vec<String>> = HashMap::new();
    for marked in corpus
        .documents
        .iter()
        .flat_map(|d| mark(d, None, &options).unwrap())
    {
        let key = (
            marked.document,
            marked.start_chars,
            marked.end_chars,
            marked.group,
        );
        ours.entry(key).or_default().push(marked.sentence);
    }
    let (mut rows, mut same, mut shown, mut no_twin) = (0, 0, 0, 0);
    for row in read_tsv(&file).unwrap() {
        let key = (
            row.filename.clone(),
            row.start_span,
            row.end_span,
            row.label.clone(),
        );
        let Some(sentences) = ours.get(&key) else {
            no_twin += 1;
            continue;
        };
        rows += 1;
        if sentences.contains(&row.sentence) {
            same += 1;
        } else if shown < 12 {
            shown += 1;
            println!("theirs {}\nours   {}\n", row.sentence, sentences[0]);
        }
    }
    let share = f64::from(same) / f64::from(rows);
    println!(
        "{name}: {same} of {rows} marked sentences are the same ({:.2}%), {no_twin} rows without a twin",
        share * 100.0
    );
    assert!(rows > 2900 && share > at_least, "{share}");
}
