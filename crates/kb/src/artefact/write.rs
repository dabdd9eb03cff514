//! Writing an artefact: into a folder beside the target, then one rename.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{MANIFEST_FILE, Part};
use crate::{Error, Kb};

impl Kb {
    /// Writes the artefact to the folder `dir`, which appears complete or not at all. An existing
    /// KB there is replaced; programs that have it open keep the old one.
    ///
    /// # Errors
    /// [`Error::WouldReplace`] when `dir` is something else than a KB or an empty folder,
    /// [`Error::Io`] when the disk refuses; nothing is left behind then.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        if !replaceable(dir)? {
            return Err(Error::WouldReplace {
                path: dir.to_owned(),
            });
        }
        let fresh = sibling(dir, "new");
        let written = self
            .write_parts(&fresh)
            .and_then(|()| swap_in(&fresh, dir, &sibling(dir, "old")));
        if written.is_err() {
            let _ = fs::remove_dir_all(&fresh); // the first error is the one to tell
        }
        written
    }

    fn write_parts(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
        for part in Part::ALL {
            write_synced(&dir.join(part.file()), self.parts.bytes(part))?;
        }
        write_synced(&dir.join(MANIFEST_FILE), self.manifest.to_json().as_bytes())
    }
}

/// True where nothing would be lost: no such path, an empty folder, or a KB.
fn replaceable(dir: &Path) -> Result<bool, Error> {
    if !dir.exists() {
        return Ok(true);
    }
    if !dir.is_dir() {
        return Ok(false);
    }
    let mut entries = fs::read_dir(dir).map_err(|source| Error::io(dir, source))?;
    if entries.next().is_none() {
        return Ok(true);
    }
    let manifest = fs::read(dir.join(MANIFEST_FILE)).unwrap_or_default();
    let json = serde_json::from_slice::<serde_json::Value>(&manifest).unwrap_or_default();
    Ok(json.get("magic").and_then(|magic| magic.as_str()) == Some(super::MAGIC))
}

/// A hidden name beside the target, on the same file system, not shared with another process.
fn sibling(dir: &Path, role: &str) -> PathBuf {
    let name = dir
        .file_name()
        .map_or_else(|| "kb".into(), |name| name.to_string_lossy().into_owned());
    dir.with_file_name(format!(".{name}.{role}-{}", std::process::id()))
}

fn swap_in(fresh: &Path, dir: &Path, old: &Path) -> Result<(), Error> {
    let rename =
        |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| Error::io(to, source));
    if !dir.exists() {
        return rename(fresh, dir);
    }
    rename(dir, old)?;
    if let Err(error) = rename(fresh, dir) {
        let _ = fs::rename(old, dir); // put the old KB back
        return Err(error);
    }
    fs::remove_dir_all(old).map_err(|source| Error::io(old, source))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| Error::io(path, source))
}
