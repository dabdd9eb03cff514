//! What the human training data covers: the line between seen and unseen.

use std::collections::HashSet;

use rustc_hash::FxHashMap;
use syncabel_corpus::jsonl::{GoldRef, MentionRef};
use syncabel_corpus::{Corpus, Document, Gold, Mention, Origin, Split};
use syncabel_kb::Kb;

use crate::codes::{Canonical, Canonicaliser};
use crate::score::SeenRule;
use crate::strings::Strings;

/// How many of the most frequent concepts and mention strings count as frequent (the paper's partition).
pub const FREQUENT: usize = 100;

/// Codes and mention strings of the human training data.
///
/// Only human annotation counts: a concept that occurs in synthetic sentences alone is still unseen, for that is
/// what the comparison is about.
#[derive(Debug, Clone, Default)]
pub struct TrainingSet {
    /// Every code string in any reading, numbered, so that pairs are pairs of numbers.
    codes: Strings,
    /// What each of them is, and how often it stands for a whole composite with sorted parts.
    known: Vec<(Readings, usize)>,
    mentions: Strings,
    mention_counts: Vec<usize>,
    /// The codes that each mention string was annotated with.
    pairs: FxHashMap<(u32, u32), Readings>,
}

/// In which readings of [`SeenRule`] a code string occurs.
#[derive(Debug, Clone, Copy, Default)]
struct Readings(u8);

impl Readings {
    /// A code string, the parts of a composite in file order (the authors' rule).
    const STRING: Readings = Readings(1);
    /// A code string, the parts of a composite sorted.
    const KEY: Readings = Readings(2);
    /// A single code.
    const PART: Readings = Readings(4);

    /// The reading that a rule asks about.
    fn of(rule: SeenRule) -> Self {
        match rule {
            SeenRule::CodeString => Readings::STRING,
            SeenRule::CodeSet => Readings::KEY,
            SeenRule::AnyConcept => Readings::PART,
        }
    }

    fn add(&mut self, other: Readings) {
        self.0 |= other.0;
    }

    fn has(self, other: Readings) -> bool {
        self.0 & other.0 != 0
    }
}

/// A [`TrainingSet`] in the making, of mentions that come one by one.
#[derive(Debug)]
pub struct TrainingSetBuilder<'k> {
    set: TrainingSet,
    codes: Canonicaliser<'k>,
    with_kb: bool,
}

impl<'k> TrainingSetBuilder<'k> {
    /// Without a mention. With a KB, alternate ids count as the concept they resolve to.
    pub fn new(kb: Option<&'k Kb>) -> Self {
        TrainingSetBuilder {
            set: TrainingSet::default(),
            codes: Canonicaliser::new(kb),
            with_kb: kb.is_some(),
        }
    }

    /// Adds a mention. One without a concept teaches nothing and is left out, string and all.
    pub fn add(&mut self, mention: &Mention) {
        if mention.gold.is_none() {
            return;
        }
        let id = self.set.note_mention(&mention.text);
        self.add_gold(&mention.gold, id);
    }

    /// As [`TrainingSetBuilder::add`].
    pub fn add_ref(&mut self, mention: &MentionRef<'_>) {
        if matches!(&mention.gold, GoldRef::Gold(gold) if gold.is_none()) {
            return;
        }
        let id = self.set.note_mention(&mention.text);
        match &mention.gold {
            GoldRef::Code(code) => self.add_composite(&[code], id),
            GoldRef::Gold(gold) => self.add_gold(gold, id),
        }
    }

    fn add_gold(&mut self, gold: &Gold, mention: u32) {
        for composite in &gold.alternatives {
            self.add_composite(&composite.0, mention);
        }
    }

    fn add_composite(&mut self, parts: &[impl AsRef<str>], mention: u32) {
        match parts {
            // By far the most common case, without a copy of the code.
            [code] if !self.with_kb => self.set.add_single(code.as_ref().trim(), mention),
            parts => {
                let composite = self.codes.of_parts(parts.iter().map(AsRef::as_ref));
                self.set.add(&composite, mention);
            }
        }
    }

    /// All of them.
    pub fn finish(self) -> TrainingSet {
        self.set
    }
}

