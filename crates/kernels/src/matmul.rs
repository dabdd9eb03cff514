//! Matrix products over slices.

use gemm::Parallelism;
use rayon::prelude::*;

/// A row-major matrix, possibly a block of columns of a wider one, possibly seen transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// All of `data` as `[rows, columns]`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::block(data, rows, columns, columns)
    }

    /// `[rows, columns]` out of rows of `stride` numbers, from the start of `data`.
    pub fn block(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, stride);
        Self {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The same numbers with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` rows from row `from` on.
    fn rows(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.rows);
        Self {
            data: &self.data[from * self.row_stride..],
            rows: count,
            ..self
        }
    }

    /// `count` columns from column `from` on.
    fn columns(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.columns);
        Self {
            data: &self.data[from * self.column_stride..],
            columns: count,
            ..self
        }
    }
}

fn assert_fits(len: usize, rows: usize, columns: usize, stride: usize) {
    assert!(columns <= stride, "{columns} columns in rows of {stride}");
    let needed = match rows.checked_sub(1) {
        None => Some(0),
        Some(before) => before
            .checked_mul(stride)
            .and_then(|n| n.checked_add(columns)),
    };
    assert!(
        needed.is_some_and(|needed| needed <= len),
        "[{rows}, {columns}] by {stride} in {len} numbers"
    );
}

/// What happens to the numbers that a product is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// They are lost.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out = a b` (or `+=`) on all threads; `out` is row-major and dense.
///
/// The product is cut into blocks of rows or columns of `out`, one call on one thread each. That is as fast as letting the
/// matrix library use threads, which makes them wait for each other inside one product: on a machine that is busy with
/// something else too, that is slower by an order of magnitude. The blocks depend on the
/// shape alone, never on the number of threads, so that does not change the result (the library sums in another order
/// in blocks of another shape).
pub fn matmul(out: &mut [f32], write: Write, a: Matrix<'_>, b: Matrix<'_>) {
    let (m, n) = (a.rows, b.columns);
    assert_eq!(out.len(), m * n, "the product is [{m}, {n}]");
    let parts = parts(m, n, a.columns);
    if parts == 1 || n == 0 {
        small_matmul(out, n, write, 1.0, a, b);
    } else if m >= n {
        let rows = block(m, parts);
        out.par_chunks_mut(rows * n)
            .enumerate()
            .for_each(|(i, out)| {
                let from = i * rows;
                small_matmul(out, n, write, 1.0, a.rows(from, rows.min(m - from)), b);
            });
    } else {
        let columns = block(n, parts);
        let out = Columns(out.as_mut_ptr());
        (0..n.div_ceil(columns)).into_par_iter().for_each(|i| {
            let from = i * columns;
            let b = b.columns(from, columns.min(n - from));
            let out = &out;
            // SAFETY: `out` holds `[m, n]` numbers, this task writes columns `from..from + b.columns` of it and no other
            // task does, and the borrow of the whole outlives the loop.
            unsafe { product(out.0.add(from), n, write, 1.0, a, b) };
        });
    }
}

/// Below this many multiplications a product is not worth dividing.
const SMALLEST_PART: usize = 1 << 19;

/// Most blocks of a product.
const MOST_PARTS: usize = 16;

fn parts(m: usize, n: usize, k: usize) -> usize {
    (m * n * k / SMALLEST_PART).clamp(1, MOST_PARTS)
}

/// Rows or columns in each of `parts` blocks: whole tiles of the vector kernels.
fn block(len: usize, parts: usize) -> usize {
    len.div_ceil(parts).next_multiple_of(48)
}

/// A pointer to a matrix of which each task writes its own columns.
struct Columns(*mut f32);

// SAFETY: tasks write to disjoint columns, see `matmul`.
unsafe impl Sync for Columns {}

/// `out = scale * a b` (or `+=`) on this thread, into a block of columns of rows of `stride` numbers.
pub fn small_matmul(
    out: &mut [f32],
    stride: usize,
    write: Write,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    assert_fits(out.len(), a.rows, b.columns, stride);
    // SAFETY: the assertion above keeps every element written inside `out`, which is borrowed mutably.
    unsafe { product(out.as_mut_ptr(), stride, write, scale, a, b) };
}

/// # Safety
/// `out` points to `a.rows` rows of `stride` numbers, of which the first `b.columns` are this call's alone to write.
unsafe fn product(
    out: *mut f32,
    stride: usize,
    write: Write,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: `Matrix` keeps every element it describes inside its slice; the caller vouches for `out`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if write == Write::Add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_strides_and_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // [3, 2]
        let mut out = [0.0; 4];
        matmul(
            &mut out,
            Write::Replace,
            Matrix::new(&a, 2, 3),
            Matrix::new(&b, 3, 2),
        );
        assert_eq!(out, [5.0, 11.0, 14.0, 23.0]);
        matmul(
            &mut out,
            Write::Add,
            Matrix::new(&b, 3, 2).transposed(),
            Matrix::new(&a, 2, 3).transposed(),
        );
        assert_eq!(out, [10.0, 25.0, 25.0, 46.0]);
        let mut wide = [9.0; 6];
        let left = Matrix::block(&a, 2, 2, 3);
        small_matmul(
            &mut wide[1..],
            3,
            Write::Replace,
            2.0,
            left,
            Matrix::new(&b, 2, 2),
        );
        assert_eq!(wide, [9.0, 10.0, 4.0, 9.0, 28.0, 10.0]);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for (m, n, k) in [(577, 576, 576), (40, 576, 576), (193, 100, 700)] {
            let numbers = |len: usize, step: usize| -> Vec<f32> {
                (0..len)
                    .map(|i| (i * step % 1013) as f32 / 313.0 - 1.6)
                    .collect()
            };
            let (a, b) = (numbers(m * k, 7919), numbers(k * n, 7907));
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let mut out = vec![0.0; m * n];
                pool.build().unwrap().install(|| {
                    let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
                    matmul(&mut out, Write::Replace, a, b);
                });
                out
            };
            let one = on(1);
            assert!([2, 3, 6].iter().all(|&threads| on(threads) == one));
        }
    }

    #[test]
    #[should_panic(expected = "numbers")]
    fn a_shape_that_overflows_is_refused() {
        Matrix::block(&[1.0], 5, 1, 1 << 62);
    }

    #[test]
    fn divided_products_equal_whole_ones() {
        let numbers = |len: usize, step: usize| -> Vec<f32> {
            (0..len).map(|i| (i * step % 17) as f32 - 8.0).collect()
        };
        for (m, n, k) in [
            (200, 60, 130),
            (60, 200, 130),
            (97, 310, 64),
            (1, 9000, 128),
            (300, 300, 1),
        ] {
            let (a, b) = (numbers(m * k, 7), numbers(k * n, 5));
            let mut whole = numbers(m * n, 3);
            let mut divided = whole.clone();
            let right = Matrix::new(&b, n, k).transposed();
            small_matmul(&mut whole, n, Write::Add, 1.0, Matrix::new(&a, m, k), right);
            matmul(&mut divided, Write::Add, Matrix::new(&a, m, k), right);
            assert_eq!(whole, divided, "[{m}, {k}] x [{k}, {n}]");
        }
    }
}
