//! Synthetic corpora for an experiment or the command line.

use crate::config::{ConceptChoice, CorpusConfig};
use crate::human;
use anyhow::Result;
use syncabel_corpus::Corpus;
use syncabel_kb::Kb;
use syncabel_synth::{
    Sample, Selection, SynthOptions, SynthReport, TrainSentences, Transplant, synthesise,
};

/// A synthetic corpus and how it came about.
#[derive(Debug)]
pub struct Synthetic {
    /// The documents.
    pub corpus: Corpus,
    /// Counts, failures, and the operations behind every mention.
    pub report: SynthReport,
}

/// Mention transplant: names of concepts in human training sentences of the same group.
///
/// # Errors
/// A selection without concepts, a corpus without sentences of a group.
pub fn transplant(
    kb: &Kb,
    train: &Corpus,
    corpus: &CorpusConfig,
    per_concept: usize,
    concepts: &ConceptChoice,
    seed: u64,
) -> Result<Synthetic> {
    let selection = match concepts {
        ConceptChoice::All => Selection::default(),
        ConceptChoice::WithDefinition => Selection {
            with_definition: true,
            ..Selection::default()
        },
        ConceptChoice::Sample(concepts) => Selection {
            sample: Some(Sample {
                concepts: *concepts,
                seed,
            }),
            ..Selection::default()
        },
    };
    let options = SynthOptions {
        selection,
        sentences_per_concept: per_concept,
        seed,
        ..SynthOptions::default()
    };
    let contexts = TrainSentences::from_corpus(train, kb, &human::mark_options(corpus))?;
    let (corpus, report) = synthesise(&Transplant, kb, &contexts, &options)?;
    Ok(Synthetic { corpus, report })
}
