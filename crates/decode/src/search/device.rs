//! Beam search that stays where the model is: for GPUs.
//!
//! Trie, hypotheses, scores and answers are tensors on the model's device, and a step of a whole batch is a fixed sequence of
//! tensor operations. The host queues it, and hears of one number a step: whether anything is still running. What was found is
//! read once, at the end.
//!
//! The search is that of [`super::beam`], in rectangles. With `B` mentions, `K` beams, and `C` the most children that any
//! node at a depth has (known of every depth when the trie is put on the device, so nobody has to ask how many there are now):
//!
//! ```text
//! at        [B*K, C]      nodes that the trie allows next: first child + 0, 1, ..; those beyond the last child are masked
//! columns   [B*K, C + 2]  their log-probabilities, then that of the end and of the separator where a name may end
//! best, 2K  [B, 2K]       of sums over all columns of a mention, best first
//! answers   [B, K]        merged with those of the first K that end
//! beams     [B, K]        the first K that go on: tokens, parents, nodes, sums
//! ```
//! A beam that does not exist has the sum -∞; the model reads a row for it all the same, which costs a GPU next to nothing.
//! Sums are kept in float32 while searching; the scores that are reported are summed anew in double precision.
//!
//! Ties are decided by the device's choice of the best, not by the rule of the other searches; in bfloat16 there are many.

use std::ops::Range;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use syncabel_model::{Llama, LlamaConfig, Session};

use super::path::Place;
use super::{
    BatchSearch, Constraint, EarlyStopping, Hypothesis, Query, Rules, Scoring, SearchOptions,
    SpecialTokens, Strategy, check_given,
};
use crate::{Error, NodeId, Trie};

const NEVER: f32 = f32::NEG_INFINITY;

/// Below everything that a model says, and above what a device's choice of the best begins with.
const FLOOR: f32 = -1e30;

/// Beam search over a Llama and a trie on the device of its weights. See `search/device.rs` for how it works.
///
/// [`Strategy::Beam`] under a trie alone: best-first search and free search are the CPU's.
#[derive(Debug)]
pub struct DeviceBeams<'m, 't> {
    session: Session<'m>,
    vocab: usize,
    positions: usize,
    trie: &'t Trie,
    nodes: DeviceTrie,
}

impl<'m, 't> DeviceBeams<'m, 't> {
    /// Puts the trie beside the weights: four integers a node, 16 bytes on most devices. A model that tracks gradients is used without
    /// them.
    ///
    /// # Errors
    /// [`Error::TokenOutsideVocabulary`] for names that the head has no token for; [`Error::TooLarge`] beyond 2³¹ nodes.
    pub fn new(model: &'m Llama, config: &LlamaConfig, trie: &'t Trie) -> Result<Self, Error> {
        let device = match model.device() {
            device if device.is_autodiff() => device.inner(),
            device => device,
        };
        let vocab = model.vocab_size();
        Ok(Self {
            nodes: DeviceTrie::new(trie, vocab, &device)?,
            session: Session::new(model, config, &device),
            positions: config.max_position_embeddings,
            vocab,
            trie,
        })
    }
}

impl BatchSearch for DeviceBeams<'_, '_> {
    fn positions(&self) -> usize {
        self.positions
    }

