//! Rows to documents.

use super::{
    ANSWER, COLUMNS, Frames, REQUIRED, Slice, bad, columns, each_slice, failed, no_column,
};
use anyhow::Result;
use polars::prelude::AnyValue;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use syncabel_corpus::{Corpus, Document, Gate, Language, Location, ReadOptions, ReadReport};

/// Reads a corpus.
///
/// # Errors
/// With file, row and column: no Parquet, a column that is missing, a cell that cannot be understood, rows of one document that
/// contradict each other; and what [`syncabel_corpus::read`] refuses.
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Corpus, ReadReport)> {
    let mut stream = Documents::open(path, options)?;
    let documents = stream.by_ref().collect::<Result<_>>()?;
    Ok((Corpus { documents }, stream.gate.report().clone()))
}

/// Streams the documents of a corpus, as [`read`] reads them.
///
/// Memory is [`super::GROUP_ROWS`] rows, an id and a digest for each document, and the documents that have begun and whose last row is
/// still to come: one, where the rows of a document lie together.
pub struct Documents {
    frames: Frames,
    rows: Pending,
    language: Language,
    gate: Gate,
    /// Checked, in the order in which they come.
    ready: VecDeque<Document>,
}

/// Documents that may not be complete.
enum Pending {
    /// A row is a document of BigBio's schema.
    Nested,
    /// A row is a mention.
    Mentions(Gathered),
}

impl Documents {
    /// Opens a table.
    ///
    /// # Errors
    /// As [`read`]: a file that is no Parquet or lacks a column; an id that is null.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let found = columns(path)?;
        let there = |column: &&str| found.iter().any(|f| f == column);
        let (wanted, rows) = if NESTED.iter().all(there) {
            let ids = ["id", "document_id"].into_iter().filter(there);
            (ids.chain(NESTED).collect(), Pending::Nested)
        } else {
            if let Some(missing) = REQUIRED.iter().find(|c| !there(c)) {
                let hint = match there(&ANSWER) {
                    true => {
                        "; a table of a language model's answers is read by the generator `import`"
                    }
                    false => "",
                };
                return Err(no_column(path, missing, &found, hint).into());
            }
            let wanted: Vec<&str> = COLUMNS.into_iter().filter(there).collect();
            (wanted, Pending::Mentions(Gathered::new(path)?))
        };
        Ok(Documents {
            frames: Frames::new(path, &wanted)?,
            rows,
            language: options.language,
            gate: Gate::new(options),
            ready: VecDeque::new(),
        })
    }

    /// What was found so far.
    pub fn report(&self) -> &ReadReport {
        self.gate.report()
    }

    /// Reads some rows; false at the end of the table.
    fn fill(&mut self) -> Result<bool> {
        let Some((first, frame)) = self.frames.next_frame()? else {
            self.gate.refuse_nothing(&self.frames.path)?;
            return Ok(false);
        };
        let path = &self.frames.path;
        match &mut self.rows {
            Pending::Nested => {
                for row in 0..frame.height() {
                    let mut record = serde_json::Map::new();
                    for column in frame.columns() {
                        let cell = column.get(row).map_err(failed(path))?;
                        insert(&mut record, column.name(), cell)
                            .map_err(|what| bad(path, first + row + 1, column.name(), &what))?;
                    }
                    let place = Location::row(path, first + row + 1);
                    let document = self.gate.check_bigbio(record.into(), &place)?;
                    self.ready.extend(document);
                }
            }
            Pending::Mentions(gathered) => {
                let slice = Slice::new(path, first, &self.frames.wanted, &frame)?;
                for row in 0..slice.rows {
                    gathered.add(&slice, row, self.language)?;
                    while let Some((document, row)) = gathered.complete() {
                        let place = Location::row(path, row);
                        let document = self.gate.check(document, &place)?;
                        self.ready.extend(document);
                    }
                }
            }
        }
        Ok(true)
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(document) = self.ready.pop_front() {
                return Some(Ok(document));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Columns by which a table in BigBio's schema is known.
const NESTED: [&str; 2] = ["passages", "entities"];

/// Puts a cell into an object; one that is null stays out.
fn insert(
    object: &mut serde_json::Map<String, Value>,
    name: &str,
    cell: AnyValue<'_>,
) -> Result<(), String> {
    match json(cell)? {
        Value::Null => {}
        value => drop(object.insert(name.to_owned(), value)),
    }
    Ok(())
}

fn json(cell: AnyValue<'_>) -> Result<Value, String> {
    Ok(match cell {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => value.into(),
        AnyValue::List(cells) => cells.iter().map(json).collect::<Result<_, _>>()?,
        AnyValue::Struct(_, _, fields) => {
            let mut object = serde_json::Map::new();
            for (field, cell) in fields.iter().zip(cell._iter_struct_av()) {
                insert(&mut object, field.name(), cell)?;
            }
            object.into()
        }
        cell => match (cell.get_str(), cell.extract::<i64>()) {
            (Some(text), _) => text.into(),
            (None, Some(number)) => number.into(),
            (None, None) => {
                return Err(format!("{} has no place in BigBio's schema", cell.dtype()));
            }
        },
    })
}

/// Documents whose rows are being read, in the order in which they begin.
struct Gathered {
    open: VecDeque<Open>,
    /// Documents that began and are not in `open` any more.
    gone: usize,
    /// Last row of each document, and, once it has begun, how many began before. Only looked up, never iterated.
    documents: HashMap<String, (usize, Option<usize>)>,
}

struct Open {
    document: Document,
    first_row: usize,
    complete: bool,
}

impl Gathered {
    /// Learns where each document ends.
    fn new(path: &Path) -> Result<Self> {
        let mut documents = HashMap::new();
        each_slice(path, &["document_id"], |slice| {
            for row in 0..slice.rows {
                let id = slice.id(row)?;
                match documents.get_mut(id) {
                    Some((last, _)) => *last = slice.number(row),
                    None => drop(documents.insert(id.to_owned(), (slice.number(row), None))),
                }
            }
            Ok(())
        })?;
        Ok(Gathered {
            open: VecDeque::new(),
            gone: 0,
            documents,
        })
    }

    fn add(&mut self, slice: &Slice<'_>, row: usize, language: Language) -> Result<()> {
        let id = slice.id(row)?;
        let text = slice.text("text", row)?;
        let text = text.ok_or_else(|| slice.bad("text", row, "it is null"))?;
        let Some((last, place)) = self.documents.get_mut(id) else {
            return Err(slice
                .bad("document_id", row, "the file changes while it is read")
                .into());
        };
        let began = *place.get_or_insert(self.gone + self.open.len());
        if began == self.gone + self.open.len() {
            self.open.push_back(Open {
                document: slice.document(id, text, row, language)?,
                first_row: slice.number(row),
                complete: false,
            });
        }
        let open = &mut self.open[began - self.gone];
        if open.document.text != text {
            let what = format!(
                "document `{id}` has another text here than in row {}",
                open.first_row
            );
            return Err(slice.bad("text", row, &what).into());
        }
        open.document.mentions.extend(slice.mention(row)?);
        open.complete = slice.number(row) == *last;
        Ok(())
    }

    /// The document that began first, if it is complete, and the number of its first row.
    fn complete(&mut self) -> Option<(Document, usize)> {
        let open = self.open.pop_front_if(|open| open.complete)?;
        self.gone += 1;
        Some((open.document, open.first_row))
    }
}
