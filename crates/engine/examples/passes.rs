//! Time of single passes through a network of SmolLM2-135M's shape with random weights.
//!
//! ```text
//! cargo run --release --example passes -- [repeats] [bf16]
//! ```
//!
//! One line a kind of pass: a prompt of 90 tokens, then one token behind each of 1, 5, 16, 40 and 80 hypotheses, five of a
//! mention, scored over the whole vocabulary. Shortest and median time in milliseconds, and rows a second at the median.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use syncabel_engine::{Engine, Precision, Run, Shape, Wanted, Weights};

const PROMPT_TOKENS: usize = 90;
const BEAMS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let repeats: usize = arguments.next().map_or(Ok(20), |n| n.parse())?;
    let precision = match arguments.next().as_deref() {
        Some("bf16") => Precision::Bf16,
        _ => Precision::F32,
    };
    let mut engine = engine(precision);
    let wanted: Vec<u32> = (0..50).map(|i| i * 911).collect();
    let prompt: Vec<u32> = (0..PROMPT_TOKENS as u32).map(|i| i * 37 % 49_000).collect();
    let times = time(repeats, || {
        engine.close(0);
        let started = Instant::now();
        pass(&mut engine, &[(0, None, &prompt)], &wanted);
        milliseconds(started)
    });
    report("prompt", PROMPT_TOKENS, &times);
    for rows in [1, 5, 16, 40, 80] {
        let mentions = usize::div_ceil(rows, BEAMS);
        let times = time(repeats, || {
            for mention in 0..mentions {
                engine.close(mention);
            }
            let prompts: Vec<Vec<u32>> = (0..mentions as u32)
                .map(|m| prompt[..48].iter().map(|t| t + m).collect())
                .collect();
            let opened: Vec<_> = prompts
                .iter()
                .enumerate()
                .map(|(m, p)| (m, None, &p[..]))
                .collect();
            let states = pass(&mut engine, &opened, &wanted);
            let tokens: Vec<[u32; 1]> = (0..rows as u32).map(|i| [i * 53 + 7]).collect();
            let runs: Vec<_> = tokens
                .iter()
                .enumerate()
                .map(|(i, token)| (i / BEAMS, Some(states[i / BEAMS]), &token[..]))
                .collect();
            let started = Instant::now();
            pass(&mut engine, &runs, &wanted);
            milliseconds(started)
        });
        report("step", rows, &times);
    }
    Ok(())
}

type Asked<'t> = (usize, Option<u32>, &'t [u32]);

/// Reads runs and returns the states behind them.
fn pass(engine: &mut Engine, runs: &[Asked<'_>], wanted: &[u32]) -> Vec<u32> {
    let runs: Vec<Run<'_>> = runs
        .iter()
        .map(|&(mention, after, tokens)| Run {
            mention,
            after,
            tokens,
            score_read: false,
            wanted: Wanted::Tokens(wanted),
            among_wanted: false,
        })
        .collect();
    let scores = engine.forward(&runs).expect("runs that fit");
    scores.iter().map(|scores| scores.state).collect()
}

/// Sorted milliseconds of `repeats` passes behind two that warm up.
fn time(repeats: usize, mut pass: impl FnMut() -> f64) -> Vec<f64> {
    let mut times: Vec<f64> = (0..repeats + 2).map(|_| pass()).skip(2).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn report(kind: &str, rows: usize, times: &[f64]) {
    let median = times[times.len() / 2];
    println!(
        "{kind:>6} {rows:>3} rows: {:7.2} ms at least, {median:7.2} in the middle, {:6.0} rows/s",
        times[0],
        rows as f64 / median * 1e3
    );
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn engine(precision: Precision) -> Engine {
    let shape = Shape {
        vocab: 49_152,
        hidden: 576,
        inner: 1536,
        layers: 30,
        query_heads: 9,
        key_heads: 3,
        head_dim: 64,
        eps: 1e-5,
        tied: true,
        positions: 2048,
    };
    let half = shape.head_dim / 2;
    let mut state = 1u64;
    let mut read = |_: &str, dims: &[usize]| -> Result<Vec<f32>, Infallible> {
        let scale = if dims.len() == 1 { 0.1 } else { 0.05 };
        let around = if dims.len() == 1 { 1.0 } else { 0.0 };
        let mut number = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            around + scale * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        };
        Ok((0..dims.iter().product()).map(|_| number()).collect())
    };
    let Ok(weights) = Weights::read(shape, precision, &mut read);
    let rope = move |positions: usize| {
        let angle = |p: usize, i: usize| p as f32 / 1e4f32.powf(i as f32 / half as f32);
        let all = (0..positions).flat_map(|p| (0..half).map(move |i| angle(p, i)));
        all.map(|a| (a.cos(), a.sin())).unzip()
    };
    Engine::new(Arc::new(weights), Box::new(rope))
}
