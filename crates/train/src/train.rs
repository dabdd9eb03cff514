//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use syncabel_corpus::marked::Example;
use syncabel_model::{Checkpoint, LlamaConfig, TextTokenizer};

use crate::Error;
use crate::checkpoint::{Ingredients, Resumed, Snapshot, State, Store};
use crate::compose::{ExampleId, Phase, Plan};
use crate::config::{BestMetric, PhaseBudget, TrainConfig};
use crate::encode::{EncodeReport, Encoded, encode_examples};
use crate::engine::{self, AdamStep, Engine, EngineOptions};
use crate::log::{
    Evaluation, Point, Progress, StepLog, StepRecord, StepUpdate, reported, resident_mb,
};
use crate::schedule::Schedule;

/// What a finished run leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Tokens shown, completions included, padding not, over all sessions.
    pub tokens: u64,
    /// Seconds over all sessions.
    pub elapsed_s: f64,
    /// Folder of the last model; [`syncabel_model::load`] reads it.
    pub last: PathBuf,
    /// Folder of the best model on the validation part and its evaluation, where there is a validation part.
    pub best: Option<(PathBuf, Evaluation)>,
    /// Every evaluation, in order.
    pub evaluations: Vec<Evaluation>,
    /// What encoding the training examples had to change.
    pub encoding: EncodeReport,
    /// Whether an earlier session's checkpoint was taken up.
    pub resumed_from_step: Option<u64>,
    /// `fused` or `burn`.
    pub engine: &'static str,
}

