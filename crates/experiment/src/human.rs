//! The human corpus of an experiment: files to documents, documents to examples and mentions.

use crate::config::{CorpusConfig, CorpusFile, Experiment, ExperimentFile, resolve_path};
use crate::corpus_file;
use crate::error::BadInput;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use syncabel_corpus::marked::{
    self, Example, ExampleReport, GroupRule, MarkOptions, MarkedMention,
};
use syncabel_corpus::{
    Corpus, CorpusFormat, Document, Location, PubtatorRules, ReadOptions, Split,
};
use syncabel_kb::select::NameSelector;
use syncabel_kb::{Digest, Kb};
use syncabel_train::Composition;

/// The three splits as read.
#[derive(Debug, Clone)]
pub struct HumanCorpus {
    /// Documents to train on.
    pub train: Corpus,
    /// Documents that choose the checkpoint.
    pub validation: Corpus,
    /// Documents that are scored.
    pub test: Corpus,
    /// Digest over the contents of all files and how they are read.
    pub digest: Digest,
}

/// Human training rows, split as the experiment asks.
#[derive(Debug)]
pub struct HumanExamples {
    /// Rows to compose with.
    pub train: Vec<Example>,
    /// Rows that choose the checkpoint.
    pub validation: Vec<Example>,
    /// What was dropped from each split, and why.
    pub report: DropReport,
}

/// Whether an example carries one of these codes.
pub(crate) fn carries(example: &Example, codes: &BTreeSet<&str>) -> bool {
    example
        .codes
        .iter()
        .any(|code| codes.contains(code.as_str()))
}

impl HumanExamples {
    /// Without the validation rows of concepts that the composition holds out: they must not choose a checkpoint either.
    ///
    /// # Errors
    /// A share outside of 0 to 1.
    pub(crate) fn without_held_out(mut self, composition: &Composition) -> Result<Self> {
        let held_out = syncabel_train::held_out(&self.train, composition)?;
        let before = self.validation.len();
        self.validation
            .retain(|example| !carries(example, &held_out));
        let dropped = before - self.validation.len();
        if dropped > 0 {
            tracing::info!(
                "{dropped} of {before} validation rows carry held-out concepts and are left out"
            );
        }
        Ok(self)
    }
}

/// Dropped annotation, by split.
#[derive(Debug, Serialize)]
pub struct DropReport {
    /// Of the training split.
    pub train: ExampleReport,
    /// Of the validation split.
    pub validation: ExampleReport,
}

/// Reads the files of all splits.
///
/// # Errors
/// Bad input with file and line; a label without a group in the KB; a document id that occurs in two splits.
pub fn read(file: &ExperimentFile, config: &CorpusConfig, kb: &Kb) -> Result<HumanCorpus> {
    check_group_names(file, config, kb)?;
    let groups = mark_options(config).groups;
    let mut digests = Vec::new();
    let mut labels = BTreeSet::new();
    let mut split = |key: &str, files: &[CorpusFile], split: Split| -> Result<Corpus> {
        let mut documents = Vec::new();
        for (i, entry) in files.iter().enumerate() {
            let path = resolve_path(
                &file.path,
                file.folder(),
                &format!("corpus.{key}[{i}].path"),
                &entry.path,
            )?;
            let (corpus, lines, digest) = read_located(&path, entry, config, Some(split))?;
            groups.check_labels(&corpus, kb, |i| Location::line(&path, lines[i]))?;
            digests.push(json!([key, digest.to_string(), entry.format, entry.rules]));
            let mentions = corpus.documents.iter().flat_map(|d| &d.mentions);
            labels.extend(mentions.map(|m| m.label.clone()));
            documents.extend(corpus.documents);
        }
        Ok(Corpus { documents })
    };
    let train = split("train", &config.train, Split::Train)?;
    let validation = split("validation", &config.validation, Split::Validation)?;
    let test = split("test", &config.test, Split::Test)?;
    check_mapped_labels(file, config, &labels)?;
    refuse_overlap(&test, &[("train", &train), ("validation", &validation)])?;
    warn_of_overlap(&train, &validation);
    let digest = Digest::of_bytes(serde_json::to_string(&digests)?.as_bytes());
    Ok(HumanCorpus {
        train,
        validation,
        test,
        digest,
    })
}

/// Groups that the experiment file names must be groups of the KB.
fn check_group_names(file: &ExperimentFile, config: &CorpusConfig, kb: &Kb) -> Result<()> {
    let default = config.default_group.iter();
    let default = default.map(|group| ("corpus.default_group".to_owned(), group));
    let mapped = config.groups.iter();
    let mapped = mapped.map(|(label, group)| (format!("corpus.groups.{label}"), group));
    for (key, group) in default.chain(mapped) {
        if kb.group_id(group).is_none() {
            let groups: Vec<&str> = kb.groups().map(|(_, name)| name).collect();
            let message = format!(
                "the KB has no semantic group `{group}`; it has {}{}",
                groups.join(", "),
                did_you_mean(group, groups.iter().copied())
            );
            return Err(file.refuse(&key, message).into());
        }
    }
    Ok(())
}

