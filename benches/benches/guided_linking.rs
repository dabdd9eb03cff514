//! Mentions linked per second by guided beam search over MEDIC's names, alone and in a batch.
//!
//! The model is a small random Llama with SmolLM2's vocabulary: what is measured is everything around the network (trie,
//! softmax over 49 thousand tokens, beams) and the head; the layers of a real model come on top.
//!
//! `engine=..` are the CPU engine, in float32 and bfloat16, with beams and best-first; `engine=burn` the tensor library. Each
//! prints its keys and values at their peak.
//!
//! `cargo bench -p syncabel-benches --bench guided_linking`

mod shapes;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shapes::{Pieces, VOCAB};
use syncabel_corpus::marked::MarkedMention;
use syncabel_corpus::{Gold, Language, Origin};
use syncabel_decode::{LinkOptions, Linker, LlamaSteps, SearchOptions, Strategy, Trie};
use syncabel_kb::Kb;
use syncabel_model::{LlamaConfig, Precision, device};

/// Spread of the weights: with the usual 0.02 every token is as likely as any other, and best-first search reads thousands of
/// beginnings until it may stop; with this the network is sure of itself, as a trained one is.
const SURE: f64 = 0.5;

/// Prompts of about the length of NCBI Disease's: 48 tokens.
const SENTENCE: &str =
    "A common mutation was found in most families in which several members had been treated for";

fn linking(c: &mut Criterion) {
    let (kb, shape) = shapes::medic();
    let trie = Trie::for_tokenizer(&kb, &Pieces).expect("every name has pieces");
    let device = device("auto").expect("there is a CPU");
    let mut config = LlamaConfig::new(VOCAB, 64, 128, 2, 4, 2);
    config.initializer_range = SURE;
    let model = config.init(&device);
    let mut group = c.benchmark_group(format!(
        "guided_linking/names={}/shape={shape}/hidden=64/layers=2",
        kb.name_count()
    ));
    group.sample_size(10);
    for (beams, batch) in [(5, 1), (5, 16), (1, 16)] {
        let mentions = mentions(&kb, batch);
        let search = SearchOptions {
            beams,
            ..SearchOptions::default()
        };
        let options = LinkOptions {
            search,
            batch,
            ..LinkOptions::default()
        };
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(
            BenchmarkId::new(
                format!("engine=burn/beams={beams}"),
                format!("batch={batch}"),
            ),
            |b| {
                // A linker recalls what it answered before, so each round has its own.
                b.iter(|| {
                    let steps = Box::new(LlamaSteps::new(&model, &config));
                    Linker::with_model(steps, &Pieces, &kb, Some(&trie), options.clone())
                        .expect("made for each other")
                        .link(&mentions)
                        .expect("the model holds every token")
                });
            },
        );
    }
    for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        for (way, strategy, beams) in [
            ("beam", Strategy::Beam, 5),
            ("best_first", Strategy::BestFirst, 1),
        ] {
            for batch in [1, 16, 64] {
                let mentions = mentions(&kb, batch);
                let search = SearchOptions {
                    strategy,
                    beams,
                    length_penalty: if strategy == Strategy::Beam { 1.0 } else { 0.0 },
                    ..SearchOptions::default()
                };
                let options = LinkOptions {
                    search,
                    batch,
                    ..LinkOptions::default()
                };
                let mut engine = model
                    .engine(&config, precision)
                    .expect("weights on the host");
                group.throughput(Throughput::Elements(batch as u64));
                group.bench_function(
                    BenchmarkId::new(
                        format!("engine={name}/{way}={beams}"),
                        format!("batch={batch}"),
                    ),
                    |b| {
                        b.iter(|| {
                            let pool = Box::new(&mut engine);
                            Linker::with_pool(pool, &Pieces, &kb, Some(&trie), options.clone())
                                .expect("made for each other")
                                .link(&mentions)
                                .expect("the model holds every token")
                        });
                    },
                );
                let cache = engine.cache_bytes() / 1024;
                eprintln!(
                    "keys and values {cache} kB, process {} MB",
                    syncabel_benches::peak_mb()
                );
            }
        }
    }
    group.finish();
}

fn mentions(kb: &Kb, count: usize) -> Vec<MarkedMention> {
    let (_, group) = kb.groups().next().expect("one group");
    let mention = |number: usize| {
        let text = format!("condition {number}");
        MarkedMention {
            document: "bench".into(),
            mention_id: number.to_string(),
            label: group.into(),
            group: group.into(),
            start_chars: 0,
            end_chars: text.len() as u32,
            span: text.clone(),
            sentence: format!("{SENTENCE} [{text}]{{{group}}} at some time of their lives."),
            mention: text,
            language: Language::En,
            gold: Gold::none(),
            origin: Origin::Human,
        }
    };
    (0..count).map(mention).collect()
}

criterion_group!(benches, linking);
criterion_main!(benches);
