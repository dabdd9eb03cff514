//! The data card of a synthetic corpus: what it covers and how it differs from human text, beside the human corpora's own figures.
//!
//! A unit is a sentence with a mention: a synthetic document, or a sentence of a human one. Measures that grow or shrink
//! with size (distinct-n, divergence) are taken over the same number of words on every side, drawn with a fixed seed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use syncabel_corpus::{Document, Mention, Origin, SpanChars, sentence};
use syncabel_kb::{ConceptId, Kb, NameId};

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
    /// Different concepts; of a mention of several together, the first.
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
        let mut measuring = Measuring::new(kb);
        for (name, documents) in corpora {
            measuring.side(*name);
            documents
                .iter()
                .for_each(|document| measuring.add(document));
        }
        measuring.finish()
    }
}

/// Measures corpora that need not fit into memory: four bytes a word stay, and each different word and mention.
pub struct Measuring<'k> {
    kb: &'k Kb,
    words: Words,
    sides: Vec<Gathered>,
}

impl<'k> Measuring<'k> {
    /// Nothing yet.
    pub fn new(kb: &'k Kb) -> Self {
        Measuring {
            kb,
            words: Words::default(),
            sides: Vec::new(),
        }
    }

    /// Begins a corpus. The first, by custom the human training split, is the reference of the divergence.
    pub fn side(&mut self, name: impl Into<String>) {
        self.sides.push(Gathered {
            name: name.into(),
            ..Gathered::default()
        });
    }

    /// Measures a document of the corpus begun last.
    ///
    /// # Panics
    /// Before the first [`side`](Self::side).
    pub fn add(&mut self, document: &Document) {
        let side = self.sides.last_mut().expect("a side was begun");
        for mention in &document.mentions {
            side.mention(self.kb, mention);
        }
        for sentence in sentences(document) {
            for word in words(&sentence) {
                side.words.push(self.words.number(word));
            }
            side.ends.push(side.words.len());
        }
    }

    /// The card.
    pub fn finish(self) -> Card {
        let words_compared = self.sides.iter().map(|side| side.words.len()).min();
        let words_compared = words_compared.unwrap_or(0);
        let samples: Vec<Vec<&[u32]>> = self
            .sides
            .iter()
            .map(|side| sample(side.sentences().collect(), words_compared))
            .collect();
        let shares: Vec<Vec<f64>> = samples
            .iter()
            .map(|sample| shares(sample, self.words.0.len()))
            .collect();
        let order = self.words.in_order();
        let sides = self.sides.iter().enumerate().map(|(i, gathered)| Side {
            distinct: [1, 2, 3].map(|n| distinct(&samples[i], n)),
            divergence: divergence(&order, &shares[0], &shares[i]),
            ..gathered.side(self.kb)
        });
        Card {
            words_compared,
            kb_concepts: self.kb.concept_count(),
            sides: sides.collect(),
        }
    }
}

/// Different words, numbered as they come.
#[derive(Default)]
struct Words(HashMap<String, u32>);

impl Words {
    fn number(&mut self, word: String) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(word).or_insert(next)
    }

    /// Their numbers, by the alphabet: sums over words do not depend on who came first.
    fn in_order(&self) -> Vec<usize> {
        let mut words: Vec<(&String, &u32)> = self.0.iter().collect();
        words.sort_unstable();
        words.into_iter().map(|(_, &at)| at as usize).collect()
    }
}

/// What is kept of a corpus while it passes by.
#[derive(Default)]
struct Gathered {
    name: String,
    concepts: BTreeSet<ConceptId>,
    /// Different mentions, capitals aside.
    texts: HashSet<String>,
    used: HashSet<NameId>,
    novelty: Distance,
    /// Words of each mention.
    mention_words: Vec<usize>,
    /// The words of all sentences, one sentence after the other.
    words: Vec<u32>,
    /// Where each sentence ends.
    ends: Vec<usize>,
}

