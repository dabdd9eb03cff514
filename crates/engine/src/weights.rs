//! The network's numbers, packed for the products that they take part in.

use syncabel_kernels::bf16::{self, Panels};
use syncabel_kernels::packed::{self, Packed};
use syncabel_kernels::simd::{LANES, add_lanes, sum};
use syncabel_kernels::{Matrix, Write, multiversion};

/// Columns of the head that are computed at once.
pub(crate) const HEAD_COLUMNS: usize = 4096;

/// Sizes of a Llama.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated feed-forward layer.
    pub inner: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads; divides `query_heads`.
    pub key_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Added to the mean square in norms.
    pub eps: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Most tokens of a path.
    pub positions: usize,
}

impl Shape {
    pub(crate) fn query_width(&self) -> usize {
        self.query_heads * self.head_dim
    }

    pub(crate) fn key_width(&self) -> usize {
        self.key_heads * self.head_dim
    }

    pub(crate) fn group(&self) -> usize {
        self.query_heads / self.key_heads
    }
}

/// How weights are kept and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Float32 throughout.
    #[default]
    F32,
    /// Weights and the inputs of products in bfloat16, sums in float32: half the memory, several times the speed on CPUs
    /// with AMX or AVX512-BF16.
    Bf16,
}

/// A projection `[in, out]`.
#[derive(Debug)]
pub(crate) enum Weight {
    F32(Packed),
    Bf16(Panels),
}

impl Weight {
    /// Packs a matrix that is laid out `[out, in]`, as torch does.
    fn pack(precision: Precision, values: &[f32], out: usize, input: usize) -> Self {
        let matrix = Matrix::new(values, out, input).transposed();
        match precision {
            Precision::F32 => Self::F32(Packed::right(matrix)),
            Precision::Bf16 => Self::Bf16(Panels::right(matrix)),
        }
    }

    pub(crate) fn outer(&self) -> usize {
        match self {
            Self::F32(packed) => packed.outer(),
            Self::Bf16(panels) => panels.outer(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(packed) => packed.bytes(),
            Self::Bf16(panels) => panels.bytes(),
        }
    }
}

/// A left factor in the form that the weights want.
#[derive(Debug, Default)]
pub(crate) struct Left {
    panels: Panels,
}

impl Left {
    /// Prepares `rows`, `[n, width]`, for any number of products.
    pub(crate) fn of<'l>(
        &'l mut self,
        precision: Precision,
        rows: &'l [f32],
        width: usize,
    ) -> Ready<'l> {
        if precision == Precision::Bf16 {
            self.panels
                .set_left(Matrix::new(rows, rows.len() / width, width));
        }
        Ready {
            rows,
            panels: &self.panels,
        }
    }
}

/// See [`Left::of`].
pub(crate) struct Ready<'l> {
    rows: &'l [f32],
    panels: &'l Panels,
}

impl Ready<'_> {
    /// `out = rows * weight` (or `+=`).
    pub(crate) fn times(&self, out: &mut [f32], write: Write, weight: &Weight) {
        match weight {
            Weight::F32(packed) => packed::matmul(out, write, self.rows, packed),
            Weight::Bf16(panels) => bf16::matmul(out, write, self.panels, panels),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    /// Queries, then keys: both are turned to their positions.
    pub(crate) query_key: Weight,
    pub(crate) value: Weight,
    pub(crate) output: Weight,
    pub(crate) mlp_norm: Vec<f32>,
    pub(crate) gate: Weight,
    pub(crate) up: Weight,
    pub(crate) down: Weight,
}

/// Rows of numbers to be looked up.
#[derive(Debug)]
pub(crate) enum Table {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Table {
    fn new(precision: Precision, values: Vec<f32>) -> Self {
        match precision {
            Precision::F32 => Self::F32(values),
            Precision::Bf16 => Self::Bf16(values.iter().map(|&x| round(x)).collect()),
        }
    }

    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let width = out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[row * width..][..width]),
            Self::Bf16(values) => {
                for (out, &bits) in out.iter_mut().zip(&values[row * width..]) {
                    *out = widen(bits);
                }
            }
        }
    }

    /// The product of a row with `x`.
    pub(crate) fn dot(&self, row: usize, x: &[f32]) -> f32 {
        let at = row * x.len();
        match self {
            Self::F32(values) => dot(&values[at..][..x.len()], x),
            Self::Bf16(values) => dot_bf16(&values[at..][..x.len()], x),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => std::mem::size_of_val(&values[..]),
            Self::Bf16(values) => std::mem::size_of_val(&values[..]),
        }
    }
}

/// The bfloat16 number nearest to `x`, ties to even.
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

