//! Llama inference on the CPU, made for guided decoding.
//!
//! Decoding under a trie reads short runs of tokens, from one to a few dozen, for many mentions at once: prompts that are
//! new, a token here, a forced run there, several hypotheses of one mention side by side. Tensor libraries want
//! rectangles. This engine takes the runs as they are: all their tokens become the rows of one matrix, go through each
//! weight together (some hundred at a time), and attend to what lies on their own path, nothing is padded and nothing is copied to where a
//! hypothesis goes on.
//!
//! # Key types
//! - [`Shape`] and [`Weights`]: the network, read tensor by tensor from whoever has them, packed once, in float32 or
//!   bfloat16 ([`Precision`]).
//! - [`Engine`]: reads [`Run`]s and answers with log-probabilities of the tokens asked for. [`Engine::close`] forgets a
//!   mention.
//!
//! # Memory
//! Keys and values lie in blocks of 16 cells, one cell a token and all layers of it: for SmolLM2 (30 layers, 3 key heads of
//! 64) 46 kB a cell. A mention's prompt is stored once; hypotheses see it, and the tokens on their own path, through a
//! list of (block, mask) pairs. Prompts that begin alike, as those of two mentions of one sentence do, share the cells of
//! what they have in common. Blocks of closed mentions are used again.
//!
//! # Arithmetic
//! SmolLM2-135M takes 212 million operations a row in its layers and 57 million in the head. The head is computed for rows
//! whose successor matters, a few hundred columns at a time, and folded into a running log-sum-exp at once: no logit
//! vector of the vocabulary ever exists.
//!
//! # Exactness
//! In float32 each row's sums run in an order of their own, whatever else is in the pass, so neither company nor threads
//! change a bit of a row. Sharing and runs decide which cells a path lies in; attention adds up along the path, skipping
//! zeros, and sums its weights in float64, so that does not show either (but for a tie in the rounding of such a sum, one in
//! a billion). In bfloat16 weights are rounded to 8 bits, and where the CPU multiplies such numbers the inputs of products as well.

mod arena;
mod attention;
mod engine;
mod head;
mod weights;

pub use engine::{Engine, RopeTables, Run, Scores, Wanted, unit};
pub use weights::{Precision, Shape, TensorReader, Weights};

/// Why the engine refuses a pass. Nothing has been read then, unless it is [`Error::NotFinite`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run without tokens.
    #[error("a run of mention {mention} has no tokens")]
    EmptyRun {
        /// Whose run.
        mention: usize,
    },
    /// Two prompts of one mention in one pass.
    #[error("mention {mention} is opened twice in one pass")]
    OpenedTwice {
        /// Whose runs.
        mention: usize,
    },
    /// A token that the embedding has no row for.
    #[error("token {token} is outside the model's vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// A run that goes on from a place which its mention does not have, or will not have because the same pass opens it anew.
    #[error("mention {mention} has no state {state}")]
    State {
        /// Whose run.
        mention: usize,
        /// The state.
        state: u32,
    },
    /// A path that is longer than the model's context.
    #[error(
        "mention {mention} needs {needed} positions, the model has {capacity}; \
         shorten the context around the mention or lower max_new_tokens"
    )]
    Capacity {
        /// Whose run.
        mention: usize,
        /// Tokens of its longest path.
        needed: usize,
        /// Positions of the model.
        capacity: usize,
    },
    /// Scores that are no numbers.
    #[error(
        "the scores of mention {mention} hold NaN or infinity; the weights are damaged, or need a wider type"
    )]
    NotFinite {
        /// Whose run.
        mention: usize,
        /// Tokens read behind the prompt.
        step: usize,
    },
}
