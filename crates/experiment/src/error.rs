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

/// The exit code of an error: 2 where any cause in its chain is bad input, else 1.
pub fn exit_code(error: &anyhow::Error) -> i32 {
    if error.chain().any(is_bad_input) {
        2
    } else {
        1
    }
}

fn is_bad_input(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<ConfigError>() || cause.is::<BadInput>()
}
