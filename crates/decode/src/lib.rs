//! Linking mentions to concepts by generating names that exist.
//!
//! A generative entity linker reads a marked sentence and writes the name of a concept. Left alone it invents names;
//! this crate lets it write nothing but names of the mention's semantic group, and says which concept was meant and how
//! sure the model was.
//!
//! # Key types
//! - [`Trie`]: every way to spell a name of a group in tokens, one root per group, as flat arrays in one mapped file.
//! - [`PoolModel`]: what a search asks of a model that reads runs of tokens of many mentions in one pass, as the CPU engine does;
//!   [`search()`] runs beams and best-first search over it.
//! - [`StepModel`]: the least that a model can offer, logits for the next token of many rows; [`beam_search`] runs the paper's decoding over
//!   it, guided by the trie or free, with the semantics of Hugging Face `generate`. Behind the feature `model`, `LlamaSteps` implements
//!   it for the Llama of `syncabel_model`; everything else builds without a tensor library.
//! - [`BatchSearch`]: what searches by itself where its weights are, as `DeviceBeams` does on a GPU.
//! - [`sample::Sampler`]: free text by sampling over the same models, many texts side by side.
//! - [`Linker`]: marked mentions in, predictions with codes, candidates and scores out.
//!
//! # Cost at UMLS scale
//! 7.4 million names of ten tokens are 33.5 million nodes: 400 MB on disk, mapped, of which a run touches a few pages. Building
//! needs the spelled names in memory (about 1 GB) and a sort of them on all cores. A step of the walk waits for memory once; next to one
//! row of a language model it costs nothing.
//!
//! # Example
//! Two names, a model that has no opinion, and the answers that remain:
//!
//! ```
//! use syncabel_decode::{beam_search, Constraint, Error, NameEntry, Query, SearchOptions, SpecialTokens, StepModel, Trie};
//! use syncabel_kb::{ConceptId, Digest, GroupId, NameId};
//!
//! struct Indifferent;
//! impl StepModel for Indifferent {
//!     fn vocab_size(&self) -> usize { 128 }
//!     fn prefill(&mut self, prompts: &[Vec<u32>], _: usize, _: usize) -> Result<Vec<f32>, Error> {
//!         Ok(vec![0.0; 128 * prompts.len()])
//!     }
//!     fn step(&mut self, tokens: &[u32], _: &[u32]) -> Result<Vec<f32>, Error> {
//!         Ok(vec![0.0; 128 * tokens.len()])
//!     }
//! }
//!
//! let name = |id, text| NameEntry { name: NameId(id), concept: ConceptId(id), preferred: true, text };
//! let diseases = vec![name(0, "gout"), name(1, "goitre")];
//! let letters = |text: &str| text.bytes().map(u32::from).collect();
//! let nothing = Digest::of_bytes(b"");
//! let trie = Trie::from_names(&[diseases], &letters, 0, nothing, nothing)?;
//!
//! let queries = [Query::new(vec![1, 2, 3], GroupId(0))];
//! let special = SpecialTokens { eos: 0, sep: None };
//! let options = SearchOptions::default();
//! let answers = beam_search(&mut Indifferent, &queries, Constraint::Guided(&trie), special, &options)?;
//! let spelled: Vec<&[u32]> = answers[0].iter().flat_map(|answer| answer.names(&special)).collect();
//! assert_eq!(spelled, [b" gout".map(u32::from).as_slice(), b" goitre".map(u32::from).as_slice()]);
//! assert_eq!(trie.lookup(GroupId(0), spelled[1]).unwrap().concept, ConceptId(1));
//! # Ok::<(), Error>(())
//! ```

mod engine;
mod error;
mod link;
#[cfg(feature = "model")]
mod llama;
pub mod sample;
mod search;
mod step;
mod tokenizer;
pub mod trie;

pub use error::Error;
pub use link::{
    Calibration, CalibrationReport, ConceptRule, Explanation, GoldRule, Lexical, LinkOptions,
    Linker, NIL, NO_CODE, Piece, semantic_rel,
};
#[cfg(feature = "model")]
pub use llama::{LinkModel, LlamaSteps};
#[cfg(feature = "model")]
pub use search::DeviceBeams;
pub use search::{
    BatchSearch, Constraint, EarlyStopping, Hypothesis, PoolModel, Query, Run, Scores, Scoring,
    SearchOptions, SpecialTokens, State, Strategy, Wanted, Work, beam_search, log_normalizer,
    search,
};
pub use step::StepModel;
pub use tokenizer::Tokenizer;
pub use trie::{NameEntry, NodeId, Terminal, Trie};
