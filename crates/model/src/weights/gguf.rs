//! Llama models in GGUF files: one file with metadata, tokenizer and (mostly quantised) tensors.
//!
//! ```text
//! magic "GGUF" | version u32 | tensor count u64 | metadata count u64
//! metadata: key string, type u32, value
//! tensors:  name string, dimension count u32, dimensions u64 (innermost first), type u32, offset u64
//! padding to the alignment | tensor data, each at its offset
//! ```
//! Strings are a u64 length and bytes; everything is little-endian. Every count in the header is
//! checked against the bytes that are left before anything is allocated for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::quantized::{Encoding, SUPPORTED};
use super::{EMBEDDING, HEAD, TensorSource, forget, map_file};
use crate::config::RopeScaling;
use crate::{Error, LlamaConfig, TextTokenizer};

/// Name of the divisors of rotary frequencies in llama.cpp's Llama 3.1 files.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// An open GGUF file.
pub(crate) struct GgufFile {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A metadata value. Whole numbers of all widths are one kind here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

#[derive(Debug)]
struct TensorInfo {
    /// Outermost first, as everywhere else in this crate.
    shape: Vec<usize>,
    /// None for a type that we do not read; only an error if the tensor is asked for.
    encoding: Option<Encoding>,
    ggml_type: u32,
    /// Relative to the start of the file. Checked to lie inside it where the encoding is known.
    start: usize,
    bytes: usize,
}

impl GgufFile {
    /// Maps a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let map = map_file(path)?;
        let (metadata, tensors) = parse(&map).map_err(|message| Error::malformed(path, message))?;
        let file = GgufFile {
            path: path.to_owned(),
            map,
            metadata,
            tensors,
        };
        match file.text("general.architecture")? {
            "llama" => Ok(file),
            other => Err(Error::Architecture {
                path: file.path.clone(),
                found: other.to_owned(),
            }),
        }
    }

    /// The model's shape from the metadata.
    pub(crate) fn config(&self) -> Result<LlamaConfig, Error> {
        let hidden = self.size("llama.embedding_length")?;
        let heads = self.size("llama.attention.head_count")?;
        let vocab_size = match self.tensors.get("token_embd.weight").map(|t| &t.shape[..]) {
            Some(&[rows, _]) => rows,
            _ => return Err(self.missing("token_embd.weight")),
        };
        let per_head = self.size_or("llama.attention.key_length", hidden / heads.max(1))?;
        let dimension = self.size_or("llama.rope.dimension_count", per_head)?;
        let mut config = LlamaConfig {
            max_position_embeddings: self.size("llama.context_length")?,
            num_key_value_heads: self.size_or("llama.attention.head_count_kv", heads)?,
            head_dim: self.size_or("llama.attention.key_length", dimension)?,
            rms_norm_eps: self.number_or("llama.attention.layer_norm_rms_epsilon", 1e-5)?,
            rope_theta: self.number_or("llama.rope.freq_base", 10_000.0)?,
            rope_scaling: None,
            tie_word_embeddings: !self.tensors.contains_key("output.weight"),
            bos_token_id: self.token("tokenizer.ggml.bos_token_id")?,
            eos_token_id: self.token("tokenizer.ggml.eos_token_id")?,
            pad_token_id: self.token("tokenizer.ggml.padding_token_id")?,
            ..LlamaConfig::new(
                vocab_size,
                hidden,
                self.size("llama.feed_forward_length")?,
                self.size("llama.block_count")?,
                heads,
                heads,
            )
        };
        config.rope_scaling = self.scaling(&config)?;
        if dimension != config.head_dim {
            return Err(self.wrong(
                "llama.rope.dimension_count",
                "rotary embeddings over a part of the head are not supported",
            ));
        }
        if self.metadata.contains_key("llama.expert_count") && self.size("llama.expert_count")? > 0
        {
            return Err(self.wrong(
                "llama.expert_count",
                "mixture-of-experts models are not supported",
            ));
        }
        // A file of biased attention would load without its biases: refuse it.
        if let Some(name) = self.tensors.keys().find(|name| name.ends_with(".bias")) {
            return Err(Error::malformed(
                &self.path,
                format!("tensor `{name}`: biases are not supported"),
            ));
        }
        // float32 metadata reads 9.999999747378752e-06 where 1e-05 was meant; transformers keeps
        // the former, so do we: parity before beauty.
        config.initializer_range = 0.02;
        config.validate().map_err(|e| e.in_file(&self.path))?;
        Ok(config)
    }

