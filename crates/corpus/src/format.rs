//! Corpus formats: which there are, how a file is read into a [`Corpus`] and written from one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::document::{Composite, Corpus, Gold, Language, Split, split_codes};
use crate::error::{Error, Location};
use crate::io::Lines;
use crate::repairs::CodeRepairs;
use crate::stream::Documents;
use crate::{bigbio, jsonl, pubtator, quaero, spaccc};

/// A corpus file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CorpusFormat {
    /// PubTator: title and abstract lines, tab-separated annotations (see [`crate::pubtator`]).
    Pubtator,
    /// The project's own format, one [`Document`](crate::Document) a line (see [`crate::jsonl`]).
    Jsonl,
    /// BigBio's KB schema as JSON (see [`crate::bigbio`]).
    Bigbio,
    /// SPACCC's table of mentions with its texts (see [`crate::spaccc`]). Read only.
    Spaccc,
    /// QUAERO as JSON Lines (see [`crate::quaero`]). Read only.
    Quaero,
    /// A Parquet table with a row for every mention. This crate knows its name only; the `syncabel` command reads and
    /// writes it, so that nobody else compiles a data frame library.
    Parquet,
}

impl CorpusFormat {
    /// The format a file name suggests: `.jsonl` is ours, `.json` is BigBio's, `.txt`, `.pubtator` and `.tsv` are
    /// PubTator, `.parquet` is Parquet; a final `.gz` is looked through.
    pub fn guess(path: &Path) -> Option<CorpusFormat> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(CorpusFormat::Jsonl),
            "json" => Some(CorpusFormat::Bigbio),
            "txt" | "pubtator" | "tsv" => Some(CorpusFormat::Pubtator),
            "parquet" => Some(CorpusFormat::Parquet),
            _ => None,
        }
    }

    /// The format of a file that exists: what its first line shows, else what its name suggests. A header with `filename`
    /// is SPACCC's, a line with `doc_id` QUAERO's.
    pub fn detect(path: &Path) -> Option<CorpusFormat> {
        let guess = CorpusFormat::guess(path);
        let mut lines = Lines::open(path).ok();
        let first = lines
            .as_mut()
            .and_then(|lines| lines.next_line().ok().flatten());
        match (first, guess) {
            (Some(line), None | Some(CorpusFormat::Pubtator))
                if line.split('\t').any(|cell| cell == "filename") =>
            {
                Some(CorpusFormat::Spaccc)
            }
            (Some(line), None | Some(CorpusFormat::Jsonl))
                if line.trim_start().starts_with('{') && line.contains("\"doc_id\"") =>
            {
                Some(CorpusFormat::Quaero)
            }
            _ => guess,
        }
    }

    /// The language of every file of this format, where it is the format of one corpus.
    pub(crate) fn language(self) -> Option<Language> {
        match self {
            CorpusFormat::Spaccc => Some(spaccc::LANGUAGE),
            CorpusFormat::Quaero => Some(quaero::LANGUAGE),
            _ => None,
        }
    }
}

impl fmt::Display for CorpusFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CorpusFormat::Pubtator => "pubtator",
            CorpusFormat::Jsonl => "jsonl",
            CorpusFormat::Bigbio => "bigbio",
            CorpusFormat::Spaccc => "spaccc",
            CorpusFormat::Quaero => "quaero",
            CorpusFormat::Parquet => "parquet",
        })
    }
}

impl FromStr for CorpusFormat {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        match s.to_ascii_lowercase().as_str() {
            "pubtator" => Ok(CorpusFormat::Pubtator),
            "jsonl" => Ok(CorpusFormat::Jsonl),
            "bigbio" => Ok(CorpusFormat::Bigbio),
            "spaccc" => Ok(CorpusFormat::Spaccc),
            "quaero" => Ok(CorpusFormat::Quaero),
            "parquet" => Ok(CorpusFormat::Parquet),
            _ => Err(Error::UnknownName {
                what: "corpus format",
                value: s.to_owned(),
                known: "pubtator, jsonl, bigbio, spaccc, quaero, parquet".to_owned(),
            }),
        }
    }
}

/// What it means that several codes stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// All are meant (AND).
    Composite,
    /// Any is right (OR).
    Alternatives,
}

