//! `syncabel report`: tables and figures again, from what is committed.

use super::scoring::{ScoringArgs, read_predictions};
use crate::error::BadInput;
use crate::report;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use syncabel_eval::page::{self, System};
use syncabel_eval::tables::Table;
use syncabel_eval::{EvalOptions, paper, published};

/// Makes the tables and figures of the report (`paper/`) from `results/`; `scripts/paper.sh` then builds the document.
///
/// With folders named, draws the tables and figures of those experiments again from their `summary.json` instead. Nothing
/// is run in either case.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncabel report\n  syncabel report results/quickstart\n  syncabel report --recompute ../shared/data\n  syncabel report --html page.html --system without=a.tsv --system with=b.tsv --train train.jsonl"
)]
pub(super) struct Args {
    /// Results folders to draw again; without one, the report is made.
    folders: Vec<PathBuf>,
    /// Folder of the authors' released data: recomputes their numbers into `results/published/` first.
    #[arg(long, value_name = "DATA")]
    recompute: Option<PathBuf>,
    /// Write one self-contained HTML page instead: tables, figures and a browser of the mentions of the named systems.
    #[arg(long, value_name = "FILE", requires = "system")]
    html: Option<PathBuf>,
    /// A system for the page: its name and its prediction file (tab-separated, gzipped or not, or Parquet). May be repeated; the
    /// first is compared with every other.
    #[arg(long, value_name = "NAME=PREDICTIONS")]
    system: Vec<String>,
    #[command(flatten, next_help_heading = "How the page scores")]
    scoring: ScoringArgs,
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
    if let Some(page) = &args.html {
        return make_page(&args, page);
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
    let counts = paper::Datasets::count(data)?;
    write_atomically(&folder.join("datasets.json"), counts.to_json().as_bytes())?;
    eprintln!(
        "{} prediction files into {}",
        recomputed.systems.len(),
        path.display()
    );
    Ok(())
}

fn make_page(args: &Args, target: &Path) -> Result<()> {
    let options = args.scoring.options();
    let kb = args.scoring.kb()?;
    let training = args.scoring.training.read(kb.as_ref())?;
    let named = named_files(&args.system)?;
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    let mut predictions = Vec::new();
    for (_, file) in &named {
        predictions.push(read_predictions(file)?);
    }
    let mut scored = Vec::new();
    for (rows, (_, file)) in predictions.iter().zip(&named) {
        let of_file = syncabel_eval::score(rows, training.as_ref(), kb.as_ref(), &options)
            .with_context(|| file.display().to_string())?;
        scored.push(of_file);
    }
    let reports = scored
        .iter()
        .map(|s| s.report(&options))
        .collect::<Result<Vec<_>, _>>()?;
    args.scoring
        .warn_of_unreached(|k| reports.iter().any(|r| r.recall_at.contains_key(&k)));
    let mut systems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        systems.push(System {
            name: (*name).to_owned(),
            predictions: &predictions[index],
            scored: &scored[index],
            report: &reports[index],
        });
    }
    let title = format!("Linking errors: {}", names.join(" and "));
    let html = page::render(&title, &systems, &committed_tables(args)?)?;
    write_atomically(target, html.as_bytes())?;
    let of_system = |s: &System<'_>| format!("{} {} mentions", s.name, s.scored.outcomes.len());
    println!(
        "{}: {}",
        target.display(),
        systems.iter().map(of_system).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Names and prediction files of `--system`.
fn named_files(systems: &[String]) -> Result<Vec<(&str, &Path)>, BadInput> {
    let mut named: Vec<(&str, &Path)> = Vec::new();
    for system in systems {
        let Some((name, file)) = system.split_once('=') else {
            let message = format!("--system {system}: write NAME=PREDICTIONS");
            return Err(BadInput(message));
        };
        if named.iter().any(|(other, _)| *other == name) {
            let message = format!("--system {name}: named twice; give each system its own name");
            return Err(BadInput(message));
        }
        named.push((name, Path::new(file)));
    }
    Ok(named)
}

/// The report's tables, where its sources are at hand.
fn committed_tables(args: &Args) -> Result<Vec<Table>> {
    let sources = [
        args.paper.join("published.json"),
        args.results.join("published/recomputed.json"),
    ];
    if !sources.iter().all(|path| path.is_file()) {
        return Ok(Vec::new());
    }
    Ok(paper::Sources::read(&args.results, &args.paper)?.named_tables()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_have_a_name_each() {
        let read = |systems: &[&str]| {
            let systems: Vec<String> = systems.iter().map(|&s| s.to_owned()).collect();
            let count = named_files(&systems).map(|named| named.len());
            count.map_err(|BadInput(message)| message)
        };
        assert_eq!(read(&["a=p=1.tsv", "b=p=1.tsv"]), Ok(2));
        for (systems, expected) in [
            (&["a=p.tsv", "a=q.tsv"][..], "--system a: named twice"),
            (&["p.tsv"][..], "--system p.tsv: write NAME=PREDICTIONS"),
        ] {
            let message = read(systems).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
