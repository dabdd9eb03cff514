//! Real corpora beside the repository, where they are.

use std::path::PathBuf;

use syncabel_corpus::{Corpus, Document, Gold, Language, Mention, Origin, SpanChars, Split};

/// A file or folder of the shared data; says loudly that it is not there.
pub(crate) fn data(path: &str) -> Option<PathBuf> {
    let full =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("SKIPPED: no {path} under ../shared/data beside the repository");
    None
}

/// QUAERO's JSON Lines (own field names) as documents.
#[allow(dead_code)]
pub(crate) fn quaero(path: &str) -> Option<Corpus> {
    let text = std::fs::read_to_string(data(path)?).unwrap();
    let documents = text.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = value["doc_id"].as_str().unwrap().to_owned();
        let mentions = value["mentions"].as_array().unwrap().iter().map(|m| {
            let mut spans: Vec<SpanChars> = serde_json::from_value(m["spans"].clone()).unwrap();
            Mention {
                id: m["id"].as_str().unwrap().to_owned(),
                text: in_text_order(m["text"].as_str().unwrap(), &mut spans),
                spans,
                label: m["type"].as_str().unwrap().to_owned(),
                gold: m["cui"]
                    .as_str()
                    .map_or_else(Gold::none, |cui| Gold::alternatives(cui.split(' '))),
            }
        });
        let mentions = mentions.collect();
        document(id, value["text"].as_str().unwrap(), Language::Fr, mentions)
    });
    Some(Corpus {
        documents: documents.collect(),
    })
}

/// Two mentions list a later fragment first; our documents have them in text order.
#[allow(dead_code)]
fn in_text_order(stated: &str, spans: &mut [SpanChars]) -> String {
    if spans.is_sorted() {
        return stated.to_owned();
    }
    let first_chars = spans[0].len_chars() as usize;
    let (first, second): (String, String) = (
        stated.chars().take(first_chars).collect(),
        stated.chars().skip(first_chars + 1).collect(),
    );
    spans.sort_unstable();
    format!("{second} {first}")
}

/// SPACCC's texts and annotation table as documents.
#[allow(dead_code)]
pub(crate) fn spaccc(split: &str) -> Option<Corpus> {
    let texts = std::fs::read_to_string(data(&format!("spaccc/{split}_texts.jsonl"))?).unwrap();
    let table = std::fs::read_to_string(data(&format!("spaccc/{split}.tsv"))?).unwrap();
    let mut documents: Vec<Document> = texts
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = value["doc_id"].as_str().unwrap().to_owned();
            document(
                id,
                value["text"].as_str().unwrap(),
                Language::Es,
                Vec::new(),
            )
        })
        .collect();
    documents.sort_by(|a, b| a.id.cmp(&b.id));
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let id = cells[0];
        let at = documents
            .binary_search_by(|d| d.id.as_str().cmp(id))
            .unwrap();
        let document = &mut documents[at];
        let span = SpanChars::new(cells[2].parse().unwrap(), cells[3].parse().unwrap());
        // The table's own text has doubled quotes; the document's is right.
        let text = document
            .text
            .chars()
            .skip(span.start as usize)
            .take(span.len_chars() as usize)
            .collect();
        document.mentions.push(Mention {
            id: format!("{id}.{}", document.mentions.len() + 1),
            spans: vec![span],
            text,
            label: cells[1].to_owned(),
            gold: Gold::from_field(cells[5]),
        });
    }
    Some(Corpus { documents })
}

fn document(id: String, text: &str, language: Language, mentions: Vec<Mention>) -> Document {
    Document {
        id,
        text: text.to_owned(),
        language,
        split: Some(Split::Test),
        origin: Origin::Human,
        mentions,
    }
}
