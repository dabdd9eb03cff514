//! Bad terminology files: one clear message with file and line, and no panic.

use std::io::Write;
use std::path::Path;

use syncabel_kb::{
    BuildOptions, BuildReport, DecisionKind, DuplicateCodes, EmptyNames, Error, Kb, SourceFormat,
    build, load,
};

fn build_file(
    path: &Path,
    format: SourceFormat,
    options: &BuildOptions,
) -> Result<(Kb, BuildReport), Error> {
    let source = load(path, format, None)?;
    build(source.concepts, vec![source.digest], options)
}

fn build_bytes(
    file: &str,
    bytes: &[u8],
    options: &BuildOptions,
) -> Result<(Kb, BuildReport), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    std::fs::write(&path, bytes).unwrap();
    let format = SourceFormat::guess(&path).unwrap();
    build_file(&path, format, options).map_err(|error| {
        let folder = format!("{}/", dir.path().display());
        error.to_string().replace(&folder, "")
    })
}

#[test]
fn messages_name_file_line_and_way_out() {
    let cases: &[(&str, &[u8], &str)] = &[
        // Tables
        ("kb.tsv", b"", "kb.tsv: the file holds no concept"),
        (
            "kb.tsv",
            b"code\tname\n",
            "kb.tsv: the file holds no concept",
        ),
        (
            "kb.tsv",
            b"code\tsynonyms\nC1\tx\n",
            "kb.tsv:1: column `name` is missing; the header has: code, synonyms",
        ),
        (
            "kb.tsv",
            b"code\tname\tsynonym\nC1\tx\ty\n",
            "kb.tsv:1: unknown field `synonym`; the nearest known one is `synonyms`",
        ),
        (
            "kb.tsv",
            b"code\tname\tname\nC1\tx\ty\n",
            "kb.tsv:1: column `name` stands twice in the header",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\tx\tg\nC2\ty\n",
            "kb.tsv:3: 2 fields where 3 (one for each column of the header) are expected",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\tx\tg\n\nC2\ty\tg\tz\n",
            "kb.tsv:4: 4 fields where 3 (one for each column of the header) are expected",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\tx\tg\nC2\tcaf\xe9\tg\n",
            "kb.tsv:3: not UTF-8 at byte 7 of the line; convert the file first, for example with iconv",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\n\tx\tg\n",
            "kb.tsv:2: `code` is missing or blank",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\t \tg\n",
            "kb.tsv:2: `name` is missing or blank",
        ),
        (
            "kb.tsv",
            b"code\tname\nC1\tx\n",
            "kb.tsv:2: concept `C1` has no semantic group; add one to the file or give a default group",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1+C2\tx\tg\n",
            "kb.tsv:2: code `C1+C2` holds a `+`, which separates codes in prediction files",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\tx\tg\nC2\t(NOS)\tg\n",
            "kb.tsv:3: concept `C2` has a name that is empty after cleaning: \"(NOS)\"; correct it, or set `empty_names: skip`",
        ),
        (
            "kb.tsv",
            b"code\tname\tgroup\nC1\tx\tg\nC2\ty\tg\nC1\tz\tg\n",
            "kb.tsv:4: code `C1` is already at kb.tsv:2 with another `name`; remove one, or set `duplicate_codes: merge`",
        ),
        // MEDIC
        (
            "medic.txt",
            b"\n \n",
            "medic.txt: the file holds no concept",
        ),
        (
            "medic.txt",
            b"D1||Asthma\nD2|Asthma\n",
            "medic.txt:2: 1 fields where 2 (codes||names) are expected",
        ),
        (
            "medic.txt",
            b"||Asthma\n",
            "medic.txt:1: `code` is missing or blank",
        ),
        (
            "medic.txt",
            b"D1|||Asthma\n",
            "medic.txt:1: concept `D1` has a name that is empty after cleaning: \"\"; correct it, or set `empty_names: skip`",
        ),
        (
            "medic.txt",
            b"D1||Asthma|\n",
            "medic.txt:1: concept `D1` has a name that is empty after cleaning: \"\"; correct it, or set `empty_names: skip`",
        ),
        // JSON lines
        ("kb.jsonl", b"\n", "kb.jsonl: the file holds no concept"),
        (
            "kb.jsonl",
            b"{\"code\": \"C1\", \"name\": \"x\", \"group\": \"g\"}\n{\"code\": \"C2\",\n",
            "kb.jsonl:2: column 14: no JSON object: EOF while parsing a value",
        ),
        (
            "kb.jsonl",
            b"[1]\n",
            "kb.jsonl:1: column 0: no JSON object: invalid type: sequence, expected a map",
        ),
        (
            "kb.jsonl",
            b"{\"code\": \"C1\", \"name\": \"x\", \"groups\": \"g\"}\n",
            "kb.jsonl:1: unknown field `groups`; the nearest known one is `group`",
        ),
        (
            "kb.jsonl",
            b"{\"code\": 1, \"name\": \"x\", \"group\": \"g\"}\n",
            "kb.jsonl:1: field `code` must be a string",
        ),
        (
            "kb.jsonl",
            b"{\"code\": \"C1\", \"name\": \"x\", \"synonyms\": [1]}\n",
            "kb.jsonl:1: field `synonyms` must be a string or a list of strings",
        ),
        (
            "kb.jsonl",
            b"{\"name\": \"x\", \"group\": \"g\"}\n",
            "kb.jsonl:1: `code` is missing or blank",
        ),
        // OBO
        (
            "kb.obo",
            b"format-version: 1.2\n",
            "kb.obo: the file holds no concept",
        ),
        (
            "kb.obo",
            b"[Term]\nid: X:1\n\n[Term]\nid: X:2\nname: b\n",
            "kb.obo:1: `name` is missing or blank",
        ),
        (
            "kb.obo",
            b"[Term]\nid: X:1\nname: a\n",
            "kb.obo:1: concept `X:1` has no semantic group; add one to the file or give a default group",
        ),
        (
            "kb.obo",
            b"[Term]\nid: X:1\nid: X:2\nname: a\n",
            "kb.obo:3: a second `id` in the same stanza",
        ),
        (
            "kb.obo",
            b"[Term]\nid: X:1\nname: a\nsynonym: b EXACT []\n",
            "kb.obo:4: the value of `synonym` does not start with a quote mark",
        ),
        (
            "kb.obo",
            b"[Term]\nid: X:1\nname: a\ndef: \"b\n",
            "kb.obo:4: the value of `def` lacks its closing quote mark",
        ),
        (
            "kb.obo",
            b"[Term]\nid X:1\nname: a\n",
            "kb.obo:2: `id X:1` is neither a stanza nor `tag: value`",
        ),
    ];
    for (file, bytes, expected) in cases {
        let message = build_bytes(file, bytes, &BuildOptions::default()).expect_err(expected);
        assert!(
            message.contains(expected),
            "\n got: {message}\n not: {expected}"
        );
    }
}

