//! Whole experiments on a tiny corpus, through the real binary.

mod common;

use common::{Sandbox, TERMS};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EXPERIMENT: &str = "name: tiny
description: Two sentences.
kb: {sources: [{path: terms.tsv}]}
corpus: {train: [{path: notes.jsonl}], test: [{path: test.jsonl}]}
synth: {generator: transplant, per_concept: 2}
model: {source: {scratch: {vocabulary: 300, hidden_size: 32, intermediate_size: 64, layers: 2, heads: 2, kv_heads: 1}}}
composition: {strategy: human_only}
train: {epochs: 400, batch_examples: 2, learning_rate: 3.0e-3, checkpoint_every_steps: 7}
link: {beams: 3}
";

fn sandbox() -> Sandbox {
    Sandbox::with_experiment(EXPERIMENT)
}

/// Files of this name below a folder, sorted.
fn find(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![folder.to_owned()];
    while let Some(folder) = queue.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.is_dir() {
                queue.push(path);
            } else if path.file_name().is_some_and(|n| n == name) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_model_learns_two_sentences_and_the_second_run_does_nothing_again() {
    let sandbox = sandbox();
    let first = sandbox.run(&["run", "tiny.yaml", "--json"]).ok();
    let cells: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(cells[0]["metrics"]["rows"], 2);
    assert_eq!(
        cells[0]["metrics"]["recall_at_1"], 1.0,
        "trained on the very sentences: {first}"
    );

    let stamp = |path: &Path| path.metadata().unwrap().modified().unwrap();
    let checkpoints = find(&sandbox.path("runs"), "model.safetensors");
    assert!(!checkpoints.is_empty());
    let before: Vec<_> = checkpoints.iter().map(|p| stamp(p)).collect();
    let second = sandbox.run(&["run", "tiny.yaml", "--resume"]);
    assert!(
        second.stderr.contains("unchanged, skipped"),
        "{}",
        second.stderr
    );
    second.ok();
    assert_eq!(
        before,
        checkpoints.iter().map(|p| stamp(p)).collect::<Vec<_>>()
    );

    let cell = sandbox.path("runs/tiny/cells/single");
    for file in [
        "config.yaml",
        "run.json",
        "metrics.json",
        "predictions.tsv",
        "train_log.jsonl",
        "examples.json",
    ] {
        assert!(cell.join(file).is_file(), "{file}");
    }
    let manifest = std::fs::read_to_string(cell.join("run.json")).unwrap();
    for key in [
        "seed",
        "kb_digest",
        "tokenizer_digest",
        "start_model_digest",
        "machine",
        "git_revision",
    ] {
        assert!(manifest.contains(key), "{key}");
    }
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    for artefact in ["kb", "checkpoint", "trie"] {
        let path = manifest["artefacts"][artefact].as_str().unwrap();
        assert!(sandbox.path(path).exists(), "{path}");
    }
    for file in [
        "table.md",
        "table.csv",
        "recall.svg",
        "recall.png",
        "loss.svg",
        "metrics.json",
        "README.md",
    ] {
        assert!(sandbox.path("results/tiny").join(file).is_file(), "{file}");
    }
    let table = std::fs::read(sandbox.path("results/tiny/table.md")).unwrap();
    sandbox.run(&["report", "results/tiny"]).ok();
    assert_eq!(
        table,
        std::fs::read(sandbox.path("results/tiny/table.md")).unwrap()
    );
}

#[test]
fn a_sweep_shares_stages_and_shows_every_arm() {
    let sandbox = sandbox();
    let yaml = EXPERIMENT.replace("epochs: 400", "epochs: 2")
        + "matrix: {composition.strategy: [human_only, interleaved, pretrain_then_human], seed: [1, 2]}\n";
    sandbox.write("tiny.yaml", yaml);
    assert_eq!(
        sandbox
            .run(&["run", "tiny.yaml", "--list"])
            .ok()
            .lines()
            .count(),
        6
    );
    let table = sandbox.run(&["run", "tiny.yaml", "--jobs", "3"]).ok();
    for arm in [
        "nearest name",
        "human_only",
        "interleaved",
        "pretrain_then_human",
    ] {
        assert!(table.contains(arm), "{table}");
    }
    let stages = std::fs::read_dir(sandbox.path("runs/tiny/stages")).unwrap();
    let names: Vec<String> = stages
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let count = |stage: &str| {
        names
            .iter()
            .filter(|n| n.starts_with(&format!("{stage}-")))
            .count()
    };
    assert_eq!(
        (
            count("kb"),
            count("synth"),
            count("base"),
            count("train"),
            count("link")
        ),
        (1, 2, 2, 6, 6),
        "{names:?}"
    );
}

#[test]
fn killed_training_resumes_to_the_same_weights() {
    let whole = sandbox();
    whole.run(&["run", "tiny.yaml"]).ok();

    let broken = sandbox();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("syncabel"))
        .args(["run", "tiny.yaml"])
        .current_dir(broken.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let steps = || {
        let log = find(&broken.path("runs"), "train_log.jsonl");
        log.first()
            .and_then(|p| std::fs::read_to_string(p).ok())
            .map_or(0, |t| t.lines().count())
    };
    while steps() < 30 && Instant::now() < deadline {
        assert!(
            child.try_wait().unwrap().is_none() || steps() >= 30,
            "the run ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(steps() < 400, "killed too late to show anything");

    broken.run(&["run", "tiny.yaml", "--resume"]).ok();
    let weights = |s: &Sandbox| {
        let files = find(&s.path("runs"), "model.safetensors");
        files.iter().map(|p| blake3_of(p)).collect::<Vec<_>>()
    };
    assert_eq!(weights(&whole), weights(&broken));
    let losses = |s: &Sandbox| {
        let log = std::fs::read_to_string(&find(&s.path("runs"), "train_log.jsonl")[0]).unwrap();
        let loss = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string()
        };
        log.lines().map(loss).collect::<Vec<_>>()
    };
    assert_eq!(losses(&whole), losses(&broken));
    torn_predictions_are_completed(&broken);
}

/// What a kill in the midst of linking leaves: rows, the last one torn, and no record of the stage.
fn torn_predictions_are_completed(sandbox: &Sandbox) {
    let stages = std::fs::read_dir(sandbox.path("runs")).unwrap();
    let link = stages
        .flat_map(|run| std::fs::read_dir(run.unwrap().path().join("stages")).unwrap())
        .map(|stage| stage.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("link-")
        })
        .unwrap();
    let predictions = link.join("predictions.tsv");
    let whole = std::fs::read_to_string(&predictions).unwrap();
    std::fs::remove_file(link.join("stage.json")).unwrap();
    // A mark in a row that is complete: linking it again would lose it.
    let marked = whole.replacen('\n', "\nmarked-", 1);
    std::fs::write(&predictions, &marked[..marked.len() - 20]).unwrap();
    sandbox.run(&["run", "tiny.yaml"]).ok();
    assert_eq!(std::fs::read_to_string(&predictions).unwrap(), marked);
}

fn blake3_of(path: &Path) -> String {
    blake3::hash(&std::fs::read(path).unwrap())
        .to_hex()
        .to_string()
}

#[test]
fn the_commands_work_together() {
    let sandbox = sandbox();
    sandbox.build_terms();
    assert!(
        sandbox
            .run(&["kb", "inspect", "terms.kb"])
            .ok()
            .contains("Disorders")
    );
    assert!(
        sandbox
            .run(&["kb", "lookup", "terms.kb", "Hodgkin lymphoma"])
            .ok()
            .contains("D006689")
    );
    let names = sandbox.run(&["kb", "names", "terms.kb", "--codes"]).ok();
    assert!(
        names
            .lines()
            .any(|line| line == "Hodgkin Lymphoma\tD006689"),
        "{names}"
    );
    sandbox
        .run(&["kb", "names", "terms.kb", "--group", "Disorder"])
        .refused(&["the KB has no group `Disorder`"]);
    let synth = [
        "synth",
        "--kb",
        "terms.kb",
        "--train",
        "notes.jsonl",
        "--out",
        "synthetic.jsonl",
    ];
    sandbox.run(&synth).ok();
    let first = std::fs::read(sandbox.path("synthetic.jsonl")).unwrap();
    sandbox.run(&synth).ok();
    assert_eq!(
        first,
        std::fs::read(sandbox.path("synthetic.jsonl")).unwrap()
    );
    assert!(
        sandbox
            .run(&["corpus", "stats", "synthetic.jsonl"])
            .ok()
            .contains("Disorders")
    );

    let checkpoint = sandbox.run(&["train", "tiny.yaml"]).ok();
    let checkpoint = checkpoint.trim();
    let link = [
        "link",
        "test.jsonl",
        "--model",
        checkpoint,
        "--kb",
        "terms.kb",
        "--out",
        "linked.tsv",
    ];
    sandbox.run(&link).ok();
    let linked = std::fs::read_to_string(sandbox.path("linked.tsv")).unwrap();
    assert_eq!(linked.lines().count(), 3);
    assert!(linked.contains("D006816"));

    // an interrupted file: the second row is torn
    let torn: String = linked.chars().take(linked.len() - 20).collect();
    sandbox.write("linked.tsv", torn);
    sandbox.run(&[&link[..], &["--resume"]].concat()).ok();
    assert_eq!(
        std::fs::read_to_string(sandbox.path("linked.tsv")).unwrap(),
        linked
    );

    // answers are not lost to a second call, nor mixed with those of another search
    sandbox
        .run(&link)
        .refused(&["linked.tsv", "--resume", "--overwrite"]);
    let other = ["--resume", "--search", "best-first"];
    sandbox
        .run(&[&link[..], &other].concat())
        .refused(&["linked.tsv", "other search options"]);
    let record = std::fs::read_to_string(sandbox.path("linked.tsv.run.json")).unwrap();
    assert!(record.contains("model_digest"), "{record}");
    killed_linking_resumes_to_the_same_answers(&sandbox, checkpoint);

    // a trie of another KB
    let last = TERMS.lines().count() - 1;
    let fewer: String = TERMS.lines().take(last).map(|l| format!("{l}\n")).collect();
    sandbox.write("fewer.tsv", fewer);
    sandbox
        .run(&["kb", "build", "fewer.tsv", "--out", "fewer.kb"])
        .ok();
    let with_trie = |kb: &str| {
        let args = ["--kb", kb, "--trie", "names.trie", "--out", "again.tsv"];
        let args = [&args[..], &["--overwrite"]].concat();
        sandbox.run(&[&["link", "test.jsonl", "--model", checkpoint][..], &args].concat())
    };
    with_trie("terms.kb").ok();
    let before = std::fs::read_to_string(sandbox.path("again.tsv")).unwrap();
    with_trie("fewer.kb").refused(&["names.trie: ", "another knowledge base"]);
    let after = std::fs::read_to_string(sandbox.path("again.tsv")).unwrap();
    assert_eq!(after, before, "a refusal replaces nothing");

    linking_in_every_form(&sandbox, checkpoint);
    let eval = sandbox
        .run(&[
            "eval",
            "linked.tsv",
            "--train",
            "notes.jsonl",
            "--kb",
            "terms.kb",
            "--json",
        ])
        .ok();
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert_eq!(eval["recall_at_1"], 1.0);
    assert_eq!(eval["gold_not_in_kb"], 0);
    assert_eq!(eval["seen"]["rows"], 2);
}

/// `kill -9` in the midst of many mentions, then `--resume`.
fn killed_linking_resumes_to_the_same_answers(sandbox: &Sandbox, checkpoint: &str) {
    let note = |i: usize| {
        let text = format!("Case {i} had hodgkin disease again.");
        let at = text.find("hodgkin").unwrap();
        let mention = serde_json::json!({"spans": [[at, at + 15]], "text": "hodgkin disease", "label": "Disorders"});
        serde_json::json!({"id": format!("n{i}"), "text": text, "mentions": [mention]}).to_string()
            + "\n"
    };
    sandbox.write("many.jsonl", (0..5000).map(note).collect::<String>());
    let fixed = [
        "link",
        "many.jsonl",
        "--model",
        checkpoint,
        "--kb",
        "terms.kb",
    ];
    let whole = sandbox.run(&[&fixed[..], &["--beams", "2"]].concat()).ok();
    let broken = [&fixed[..], &["--beams", "2", "--out", "many.tsv"]].concat();
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("syncabel"))
        .args(&broken)
        .current_dir(sandbox.path(""))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let rows =
        || std::fs::read_to_string(sandbox.path("many.tsv")).map_or(0, |text| text.lines().count());
    let deadline = Instant::now() + Duration::from_secs(120);
    while rows() < 300 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!((300..5000).contains(&rows()), "killed at {} rows", rows());
    sandbox.run(&[&broken[..], &["--resume"]].concat()).ok();
    let resumed = std::fs::read_to_string(sandbox.path("many.tsv")).unwrap();
    assert_eq!(resumed, whole);
}

