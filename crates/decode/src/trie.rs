//! The token trie: every way to spell a name of a semantic group, as flat arrays in one file.
//!
//! **What for.** During guided decoding the model may only continue what is still the beginning of a name of the
//! mention's semantic group. The trie answers, for a state that the search carries along, *which tokens may come
//! next* and *does a name end here, and whose is it*, without ever starting again from the root.
//!
//! **Layout.** A node is one number of 64 bits that holds its token, the number of its first child, how many children it has
//! and whether a name may end in it. Brothers lie side by side, ascending by token, and behind them comes everything
//! below the first of them, then everything below the second, and so on:
//!
//! ```text
//!              root
//!           a        b               nodes      root | a b | c d | e | f | g
//!         c   d      g                                       below a:  c d, e, f
//!         e   f                                              below b:  g
//! ```
//!
//! The node that a step finds says where the next step has to look, so a step waits for memory once; and as a small subtree is
//! a short stretch, and a run without choices a run of numbers, most steps do not wait at all: what they read lies in
//! the line of cache that the step before brought. Names and concepts are kept only for nodes in which a name ends, found
//! by counting bits when they are asked for. The end of sequence is not a node.
//!
//! Beside this, two bytes a node look ahead, so that a search need not: how far the nearest and the farthest end of a name are
//! (the bounds of a best-first search under length normalisation).
//!
//! **Cost.** 10 bytes a node, a fifth of a byte for bits and counts, and 8 bytes a name. MEDIC (76 thousand names in 314
//! thousand nodes) takes 3.8 MB; names of UMLS size are measured by the bench `trie_umls`. [`Trie::open`] maps the file and
//! reads its head, whatever the size. Building sorts the token sequences in parallel and turns stretches of them into
//! nodes in parallel: no recursion, and no hash map whose order could leak into the file. The same names and tokenizer
//! give the same bytes.

mod build;
mod check;
mod format;
mod grow;
mod node;
mod stats;

use std::ops::Range;
use std::path::Path;

use syncabel_kb::{ConceptId, Digest, GroupId, Kb, NameId};

pub use build::NameEntry;
pub use format::{FORMAT_VERSION, MAGIC};
pub use stats::{DepthStats, PartStats, TrieStats};

use crate::Error;
use format::Image;
use node::Node;

/// A state of the walk through a [`Trie`]; carried by the search from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// What a node spells, when a name may end in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The name whose tokens lead from the group's root to the node.
    pub name: NameId,
    /// The concept that the name denotes in its group.
    pub concept: ConceptId,
}

/// The continuations of a node: tokens in ascending order, and the nodes they lead to.
#[derive(Clone, Copy, Debug)]
pub struct Children<'t> {
    nodes: &'t [Node],
    first: u32,
}

/// Two names of one group that the tokenizer cannot tell apart: only one of them can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedName {
    /// The name that has no terminal of its own.
    pub dropped: NameId,
    /// The name that answers for it: a preferred name before others, then the smaller id.
    pub kept: NameId,
}

/// A set of token sequences per semantic group; see the [module](self) for the layout.
pub struct Trie {
    image: Image,
}

impl Trie {
    /// Spells every name of `kb` in tokens and builds the trie, one root per semantic group.
    ///
    /// A name's sequence is `encode(" " + name)`: the space is what stands between the prompt's verb and the name, so
    /// the first token has its in-context form. `eos` ends every sequence and may not occur inside one. Names of a
    /// group that encode alike are merged, see [`Trie::merged_names`].
    ///
    /// # Errors
    /// [`Error::Unspellable`] for a name whose encoding is empty or holds `eos`; [`Error::TooLarge`] beyond 2³² nodes.
    pub fn build(
        kb: &Kb,
        encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
        eos: u32,
        tokenizer_digest: Digest,
    ) -> Result<Self, Error> {
        let groups: Vec<Vec<NameEntry<'_>>> = (0..kb.group_count())
            .map(|group| {
                kb.names(GroupId(group as u16))
                    .map(NameEntry::from)
                    .collect()
            })
            .collect();
        Self::from_names(&groups, encode, eos, *kb.digest(), tokenizer_digest)
    }

    /// [`Trie::build`] from names that come from elsewhere than a [`Kb`]: one list per group, in the order of their
    /// [`GroupId`]s. The order inside a list does not matter.
    ///
    /// # Errors
    /// As [`Trie::build`].
    pub fn from_names(
        groups: &[Vec<NameEntry<'_>>],
        encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
        eos: u32,
        kb_digest: Digest,
        tokenizer_digest: Digest,
    ) -> Result<Self, Error> {
        let parts = build::build(groups, encode, eos)?;
        let image = Image::assemble(parts, eos, kb_digest, tokenizer_digest)?;
        Ok(Self { image })
    }

    /// Writes the trie to `path`, through a temporary file beside it, so that a reader never sees half a trie.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.image.write(path)
    }

