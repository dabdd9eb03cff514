//! How long does it take to find the name nearest to a mention?
//!
//! Shape: `names=76k`, that of MEDIC; 1,000 mentions that are names with a letter missing.
//! `select` chooses among the names of one concept (training targets), `nearest` among all names of
//! the group (the lexical baseline).
//!
//! `cargo bench -p syncabel-benches --bench name_selection`

mod terminology;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncabel_kb::select::{NameSelector, Selection, TfidfIndex};
use syncabel_kb::{BuildOptions, ConceptId, GroupId, Kb, build};
use terminology::{MEDIC_CONCEPTS, concepts};

const MENTIONS: usize = 1_000;

fn mentions(kb: &Kb) -> Vec<(ConceptId, String)> {
    let names: Vec<_> = kb.names(GroupId(0)).collect();
    let step = names.len() / MENTIONS;
    let chosen = names.iter().step_by(step).take(MENTIONS);
    chosen
        .map(|name| {
            let chars = name.text.chars().enumerate();
            let mention = chars.filter(|(at, _)| *at != 3).map(|(_, c)| c).collect();
            (name.concept, mention)
        })
        .collect()
}

fn name_selection(criterion: &mut Criterion) {
    let raw = concepts(MEDIC_CONCEPTS);
    let (kb, _) = build(raw, Vec::new(), &BuildOptions::default()).expect("made-up concepts build");
    let mentions = mentions(&kb);
    let mut group = criterion.benchmark_group("name_selection");
    group.sample_size(10);

    group.bench_function("fit/names=76k", |bencher| {
        bencher.iter(|| TfidfIndex::fit(&kb))
    });
    group.throughput(Throughput::Elements(mentions.len() as u64));
    let index = TfidfIndex::fit(&kb);
    eprintln!("index of {} bytes", index.bytes());
    let queries: Vec<(GroupId, &str)> = mentions
        .iter()
        .map(|(_, mention)| (GroupId(0), mention.as_str()))
        .collect();
    for k in [1, 50] {
        group.bench_function(
            BenchmarkId::new("nearest/names=76k", format!("k={k}")),
            |bencher| {
                bencher.iter(|| index.nearest_batch(&kb, &queries, k));
            },
        );
    }
    for selection in [
        Selection::Tfidf,
        Selection::Levenshtein,
        Selection::Preferred,
    ] {
        let selector = NameSelector::new(&kb, selection);
        group.bench_function(BenchmarkId::new("select/names=76k", selection), |bencher| {
            bencher.iter(|| {
                let chosen = mentions
                    .iter()
                    .map(|(concept, mention)| selector.select(&kb, mention, *concept, GroupId(0)));
                chosen.flatten().map(|name| u64::from(name.0)).sum::<u64>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, name_selection);
criterion_main!(benches);
