//! Right or wrong, mention by mention.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser, NO_CODE};
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
    /// Leave out rows whose gold code holds `NO_CODE`.
    pub drop_no_code: bool,
    /// What counts as right for composites.
    pub composite: CompositeRule,
    /// What counts as a seen concept.
    pub seen: SeenRule,
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
            seen: SeenRule::default(),
            bootstrap: Bootstrap::default(),
            judge_column: None,
        }
    }
}

/// The verdict on one mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Index of the prediction in the input.
    pub row: usize,
    /// Index into [`Scored::documents`].
    pub document: u32,
    /// Whether the prediction is right.
    pub correct: bool,
    /// Rank (from 1) of the first right candidate, where the file has candidates.
    pub first_right: Option<u32>,
    /// Whether the gold concept occurs in the training data; `None` without training data.
    pub seen: Option<bool>,
    /// Whether the mention string occurs in the training data; `None` without training data.
    pub seen_mention: Option<bool>,
    /// Whether no gold alternative is fully covered by the KB; `None` without a KB.
    pub missing_from_kb: Option<bool>,
}

/// Rows that were not scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Repetitions of a (filename, label, start_span, end_span).
    pub duplicates: usize,
    /// Rows whose gold code holds `NO_CODE`.
    pub no_code: usize,
}

/// Predictions with their verdicts: what every metric, stratum and comparison is computed from.
#[derive(Debug, Clone)]
pub struct Scored<'p> {
    /// The rows as they were handed in.
    pub predictions: &'p [Prediction],
    /// One verdict per scored mention, in the order of the input.
    pub outcomes: Vec<Outcome>,
    /// Documents with a scored mention, in order of appearance.
    pub documents: Vec<&'p str>,
    /// What was left out.
    pub removed: Removed,
}

/// Judges every prediction.
///
/// A prediction that is empty, `NIL` or holds `NO_CODE` is wrong. Otherwise it is right if it equals any gold
/// alternative under [`CompositeRule`]. With a KB both sides are compared as concepts, so alternate ids match.
///
/// # Errors
/// [`Error::NothingToScore`] when no row is left.
pub fn score<'p>(
    predictions: &'p [Prediction],
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Scored<'p>, Error> {
    let mut codes = Canonicaliser::new(kb);
    let mut documents = Documents::default();
    let mut unique = HashSet::with_capacity(predictions.len());
    let mut removed = Removed::default();
    let mut outcomes = Vec::with_capacity(predictions.len());
    for (row, prediction) in predictions.iter().enumerate() {
        if options.deduplicate && !unique.insert(key(prediction)) {
            removed.duplicates += 1;
            continue;
        }
        if options.drop_no_code && prediction.code.contains(NO_CODE) {
            removed.no_code += 1;
            continue;
        }
        let gold = codes.alternatives(&prediction.code);
        let predicted = codes.composite(&prediction.predicted_code);
        let candidates = &prediction.candidates;
        let right = |candidate: &Canonical| is_right(&gold, candidate, options.composite);
        outcomes.push(Outcome {
            row,
            document: documents.index(&prediction.filename),
            correct: right(&predicted),
            first_right: candidates
                .iter()
                .position(|c| right(&codes.composite(&c.code)))
                .map(|rank| rank as u32 + 1),
            seen: training.map(|t| t.has_concept(&gold, options.seen)),
            seen_mention: training.map(|t| t.has_mention(&prediction.span)),
            missing_from_kb: kb.map(|_| !gold.iter().any(|composite| composite.known)),
        });
    }
    if outcomes.is_empty() {
        let Removed {
            duplicates,
            no_code,
        } = removed;
        return Err(Error::NothingToScore {
            read: predictions.len(),
            duplicates,
            no_code,
        });
    }
    Ok(Scored {
        predictions,
        outcomes,
        documents: documents.names,
        removed,
    })
}

/// What identifies a mention across systems.
pub(crate) type MentionKey<'p> = (&'p str, &'p str, u32, u32);

pub(crate) fn key(prediction: &Prediction) -> MentionKey<'_> {
    (
        &prediction.filename,
        &prediction.label,
        prediction.start_span,
        prediction.end_span,
    )
}

fn is_right(gold: &[Canonical], predicted: &Canonical, rule: CompositeRule) -> bool {
    predicted.is_answer()
        && match rule {
            CompositeRule::Exact => gold.iter().any(|composite| composite.key == predicted.key),
            CompositeRule::AnyPart => predicted
                .parts
                .iter()
                .all(|part| gold.iter().any(|composite| composite.parts.contains(part))),
        }
}

/// Document names numbered in order of appearance.
#[derive(Default)]
struct Documents<'p> {
    names: Vec<&'p str>,
    indices: HashMap<&'p str, u32>,
}

impl<'p> Documents<'p> {
    fn index(&mut self, name: &'p str) -> u32 {
        *self.indices.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() as u32 - 1
        })
    }
}
