//! How long prompts slow the engine down: random weights of SmolLM2-135M's shape in bfloat16, the best of seven tries.
//!
//! `cargo run --release --example long_prompts`

use std::sync::Arc;
use std::time::Instant;

use syncabel_engine::{Engine, Error, Precision, Run, Scores, Shape, Wanted, Weights};

const SHAPE: Shape = Shape {
    vocab: 49_152,
    hidden: 576,
    inner: 1_536,
    layers: 30,
    query_heads: 9,
    key_heads: 3,
    head_dim: 64,
    eps: 1e-5,
    tied: true,
    positions: 2_048,
};

fn main() -> Result<(), Error> {
    let mut seed = 1u32;
    let mut number = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 27) as f32 - 0.06
    };
    let mut read = |_: &str, dims: &[usize]| -> Result<Vec<f32>, Error> {
        Ok((0..dims.iter().product()).map(|_| number()).collect())
    };
    let weights = Weights::read(SHAPE, Precision::Bf16, &mut read)?;
    // Where a token stands does not matter for the time.
    let rope = |positions| {
        let angles = positions * SHAPE.head_dim / 2;
        (vec![1.0; angles], vec![0.0; angles])
    };
    let mut engine = Engine::new(Arc::new(weights), Box::new(rope));
    println!("prompt tokens   tokens a second   a token of 16 texts behind it, ms");
    for length in [100, 400, 1_100] {
        let prompt: Vec<u32> = (0..length).map(|i| i * 7 % 1_000).collect();
        let (mut reading, mut step) = (f64::MAX, f64::MAX);
        for _ in 0..7 {
            let (scores, seconds) = pass(&mut engine, &[run(None, &prompt)])?;
            reading = reading.min(seconds);
            let runs = vec![run(Some(scores[0].state), &[5]); 16];
            step = step.min(pass(&mut engine, &runs)?.1);
            engine.close(0);
        }
        let rate = f64::from(length) / reading;
        println!("{length:13} {rate:17.0} {:35.1}", step * 1e3);
    }
    Ok(())
}

fn run(after: Option<u32>, tokens: &[u32]) -> Run<'_> {
    Run {
        mention: 0,
        after,
        tokens,
        score_read: false,
        wanted: Wanted::Best(64),
        among_wanted: false,
    }
}

fn pass(engine: &mut Engine, runs: &[Run<'_>]) -> Result<(Vec<Scores>, f64), Error> {
    let start = Instant::now();
    let scores = engine.forward(runs)?;
    Ok((scores, start.elapsed().as_secs_f64()))
}