/// Labels that the experiment file maps must occur.
fn check_mapped_labels(
    file: &ExperimentFile,
    config: &CorpusConfig,
    labels: &BTreeSet<String>,
) -> Result<()> {
    let Some(label) = config.groups.keys().find(|label| !labels.contains(*label)) else {
        return Ok(());
    };
    let known: Vec<&str> = labels.iter().map(String::as_str).collect();
    let message = format!(
        "no mention has this label; the corpus has {}{}",
        known.join(", "),
        did_you_mean(label, known.iter().copied())
    );
    Err(file
        .refuse(&format!("corpus.groups.{label}"), message)
        .into())
}

fn did_you_mean<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = crate::config::nearest(wrong, known);
    nearest.map_or(String::new(), |known| format!("; did you mean `{known}`?"))
}

/// Reads one corpus file and digests its bytes.
///
/// # Errors
/// Bad input with file and line; a document that the file says is for testing, where it is to be trained on.
pub fn read_file(
    path: &Path,
    entry: &CorpusFile,
    config: &CorpusConfig,
    split: Option<Split>,
) -> Result<(Corpus, Digest)> {
    let (corpus, _, digest) = read_located(path, entry, config, split)?;
    Ok((corpus, digest))
}

/// As [`read_file`], with the line where each document starts.
fn read_located(
    path: &Path,
    entry: &CorpusFile,
    config: &CorpusConfig,
    split: Option<Split>,
) -> Result<(Corpus, Vec<usize>, Digest)> {
    let format = match entry.format.or_else(|| CorpusFormat::detect(path)) {
        Some(format) => format,
        None => {
            let message = "cannot tell the corpus format from the file name; say `format: pubtator`, `jsonl`, `bigbio`, `spaccc`, `quaero` or `parquet`";
            return Err(BadInput(format!("{}: {message}", path.display())).into());
        }
    };
    let pubtator = match &entry.rules {
        None => PubtatorRules::default(),
        Some(rules) => rules.resolve()?,
    };
    let options = ReadOptions {
        pubtator,
        language: config.language,
        ..ReadOptions::default()
    };
    let (mut corpus, report) = corpus_file::read(path, format, &options)?;
    let lines = report.document_lines.clone();
    for (document, line) in corpus.documents.iter_mut().zip(&lines) {
        if document.split == Some(Split::Test) && split != Some(Split::Test) {
            let message = "says `\"split\": \"test\"` and must not be trained on; list the file under `corpus.test`, or correct it";
            let place = Location::line(path, *line);
            return Err(BadInput(format!("{place}: document `{}` {message}", document.id)).into());
        }
        document.split = split.or(document.split);
    }
    tracing::debug!(file = %path.display(), ?report, "read");
    let digest =
        Digest::of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((corpus, lines, digest))
}

fn refuse_overlap(test: &Corpus, others: &[(&str, &Corpus)]) -> Result<()> {
    let ids: std::collections::HashSet<&str> =
        test.documents.iter().map(|d| d.id.as_str()).collect();
    for (name, corpus) in others {
        if let Some(document) = corpus
            .documents
            .iter()
            .find(|d| ids.contains(d.id.as_str()))
        {
            let message = format!(
                "document `{}` is in `corpus.test` and in `corpus.{name}`; a test document must not be trained on",
                document.id
            );
            return Err(BadInput(message).into());
        }
    }
    Ok(())
}

/// A document that is trained on and chooses the checkpoint is no crime against the test, but flatters the choice.
fn warn_of_overlap(train: &Corpus, validation: &Corpus) {
    let ids: HashSet<&str> = train.documents.iter().map(|d| d.id.as_str()).collect();
    let documents = validation.documents.iter();
    let shared: Vec<&str> = documents
        .map(|d| d.id.as_str())
        .filter(|id| ids.contains(id))
        .collect();
    if let Some(first) = shared.first() {
        tracing::warn!(
            "{} documents are in `corpus.train` and in `corpus.validation`, `{first}` for one",
            shared.len()
        );
    }
}

/// How mentions become marked sentences in this experiment.
pub fn mark_options(config: &CorpusConfig) -> MarkOptions {
    MarkOptions {
        abbreviations: config.abbreviations,
        groups: GroupRule {
            map: config.groups.clone(),
            default: config.default_group.clone(),
        },
        max_context_chars: config.max_context_chars,
    }
}

