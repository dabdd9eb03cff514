//! The ledger by itself: what is written is read, what is torn is cut off, what is damaged is told.

use std::path::{Path, PathBuf};

use syncabel_llm::{
    ChatAnswer, ChatRequest, Error, Key, Ledger, Message, Outcome, Record, Role, Ruling, Sampling,
    State, Usage,
};

fn request(number: usize) -> ChatRequest {
    ChatRequest {
        model: "m".into(),
        messages: vec![
            Message::new(Role::System, "Task, the same for all: \u{1f912}"),
            Message::new(Role::User, format!("question {number}")),
        ],
        sampling: Sampling::default(),
    }
}

fn answer(number: usize) -> ChatAnswer {
    ChatAnswer {
        text: format!("antwort «{number}»\nzweite Zeile"),
        finish_reason: Some("stop".into()),
        usage: Usage {
            prompt_tokens: 10,
            completion_tokens: 3,
        },
        attempts: 1,
    }
}

fn write(ledger: &Ledger, number: usize, ruling: Ruling) -> Key {
    let request = request(number);
    let key = request.key();
    let record = Record {
        answer: Some(answer(number)),
        faults: vec!["busy".into()],
        reason: format!("reason {number}"),
        ..Record::new(key, 1, key, ruling)
    };
    ledger.append(&record, Some(&request)).unwrap();
    key
}

fn shard(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}-00000.jsonl"))
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let keys = [
        write(&ledger, 0, Ruling::Accepted),
        write(&ledger, 1, Ruling::Failed),
        write(&ledger, 2, Ruling::Again),
    ];
    let totals = ledger.totals();
    drop(ledger);
    for ledger in [
        Ledger::read(dir.path()).unwrap(),
        Ledger::open(dir.path(), "test").unwrap(),
    ] {
        let states: Vec<_> = keys.iter().map(|k| ledger.state(k).unwrap()).collect();
        assert_eq!(states, [State::Accepted, State::Failed, State::Open]);
        assert_eq!(
            ledger.outcome(&keys[0]).unwrap(),
            Outcome::Accepted(vec![answer(0)])
        );
        let Outcome::Failed { reason, answers } = ledger.outcome(&keys[1]).unwrap() else {
            panic!("failed");
        };
        assert_eq!((reason.as_str(), answers), ("reason 1", vec![answer(1)]));
        assert_eq!(ledger.outcome(&keys[2]).unwrap(), Outcome::Pending);
        assert_eq!(ledger.answers(&keys[2]).unwrap(), [answer(2)]);
        assert_eq!(ledger.state(&request(9).key()), None);
        assert_eq!(ledger.totals(), totals);
        let mut sent = Vec::new();
        ledger
            .each_request(|key, request| sent.push((key, request)))
            .unwrap();
        let expected: Vec<_> = (0..3).map(|n| (request(n).key(), request(n))).collect();
        assert_eq!(sent, expected);
    }
    assert_eq!((totals.accepted, totals.failed, totals.open), (1, 1, 1));
    assert_eq!((totals.answers, totals.faults), (3, 3));
    assert_eq!(totals.usage.prompt_tokens, 30);
}

#[test]
fn a_line_torn_at_any_byte_costs_that_line_only() {
    let whole = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(whole.path(), "test").unwrap();
    let (first, second) = (
        write(&ledger, 0, Ruling::Accepted),
        write(&ledger, 1, Ruling::Accepted),
    );
    drop(ledger);
    let answers = std::fs::read(shard(whole.path(), "answers")).unwrap();
    let requests = std::fs::read(shard(whole.path(), "requests")).unwrap();
    let about = std::fs::read(whole.path().join("ledger.json")).unwrap();
    let line = answers.iter().position(|&b| b == b'\n').unwrap() + 1;
    for cut in line..answers.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ledger.json"), &about).unwrap();
        std::fs::write(shard(dir.path(), "answers"), &answers[..cut]).unwrap();
        let requests = &requests[..requests.len() - 1 - cut % 100];
        std::fs::write(shard(dir.path(), "requests"), requests).unwrap();
        assert_eq!(Ledger::read(dir.path()).unwrap().totals().accepted, 1);
        let ledger = Ledger::open(dir.path(), "test").unwrap();
        assert_eq!(ledger.state(&first), Some(State::Accepted));
        assert_eq!(ledger.state(&second), None, "cut at {cut}");
        write(&ledger, 1, Ruling::Accepted);
        drop(ledger);
        assert_eq!(
            std::fs::read(shard(dir.path(), "answers")).unwrap().len(),
            answers.len()
        );
        let mut sent = 0;
        let ledger = Ledger::open(dir.path(), "test").unwrap();
        ledger.each_request(|_, _| sent += 1).unwrap();
        assert_eq!((ledger.totals().accepted, sent), (2, 2));
    }
}

