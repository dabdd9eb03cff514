//! Judges: the protocol and its questions, verdicts counted, and how far two judges agree.
//!
//! Exact codes under-count what is clinically right, since terminologies are redundant. A judge (a language model, or a
//! clinician) says how a prediction relates to the mention when the codes differ; the labels are those of the paper's protocol
//! (section 8.1 of the facts, [`protocol`]). [`judge()`] puts the questions to a model through the ledger; [`draw_sample`]
//! draws what people annotate; [`Agreement`] compares two judges; [`hierarchy`] is a judge that needs no model.

mod columns;
pub mod hierarchy;
pub mod protocol;
mod run;
mod sample;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;

use crate::bootstrap::{Bootstrap, Interval, percentile_interval};
use crate::{Error, Scored};

pub use columns::ColumnAgreement;
pub use run::{JudgeOptions, Judged, judge};
pub use sample::{SampleRow, draw_sample, rows_per_group};

/// Columns that are looked for when none is named, in this order.
pub const DEFAULT_JUDGE_COLUMNS: [&str; 2] = ["LLM_Evaluation_v2", "LLM_Evaluation"];

/// Column with a person's verdicts.
pub const HUMAN_COLUMN: &str = "Human_Evaluation";

/// A judge's verdict on one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Label {
    /// The codes are equal.
    Strict,
    /// Another code, clinically right.
    Exact,
    /// Part of a composite.
    Partial,
    /// Too general.
    Broad,
    /// Adds what the text does not say.
    Narrow,
    /// Something else.
    NoRelation,
}

impl Label {
    /// All verdicts, from right to wrong.
    pub const ALL: [Label; 6] = [
        Label::Strict,
        Label::Exact,
        Label::Partial,
        Label::Broad,
        Label::Narrow,
        Label::NoRelation,
    ];
}

impl FromStr for Label {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(
            match text
                .trim()
                .to_ascii_uppercase()
                .replace([' ', '-'], "_")
                .as_str()
            {
                "STRICT" => Label::Strict,
                "EXACT" => Label::Exact,
                "PARTIAL" => Label::Partial,
                "BROAD" => Label::Broad,
                "NARROW" => Label::Narrow,
                "NO_RELATION" => Label::NoRelation,
                _ => return Err(()),
            },
        )
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Label::Strict => "STRICT",
            Label::Exact => "EXACT",
            Label::Partial => "PARTIAL",
            Label::Broad => "BROAD",
            Label::Narrow => "NARROW",
            Label::NoRelation => "NO_RELATION",
        })
    }
}

/// Counts of verdicts over the scored mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeCounts {
    /// The column they come from.
    pub column: String,
    /// Verdicts STRICT.
    pub strict: usize,
    /// Verdicts EXACT.
    pub exact: usize,
    /// Verdicts PARTIAL.
    pub partial: usize,
    /// Verdicts BROAD.
    pub broad: usize,
    /// Verdicts NARROW.
    pub narrow: usize,
    /// Verdicts NO_RELATION.
    pub no_relation: usize,
    /// Clinically valid: codes equal, or judged EXACT.
    pub correct: usize,
    /// Rows with an empty verdict.
    pub unlabelled: usize,
}

/// Counts verdicts; `None` where no judge column was read.
pub(crate) fn count(scored: &Scored) -> Option<JudgeCounts> {
    let mut counts = JudgeCounts {
        column: scored.judge_column.clone()?,
        ..JudgeCounts::default()
    };
    for outcome in &scored.outcomes {
        let label = outcome.label;
        counts.correct += usize::from(outcome.correct || label == Some(Label::Exact));
        *match label {
            Some(Label::Strict) => &mut counts.strict,
            Some(Label::Exact) => &mut counts.exact,
            Some(Label::Partial) => &mut counts.partial,
            Some(Label::Broad) => &mut counts.broad,
            Some(Label::Narrow) => &mut counts.narrow,
            Some(Label::NoRelation) => &mut counts.no_relation,
            None => &mut counts.unlabelled,
        } += 1;
    }
    Some(counts)
}

