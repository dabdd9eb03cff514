//! The engine for every device: burn's autodiff over packed rows.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use syncabel_model::{Llama, LlamaConfig, Packing, Rope};

use super::params::{self, ParamSpec};
use super::{AdamStep, Engine, EngineOptions, Moments, Score};
use crate::Error;
use crate::encode::Encoded;
use crate::packing::{Rows, Slot, pack};

/// Training through burn's autodiff.
pub(crate) struct BurnEngine {
    /// On an autodiff device.
    model: Llama,
    rope: Rope,
    plain_rope: Rope,
    specs: Vec<ParamSpec>,
    /// Flat, one a parameter; `None` before the first backward pass of a step.
    gradients: Vec<Option<Tensor<1>>>,
    /// Flat first and second moments; `None` means zero.
    moments: Vec<Option<[Tensor<1>; 2]>>,
    options: EngineOptions,
}

impl BurnEngine {
    pub(crate) fn new(model: Llama, config: &LlamaConfig, options: EngineOptions) -> Self {
        let device = model.device().inner();
        let rope = |device: &Device| Rope::new(config, options.max_length, device);
        let (rope, plain_rope) = (rope(&device.clone().autodiff()), rope(&device));
        let model = model.map(&mut ToAutodiff);
        let specs = params::specs(&model);
        let (gradients, moments) = (vec![None; specs.len()], vec![None; specs.len()]);
        Self {
            model,
            rope,
            plain_rope,
            specs,
            gradients,
            moments,
            options,
        }
    }

    /// Cuts packed rows into pieces that go through the model at once.
    fn pieces(&self, batch: &[&Encoded]) -> Vec<Rows> {
        let lengths: Vec<usize> = batch.iter().map(|e| e.input_len()).collect();
        let layout: Vec<Vec<Slot>> = pack(&lengths, self.options.max_length);
        let length = Rows::new(batch, &layout).length.max(1);
        let rows = (self.options.micro_batch_tokens / length).max(1);
        layout
            .chunks(rows)
            .map(|part| Rows::new(batch, part))
            .collect()
    }

    /// Log-probabilities at the positions that have loss.
    ///
    /// # Shapes
    /// - output: `[loss positions, vocabulary]`
    fn log_probabilities(model: &Llama, rope: &Rope, piece: &Rows, device: &Device) -> Tensor<2> {
        let segments: Vec<Vec<u32>> = piece
            .segments
            .chunks(piece.length)
            .map(<[u32]>::to_vec)
            .collect();
        let packing = Packing::from_segments(&segments, device);
        let ids = ints(&piece.tokens, device).reshape([piece.rows, piece.length]);
        let hidden = model.hidden(ids, rope, Some(&packing));
        let [batch, time, width] = hidden.dims();
        let rows = hidden
            .reshape([batch * time, width])
            .select(0, ints(&piece.loss_positions, device));
        log_softmax(model.logits(rows), 1)
    }

    /// Loss of each position: cross-entropy against a target that label smoothing has blurred.
    ///
    /// # Shapes
    /// - log_probabilities: `[loss positions, vocabulary]`
    /// - output: `[loss positions]`
    fn losses(&self, log_probabilities: Tensor<2>, piece: &Rows, device: &Device) -> Tensor<1> {
        let count = piece.targets.len();
        let targets = ints(&piece.targets, device).reshape([count, 1]);
        let right = log_probabilities
            .clone()
            .gather(1, targets)
            .reshape([count])
            .neg();
        let smoothing = self.options.label_smoothing;
        if smoothing == 0.0 {
            return right;
        }
        let even = log_probabilities.mean_dim(1).reshape([count]).neg();
        right.mul_scalar(1.0 - smoothing) + even.mul_scalar(smoothing)
    }
}

impl Engine for BurnEngine {
    fn accumulate(&mut self, batch: &[&Encoded], scale: f64) -> Result<f64, Error> {
        let device = self.model.device();
        let mut total = 0.0;
        for piece in self.pieces(batch) {
            let log_probabilities =
                Self::log_probabilities(&self.model, &self.rope, &piece, &device);
            let loss = self.losses(log_probabilities, &piece, &device).sum();
            total += f64::from(scalar(loss.clone().inner())?);
            let gradients = loss.mul_scalar(scale).backward();
            let gradients = GradientsParams::from_grads(gradients, &self.model);
            self.model.visit(&mut AddGradients {
                new: gradients,
                sums: &mut self.gradients,
                index: 0,
            });
        }
        Ok(total)
    }

    fn update(&mut self, step: &AdamStep) -> Result<f64, Error> {
        let squares: Vec<Tensor<1>> = self
            .gradients
            .iter()
            .flatten()
            .map(|g| (g.clone() * g.clone()).sum())
            .collect();
        let squares = if squares.is_empty() {
            Vec::new()
        } else {
            vector(Tensor::cat(squares, 0))?
        };
        let norm = squares.iter().map(|&s| f64::from(s)).sum::<f64>().sqrt();
        let mut apply = ApplyAdam {
            step,
            clip: step.clip(norm),
            gradients: &mut self.gradients,
            moments: &mut self.moments,
            index: 0,
        };
        self.model = self.model.clone().map(&mut apply);
        Ok(norm)
    }

