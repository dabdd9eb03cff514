//! A small chat client for OpenAI-compatible servers.
//!
//! [`ChatBackend`] is the seam: whoever needs a language model (synthesis, the judge) asks for a backend and does not
//! care what answers. [`OpenAiClient`] is the one for servers (vLLM, llama.cpp, Ollama, hosted services): blocking,
//! shared between threads, with timeouts and bounded retries that honour `Retry-After`. The key comes from an
//! environment variable and from nowhere else, and appears in no log, error or debug output.
//!
//! [`run`] is the way to put many questions: it keeps a number of requests in flight, within limits per minute, repeats
//! what can be mended by asking again, hands each answer to the asker's verdict ([`Jobs`]), and keeps everything in a
//! [`Ledger`], so that an interrupted run goes on where it was and pays for nothing twice.
//!
//! What can be mended by asking again (busy, broken, reset, timed out, half an answer) is asked again; what cannot
//! (wrong key, unknown model) returns at once with the server's own words, see [`Error::is_permanent`].
//!
//! # Cost
//! One thread per request in flight; a few kilobytes each. The models' time is what counts. A ledger of 200,000 jobs
//! takes about 40 MB of memory and opens in two thirds of a second (`tests/scale.rs`).
//!
//! # Example
//! ```
//! use syncabel_llm::{ChatAnswer, ChatBackend, ChatRequest, Error, Message, Role, Sampling, Usage};
//!
//! struct Echo;
//! impl ChatBackend for Echo {
//!     fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error> {
//!         let text = request.messages[0].content.clone();
//!         Ok(ChatAnswer { text, finish_reason: None, usage: Usage::default(), attempts: 1 })
//!     }
//! }
//! let messages = vec![Message::new(Role::User, "hello")];
//! let request = ChatRequest { model: "echo".into(), messages, sampling: Sampling::default() };
//! assert_eq!(Echo.chat(&request)?.text, "hello");
//! # Ok::<(), Error>(())
//! ```

mod chat;
mod error;
pub mod fault_server;
mod ledger;
mod limits;
mod openai;
mod retry;
mod run;
mod sampling;
mod secret;

pub use chat::{ChatAnswer, ChatBackend, ChatRequest, Fault, Keys, Message, Role, Usage};
pub use error::Error;
pub use ledger::{Key, Ledger, Outcome, Record, Ruling, State, Totals};
pub use limits::Limits;
pub use openai::{OpenAiClient, OpenAiConfig};
pub use retry::RetryPolicy;
pub use run::{Finished, Jobs, Progress, RunOptions, Verdict, run};
pub use sampling::{Extra, Sampling};
