//! What can go wrong before any work starts, and how it maps to exit codes.

use std::path::PathBuf;

/// A configuration that cannot be used. Every variant names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The YAML file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not YAML at all, or not UTF-8, or a key that stands twice.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The YAML file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A key that does not exist, a value of the wrong type, a missing key.
    #[error("{}{}: key `{key}`: {message}", path.display(), place(*.line))]
    Key {
        /// The YAML file.
        path: PathBuf,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// Dotted path of the key.
        key: String,
        /// What is wrong and the nearest right thing.
        message: String,
    },
    /// `--set` or a `matrix:` axis that cannot be applied.
    #[error("cannot set `{path}`: {reason}")]
    Override {
        /// The dotted path or the whole assignment.
        path: String,
        /// Why not.
        reason: String,
    },
}

fn place(line: Option<usize>) -> String {
    line.map(|l| format!(":{l}")).unwrap_or_default()
}

/// An error with its causes on one line. Many errors end with their cause already; it is not said again.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if cause.starts_with(&text) {
            // a cause that names the file itself
            text = cause;
        } else {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Wrong use or bad input: exit code 2. Everything else that fails is a failed job: exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// The exit code of an error: 2 where any cause in its chain is wrong use, bad input or a full disk, all of which a person
/// must mend before it is worth trying again; else 1.
pub fn exit_code(error: &anyhow::Error) -> i32 {
    if error.chain().any(is_bad_input) {
        2
    } else {
        1
    }
}

/// Library errors are bad input unless they are named here as failures of the job.
fn is_bad_input(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(e) = cause.downcast_ref::<std::io::Error>() {
        use std::io::ErrorKind::{
            FileTooLarge, InvalidData, IsADirectory, NotADirectory, NotFound, QuotaExceeded,
            StorageFull,
        };
        return matches!(
            e.kind(),
            NotFound
                | NotADirectory
                | IsADirectory
                | InvalidData
                | StorageFull
                | QuotaExceeded
                | FileTooLarge
        );
    }
    if let Some(e) = cause.downcast_ref::<syncabel_kb::Error>() {
        return !matches!(e, syncabel_kb::Error::Io { .. });
    }
    if let Some(e) = cause.downcast_ref::<syncabel_corpus::Error>() {
        return !matches!(e, syncabel_corpus::Error::Io { .. });
    }
    if let Some(e) = cause.downcast_ref::<syncabel_model::Error>() {
        return is_bad_model(e);
    }
    if let Some(e) = cause.downcast_ref::<syncabel_decode::Error>() {
        use syncabel_decode::Error::{Io, LogitsShape, Model, NotFinite, TokenOutsideVocabulary};
        return !matches!(
            e,
            Io { .. }
                | LogitsShape { .. }
                | Model(_)
                | NotFinite { .. }
                | TokenOutsideVocabulary { .. }
        );
    }
    if let Some(e) = cause.downcast_ref::<syncabel_train::Error>() {
        use syncabel_train::Error::{Backend, Diverged, Io, Model, Stopped};
        return match e {
            // transparent: the model's error is not in the chain, only what caused it
            Model(inner) => is_bad_model(inner),
            other => !matches!(
                other,
                Io { .. } | Diverged { .. } | Stopped { .. } | Backend { .. }
            ),
        };
    }
    if let Some(syncabel_eval::Error::Judge(e)) = cause.downcast_ref::<syncabel_eval::Error>() {
        return is_bad_request(e);
    }
    if let Some(e) = cause.downcast_ref::<syncabel_eval::Error>() {
        return !matches!(
            e,
            syncabel_eval::Error::Io { .. }
                | syncabel_eval::Error::Draw { .. }
                | syncabel_eval::Error::Corpus(syncabel_corpus::Error::Io { .. })
        );
    }
    if let Some(e) = cause.downcast_ref::<syncabel_synth::Error>() {
        use syncabel_synth::Error::{BadDelivery, BadDraft, Llm, Stopped, Write};
        return match e {
            Llm(e) => is_bad_request(e),
            e => !matches!(
                e,
                BadDelivery { .. } | BadDraft { .. } | Stopped { .. } | Write { .. }
            ),
        };
    }
    if let Some(e) = cause.downcast_ref::<syncabel_llm::Error>() {
        return is_bad_request(e);
    }
    cause.is::<ConfigError>() || cause.is::<BadInput>()
}

/// A wrong key, model or ledger, as opposed to a server or disk that failed.
fn is_bad_request(error: &syncabel_llm::Error) -> bool {
    use syncabel_llm::Error::{BadAnswer, Exhausted, LedgerIo};
    !matches!(error, BadAnswer { .. } | Exhausted { .. } | LedgerIo { .. })
}

/// A model that cannot be used, as opposed to one that could not be fetched, read, written or run.
fn is_bad_model(error: &syncabel_model::Error) -> bool {
    use syncabel_model::Error::{Execution, HalfWritten, Hub, Read, Write};
    !matches!(
        error,
        Read { .. } | Write { .. } | HalfWritten { .. } | Execution { .. } | Hub { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_told_from_a_failed_job() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(
            exit_code(&anyhow::Error::from(missing).context("reading")),
            2
        );
        assert_eq!(exit_code(&anyhow::Error::from(full).context("writing")), 2);
        assert_eq!(
            exit_code(&anyhow::Error::from(refused).context("writing")),
            1
        );
        assert_eq!(
            exit_code(&anyhow::Error::from(BadInput("no".into())).context("stage `kb`")),
            2
        );
        assert_eq!(exit_code(&anyhow::anyhow!("out of luck")), 1);
    }

    #[test]
    fn a_damaged_model_is_bad_input_wherever_it_is_met() {
        let damaged = || syncabel_model::Error::Malformed {
            path: "model.safetensors".into(),
            message: "cut short".into(),
        };
        assert_eq!(exit_code(&anyhow::Error::from(damaged())), 2);
        let resuming = syncabel_train::Error::Model(damaged());
        assert_eq!(
            exit_code(&anyhow::Error::from(resuming).context("stage `train`")),
            2
        );
        let full = syncabel_model::Error::Write {
            path: "model.safetensors".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(
            exit_code(&anyhow::Error::from(syncabel_train::Error::Model(full))),
            2
        );
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = || std::io::Error::other("no luck");
        let error = anyhow::Error::from(ConfigError::Read {
            path: "e.yaml".into(),
            source: source(),
        });
        assert_eq!(message(&error), "e.yaml: no luck");
        let error = anyhow::Error::from(source()).context("cannot read x");
        assert_eq!(message(&error), "cannot read x: no luck");
        let error = anyhow::Error::msg("t.trie: damaged").context("t.trie");
        assert_eq!(message(&error), "t.trie: damaged");
    }
}
