//! The public surface on small hand-made files.

use std::time::Instant;

use syncabel_corpus::predictions::{Candidate, Prediction};
use syncabel_eval::{
    Bootstrap, CompositeRule, Error, EvalOptions, SeenRule, TrainingSet, compare, evaluate,
};

fn row(document: &str, start: u32, gold: &str, predicted: &str) -> Prediction {
    Prediction {
        filename: document.into(),
        label: if start.is_multiple_of(2) {
            "Disease"
        } else {
            "Chemical"
        }
        .into(),
        start_span: start,
        end_span: start + 3,
        span: format!("span {start}"),
        code: gold.into(),
        predicted_code: predicted.into(),
        ..Prediction::default()
    }
}

#[test]
fn what_is_right() {
    let options = EvalOptions::default();
    let any = EvalOptions {
        composite: CompositeRule::AnyPart,
        ..EvalOptions::default()
    };
    for (gold, predicted, exact, any_part) in [
        ("A", "A", 1, 1),
        (" A ", "A", 1, 1),
        ("A+B", "B + A", 1, 1),
        ("A+B", "A", 0, 1),
        ("A", "A+B", 0, 0),
        ("A|B", "B", 1, 1),
        ("A+B|C", "C", 1, 1),
        ("A", "", 0, 0),
        ("A", "NIL", 0, 0),
        ("NIL", "NIL", 0, 0),
        ("A", "a", 0, 0),
    ] {
        let rows = [row("d", 0, gold, predicted)];
        assert_eq!(
            evaluate(&rows, None, None, &options).unwrap().correct,
            exact,
            "{gold} {predicted}"
        );
        assert_eq!(
            evaluate(&rows, None, None, &any).unwrap().correct,
            any_part,
            "{gold} {predicted}"
        );
    }
}

#[test]
fn duplicates_and_rows_without_gold_are_left_out_unless_told_otherwise() {
    let rows = [
        row("d", 0, "A", "A"),
        row("d", 0, "A", "B"),
        row("d", 1, "NO_CODE", "A"),
        row("e", 0, "A", "B"),
        row("e", 1, "", "A"),
    ];
    let report = evaluate(&rows, None, None, &EvalOptions::default()).unwrap();
    assert_eq!((report.rows, report.correct, report.documents), (2, 1, 2));
    let removed = report.removed;
    assert_eq!(
        (removed.duplicates, removed.no_code, removed.no_gold),
        (1, 1, 1)
    );
    let all = EvalOptions {
        deduplicate: false,
        drop_no_code: false,
        ..EvalOptions::default()
    };
    assert_eq!(evaluate(&rows, None, None, &all).unwrap().rows, 5);
    let nothing = evaluate(&rows[2..3], None, None, &EvalOptions::default());
    assert!(matches!(
        nothing,
        Err(Error::NothingToScore {
            read: 1,
            no_code: 1,
            ..
        })
    ));
}

#[test]
fn the_json_has_the_promised_keys() {
    let mut rows = vec![row("d", 0, "A", "A"), row("d", 1, "B", "C")];
    for (row, label) in rows.iter_mut().zip(["STRICT", "EXACT"]) {
        row.extra.push(("LLM_Evaluation".into(), label.into()));
        row.candidates = ["C", "B"]
            .map(|code| Candidate {
                name: code.into(),
                code: code.into(),
                score: 0.0,
            })
            .into();
    }
    let training = TrainingSet::from_fields([("A", "span 1")], None);
    let report = evaluate(&rows, Some(&training), None, &EvalOptions::default()).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let keys: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let promised = [
        "rows",
        "correct",
        "recall_at_1",
        "ci95",
        "gold_not_in_kb",
        "by_group",
        "seen",
        "unseen",
    ];
    assert_eq!(keys[..8], promised);
    assert_eq!(keys[8..11], ["seen_mention", "unseen_mention", "judge"]);
    assert!(json["gold_not_in_kb"].is_null());
    assert_eq!(json["by_group"]["Chemical"]["rows"], 1);
    assert_eq!(json["seen"]["recall_at_1"], 1.0);
    assert_eq!(json["unseen_mention"]["correct"], 1);
    assert_eq!(json["judge"]["correct"], 2);
    assert_eq!(json["judge"]["column"], "LLM_Evaluation");
    assert_eq!(json["recall_at"]["2"], 0.5);
    assert_eq!(
        serde_json::from_value::<syncabel_eval::EvalReport>(json).unwrap(),
        report
    );
    let bare =
        serde_json::to_value(evaluate(&rows[..1], None, None, &EvalOptions::default()).unwrap())
            .unwrap();
    assert!(bare.get("seen").is_none());
}

