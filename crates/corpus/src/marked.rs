//! The text that the model reads and writes: marked sentence, prompt, completion. Made here and nowhere else.
//!
//! After the paper (section 2 of its facts): the sentence that holds the mention, the mention in square brackets, its semantic group in
//! braces right after it; then [`SEP`], the mention again and the verb of the language. The completion is a KB name.
//!
//! ```text
//! Patient diagnosed with [AS]{Disorders}.<SEP>[AS] is          prompt
//!  Ankylosing spondylitis                                      completion, with its leading space
//! ```
//!
//! * **Discontinuous** mentions: every fragment inside the sentence has its own brackets, the group follows the last of
//!   them, fragments in other sentences are left out of the sentence; the mention text is all fragments joined by a space.
//! * **Composite** gold: the names are joined with [`SEP`], the group tag is the distinct groups joined with it.
//! * **Cleaning** replaces character by character (`[` `{` by `(`, no-break space by space, any line break or control character by
//!   space, a literal `<SEP>` by `(SEP)`), so offsets hold and nothing in the text can pass for markup.
//! * **Other mentions** of the sentence are not marked, so nested and overlapping mentions need no care.

mod examples;
mod group;

use serde::{Deserialize, Serialize};
use syncabel_kb::Kb;

use crate::abbreviation::Expander;
use crate::document::{Document, Gold, Language, Mention, Origin, SpanChars, covered_text};
use crate::error::{Error, Location};
use crate::sentence;
use crate::text::CharIndex;

pub use examples::{Example, ExampleReport, examples};
pub use group::GroupRule;

/// Separator token: between source and target, between the names of a composite, between the groups of its tag.
pub const SEP: &str = "<SEP>";

/// What is done with abbreviations whose long form the same document defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbbreviationStep {
    /// Nothing, as in the paper.
    #[default]
    Off,
    /// Inside the brackets, and in the prompt's mention, the long form stands in place of the short one.
    Expand,
}

/// Choices in making marked sentences.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarkOptions {
    /// Abbreviations defined in the document.
    pub abbreviations: AbbreviationStep,
    /// Which semantic group stands in the tag.
    pub groups: GroupRule,
    /// At most this many characters of the sentence are kept, around the mention and cut between words (markup and
    /// long forms come on top; a longer mention is kept whole). `None`: the whole sentence.
    pub max_context_chars: Option<usize>,
}

/// One mention in its sentence, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedMention {
    /// Document id.
    pub document: String,
    /// Mention id.
    pub mention_id: String,
    /// The mention's label in the corpus.
    pub label: String,
    /// Semantic group of the tag; several distinct ones of a composite are joined with [`SEP`].
    pub group: String,
    /// First character of the first fragment in the document.
    pub start_chars: u32,
    /// One past the last character of the last fragment in the document.
    pub end_chars: u32,
    /// The text as the document has it, fragments joined by one space.
    pub span: String,
    /// The mention as the model sees it: cleaned, abbreviations expanded if asked for.
    pub mention: String,
    /// The marked sentence, on one line.
    pub sentence: String,
    /// Language of the document.
    pub language: Language,
    /// The mention's gold.
    pub gold: Gold,
    /// Who annotated the document.
    pub origin: Origin,
}

impl MarkedMention {
    /// What the model is given: `sentence<SEP>[mention] is`, without a space at the end.
    pub fn prompt(&self) -> String {
        let (sentence, mention, verb) = (&self.sentence, &self.mention, self.language.verb());
        format!("{sentence}{SEP}[{mention}] {verb}")
    }

    /// The groups of the tag, one by one.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.group.split(SEP)
    }
}

/// What the model is to write: each name with a leading space, joined with [`SEP`], without the end of sequence.
///
/// ```
/// use syncabel_corpus::marked::completion;
/// assert_eq!(completion(&["Gout"]), " Gout");
/// assert_eq!(completion(&["Breast Neoplasms", "Ovarian Neoplasms"]), " Breast Neoplasms<SEP> Ovarian Neoplasms");
/// ```
pub fn completion(names: &[&str]) -> String {
    let spaced: Vec<String> = names.iter().map(|name| format!(" {name}")).collect();
    spaced.join(SEP)
}

