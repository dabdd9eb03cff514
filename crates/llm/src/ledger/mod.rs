//! The ledger: every request, answer, attempt and verdict, kept so that nothing is lost and nothing is paid for twice.
//!
//! ```text
//! LEDGER/
//!     ledger.json             format, version, purpose
//!     lock                    held by the one process that writes
//!     answers-00000.jsonl     one line per answer with its verdict, see Record
//!     requests-00000.jsonl    what was sent; system messages once, referred to by their hash
//! ```
//! Both series are append-only JSON Lines, each line with its own checksum (see `line.rs`), so they can be read, compared
//! and searched with any tool. A job is named by the hash of its first request (model, messages, sampling
//! parameters): the same question is the same job, whoever asks it and in whatever order.
//!
//! # What survives what
//! `kill -9`, a full disk, a pulled cable: what was answered is on record; the requests in flight are asked again. A line
//! that was being written is cut off at the next opening. Power failure: what was written since the last sync, which is made
//! with the first answer that comes two seconds or more after the one before. A damaged line is an error that names file and
//! line; removing the line asks its question again.
//!
//! # Cost
//! Opening reads and checks the answers and skips their texts; the requests are only looked at when somebody asks
//! for them. In memory stay about 200 bytes for each job, no text.

mod line;
mod record;
mod shards;

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::record::{Answered, Head, Sent};
pub use self::record::{Key, Record, Ruling};
use self::shards::{Place, Reader, Series, each_parsed};
use crate::{ChatAnswer, ChatRequest, Error, Message, Usage};

const FORMAT: &str = "syncabel ledger";
const VERSION: u32 = 1;
const ABOUT: &str = "ledger.json";
const ANSWERS: &str = "answers";
const REQUESTS: &str = "requests";
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Answered, but not to the end.
    Open,
    /// Done.
    Accepted,
    /// Given up.
    Failed,
}

/// What a job came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; all its answers, oldest first.
    Accepted(Vec<ChatAnswer>),
    /// Given up.
    Failed {
        /// Why.
        reason: String,
        /// All answers, oldest first; none where the server refused the request.
        answers: Vec<ChatAnswer>,
    },
    /// Not done yet.
    Pending,
}

/// Sums over a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs done.
    pub accepted: u64,
    /// Jobs given up.
    pub failed: u64,
    /// Jobs begun and not finished.
    pub open: u64,
    /// Answers received.
    pub answers: u64,
    /// Tries that brought no answer.
    pub faults: u64,
    /// Tokens, as far as the server said.
    pub usage: Usage,
    /// Milliseconds waited for answers, added up over requests in flight.
    pub waited_ms: u64,
    /// First and last line, in milliseconds since 1970; 0 in an empty ledger.
    pub first_at_ms: u64,
    /// See `first_at_ms`.
    pub last_at_ms: u64,
    /// Finished jobs of the last ten minutes before the last line, and the milliseconds they are spread over.
    pub recent: (u64, u64),
}

/// An open ledger. Share it between threads.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    index: RwLock<Index>,
    writer: Option<Mutex<Writer>>,
    reader: Mutex<Reader>,
    /// Holds the lock.
    _lock: Option<File>,
}

#[derive(Debug, Default)]
struct Index {
    jobs: HashMap<Key, Job>,
    totals: Totals,
    /// Times at which jobs were finished, oldest first, of the last ten minutes.
    finished_ms: std::collections::VecDeque<u64>,
}

#[derive(Debug)]
struct Job {
    /// Lines with an answer, oldest first.
    answers: Vec<Place>,
    /// The last line.
    last: Place,
    state: State,
}

#[derive(Debug)]
struct Writer {
    answers: Series,
    requests: Series,
    /// System messages that this session has written.
    texts: HashSet<Key>,
    synced: Instant,
}

#[derive(Serialize, Deserialize)]
struct About {
    format: String,
    version: u32,
    purpose: String,
}

