//! Bad input ends with exit code 2, one message that names the place and the way out, and no panic.

mod common;

use common::{NOTES, Sandbox, TERMS};

fn build_kb(sandbox: &Sandbox, terms: &str) -> common::Output {
    sandbox.write("terms.tsv", terms);
    sandbox.run(&["kb", "build", "terms.tsv", "--out", "terms.kb"])
}

#[test]
fn terminology() {
    let sandbox = Sandbox::new();
    build_kb(&sandbox, "code\tsynonyms\nD1\tx\n").refused(&["terms.tsv", "name"]);
    build_kb(&sandbox, "code\tname\tgroup\nD1\tAsthma\n").refused(&["terms.tsv:2", "3"]);
    build_kb(&sandbox, "").refused(&["terms.tsv", "no concept"]);
    build_kb(&sandbox, "code\tname\tgroup\nD1\t, NOS\tDisorders\n").refused(&["terms.tsv:2"]);
    sandbox.write("terms.tsv", b"code\tname\tgroup\nD1\t\xff\xfe\tDisorders\n");
    sandbox
        .run(&["kb", "build", "terms.tsv", "--out", "terms.kb"])
        .refused(&["terms.tsv:2", "UTF-8"]);
    sandbox
        .run(&["kb", "build", "nowhere.tsv", "--out", "x.kb"])
        .refused(&["nowhere.tsv"]);
    sandbox
        .run(&["kb", "inspect", "nowhere.kb"])
        .refused(&["nowhere.kb"]);
}