/// Marks every mention of a document, in the order of the document.
///
/// The group of the tag is decided by [`GroupRule`]; without a KB it is the mapped label, else the default group, else the
/// label itself. Sentences are split once a document.
///
/// # Errors
/// A span outside the text, a mention text that is not what its spans cover, or a group that the KB does not have.
pub fn mark(
    doc: &Document,
    kb: Option<&Kb>,
    options: &MarkOptions,
) -> Result<Vec<MarkedMention>, Error> {
    if doc.mentions.is_empty() {
        return Ok(Vec::new());
    }
    let marker = Marker::new(doc, options);
    doc.mentions
        .iter()
        .map(|mention| {
            let group = group::tag(doc, mention, kb, &options.groups)?;
            marker.mark(mention, group)
        })
        .collect()
}

/// Cleans text for the model: one character for one, no markup, no line break.
pub(crate) fn clean_context(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    syncabel_kb::clean::clean_text(&flat).replace(SEP, "(SEP)")
}

/// What is computed once a document.
struct Marker<'d> {
    doc: &'d Document,
    index: CharIndex<'d>,
    sentences: Vec<SpanChars>,
    expander: Option<Expander>,
    max_context_chars: Option<usize>,
}

impl<'d> Marker<'d> {
    fn new(doc: &'d Document, options: &MarkOptions) -> Self {
        let protected: Vec<SpanChars> = doc
            .mentions
            .iter()
            .flat_map(|m| m.spans.iter().copied())
            .collect();
        Marker {
            doc,
            index: CharIndex::new(&doc.text),
            sentences: sentence::split(&doc.text, doc.language, &protected),
            expander: match options.abbreviations {
                AbbreviationStep::Off => None,
                AbbreviationStep::Expand => Some(Expander::for_mentions(&doc.text, &protected)),
            },
            max_context_chars: options.max_context_chars,
        }
    }

    fn mark(&self, mention: &Mention, group: String) -> Result<MarkedMention, Error> {
        let at = Location::document(&self.doc.id);
        let span = covered_text(self.doc, mention, &self.index, &at)?;
        let fragments: Vec<(SpanChars, String)> = mention
            .spans
            .iter()
            .map(|&fragment| (fragment, self.fragment_text(fragment)))
            .collect();
        let shown: Vec<&str> = fragments.iter().map(|(_, text)| text.as_str()).collect();
        Ok(MarkedMention {
            document: self.doc.id.clone(),
            mention_id: mention.id.clone(),
            label: mention.label.clone(),
            start_chars: mention.start_chars(),
            end_chars: mention.end_chars(),
            span,
            mention: shown.join(" "),
            sentence: self.sentence(&fragments, &group),
            group,
            language: self.doc.language,
            gold: mention.gold.clone(),
            origin: self.doc.origin.clone(),
        })
    }

    /// A fragment as the model sees it. The spans were checked by `covered_text`.
    fn fragment_text(&self, fragment: SpanChars) -> String {
        let text = self.index.slice(fragment).unwrap_or_default();
        let expanded = self.expander.as_ref().and_then(|e| e.expand(text));
        clean_context(expanded.as_deref().unwrap_or(text))
    }

    fn sentence(&self, fragments: &[(SpanChars, String)], group: &str) -> String {
        let sentence = self.sentence_of(fragments[0].0);
        let inside: Vec<&(SpanChars, String)> = fragments
            .iter()
            .filter(|(f, _)| sentence.contains(*f))
            .collect();
        let window = self.window(sentence, &inside);
        let mut marked = String::new();
        let mut position = window.start;
        for (i, (fragment, shown)) in inside.iter().enumerate() {
            marked.push_str(&self.context(position, fragment.start));
            marked.push('[');
            marked.push_str(shown);
            marked.push(']');
            if i + 1 == inside.len() {
                marked.push('{');
                marked.push_str(group);
                marked.push('}');
            }
            position = fragment.end;
        }
        marked.push_str(&self.context(position, window.end));
        marked
    }

