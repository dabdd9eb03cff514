//! Counts of a corpus per split and label, for `corpus stats`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::{Corpus, Mention, Split};

/// Counts per split and label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusStats {
    /// One row per split, then one per label of that split; train, validation, test, then documents without a split.
    pub rows: Vec<StatsRow>,
}

/// Counts of one split, or of one label in it.
///
/// "Unseen" is by comparison with the documents whose split is train; it is not counted for the training split itself
/// and where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRow {
    /// The split, if documents have one.
    pub split: Option<Split>,
    /// The label; `None` for the whole split.
    pub label: Option<String>,
    /// Documents (with at least one mention of the label, in a label's row).
    pub documents: usize,
    /// Mentions.
    pub mentions: usize,
    /// Mentions without a concept.
    pub without_concept: usize,
    /// Mentions of several fragments.
    pub discontinuous: usize,
    /// Mentions with a composite gold.
    pub composite: usize,
    /// Mentions with alternatives.
    pub alternatives: usize,
    /// Distinct codes.
    pub codes: usize,
    /// Distinct mention strings, lower-cased.
    pub strings: usize,
    /// Distinct codes that training documents do not have.
    pub unseen_codes: Option<usize>,
    /// Mentions with a concept of which training documents have no code.
    pub mentions_with_unseen_codes: Option<usize>,
    /// Mentions whose lower-cased string is no training mention's.
    pub mentions_with_unseen_strings: Option<usize>,
}

/// Counts a corpus; linear in its size. Put the splits into one corpus to have unseen codes and strings counted.
pub fn statistics(corpus: &Corpus) -> CorpusStats {
    let training = Training::of(corpus);
    let mut tallies: BTreeMap<(SplitOrder, Option<&str>), Tally<'_>> = BTreeMap::new();
    for document in &corpus.documents {
        let split = SplitOrder::of(document.split);
        tallies.entry((split, None)).or_default().row.documents += 1;
        let mut labels: HashSet<&str> = HashSet::new();
        for mention in &document.mentions {
            let new_label = labels.insert(&mention.label);
            tallies
                .entry((split, None))
                .or_default()
                .add(mention, &training);
            let tally = tallies.entry((split, Some(&mention.label))).or_default();
            tally.row.documents += usize::from(new_label);
            tally.add(mention, &training);
        }
    }
    let rows = tallies.into_iter().map(|((split, label), tally)| {
        let compared = split.0.is_some_and(|s| s != Split::Train) && !training.is_empty();
        tally.finish(split.0, label, compared)
    });
    CorpusStats {
        rows: rows.collect(),
    }
}

/// Documents without a split come last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SplitOrder(Option<Split>);

impl SplitOrder {
    fn of(split: Option<Split>) -> Self {
        SplitOrder(split)
    }

    fn key(self) -> (bool, Option<Split>) {
        (self.0.is_none(), self.0)
    }
}

impl PartialOrd for SplitOrder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SplitOrder {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// What the training documents have. Only looked up and counted, never iterated.
#[derive(Default)]
struct Training<'c> {
    codes: HashSet<&'c str>,
    strings: HashSet<String>,
}

impl<'c> Training<'c> {
    fn of(corpus: &'c Corpus) -> Self {
        let mut training = Training::default();
        let documents = corpus
            .documents
            .iter()
            .filter(|d| d.split == Some(Split::Train));
        for mention in documents.flat_map(|d| &d.mentions) {
            training.codes.extend(mention.gold.codes());
            training.strings.insert(mention.text.to_lowercase());
        }
        training
    }

    fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }
}

#[derive(Default)]
struct Tally<'c> {
    row: StatsRow,
    codes: HashSet<&'c str>,
    strings: HashSet<String>,
    unseen_codes: usize,
    mentions_with_unseen_codes: usize,
    mentions_with_unseen_strings: usize,
}

impl<'c> Tally<'c> {
    fn add(&mut self, mention: &'c Mention, training: &Training<'c>) {
        let gold = &mention.gold;
        self.row.mentions += 1;
        self.row.without_concept += usize::from(gold.is_none());
        self.row.discontinuous += usize::from(mention.spans.len() > 1);
        self.row.composite += usize::from(gold.is_composite());
        self.row.alternatives += usize::from(gold.alternatives.len() > 1);
        for code in gold.codes() {
            if self.codes.insert(code) && !training.codes.contains(code) {
                self.unseen_codes += 1;
            }
        }
        let unseen = !gold.is_none() && gold.codes().all(|code| !training.codes.contains(code));
        self.mentions_with_unseen_codes += usize::from(unseen);
        let string = mention.text.to_lowercase();
        self.mentions_with_unseen_strings += usize::from(!training.strings.contains(&string));
        self.strings.insert(string);
    }

