//! The network's numbers, packed for the products that they take part in.

use std::ops::Range;
use std::sync::OnceLock;

use syncabel_kernels::bf16::{self, Panels, Unit};
use syncabel_kernels::packed::{self, Kept, Packed};
use syncabel_kernels::rows::gated_halves;
use syncabel_kernels::simd::{LANES, add_lanes, sum};
use syncabel_kernels::{Matrix, Write, multiversion};

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
    /// The kernels rely on it.
    fn check(&self) {
        let all = [
            self.vocab,
            self.hidden,
            self.inner,
            self.layers,
            self.query_heads,
            self.key_heads,
            self.head_dim,
            self.positions,
        ];
        assert!(all.iter().all(|&size| size > 0), "a size is 0: {self:?}");
        let fits =
            self.query_heads.is_multiple_of(self.key_heads) && self.head_dim.is_multiple_of(2);
        assert!(fits, "heads do not divide: {self:?}");
    }

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
    /// Weights in bfloat16, sums in float32: half the memory. On CPUs with AMX or AVX512-BF16 the inputs of products are rounded as
    /// well, for several times the speed; on others they are not.
    Bf16,
}

/// Whether this CPU multiplies bfloat16 numbers. If not, rounding the inputs of products gains nothing.
fn multiplies_bf16() -> bool {
    matches!(Unit::detect(), Unit::Amx | Unit::Avx512)
}

/// A projection `[in, out]`.
#[derive(Debug)]
pub(crate) enum Weight {
    /// For inputs in float32.
    Packed(Packed),
    /// For inputs in bfloat16.
    Panels(Panels),
}

impl Weight {
    /// Packs a matrix that is laid out `[out, in]`, as torch does.
    fn pack(precision: Precision, values: &[f32], out: usize, input: usize) -> Self {
        let matrix = Matrix::new(values, out, input).transposed();
        match precision {
            Precision::F32 => Self::Packed(Packed::right(Kept::F32, matrix)),
            Precision::Bf16 if multiplies_bf16() => Self::Panels(Panels::right(matrix)),
            Precision::Bf16 => Self::Packed(Packed::right(Kept::Bf16, matrix)),
        }
    }

    /// Packs the two matrices of a gated layer, both `[out, in]`.
    fn pack_gated(
        precision: Precision,
        gate: &[f32],
        mut up: Vec<f32>,
        out: usize,
        input: usize,
    ) -> Self {
        let kept = match precision {
            Precision::F32 => Kept::F32,
            Precision::Bf16 if multiplies_bf16() => {
                up.splice(..0, gate.iter().copied());
                return Self::pack(precision, &up, 2 * out, input);
            }
            Precision::Bf16 => Kept::Bf16,
        };
        let [gate, up] = [gate, &up].map(|values| Matrix::new(values, out, input).transposed());
        Self::Packed(Packed::gated(kept, gate, up))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.bytes(),
            Self::Panels(panels) => panels.bytes(),
        }
    }

    /// Copies a row of the `[out, in]` matrix that was packed.
    fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Packed(packed) => packed.column(row, out),
            Self::Panels(panels) => panels.column(row, out),
        }
    }
}

/// A left factor in the form that the weights want.
#[derive(Debug, Default)]
pub(crate) struct Left {
    panels: Panels,
    /// A product before it is gated, where that is not done at once.
    halves: Vec<f32>,
}

impl Left {
    /// Prepares `rows`, `[n, width]`, for any number of products.
    pub(crate) fn of<'l>(
        &'l mut self,
        precision: Precision,
        rows: &'l [f32],
        width: usize,
    ) -> Ready<'l> {
        if precision == Precision::Bf16 && multiplies_bf16() {
            self.panels
                .set_left(Matrix::new(rows, rows.len() / width, width));
        }
        Ready {
            rows,
            panels: &self.panels,
            halves: &mut self.halves,
        }
    }
}

/// See [`Left::of`].
pub(crate) struct Ready<'l> {
    rows: &'l [f32],
    panels: &'l Panels,
    halves: &'l mut Vec<f32>,
}

