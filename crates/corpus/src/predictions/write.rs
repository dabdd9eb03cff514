//! Writing prediction files, all at once or row by row with the chance to go on after an interruption.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{COLUMNS, Prediction, Reader};
use crate::error::{Error, Location};
use crate::io;

/// Writes a whole file, gzip if the name ends in `.gz`. Extra columns are those of all rows, in order of first appearance.
///
/// # Errors
/// [`Error::Io`].
pub fn write_tsv(path: &Path, predictions: &[Prediction]) -> Result<(), Error> {
    let mut extra: Vec<String> = Vec::new();
    for (name, _) in predictions.iter().flat_map(|p| &p.extra) {
        if !extra.contains(name) {
            extra.push(name.clone());
        }
    }
    let mut file = io::NewFile::create(path)?;
    let mut bytes = encode(&header(&extra))?;
    for (i, prediction) in predictions.iter().enumerate() {
        bytes.extend(encode(&cells(
            prediction,
            &extra,
            &Location::line(path, i + 2),
        )?)?);
        file.write_all(&bytes).map_err(Error::io(path))?;
        bytes.clear();
    }
    file.write_all(&bytes).map_err(Error::io(path))?;
    file.finish()
}

/// Writes a prediction file row by row (not compressed), so that what is done is not lost when the process dies.
///
/// ```
/// use syncabel_corpus::predictions::{Prediction, TsvWriter, read_tsv};
/// # let dir = std::env::temp_dir().join(format!("syncabel-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// let path = dir.join("predictions.tsv");
/// let mut writer = TsvWriter::create(&path, &[])?;
/// writer.write(&Prediction { filename: "note-1".into(), code: "D006073".into(), ..Prediction::default() })?;
/// writer.finish()?;
/// let (writer, done) = TsvWriter::append(&path, &[])?;
/// assert_eq!(done, read_tsv(&path)?.len());
/// # drop(writer); std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), syncabel_corpus::Error>(())
/// ```
pub struct TsvWriter {
    path: PathBuf,
    out: Box<dyn Write + Send>,
    /// The file behind it, to be synced; `None` for a stream.
    file: Option<File>,
    extra: Vec<String>,
    rows: usize,
}

