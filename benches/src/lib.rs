//! Criterion benches of the workspace, one file per question; run one with
//! `cargo bench -p syncabel-benches --bench trie_build`. Names say the shape of the data (`names=76k`, `batch=16`).
