//! Who computes losses and gradients and applies updates.
//!
//! Two engines do the same arithmetic: [`burn`] on any device through autodiff, and [`fused`] by hand on the CPU. The
//! training loop knows only this trait; tests hold the two against each other.

pub(crate) mod burn;
pub(crate) mod fused;
pub(crate) mod params;

use syncabel_model::{Checkpoint, Llama, LlamaConfig};

use crate::Error;
use crate::config::{EngineChoice, Precision};
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

    /// The summed gradients, flat.
    #[cfg(test)]
    fn gradients(&self) -> Vec<f32>;
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
    pub(crate) precision: Precision,
}

/// Settles which engine trains this model: `burn` or `fused`.
pub(crate) fn choose(
    choice: EngineChoice,
    precision: Precision,
    checkpoint: &Checkpoint,
) -> Result<&'static str, Error> {
    let engine = by_device(choice, checkpoint)?;
    if precision == Precision::Bf16 && engine != "fused" {
        return Err(Error::Config {
            key: "precision",
            value: "bf16".to_owned(),
            expected: "f32 with the engine `burn`: only the engine `fused` (device `flex`) keeps float32 weights beside bf16 products",
        });
    }
    Ok(engine)
}

fn by_device(choice: EngineChoice, checkpoint: &Checkpoint) -> Result<&'static str, Error> {
    let device = format!("{:?}", checkpoint.model.device());
    // The portable backend keeps tensors in main memory, so taking the weights over costs a copy and nothing more.
    let on_cpu = device.contains("Flex");
    match choice {
        EngineChoice::Burn => Ok("burn"),
        EngineChoice::Auto if !on_cpu => Ok("burn"),
        EngineChoice::Auto => Ok("fused"),
        EngineChoice::Fused if on_cpu => Ok("fused"),
        EngineChoice::Fused => Err(Error::EngineUnsupported {
            reason: format!("it runs on the device `flex`, not on {device}"),
        }),
    }
}

