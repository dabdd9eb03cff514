//! The document-level bootstrap.
//!
//! Mentions of one document are not independent, so documents are what is drawn: a replicate draws as many
//! documents as there are, with replacement (multinomial weights), and its score is the ratio of the weighted
//! sums, not the mean of document scores; 0/0 counts as 0. The interval is the 2.5th to the 97.5th percentile of the
//! replicates, interpolated linearly (facts: section 8 of the paper's evaluation).
//!
//! All metrics of a file share the weights of a replicate, which keeps differences between strata meaningful. They are
//! columns of one table with a row per document ([`Sums`]), and replicates are a matrix product: weights times table, in single
//! precision where that is exact (counts), else in double. Replicate `r` draws from stream `r` of one seeded generator, so the
//! result does not depend on the number of threads.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A 95 % interval: lower and upper end.
pub type Interval = [f64; 2];

/// How many replicates, from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// Number of replicates.
    pub replicates: usize,
    /// Seed of the document weights.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// The authors' setting: 1000 replicates, seed 42.
    fn default() -> Self {
        Bootstrap {
            replicates: 1000,
            seed: 42,
        }
    }
}

/// Replicates a comparison at which Holm's correction can still tell something, see [`Bootstrap::for_comparisons`].
const REPLICATES_A_COMPARISON: usize = 400;

/// What [`Bootstrap::for_comparisons`] goes up to.
const MOST_REPLICATES: usize = 50_000;

impl Bootstrap {
    /// As many replicates as `comparisons` corrected together need, at least its own.
    ///
    /// No bootstrap p-value is below 2 / (replicates + 1), and Holm's correction multiplies the least of them by the number of
    /// comparisons: with a thousand replicates nothing could be significant beside 25 others, whatever the effect.
    #[must_use]
    pub fn for_comparisons(self, comparisons: usize) -> Self {
        let needed = (REPLICATES_A_COMPARISON * comparisons).min(MOST_REPLICATES);
        Bootstrap {
            replicates: self.replicates.max(needed),
            ..self
        }
    }
}

/// Right answers and rows of one stratum, summed per document. Documents without a row are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentSums {
    entries: Vec<(u32, u32, u32)>,
}

impl DocumentSums {
    /// Sums `(document, right)` rows, given in any order.
    pub fn from_rows(documents: usize, rows: impl IntoIterator<Item = (u32, bool)>) -> Self {
        let mut dense = vec![(0u32, 0u32); documents];
        for (document, right) in rows {
            let entry = &mut dense[document as usize];
            entry.0 += u32::from(right);
            entry.1 += 1;
        }
        let entries = (0u32..)
            .zip(dense)
            .filter(|(_, (_, rows))| *rows > 0)
            .map(|(d, (correct, rows))| (d, correct, rows));
        DocumentSums {
            entries: entries.collect(),
        }
    }

    /// Number of rows of the stratum.
    pub fn rows(&self) -> usize {
        self.entries.iter().map(|e| e.2 as usize).sum()
    }

    /// Number of right answers of the stratum.
    pub fn correct(&self) -> usize {
        self.entries.iter().map(|e| e.1 as usize).sum()
    }

    /// Weighted right answers and rows; `weights` has one entry per document.
    pub(crate) fn weighted(&self, weights: &[u32]) -> (u64, u64) {
        self.entries
            .iter()
            .fold((0, 0), |(correct, rows), &(document, c, r)| {
                let weight = u64::from(weights[document as usize]);
                (
                    correct + weight * u64::from(c),
                    rows + weight * u64::from(r),
                )
            })
    }
}

/// Sums per document, one column for each, and the ratios that are asked of them.
///
/// Cells are single precision, which is exact for counts below 2^24; totals are double.
#[derive(Debug, Clone)]
pub struct Sums {
    documents: usize,
    columns: usize,
    cells: Vec<f32>,
    totals: Vec<f64>,
}

/// `factor × numerator / (sum of denominators)`, of columns of [`Sums`]; 0/0 is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// What the numerator is multiplied by.
    pub factor: f64,
    /// Column of the numerator.
    pub numerator: usize,
    /// Column of the denominator.
    pub denominator: usize,
    /// Column that is added to it.
    pub and: Option<usize>,
}

impl Ratio {
    /// `numerator / denominator`.
    pub fn new(numerator: usize, denominator: usize) -> Self {
        Ratio {
            factor: 1.0,
            numerator,
            denominator,
            and: None,
        }
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let below = sums[self.denominator] + self.and.map_or(0.0, |column| sums[column]);
        if below == 0.0 {
            0.0
        } else {
            self.factor * sums[self.numerator] / below
        }
    }
}

