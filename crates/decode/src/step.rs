//! The least that a search can ask of a model: logits for the next token of many rows. [`PoolModel`](crate::PoolModel) offers more.

use crate::Error;

/// A language model that decodes many hypotheses at once, one token a call.
///
/// A *row* is one hypothesis. [`prefill`](StepModel::prefill) answers with one row per prompt, numbered as the prompts
/// are; each [`step`](StepModel::step) replaces the rows by new ones, every one of which continues a row of the call
/// before with one token. So a row carries its history by index: the model keeps what it needs of it (a KV cache,
/// usually), several rows may continue the same one, and a row that nobody continues is gone.
///
/// The search keeps these promises: rows of one prompt follow each other, prompts in ascending order; a prompt has at
/// most `beams` rows; a prompt that has no row in one call never has one again until the next prefill.
pub trait StepModel {
    /// Number of logits of a row.
    fn vocab_size(&self) -> usize;

    /// Most tokens of a prompt and what follows it.
    fn positions(&self) -> usize {
        usize::MAX
    }

    /// Forgets all rows, reads `prompts` and returns the logits behind each prompt's last token.
    ///
    /// `beams` and `max_new_tokens` are upper limits of what follows, for models that allocate ahead.
    ///
    /// # Shapes
    /// - prompts: B lists of any length
    /// - output: `[prompts, vocab_size]`, row after row
    ///
    /// # Errors
    /// [`Error::Model`].
    fn prefill(
        &mut self,
        prompts: &[Vec<u32>],
        beams: usize,
        max_new_tokens: usize,
    ) -> Result<Vec<f32>, Error>;

    /// Continues row `parents[i]` of the call before with `tokens[i]` and returns the logits behind it.
    ///
    /// # Shapes
    /// - tokens, parents: `[rows]`, at most prompts x beams
    /// - output: `[rows, vocab_size]`
    ///
    /// # Errors
    /// [`Error::Model`].
    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<Vec<f32>, Error>;
}
