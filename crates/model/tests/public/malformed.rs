//! Broken and foreign files are errors that name the file and what is wrong in it.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::*;
use syncabel_model::{Error, ModelSource, Precision, load, load_cpu};

/// A copy of a fixture folder to break.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

#[track_caller]
fn refused(dir: &Path, contains: &[&str]) -> Error {
    let error = load(&ModelSource::Folder(dir.to_owned()), &cpu()).unwrap_err();
    let message = error.to_string();
    for part in contains {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    assert!(
        message.contains(dir.to_str().unwrap()),
        "no path in: {message}"
    );
    error
}

fn edit_config(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn missing_files_are_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let dir = copy("tied");
        std::fs::remove_file(dir.path().join(file)).unwrap();
        refused(dir.path(), &[file]);
    }
    refused(Path::new("/no/such/folder"), &["config.json"]);
    let gguf = load(&ModelSource::Gguf("/no/such.gguf".into()), &cpu());
    assert!(gguf.unwrap_err().to_string().contains("/no/such.gguf"));
}

#[test]
fn other_architectures_are_named() {
    let dir = copy("tied");
    edit_config(dir.path(), "model_type", json!("qwen2"));
    let error = refused(dir.path(), &["`qwen2`", "`llama`", "config.json"]);
    assert!(matches!(error, Error::Architecture { .. }));

    let path = dir.path().join("bert.gguf");
    let mut bytes = std::fs::read(fixture("tied.gguf")).unwrap();
    let at = bytes.windows(5).position(|w| w == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"bertx");
    std::fs::write(&path, bytes).unwrap();
    let error = load(&ModelSource::Gguf(path), &cpu()).unwrap_err();
    assert!(error.to_string().contains("`bertx`"), "{error}");
}

#[test]
fn shapes_and_tensors_that_do_not_fit_the_config_are_named() {
    for (key, value, tensor) in [
        (
            "intermediate_size",
            json!(64),
            "model.layers.0.mlp.gate_proj.weight",
        ),
        (
            "num_hidden_layers",
            json!(3),
            "model.layers.2.input_layernorm.weight",
        ),
        (
            "num_hidden_layers",
            json!(1 << 29),
            "model.layers.2.input_layernorm.weight",
        ),
        ("vocab_size", json!(1 << 29), "model.embed_tokens.weight"),
        (
            "num_key_value_heads",
            json!(4),
            "model.layers.0.self_attn.k_proj.weight",
        ),
        ("tie_word_embeddings", json!(false), "lm_head.weight"),
    ] {
        let dir = copy("tied");
        edit_config(dir.path(), key, value);
        refused(dir.path(), &[tensor]);
    }
}

#[test]
fn config_errors_name_file_and_key() {
    let dir = copy("tied");
    edit_config(dir.path(), "attention_bias", json!(true));
    refused(dir.path(), &["config.json", "`attention_bias`"]);
    std::fs::write(
        dir.path().join("config.json"),
        "{\"model_type\": \"llama\",}",
    )
    .unwrap();
    refused(dir.path(), &["config.json", "line 1"]);
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let dir = copy("tied");
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    refused(dir.path(), &["tokenizer.json"]);

    let dir = copy("tied");
    std::fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    edit_config(dir.path(), "eos_token_id", json!(9999));
    refused(dir.path(), &["tokenizer.json", "no end token"]);

    // Embeddings for fewer tokens than the tokenizer has.
    let big = load_folder("tied");
    let mut config = big.config.clone();
    config.vocab_size = 299;
    let small = config.init(&cpu());
    let error = syncabel_model::Checkpoint::new(config, small, big.tokenizer).unwrap_err();
    assert!(error.to_string().contains("300 tokens"), "{error}");
}

#[test]
fn truncated_safetensors_are_refused_at_every_length() {
    let dir = copy("tied");
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let cuts = [0, 1, 7, 8, 9, 100, 2000, bytes.len() / 2, bytes.len() - 1];
    for cut in cuts {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        refused(dir.path(), &["model.safetensors"]);
    }
    // A header that claims to be longer than any memory.
    let mut lie = bytes.clone();
    lie[..8].fill(0xFF);
    std::fs::write(&path, lie).unwrap();
    refused(dir.path(), &["model.safetensors"]);
}

#[test]
fn indices_that_point_elsewhere_are_refused() {
    let dir = copy("tied");
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    let write = |shard: &str| {
        let text = json!({ "weight_map": { "model.embed_tokens.weight": shard } });
        std::fs::write(&index, text.to_string()).unwrap();
    };
    write("../../secret.safetensors");
    refused(dir.path(), &["no plain file name"]);
    write("absent.safetensors");
    refused(dir.path(), &["absent.safetensors"]);
    std::fs::copy(
        fixture("tied/model.safetensors"),
        dir.path().join("present.safetensors"),
    )
    .unwrap();
    write("present.safetensors");
    refused(
        dir.path(),
        &["index.json", "model.layers.0.input_layernorm.weight"],
    );
    for text in ["{}", r#"{"metadata": {}, "weight_map": {}}"#] {
        std::fs::write(&index, text).unwrap();
        refused(dir.path(), &["index.json", "weight_map"]);
    }
}

#[test]
fn the_cpu_engine_takes_no_room_for_layers_that_are_only_claimed() {
    let dir = copy("tied");
    edit_config(dir.path(), "num_hidden_layers", json!(1 << 30));
    let source = ModelSource::Folder(dir.path().to_owned());
    let error = load_cpu(&source, Precision::F32).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("model.layers.2.self_attn.q_proj.weight"),
        "{message}"
    );
}

#[test]
fn gguf_files_without_a_pre_tokenizer_are_refused() {
    let mut bytes = std::fs::read(fixture("tied.gguf")).unwrap();
    let key = b"tokenizer.ggml.pre";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
    bytes[at + key.len() - 1] = b'x';
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = load(&ModelSource::Gguf(path), &cpu()).unwrap_err();
    let message = error.to_string();
    for part in ["old.gguf", "`tokenizer.ggml.pre`", "llama.cpp"] {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

#[test]
fn truncated_gguf_files_are_refused_at_every_length() {
    let bytes = std::fs::read(fixture("tied.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    // Every length within the header is too slow to load 57,000 times: every 97th, and the ends.
    let cuts = (0..bytes.len()).step_by(97).chain([bytes.len() - 1]);
    for cut in cuts {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = load(&ModelSource::Gguf(path.clone()), &cpu()).unwrap_err();
        assert!(error.to_string().contains("cut.gguf"), "{cut}: {error}");
    }
}

#[test]
fn flipped_header_bytes_never_panic() {
    let bytes = std::fs::read(fixture("tied.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flipped.gguf");
    for at in (4..bytes.len().min(12_000)).step_by(61) {
        for value in [0, 0xFF] {
            let mut broken = bytes.clone();
            broken[at] = value;
            std::fs::write(&path, &broken).unwrap();
            let _ = load(&ModelSource::Gguf(path.clone()), &cpu());
        }
    }
}
