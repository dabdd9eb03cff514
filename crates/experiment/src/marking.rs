//! How a checkpoint's training examples were marked, kept beside its weights.
//!
//! A model answers well only for text that looks like what it was trained on: whole sentences or windows, abbreviations
//! written out or not. The file says so, and `syncabel link` follows it unless told otherwise.

use crate::error::BadInput;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use std::path::Path;
use syncabel_corpus::marked::MarkOptions;

/// Name of the file in a checkpoint's folder.
const FILE: &str = "marking.json";

/// Writes the file into a checkpoint's folder.
///
/// # Errors
/// A failure to write.
pub fn write(checkpoint: &Path, options: &MarkOptions) -> Result<()> {
    write_atomically(&checkpoint.join(FILE), &serde_json::to_vec_pretty(options)?)
}

/// What a model's folder says; `None` for a model that says nothing.
///
/// # Errors
/// A file that is damaged.
pub fn read(model: &Path) -> Result<Option<MarkOptions>> {
    let path = model.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let options = serde_json::from_str(&text).map_err(|error| {
        let way_out = "remove it and say --abbreviations and --max-context-chars yourself";
        BadInput(format!("{}: {error}; {way_out}", path.display()))
    })?;
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_corpus::marked::AbbreviationStep;

    #[test]
    fn what_was_written_is_read_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        let options = MarkOptions {
            abbreviations: AbbreviationStep::Expand,
            max_context_chars: Some(32),
            ..MarkOptions::default()
        };
        write(folder.path(), &options).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(options));
        std::fs::write(folder.path().join(FILE), "{\"abbreviation\": 1}").unwrap();
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(FILE) && message.contains("remove it"),
            "{message}"
        );
    }
}
