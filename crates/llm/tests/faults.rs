//! The client against a server of our own on loopback that misbehaves in a fixed order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use syncabel_llm::{
    ChatBackend, ChatRequest, Error, Message, OpenAiClient, OpenAiConfig, RetryPolicy, Role,
    Sampling,
};

/// What the server does with one connection.
enum Behaviour {
    Reply {
        status: u16,
        headers: &'static str,
        body: String,
    },
    /// Announces more than it sends.
    Half(String),
    /// Closes without a word.
    Reset,
    /// Says nothing for a while.
    Silence(Duration),
}

fn reply(status: u16, body: &str) -> Behaviour {
    Behaviour::Reply {
        status,
        headers: "",
        body: body.to_owned(),
    }
}

fn completion(text: &str) -> Behaviour {
    let body = serde_json::json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    });
    reply(200, &body.to_string())
}

/// Starts a server that treats its connections in the given order; the receiver gets each request as it came.
fn serve(script: Vec<Behaviour>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for behaviour in script {
            let (stream, _) = listener.accept().unwrap();
            // The receiver may be gone when a test does not look at the requests.
            let _ = sender.send(read_request(&stream));
            behave(stream, behaviour);
        }
    });
    (address, requests)
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    format!("{head}\n{}", String::from_utf8(body).unwrap())
}

fn behave(mut stream: TcpStream, behaviour: Behaviour) {
    let text = match behaviour {
        Behaviour::Reply {
            status,
            headers,
            body,
        } => {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
        Behaviour::Half(body) => {
            let length = body.len() * 2;
            format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
        Behaviour::Reset => return,
        Behaviour::Silence(duration) => {
            thread::sleep(duration);
            return;
        }
    };
    // A client that gave up has closed the connection; that is its right.
    let _ = stream.write_all(text.as_bytes());
}

fn config(base_url: String) -> OpenAiConfig {
    let retry = RetryPolicy {
        max_attempts: 4,
        initial_wait_ms: 4,
        max_wait_ms: 1_500,
    };
    OpenAiConfig {
        timeout_s: 1,
        connect_timeout_s: 1,
        retry,
        ..OpenAiConfig::new(base_url)
    }
}

fn ask(base_url: String) -> Result<syncabel_llm::ChatAnswer, Error> {
    OpenAiClient::new(&config(base_url))?.chat(&request())
}

fn request() -> ChatRequest {
    let messages = vec![Message::new(Role::User, "Write about gout.")];
    ChatRequest {
        model: "small".into(),
        messages,
        sampling: Sampling::default(),
    }
}

#[test]
fn an_answer_comes_through_with_its_cost() {
    let (url, requests) = serve(vec![completion("example: [gout] hurts")]);
    let answer = ask(url).unwrap();
    assert_eq!(answer.text, "example: [gout] hurts");
    assert_eq!(
        (
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            answer.attempts
        ),
        (7, 3, 1)
    );
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    let sent = requests.recv().unwrap();
    assert!(sent.starts_with("POST /v1/chat/completions "), "{sent}");
    assert!(sent.contains(r#""max_tokens":512"#), "{sent}");
    assert!(
        !sent.to_lowercase().contains("authorization"),
        "no key configured, none sent"
    );
}

#[test]
fn every_passing_fault_is_asked_again() {
    let faults = [
        reply(429, ""),
        reply(500, "{}"),
        reply(503, "busy"),
        Behaviour::Reset,
        reply(200, ""),
    ];
    let faults = faults.into_iter().chain([
        Behaviour::Half("{\"choices\"".into()),
        Behaviour::Silence(Duration::from_millis(1_300)),
    ]);
    for fault in faults {
        let (url, _requests) = serve(vec![fault, completion("ok")]);
        assert_eq!(ask(url).unwrap().attempts, 2);
    }
}

#[test]
fn retry_after_is_honoured() {
    let busy = Behaviour::Reply {
        status: 429,
        headers: "Retry-After: 1\r\n",
        body: String::new(),
    };
    let (url, _requests) = serve(vec![busy, completion("ok")]);
    let start = Instant::now();
    assert!(ask(url).is_ok());
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn attempts_are_bounded_and_the_last_fault_is_told() {
    let (url, requests) = serve(
        (0..9)
            .map(|_| reply(503, r#"{"error":{"message":"overloaded"}}"#))
            .collect(),
    );
    let error = ask(url).unwrap_err();
    assert!(
        matches!(&error, Error::Exhausted { attempts: 4, last, .. } if last == "status 503: overloaded"),
        "{error}"
    );
    assert!(!error.is_permanent());
    assert_eq!(requests.try_iter().count(), 4);
}

#[test]
fn a_wrong_key_stops_at_once_and_never_shows() {
    let variable = "SYNCABEL_TEST_KEY_OF_FAULTS";
    // A key comes from the environment only, and a test must not change its own: it runs itself once more with one.
    let Ok(key) = std::env::var(variable) else {
        let me = std::env::current_exe().unwrap();
        let run = std::process::Command::new(me)
            .args(["a_wrong_key_stops_at_once_and_never_shows", "--exact"])
            .env(variable, "sk-very-secret")
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stdout)
        );
        return;
    };
    let (url, requests) = serve(vec![reply(
        401,
        &format!(r#"{{"error":{{"message":"bad key {key}"}}}}"#),
    )]);
    let client = OpenAiClient::new(&OpenAiConfig {
        api_key_env: Some(variable.into()),
        ..config(url)
    })
    .unwrap();
    let error = client.chat(&request()).unwrap_err();
    assert!(error.is_permanent());
    assert!(error.to_string().contains("401: bad key [key]"), "{error}");
    assert!(requests.recv().unwrap().contains("Bearer sk-very-secret"));
    for shown in [
        format!("{client:?}"),
        format!("{error:?}"),
        error.to_string(),
    ] {
        assert!(!shown.contains(&key), "{shown}");
    }
}

#[test]
fn an_absent_key_and_a_bad_address_are_refused_before_anything_is_sent() {
    let no_key = OpenAiConfig {
        api_key_env: Some("SYNCABEL_NO_SUCH_VARIABLE".into()),
        ..config("http://x".into())
    };
    assert!(matches!(
        OpenAiClient::new(&no_key),
        Err(Error::NoKey { .. })
    ));
    assert!(matches!(
        OpenAiClient::new(&config("localhost:8000".into())),
        Err(Error::BadUrl { .. })
    ));
}

#[test]
fn answers_that_are_no_completion_are_shown_not_repeated() {
    for body in ["<html>", r#"{"choices": []}"#, r#"{"object": "list"}"#] {
        let (url, requests) = serve(vec![reply(200, body), completion("never reached")]);
        let error = ask(url).unwrap_err();
        assert!(
            matches!(&error, Error::BadAnswer { body: shown, .. } if shown == body),
            "{error}"
        );
        assert_eq!(requests.try_iter().count(), 1);
    }
}
