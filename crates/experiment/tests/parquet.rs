//! Corpora as Parquet: the commands that write and read them, and how fast and big an export is.

#![cfg(feature = "parquet")]

mod common;

use common::{NOTES, Sandbox};
use std::path::Path;
use std::time::Instant;
use syncabel_corpus::ReadOptions;
use syncabel_experiment::parquet::{Writer, read};
use syncabel_llm::{
    ChatAnswer, ChatRequest, Ledger, Message, Record, Role, Ruling, Sampling, Usage,
};
use syncabel_synth::{PURPOSE, export};

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

/// A finished ledger of this many concepts with three sentences each, as a generation leaves it.
fn ledger(dir: &Path, concepts: usize) {
    let ledger = Ledger::open(dir, PURPOSE).unwrap();
    let mut tasks = String::from(
        "{\"generator\":\"openai\",\"language\":\"en\",\"sentences_per_concept\":3}\n",
    );
    for n in 0..concepts {
        let request = ChatRequest {
            model: "m".into(),
            messages: vec![Message::new(
                Role::User,
                format!("Name: hereditary disorder of type {n}"),
            )],
            sampling: Sampling::default(),
        };
        let sentence = |m: usize| {
            format!(
                "example: In this cohort of patients with slowly progressive weakness the [hereditary disorder of type {n}] was confirmed by biopsy in {} of {} families seen.\n",
                n % 7,
                m + n % 83
            )
        };
        let key = request.key();
        let record = Record {
            answer: Some(ChatAnswer {
                text: (0..3).map(sentence).collect(),
                finish_reason: Some("stop".into()),
                usage: Usage::default(),
                attempts: 1,
            }),
            ..Record::new(key, 1, key, Ruling::Accepted)
        };
        ledger.append(&record, Some(&request)).unwrap();
        tasks += &format!("{{\"code\":\"C{n:07}\",\"group\":\"Disorders\",\"key\":\"{key}\"}}\n");
    }
    std::fs::write(dir.join("tasks.jsonl"), tasks).unwrap();
}

/// Highest resident memory of this process so far, in MiB; `None` off Linux.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// The paper's English set: about 461,000 mentions. The promise is 20 seconds, from the ledger to the file; the figures go to
/// stderr (`--nocapture`).
#[test]
fn an_export_as_large_as_the_papers_is_quick_and_stays_small() {
    const CONCEPTS: usize = 153_626;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("synthetic.parquet");
    ledger(&folder.path().join("ledger"), CONCEPTS);
    let (before, start) = (peak_mib(), Instant::now());
    let mut writer = Writer::create(&path).unwrap();
    let export = export(&folder.path().join("ledger"), &mut |document| {
        writer.write(&document).unwrap();
        Ok(())
    })
    .unwrap();
    writer.finish().unwrap();
    let (took, peak) = (start.elapsed(), peak_mib());
    let megabytes = path.metadata().unwrap().len() as f64 / 1e6;
    eprintln!(
        "{} mentions exported in {:.2} s, {megabytes:.1} MB; peak memory {before:?} MiB before, {peak:?} after",
        export.sentences,
        took.as_secs_f64()
    );
    assert_eq!((export.sentences, export.pending), (3 * CONCEPTS, 0));
    assert!(took.as_secs() < 20, "{took:?}");
    if let (Some(before), Some(peak)) = (before, peak) {
        assert!(peak < before + 200, "{before} to {peak} MiB");
    }
    let start = Instant::now();
    let (corpus, report) = read(&path, &ReadOptions::default()).unwrap();
    eprintln!("read back in {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!(report.mentions, 3 * CONCEPTS);
    // At the seam of two row groups and at both ends.
    for n in [0, 32_767, 32_768, 3 * CONCEPTS - 1] {
        let document = &corpus.documents[n];
        assert_eq!(document.id, format!("openai:C{:07}:{}", n / 3, n % 3 + 1));
        let name = format!("hereditary disorder of type {}", n / 3);
        assert_eq!(document.mentions[0].text, name);
    }
}
