//! Many questions, put side by side, each asked until somebody is content with the answers.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::chat::{ChatAnswer, ChatBackend, ChatRequest, Fault};
use crate::ledger::{Key, Ledger, Outcome, Record, Ruling, State};
use crate::limits::{Limits, Pacer};
use crate::openai::jitter;
use crate::retry::RetryPolicy;

/// Questions by number, and what to make of the answers.
///
/// Requests are made when they are needed, from several threads, and nothing but the one in flight is kept: make them
/// a pure function of the number. A job is identified by its first request; two jobs with the same first request
/// are one, and asked once.
pub trait Jobs: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first request of a job.
    fn request(&self, job: usize) -> ChatRequest;

    /// The key of the first request, for those who know it without making the request: of a job that has ended nothing
    /// else is asked.
    fn key(&self, job: usize) -> Key {
        self.request(job).key()
    }

    /// What to do after an answer. `answers` are all so far, oldest first, never empty.
    fn verdict(&self, job: usize, answers: &[ChatAnswer]) -> Verdict;
}

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The answers so far do.
    Accept,
    /// Something is missing.
    Again {
        /// What to ask next.
        request: ChatRequest,
        /// What is missing, for the record.
        reason: String,
    },
    /// Give up.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How hard to press the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunOptions {
    /// Requests in flight at once, 1,024 at most.
    pub in_flight: usize,
    /// Limits per minute.
    pub limits: Limits,
    /// When to try a request again that brought no answer.
    pub retry: RetryPolicy,
    /// Try jobs anew that an earlier run has given up.
    pub retry_failed: bool,
}

impl Default for RunOptions {
    /// Eight in flight, no limits, five tries.
    fn default() -> Self {
        RunOptions {
            in_flight: 8,
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            retry_failed: false,
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// All jobs.
    pub jobs: usize,
    /// Jobs that are done or given up, those of earlier runs included.
    pub finished: usize,
    /// Of these, given up.
    pub failed: usize,
    /// Of the finished ones, done by an earlier run.
    pub reused: usize,
    /// Tries that brought no answer, in this run.
    pub faults: u64,
    /// Tokens of this run.
    pub tokens: u64,
    /// Requests in flight now.
    pub in_flight: usize,
}

/// A run that came to its end.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The key of every job, by number; none for jobs that were not reached.
    pub keys: Vec<Option<Key>>,
    /// Jobs without an end: the server did not answer them, or the run was told to stop. Another run goes on there.
    pub pending: usize,
    /// The last progress.
    pub progress: Progress,
}

impl Finished {
    /// What a job came to.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn outcome(&self, ledger: &Ledger, job: usize) -> Result<Outcome, Error> {
        match self.keys.get(job) {
            Some(Some(key)) => ledger.outcome(key),
            _ => Ok(Outcome::Pending),
        }
    }
}

/// Rounds over jobs that were put off (not answered, or waiting for another job with the same request).
const ROUNDS: u32 = 3;
/// Refusals after which a server that has never answered is taken to refuse everything.
const REFUSALS: usize = 3;
/// Refusals after which one that has answered is asked whether it still does.
const MANY_REFUSALS: usize = 25;
/// Each request in flight has a thread.
const MOST_IN_FLIGHT: usize = 1024;
/// More tokens than any answer takes.
const MOST_TOKENS: u64 = 100_000_000;
/// Longest time in which a stop goes unnoticed.
const SLICE: Duration = Duration::from_millis(20);

