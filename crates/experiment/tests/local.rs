//! A language model in this process, as a chat backend: a tiny random one, and SmolLM2 where it is.

mod common;

use common::{Sandbox, repository};
use std::path::Path;
use syncabel_experiment::config::{LinkPrecision, ScratchConfig};
use syncabel_experiment::local::LocalChat;
use syncabel_experiment::scratch;
use syncabel_llm::{ChatBackend, ChatRequest, Message, Role, Sampling};
use syncabel_model::ModelSource;

/// A model of random weights that knows the letters of a few words and how to chat.
fn tiny(folder: &Path) -> ModelSource {
    seeded(folder, 7)
}

fn seeded(folder: &Path, seed: u64) -> ModelSource {
    let shape = ScratchConfig {
        vocabulary: 300,
        hidden_size: 16,
        intermediate_size: 32,
        layers: 2,
        heads: 2,
        kv_heads: 1,
    };
    let tokenizer =
        scratch::tokenizer(["asthma and gout, gout and asthma"].into_iter(), 300).unwrap();
    let mut config = scratch::config(&shape, &tokenizer).unwrap();
    config.max_position_embeddings = 128;
    let model = config.init_seeded(seed, &syncabel_model::device("flex").unwrap());
    syncabel_model::save(folder, &config, &model, &tokenizer).unwrap();
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
    std::fs::write(folder.join("chat_template.jinja"), template).unwrap();
    ModelSource::Folder(folder.to_owned())
}

fn request(question: &str, sampling: Sampling) -> ChatRequest {
    ChatRequest {
        model: "tiny".into(),
        messages: vec![Message::new(Role::User, question)],
        sampling,
    }
}

fn short() -> Sampling {
    Sampling {
        temperature: Some(1.0),
        max_new_tokens: Some(24),
        ..Sampling::default()
    }
}

#[test]
fn answers_do_not_depend_on_what_else_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let chat = LocalChat::load(&tiny(folder.path()), LinkPrecision::F32, 5).unwrap();
    let questions: Vec<String> = (0..12)
        .map(|n| "gout ".repeat(n % 4 + 1) + &n.to_string())
        .collect();
    let ask = |question: &String| chat.chat(&request(question, short())).unwrap();
    let alone: Vec<_> = questions.iter().map(ask).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = questions
            .iter()
            .map(|q| scope.spawn(move || ask(q)))
            .collect();
        asked
            .into_iter()
            .map(|answer| answer.join().unwrap())
            .collect()
    });
    assert_eq!(together, alone);
    assert!(alone.iter().any(|answer| answer.text != alone[0].text));
    let usage = alone[0].usage;
    assert!(usage.prompt_tokens > 0 && (1..=24).contains(&usage.completion_tokens));
    let ended = if usage.completion_tokens < 24 {
        "stop"
    } else {
        "length"
    };
    assert_eq!(alone[0].finish_reason.as_deref(), Some(ended));
}

#[test]
fn a_ledger_tells_weights_and_precisions_of_one_name_apart() {
    let names = |seed: u64, precision| {
        let folder = tempfile::tempdir().unwrap();
        let source = seeded(folder.path(), seed);
        let chat = LocalChat::load(&source, precision, 1).unwrap();
        chat.model_name("tiny")
    };
    let (f32, bf16) = (LinkPrecision::F32, LinkPrecision::Bf16);
    let name = names(7, f32);
    assert_eq!(name, names(7, f32));
    assert!(name.starts_with("tiny (local, f32, "), "{name}");
    assert_ne!(name, names(8, f32));
    assert_ne!(name, names(7, bf16));
}

#[test]
fn a_stop_ends_an_answer_and_what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let chat = LocalChat::load(&tiny(folder.path()), LinkPrecision::F32, 2).unwrap();
    let whole = chat.chat(&request("asthma", short())).unwrap();
    let middle: String = whole.text.chars().skip(3).take(1).collect();
    let sampling = Sampling {
        stop: vec![middle.clone()],
        ..short()
    };
    // The seed comes from the request, so the same one is given to both.
    let seeded = |sampling: Sampling| Sampling {
        seed: Some(1),
        ..sampling
    };
    let whole = chat.chat(&request("asthma", seeded(short()))).unwrap().text;
    let cut = chat.chat(&request("asthma", seeded(sampling))).unwrap();
    let expected = whole.split(&middle).next().unwrap();
    assert_eq!(cut.text, expected);
    let error = chat
        .chat(&request(&"gout ".repeat(200), short()))
        .unwrap_err();
    assert!(error.to_string().contains("128 positions"), "{error}");
    assert!(!error.is_permanent(), "other requests pass");
}

#[test]
fn synth_runs_a_model_without_a_server() {
    let sandbox = Sandbox::with_terms();
    std::fs::create_dir(sandbox.path("tiny")).unwrap();
    tiny(&sandbox.path("tiny"));
    let synth = |model: &str| {
        sandbox.run(&[
            "synth",
            "--kb",
            "terms.kb",
            "--train",
            "train.jsonl",
            "--out",
            "out.jsonl",
            "--local",
            model,
            "--ledger",
            "ledger",
        ])
    };
    // Random weights write no sentence, and the questions do not fit: every concept is recorded as failed, none is lost.
    let run = synth("tiny");
    assert_ne!(run.code, Some(0));
    assert!(
        run.stderr.contains("the model `tiny (local, f32, "),
        "{}",
        run.stderr
    );
    std::fs::remove_file(sandbox.path("tiny/chat_template.jinja")).unwrap();
    synth("tiny").refused(&["chat_template.jinja", "instruction-tuned"]);
    synth("nowhere").refused(&["nowhere", "neither a folder"]);
}

#[test]
fn smollm2_answers_by_its_own_template() {
    let path = repository().join("runs/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        eprintln!("SKIPPED: SmolLM2 is not there; scripts/smollm2.sh fetches it");
        return;
    }
    let chat = LocalChat::load(&ModelSource::Gguf(path), LinkPrecision::F32, 1).unwrap();
    let greedy = Sampling {
        temperature: Some(0.0),
        max_new_tokens: Some(32),
        ..Sampling::default()
    };
    let question = "What is the capital of France? Answer with one word.";
    let answer = chat.chat(&request(question, greedy)).unwrap();
    assert!(answer.text.contains("Paris"), "{}", answer.text);
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
}
