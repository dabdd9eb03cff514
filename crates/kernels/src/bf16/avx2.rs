//! The product in float32 arithmetic on 256-bit vectors, for CPUs without bfloat16: a bfloat16 number is the upper half of a
//! float32 one, so widening is a shift or a mask.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{OUTER, TASK_DEPTH, Tile};
use crate::Write;

/// Rows whose sums are in registers at once: 4 x 2 of the 16 registers hold sums, four a widened line of the right tile.
const ROWS: usize = 4;

/// Columns of a vector.
const LANES: usize = 8;

/// Whether the CPU has what [`block`] needs.
pub(super) fn detected() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Rows of the left factor, widened: the first numbers of the words, then the second ones. Widened once for all columns of a
/// block, and small enough (8 KiB) to stay in the first-level cache.
#[repr(align(32))]
struct Wide([[[f32; TASK_DEPTH * OUTER]; 2]; ROWS]);

/// See [`super::block`]. Rows from `height` on are left alone.
///
/// # Safety
/// As there, and [`detected`] must hold.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block(
    out: *mut f32,
    stride: usize,
    height: usize,
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    // Zeros would cost more than a block of one row; what is read was written before.
    let mut wide = MaybeUninit::<Wide>::uninit();
    for (i, left) in left.iter().enumerate() {
        let here = OUTER.min(height.saturating_sub(i * OUTER));
        for from in (0..here).step_by(ROWS) {
            let count = ROWS.min(here - from);
            // SAFETY: the caller vouches for as many rows of 32 numbers at `out`.
            unsafe {
                let out = out.add((i * OUTER + from) * stride);
                widen(wide.as_mut_ptr(), left, from, count);
                let wide = wide.as_ptr();
                for (j, right) in right.into_iter().enumerate() {
                    let out = out.add(j * OUTER);
                    match count {
                        1 => rows::<1>(out, stride, write, wide, right),
                        2 => rows::<2>(out, stride, write, wide, right),
                        3 => rows::<3>(out, stride, write, wide, right),
                        _ => rows::<ROWS>(out, stride, write, wide, right),
                    }
                }
            }
        }
    }
}

/// The two numbers of each of eight words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn halves(words: __m256i) -> [__m256; 2] {
    [
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)),
        _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(!0xffff))),
    ]
}

/// # Safety
/// The CPU has AVX2; there are [`TASK_DEPTH`] tiles at most, with `from + count` rows at least.
#[target_feature(enable = "avx2,fma")]
unsafe fn widen(wide: *mut Wide, tiles: &[Tile], from: usize, count: usize) {
    for row in 0..count {
        for (number, tile) in tiles.iter().enumerate() {
            for at in (0..OUTER).step_by(LANES) {
                // SAFETY: a tile has 16 rows of 16 words, and `wide` as many words a row for each of the tiles.
                unsafe {
                    let words = tile.0.as_ptr().add((from + row) * OUTER + at);
                    let halves = halves(_mm256_load_si256(words.cast()));
                    for (half, numbers) in halves.into_iter().enumerate() {
                        let line = (&raw mut (*wide).0[row][half]).cast::<f32>();
                        _mm256_store_ps(line.add(number * OUTER + at), numbers);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `out` points to `R` rows of 16 numbers, `stride` apart, that are ours; `wide` holds as many rows for the tiles of `right`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize>(
    out: *mut f32,
    stride: usize,
    write: Write,
    wide: *const Wide,
    right: &[Tile],
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for (number, tile) in right.iter().enumerate() {
        for pair in 0..OUTER {
            // SAFETY: a tile is aligned to 64 bytes and has 16 rows of 16 words.
            let [b0, b1] = unsafe {
                let line = tile.0.as_ptr().add(pair * OUTER);
                [line, line.add(LANES)].map(|words| halves(_mm256_load_si256(words.cast())))
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                for half in 0..2 {
                    // SAFETY: `wide` has a number for each pair of each tile.
                    let a = unsafe {
                        let line = (&raw const (*wide).0[row][half]).cast::<f32>();
                        _mm256_set1_ps(*line.add(number * OUTER + pair))
                    };
                    sums[0] = _mm256_fmadd_ps(a, b0[half], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, b1[half], sums[1]);
                }
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe {
                let at = out.add(row * stride + half * LANES);
                let sum = if write == Write::Add {
                    _mm256_add_ps(sum, _mm256_loadu_ps(at))
                } else {
                    sum
                };
                _mm256_storeu_ps(at, sum);
            }
        }
    }
}
