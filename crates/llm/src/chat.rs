//! Requests, answers, and the trait behind which a model sits.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::sampling::Extra;
use crate::{Error, Key, Sampling};

/// Something that answers chat requests: a server, a local model, a table in a test.
pub trait ChatBackend: Send + Sync {
    /// The name under which requests to `model` are sent and kept. A server is asked by the name that it knows; a backend
    /// that can tell more of who answers says so, since ledgers hand out what was answered under the same name.
    fn model_name(&self, model: &str) -> String {
        model.to_owned()
    }

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
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Body<'static>")]
pub struct ChatRequest {
    /// Name of the model, as the server calls it.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// How the answer is drawn.
    pub sampling: Sampling,
}

/// The body of a request: all fields on one level.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    model: Cow<'a, str>,
    messages: Cow<'a, [Message]>,
    #[serde(flatten)]
    drawing: Drawing<'a>,
}

/// What stands in a body behind the messages.
#[derive(Serialize, Deserialize)]
struct Drawing<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    stop: Cow<'a, [String]>,
    #[serde(flatten)]
    extra: Cow<'a, Extra>,
}

impl<'a> From<&'a Sampling> for Drawing<'a> {
    fn from(sampling: &'a Sampling) -> Self {
        Drawing {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_new_tokens,
            seed: sampling.seed,
            stop: Cow::Borrowed(&sampling.stop),
            extra: Cow::Borrowed(&sampling.extra),
        }
    }
}

impl Serialize for ChatRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = Body {
            model: Cow::Borrowed(&self.model),
            messages: Cow::Borrowed(&self.messages),
            drawing: Drawing::from(&self.sampling),
        };
        body.serialize(serializer)
    }
}

impl From<Body<'_>> for ChatRequest {
    fn from(body: Body<'_>) -> Self {
        let drawing = body.drawing;
        ChatRequest {
            model: body.model.into_owned(),
            messages: body.messages.into_owned(),
            sampling: Sampling {
                temperature: drawing.temperature,
                top_p: drawing.top_p,
                max_new_tokens: drawing.max_tokens,
                seed: drawing.seed,
                stop: drawing.stop.into_owned(),
                extra: drawing.extra.into_owned(),
            },
        }
    }
}

impl ChatRequest {
    /// Name of this request for ledgers and caches: a BLAKE3 hash of everything that decides the answer (model,
    /// messages, sampling parameters).
    pub fn key(&self) -> Key {
        Key::of(&to_json(self))
    }
}

/// Makes the keys of many requests that begin alike: of what they share (model and first message, the task that every concept is
/// asked with) text and hash are taken once.
#[derive(Debug, Clone)]
pub struct Keys {
    model: String,
    first: Message,
    /// What a body says as far as the first message.
    begun: blake3::Hasher,
}

impl Keys {
    /// For requests to a model whose first message is this one.
    pub fn new(model: &str, first: &Message) -> Self {
        let mut begun = br#"{"model":"#.to_vec();
        begun.extend(to_json(model));
        begun.extend(br#","messages":["#);
        begun.extend(to_json(first));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&begun);
        Keys {
            model: model.to_owned(),
            first: first.clone(),
            begun: hasher,
        }
    }

    /// [`ChatRequest::key`], whatever the request.
    pub fn key(&self, request: &ChatRequest) -> Key {
        let more = match request.messages.split_first() {
            Some((first, more)) if *first == self.first && request.model == self.model => more,
            _ => return request.key(),
        };
        let mut rest = Vec::with_capacity(4096);
        for message in more {
            rest.push(b',');
            serde_json::to_writer(&mut rest, message).expect(SERIALISES);
        }
        rest.push(b']');
        let at = rest.len();
        serde_json::to_writer(&mut rest, &Drawing::from(&request.sampling)).expect(SERIALISES);
        // The fields of an object of their own go on in the body's.
        match rest[at + 1] {
            b'}' => {
                rest.remove(at);
            }
            _ => rest[at] = b',',
        }
        Key::finish(self.begun.clone().update(&rest))
    }
}

const SERIALISES: &str = "strings and numbers always serialise";

fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect(SERIALISES)
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
    fn further_fields_go_to_the_server_and_tell_answers_apart() {
        let mut more = request(None);
        let fields = ["repeat_penalty=1.0", "grammar=root ::= x"];
        more.sampling.extra = fields.iter().map(|f| f.parse::<Extra>().unwrap()).collect();
        let body = serde_json::to_value(&more).unwrap();
        assert_eq!(body["repeat_penalty"], 1.0);
        assert_eq!(body["grammar"], "root ::= x");
        assert_eq!(
            serde_json::from_value::<ChatRequest>(body).unwrap(),
            more,
            "what was sent is read again"
        );
        assert_ne!(more.key(), request(None).key());
        for wrong in ["temperature=1", "stream=true", "nothing"] {
            assert!(wrong.parse::<Extra>().is_err(), "{wrong}");
        }
        let error = serde_json::from_str::<Sampling>(r#"{"extra": {"n": 2}}"#).unwrap_err();
        assert!(
            error.to_string().contains("`n` would change the form"),
            "{error}"
        );
        assert!(serde_json::from_str::<Sampling>(r#"{"temprature": 1}"#).is_err());
    }

    #[test]
    fn keys_differ_with_any_parameter() {
        assert_eq!(request(Some(1)).key(), request(Some(1)).key());
        assert_ne!(request(Some(1)).key(), request(Some(2)).key());
        assert_eq!(request(None).key().to_string().len(), 64);
    }

    #[test]
    fn keys_made_in_bulk_are_those_of_the_requests() {
        let first = Message::new(Role::System, "Write \"sentences\".\n\u{1}");
        let keys = Keys::new("m", &first);
        let mut nothing_else = request(Some(1));
        nothing_else.sampling = Sampling {
            temperature: None,
            top_p: None,
            max_new_tokens: None,
            ..Sampling::default()
        };
        let mut more = request(Some(1));
        more.sampling.stop = vec!["\n".to_owned()];
        more.sampling.extra = ["top_k=0".parse::<Extra>().unwrap()].into_iter().collect();
        for mut request in [request(None), request(Some(2)), nothing_else, more] {
            // One that begins otherwise, ...
            assert_eq!(keys.key(&request), request.key());
            // ... one that begins so and goes on, ...
            request.messages[0] = first.clone();
            assert_eq!(keys.key(&request), request.key());
            // ... one that ends there, one without any, one for another model.
            request.messages.truncate(1);
            assert_eq!(keys.key(&request), request.key());
            request.model = "other".to_owned();
            assert_eq!(keys.key(&request), request.key());
            request.messages.clear();
            assert_eq!(keys.key(&request), request.key());
        }
    }

    #[test]
    fn keys_stay_what_they_were() {
        // A ledger that was paid for is found again by its keys.
        assert_eq!(
            request(Some(1)).key().to_string(),
            "906154f57865b834441f54109d5d1e4b2b1a827e876c9e18ae044c603a0d77d0"
        );
    }
}
