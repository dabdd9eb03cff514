//! BigBio's KB schema as JSON: an array of documents, one document a line, or `{"data": [...]}`. Read document by document; errors
//! give the line on which the document begins (of broken JSON, the place where it breaks), and name the document.
//!
//! | part of the schema | kept |
//! |---|---|
//! | `document_id` (else `id`) | document id |
//! | `passages[].text`, `passages[].offsets` | the document text: every passage stands at its offset, gaps are spaces |
//! | `entities[].id`, `.type` | mention id, label |
//! | `entities[].offsets` | the fragments of a mention |
//! | `entities[].text` | checked against the text: white space may differ, nothing else |
//! | `entities[].normalized[].db_id` | gold; what several mean is [`crate::ReadOptions::bigbio_several_ids`], and a `+` inside one joins a composite |
//! | `entities[].normalized[].db_name`, `passages[].type`, `events`, `coreferences`, `relations` | not kept |
//!
//! Offsets are Unicode code points, 0-based, end-exclusive. Language, origin and split are not part of the schema: the reader takes
//! language and split from its options. The writer makes one passage per document, one `normalized` entry per alternative,
//! with an empty `db_name`; the split is kept in nothing, so write one file per split.

mod elements;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::elements::{Element, Elements};
use crate::document::{
    Composite, Corpus, Document, Gold, Mention, Origin, SpanChars, covered_text, fragments,
    split_codes,
};
use crate::error::{Error, Location};
use crate::format::{Join, ReadOptions, ReadReport};
use crate::io::NewFile;
use crate::stream::Source;
use crate::text::CharIndex;

/// The documents of a file, one by one.
pub(crate) struct Records {
    elements: Elements,
    path: PathBuf,
    options: ReadOptions,
}

impl Records {
    pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Self, Error> {
        Ok(Records {
            elements: Elements::open(path)?,
            path: path.to_path_buf(),
            options: options.clone(),
        })
    }
}

impl Source for Records {
    fn next(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        let Some(element) = self.elements.next()? else {
            return Ok(None);
        };
        let Element { text, line, column } = element;
        let record: Record = serde_json::from_str(&text)
            .map_err(|error| elements::json(&self.path, line, column, &error))?;
        let at = Location::line(&self.path, line);
        let document = document(record, &self.options, &at, report)?;
        Ok(Some((document, at)))
    }
}

/// The document of a record that was found elsewhere than in a JSON file.
pub(crate) fn from_value(
    record: Value,
    options: &ReadOptions,
    at: &Location,
    report: &mut ReadReport,
) -> Result<Document, Error> {
    let record: Record = serde_json::from_value(record).map_err(|e| Error::Structure {
        at: at.clone(),
        problem: e.to_string(),
    })?;
    document(record, options, at, report)
}

/// Writes a BigBio file: a JSON array, one document a line.
///
/// # Errors
/// [`Error::Io`].
pub fn write(corpus: &Corpus, path: &Path) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    let mut separator = "[\n";
    for document in &corpus.documents {
        let json =
            serde_json::to_string(&record(document)).map_err(|e| Error::io(path)(e.into()))?;
        write!(file, "{separator}{json}").map_err(Error::io(path))?;
        separator = ",\n";
    }
    let end = if corpus.documents.is_empty() {
        "[]\n"
    } else {
        "\n]\n"
    };
    file.write_all(end.as_bytes()).map_err(Error::io(path))?;
    file.finish()
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default, deserialize_with = "text_or_number")]
    id: String,
    #[serde(default, deserialize_with = "text_or_number")]
    document_id: String,
    passages: Vec<Passage>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    coreferences: Vec<Value>,
    #[serde(default)]
    relations: Vec<Value>,
}

impl Record {
    /// The id of the document.
    fn name(&self) -> &str {
        if self.document_id.is_empty() {
            &self.id
        } else {
            &self.document_id
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Passage {
    #[serde(default, deserialize_with = "text_or_number")]
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    text: OneOrMore,
    offsets: Vec<SpanChars>,
}

#[derive(Serialize, Deserialize)]
struct Entity {
    #[serde(default, deserialize_with = "text_or_number")]
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    text: OneOrMore,
    offsets: Vec<SpanChars>,
    #[serde(default)]
    normalized: Vec<Normalized>,
}

#[derive(Serialize, Deserialize)]
struct Normalized {
    #[serde(default)]
    db_name: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    db_id: String,
}

/// The schema says a list; some files have a string.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<String>),
    One(String),
}

impl OneOrMore {
    fn parts(&self) -> &[String] {
        match self {
            OneOrMore::More(parts) => parts,
            OneOrMore::One(part) => std::slice::from_ref(part),
        }
    }
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(i64),
        Missing(()),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
        Id::Missing(()) => String::new(),
    })
}

