//! How fast a model reads prompts and decodes on this machine.
//!
//! ```text
//! cargo run --release -p syncabel-model --example perf -- [DEVICE] [MODEL]
//! ```
//! Without MODEL (a path or a Hub repository) random weights of SmolLM2-135M's shape are used.
//! Prompts of 128 tokens; medians of five runs.

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use syncabel_model::{Llama, LlamaConfig, ModelSource, Rope, Session, device, load};

const TIME: usize = 128;
const RUNS: usize = 5;

fn main() -> Result<(), syncabel_model::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("auto", String::as_str);
    let device = device(name)?;
    let start = Instant::now();
    let (model, config) = match arguments.get(1) {
        Some(source) => {
            let checkpoint = load(&ModelSource::parse(source), &device)?;
            (checkpoint.model, checkpoint.config)
        }
        None => {
            let config = smollm2();
            (config.init(&device), config)
        }
    };
    println!("ready in {:.2} s on {name}", start.elapsed().as_secs_f64());
    println!(
        "prefill 8 x {TIME}, all logits: {:.0} tokens/s",
        (8 * TIME) as f64 / prefill(&model, &config, &device)
    );
    for (prompts, beams) in [(1, 1), (8, 5), (16, 5)] {
        let (read, step) = decode(&model, &config, &device, prompts, beams)?;
        println!(
            "{prompts} prompts x {beams} beams: prompts {:.0} tokens/s, step {:.1} ms, {:.0} rows/s",
            (prompts * TIME) as f64 / read,
            step * 1e3,
            (prompts * beams) as f64 / step
        );
    }
    Ok(())
}

fn smollm2() -> LlamaConfig {
    LlamaConfig {
        rope_theta: 100_000.0,
        max_position_embeddings: 8192,
        ..LlamaConfig::new(49_152, 576, 1536, 30, 9, 3)
    }
}

fn prompt(vocab_size: usize) -> Vec<u32> {
    let ids = (0..TIME).map(|i| (i * 7919 % vocab_size) as u32);
    ids.collect()
}

/// Seconds for the logits of eight rows.
fn prefill(model: &Llama, config: &LlamaConfig, device: &Device) -> f64 {
    let rope = Rope::new(config, TIME, device);
    let row = prompt(config.vocab_size).into_iter().map(|id| id as i32);
    let row: Vec<i32> = row.collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(row.repeat(8), [8, TIME]), device);
    median(|| {
        let hidden = model.hidden(ids.clone(), &rope, None);
        let logits = model.logits(hidden.reshape([8 * TIME, config.hidden_size]));
        wait(logits);
    })
}

/// Seconds to read the prompts, and per step.
fn decode(
    model: &Llama,
    config: &LlamaConfig,
    device: &Device,
    prompts: usize,
    beams: usize,
) -> Result<(f64, f64), syncabel_model::Error> {
    let rows = prompts * beams;
    let batch = vec![prompt(config.vocab_size); prompts];
    let tokens = vec![5; rows];
    let first: Vec<u32> = (0..rows).map(|row| (row / beams) as u32).collect();
    let parents: Vec<u32> = (0..rows as u32).collect();
    let mut session = Session::new(model, config, device);
    let mut reads = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        wait(session.prefill(&batch, beams, 16)?);
        reads.push(start.elapsed().as_secs_f64());
        wait(session.step(&tokens, &first)?);
        for _ in 0..8 {
            let start = Instant::now();
            wait(session.step(&tokens, &parents)?);
            steps.push(start.elapsed().as_secs_f64());
        }
    }
    Ok((middle(reads), middle(steps)))
}

/// Reads one number back, so that the work is done.
fn wait(logits: Tensor<2>) {
    let corner = logits.narrow(0, 0, 1).narrow(1, 0, 1);
    std::hint::black_box(corner.into_scalar::<f32>());
}

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let runs = (0..RUNS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    middle(runs.collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
