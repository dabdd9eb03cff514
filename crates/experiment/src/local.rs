//! A language model in this process, behind the same seam as a server: for machines that have weights and no server.
//!
//! Whoever asks waits; a thread of its own writes all answers that are waited for side by side, so the number of requests in
//! flight is the size of the batch. An answer depends on its request alone: the seed is in it, or comes from its key.

use crate::config::LinkPrecision;
use anyhow::Result;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use syncabel_decode::sample::{Draw, Drawn, Sampler};
use syncabel_llm::{ChatAnswer, ChatBackend, ChatRequest, Error, Role, Usage};
use syncabel_model::{
    ChatMessage, ChatTemplate, CpuModel, Engine, ModelSource, TextTokenizer, load_cpu,
};

/// Digits of a model's fingerprint that its name in ledgers carries.
const FINGERPRINT_DIGITS: usize = 12;

/// A chat model on the CPU.
pub struct LocalChat {
    asked: Mutex<Sender<Asked>>,
    /// Precision and fingerprint of the weights: what a name alone does not tell.
    weights: String,
}

/// A request and where its answer goes.
struct Asked {
    request: ChatRequest,
    answer: Sender<Result<ChatAnswer, Error>>,
}

impl LocalChat {
    /// Loads a model and its chat template; at most `batch` answers are written at once.
    ///
    /// # Errors
    /// Those of the model's files; a model without a chat template.
    pub fn load(source: &ModelSource, precision: LinkPrecision, batch: usize) -> Result<Self> {
        let model = load_cpu(source, precision.into())?;
        let template = ChatTemplate::read(source, &model.tokenizer)?;
        let precision = match precision {
            LinkPrecision::F32 => "f32",
            LinkPrecision::Bf16 => "bf16",
        };
        let weights = format!("{precision}, {}", &model.fingerprint[..FINGERPRINT_DIGITS]);
        let (asked, questions) = channel();
        let writer = Writer::new(model, template, batch);
        std::thread::Builder::new()
            .name("language model".into())
            .spawn(move || writer.answer_all(&questions, batch.max(1)))?;
        Ok(LocalChat {
            asked: Mutex::new(asked),
            weights,
        })
    }
}

