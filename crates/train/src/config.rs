//! The knobs of a training run, with their defaults in one place.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::compose::PhaseName;

/// How a model is trained. Every field has a default, unknown keys are refused.
///
/// One optimizer step sees `batch_examples * accumulation` examples. Counting a batch in *examples* rather than in
/// packed rows makes steps comparable between arms of an experiment, keeps an interleaved batch exactly half human, and
/// lets the number of steps be known before the first one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the composed data, per phase. Fractions are allowed.
    pub epochs: f64,
    /// Upper limit on examples shown in a phase, repeats included.
    pub max_examples: Option<u64>,
    /// Upper limit on optimizer steps in a phase.
    pub max_steps: Option<u64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of the steps of a phase that the learning rate takes to climb; then it falls linearly.
    pub warmup_ratio: f64,
    /// Decoupled weight decay, on matrices only: norms are vectors and have none.
    pub weight_decay: f64,
    /// Decay of the two moments of AdamW.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Gradients are scaled down when the norm over all parameters together exceeds this. 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Share of the target distribution that is spread over the whole vocabulary.
    pub label_smoothing: f64,
    /// Examples in a batch.
    pub batch_examples: usize,
    /// Batches whose gradients are summed for one optimizer step. The loss is the mean over the completion tokens of all
    /// of them, so 2 x 8 equals 1 x 16.
    pub accumulation: usize,
    /// Tokens in a packed row, and the longest example. Longer prompts lose words far from the mention.
    pub max_length: usize,
    /// Tokens that go through the model at once; a bigger batch is cut into pieces whose gradients are summed. Bounds
    /// memory, does not change the loss.
    pub micro_batch_tokens: usize,
    /// Steps between checkpoints; one more is always written at the end of each phase. `None`: only those.
    pub checkpoint_every_steps: Option<u64>,
    /// Steps between evaluations on the validation part. `None`: after every epoch. The end of a phase always counts.
    pub evaluate_every_steps: Option<u64>,
    /// What makes a checkpoint the best one.
    pub best_metric: BestMetric,
    /// Seed of the order of examples. Initial weights are the caller's.
    pub seed: u64,
    /// Who computes gradients.
    pub engine: EngineChoice,
    /// What matrix products are computed in.
    pub precision: Precision,
    /// Overrides for the first phase of `pretrain_then_human`.
    pub pretrain: PhaseConfig,
    /// Overrides for the second phase of `pretrain_then_human`.
    pub human: PhaseConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3.0,
            max_examples: None,
            max_steps: None,
            learning_rate: 3e-5,
            warmup_ratio: 0.03,
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-8,
            max_grad_norm: 1.0,
            label_smoothing: 0.0,
            batch_examples: 16,
            accumulation: 1,
            max_length: 256,
            micro_batch_tokens: 1024,
            checkpoint_every_steps: Some(500),
            evaluate_every_steps: None,
            best_metric: BestMetric::default(),
            seed: 42,
            engine: EngineChoice::default(),
            precision: Precision::default(),
            pretrain: PhaseConfig::default(),
            human: PhaseConfig::default(),
        }
    }
}

/// What a phase does differently from the rest of the configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhaseConfig {
    /// Instead of [`TrainConfig::epochs`].
    pub epochs: Option<f64>,
    /// Instead of [`TrainConfig::max_examples`].
    pub max_examples: Option<u64>,
    /// Instead of [`TrainConfig::max_steps`].
    pub max_steps: Option<u64>,
    /// Multiplies [`TrainConfig::learning_rate`]. Left out: 1, but one third in the human phase, as in the paper.
    pub learning_rate_factor: Option<f64>,
}

/// What the best checkpoint is best at, on the validation part and never on the test split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestMetric {
    /// Share of completions whose teacher-forced arg-max tokens are all right (the paper's choice). Ties go to the
    /// lower loss.
    #[default]
    ExactMatch,
    /// Mean loss per completion token.
    Loss,
}

