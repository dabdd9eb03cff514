//! Reading the usual prediction file in blocks, side by side.
//!
//! Usual is: no carriage return, no tab or line feed inside of a cell, nothing wrong; quotes and gzip are usual. Whatever is
//! not usual is left to [`syncabel_corpus::predictions::Reader`], which reads row by row and knows what to say about mistakes;
//! a file is read here as it would be there or not at all.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memchr3_iter, memrchr};
use rayon::prelude::*;
use serde::Deserialize;

use super::{CODES, PredictionColumns, Row, equals_target};
use crate::score::SCORE_COLUMNS;
use crate::strings::Strings;

/// Bytes of a block, up to the end of its last row.
const BLOCK_BYTES: usize = 1 << 19;
/// Blocks that are split into cells at a time, while those before are put together.
const BLOCKS: usize = 8;

impl PredictionColumns {
    /// Reads all rows of a usual file; false, without a row, if it is not one or cannot be read to its end.
    ///
    /// `header` names the columns, in file order.
    pub(super) fn read_plain(&mut self, path: &Path, header: &[&str]) -> bool {
        let usual = self.read_blocks(path, header).is_some();
        if !usual {
            *self = PredictionColumns {
                source: self.source.take(),
                judge_column: self.judge_column.take(),
                ..PredictionColumns::default()
            };
        }
        usual
    }

    fn read_blocks(&mut self, path: &Path, header: &[&str]) -> Option<()> {
        let layout = Layout::new(header, self.judge_column.as_deref())?;
        let mut blocks = Blocks::open(path).ok()?;
        let mut line = blocks.header(header)?;
        let mut waiting: Vec<Split> = Vec::new();
        loop {
            let ((), split) = rayon::join(
                || {
                    for split in &waiting {
                        self.append(&split.columns, line);
                        line += split.lines;
                    }
                },
                || -> Option<Vec<Split>> {
                    let texts = blocks.next(BLOCKS).ok()?;
                    texts.par_iter().map(|text| layout.split(text)).collect()
                },
            );
            waiting = split?;
            if waiting.is_empty() {
                return Some(());
            }
        }
    }
}

/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file in pieces that end with a row.
struct Blocks {
    source: Box<dyn Read + Send>,
    /// What was read behind the end of the last piece.
    rest: Vec<u8>,
    ended: bool,
}

impl Blocks {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = Vec::new();
        file.by_ref().take(2).read_to_end(&mut magic)?;
        file.rewind()?;
        Ok(Blocks {
            source: match magic == GZIP_MAGIC {
                true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
                false => Box::new(file),
            },
            rest: Vec::new(),
            ended: false,
        })
    }

    /// Skips the header and gives the number of its lines; `None` if it does not stand there plainly.
    fn header(&mut self, header: &[&str]) -> Option<u32> {
        let block = self.block().ok()?;
        let mark = if block.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let end = mark + memchr(b'\n', &block[mark..])?;
        let as_read = block[mark..end].split(|&byte| byte == b'\t');
        if !as_read.eq(header.iter().map(|name| name.as_bytes())) {
            return None;
        }
        self.rest.splice(..0, block[end + 1..].iter().copied());
        Some(1)
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
            let before = block.len();
            let read = self.source.by_ref().take(wanted).read_to_end(&mut block)?;
            self.ended = read < BLOCK_BYTES;
            if let Some(end) = memrchr(b'\n', &block[before..]).filter(|_| !self.ended) {
                let end = before + end;
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

/// A cell, and whether quotes inside of it are written twice.
#[derive(Clone, Copy, Default)]
struct Cell<'t> {
    text: &'t str,
    doubled: bool,
}

impl<'t> Cell<'t> {
    /// `None` where quotes are not those of one whole cell: a tab or a line feed tears it, or text follows them.
    fn new(written: &'t str) -> Option<Self> {
        let Some(text) = written.strip_prefix('"') else {
            return Some(Cell {
                text: written,
                doubled: false,
            });
        };
        let text = text.strip_suffix('"')?;
        let whole = text.split("\"\"").all(|part| !part.contains('"'));
        whole.then(|| Cell {
            text,
            doubled: text.contains('"'),
        })
    }

    fn read(self) -> Cow<'t, str> {
        match self.doubled {
            true => Cow::Owned(self.text.replace("\"\"", "\"")),
            false => Cow::Borrowed(self.text),
        }
    }
}

