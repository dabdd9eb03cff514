//! What a run says while it goes: one JSON line a step in a file, the same numbers to a callback.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::compose::PhaseName;

/// Name of the step log in a run folder.
pub(crate) const LOG_FILE: &str = "train_log.jsonl";

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Optimizer steps of the whole run, this one included.
    pub step: u64,
    /// Which phase it belongs to.
    pub phase: PhaseName,
    /// Passes over the data of the phase that are complete after this step.
    pub epoch: f64,
    /// Mean over the completion tokens of the step, before the update.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm over all gradients before clipping.
    pub grad_norm: f64,
    /// Examples in this step.
    pub examples: u64,
    /// Tokens in this step, completions included, padding not.
    pub tokens: u64,
    /// Tokens that carry loss.
    pub loss_tokens: u64,
    /// Tokens per second of this step, forward, backward and update.
    pub tokens_per_s: f64,
    /// Resident memory of the process in megabytes.
    pub rss_mb: u64,
    /// Seconds since the run began, interruptions not counted.
    pub elapsed_s: f64,
}

/// One evaluation on the validation part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps before it.
    pub step: u64,
    /// Which phase it belongs to.
    pub phase: PhaseName,
    /// Examples scored.
    pub examples: usize,
    /// Mean over the completion tokens.
    pub loss: f64,
    /// Share of completions whose teacher-forced arg-max tokens are all right.
    pub exact_match: f64,
}

/// A step as the callback sees it.
#[derive(Debug, Clone, Copy)]
pub struct StepUpdate<'a> {
    /// What the log says.
    pub record: &'a StepRecord,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Seconds until the last step at the present rate, evaluations and checkpoints not counted.
    pub left_s: f64,
}

/// Moments at which a run may be stopped without losing more than the steps since the last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Before an optimizer step; the number counts complete steps.
    BeforeStep(u64),
    /// After the last batch of a step went backward, before the weights change.
    BeforeUpdate(u64),
    /// The model of a new checkpoint is written under a temporary name, the rest is not.
    CheckpointModelWritten(u64),
    /// All files of a new checkpoint are on the disk under a temporary name.
    CheckpointWritten(u64),
    /// The new checkpoint has its name, the old one still exists.
    CheckpointRenamed(u64),
    /// A new best model has its name.
    BestRenamed(u64),
}

impl Point {
    /// Complete steps at this point.
    pub fn step(self) -> u64 {
        match self {
            Self::BeforeStep(step)
            | Self::BeforeUpdate(step)
            | Self::CheckpointModelWritten(step)
            | Self::CheckpointWritten(step)
            | Self::CheckpointRenamed(step)
            | Self::BestRenamed(step) => step,
        }
    }
}

/// Follows a run. All methods have empty defaults; `()` follows nothing.
pub trait Progress {
    /// Before the first step: total steps, and steps that an earlier run has already done.
    fn started(&mut self, _total_steps: u64, _done_steps: u64) {}

    /// After each step.
    fn step(&mut self, _update: &StepUpdate<'_>) {}

    /// After each evaluation.
    fn evaluated(&mut self, _evaluation: &Evaluation, _best: bool) {}

    /// After each checkpoint.
    fn checkpoint(&mut self, _path: &Path) {}

    /// Whether to go on; asked at each [`Point`]. Saying no ends the run with [`Error::Stopped`], and running again
    /// with the same folder resumes.
    fn proceed(&mut self, _point: Point) -> bool {
        true
    }
}

impl Progress for () {}

/// The step log of a run folder, in append mode.
pub(crate) struct StepLog {
    path: PathBuf,
    file: File,
}

impl StepLog {
    /// Starts a log with the lines that an earlier run has left in a checkpoint; anything later is dropped.
    pub(crate) fn start(run_dir: &Path, lines: &[u8]) -> Result<Self, Error> {
        let path = run_dir.join(LOG_FILE);
        let temporary = run_dir.join(format!("{LOG_FILE}.tmp"));
        std::fs::write(&temporary, lines).map_err(Error::io("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(Error::io("rename", &path))?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        Ok(Self { path, file })
    }

    pub(crate) fn append(&mut self, record: &StepRecord) -> Result<(), Error> {
        let mut line = serde_json::to_vec(record).expect("numbers and names always serialise");
        line.push(b'\n');
        // One write a line: a reader that follows the file never sees half a line for long.
        self.file
            .write_all(&line)
            .map_err(Error::io("write", &self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A number cut to twelve significant digits. What a step or an evaluation reports goes through this, because twelve
/// digits come back from JSON exactly with any parser, and a resumed run must not differ from what it wrote.
pub(crate) fn reported(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// Resident memory of this process, 0 where the system does not tell.
pub(crate) fn resident_mb() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages: u64 = text
        .split_whitespace()
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or(0);
    // SAFETY: sysconf only reads a constant of the system.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    pages * page_bytes / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_numbers_survive_json() {
        let mut value = 1.234_567_890_123_456_7e-7;
        while value < 1e7 {
            value *= 1.173;
            let number = reported(value);
            assert!((number - value).abs() < 1e-11 * value);
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(
                serde_json::from_str::<f64>(&text).unwrap().to_bits(),
                number.to_bits()
            );
        }
        assert_eq!(reported(0.0), 0.0);
        assert!(reported(f64::NAN).is_nan());
    }
}