#[test]
fn judge_columns_are_checked() {
    let mut rows = [row("d", 0, "A", "B")];
    rows[0].extra.push(("Mine".into(), "PERHAPS".into()));
    let asked = |column: &str| EvalOptions {
        judge_column: Some(column.into()),
        ..EvalOptions::default()
    };
    assert_eq!(
        evaluate(&rows, None, None, &EvalOptions::default())
            .unwrap()
            .judge,
        None
    );
    let unknown = evaluate(&rows, None, None, &asked("Mine"))
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("data row 1")
            && unknown.contains("PERHAPS")
            && unknown.contains("NO_RELATION"),
        "{unknown}"
    );
    let absent = evaluate(&rows, None, None, &asked("Other"))
        .unwrap_err()
        .to_string();
    assert!(
        absent.contains("`Other`") && absent.contains("Mine"),
        "{absent}"
    );
}

#[test]
fn seen_rules_are_options() {
    let training = TrainingSet::from_fields([("B+A", "x")], None);
    let rows = [row("d", 0, "A+B", "A+B"), row("d", 2, "A", "A")];
    let seen = |rule| {
        let options = EvalOptions {
            seen: rule,
            ..EvalOptions::default()
        };
        evaluate(&rows, Some(&training), None, &options)
            .unwrap()
            .seen
            .unwrap()
            .rows
    };
    assert_eq!(
        [
            SeenRule::CodeString,
            SeenRule::CodeSet,
            SeenRule::AnyConcept
        ]
        .map(seen),
        [0, 1, 2]
    );
}

#[test]
fn comparison_needs_the_same_mentions_and_gold() {
    let options = EvalOptions {
        bootstrap: Bootstrap {
            replicates: 100,
            seed: 1,
        },
        ..EvalOptions::default()
    };
    let first = [row("d", 0, "A", "A"), row("e", 0, "B", "X")];
    let same = compare(
        &first,
        &[first[1].clone(), first[0].clone()],
        None,
        &options,
    )
    .unwrap();
    assert_eq!(
        (same.difference, same.p_mcnemar, same.p_bootstrap),
        (0.0, 1.0, 1.0)
    );
    let other_gold = [row("d", 0, "Z", "A"), row("e", 0, "B", "X")];
    assert!(matches!(
        compare(&first, &other_gold, None, &options),
        Err(Error::DifferentGold { .. })
    ));
    assert!(matches!(
        compare(&first, &first[..1], None, &options),
        Err(Error::DifferentMentions { .. })
    ));
}

#[test]
fn a_corpus_of_medmentions_size_takes_less_than_a_second() {
    let rows: Vec<Prediction> = (0..40_157u32)
        .map(|i| {
            let predicted = if i.is_multiple_of(4) {
                "X".to_owned()
            } else {
                format!("C{}", i % 5000)
            };
            let mut row = row(
                &format!("doc{}", i % 879),
                i,
                &format!("C{}", i % 5000),
                &predicted,
            );
            row.label = format!("group {}", i % 21);
            row
        })
        .collect();
    let fields: Vec<String> = (0..3000).map(|i| format!("C{i}")).collect();
    let training = TrainingSet::from_fields(fields.iter().map(|f| (f.as_str(), "m")), None);
    let start = Instant::now();
    let report = evaluate(&rows, Some(&training), None, &EvalOptions::default()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(report.rows, 40_157);
    eprintln!("40,157 mentions, 26 strata, 1000 replicates: {seconds:.3} s");
    assert!(seconds < 1.0, "{seconds}");
}
