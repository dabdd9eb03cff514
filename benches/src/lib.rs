//! Criterion benches of the workspace, one file per question; run one with
//! `cargo bench -p syncabel-benches --bench trie_build`. Names say the shape of the data (`names=76k`, `batch=16`).

/// Counts the peak of [`peak_mb`] from now on. Without it a process keeps the peak of everything that it has ever measured.
///
/// What is resident now is the least that the new peak can be. Nothing happens where the system knows no such reset (Linux has it).
pub fn reset_peak() {
    let _unknown_elsewhere = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process has had since [`reset_peak`], in MB; 0 where the system does not tell.
#[must_use]
pub fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}
