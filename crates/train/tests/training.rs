//! What a run does when nothing interrupts it.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use syncabel_model::ModelSource;
use syncabel_train::{
    BestMetric, EngineChoice, Error, Evaluation, PhaseName, Progress, StepRecord, StepUpdate,
    Strategy, TrainConfig, train,
};

#[derive(Default)]
struct Watch {
    total: u64,
    records: Vec<StepRecord>,
    left_s: Vec<f64>,
    evaluations: Vec<(Evaluation, bool)>,
    checkpoints: Vec<PathBuf>,
}

impl Progress for Watch {
    fn started(&mut self, total_steps: u64, done_steps: u64) {
        assert_eq!(done_steps, 0);
        self.total = total_steps;
    }

    fn step(&mut self, update: &StepUpdate<'_>) {
        assert_eq!(update.total_steps, self.total);
        self.records.push(update.record.clone());
        self.left_s.push(update.left_s);
    }

    fn evaluated(&mut self, evaluation: &Evaluation, best: bool) {
        self.evaluations.push((evaluation.clone(), best));
    }

    fn checkpoint(&mut self, path: &Path) {
        self.checkpoints.push(path.to_owned());
    }
}

#[test]
fn a_small_model_learns_its_examples() {
    let human = human(12);
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            epochs: 40.0,
            evaluate_every_steps: Some(30),
            checkpoint_every_steps: None,
            ..config(engine)
        };
        let mut watch = Watch::default();
        let outcome = train(
            checkpoint(),
            &plan(&human, &[], Strategy::HumanOnly),
            &human,
            &config,
            dir.path(),
            &mut watch,
        )
        .unwrap();
        let (first, last) = (&watch.records[0], watch.records.last().unwrap());
        assert!(
            first.loss > 5.0 && last.loss < 0.3,
            "{engine:?}: {} to {}",
            first.loss,
            last.loss
        );
        let (folder, best) = outcome.best.unwrap();
        assert_eq!(
            best.exact_match, 1.0,
            "{engine:?} {:?}",
            outcome.evaluations
        );
        let loaded = syncabel_model::load(
            &ModelSource::Folder(folder),
            &syncabel_model::device("flex").unwrap(),
        )
        .unwrap();
        assert_eq!(loaded.tokenizer.sep_id(), checkpoint().tokenizer.sep_id());
        assert_eq!(watch.checkpoints, [outcome.last]);
    }
}

#[test]
fn engines_agree_step_by_step() {
    let (human, synthetic) = (human(12), synthetic(8));
    let logs: Vec<Vec<StepRecord>> = ENGINES
        .map(|engine| {
            let dir = tempfile::tempdir().unwrap();
            let mut watch = Watch::default();
            let plan = plan(&human, &synthetic, Strategy::Interleaved);
            train(
                checkpoint(),
                &plan,
                &[],
                &config(engine),
                dir.path(),
                &mut watch,
            )
            .unwrap();
            watch.records
        })
        .into();
    assert_eq!(logs[0].len(), 12);
    for (a, b) in logs[0].iter().zip(&logs[1]) {
        assert!((a.loss - b.loss).abs() < 2e-3 * a.loss, "{a:?} {b:?}");
        assert_eq!(
            (a.step, a.lr, a.tokens, a.loss_tokens),
            (b.step, b.lr, b.tokens, b.loss_tokens)
        );
    }
}

#[test]
fn same_seed_same_bytes_and_another_seed_another_order() {
    let human = human(12);
    for engine in ENGINES {
        let go = |config: &TrainConfig| {
            let dir = tempfile::tempdir().unwrap();
            train(
                checkpoint(),
                &plan(&human, &[], Strategy::HumanOnly),
                &human[..4],
                config,
                dir.path(),
                &mut (),
            )
            .unwrap();
            (trajectory(dir.path()), artefacts(dir.path()))
        };
        let base = config(engine);
        assert!(go(&base) == go(&base), "{engine:?}");
        assert!(go(&base).0 != go(&TrainConfig { seed: 43, ..base }).0);
    }
}

