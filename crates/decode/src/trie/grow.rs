//! From names in order to nodes in the order of the file.
//!
//! **Order.** Brothers lie side by side in ascending order of their tokens. Behind them comes everything below the first
//! of them, then everything below the second, and so on; a small subtree is therefore one short stretch of the file, and
//! the nodes of a run without choices follow each other.
//!
//! **How.** The children of a root are split into tasks by the number of their names, and every task makes its nodes
//! with numbers of its own; they are shifted when they are put behind the others. Below a task there is a stack of nodes
//! still to be looked at: no recursion. What nodes know of the names below them is filled in backwards, since children
//! have larger numbers.

use std::ops::Range;

use rayon::prelude::*;

use super::build::{Sorted, within_u32};
use super::node::{NO_TOKEN, Node, WIDE, Wide};
use crate::Error;

/// Names below the brothers that one task takes, unless a single one has more.
const NAMES_PER_TASK: usize = 4096;

/// Tasks whose nodes are in memory at a time, beside the ones that are done.
const TASKS_AT_ONCE: usize = 64;

/// Distances to an end saturate here: "this far, or farther".
pub(super) const FAR: u8 = u8::MAX;

/// The arrays of the file; see [`super::format`] for their meaning.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) groups: usize,
    pub(super) longest_name: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) wide: Vec<Wide>,
    pub(super) bucket_starts: Vec<u32>,
    pub(super) terminal_bits: Vec<u64>,
    pub(super) terminal_rank: Vec<u32>,
    pub(super) names: Vec<u32>,
    pub(super) concepts: Vec<u32>,
    pub(super) merged: Vec<u32>,
    pub(super) shortest: Vec<u8>,
    pub(super) longest: Vec<u8>,
}

/// A node that is being made.
#[derive(Clone)]
struct Draft {
    token: u32,
    /// Its names, less those that end in it.
    names: Range<u32>,
    terminal: bool,
    /// Number of the first child, in the numbers of its [`Growth`].
    first: u32,
    children: u32,
    ahead: Ahead,
}

/// What a node knows of the names below it.
#[derive(Clone, Copy)]
struct Ahead {
    shortest: u8,
    longest: u8,
    /// The only concept below, or one of the two constants.
    concept: u32,
}

/// Some brothers (the heads) and then all nodes below them, numbered in this order.
struct Growth {
    heads: usize,
    nodes: Vec<Draft>,
    /// Names and concepts of the terminal nodes below the heads, in their order.
    names: Vec<u32>,
    concepts: Vec<u32>,
    /// Pairs (dropped name, name that answers for it).
    merged: Vec<(u32, u32)>,
}

impl Sorted<'_> {
    pub(super) fn grow(&self) -> Result<Parts, Error> {
        let mut parts = Parts {
            groups: self.ranges.len(),
            ..Parts::default()
        };
        parts.make_room(self.ranges.len())?;
        let mut merged = Vec::new();
        for (group, names) in self.ranges.iter().enumerate() {
            let mut top = Growth::of(vec![Draft::root(names.clone())]);
            self.branch(&mut top, 0, 0);
            let mut children = top.nodes.split_off(1);
            let first = parts.nodes.len();
            parts.make_room(children.len())?;
            merged.append(&mut parts.take_names(&mut top));
            for tasks in tasks(&children).chunks(TASKS_AT_ONCE) {
                let grown: Vec<Growth> = tasks
                    .par_iter()
                    .map(|heads| self.below(&children[heads.clone()]))
                    .collect();
                for (heads, mut growth) in tasks.iter().zip(grown) {
                    parts.append(first + heads.start, &growth)?;
                    merged.append(&mut parts.take_names(&mut growth));
                    growth.nodes.truncate(growth.heads);
                    children[heads.clone()].clone_from_slice(&growth.nodes);
                }
            }
            let root = &mut top.nodes[0];
            root.ahead.see(&children);
            // The first child of a root has the number 1 among its growth.
            parts.put(group, root, &children, first.wrapping_sub(1));
        }
        parts.longest_name = self.longest_name();
        parts.count_terminals();
        merged.sort_unstable();
        parts.merged = merged.into_iter().flat_map(<[u32; 2]>::from).collect();
        Ok(parts)
    }

    /// All nodes below some children of a root.
    fn below(&self, heads: &[Draft]) -> Growth {
        let mut growth = Growth::of(heads.to_vec());
        let mut stack: Vec<(usize, usize)> = (0..heads.len()).rev().map(|head| (head, 1)).collect();
        while let Some((node, depth)) = stack.pop() {
            let children = self.branch(&mut growth, node, depth);
            stack.extend(children.rev().map(|child| (child, depth + 1)));
        }
        growth.look_ahead();
        growth
    }

    /// Adds the children of `node`, which is `depth` tokens below its root, and returns their numbers.
    fn branch(&self, growth: &mut Growth, node: usize, depth: usize) -> Range<usize> {
        let first = growth.nodes.len();
        let Range { start: mut at, end } = growth.nodes[node].names;
        while at < end {
            let token = self.token(at, depth);
            let start = at;
            while at < end && self.token(at, depth) == token {
                at += 1;
            }
            let child = self.draft(token, start..at, depth + 1, growth);
            growth.nodes.push(child);
        }
        let children = first..growth.nodes.len();
        growth.nodes[node].first = first as u32;
        growth.nodes[node].children = children.len() as u32;
        children
    }

    /// The node of the `names` that agree in `depth` tokens; those that end in it sort first.
    fn draft(&self, token: u32, names: Range<u32>, depth: usize, growth: &mut Growth) -> Draft {
        let ended = names
            .clone()
            .take_while(|&at| self.length(at) == depth)
            .count() as u32;
        let kept = self.entry(names.start);
        if ended > 0 {
            growth.names.push(kept.name.0);
            growth.concepts.push(kept.concept.0);
        }
        let dropped = (names.start + 1..names.start + ended).map(|at| self.entry(at).name.0);
        growth
            .merged
            .extend(dropped.map(|name| (name, kept.name.0)));
        Draft {
            token,
            names: names.start + ended..names.end,
            terminal: ended > 0,
            first: 0,
            children: 0,
            ahead: Ahead::of((ended > 0).then_some(kept.concept.0)),
        }
    }
}