    fn score(&mut self, batch: &[&Encoded]) -> Result<Vec<Score>, Error> {
        let model = self.model.valid();
        let device = model.device();
        let mut scores: Vec<Score> = batch
            .iter()
            .map(|example| Score {
                loss: 0.0,
                loss_tokens: example.loss_tokens(),
                exact: true,
            })
            .collect();
        for piece in self.pieces(batch) {
            let log_probabilities =
                Self::log_probabilities(&model, &self.plain_rope, &piece, &device);
            let count = piece.targets.len();
            let best = log_probabilities.clone().argmax(1).reshape([count]);
            let best = best
                .try_into_vec_as::<i64>()
                .map_err(|e| backend("read predictions", e))?;
            let losses = vector(self.losses(log_probabilities, &piece, &device))?;
            for (i, &owner) in piece.owners.iter().enumerate() {
                let score = &mut scores[owner as usize];
                score.loss += f64::from(losses[i]);
                score.exact &= best[i] == i64::from(piece.targets[i]);
            }
        }
        Ok(scores)
    }

    fn model(&self) -> Result<Llama, Error> {
        Ok(self.model.valid())
    }

    fn moments(&self) -> Result<Moments, Error> {
        let mut moments = Moments {
            first: Vec::new(),
            second: Vec::new(),
        };
        for (spec, pair) in self.specs.iter().zip(&self.moments) {
            match pair {
                Some([first, second]) => {
                    moments.first.extend(vector(first.clone())?);
                    moments.second.extend(vector(second.clone())?);
                }
                None => {
                    moments.first.resize(spec.range().end, 0.0);
                    moments.second.resize(spec.range().end, 0.0);
                }
            }
        }
        Ok(moments)
    }

    fn restore(&mut self, model: Llama, moments: Moments) -> Result<(), Error> {
        self.model = params::unflatten(self.model.clone(), &self.specs, &params::flatten(&model)?);
        let device = self.model.device().inner();
        for (spec, pair) in self.specs.iter().zip(&mut self.moments) {
            let load = |values: &[f32]| Tensor::<1>::from_floats(&values[spec.range()], &device);
            *pair = Some([load(&moments.first), load(&moments.second)]);
        }
        self.gradients.fill(None);
        Ok(())
    }

    fn reset_moments(&mut self) {
        self.moments.fill(None);
    }

    #[cfg(test)]
    fn gradients(&self) -> Vec<f32> {
        let read = |gradient: &Option<Tensor<1>>| vector(gradient.clone().unwrap()).unwrap();
        self.gradients.iter().flat_map(read).collect()
    }
}

fn ints(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn vector(tensor: Tensor<1>) -> Result<Vec<f32>, Error> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| backend("read a result", error))
}

fn scalar(tensor: Tensor<1>) -> Result<f32, Error> {
    Ok(vector(tensor)?[0])
}

fn backend(action: &'static str, error: impl std::fmt::Display) -> Error {
    Error::Backend {
        action,
        message: error.to_string(),
    }
}

/// Moves parameters to the autodiff side of their device and asks for gradients of all of them.
struct ToAutodiff;

impl ModuleMapper for ToAutodiff {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = param.val();
        let value = if value.is_autodiff() {
            value.inner()
        } else {
            value
        };
        Param::initialized(param.id, Tensor::from_inner(value).require_grad())
    }
}

struct AddGradients<'g> {
    new: GradientsParams,
    sums: &'g mut [Option<Tensor<1>>],
    index: usize,
}

impl ModuleVisitor for AddGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let sum = &mut self.sums[self.index];
        self.index += 1;
        let Some(new) = self.new.remove::<D>(param.id) else {
            return;
        };
        let new = new.reshape([param.lazy_shape().num_elements()]);
        *sum = Some(match sum.take() {
            Some(old) => old + new,
            None => new,
        });
    }
}

struct ApplyAdam<'a> {
    step: &'a AdamStep,
    clip: f64,
    gradients: &'a mut [Option<Tensor<1>>],
    moments: &'a mut [Option<[Tensor<1>; 2]>],
    index: usize,
}

impl ModuleMapper for ApplyAdam<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let index = self.index;
        self.index += 1;
        let Some(gradient) = self.gradients[index].take() else {
            return param;
        };
        let gradient = gradient.mul_scalar(self.clip);
        let [beta_1, beta_2] = self.step.betas;
        let first = gradient.clone().mul_scalar(1.0 - beta_1);
        let second = (gradient.clone() * gradient).mul_scalar(1.0 - beta_2);
        let [first, second] = match self.moments[index].take() {
            Some([old_first, old_second]) => [
                old_first.mul_scalar(beta_1) + first,
                old_second.mul_scalar(beta_2) + second,
            ],
            None => [first, second],
        };
        let (size, root_correction) = self.step.corrections();
        let denominator = second
            .clone()
            .sqrt()
            .div_scalar(root_correction)
            .add_scalar(self.step.eps);
        let delta = (first.clone() / denominator).mul_scalar(size);
        self.moments[index] = Some([first, second]);

        let shape = param.lazy_shape();
        let value = param.val().inner().mul_scalar(self.step.decay(D)) - delta.reshape(shape);
        Param::initialized(param.id, Tensor::from_inner(value).require_grad())
    }
}
