//! The transplant over names as terminologies really write them: any characters, anywhere.

mod common;

use common::concept;
use proptest::collection::vec;
use proptest::prelude::*;
use syncabel_corpus::{Document, Gold};
use syncabel_kb::{BuildOptions, build};
use syncabel_synth::{SynthOptions, Transplant, synthesise};

/// Sentences for one disease with these names, beside the common ones; every sentence is checked.
/// Sentences of that disease; nothing where the terminology has no use for any of its names.
fn transplant(names: &[&str]) -> usize {
    let concepts = vec![
        concept("D006073", "Disorders", &["Gout", "Gouty Arthritis"], ""),
        concept("D001249", "Disorders", &["Asthma"], ""),
        concept("D000493", "Chemicals", &["Allopurinol"], ""),
        concept("X1", "Disorders", names, ""),
    ];
    let (kb, _) = build(concepts, Vec::new(), &BuildOptions::default()).unwrap();
    let options = SynthOptions {
        sentences_per_concept: 4,
        ..SynthOptions::default()
    };
    let contexts = common::contexts(&kb);
    let (corpus, _) = synthesise(&Transplant, &kb, &contexts, &options).unwrap();
    assert!(!corpus.documents.is_empty());
    for document in &corpus.documents {
        let text: Vec<char> = document.text.chars().collect();
        for mention in &document.mentions {
            let [span] = mention.spans[..] else {
                panic!("{mention:?} has not one span");
            };
            let there: String = text[span.start as usize..span.end as usize]
                .iter()
                .collect();
            assert_eq!(there, mention.text, "{}", document.text);
        }
    }
    let of_disease = |document: &&Document| {
        let mut golds = document.mentions.iter().map(|m| &m.gold);
        golds.any(|gold| *gold == Gold::one("X1"))
    };
    corpus.documents.iter().filter(of_disease).count()
}

#[test]
fn a_hyphen_may_stand_before_the_first_word() {
    for name in [
        "(+)-Catechin",
        "(-)-glyceollin II",
        "-itis",
        "(-)-",
        "'-X Y",
    ] {
        assert_eq!(transplant(&[name]), 4, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn no_name_is_too_strange(names in vec("[-+()' ,;&/A-Za-z0-9éßİαΣ🤒]{1,16}", 1..4)) {
        let names: Vec<&str> = names.iter().map(|name| name.trim()).filter(|n| !n.is_empty()).collect();
        prop_assume!(!names.is_empty());
        transplant(&names);
    }
}
