//! How a file of answers comes about, written beside it, so that nobody goes on with it in another way.

use crate::error::BadInput;
use crate::stage::write_atomically;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use syncabel_corpus::marked::MarkOptions;
use syncabel_decode::LinkOptions;

/// What decides about answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) syncabel: String,
    pub(super) model: PathBuf,
    /// Of the weights.
    pub(super) model_digest: String,
    pub(super) kb_digest: String,
    pub(super) precision: String,
    pub(super) guided: bool,
    pub(super) marking: MarkOptions,
    pub(super) link: LinkOptions,
}

impl Record {
    /// `linked.tsv.run.json` beside `linked.tsv`.
    fn path(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".run.json");
        name.into()
    }

    pub(super) fn write(&self, out: &Path) -> Result<()> {
        write_atomically(&Self::path(out), &serde_json::to_vec_pretty(self)?)
    }

    /// Refuses a file of answers that came about in another way; one without a record is believed.
    pub(super) fn check(&self, out: &Path) -> Result<()> {
        let path = Self::path(out);
        if !path.is_file() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let before: Record = serde_json::from_str(&text).map_err(|error| {
            let way_out = "remove it if you know how the answers came about";
            BadInput(format!("{}: {error}; {way_out}", path.display()))
        })?;
        let other = self.differences(&before);
        if other.is_empty() {
            return Ok(());
        }
        let message = "choose another --out, or --overwrite instead of --resume";
        Err(BadInput(format!(
            "{} was begun with other {}; {message}",
            out.display(),
            other.join(", ")
        ))
        .into())
    }

    fn differences(&self, before: &Self) -> Vec<&'static str> {
        // Answers do not depend on how many mentions are open at once.
        let same_search = LinkOptions {
            batch: self.link.batch,
            ..before.link.clone()
        } == self.link;
        let checks = [
            (self.model_digest == before.model_digest, "weights"),
            (self.kb_digest == before.kb_digest, "KB"),
            (self.precision == before.precision, "precision"),
            (self.marking == before.marking, "marking of mentions"),
            (
                same_search && self.guided == before.guided,
                "search options",
            ),
        ];
        checks
            .into_iter()
            .filter_map(|(same, what)| (!same).then_some(what))
            .collect()
    }
}