multiversion! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        sum([&a[..len], &b[..len]], |[a, b]| a * b)
    }

    fn dot_bf16(a: &[u16], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (blocks, rest) = a[..len].as_chunks::<LANES>();
        let (their_blocks, their_rest) = b[..len].as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for (a, b) in blocks.iter().zip(their_blocks) {
            for i in 0..LANES {
                lanes[i] += f32::from_bits(u32::from(a[i]) << 16) * b[i];
            }
        }
        for (i, (a, b)) in rest.iter().zip(their_rest).enumerate() {
            lanes[i] += f32::from_bits(u32::from(*a) << 16) * b;
        }
        add_lanes(lanes)
    }
}

/// Hands out a tensor by name and shape.
pub type TensorReader<'r, E> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, E> + 'r;

/// All weights of a network.
#[derive(Debug)]
pub struct Weights {
    pub(crate) shape: Shape,
    pub(crate) precision: Precision,
    pub(crate) embedding: Table,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// The head in blocks of [`HEAD_COLUMNS`] tokens.
    pub(crate) head: Vec<Weight>,
    /// The head's rows once more, where they are not those of the embedding.
    pub(crate) head_rows: Option<Table>,
}

impl Weights {
    /// Asks `read` for one tensor after the other, by its Hugging Face name and its shape (`[out, in]`, as torch has it), and
    /// packs it: at no time are two copies of the whole model in memory.
    ///
    /// # Errors
    /// Those of `read`.
    ///
    /// # Panics
    /// When `read` gives another number of values than the shape has.
    pub fn read<E>(
        shape: Shape,
        precision: Precision,
        read: &mut TensorReader<'_, E>,
    ) -> Result<Self, E> {
        let mut take = |name: &str, dims: &[usize]| -> Result<Vec<f32>, E> {
            let values = read(name, dims)?;
            assert_eq!(values.len(), dims.iter().product::<usize>(), "{name}");
            Ok(values)
        };
        let (hidden, vocab) = (shape.hidden, shape.vocab);
        let embedding = take("model.embed_tokens.weight", &[vocab, hidden])?;
        let mut head = Vec::new();
        let mut head_rows = None;
        if shape.tied {
            head = split_head(precision, &embedding, hidden);
        }
        let embedding = Table::new(precision, embedding);
        let mut layers = Vec::with_capacity(shape.layers);
        for number in 0..shape.layers {
            layers.push(Layer::read(&shape, precision, number, &mut take)?);
        }
        let norm = take("model.norm.weight", &[hidden])?;
        if !shape.tied {
            let rows = take("lm_head.weight", &[vocab, hidden])?;
            head = split_head(precision, &rows, hidden);
            head_rows = Some(Table::new(precision, rows));
        }
        Ok(Self {
            shape,
            precision,
            embedding,
            layers,
            norm,
            head,
            head_rows,
        })
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How the numbers are kept.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of all numbers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let all = [
                &layer.query_key,
                &layer.value,
                &layer.output,
                &layer.gate,
                &layer.up,
                &layer.down,
            ];
            all.iter().map(|weight| weight.bytes()).sum::<usize>()
        };
        self.embedding.bytes()
            + self.head_rows.as_ref().map_or(0, Table::bytes)
            + self.head.iter().map(Weight::bytes).sum::<usize>()
            + self.layers.iter().map(layer).sum::<usize>()
    }

    /// The head, row by row.
    pub(crate) fn head_table(&self) -> &Table {
        self.head_rows.as_ref().unwrap_or(&self.embedding)
    }
}

impl Layer {
    fn read<E>(
        shape: &Shape,
        precision: Precision,
        number: usize,
        take: &mut TensorReader<'_, E>,
    ) -> Result<Self, E> {
        let (hidden, inner) = (shape.hidden, shape.inner);
        let (query, key) = (shape.query_width(), shape.key_width());
        let name = |part: &str| format!("model.layers.{number}.{part}.weight");
        let mut weight = |part: &str, out: usize, input: usize| {
            let values = take(&name(part), &[out, input])?;
            Ok(Weight::pack(precision, &values, out, input))
        };
        let value = weight("self_attn.v_proj", key, hidden)?;
        let output = weight("self_attn.o_proj", hidden, query)?;
        let gate = weight("mlp.gate_proj", inner, hidden)?;
        let up = weight("mlp.up_proj", inner, hidden)?;
        let down = weight("mlp.down_proj", hidden, inner)?;
        let mut both = take(&name("self_attn.q_proj"), &[query, hidden])?;
        both.extend(take(&name("self_attn.k_proj"), &[key, hidden])?);
        Ok(Self {
            attention_norm: take(&name("input_layernorm"), &[hidden])?,
            query_key: Weight::pack(precision, &both, query + key, hidden),
            value,
            output,
            mlp_norm: take(&name("post_attention_layernorm"), &[hidden])?,
            gate,
            up,
            down,
        })
    }
}

fn split_head(precision: Precision, rows: &[f32], hidden: usize) -> Vec<Weight> {
    rows.chunks(HEAD_COLUMNS * hidden)
        .map(|rows| Weight::pack(precision, rows, rows.len() / hidden, hidden))
        .collect()
}
