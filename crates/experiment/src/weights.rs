//! Which model it is, whatever its files are called.

use crate::error::BadInput;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use syncabel_kb::Digest;

/// Digest of a model: of a GGUF file, or of a folder's configuration, tokenizer and safetensors files in the order of their names.
///
/// # Errors
/// A file that cannot be read.
pub fn weights_digest(model: &Path) -> Result<String> {
    if model.is_file() {
        return Ok(Digest::of_file(model)?.to_string());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(model)
        .with_context(|| model.display().to_string())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    let decides = |path: &PathBuf| {
        let named = |name: &str| path.file_name().is_some_and(|file| file == name);
        path.extension().is_some_and(|e| e == "safetensors")
            || named("config.json")
            || named("tokenizer.json")
    };
    files.retain(decides);
    // The moments of an optimizer say nothing about answers.
    files.retain(|path| {
        path.file_name()
            .is_some_and(|name| name != "optimizer.safetensors")
    });
    if !files
        .iter()
        .any(|path| path.extension().is_some_and(|e| e == "safetensors"))
    {
        let message = "holds no weights (`*.safetensors`)";
        return Err(BadInput(format!("{} {message}", model.display())).into());
    }
    files.sort();
    let mut digests = String::new();
    for file in files {
        digests.push_str(&Digest::of_file(&file)?.to_string());
    }
    Ok(Digest::of_bytes(digests.as_bytes()).to_string())
}