/// Runs all jobs that the ledger does not hold the end of.
///
/// `watch` is called about ten times a second from the calling thread; `false` ends the run after the requests in flight.
///
/// A request that brings no answer is tried again as [`RunOptions::retry`] says; while a server asks for a pause
/// (`Retry-After`), nobody sends. A job that stays without an answer is tried again after the others and then left pending.
/// The outcome of each job is in the ledger, so it does not depend on who was first.
///
/// # Errors
/// What no further request can mend (a wrong key, an unknown model, a full disk), at once and with the server's own
/// words; [`Error::Exhausted`] when as many jobs in a row as are in flight got no answer; [`Error::Refused`] when a server that
/// never answered refuses three, or one that did refuses what it answered before. What was answered before is in the ledger.
pub fn run(
    backend: &dyn ChatBackend,
    ledger: &Ledger,
    jobs: &dyn Jobs,
    options: &RunOptions,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Finished, Error> {
    let shared = Shared::new(backend, ledger, jobs, options);
    let mut todo = None;
    for _ in 0..ROUNDS {
        shared.unanswered_in_a_row.store(0, Ordering::Relaxed);
        let list = Round::new(todo.take(), jobs.len());
        shared.round(&list, watch);
        if shared.stopped() {
            break;
        }
        if let Err(error) = shared.settle_refused() {
            shared.fail(error);
            break;
        }
        let mut put_off = std::mem::take(&mut *lock(&shared.put_off));
        if put_off.is_empty() {
            break;
        }
        put_off.sort_unstable();
        todo = Some(put_off);
    }
    // A few jobs that are never answered are left pending; a server that answers none of them is gone.
    let last_fault = lock(&shared.last_fault).take();
    if let (false, Some(error)) = (shared.has_answered.load(Ordering::Relaxed), last_fault) {
        shared.fail(error);
    }
    ledger.sync()?;
    shared.finish()
}

/// The jobs of one round and how far it is.
struct Round {
    jobs: Option<Vec<usize>>,
    length: usize,
    next: AtomicUsize,
}

impl Round {
    fn new(jobs: Option<Vec<usize>>, all: usize) -> Self {
        Round {
            length: jobs.as_ref().map_or(all, Vec::len),
            jobs,
            next: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<usize> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.length).then(|| self.jobs.as_ref().map_or(at, |jobs| jobs[at]))
    }
}

/// Counts a worker out, however it leaves. One that panics takes the others along, or the run would wait for it for ever.
struct Leaving<'a> {
    running: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.running.fetch_sub(1, Ordering::Release);
    }
}

/// What the threads of a run share.
struct Shared<'a> {
    backend: &'a dyn ChatBackend,
    ledger: &'a Ledger,
    jobs: &'a dyn Jobs,
    options: &'a RunOptions,
    pacer: Pacer,
    /// Keys of the jobs being worked on.
    busy: Mutex<HashSet<Key>>,
    keys: Mutex<Vec<(usize, Key)>>,
    put_off: Mutex<Vec<usize>>,
    error: Mutex<Option<Error>>,
    stop: AtomicBool,
    finished: AtomicUsize,
    failed: AtomicUsize,
    reused: AtomicUsize,
    in_flight: AtomicUsize,
    faults: AtomicU64,
    tokens: AtomicU64,
    unanswered_in_a_row: AtomicU32,
    /// Keys of failed jobs that this run asked once more.
    reopened: Mutex<HashSet<Key>>,
    /// Requests that were refused, and nobody knows yet why; see [`Shared::refused`].
    refused: Mutex<Vec<Refused>>,
    /// Held by the one who finds out why.
    settling: Mutex<()>,
    /// Whether anything was answered in this run.
    has_answered: AtomicBool,
    /// The last fault of a job that stayed without an answer.
    last_fault: Mutex<Option<Error>>,
}

/// How far a job got.
enum End {
    /// To its end, or to where another round or run goes on.
    Done,
    /// It was refused, and nobody else may ask the same until it is known why.
    Held,
}

/// A request that the server would not answer.
struct Refused {
    key: Key,
    request: ChatRequest,
    record: Record,
    error: Error,
}

/// What came of sending a request until it was answered.
enum Sent {
    Answer(ChatAnswer),
    Refused(Error),
    Nothing,
}

