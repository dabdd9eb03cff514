//! The passes of the whole network over one group of examples.

use std::ops::Range;

use syncabel_model::{LlamaConfig, rope_tables};

use syncabel_kernels::rows::{self as kernels, Turn};
use syncabel_kernels::{Matrix, Write};

use super::attention::{self, Heads, probabilities_len};
use super::product::Products;
use crate::Error;
use crate::encode::Encoded;
use crate::engine::params::ParamSpec;

/// Rows of logits that exist at once.
const HEAD_ROWS: usize = 256;

/// Shapes, and where each tensor lies in the flat list of weights.
pub(super) struct Network {
    hidden: usize,
    intermediate: usize,
    vocabulary: usize,
    heads: Heads,
    eps: f32,
    cos: Vec<f32>,
    sin: Vec<f32>,
    embedding: Range<usize>,
    layers: Vec<Layer>,
    norm: Range<usize>,
    /// `None` where the head is the embedding.
    head: Option<Range<usize>>,
}

/// Where a layer's tensors lie. Matrices are `[in, out]`.
struct Layer {
    attention_norm: Range<usize>,
    query: Range<usize>,
    key: Range<usize>,
    value: Range<usize>,
    output: Range<usize>,
    mlp_norm: Range<usize>,
    gate: Range<usize>,
    up: Range<usize>,
    down: Range<usize>,
}

/// One group of examples on its way through the network.
pub(super) struct Pass {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    lengths: Vec<usize>,
    /// Rows whose state predicts a completion token, and that token.
    loss_rows: Vec<usize>,
    targets: Vec<usize>,
    smoothing: f32,
    pub(super) losses: Vec<f64>,
    pub(super) exact: Vec<bool>,
}

impl Pass {
    pub(super) fn new(examples: &[&Encoded], smoothing: f32) -> Self {
        let mut pass = Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            lengths: Vec::new(),
            loss_rows: Vec::new(),
            targets: Vec::new(),
            smoothing,
            losses: Vec::new(),
            exact: Vec::new(),
        };
        for example in examples {
            let (start, length) = (pass.tokens.len(), example.input_len());
            pass.tokens.extend_from_slice(&example.tokens[..length]);
            pass.positions.extend(0..length as u32);
            pass.lengths.push(length);
            for target in example.completion_start..example.tokens.len() {
                pass.loss_rows.push(start + target - 1);
                pass.targets.push(example.tokens[target] as usize);
            }
        }
        pass
    }
}

/// Buffers that outlive a pass, so that memory is not returned to the system in between.
pub(super) struct Workspace {
    products: Products,
    layers: Vec<Saved>,
    /// The residual stream, `[tokens, hidden]`; after the last layer only rows with loss.
    last: Vec<f32>,
    last_scales: Vec<f32>,
    /// `[tokens, hidden]`
    normed: Vec<f32>,
    d_rows: Vec<f32>,
    d_normed: Vec<f32>,
    /// `[tokens, intermediate]`
    product: Vec<f32>,
    d_product: Vec<f32>,
    /// `[tokens, query or key heads * width]`
    d_attended: Vec<f32>,
    d_query: Vec<f32>,
    d_key: Vec<f32>,
    d_value: Vec<f32>,
    /// `[rows with loss, hidden]`
    d_head_rows: Vec<f32>,
    logits: Vec<f32>,
}

impl Workspace {
    pub(super) fn new(products: Products) -> Self {
        Self {
            products,
            layers: Vec::new(),
            last: Vec::new(),
            last_scales: Vec::new(),
            normed: Vec::new(),
            d_rows: Vec::new(),
            d_normed: Vec::new(),
            product: Vec::new(),
            d_product: Vec::new(),
            d_attended: Vec::new(),
            d_query: Vec::new(),
            d_key: Vec::new(),
            d_value: Vec::new(),
            d_head_rows: Vec::new(),
            logits: Vec::new(),
        }
    }
}

