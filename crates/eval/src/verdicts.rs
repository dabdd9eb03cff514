//! From the columns of a prediction file to verdicts on its mentions.
//!
//! What a distinct string comes to is worked out once; a row is then a few look-ups by number.

use std::borrow::Cow;
use std::collections::HashSet;

use rayon::prelude::*;
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser, NO_CODE, is_answer, is_plain};
use crate::columns::{CODES, DOCUMENTS, GROUPS, MENTIONS, PredictionColumns, Row, VERDICTS};
use crate::judge::{self, Label};
use crate::score::{CompositeRule, EvalOptions, Outcome, Removed, Scored, TiePolicy};
use crate::strata::Surface;
use crate::strings::Strings;
use crate::{Error, TrainingSet};

/// Rows or strings that a thread takes at a time.
const CHUNK: usize = 4096;

/// Stands for a number that is not given yet.
const NONE: u32 = u32::MAX;

impl PredictionColumns {
    /// Judges every prediction; see [`crate::score`].
    ///
    /// # Errors
    /// [`Error::NothingToScore`] when no row is left; [`Error::UnknownLabel`] for a judge's label that nobody knows.
    pub fn score(
        &self,
        training: Option<&TrainingSet>,
        kb: Option<&Kb>,
        options: &EvalOptions,
    ) -> Result<Scored, Error> {
        let kept = self.kept(options)?;
        let labels = self.labels(&kept.rows)?;
        let (fields, mentions) =
            rayon::join(|| self.fields(&kept, kb), || self.mention_strings(training));
        let (golds, concepts) = self.golds(&kept, &fields, training, options);
        let concept_of = |index: u32| golds[self.rows[index as usize].gold as usize].concept;
        let repeated = self.repeated(&kept.rows, concept_of);
        let judged = Judging {
            columns: self,
            training,
            options,
            kept: &kept,
            fields: &fields,
            golds: &golds,
            mentions: &mentions,
            labels: &labels,
            with_kb: kb.is_some(),
        };
        let outcomes = kept
            .rows
            .par_iter()
            .with_min_len(CHUNK)
            .zip(repeated)
            .map(|(&row, repeated)| judged.outcome(row, repeated))
            .collect();
        Ok(Scored {
            source: self.source.clone(),
            outcomes,
            documents: kept.documents.names(&self.strings[DOCUMENTS]),
            groups: kept.groups.names(&self.strings[GROUPS]),
            concepts: concepts.iter().map(str::to_owned).collect(),
            judge_column: self.judge_column.clone(),
            removed: kept.removed,
        })
    }

    /// Which rows are scored.
    fn kept(&self, options: &EvalOptions) -> Result<Kept, Error> {
        let duplicate = match options.deduplicate {
            true => self.duplicates(),
            false => vec![false; self.rows.len()],
        };
        let golds = self.strings[CODES].iter().map(|gold| match gold {
            _ if !options.drop_no_code => GoldField::Scored,
            gold if gold.contains(NO_CODE) => GoldField::NoCode,
            gold if gold.trim().is_empty() => GoldField::Empty,
            _ => GoldField::Scored,
        });
        let golds: Vec<GoldField> = golds.collect();
        let mut kept = Kept {
            rows: Vec::with_capacity(self.rows.len()),
            documents: Renumbered::new(&self.strings[DOCUMENTS]),
            groups: Renumbered::new(&self.strings[GROUPS]),
            golds: Renumbered::new(&self.strings[CODES]),
            removed: Removed::default(),
        };
        for ((index, row), duplicate) in (0..).zip(&self.rows).zip(duplicate) {
            match golds[row.gold as usize] {
                _ if duplicate => kept.removed.duplicates += 1,
                GoldField::NoCode => kept.removed.no_code += 1,
                GoldField::Empty => kept.removed.no_gold += 1,
                GoldField::Scored => {
                    kept.rows.push(index);
                    kept.documents.meet(row.document);
                    kept.groups.meet(row.group);
                    kept.golds.meet(row.gold);
                }
            }
        }
        if !kept.rows.is_empty() {
            return Ok(kept);
        }
        let Removed {
            duplicates,
            no_code,
            no_gold,
        } = kept.removed;
        Err(Error::NothingToScore {
            read: self.rows.len(),
            duplicates,
            no_code,
            no_gold,
        })
    }

