//! Everything that is not a matrix product: norms, rotary positions, gating, softmax, cross-entropy.
//!
//! Each kernel works on whole rows and spreads blocks of rows over threads. Where rows are summed up (gradients of
//! norms), blocks have a fixed size and are added in order, so the number of threads does not change the result.

use rayon::prelude::*;

use crate::simd::{exp, max, sum};
use crate::{multiversion, team};

/// Rows that one task takes.
const BLOCK_ROWS: usize = 32;

/// Rows that one task takes where a pass may have few.
const FEW_ROWS: usize = 8;

/// Numbers that one task of an elementwise kernel takes.
const BLOCK_NUMBERS: usize = 1 << 14;

/// `out[r] = x[r] / rms(x[r]) * gamma`; `scales[r]` keeps `1 / rms`.
pub fn rms_norm(out: &mut [f32], scales: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) {
    let block = FEW_ROWS * gamma.len();
    let parts = out
        .chunks_mut(block)
        .zip(scales.chunks_mut(FEW_ROWS))
        .zip(x.chunks(block));
    team::for_each_part(parts, |((out, scales), x)| {
        rms_norm_rows(out, scales, x, gamma, eps)
    });
}

/// [`rms_norm`] with the scales known already.
pub fn rms_norm_again(out: &mut [f32], scales: &[f32], x: &[f32], gamma: &[f32]) {
    let block = BLOCK_ROWS * gamma.len();
    out.par_chunks_mut(block)
        .zip(scales.par_chunks(BLOCK_ROWS))
        .zip(x.par_chunks(block))
        .for_each(|((out, scales), x)| rms_norm_again_rows(out, scales, x, gamma));
}

/// Adds the gradient through [`rms_norm`] to `dx`, and that of gamma to `dgamma`.
pub fn rms_norm_backward(
    dx: &mut [f32],
    dgamma: &mut [f32],
    dy: &[f32],
    x: &[f32],
    scales: &[f32],
    gamma: &[f32],
) {
    let width = gamma.len();
    let block = BLOCK_ROWS * width;
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(block)
        .zip(dy.par_chunks(block))
        .zip(x.par_chunks(block))
        .zip(scales.par_chunks(BLOCK_ROWS))
        .map(|(((dx, dy), x), scales)| {
            let mut part = vec![0.0; width];
            rms_norm_backward_rows(dx, &mut part, dy, x, scales, gamma);
            part
        })
        .collect();
    for part in parts {
        dgamma
            .iter_mut()
            .zip(part)
            .for_each(|(sum, value)| *sum += value);
    }
}

/// Which way [`rotate`] turns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// To the positions.
    Forward,
    /// The transpose of a rotation: what a gradient goes through.
    Back,
}

/// Turns every head of every row to its position, first half against second half.
pub fn rotate(
    x: &mut [f32],
    width: usize,
    positions: &[u32],
    cos: &[f32],
    sin: &[f32],
    half: usize,
    turn: Turn,
) {
    rotate_first(x, width, width, positions, cos, sin, half, turn);
}

/// [`rotate`] for the heads in the first `turned` columns of rows of `width` numbers.
#[allow(clippy::too_many_arguments)]
pub fn rotate_first(
    x: &mut [f32],
    width: usize,
    turned: usize,
    positions: &[u32],
    cos: &[f32],
    sin: &[f32],
    half: usize,
    turn: Turn,
) {
    let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
    let parts = x
        .chunks_mut(FEW_ROWS * width)
        .zip(positions.chunks(FEW_ROWS));
    team::for_each_part(parts, |(x, positions)| {
        rotate_rows(x, width, turned, positions, cos, sin, half, sign)
    });
}

/// `out = silu(gate) * up`.
pub fn gated(out: &mut [f32], gate: &[f32], up: &[f32]) {
    out.par_chunks_mut(BLOCK_NUMBERS)
        .zip(gate.par_chunks(BLOCK_NUMBERS))
        .zip(up.par_chunks(BLOCK_NUMBERS))
        .for_each(|((out, gate), up)| gated_numbers(out, gate, up));
}

/// `out = silu(gate) * up`, where each row of `gate_up` is a row of gates and one of ups, `width` numbers each.
pub fn gated_halves(out: &mut [f32], gate_up: &[f32], width: usize) {
    let rows = out.chunks_mut(width).zip(gate_up.chunks(2 * width));
    team::for_each_part(rows, |(out, gate_up)| {
        let (gate, up) = gate_up.split_at(width);
        gated_numbers(out, gate, up);
    });
}

/// Replaces gate and up by their gradients, given that of their product; writes the product again.
pub fn gated_backward(product: &mut [f32], gate: &mut [f32], up: &mut [f32], gradient: &[f32]) {
    product
        .par_chunks_mut(BLOCK_NUMBERS)
        .zip(gate.par_chunks_mut(BLOCK_NUMBERS))
        .zip(up.par_chunks_mut(BLOCK_NUMBERS))
        .zip(gradient.par_chunks(BLOCK_NUMBERS))
        .for_each(|(((product, gate), up), gradient)| {
            gated_backward_numbers(product, gate, up, gradient)
        });
}