impl Ready<'_> {
    /// `out = rows * weight` (or `+=`).
    pub(crate) fn times(&self, out: &mut [f32], write: Write, weight: &Weight) {
        match weight {
            Weight::Packed(packed) => packed::matmul(out, write, self.rows, packed),
            Weight::Panels(panels) => bf16::matmul(out, write, self.panels, panels),
        }
    }

    /// `out = silu(rows * gate) * (rows * up)`, where `weight` holds both.
    pub(crate) fn times_gated(self, out: &mut [f32], weight: &Weight) {
        match weight {
            Weight::Packed(packed) => packed::gated_matmul(out, self.rows, packed),
            Weight::Panels(panels) => {
                self.halves.resize(2 * out.len(), 0.0);
                bf16::matmul(self.halves, Write::Replace, self.panels, panels);
                gated_halves(out, self.halves, panels.outer() / 2);
            }
        }
    }

    /// `out = rows * weight[.., columns]` on this thread; `columns` begins with a multiple of 32.
    pub(crate) fn times_columns(&self, out: &mut [f32], weight: &Weight, columns: Range<usize>) {
        match weight {
            Weight::Packed(packed) => packed::matmul_columns(out, self.rows, packed, columns),
            Weight::Panels(panels) => bf16::matmul_columns(out, self.panels, panels, columns),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    /// Queries, keys, values. The first two are turned to their positions.
    pub(crate) query_key_value: Weight,
    pub(crate) output: Weight,
    pub(crate) mlp_norm: Vec<f32>,
    pub(crate) gate_up: Weight,
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
            Precision::Bf16 => Self::Bf16(values.iter().map(|&x| bf16::round(x)).collect()),
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

/// The head's rows one by one, for looking up where it is the embedding too and for products with few tokens. Packed, a row's
/// numbers lie lines of cache apart; a second copy of all would be a fifth of SmolLM2-135M. So a row is copied when it is
/// first wanted: names and texts use a few thousand tokens of a vocabulary.
#[derive(Debug)]
pub(crate) struct HeadRows(Vec<OnceLock<Table>>);

impl HeadRows {
    fn new(vocab: usize) -> Self {
        Self((0..vocab).map(|_| OnceLock::new()).collect())
    }
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
    /// Where it is not the head.
    embedding: Option<Table>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    pub(crate) head: Weight,
    head_rows: HeadRows,
}

impl Weights {
    /// Asks `read` for one tensor after the other, by its Hugging Face name and its shape (`[out, in]`, as torch has it), and
    /// packs it: at no time are two copies of the whole model in memory.
    ///
    /// # Errors
    /// Those of `read`.
    ///
    /// # Panics
    /// When `read` gives another number of values than the shape has, and for a shape of which a size is 0, `key_heads` does not divide
    /// `query_heads`, or `head_dim` is odd.
    pub fn read<E>(
        shape: Shape,
        precision: Precision,
        read: &mut TensorReader<'_, E>,
    ) -> Result<Self, E> {
        shape.check();
        let mut take = |name: &str, dims: &[usize]| -> Result<Vec<f32>, E> {
            let values = read(name, dims)?;
            assert_eq!(values.len(), dims.iter().product::<usize>(), "{name}");
            Ok(values)
        };
        let (hidden, vocab) = (shape.hidden, shape.vocab);
        let embedding = take("model.embed_tokens.weight", &[vocab, hidden])?;
        // Either way the numbers that were read are gone before the layers come.
        let (tied, embedding) = match shape.tied {
            true => {
                let head = Weight::pack(precision, &embedding, vocab, hidden);
                drop(embedding);
                (Some(head), None)
            }
            false => (None, Some(Table::new(precision, embedding))),
        };
        // No room in advance: the number is a file's word until as many tensors were read.
        let mut layers = Vec::new();
        for number in 0..shape.layers {
            layers.push(Layer::read(&shape, precision, number, &mut take)?);
        }
        let norm = take("model.norm.weight", &[hidden])?;
        let head = match tied {
            Some(head) => head,
            None => {
                let rows = take("lm_head.weight", &[vocab, hidden])?;
                Weight::pack(precision, &rows, vocab, hidden)
            }
        };
        let head_rows = HeadRows::new(vocab);
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

    /// Bytes of all matrices. Not counted: the rows of the head that were unpacked, and some 40 bytes a token to find them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let all = [
                &layer.query_key_value,
                &layer.output,
                &layer.gate_up,
                &layer.down,
            ];
            all.iter().map(|weight| weight.bytes()).sum::<usize>()
        };
        self.embedding.as_ref().map_or(0, Table::bytes)
            + self.head.bytes()
            + self.layers.iter().map(layer).sum::<usize>()
    }

    /// Looks a token up in the embedding.
    pub(crate) fn embed(&self, token: u32, out: &mut [f32]) {
        match &self.embedding {
            Some(table) => table.row(token as usize, out),
            None => self.head_row(token).row(0, out),
        }
    }

    /// The logit of a token.
    pub(crate) fn logit(&self, token: u32, hidden: &[f32]) -> f32 {
        self.head_row(token).dot(0, hidden)
    }

    fn head_row(&self, token: u32) -> &Table {
        self.head_rows.0[token as usize].get_or_init(|| {
            let mut row = vec![0.0; self.shape.hidden];
            self.head.row(token as usize, &mut row);
            Table::new(self.precision, row)
        })
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
        let mut read = |part: &str, out: usize, input: usize| take(&name(part), &[out, input]);
        let mut all = read("self_attn.q_proj", query, hidden)?;
        all.extend(read("self_attn.k_proj", key, hidden)?);
        all.extend(read("self_attn.v_proj", key, hidden)?);
        let query_key_value = Weight::pack(precision, &all, query + 2 * key, hidden);
        let output = read("self_attn.o_proj", hidden, query)?;
        let output = Weight::pack(precision, &output, hidden, query);
        let gate = read("mlp.gate_proj", inner, hidden)?;
        let up = read("mlp.up_proj", inner, hidden)?;
        let gate_up = Weight::pack_gated(precision, &gate, up, inner, hidden);
        let down = read("mlp.down_proj", hidden, inner)?;
        let down = Weight::pack(precision, &down, hidden, inner);
        Ok(Self {
            attention_norm: take(&name("input_layernorm"), &[hidden])?,
            query_key_value,
            output,
            mlp_norm: take(&name("post_attention_layernorm"), &[hidden])?,
            gate_up,
            down,
        })
    }
}