/// As [`syncabel_corpus::predictions::Candidate`], without copies of its strings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Candidate<'t> {
    #[serde(borrow, rename = "name")]
    _name: Cow<'t, str>,
    #[serde(borrow)]
    code: Cow<'t, str>,
    #[serde(rename = "score")]
    _score: f64,
}

/// Which cell of a row is what; of a column that the file lacks, a cell that is always empty.
struct Layout {
    cells: usize,
    document: usize,
    group: usize,
    start_span: usize,
    end_span: usize,
    mention: usize,
    gold: usize,
    target: usize,
    answer: usize,
    candidates: usize,
    scores: [usize; SCORE_COLUMNS.len()],
    margin: usize,
    judge: usize,
}

impl Layout {
    /// `None` if a column stands twice, which the other reader refuses.
    fn new(header: &[&str], judge: Option<&str>) -> Option<Self> {
        let cells = header.len();
        let find = |column: &str| header.iter().position(|name| *name == column);
        let once = |(i, name): (usize, &&str)| find(name) == Some(i);
        let place = |column: &str| find(column).unwrap_or(cells);
        header.iter().enumerate().all(once).then(|| Layout {
            cells,
            document: place("filename"),
            group: place("label"),
            start_span: place("start_span"),
            end_span: place("end_span"),
            mention: place("span"),
            gold: place("code"),
            target: place("annotation"),
            answer: place("Predicted_code"),
            candidates: place("Candidates"),
            scores: SCORE_COLUMNS.map(place),
            margin: place("Margin"),
            judge: judge.and_then(find).unwrap_or(cells),
        })
    }

