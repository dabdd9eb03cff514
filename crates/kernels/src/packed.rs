//! Products in float32 with a right factor that is packed once and multiplied often, in float32 or rounded to bfloat16.
//!
//! Decoding multiplies a few rows, from one to some hundred, with the same weights again and again. A general matrix
//! product packs both factors every time, which for few rows costs more than the product. Here the right factor lies in
//! panels for good, and the left one is read where it is.
//!
//! ```text
//! panel   32 columns of the right factor, row after row: 2 vectors of 16 a row, edges padded with zeros
//! gated   16 columns of one right factor and the same 16 of another
//! ```
//!
//! A row of a panel in bfloat16 is one line of cache. Of its 16 words of 32 bits the first eight hold columns 0 to 7 in their lower
//! halves and 8 to 15 in their upper ones, the others columns 16 to 31 likewise: a shift or a mask makes a vector of float32 of
//! them, since a bfloat16 number is the upper half of a float32 one. The left factor is not rounded. This is for CPUs that have no
//! instruction for bfloat16; for the others there is [`bf16`](crate::bf16).
//!
//! A kernel keeps up to 12 rows x 32 columns of sums in registers and walks down a panel once: two loads, twelve broadcasts
//! and 24 multiply-adds a line. With half as wide vectors, and half as many, it walks down half a panel with up to 6 rows, or
//! a whole one with up to 3. There is a kernel for every number of rows up to 12, and more rows are cut into equal
//! parts: 14 rows are 7 and 7, two walks, not 12 and 2, of which the second would wait for memory and not multiply. A panel of 576 rows takes 72 KiB and stays in the second-level cache while the rows of the
//! left factor pass by.
//!
//! Every sum runs down its panel in order, so neither the number of threads nor the number of rows changes a bit.

use std::ops::Range;

use rayon::prelude::*;

use crate::pages::Pages;
use crate::simd::exp;
use crate::{Matrix, Write, team};

/// Columns of a panel.
const WIDTH: usize = 32;

/// Columns of each of the two factors in a panel of a gated product: one vector.
const HALF: usize = WIDTH / 2;

/// Rows of the left factor that one task multiplies with its panels: they stay in the second-level cache.
const TASK_ROWS: usize = 96;

/// A row of a panel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line<T = f32>([T; WIDTH]);

/// How the numbers of a right factor are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As they are.
    F32,
    /// Rounded to bfloat16, and widened whenever they are multiplied.
    Bf16,
}

/// Rows of panels.
#[derive(Clone, Debug)]
enum Lines {
    F32(Pages<Line>),
    Bf16(Pages<Line<Half>>),
}

/// A number of a panel.
trait Number: Copy + Send + Sync {
    const ZERO: Self;

    fn set(line: &mut Line<Self>, column: usize, value: f32);

    fn get(line: &Line<Self>, column: usize) -> f32;

    /// The lines themselves, if they are float32: what the kernel for AVX-512 reads.
    fn as_f32(lines: &[Line<Self>]) -> Option<&[Line]>;

    /// V vectors of eight columns from column `from` on; V is even and `from` a multiple of [`HALF`].
    ///
    /// # Safety
    /// The CPU has AVX2, and the columns lie in the line.
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx2<const V: usize>(
        line: &Line<Self>,
        from: usize,
    ) -> [std::arch::x86_64::__m256; V];
}

impl Number for f32 {
    const ZERO: Self = 0.0;

    fn set(line: &mut Line, column: usize, value: f32) {
        line.0[column] = value;
    }

    fn get(line: &Line, column: usize) -> f32 {
        line.0[column]
    }

    fn as_f32(lines: &[Line]) -> Option<&[Line]> {
        Some(lines)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const V: usize>(line: &Line, from: usize) -> [std::arch::x86_64::__m256; V] {
        debug_assert!(from + 8 * V <= WIDTH);
        // SAFETY: a line is 32 aligned numbers, and the caller vouches for the columns.
        std::array::from_fn(|v| unsafe {
            std::arch::x86_64::_mm256_load_ps(line.0.as_ptr().add(from + 8 * v))
        })
    }
}

/// The upper half of a float32 number.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Half(u16);

impl Half {
    /// Where a column lies in its line.
    fn place(column: usize) -> usize {
        column / HALF * HALF + column % 8 * 2 + column / 8 % 2
    }
}

impl Number for Half {
    const ZERO: Self = Self(0);

