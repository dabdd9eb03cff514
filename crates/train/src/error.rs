//! What can go wrong between a list of examples and a trained checkpoint.

use std::path::PathBuf;

/// Everything that `syncabel-train` refuses or fails at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number in a configuration lies outside of what makes sense.
    #[error("`{key}` is {value}, which is not {expected}")]
    Config {
        /// Name of the configuration key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },

    /// The strategy needs examples from a source that has none.
    #[error("strategy `{strategy}` needs {source_name} examples, but none are left{why}")]
    NoExamples {
        /// The strategy as it is written in a configuration.
        strategy: &'static str,
        /// `human` or `synthetic`.
        source_name: &'static str,
        /// How the source became empty, or nothing.
        why: String,
    },

    /// No example of a phase or of the validation part fits into a row.
    #[error(
        "none of the {examples} {what} examples fits into max_length = {max_length} tokens \
         (first: document {document}, mention {mention}); raise `max_length`"
    )]
    NothingFits {
        /// `training` or `validation`.
        what: &'static str,
        /// How many examples were given.
        examples: usize,
        /// The configured length.
        max_length: usize,
        /// Document of the first refused example.
        document: String,
        /// Mention of the first refused example.
        mention: String,
    },

    /// The run folder holds a checkpoint of another run.
    #[error(
        "{path} was written by a run with another {part} (there {found}, here {expected}); \
         use another run folder, or delete this one to start over"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// Which ingredient differs: configuration, training data, ...
        part: String,
        /// Digest found in the checkpoint.
        found: String,
        /// Digest of the run that wants to resume.
        expected: String,
    },

    /// A tensor of a checkpoint is missing or has another shape.
    #[error(
        "{path}: tensor `{tensor}` {problem}; this is a checkpoint of another architecture: \
         use the model it was trained from, or another run folder"
    )]
    OtherArchitecture {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// What is wrong with it, with both shapes.
        problem: String,
    },

    /// A checkpoint file cannot be understood.
    #[error(
        "{path}: {problem}; delete this checkpoint folder to go on from the newest that is left, or from the beginning where there is none"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// The operating system refused a read or a write.
    #[error("cannot {action} {path}: {source}{}", advice(.source))]
    Io {
        /// `write`, `read`, `rename`, ...
        action: &'static str,
        /// The path it concerns.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },

    /// The loss, on training or validation examples, or the norm of its gradient is no longer a number.
    #[error(
        "the {what} is {loss} at step {step} (learning rate {learning_rate:e}); \
         lower `learning_rate` or `max_grad_norm`, and go on from the last checkpoint, if it is of a step before this went wrong, or from the start"
    )]
    Diverged {
        /// `loss`, `gradient norm` or `validation loss`.
        what: &'static str,
        /// Optimizer step, from 1.
        step: u64,
        /// The value.
        loss: f64,
        /// Learning rate of this step.
        learning_rate: f64,
    },

    /// The [`Progress`](crate::Progress) callback asked to stop.
    #[error("stopped at step {step} on request; run again with the same folder to resume")]
    Stopped {
        /// Steps that are complete.
        step: u64,
    },

    /// The fused CPU engine was asked for a model or device that it cannot run.
    #[error("the fused engine cannot train this model: {reason}; set `engine: burn`")]
    EngineUnsupported {
        /// Why not.
        reason: String,
    },

    /// The backend failed.
    #[error("the tensor backend failed while it was to {action}: {message}")]
    Backend {
        /// What was attempted.
        action: &'static str,
        /// The backend's words.
        message: String,
    },

    /// Loading, saving or tokenizing failed.
    #[error(transparent)]
    Model(#[from] syncabel_model::Error),
}

impl Error {
    /// Wraps an I/O error with the path it is about.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

fn advice(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            " (no room left: a checkpoint that was there before is intact; free some space and run again to resume)"
        }
        _ => "",
    }
}
