//! `syncabel eval`: every metric of a prediction file.

use super::training::TrainingArgs;
use crate::error::BadInput;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use syncabel_eval::{
    Comparison, CompositeRule, Correction, EvalOptions, EvalReport, PredictionColumns, SeenRule,
    TiePolicy, compare_scored, figures,
};
use syncabel_kb::Kb;

/// Scores a prediction file: recall with document-level bootstrap intervals, for all mentions and every stratum; recall
/// among the candidates; a judge's rates; thresholds, risk-coverage and calibration of the score columns.
///
/// The defaults are those of the paper's authors: composites need all their parts, rows whose gold code holds NO_CODE and
/// repeated rows are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncabel eval predictions.tsv --train train.pubtator.txt --rules ncbi_disease --json\n  syncabel eval human_only.tsv --against interleaved.tsv --against combined.tsv --table strata.tex --figures figures"
)]
pub(super) struct Args {
    /// Prediction file: tab-separated (gzipped or not) or Parquet.
    predictions: PathBuf,
    /// Another system on the same mentions, tested against the first. May be repeated; p-values are then corrected.
    #[arg(long, value_name = "PREDICTIONS")]
    against: Vec<PathBuf>,
    /// Correction of p-values for many comparisons.
    #[arg(long, default_value = "holm", value_parser = ["holm", "benjamini_hochberg", "none"])]
    correction: String,
    #[command(flatten)]
    training: TrainingArgs,
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
    /// Score repeated rows as well.
    #[arg(long)]
    keep_duplicates: bool,
    /// Score rows whose gold code holds NO_CODE as well; no answer is right there.
    #[arg(long)]
    keep_no_code: bool,
    /// Replicates of the bootstrap.
    #[arg(long, default_value_t = 1000)]
    replicates: usize,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Write the strata as a table: .md, .csv, .tex or .typ.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Write the thresholds as a table.
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// Draw reliability diagram and risk-coverage curve into a folder.
    #[arg(long, value_name = "FOLDER")]
    figures: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints: the report, and the comparisons where there are any.
#[derive(Serialize)]
struct Output<'r> {
    #[serde(flatten)]
    report: &'r EvalReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comparisons: Vec<Against>,
}

/// The first system against another.
#[derive(Serialize)]
struct Against {
    /// File of the other system.
    against: String,
    #[serde(flatten)]
    comparison: Comparison,
    /// The correction applied to the two values below.
    correction: Correction,
    p_bootstrap_adjusted: f64,
    p_mcnemar_adjusted: f64,
}

pub(super) fn run(args: Args) -> Result<()> {
    let options = options(&args);
    if args.keep_duplicates && !args.against.is_empty() {
        let message = "--keep-duplicates and --against: repeated rows cannot be paired; leave one of the two out";
        return Err(BadInput(message.to_owned()).into());
    }
    let kb = args.kb.as_deref().map(Kb::open).transpose()?;
    // Predictions are scored by the training corpus only once they are read, so both are read at the same time.
    let (training, columns) = rayon::join(
        || args.training.read(kb.as_ref()),
        || read(&args.predictions, &options),
    );
    let training = training?;
    let score =
        |columns: PredictionColumns| columns.score(training.as_ref(), kb.as_ref(), &options);
    let scored = score(columns?)?;
    let report = scored.report(&options)?;
    let mut comparisons = Vec::new();
    for path in &args.against {
        let against = path.display().to_string();
        let comparison = compare_scored(&scored, &score(read(path, &options)?)?, &options)
            .with_context(|| format!("{} against {against}", args.predictions.display()))?;
        comparisons.push((against, comparison));
    }
    let comparisons = adjusted(comparisons, args.correction.parse().map_err(BadInput)?);
    write_files(&args, &report)?;
    if args.json {
        let output = Output {
            report: &report,
            comparisons,
        };
        println!("{}", serde_json::to_string_pretty(&output)?);
        return Ok(());
    }
    print!("{report}");
    for c in &comparisons {
        println!(
            "\nagainst {} (second)\n{}",
            c.against,
            c.comparison.to_string().trim_end()
        );
        if c.correction != Correction::None {
            println!(
                "corrected for {} comparisons ({}): bootstrap p = {:.4}, McNemar p = {:.4}",
                comparisons.len(),
                c.correction,
                c.p_bootstrap_adjusted,
                c.p_mcnemar_adjusted
            );
        }
    }
    Ok(())
}

