//! How an answer is drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Sampling parameters; what is `None` is left to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Share of probability that is drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Most tokens to generate.
    #[serde(rename = "max_tokens", skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// Seed, for servers that take one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Strings that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Further fields of the request, as the server calls them. Servers have defaults of their own that no standard field
    /// switches off: the server of llama-cpp-python, for one, punishes every token of the last 64 with
    /// `repeat_penalty: 1.1`, brackets and the name asked for among them.
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl Default for Sampling {
    /// The paper's: temperature 0.6, top-p 0.9, at most 512 new tokens.
    fn default() -> Self {
        Sampling {
            temperature: Some(0.6),
            top_p: Some(0.9),
            max_new_tokens: Some(512),
            seed: None,
            stop: Vec::new(),
            extra: Extra::default(),
        }
    }
}

/// Fields of a request that OpenAI's protocol does not know, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Extra(BTreeMap<String, Value>);

/// What a request says already, and what would change the form of the answer.
const TAKEN: [&str; 9] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "stop",
    "stream",
    "n",
];

impl Extra {
    /// Takes fields that do not clash with those that a request has anyway.
    ///
    /// # Errors
    /// A message that names the field which has a place of its own, or which would change the form of the answer.
    pub fn new(fields: impl IntoIterator<Item = (String, Value)>) -> Result<Self, String> {
        let fields: BTreeMap<String, Value> = fields.into_iter().collect();
        match fields.keys().find(|name| TAKEN.contains(&name.as_str())) {
            Some(name) if matches!(name.as_str(), "stream" | "n") => Err(format!(
                "`{name}` would change the form of the answer, which is one whole text"
            )),
            Some(name) => Err(format!("`{name}` has a place of its own outside `extra`")),
            None => Ok(Extra(fields)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields.
    pub fn fields(&self) -> &BTreeMap<String, Value> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Extra::new(fields).map_err(serde::de::Error::custom)
    }
}

/// `NAME=VALUE`, the value as JSON, or a string where it is none.
impl std::str::FromStr for Extra {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Extra::new([(name.to_owned(), value)])
    }
}

impl FromIterator<Extra> for Extra {
    /// All of them together; the last of a name counts.
    fn from_iter<I: IntoIterator<Item = Extra>>(parts: I) -> Self {
        Extra(parts.into_iter().flat_map(|part| part.0).collect())
    }
}