/// What the backward pass needs of a layer.
#[derive(Default)]
struct Saved {
    input: Vec<f32>,
    input_scales: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    probabilities: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    middle_scales: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Gives a buffer its length; what it holds is overwritten by the caller.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Moves the chosen rows, in ascending order, to the front.
fn gather(rows: &mut [f32], chosen: &[usize], width: usize) {
    for (to, &from) in chosen.iter().enumerate() {
        rows.copy_within(from * width..(from + 1) * width, to * width);
    }
}

/// Undoes [`gather`]; rows that were not chosen become 0.
fn scatter(rows: &mut [f32], chosen: &[usize], width: usize) {
    let mut end = rows.len();
    for (from, &to) in chosen.iter().enumerate().rev() {
        rows.copy_within(from * width..(from + 1) * width, to * width);
        rows[(to + 1) * width..end].fill(0.0);
        end = to * width;
    }
    rows[..end].fill(0.0);
}

impl Network {
    pub(super) fn new(
        config: &LlamaConfig,
        specs: &[ParamSpec],
        positions: usize,
    ) -> Result<Self, Error> {
        let find = |name: &str| {
            specs
                .iter()
                .find(|spec| spec.name == name)
                .map(ParamSpec::range)
                .ok_or_else(|| Error::EngineUnsupported {
                    reason: format!("it has no tensor `{name}`"),
                })
        };
        let layer = |number: usize| -> Result<Layer, Error> {
            let find = |name: &str| find(&format!("model.layers.{number}.{name}"));
            Ok(Layer {
                attention_norm: find("input_layernorm.gamma")?,
                query: find("self_attn.q_proj.weight")?,
                key: find("self_attn.k_proj.weight")?,
                value: find("self_attn.v_proj.weight")?,
                output: find("self_attn.o_proj.weight")?,
                mlp_norm: find("post_attention_layernorm.gamma")?,
                gate: find("mlp.gate_proj.weight")?,
                up: find("mlp.up_proj.weight")?,
                down: find("mlp.down_proj.weight")?,
            })
        };
        let (cos, sin) = rope_tables(config, positions);
        Ok(Self {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            vocabulary: config.vocab_size,
            heads: Heads {
                query: config.num_attention_heads,
                key: config.num_key_value_heads,
                width: config.head_dim,
            },
            eps: config.rms_norm_eps as f32,
            cos,
            sin,
            embedding: find("model.embed_tokens.weight")?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            norm: find("model.norm.gamma")?,
            head: if config.tie_word_embeddings {
                None
            } else {
                Some(find("lm_head.weight")?)
            },
        })
    }

    /// Runs all layers and keeps what the backward pass needs. Nothing looks at the last layer's states but the head, so
    /// its gated part runs only on the rows that carry loss; they end up, normed, in `work.normed`.
    pub(super) fn forward(&self, weights: &[f32], pass: &mut Pass, work: &mut Workspace) {
        work.layers.resize_with(self.layers.len(), Saved::default);
        self.embed(weights, pass, work);
        for number in 0..self.layers.len() {
            self.attention_forward(number, weights, pass, work);
            if number + 1 == self.layers.len() {
                gather(&mut work.last, &pass.loss_rows, self.hidden);
            }
            self.mlp_forward(number, weights, self.mlp_rows(number, pass), work);
        }
        let rows = pass.loss_rows.len();
        let normed = sized(&mut work.normed, rows * self.hidden);
        let scales = sized(&mut work.last_scales, rows);
        kernels::rms_norm(
            normed,
            scales,
            &work.last[..rows * self.hidden],
            &weights[self.norm.clone()],
            self.eps,
        );
    }

    /// Rows that go through the gated part of a layer.
    fn mlp_rows(&self, number: usize, pass: &Pass) -> usize {
        if number + 1 == self.layers.len() {
            pass.loss_rows.len()
        } else {
            pass.tokens.len()
        }
    }

    fn embed(&self, weights: &[f32], pass: &Pass, work: &mut Workspace) {
        let table = &weights[self.embedding.clone()];
        let rows = sized(&mut work.last, pass.tokens.len() * self.hidden);
        for (row, &token) in rows.chunks_exact_mut(self.hidden).zip(&pass.tokens) {
            row.copy_from_slice(&table[token as usize * self.hidden..][..self.hidden]);
        }
    }

