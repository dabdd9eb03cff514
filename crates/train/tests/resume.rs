//! Interruptions of every kind: the resumed run ends with the same bytes as the uninterrupted one.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use syncabel_train::{
    EngineChoice, Error, Point, Progress, Strategy, TrainConfig, TrainOutcome, train,
};

/// Stops at one point, as a crash would.
struct StopAt(Point);

impl Progress for StopAt {
    fn proceed(&mut self, point: Point) -> bool {
        point != self.0
    }
}

fn run(
    dir: &Path,
    config: &TrainConfig,
    progress: &mut dyn Progress,
) -> Result<TrainOutcome, Error> {
    let (human, synthetic, validation) = (human(12), synthetic(8), human(5));
    let plan = plan(&human, &synthetic, Strategy::PretrainThenHuman);
    train(checkpoint(), &plan, &validation, config, dir, progress)
}

#[test]
fn stopping_anywhere_and_resuming_changes_nothing() {
    for engine in ENGINES {
        let whole = tempfile::tempdir().unwrap();
        let config = config(engine);
        // 4 steps of pretraining, 6 of human data; checkpoints at 2, 4 and 6, 8, 10.
        let outcome = run(whole.path(), &config, &mut ()).unwrap();
        assert_eq!((outcome.steps, outcome.resumed_from_step), (10, None));
        let points = [
            Point::BeforeStep(1),
            Point::BeforeStep(4),
            Point::BeforeStep(5),
            Point::BeforeUpdate(7),
            Point::BestRenamed(7),
            Point::CheckpointModelWritten(2),
            Point::CheckpointWritten(2),
            Point::CheckpointRenamed(2),
            Point::CheckpointModelWritten(6),
            Point::CheckpointWritten(4),
            Point::CheckpointRenamed(4),
            Point::CheckpointWritten(10),
            Point::CheckpointRenamed(10),
        ];
        for point in points {
            let dir = tempfile::tempdir().unwrap();
            let stopped = run(dir.path(), &config, &mut StopAt(point));
            assert!(
                matches!(stopped, Err(Error::Stopped { .. })),
                "{engine:?} {point:?} {stopped:?}"
            );
            let resumed = run(dir.path(), &config, &mut ()).unwrap();
            assert_eq!(resumed.steps, 10);
            assert_eq!(
                trajectory(dir.path()),
                trajectory(whole.path()),
                "{engine:?} {point:?}"
            );
            assert_eq!(
                artefacts(dir.path()),
                artefacts(whole.path()),
                "{engine:?} {point:?}"
            );
            assert_eq!(resumed.evaluations, outcome.evaluations);
        }
    }
}

#[test]
fn a_finished_run_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(EngineChoice::Fused);
    let first = run(dir.path(), &config, &mut ()).unwrap();
    let before = artefacts(dir.path());
    let second = run(dir.path(), &config, &mut StopAt(Point::BeforeStep(10))).unwrap();
    assert_eq!(second.resumed_from_step, Some(first.steps));
    assert_eq!((second.last, second.best), (first.last, first.best));
    assert_eq!(before, artefacts(dir.path()));
}

#[test]
fn another_run_is_refused_by_name_of_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(EngineChoice::Fused);
    let _ = run(dir.path(), &config, &mut StopAt(Point::BeforeStep(2)));
    let refusal = |outcome: Result<TrainOutcome, Error>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::OtherRun { .. }), "{error}");
        error.to_string()
    };
    let other = TrainConfig {
        learning_rate: 1e-3,
        ..config.clone()
    };
    assert!(refusal(run(dir.path(), &other, &mut ())).contains("another configuration"));
    let (human, validation) = (human(12), human(5));
    let data = plan(&human, &[], Strategy::HumanOnly);
    assert!(
        refusal(train(
            checkpoint(),
            &data,
            &validation,
            &config,
            dir.path(),
            &mut ()
        ))
        .contains("another training data")
    );
    let model = checkpoint_of_width(48);
    assert!(
        refusal(train(
            model,
            &data,
            &validation,
            &config,
            dir.path(),
            &mut ()
        ))
        .contains("another initial model")
    );
}