    fn search(
        &mut self,
        queries: &[Query],
        special: SpecialTokens,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>, Error> {
        if options.strategy != Strategy::Beam {
            return Err(Error::Option {
                key: "strategy",
                reason: "best_first is searched on the CPU; take beam on this device",
            });
        }
        check_given(queries, false)?;
        let constraint = Constraint::Guided(self.trie);
        let rules = Rules::new(constraint, special, options, self.vocab, false)?;
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        rules.check_lengths(queries, self.positions)?;
        let roots = roots(queries, &rules)?;
        let prompts: Vec<Vec<u32>> = queries.iter().map(|query| query.prompt.clone()).collect();
        let longest = rules.longest_answer();
        let mut logits = self
            .session
            .prefill(&prompts, options.beams, longest)
            .map_err(model_error)?;
        let mut search = Search::new(&self.nodes, &rules, roots, queries.len());
        for step in 0..longest {
            match search.step(step, logits)? {
                Some((tokens, parents)) if step + 1 < longest => {
                    logits = self
                        .session
                        .step_on_device(tokens, parents)
                        .map_err(model_error)?;
                }
                _ => break,
            }
        }
        search.into_hypotheses()
    }
}

fn model_error(error: syncabel_model::Error) -> Error {
    Error::Model(Box::new(error))
}

/// The roots that a mention's names begin at, one after the other: as many for each as any may have names. A group that does not exist
/// is an error even if no name of it would have been looked for.
fn roots(queries: &[Query], rules: &Rules<'_>) -> Result<Vec<Vec<u32>>, Error> {
    let names = match rules.special.sep {
        Some(_) => rules.options.multi_answer.unwrap_or(1),
        None => 1,
    };
    let of = |(index, query): (usize, &Query)| {
        // Behind the last group that a query names everything repeats.
        let names = names.min(query.groups.len().max(1));
        let root = |place| Place::root(index, query, rules, place).map(|node| node.0);
        (0..names).map(root).collect()
    };
    queries.iter().enumerate().map(of).collect()
}

/// A [`Trie`] as tensors of one number a node.
#[derive(Debug)]
struct DeviceTrie {
    device: Device,
    /// `[nodes]`
    first_child: Tensor<1, Int>,
    /// `[nodes]`
    children: Tensor<1, Int>,
    /// On the edge into each node, `[nodes]`.
    token: Tensor<1, Int>,
    /// 1 where a name may end, `[nodes]`.
    terminal: Tensor<1, Int>,
    /// Most children of a node, by its depth.
    widest: Vec<usize>,
}

impl DeviceTrie {
    fn new(trie: &Trie, vocab: usize, device: &Device) -> Result<Self, Error> {
        let count = trie.node_count();
        if i32::try_from(count).is_err() {
            return Err(Error::TooLarge {
                what: "nodes",
                count,
                limit: i32::MAX as usize,
            });
        }
        let mut first_child = vec![0i32; count];
        let mut children = vec![0i32; count];
        let mut token = vec![0i32; count];
        let mut terminal = vec![0i32; count];
        let mut depth = vec![0u16; count];
        let mut widest: Vec<usize> = Vec::new();
        // Children have larger numbers than their parents, so every depth is known when its turn comes.
        for node in 0..count {
            let id = NodeId(node as u32);
            let below = trie.children(id);
            let level = usize::from(depth[node]);
            if widest.len() <= level {
                widest.resize(level + 1, 0);
            }
            widest[level] = widest[level].max(below.len());
            children[node] = below.len() as i32;
            terminal[node] = i32::from(trie.is_terminal(id));
            for (number, (next, child)) in below.iter().enumerate() {
                if next as usize >= vocab {
                    return Err(Error::TokenOutsideVocabulary { token: next, vocab });
                }
                let child = child.0 as usize;
                if number == 0 {
                    first_child[node] = child as i32;
                }
                token[child] = next as i32;
                depth[child] = depth[node].saturating_add(1);
            }
        }
        let put = |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [count]), device);
        Ok(Self {
            first_child: put(first_child),
            children: put(children),
            token: put(token),
            terminal: put(terminal),
            widest,
            device: device.clone(),
        })
    }

    /// The most children of any node that a search can be at after so many tokens; with several names it may be anywhere.
    fn width(&self, tokens: usize, several_names: bool) -> usize {
        let depths = match several_names {
            true => 0..self.widest.len(),
            false => tokens..self.widest.len().min(tokens + 1),
        };
        let widest = self.widest.get(depths).unwrap_or(&[]);
        widest.iter().copied().max().unwrap_or(0).max(1)
    }
}

