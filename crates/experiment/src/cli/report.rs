//! `syncabel report`: tables and figures again, from what is committed.

use crate::error::BadInput;
use crate::report;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use syncabel_eval::{EvalOptions, paper, published};

/// Makes the tables and figures of the report (`paper/`) from `results/`; `scripts/paper.sh` then builds the document.
///
/// With folders named, draws the tables and figures of those experiments again from their `summary.json` instead. Nothing
/// is run in either case.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncabel report\n  syncabel report results/quickstart\n  syncabel report --recompute ../shared/data"
)]
pub(super) struct Args {
    /// Results folders to draw again; without one, the report is made.
    folders: Vec<PathBuf>,
    /// Folder of the authors' released data: recomputes their numbers into `results/published/recomputed.json` first.
    #[arg(long, value_name = "DATA")]
    recompute: Option<PathBuf>,
    /// Where the results are.
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: PathBuf,
    /// Where the report is.
    #[arg(long, default_value = "paper", value_name = "FOLDER")]
    paper: PathBuf,
}

pub(super) fn run(args: Args) -> Result<()> {
    if let Some(data) = &args.recompute {
        recompute(data, &args.results)?;
    }
    if args.folders.is_empty() {
        return make_paper(&args.results, &args.paper);
    }
    for folder in &args.folders {
        if !folder.join("summary.json").is_file() {
            let message = format!(
                "{} holds no summary.json; `syncabel run` writes one",
                folder.display()
            );
            return Err(BadInput(message).into());
        }
        println!("{}", report::redraw(folder)?);
    }
    Ok(())
}

fn recompute(data: &Path, results: &Path) -> Result<()> {
    let recomputed = published::recompute(data, &EvalOptions::default())?;
    let folder = results.join("published");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("recomputed.json");
    write_atomically(&path, recomputed.to_json()?.as_bytes())?;
    eprintln!(
        "{} prediction files into {}",
        recomputed.systems.len(),
        path.display()
    );
    Ok(())
}

fn make_paper(results: &Path, paper_folder: &Path) -> Result<()> {
    for needed in [
        paper_folder.join("published.json"),
        results.join("published/recomputed.json"),
    ] {
        if !needed.is_file() {
            let message = format!(
                "{}: no such file; run `syncabel report` from the repository's root, or name `--results` and `--paper`",
                needed.display()
            );
            return Err(BadInput(message).into());
        }
    }
    let sources = paper::Sources::read(results, paper_folder)?;
    let generated = paper_folder.join("generated");
    let tables = sources.write(&generated)?;
    println!(
        "{tables} tables, {} experiments of ours into {}; scripts/paper.sh builds the document",
        sources.experiments.len(),
        generated.display()
    );
    Ok(())
}
