//! Documents one by one: what every reader hands out, and what is checked on the way.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::document::{Corpus, Document};
use crate::error::{Error, Location};
use crate::format::{CorpusFormat, ReadOptions, ReadReport, parquet_is_not_ours};
use crate::repairs::CodeRepairs;
use crate::{bigbio, jsonl, pubtator, quaero, spaccc};

/// Where the documents of a file come from.
pub(crate) trait Source: Send {
    /// The next document, its spans and texts checked, and its place; `None` at the end of the file.
    fn next(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error>;
}

/// Streams the documents of a file in any format of this crate: what [`crate::read`] reads, in the same order.
///
/// Memory is one document, and an id and a digest for each that was read; formats that need more say so.
///
/// ```
/// use syncabel_corpus::{CorpusFormat, Documents, ReadOptions};
/// # let path = std::env::temp_dir().join(format!("syncabel-stream-{}.txt", std::process::id()));
/// std::fs::write(&path, "1|t|Gout\n1\t0\t4\tGout\tDisease\tD006073\n")?;
/// let documents = Documents::open(&path, CorpusFormat::Pubtator, &ReadOptions::default())?;
/// let mentions: usize = documents.map(|d| d.map(|d| d.mentions.len())).sum::<Result<_, _>>()?;
/// assert_eq!(mentions, 1);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Documents {
    source: Box<dyn Source>,
    gate: Gate,
    path: PathBuf,
    /// Whether the iterator has said an error: what comes behind it means nothing.
    broken: bool,
}

impl Documents {
    /// Opens a file, gzip or not.
    ///
    /// # Errors
    /// [`Error::Io`]; a file of which not even the beginning is in the format.
    pub fn open(path: &Path, format: CorpusFormat, options: &ReadOptions) -> Result<Self, Error> {
        let source: Box<dyn Source> = match format {
            CorpusFormat::Pubtator => Box::new(pubtator::Blocks::open(path, options)?),
            CorpusFormat::Jsonl => Box::new(jsonl::Reader::open_with(path, options)?),
            CorpusFormat::Bigbio => Box::new(bigbio::Records::open(path, options)?),
            CorpusFormat::Spaccc => Box::new(spaccc::Table::open(path)?),
            CorpusFormat::Quaero => Box::new(quaero::Annotated::open(path, options)?),
            CorpusFormat::Parquet => return Err(parquet_is_not_ours(path)),
        };
        if let Some(language) = format.language() {
            // The first line is what shows the format.
            options.check_language(language, Some(format), &Location::line(path, 1))?;
        }
        Ok(Documents {
            source,
            gate: Gate::new(options),
            path: path.to_path_buf(),
            broken: false,
        })
    }

    /// What was found so far.
    pub fn report(&self) -> &ReadReport {
        &self.gate.report
    }

    /// All that are left, with what was found.
    ///
    /// # Errors
    /// See [`crate::read`].
    pub fn collect(mut self) -> Result<(Corpus, ReadReport), Error> {
        let mut documents = Vec::new();
        while let Some(document) = self.next_document()? {
            documents.push(document);
        }
        Ok((Corpus { documents }, self.gate.report))
    }

    /// The next document; copies of earlier ones are left out. `None` at the end.
    ///
    /// # Errors
    /// See [`crate::read`]; an empty file is refused when its end is reached.
    pub fn next_document(&mut self) -> Result<Option<Document>, Error> {
        while let Some((document, at)) = self.source.next(&mut self.gate.report)? {
            if let Some(document) = self.gate.pass(document, &at)? {
                return Ok(Some(document));
            }
        }
        self.gate.refuse_nothing(&self.path)?;
        Ok(None)
    }
}

