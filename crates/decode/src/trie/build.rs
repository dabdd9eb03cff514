//! From names to the arrays of the trie: spell in parallel, sort in parallel, walk level by level in parallel.
//!
//! **Memory.** Per name 4 bytes of order, 4 of start, and its tokens twice (as spelled, and in sorted order; the first
//! copy is gone before the walk starts); per node what the file takes, and during the walk 8 bytes for each node of
//! two levels. At 7.4 million names of nine tokens that is about 1.2 GB beside the names.
//!
//! **Time.** Names are compared by a 64-bit key made of their first tokens (four of a 16-bit vocabulary, three of a
//! larger one); only names that agree there touch their tokens, which are scattered over memory.

use std::ops::Range;

use rayon::prelude::*;
use syncabel_kb::{ConceptId, Name, NameId};

use crate::Error;

/// Names spelled by one task; small enough to balance two cores, large enough to hide the cost of a task.
const NAMES_PER_TASK: usize = 4096;

/// Nodes of one level that one task takes.
const NODES_PER_TASK: usize = 1 << 14;

/// The token on the edge into a root: there is none.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// Distances to an end saturate here: "this far, or farther".
pub(super) const FAR: u8 = u8::MAX;

/// Lengths of forced runs saturate here.
pub(super) const LONGEST_RUN: u8 = 127;

/// Set beside the length of the forced run where all names below denote one concept.
pub(super) const ONE_CONCEPT: u8 = 128;

/// A name as the trie needs it.
#[derive(Clone, Copy, Debug)]
pub struct NameEntry<'a> {
    /// The name's id in the knowledge base.
    pub name: NameId,
    /// The concept it denotes in its group.
    pub concept: ConceptId,
    /// Whether it is the concept's preferred name; such a name wins over another of the same spelling.
    pub preferred: bool,
    /// The text, without the leading space.
    pub text: &'a str,
}

impl<'a> From<Name<'a>> for NameEntry<'a> {
    fn from(name: Name<'a>) -> Self {
        Self {
            name: name.id,
            concept: name.concept,
            preferred: name.preferred,
            text: name.text,
        }
    }
}

/// The arrays of the file; see [`super::format`] for their meaning.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) groups: usize,
    pub(super) longest_name: usize,
    pub(super) largest_token: u32,
    pub(super) tokens: Vec<u32>,
    pub(super) child_start: Vec<u32>,
    pub(super) terminal_bits: Vec<u64>,
    pub(super) terminal_rank: Vec<u32>,
    pub(super) names: Vec<u32>,
    pub(super) concepts: Vec<u32>,
    pub(super) merged: Vec<u32>,
    pub(super) shortest: Vec<u8>,
    pub(super) longest: Vec<u8>,
    pub(super) forced: Vec<u8>,
}