    /// Whether a row repeats the document, label and span of one before it.
    fn duplicates(&self) -> Vec<bool> {
        let rows = || 0..self.rows.len() as u32;
        let key = |index: u32| {
            let row = &self.rows[index as usize];
            [row.group, row.start_span, row.end_span]
        };
        let repeats = |rows: &mut [u32]| {
            // Equal keys stay in the order of the file: all but the first are repetitions.
            rows.sort_unstable_by_key(|&index| (key(index), index));
            let pairs = rows.windows(2).filter(|pair| key(pair[0]) == key(pair[1]));
            pairs.map(|pair| pair[1]).collect()
        };
        let mut flags = vec![false; self.rows.len()];
        for index in self.by_document(rows(), repeats) {
            flags[index as usize] = true;
        }
        flags
    }

    /// For each kept row, whether its concept occurs more than once in its document.
    fn repeated(&self, kept: &[u32], concept: impl Fn(u32) -> u32 + Send + Sync) -> Vec<bool> {
        let repeats = |rows: &mut [u32]| {
            rows.sort_unstable_by_key(|&index| (concept(index), index));
            let blocks = rows.chunk_by(|&a, &b| concept(a) == concept(b));
            blocks
                .filter(|block| block.len() > 1)
                .flatten()
                .copied()
                .collect()
        };
        let mut flags = vec![false; self.rows.len()];
        for index in self.by_document(kept.iter().copied(), repeats) {
            flags[index as usize] = true;
        }
        kept.iter().map(|&index| flags[index as usize]).collect()
    }

    /// What `of` says about the rows of each document.
    fn by_document(
        &self,
        rows: impl Iterator<Item = u32> + Clone,
        of: impl Fn(&mut [u32]) -> Vec<u32> + Send + Sync,
    ) -> Vec<u32> {
        let document = |index: u32| self.rows[index as usize].document as usize;
        let mut places = vec![0usize; self.strings[DOCUMENTS].len() + 1];
        for index in rows.clone() {
            places[document(index) + 1] += 1;
        }
        for next in 1..places.len() {
            places[next] += places[next - 1];
        }
        let mut sorted = vec![0; places[places.len() - 1]];
        let mut sizes: Vec<usize> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for index in rows {
            let place = &mut places[document(index)];
            sorted[*place] = index;
            *place += 1;
        }
        let mut rest = sorted.as_mut_slice();
        let mut documents = Vec::with_capacity(sizes.len());
        for size in sizes.drain(..) {
            let (rows, after) = rest.split_at_mut(size);
            documents.push(rows);
            rest = after;
        }
        let documents = documents.into_par_iter().with_min_len(64);
        documents.flat_map_iter(of).collect()
    }

    /// What each distinct verdict says.
    fn labels(&self, kept: &[u32]) -> Result<Vec<Option<Label>>, Error> {
        let verdicts = &self.strings[VERDICTS];
        let labels: Vec<Result<Option<Label>, ()>> = verdicts.iter().map(judge::label).collect();
        let wrong = |&&index: &&u32| labels[self.rows[index as usize].verdict as usize].is_err();
        if labels.iter().any(Result::is_err)
            && let Some(&index) = kept.iter().find(wrong)
        {
            return Err(self.unknown_label(index));
        }
        Ok(labels.into_iter().map(Result::unwrap_or_default).collect())
    }

    fn unknown_label(&self, index: u32) -> Error {
        let row = &self.rows[index as usize];
        Error::UnknownLabel {
            place: match &self.source {
                Some(path) => format!("{}:{}", path.display(), row.line),
                None => format!("data row {}", index + 1),
            },
            mention: format!(
                "{} {}-{}",
                self.strings[DOCUMENTS].get(row.document),
                row.start_span,
                row.end_span
            ),
            column: self.judge_column.clone().unwrap_or_default(),
            label: self.strings[VERDICTS].get(row.verdict).trim().to_owned(),
        }
    }

    /// What the code fields of kept rows come to; those of other rows come to nothing.
    fn fields(&self, kept: &Kept, kb: Option<&Kb>) -> Vec<Field> {
        let codes = &self.strings[CODES];
        let mut met = vec![false; codes.len()];
        for row in kept.rows.iter().map(|&index| &self.rows[index as usize]) {
            met[row.gold as usize] = true;
            met[row.answer as usize] = true;
            for &code in self.candidates_of(row) {
                met[code as usize] = true;
            }
        }
        met.into_par_iter()
            .enumerate()
            .with_min_len(CHUNK)
            .map_init(
                || Canonicaliser::new(kb),
                |canonicaliser, (index, met)| match codes.get(index as u32) {
                    _ if !met => Field::Alternatives(Vec::new()),
                    field if kb.is_none() && is_plain(field) => Field::Code {
                        answer: is_answer(field),
                    },
                    field => Field::Alternatives(canonicaliser.alternatives(field)),
                },
            )
            .collect()
    }

