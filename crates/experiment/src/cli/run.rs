//! `syncabel run`: an experiment or a sweep.

use crate::config::{Experiment, ExperimentFile};
use crate::error::BadInput;
use crate::overrides::Cell;
use crate::pipeline::{CellOutput, CellResult, CellRun, Folders};
use crate::report;
use crate::workers::{self, Job};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Runs every cell of an experiment, stage by stage, skipping stages whose inputs have not changed.
///
/// Interrupted training continues from its last checkpoint. Prints the table of results to stdout and writes it, with
/// figures, to the results folder; with --only, beside the run's caches where the results hold other cells already.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: syncabel run experiments/quickstart.yaml --set train.epochs=2")]
pub(super) struct Args {
    /// The experiment file.
    file: PathBuf,
    /// Set a key of the file: `--set train.learning_rate=1e-4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run only the cell of this label (see --list), or cells whose label contains this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Print the labels of all cells and stop.
    #[arg(long)]
    list: bool,
    /// Cells that run side by side, each in a process of its own; the file's `jobs` where left out.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run exactly this cell and write no report: what a process of --jobs does.
    #[arg(long, hide = true, value_name = "LABEL")]
    worker: Option<String>,
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
    let cells = super::chosen_cells(file.cells()?, &args.only)?;
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
    if let Some(label) = &args.worker {
        return work(&file, &cells, label, &folders);
    }
    let workers = args
        .jobs
        .unwrap_or(file.experiment.jobs)
        .clamp(1, cells.len());
    if workers > 1 {
        let jobs = cells
            .iter()
            .map(|(cell, _)| job(&args, cell, &folders))
            .collect();
        workers::run_all(jobs, workers)?;
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
    let mut target = report::folder(&file, &args.results);
    let is_here = |label: &String| outputs.iter().any(|output| output.result.label == *label);
    if !args.only.is_empty() && !report::labels_in(&target).iter().all(is_here) {
        // Tables of other arms were not asked to be replaced by those of some.
        target = folders.experiment.join("part");
    }
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

/// One cell, without a report.
fn work(
    file: &ExperimentFile,
    cells: &[(Cell, Experiment)],
    label: &str,
    folders: &Folders,
) -> Result<()> {
    let found = cells.iter().find(|(cell, _)| cell.label() == label);
    let (cell, config) = found.ok_or_else(|| BadInput(format!("there is no cell `{label}`")))?;
    CellRun::new(file, cell, config, folders).run().map(drop)
}

/// The command line of the process that runs a cell.
fn job(args: &Args, cell: &Cell, folders: &Folders) -> Job {
    let label = cell.label();
    let path = |p: &Path| p.to_string_lossy().into_owned();
    let mut arguments = vec![
        "run".into(),
        path(&args.file),
        "--worker".into(),
        label.clone(),
    ];
    arguments.extend(["--runs".into(), path(&args.runs)]);
    arguments.extend(
        args.set
            .iter()
            .flat_map(|set| ["--set".to_owned(), set.clone()]),
    );
    Job {
        log: folders.cell(cell).join("log.txt"),
        label,
        arguments,
    }
}
