//! Reading the usual prediction file in blocks, side by side.
//!
//! Usual is: not compressed, no carriage return, no quoted cell, nothing wrong. Whatever is not usual is left to
//! [`syncabel_corpus::predictions::Reader`], which reads row by row and knows what to say about mistakes; a file is read here
//! as it would be there or not at all.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memchr::{memchr, memchr3_iter, memrchr};
use rayon::prelude::*;
use syncabel_corpus::predictions::{COLUMNS, Candidate};

use super::{PredictionColumns, Row, equals_target};
use crate::Error;
use crate::strings::Strings;

/// Bytes of a block, up to the end of its last row.
const BLOCK_BYTES: usize = 1 << 19;
/// Blocks that are split into cells at a time, while those before are put together.
const BLOCKS: usize = 8;

impl PredictionColumns {
    /// Reads all rows of a usual file; false, without a row, if it is not one.
    ///
    /// `header` names the columns, in file order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn read_plain(&mut self, path: &Path, header: &[&str]) -> Result<bool, Error> {
        let mut blocks = Blocks::open(path).map_err(Error::io(path))?;
        let Some(layout) = Layout::new(header, self.judge_column.as_deref()) else {
            return Ok(false);
        };
        let mut line = match blocks.header(header).map_err(Error::io(path))? {
            Some(lines) => lines,
            None => return Ok(false),
        };
        let mut waiting: Vec<Split> = Vec::new();
        loop {
            let ((), split) = rayon::join(
                || {
                    for split in &waiting {
                        self.append(&split.columns, line);
                        line += split.lines;
                    }
                },
                || -> std::io::Result<Option<Vec<Split>>> {
                    let texts = blocks.next(BLOCKS)?;
                    Ok(texts.par_iter().map(|text| layout.split(text)).collect())
                },
            );
            waiting = match split.map_err(Error::io(path))? {
                Some(blocks) if blocks.is_empty() => return Ok(true),
                Some(blocks) => blocks,
                None => {
                    self.clear();
                    return Ok(false);
                }
            };
        }
    }

    fn clear(&mut self) {
        *self = PredictionColumns {
            source: self.source.take(),
            judge_column: self.judge_column.take(),
            ..PredictionColumns::default()
        };
    }
}

/// A file in pieces that end with a row.
struct Blocks {
    file: File,
    /// What was read behind the end of the last piece.
    rest: Vec<u8>,
    ended: bool,
}

