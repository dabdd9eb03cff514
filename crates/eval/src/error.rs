//! What can go wrong when predictions are scored.

use std::path::PathBuf;

/// Everything that can go wrong in this crate. Each variant says which input it is about and, where there is
/// one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No prediction was left to score.
    #[error(
        "nothing to score: {read} predictions read, {duplicates} dropped as duplicates, {no_code} because their gold is NO_CODE, \
         {no_gold} because they have no gold code"
    )]
    NothingToScore {
        /// Rows handed in.
        read: usize,
        /// Rows dropped as duplicates.
        duplicates: usize,
        /// Rows dropped because the gold code holds `NO_CODE`.
        no_code: usize,
        /// Rows dropped because there is no gold code.
        no_gold: usize,
    },
    /// A bootstrap without replicates has no interval.
    #[error("a bootstrap needs at least one replicate (1000 is usual)")]
    NoReplicates,
    /// The judge column that was asked for is in no row.
    #[error(
        "no prediction has the judge column `{column}`; columns beyond the usual ones: {found}"
    )]
    NoJudgeColumn {
        /// The column asked for.
        column: String,
        /// The columns that exist, comma-separated.
        found: String,
    },
    /// A label that is not part of the judge's protocol.
    #[error(
        "{place}, column {column} ({mention}): `{label}` is no verdict; known are STRICT, EXACT, PARTIAL, BROAD, NARROW, NO_RELATION"
    )]
    UnknownLabel {
        /// File and line, or the 1-based number of the data row (the header not counted).
        place: String,
        /// Document and span of the mention.
        mention: String,
        /// The column.
        column: String,
        /// What was found there.
        label: String,
    },
    /// Two systems that should be compared do not cover the same mentions.
    #[error(
        "the two systems do not cover the same mentions: {only_first} only in the first ({first_sample}), {only_second} only in the second ({second_sample}); link the same corpus with both"
    )]
    DifferentMentions {
        /// How many mentions only the first system has.
        only_first: usize,
        /// Some of them.
        first_sample: String,
        /// How many mentions only the second system has.
        only_second: usize,
        /// Some of them.
        second_sample: String,
    },
    /// Two systems cover the same mention but disagree on its gold code.
    #[error(
        "the two systems have different gold codes for {mention}: `{first}` and `{second}`; score both against the same annotation"
    )]
    DifferentGold {
        /// Document, label and span of the mention.
        mention: String,
        /// Gold of the first system.
        first: String,
        /// Gold of the second system.
        second: String,
    },
    /// A table or figure without content.
    #[error("{what} has nothing to show: {why}")]
    NothingToShow {
        /// The table or figure.
        what: &'static str,
        /// Why it is empty.
        why: String,
    },
    /// A file of results is not what it should be.
    #[error(
        "{path}: {reason}; `syncabel report` and `syncabel run` write such files, take the committed one or make it anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A table was asked for in a form that does not exist.
    #[error("{path}: tables are written as .md, .csv, .tex or .typ; choose one of these endings")]
    TableFormat {
        /// The file.
        path: PathBuf,
    },
    /// A row of a table has another number of cells than the table has columns.
    #[error("a row of the table `{table}` has {got} cells, the table has {expected} columns")]
    CellCount {
        /// Title of the table.
        table: String,
        /// Columns.
        expected: usize,
        /// Cells of the row.
        got: usize,
    },
    /// A file could not be read: not there, or not what it should be.
    #[error(transparent)]
    Corpus(#[from] syncabel_corpus::Error),
    /// The judge's model could not be asked, or its ledger not be kept.
    #[error(transparent)]
    Judge(#[from] syncabel_llm::Error),
    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A figure could not be drawn.
    #[error("{path}: drawing failed: {reason}")]
    Draw {
        /// The file that was being written.
        path: PathBuf,
        /// The drawing library's reason.
        reason: String,
    },
    /// A Parquet file could not be read or written, or lacks a column.
    #[error("{path}: {reason}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }
}