fn options(args: &Args) -> EvalOptions {
    let mut options = EvalOptions {
        deduplicate: !args.keep_duplicates,
        drop_no_code: !args.keep_no_code,
        judge_column: args.judge_column.clone(),
        ..EvalOptions::default()
    };
    options.bootstrap.replicates = args.replicates;
    options.bootstrap.seed = args.seed;
    options.composite = composite_rule(&args.composite);
    options.ties = match args.ties.as_str() {
        "strict" => TiePolicy::Strict,
        "expected" => TiePolicy::Expected,
        _ => TiePolicy::Any,
    };
    options.seen = seen_rule(&args.seen);
    options
}

/// The rule of a value of `--composite`.
pub(super) fn composite_rule(value: &str) -> CompositeRule {
    match value {
        "exact" => CompositeRule::Exact,
        _ => CompositeRule::AnyPart,
    }
}

/// The rule of a value of `--seen`.
pub(super) fn seen_rule(value: &str) -> SeenRule {
    match value {
        "code_string" => SeenRule::CodeString,
        "code_set" => SeenRule::CodeSet,
        _ => SeenRule::AnyConcept,
    }
}

fn adjusted(comparisons: Vec<(String, Comparison)>, correction: Correction) -> Vec<Against> {
    let of = |p: fn(&Comparison) -> f64| {
        let values: Vec<f64> = comparisons.iter().map(|(_, c)| p(c)).collect();
        correction.adjust(&values)
    };
    let (bootstrap, mcnemar) = (of(|c| c.p_bootstrap), of(|c| c.p_mcnemar));
    comparisons
        .into_iter()
        .zip(bootstrap.into_iter().zip(mcnemar))
        .map(|((against, comparison), (b, m))| Against {
            against,
            comparison,
            correction,
            p_bootstrap_adjusted: b,
            p_mcnemar_adjusted: m,
        })
        .collect()
}

fn write_files(args: &Args, report: &EvalReport) -> Result<()> {
    if let Some(path) = &args.table {
        report
            .table(&format!("Recall@1 of {}", args.predictions.display()))?
            .write_as(path)?;
    }
    if let Some(path) = &args.thresholds {
        report.threshold_table()?.write_as(path)?;
    }
    let Some(folder) = &args.figures else {
        return Ok(());
    };
    let risks: Vec<_> = report
        .scores
        .iter()
        .map(|s| (s.column.as_str(), s.risk_coverage.as_slice()))
        .collect();
    figures::risk_coverage(&risks, folder, "risk_coverage")?;
    let bins: Vec<_> = report
        .scores
        .iter()
        .filter_map(|s| Some((s.column.as_str(), s.calibration.as_ref()?)))
        .collect();
    if !bins.is_empty() {
        figures::reliability(&bins, folder, "reliability")?;
    }
    Ok(())
}

fn read(path: &Path, options: &EvalOptions) -> Result<PredictionColumns> {
    let judge_column = options.judge_column.as_deref();
    if path.extension().is_some_and(|e| e == "parquet") {
        #[cfg(feature = "parquet")]
        {
            let rows = syncabel_eval::parquet::read_predictions(path)?;
            return Ok(PredictionColumns::new(&rows, judge_column)?);
        }
        #[cfg(not(feature = "parquet"))]
        return Err(BadInput(format!(
            "{}: this build has no Parquet; build with `--features parquet`",
            path.display()
        ))
        .into());
    }
    if !path.exists() || path.is_dir() {
        return Err(BadInput(format!("{}: no such file", path.display())).into());
    }
    Ok(PredictionColumns::read(path, judge_column)?)
}