    fn candidates_of(&self, row: &Row) -> &[u32] {
        let [first, count] = row.candidates.map(|i| i as usize);
        &self.candidates[first..first + count]
    }

    fn mention_strings(&self, training: Option<&TrainingSet>) -> Vec<MentionString> {
        let frequent = training.map(TrainingSet::frequent_mentions);
        let mentions = &self.strings[MENTIONS];
        (0..mentions.len() as u32)
            .into_par_iter()
            .with_min_len(CHUNK)
            .map(|index| {
                let mention = mentions.get(index);
                MentionString {
                    index: training.and_then(|t| t.mention(mentions, index)),
                    frequent: frequent.as_ref().map(|f| f.contains(mention)),
                    surface: Surface::of(mention),
                }
            })
            .collect()
    }

    /// What each distinct gold field comes to, and the concepts in order of appearance.
    fn golds(
        &self,
        kept: &Kept,
        fields: &[Field],
        training: Option<&TrainingSet>,
        options: &EvalOptions,
    ) -> (Vec<Gold>, Strings) {
        let frequent = training.map(TrainingSet::frequent_concepts);
        let learn = |&index: &u32| -> Gold {
            let (gold, field) = (self.strings[CODES].get(index), &fields[index as usize]);
            let is_frequent = |f: &HashSet<&str>| match field {
                Field::Code { .. } => f.contains(gold),
                Field::Alternatives(all) => all.iter().any(|c| f.contains(c.key.as_str())),
            };
            Gold {
                concept: NONE,
                trained: training.map_or_else(Vec::new, |t| match field {
                    Field::Code { .. } => t.code(gold, options.seen).into_iter().collect(),
                    Field::Alternatives(all) => t.codes(all, options.seen),
                }),
                frequent: frequent.as_ref().map(is_frequent),
                missing_from_kb: !field.alternatives().iter().any(|c| c.known),
                composite: field.alternatives().iter().any(|c| c.parts.len() > 1),
            }
        };
        let learnt = kept.golds.order.par_iter().with_min_len(CHUNK).map(learn);
        let learnt: Vec<Gold> = learnt.collect();
        let mut golds = vec![Gold::default(); fields.len()];
        let mut concepts = Strings::default();
        for (&index, mut gold) in kept.golds.order.iter().zip(learnt) {
            gold.concept = match &fields[index as usize] {
                Field::Code { .. } => concepts.index(self.strings[CODES].get(index)),
                Field::Alternatives(all) => {
                    let mut keys: Vec<&str> = all.iter().map(|c| c.key.as_str()).collect();
                    keys.sort_unstable();
                    concepts.index(&keys.join("|"))
                }
            };
            golds[index as usize] = gold;
        }
        (golds, concepts)
    }
}

/// What the rules for leaving rows out say about a gold field.
#[derive(Clone, Copy)]
enum GoldField {
    Scored,
    NoCode,
    Empty,
}

/// The rows that are scored, and new numbers for what occurs in them.
struct Kept {
    rows: Vec<u32>,
    documents: Renumbered,
    groups: Renumbered,
    golds: Renumbered,
    removed: Removed,
}

/// Numbers in order of appearance among kept rows.
struct Renumbered {
    new: Vec<u32>,
    /// Old numbers, by new number.
    order: Vec<u32>,
}

impl Renumbered {
    fn new(strings: &Strings) -> Self {
        Renumbered {
            new: vec![NONE; strings.len()],
            order: Vec::new(),
        }
    }

    fn meet(&mut self, old: u32) {
        let new = &mut self.new[old as usize];
        if *new == NONE {
            *new = self.order.len() as u32;
            self.order.push(old);
        }
    }

    fn of(&self, old: u32) -> u32 {
        self.new[old as usize]
    }

    fn names(&self, strings: &Strings) -> Vec<String> {
        self.order
            .iter()
            .map(|&old| strings.get(old).to_owned())
            .collect()
    }
}

/// What a code field comes to.
enum Field {
    /// One code, written as it is compared: two such fields are equal if their numbers are.
    Code {
        /// Whether it can be a right answer.
        answer: bool,
    },
    /// Anything else.
    Alternatives(Vec<Canonical>),
}

impl Field {
    /// Empty for one code.
    fn alternatives(&self) -> &[Canonical] {
        match self {
            Field::Code { .. } => &[],
            Field::Alternatives(all) => all,
        }
    }