    fn set(line: &mut Line<Self>, column: usize, value: f32) {
        line.0[Self::place(column)] = Self(crate::bf16::round(value));
    }

    fn get(line: &Line<Self>, column: usize) -> f32 {
        f32::from_bits(u32::from(line.0[Self::place(column)].0) << 16)
    }

    fn as_f32(_: &[Line<Self>]) -> Option<&[Line]> {
        None
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const V: usize>(
        line: &Line<Self>,
        from: usize,
    ) -> [std::arch::x86_64::__m256; V] {
        use std::arch::x86_64::*;
        debug_assert!(V.is_multiple_of(2) && from.is_multiple_of(HALF) && from + 8 * V <= WIDTH);
        std::array::from_fn(|v| {
            // SAFETY: a line is 64 aligned bytes, and 16 columns from a multiple of 16 on are half of them.
            let words = unsafe {
                let start = line.0.as_ptr().add(from + v / 2 * HALF);
                _mm256_load_si256(start.cast())
            };
            _mm256_castsi256_ps(if v % 2 == 0 {
                _mm256_slli_epi32::<16>(words)
            } else {
                _mm256_and_si256(words, _mm256_set1_epi32(!0xffff))
            })
        })
    }
}

/// A right factor `[k, n]` in panels, or two of them for a gated product; see the [module](self) for the layout.
#[derive(Clone, Debug)]
pub struct Packed {
    lines: Lines,
    inner: usize,
    outer: usize,
    /// Whether panels hold columns of two factors.
    gated: bool,
}

impl Packed {
    /// Packs a right factor.
    #[must_use]
    pub fn right(kept: Kept, b: Matrix<'_>) -> Self {
        let lines = match kept {
            Kept::F32 => Lines::F32(right(b)),
            Kept::Bf16 => Lines::Bf16(right(b)),
        };
        Self {
            lines,
            inner: b.rows,
            outer: b.columns,
            gated: false,
        }
    }

    /// Packs two right factors of one shape for [`gated_matmul`].
    ///
    /// # Panics
    /// When their shapes differ.
    #[must_use]
    pub fn gated(kept: Kept, gate: Matrix<'_>, up: Matrix<'_>) -> Self {
        let (inner, outer) = (gate.rows, gate.columns);
        assert_eq!((inner, outer), (up.rows, up.columns), "shapes differ");
        let lines = match kept {
            Kept::F32 => Lines::F32(gated(gate, up)),
            Kept::Bf16 => Lines::Bf16(gated(gate, up)),
        };
        Self {
            lines,
            inner,
            outer,
            gated: true,
        }
    }

    /// Columns.
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
        match &self.lines {
            Lines::F32(lines) => std::mem::size_of_val(&lines[..]),
            Lines::Bf16(lines) => std::mem::size_of_val(&lines[..]),
        }
    }

    /// Copies one column of the right factor, [`inner`](Self::inner) numbers, as they are kept.
    ///
    /// # Panics
    /// For a column that it has not, an `out` of another length, and factors of a gated product.
    pub fn column(&self, column: usize, out: &mut [f32]) {
        fn copy<T: Number>(lines: &[Line<T>], column: usize, out: &mut [f32]) {
            let panel = column / WIDTH * out.len();
            for (out, line) in out.iter_mut().zip(&lines[panel..]) {
                *out = T::get(line, column % WIDTH);
            }
        }
        assert!(column < self.outer && !self.gated, "column {column}");
        assert_eq!(out.len(), self.inner, "a column's numbers");
        match &self.lines {
            Lines::F32(lines) => copy(lines, column, out),
            Lines::Bf16(lines) => copy(lines, column, out),
        }
    }