/// The column asked for, or the first of [`DEFAULT_JUDGE_COLUMNS`] that exists.
///
/// # Errors
/// [`Error::NoJudgeColumn`] if a column is named and absent.
pub(crate) fn choose_column(
    columns: &[&str],
    asked: Option<&str>,
) -> Result<Option<String>, Error> {
    match asked {
        None => Ok(DEFAULT_JUDGE_COLUMNS
            .into_iter()
            .find(|c| columns.contains(c))
            .map(str::to_owned)),
        Some(column) if columns.contains(&column) => Ok(Some(column.to_owned())),
        Some(column) => Err(Error::NoJudgeColumn {
            column: column.to_owned(),
            found: if columns.is_empty() {
                "none".to_owned()
            } else {
                columns.join(", ")
            },
        }),
    }
}

/// The verdict of a cell; `None` for an empty one, an error for a label outside the protocol.
pub(crate) fn label(cell: &str) -> Result<Option<Label>, ()> {
    match cell.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// The verdict in the judge column of the `index`-th row.
///
/// # Errors
/// [`Error::UnknownLabel`] for a label outside the protocol.
fn label_of(prediction: &Prediction, column: &str, index: usize) -> Result<Option<Label>, Error> {
    let value = prediction.extra.iter().find(|(name, _)| name == column);
    let cell = value.map_or("", |(_, cell)| cell.as_str());
    label(cell).map_err(|()| Error::UnknownLabel {
        place: format!("data row {}", index + 1),
        mention: format!(
            "{} {}-{}",
            prediction.filename, prediction.start_span, prediction.end_span
        ),
        column: column.to_owned(),
        label: cell.trim().to_owned(),
    })
}

/// How far two judges agree on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Rows that both judged.
    pub rows: usize,
    /// Rows with the same verdict.
    pub agreed: usize,
    /// `agreed / rows`.
    pub accuracy: f64,
    /// 95 % interval of the accuracy, document-level bootstrap, where documents are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accuracy_ci95: Option<Interval>,
    /// Cohen's kappa; 0 where chance agreement is 1.
    pub kappa: f64,
    /// 95 % interval of kappa, as that of the accuracy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kappa_ci95: Option<Interval>,
    /// How often (first verdict, second verdict) occurs.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Agreement {
    /// Compares pairs of verdicts; any labels will do, as long as both judges use the same.
    pub fn of<'v>(pairs: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let mut second_totals: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut rows, mut agreed) = (0, 0);
        for (first, second) in pairs {
            rows += 1;
            agreed += usize::from(first == second);
            *confusion
                .entry(first.to_owned())
                .or_default()
                .entry(second.to_owned())
                .or_default() += 1;
            *second_totals.entry(second).or_default() += 1;
        }
        let totals = second_totals
            .iter()
            .map(|(label, count)| (*label, *count as f64));
        let second: BTreeMap<&str, f64> = totals.collect();
        let both = confusion.iter().map(|(label, row)| {
            let first = row.values().sum::<usize>() as f64;
            (first, second.get(label.as_str()).copied().unwrap_or(0.0))
        });
        Agreement {
            rows,
            agreed,
            accuracy: agreed as f64 / rows.max(1) as f64,
            accuracy_ci95: None,
            kappa: kappa(agreed as f64, rows as f64, both),
            kappa_ci95: None,
            confusion,
        }
    }

    /// As [`Agreement::of`], with intervals: documents are drawn with replacement, and each replicate has its own kappa.
    ///
    /// # Errors
    /// [`Error::NoReplicates`].
    pub fn with_intervals(
        rows: &[(&str, &str, &str)],
        bootstrap: Bootstrap,
    ) -> Result<Self, Error> {
        let mut agreement = Agreement::of(rows.iter().map(|(_, first, second)| (*first, *second)));
        let documents = numbered(rows.iter().map(|(document, _, _)| *document));
        let labels = numbered(rows.iter().flat_map(|(_, first, second)| [*first, *second]));
        let mut cells = vec![Vec::new(); documents.len()];
        for (document, first, second) in rows {
            cells[documents[document]].push((labels[first], labels[second]));
        }
        let replicates = bootstrap.replicate(documents.len(), |weights| {
            let (mut rows, mut agreed) = (0.0, 0.0);
            let mut totals = vec![(0.0, 0.0); labels.len()];
            for (cells, &weight) in cells.iter().zip(weights) {
                for &(first, second) in cells {
                    let weight = f64::from(weight);
                    rows += weight;
                    agreed += if first == second { weight } else { 0.0 };
                    totals[first].0 += weight;
                    totals[second].1 += weight;
                }
            }
            let accuracy = if rows > 0.0 { agreed / rows } else { 0.0 };
            (accuracy, kappa(agreed, rows, totals.into_iter()))
        })?;
        let (mut accuracies, mut kappas): (Vec<f64>, Vec<f64>) = replicates.into_iter().unzip();
        agreement.accuracy_ci95 = Some(percentile_interval(&mut accuracies));
        agreement.kappa_ci95 = Some(percentile_interval(&mut kappas));
        Ok(agreement)
    }

    /// Two verdict columns of a prediction file, over the rows that have both.
    ///
    /// # Errors
    /// [`Error::NoJudgeColumn`] for a column that no row has; [`Error::UnknownLabel`] for a label outside the protocol.
    pub fn of_columns(
        rows: &[Prediction],
        first: &str,
        second: &str,
        bootstrap: Bootstrap,
    ) -> Result<Self, Error> {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in rows.iter().flat_map(|row| &row.extra) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        for column in [first, second] {
            choose_column(&columns, Some(column))?;
        }
        let mut verdicts: Vec<(&str, String, String)> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let label = |column| label_of(row, column, index);
            if let (Some(a), Some(b)) = (label(first)?, label(second)?) {
                verdicts.push((&row.filename, a.to_string(), b.to_string()));
            }
        }
        let borrowed: Vec<(&str, &str, &str)> = verdicts
            .iter()
            .map(|(d, a, b)| (*d, a.as_str(), b.as_str()))
            .collect();
        Agreement::with_intervals(&borrowed, bootstrap)
    }
}

