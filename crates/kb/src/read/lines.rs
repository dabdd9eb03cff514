//! Lines of a plain or gzip-compressed UTF-8 file, with their numbers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::Error;
use crate::raw::SourceLocation;

/// Buffer of the decompressor's input and output.
const BUFFER_BYTES: usize = 256 << 10;

/// A line's place, cheap to pass around until an error or a concept needs to own it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    /// From 1.
    pub(super) line: usize,
}

impl Place<'_> {
    pub(super) fn location(self) -> SourceLocation {
        SourceLocation {
            path: self.path.to_owned(),
            line: self.line,
        }
    }

    pub(super) fn syntax(self, problem: impl Into<String>) -> Error {
        Error::Syntax {
            at: self.location(),
            problem: problem.into(),
        }
    }

    /// A line that begins with `#` where the format has no comments; files of CTD begin so.
    pub(super) fn comment(self) -> Error {
        self.syntax(
            "this format has no comments; if the file is as CTD publishes it, say format ctd",
        )
    }
}

/// Calls `each` with every line, without its line end.
pub(super) fn for_each_line(
    path: &Path,
    mut each: impl FnMut(Place<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut input = open(path).map_err(|source| Error::io(path, source))?;
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        let read = input.read_until(b'\n', &mut buffer);
        if read.map_err(|source| Error::reading(path, source))? == 0 {
            break;
        }
        each(Place { path, line }, text_of(path, line, &buffer)?)?;
    }
    Ok(())
}

fn text_of<'b>(path: &Path, line: usize, buffer: &'b [u8]) -> Result<&'b str, Error> {
    let mut bytes = buffer.strip_suffix(b"\n").unwrap_or(buffer);
    bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if line == 1 {
        bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    }
    std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
        path: path.to_owned(),
        line,
        byte: error.valid_up_to() + 1,
    })
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    if magic == [0x1f, 0x8b] {
        let unpacked = flate2::bufread::MultiGzDecoder::new(file);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
    }
    Ok(Box::new(file))
}
