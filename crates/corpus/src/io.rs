//! Opening, reading line by line, and writing whole files, gzip or not.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::error::{Error, Location};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file for reading; gzip is recognised by its first two bytes, whatever the name.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(Error::io(path))?);
    let head = reader.fill_buf().map_err(Error::io(path))?;
    if head.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(BufReader::with_capacity(
            1 << 16,
            MultiGzDecoder::new(reader),
        )));
    }
    Ok(Box::new(reader))
}

/// What can be read from any place.
pub(crate) trait Seekable: Read + Seek + Send {}

impl<T: Read + Seek + Send> Seekable for T {}

/// Opens a file for reading in any order. Gzip, recognised by its first two bytes, is unpacked into memory.
pub(crate) fn open_seekable(path: &Path) -> Result<Box<dyn Seekable>, Error> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut head = Vec::new();
    (&file)
        .take(2)
        .read_to_end(&mut head)
        .and_then(|_| file.rewind())
        .map_err(Error::reading(path))?;
    if head != GZIP_MAGIC {
        return Ok(Box::new(file));
    }
    let mut bytes = Vec::new();
    MultiGzDecoder::new(BufReader::new(file))
        .read_to_end(&mut bytes)
        .map_err(Error::reading(path))?;
    Ok(Box::new(Cursor::new(bytes)))
}

/// Lines of a UTF-8 file with their numbers; a byte order mark and the line ends (`\n` or `\r\n`) are taken off.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    line: usize,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Lines {
            path: path.to_path_buf(),
            reader: open(path)?,
            buffer: Vec::new(),
            line: 0,
        })
    }

    /// The place of the line read last.
    pub(crate) fn at(&self) -> Location {
        Location::line(&self.path, self.line)
    }

    /// The next line, or `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> Result<Option<&str>, Error> {
        self.buffer.clear();
        if self
            .reader
            .read_until(b'\n', &mut self.buffer)
            .map_err(Error::reading(&self.path))?
            == 0
        {
            return Ok(None);
        }
        self.line += 1;
        let mut bytes = self.buffer.as_slice();
        if self.line == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(e) => Err(Error::NotUtf8 {
                at: Location::line(&self.path, self.line),
                byte: e.valid_up_to() + 1,
            }),
        }
    }
}

/// The whole of a UTF-8 file, without a byte order mark.
pub(crate) fn read_to_string(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(Error::reading(path))?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&b| b == b'\n').count() + 1;
        let line_start = good.iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1);
        Error::NotUtf8 {
            at: Location::line(path, line),
            byte: good.len() - line_start + 1,
        }
    })?;
    if text.trim().is_empty() {
        return Err(Error::Empty {
            path: path.to_path_buf(),
        });
    }
    Ok(text)
}

/// Whether a path asks for gzip.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
}

/// A new file, compressed if its name ends in `.gz`, that takes its place only when it is complete:
/// everything goes to a temporary neighbour, which [`NewFile::finish`] syncs and renames.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    sink: Option<Sink>,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let is_stream = is_stream(path);
        // What the caller calls it, not what a link leads to.
        let is_gzip = is_gzip(path);
        // A link stays one, and what it leads to is replaced.
        let target = match is_stream {
            true => path.to_owned(),
            false => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        };
        let path = target.as_path();
        let (temporary, file) = if is_stream {
            // To rename a file over it would be its end, and what stands in `>> file` must stay.
            let file = File::options().append(true).open(path);
            (path.to_owned(), file)
        } else {
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(format!(".{}.tmp", std::process::id()));
            let temporary = path.with_file_name(name);
            let file = File::create(&temporary);
            (temporary, file)
        };
        let file = BufWriter::with_capacity(1 << 16, file.map_err(Error::io(&temporary))?);
        let sink = match is_gzip {
            // The header's time stays 0, so the same corpus gives the same bytes.
            true => Sink::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
            false => Sink::Plain(file),
        };
        Ok(NewFile {
            path: path.to_path_buf(),
            temporary,
            sink: Some(sink),
        })
    }

    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let done = match self.sink.take() {
            Some(Sink::Plain(file)) => file.into_inner().map_err(|e| e.into_error()),
            Some(Sink::Gzip(file)) => file
                .finish()
                .and_then(|f| f.into_inner().map_err(|e| e.into_error())),
            None => return Ok(()),
        };
        if self.temporary == self.path {
            // Pipes and terminals cannot be synced.
            return done.map(drop).map_err(Error::io(&self.path));
        }
        done.and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .map_err(Error::io(&self.path))
    }
}