    /// The sentence that holds the start of the mention, else the whole text. Since no boundary falls inside a fragment, the
    /// sentence holds all of the first one, unless that begins or ends with white space: then it is made to.
    fn sentence_of(&self, first: SpanChars) -> SpanChars {
        let after = self.sentences.partition_point(|s| s.end <= first.start);
        match self.sentences.get(after) {
            Some(s) if s.start < first.end => {
                SpanChars::new(s.start.min(first.start), s.end.max(first.end))
            }
            _ => SpanChars::new(0, self.index.len_chars() as u32),
        }
    }

    /// The part of the sentence that is kept.
    fn window(&self, sentence: SpanChars, inside: &[&(SpanChars, String)]) -> SpanChars {
        let (Some(max), [first, ..], [.., last]) = (self.max_context_chars, inside, inside) else {
            return sentence;
        };
        let (start, end) = (first.0.start, last.0.end);
        let spare = (max as u64).saturating_sub(u64::from(end - start)) as u32;
        let (left, right) = (start - sentence.start, sentence.end - end);
        if left + right <= spare {
            return sentence;
        }
        // Half on each side; what one side does not need goes to the other.
        let take_left = left.min((spare / 2).max(spare.saturating_sub(right)));
        let take_right = right.min(spare - take_left);
        SpanChars::new(
            self.word_start(start - take_left, start, sentence.start),
            self.word_end(end, end + take_right, sentence.end),
        )
    }

    /// The first word start in `from..to`; `to` if there is none.
    fn word_start(&self, from: u32, to: u32, sentence_start: u32) -> u32 {
        if from == sentence_start {
            return from;
        }
        let before = self
            .index
            .slice(SpanChars::new(from - 1, to))
            .unwrap_or_default();
        let cut = before
            .chars()
            .zip(before.chars().skip(1))
            .position(|(a, b)| a.is_whitespace() && !b.is_whitespace());
        cut.map_or(to, |chars| from + chars as u32)
    }

    /// The last word end in `from..to`; `from` if there is none.
    fn word_end(&self, from: u32, to: u32, sentence_end: u32) -> u32 {
        if to == sentence_end {
            return to;
        }
        let after: Vec<char> = self
            .index
            .slice(SpanChars::new(from, to + 1))
            .unwrap_or_default()
            .chars()
            .collect();
        let cut = (1..after.len())
            .rev()
            .find(|&i| after[i].is_whitespace() && !after[i - 1].is_whitespace());
        cut.map_or(from, |chars| from + chars as u32)
    }

