//! How long it takes to build, open and walk the token trie of MEDIC's names.
//!
//! `cargo bench -p syncabel-benches --bench trie_build`

mod shapes;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shapes::Pieces;
use syncabel_benches::{peak_mb, reset_peak};
use syncabel_decode::{NodeId, Tokenizer as _, Trie};
use syncabel_kb::GroupId;

fn trie(c: &mut Criterion) {
    let (kb, shape) = shapes::medic();
    let trie = Trie::for_tokenizer(&kb, &Pieces).expect("every name has pieces");
    eprintln!("{}", trie.stats());
    let names = kb.name_count();
    let mut group = c.benchmark_group("trie");
    group.sample_size(20);

    group.throughput(Throughput::Elements(names as u64));
    group.bench_function(format!("build/names={names}/shape={shape}"), |b| {
        b.iter(|| Trie::for_tokenizer(black_box(&kb), &Pieces).expect("built before"));
    });
    eprintln!("build: process {} MB at most, KB included", peak_mb());

    reset_peak();
    let dir = std::env::temp_dir().join(format!("syncabel-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a place for temporary files");
    let path = dir.join("names.trie");
    trie.write(&path).expect("a place for temporary files");
    group.throughput(Throughput::Bytes(trie.as_bytes().len() as u64));
    group.bench_function(format!("open/names={names}/shape={shape}"), |b| {
        b.iter(|| Trie::open(&path, kb.digest(), &Pieces.digest()).expect("written before"));
    });
    std::fs::remove_dir_all(&dir).expect("written before");
    eprintln!(
        "open: process {} MB at most, KB and a built trie included",
        peak_mb()
    );
    reset_peak();

    group.throughput(Throughput::Elements(1));
    let root = trie.root(GroupId(0)).expect("one group");
    let (first, _) = trie
        .children(root)
        .iter()
        .nth(trie.children(root).len() / 2)
        .expect("the root has children");
    group.bench_function(
        format!("step/branch=hot_root/names={names}/shape={shape}"),
        |b| {
            b.iter(|| trie.child(black_box(root), black_box(first)));
        },
    );
    let chain = longest_chain(&trie, root);
    group.bench_function(
        format!("step/branch=deep_chain/names={names}/shape={shape}"),
        |b| {
            let mut steps = chain.iter().cycle();
            b.iter_batched(
                || *steps.next().expect("a cycle has no end"),
                |(node, token)| (trie.terminal(node), trie.child(node, token)),
                BatchSize::SmallInput,
            );
        },
    );
    group.finish();
    eprintln!(
        "step: process {} MB at most, KB and names included",
        peak_mb()
    );
}

/// Nodes and tokens along the way to the deepest node.
fn longest_chain(trie: &Trie, root: NodeId) -> Vec<(NodeId, u32)> {
    let mut deepest = Vec::new();
    let mut stack = vec![(root, Vec::new())];
    while let Some((node, way)) = stack.pop() {
        for (token, child) in trie.children(node).iter() {
            let mut longer = way.clone();
            longer.push((node, token));
            stack.push((child, longer));
        }
        if way.len() > deepest.len() {
            deepest = way;
        }
    }
    deepest
}

criterion_group!(benches, trie);
criterion_main!(benches);
