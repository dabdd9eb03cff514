//! How fast is one optimizer step, with the fused CPU engine (float32 and bfloat16 products) and with burn's autodiff?
//!
//! ```text
//! cargo bench -p syncabel-benches --bench training_step
//! SYNCABEL_BENCH_SMOLLM2=1 cargo bench -p syncabel-benches --bench training_step -- smollm2
//! ```
//!
//! Throughput counts tokens, padding not. Names say the model, the batch and where loss is: `loss=all` on every token (what
//! the PyTorch reference measures), `loss=completion` on the last 8 of about 56, as in real training. The SmolLM2-135M shape
//! (random weights) takes minutes and 4 GB, so it is opt-in. Peak memory goes to stderr.
//! `scripts/compare_training.py` runs the 4 x 128 case and the same step in PyTorch in turns.

use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use syncabel_benches::{peak_mb, reset_peak};
use syncabel_corpus::Origin;
use syncabel_corpus::marked::Example;
use syncabel_model::{Checkpoint, LlamaConfig, TextTokenizer};
use syncabel_train::{
    Composition, EngineChoice, Point, Precision, Progress, StepUpdate, Strategy, TrainConfig,
    compose, train,
};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// One token a byte: lengths of texts are lengths in tokens.
fn tokenizer() -> TextTokenizer {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocab: Vocab = alphabet
        .iter()
        .enumerate()
        .map(|(id, c)| (c.to_string(), id as u32))
        .collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, vec![])
        .build()
        .expect("a valid vocabulary");
    let mut inner = Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
    TextTokenizer::from_tokenizer(inner, 0)
}

/// Examples of `length` tokens of which the last `completion` (end token included) are learned.
fn examples(count: usize, length: usize, completion: usize) -> Vec<Example> {
    let text = |from: usize, len: usize| -> String {
        (0..len)
            .map(|i| char::from(b'a' + ((from * 31 + i * i * 7 + i) % 26) as u8))
            .collect()
    };
    (0..count)
        .map(|i| Example {
            document: format!("d{i}"),
            mention_id: format!("d{i}.1"),
            group: "Disorders".into(),
            prompt: text(i, length - completion),
            completion: text(i + 7, completion - 1),
            codes: vec![],
            origin: Origin::Human,
        })
        .collect()
}

fn checkpoint(mut config: LlamaConfig) -> Checkpoint {
    config.max_position_embeddings = 512;
    let device = syncabel_model::device("flex").expect("built with flex");
    device.seed(1);
    let model = config.init(&device);
    Checkpoint::new(config, model, tokenizer()).expect("more rows than tokens")
}

/// Adds up the time of steps and stops before the last checkpoint would be written.
struct Stopwatch {
    steps: u64,
    total: Duration,
}

impl Progress for Stopwatch {
    fn step(&mut self, update: &StepUpdate<'_>) {
        // The first step allocates; it is run and not counted.
        if update.record.step > 1 {
            self.total +=
                Duration::from_secs_f64(update.record.tokens as f64 / update.record.tokens_per_s);
        }
    }

    fn proceed(&mut self, point: Point) -> bool {
        point != Point::BeforeStep(self.steps + 1)
    }
}

fn time_steps(
    model: &dyn Fn() -> Checkpoint,
    data: &[Example],
    config: &TrainConfig,
    steps: u64,
) -> Duration {
    let composition = Composition {
        strategy: Strategy::HumanOnly,
        ..Composition::default()
    };
    let plan = compose(data, &[], &composition).expect("there are examples");
    let run_dir = tempfile::tempdir().expect("a temporary folder");
    let config = TrainConfig {
        epochs: 1e9,
        max_steps: Some(steps + 2),
        ..config.clone()
    };
    let mut stopwatch = Stopwatch {
        steps,
        total: Duration::ZERO,
    };
    let stopped = train(model(), &plan, &[], &config, run_dir.path(), &mut stopwatch);
    assert!(
        matches!(stopped, Err(syncabel_train::Error::Stopped { .. })),
        "{stopped:?}"
    );
    stopwatch.total
}

struct Case {
    name: &'static str,
    shape: LlamaConfig,
    batch: usize,
    length: usize,
    completion: usize,
    samples: usize,
}

fn cases() -> Vec<Case> {
    let tiny = LlamaConfig::new(2048, 128, 384, 4, 4, 2);
    let mut cases = vec![Case {
        name: "tiny_1M/batch=64x56/loss=completion",
        shape: tiny,
        batch: 64,
        length: 56,
        completion: 8,
        samples: 20,
    }];
    if std::env::var_os("SYNCABEL_BENCH_SMOLLM2").is_some() {
        let smollm2 = LlamaConfig::new(49152, 576, 1536, 30, 9, 3);
        let case = |name, batch, length, completion| Case {
            name,
            shape: smollm2.clone(),
            batch,
            length,
            completion,
            samples: 10,
        };
        cases.push(case("smollm2_135M/batch=4x128/loss=all", 4, 128, 127));
        cases.push(case("smollm2_135M/batch=16x56/loss=completion", 16, 56, 8));
    }
    cases
}

fn training_step(criterion: &mut Criterion) {
    for case in cases() {
        let data = examples(case.batch * 4, case.length, case.completion);
        let mut group = criterion.benchmark_group(case.name);
        group
            .sample_size(case.samples)
            .sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(1));
        group.throughput(Throughput::Elements((case.batch * case.length) as u64));
        for (engine, precision) in [
            (EngineChoice::Fused, Precision::F32),
            (EngineChoice::Fused, Precision::Bf16),
            (EngineChoice::Burn, Precision::F32),
        ] {
            let config = TrainConfig {
                engine,
                precision,
                batch_examples: case.batch,
                max_length: case.length.max(128),
                learning_rate: 1e-4,
                checkpoint_every_steps: None,
                ..TrainConfig::default()
            };
            let id = BenchmarkId::from_parameter(
                format!("engine={engine:?}/{precision:?}").to_lowercase(),
            );
            reset_peak();
            group.bench_function(id, |bencher| {
                let model = || checkpoint(case.shape.clone());
                bencher.iter_custom(|steps| time_steps(&model, &data, &config, steps));
            });
            eprintln!("peak memory of this setting: {} MB", peak_mb());
        }
        group.finish();
    }
}

criterion_group!(benches, training_step);
criterion_main!(benches);