/// Whether what is written to a path is not kept there: a device, a pipe, or a name of what the process has open (`/dev/stdout`), though
/// that be a file.
fn is_stream(path: &Path) -> bool {
    let names_what_is_open = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
    names_what_is_open.iter().any(|name| path.starts_with(name))
        || std::fs::metadata(path).is_ok_and(|known| !known.is_file() && !known.is_dir())
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.sink {
            Some(Sink::Plain(file)) => file.write(bytes),
            Some(Sink::Gzip(file)) => file.write(bytes),
            None => Err(std::io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.sink {
            Some(Sink::Plain(file)) => file.flush(),
            Some(Sink::Gzip(file)) => file.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Not there any more after a successful `finish`; then there is nothing to clean up. Nor is a device.
        if self.temporary != self.path {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // A pipe that somebody reads, as `/dev/stdout` may be.
        let (mut reader, writer) = std::io::pipe().unwrap();
        use std::os::fd::AsRawFd;
        let pipe = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
        for path in [&link, &pipe] {
            if !path.exists() {
                eprintln!("SKIPPED: there is no {}", path.display());
                continue;
            }
            let mut file = NewFile::create(path).unwrap();
            file.write_all(b"new").unwrap();
            file.finish().unwrap();
            assert!(path.exists(), "{}", path.display());
        }
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
        if pipe.exists() {
            drop(writer);
            let mut piped = String::new();
            std::io::Read::read_to_string(&mut reader, &mut piped).unwrap();
            assert_eq!(piped, "new");
        }
        // What stands before in a file that is open, as after `>> file`, stays.
        let open = File::options().append(true).open(&real).unwrap();
        let named = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        if named.exists() {
            let mut file = NewFile::create(&named).unwrap();
            file.write_all(b" and more").unwrap();
            file.finish().unwrap();
            assert_eq!(std::fs::read(&real).unwrap(), b"new and more");
        }
        // What is given up leaves nothing behind, and takes nothing along.
        drop(NewFile::create(&link).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn gzip_round_trips_and_is_reproducible() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            let mut file = NewFile::create(&path).unwrap();
            file.write_all("é\r\nb".as_bytes()).unwrap();
            file.finish().unwrap();
            path
        };
        let (a, b) = (write("a.gz"), write("b.gz"));
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let mut lines = Lines::open(&a).unwrap();
        assert_eq!(lines.next_line().unwrap(), Some("é"));
        assert_eq!(lines.next_line().unwrap(), Some("b"));
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            2,
            "temporary files are gone"
        );
    }

    #[test]
    fn a_gzip_file_that_is_cut_short_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gz");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all("line\n".repeat(1000).as_bytes()).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for kept in [12, bytes.len() / 2, bytes.len() - 4] {
            std::fs::write(&path, &bytes[..kept]).unwrap();
            let mut lines = Lines::open(&path).unwrap();
            let mut read = || -> Result<(), Error> {
                while lines.next_line()?.is_some() {}
                Ok(())
            };
            assert!(matches!(read(), Err(Error::Gzip { .. })), "{kept} bytes");
            let error = read_to_string(&path).unwrap_err();
            assert!(error.to_string().contains("x.gz: the gzip file"), "{error}");
        }
    }

    #[test]
    fn bad_utf8_is_located() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, b"ok\nab\xff").unwrap();
        let error = read_to_string(&path).unwrap_err().to_string();
        assert!(error.contains("x.txt:2: not UTF-8 at byte 3"), "{error}");
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
