//! A tiny model, a byte tokenizer and examples to train on.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::path::{Path, PathBuf};

use syncabel_corpus::Origin;
use syncabel_corpus::marked::Example;
use syncabel_model::{Checkpoint, LlamaConfig, TextTokenizer};
use syncabel_train::{Composition, EngineChoice, Plan, Strategy, TrainConfig, compose};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// One token a byte, then the end token; `<SEP>` is added as any other tokenizer gets it.
pub fn tokenizer() -> TextTokenizer {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocab = alphabet
        .iter()
        .enumerate()
        .map(|(id, c)| (c.to_string(), id as u32))
        .collect::<Vec<_>>();
    let mut vocab: tokenizers::models::bpe::Vocab = vocab.into_iter().collect();
    vocab.insert("<eos>".to_owned(), 256);
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, vec![])
        .build()
        .unwrap();
    let mut inner = Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
    inner.with_decoder(Some(ByteLevel::default()));
    let eos = tokenizers::AddedToken::from("<eos>", true);
    let _ = inner.add_special_tokens([eos]);
    TextTokenizer::from_tokenizer(inner, 256)
}

/// Weights come from a fixed sequence: the generator behind `device.seed` is shared between test threads.
pub fn checkpoint_of_width(width: usize) -> Checkpoint {
    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::{Tensor, TensorData};

    struct Fixed(u64);
    impl ModuleMapper for Fixed {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D == 1 {
                return param;
            }
            let shape = param.lazy_shape();
            let device = param.lazy_device();
            let mut next = || {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.3
            };
            let values: Vec<f32> = (0..shape.num_elements()).map(|_| next()).collect();
            param.map(|_| Tensor::from_data(TensorData::new(values, shape), &device))
        }
    }

    let tokenizer = tokenizer();
    let mut config = LlamaConfig::new(tokenizer.vocab_size(), width, 2 * width, 2, 4, 2);
    config.max_position_embeddings = 256;
    let device = syncabel_model::device("flex").unwrap();
    let model = config.init(&device).map(&mut Fixed(1));
    Checkpoint::new(config, model, tokenizer)
        .unwrap()
        .add_sep()
        .unwrap()
        .0
}

pub fn checkpoint() -> Checkpoint {
    checkpoint_of_width(32)
}

fn example(i: usize, origin: Origin, word: &str, name: &str) -> Example {
    Example {
        document: format!("d{}", i / 2),
        mention_id: format!("d{}.{i}", i / 2),
        group: "Disorders".into(),
        prompt: format!("Case {i}: [{word}]{{Disorders}} was seen.<SEP>[{word}] is"),
        completion: format!(" {name}"),
        codes: vec![format!("C{i}")],
        origin,
    }
}

const WORDS: [(&str, &str); 6] = [
    ("AS", "Spondylitis"),
    ("gout", "Gout"),
    ("MI", "Infarction"),
    ("flu", "Influenza"),
    ("HT", "Hypertension"),
    ("TB", "Tuberculosis"),
];

pub fn human(count: usize) -> Vec<Example> {
    (0..count)
        .map(|i| example(i, Origin::Human, WORDS[i % 6].0, WORDS[i % 6].1))
        .collect()
}

pub fn synthetic(count: usize) -> Vec<Example> {
    let origin = || Origin::Synthetic {
        generator: "test".into(),
    };
    (0..count)
        .map(|i| {
            example(
                100 + i,
                origin(),
                WORDS[(i + 3) % 6].0,
                WORDS[(i + 3) % 6].1,
            )
        })
        .collect()
}

pub fn plan<'a>(human: &'a [Example], synthetic: &'a [Example], strategy: Strategy) -> Plan<'a> {
    compose(
        human,
        synthetic,
        &Composition {
            strategy,
            ..Composition::default()
        },
    )
    .unwrap()
}

pub fn config(engine: EngineChoice) -> TrainConfig {
    TrainConfig {
        epochs: 2.0,
        learning_rate: 3e-3,
        batch_examples: 4,
        checkpoint_every_steps: Some(2),
        evaluate_every_steps: Some(3),
        engine,
        ..TrainConfig::default()
    }
}

pub const ENGINES: [EngineChoice; 2] = [EngineChoice::Fused, EngineChoice::Burn];

/// Losses, rates and norms of a log, bit by bit; times and memory differ between runs.
pub fn trajectory(run_dir: &Path) -> Vec<(u64, u64, u64, u64)> {
    let text = std::fs::read_to_string(run_dir.join("train_log.jsonl")).unwrap();
    let record = |line: &str| -> syncabel_train::StepRecord { serde_json::from_str(line).unwrap() };
    text.lines()
        .map(record)
        .map(|r| {
            (
                r.step,
                r.loss.to_bits(),
                r.lr.to_bits(),
                r.grad_norm.to_bits(),
            )
        })
        .collect()
}

/// Every file of the checkpoints folder with its bytes, but for what holds times.
pub fn artefacts(run_dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![run_dir.join("checkpoints")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("state.json") && !path.ends_with("train_log.jsonl") {
                files.push((
                    path.strip_prefix(run_dir).unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    files.sort();
    files
}
