//! Causal attention inside each example, forward and backward.

use rayon::prelude::*;

use syncabel_kernels::rows::{causal_softmax, causal_softmax_backward};
use syncabel_kernels::{Matrix, Write, small_matmul};

/// Numbers of heads and their width.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) query: usize,
    pub(super) key: usize,
    pub(super) width: usize,
}

impl Heads {
    pub(super) fn query_width(&self) -> usize {
        self.query * self.width
    }

    pub(super) fn key_width(&self) -> usize {
        self.key * self.width
    }

    /// First column of the key head that serves a query head.
    fn key_column(&self, query_head: usize) -> usize {
        query_head / (self.query / self.key) * self.width
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// Attention probabilities that an example of `length` tokens needs.
pub(super) fn probabilities_len(heads: Heads, length: usize) -> usize {
    heads.query * length * length
}

/// Splits a buffer into consecutive parts of the given lengths.
fn split_mut(mut rest: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let mut parts = Vec::new();
    for length in lengths {
        let (part, after) = rest.split_at_mut(length);
        parts.push(part);
        rest = after;
    }
    parts
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    lengths
        .iter()
        .scan(0, |next, &length| {
            let start = *next;
            *next += length;
            Some(start)
        })
        .collect()
}

/// # Shapes
/// - q, out: `[tokens, query heads * width]`
/// - k, v: `[tokens, key heads * width]`
/// - probabilities: for each example in turn `[query heads, length, length]`
/// - lengths: tokens of each example
pub(super) fn forward(
    out: &mut [f32],
    probabilities: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    lengths: &[usize],
    heads: Heads,
) {
    let (query_width, key_width) = (heads.query_width(), heads.key_width());
    let outs = split_mut(out, lengths.iter().map(|n| n * query_width));
    let all = split_mut(
        probabilities,
        lengths.iter().map(|&n| probabilities_len(heads, n)),
    );
    outs.into_par_iter()
        .zip(all)
        .zip(starts(lengths))
        .zip(lengths)
        .for_each(|(((out, probabilities), start), &n)| {
            let (q, k, v) = (
                &q[start * query_width..],
                &k[start * key_width..],
                &v[start * key_width..],
            );
            for (head, p) in probabilities.chunks_exact_mut(n * n).enumerate() {
                let (column, key_column) = (head * heads.width, heads.key_column(head));
                let query = Matrix::block(&q[column..], n, heads.width, query_width);
                let key = Matrix::block(&k[key_column..], n, heads.width, key_width);
                let value = Matrix::block(&v[key_column..], n, heads.width, key_width);
                small_matmul(p, n, Write::Replace, heads.scale(), query, key.transposed());
                causal_softmax(p, n);
                small_matmul(
                    &mut out[column..],
                    query_width,
                    Write::Replace,
                    1.0,
                    Matrix::new(p, n, n),
                    value,
                );
            }
        });
}

/// What [`forward`] read, and the gradient of what it wrote.
pub(super) struct Backward<'a> {
    pub(super) d_out: &'a [f32],
    pub(super) probabilities: &'a [f32],
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// Writes the gradients of q, k and v; shapes as in [`forward`].
pub(super) fn backward(
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    from: &Backward<'_>,
    lengths: &[usize],
    heads: Heads,
) {
    let (query_width, key_width) = (heads.query_width(), heads.key_width());
    let probability_lengths: Vec<usize> = lengths
        .iter()
        .map(|&n| probabilities_len(heads, n))
        .collect();
    let dqs = split_mut(dq, lengths.iter().map(|n| n * query_width));
    let dks = split_mut(dk, lengths.iter().map(|n| n * key_width));
    let dvs = split_mut(dv, lengths.iter().map(|n| n * key_width));
    let places = starts(lengths)
        .into_iter()
        .zip(starts(&probability_lengths))
        .zip(lengths);
    let tasks: Vec<_> = dqs.into_iter().zip(dks).zip(dvs).zip(places).collect();
    tasks
        .into_par_iter()
        .for_each(|(((dq, dk), dv), ((start, p_start), &n))| {
            let (q, d_out) = (
                &from.q[start * query_width..],
                &from.d_out[start * query_width..],
            );
            let (k, v) = (&from.k[start * key_width..], &from.v[start * key_width..]);
            let probabilities = &from.probabilities[p_start..p_start + probabilities_len(heads, n)];
            let mut d_scores = vec![0.0; n * n];
            for (head, p) in probabilities.chunks_exact(n * n).enumerate() {
                let (column, key_column) = (head * heads.width, heads.key_column(head));
                let first_of_group = head % (heads.query / heads.key) == 0;
                let write = if first_of_group {
                    Write::Replace
                } else {
                    Write::Add
                };
                let query = Matrix::block(&q[column..], n, heads.width, query_width);
                let d_out = Matrix::block(&d_out[column..], n, heads.width, query_width);
                let key = Matrix::block(&k[key_column..], n, heads.width, key_width);
                let value = Matrix::block(&v[key_column..], n, heads.width, key_width);

                small_matmul(
                    &mut dv[key_column..],
                    key_width,
                    write,
                    1.0,
                    Matrix::new(p, n, n).transposed(),
                    d_out,
                );
                small_matmul(
                    &mut d_scores,
                    n,
                    Write::Replace,
                    1.0,
                    d_out,
                    value.transposed(),
                );
                causal_softmax_backward(&mut d_scores, p, n, heads.scale());
                let d_scores = Matrix::new(&d_scores, n, n);
                small_matmul(
                    &mut dq[column..],
                    query_width,
                    Write::Replace,
                    1.0,
                    d_scores,
                    key,
                );
                small_matmul(
                    &mut dk[key_column..],
                    key_width,
                    write,
                    1.0,
                    d_scores.transposed(),
                    query,
                );
            }
        });
}