    fn context(&self, start: u32, end: u32) -> String {
        clean_context(
            self.index
                .slice(SpanChars::new(start, end))
                .unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Split;

    fn document(text: &str, language: Language, mentions: &[&[(u32, u32)]]) -> Document {
        let index = CharIndex::new(text);
        let mentions = mentions.iter().enumerate().map(|(i, spans)| {
            let spans: Vec<SpanChars> = spans.iter().map(|&(s, e)| SpanChars::new(s, e)).collect();
            let text: Vec<&str> = spans.iter().map(|&s| index.slice(s).unwrap()).collect();
            Mention {
                id: format!("d.{}", i + 1),
                text: text.join(" "),
                spans,
                label: "Disease".into(),
                gold: Gold::one("X"),
            }
        });
        Document {
            id: "d".into(),
            text: text.into(),
            language,
            split: Some(Split::Test),
            origin: Origin::Human,
            mentions: mentions.collect(),
        }
    }

    fn sentences(doc: &Document, options: &MarkOptions) -> Vec<String> {
        mark(doc, None, options)
            .unwrap()
            .into_iter()
            .map(|m| m.sentence)
            .collect()
    }

    #[test]
    fn prompt_follows_the_language() {
        for (language, prompt) in [
            (Language::En, "La [gota]{Disease} duele.<SEP>[gota] is"),
            (Language::Fr, "La [gota]{Disease} duele.<SEP>[gota] est"),
            (Language::Es, "La [gota]{Disease} duele.<SEP>[gota] es"),
            (Language::De, "La [gota]{Disease} duele.<SEP>[gota] ist"),
        ] {
            let doc = document("Uno. La gota duele. Dos.", language, &[&[(8, 12)]]);
            assert_eq!(
                mark(&doc, None, &MarkOptions::default()).unwrap()[0].prompt(),
                prompt
            );
        }
    }

    #[test]
    fn discontinuous_mentions_bracket_each_fragment_of_the_sentence() {
        let doc = document(
            "Breast and ovarian cancer hurt. Cancer again.",
            Language::En,
            &[&[(0, 6), (19, 25)], &[(11, 18), (32, 38)]],
        );
        let marked = mark(&doc, None, &MarkOptions::default()).unwrap();
        assert_eq!(
            marked[0].sentence,
            "[Breast] and ovarian [cancer]{Disease} hurt."
        );
        assert_eq!(marked[0].mention, "Breast cancer");
        // The second fragment lies in another sentence: not shown there, but part of the mention.
        assert_eq!(
            marked[1].sentence,
            "Breast and [ovarian]{Disease} cancer hurt."
        );
        assert_eq!(marked[1].mention, "ovarian Cancer");
        assert_eq!((marked[1].start_chars, marked[1].end_chars), (11, 38));
    }

    #[test]
    fn nested_mentions_and_markup_in_the_text() {
        let text = "A [rare]\u{a0}{x} <SEP> co\nlon cancer.";
        let doc = document(text, Language::En, &[&[(19, 32)], &[(26, 32)]]);
        let expected = [
            "A (rare) (x) (SEP) [co lon cancer]{Disease}.",
            "A (rare) (x) (SEP) co lon [cancer]{Disease}.",
        ];
        assert_eq!(sentences(&doc, &MarkOptions::default()), expected);
    }

    #[test]
    fn abbreviations_expand_inside_the_brackets_only() {
        let text = "Spinocerebellar ataxia (SCA) is rare. SCA and SCA2 kindreds had SCA.";
        let doc = document(text, Language::En, &[&[(0, 28)], &[(24, 27)], &[(64, 67)]]);
        let options = MarkOptions {
            abbreviations: AbbreviationStep::Expand,
            ..MarkOptions::default()
        };
        let marked = mark(&doc, None, &options).unwrap();
        assert_eq!(
            marked[0].mention, "Spinocerebellar ataxia (SCA)",
            "the long form is there already"
        );
        assert_eq!(
            marked[1].sentence,
            "Spinocerebellar ataxia ([Spinocerebellar ataxia]{Disease}) is rare."
        );
        assert_eq!(
            marked[2].sentence,
            "SCA and SCA2 kindreds had [Spinocerebellar ataxia]{Disease}."
        );
        assert_eq!(
            (marked[2].span.as_str(), marked[2].mention.as_str()),
            ("SCA", "Spinocerebellar ataxia")
        );
    }

    #[test]
    fn context_windows_are_cut_between_words() {
        let text = "one two three gout four five six";
        let doc = document(text, Language::En, &[&[(14, 18)]]);
        let cut = |max| {
            let options = MarkOptions {
                max_context_chars: Some(max),
                ..MarkOptions::default()
            };
            sentences(&doc, &options).remove(0)
        };
        assert_eq!(cut(100), "one two three [gout]{Disease} four five six");
        assert_eq!(cut(32), "one two three [gout]{Disease} four five six");
        assert_eq!(cut(24), "two three [gout]{Disease} four five");
        assert_eq!(cut(16), "three [gout]{Disease} four");
        assert_eq!(cut(15), "[gout]{Disease} four");
        assert_eq!(cut(0), "[gout]{Disease}");
        let at_start = document("gout one two three four", Language::En, &[&[(0, 4)]]);
        let options = MarkOptions {
            max_context_chars: Some(12),
            ..MarkOptions::default()
        };
        assert_eq!(sentences(&at_start, &options), ["[gout]{Disease} one two"]);
    }

    #[test]
    fn bad_spans_are_errors() {
        let mut doc = document("gout", Language::En, &[&[(0, 4)]]);
        doc.mentions[0].spans[0].end = 9;
        assert!(matches!(
            mark(&doc, None, &MarkOptions::default()),
            Err(Error::SpanOutside { .. })
        ));
        doc.mentions[0].spans.clear();
        assert!(matches!(
            mark(&doc, None, &MarkOptions::default()),
            Err(Error::Structure { .. })
        ));
    }
}
