//! What a walk relies on beyond the checksum: a file with a right checksum may still be made by something else.

use std::ops::Range;

use super::format::Image;
use super::grow::FAR;
use super::node::{NO_TOKEN, Node, WIDE};

/// The parts of an image that say how nodes hang together.
pub(super) struct Structure<'t> {
    image: &'t Image,
    nodes: &'t [Node],
    shortest: &'t [u8],
    longest: &'t [u8],
}

impl<'t> Structure<'t> {
    pub(super) fn of(image: &'t Image) -> Self {
        Self {
            image,
            nodes: image.nodes(),
            shortest: image.shortest(),
            longest: image.longest(),
        }
    }

    /// Says what is wrong, if something is.
    pub(super) fn check(&self) -> Result<(), String> {
        let nodes = self.nodes.len();
        let groups = self.image.header().groups as usize;
        if groups > nodes {
            return Err(format!("it has {groups} groups and only {nodes} nodes"));
        }
        // The order of the nodes says where the children of each of them have to begin.
        let mut next = groups;
        let roots = 0..groups;
        let mut open = vec![roots];
        let mut longest_name = 0;
        while let Some(brothers) = open.last_mut() {
            let Some(node) = brothers.next() else {
                open.pop();
                continue;
            };
            if self.nodes[node].is_terminal() {
                longest_name = longest_name.max(open.len() - 1);
            }
            let children = self.image.children(node);
            self.check_node(node, &children, next)?;
            if !children.is_empty() {
                next = children.end;
                open.push(children);
            }
        }
        if next != nodes {
            return Err(format!("only {next} of its {nodes} nodes lie below a root"));
        }
        let stated = self.image.header().longest_name as usize;
        if longest_name != stated {
            return Err(format!(
                "its longest name has {longest_name} tokens and it states {stated}"
            ));
        }
        self.check_terminals()
    }

    /// A node whose children, if it has any, must have the numbers from `next` on.
    fn check_node(&self, node: usize, children: &Range<usize>, next: usize) -> Result<(), String> {
        let record = self.nodes[node];
        let is_right = if record.children() == 0 {
            record.link() == 0
        } else {
            !children.is_empty() && children.start == next
        };
        if !is_right {
            return Err(format!("node {node} has its children where they cannot be"));
        }
        let is_root = node < self.image.header().groups as usize;
        if is_root != (record.token() == NO_TOKEN) {
            return Err(format!("node {node} has the token of another kind of node"));
        }
        let brothers = &self.nodes[children.clone()];
        if !brothers.is_sorted_by(|a, b| a.token() < b.token()) {
            return Err(format!(
                "the children of node {node} are not in ascending order of their tokens"
            ));
        }
        if record.children() == WIDE && !self.is_sorted_into_buckets(record.link(), brothers) {
            return Err(format!(
                "the children of node {node} are not where they are looked for"
            ));
        }
        let farther = |distances: &'t [u8]| {
            let below = &distances[children.clone()];
            below.iter().map(|distance| distance.saturating_add(1))
        };
        let own = if record.is_terminal() { 0 } else { FAR };
        let shortest = farther(self.shortest).fold(own, u8::min);
        let longest = farther(self.longest).fold(0, u8::max);
        if (shortest, longest) != (self.shortest[node], self.longest[node]) {
            return Err(format!("node {node} is wrong about the names below it"));
        }
        Ok(())
    }

    fn is_sorted_into_buckets(&self, place: u32, children: &[Node]) -> bool {
        let Some(wide) = self.image.wide().get(place as usize) else {
            return false;
        };
        let first = wide.starts as usize;
        let starts = self.image.bucket_starts();
        let starts = starts.get(first..=first + wide.buckets as usize);
        let Some(starts @ [0, .., end]) = starts else {
            return false;
        };
        let holds = |(bucket, ends): (usize, &[u32])| {
            let held = children.get(ends[0] as usize..ends[1] as usize);
            let is_here =
                |child: &Node| child.token().checked_shr(wide.shift) == Some(bucket as u32);
            held.is_some_and(|held| held.iter().all(is_here))
        };
        *end as usize == children.len() && starts.windows(2).enumerate().all(holds)
    }

    fn check_terminals(&self) -> Result<(), String> {
        let mut before = 0;
        let (bits, ranks) = (self.image.terminal_bits(), self.image.terminal_rank());
        for (nodes, (&word, &rank)) in self.nodes.chunks(64).zip(bits.iter().zip(ranks)) {
            let agrees =
                |(place, node): (usize, &Node)| node.is_terminal() == (word >> place & 1 == 1);
            if rank != before || !nodes.iter().enumerate().all(agrees) {
                return Err("its counts of names do not agree with its nodes".into());
            }
            before += word.count_ones();
        }
        let stated = self.image.header().terminals;
        if before != stated {
            return Err(format!(
                "it has {before} terminal nodes and states {stated}"
            ));
        }
        Ok(())
    }
}