    fn panel_columns(&self) -> usize {
        if self.gated { HALF } else { WIDTH }
    }
}

fn right<T: Number>(b: Matrix<'_>) -> Pages<Line<T>> {
    panels(b.rows, b.columns.div_ceil(WIDTH), |panel, lines| {
        let from = panel * WIDTH;
        columns(lines, 0, b, from..(from + WIDTH).min(b.columns));
    })
}

fn gated<T: Number>(gate: Matrix<'_>, up: Matrix<'_>) -> Pages<Line<T>> {
    panels(gate.rows, gate.columns.div_ceil(HALF), |panel, lines| {
        let from = panel * HALF;
        let range = from..(from + HALF).min(gate.columns);
        columns(lines, 0, gate, range.clone());
        columns(lines, HALF, up, range);
    })
}

/// Panels of `inner` rows filled by `fill`, which is given each one's number and lines of zeros.
fn panels<T: Number>(
    inner: usize,
    count: usize,
    fill: impl Fn(usize, &mut [Line<T>]) + Sync,
) -> Pages<Line<T>> {
    Pages::new(inner * count, Line([T::ZERO; WIDTH]), |lines| {
        lines
            .par_chunks_mut(inner.max(1))
            .enumerate()
            .for_each(|(panel, lines)| fill(panel, lines));
    })
}

/// Copies columns of a factor into a panel, from column `at` of the panel on.
fn columns<T: Number>(lines: &mut [Line<T>], at: usize, b: Matrix<'_>, range: Range<usize>) {
    for (column, to) in range.zip(at..) {
        let start = column * b.column_stride;
        for (row, line) in lines.iter_mut().enumerate() {
            T::set(line, to, b.data[start + row * b.row_stride]);
        }
    }
}

/// `out = a b` (or `+=`) on all threads; `out` is `[a.rows, b.outer]` and `a` `[a.rows, b.inner]`, both row-major and
/// dense.
///
/// # Panics
/// When shapes do not fit, or `b` was packed for [`gated_matmul`].
pub fn matmul(out: &mut [f32], write: Write, a: &[f32], b: &Packed) {
    assert!(!b.gated, "two factors");
    let store = match write {
        Write::Replace => Store::Replace,
        Write::Add => Store::Add,
    };
    divided(out, store, a, b);
}

/// `out = silu(a gate) * (a up)` on all threads, element by element, where `b` holds `gate` and `up`; shapes as in [`matmul`].
///
/// # Panics
/// When shapes do not fit, or `b` is one factor.
pub fn gated_matmul(out: &mut [f32], a: &[f32], b: &Packed) {
    assert!(b.gated, "one factor");
    divided(out, Store::Gated, a, b);
}

/// `out = a b[.., columns]` on this thread; `out` is `[a.rows, columns.len()]`.
///
/// # Panics
/// When shapes do not fit, `columns` does not begin with a panel of 32, or `b` was packed for [`gated_matmul`].
pub fn matmul_columns(out: &mut [f32], a: &[f32], b: &Packed, columns: Range<usize>) {
    let (k, n) = (b.inner, columns.len());
    assert!(!b.gated, "two factors");
    assert!(columns.start.is_multiple_of(WIDTH) && columns.end <= b.outer);
    let Some(rows) = out.len().checked_div(n) else {
        return;
    };
    assert_eq!(
        (out.len(), a.len()),
        (rows * n, rows * k),
        "[{rows}, {k}] x [{k}, {n}]"
    );
    if k == 0 {
        return out.fill(0.0);
    }
    let panels = columns.start / WIDTH..columns.end.div_ceil(WIDTH);
    let out = Output {
        start: out.as_mut_ptr(),
        columns,
        store: Store::Replace,
    };
    let next = panels.end;
    // SAFETY: all of `out` is ours.
    unsafe { block(&out, a, 0..rows, b, panels, next) };
}

fn divided(out: &mut [f32], store: Store, a: &[f32], b: &Packed) {
    let (k, n) = (b.inner, b.outer);
    assert!(n == 0 || out.len().is_multiple_of(n));
    let m = out.len().checked_div(n).unwrap_or(0);
    assert_eq!(a.len(), m * k, "the left factor is [{m}, {k}]");
    if m == 0 || k == 0 {
        if store != Store::Add {
            out.fill(0.0);
        }
        return;
    }
    let panels = n.div_ceil(b.panel_columns());
    let down = m.div_ceil(TASK_ROWS);
    let threads = team::threads();
    // Enough tasks that threads which are held up do not hold up the others.
    let across = (4 * threads).div_ceil(down).clamp(1, panels);
    let width = panels.div_ceil(across);
    let across = panels.div_ceil(width);
    let out = Output {
        start: out.as_mut_ptr(),
        columns: 0..n,
        store,
    };
    team::for_each(down * across, |task| {
        let rows = task / across * TASK_ROWS..((task / across + 1) * TASK_ROWS).min(m);
        let columns = task % across * width..((task % across + 1) * width).min(panels);
        // Where this thread goes on if all are as fast.
        let next = (task + threads) % across * width;
        // SAFETY: blocks of different tasks do not overlap, and the borrow of `out` outlives the loop.
        unsafe { block(&out, a, rows, b, columns, next) };
    });
}

/// What becomes of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Replace,
    Add,
    /// Half of them gates the other half.
    Gated,
}

