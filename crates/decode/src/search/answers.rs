//! The names that an exact search has found, and what no longer matters beside them.

use std::cmp::Ordering;

use super::{Hypothesis, Rules};

/// Finished names of one mention, best first: the best K, or with [`super::SearchOptions::within`] all that may still
/// turn out to be among them.
pub(super) struct Answers {
    found: Vec<Hypothesis>,
    /// Of all finished names, in nats.
    highest_sum: f64,
    /// Whether no name that is not finished can raise `highest_sum`, so that what is within reach of it is known. Until
    /// then a name with a good score may still fall out, and must not push others out.
    settled: bool,
}

impl Answers {
    pub(super) fn new(rules: &Rules<'_>) -> Self {
        Self {
            found: Vec::new(),
            highest_sum: f64::NEG_INFINITY,
            settled: rules.options.within.is_none(),
        }
    }

    /// Hears that no unfinished name can have a higher sum than this.
    pub(super) fn settle(&mut self, open: f64, rules: &Rules<'_>) {
        if !self.settled && open <= self.highest_sum {
            self.settled = true;
            self.found.truncate(rules.options.beams);
        }
    }

    /// Whether no name can be an answer whose sum is at most `sum` and whose score is at most `score`. An equal score is none
    /// too many: it may belong to a name that comes first by its tokens.
    pub(super) fn exclude(&self, sum: f64, score: f64, rules: &Rules<'_>) -> bool {
        self.is_out_of_reach(sum, rules)
            || self.settled
                && self
                    .found
                    .get(rules.options.beams - 1)
                    .is_some_and(|worst| worst.score > score)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn add(&mut self, name: Hypothesis, rules: &Rules<'_>) {
        if name.sum_log_prob > self.highest_sum {
            self.highest_sum = name.sum_log_prob;
            let mut found = std::mem::take(&mut self.found);
            found.retain(|name| !self.is_out_of_reach(name.sum_log_prob, rules));
            self.found = found;
        }
        let position = self
            .found
            .partition_point(|other| before(other, &name) == Ordering::Less);
        self.found.insert(position, name);
        if self.settled {
            self.found.truncate(rules.options.beams);
        }
    }

    pub(super) fn into_best(mut self, rules: &Rules<'_>) -> Vec<Hypothesis> {
        self.found.truncate(rules.options.beams);
        self.found
    }

    fn is_out_of_reach(&self, sum: f64, rules: &Rules<'_>) -> bool {
        let reach = rules.options.within.map(f64::from);
        reach.is_some_and(|reach| sum < self.highest_sum - reach)
    }
}

/// Better score first; of equal ones the smaller tokens.
fn before(a: &Hypothesis, b: &Hypothesis) -> Ordering {
    b.score
        .total_cmp(&a.score)
        .then_with(|| a.tokens.cmp(&b.tokens))
}
