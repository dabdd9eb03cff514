//! Where answers go, and how an interrupted file is gone on with.

use super::source::{Item, Mentions};
use crate::error::BadInput;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use syncabel_corpus::predictions::{Prediction, TsvWriter};
use syncabel_corpus::{Document, Gold, pubtator};
use syncabel_decode::{NIL, NO_CODE};

/// A file of answers, or standard output.
pub(super) enum Sink {
    Tsv(TsvWriter),
    Json(Box<dyn Write>),
    /// One block a document, written when the next document begins.
    Pubtator {
        out: Box<dyn Write>,
        open: Option<Block>,
    },
}

/// A document whose answers come in.
pub(super) struct Block {
    source: Rc<Document>,
    linked: Document,
    /// Mentions of `source` before this one are answered: ids need not be unique.
    next: usize,
}

impl Sink {
    /// Starts a new file.
    pub(super) fn create(out: Option<&Path>, format: &str) -> Result<Self> {
        let stream = || -> Result<Box<dyn Write>> {
            Ok(match out {
                Some(path) => Box::new(BufWriter::new(Named::new(File::create(path), path)?)),
                None => Box::new(crate::cli::io::stdout()),
            })
        };
        Ok(match format {
            "jsonl" => Self::Json(stream()?),
            "pubtator" => Self::Pubtator {
                out: stream()?,
                open: None,
            },
            _ => Self::Tsv(match out {
                Some(path) => TsvWriter::create(path, &[])?,
                // Opened anew by its name, a file behind it would be emptied.
                None => {
                    TsvWriter::over(Box::new(crate::cli::io::stdout()), "standard output", &[])?
                }
            }),
        })
    }

    /// Goes on with a file of an interrupted run: a torn last row or document is dropped, the mentions of the others are skipped.
    /// Gives the number of these.
    pub(super) fn resume(
        path: &Path,
        format: &str,
        mentions: &mut Mentions<'_>,
    ) -> Result<(Self, u64)> {
        check_first_line(path, format)?;
        let mut torn = None;
        let (sink, ids) = match format {
            "tsv" => {
                let (writer, _) = TsvWriter::append(path, &[])?;
                (Self::Tsv(writer), tsv_ids(path)?)
            }
            "jsonl" => {
                let (file, bytes) = whole_lines(path)?;
                torn = Some((file.try_clone()?, bytes));
                let ids = jsonl_ids(path, bytes)?;
                let file = Named::new(Ok(file), path)?;
                (Self::Json(Box::new(BufWriter::new(file))), ids)
            }
            _ => return resume_pubtator(path, mentions),
        };
        let mut done = 0;
        for id in ids {
            let [document, mention, sentence] = id?;
            let known = mentions.next().transpose()?;
            let same = known.is_some_and(|known| {
                let known = &known.mention;
                (&known.document, &known.mention_id, &known.sentence)
                    == (&document, &mention, &sentence)
            });
            if !same {
                return Err(other_input(path));
            }
            done += 1;
        }
        // A file that turns out to be another one keeps what looked like a torn line.
        if let Some((mut file, bytes)) = torn {
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
        }
        Ok((sink, done))
    }

    pub(super) fn write(&mut self, prediction: &Prediction, document: &Rc<Document>) -> Result<()> {
        match self {
            Self::Tsv(writer) => Ok(writer.write(prediction)?),
            Self::Json(writer) => {
                serde_json::to_writer(&mut *writer, prediction)?;
                Ok(writer.write_all(b"\n")?)
            }
            Self::Pubtator { out, open } => {
                let is_new = !matches!(open, Some(now) if Rc::ptr_eq(&now.source, document));
                if is_new {
                    put(out, open.take())?;
                }
                let block = open.get_or_insert_with(|| Block::new(document));
                block.add(&prediction.mention_id, answer(&prediction.predicted_code));
                Ok(())
            }
        }
    }

    /// Hands everything that is whole to the operating system.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::Tsv(writer) => Ok(writer.flush()?),
            Self::Json(writer) => Ok(writer.flush()?),
            Self::Pubtator { out, .. } => Ok(out.flush()?),
        }
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if let Self::Pubtator { out, open } = &mut self {
            put(out, open.take())?;
        }
        self.flush()
    }
}

impl Block {
    fn new(document: &Rc<Document>) -> Self {
        let mut linked = (**document).clone();
        linked.mentions.clear();
        Self {
            source: Rc::clone(document),
            linked,
            next: 0,
        }
    }

    fn add(&mut self, mention_id: &str, answer: Gold) {
        let left = &self.source.mentions[self.next..];
        let Some(at) = left.iter().position(|m| m.id == mention_id) else {
            return;
        };
        let mut mention = left[at].clone();
        mention.gold = answer;
        self.linked.mentions.push(mention);
        self.next += at + 1;
    }
}

/// Writes a document, if there is one.
fn put(out: &mut dyn Write, block: Option<Block>) -> Result<()> {
    if let Some(block) = block {
        out.write_all(pubtator::block(&block.linked)?.as_bytes())?;
    }
    Ok(())
}

/// What stands for no concept is none.
fn answer(code: &str) -> Gold {
    if [NIL, NO_CODE].contains(&code) {
        Gold::none()
    } else {
        Gold::from_field(code)
    }
}

