//! A language model that is a hash: every history has its own, reproducible, distribution. And what a test needs to
//! compute answers the long way round.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use syncabel_decode::{
    Error, NameEntry, PoolModel, Run, Scores, Scoring, SpecialTokens, State, StepModel, Trie,
    Wanted,
};
use syncabel_kb::{ConceptId, Digest, GroupId, NameId};

/// Tokens 0 and 1 are special; letters are 2, 3, ...
pub(crate) const SPECIAL: SpecialTokens = SpecialTokens {
    eos: 0,
    sep: Some(1),
};

/// Logits from a hash of prompt and history. Checks the promises that a search makes to its model.
pub(crate) struct HashModel {
    pub(crate) vocab: usize,
    pub(crate) seed: u64,
    /// Logits lie in `-spread..spread`.
    pub(crate) spread: f32,
    /// Rows computed, prompts included.
    pub(crate) rows_computed: usize,
    beams: usize,
    rows: Vec<(usize, Vec<u32>)>,
}

impl HashModel {
    pub(crate) fn new(vocab: usize, seed: u64) -> Self {
        Self {
            vocab,
            seed,
            spread: 4.0,
            rows_computed: 0,
            beams: 0,
            rows: Vec::new(),
        }
    }

    /// The logits behind a history.
    pub(crate) fn logits(&self, history: &[u32]) -> Vec<f32> {
        let mut state = self.seed ^ 0x9E37_79B9_7F4A_7C15;
        for &token in history {
            state = mix(state ^ (u64::from(token) + 1));
        }
        let logit = |token: usize| {
            let unit = (mix(state ^ ((token as u64) << 32)) >> 40) as f32 / (1u64 << 24) as f32;
            (2.0 * unit - 1.0) * self.spread
        };
        (0..self.vocab).map(logit).collect()
    }

    /// Log-probability of each token of `answer` behind `prompt`, in double precision and without any cache.
    pub(crate) fn score(&self, prompt: &[u32], answer: &[u32]) -> Vec<f64> {
        let mut history = prompt.to_vec();
        answer
            .iter()
            .map(|&token| {
                let logits = self.logits(&history);
                let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                history.push(token);
                f64::from(logits[token as usize]) - sum.ln()
            })
            .collect()
    }

    fn answer(&mut self) -> Vec<f32> {
        self.rows_computed += self.rows.len();
        self.rows
            .iter()
            .flat_map(|(_, history)| self.logits(history))
            .collect()
    }
}

impl StepModel for HashModel {
    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn prefill(&mut self, prompts: &[Vec<u32>], beams: usize, _: usize) -> Result<Vec<f32>, Error> {
        self.beams = beams;
        self.rows = prompts.iter().cloned().enumerate().collect();
        Ok(self.answer())
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<Vec<f32>, Error> {
        let continued = tokens.iter().zip(parents).map(|(&token, &parent)| {
            let (prompt, mut history) = self.rows[parent as usize].clone();
            history.push(token);
            (prompt, history)
        });
        self.rows = continued.collect();
        assert!(
            self.rows.is_sorted_by_key(|row| row.0),
            "rows come prompt by prompt"
        );
        let mut rows_of = BTreeMap::new();
        self.rows
            .iter()
            .for_each(|row| *rows_of.entry(row.0).or_insert(0) += 1);
        assert!(
            rows_of.values().all(|&rows| rows <= self.beams),
            "at most `beams` rows of a prompt"
        );
        Ok(self.answer())
    }
}

/// [`HashModel`] in a pool. Checks the promises that a search makes to its model.
pub(crate) struct HashPool {
    pub(crate) model: HashModel,
    /// Histories behind the states, each with its mention.
    states: Vec<(usize, Vec<u32>)>,
    pub(crate) open: std::collections::BTreeSet<usize>,
    /// The most mentions that were open at once.
    pub(crate) most_open: usize,
    /// Tokens that each open mention has read.
    held: std::collections::BTreeMap<usize, usize>,
    /// The most tokens that open mentions had read together.
    pub(crate) most_held: usize,
    pub(crate) positions: usize,
    /// Fails in this pass.
    pub(crate) fails_in: Option<usize>,
    pub(crate) passes: usize,
}

impl HashPool {
    pub(crate) fn new(vocab: usize, seed: u64) -> Self {
        Self {
            model: HashModel::new(vocab, seed),
            states: Vec::new(),
            open: Default::default(),
            most_open: 0,
            held: Default::default(),
            most_held: 0,
            positions: usize::MAX,
            fails_in: None,
            passes: 0,
        }
    }