impl Sums {
    /// A table of zeros.
    pub fn new(documents: usize, columns: usize) -> Self {
        Sums {
            documents,
            columns,
            cells: vec![0.0; documents * columns],
            totals: vec![0.0; columns],
        }
    }

    /// Adds to a document's sum.
    ///
    /// # Panics
    /// If the document or the column is not one of the table's.
    pub fn add(&mut self, document: u32, column: usize, value: f64) {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        self.cells[document as usize * self.columns + column] += value as f32;
        self.totals[column] += value;
    }

    /// A document's sums, to add to.
    pub(crate) fn row(&mut self, document: u32) -> RowSums<'_> {
        let first = document as usize * self.columns;
        RowSums {
            cells: &mut self.cells[first..first + self.columns],
            totals: &mut self.totals,
        }
    }

    /// Adds one column to another.
    pub(crate) fn add_column(&mut self, to: usize, from: usize) {
        for row in self.cells.chunks_exact_mut(self.columns) {
            row[to] += row[from];
        }
        self.totals[to] += self.totals[from];
    }

    /// The sum over all documents.
    pub fn total(&self, column: usize) -> f64 {
        self.totals[column]
    }

    /// A ratio of the sums over all documents.
    pub fn ratio(&self, ratio: Ratio) -> f64 {
        ratio.of(&self.totals)
    }

    /// Column sums for several sets of document weights at once: `weights` times the table.
    ///
    /// # Shapes
    /// - weights: `[replicates, documents]`, each row with as many draws as there are documents
    /// - result: `[replicates, columns]`
    ///
    /// `single` multiplies in single precision.
    fn weighted(&self, weights: &[f32], replicates: usize, single: bool) -> Vec<f64> {
        let shape = [replicates, self.documents, self.columns];
        if single {
            let mut result = vec![0.0; replicates * self.columns];
            add_product(&mut result, shape, weights, self.documents, &self.cells);
            return result.into_iter().map(f64::from).collect();
        }
        let weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        let mut result = vec![0.0; replicates * self.columns];
        let mut panel = vec![0.0; PANEL_DOCUMENTS * self.columns];
        for (index, cells) in self
            .cells
            .chunks(PANEL_DOCUMENTS * self.columns)
            .enumerate()
        {
            for (wide, &cell) in panel.iter_mut().zip(cells) {
                *wide = f64::from(cell);
            }
            let first = index * PANEL_DOCUMENTS;
            let documents = cells.len() / self.columns;
            add_product(
                &mut result,
                [replicates, documents, self.columns],
                &weights[first..],
                self.documents,
                &panel,
            );
        }
        result
    }

    /// Whether weighted sums are whole numbers below 2^24, which single precision adds without rounding, in any order.
    fn single_is_exact(&self) -> bool {
        let largest = self.cells.iter().fold(0.0, |a: f32, &b| a.max(b));
        f64::from(largest) * self.documents as f64 <= 16_777_216.0
            && self
                .cells
                .iter()
                .all(|cell| cell.fract() == 0.0 && *cell >= 0.0)
    }
}

/// The sums of one document.
pub(crate) struct RowSums<'s> {
    cells: &'s mut [f32],
    totals: &'s mut [f64],
}

impl RowSums<'_> {
    pub(crate) fn add(&mut self, column: usize, value: f64) {
        self.cells[column] += value as f32;
        self.totals[column] += value;
    }

    /// Adds one to a column and `credit` to the next.
    pub(crate) fn add_pair(&mut self, column: usize, credit: f64) {
        self.add(column, 1.0);
        self.add(column + 1, credit);
    }
}

/// Documents whose rows are widened to double precision and multiplied at a time; their panel stays in the cache.
const PANEL_DOCUMENTS: usize = 256;

/// `c = alpha × a × b + beta × c`, as [`matrixmultiply::dgemm`] has it.
type Product<P> = unsafe fn(
    usize,
    usize,
    usize,
    P,
    *const P,
    isize,
    isize,
    *const P,
    isize,
    isize,
    P,
    *mut P,
    isize,
    isize,
);

/// A precision that matrices are multiplied in.
trait Precision: Sized {
    const ONE: Self;
    const PRODUCT: Product<Self>;
}

impl Precision for f32 {
    const ONE: f32 = 1.0;
    const PRODUCT: Product<f32> = matrixmultiply::sgemm;
}

impl Precision for f64 {
    const ONE: f64 = 1.0;
    const PRODUCT: Product<f64> = matrixmultiply::dgemm;
}

