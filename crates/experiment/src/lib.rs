//! The YAML experiment runner behind the `syncabel` command.
//!
//! An experiment file says everything a run depends on: terminology, corpora, synthesis, starting model, composition,
//! training, decoding, scoring. [`config`] reads it, [`overrides`] expands `--set` and `matrix:`, [`pipeline`] runs a
//! cell stage by stage over [`stage`]s that are done once, [`report`] draws tables and figures over all cells.
//!
//! Nobody depends on this crate; its public face is the command line ([`cli`]) and the experiment file ([`config`]).

pub mod card;
pub mod cli;
pub mod config;
pub mod corpus_file;
pub mod error;
pub mod human;
pub mod import;
pub mod lexical;
pub mod local;
pub mod machine;
pub mod marking;
pub mod overrides;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod pipeline;
pub mod progress;
pub mod report;
pub mod round_trip;
pub mod scratch;
pub mod stage;
pub mod start;
pub mod synthesis;
pub mod training;
mod validate;
pub mod weights;
pub mod workers;
mod yaml;
