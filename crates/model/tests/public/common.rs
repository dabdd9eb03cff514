//! Helpers that several test files share.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use syncabel_model::{Checkpoint, Llama, LlamaConfig, ModelSource, Rope, device, load};

/// A file or folder under `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The CPU device of this build.
pub(crate) fn cpu() -> Device {
    let name = if cfg!(feature = "flex") {
        "flex"
    } else {
        "tch"
    };
    device(name).unwrap()
}

pub(crate) fn load_folder(name: &str) -> Checkpoint {
    load(&ModelSource::Folder(fixture(name)), &cpu()).unwrap()
}

/// The tensors of a fixture by name.
pub(crate) struct Expected(Vec<u8>);

impl Expected {
    pub(crate) fn open(path: &str) -> Self {
        Expected(std::fs::read(fixture(path)).unwrap())
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        let (cells, _) = data.as_chunks::<4>();
        cells.iter().map(|&c| f32::from_le_bytes(c)).collect()
    }

    /// Rows of token ids.
    pub(crate) fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        let (cells, _) = view.data().as_chunks::<4>();
        let ids: Vec<u32> = cells.iter().map(|&c| u32::from_le_bytes(c)).collect();
        ids.chunks(view.shape()[1]).map(<[u32]>::to_vec).collect()
    }
}

pub(crate) fn ids(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let shape = [rows.len(), rows[0].len()];
    let flat: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(flat, shape), device)
}

/// Logits of every position of rows of one length, without a cache.
pub(crate) fn full_logits(model: &Llama, config: &LlamaConfig, rows: &[Vec<u32>]) -> Vec<f32> {
    let device = model.device();
    let time = rows[0].len();
    let hidden = model.hidden(ids(rows, &device), &Rope::new(config, time, &device), None);
    let width = hidden.dims()[2];
    values(model.logits(hidden.reshape([rows.len() * time, width])))
}

/// Logits after the last token of one row, without a cache.
pub(crate) fn last_logits(model: &Llama, config: &LlamaConfig, row: &[u32]) -> Vec<f32> {
    let all = full_logits(model, config, &[row.to_vec()]);
    all[all.len() - config.vocab_size..].to_vec()
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|v| v.is_finite()));
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[track_caller]
pub(crate) fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    let difference = largest_difference(a, b);
    assert!(difference <= tolerance, "{what}: {difference:e}");
}