/// Trains a model on a plan and leaves checkpoints in `run_dir`.
///
/// When `run_dir` holds a checkpoint of the same run (same initial model, data, configuration and engine), training
/// goes on from there and reaches, on the same backend and machine, the same weights bit for bit as without the
/// interruption. The tokenizer must know `<SEP>` already ([`Checkpoint::add_sep`]).
///
/// `validation` chooses the best checkpoint and is never trained on; leave it empty to train without. In
/// `pretrain_then_human` only the last phase competes for the best checkpoint.
///
/// # Errors
/// [`Error::Config`], [`Error::NothingFits`], [`Error::OtherRun`] and [`Error::OtherArchitecture`] before any work is
/// done; [`Error::Diverged`], [`Error::Stopped`] and [`Error::Io`] on the way: then the last checkpoint is intact.
pub fn train(
    checkpoint: Checkpoint,
    plan: &Plan<'_>,
    validation: &[Example],
    config: &TrainConfig,
    run_dir: &Path,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome, Error> {
    config.validate()?;
    if config.max_length > checkpoint.config.max_position_embeddings {
        return Err(Error::Config {
            key: "max_length",
            value: config.max_length.to_string(),
            expected: "within the model's max_position_embeddings",
        });
    }
    let data = Data::encode(plan, validation, &checkpoint.tokenizer, config)?;
    std::fs::create_dir_all(run_dir).map_err(Error::io("create", run_dir))?;
    let store = Store::open(run_dir)?;

    let engine_name = engine::choose(config.engine, config.precision, &checkpoint)?;
    let ingredients = ingredients(&checkpoint, plan, validation, config, engine_name);
    let resumed = store.resume(&checkpoint, &ingredients)?;
    let resumed_from_step = resumed.as_ref().map(|resumed| resumed.state.step);

    let Checkpoint {
        config: shape,
        model,
        tokenizer,
        ..
    } = checkpoint;
    let options = EngineOptions {
        label_smoothing: config.label_smoothing,
        max_length: config.max_length,
        micro_batch_tokens: config.micro_batch_tokens,
        precision: config.precision,
    };
    let mut engine = engine::build(engine_name, model, &shape, options)?;
    let (state, log) = match resumed {
        Some(Resumed {
            state,
            model,
            moments,
            log,
        }) => {
            engine.restore(model, moments)?;
            (state, StepLog::start(run_dir, &log)?)
        }
        None => (
            State::new(ingredients, data.phases[0].name),
            StepLog::start(run_dir, &[])?,
        ),
    };
    let total_steps = data.budgets.iter().map(|budget| budget.steps).sum();
    progress.started(total_steps, state.step);
    let mut run = Run {
        config,
        data: &data,
        shape,
        tokenizer,
        engine,
        store,
        state,
        log,
        progress,
        total_steps,
    };
    let last = run.go()?;
    let best = run
        .state
        .best
        .clone()
        .map(|best| (run.store.best_path(best.step), best));
    Ok(TrainOutcome {
        steps: run.state.step,
        tokens: run.state.tokens,
        elapsed_s: run.state.elapsed_s,
        last,
        best,
        evaluations: run.state.evaluations,
        encoding: data.report.clone(),
        resumed_from_step,
        engine: engine_name,
    })
}

/// Token ids of everything, and how long each phase lasts.
struct Data {
    training: Vec<Option<Encoded>>,
    validation: Vec<Encoded>,
    phases: Vec<Phase>,
    budgets: Vec<PhaseBudget>,
    report: EncodeReport,
}

impl Data {
    fn encode(
        plan: &Plan<'_>,
        validation: &[Example],
        tokenizer: &TextTokenizer,
        config: &TrainConfig,
    ) -> Result<Self, Error> {
        let encode = |text: &str| tokenizer.encode(text);
        let eos = tokenizer.eos_id();
        let (training, report) =
            encode_examples(&plan.examples, &encode, eos, config.max_length, "training")?;
        let held: Vec<&Example> = validation.iter().collect();
        let (validation, held_report) =
            encode_examples(&held, &encode, eos, config.max_length, "validation")?;
        if report.refused > 0 {
            tracing::warn!(refused = report.refused, first = ?report.refused_samples, "examples do not fit into max_length");
        }
        if held_report.refused > 0 {
            tracing::warn!(refused = held_report.refused, first = ?held_report.refused_samples, "validation examples do not fit into max_length and are not scored");
        }
        let mut phases = plan.phases.clone();
        for phase in &mut phases {
            let before = phase.emptied();
            phase.retain(|id| training[id.0 as usize].is_some());
            // Of two sources that take turns the other one alone would be another composition.
            let emptied = phase.emptied().filter(|_| before.is_none());
            if let Some(source_name) = emptied {
                return Err(Error::NoExamples {
                    strategy: plan.report.strategy.as_str(),
                    source_name,
                    why: format!(
                        ": every one is longer than `train.max_length`, {} tokens",
                        config.max_length
                    ),
                });
            }
        }
        let budgets = phases
            .iter()
            .map(|phase| config.budget(phase.name, phase.epoch_len()))
            .collect();
        let validation = validation.into_iter().flatten().collect();
        Ok(Self {
            training,
            validation,
            phases,
            budgets,
            report,
        })
    }

    fn example(&self, id: ExampleId) -> &Encoded {
        self.training[id.0 as usize]
            .as_ref()
            .expect("phases were cut down to encoded examples")
    }
}

fn ingredients(
    checkpoint: &Checkpoint,
    plan: &Plan<'_>,
    validation: &[Example],
    config: &TrainConfig,
    engine: &str,
) -> Ingredients {
    let digest = |bytes: Vec<u8>| blake3::hash(&bytes).to_hex().to_string();
    Ingredients {
        configuration: digest(serde_json::to_vec(config).expect("numbers always serialise")),
        training_data: plan.digest().to_hex().to_string(),
        validation_data: digest(serde_json::to_vec(validation).expect("texts always serialise")),
        initial_model: checkpoint.digest.clone(),
        engine: engine.to_owned(),
    }
}

struct Run<'a> {
    config: &'a TrainConfig,
    data: &'a Data,
    shape: LlamaConfig,
    tokenizer: TextTokenizer,
    engine: Box<dyn Engine>,
    store: Store,
    state: State,
    log: StepLog,
    progress: &'a mut dyn Progress,
    total_steps: u64,
}

/// The examples of a phase one after the other, epoch by epoch, from any position.
struct Cursor<'p> {
    phase: &'p Phase,
    seed: u64,
    epoch: u64,
    order: Vec<ExampleId>,
}

impl<'p> Cursor<'p> {
    fn new(phase: &'p Phase, seed: u64) -> Self {
        Self {
            phase,
            seed,
            epoch: 0,
            order: phase.epoch_order(seed, 0),
        }
    }

    /// The example shown at a position, counted from 0 over all epochs.
    fn at(&mut self, position: u64) -> ExampleId {
        let len = self.phase.epoch_len() as u64;
        if position / len != self.epoch {
            self.epoch = position / len;
            self.order = self.phase.epoch_order(self.seed, self.epoch);
        }
        self.order[(position % len) as usize]
    }
}

/// One optimizer step's numbers.
struct Stepped {
    loss: f64,
    learning_rate: f64,
    grad_norm: f64,
    examples: u64,
    tokens: u64,
    loss_tokens: u64,
}

