//! Flags that say how a prediction file is scored, and reading such files: for whatever scores.

use super::training::TrainingArgs;
use crate::error::BadInput;
use anyhow::Result;
use std::path::{Path, PathBuf};
use syncabel_corpus::predictions::Prediction;
use syncabel_eval::{CompositeRule, EvalOptions, SeenRule, TiePolicy};
use syncabel_kb::Kb;

/// How predictions are scored.
#[derive(Debug, clap::Args)]
pub(super) struct ScoringArgs {
    #[command(flatten)]
    pub(super) training: TrainingArgs,
    /// KB folder: counts gold codes that it does not contain, and lets alternate codes match.
    #[arg(long, value_name = "KB")]
    kb: Option<PathBuf>,
    /// Column with a judge's verdicts; `LLM_Evaluation_v2`, else `LLM_Evaluation`, where left out.
    #[arg(long, value_name = "NAME")]
    judge_column: Option<String>,
    /// Composites: `exact` needs all parts, `any_part` any one.
    #[arg(long, default_value = "exact", value_parser = ["exact", "any_part"])]
    composite: String,
    /// Answers whose name denotes several concepts (`A|B`): all must be right, the share that is, or any.
    #[arg(long, default_value = "strict", value_parser = ["strict", "expected", "any"])]
    ties: String,
    /// Seen concepts: `code_string` (as the paper's authors), `code_set` or `any_concept`.
    #[arg(long, default_value = "code_string", value_parser = ["code_string", "code_set", "any_concept"])]
    seen: String,
    /// The k of recall@k beside 1, with commas between them, as far as the candidate lists reach; 2,5,10,20 where left out.
    #[arg(long, value_name = "K,..", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    recall_at: Vec<u32>,
}

impl ScoringArgs {
    /// The rules, everything else as the paper's authors have it.
    pub(super) fn options(&self) -> EvalOptions {
        let mut options = EvalOptions {
            judge_column: self.judge_column.clone(),
            composite: match self.composite.as_str() {
                "exact" => CompositeRule::Exact,
                _ => CompositeRule::AnyPart,
            },
            ties: match self.ties.as_str() {
                "strict" => TiePolicy::Strict,
                "expected" => TiePolicy::Expected,
                _ => TiePolicy::Any,
            },
            seen: match self.seen.as_str() {
                "code_string" => SeenRule::CodeString,
                "code_set" => SeenRule::CodeSet,
                _ => SeenRule::AnyConcept,
            },
            ..EvalOptions::default()
        };
        if !self.recall_at.is_empty() {
            options.recall_at.clone_from(&self.recall_at);
        }
        options
    }

    /// The KB, where one was named.
    ///
    /// # Errors
    /// As [`Kb::open`].
    pub(super) fn kb(&self) -> Result<Option<Kb>> {
        Ok(self.kb.as_deref().map(Kb::open).transpose()?)
    }

    /// Says which of the k that were asked for no candidate list reaches.
    pub(super) fn warn_of_unreached(&self, reached: impl Fn(u32) -> bool) {
        let unreached = self.recall_at.iter().filter(|k| **k > 1 && !reached(**k));
        let unreached: Vec<String> = unreached.map(u32::to_string).collect();
        if !unreached.is_empty() {
            eprintln!(
                "warning: no candidate list is as long as {}; link with more beams or `--max-answers` for recall there",
                unreached.join(", ")
            );
        }
    }
}

/// All rows of a prediction file, tab-separated (gzipped or not) or Parquet.
///
/// # Errors
/// Bad input, with file and place.
pub(super) fn read_predictions(path: &Path) -> Result<Vec<Prediction>> {
    match is_parquet(path) {
        true => read_parquet(path),
        false => {
            exists(path)?;
            Ok(syncabel_corpus::predictions::read_tsv(path)?)
        }
    }
}

/// Whether a prediction file is Parquet, by its name.
pub(super) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "parquet")
}

/// All rows of a prediction file in Parquet.
///
/// # Errors
/// Bad input, also where this build cannot read Parquet.
#[cfg(feature = "parquet")]
pub(super) fn read_parquet(path: &Path) -> Result<Vec<Prediction>> {
    Ok(syncabel_eval::parquet::read_predictions(path)?)
}

/// See the variant with Parquet.
#[cfg(not(feature = "parquet"))]
pub(super) fn read_parquet(path: &Path) -> Result<Vec<Prediction>> {
    let message = "this build has no Parquet; build with `--features parquet`";
    Err(BadInput(format!("{}: {message}", path.display())).into())
}

/// Refuses what is no file; a pipe will do.
///
/// # Errors
/// Bad input.
pub(super) fn exists(path: &Path) -> Result<()> {
    if !path.exists() || path.is_dir() {
        return Err(BadInput(format!("{}: no such file", path.display())).into());
    }
    Ok(())
}
