//! A chat server for tests: on loopback, in process, at once, and as ill-behaved as wished.
//!
//! It speaks HTTP/1.1 with connections kept open, answers with what a function makes of the request, and disturbs a
//! chosen share of its answers in every way seen in the wild ([`Disturbance`]). Which request is disturbed how depends on the seed,
//! the request's content and how often it was seen, not on time or order. It counts what it did, so that a test can tell
//! whether something was asked twice.
//!
//! It is compiled always, not behind a feature, so that `cargo test` and `cargo build` share one build of the crates
//! above.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{ChatRequest, Key};

/// One way in which an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disturbance {
    /// Status 429 without a word about when to come back.
    Busy,
    /// Status 429 with `Retry-After`.
    BusyWithTime,
    /// Status 500.
    Broken,
    /// Status 503.
    Unavailable,
    /// The connection is reset.
    Reset,
    /// More bytes are announced than sent.
    HalfBody,
    /// Status 200 and nothing.
    EmptyBody,
    /// Status 200 and something that is no JSON.
    InvalidJson,
    /// The answer comes after [`Faults::late`].
    Late,
    /// A proper answer that declines.
    Refusal,
    /// A proper answer without the markers asked for.
    WithoutMarkers,
    /// A proper answer about something else.
    AnotherSubject,
    /// A proper answer that never comes to the point.
    VeryLong,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Disturbance; 13] = [
        Disturbance::Busy,
        Disturbance::BusyWithTime,
        Disturbance::Broken,
        Disturbance::Unavailable,
        Disturbance::Reset,
        Disturbance::HalfBody,
        Disturbance::EmptyBody,
        Disturbance::InvalidJson,
        Disturbance::Late,
        Disturbance::Refusal,
        Disturbance::WithoutMarkers,
        Disturbance::AnotherSubject,
        Disturbance::VeryLong,
    ];
}

/// How often and how the server misbehaves.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Share of answers that are disturbed.
    pub share: f64,
    /// What decides which.
    pub seed: u64,
    /// The ways, each as often as the others.
    pub kinds: Vec<Disturbance>,
    /// Delay of [`Disturbance::Late`].
    pub late: Duration,
    /// Seconds asked for by [`Disturbance::BusyWithTime`].
    pub retry_after: String,
}

impl Faults {
    /// A server that behaves.
    pub fn none() -> Self {
        Faults {
            share: 0.0,
            seed: 0,
            kinds: Vec::new(),
            late: Duration::ZERO,
            retry_after: "0".to_owned(),
        }
    }

    /// Every way, for a share of the answers.
    pub fn all(share: f64, seed: u64) -> Self {
        Faults {
            share,
            seed,
            kinds: Disturbance::ALL.to_vec(),
            late: Duration::from_secs(60),
            retry_after: "0.01".to_owned(),
        }
    }
}

/// What a server did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests received.
    pub requests: usize,
    /// Undisturbed answers delivered, by request.
    pub good: HashMap<Key, usize>,
    /// Disturbed answers by kind.
    pub disturbed: HashMap<Disturbance, usize>,
    /// Most requests that were being answered at the same time.
    pub most_in_flight: usize,
}

type Answer = dyn Fn(&ChatRequest) -> String + Send + Sync;

/// A running server. Dropping it stops accepting connections.
pub struct FaultServer {
    url: String,
    state: Arc<State>,
}

struct State {
    answer: Box<Answer>,
    faults: Faults,
    delay: Duration,
    served: Mutex<Served>,
    seen: Mutex<HashMap<Key, u64>>,
    in_flight: AtomicUsize,
    stop: AtomicBool,
}