/// Cross-entropy of one row of logits, which are replaced by their gradient times `scale`.
/// Returns the loss, and whether the target is the arg-max (the first of equals).
pub fn cross_entropy(logits: &mut [f32], target: usize, smoothing: f32, scale: f32) -> (f64, bool) {
    let largest = max(logits);
    let exact = logits.iter().position(|&l| l == largest) == Some(target);
    let at_target = logits[target];
    let (total, mean) = exponentials(logits, largest);
    let log_total = f64::from(largest) + f64::from(total).ln();
    let loss = f64::from(1.0 - smoothing) * (log_total - f64::from(at_target))
        + f64::from(smoothing) * (log_total - f64::from(mean));
    scaled_minus(
        logits,
        scale / total,
        scale * smoothing / logits.len() as f32,
    );
    logits[target] -= scale * (1.0 - smoothing);
    (loss, exact)
}

/// Softmax over the first `row + 1` numbers of each row; the rest becomes 0.
pub fn causal_softmax(scores: &mut [f32], width: usize) {
    causal_softmax_rows(scores, width);
}

/// Replaces the gradient of the probabilities by that of the scores, times `scale`.
pub fn causal_softmax_backward(
    gradient: &mut [f32],
    probabilities: &[f32],
    width: usize,
    scale: f32,
) {
    causal_softmax_backward_rows(gradient, probabilities, width, scale);
}

/// `x[i] += y[i]`.
pub fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

multiversion! {
    fn rms_norm_rows(out: &mut [f32], scales: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) {
        let width = gamma.len();
        for ((out, x), scale) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales) {
            *scale = 1.0 / (sum([x], |[x]| x * x) / width as f32 + eps).sqrt();
            for i in 0..width {
                out[i] = x[i] * *scale * gamma[i];
            }
        }
    }

    fn rms_norm_again_rows(out: &mut [f32], scales: &[f32], x: &[f32], gamma: &[f32]) {
        let width = gamma.len();
        for ((out, x), scale) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales) {
            for i in 0..width {
                out[i] = x[i] * *scale * gamma[i];
            }
        }
    }

    fn rms_norm_backward_rows(dx: &mut [f32], dgamma: &mut [f32], dy: &[f32], x: &[f32], scales: &[f32], gamma: &[f32]) {
        let width = gamma.len();
        let dgamma = &mut dgamma[..width];
        for (((dx, dy), x), &scale) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width)).zip(scales) {
            let along = sum([dy, gamma, x], |[dy, gamma, x]| dy * gamma * x) * scale * scale * scale / width as f32;
            for i in 0..width {
                dx[i] += scale * gamma[i] * dy[i] - along * x[i];
                dgamma[i] += dy[i] * x[i] * scale;
            }
        }
    }

    fn rotate_rows(x: &mut [f32], width: usize, turned: usize, positions: &[u32], cos: &[f32], sin: &[f32], half: usize, sign: f32) {
        for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
            let at = position as usize * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in row[..turned].chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for i in 0..half {
                    let (a, b) = (first[i], second[i]);
                    first[i] = a * cos[i] - sign * b * sin[i];
                    second[i] = b * cos[i] + sign * a * sin[i];
                }
            }
        }
    }

    fn gated_numbers(out: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }

    fn gated_backward_numbers(product: &mut [f32], gate: &mut [f32], up: &mut [f32], gradient: &[f32]) {
        for (((product, gate), up), gradient) in product.iter_mut().zip(gate).zip(up).zip(gradient) {
            let sigmoid = 1.0 / (1.0 + exp(-*gate));
            let silu = *gate * sigmoid;
            *product = silu * *up;
            let d_silu = sigmoid + silu * (1.0 - sigmoid);
            *gate = gradient * *up * d_silu;
            *up = gradient * silu;
        }
    }

    /// Replaces a row by `exp(x - largest)`; returns their sum and the mean of the row before.
    fn exponentials(row: &mut [f32], largest: f32) -> (f32, f32) {
        let len = row.len();
        let mean = sum([row], |[x]| x) / len as f32;
        for x in row.iter_mut() {
            *x = exp(*x - largest);
        }
        (sum([row], |[x]| x), mean)
    }

    fn scaled_minus(row: &mut [f32], factor: f32, minus: f32) {
        for x in row {
            *x = *x * factor - minus;
        }
    }

    fn causal_softmax_rows(scores: &mut [f32], width: usize) {
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let (seen, future) = scores.split_at_mut(row + 1);
            future.fill(0.0);
            let largest = max(seen);
            for x in seen.iter_mut() {
                *x = exp(*x - largest);
            }
            let total = 1.0 / sum([seen], |[x]| x);
            for x in seen {
                *x *= total;
            }
        }
    }

    fn causal_softmax_backward_rows(gradient: &mut [f32], probabilities: &[f32], width: usize, scale: f32) {
        for (gradient, p) in gradient.chunks_exact_mut(width).zip(probabilities.chunks_exact(width)) {
            // Future cells have probability 0, so they need no case of their own.
            let along = sum([gradient, p], |[g, p]| g * p);
            for i in 0..width {
                gradient[i] = p[i] * (gradient[i] - along) * scale;
            }
        }
    }
}