/// Mentions are told apart by their ids wherever they are kept or left out, so one that has the id of an earlier one gets a number
/// behind it: `T1`, `T1.2`, `T1.3`. Returns how many did.
fn tell_apart(document: &mut Document) -> usize {
    let ids: HashSet<String> = document.mentions.iter().map(|m| m.id.clone()).collect();
    if ids.len() == document.mentions.len() {
        return 0;
    }
    let mut next: HashMap<String, u64> = HashMap::new();
    let mut renamed = 0;
    for mention in &mut document.mentions {
        let Some(number) = next.get_mut(&mention.id) else {
            next.insert(mention.id.clone(), 2);
            continue;
        };
        let name = loop {
            let name = format!("{}.{number}", mention.id);
            *number += 1;
            if !ids.contains(&name) {
                break name;
            }
        };
        mention.id = name;
        renamed += 1;
    }
    renamed
}

impl Iterator for Documents {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let next = self.next_document().transpose();
        self.broken = matches!(next, Some(Err(_)));
        next
    }
}

/// Checks the documents of a file as they come, for readers of formats that this crate does not know: tells identical copies,
/// refuses differing ones and those in another language than the one asked for, repairs codes, fills in ids and splits, counts. It keeps ids and
/// digests, not documents.
pub struct Gate {
    report: ReadReport,
    /// Digest and first line of each document id. Only looked up, never iterated.
    seen: HashMap<String, (u64, usize)>,
    options: ReadOptions,
}

impl Gate {
    /// A gate through which nothing has gone.
    pub fn new(options: &ReadOptions) -> Self {
        Gate {
            report: ReadReport::default(),
            seen: HashMap::new(),
            options: options.clone(),
        }
    }

    /// The document as it is to be kept, its spans and texts checked; `None` for a copy of an earlier one.
    ///
    /// # Errors
    /// With the place of the document, what [`crate::read`] refuses.
    pub fn check(&mut self, document: Document, at: &Location) -> Result<Option<Document>, Error> {
        document.validate_at(at)?;
        self.pass(document, at)
    }

    /// As [`Gate::check`], for a record of BigBio's schema that was found elsewhere than in a JSON file; a field that is left out is
    /// empty.
    ///
    /// # Errors
    /// With the place of the record, what [`crate::read`] refuses.
    pub fn check_bigbio(
        &mut self,
        record: serde_json::Value,
        at: &Location,
    ) -> Result<Option<Document>, Error> {
        let document = bigbio::from_value(record, &self.options, at, &mut self.report)?;
        self.pass(document, at)
    }

    /// What was found so far.
    pub fn report(&self) -> &ReadReport {
        &self.report
    }

    /// Refuses a file without documents.
    ///
    /// # Errors
    /// [`Error::Empty`].
    pub fn refuse_nothing(&self, path: &Path) -> Result<(), Error> {
        if self.report.documents == 0 {
            return Err(Error::Empty {
                path: path.to_path_buf(),
            });
        }
        Ok(())
    }

    pub(crate) fn pass(
        &mut self,
        mut document: Document,
        at: &Location,
    ) -> Result<Option<Document>, Error> {
        self.options.check_language(document.language, None, at)?;
        document.split = self.options.split.or(document.split);
        document.number_mentions();
        self.report.renamed_mentions += tell_apart(&mut document);
        if !self.options.code_repairs.is_empty() {
            repair(&mut document, &self.options.code_repairs, &mut self.report);
        }
        let digest = digest(&document);
        if let Some(&(first, first_line)) = self.seen.get(&document.id) {
            if first != digest {
                return Err(Error::DuplicateDocument {
                    at: at.clone(),
                    id: document.id,
                    first_line,
                });
            }
            self.report.duplicate_documents += 1;
            self.report.duplicate_mentions += document.mentions.len();
            return Ok(None);
        }
        self.seen.insert(document.id.clone(), (digest, at.line));
        self.report.documents += 1;
        self.report.document_lines.push(at.line);
        self.report.mentions += document.mentions.len();
        for mention in &document.mentions {
            self.report.count_gold(&mention.gold);
        }
        Ok(Some(document))
    }
}

fn repair(document: &mut Document, repairs: &CodeRepairs, report: &mut ReadReport) {
    for mention in &mut document.mentions {
        let repaired = repairs.gold(&mention.gold);
        report.repaired_codes += usize::from(repaired != mention.gold);
        mention.gold = repaired;
    }
}

/// Equal for equal documents within one process.
fn digest(document: &Document) -> u64 {
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    hasher.finish()
}