/// Builds the arrays for one list of names per group.
pub(super) fn build(
    groups: &[Vec<NameEntry<'_>>],
    encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
    eos: u32,
) -> Result<Parts, Error> {
    let spelled = Spelled::of(groups, encode, eos)?;
    let sorted = spelled.sorted(groups);
    drop(spelled);
    sorted.walk()
}

/// The token sequences of all names, end to end, in the order of the input.
#[derive(Default)]
struct Spelled {
    /// `starts[i]..starts[i + 1]` are the tokens of name `i`, counting through all groups.
    starts: Vec<u32>,
    tokens: Vec<u32>,
}

impl Spelled {
    fn of(
        groups: &[Vec<NameEntry<'_>>],
        encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
        eos: u32,
    ) -> Result<Self, Error> {
        let mut all = Self {
            starts: vec![0],
            tokens: Vec::new(),
        };
        for (group, names) in groups.iter().enumerate() {
            let tasks: Vec<Result<Spellings, Error>> = names
                .par_chunks(NAMES_PER_TASK)
                .map(|names| spell(group as u16, names, encode, eos))
                .collect();
            for task in tasks {
                all.append(&task?)?;
            }
        }
        Ok(all)
    }

    fn append(&mut self, spellings: &Spellings) -> Result<(), Error> {
        within_u32("tokens", self.tokens.len() + spellings.tokens.len())?;
        let mut end = self.tokens.len() as u32;
        self.starts.extend(spellings.lengths.iter().map(|&length| {
            end += length;
            end
        }));
        self.tokens.extend_from_slice(&spellings.tokens);
        within_u32("names", self.starts.len())
    }

    fn tokens(&self, name: usize) -> &[u32] {
        &self.tokens[self.starts[name] as usize..self.starts[name + 1] as usize]
    }

    /// The names of each group by their spelling; of one spelling, the name that answers for the others comes first.
    fn sorted<'g>(&self, groups: &'g [Vec<NameEntry<'g>>]) -> Sorted<'g> {
        let prefix = Prefix::for_tokens(&self.tokens);
        let mut sorted = Sorted {
            entries: Vec::with_capacity(self.starts.len() - 1),
            starts: Vec::with_capacity(self.starts.len()),
            tokens: Vec::with_capacity(self.tokens.len()),
            ranges: Vec::with_capacity(groups.len()),
            largest_token: prefix.largest,
        };
        sorted.starts.push(0);
        let mut first = 0;
        for names in groups {
            let begin = sorted.entries.len() as u32;
            for at in self.order(names, first, &prefix) {
                let tokens = self.tokens(first + at as usize);
                sorted.entries.push(&names[at as usize]);
                sorted.tokens.extend_from_slice(tokens);
                sorted.starts.push(sorted.tokens.len() as u32);
            }
            sorted.ranges.push(begin..sorted.entries.len() as u32);
            first += names.len();
        }
        sorted
    }

    /// Positions in `names`, sorted; the first of them is name `first` of all.
    fn order(&self, names: &[NameEntry<'_>], first: usize, prefix: &Prefix) -> Vec<u32> {
        let spelled = |at: u32| self.tokens(first + at as usize);
        let rank = |at: u32| {
            let entry = &names[at as usize];
            (!entry.preferred, entry.name)
        };
        let mut keyed: Vec<(u64, u32)> = (0..names.len() as u32)
            .into_par_iter()
            .map(|at| (prefix.key(spelled(at)), at))
            .collect();
        keyed.par_sort_unstable_by(|&(x, a), &(y, b)| {
            x.cmp(&y)
                .then_with(|| prefix.rest(spelled(a)).cmp(prefix.rest(spelled(b))))
                .then_with(|| rank(a).cmp(&rank(b)))
        });
        keyed.into_iter().map(|(_, at)| at).collect()
    }
}

/// The first tokens of a name as one number that sorts as they do.
struct Prefix {
    largest: u32,
    bits: u32,
    tokens: usize,
}

impl Prefix {
    fn for_tokens(tokens: &[u32]) -> Self {
        let largest = tokens.par_iter().copied().max().unwrap_or(0);
        // One more than the tokens: 0 stands for "the name has ended", which sorts first.
        let bits = (u64::from(largest) + 2)
            .next_power_of_two()
            .trailing_zeros()
            .max(1);
        Self {
            largest,
            bits,
            tokens: (64 / bits) as usize,
        }
    }

    fn key(&self, tokens: &[u32]) -> u64 {
        (0..self.tokens).fold(0, |key, place| {
            let digit = tokens.get(place).map_or(0, |&token| u64::from(token) + 1);
            (key << self.bits) | digit
        })
    }

    /// What the key does not say.
    fn rest<'t>(&self, tokens: &'t [u32]) -> &'t [u32] {
        tokens.get(self.tokens..).unwrap_or(&[])
    }
}

/// The tokens of a few names, end to end.
struct Spellings {
    lengths: Vec<u32>,
    tokens: Vec<u32>,
}

fn spell(
    group: u16,
    names: &[NameEntry<'_>],
    encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
    eos: u32,
) -> Result<Spellings, Error> {
    let mut lengths = Vec::with_capacity(names.len());
    let mut tokens = Vec::with_capacity(8 * names.len());
    let mut text = String::new();
    for entry in names {
        text.clear();
        text.push(' ');
        text.push_str(entry.text);
        let spelled = encode(&text);
        let refuse = |reason| Error::Unspellable {
            group,
            name: entry.text.to_owned(),
            reason,
        };
        if spelled.is_empty() {
            return Err(refuse(
                "the tokenizer gives no tokens for it, or special ones",
            ));
        }
        if spelled.contains(&eos) {
            return Err(refuse("its tokens hold the end of sequence"));
        }
        lengths.push(spelled.len() as u32);
        tokens.extend_from_slice(&spelled);
    }
    Ok(Spellings { lengths, tokens })
}

/// All names in the order of the trie. A node is a range of them that agrees in its first `depth` tokens.
struct Sorted<'g> {
    entries: Vec<&'g NameEntry<'g>>,
    starts: Vec<u32>,
    tokens: Vec<u32>,
    /// The names of each group.
    ranges: Vec<Range<u32>>,
    largest_token: u32,
}

/// What one task finds out about its nodes of one level.
#[derive(Default)]
struct Piece {
    /// Children of each node.
    children: Vec<u32>,
    tokens: Vec<u32>,
    next: Vec<Range<u32>>,
    /// Position of the node in the piece, position of the name in the order.
    terminals: Vec<(u32, u32)>,
    merged: Vec<(u32, u32)>,
}

impl Sorted<'_> {
    fn walk(&self) -> Result<Parts, Error> {
        let mut parts = Parts {
            groups: self.ranges.len(),
            largest_token: self.largest_token,
            tokens: vec![NO_TOKEN; self.ranges.len()],
            ..Parts::default()
        };
        let mut merged = Vec::new();
        let mut levels = Vec::new();
        let mut level = self.ranges.clone();
        while !level.is_empty() {
            let depth = levels.len();
            levels.push(parts.child_start.len()..parts.tokens.len());
            let pieces: Vec<Piece> = level
                .par_chunks(NODES_PER_TASK)
                .map(|nodes| self.piece(nodes, depth))
                .collect();
            level.clear();
            for piece in pieces {
                parts.append(&piece, self);
                within_u32("nodes", parts.tokens.len())?;
                level.extend(piece.next);
                merged.extend(piece.merged);
            }
        }
        parts.child_start.push(parts.tokens.len() as u32);
        parts.longest_name = levels.len().saturating_sub(1);
        parts.count_terminals(merged);
        parts.look_ahead(&levels);
        Ok(parts)
    }

    fn piece(&self, nodes: &[Range<u32>], depth: usize) -> Piece {
        let mut piece = Piece::default();
        for (node, range) in nodes.iter().enumerate() {
            let before = piece.tokens.len();
            let mut at = self.end_names(range, depth, node, &mut piece);
            while at < range.end {
                let token = self.token(at, depth);
                let start = at;
                while at < range.end && self.token(at, depth) == token {
                    at += 1;
                }
                piece.tokens.push(token);
                piece.next.push(start..at);
            }
            piece.children.push((piece.tokens.len() - before) as u32);
        }
        piece
    }

    /// Takes the sequences that end in `node` (they sort first) and returns where the longer ones begin.
    fn end_names(&self, range: &Range<u32>, depth: usize, node: usize, piece: &mut Piece) -> u32 {
        let mut at = range.start;
        while at < range.end && self.length(at) == depth {
            if at == range.start {
                piece.terminals.push((node as u32, at));
            } else {
                let kept = self.entries[range.start as usize];
                piece
                    .merged
                    .push((self.entries[at as usize].name.0, kept.name.0));
            }
            at += 1;
        }
        at
    }

    fn length(&self, at: u32) -> usize {
        (self.starts[at as usize + 1] - self.starts[at as usize]) as usize
    }

    fn token(&self, at: u32, depth: usize) -> u32 {
        self.tokens[self.starts[at as usize] as usize + depth]
    }
}

impl Parts {
    /// Nodes come in ascending order, so the names lie in the order of the bits.
    fn append(&mut self, piece: &Piece, sorted: &Sorted<'_>) {
        let first = self.child_start.len();
        let mut start = self.tokens.len() as u32;
        self.child_start.extend(piece.children.iter().map(|count| {
            let begins = start;
            start += count;
            begins
        }));
        self.tokens.extend_from_slice(&piece.tokens);
        for &(node, at) in &piece.terminals {
            let node = first + node as usize;
            self.terminal_bits.resize(node / 64 + 1, 0);
            self.terminal_bits[node / 64] |= 1 << (node % 64);
            let entry = sorted.entries[at as usize];
            self.names.push(entry.name.0);
            self.concepts.push(entry.concept.0);
        }
    }

    fn count_terminals(&mut self, mut merged: Vec<(u32, u32)>) {
        self.terminal_bits.resize(self.tokens.len().div_ceil(64), 0);
        let mut before = 0;
        for word in &self.terminal_bits {
            self.terminal_rank.push(before);
            before += word.count_ones();
        }
        merged.sort_unstable();
        self.merged = merged
            .into_iter()
            .flat_map(|(dropped, kept)| [dropped, kept])
            .collect();
    }

    /// Fills in what nodes know of the names below them, from the deepest level up.
    fn look_ahead(&mut self, levels: &[Range<usize>]) {
        let mut below: Vec<Ahead> = Vec::new();
        let mut rows: Vec<Vec<Ahead>> = Vec::with_capacity(levels.len());
        for level in levels.iter().rev() {
            let next = level.end;
            let this: Vec<Ahead> = level
                .clone()
                .into_par_iter()
                .with_min_len(NODES_PER_TASK / 4)
                .map(|node| {
                    let children = self.child_start[node] as usize - next
                        ..self.child_start[node + 1] as usize - next;
                    Ahead::of(self.concept_at(node), &below[children])
                })
                .collect();
            rows.push(std::mem::replace(&mut below, this));
        }
        rows.push(below);
        for ahead in rows.into_iter().rev().flatten() {
            self.shortest.push(ahead.shortest);
            self.longest.push(ahead.longest);
            let one = if ahead.concept < Ahead::SEVERAL {
                ONE_CONCEPT
            } else {
                0
            };
            self.forced.push(ahead.forced | one);
        }
    }

    fn concept_at(&self, node: usize) -> Option<u32> {
        let (word, bit) = (self.terminal_bits[node / 64], 1u64 << (node % 64));
        (word & bit != 0).then(|| {
            let rank = self.terminal_rank[node / 64] + (word & (bit - 1)).count_ones();
            self.concepts[rank as usize]
        })
    }
}

/// What a node knows of the names below it.
#[derive(Clone, Copy)]
struct Ahead {
    shortest: u8,
    longest: u8,
    forced: u8,
    /// The only concept below, or one of the two constants.
    concept: u32,
}

impl Ahead {
    const SEVERAL: u32 = u32::MAX - 1;
    const NONE: u32 = u32::MAX;

    fn of(own: Option<u32>, children: &[Ahead]) -> Self {
        let nearer = |distance: u8| distance.saturating_add(1);
        let mut ahead = Self {
            shortest: if own.is_some() { 0 } else { FAR },
            longest: 0,
            forced: match (own, children) {
                (None, [only]) => nearer(only.forced).min(LONGEST_RUN),
                _ => 0,
            },
            concept: own.unwrap_or(Self::NONE),
        };
        for child in children {
            ahead.shortest = ahead.shortest.min(nearer(child.shortest));
            ahead.longest = ahead.longest.max(nearer(child.longest));
            ahead.concept = match (ahead.concept, child.concept) {
                (Self::NONE, other) | (other, Self::NONE) => other,
                (one, other) if one == other => one,
                _ => Self::SEVERAL,
            };
        }
        ahead
    }
}

/// Ids are 32 bits wide, and the largest ones are taken ([`NO_TOKEN`], "no link", "several concepts").
fn within_u32(what: &'static str, count: usize) -> Result<(), Error> {
    let limit = u32::MAX as usize - 2;
    if count > limit {
        Err(Error::TooLarge { what, count, limit })
    } else {
        Ok(())
    }
}