/// Adds `left × right` to `result`.
///
/// # Shapes
/// - left: `[rows, inner]`, rows `stride` apart
/// - right: `[inner, columns]`
/// - result: `[rows, columns]`
fn add_product<P: Precision>(
    result: &mut [P],
    [rows, inner, columns]: [usize; 3],
    left: &[P],
    stride: usize,
    right: &[P],
) {
    assert!(result.len() >= rows * columns && right.len() >= inner * columns);
    assert!(rows == 0 || left.len() >= (rows - 1) * stride + inner);
    // SAFETY: every element that the product reads or writes lies inside its slice, as asserted above.
    unsafe {
        P::PRODUCT(
            rows,
            inner,
            columns,
            P::ONE,
            left.as_ptr(),
            stride as isize,
            1,
            right.as_ptr(),
            columns as isize,
            1,
            P::ONE,
            result.as_mut_ptr(),
            columns as isize,
            1,
        );
    }
}

impl Bootstrap {
    /// The 95 % interval of each ratio.
    ///
    /// Cost: `replicates × documents × columns` multiplications, done as a matrix product, and as many draws as there
    /// are documents in each replicate. Memory: `replicates × ratios × 8` bytes and each thread's weights beside the table.
    ///
    /// # Errors
    /// [`Error::NoReplicates`] for zero replicates.
    pub fn ratio_intervals(&self, sums: &Sums, ratios: &[Ratio]) -> Result<Vec<Interval>, Error> {
        let replicates = self.ratio_replicates(sums, ratios)?;
        Ok((0..ratios.len())
            .into_par_iter()
            .map(|ratio| {
                let of_ratio = replicates.iter().skip(ratio).step_by(ratios.len());
                percentile_interval(&mut of_ratio.copied().collect::<Vec<f64>>())
            })
            .collect())
    }

    /// Every ratio in every replicate.
    ///
    /// # Shapes
    /// - result: `[replicates, ratios]`
    pub(crate) fn ratio_replicates(
        &self,
        sums: &Sums,
        ratios: &[Ratio],
    ) -> Result<Vec<f64>, Error> {
        if self.replicates == 0 {
            return Err(Error::NoReplicates);
        }
        let documents = sums.documents;
        let single = sums.single_is_exact();
        // Wide enough for the product to be worth it. Weights of up to half a million documents then take 8 MiB a thread, 24
        // where they are widened to double precision.
        let block = ((1 << 21) / documents.max(1)).clamp(4, 64);
        let blocks: Vec<Vec<f64>> = (0..self.replicates.div_ceil(block))
            .into_par_iter()
            .map(|index| {
                let first = index * block;
                let count = block.min(self.replicates - first);
                let mut weights = vec![0.0; count * documents];
                let mut drawn = vec![0; documents];
                for (row, weights) in weights.chunks_mut(documents.max(1)).enumerate() {
                    draw_many(&mut drawn, self.generator(first + row));
                    for (weight, drawn) in weights.iter_mut().zip(&drawn) {
                        *weight = f32::from(*drawn);
                    }
                }
                let columns = sums.weighted(&weights, count, single);
                columns
                    .chunks(sums.columns)
                    .flat_map(|columns| ratios.iter().map(|ratio| ratio.of(columns)))
                    .collect()
            })
            .collect();
        Ok(blocks.concat())
    }

    /// The generator of one replicate.
    fn generator(&self, replicate: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(replicate as u64);
        rng
    }

    /// Any statistic of the document weights, once per replicate, in the order of the replicates.
    pub(crate) fn replicate<T: Send>(
        &self,
        documents: usize,
        statistic: impl Fn(&[u32]) -> T + Sync,
    ) -> Result<Vec<T>, Error> {
        self.replicate_with(documents, |weights, _| statistic(weights))
    }

    /// As [`Self::replicate`], for statistics that draw something beside the documents.
    pub(crate) fn replicate_with<T: Send>(
        &self,
        documents: usize,
        statistic: impl Fn(&[u32], &mut ChaCha8Rng) -> T + Sync,
    ) -> Result<Vec<T>, Error> {
        if self.replicates == 0 {
            return Err(Error::NoReplicates);
        }
        Ok((0..self.replicates)
            .into_par_iter()
            .map_init(
                || vec![0u32; documents],
                |weights, replicate| {
                    let mut rng = self.generator(replicate);
                    draw_weights(weights, &mut rng);
                    statistic(weights, &mut rng)
                },
            )
            .collect())
    }
}

/// Multinomial weights: how often each index comes up when as many are drawn, with replacement, as there are.
pub(crate) fn draw_weights(weights: &mut [u32], rng: &mut ChaCha8Rng) {
    weights.fill(0);
    let Ok(count) = u32::try_from(weights.len()) else {
        return;
    };
    for _ in 0..count {
        weights[rng.random_range(0..count) as usize] += 1;
    }
}