/// Brothers in stretches of about [`NAMES_PER_TASK`] names.
fn tasks(brothers: &[Draft]) -> Vec<Range<usize>> {
    let mut tasks = Vec::new();
    let (mut start, mut names) = (0, 0);
    for (at, draft) in brothers.iter().enumerate() {
        names += draft.names.len();
        if names >= NAMES_PER_TASK || at + 1 == brothers.len() {
            tasks.push(start..at + 1);
            (start, names) = (at + 1, 0);
        }
    }
    tasks
}

impl Draft {
    fn root(names: Range<u32>) -> Self {
        Self {
            token: NO_TOKEN,
            names,
            terminal: false,
            first: 0,
            children: 0,
            ahead: Ahead::of(None),
        }
    }

    fn children_among<'g>(&self, growth: &'g [Draft]) -> &'g [Draft] {
        let first = self.first as usize;
        &growth[first..first + self.children as usize]
    }
}

impl Growth {
    fn of(heads: Vec<Draft>) -> Self {
        Self {
            heads: heads.len(),
            nodes: heads,
            names: Vec::new(),
            concepts: Vec::new(),
            merged: Vec::new(),
        }
    }

    fn look_ahead(&mut self) {
        for node in (0..self.nodes.len()).rev() {
            let (nodes, behind) = self.nodes.split_at_mut(node + 1);
            let draft = &mut nodes[node];
            if draft.children > 0 {
                let first = draft.first as usize - (node + 1);
                draft
                    .ahead
                    .see(&behind[first..first + draft.children as usize]);
            }
        }
    }
}

impl Ahead {
    const SEVERAL: u32 = u32::MAX - 1;
    const NONE: u32 = u32::MAX;

    /// A node in which a name of this concept ends, or none.
    fn of(own: Option<u32>) -> Self {
        Self {
            shortest: if own.is_some() { 0 } else { FAR },
            longest: 0,
            concept: own.unwrap_or(Self::NONE),
        }
    }

    fn see(&mut self, children: &[Draft]) {
        for child in children.iter().map(|child| child.ahead) {
            self.shortest = self.shortest.min(child.shortest.saturating_add(1));
            self.longest = self.longest.max(child.longest.saturating_add(1));
            self.concept = match (self.concept, child.concept) {
                (Self::NONE, other) | (other, Self::NONE) => other,
                (one, other) if one == other => one,
                _ => Self::SEVERAL,
            };
        }
    }
}

impl Parts {
    /// Adds nodes that are [put](Self::put) later.
    fn make_room(&mut self, nodes: usize) -> Result<(), Error> {
        let nodes = self.nodes.len() + nodes;
        within_u32("nodes", nodes)?;
        self.nodes.resize(nodes, Node::new(NO_TOKEN, 0, 0));
        self.shortest.resize(nodes, FAR);
        self.longest.resize(nodes, 0);
        Ok(())
    }

    /// Puts the heads of a growth where room was made for them, `at` and behind it, and the others behind all nodes.
    fn append(&mut self, at: usize, growth: &Growth) -> Result<(), Error> {
        let (heads, below) = growth.nodes.split_at(growth.heads);
        let first = self.nodes.len();
        self.make_room(below.len())?;
        let shift = first.wrapping_sub(growth.heads);
        for (place, draft) in (at..).zip(heads).chain((first..).zip(below)) {
            self.put(place, draft, draft.children_among(&growth.nodes), shift);
        }
        Ok(())
    }

    /// `shift` is what turns the numbers of a growth into those of the file.
    fn put(&mut self, at: usize, draft: &Draft, children: &[Draft], shift: usize) {
        let first = match draft.children {
            0 => 0,
            _ => (draft.first as usize).wrapping_add(shift) as u32,
        };
        let link = if draft.children < WIDE {
            first
        } else {
            let tokens: Vec<u32> = children.iter().map(|child| child.token).collect();
            let wide = Wide::sort(first, &tokens, &mut self.bucket_starts);
            self.wide.push(wide);
            self.wide.len() as u32 - 1
        };
        self.nodes[at] = Node::new(draft.token, link, draft.children)
            .with_one_concept(draft.ahead.concept < Ahead::SEVERAL)
            .with_terminal(draft.terminal);
        self.shortest[at] = draft.ahead.shortest;
        self.longest[at] = draft.ahead.longest;
    }

    /// Takes what lies in the order of the terminal nodes, and gives back the merged names.
    fn take_names(&mut self, growth: &mut Growth) -> Vec<(u32, u32)> {
        self.names.append(&mut growth.names);
        self.concepts.append(&mut growth.concepts);
        std::mem::take(&mut growth.merged)
    }

    fn count_terminals(&mut self) {
        let mut before = 0;
        for nodes in self.nodes.chunks(64) {
            let bit = |(place, node): (usize, &Node)| u64::from(node.is_terminal()) << place;
            let word: u64 = nodes.iter().enumerate().map(bit).sum();
            self.terminal_bits.push(word);
            self.terminal_rank.push(before);
            before += word.count_ones();
        }
    }
}
