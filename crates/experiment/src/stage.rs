//! Stages that are done once: each has a key (what it is made from) and a folder that is complete or not there.
//!
//! ```text
//! runs/<experiment>/stages/kb-3f0a91c2b7d4/       one folder per stage and key
//!     stage.json                                  written last: its presence means "complete"
//!     ...                                         whatever the stage makes
//! ```
//! A key is the BLAKE3 digest of the stage's own settings and of the keys or content digests of its inputs, so a stage
//! runs again exactly when something it depends on has changed, and two cells of a sweep share what they have in
//! common. A stage that was interrupted leaves a folder without `stage.json`; it is entered again, and stages that keep
//! checkpoints (training) continue there.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;
use syncabel_kb::Digest;

const DONE: &str = "stage.json";

/// What a finished stage says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageRecord {
    /// Name of the stage.
    pub stage: String,
    /// Its key in full.
    pub key: String,
    /// Wall-clock seconds over all sessions that worked on it.
    pub seconds: f64,
    /// Settings and input digests that made the key.
    pub inputs: serde_json::Value,
    /// The commit of the working folder when the stage was done; not part of the key.
    #[serde(default)]
    pub git_revision: Option<String>,
}

/// The folder that holds the stages of one experiment.
#[derive(Debug, Clone)]
pub struct StageStore {
    root: PathBuf,
}

/// A stage's folder and whether it was already complete.
#[derive(Debug, Clone)]
pub struct StageDir {
    /// The folder.
    pub path: PathBuf,
    /// The key in full, for stages that build on this one.
    pub key: String,
    /// The record of the finished stage.
    pub record: StageRecord,
    /// True when nothing had to be done.
    pub cached: bool,
}

impl StageStore {
    /// Stages below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        StageStore { root: root.into() }
    }

    /// The folder below which the stages lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a stage with these inputs, whether or not it exists.
    pub fn folder(&self, stage: &str, inputs: &serde_json::Value) -> (PathBuf, String) {
        let key = key(stage, inputs);
        (self.root.join(format!("{stage}-{}", &key[..12])), key)
    }

    /// True when a stage with these inputs was started and not finished.
    pub fn interrupted(&self, stage: &str, inputs: &serde_json::Value) -> bool {
        let (path, _) = self.folder(stage, inputs);
        path.is_dir() && !path.join(DONE).is_file()
    }

    /// Runs `work` in the stage's folder unless the stage is complete.
    ///
    /// # Errors
    /// What `work` returns, and failures to write the folder.
    pub fn run(
        &self,
        stage: &str,
        inputs: serde_json::Value,
        work: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<StageDir> {
        let (path, key) = self.folder(stage, &inputs);
        if let Some(record) = read_record(&path, &key) {
            tracing::info!(stage, folder = %path.display(), "unchanged, skipped");
            return Ok(StageDir {
                path,
                key,
                record,
                cached: true,
            });
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let _guard = lock(&path)?;
        if let Some(record) = read_record(&path, &key) {
            // another process finished it while this one waited
            return Ok(StageDir {
                path,
                key,
                record,
                cached: true,
            });
        }
        let before = seconds_so_far(&path);
        let start = Instant::now();
        let result = work(&path);
        let seconds = before + start.elapsed().as_secs_f64();
        if let Err(error) = result {
            // the next session adds to this; failing to note it must not hide the real error
            let _ = std::fs::write(path.join("seconds"), seconds.to_string());
            return Err(error.context(format!("stage `{stage}` in {}", path.display())));
        }
        let record = StageRecord {
            stage: stage.to_owned(),
            key: key.clone(),
            seconds,
            inputs,
            git_revision: crate::machine::git_revision(Path::new(".")),
        };
        write_atomically(&path.join(DONE), &serde_json::to_vec_pretty(&record)?)?;
        Ok(StageDir {
            path,
            key,
            record,
            cached: false,
        })
    }
}

/// Waits until no other process works on the stage. The lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<File> {
    let place = path.join("lock");
    let open = || -> std::io::Result<File> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&place)?;
        file.lock()?;
        Ok(file)
    };
    open().with_context(|| format!("cannot lock {}", place.display()))
}

/// Digest of a stage's name and inputs, as hex.
fn key(stage: &str, inputs: &serde_json::Value) -> String {
    Digest::of_bytes(format!("{stage}\n{inputs}").as_bytes()).to_string()
}

/// The record of a complete stage; a folder whose record belongs to another key or cannot be read is not complete.
fn read_record(path: &Path, key: &str) -> Option<StageRecord> {
    let text = std::fs::read_to_string(path.join(DONE)).ok()?;
    serde_json::from_str::<StageRecord>(&text)
        .ok()
        .filter(|r| r.key == key)
}

fn seconds_so_far(path: &Path) -> f64 {
    std::fs::read_to_string(path.join("seconds"))
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0.0)
}

/// Writes a file so that it is either old or new, never half.
///
/// # Errors
/// Any failure to write, flush or rename, with the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    // Workers of one sweep may write the same file at once.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_stage_runs_once_and_again_when_its_inputs_change() {
        let dir = tempfile::tempdir().unwrap();
        let store = StageStore::new(dir.path());
        let mut runs = 0;
        for inputs in [json!({"a": 1}), json!({"a": 1}), json!({"a": 2})] {
            let done = store.run("kb", inputs, |p| {
                runs += 1;
                std::fs::write(p.join("x"), "x").map_err(Into::into)
            });
            assert!(done.unwrap().path.join("x").is_file());
        }
        assert_eq!(runs, 2);
    }

    #[test]
    fn two_workers_do_a_stage_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = StageStore::new(dir.path());
        let runs = AtomicUsize::new(0);
        let work = || {
            store.run("kb", json!({}), |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(50));
                Ok(())
            })
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .for_each(|worker| drop(worker.join().unwrap().unwrap()));
        });
        assert_eq!(runs.into_inner(), 1);
    }

    #[test]
    fn a_failed_stage_is_entered_again_and_keeps_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = StageStore::new(dir.path());
        let failed = store.run("train", json!({}), |p| {
            std::fs::write(p.join("checkpoint"), "half").unwrap();
            anyhow::bail!("killed")
        });
        assert!(failed.is_err());
        assert!(store.interrupted("train", &json!({})));
        let done = store.run("train", json!({}), |p| {
            assert_eq!(
                std::fs::read_to_string(p.join("checkpoint")).unwrap(),
                "half"
            );
            Ok(())
        });
        assert!(!done.unwrap().cached);
        assert!(!store.interrupted("train", &json!({})));
    }
}
