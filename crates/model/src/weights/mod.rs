//! From named tensors to a network and back.
//!
//! One table ([`layout`]) says which tensors a Llama checkpoint has, under Hugging Face's names
//! and in torch's `[out, in]` shapes. Readers ([`safetensors`], [`gguf`], [`random`]) hand out
//! tensors by those names; the builder asks for one after the other, so at no time are two copies
//! of the whole model in memory.

pub(crate) mod gguf;
pub(crate) mod quantized;
pub(crate) mod random;
pub(crate) mod safetensors;

use std::fs::File;
use std::path::Path;

use burn::module::Param;
use burn::nn::{Embedding, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor, TensorData};
use memmap2::Mmap;
use rayon::prelude::*;

use crate::llama::{Attention, FeedForward, Layer};
use crate::{Error, Llama, LlamaConfig};

/// Something that has tensors by name.
pub(crate) trait TensorSource: Sync {
    /// The values of a tensor in float32, outermost dimension first. `shape` is what the
    /// configuration asks for; another shape in the source is an error, found before anything is
    /// allocated.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;

    /// Whether the source has a tensor of that name.
    fn contains(&self, name: &str) -> bool;
}

/// A tensor of a checkpoint: its name, and its shape as torch has it, `[out, in]` for matrices.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorSpec {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

/// Name of the embedding matrix in Hugging Face checkpoints.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of the untied head.
pub(crate) const HEAD: &str = "lm_head.weight";
const NORM: &str = "model.norm.weight";

/// The tensors of one layer, in the order in which they are read and written.
pub(crate) fn layer_layout(config: &LlamaConfig, layer: usize) -> [TensorSpec; 9] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let query = config.num_attention_heads * config.head_dim;
    let key = config.num_key_value_heads * config.head_dim;
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: format!("model.layers.{layer}.{name}.weight"),
        shape: shape.to_vec(),
    };
    [
        spec("input_layernorm", &[hidden]),
        spec("self_attn.q_proj", &[query, hidden]),
        spec("self_attn.k_proj", &[key, hidden]),
        spec("self_attn.v_proj", &[key, hidden]),
        spec("self_attn.o_proj", &[hidden, query]),
        spec("post_attention_layernorm", &[hidden]),
        spec("mlp.gate_proj", &[inner, hidden]),
        spec("mlp.up_proj", &[inner, hidden]),
        spec("mlp.down_proj", &[hidden, inner]),
    ]
}

/// Every tensor of a checkpoint.
#[cfg(test)]
pub(crate) fn layout(config: &LlamaConfig) -> Vec<TensorSpec> {
    let table = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
    };
    let mut specs = vec![table(EMBEDDING, &[config.vocab_size, config.hidden_size])];
    specs.extend((0..config.num_hidden_layers).flat_map(|n| layer_layout(config, n)));
    specs.push(table(NORM, &[config.hidden_size]));
    if !config.tie_word_embeddings {
        specs.push(table(HEAD, &[config.vocab_size, config.hidden_size]));
    }
    specs
}

/// Builds the network from a source.
pub(crate) fn build(
    config: &LlamaConfig,
    source: &dyn TensorSource,
    device: &Device,
) -> Result<Llama, Error> {
    let reader = Reader {
        config,
        source,
        device,
    };
    let table = [config.vocab_size, config.hidden_size];
    let embedding = Embedding {
        weight: reader.table(EMBEDDING, table)?,
    };
    let mut layers = Vec::new();
    for number in 0..config.num_hidden_layers {
        layers.push(reader.layer(number)?);
    }
    let norm = reader.norm(NORM)?;
    let head = if config.tie_word_embeddings {
        None
    } else {
        Some(reader.linear(HEAD, table)?)
    };
    Ok(Llama::assemble(config, embedding, layers, norm, head))
}

struct Reader<'a> {
    config: &'a LlamaConfig,
    source: &'a dyn TensorSource,
    device: &'a Device,
}