/// `--to pubtator --resume`, wherever the file was torn.
fn documents_are_gone_on_with(sandbox: &Sandbox, checkpoint: &str) {
    let note = |i: usize| {
        let text = format!("Case {i} had Hodgkin disease. Then came chorea again.");
        let spans = [("Hodgkin disease", 15), ("chorea", 6)].map(|(words, length)| {
            let at = text.find(words).unwrap();
            serde_json::json!({"spans": [[at, at + length]], "text": words, "label": "Disorders"})
        });
        serde_json::json!({"id": format!("n{i}"), "text": text, "mentions": spans}).to_string()
            + "\n"
    };
    sandbox.write("documents.jsonl", (0..3).map(note).collect::<String>());
    let link = |input: &str, more: &[&str]| {
        let fixed = ["--to", "pubtator", "--out", "documents.txt"];
        let model = ["--model", checkpoint, "--kb", "terms.kb"];
        sandbox.run(&[&["link", input], &fixed[..], &model[..], more].concat())
    };
    let read = || std::fs::read_to_string(sandbox.path("documents.txt")).unwrap();
    link("documents.jsonl", &[]).ok();
    let whole = read();
    assert_eq!(
        whole.lines().filter(|l| l.contains('\t')).count(),
        6,
        "{whole}"
    );
    let second = whole.find("n1|t|").unwrap();
    let half = whole[second..].find("chorea\tDisorders").unwrap();
    let half = second + whole[second..second + half].rfind('\n').unwrap() + 1;
    for torn in [
        whole[..0].to_owned(),
        whole[..second].to_owned(),
        whole[..second + 9].to_owned(),
        whole[..whole.len() - 1].to_owned(),
        // As an error in the input leaves it: a document without its last mention.
        format!("{}\n", &whole[..half]),
        whole.clone(),
    ] {
        sandbox.write("documents.txt", &torn);
        link("documents.jsonl", &["--resume"]).ok();
        assert_eq!(read(), whole, "after {torn:?}");
    }
    sandbox.write("documents.txt", &whole[second..]);
    link("documents.jsonl", &["--resume"]).refused(&["documents.txt", "another input"]);
    sandbox.write("documents.txt", "my notes");
    link("documents.jsonl", &["--resume"]).refused(&["documents.txt", "no answers"]);
    assert_eq!(read(), "my notes");
    for name in ["documents.txt", "documents.txt.run.json"] {
        std::fs::remove_file(sandbox.path(name)).unwrap();
    }
}

