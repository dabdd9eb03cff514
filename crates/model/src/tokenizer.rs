//! Text to token ids and back, without the surprises of chat templates.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer};

use crate::Error;

/// The separator between source and target, and between names of a composite answer.
pub const SEP: &str = "<SEP>";

/// A tokenizer together with the ids that decoding needs.
///
/// Encoding adds nothing of its own (no start or end token), but text that spells a special token
/// becomes that token, which is how `<SEP>` in a prompt works.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    eos: u32,
    pad: u32,
    sep: Option<u32>,
    /// One more than the largest id.
    size: usize,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`. The end and padding tokens are taken from `tokenizer_config.json`,
    /// `special_tokens_map.json` or `config.json` beside it, in this order.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Malformed`], and [`Error::Tokenizer`] where no file names an end
    /// token that the tokenizer has.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let inner = Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::malformed(path, format!("no tokenizer: {e}")))?;
        let companions = Companions::read(path)?;
        let eos = companions.token(&inner, "eos_token").ok_or_else(|| {
            Error::tokenizer(
                "no end token: none of tokenizer_config.json, special_tokens_map.json and \
                 config.json beside it names one that it has",
            )
            .in_file(path)
        })?;
        let mut tokenizer = Self::from_tokenizer(inner, eos);
        if let Some(pad) = companions.token(&tokenizer.inner, "pad_token") {
            tokenizer.pad = pad;
        }
        Ok(tokenizer)
    }

    /// Wraps a tokenizer made elsewhere. Padding is the end token until
    /// [`set_pad_id`](Self::set_pad_id) says otherwise.
    #[must_use]
    pub fn from_tokenizer(mut inner: Tokenizer, eos: u32) -> Self {
        // Truncation and padding belong to batching, which is ours.
        inner
            .with_truncation(None)
            .expect("no truncation is always valid");
        inner.with_padding(None);
        TextTokenizer {
            sep: inner.token_to_id(SEP),
            size: size(&inner),
            inner,
            eos,
            pad: eos,
        }
    }

    /// Encodes a text; nothing is added, special tokens in the text become their ids.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(Error::tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes many texts in parallel, answers in the order of the texts.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>, Error> {
        use rayon::prelude::*;
        texts
            .par_iter()
            .map(|text| self.encode(text.as_ref()))
            .collect()
    }

    /// The text of a sequence of ids, special tokens spelled out. Ids that the tokenizer does not
    /// know are left out.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).unwrap_or_default()
    }

    /// Adds `<SEP>` as a special token, if it is not there yet, and returns its id. The model's
    /// vocabulary must hold it: [`Checkpoint::add_sep`](crate::Checkpoint::add_sep) does both.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary has holes and the id that comes next is another token's; the tokenizer is
    /// as it was then.
    pub fn add_sep(&mut self) -> Result<u32, Error> {
        if let Some(id) = self.sep {
            return Ok(id);
        }
        let mut inner = self.inner.clone();
        inner
            .add_special_tokens([AddedToken::from(SEP, true)])
            .map_err(Error::tokenizer)?;
        let id = inner
            .token_to_id(SEP)
            .ok_or_else(|| Error::tokenizer(format!("`{SEP}` could not be added")))?;
        // The library counts tokens to find the next id, which is taken where ids are left out before it.
        if let Some(taken) = self.inner.id_to_token(id) {
            return Err(Error::tokenizer(format!(
                "the vocabulary leaves out ids, and `{SEP}` would get {id}, which is `{taken}`; \
                 give `{SEP}` an id of its own, in `model.vocab` and `added_tokens` of tokenizer.json"
            )));
        }
        self.size = size(&inner);
        self.inner = inner;
        self.sep = Some(id);
        Ok(id)
    }

    /// Id of `<SEP>`, if the tokenizer has it.
    #[must_use]
    pub fn sep_id(&self) -> Option<u32> {
        self.sep
    }

    /// Id of the token that ends an answer.
    #[must_use]
    pub fn eos_id(&self) -> u32 {
        self.eos
    }

    /// Id that fills a batch; the end token where the model names none.
    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// Sets the id that fills a batch.
    pub fn set_pad_id(&mut self, pad: u32) {
        self.pad = pad;
    }

    /// One more than the largest id, added tokens included: the rows that a model must have.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// Id of a token spelled exactly so.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokenizer as `tokenizer.json` has it; the same tokenizer gives the same text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot be serialised.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(false).map_err(Error::tokenizer)
    }

    /// BLAKE3 of [`to_json`](Self::to_json), in hex: what an artefact built with this tokenizer is
    /// bound to.
    ///
    /// # Panics
    /// If the tokenizer cannot be serialised, which no tokenizer read from a file does.
    #[must_use]
    pub fn digest(&self) -> String {
        let json = self
            .to_json()
            .expect("a tokenizer that was read serialises");
        blake3::hash(json.as_bytes()).to_hex().to_string()
    }

    /// Writes `tokenizer.json` to `path`, and beside it the `tokenizer_config.json` that names the
    /// end and padding tokens.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Tokenizer`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let config = path.with_file_name(TOKENIZER_CONFIG);
        for (path, text) in [(path, self.to_json()?), (&config, self.companion_json())] {
            std::fs::write(path, text).map_err(|source| Error::Write {
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// The text of the `tokenizer_config.json` that belongs to this tokenizer.
    pub(crate) fn companion_json(&self) -> String {
        let name = |id| self.inner.id_to_token(id);
        let value = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": name(self.eos),
            "pad_token": name(self.pad),
            "sep_token": self.sep.and_then(name),
            "clean_up_tokenization_spaces": false,
        });
        format!("{value:#}\n")
    }
}