/// Builds the engine of that name.
pub(crate) fn build(
    name: &str,
    model: Llama,
    config: &LlamaConfig,
    options: EngineOptions,
) -> Result<Box<dyn Engine>, Error> {
    Ok(match name {
        "fused" => Box::new(fused::FusedEngine::new(model, config, options)?),
        _ => Box::new(burn::BurnEngine::new(model, config, options)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of (length, completion tokens) with pseudo-random tokens.
    fn examples(shapes: &[(usize, usize)]) -> Vec<Encoded> {
        let mut state = 12345u64;
        let mut token = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % 60) as u32
        };
        let encoded = |&(length, completion): &(usize, usize)| Encoded {
            tokens: (0..length).map(|_| token()).collect(),
            completion_start: length - completion,
        };
        shapes.iter().map(encoded).collect()
    }

    const SHAPES: [(usize, usize); 6] = [(9, 3), (5, 1), (30, 4), (2, 1), (17, 16), (12, 2)];

    fn shape(tied: bool) -> LlamaConfig {
        let mut config = LlamaConfig::new(64, 32, 48, 3, 4, 2);
        config.tie_word_embeddings = tied;
        config.initializer_range = 0.3;
        config
    }

    fn engine(
        name: &str,
        config: &LlamaConfig,
        change: impl Fn(&mut EngineOptions),
    ) -> Box<dyn Engine> {
        let device = syncabel_model::device("flex").unwrap();
        device.seed(7);
        let mut options = EngineOptions {
            label_smoothing: 0.0,
            max_length: 64,
            micro_batch_tokens: 1024,
            precision: Precision::F32,
        };
        change(&mut options);
        build(name, model_of(config, &device), config, options).unwrap()
    }

    /// Weights from a fixed sequence: the device's generator is shared between tests.
    fn model_of(config: &LlamaConfig, device: &::burn::tensor::Device) -> Llama {
        let model = config.init(device);
        let specs = params::specs(&model);
        let count: usize = specs.iter().map(params::ParamSpec::len).sum();
        let value = |i: usize| (((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5) * 0.6;
        params::unflatten(model, &specs, &(0..count).map(value).collect::<Vec<_>>())
    }

    fn loss_and_gradients(engine: &mut dyn Engine, batches: &[Vec<&Encoded>]) -> (f64, Vec<f32>) {
        let loss = batches
            .iter()
            .map(|batch| engine.accumulate(batch, 0.125).unwrap())
            .sum();
        (loss, engine.gradients())
    }

    fn assert_close(a: &(f64, Vec<f32>), b: &(f64, Vec<f32>), what: &str) {
        assert!(
            (a.0 - b.0).abs() < 1e-4 * a.0.abs(),
            "{what}: loss {} {}",
            a.0,
            b.0
        );
        let largest = a.1.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        assert!(largest > 1e-3, "{what}: gradients are there");
        assert_eq!(a.1.len(), b.1.len());
        for (i, (x, y)) in a.1.iter().zip(&b.1).enumerate() {
            assert!(
                (x - y).abs() < 2e-5 * largest,
                "{what}: gradient {i}: {x} {y}, largest {largest}"
            );
        }
    }

    #[test]
    fn packed_equals_unpacked() {
        let examples = examples(&SHAPES);
        let together = vec![examples.iter().collect::<Vec<_>>()];
        let apart: Vec<Vec<&Encoded>> = examples.iter().map(|e| vec![e]).collect();
        for name in ["burn", "fused"] {
            let config = shape(true);
            let alone = loss_and_gradients(&mut *engine(name, &config, |_| ()), &apart);
            let packed = loss_and_gradients(&mut *engine(name, &config, |_| ()), &together);
            assert_close(&alone, &packed, name);
            let small = |o: &mut EngineOptions| (o.max_length, o.micro_batch_tokens) = (32, 40);
            let pieces = loss_and_gradients(&mut *engine(name, &config, small), &together);
            assert_close(&alone, &pieces, name);
        }
    }

    #[test]
    fn fused_equals_autodiff() {
        let examples = examples(&SHAPES);
        let batch = vec![examples.iter().collect::<Vec<_>>()];
        for (tied, smoothing) in [(true, 0.0), (false, 0.0), (true, 0.1), (false, 0.3)] {
            let config = shape(tied);
            let smooth = |o: &mut EngineOptions| o.label_smoothing = smoothing;
            let burn = loss_and_gradients(&mut *engine("burn", &config, smooth), &batch);
            let fused = loss_and_gradients(&mut *engine("fused", &config, smooth), &batch);
            assert_close(
                &burn,
                &fused,
                &format!("tied {tied}, smoothing {smoothing}"),
            );
        }
    }

    /// Rounded factors have 8 bits: sums of products are off by some thousandths, and only where they were rounded.
    #[test]
    fn bf16_products_stay_near_float32() {
        let examples = examples(&SHAPES);
        let batch = vec![examples.iter().collect::<Vec<_>>()];
        for tied in [true, false] {
            let config = shape(tied);
            let single = loss_and_gradients(&mut *engine("fused", &config, |_| ()), &batch);
            let bf16 = |o: &mut EngineOptions| o.precision = Precision::Bf16;
            let rounded = loss_and_gradients(&mut *engine("fused", &config, bf16), &batch);
            assert!(
                (single.0 - rounded.0).abs() < 1e-2 * single.0,
                "{} {}",
                single.0,
                rounded.0
            );
            assert_ne!(single.0, rounded.0, "the products are rounded");
            let norm =
                |x: &mut dyn Iterator<Item = f32>| x.map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            let off = norm(&mut single.1.iter().zip(&rounded.1).map(|(a, b)| a - b));
            let whole = norm(&mut single.1.iter().copied());
            assert!(off < 0.02 * whole, "gradients differ by {off} of {whole}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let examples = examples(&SHAPES[..3]);
        let batch: Vec<&Encoded> = examples.iter().collect();
        let config = shape(false);
        let mut engine = engine("fused", &config, |_| ());
        engine.accumulate(&batch, 1.0).unwrap();
        let gradients = engine.gradients();
        let model = engine.model().unwrap();
        let (specs, weights) = (params::specs(&model), params::flatten(&model).unwrap());
        let zeros = Moments {
            first: vec![0.0; weights.len()],
            second: vec![0.0; weights.len()],
        };
        for spec in &specs {
            let at = spec.offset + spec.len() / 3;
            let mut loss = |delta: f32| {
                let mut moved = weights.clone();
                moved[at] += delta;
                engine
                    .restore(
                        params::unflatten(model.clone(), &specs, &moved),
                        zeros.clone(),
                    )
                    .unwrap();
                engine
                    .score(&batch)
                    .unwrap()
                    .iter()
                    .map(|s| s.loss)
                    .sum::<f64>()
            };
            let slope = (loss(4e-3) - loss(-4e-3)) / 8e-3;
            let gradient = f64::from(gradients[at]);
            assert!(
                (slope - gradient).abs() < 2e-2 * (1.0 + gradient.abs()),
                "{}: {slope} {gradient}",
                spec.name
            );
        }
    }

    #[test]
    fn engines_take_the_same_steps() {
        let examples = examples(&SHAPES);
        let batch: Vec<&Encoded> = examples.iter().collect();
        let config = shape(true);
        let mut ends = Vec::new();
        for name in ["burn", "fused"] {
            let mut engine = engine(name, &config, |_| ());
            let mut norms = Vec::new();
            for time in 1..=4 {
                engine.accumulate(&batch, 0.04).unwrap();
                let step = AdamStep {
                    learning_rate: 1e-3,
                    weight_decay: 0.1,
                    betas: [0.9, 0.99],
                    eps: 1e-6,
                    time,
                    max_grad_norm: 0.5,
                };
                norms.push(engine.update(&step).unwrap());
            }
            let scores = engine.score(&batch).unwrap();
            ends.push((
                norms,
                params::flatten(&engine.model().unwrap()).unwrap(),
                scores,
                engine.moments().unwrap(),
            ));
        }
        let [a, b] = &ends[..] else { unreachable!() };
        assert!(
            a.0.iter().zip(&b.0).all(|(x, y)| (x - y).abs() < 1e-3 * x),
            "{:?} {:?}",
            a.0,
            b.0
        );
        assert!(a.1.iter().zip(&b.1).all(|(x, y)| (x - y).abs() < 2e-4));
        assert!(
            a.2.iter()
                .zip(&b.2)
                .all(|(x, y)| (x.loss - y.loss).abs() < 1e-2 * x.loss && x.exact == y.exact)
        );
        assert!(
            a.3.first
                .iter()
                .zip(&b.3.first)
                .all(|(x, y)| (x - y).abs() < 1e-4)
        );
    }

    #[test]
    fn only_matrices_decay_and_only_long_gradients_are_clipped() {
        let step = AdamStep {
            learning_rate: 0.1,
            weight_decay: 0.5,
            betas: [0.9, 0.999],
            eps: 1e-8,
            time: 1,
            max_grad_norm: 2.0,
        };
        assert_eq!((step.decay(1), step.decay(2)), (1.0, 0.95));
        assert_eq!((step.clip(1.0), step.clip(4.0)), (1.0, 0.5));
        assert_eq!(
            AdamStep {
                max_grad_norm: 0.0,
                ..step
            }
            .clip(9.0),
            1.0
        );
    }
}
