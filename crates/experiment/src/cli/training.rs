//! Flags that name the human training data: the line between seen and unseen.

use super::io::corpus_format;
use crate::error::BadInput;
use anyhow::Result;
use std::path::{Path, PathBuf};
use syncabel_corpus::jsonl::{self, DocumentRef};
use syncabel_corpus::{
    CodeRepairs, CorpusFormat, Origin, PubtatorRules, ReadOptions, SeveralIds, Split,
};
use syncabel_eval::{TrainingSet, TrainingSetBuilder};
use syncabel_kb::Kb;

/// Where the human training data is.
#[derive(Debug, clap::Args)]
pub(super) struct TrainingArgs {
    /// Human training corpus in any format that is read, for seen and unseen concepts and mentions. May be repeated.
    #[arg(long, value_name = "CORPUS")]
    train: Vec<PathBuf>,
    /// Validation corpus of which the first `--validation-share` of the mentions, in file order, was trained on.
    #[arg(long, value_name = "CORPUS")]
    validation: Vec<PathBuf>,
    /// Share of the validation mentions that counts as training data.
    #[arg(long, default_value_t = 0.9, value_name = "SHARE")]
    validation_share: f64,
    /// What `|` and `+` mean in PubTator training files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Table of code replacements for the training corpora: two columns, tab- or comma-separated, one header line.
    #[arg(long, value_name = "TABLE")]
    repairs: Option<PathBuf>,
    /// Several codes of one QUAERO mention: `alternatives`, `composite`, or the `first` alone (as the paper's authors).
    #[arg(long, default_value = "alternatives", value_parser = ["alternatives", "composite", "first"])]
    several: String,
}

impl TrainingArgs {
    /// The training side of seen and unseen; `None` where no corpus was named.
    ///
    /// # Errors
    /// Bad input, with file and line.
    pub(super) fn read(&self, kb: Option<&Kb>) -> Result<Option<TrainingSet>> {
        if !(0.0..=1.0).contains(&self.validation_share) {
            let message = format!(
                "--validation-share {}: a share is between 0 and 1",
                self.validation_share
            );
            return Err(BadInput(message).into());
        }
        if self.train.is_empty() && self.validation.is_empty() {
            return Ok(None);
        }
        let options = ReadOptions {
            pubtator: self
                .rules
                .as_deref()
                .map(PubtatorRules::preset)
                .transpose()?
                .unwrap_or_default(),
            code_repairs: self
                .repairs
                .as_deref()
                .map(CodeRepairs::read)
                .transpose()?
                .unwrap_or_default(),
            quaero_several_ids: match self.several.as_str() {
                "alternatives" => SeveralIds::Alternatives,
                "composite" => SeveralIds::Composite,
                _ => SeveralIds::First,
            },
            ..ReadOptions::default()
        };
        let mut set = TrainingSetBuilder::new(kb);
        for path in &self.train {
            add(path, 1.0, &options, &mut set)?;
        }
        for path in &self.validation {
            add(path, self.validation_share, &options, &mut set)?;
        }
        Ok(Some(set.finish()))
    }
}

/// Adds the first `share` of a corpus' human mentions, in file order.
fn add(
    path: &Path,
    share: f64,
    options: &ReadOptions,
    set: &mut TrainingSetBuilder<'_>,
) -> Result<()> {
    let format = corpus_format(path, None)?;
    // The usual file of the most common format is counted where it stands, without a copy of its documents.
    let in_place = format == CorpusFormat::Jsonl && options.code_repairs.is_empty();
    let text = in_place.then(|| jsonl::text(path)).flatten();
    if let Some((documents, report)) = text.as_deref().and_then(DocumentRef::all) {
        tracing::info!(file = %path.display(), %report, "read");
        let splits = documents.iter().map(|d| (d.id.as_ref(), d.split));
        refuse_test(path, splits)?;
        let human = documents.iter().filter(|d| d.origin == Origin::Human);
        let mentions: Vec<_> = human.flat_map(|d| &d.mentions).collect();
        let count = (mentions.len() as f64 * share) as usize;
        mentions[..count].iter().for_each(|m| set.add_ref(m));
        return Ok(());
    }
    let (corpus, report) = crate::corpus_file::read(path, format, options)?;
    tracing::info!(file = %path.display(), %report, "read");
    let splits = corpus.documents.iter().map(|d| (d.id.as_str(), d.split));
    refuse_test(path, splits)?;
    let human = corpus
        .documents
        .iter()
        .filter(|d| d.origin == Origin::Human);
    let mentions: Vec<_> = human.flat_map(|d| &d.mentions).collect();
    let count = (mentions.len() as f64 * share) as usize;
    mentions[..count].iter().for_each(|m| set.add(m));
    Ok(())
}

fn refuse_test<'d>(
    path: &Path,
    mut documents: impl Iterator<Item = (&'d str, Option<Split>)>,
) -> Result<()> {
    let Some((id, _)) = documents.find(|(_, split)| *split == Some(Split::Test)) else {
        return Ok(());
    };
    let message = format!(
        "{}: document `{id}` says it is of the test split; --train and --validation take what was trained on",
        path.display()
    );
    Err(BadInput(message).into())
}
