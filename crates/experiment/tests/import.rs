//! The generator `import` and the filter `round_trip`, through the real binary.

mod common;

use common::Sandbox;
use std::path::PathBuf;

const EXPERIMENT: &str = "name: tiny
kb: {sources: [{path: terms.tsv}]}
corpus: {train: [{path: notes.jsonl}], test: [{path: test.jsonl}]}
synth: SYNTH
model: {source: {scratch: {vocabulary: 300, hidden_size: 32, intermediate_size: 64, layers: 2, heads: 2, kv_heads: 1}}}
composition: {strategy: interleaved}
train: {epochs: 2, batch_examples: 2, learning_rate: 3.0e-3}
link: {beams: 3}
";

/// Two files as the authors' conversion leaves them: early ones keep the brackets, ids of mentions and documents repeat.
const EARLY: &str = r#"[{"id": "0", "document_id": "0_0", "passages": [{"id": "0_0__text", "type": "abstract", "text": ["The [chorea of Huntington] came before the chorea of Huntington was named.\n"], "offsets": [[0, 74]]}],
 "entities": [{"id": "0_0_T1", "type": "LLM_generated", "text": ["chorea of Huntington"], "offsets": [[5, 25]], "normalized": [{"db_name": "UMLS", "db_id": "D006816"}]},
              {"id": "0_0_T2", "type": "LLM_generated", "text": ["chorea of Huntington"], "offsets": [[43, 63]], "normalized": [{"db_name": "UMLS", "db_id": "D006816"}]}],
 "events": [], "coreferences": [], "relations": []},
 {"id": "1", "document_id": "1_0", "passages": [{"id": "t", "type": "abstract", "text": ["Nobody knows this one."], "offsets": [[0, 22]]}],
 "entities": [{"id": "e", "type": "LLM_generated", "text": ["this one"], "offsets": [[13, 21]], "normalized": [{"db_name": "UMLS", "db_id": "C9999999"}]}],
 "events": [], "coreferences": [], "relations": []}]"#;
const LATE: &str = r#"{"id": "0", "document_id": "0_0", "passages": [{"id": "t", "type": "abstract", "text": ["An été with asthma attacks and asthma sprays."], "offsets": [[0, 45]]}], "entities": [{"id": "T1", "type": "LLM_generated", "text": ["asthma"], "offsets": [[12, 18]], "normalized": [{"db_name": "UMLS", "db_id": "D001249"}]}, {"id": "T1", "type": "LLM_generated", "text": ["asthma"], "offsets": [[31, 37]], "normalized": [{"db_name": "UMLS", "db_id": "D001249"}]}]}
"#;

fn sandbox(synth: &str) -> Sandbox {
    Sandbox::with_experiment(&EXPERIMENT.replace("SYNTH", synth))
}

/// The folders of a stage, sorted.
fn stages(sandbox: &Sandbox, stage: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path("runs/tiny/stages")).unwrap();
    let paths = entries.map(|e| e.unwrap().path());
    let prefix = format!("{stage}-");
    let of_stage = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(&prefix)
    };
    let mut found: Vec<PathBuf> = paths.filter(of_stage).collect();
    found.sort();
    found
}