#[test]
fn a_damaged_kb() {
    let sandbox = Sandbox::new();
    build_kb(&sandbox, TERMS).ok();
    let part = std::fs::read_dir(sandbox.path("terms.kb"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let part = part
        .filter(|p| p.extension().is_some_and(|e| e != "json"))
        .max_by_key(|p| p.metadata().unwrap().len());
    let part = part.unwrap();
    let mut bytes = std::fs::read(&part).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&part, bytes).unwrap();
    let name = part.file_name().unwrap().to_string_lossy().into_owned();
    sandbox
        .run(&["kb", "inspect", "terms.kb"])
        .refused(&[&name]);
}

#[test]
fn corpora() {
    let sandbox = Sandbox::new();
    let stats = |content: &[u8], needles: &[&str]| {
        sandbox.write("c.pubtator.txt", content);
        sandbox
            .run(&["corpus", "stats", "c.pubtator.txt"])
            .refused(needles);
    };
    let head = "1|t|Asthma in sport.\n1|a|It is common.\n";
    stats(
        format!("{head}1\t0\tsix\tAsthma\tDisease\tD001249\n").as_bytes(),
        &["c.pubtator.txt:3", "six"],
    );
    stats(
        format!("{head}1\t0\t600\tAsthma\tDisease\tD001249\n").as_bytes(),
        &["c.pubtator.txt:3", "600"],
    );
    stats(
        format!("{head}1\t0\t6\tGout!!\tDisease\tD001249\n").as_bytes(),
        &["c.pubtator.txt:3", "Gout!!", "Asthma"],
    );
    stats(format!("{head}1\t0\t6\n").as_bytes(), &["c.pubtator.txt:3"]);
    stats(b"", &["c.pubtator.txt", "empty"]);
    stats(b"1|t|A\xff\n1|a|B\n", &["c.pubtator.txt:1", "UTF-8"]);
    sandbox.write("d.jsonl", NOTES.replace("\"mentions\"", "\"mentoins\""));
    sandbox
        .run(&["corpus", "stats", "d.jsonl"])
        .refused(&["d.jsonl:1", "mentoins", "mentions"]);
}

#[test]
fn predictions() {
    let sandbox = Sandbox::new();
    sandbox.write("p.tsv", "filename\tlabel\nx\ty\n");
    sandbox
        .run(&["eval", "p.tsv"])
        .refused(&["p.tsv", "start_span"]);
    let header = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code\n";
    sandbox.write(
        "p.tsv",
        format!("{header}d\tDisorders\tzero\t3\tabc\tD1\tD1\n"),
    );
    sandbox
        .run(&["eval", "p.tsv"])
        .refused(&["p.tsv:2", "start_span", "zero"]);
    sandbox.write("p.tsv", format!("{header}d\tDisorders\t0\t3\tabc\tD1\n"));
    sandbox.run(&["eval", "p.tsv"]).refused(&["p.tsv:2"]);
    sandbox.run(&["eval", "none.tsv"]).refused(&["none.tsv"]);
}

const HEADER: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code";

#[test]
fn predictions_that_went_through_many_hands() {
    let sandbox = Sandbox::new();
    let row = "d\tDisorders\t0\t3\tabc\tD1\tD1";
    // A byte-order mark, mixed line ends, a quoted tab and an extra column are read.
    sandbox.write(
        "p.tsv",
        format!("\u{feff}{HEADER}\tNote\r\n{row}\tx\r\nd\tDisorders\t4\t9\t\"a\tb\"\tD1\tD2\t\n"),
    );
    let json = sandbox.run(&["eval", "p.tsv", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["rows"], &report["correct"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        report["strata"]["words"]["2"]["rows"], 1,
        "the tab inside quotes parts two words"
    );

    let refuse = |text: String, needles: &[&str]| {
        sandbox.write("p.tsv", text);
        sandbox.run(&["eval", "p.tsv"]).refused(needles);
    };
    refuse(
        format!("{HEADER}\tPrediction_score\n{row}\thigh\n"),
        &["p.tsv:2", "Prediction_score", "high", "number"],
    );
    refuse(
        format!("{HEADER}\tLLM_Evaluation\n{row}\tSTRICT\n{row}\tPERHAPS\n").replace(
            "\nd\tDisorders\t0\t3\tabc\tD1\tD1\tPER",
            "\nd\tDisorders\t5\t9\tabc\tD1\tD1\tPER",
        ),
        &["p.tsv:3", "LLM_Evaluation", "PERHAPS", "NO_RELATION"],
    );
    refuse(
        format!("{HEADER}\tcode\n{row}\tx\n"),
        &["p.tsv:1", "code", "twice"],
    );
    refuse(format!("{HEADER}\n{row}\textra\n"), &["p.tsv:2", "8", "7"]);
    refuse(
        format!("{HEADER}\nd\tDisorders\t0\t3\t\"abc\tD1\tD1\n{row}\n"),
        &["p.tsv:2", "quote", "never closed"],
    );
    refuse(HEADER.replace("\tcode", ""), &["p.tsv", "code"]);
    sandbox.write("p.tsv", format!("{HEADER}\n{row}\n"));
    sandbox
        .run(&["eval", "p.tsv", "--judge-column", "Judge"])
        .refused(&["Judge", "none"]);
    sandbox
        .run(&["eval", "p.tsv", "--table", "t.docx"])
        .refused(&["t.docx", ".tex"]);
    sandbox
        .run(&[
            "eval",
            "p.tsv",
            "--train",
            "t.tsv",
            "--validation-share",
            "9",
        ])
        .refused(&["--validation-share"]);
}

#[test]
fn systems_that_do_not_cover_the_same_mentions() {
    let sandbox = Sandbox::new();
    let rows = |starts: &[u32], gold: &str| {
        let row = |s: &u32| format!("d\tDisorders\t{s}\t{}\tabc\t{gold}\tD1\n", s + 3);
        format!("{HEADER}\n{}", starts.iter().map(row).collect::<String>())
    };
    sandbox.write("a.tsv", rows(&[0, 5], "D1"));
    sandbox.write("b.tsv", rows(&[0], "D1"));
    sandbox.write("c.tsv", rows(&[0, 5], "D2"));
    sandbox.write("d.tsv", rows(&[0, 5], "D1"));
    sandbox
        .run(&["eval", "a.tsv", "--against", "b.tsv"])
        .refused(&["a.tsv against b.tsv", "1 only in the first", "a.tsv:3"]);
    sandbox
        .run(&["eval", "a.tsv", "--against", "c.tsv"])
        .refused(&["a.tsv:2", "D1", "D2"]);
    let json = sandbox
        .run(&["eval", "a.tsv", "--against", "d.tsv", "--json"])
        .ok();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["comparisons"][0]["difference"], 0.0);
    assert_eq!(report["comparisons"][0]["correction"], "holm");
}

#[test]
fn a_report_without_its_sources() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["report"])
        .refused(&["published.json", "repository's root"]);
    sandbox
        .run(&["report", "--recompute", "nowhere"])
        .refused(&["nowhere", "prediction file"]);
    sandbox.write("paper/published.json", "{}");
    sandbox.write("results/published/recomputed.json", "{}");
    sandbox
        .run(&["report"])
        .refused(&["published.json", "missing field"]);
}

const EXPERIMENT: &str = "name: t
kb: {sources: [{path: terms.tsv}]}
corpus: {train: [{path: notes.jsonl}], test: [{path: test.jsonl}]}
model: {source: {scratch: {vocabulary: 300, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2, kv_heads: 1}}}
composition: {strategy: human_only}
";

