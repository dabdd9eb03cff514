//! Attention of single rows over blocks of cells.
//!
//! Keys lie so that 16 cells of one dimension are one vector: the scores of a block come without sums across a vector.
//! All query heads of a group take each vector of keys or values together.

use syncabel_kernels::simd::{exp, max};
use syncabel_kernels::{multiversion, team};

use crate::Shape;
use crate::arena::{Arena, CELLS, Window};

/// Numbers of a head's output that are summed together.
const WIDE: usize = 32;

/// Rows of one run that one task takes.
const TASK_ROWS: usize = 8;

/// Rows of a pass that belong to one run: tokens `from..from + count` of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) run: usize,
    pub(crate) from: u32,
    pub(crate) count: usize,
}

/// What all rows of a pass attend to.
pub(crate) struct Cache<'c> {
    pub(crate) arena: &'c Arena,
    /// What each run sees.
    pub(crate) windows: &'c [Vec<Window>],
    pub(crate) shape: &'c Shape,
}

/// One layer's attention.
///
/// # Shapes
/// - out: `[rows, query heads * head_dim]`
/// - queries: `[rows, stride]`, of which the first `query heads * head_dim` are the queries, turned to their positions
/// - rows: all rows of the pass in order
pub(crate) fn attend(
    out: &mut [f32],
    queries: &[f32],
    stride: usize,
    rows: &[Rows],
    cache: &Cache<'_>,
    layer: usize,
) {
    let Cache {
        arena,
        windows,
        shape,
    } = *cache;
    let width = shape.query_width();
    let mut tasks = Vec::new();
    let (mut out, mut queries) = (out, queries);
    for part in rows {
        let mut done = 0;
        while done < part.count {
            let count = TASK_ROWS.min(part.count - done);
            let (mine, rest) = out.split_at_mut(count * width);
            tasks.push((
                mine,
                &queries[..count * stride],
                part.run,
                part.from + done as u32,
            ));
            out = rest;
            queries = &queries[count * stride..];
            done += count;
        }
    }
    team::for_each_part(tasks, |(out, queries, run, from)| {
        let blocks: Vec<(&[f32], &[f32])> = windows[run]
            .iter()
            .map(|window| arena.layer(window.block, layer))
            .collect();
        let mut masks = Vec::with_capacity(blocks.len());
        let mut scores = vec![0.0; shape.group() * blocks.len() * CELLS];
        for (i, (out, query)) in out
            .chunks_exact_mut(width)
            .zip(queries.chunks_exact(stride))
            .enumerate()
        {
            masks.clear();
            masks.extend(windows[run].iter().map(|w| w.mask(from + i as u32)));
            row(
                out,
                query,
                &blocks,
                &masks,
                &mut scores,
                shape.group(),
                shape.head_dim,
            );
        }
    });
}

multiversion! {
    /// One row, all heads.
    fn row(out: &mut [f32], query: &[f32], blocks: &[(&[f32], &[f32])], masks: &[u16], scores: &mut [f32], group: usize, dim: usize) {
        let cells = blocks.len() * CELLS;
        for (head, out) in out.chunks_exact_mut(group * dim).enumerate() {
            let query = &query[head * group * dim..][..group * dim];
            let mut first = 0;
            while first < group {
                let count = (group - first).min(4);
                let query = &query[first * dim..][..count * dim];
                let scores = &mut scores[first * cells..][..count * cells];
                let out = &mut out[first * dim..][..count * dim];
                match count {
                    1 => heads::<1>(out, query, blocks, masks, scores, head, dim),
                    2 => heads::<2>(out, query, blocks, masks, scores, head, dim),
                    3 => heads::<3>(out, query, blocks, masks, scores, head, dim),
                    _ => heads::<4>(out, query, blocks, masks, scores, head, dim),
                }
                first += count;
            }
        }
    }
}

