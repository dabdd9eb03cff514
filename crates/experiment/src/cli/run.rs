//! `syncabel run`: an experiment or a sweep.

use crate::config::ExperimentFile;
use crate::error::BadInput;
use crate::pipeline::{CellOutput, CellResult, CellRun, Folders};
use crate::report;
use anyhow::Result;
use std::path::PathBuf;

/// Runs every cell of an experiment, stage by stage, skipping stages whose inputs have not changed.
///
/// Interrupted training continues from its last checkpoint. Prints the table of results to stdout and writes it, with
/// figures, to the results folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: syncabel run experiments/quickstart.yaml --set train.epochs=2")]
pub(super) struct Args {
    /// The experiment file.
    file: PathBuf,
    /// Set a key of the file: `--set train.learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run only cells whose label contains this text (see --list).
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the labels of all cells and stop.
    #[arg(long)]
    list: bool,
    /// Refuse to start anew: there must be an earlier run of this experiment to continue.
    #[arg(long)]
    resume: bool,
    /// Folder for checkpoints, caches and predictions.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Folder for tables and figures; `report.folder` of the file wins.
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// Print the results as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let file = ExperimentFile::read(&args.file, &args.set)?;
    let mut cells = file.cells()?;
    if let Some(text) = &args.only {
        cells.retain(|(cell, _)| cell.label().contains(text.as_str()));
        if cells.is_empty() {
            return Err(BadInput(format!(
                "no cell's label contains `{text}`; `--list` shows them"
            ))
            .into());
        }
    }
    if args.list {
        cells
            .iter()
            .for_each(|(cell, _)| println!("{}", cell.label()));
        return Ok(());
    }
    let folders = Folders::new(&args.runs, &file.experiment.name);
    if args.resume && !folders.experiment.is_dir() {
        let message = format!(
            "nothing to resume in {}; leave out --resume to start",
            folders.experiment.display()
        );
        return Err(BadInput(message).into());
    }
    let mut outputs: Vec<CellOutput> = Vec::with_capacity(cells.len());
    for (i, (cell, config)) in cells.iter().enumerate() {
        tracing::info!("cell {} of {}: {}", i + 1, cells.len(), cell.label());
        let output = CellRun::new(&file, cell, config, &folders).run()?;
        tracing::info!(
            "{}: recall {:.3}",
            output.result.label,
            output.result.metrics.recall_at_1
        );
        outputs.push(output);
    }
    let target = report::folder(&file, &args.results);
    let report = report::write(&file.experiment, &outputs, &target)?;
    if args.json {
        let results: Vec<&CellResult> = outputs.iter().map(|o| &o.result).collect();
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print!("{report}");
    }
    tracing::info!("tables and figures are in {}", target.display());
    Ok(())
}
