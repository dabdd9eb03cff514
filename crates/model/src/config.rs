//! The shape of a Llama-family decoder, read from and written as Hugging Face's `config.json`.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Llama};

/// The shape of a Llama-family decoder.
///
/// Field names are those of Hugging Face's `config.json`. Reading one refuses what would change
/// the numbers without this crate knowing how (attention biases, other activations, unknown
/// rotary scalings) and ignores what would not.
///
/// ```
/// use syncabel_model::LlamaConfig;
///
/// let config = LlamaConfig::from_json(r#"{
///     "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64,
///     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2
/// }"#)?;
/// assert_eq!(config.head_dim, 8);
/// assert_eq!(config.parameter_count(), 39_072); // the head is not tied unless the file says so
/// # Ok::<(), syncabel_model::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct LlamaConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; each serves `num_attention_heads / num_key_value_heads`
    /// query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even, as rotary embeddings turn pairs.
    pub head_dim: usize,
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square before the root, for stability.
    pub rms_norm_eps: f64,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// How rotary wavelengths are stretched beyond the original context, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output head is the embedding matrix itself.
    pub tie_word_embeddings: bool,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// First token of a text, where the model has one.
    pub bos_token_id: Option<u32>,
    /// Token that ends an answer; the first where the file lists several.
    pub eos_token_id: Option<u32>,
    /// Token that fills a batch, where the model has one.
    pub pad_token_id: Option<u32>,
}

/// A stretching of rotary wavelengths.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Every position is divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3.1's rule: long wavelengths are stretched by `factor`, short ones left alone, those
    /// between interpolated.
    Llama3 {
        /// How far long wavelengths are stretched.
        factor: f64,
        /// Wavelengths beyond `original context / low_freq_factor` are stretched fully.
        low_freq_factor: f64,
        /// Wavelengths below `original context / high_freq_factor` are left alone.
        high_freq_factor: f64,
        /// Context length that the model was first trained with, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl LlamaConfig {
    /// A configuration with tied embeddings and the usual values for what is not named.
    #[must_use]
    pub fn new(
        vocab_size: usize,
        hidden_size: usize,
        intermediate_size: usize,
        num_hidden_layers: usize,
        num_attention_heads: usize,
        num_key_value_heads: usize,
    ) -> Self {
        LlamaConfig {
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim: hidden_size / num_attention_heads.max(1),
            vocab_size,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_id: None,
            pad_token_id: None,
        }
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key that is missing, ill-typed or asks for what this crate
    /// does not build.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let value: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| Error::config("(file)", e.to_string()))?;
        Self::try_from(value)
    }

    /// The text of a `config.json` that this crate and Hugging Face transformers read.
    #[must_use]
    pub fn to_json(&self) -> String {
        let map = Map::from(self.clone());
        let mut text = serde_json::to_string_pretty(&map).expect("a JSON map always serialises");
        text.push('\n');
        text
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the offending key.
    pub fn validate(&self) -> Result<(), Error> {
        for (key, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if size == 0 || size > MAX_SIZE {
                return Err(Error::config(
                    key,
                    format!("{size} is not in 1..={MAX_SIZE}"),
                ));
            }
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return Err(Error::config(
                "num_key_value_heads",
                format!(
                    "{} does not divide num_attention_heads {}",
                    self.num_key_value_heads, self.num_attention_heads
                ),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::config(
                "head_dim",
                format!("{} is odd, rotary embeddings turn pairs", self.head_dim),
            ));
        }
        for (key, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(key, format!("{value} is not positive")));
            }
        }
        if !(self.initializer_range.is_finite() && self.initializer_range >= 0.0) {
            return Err(Error::config("initializer_range", "is negative"));
        }
        self.rope_scaling
            .as_ref()
            .map_or(Ok(()), RopeScaling::validate)
    }

    /// Builds the decoder with freshly drawn weights, those of [`LlamaConfig::init_seeded`] with
    /// seed 0.
    ///
    /// # Panics
    /// If the configuration does not pass [`LlamaConfig::validate`].
    #[must_use]
    pub fn init(&self, device: &Device) -> Llama {
        self.init_seeded(0, device)
    }

    /// Builds the decoder with freshly drawn weights: matrices normal with deviation
    /// `initializer_range`, norms at one. A tensor depends on `seed` and its name alone, so that
    /// the same seed gives the same model on every backend, in every thread.
    ///
    /// # Panics
    /// If the configuration does not pass [`LlamaConfig::validate`].
    #[must_use]
    pub fn init_seeded(&self, seed: u64, device: &Device) -> Llama {
        if let Err(error) = self.validate() {
            panic!("cannot build a model from an invalid configuration: {error}");
        }
        Llama::random(self, seed, device)
    }

    /// Number of trainable numbers.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let attention = self.hidden_size
            * self.head_dim
            * 2
            * (self.num_attention_heads + self.num_key_value_heads);
        let feed_forward = 3 * self.hidden_size * self.intermediate_size;
        let layer = attention + feed_forward + 2 * self.hidden_size;
        let embeddings = self.vocab_size * self.hidden_size;
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        self.num_hidden_layers * layer + heads * embeddings + self.hidden_size
    }

    /// Query heads per key and value head.
    pub(crate) fn group_size(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }
}

