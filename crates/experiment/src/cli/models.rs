//! Models named on the command line.

use crate::config::{LinkPrecision, ModelSourceConfig};
use crate::error::BadInput;
use crate::local::LocalChat;
use crate::synthesis::LocalConfig;
use anyhow::Result;
use std::path::{Path, PathBuf};
use syncabel_model::ModelSource;

/// A folder or a GGUF file.
///
/// # Errors
/// Bad input: neither of them.
pub(super) fn model_source(path: &Path) -> Result<ModelSource> {
    if path.is_dir() {
        Ok(ModelSource::Folder(path.to_owned()))
    } else if path.extension().is_some_and(|e| e == "gguf") && path.is_file() {
        Ok(ModelSource::Gguf(path.to_owned()))
    } else {
        let message = "is neither a folder with config.json and model.safetensors nor a .gguf file";
        Err(BadInput(format!("{} {message}", path.display())).into())
    }
}

/// A language model that is run in this process.
#[derive(Debug, clap::Args)]
pub(super) struct LocalArgs {
    /// Instead of a server: a chat model that is run here, a folder in Hugging Face layout or a GGUF file.
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with = "url",
        requires = "ledger"
    )]
    local: Option<PathBuf>,
    /// How the weights of a local model are kept: f32 or bf16.
    #[arg(long, value_enum, default_value = "f32")]
    precision: LinkPrecision,
}

impl LocalArgs {
    /// The model's name and the model, if one is named; `batch` answers are written side by side.
    ///
    /// # Errors
    /// Files that are no chat model.
    pub(super) fn load(&self, batch: usize) -> Result<Option<(String, LocalChat)>> {
        let Some(path) = &self.local else {
            return Ok(None);
        };
        let chat = LocalChat::load(&model_source(path)?, self.precision, batch)?;
        Ok(Some((name(path), chat)))
    }

    /// The same as an experiment file would say it, if a model is named.
    pub(super) fn config(&self) -> Option<LocalConfig> {
        let path = self.local.as_ref()?;
        let text = path.display().to_string();
        let source = if path.is_dir() {
            ModelSourceConfig::Folder(text)
        } else {
            ModelSourceConfig::Gguf(text)
        };
        Some(LocalConfig {
            source,
            precision: self.precision,
        })
    }
}

/// What the model is called where its answers are kept.
fn name(path: &Path) -> String {
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or("local".to_owned(), |n| n.to_string_lossy().into_owned())
}
