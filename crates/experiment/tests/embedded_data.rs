//! The embedded corpus is what the README says: large enough, consistent with its KB, split by concept, and written
//! sentence by sentence.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use syncabel_corpus::marked::{self, MarkOptions};
use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, sentence};
use syncabel_kb::select::{NameSelector, Selection};
use syncabel_kb::{BuildOptions, Kb, SourceFormat};

fn kb() -> Kb {
    let path = common::repository().join("experiments/embedded/data/kb.jsonl");
    let source = syncabel_kb::load(&path, SourceFormat::Jsonl, None).unwrap();
    syncabel_kb::build(
        source.concepts,
        vec![source.digest],
        &BuildOptions::default(),
    )
    .unwrap()
    .0
}

fn corpus(split: &str) -> Corpus {
    let path = common::repository().join(format!("experiments/embedded/data/{split}.jsonl"));
    syncabel_corpus::read(&path, CorpusFormat::Jsonl, &ReadOptions::default())
        .unwrap()
        .0
}

fn sentences(corpus: &Corpus) -> Vec<String> {
    let of_document = |d: &syncabel_corpus::Document| {
        let spans: Vec<_> = d.mentions.iter().flat_map(|m| m.spans.clone()).collect();
        let chars: Vec<char> = d.text.chars().collect();
        sentence::split(&d.text, d.language, &spans)
            .into_iter()
            .map(|s| chars[s.start as usize..s.end as usize].iter().collect())
            .collect::<Vec<String>>()
    };
    corpus.documents.iter().flat_map(of_document).collect()
}

#[test]
fn it_is_large_enough() {
    let kb = kb();
    assert!(kb.concept_count() >= 400);
    assert!(kb.group_count() >= 3);
    for concept in kb.concepts() {
        assert!(
            concept.definitions().next().is_some(),
            "{} has no definition",
            concept.code()
        );
        let prefix = concept.code().split(':').next().unwrap();
        assert!(
            ["MESH", "HP", "DOID"].contains(&prefix),
            "{}",
            concept.code()
        );
    }
    let splits = ["train", "validation", "test"].map(corpus);
    assert!(splits.iter().map(|c| sentences(c).len()).sum::<usize>() >= 500);
    assert!(splits.iter().map(Corpus::mention_count).sum::<usize>() >= 700);
}

#[test]
fn every_mention_becomes_a_row_and_a_third_of_the_test_concepts_is_unseen() {
    let kb = kb();
    let selector = NameSelector::new(&kb, Selection::Tfidf);
    let mut codes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for split in ["train", "validation", "test"] {
        let corpus = corpus(split);
        let (rows, report) =
            marked::examples(&corpus, &kb, &selector, &MarkOptions::default()).unwrap();
        assert_eq!(rows.len(), corpus.mention_count(), "{split}: {report}");
        codes.insert(split, rows.into_iter().flat_map(|row| row.codes).collect());
    }
    let seen: BTreeSet<&String> = codes["train"].union(&codes["validation"]).collect();
    let unseen = codes["test"]
        .iter()
        .filter(|code| !seen.contains(code))
        .count();
    assert!(
        3 * unseen >= codes["test"].len(),
        "{unseen} of {}",
        codes["test"].len()
    );
}

#[test]
fn no_two_sentences_are_near_duplicates() {
    let all: Vec<String> = ["train", "validation", "test"]
        .iter()
        .flat_map(|s| sentences(&corpus(s)))
        .collect();
    let shingles = |text: &String| -> HashSet<Vec<String>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        words.windows(3).map(<[String]>::to_vec).collect()
    };
    let sets: Vec<HashSet<Vec<String>>> = all.iter().map(shingles).collect();
    for i in 0..sets.len() {
        for j in 0..i {
            let common = sets[i].intersection(&sets[j]).count();
            let union = sets[i].len() + sets[j].len() - common;
            assert!(
                union == 0 || 2 * common < union,
                "{:?} and {:?}",
                all[i],
                all[j]
            );
        }
    }
    let distinct: HashSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "a sentence occurs twice");
}