/// No real model comes near; products of two such sizes still fit a `u64`.
const MAX_SIZE: usize = 1 << 30;

impl RopeScaling {
    fn validate(&self) -> Result<(), Error> {
        let check = |key: &str, ok: bool, value: f64| {
            if ok && value.is_finite() {
                Ok(())
            } else {
                Err(Error::config(
                    &format!("rope_scaling.{key}"),
                    format!("{value} is out of range"),
                ))
            }
        };
        match *self {
            RopeScaling::Linear { factor } => check("factor", factor >= 1.0, factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                check("factor", factor >= 1.0, factor)?;
                check("low_freq_factor", low > 0.0, low)?;
                check("high_freq_factor", high > low, high)?;
                check(
                    "original_max_position_embeddings",
                    original > 0,
                    original as f64,
                )
            }
        }
    }
}

impl TryFrom<Map<String, Value>> for LlamaConfig {
    type Error = Error;

    fn try_from(map: Map<String, Value>) -> Result<Self, Error> {
        refuse_other_computations(&map)?;
        let keys = Keys { map: &map };
        let hidden_size = keys.size("hidden_size")?;
        let num_attention_heads = keys.size("num_attention_heads")?;
        // transformers 5 moved the rotary settings into one object.
        let rope = match map.get("rope_parameters") {
            Some(Value::Object(rope)) => Some(rope),
            _ => None,
        };
        let rope_theta = match rope.and_then(|r| r.get("rope_theta")) {
            Some(_) => Keys {
                map: rope.expect("just looked into it"),
            }
            .number_or("rope_theta", 10_000.0)?,
            None => keys.number_or("rope_theta", 10_000.0)?,
        };
        let scaling = match (map.get("rope_scaling"), rope) {
            (Some(Value::Object(scaling)), _) => Some(scaling),
            (None | Some(Value::Null), rope) => rope,
            (Some(other), _) => {
                return Err(Error::config(
                    "rope_scaling",
                    format!("{other} is no object"),
                ));
            }
        };
        let config = LlamaConfig {
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers: keys.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: keys.size_or("num_key_value_heads", num_attention_heads)?,
            head_dim: keys.size_or("head_dim", hidden_size / num_attention_heads.max(1))?,
            vocab_size: keys.size("vocab_size")?,
            max_position_embeddings: keys.size_or("max_position_embeddings", 2048)?,
            rms_norm_eps: keys.number_or("rms_norm_eps", 1e-6)?,
            rope_theta,
            rope_scaling: scaling.map(parse_scaling).transpose()?.flatten(),
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
            initializer_range: keys.number_or("initializer_range", 0.02)?,
            bos_token_id: keys.token("bos_token_id")?,
            eos_token_id: keys.token("eos_token_id")?,
            pad_token_id: keys.token("pad_token_id")?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<LlamaConfig> for Map<String, Value> {
    fn from(config: LlamaConfig) -> Self {
        let scaling = match config.rope_scaling {
            None => Value::Null,
            Some(RopeScaling::Linear { factor }) => {
                json!({ "rope_type": "linear", "factor": factor })
            }
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        };
        let value = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "mlp_bias": false,
            "hidden_act": "silu",
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            "rope_theta": config.rope_theta,
            "rope_scaling": scaling,
            "tie_word_embeddings": config.tie_word_embeddings,
            "initializer_range": config.initializer_range,
            "bos_token_id": config.bos_token_id,
            "eos_token_id": config.eos_token_id,
            "pad_token_id": config.pad_token_id,
            "torch_dtype": "float32",
        });
        match value {
            Value::Object(map) => map,
            _ => unreachable!("json! of an object literal is an object"),
        }
    }
}

/// Keys that select another computation are errors, not silently other numbers.
fn refuse_other_computations(map: &Map<String, Value>) -> Result<(), Error> {
    match map.get("model_type").and_then(Value::as_str) {
        Some("llama") => {}
        Some(other) => {
            return Err(Error::config(
                "model_type",
                format!("`{other}` is not supported, this program runs `llama`"),
            ));
        }
        None => {
            return Err(Error::config(
                "model_type",
                "is missing: is this the config.json of a model?",
            ));
        }
    }
    for key in ["attention_bias", "mlp_bias", "rope_interleaved"] {
        if map.get(key).and_then(Value::as_bool) == Some(true) {
            return Err(Error::config(
                key,
                "true is not supported: only Llama models without it are",
            ));
        }
    }
    match map.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu" | "swish") => {}
        Some(other) => {
            return Err(Error::config(
                "hidden_act",
                format!("`{other}` is not supported, only `silu` is"),
            ));
        }
    }
    if map.get("quantization_config").is_some_and(|v| !v.is_null()) {
        return Err(Error::config(
            "quantization_config",
            "quantised safetensors are not supported: take the full-precision model or a GGUF file",
        ));
    }
    Ok(())
}