    /// Takes the residual stream in `work.last` through the attention part of a layer.
    fn attention_forward(&self, number: usize, weights: &[f32], pass: &Pass, work: &mut Workspace) {
        let layer = &self.layers[number];
        let saved = &mut work.layers[number];
        let n = pass.tokens.len();
        let hidden = self.hidden;
        let (query_width, key_width) = (self.heads.query_width(), self.heads.key_width());
        let stream = &mut work.last[..n * hidden];
        let normed = sized(&mut work.normed, n * hidden);

        sized(&mut saved.input, n * hidden).copy_from_slice(stream);
        kernels::rms_norm(
            normed,
            sized(&mut saved.input_scales, n),
            stream,
            &weights[layer.attention_norm.clone()],
            self.eps,
        );
        let query = sized(&mut saved.query, n * query_width);
        let key = sized(&mut saved.key, n * key_width);
        let value = sized(&mut saved.value, n * key_width);
        let mut rows = work.products.left(Matrix::new(normed, n, hidden));
        for (out, range, width) in [
            (&mut *query, &layer.query, query_width),
            (&mut *key, &layer.key, key_width),
            (&mut *value, &layer.value, key_width),
        ] {
            let weights = Matrix::new(&weights[range.clone()], hidden, width);
            rows.times(out, Write::Replace, weights);
        }
        self.rotate(query, query_width, pass, Turn::Forward);
        self.rotate(key, key_width, pass, Turn::Forward);
        let probabilities = sized(
            &mut saved.probabilities,
            pass.lengths
                .iter()
                .map(|&l| probabilities_len(self.heads, l))
                .sum(),
        );
        let attended = sized(&mut saved.attended, n * query_width);
        attention::forward(
            attended,
            probabilities,
            query,
            key,
            value,
            &pass.lengths,
            self.heads,
        );
        let mut attended = work.products.left(Matrix::new(attended, n, query_width));
        let output = Matrix::new(&weights[layer.output.clone()], query_width, hidden);
        attended.times(stream, Write::Add, output);
    }

    /// Takes `n` rows of the residual stream in `work.last` through the gated part of a layer.
    fn mlp_forward(&self, number: usize, weights: &[f32], n: usize, work: &mut Workspace) {
        let layer = &self.layers[number];
        let saved = &mut work.layers[number];
        let (hidden, wide) = (self.hidden, self.intermediate);
        let stream = &mut work.last[..n * hidden];
        let normed = sized(&mut work.normed, n * hidden);

        sized(&mut saved.middle, n * hidden).copy_from_slice(stream);
        kernels::rms_norm(
            normed,
            sized(&mut saved.middle_scales, n),
            stream,
            &weights[layer.mlp_norm.clone()],
            self.eps,
        );
        let gate = sized(&mut saved.gate, n * wide);
        let up = sized(&mut saved.up, n * wide);
        let mut rows = work.products.left(Matrix::new(normed, n, hidden));
        for (out, range) in [(&mut *gate, &layer.gate), (&mut *up, &layer.up)] {
            let weights = Matrix::new(&weights[range.clone()], hidden, wide);
            rows.times(out, Write::Replace, weights);
        }
        let product = sized(&mut work.product, n * wide);
        kernels::gated(product, gate, up);
        let mut product = work.products.left(Matrix::new(product, n, wide));
        let down = Matrix::new(&weights[layer.down.clone()], wide, hidden);
        product.times(stream, Write::Add, down);
    }

    fn rotate(&self, x: &mut [f32], width: usize, pass: &Pass, turn: Turn) {
        kernels::rotate(
            x,
            width,
            &pass.positions,
            &self.cos,
            &self.sin,
            self.heads.width / 2,
            turn,
        );
    }

    /// The head's weights, and whether they are `[vocabulary, hidden]`.
    fn head(&self) -> (Range<usize>, bool) {
        match &self.head {
            Some(head) => (head.clone(), false),
            None => (self.embedding.clone(), true),
        }
    }

    /// Losses and arg-max hits of the gathered rows, without gradients.
    pub(super) fn score(&self, weights: &[f32], pass: &mut Pass, work: &mut Workspace) {
        self.head_pass(weights, None, pass, work, 0.0);
    }

