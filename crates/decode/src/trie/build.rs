//! From names to token sequences in order: spell in parallel, sort in parallel. What becomes of them is [`super::grow`]'s.
//!
//! **Memory.** Per name 8 bytes of order, 4 of start, some 20 while its group is sorted, and its tokens twice (as spelled, and in sorted order; the first
//! copy is gone before nodes are made); per node what the file takes. At 7.4 million names of nine tokens that is about
//! 1.2 GB beside the names.
//!
//! **Time.** Names are compared by a 64-bit key made of their first tokens (four of a 16-bit vocabulary, three of a
//! larger one); only names that agree there touch their tokens, which are scattered over memory.

use std::ops::Range;

use rayon::prelude::*;
use syncabel_kb::{ConceptId, Name, NameId};

use super::grow::Parts;
use super::node::NO_TOKEN;
use crate::Error;

/// Names spelled by one task; small enough to balance two cores, large enough to hide the cost of a task.
const NAMES_PER_TASK: usize = 4096;

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

/// Builds the arrays for one list of names per group.
pub(super) fn build(
    groups: &[Vec<NameEntry<'_>>],
    encode: &(dyn Fn(&str) -> Vec<u32> + Sync),
    eos: u32,
) -> Result<Parts, Error> {
    let spelled = Spelled::of(groups, encode, eos)?;
    let sorted = spelled.sorted(groups);
    drop(spelled);
    check_limit(
        "token ids",
        sorted.largest_token as usize + 1,
        NO_TOKEN as usize,
    )?;
    sorted.grow()
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

/// All names in the order of the trie. A node is a range of them that agrees in its first tokens.
pub(super) struct Sorted<'g> {
    entries: Vec<&'g NameEntry<'g>>,
    starts: Vec<u32>,
    tokens: Vec<u32>,
    /// The names of each group.
    pub(super) ranges: Vec<Range<u32>>,
    largest_token: u32,
}

impl Sorted<'_> {
    /// Tokens of the longest name.
    pub(super) fn longest_name(&self) -> usize {
        let lengths = self.starts.windows(2).map(|ends| ends[1] - ends[0]);
        lengths.max().unwrap_or(0) as usize
    }

    pub(super) fn entry(&self, at: u32) -> &NameEntry<'_> {
        self.entries[at as usize]
    }

    /// Tokens of a name.
    pub(super) fn length(&self, at: u32) -> usize {
        (self.starts[at as usize + 1] - self.starts[at as usize]) as usize
    }

    /// The token of a name behind `depth` others, of which it has more.
    pub(super) fn token(&self, at: u32, depth: usize) -> u32 {
        self.tokens[self.starts[at as usize] as usize + depth]
    }
}

/// Ids are 32 bits wide, and the largest ones are taken ("no link", "several concepts").
pub(super) fn within_u32(what: &'static str, count: usize) -> Result<(), Error> {
    check_limit(what, count, u32::MAX as usize - 2)
}

fn check_limit(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit {
        Err(Error::TooLarge { what, count, limit })
    } else {
        Ok(())
    }
}
