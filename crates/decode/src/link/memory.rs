//! What was answered lately: notes repeat themselves from one patient to the next.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::search::{Hypothesis, Query};

/// Tokens of queries and answers kept, at 4 and 8 bytes each.
const MOST_TOKENS: usize = 2 << 20;

/// The answers to the last queries. A search whose answers are proven depends on nothing but its query, so what is recalled is
/// what would be found.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: HashMap<Rc<Query>, Vec<Hypothesis>>,
    /// The oldest first.
    order: VecDeque<Rc<Query>>,
    tokens: usize,
}

impl Memory {
    /// The answers to a query that was asked lately.
    pub(super) fn recall(&self, query: &Query) -> Option<Vec<Hypothesis>> {
        self.answers.get(query).cloned()
    }

    /// Keeps the answers to a query that is not known; the oldest are forgotten.
    pub(super) fn keep(&mut self, query: &Query, answers: &[Hypothesis]) {
        if self.answers.contains_key(query) {
            return;
        }
        let query = Rc::new(query.clone());
        self.tokens += tokens(&query, answers);
        self.answers.insert(Rc::clone(&query), answers.to_vec());
        self.order.push_back(query);
        while self.tokens > MOST_TOKENS {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(answers) = self.answers.remove(&oldest) {
                self.tokens -= tokens(&oldest, &answers);
            }
        }
    }
}

/// What a query and its answers count; something, however short they are.
fn tokens(query: &Query, answers: &[Hypothesis]) -> usize {
    let given: usize = query.given.iter().map(Vec::len).sum();
    let answers: usize = answers
        .iter()
        .map(|answer| 2 * answer.tokens.len() + 16)
        .sum();
    64 + query.prompt.len() + given + answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_kb::GroupId;

    #[test]
    fn the_last_queries_are_kept_and_the_oldest_forgotten() {
        let query = |n: u32| Query::new(vec![n; 1 << 16], GroupId(0));
        let answers = |n: u32| {
            vec![Hypothesis {
                tokens: vec![n],
                sum_log_prob: 0.0,
                score: 0.0,
                token_log_probs: vec![0.0],
            }]
        };
        let mut memory = Memory::default();
        for n in 0..33 {
            memory.keep(&query(n), &answers(n));
            memory.keep(&query(n), &answers(n));
        }
        // 32 of them would be the most, were it not for the answers.
        let kept: Vec<u32> = (0..33)
            .filter(|&n| memory.recall(&query(n)) == Some(answers(n)))
            .collect();
        assert_eq!(kept, (2..33).collect::<Vec<_>>());
        assert_eq!(memory.recall(&Query::new(vec![5], GroupId(1))), None);
        assert_eq!((memory.answers.len(), memory.order.len()), (31, 31));
        // One that is too large for all of it leaves nothing.
        memory.keep(&Query::new(vec![1; MOST_TOKENS], GroupId(0)), &answers(0));
        assert_eq!((memory.answers.len(), memory.tokens), (0, 0));
    }
}
