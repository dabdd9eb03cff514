//! From names to the arrays of the trie: spell in parallel, sort in parallel, walk level by level.

use rayon::prelude::*;
use syncabel_kb::{ConceptId, Name, NameId};

use crate::Error;

/// Names spelled by one task; small enough to balance two cores, large enough to hide the cost of a task.
const NAMES_PER_TASK: usize = 4096;

/// The token on the edge into a root: there is none.
pub(super) const NO_TOKEN: u32 = u32::MAX;

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
    pub(super) tokens: Vec<u32>,
    pub(super) child_start: Vec<u32>,
    pub(super) terminal_bits: Vec<u64>,
    pub(super) terminal_rank: Vec<u32>,
    pub(super) names: Vec<u32>,
    pub(super) concepts: Vec<u32>,
    pub(super) merged: Vec<u32>,
}

/// Builds the arrays for one list of names per group.
pub(super) fn build(
    groups: &[Vec<NameEntry<'_>>],
    encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
    eos: u32,
) -> Result<Parts, Error> {
    let mut spelled = Spelled::default();
    let mut ranges = Vec::with_capacity(groups.len());
    for (group, names) in groups.iter().enumerate() {
        let start = spelled.len();
        spelled.append(group as u16, names, encode, eos)?;
        ranges.push(start as u32..spelled.len() as u32);
    }
    let mut order: Vec<u32> = (0..spelled.len() as u32).collect();
    for range in &ranges {
        order[range.start as usize..range.end as usize]
            .par_sort_unstable_by(|&a, &b| spelled.compare(a, b));
    }
    let parts = Levels {
        spelled: &spelled,
        order: &order,
    }
    .walk(&ranges)?;
    Ok(parts)
}

/// The token sequences of all names, end to end.
struct Spelled<'a> {
    entries: Vec<NameEntry<'a>>,
    /// `starts[i]..starts[i + 1]` are the tokens of entry `i`.
    starts: Vec<usize>,
    tokens: Vec<u32>,
}

impl Default for Spelled<'_> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            starts: vec![0],
            tokens: Vec::new(),
        }
    }
}

impl<'a> Spelled<'a> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn append(
        &mut self,
        group: u16,
        names: &[NameEntry<'a>],
        encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
        eos: u32,
    ) -> Result<(), Error> {
        let tasks: Vec<Result<Spellings, Error>> = names
            .par_chunks(NAMES_PER_TASK)
            .map(|names| spell(group, names, encode, eos))
            .collect();
        for task in tasks {
            let Spellings { lengths, tokens } = task?;
            let mut end = self.tokens.len();
            self.starts.extend(lengths.iter().map(|&length| {
                end += length as usize;
                end
            }));
            self.tokens.extend_from_slice(&tokens);
        }
        self.entries.extend_from_slice(names);
        within_u32("names", self.entries.len())
    }

    fn tokens(&self, entry: u32) -> &[u32] {
        let entry = entry as usize;
        &self.tokens[self.starts[entry]..self.starts[entry + 1]]
    }

    /// By spelling; of one spelling, the name that answers for the others comes first.
    fn compare(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let rank = |i: u32| {
            let entry = &self.entries[i as usize];
            (!entry.preferred, entry.name)
        };
        self.tokens(a)
            .cmp(self.tokens(b))
            .then_with(|| rank(a).cmp(&rank(b)))
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

/// The walk over the sorted sequences. A node is a range of them that agrees in its first `depth` tokens.
struct Levels<'s, 'a> {
    spelled: &'s Spelled<'a>,
    order: &'s [u32],
}

impl Levels<'_, '_> {
    fn walk(&self, roots: &[std::ops::Range<u32>]) -> Result<Parts, Error> {
        let mut parts = Parts {
            groups: roots.len(),
            tokens: vec![NO_TOKEN; roots.len()],
            ..Parts::default()
        };
        let mut merged = Vec::new();
        let mut level = roots.to_vec();
        let mut next = Vec::new();
        let mut depth = 0;
        while !level.is_empty() {
            for range in level.drain(..) {
                let node = parts.child_start.len();
                let (mut at, end) = (range.start as usize, range.end as usize);
                parts.child_start.push(parts.tokens.len() as u32);
                at = self.end_names(at, end, depth, node, &mut parts, &mut merged);
                while at < end {
                    let token = self.token(at, depth);
                    let start = at;
                    while at < end && self.token(at, depth) == token {
                        at += 1;
                    }
                    parts.tokens.push(token);
                    next.push(start as u32..at as u32);
                }
            }
            within_u32("nodes", parts.tokens.len())?;
            std::mem::swap(&mut level, &mut next);
            depth += 1;
        }
        parts.child_start.push(parts.tokens.len() as u32);
        parts.finish(merged);
        Ok(parts)
    }

    /// Takes the sequences that end in `node` (they sort first) and returns where the longer ones begin.
    fn end_names(
        &self,
        start: usize,
        end: usize,
        depth: usize,
        node: usize,
        parts: &mut Parts,
        merged: &mut Vec<(u32, u32)>,
    ) -> usize {
        let ends_here = |at: usize| at < end && self.spelled.tokens(self.order[at]).len() == depth;
        let mut at = start;
        while ends_here(at) {
            let entry = &self.spelled.entries[self.order[at] as usize];
            if at == start {
                parts.set_terminal(node, entry);
            } else {
                let kept = &self.spelled.entries[self.order[start] as usize];
                merged.push((entry.name.0, kept.name.0));
            }
            at += 1;
        }
        at
    }

    fn token(&self, at: usize, depth: usize) -> u32 {
        self.spelled.tokens(self.order[at])[depth]
    }
}

impl Parts {
    /// Nodes come in ascending order, so the names lie in the order of the bits.
    fn set_terminal(&mut self, node: usize, entry: &NameEntry<'_>) {
        self.terminal_bits.resize(node / 64 + 1, 0);
        self.terminal_bits[node / 64] |= 1 << (node % 64);
        self.names.push(entry.name.0);
        self.concepts.push(entry.concept.0);
    }

    fn finish(&mut self, mut merged: Vec<(u32, u32)>) {
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
}

/// Ids are 32 bits wide, and the largest one is taken ([`NO_TOKEN`], "no link").
fn within_u32(what: &'static str, count: usize) -> Result<(), Error> {
    let limit = u32::MAX as usize - 1;
    if count > limit {
        Err(Error::TooLarge { what, count, limit })
    } else {
        Ok(())
    }
}
