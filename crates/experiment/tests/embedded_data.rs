//! The embedded corpus is what the README says: large enough, consistent with its KB, split by concept, and written
//! sentence by sentence.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use syncabel_corpus::marked::{self, MarkOptions};
use syncabel_corpus::{Corpus, CorpusFormat, ReadOptions, sentence};
use syncabel_experiment::config::ExperimentFile;
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

/// The data card says so, and whoever reads the corpus relies on it.
#[test]
fn each_half_of_the_corpus_annotates_its_groups_only() {
    for split in ["train", "validation", "test"] {
        for document in &corpus(split).documents {
            let groups: &[&str] = match &document.id[..5] {
                "emb-d" => &["Disorders", "Phenotypes"],
                "emb-c" => &["Chemicals & Drugs", "Procedures", "Anatomy"],
                other => panic!("{other}"),
            };
            for mention in &document.mentions {
                assert!(groups.contains(&mention.label.as_str()), "{}", mention.id);
            }
        }
    }
}

/// A word inside the name of something else, an organ for a finding, a wider word for a narrower concept: mistakes that a
/// review found and that must not come back.
#[test]
fn corrected_annotations_stay_corrected() {
    let all: Vec<_> = ["train", "validation", "test"]
        .iter()
        .flat_map(|s| corpus(s).documents)
        .flat_map(|d| d.mentions)
        .collect();
    let says = |text: &str, code: &str| {
        let same = |m: &&syncabel_corpus::Mention| {
            m.text.eq_ignore_ascii_case(text) && m.gold.codes().any(|c| c == code)
        };
        all.iter().find(same).map(|m| m.id.clone())
    };
    for (text, code) in [
        ("Swollen calf", "HP:0010741"),
        ("sicca symptoms", "MESH:D012859"),
        ("spleen", "HP:0001744"),
        ("fluid", "HP:0001541"),
        ("pegylated interferon", "MESH:C100416"),
        ("pegylated IFN", "MESH:C100416"),
        ("convulsion", "HP:0002069"),
    ] {
        assert_eq!(says(text, code), None, "{text}");
    }
    let documents = ["train", "validation"].map(corpus);
    for document in documents.iter().flat_map(|c| &c.documents) {
        let text = document.text.to_lowercase();
        let inside = |phrase: &str, word: &str| {
            text.contains(phrase) && document.mentions.iter().any(|m| m.text == word)
        };
        assert!(!inside("thyroid storm", "thyroid"), "{}", document.id);
        assert!(
            !inside("persistent pulmonary hypertension", "pulmonary"),
            "{}",
            document.id
        );
    }
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

/// Every experiment that is shipped can be read, and says what each of its cells is.
#[test]
fn experiment_files_are_understood() {
    let mut folders = vec![common::repository().join("experiments")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let file = ExperimentFile::read(&path, &[]).unwrap();
                let cells = file.cells().unwrap();
                assert!(!cells.is_empty(), "{}", path.display());
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.insert(name);
            }
        }
    }
    for expected in ["template", "quickstart", "compare", "human_ratio_sampled"] {
        assert!(found.contains(expected), "{expected} not in {found:?}");
    }
}
