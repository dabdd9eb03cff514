//! Many jobs against a server that misbehaves, processes that die, disks that are full.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Concepts, SENTENCES, client, concept_of, lines_of, obey, options};
use syncabel_llm::fault_server::{Disturbance, FaultServer, Faults, Served};
use syncabel_llm::{
    ChatAnswer, ChatBackend, ChatRequest, Error, Finished, Jobs, Key, Ledger, Limits, OpenAiClient,
    OpenAiConfig, Outcome, RunOptions, Usage, Verdict, run,
};

fn served_requests(served: &Served) -> usize {
    served.good.values().sum()
}

/// The sentences of every concept, in order, as an export would have them.
fn corpus(ledger: &Ledger, finished: &Finished, jobs: usize) -> Vec<Vec<String>> {
    let one = |job| match finished.outcome(ledger, job).unwrap() {
        Outcome::Accepted(answers) => {
            let lines = answers.iter().flat_map(|a| lines_of(job, &a.text));
            lines.take(SENTENCES).collect()
        }
        other => panic!("concept {job}: {other:?}"),
    };
    (0..jobs).map(one).collect()
}

fn expected(jobs: usize) -> Vec<Vec<String>> {
    let one = |job| {
        (0..SENTENCES)
            .map(|n| format!("sentence {n} about [concept {job}]"))
            .collect()
    };
    (0..jobs).map(one).collect()
}

