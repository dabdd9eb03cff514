//! Products of bfloat16 matrices with float32 sums.
//!
//! Operands are packed into [`Panels`] once: rounded to bfloat16 and laid out so that every vector unit reads them in
//! order. One layout serves all units.
//!
//! ```text
//! tile    16 rows of 16 words of 32 bits, 1 KiB; a word holds two neighbours along the summed dimension
//! left    tile row = row of the matrix,    word = pair of columns      (16 rows x 32 columns a tile)
//! right   tile row = pair of rows,         word = column of the matrix (32 rows x 16 columns a tile)
//! panel   the tiles of 16 rows (left) or 16 columns (right), one after the other along the summed dimension
//! ```
//!
//! That is what AMX's `tdpbf16ps` multiplies; AVX512-BF16's `vdpbf16ps` takes a word of the left tile against a row of the
//! right one. Edges are padded with zeros.
//!
//! # Cost
//! Two bytes a number. Packing reads each number once; a product of `[m, k] x [k, n]` is worth it from about 64 rows on,
//! or when one side stays packed.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod portable;

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use crate::pages::Pages;
use crate::{Matrix, Write, team};

/// Rows or columns of the matrix that one tile holds.
const OUTER: usize = 16;
/// Summed numbers that one tile holds.
const INNER: usize = 32;
/// Panels of the left and of the right side that one task multiplies at most: the right ones stay in the second-level cache
/// while pairs of left ones pass by.
const TASK_PANELS: (usize, usize) = (16, 32);
/// Tiles along the sum that are multiplied before the next block of the output: two left panels of that depth (20 KiB) stay
/// in the first-level cache while the right ones pass by.
const TASK_DEPTH: usize = 16;

/// 16 x 16 words, each two bfloat16 numbers, the first in the low half.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Tile([u32; OUTER * OUTER]);

/// Where tiles lie.
#[derive(Clone, Debug)]
enum Tiles {
    /// In memory that is used again for other ones.
    Own(Vec<Tile>),
    /// Beside other weights, for good.
    Kept(Pages<Tile>),
}

impl Default for Tiles {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Deref for Tiles {
    type Target = [Tile];

    fn deref(&self) -> &[Tile] {
        match self {
            Self::Own(tiles) => tiles,
            Self::Kept(tiles) => tiles,
        }
    }
}

impl Tiles {
    /// `len` tiles to be written over.
    fn own(&mut self, len: usize) -> &mut [Tile] {
        if let Self::Kept(_) = self {
            *self = Self::default();
        }
        let Self::Own(tiles) = self else {
            unreachable!("made one just above");
        };
        tiles.resize(len, ZERO);
        tiles
    }
}

/// The bfloat16 number nearest to `x`, ties to even: the upper half of a float32 one.
#[must_use]
pub fn round(x: f32) -> u16 {
    pack::round(x) as u16
}

const ZERO: Tile = Tile([0; OUTER * OUTER]);

/// A matrix in bfloat16, ready to be a factor; see the [module](self) for the layout.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    tiles: Tiles,
    outer: usize,
    inner: usize,
    is_right: bool,
}

impl Panels {
    /// Packs a left factor `[m, k]`.
    #[must_use]
    pub fn left(a: Matrix<'_>) -> Self {
        let mut panels = Self::default();
        panels.set_left(a);
        panels
    }

    /// Packs a right factor `[k, n]` that will be multiplied often.
    #[must_use]
    pub fn right(b: Matrix<'_>) -> Self {
        let (outer, inner) = (b.columns, b.rows);
        let per_panel = inner.div_ceil(INNER);
        let tiles = Pages::new(outer.div_ceil(OUTER) * per_panel, ZERO, |tiles| {
            fill(tiles, per_panel, b, pack::right);
        });
        Self {
            tiles: Tiles::Kept(tiles),
            outer,
            inner,
            is_right: true,
        }
    }

    /// [`left`](Self::left) into memory that is there already.
    pub fn set_left(&mut self, a: Matrix<'_>) {
        (self.outer, self.inner, self.is_right) = (a.rows, a.columns, false);
        let (len, per_panel) = (self.len(), self.tiles_per_panel());
        fill(self.tiles.own(len), per_panel, a, pack::left);
    }

