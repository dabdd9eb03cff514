//! The Llama network: embedding, decoder layers, norm and head. No files, no strings.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::attention::{causal_bias, grouped};
use crate::rope::Angles;
use crate::weights::{build, random::Random};
use crate::{LlamaConfig, Packing, Rope};

/// A Llama-family decoder.
///
/// Made by [`LlamaConfig::init`] or [`load`](crate::load). Parameters carry the paths of Hugging
/// Face checkpoints (`model.layers.0.self_attn.q_proj.weight`), matrices transposed to
/// `[in, out]` as burn keeps them.
#[derive(Module, Debug)]
pub struct Llama {
    pub(crate) model: Decoder,
    /// None where the head is the embedding matrix.
    pub(crate) lm_head: Option<Linear>,
    query_heads: usize,
    key_heads: usize,
    head_dim: usize,
}

#[derive(Module, Debug)]
pub(crate) struct Decoder {
    pub(crate) embed_tokens: Embedding,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: RmsNorm,
}

#[derive(Module, Debug)]
pub(crate) struct Layer {
    pub(crate) input_layernorm: RmsNorm,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: RmsNorm,
    pub(crate) mlp: FeedForward,
}

#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
}

#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// Projected heads of every row of a batch, before positions.
pub(crate) struct Projected {
    /// `[rows, query_heads * head_dim]`
    pub(crate) query: Tensor<2>,
    /// `[rows, key_heads * head_dim]`
    pub(crate) key: Tensor<2>,
    /// `[rows, key_heads * head_dim]`
    pub(crate) value: Tensor<2>,
}

impl Llama {
    /// Freshly drawn weights; see [`LlamaConfig::init_seeded`].
    pub(crate) fn random(config: &LlamaConfig, seed: u64, device: &Device) -> Self {
        let source = Random { seed, config };
        build(config, &source, device).expect("drawing weights cannot fail")
    }

    /// Puts the network together from its parts.
    pub(crate) fn assemble(
        config: &LlamaConfig,
        embed_tokens: Embedding,
        layers: Vec<Layer>,
        norm: RmsNorm,
        lm_head: Option<Linear>,
    ) -> Self {
        Llama {
            model: Decoder {
                embed_tokens,
                layers,
                norm,
            },
            lm_head,
            query_heads: config.num_attention_heads,
            key_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        }
    }

    /// The last layer's normalised states, for training or scoring: every cell sees its own past,
    /// and with `packing` only that of its own example.
    ///
    /// Padding at the end of a row is harmless: nothing real sees it, and it gets finite numbers.
    ///
    /// # Shapes
    /// - ids: `[batch, time]`
    /// - packing: of the same `[batch, time]`
    /// - output: `[batch, time, hidden_size]`
    ///
    /// # Panics
    /// If `rope` has fewer positions than the longest example, or `packing` other dimensions.
    #[must_use]
    pub fn hidden(&self, ids: Tensor<2, Int>, rope: &Rope, packing: Option<&Packing>) -> Tensor<3> {
        let [batch, time] = ids.dims();
        let longest = packing.map_or(time, Packing::longest);
        assert!(
            longest <= rope.positions(),
            "{longest} positions needed, the rotary table has {}",
            rope.positions()
        );
        let (angles, bias) = match packing {
            Some(packing) => {
                assert_eq!(packing.dims(), [batch, time], "packing of another batch");
                (rope.at(packing.positions()), packing.bias())
            }
            None => (rope.prefix(time), causal_bias(time, &ids.device())),
        };
        let rows = self.embed(ids);
        let rows = self.layers(rows, |_, heads| {
            let (query, key, value) = self.split_heads(heads, batch, time, &angles);
            self.merge_heads(grouped(query, key, value, bias.clone()))
        });
        let width = rows.dims()[1];
        self.model.norm.forward(rows).reshape([batch, time, width])
    }

