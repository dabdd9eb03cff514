//! One file per subcommand. Data goes to stdout, progress and logs to stderr; exit code 2 for wrong use or bad input, 1
//! for a job that failed.

mod baseline;
mod calibrate;
mod corpus;
mod eval;
mod io;
mod judge;
mod kb;
mod link;
mod models;
mod report;
mod run;
mod scoring;
mod synth;
mod train;
mod training;
mod trie;

use crate::config::Experiment;
use crate::error::BadInput;
use crate::overrides::Cell;
use anyhow::Result;
use clap::{Parser, Subcommand};

/// Links biomedical mentions to concepts: an autoregressive language model writes a concept's name, a trie of all names
/// of the semantic group constrains every token.
#[derive(Debug, Parser)]
#[command(name = "syncabel", version, arg_required_else_help = true)]
pub struct Cli {
    /// More on stderr: -v for progress of single steps, -vv for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment or a sweep from a YAML file.
    Run(run::Args),
    /// Build, inspect and search knowledge bases.
    #[command(subcommand)]
    Kb(kb::Command),
    /// Count and convert corpora.
    #[command(subcommand)]
    Corpus(corpus::Command),
    /// Make a synthetic corpus for a KB.
    Synth(Box<synth::Args>),
    /// Run an experiment file up to its trained checkpoint.
    Train(train::Args),
    /// Link mentions to concepts.
    Link(link::Args),
    /// Answer mentions with the nearest names, without a model.
    Baseline(baseline::Args),
    /// Fit probabilities to scores on held-out predictions.
    Calibrate(calibrate::Args),
    /// Look inside token tries.
    #[command(subcommand)]
    Trie(trie::Command),
    /// Score a prediction file.
    Eval(eval::Args),
    /// Judge wrong answers: by language models, by the KB's hierarchy, by people.
    #[command(subcommand)]
    Judge(judge::Command),
    /// Make the report from the results, or draw an experiment's tables and figures again.
    Report(report::Args),
}

impl Cli {
    /// Runs the chosen subcommand.
    ///
    /// # Errors
    /// Whatever the subcommand reports; [`crate::error::exit_code`] tells bad input from a failed job.
    pub fn run(self) -> Result<()> {
        crate::progress::init_logs(self.verbose);
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Kb(command) => kb::run(command),
            Command::Corpus(command) => corpus::run(command),
            Command::Synth(args) => synth::run(*args),
            Command::Train(args) => train::run(args),
            Command::Link(args) => link::run(args),
            Command::Baseline(args) => baseline::run(args),
            Command::Calibrate(args) => calibrate::run(args),
            Command::Trie(command) => trie::run(command),
            Command::Eval(args) => eval::run(args),
            Command::Judge(command) => judge::run(command),
            Command::Report(args) => report::run(args),
        }
    }
}

/// The cells that the texts of `--only` choose; all of them without one.
fn chosen_cells(
    mut cells: Vec<(Cell, Experiment)>,
    only: &[String],
) -> Result<Vec<(Cell, Experiment)>> {
    if only.is_empty() {
        return Ok(cells);
    }
    let labels: Vec<String> = cells.iter().map(|(cell, _)| cell.label()).collect();
    let mut chosen = Vec::new();
    for text in only {
        let found = Cell::chosen(&labels, text);
        if found.is_empty() {
            let message =
                format!("no cell's label contains `{text}`; `syncabel run FILE --list` shows them");
            return Err(BadInput(message).into());
        }
        chosen.extend(found);
    }
    cells.retain(|(cell, _)| chosen.contains(&cell.label().as_str()));
    Ok(cells)
}
