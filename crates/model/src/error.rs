//! The one error type of this crate.

use std::path::PathBuf;

/// What can go wrong between a model on disk and its logits.
///
/// Every variant names what it is about (file, key, tensor, token) and, where there is one, the
/// way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written; the previous checkpoint, if there was one, is still in place.
    #[error("cannot write {}: {source}; what was there before is untouched", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files of a model were written in full, but not all of them could take the places of the previous ones.
    #[error(
        "cannot write {}: {source}; its folder may hold files of two models now: \
         save again before anything reads it",
        path.display()
    )]
    HalfWritten {
        /// The first file that is not of the new model.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that a model folder must have is missing.
    #[error("{} is missing: {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What would satisfy the loader.
        hint: String,
    },
    /// A file is not what its name says: truncated, or not in its format.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the byte position where that is known.
        message: String,
    },
    /// The model is of a family that this crate does not build.
    #[error("{}: architecture `{found}` is not supported, this program runs `llama`", path.display())]
    Architecture {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A key of a configuration has a value that this crate does not support.
    #[error("config key `{key}`: {message}")]
    Config {
        /// The key, as `config.json` spells it.
        key: String,
        /// What is wrong with its value.
        message: String,
    },
    /// An error inside a file, with the file's name put in front.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<Error>,
    },
    /// A tensor that the configuration asks for is not in the file.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    TensorMissing {
        /// The weights file (or the index of a sharded one).
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{}: tensor `{tensor}` has shape {found:?}, the config asks for {expected:?}", path.display())]
    TensorShape {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// The shape in the file, outermost dimension first.
        found: Vec<usize>,
        /// The shape the configuration asks for, outermost dimension first.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that this crate does not read.
    #[error("{}: tensor `{tensor}` has type {found}; supported are {supported}", path.display())]
    TensorType {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// Its type.
        found: String,
        /// The types that would do.
        supported: &'static str,
    },
    /// The tokenizer could not be built, or could not encode a text.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What is wrong.
        message: String,
    },
    /// The model's chat template refuses a conversation.
    #[error("{message}")]
    Chat {
        /// What it says.
        message: String,
    },
    /// The tokenizer knows more tokens than the model has embeddings.
    #[error(
        "the tokenizer has ids for {tokens} tokens but the model only {rows} embedding rows: \
         they belong to different models, or the embeddings must be resized"
    )]
    Vocabulary {
        /// One more than the tokenizer's largest id, added tokens included.
        tokens: usize,
        /// Rows of the embedding matrix.
        rows: usize,
    },
    /// A token id that the model has no embedding for.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The id.
        token: u32,
        /// Rows of the embedding matrix.
        vocab_size: usize,
    },
    /// A decoding session was used out of order or beyond what it was made for.
    #[error("decoding session: {message}")]
    Session {
        /// What was wrong.
        message: String,
    },
    /// The sequence would outgrow what was prepared for it.
    #[error("{what}: {needed} positions needed, {capacity} available; {hint}")]
    Capacity {
        /// Which capacity.
        what: &'static str,
        /// Positions asked for.
        needed: usize,
        /// Positions there are.
        capacity: usize,
        /// The way out.
        hint: &'static str,
    },
    /// A device that does not exist or whose feature was not compiled in.
    #[error("device `{name}`: {message}")]
    Device {
        /// The name as asked for.
        name: String,
        /// What is wrong, and the way out.
        message: String,
    },
    /// A model or data set could not be taken from the Hugging Face Hub or its local cache.
    #[error("{kind} `{repo}` (revision {revision}): {message}")]
    Hub {
        /// `model` or `data set`.
        kind: &'static str,
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// What went wrong, and the way out.
        message: String,
    },
    /// A name or revision that no repository of the Hub can have.
    #[error("{kind} `{repo}` (revision {revision}): {message}")]
    HubName {
        /// `model` or `data set`.
        kind: &'static str,
        /// The name as given.
        repo: String,
        /// The revision as given.
        revision: String,
        /// What a name looks like.
        message: &'static str,
    },
    /// The device could not give a tensor's values back.
    #[error("reading from the device: {message}")]
    Execution {
        /// What the backend said.
        message: String,
    },
}

impl Error {
    /// Puts the name of the file in front of an error that does not name one.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Error::Config { .. } | Error::Tokenizer { .. } | Error::Vocabulary { .. } => {
                Error::InFile {
                    path: path.into(),
                    source: Box::new(self),
                }
            }
            other => other,
        }
    }

    pub(crate) fn config(key: &str, message: impl Into<String>) -> Self {
        Error::Config {
            key: key.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn malformed(path: &std::path::Path, message: impl Into<String>) -> Self {
        Error::Malformed {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn tokenizer(message: impl std::fmt::Display) -> Self {
        Error::Tokenizer {
            message: message.to_string(),
        }
    }
}
