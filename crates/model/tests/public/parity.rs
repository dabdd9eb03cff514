//! Parity with Hugging Face transformers on small random models (`fixtures/make_fixtures.py`).

use crate::common::*;
use syncabel_model::{ModelSource, Session, TextTokenizer, load};

/// Largest difference of a logit that float32 rounding may make.
const TOLERANCE: f32 = 1e-4;

fn logits_agree(name: &str) {
    let checkpoint = load_folder(name);
    let (model, config) = (&checkpoint.model, &checkpoint.config);
    let expected = Expected::open(&format!("{name}/expected.safetensors"));
    let logits = full_logits(model, config, &expected.ids("ids"));
    assert_close(&logits, &expected.floats("logits"), TOLERANCE, name);
    let far = last_logits(model, config, &expected.ids("far_ids")[0]);
    assert_close(&far, &expected.floats("far_last_logits"), TOLERANCE, "far");
}

#[test]
fn tied_head_and_grouped_queries() {
    logits_agree("tied");
}

#[test]
fn untied_head_and_one_key_head() {
    logits_agree("untied");
}

#[test]
fn llama3_rotary_scaling() {
    logits_agree("llama3");
}

#[test]
fn linear_rotary_scaling_and_a_key_head_per_query_head() {
    logits_agree("linear");
}

#[test]
fn sessions_agree_too() {
    for name in ["tied", "untied", "llama3", "linear"] {
        let checkpoint = load_folder(name);
        let expected = Expected::open(&format!("{name}/expected.safetensors"));
        let far = expected.ids("far_ids").remove(0);
        let mut session = Session::new(&checkpoint.model, &checkpoint.config, &cpu());
        let logits = session.prefill(&[far], 1, 0).unwrap();
        let expected = expected.floats("far_last_logits");
        assert_close(&values(logits), &expected, TOLERANCE, name);
    }
}

/// The GGUF file has the weights of `tied`, matrices rounded to float16.
#[test]
fn gguf_gives_the_model_it_was_made_from() {
    let checkpoint = load(&ModelSource::Gguf(fixture("tied.gguf")), &cpu()).unwrap();
    let folder = load_folder("tied");
    let mut config = checkpoint.config.clone();
    // GGUF has float32 metadata, so 1e-5 comes back as its neighbour.
    assert!((config.rms_norm_eps - 1e-5).abs() < 1e-12);
    config.rms_norm_eps = folder.config.rms_norm_eps;
    assert_eq!(config, folder.config);
    let expected = Expected::open("tied/expected.safetensors");
    let rows = expected.ids("ids");
    let logits = full_logits(&checkpoint.model, &checkpoint.config, &rows);
    let reference = expected.floats("logits");
    let difference = largest_difference(&logits, &reference);
    let scale = reference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(difference < 5e-3 * scale, "{difference} of {scale}");
}

#[test]
fn tokenizers_of_both_sources_encode_as_the_reference() {
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
        ids: Vec<u32>,
    }
    let text = std::fs::read_to_string(fixture("encodings.json")).unwrap();
    let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
    let json = TextTokenizer::from_file(&fixture("tied/tokenizer.json")).unwrap();
    let gguf = load(&ModelSource::Gguf(fixture("tied.gguf")), &cpu())
        .unwrap()
        .tokenizer;
    for tokenizer in [json, gguf] {
        assert_eq!((tokenizer.eos_id(), tokenizer.pad_id()), (2, 0));
        assert_eq!(tokenizer.vocab_size(), 300);
        for Row { text, ids } in &rows {
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
            assert_eq!(&tokenizer.decode(ids), text);
        }
    }
}
