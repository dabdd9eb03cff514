//! The CPU engine: Llama's forward and backward pass written out.
//!
//! Weights, gradients, moments and everything between matrix products are float32. With `precision: bf16` the factors of
//! the large products are rounded to bfloat16 when they are packed and summed in float32 (the usual mixed precision);
//! attention stays in float32.
//!
//! What it saves over autodiff on packed rows:
//! - examples of a batch lie one after the other with no padding, and attention looks only inside each of them;
//! - activations live in buffers that are allocated once, and cheap ones (norms, gating) are computed again in the
//!   backward pass instead of being kept;
//! - gradients add up inside the matrix products; the optimizer reads and writes every number once;
//! - softmax, SiLU and norms are vectorised and use all threads.
//!
//! # Memory
//! Weights, gradients and two moments are 16 bytes a parameter. A token in flight costs about
//! `4 * layers * (3 hidden + 2 query + 2 key + 2 intermediate + query heads * example length)` bytes: 0.8 MB at the shape
//! of SmolLM2-135M, so `micro_batch_tokens` of 1024 is 0.8 GB.

mod adam;
mod attention;
mod network;
mod product;

use syncabel_model::{Llama, LlamaConfig};

use self::network::{Network, Pass, Workspace};
use self::product::Products;
use super::params::{self, ParamSpec};
use super::{AdamStep, Engine, EngineOptions, Moments, Score};
use crate::Error;
use crate::encode::Encoded;

/// Training by hand-written passes.
pub(crate) struct FusedEngine {
    /// The module without its weights.
    hollow: Llama,
    specs: Vec<ParamSpec>,
    network: Network,
    weights: Vec<f32>,
    gradients: Vec<f32>,
    moments: Moments,
    workspace: Workspace,
    options: EngineOptions,
}

impl FusedEngine {
    pub(crate) fn new(
        model: Llama,
        config: &LlamaConfig,
        options: EngineOptions,
    ) -> Result<Self, Error> {
        let specs = params::specs(&model);
        let weights = params::flatten(&model)?;
        let zeros = || vec![0.0; weights.len()];
        Ok(Self {
            hollow: params::hollow(model),
            network: Network::new(config, &specs, options.max_length)?,
            gradients: zeros(),
            moments: Moments {
                first: zeros(),
                second: zeros(),
            },
            specs,
            weights,
            workspace: Workspace::new(Products::new(options.precision)),
            options,
        })
    }

    /// Groups of examples of at most `micro_batch_tokens` tokens together, in order.
    fn pieces(&self, batch: &[&Encoded]) -> Vec<std::ops::Range<usize>> {
        let mut pieces: Vec<std::ops::Range<usize>> = Vec::new();
        let mut tokens = 0;
        for (i, example) in batch.iter().enumerate() {
            tokens += example.input_len();
            match pieces.last_mut() {
                Some(piece) if tokens <= self.options.micro_batch_tokens => piece.end = i + 1,
                _ => {
                    pieces.push(i..i + 1);
                    tokens = example.input_len();
                }
            }
        }
        pieces
    }
}

/// Runs `work` on a thread of the pool. Whoever starts a parallel loop from outside sleeps until it is done, which is two
/// context switches a loop, and a step has thousands of loops.
fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

impl Engine for FusedEngine {
    fn accumulate(&mut self, batch: &[&Encoded], scale: f64) -> Result<f64, Error> {
        let mut total = 0.0;
        for piece in self.pieces(batch) {
            let Self {
                network,
                weights,
                gradients,
                workspace,
                options,
                ..
            } = self;
            total += inside(|| {
                let mut pass = Pass::new(&batch[piece], options.label_smoothing as f32);
                network.forward(weights, &mut pass, workspace);
                network.backward(weights, gradients, &mut pass, workspace, scale as f32);
                pass.losses.iter().sum::<f64>()
            });
        }
        Ok(total)
    }

    fn update(&mut self, step: &AdamStep) -> Result<f64, Error> {
        let Self {
            specs,
            weights,
            gradients,
            moments,
            ..
        } = self;
        Ok(inside(|| {
            let norm = adam::squared_norm(gradients).sqrt();
            let clip = step.clip(norm);
            for spec in specs.iter() {
                let range = spec.range();
                adam::adam(
                    &mut weights[range.clone()],
                    &mut gradients[range.clone()],
                    &mut moments.first[range.clone()],
                    &mut moments.second[range],
                    step,
                    clip,
                    spec.shape.len(),
                );
            }
            norm
        }))
    }

    fn score(&mut self, batch: &[&Encoded]) -> Result<Vec<Score>, Error> {
        let mut scores = Vec::with_capacity(batch.len());
        for piece in self.pieces(batch) {
            let mut pass = Pass::new(&batch[piece.clone()], self.options.label_smoothing as f32);
            self.network
                .forward(&self.weights, &mut pass, &mut self.workspace);
            self.network
                .score(&self.weights, &mut pass, &mut self.workspace);
            let mut from = 0;
            for example in &batch[piece] {
                let to = from + example.loss_tokens();
                scores.push(Score {
                    loss: pass.losses[from..to].iter().sum(),
                    loss_tokens: to - from,
                    exact: pass.exact[from..to].iter().all(|&exact| exact),
                });
                from = to;
            }
        }
        Ok(scores)
    }

    fn model(&self) -> Result<Llama, Error> {
        Ok(params::unflatten(
            self.hollow.clone(),
            &self.specs,
            &self.weights,
        ))
    }

    fn moments(&self) -> Result<Moments, Error> {
        Ok(self.moments.clone())
    }

    fn restore(&mut self, model: Llama, moments: Moments) -> Result<(), Error> {
        self.weights = params::flatten(&model)?;
        self.moments = moments;
        self.gradients.fill(0.0);
        Ok(())
    }

    fn reset_moments(&mut self) {
        self.moments.first.fill(0.0);
        self.moments.second.fill(0.0);
    }

    #[cfg(test)]
    fn gradients(&self) -> Vec<f32> {
        self.gradients.clone()
    }
}
