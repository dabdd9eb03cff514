//! Llama-family decoders in burn: configuration, weights, tokenizer, training pass and cached
//! decoding. Knows no knowledge base and no corpus.

mod attention;
mod checkpoint;
mod config;
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

pub use checkpoint::{Checkpoint, ModelSource, load, save};
pub use config::{LlamaConfig, RopeScaling};
pub use device::device;
pub use error::Error;
pub use llama::Llama;
pub use packing::Packing;
pub use rope::Rope;
pub use session::Session;
pub use tokenizer::{SEP, TextTokenizer};