#[test]
fn ten_thousand_concepts_through_every_fault() {
    const JOBS: usize = 10_000;
    // Of the answers after sixty seconds none is waited for: the client gives up after three.
    let server = FaultServer::start(Faults::all(0.2, 7), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let jobs = Concepts { count: JOBS };
    let (client, options) = (client(server.url()), options(64));
    let start = Instant::now();
    let finished = run(&client, &ledger, &jobs, &options, &mut |_| true).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let served = server.served();

    // Nothing is lost.
    assert_eq!(finished.pending, 0);
    let totals = ledger.totals();
    assert_eq!(totals.accepted + totals.failed, JOBS as u64);
    // Five answers in a row that say nothing to the point: 0.2 * 4/13 to the power of five, 1 in 10^6.
    assert_eq!(totals.failed, 0);
    // The corpus does not depend on who was first.
    assert_eq!(corpus(&ledger, &finished, JOBS), expected(JOBS));
    // Nothing is generated twice: every concept has got exactly one undisturbed answer.
    assert_eq!(served_requests(&served), JOBS);
    assert!(served.good.values().all(|&times| times == 1));
    let mut by_concept: HashMap<usize, usize> = HashMap::new();
    ledger
        .each_request(|key, request| {
            if served.good.contains_key(&key) {
                *by_concept.entry(concept_of(&request)).or_default() += 1;
            }
        })
        .unwrap();
    assert_eq!(by_concept.len(), JOBS);
    assert!(by_concept.values().all(|&times| times == 1));
    // Every fault was met.
    for kind in Disturbance::ALL {
        assert!(
            served.disturbed.get(&kind).is_some_and(|&n| n > 50),
            "{kind:?}"
        );
    }
    let disturbed: usize = served.disturbed.values().sum();
    let share = disturbed as f64 / served.requests as f64;
    assert!((0.19..0.21).contains(&share), "{share}");
    eprintln!(
        "{JOBS} concepts, {} requests, {disturbed} disturbed, {} at most in flight, {seconds:.1} s",
        served.requests, served.most_in_flight
    );

    // A second run asks for nothing.
    drop(ledger);
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let again = run(&client, &ledger, &jobs, &options, &mut |_| true).unwrap();
    assert_eq!((again.progress.reused, again.pending), (JOBS, 0));
    assert_eq!(server.served().requests, served.requests);
    assert_eq!(corpus(&ledger, &again, JOBS), expected(JOBS));
}

#[test]
fn an_answer_after_sixty_seconds_is_taken_by_who_waits_that_long() {
    const JOBS: usize = 20;
    let faults = Faults {
        kinds: vec![Disturbance::Late],
        ..Faults::all(1.0, 7)
    };
    assert_eq!(faults.late, Duration::from_secs(60));
    let server = FaultServer::start(faults, Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let patient = OpenAiClient::new(&OpenAiConfig {
        timeout_s: 120,
        ..OpenAiConfig::new(server.url())
    })
    .unwrap();
    let jobs = Concepts { count: JOBS };
    let start = Instant::now();
    let finished = run(&patient, &ledger, &jobs, &options(JOBS), &mut |_| true).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(60));
    assert_eq!((finished.pending, ledger.totals().failed), (0, 0));
    assert_eq!(corpus(&ledger, &finished, JOBS), expected(JOBS));
    // Each was asked once: nobody lost patience.
    assert_eq!(server.served().requests, JOBS);
}

const CHILD: &str = "SYNCABEL_LLM_TEST_CHILD";

/// Not a test of its own: the body of the processes that the tests below start, kill and starve.
#[test]
fn child_process() {
    let Ok(instruction) = std::env::var(CHILD) else {
        return;
    };
    let parts: Vec<&str> = instruction.split('|').collect();
    let [dir, url, count, limit] = parts[..] else {
        panic!("{instruction}");
    };
    if let Ok(bytes) = limit.parse::<libc::rlim_t>() {
        // SAFETY: plain system calls on valid arguments, in a process that does nothing else.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit {
                rlim_cur: bytes,
                rlim_max: bytes,
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
    }
    let count = count.parse().unwrap();
    let result = Ledger::open(Path::new(dir), "test").and_then(|ledger| {
        run(
            &client(url),
            &ledger,
            &Concepts { count },
            &options(16),
            &mut |_| true,
        )
    });
    if let Err(error) = result {
        eprintln!("CHILD FAILED: {error}");
        std::process::exit(7);
    }
}

fn child(dir: &Path, url: &str, count: usize, limit: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_process", "--nocapture"])
        .env(CHILD, format!("{}|{url}|{count}|{limit}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn kill_9_loses_at_most_what_is_in_flight() {
    const JOBS: usize = 3_000;
    let server = FaultServer::start(Faults::none(), Duration::from_millis(2), obey);
    let dir = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for round in 0..60u64 {
        let mut process = child(dir.path(), server.url(), JOBS, "")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let strike = Instant::now() + Duration::from_millis(25 + round * 7 % 50);
        let finished = loop {
            if let Some(status) = process.try_wait().unwrap() {
                assert!(status.success());
                break true;
            }
            if Instant::now() > strike {
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
                break false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if finished {
            break;
        }
    }
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let jobs = Concepts { count: JOBS };
    let finished = run(
        &client(server.url()),
        &ledger,
        &jobs,
        &options(16),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(corpus(&ledger, &finished, JOBS), expected(JOBS));
    assert!(kills > 2, "the machine was too fast to be killed");
    let answered = served_requests(&server.served());
    assert!(answered >= JOBS);
    assert!(
        answered <= JOBS + kills * 16,
        "{answered} answers after {kills} kills"
    );
    eprintln!("{kills} kills, {} answers paid for twice", answered - JOBS);
}

#[test]
fn a_full_disk_stops_and_costs_what_was_in_flight() {
    const JOBS: usize = 400;
    let server = FaultServer::start(Faults::none(), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let output = child(dir.path(), server.url(), JOBS, "50000")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(
        message.contains("CHILD FAILED: ledger") && message.contains("-00000.jsonl"),
        "{message}"
    );
    let before = served_requests(&server.served());
    assert!(before < JOBS);
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let kept = ledger.totals().accepted as usize;
    assert!(kept > 50 && kept + 16 >= before, "{kept} of {before}");
    let jobs = Concepts { count: JOBS };
    let finished = run(
        &client(server.url()),
        &ledger,
        &jobs,
        &options(16),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(corpus(&ledger, &finished, JOBS), expected(JOBS));
    assert_eq!(served_requests(&server.served()), before + JOBS - kept);
}

#[test]
fn a_second_process_is_refused() {
    let server = FaultServer::start(Faults::none(), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let _ledger = Ledger::open(dir.path(), "test").unwrap();
    let output = child(dir.path(), server.url(), 10, "").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(
        message.contains(&format!("in use by process {}", std::process::id())),
        "{message}"
    );
    assert_eq!(server.served().requests, 0);
}

/// A backend that is a function.
struct Table<F>(F);

impl<F: Fn(&ChatRequest) -> Result<String, Error> + Send + Sync> ChatBackend for Table<F> {
    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error> {
        (self.0)(request).map(|text| ChatAnswer {
            text,
            finish_reason: None,
            usage: Usage::default(),
            attempts: 1,
        })
    }
}

fn refusing(status: u16) -> impl Fn(&ChatRequest) -> Result<String, Error> {
    move |_| {
        Err(Error::Refused {
            url: "http://x".into(),
            status,
            message: "model `small` does not exist".into(),
        })
    }
}

fn try_all(
    backend: &dyn ChatBackend,
    count: usize,
) -> (Result<Finished, Error>, Ledger, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let result = run(
        backend,
        &ledger,
        &Concepts { count },
        &options(4),
        &mut |_| true,
    );
    (result, ledger, dir)
}

#[test]
fn a_wrong_key_or_model_stops_at_once_with_the_servers_words() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    // 401, 402 and 404 need one refusal; a 400 from a server that never answered anything needs three.
    for (status, most) in [(401, 4), (404, 4), (400, 7)] {
        let asked = AtomicUsize::new(0);
        let refuse = refusing(status);
        let backend = Table(|request: &ChatRequest| {
            asked.fetch_add(1, Ordering::Relaxed);
            refuse(request)
        });
        let (result, ledger, _dir) = try_all(&backend, 1_000);
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains("model `small` does not exist"),
            "{message}"
        );
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked <= most, "{asked} requests for status {status}");
        assert_eq!(ledger.totals().failed, 0, "no concept is blamed");
    }
}

#[test]
fn a_key_that_is_withdrawn_on_the_way_stops_the_run_and_blames_no_concept() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (asked, refuse) = (AtomicUsize::new(0), refusing(403));
    let backend = Table(
        |request: &ChatRequest| match asked.fetch_add(1, Ordering::Relaxed) {
            0..200 => Ok(obey(request)),
            _ => refuse(request),
        },
    );
    let (result, ledger, _dir) = try_all(&backend, 1_000);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("403"), "{message}");
    // 25 refusals, what was on its way meanwhile, and the question that was answered before.
    assert!(asked.load(Ordering::Relaxed) <= 200 + 25 + 4 + 1);
    assert_eq!((ledger.totals().accepted, ledger.totals().failed), (200, 0));
    // With a key that holds, the same run ends.
    let obedient = Table(|request: &ChatRequest| Ok(obey(request)));
    let jobs = Concepts { count: 1_000 };
    let rest = run(&obedient, &ledger, &jobs, &options(4), &mut |_| true).unwrap();
    assert_eq!((rest.progress.failed, rest.pending), (0, 0));
}

#[test]
fn a_request_that_is_refused_alone_fails_alone() {
    let refuse = refusing(413);
    let backend = Table(|request: &ChatRequest| match concept_of(request) {
        17 => refuse(request),
        _ => Ok(obey(request)),
    });
    let (result, ledger, _dir) = try_all(&backend, 50);
    let finished = result.unwrap();
    assert_eq!(finished.pending, 0);
    let Outcome::Failed { reason, answers } = finished.outcome(&ledger, 17).unwrap() else {
        panic!("concept 17 failed");
    };
    assert!(reason.contains("413") && answers.is_empty(), "{reason}");
    assert_eq!(ledger.totals().accepted, 49);
}

#[test]
fn many_that_are_refused_in_a_row_fail_alone_too() {
    let refuse = refusing(400);
    let backend = Table(|request: &ChatRequest| match concept_of(request) {
        100..160 | 195..200 => refuse(request),
        _ => Ok(obey(request)),
    });
    let (result, ledger, _dir) = try_all(&backend, 200);
    assert_eq!(result.unwrap().pending, 0);
    assert_eq!(
        (ledger.totals().accepted, ledger.totals().failed),
        (135, 65)
    );
}

#[test]
fn a_server_that_is_busy_when_it_is_asked_about_refusals_is_asked_again() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (refuse, twice) = (refusing(400), AtomicUsize::new(0));
    let backend = Table(|request: &ChatRequest| match concept_of(request) {
        100.. => refuse(request),
        // The question that was answered before: the server is out of order then.
        0 if twice.fetch_add(1, Ordering::Relaxed) == 1 => Err(Error::Exhausted {
            url: String::new(),
            attempts: 1,
            last: "503".into(),
        }),
        _ => Ok(obey(request)),
    });
    let (result, ledger, _dir) = try_all(&backend, 110);
    assert_eq!(result.unwrap().pending, 0);
    assert_eq!(
        (ledger.totals().accepted, ledger.totals().failed),
        (100, 10)
    );
}

#[test]
fn many_threads_with_one_question_ask_it_once() {
    let backend = Table(|request: &ChatRequest| Ok(obey(request)));
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    for _ in 0..2 {
        let finished = run(&backend, &ledger, &Twins(400), &options(64), &mut |_| true).unwrap();
        assert_eq!((finished.pending, ledger.totals().answers), (0, 1));
    }
}

/// So many jobs with one question.
struct Twins(usize);

impl Jobs for Twins {
    fn len(&self) -> usize {
        self.0
    }

    fn request(&self, _: usize) -> ChatRequest {
        Concepts { count: 1 }.request(0)
    }

    fn verdict(&self, _: usize, answers: &[ChatAnswer]) -> Verdict {
        Concepts { count: 1 }.verdict(0, answers)
    }
}

#[test]
fn a_server_that_is_gone_ends_the_run_and_another_run_goes_on() {
    let server = FaultServer::start(Faults::none(), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let some = Concepts { count: 20 };
    run(
        &client(server.url()),
        &ledger,
        &some,
        &options(4),
        &mut |_| true,
    )
    .unwrap();
    let jobs = Concepts { count: 5_000 };
    let gone = client("http://127.0.0.1:9/v1");
    let error = run(&gone, &ledger, &jobs, &options(4), &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    let finished = run(
        &client(server.url()),
        &ledger,
        &jobs,
        &options(4),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!((finished.progress.reused, finished.pending), (20, 0));
    assert_eq!(served_requests(&server.served()), 5_000);
}

#[test]
fn answers_that_never_do_fail_with_the_last_one_on_record() {
    let backend = Table(|_: &ChatRequest| Ok("I cannot help.".to_owned()));
    let (result, ledger, _dir) = try_all(&backend, 3);
    let finished = result.unwrap();
    let Outcome::Failed { reason, answers } = finished.outcome(&ledger, 2).unwrap() else {
        panic!("failed");
    };
    assert_eq!((reason.as_str(), answers.len()), ("0 of 3 sentences", 5));
    assert_eq!(answers[4].text, "I cannot help.");
    assert_eq!((finished.progress.failed, finished.pending), (3, 0));
    // Failed jobs stay failed, unless one asks for them.
    let obedient = Table(|request: &ChatRequest| Ok(obey(request)));
    let jobs = Concepts { count: 3 };
    let again = run(&obedient, &ledger, &jobs, &options(2), &mut |_| true).unwrap();
    assert_eq!(again.progress.failed, 3);
    let retry = RunOptions {
        retry_failed: true,
        ..options(2)
    };
    let again = run(&obedient, &ledger, &jobs, &retry, &mut |_| true).unwrap();
    assert_eq!(corpus(&ledger, &again, 3), expected(3));
}

/// The same question many times.
struct Same;

impl Jobs for Same {
    fn len(&self) -> usize {
        100
    }
    fn request(&self, _job: usize) -> ChatRequest {
        Concepts { count: 1 }.request(0)
    }
    fn verdict(&self, _job: usize, _answers: &[ChatAnswer]) -> Verdict {
        Verdict::Accept
    }
}

#[test]
fn the_same_question_is_asked_once() {
    let server = FaultServer::start(Faults::none(), Duration::from_millis(50), obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let finished = run(
        &client(server.url()),
        &ledger,
        &Same,
        &options(8),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(finished.pending, 0);
    assert_eq!(server.served().requests, 1);
    assert!(matches!(
        finished.outcome(&ledger, 99).unwrap(),
        Outcome::Accepted(_)
    ));
}

#[test]
fn limits_per_minute_are_kept() {
    let server = FaultServer::start(Faults::none(), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let limited = RunOptions {
        limits: Limits {
            requests_per_minute: Some(1_200),
            tokens_per_minute: None,
        },
        ..options(16)
    };
    let start = Instant::now();
    let jobs = Concepts { count: 60 };
    run(&client(server.url()), &ledger, &jobs, &limited, &mut |_| {
        true
    })
    .unwrap();
    // 20 a second; one second's worth may come at once. A busy machine may take longer.
    let seconds = start.elapsed().as_secs_f64();
    assert!((1.9..60.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_pause_that_the_server_asks_for_holds_everybody() {
    let mut faults = Faults::all(0.1, 3);
    faults.kinds = vec![Disturbance::BusyWithTime];
    faults.retry_after = "1".to_owned();
    let server = FaultServer::start(faults, Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let mut patient = options(8);
    patient.retry.max_wait_ms = 1_000;
    let start = Instant::now();
    let jobs = Concepts { count: 20 };
    let finished = run(&client(server.url()), &ledger, &jobs, &patient, &mut |_| {
        true
    })
    .unwrap();
    assert_eq!(finished.pending, 0);
    let busy = server.served().disturbed[&Disturbance::BusyWithTime];
    assert!(busy > 0);
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?} for {busy}",
        start.elapsed()
    );
}

#[test]
fn a_run_that_is_told_to_stop_goes_on_later() {
    let server = FaultServer::start(Faults::none(), Duration::from_millis(5), obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let jobs = Concepts { count: 2_000 };
    let stopped = run(
        &client(server.url()),
        &ledger,
        &jobs,
        &options(4),
        &mut |p| p.finished < 50,
    )
    .unwrap();
    assert!(
        stopped.pending > 0 && stopped.pending < 1_950,
        "{}",
        stopped.pending
    );
    let last = jobs.len() - 1;
    assert_eq!(stopped.outcome(&ledger, last).unwrap(), Outcome::Pending);
    let finished = run(
        &client(server.url()),
        &ledger,
        &jobs,
        &options(32),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(corpus(&ledger, &finished, 2_000), expected(2_000));
    let good: HashMap<Key, usize> = server.served().good;
    assert!(good.values().all(|&times| times == 1));
}
