//! Nearest names of a whole group: inverted lists.

use rayon::prelude::*;

use super::selector::rank;
use super::vector::Vectorizer;
use crate::{GroupId, Kb, NameId};

/// The names nearest to a mention, out of all names of a group: the lexical baseline.
///
/// For each gram it holds the names that contain it, ascending, with their weights: 8 bytes for
/// each (name, gram), which is about 15 MB for MEDIC and 1.5 GB for all of UMLS. A query walks
/// the lists of the mention's grams, a fraction of a millisecond for MEDIC (bench `name_selection`).
pub struct TfidfIndex {
    vectorizer: Vectorizer,
    /// Start of each gram's list in `names` and `weights`; one more value ends the last.
    starts: Vec<usize>,
    names: Vec<u32>,
    weights: Vec<f32>,
}

/// Scores by name of one group, and which of them are not zero. Reused from query to query.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    touched: Vec<u32>,
}

impl TfidfIndex {
    /// Indexes all names of a KB.
    pub fn fit(kb: &Kb) -> Self {
        let vectorizer = Vectorizer::fit(kb);
        let mut entries: Vec<(u32, u32, f32)> = (0..kb.name_count() as u32)
            .into_par_iter()
            .flat_map_iter(|id| {
                let vector = vectorizer.vector(kb.name(NameId(id)).text);
                let weights = vector.weights.into_iter();
                weights.map(move |(row, weight)| (row, id, weight))
            })
            .collect();
        entries.par_sort_unstable_by_key(|&(row, id, _)| (row, id));
        let starts = (0..=vectorizer.gram_count() as u32)
            .map(|row| entries.partition_point(|entry| entry.0 < row))
            .collect();
        Self {
            starts,
            names: entries.iter().map(|entry| entry.1).collect(),
            weights: entries.iter().map(|entry| entry.2).collect(),
            vectorizer,
        }
    }

    /// Memory of the lists.
    pub fn bytes(&self) -> usize {
        self.names.len() * 8 + self.starts.len() * 8
    }

    /// The `k` names of a group with the highest cosine, best first, by the rule for ties of
    /// [`crate::select`]. Names that share no gram with the mention are not given, so there may
    /// be fewer.
    pub fn nearest(&self, kb: &Kb, group: GroupId, mention: &str, k: usize) -> Vec<(NameId, f32)> {
        self.search(kb, group, mention, k, &mut Scratch::default())
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
            .map_init(Scratch::default, |scratch, &(group, mention)| {
                self.search(kb, group, mention, k, scratch)
            })
            .collect()
    }

    fn search(
        &self,
        kb: &Kb,
        group: GroupId,
        mention: &str,
        k: usize,
        scratch: &mut Scratch,
    ) -> Vec<(NameId, f32)> {
        let range = kb.name_range(group);
        let size = (range.end - range.start) as usize;
        if scratch.scores.len() < size {
            scratch.scores.resize(size, 0.0);
        }
        for (row, weight) in self.vectorizer.vector(mention).weights {
            let list = self.starts[row as usize]..self.starts[row as usize + 1];
            let (names, weights) = (&self.names[list.clone()], &self.weights[list]);
            let first = names.partition_point(|&name| name < range.start);
            let last = names.partition_point(|&name| name < range.end);
            for (&name, &other) in names[first..last].iter().zip(&weights[first..last]) {
                let score = &mut scratch.scores[(name - range.start) as usize];
                if *score == 0.0 {
                    scratch.touched.push(name);
                }
                *score += weight * other;
            }
        }
        let mut scored: Vec<(NameId, f32)> = scratch
            .touched
            .drain(..)
            .map(|name| {
                let score = &mut scratch.scores[(name - range.start) as usize];
                (NameId(name), std::mem::take(score))
            })
            .collect();
        best_first(kb, &mut scored, k);
        scored
    }
}

/// Sorts by the rule for ties and keeps `k`. Names are fetched for those only that may make it.
fn best_first(kb: &Kb, scored: &mut Vec<(NameId, f32)>, k: usize) {
    if k == 0 {
        scored.clear();
        return;
    }
    if k < scored.len() {
        let (_, &mut (_, threshold), _) =
            scored.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1));
        scored.retain(|&(_, score)| score >= threshold);
    }
    scored.sort_by(|a, b| rank((a.1, kb.name(a.0)), (b.1, kb.name(b.0))));
    scored.truncate(k);
}