    fn log_probs(&self, history: &[u32], among: Option<&[u32]>) -> Vec<f64> {
        let logits = self.model.logits(history);
        let weight = |&token: &u32| f64::from(logits[token as usize]).exp();
        let all: Vec<u32> = (0..self.model.vocab as u32).collect();
        let sum: f64 = among.unwrap_or(&all).iter().map(weight).sum();
        logits.iter().map(|&x| f64::from(x) - sum.ln()).collect()
    }
}

impl PoolModel for HashPool {
    fn vocab_size(&self) -> usize {
        self.model.vocab
    }

    fn positions(&self) -> usize {
        self.positions
    }

    fn forward(&mut self, runs: &[Run], scoring: Scoring) -> Result<Vec<Scores>, Error> {
        self.passes += 1;
        if self.fails_in == Some(self.passes) {
            return Err(Error::Model("out of order".into()));
        }
        let known = self.states.len();
        let mut answers = Vec::new();
        for run in runs {
            assert!(!run.tokens.is_empty());
            *self.held.entry(run.mention).or_default() += run.tokens.len();
            let mut history = match run.after {
                None => {
                    assert!(self.open.insert(run.mention), "a mention is opened once");
                    Vec::new()
                }
                Some(State(state)) => {
                    assert!(self.open.contains(&run.mention) && (state as usize) < known);
                    let (owner, history) = self.states[state as usize].clone();
                    assert_eq!(owner, run.mention);
                    history
                }
            };
            let mut read = Vec::new();
            for (position, &token) in run.tokens.iter().enumerate() {
                if position > 0 && run.score_read {
                    read.push(self.log_probs(&history, None)[token as usize] as f32);
                }
                history.push(token);
                self.model.rows_computed += 1;
            }
            let tokens = match &run.wanted {
                Wanted::Tokens(tokens) => tokens.clone(),
                Wanted::Best(count) => {
                    let scores = self.log_probs(&history, None);
                    let mut all: Vec<u32> = (0..self.model.vocab as u32).collect();
                    all.sort_by(|&a, &b| {
                        scores[b as usize]
                            .total_cmp(&scores[a as usize])
                            .then(a.cmp(&b))
                    });
                    all.truncate(*count);
                    all
                }
            };
            let scores = self.log_probs(&history, (scoring == Scoring::Local).then_some(&tokens));
            answers.push(Scores {
                state: State(self.states.len() as u32),
                read,
                next: tokens
                    .iter()
                    .map(|&token| (token, scores[token as usize] as f32))
                    .collect(),
            });
            self.states.push((run.mention, history));
        }
        self.most_open = self.most_open.max(self.open.len());
        self.most_held = self.most_held.max(self.held.values().sum());
        Ok(answers)
    }

    fn close(&mut self, mention: usize) {
        // A mention that never asked for anything was never opened.
        self.open.remove(&mention);
        self.held.remove(&mention);
    }
}

fn mix(state: u64) -> u64 {
    let mut x = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// One token per letter: `a` is 2, `b` is 3, ...; the leading space has none.
pub(crate) fn letters(text: &str) -> Vec<u32> {
    text.bytes()
        .filter(u8::is_ascii_lowercase)
        .map(|letter| u32::from(letter - b'a') + 2)
        .collect()
}

/// Names of each group, numbered from 0 through all groups; every name its own concept.
pub(crate) fn entries<'a>(groups: &'a [Vec<String>]) -> Vec<Vec<NameEntry<'a>>> {
    let mut next = 0;
    let mut entry = |text: &'a String| {
        let id = next;
        next += 1;
        NameEntry {
            name: NameId(id),
            concept: ConceptId(id),
            preferred: false,
            text,
        }
    };
    groups
        .iter()
        .map(|names| names.iter().map(&mut entry).collect())
        .collect()
}

pub(crate) fn trie(groups: &[Vec<String>]) -> Trie {
    let digest = Digest::of_bytes(b"test");
    Trie::from_names(&entries(groups), &letters, SPECIAL.eos, digest, digest).unwrap()
}

pub(crate) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(crate) const GROUP: GroupId = GroupId(0);
