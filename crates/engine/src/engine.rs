//! Runs in, scores out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use syncabel_kernels::rows::{Turn, rms_norm, rotate_first};
use syncabel_kernels::{Write, team};

use crate::arena::{Arena, CELLS, Cell, Seen, Window, seen_behind, windows};
use crate::attention::{Cache, Rows, attend};
use crate::head::{self, Wanted as Want};
use crate::weights::{Left, Weights};
use crate::{Error, Precision};

pub use crate::head::Wanted;

/// Rows that go through the layers together: enough to keep every product busy, few enough that their intermediate
/// numbers stay in the caches.
const CHUNK_ROWS: usize = 384;

/// Tokens to be read in one go.
#[derive(Clone, Copy, Debug)]
pub struct Run<'r> {
    /// Whose: any number that the caller likes.
    pub mention: usize,
    /// The state behind which they are read; `None` for a prompt, which opens the mention.
    pub after: Option<u32>,
    /// At least one.
    pub tokens: &'r [u32],
    /// Whether the tokens behind the first one are to be scored.
    pub score_read: bool,
    /// What is to be said about the token behind the run.
    pub wanted: Wanted<'r>,
    /// Whether `wanted` is scored among itself instead of over the whole vocabulary.
    pub among_wanted: bool,
}

/// What the engine says about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The state behind it, until its mention is closed.
    pub state: u32,
    /// Log-probability of each token but the first; empty unless asked for.
    pub read: Vec<f32>,
    /// The wanted tokens and their log-probabilities.
    pub next: Vec<(u32, f32)>,
}

/// A network with its key-value arena; see the [crate](crate) for what it does.
pub struct Engine {
    weights: Arc<Weights>,
    arena: Arena,
    mentions: BTreeMap<usize, Mention>,
    states: Vec<Option<State>>,
    free_states: Vec<u32>,
    rope: Rope,
    scratch: Scratch,
}

/// Gives cosines and sines of so many positions, `[positions, head_dim / 2]` each.
pub type RopeTables = Box<dyn Fn(usize) -> (Vec<f32>, Vec<f32>) + Send>;

/// Tables of cosines and sines by position, grown when needed.
struct Rope {
    make: RopeTables,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// What an open mention holds.
#[derive(Default)]
struct Mention {
    prompt: Vec<u32>,
    prompt_cells: Vec<Cell>,
    blocks: Vec<u32>,
    /// The block that its next token goes into, and the first free cell of it.
    open: Option<Cell>,
    states: Vec<u32>,
}

struct State {
    mention: usize,
    /// Tokens read, prompt included, and how many of these are the prompt.
    position: u32,
    prompt: u32,
    seen: Vec<Seen>,
}

/// A run that has its cells.
struct Placed {
    windows: Vec<Window>,
    cells: Vec<Cell>,
    /// Position of its first token that is read; a prompt's shared beginning is not.
    position: u32,
    /// Tokens of the run that are not read.
    skipped: usize,
    state: u32,
}

/// Memory that passes share.
#[derive(Default)]
struct Scratch {
    left: Left,
    x: Vec<f32>,
    normed: Vec<f32>,
    scales: Vec<f32>,
    query_key_value: Vec<f32>,
    mixed: Vec<f32>,
    gated: Vec<f32>,
}

/// A row of a chunk: its token, where it is, and whether its last state matters.
struct Row {
    run: usize,
    at: u32,
    token: u32,
    cell: Cell,
    position: u32,
    scored: bool,
}

impl Engine {
    /// An engine of a network.
    #[must_use]
    pub fn new(weights: Arc<Weights>, rope: RopeTables) -> Self {
        Self {
            arena: Arena::new(weights.shape()),
            weights,
            mentions: BTreeMap::new(),
            states: Vec::new(),
            free_states: Vec::new(),
            rope: Rope {
                make: rope,
                positions: 0,
                cos: Vec::new(),
                sin: Vec::new(),
            },
            scratch: Scratch::default(),
        }
    }

    /// The network.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Bytes of keys and values, used or not.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// Blocks of 16 tokens that open mentions hold.
    #[must_use]
    pub fn blocks_in_use(&self) -> usize {
        self.arena.counts().1
    }