/// The weights of [`draw_weights`], number by number, two times as fast: random numbers are made many at a time (more of them
/// than needed), and small counters stay in the cache. No counter gets near its end: 2^16 draws of one index never happen.
fn draw_many(weights: &mut [u16], mut rng: ChaCha8Rng) {
    weights.fill(0);
    let Ok(count) = u32::try_from(weights.len()) else {
        return;
    };
    // A number maps to the upper half of `number × count`; where the lower half is above this, a second one decides whether
    // the index is one more (Canon's method, as `random_range` has it).
    let unbiased = count.wrapping_neg();
    let index = |number: u32| (u64::from(number) * u64::from(count)) >> 32;
    let lower = |number: u32| number.wrapping_mul(count);
    let mut numbers = Numbers::new(&mut rng);
    let mut left = weights.len();
    while left > 0 {
        let ready = numbers.ready();
        let ready = &ready[..ready.len().min(left)];
        let biased = match ready.iter().any(|&n| lower(n) > unbiased) {
            true => ready.iter().position(|&n| lower(n) > unbiased),
            false => None,
        };
        let plain = biased.unwrap_or(ready.len());
        for &number in &ready[..plain] {
            let weight = &mut weights[index(number) as usize];
            *weight = weight.saturating_add(1);
        }
        numbers.next += plain;
        left -= plain;
        if biased.is_some() {
            let (first, second) = (numbers.take(), numbers.take());
            let carry = lower(first).checked_add(index(second) as u32).is_none();
            let weight = &mut weights[index(first) as usize + usize::from(carry)];
            *weight = weight.saturating_add(1);
            left -= 1;
        }
    }
}

/// Random numbers that a generator makes, many at a time.
struct Numbers<'r> {
    rng: &'r mut ChaCha8Rng,
    buffer: [u32; 256],
    next: usize,
}

impl<'r> Numbers<'r> {
    fn new(rng: &'r mut ChaCha8Rng) -> Self {
        Numbers {
            rng,
            buffer: [0; 256],
            next: 256,
        }
    }

    /// Those that come next; at least one.
    fn ready(&mut self) -> &[u32] {
        if self.next == self.buffer.len() {
            self.rng.fill(&mut self.buffer);
            self.next = 0;
        }
        &self.buffer[self.next..]
    }

    fn take(&mut self) -> u32 {
        let number = self.ready()[0];
        self.next += 1;
        number
    }
}

/// The ratio of two sums; 0/0 is 0.
pub(crate) fn ratio((correct, rows): (u64, u64)) -> f64 {
    if rows == 0 {
        0.0
    } else {
        correct as f64 / rows as f64
    }
}

/// 2.5th and 97.5th percentile with linear interpolation. Changes the order of `values`.
pub(crate) fn percentile_interval(values: &mut [f64]) -> Interval {
    [percentile(values, 0.025), percentile(values, 0.975)]
}

/// Selects instead of sorting: two neighbouring order statistics are all that is wanted.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (position - below as f64) * (high - low)
}

#[cfg(test)]
mod tests {
    #[test]
    fn comparisons_take_replicates_enough_for_their_correction() {
        let few = super::Bootstrap::default();
        assert_eq!(few.for_comparisons(2), few);
        for comparisons in [3, 26, 100] {
            let raised = few.for_comparisons(comparisons);
            let least_p = 2.0 / (raised.replicates + 1) as f64;
            assert!(least_p * (comparisons as f64) < 0.01, "{raised:?}");
            assert_eq!(raised.seed, few.seed);
        }
    }
    use super::*;

