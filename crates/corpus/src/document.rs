//! Documents, mentions and gold codes: the one shape in which human, synthetic and predicted annotation travel.
//!
//! The serde form of [`Document`] is the project's own corpus format, one document a line (see [`crate::jsonl`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Location};
use crate::text::CharIndex;

/// Language of a document. Decides the verb of the prompt and the rules of sentence splitting.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
    /// Spanish.
    Es,
    /// German.
    De,
}

impl Language {
    /// All languages.
    pub const ALL: [Language; 4] = [Language::En, Language::Fr, Language::Es, Language::De];

    /// The verb between mention and name in prompt and trie: `is`, `est`, `es`, `ist`.
    pub fn verb(self) -> &'static str {
        match self {
            Language::En => "is",
            Language::Fr => "est",
            Language::Es => "es",
            Language::De => "ist",
        }
    }

    /// Two-letter code: `en`, `fr`, `es`, `de`.
    pub fn code(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::Fr => "fr",
            Language::Es => "es",
            Language::De => "de",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Language::ALL
            .into_iter()
            .find(|l| l.code() == s.to_ascii_lowercase())
            .ok_or_else(|| Error::UnknownName {
                what: "language",
                value: s.to_owned(),
                known: "en, fr, es, de".to_owned(),
            })
    }
}

/// Which part of a corpus a document belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// For choosing a checkpoint.
    #[serde(alias = "dev")]
    Validation,
    /// For scoring, and nothing else.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        match s.to_ascii_lowercase().as_str() {
            "train" => Ok(Split::Train),
            "validation" | "dev" => Ok(Split::Validation),
            "test" => Ok(Split::Test),
            _ => Err(Error::UnknownName {
                what: "split",
                value: s.to_owned(),
                known: "train, validation (or dev), test".to_owned(),
            }),
        }
    }
}

/// Who annotated a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Origin {
    /// People.
    #[default]
    Human,
    /// A generator of synthetic sentences.
    Synthetic {
        /// Name of the generator, for instance `transplant`.
        generator: String,
    },
    /// A linker.
    Predicted,
}

/// A piece of a document's text, in Unicode code points, 0-based, end-exclusive.
///
/// Written to JSON as `[start, end]`; `{"start": .., "end": ..}` is read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanChars {
    /// First character.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
}

impl SpanChars {
    /// The span from `start` to `end` (exclusive), in characters.
    pub fn new(start: u32, end: u32) -> Self {
        SpanChars { start, end }
    }

    /// Length in characters.
    pub fn len_chars(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether `other` lies wholly inside.
    pub fn contains(self, other: SpanChars) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl Serialize for SpanChars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.start, self.end).serialize(serializer)
    }
}

/// Codes that are all meant at once (AND): `breast and ovarian cancer`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Composite(pub Vec<String>);

/// The gold standard of one mention: alternatives (OR) of composites (AND). Nothing at all means "no concept".
///
/// In JSON a list of alternatives, each a list of codes: `[["D001943", "D010051"]]`. Read as well are the same list
/// under its name, `{"alternatives": [["D001943", "D010051"]]}`, and the short form of [`Gold::to_field`], `"D001943+D010051"`.
///
/// ```
/// use syncabel_corpus::Gold;
/// let gold = Gold::from_field("D001943+D010051|D009369");
/// assert_eq!(gold.alternatives.len(), 2);
/// assert_eq!(gold.to_field(), "D001943+D010051|D009369");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gold {
    /// Each alternative alone would be a right answer.
    pub alternatives: Vec<Composite>,
}

impl Gold {
    /// The mention denotes no concept of the KB (`-1`, NIL).
    pub fn none() -> Self {
        Gold::default()
    }

    /// One concept.
    pub fn one(code: impl Into<String>) -> Self {
        Gold {
            alternatives: vec![Composite(vec![code.into()])],
        }
    }

    /// Several concepts at once.
    pub fn composite<S: Into<String>>(codes: impl IntoIterator<Item = S>) -> Self {
        Gold::from_alternatives(vec![Composite(codes.into_iter().map(Into::into).collect())])
    }

    /// Any one of several concepts.
    pub fn alternatives<S: Into<String>>(codes: impl IntoIterator<Item = S>) -> Self {
        Gold::from_alternatives(
            codes
                .into_iter()
                .map(|c| Composite(vec![c.into()]))
                .collect(),
        )
    }

    /// Whether there is no concept.
    pub fn is_none(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Whether some alternative has more than one code.
    pub fn is_composite(&self) -> bool {
        self.alternatives.iter().any(|a| a.0.len() > 1)
    }

    /// Every code, in the order written; one that stands in two alternatives comes twice.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.alternatives
            .iter()
            .flat_map(|a| a.0.iter().map(String::as_str))
    }