/// Refuses a file that does not begin as answers do, if only as far as an interruption let it.
fn check_first_line(path: &Path, format: &str) -> Result<()> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?.take(1 << 16)).read_until(b'\n', &mut line)?;
    let begins = |right: &[u8]| line.starts_with(right) || right.starts_with(&line);
    let is_ours = match format {
        "tsv" => begins(b"filename\tmention_id\t"),
        "jsonl" => begins(b"{\"filename\":"),
        // An id of any length may have been torn.
        _ => {
            line.windows(3).any(|three| three == b"|t|")
                || !line.ends_with(b"\n") && !line.contains(&b' ')
        }
    };
    if is_ours {
        return Ok(());
    }
    let message =
        "holds no answers of this format (--to); choose another --out or leave out --resume";
    Err(BadInput(format!("{} {message}", path.display())).into())
}

/// A file that says its name when it cannot be written to.
struct Named {
    file: File,
    path: PathBuf,
}

impl Named {
    fn new(file: std::io::Result<File>, path: &Path) -> Result<Self> {
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn named<T>(&self, result: std::io::Result<T>) -> std::io::Result<T> {
        let name = |e: std::io::Error| {
            std::io::Error::new(e.kind(), format!("{}: {e}", self.path.display()))
        };
        result.map_err(name)
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes);
        self.named(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.file.flush();
        self.named(flushed)
    }
}

fn other_input(path: &Path) -> anyhow::Error {
    let message = "holds answers for another input; choose another --out or leave out --resume";
    BadInput(format!("{} {message}", path.display())).into()
}

/// [`Sink::resume`] of a file of documents.
fn resume_pubtator(path: &Path, mentions: &mut Mentions<'_>) -> Result<(Sink, u64)> {
    let (mut keep, mut done) = (0, 0);
    let mut reader = BufReader::new(File::open(path)?);
    let mut text = Vec::new();
    loop {
        text.clear();
        let is_whole = loop {
            let read = reader.read_until(b'\n', &mut text)?;
            if read <= 1 {
                break read == 1 && text.ends_with(b"\n");
            }
        };
        if !is_whole {
            break;
        }
        let answered = std::str::from_utf8(&text)
            .ok()
            .map(|text| answered(text, mentions));
        match answered.transpose()?.flatten() {
            Some(items) if mentions.begin_a_document() => {
                done += items.len() as u64;
                keep += text.len() as u64;
            }
            // An error in the input ended the run before all mentions of its last document were answered.
            Some(items) if reader.fill_buf()?.is_empty() => {
                mentions.put_back(items);
                break;
            }
            _ => return Err(other_input(path)),
        }
    }
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(keep)?;
    file.seek(SeekFrom::End(0))?;
    let out = Box::new(BufWriter::new(Named::new(Ok(file), path)?));
    Ok((Sink::Pubtator { out, open: None }, done))
}

/// The next mentions of the input, if `text` is a document in which these are answered.
fn answered(text: &str, mentions: &mut Mentions<'_>) -> Result<Option<Vec<Item>>> {
    let mut lines = text.lines().peekable();
    let id = text.split('|').next().unwrap_or_default();
    while lines
        .next_if(|line| line.starts_with(&format!("{id}|")))
        .is_some()
    {}
    let codes = lines.filter_map(|line| line.rsplit_once('\t').map(|(_, code)| code));
    let mut items: Vec<Item> = Vec::new();
    let mut block: Option<Block> = None;
    for code in codes {
        let Some(item) = mentions.next().transpose()? else {
            return Ok(None);
        };
        let block = block.get_or_insert_with(|| Block::new(&item.document));
        if !Rc::ptr_eq(&block.source, &item.document) {
            return Ok(None);
        }
        let gold = if code == "-1" {
            Gold::none()
        } else {
            Gold::from_field(code)
        };
        block.add(&item.mention.mention_id, gold);
        items.push(item);
    }
    let same = block
        .map(|block| pubtator::block(&block.linked))
        .transpose()?;
    Ok((same.as_deref() == Some(text)).then_some(items))
}

/// Document, mention and sentence of every row.
type Ids = Box<dyn Iterator<Item = Result<[String; 3]>>>;

fn tsv_ids(path: &Path) -> Result<Ids> {
    let mut rows = csv::ReaderBuilder::new().delimiter(b'\t').from_path(path)?;
    let place = |header: &csv::StringRecord, name: &str| header.iter().position(|h| h == name);
    let header = rows.headers()?.clone();
    let places = ["filename", "mention_id", "sentence"].map(|name| place(&header, name));
    let [Some(document), Some(mention), Some(sentence)] = places else {
        let message =
            "has no columns filename, mention_id and sentence, so it cannot be gone on with";
        return Err(BadInput(format!("{} {message}", path.display())).into());
    };
    Ok(Box::new(rows.into_records().map(
        move |row| -> Result<[String; 3]> {
            let row = row?;
            Ok([document, mention, sentence].map(|at| row.get(at).unwrap_or_default().to_owned()))
        },
    )))
}

/// The same of the lines in the first `bytes` of a file.
fn jsonl_ids(path: &Path, bytes: u64) -> Result<Ids> {
    let shown = path.to_owned();
    let lines = BufReader::new(File::open(path)?.take(bytes)).lines();
    Ok(Box::new(lines.enumerate().map(
        move |(number, line)| -> Result<[String; 3]> {
            let row: Prediction = serde_json::from_str(&line?).map_err(|e| {
                BadInput(format!(
                    "{}:{}: no prediction: {e}",
                    shown.display(),
                    number + 1
                ))
            })?;
            Ok([row.filename, row.mention_id, row.sentence])
        },
    )))
}

/// A file of lines, to be written at its end, and the bytes before the line that an interruption tore.
fn whole_lines(path: &Path) -> Result<(File, u64)> {
    let mut keep = 0;
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        keep += read;
    }
    Ok((OpenOptions::new().write(true).open(path)?, keep))
}
