//! Append-only series of files, `NAME-00000.jsonl`, `NAME-00001.jsonl`, ...
//!
//! Only the last file of a series is ever written to, and only at its end. A process that dies leaves at most one torn
//! line, which the next one cuts off.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::line;
use crate::Error;

/// A file that has grown beyond this is followed by a new one, in bytes.
const SHARD_BYTES: u64 = 64 << 20;

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the file in its series.
    pub shard: u32,
    /// First byte.
    pub offset: u32,
    /// Length in bytes, without line feed.
    pub bytes: u32,
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    dir: PathBuf,
    name: &'static str,
    /// Number of the file that is written to.
    shard: u32,
    /// Its length.
    bytes: u64,
    /// Absent until something is written.
    file: Option<File>,
}

impl Series {
    /// Opens a series for appending; a torn tail is cut off.
    pub(super) fn open(dir: &Path, name: &'static str) -> Result<Self, Error> {
        let mut series = Series {
            dir: dir.to_owned(),
            name,
            shard: 0,
            bytes: 0,
            file: None,
        };
        while path_of(dir, name, series.shard + 1).is_file() {
            series.shard += 1;
        }
        let path = series.path();
        if path.is_file() {
            let whole = whole_bytes(&path)?;
            let length = path.metadata().map_err(Error::ledger_io(&path))?.len();
            if whole < length {
                tracing::warn!(file = %path.display(), bytes = length - whole, "a torn line at the end was cut off");
                let file = File::options().write(true).open(&path);
                file.and_then(|file| file.set_len(whole))
                    .map_err(Error::ledger_io(&path))?;
            }
            series.bytes = whole;
        }
        Ok(series)
    }

    fn path(&self) -> PathBuf {
        path_of(&self.dir, self.name, self.shard)
    }

    /// Appends one line (with its line feed). After a failure the file is cut back to what it was.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<Place, Error> {
        if self.bytes >= SHARD_BYTES {
            self.sync()?;
            (self.shard, self.bytes, self.file) = (self.shard + 1, 0, None);
        }
        let path = self.path();
        if self.file.is_none() {
            let file = File::options().create(true).append(true).open(&path);
            self.file = Some(file.map_err(Error::ledger_io(&path))?);
        }
        let file = self.file.as_mut().expect("opened above");
        if let Err(source) = file.write_all(line) {
            // The disk may be full: give back what was half written. If that fails too, the next opening does it.
            let _ = file.set_len(self.bytes);
            return Err(Error::ledger_io(&path)(source));
        }
        let place = Place {
            shard: self.shard,
            offset: self.bytes as u32, // a shard stays below 4 GiB: 64 MiB and one answer of at most 16 MiB
            bytes: line.len() as u32 - 1,
        };
        self.bytes += line.len() as u64;
        Ok(place)
    }

    /// Waits until everything written is on the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match &self.file {
            Some(file) => file.sync_data().map_err(Error::ledger_io(&self.path())),
            None => Ok(()),
        }
    }
}

/// Length of the part of a file that ends with a line feed. Only a piece without one can be what an interrupted write has
/// left: a line that ends and is not whole is damage (an editor that changed line ends, a disk), and what was paid for must
/// not be cut off with it.
fn whole_bytes(path: &Path) -> Result<u64, Error> {
    let (mut whole, mut number) = (0, 0);
    each_line_of(path, |offset, text, complete| {
        number += 1;
        if complete && !line::is_whole(text) {
            return Err(corrupt(path, number));
        }
        if complete {
            whole = offset + text.len() as u64 + 1;
        }
        Ok(())
    })?;
    Ok(whole)
}

/// Bytes that are checked and parsed side by side.
const PIECE_BYTES: usize = 4 << 20;

