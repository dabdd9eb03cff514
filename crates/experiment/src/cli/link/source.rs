//! Where mentions come from: a corpus in any format, or marked sentences, from a file or standard input.
//!
//! All are read as they are needed. SPACCC's tables and Parquet are read from more than one place, so they cannot come from a
//! pipe.

use super::super::io::{corpus_format, read_options};
use crate::corpus_file;
use crate::error::BadInput;
use anyhow::Result;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use syncabel_corpus::marked::{self, MarkOptions, MarkedMention};
use syncabel_corpus::{CorpusFormat, Document, Gold, Language, Origin, pubtator};
use syncabel_kb::Kb;

/// The name of the format that is no corpus format.
const MARKED: &str = "marked";

/// How the input is to be read.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// The file; `-` for standard input.
    pub(super) path: PathBuf,
    pub(super) format: Option<String>,
    pub(super) rules: Option<String>,
    pub(super) language: Option<String>,
}

/// A mention, and the document that it comes from.
pub(super) struct Item {
    pub(super) mention: MarkedMention,
    /// Nothing for a marked sentence.
    pub(super) document: Option<Rc<Document>>,
}

/// What is known of an input before any of it is linked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) mentions: u64,
    /// Bytes of the longest prompt.
    pub(super) longest_prompt: usize,
}

/// Mentions one by one.
pub(super) struct Mentions<'k> {
    source: Source,
    kb: &'k Kb,
    options: MarkOptions,
    ready: VecDeque<Item>,
}

enum Source {
    Documents(Box<dyn Iterator<Item = Result<Document>>>),
    Sentences(Sentences),
}

impl Input {
    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// What to open.
    fn file(&self) -> &Path {
        if self.is_stdin() {
            Path::new("/dev/stdin")
        } else {
            &self.path
        }
    }

    fn is_marked(&self) -> bool {
        self.format.as_deref() == Some(MARKED)
    }

    fn format(&self) -> Result<CorpusFormat> {
        if self.is_stdin() && self.format.is_none() {
            let message = "standard input has no name to tell the format from; say --format marked, jsonl, pubtator, ...";
            return Err(BadInput(message.into()).into());
        }
        corpus_format(self.file(), self.format.as_deref())
    }

    /// Mentions of the input, each of which can be linked and, with `as_pubtator`, written in that format; nothing for
    /// standard input, which can be read only once.
    ///
    /// # Errors
    /// What is wrong with the first mention that cannot.
    pub(super) fn count(
        &self,
        kb: &Kb,
        options: &MarkOptions,
        as_pubtator: bool,
    ) -> Result<Option<Counted>> {
        if as_pubtator && self.is_marked() {
            let message =
                "marked sentences have no document to write as PubTator; write tsv or jsonl";
            return Err(BadInput(message.into()).into());
        }
        if self.is_stdin() || !self.path.is_file() {
            return Ok(None);
        }
        let mut counted = Counted::default();
        let mut writable: Option<Rc<Document>> = None;
        for item in self.mentions(kb, options.clone())? {
            let Item { mention, document } = item?;
            check_groups(kb, &mention)?;
            let is_new = match (&writable, &document) {
                (Some(last), Some(this)) => !Rc::ptr_eq(last, this),
                _ => true,
            };
            if let (true, true, Some(document)) = (as_pubtator, is_new, &document) {
                pubtator::block(document)?;
            }
            writable = document;
            counted.mentions += 1;
            counted.longest_prompt = counted.longest_prompt.max(mention.prompt().len());
        }
        Ok(Some(counted))
    }

    fn documents(&self) -> Result<Box<dyn Iterator<Item = Result<Document>>>> {
        let (file, format) = (self.file(), self.format()?);
        let options = read_options(self.rules.as_deref(), self.language.as_deref())?;
        corpus_file::documents(file, format, &options)
    }

    /// Starts to read.
    pub(super) fn mentions<'k>(&self, kb: &'k Kb, options: MarkOptions) -> Result<Mentions<'k>> {
        let source = if self.is_marked() {
            let language = self
                .language
                .as_deref()
                .map(Language::from_str)
                .transpose()?
                .unwrap_or_default();
            Source::Sentences(Sentences::open(self.file(), &self.path, language)?)
        } else {
            Source::Documents(self.documents()?)
        };
        Ok(Mentions {
            source,
            kb,
            options,
            ready: VecDeque::new(),
        })
    }
}