#[test]
fn accumulation_weighs_tokens_and_not_batches() {
    // Completions of different length, so that a mean of means would differ.
    let human = human(16);
    for engine in ENGINES {
        let go = |batch_examples, accumulation| {
            let dir = tempfile::tempdir().unwrap();
            let config = TrainConfig {
                batch_examples,
                accumulation,
                epochs: 1.0,
                ..config(engine)
            };
            let mut watch = Watch::default();
            train(
                checkpoint(),
                &plan(&human, &[], Strategy::HumanOnly),
                &[],
                &config,
                dir.path(),
                &mut watch,
            )
            .unwrap();
            watch.records
        };
        for (a, b) in go(8, 1).iter().zip(go(2, 4)) {
            assert!((a.loss - b.loss).abs() < 1e-4 * a.loss, "{engine:?}");
            assert!(
                (a.grad_norm - b.grad_norm).abs() < 1e-3 * a.grad_norm,
                "{engine:?}"
            );
            assert_eq!(a.lr, b.lr);
        }
    }
}

#[test]
fn log_and_callback_say_the_same() {
    let (human, synthetic) = (human(10), synthetic(8));
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        warmup_ratio: 0.5,
        ..config(EngineChoice::Fused)
    };
    let mut watch = Watch::default();
    let plan = plan(&human, &synthetic, Strategy::PretrainThenHuman);
    let outcome = train(
        checkpoint(),
        &plan,
        &human[..3],
        &config,
        dir.path(),
        &mut watch,
    )
    .unwrap();
    let text = std::fs::read_to_string(dir.path().join("train_log.jsonl")).unwrap();
    let lines: Vec<StepRecord> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, watch.records);
    assert_eq!((watch.total, lines.len()), (4 + 5, 9));
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(i, r)| r.step == i as u64 + 1 && r.tokens > r.loss_tokens && r.rss_mb > 0)
    );
    assert!(lines.is_sorted_by(|a, b| a.elapsed_s <= b.elapsed_s));
    let phases: Vec<PhaseName> = lines.iter().map(|r| r.phase).collect();
    assert_eq!(
        phases,
        [[PhaseName::Pretrain; 4].as_slice(), &[PhaseName::Human; 5]].concat()
    );
    // A schedule of its own for each phase, the second with a third of the peak.
    let peak = |from: usize, to: usize| lines[from..to].iter().map(|r| r.lr).fold(0.0, f64::max);
    assert!((peak(0, 4) - 3e-3).abs() < 1e-9 && (peak(4, 9) - 1e-3).abs() < 1e-9);
    assert_eq!(*watch.left_s.last().unwrap(), 0.0);
    // Only the human phase competes for the best model.
    assert!(
        watch
            .evaluations
            .iter()
            .all(|(e, best)| !best || e.phase == PhaseName::Human)
    );
    let (folder, best) = outcome.best.unwrap();
    assert!(best.step > 4 && folder.join("model.safetensors").is_file());
}

#[test]
fn best_follows_the_metric() {
    let human = human(12);
    for metric in [BestMetric::Loss, BestMetric::ExactMatch] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            epochs: 8.0,
            best_metric: metric,
            evaluate_every_steps: Some(2),
            ..config(EngineChoice::Fused)
        };
        let plan = plan(&human, &[], Strategy::HumanOnly);
        let outcome = train(
            checkpoint(),
            &plan,
            &human[..6],
            &config,
            dir.path(),
            &mut (),
        )
        .unwrap();
        let best = outcome.best.unwrap().1;
        for e in &outcome.evaluations {
            match metric {
                BestMetric::Loss => assert!(best.loss <= e.loss),
                BestMetric::ExactMatch => {
                    assert!((best.exact_match, -best.loss) >= (e.exact_match, -e.loss))
                }
            }
        }
        let folders: Vec<String> = std::fs::read_dir(dir.path().join("checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(folders.len(), 2, "one last, one best: {folders:?}");
    }
}