#[test]
fn a_file_that_is_absent_or_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("absent.tsv"), dir.path().to_owned()] {
        let error = load(&path, SourceFormat::Tsv, None).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()));
    }
}

#[test]
fn gzip_is_seen_through_and_its_damage_reported() {
    let text = b"code\tname\tgroup\nC1\tAsthma\tDisease\n";
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(text).unwrap();
    let packed = packer.finish().unwrap();
    for name in ["kb.tsv.gz", "kb.tsv"] {
        let (kb, _) = build_bytes(name, &packed, &BuildOptions::default()).unwrap();
        assert_eq!(kb.concept_count(), 1);
    }
    let cut = &packed[..packed.len() - 9];
    let message = build_bytes("kb.tsv.gz", cut, &BuildOptions::default()).unwrap_err();
    assert!(message.starts_with("kb.tsv.gz: "), "{message}");
}

#[test]
fn windows_files_are_read() {
    let (kb, _) = build_bytes(
        "kb.tsv",
        "\u{feff}code\tname\tgroup\r\nC1\tAsthma\tDisease\r\n".as_bytes(),
        &BuildOptions::default(),
    )
    .unwrap();
    let group = kb.group_id("Disease").unwrap();
    assert!(kb.concept_of(group, "Asthma").is_some());
}

#[test]
fn options_turn_errors_into_decisions() {
    let options = BuildOptions {
        empty_names: EmptyNames::Skip,
        duplicate_codes: DuplicateCodes::Merge,
        ..BuildOptions::default()
    };
    let file = b"D1|7||Asthma||(NOS)\nD1|8||Wheeze|Asthma\nD2||(NOS)\nD3||Flu\nD3||Flu\n";
    let (kb, report) = build_bytes("medic.txt", file, &options).unwrap();
    assert_eq!(kb.concept_count(), 3);
    let merged = kb.resolve("7").unwrap();
    assert_eq!(kb.resolve("8"), Some(merged));
    assert_eq!(kb.concept(merged).preferred_name(), "Asthma");
    assert_eq!(report.count_of(DecisionKind::MergedConcept), 1);
    assert_eq!(report.count_of(DecisionKind::IdenticalConcept), 1);
    assert_eq!(report.count_of(DecisionKind::EmptyNameSkipped), 3);
    assert_eq!(report.count_of(DecisionKind::WithoutName), 1);

    let nothing = build_bytes("medic.txt", b"D2||(NOS)\n", &options).unwrap_err();
    assert!(nothing.starts_with("no name is left"), "{nothing}");
}
