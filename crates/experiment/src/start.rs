//! The model that training starts from.

use crate::config::{Experiment, ExperimentFile, ModelSourceConfig, ScratchConfig, resolve_path};
use crate::error::BadInput;
use crate::scratch;
use crate::stage::StageStore;
use anyhow::Result;
use burn::tensor::Device;
use serde_json::json;
use syncabel_corpus::marked::Example;
use syncabel_kb::Kb;
use syncabel_model::{Checkpoint, ModelSource};

/// Loads the model that the experiment names, with `<SEP>` in its vocabulary; makes it where it is to be made from
/// scratch.
///
/// # Errors
/// Bad input (a path, a file that is no model), or a failure to write.
pub fn start_model(
    file: &ExperimentFile,
    config: &Experiment,
    kb: &Kb,
    train: &[Example],
    store: &StageStore,
    device: &Device,
) -> Result<Checkpoint> {
    let source = match &config.model.source {
        ModelSourceConfig::Scratch(shape) => {
            from_scratch(shape, config.seed, kb, train, store, device)?
        }
        pretrained => pretrained_source(file, "model.source", pretrained)?,
    };
    Ok(syncabel_model::load(&source, device)?.add_sep()?.0)
}

/// Where the weights of a pretrained model are; `key` is where the file says so.
///
/// # Errors
/// Bad input: a path that does not exist, a model that is to be made from scratch.
pub fn pretrained_source(
    file: &ExperimentFile,
    key: &str,
    source: &ModelSourceConfig,
) -> Result<ModelSource> {
    let refuse = |message: String| {
        let message = format!("{}: key `{key}`: {message}", file.path.display());
        Err(BadInput(message).into())
    };
    let path = |name: &str, text: &str| {
        resolve_path(&file.path, file.folder(), &format!("{key}.{name}"), text)
    };
    let source = match source {
        ModelSourceConfig::Scratch(_) => {
            return refuse(
                "random weights are no use here; name a folder, a gguf file or a hub repository"
                    .into(),
            );
        }
        ModelSourceConfig::Folder(text) => ModelSource::Folder(path("folder", text)?),
        ModelSourceConfig::Gguf(text) => ModelSource::Gguf(path("gguf", text)?),
        ModelSourceConfig::Hub(text) => {
            let (repo, revision) = text
                .split_once('@')
                .map_or((text.as_str(), None), |(r, v)| (r, Some(v)));
            ModelSource::Hub {
                repo: repo.to_owned(),
                revision: revision.map(str::to_owned),
            }
        }
    };
    match &source {
        ModelSource::Folder(path) | ModelSource::Gguf(path) if !path.exists() => {
            refuse(format!("{} does not exist", path.display()))
        }
        _ => Ok(source),
    }
}

fn from_scratch(
    shape: &ScratchConfig,
    seed: u64,
    kb: &Kb,
    train: &[Example],
    store: &StageStore,
    device: &Device,
) -> Result<ModelSource> {
    let names = kb
        .groups()
        .flat_map(|(group, _)| kb.names(group))
        .map(|n| n.text);
    // a name in its place behind the verb starts with a blank, which is part of its first token
    let names: Vec<String> = names.map(|n| format!(" {n}")).collect();
    let prompts = train.iter().map(|e| e.prompt.as_str());
    let texts: Vec<&str> = names.iter().map(String::as_str).chain(prompts).collect();
    let text_digest = syncabel_kb::Digest::of_bytes(texts.join("\n").as_bytes());
    let inputs = json!({"shape": shape, "seed": seed, "text": text_digest.to_string(), "tool": env!("CARGO_PKG_VERSION")});
    let stage = store.run("base", inputs, |folder| {
        let mut tokenizer = scratch::tokenizer(texts.iter().copied(), shape.vocabulary)?;
        tokenizer.add_sep()?;
        let config = scratch::config(shape, &tokenizer)?;
        let model = config.init_seeded(seed, device);
        syncabel_model::save(&folder.join("model"), &config, &model, &tokenizer).map_err(Into::into)
    })?;
    Ok(ModelSource::Folder(stage.path.join("model")))
}
