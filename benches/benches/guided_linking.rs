//! Mentions linked per second by guided beam search over MEDIC's names, alone and in a batch.
//!
//! The model is a small random Llama with SmolLM2's vocabulary: what is measured is everything around the network (trie,
//! softmax over 49 thousand tokens, beams) and the head; the layers of a real model come on top.
//!
//! `engine=..` are the CPU engine, in float32 and bfloat16, with beams and best-first; `engine=burn` the tensor library. Each
//! prints its keys and values at their peak. Under a random network every name is as likely as any other, and best-first search would
//! read thousands of beginnings of each mention; so the engine's scores are given a favourite name a mention ([`Sure`]), as tuning does.
//!
//! `cargo bench -p syncabel-benches --bench guided_linking`

mod shapes;

use std::collections::BTreeMap;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shapes::{Pieces, VOCAB};
use syncabel_benches::{peak_mb, reset_peak};
use syncabel_corpus::marked::MarkedMention;
use syncabel_corpus::{Gold, Language, Origin};
use syncabel_decode::{
    LinkOptions, Linker, LlamaSteps, PoolModel, Run, Scores, Scoring, SearchOptions, State,
    Strategy, Tokenizer, Trie,
};
use syncabel_engine::Engine;
use syncabel_kb::{GroupId, Kb};
use syncabel_model::{LlamaConfig, Precision, device};

/// Prompts of about the length of NCBI Disease's: 48 tokens.
const SENTENCE: &str =
    "A common mutation was found in most families in which several members had been treated for";

fn linking(c: &mut Criterion) {
    let (kb, shape) = shapes::medic();
    let trie = Trie::for_tokenizer(&kb, &Pieces).expect("every name has pieces");
    let device = device("auto").expect("there is a CPU");
    let config = LlamaConfig::new(VOCAB, 64, 128, 2, 4, 2);
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
                reset_peak();
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
                            let pool = Box::new(Sure::new(&mut engine, &kb));
                            Linker::with_pool(pool, &Pieces, &kb, Some(&trie), options.clone())
                                .expect("made for each other")
                                .link(&mentions)
                                .expect("the model holds every token")
                        });
                    },
                );
                let cache = engine.cache_bytes() / 1024;
                eprintln!("keys and values {cache} kB, process {} MB", peak_mb());
            }
        }
    }
    group.finish();
}

/// An engine that does all its work, and then holds the tokens of one name a mention for likely.
struct Sure<'e> {
    engine: &'e mut Engine,
    /// Tokens of names, the end included.
    names: Vec<Vec<u32>>,
    /// How much of its mention's name a state has read.
    read: BTreeMap<State, usize>,
}

/// Of each token of a favourite name; tokens beside it have some -10.8.
const LIKELY: f32 = -0.1;

impl<'e> Sure<'e> {
    fn new(engine: &'e mut Engine, kb: &Kb) -> Self {
        let tokens = |name: &str| {
            let mut tokens = Pieces.encode(&format!(" {name}")).expect("pieces");
            tokens.push(Pieces.special().eos);
            tokens
        };
        let names = kb.names(GroupId(0)).step_by(997);
        Self {
            engine,
            names: names.map(|name| tokens(name.text)).collect(),
            read: BTreeMap::new(),
        }
    }
}

impl PoolModel for Sure<'_> {
    fn vocab_size(&self) -> usize {
        self.engine.vocab_size()
    }

    fn forward(
        &mut self,
        runs: &[Run],
        scoring: Scoring,
    ) -> Result<Vec<Scores>, syncabel_decode::Error> {
        let mut scores = PoolModel::forward(self.engine, runs, scoring)?;
        for (run, scores) in runs.iter().zip(&mut scores) {
            let name = &self.names[run.mention % self.names.len()];
            let read = match run.after {
                None => Some(0),
                Some(state) => self.read.get(&state).copied().and_then(|read| {
                    let goes_on = name[read..].starts_with(&run.tokens);
                    goes_on.then_some(read + run.tokens.len())
                }),
            };
            match read.filter(|&read| read < name.len()) {
                Some(read) => {
                    self.read.insert(scores.state, read);
                    scores.read.fill(LIKELY);
                    let next = scores.next.iter_mut().find(|next| next.0 == name[read]);
                    next.into_iter().for_each(|next| next.1 = LIKELY);
                }
                None => drop(self.read.remove(&scores.state)),
            }
        }
        Ok(scores)
    }

    fn close(&mut self, mention: usize) {
        PoolModel::close(self.engine, mention);
    }
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