fn parse_scaling(map: &Map<String, Value>) -> Result<Option<RopeScaling>, Error> {
    let name = |e: Error| match e {
        Error::Config { key, message } => Error::Config {
            key: format!("rope_scaling.{key}"),
            message,
        },
        other => other,
    };
    let keys = Keys { map };
    let kind = map.get("rope_type").or_else(|| map.get("type"));
    if let (None, Some(factor)) = (kind, keys.get("factor")) {
        return Err(Error::config(
            "rope_scaling.rope_type",
            format!(
                "is missing, so what `factor` {factor} means is unknown; write `default`, `linear` \
                 or `llama3`, or leave `factor` out"
            ),
        ));
    }
    match kind.and_then(Value::as_str) {
        Some("default") | None if kind.is_none_or(Value::is_string) => Ok(None),
        Some("linear") => Ok(Some(RopeScaling::Linear {
            factor: keys.number("factor").map_err(name)?,
        })),
        Some("llama3") => Ok(Some(RopeScaling::Llama3 {
            factor: keys.number("factor").map_err(name)?,
            low_freq_factor: keys.number("low_freq_factor").map_err(name)?,
            high_freq_factor: keys.number("high_freq_factor").map_err(name)?,
            original_max_position_embeddings: keys
                .size("original_max_position_embeddings")
                .map_err(name)?,
        })),
        _ => Err(Error::config(
            "rope_scaling.rope_type",
            format!(
                "{} is not supported; `default`, `linear` and `llama3` are",
                kind.unwrap_or(&Value::Null)
            ),
        )),
    }
}

