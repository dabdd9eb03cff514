//! `syncabel train`: one training run.

use crate::config::ExperimentFile;
use crate::error::BadInput;
use crate::pipeline::{CellRun, Folders};
use anyhow::Result;
use std::path::PathBuf;

/// Runs an experiment file up to its trained checkpoint and prints the checkpoint's folder. One cell only: of a sweep,
/// the one that --only chooses.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel train experiments/quickstart.yaml --only strategy=interleaved,seed=1"
)]
pub(super) struct Args {
    /// The experiment file.
    file: PathBuf,
    /// Set a key of the file. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which cell of a sweep: its label, or text that only its label contains.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for checkpoints and caches.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

pub(super) fn run(args: Args) -> Result<()> {
    let file = ExperimentFile::read(&args.file, &args.set)?;
    let folders = Folders::new(&args.runs, &file.experiment.name);
    let cells = super::chosen_cells(file.cells()?, args.only.as_slice())?;
    let [(cell, config)] = &cells[..] else {
        let labels: Vec<String> = cells
            .iter()
            .map(|(cell, _)| format!("\n  {}", cell.label()))
            .collect();
        let message = format!(
            "{} describes {} cells; choose one with --only, or train and score all with `syncabel run`:{}",
            args.file.display(),
            cells.len(),
            labels.concat()
        );
        return Err(BadInput(message).into());
    };
    let run = CellRun::new(&file, cell, config, &folders);
    println!("{}", run.train_only()?.display());
    Ok(())
}
