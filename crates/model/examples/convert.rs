//! Turns any model that this crate reads into a folder with `config.json`, `model.safetensors` in
//! float32 and `tokenizer.json`, readable by Hugging Face transformers.
//!
//! ```text
//! cargo run --release -p syncabel-model --example convert -- MODEL DIR
//! ```
//! MODEL is a folder, a GGUF file or a Hub repository `organisation/name[@revision]`.

use std::path::Path;

use syncabel_model::{Error, ModelSource, device, load};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, dir] = &arguments[..] else {
        eprintln!("usage: convert MODEL DIR");
        std::process::exit(2);
    };
    let checkpoint = load(&ModelSource::parse(model), &device("auto")?)?;
    checkpoint.save(Path::new(dir))?;
    println!(
        "{} parameters, digest {}",
        checkpoint.config.parameter_count(),
        checkpoint.digest
    );
    Ok(())
}
