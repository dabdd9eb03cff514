//! Nearest names of a whole group: inverted lists.

use rayon::prelude::*;

use super::selector::rank;
use super::vector::Vectorizer;
use crate::{GroupId, Kb, NameId};

/// The names nearest to a mention, out of all names of a group: the lexical baseline.
///
/// For each gram it holds the names that contain it, ascending, with their weights: 8 bytes for
/// each (name, gram), which is 15 MB for MEDIC and about 1.5 GB for all of UMLS. A query adds up
/// the lists of the mention's grams and scans the sums once (bench `name_selection`).
pub struct TfidfIndex {
    vectorizer: Vectorizer,
    /// Start of each gram's list in `postings`; one more value ends the last.
    starts: Vec<usize>,
    postings: Vec<Posting>,
}

/// One name that contains a gram.
struct Posting {
    name: u32,
    weight: f32,
}

impl TfidfIndex {
    /// Indexes all names of a KB.
    pub fn fit(kb: &Kb) -> Self {
        let vectorizer = Vectorizer::fit(kb);
        let mut entries: Vec<(u32, Posting)> = (0..kb.name_count() as u32)
            .into_par_iter()
            .flat_map_iter(|name| {
                let vector = vectorizer.vector(kb.name(NameId(name)).text);
                let weights = vector.weights.into_iter();
                weights.map(move |(row, weight)| (row, Posting { name, weight }))
            })
            .collect();
        entries.par_sort_unstable_by_key(|(row, posting)| (*row, posting.name));
        let starts = (0..=vectorizer.gram_count() as u32)
            .map(|row| entries.partition_point(|entry| entry.0 < row))
            .collect();
        Self {
            starts,
            postings: entries.into_iter().map(|(_, posting)| posting).collect(),
            vectorizer,
        }
    }

    /// Memory of the lists.
    pub fn bytes(&self) -> usize {
        size_of_val(self.postings.as_slice()) + size_of_val(self.starts.as_slice())
    }

    /// The cosine of two texts, between 0 and 1.
    pub fn cosine(&self, a: &str, b: &str) -> f32 {
        self.vectorizer.vector(a).cosine(&self.vectorizer.vector(b))
    }

    /// The `k` names of a group with the highest cosine, best first, by the rule for ties of
    /// [`crate::select`]. Names that share no gram with the mention are not given, so there may
    /// be fewer.
    pub fn nearest(&self, kb: &Kb, group: GroupId, mention: &str, k: usize) -> Vec<(NameId, f32)> {
        self.search(kb, group, mention, k, &mut Vec::new())
    }

    /// [`TfidfIndex::nearest`] for many mentions, on all cores; answers in the order of the
    /// queries.
    pub fn nearest_batch(
        &self,
        kb: &Kb,
        queries: &[(GroupId, &str)],
        k: usize,
    ) -> Vec<Vec<(NameId, f32)>> {
        queries
            .par_iter()
            .map_init(Vec::new, |scores, &(group, mention)| {
                self.search(kb, group, mention, k, scores)
            })
            .collect()
    }

    /// `scores` is scratch, reused from query to query.
    fn search(
        &self,
        kb: &Kb,
        group: GroupId,
        mention: &str,
        k: usize,
        scores: &mut Vec<f32>,
    ) -> Vec<(NameId, f32)> {
        let range = kb.name_range(group);
        scores.clear();
        scores.resize((range.end - range.start) as usize, 0.0);
        for (row, weight) in self.vectorizer.vector(mention).weights {
            let list = &self.postings[self.starts[row as usize]..self.starts[row as usize + 1]];
            let first = list.partition_point(|posting| posting.name < range.start);
            let last = list.partition_point(|posting| posting.name < range.end);
            for posting in &list[first..last] {
                scores[(posting.name - range.start) as usize] += weight * posting.weight;
            }
        }
        let mut found = highest(scores, k);
        found.iter_mut().for_each(|(name, _)| name.0 += range.start);
        found.sort_by(|a, b| rank((a.1, kb.name(a.0)), (b.1, kb.name(b.0))));
        found.truncate(k);
        found
    }
}

/// Positions of the `k` highest scores above 0 and of all that equal the lowest of them.
fn highest(scores: &[f32], k: usize) -> Vec<(NameId, f32)> {
    /// Positions looked at together: most blocks hold nothing of interest.
    const BLOCK: usize = 64;
    let mut found: Vec<(NameId, f32)> = Vec::new();
    let k = k.min(scores.len());
    if k == 0 {
        return found;
    }
    let mut threshold = f32::MIN_POSITIVE;
    let mut room = 4 * k + BLOCK;
    for (block, chunk) in scores.chunks(BLOCK).enumerate() {
        // Without a branch per score, so that it runs in vector registers.
        let any = chunk
            .iter()
            .fold(false, |any, &score| any | (score >= threshold));
        if !any {
            continue;
        }
        let hits = chunk
            .iter()
            .enumerate()
            .filter(|&(_, &score)| score >= threshold);
        found.extend(hits.map(|(at, &score)| (NameId((block * BLOCK + at) as u32), score)));
        if found.len() > room {
            threshold = keep_highest(&mut found, k);
            room = 2 * found.len() + 4 * k + BLOCK; // equal scores pile up: do not sift them each time
        }
    }
    if found.len() > k {
        keep_highest(&mut found, k);
    }
    found
}

/// Keeps what scores at least as high as the `k`-th, and returns that score.
fn keep_highest(found: &mut Vec<(NameId, f32)>, k: usize) -> f32 {
    let (_, &mut (_, threshold), _) =
        found.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1));
    found.retain(|&(_, score)| score >= threshold);
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_agrees_with_sorting() {
        let scores: Vec<f32> = (0..5000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 % 97.0)
            .collect();
        for k in [0, 1, 2, 7, 60, 500, 5000, 6000] {
            let mut expected: Vec<f32> = scores.iter().copied().filter(|&s| s > 0.0).collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            expected.truncate(k);
            let mut found = highest(&scores, k);
            assert!(found.iter().all(|&(id, score)| scores[id.index()] == score));
            found.sort_by(|a, b| b.1.total_cmp(&a.1));
            let lowest = expected.last().copied().unwrap_or(f32::INFINITY);
            let equal = scores.iter().filter(|&&s| s > 0.0 && s >= lowest).count();
            assert_eq!(found.len(), equal, "k = {k}");
            found.truncate(k);
            assert_eq!(
                found.iter().map(|&(_, score)| score).collect::<Vec<_>>(),
                expected
            );
        }
        assert!(highest(&[0.0; 100], 3).is_empty());
        assert_eq!(highest(&[1.0; 1000], 1).len(), 1000);
    }
}