    /// [`right`](Self::right) into memory that is there already.
    pub fn set_right(&mut self, b: Matrix<'_>) {
        (self.outer, self.inner, self.is_right) = (b.columns, b.rows, true);
        let (len, per_panel) = (self.len(), self.tiles_per_panel());
        fill(self.tiles.own(len), per_panel, b, pack::right);
    }

    /// Rows of a left factor, columns of a right one.
    #[must_use]
    pub fn outer(&self) -> usize {
        self.outer
    }

    /// Length of the sums.
    #[must_use]
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Bytes that the numbers take, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(&self.tiles[..])
    }

    /// Copies one column of a right factor, [`inner`](Self::inner) numbers, as they were rounded.
    ///
    /// # Panics
    /// For a column that it has not, an `out` of another length, and left factors.
    pub fn column(&self, column: usize, out: &mut [f32]) {
        assert!(column < self.outer && self.is_right, "column {column}");
        assert_eq!(out.len(), self.inner, "a column's numbers");
        let tiles = self.panel(column / OUTER);
        for (tile, out) in tiles.iter().zip(out.chunks_mut(INNER)) {
            let words = tile.0[column % OUTER..].iter().step_by(OUTER);
            for (word, pair) in words.zip(out.chunks_mut(2)) {
                pair[0] = f32::from_bits(word << 16);
                if let [_, second] = pair {
                    *second = f32::from_bits(word & !0xffff);
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.panels() * self.tiles_per_panel()
    }

    fn panels(&self) -> usize {
        self.outer.div_ceil(OUTER)
    }

    fn tiles_per_panel(&self) -> usize {
        self.inner.div_ceil(INNER)
    }

    fn panel(&self, number: usize) -> &[Tile] {
        let len = self.tiles_per_panel();
        &self.tiles[number * len..][..len]
    }
}

/// Packs the panels of a factor in groups.
fn fill(
    tiles: &mut [Tile],
    per_panel: usize,
    matrix: Matrix<'_>,
    pack: fn(&mut [Tile], usize, Matrix<'_>, usize),
) {
    if per_panel > 0 {
        let groups = tiles.chunks_mut(pack::GROUP * per_panel).enumerate();
        team::for_each_part(groups, |(group, tiles)| {
            pack(tiles, per_panel, matrix, group * pack::GROUP * OUTER);
        });
    }
}

/// What multiplies panels on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Advanced Matrix Extensions: 16 x 16 x 32 products an instruction.
    Amx,
    /// `vdpbf16ps` on 512-bit vectors.
    Avx512,
    /// Widened to float32 on 256-bit vectors, also on CPUs that have AVX-512 without its bfloat16: about as many products a second
    /// as 256-bit float32 makes, half the memory.
    Avx2,
    /// Plain code, slower than float32 products: correct everywhere, wanted nowhere.
    Portable,
}

impl Unit {
    /// The best unit of this CPU that the operating system lets us use.
    #[must_use]
    pub fn detect() -> Self {
        static UNIT: OnceLock<Unit> = OnceLock::new();
        *UNIT.get_or_init(|| Self::available()[0])
    }

    /// Every unit that works here, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut units = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if amx::request() {
                units.push(Self::Amx);
            }
            if avx512::detected() {
                units.push(Self::Avx512);
            }
            if avx2::detected() {
                units.push(Self::Avx2);
            }
        }
        units.push(Self::Portable);
        units
    }
}

/// `out = a b` (or `+=`) on all threads; `out` is `[a.outer, b.outer]`, row-major and dense.
///
/// # Panics
/// When shapes do not fit, `a` was not packed as a left factor, or `b` not as a right one.
pub fn matmul(out: &mut [f32], write: Write, a: &Panels, b: &Panels) {
    matmul_with(Unit::detect(), out, write, a, b);
}

