//! What a trie looks like: bytes per part, branching by depth, share of forced tokens.

use std::fmt;

use serde::Serialize;

use super::{NodeId, Trie};

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
    let below = names_below(trie);
    let (mut tokens, mut forced) = (0u64, 0u64);
    for (node, &names) in below.iter().enumerate() {
        tokens += u64::from(names);
        forced += if allowed(trie, node) == 1 {
            u64::from(names)
        } else {
            0
        };
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    TrieStats {
        groups: trie.group_count(),
        nodes: trie.node_count(),
        names: trie.name_count(),
        merged_names: trie.merged_names().len(),
        bytes: trie.as_bytes().len() as u64,
        parts,
        tokens_per_name: share(tokens as f64, trie.name_count() as f64),
        forced_share: share(forced as f64, tokens as f64),
        by_depth: by_depth(trie),
    }
}

/// Names in the subtree of each node: children have larger numbers, so one pass from the end is enough.
fn names_below(trie: &Trie) -> Vec<u32> {
    let mut below = vec![0u32; trie.node_count()];
    for node in (0..below.len()).rev() {
        let id = NodeId(node as u32);
        let own = u32::from(trie.terminal(id).is_some());
        below[node] = own
            + trie
                .children(id)
                .nodes()
                .map(|child| below[child.0 as usize])
                .sum::<u32>();
    }
    below
}

fn by_depth(trie: &Trie) -> Vec<DepthStats> {
    let starts = trie.image.child_start();
    let mut rows = Vec::new();
    let mut level = 0..trie.group_count();
    while !level.is_empty() {
        let (mut sum, mut max, mut forced) = (0, 0, 0);
        for node in level.clone() {
            let allowed = allowed(trie, node);
            sum += allowed;
            max = max.max(allowed);
            forced += usize::from(allowed == 1);
        }
        let nodes = level.len() as f64;
        rows.push(DepthStats {
            depth: rows.len(),
            nodes: level.len(),
            mean_allowed: sum as f64 / nodes,
            max_allowed: max,
            forced_share: forced as f64 / nodes,
        });
        level = starts[level.start] as usize..starts[level.end] as usize;
    }
    rows
}

fn allowed(trie: &Trie, node: usize) -> usize {
    let node = NodeId(node as u32);
    trie.children(node).len() + usize::from(trie.terminal(node).is_some())
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