impl Ledger {
    /// Opens a ledger for writing, making it if there is none. `purpose` says what kind of jobs it holds (`synth`,
    /// `judge`): a ledger of another purpose is refused.
    ///
    /// # Errors
    /// [`Error::LedgerInUse`] if another process writes to it, [`Error::LedgerFormat`], [`Error::LedgerDamaged`],
    /// [`Error::LedgerIo`].
    pub fn open(dir: &Path, purpose: &str) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(Error::ledger_io(dir))?;
        let lock = lock(dir)?;
        let about = dir.join(ABOUT);
        if about.is_file() {
            let found = check_format(&about)?;
            if found != purpose {
                return Err(Error::LedgerFormat {
                    path: about,
                    reason: format!(
                        "it is a ledger of `{found}`, not of `{purpose}`; use another folder"
                    ),
                });
            }
        } else {
            write_about(&about, purpose)?;
        }
        let writer = Writer {
            answers: Series::open(dir, ANSWERS)?,
            requests: Series::open(dir, REQUESTS)?,
            texts: HashSet::new(),
            synced: Instant::now(),
        };
        Ok(Ledger {
            dir: dir.to_owned(),
            index: RwLock::new(Index::read(dir)?),
            writer: Some(Mutex::new(writer)),
            reader: Mutex::new(Reader::new(dir, ANSWERS)),
            _lock: Some(lock),
        })
    }

    /// Opens an existing ledger for reading, also while another process writes to it.
    ///
    /// # Errors
    /// [`Error::LedgerFormat`], [`Error::LedgerDamaged`], [`Error::LedgerIo`].
    pub fn read(dir: &Path) -> Result<Self, Error> {
        check_format(&dir.join(ABOUT))?;
        Ok(Ledger {
            dir: dir.to_owned(),
            index: RwLock::new(Index::read(dir)?),
            writer: None,
            reader: Mutex::new(Reader::new(dir, ANSWERS)),
            _lock: None,
        })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a job stands; `None` if it never had an answer.
    pub fn state(&self, key: &Key) -> Option<State> {
        self.index().jobs.get(key).map(|job| job.state)
    }

    /// Sums over everything.
    pub fn totals(&self) -> Totals {
        let index = self.index();
        let spread = match (index.finished_ms.front(), index.finished_ms.back()) {
            // A clock that was set back in between must not make it a century.
            (Some(first), Some(last)) => last.saturating_sub(*first),
            _ => 0,
        };
        Totals {
            recent: (index.finished_ms.len() as u64, spread),
            ..index.totals
        }
    }

    /// The answers of a job so far, oldest first.
    ///
    /// # Errors
    /// [`Error::LedgerIo`], [`Error::LedgerDamaged`].
    pub fn answers(&self, key: &Key) -> Result<Vec<ChatAnswer>, Error> {
        let places = self.index().jobs.get(key).map(|job| job.answers.clone());
        let mut answers = Vec::new();
        for place in places.unwrap_or_default() {
            answers.extend(self.line::<Answered>(place)?.answer);
        }
        Ok(answers)
    }

    /// What a job came to.
    ///
    /// # Errors
    /// As [`Ledger::answers`].
    pub fn outcome(&self, key: &Key) -> Result<Outcome, Error> {
        let Some((state, last)) = self.index().jobs.get(key).map(|job| (job.state, job.last))
        else {
            return Ok(Outcome::Pending);
        };
        Ok(match state {
            State::Open => Outcome::Pending,
            State::Accepted => Outcome::Accepted(self.answers(key)?),
            State::Failed => Outcome::Failed {
                reason: self.line::<Record>(last)?.reason,
                answers: self.answers(key)?,
            },
        })
    }

    /// Appends what came of a request. The request is put on record as well.
    ///
    /// # Errors
    /// [`Error::LedgerIo`]: the disk is full, for instance. What was on record before stays.
    ///
    /// # Panics
    /// On a ledger opened by [`Ledger::read`].
    pub fn append(&self, record: &Record, request: Option<&ChatRequest>) -> Result<(), Error> {
        let writer = self
            .writer
            .as_ref()
            .expect("the ledger is open for writing");
        let line = line::write(record);
        let sent =
            request.map(|request| (request, line::write(&Sent::new(request, record.request))));
        let mut writer = writer.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((request, sent)) = sent {
            writer.send(request, &sent)?;
        }
        let place = writer.answers.append(&line)?;
        if writer.synced.elapsed() > SYNC_EVERY {
            writer.sync()?;
        }
        drop(writer);
        self.index
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .add(&record.head(), place);
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// [`Error::LedgerIo`].
    pub fn sync(&self) -> Result<(), Error> {
        match &self.writer {
            Some(writer) => writer.lock().unwrap_or_else(|e| e.into_inner()).sync(),
            None => Ok(()),
        }
    }

    /// Calls `f` for every line with an answer or a ruling, in the order written.
    ///
    /// # Errors
    /// [`Error::LedgerIo`], [`Error::LedgerDamaged`].
    pub fn each_record(&self, mut f: impl FnMut(Record)) -> Result<(), Error> {
        each_parsed(&self.dir, ANSWERS, parse, |_, record| f(record))
    }

    /// Calls `f` for every request on record, in the order written. One that was sent again after an interruption comes
    /// twice.
    ///
    /// # Errors
    /// [`Error::LedgerIo`], [`Error::LedgerDamaged`].
    pub fn each_request(&self, mut f: impl FnMut(Key, ChatRequest)) -> Result<(), Error> {
        let mut texts: HashMap<Key, String> = HashMap::new();
        each_parsed(
            &self.dir,
            REQUESTS,
            parse::<Sent<'static>>,
            |_, sent| match sent {
                Sent::Text { text, content } => {
                    texts.insert(text, content.into_owned());
                }
                Sent::Request {
                    request,
                    model,
                    messages,
                    sampling,
                } => {
                    let content = |m: record::SentMessage<'_>| {
                        let by_key = m.text.and_then(|key| texts.get(&key).cloned());
                        let content = m.content.map(|c| c.into_owned()).or(by_key);
                        Message::new(m.role, content.unwrap_or_default())
                    };
                    let messages = messages.into_iter().map(content).collect();
                    let model = model.into_owned();
                    f(
                        request,
                        ChatRequest {
                            model,
                            messages,
                            sampling,
                        },
                    );
                }
            },
        )
    }

    fn line<T: DeserializeOwned>(&self, place: Place) -> Result<T, Error> {
        let line = self
            .reader
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .line(place)?;
        parse(&line, &self.dir)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the ledger could not be synced");
        }
    }
}

