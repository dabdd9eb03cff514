//! The product with `vdpbf16ps`.

use std::arch::x86_64::*;

use super::{OUTER, Tile};
use crate::Write;

/// Rows whose sums are in registers at once: 2 x 8 of the 32 registers hold sums.
const ROWS: usize = 8;

/// Whether the CPU has what [`block`] needs.
pub(super) fn detected() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// See [`super::block`]. Eight rows of which none is wanted are left alone.
///
/// # Safety
/// As there, and [`detected`] must hold.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn block(
    out: *mut f32,
    stride: usize,
    height: usize,
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    for (i, left) in left.iter().enumerate() {
        let here = OUTER.min(height.saturating_sub(i * OUTER));
        for from in (0..here).step_by(ROWS) {
            // SAFETY: the caller vouches for as many rows of 32 numbers at `out`.
            unsafe {
                rows(
                    out.add((i * OUTER + from) * stride),
                    stride,
                    write,
                    left,
                    from,
                    right,
                )
            };
        }
    }
}

/// # Safety
/// `out` points to [`ROWS`] rows of 32 numbers, `stride` apart, that are ours.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rows(
    out: *mut f32,
    stride: usize,
    write: Write,
    left: &[Tile],
    from: usize,
    right: [&[Tile]; 2],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for ((a, b0), b1) in left.iter().zip(right[0]).zip(right[1]) {
        for pair in 0..OUTER {
            // SAFETY: a tile is aligned to 64 bytes and has 16 rows of 64.
            let (b0, b1) = unsafe {
                (
                    _mm512_load_si512(b0.0.as_ptr().add(pair * OUTER).cast()),
                    _mm512_load_si512(b1.0.as_ptr().add(pair * OUTER).cast()),
                )
            };
            for (row, sums) in sums.iter_mut().enumerate() {
                let word = _mm512_set1_epi32(a.0[(from + row) * OUTER + pair] as i32);
                // SAFETY: same size, any bits.
                let (word, b0, b1) = unsafe {
                    (
                        std::mem::transmute::<__m512i, __m512bh>(word),
                        std::mem::transmute::<__m512i, __m512bh>(b0),
                        std::mem::transmute::<__m512i, __m512bh>(b1),
                    )
                };
                sums[0] = _mm512_dpbf16_ps(sums[0], word, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], word, b1);
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe {
                let at = out.add(row * stride + half * OUTER);
                let sum = if write == Write::Add {
                    _mm512_add_ps(sum, _mm512_loadu_ps(at))
                } else {
                    sum
                };
                _mm512_storeu_ps(at, sum);
            }
        }
    }
}
