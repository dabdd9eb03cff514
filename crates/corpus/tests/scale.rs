//! Large and hostile inputs take time in proportion to their size.

use std::time::{Duration, Instant};

use syncabel_corpus::abbreviation::{Expander, definitions};
use syncabel_corpus::marked::{AbbreviationStep, MarkOptions, mark};
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, SpanChars, sentence};

/// Far above what linear code needs on a busy machine, far below what quadratic code needs.
const LIMIT: Duration = Duration::from_secs(30);

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < LIMIT, "{what} took {:?}", start.elapsed());
    result
}

#[test]
fn one_document_of_many_sentences_and_mentions() {
    const SENTENCES: u32 = 100_000;
    let sentence_text = "Le 𝛼-goutte (GT) est là. ";
    let length = sentence_text.chars().count() as u32;
    let text = sentence_text.repeat(SENTENCES as usize);
    let mention = |i: u32| Mention {
        id: i.to_string(),
        spans: vec![SpanChars::new(i * length + 3, i * length + 11)],
        text: "𝛼-goutte".to_owned(),
        label: "D".to_owned(),
        gold: Gold::one("X"),
    };
    let doc = Document {
        id: "d".into(),
        text,
        language: Language::Fr,
        split: None,
        origin: Origin::Human,
        mentions: (0..SENTENCES).map(mention).collect(),
    };
    let options = MarkOptions {
        abbreviations: AbbreviationStep::Expand,
        ..MarkOptions::default()
    };
    let marked = timed("marking 100,000 mentions of one document", || {
        mark(&doc, None, &options).unwrap()
    });
    assert_eq!(marked.len(), SENTENCES as usize);
    assert!(
        marked
            .iter()
            .all(|m| m.sentence == "Le [𝛼-goutte]{D} (GT) est là.")
    );
}

#[test]
fn hostile_texts() {
    for piece in [
        "(", "(A)", "((A)", "A.", "A. ", "a. (", "(Ab ", ". ", "\"", "1. ", "X) (",
    ] {
        let text = piece.repeat(200_000);
        timed(&format!("sentences of {piece:?}"), || {
            sentence::split(&text, Language::En, &[])
        });
        timed(&format!("definitions of {piece:?}"), || definitions(&text));
    }
    let expander = Expander::for_document("Gout syndrome (GS)");
    let mention = "GS ".repeat(10_000);
    timed("expanding a long mention", || expander.expand(&mention));
}
