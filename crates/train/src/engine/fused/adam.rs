//! The optimizer's pass over all numbers.

use rayon::prelude::*;
use syncabel_kernels::multiversion;
use syncabel_kernels::simd::sum;

use crate::engine::AdamStep;

/// Numbers that one task takes.
const BLOCK_NUMBERS: usize = 1 << 16;

/// Squared norm of all numbers.
pub(super) fn squared_norm(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x
        .par_chunks(BLOCK_NUMBERS)
        .map(|block| {
            block
                .chunks(1024)
                .map(|part| f64::from(squares(part)))
                .sum()
        })
        .collect();
    parts.iter().sum()
}

/// One AdamW step on a tensor; the gradient is set to 0.
pub(super) fn adam(
    weights: &mut [f32],
    gradient: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    step: &AdamStep,
    clip: f64,
    rank: usize,
) {
    let (size, root_correction) = step.corrections();
    let numbers = AdamNumbers {
        decay: step.decay(rank) as f32,
        clip: clip as f32,
        beta_1: step.betas[0] as f32,
        beta_2: step.betas[1] as f32,
        rest_1: (1.0 - step.betas[0]) as f32,
        rest_2: (1.0 - step.betas[1]) as f32,
        size: size as f32,
        inverse_root: (1.0 / root_correction) as f32,
        eps: step.eps as f32,
    };
    weights
        .par_chunks_mut(BLOCK_NUMBERS)
        .zip(gradient.par_chunks_mut(BLOCK_NUMBERS))
        .zip(first.par_chunks_mut(BLOCK_NUMBERS))
        .zip(second.par_chunks_mut(BLOCK_NUMBERS))
        .for_each(|(((weights, gradient), first), second)| {
            adam_numbers(weights, gradient, first, second, &numbers)
        });
}

/// An [`AdamStep`] in float32.
struct AdamNumbers {
    decay: f32,
    clip: f32,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32,
    rest_2: f32,
    size: f32,
    inverse_root: f32,
    eps: f32,
}

multiversion! {
    fn squares(x: &[f32]) -> f32 {
        sum([x], |[x]| x * x)
    }

    fn adam_numbers(weights: &mut [f32], gradient: &mut [f32], first: &mut [f32], second: &mut [f32], n: &AdamNumbers) {
        for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = *gradient * n.clip;
            *first = *first * n.beta_1 + g * n.rest_1;
            *second = *second * n.beta_2 + g * g * n.rest_2;
            *weight = *weight * n.decay - n.size * *first / (second.sqrt() * n.inverse_root + n.eps);
            *gradient = 0.0;
        }
    }
}
