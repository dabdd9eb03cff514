//! Documents whose strings stay where they stand in the file, for whoever reads a corpus, counts and forgets it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::document::{Gold, Language, Origin, SpanChars, Split};
use crate::format::ReadReport;
use crate::io;
use crate::text::CharIndex;

/// The text of a JSON Lines file, for [`DocumentRef::all`]; `None` if it cannot be read or is not UTF-8.
pub fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    io::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

/// A [`crate::Document`] without copies of its strings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRef<'t> {
    /// See [`crate::Document::id`].
    #[serde(borrow)]
    pub id: Cow<'t, str>,
    /// See [`crate::Document::text`].
    #[serde(borrow)]
    pub text: Cow<'t, str>,
    /// See [`crate::Document::language`]; English where the line states none.
    #[serde(default)]
    pub language: Language,
    /// See [`crate::Document::split`].
    #[serde(default)]
    pub split: Option<Split>,
    /// See [`crate::Document::origin`].
    #[serde(default)]
    pub origin: Origin,
    /// See [`crate::Document::mentions`].
    #[serde(borrow, default)]
    pub mentions: Vec<MentionRef<'t>>,
}

/// A [`crate::Mention`] without copies of its strings; it has no number where the file gives none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MentionRef<'t> {
    /// See [`crate::Mention::id`].
    #[serde(borrow, default)]
    pub id: Cow<'t, str>,
    spans: Spans,
    /// See [`crate::Mention::text`].
    #[serde(borrow)]
    pub text: Cow<'t, str>,
    /// See [`crate::Mention::label`].
    #[serde(borrow)]
    pub label: Cow<'t, str>,
    /// See [`crate::Mention::gold`].
    #[serde(borrow, default)]
    pub gold: GoldRef<'t>,
}

/// A [`Gold`] that copies nothing in the usual case.
#[derive(Debug)]
pub enum GoldRef<'t> {
    /// One code.
    Code(Cow<'t, str>),
    /// Anything else.
    Gold(Gold),
}

impl<'t> DocumentRef<'t> {
    /// The documents of a file's text, checked as [`super::read`] checks them; `None` if anything is wrong or unusual (a
    /// document that stands twice), about which [`super::read`] knows more. All threads take part. The report names no lines.
    pub fn all(text: &'t str) -> Option<(Vec<Self>, ReadReport)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.par_lines().filter(|line| !line.trim().is_empty());
        let documents: Vec<Self> = lines.map(Self::checked).collect::<Option<_>>()?;
        let mut ids = HashSet::with_capacity(documents.len());
        let mut report = ReadReport {
            documents: documents.len(),
            ..ReadReport::default()
        };
        for document in &documents {
            if !ids.insert(document.id.as_ref()) {
                return None;
            }
            report.mentions += document.mentions.len();
            for mention in &document.mentions {
                if let GoldRef::Gold(gold) = &mention.gold {
                    report.count_gold(gold);
                }
            }
        }
        (!documents.is_empty()).then_some((documents, report))
    }

    fn checked(line: &'t str) -> Option<Self> {
        let document: Self = serde_json::from_str(line).ok()?;
        let index = CharIndex::new(&document.text);
        let fits = |mention: &MentionRef<'_>| mention.spans.cover(&mention.text, &index);
        document.mentions.iter().all(fits).then_some(document)
    }
}

/// The fragments of a mention; nearly all mentions have one.
#[derive(Debug)]
enum Spans {
    One(SpanChars),
    Several(Vec<SpanChars>),
}

impl Spans {
    /// Whether the fragments are in order and `text` is what they cover, joined by one space; see [`crate::Document::validate`].
    fn cover(&self, text: &str, index: &CharIndex<'_>) -> bool {
        let spans = match self {
            Spans::One(span) => std::slice::from_ref(span),
            Spans::Several(spans) => spans,
        };
        let mut rest = Some(text);
        let mut end = 0;
        for (number, span) in spans.iter().enumerate() {
            let Some(piece) = index.slice(*span).filter(|piece| !piece.is_empty()) else {
                return false;
            };
            if span.start < end {
                return false;
            }
            end = span.end;
            if number > 0 {
                rest = rest.and_then(|rest| rest.strip_prefix(' '));
            }
            rest = rest.and_then(|rest| rest.strip_prefix(piece));
        }
        !spans.is_empty() && rest == Some("")
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpansVisitor;
        impl<'de> Visitor<'de> for SpansVisitor {
            type Value = Spans;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of spans")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Spans, A::Error> {
                let Some(first) = seq.next_element()? else {
                    return Ok(Spans::Several(Vec::new()));
                };
                let Some(second) = seq.next_element()? else {
                    return Ok(Spans::One(first));
                };
                let mut spans = vec![first, second];
                while let Some(span) = seq.next_element()? {
                    spans.push(span);
                }
                Ok(Spans::Several(spans))
            }
        }
        deserializer.deserialize_seq(SpansVisitor)
    }
}

impl Default for GoldRef<'_> {
    fn default() -> Self {
        GoldRef::Gold(Gold::default())
    }
}

/// A code, borrowed where it holds no escape.
#[derive(Deserialize)]
#[serde(transparent)]
struct Code<'t>(#[serde(borrow)] Cow<'t, str>);

/// What [`crate::Composite`] holds.
struct Codes<'t> {
    first: Option<Cow<'t, str>>,
    others: Vec<String>,
}

impl<'de> Deserialize<'de> for Codes<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CodesVisitor;
        impl<'de> Visitor<'de> for CodesVisitor {
            type Value = Codes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of codes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let first = seq.next_element::<Code<'de>>()?.map(|code| code.0);
                let mut others = Vec::new();
                while let Some(code) = seq.next_element()? {
                    others.push(code);
                }
                Ok(Codes { first, others })
            }
        }
        deserializer.deserialize_seq(CodesVisitor)
    }
}

