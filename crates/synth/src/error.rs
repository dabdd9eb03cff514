//! What stops a whole generation. What goes wrong with one concept is a [`crate::Failure`] and is recorded.

/// Everything that can stop a generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no human sentence to learn from.
    #[error(
        "no human sentence with a mention in the training split: {documents} documents read, {not_train} of them not marked as train, {not_human} not human; mark the training documents with split `train`"
    )]
    NoTrainingSentence {
        /// Documents read.
        documents: usize,
        /// Documents of another split, or of none.
        not_train: usize,
        /// Documents that people did not annotate.
        not_human: usize,
    },
    /// The corpus could not be turned into sentences.
    #[error(transparent)]
    Corpus(#[from] syncabel_corpus::Error),
    /// The selection names a group that the KB does not have.
    #[error(
        "the selection names the group `{group}`, which the KB does not have; its groups: {known}"
    )]
    UnknownGroup {
        /// The group.
        group: String,
        /// The groups there are.
        known: String,
    },
    /// The selection names a code that the KB does not have.
    #[error("the selection names the code `{code}`, which the KB does not have")]
    UnknownCode {
        /// The code.
        code: String,
    },
    /// The selection leaves nothing.
    #[error("the selection leaves no concept: {selection}")]
    EmptySelection {
        /// The selection, as JSON.
        selection: String,
    },
    /// No sentence was asked for.
    #[error("`sentences_per_concept` is 0: nothing to generate")]
    NoSentences,
    /// A draft does not hold what it says.
    #[error(
        "the generator `{generator}` returned a sentence for {code} whose mention {start}..{end} (chars) is empty or outside its {length} characters"
    )]
    BadDraft {
        /// Name of the generator.
        generator: String,
        /// The concept.
        code: String,
        /// Start of the mention, characters.
        start: u32,
        /// End of the mention, characters.
        end: u32,
        /// Length of the sentence, characters.
        length: usize,
    },
    /// A generator answered for a task that was not in its batch, or answered twice.
    #[error(
        "the generator `{generator}` answered task {task} {times} times; every task gets one answer"
    )]
    BadDelivery {
        /// Name of the generator.
        generator: String,
        /// Index of the task.
        task: usize,
        /// How often it was answered.
        times: usize,
    },
    /// The generator cannot go on at all (wrong key, missing model).
    #[error("the generator `{generator}` stopped: {reason}")]
    Stopped {
        /// Name of the generator.
        generator: String,
        /// Why.
        reason: String,
    },
    /// A prompt template cannot be read or filled.
    #[error("prompt template {file}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Template {
        /// The file; built-in ones as `en/user.j2`.
        file: String,
        /// Line, from 1.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// Prompt options that contradict each other.
    #[error("prompt: {message}")]
    PromptOptions {
        /// What is wrong.
        message: String,
    },
    /// The server or the ledger.
    #[error(transparent)]
    Llm(#[from] syncabel_llm::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The tasks beside a ledger cannot be read.
    #[error("{}: {reason}", path.display())]
    Tasks {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong and the way out.
        reason: String,
    },
}