fn experiment(sandbox: &Sandbox, yaml: &str) -> common::Output {
    files(sandbox, yaml);
    sandbox.run(&["run", "e.yaml"])
}

/// Writes an experiment and what it reads.
fn files(sandbox: &Sandbox, yaml: &str) {
    sandbox.write("terms.tsv", TERMS);
    sandbox.write("notes.jsonl", NOTES);
    sandbox.write(
        "test.jsonl",
        NOTES.replace("\"n1", "\"t1").replace("\"n2", "\"t2"),
    );
    sandbox.write("e.yaml", yaml);
}

#[test]
fn experiment_files() {
    let sandbox = Sandbox::new();
    let with = |from: &str, to: &str| EXPERIMENT.replace(from, to);
    experiment(&sandbox, &with("composition:", "compositoin:")).refused(&[
        "e.yaml",
        "compositoin",
        "composition",
    ]);
    experiment(
        &sandbox,
        &with("strategy: human_only", "strategie: human_only"),
    )
    .refused(&["e.yaml", "strategie", "did you mean `strategy`"]);
    experiment(&sandbox, &with("human_only", "humans_only")).refused(&[
        "e.yaml",
        "humans_only",
        "human_only",
    ]);
    experiment(&sandbox, "name: [t\nkb: x").refused(&["e.yaml:", "not valid YAML"]);
    experiment(
        &sandbox,
        &with("terms.tsv", "\"${NO_SUCH_VARIABLE_SET}/terms.tsv\""),
    )
    .refused(&["e.yaml", "kb.sources[0].path", "NO_SUCH_VARIABLE_SET"]);
    experiment(&sandbox, &with("human_only", "combined")).refused(&["e.yaml", "synth", "combined"]);
    experiment(&sandbox, &with("test.jsonl", "notes.jsonl")).refused(&[
        "n1",
        "corpus.test",
        "corpus.train",
    ]);
    experiment(&sandbox, &with("heads: 2,", "heads: 3,")).refused(&["heads"]);
    let gguf = with(
        "{scratch: {vocabulary: 300, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2, kv_heads: 1}}",
        "{gguf: broken.gguf}",
    );
    experiment(&sandbox, &gguf).refused(&["e.yaml", "model.source", "broken.gguf"]);
    sandbox.write("broken.gguf", b"GGUF\x03\x00\x00\x00");
    experiment(&sandbox, &gguf).refused(&["broken.gguf"]);
    sandbox
        .run(&["run", "e.yaml", "--set", "nothing"])
        .refused(&["nothing", "key=value"]);
    sandbox
        .run(&["run", "e.yaml", "--set", "train.epoch=3"])
        .refused(&["e.yaml", "epoch", "epochs"]);
}