/// What stands in a file is replaced or gone on with only where that was meant.
fn output_is_looked_after(sandbox: &Sandbox, checkpoint: &str) {
    let fixed = ["--model", checkpoint, "--kb", "terms.kb"];
    let link = |more: &[&str]| sandbox.run(&[&["link"], more, &fixed[..]].concat());
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    let notes = read("test.jsonl");
    link(&["test.jsonl", "--out", "test.jsonl", "--overwrite"]).refused(&["test.jsonl", "--out"]);
    assert_eq!(read("test.jsonl"), notes);
    link(&["test.jsonl", "--out", "kept.tsv"]).ok();
    let kept = read("kept.tsv");
    // Refused when something is wrong with the first mention of a pipe, before anything is replaced.
    let bad = [
        "link",
        "-",
        "--format",
        "marked",
        "--out",
        "kept.tsv",
        "--overwrite",
    ];
    let output = Command::new(assert_cmd::cargo::cargo_bin("syncabel"))
        .args([&bad[..], &fixed[..]].concat())
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "an empty pipe has no mentions");
    sandbox.write("kept.tsv", &kept);
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("syncabel"))
        .args([&bad[..], &fixed[..]].concat())
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"nothing marked\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(read("kept.tsv"), kept);
    // Another process writes to it.
    let file = std::fs::File::options()
        .write(true)
        .open(sandbox.path("kept.tsv"))
        .unwrap();
    file.lock().unwrap();
    for way in ["--resume", "--overwrite"] {
        link(&["test.jsonl", "--out", "kept.tsv", way]).refused(&["kept.tsv", "another process"]);
    }
    drop(file);
    assert_eq!(read("kept.tsv"), kept);
    for (more, why) in [
        (&["--to", "jsonl"][..], "--to tsv"),
        (&["--language", "fr"], "--language"),
        (&["--rules", "bc5cdr"], "--rules"),
    ] {
        let args = [&["test.jsonl", "--out", "kept.tsv", "--resume"][..], more].concat();
        link(&args).refused(&["kept.tsv", why]);
    }
    sandbox.write("kept.tsv", "my notes");
    link(&["test.jsonl", "--out", "kept.tsv", "--resume"]).refused(&["kept.tsv", "no answers"]);
    assert_eq!(read("kept.tsv"), "my notes");
    // An empty file is begun, not gone on with, and says how it came about.
    std::fs::remove_file(sandbox.path("kept.tsv.run.json")).unwrap();
    sandbox.write("kept.tsv", "");
    link(&["test.jsonl", "--out", "kept.tsv", "--resume"]).ok();
    assert_eq!(read("kept.tsv"), kept);
    assert!(sandbox.path("kept.tsv.run.json").is_file());
    link(&["test.jsonl", "--out", "kept.tsv.gz"]).refused(&["kept.tsv.gz", "compressed"]);
    link(&["test.jsonl", "--out", "new.tsv", "--group", "Disorder"])
        .refused(&["Disorder", "Disorders"]);
    link(&[
        "test.jsonl",
        "--out",
        "new.tsv",
        "--search",
        "best-first",
        "--within=-1",
    ])
    .refused(&["within"]);
    assert!(
        !sandbox.path("new.tsv").exists(),
        "a refusal leaves nothing"
    );
}

