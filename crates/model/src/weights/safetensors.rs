//! Reading and writing weights as safetensors, one file or several with an index.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::{TensorSource, forget, map_file, tensors};
use crate::{Error, Llama};

/// File name of weights that are in one piece.
pub(crate) const SINGLE: &str = "model.safetensors";
/// File name of the index of weights that are in several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const SUPPORTED: &str = "F32, F16 and BF16";

/// The weights of a folder, mapped into memory.
pub(crate) struct Folder {
    files: Vec<MappedFile>,
    /// Index into `files` for every tensor of a sharded checkpoint, empty for a single file.
    shard_of: BTreeMap<String, usize>,
    /// What to name when a tensor is missing.
    listing: PathBuf,
}

struct MappedFile {
    path: PathBuf,
    map: Mmap,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Folder {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let single = dir.join(SINGLE);
        if single.is_file() {
            return Ok(Folder {
                files: vec![MappedFile::open(&single)?],
                shard_of: BTreeMap::new(),
                listing: single,
            });
        }
        let index = dir.join(INDEX);
        if !index.is_file() {
            return Err(Error::Missing {
                path: single,
                hint: format!(
                    "a model folder has {SINGLE} or {INDEX} (pickled .bin weights are not read)"
                ),
            });
        }
        Self::open_shards(dir, index)
    }

    fn open_shards(dir: &Path, index: PathBuf) -> Result<Self, Error> {
        let names = shard_names(&index)?;
        let mut files = Vec::new();
        let mut number_of = BTreeMap::new();
        let mut shard_of = BTreeMap::new();
        for (tensor, shard) in names {
            let number = match number_of.get(&shard) {
                Some(&number) => number,
                None => {
                    files.push(MappedFile::open(&dir.join(&shard))?);
                    number_of.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            shard_of.insert(tensor, number);
        }
        Ok(Folder {
            files,
            shard_of,
            listing: index,
        })
    }

    fn file_of(&self, name: &str) -> Result<&MappedFile, Error> {
        if self.shard_of.is_empty() {
            return Ok(&self.files[0]);
        }
        match self.shard_of.get(name) {
            Some(&number) => Ok(&self.files[number]),
            None => Err(Error::TensorMissing {
                path: self.listing.clone(),
                tensor: name.to_owned(),
            }),
        }
    }
}

/// The shard files that an index names, by tensor. A name that leaves the folder is an error, and so is an index
/// without any name.
pub(crate) fn shard_names(index: &Path) -> Result<BTreeMap<String, String>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| Error::Read {
        path: index.to_owned(),
        source,
    })?;
    let parsed: Index =
        serde_json::from_str(&text).map_err(|e| Error::malformed(index, e.to_string()))?;
    if parsed.weight_map.is_empty() {
        return Err(Error::malformed(
            index,
            format!("`weight_map` names no tensor: export the model again, or use its {SINGLE}"),
        ));
    }
    for (tensor, shard) in &parsed.weight_map {
        if Path::new(shard).file_name() != Some(shard.as_ref()) {
            return Err(Error::malformed(
                index,
                format!(
                    "tensor `{tensor}` is said to be in `{shard}`, which is no plain file name"
                ),
            ));
        }
    }
    Ok(parsed.weight_map)
}

impl MappedFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let map = map_file(path)?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
            let size = map.len();
            Error::malformed(path, format!("{e} (file of {size} bytes; is it complete?)"))
        })?;
        // The reader has checked that the ranges tile the rest of the file.
        let start = size_of::<u64>() + header;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (first, end) = info.data_offsets;
                let entry = Entry {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    bytes: start + first..start + end,
                };
                (name, entry)
            })
            .collect();
        Ok(MappedFile {
            path: path.to_owned(),
            map,
            tensors,
        })
    }
}

impl TensorSource for Folder {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let file = self.file_of(name)?;
        let entry = file.tensors.get(name).ok_or_else(|| Error::TensorMissing {
            path: file.path.clone(),
            tensor: name.to_owned(),
        })?;
        if entry.shape != shape {
            return Err(Error::TensorShape {
                path: file.path.clone(),
                tensor: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let bytes = &file.map[entry.bytes.clone()];
        let values = decode(entry.dtype, bytes).ok_or_else(|| Error::TensorType {
            path: file.path.clone(),
            tensor: name.to_owned(),
            found: format!("{:?}", entry.dtype),
            supported: SUPPORTED,
        });
        forget(&file.map, entry.bytes.clone());
        values
    }

    fn contains(&self, name: &str) -> bool {
        self.file_of(name)
            .is_ok_and(|file| file.tensors.contains_key(name))
    }
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn convert<const N: usize>(bytes: &[u8], f: fn([u8; N]) -> f32) -> Vec<f32> {
        let (cells, _) = bytes.as_chunks::<N>();
        cells
            .par_iter()
            .with_min_len(1 << 14)
            .map(|&c| f(c))
            .collect()
    }
    match dtype {
        Dtype::F32 => Some(convert::<4>(bytes, f32::from_le_bytes)),
        Dtype::F16 => Some(convert::<2>(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(convert::<2>(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}

/// Writes the network in float32, tensor by tensor, so that no second copy of it is made.
pub(crate) fn write(model: &Llama, out: &mut dyn Write) -> Result<(), WriteError> {
    let tensors = tensors(model);
    let mut header = serde_json::Map::new();
    // transformers refuses a file that does not say which framework laid it out.
    header.insert(
        "__metadata__".to_owned(),
        serde_json::json!({ "format": "pt" }),
    );
    let mut end = 0usize;
    for (spec, _) in &tensors {
        let start = end;
        end += size_of::<f32>() * spec.shape.iter().product::<usize>();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": spec.shape, "data_offsets": [start, end],
        });
        header.insert(spec.name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).expect("a JSON map always serialises");
    // Readers map the file: the data must start at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, parameter) in &tensors {
        let values = to_little_endian(parameter.file_values()?);
        out.write_all(bytemuck::cast_slice(&values))?;
    }
    Ok(())
}

/// Either the device failed to hand out a tensor or the file failed to take it.
#[derive(Debug)]
pub(crate) enum WriteError {
    Model(Error),
    File(std::io::Error),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        WriteError::Model(error)
    }
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        WriteError::File(error)
    }
}

fn to_little_endian(mut values: Vec<f32>) -> Vec<f32> {
    if cfg!(target_endian = "big") {
        for value in &mut values {
            *value = f32::from_bits(value.to_bits().to_le());
        }
    }
    values
}
