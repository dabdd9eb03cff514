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

/// Panels that are filled together: where they lie side by side in memory, rows are then read in runs of 128 numbers.
pub(super) const GROUP: usize = 8;

/// Fills the panels of a left factor that begin at row `from`, `per_panel` tiles each.
pub(super) fn left(tiles: &mut [Tile], per_panel: usize, a: Matrix<'_>, from: usize) {
    let layout = Layout {
        data: a.data,
        outer_from: from,
        outer_len: a.rows,
        outer_stride: a.row_stride,
        inner_len: a.columns,
        inner_stride: a.column_stride,
        by_outer: true,
    };
    layout.fill(tiles, per_panel);
}

/// Fills the panels of a right factor that begin at column `from`, `per_panel` tiles each.
pub(super) fn right(tiles: &mut [Tile], per_panel: usize, b: Matrix<'_>, from: usize) {
    let layout = Layout {
        data: b.data,
        outer_from: from,
        outer_len: b.columns,
        outer_stride: b.column_stride,
        inner_len: b.rows,
        inner_stride: b.row_stride,
        by_outer: false,
    };
    layout.fill(tiles, per_panel);
}

/// Where the numbers of some panels lie. Panels cut the outer dimension, sums run along the inner one.
struct Layout<'a> {
    data: &'a [f32],
    outer_from: usize,
    outer_len: usize,
    outer_stride: usize,
    inner_len: usize,
    inner_stride: usize,
    /// Tile rows are the outer dimension (left factors); else they are pairs of the inner one (right factors).
    by_outer: bool,
}

impl Layout<'_> {
    fn fill(&self, tiles: &mut [Tile], per_panel: usize) {
        let whole = ((self.outer_len - self.outer_from) / OUTER).min(tiles.len() / per_panel);
        for number in 0..per_panel {
            let inner_from = number * INNER;
            let start = self.outer_from * self.outer_stride + inner_from * self.inner_stride;
            let full = inner_from + INNER <= self.inner_len;
            if full && self.inner_stride != 1 {
                debug_assert_eq!(self.outer_stride, 1, "one stride of a matrix is 1");
                let group = &mut tiles[..whole * per_panel];
                columns(
                    group,
                    per_panel,
                    number,
                    &self.data[start..],
                    self.inner_stride,
                );
            }
            for (panel, tiles) in tiles.chunks_exact_mut(per_panel).enumerate() {
                let tile = &mut tiles[number];
                let start = start + panel * OUTER * self.outer_stride;
                if !full || panel >= whole {
                    let count = OUTER.min(self.outer_len - self.outer_from - panel * OUTER);
                    let depth = INNER.min(self.inner_len - inner_from);
                    self.edge(tile, start, count, depth);
                } else if self.inner_stride == 1 {
                    rows(&mut tile.0, &self.data[start..], self.outer_stride);
                    if !self.by_outer {
                        transpose(&mut tile.0);
                    }
                } else if self.by_outer {
                    transpose(&mut tile.0);
                }
            }
        }
    }

    /// A tile that the matrix fills only partly.
    fn edge(&self, tile: &mut Tile, start: usize, count: usize, depth: usize) {
        let at = |o: usize, i: usize| {
            let inside = o < count && i < depth;
            let place = start + o * self.outer_stride + i * self.inner_stride;
            if inside { self.data[place] } else { 0.0 }
        };
        for o in 0..OUTER {
            for pair in 0..OUTER {
                let word = round(at(o, 2 * pair)) | (round(at(o, 2 * pair + 1)) << 16);
                let place = if self.by_outer {
                    o * OUTER + pair
                } else {
                    pair * OUTER + o
                };
                tile.0[place] = word;
            }
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

    /// Word `(pair, o)` of tile `number` of every panel, from numbers that lie next to each other along the outer dimension.
    fn columns(panels: &mut [Tile], per_panel: usize, number: usize, data: &[f32], stride: usize) {
        for pair in 0..OUTER {
            let low = &data[2 * pair * stride..];
            let high = &data[(2 * pair + 1) * stride..];
            let numbers = low.chunks_exact(OUTER).zip(high.chunks_exact(OUTER));
            for (tiles, (low, high)) in panels.chunks_exact_mut(per_panel).zip(numbers) {
                let words = &mut tiles[number].0[pair * OUTER..][..OUTER];
                for ((word, low), high) in words.iter_mut().zip(low).zip(high) {
                    *word = round(*low) | (round(*high) << 16);
                }
            }
        }
    }
}