impl TrainingSet {
    /// The human documents of a corpus that are marked as training data or not marked at all.
    ///
    /// Whoever also trains on validation documents hands them to [`TrainingSet::from_documents`].
    /// With a KB, alternate ids count as the concept they resolve to.
    pub fn from_corpus(corpus: &Corpus, kb: Option<&Kb>) -> Self {
        let trained = |d: &&Document| matches!(d.split, None | Some(Split::Train));
        Self::from_documents(corpus.documents.iter().filter(trained), kb)
    }

    /// The human documents among `documents`, whatever split they are marked with.
    pub fn from_documents<'d>(
        documents: impl IntoIterator<Item = &'d Document>,
        kb: Option<&Kb>,
    ) -> Self {
        let human = documents
            .into_iter()
            .filter(|document| matches!(document.origin, Origin::Human));
        Self::from_mentions(human.flat_map(|document| &document.mentions), kb)
    }

    /// These mentions, for whoever trains on a part of a corpus.
    pub fn from_mentions<'m>(
        mentions: impl IntoIterator<Item = &'m Mention>,
        kb: Option<&Kb>,
    ) -> Self {
        let mut builder = TrainingSetBuilder::new(kb);
        for mention in mentions {
            builder.add(mention);
        }
        builder.finish()
    }

    /// From `(code field, mention string)` pairs, the field as in a prediction file (`+` and, for alternatives, `|`). Pairs without
    /// a code are left out.
    pub fn from_fields<'f>(
        fields: impl IntoIterator<Item = (&'f str, &'f str)>,
        kb: Option<&Kb>,
    ) -> Self {
        let mut set = TrainingSet::default();
        let mut codes = Canonicaliser::new(kb);
        for (field, mention) in fields {
            let alternatives = codes.alternatives(field);
            if !alternatives.iter().any(Canonical::is_answer) {
                continue;
            }
            let id = set.note_mention(mention);
            for composite in alternatives {
                set.add(&composite, id);
            }
        }
        set
    }

    /// Number of distinct code strings.
    pub fn code_count(&self) -> usize {
        self.known
            .iter()
            .filter(|(r, _)| r.has(Readings::STRING))
            .count()
    }

    /// Number of distinct mention strings.
    pub fn mention_count(&self) -> usize {
        self.mentions.len()
    }

    /// Number of a single code, if the training data covers it.
    pub(crate) fn code(&self, code: &str, rule: SeenRule) -> Option<u32> {
        let index = self.codes.find(code)?;
        let readings = self.known[index as usize].0;
        readings.has(Readings::of(rule)).then_some(index)
    }

    /// Numbers of those codes of a gold annotation that the training data covers; none if it is unseen.
    pub(crate) fn codes(&self, gold: &[Canonical], rule: SeenRule) -> Vec<u32> {
        let codes = gold.iter().flat_map(|composite| match rule {
            SeenRule::CodeString | SeenRule::CodeSet => std::slice::from_ref(&composite.key),
            SeenRule::AnyConcept => &composite.parts,
        });
        codes.filter_map(|code| self.code(code, rule)).collect()
    }

    /// Number of the `index`-th of these mention strings, capitals and all, if it was annotated.
    pub(crate) fn mention(&self, mentions: &Strings, index: u32) -> Option<u32> {
        self.mentions.find_in(mentions, index)
    }

    /// Whether a mention string was annotated with one of these codes, all by their numbers.
    pub(crate) fn has_pair(&self, codes: &[u32], mention: u32, rule: SeenRule) -> bool {
        let annotated = |&code: &u32| {
            let pair = self.pairs.get(&(mention, code));
            pair.is_some_and(|readings| readings.has(Readings::of(rule)))
        };
        codes.iter().any(annotated)
    }

    /// The [`FREQUENT`] most frequent code strings (composite parts sorted); the first in the alphabet among equals.
    pub(crate) fn frequent_concepts(&self) -> HashSet<&str> {
        let counts = self.known.iter().map(|(_, count)| *count);
        most_frequent(self.codes.iter().zip(counts))
    }

    /// The [`FREQUENT`] most frequent mention strings.
    pub(crate) fn frequent_mentions(&self) -> HashSet<&str> {
        most_frequent(
            self.mentions
                .iter()
                .zip(self.mention_counts.iter().copied()),
        )
    }

    fn note_mention(&mut self, mention: &str) -> u32 {
        let id = self.mentions.index(mention);
        if id as usize == self.mention_counts.len() {
            self.mention_counts.push(0);
        }
        self.mention_counts[id as usize] += 1;
        id
    }

    fn add(&mut self, composite: &Canonical, mention: u32) {
        self.note(&composite.unsorted(), mention, Readings::STRING, 0);
        self.note(&composite.key, mention, Readings::KEY, 1);
        for part in &composite.parts {
            self.note(part, mention, Readings::PART, 0);
        }
    }

    /// As [`TrainingSet::add`], for one code, which is the same string in every reading.
    fn add_single(&mut self, code: &str, mention: u32) {
        if !code.is_empty() {
            let mut all = Readings::STRING;
            all.add(Readings::KEY);
            all.add(Readings::PART);
            self.note(code, mention, all, 1);
        }
    }

    fn note(&mut self, code: &str, mention: u32, readings: Readings, count: usize) {
        let id = self.codes.index(code);
        if id as usize == self.known.len() {
            self.known.push((Readings::default(), 0));
        }
        let known = &mut self.known[id as usize];
        known.0.add(readings);
        known.1 += count;
        self.pairs.entry((mention, id)).or_default().add(readings);
    }
}