/// The running hypotheses of a batch, `[mentions, beams]` each; one beam before the first token.
#[derive(Clone)]
struct Running {
    node: Tensor<2, Int>,
    sum: Tensor<2>,
    /// Names completed by a separator.
    names: Tensor<2, Int>,
}

/// The answers of a batch so far, best first, `[mentions, beams]` each.
#[derive(Clone)]
struct Answers {
    /// [`NEVER`] where there is none yet.
    score: Tensor<2>,
    /// Log-probability of the end.
    end: Tensor<2>,
    /// The step in which it ended.
    step: Tensor<2, Int>,
    /// The beam that ended, as it was numbered before that step.
    beam: Tensor<2, Int>,
}

/// What a step chose, `[mentions, beams]` each.
struct Chosen {
    token: Tensor<2, Int>,
    parent: Tensor<2, Int>,
    log_prob: Tensor<2>,
}

/// What a model is to read next: a token and a parent for every beam, `[mentions, beams]` each.
type Next = (Tensor<2, Int>, Tensor<2, Int>);

struct Search<'a> {
    trie: &'a DeviceTrie,
    rules: &'a Rules<'a>,
    mentions: usize,
    beams: usize,
    /// Most names in an answer.
    names: usize,
    /// Where the n-th name of a mention begins, `[mentions, names]`.
    roots: Tensor<2, Int>,
    running: Running,
    answers: Answers,
    history: Vec<Chosen>,
}

impl<'a> Search<'a> {
    fn new(
        trie: &'a DeviceTrie,
        rules: &'a Rules<'a>,
        roots: Vec<Vec<u32>>,
        mentions: usize,
    ) -> Self {
        let beams = rules.options.beams;
        let names = match rules.special.sep {
            Some(_) => rules.options.multi_answer.unwrap_or(1).max(1),
            None => 1,
        };
        let device = &trie.device;
        let columns = roots.iter().map(Vec::len).max().unwrap_or(1);
        let roots: Vec<i32> = roots
            .iter()
            .flat_map(|own| {
                let last = own.last().copied().unwrap_or(0);
                let own = own.iter().copied().chain(std::iter::repeat(last));
                own.take(columns).map(|root| root as i32)
            })
            .collect();
        let roots =
            Tensor::<2, Int>::from_data(TensorData::new(roots, [mentions, columns]), device);
        let none = || Tensor::<2, Int>::zeros([mentions, beams], device);
        Search {
            running: Running {
                node: roots.clone().narrow(1, 0, 1),
                sum: Tensor::zeros([mentions, 1], (device, DType::F32)),
                names: Tensor::zeros([mentions, 1], device),
            },
            answers: Answers {
                score: Tensor::full([mentions, beams], NEVER, (device, DType::F32)),
                end: Tensor::zeros([mentions, beams], (device, DType::F32)),
                step: none(),
                beam: none(),
            },
            trie,
            rules,
            mentions,
            beams,
            names,
            roots,
            history: Vec::new(),
        }
    }

    /// Takes one step, from the logits behind what runs: what the model is to read next, a token and a parent for every beam;
    /// nothing if all is done.
    ///
    /// # Shapes
    /// - logits: `[mentions * running beams, vocab]`
    fn step(&mut self, step: usize, logits: Tensor<2>) -> Result<Option<Next>, Error> {
        let width = self.trie.width(step, self.names > 1);
        let (at, log_probs, broken) = self.allowed(width, logits.cast(DType::F32));
        let columns = log_probs.dims()[1];
        let all = self.running.sum.dims()[1] * columns;
        let flat = |x: Tensor<2>| x.reshape([self.mentions, all]);
        let sums = flat(log_probs.clone() + self.running.sum.clone().reshape([-1, 1]));
        let (best, place) = self.best(sums, 2 * self.beams);
        let log_prob = flat(log_probs).gather(1, place.clone());
        let beam = place.clone().div_scalar(columns as i64);
        let column = place - beam.clone().mul_scalar(columns as i64);
        let ends = column.clone().equal_elem(width as i64);

        self.finish(step, &best, &log_prob, &beam, &ends);
        let (sum, rank) = self.best(best.mask_fill(ends, NEVER), self.beams);
        let parent = beam.gather(1, rank.clone());
        let chosen = Chosen {
            log_prob: log_prob.gather(1, rank.clone()),
            token: self.advance(at, width, column.gather(1, rank), &parent, sum),
            parent,
        };
        let next = (chosen.token.clone(), chosen.parent.clone());
        self.history.push(chosen);
        if step + 1 < self.rules.options.max_new_tokens {
            self.leave_done(step + 1);
        }
        // All that the host waits for.
        let runs = self.running.sum.clone().greater_elem(NEVER).any().int();
        let flags = runs + broken.clone().any().int().mul_scalar(2);
        let flags = flags.try_into_scalar::<i64>().map_err(device_error)?;
        if flags >= 2 {
            return Err(self.not_finite(step, broken));
        }
        Ok((flags == 1).then_some(next))
    }

