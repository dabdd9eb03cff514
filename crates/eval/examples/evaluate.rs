//! All metrics of a prediction file, as JSON.
//!
//! ```text
//! cargo run --release -p syncabel-eval --example evaluate -- predictions.tsv [train.tsv] [replicates]
//! ```
//! The training corpus, in any format that `syncabel_corpus` reads, gives the line between seen and unseen. The file is
//! streamed: a million mentions take a few hundred megabytes, whatever the length of their sentences.

use std::path::Path;

use syncabel_corpus::{CorpusFormat, ReadOptions, read};
use syncabel_eval::{EvalOptions, TrainingSet, evaluate_file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(predictions) = arguments.first() else {
        return Err("name a prediction file".into());
    };
    let training = match arguments.get(1).map(Path::new) {
        None => None,
        Some(path) => {
            let format = CorpusFormat::detect(path).ok_or("unknown corpus format")?;
            let (corpus, report) = read(path, format, &ReadOptions::default())?;
            eprintln!("{}: {report}", path.display());
            Some(TrainingSet::from_corpus(&corpus, None))
        }
    };
    let mut options = EvalOptions::default();
    if let Some(replicates) = arguments.get(2) {
        options.bootstrap.replicates = replicates.parse()?;
    }
    let report = evaluate_file(Path::new(predictions), training.as_ref(), None, &options)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
