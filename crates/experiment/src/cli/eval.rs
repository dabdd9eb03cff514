//! `syncabel eval`: every metric of a prediction file.

use super::io::read_corpus;
use crate::error::BadInput;
use anyhow::Result;
use std::path::{Path, PathBuf};
use syncabel_corpus::predictions::{Prediction, read_tsv};
use syncabel_eval::{CompositeRule, EvalOptions, SeenRule, TrainingSet};
use syncabel_kb::Kb;

/// Scores a prediction file: recall with a document-level bootstrap interval, per group, seen and unseen concepts.
///
/// The defaults are those of the paper's authors: composites need all their parts, rows whose gold code holds NO_CODE and
/// repeated rows are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel eval predictions.tsv --train train.pubtator.txt --rules ncbi_disease --json"
)]
pub(super) struct Args {
    /// Prediction file: tab-separated (gzipped or not) or Parquet.
    predictions: PathBuf,
    /// Human training corpus, for seen and unseen concepts and mentions. May be repeated.
    #[arg(long, value_name = "CORPUS")]
    train: Vec<PathBuf>,
    /// What `|` and `+` mean in PubTator training files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// KB folder: counts gold codes that it does not contain, and lets alternate codes match.
    #[arg(long, value_name = "KB")]
    kb: Option<PathBuf>,
    /// Column with a judge's verdicts; `LLM_Evaluation_v2`, else `LLM_Evaluation`, where left out.
    #[arg(long, value_name = "NAME")]
    judge_column: Option<String>,
    /// Composites: `exact` needs all parts, `any_part` any one.
    #[arg(long, default_value = "exact", value_parser = ["exact", "any_part"])]
    composite: String,
    /// Seen concepts: `code_string` (as the paper's authors), `code_set` or `any_concept`.
    #[arg(long, default_value = "code_string", value_parser = ["code_string", "code_set", "any_concept"])]
    seen: String,
    /// Replicates of the bootstrap.
    #[arg(long, default_value_t = 1000)]
    replicates: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let rows = read_predictions(&args.predictions)?;
    let kb = args.kb.as_deref().map(Kb::open).transpose()?;
    let mut training = Vec::new();
    for path in &args.train {
        training.extend(read_corpus(path, None, args.rules.as_deref(), None)?.documents);
    }
    let training =
        (!args.train.is_empty()).then(|| TrainingSet::from_documents(&training, kb.as_ref()));
    let mut options = EvalOptions {
        judge_column: args.judge_column,
        ..EvalOptions::default()
    };
    options.bootstrap.replicates = args.replicates;
    options.composite = if args.composite == "exact" {
        CompositeRule::Exact
    } else {
        CompositeRule::AnyPart
    };
    options.seen = match args.seen.as_str() {
        "code_string" => SeenRule::CodeString,
        "code_set" => SeenRule::CodeSet,
        _ => SeenRule::AnyConcept,
    };
    let report = syncabel_eval::evaluate(&rows, training.as_ref(), kb.as_ref(), &options)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn read_predictions(path: &Path) -> Result<Vec<Prediction>> {
    if path.extension().is_some_and(|e| e == "parquet") {
        #[cfg(feature = "parquet")]
        return Ok(syncabel_eval::parquet::read_predictions(path)?);
        #[cfg(not(feature = "parquet"))]
        return Err(BadInput(format!(
            "{}: this build has no Parquet; build with `--features parquet`",
            path.display()
        ))
        .into());
    }
    if !path.is_file() {
        return Err(BadInput(format!("{}: no such file", path.display())).into());
    }
    Ok(read_tsv(path)?)
}
