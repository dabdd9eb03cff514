//! Watching a training run, and what is kept of it.

use crate::progress;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use syncabel_train::{Evaluation, Progress, StepRecord, StepUpdate, TrainOutcome};

/// Time between lines in a log that is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A bar on a terminal, a line every half minute in a log.
pub struct TrainingBar {
    bar: ProgressBar,
    logged: Instant,
}

impl TrainingBar {
    /// A bar for the cell `label`.
    pub fn new(label: &str) -> Self {
        TrainingBar {
            bar: progress::bar(0, "steps").with_prefix(label.to_owned()),
            logged: Instant::now(),
        }
    }
}

impl Progress for TrainingBar {
    fn started(&mut self, total_steps: u64, done_steps: u64) {
        self.bar.set_length(total_steps);
        self.bar.set_position(done_steps);
        self.bar.reset_eta();
        if done_steps > 0 {
            tracing::info!("training continues at step {done_steps} of {total_steps}");
        }
    }

    fn step(&mut self, update: &StepUpdate<'_>) {
        let record = update.record;
        let StepRecord {
            step,
            loss,
            tokens_per_s,
            rss_mb,
            ..
        } = record;
        self.bar.set_position(*step);
        self.bar.set_message(format!(
            "loss {loss:.3}, {tokens_per_s:.0} tokens/s, {rss_mb} MB"
        ));
        if self.bar.is_hidden() && self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let left_min = update.left_s / 60.0;
            let total = update.total_steps;
            tracing::info!(
                "step {step}/{total}, loss {loss:.3}, {tokens_per_s:.0} tokens/s, {rss_mb} MB, {left_min:.1} min left"
            );
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation, best: bool) {
        tracing::debug!(
            step = evaluation.step,
            loss = evaluation.loss,
            exact_match = evaluation.exact_match,
            best
        );
    }
}

impl Drop for TrainingBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a finished run leaves beside its checkpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens shown.
    pub tokens: u64,
    /// Examples shown, repeats included.
    pub examples_shown: u64,
    /// Seconds over all sessions.
    pub elapsed_s: f64,
    /// Highest resident memory of all steps, in MB.
    #[serde(default)]
    pub peak_mb: u64,
    /// Checkpoint to link with, relative to the stage: the best on the validation part, or the last without one.
    pub checkpoint: PathBuf,
    /// Every evaluation on the validation part.
    pub evaluations: Vec<Evaluation>,
    /// Who computed the gradients.
    pub engine: String,
}

const OUTCOME: &str = "outcome.json";

/// Writes `outcome.json`.
///
/// # Errors
/// A failure to read the log or to write.
pub fn write_outcome(folder: &Path, outcome: &TrainOutcome) -> Result<()> {
    let chosen = outcome
        .best
        .as_ref()
        .map_or(&outcome.last, |(best, _)| best);
    let log = read_log(&folder.join("train_log.jsonl"))?;
    let record = OutcomeRecord {
        steps: outcome.steps,
        tokens: outcome.tokens,
        examples_shown: log.iter().map(|r| r.examples).sum(),
        elapsed_s: outcome.elapsed_s,
        peak_mb: log.iter().map(|r| r.rss_mb).max().unwrap_or(0),
        checkpoint: chosen.strip_prefix(folder).unwrap_or(chosen).to_owned(),
        evaluations: outcome.evaluations.clone(),
        engine: outcome.engine.to_owned(),
    };
    write_atomically(&folder.join(OUTCOME), &serde_json::to_vec_pretty(&record)?)
}

/// Reads `outcome.json`.
///
/// # Errors
/// A file that is missing or damaged.
pub fn read_outcome(folder: &Path) -> Result<OutcomeRecord> {
    let path = folder.join(OUTCOME);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is damaged; delete its folder to train again",
            path.display()
        )
    })
}

/// Folder of the checkpoint to link with.
///
/// # Errors
/// As [`read_outcome`].
pub fn chosen_checkpoint(folder: &Path) -> Result<PathBuf> {
    Ok(folder.join(read_outcome(folder)?.checkpoint))
}

/// Reads a training log.
///
/// # Errors
/// A file that is missing, or a line that is no record.
pub fn read_log(path: &Path) -> Result<Vec<StepRecord>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let record = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}:{}: not a step record", path.display(), i + 1))
    };
    text.lines().enumerate().map(record).collect()
}
