//! `syncabel calibrate`: from scores to probabilities.

use anyhow::{Context, Result};
use std::path::PathBuf;
use syncabel_corpus::predictions::read_tsv;
use syncabel_decode::Calibration;

/// Fits a calibration on predictions whose gold is known and that the model was not trained on.
///
/// `syncabel link --calibration FILE` then fills the column Probability, and --min-prob turns improbable answers into NIL.
/// The file belongs to one model and one way of searching: what lies beside the predictions about them (FILE.run.json) is copied, and
/// `link` refuses others.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: syncabel calibrate validation.tsv --out calibration.json")]
pub(super) struct Args {
    /// Prediction file of `syncabel link` with gold codes.
    predictions: PathBuf,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// temperature (one number, few examples are enough) or isotonic (any rising curve, some hundred examples).
    #[arg(long, default_value = "temperature", value_parser = ["temperature", "isotonic"])]
    method: String,
}

pub(super) fn run(args: Args) -> Result<()> {
    let rows = read_tsv(&args.predictions)?;
    let fitted = match args.method.as_str() {
        "isotonic" => Calibration::fit_isotonic(&rows),
        _ => Calibration::fit_temperature(&rows),
    };
    let (calibration, report) = fitted.with_context(|| args.predictions.display().to_string())?;
    let mut text = serde_json::to_string_pretty(&calibration)?;
    text.push('\n');
    std::fs::write(&args.out, text).with_context(|| args.out.display().to_string())?;
    super::link::copy_record(&args.predictions, &args.out)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