fn matmul_with(unit: Unit, out: &mut [f32], write: Write, a: &Panels, b: &Panels) {
    let (m, n) = (a.outer, b.outer);
    assert!(!a.is_right && b.is_right, "a left factor times a right one");
    assert_eq!(a.inner, b.inner, "inner dimensions differ");
    assert_eq!(out.len(), m * n, "the product is [{m}, {n}]");
    if m == 0 || n == 0 {
        return;
    }
    if a.inner == 0 {
        if write == Write::Replace {
            out.fill(0.0);
        }
        return;
    }
    let (left, most) = TASK_PANELS;
    let down = a.panels().div_ceil(left);
    // Enough tasks that few rows, too, keep every thread busy; in pairs, as blocks take them.
    let wanted = (4 * team::threads()).div_ceil(down);
    let right = b.panels().div_ceil(wanted).next_multiple_of(2).min(most);
    let across = b.panels().div_ceil(right);
    let out = Output {
        start: out.as_mut_ptr(),
        rows: m,
        columns: 0..n,
        write,
    };
    team::for_each(down * across, |task| {
        let (i, j) = (task / across * left, task % across * right);
        let rows = i..(i + left).min(a.panels());
        let columns = j..(j + right).min(b.panels());
        // SAFETY: the blocks of different tasks do not overlap, and the borrow of `out` outlives the loop.
        unsafe { blocks(unit, &out, a, rows, b, columns) };
    });
}

/// `out = a b[.., columns]` on this thread; `out` is `[a.outer, columns.len()]`.
///
/// # Panics
/// When shapes do not fit, a factor was packed for the other side, or `columns` does not begin with a panel of 16.
pub fn matmul_columns(out: &mut [f32], a: &Panels, b: &Panels, columns: Range<usize>) {
    assert!(!a.is_right && b.is_right, "a left factor times a right one");
    assert_eq!(a.inner, b.inner, "inner dimensions differ");
    assert!(columns.start.is_multiple_of(OUTER) && columns.end <= b.outer);
    assert_eq!(
        out.len(),
        a.outer * columns.len(),
        "[{}, {columns:?}]",
        a.outer
    );
    if out.is_empty() || a.inner == 0 {
        return out.fill(0.0);
    }
    let panels = columns.start / OUTER..columns.end.div_ceil(OUTER);
    let out = Output {
        start: out.as_mut_ptr(),
        rows: a.outer,
        columns,
        write: Write::Replace,
    };
    // SAFETY: all of `out` is ours.
    unsafe { blocks(Unit::detect(), &out, a, 0..a.panels(), b, panels) };
}

/// A matrix of which each task writes its own block.
struct Output {
    start: *mut f32,
    rows: usize,
    /// The columns of the product that it holds.
    columns: Range<usize>,
    write: Write,
}

// SAFETY: tasks write to disjoint blocks, see `matmul_with`.
unsafe impl Sync for Output {}

/// # Safety
/// The block of `out` that `rows` and `columns` span is this call's alone to write.
unsafe fn blocks(
    unit: Unit,
    out: &Output,
    a: &Panels,
    rows: std::ops::Range<usize>,
    b: &Panels,
    columns: std::ops::Range<usize>,
) {
    #[cfg(target_arch = "x86_64")]
    let _tiles = (unit == Unit::Amx).then(amx::Configured::new);
    let depth = a.tiles_per_panel();
    let step = depth.div_ceil(depth.div_ceil(TASK_DEPTH));
    for from in (0..depth).step_by(step) {
        let along = from..(from + step).min(depth);
        let write = if from == 0 { out.write } else { Write::Add };
        for i in rows.clone().step_by(2) {
            // A last panel that is alone goes alone: few rows are what decoding has.
            let two = [i, (i + 1).min(rows.end - 1)].map(|panel| &a.panel(panel)[along.clone()]);
            let left = &two[..(rows.end - i).min(2)];
            for j in columns.clone().step_by(2) {
                let last = columns.end - 1;
                let right = [j, (j + 1).min(last)].map(|panel| &b.panel(panel)[along.clone()]);
                let height = out.rows.min(rows.end * OUTER) - i * OUTER;
                let width = out.columns.end.min(columns.end * OUTER) - j * OUTER;
                let stride = out.columns.len();
                // SAFETY: the cell lies inside `out`, and `height` and `width` were cut to what is ours.
                unsafe {
                    let at = i * OUTER * stride + j * OUTER - out.columns.start;
                    let size = (height.min(2 * OUTER), width.min(2 * OUTER));
                    cut_block(unit, out.start.add(at), stride, size, write, left, right);
                }
            }
        }
    }
}