/// Whether the KB has the groups of a mention, before hours of others are linked.
pub(super) fn check_groups(kb: &Kb, mention: &MarkedMention) -> Result<()> {
    let Some(group) = mention.groups().find(|group| kb.group_id(group).is_none()) else {
        return Ok(());
    };
    let known: Vec<&str> = kb.groups().map(|(_, name)| name).collect();
    Err(syncabel_decode::Error::UnknownGroup {
        document: mention.document.clone(),
        mention: mention.mention_id.clone(),
        group: group.to_owned(),
        known: known.join(", "),
    }
    .into())
}

impl Mentions<'_> {
    /// Whether the next mention, if there is one, is the first of its document.
    pub(super) fn begin_a_document(&self) -> bool {
        self.ready.is_empty()
    }

    /// Makes mentions that were taken the next ones again.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.ready.push_front(item);
        }
    }
}

impl Iterator for Mentions<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            let document = match &mut self.source {
                Source::Sentences(sentences) => {
                    let item = |mention| Item {
                        mention,
                        document: None,
                    };
                    return sentences.next().map(|mention| mention.map(item));
                }
                Source::Documents(documents) => documents.next()?,
            };
            let marked = document.and_then(|document| {
                let mentions = marked::mark(&document, Some(self.kb), &self.options)?;
                Ok((Rc::new(document), mentions))
            });
            match marked {
                Err(error) => return Some(Err(error)),
                Ok((document, mentions)) => {
                    self.ready.extend(mentions.into_iter().map(|mention| Item {
                        mention,
                        document: Some(Rc::clone(&document)),
                    }));
                }
            }
        }
    }
}

/// Marked sentences, one a line: `Known [HD]{Disorders}, now with chorea.`
struct Sentences {
    lines: std::io::Split<Box<dyn BufRead>>,
    name: String,
    number: usize,
    language: Language,
}

impl Sentences {
    fn open(file: &Path, shown: &Path, language: Language) -> Result<Self> {
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
    type Item = Result<MarkedMention>;

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
            if line.matches("]{").count() > 1 {
                return refuse(
                    "more than one `]{group}` in this line; give each mention a line of its own",
                );
            }
            return match parse(line, &self.name, self.number, self.language) {
                Some(mention) => Some(Ok(mention)),
                None => refuse(
                    "no `[mention]{group}` in this line; write the mention in brackets and its semantic group in braces \
                     behind it",
                ),
            };
        }
    }
}

/// The mention of a marked sentence: everything in brackets that ends with the group in braces.
fn parse(line: &str, document: &str, number: usize, language: Language) -> Option<MarkedMention> {
    let group_at = line.find("]{")?;
    let group_end = group_at + line[group_at..].find('}')?;
    let group = &line[group_at + 2..group_end];
    let mut fragments = Vec::new();
    let mut rest = &line[..=group_at];
    let mut first = None;
    while let Some(open) = rest.find('[') {
        let close = open + rest[open..].find(']')?;
        first.get_or_insert(offset(line, rest) + open);
        fragments.push(&rest[open + 1..close]);
        rest = &rest[close + 1..];
    }
    let mention = fragments.join(" ");
    if mention.trim().is_empty() || group.trim().is_empty() {
        return None;
    }
    let chars = |bytes: usize| line[..bytes].chars().count() as u32;
    Some(MarkedMention {
        document: document.to_owned(),
        mention_id: format!("{document}.{number}"),
        label: group.to_owned(),
        group: group.to_owned(),
        start_chars: chars(first? + 1),
        end_chars: chars(group_at),
        span: mention.clone(),
        mention,
        sentence: line.to_owned(),
        language,
        gold: Gold::none(),
        origin: Origin::Human,
    })
}

/// Bytes of `whole` before its part `part`.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_sentences_say_where_and_what() {
        let one = parse("Só [HD]{Disorders} here.", "s", 3, Language::En).unwrap();
        assert_eq!(
            (one.mention.as_str(), one.group.as_str()),
            ("HD", "Disorders")
        );
        assert_eq!((one.start_chars, one.end_chars), (4, 6));
        assert_eq!(one.mention_id, "s.3");
        assert_eq!(one.prompt(), "Só [HD]{Disorders} here.<SEP>[HD] is");
        let two = parse(
            "[Breast] and ovarian [cancer]{Disease}",
            "s",
            1,
            Language::En,
        )
        .unwrap();
        assert_eq!(two.mention, "Breast cancer");
        assert_eq!((two.start_chars, two.end_chars), (1, 28));
        for bad in ["plain", "[x] {y}", "[]{y}", "[x]{}", "x]{y}", "[x]{y"] {
            assert!(parse(bad, "s", 1, Language::En).is_none(), "{bad}");
        }
    }
}