#[test]
fn damage_and_other_architectures_are_refused_with_the_file() {
    let config = config(EngineChoice::Fused);
    let damaged = |damage: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        let _ = run(dir.path(), &config, &mut StopAt(Point::BeforeStep(3)));
        damage(&dir.path().join("checkpoints/step-00000002"));
        run(dir.path(), &config, &mut ()).unwrap_err()
    };
    let error = damaged(&|step| {
        let other = checkpoint_of_width(48);
        syncabel_model::save(step, &other.config, &other.model, &other.tokenizer).unwrap();
    });
    assert!(matches!(error, Error::OtherArchitecture { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("step-00000002") && text.contains("embed_tokens") && text.contains("48"),
        "{text}"
    );

    let truncate = |name: &'static str| {
        move |step: &Path| {
            let bytes = std::fs::read(step.join(name)).unwrap();
            std::fs::write(step.join(name), &bytes[..bytes.len() - 5]).unwrap();
        }
    };
    for name in ["optimizer.safetensors", "model.safetensors", "state.json"] {
        let text = damaged(&truncate(name)).to_string();
        assert!(
            text.contains("step-00000002") && text.contains(name),
            "{name}: {text}"
        );
    }
    let text = damaged(&|step: &Path| {
        let path = step.join("optimizer.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    });
    assert!(text.to_string().contains("checksum"), "{text}");
}

const CHILD: &str = "SYNCABEL_TRAIN_TEST_CHILD";

/// Not a test of its own: the body of the processes that the two tests below start and kill.
#[test]
fn child_process() {
    let Ok(instruction) = std::env::var(CHILD) else {
        return;
    };
    let (dir, limit) = instruction.split_once('|').unwrap();
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
    if let Err(error) = run(Path::new(dir), &config(EngineChoice::Fused), &mut Slow) {
        eprintln!("CHILD FAILED: {error}");
        std::process::exit(7);
    }
}

/// Gives the parent time to strike at any moment.
struct Slow;

impl Progress for Slow {
    fn proceed(&mut self, _point: Point) -> bool {
        std::thread::sleep(Duration::from_millis(3));
        true
    }
}

fn child(dir: &Path, limit: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_process", "--nocapture"])
        .env(CHILD, format!("{}|{limit}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn kill_9_at_any_moment() {
    let config = config(EngineChoice::Fused);
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &config, &mut ()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for round in 0..40u64 {
        let mut process = child(dir.path(), "no limit")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let strike = Instant::now() + Duration::from_millis(20 + round * 11 % 130);
        let finished = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > strike {
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if let Some(status) = finished {
            assert!(status.success());
            break;
        }
    }
    run(dir.path(), &config, &mut ()).unwrap();
    assert!(kills > 0, "the machine was too fast to be killed");
    assert_eq!(
        trajectory(dir.path()),
        trajectory(whole.path()),
        "after {kills} kills"
    );
    assert_eq!(
        artefacts(dir.path()),
        artefacts(whole.path()),
        "after {kills} kills"
    );
}

#[test]
fn a_full_disk_leaves_the_previous_checkpoint() {
    let config = config(EngineChoice::Fused);
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &config, &mut ()).unwrap();
    // Room for the log in every case; for nothing of the model, or for the model but not the larger moments.
    let model_bytes = std::fs::metadata(
        whole
            .path()
            .join("checkpoints/step-00000010/model.safetensors"),
    )
    .unwrap()
    .len();
    for limit in [20_000, model_bytes + 1000] {
        let dir = tempfile::tempdir().unwrap();
        let _ = run(dir.path(), &config, &mut StopAt(Point::BeforeStep(3)));
        let before = artefacts(dir.path());
        assert!(!before.is_empty());
        let output = child(dir.path(), &limit.to_string()).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{message}");
        assert!(
            message.contains("CHILD FAILED: cannot write") && message.contains(".safetensors"),
            "{message}"
        );
        assert!(
            artefacts(dir.path()) == before,
            "the checkpoint of step 2 survives"
        );
        run(dir.path(), &config, &mut ()).unwrap();
        assert_eq!(trajectory(dir.path()), trajectory(whole.path()));
        assert!(artefacts(dir.path()) == artefacts(whole.path()));
    }
}
