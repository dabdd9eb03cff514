//! Hypotheses as chains of tokens that share their beginnings, and where they stand in the trie.

use super::{Hypothesis, Query, Rules};
use crate::search::Constraint;
use crate::trie::NodeId;
use crate::{Error, Trie};

/// Every token that ever entered a hypothesis.
#[derive(Default)]
pub(super) struct Paths {
    links: Vec<Link>,
}

/// One token of a hypothesis and the link of the token before it.
struct Link {
    before: Option<u32>,
    token: u32,
    log_prob: f32,
}

/// Where a hypothesis stands in the trie. Free search stands nowhere and ignores it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) node: NodeId,
    /// Names completed by a separator.
    pub(super) names: usize,
}

/// What a token does to a hypothesis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// It goes on from here.
    To(Place),
    /// It is an answer.
    End,
}

impl Paths {
    pub(super) fn add(&mut self, before: Option<u32>, token: u32, log_prob: f32) -> u32 {
        self.links.push(Link {
            before,
            token,
            log_prob,
        });
        (self.links.len() - 1) as u32
    }

    pub(super) fn hypothesis(&self, last: u32, sum_log_prob: f64, score: f64) -> Hypothesis {
        let (mut tokens, mut token_log_probs) = (Vec::new(), Vec::new());
        let mut at = Some(last);
        while let Some(link) = at.map(|index| &self.links[index as usize]) {
            tokens.push(link.token);
            token_log_probs.push(link.log_prob);
            at = link.before;
        }
        tokens.reverse();
        token_log_probs.reverse();
        Hypothesis {
            tokens,
            sum_log_prob,
            score,
            token_log_probs,
        }
    }
}

impl Place {
    /// Before the first token of the first name.
    pub(super) fn start(index: usize, query: &Query, rules: &Rules<'_>) -> Result<Self, Error> {
        let node = match rules.constraint {
            Constraint::Free => NodeId(0),
            Constraint::Guided(trie) => root(trie, index, query, 0)?,
        };
        Ok(Self { node, names: 0 })
    }

    /// The root that the name behind `names` others begins at; [`NodeId`] 0 in free search.
    #[cfg(feature = "model")]
    pub(super) fn root(
        index: usize,
        query: &Query,
        rules: &Rules<'_>,
        names: usize,
    ) -> Result<NodeId, Error> {
        match rules.constraint {
            Constraint::Free => Ok(NodeId(0)),
            Constraint::Guided(trie) => root(trie, index, query, names),
        }
    }

    /// What the trie allows here: the children, and where a name may end the end of sequence and the separator.
    pub(super) fn moves(
        self,
        trie: &Trie,
        index: usize,
        query: &Query,
        rules: &Rules<'_>,
    ) -> Result<Vec<(u32, Move)>, Error> {
        let on = |(token, node)| (token, Move::To(Place { node, ..self }));
        let mut moves: Vec<_> = trie.children(self.node).iter().map(on).collect();
        if trie.is_terminal(self.node) {
            moves.push((rules.special.eos, Move::End));
            if let Some(sep) = self.separator(rules) {
                let names = self.names + 1;
                let node = root(trie, index, query, names)?;
                moves.push((sep, Move::To(Place { node, names })));
            }
        }
        let beyond = |&&(token, _): &&(u32, Move)| token as usize >= rules.vocab;
        match moves.iter().find(beyond) {
            Some(&(token, _)) => Err(Error::TokenOutsideVocabulary {
                token,
                vocab: rules.vocab,
            }),
            None => Ok(moves),
        }
    }

    /// The separator, if another name may follow behind the one that ends here.
    fn separator(self, rules: &Rules<'_>) -> Option<u32> {
        let limit = rules.options.multi_answer?;
        rules.special.sep.filter(|_| self.names + 1 < limit)
    }

    /// The tokens that follow without a choice, at most `limit`, and where they lead.
    pub(super) fn forced(self, trie: &Trie, limit: usize) -> (Vec<u32>, Self) {
        let mut node = self.node;
        let mut tokens = Vec::new();
        while tokens.len() < limit
            && let Some((token, child)) = trie.forced(node)
        {
            tokens.push(token);
            node = child;
        }
        (tokens, Self { node, ..self })
    }

    /// Whether nothing may follow but the end.
    pub(super) fn must_end(self, trie: &Trie, rules: &Rules<'_>) -> bool {
        trie.children(self.node).is_empty()
            && trie.is_terminal(self.node)
            && self.separator(rules).is_none()
    }

    /// The fewest and the most tokens that may follow, the end of sequence included.
    pub(super) fn tokens_left(self, trie: &Trie, rules: &Rules<'_>) -> (usize, usize) {
        let more_names = match (rules.special.sep, rules.options.multi_answer) {
            (Some(_), Some(limit)) => limit.saturating_sub(self.names + 1),
            _ => 0,
        };
        let behind = more_names.saturating_mul(trie.longest_name_tokens() + 1);
        let longest = trie.longest_below(self.node).saturating_add(behind);
        (
            trie.shortest_below(self.node) + 1,
            longest.saturating_add(1),
        )
    }
}

/// The root of the group of the name behind `names` others.
fn root(trie: &Trie, index: usize, query: &Query, names: usize) -> Result<NodeId, Error> {
    let group = query
        .group_of(names)
        .ok_or(Error::NoGroup { query: index })?;
    trie.root(group).ok_or(Error::NoSuchGroup {
        query: index,
        group: group.0,
        groups: trie.group_count(),
    })
}
