//! Rounding to bfloat16 and laying out in tiles.

use super::{INNER, OUTER, Tile};
use crate::{Matrix, multiversion};

/// The bfloat16 number nearest to `x`, ties to even, in the low half of the answer.
#[inline(always)]
pub(super) fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    // Rounding could carry a NaN's payload into the sign; a quiet NaN stays one.
    if x.is_nan() {
        (bits >> 16) | 0x40
    } else {
        nearest
    }
}

/// Fills the panel of a left factor that begins at row `from`.
pub(super) fn left(tiles: &mut [Tile], a: Matrix<'_>, from: usize) {
    let outer = Along {
        stride: a.row_stride,
        from,
        len: a.rows,
    };
    fill(tiles, a, outer, a.column_stride, a.columns, true);
}

/// Fills the panel of a right factor that begins at column `from`.
pub(super) fn right(tiles: &mut [Tile], b: Matrix<'_>, from: usize) {
    let outer = Along {
        stride: b.column_stride,
        from,
        len: b.columns,
    };
    fill(tiles, b, outer, b.row_stride, b.rows, false);
}

/// The dimension that a panel cuts 16 of.
struct Along {
    stride: usize,
    from: usize,
    len: usize,
}

/// `by_outer`: tile rows are the outer dimension (left factors); else they are pairs of the inner one (right factors).
fn fill(
    tiles: &mut [Tile],
    matrix: Matrix<'_>,
    outer: Along,
    inner_stride: usize,
    inner_len: usize,
    by_outer: bool,
) {
    let data = matrix.data;
    let count = OUTER.min(outer.len - outer.from);
    for (number, tile) in tiles.iter_mut().enumerate() {
        let inner_from = number * INNER;
        let depth = INNER.min(inner_len - inner_from);
        let start = outer.from * outer.stride + inner_from * inner_stride;
        if count < OUTER || depth < INNER {
            edge(
                tile,
                |o, i| {
                    if o < count && i < depth {
                        data[start + o * outer.stride + i * inner_stride]
                    } else {
                        0.0
                    }
                },
                by_outer,
            );
        } else if inner_stride == 1 {
            rows(&mut tile.0, &data[start..], outer.stride);
            if !by_outer {
                transpose(&mut tile.0);
            }
        } else {
            debug_assert_eq!(outer.stride, 1, "one stride of a matrix is 1");
            columns(&mut tile.0, &data[start..], inner_stride);
            if by_outer {
                transpose(&mut tile.0);
            }
        }
    }
}

/// A tile that the matrix fills only partly.
fn edge(tile: &mut Tile, at: impl Fn(usize, usize) -> f32, by_outer: bool) {
    for o in 0..OUTER {
        for pair in 0..OUTER {
            let word = round(at(o, 2 * pair)) | (round(at(o, 2 * pair + 1)) << 16);
            tile.0[if by_outer {
                o * OUTER + pair
            } else {
                pair * OUTER + o
            }] = word;
        }
    }
}

/// Exchanges rows and columns of words.
fn transpose(tile: &mut [u32; OUTER * OUTER]) {
    for i in 0..OUTER {
        for j in 0..i {
            tile.swap(i * OUTER + j, j * OUTER + i);
        }
    }
}

multiversion! {
    /// Word `(o, pair)` from numbers that lie next to each other along the inner dimension.
    fn rows(tile: &mut [u32; 256], data: &[f32], stride: usize) {
        for (o, words) in tile.chunks_exact_mut(OUTER).enumerate() {
            let numbers = &data[o * stride..][..INNER];
            for (word, pair) in words.iter_mut().zip(numbers.chunks_exact(2)) {
                *word = round(pair[0]) | (round(pair[1]) << 16);
            }
        }
    }

    /// Word `(pair, o)` from numbers that lie next to each other along the outer dimension.
    fn columns(tile: &mut [u32; 256], data: &[f32], stride: usize) {
        for (pair, words) in tile.chunks_exact_mut(OUTER).enumerate() {
            let low = &data[2 * pair * stride..][..OUTER];
            let high = &data[(2 * pair + 1) * stride..][..OUTER];
            for ((word, low), high) in words.iter_mut().zip(low).zip(high) {
                *word = round(*low) | (round(*high) << 16);
            }
        }
    }
}
