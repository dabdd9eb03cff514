//! Loading, saving and growing checkpoints.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::common::*;
use syncabel_model::{Checkpoint, ModelSource, SEP, load};

fn reload(dir: &Path) -> Checkpoint {
    load(&ModelSource::Folder(dir.to_owned()), &cpu()).unwrap()
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    for name in ["tied", "untied", "llama3", "linear"] {
        let original = load_folder(name);
        let dir = tempfile::tempdir().unwrap();
        original.save(dir.path()).unwrap();
        let again = reload(dir.path());
        assert_eq!(again.config, original.config);
        assert_eq!(again.digest, original.digest, "{name}");
        assert_eq!(again.tokenizer.digest(), original.tokenizer.digest());
        // Saving over a checkpoint works, and leaves nothing temporary behind.
        again.save(dir.path()).unwrap();
        let mut files: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let expected = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        assert_eq!(files, expected);
    }
}

#[test]
fn digests_tell_models_apart() {
    let tied = load_folder("tied");
    assert_eq!(tied.digest, load_folder("tied").digest);
    assert_ne!(tied.digest, load_folder("linear").digest);
    let gguf = load(&ModelSource::Gguf(fixture("tied.gguf")), &cpu()).unwrap();
    assert_ne!(
        tied.digest, gguf.digest,
        "its weights are rounded to float16"
    );
}

/// Copies a fixture folder without its weights, which the caller writes in another form.
fn without_weights(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

#[test]
fn shards_are_put_together() {
    let dir = without_weights("untied");
    let bytes = std::fs::read(fixture("untied/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut shards = [Vec::new(), Vec::new(), Vec::new()];
    let mut weight_map = serde_json::Map::new();
    for (i, (name, view)) in tensors.tensors().into_iter().enumerate() {
        let file = format!("model-0000{}-of-00003.safetensors", i % 3 + 1);
        weight_map.insert(name.clone(), file.into());
        shards[i % 3].push((name, view));
    }
    for (i, shard) in shards.into_iter().enumerate() {
        let path = dir
            .path()
            .join(format!("model-0000{}-of-00003.safetensors", i + 1));
        std::fs::write(path, safetensors::serialize(shard, None).unwrap()).unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    let path = dir.path().join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
    assert_eq!(reload(dir.path()).digest, load_folder("untied").digest);
}

#[test]
fn half_precision_weights_are_widened() {
    let bytes = std::fs::read(fixture("tied/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let reference = Expected::open("tied/expected.safetensors");
    let rows = reference.ids("ids");
    let reference = reference.floats("logits");
    let scale = reference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    type Narrow = (Dtype, fn(f32) -> [u8; 2], f32);
    let narrow: [Narrow; 2] = [
        (Dtype::F16, |v| half::f16::from_f32(v).to_le_bytes(), 5e-3),
        (Dtype::BF16, |v| half::bf16::from_f32(v).to_le_bytes(), 5e-2),
    ];
    for (dtype, convert, tolerance) in narrow {
        let dir = without_weights("tied");
        let converted: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let (cells, _) = view.data().as_chunks::<4>();
                let data = cells.iter().flat_map(|&c| convert(f32::from_le_bytes(c)));
                (name, view.shape().to_vec(), data.collect())
            })
            .collect();
        let views = converted.iter().map(|(name, shape, data)| {
            let view = TensorView::new(dtype, shape.clone(), data).unwrap();
            (name.clone(), view)
        });
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
        let checkpoint = reload(dir.path());
        let logits = full_logits(&checkpoint.model, &checkpoint.config, &rows);
        let difference = largest_difference(&logits, &reference);
        assert!(
            difference > 0.0 && difference < tolerance * scale,
            "{dtype:?}: {difference}"
        );
    }
}

#[test]
fn a_separator_is_added_once_and_starts_as_the_mean() {
    for name in ["tied", "untied"] {
        let before = load_folder(name);
        let (rows, tokens) = (before.config.vocab_size, before.tokenizer.vocab_size());
        assert_eq!(before.tokenizer.sep_id(), None);
        let old = full_logits(&before.model, &before.config, &[vec![3, 4, 5]]);
        let digest = before.digest.clone();

        let (checkpoint, sep) = before.add_sep().unwrap();
        assert_eq!(
            sep as usize, tokens,
            "the first id that the tokenizer did not use"
        );
        assert_eq!(
            checkpoint.config.vocab_size, rows,
            "the file has spare rows: none added"
        );
        assert_ne!(checkpoint.digest, digest);
        let text = format!("pain{SEP}fever");
        let ids = checkpoint.tokenizer.encode(&text).unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == sep).count(), 1);
        assert_eq!(checkpoint.tokenizer.decode(&ids), text);

        let (again, same) = checkpoint.add_sep().unwrap();
        assert_eq!((same, again.config.vocab_size), (sep, rows));

        let grown = again.model.resize_vocabulary(rows + 2);
        assert_eq!(grown.vocab_size(), rows + 2);
        let config = syncabel_model::LlamaConfig {
            vocab_size: rows + 2,
            ..again.config.clone()
        };
        let new = full_logits(&grown, &config, &[vec![3, 4, 5]]);
        for (old, new) in old.chunks(rows).zip(new.chunks(rows + 2)) {
            assert_close(old, &new[..rows], 1e-5, "old tokens keep their scores");
            let mean = old.iter().sum::<f32>() / rows as f32;
            assert!((new[rows] - mean).abs() < 1e-3, "{} {mean}", new[rows]);
            assert_eq!(new[rows], new[rows + 1]);
        }
    }
}

#[test]
fn a_grown_checkpoint_survives_saving() {
    let checkpoint = load_folder("untied");
    let mut config = checkpoint.config;
    let model = checkpoint.model.resize_vocabulary(310);
    config.vocab_size = 310;
    let mut tokenizer = checkpoint.tokenizer;
    let sep = tokenizer.add_sep().unwrap();
    let grown = Checkpoint::new(config, model, tokenizer).unwrap();
    let dir = tempfile::tempdir().unwrap();
    grown.save(dir.path()).unwrap();
    let again = reload(dir.path());
    assert_eq!(again.digest, grown.digest);
    assert_eq!(again.tokenizer.sep_id(), Some(sep));
}

#[test]
fn sources_are_told_apart() {
    let existing = fixture("tied");
    let existing = existing.to_str().unwrap();
    let hub = |repo: &str, revision: Option<&str>| ModelSource::Hub {
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
    };
    for (text, expected) in [
        (existing, ModelSource::Folder(existing.into())),
        ("a/b.gguf", ModelSource::Gguf("a/b.gguf".into())),
        ("org/name", hub("org/name", None)),
        ("org/name@v1", hub("org/name", Some("v1"))),
        ("hub:gpt2", hub("gpt2", None)),
        ("./model", ModelSource::Folder("./model".into())),
        ("runs/models/x", ModelSource::Folder("runs/models/x".into())),
    ] {
        assert_eq!(ModelSource::parse(text), expected, "{text}");
    }
    assert_eq!(hub("org/name", Some("v1")).to_string(), "hub:org/name@v1");
}