impl Writer {
    fn send(&mut self, request: &ChatRequest, sent: &[u8]) -> Result<(), Error> {
        let by_key = request
            .messages
            .iter()
            .filter(|m| m.role == crate::Role::System);
        for message in by_key {
            let text = Key::of(message.content.as_bytes());
            if self.texts.insert(text) {
                let content = message.content.as_str().into();
                self.requests
                    .append(&line::write(&Sent::Text { text, content }))?;
            }
        }
        self.requests.append(sent)?;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.requests.sync()?;
        self.answers.sync()?;
        self.synced = Instant::now();
        Ok(())
    }
}

impl Record {
    /// A line about a job, to be filled in.
    pub fn new(key: Key, attempt: u32, request: Key, ruling: Ruling) -> Self {
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64);
        Record {
            key,
            attempt,
            request,
            ruling,
            reason: String::new(),
            answer: None,
            faults: Vec::new(),
            elapsed_ms: 0,
            at_ms,
        }
    }

    fn head(&self) -> Head {
        Head {
            attempt: self.attempt,
            key: self.key,
            ruling: self.ruling,
            answer: self
                .answer
                .as_ref()
                .map(|a| record::AnswerHead { usage: a.usage }),
            faults: vec![serde::de::IgnoredAny; self.faults.len()],
            elapsed_ms: self.elapsed_ms,
            at_ms: self.at_ms,
        }
    }
}

const RECENT_MS: u64 = 600_000;