impl ChatBackend for LocalChat {
    /// Another precision, other weights of one name, or a server with the same weights answer otherwise.
    fn model_name(&self, model: &str) -> String {
        format!("{model} (local, {})", self.weights)
    }

    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error> {
        let (answer, answered) = channel();
        let asked = Asked {
            request: request.clone(),
            answer,
        };
        let sender = self.asked.lock().unwrap_or_else(|e| e.into_inner());
        let sent = sender.send(asked);
        drop(sender);
        let gone = || ended(&request.model, "its thread is gone");
        sent.map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

/// This request cannot be answered.
fn cannot(model: &str, message: impl ToString) -> Error {
    Error::Local {
        model: model.to_owned(),
        message: message.to_string(),
    }
}

/// No request can be answered any more.
fn ended(model: &str, message: impl ToString) -> Error {
    Error::LocalEnded {
        model: model.to_owned(),
        message: message.to_string(),
    }
}

/// The thread that writes.
struct Writer {
    sampler: Sampler<Engine>,
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    positions: usize,
    waiting: HashMap<usize, Waiting>,
}

/// A request whose answer is being written.
struct Waiting {
    asked: Asked,
    prompt_tokens: usize,
}

impl Writer {
    fn new(model: CpuModel, template: ChatTemplate, batch: usize) -> Self {
        // Whoever asks again does so at once, and shows the same beginning.
        let memory = batch.div_ceil(2);
        Writer {
            sampler: Sampler::new(model.engine, template.ends().to_vec(), memory),
            tokenizer: model.tokenizer,
            template,
            positions: model.config.max_position_embeddings,
            waiting: HashMap::new(),
        }
    }

    /// Until nobody can ask any more.
    fn answer_all(mut self, questions: &Receiver<Asked>, batch: usize) {
        loop {
            while self.sampler.open() < batch {
                let next = if self.sampler.open() == 0 {
                    questions.recv().ok()
                } else {
                    questions.try_recv().ok()
                };
                match next {
                    Some(asked) => self.begin(asked),
                    None if self.sampler.open() == 0 => return,
                    None => break,
                }
            }
            if self.step().is_break() {
                return;
            }
        }
    }

    fn begin(&mut self, asked: Asked) {
        match self.draw(&asked.request) {
            Ok(draw) => {
                let prompt_tokens = draw.prompt.len();
                let ticket = self.sampler.add(draw);
                let waiting = Waiting {
                    asked,
                    prompt_tokens,
                };
                self.waiting.insert(ticket, waiting);
            }
            Err(message) => reply(&asked, Err(cannot(&asked.request.model, message))),
        }
    }

    fn draw(&self, request: &ChatRequest) -> Result<Draw, String> {
        let message = |m: &syncabel_llm::Message| match m.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let messages: Vec<ChatMessage<'_>> = request
            .messages
            .iter()
            .map(|m| ChatMessage {
                role: message(m),
                content: &m.content,
            })
            .collect();
        let text = self.template.prompt(&messages).map_err(|e| e.to_string())?;
        let prompt = self.tokenizer.encode(&text).map_err(|e| e.to_string())?;
        let sampling = &request.sampling;
        if let Some(name) = sampling.extra.fields().keys().next() {
            return Err(format!(
                "a model in this process knows no field `{name}` (`sampling.extra`)"
            ));
        }
        let left = self.positions.saturating_sub(prompt.len());
        let max_new_tokens = sampling.max_new_tokens.map_or(left, |most| most as usize);
        if prompt.is_empty() || max_new_tokens == 0 || max_new_tokens > left {
            return Err(format!(
                "a prompt of {} tokens and an answer of {max_new_tokens} do not fit into its {} positions",
                prompt.len(),
                self.positions
            ));
        }
        Ok(Draw {
            prompt,
            temperature: sampling.temperature.unwrap_or(1.0),
            top_p: sampling.top_p.unwrap_or(1.0),
            max_new_tokens,
            seed: sampling.seed.unwrap_or_else(|| seed_of(request)),
        })
    }

    /// Writes one token of each answer; after an error there are no more.
    fn step(&mut self) -> ControlFlow<()> {
        let (waiting, tokenizer) = (&self.waiting, &self.tokenizer);
        let mut stop = |ticket: usize, tokens: &[u32]| {
            let stops = &waiting[&ticket].asked.request.sampling.stop;
            !stops.is_empty() && first_stop(&tokenizer.decode(tokens), stops).is_some()
        };
        match self.sampler.step(&mut stop) {
            Ok(finished) => {
                for (ticket, drawn) in finished {
                    if let Some(waiting) = self.waiting.remove(&ticket) {
                        let answer = self.answer(&waiting, &drawn);
                        reply(&waiting.asked, Ok(answer));
                    }
                }
            }
            Err(error) => {
                for (_, waiting) in self.waiting.drain() {
                    let model = &waiting.asked.request.model;
                    reply(&waiting.asked, Err(ended(model, &error)));
                }
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn answer(&self, waiting: &Waiting, drawn: &Drawn) -> ChatAnswer {
        let mut text = self.tokenizer.decode(&drawn.tokens);
        if let Some(at) = first_stop(&text, &waiting.asked.request.sampling.stop) {
            text.truncate(at);
        }
        ChatAnswer {
            text,
            finish_reason: Some(if drawn.ended { "stop" } else { "length" }.to_owned()),
            usage: Usage {
                prompt_tokens: waiting.prompt_tokens as u64,
                completion_tokens: drawn.tokens.len() as u64,
            },
            attempts: 1,
        }
    }
}

/// Where the first of the strings stands that end an answer.
fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop)).min()
}

/// Whoever has gone away needs no answer.
fn reply(asked: &Asked, answer: Result<ChatAnswer, Error>) {
    let _ = asked.answer.send(answer);
}

/// A request without a seed is answered by its content.
fn seed_of(request: &ChatRequest) -> u64 {
    let hex = request.key().to_string();
    u64::from_str_radix(&hex[..16], 16).expect("keys are written in hexadecimal digits")
}