/// Groups, abbreviations and offsets of marked sentences are those of a document.
fn marked_sentences_are_read_as_documents_are(sandbox: &Sandbox, checkpoint: &str) {
    let fixed = ["--model", checkpoint, "--kb", "terms.kb", "--to", "jsonl"];
    let text = "Huntington disease (HD) is known [1]; HD and HD again.";
    let at = [text.find("; HD").unwrap() + 2, text.rfind("HD").unwrap()];
    let mentions =
        at.map(|at| serde_json::json!({"spans": [[at, at + 2]], "text": "HD", "label": "Disease"}));
    let document = serde_json::json!({"id": "two.txt.1", "text": text, "mentions": mentions});
    sandbox.write("two.jsonl", format!("{document}\n"));
    let marked = "Huntington disease (HD) is known [1]; [HD]{Disease} and [HD]{Disease} again.";
    sandbox.write("two.txt", format!("{marked}\n"));
    for more in [
        &[][..],
        &["--abbreviations", "expand"],
        &["--max-context-chars", "10"],
    ] {
        let map = ["--group", "Disease=Disorders"];
        let link = |input: &[&str]| {
            sandbox
                .run(&[&["link"], input, &fixed[..], &map, more].concat())
                .ok()
        };
        let document = link(&["two.jsonl"]);
        assert_eq!(link(&["two.txt", "--format", "marked"]), document);
        assert_eq!(document.lines().count(), 2);
        assert_eq!(
            document.contains("[Huntington disease]"),
            more.contains(&"expand")
        );
    }
}

