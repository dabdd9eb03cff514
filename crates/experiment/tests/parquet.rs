//! Corpora as Parquet: the commands that write and read them, and how fast and big an export is.

#![cfg(feature = "parquet")]

mod common;

use common::{NOTES, Sandbox};
use std::time::Instant;
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, ReadOptions, SpanChars, Split};
use syncabel_experiment::parquet::{Writer, read};

#[test]
fn commands_write_parquet_and_read_it_back() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.jsonl", NOTES);
    let convert = |from: &str, to: &str| sandbox.run(&["corpus", "convert", from, to]);
    convert("notes.jsonl", "first.jsonl").ok();
    convert("notes.jsonl", "notes.parquet").ok();
    convert("notes.parquet", "again.jsonl").ok();
    let text = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(text("again.jsonl"), text("first.jsonl"));
    let stats = sandbox.run(&["corpus", "stats", "notes.parquet"]).ok();
    assert_eq!(stats, sandbox.run(&["corpus", "stats", "notes.jsonl"]).ok());
    sandbox.write("broken.parquet", "PAR1");
    convert("broken.parquet", "x.jsonl").refused(&["broken.parquet"]);
}

/// Three sentences for a concept, one mention each, as a generation leaves them.
fn sentence(n: u32) -> Document {
    let code = format!("C{:07}", n / 3);
    let name = format!("hereditary disorder of type {}", n / 3);
    let before = "In this cohort of patients with slowly progressive weakness the";
    let start = before.chars().count() as u32 + 1;
    let end = start + name.chars().count() as u32;
    let id = format!("openai:{code}:{}", n % 3 + 1);
    Document {
        text: format!(
            "{before} {name} was confirmed by biopsy in {} of {} families seen.",
            n % 7,
            n % 83
        ),
        language: Language::En,
        split: Some(Split::Train),
        origin: Origin::Synthetic {
            generator: "openai".into(),
        },
        mentions: vec![Mention {
            id: format!("{id}.1"),
            spans: vec![SpanChars::new(start, end)],
            text: name,
            label: "Disorders".into(),
            gold: Gold::one(code),
        }],
        id,
    }
}

/// Highest resident memory of this process so far, in MiB; `None` off Linux.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// The paper's English set: 460,878 mentions. The promise is 20 seconds; the figures go to stderr (`--nocapture`).
#[test]
fn an_export_as_large_as_the_papers_is_quick_and_stays_small() {
    const MENTIONS: u32 = 460_878;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("synthetic.parquet");
    let (before, start) = (peak_mib(), Instant::now());
    let mut writer = Writer::create(&path).unwrap();
    for n in 0..MENTIONS {
        writer.write(&sentence(n)).unwrap();
    }
    writer.finish().unwrap();
    let (took, peak) = (start.elapsed(), peak_mib());
    let megabytes = path.metadata().unwrap().len() as f64 / 1e6;
    eprintln!(
        "{MENTIONS} mentions written in {:.2} s, {megabytes:.1} MB; peak memory {before:?} MiB before, {peak:?} after",
        took.as_secs_f64()
    );
    assert!(took.as_secs() < 20, "{took:?}");
    if let (Some(before), Some(peak)) = (before, peak) {
        assert!(peak < before + 200, "{before} to {peak} MiB");
    }
    let start = Instant::now();
    let (corpus, report) = read(&path, &ReadOptions::default()).unwrap();
    eprintln!("read back in {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!(report.mentions, MENTIONS as usize);
    for n in [0, 32_767, 32_768, MENTIONS - 1] {
        assert_eq!(corpus.documents[n as usize], sentence(n));
    }
}