/// A matrix of which each task writes its own block.
struct Output {
    start: *mut f32,
    /// The columns of the product that it holds.
    columns: Range<usize>,
    store: Store,
}

// SAFETY: tasks write to disjoint blocks, see `divided`.
unsafe impl Sync for Output {}

/// Multiplies some rows with some panels. `next` is the panel that will be wanted afterwards.
///
/// # Safety
/// The rows and panels of `out` are this call's alone to write.
unsafe fn block(
    out: &Output,
    a: &[f32],
    rows: Range<usize>,
    b: &Packed,
    panels: Range<usize>,
    next: usize,
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        match &b.lines {
            Lines::F32(lines) => block_of(out, a, rows, b, lines, panels, next),
            Lines::Bf16(lines) => block_of(out, a, rows, b, lines, panels, next),
        }
    }
}

/// # Safety
/// As [`block`]; `all` are the lines of `b`.
unsafe fn block_of<T: Number>(
    out: &Output,
    a: &[f32],
    rows: Range<usize>,
    b: &Packed,
    all: &[Line<T>],
    panels: Range<usize>,
    next: usize,
) {
    let vectors = Vectors::detect();
    let walks = rows.len().div_ceil(MOST_ROWS);
    for panel in panels.clone() {
        let lines = &all[panel * b.inner..][..b.inner];
        let from = panel * b.panel_columns();
        let width = b.panel_columns().min(out.columns.end - from);
        let next = if panel + 1 < panels.end {
            panel + 1
        } else {
            next
        };
        let mut row = rows.start;
        for walk in 0..walks {
            let count = (rows.end - row).div_ceil(walks - walk);
            let left = &a[row * b.inner..][..count * b.inner];
            let mut sums = [Line([0.0; WIDTH]); MOST_ROWS];
            let fetch = if walks == 1 {
                Fetch::ahead(lines)
            } else {
                let start = all.as_ptr().wrapping_add(next * b.inner);
                Fetch::share(start, b.inner, walk, walks)
            };
            products(vectors, &mut sums[..count], left, lines, fetch);
            for (i, sums) in sums[..count].iter().enumerate() {
                // SAFETY: row and columns lie inside `out`, and they are ours.
                let cells = unsafe {
                    let at = (row + i) * out.columns.len() + from - out.columns.start;
                    std::slice::from_raw_parts_mut(out.start.add(at), width)
                };
                match out.store {
                    Store::Replace => cells.copy_from_slice(&sums.0[..width]),
                    Store::Add => cells
                        .iter_mut()
                        .zip(&sums.0)
                        .for_each(|(cell, sum)| *cell += sum),
                    Store::Gated => gate(cells, &sums.0),
                }
            }
            row += count;
        }
    }
}