    /// The tokenizer from the metadata.
    pub(crate) fn tokenizer(&self) -> Result<TextTokenizer, Error> {
        crate::gguf_tokenizer::build(self).map_err(|e| e.in_file(&self.path))
    }

    /// The tensors under Hugging Face's names.
    pub(crate) fn weights<'a>(&'a self, config: &'a LlamaConfig) -> Weights<'a> {
        Weights { file: self, config }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, Error> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Ok(text),
            Some(_) => Err(self.wrong(key, "is no text")),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, Error> {
        match self.metadata.get(key) {
            Some(Value::List(list)) => list
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Ok(text.as_str()),
                    _ => Err(self.wrong(key, "is no list of texts")),
                })
                .collect(),
            Some(_) => Err(self.wrong(key, "is no list")),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    /// A token id; None where the key is missing.
    pub(crate) fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        if !self.metadata.contains_key(key) {
            return Ok(None);
        }
        let id = self.size(key)?;
        u32::try_from(id)
            .map(Some)
            .map_err(|_| self.wrong(key, "is no token id"))
    }

    pub(crate) fn wrong(&self, key: &str, message: &str) -> Error {
        Error::malformed(&self.path, format!("metadata `{key}` {message}"))
    }

    fn size(&self, key: &str) -> Result<usize, Error> {
        let value = self
            .metadata
            .get(key)
            .ok_or_else(|| self.wrong(key, "is missing"))?;
        value
            .as_size()
            .ok_or_else(|| self.wrong(key, "is no whole number"))
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize, Error> {
        match self.metadata.contains_key(key) {
            true => self.size(key),
            false => Ok(default),
        }
    }

    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, Error> {
        match self.metadata.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "is neither true nor false")),
        }
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, Error> {
        match self.metadata.get(key) {
            None => Ok(default),
            Some(Value::Float(value)) => Ok(*value),
            Some(other) => other
                .as_size()
                .map(|n| n as f64)
                .ok_or_else(|| self.wrong(key, "is no number")),
        }
    }

    fn scaling(&self, config: &LlamaConfig) -> Result<Option<RopeScaling>, Error> {
        if self.tensors.contains_key(ROPE_FACTORS) {
            return self.scaling_from_factors(config).map(Some);
        }
        match self.metadata.get("llama.rope.scaling.type") {
            None => {
                let factor = self.number_or("llama.rope.scale_linear", 1.0)?;
                Ok((factor != 1.0).then_some(RopeScaling::Linear { factor }))
            }
            Some(Value::Text(kind)) if kind == "none" => Ok(None),
            Some(Value::Text(kind)) if kind == "linear" => Ok(Some(RopeScaling::Linear {
                factor: self.number_or("llama.rope.scaling.factor", 1.0)?,
            })),
            Some(_) => Err(self.wrong(
                "llama.rope.scaling.type",
                "is not supported; `none` and `linear` are",
            )),
        }
    }

    /// llama.cpp stores Llama 3.1's rule as a tensor of divisors, one per frequency. Every released
    /// model uses the same rule but for `factor`, which is the largest divisor: rebuild the rule and
    /// see whether it gives the tensor.
    fn scaling_from_factors(&self, config: &LlamaConfig) -> Result<RopeScaling, Error> {
        let factors = self.values(ROPE_FACTORS, &[config.head_dim / 2])?;
        let rule = RopeScaling::Llama3 {
            factor: factors.iter().copied().fold(1.0, f32::max).into(),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let expected = crate::rope::divisors(config, &rule);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs();
        if factors.iter().zip(&expected).all(close) {
            Ok(rule)
        } else {
            Err(Error::malformed(
                &self.path,
                format!(
                    "tensor `{ROPE_FACTORS}` is no rotary scaling of Llama 3.1's rule: \
                     use the model's safetensors folder"
                ),
            ))
        }
    }

    fn missing(&self, tensor: &str) -> Error {
        Error::TensorMissing {
            path: self.path.clone(),
            tensor: tensor.to_owned(),
        }
    }

    /// The values of a tensor under its GGUF name.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        if info.shape != shape {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        match info.encoding {
            Some(encoding) => {
                let values = encoding.decode(&self.map[info.start..][..info.bytes]);
                forget(&self.map, info.start..info.start + info.bytes);
                Ok(values)
            }
            None => Err(Error::TensorType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: format!("number {}", info.ggml_type),
                supported: SUPPORTED,
            }),
        }
    }
}

