//! Single passes through a network of SmolLM2-135M's shape with random weights: a prompt, and a step of many beams.
//!
//! A step reads one token behind each of `rows` hypotheses, five of a mention, and scores 50 tokens over the whole vocabulary,
//! as beam search asks. Behind each precision: keys and values of the engine, and the process at its peak.
//!
//! `cargo bench -p syncabel-benches --bench beam_step`

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncabel_benches::{peak_mb, reset_peak};
use syncabel_engine::{Engine, Precision, Run, Shape, Wanted, Weights};

const PROMPT_TOKENS: usize = 90;
const BEAMS: usize = 5;

fn passes(c: &mut Criterion) {
    let wanted: Vec<u32> = (0..50).map(|i| i * 911).collect();
    let prompt: Vec<u32> = (0..PROMPT_TOKENS as u32).map(|i| i * 37 % 49_000).collect();
    for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        reset_peak();
        let mut engine = engine(precision);
        let mut group = c.benchmark_group(format!(
            "beam_step/hidden=576/layers=30/vocab=49152/weights={name}"
        ));
        group.sample_size(10);
        group.throughput(Throughput::Elements(PROMPT_TOKENS as u64));
        group.bench_function(
            BenchmarkId::new("prompt", format!("tokens={PROMPT_TOKENS}")),
            |b| {
                b.iter(|| {
                    engine.close(0);
                    pass(&mut engine, &[(0, None, &prompt)], &wanted)
                });
            },
        );
        for rows in [1, 5, 16, 40, 80] {
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new("step", format!("rows={rows}")), |b| {
                b.iter_custom(|times| {
                    (0..times)
                        .map(|_| step(&mut engine, rows, &prompt[..48], &wanted))
                        .sum()
                });
            });
        }
        group.finish();
        let cache = engine.cache_bytes() / 1024;
        eprintln!(
            "{name}: keys and values {cache} kB, process {} MB",
            peak_mb()
        );
    }
}

/// Time of one token behind each of `rows` hypotheses, the prompts of their mentions not counted.
fn step(engine: &mut Engine, rows: usize, prompt: &[u32], wanted: &[u32]) -> Duration {
    let mentions = rows.div_ceil(BEAMS);
    (0..mentions).for_each(|mention| engine.close(mention));
    let prompts: Vec<Vec<u32>> = (0..mentions as u32)
        .map(|m| prompt.iter().map(|token| token + m).collect())
        .collect();
    let opened: Vec<_> = prompts
        .iter()
        .enumerate()
        .map(|(m, p)| (m, None, &p[..]))
        .collect();
    let states = pass(engine, &opened, wanted);
    let tokens: Vec<[u32; 1]> = (0..rows as u32).map(|i| [i * 53 + 7]).collect();
    let runs: Vec<_> = tokens
        .iter()
        .enumerate()
        .map(|(i, token)| (i / BEAMS, Some(states[i / BEAMS]), &token[..]))
        .collect();
    let started = Instant::now();
    pass(engine, &runs, wanted);
    started.elapsed()
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

criterion_group!(benches, passes);
criterion_main!(benches);