crate::multiversion! {
    fn gate(out: &mut [f32], sums: &[f32; WIDTH]) {
        let mut all = [0.0; HALF];
        for i in 0..HALF {
            let gate = sums[i];
            all[i] = gate / (1.0 + exp(-gate)) * sums[HALF + i];
        }
        out.copy_from_slice(&all[..out.len()]);
    }
}

/// What is brought into the cache while a panel is multiplied. Memory is slower than the products of few rows, and the
/// hardware does not look beyond a page.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Fetch {
    from: *const i8,
    /// Bytes further for each line that is multiplied.
    stride: usize,
}

/// How far ahead the lines of a panel are fetched that is walked once.
const LINES_AHEAD: usize = 32;

impl Fetch {
    /// The same panel, some lines ahead, and beyond its end what follows it.
    fn ahead<T>(lines: &[Line<T>]) -> Self {
        Self {
            from: lines.as_ptr().wrapping_add(LINES_AHEAD).cast(),
            stride: size_of::<Line<T>>(),
        }
    }

    /// One of `walks` shares of another panel: while rows pass by this one, the memory brings the next one.
    fn share<T>(panel: *const Line<T>, lines: usize, walk: usize, walks: usize) -> Self {
        let bytes = lines * size_of::<Line<T>>();
        Self {
            from: panel.cast::<i8>().wrapping_add(bytes * walk / walks),
            stride: size_of::<Line<T>>().div_ceil(walks),
        }
    }
}

const MOST_ROWS: usize = 12;

/// The vectors that this CPU multiplies and adds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Vectors {
    Avx512,
    Avx2,
    Plain,
}

impl Vectors {
    /// Those that work here, best first.
    fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [
            std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512),
            (std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma"))
            .then_some(Self::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let found = [None, None];
        found.into_iter().flatten().chain([Self::Plain])
    }

    fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Plain)
    }
}

