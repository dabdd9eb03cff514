//! Keys and values in blocks of cells, and who sees which.

use crate::Shape;

/// Cells of a block: one vector of float32, one bit each in a mask.
pub(crate) const CELLS: usize = 16;

/// Blocks that mentions take and give back. A block holds [`CELLS`] tokens, for every layer first the keys
/// `[key heads, head_dim, CELLS]`, then the values `[key heads, CELLS, head_dim]`.
#[derive(Debug)]
pub(crate) struct Arena {
    blocks: Vec<Box<[f32]>>,
    users: Vec<u32>,
    free: Vec<u32>,
    key_heads: usize,
    head_dim: usize,
    layers: usize,
}

/// A place for one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) block: u32,
    pub(crate) cell: u8,
}

impl Arena {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            blocks: Vec::new(),
            users: Vec::new(),
            free: Vec::new(),
            key_heads: shape.key_heads,
            head_dim: shape.head_dim,
            layers: shape.layers,
        }
    }

    /// Numbers of one head's keys, or values.
    fn head(&self) -> usize {
        self.head_dim * CELLS
    }

    /// Numbers of one layer's keys, or values.
    fn half_layer(&self) -> usize {
        self.key_heads * self.head()
    }

    /// A block with one user.
    pub(crate) fn take(&mut self) -> u32 {
        if let Some(block) = self.free.pop() {
            // A mention that broke may have left something that is no number, see below.
            self.blocks[block as usize].fill(0.0);
            self.users[block as usize] = 1;
            return block;
        }
        let numbers = 2 * self.layers * self.half_layer();
        // Zeros, not because they are read, but because a masked cell is multiplied by a probability of zero: it must
        // hold a number.
        self.blocks.push(vec![0.0; numbers].into_boxed_slice());
        self.users.push(1);
        (self.blocks.len() - 1) as u32
    }

    /// Another user for a block.
    pub(crate) fn share(&mut self, block: u32) {
        self.users[block as usize] += 1;
    }

    /// One user less; without any, the block is free.
    pub(crate) fn give_back(&mut self, block: u32) {
        let users = &mut self.users[block as usize];
        *users -= 1;
        if *users == 0 {
            self.free.push(block);
        }
    }

    /// Blocks that are there, and blocks in use.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.blocks.len(), self.blocks.len() - self.free.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * 2 * self.layers * self.half_layer() * size_of::<f32>()
    }

    /// Keys and values of one layer of a block.
    pub(crate) fn layer(&self, block: u32, layer: usize) -> (&[f32], &[f32]) {
        let half = self.half_layer();
        let all = &self.blocks[block as usize][2 * layer * half..][..2 * half];
        all.split_at(half)
    }

    /// Puts one token's keys and values of a layer, both `[key heads * head_dim]`, into its cell.
    pub(crate) fn write(&mut self, at: Cell, layer: usize, keys: &[f32], values: &[f32]) {
        let (half, head, dim, cell) = (
            self.half_layer(),
            self.head(),
            self.head_dim,
            usize::from(at.cell),
        );
        let all = &mut self.blocks[at.block as usize][2 * layer * half..][..2 * half];
        let (all_keys, all_values) = all.split_at_mut(half);
        for (to, from) in all_keys.chunks_exact_mut(head).zip(keys.chunks_exact(dim)) {
            for (line, &key) in to.chunks_exact_mut(CELLS).zip(from) {
                line[cell] = key;
            }
        }
        for (to, from) in all_values
            .chunks_exact_mut(head)
            .zip(values.chunks_exact(dim))
        {
            to[cell * dim..][..dim].copy_from_slice(from);
        }
    }
}

/// What a row sees of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) block: u32,
    /// Bit c: cell c.
    pub(crate) mask: u16,
}

/// What the tokens of a run see of one block: all see `before`; token `i` also sees the run's own cells up to its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) block: u32,
    before: u16,
    /// First cell that the run has in the block, and how many.
    base: u8,
    own: u8,
    /// The run's token in that cell.
    first: u32,
}