/// Cohen's kappa from agreed rows, all rows, and both judges' totals of each label.
fn kappa(agreed: f64, rows: f64, totals: impl Iterator<Item = (f64, f64)>) -> f64 {
    if rows == 0.0 {
        return 0.0;
    }
    let chance: f64 = totals
        .map(|(first, second)| first / rows * (second / rows))
        .sum();
    if chance >= 1.0 {
        0.0
    } else {
        (agreed / rows - chance) / (1.0 - chance)
    }
}

/// Distinct strings, numbered in alphabetical order.
fn numbered<'s>(strings: impl Iterator<Item = &'s str>) -> BTreeMap<&'s str, usize> {
    let distinct: std::collections::BTreeSet<&str> = strings.collect();
    distinct.into_iter().zip(0..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_leniently_but_not_guessed() {
        assert_eq!("no relation ".parse(), Ok(Label::NoRelation));
        assert_eq!("Exact".parse(), Ok(Label::Exact));
        assert_eq!("almost".parse::<Label>(), Err(()));
        assert_eq!(Label::NoRelation.to_string().parse(), Ok(Label::NoRelation));
    }

    #[test]
    fn kappa_of_a_textbook_table() {
        // 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, by chance 0.5, kappa 0.4.
        let cell = |count, pair| std::iter::repeat_n(pair, count);
        let pairs = cell(20, ("y", "y"))
            .chain(cell(5, ("y", "n")))
            .chain(cell(10, ("n", "y")))
            .chain(cell(15, ("n", "n")));
        let agreement = Agreement::of(pairs);
        assert_eq!((agreement.rows, agreement.agreed), (50, 35));
        assert!((agreement.kappa - 0.4).abs() < 1e-12);
        assert_eq!(agreement.confusion["n"]["y"], 10);
    }

    #[test]
    fn intervals_surround_the_estimate() {
        let documents: Vec<String> = (0..60).map(|i| format!("d{}", i / 2)).collect();
        let rows: Vec<(&str, &str, &str)> = documents
            .iter()
            .enumerate()
            .map(|(i, d)| (d.as_str(), ["a", "b"][i % 2], ["a", "b", "a"][i % 3]))
            .collect();
        let with = Agreement::with_intervals(&rows, Bootstrap::default()).unwrap();
        let plain = Agreement::of(rows.iter().map(|(_, a, b)| (*a, *b)));
        assert_eq!((with.agreed, with.kappa), (plain.agreed, plain.kappa));
        let [low, high] = with.kappa_ci95.unwrap();
        assert!(
            low < with.kappa && with.kappa < high,
            "{low} {} {high}",
            with.kappa
        );
        let [low, high] = with.accuracy_ci95.unwrap();
        assert!(low < with.accuracy && with.accuracy < high);
    }

    #[test]
    fn kappa_is_defined_for_one_label_and_no_rows() {
        assert_eq!(Agreement::of([("a", "a")]).kappa, 0.0);
        assert_eq!(Agreement::of([]).accuracy, 0.0);
    }
}