/// N query heads that share a key head.
#[inline(always)]
fn heads<const N: usize>(
    out: &mut [f32],
    query: &[f32],
    blocks: &[(&[f32], &[f32])],
    masks: &[u16],
    scores: &mut [f32],
    head: usize,
    dim: usize,
) {
    let cells = blocks.len() * CELLS;
    let scale = 1.0 / (dim as f32).sqrt();
    for (number, ((keys, _), &mask)) in blocks.iter().zip(masks).enumerate() {
        if mask == 0 {
            // As a prompt is read, the blocks behind a row are as many as those before it.
            for n in 0..N {
                scores[n * cells + number * CELLS..][..CELLS].fill(f32::NEG_INFINITY);
            }
            continue;
        }
        let keys = &keys[head * dim * CELLS..][..dim * CELLS];
        let mut totals = [[0.0f32; CELLS]; N];
        let (lines, _) = keys.as_chunks::<CELLS>();
        for (d, line) in lines.iter().enumerate() {
            for (n, totals) in totals.iter_mut().enumerate() {
                let q = query[n * dim + d];
                for (total, key) in totals.iter_mut().zip(line) {
                    *total += q * key;
                }
            }
        }
        for (n, totals) in totals.iter().enumerate() {
            let to = &mut scores[n * cells + number * CELLS..][..CELLS];
            for c in 0..CELLS {
                let seen = (mask >> c) & 1 == 1;
                to[c] = if seen {
                    totals[c] * scale
                } else {
                    f32::NEG_INFINITY
                };
            }
        }
    }
    for scores in scores.chunks_exact_mut(cells) {
        let largest = max(scores);
        for (scores, &mask) in scores.chunks_exact_mut(CELLS).zip(masks) {
            for (c, score) in scores.iter_mut().enumerate() {
                // `exp` stops short of zero; what is hidden must be zero.
                let seen = (mask >> c) & 1 == 1;
                *score = if seen { exp(*score - largest) } else { 0.0 };
            }
        }
        // In float64, so that it does not show which cells a path lies in, and with that how the search went there.
        let mut lanes = [0.0f64; CELLS];
        for block in scores.as_chunks::<CELLS>().0 {
            for (lane, &score) in lanes.iter_mut().zip(block) {
                *lane += f64::from(score);
            }
        }
        let scale = (1.0 / lanes.iter().sum::<f64>()) as f32;
        scores.iter_mut().for_each(|score| *score *= scale);
    }
    let whole = dim / WIDE * WIDE;
    for from in (0..whole).step_by(WIDE) {
        mix::<N, WIDE>(out, scores, blocks, masks, head, dim, from);
    }
    for from in whole..dim {
        mix::<N, 1>(out, scores, blocks, masks, head, dim, from);
    }
}

/// W numbers of each of N heads' outputs, from number `from` on: values weighted by probabilities.
///
/// W is known, or the sums would not stay in registers.
#[inline(always)]
fn mix<const N: usize, const W: usize>(
    out: &mut [f32],
    scores: &[f32],
    blocks: &[(&[f32], &[f32])],
    masks: &[u16],
    head: usize,
    dim: usize,
    from: usize,
) {
    let cells = blocks.len() * CELLS;
    let mut totals = [[0.0f32; W]; N];
    for (number, ((_, values), &mask)) in blocks.iter().zip(masks).enumerate() {
        if mask == 0 {
            continue;
        }
        let values = &values[head * dim * CELLS..][..dim * CELLS];
        let weights: [&[f32; CELLS]; N] = std::array::from_fn(|n| {
            let at = n * cells + number * CELLS;
            scores[at..].first_chunk().expect("a score for every cell")
        });
        for (c, line) in values.chunks_exact(dim).enumerate() {
            let line: &[f32; W] = line[from..].first_chunk().expect("inside the head");
            for (totals, weights) in totals.iter_mut().zip(weights) {
                for (total, value) in totals.iter_mut().zip(line) {
                    *total += weights[c] * value;
                }
            }
        }
    }
    for (n, totals) in totals.iter().enumerate() {
        out[n * dim + from..][..W].copy_from_slice(totals);
    }
}
