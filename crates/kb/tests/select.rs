//! Name selection: what is chosen, and how ties are broken.

use syncabel_kb::select::{NameSelector, Selection, TfidfIndex};
use syncabel_kb::{BuildOptions, GroupId, Kb, RawConcept, build, lookup};

fn kb(concepts: &[(&str, &[&str])]) -> Kb {
    let raw = concepts.iter().map(|(code, names)| RawConcept {
        code: (*code).into(),
        preferred_name: names[0].into(),
        names: names.iter().map(|&name| name.into()).collect(),
        groups: vec!["Disease".into()],
        ..RawConcept::default()
    });
    build(raw.collect(), Vec::new(), &BuildOptions::default())
        .unwrap()
        .0
}

fn chosen(kb: &Kb, selection: Selection, mention: &str, code: &str) -> String {
    let concept = kb.resolve(code).unwrap();
    let selector = NameSelector::new(kb, selection);
    let id = selector.select(kb, mention, concept, GroupId(0)).unwrap();
    kb.name(id).text.to_owned()
}

const DISEASES: &[(&str, &[&str])] = &[
    (
        "D1",
        &[
            "Myocardial Infarction",
            "Heart Attack",
            "Infarct, Myocardial",
            "MI",
        ],
    ),
    ("D2", &["Mitral Insufficiency", "Mitral Regurgitation"]),
    ("D3", &["Abc def", "Def abc", "Abc, def"]),
];

#[test]
fn each_selection_has_its_own_idea() {
    let kb = kb(DISEASES);
    for (selection, mention, name) in [
        (Selection::Tfidf, "heart attacks", "Heart Attack"),
        (
            Selection::Tfidf,
            "MYOCARDIAL INFARCTS",
            "Infarct, Myocardial",
        ),
        (Selection::Tfidf, "mi", "MI"),
        (Selection::Levenshtein, "Heart attach", "Heart Attack"),
        (Selection::Levenshtein, "mi", "MI"),
        (Selection::Levenshtein, "M[", "MI"),
        (
            Selection::Preferred,
            "heart attacks",
            "Myocardial Infarction",
        ),
    ] {
        assert_eq!(
            chosen(&kb, selection, mention, "D1"),
            name,
            "{selection} {mention}"
        );
    }
}

#[test]
fn ties_go_to_the_preferred_then_the_shorter_then_the_first_by_bytes() {
    // Same words, so the same vector; and nothing in common with any name, so all zero.
    let kb1 = kb(DISEASES);
    assert_eq!(chosen(&kb1, Selection::Tfidf, "def abc", "D3"), "Abc def");
    assert_eq!(
        chosen(&kb1, Selection::Tfidf, "zzz", "D1"),
        "Myocardial Infarction"
    );
    let kb2 = kb(&[("D1", &["Preferred", "Wz xyq", "Xyq wz", "Xyq  wz "])]);
    assert_eq!(chosen(&kb2, Selection::Tfidf, "xyq wz", "D1"), "Wz xyq");
    let kb3 = kb(&[("D1", &["Qqqqqqqqqqqq", "Abcx", "Abcxy", "Abcz"])]);
    assert_eq!(chosen(&kb3, Selection::Levenshtein, "Abc", "D1"), "Abcx");
}

#[test]
fn nearest_names_of_a_group() {
    let kb = kb(DISEASES);
    let index = TfidfIndex::fit(&kb);
    let near = index.nearest(&kb, GroupId(0), "mitral insufficiency", 2);
    assert_eq!(kb.name(near[0].0).text, "Mitral Insufficiency");
    assert!((near[0].1 - 1.0).abs() < 1e-6);
    assert_eq!(kb.name(near[1].0).text, "Mitral Regurgitation");
    assert!(index.nearest(&kb, GroupId(0), "zzz", 5).is_empty());
    assert!(index.nearest(&kb, GroupId(9), "mitral", 5).is_empty());
    assert!(index.nearest(&kb, GroupId(0), "mitral", 0).is_empty());
    // Nonsense around a known word lowers the score.
    let clean = index.nearest(&kb, GroupId(0), "mitral", 1)[0].1;
    let noisy = index.nearest(&kb, GroupId(0), "mitral zzzz", 1)[0].1;
    assert!(noisy < clean);
}

#[test]
fn the_formula_by_hand() {
    // Two names, "ab" and "abc": grams " ab" in both, "ab " in one, "abc" and "bc " in the other.
    let kb = kb(&[("D1", &["ab"]), ("D2", &["abc"])]);
    let index = TfidfIndex::fit(&kb);
    let (both, one) = (1.0 + (3.0f64 / 3.0).ln(), 1.0 + (3.0f64 / 2.0).ln());
    let ab = (both * both + one * one).sqrt();
    let abc = (both * both + 2.0 * one * one).sqrt();
    let near = index.nearest(&kb, GroupId(0), "AB", 2);
    assert!((f64::from(near[0].1) - 1.0).abs() < 1e-6);
    assert!((f64::from(near[1].1) - both * both / (ab * abc)).abs() < 1e-6);
}

#[test]
fn lookup_by_code_name_casing_and_likeness() {
    let kb = kb(DISEASES);
    let index = TfidfIndex::fit(&kb);
    let by_code = lookup(&kb, "mesh:D1", None, Some(&index), 0);
    assert_eq!(
        by_code.concept.unwrap().preferred_name,
        "Myocardial Infarction"
    );
    let by_name = lookup(&kb, "MI", None, Some(&index), 3);
    assert_eq!(by_name.exact[0].code, "D1");
    assert!(by_name.other_casing.is_empty());
    let by_casing = lookup(&kb, "mi", None, None, 3);
    assert_eq!(
        (by_casing.exact.len(), by_casing.other_casing.len()),
        (0, 1)
    );
    let alike = lookup(&kb, "heart attacks", None, Some(&index), 3);
    assert_eq!(alike.nearest[0].name, "Heart Attack");
    assert!(
        alike
            .to_string()
            .contains("Heart Attack  D1 (Myocardial Infarction), Disease")
    );
    assert!(lookup(&kb, "zzz", None, Some(&index), 3).is_empty());
}
