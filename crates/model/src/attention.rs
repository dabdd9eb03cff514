//! Grouped-query attention without repeating keys and values.
//!
//! All queries that share a key head are stacked as rows of one matrix: the heads of its group
//! and, in decoding, the beams of a mention too. One product per (batch, key head) replaces one
//! per query head, which on the CPU makes the matrices large enough to be worth a kernel.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

/// Added to the score of what must not be seen. Finite, so that a row that sees nothing (there is
/// none in normal use) gives numbers, and far enough below any score to vanish in the softmax.
pub(crate) const HIDDEN: f32 = -1e9;

/// Attention of stacked queries over shared keys and values.
///
/// # Shapes
/// - query: `[batch, key_heads, outer, inner, head_dim]`; (outer, inner) is (query heads of the
///   group, time) in training and (beams, query heads of the group) in decoding
/// - key, value: `[batch, key_heads, keys, head_dim]`
/// - bias: broadcasts to `[batch, key_heads, outer, inner, keys]`
/// - output: as query
pub(crate) fn grouped(
    query: Tensor<5>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Tensor<5>,
) -> Tensor<5> {
    let [batch, key_heads, outer, inner, head_dim] = query.dims();
    let keys = key.dims()[2];
    let rows = outer * inner;
    let query = query
        .reshape([batch, key_heads, rows, head_dim])
        .mul_scalar(1.0 / (head_dim as f64).sqrt());
    // An additive bias costs no saved mask in the backward pass, unlike `mask_fill`.
    // Shares are computed in the bias's float32 whatever the weights are kept in, as transformers does.
    let dtype = value.dtype();
    let scores = query
        .matmul(key.swap_dims(2, 3))
        .reshape([batch, key_heads, outer, inner, keys])
        .cast(bias.dtype())
        + bias;
    let weights = softmax(scores.reshape([batch, key_heads, rows, keys]), 3);
    weights
        .cast(dtype)
        .matmul(value)
        .reshape([batch, key_heads, outer, inner, head_dim])
}

/// The bias of plain causal attention.
///
/// # Shapes
/// - output: `[1, 1, 1, time, time]`
pub(crate) fn causal_bias(time: usize, device: &Device) -> Tensor<5> {
    let mut bias = vec![0.0; time * time];
    for (t, row) in bias.chunks_exact_mut(time.max(1)).enumerate() {
        row[t + 1..].fill(HIDDEN);
    }
    Tensor::from_data(TensorData::new(bias, [1, 1, 1, time, time]), device)
}