fn most_frequent<'s>(counts: impl Iterator<Item = (&'s str, usize)>) -> HashSet<&'s str> {
    let mut sorted: Vec<(&str, usize)> = counts.filter(|(_, count)| *count > 0).collect();
    let order = |a: &(&str, usize), b: &(&str, usize)| b.1.cmp(&a.1).then(a.0.cmp(b.0));
    if sorted.len() > FREQUENT {
        sorted.select_nth_unstable_by(FREQUENT, order);
        sorted.truncate(FREQUENT);
    }
    sorted.into_iter().map(|(string, _)| string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_differ_on_composites() {
        let set = TrainingSet::from_fields([("B+A", "x"), ("C", "y")], None);
        let gold = |field: &str| Canonicaliser::new(None).alternatives(field);
        let rules = [
            SeenRule::CodeString,
            SeenRule::CodeSet,
            SeenRule::AnyConcept,
        ];
        let verdicts = |field: &str| rules.map(|rule| !set.codes(&gold(field), rule).is_empty());
        assert_eq!(
            verdicts("A+B"),
            [false, true, true],
            "the authors sort gold but not training strings"
        );
        assert_eq!(verdicts("A"), [false, false, true]);
        assert_eq!(verdicts("D|C"), [true; 3], "one alternative is enough");
        assert_eq!(verdicts("D"), [false; 3]);
        assert!(set.mentions.find("x").is_some() && set.mentions.find("X").is_none());
        assert_eq!((set.code_count(), set.mention_count()), (2, 2));
        let pairs = |field: &str, mention: &str| {
            let mention = set.mentions.find(mention).unwrap();
            rules.map(|rule| set.has_pair(&set.codes(&gold(field), rule), mention, rule))
        };
        assert_eq!(pairs("A+B", "x"), [false, true, true]);
        assert_eq!(pairs("C", "y"), [true; 3]);
        assert_eq!(pairs("C", "x"), [false; 3], "both are seen, not together");
    }

    #[test]
    fn a_mention_without_a_concept_teaches_nothing() {
        let mention = |text: &str, gold: Gold| Mention {
            id: String::new(),
            spans: Vec::new(),
            text: text.to_owned(),
            label: "D".to_owned(),
            gold,
        };
        let all = [
            mention("gout", Gold::one("C")),
            mention("fever", Gold::none()),
        ];
        let set = TrainingSet::from_mentions(&all, None);
        assert_eq!((set.code_count(), set.mention_count()), (1, 1));
        assert!(set.mentions.find("fever").is_none());
    }

    #[test]
    fn the_hundred_most_frequent_are_cut_by_count_then_alphabet() {
        let fields: Vec<(String, String)> = (0..150)
            .flat_map(|i| {
                let times = if i == 149 { 3 } else { 1 };
                std::iter::repeat_n((format!("C{i:03}"), format!("m{i:03}")), times)
            })
            .collect();
        let set =
            TrainingSet::from_fields(fields.iter().map(|(c, m)| (c.as_str(), m.as_str())), None);
        let concepts = set.frequent_concepts();
        assert_eq!(concepts.len(), FREQUENT);
        assert!(concepts.contains("C149") && concepts.contains("C098"));
        assert!(!concepts.contains("C099"));
        assert!(set.frequent_mentions().contains("m149"));
    }
}
