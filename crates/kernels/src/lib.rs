//! What a Llama costs on a CPU: matrix products and the row-wise work between them.
//!
//! Training (`syncabel-train`) and guided decoding (`syncabel-engine`) run hand-written passes on the CPU; both stand on
//! the kernels here. The crate knows shapes and numbers, no model, no file, no tensor library.
//!
//! - [`Matrix`] and [`matmul`]: float32 products of strided matrices, cut over threads by us (the matrix library's own
//!   threads spin at barriers, which a busy machine punishes).
//! - [`bf16`]: products of bfloat16 panels with float32 sums. Panels are packed once and multiplied often, by AMX tiles,
//!   by AVX512-BF16, widened on AVX2, or by portable code, whichever the CPU has.
//! - [`packed`]: float32 products with weights packed once, in float32 or bfloat16, for the few rows of decoding.
//! - [`rows`]: RMSNorm, rotary positions, SiLU gating, softmax and cross-entropy, vectorised and threaded, with their
//!   backward passes.
//! - [`team`]: parallel loops that follow each other closely.
//! - [`simd`]: the macro that compiles a function for several vector units, an `exp` that vectorises, fixed-order sums.
//!
//! # Cost
//! The bench `matmul` of the workspace prints products per second; on one machine with AMX, two cores multiply
//! bfloat16 panels five times as fast as float32, and three times when both factors are packed anew.
//!
//! # Determinism
//! Sums are never cut between threads, and row-wise kernels use a fixed number of partial sums, so the number of threads
//! changes no bit. Row-wise kernels compute the same bits on every vector unit; products do not ([`packed`] fuses
//! multiplication and addition where AVX-512 or AVX2 is there, bfloat16 units round differently), so a run is repeatable on machines of one
//! kind.
//!
//! # Example
//! ```
//! use syncabel_kernels::{Matrix, Write, matmul};
//!
//! let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]);
//! let mut out = [0.0; 4];
//! matmul(&mut out, Write::Replace, Matrix::new(&a, 2, 2), Matrix::new(&b, 2, 2));
//! assert_eq!(out, a);
//! ```

pub mod bf16;
mod matmul;
pub mod packed;
mod pages;
pub mod rows;
pub mod simd;
pub mod team;

pub use matmul::{Matrix, Write, matmul, small_matmul};
