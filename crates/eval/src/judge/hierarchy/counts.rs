//! How often an answer stands where, with intervals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Relation;
use crate::bootstrap::{Bootstrap, Interval, Ratio, Sums};
use crate::cells::{percent, percent_interval};
use crate::tables::Table;
use crate::{Error, Scored};

/// Columns of the bootstrap's table that every relation is compared with.
const MENTIONS: usize = 0;
const WRONG: usize = 1;

/// A relation and how often it occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelationCount {
    /// `same`, `part`, `ancestor`, `descendant`, `sibling`, `unrelated`, `unplaced` or `unknown`.
    pub relation: String,
    /// At this many steps; absent for all of the relation together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<u32>,
    /// Mentions.
    pub mentions: usize,
    /// Share of all mentions, from 0 to 1.
    pub share: f64,
    /// Its 95 % interval, document-level bootstrap.
    pub share_ci95: Interval,
    /// Share of the wrong answers, from 0 to 1; 0 for `same`, which is none.
    pub share_of_wrong: f64,
    /// Its 95 % interval.
    pub share_of_wrong_ci95: Interval,
}

impl RelationCount {
    /// Whether these answers are right: the gold concept itself.
    pub(crate) fn is_right(&self) -> bool {
        self.relation == Relation::Same.kind()
    }

    /// The relation in words.
    pub(crate) fn described(&self) -> String {
        if let Some(steps) = self.steps {
            let plural = if steps == 1 { "" } else { "s" };
            return format!("{}, {steps} step{plural}", self.relation);
        }
        match self.relation.as_str() {
            "same" => "the gold concept",
            "part" => "part of the gold composite",
            "ancestor" => "broader (an ancestor)",
            "descendant" => "narrower (a descendant)",
            "sibling" => "a sibling",
            "unrelated" => "unrelated",
            "unplaced" => "not placed by the hierarchy",
            _ => "no answer or not in the KB",
        }
        .to_owned()
    }
}

/// Where all answers of a system stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RelationCounts {
    /// Mentions.
    pub mentions: usize,
    /// Those whose answer is another concept than the gold one.
    pub wrong: usize,
    /// From near to far, each relation followed by its steps.
    pub relations: Vec<RelationCount>,
}

impl RelationCounts {
    /// Counts the relations of the scored mentions, in the order of [`Scored::outcomes`].
    ///
    /// # Errors
    /// [`Error::NoReplicates`].
    pub fn new(
        relations: &[Relation],
        scored: &Scored,
        bootstrap: Bootstrap,
    ) -> Result<Self, Error> {
        // From near to far; all steps together stand before the first.
        let mut keys: BTreeMap<([u32; 2], Option<u32>), &'static str> = BTreeMap::new();
        let whole = |relation: Relation| ([relation.distance()[0], rank(relation)], None);
        let at = |relation: Relation| ([relation.distance()[0], rank(relation)], relation.steps());
        for &relation in relations {
            keys.insert(whole(relation), relation.kind());
            keys.insert(at(relation), relation.kind());
        }
        let columns: BTreeMap<_, usize> = keys.keys().copied().zip(2..).collect();
        let mut sums = Sums::new(scored.documents.len(), 2 + keys.len());
        for (&relation, outcome) in relations.iter().zip(&scored.outcomes) {
            let document = outcome.document;
            sums.add(document, MENTIONS, 1.0);
            if relation != Relation::Same {
                sums.add(document, WRONG, 1.0);
            }
            sums.add(document, columns[&whole(relation)], 1.0);
            if relation.steps().is_some() {
                sums.add(document, columns[&at(relation)], 1.0);
            }
        }
        let ratios: Vec<Ratio> = columns
            .values()
            .flat_map(|&column| [Ratio::new(column, MENTIONS), Ratio::new(column, WRONG)])
            .collect();
        let intervals = bootstrap.ratio_intervals(&sums, &ratios)?;
        let relations = keys.iter().enumerate().map(|(index, ((_, steps), kind))| {
            let [of_all, of_wrong] = [2 * index, 2 * index + 1];
            let right = *kind == Relation::Same.kind();
            RelationCount {
                relation: (*kind).to_owned(),
                steps: *steps,
                mentions: sums.total(2 + index) as usize,
                share: sums.ratio(ratios[of_all]),
                share_ci95: intervals[of_all],
                share_of_wrong: if right {
                    0.0
                } else {
                    sums.ratio(ratios[of_wrong])
                },
                share_of_wrong_ci95: if right { [0.0; 2] } else { intervals[of_wrong] },
            }
        });
        Ok(RelationCounts {
            mentions: sums.total(MENTIONS) as usize,
            wrong: sums.total(WRONG) as usize,
            relations: relations.collect(),
        })
    }

