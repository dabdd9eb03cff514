//! Float32 products with a right factor that is packed once and multiplied often.
//!
//! Decoding multiplies a few rows, from one to some hundred, with the same weights again and again. A general matrix
//! product packs both factors every time, which for few rows costs more than the product. Here the right factor lies in
//! panels for good, and the left one is read where it is.
//!
//! ```text
//! panel   32 columns of the right factor, row after row: 2 vectors of 16 a row, edges padded with zeros
//! ```
//!
//! A kernel keeps up to 12 rows x 32 columns of sums in registers and walks down a panel once: two loads, twelve broadcasts
//! and 24 multiply-adds a line. There is a kernel for every number of rows up to 12, and more rows are cut into equal
//! parts: 14 rows are 7 and 7, two walks, not 12 and 2, of which the second would wait for memory and not multiply. A panel of 576 rows takes 72 KiB and stays in the second-level cache while the rows of the
//! left factor pass by.
//!
//! Every sum runs down its panel in order, so neither the number of threads nor the number of rows changes a bit.

use std::ops::Range;

use rayon::prelude::*;

use crate::{Matrix, Write};

/// Columns of a panel.
const WIDTH: usize = 32;

/// Rows of the left factor that one task multiplies with its panels: they stay in the second-level cache.
const TASK_ROWS: usize = 96;

/// A row of a panel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; WIDTH]);

/// A right factor `[k, n]` in float32 panels; see the [module](self) for the layout.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    lines: Vec<Line>,
    inner: usize,
    outer: usize,
}

