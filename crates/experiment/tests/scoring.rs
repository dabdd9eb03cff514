//! What `eval`, `judge`, `baseline` and `report --html` write, by the real binary.

mod common;

use common::Sandbox;

const HEADER: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tannotation\tsentence\tPrediction\tPrediction_score\tPredicted_code\tCandidates\tProbability\tVerdict\n";

/// Forty mentions in ten documents. Every `wrong`-th answer is wrong, and the second candidate right there.
fn predictions(wrong: usize) -> String {
    let row = |i: usize| {
        let right = !i.is_multiple_of(wrong);
        let gold = format!("D{}", i % 10);
        let (answer, verdict) = match right {
            true => (gold.clone(), "STRICT"),
            false => ("X".to_owned(), ["BROAD", "NARROW"][i % 2]),
        };
        let candidates = format!(
            r#"[{{"name":"{answer}","code":"{answer}","score":0.5}},{{"name":"{gold}","code":"{gold}","score":0.4}}]"#
        );
        format!(
            "d{}\tDisorders\t{i}\t{}\tHD\t{gold}\tGout\tKnown [HD]{{Disorders}}.\t{answer}\t0.{}\t{answer}\t\"{}\"\t0.8{}\t{verdict}\n",
            i / 4,
            i + 2,
            i + 10,
            candidates.replace('"', "\"\""),
            i % 10
        )
    };
    HEADER.to_owned() + &(0..40).map(row).collect::<String>()
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.tsv", predictions(3));
    sandbox.write("b.tsv", predictions(5));
    sandbox
}

