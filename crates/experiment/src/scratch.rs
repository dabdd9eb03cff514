//! A small model from nothing: a byte-pair tokenizer trained on the spot and random weights. For the quickstart and for
//! tests that must not need a pretrained model.

use crate::config::ScratchConfig;
use anyhow::{Result, anyhow};
use syncabel_model::{LlamaConfig, TextTokenizer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

const END: &str = "<|end|>";
const PAD: &str = "<|pad|>";

/// The smallest vocabulary: the alphabet of bytes, end of text and padding.
pub const LEAST_VOCABULARY: usize = 256 + 2;

/// Trains a byte-level BPE tokenizer with `vocabulary` entries. Same texts, same tokenizer.
///
/// # Errors
/// When the library refuses the texts (none at all, for instance).
pub fn tokenizer<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocabulary: usize,
) -> Result<TextTokenizer> {
    let specials: Vec<AddedToken> = [END, PAD].map(|t| AddedToken::from(t, true)).to_vec();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, true)),
    ]))));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(specials)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    tokenizer
        .train(&mut trainer, texts)
        .map_err(|e| anyhow!("cannot train a tokenizer: {e}"))?;
    let end = tokenizer
        .token_to_id(END)
        .ok_or_else(|| anyhow!("the tokenizer has no {END}"))?;
    let mut tokenizer = TextTokenizer::from_tokenizer(tokenizer, end);
    if let Some(pad) = tokenizer.token_id(PAD) {
        tokenizer.set_pad_id(pad);
    }
    Ok(tokenizer)
}

/// The configuration of a model of this shape, for this tokenizer.
///
/// # Errors
/// A shape that no model can have; the experiment file was checked for it before.
pub fn config(shape: &ScratchConfig, tokenizer: &TextTokenizer) -> Result<LlamaConfig> {
    let config = LlamaConfig {
        eos_token_id: Some(tokenizer.eos_id()),
        pad_token_id: Some(tokenizer.pad_id()),
        ..LlamaConfig::new(
            tokenizer.vocab_size(),
            shape.hidden_size,
            shape.intermediate_size,
            shape.layers,
            shape.heads,
            shape.kv_heads,
        )
    };
    config.validate()?;
    Ok(config)
}
