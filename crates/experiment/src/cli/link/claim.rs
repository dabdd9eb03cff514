//! One process at a time writes a file of answers.

use crate::error::BadInput;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// A locked output file; other processes that want it are refused until it is dropped.
pub(super) struct Claim {
    path: PathBuf,
    /// Nothing for what is no ordinary file, such as `/dev/stdout`.
    file: Option<File>,
    /// Whether it was made here and nothing has been written to it.
    is_new: bool,
}

impl Claim {
    /// Locks an output file, which is made if it is not there.
    ///
    /// # Errors
    /// Bad input while another process writes to it, and where it is one of `inputs`.
    pub(super) fn new(path: &Path, inputs: &[&Path]) -> Result<Self> {
        let shown = || path.display().to_string();
        if path.extension().is_some_and(|end| end == "gz") {
            let message = "answers are not written compressed; leave `.gz` out, or write to stdout through gzip";
            return Err(BadInput(format!("{}: {message}", shown())).into());
        }
        let is_new = !path.exists();
        let mut claim = Self {
            path: path.to_owned(),
            file: None,
            is_new,
        };
        if !is_new && !path.is_file() {
            return Ok(claim);
        }
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if let (false, Some(input)) = (
            is_new,
            inputs.iter().find(|input| real(input) == real(path)),
        ) {
            let message = "is read by this very call; choose another --out";
            return Err(BadInput(format!("{} {message}", input.display())).into());
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(shown)?;
        match file.try_lock() {
            Ok(()) => claim.file = Some(file),
            Err(TryLockError::WouldBlock) => {
                claim.is_new = false;
                let message =
                    "another process is writing to it; wait for it, or choose another --out";
                return Err(BadInput(format!("{}: {message}", shown())).into());
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    "{}: cannot be locked ({error}); no other process may write to it",
                    shown()
                );
            }
        }
        Ok(claim)
    }

    /// Whether it is a file that a record may lie beside.
    pub(super) fn is_file(&self) -> bool {
        self.path.is_file()
    }

    /// Whether answers may stand in it.
    pub(super) fn holds_something(&self) -> bool {
        self.is_file() && std::fs::metadata(&self.path).is_ok_and(|data| data.len() > 0)
    }

    /// From now on it is kept, whatever happens.
    pub(super) fn begin(&mut self) {
        self.is_new = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_new && self.file.is_some() && !self.holds_something() {
            // Nothing came of it; an empty file that stays does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