    /// One string: the parts of a composite joined by `+`, alternatives by `|`; empty for no concept.
    pub fn to_field(&self) -> String {
        let parts: Vec<String> = self.alternatives.iter().map(|a| a.0.join("+")).collect();
        parts.join("|")
    }

    /// Reads [`Gold::to_field`]'s form. Blanks around codes are ignored, empty codes are left out.
    pub fn from_field(field: &str) -> Self {
        let composite =
            |part: &str| Composite(split_codes(part, &['+']).map(str::to_owned).collect());
        Gold::from_alternatives(field.split('|').map(composite).collect())
    }

    /// Alternatives as given, without empty composites and repetitions.
    pub fn from_alternatives(alternatives: Vec<Composite>) -> Self {
        let mut kept: Vec<Composite> = Vec::with_capacity(alternatives.len());
        for mut alternative in alternatives {
            let mut seen: Vec<String> = Vec::with_capacity(alternative.0.len());
            alternative.0.retain(|code| {
                let new = !code.trim().is_empty() && !seen.contains(code);
                if new {
                    seen.push(code.clone());
                }
                new
            });
            if !alternative.0.is_empty() && !kept.contains(&alternative) {
                kept.push(alternative);
            }
        }
        Gold { alternatives: kept }
    }
}

/// The non-empty pieces of `field` between any of `separators`, trimmed.
pub(crate) fn split_codes<'a>(
    field: &'a str,
    separators: &'a [char],
) -> impl Iterator<Item = &'a str> {
    field
        .split(separators)
        .map(str::trim)
        .filter(|code| !code.is_empty())
}

impl Serialize for Gold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.alternatives.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Gold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GoldVisitor;
        impl<'de> serde::de::Visitor<'de> for GoldVisitor {
            type Value = Gold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of alternatives, each a list of codes, or a string such as \"A+B|C\"",
                )
            }

            fn visit_str<E: serde::de::Error>(self, field: &str) -> Result<Gold, E> {
                Ok(Gold::from_field(field))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Gold, A::Error> {
                let mut alternatives = Vec::new();
                while let Some(alternative) = seq.next_element::<Composite>()? {
                    alternatives.push(alternative);
                }
                Ok(Gold::from_alternatives(alternatives))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Gold, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Named {
                    alternatives: Vec<Composite>,
                }
                let named = Named::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Gold::from_alternatives(named.alternatives))
            }
        }
        deserializer.deserialize_any(GoldVisitor)
    }
}

/// A stretch of text, in one or several fragments, that denotes concepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mention {
    /// Unique in its document; `DOCUMENT.N` where the source has none.
    #[serde(default)]
    pub id: String,
    /// Fragments in text order; more than one for a discontinuous mention.
    pub spans: Vec<SpanChars>,
    /// The fragments' text, joined by one space.
    pub text: String,
    /// Entity type or semantic group, as the corpus writes it.
    pub label: String,
    /// What it denotes.
    #[serde(default)]
    pub gold: Gold,
}

impl Mention {
    /// First character of the first fragment (0 without fragments).
    pub fn start_chars(&self) -> u32 {
        self.spans.first().map_or(0, |s| s.start)
    }

    /// One past the last character of the last fragment (0 without fragments).
    pub fn end_chars(&self) -> u32 {
        self.spans.last().map_or(0, |s| s.end)
    }
}

/// A text with its mentions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Unique in its corpus.
    pub id: String,
    /// The text that all spans point into.
    pub text: String,
    /// Language of the text.
    #[serde(default)]
    pub language: Language,
    /// Part of the corpus, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Who annotated it.
    #[serde(default)]
    pub origin: Origin,
    /// Mentions, in the order of the source.
    #[serde(default)]
    pub mentions: Vec<Mention>,
}

impl Document {
    /// Gives mentions without an id the paper's form, `DOCUMENT.N` with N from 1.
    pub fn number_mentions(&mut self) {
        for (i, mention) in self.mentions.iter_mut().enumerate() {
            if mention.id.is_empty() {
                mention.id = format!("{}.{}", self.id, i + 1);
            }
        }
    }