/// Training and validation rows; moves the configured share of validation to training, from the front.
///
/// # Errors
/// A group that the KB does not have.
pub fn examples(
    experiment: &Experiment,
    human: &HumanCorpus,
    kb: &Kb,
    selector: &NameSelector,
) -> Result<HumanExamples> {
    let options = mark_options(&experiment.corpus);
    let (mut train, train_report) = marked::examples(&human.train, kb, selector, &options)?;
    let (mut validation, validation_report) =
        marked::examples(&human.validation, kb, selector, &options)?;
    let moved = (validation.len() as f64
        * experiment.corpus.validation_share_to_train.clamp(0.0, 1.0)) as usize;
    train.extend(validation.drain(..moved));
    Ok(HumanExamples {
        train,
        validation,
        report: DropReport {
            train: train_report,
            validation: validation_report,
        },
    })
}

/// The mentions of documents, marked as the model reads them.
///
/// # Errors
/// A group that the KB does not have.
pub fn mentions(
    documents: &[Document],
    kb: &Kb,
    options: &MarkOptions,
) -> Result<Vec<MarkedMention>> {
    let mut all = Vec::new();
    for document in documents {
        all.extend(marked::mark(document, Some(kb), options)?);
    }
    Ok(all)
}

/// What a generator of synthetic sentences may see of the training part.
#[derive(Debug)]
pub struct Shown {
    /// Digest over the mentions that are withheld; `None` where none is.
    pub withheld: Option<String>,
    /// The training part without them; `None` where none is.
    cut: Option<Corpus>,
}

impl Shown {
    /// The part to show, given the whole.
    pub fn corpus<'a>(&'a self, train: &'a Corpus) -> &'a Corpus {
        self.cut.as_ref().unwrap_or(train)
    }
}

/// Withholds from synthesis the mentions that the composition keeps from training: in a study of scarce annotation the
/// sentences of the rest must not come back as synthetic data.
///
/// # Errors
/// A share outside of 0 to 1.
pub fn for_synthesis(
    train: &Corpus,
    examples: &[Example],
    composition: &Composition,
) -> Result<Shown> {
    let kept = syncabel_train::human_for_synthesis(examples, composition)?;
    let key = |example: &Example| (example.document.clone(), example.mention_id.clone());
    let kept: HashSet<(String, String)> = kept.into_iter().map(key).collect();
    let withheld: BTreeSet<(String, String)> = examples
        .iter()
        .map(key)
        .filter(|key| !kept.contains(key))
        .collect();
    if withheld.is_empty() {
        return Ok(Shown {
            withheld: None,
            cut: None,
        });
    }
    let mut cut = train.clone();
    for document in &mut cut.documents {
        let id = document.id.clone();
        document
            .mentions
            .retain(|m| kept.contains(&(id.clone(), m.id.clone())));
    }
    // By what is kept: a mention that makes no example (no code, none of the KB) is withheld with the rest.
    let kept: BTreeSet<(String, String)> = kept.into_iter().collect();
    let digest = Digest::of_bytes(&serde_json::to_vec(&("kept", kept))?);
    Ok(Shown {
        withheld: Some(digest.to_string()),
        cut: Some(cut),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_corpus::Origin;

    fn example(document: &str, mention: &str) -> Example {
        Example {
            document: document.into(),
            mention_id: mention.into(),
            group: "Disorders".into(),
            prompt: String::new(),
            completion: " x".into(),
            codes: vec![format!("C-{mention}")],
            origin: Origin::Human,
        }
    }

    #[test]
    fn withheld_mentions_are_not_shown() {
        let text = r#"{"id": "d", "text": "gout and chorea", "mentions": [
            {"id": "1", "spans": [[0, 4]], "text": "gout", "label": "Disorders", "gold": [["A"]]},
            {"id": "2", "spans": [[9, 15]], "text": "chorea", "label": "Disorders", "gold": [["B"]]}]}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, text.replace('\n', " ")).unwrap();
        let (corpus, _) =
            syncabel_corpus::read(&path, CorpusFormat::Jsonl, &ReadOptions::default()).unwrap();
        let examples = [example("d", "1"), example("d", "2")];
        let shown = |human_share: f64| {
            let composition = Composition {
                human_share,
                ..Composition::default()
            };
            for_synthesis(&corpus, &examples, &composition).unwrap()
        };
        let all = shown(1.0);
        assert_eq!(
            (all.withheld.as_ref(), all.corpus(&corpus)),
            (None, &corpus)
        );
        let half = shown(0.5);
        let left: Vec<&str> = half.corpus(&corpus).documents[0]
            .mentions
            .iter()
            .map(|m| m.id.as_str())
            .collect();
        assert_eq!(left, ["1"]);
        assert!(half.withheld.is_some());
    }
}