impl Value {
    pub(crate) fn as_size(&self) -> Option<usize> {
        match *self {
            Value::Unsigned(n) => usize::try_from(n).ok(),
            Value::Signed(n) => usize::try_from(n).ok(),
            _ => None,
        }
    }
}

/// A GGUF file seen as a Hugging Face checkpoint.
pub(crate) struct Weights<'a> {
    file: &'a GgufFile,
    config: &'a LlamaConfig,
}

impl TensorSource for Weights<'_> {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let gguf = gguf_name(name);
        let values = self.file.values(&gguf, shape)?;
        // llama.cpp turns neighbouring pairs and its converter reorders the rows of query and key
        // so that both orders agree; undo it.
        let heads = if name.ends_with("q_proj.weight") {
            self.config.num_attention_heads
        } else if name.ends_with("k_proj.weight") {
            self.config.num_key_value_heads
        } else {
            return Ok(values);
        };
        Ok(halves_from_pairs(&values, heads, shape[1]))
    }

    fn contains(&self, name: &str) -> bool {
        self.file.tensors.contains_key(&gguf_name(name))
    }
}

/// GGUF's name for a tensor of a Hugging Face checkpoint.
fn gguf_name(name: &str) -> String {
    match name {
        EMBEDDING => return "token_embd.weight".to_owned(),
        HEAD => return "output.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").unwrap_or(name);
    let (layer, part) = rest.split_once('.').unwrap_or(("", rest));
    let part = match part {
        "input_layernorm.weight" => "attn_norm",
        "self_attn.q_proj.weight" => "attn_q",
        "self_attn.k_proj.weight" => "attn_k",
        "self_attn.v_proj.weight" => "attn_v",
        "self_attn.o_proj.weight" => "attn_output",
        "post_attention_layernorm.weight" => "ffn_norm",
        "mlp.gate_proj.weight" => "ffn_gate",
        "mlp.up_proj.weight" => "ffn_up",
        "mlp.down_proj.weight" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{part}.weight")
}

/// Reorders the rows of every head from pairs (0a 0b 1a 1b ...) to halves (0a 1a ... 0b 1b ...).
fn halves_from_pairs(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let half = values.len() / width / heads / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for side in 0..2 {
            for i in 0..half {
                let row = head * 2 * half + 2 * i + side;
                out.extend_from_slice(&values[row * width..][..width]);
            }
        }
    }
    out
}

type Parsed = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

/// Reads everything before the tensor data. The error is a message with a byte position.
fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err("no GGUF file: it does not start with `GGUF`".to_owned());
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err("a big-endian GGUF file, which is not supported".to_owned());
        }
        version => {
            return Err(format!(
                "GGUF version {version} is not supported, 2 and 3 are"
            ));
        }
    }
    let tensor_count = cursor.u64()?;
    let metadata_count = cursor.u64()?;
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor
            .value(kind, 0)
            .map_err(|e| format!("metadata `{key}`: {e}"))?;
        metadata.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = cursor.text()?;
        let info = cursor
            .tensor_info()
            .map_err(|e| format!("tensor `{name}`: {e}"))?;
        tensors.insert(name, info);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => match value.as_size() {
            Some(n) if n.is_power_of_two() && n <= 1 << 20 => n,
            _ => return Err("metadata `general.alignment` is no power of two".to_owned()),
        },
    };
    let data = cursor.at.next_multiple_of(alignment);
    for (name, info) in &mut tensors {
        let end = data
            .checked_add(info.start)
            .and_then(|start| start.checked_add(info.bytes));
        if end.is_none_or(|end| end > bytes.len()) {
            return Err(format!(
                "tensor `{name}` lies beyond the end of the file of {} bytes; is it complete?",
                bytes.len()
            ));
        }
        info.start += data;
    }
    Ok((metadata, tensors))
}

