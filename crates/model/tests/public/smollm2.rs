//! The real SmolLM2-135M-Instruct continues prompts as transformers does.
//!
//! The model is looked for under the environment variable `SYNCABEL_SMOLLM2` (path of the GGUF
//! file) and in `runs/models/smollm2/`, where `scripts/smollm2.sh` puts it.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::*;
use syncabel_model::{Checkpoint, ModelSource, Session, load};

const PLACE: &str = "runs/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

#[derive(serde::Deserialize)]
struct Row {
    prompt: String,
    prompt_ids: Vec<u32>,
    new_ids: Vec<u32>,
}

fn model_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SYNCABEL_SMOLLM2") {
        return Some(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Some(root.join(PLACE)).filter(|path| path.is_file())
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(fixture("smollm2_greedy.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Decodes all prompts as one batch, which tests padding on real weights too.
fn continuations(checkpoint: &Checkpoint, prompts: &[Vec<u32>], steps: usize) -> Vec<Vec<u32>> {
    let vocab = checkpoint.config.vocab_size;
    let mut session = Session::new(&checkpoint.model, &checkpoint.config, &cpu());
    let best = |logits: Vec<f32>| -> Vec<u32> {
        let rows = logits.chunks(vocab);
        let top = |row: &[f32]| {
            let ranked = row.iter().enumerate();
            ranked.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32
        };
        rows.map(top).collect()
    };
    let mut tokens = best(values(session.prefill(prompts, 1, steps).unwrap()));
    let mut answers: Vec<Vec<u32>> = tokens.iter().map(|&t| vec![t]).collect();
    let parents: Vec<u32> = (0..prompts.len() as u32).collect();
    for _ in 1..steps {
        tokens = best(values(session.step(&tokens, &parents).unwrap()));
        for (answer, &token) in answers.iter_mut().zip(&tokens) {
            answer.push(token);
        }
    }
    answers
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    let Some(path) = model_file() else {
        // not `eprintln!`: the test harness would swallow it in a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: SmolLM2 is not here; run scripts/smollm2.sh or set SYNCABEL_SMOLLM2 to its \
             GGUF file"
        );
        return;
    };
    let rows = rows();
    assert!(rows.len() >= 10);
    let checkpoint = load(&ModelSource::Gguf(path), &cpu()).unwrap();
    let prompts: Vec<Vec<u32>> = rows.iter().map(|row| row.prompt_ids.clone()).collect();
    for row in &rows {
        let ids = checkpoint.tokenizer.encode(&row.prompt).unwrap();
        assert_eq!(ids, row.prompt_ids, "{:?}", row.prompt);
    }
    let answers = continuations(&checkpoint, &prompts, rows[0].new_ids.len());
    for (row, answer) in rows.iter().zip(&answers) {
        let text = checkpoint.tokenizer.decode(answer);
        assert_eq!(answer, &row.new_ids, "{:?} gave {text:?}", row.prompt);
    }

    // The same from a folder: ours, and transformers' own where one is at hand.
    let dir = tempfile::tempdir().unwrap();
    checkpoint.save(dir.path()).unwrap();
    let digest = checkpoint.digest.clone();
    drop(checkpoint);
    let reloaded = load(&ModelSource::Folder(dir.path().to_owned()), &cpu()).unwrap();
    assert_eq!(reloaded.digest, digest);
    if let Some(folder) = std::env::var_os("SYNCABEL_SMOLLM2_HF") {
        let theirs = load(&ModelSource::Folder(folder.into()), &cpu()).unwrap();
        let steps = rows[0].new_ids.len();
        assert_eq!(continuations(&theirs, &prompts, steps), answers);
    }
}
