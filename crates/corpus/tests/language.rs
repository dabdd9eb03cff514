//! The language that is asked for fills in what a file does not state, and is refused where the file states another.

use std::path::{Path, PathBuf};

use rstest::rstest;
use syncabel_corpus::{
    Corpus, CorpusFormat, Document, Documents, Error, Gate, Language, Location, ReadOptions, jsonl,
    read,
};

const PUBTATOR: &str = "d|t|gota\nd\t0\t4\tgota\tD\tC1\n";
const BIGBIO: &str = r#"[{"id":"d","passages":[{"id":"p","type":"t","text":["gota"],"offsets":[[0,4]]}],"entities":[]}]"#;
const SPACCC: &str = "filename\tlabel\tstart_span\tend_span\tspan\tcode\nd\tE\t0\t4\tgota\t1\n";
const QUAERO: &str = r#"{"doc_id":"d","text":"gota","mentions":[]}"#;
const SILENT: &str =
    r#"{"id":"d","text":"gota","mentions":[{"spans":[[0,4]],"text":"gota","label":"D"}]}"#;
const ENGLISH: &str = r#"{"id":"e","text":"gout","language":"en"}"#;
const SPANISH: &str = r#"{"id":"s","text":"gota","language":"es"}"#;

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("x.file");
    std::fs::write(&path, text).unwrap();
    std::fs::write(
        folder.join("x_texts.jsonl"),
        r#"{"doc_id":"d","text":"gota"}"#,
    )
    .unwrap();
    path
}

fn asked(language: Option<Language>) -> ReadOptions {
    ReadOptions {
        language: language.unwrap_or_default(),
        language_is_given: language.is_some(),
        ..ReadOptions::default()
    }
}

/// The languages of a file's documents, read whole and one by one.
fn languages(
    text: &str,
    format: CorpusFormat,
    options: &ReadOptions,
) -> Result<Vec<Language>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), text);
    let of = |corpus: Corpus| corpus.documents.iter().map(|d| d.language).collect();
    let whole = read(&path, format, options).map(|(corpus, _)| of(corpus));
    let streamed = Documents::open(&path, format, options)
        .and_then(Documents::collect)
        .map(|(corpus, _)| of(corpus));
    let plain =
        |result: &Result<Vec<Language>, Error>| result.as_ref().map_err(Error::to_string).cloned();
    assert_eq!(plain(&whole), plain(&streamed));
    whole
}

fn error(text: &str, format: CorpusFormat, options: &ReadOptions) -> String {
    languages(text, format, options).unwrap_err().to_string()
}

#[rstest]
#[case(CorpusFormat::Pubtator, PUBTATOR)]
#[case(CorpusFormat::Bigbio, BIGBIO)]
#[case(CorpusFormat::Jsonl, SILENT)]
fn what_a_file_does_not_state_is_what_was_asked_for(
    #[case] format: CorpusFormat,
    #[case] text: &str,
) {
    for language in Language::ALL {
        assert_eq!(
            languages(text, format, &asked(Some(language))).unwrap(),
            [language]
        );
    }
    assert_eq!(
        languages(text, format, &asked(None)).unwrap(),
        [Language::En]
    );
}

#[test]
fn lines_that_state_a_language_keep_it() {
    let (en, es) = (Language::En, Language::Es);
    let mixed = format!("{SILENT}\n{SPANISH}\n{ENGLISH}\n");
    let read = |text: &str, language| languages(text, CorpusFormat::Jsonl, &asked(language));
    assert_eq!(read(&mixed, None).unwrap(), [en, es, en], "nobody asked");
    let spanish = format!("{SILENT}\n{SPANISH}\n");
    assert_eq!(read(&spanish, Some(es)).unwrap(), [es, es]);
    let english = format!("{SILENT}\n{ENGLISH}\n");
    assert_eq!(read(&english, Some(en)).unwrap(), [en, en]);
}

#[test]
fn lines_that_state_another_language_are_refused() {
    let refused = |line: &str, language| {
        let text = format!("{SILENT}\n{line}\n");
        error(&text, CorpusFormat::Jsonl, &asked(Some(language)))
    };
    let message = refused(ENGLISH, Language::Es);
    assert!(
        message.contains(
            "x.file:2: field language is \"en\", but `--language` (in an experiment `corpus.language`) asks for \"es\"; \
             leave out `--language`, ask for \"en\", or change the field"
        ),
        "{message}"
    );
    let message = refused(SPANISH, Language::En);
    assert!(
        message.contains("x.file:2: field language is \"es\"")
            && message.contains("asks for \"en\""),
        "{message}"
    );
    // Who sets another language than the usual one has asked, with or without saying so.
    let options = ReadOptions {
        language: Language::De,
        ..ReadOptions::default()
    };
    let message = error(SPANISH, CorpusFormat::Jsonl, &options);
    assert!(message.contains("asks for \"de\""), "{message}");
}

#[rstest]
#[case(CorpusFormat::Spaccc, SPACCC, Language::Es)]
#[case(CorpusFormat::Quaero, QUAERO, Language::Fr)]
fn corpora_of_one_language_have_no_other(
    #[case] format: CorpusFormat,
    #[case] text: &str,
    #[case] theirs: Language,
) {
    for language in Language::ALL {
        let options = asked(Some(language));
        if language == theirs {
            assert_eq!(languages(text, format, &options).unwrap(), [theirs]);
            continue;
        }
        let message = error(text, format, &options);
        let expected = format!(
            "x.file:1: language is \"{theirs}\" in every {format} file, but `--language` (in an experiment `corpus.language`) asks for \"{language}\"; \
             leave out `--language`, ask for \"{theirs}\""
        );
        assert!(message.ends_with(&expected), "{message}");
    }
    assert_eq!(languages(text, format, &asked(None)).unwrap(), [theirs]);
}

#[test]
fn tables_of_other_crates_are_held_to_it() {
    let document = |line| serde_json::from_str::<Document>(line).unwrap();
    let at = Location::row(Path::new("x.parquet"), 3);
    let mut gate = Gate::new(&asked(Some(Language::Es)));
    assert!(gate.check(document(SPANISH), &at).unwrap().is_some());
    let error = gate.check(document(ENGLISH), &at).unwrap_err().to_string();
    assert!(
        error.starts_with("x.parquet, row 3: field language is \"en\""),
        "{error}"
    );
}

#[test]
fn what_is_written_states_its_language() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), SILENT);
    let (corpus, _) = read(&path, CorpusFormat::Jsonl, &asked(Some(Language::Es))).unwrap();
    let written = folder.path().join("y.jsonl");
    jsonl::write(&corpus, &written).unwrap();
    let line = std::fs::read_to_string(&written).unwrap();
    assert!(line.contains(r#""language":"es""#), "{line}");
    // Neither needs to be told.
    let mut reader = jsonl::Reader::open(&written).unwrap();
    assert_eq!(
        reader.next_document().unwrap().unwrap(),
        corpus.documents[0]
    );
    let (again, _) = read(&written, CorpusFormat::Jsonl, &asked(None)).unwrap();
    assert_eq!(again, corpus);
}