    /// Maps the trie at `path` and checks that it belongs to this knowledge base and this tokenizer.
    ///
    /// Takes the same short time whatever the size: the head of the file is checksummed, parts are found to lie inside
    /// it, and nothing else is read. What [`Trie::verify`] finds on top, a search survives: it may give wrong names, it
    /// does not panic. The file must not be changed in place while it is open; [`Trie::write`] never does that.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotATrie`], [`Error::Version`], [`Error::Corrupt`], and [`Error::Mismatch`] with both
    /// digests when the trie was built from another knowledge base or tokenizer.
    pub fn open(path: &Path, kb: &Digest, tokenizer: &Digest) -> Result<Self, Error> {
        let trie = Self::open_any(path)?;
        trie.check_digests(kb, tokenizer)?;
        Ok(trie)
    }

    /// [`Trie::open`] without asking what the trie was built from: for `inspect`.
    ///
    /// # Errors
    /// As [`Trie::open`], less [`Error::Mismatch`].
    pub fn open_any(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            image: Image::open(path)?,
        })
    }

    /// Reads the whole trie (some hundred megabytes a second): its checksum, child ranges, order and counts. `path` is what
    /// the error will name.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn verify(&self, path: &Path) -> Result<(), Error> {
        self.image.verify(path)
    }

    /// Refuses a trie that was built from something else than is at hand.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with both digests.
    pub fn check_digests(&self, kb: &Digest, tokenizer: &Digest) -> Result<(), Error> {
        let pairs = [
            ("knowledge base", self.kb_digest(), *kb),
            ("tokenizer", self.tokenizer_digest(), *tokenizer),
        ];
        for (what, in_trie, at_hand) in pairs {
            if in_trie != at_hand {
                return Err(Error::Mismatch {
                    what,
                    in_trie,
                    at_hand,
                });
            }
        }
        Ok(())
    }

    /// The node before the first token of every name of `group`; `None` for a group that the trie does not have.
    pub fn root(&self, group: GroupId) -> Option<NodeId> {
        (usize::from(group.0) < self.group_count()).then_some(NodeId(u32::from(group.0)))
    }

    /// The tokens that continue a name after `node`, ascending, and where they lead. Empty after the last token.
    pub fn children(&self, node: NodeId) -> Children<'_> {
        self.children_in(self.image.children(node.0 as usize))
    }

    fn children_in(&self, range: Range<usize>) -> Children<'_> {
        Children {
            first: range.start as u32,
            nodes: self.image.nodes().get(range).unwrap_or(&[]),
        }
    }

    /// The node after `token`, if some name of the group goes on with it.
    pub fn child(&self, node: NodeId, token: u32) -> Option<NodeId> {
        self.children_in(self.image.children_near(node.0 as usize, token))
            .find(token)
    }

    /// The token that follows `node` without a choice, and the node behind it: its only child, and no name ends in it.
    pub fn forced(&self, node: NodeId) -> Option<(u32, NodeId)> {
        let record = self.image.nodes().get(node.0 as usize)?;
        if record.is_terminal() || record.children() != 1 {
            return None;
        }
        self.children(node).iter().next()
    }

    /// Whether a name may end in `node`, so that the end of sequence is allowed there; [`Trie::terminal`] says which.
    pub fn is_terminal(&self, node: NodeId) -> bool {
        let record = self.image.nodes().get(node.0 as usize);
        record.is_some_and(|record| record.is_terminal())
    }

    /// The name that may end in `node`.
    pub fn terminal(&self, node: NodeId) -> Option<Terminal> {
        if !self.is_terminal(node) {
            return None;
        }
        let n = node.0 as usize;
        let word = *self.image.terminal_bits().get(n / 64)?;
        let bit = 1u64 << (n % 64);
        let before = *self.image.terminal_rank().get(n / 64)? as usize;
        let rank = before + (word & (bit - 1)).count_ones() as usize;
        Some(Terminal {
            name: NameId(*self.image.names().get(rank)?),
            concept: ConceptId(*self.image.concepts().get(rank)?),
        })
    }

    /// Walks `tokens` from the root of `group`: the terminal of a complete name, else `None`.
    pub fn lookup(&self, group: GroupId, tokens: &[u32]) -> Option<Terminal> {
        let mut node = self.root(group)?;
        for &token in tokens {
            node = self.child(node, token)?;
        }
        self.terminal(node)
    }

    /// Names that share their token sequence with another name of the group, in ascending order of their ids.
    pub fn merged_names(&self) -> impl ExactSizeIterator<Item = MergedName> + '_ {
        self.image.merged().chunks_exact(2).map(|pair| MergedName {
            dropped: NameId(pair[0]),
            kept: NameId(pair[1]),
        })
    }

    /// Number of semantic groups, each with its root.
    pub fn group_count(&self) -> usize {
        self.image.header().groups as usize
    }

    /// Number of nodes, roots included.
    pub fn node_count(&self) -> usize {
        self.image.header().nodes as usize
    }

    /// Number of distinct token sequences.
    pub fn name_count(&self) -> usize {
        self.image.header().terminals as usize
    }

    /// Tokens of the longest name, without its end.
    pub fn longest_name_tokens(&self) -> usize {
        self.image.header().longest_name as usize
    }

    /// Tokens from `node` to the nearest end of a name, 0 where one may end: never more than there are, and exact up
    /// to 254.
    pub fn shortest_below(&self, node: NodeId) -> usize {
        self.ahead(self.image.shortest(), node).into()
    }

    /// Tokens from `node` to the farthest end of a name: never less than there are, and exact up to 254.
    pub fn longest_below(&self, node: NodeId) -> usize {
        match self.ahead(self.image.longest(), node) {
            grow::FAR => self.longest_name_tokens(),
            exact => exact.into(),
        }
    }

    /// Tokens that follow `node` without a choice: one child after the other, each the only one, and no name that
    /// may end before the last of them. The end of sequence is not counted. Walks them; see [`Trie::forced`].
    pub fn forced_below(&self, node: NodeId) -> usize {
        std::iter::successors(self.forced(node), |&(_, child)| self.forced(child)).count()
    }

    /// The concept that every name below `node` denotes, if it is one.
    pub fn only_concept_below(&self, node: NodeId) -> Option<ConceptId> {
        if !self.image.nodes().get(node.0 as usize)?.has_one_concept() {
            return None;
        }
        // Every way down ends in a name; take the first one.
        let mut at = node;
        for _ in 0..=self.longest_name_tokens() {
            if let Some(terminal) = self.terminal(at) {
                return Some(terminal.concept);
            }
            at = self.children(at).nodes().next()?;
        }
        None
    }

    /// The concepts that names below `node` denote, ascending, each once; walks the subtree.
    pub fn concepts_below(&self, node: NodeId) -> Vec<ConceptId> {
        let mut found = std::collections::BTreeSet::new();
        let mut stack = vec![node];
        while let Some(at) = stack.pop() {
            found.extend(self.terminal(at).map(|terminal| terminal.concept));
            stack.extend(self.children(at).nodes());
        }
        found.into_iter().collect()
    }

    fn ahead(&self, part: &[u8], node: NodeId) -> u8 {
        part.get(node.0 as usize).copied().unwrap_or(0)
    }

    /// The token that ends every sequence.
    pub fn eos(&self) -> u32 {
        self.image.header().eos
    }

    /// Digest of the knowledge base that the names came from.
    pub fn kb_digest(&self) -> Digest {
        self.image.header().kb_digest()
    }

    /// Digest of the tokenizer that spelled them.
    pub fn tokenizer_digest(&self) -> Digest {
        self.image.header().tokenizer_digest()
    }

    /// Sizes, branching by depth and the share of forced tokens; walks the whole trie.
    pub fn stats(&self) -> TrieStats {
        stats::collect(self)
    }

    /// The bytes of the file, as [`Trie::write`] writes them.
    pub fn as_bytes(&self) -> &[u8] {
        self.image.bytes()
    }
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trie")
            .field("groups", &self.group_count())
            .field("nodes", &self.node_count())
            .field("names", &self.name_count())
            .finish_non_exhaustive()
    }
}

impl<'t> Children<'t> {
    /// The nodes, in the order of their tokens.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (self.first..self.first + self.nodes.len() as u32).map(NodeId)
    }

    /// The allowed tokens, ascending.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = u32> + use<'t> {
        self.nodes.iter().map(|node| node.token())
    }

    /// Tokens and nodes together.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, NodeId)> + use<'t> {
        self.tokens().zip(self.nodes())
    }

    /// Number of continuations.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no name goes on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node behind `token`, by binary search.
    pub fn find(&self, token: u32) -> Option<NodeId> {
        let at = self
            .nodes
            .binary_search_by_key(&token, |node| node.token())
            .ok()?;
        Some(NodeId(self.first + at as u32))
    }
}