fn document(
    record: Record,
    options: &ReadOptions,
    at: &Location,
    report: &mut ReadReport,
) -> Result<Document, Error> {
    let mut document = Document {
        id: record.name().to_owned(),
        text: String::new(),
        language: options.language,
        split: None,
        origin: Origin::Human,
        mentions: Vec::with_capacity(record.entities.len()),
    };
    document.text = passages_text(&record.passages, &document.id, at)?;
    let index_text = document.text.clone();
    let index = CharIndex::new(&index_text);
    for entity in record.entities {
        let mut mention = Mention {
            id: entity.id,
            spans: entity.offsets,
            text: entity.text.parts().join(" "),
            label: entity.kind,
            gold: gold(&entity.normalized, options.bigbio_several_ids),
        };
        let visible = |text: &str| {
            text.chars()
                .filter(|c| !c.is_whitespace())
                .collect::<String>()
        };
        let moved = !mention.spans.is_sorted();
        let as_written = fragments(&index, &mention.spans);
        mention.spans.sort_unstable();
        let covered = covered_text(&document, &mention, &index, at)?;
        // Annotators write fragments in the order in which they are said.
        if moved && as_written.is_some_and(|text| visible(&text) == visible(&mention.text)) {
            report.reordered_spans += 1;
            mention.text = covered;
        } else if covered != mention.text {
            if visible(&covered) != visible(&mention.text) {
                return Err(Error::SpanText {
                    at: at.clone(),
                    document: document.id,
                    start: mention.start_chars(),
                    end: mention.end_chars(),
                    covered,
                    stated: mention.text,
                });
            }
            report.white_space_differences += 1;
            mention.text = covered;
        }
        document.mentions.push(mention);
    }
    Ok(document)
}

/// Every passage at its offset, gaps filled with spaces.
fn passages_text(passages: &[Passage], document: &str, at: &Location) -> Result<String, Error> {
    let mut parts: Vec<(SpanChars, &str)> = Vec::new();
    for passage in passages {
        let texts = passage.text.parts();
        if texts.len() != passage.offsets.len() {
            return Err(Error::Structure {
                at: at.clone(),
                problem: format!(
                    "passage {:?} of document {document} has {} texts and {} offsets",
                    passage.id,
                    texts.len(),
                    passage.offsets.len()
                ),
            });
        }
        parts.extend(
            passage
                .offsets
                .iter()
                .copied()
                .zip(texts.iter().map(String::as_str)),
        );
    }
    parts.sort_by_key(|(span, _)| *span);
    let mut text = String::new();
    let mut length_chars = 0usize;
    for (span, part) in parts {
        let start = span.start as usize;
        if start < length_chars || start > length_chars + MAX_GAP_CHARS {
            return Err(Error::Structure {
                at: at.clone(),
                problem: format!(
                    "a passage of document {document} starts at character {start}, but the text before it ends at {length_chars}"
                ),
            });
        }
        text.extend(std::iter::repeat_n(' ', start - length_chars));
        text.push_str(part);
        length_chars = start + part.chars().count();
    }
    Ok(text)
}

/// Larger gaps between passages are taken for a wrong offset rather than filled.
const MAX_GAP_CHARS: usize = 1 << 20;

fn gold(normalized: &[Normalized], several: Join) -> Gold {
    let composite = |entry: &Normalized| {
        Composite(
            split_codes(&entry.db_id, &['+'])
                .map(str::to_owned)
                .collect(),
        )
    };
    let each: Vec<Composite> = normalized.iter().map(composite).collect();
    match several {
        Join::Alternatives => Gold::from_alternatives(each),
        Join::Composite => Gold::composite(each.into_iter().flat_map(|c| c.0)),
    }
}