    /// Losses of the gathered rows; with `gradients`, also those of the rows and of the head.
    fn head_pass(
        &self,
        weights: &[f32],
        mut gradients: Option<&mut [f32]>,
        pass: &mut Pass,
        work: &mut Workspace,
        scale: f32,
    ) {
        use rayon::prelude::*;
        let (hidden, vocabulary) = (self.hidden, self.vocabulary);
        let (range, tied) = self.head();
        let head = if tied {
            Matrix::new(&weights[range.clone()], vocabulary, hidden).transposed()
        } else {
            Matrix::new(&weights[range.clone()], hidden, vocabulary)
        };
        let count = pass.loss_rows.len();
        let d_rows = sized(&mut work.d_head_rows, count * hidden);
        for from in (0..count).step_by(HEAD_ROWS) {
            let n = HEAD_ROWS.min(count - from);
            let cells = from * hidden..(from + n) * hidden;
            let rows = Matrix::new(&work.normed[cells.clone()], n, hidden);
            let logits = sized(&mut work.logits, n * vocabulary);
            work.products.left(rows).times(logits, Write::Replace, head);
            let smoothing = pass.smoothing;
            let results: Vec<(f64, bool)> = logits
                .par_chunks_exact_mut(vocabulary)
                .zip(&pass.targets[from..from + n])
                .map(|(row, &target)| kernels::cross_entropy(row, target, smoothing, scale))
                .collect();
            pass.losses.extend(results.iter().map(|r| r.0));
            pass.exact.extend(results.iter().map(|r| r.1));
            if let Some(gradients) = gradients.as_deref_mut() {
                let d_logits = Matrix::new(logits, n, vocabulary);
                let mut left = work.products.left(d_logits);
                left.times(&mut d_rows[cells], Write::Replace, head.transposed());
                let d_head = &mut gradients[range.clone()];
                let (a, b) = if tied {
                    (d_logits, rows)
                } else {
                    (rows, d_logits)
                };
                let mut left = work.products.left(a.transposed());
                left.times(d_head, Write::Add, b);
            }
        }
    }

    /// Adds `scale` times the gradient of the summed loss to `gradients`, and leaves the losses in `pass`.
    pub(super) fn backward(
        &self,
        weights: &[f32],
        gradients: &mut [f32],
        pass: &mut Pass,
        work: &mut Workspace,
        scale: f32,
    ) {
        self.head_pass(weights, Some(gradients), pass, work, scale);
        let (n, rows, hidden) = (pass.tokens.len(), pass.loss_rows.len(), self.hidden);
        let d_rows = sized(&mut work.d_rows, n * hidden);
        d_rows.fill(0.0);
        let (gamma, d_gamma) = (
            &weights[self.norm.clone()],
            &mut gradients[self.norm.clone()],
        );
        let (d_normed, last) = (
            &work.d_head_rows[..rows * hidden],
            &work.last[..rows * hidden],
        );
        kernels::rms_norm_backward(
            &mut d_rows[..rows * hidden],
            d_gamma,
            d_normed,
            last,
            &work.last_scales[..rows],
            gamma,
        );
        for number in (0..self.layers.len()).rev() {
            self.mlp_backward(
                number,
                weights,
                gradients,
                self.mlp_rows(number, pass),
                work,
            );
            if number + 1 == self.layers.len() {
                scatter(&mut work.d_rows[..n * hidden], &pass.loss_rows, hidden);
            }
            self.attention_backward(number, weights, gradients, pass, work);
        }
        let table = &mut gradients[self.embedding.clone()];
        for (row, &token) in work.d_rows.chunks_exact(hidden).zip(&pass.tokens) {
            kernels::add(&mut table[token as usize * hidden..][..hidden], row);
        }
    }

    /// Takes the gradient in `work.d_rows` back through the gated part of a layer.
    fn mlp_backward(
        &self,
        number: usize,
        weights: &[f32],
        gradients: &mut [f32],
        n: usize,
        work: &mut Workspace,
    ) {
        let layer = &self.layers[number];
        let saved = &mut work.layers[number];
        let (hidden, wide) = (self.hidden, self.intermediate);
        let d_rows = &mut work.d_rows[..n * hidden];
        let (gate, up) = (&mut saved.gate[..n * wide], &mut saved.up[..n * wide]);
        let gamma = &weights[layer.mlp_norm.clone()];
        let (middle, scales) = (&saved.middle[..n * hidden], &saved.middle_scales[..n]);

        let d_product = sized(&mut work.d_product, n * wide);
        let product = sized(&mut work.product, n * wide);
        let incoming = Matrix::new(d_rows, n, hidden);
        let down = Matrix::new(&weights[layer.down.clone()], wide, hidden);
        let mut left = work.products.left(incoming);
        left.times(d_product, Write::Replace, down.transposed());
        kernels::gated_backward(product, gate, up, d_product);
        let product = Matrix::new(product, n, wide).transposed();
        let mut left = work.products.left(product);
        left.times(&mut gradients[layer.down.clone()], Write::Add, incoming);

        let normed = sized(&mut work.normed, n * hidden);
        kernels::rms_norm_again(normed, scales, middle, gamma);
        let rows = Matrix::new(normed, n, hidden).transposed();
        let (d_gate, d_up) = (Matrix::new(gate, n, wide), Matrix::new(up, n, wide));
        let d_normed = sized(&mut work.d_normed, n * hidden);
        let mut left = work.products.left(rows);
        left.times(&mut gradients[layer.gate.clone()], Write::Add, d_gate);
        left.times(&mut gradients[layer.up.clone()], Write::Add, d_up);
        for (gradient, range, write) in [
            (d_gate, &layer.gate, Write::Replace),
            (d_up, &layer.up, Write::Add),
        ] {
            let weights = Matrix::new(&weights[range.clone()], hidden, wide);
            let mut left = work.products.left(gradient);
            left.times(d_normed, write, weights.transposed());
        }
        kernels::rms_norm_backward(
            d_rows,
            &mut gradients[layer.mlp_norm.clone()],
            d_normed,
            middle,
            scales,
            gamma,
        );
    }

