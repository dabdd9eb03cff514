//! Several examples in one row of a batch, none of which sees another.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// What a forward pass must know about a batch whose rows hold several examples each: where
/// positions restart and which cells may look at which.
///
/// ```
/// use syncabel_model::{Packing, device};
///
/// // Two rows of five cells: examples of 2 and 3 tokens, and one of 4 with a cell of padding.
/// let packing = Packing::from_lengths(&[vec![2, 3], vec![4]], 5, &device("auto")?);
/// assert_eq!(packing.dims(), [2, 5]);
/// # Ok::<(), syncabel_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Packing {
    /// `[batch, time]`
    positions: Tensor<2, Int>,
    /// `[batch, 1, 1, time, time]`
    bias: Tensor<5>,
    longest: usize,
}

impl Packing {
    /// A batch given as the lengths of the examples in each row, in order; what is left of a row
    /// is padding.
    ///
    /// `device` must be the model's, autodiff included where the model has it.
    ///
    /// # Panics
    /// If the lengths of a row sum to more than `time`.
    #[must_use]
    pub fn from_lengths(rows: &[Vec<usize>], time: usize, device: &Device) -> Self {
        let segments: Vec<Vec<u32>> = rows
            .iter()
            .map(|lengths| {
                let used: usize = lengths.iter().sum();
                assert!(used <= time, "a row of {time} cells cannot hold {used}");
                let cells = lengths.iter().enumerate();
                let mut row: Vec<u32> = cells
                    .flat_map(|(i, &n)| std::iter::repeat_n(i as u32 + 1, n))
                    .collect();
                row.resize(time, 0);
                row
            })
            .collect();
        Self::from_segments(&segments, device)
    }

    /// A batch given as the example that each cell belongs to. Neighbouring cells with the same
    /// number are one example; padding is any number of its own, by habit 0.
    ///
    /// # Panics
    /// If there is no row or rows differ in length.
    #[must_use]
    pub fn from_segments(rows: &[Vec<u32>], device: &Device) -> Self {
        let batch = rows.len();
        let time = rows.first().expect("a batch has at least one row").len();
        let mut positions = Vec::with_capacity(batch * time);
        let mut bias = vec![super::attention::HIDDEN; batch * time * time];
        for (b, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), time, "rows of a batch have one length");
            let mut start = 0;
            for t in 0..time {
                if t > 0 && row[t] != row[t - 1] {
                    start = t;
                }
                positions.push((t - start) as i32);
                let line = (b * time + t) * time;
                bias[line + start..=line + t].fill(0.0);
            }
        }
        let longest = positions.iter().max().map_or(0, |&p| p as usize + 1);
        Packing {
            positions: Tensor::from_data(TensorData::new(positions, [batch, time]), device),
            bias: Tensor::from_data(TensorData::new(bias, [batch, 1, 1, time, time]), device),
            longest,
        }
    }

    /// Rows and cells per row.
    #[must_use]
    pub fn dims(&self) -> [usize; 2] {
        self.positions.dims()
    }

    /// Length of the longest example in tokens, a run of padding counted as one.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    pub(crate) fn positions(&self) -> Tensor<2, Int> {
        self.positions.clone()
    }

    pub(crate) fn bias(&self) -> Tensor<5> {
        self.bias.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_restart_and_cells_see_their_own_past_only() {
        let device = crate::device("auto").unwrap();
        let packing = Packing::from_lengths(&[vec![2, 3]], 6, &device);
        let positions = packing.positions().try_into_vec_as::<i32>().unwrap();
        assert_eq!(positions, [0, 1, 0, 1, 2, 0]);
        assert_eq!(packing.longest(), 3);
        let bias = packing.bias().try_into_vec_as::<f32>().unwrap();
        let seen: String = bias
            .iter()
            .map(|&b| if b == 0.0 { 'x' } else { '.' })
            .collect();
        assert_eq!(
            seen,
            ["x.....", "xx....", "..x...", "..xx..", "..xxx.", ".....x"].concat()
        );
    }

    #[test]
    #[should_panic(expected = "cannot hold")]
    fn rows_that_do_not_fit_are_refused() {
        let device = crate::device("auto").unwrap();
        let _ = Packing::from_lengths(&[vec![4, 3]], 6, &device);
    }
}
