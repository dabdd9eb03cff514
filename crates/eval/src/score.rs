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

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::{Prediction, Reader};
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser, NO_CODE};
use crate::judge::{self, Label};
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
            bootstrap: Bootstrap::default(),
            judge_column: None,
        }
    }
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

/// Verdicts on all mentions: what every metric, stratum and comparison is computed from. About 140 bytes a mention,
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
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in predictions.iter().flat_map(|p| &p.extra) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let judge = judge::choose_column(&columns, options.judge_column.as_deref())?;
    let mut scorer = Scorer::new(None, judge, training, kb, options);
    for prediction in predictions {
        scorer.add(prediction, 0)?;
    }
    scorer.finish()
}

/// Judges every prediction of a tab-separated file without holding it in memory.
///
/// # Errors
/// As [`score`], and those of reading, with file, line and column.
pub fn score_file(
    path: &Path,
    training: Option<&TrainingSet>,
    kb: Option<&Kb>,
    options: &EvalOptions,
) -> Result<Scored, Error> {
    let mut reader = Reader::open(path)?;
    let columns: Vec<&str> = reader.columns().iter().map(String::as_str).collect();
    let extra: Vec<&str> = columns
        .into_iter()
        .filter(|c| !syncabel_corpus::predictions::COLUMNS.contains(c))
        .collect();
    let judge = judge::choose_column(&extra, options.judge_column.as_deref())?;
    let mut scorer = Scorer::new(Some(path), judge, training, kb, options);
    let (full, filled) = sync_channel::<Result<Batch, Error>>(BATCHES);
    let (empty, emptied) = sync_channel::<Batch>(BATCHES);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let mut batch = emptied.try_recv().unwrap_or_default();
                let read = batch.fill(&mut reader);
                let last = !matches!(read, Ok(true));
                // Nobody listens any more once a row could not be scored.
                if full.send(read.map(|_| batch)).is_err() || last {
                    return;
                }
            }
        });
        for batch in filled {
            let batch = batch?;
            for (prediction, &line) in batch.rows.iter().zip(&batch.lines) {
                scorer.add(prediction, line)?;
            }
            let _ = empty.try_send(batch);
        }
        Ok::<(), Error>(())
    })?;
    scorer.finish()
}

/// Rows that travel together from the thread that reads to the one that scores.
const BATCH_ROWS: usize = 512;
/// Batches under way at a time.
const BATCHES: usize = 8;

#[derive(Default)]
struct Batch {
    /// Rows; those behind `lines.len()` are left over from earlier and only lend their memory.
    rows: Vec<Prediction>,
    lines: Vec<usize>,
}

impl Batch {
    /// Reads the next rows; false at the end of the file.
    fn fill(&mut self, reader: &mut Reader) -> Result<bool, Error> {
        self.lines.clear();
        self.rows.resize_with(BATCH_ROWS, Prediction::default);
        for row in &mut self.rows {
            if !reader.read(row)? {
                return Ok(false);
            }
            self.lines.push(reader.line());
        }
        Ok(true)
    }
}

/// What one distinct gold field comes to.
struct GoldField {
    alternatives: Vec<Canonical>,
    concept: u32,
    seen: Option<bool>,
    frequent: Option<bool>,
    missing_from_kb: Option<bool>,
    composite: bool,
}

/// What one distinct mention string comes to.
#[derive(Clone, Copy)]
struct MentionString {
    /// Its number in the training data.
    index: Option<u32>,
    frequent: Option<bool>,
    surface: Surface,
}

/// Takes rows one by one. The same few thousand fields fill tens of thousands of rows, so each is worked out once.
struct Scorer<'a> {
    options: &'a EvalOptions,
    training: Option<&'a TrainingSet>,
    frequent_concepts: HashSet<&'a str>,
    frequent_mentions: HashSet<&'a str>,
    kb: Option<&'a Kb>,
    codes: Canonicaliser<'a>,
    gold_fields: Known<GoldField>,
    answers: Known<Vec<Canonical>>,
    mentions: Known<MentionString>,
    documents: Names,
    groups: Names,
    concepts: Names,
    /// Names of all rows, scored or not, for telling repetitions.
    met: Names,
    unique: FxHashSet<(u32, u32, u32, u32)>,
    read: u32,
    scored: Scored,
}