    /// What the trie allows behind what runs, and the log-probability of each.
    ///
    /// # Shapes
    /// - logits: `[rows, vocab]`
    /// - output: nodes `[rows, width]`; log-probabilities `[rows, width + 1]`, the end last, or `[rows, width + 2]` with the separator
    ///   behind it; whether a row is no distribution `[rows, 1]`
    fn allowed(
        &self,
        width: usize,
        logits: Tensor<2>,
    ) -> (Tensor<2, Int>, Tensor<2>, Tensor<2, Bool>) {
        let rows = logits.dims()[0];
        let trie = self.trie;
        let node = self.running.node.clone().reshape([rows]);
        let of = |part: &Tensor<1, Int>| part.clone().select(0, node.clone()).reshape([rows, 1]);
        let offset = Tensor::<1, Int>::arange(0..width as i64, &trie.device).reshape([1, width]);
        let offset = offset.expand([rows, width]);
        let wide = |x: Tensor<2, Int>| x.expand([rows, width]);
        let beyond = offset.clone().greater_equal(wide(of(&trie.children)));
        let last = trie.token.dims()[0] as i64 - 1;
        let at = (wide(of(&trie.first_child)) + offset).clamp_max(last);
        let token = trie
            .token
            .clone()
            .select(0, at.clone().reshape([rows * width]));
        let token = token.reshape([rows, width]);
        let mut columns = vec![logits.clone().gather(1, token).mask_fill(beyond, NEVER)];
        let may_end = of(&trie.terminal).equal_elem(1);
        let one = |token: u32| logits.clone().narrow(1, token as usize, 1);
        let special = self.rules.special;
        columns.push(one(special.eos).mask_fill(may_end.clone().bool_not(), NEVER));
        if let (Some(sep), true) = (special.sep, self.names > 1) {
            let names = self.running.names.clone().reshape([rows, 1]);
            let may_go_on = may_end.bool_and(names.lower_elem(self.names as i64 - 1));
            columns.push(one(sep).mask_fill(may_go_on.bool_not(), NEVER));
        }
        let columns = Tensor::cat(columns, 1);
        let (sum, broken) = match self.rules.options.scoring {
            Scoring::Full => {
                let sum = log_sum_exp(logits);
                // All tokens impossible: -∞.
                let nothing = sum.clone().lower_elem(FLOOR);
                (sum.clone(), sum.is_nan().bool_or(nothing))
            }
            Scoring::Local => {
                // Nothing is allowed behind a beam that does not exist.
                let sum = log_sum_exp(columns.clone());
                (sum.clone(), sum.is_nan())
            }
        };
        (at, columns - sum.clamp_min(FLOOR), broken)
    }