/// [`block`] of which only the first `size` rows and columns are wanted.
///
/// # Safety
/// As there, for the wanted cells.
unsafe fn cut_block(
    unit: Unit,
    out: *mut f32,
    stride: usize,
    size: (usize, usize),
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    if size == (2 * OUTER, 2 * OUTER) {
        // SAFETY: a whole block of two left panels fits at `out`, and it is ours.
        return unsafe { block(unit, out, stride, 2 * OUTER, write, left, right) };
    }
    let (height, width) = size;
    let mut whole = Block([0.0; 4 * OUTER * OUTER]);
    if write == Write::Add {
        // The sums go on from what is there, as in a whole block: a row's bits must not depend on how many follow it.
        for (row, sums) in whole.0.chunks_exact_mut(2 * OUTER).take(height).enumerate() {
            // SAFETY: the caller vouches for `height` rows of `width` numbers.
            let cells = unsafe { std::slice::from_raw_parts(out.add(row * stride), width) };
            sums[..width].copy_from_slice(cells);
        }
    }
    // SAFETY: `whole` is as large as a block.
    unsafe {
        let whole = whole.0.as_mut_ptr();
        block(unit, whole, 2 * OUTER, height, write, left, right);
    }
    for (row, sums) in whole.0.chunks_exact(2 * OUTER).take(height).enumerate() {
        // SAFETY: the caller vouches for `height` rows of `width` numbers.
        let cells = unsafe { std::slice::from_raw_parts_mut(out.add(row * stride), width) };
        cells.copy_from_slice(&sums[..width]);
    }
}

#[repr(align(64))]
struct Block([f32; 4 * OUTER * OUTER]);

