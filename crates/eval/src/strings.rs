//! Distinct strings, numbered.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Distinct strings in one piece of memory, numbered in order of appearance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strings {
    text: String,
    /// Where each string ends in `text`; it starts where the one before ends.
    ends: Vec<usize>,
    hashes: Vec<u32>,
    /// Open addressing: hash and number, or [`FREE`]. The length is a power of two, at least twice that of `ends`.
    slots: Vec<[u32; 2]>,
}

const FREE: [u32; 2] = [0, u32::MAX];

/// Slots of a table with its first string.
const FIRST_SLOTS: usize = 64;

impl Strings {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string of a number.
    pub(crate) fn get(&self, index: u32) -> &str {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    /// All strings, by number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index as u32))
    }

    /// The number of a string that is known.
    pub(crate) fn find(&self, string: &str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slot(hash(string), string).ok()
    }

    /// The number here of a string of another collection.
    pub(crate) fn find_in(&self, other: &Strings, index: u32) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = other.hashes[index as usize];
        self.slot(hash, other.get(index)).ok()
    }

    /// Appends all strings of `other` behind those here, known or not, and gives the number of the first: much faster than
    /// [`Strings::merge`]. Afterwards strings can be asked for by number only.
    pub(crate) fn concatenate(&mut self, other: &Strings) -> u32 {
        let (first, start) = (self.len() as u32, self.text.len());
        self.text.push_str(&other.text);
        self.ends.extend(other.ends.iter().map(|end| start + end));
        self.hashes.extend_from_slice(&other.hashes);
        self.slots = Vec::new();
        first
    }

    /// The number of a string; the next one if it is new.
    pub(crate) fn index(&mut self, string: &str) -> u32 {
        self.index_hashed(hash(string), string)
    }

    /// For each string of `other`, its number here.
    pub(crate) fn merge(&mut self, other: &Strings) -> Vec<u32> {
        let hashed = other.iter().zip(&other.hashes);
        hashed
            .map(|(string, &hash)| self.index_hashed(hash, string))
            .collect()
    }

    fn index_hashed(&mut self, hash: u32, string: &str) -> u32 {
        if self.slots.len() < 2 * (self.len() + 1) {
            self.grow();
        }
        match self.slot(hash, string) {
            Ok(index) => index,
            Err(slot) => {
                let index = self.len() as u32;
                self.slots[slot] = [hash, index];
                self.text.push_str(string);
                self.ends.push(self.text.len());
                self.hashes.push(hash);
                index
            }
        }
    }

    /// The number of a string, or the slot where it belongs.
    fn slot(&self, hash: u32, string: &str) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found == FREE {
                return Err(slot);
            }
            if found[0] == hash && self.get(found[1]) == string {
                return Ok(found[1]);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let length = (4 * self.len()).next_power_of_two().max(FIRST_SLOTS);
        self.slots.clear();
        self.slots.resize(length, FREE);
        for (index, &hash) in self.hashes.iter().enumerate() {
            let mut slot = hash as usize & (length - 1);
            while self.slots[slot] != FREE {
                slot = (slot + 1) & (length - 1);
            }
            self.slots[slot] = [hash, index as u32];
        }
    }
}

fn hash(string: &str) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(string.as_bytes());
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_appearance() {
        let mut strings = Strings::default();
        assert_eq!(strings.find("a"), None);
        let names: Vec<String> = (0..1000).map(|i| format!("n{}", i % 700)).collect();
        for (i, name) in names.iter().enumerate() {
            assert_eq!(strings.index(name) as usize, i % 700);
        }
        assert_eq!(strings.index(""), 700);
        assert_eq!(strings.len(), 701);
        assert_eq!((strings.get(699), strings.get(700)), ("n699", ""));
        assert_eq!((strings.find("n3"), strings.find("n700")), (Some(3), None));
    }

    #[test]
    fn merging_translates_numbers() {
        let (mut all, mut block) = (Strings::default(), Strings::default());
        for (a, b) in [("a", "c"), ("b", "b")] {
            all.index(a);
            block.index(b);
        }
        assert_eq!(all.merge(&block), [2, 1]);
        assert_eq!(all.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(all.find_in(&block, 1), Some(1));
        assert_eq!(block.find_in(&all, 0), None);
        assert_eq!(block.concatenate(&all), 2);
        assert_eq!(block.iter().collect::<Vec<_>>(), ["c", "b", "a", "b", "c"]);
    }
}
