//! One node in eight bytes: what a step of a walk reads.
//!
//! ```text
//! bits  0 .. 32  first child   its number, above the node's own; of a wide node, its place in the table of wide nodes
//! bits 32 .. 56  token         on the edge into the node; all ones for a root
//! bits 56 .. 62  children      how many; 63: a wide node, whose count the table has
//! bit  62        one concept   all names below denote one concept
//! bit  63        terminal      a name may end here
//! ```
//!
//! The node that a step finds among its brothers already says where its own children are, so a step waits for memory
//! once. Twenty-four bits are enough for the vocabulary of any language model (a quarter of a million tokens is large);
//! six bits for the children of all but some fifty nodes of MEDIC.

use bytemuck::{Pod, Zeroable};

/// The token on the edge into a root: there is none. Tokens are smaller.
pub(super) const NO_TOKEN: u32 = (1 << 24) - 1;

/// Children from which on a node is wide.
pub(super) const WIDE: u32 = 63;

const ONE_CONCEPT: u64 = 1 << 62;
const TERMINAL: u64 = 1 << 63;

/// A node as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Node(u64);

/// The children of a node that has [`WIDE`] or more, and where among them a token has to be looked for: child `c` is in
/// bucket `token(c) >> shift`, and bucket `b` holds the children `starts[b] .. starts[b + 1]` of the node.
///
/// A binary search of the three thousand children of a root reads a dozen places that lie apart. With a bucket for every four to eight
/// children it reads two: the starts, and the children that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Wide {
    /// The first child.
    pub(super) first: u32,
    pub(super) children: u32,
    /// Place of the first start among those of all wide nodes; there is one start more than there are buckets.
    pub(super) starts: u32,
    pub(super) buckets: u32,
    pub(super) shift: u32,
}

/// Children that a bucket holds on average, at least, were their tokens spread evenly.
const CHILDREN_PER_BUCKET: u32 = 4;

impl Wide {
    /// Sorts children (their ascending tokens) into buckets, whose starts are added to `starts`.
    pub(super) fn sort(first: u32, tokens: &[u32], starts: &mut Vec<u32>) -> Self {
        let children = tokens.len() as u32;
        let last = tokens.last().copied().unwrap_or(0);
        let most = (children / CHILDREN_PER_BUCKET).max(1);
        let shift = (0..u32::BITS - 1)
            .find(|&shift| last >> shift < most)
            .unwrap_or(0);
        let wide = Self {
            first,
            children,
            starts: starts.len() as u32,
            buckets: (last >> shift) + 1,
            shift,
        };
        let before = |bucket: u32| tokens.partition_point(|&token| token >> shift < bucket) as u32;
        starts.extend((0..=wide.buckets).map(before));
        wide
    }
}

impl Node {
    /// `link` is the first child of `children`, or of a wide node its place in the table.
    pub(super) fn new(token: u32, link: u32, children: u32) -> Self {
        debug_assert!(token <= NO_TOKEN);
        let children = u64::from(children.min(WIDE));
        Self(u64::from(link) | u64::from(token) << 32 | children << 56)
    }

    pub(super) fn with_one_concept(self, one: bool) -> Self {
        Self(self.0 | if one { ONE_CONCEPT } else { 0 })
    }

    pub(super) fn with_terminal(self, terminal: bool) -> Self {
        Self(self.0 | if terminal { TERMINAL } else { 0 })
    }

    pub(super) fn token(self) -> u32 {
        (self.0 >> 32) as u32 & NO_TOKEN
    }

    /// The first child, or of a wide node its place in the table.
    pub(super) fn link(self) -> u32 {
        self.0 as u32
    }

    /// How many there are, at most [`WIDE`], which says that the table knows better.
    pub(super) fn children(self) -> u32 {
        (self.0 >> 56) as u32 & WIDE
    }

    pub(super) fn has_one_concept(self) -> bool {
        self.0 & ONE_CONCEPT != 0
    }

    pub(super) fn is_terminal(self) -> bool {
        self.0 & TERMINAL != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_keeps_to_its_bits() {
        for (token, link, children, one, terminal) in [
            (0, 0, 0, false, false),
            (NO_TOKEN, 0, 0, false, false),
            (0, u32::MAX, 0, false, false),
            (0, 0, 62, false, false),
            (0, 0, 0, true, false),
            (0, 0, 0, false, true),
            (0x12_34_56, 0x89_AB_CD_EF, 5, true, true),
        ] {
            let node = Node::new(token, link, children)
                .with_one_concept(one)
                .with_terminal(terminal);
            assert_eq!(
                (node.token(), node.link(), node.children()),
                (token, link, children)
            );
            assert_eq!(
                (node.has_one_concept(), node.is_terminal()),
                (one, terminal)
            );
        }
        assert_eq!(Node::new(1, 2, 5000).children(), WIDE);
    }
}