impl FaultServer {
    /// Starts a server on a free port of loopback that answers with `answer`, after `delay`.
    ///
    /// # Panics
    /// If loopback cannot be bound.
    pub fn start(
        faults: Faults,
        delay: Duration,
        answer: impl Fn(&ChatRequest) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(State {
            answer: Box::new(answer),
            faults,
            delay,
            served: Mutex::default(),
            seen: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else {
                    continue;
                };
                std::thread::spawn(move || state.serve(stream));
            }
        });
        FaultServer {
            url: format!("http://{address}/v1"),
            state,
        }
    }

    /// The `base_url` for a client.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it did so far.
    pub fn served(&self) -> Served {
        self.state
            .served
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let address = self
            .url
            .trim_start_matches("http://")
            .trim_end_matches("/v1");
        let _ = TcpStream::connect(address);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        // Small answers are to leave at once; a client that hangs up ends the loop.
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(stream);
        while let Some(body) = read_body(&mut reader) {
            let Ok(request) = serde_json::from_slice::<ChatRequest>(&body) else {
                let _ = write_reply(
                    &mut writer,
                    400,
                    "",
                    r#"{"error":{"message":"not a chat request"}}"#,
                );
                return;
            };
            let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            let open = self.reply(&request, &mut writer, now);
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            if !open {
                let _ = writer.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Answers one request; `false` if the connection is to be closed.
    fn reply(&self, request: &ChatRequest, writer: &mut TcpStream, in_flight: usize) -> bool {
        let key = request.key();
        let disturbance = self.disturbance(key);
        {
            let mut served = self.served.lock().unwrap_or_else(|e| e.into_inner());
            served.requests += 1;
            served.most_in_flight = served.most_in_flight.max(in_flight);
            match disturbance {
                Some(kind) => *served.disturbed.entry(kind).or_default() += 1,
                None => *served.good.entry(key).or_default() += 1,
            }
        }
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        match disturbance {
            None => write_reply(writer, 200, "", &completion(&(self.answer)(request))).is_ok(),
            Some(kind) => self.disturb(kind, request, writer),
        }
    }

    fn disturbance(&self, key: Key) -> Option<Disturbance> {
        let faults = &self.faults;
        if faults.share <= 0.0 || faults.kinds.is_empty() {
            return None;
        }
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        let times = seen.entry(key).or_default();
        *times += 1;
        let hash = blake3::hash(format!("{} {key} {times}", faults.seed).as_bytes());
        let [a, b, c, d, kind, ..] = hash.as_bytes();
        let draw = f64::from(u32::from_le_bytes([*a, *b, *c, *d])) / f64::from(u32::MAX);
        (draw < faults.share).then(|| faults.kinds[usize::from(*kind) % faults.kinds.len()])
    }

    fn disturb(&self, kind: Disturbance, request: &ChatRequest, writer: &mut TcpStream) -> bool {
        let busy = r#"{"error":{"message":"too many requests"}}"#;
        let text = |text: &str| completion(text);
        let (status, headers, body) = match kind {
            Disturbance::Busy => (429, String::new(), busy.to_owned()),
            Disturbance::BusyWithTime => {
                let headers = format!("Retry-After: {}\r\n", self.faults.retry_after);
                (429, headers, busy.to_owned())
            }
            Disturbance::Broken => (500, String::new(), "internal error".to_owned()),
            Disturbance::Unavailable => (503, String::new(), String::new()),
            Disturbance::Reset => return false,
            Disturbance::HalfBody => {
                let body = completion("half");
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    body.len() * 2
                );
                let _ = writer.write_all(format!("{head}{body}").as_bytes());
                return false;
            }
            Disturbance::EmptyBody => (200, String::new(), String::new()),
            Disturbance::InvalidJson => (200, String::new(), "<html>{".to_owned()),
            Disturbance::Late => {
                std::thread::sleep(self.faults.late);
                (200, String::new(), text(&(self.answer)(request)))
            }
            Disturbance::Refusal => (
                200,
                String::new(),
                text("I cannot help with medical content."),
            ),
            Disturbance::WithoutMarkers => (
                200,
                String::new(),
                text("Here is a sentence about it, without any mark."),
            ),
            Disturbance::AnotherSubject => (
                200,
                String::new(),
                text("example: The harbour was full of boats."),
            ),
            Disturbance::VeryLong => (200, String::new(), text(&"and so on ".repeat(20_000))),
        };
        write_reply(writer, status, &headers, &body).is_ok()
    }
}

/// The body of the next request; `None` when the client has gone.
fn read_body(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn write_reply(
    writer: &mut TcpStream,
    status: u16,
    headers: &str,
    body: &str,
) -> std::io::Result<()> {
    let length = body.len();
    let reply = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    writer.write_all(reply.as_bytes())
}

/// An OpenAI-style body around a text; tokens are counted as words.
fn completion(text: &str) -> String {
    let words = text.split_whitespace().count();
    serde_json::json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": words},
    })
    .to_string()
}