/// Calls `f` with what `parse` made of every line of a series, in order. Lines are checked and parsed in parallel, a few MiB at a time.
/// A torn piece at the very end is left out.
pub(super) fn each_parsed<T: Send>(
    dir: &Path,
    name: &'static str,
    parse: impl Fn(&[u8], &Path) -> Result<T, Error> + Sync,
    mut f: impl FnMut(Place, T),
) -> Result<(), Error> {
    for shard in 0.. {
        let path = path_of(dir, name, shard);
        if !path.is_file() {
            return Ok(());
        }
        let last = !path_of(dir, name, shard + 1).is_file();
        let mut piece = Piece::default();
        each_line_of(&path, |offset, text, complete| {
            if !complete && last {
                return Ok(());
            }
            piece.add(shard, offset, text, complete);
            if piece.text.len() < PIECE_BYTES {
                return Ok(());
            }
            piece.give(&path, &parse, &mut f)
        })?;
        piece.give(&path, &parse, &mut f)?;
    }
    Ok(())
}

/// Some lines of one file.
#[derive(Default)]
struct Piece {
    /// Lines given before.
    before: usize,
    /// The lines, one behind the other.
    text: Vec<u8>,
    /// Where each stands in the file, whether it had a line feed, and where it begins in `text`.
    lines: Vec<(Place, bool, usize)>,
}

impl Piece {
    fn add(&mut self, shard: u32, offset: u64, text: &[u8], complete: bool) {
        let place = Place {
            shard,
            offset: offset as u32,
            bytes: text.len() as u32,
        };
        self.lines.push((place, complete, self.text.len()));
        self.text.extend_from_slice(text);
    }

    /// Hands its lines on and is empty.
    fn give<T: Send>(
        &mut self,
        path: &Path,
        parse: &(impl Fn(&[u8], &Path) -> Result<T, Error> + Sync),
        f: &mut impl FnMut(Place, T),
    ) -> Result<(), Error> {
        let number = self.before + 1;
        let read = |(at, &(place, complete, start)): (usize, &(Place, bool, usize))| {
            let text = &self.text[start..start + place.bytes as usize];
            if !complete || !line::is_whole(text) {
                return Err(corrupt(path, number + at));
            }
            Ok((place, parse(text, path)?))
        };
        let parsed: Vec<Result<_, Error>> = self.lines.par_iter().enumerate().map(read).collect();
        for parsed in parsed {
            let (place, parsed) = parsed?;
            f(place, parsed);
        }
        self.before += self.lines.len();
        self.text.clear();
        self.lines.clear();
        Ok(())
    }
}

/// Calls `f` with offset, bytes (without line feed) and whether there was a line feed.
fn each_line_of(
    path: &Path,
    mut f: impl FnMut(u64, &[u8], bool) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::ledger_io(path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut offset, mut buffer) = (0, Vec::new());
    loop {
        buffer.clear();
        let read = reader
            .read_until(b'\n', &mut buffer)
            .map_err(Error::ledger_io(path))?;
        if read == 0 {
            return Ok(());
        }
        let complete = buffer.last() == Some(&b'\n');
        f(offset, &buffer[..read - usize::from(complete)], complete)?;
        offset += read as u64;
    }
}

/// Reads lines by place; keeps the files open.
#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    name: &'static str,
    files: Vec<Option<File>>,
}

impl Reader {
    pub(super) fn new(dir: &Path, name: &'static str) -> Self {
        Reader {
            dir: dir.to_owned(),
            name,
            files: Vec::new(),
        }
    }

    /// The line at a place.
    pub(super) fn line(&mut self, place: Place) -> Result<Vec<u8>, Error> {
        let path = path_of(&self.dir, self.name, place.shard);
        let io = Error::ledger_io(&path);
        let at = place.shard as usize;
        if self.files.len() <= at {
            self.files.resize_with(at + 1, || None);
        }
        let mut read = || -> std::io::Result<Vec<u8>> {
            if self.files[at].is_none() {
                self.files[at] = Some(File::open(&path)?);
            }
            let file = self.files[at].as_mut().expect("opened above");
            file.seek(SeekFrom::Start(u64::from(place.offset)))?;
            let mut line = vec![0; place.bytes as usize];
            file.read_exact(&mut line)?;
            Ok(line)
        };
        read().map_err(io)
    }
}

fn corrupt(path: &Path, line: usize) -> Error {
    Error::LedgerDamaged {
        path: path.to_owned(),
        line,
    }
}

fn path_of(dir: &Path, name: &str, shard: u32) -> PathBuf {
    dir.join(format!("{name}-{shard:05}.jsonl"))
}