    /// Number of concepts or composites.
    fn len(&self) -> usize {
        match self {
            Field::Code { .. } => 1,
            Field::Alternatives(all) => all.len(),
        }
    }
}

/// What a distinct gold field comes to.
#[derive(Clone, Default)]
struct Gold {
    concept: u32,
    /// Numbers of those of its codes that occur in training.
    trained: Vec<u32>,
    frequent: Option<bool>,
    missing_from_kb: bool,
    composite: bool,
}

/// What a distinct mention string comes to.
struct MentionString {
    /// Its number in the training data.
    index: Option<u32>,
    frequent: Option<bool>,
    surface: Surface,
}

/// All that a verdict depends on.
struct Judging<'a> {
    columns: &'a PredictionColumns,
    training: Option<&'a TrainingSet>,
    options: &'a EvalOptions,
    kept: &'a Kept,
    fields: &'a [Field],
    golds: &'a [Gold],
    mentions: &'a [MentionString],
    labels: &'a [Option<Label>],
    with_kb: bool,
}

impl Judging<'_> {
    fn outcome(&self, index: u32, repeated: bool) -> Outcome {
        let row = &self.columns.rows[index as usize];
        let gold = &self.golds[row.gold as usize];
        let mention = &self.mentions[row.mention as usize];
        let credit = self.credit(row.gold, row.answer, self.options.ties);
        let seen = self.training.map(|_| !gold.trained.is_empty());
        let seen_pair = self.training.map(|t| {
            let trained = |m| t.has_pair(&gold.trained, m, self.options.seen);
            mention.index.is_some_and(trained)
        });
        Outcome {
            row: index,
            line: row.line,
            document: self.kept.documents.of(row.document),
            group: self.kept.groups.of(row.group),
            concept: gold.concept,
            start_span: row.start_span,
            end_span: row.end_span,
            credit,
            correct: credit >= 1.0,
            tied: self.fields[row.answer as usize].len() > 1,
            first_right: self.first_right(row),
            candidates: row.candidates[1],
            seen,
            seen_mention: self.training.map(|_| mention.index.is_some()),
            seen_pair,
            frequent_concept: gold.frequent,
            frequent_mention: mention.frequent,
            missing_from_kb: self.with_kb.then_some(gold.missing_from_kb),
            composite: gold.composite,
            repeated,
            equals_target: row.equals_target,
            surface: mention.surface,
            scores: row.scores,
            label: self.labels[row.verdict as usize],
        }
    }

    /// Rank of the first right candidate; `expected` counts like `any` there.
    fn first_right(&self, row: &Row) -> Option<u32> {
        let ties = match self.options.ties {
            TiePolicy::Strict => TiePolicy::Strict,
            TiePolicy::Expected | TiePolicy::Any => TiePolicy::Any,
        };
        let right = |&candidate: &u32| self.credit(row.gold, candidate, ties) >= 1.0;
        let place = self.columns.candidates_of(row).iter().position(right);
        place.map(|place| place as u32 + 1)
    }

    /// What an answer is worth; an empty answer, `NIL` and `NO_CODE` are worth nothing.
    fn credit(&self, gold: u32, answer: u32, ties: TiePolicy) -> f64 {
        let [of_gold, of_answer] = [gold, answer].map(|index| &self.fields[index as usize]);
        let (Field::Code { answer: is_answer }, Field::Code { .. }) = (of_answer, of_gold) else {
            return self.credit_of_alternatives([gold, answer], ties);
        };
        f64::from(u8::from(*is_answer && gold == answer))
    }

    fn credit_of_alternatives(&self, [gold, answer]: [u32; 2], ties: TiePolicy) -> f64 {
        let (gold, answer) = (self.alternatives(gold), self.alternatives(answer));
        let rule = self.options.composite;
        let right = answer.iter().filter(|a| is_right(&gold, a, rule)).count();
        match ties {
            _ if right == 0 => 0.0,
            TiePolicy::Any => 1.0,
            TiePolicy::Strict => f64::from(u8::from(right == answer.len())),
            TiePolicy::Expected => right as f64 / answer.len() as f64,
        }
    }

    fn alternatives(&self, field: u32) -> Cow<'_, [Canonical]> {
        match &self.fields[field as usize] {
            Field::Alternatives(all) => Cow::Borrowed(all),
            Field::Code { .. } => {
                let code = self.columns.strings[CODES].get(field);
                Cow::Owned(Canonicaliser::new(None).alternatives(code))
            }
        }
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
