//! Reading the usual prediction file in pieces, side by side.
//!
//! Usual is: no carriage return, no tab or line feed inside of a cell, nothing wrong; quotes and gzip are usual. Whatever is
//! not usual is left to [`syncabel_corpus::predictions::Reader`], which reads row by row and knows what to say about mistakes;
//! a file is read here as it would be there or not at all.

mod candidates;
mod cell;
mod pieces;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memchr::memchr3_iter;

use self::cell::{Cell, chars, number};
use self::pieces::{Piece, Pieces};
use super::{CODES, PredictionColumns, Row, equals_target};
use crate::score::SCORE_COLUMNS;
use crate::strings::Strings;

impl PredictionColumns {
    /// Reads all rows of a usual file; false, without a row, if it is not one or cannot be read to its end.
    ///
    /// `header` names the columns, in file order.
    pub(super) fn read_plain(&mut self, path: &Path, header: &[&str]) -> bool {
        let usual = self.read_pieces(path, header).is_some();
        if !usual {
            *self = PredictionColumns {
                source: self.source.take(),
                judge_column: self.judge_column.take(),
                ..PredictionColumns::default()
            };
        }
        usual
    }

    fn read_pieces(&mut self, path: &Path, header: &[&str]) -> Option<()> {
        let layout = Layout::new(header, self.judge_column.as_deref())?;
        let source = Mutex::new(Numbered {
            pieces: Pieces::open(path, header).ok()??,
            taken: 0,
        });
        let joined = Mutex::new(Joined {
            columns: self,
            lines: 1,
            count: 0,
            waiting: BTreeMap::new(),
        });
        let usual = AtomicBool::new(true);
        let work = || -> Option<()> {
            while usual.load(Ordering::Relaxed) {
                let Some((number, piece)) = lock(&source).next().ok()? else {
                    break;
                };
                let (rows, skip) = piece.read().ok()?;
                let split = layout.split(&rows[skip..])?;
                lock(&joined).add(number, split);
            }
            Some(())
        };
        rayon::scope(|scope| {
            for _ in 0..rayon::current_num_threads() {
                scope.spawn(|_| {
                    if work().is_none() {
                        usual.store(false, Ordering::Relaxed);
                    }
                });
            }
        });
        usual.into_inner().then_some(())
    }
}

/// A panic elsewhere is reported when its thread is joined; it does not have to be reported here as well.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pieces with their numbers, from 0.
struct Numbered {
    pieces: Pieces,
    taken: usize,
}

impl Numbered {
    fn next(&mut self) -> std::io::Result<Option<(usize, Piece)>> {
        let piece = self.pieces.next()?;
        self.taken += 1;
        Ok(piece.map(|piece| (self.taken - 1, piece)))
    }
}

/// Pieces that were split, put together in the order of the file. Threads take pieces in that order, so few ever wait.
struct Joined<'c> {
    columns: &'c mut PredictionColumns,
    /// Pieces in `columns`, and lines of the file that they and the header take.
    count: usize,
    lines: u32,
    waiting: BTreeMap<usize, Split>,
}

impl Joined<'_> {
    fn add(&mut self, number: usize, split: Split) {
        self.waiting.insert(number, split);
        while let Some(split) = self.waiting.remove(&self.count) {
            self.columns.append(&split.columns, self.lines);
            self.lines += split.lines;
            self.count += 1;
        }
    }
}

/// The rows of a piece, lines counted from its first, and how many lines it has.
struct Split {
    columns: PredictionColumns,
    lines: u32,
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
    fn split(&self, rows: &[u8]) -> Option<Split> {
        let text = std::str::from_utf8(rows).ok()?;
        let mut columns = PredictionColumns::default();
        let mut cells = vec![Cell::default(); self.cells + 1];
        let (mut lines, mut count, mut start) = (0, 0, 0);
        let last = (!rows.is_empty() && !rows.ends_with(b"\n")).then_some(rows.len());
        for end in memchr3_iter(b'\t', b'\n', b'\r', rows).chain(last) {
            let cell = &text[start..end];
            start = end + 1;
            let ended_by = rows.get(end).copied().unwrap_or(b'\n');
            if ended_by == b'\n' {
                lines += 1;
                if count == 0 && cell.is_empty() {
                    continue;
                }
            }
            if ended_by == b'\r' || count == self.cells {
                return None;
            }
            let cell = Cell::new(cell)?;
            // Candidates are looked at anyway, and they are what is quoted in most files.
            if cell.quoted && count != self.candidates && !cell.is_whole() {
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

    fn row(&self, cells: &[Cell<'_>], line: u32, into: &mut PredictionColumns) -> Option<()> {
        let cell = |place: usize| cells[place].read();
        number(&cell(self.margin)?)?;
        let candidates = into.push_candidates(cells[self.candidates])?;
        let [documents, groups, codes, mentions, verdicts] = &mut into.strings;
        // Neighbours are often of one document and one group, and most answers are right.
        let before = into.rows.last();
        let like = |strings: &mut Strings, before: Option<u32>, place: usize| {
            let cell = cell(place)?;
            Some(match before {
                Some(index) if strings.get(index) == cell => index,
                _ => strings.index(&cell),
            })
        };
        let (mention, gold) = (cell(self.mention)?, codes.index(&cell(self.gold)?));
        let [first, second, third] = self.scores.map(|place| number(&cell(place)?));
        let row = Row {
            line,
            document: like(documents, before.map(|row| row.document), self.document)?,
            group: like(groups, before.map(|row| row.group), self.group)?,
            gold,
            answer: like(codes, Some(gold), self.answer)?,
            mention: mentions.index(&mention),
            verdict: like(verdicts, before.map(|row| row.verdict), self.judge)?,
            start_span: chars(&cell(self.start_span)?)?,
            end_span: chars(&cell(self.end_span)?)?,
            candidates,
            equals_target: equals_target(&mention, &cell(self.target)?),
            scores: [first?, second?, third?],
        };
        into.rows.push(row);
        Some(())
    }
}

impl PredictionColumns {
    /// Appends the codes of a cell of candidates: where they begin, and how many they are. `None` if it is not such a cell.
    fn push_candidates(&mut self, cell: Cell<'_>) -> Option<[u32; 2]> {
        let first = self.candidates.len();
        let (codes, candidates) = (&mut self.strings[CODES], &mut self.candidates);
        if !cell.written.is_empty()
            && candidates::scan(cell.written, cell.quoted, |code| {
                candidates.push(codes.index(code));
            })
            .is_none()
        {
            candidates.truncate(first);
            for candidate in candidates::parse(&cell.read()?)? {
                candidates.push(codes.index(&candidate.code));
            }
        }
        Some([first as u32, (candidates.len() - first) as u32])
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
        (in_pieces(&path), row_by_row(&path))
    }

    fn in_pieces(path: &Path) -> Option<PredictionColumns> {
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
    fn many_pieces_are_read_as_row_by_row() {
        let rows: String = (0..80_000).map(row).collect();
        assert!(rows.len() as u64 > 5 * pieces::PIECE_BYTES);
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
            let (pieces, slow) = (in_pieces(&path).unwrap(), row_by_row(&path).unwrap());
            assert_eq!(pieces.rows.len(), 200);
            assert!(pieces.rows[7].equals_target == Some(true) && pieces.candidates.len() == 400);
            assert_eq!(spelled(&pieces), spelled(&slow));
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
            good.replace("Span 1", "\"Sp\"an 1\""),
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
