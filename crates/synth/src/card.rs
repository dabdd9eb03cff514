//! The data card of a synthetic corpus: what it covers and how it differs from human text, beside the human corpora's own figures.
//!
//! A unit is a sentence with a mention: a synthetic document, or a sentence of a human one. Measures that grow or shrink
//! with size (distinct-n, divergence) are taken over the same number of words on every side, drawn with a fixed seed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use syncabel_corpus::{Document, Origin, SpanChars, sentence};
use syncabel_kb::{Kb, NameId};

use crate::quality::words_of_text as words;
use crate::run::Distance;

/// Figures of several corpora side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Words over which distinct-n and divergence are taken.
    pub words_compared: usize,
    /// Concepts of the KB.
    pub kb_concepts: usize,
    /// One side for each corpus, in the order given; the first is what the others are compared with.
    pub sides: Vec<Side>,
}

/// Figures of one corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Sentences with a mention.
    pub sentences: usize,
    /// Mentions.
    pub mentions: usize,
    /// Different concepts.
    pub concepts: usize,
    /// Mentions as distant from the KB's names of their concept.
    pub novelty: Distance,
    /// Different mentions, capitals aside.
    pub distinct_mentions: usize,
    /// KB names that occur as mentions, capitals aside, and the number of names that the concepts covered have.
    pub names_used: (usize, usize),
    /// Words in a sentence.
    pub sentence_words: Spread,
    /// Words in a mention.
    pub mention_words: Spread,
    /// Sentences by their number of words.
    pub sentence_lengths: BTreeMap<usize, usize>,
    /// Different word n-grams over all, for n of 1, 2 and 3.
    pub distinct: [f64; 3],
    /// Share of sentences that stand in the corpus more than once, capitals and punctuation aside.
    pub repeated: f64,
    /// Jensen-Shannon divergence between its words and those of the first side, in bits; 0 is the same, 1 nothing in common.
    pub divergence: f64,
}

/// Middle and spread of some numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// 5th percentile.
    pub p5: usize,
    /// Median.
    pub median: usize,
    /// 95th percentile.
    pub p95: usize,
}

impl Card {
    /// Measures corpora. The first, by custom the human training split, is the reference of the divergence.
    pub fn new(kb: &Kb, corpora: &[(&str, &[Document])]) -> Self {
        let units: Vec<Vec<Vec<String>>> = corpora.iter().map(|(_, d)| units(d)).collect();
        let sizes = units.iter().map(|u| u.iter().map(Vec::len).sum::<usize>());
        let words_compared = sizes.min().unwrap_or(0);
        let samples: Vec<Vec<&[String]>> =
            units.iter().map(|u| sample(u, words_compared)).collect();
        let sides = corpora.iter().enumerate().map(|(i, (name, documents))| {
            let mut side = Side::mentions(kb, name, documents);
            side.text(&units[i]);
            side.distinct = [1, 2, 3].map(|n| distinct(&samples[i], n));
            side.divergence = divergence(&samples[0], &samples[i]);
            side
        });
        Card {
            words_compared,
            kb_concepts: kb.concept_count(),
            sides: sides.collect(),
        }
    }
}

impl Side {
    fn mentions(kb: &Kb, name: &str, documents: &[Document]) -> Self {
        let (mut concepts, mut texts, mut used) = (BTreeSet::new(), HashSet::new(), HashSet::new());
        let (mut novelty, mut lengths, mut mentions) = (Distance::default(), Vec::new(), 0);
        for mention in documents.iter().flat_map(|d| &d.mentions) {
            mentions += 1;
            lengths.push(words(&mention.text).len());
            texts.insert(mention.text.to_lowercase());
            let Some(concept) = mention
                .gold
                .codes()
                .next()
                .and_then(|code| kb.resolve(code))
            else {
                continue;
            };
            concepts.insert(concept);
            let found: Vec<_> = kb
                .names_ignoring_case(&mention.text)
                .filter(|name| name.concept == concept)
                .collect();
            used.extend(found.iter().map(|name| name.id));
            *(match found.iter().any(|name| name.text == mention.text) {
                true => &mut novelty.name,
                false if !found.is_empty() => &mut novelty.case_only,
                false => &mut novelty.changed,
            }) += 1;
        }
        let all_names: HashSet<NameId> = concepts
            .iter()
            .flat_map(|&c| kb.concept(c).groups().flat_map(move |g| kb.names_of(c, g)))
            .map(|name| name.id)
            .collect();
        Side {
            name: name.to_owned(),
            sentences: 0,
            mentions,
            concepts: concepts.len(),
            novelty,
            distinct_mentions: texts.len(),
            names_used: (used.len(), all_names.len()),
            sentence_words: Spread::default(),
            mention_words: Spread::of(lengths),
            sentence_lengths: BTreeMap::new(),
            distinct: [0.0; 3],
            repeated: 0.0,
            divergence: 0.0,
        }
    }