impl Reader<'_> {
    fn layer(&self, number: usize) -> Result<Layer, Error> {
        let specs = layer_layout(self.config, number);
        let linear = |i: usize| {
            let TensorSpec { name, shape } = &specs[i];
            self.linear(name, [shape[0], shape[1]])
        };
        Ok(Layer {
            input_layernorm: self.norm(&specs[0].name)?,
            self_attn: Attention {
                q_proj: linear(1)?,
                k_proj: linear(2)?,
                v_proj: linear(3)?,
                o_proj: linear(4)?,
            },
            post_attention_layernorm: self.norm(&specs[5].name)?,
            mlp: FeedForward {
                gate_proj: linear(6)?,
                up_proj: linear(7)?,
                down_proj: linear(8)?,
            },
        })
    }

    fn norm(&self, name: &str) -> Result<RmsNorm, Error> {
        let width = self.config.hidden_size;
        let values = self.source.read(name, &[width])?;
        let mut norm = RmsNormConfig::new(width)
            .with_epsilon(self.config.rms_norm_eps)
            .init(self.device);
        norm.gamma = Param::from_data(TensorData::new(values, [width]), self.device);
        Ok(norm)
    }

    /// A matrix kept as it is in the file, `[rows, columns]`.
    fn table(&self, name: &str, shape: [usize; 2]) -> Result<Param<Tensor<2>>, Error> {
        let values = self.source.read(name, &shape)?;
        Ok(Param::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    /// A projection, `[out, in]` in the file and `[in, out]` in burn.
    fn linear(&self, name: &str, [out, input]: [usize; 2]) -> Result<Linear, Error> {
        let values = self.source.read(name, &[out, input])?;
        let values = transposed(&values, out, input);
        Ok(Linear {
            weight: Param::from_data(TensorData::new(values, [input, out]), self.device),
            bias: None,
        })
    }
}

/// Every tensor of the network with the name and shape it has in a Hugging Face checkpoint, in the
/// order of [`layer_layout`] between embedding and norm. The head is left out where it is the
/// embedding, as transformers does.
pub(crate) fn tensors(model: &Llama) -> Vec<(TensorSpec, Parameter<'_>)> {
    use Parameter::{Linear, Norm, Table};
    let mut list = vec![(
        EMBEDDING.to_owned(),
        Table(&model.model.embed_tokens.weight),
    )];
    for (number, layer) in model.model.layers.iter().enumerate() {
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        let parameters = [
            ("input_layernorm", Norm(&layer.input_layernorm)),
            ("self_attn.q_proj", Linear(&attention.q_proj)),
            ("self_attn.k_proj", Linear(&attention.k_proj)),
            ("self_attn.v_proj", Linear(&attention.v_proj)),
            ("self_attn.o_proj", Linear(&attention.o_proj)),
            (
                "post_attention_layernorm",
                Norm(&layer.post_attention_layernorm),
            ),
            ("mlp.gate_proj", Linear(&mlp.gate_proj)),
            ("mlp.up_proj", Linear(&mlp.up_proj)),
            ("mlp.down_proj", Linear(&mlp.down_proj)),
        ];
        list.extend(
            parameters.map(|(name, p)| (format!("model.layers.{number}.{name}.weight"), p)),
        );
    }
    list.push((NORM.to_owned(), Norm(&model.model.norm)));
    if let Some(head) = &model.lm_head {
        list.push((HEAD.to_owned(), Linear(head)));
    }
    list.into_iter()
        .map(|(name, parameter)| {
            let shape = parameter.file_shape();
            (TensorSpec { name, shape }, parameter)
        })
        .collect()
}

/// A parameter of the network, able to hand out its values as a file has them.
pub(crate) enum Parameter<'a> {
    Table(&'a Param<Tensor<2>>),
    Norm(&'a RmsNorm),
    Linear(&'a Linear),
}

impl Parameter<'_> {
    fn file_shape(&self) -> Vec<usize> {
        match self {
            Parameter::Table(table) => table.dims().to_vec(),
            Parameter::Norm(norm) => norm.gamma.dims().to_vec(),
            Parameter::Linear(linear) => {
                let [input, out] = linear.weight.dims();
                vec![out, input]
            }
        }
    }

    /// The values in float32, laid out as in a file.
    pub(crate) fn file_values(&self) -> Result<Vec<f32>, Error> {
        match self {
            Parameter::Table(table) => host(table.val()),
            Parameter::Norm(norm) => host(norm.gamma.val()),
            Parameter::Linear(linear) => {
                let weight = linear.weight.val();
                let [input, out] = weight.dims();
                Ok(transposed(&host(weight)?, input, out))
            }
        }
    }
}

/// Maps a file into memory.
pub(crate) fn map_file(path: &Path) -> Result<Mmap, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.len() == 0 {
        return Err(Error::malformed(path, "the file is empty"));
    }
    // SAFETY: the map is read-only. Changing the file while it is mapped would change what is
    // read, as with any reader; we only ever copy numbers out, each after a bounds check.
    unsafe { Mmap::map(&file) }.map_err(read)
}

/// Tells the system that a part of a file will hardly be read again: its pages leave this process's memory, so that loading
/// a model does not take its size once more.
pub(crate) fn forget(map: &Mmap, bytes: std::ops::Range<usize>) {
    #[cfg(unix)]
    // SAFETY: the map is read-only and backed by its file: pages that are gone are read again when they are touched.
    // Nothing depends on success.
    let _ = unsafe {
        map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len())
    };
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Error> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|e| Error::Execution {
            message: e.to_string(),
        })
}

/// `[rows, columns]` to `[columns, rows]`, in blocks that fit the first cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0f32; values.len()];
    out.par_chunks_mut(BLOCK * rows.max(1))
        .enumerate()
        .for_each(|(chunk, out)| {
            let first = chunk * BLOCK;
            let width = out.len() / rows;
            for block in (0..rows).step_by(BLOCK) {
                for column in 0..width {
                    for row in block..(block + BLOCK).min(rows) {
                        out[column * rows + row] = values[row * columns + first + column];
                    }
                }
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_matches_the_definition() {
        for (rows, columns) in [(1, 1), (3, 70), (70, 3), (33, 65), (0, 4)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let flipped = transposed(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(flipped[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }

    #[test]
    fn the_network_gives_back_the_layout_it_was_built_from() {
        let device = crate::device("auto").unwrap();
        for tied in [true, false] {
            let mut config = LlamaConfig::new(50, 16, 24, 3, 4, 2);
            config.tie_word_embeddings = tied;
            let model = config.init(&device);
            let mut specs = Vec::new();
            let source = random::Random {
                seed: 0,
                config: &config,
            };
            for (spec, parameter) in tensors(&model) {
                let expected = source.read(&spec.name, &spec.shape).unwrap();
                assert_eq!(parameter.file_values().unwrap(), expected, "{}", spec.name);
                specs.push(spec);
            }
            assert_eq!(specs, layout(&config));
            let count: usize = specs
                .iter()
                .map(|s| s.shape.iter().product::<usize>())
                .sum();
            assert_eq!(count, config.parameter_count());
        }
    }
}