    /// Scores of every token of the vocabulary.
    ///
    /// # Shapes
    /// - hidden: `[rows, hidden_size]`
    /// - output: `[rows, vocab_size]`
    #[must_use]
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.model.embed_tokens.weight.val().transpose()),
        }
    }

    /// Rows of the embedding matrix.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.model.embed_tokens.weight.dims()[0]
    }

    /// The device that the weights are on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.model.norm.gamma.device()
    }

    /// The type of number that weights are kept in.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.model.embed_tokens.weight.val().dtype()
    }

    /// Keeps weights in another type of number, bf16 for instance, and computes in it: half the memory and, on GPUs, several times
    /// the speed. For inference; norms and attention shares are still averaged in float32, logits come in the type of the weights.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Self {
        self.map(&mut Cast(dtype))
    }

    /// Grows the vocabulary; new rows are the mean of the old ones, so that a new token starts as
    /// likely as an average one and the result does not depend on a seed. Never shrinks: files
    /// often hold more rows than their tokenizer has tokens.
    #[must_use]
    pub fn resize_vocabulary(mut self, vocab_size: usize) -> Self {
        let old = self.vocab_size();
        if vocab_size <= old {
            return self;
        }
        let embedding = &mut self.model.embed_tokens.weight;
        *embedding = grow(embedding, vocab_size, Axis::Rows);
        if let Some(head) = &mut self.lm_head {
            head.weight = grow(&head.weight, vocab_size, Axis::Columns);
        }
        self
    }

    /// Embeds and flattens.
    ///
    /// # Shapes
    /// - ids: `[batch, time]`
    /// - output: `[batch * time, hidden_size]`
    pub(crate) fn embed(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let states = self.model.embed_tokens.forward(ids);
        let [batch, time, width] = states.dims();
        states.reshape([batch * time, width])
    }

    /// Runs every layer. Rows stay flat `[batch * time, ...]` throughout, so that each projection
    /// is one matrix product; only `attend` knows batch and time. It gets the number of the layer
    /// and its projected heads and returns the attended heads, `[rows, query_heads * head_dim]`.
    ///
    /// # Shapes
    /// - rows: `[rows, hidden_size]`
    /// - output: `[rows, hidden_size]`, not normalised
    pub(crate) fn layers(
        &self,
        mut rows: Tensor<2>,
        mut attend: impl FnMut(usize, Projected) -> Tensor<2>,
    ) -> Tensor<2> {
        for (number, layer) in self.model.layers.iter().enumerate() {
            let normed = layer.input_layernorm.forward(rows.clone());
            let heads = attend(number, layer.self_attn.project(normed));
            rows = rows + layer.self_attn.o_proj.forward(heads);
            let normed = layer.post_attention_layernorm.forward(rows.clone());
            rows = rows + layer.mlp.forward(normed);
        }
        rows
    }

    /// Gives heads their positions and stacks queries that share a key head.
    ///
    /// # Shapes
    /// - heads: rows are `batch * time`
    /// - query: `[batch, key_heads, group, time, head_dim]`
    /// - key, value: `[batch, key_heads, time, head_dim]`
    pub(crate) fn split_heads(
        &self,
        heads: Projected,
        batch: usize,
        time: usize,
        angles: &Angles,
    ) -> (Tensor<5>, Tensor<4>, Tensor<4>) {
        let split =
            |x: Tensor<2>, n: usize| x.reshape([batch, time, n, self.head_dim]).swap_dims(1, 2);
        let group = self.query_heads / self.key_heads;
        let query = angles
            .rotate(split(heads.query, self.query_heads))
            .reshape([batch, self.key_heads, group, time, self.head_dim]);
        let key = angles.rotate(split(heads.key, self.key_heads));
        (query, key, split(heads.value, self.key_heads))
    }

    /// Undoes [`Llama::split_heads`] for the attended heads.
    ///
    /// # Shapes
    /// - attended: `[batch, key_heads, group, time, head_dim]`
    /// - output: `[batch * time, query_heads * head_dim]`
    pub(crate) fn merge_heads(&self, attended: Tensor<5>) -> Tensor<2> {
        let [batch, _, _, time, _] = attended.dims();
        attended
            .reshape([batch, self.query_heads, time, self.head_dim])
            .swap_dims(1, 2)
            .reshape([batch * time, self.query_heads * self.head_dim])
    }
}

/// Casts every parameter.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| weights.cast(self.0))
    }
}

impl Attention {
    /// # Shapes
    /// - rows: `[rows, hidden_size]`
    fn project(&self, rows: Tensor<2>) -> Projected {
        Projected {
            query: self.q_proj.forward(rows.clone()),
            key: self.k_proj.forward(rows.clone()),
            value: self.v_proj.forward(rows),
        }
    }
}

impl FeedForward {
    /// # Shapes
    /// - rows: `[rows, hidden_size]`
    /// - output: `[rows, hidden_size]`
    fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let gate = silu(self.gate_proj.forward(rows.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(rows))
    }
}

#[derive(Clone, Copy)]
enum Axis {
    /// `[vocab_size, hidden_size]`, the embedding.
    Rows,
    /// `[hidden_size, vocab_size]`, the untied head.
    Columns,
}

/// Appends copies of the mean row (or column) until there are `size`.
fn grow(param: &Param<Tensor<2>>, size: usize, axis: Axis) -> Param<Tensor<2>> {
    let table = param.val().detach();
    let device = table.device();
    let axis = axis as usize;
    let old = table.dims()[axis];
    let mean = host_mean(table.clone(), axis);
    let mut shape = table.dims();
    shape[axis] = 1;
    let mean = Tensor::<2>::from_data(TensorData::new(mean, shape), &device);
    let grown = Tensor::cat(vec![table, mean.repeat_dim(axis, size - old)], axis);
    Param::from_tensor(grown.detach())
}

/// The mean over an axis, summed in order and in double precision: the same on every backend.
fn host_mean(table: Tensor<2>, axis: usize) -> Vec<f32> {
    let [rows, columns] = table.dims();
    let values = table
        .try_into_vec_as::<f32>()
        .expect("weights are floating point and readable");
    let (kept, count) = [(columns, rows), (rows, columns)][axis];
    let mut sums = vec![0.0f64; kept];
    for (i, value) in values.into_iter().enumerate() {
        let cell = [i % columns, i / columns][axis];
        sums[cell] += f64::from(value);
    }
    sums.iter().map(|s| (s / count as f64) as f32).collect()
}
