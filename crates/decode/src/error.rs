//! What can go wrong in this crate, with the place and the way out.

use std::path::PathBuf;

use syncabel_kb::Digest;

/// Why a trie, a search or a linker could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },

    /// The file is something else than a trie.
    #[error("{}: not a trie file (it does not begin with the trie magic); give the file that the trie build wrote", path.display())]
    NotATrie {
        /// The file.
        path: PathBuf,
    },

    /// The trie was written by another version of this crate.
    #[error("{}: trie format version {found}, this program reads version {expected}; build the trie again, \
             or use the program that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version this crate reads, [`crate::trie::FORMAT_VERSION`].
        expected: u32,
    },

    /// The file is damaged: cut short, or its bytes changed since they were written.
    #[error("{}: damaged trie file: {what}; build the trie again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        what: String,
    },

    /// The trie belongs to another knowledge base or another tokenizer.
    #[error(
        "the trie was built from another {what}: it says {in_trie}, the {what} at hand is {at_hand}; \
             build the trie again from this {what}, or take the {what} that belongs to it"
    )]
    Mismatch {
        /// `knowledge base` or `tokenizer`.
        what: &'static str,
        /// The digest that the trie carries.
        in_trie: Digest,
        /// The digest of what the caller wants to use it with.
        at_hand: Digest,
    },

    /// A name cannot be spelled in tokens, so no decoder could ever produce it.
    #[error(
        "the name {name:?} of group {group} cannot be put into the trie: {reason}; \
             rename it in the knowledge base, or give its concept another name"
    )]
    Unspellable {
        /// The position of the name's semantic group in the knowledge base.
        group: u16,
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },

    /// More than a 32-bit index can count.
    #[error("too many {what} for one trie: {count}, at most {limit}")]
    TooLarge {
        /// `tokens`, `nodes` or `names`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many fit.
        limit: usize,
    },

    /// An option has a value that no search can work with.
    #[error("search option {key}: {reason}")]
    Option {
        /// The name of the option.
        key: &'static str,
        /// What it has to be.
        reason: &'static str,
    },

    /// A query asks for a group that the trie has no root for.
    #[error(
        "query {query}: semantic group {group} does not exist in the trie, which has {groups} groups"
    )]
    NoSuchGroup {
        /// Position of the query in the input.
        query: usize,
        /// The group's number.
        group: u16,
        /// Number of groups in the trie.
        groups: usize,
    },

    /// A query has no group.
    #[error("query {query} names no semantic group; guided search needs one")]
    NoGroup {
        /// Position of the query in the input.
        query: usize,
    },

    /// The model's answer has not the promised number of values.
    #[error(
        "the model returned {found} logits for {rows} rows of a vocabulary of {vocab}; expected {expected}"
    )]
    LogitsShape {
        /// Number of values returned.
        found: usize,
        /// Rows asked for.
        rows: usize,
        /// The vocabulary that the model states.
        vocab: usize,
        /// Number of values expected.
        expected: usize,
    },

    /// The model returned NaN or infinity.
    #[error(
        "query {query}, step {step}: the model's logits hold NaN or infinity; \
             the weights are damaged, or the model needs a wider float type"
    )]
    NotFinite {
        /// Position of the query in the input.
        query: usize,
        /// Decoding step, 0 for the logits after the prompt.
        step: usize,
    },

    /// A prompt and its answer do not fit into the model's context.
    #[error(
        "prompt and answer need {needed} positions, the model has {capacity}; \
             keep less of the sentence around the mention (max_context_chars, --max-context-chars) or lower max_new_tokens"
    )]
    TooLong {
        /// Position of the query in the input.
        query: usize,
        /// Tokens of its longest path.
        needed: usize,
        /// Positions of the model.
        capacity: usize,
    },

    /// What went wrong with one mention.
    #[error("{document}, mention {mention}: {source}")]
    Mention {
        /// The document of the mention.
        document: String,
        /// The id of the mention.
        mention: String,
        /// What it was; the number of the query in it is of no use to a reader of the input.
        #[source]
        source: Box<Error>,
    },

    /// The trie or the tokenizer knows a token that the model's head has no row for.
    #[error(
        "token {token} is outside the model's vocabulary of {vocab}; \
             tokenizer and checkpoint do not belong together (were the embeddings resized for <SEP>?)"
    )]
    TokenOutsideVocabulary {
        /// The token.
        token: u32,
        /// Size of the model's vocabulary.
        vocab: usize,
    },

    /// The model could not compute.
    #[error("the model failed: {0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The tokenizer could not encode a text.
    #[error("the tokenizer failed on {text:?}: {source}")]
    Tokenizer {
        /// The text.
        text: String,
        /// What the tokenizer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A mention's semantic group is unknown to the knowledge base.
    #[error(
        "{document}, mention {mention}: semantic group {group:?} is not in the knowledge base (it has: {known}); \
             map the corpus's label to one of these groups"
    )]
    UnknownGroup {
        /// The document of the mention.
        document: String,
        /// The id of the mention.
        mention: String,
        /// The group that the mention asks for.
        group: String,
        /// The groups there are, joined by commas.
        known: String,
    },
}

impl Error {
    /// The query that it is about, if it is about one.
    pub(crate) fn query(&self) -> Option<usize> {
        match self {
            Error::NoSuchGroup { query, .. }
            | Error::NoGroup { query }
            | Error::NotFinite { query, .. }
            | Error::TooLong { query, .. } => Some(*query),
            _ => None,
        }
    }

    /// The same about another query number, `from` further on.
    pub(crate) fn shifted(mut self, from: usize) -> Self {
        if let Error::NoSuchGroup { query, .. }
        | Error::NoGroup { query }
        | Error::NotFinite { query, .. }
        | Error::TooLong { query, .. } = &mut self
        {
            *query += from;
        }
        self
    }
}
