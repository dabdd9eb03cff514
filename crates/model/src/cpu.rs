//! Models for the CPU engine, read straight from their files.

use std::sync::Arc;

use syncabel_engine::{Engine, Precision, Shape, Weights};

use crate::checkpoint::with_files;
use crate::weights::tensors;
use crate::{Error, Llama, LlamaConfig, ModelSource, TextTokenizer, rope_tables};

/// A model with everything needed to link with it on the CPU, without a tensor library.
#[derive(Debug)]
pub struct CpuModel {
    /// The shape.
    pub config: LlamaConfig,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// The network.
    pub engine: Engine,
    /// Tells models apart, however their files are called: BLAKE3, in hexadecimal, of shape, tokenizer and the first
    /// [`FINGERPRINT_VALUES`] values of every tensor. Weights that were packed in another way (quantised, rounded to
    /// bfloat16) and read the same have the same fingerprint.
    pub fingerprint: String,
}

/// Values of a tensor that a fingerprint looks at: training changes all of them, and the rest would cost seconds a model.
pub const FINGERPRINT_VALUES: usize = 4096;

/// Loads a model for the CPU engine. Tensors are read and packed one after the other, so the peak of memory is the packed
/// model and its largest tensor.
///
/// # Errors
/// As [`crate::load`].
pub fn load_cpu(source: &ModelSource, precision: Precision) -> Result<CpuModel, Error> {
    with_files(source, |config, tokenizer, weights| {
        let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
        if tokens > rows {
            return Err(Error::Vocabulary { tokens, rows });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(config.to_json().as_bytes());
        hasher.update(tokenizer.digest().as_bytes());
        let mut read = |name: &str, dims: &[usize]| {
            let values = weights.read(name, dims)?;
            hasher.update(name.as_bytes());
            let first = &values[..values.len().min(FINGERPRINT_VALUES)];
            hasher.update(bytemuck::cast_slice(first));
            Ok(values)
        };
        let weights = Weights::read(shape(&config), precision, &mut read)?;
        let own = config.clone();
        let rope = move |positions| rope_tables(&own, positions);
        Ok(CpuModel {
            engine: Engine::new(Arc::new(weights), Box::new(rope)),
            fingerprint: hasher.finalize().to_hex().to_string(),
            config,
            tokenizer,
        })
    })
}

impl Llama {
    /// The same network for the CPU engine, its weights copied.
    ///
    /// # Errors
    /// [`Error::Execution`] if the device does not hand out the weights.
    pub fn engine(&self, config: &LlamaConfig, precision: Precision) -> Result<Engine, Error> {
        let all = tensors(self);
        let mut read = |name: &str, _: &[usize]| {
            let found = all.iter().find(|(spec, _)| spec.name == name);
            let (_, parameter) = found.expect("the network has the tensors of its layout");
            parameter.file_values()
        };
        let weights = Weights::read(shape(config), precision, &mut read)?;
        let own = config.clone();
        let rope = move |positions| rope_tables(&own, positions);
        Ok(Engine::new(Arc::new(weights), Box::new(rope)))
    }
}

/// The sizes that the engine needs.
fn shape(config: &LlamaConfig) -> Shape {
    Shape {
        vocab: config.vocab_size,
        hidden: config.hidden_size,
        inner: config.intermediate_size,
        layers: config.num_hidden_layers,
        query_heads: config.num_attention_heads,
        key_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        eps: config.rms_norm_eps as f32,
        tied: config.tie_word_embeddings,
        positions: config.max_position_embeddings,
    }
}