    /// One line per relation and, below it, per number of steps.
    ///
    /// # Errors
    /// [`Error::CellCount`] never happens here.
    pub fn table(&self, title: &str) -> Result<Table, Error> {
        let columns = [
            "the answer is",
            "mentions",
            "of all, %",
            "95 % interval",
            "of wrong answers, %",
            "95 % interval",
        ];
        let mut table = Table::of(title, &columns);
        for r in &self.relations {
            let mut cells = vec![
                r.described(),
                r.mentions.to_string(),
                percent(r.share),
                percent_interval(r.share_ci95),
            ];
            cells.extend(match r.is_right() {
                true => ["–".to_owned(), "–".to_owned()],
                false => [
                    percent(r.share_of_wrong),
                    percent_interval(r.share_of_wrong_ci95),
                ],
            });
            table.push(cells)?;
        }
        Ok(table)
    }
}

/// Ancestors stand before descendants, which are as near.
fn rank(relation: Relation) -> u32 {
    u32::from(matches!(relation, Relation::Descendant(_)))
}

#[cfg(test)]
mod tests {
    use syncabel_corpus::predictions::Prediction;

    use super::*;
    use crate::{EvalOptions, score};

    #[test]
    fn relations_are_counted_from_near_to_far() {
        let rows: Vec<Prediction> = (0..8)
            .map(|i| Prediction {
                filename: format!("d{}", i / 2),
                start_span: i,
                code: "A".into(),
                ..Prediction::default()
            })
            .collect();
        let scored = score(&rows, None, None, &EvalOptions::default()).unwrap();
        let relations = [
            Relation::Unrelated,
            Relation::Same,
            Relation::Descendant(1),
            Relation::Ancestor(2),
            Relation::Ancestor(1),
            Relation::Ancestor(1),
            Relation::Same,
            Relation::Unplaced,
        ];
        let counts = RelationCounts::new(&relations, &scored, Bootstrap::default()).unwrap();
        assert_eq!((counts.mentions, counts.wrong), (8, 6));
        let lines: Vec<(&str, Option<u32>, usize)> = counts
            .relations
            .iter()
            .map(|r| (r.relation.as_str(), r.steps, r.mentions))
            .collect();
        assert_eq!(
            lines,
            [
                ("same", None, 2),
                ("ancestor", None, 3),
                ("ancestor", Some(1), 2),
                ("ancestor", Some(2), 1),
                ("descendant", None, 1),
                ("descendant", Some(1), 1),
                ("unrelated", None, 1),
                ("unplaced", None, 1)
            ]
        );
        let broader = &counts.relations[1];
        assert_eq!((broader.share, broader.share_of_wrong), (3.0 / 8.0, 0.5));
        let [low, high] = broader.share_of_wrong_ci95;
        assert!(low < 0.5 && 0.5 < high, "{low} {high}");
        let table = counts.table("T").unwrap();
        assert_eq!(table.rows()[0][4], "–");
        assert_eq!(table.rows()[2][..2], ["ancestor, 1 step", "2"]);
    }
}