    fn text(&mut self, units: &[Vec<String>]) {
        self.sentences = units.len();
        let mut counts: HashMap<&[String], usize> = HashMap::new();
        for unit in units {
            *self.sentence_lengths.entry(unit.len()).or_default() += 1;
            *counts.entry(unit).or_default() += 1;
        }
        let repeated: usize = counts.values().filter(|&&n| n > 1).sum();
        self.repeated = repeated as f64 / units.len().max(1) as f64;
        self.sentence_words = Spread::of(units.iter().map(Vec::len).collect());
    }
}

impl Spread {
    fn of(mut numbers: Vec<usize>) -> Self {
        numbers.sort_unstable();
        let Some(last) = numbers.len().checked_sub(1) else {
            return Spread::default();
        };
        let at = |share: f64| numbers[(last as f64 * share).round() as usize];
        Spread {
            mean: numbers.iter().sum::<usize>() as f64 / numbers.len() as f64,
            p5: at(0.05),
            median: at(0.5),
            p95: at(0.95),
        }
    }
}

/// The words of every sentence that holds a mention.
fn units(documents: &[Document]) -> Vec<Vec<String>> {
    let mut units = Vec::new();
    for document in documents {
        if matches!(document.origin, Origin::Synthetic { .. }) {
            units.push(words(&document.text));
            continue;
        }
        let spans: Vec<SpanChars> = document
            .mentions
            .iter()
            .flat_map(|m| m.spans.iter().copied())
            .collect();
        let chars: Vec<char> = document.text.chars().collect();
        for at in sentence::split(&document.text, document.language, &spans) {
            if spans.iter().any(|span| at.contains(*span)) {
                let text: String = chars[at.start as usize..at.end as usize].iter().collect();
                units.push(words(&text));
            }
        }
    }
    units
}

/// Whole sentences in a seeded order until there are so many words.
fn sample(units: &[Vec<String>], most_words: usize) -> Vec<&[String]> {
    let mut order: Vec<&Vec<String>> = units.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    let mut left = most_words;
    let mut taken = Vec::new();
    for unit in order {
        let part = &unit[..unit.len().min(left)];
        left -= part.len();
        taken.push(part);
        if left == 0 {
            break;
        }
    }
    taken
}

fn distinct(sample: &[&[String]], n: usize) -> f64 {
    let grams = || sample.iter().flat_map(move |unit| unit.windows(n));
    let different: HashSet<&[String]> = grams().collect();
    different.len() as f64 / grams().count().max(1) as f64
}

/// Jensen-Shannon divergence of two word distributions, in bits.
fn divergence(a: &[&[String]], b: &[&[String]]) -> f64 {
    let counts = |sample: &[&[String]]| {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for word in sample.iter().flat_map(|unit| unit.iter()) {
            *counts.entry(word.clone()).or_default() += 1.0;
        }
        let total: f64 = counts.values().sum();
        counts
            .values_mut()
            .for_each(|count| *count /= total.max(1.0));
        counts
    };
    let (p, q) = (counts(a), counts(b));
    let mut sum = 0.0;
    for word in p
        .keys()
        .chain(q.keys().filter(|word| !p.contains_key(*word)))
    {
        let (x, y) = (
            p.get(word).copied().unwrap_or(0.0),
            q.get(word).copied().unwrap_or(0.0),
        );
        let middle = (x + y) / 2.0;
        for part in [x, y] {
            if part > 0.0 {
                sum += part * (part / middle).log2() / 2.0;
            }
        }
    }
    sum
}