/// One more than the largest id. The number of tokens is less where the vocabulary has holes.
fn size(tokenizer: &Tokenizer) -> usize {
    let vocabulary = tokenizer.get_vocab(true);
    vocabulary.values().max().map_or(0, |&top| top as usize + 1)
}

/// File name of the settings beside a `tokenizer.json`.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The files beside a `tokenizer.json` that name its special tokens.
struct Companions {
    files: Vec<Value>,
}

impl Companions {
    fn read(tokenizer: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        for name in [TOKENIZER_CONFIG, "special_tokens_map.json", "config.json"] {
            let path: PathBuf = tokenizer.with_file_name(name);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Read { path, source }),
            };
            let value =
                serde_json::from_str(&text).map_err(|e| Error::malformed(&path, e.to_string()))?;
            files.push(value);
        }
        Ok(Companions { files })
    }

    /// The first file that names the token with a spelling or an id that the tokenizer has.
    fn token(&self, tokenizer: &Tokenizer, key: &str) -> Option<u32> {
        let id_key = format!("{key}_id");
        self.files.iter().find_map(|file| {
            let spelled = match file.get(key) {
                Some(Value::String(token)) => Some(token.as_str()),
                Some(Value::Object(token)) => token.get("content").and_then(Value::as_str),
                _ => None,
            };
            let by_name = spelled.and_then(|token| tokenizer.token_to_id(token));
            let by_id = || {
                let value = file.get(&id_key)?;
                let first = value.as_array().map_or(Some(value), |list| list.first())?;
                let id = u32::try_from(first.as_u64()?).ok()?;
                tokenizer.id_to_token(id).map(|_| id)
            };
            by_name.or_else(by_id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::models::bpe::{BPE, Vocab};

    fn tokenizer(tokens: &[(&str, u32)]) -> TextTokenizer {
        let entries = tokens.iter().map(|&(token, id)| (token.to_owned(), id));
        let model = BPE::builder()
            .vocab_and_merges(entries.collect::<Vocab>(), vec![])
            .build()
            .unwrap();
        TextTokenizer::from_tokenizer(Tokenizer::new(model), 0)
    }

    #[test]
    fn holes_of_a_vocabulary_need_rows_too() {
        let mut dense = tokenizer(&[("a", 0), ("b", 1)]);
        assert_eq!(dense.vocab_size(), 2);
        assert_eq!(dense.add_sep().unwrap(), 2);
        assert_eq!((dense.vocab_size(), dense.add_sep().unwrap()), (3, 2));
        assert_eq!(dense.encode("a<SEP>b").unwrap(), [0, 2, 1]);

        let mut sparse = tokenizer(&[("a", 0), ("b", 5)]);
        assert_eq!(sparse.vocab_size(), 6);
        assert_eq!(sparse.add_sep().unwrap(), 2, "a hole is free");
        assert_eq!(sparse.vocab_size(), 6);
    }

    #[test]
    fn the_separator_takes_no_id_from_another_token() {
        let mut tokenizer = tokenizer(&[("a", 0), ("b", 2)]);
        let before = tokenizer.digest();
        let message = tokenizer.add_sep().unwrap_err().to_string();
        assert!(message.contains("2, which is `b`"), "{message}");
        assert_eq!(tokenizer.sep_id(), None);
        assert_eq!((tokenizer.vocab_size(), tokenizer.digest()), (3, before));
    }
}
