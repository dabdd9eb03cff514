//! What can go wrong between us and a language model's server, and with the ledger.

use std::path::{Path, PathBuf};

/// Everything that can go wrong with a chat request. No variant ever holds the API key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment variable that should hold the key is not set or empty.
    #[error(
        "the environment variable `{variable}` does not hold an API key; set it, or leave `api_key_env` out for a server that needs none"
    )]
    NoKey {
        /// Name of the variable.
        variable: String,
    },
    /// The configured address is no address.
    #[error("`base_url` must begin with http:// or https://, got `{base_url}`")]
    BadUrl {
        /// What was configured.
        base_url: String,
    },
    /// The server refused, and asking again would not help: wrong key, unknown model, malformed request.
    #[error("{url} refused with status {status}: {message}")]
    Refused {
        /// The address asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// The server was busy or broken in every attempt.
    #[error("{url} gave no answer in {attempts} attempts; the last: {last}")]
    Exhausted {
        /// The address asked.
        url: String,
        /// Attempts made.
        attempts: u32,
        /// What happened in the last one.
        last: String,
    },
    /// The server answered with something that is no chat completion.
    #[error("{url} answered with something that is no chat completion ({reason}): {body}")]
    BadAnswer {
        /// The address asked.
        url: String,
        /// What is missing or malformed.
        reason: String,
        /// Beginning of the answer.
        body: String,
    },
    /// A model in this process has come to an end: it answers nothing any more.
    #[error(
        "the model `{model}` has come to an end: {message}; start again, what was answered is kept"
    )]
    LocalEnded {
        /// Its name.
        model: String,
        /// Why.
        message: String,
    },
    /// A model in this process cannot answer a request.
    #[error("the model `{model}` cannot answer: {message}")]
    Local {
        /// Its name.
        model: String,
        /// Why.
        message: String,
    },
    /// Another process writes to the ledger.
    #[error(
        "{} is in use by process {process}; wait for it, stop it, or use another folder", dir.display()
    )]
    LedgerInUse {
        /// Folder of the ledger.
        dir: PathBuf,
        /// Id of the process, as far as it is known.
        process: String,
    },
    /// A line does not carry its own checksum.
    #[error(
        "{}:{line}: the line is damaged (its checksum is not that of its content); take the file from a backup, or remove the line: what it answers is asked again", path.display()
    )]
    LedgerDamaged {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// Not a ledger of this version or purpose.
    #[error("{}: {reason}", path.display())]
    LedgerFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong and the way out.
        reason: String,
    },
    /// The ledger cannot be read or written.
    #[error("ledger {}: {source}", path.display())]
    LedgerIo {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether every further request would fail in the same way, so that a job should stop at once.
    pub fn is_permanent(&self) -> bool {
        match self {
            Error::NoKey { .. } | Error::BadUrl { .. } => true,
            Error::Refused { status, .. } => matches!(status, 401 | 402 | 404),
            Error::Exhausted { .. } | Error::BadAnswer { .. } | Error::Local { .. } => false,
            Error::LocalEnded { .. } => true,
            Error::LedgerInUse { .. }
            | Error::LedgerDamaged { .. }
            | Error::LedgerFormat { .. }
            | Error::LedgerIo { .. } => true,
        }
    }

    /// Adds the path to an I/O error.
    pub(crate) fn ledger_io(path: &Path) -> impl Fn(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::LedgerIo {
            path: path.clone(),
            source,
        }
    }
}