    /// The best of each mention, the best first, with their places; [`NEVER`] where there are fewer, at any place.
    fn best(&self, values: Tensor<2>, count: usize) -> (Tensor<2>, Tensor<2, Int>) {
        let there = values.dims()[1];
        let device = &self.trie.device;
        // A GPU's kernel begins with the smallest finite number and a place that is none, and what is not above that number, as -∞ and
        // NaN are, leaves it there.
        let lost = values.clone().greater_elem(FLOOR).bool_not();
        let values = values.mask_fill(lost, FLOOR);
        let (best, place) = values.topk_with_indices(count.min(there), 1);
        let place = place.clamp(0, there as i64 - 1);
        let none = best.clone().lower_equal_elem(FLOOR);
        let best = best.mask_fill(none, NEVER);
        if there >= count {
            return (best, place);
        }
        let missing = [self.mentions, count - there];
        let none = Tensor::full(missing, NEVER, (device, DType::F32));
        let nowhere = Tensor::zeros(missing, device);
        (
            Tensor::cat(vec![best, none], 1),
            Tensor::cat(vec![place, nowhere], 1),
        )
    }

    /// Keeps those of the first K that end as answers, if they are among the best K.
    fn finish(
        &mut self,
        step: usize,
        best: &Tensor<2>,
        log_prob: &Tensor<2>,
        beam: &Tensor<2, Int>,
        ends: &Tensor<2, Bool>,
    ) {
        let beams = self.beams;
        let divisor = self.rules.length_divisor(step + 1);
        let goes_on = ends.clone().narrow(1, 0, beams).bool_not();
        let score = best.clone().narrow(1, 0, beams).div_scalar(divisor);
        let score = score.mask_fill(goes_on, NEVER);
        let old = self.answers.clone();
        let (score, rank) = self.best(Tensor::cat(vec![old.score, score], 1), beams);
        let step = beam
            .clone()
            .narrow(1, 0, beams)
            .mul_scalar(0)
            .add_scalar(step as i64);
        let ids = |old: Tensor<2, Int>, new: Tensor<2, Int>| {
            let new = new.narrow(1, 0, beams);
            Tensor::cat(vec![old, new], 1).gather(1, rank.clone())
        };
        let end = Tensor::cat(vec![old.end, log_prob.clone().narrow(1, 0, beams)], 1);
        self.answers = Answers {
            step: ids(old.step, step),
            beam: ids(old.beam, beam.clone()),
            end: end.gather(1, rank),
            score,
        };
    }

    /// Moves what runs to where it was chosen to go on; returns the tokens.
    fn advance(
        &mut self,
        at: Tensor<2, Int>,
        width: usize,
        column: Tensor<2, Int>,
        parent: &Tensor<2, Int>,
        sum: Tensor<2>,
    ) -> Tensor<2, Int> {
        let shape = [self.mentions, self.beams];
        let count = at.dims()[0] / self.mentions * width;
        let child = column.clone().clamp_max(width as i64 - 1);
        let place = parent.clone().mul_scalar(width as i64) + child;
        let mut node = at.reshape([self.mentions, count]).gather(1, place);
        let token = self
            .trie
            .token
            .clone()
            .select(0, node.clone().reshape([-1]));
        let mut token = token.reshape(shape);
        let mut names = self.running.names.clone().gather(1, parent.clone());
        if let (Some(sep), true) = (self.rules.special.sep, self.names > 1) {
            let separates = column.equal_elem(width as i64 + 1);
            names = names + separates.clone().int();
            let last = self.roots.dims()[1] as i64 - 1;
            let root = self.roots.clone().gather(1, names.clone().clamp_max(last));
            node = node.mask_where(separates.clone(), root);
            token = token.mask_fill(separates, i64::from(sep));
        }
        self.running = Running { node, sum, names };
        token
    }

    /// Ends the beams of mentions that nothing better is to be expected of, as [`super::beam`] does.
    fn leave_done(&mut self, length: usize) {
        let options = self.rules.options;
        let worst = self.answers.score.clone().narrow(1, self.beams - 1, 1);
        let full = worst.clone().greater_elem(NEVER);
        let hoped_length = match options.early_stopping {
            EarlyStopping::Exhaustive if options.length_penalty > 0.0 => options.max_new_tokens,
            _ => length,
        };
        let done = if options.early_stopping == EarlyStopping::FirstFull {
            full
        } else {
            let best = self.running.sum.clone().narrow(1, 0, 1);
            let hoped = best.div_scalar(self.rules.length_divisor(hoped_length));
            full.bool_and(hoped.lower_equal(worst))
        };
        let done = done.expand([self.mentions, self.beams]);
        self.running.sum = self.running.sum.clone().mask_fill(done, NEVER);
    }

