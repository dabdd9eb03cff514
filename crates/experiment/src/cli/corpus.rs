//! `syncabel corpus`: counts and conversions.

use super::io::{corpus_format, read_corpus};
use anyhow::Result;
use std::path::PathBuf;

/// Corpus subcommands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Documents, mentions and concepts per split and group.
    #[command(
        after_help = "Example: syncabel corpus stats train.pubtator.txt --rules ncbi_disease"
    )]
    Stats(StatsArgs),
    /// Read one format, write another.
    #[command(
        after_help = "Example: syncabel corpus convert train.pubtator.txt train.jsonl --rules ncbi_disease"
    )]
    Convert(ConvertArgs),
}

/// Arguments of `corpus stats`.
#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Corpus files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// pubtator, jsonl, bigbio, spaccc, quaero or parquet; guessed from name and first line where left out.
    #[arg(long)]
    format: Option<String>,
    /// What `|` and `+` mean in PubTator files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `corpus convert`.
#[derive(Debug, clap::Args)]
pub(super) struct ConvertArgs {
    /// File to read.
    input: PathBuf,
    /// File to write.
    output: PathBuf,
    /// Format of the input; guessed from its name where left out.
    #[arg(long)]
    from: Option<String>,
    /// Format of the output; guessed from its name where left out.
    #[arg(long)]
    to: Option<String>,
    /// What `|` and `+` mean in a PubTator input: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Language of the input: en, fr, es or de.
    #[arg(long)]
    language: Option<String>,
}

pub(super) fn run(command: Command) -> Result<()> {
    match command {
        Command::Stats(args) => stats(args),
        Command::Convert(args) => convert(args),
    }
}

fn stats(args: StatsArgs) -> Result<()> {
    let mut all = syncabel_corpus::Corpus {
        documents: Vec::new(),
    };
    for file in &args.files {
        all.documents.extend(
            read_corpus(file, args.format.as_deref(), args.rules.as_deref(), None)?.documents,
        );
    }
    let statistics = syncabel_corpus::stats::statistics(&all);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&statistics)?);
    } else {
        print!("{statistics}");
    }
    Ok(())
}

fn convert(args: ConvertArgs) -> Result<()> {
    let to = corpus_format(&args.output, args.to.as_deref())?;
    let corpus = read_corpus(
        &args.input,
        args.from.as_deref(),
        args.rules.as_deref(),
        args.language.as_deref(),
    )?;
    crate::corpus_file::write(&corpus, &args.output, to)?;
    eprintln!(
        "wrote {} documents to {}",
        corpus.documents.len(),
        args.output.display()
    );
    Ok(())
}
