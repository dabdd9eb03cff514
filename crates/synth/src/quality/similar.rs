//! Sentences that are nearly the same, and mentions that are far from every name.

use std::collections::{HashMap, HashSet};

use crate::generator::stable_hash;

const BANDS: usize = 12;
const ROWS: usize = 4;
const HASHES: usize = BANDS * ROWS;
/// Words in a shingle.
const SHINGLE: usize = 3;

/// MinHash signatures of the sentences kept so far, found again through locality-sensitive hashing: 12 bands of 4 rows,
/// so a sentence of Jaccard similarity 0.8 to a kept one is looked at with a probability of 99.8 %, one of 0.5 with 54 %.
#[derive(Debug, Default)]
pub(super) struct NearDuplicates {
    /// The low halves of the minima.
    signatures: Vec<[u16; HASHES]>,
    /// First sentence of each band value.
    bands: HashMap<u64, u32>,
}

/// A signature and the keys of its bands.
pub(super) struct Sketch {
    signature: [u16; HASHES],
    bands: [u64; BANDS],
}

impl Sketch {
    /// The sketch of a sentence; `None` where it has fewer words than a shingle.
    pub(super) fn of(words: &[String]) -> Option<Self> {
        let shingles = shingles(words);
        if shingles.is_empty() {
            return None;
        }
        let mut minima = [u64::MAX; HASHES];
        for &shingle in &shingles {
            for (number, minimum) in (0u64..).zip(&mut minima) {
                *minimum = (*minimum).min(mix(shingle ^ mix(number + 1)));
            }
        }
        let band = |number: usize| {
            let rows = &minima[number * ROWS..(number + 1) * ROWS];
            rows.iter().fold(number as u64 + 1, |key, &row| {
                mix(key ^ row).wrapping_add(row)
            })
        };
        Some(Sketch {
            signature: minima.map(|minimum| minimum as u16),
            bands: std::array::from_fn(band),
        })
    }
}

impl NearDuplicates {
    /// The estimated similarity to the nearest sentence among those that share a band, and its number.
    pub(super) fn nearest(&self, sketch: &Sketch) -> Option<(f64, u32)> {
        let mut best: Option<(f64, u32)> = None;
        let mut looked_at = HashSet::new();
        for band in &sketch.bands {
            let Some(&number) = self.bands.get(band) else {
                continue;
            };
            if looked_at.insert(number) {
                let other = &self.signatures[number as usize];
                let same = sketch
                    .signature
                    .iter()
                    .zip(other)
                    .filter(|(a, b)| a == b)
                    .count();
                let similarity = same as f64 / HASHES as f64;
                if best.is_none_or(|(most, _)| similarity > most) {
                    best = Some((similarity, number));
                }
            }
        }
        best
    }

    /// Adds a sentence that is kept.
    pub(super) fn add(&mut self, sketch: &Sketch) {
        let number = self.signatures.len() as u32;
        self.signatures.push(sketch.signature);
        for &band in &sketch.bands {
            self.bands.entry(band).or_insert(number);
        }
    }
}

fn shingles(words: &[String]) -> Vec<u64> {
    let mut all: Vec<u64> = words.windows(SHINGLE).map(hash_words).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A hash of words in order.
pub(super) fn hash_words(words: &[String]) -> u64 {
    let parts: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    stable_hash(0, &parts)
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// How near a mention is to a name, 0 to 1: the Dice coefficient of their character trigrams, case and punctuation aside; 1
/// where the one is made of the initials of the other.
pub(super) fn nearness(mention: &str, name: &str) -> f64 {
    if is_acronym(mention, name) || is_acronym(name, mention) {
        return 1.0;
    }
    let (a, b) = (trigrams(mention), trigrams(name));
    let mut left = b.clone();
    let common = a.iter().filter(|t| match left.binary_search(t) {
        Ok(at) => {
            left.remove(at);
            true
        }
        Err(_) => false,
    });
    2.0 * common.count() as f64 / (a.len() + b.len()).max(1) as f64
}

/// Sorted trigrams of each word with a blank before and behind it, so the order of words does not count.
fn trigrams(text: &str) -> Vec<[char; 3]> {
    let mut all = Vec::new();
    for word in super::words::words(text) {
        let padded: Vec<char> = std::iter::once(' ')
            .chain(word.chars())
            .chain([' '])
            .collect();
        all.extend(padded.windows(3).map(|w| [w[0], w[1], w[2]]));
        if padded.len() == 2 {
            all.push([' ', ' ', ' ']);
        }
    }
    all.sort_unstable();
    all
}

/// Whether `short` is the initials of the words of `long` (small words may be left out).
fn is_acronym(short: &str, long: &str) -> bool {
    let letters: Vec<char> = short
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    if !(2..=8).contains(&letters.len()) || short.contains(' ') {
        return false;
    }
    let words = super::words::words(long);
    if words.len() < 2 {
        return false;
    }
    let initials = |skip_small: bool| -> Vec<char> {
        let small = |w: &&String| {
            !(skip_small
                && w.len() <= 3
                && w.chars().all(char::is_alphabetic)
                && [
                    "of", "the", "and", "in", "de", "la", "du", "des", "del", "der", "und", "y",
                    "et", "to", "on",
                ]
                .contains(&w.as_str()))
        };
        words
            .iter()
            .filter(small)
            .filter_map(|w| w.chars().next())
            .collect()
    };
    letters == initials(false) || letters == initials(true)
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    /// The exact Jaccard similarity of shingles.
    fn jaccard(a: &[String], b: &[String]) -> f64 {
        let (a, b): (HashSet<u64>, HashSet<u64>) = (
            shingles(a).into_iter().collect(),
            shingles(b).into_iter().collect(),
        );
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn the_estimate_is_near_the_exact_similarity() {
        let base: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
        let mut kept = NearDuplicates::default();
        kept.add(&Sketch::of(&base).unwrap());
        let mut errors = Vec::new();
        for changed in 0..12 {
            // Changing words three apart takes away three shingles each.
            let mut other = base.clone();
            (0..changed).for_each(|n| other[n * 3] = format!("x{n}"));
            let exact = jaccard(&base, &other);
            let estimate = kept
                .nearest(&Sketch::of(&other).unwrap())
                .map_or(0.0, |(s, _)| s);
            if exact > 0.6 {
                errors.push((estimate - exact).abs());
                assert!((estimate - exact).abs() < 0.2, "{exact} {estimate}");
            }
        }
        assert!(
            errors.iter().sum::<f64>() / (errors.len() as f64) < 0.1,
            "{errors:?}"
        );
        let unrelated = words(
            "an entirely different sentence about something that nobody has mentioned before",
        );
        assert_eq!(kept.nearest(&Sketch::of(&unrelated).unwrap()), None);
    }

    #[test]
    fn nearness_of_mentions_to_names() {
        let cases = [
            ("gout", "Gout", 1.0, 1.0),
            ("Type 2 Diabetes", "Diabetes, Type 2", 1.0, 1.0),
            ("COPD", "Chronic Obstructive Pulmonary Disease", 1.0, 1.0),
            ("lack of vitamin C", "Vitamin C Deficiency", 0.3, 0.7),
            ("harbour", "Gout", 0.0, 0.05),
            ("", "Gout", 0.0, 0.0),
        ];
        for (mention, name, low, high) in cases {
            let near = nearness(mention, name);
            assert!((low..=high).contains(&near), "{mention} {name}: {near}");
        }
    }
}
