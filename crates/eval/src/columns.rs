//! A prediction file by column: what scoring needs of each row, and strings by number.
//!
//! Scoring works out each code field, answer and mention string once and then compares numbers, and it needs the
//! training corpus only after that: both files can be read side by side ([`PredictionColumns::read`], then
//! [`PredictionColumns::score`]).

mod plain;

use std::path::{Path, PathBuf};

use syncabel_corpus::predictions::{COLUMNS, Prediction, Reader};

use crate::score::SCORE_COLUMNS;
use crate::strings::Strings;
use crate::{Error, judge};

/// Predictions, ready to be scored. About 70 bytes a row beside the strings; a mention string may be kept several times, others
/// are kept once, sentences not at all.
#[derive(Debug, Clone, Default)]
pub struct PredictionColumns {
    /// The file, where the predictions came from one.
    pub(crate) source: Option<PathBuf>,
    /// The judge column that was read.
    pub(crate) judge_column: Option<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) strings: [Strings; KINDS],
    /// Codes of all candidates, row after row, in [`CODES`].
    pub(crate) candidates: Vec<u32>,
}

/// A row; strings are numbers of [`PredictionColumns::strings`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// Line of the file, from 1; 0 for predictions that were handed over in memory.
    pub(crate) line: u32,
    pub(crate) document: u32,
    pub(crate) group: u32,
    pub(crate) gold: u32,
    pub(crate) answer: u32,
    pub(crate) mention: u32,
    pub(crate) verdict: u32,
    pub(crate) start_span: u32,
    pub(crate) end_span: u32,
    /// Where its candidates begin, and how many they are.
    pub(crate) candidates: [u32; 2],
    pub(crate) equals_target: Option<bool>,
    /// The values of [`SCORE_COLUMNS`]; NaN where there is none.
    pub(crate) scores: [f64; SCORE_COLUMNS.len()],
}

/// Kinds of strings: those that are compared with one another have one numbering.
pub(crate) const KINDS: usize = 5;
pub(crate) const DOCUMENTS: usize = 0;
pub(crate) const GROUPS: usize = 1;
/// Gold, answers and candidates.
pub(crate) const CODES: usize = 2;
/// Not compared with one another: a string may have several numbers.
pub(crate) const MENTIONS: usize = 3;
pub(crate) const VERDICTS: usize = 4;

impl PredictionColumns {
    /// Reads a tab-separated file, gzipped or not, with all threads.
    ///
    /// `judge_column` as in [`crate::EvalOptions::judge_column`].
    ///
    /// # Errors
    /// Those of reading, with file, line and column; [`Error::NoJudgeColumn`].
    pub fn read(path: &Path, judge_column: Option<&str>) -> Result<Self, Error> {
        let mut reader = Reader::open(path)?;
        let own = |column: &&str| COLUMNS.contains(column);
        let names: Vec<&str> = reader.columns().iter().map(String::as_str).collect();
        let extra: Vec<&str> = names.iter().copied().filter(|c| !own(c)).collect();
        let mut columns = PredictionColumns {
            source: Some(path.to_path_buf()),
            judge_column: judge::choose_column(&extra, judge_column)?,
            ..PredictionColumns::default()
        };
        // What was read of a pipe cannot be read again.
        if path.is_file() && columns.read_plain(path, &names) {
            return Ok(columns);
        }
        let mut row = Prediction::default();
        while reader.read(&mut row)? {
            columns.push(&row, reader.line());
        }
        Ok(columns)
    }

    /// Predictions that are in memory already.
    ///
    /// # Errors
    /// [`Error::NoJudgeColumn`].
    pub fn new(predictions: &[Prediction], judge_column: Option<&str>) -> Result<Self, Error> {
        let mut extra: Vec<&str> = Vec::new();
        for (name, _) in predictions.iter().flat_map(|p| &p.extra) {
            if !extra.contains(&name.as_str()) {
                extra.push(name);
            }
        }
        let mut columns = PredictionColumns {
            judge_column: judge::choose_column(&extra, judge_column)?,
            ..PredictionColumns::default()
        };
        for prediction in predictions {
            columns.push(prediction, 0);
        }
        Ok(columns)
    }

    fn push(&mut self, prediction: &Prediction, line: usize) {
        let verdict = self.judge_column.as_ref().and_then(|column| {
            let cell = prediction.extra.iter().find(|(name, _)| name == column)?;
            Some(cell.1.as_str())
        });
        let first = self.candidates.len() as u32;
        let [documents, groups, codes, mentions, verdicts] = &mut self.strings;
        for candidate in &prediction.candidates {
            self.candidates.push(codes.index(&candidate.code));
        }
        self.rows.push(Row {
            line: line as u32,
            document: documents.index(&prediction.filename),
            group: groups.index(&prediction.label),
            gold: codes.index(&prediction.code),
            answer: codes.index(&prediction.predicted_code),
            mention: mentions.index(&prediction.span),
            verdict: verdicts.index(verdict.unwrap_or("")),
            start_span: prediction.start_span,
            end_span: prediction.end_span,
            candidates: [first, prediction.candidates.len() as u32],
            equals_target: equals_target(&prediction.span, &prediction.annotation),
            scores: [
                prediction.prediction_score,
                prediction.prediction_beam_score,
                prediction.probability.unwrap_or(f64::NAN),
            ],
        });
    }

    /// Appends rows whose strings have numbers of their own; their lines are counted from `line_before`.
    fn append(&mut self, block: &PredictionColumns, line_before: u32) {
        let numbers: [Vec<u32>; KINDS] = std::array::from_fn(|kind| match kind {
            MENTIONS => Vec::new(),
            kind => self.strings[kind].merge(&block.strings[kind]),
        });
        let number = |kind: usize, index: u32| numbers[kind][index as usize];
        let first_mention = self.strings[MENTIONS].concatenate(&block.strings[MENTIONS]);
        let first = self.candidates.len() as u32;
        let candidates = block.candidates.iter();
        self.candidates
            .extend(candidates.map(|&code| number(CODES, code)));
        self.rows.extend(block.rows.iter().map(|row| Row {
            line: line_before + row.line,
            document: number(DOCUMENTS, row.document),
            group: number(GROUPS, row.group),
            gold: number(CODES, row.gold),
            answer: number(CODES, row.answer),
            mention: first_mention + row.mention,
            verdict: number(VERDICTS, row.verdict),
            candidates: [first + row.candidates[0], row.candidates[1]],
            ..*row
        }));
    }
}

/// Whether a mention is its target name, capitals aside; `None` without a name.
fn equals_target(mention: &str, name: &str) -> Option<bool> {
    let (mention, name) = (mention.trim(), name.trim());
    let same = || match mention.is_ascii() && name.is_ascii() {
        true => mention.eq_ignore_ascii_case(name),
        false => mention.to_lowercase() == name.to_lowercase(),
    };
    (!name.is_empty()).then(same)
}