impl Packed {
    /// Packs a right factor.
    #[must_use]
    pub fn right(b: Matrix<'_>) -> Self {
        let (inner, outer) = (b.rows, b.columns);
        let len = inner * outer.div_ceil(WIDTH);
        let mut lines = crate::pages::with_capacity(len);
        lines.resize(len, Line([0.0; WIDTH]));
        lines
            .par_chunks_mut(inner.max(1))
            .enumerate()
            .for_each(|(panel, lines)| {
                let from = panel * WIDTH;
                let width = WIDTH.min(outer - from);
                for column in 0..width {
                    let start = (from + column) * b.column_stride;
                    for (row, line) in lines.iter_mut().enumerate() {
                        line.0[column] = b.data[start + row * b.row_stride];
                    }
                }
            });
        Self {
            lines,
            inner,
            outer,
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
        std::mem::size_of_val(&self.lines[..])
    }

    fn panel(&self, number: usize) -> &[Line] {
        &self.lines[number * self.inner..][..self.inner]
    }
}

/// `out = a b` (or `+=`) on all threads; `out` is `[a.rows, b.outer]` and `a` `[a.rows, b.inner]`, both row-major and
/// dense.
///
/// # Panics
/// When shapes do not fit.
pub fn matmul(out: &mut [f32], write: Write, a: &[f32], b: &Packed) {
    let (k, n) = (b.inner, b.outer);
    assert!(n == 0 || out.len().is_multiple_of(n));
    let m = out.len().checked_div(n).unwrap_or(0);
    assert_eq!(a.len(), m * k, "the left factor is [{m}, {k}]");
    if m == 0 || k == 0 {
        if write == Write::Replace {
            out.fill(0.0);
        }
        return;
    }
    let panels = n.div_ceil(WIDTH);
    let down = m.div_ceil(TASK_ROWS);
    // Enough tasks that threads which are held up do not hold up the others.
    let across = (4 * rayon::current_num_threads())
        .div_ceil(down)
        .clamp(1, panels);
    let width = panels.div_ceil(across);
    let across = panels.div_ceil(width);
    let out = Output {
        start: out.as_mut_ptr(),
        columns: n,
        write,
    };
    (0..down * across).into_par_iter().for_each(|task| {
        let rows = task / across * TASK_ROWS..((task / across + 1) * TASK_ROWS).min(m);
        let columns = task % across * width..((task % across + 1) * width).min(panels);
        // SAFETY: blocks of different tasks do not overlap, and the borrow of `out` outlives the loop.
        unsafe { block(&out, a, rows, b, columns) };
    });
}

/// A matrix of which each task writes its own block.
struct Output {
    start: *mut f32,
    columns: usize,
    write: Write,
}

// SAFETY: tasks write to disjoint blocks, see `matmul`.
unsafe impl Sync for Output {}

/// # Safety
/// The rows and panels of `out` are this call's alone to write.
unsafe fn block(out: &Output, a: &[f32], rows: Range<usize>, b: &Packed, panels: Range<usize>) {
    let wide = has_avx512();
    for panel in panels {
        let lines = b.panel(panel);
        let from = panel * WIDTH;
        let width = WIDTH.min(b.outer - from);
        let mut row = rows.start;
        while row < rows.end {
            let count = step(rows.end - row);
            let left = &a[row * b.inner..][..count * b.inner];
            let mut sums = [Line([0.0; WIDTH]); MOST_ROWS];
            products(wide, &mut sums[..count], left, lines);
            for (i, sums) in sums[..count].iter().enumerate() {
                // SAFETY: row and columns lie inside `out`, and they are ours.
                let cells = unsafe {
                    let at = out.start.add((row + i) * out.columns + from);
                    std::slice::from_raw_parts_mut(at, width)
                };
                match out.write {
                    Write::Replace => cells.copy_from_slice(&sums.0[..width]),
                    Write::Add => cells
                        .iter_mut()
                        .zip(&sums.0)
                        .for_each(|(cell, sum)| *cell += sum),
                }
            }
            row += count;
        }
    }
}

const MOST_ROWS: usize = 12;

/// How far ahead of the products a panel is fetched: few rows wait for memory, and the hardware does not look beyond
/// a page.
const LINES_AHEAD: usize = 6;

/// How many of the remaining rows the next kernel takes: equal parts, as few as there can be.
fn step(left: usize) -> usize {
    left.div_ceil(left.div_ceil(MOST_ROWS))
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// `sums = left * lines`; 1 to 12 rows.
fn products(wide: bool, sums: &mut [Line], left: &[f32], lines: &[Line]) {
    #[cfg(target_arch = "x86_64")]
    if wide {
        // SAFETY: the feature was detected; slices have the lengths that the kernel reads.
        unsafe {
            match sums.len() {
                1 => avx512::<1>(sums, left, lines),
                2 => avx512::<2>(sums, left, lines),
                3 => avx512::<3>(sums, left, lines),
                4 => avx512::<4>(sums, left, lines),
                5 => avx512::<5>(sums, left, lines),
                6 => avx512::<6>(sums, left, lines),
                7 => avx512::<7>(sums, left, lines),
                8 => avx512::<8>(sums, left, lines),
                9 => avx512::<9>(sums, left, lines),
                10 => avx512::<10>(sums, left, lines),
                11 => avx512::<11>(sums, left, lines),
                _ => avx512::<12>(sums, left, lines),
            }
        }
        return;
    }
    let _ = wide;
    portable(sums, left, lines);
}

/// # Safety
/// The CPU has AVX-512F; `sums` has R lines, `left` R rows as long as `lines`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(sums: &mut [Line], left: &[f32], lines: &[Line]) {
    use std::arch::x86_64::*;
    let inner = lines.len();
    debug_assert!(sums.len() == R && left.len() == R * inner);
    let mut registers = [[_mm512_setzero_ps(); 2]; R];
    for (i, line) in lines.iter().enumerate() {
        // SAFETY: a line is 32 aligned numbers; row r of `left` has number i. A prefetch may point anywhere.
        unsafe {
            let ahead = std::ptr::from_ref(line)
                .wrapping_add(LINES_AHEAD)
                .cast::<i8>();
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
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

crate::multiversion! {
    fn portable(sums: &mut [Line], left: &[f32], lines: &[Line]) {
        for (sums, row) in sums.iter_mut().zip(left.chunks_exact(lines.len())) {
            let mut total = [0.0f32; WIDTH];
            for (&a, line) in row.iter().zip(lines) {
                for (total, b) in total.iter_mut().zip(&line.0) {
                    *total += a * b;
                }
            }
            sums.0 = total;
        }
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
            Packed::right(Matrix::new(&b, k, n)),
            Packed::right(Matrix::new(&flipped, n, k).transposed()),
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_shape_is_right(m in 0usize..40, k in 0usize..60, n in 1usize..100) {
            check(m, k, n);
        }
    }

    #[test]
    fn tall_and_wide_ones_are_right() {
        check(205, 33, 70);
        check(3, 20, 1000);
    }

    #[test]
    fn neither_threads_nor_other_rows_change_a_bit() {
        let (m, k, n) = (131, 70, 333);
        let (a, b) = (numbers(m * k, 7), numbers(k * n, 5));
        let packed = Packed::right(Matrix::new(&b, k, n));
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

    #[test]
    fn the_portable_kernel_agrees() {
        let (k, left) = (50, numbers(12 * 50, 3));
        let packed = Packed::right(Matrix::new(&numbers(50 * 32, 11), 50, 32));
        for count in 1..=12 {
            let mut sums = [[Line([0.0; WIDTH]); MOST_ROWS]; 2];
            products(
                has_avx512(),
                &mut sums[0][..count],
                &left[..count * k],
                packed.panel(0),
            );
            portable(&mut sums[1][..count], &left[..count * k], packed.panel(0));
            for (one, other) in sums[0].iter().zip(&sums[1]) {
                for (x, y) in one.0.iter().zip(&other.0) {
                    assert!((x - y).abs() < 1e-3, "{x} {y}");
                }
            }
        }
    }
}
