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
    /// Of the answers; nothing in files of earlier versions, nor of the next two.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// Language and rules that the input is read by.
    #[serde(default)]
    pub(super) language: Option<String>,
    #[serde(default)]
    pub(super) rules: Option<String>,
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
        let Some(before) = Self::read(out)? else {
            return Ok(());
        };
        if let Some(to) = before.to.as_ref().filter(|_| before.to != self.to) {
            let message = format!("was begun with --to {to}");
            return Err(BadInput(format!("{} {message}", out.display())).into());
        }
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

    /// The record beside a file of answers, or beside what was made of them; nothing where there is none.
    pub(super) fn read(out: &Path) -> Result<Option<Self>> {
        let path = Self::path(out);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let record = serde_json::from_str(&text).map_err(|error| {
            let way_out = "remove it if you know how the answers came about";
            BadInput(format!("{}: {error}; {way_out}", path.display()))
        })?;
        Ok(Some(record))
    }

    /// Refuses a calibration that was fitted on answers of another model or search; one without a record is believed.
    pub(super) fn check_calibration(&self, calibration: &Path) -> Result<()> {
        let Some(fitted) = Self::read(calibration)? else {
            return Ok(());
        };
        // What a calibration is for came after it.
        let as_now = Record {
            link: LinkOptions {
                calibration: self.link.calibration.clone(),
                min_probability: self.link.min_probability,
                gold: self.link.gold,
                ..fitted.link.clone()
            },
            language: self.language.clone(),
            rules: self.rules.clone(),
            ..fitted
        };
        let other = self.differences(&as_now);
        if other.is_empty() {
            return Ok(());
        }
        let message = "fit one on answers of this model and search (`syncabel calibrate`)";
        Err(BadInput(format!(
            "{} was fitted on answers of other {}; {message}",
            calibration.display(),
            other.join(", ")
        ))
        .into())
    }

    /// Puts a copy beside what is made of the answers in `from`.
    pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
        let (source, copy) = (Self::path(from), Self::path(to));
        match source.is_file() {
            true => std::fs::copy(&source, &copy)
                .map(drop)
                .with_context(|| format!("cannot write {}", copy.display())),
            // One of an earlier fit would belong to other answers.
            false if copy.is_file() => Ok(std::fs::remove_file(copy)?),
            false => Ok(()),
        }
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
                before.to.is_none() || self.language == before.language,
                "language (--language)",
            ),
            (
                before.to.is_none() || self.rules == before.rules,
                "PubTator rules (--rules)",
            ),
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