    /// Reads `runs`, in one pass however many, and answers them in their order.
    ///
    /// # Errors
    /// See [`Error`]; all but [`Error::NotFinite`] before anything is read.
    pub fn forward(&mut self, runs: &[Run<'_>]) -> Result<Vec<Scores>, Error> {
        self.check(runs)?;
        team::gather(|| self.read(runs))
    }

    fn read(&mut self, runs: &[Run<'_>]) -> Result<Vec<Scores>, Error> {
        let placed: Vec<Placed> = runs.iter().map(|run| self.place(run)).collect();
        let rows = rows(runs, &placed);
        let last_position = rows.iter().map(|row| row.position).max().unwrap_or(0);
        self.rope
            .reach(last_position as usize + 1, self.weights.shape.positions);
        let mut hidden = Vec::new();
        for chunk in rows.chunks(CHUNK_ROWS) {
            self.layers(chunk, &placed, &mut hidden);
        }
        self.answer(runs, &placed, &hidden)
    }

    /// Forgets a mention; its blocks are free for others. Does nothing if it was not open.
    pub fn close(&mut self, mention: usize) {
        let Some(mention) = self.mentions.remove(&mention) else {
            return;
        };
        for block in mention.blocks {
            self.arena.give_back(block);
        }
        for state in mention.states {
            self.states[state as usize] = None;
            self.free_states.push(state);
        }
    }

    fn check(&self, runs: &[Run<'_>]) -> Result<(), Error> {
        let shape = &self.weights.shape;
        let mut opened = BTreeSet::new();
        for run in runs.iter().filter(|run| run.after.is_none()) {
            if !opened.insert(run.mention) {
                let mention = run.mention;
                return Err(Error::OpenedTwice { mention });
            }
        }
        for run in runs {
            let mention = run.mention;
            if let (Some(state), true) = (run.after, opened.contains(&mention)) {
                return Err(Error::State { mention, state });
            }
            if run.tokens.is_empty() {
                return Err(Error::EmptyRun { mention });
            }
            let wanted = match run.wanted {
                Wanted::Tokens(tokens) => tokens,
                Wanted::Best(_) => &[],
            };
            let mut tokens = run.tokens.iter().chain(wanted);
            if let Some(&token) = tokens.find(|&&token| token as usize >= shape.vocab) {
                let vocab = shape.vocab;
                return Err(Error::Token { token, vocab });
            }
            let before = match run.after {
                None => 0,
                Some(state) => {
                    self.states
                        .get(state as usize)
                        .and_then(Option::as_ref)
                        .filter(|known| known.mention == mention)
                        .ok_or(Error::State { mention, state })?
                        .position as usize
                }
            };
            let needed = before + run.tokens.len();
            if needed > shape.positions {
                let capacity = shape.positions;
                return Err(Error::Capacity {
                    mention,
                    needed,
                    capacity,
                });
            }
        }
        Ok(())
    }

    /// Gives a run its cells and its state.
    fn place(&mut self, run: &Run<'_>) -> Placed {
        let (position, prompt, seen, skipped) = match run.after {
            Some(state) => {
                let state = self.states[state as usize].as_ref().expect("checked");
                (state.position, state.prompt, state.seen.clone(), 0)
            }
            None => {
                self.close(run.mention);
                // What is shared is not read, so it cannot be scored.
                let most = if run.score_read {
                    0
                } else {
                    run.tokens.len() - 1
                };
                let (mention, seen) = self.open(&run.tokens[..most]);
                let shared = mention.prompt_cells.len();
                self.mentions.insert(run.mention, mention);
                (shared as u32, run.tokens.len() as u32, seen, shared)
            }
        };
        let count = run.tokens.len() - skipped;
        let mention = self.mentions.entry(run.mention).or_default();
        let mut cells = Vec::with_capacity(count);
        for _ in 0..count {
            let cell = match mention.open {
                Some(cell) if usize::from(cell.cell) < CELLS => cell,
                _ => {
                    let block = self.arena.take();
                    mention.blocks.push(block);
                    Cell { block, cell: 0 }
                }
            };
            mention.open = Some(Cell {
                cell: cell.cell + 1,
                ..cell
            });
            cells.push(cell);
        }
        if run.after.is_none() {
            mention.prompt = run.tokens.to_vec();
            mention.prompt_cells.extend_from_slice(&cells);
        }
        let windows = windows(&seen, &cells);
        let state = State {
            mention: run.mention,
            position: position + count as u32,
            prompt,
            seen: seen_behind(&windows, count),
        };
        let number = match self.free_states.pop() {
            Some(number) => {
                self.states[number as usize] = Some(state);
                number
            }
            None => {
                self.states.push(Some(state));
                (self.states.len() - 1) as u32
            }
        };
        mention.states.push(number);
        Placed {
            windows,
            cells,
            position,
            skipped,
            state: number,
        }
    }

    /// A mention that sees as much of `beginning` as an open mention's prompt begins with, and what it sees.
    fn open(&mut self, beginning: &[u32]) -> (Mention, Vec<Seen>) {
        let common = |other: &Mention| {
            let pairs = other.prompt.iter().zip(beginning);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let mut best: (usize, Option<&Mention>) = (0, None);
        for mention in self.mentions.values() {
            let length = common(mention);
            if length > best.0 {
                best = (length, Some(mention));
            }
        }
        let mut mention = Mention::default();
        let mut seen: Vec<Seen> = Vec::new();
        if let (length, Some(other)) = best {
            mention.prompt_cells = other.prompt_cells[..length].to_vec();
        }
        for cell in &mention.prompt_cells {
            match seen.last_mut() {
                Some(last) if last.block == cell.block => last.mask |= 1 << cell.cell,
                _ => {
                    seen.push(Seen {
                        block: cell.block,
                        mask: 1 << cell.cell,
                    });
                    self.arena.share(cell.block);
                    mention.blocks.push(cell.block);
                }
            }
        }
        (mention, seen)
    }

    /// Takes rows through all layers and appends the states of the scored ones, normalised, to `hidden`.
    fn layers(&mut self, rows: &[Row], placed: &[Placed], hidden: &mut Vec<f32>) {
        let weights = Arc::clone(&self.weights);
        let (shape, precision) = (&weights.shape, weights.precision);
        let windows: Vec<Vec<Window>> = placed.iter().map(|run| run.windows.clone()).collect();
        let positions: Vec<u32> = rows.iter().map(|row| row.position).collect();
        let mut parts = parts(rows.iter());
        let (query, key) = (shape.query_width(), shape.key_width());
        let all = query + 2 * key;
        let s = &mut self.scratch;
        let mut n = rows.len();
        s.x.resize(n * shape.hidden, 0.0);
        for (x, row) in s.x.chunks_exact_mut(shape.hidden).zip(rows) {
            weights.embed(row.token, x);
        }
        for (number, layer) in weights.layers.iter().enumerate() {
            norm(s, &layer.attention_norm, shape.eps);
            let left = s.left.of(precision, &s.normed, shape.hidden);
            let qkv = &mut s.query_key_value;
            qkv.resize(n * all, 0.0);
            left.times(qkv, Write::Replace, &layer.query_key_value);
            let (cos, sin) = (&self.rope.cos, &self.rope.sin);
            let half = shape.head_dim / 2;
            let turned = query + key;
            rotate_first(qkv, all, turned, &positions, cos, sin, half, Turn::Forward);
            for (row, numbers) in rows.iter().zip(qkv.chunks_exact(all)) {
                let (keys, values) = numbers[query..].split_at(key);
                self.arena.write(row.cell, number, keys, values);
            }
            if number + 1 == weights.layers.len() {
                // Behind the last keys and values only the rows that are scored matter.
                n = keep(&mut s.x, shape.hidden, rows);
                keep(&mut s.query_key_value, all, rows);
                parts = self::parts(rows.iter().filter(|row| row.scored));
                if n == 0 {
                    return;
                }
            }
            s.mixed.resize(n * query, 0.0);
            let cache = Cache {
                arena: &self.arena,
                windows: &windows,
                shape,
            };
            let queries = &s.query_key_value;
            attend(&mut s.mixed, queries, all, &parts, &cache, number);
            let left = s.left.of(precision, &s.mixed, query);
            left.times(&mut s.x, Write::Add, &layer.output);
            norm(s, &layer.mlp_norm, shape.eps);
            let left = s.left.of(precision, &s.normed, shape.hidden);
            s.gated.resize(n * shape.inner, 0.0);
            left.times_gated(&mut s.gated, &layer.gate_up);
            let left = s.left.of(precision, &s.gated, shape.inner);
            left.times(&mut s.x, Write::Add, &layer.down);
        }
        norm(s, &weights.norm, shape.eps);
        hidden.extend_from_slice(&s.normed);
    }

    /// Scores of every run out of the states of its scored rows.
    fn answer(
        &mut self,
        runs: &[Run<'_>],
        placed: &[Placed],
        hidden: &[f32],
    ) -> Result<Vec<Scores>, Error> {
        let weights = Arc::clone(&self.weights);
        let width = weights.shape.hidden;
        let mut full: (Vec<f32>, Vec<Want<'_>>) = Default::default();
        let mut local: (Vec<f32>, Vec<&[u32]>) = Default::default();
        let mut rows = hidden.chunks_exact(width);
        for run in runs {
            if run.score_read {
                for token in run.tokens[1..].chunks(1) {
                    full.0
                        .extend_from_slice(rows.next().expect("one for each scored row"));
                    full.1.push(Want::Tokens(token));
                }
            }
            let last = rows.next().expect("one for each scored row");
            match (run.among_wanted, run.wanted) {
                (true, Wanted::Tokens(tokens)) => {
                    local.0.extend_from_slice(last);
                    local.1.push(tokens);
                }
                _ => {
                    full.0.extend_from_slice(last);
                    full.1.push(run.wanted);
                }
            }
        }
        let mut full =
            head::over_all(&weights, &mut self.scratch.left, &full.0, &full.1).into_iter();
        let mut local = head::among_wanted(&weights, &local.0, &local.1).into_iter();
        runs.iter()
            .zip(placed)
            .map(|(run, placed)| {
                let broken = || Error::NotFinite {
                    mention: run.mention,
                    step: self.step(placed.state),
                };
                let mut read = Vec::new();
                if run.score_read {
                    for _ in &run.tokens[1..] {
                        let row = full.next().flatten().ok_or_else(broken)?;
                        read.push(row[0].1);
                    }
                }
                let here = run.among_wanted && matches!(run.wanted, Wanted::Tokens(_));
                let next = if here { local.next() } else { full.next() };
                Ok(Scores {
                    state: placed.state,
                    read,
                    next: next.flatten().ok_or_else(broken)?,
                })
            })
            .collect()
    }

    /// Tokens that a state has behind its prompt.
    fn step(&self, state: u32) -> usize {
        let state = self.states[state as usize].as_ref();
        state.map_or(0, |state| (state.position - state.prompt) as usize)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("shape", &self.weights.shape)
            .field("mentions", &self.mentions.len())
            .field("cache_bytes", &self.cache_bytes())
            .finish_non_exhaustive()
    }
}

impl Rope {
    fn reach(&mut self, positions: usize, most: usize) {
        if self.positions < positions {
            self.positions = positions
                .next_power_of_two()
                .max(128)
                .min(most.max(positions));
            (self.cos, self.sin) = (self.make)(self.positions);
        }
    }
}

/// `s.normed = norm(s.x)`.
fn norm(s: &mut Scratch, gamma: &[f32], eps: f32) {
    s.normed.resize(s.x.len(), 0.0);
    s.scales.resize(s.x.len() / gamma.len(), 0.0);
    rms_norm(&mut s.normed, &mut s.scales, &s.x, gamma, eps);
}

/// All tokens that are to be read, run by run.
fn rows(runs: &[Run<'_>], placed: &[Placed]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, (run, placed)) in runs.iter().zip(placed).enumerate() {
        let tokens = &run.tokens[placed.skipped..];
        for (at, (&token, &cell)) in tokens.iter().zip(&placed.cells).enumerate() {
            rows.push(Row {
                run: number,
                at: at as u32,
                token,
                cell,
                position: placed.position + at as u32,
                scored: run.score_read || at + 1 == tokens.len(),
            });
        }
    }
    rows
}

/// Consecutive rows of one run together.
fn parts<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<Rows> {
    let mut parts: Vec<Rows> = Vec::new();
    for row in rows {
        match parts.last_mut() {
            Some(last) if last.run == row.run && last.from + last.count as u32 == row.at => {
                last.count += 1;
            }
            _ => parts.push(Rows {
                run: row.run,
                from: row.at,
                count: 1,
            }),
        }
    }
    parts
}

/// Moves the scored rows to the front, drops the others, and returns how many there are.
fn keep(matrix: &mut Vec<f32>, width: usize, rows: &[Row]) -> usize {
    let mut kept = 0;
    for (at, _) in rows.iter().enumerate().filter(|(_, row)| row.scored) {
        matrix.copy_within(at * width..(at + 1) * width, kept * width);
        kept += 1;
    }
    matrix.truncate(kept * width);
    kept
}

/// The unit that [`Precision::Bf16`] uses on this machine, for reports.
#[must_use]
pub fn unit(precision: Precision) -> String {
    match precision {
        Precision::F32 => "float32".to_owned(),
        Precision::Bf16 => format!("bfloat16, {:?}", syncabel_kernels::bf16::Unit::detect()),
    }
}
