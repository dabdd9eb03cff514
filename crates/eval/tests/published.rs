//! The authors' numbers, recomputed from the prediction files they released, where the data is.

use std::io::Write;
use std::path::{Path, PathBuf};

use syncabel_corpus::predictions::{Prediction, read_tsv};
use syncabel_eval::published::{self, Recomputed, recompute};
use syncabel_eval::{Agreement, EvalOptions, EvalReport, TrainingSet, compare, evaluate};

fn data() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    if path.join("syncabel_predictions").is_dir() {
        return Some(path.to_path_buf());
    }
    // not `eprintln!`: the test harness would swallow it in a test that passes
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {} is absent, the authors' numbers are not recomputed",
        path.display()
    );
    None
}

fn predictions(data: &Path, file: &str) -> Vec<Prediction> {
    read_tsv(&data.join("syncabel_predictions").join(file)).unwrap()
}

fn main_file(data: &Path, corpus: &str, system: &str) -> Vec<Prediction> {
    predictions(
        data,
        &format!("{corpus}_Llama_guided_{system}_SynCABEL.tsv.gz"),
    )
}

fn report(rows: &[Prediction], training: Option<&TrainingSet>) -> EvalReport {
    evaluate(rows, training, None, &EvalOptions::default()).unwrap()
}

/// Per cent, rounded to one decimal, as the paper prints its scores.
fn percent(fraction: f64) -> f64 {
    (fraction * 1000.0).round() / 10.0
}

#[test]
fn main_table() {
    let Some(data) = data() else { return };
    for (corpus, system, rows, correct, recall) in [
        ("MEDLINE", "with", 3079, 2454, 79.7),
        ("MEDLINE", "without", 3079, 2387, 77.5),
        ("SPACCC", "with", 9059, 6071, 67.0),
        ("SPACCC", "without", 9059, 5813, 64.2),
    ] {
        let report = report(&main_file(&data, corpus, system), None);
        assert_eq!(
            (report.rows, report.correct),
            (rows, correct),
            "{corpus} {system}"
        );
        assert_eq!(percent(report.recall_at_1), recall);
        assert!(report.ci95[0] < report.recall_at_1 && report.recall_at_1 < report.ci95[1]);
        assert_eq!(
            report.by_group.values().map(|g| g.rows).sum::<usize>(),
            rows
        );
        assert_eq!(report.gold_not_in_kb, None);
    }
}

#[test]
fn training_composition() {
    let Some(data) = data() else { return };
    for (corpus, kept, strategies) in [
        ("MEDLINE", 3079, [2387, 2063, 2444, 2403, 2454, 2045]),
        ("SPACCC", 9059, [5813, 2255, 5829, 5799, 6071, 5426]),
    ] {
        let files = [
            "human_only_guided",
            "synthetic_only_guided",
            "combined_guided",
            "pretrain_then_human_guided",
            "interleaved_guided",
            "human_only_unguided",
        ];
        for (file, correct) in files.into_iter().zip(strategies) {
            let rows = predictions(&data, &format!("ablation/{corpus}_{file}.tsv.gz"));
            let report = report(&rows, None);
            assert_eq!(
                (report.rows, report.correct),
                (kept, correct),
                "{corpus} {file}"
            );
            assert_eq!(report.removed.no_code, rows.len() - kept);
            let everything = EvalOptions {
                drop_no_code: false,
                ..EvalOptions::default()
            };
            assert_eq!(
                evaluate(&rows, None, None, &everything).unwrap().rows,
                rows.len()
            );
        }
    }
}

#[test]
fn seen_and_unseen_concepts() {
    let Some(data) = data() else { return };
    let [spaccc, medline] =
        ["SPACCC", "MEDLINE"].map(|corpus| published::training(&data, corpus).unwrap().unwrap());
    for (corpus, training, system, seen, unseen) in [
        ("SPACCC", &spaccc, "without", 83.0, 20.8),
        ("SPACCC", &spaccc, "with", 83.0, 30.2),
        ("MEDLINE", &medline, "without", 90.5, 58.7),
        ("MEDLINE", &medline, "with", 89.7, 65.1),
    ] {
        let report = report(&main_file(&data, corpus, system), Some(training));
        let (s, u) = (report.seen.unwrap(), report.unseen.unwrap());
        assert_eq!(
            (percent(s.recall_at_1), percent(u.recall_at_1)),
            (seen, unseen),
            "{corpus} {system}"
        );
        assert_eq!(s.rows + u.rows, report.rows);
        let (s, u) = (report.seen_mention.unwrap(), report.unseen_mention.unwrap());
        assert_eq!(s.rows + u.rows, report.rows);
        assert!(s.recall_at_1 > u.recall_at_1);
    }
}