/// A case: what is replaced in [`EXPERIMENT`], by what, and what the message says.
type Case<'a> = (&'a str, &'a str, &'a [&'a str]);

#[track_caller]
fn refused(cases: &[Case<'_>]) {
    let sandbox = Sandbox::new();
    for (from, to, needles) in cases {
        assert!(EXPERIMENT.contains(from), "{from}");
        experiment(&sandbox, &EXPERIMENT.replace(from, to)).refused(needles);
        assert!(!sandbox.path("runs").exists(), "work began for {to}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused_before_any_work() {
    const LAST: &str = "composition: {strategy: human_only}";
    let add = |text: &str| format!("{LAST}\n{text}");
    let cases = [
        (
            "train: {epochs: -1}",
            "e.yaml:6: key `train.epochs`: is -1, which is not a positive number",
        ),
        (
            "train: {batch_examples: 0}",
            "e.yaml:6: key `train.batch_examples`: is 0",
        ),
        (
            "train: {human: {epochs: 0}}",
            "e.yaml:6: key `train.human.epochs`",
        ),
        (
            "train: {pretrain: {max_steps: 0}}",
            "e.yaml:6: key `train.pretrain.max_steps`: is 0",
        ),
        ("link: {beams: 0}", "e.yaml:6: key `link.beams`: is 0"),
        (
            "link: {strategy: best_first, guided: false}",
            "e.yaml:6: key `link.strategy`: `best_first` needs the trie",
        ),
        (
            "link: {within: 2}",
            "e.yaml:6: key `link.within`: is for best-first search only",
        ),
        (
            "link: {strategy: best_first, within: -1}",
            "e.yaml:6: key `link.within`: must be a number of nats",
        ),
        (
            "eval: {bootstrap: {replicates: 0}}",
            "e.yaml:6: key `eval.bootstrap.replicates`",
        ),
        ("jobs: 0", "e.yaml:6: key `jobs`"),
        (
            "synth: {generator: transplant, per_concept: 0}",
            "e.yaml:6: key `synth.per_concept`",
        ),
        (
            "report: {rows: seeds}",
            "e.yaml:6: key `report.rows`: `seeds` is no axis of this experiment; there is no sweep",
        ),
    ];
    for (text, needle) in cases {
        refused(&[(LAST, &add(text), &[needle])]);
    }
    refused(&[
        (
            "strategy: human_only",
            "human_share: 1.5, strategy: human_only",
            &["e.yaml:5: key `composition.human_share`: is 1.5"],
        ),
        (
            "model: {",
            "model: {device: gpu, ",
            &["e.yaml:4: key `model.device`", "gpu", "flex"],
        ),
        (
            "vocabulary: 300",
            "vocabulary: 10",
            &["e.yaml:4: key `model.source.scratch.vocabulary`: is 10; say at least 258"],
        ),
        (
            "heads: 2,",
            "heads: 3,",
            &["e.yaml:4: key `model.source.scratch.heads`"],
        ),
        (
            "strategy: human_only",
            "human_share: 0, strategy: human_only",
            &[
                "e.yaml:5: key `composition.human_share`: is 0",
                "nothing else",
            ],
        ),
        ("name: t", "name: ../../x", &["e.yaml:1: key `name`"]),
        ("name: t", "name: ''", &["e.yaml:1: key `name`"]),
        (
            "test: [{path: test.jsonl}]",
            "test: []",
            &["e.yaml:3: key `corpus.test`"],
        ),
    ]);
}

#[test]
fn sweeps_that_make_no_sense_are_refused_before_any_work() {
    const LAST: &str = "composition: {strategy: human_only}";
    for (sweep, needle) in [
        (
            "matrix: {seed: []}",
            "e.yaml:6: key `matrix.seed`: has no value",
        ),
        (
            "matrix:\n  seed: [1, 1]",
            "e.yaml:7: key `matrix.seed`: holds a value twice",
        ),
        (
            "matrix: {name: [a, b]}",
            "e.yaml:6: key `matrix.name`: is the same for all cells",
        ),
        (
            "matrix:\n  seed: [1]\n  train.epochs: [1, -1]",
            "e.yaml:8: key `train.epochs`: is -1, which is not a positive number (in cell `seed=1,epochs=-1`)",
        ),
        (
            "arms:\n  a b: {seed: 1}\n  a_b: {seed: 2}",
            "e.yaml:6: key `arms`: two cells would have the label `arm=a_b`",
        ),
        (
            "matrix: {train.epochs: [1]}\narms:\n  x:\n    train.epochs: 2",
            "e.yaml:9: key `arms.x.train.epochs`: `matrix` sets `train.epochs` as well",
        ),
        ("arms:\n  x: {train.epoch: 2}", "unknown field `epoch`"),
        (
            "matrix:\n  train: [{epochs: 1}]\n  train.epochs: [1, 2]",
            "another axis sets `train` as well",
        ),
        (
            "arms:\n  x: {train.epochs: 1, train: {epochs: 2}}",
            "the same arm sets `train",
        ),
        (
            "matrix: {composition.strategy: [human_only]}\nreport: {rows: composition.strategi}",
            "e.yaml:7: key `report.rows`: `composition.strategi` is no axis of this experiment; the axes are composition.strategy; did you mean `composition.strategy`?",
        ),
        (
            "matrix: {seed: [1, 2]}\nreport: {x: train.epochs}",
            "e.yaml:7: key `report.x`",
        ),
    ] {
        refused(&[(LAST, &format!("{LAST}\n{sweep}"), &[needle])]);
    }
    let sandbox = Sandbox::new();
    files(
        &sandbox,
        &format!("{EXPERIMENT}matrix: {{seed: [1, 10]}}\n"),
    );
    sandbox
        .run(&["run", "e.yaml", "--set", "train.epochs=0"])
        .refused(&["e.yaml: key `train.epochs`", "(set by --set)"]);
    // An axis would win over it, and nobody would be told.
    sandbox
        .run(&["run", "e.yaml", "--set", "seed=3"])
        .refused(&["key `seed`", "for every cell", "overrule `--set`"]);
    sandbox.run(&["train", "e.yaml"]).refused(&[
        "e.yaml describes 2 cells",
        "--only",
        "\n  seed=1\n  seed=10",
    ]);
}

#[test]
fn mistakes_in_yaml_are_told_with_their_line() {
    let sandbox = Sandbox::new();
    let with = |from: &str, to: &str| EXPERIMENT.replace(from, to);
    let synth = format!("{EXPERIMENT}synth:\n  generator: transplant\n  per_concpet: 2\n");
    experiment(&sandbox, &synth).refused(&[
        "e.yaml:8: ",
        "per_concpet",
        "did you mean `per_concept`",
    ]);
    let twice = format!("{EXPERIMENT}train:\n  epochs: 1\n  epochs: 2\n");
    experiment(&sandbox, &twice).refused(&["e.yaml:8:3: key `epochs` stands twice"]);
    experiment(
        &sandbox,
        &with("notes.jsonl}", "notes.jsonl, rules: nbci_disease}"),
    )
    .refused(&[
        "e.yaml:3: key `corpus.train[0].rules`",
        "nbci_disease",
        "did you mean `ncbi_disease`",
    ]);
    experiment(
        &sandbox,
        &with("notes.jsonl}", "notes.jsonl, rules: {pip: composite}}"),
    )
    .refused(&[
        "e.yaml:3: key `corpus.train[0].rules",
        "unknown field `pip`",
        "did you mean `pipe`",
    ]);
    sandbox.write("e.yaml", b"name: t\n# caf\xe9\n");
    sandbox
        .run(&["run", "e.yaml"])
        .refused(&["e.yaml:2:6: not UTF-8"]);
    let hub = with(
        "{scratch: {vocabulary: 300, hidden_size: 16, intermediate_size: 32, layers: 1, heads: 2, kv_heads: 1}}",
        "{hub: a/b/c}",
    );
    experiment(&sandbox, &hub).refused(&["e.yaml:4: key `model.source.hub`", "organisation/name"]);
    sandbox.write("terms.tsv", TERMS);
    sandbox.write("options.yaml", "strip_unspecifed: false\n");
    sandbox
        .run(&[
            "kb",
            "build",
            "terms.tsv",
            "--options",
            "options.yaml",
            "--out",
            "x.kb",
        ])
        .refused(&["options.yaml", "did you mean `strip_unspecified`"]);
}

#[test]
fn groups_and_labels_that_do_not_fit() {
    let sandbox = Sandbox::new();
    let corpus = |with: &str| EXPERIMENT.replace("corpus: {", &format!("corpus: {{{with}, "));
    experiment(&sandbox, &corpus("groups: {Disorders: Devices}")).refused(&[
        "e.yaml:3: key `corpus.groups.Disorders`",
        "no semantic group `Devices`",
        "Chemicals",
        "Disorders",
    ]);
    experiment(&sandbox, &corpus("groups: {Disorder: Disorders}")).refused(&[
        "e.yaml:3: key `corpus.groups.Disorder`: no mention has this label",
        "did you mean `Disorders`",
    ]);
    experiment(&sandbox, &corpus("default_group: Nope")).refused(&[
        "e.yaml:3: key `corpus.default_group`",
        "no semantic group `Nope`",
    ]);
    // the gold concept has one group only, but the label is none that the KB knows
    sandbox.write("terms.tsv", TERMS);
    sandbox.write(
        "test.jsonl",
        NOTES.replace("\"n1", "\"t1").replace("\"n2", "\"t2"),
    );
    let second = NOTES
        .lines()
        .nth(1)
        .unwrap()
        .replace("Disorders", "Devices");
    sandbox.write(
        "notes.jsonl",
        format!("{}\n{second}\n", NOTES.lines().next().unwrap()),
    );
    sandbox
        .run(&["run", "e.yaml", "--set", "corpus.default_group=null"])
        .refused(&[
            "notes.jsonl:2, mention n2.1",
            "Devices",
            "map the label to a group",
        ]);
}

#[test]
fn a_test_document_is_not_trained_on() {
    let sandbox = Sandbox::new();
    files(&sandbox, EXPERIMENT);
    sandbox.write(
        "notes.jsonl",
        NOTES.replace("{\"id\":\"n2\",", "{\"id\":\"n2\",\"split\":\"test\","),
    );
    sandbox
        .run(&["run", "e.yaml"])
        .refused(&["notes.jsonl:2: document `n2`", "must not be trained on"]);
}

#[test]
fn gzip_files_that_are_cut_short() {
    let sandbox = Sandbox::new();
    let cut = |name: &str, text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
        let mut bytes = packer.finish().unwrap();
        bytes.truncate(bytes.len() / 2);
        sandbox.write(name, bytes);
    };
    cut("terms.tsv.gz", TERMS);
    let built = sandbox.run(&["kb", "build", "terms.tsv.gz", "--out", "x.kb"]);
    assert_eq!(
        built.stderr.matches("cut short").count(),
        1,
        "{}",
        built.stderr
    );
    built.refused(&["terms.tsv.gz: the gzip file is damaged or cut short"]);
    cut("notes.jsonl.gz", NOTES);
    sandbox
        .run(&["corpus", "stats", "notes.jsonl.gz"])
        .refused(&["notes.jsonl.gz: the gzip file is damaged or cut short"]);
    cut(
        "p.tsv.gz",
        "filename\tlabel\tstart_span\tend_span\tspan\tcode\tPredicted_code\n",
    );
    sandbox
        .run(&["eval", "p.tsv.gz"])
        .refused(&["p.tsv.gz: the gzip file is damaged or cut short"]);
}

/// Neither a reader that went away nor a full disk behind stdout is a panic.
#[cfg(target_os = "linux")]
#[test]
fn stdout_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    build_kb(&sandbox, TERMS).ok();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    sandbox
        .run_into(&["kb", "inspect", "terms.kb"], full.into())
        .refused(&["cannot write to stdout", "No space left"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = sandbox.run_into(&["kb", "inspect", "terms.kb"], writer.into());
    assert_eq!((closed.code, closed.stderr.as_str()), (Some(0), ""));
}

#[test]
fn models() {
    let sandbox = Sandbox::new();
    build_kb(&sandbox, TERMS).ok();
    sandbox.write("notes.jsonl", NOTES);
    let link = || sandbox.run(&["link", "notes.jsonl", "--model", "m", "--kb", "terms.kb"]);
    link().refused(&["m"]);
    sandbox.write(
        "m/config.json",
        r#"{"architectures": ["BertModel"], "model_type": "bert"}"#,
    );
    sandbox.write("m/tokenizer.json", "{}");
    link().refused(&["config.json", "bert"]);
}

#[test]
fn judging() {
    let sandbox = Sandbox::new();
    let row = |start: u32, code: &str, human: &str, model: &str| {
        format!(
            "d{start}\tDisorders\t{start}\t{}\tabc\tD1\t{code}\t{human}\t{model}\n",
            start + 3
        )
    };
    sandbox.write(
        "p.tsv",
        format!("{HEADER}\tHuman_Evaluation\tMine\n")
            + &row(0, "D2", "EXACT", "EXACT")
            + &row(1, "D3", "BROAD", "EXACT")
            + &row(2, "D1", "", "STRICT"),
    );
    let text = sandbox
        .run(&[
            "judge",
            "agree",
            "p.tsv",
            "--with",
            "Human_Evaluation",
            "Mine",
        ])
        .ok();
    assert!(
        text.contains("Mine against Human_Evaluation: 1 of 2 agree (50.0 %)"),
        "{text}"
    );
    sandbox
        .run(&[
            "judge",
            "agree",
            "p.tsv",
            "--with",
            "Human_Evaluation",
            "Yours",
        ])
        .refused(&["Yours", "Mine"]);
    sandbox
        .run(&[
            "judge", "sample", "p.tsv", "--out", "s.tsv", "--key", "k.json", "--size", "5",
        ])
        .ok();
    let sample = std::fs::read_to_string(sandbox.path("s.tsv")).unwrap();
    assert_eq!(sample.lines().count(), 3, "two wrong answers: {sample}");
    assert!(
        sample.lines().next().unwrap().ends_with("Human_Evaluation") && !sample.contains("EXACT")
    );
    build_kb(&sandbox, TERMS).ok();
    sandbox
        .run(&[
            "judge",
            "hierarchy",
            "p.tsv",
            "--kb",
            "terms.kb",
            "--out",
            "h.tsv",
        ])
        .refused(&["terms.kb", "parent"]);
    sandbox
        .run(&[
            "judge",
            "run",
            "p.tsv",
            "--url",
            "http://127.0.0.1:9/v1",
            "--model",
            "m",
            "--ledger",
            "l",
            "--out",
            "j.tsv",
            "--api-key-env",
            "NO_SUCH_VARIABLE_SET",
        ])
        .refused(&["NO_SUCH_VARIABLE_SET"]);
}