    /// Which mention has scores that are no numbers.
    fn not_finite(&self, step: usize, broken: Tensor<2, Bool>) -> Error {
        let rows = broken.dims()[0];
        let broken = read::<i64>(broken.int().reshape([rows]).into_data());
        let row = broken.map(|rows| rows.iter().position(|&row| row != 0));
        match row {
            Ok(row) => Error::NotFinite {
                query: row.unwrap_or(0) / (rows / self.mentions).max(1),
                step,
            },
            Err(error) => error,
        }
    }

    /// Reads the answers of all mentions, best first.
    fn into_hypotheses(self) -> Result<Vec<Vec<Hypothesis>>, Error> {
        let (mentions, beams) = (self.mentions, self.beams);
        let pick = |of: fn(&Chosen) -> Tensor<2, Int>| {
            let steps: Vec<Tensor<2, Int>> = self.history.iter().map(of).collect();
            read::<i64>(Tensor::cat(steps, 0).into_data())
        };
        let tokens = pick(|chosen| chosen.token.clone())?;
        let parents = pick(|chosen| chosen.parent.clone())?;
        let log_probs = self.history.iter().map(|chosen| chosen.log_prob.clone());
        let log_probs = read::<f32>(Tensor::cat(log_probs.collect(), 0).into_data())?;
        let score = read::<f32>(self.answers.score.into_data())?;
        let end = read::<f32>(self.answers.end.into_data())?;
        let step = read::<i64>(self.answers.step.into_data())?;
        let beam = read::<i64>(self.answers.beam.into_data())?;
        let answer = |mention: usize, place: usize| {
            let mut beam = beam[place] as usize;
            let mut tokens_back = vec![self.rules.special.eos];
            let mut log_probs_back = vec![end[place]];
            for step in (0..step[place] as usize).rev() {
                let at = (step * mentions + mention) * beams + beam;
                tokens_back.push(tokens[at] as u32);
                log_probs_back.push(log_probs[at]);
                beam = parents[at] as usize;
            }
            tokens_back.reverse();
            log_probs_back.reverse();
            let sum_log_prob: f64 = log_probs_back.iter().copied().map(f64::from).sum();
            Hypothesis {
                score: sum_log_prob / self.rules.length_divisor(tokens_back.len()),
                tokens: tokens_back,
                sum_log_prob,
                token_log_probs: log_probs_back,
            }
        };
        let answers = |mention: usize| {
            let places: Range<usize> = mention * beams..(mention + 1) * beams;
            let places = places.filter(|&place| score[place] > NEVER);
            let mut answers: Vec<Hypothesis> = places.map(|place| answer(mention, place)).collect();
            answers.sort_by(|a, b| b.score.total_cmp(&a.score));
            answers
        };
        Ok((0..mentions).map(answers).collect())
    }
}

/// The logarithm of the sum of exponentials of each row: -∞ for a row of [`NEVER`], NaN where there is a NaN or +∞.
///
/// # Shapes
/// - rows: `[rows, n]`
/// - output: `[rows, 1]`
fn log_sum_exp(rows: Tensor<2>) -> Tensor<2> {
    let most = rows.clone().max_dim(1).clamp_min(FLOOR);
    let sum = (rows - most.clone()).exp().sum_dim(1).log();
    most + sum
}

fn read<T: burn::tensor::Element>(data: TensorData) -> Result<Vec<T>, Error> {
    data.try_into_vec_as::<T>().map_err(device_error)
}

fn device_error(error: impl std::fmt::Debug) -> Error {
    Error::Model(format!("{error:?}").into())
}