impl Gathered {
    fn mention(&mut self, kb: &Kb, mention: &Mention) {
        self.mention_words.push(words(&mention.text).len());
        self.texts.insert(mention.text.to_lowercase());
        let code = mention.gold.codes().next();
        let Some(concept) = code.and_then(|code| kb.resolve(code)) else {
            return;
        };
        self.concepts.insert(concept);
        let found: Vec<_> = kb
            .names_ignoring_case(&mention.text)
            .filter(|name| name.concept == concept)
            .collect();
        self.used.extend(found.iter().map(|name| name.id));
        *(match found.iter().any(|name| name.text == mention.text) {
            true => &mut self.novelty.name,
            false if !found.is_empty() => &mut self.novelty.case_only,
            false => &mut self.novelty.changed,
        }) += 1;
    }

    fn sentences(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.words[start..end])
    }

    /// The figures that need no other corpus.
    fn side(&self, kb: &Kb) -> Side {
        let all_names: HashSet<NameId> = self
            .concepts
            .iter()
            .flat_map(|&c| kb.concept(c).groups().flat_map(move |g| kb.names_of(c, g)))
            .map(|name| name.id)
            .collect();
        let mut sentence_lengths = BTreeMap::new();
        let mut counts: HashMap<&[u32], usize> = HashMap::new();
        for sentence in self.sentences() {
            *sentence_lengths.entry(sentence.len()).or_default() += 1;
            *counts.entry(sentence).or_default() += 1;
        }
        let repeated: usize = counts.values().filter(|&&n| n > 1).sum();
        Side {
            name: self.name.clone(),
            sentences: self.ends.len(),
            mentions: self.mention_words.len(),
            concepts: self.concepts.len(),
            novelty: self.novelty,
            distinct_mentions: self.texts.len(),
            names_used: (self.used.len(), all_names.len()),
            sentence_words: Spread::of(self.sentences().map(<[u32]>::len).collect()),
            mention_words: Spread::of(self.mention_words.clone()),
            sentence_lengths,
            distinct: [0.0; 3],
            repeated: repeated as f64 / self.ends.len().max(1) as f64,
            divergence: 0.0,
        }
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

/// The sentences that hold a mention.
fn sentences(document: &Document) -> Vec<Cow<'_, str>> {
    if matches!(document.origin, Origin::Synthetic { .. }) {
        return vec![Cow::Borrowed(&document.text)];
    }
    let spans: Vec<SpanChars> = document
        .mentions
        .iter()
        .flat_map(|m| m.spans.iter().copied())
        .collect();
    let chars: Vec<char> = document.text.chars().collect();
    sentence::split(&document.text, document.language, &spans)
        .into_iter()
        .filter(|at| spans.iter().any(|span| at.contains(*span)))
        .map(|at| Cow::Owned(chars[at.start as usize..at.end as usize].iter().collect()))
        .collect()
}

/// Whole sentences in a seeded order until there are so many words.
fn sample(mut sentences: Vec<&[u32]>, most_words: usize) -> Vec<&[u32]> {
    sentences.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    let mut left = most_words;
    let mut taken = Vec::new();
    for sentence in sentences {
        let part = &sentence[..sentence.len().min(left)];
        left -= part.len();
        taken.push(part);
        if left == 0 {
            break;
        }
    }
    taken
}

fn distinct(sample: &[&[u32]], n: usize) -> f64 {
    let grams = || sample.iter().flat_map(move |sentence| sentence.windows(n));
    let different: HashSet<&[u32]> = grams().collect();
    different.len() as f64 / grams().count().max(1) as f64
}

/// The share of each word, by its number.
fn shares(sample: &[&[u32]], words: usize) -> Vec<f64> {
    let mut shares = vec![0.0; words];
    for &word in sample.iter().copied().flatten() {
        shares[word as usize] += 1.0;
    }
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total.max(1.0));
    shares
}

/// Jensen-Shannon divergence of two word distributions, in bits.
fn divergence(order: &[usize], p: &[f64], q: &[f64]) -> f64 {
    let mut sum = 0.0;
    for &word in order {
        let middle = (p[word] + q[word]) / 2.0;
        for part in [p[word], q[word]] {
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
    use syncabel_corpus::{Gold, Language};
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
