//! A file in pieces of whole rows, for several threads to take one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memrchr};

/// Bytes of a piece, up to the end of its last row.
pub(super) const PIECE_BYTES: u64 = 1 << 20;
/// Bytes read at a time to find the end of a piece's last row.
const ROW_BYTES: u64 = 1 << 14;

/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is left of a file behind its header.
pub(super) enum Pieces {
    /// A file of known length: whoever takes a piece reads it.
    File { path: PathBuf, rest: Range<u64> },
    /// A stream, which has to be read in order.
    Stream {
        source: Box<dyn Read + Send>,
        /// What was read behind the end of the last piece.
        rest: Vec<u8>,
    },
}

/// A piece of a file.
pub(super) enum Piece {
    /// The rows that begin in a range of bytes. The byte before it belongs to the file.
    Range(PathBuf, Range<u64>),
    /// The rows themselves.
    Bytes(Vec<u8>),
}

impl Pieces {
    /// Opens a file, gzipped or not, and skips the header; `None` if the header does not stand there plainly, with tabs between
    /// these names and a line feed behind.
    pub(super) fn open(path: &Path, header: &[&str]) -> io::Result<Option<Self>> {
        let mut file = BufReader::new(File::open(path)?);
        if file.fill_buf()?.starts_with(&GZIP_MAGIC) {
            let mut source = BufReader::new(MultiGzDecoder::new(file));
            return Ok(skip_header(&mut source, header)?.map(|_| Pieces::stream(source)));
        }
        let Some(length) = skip_header(&mut file, header)? else {
            return Ok(None);
        };
        // Files that the kernel makes up while they are read say that they are empty.
        let end = file.get_ref().metadata()?.len();
        Ok(Some(match end {
            0 => Pieces::stream(file),
            _ => Pieces::File {
                path: path.to_path_buf(),
                rest: length..end.max(length),
            },
        }))
    }

    fn stream(source: impl Read + Send + 'static) -> Self {
        Pieces::Stream {
            source: Box::new(source),
            rest: Vec::new(),
        }
    }

    /// The next piece; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        match self {
            Pieces::File { rest, .. } if rest.is_empty() => Ok(None),
            Pieces::File { path, rest } => {
                let end = rest.end.min(rest.start + PIECE_BYTES);
                let piece = Piece::Range(path.clone(), rest.start..end);
                rest.start = end;
                Ok(Some(piece))
            }
            Pieces::Stream { source, rest } => {
                let bytes = block(source, rest)?;
                Ok((!bytes.is_empty()).then_some(Piece::Bytes(bytes)))
            }
        }
    }
}

/// The header's length in bytes, if it is one.
fn skip_header(source: &mut impl BufRead, header: &[&str]) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    source.read_until(b'\n', &mut line)?;
    let Some(names) = line.strip_suffix(b"\n") else {
        return Ok(None);
    };
    let names = names.strip_prefix(b"\xef\xbb\xbf").unwrap_or(names);
    let as_read = names.split(|&byte| byte == b'\t');
    let same = as_read.eq(header.iter().map(|name| name.as_bytes()));
    Ok(same.then_some(line.len() as u64))
}

/// Whole rows of a stream; nothing at its end.
fn block(source: &mut dyn Read, rest: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(rest.len() + PIECE_BYTES as usize);
    block.append(rest);
    loop {
        let before = block.len();
        let read = source.take(PIECE_BYTES).read_to_end(&mut block)?;
        if read == 0 {
            return Ok(block);
        }
        if let Some(end) = memrchr(b'\n', &block[before..]) {
            let end = before + end + 1;
            rest.extend_from_slice(&block[end..]);
            block.truncate(end);
            return Ok(block);
        }
    }
}

impl Piece {
    /// Its rows, each with its end (the last one of the file may lack it), and how many bytes to skip before them.
    pub(super) fn read(self) -> io::Result<(Vec<u8>, usize)> {
        match self {
            Piece::Bytes(bytes) => Ok((bytes, 0)),
            Piece::Range(path, range) => rows_that_begin_in(&path, range),
        }
    }
}

fn rows_that_begin_in(path: &Path, range: Range<u64>) -> io::Result<(Vec<u8>, usize)> {
    let mut file = File::open(path)?;
    // A row begins where the byte before ends one.
    let before = range.start - 1;
    file.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::with_capacity((range.end - before + ROW_BYTES) as usize);
    (&file).take(range.end - before).read_to_end(&mut bytes)?;
    let begins = &bytes[..bytes.len().saturating_sub(1)];
    let Some(end_before) = memchr(b'\n', begins) else {
        return Ok((Vec::new(), 0));
    };
    while bytes.last() != Some(&b'\n') {
        let read_before = bytes.len();
        if (&file).take(ROW_BYTES).read_to_end(&mut bytes)? == 0 {
            break;
        }
        if let Some(end) = memchr(b'\n', &bytes[read_before..]) {
            bytes.truncate(read_before + end + 1);
        }
    }
    Ok((bytes, end_before + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row is in exactly one piece, wherever the borders fall.
    #[test]
    fn ranges_share_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.tsv");
        for text in [
            "h\na\nbcd\n\nefghij\nk",
            "h\nabcdefgh\n",
            "h\n\n\n\n",
            "h\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let end = text.len() as u64;
            for step in 1..=end {
                let mut rows = Vec::new();
                let mut start = 2;
                while start < end {
                    let piece = Piece::Range(path.clone(), start..end.min(start + step));
                    let (bytes, skip) = piece.read().unwrap();
                    rows.extend_from_slice(&bytes[skip..]);
                    start += step;
                }
                assert_eq!(String::from_utf8(rows).unwrap(), text[2..], "step {step}");
            }
        }
    }
}
