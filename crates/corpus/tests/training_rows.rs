//! Groups and training rows against a small KB.

use std::path::Path;

use syncabel_corpus::marked::{GroupRule, MarkOptions, examples, mark};
use syncabel_corpus::{Corpus, Document, Error, Gold, Language, Mention, Origin, SpanChars, Split};
use syncabel_kb::select::{NameSelector, Selection};
use syncabel_kb::{BuildOptions, Kb, SourceFormat, build, load};

/// `A` and `B` are disorders, `C` a chemical, `T` is both a disorder and a sign.
fn kb() -> Kb {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kb.jsonl");
    let lines = [
        r#"{"code":"A","alt_codes":["A9"],"name":"Breast Neoplasms","synonyms":["Breast cancer"],"group":["Disorders"]}"#,
        r#"{"code":"B","name":"Ovarian Neoplasms","synonyms":["Ovarian cancer"],"group":["Disorders"]}"#,
        r#"{"code":"C","name":"Copper","synonyms":["Cu"],"group":["Chemicals & Drugs"]}"#,
        r#"{"code":"T","name":"Tremor","synonyms":["Trembling"],"group":["Disorders","Phenomena"]}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let source = load(Path::new(&path), SourceFormat::Jsonl, None).unwrap();
    let (kb, _) = build(
        source.concepts,
        vec![source.digest],
        &BuildOptions::default(),
    )
    .unwrap();
    // The folder may go: everything was read.
    kb
}

fn document(mentions: &[(&str, &str, &str)]) -> Document {
    let mut text = String::new();
    let mentions = mentions
        .iter()
        .enumerate()
        .map(|(i, (mention, label, gold))| {
            let start = text.chars().count() as u32 + 4;
            text.push_str(&format!("The {mention} is here. "));
            Mention {
                id: format!("d.{}", i + 1),
                spans: vec![SpanChars::new(
                    start,
                    start + mention.chars().count() as u32,
                )],
                text: (*mention).to_owned(),
                label: (*label).to_owned(),
                gold: Gold::from_field(gold),
            }
        });
    let mentions = mentions.collect();
    Document {
        id: "d".into(),
        text,
        language: Language::En,
        split: Some(Split::Train),
        origin: Origin::Synthetic {
            generator: "hand".into(),
        },
        mentions,
    }
}

fn groups_of(document: &Document, rule: GroupRule) -> Result<Vec<String>, Error> {
    let options = MarkOptions {
        groups: rule,
        ..MarkOptions::default()
    };
    Ok(mark(document, Some(&kb()), &options)?
        .into_iter()
        .map(|m| m.group)
        .collect())
}

#[test]
fn the_tag_follows_concept_then_label() {
    let document = document(&[
        ("breast cancer", "Modifier", "A9"),
        ("copper", "Disorders", "C"),
        ("tremor", "PHEN", "T"),
        ("tremor", "T034", "T"),
        ("tremor", "Phenomena", "T"),
        ("tremor", "CHEM", "T"),
        ("cancer of copper", "x", "A+C"),
        ("cancer", "x", "A+B"),
        ("odd thing", "DISO", "unknown"),
        ("other", "x", "unknown|C"),
        ("nothing", "Phenomena", ""),
    ]);
    let tags = groups_of(&document, GroupRule::default()).unwrap();
    let expected = [
        "Disorders",
        "Chemicals & Drugs",
        "Phenomena",
        "Phenomena",
        "Phenomena",
        "Disorders",
        "Disorders<SEP>Chemicals & Drugs",
        "Disorders",
        "Disorders",
        "Chemicals & Drugs",
        "Phenomena",
    ];
    assert_eq!(tags, expected);
}

#[test]
fn map_and_default_decide_where_asked() {
    let document = document(&[("tremor", "Disease", "T"), ("odd", "y", "")]);
    let error = groups_of(&document, GroupRule::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("document d, mention d.2: \"y\"") && error.contains("Chemicals & Drugs"),
        "{error}"
    );
    let rule = GroupRule {
        map: [("Disease".to_owned(), "Phenomena".to_owned())].into(),
        default: Some("Disorders".to_owned()),
    };
    assert_eq!(
        groups_of(&document, rule).unwrap(),
        ["Phenomena", "Disorders"]
    );
    let wrong = GroupRule {
        map: [("y".to_owned(), "Disorder".to_owned())].into(),
        default: None,
    };
    assert!(matches!(
        groups_of(&document, wrong),
        Err(Error::UnknownGroup { .. })
    ));
}

#[test]
fn two_codes_of_one_concept_are_named_once() {
    let document = document(&[("breast cancers", "D", "A+A9"), ("both", "D", "A9+B+A")]);
    let kb = kb();
    let selector = NameSelector::new(&kb, Selection::Levenshtein);
    let corpus = Corpus {
        documents: vec![document],
    };
    let (rows, report) = examples(&corpus, &kb, &selector, &MarkOptions::default()).unwrap();
    assert_eq!(rows[0].completion, " Breast cancer");
    assert_eq!(rows[1].completion.matches("<SEP>").count(), 1);
    assert_eq!(report.composites, 1);
}

#[test]
fn rows_take_the_first_alternative_the_kb_can_name() {
    let document = document(&[
        ("breast cancers", "D", "A9"),
        ("breast and ovarian cancer", "D", "A+B"),
        ("poison", "D", "unknown+A|C"),
        ("nothing", "D", ""),
        ("lost", "D", "gone"),
        ("tremor", "Map", "C"),
    ]);
    let kb = kb();
    let selector = NameSelector::new(&kb, Selection::Levenshtein);
    let options = MarkOptions {
        groups: GroupRule {
            map: [("Map".to_owned(), "Disorders".to_owned())].into(),
            default: None,
        },
        ..MarkOptions::default()
    };
    let corpus = Corpus {
        documents: vec![document],
    };
    let (rows, report) = examples(&corpus, &kb, &selector, &options).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[0].prompt,
        "The [breast cancers]{Disorders} is here.<SEP>[breast cancers] is"
    );
    assert_eq!(rows[0].completion, " Breast cancer");
    assert_eq!(
        rows[0].codes,
        ["A"],
        "alternate ids resolve to the primary code"
    );
    assert_eq!(
        rows[0].origin,
        Origin::Synthetic {
            generator: "hand".into()
        }
    );
    assert_eq!(rows[1].completion, " Breast cancer<SEP> Ovarian cancer");
    assert_eq!(
        (rows[1].group.as_str(), rows[1].codes.len()),
        ("Disorders", 2)
    );
    assert_eq!(rows[2].group, "Chemicals & Drugs");
    assert_eq!(
        rows[2].codes,
        ["A", "C"],
        "known codes of every alternative"
    );
    assert_eq!(
        (
            report.mentions,
            report.examples,
            report.composites,
            report.later_alternatives
        ),
        (6, 3, 1, 1)
    );
    assert_eq!(
        (
            report.dropped_without_concept,
            report.dropped_unknown_code,
            report.dropped_without_name
        ),
        (1, 1, 1)
    );
    assert_eq!(report.dropped(), 3);
    assert_eq!(report.unknown_code_samples, ["gone"]);
    assert!(
        report.to_string().contains("3 examples from 6 mentions"),
        "{report}"
    );
}
