//! Cells of a sweep side by side, each in a process of its own.
//!
//! Small models do not keep many cores busy; two of them with half the threads each finish sooner than one after the
//! other. Processes, not threads: a cell that dies takes nothing with it, and memory is its own. Stages are locked, so
//! what cells share is made once.

use crate::progress;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A cell to be run by a worker.
#[derive(Debug, Clone)]
pub struct Job {
    /// The cell's label.
    pub label: String,
    /// Arguments of `syncabel`.
    pub arguments: Vec<String>,
    /// Where the worker's log goes.
    pub log: PathBuf,
}

/// Runs all jobs, `workers` at a time, and stops starting new ones after the first that fails.
///
/// # Errors
/// The first failure, with the end of its log.
pub fn run_all(jobs: Vec<Job>, workers: usize) -> Result<()> {
    let threads = (std::thread::available_parallelism().map_or(1, usize::from) / workers).max(1);
    let bar = progress::bar(jobs.len() as u64, "cells").with_prefix("sweep");
    let queue = Mutex::new(jobs.into_iter());
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let work = || {
        while failure.lock().is_ok_and(|f| f.is_none()) {
            let Some(job) = queue.lock().ok().and_then(|mut q| q.next()) else {
                break;
            };
            tracing::info!("{}: started, log in {}", job.label, job.log.display());
            if let Err(error) = run(&job, threads) {
                if let Ok(mut slot) = failure.lock() {
                    slot.get_or_insert(error);
                }
                break;
            }
            tracing::info!("{}: done", job.label);
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    bar.finish_and_clear();
    match failure.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => bail!("a worker thread panicked"),
    }
}

fn run(job: &Job, threads: usize) -> Result<()> {
    let folder = job
        .log
        .parent()
        .ok_or_else(|| anyhow!("{} has no folder", job.log.display()))?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let log =
        File::create(&job.log).with_context(|| format!("cannot write {}", job.log.display()))?;
    let status = Command::new(std::env::current_exe().context("cannot find this program")?)
        .args(&job.arguments)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .status()
        .context("cannot start a worker")?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&job.log).unwrap_or_default();
    let tail: Vec<&str> = text.lines().rev().take(5).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    let message = format!(
        "cell `{}` ended with {status}; the end of {}:\n{}",
        job.label,
        job.log.display(),
        tail.join("\n")
    );
    if status.code() == Some(2) {
        Err(crate::error::BadInput(message).into())
    } else {
        Err(anyhow!(message))
    }
}