impl Blocks {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Blocks {
            file: File::open(path)?,
            rest: Vec::new(),
            ended: false,
        })
    }

    /// Skips the header and gives the number of its lines; `None` if it does not stand there plainly.
    fn header(&mut self, header: &[&str]) -> std::io::Result<Option<u32>> {
        let block = self.block()?;
        let mark = if block.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let Some(end) = memchr(b'\n', &block[mark..]).map(|end| mark + end) else {
            return Ok(None);
        };
        let as_read = block[mark..end].split(|&byte| byte == b'\t');
        if !as_read.eq(header.iter().map(|name| name.as_bytes())) {
            return Ok(None);
        }
        self.rest.splice(..0, block[end + 1..].iter().copied());
        Ok(Some(1))
    }

    /// The next pieces; none at the end of the file.
    fn next(&mut self, count: usize) -> std::io::Result<Vec<Vec<u8>>> {
        let mut blocks = Vec::with_capacity(count);
        while blocks.len() < count {
            let block = self.block()?;
            if block.is_empty() {
                break;
            }
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The next piece; empty at the end of the file.
    fn block(&mut self) -> std::io::Result<Vec<u8>> {
        let mut block = Vec::with_capacity(self.rest.len() + BLOCK_BYTES);
        block.append(&mut self.rest);
        while !self.ended {
            let wanted = BLOCK_BYTES as u64;
            let read = self.file.by_ref().take(wanted).read_to_end(&mut block)?;
            self.ended = read < BLOCK_BYTES;
            if let Some(end) = memrchr(b'\n', &block).filter(|_| !self.ended) {
                self.rest.extend_from_slice(&block[end + 1..]);
                block.truncate(end + 1);
                break;
            }
        }
        Ok(block)
    }
}

/// The rows of a block, lines counted from its first, and how many lines it has.
struct Split {
    columns: PredictionColumns,
    lines: u32,
}

/// Which cell of a row is what.
struct Layout {
    cells: usize,
    /// Position in the row of `COLUMNS[i]`; of a column that the file lacks, a cell that is always empty.
    ours: [usize; COLUMNS.len()],
    judge: usize,
}

impl Layout {
    /// `None` if a column stands twice, which the other reader refuses.
    fn new(header: &[&str], judge: Option<&str>) -> Option<Self> {
        let cells = header.len();
        let find = |column: &str| header.iter().position(|name| *name == column);
        let once = |(i, name): (usize, &&str)| find(name) == Some(i);
        header.iter().enumerate().all(once).then(|| Layout {
            cells,
            ours: COLUMNS.map(|column| find(column).unwrap_or(cells)),
            judge: judge.and_then(find).unwrap_or(cells),
        })
    }

    /// `None` for anything unusual.
    fn split(&self, block: &[u8]) -> Option<Split> {
        let text = std::str::from_utf8(block).ok()?;
        let mut columns = PredictionColumns::default();
        let mut cells: Vec<&str> = vec![""; self.cells + 1];
        let (mut lines, mut count, mut start) = (0, 0, 0);
        let last = (!block.is_empty() && !block.ends_with(b"\n")).then_some(block.len());
        for end in memchr3_iter(b'\t', b'\n', b'\r', block).chain(last) {
            let cell = &text[start..end];
            start = end + 1;
            let ended_by = block.get(end).copied().unwrap_or(b'\n');
            if ended_by == b'\n' {
                lines += 1;
                if count == 0 && cell.is_empty() {
                    continue;
                }
            }
            if ended_by == b'\r' || count == self.cells || cell.starts_with('"') {
                return None;
            }
            cells[count] = cell;
            count += 1;
            if ended_by == b'\n' {
                if count < self.cells {
                    return None;
                }
                self.row(&cells, lines, &mut columns)?;
                count = 0;
            }
        }
        Some(Split { columns, lines })
    }

    fn row(&self, cells: &[&str], line: u32, into: &mut PredictionColumns) -> Option<()> {
        let cell = |column: usize| cells[self.ours[column]];
        let first = into.candidates.len() as u32;
        let [documents, groups, codes, mentions, verdicts] = &mut into.strings;
        let candidates = cell(14).trim();
        if !candidates.is_empty() {
            for candidate in serde_json::from_str::<Vec<Candidate>>(candidates).ok()? {
                into.candidates.push(codes.index(&candidate.code));
            }
        }
        number(cell(16))?;
        // Neighbours are often of one document and one group, and most answers are right.
        let before = into.rows.last().copied();
        let like = |strings: &mut Strings, before: Option<u32>, cell: &str| match before {
            Some(index) if strings.get(index) == cell => index,
            _ => strings.index(cell),
        };
        let gold = codes.index(cell(6));
        into.rows.push(Row {
            line,
            document: like(documents, before.map(|row| row.document), cell(0)),
            group: like(groups, before.map(|row| row.group), cell(2)),
            gold,
            answer: like(codes, Some(gold), cell(13)),
            mention: mentions.index(cell(5)),
            verdict: like(verdicts, before.map(|row| row.verdict), cells[self.judge]),
            start_span: chars(cell(3))?,
            end_span: chars(cell(4))?,
            candidates: [first, into.candidates.len() as u32 - first],
            equals_target: equals_target(cell(5), cell(8)),
            scores: [number(cell(11))?, number(cell(12))?, number(cell(15))?],
        });
        Some(())
    }
}

fn chars(cell: &str) -> Option<u32> {
    let cell = cell.trim();
    cell.strip_suffix(".0").unwrap_or(cell).parse().ok()
}

/// A number, or NaN for an empty cell; `None` for anything else.
fn number(cell: &str) -> Option<f64> {
    match cell.trim() {
        "" => Some(f64::NAN),
        cell => cell.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use syncabel_corpus::predictions::{Prediction, Reader};

    const HEADER: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tannotation\tPredicted_code\tPrediction_score\tCandidates\tLLM_Evaluation";

    fn row_by_row(path: &Path) -> Option<PredictionColumns> {
        let mut reader = Reader::open(path).unwrap();
        let mut columns = PredictionColumns {
            judge_column: Some("LLM_Evaluation".into()),
            ..PredictionColumns::default()
        };
        let mut row = Prediction::default();
        while reader.read(&mut row).ok()? {
            columns.push(&row, reader.line());
        }
        Some(columns)
    }

    /// Rows with their strings, and scores as bits, for NaN equals nothing.
    fn spelled(columns: &PredictionColumns) -> Vec<String> {
        let of_row = |row: &Row| {
            let numbers = [
                row.document,
                row.group,
                row.gold,
                row.answer,
                row.mention,
                row.verdict,
            ];
            let kinds = [super::super::DOCUMENTS, 1, 2, 2, 3, 4];
            let strings: Vec<&str> = kinds
                .iter()
                .zip(numbers)
                .map(|(&kind, number)| columns.strings[kind].get(number))
                .collect();
            let [first, count] = row.candidates.map(|i| i as usize);
            let candidates: Vec<&str> = columns.candidates[first..first + count]
                .iter()
                .map(|&code| columns.strings[2].get(code))
                .collect();
            format!(
                "{} {strings:?} {}-{} {candidates:?} {:?} {:?}",
                row.line,
                row.start_span,
                row.end_span,
                row.equals_target,
                row.scores.map(f64::to_bits)
            )
        };
        columns.rows.iter().map(of_row).collect()
    }

    fn read(text: &str) -> (Option<PredictionColumns>, Option<PredictionColumns>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.tsv");
        std::fs::write(&path, text).unwrap();
        let mut columns = PredictionColumns {
            judge_column: Some("LLM_Evaluation".into()),
            ..PredictionColumns::default()
        };
        let header: Vec<&str> = HEADER.split('\t').collect();
        let plain = columns.read_plain(&path, &header).unwrap();
        assert!(plain || columns.rows.is_empty());
        (plain.then_some(columns), row_by_row(&path))
    }

    fn row(i: usize) -> String {
        format!(
            "d{}\tL{}\t{i}\t{}.0\tspan {}\tC{}\tSpan {}\tC{}\t0.{i}\t[{{\"name\": \"n\", \"code\": \"C{i}\", \"score\": 1}}]\tBROAD\n",
            i / 40,
            i % 3,
            i + 5,
            i % 97,
            i % 61,
            i % 89,
            i % 59
        )
    }

    #[test]
    fn many_blocks_are_read_as_row_by_row() {
        let rows: String = (0..80_000).map(row).collect();
        assert!(rows.len() > (BLOCKS + 1) * BLOCK_BYTES);
        let text = format!("\u{feff}{HEADER}\n{rows}\n\n{}", row(7).trim_end());
        let (plain, slow) = read(&text);
        let (plain, slow) = (plain.unwrap(), slow.unwrap());
        assert_eq!(plain.rows.len(), 80_001);
        assert_eq!(plain.rows.last().unwrap().line, 80_004);
        assert_eq!(spelled(&plain), spelled(&slow));
    }

    #[test]
    fn the_unusual_is_left_to_the_other_reader() {
        let good = row(1);
        for bad in [
            good.replace('\n', "\r\n"),
            good.replace("span", "\"span"),
            good.replace("BROAD", "BROAD\tmore"),
            good.replace("0.1", "high"),
            good.replace("[{", "{"),
            good.replace("6.0", "6.5"),
        ] {
            let text = format!("{HEADER}\n{}{bad}", row(0));
            assert!(read(&text).0.is_none(), "{bad:?}");
        }
        assert!(read(&format!("{HEADER}\n{good}")).0.is_some());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_other_reader_reads(
            cells in prop::collection::vec(prop::collection::vec("[a-c+|\"é .\n]{0,3}|NIL|0|1.5", 11), 0..6),
        ) {
            let rows: Vec<String> = cells.iter().map(|row| {
                let mut row = row.clone();
                row[2] = "3".into();
                row[3] = " 4.0 ".into();
                row[8] = "0.5".into();
                row[9] = "".into();
                row.join("\t")
            }).collect();
            let (plain, slow) = read(&format!("{HEADER}\n{}", rows.join("\n")));
            if let Some(plain) = plain {
                prop_assert_eq!(spelled(&plain), spelled(&slow.unwrap()));
            }
        }
    }
}
