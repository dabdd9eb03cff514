//! `syncabel synth`: a synthetic corpus for a KB.

use super::io::{corpus_format, read_corpus};
use crate::config::{ConceptChoice, CorpusConfig};
use crate::error::BadInput;
use crate::stage::write_atomically;
use crate::synthesis;
use anyhow::Result;
use std::path::PathBuf;
use syncabel_corpus::Split;
use syncabel_corpus::marked::GroupRule;
use syncabel_kb::Kb;

/// Makes synthetic sentences for the concepts of a KB by transplanting their names into human training sentences.
///
/// Same KB, corpus and seed, same output. Documents of a validation or test split are refused.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: syncabel synth --kb medic.kb --train train.jsonl --out synthetic.jsonl --per-concept 3"
)]
pub(super) struct Args {
    /// KB folder.
    #[arg(long)]
    kb: PathBuf,
    /// Human training corpus. May be repeated.
    #[arg(long, required = true)]
    train: Vec<PathBuf>,
    /// What `|` and `+` mean in PubTator files: explicit, ncbi_disease or bc5cdr.
    #[arg(long)]
    rules: Option<String>,
    /// Group of entity types that are no group of the KB.
    #[arg(long)]
    group: Option<String>,
    /// Corpus file to write; its name tells the format.
    #[arg(long)]
    out: PathBuf,
    /// Sentences per concept.
    #[arg(long, default_value_t = 3)]
    per_concept: usize,
    /// Concepts with a definition only, as the paper does for UMLS.
    #[arg(long)]
    with_definition: bool,
    /// A seeded sample of this many concepts.
    #[arg(long, conflicts_with = "with_definition")]
    sample: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Write the report (counts, failures, operations behind every mention) here.
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let format = corpus_format(&args.out, None)?;
    let kb = Kb::open(&args.kb)?;
    let mut train = syncabel_corpus::Corpus {
        documents: Vec::new(),
    };
    for path in &args.train {
        train
            .documents
            .extend(read_corpus(path, None, args.rules.as_deref(), None)?.documents);
    }
    for document in &mut train.documents {
        match document.split {
            None | Some(Split::Train) => document.split = Some(Split::Train),
            Some(split) => {
                let message = format!(
                    "document `{}` is of the {split} split; synthesis uses training text only",
                    document.id
                );
                return Err(BadInput(message).into());
            }
        }
    }
    let concepts = match args.sample {
        Some(count) => ConceptChoice::Sample(count),
        None if args.with_definition => ConceptChoice::WithDefinition,
        None => ConceptChoice::All,
    };
    let corpus = CorpusConfig {
        groups: GroupRule::default().map,
        default_group: args.group,
        ..CorpusConfig::default()
    };
    let made = synthesis::transplant(&kb, &train, &corpus, args.per_concept, &concepts, args.seed)?;
    syncabel_corpus::write(&made.corpus, &args.out, format)?;
    if let Some(path) = &args.report {
        write_atomically(path, &serde_json::to_vec_pretty(&made.report)?)?;
    }
    eprint!("{}", made.report);
    Ok(())
}
