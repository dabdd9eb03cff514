//! Reproducible shuffles: the same seed gives the same order in every release of this crate.
//!
//! `rand` may change the algorithm behind `shuffle` between versions, so the few lines that decide the order of
//! training data are our own, on top of the ChaCha stream, which is fixed by its specification.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of its own for each purpose: changing how often one is used never shifts another.
pub(crate) fn stream(seed: u64, purpose: &str, numbers: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// Fisher and Yates' shuffle.
pub(crate) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        // The product's upper half is uniform to within 2^-64 * len: no rejection needed.
        let pick = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
        items.swap(last, pick as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_pinned() {
        let mut items: Vec<u32> = (0..8).collect();
        shuffle(&mut stream(42, "test", &[1]), &mut items);
        let mut again: Vec<u32> = (0..8).collect();
        shuffle(&mut stream(42, "test", &[1]), &mut again);
        assert_eq!(items, again);
        let mut other: Vec<u32> = (0..8).collect();
        shuffle(&mut stream(42, "test", &[2]), &mut other);
        assert_ne!(items, other, "another stream is another order");
        items.sort_unstable();
        assert_eq!(items, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn every_position_is_reached() {
        let mut hits = [[0u32; 4]; 4];
        for round in 0..4000 {
            let mut items = [0usize, 1, 2, 3];
            shuffle(&mut stream(7, "uniform", &[round]), &mut items);
            for (position, &item) in items.iter().enumerate() {
                hits[item][position] += 1;
            }
        }
        for row in hits {
            for count in row {
                assert!((850..1150).contains(&count), "{hits:?}");
            }
        }
    }
}