/// `sums = left * lines`; 1 to [`MOST_ROWS`] rows.
fn products<T: Number>(
    vectors: Vectors,
    sums: &mut [Line],
    left: &[f32],
    lines: &[Line<T>],
    fetch: Fetch,
) {
    assert!((1..=MOST_ROWS).contains(&sums.len()) && left.len() == sums.len() * lines.len());
    #[cfg(target_arch = "x86_64")]
    if let (Vectors::Avx512, Some(lines)) = (vectors, T::as_f32(lines)) {
        // SAFETY: the feature was detected; slices have the lengths that the kernel reads.
        unsafe {
            match sums.len() {
                1 => avx512::<1>(sums, left, lines, fetch),
                2 => avx512::<2>(sums, left, lines, fetch),
                3 => avx512::<3>(sums, left, lines, fetch),
                4 => avx512::<4>(sums, left, lines, fetch),
                5 => avx512::<5>(sums, left, lines, fetch),
                6 => avx512::<6>(sums, left, lines, fetch),
                7 => avx512::<7>(sums, left, lines, fetch),
                8 => avx512::<8>(sums, left, lines, fetch),
                9 => avx512::<9>(sums, left, lines, fetch),
                10 => avx512::<10>(sums, left, lines, fetch),
                11 => avx512::<11>(sums, left, lines, fetch),
                _ => avx512::<12>(sums, left, lines, fetch),
            }
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if vectors != Vectors::Plain {
        // Parts as equal as can be, of 6 rows at most.
        let inner = lines.len();
        let (mut sums, mut left) = (sums, left);
        for parts in (1..=sums.len().div_ceil(6)).rev() {
            let count = sums.len().div_ceil(parts);
            let (these, rest) = sums.split_at_mut(count);
            let (rows, others) = left.split_at(count * inner);
            // SAFETY: the features were detected; slices have the lengths that the kernels read.
            unsafe {
                match count {
                    1 => avx2::<T, 1, 4>(these, rows, lines, 0, fetch),
                    2 => avx2::<T, 2, 4>(these, rows, lines, 0, fetch),
                    3 => avx2::<T, 3, 4>(these, rows, lines, 0, fetch),
                    4 => halves::<T, 4>(these, rows, lines, fetch),
                    5 => halves::<T, 5>(these, rows, lines, fetch),
                    _ => halves::<T, 6>(these, rows, lines, fetch),
                }
            }
            (sums, left) = (rest, others);
        }
        return;
    }
    let _ = (vectors, fetch);
    portable(sums, left, lines);
}

/// # Safety
/// As [`avx2`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn halves<T: Number, const R: usize>(
    sums: &mut [Line],
    left: &[f32],
    lines: &[Line<T>],
    fetch: Fetch,
) {
    for from in [0, HALF] {
        // SAFETY: the caller vouches for it.
        unsafe { avx2::<T, R, 2>(sums, left, lines, from, fetch) };
    }
}

/// The sums of V vectors of eight columns, the first of which is column `from` of each line.
///
/// # Safety
/// The CPU has AVX2 and FMA; `sums` has R lines, `left` R rows as long as `lines`, and the columns lie in a line.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<T: Number, const R: usize, const V: usize>(
    sums: &mut [Line],
    left: &[f32],
    lines: &[Line<T>],
    from: usize,
    fetch: Fetch,
) {
    use std::arch::x86_64::*;
    let inner = lines.len();
    debug_assert!(sums.len() == R && left.len() == R * inner && from + 8 * V <= WIDTH);
    let mut registers = [[_mm256_setzero_ps(); V]; R];
    let mut ahead = fetch.from.wrapping_add(from * size_of::<T>());
    for (i, line) in lines.iter().enumerate() {
        // SAFETY: a line is 32 aligned numbers; row r of `left` has number i. A prefetch may point anywhere.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            if V == 4 && size_of::<Line<T>>() > 64 {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            }
            ahead = ahead.wrapping_add(fetch.stride);
            let b: [__m256; V] = T::avx2(line, from);
            for (r, sums) in registers.iter_mut().enumerate() {
                let a = _mm256_set1_ps(*left.get_unchecked(r * inner + i));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm256_fmadd_ps(a, b, *sum);
                }
            }
        }
    }
    for (line, registers) in sums.iter_mut().zip(registers) {
        for (v, register) in registers.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm256_store_ps(line.0.as_mut_ptr().add(from + 8 * v), register) };
        }
    }
}

/// # Safety
/// The CPU has AVX-512F; `sums` has R lines, `left` R rows as long as `lines`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(sums: &mut [Line], left: &[f32], lines: &[Line], fetch: Fetch) {
    use std::arch::x86_64::*;
    let inner = lines.len();
    debug_assert!(sums.len() == R && left.len() == R * inner);
    let mut registers = [[_mm512_setzero_ps(); 2]; R];
    let mut ahead = fetch.from;
    for (i, line) in lines.iter().enumerate() {
        // SAFETY: a line is 32 aligned numbers; row r of `left` has number i. A prefetch may point anywhere.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            ahead = ahead.wrapping_add(fetch.stride);
            let b = [
                _mm512_load_ps(line.0.as_ptr()),
                _mm512_load_ps(line.0.as_ptr().add(16)),
            ];
            for (r, sums) in registers.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*left.get_unchecked(r * inner + i));
                sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
            }
        }
    }
    for (line, registers) in sums.iter_mut().zip(registers) {
        // SAFETY: as above.
        unsafe {
            _mm512_store_ps(line.0.as_mut_ptr(), registers[0]);
            _mm512_store_ps(line.0.as_mut_ptr().add(16), registers[1]);
        }
    }
}

