//! What does a synthetic sentence cost besides the language model: making the request, reading the answer, filtering.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use syncabel_corpus::marked::MarkOptions;
use syncabel_corpus::{Corpus, Document, Gold, Language, Mention, Origin, SpanChars, Split};
use syncabel_kb::{BuildOptions, Kb, RawConcept, build};
use syncabel_synth::quality::{Filters, Quality};
use syncabel_synth::{Batch, Draft, PromptOptions, Prompts, Task, TrainSentences};

const CONCEPTS: usize = 2_000;

fn kb() -> Kb {
    let concept = |n: usize| {
        RawConcept {
        code: format!("C{n:06}"),
        preferred_name: format!("Hereditary Disorder of Type {n}"),
        names: (0..6).map(|m| format!("Disorder of type {n}, form {m}")).collect(),
        groups: vec!["Disorders".into()],
        semantic_types: vec!["Disease or Syndrome".into()],
        definitions: vec!["An inherited disorder that weakens muscles and comes with pain in the joints of hands and feet.".into()],
        ..RawConcept::default()
    }
    };
    build(
        (0..CONCEPTS).map(concept).collect(),
        vec![],
        &BuildOptions::default(),
    )
    .expect("names are unique")
    .0
}

/// A sentence of about twenty words about a concept, worded by its number.
fn document(n: usize, origin: Origin) -> Document {
    const WORDS: [&str; 12] = [
        "patient",
        "family",
        "muscle",
        "biopsy",
        "treatment",
        "onset",
        "severe",
        "visit",
        "study",
        "walking",
        "pain",
        "child",
    ];
    let word = |k: usize| WORDS[(n * 7 + k * k * 13 + n * k) % WORDS.len()];
    let tail: Vec<&str> = (0..16).map(word).collect();
    let mention = format!("Disorder of type {}, form {}", n % CONCEPTS, n % 6);
    Document {
        id: format!("d{n}"),
        text: format!(
            "In case {n} the {mention} was seen with {}.",
            tail.join(" ")
        ),
        language: Language::En,
        split: Some(Split::Train),
        origin,
        mentions: vec![Mention {
            id: format!("d{n}.1"),
            spans: vec![span(n, &mention)],
            text: mention,
            label: "Disorders".into(),
            gold: Gold::one(format!("C{:06}", n % CONCEPTS)),
        }],
    }
}

fn span(n: usize, mention: &str) -> SpanChars {
    let start = format!("In case {n} the ").len() as u32;
    SpanChars::new(start, start + mention.len() as u32)
}

fn prompts(c: &mut Criterion) {
    let kb = kb();
    let human = Corpus {
        documents: (0..5_000).map(|n| document(n, Origin::Human)).collect(),
    };
    let contexts =
        TrainSentences::from_corpus(&human, &kb, &MarkOptions::default()).expect("train sentences");
    let tasks: Vec<Task> = kb
        .concepts()
        .map(|concept| Task {
            concept: concept.id(),
            group: concept.groups().next().expect("one group"),
        })
        .collect();
    let batch = Batch {
        kb: &kb,
        contexts: &contexts,
        tasks: &tasks,
        sentences_per_concept: 3,
        seed: 1,
    };
    let prompts =
        Prompts::new(Language::En, &PromptOptions::default()).expect("built-in templates");
    let mut group = c.benchmark_group("synthesis");
    group.throughput(Throughput::Elements(tasks.len() as u64));
    group.bench_function("render_prompt/examples=5,names=7", |b| {
        b.iter(|| {
            for task in &tasks {
                black_box(
                    prompts
                        .user(&batch, task, 3, &[])
                        .expect("templates were tried"),
                );
            }
        });
    });
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let line = |n: usize| {
        format!(
            "After {n} weeks the [disorder of type {n}] was found in a child with pain in both feet and the œdème of its hands."
        )
    };
    let lines: Vec<String> = (0..1_000).map(line).collect();
    let mut group = c.benchmark_group("synthesis");
    group.throughput(Throughput::Elements(lines.len() as u64));
    group.bench_function("parse_sentence/words=22", |b| {
        b.iter(|| {
            for line in &lines {
                black_box(Draft::from_bracketed(line, Language::En));
            }
        });
    });
    group.finish();
}

fn filtering(c: &mut Criterion) {
    let kb = kb();
    let human = Corpus {
        documents: (0..5_000).map(|n| document(n, Origin::Human)).collect(),
    };
    let generator = || Origin::Synthetic {
        generator: "bench".into(),
    };
    let documents: Vec<Document> = (10_000..20_000).map(|n| document(n, generator())).collect();
    let mut group = c.benchmark_group("synthesis");
    group.sample_size(10);
    group.throughput(Throughput::Elements(documents.len() as u64));
    group.bench_function("filter/all,human=5k_sentences", |b| {
        b.iter(|| {
            let mut quality = Quality::new(&kb, &[&human], &Filters::all());
            black_box(documents.iter().filter(|d| quality.keep(d)).count())
        });
    });
    group.finish();
}

criterion_group!(benches, prompts, parsing, filtering);
criterion_main!(benches);
