//! The client for servers that speak OpenAI's chat protocol: vLLM, llama.cpp, Ollama, hosted services.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;

use crate::Error;
use crate::chat::{ChatAnswer, ChatBackend, ChatRequest, Fault, Usage};
use crate::retry::{RetryPolicy, is_transient, retry_after};
use crate::secret::ApiKey;

/// Most of an answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Idle connections kept, which is as many requests as can be in flight without opening new ones.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// Most of a server's message that is repeated in an error, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

/// Where the server is and how patient to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Address up to and including the version, such as `http://127.0.0.1:8000/v1`.
    pub base_url: String,
    /// Environment variable that holds the key; none for servers without one. The key itself is never configured.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Longest time for one request, in seconds.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Longest time to connect, in seconds.
    #[serde(default = "default_connect_timeout_s")]
    pub connect_timeout_s: u64,
    /// When to ask again.
    #[serde(default)]
    pub retry: RetryPolicy,
}

fn default_timeout_s() -> u64 {
    120
}

fn default_connect_timeout_s() -> u64 {
    10
}

impl OpenAiConfig {
    /// A server without a key, with the usual limits.
    pub fn new(base_url: impl Into<String>) -> Self {
        OpenAiConfig {
            base_url: base_url.into(),
            api_key_env: None,
            timeout_s: default_timeout_s(),
            connect_timeout_s: default_connect_timeout_s(),
            retry: RetryPolicy::default(),
        }
    }
}

/// A blocking chat client. Share it between threads: connections are pooled.
#[derive(Debug)]
pub struct OpenAiClient {
    url: String,
    key: Option<ApiKey>,
    retry: RetryPolicy,
    agent: Agent,
}

impl OpenAiClient {
    /// Reads the key from the environment and prepares the connection pool; nothing is sent.
    ///
    /// # Errors
    /// [`Error::NoKey`], [`Error::BadUrl`].
    pub fn new(config: &OpenAiConfig) -> Result<Self, Error> {
        let base = config.base_url.trim().trim_end_matches('/');
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(Error::BadUrl {
                base_url: config.base_url.clone(),
            });
        }
        let key = config
            .api_key_env
            .as_deref()
            .map(ApiKey::from_env)
            .transpose()?;
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(config.timeout_s)))
            .timeout_connect(Some(Duration::from_secs(config.connect_timeout_s)))
            .http_status_as_error(false)
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .user_agent(concat!("syncabel/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(OpenAiClient {
            url: format!("{base}/chat/completions"),
            key,
            retry: config.retry,
            agent,
        })
    }

    /// One request, no retry.
    fn send(&self, request: &ChatRequest) -> Result<ChatAnswer, Attempt> {
        let body = serde_json::to_vec(request).expect("strings and numbers always serialise");
        let mut post = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            post = post.header("Authorization", key.bearer());
        }
        let transient = |what: String| Attempt::Transient {
            what: self.clean(&what),
            retry_after: None,
        };
        let mut response = post
            .send(&body[..])
            .map_err(|error| transient(error.to_string()))?;
        let status = response.status().as_u16();
        let wish = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .and_then(|value| retry_after(value, std::time::SystemTime::now()));
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string();
        if is_transient(status) {
            let message = server_message(&body.unwrap_or_default());
            let what = self.clean(&format!("status {status}: {message}"));
            return Err(Attempt::Transient {
                what,
                retry_after: wish,
            });
        }
        let body = body.map_err(|error| transient(format!("the answer broke off: {error}")))?;
        if !(200..300).contains(&status) {
            let message = self.clean(&server_message(&body));
            return Err(Attempt::Final(Error::Refused {
                url: self.url.clone(),
                status,
                message,
            }));
        }
        if body.trim().is_empty() {
            return Err(transient("an empty answer".to_owned()));
        }
        parse(&body).map_err(|reason| {
            // The parser quotes what it has read, which may be anything.
            let (reason, body) = (self.clean(&reason), self.clean(&body));
            Attempt::Final(Error::BadAnswer {
                url: self.url.clone(),
                reason,
                body,
            })
        })
    }

    /// Server text that is fit for an error: short, and without the key.
    fn clean(&self, text: &str) -> String {
        let text = self
            .key
            .as_ref()
            .map_or_else(|| text.to_owned(), |key| key.redact(text));
        let mut short: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
        if short.len() < text.len() {
            short.push_str("...");
        }
        short
    }
}

impl ChatBackend for OpenAiClient {
    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error> {
        let attempts = self.retry.max_attempts.max(1);
        let mut last = String::new();
        for attempt in 1..=attempts {
            match self.send(request) {
                Ok(answer) => {
                    return Ok(ChatAnswer {
                        attempts: attempt,
                        ..answer
                    });
                }
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Transient { what, retry_after }) => {
                    tracing::debug!(attempt, what, "request failed, trying again");
                    if attempt < attempts {
                        std::thread::sleep(self.retry.wait(
                            attempt,
                            retry_after,
                            jitter(request, attempt),
                        ));
                    }
                    last = what;
                }
            }
        }
        Err(Error::Exhausted {
            url: self.url.clone(),
            attempts,
            last,
        })
    }

    fn attempt(&self, request: &ChatRequest) -> Result<ChatAnswer, Fault> {
        self.send(request).map_err(|attempt| match attempt {
            Attempt::Transient { what, retry_after } => Fault::Transient { what, retry_after },
            // A gateway that answers with a page of HTML does so for a moment.
            Attempt::Final(error @ Error::BadAnswer { .. }) => Fault::Transient {
                what: error.to_string(),
                retry_after: None,
            },
            Attempt::Final(error) if error.is_permanent() => Fault::Permanent(error),
            Attempt::Final(error) => Fault::Refused(error),
        })
    }
}

/// A failed attempt.
enum Attempt {
    Transient {
        what: String,
        retry_after: Option<Duration>,
    },
    Final(Error),
}

/// Spread between 0 and 1 that depends on request and attempt only, so that a test sees the same waits every time.
pub(crate) fn jitter(request: &ChatRequest, attempt: u32) -> f64 {
    let hash = blake3::hash(format!("{}{attempt}", request.key()).as_bytes());
    f64::from(hash.as_bytes()[0]) / 255.0
}

/// The part of an OpenAI-style error body that is meant for people, else the body.
fn server_message(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = value.as_ref().and_then(|v| v.get("error"));
    let message = error.and_then(|e| e.get("message").unwrap_or(e).as_str());
    let message = message.unwrap_or(body).trim();
    if message.is_empty() {
        "no message".to_owned()
    } else {
        message.to_owned()
    }
}

fn parse(body: &str) -> Result<ChatAnswer, String> {
    #[derive(Deserialize)]
    struct Completion {
        choices: Vec<Choice>,
        #[serde(default)]
        usage: Option<Usage>,
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Content,
        #[serde(default)]
        finish_reason: Option<String>,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        content: Option<String>,
    }
    let completion: Completion = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let choice = completion.choices.into_iter().next().ok_or("no choices")?;
    Ok(ChatAnswer {
        text: choice.message.content.unwrap_or_default(),
        finish_reason: choice.finish_reason,
        usage: completion.usage.unwrap_or_default(),
        attempts: 1,
    })
}