impl fmt::Display for Card {
    /// A Markdown table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(&Side) -> String| {
            let cells: Vec<String> = self.sides.iter().map(cell).collect();
            writeln!(f, "| {name} | {} |", cells.join(" | "))
        };
        row(f, "", &|s| s.name.clone())?;
        writeln!(f, "|---|{}", "---:|".repeat(self.sides.len()))?;
        let share = |part: usize, all: usize| part as f64 * 100.0 / all.max(1) as f64;
        row(f, "sentences with a mention", &|s| s.sentences.to_string())?;
        row(f, "mentions", &|s| s.mentions.to_string())?;
        row(f, "concepts", &|s| s.concepts.to_string())?;
        row(f, "share of the KB's concepts, %", &|s| {
            format!("{:.1}", share(s.concepts, self.kb_concepts))
        })?;
        row(f, "KB names used, of those of the concepts covered", &|s| {
            format!("{} of {}", s.names_used.0, s.names_used.1)
        })?;
        row(f, "different mentions", &|s| {
            s.distinct_mentions.to_string()
        })?;
        row(f, "mentions that are a name, %", &|s| {
            format!("{:.1}", share(s.novelty.name, s.mentions))
        })?;
        row(f, "mentions that are one but for capitals, %", &|s| {
            format!("{:.1}", share(s.novelty.case_only, s.mentions))
        })?;
        row(f, "mentions that are no name, %", &|s| {
            format!("{:.1}", share(s.novelty.changed, s.mentions))
        })?;
        let spread = |s: Spread| format!("{:.1} ({}, {}, {})", s.mean, s.p5, s.median, s.p95);
        row(f, "words in a sentence: mean (5 %, median, 95 %)", &|s| {
            spread(s.sentence_words)
        })?;
        row(f, "words in a mention: mean (5 %, median, 95 %)", &|s| {
            spread(s.mention_words)
        })?;
        for (at, n) in (1..=3).enumerate() {
            row(f, &format!("distinct-{n}"), &|s| {
                format!("{:.3}", s.distinct[at])
            })?;
        }
        row(f, "sentences that stand there more than once, %", &|s| {
            format!("{:.1}", 100.0 * s.repeated)
        })?;
        let first = self.sides.first().map_or("", |side| &side.name);
        row(f, &format!("divergence from {first}, bits"), &|s| {
            format!("{:.3}", s.divergence)
        })?;
        writeln!(
            f,
            "\ndistinct-n and divergence over {} words of each.",
            self.words_compared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_corpus::{Gold, Language, Mention};
    use syncabel_kb::{BuildOptions, RawConcept, build};

    fn document(text: &str, mention: (u32, u32), origin: Origin) -> Document {
        let span = SpanChars::new(mention.0, mention.1);
        let covered = text
            .chars()
            .skip(span.start as usize)
            .take(span.len_chars() as usize);
        Document {
            id: text.to_owned(),
            text: text.to_owned(),
            language: Language::En,
            split: None,
            origin,
            mentions: vec![Mention {
                id: String::new(),
                spans: vec![span],
                text: covered.collect(),
                label: "Disorders".into(),
                gold: Gold::one("C1"),
            }],
        }
    }

    #[test]
    fn figures_of_known_corpora() {
        let raw = RawConcept {
            code: "C1".into(),
            preferred_name: "Gout".into(),
            names: vec!["Gout".into(), "Gouty Arthritis".into()],
            groups: vec!["Disorders".into()],
            ..RawConcept::default()
        };
        let kb = build(vec![raw], vec![], &BuildOptions::default())
            .unwrap()
            .0;
        let human = [document(
            "He had gout. Nothing else was found.",
            (7, 11),
            Origin::Human,
        )];
        let made = || Origin::Synthetic {
            generator: "x".into(),
        };
        let synthetic = [
            document("She had Gout.", (8, 12), made()),
            document("she had gout", (8, 12), made()),
            document("The big toe hurts.", (8, 11), made()),
        ];
        let card = Card::new(&kb, &[("human", &human), ("synthetic", &synthetic)]);
        let [first, second] = &card.sides[..] else {
            panic!("two sides")
        };
        // Only the sentence with the mention counts: three words on the human side, so three are compared.
        assert_eq!(
            (
                first.sentences,
                first.sentence_words.median,
                card.words_compared
            ),
            (1, 3, 3)
        );
        assert_eq!(first.divergence, 0.0);
        assert!(
            second.divergence > 0.3 && second.divergence <= 1.0,
            "{}",
            second.divergence
        );
        let novelty = Distance {
            name: 1,
            case_only: 1,
            changed: 1,
        };
        assert_eq!(second.novelty, novelty);
        assert_eq!(
            (second.names_used, second.distinct_mentions, second.concepts),
            ((1, 2), 2, 1)
        );
        assert!((second.repeated - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(second.sentence_lengths, BTreeMap::from([(3, 2), (4, 1)]));
        assert_eq!(first.distinct[0], 1.0);
        let table = card.to_string();
        assert!(
            table.contains("| mentions that are no name, % | 0.0 | 33.3 |"),
            "{table}"
        );
    }
}