fn portable<T: Number>(sums: &mut [Line], left: &[f32], lines: &[Line<T>]) {
    for (sums, row) in sums.iter_mut().zip(left.chunks_exact(lines.len())) {
        let mut total = [0.0f32; WIDTH];
        for (&a, line) in row.iter().zip(lines) {
            for (column, total) in total.iter_mut().enumerate() {
                *total += a * T::get(line, column);
            }
        }
        sums.0 = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(len: usize, step: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * step) % 1013) as f32 / 313.0 - 1.6)
            .collect()
    }

    #[test]
    fn columns_are_what_was_packed() {
        for (k, n) in [(1, 1), (7, 40), (64, 32)] {
            let b = numbers(k * n, 104_729);
            for kept in [Kept::F32, Kept::Bf16] {
                let packed = Packed::right(kept, Matrix::new(&b, k, n));
                for column in 0..n {
                    let mut out = vec![9.0; k];
                    packed.column(column, &mut out);
                    for (i, out) in out.into_iter().enumerate() {
                        let right = match kept {
                            Kept::F32 => b[i * n + column],
                            Kept::Bf16 => half::bf16::from_f32(b[i * n + column]).to_f32(),
                        };
                        assert_eq!(out, right, "{kept:?} [{k}, {n}] {i} {column}");
                    }
                }
            }
        }
    }

    fn check(m: usize, k: usize, n: usize) {
        let (a, b, start) = (
            numbers(m * k, 7919),
            numbers(k * n, 104_729),
            numbers(m * n, 31),
        );
        let right: Vec<f64> = (0..m * n)
            .map(|at| {
                (0..k)
                    .map(|x| f64::from(a[at / n * k + x]) * f64::from(b[x * n + at % n]))
                    .sum()
            })
            .collect();
        let flipped: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
        for packed in [
            Packed::right(Kept::F32, Matrix::new(&b, k, n)),
            Packed::right(Kept::F32, Matrix::new(&flipped, n, k).transposed()),
        ] {
            let (mut out, mut sum) = (start.clone(), start.clone());
            matmul(&mut out, Write::Replace, &a, &packed);
            matmul(&mut sum, Write::Add, &a, &packed);
            let near = 1e-5 * (k as f64 + 1.0);
            for i in 0..m * n {
                assert!((f64::from(out[i]) - right[i]).abs() < near);
                assert!((f64::from(sum[i]) - right[i] - f64::from(start[i])).abs() < near);
            }
        }
    }

    /// What is kept in bfloat16 multiplies as the rounded numbers do in float32, bit by bit.
    fn check_rounded(m: usize, k: usize, n: usize) {
        let (a, b) = (numbers(m * k, 7919), numbers(k * n, 104_729));
        let rounded: Vec<f32> = b
            .iter()
            .map(|&x| half::bf16::from_f32(x).to_f32())
            .collect();
        let [narrow, wide] = [(Kept::Bf16, &b), (Kept::F32, &rounded)].map(|(kept, b)| {
            let b = Matrix::new(b, k, n);
            let mut out = vec![0.5; m * n];
            matmul(&mut out, Write::Add, &a, &Packed::right(kept, b));
            let mut gate = vec![0.0; m * n];
            gated_matmul(&mut gate, &a, &Packed::gated(kept, b, b));
            (out, gate)
        });
        // The kernels of AVX-512 and those for bfloat16 both fuse multiplication and addition, as those of AVX2 do.
        assert!(narrow == wide, "[{m}, {k}] x [{k}, {n}]");
        let b = Matrix::new(&b, k, n);
        let [narrow, wide] = [Kept::Bf16, Kept::F32].map(|kept| Packed::right(kept, b).bytes());
        assert_eq!(2 * narrow, wide);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_shape_is_right(m in 0usize..40, k in 0usize..60, n in 1usize..100) {
            check(m, k, n);
            check_rounded(m, k, n);
        }
    }

    #[test]
    fn all_vectors_agree_and_a_row_has_the_bits_it_has_alone() {
        all_vectors_agree::<f32>();
        all_vectors_agree::<Half>();
    }

    fn all_vectors_agree<T: Number>() {
        let inner = 37;
        let line = |i: usize| {
            let mut line = Line([T::ZERO; WIDTH]);
            for c in 0..WIDTH {
                T::set(&mut line, c, ((i * 31 + c * 7) % 19) as f32 / 9.0 - 1.0);
            }
            line
        };
        let lines: Vec<Line<T>> = (0..inner).map(line).collect();
        let left = numbers(MOST_ROWS * inner, 7919);
        for vectors in Vectors::available() {
            let product = |left: &[f32]| {
                let mut sums = vec![Line([9.0; WIDTH]); left.len() / inner];
                products(vectors, &mut sums, left, &lines, Fetch::ahead(&lines));
                sums
            };
            let alone: Vec<Line> = left.chunks_exact(inner).flat_map(product).collect();
            for (row, sums) in left.chunks_exact(inner).zip(&alone) {
                for (column, &sum) in sums.0.iter().enumerate() {
                    let terms = row.iter().zip(&lines);
                    let right: f64 = terms
                        .map(|(&a, line)| f64::from(a) * f64::from(T::get(line, column)))
                        .sum();
                    assert!((f64::from(sum) - right).abs() < 1e-4, "{vectors:?}");
                }
            }
            for rows in 1..=MOST_ROWS {
                let together = product(&left[..rows * inner]);
                let same = together.iter().zip(&alone).all(|(a, b)| a.0 == b.0);
                assert!(same, "{vectors:?}, {rows} rows");
            }
        }
    }

    #[test]
    fn tall_and_wide_ones_are_right() {
        check(205, 33, 70);
        check(3, 20, 1000);
    }

    #[test]
    fn gated_products_are_two_products_gated() {
        for (m, k, n) in [(1, 20, 1), (5, 33, 16), (14, 40, 75), (100, 7, 200)] {
            let a = numbers(m * k, 7919);
            let (gate, up) = (numbers(k * n, 31), numbers(k * n, 104_729));
            let (gate, up) = (Matrix::new(&gate, k, n), Matrix::new(&up, k, n));
            let mut out = vec![9.0; m * n];
            gated_matmul(&mut out, &a, &Packed::gated(Kept::F32, gate, up));
            let [gates, ups] = [gate, up].map(|b| {
                let mut out = vec![0.0; m * n];
                matmul(&mut out, Write::Replace, &a, &Packed::right(Kept::F32, b));
                out
            });
            for ((out, gate), up) in out.iter().zip(gates).zip(ups) {
                let right = f64::from(gate) / (1.0 + f64::from(-gate).exp()) * f64::from(up);
                assert!((f64::from(*out) - right).abs() < 1e-5 * (1.0 + right.abs()));
            }
        }
    }

    #[test]
    fn columns_are_those_of_the_whole_product() {
        for (m, k, n) in [(1, 20, 96), (13, 33, 333), (130, 7, 70), (70, 0, 70)] {
            let a = numbers(m * k, 7919);
            let packed = Packed::right(Kept::F32, Matrix::new(&numbers(k * n, 31), k, n));
            let mut whole = vec![0.0; m * n];
            matmul(&mut whole, Write::Replace, &a, &packed);
            for columns in [0..n, 32..33, 64..n, 32..32] {
                let mut part = vec![9.0; m * columns.len()];
                matmul_columns(&mut part, &a, &packed, columns.clone());
                let rows = whole.chunks(n).flat_map(|row| &row[columns.clone()]);
                assert!(part.iter().eq(rows), "{columns:?} of [{m}, {n}]");
            }
        }
    }

    #[test]
    fn neither_threads_nor_other_rows_change_a_bit() {
        let (m, k, n) = (131, 70, 333);
        let (a, b) = (numbers(m * k, 7), numbers(k * n, 5));
        let packed = Packed::right(Kept::F32, Matrix::new(&b, k, n));
        let mut all = vec![0.0; m * n];
        matmul(&mut all, Write::Replace, &a, &packed);
        for row in [0, 5, 96, 130] {
            let mut one = vec![0.0; n];
            matmul(&mut one, Write::Replace, &a[row * k..][..k], &packed);
            assert_eq!(one, all[row * n..][..n]);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        let mut again = vec![0.0; m * n];
        pool.install(|| matmul(&mut again, Write::Replace, &a, &packed));
        assert_eq!(all, again);
    }
}