    #[test]
    fn percentiles_interpolate_linearly() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile_interval(&mut values), [2.5, 97.5]);
        assert_eq!(percentile_interval(&mut [3.0]), [3.0, 3.0]);
    }

    /// Rows in the first column, right ones in the second.
    fn table(documents: u32, rows: impl IntoIterator<Item = (u32, bool)>) -> Sums {
        let mut table = Sums::new(documents as usize, 2);
        for (document, right) in rows {
            let credit = f64::from(u8::from(right));
            table.row(document).add_pair(0, credit);
        }
        table
    }

    const SHARE: [Ratio; 1] = [Ratio {
        factor: 1.0,
        numerator: 1,
        denominator: 0,
        and: None,
    }];

    #[test]
    fn interval_of_equal_documents_is_a_point_and_of_one_stratum_without_rows_zero() {
        let bootstrap = Bootstrap {
            replicates: 50,
            seed: 1,
        };
        let even = table(4, (0..4).flat_map(|d| [(d, true), (d, false)]));
        assert_eq!(even.ratio(SHARE[0]), 0.5);
        for (table, interval) in [(even, [0.5, 0.5]), (table(4, []), [0.0, 0.0])] {
            assert_eq!(
                bootstrap.ratio_intervals(&table, &SHARE).unwrap(),
                [interval]
            );
        }
    }

    #[test]
    fn width_agrees_with_the_normal_approximation() {
        // 400 documents of one row, half right: standard error sqrt(0.25 / 400) = 0.025.
        let table = table(400, (0..400).map(|d| (d, d % 2 == 0)));
        let bootstrap = Bootstrap::default();
        let [low, high] = bootstrap.ratio_intervals(&table, &SHARE).unwrap()[0];
        assert!((low - (0.5 - 1.96 * 0.025)).abs() < 0.006, "{low}");
        assert!((high - (0.5 + 1.96 * 0.025)).abs() < 0.006, "{high}");
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let table = table(30, (0..300).map(|i| (i % 30, i % 7 < 3)));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let bootstrap = Bootstrap::default();
            pool.install(|| bootstrap.ratio_intervals(&table, &SHARE).unwrap())
        };
        assert_eq!(run(1), run(5));
    }

    #[test]
    fn ratios_of_columns_are_those_of_the_sums() {
        let rows: Vec<(u32, bool)> = (0..300).map(|i| (i % 30, i % 7 < 3)).collect();
        let mut table = Sums::new(30, 3);
        for &(document, right) in &rows {
            table.add(document, 0, 1.0);
            table.add(document, 1, f64::from(u8::from(right)));
        }
        let half = Ratio {
            factor: 2.0,
            and: Some(0),
            ..Ratio::new(1, 0)
        };
        let ratios = [Ratio::new(1, 0), half, Ratio::new(1, 2)];
        let bootstrap = Bootstrap::default();
        let found = bootstrap.ratio_intervals(&table, &ratios).unwrap();
        let sums = DocumentSums::from_rows(30, rows);
        let one_by_one = bootstrap.replicate(30, |weights| ratio(sums.weighted(weights)));
        assert_eq!(found[0], percentile_interval(&mut one_by_one.unwrap()));
        assert_eq!(found[0], found[1], "2 x / (n + n) is x / n");
        assert_eq!(found[2], [0.0, 0.0], "0/0 is 0");
        assert_eq!(table.ratio(ratios[0]), sums.correct() as f64 / 300.0);
    }

    #[test]
    fn weights_are_the_same_drawn_one_by_one_or_many_at_a_time() {
        // The largest has a biased number about every 10,000 draws.
        for (count, streams) in [(0, 1), (1, 3), (2, 50), (873, 50), (400_000, 3)] {
            for stream in 0..streams {
                let rng = Bootstrap::default().generator(stream);
                let (mut one_by_one, mut many) = (vec![0; count], vec![7; count]);
                draw_weights(&mut one_by_one, &mut rng.clone());
                draw_many(&mut many, rng);
                assert!(
                    one_by_one
                        .iter()
                        .copied()
                        .eq(many.into_iter().map(u32::from))
                );
            }
        }
    }

    #[test]
    fn single_precision_is_taken_only_where_it_is_exact() {
        let ratios = [Ratio::new(1, 0)];
        let bootstrap = Bootstrap {
            replicates: 40,
            seed: 3,
        };
        let replicates = |value: f64, rows: f64| {
            let mut sums = Sums::new(5000, 2);
            for document in 0..5000 {
                sums.add(document, 0, rows);
                sums.add(document, 1, if document % 3 == 0 { value } else { 0.0 });
            }
            let single = sums.single_is_exact();
            (single, bootstrap.ratio_replicates(&sums, &ratios).unwrap())
        };
        let by_hand = |value: f64, rows: f64| {
            let of_weights = |weights: &[u32]| {
                let third = weights.iter().step_by(3).sum::<u32>();
                f64::from(third) * value / (rows * 5000.0)
            };
            bootstrap.replicate(5000, of_weights).unwrap()
        };
        for (value, rows, single) in [(2.0, 2.0, true), (0.5, 2.0, false), (3.0, 5000.0, false)] {
            assert_eq!(replicates(value, rows), (single, by_hand(value, rows)));
        }
    }

    #[test]
    fn zero_replicates_are_refused() {
        let zero = Bootstrap {
            replicates: 0,
            seed: 0,
        };
        let refused = zero.ratio_intervals(&Sums::new(1, 1), &[]);
        assert!(matches!(refused, Err(Error::NoReplicates)));
    }
}
