//! Llama models in GGUF files.

use std::path::Path;

use super::TensorSource;
use crate::{Error, LlamaConfig, TextTokenizer};

pub(crate) struct GgufFile;

impl GgufFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Err(Error::malformed(path, "GGUF files are not read yet"))
    }
    pub(crate) fn config(&self) -> Result<LlamaConfig, Error> {
        unreachable!()
    }
    pub(crate) fn tokenizer(&self) -> Result<TextTokenizer, Error> {
        unreachable!()
    }
    pub(crate) fn weights<'a>(&'a self, _config: &'a LlamaConfig) -> super::random::Random<'a> {
        unreachable!()
    }
}

const _: fn(&dyn TensorSource) = |_| ();