impl<'a> Shared<'a> {
    fn new(
        backend: &'a dyn ChatBackend,
        ledger: &'a Ledger,
        jobs: &'a dyn Jobs,
        options: &'a RunOptions,
    ) -> Self {
        Shared {
            backend,
            ledger,
            jobs,
            options,
            pacer: Pacer::new(&options.limits, Instant::now()),
            busy: Mutex::default(),
            keys: Mutex::new(Vec::with_capacity(jobs.len())),
            put_off: Mutex::default(),
            error: Mutex::default(),
            stop: AtomicBool::new(false),
            finished: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            reused: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            faults: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            unanswered_in_a_row: AtomicU32::new(0),
            reopened: Mutex::default(),
            refused: Mutex::default(),
            settling: Mutex::default(),
            has_answered: AtomicBool::new(false),
            last_fault: Mutex::default(),
        }
    }

    fn round(&self, round: &Round, watch: &mut dyn FnMut(&Progress) -> bool) {
        let threads = self.options.in_flight.clamp(1, MOST_IN_FLIGHT);
        let threads = threads.min(round.length);
        let running = AtomicUsize::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let _leaving = Leaving {
                        running: &running,
                        stop: &self.stop,
                    };
                    while let (false, Some(job)) = (self.stopped(), round.next()) {
                        if let Err(error) = self.work(job) {
                            self.fail(error);
                        }
                    }
                });
            }
            let mut last = Instant::now();
            while running.load(Ordering::Acquire) > 0 {
                std::thread::sleep(Duration::from_millis(2));
                if last.elapsed() > Duration::from_millis(100) {
                    last = Instant::now();
                    if !watch(&self.progress()) {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        if !watch(&self.progress()) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// One job, from where the ledger left it to its end.
    fn work(&self, job: usize) -> Result<(), Error> {
        let key = self.jobs.key(job);
        lock(&self.keys).push((job, key));
        if let Some(failed) = self.settled(&key) {
            return self.reuse(failed);
        }
        if !lock(&self.busy).insert(key) {
            lock(&self.put_off).push(job);
            return Ok(());
        }
        // Only the one that is busy with a key changes its state. A refused job stays busy until it is settled.
        let end = self.go_on(job, key);
        if !matches!(end, Ok(End::Held)) {
            lock(&self.busy).remove(&key);
        }
        end.map(|_| ())
    }

    /// Whether a job has come to an end that stands, and whether it failed.
    fn settled(&self, key: &Key) -> Option<bool> {
        // In this order: a job is reopened first and counted as such afterwards.
        let was_reopened = lock(&self.reopened).contains(key);
        match self.ledger.state(key) {
            Some(State::Accepted) => Some(false),
            Some(State::Failed) if !self.options.retry_failed || was_reopened => Some(true),
            _ => None,
        }
    }

    fn go_on(&self, job: usize, key: Key) -> Result<End, Error> {
        if let Some(failed) = self.settled(&key) {
            self.reuse(failed)?;
            return Ok(End::Done);
        }
        if self.ledger.state(&key) == Some(State::Failed) {
            self.ledger
                .append(&Record::new(key, 0, key, Ruling::Reopened), None)?;
            lock(&self.reopened).insert(key);
        }
        self.ask(job, key, self.jobs.request(job))
    }

    fn reuse(&self, failed: bool) -> Result<(), Error> {
        self.reused.fetch_add(1, Ordering::Relaxed);
        self.failed
            .fetch_add(usize::from(failed), Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn ask(&self, job: usize, key: Key, mut request: ChatRequest) -> Result<End, Error> {
        let mut answers = self.ledger.answers(&key)?;
        if !answers.is_empty() {
            match self.jobs.verdict(job, &answers) {
                Verdict::Again { request: next, .. } => request = next,
                ended => {
                    let record = Record::new(key, answers.len() as u32, key, Ruling::Accepted);
                    self.rule(record, &request, &ended)?;
                    return Ok(End::Done);
                }
            }
        }
        while !self.stopped() {
            let start = Instant::now();
            let mut faults = Vec::new();
            let sent = self.send(&request, &mut faults)?;
            let attempt = answers.len() as u32 + 1;
            let mut record = Record::new(key, attempt, request.key(), Ruling::Unanswered);
            record.elapsed_ms = start.elapsed().as_millis() as u64;
            record.faults = faults;
            match sent {
                Sent::Nothing if self.stopped() => return Ok(End::Done),
                Sent::Nothing => {
                    self.unanswered(job, &request, record)?;
                    return Ok(End::Done);
                }
                Sent::Refused(error) => {
                    self.refused(key, request, record, error)?;
                    return Ok(End::Held);
                }
                Sent::Answer(answer) => {
                    record.answer = Some(answer.clone());
                    answers.push(answer);
                    let verdict = self.jobs.verdict(job, &answers);
                    if !self.rule(record, &request, &verdict)? {
                        return Ok(End::Done);
                    }
                    if let Verdict::Again { request: next, .. } = verdict {
                        request = next;
                    }
                }
            }
        }
        Ok(End::Done)
    }

    /// Puts a verdict on record; `true` if the job goes on.
    fn rule(
        &self,
        mut record: Record,
        request: &ChatRequest,
        verdict: &Verdict,
    ) -> Result<bool, Error> {
        (record.ruling, record.reason) = match verdict {
            Verdict::Accept => (Ruling::Accepted, String::new()),
            Verdict::Again { reason, .. } => (Ruling::Again, reason.clone()),
            Verdict::Failed { reason } => (Ruling::Failed, reason.clone()),
        };
        self.ledger.append(&record, Some(request))?;
        if record.ruling == Ruling::Again {
            return Ok(true);
        }
        let failed = record.ruling == Ruling::Failed;
        self.failed
            .fetch_add(usize::from(failed), Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }

    fn unanswered(&self, job: usize, request: &ChatRequest, record: Record) -> Result<(), Error> {
        self.ledger.append(&record, Some(request))?;
        lock(&self.put_off).push(job);
        let in_a_row = self.unanswered_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let error = Error::Exhausted {
            url: "the server".to_owned(),
            attempts: record.faults.len() as u32,
            last: record.faults.last().cloned().unwrap_or_default(),
        };
        if in_a_row as usize >= self.options.in_flight.clamp(4, MOST_IN_FLIGHT) {
            return Err(error);
        }
        *lock(&self.last_fault) = Some(error);
        Ok(())
    }

    /// The server will not answer this request. That may be its own fault (too long, filtered) or the server's (a key was
    /// withdrawn, a quota has ended, a model is gone), so nobody is blamed until some have come together.
    fn refused(
        &self,
        key: Key,
        request: ChatRequest,
        record: Record,
        error: Error,
    ) -> Result<(), Error> {
        lock(&self.refused).push(Refused {
            key,
            request,
            record,
            error,
        });
        // While one finds out, the others wait instead of gathering more refusals.
        let _settling = lock(&self.settling);
        let most = match self.ledger.totals().answers {
            0 => REFUSALS,
            _ => MANY_REFUSALS,
        };
        if lock(&self.refused).len() < most {
            return Ok(());
        }
        self.settle_refused()
    }

    /// Finds out why requests were refused, by sending one that was answered before: an answer to it says that the refused
    /// ones have to be given up. Else the server's words end the run, and they are still to be done.
    fn settle_refused(&self) -> Result<(), Error> {
        if self.stopped() {
            return Ok(());
        }
        let mut refused = std::mem::take(&mut *lock(&self.refused));
        if refused.is_empty() {
            return Ok(());
        }
        if !self.still_answers()? {
            return Err(refused.swap_remove(0).error);
        }
        for one in refused {
            let reason = one.error.to_string();
            self.rule(one.record, &one.request, &Verdict::Failed { reason })?;
            lock(&self.busy).remove(&one.key);
        }
        Ok(())
    }

    /// Asks what was answered before once more.
    fn still_answers(&self) -> Result<bool, Error> {
        let answered = |(_, key): &&(usize, Key)| {
            let answers = self.ledger.answers(key);
            answers.is_ok_and(|answers| !answers.is_empty())
        };
        let known = lock(&self.keys).iter().find(answered).map(|(job, _)| *job);
        let Some(job) = known else {
            return Ok(false);
        };
        let sent = self.send(&self.jobs.request(job), &mut Vec::new())?;
        Ok(matches!(sent, Sent::Answer(_)))
    }

    /// Sends a request until it is answered or the tries are used up. Being asked to wait (`Retry-After`) is no failure
    /// of the try: it counts a quarter.
    fn send(&self, request: &ChatRequest, faults: &mut Vec<String>) -> Result<Sent, Error> {
        const TRY: u32 = 4;
        let retry = &self.options.retry;
        let budget = retry.max_attempts.max(1).saturating_mul(TRY);
        let reserved = expected_tokens(request);
        let (mut spent, mut number) = (0, 0);
        while spent < budget {
            number += 1;
            if !self.turn(request, reserved, number) {
                return Ok(Sent::Nothing);
            }
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let result = self.backend.attempt(request);
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let (what, retry_after) = match result {
                Ok(answer) => {
                    self.answered(&answer, reserved);
                    return Ok(Sent::Answer(ChatAnswer {
                        attempts: number,
                        ..answer
                    }));
                }
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Refused(error)) => return Ok(Sent::Refused(error)),
                Err(Fault::Transient { what, retry_after }) => (what, retry_after),
            };
            self.faults.fetch_add(1, Ordering::Relaxed);
            faults.push(what);
            let wait = retry.wait(spent / TRY + 1, retry_after, jitter(request, number));
            if retry_after.is_some() {
                spent += 1;
                self.pacer.pause(wait, Instant::now());
            } else {
                spent += TRY;
                if spent < budget && !self.sleep(wait) {
                    return Ok(Sent::Nothing);
                }
            }
        }
        Ok(Sent::Nothing)
    }

    /// Waits until this request may be sent; `false` if the run was stopped meanwhile.
    fn turn(&self, request: &ChatRequest, reserved: u64, number: u32) -> bool {
        loop {
            // A place in line is taken behind a pause, not during one: those of a pause would all come due at its end.
            let paused = self.pacer.paused(Instant::now());
            if !paused.is_zero() {
                let spread = Duration::from_millis(self.options.retry.initial_wait_ms);
                if !self.sleep(paused + spread.mul_f64(jitter(request, number))) {
                    return false;
                }
                continue;
            }
            if !self.sleep(self.pacer.reserve(reserved, Instant::now())) {
                return false;
            }
            if self.pacer.paused(Instant::now()).is_zero() {
                return true;
            }
        }
    }

    fn answered(&self, answer: &ChatAnswer, reserved: u64) {
        self.unanswered_in_a_row.store(0, Ordering::Relaxed);
        self.has_answered.store(true, Ordering::Relaxed);
        let usage = &answer.usage;
        let used = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        // A server may say anything; a wrong number must not stop the clock.
        let used = used.min(MOST_TOKENS);
        self.tokens.fetch_add(used, Ordering::Relaxed);
        if used > 0 {
            self.pacer.settle(reserved, used);
        }
    }

    /// Waits; `false` if the run was stopped meanwhile.
    fn sleep(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        loop {
            if self.stopped() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn progress(&self) -> Progress {
        Progress {
            jobs: self.jobs.len(),
            finished: self.finished.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    fn finish(self) -> Result<Finished, Error> {
        let progress = self.progress();
        if let Some(error) = self.error.into_inner().unwrap_or_else(|e| e.into_inner()) {
            return Err(error);
        }
        let mut keys = vec![None; self.jobs.len()];
        for (job, key) in self.keys.into_inner().unwrap_or_else(|e| e.into_inner()) {
            keys[job] = Some(key);
        }
        Ok(Finished {
            keys,
            pending: progress.jobs - progress.finished,
            progress,
        })
    }
}

/// Rough number of tokens a request will take: four bytes of prompt to a token, and the longest answer.
fn expected_tokens(request: &ChatRequest) -> u64 {
    let prompt: usize = request.messages.iter().map(|m| m.content.len()).sum();
    prompt as u64 / 4 + u64::from(request.sampling.max_new_tokens.unwrap_or(512))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