/// What is made of several codes that stand side by side without a word on how they relate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeveralIds {
    /// Any is right (OR).
    #[default]
    Alternatives,
    /// All are meant (AND).
    Composite,
    /// The first counts, the others are dropped: what the authors do with QUAERO.
    First,
}

/// How the code column of a PubTator file is to be read. It differs between corpora, so every corpus names its rule.
///
/// | preset | `\|` | `+` | prefixes taken off |
/// |---|---|---|---|
/// | `explicit` (default; what [`Gold::to_field`] writes) | OR | AND | none |
/// | `ncbi_disease` | AND (nearly always: "Duchenne and Becker muscular dystrophy") | AND | `MESH:`, `OMIM:` |
/// | `bc5cdr` | AND (the 7th column spells the parts out) | AND (does not occur) | `MESH:` |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PubtatorRules {
    /// Meaning of `|`.
    pub pipe: Join,
    /// Meaning of `+`.
    pub plus: Join,
    /// Codes that say "no concept"; an empty field says so as well.
    pub no_concept: Vec<String>,
    /// Prefixes taken off a code, compared without case.
    pub strip_prefixes: Vec<String>,
}

impl Default for PubtatorRules {
    fn default() -> Self {
        PubtatorRules {
            pipe: Join::Alternatives,
            plus: Join::Composite,
            no_concept: vec!["-1".to_owned(), "-".to_owned()],
            strip_prefixes: Vec::new(),
        }
    }
}

impl PubtatorRules {
    /// Names of the presets.
    pub const PRESETS: [&'static str; 3] = ["explicit", "ncbi_disease", "bc5cdr"];

    /// A named preset.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list of presets.
    pub fn preset(name: &str) -> Result<Self, Error> {
        let prefixes = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect();
        let both_composite = PubtatorRules {
            pipe: Join::Composite,
            ..PubtatorRules::default()
        };
        match name {
            "explicit" => Ok(PubtatorRules::default()),
            "ncbi_disease" => Ok(PubtatorRules {
                strip_prefixes: prefixes(&["MESH:", "OMIM:"]),
                ..both_composite
            }),
            "bc5cdr" => Ok(PubtatorRules {
                strip_prefixes: prefixes(&["MESH:"]),
                ..both_composite
            }),
            _ => Err(Error::UnknownName {
                what: "set of PubTator rules",
                value: name.to_owned(),
                known: PubtatorRules::PRESETS.join(", "),
            }),
        }
    }

    /// The gold of a code field under these rules.
    pub fn gold(&self, field: &str) -> Gold {
        let clean = |parts: &str, separators: &[char]| {
            Composite(
                split_codes(parts, separators)
                    .filter_map(|code| self.code(code))
                    .collect(),
            )
        };
        let split_or = |or: char, and: &[char]| {
            Gold::from_alternatives(field.split(or).map(|part| clean(part, and)).collect())
        };
        match (self.pipe, self.plus) {
            (Join::Composite, Join::Composite) => {
                Gold::from_alternatives(vec![clean(field, &['|', '+'])])
            }
            (Join::Alternatives, Join::Composite) => split_or('|', &['+']),
            (Join::Composite, Join::Alternatives) => split_or('+', &['|']),
            (Join::Alternatives, Join::Alternatives) => {
                Gold::alternatives(clean(field, &['|', '+']).0)
            }
        }
    }

    fn code(&self, code: &str) -> Option<String> {
        if self.no_concept.iter().any(|none| none == code) {
            return None;
        }
        let bare = self.strip_prefixes.iter().find_map(|prefix| {
            let head = code.get(..prefix.len())?;
            head.eq_ignore_ascii_case(prefix)
                .then(|| code[prefix.len()..].trim())
        });
        Some(bare.unwrap_or(code).to_owned())
    }
}

/// What a reader must be told that the file does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// Meaning of the code column of PubTator files.
    pub pubtator: PubtatorRules,
    /// Meaning of several normalised ids of one BigBio entity.
    pub bigbio_several_ids: Join,
    /// Meaning of several codes of one QUAERO mention.
    pub quaero_several_ids: SeveralIds,
    /// Codes to replace, in every format.
    pub code_repairs: CodeRepairs,
    /// Language of the documents of which the file states none. A document that states another one is refused
    /// ([`Error::OtherLanguage`]); where this is English, only if [`ReadOptions::language_is_given`].
    pub language: Language,
    /// Whether somebody asked for `language`. It matters for English, which stands there as well when nobody asked.
    pub language_is_given: bool,
    /// Split of the documents; overrides what the file records.
    pub split: Option<Split>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            pubtator: PubtatorRules::default(),
            bigbio_several_ids: Join::Alternatives,
            quaero_several_ids: SeveralIds::default(),
            code_repairs: CodeRepairs::default(),
            language: Language::default(),
            language_is_given: false,
            split: None,
        }
    }
}

