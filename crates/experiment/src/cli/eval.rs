//! `syncabel eval`: every metric of a prediction file.

use super::scoring::{ScoringArgs, exists, is_parquet, read_parquet};
use crate::error::BadInput;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use syncabel_eval::{
    CorrectedComparison, Correction, EvalOptions, EvalReport, PredictionColumns, Scored,
    compare_scored, figures,
};

/// Scores a prediction file: recall with document-level bootstrap intervals, for all mentions and every stratum; recall
/// among the candidates; a judge's rates; thresholds, risk-coverage and calibration of the score columns.
///
/// The defaults are those of the paper's authors: composites need all their parts, rows whose gold code holds NO_CODE and
/// repeated rows are left out.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncabel eval predictions.tsv --train train.pubtator.txt --rules ncbi_disease --json\n  syncabel eval human_only.tsv --against interleaved.tsv --against combined.tsv --tables tables --figures figures"
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
    scoring: ScoringArgs,
    /// Score repeated rows as well.
    #[arg(long)]
    keep_duplicates: bool,
    /// Score rows whose gold code holds NO_CODE as well; no answer is right there.
    #[arg(long)]
    keep_no_code: bool,
    /// Replicates of the bootstrap; comparisons that are corrected together take at least 400 for each of them.
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
    /// Write everything as tables into a folder, each as .md, .csv and .tex.
    #[arg(long, value_name = "FOLDER")]
    tables: Option<PathBuf>,
    /// Draw everything into a folder, each figure as .svg and .png: recall by stratum and at k, comparisons, the judge,
    /// reliability, risk-coverage.
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    comparisons: &'r [CorrectedComparison],
}

pub(super) fn run(args: Args) -> Result<()> {
    let options = options(&args);
    if args.keep_duplicates && !args.against.is_empty() {
        let message = "--keep-duplicates and --against: repeated rows cannot be paired; leave one of the two out";
        return Err(BadInput(message.to_owned()).into());
    }
    let kb = args.scoring.kb()?;
    // Predictions are scored by the training corpus only once they are read, so both are read at the same time.
    let (training, columns) = rayon::join(
        || args.scoring.training.read(kb.as_ref()),
        || read(&args.predictions, &options),
    );
    let training = training?;
    let score =
        |columns: PredictionColumns| columns.score(training.as_ref(), kb.as_ref(), &options);
    let scored = score(columns?)?;
    let report = scored.report(&options)?;
    args.scoring
        .warn_of_unreached(|k| report.recall_at.contains_key(&k));
    let correction: Correction = args.correction.parse().map_err(BadInput)?;
    let mut comparing = options.clone();
    if correction != Correction::None {
        comparing.bootstrap = options.bootstrap.for_comparisons(args.against.len());
    }
    let mut comparisons = Vec::new();
    let mut others = Vec::new();
    for path in &args.against {
        let against = path.display().to_string();
        let other = score(read(path, &options)?)?;
        let comparison = compare_scored(&scored, &other, &comparing)
            .with_context(|| format!("{} against {against}", args.predictions.display()))?;
        comparisons.push((against, comparison));
        others.push(other);
    }
    let comparisons = CorrectedComparison::all(comparisons, correction);
    write_tables(&args, &report, &comparisons)?;
    draw_figures(&args, &options, &report, &others, &comparisons)?;
    if args.json {
        let output = Output {
            report: &report,
            comparisons: &comparisons,
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
        ..args.scoring.options()
    };
    options.bootstrap.replicates = args.replicates;
    options.bootstrap.seed = args.seed;
    options
}

fn write_tables(
    args: &Args,
    report: &EvalReport,
    comparisons: &[CorrectedComparison],
) -> Result<()> {
    let first = args.predictions.display().to_string();
    if let Some(path) = &args.table {
        report
            .table(&format!("Recall@1 of {first}"))?
            .write_as(path)?;
    }
    if let Some(path) = &args.thresholds {
        report.threshold_table()?.write_as(path)?;
    }
    let Some(folder) = &args.tables else {
        return Ok(());
    };
    for (stem, table) in report.tables()? {
        table.write_all(folder, stem)?;
    }
    if !comparisons.is_empty() {
        CorrectedComparison::table(comparisons, &first)?.write_all(folder, "comparisons")?;
    }
    Ok(())
}

fn draw_figures(
    args: &Args,
    options: &EvalOptions,
    report: &EvalReport,
    others: &[Scored],
    comparisons: &[CorrectedComparison],
) -> Result<()> {
    let Some(folder) = &args.figures else {
        return Ok(());
    };
    let reports: Vec<EvalReport> = others
        .iter()
        .map(|other| other.report(options))
        .collect::<Result<_, _>>()?;
    let first = args.predictions.display().to_string();
    let mut systems: Vec<figures::Named<'_>> = vec![(&first, report)];
    systems.extend(
        comparisons
            .iter()
            .zip(&reports)
            .map(|(c, report)| (c.against.as_str(), report)),
    );
    figures::draw_report(&systems, comparisons, folder)?;
    Ok(())
}

fn read(path: &Path, options: &EvalOptions) -> Result<PredictionColumns> {
    let judge_column = options.judge_column.as_deref();
    if is_parquet(path) {
        return Ok(PredictionColumns::new(&read_parquet(path)?, judge_column)?);
    }
    exists(path)?;
    Ok(PredictionColumns::read(path, judge_column)?)
}
