//! Llama-family decoders in [burn]: configuration, weights, tokenizer, the training pass and
//! cached decoding. The crate knows no knowledge base and no corpus; it turns token ids into
//! logits.
//!
//! # What it costs
//! The knowledge base does not show here: a model for the whole of UMLS is as large as one for a
//! dozen names. What counts is the model. SmolLM2-135M takes 540 MB in float32, loads in about a
//! second and, on two cores, reads prompts at some 1,000 tokens a second (`perf` example). A
//! [`Session`] adds keys and values: `layers x key heads x head width x 8` bytes per cell, 46 kB
//! for SmolLM2, with one cell per prompt token and one per beam and step.
//!
//! # Key types
//! - [`LlamaConfig`] is the shape, read from Hugging Face's `config.json`;
//!   [`LlamaConfig::init`] draws a fresh [`Llama`].
//! - [`Llama::hidden`] and [`Llama::logits`] are the training pass. [`Packing`] puts several
//!   examples into one row without any seeing another; [`Rope`] is the table of positions.
//! - [`Session`] decodes: each prompt is read once and shared by its beams, and reordering beams
//!   copies nothing.
//! - [`TextTokenizer`] is text to ids and back; [`SEP`] the separator that the task's prompts need.
//! - [`load`] reads a [`Checkpoint`] from a [`ModelSource`]: a folder as Hugging Face lays it out
//!   (safetensors, one file or shards), a GGUF file, or the Hub. [`save`] writes a folder that
//!   other tools read.
//! - [`load_cpu`] reads the same sources for the CPU [`Engine`] of `syncabel_engine`, which decodes many mentions at
//!   once several times as fast as a [`Session`] on the CPU.
//! - [`device`] names the backend: `flex` (portable CPU), `tch` (LibTorch) or `cuda`, each a
//!   feature of this crate.
//!
//! # Example
//! ```
//! use syncabel_model::{LlamaConfig, Session, device};
//!
//! let device = device("auto")?;
//! let config = LlamaConfig::new(320, 32, 64, 2, 4, 2);
//! let model = config.init(&device);
//!
//! let mut session = Session::new(&model, &config, &device);
//! let prompt = vec![17, 4, 99];
//! let after_prompt = session.prefill(&[prompt], 1, 8)?;
//! let best = after_prompt.argmax(1).into_scalar::<i64>() as u32;
//! let after_best = session.step(&[best], &[0])?;
//! assert_eq!(after_best.dims(), [1, 320]);
//! # Ok::<(), syncabel_model::Error>(())
//! ```
//!
//! # Numbers
//! In float32 everything agrees with Hugging Face transformers within 1e-4 per logit; weights may be kept in
//! bfloat16 for linking. Tested with small random models, fixtures made by `tests/fixtures/make_fixtures.py`. Rotary angles are
//! rounded as transformers rounds them. Fresh weights depend on the seed and the tensor's name
//! alone, never on the backend or on threads.

mod attention;
mod chat;
mod checkpoint;
mod config;
mod cpu;
mod device;
mod error;
mod gguf_tokenizer;
mod hub;
mod llama;
mod packing;
mod rope;
mod session;
mod tokenizer;
mod weights;

pub use chat::{ChatMessage, ChatTemplate};
pub use checkpoint::{Checkpoint, ModelSource, load, save};
pub use config::{LlamaConfig, RopeScaling};
pub use cpu::{CpuModel, FINGERPRINT_VALUES, load_cpu};
pub use device::{device, is_cpu};
pub use error::Error;
pub use hub::{check_data_set_name, check_name as check_hub_name, data_set_files};
pub use llama::Llama;
pub use packing::Packing;
pub use rope::{Rope, rope_tables};
pub use session::Session;
pub use syncabel_engine::{Engine, Precision};
pub use tokenizer::{SEP, TextTokenizer};