impl TsvWriter {
    /// Starts a new file with the given extra columns; an old one is lost.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path, extra_columns: &[String]) -> Result<Self, Error> {
        let file = File::create(path).map_err(Error::io(path))?;
        Self::to_file(path, file, extra_columns, 0)?.begun()
    }

    /// Writes to a stream, called `name` in errors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn over(
        out: Box<dyn Write + Send>,
        name: &str,
        extra_columns: &[String],
    ) -> Result<Self, Error> {
        let writer = TsvWriter {
            path: PathBuf::from(name),
            out,
            file: None,
            extra: extra_columns.to_vec(),
            rows: 0,
        };
        writer.begun()
    }

    fn to_file(path: &Path, file: File, extra: &[String], rows: usize) -> Result<Self, Error> {
        let behind = file.try_clone().map_err(Error::io(path))?;
        Ok(TsvWriter {
            path: path.to_path_buf(),
            out: Box::new(BufWriter::new(file)),
            file: Some(behind),
            extra: extra.to_vec(),
            rows,
        })
    }

    /// With its header.
    fn begun(mut self) -> Result<Self, Error> {
        let header = encode(&header(&self.extra))?;
        self.put(&header)?;
        self.flush()?;
        Ok(self)
    }

    /// Goes on with a file that an earlier process may have left in the middle of a row: a torn last row is dropped.
    /// Gives the number of whole rows that stand there. A file that is missing, or was torn before its header was whole, is started anew.
    ///
    /// # Errors
    /// [`Error::Structure`] if the file has other columns; errors of [`super::read_tsv`] if a row before the last is bad.
    pub fn append(path: &Path, extra_columns: &[String]) -> Result<(Self, usize), Error> {
        let Some((keep_bytes, rows)) = whole_rows(path, &header(extra_columns))? else {
            return Ok((TsvWriter::create(path, extra_columns)?, 0));
        };
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(Error::io(path))?;
        file.set_len(keep_bytes)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(Error::io(path))?;
        let writer = Self::to_file(path, file, extra_columns, rows)?;
        Ok((writer, rows))
    }

    /// Adds a row. It is safe from the process dying after the next [`TsvWriter::flush`].
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Structure`] for an extra column that was not announced.
    pub fn write(&mut self, prediction: &Prediction) -> Result<(), Error> {
        let at = Location::line(&self.path, self.rows + 2);
        let row = encode(&cells(prediction, &self.extra, &at)?)?;
        self.put(&row)?;
        self.rows += 1;
        Ok(())
    }

    /// Number of rows in the file, old ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::io(&self.path))
    }

    /// Flushes and syncs to disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        match &self.file {
            Some(file) => file.sync_all().map_err(Error::io(&self.path)),
            None => Ok(()),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::io(&self.path))
    }
}

/// Length in bytes of the whole rows of a file, and how many there are; `None` if not even the header is whole.
fn whole_rows(path: &Path, header: &[String]) -> Result<Option<(u64, usize)>, Error> {
    let Some(length) = ended_length(path)? else {
        return Ok(None);
    };
    let mut reader = Reader::open(path)?;
    if reader.columns() != header {
        return Err(Error::Structure {
            at: Location::line(path, 1),
            problem: format!(
                "cannot append: the file has the columns {}, the rows to come have {}; write to another file",
                reader.columns().join(", "),
                header.join(", ")
            ),
        });
    }
    let mut keep = None;
    let mut rows = 0;
    loop {
        match reader.next_row() {
            Ok(None) => return Ok(Some((keep.unwrap_or(length), rows))),
            // Only the last row may be torn; it is if it does not end in a line feed or does not parse.
            Ok(Some(_)) if reader.is_after(length) => keep = Some(reader.records.row_start_bytes()),
            Ok(Some(_)) => rows += 1,
            Err(error) => {
                let start = reader.records.row_start_bytes();
                return match reader.next_row() {
                    Ok(None) => Ok(Some((start, rows))),
                    _ => Err(error),
                };
            }
        }
    }
}

/// Position after the last line feed; `None` if the file is missing or has none.
fn ended_length(path: &Path) -> Result<Option<u64>, Error> {
    const PIECE: u64 = 64 << 10;
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io(path))?,
    };
    let mut end = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    while end > 0 {
        let from = end.saturating_sub(PIECE);
        bytes.resize((end - from) as usize, 0);
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(Error::io(path))?;
        if let Some(at) = bytes.iter().rposition(|&b| b == b'\n') {
            return Ok(Some(from + at as u64 + 1));
        }
        end = from;
    }
    Ok(None)
}

impl Reader {
    /// Whether the row read last reaches beyond `bytes`.
    fn is_after(&self, bytes: u64) -> bool {
        self.records.position_bytes() > bytes
    }
}

fn header(extra: &[String]) -> Vec<String> {
    COLUMNS
        .iter()
        .map(|c| (*c).to_owned())
        .chain(extra.iter().cloned())
        .collect()
}

fn cells(prediction: &Prediction, extra: &[String], at: &Location) -> Result<Vec<String>, Error> {
    if let Some((name, _)) = prediction
        .extra
        .iter()
        .find(|(name, _)| !extra.contains(name))
    {
        return Err(Error::Structure {
            at: at.clone(),
            problem: format!("extra column {name:?} was not announced when the file was started"),
        });
    }
    let p = prediction;
    let candidates = match p.candidates.is_empty() {
        true => String::new(),
        // Strings and finite numbers always serialise; NaN becomes null and is refused on reading.
        false => serde_json::to_string(&p.candidates).unwrap_or_default(),
    };
    let mut cells = vec![
        p.filename.clone(),
        p.mention_id.clone(),
        p.label.clone(),
        p.start_span.to_string(),
        p.end_span.to_string(),
        p.span.clone(),
        p.code.clone(),
        p.semantic_rel.clone(),
        p.annotation.clone(),
        p.sentence.clone(),
        p.prediction.clone(),
        number(p.prediction_score),
        number(p.prediction_beam_score),
        p.predicted_code.clone(),
        candidates,
        p.probability.map_or_else(String::new, number),
        p.margin.map_or_else(String::new, number),
    ];
    let value = |name: &String| {
        p.extra
            .iter()
            .find(|(n, _)| n == name)
            .map_or_else(String::new, |(_, v)| v.clone())
    };
    cells.extend(extra.iter().map(value));
    Ok(cells)
}

/// Shortest digits that read back as the same number; NaN as an empty cell.
fn number(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        format!("{value:?}")
    }
}

/// One line of the file.
fn encode(cells: &[String]) -> Result<Vec<u8>, Error> {
    let to_error = |e: std::io::Error| Error::Io {
        path: PathBuf::from("a table row"),
        source: e,
    };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(b'\t')
        .from_writer(Vec::new());
    writer.write_record(cells).map_err(|e| to_error(e.into()))?;
    writer.into_inner().map_err(|e| to_error(e.into_error()))
}