impl Index {
    fn read(dir: &Path) -> Result<Self, Error> {
        let mut index = Index::default();
        each_parsed(dir, ANSWERS, parse::<Head>, |place, head| {
            index.add(&head, place);
        })?;
        Ok(index)
    }

    fn add(&mut self, head: &Head, place: Place) {
        let totals = &mut self.totals;
        let job = self.jobs.entry(head.key).or_insert_with(|| {
            totals.open += 1;
            Job {
                answers: Vec::with_capacity(1),
                last: place,
                state: State::Open,
            }
        });
        job.last = place;
        totals.faults += head.faults.len() as u64;
        totals.waited_ms += head.elapsed_ms;
        if totals.first_at_ms == 0 {
            totals.first_at_ms = head.at_ms;
        }
        totals.last_at_ms = totals.last_at_ms.max(head.at_ms);
        // A line before this one was removed: what it said is missing, whatever the verdict was. One without an answer of its
        // own, given when a run goes on, is about all answers before it.
        let gap = match (&head.answer, head.ruling) {
            (Some(_), _) => head.attempt as usize != job.answers.len() + 1,
            (None, Ruling::Accepted) => head.attempt as usize != job.answers.len(),
            (None, _) => false,
        };
        if let Some(answer) = &head.answer {
            job.answers.push(place);
            totals.answers += 1;
            totals.usage.prompt_tokens += answer.usage.prompt_tokens;
            totals.usage.completion_tokens += answer.usage.completion_tokens;
        }
        let state = match head.ruling {
            Ruling::Accepted | Ruling::Failed if gap => State::Open,
            Ruling::Accepted => State::Accepted,
            Ruling::Failed => State::Failed,
            Ruling::Again | Ruling::Unanswered => State::Open,
            Ruling::Reopened => {
                job.answers.clear();
                State::Open
            }
        };
        let count = |totals: &mut Totals, state, by: i64| {
            let slot = match state {
                State::Open => &mut totals.open,
                State::Accepted => &mut totals.accepted,
                State::Failed => &mut totals.failed,
            };
            *slot = slot.saturating_add_signed(by);
        };
        count(totals, job.state, -1);
        count(totals, state, 1);
        job.state = state;
        if state != State::Open {
            self.finished_ms.push_back(head.at_ms);
            while self
                .finished_ms
                .front()
                .is_some_and(|&at| at + RECENT_MS < head.at_ms)
            {
                self.finished_ms.pop_front();
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8], path: &Path) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|error| Error::LedgerFormat {
        path: path.to_owned(),
        reason: format!("a line of another version: {error}"),
    })
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(Error::ledger_io(&path))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for the message of whoever comes second; failing to write it is no reason to stop.
            let _ = file
                .set_len(0)
                .and_then(|()| write!(&file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(Error::LedgerInUse {
            dir: dir.to_owned(),
            process: std::fs::read_to_string(&path).unwrap_or_default(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::ledger_io(&path)(source)),
    }
}

/// The purpose of a ledger whose format is ours.
fn check_format(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(Error::ledger_io(path))?;
    let refuse = |reason: String| Error::LedgerFormat {
        path: path.to_owned(),
        reason,
    };
    let about: About = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(format!("this is no description of a ledger: {error}")))?;
    if about.format != FORMAT || about.version != VERSION {
        let reason = format!(
            "format `{}` version {}, expected `{FORMAT}` version {VERSION}; finish it with the program that began it, or use another folder",
            about.format, about.version
        );
        return Err(refuse(reason));
    }
    Ok(about.purpose)
}

fn write_about(path: &Path, purpose: &str) -> Result<(), Error> {
    let about = About {
        format: FORMAT.to_owned(),
        version: VERSION,
        purpose: purpose.to_owned(),
    };
    let partial = path.with_extension("partial");
    let bytes = serde_json::to_vec_pretty(&about).expect("strings always serialise");
    // A name without its bytes, after a power failure, would lock out what was paid for.
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(Error::ledger_io(path))
}