impl Codes<'_> {
    fn into_composite(self) -> crate::Composite {
        let first = self.first.map(Cow::into_owned);
        crate::Composite(first.into_iter().chain(self.others).collect())
    }
}

impl<'de: 't, 't> Deserialize<'de> for GoldRef<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GoldVisitor;
        impl<'de> Visitor<'de> for GoldVisitor {
            type Value = GoldRef<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what a gold is written as")
            }

            fn visit_str<E: serde::de::Error>(self, field: &str) -> Result<Self::Value, E> {
                Ok(GoldRef::Gold(Gold::from_field(field)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let Some(first) = seq.next_element::<Codes<'de>>()? else {
                    return Ok(GoldRef::default());
                };
                let second = seq.next_element::<Codes<'de>>()?;
                match (first, second) {
                    (
                        Codes {
                            first: Some(code),
                            others,
                        },
                        None,
                    ) if others.is_empty() && !code.trim().is_empty() => Ok(GoldRef::Code(code)),
                    (first, second) => {
                        let mut alternatives = vec![first.into_composite()];
                        alternatives.extend(second.map(Codes::into_composite));
                        while let Some(codes) = seq.next_element::<Codes<'de>>()? {
                            alternatives.push(codes.into_composite());
                        }
                        Ok(GoldRef::Gold(Gold::from_alternatives(alternatives)))
                    }
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Gold::deserialize(MapAccessDeserializer::new(map)).map(GoldRef::Gold)
            }
        }
        deserializer.deserialize_any(GoldVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Mention, ReadOptions};

    fn owned(document: &DocumentRef<'_>) -> Document {
        let mention = |m: &MentionRef<'_>| Mention {
            id: m.id.to_string(),
            spans: match &m.spans {
                Spans::One(span) => vec![*span],
                Spans::Several(spans) => spans.clone(),
            },
            text: m.text.to_string(),
            label: m.label.to_string(),
            gold: match &m.gold {
                GoldRef::Code(code) => Gold::one(code.clone()),
                GoldRef::Gold(gold) => gold.clone(),
            },
        };
        let mut document = Document {
            id: document.id.to_string(),
            text: document.text.to_string(),
            language: document.language,
            split: document.split,
            origin: document.origin.clone(),
            mentions: document.mentions.iter().map(mention).collect(),
        };
        document.number_mentions();
        document
    }

    /// What is read in place, after what `jsonl::read` reads; an error of that is nothing.
    fn both(text: &str) -> [Option<(Vec<Document>, ReadReport)>; 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        let whole = super::super::read(&path, &ReadOptions::default()).ok();
        let whole = whole.map(|(corpus, mut report)| {
            report.document_lines.clear();
            (corpus.documents, report)
        });
        let text = super::text(&path).unwrap();
        let in_place = DocumentRef::all(&text);
        [
            whole,
            in_place.map(|(documents, report)| (documents.iter().map(owned).collect(), report)),
        ]
    }

    #[test]
    fn reads_what_is_read_whole() {
        let golds = [
            r#"[]"#,
            r#"[["A"]]"#,
            r#"[[" "]]"#,
            r#"[["A","B"],["C"],["C"]]"#,
            r#"[["A"],["B","B"]]"#,
            r#"[[],["A"]]"#,
            r#"["A"]"#,
            r#""A+B|C""#,
            r#"{"alternatives":[["A"],["B"]]}"#,
            r#"null"#,
        ];
        for gold in golds {
            let line = format!(
                "{{\"id\":\"d\\u00e9\",\"text\":\"gout é and [x]\",\"split\":\"dev\",\"mentions\":[{{\"spans\":[[0,4],{{\"start\":5,\"end\":6}}],\"text\":\"gout é\",\"label\":\"D\",\"gold\":{gold}}}, {{\"id\":\"m\",\"spans\":[[12,13]],\"text\":\"x\",\"label\":\"D\"}}]}}"
            );
            let text = format!("\u{feff}{line}\r\n\n{}\n", r#"{"id":"e","text":""}"#);
            let [whole, in_place] = both(&text);
            assert_eq!(whole, in_place, "{gold}");
            assert_eq!(
                in_place.is_some(),
                !matches!(gold, r#"["A"]"# | "null"),
                "{gold}"
            );
        }
    }

    #[test]
    fn refuses_what_is_refused() {
        let good = r#"{"id":"d","text":"gout x","mentions":[{"spans":[[0,4]],"text":"gout","label":"D"}]}"#;
        assert!(both(good).iter().all(Option::is_some));
        for (from, to) in [
            ("[[0,4]]", "[[0,7]]"),
            ("[[0,4]]", "[]"),
            ("[[0,4]]", "[[0,5]]"),
            ("[[0,4]]", "[[0,4],[4,4]]"),
            ("[[0,4]]", "[[5,6],[0,4]]"),
            ("\"gout\"", "\"gou\""),
            ("\"gout\"", "\"gout \""),
            ("label", "lable"),
            ("\"id\"", "\"language\":\"xx\",\"id\""),
        ] {
            let [whole, in_place] = both(&good.replacen(from, to, 1));
            assert!(whole.is_none() && in_place.is_none(), "{to}");
        }
        assert!(both("\n").iter().all(Option::is_none));
        let [whole, in_place] = both(&format!("{good}\n{good}"));
        assert!(
            whole.is_some() && in_place.is_none(),
            "copies are left to the other reader"
        );
    }
}
