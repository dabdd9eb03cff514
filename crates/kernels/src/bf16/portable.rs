//! The product in plain code, for CPUs without any of the other units, which it checks.

use super::{OUTER, Tile};
use crate::Write;

/// See [`super::block`].
///
/// # Safety
/// As there.
pub(super) unsafe fn block(
    out: *mut f32,
    stride: usize,
    height: usize,
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    for (i, left) in left.iter().enumerate() {
        for (j, right) in right.into_iter().enumerate() {
            let mut sums = [0.0; OUTER * OUTER];
            products(&mut sums, left, right);
            let here = OUTER.min(height.saturating_sub(i * OUTER));
            for (row, sums) in sums.chunks_exact(OUTER).enumerate().take(here) {
                // SAFETY: 16 rows for each left panel and 32 columns at `out` are ours.
                let cells = unsafe {
                    let at = out.add((i * OUTER + row) * stride + j * OUTER);
                    std::slice::from_raw_parts_mut(at, OUTER)
                };
                match write {
                    Write::Replace => cells.copy_from_slice(sums),
                    Write::Add => cells
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(cell, sum)| *cell += sum),
                }
            }
        }
    }
}

fn products(sums: &mut [f32; OUTER * OUTER], left: &[Tile], right: &[Tile]) {
    let numbers = |word: u32| {
        (
            f32::from_bits(word << 16),
            f32::from_bits(word & 0xffff_0000),
        )
    };
    for (a, b) in left.iter().zip(right) {
        for (sums, words) in sums.chunks_exact_mut(OUTER).zip(a.0.chunks_exact(OUTER)) {
            for (&word, row) in words.iter().zip(b.0.chunks_exact(OUTER)) {
                let (low, high) = numbers(word);
                for (sum, &pair) in sums.iter_mut().zip(row) {
                    let (x, y) = numbers(pair);
                    *sum += low * x + high * y;
                }
            }
        }
    }
}