#[test]
fn everything_of_eval_is_a_table_in_three_forms_and_a_figure() {
    let sandbox = sandbox();
    let json = sandbox
        .run(&[
            "eval",
            "a.tsv",
            "--against",
            "b.tsv",
            "--judge-column",
            "Verdict",
            "--recall-at",
            "1,2,7",
            "--tables",
            "tables",
            "--figures",
            "figures",
            "--json",
        ])
        .ok();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let read = |name: &str| {
        let path = sandbox.path(&format!("tables/{name}"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for stem in [
        "overview",
        "recall_at_k",
        "strata",
        "judge",
        "scores",
        "calibration_bins",
        "thresholds",
        "risk_coverage",
        "comparisons",
    ] {
        assert!(read(&format!("{stem}.md")).contains("| ---"), "{stem}");
        assert!(read(&format!("{stem}.tex")).contains("\\toprule"), "{stem}");
        assert!(read(&format!("{stem}.csv")).lines().count() > 1, "{stem}");
    }
    // 26 of 40 right; the second candidate is right everywhere. No list is seven long.
    assert_eq!(report["recall_at"]["2"], 1.0);
    assert_eq!(report["recall_at"].as_object().unwrap().len(), 1);
    let recall = read("recall_at_k.csv");
    let lines: Vec<&str> = recall.lines().collect();
    assert!(lines[1].starts_with("1,40,65.0,"), "{recall}");
    assert_eq!(lines[2], "2,40,100.0,100.0 to 100.0");
    assert_eq!(lines.len(), 3, "{recall}");
    let judge = read("judge.csv");
    assert!(judge.contains("strict,STRICT,26,65.0,"), "{judge}");
    assert!(judge.contains("broad,BROAD or PARTIAL,7,17.5,"), "{judge}");
    let comparisons = read("comparisons.csv");
    assert!(
        comparisons.contains("b.tsv,40,80.0,65.0,+15.0,"),
        "{comparisons}"
    );
    assert!(comparisons.contains("corrected (holm)"), "{comparisons}");
    let scores = read("scores.csv");
    assert!(
        scores.contains("Prediction_score,40,0,0,0.") && scores.contains("\nProbability,40,0,0,0."),
        "{scores}"
    );
    for figure in [
        "recall_by_stratum",
        "recall_at_k",
        "comparison",
        "judge",
        "reliability",
        "risk_coverage",
    ] {
        for ending in ["svg", "png"] {
            let path = sandbox.path(&format!("figures/{figure}.{ending}"));
            assert!(path.is_file(), "{}", path.display());
        }
    }
}

#[test]
fn candidates_that_are_too_short_are_told() {
    let sandbox = sandbox();
    let output = sandbox.run(&["eval", "a.tsv", "--recall-at", "2,50"]);
    assert!(
        output.stderr.contains("no candidate list is as long as 50"),
        "{}",
        output.stderr
    );
    output.ok();
    sandbox
        .run(&["eval", "a.tsv", "--recall-at", "0"])
        .refused(&["--recall-at", "0"]);
}

/// The data that the page embeds.
fn page_data(page: &str) -> serde_json::Value {
    let data = page.split("id=\"data\">").nth(1).unwrap();
    serde_json::from_str(data.split("</script>").next().unwrap()).unwrap()
}

#[test]
fn the_page_takes_the_rules_of_eval() {
    let sandbox = sandbox();
    // An answer of two concepts of which one is right.
    let tied = predictions(3).replace("\tD1\t0.11\tD1\t", "\tD1\t0.11\tD1|D2\t");
    assert!(tied.contains("D1|D2"));
    sandbox.write("tied.tsv", tied);
    let page = |more: &[&str]| {
        let fixed = [
            "report",
            "--html",
            "page.html",
            "--system",
            "first=tied.tsv",
        ];
        sandbox.run(&[&fixed[..], more].concat()).ok();
        page_data(&std::fs::read_to_string(sandbox.path("page.html")).unwrap())
    };
    let strict = page(&[]);
    let answer = &strict["systems"][0]["rows"][1];
    assert_eq!(
        (&answer["right"], answer.get("credit")),
        (&false.into(), None)
    );
    assert_eq!(answer.get("label"), None, "no judge was asked for");
    assert_eq!(answer["probability"], 0.81);
    let expected = page(&["--ties", "expected", "--judge-column", "Verdict"]);
    let answer = &expected["systems"][0]["rows"][1];
    assert_eq!(
        (&answer["right"], &answer["credit"]),
        (&false.into(), &0.5.into())
    );
    assert_eq!(answer["label"], "STRICT");
    let any = page(&["--ties", "any"]);
    assert_eq!(any["systems"][0]["rows"][1]["right"], true);
    sandbox
        .run(&[
            "report",
            "--html",
            "p.html",
            "--system",
            "a=a.tsv",
            "--judge-column",
            "Mine",
        ])
        .refused(&["a.tsv", "Mine", "Verdict"]);
    sandbox
        .run(&["report", "--html", "p.html", "--system", "a=none.tsv"])
        .refused(&["none.tsv", "no such file"]);
}

#[cfg(feature = "parquet")]
#[test]
fn the_page_reads_parquet_as_eval_does() {
    let sandbox = sandbox();
    let rows = syncabel_corpus::predictions::read_tsv(&sandbox.path("a.tsv")).unwrap();
    syncabel_eval::parquet::write_predictions(&sandbox.path("a.parquet"), &rows).unwrap();
    for file in ["a.tsv", "a.parquet"] {
        let system = format!("a={file}");
        let page = format!("{file}.html");
        sandbox
            .run(&[
                "report",
                "--html",
                &page,
                "--system",
                &system,
                "--judge-column",
                "Verdict",
            ])
            .ok();
    }
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(
        page_data(&read("a.tsv.html")),
        page_data(&read("a.parquet.html"))
    );
}

#[test]
fn agreement_of_judges_as_tables() {
    let sandbox = Sandbox::new();
    let header = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code\tHuman_Evaluation\tMine\n";
    sandbox.write(
        "p.tsv",
        format!(
            "{header}d0\tDisorders\t0\t3\tabc\tD1\tD2\tEXACT\tEXACT\nd1\tDisorders\t0\t3\tabc\tD1\tD3\tBROAD\tEXACT\n"
        ),
    );
    sandbox
        .run(&[
            "judge",
            "agree",
            "p.tsv",
            "--with",
            "Human_Evaluation",
            "Mine",
            "--tables",
            "t",
        ])
        .ok();
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert!(read("t/agreement.csv").contains("Mine,Human_Evaluation,2,1,50.0,"));
    assert!(read("t/confusion.csv").contains("Mine,Human_Evaluation,BROAD,0,1,0,0,0,0\n"));
    assert!(read("t/confusion.tex").contains("NO\\_RELATION"));
}

#[test]
fn the_baseline_answers_with_the_nearest_names() {
    let sandbox = Sandbox::with_terms();
    sandbox
        .run(&[
            "baseline",
            "train.jsonl",
            "--kb",
            "terms.kb",
            "--out",
            "nearest.tsv",
        ])
        .ok();
    let json = sandbox
        .run(&["eval", "nearest.tsv", "--kb", "terms.kb", "--json"])
        .ok();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(report["rows"].as_u64().unwrap() > 0);
    assert_eq!(report["gold_not_in_kb"], 0);
    let rows = syncabel_corpus::predictions::read_tsv(&sandbox.path("nearest.tsv")).unwrap();
    for row in &rows {
        let best = &row.candidates[0];
        assert_eq!(
            (&best.name, &best.code),
            (&row.prediction, &row.predicted_code)
        );
        assert!(
            row.candidates
                .iter()
                .skip(1)
                .all(|c| c.code != best.code && c.score <= best.score)
        );
    }
    sandbox
        .run(&[
            "baseline",
            "none.jsonl",
            "--kb",
            "terms.kb",
            "--out",
            "x.tsv",
        ])
        .refused(&["none.jsonl"]);
}