fn json(path: PathBuf) -> serde_json::Value {
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_folder_of_the_authors_files_is_imported_filtered_and_measured() {
    let sandbox = sandbox(
        "{generator: import, files: [{path: synth}], include: bigbio, filters: {length: {}, far_from_names: {}}}",
    );
    sandbox.write("synth/bigbio/early.json", EARLY);
    sandbox.write("synth/bigbio/late.json", LATE);
    sandbox.write("synth/bigbio/dataset_infos.json", "{}");
    sandbox.write("synth/other/broken.json", "{");
    sandbox.run(&["synth", "run", "tiny.yaml"]).ok();
    let folder = &stages(&sandbox, "synth")[0];
    let report = json(folder.join("report.json"));
    assert_eq!(report["generator"], "import");
    for (count, number) in [("sentences", 2), ("mentions", 3), ("concepts", 3)] {
        assert_eq!(report[count], number, "{count}");
    }
    assert_eq!(report["import"]["mentions_outside_brackets"], 1);
    assert_eq!(report["import"]["renamed_documents"], 1);
    assert_eq!(report["failed"][0]["code"], "C9999999");
    let filters = json(folder.join("filters.json"));
    assert_eq!(
        (&filters["sentences"], &filters["kept"]),
        (&2.into(), &2.into())
    );
    assert!(
        std::fs::read_to_string(folder.join("card.md"))
            .unwrap()
            .contains("| mentions | 2 | 2 | 3 |")
    );
    let text = std::fs::read_to_string(folder.join("synthetic.jsonl")).unwrap();
    assert!(
        text.contains(
            "\"text\":\"The chorea of Huntington came before the chorea of Huntington was named.\""
        ),
        "{text}"
    );
    assert!(text.contains("\"id\":\"0_0#2.2\""), "{text}");

    // What counts is what the files hold.
    sandbox.run(&["synth", "run", "tiny.yaml"]).ok();
    assert_eq!(stages(&sandbox, "synth").len(), 1);
    sandbox.write("synth/bigbio/late.json", LATE.replace("été", "age"));
    sandbox.run(&["synth", "run", "tiny.yaml"]).ok();
    assert_eq!(stages(&sandbox, "synth").len(), 2);

    let wrong = LATE.replace("[12, 18]", "[12, 20]");
    sandbox.write("synth/bigbio/late.json", wrong);
    sandbox
        .run(&["synth", "run", "tiny.yaml"])
        .refused(&["late.json:1", "12-20", "asthma"]);
    let run = |set: &str| sandbox.run(&["synth", "run", "tiny.yaml", "--set", set]);
    run("synth.include=nothing").refused(&["synth.files[0].path", "nothing"]);
    run("synth.files=[]").refused(&["synth.files", "synth.hub"]);
    run("synth.hub=a/b/c").refused(&["synth.hub", "data set `a/b/c`"]);
    run("synth.file=x").refused(&["did you mean `files`"]);
}

#[cfg(feature = "parquet")]
#[test]
fn the_authors_table_is_imported_from_the_cache_of_the_hub() {
    use polars::prelude::{DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series};
    let sandbox = sandbox("{generator: import, hub: org/sentences, include: SynthMM}");
    let answers = [
        "The [chorea] of [Huntington] began.\nThen [Huntington chorea] was named.",
        "FAIL",
        "Some [thing] of no KB.",
    ];
    let codes = Series::new("CUI".into(), ["D006816", "D001249", "C9"]);
    let columns = vec![
        codes.into_column(),
        Series::new("llm_output".into(), answers).into_column(),
    ];
    let file = sandbox.write(
        "hub/datasets--org--sentences/snapshots/abc/data/SynthMM-0.parquet",
        "",
    );
    let mut table = DataFrame::new(3, columns).unwrap();
    ParquetWriter::new(std::fs::File::create(&file).unwrap())
        .finish(&mut table)
        .unwrap();
    sandbox.write(
        "hub/datasets--org--sentences/snapshots/abc/data/SynthFR-0.parquet",
        "",
    );
    sandbox.write("hub/datasets--org--sentences/refs/main", "abc");
    let hub = sandbox.path("hub");
    let offline = [
        ("HF_HUB_CACHE", hub.to_str().unwrap()),
        ("HF_HUB_OFFLINE", "1"),
    ];
    let run = |set: &str| sandbox.run_with(&["synth", "run", "tiny.yaml", "--set", set], &offline);
    run("seed=1").ok();
    let folder = &stages(&sandbox, "synth")[0];
    let report = json(folder.join("report.json"));
    assert_eq!(
        (&report["sentences"], &report["mentions"]),
        (&2.into(), &3.into())
    );
    let failed = report["failed"].as_array().unwrap();
    let reasons: Vec<&str> = failed
        .iter()
        .map(|f| f["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["marked FAIL", "the KB does not have this code"]);
    let again = run("synth.hub=org/none");
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(
        again.stderr.contains("data set `org/none`"),
        "{}",
        again.stderr
    );

    // The same through the command line, with Parquet to come out.
    sandbox.build_terms();
    let fixed = [
        "synth",
        "--kb",
        "terms.kb",
        "--train",
        "notes.jsonl",
        "--out",
        "in.parquet",
        "--import",
    ];
    sandbox
        .run(&[&fixed[..], &[file.to_str().unwrap()]].concat())
        .ok();
    assert!(
        sandbox
            .run(&["corpus", "stats", "in.parquet"])
            .ok()
            .contains("Disorders")
    );
    sandbox
        .run(&[&fixed[..], &["nowhere"]].concat())
        .refused(&["nowhere does not exist"]);
    let from_hub = [
        "synth",
        "--kb",
        "terms.kb",
        "--train",
        "notes.jsonl",
        "--out",
        "hub.parquet",
        "--import-hub",
        "org/sentences@main",
        "--include",
        "SynthMM",
    ];
    sandbox.run_with(&from_hub, &offline).ok();
    let bytes = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert_eq!(bytes("hub.parquet"), bytes("in.parquet"));
    sandbox
        .run(&["corpus", "stats", file.to_str().unwrap()])
        .refused(&["document_id", "import"]);
}

#[test]
fn round_trip_keeps_what_a_linker_trained_on_human_data_finds() {
    let synth = "{generator: import, files: [{path: synthetic.json}], filters: {length: {min_words: 3}, round_trip: {top_k: 1}}}";
    let sandbox = sandbox(synth);
    // The first two are what the linker has learnt by heart, with the concepts of one exchanged.
    let sentence = |id: u32, text: &str, start: u32, mention: &str, code: &str| {
        let end = start + mention.len() as u32;
        format!(
            r#"{{"id": "{id}", "document_id": "s{id}", "passages": [{{"id": "t", "type": "x", "text": ["{text}"], "offsets": [[0, {}]]}}], "entities": [{{"id": "T1", "type": "LLM_generated", "text": ["{mention}"], "offsets": [[{start}, {end}]], "normalized": [{{"db_name": "", "db_id": "{code}"}}]}}]}}"#,
            text.len()
        )
    };
    let lines = [
        sentence(
            1,
            "Known Huntington chorea, now with falls.",
            6,
            "Huntington chorea",
            "D006816",
        ),
        sentence(
            2,
            "Wheezing; bronchial asthma since childhood.",
            10,
            "bronchial asthma",
            "D006689",
        ),
        sentence(3, "Too short.", 0, "Too", "D006816"),
    ];
    sandbox.write("synthetic.json", lines.join("\n"));
    let yaml = std::fs::read_to_string(sandbox.path("tiny.yaml")).unwrap();
    let yaml = yaml.replace("epochs: 2", "epochs: 400")
        + "arms:\n  human: {composition.strategy: human_only}\n  both: {composition.strategy: interleaved, train.epochs: 3, synth.filters.round_trip.train: {epochs: 400}}\n";
    sandbox.write("tiny.yaml", yaml);
    sandbox.run(&["run", "tiny.yaml"]).ok();
    let count = |stage: &str| stages(&sandbox, stage).len();
    assert_eq!(
        (
            count("synth"),
            count("round_trip"),
            count("train"),
            count("trie")
        ),
        (1, 1, 2, 1),
        "the linker is the human arm's checkpoint"
    );
    let folder = stages(&sandbox, "round_trip").remove(0);
    let filters = json(folder.join("filters.json"));
    assert_eq!(
        (&filters["sentences"], &filters["kept"]),
        (&3.into(), &1.into())
    );
    let last = &filters["filters"][1];
    assert_eq!(
        (&last["name"], &last["rejected"]),
        (&"round_trip".into(), &1.into())
    );
    assert_eq!(last["samples"][0]["document"], "s2");
    let why = last["samples"][0]["why"].as_str().unwrap();
    assert!(why.contains("D001249"), "{why}");
    let kept = std::fs::read_to_string(folder.join("synthetic.jsonl")).unwrap();
    assert!(
        kept.lines().count() == 1 && kept.contains("Huntington chorea"),
        "{kept}"
    );
    assert!(folder.join("card.md").is_file());

    // An interrupted stage goes on behind the ranks it has: the one there is believed.
    std::fs::remove_file(folder.join("stage.json")).unwrap();
    let first = r#"{"document":"s1","rank":null,"mention":"x","first":"nothing"}"#;
    std::fs::write(folder.join("ranks.jsonl"), format!("{first}\n{{\"docu")).unwrap();
    sandbox
        .run(&["synth", "run", "tiny.yaml", "--only", "both"])
        .refused(&["synth.filters", "no synthetic sentence passed"]);
    let ranks = std::fs::read_to_string(folder.join("ranks.jsonl")).unwrap();
    assert_eq!(ranks.lines().count(), 2);
    assert!(ranks.starts_with(first), "{ranks}");

    // Another top_k makes neither sentences nor a model anew.
    sandbox
        .run(&[
            "synth",
            "run",
            "tiny.yaml",
            "--only",
            "both",
            "--set",
            "synth.filters.round_trip.top_k=9",
        ])
        .ok();
    assert_eq!(
        (count("synth"), count("round_trip"), count("train")),
        (1, 2, 2)
    );

    let set = |set: &str| sandbox.run(&["run", "tiny.yaml", "--set", set]);
    set("synth.filters.round_trip.top_k=0").refused(&["synth.filters.round_trip.top_k"]);
    set("composition.human_share=0")
        .refused(&["synth.filters.round_trip", "composition.human_share"]);
    let yaml = std::fs::read_to_string(sandbox.path("tiny.yaml")).unwrap();
    sandbox.write(
        "tiny.yaml",
        yaml.replace(
            "round_trip.train: {epochs: 400}",
            "round_trip.train: {epoch: 400}",
        ),
    );
    sandbox
        .run(&["run", "tiny.yaml"])
        .refused(&["synth.filters.round_trip.train", "did you mean `epochs`"]);

    // On the command line with the checkpoint of the human arm.
    let manifest = json(sandbox.path("runs/tiny/cells/arm=human/run.json"));
    let checkpoint = manifest["artefacts"]["checkpoint"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.build_terms();
    let fixed = [
        "synth",
        "--kb",
        "terms.kb",
        "--train",
        "notes.jsonl",
        "--out",
        "out.json",
        "--report",
        "report.json",
        "--import",
        "synthetic.json",
        "--round-trip-top-k",
        "1",
        "--round-trip-model",
    ];
    sandbox.run(&[&fixed[..], &[&checkpoint]].concat()).ok();
    let report = json(sandbox.path("report.json"));
    let filters = &report["filters"];
    assert_eq!(
        (&filters["sentences"], &filters["filters"][0]["name"]),
        (&3.into(), &"round_trip".into())
    );
    assert_eq!(
        filters["filters"][0]["rejected"],
        filters["filters"][0]["alone"]
    );
    let out = std::fs::read_to_string(sandbox.path("out.json")).unwrap();
    assert!(out.contains("\"s1\"") && !out.contains("\"s2\""), "{out}");
    let files = std::fs::read_dir(sandbox.path("")).unwrap();
    let left = files.map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("synth-")).count(), 0);
    sandbox
        .run(&[&fixed[..], &["nowhere"]].concat())
        .refused(&["nowhere", "syncabel train"]);
}

#[test]
fn a_retry_that_would_not_be_followed_is_refused() {
    let synth = "{generator: openai, model: m, server: {base_url: 'http://127.0.0.1:1/v1', retry: {max_attempts: 9}}}";
    let sandbox = sandbox(synth);
    sandbox
        .run(&["run", "tiny.yaml"])
        .refused(&["synth.server.retry", "synth.run.retry"]);
}

#[test]
fn transplanted_sentences_pass_the_filters_although_they_are_human_ones() {
    let sandbox = Sandbox::new();
    let data = common::repository().join("experiments/embedded/data");
    let path = |name: &str| data.join(name).to_str().unwrap().to_owned();
    sandbox
        .run(&["kb", "build", &path("kb.jsonl"), "--out", "embedded.kb"])
        .ok();
    let args = [
        "synth",
        "--kb",
        "embedded.kb",
        "--train",
        &path("train.jsonl"),
        "--compare",
        &path("test.jsonl"),
        "--out",
        "out.jsonl",
        "--sample",
        "50",
        "--filters",
        "all",
        "--report",
        "report.json",
    ];
    sandbox.run(&args).ok();
    let report = json(sandbox.path("report.json"));
    let kept = report["filters"]["kept"].as_u64().unwrap();
    assert!(kept > 75, "{kept} of 150 kept");
    let copies = &report["filters"]["copies_by_split"];
    assert_eq!(copies.as_object().unwrap().len(), 0, "{copies}");
}
