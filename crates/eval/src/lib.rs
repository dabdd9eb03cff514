//! How good are the predictions, and how sure can one be?
//!
//! This crate reads prediction records, ours or the authors' released ones, and never a model. [`evaluate`] gives
//! recall@1 with a document-level bootstrap interval, for all mentions and for each stratum ([`strata`]), recall among
//! the candidates, the rates of a judge, and what the score columns are worth ([`confidence`]: thresholds, risk against
//! coverage, calibration). [`compare`] tests two systems on the same mentions, [`Correction`] corrects for many such
//! tests. [`tables`] puts runs of several strategies and seeds side by side, [`figures`] draws them.
//!
//! # What counts
//! The defaults are the authors': composites (`A+B`) are equal as sets, one of several alternatives (`A|B`) is
//! enough, repeated rows and rows whose gold is `NO_CODE` are left out and counted, an empty or `NIL` answer is wrong.
//! Each rule is a field of [`EvalOptions`] and is written into the report.
//!
//! # Cost
//! Reading holds about 70 bytes a row beside the strings, verdicts about 90 bytes a mention; the bootstrap is a matrix product
//! of replicates, documents and metrics. `benches/eval_numpy/compare.py` measures time and memory.
//!
//! # Example
//! ```
//! use syncabel_corpus::predictions::Prediction;
//! use syncabel_eval::{EvalOptions, TrainingSet, evaluate};
//!
//! let row = |document: &str, gold: &str, predicted: &str| Prediction {
//!     filename: document.into(),
//!     label: "Disease".into(),
//!     code: gold.into(),
//!     predicted_code: predicted.into(),
//!     ..Prediction::default()
//! };
//! let rows = [row("1", "D001+D002", "D002+D001"), row("2", "D003", "NIL")];
//! let training = TrainingSet::from_fields([("D003", "gout")], None);
//! let report = evaluate(&rows, Some(&training), None, &EvalOptions::default())?;
//! assert_eq!((report.rows, report.correct), (2, 1));
//! assert_eq!(report.unseen.unwrap().recall_at_1, 1.0);
//! # Ok::<(), syncabel_eval::Error>(())
//! ```

mod bootstrap;
pub mod cells;
pub mod codes;
mod columns;
mod compare;
pub mod confidence;
mod correction;
mod display;
mod error;
pub mod figures;
pub mod judge;
pub mod page;
pub mod paper;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod published;
mod report;
mod score;
pub mod strata;
mod strings;
pub mod tables;
mod training;
mod verdicts;

pub use bootstrap::{Bootstrap, DocumentSums, Interval, Ratio, Sums};
pub use columns::PredictionColumns;
pub use compare::{Comparison, Difference, compare, compare_scored, compare_seeds, mcnemar_exact};
pub use correction::{CorrectedComparison, Correction};
pub use error::Error;
pub use judge::{Agreement, ColumnAgreement, JudgeCounts};
pub use report::{EvalReport, JUDGE_RATES, RECALL_CUTOFFS, Rate, Stratum, evaluate};
pub use score::{
    CompositeRule, EvalOptions, Outcome, Removed, SCORE_COLUMNS, Scored, SeenRule, TiePolicy,
    score, score_file,
};
pub use training::{FREQUENT, TrainingSet, TrainingSetBuilder};
