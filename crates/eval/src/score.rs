//! Right or wrong, mention by mention.
//!
//! # Ties
//! A name may denote several concepts. Our KBs give every name of a group to one concept, other systems' need not, and
//! such an answer stands in a prediction file as alternatives, `A|B`. [`TiePolicy`] says what it is worth:
//!
//! | policy | credit of an answer of n concepts, r of them right |
//! |---|---|
//! | `strict` (default) | 1 if r = n, else 0: the name must lead to the right concept whatever is picked |
//! | `expected` | r / n: what picking one at random earns on average |
//! | `any` | 1 if r > 0: an upper bound, which is what "the name is right" measures |
//!
//! `correct` counts answers with full credit; recall is the sum of credits over the number of mentions. Among the
//! candidates of recall@k, `expected` counts like `any`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::columns::PredictionColumns;
use crate::judge::Label;
use crate::report::RECALL_CUTOFFS;
use crate::strata::Surface;
use crate::{Bootstrap, Error, TrainingSet};

/// What counts as right when the gold annotation is a composite (several codes joined by `+`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompositeRule {
    /// All parts, in any order, and nothing else. The authors' rule.
    #[default]
    Exact,
    /// A prediction is right if each of its codes is one of the gold codes: the usual protocol on NCBI Disease,
    /// where a system answers with one concept.
    AnyPart,
}

/// What an answer is worth whose name denotes several concepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiePolicy {
    /// All of them must be right.
    #[default]
    Strict,
    /// The share that is right.
    Expected,
    /// One right one is enough.
    Any,
}

/// When a gold concept counts as seen in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenRule {
    /// The gold code string, composite parts sorted, is one of the training code strings, composite parts as they
    /// stand there. A composite is one string, not its parts. This is the authors' rule and gives their figures.
    #[default]
    CodeString,
    /// As above with both sides sorted.
    CodeSet,
    /// Any single gold code occurs in training, alone or as part of a composite.
    AnyConcept,
}

/// How a prediction file is scored. The default is what the authors do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalOptions {
    /// Keep only the first row of each (filename, label, start_span, end_span).
    pub deduplicate: bool,
    /// Leave out rows without gold: the code is empty or holds `NO_CODE` (paper, section on metrics: mentions without
    /// normalisation are dropped).
    pub drop_no_code: bool,
    /// What counts as right for composites.
    pub composite: CompositeRule,
    /// What an answer of several concepts is worth.
    pub ties: TiePolicy,
    /// What counts as a seen concept.
    pub seen: SeenRule,
    /// The k of recall@k beside 1, as far as the file's candidate lists reach; [`RECALL_CUTOFFS`] by default.
    #[serde(skip_serializing_if = "are_usual")]
    pub recall_at: Vec<u32>,
    /// The intervals' bootstrap.
    pub bootstrap: Bootstrap,
    /// Judge column; `None` takes `LLM_Evaluation_v2`, else `LLM_Evaluation`, else reports no judge.
    pub judge_column: Option<String>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        EvalOptions {
            deduplicate: true,
            drop_no_code: true,
            composite: CompositeRule::default(),
            ties: TiePolicy::default(),
            seen: SeenRule::default(),
            recall_at: RECALL_CUTOFFS.to_vec(),
            bootstrap: Bootstrap::default(),
            judge_column: None,
        }
    }
}

fn are_usual(cutoffs: &[u32]) -> bool {
    cutoffs == RECALL_CUTOFFS
}

/// Score columns of a prediction file, in the order of [`Outcome::scores`].
pub const SCORE_COLUMNS: [&str; 3] = ["Prediction_score", "Prediction_beam_score", "Probability"];

/// The verdict on one mention, and what its strata are decided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Index of the prediction in the input.
    pub row: u32,
    /// Line of the file, from 1; 0 for predictions that were handed over in memory.
    pub line: u32,
    /// Index into [`Scored::documents`].
    pub document: u32,
    /// Index into [`Scored::groups`].
    pub group: u32,
    /// Index into [`Scored::concepts`].
    pub concept: u32,
    /// First character of the mention.
    pub start_span: u32,
    /// One past its last character.
    pub end_span: u32,
    /// What the answer is worth, from 0 to 1 ([`TiePolicy`]).
    pub credit: f64,
    /// Whether the prediction is right: full credit.
    pub correct: bool,
    /// Whether the answer names several concepts.
    pub tied: bool,
    /// Rank (from 1) of the first right candidate, where the file has candidates.
    pub first_right: Option<u32>,
    /// Number of candidates.
    pub candidates: u32,
    /// Whether the gold concept occurs in the training data; `None` without training data.
    pub seen: Option<bool>,
    /// Whether the mention string occurs in the training data; `None` without training data.
    pub seen_mention: Option<bool>,
    /// Whether mention string and concept occur together in the training data; `None` without training data.
    pub seen_pair: Option<bool>,
    /// Whether the concept is among the hundred most frequent of the training data.
    pub frequent_concept: Option<bool>,
    /// Whether the mention string is among the hundred most frequent of the training data.
    pub frequent_mention: Option<bool>,
    /// Whether no gold alternative is fully covered by the KB; `None` without a KB.
    pub missing_from_kb: Option<bool>,
    /// Whether a gold alternative has several parts.
    pub composite: bool,
    /// Whether the gold concept occurs more than once in the document, among the scored mentions.
    pub repeated: bool,
    /// Whether the mention is the name that training would have asked for, capitals aside; `None` without that column.
    pub equals_target: Option<bool>,
    /// What the mention string looks like.
    pub surface: Surface,
    /// The values of [`SCORE_COLUMNS`]; NaN where there is none.
    pub scores: [f64; SCORE_COLUMNS.len()],
    /// The judge's verdict, where there is one.
    pub label: Option<Label>,
}

/// Rows that were not scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Repetitions of a (filename, label, start_span, end_span).
    pub duplicates: usize,
    /// Rows whose gold code holds `NO_CODE`.
    pub no_code: usize,
    /// Rows without any gold code, such as mentions that a corpus leaves unlinked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_gold: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Verdicts on all mentions: what every metric, stratum and comparison is computed from. About 90 bytes a mention,
/// whatever the length of its sentence.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The file, where the predictions came from one.
    pub source: Option<PathBuf>,
    /// One verdict per scored mention, in the order of the input.
    pub outcomes: Vec<Outcome>,
    /// Documents with a scored mention, in order of appearance.
    pub documents: Vec<String>,
    /// Labels, in order of appearance.
    pub groups: Vec<String>,
    /// Gold annotations in canonical form, in order of appearance.
    pub concepts: Vec<String>,
    /// The judge column that was read.
    pub judge_column: Option<String>,
    /// What was left out.
    pub removed: Removed,
}

/// Judges every prediction.
///
/// A prediction that is empty, `NIL` or holds `NO_CODE` is wrong. Otherwise it is right if it equals any gold
/// alternative under [`CompositeRule`]. With a KB both sides are compared as concepts, so alternate ids match.
///
/// # Errors
/// [`Error::NothingToScore`] when no row is left; those of the judge column.
pub fn score(
    predictions: &[Prediction],
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Scored, Error> {
    PredictionColumns::new(predictions, options.judge_column.as_deref())?
        .score(training, kb, options)
}

/// Judges every prediction of a tab-separated file without holding its text in memory.
///
/// # Errors
/// As [`score`], and those of reading, with file, line and column.
pub fn score_file(
    path: &Path,
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Scored, Error> {
    PredictionColumns::read(path, options.judge_column.as_deref())?.score(training, kb, options)
}
