//! How fast and how big: 64 requests in flight, thousands of concepts a second, hundreds of thousands in one ledger.
//!
//! The promises are for two idle cores. Tests share theirs, so what is asserted is processor time: what two cores give in
//! the time promised. The figures go to stderr (`--nocapture`).

mod common;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Concepts, client, obey, options};
use syncabel_llm::fault_server::{FaultServer, Faults};
use syncabel_llm::{ChatAnswer, Jobs, Ledger, Record, Ruling, Usage, run};

/// Resident memory of this process, in MiB; `None` off Linux.
fn resident_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// One test at a time: both count the processor time of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Processor time of this process, in seconds.
fn processor_s() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a plain system call that fills the structure it is given.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn sixty_four_in_flight_and_two_thousand_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    // A server that takes 20 ms shows how many requests are in flight; one that answers at once, how fast the client is.
    let slow = FaultServer::start(Faults::none(), Duration::from_millis(20), obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    run(
        &client(slow.url()),
        &ledger,
        &Concepts { count: 2_000 },
        &options(64),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(slow.served().most_in_flight, 64);

    let fast = FaultServer::start(Faults::none(), Duration::ZERO, obey);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let (start, before) = (Instant::now(), processor_s());
    let finished = run(
        &client(fast.url()),
        &ledger,
        &Concepts { count: 20_000 },
        &options(64),
        &mut |_| true,
    )
    .unwrap();
    let rate = 20_000.0 / start.elapsed().as_secs_f64();
    eprintln!("{rate:.0} concepts a second with 64 in flight, server in the same process");
    assert_eq!(finished.pending, 0);
    // 2,000 concepts in a second of two cores, client and server together.
    let processor = processor_s() - before;
    eprintln!("{processor:.1} s of processor time");
    assert!(processor < 20_000.0 / 1_000.0, "{processor} s");
}

#[test]
fn two_hundred_thousand_jobs_open_quickly_and_stay_small() {
    const JOBS: usize = 200_000;
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let jobs = Concepts { count: JOBS };
    // Answers as long as real ones: three sentences of 25 words.
    let text = "example: a sentence of some twenty-five words about [a concept] that goes on for a while, as such sentences in abstracts tend to do, and then ends.\n".repeat(3);
    for job in 0..JOBS {
        let request = jobs.request(job);
        let key = request.key();
        let record = Record {
            answer: Some(ChatAnswer {
                text: text.clone(),
                finish_reason: Some("stop".into()),
                usage: Usage::default(),
                attempts: 1,
            }),
            ..Record::new(key, 1, key, Ruling::Accepted)
        };
        ledger.append(&record, Some(&request)).unwrap();
    }
    drop(ledger);
    let before = resident_mib();
    let (start, processor) = (Instant::now(), processor_s());
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let opened = start.elapsed();
    assert_eq!(ledger.totals().accepted as usize, JOBS);
    // Resuming a finished run: every request is made and looked up, none is sent.
    let nowhere = client("http://127.0.0.1:9/v1");
    let finished = run(&nowhere, &ledger, &jobs, &options(64), &mut |_| true).unwrap();
    let resumed = start.elapsed();
    assert_eq!((finished.progress.reused, finished.pending), (JOBS, 0));
    eprintln!(
        "{JOBS} jobs: opened in {:.2} s, resumed in {:.2} s; resident {before:?} MiB before, {:?} after",
        opened.as_secs_f64(),
        resumed.as_secs_f64(),
        resident_mib()
    );
    // Two seconds of two cores for each 100,000.
    let processor = processor_s() - processor;
    assert!(processor < 8.0, "{processor} s");
    if let Some(mib) = resident_mib() {
        assert!(mib < 300, "{mib} MiB");
    }
}
