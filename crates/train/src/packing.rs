//! Laying examples into rows so that little of a batch is padding.
//!
//! Rows are filled first-fit, longest example first. The loss is a mean over tokens, so where an example lies changes
//! nothing but speed: examples of one row cannot see each other (see [`Rows`]), and positions start again at each.

use crate::encode::Encoded;

/// An example's place in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Index into the batch that was packed.
    pub example: usize,
    /// First token in the row.
    pub start: usize,
}

/// Assigns each length to a row of at most `max_length` tokens: first-fit, longest first, ties in the given order.
///
/// # Panics
/// When a length exceeds `max_length`; encoding has made sure that none does.
pub fn pack(lengths: &[usize], max_length: usize) -> Vec<Vec<Slot>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let mut rows: Vec<(usize, Vec<Slot>)> = Vec::new();
    for example in longest_first {
        let length = lengths[example];
        assert!(
            length <= max_length,
            "an example of {length} tokens in rows of {max_length}"
        );
        match rows
            .iter_mut()
            .find(|(used, _)| used + length <= max_length)
        {
            Some((used, row)) => {
                row.push(Slot {
                    example,
                    start: *used,
                });
                *used += length;
            }
            None => rows.push((length, vec![Slot { example, start: 0 }])),
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Packed rows as the flat arrays that a tensor backend takes. All rows have the length of the fullest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Number of rows.
    pub rows: usize,
    /// Tokens in each row.
    pub length: usize,
    /// `[rows * length]` token ids, 0 where there is padding.
    pub tokens: Vec<u32>,
    /// `[rows * length]` position inside the example.
    pub positions: Vec<u32>,
    /// `[rows * length]` which example of the row a token belongs to, from 1; 0 is padding.
    pub segments: Vec<u32>,
    /// Flat positions whose hidden state predicts a completion token.
    pub loss_positions: Vec<u32>,
    /// The token that each of them is to predict.
    pub targets: Vec<u32>,
    /// Index into the batch of the example that each of them belongs to.
    pub owners: Vec<u32>,
}

impl Rows {
    /// Lays `batch` out as `layout`, one or more rows of [`pack`]'s answer, says.
    pub fn new(batch: &[&Encoded], layout: &[Vec<Slot>]) -> Self {
        let used = |row: &Vec<Slot>| {
            row.iter()
                .map(|slot| slot.start + batch[slot.example].input_len())
                .max()
                .unwrap_or(0)
        };
        let length = layout.iter().map(used).max().unwrap_or(0);
        let cells = layout.len() * length;
        let mut rows = Self {
            rows: layout.len(),
            length,
            tokens: vec![0; cells],
            positions: vec![0; cells],
            segments: vec![0; cells],
            loss_positions: Vec::new(),
            targets: Vec::new(),
            owners: Vec::new(),
        };
        for (row, slots) in layout.iter().enumerate() {
            for (number, slot) in slots.iter().enumerate() {
                rows.place(
                    batch[slot.example],
                    slot.example,
                    row * length + slot.start,
                    number as u32 + 1,
                );
            }
        }
        rows
    }

    fn place(&mut self, example: &Encoded, index: usize, at: usize, segment: u32) {
        let input = example.input_len();
        self.tokens[at..at + input].copy_from_slice(&example.tokens[..input]);
        for position in 0..input {
            self.positions[at + position] = position as u32;
            self.segments[at + position] = segment;
        }
        for target in example.completion_start..example.tokens.len() {
            self.loss_positions.push((at + target - 1) as u32);
            self.targets.push(example.tokens[target]);
            self.owners.push(index as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(length: usize, completion: usize) -> Encoded {
        Encoded {
            tokens: (0..length as u32).map(|t| t + 10).collect(),
            completion_start: length - completion,
        }
    }

    proptest! {
        #[test]
        fn every_example_is_placed_once_and_nothing_overlaps(
            lengths in prop::collection::vec(1usize..50, 0..60), spare in 0usize..100,
        ) {
            let max_length = lengths.iter().max().copied().unwrap_or(1) + spare;
            let rows = pack(&lengths, max_length);
            let mut placed: Vec<usize> = rows.iter().flatten().map(|s| s.example).collect();
            placed.sort_unstable();
            prop_assert_eq!(placed, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                let mut end = 0;
                for slot in row {
                    prop_assert_eq!(slot.start, end);
                    end += lengths[slot.example];
                }
                prop_assert!(end <= max_length);
            }
            // First-fit leaves at most one row at or below half full.
            let halves = rows.iter().filter(|row| row.iter().map(|s| lengths[s.example]).sum::<usize>() * 2 <= max_length).count();
            prop_assert!(halves <= 1);
        }
    }

    #[test]
    fn rows_hold_inputs_targets_and_restarting_positions() {
        let (a, b) = (encoded(4, 2), encoded(3, 1));
        let layout = pack(&[a.input_len(), b.input_len()], 8);
        let rows = Rows::new(&[&a, &b], &layout);
        assert_eq!((rows.rows, rows.length), (1, 5));
        assert_eq!(rows.tokens, [10, 11, 12, 10, 11]);
        assert_eq!(rows.positions, [0, 1, 2, 0, 1]);
        assert_eq!(rows.segments, [1, 1, 1, 2, 2]);
        assert_eq!(rows.loss_positions, [1, 2, 4]);
        assert_eq!(rows.targets, [12, 13, 12]);
        assert_eq!(rows.owners, [0, 0, 1]);
    }

    #[test]
    fn shorter_rows_are_padded_with_segment_zero() {
        let (a, b) = (encoded(6, 1), encoded(3, 1));
        let rows = Rows::new(&[&a, &b], &pack(&[5, 2], 5));
        assert_eq!((rows.rows, rows.length), (2, 5));
        assert_eq!(rows.segments[5..], [1, 1, 0, 0, 0]);
        assert_eq!(rows.loss_positions, [4, 6]);
    }
}
