//! `syncabel baseline`: what string comparison alone answers.

use super::io::read_corpus;
use super::link::group_rule;
use crate::error::BadInput;
use crate::lexical::NearestNames;
use anyhow::Result;
use std::path::PathBuf;
use syncabel_corpus::marked::{AbbreviationStep, MarkOptions, mark};
use syncabel_corpus::predictions::{Prediction, write_tsv};
use syncabel_kb::Kb;

/// Answers the mentions of a corpus with the nearest names of a KB, without a model: what a linker has to beat.
///
/// Nearest by TF-IDF over character 3-grams, within the mention's semantic group. The score is the cosine.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel baseline test.pubtator.txt --rules ncbi_disease --kb medic.kb --group Disorders --abbreviations expand --out nearest.tsv"
)]
pub(super) struct Args {
    /// Corpus file with mentions.
    input: PathBuf,
    /// KB folder.
    #[arg(long)]
    kb: PathBuf,
    /// Prediction file to write.
    #[arg(long)]
    out: PathBuf,
    /// Format of the input; guessed from the file where left out.
    #[arg(long)]
    format: Option<String>,
    /// What `|` and `+` mean in a PubTator input: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Language of the input: en, fr, es or de.
    #[arg(long)]
    language: Option<String>,
    /// Semantic group of an entity type: `--group SpecificDisease=Disorders`; `--group Disorders` for all types.
    #[arg(long = "group", value_name = "[TYPE=]GROUP")]
    groups: Vec<String>,
    /// Write abbreviations that the document defines out: off or expand.
    #[arg(long, default_value = "off", value_parser = ["off", "expand"])]
    abbreviations: String,
    /// Candidates per mention: the nearest concepts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    concepts: u32,
}

pub(super) fn run(args: Args) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let corpus = read_corpus(
        &args.input,
        args.format.as_deref(),
        args.rules.as_deref(),
        args.language.as_deref(),
    )?;
    let options = MarkOptions {
        abbreviations: match args.abbreviations.as_str() {
            "expand" => AbbreviationStep::Expand,
            _ => AbbreviationStep::Off,
        },
        groups: group_rule(&args.groups, &kb)?,
        ..MarkOptions::default()
    };
    let nearest = NearestNames::new(&kb, args.concepts as usize);
    let mut rows: Vec<Prediction> = Vec::new();
    for document in &corpus.documents {
        let mentions = mark(document, Some(&kb), &options)?;
        rows.extend(mentions.iter().map(|mention| nearest.answer(mention)));
    }
    if rows.is_empty() {
        let message = format!("{}: no mentions to answer", args.input.display());
        return Err(BadInput(message).into());
    }
    write_tsv(&args.out, &rows)?;
    println!("{}: {} mentions", args.out.display(), rows.len());
    Ok(())
}