impl Run<'_> {
    /// All phases that are not done yet. Returns the folder of the last checkpoint.
    fn go(&mut self) -> Result<PathBuf, Error> {
        let mut last = self.store.step_path(self.state.step);
        let data = self.data;
        for (number, (phase, budget)) in data.phases.iter().zip(&data.budgets).enumerate() {
            if number < self.state.phase {
                continue;
            }
            if number > self.state.phase {
                self.engine.reset_moments();
                self.state.phase = number;
                self.state.phase_name = phase.name;
                self.state.phase_step = 0;
            }
            if let Some(path) = self.phase(phase, budget)? {
                last = path;
            }
        }
        Ok(last)
    }

    /// The rest of one phase. Returns its last checkpoint, unless the phase was complete already.
    fn phase(&mut self, phase: &Phase, budget: &PhaseBudget) -> Result<Option<PathBuf>, Error> {
        let schedule = Schedule::new(budget.learning_rate, budget.steps, self.config.warmup_ratio);
        let mut cursor = Cursor::new(phase, self.config.seed);
        let mut last = None;
        let mut session = Session::start(&self.state);
        while self.state.phase_step < budget.steps {
            self.proceed(Point::BeforeStep(self.state.step))?;
            let begun = Instant::now();
            let stepped = self.step(&mut cursor, budget, &schedule)?;
            self.state.elapsed_s = session.elapsed_s();
            let step_s = begun.elapsed().as_secs_f64();
            self.record(&stepped, step_s, phase, budget, &mut session)?;

            let done = self.state.phase_step;
            let finished = done == budget.steps;
            let evaluate_every = self
                .config
                .evaluate_every_steps
                .unwrap_or(budget.steps_per_epoch);
            if !self.data.validation.is_empty() && (finished || done.is_multiple_of(evaluate_every))
            {
                self.evaluate(stepped.learning_rate)?;
            }
            let checkpoint_every = self.config.checkpoint_every_steps.unwrap_or(u64::MAX);
            if finished || done.is_multiple_of(checkpoint_every) {
                self.state.elapsed_s = session.elapsed_s();
                last = Some(self.checkpoint()?);
            }
        }
        Ok(last)
    }

    fn step(
        &mut self,
        cursor: &mut Cursor<'_>,
        budget: &PhaseBudget,
        schedule: &Schedule,
    ) -> Result<Stepped, Error> {
        let per_step = self.config.examples_per_step() as u64;
        let from = self.state.phase_step * per_step;
        let to = (from + per_step).min(budget.examples);
        let examples: Vec<&Encoded> = (from..to)
            .map(|position| self.data.example(cursor.at(position)))
            .collect();
        let loss_tokens: usize = examples.iter().map(|e| e.loss_tokens()).sum();
        // Known before the first batch, so every batch is weighted right at once.
        let scale = 1.0 / loss_tokens as f64;
        let mut loss = 0.0;
        for batch in examples.chunks(self.config.batch_examples) {
            loss += self.engine.accumulate(batch, scale)? * scale;
        }
        let learning_rate = schedule.learning_rate(self.state.phase_step);
        if !loss.is_finite() {
            return Err(Error::Diverged {
                what: "loss",
                step: self.state.step + 1,
                loss,
                learning_rate,
            });
        }
        self.proceed(Point::BeforeUpdate(self.state.step))?;
        let grad_norm = self.engine.update(&AdamStep {
            learning_rate,
            weight_decay: self.config.weight_decay,
            betas: self.config.betas,
            eps: self.config.eps,
            time: self.state.phase_step + 1,
            max_grad_norm: self.config.max_grad_norm,
        })?;
        if !grad_norm.is_finite() {
            return Err(Error::Diverged {
                what: "gradient norm",
                step: self.state.step + 1,
                loss: grad_norm,
                learning_rate,
            });
        }
        self.state.phase_step += 1;
        self.state.step += 1;
        let tokens = examples.iter().map(|e| e.tokens.len() as u64).sum();
        self.state.tokens += tokens;
        Ok(Stepped {
            loss,
            learning_rate,
            grad_norm,
            examples: to - from,
            tokens,
            loss_tokens: loss_tokens as u64,
        })
    }

    fn record(
        &mut self,
        stepped: &Stepped,
        step_s: f64,
        phase: &Phase,
        budget: &PhaseBudget,
        session: &mut Session,
    ) -> Result<(), Error> {
        let full_steps = self.state.phase_step * self.config.examples_per_step() as u64;
        let shown = full_steps.min(budget.examples);
        let record = StepRecord {
            step: self.state.step,
            phase: phase.name,
            epoch: reported(shown as f64 / phase.epoch_len() as f64),
            loss: reported(stepped.loss),
            lr: reported(stepped.learning_rate),
            grad_norm: reported(stepped.grad_norm),
            examples: stepped.examples,
            tokens: stepped.tokens,
            loss_tokens: stepped.loss_tokens,
            tokens_per_s: reported(stepped.tokens as f64 / step_s.max(1e-9)),
            rss_mb: resident_mb(),
            elapsed_s: self.state.elapsed_s,
        };
        self.log.append(&record)?;
        session.steps += 1;
        session.steps_s += step_s;
        let left = self.total_steps.saturating_sub(self.state.step);
        let left_s = session.steps_s / session.steps as f64 * left as f64;
        self.progress.step(&StepUpdate {
            record: &record,
            total_steps: self.total_steps,
            left_s,
        });
        Ok(())
    }

    /// `learning_rate` is that of the last step.
    fn evaluate(&mut self, learning_rate: f64) -> Result<(), Error> {
        let (mut loss, mut tokens, mut exact) = (0.0, 0, 0);
        let validation: Vec<&Encoded> = self.data.validation.iter().collect();
        for batch in validation.chunks(64) {
            for score in self.engine.score(batch)? {
                loss += score.loss;
                tokens += score.loss_tokens;
                exact += usize::from(score.exact);
            }
        }
        let loss = loss / tokens as f64;
        // Before anything is kept of it: JSON has no such numbers, and a state that holds one cannot be read back.
        if !loss.is_finite() {
            return Err(Error::Diverged {
                what: "validation loss",
                step: self.state.step,
                loss,
                learning_rate,
            });
        }
        let evaluation = Evaluation {
            step: self.state.step,
            phase: self.state.phase_name,
            examples: validation.len(),
            loss: reported(loss),
            exact_match: reported(exact as f64 / validation.len() as f64),
        };
        let competes = self.state.phase + 1 == self.data.phases.len();
        let best = competes
            && self
                .state
                .best
                .as_ref()
                .is_none_or(|best| better(self.config.best_metric, &evaluation, best));
        self.state.evaluations.push(evaluation.clone());
        if best {
            let model = self.engine.model()?;
            let snapshot = Snapshot {
                config: &self.shape,
                tokenizer: &self.tokenizer,
                model: &model,
            };
            self.store.write_best(&evaluation, &snapshot)?;
            self.state.best = Some(evaluation.clone());
            self.proceed(Point::BestRenamed(self.state.step))?;
        }
        self.progress.evaluated(&evaluation, best);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<PathBuf, Error> {
        let model = self.engine.model()?;
        let moments = self.engine.moments()?;
        let snapshot = Snapshot {
            config: &self.shape,
            tokenizer: &self.tokenizer,
            model: &model,
        };
        let progress = &mut *self.progress;
        let mut proceed = |point| proceed(progress, point);
        let path = self.store.write(
            &mut self.state,
            &snapshot,
            &moments,
            self.log.path(),
            &mut proceed,
        )?;
        self.progress.checkpoint(&path);
        Ok(path)
    }

    fn proceed(&mut self, point: Point) -> Result<(), Error> {
        proceed(self.progress, point)
    }
}

fn proceed(progress: &mut dyn Progress, point: Point) -> Result<(), Error> {
    if progress.proceed(point) {
        Ok(())
    } else {
        Err(Error::Stopped { step: point.step() })
    }
}

/// Time-keeping since this process took the run up.
struct Session {
    begun: Instant,
    earlier_s: f64,
    steps: u64,
    steps_s: f64,
}

impl Session {
    fn start(state: &State) -> Self {
        Self {
            begun: Instant::now(),
            earlier_s: state.elapsed_s,
            steps: 0,
            steps_s: 0.0,
        }
    }

    fn elapsed_s(&self) -> f64 {
        reported(self.earlier_s + self.begun.elapsed().as_secs_f64())
    }
}

fn better(metric: BestMetric, new: &Evaluation, old: &Evaluation) -> bool {
    match metric {
        BestMetric::Loss => new.loss < old.loss,
        BestMetric::ExactMatch if new.exact_match == old.exact_match => new.loss < old.loss,
        BestMetric::ExactMatch => new.exact_match > old.exact_match,
    }
}
