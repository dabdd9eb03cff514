//! A KB of a few concepts and a corpus with all three splits.

#![allow(dead_code)] // each test file uses its part

use syncabel_corpus::marked::MarkOptions;
use syncabel_corpus::{Corpus, Document, Gold, Language, Mention, Origin, SpanChars, Split};
use syncabel_kb::{BuildOptions, Kb, RawConcept, build};
use syncabel_synth::TrainSentences;

pub(crate) fn concept(code: &str, group: &str, names: &[&str], definition: &str) -> RawConcept {
    RawConcept {
        code: code.to_owned(),
        preferred_name: names[0].to_owned(),
        names: names.iter().map(|&n| n.to_owned()).collect(),
        groups: vec![group.to_owned()],
        semantic_types: vec!["Disease or Syndrome".to_owned()],
        definitions: (!definition.is_empty())
            .then(|| definition.to_owned())
            .into_iter()
            .collect(),
        ..RawConcept::default()
    }
}

pub(crate) fn kb() -> Kb {
    let concepts = vec![
        concept(
            "D006073",
            "Disorders",
            &["Gout", "Gouty Arthritis", "Urate Crystal Arthritis"],
            "Arthritis caused by crystals of urate in a joint.",
        ),
        concept("D001249", "Disorders", &["Asthma", "Bronchial Asthma"], ""),
        concept(
            "D000493",
            "Chemicals",
            &["Allopurinol", "Zyloric"],
            "A drug that lowers urate.",
        ),
    ];
    build(concepts, vec![], &BuildOptions::default()).unwrap().0
}

/// A document of one sentence with one mention, which is found in the text.
pub(crate) fn document(id: &str, split: Split, text: &str, mention: &str, code: &str) -> Document {
    let before = text[..text.find(mention).unwrap()].chars().count() as u32;
    let span = SpanChars::new(before, before + mention.chars().count() as u32);
    Document {
        id: id.to_owned(),
        text: text.to_owned(),
        language: Language::En,
        split: Some(split),
        origin: Origin::Human,
        mentions: vec![Mention {
            id: format!("{id}.1"),
            spans: vec![span],
            text: mention.to_owned(),
            label: if code == "D000493" {
                "Chemicals"
            } else {
                "Disorders"
            }
            .to_owned(),
            gold: Gold::one(code),
        }],
    }
}

pub(crate) fn corpus() -> Corpus {
    let train = [
        (
            "t1",
            "Wheezing began after asthma had been quiet for years.",
            "asthma",
            "D001249",
        ),
        (
            "t2",
            "Her gout [tophaceous] flared on Monday.",
            "gout",
            "D006073",
        ),
        (
            "t3",
            "Gouty arthritis of the knee was drained.",
            "Gouty arthritis",
            "D006073",
        ),
        (
            "t4",
            "Allopurinol was stopped because of a rash.",
            "Allopurinol",
            "D000493",
        ),
    ];
    let other = [
        (
            "v1",
            Split::Validation,
            "Childhood asthma was common in the valley.",
            "asthma",
            "D001249",
        ),
        (
            "x1",
            Split::Test,
            "The tester saw gout in both great toes.",
            "gout",
            "D006073",
        ),
    ];
    let train =
        train.map(|(id, text, mention, code)| document(id, Split::Train, text, mention, code));
    let other =
        other.map(|(id, split, text, mention, code)| document(id, split, text, mention, code));
    Corpus {
        documents: train.into_iter().chain(other).collect(),
    }
}

pub(crate) fn contexts(kb: &Kb) -> TrainSentences {
    TrainSentences::from_corpus(&corpus(), kb, &MarkOptions::default()).unwrap()
}
