//! Synthetic corpora: sentences for concepts that no human example covers.
//!
//! A [`Generator`] writes sentences that mention a concept; [`synthesise`] runs it over a [`Selection`] of a KB's concepts
//! and returns a corpus like any other, whose documents say by their origin who made them, with a report of every
//! concept and every mention. Human text reaches a generator only as [`TrainSentences`], which hold nothing but the
//! training split.
//!
//! Generators: [`transplant::Transplant`] puts names into human sentences, without a language model; [`OpenAi`] asks a
//! server for sentences ([`Prompts`]) and keeps every answer in a ledger. [`import`] takes in what others generated.
//!
//! # Cost
//! Transplanting three sentences for each of MEDIC's 11,915 concepts takes about two seconds; learning from 76,000
//! names is a fifth of a second of it. Memory: the corpus, and 16 bytes for each word of each name while learning.
//!
//! # Example
//! ```
//! use syncabel_corpus::Language;
//! use syncabel_synth::Draft;
//!
//! let draft = Draft::from_bracketed("He had [gout]{Disorders} twice.", Language::En).unwrap();
//! assert_eq!(draft.text, "He had gout twice.");
//! assert_eq!((draft.mentions[0].span.start, draft.mentions[0].span.end), (7, 11));
//! ```

mod answer;
pub mod card;
mod contexts;
mod error;
mod export;
mod generator;
pub mod import;
mod openai;
mod prompt;
pub mod quality;
mod run;
mod selection;
pub mod transplant;

pub use contexts::{ContextCounts, Sentence, TrainSentences};
pub use error::Error;
pub use export::{Export, ExportedTask, export};
pub use generator::{Batch, Deliver, Draft, DraftMention, Failure, Generator, Task};
pub use openai::{ModelOptions, OpenAi, PURPOSE, Plan, Watch};
pub use prompt::{PromptOptions, Prompts, marker};
pub use run::{
    Distance, FailedConcept, MentionRecord, SynthOptions, SynthReport, synthesise, synthesise_into,
};
pub use selection::{Sample, Selection};
pub use transplant::{Operation, Transplant};
