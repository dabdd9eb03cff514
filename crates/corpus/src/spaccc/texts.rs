//! The texts that a table points into: what is held is where each one lies.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Location};
use crate::io::{self, Seekable};

#[derive(Deserialize)]
struct TextLine {
    doc_id: String,
    text: String,
}

/// Texts by their position among those of the corpus.
pub(super) enum Texts {
    /// A line each of one file.
    Lines {
        path: PathBuf,
        file: BufReader<Box<dyn Seekable>>,
        /// Byte where each line begins, and its number.
        places: Vec<(u64, usize)>,
    },
    /// A file each.
    Files(Vec<PathBuf>),
}

impl Texts {
    /// Finds the texts of a table, and the ids of their documents.
    pub(super) fn find(table: &Path) -> Result<(Self, Vec<String>), Error> {
        let folder = table.parent().unwrap_or(Path::new(""));
        let name = table
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let stem = name.split('.').next().unwrap_or_default();
        for file in [
            format!("{stem}_texts.jsonl"),
            format!("{stem}_texts.jsonl.gz"),
        ] {
            let path = folder.join(file);
            if path.is_file() {
                return lines(path);
            }
        }
        for name in [format!("{stem}_texts"), "txt".to_owned()] {
            let path = folder.join(name);
            if path.is_dir() {
                return files(&path);
            }
        }
        Err(Error::Structure {
            at: Location::line(table, 0),
            problem: format!(
                "the texts are missing: put {stem}_texts.jsonl (`doc_id` and `text` a line) or a folder {stem}_texts of DOCUMENT.txt beside the table"
            ),
        })
    }

    /// Reads a text.
    pub(super) fn read(&mut self, position: usize) -> Result<String, Error> {
        match self {
            Texts::Files(paths) => io::read_to_string(&paths[position]),
            Texts::Lines { path, file, places } => {
                let (start, line) = places[position];
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_until(b'\n', &mut bytes))
                    .map_err(Error::reading(path))?;
                let at = Location::line(path, line);
                Ok(parse(utf8(&bytes, &at)?, &at)?.text)
            }
        }
    }
}

fn lines(path: PathBuf) -> Result<(Texts, Vec<String>), Error> {
    let mut file = BufReader::with_capacity(1 << 16, io::open_seekable(&path)?);
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    let (mut start, mut line) = (0, 0);
    loop {
        bytes.clear();
        let read = file.read_until(b'\n', &mut bytes);
        let length = read.map_err(Error::reading(&path))?;
        if length == 0 {
            return Ok((Texts::Lines { path, file, places }, ids));
        }
        line += 1;
        let at = Location::line(&path, line);
        let text = utf8(&bytes, &at)?;
        if !text.trim().is_empty() {
            ids.push(parse(text, &at)?.doc_id);
            places.push((start, line));
        }
        start += length as u64;
    }
}

/// A line without a byte order mark.
fn utf8<'b>(bytes: &'b [u8], at: &Location) -> Result<&'b str, Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
        at: at.clone(),
        byte: error.valid_up_to() + 1,
    })
}

fn parse(line: &str, at: &Location) -> Result<TextLine, Error> {
    serde_json::from_str(line).map_err(|error| Error::Json {
        at: at.clone(),
        column: error.column().max(1),
        problem: error.to_string(),
    })
}

fn files(folder: &Path) -> Result<(Texts, Vec<String>), Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::io(folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    let id = |path: &PathBuf| {
        path.file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned())
    };
    let ids = paths.iter().map(id).collect();
    Ok((Texts::Files(paths), ids))
}