/// A position in a header.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Nesting of lists in metadata; real files have one level.
const MAX_DEPTH: usize = 4;

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        if count > rest.len() {
            return Err(format!(
                "the header wants {count} bytes at byte {}, the file has {} left; is it complete?",
                self.at,
                rest.len()
            ));
        }
        self.at += count;
        Ok(&rest[..count])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("took as many"))
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        let at = self.at;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(format!("text at byte {at} is not UTF-8")),
        }
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(self.array().map(u8::from_le_bytes)?.into()),
            1 => Value::Signed(self.array().map(i8::from_le_bytes)?.into()),
            2 => Value::Unsigned(self.array().map(u16::from_le_bytes)?.into()),
            3 => Value::Signed(self.array().map(i16::from_le_bytes)?.into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(self.array().map(i32::from_le_bytes)?.into()),
            6 => Value::Float(self.array().map(f32::from_le_bytes)?.into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => self.list(depth)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(self.array().map(i64::from_le_bytes)?),
            12 => Value::Float(self.array().map(f64::from_le_bytes)?),
            other => return Err(format!("type {other} at byte {} is unknown", self.at)),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        if depth == MAX_DEPTH {
            return Err(format!("lists nested deeper than {MAX_DEPTH}"));
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        // Every element takes at least a byte, so a count beyond the file is a lie.
        let left = self.bytes.len() - self.at;
        if count > left as u64 {
            return Err(format!("a list of {count} elements in {left} bytes"));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(self.value(kind, depth + 1)?);
        }
        Ok(Value::List(list))
    }

    fn tensor_info(&mut self) -> Result<TensorInfo, String> {
        let rank = self.u32()?;
        if rank == 0 || rank > 4 {
            return Err(format!("{rank} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| format!("a dimension of {size}"))?);
        }
        let innermost = shape[0];
        shape.reverse();
        let ggml_type = self.u32()?;
        let offset = self.u64()?;
        let start = usize::try_from(offset).map_err(|_| format!("an offset of {offset}"))?;
        let encoding = Encoding::from_ggml(ggml_type);
        let bytes = match encoding {
            None => 0,
            Some(encoding) => byte_count(&shape, innermost, encoding)?,
        };
        Ok(TensorInfo {
            shape,
            encoding,
            ggml_type,
            start,
            bytes,
        })
    }
}

fn byte_count(shape: &[usize], innermost: usize, encoding: Encoding) -> Result<usize, String> {
    if !innermost.is_multiple_of(encoding.block_values()) {
        return Err(format!(
            "rows of {innermost} values are not whole {encoding:?} blocks of {}",
            encoding.block_values()
        ));
    }
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .map(|values| values / encoding.block_values())
        .and_then(|blocks| blocks.checked_mul(encoding.block_bytes()))
        .ok_or_else(|| format!("shape {shape:?} is larger than any file"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file that has metadata and no tensor.
    pub(crate) fn file(entries: Vec<(&str, Value)>) -> GgufFile {
        let entries = entries.into_iter();
        GgufFile {
            path: "test.gguf".into(),
            map: memmap2::MmapMut::map_anon(1)
                .unwrap()
                .make_read_only()
                .unwrap(),
            metadata: entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            tensors: BTreeMap::new(),
        }
    }

    #[test]
    fn heads_may_have_another_width_than_their_share() {
        let shape = |more: &[(&'static str, u64)]| {
            let sizes = [
                ("llama.embedding_length", 32),
                ("llama.attention.head_count", 4),
                ("llama.context_length", 64),
                ("llama.feed_forward_length", 48),
                ("llama.block_count", 2),
            ];
            let sizes = sizes.iter().chain(more);
            let entries = sizes.map(|&(key, size)| (key, Value::Unsigned(size)));
            let mut file = file(entries.collect());
            let embedding = TensorInfo {
                shape: vec![10, 32],
                encoding: None,
                ggml_type: 0,
                start: 0,
                bytes: 0,
            };
            file.tensors
                .insert("token_embd.weight".to_owned(), embedding);
            file.config()
        };
        let (length, rotary) = ("llama.attention.key_length", "llama.rope.dimension_count");
        assert_eq!(shape(&[]).unwrap().head_dim, 8);
        assert_eq!(shape(&[(length, 16)]).unwrap().head_dim, 16);
        assert_eq!(shape(&[(length, 16), (rotary, 16)]).unwrap().head_dim, 16);
        let error = shape(&[(length, 16), (rotary, 8)]).unwrap_err().to_string();
        assert!(error.contains(rotary), "{error}");
    }

    /// Expected values are the `gguf` package's (`tests/fixtures/make_fixtures.py`).
    #[test]
    fn every_tensor_type_decodes_as_the_reference_does() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let file = GgufFile::open(&folder.join("types.gguf")).unwrap();
        let expected = std::fs::read(folder.join("types.expected.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
        assert_eq!(expected.len(), 10);
        for (name, view) in expected.tensors() {
            let values = file.values(&name, view.shape()).unwrap();
            let (cells, _) = view.data().as_chunks::<4>();
            for (i, (value, &cell)) in values.iter().zip(cells).enumerate() {
                let reference = f32::from_le_bytes(cell);
                assert_eq!(*value, reference, "{name} value {i}");
            }
            assert_eq!(values.len(), cells.len());
        }
    }

    #[test]
    fn rows_are_reordered_from_pairs_to_halves() {
        // One head of four rows, two columns: pairs (a0 b0 a1 b1) become halves (a0 a1 b0 b1).
        let values = [0., 0., 10., 10., 1., 1., 11., 11.];
        assert_eq!(
            halves_from_pairs(&values, 1, 2),
            [0., 0., 1., 1., 10., 10., 11., 11.]
        );
    }

    /// A header with one metadata entry and no tensor.
    fn header(kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(b"k");
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
        bytes
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let cases: [(u32, Vec<u8>, Value); 12] = [
            (0, vec![200], Value::Unsigned(200)),
            (1, vec![0xFF], Value::Signed(-1)),
            (2, 40_000u16.to_le_bytes().to_vec(), Value::Unsigned(40_000)),
            (3, (-2i16).to_le_bytes().to_vec(), Value::Signed(-2)),
            (4, 7u32.to_le_bytes().to_vec(), Value::Unsigned(7)),
            (5, (-7i32).to_le_bytes().to_vec(), Value::Signed(-7)),
            (6, 0.5f32.to_le_bytes().to_vec(), Value::Float(0.5)),
            (7, vec![1], Value::Bool(true)),
            (
                8,
                [&2u64.to_le_bytes()[..], b"hi"].concat(),
                Value::Text("hi".into()),
            ),
            (
                10,
                u64::MAX.to_le_bytes().to_vec(),
                Value::Unsigned(u64::MAX),
            ),
            (11, i64::MIN.to_le_bytes().to_vec(), Value::Signed(i64::MIN)),
            (12, 0.1f64.to_le_bytes().to_vec(), Value::Float(0.1)),
        ];
        for (kind, bytes, expected) in cases {
            let (metadata, _) = parse(&header(kind, &bytes)).unwrap();
            assert_eq!(metadata["k"], expected, "type {kind}");
        }
        let list = [&0u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[4, 5]].concat();
        let (metadata, _) = parse(&header(9, &list)).unwrap();
        let expected = Value::List(vec![Value::Unsigned(4), Value::Unsigned(5)]);
        assert_eq!(metadata["k"], expected);
    }

    #[test]
    fn lies_about_sizes_are_errors() {
        let huge = u64::MAX.to_le_bytes();
        let cases = [
            header(8, &huge),
            header(9, &[&0u32.to_le_bytes()[..], &huge].concat()),
            header(9, &[&9u32.to_le_bytes()[..], &3u64.to_le_bytes()].concat()),
            header(13, &[]),
            header(8, &[&2u64.to_le_bytes()[..], &[0xFF, 0xFE]].concat()),
            b"GGUF".to_vec(),
            b"nope".to_vec(),
            [&b"GGUF"[..], &3u32.to_be_bytes()].concat(),
            [&b"GGUF"[..], &1u32.to_le_bytes()].concat(),
        ];
        for bytes in cases {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
        // The claimed number of entries is never allocated for.
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(huge);
        bytes.extend(huge);
        assert!(parse(&bytes).unwrap_err().contains("is it complete?"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut value = Vec::new();
        for _ in 0..10 {
            value.extend(9u32.to_le_bytes());
            value.extend(1u64.to_le_bytes());
        }
        value.extend([0; 64]);
        assert!(parse(&header(9, &value)).unwrap_err().contains("nested"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let _ = parse(&bytes);
            let mut with_magic = b"GGUF\x03\0\0\0".to_vec();
            with_magic.extend(bytes);
            let _ = parse(&with_magic);
        }
    }
}
