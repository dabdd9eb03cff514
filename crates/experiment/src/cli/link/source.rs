//! Where mentions come from: a corpus in any format, or marked sentences, from a file or standard input.
//!
//! All are read as they are needed. SPACCC's tables and Parquet are read from more than one place, so they cannot come from a
//! pipe.

use super::super::io::{corpus_format, read_options};
use super::sentences::Sentences;
use crate::corpus_file::{self, Documents};
use crate::error::BadInput;
use anyhow::Result;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use syncabel_corpus::marked::{self, MarkOptions, MarkedMention};
use syncabel_corpus::{CorpusFormat, Document, Language, ReadReport, pubtator};
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
    pub(super) document: Rc<Document>,
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
    Documents(Documents),
    Sentences(Sentences),
}

impl Iterator for Source {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Documents(documents) => documents.next(),
            Self::Sentences(sentences) => sentences.next(),
        }
    }
}

impl Input {
    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Whether it can be read only once.
    fn is_pipe(&self) -> bool {
        self.is_stdin() || self.path.exists() && !self.path.is_file() && !self.path.is_dir()
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
        // Looking into a pipe takes from it what was looked at.
        if self.is_pipe() && self.format.is_none() {
            let message =
                "the format of a pipe is not guessed; say --format marked, jsonl, pubtator, ...";
            return Err(BadInput(message.into()).into());
        }
        corpus_format(self.file(), self.format.as_deref())
    }

    /// Mentions of the input, each of which can be linked and, with `as_pubtator`, written in that format; nothing for a pipe, which
    /// can be read only once. Says what the reader found and left out.
    ///
    /// # Errors
    /// What is wrong with the first mention that cannot.
    pub(super) fn count(
        &self,
        kb: &Kb,
        options: &MarkOptions,
        as_pubtator: bool,
    ) -> Result<Option<Counted>> {
        if self.is_pipe() {
            return Ok(None);
        }
        let mut counted = Counted::default();
        let mut writable: Option<Rc<Document>> = None;
        let mut mentions = self.mentions(kb, options.clone())?;
        for item in mentions.by_ref() {
            let Item { mention, document } = item?;
            check_groups(kb, &mention)?;
            let is_new = !matches!(&writable, Some(last) if Rc::ptr_eq(last, &document));
            if as_pubtator && is_new {
                pubtator::block(&document)?;
            }
            writable = Some(document);
            counted.mentions += 1;
            counted.longest_prompt = counted.longest_prompt.max(mention.prompt().len());
        }
        if let Some(report) = mentions.report() {
            tracing::info!("{}: {report}", self.path.display());
        }
        if counted.mentions == 0 {
            tracing::warn!(
                "{}: no mentions, so there is nothing to link",
                self.path.display()
            );
        }
        Ok(Some(counted))
    }

    fn documents(&self) -> Result<Documents> {
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
    /// What the reader has found so far; nothing of marked sentences.
    pub(super) fn report(&self) -> Option<&ReadReport> {
        match &self.source {
            Source::Documents(documents) => Some(documents.report()),
            Source::Sentences(_) => None,
        }
    }

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
            let marked = self.source.next()?.and_then(|document| {
                let mentions = marked::mark(&document, Some(self.kb), &self.options)?;
                Ok((Rc::new(document), mentions))
            });
            match marked {
                Err(error) => return Some(Err(error)),
                Ok((document, mentions)) => {
                    self.ready.extend(mentions.into_iter().map(|mention| Item {
                        mention,
                        document: Rc::clone(&document),
                    }));
                }
            }
        }
    }
}