#[test]
fn damage_is_told_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    for number in 0..3 {
        write(&ledger, number, Ruling::Accepted);
    }
    drop(ledger);
    let path = shard(dir.path(), "answers");
    let mut bytes = std::fs::read(&path).unwrap();
    let line = bytes.iter().position(|&b| b == b'\n').unwrap();
    bytes[line + 40] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    for error in [
        Ledger::open(dir.path(), "test").unwrap_err(),
        Ledger::read(dir.path()).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(
            message.contains("answers-00000.jsonl:2: the line is damaged"),
            "{message}"
        );
        assert!(message.contains("remove the line"), "{message}");
    }
}

#[test]
fn a_job_that_misses_one_of_its_answers_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let key = write(&ledger, 0, Ruling::Again);
    let second = Record {
        answer: Some(answer(1)),
        ..Record::new(key, 2, request(1).key(), Ruling::Accepted)
    };
    ledger.append(&second, None).unwrap();
    assert_eq!(ledger.state(&key), Some(State::Accepted));
    drop(ledger);
    let path = shard(dir.path(), "answers");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&path, rest).unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    assert_eq!(ledger.state(&key), Some(State::Open));
    assert_eq!(ledger.answers(&key).unwrap(), [answer(1)]);
}

#[test]
fn lines_that_end_are_never_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    for number in 0..3 {
        write(&ledger, number, Ruling::Accepted);
    }
    drop(ledger);
    let path = shard(dir.path(), "answers");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut last_damaged = text.clone().into_bytes();
    let at = text.len() - 40;
    last_damaged[at] ^= 4;
    // An editor that changes line ends damages every line.
    for (bytes, line) in [
        (last_damaged, 3),
        (text.replace('\n', "\r\n").into_bytes(), 1),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        for error in [
            Ledger::open(dir.path(), "test").unwrap_err(),
            Ledger::read(dir.path()).unwrap_err(),
        ] {
            let wanted = format!("answers-00000.jsonl:{line}: the line is damaged");
            assert!(error.to_string().contains(&wanted), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn other_formats_and_purposes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path(), "judge").unwrap());
    let message = Ledger::open(dir.path(), "synth").unwrap_err().to_string();
    assert!(message.contains("`judge`, not of `synth`"), "{message}");
    let about = dir.path().join("ledger.json");
    let text = std::fs::read_to_string(&about).unwrap();
    std::fs::write(&about, text.replace("1", "2")).unwrap();
    let message = Ledger::open(dir.path(), "judge").unwrap_err().to_string();
    assert!(message.contains("version 2, expected"), "{message}");
    assert!(Ledger::read(&dir.path().join("nowhere")).is_err());
}

#[test]
fn the_second_writer_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let error = Ledger::open(dir.path(), "test").unwrap_err();
    let process = std::process::id().to_string();
    assert!(
        matches!(&error, Error::LedgerInUse { process: p, .. } if *p == process),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("wait for it, stop it, or use another folder")
    );
    assert!(Ledger::read(dir.path()).is_ok());
    drop(ledger);
    assert!(Ledger::open(dir.path(), "test").is_ok());
}

#[test]
fn a_reopened_job_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), "test").unwrap();
    let key = write(&ledger, 0, Ruling::Failed);
    ledger
        .append(&Record::new(key, 0, key, Ruling::Reopened), None)
        .unwrap();
    let check = |ledger: &Ledger| {
        assert_eq!(ledger.state(&key), Some(State::Open));
        assert!(ledger.answers(&key).unwrap().is_empty());
        assert_eq!((ledger.totals().failed, ledger.totals().open), (0, 1));
    };
    check(&ledger);
    drop(ledger);
    check(&Ledger::read(dir.path()).unwrap());
}