impl<'a> Scorer<'a> {
    fn new(
        source: Option<&Path>,
        judge_column: Option<String>,
        training: Option<&'a TrainingSet>,
        kb: Option<&'a Kb>,
        options: &'a EvalOptions,
    ) -> Self {
        Scorer {
            options,
            training,
            frequent_concepts: training
                .map(TrainingSet::frequent_concepts)
                .unwrap_or_default(),
            frequent_mentions: training
                .map(TrainingSet::frequent_mentions)
                .unwrap_or_default(),
            kb,
            codes: Canonicaliser::new(kb),
            gold_fields: Known::default(),
            answers: Known::default(),
            mentions: Known::default(),
            documents: Names::default(),
            groups: Names::default(),
            concepts: Names::default(),
            met: Names::default(),
            unique: FxHashSet::default(),
            read: 0,
            scored: Scored {
                source: source.map(Path::to_path_buf),
                outcomes: Vec::new(),
                documents: Vec::new(),
                groups: Vec::new(),
                concepts: Vec::new(),
                judge_column,
                removed: Removed::default(),
            },
        }
    }

    fn add(&mut self, prediction: &Prediction, line: usize) -> Result<(), Error> {
        let row = self.read;
        self.read += 1;
        if self.options.deduplicate && !self.is_new(prediction) {
            self.scored.removed.duplicates += 1;
            return Ok(());
        }
        if self.options.drop_no_code && prediction.code.contains(NO_CODE) {
            self.scored.removed.no_code += 1;
            return Ok(());
        }
        if self.options.drop_no_code && prediction.code.trim().is_empty() {
            self.scored.removed.no_gold += 1;
            return Ok(());
        }
        let label = match &self.scored.judge_column {
            Some(column) => {
                judge::label_of(prediction, column, self.scored.source.as_deref(), row, line)?
            }
            None => None,
        };
        let [gold, answer, mention] = self.learn(prediction);
        let gold = &self.gold_fields.values[gold];
        let answer = &self.answers.values[answer];
        let mention = self.mentions.values[mention];
        let rule = self.options.composite;
        let credit = credit(&gold.alternatives, answer, rule, self.options.ties);
        let first_right = prediction.candidates.iter().position(|candidate| {
            let answer = self.codes.alternatives(&candidate.code);
            let ties = match self.options.ties {
                TiePolicy::Strict => TiePolicy::Strict,
                TiePolicy::Expected | TiePolicy::Any => TiePolicy::Any,
            };
            crate::score::credit(&gold.alternatives, &answer, rule, ties) >= 1.0
        });
        let seen_pair = self.training.map(|t| {
            // Nobody has seen a concept that is new under a string that is not.
            let index = mention.index.filter(|_| gold.seen == Some(true));
            index.is_some_and(|m| t.has_pair(&gold.alternatives, m, self.options.seen))
        });
        self.scored.outcomes.push(Outcome {
            row,
            line: line as u32,
            document: self.documents.index(&prediction.filename),
            group: self.groups.index(&prediction.label),
            concept: gold.concept,
            start_span: prediction.start_span,
            end_span: prediction.end_span,
            credit,
            correct: credit >= 1.0,
            tied: answer.len() > 1,
            first_right: first_right.map(|rank| rank as u32 + 1),
            candidates: prediction.candidates.len() as u32,
            seen: gold.seen,
            seen_mention: self.training.map(|_| mention.index.is_some()),
            seen_pair,
            frequent_concept: gold.frequent,
            frequent_mention: mention.frequent,
            missing_from_kb: gold.missing_from_kb,
            composite: gold.composite,
            repeated: false,
            equals_target: equals_target(prediction),
            surface: mention.surface,
            scores: [
                prediction.prediction_score,
                prediction.prediction_beam_score,
                prediction.probability.unwrap_or(f64::NAN),
            ],
            label,
        });
        Ok(())
    }

    fn is_new(&mut self, prediction: &Prediction) -> bool {
        self.unique.insert((
            self.met.index(&prediction.filename),
            self.met.index(&prediction.label),
            prediction.start_span,
            prediction.end_span,
        ))
    }

