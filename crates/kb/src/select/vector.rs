//! Sparse vectors of character 3-grams.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rayon::prelude::*;

use crate::clean::clean_char;
use crate::{Kb, NameId};

/// Three characters in one integer, 21 bits each: ordered as the characters are.
pub(super) type Gram = u64;

/// Bits of a character.
const CHAR_BITS: u32 = 21;

/// Calls `each` with every 3-gram of a text.
fn for_each_gram(text: &str, mut each: impl FnMut(Gram)) {
    const THREE: u64 = (1 << (3 * CHAR_BITS)) - 1;
    let mut window = u64::from(b' ');
    let mut filled = 1; // characters since the blank before the word, that blank included
    let mut push = |c: char, filled: &mut usize| {
        window = (window << CHAR_BITS | u64::from(u32::from(c))) & THREE;
        *filled += 1;
        if *filled >= 3 {
            each(window);
        }
    };
    let lower = text.chars().map(clean_char).flat_map(char::to_lowercase);
    for c in lower.chain(std::iter::once(' ')) {
        if !c.is_whitespace() {
            push(c, &mut filled);
        } else if filled > 1 {
            push(' ', &mut filled); // ends this word and begins the next
            filled = 1;
        }
    }
}

/// The grams of a text with their counts, ascending by gram.
fn counted_grams(text: &str) -> Vec<(Gram, f32)> {
    let mut grams = Vec::with_capacity(text.len() + 2);
    for_each_gram(text, |gram| grams.push(gram));
    grams.sort_unstable();
    grams
        .chunk_by(|a, b| a == b)
        .map(|run| (run[0], run.len() as f32))
        .collect()
}

/// Grams of a KB with their inverse document frequencies.
pub(super) struct Vectorizer {
    /// Row of a gram: its rank among all grams of the KB.
    rows: HashMap<Gram, u32, BuildHasherDefault<GramHasher>>,
    /// Inverse document frequency, by row.
    idf: Vec<f32>,
    /// That of a gram which no name contains.
    unseen_idf: f32,
}

/// A text as a vector of length 1.
pub(super) struct Vector {
    /// (row, weight), ascending by row. Grams outside the KB count in the length only.
    pub(super) weights: Vec<(u32, f32)>,
}

impl Vectorizer {
    /// Counts in how many names each gram stands.
    pub(super) fn fit(kb: &Kb) -> Self {
        let mut grams: Vec<Gram> = (0..kb.name_count() as u32)
            .into_par_iter()
            .flat_map_iter(|id| counted_grams(kb.name(NameId(id)).text))
            .map(|(gram, _)| gram)
            .collect();
        grams.par_sort_unstable();
        let names = kb.name_count();
        let idf = |df: usize| 1.0 + ((1 + names) as f32 / (1 + df) as f32).ln();
        let mut vectorizer = Self {
            rows: HashMap::default(),
            idf: Vec::new(),
            unseen_idf: idf(0),
        };
        for run in grams.chunk_by(|a, b| a == b) {
            vectorizer.rows.insert(run[0], vectorizer.idf.len() as u32);
            vectorizer.idf.push(idf(run.len()));
        }
        vectorizer
    }

    /// Number of distinct grams.
    pub(super) fn gram_count(&self) -> usize {
        self.idf.len()
    }

    pub(super) fn vector(&self, text: &str) -> Vector {
        let mut squares = 0.0f64;
        let mut weights = Vec::new();
        for (gram, count) in counted_grams(text) {
            let row = self.rows.get(&gram).copied();
            let idf = row.map_or(self.unseen_idf, |row| self.idf[row as usize]);
            let weight = count * idf;
            squares += f64::from(weight) * f64::from(weight);
            weights.extend(row.map(|row| (row, weight)));
        }
        if squares > 0.0 {
            let length = squares.sqrt() as f32;
            weights.iter_mut().for_each(|(_, weight)| *weight /= length);
        }
        Vector { weights } // rows are ranks, so they ascend with the grams
    }
}

impl Vector {
    /// Cosine of two vectors of length 1.
    pub(super) fn cosine(&self, other: &Self) -> f32 {
        let (mut a, mut b) = (self.weights.as_slice(), other.weights.as_slice());
        let mut sum = 0.0;
        while let (Some(&(row_a, weight_a)), Some(&(row_b, weight_b))) = (a.first(), b.first()) {
            if row_a == row_b {
                sum += weight_a * weight_b;
            }
            if row_a <= row_b {
                a = &a[1..];
            }
            if row_b <= row_a {
                b = &b[1..];
            }
        }
        sum
    }
}

/// One multiplication: grams are keys of our own making, nobody floods this table.
#[derive(Default)]
pub(super) struct GramHasher(u64);

impl Hasher for GramHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The golden ratio of 2^64, then the mixed high half brought down to the bucket bits.
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grams(text: &str) -> Vec<String> {
        let mut grams = Vec::new();
        for_each_gram(text, |gram| {
            let char_at = |place: u32| {
                let bits = (gram >> (place * CHAR_BITS)) & ((1 << CHAR_BITS) - 1);
                char::from_u32(bits as u32).unwrap()
            };
            grams.push([char_at(2), char_at(1), char_at(0)].iter().collect());
        });
        grams
    }

    #[test]
    fn grams_stay_inside_words() {
        assert_eq!(grams("Flu"), [" fl", "flu", "lu "]);
        assert_eq!(grams("  a\u{a0} bc\n"), [" a ", " bc", "bc "]);
        assert_eq!(grams("[Œd"), [" (œ", "(œd", "œd "]);
        assert!(grams(" \t").is_empty());
        assert!(grams("").is_empty());
    }
}
