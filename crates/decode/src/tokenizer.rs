//! What linking asks of a tokenizer.

use syncabel_kb::Digest;

use crate::{Error, SpecialTokens};

/// Text to tokens and back. Implemented for `syncabel_model::TextTokenizer` behind the feature `model`.
pub trait Tokenizer: Sync {
    /// The tokens of a text: nothing is added, and a special token written out in the text becomes its id.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error>;

    /// The text of tokens.
    fn decode(&self, tokens: &[u32]) -> String;

    /// The tokens that end an answer and part its names.
    fn special(&self) -> SpecialTokens;

    /// What a trie remembers of the tokenizer that spelled it.
    fn digest(&self) -> Digest;
}