/// Multiplies one or two left panels with two right ones into a block of 16 or 32 rows of 32, of which the first `height` are
/// wanted: the others may be written or not. Left panels are as long as right ones, [`TASK_DEPTH`] tiles at most.
///
/// # Safety
/// `out` points to these rows, `stride` numbers apart, of which the first 32 numbers are this call's alone to write.
unsafe fn block(
    unit: Unit,
    out: *mut f32,
    stride: usize,
    height: usize,
    write: Write,
    left: &[&[Tile]],
    right: [&[Tile]; 2],
) {
    // SAFETY: the caller vouches for `out`; `Unit::available` offered the unit, and `blocks` has set AMX up.
    unsafe {
        match unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => amx::block(out, stride, write, left, right),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => avx512::block(out, stride, height, write, left, right),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => avx2::block(out, stride, height, write, left, right),
            _ => portable::block(out, stride, height, write, left, right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;
    use proptest::prelude::*;

    fn numbers(len: usize, step: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * step) % 1013) as f32 / 313.0 - 1.6)
            .collect()
    }

    /// The product of the rounded factors in float64.
    fn right_answer(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f64> {
        let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k)
                    .map(|x| round(a[i * k + x]) * round(b[x * n + j]))
                    .sum();
            }
        }
        out
    }

    fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns)
            .map(|i| x[i % rows * columns + i / rows])
            .collect()
    }

    fn check(m: usize, k: usize, n: usize) {
        let (a, b) = (numbers(m * k, 7919), numbers(k * n, 104_729));
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        let right = right_answer(m, k, n, &a, &b);
        let lefts = [Matrix::new(&a, m, k), Matrix::new(&at, k, m).transposed()];
        let rights = [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).transposed()];
        for unit in Unit::available() {
            for left in lefts.map(Panels::left) {
                for right_panels in rights.map(Panels::right) {
                    let start = numbers(m * n, 31);
                    let mut sum = start.clone();
                    matmul_with(unit, &mut sum, Write::Add, &left, &right_panels);
                    let mut out = start.clone();
                    matmul_with(unit, &mut out, Write::Replace, &left, &right_panels);
                    for i in 0..m * n {
                        let near = 1e-5 * (k as f64).sqrt() * 4.0 + 1e-6 * right[i].abs();
                        assert!(
                            (f64::from(out[i]) - right[i]).abs() <= near,
                            "{unit:?} [{m},{k}]x[{k},{n}] {i}: {} {}",
                            out[i],
                            right[i]
                        );
                        assert!(
                            (f64::from(sum[i]) - right[i] - f64::from(start[i])).abs()
                                <= near + 1e-5,
                            "{unit:?} add {i}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn whole_blocks_edges_and_single_rows() {
        for (m, k, n) in [
            (32, 32, 32),
            (64, 96, 96),
            (1, 576, 33),
            (17, 31, 15),
            (33, 1, 49),
            (300, 64, 600),
            (5, 0, 4),
            (0, 3, 4),
        ] {
            check(m, k, n);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_shape_is_right(m in 1usize..70, k in 1usize..100, n in 1usize..70) {
            check(m, k, n);
        }
    }

    #[test]
    fn the_rows_beside_it_change_no_bit_of_a_row() {
        let (k, n) = (600, 70);
        let (a, b) = (numbers(33 * k, 7919), numbers(k * n, 31));
        let right = Panels::right(Matrix::new(&b, k, n));
        for unit in Unit::available() {
            let product = |rows: usize| {
                let left = Panels::left(Matrix::new(&a[..rows * k], rows, k));
                let mut out = vec![9.0; rows * n];
                matmul_with(unit, &mut out, Write::Replace, &left, &right);
                out
            };
            let all = product(33);
            for rows in 1..33 {
                assert!(product(rows) == all[..rows * n], "{unit:?}, {rows} rows");
            }
        }
    }

    #[test]
    fn columns_are_those_of_the_whole_product() {
        for (m, k, n) in [(1, 33, 96), (17, 600, 333), (70, 0, 70)] {
            let a = Panels::left(Matrix::new(&numbers(m * k, 7919), m, k));
            let b = Panels::right(Matrix::new(&numbers(k * n, 31), k, n));
            let mut whole = vec![0.0; m * n];
            matmul(&mut whole, Write::Replace, &a, &b);
            for columns in [0..n, 16..17, 64..n, 32..32] {
                let mut part = vec![9.0; m * columns.len()];
                matmul_columns(&mut part, &a, &b, columns.clone());
                let rows = whole.chunks(n).flat_map(|row| &row[columns.clone()]);
                assert!(part.iter().eq(rows), "{columns:?} of [{m}, {n}]");
            }
        }
    }

    #[test]
    fn a_column_is_what_was_packed() {
        for (k, n) in [(1, 1), (33, 17), (64, 48)] {
            let b = numbers(k * n, 104_729);
            let panels = Panels::right(Matrix::new(&b, k, n));
            for column in 0..n {
                let mut out = vec![9.0; k];
                panels.column(column, &mut out);
                for (i, out) in out.into_iter().enumerate() {
                    let right = bf16::from_f32(b[i * n + column]).to_f32();
                    assert_eq!(out, right, "[{k}, {n}] {i} {column}");
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_no_number() {
        let odd = [
            1.0,
            f32::from_bits(0x3f80_8000),
            f32::from_bits(0x3f81_8000),
            f32::NAN,
            f32::INFINITY,
            -0.0,
            1e-40,
            f32::MAX,
            f32::from_bits(0x7f80_0001),
        ];
        for x in odd {
            let ours = pack::round(x);
            let right = bf16::from_f32(x);
            if x.is_nan() {
                assert!(bf16::from_bits(ours as u16).is_nan());
            } else {
                assert_eq!(ours as u16, right.to_bits(), "{x}");
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (m, k, n) = (100, 200, 1100);
        let (a, b) = (numbers(m * k, 7), numbers(k * n, 5));
        let product = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut out = vec![0.0; m * n];
                matmul(
                    &mut out,
                    Write::Replace,
                    &Panels::left(Matrix::new(&a, m, k)),
                    &Panels::right(Matrix::new(&b, k, n)),
                );
                out
            })
        };
        assert_eq!(product(1), product(3));
    }
}
