//! Marked sentences: `Known [HD]{Disorders}, now with chorea.`, one or more mentions a line.
//!
//! A mention is what stands in the brackets directly before a group in braces; other brackets are text, as citations and the
//! placeholders of de-identified notes are. Parts of one mention that do not stand together have brackets each, all but the last with
//! `{+}` behind them: `[Breast]{+} and ovarian [cancer]{Disorders}`.

use crate::error::BadInput;
use anyhow::Result;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, SpanChars};

/// Behind a part of a mention that goes on.
const GOES_ON: &str = "+";

/// Documents of one line each.
pub(super) struct Sentences {
    lines: std::io::Split<Box<dyn BufRead>>,
    name: String,
    number: usize,
    language: Language,
}

impl Sentences {
    /// Opens `file`, which the user knows as `shown`.
    pub(super) fn open(file: &Path, shown: &Path, language: Language) -> Result<Self> {
        let reader: Box<dyn BufRead> = Box::new(BufReader::new(
            File::open(file).map_err(|e| BadInput(format!("{}: {e}", shown.display())))?,
        ));
        let name = shown.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            lines: reader.split(b'\n'),
            name: if name == "-" {
                "stdin".into()
            } else {
                name.into_owned()
            },
            number: 0,
            language,
        })
    }
}

impl Iterator for Sentences {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error.into())),
            };
            self.number += 1;
            let refuse = |what: &str| {
                Some(Err(BadInput(format!(
                    "{}:{}: {what}",
                    self.name, self.number
                ))
                .into()))
            };
            let Ok(line) = std::str::from_utf8(&line) else {
                return refuse("the line is not UTF-8");
            };
            // Editors put a mark at the beginning of a file.
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            // As answers call it: the line of a mention is what its document is named after.
            let id = format!("{}.{}", self.name, self.number);
            return match parse(line, id, self.language) {
                Ok(document) => Some(Ok(document)),
                Err(what) => refuse(what),
            };
        }
    }
}

/// The document that a marked line stands for, its text without the marks.
fn parse(line: &str, id: String, language: Language) -> Result<Document, &'static str> {
    let mut document = Document {
        id,
        text: String::with_capacity(line.len()),
        language,
        split: None,
        origin: Origin::Human,
        mentions: Vec::new(),
    };
    let mut chars: u32 = 0;
    let mut spans: Vec<SpanChars> = Vec::new();
    let mut fragments: Vec<&str> = Vec::new();
    let mut rest = line;
    while let Some(close) = rest.find("]{") {
        let open = opening(&rest[..close])
            .ok_or("`]{` without a `[` before it; write `[mention]{group}`")?;
        let (before, fragment) = (&rest[..open], &rest[open + 1..close]);
        let behind = &rest[close + 2..];
        let end = behind
            .find('}')
            .ok_or("`]{` without a `}` behind it; write `[mention]{group}`")?;
        let group = behind[..end].trim();
        if fragment.trim().is_empty() || group.is_empty() {
            return Err("an empty mention or group; write `[mention]{group}`");
        }
        chars += count(before);
        spans.push(SpanChars {
            start: chars,
            end: chars + count(fragment),
        });
        chars += count(fragment);
        document.text.push_str(before);
        document.text.push_str(fragment);
        fragments.push(fragment);
        rest = &behind[end + 1..];
        if group != GOES_ON {
            document.mentions.push(Mention {
                id: String::new(),
                spans: std::mem::take(&mut spans),
                text: std::mem::take(&mut fragments).join(" "),
                label: group.to_owned(),
                gold: Gold::none(),
            });
        }
    }
    if !spans.is_empty() {
        return Err(
            "`{+}` without the rest of its mention; the last part has the group: `[a]{+} b [c]{group}`",
        );
    }
    if document.mentions.is_empty() {
        return Err(
            "no `[mention]{group}` in this line; write the mention in brackets and its semantic group in braces behind it",
        );
    }
    document.text.push_str(rest);
    document.number_mentions();
    Ok(document)
}

/// Where the bracket opens that is closed behind `text`.
fn opening(text: &str) -> Option<usize> {
    let mut inside = 0;
    for (at, char) in text.char_indices().rev() {
        match char {
            ']' => inside += 1,
            '[' if inside == 0 => return Some(at),
            '[' => inside -= 1,
            _ => {}
        }
    }
    None
}

fn count(text: &str) -> u32 {
    text.chars().count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, group and places.
    type Found = (String, String, Vec<(u32, u32)>);

    fn mentions(line: &str) -> (String, Vec<Found>) {
        let document = parse(line, "s.3".to_owned(), Language::En).unwrap();
        document.validate().unwrap();
        let spans = |mention: &Mention| mention.spans.iter().map(|s| (s.start, s.end)).collect();
        let mentions = document.mentions.iter();
        let all = mentions.map(|m| (m.text.clone(), m.label.clone(), spans(m)));
        (document.text.clone(), all.collect())
    }

    #[test]
    fn marked_sentences_say_where_and_what() {
        let one = |text: &str, label: &str, spans: &[(u32, u32)]| {
            (text.to_owned(), label.to_owned(), spans.to_vec())
        };
        let (text, found) = mentions("Só [HD]{Disorders} here and [CF]{ T047 }.");
        assert_eq!(text, "Só HD here and CF.");
        let right = [
            one("HD", "Disorders", &[(3, 5)]),
            one("CF", "T047", &[(15, 17)]),
        ];
        assert_eq!(found, right);
        let (text, found) = mentions("[Breast]{+} and ovarian [cancer]{Disease}");
        assert_eq!(text, "Breast and ovarian cancer");
        assert_eq!(
            found,
            [one("Breast cancer", "Disease", &[(0, 6), (19, 25)])]
        );
        // De-identified notes and citations have brackets of their own.
        let (text, found) = mentions("[**2151-7-16**] see [1], [HD]{Disorders} [2]");
        assert_eq!(text, "[**2151-7-16**] see [1], HD [2]");
        assert_eq!(found, [one("HD", "Disorders", &[(25, 27)])]);
        let (_, found) = mentions("a [b [c] d]{Disorders}");
        assert_eq!(found, [one("b [c] d", "Disorders", &[(2, 9)])]);
    }

    #[test]
    fn what_is_not_marked_is_refused() {
        for bad in [
            "plain",
            "[x] {y}",
            "[]{y}",
            "[x]{}",
            "x]{y}",
            "[x]{y",
            "[x]{+} y",
            "[x]{y} [z]{+}",
        ] {
            assert!(parse(bad, String::new(), Language::En).is_err(), "{bad}");
        }
    }
}
