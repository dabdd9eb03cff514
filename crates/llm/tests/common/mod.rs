//! Jobs about numbered concepts, as synthesis has them: three marked lines are wanted, five answers at most.

#![allow(dead_code)] // each test file uses its part

use syncabel_llm::{
    ChatAnswer, ChatRequest, Jobs, Message, OpenAiClient, OpenAiConfig, RetryPolicy, Role,
    RunOptions, Sampling, Verdict,
};

pub(crate) const SENTENCES: usize = 3;
pub(crate) const MOST_ANSWERS: usize = 5;

/// Concepts `0..count`.
pub(crate) struct Concepts {
    pub(crate) count: usize,
}

impl Jobs for Concepts {
    fn len(&self) -> usize {
        self.count
    }

    fn request(&self, job: usize) -> ChatRequest {
        ask(job, SENTENCES, 1)
    }

    fn verdict(&self, job: usize, answers: &[ChatAnswer]) -> Verdict {
        let lines = answers
            .iter()
            .map(|a| lines_of(job, &a.text).len())
            .sum::<usize>();
        if lines >= SENTENCES {
            Verdict::Accept
        } else if answers.len() >= MOST_ANSWERS {
            let reason = format!("{lines} of {SENTENCES} sentences");
            Verdict::Failed { reason }
        } else {
            let missing = SENTENCES - lines;
            Verdict::Again {
                request: ask(job, missing, answers.len() + 1),
                reason: format!("{missing} missing"),
            }
        }
    }
}

fn ask(job: usize, sentences: usize, attempt: usize) -> ChatRequest {
    let user = format!("Write {sentences} sentences about concept {job}. Attempt {attempt}.");
    ChatRequest {
        model: "small".into(),
        messages: vec![
            Message::new(Role::System, "You write examples."),
            Message::new(Role::User, user),
        ],
        sampling: Sampling::default(),
    }
}

/// What an obedient model answers.
pub(crate) fn obey(request: &ChatRequest) -> String {
    let words: Vec<&str> = request.messages[1].content.split(' ').collect();
    let (sentences, job) = (words[1].parse().unwrap(), words[5].trim_end_matches('.'));
    let line = |n: usize| format!("example: sentence {n} about [concept {job}]\n");
    (0..sentences).map(line).collect()
}

/// The number of the concept that a request is about.
pub(crate) fn concept_of(request: &ChatRequest) -> usize {
    let words: Vec<&str> = request.messages[1].content.split(' ').collect();
    words[5].trim_end_matches('.').parse().unwrap()
}

pub(crate) fn lines_of(job: usize, text: &str) -> Vec<String> {
    let mark = format!("[concept {job}]");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("example: "));
    lines
        .filter(|line| line.contains(&mark))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn client(url: &str) -> OpenAiClient {
    let config = OpenAiConfig {
        timeout_s: 3,
        connect_timeout_s: 3,
        ..OpenAiConfig::new(url)
    };
    OpenAiClient::new(&config).unwrap()
}

pub(crate) fn options(in_flight: usize) -> RunOptions {
    RunOptions {
        in_flight,
        retry: RetryPolicy {
            max_attempts: 5,
            initial_wait_ms: 2,
            max_wait_ms: 50,
        },
        ..RunOptions::default()
    }
}
