//! QUAERO as JSON Lines, one document a line: `doc_id`, `split`, `text` and `mentions` with `id`, `type`, `spans`, `text`
//! and `cui`.
//!
//! `cui` is one code, several apart by white space, or nothing. What several mean the corpus does not say:
//! [`crate::ReadOptions::quaero_several_ids`] decides. A malformed code is kept as it is. Fragments that are not in text
//! order or overlap are sorted and joined, the text is then what they cover, and the mention is counted. The language is
//! French, and [`crate::ReadOptions::language`] may not say otherwise. Other keys (`corpus`, `ann`) are not kept.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::document::{
    Document, Gold, Language, Mention, Origin, SpanChars, Split, covered_text, fragments,
};
use crate::error::{Error, Location};
use crate::format::{ReadOptions, ReadReport, SeveralIds};
use crate::io::Lines;
use crate::stream::Source;
use crate::text::CharIndex;

/// The language of the corpus.
pub(crate) const LANGUAGE: Language = Language::Fr;

/// The documents of a file, one by one.
pub(crate) struct Annotated {
    lines: Lines,
    several: SeveralIds,
}

impl Annotated {
    pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Self, Error> {
        Ok(Annotated {
            lines: Lines::open(path)?,
            several: options.quaero_several_ids,
        })
    }
}

impl Source for Annotated {
    fn next(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        while let Some(line) = self.lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let parsed = serde_json::from_str::<Line>(line);
            let at = self.lines.at();
            let line = parsed.map_err(|error| Error::Json {
                at: at.clone(),
                column: error.column().max(1),
                problem: error.to_string(),
            })?;
            let document = document(line, self.several, &at, report)?;
            return Ok(Some((document, at)));
        }
        Ok(None)
    }
}

/// Other fields are refused: other corpora of `doc_id`s keep their codes elsewhere, and would lose them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    doc_id: String,
    #[serde(rename = "corpus", default)]
    _corpus: IgnoredAny,
    #[serde(rename = "ann", default)]
    _annotation: IgnoredAny,
    #[serde(default)]
    split: Option<Split>,
    text: String,
    mentions: Vec<Annotation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotation {
    id: String,
    #[serde(rename = "type")]
    label: String,
    spans: Vec<SpanChars>,
    text: String,
    #[serde(default)]
    cui: Option<String>,
}

fn document(
    line: Line,
    several: SeveralIds,
    at: &Location,
    report: &mut ReadReport,
) -> Result<Document, Error> {
    let mut document = Document {
        id: line.doc_id,
        text: line.text,
        language: LANGUAGE,
        split: line.split,
        origin: Origin::Human,
        mentions: Vec::with_capacity(line.mentions.len()),
    };
    let index = CharIndex::new(&document.text);
    let mut mentions = Vec::with_capacity(line.mentions.len());
    for annotation in line.mentions {
        let spans = in_order(&annotation.spans);
        let moved = spans != annotation.spans;
        let as_written = fragments(&index, &annotation.spans);
        let codes = annotation.cui.as_deref().unwrap_or("").split_whitespace();
        let mut mention = Mention {
            id: format!("{}.{}", document.id, annotation.id),
            spans,
            text: annotation.text,
            label: annotation.label,
            gold: match several {
                SeveralIds::Alternatives => Gold::alternatives(codes),
                SeveralIds::Composite => Gold::composite(codes),
                SeveralIds::First => Gold::alternatives(codes.take(1)),
            },
        };
        let covered = covered_text(&document, &mention, &index, at)?;
        // Annotators write fragments in the order in which they are said.
        if moved && as_written.as_ref() == Some(&mention.text) {
            report.reordered_spans += 1;
            mention.text = covered;
        } else if covered != mention.text {
            return Err(Error::SpanText {
                at: at.clone(),
                document: document.id.clone(),
                start: mention.start_chars(),
                end: mention.end_chars(),
                covered,
                stated: mention.text,
            });
        }
        mentions.push(mention);
    }
    document.mentions = mentions;
    Ok(document)
}

/// Fragments in text order, overlapping ones joined.
fn in_order(spans: &[SpanChars]) -> Vec<SpanChars> {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<SpanChars> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match joined.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Corpus, CorpusFormat};

    fn read_line(line: &str, several: SeveralIds) -> Result<(Corpus, ReadReport), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, line).unwrap();
        let options = ReadOptions {
            quaero_several_ids: several,
            ..ReadOptions::default()
        };
        crate::read(&path, CorpusFormat::Quaero, &options)
    }

    const LINE: &str = r#"{"doc_id":"7","corpus":"EMEA","split":"dev","text":"Douleur du dos forte","mentions":[
        {"id":"T1","type":"DISO","spans":[[0,7]],"text":"Douleur","cui":"C1 C2"},
        {"id":"T2","type":"ANAT","spans":[[11,14],[8,10]],"text":"dos du","cui":null}],"ann":"x"}"#;

    #[test]
    fn several_codes_are_what_the_options_say() {
        let line = LINE.replace('\n', " ");
        for (several, field) in [
            (SeveralIds::Alternatives, "C1|C2"),
            (SeveralIds::Composite, "C1+C2"),
            (SeveralIds::First, "C1"),
        ] {
            let (corpus, report) = read_line(&line, several).unwrap();
            let document = &corpus.documents[0];
            assert_eq!(document.mentions[0].gold.to_field(), field);
            assert_eq!(document.mentions[1].text, "du dos");
            assert_eq!(document.mentions[0].id, "7.T1");
            assert_eq!(
                (document.language, document.split),
                (Language::Fr, Some(Split::Validation))
            );
            assert_eq!((report.reordered_spans, report.without_concept), (1, 1));
        }
    }

    #[test]
    fn errors_name_the_place() {
        let line = LINE.replace('\n', " ");
        for (line, message) in [
            (line.replace("[0,7]", "[0,70]"), "x.jsonl:1: span 0-70"),
            (line.replace("\"Douleur\"", "\"Mal\""), "covers \"Douleur\""),
            (line.replace("doc_id", "id"), "unknown field `id`"),
            // Fragments as they are said, but other words.
            (line.replace("\"dos du\"", "\"dos le\""), "annotation says"),
            // Mantra's files look alike and keep their codes in a list.
            (
                line.replace("\"cui\":", "\"cuis\":"),
                "unknown field `cuis`",
            ),
        ] {
            let error = read_line(&line, SeveralIds::First).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
