//! Documents to rows.

use super::{GROUP_ROWS, failed};
use crate::error::BadInput;
use anyhow::{Context, Result};
use polars::prelude::{
    BatchedWriter, DataFrame, DataType, IntoColumn, ListBuilderTrait, ListPrimitiveChunkedBuilder,
    NamedFrom, ParquetWriter, PolarsError, Schema, Series, UInt32Type,
};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use syncabel_corpus::{Document, Mention, Origin, SpanChars};

/// Streams documents into a file, which takes its place when [`Writer::finish`] is called.
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    parquet: BatchedWriter<BufWriter<File>>,
    rows: Rows,
}

impl Writer {
    /// Starts a file.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        if std::fs::metadata(path).is_ok_and(|known| !known.is_file()) {
            let message = "is no file, and Parquet is not written as a stream; name a file";
            return Err(BadInput(format!("{} {message}", path.display())).into());
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary)
            .with_context(|| format!("cannot write {}", temporary.display()))?;
        let schema = Rows::default().frame().map_err(failed(path))?;
        let schema: &Schema = schema.schema();
        let parquet = ParquetWriter::new(BufWriter::new(file))
            .batched(schema)
            .map_err(failed(path))?;
        Ok(Writer {
            path: path.to_owned(),
            temporary,
            parquet,
            rows: Rows::default(),
        })
    }

    /// Adds one document.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn write(&mut self, document: &Document) -> Result<()> {
        self.rows.add(document);
        if self.rows.len() >= GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let frame = std::mem::take(&mut self.rows).frame();
        let frame = frame.map_err(failed(&self.path))?;
        self.parquet.write_batch(&frame).map_err(failed(&self.path))
    }

    /// Writes what is left, syncs the file and puts it in its place.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.parquet.finish().map_err(failed(&self.path))?;
        File::open(&self.temporary)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not there any more after a successful `finish`; then there is nothing to clean up.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Rows that wait for their row group, by column.
#[derive(Default)]
struct Rows {
    texts: [Vec<Option<String>>; 6],
    mention_id: Vec<Option<String>>,
    start: Vec<Option<u32>>,
    end: Vec<Option<u32>>,
    fragments: Vec<Option<Vec<SpanChars>>>,
    mention: [Vec<Option<String>>; 3],
}

impl Rows {
    fn len(&self) -> usize {
        self.mention_id.len()
    }

    fn add(&mut self, document: &Document) {
        for mention in &document.mentions {
            self.add_row(document, Some(mention));
        }
        if document.mentions.is_empty() {
            self.add_row(document, None);
        }
    }

    fn add_row(&mut self, document: &Document, mention: Option<&Mention>) {
        let (origin, generator) = match &document.origin {
            Origin::Human => ("human", None),
            Origin::Synthetic { generator } => ("synthetic", Some(generator.clone())),
            Origin::Predicted => ("predicted", None),
        };
        let texts = [
            Some(document.id.clone()),
            Some(document.text.clone()),
            Some(document.language.to_string()),
            document.split.map(|split| split.to_string()),
            Some(origin.to_owned()),
            generator,
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(text);
        }
        self.mention_id.push(mention.map(|m| m.id.clone()));
        self.start.push(mention.map(Mention::start_chars));
        self.end.push(mention.map(Mention::end_chars));
        self.fragments.push(mention.map(|m| m.spans.clone()));
        let texts = [
            mention.map(|m| m.text.clone()),
            mention.map(|m| m.label.clone()),
            mention.map(|m| m.gold.to_field()),
        ];
        for (column, text) in self.mention.iter_mut().zip(texts) {
            column.push(text);
        }
    }

    fn frame(self) -> Result<DataFrame, PolarsError> {
        let rows = self.len();
        let column = |name: &str, cells: Vec<Option<String>>| Series::new(name.into(), cells);
        let [id, text, language, split, origin, generator] = self.texts;
        let [span, label, code] = self.mention;
        let series = [
            column("document_id", id),
            column("text", text),
            column("language", language),
            column("split", split),
            column("origin", origin),
            column("generator", generator),
            column("mention_id", self.mention_id),
            Series::new("start_span".into(), self.start),
            Series::new("end_span".into(), self.end),
            lists("fragment_starts", &self.fragments, |span| span.start),
            lists("fragment_ends", &self.fragments, |span| span.end),
            column("span", span),
            column("label", label),
            column("code", code),
        ];
        DataFrame::new(rows, series.into_iter().map(Series::into_column).collect())
    }
}

fn lists(
    name: &str,
    fragments: &[Option<Vec<SpanChars>>],
    end: impl Fn(&SpanChars) -> u32,
) -> Series {
    let rows = fragments.len();
    let mut list =
        ListPrimitiveChunkedBuilder::<UInt32Type>::new(name.into(), rows, rows, DataType::UInt32);
    for spans in fragments {
        match spans {
            Some(spans) => list.append_slice(&spans.iter().map(&end).collect::<Vec<_>>()),
            None => list.append_null(),
        }
    }
    list.finish().into()
}
