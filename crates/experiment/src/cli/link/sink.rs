//! Where answers go, and how an interrupted file is gone on with.

use super::source::Mentions;
use crate::error::BadInput;
use anyhow::Result;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use syncabel_corpus::predictions::{Prediction, TsvWriter};
use syncabel_corpus::{Document, Gold, pubtator};
use syncabel_decode::NIL;

/// A file of answers, or standard output.
pub(super) enum Sink {
    Tsv(TsvWriter),
    Json(Box<dyn Write>),
    /// One block a document, written when the next document begins.
    Pubtator {
        out: Box<dyn Write>,
        open: Option<(Rc<Document>, Document)>,
    },
}

impl Sink {
    /// Starts a new file.
    pub(super) fn create(out: Option<&Path>, format: &str) -> Result<Self> {
        let stream = || -> Result<Box<dyn Write>> {
            Ok(match out {
                Some(path) => Box::new(BufWriter::new(File::create(path)?)),
                None => Box::new(crate::cli::io::stdout()),
            })
        };
        Ok(match format {
            "jsonl" => Self::Json(stream()?),
            "pubtator" => Self::Pubtator {
                out: stream()?,
                open: None,
            },
            _ => Self::Tsv(TsvWriter::create(
                out.unwrap_or(Path::new("/dev/stdout")),
                &[],
            )?),
        })
    }

    /// Goes on with a file of an interrupted run: a torn last row is dropped, the mentions of the others are skipped.
    /// Gives the number of these.
    pub(super) fn resume(
        path: &Path,
        format: &str,
        mentions: &mut Mentions<'_>,
    ) -> Result<(Self, u64)> {
        let (sink, ids) = match format {
            "tsv" => {
                let (writer, _) = TsvWriter::append(path, &[])?;
                (Self::Tsv(writer), tsv_ids(path)?)
            }
            "jsonl" => {
                let file = whole_lines(path)?;
                (Self::Json(Box::new(BufWriter::new(file))), jsonl_ids(path)?)
            }
            _ => {
                let message = "a PubTator file cannot be gone on with; write tsv or jsonl, or leave out --resume";
                return Err(BadInput(message.into()).into());
            }
        };
        let mut done = 0;
        for id in ids {
            let (document, mention) = id?;
            let known = mentions.next().transpose()?;
            let same = known.is_some_and(|known| {
                known.mention.document == document && known.mention.mention_id == mention
            });
            if !same {
                let message =
                    "holds answers for another input; choose another --out or leave out --resume";
                return Err(BadInput(format!("{} {message}", path.display())).into());
            }
            done += 1;
        }
        Ok((sink, done))
    }

    pub(super) fn write(
        &mut self,
        prediction: &Prediction,
        document: Option<&Rc<Document>>,
    ) -> Result<()> {
        match self {
            Self::Tsv(writer) => Ok(writer.write(prediction)?),
            Self::Json(writer) => {
                serde_json::to_writer(&mut *writer, prediction)?;
                Ok(writer.write_all(b"\n")?)
            }
            Self::Pubtator { out, open } => {
                let Some(document) = document else {
                    let message = "marked sentences have no document to write as PubTator; write tsv or jsonl";
                    return Err(BadInput(message.into()).into());
                };
                if open
                    .as_ref()
                    .is_none_or(|(now, _)| !Rc::ptr_eq(now, document))
                {
                    put(out, open.take())?;
                    let mut linked = (**document).clone();
                    linked.mentions.clear();
                    *open = Some((Rc::clone(document), linked));
                }
                if let Some((source, linked)) = open {
                    let known = source
                        .mentions
                        .iter()
                        .find(|m| m.id == prediction.mention_id);
                    linked.mentions.extend(known.map(|mention| {
                        let mut mention = mention.clone();
                        mention.gold = answer(&prediction.predicted_code);
                        mention
                    }));
                }
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

/// Writes a document, if there is one.
fn put(out: &mut dyn Write, document: Option<(Rc<Document>, Document)>) -> Result<()> {
    if let Some((_, document)) = document {
        out.write_all(pubtator::block(&document)?.as_bytes())?;
    }
    Ok(())
}

fn answer(code: &str) -> Gold {
    if code == NIL {
        Gold::none()
    } else {
        Gold::from_field(code)
    }
}

type Ids = Box<dyn Iterator<Item = Result<(String, String)>>>;

/// Document and mention of every row.
fn tsv_ids(path: &Path) -> Result<Ids> {
    let mut rows = csv::ReaderBuilder::new().delimiter(b'\t').from_path(path)?;
    let place = |header: &csv::StringRecord, name: &str| header.iter().position(|h| h == name);
    let header = rows.headers()?.clone();
    let (Some(document), Some(mention)) =
        (place(&header, "filename"), place(&header, "mention_id"))
    else {
        let message = "has no columns filename and mention_id, so it cannot be gone on with";
        return Err(BadInput(format!("{} {message}", path.display())).into());
    };
    Ok(Box::new(rows.into_records().map(
        move |row| -> Result<(String, String)> {
            let row = row?;
            let cell = |at: usize| row.get(at).unwrap_or_default().to_owned();
            Ok((cell(document), cell(mention)))
        },
    )))
}

/// Document and mention of every line.
fn jsonl_ids(path: &Path) -> Result<Ids> {
    let shown = path.to_owned();
    let lines = BufReader::new(File::open(path)?).lines().enumerate();
    Ok(Box::new(lines.map(
        move |(number, line)| -> Result<(String, String)> {
            let row: Prediction = serde_json::from_str(&line?).map_err(|e| {
                BadInput(format!(
                    "{}:{}: no prediction: {e}",
                    shown.display(),
                    number + 1
                ))
            })?;
            Ok((row.filename, row.mention_id))
        },
    )))
}

/// A file of lines, open for appending, without the line that an interruption tore.
fn whole_lines(path: &Path) -> Result<File> {
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
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(keep)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}