impl ReadOptions {
    /// Options with a named set of PubTator rules.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list of presets.
    pub fn preset(name: &str) -> Result<Self, Error> {
        Ok(ReadOptions {
            pubtator: PubtatorRules::preset(name)?,
            ..ReadOptions::default()
        })
    }

    /// Refuses a document in another language than the one that was asked for; `every` as in [`Error::OtherLanguage`].
    pub(crate) fn check_language(
        &self,
        stated: Language,
        every: Option<CorpusFormat>,
        at: &Location,
    ) -> Result<(), Error> {
        let asked = self.language_is_given || self.language != Language::default();
        if asked && stated != self.language {
            return Err(Error::OtherLanguage {
                at: at.clone(),
                stated,
                asked: self.language,
                every,
            });
        }
        Ok(())
    }
}

/// What a reader found and decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadReport {
    /// Documents kept.
    pub documents: usize,
    /// Mentions kept.
    pub mentions: usize,
    /// Documents dropped because an identical one stood before.
    pub duplicate_documents: usize,
    /// Mentions of dropped documents.
    pub duplicate_mentions: usize,
    /// Mentions whose stated text differed from the covered text by white space only; the covered text is kept.
    pub white_space_differences: usize,
    /// Mentions without a concept.
    pub without_concept: usize,
    /// Mentions with a composite (several codes, all meant).
    pub composite: usize,
    /// Mentions with alternatives (several codes, any right).
    pub alternatives: usize,
    /// PubTator: rows with a 7th column, the text of the parts (not kept).
    pub component_columns: usize,
    /// PubTator: relation lines (not kept).
    pub relation_lines: usize,
    /// SPACCC: codes that a spreadsheet has turned into a number; they count as "no concept".
    #[serde(default)]
    pub lost_codes: usize,
    /// SPACCC: mention texts that differ from the covered text by quotes; the covered text is kept.
    #[serde(default)]
    pub quote_differences: usize,
    /// QUAERO: mentions whose fragments were sorted or joined.
    #[serde(default)]
    pub reordered_spans: usize,
    /// Mentions that had the id of an earlier one of their document; they got a number behind it.
    #[serde(default)]
    pub renamed_mentions: usize,
    /// Mentions whose gold was changed by the table of repairs.
    #[serde(default)]
    pub repaired_codes: usize,
    /// For every document kept the line where it starts, 0 where the format has no lines.
    #[serde(skip)]
    pub document_lines: Vec<usize>,
}

impl ReadReport {
    pub(crate) fn count_gold(&mut self, gold: &Gold) {
        self.without_concept += usize::from(gold.is_none());
        self.composite += usize::from(gold.is_composite());
        self.alternatives += usize::from(gold.alternatives.len() > 1);
    }
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} documents, {} mentions",
            self.documents, self.mentions
        )?;
        let rest = [
            (self.without_concept, "without a concept"),
            (self.renamed_mentions, "mentions with the id of another"),
            (self.composite, "composite"),
            (self.alternatives, "with alternatives"),
            (self.duplicate_documents, "identical documents dropped"),
            (self.duplicate_mentions, "mentions of theirs"),
            (
                self.white_space_differences,
                "mention texts that differ by white space",
            ),
            (self.component_columns, "rows with a component column"),
            (self.relation_lines, "relation lines skipped"),
            (self.lost_codes, "codes lost to a spreadsheet"),
            (
                self.quote_differences,
                "mention texts that differ by quotes",
            ),
            (self.reordered_spans, "mentions with fragments put in order"),
            (self.repaired_codes, "codes repaired"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "; {count} {what}")?;
        }
        Ok(())
    }
}

