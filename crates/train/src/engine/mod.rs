//! Who computes losses and gradients and applies updates.
//!
//! Two engines do the same arithmetic: [`burn`] on any device through autodiff, and [`fused`] by hand on the CPU. The
//! training loop knows only this trait; tests hold the two against each other.

pub(crate) mod burn;
pub(crate) mod params;

use syncabel_model::{Checkpoint, Llama, LlamaConfig};

use crate::Error;
use crate::config::EngineChoice;
use crate::encode::Encoded;

/// A model in training: weights, summed gradients, optimizer moments.
pub(crate) trait Engine {
    /// Runs a batch forward and backward; adds `scale` times the gradient of its summed loss to the gradients.
    /// Returns the summed loss, unscaled.
    fn accumulate(&mut self, batch: &[&Encoded], scale: f64) -> Result<f64, Error>;

    /// Clips, applies one AdamW step and clears the gradients. Returns the norm over all gradients before clipping.
    fn update(&mut self, step: &AdamStep) -> Result<f64, Error>;

    /// Teacher-forced scores of each example, without gradients.
    fn score(&mut self, batch: &[&Encoded]) -> Result<Vec<Score>, Error>;

    /// The current weights as a model without autodiff, on the device where training started.
    fn model(&self) -> Result<Llama, Error>;

    /// Both moments, every tensor in the order of [`params::specs`].
    fn moments(&self) -> Result<Moments, Error>;

    /// Takes weights and moments of a checkpoint over.
    fn restore(&mut self, model: Llama, moments: Moments) -> Result<(), Error>;

    /// Forgets the moments: a new phase begins.
    fn reset_moments(&mut self);
}

/// The numbers of one AdamW step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f64,
    /// Steps since the moments were zero, this one included.
    pub(crate) time: u64,
    /// 0 turns clipping off.
    pub(crate) max_grad_norm: f64,
}

impl AdamStep {
    /// What gradients are multiplied with.
    pub(crate) fn clip(&self, norm: f64) -> f64 {
        if self.max_grad_norm > 0.0 && norm > self.max_grad_norm {
            self.max_grad_norm / norm
        } else {
            1.0
        }
    }

    /// `(step size, root of the second moment's bias correction)`.
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let power = |beta: f64| beta.powi(i32::try_from(self.time).unwrap_or(i32::MAX));
        (
            self.learning_rate / (1.0 - power(self.betas[0])),
            (1.0 - power(self.betas[1])).sqrt(),
        )
    }

    /// What a tensor of this rank is multiplied with before the step: only matrices decay.
    pub(crate) fn decay(&self, rank: usize) -> f64 {
        if rank >= 2 {
            1.0 - self.learning_rate * self.weight_decay
        } else {
            1.0
        }
    }
}

/// AdamW's running averages, all tensors flat, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// How well one example is predicted when the right tokens so far are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    /// Summed over the completion.
    pub(crate) loss: f64,
    pub(crate) loss_tokens: usize,
    /// Whether every arg-max token is right.
    pub(crate) exact: bool,
}

/// What both engines need to know beside the model.
#[derive(Debug, Clone)]
pub(crate) struct EngineOptions {
    pub(crate) label_smoothing: f64,
    pub(crate) max_length: usize,
    pub(crate) micro_batch_tokens: usize,
}

/// Settles which engine trains this model: `burn` or `fused`.
pub(crate) fn choose(
    choice: EngineChoice,
    _checkpoint: &Checkpoint,
) -> Result<&'static str, Error> {
    match choice {
        EngineChoice::Auto | EngineChoice::Burn => Ok("burn"),
        EngineChoice::Fused => Err(Error::EngineUnsupported {
            reason: "it is not built".to_owned(),
        }),
    }
}

/// Builds the engine of that name.
pub(crate) fn build(
    _name: &str,
    model: Llama,
    config: &LlamaConfig,
    options: EngineOptions,
) -> Result<Box<dyn Engine>, Error> {
    Ok(Box::new(burn::BurnEngine::new(model, config, options)))
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// Examples with pseudo-random tokens, for comparing engines.
    pub(crate) fn examples(shapes: &[(usize, usize)], vocabulary: u32) -> Vec<Encoded> {
        let mut state = 12345u64;
        let mut token = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % u64::from(vocabulary)) as u32
        };
        shapes
            .iter()
            .map(|&(length, completion)| Encoded {
                tokens: (0..length).map(|_| token()).collect(),
                completion_start: length - completion,
            })
            .collect()
    }
}
