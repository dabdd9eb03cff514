//! How many products a second do the CPU kernels make, in float32 and in bfloat16, at the shapes of SmolLM2-135M?
//!
//! ```text
//! cargo bench -p syncabel-benches --bench matmul
//! ```
//!
//! Names say the shape and what is timed: `f32`; `bf16/packed`, both factors packed before (weights that are used often);
//! `bf16/packing`, both packed each time (training, where every factor is new). Throughput counts multiplications and
//! additions. The unit that multiplies bfloat16 goes to stderr; see `syncabel_kernels::bf16::Unit`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncabel_kernels::bf16::{self, Panels, Unit};
use syncabel_kernels::{Matrix, Write, matmul};

/// `(what, m, k, n)`
const SHAPES: [(&str, usize, usize, usize); 4] = [
    ("up", 900, 576, 1536),
    ("weight_gradient", 576, 900, 1536),
    ("one_step", 16, 576, 1536),
    ("head", 128, 576, 49_153),
];

fn products(criterion: &mut Criterion) {
    eprintln!("bfloat16 unit: {:?}", Unit::detect());
    for (what, m, k, n) in SHAPES {
        let numbers = |len: usize| -> Vec<f32> {
            (0..len).map(|i| (i % 1013) as f32 / 1013.0 - 0.5).collect()
        };
        let (a, b, mut out) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
        let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        let (mut left, mut right) = (Panels::left(a), Panels::right(b));
        let mut group = criterion.benchmark_group(format!("matmul/{what}={m}x{k}x{n}"));
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        group.sample_size(20);
        group.bench_function(BenchmarkId::from_parameter("f32"), |bencher| {
            bencher.iter(|| matmul(&mut out, Write::Replace, a, b));
        });
        group.bench_function(BenchmarkId::from_parameter("bf16/packed"), |bencher| {
            bencher.iter(|| bf16::matmul(&mut out, Write::Replace, &left, &right));
        });
        group.bench_function(BenchmarkId::from_parameter("bf16/packing"), |bencher| {
            bencher.iter(|| {
                left.set_left(a);
                right.set_right(b);
                bf16::matmul(&mut out, Write::Replace, &left, &right);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