fn record(document: &Document) -> Record {
    let index = CharIndex::new(&document.text);
    let entity = |mention: &Mention| Entity {
        id: mention.id.clone(),
        kind: mention.label.clone(),
        text: OneOrMore::More(
            mention
                .spans
                .iter()
                .map(|s| index.slice(*s).unwrap_or_default().to_owned())
                .collect(),
        ),
        offsets: mention.spans.clone(),
        normalized: mention
            .gold
            .alternatives
            .iter()
            .map(|a| Normalized {
                db_name: Some(String::new()),
                db_id: a.0.join("+"),
            })
            .collect(),
    };
    Record {
        id: document.id.clone(),
        document_id: document.id.clone(),
        passages: vec![Passage {
            id: format!("{}__text", document.id),
            kind: "document".to_owned(),
            text: OneOrMore::More(vec![document.text.clone()]),
            offsets: vec![SpanChars::new(0, index.len_chars() as u32)],
        }],
        entities: document.mentions.iter().map(entity).collect(),
        events: Vec::new(),
        coreferences: Vec::new(),
        relations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CorpusFormat;

    const TWO: &str = r#"{"id":"0","document_id":7,"passages":[{"id":"p","type":"title","text":["Été goutte."],"offsets":[[0,11]]},{"id":"q","type":"abstract","text":["Breast and ovarian cancer."],"offsets":[[12,38]]}],
"entities":[{"id":"e1","type":"Disease","text":["Breast","cancer"],"offsets":[[12,18],[31,37]],"normalized":[{"db_name":"MESH","db_id":"D001943"},{"db_name":"OMIM","db_id":"1+2"}]},
{"id":"e2","type":"Disease","text":["goutte"],"offsets":[[4,10]],"normalized":[]}],"events":[],"coreferences":[],"relations":[{"id":"r","type":"x","arg1_id":"e1","arg2_id":"e2","normalized":[]}]}"#;

    fn read_text(text: &str, options: &ReadOptions) -> Result<(Corpus, ReadReport), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        crate::read(&path, CorpusFormat::Bigbio, options)
    }

    #[test]
    fn reads_passages_fragments_and_several_ids() {
        let options = ReadOptions::default();
        for text in [
            format!("[{TWO}]"),
            TWO.replace('\n', ""),
            format!("{{\"data\": [{TWO}]}}"),
        ] {
            let (corpus, report) = read_text(&text, &options).unwrap();
            let document = &corpus.documents[0];
            assert_eq!(document.id, "7");
            assert_eq!(document.text, "Été goutte. Breast and ovarian cancer.");
            assert_eq!(document.mentions[0].text, "Breast cancer");
            assert_eq!(document.mentions[0].gold.to_field(), "D001943|1+2");
            assert!(document.mentions[1].gold.is_none());
            assert_eq!(
                (
                    report.mentions,
                    report.alternatives,
                    report.composite,
                    report.without_concept
                ),
                (2, 1, 1, 1)
            );
        }
        let all = ReadOptions {
            bigbio_several_ids: Join::Composite,
            ..options
        };
        let (corpus, _) = read_text(&format!("[{TWO}]"), &all).unwrap();
        assert_eq!(
            corpus.documents[0].mentions[0].gold.to_field(),
            "D001943+1+2"
        );
    }

    #[test]
    fn fragments_may_stand_as_they_are_said() {
        let moved = TWO.replace(
            r#""text":["Breast","cancer"],"offsets":[[12,18],[31,37]]"#,
            r#""text":["cancer","Breast"],"offsets":[[31,37],[12,18]]"#,
        );
        assert_ne!(moved, TWO);
        let (corpus, report) = read_text(&format!("[{moved}]"), &ReadOptions::default()).unwrap();
        let mention = &corpus.documents[0].mentions[0];
        assert_eq!(mention.text, "Breast cancer");
        assert!(mention.spans.is_sorted());
        assert_eq!(report.reordered_spans, 1);
        let other = moved.replace(r#"["cancer","Breast"]"#, r#"["tumour","Breast"]"#);
        let error = read_text(&format!("[{other}]"), &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("tumour"), "{error}");
    }

    #[test]
    fn mentions_of_one_id_are_told_apart() {
        let twice = TWO.replace(r#""id":"e2""#, r#""id":"e1""#);
        let (corpus, report) = read_text(&format!("[{twice}]"), &ReadOptions::default()).unwrap();
        let mentions = &corpus.documents[0].mentions;
        assert_eq!([&mentions[0].id, &mentions[1].id], ["e1", "e1.2"]);
        assert_eq!(report.renamed_mentions, 1);
    }

    #[test]
    fn the_line_where_a_document_begins_is_told() {
        let good = TWO.replace('\n', "");
        let bad = good
            .replace("\"document_id\":7", "\"document_id\":8")
            .replace("goutte", "gouttes");
        for (text, place) in [
            (format!("[{good}, {bad}]"), "x.json:1: "),
            (format!("[\n{good},\n{bad}\n]\n"), "x.json:3: "),
            (
                format!("\u{feff}{{ \"data\" : [\n{good},\n\n{bad}]}}"),
                "x.json:4: ",
            ),
            (format!("{good}\n{bad}\n"), "x.json:2: "),
        ] {
            let error = read_text(&text, &ReadOptions::default()).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("document 8") && message.contains(place),
                "{place}: {message}"
            );
        }
    }

    #[test]
    fn all_layouts_hold_the_same_documents() {
        let [one, two] = ["[{\\\"7", "é]"]
            .map(|id| TWO.replace("\"document_id\":7", &format!("\"document_id\":\"{id}\"")));
        let line = |text: &str| text.replace('\n', "");
        for text in [
            format!("[{one},{two}]"),
            format!(" [\n{one}\n,\r\n{two} ] \n"),
            format!("{{\"data\":[{one},{two}]}}"),
            format!("{{\n\"data\": [{one},{two}], \"version\": {{\"a\": [1]}} }}\n"),
            format!("{}\n\n{}", line(&one), line(&two)),
        ] {
            let (corpus, _) = read_text(&text, &ReadOptions::default()).unwrap();
            let ids: Vec<&str> = corpus.documents.iter().map(|d| d.id.as_str()).collect();
            assert_eq!(ids, ["[{\"7", "é]"], "{text}");
        }
        let pretty = TWO.replace("\"entities\"", "\n \"entities\"");
        let (corpus, _) = read_text(&pretty, &ReadOptions::default()).unwrap();
        assert_eq!(corpus.documents.len(), 1);
    }

    #[test]
    fn broken_json_is_located() {
        let good = TWO.replace('\n', "");
        for (text, message) in [
            (format!("[{good}"), "x.json:1, column"),
            (format!("[\n{good}\n{good}]"), "x.json:3, column 1: a comma"),
            (format!("[{good},\n]"), "x.json:2, column 1: a comma after"),
            (format!("[{good}]\n x"), "x.json:2, column 2: something"),
            (format!("{{\"data\": {good}}}"), "a list of documents under"),
            (format!("{{\"data\":[{good}]"), "does not end"),
            (format!("{{\"data\":[{good}], x}}"), "x.json:1, column"),
            ("[\n{\"id\": \n1, ,}]".to_owned(), "x.json:3, column 4"),
            ("[1]".to_owned(), "x.json:1, column 2: invalid type"),
            ("\"x".to_owned(), "x.json:1, column"),
            ("]".to_owned(), "x.json:1, column"),
        ] {
            let error = read_text(&text, &ReadOptions::default()).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        std::fs::write(&path, b"[\n{\"id\": \"\xff\"}]").unwrap();
        let error = crate::read(&path, CorpusFormat::Bigbio, &ReadOptions::default()).unwrap_err();
        assert!(
            error.to_string().contains("x.json:2: not UTF-8 at byte 9"),
            "{error}"
        );
    }

    #[test]
    fn round_trips() {
        let text = format!("[\n{}\n]\n", TWO.replace('\n', ""));
        let (corpus, report) = read_text(&text, &ReadOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json.gz");
        write(&corpus, &path).unwrap();
        assert_eq!(
            crate::read(&path, CorpusFormat::Bigbio, &ReadOptions::default()).unwrap(),
            (corpus, report)
        );
    }

    #[test]
    fn errors_are_located() {
        let cases = [
            (TWO.replace("[4,10]", "[4,99]"), "span 4-99"),
            (
                TWO.replace("[\"goutte\"]", "[\"coutte\"]"),
                "covers \"goutte\", the annotation says \"coutte\"",
            ),
            (
                TWO.replace("[[12,38]]", "[[5,31]]"),
                "starts at character 5",
            ),
            (TWO.replace("[[12,38]]", "[]"), "1 texts and 0 offsets"),
            (
                TWO.replace("\"passages\"", "\"passage\""),
                "missing field `passages`",
            ),
        ];
        for (text, message) in cases {
            let error = read_text(&format!("[{text}]"), &ReadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(message) && error.contains("x.json"),
                "{error}"
            );
        }
        assert!(
            read_text("", &ReadOptions::default())
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
        assert!(
            read_text("[]", &ReadOptions::default())
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
        assert!(read_text("{", &ReadOptions::default()).is_err());
    }
}