    /// Where gold field, answer and mention string stand; works out those that have not been met before.
    fn learn(&mut self, prediction: &Prediction) -> [usize; 3] {
        let gold = match self.gold_fields.get(&prediction.code) {
            Some(index) => index,
            None => {
                let field = self.gold_field(&prediction.code);
                self.gold_fields.insert(&prediction.code, field)
            }
        };
        let answer = match self.answers.get(&prediction.predicted_code) {
            Some(index) => index,
            None => {
                let answer = self.codes.alternatives(&prediction.predicted_code);
                self.answers.insert(&prediction.predicted_code, answer)
            }
        };
        let span = prediction.span.as_str();
        let mention = match self.mentions.get(span) {
            Some(index) => index,
            None => {
                let mention = MentionString {
                    index: self.training.and_then(|t| t.mention_index(span)),
                    frequent: self.training.map(|_| self.frequent_mentions.contains(span)),
                    surface: Surface::of(span),
                };
                self.mentions.insert(span, mention)
            }
        };
        [gold, answer, mention]
    }

    fn gold_field(&mut self, field: &str) -> GoldField {
        let alternatives = self.codes.alternatives(field);
        let mut keys: Vec<&str> = alternatives.iter().map(|c| c.key.as_str()).collect();
        keys.sort_unstable();
        GoldField {
            concept: self.concepts.index(&keys.join("|")),
            seen: self
                .training
                .map(|t| t.has_concept(&alternatives, self.options.seen)),
            frequent: self
                .training
                .map(|_| keys.iter().any(|key| self.frequent_concepts.contains(key))),
            missing_from_kb: self.kb.map(|_| !alternatives.iter().any(|c| c.known)),
            composite: alternatives.iter().any(|c| c.parts.len() > 1),
            alternatives,
        }
    }

    fn finish(mut self) -> Result<Scored, Error> {
        if self.scored.outcomes.is_empty() {
            let Removed {
                duplicates,
                no_code,
                no_gold,
            } = self.scored.removed;
            return Err(Error::NothingToScore {
                read: self.read as usize,
                duplicates,
                no_code,
                no_gold,
            });
        }
        mark_repeated(&mut self.scored.outcomes);
        self.scored.documents = self.documents.names;
        self.scored.groups = self.groups.names;
        self.scored.concepts = self.concepts.names;
        Ok(self.scored)
    }
}

/// Marks mentions whose concept occurs more than once in their document.
fn mark_repeated(outcomes: &mut [Outcome]) {
    let keys = (0..)
        .zip(&*outcomes)
        .map(|(i, o)| (o.document, o.concept, i));
    let mut order: Vec<(u32, u32, usize)> = keys.collect();
    order.sort_unstable();
    for block in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        for &(_, _, index) in block {
            outcomes[index].repeated = block.len() > 1;
        }
    }
}

/// What an answer is worth; an empty answer, `NIL` and `NO_CODE` are worth nothing.
fn credit(gold: &[Canonical], answer: &[Canonical], rule: CompositeRule, ties: TiePolicy) -> f64 {
    let right = answer.iter().filter(|a| is_right(gold, a, rule)).count();
    match ties {
        _ if right == 0 => 0.0,
        TiePolicy::Any => 1.0,
        TiePolicy::Strict => f64::from(u8::from(right == answer.len())),
        TiePolicy::Expected => right as f64 / answer.len() as f64,
    }
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

fn equals_target(prediction: &Prediction) -> Option<bool> {
    let (mention, name) = (prediction.span.trim(), prediction.annotation.trim());
    let same = || match mention.is_ascii() && name.is_ascii() {
        true => mention.eq_ignore_ascii_case(name),
        false => mention.to_lowercase() == name.to_lowercase(),
    };
    (!name.is_empty()).then(same)
}

/// What distinct strings come to, in order of appearance.
struct Known<T> {
    values: Vec<T>,
    indices: FxHashMap<String, u32>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known {
            values: Vec::new(),
            indices: FxHashMap::default(),
        }
    }
}

impl<T> Known<T> {
    fn get(&self, string: &str) -> Option<usize> {
        self.indices.get(string).map(|&index| index as usize)
    }

    fn insert(&mut self, string: &str, value: T) -> usize {
        self.indices
            .insert(string.to_owned(), self.values.len() as u32);
        self.values.push(value);
        self.values.len() - 1
    }
}

/// Strings numbered in order of appearance.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    indices: FxHashMap<String, u32>,
}

impl Names {
    fn index(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.indices.insert(name.to_owned(), index);
        index
    }
}
