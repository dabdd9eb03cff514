//! Flags that name the human training data: the line between seen and unseen.

use super::io::corpus_format;
use crate::error::BadInput;
use anyhow::Result;
use std::path::PathBuf;
use syncabel_corpus::{CodeRepairs, Mention, PubtatorRules, ReadOptions, SeveralIds};
use syncabel_eval::TrainingSet;
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
        let read = |path: &PathBuf| -> Result<Vec<Mention>> {
            let (corpus, report) =
                crate::corpus_file::read(path, corpus_format(path, None)?, &options)?;
            tracing::info!(file = %path.display(), %report, "read");
            let of_test =
                |d: &&syncabel_corpus::Document| d.split == Some(syncabel_corpus::Split::Test);
            if let Some(document) = corpus.documents.iter().find(of_test) {
                let message = format!(
                    "{}: document `{}` says it is of the test split; --train and --validation take what was trained on",
                    path.display(),
                    document.id
                );
                return Err(crate::error::BadInput(message).into());
            }
            let human = corpus
                .documents
                .into_iter()
                .filter(|d| d.origin == syncabel_corpus::Origin::Human);
            Ok(human.flat_map(|d| d.mentions).collect())
        };
        let mut mentions = Vec::new();
        for path in &self.train {
            mentions.extend(read(path)?);
        }
        for path in &self.validation {
            let mut validation = read(path)?;
            validation.truncate((validation.len() as f64 * self.validation_share) as usize);
            mentions.extend(validation);
        }
        Ok(Some(TrainingSet::from_mentions(&mentions, kb)))
    }
}