/// Formats, searches and calibration of `link`, with a model that knows its few names.
fn linking_in_every_form(sandbox: &Sandbox, checkpoint: &str) {
    let link = |more: &[&str]| {
        let fixed = ["--model", checkpoint, "--kb", "terms.kb"];
        sandbox.run(&[&["link"], more, &fixed[..]].concat())
    };
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    link(&[
        "test.jsonl",
        "--to",
        "jsonl",
        "--out",
        "linked.jsonl",
        "--trie",
        "names.trie",
    ])
    .ok();
    let lines = read("linked.jsonl");
    assert_eq!(lines.lines().count(), 2);
    let torn: String = lines.chars().take(lines.len() - 9).collect();
    sandbox.write("linked.jsonl", torn);
    let resume = [
        "test.jsonl",
        "--to",
        "jsonl",
        "--out",
        "linked.jsonl",
        "--resume",
    ];
    link(&[&resume[..], &["--trie", "names.trie"]].concat()).ok();
    assert_eq!(read("linked.jsonl"), lines);
    // Answers for other text under the same ids, and a file that holds none: neither is gone on with, nor touched.
    let other = lines.replacen("\"sentence\":\"", "\"sentence\":\"Once, ", 1);
    for (held, why) in [
        (other, "another input"),
        ("my notes".to_owned(), "no answers"),
        ("{\"id\": 1}".to_owned(), "no answers"),
    ] {
        sandbox.write("linked.jsonl", &held);
        link(&resume).refused(&["linked.jsonl", why]);
        assert_eq!(read("linked.jsonl"), held);
    }
    sandbox.write("linked.jsonl", &lines);
    documents_are_gone_on_with(sandbox, checkpoint);
    output_is_looked_after(sandbox, checkpoint);
    marked_sentences_are_read_as_documents_are(sandbox, checkpoint);
    let stats = sandbox.run(&["trie", "inspect", "names.trie"]).ok();
    assert!(stats.contains("forced tokens"), "{stats}");

    // The best name exactly, whichever way it is asked for.
    let code = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["predicted_code"].as_str().unwrap().to_owned()
    };
    let beam: Vec<String> = lines.lines().map(code).collect();
    for more in [
        &["--search", "best-first"][..],
        &["--search", "best-first", "--within", "0"],
        &[
            "--search",
            "best-first",
            "--scoring",
            "local",
            "--concepts",
            "sum",
        ],
        &["--precision", "bf16", "--batch", "1"],
    ] {
        let out = link(&[&["test.jsonl", "--to", "jsonl"], more].concat()).ok();
        assert_eq!(out.lines().map(code).collect::<Vec<_>>(), beam, "{more:?}");
    }

    let blocks = link(&["test.jsonl", "--to", "pubtator"]).ok();
    assert!(
        blocks.contains("|t|") && blocks.contains(&beam[0]),
        "{blocks}"
    );
    let explained = link(&["test.jsonl", "--explain"]).ok();
    assert!(
        explained.contains(&beam[0]) && explained.contains('*'),
        "{explained}"
    );

    let row: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    sandbox.write(
        "marked.txt",
        format!("\n{}\n", row["sentence"].as_str().unwrap()),
    );
    let marked = link(&["marked.txt", "--format", "marked", "--to", "jsonl"]).ok();
    assert_eq!(code(marked.trim()), beam[0]);
    sandbox.write("marked.txt", "no mention here\n");
    link(&["marked.txt", "--format", "marked"]).refused(&["marked.txt:1", "[mention]{group}"]);
    link(&["-"]).refused(&["--format"]);
    link(&["test.jsonl", "--free", "--search", "best-first"]).refused(&["strategy", "beam"]);
    link(&["test.jsonl", "--within", "2"]).refused(&["--within", "best-first"]);

    let report = sandbox
        .run(&["calibrate", "linked.tsv", "--out", "calibration.json"])
        .ok();
    assert!(report.contains("error_after"), "{report}");
    let other = ["--scoring", "local", "--calibration", "calibration.json"];
    link(&[&["test.jsonl", "--out", "other.tsv"], &other[..]].concat())
        .refused(&["calibration.json", "search options"]);
    let sure = [
        "test.jsonl",
        "--to",
        "jsonl",
        "--calibration",
        "calibration.json",
    ];
    let out = link(&[&sure[..], &["--min-prob", "1"]].concat()).ok();
    assert!(
        out.lines()
            .all(|line| code(line) == "NIL" || line.contains("\"probability\":1.0"))
    );
    sandbox.write("calibration.json", "{}");
    link(&sure).refused(&["calibration.json"]);
}