#[test]
fn judge_table() {
    let Some(data) = data() else { return };
    // strict, exact, correct, broad (with partial), narrow, no relation; per cent of all mentions
    for (corpus, system, expected) in [
        ("MEDLINE", "without", [77.5, 4.3, 81.8, 6.0, 2.8, 9.4]),
        ("MEDLINE", "with", [79.7, 4.3, 84.0, 4.6, 3.3, 8.0]),
        ("SPACCC", "without", [64.2, 4.7, 68.9, 13.0, 4.3, 13.9]),
        ("SPACCC", "with", [67.0, 5.6, 72.6, 11.0, 5.9, 10.5]),
    ] {
        let report = report(&main_file(&data, corpus, system), None);
        let judge = report.judge.unwrap();
        assert_eq!(judge.column, "LLM_Evaluation_v2");
        let counts = [
            judge.strict,
            judge.exact,
            judge.correct,
            judge.broad + judge.partial,
            judge.narrow,
            judge.no_relation,
        ];
        let shares = counts.map(|count| percent(count as f64 / report.rows as f64));
        assert_eq!(shares, expected, "{corpus} {system}");
        assert_eq!(judge.unlabelled, 0);
    }
}

#[test]
fn judges_against_the_clinician() {
    let Some(data) = data() else { return };
    let rows = predictions(&data, "SPACCC_clinician_sample.tsv.gz");
    let cell = |row: &Prediction, column: &str| {
        row.extra
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, value)| value.clone())
            .unwrap()
    };
    for (column, agreed, kappa) in [
        ("LLM_Evaluation", 78, 0.385),
        ("LLM_Evaluation_v2", 87, 0.464),
        ("LLM_Evaluation_v3", 94, 0.528),
        ("LLM_Evaluation_v4", 91, 0.501),
        ("Termino_Evaluation", 36, 0.010),
    ] {
        let pairs: Vec<_> = rows
            .iter()
            .map(|r| (cell(r, "Human_Evaluation"), cell(r, column)))
            .collect();
        let agreement = Agreement::of(pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())));
        assert_eq!(
            (agreement.rows, agreement.agreed),
            (145, agreed),
            "{column}"
        );
        assert!(
            (agreement.kappa - kappa).abs() < 0.0006,
            "{column}: {}",
            agreement.kappa
        );
    }
}

#[test]
fn the_gain_of_synthetic_data_is_significant_and_systems_must_match() {
    let Some(data) = data() else { return };
    let with = main_file(&data, "SPACCC", "with");
    let without = main_file(&data, "SPACCC", "without");
    let options = EvalOptions::default();
    let gain = compare(&without, &with, None, &options).unwrap();
    assert_eq!((gain.rows, percent(gain.difference)), (9059, 2.8));
    assert_eq!(gain.only_second_right - gain.only_first_right, 6071 - 5813);
    assert!(
        gain.difference_ci95[0] > 0.0 && gain.p_bootstrap < 0.01 && gain.p_mcnemar < 1e-6,
        "{gain}"
    );

    let error = compare(&without[1..], &with, None, &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 only in the second"), "{error}");
    assert!(error.contains(&without[0].filename), "{error}");
}

/// What is committed is what the data gives, digit by digit.
#[test]
fn the_committed_numbers_are_the_recomputed_ones() {
    let Some(data) = data() else { return };
    let committed = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../results/published/recomputed.json"
    ));
    let committed = std::fs::read_to_string(committed).unwrap();
    let recomputed = recompute(&data, &EvalOptions::default()).unwrap();
    let fresh = recomputed.to_json().unwrap();
    for (ours, fresh) in committed.lines().zip(fresh.lines()) {
        let differs = ours.bytes().zip(fresh.bytes()).position(|(a, b)| a != b);
        let start = differs.unwrap_or(0).saturating_sub(60);
        let around = |line: &str| line.chars().skip(start).take(120).collect::<String>();
        assert!(
            ours == fresh,
            "committed: {}\nfresh:     {}\nin {}",
            around(ours),
            around(fresh),
            ours.chars().take(120).collect::<String>()
        );
    }
    assert_eq!(committed.lines().count(), fresh.lines().count());
    let read: Recomputed = serde_json::from_str(&committed).unwrap();
    assert_eq!(
        read.systems.len(),
        16,
        "four of the main table, twelve of the ablation"
    );
    assert_eq!(read.main("SPACCC", "interleaved").unwrap().correct, 6071);
}

/// Corpus, file, and rows whose `Prediction_score` is exactly 0.
const ZEROS: [(&str, &str, usize); 6] = [
    ("MEDLINE", "MEDLINE_Llama_guided_with_SynCABEL.tsv.gz", 553),
    (
        "MEDLINE",
        "MEDLINE_Llama_guided_without_SynCABEL.tsv.gz",
        577,
    ),
    ("MEDLINE", "ablation/MEDLINE_human_only_unguided.tsv.gz", 0),
    ("SPACCC", "SPACCC_Llama_guided_with_SynCABEL.tsv.gz", 1911),
    (
        "SPACCC",
        "SPACCC_Llama_guided_without_SynCABEL.tsv.gz",
        1922,
    ),
    ("SPACCC", "ablation/SPACCC_human_only_unguided.tsv.gz", 0),
];

/// On a fifth of the guided rows the released confidence is exactly 0, on unguided ones never.
#[test]
fn the_released_confidence_is_zero_on_a_fifth_of_the_rows() {
    let Some(data) = data() else { return };
    for (corpus, file, zeros) in ZEROS {
        let report = report(&predictions(&data, file), None);
        let score = &report.scores[0];
        assert_eq!(
            (score.column.as_str(), score.zeros),
            ("Prediction_score", zeros),
            "{corpus} {file}"
        );
        assert_eq!(report.scores[1].zeros, 0, "the beam score is never 0");
    }
}
