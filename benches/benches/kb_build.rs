//! How long does it take to make a KB, and to open one?
//!
//! Shape: `names=76k`, that of MEDIC (11,915 concepts, 6.4 names each, one group, case twins and
//! shared names), made up so that the bench needs no file; and `names=760k` for the slope.
//!
//! `cargo bench -p syncabel-benches --bench kb_build`

mod terminology;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncabel_kb::{BuildOptions, Kb, build};
use terminology::{MEDIC_CONCEPTS, concepts};

fn kb_build(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("kb_build");
    group.sample_size(10);
    for (shape, count) in [
        ("names=76k", MEDIC_CONCEPTS),
        ("names=760k", 10 * MEDIC_CONCEPTS),
    ] {
        let raw = concepts(count);
        let names: usize = raw.iter().map(|concept| concept.names.len()).sum();
        let options = BuildOptions::default();
        let (kb, _) = build(raw.clone(), Vec::new(), &options).expect("made-up concepts build");
        let target = dir.path().join(shape);

        group.throughput(Throughput::Elements(names as u64));
        group.bench_function(BenchmarkId::new("build", shape), |bencher| {
            bencher.iter_batched(
                || raw.clone(),
                |raw| build(raw, Vec::new(), &options),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("write", shape), |bencher| {
            bencher.iter(|| kb.write(&target));
        });
        // 76k names are verified on opening (below the limit), 760k are not.
        group.bench_function(BenchmarkId::new("open", shape), |bencher| {
            bencher.iter(|| Kb::open(black_box(&target)));
        });
        group.bench_function(BenchmarkId::new("verify", shape), |bencher| {
            bencher.iter(|| kb.verify());
        });
        eprintln!(
            "{shape}: {names} names in, artefact of {} bytes",
            kb.total_bytes()
        );
    }
    group.finish();
}

criterion_group!(benches, kb_build);
criterion_main!(benches);