#[test]
fn limits_of_steps_make_arms_equal() {
    let (human, synthetic) = (human(12), synthetic(30));
    for strategy in [Strategy::HumanOnly, Strategy::Interleaved] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            epochs: 50.0,
            max_steps: Some(5),
            ..config(EngineChoice::Fused)
        };
        let mut watch = Watch::default();
        train(
            checkpoint(),
            &plan(&human, &synthetic, strategy),
            &[],
            &config,
            dir.path(),
            &mut watch,
        )
        .unwrap();
        assert_eq!(watch.records.len(), 5);
        assert!(watch.records.iter().all(|r| r.examples == 4));
    }
}

#[test]
fn bad_wishes_are_refused_before_work() {
    let human = human(4);
    let plan = plan(&human, &[], Strategy::HumanOnly);
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let refuse = |config: TrainConfig| {
        train(checkpoint(), &plan, &[], &config, &run_dir, &mut ()).unwrap_err()
    };
    let error = refuse(TrainConfig {
        max_length: 4096,
        ..config(EngineChoice::Fused)
    });
    assert!(
        matches!(
            error,
            Error::Config {
                key: "max_length",
                ..
            }
        ),
        "{error}"
    );
    let error = refuse(TrainConfig {
        max_length: 16,
        ..config(EngineChoice::Fused)
    });
    assert!(matches!(error, Error::NothingFits { .. }), "{error}");
    let error = refuse(TrainConfig {
        epochs: -1.0,
        ..config(EngineChoice::Fused)
    });
    assert!(
        matches!(error, Error::Config { key: "epochs", .. }),
        "{error}"
    );
    assert!(!run_dir.exists());
}

#[test]
fn a_diverging_run_says_so() {
    let human = human(8);
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        learning_rate: 1e30,
        max_grad_norm: 0.0,
        ..config(EngineChoice::Fused)
    };
    let plan = plan(&human, &[], Strategy::HumanOnly);
    let error = train(checkpoint(), &plan, &[], &config, dir.path(), &mut ()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("learning_rate"));
}

#[test]
fn weights_that_only_validation_finds_broken_are_not_kept() {
    let human = human(8);
    let plan = plan(&human, &[], Strategy::HumanOnly);
    // The first step is computed with good weights and leaves useless ones: an evaluation on the way, and the last one.
    for (evaluate_every_steps, max_steps) in [(Some(1), None), (None, Some(1))] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            learning_rate: 1e15,
            evaluate_every_steps,
            max_steps,
            checkpoint_every_steps: Some(1),
            ..config(EngineChoice::Fused)
        };
        let run_dir = dir.path();
        let error = train(checkpoint(), &plan, &human, &config, run_dir, &mut ()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Diverged {
                    what: "validation loss",
                    step: 1,
                    ..
                }
            ),
            "{error}"
        );
        let kept = std::fs::read_dir(run_dir.join("checkpoints")).unwrap();
        assert_eq!(kept.count(), 0);
    }
}

#[test]
fn epochs_in_the_log_count_examples_that_were_shown() {
    let human = human(9);
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&human, &[], Strategy::HumanOnly);
    let mut watch = Watch::default();
    let config = config(EngineChoice::Fused);
    train(checkpoint(), &plan, &[], &config, dir.path(), &mut watch).unwrap();
    // Two epochs of nine examples in steps of four: the fifth step has only two.
    let epochs: Vec<f64> = watch.records.iter().map(|r| r.epoch * 9.0).collect();
    let expected = [4.0, 8.0, 12.0, 16.0, 18.0];
    assert_eq!(epochs.len(), expected.len());
    for (epoch, expected) in epochs.iter().zip(expected) {
        assert!((epoch - expected).abs() < 1e-9, "{epochs:?}");
    }
}
