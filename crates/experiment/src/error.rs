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
    /// Not YAML at all.
    #[error("{}:{line}:{column}: not valid YAML: {message}", path.display())]
    Syntax {
        /// The YAML file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's message.
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

/// Wrong use or bad input: exit code 2. Everything else that fails is a failed job: exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// The exit code of an error: 2 where any cause in its chain is wrong use or bad input, else 1.
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
        // a path that is wrong, as opposed to a disk that is full
        use std::io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound};
        return matches!(
            e.kind(),
            NotFound | NotADirectory | IsADirectory | InvalidData
        );
    }
    if let Some(e) = cause.downcast_ref::<syncabel_kb::Error>() {
        return !matches!(e, syncabel_kb::Error::Io { .. });
    }
    if let Some(e) = cause.downcast_ref::<syncabel_corpus::Error>() {
        return !matches!(e, syncabel_corpus::Error::Io { .. });
    }
    if let Some(e) = cause.downcast_ref::<syncabel_model::Error>() {
        use syncabel_model::Error::{Execution, Hub, Read, Write};
        return !matches!(
            e,
            Read { .. } | Write { .. } | Execution { .. } | Hub { .. }
        );
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
        return !matches!(
            e,
            Io { .. } | Diverged { .. } | Stopped { .. } | Backend { .. } | Model(_)
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_told_from_a_failed_job() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(
            exit_code(&anyhow::Error::from(missing).context("reading")),
            2
        );
        assert_eq!(exit_code(&anyhow::Error::from(full).context("writing")), 1);
        assert_eq!(
            exit_code(&anyhow::Error::from(BadInput("no".into())).context("stage `kb`")),
            2
        );
        assert_eq!(exit_code(&anyhow::anyhow!("out of luck")), 1);
    }
}