/// Reads a corpus file, gzip or not.
///
/// # Errors
/// With file and line: an empty file, bad UTF-8, wrong fields, offsets that are no numbers or leave the text, mention
/// texts that differ by more than white space, documents of one id that differ, a language other than the one asked for.
pub fn read(
    path: &Path,
    format: CorpusFormat,
    options: &ReadOptions,
) -> Result<(Corpus, ReadReport), Error> {
    match format {
        CorpusFormat::Jsonl => jsonl::read(path, options),
        _ => Documents::open(path, format, options)?.collect(),
    }
}

/// Writes a corpus file, gzip if the name ends in `.gz`; an old file is replaced only when the new one is complete.
///
/// # Errors
/// [`Error::Io`], and [`Error::NotRepresentable`] where the format cannot hold the corpus.
pub fn write(corpus: &Corpus, path: &Path, format: CorpusFormat) -> Result<(), Error> {
    match format {
        CorpusFormat::Pubtator => pubtator::write(corpus, path),
        CorpusFormat::Jsonl => jsonl::write(corpus, path),
        CorpusFormat::Bigbio => bigbio::write(corpus, path),
        CorpusFormat::Spaccc | CorpusFormat::Quaero => Err(Error::Structure {
            at: Location::line(path, 0),
            problem: format!(
                "{format} is read, not written; write jsonl, bigbio or pubtator instead"
            ),
        }),
        CorpusFormat::Parquet => Err(parquet_is_not_ours(path)),
    }
}

pub(crate) fn parquet_is_not_ours(path: &Path) -> Error {
    Error::Structure {
        at: Location::line(path, 0),
        problem: "Parquet is not read or written here; `syncabel corpus convert` turns it into jsonl and back"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_read_codes_by_their_corpus() {
        let ncbi = PubtatorRules::preset("ncbi_disease").unwrap();
        assert_eq!(ncbi.gold(" D015862+D058499").to_field(), "D015862+D058499");
        assert_eq!(
            ncbi.gold("C535342|OMIM:116800 ").to_field(),
            "C535342+116800"
        );
        assert_eq!(ncbi.gold("mesh:C535662").to_field(), "C535662");
        let bc5cdr = PubtatorRules::preset("bc5cdr").unwrap();
        assert_eq!(bc5cdr.gold("D006470|D003556").to_field(), "D006470+D003556");
        assert!(bc5cdr.gold("-1").is_none());
        let explicit = PubtatorRules::default();
        assert_eq!(explicit.gold("A+B|C").to_field(), "A+B|C");
        let odd = PubtatorRules {
            pipe: Join::Composite,
            plus: Join::Alternatives,
            ..PubtatorRules::default()
        };
        assert_eq!(odd.gold("A|B+C").to_field(), "A+B|C");
        let any = PubtatorRules {
            pipe: Join::Alternatives,
            plus: Join::Alternatives,
            ..PubtatorRules::default()
        };
        assert_eq!(any.gold("A|B+C").to_field(), "A|B|C");
        assert!(
            PubtatorRules::preset("ncbi")
                .unwrap_err()
                .to_string()
                .contains("ncbi_disease")
        );
    }

    #[test]
    fn formats_are_guessed_from_names() {
        let guess = |name: &str| CorpusFormat::guess(Path::new(name));
        assert_eq!(guess("a/train.pubtator.txt"), Some(CorpusFormat::Pubtator));
        assert_eq!(guess("train.jsonl.gz"), Some(CorpusFormat::Jsonl));
        assert_eq!(guess("train.JSON"), Some(CorpusFormat::Bigbio));
        assert_eq!(guess("train"), None);
    }

    #[test]
    fn the_report_leaves_out_what_did_not_happen() {
        let report = ReadReport {
            documents: 2,
            mentions: 3,
            composite: 1,
            ..ReadReport::default()
        };
        assert_eq!(report.to_string(), "2 documents, 3 mentions; 1 composite");
    }
}