/// Typed look-ups that name the key they fail on.
struct Keys<'a> {
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str) -> Result<usize, Error> {
        let value = self
            .get(key)
            .ok_or_else(|| Error::config(key, "is missing"))?;
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.ok_or_else(|| Error::config(key, format!("{value} is no whole number")))
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize, Error> {
        self.get(key).map_or(Ok(default), |_| self.size(key))
    }

    fn number(&self, key: &str) -> Result<f64, Error> {
        let value = self
            .get(key)
            .ok_or_else(|| Error::config(key, "is missing"))?;
        value
            .as_f64()
            .ok_or_else(|| Error::config(key, format!("{value} is no number")))
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, Error> {
        self.get(key).map_or(Ok(default), |_| self.number(key))
    }

    fn flag_or(&self, key: &str, default: bool) -> Result<bool, Error> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| Error::config(key, format!("{value} is neither true nor false")))
        })
    }

    /// A token id, or the first of a list of them; -1 means none, as some exporters write it.
    fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let first = match value {
            Value::Array(list) => match list.first() {
                Some(first) => first,
                None => return Ok(None),
            },
            single => single,
        };
        if first.as_i64() == Some(-1) {
            return Ok(None);
        }
        let id = first.as_u64().and_then(|n| u32::try_from(n).ok());
        id.map(Some)
            .ok_or_else(|| Error::config(key, format!("{value} is no token id")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Map<String, Value> {
        match json!({
            "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        }) {
            Value::Object(map) => map,
            _ => unreachable!(),
        }
    }

    fn with(key: &str, value: Value) -> Result<LlamaConfig, Error> {
        let mut map = minimal();
        map.insert(key.to_owned(), value);
        LlamaConfig::try_from(map)
    }

    #[test]
    fn what_is_written_is_read_back() {
        for scaling in [
            None,
            Some(RopeScaling::Linear { factor: 2.0 }),
            Some(RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            }),
        ] {
            let mut config = LlamaConfig::try_from(minimal()).unwrap();
            config.rope_scaling = scaling;
            config.eos_token_id = Some(7);
            assert_eq!(LlamaConfig::from_json(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn other_computations_are_refused_by_key() {
        for (key, value) in [
            ("model_type", json!("qwen2")),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("hidden_act", json!("gelu")),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
            ("rope_scaling", json!({"type": 3})),
            ("rope_scaling", json!({"factor": 4.0})),
            ("rope_scaling", json!("linear")),
            ("quantization_config", json!({"bits": 4})),
            ("num_key_value_heads", json!(3)),
            ("head_dim", json!(7)),
            ("hidden_size", json!(0)),
            ("hidden_size", json!(-1)),
            ("hidden_size", json!(u64::MAX)),
            ("vocab_size", json!("many")),
            ("rms_norm_eps", json!(0.0)),
            ("eos_token_id", json!("end")),
        ] {
            let error = with(key, value.clone()).expect_err(&format!("{key} = {value}"));
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn missing_keys_are_named() {
        for key in ["model_type", "hidden_size", "vocab_size"] {
            let mut map = minimal();
            map.remove(key);
            let error = LlamaConfig::try_from(map).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn variants_of_the_format_mean_the_same() {
        let several = with("eos_token_id", json!([128_001, 128_009])).unwrap();
        assert_eq!(several.eos_token_id, Some(128_001));
        assert_eq!(with("pad_token_id", json!(-1)).unwrap().pad_token_id, None);
        let newer = with(
            "rope_parameters",
            json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}),
        )
        .unwrap();
        assert_eq!(newer.rope_theta, 5e5);
        assert_eq!(
            newer.rope_scaling,
            Some(RopeScaling::Linear { factor: 2.0 })
        );
    }

    #[test]
    fn a_scaling_without_a_type_scales_nothing_or_is_refused() {
        for value in [
            json!({}),
            json!({"factor": null}),
            json!({"rope_theta": 5e5}),
        ] {
            for key in ["rope_scaling", "rope_parameters"] {
                assert_eq!(with(key, value.clone()).unwrap().rope_scaling, None);
            }
        }
        for key in ["rope_scaling", "rope_parameters"] {
            let error = with(key, json!({"factor": 2.0, "rope_theta": 5e5})).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("`rope_scaling.rope_type`"), "{message}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_an_error() {
        assert!(LlamaConfig::from_json("{").is_err());
        assert!(LlamaConfig::from_json("[]").is_err());
    }
}