impl Window {
    /// The cells that token `i` of the run sees.
    pub(crate) fn mask(&self, i: u32) -> u16 {
        let own = (i + 1).saturating_sub(self.first).min(u32::from(self.own));
        self.before | (((1u32 << own) - 1) << self.base) as u16
    }
}

/// The windows of a run that goes on from `before` and has `cells`.
pub(crate) fn windows(before: &[Seen], cells: &[Cell]) -> Vec<Window> {
    let mut all: Vec<Window> = before
        .iter()
        .map(|seen| Window {
            block: seen.block,
            before: seen.mask,
            base: 0,
            own: 0,
            first: 0,
        })
        .collect();
    for (i, cell) in cells.iter().enumerate() {
        // A run's cells of one block follow each other, and only the last block of what was before may be gone on with.
        match all.iter_mut().find(|window| window.block == cell.block) {
            Some(window) if window.own > 0 => window.own += 1,
            Some(window) => {
                (window.base, window.own, window.first) = (cell.cell, 1, i as u32);
            }
            None => all.push(Window {
                block: cell.block,
                before: 0,
                base: cell.cell,
                own: 1,
                first: i as u32,
            }),
        }
    }
    all
}

/// What comes behind the last token of a run sees.
pub(crate) fn seen_behind(windows: &[Window], tokens: usize) -> Vec<Seen> {
    let last = (tokens - 1) as u32;
    windows
        .iter()
        .map(|window| Seen {
            block: window.block,
            mask: window.mask(last),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_see_what_was_before_and_their_own_run_up_to_themselves() {
        let before = [
            Seen {
                block: 4,
                mask: 0xffff,
            },
            Seen {
                block: 7,
                mask: 0b11,
            },
        ];
        let cells: Vec<Cell> = (14..16)
            .map(|cell| Cell { block: 7, cell })
            .chain((0..2).map(|cell| Cell { block: 2, cell }))
            .collect();
        let windows = windows(&before, &cells);
        let masks: Vec<Vec<u16>> = (0..4)
            .map(|i| windows.iter().map(|window| window.mask(i)).collect())
            .collect();
        let (one, both) = (0x4003, 0xc003);
        assert_eq!(masks[0], [0xffff, one, 0]);
        assert_eq!(masks[1], [0xffff, both, 0]);
        assert_eq!(masks[2], [0xffff, both, 1]);
        assert_eq!(masks[3], [0xffff, both, 3]);
        let behind: Vec<u16> = seen_behind(&windows, 4).iter().map(|s| s.mask).collect();
        assert_eq!(behind, masks[3]);
    }

    #[test]
    fn blocks_come_back_when_nobody_uses_them() {
        let shape = Shape {
            vocab: 4,
            hidden: 8,
            inner: 8,
            layers: 2,
            query_heads: 2,
            key_heads: 1,
            head_dim: 4,
            eps: 1e-5,
            tied: true,
            positions: 64,
        };
        let mut arena = Arena::new(&shape);
        let (a, b) = (arena.take(), arena.take());
        arena.share(a);
        arena.give_back(a);
        assert_eq!(arena.counts(), (2, 2));
        arena.give_back(a);
        arena.give_back(b);
        assert_eq!(arena.counts(), (2, 0));
        assert_eq!((arena.take(), arena.take()), (b, a));
        assert_eq!(arena.counts(), (2, 2));
        let at = Cell { block: a, cell: 3 };
        arena.write(at, 1, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        let (keys, values) = arena.layer(a, 1);
        assert_eq!(keys[2 * CELLS + 3], 3.0);
        assert_eq!(&values[3 * 4..][..4], [5.0, 6.0, 7.0, 8.0]);
        assert!(arena.layer(a, 0).0.iter().all(|&x| x == 0.0));
    }
}
