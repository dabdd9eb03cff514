//! `syncabel train`: one training run.

use crate::config::ExperimentFile;
use crate::error::BadInput;
use crate::pipeline::{CellRun, Folders};
use anyhow::Result;
use std::path::PathBuf;

/// Runs an experiment file up to its trained checkpoint and prints the checkpoint's folder.
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
    /// Which cell of a sweep: text that its label contains.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Folder for checkpoints and caches.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

pub(super) fn run(args: Args) -> Result<()> {
    let file = ExperimentFile::read(&args.file, &args.set)?;
    let folders = Folders::new(&args.runs, &file.experiment.name);
    let mut cells = file.cells()?;
    cells.retain(|(cell, _)| {
        args.only
            .as_ref()
            .is_none_or(|text| cell.label().contains(text.as_str()))
    });
    if cells.is_empty() {
        return Err(BadInput(
            "no cell's label contains that text; `syncabel run FILE --list` shows them".into(),
        )
        .into());
    }
    for (cell, config) in &cells {
        println!(
            "{}",
            CellRun::new(&file, cell, config, &folders)
                .train_only()?
                .display()
        );
    }
    Ok(())
}
