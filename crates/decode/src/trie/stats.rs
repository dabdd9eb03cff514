//! What a trie looks like: bytes per part, branching by depth, share of forced tokens.

use std::fmt;

use serde::Serialize;

use super::Trie;

/// Sizes and shape of a [`Trie`]; prints as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrieStats {
    /// Semantic groups, each with its root.
    pub groups: usize,
    /// Nodes, roots included; the end of sequence is not a node.
    pub nodes: usize,
    /// Distinct token sequences.
    pub names: usize,
    /// Names that share their sequence with another name of their group.
    pub merged_names: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes per part of the file.
    pub parts: Vec<PartStats>,
    /// Tokens of a name, the end of sequence included: mean over the names.
    pub tokens_per_name: f64,
    /// Share of these tokens at which the trie leaves no choice.
    pub forced_share: f64,
    /// Branching at each depth, from the roots down.
    pub by_depth: Vec<DepthStats>,
}

/// Bytes of one part of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartStats {
    /// The part, as the layout calls it.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// Branching of the nodes at one depth; the end of sequence counts as a branch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthStats {
    /// Tokens from the root.
    pub depth: usize,
    /// Nodes at this depth.
    pub nodes: usize,
    /// Allowed tokens: mean.
    pub mean_allowed: f64,
    /// Allowed tokens: maximum.
    pub max_allowed: usize,
    /// Share of the nodes with one allowed token.
    pub forced_share: f64,
}

pub(super) fn collect(trie: &Trie) -> TrieStats {
    let parts = trie
        .image
        .sizes()
        .into_iter()
        .map(|(name, bytes)| PartStats { name, bytes })
        .collect();
    let walk = Walk::through(trie);
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    TrieStats {
        groups: trie.group_count(),
        nodes: trie.node_count(),
        names: trie.name_count(),
        merged_names: trie.merged_names().len(),
        bytes: trie.as_bytes().len() as u64,
        parts,
        tokens_per_name: share(walk.tokens as f64, trie.name_count() as f64),
        forced_share: share(walk.forced as f64, walk.tokens as f64),
        by_depth: walk.by_depth.iter().enumerate().map(Depth::stats).collect(),
    }
}

/// Sums over all names and all nodes.
#[derive(Default)]
struct Walk {
    /// Tokens of all names, their ends included.
    tokens: u64,
    /// Of these, tokens without a choice.
    forced: u64,
    by_depth: Vec<Depth>,
}

/// Sums over the nodes of one depth.
#[derive(Default)]
struct Depth {
    nodes: usize,
    allowed: usize,
    max_allowed: usize,
    forced: usize,
}

impl Walk {
    fn through(trie: &Trie) -> Self {
        let mut walk = Self::default();
        // Brothers that are still to be looked at, and how many of the tokens that lead to them were forced.
        let mut open = vec![(0..trie.group_count(), 0)];
        while let Some((brothers, forced)) = open.last_mut() {
            let Some(node) = brothers.next() else {
                open.pop();
                continue;
            };
            let before = *forced;
            let forced = before + walk.count(trie, node, open.len() - 1, before);
            open.push((trie.image.children(node), forced));
        }
        walk
    }

    /// Counts a node, and returns how many tokens are forced behind it: one or none.
    fn count(&mut self, trie: &Trie, node: usize, depth: usize, forced_before: u64) -> u64 {
        let ends = trie.image.nodes()[node].is_terminal();
        let allowed = trie.image.children(node).len() + usize::from(ends);
        let forced = u64::from(allowed == 1);
        if self.by_depth.len() == depth {
            self.by_depth.push(Depth::default());
        }
        let row = &mut self.by_depth[depth];
        row.nodes += 1;
        row.allowed += allowed;
        row.max_allowed = row.max_allowed.max(allowed);
        row.forced += forced as usize;
        if ends {
            self.tokens += depth as u64 + 1;
            self.forced += forced_before + forced;
        }
        forced
    }
}

impl Depth {
    fn stats((depth, row): (usize, &Self)) -> DepthStats {
        let nodes = row.nodes as f64;
        DepthStats {
            depth,
            nodes: row.nodes,
            mean_allowed: row.allowed as f64 / nodes,
            max_allowed: row.max_allowed,
            forced_share: row.forced as f64 / nodes,
        }
    }
}

impl fmt::Display for TrieStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "groups                {:>12}", self.groups)?;
        writeln!(f, "names                 {:>12}", self.names)?;
        writeln!(f, "merged names          {:>12}", self.merged_names)?;
        writeln!(f, "nodes                 {:>12}", self.nodes)?;
        writeln!(f, "tokens per name       {:>12.2}", self.tokens_per_name)?;
        writeln!(
            f,
            "forced tokens         {:>11.1}%",
            100.0 * self.forced_share
        )?;
        writeln!(f, "bytes                 {:>12}", self.bytes)?;
        for part in &self.parts {
            writeln!(f, "  {:<19} {:>12}", part.name, part.bytes)?;
        }
        writeln!(f, "depth       nodes  allowed mean  allowed max  forced")?;
        for row in &self.by_depth {
            writeln!(
                f,
                "{:>5} {:>11} {:>13.2} {:>12} {:>6.1}%",
                row.depth,
                row.nodes,
                row.mean_allowed,
                row.max_allowed,
                100.0 * row.forced_share
            )?;
        }
        Ok(())
    }
}