    /// Takes the gradient in `work.d_rows` back through the attention part of a layer.
    fn attention_backward(
        &self,
        number: usize,
        weights: &[f32],
        gradients: &mut [f32],
        pass: &Pass,
        work: &mut Workspace,
    ) {
        let layer = &self.layers[number];
        let saved = &work.layers[number];
        let (n, hidden) = (pass.tokens.len(), self.hidden);
        let (query_width, key_width) = (self.heads.query_width(), self.heads.key_width());
        let d_rows = &mut work.d_rows[..n * hidden];
        let gamma = &weights[layer.attention_norm.clone()];
        let (input, scales) = (&saved.input[..n * hidden], &saved.input_scales[..n]);

        let attended = Matrix::new(&saved.attended[..n * query_width], n, query_width);
        let incoming = Matrix::new(d_rows, n, hidden);
        let d_attended = sized(&mut work.d_attended, n * query_width);
        let mut left = work.products.left(attended.transposed());
        left.times(&mut gradients[layer.output.clone()], Write::Add, incoming);
        let output = Matrix::new(&weights[layer.output.clone()], query_width, hidden);
        let mut left = work.products.left(incoming);
        left.times(d_attended, Write::Replace, output.transposed());
        let d_query = sized(&mut work.d_query, n * query_width);
        let d_key = sized(&mut work.d_key, n * key_width);
        let d_value = sized(&mut work.d_value, n * key_width);
        let from = attention::Backward {
            d_out: d_attended,
            probabilities: &saved.probabilities,
            q: &saved.query,
            k: &saved.key,
            v: &saved.value,
        };
        attention::backward(d_query, d_key, d_value, &from, &pass.lengths, self.heads);
        self.rotate(d_query, query_width, pass, Turn::Back);
        self.rotate(d_key, key_width, pass, Turn::Back);

        let normed = sized(&mut work.normed, n * hidden);
        kernels::rms_norm_again(normed, scales, input, gamma);
        let rows = Matrix::new(normed, n, hidden).transposed();
        let d_normed = sized(&mut work.d_normed, n * hidden);
        let parts = [
            (&layer.query, &*d_query, query_width),
            (&layer.key, &*d_key, key_width),
            (&layer.value, &*d_value, key_width),
        ];
        let mut left = work.products.left(rows);
        for (range, gradient, width) in parts {
            let gradient = Matrix::new(gradient, n, width);
            left.times(&mut gradients[range.clone()], Write::Add, gradient);
        }
        for (i, (range, gradient, width)) in parts.into_iter().enumerate() {
            let write = if i == 0 { Write::Replace } else { Write::Add };
            let weights = Matrix::new(&weights[range.clone()], hidden, width);
            let mut left = work.products.left(Matrix::new(gradient, n, width));
            left.times(d_normed, write, weights.transposed());
        }
        kernels::rms_norm_backward(
            d_rows,
            &mut gradients[layer.attention_norm.clone()],
            d_normed,
            input,
            scales,
            gamma,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_undoes_gather() {
        let mut rows: Vec<f32> = (0..12).map(|i| i as f32).collect();
        for chosen in [vec![0, 1], vec![1, 4, 5], vec![5], vec![0, 1, 2, 3, 4, 5]] {
            let mut moved = rows.clone();
            gather(&mut moved, &chosen, 2);
            scatter(&mut moved, &chosen, 2);
            for row in 0..6 {
                let expected = if chosen.contains(&row) {
                    [rows[2 * row], rows[2 * row + 1]]
                } else {
                    [0.0; 2]
                };
                assert_eq!(
                    moved[2 * row..2 * row + 2],
                    expected,
                    "{chosen:?} row {row}"
                );
            }
        }
        rows.clear();
        scatter(&mut rows, &[], 2);
    }
}
