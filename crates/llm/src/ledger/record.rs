//! What a ledger holds, line by line.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::chat::{ChatAnswer, Message, Role};
use crate::{ChatRequest, Sampling, Usage};

/// Identity of a request: the BLAKE3 hash of model, messages and sampling parameters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of some bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Key(*blake3::hash(bytes).as_bytes())
    }

    /// The key of what a hasher was fed.
    pub(crate) fn finish(hasher: &blake3::Hasher) -> Self {
        Key(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = blake3::HexError;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(hex).map(|hash| Key(*hash.as_bytes()))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = Cow::<'de, str>::deserialize(deserializer)?;
        hex.parse().map_err(serde::de::Error::custom)
    }
}

/// What a line reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// The job is done with the answers so far.
    Accepted,
    /// The answer is kept; another one is needed.
    Again,
    /// The job is given up; the last answer is kept.
    Failed,
    /// No answer came in as many tries as are allowed. The job stays open.
    Unanswered,
    /// A failed job is to be tried anew; what stands before no longer counts.
    Reopened,
}

/// One line of the answers: a request of a job, what came back, and what was made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The job: key of its first request.
    pub key: Key,
    /// Number of the answer within the job, from 1.
    pub attempt: u32,
    /// The request that was sent; the same as `key` for the first.
    pub request: Key,
    /// What was made of it.
    pub ruling: Ruling,
    /// Why, unless accepted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The answer, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ChatAnswer>,
    /// What went wrong on the way (busy, reset, ...), in order; one entry for each try without an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Time from the first try to the answer, waiting included, in milliseconds.
    pub elapsed_ms: u64,
    /// When the line was written, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The one member of a [`Record`] that matters once its job has ended.
#[derive(Deserialize)]
pub(super) struct Answered {
    #[serde(default)]
    pub answer: Option<ChatAnswer>,
}

/// The members of a [`Record`] that opening needs; texts are skipped, not copied.
#[derive(Deserialize)]
pub(super) struct Head {
    pub key: Key,
    /// Number of the answer, from 1.
    pub attempt: u32,
    pub ruling: Ruling,
    #[serde(default)]
    pub answer: Option<AnswerHead>,
    #[serde(default)]
    pub faults: Vec<serde::de::IgnoredAny>,
    pub elapsed_ms: u64,
    pub at_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct AnswerHead {
    pub usage: Usage,
}

/// One line of the requests: a request, or a system message that requests refer to.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Sent<'a> {
    Request {
        request: Key,
        model: Cow<'a, str>,
        messages: Vec<SentMessage<'a>>,
        sampling: Sampling,
    },
    Text {
        text: Key,
        content: Cow<'a, str>,
    },
}

/// A message in full, or by the key of its text. System messages are the same for thousands of requests: each
/// session writes them once.
#[derive(Serialize, Deserialize)]
pub(super) struct SentMessage<'a> {
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Key>,
}

impl<'a> SentMessage<'a> {
    pub(super) fn new(message: &'a Message) -> Self {
        let by_key = message.role == Role::System;
        SentMessage {
            role: message.role,
            content: (!by_key).then_some(Cow::Borrowed(message.content.as_str())),
            text: by_key.then(|| Key::of(message.content.as_bytes())),
        }
    }
}

impl<'a> Sent<'a> {
    pub(super) fn new(request: &'a ChatRequest, key: Key) -> Self {
        Sent::Request {
            request: key,
            model: Cow::Borrowed(&request.model),
            messages: request.messages.iter().map(SentMessage::new).collect(),
            sampling: request.sampling.clone(),
        }
    }
}