    /// `None` for anything unusual.
    fn split(&self, block: &[u8]) -> Option<Split> {
        let text = std::str::from_utf8(block).ok()?;
        let mut columns = PredictionColumns::default();
        let mut cells = vec![Cell::default(); self.cells + 1];
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
            if ended_by == b'\r' || count == self.cells {
                return None;
            }
            cells[count] = Cell::new(cell)?;
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

    fn row(&self, cells: &[Cell<'_>], line: u32, into: &mut PredictionColumns) -> Option<()> {
        let cell = |place: usize| cells[place].read();
        number(&cell(self.margin))?;
        let candidates = into.push_candidates(&cell(self.candidates))?;
        let [documents, groups, codes, mentions, verdicts] = &mut into.strings;
        // Neighbours are often of one document and one group, and most answers are right.
        let before = into.rows.last().copied();
        let like = |strings: &mut Strings, before: Option<u32>, place: usize| {
            let cell = cell(place);
            match before {
                Some(index) if strings.get(index) == cell => index,
                _ => strings.index(&cell),
            }
        };
        let (mention, gold) = (cell(self.mention), codes.index(&cell(self.gold)));
        let [first, second, third] = self.scores.map(|place| number(&cell(place)));
        into.rows.push(Row {
            line,
            document: like(documents, before.map(|row| row.document), self.document),
            group: like(groups, before.map(|row| row.group), self.group),
            gold,
            answer: like(codes, Some(gold), self.answer),
            mention: mentions.index(&mention),
            verdict: like(verdicts, before.map(|row| row.verdict), self.judge),
            start_span: chars(&cell(self.start_span))?,
            end_span: chars(&cell(self.end_span))?,
            candidates,
            equals_target: equals_target(&mention, &cell(self.target)),
            scores: [first?, second?, third?],
        });
        Some(())
    }
}

impl PredictionColumns {
    /// Appends the codes of a cell of candidates: where they begin, and how many they are. `None` if it is not such a cell.
    fn push_candidates(&mut self, cell: &str) -> Option<[u32; 2]> {
        let first = self.candidates.len() as u32;
        let cell = cell.trim();
        if !cell.is_empty() {
            for candidate in serde_json::from_str::<Vec<Candidate<'_>>>(cell).ok()? {
                let code = self.strings[CODES].index(&candidate.code);
                self.candidates.push(code);
            }
        }
        Some([first, self.candidates.len() as u32 - first])
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
    use syncabel_corpus::predictions::{Candidate, Prediction, Reader, write_tsv};

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
        (in_blocks(&path), row_by_row(&path))
    }

    fn in_blocks(path: &Path) -> Option<PredictionColumns> {
        let mut columns = PredictionColumns {
            judge_column: Some("LLM_Evaluation".into()),
            ..PredictionColumns::default()
        };
        let reader = Reader::open(path).unwrap();
        let header: Vec<&str> = reader.columns().iter().map(String::as_str).collect();
        let plain = columns.read_plain(path, &header);
        assert!(plain || columns.rows.is_empty());
        plain.then_some(columns)
    }

    fn row(i: usize) -> String {
        format!(
            "d{}\tL{}\t{i}\t{}.0\tspan {}\tC{}\tSpan {}\tC{}\t0.{i}\t\"[{{\"\"name\"\": \"\"n\"\", \"\"code\"\": \"\"C{i}\"\", \"\"score\"\": 1}}]\"\tBROAD\n",
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
    fn what_our_writer_writes_is_usual() {
        let prediction = |i: u32| Prediction {
            filename: format!("d{}", i / 40),
            mention_id: format!("d.{i}"),
            label: "Disorders".into(),
            start_span: i,
            end_span: i + 4,
            span: "\"gout\"".into(),
            code: format!("C{}", i % 89),
            semantic_rel: "EXACT".into(),
            annotation: "\"Gout\"".into(),
            sentence: "The \"[gout]\".".into(),
            prediction: "Gout".into(),
            prediction_score: 0.5,
            prediction_beam_score: f64::NAN,
            predicted_code: format!("C{}", i % 61),
            candidates: ["Gout, \"chronic\"", "tab\tand \\ line\n"]
                .map(|name| Candidate {
                    name: name.into(),
                    code: format!("C{i}"),
                    score: -0.25,
                })
                .into(),
            probability: Some(0.25),
            margin: Some(0.125),
            extra: vec![("LLM_Evaluation".into(), "BROAD".into())],
        };
        let rows: Vec<Prediction> = (0..200).map(prediction).collect();
        let dir = tempfile::tempdir().unwrap();
        for name in ["p.tsv", "p.tsv.gz"] {
            let path = dir.path().join(name);
            write_tsv(&path, &rows).unwrap();
            let (blocks, slow) = (in_blocks(&path).unwrap(), row_by_row(&path).unwrap());
            assert_eq!(blocks.rows.len(), 200);
            assert!(blocks.rows[7].equals_target == Some(true) && blocks.candidates.len() == 400);
            assert_eq!(spelled(&blocks), spelled(&slow));
        }
    }

    #[test]
    fn quotes_are_undone_where_they_are_those_of_a_whole_cell() {
        for (written, expected) in [
            ("a\"\"b", Some("a\"\"b")),
            ("\"\"", Some("")),
            ("\"a b\"", Some("a b")),
            ("\"a\"\"b\"", Some("a\"b")),
            ("\"\"\"\"", Some("\"")),
            ("\"", None),
            ("\"\"\"", None),
            ("\"a\"\"", None),
            ("\"a\"b", None),
            ("\"a\"b\"", None),
        ] {
            let found = Cell::new(written).map(Cell::read);
            assert_eq!(found.as_deref(), expected, "{written}");
        }
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
            good.replace("}]\"", "}]"),
            good.replace("BROAD", "\"BR\tOAD\""),
            good.replace("BROAD", "\"BR\nOAD\""),
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
            cells in prop::collection::vec(prop::collection::vec("[a-c+|\"é .\n]{0,3}|\"[ab\"\t]{0,3}\"|NIL|0|1.5", 11), 0..6),
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