/// Who computes the loss and its gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// [`Fused`](Self::Fused) on the CPU, [`Burn`](Self::Burn) elsewhere.
    #[default]
    Auto,
    /// Hand-written forward and backward pass for Llama on the CPU in float32: no padding, no autodiff tape.
    Fused,
    /// burn's autodiff, on any device.
    Burn,
}

/// What matrix products are computed in. Weights, optimizer and everything else stay in float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// Factors rounded to bfloat16, sums in float32. Several times as fast where the CPU has AMX, twice where it has
    /// AVX512-BF16, three quarters of the speed with AVX2, slow elsewhere; the paper trains in bfloat16 too (its hyper-parameter table).
    Bf16,
}

/// The limits of one phase after overrides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PhaseBudget {
    pub(crate) examples: u64,
    pub(crate) steps: u64,
    pub(crate) steps_per_epoch: u64,
    pub(crate) learning_rate: f64,
}

impl TrainConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Config`] with the key, the value and what would be accepted.
    pub fn validate(&self) -> Result<(), Error> {
        let positive = "a positive number";
        let share = "a number from 0 up to, not including, 1";
        check(
            "epochs",
            self.epochs,
            self.epochs > 0.0 && self.epochs.is_finite(),
            positive,
        )?;
        check(
            "learning_rate",
            self.learning_rate,
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            positive,
        )?;
        check(
            "warmup_ratio",
            self.warmup_ratio,
            (0.0..=1.0).contains(&self.warmup_ratio),
            "a share from 0 to 1",
        )?;
        check(
            "weight_decay",
            self.weight_decay,
            self.weight_decay >= 0.0,
            "zero or more",
        )?;
        for beta in self.betas {
            check("betas", beta, (0.0..1.0).contains(&beta), share)?;
        }
        check("eps", self.eps, self.eps > 0.0, positive)?;
        check(
            "max_grad_norm",
            self.max_grad_norm,
            self.max_grad_norm >= 0.0,
            "zero or more",
        )?;
        check(
            "label_smoothing",
            self.label_smoothing,
            (0.0..1.0).contains(&self.label_smoothing),
            share,
        )?;
        check(
            "batch_examples",
            self.batch_examples,
            self.batch_examples > 0,
            "at least 1",
        )?;
        check(
            "accumulation",
            self.accumulation,
            self.accumulation > 0,
            "at least 1",
        )?;
        check(
            "max_length",
            self.max_length,
            self.max_length >= 8,
            "at least 8",
        )?;
        check(
            "micro_batch_tokens",
            self.micro_batch_tokens,
            self.micro_batch_tokens > 0,
            "at least 1",
        )?;
        for (key, steps) in [
            ("checkpoint_every_steps", self.checkpoint_every_steps),
            ("evaluate_every_steps", self.evaluate_every_steps),
            ("max_steps", self.max_steps),
            ("max_examples", self.max_examples),
            ("pretrain.max_steps", self.pretrain.max_steps),
            ("pretrain.max_examples", self.pretrain.max_examples),
            ("human.max_steps", self.human.max_steps),
            ("human.max_examples", self.human.max_examples),
        ] {
            check(
                key,
                steps.unwrap_or(1),
                steps != Some(0),
                "at least 1, or left out",
            )?;
        }
        for (key, phase) in [
            ("pretrain.learning_rate_factor", &self.pretrain),
            ("human.learning_rate_factor", &self.human),
        ] {
            let factor = phase.learning_rate_factor.unwrap_or(1.0);
            check(key, factor, factor > 0.0 && factor.is_finite(), positive)?;
        }
        for (key, phase) in [
            ("pretrain.epochs", &self.pretrain),
            ("human.epochs", &self.human),
        ] {
            let epochs = phase.epochs.unwrap_or(1.0);
            check(key, epochs, epochs > 0.0 && epochs.is_finite(), positive)?;
        }
        Ok(())
    }

    /// Examples behind one optimizer step.
    pub fn examples_per_step(&self) -> usize {
        self.batch_examples * self.accumulation
    }

    /// How long a phase lasts, given the examples in one of its epochs.
    pub(crate) fn budget(&self, phase: PhaseName, epoch_len: usize) -> PhaseBudget {
        let plain = PhaseConfig::default();
        let (overrides, usual_factor) = match phase {
            PhaseName::Main => (&plain, 1.0),
            PhaseName::Pretrain => (&self.pretrain, 1.0),
            PhaseName::Human => (&self.human, 1.0 / 3.0),
        };
        let per_step = self.examples_per_step() as u64;
        let epochs = overrides.epochs.unwrap_or(self.epochs);
        let mut examples = ((epochs * epoch_len as f64).round() as u64).max(1);
        if let Some(most) = overrides.max_examples.or(self.max_examples) {
            examples = examples.min(most);
        }
        if let Some(most) = overrides.max_steps.or(self.max_steps) {
            examples = examples.min(most * per_step);
        }
        PhaseBudget {
            examples,
            steps: examples.div_ceil(per_step),
            steps_per_epoch: (epoch_len as u64).div_ceil(per_step),
            learning_rate: self.learning_rate
                * overrides.learning_rate_factor.unwrap_or(usual_factor),
        }
    }
}

fn check(
    key: &'static str,
    value: impl ToString,
    holds: bool,
    expected: &'static str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Config {
        key,
        value: value.to_string(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_survive_serde() {
        let config = TrainConfig::default();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
        assert_eq!(serde_json::from_str::<TrainConfig>("{}").unwrap(), config);
    }

    #[test]
    fn partial_phase_keeps_its_own_defaults() {
        // `human: {epochs: 5}` must not silently lose the division by three.
        let config: TrainConfig = serde_json::from_str(r#"{"human": {"epochs": 5}}"#).unwrap();
        assert_eq!(config.human.epochs, Some(5.0));
        assert!((config.budget(PhaseName::Human, 10).learning_rate - 1e-5).abs() < 1e-12);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let message = serde_json::from_str::<TrainConfig>(r#"{"learning_rat": 1}"#)
            .unwrap_err()
            .to_string();
        assert!(message.contains("learning_rat"), "{message}");
    }

    #[test]
    fn every_bad_number_names_its_key() {
        for (json, key) in [
            (r#"{"epochs": 0}"#, "epochs"),
            (r#"{"learning_rate": -1}"#, "learning_rate"),
            (r#"{"warmup_ratio": 1.5}"#, "warmup_ratio"),
            (r#"{"betas": [0.9, 1.0]}"#, "betas"),
            (r#"{"eps": 0}"#, "eps"),
            (r#"{"label_smoothing": 1}"#, "label_smoothing"),
            (r#"{"batch_examples": 0}"#, "batch_examples"),
            (r#"{"accumulation": 0}"#, "accumulation"),
            (r#"{"max_length": 2}"#, "max_length"),
            (r#"{"checkpoint_every_steps": 0}"#, "checkpoint_every_steps"),
            (r#"{"human": {"epochs": -1}}"#, "human.epochs"),
        ] {
            let config: TrainConfig = serde_json::from_str(json).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }

    #[test]
    fn budgets_count_examples_and_steps() {
        let config = TrainConfig {
            epochs: 2.5,
            batch_examples: 8,
            accumulation: 2,
            ..TrainConfig::default()
        };
        let budget = config.budget(PhaseName::Main, 100);
        assert_eq!(
            (budget.examples, budget.steps, budget.steps_per_epoch),
            (250, 16, 7)
        );
        let limited = TrainConfig {
            max_steps: Some(4),
            ..config.clone()
        };
        assert_eq!(limited.budget(PhaseName::Main, 100).examples, 64);
        let limited = TrainConfig {
            max_examples: Some(100),
            ..config
        };
        assert_eq!(limited.budget(PhaseName::Main, 100).steps, 7);
    }

    #[test]
    fn human_phase_has_a_third_of_the_rate() {
        let config = TrainConfig {
            learning_rate: 3e-4,
            ..TrainConfig::default()
        };
        assert!((config.budget(PhaseName::Human, 10).learning_rate - 1e-4).abs() < 1e-12);
        assert!((config.budget(PhaseName::Pretrain, 10).learning_rate - 3e-4).abs() < 1e-12);
    }
}