    fn finish(self, split: Option<Split>, label: Option<&str>, compared: bool) -> StatsRow {
        StatsRow {
            split,
            label: label.map(str::to_owned),
            codes: self.codes.len(),
            strings: self.strings.len(),
            unseen_codes: compared.then_some(self.unseen_codes),
            mentions_with_unseen_codes: compared.then_some(self.mentions_with_unseen_codes),
            mentions_with_unseen_strings: compared.then_some(self.mentions_with_unseen_strings),
            ..self.row
        }
    }
}

impl fmt::Display for CorpusStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "documents",
            "mentions",
            "no concept",
            "discont.",
            "composite",
            "alternat.",
            "codes",
            "strings",
            "new codes",
            "of new code",
            "of new string",
        ];
        write!(f, "{:<12}{:<24}", "split", "label")?;
        for head in heads {
            write!(f, " {head:>width$}", width = head.len().max(7))?;
        }
        writeln!(f)?;
        for row in &self.rows {
            let split = row.split.map_or_else(|| "-".to_owned(), |s| s.to_string());
            write!(
                f,
                "{split:<12}{:<24}",
                row.label.as_deref().unwrap_or("all")
            )?;
            let optional = |n: Option<usize>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let cells = [
                row.documents.to_string(),
                row.mentions.to_string(),
                row.without_concept.to_string(),
                row.discontinuous.to_string(),
                row.composite.to_string(),
                row.alternatives.to_string(),
                row.codes.to_string(),
                row.strings.to_string(),
                optional(row.unseen_codes),
                optional(row.mentions_with_unseen_codes),
                optional(row.mentions_with_unseen_strings),
            ];
            for (head, cell) in heads.iter().zip(cells) {
                write!(f, " {cell:>width$}", width = head.len().max(7))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Gold, Language, Origin, SpanChars};

    fn document(id: &str, split: Option<Split>, mentions: &[(&str, &str, &str)]) -> Document {
        let mentions = mentions.iter().map(|(text, label, gold)| Mention {
            id: String::new(),
            spans: vec![SpanChars::new(0, text.len() as u32)],
            text: (*text).to_owned(),
            label: (*label).to_owned(),
            gold: Gold::from_field(gold),
        });
        let mentions = mentions.collect();
        Document {
            id: id.into(),
            text: String::new(),
            language: Language::En,
            split,
            origin: Origin::Human,
            mentions,
        }
    }

    #[test]
    fn counts_seen_and_unseen_per_split_and_label() {
        let corpus = Corpus {
            documents: vec![
                document("x", None, &[("Gout", "D", "A")]),
                document(
                    "b",
                    Some(Split::Test),
                    &[
                        ("gout", "D", "A"),
                        ("Ague", "D", "B"),
                        ("lead", "C", "E|B"),
                        ("?", "C", ""),
                    ],
                ),
                document(
                    "a",
                    Some(Split::Train),
                    &[("Gout", "D", "A"), ("lead", "C", "C+F")],
                ),
            ],
        };
        let stats = statistics(&corpus);
        let names: Vec<(Option<Split>, Option<&str>)> = stats
            .rows
            .iter()
            .map(|r| (r.split, r.label.as_deref()))
            .collect();
        let (train, test) = (Some(Split::Train), Some(Split::Test));
        let expected = [
            (train, None),
            (train, Some("C")),
            (train, Some("D")),
            (test, None),
            (test, Some("C")),
            (test, Some("D")),
            (None, None),
            (None, Some("D")),
        ];
        assert_eq!(names, expected);
        assert_eq!(stats.rows[0].unseen_codes, None);
        let all = &stats.rows[3];
        assert_eq!(
            (all.documents, all.mentions, all.codes, all.strings),
            (1, 4, 3, 4)
        );
        assert_eq!(
            (all.without_concept, all.alternatives, all.composite),
            (1, 1, 0)
        );
        assert_eq!(
            (all.unseen_codes, all.mentions_with_unseen_codes),
            (Some(2), Some(2))
        );
        assert_eq!(all.mentions_with_unseen_strings, Some(2));
        assert_eq!(stats.to_string().lines().count(), 9);
    }
}
