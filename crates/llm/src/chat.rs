//! Requests, answers, and the trait behind which a model sits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Key};

/// Something that answers chat requests: a server, a local model, a table in a test.
pub trait ChatBackend: Send + Sync {
    /// Answers one request, waiting as long as it takes within the backend's limits.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_permanent`] tells what no further request can mend.
    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error>;

    /// Sends the request once. [`crate::run`] asks this way: it paces and repeats requests itself, over all threads.
    ///
    /// A backend that has no single tries of its own answers by [`ChatBackend::chat`].
    ///
    /// # Errors
    /// What went wrong in this try, and whether another one may help.
    fn attempt(&self, request: &ChatRequest) -> Result<ChatAnswer, Fault> {
        self.chat(request).map_err(|error| match error {
            Error::Refused { .. } | Error::Local { .. } => Fault::Refused(error),
            error if error.is_permanent() => Fault::Permanent(error),
            error => Fault::Transient {
                what: error.to_string(),
                retry_after: None,
            },
        })
    }
}

/// Why a single try brought no answer.
#[derive(Debug)]
pub enum Fault {
    /// Busy, broken, reset, timed out, half an answer: worth another try.
    Transient {
        /// What happened, fit for a log.
        what: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server will not answer this request (too long, filtered); others may pass.
    Refused(Error),
    /// No request can pass: wrong key, unknown model.
    Permanent(Error),
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The task.
    System,
    /// The question.
    User,
    /// An earlier answer.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message {
            role,
            content: content.into(),
        }
    }
}

/// A request for one answer. Serialised, it is the body that an OpenAI-compatible server expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Name of the model, as the server calls it.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// How the answer is drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
}

impl ChatRequest {
    /// Name of this request for ledgers and caches: a BLAKE3 hash of everything that decides the answer (model,
    /// messages, sampling parameters).
    pub fn key(&self) -> Key {
        let body = serde_json::to_vec(self).expect("strings and numbers always serialise");
        Key::of(&body)
    }
}

/// Sampling parameters; what is `None` is left to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
        }
    }
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// The text; empty if the model said nothing.
    pub text: String,
    /// Why it stopped: `stop`, `length`, ...
    pub finish_reason: Option<String>,
    /// What it cost, if the server says.
    pub usage: Usage,
    /// Requests sent until it came.
    pub attempts: u32,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seed: Option<u64>) -> ChatRequest {
        let messages = vec![
            Message::new(Role::System, "s"),
            Message::new(Role::User, "u"),
        ];
        ChatRequest {
            model: "m".into(),
            messages,
            sampling: Sampling {
                seed,
                ..Sampling::default()
            },
        }
    }

    #[test]
    fn the_body_is_what_servers_expect() {
        let body = serde_json::to_value(request(None)).unwrap();
        let expected = serde_json::json!({
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "temperature": 0.6, "top_p": 0.9, "max_tokens": 512,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn keys_differ_with_any_parameter() {
        assert_eq!(request(Some(1)).key(), request(Some(1)).key());
        assert_ne!(request(Some(1)).key(), request(Some(2)).key());
        assert_eq!(request(None).key().to_string().len(), 64);
    }
}
