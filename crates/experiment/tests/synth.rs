//! `syncabel synth` with a language model: the real binary against the fault server, and against a real one where it is up.

mod common;

use common::{Sandbox, repository};
use std::net::TcpStream;
use std::time::Duration;
use syncabel_llm::ChatRequest;
use syncabel_llm::fault_server::{FaultServer, Faults};

/// Writes as many sentences as asked for, about the concept asked for.
fn obey(request: &ChatRequest) -> String {
    let field = |name: &str| {
        let lines = request.messages[1].content.lines();
        lines
            .filter_map(|line| line.strip_prefix(name))
            .next_back()
            .unwrap()
    };
    let count: usize = field("Write ").split(' ').next().unwrap().parse().unwrap();
    let sentence = |n| {
        format!(
            "example: The signs of [{}] were seen again and the family asked for a second opinion in room {n}.\n",
            field("Name: ")
        )
    };
    (0..count).map(sentence).collect()
}

const MAKE: [&str; 7] = [
    "synth",
    "--kb",
    "terms.kb",
    "--train",
    "train.jsonl",
    "--out",
    "synthetic.jsonl",
];

fn make<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    MAKE.iter().chain(extra).copied().collect()
}

#[test]
fn generate_ask_how_far_and_export() {
    let sandbox = Sandbox::with_terms();
    let mut faults = Faults::all(0.3, 5);
    faults.late = Duration::from_millis(4_500);
    let server = FaultServer::start(faults, Duration::ZERO, obey);
    let model = [
        "--url",
        server.url(),
        "--model",
        "m",
        "--ledger",
        "ledger",
        "--timeout",
        "3",
        "--report",
        "report.json",
    ];
    sandbox.run(&make(&model)).ok();
    let made = std::fs::read_to_string(sandbox.path("synthetic.jsonl")).unwrap();
    assert_eq!(made.lines().count(), 4 * 3);
    assert!(made.starts_with(r#"{"id":"openai:D000068877:1""#), "{made}");

    let status = sandbox
        .run(&["synth", "status", "ledger", "--json", "--price-in", "1"])
        .ok();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    for (field, number) in [("done", 4), ("pending", 0), ("failed", 0)] {
        assert_eq!(status[field], number, "{field}");
    }
    assert!(status["cost"].as_f64().unwrap() > 0.0);
    assert!(
        sandbox
            .run(&["synth", "status", "ledger"])
            .ok()
            .contains("done        4")
    );

    // The ledger gives the corpus again, in other formats too.
    sandbox
        .run(&["synth", "export", "ledger", "--out", "again.jsonl"])
        .ok();
    assert_eq!(
        std::fs::read_to_string(sandbox.path("again.jsonl")).unwrap(),
        made
    );
    for name in ["again.json", "again.pubtator", "again.parquet"] {
        sandbox
            .run(&["synth", "export", "ledger", "--out", name])
            .ok();
        let stats = sandbox.run(&["corpus", "stats", name]).ok();
        assert!(stats.contains("12"), "{stats}");
    }

    // The same command asks nothing; filters apply to what is there. Three nearly equal sentences for each concept.
    let requests = server.served().requests;
    let filtered: Vec<&str> = model.iter().chain(&["--filters", "all"]).copied().collect();
    sandbox.run(&make(&filtered)).ok();
    assert_eq!(server.served().requests, requests);
    let report = std::fs::read_to_string(sandbox.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let filters = &report["filters"];
    assert_eq!(filters["sentences"], 12);
    let kept = std::fs::read_to_string(sandbox.path("synthetic.jsonl"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(filters["kept"], kept);
    assert!(kept < 12);

    sandbox
        .run(&[
            "synth",
            "card",
            "again.jsonl",
            "--kb",
            "terms.kb",
            "--human",
            "train.jsonl",
            "--out",
            "card",
        ])
        .ok();
    let card = std::fs::read_to_string(sandbox.path("card/card.md")).unwrap();
    assert!(card.contains("| mentions | 2 | 12 |"), "{card}");
    for figure in ["sentence_lengths", "novelty", "names_used"] {
        assert!(sandbox.path(&format!("card/{figure}.svg")).is_file());
    }
}

/// The language says how training text is read as well, and files that name no split are told apart by their names.
#[test]
fn training_text_has_the_language_that_was_asked_for() {
    let sandbox = Sandbox::with_terms();
    let text = "Le patient avait la goutte. Il est parti.";
    let note =
        |id: &str| format!("{id}|t|{text}\n{id}|a|\n{id}\t20\t26\tgoutte\tDisorders\tD006073\n\n");
    sandbox.write("hospital.pubtator.txt", note("1"));
    sandbox.write("clinic.pubtator.txt", note("2"));
    let run = |language: &[&str]| {
        let mut args = vec![
            "synth",
            "--kb",
            "terms.kb",
            "--train",
            "hospital.pubtator.txt",
        ];
        args.extend(["--out", "synthetic.jsonl"]);
        args.extend(language);
        sandbox.run(&args).ok();
        let made = std::fs::read_to_string(sandbox.path("synthetic.jsonl")).unwrap();
        made.lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["language"].clone()
            })
            .collect::<Vec<_>>()
    };
    for (asked, expected) in [(&[][..], "en"), (&["--language", "fr"][..], "fr")] {
        let languages = run(asked);
        assert!(!languages.is_empty());
        assert!(languages.iter().all(|l| l == expected), "{languages:?}");
    }
    let mut args = vec![
        "synth",
        "card",
        "synthetic.jsonl",
        "--kb",
        "terms.kb",
        "--out",
        "card",
    ];
    for file in ["hospital.pubtator.txt", "clinic.pubtator.txt"] {
        args.extend(["--human", file]);
    }
    sandbox.run(&args).ok();
    let card = std::fs::read_to_string(sandbox.path("card/card.md")).unwrap();
    for name in ["human, hospital", "human, clinic"] {
        assert!(card.contains(name), "{card}");
    }
}

#[test]
fn wrong_use_is_refused_with_the_way_out() {
    let sandbox = Sandbox::with_terms();
    sandbox
        .run(&["synth", "status", "nowhere"])
        .refused(&["nowhere"]);
    sandbox
        .run(&["synth", "export", "nowhere", "--out", "x.jsonl"])
        .refused(&["nowhere"]);
    sandbox.run(&["synth"]).refused(&["--kb"]);
    let server = ["--model", "m", "--ledger", "ledger"];
    let with = |url: &'static str| -> Vec<&'static str> {
        ["--url", url].into_iter().chain(server).collect()
    };
    sandbox
        .run(&make(&with("localhost:1")))
        .refused(&["http://"]);
    let mut keyed = with("http://127.0.0.1:1/v1");
    keyed.extend(["--api-key-env", "SYNCABEL_NO_SUCH_KEY"]);
    sandbox
        .run(&make(&keyed))
        .refused(&["SYNCABEL_NO_SUCH_KEY"]);
    sandbox.run(&make(&["--model", "m"])).refused(&["--ledger"]);
    sandbox
        .run(&make(&["--ledger", "l", "--local", "m", "--import", "set"]))
        .refused(&["--import", "--local"]);
    let ledger = syncabel_llm::Ledger::open(&sandbox.path("ledger"), "synth").unwrap();
    sandbox
        .run(&make(&with("http://127.0.0.1:1/v1")))
        .refused(&["in use by process", "use another folder"]);
    drop(ledger);
}

#[test]
fn a_model_that_writes_nothing_is_an_error_and_leaves_no_corpus() {
    let sandbox = Sandbox::with_terms();
    let server = FaultServer::start(Faults::none(), Duration::ZERO, |_| "I cannot.".to_owned());
    let model = [
        "--url",
        server.url(),
        "--model",
        "m",
        "--ledger",
        "ledger",
        "--report",
        "report.json",
    ];
    sandbox.run(&make(&model)).refused(&[
        "no sentence was made",
        "4 concepts failed",
        "0 of 3 sentences after 5 answers",
    ]);
    assert!(!sandbox.path("synthetic.jsonl").exists());
    let report = std::fs::read_to_string(sandbox.path("report.json")).unwrap();
    assert!(report.contains("I cannot."), "{report}");
    assert_eq!(server.served().requests, 4 * 5);
}

/// The address of `scripts/llama_server.sh start`.
const REAL: &str = "127.0.0.1:8791";

/// A server that this test started, and ends.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// llama.cpp's server at [`REAL`]: one that runs there, or, where `scripts/llama_server.sh prepare` has been run, one that
/// is started. `None` elsewhere.
fn real_server() -> Option<Option<Server>> {
    let is_there =
        || TcpStream::connect_timeout(&REAL.parse().unwrap(), Duration::from_secs(1)).is_ok();
    if is_there() {
        return Some(None);
    }
    let prepared = ["runs/tools/llama/bin/python", "runs/models/smollm2"];
    if !prepared.iter().all(|path| repository().join(path).exists()) {
        return None;
    }
    let server = std::process::Command::new(repository().join("scripts/llama_server.sh"))
        .arg("start")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Server(server);
    for _ in 0..120 {
        if is_there() {
            return Some(Some(server));
        }
        if let Some(status) = server.0.try_wait().unwrap() {
            panic!("scripts/llama_server.sh start ended: {status}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("scripts/llama_server.sh start does not listen after two minutes");
}

#[test]
fn a_real_model_writes_sentences() {
    let Some(_server) = real_server() else {
        eprintln!(
            "SKIPPED: no server at {REAL} and none prepared; scripts/llama_server.sh prepare makes one"
        );
        return;
    };
    let sandbox = Sandbox::new();
    let data = repository().join("experiments/embedded/data");
    let path = |name: &str| data.join(name).to_str().unwrap().to_owned();
    sandbox
        .run(&["kb", "build", &path("kb.jsonl"), "--out", "embedded.kb"])
        .ok();
    let url = format!("http://{REAL}/v1");
    let train = path("train.jsonl");
    let args = [
        "synth",
        "--kb",
        "embedded.kb",
        "--train",
        &train,
        "--out",
        "synthetic.jsonl",
        "--sample",
        "24",
        "--per-concept",
        "1",
        "--url",
        &url,
        "--model",
        "SmolLM2-135M-Instruct.Q4_1",
        "--ledger",
        "ledger",
        "--turns",
        "--find-names",
        "--in-flight",
        "1",
        "--timeout",
        "600",
        // What this server does unless told not to: it punishes repeated tokens.
        "--extra",
        "repeat_penalty=1.0",
        "--extra",
        "top_k=0",
        "--extra",
        "min_p=0",
    ];
    let run = sandbox.run(&args);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let status = sandbox.run(&["synth", "status", "ledger", "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let (done, failed) = (
        status["done"].as_u64().unwrap(),
        status["failed"].as_u64().unwrap(),
    );
    assert_eq!(done + failed, 24);
    // A model of 135 million parameters often misses the format; that it never hits it would be our fault.
    assert!(done > 0, "{}", run.stderr);
    assert!(status["completion_tokens"].as_u64().unwrap() > 0);
    let made = std::fs::read_to_string(sandbox.path("synthetic.jsonl")).unwrap();
    assert_eq!(made.lines().count() as u64, done);
}