    /// Checks that every fragment lies in the text, that fragments are in order, and that each mention's
    /// text is what its fragments cover.
    ///
    /// # Errors
    /// [`Error::SpanOutside`], [`Error::SpanText`] or [`Error::Structure`] for the first mention that fails.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_at(&Location::document(&self.id))
    }

    /// As [`Document::validate`], for a document that was read from `at`.
    pub(crate) fn validate_at(&self, at: &Location) -> Result<(), Error> {
        let index = CharIndex::new(&self.text);
        for mention in &self.mentions {
            let covered = covered_text(self, mention, &index, at)?;
            if covered != mention.text {
                return Err(Error::SpanText {
                    at: at.clone(),
                    document: self.id.clone(),
                    start: mention.start_chars(),
                    end: mention.end_chars(),
                    covered,
                    stated: mention.text.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The text under fragments in the order given, joined by one space; `None` if one leaves the text.
pub(crate) fn fragments(index: &CharIndex<'_>, spans: &[SpanChars]) -> Option<String> {
    let parts: Option<Vec<&str>> = spans.iter().map(|&span| index.slice(span)).collect();
    Some(parts?.join(" "))
}

/// The text under a mention's fragments, joined by one space; an error if a fragment is empty, outside, or out of order.
pub(crate) fn covered_text(
    document: &Document,
    mention: &Mention,
    index: &CharIndex<'_>,
    at: &Location,
) -> Result<String, Error> {
    if mention.spans.is_empty() {
        return Err(Error::Structure {
            at: at.clone(),
            problem: format!(
                "mention {:?} of document {} has no span",
                mention.id, document.id
            ),
        });
    }
    let mut covered = String::with_capacity(mention.text.len());
    let mut last_end = 0;
    for (i, span) in mention.spans.iter().enumerate() {
        let piece = index
            .slice(*span)
            .filter(|p| !p.is_empty())
            .ok_or_else(|| Error::SpanOutside {
                at: at.clone(),
                document: document.id.clone(),
                mention: mention.text.clone(),
                start: span.start.into(),
                end: span.end.into(),
                length_chars: index.len_chars(),
            })?;
        if span.start < last_end {
            return Err(Error::Structure {
                at: at.clone(),
                problem: format!(
                    "the spans of mention {:?} of document {} overlap or are not in text order",
                    mention.id, document.id
                ),
            });
        }
        if i > 0 {
            covered.push(' ');
        }
        covered.push_str(piece);
        last_end = span.end;
    }
    Ok(covered)
}

/// Documents of one or several splits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Corpus {
    /// In the order of the source.
    pub documents: Vec<Document>,
}

impl Corpus {
    /// Number of mentions of all documents.
    pub fn mention_count(&self) -> usize {
        self.documents.iter().map(|d| d.mentions.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gold_reads_and_writes_its_field() {
        let gold = Gold::from_field(" D001+ D002 |D003||D003");
        assert_eq!(gold.to_field(), "D001+D002|D003");
        assert!(gold.is_composite());
        assert_eq!(gold.codes().collect::<Vec<_>>(), ["D001", "D002", "D003"]);
        assert!(Gold::from_field(" | + ").is_none());
        assert_eq!(Gold::none().to_field(), "");
        assert_eq!(Gold::composite(["A", "A", "B"]).to_field(), "A+B");
        assert_eq!(Gold::alternatives(["A", "B"]).to_field(), "A|B");
    }

    #[test]
    fn document_json_has_the_documented_shape() {
        let json = r#"{"id":"d","text":"Breast and ovarian cancer.","language":"en","split":"train","origin":{"synthetic":{"generator":"transplant"}},"mentions":[{"id":"d.1","spans":[[0,6],[19,25]],"text":"Breast cancer","label":"Disease","gold":[["D001943"]]}]}"#;
        let document: Document = serde_json::from_str(json).unwrap();
        document.validate().unwrap();
        assert_eq!(serde_json::to_string(&document).unwrap(), json);
    }

    #[test]
    fn short_forms_are_read() {
        let json = r#"{"id":"d","text":"gout","mentions":[{"spans":[{"start":0,"end":4}],"text":"gout","label":"D","gold":"A+B|C"}]}"#;
        let document: Document = serde_json::from_str(json).unwrap();
        assert_eq!(document.origin, Origin::Human);
        assert_eq!(document.mentions[0].gold.to_field(), "A+B|C");
        let named: Gold = serde_json::from_str(r#"{"alternatives":[["A","B"],["C"]]}"#).unwrap();
        assert_eq!(named.to_field(), "A+B|C");
        assert!(serde_json::from_str::<Gold>(r#"{"alternative":[]}"#).is_err());
    }

    #[test]
    fn validation_counts_code_points() {
        let mut document = Document {
            id: "d".into(),
            text: "é𝛼 gout".into(),
            language: Language::Fr,
            split: None,
            origin: Origin::Human,
            mentions: vec![Mention {
                id: "d.1".into(),
                spans: vec![SpanChars::new(3, 7)],
                text: "gout".into(),
                label: "D".into(),
                gold: Gold::none(),
            }],
        };
        document.validate().unwrap();
        document.mentions[0].spans[0].end = 8;
        assert!(matches!(
            document.validate(),
            Err(Error::SpanOutside {
                length_chars: 7,
                ..
            })
        ));
        document.mentions[0].spans = vec![SpanChars::new(2, 6)];
        assert!(matches!(document.validate(), Err(Error::SpanText { .. })));
        document.mentions[0].spans = vec![SpanChars::new(5, 7), SpanChars::new(3, 5)];
        assert!(matches!(document.validate(), Err(Error::Structure { .. })));
    }
}
