//! From marked mentions to prediction rows, with a model that is a hash and one that recites.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{HashModel, HashPool};
use syncabel_corpus::marked::MarkedMention;
use syncabel_corpus::predictions::Prediction;
use syncabel_corpus::{Composite, Gold, Language, Origin};
use syncabel_decode::{
    Error, Explanation, GoldRule, Lexical, LinkOptions, Linker, NIL, NO_CODE, Scoring,
    SearchOptions, SpecialTokens, StepModel, Tokenizer, Trie,
};
use syncabel_kb::{BuildOptions, Digest, Kb, RawConcept, build};

const SPECIAL: SpecialTokens = SpecialTokens {
    eos: 256,
    sep: Some(257),
};
const VOCAB: usize = 258;

/// One token per byte.
struct Bytes(&'static str);

impl Tokenizer for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let parts = text
            .split("<SEP>")
            .map(|part| part.bytes().map(u32::from).collect::<Vec<_>>());
        Ok(parts.collect::<Vec<_>>().join(&257))
    }

    fn decode(&self, tokens: &[u32]) -> String {
        String::from_utf8(tokens.iter().map(|&token| token as u8).collect()).unwrap()
    }

    fn special(&self) -> SpecialTokens {
        SPECIAL
    }

    fn digest(&self) -> Digest {
        Digest::of_bytes(self.0.as_bytes())
    }
}

const BYTES: Bytes = Bytes("bytes");

/// Writes the same text whatever it reads.
struct Recites {
    text: Vec<u32>,
    written: usize,
}

impl Recites {
    fn new(text: &str) -> Self {
        let mut text = BYTES.encode(text).unwrap();
        text.push(SPECIAL.eos);
        Self { text, written: 0 }
    }

    fn rows(&self, count: usize) -> Result<Vec<f32>, Error> {
        let mut row = vec![0.0; VOCAB];
        row[self.text[self.written.min(self.text.len() - 1)] as usize] = 30.0;
        Ok(row.repeat(count))
    }
}

impl StepModel for Recites {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn prefill(&mut self, prompts: &[Vec<u32>], _: usize, _: usize) -> Result<Vec<f32>, Error> {
        self.written = 0;
        self.rows(prompts.len())
    }

    fn step(&mut self, tokens: &[u32], _: &[u32]) -> Result<Vec<f32>, Error> {
        self.written += 1;
        self.rows(tokens.len())
    }
}

fn kb() -> Kb {
    let concept = |code: &str, alt: &str, group: &str, names: &[&str]| RawConcept {
        code: code.into(),
        alt_codes: vec![alt.into()],
        preferred_name: names[0].into(),
        names: names.iter().map(|&name| name.into()).collect(),
        groups: vec![group.into()],
        ..RawConcept::default()
    };
    let raw = vec![
        concept(
            "D006073",
            "138900",
            "Disease",
            &["Gout", "Gouty arthritis", "Podagra"],
        ),
        concept(
            "D001943",
            "114480",
            "Disease",
            &["Breast Neoplasms", "Breast cancer"],
        ),
        concept(
            "D010051",
            "167000",
            "Disease",
            &["Ovarian Neoplasms", "Ovarian cancer"],
        ),
        concept("D000493", "x1", "Chemical", &["Allopurinol", "Zyloprim"]),
        concept("D003078", "x2", "Chemical", &["Colchicine"]),
    ];
    build(raw, vec![], &BuildOptions::default()).unwrap().0
}

fn mention(number: usize, group: &str, gold: Gold) -> MarkedMention {
    let text = format!("podagra {}", "x".repeat(number % 5));
    MarkedMention {
        document: format!("doc{}", number / 3),
        mention_id: format!("doc{}.{number}", number / 3),
        label: "SpecificDisease".into(),
        group: group.into(),
        start_chars: 10,
        end_chars: 10 + text.len() as u32,
        span: text.clone(),
        sentence: format!("Case {} with [{text}]{{{group}}}.", number % 7),
        mention: text,
        language: Language::En,
        gold,
        origin: Origin::Human,
    }
}

fn link(
    model: impl StepModel + 'static,
    guided: bool,
    mentions: &[MarkedMention],
    options: LinkOptions,
) -> Vec<Prediction> {
    let kb = kb();
    let trie = Trie::for_tokenizer(&kb, &BYTES).unwrap();
    let mut linker = Linker::with_model(
        Box::new(model),
        &BYTES,
        &kb,
        guided.then_some(&trie),
        options,
    )
    .unwrap();
    linker.link(mentions).unwrap()
}

fn options(multi_answer: Option<usize>) -> LinkOptions {
    LinkOptions {
        search: SearchOptions {
            multi_answer,
            ..SearchOptions::default()
        },
        ..LinkOptions::default()
    }
}

fn recited(text: &str, guided: bool, multi_answer: Option<usize>, group: &str) -> Prediction {
    link(
        Recites::new(text),
        guided,
        &[mention(0, group, Gold::none())],
        options(multi_answer),
    )
    .remove(0)
}

#[test]
fn every_prediction_is_a_name_of_the_group_with_its_code_and_orderly_scores() {
    let kb = kb();
    let mentions: Vec<_> = (0..40)
        .map(|i| {
            mention(
                i,
                if i % 3 == 0 { "Chemical" } else { "Disease" },
                Gold::one("D006073"),
            )
        })
        .collect();
    let rows = link(
        HashModel::new(VOCAB, 5),
        true,
        &mentions,
        LinkOptions::default(),
    );
    assert_eq!(rows.len(), mentions.len());
    for (row, mention) in rows.iter().zip(&mentions) {
        assert_eq!(
            (&row.mention_id, &row.label, &row.sentence),
            (&mention.mention_id, &mention.group, &mention.sentence)
        );
        let group = kb.group_id(&mention.group).unwrap();
        for candidate in &row.candidates {
            let concept = kb
                .concept_of(group, &candidate.name)
                .expect("a name of the group");
            assert_eq!(kb.concept(concept).code(), candidate.code);
        }
        let best = &row.candidates[0];
        assert_eq!(
            (
                &row.prediction,
                &row.predicted_code,
                row.prediction_beam_score
            ),
            (&best.name, &best.code, best.score)
        );
        assert!(row.candidates.is_sorted_by(|a, b| a.score >= b.score));
        assert!(0.0 < row.prediction_score && row.prediction_score < 1.0);
        let rival = row
            .candidates
            .iter()
            .find(|candidate| candidate.code != best.code);
        let lead = rival.map(|rival| best.score.ln() - rival.score.ln());
        match (row.margin, lead) {
            (Some(margin), Some(lead)) => assert!(margin >= 0.0 && (margin - lead).abs() < 1e-9),
            (margin, lead) => assert_eq!(margin, lead),
        }
    }
}

/// Answers of a model that is a hash, with the nearest names at `weight`.
fn lexically(weight: Option<f64>) -> Vec<(Prediction, Explanation)> {
    let kb = kb();
    let trie = Trie::for_tokenizer(&kb, &BYTES).unwrap();
    let lexical = weight.map(|weight| Lexical { names: 3, weight });
    let search = SearchOptions {
        beams: 1,
        ..SearchOptions::default()
    };
    let options = LinkOptions {
        lexical,
        search,
        ..LinkOptions::default()
    };
    let model = Box::new(HashPool::new(VOCAB, 5));
    let mut linker = Linker::with_pool(model, &BYTES, &kb, Some(&trie), options).unwrap();
    let mentions: Vec<_> = (0..10)
        .map(|i| mention(i, "Disease", Gold::none()))
        .collect();
    linker.link_explained(&mentions, &mut |_| ()).unwrap()
}

#[test]
fn the_nearest_names_are_answers_and_count_as_much_as_they_are_told_to() {
    let alone = lexically(None);
    assert!(alone.iter().all(|(row, _)| row.candidates.len() == 1));
    // A weight of nothing: more names, ranked by the model.
    let with = lexically(Some(0.0));
    assert!(with.iter().any(|(row, _)| row.candidates.len() > 1));
    for ((row, why), (alone, _)) in with.iter().zip(&alone) {
        assert!(
            row.candidates
                .iter()
                .any(|answer| answer.name == alone.prediction)
        );
        assert!(row.candidates.iter().any(|answer| answer.name == "Podagra"));
        assert!(row.candidates.is_sorted_by(|a, b| a.score >= b.score));
        for (answer, pieces) in row.candidates.iter().zip(&why.candidates) {
            let spelled: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(spelled.strip_prefix(' '), Some(answer.name.as_str()));
        }
    }
    // A large one: the nearest name, with the model's score.
    for (row, _) in lexically(Some(1e6)) {
        assert_eq!(row.prediction, "Podagra");
        assert_eq!(row.predicted_code, "D006073");
        assert!(0.0 < row.prediction_beam_score && row.prediction_beam_score < 1.0);
        assert!(row.margin.is_none_or(|margin| margin > 1e3));
    }
}

#[test]
fn nearest_names_beside_what_cannot_score_them_are_refused() {
    let kb = kb();
    let trie = Trie::for_tokenizer(&kb, &BYTES).unwrap();
    let options = |scoring| LinkOptions {
        lexical: Some(Lexical::default()),
        search: SearchOptions {
            scoring,
            ..SearchOptions::default()
        },
        ..LinkOptions::default()
    };
    let pool = |trie, scoring| {
        let model = Box::new(HashPool::new(VOCAB, 5));
        Linker::with_pool(model, &BYTES, &kb, trie, options(scoring)).map(drop)
    };
    assert!(pool(Some(&trie), Scoring::Full).is_ok());
    let steps = Linker::with_model(
        Box::new(HashModel::new(VOCAB, 5)),
        &BYTES,
        &kb,
        Some(&trie),
        options(Scoring::Full),
    );
    for refused in [
        pool(Some(&trie), Scoring::Local),
        pool(None, Scoring::Full),
        steps.map(drop),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("lexical"), "{error}");
    }
}

#[test]
fn batches_and_repetitions_change_nothing_but_the_work() {
    let mentions: Vec<_> = (0..40)
        .map(|i| mention(i, "Disease", Gold::none()))
        .collect();
    let run = |batch| {
        link(
            HashModel::new(VOCAB, 5),
            true,
            &mentions,
            LinkOptions {
                batch,
                ..LinkOptions::default()
            },
        )
    };
    let expected = run(1);
    for batch in [2, 7, 16, 100] {
        assert_eq!(run(batch), expected);
    }
    // The same sentence and mention, the same answer, under another id.
    let answers: BTreeMap<_, _> = expected
        .iter()
        .map(|row| (&row.sentence, &row.candidates))
        .collect();
    assert_eq!(answers.len(), 35);
    assert!(
        expected
            .iter()
            .all(|row| answers[&row.sentence] == &row.candidates)
    );
}

#[test]
fn what_is_recalled_is_what_would_be_found() {
    let (kb, new) = (kb(), |i| mention(i, "Disease", Gold::none()));
    let trie = Trie::for_tokenizer(&kb, &BYTES).unwrap();
    let fresh = || {
        let model = Box::new(HashModel::new(VOCAB, 5));
        Linker::with_model(model, &BYTES, &kb, Some(&trie), LinkOptions::default()).unwrap()
    };
    let mut linker = fresh();
    linker.link(&(0..20).map(new).collect::<Vec<_>>()).unwrap();
    // Known ones and new ones, in another order.
    let mixed: Vec<_> = (0..30).rev().map(|i| new(i * 7 % 30)).collect();
    let expected = fresh().link(&mixed).unwrap();
    assert_eq!(linker.link(&mixed).unwrap(), expected);
    assert_eq!(linker.link(&mixed).unwrap(), expected);
    let names: BTreeSet<_> = expected.iter().map(|row| &row.prediction).collect();
    assert!(
        names.len() > 1,
        "answers differ, or a mix-up would not show"
    );
}

#[test]
fn progress_counts_every_mention() {
    let kb = kb();
    let mentions: Vec<_> = (0..40)
        .map(|i| mention(i, "Disease", Gold::none()))
        .collect();
    let mut linker = Linker::with_model(
        Box::new(Recites::new(" Gout")),
        &BYTES,
        &kb,
        None,
        LinkOptions::default(),
    )
    .unwrap();
    let mut seen = Vec::new();
    let first = linker
        .link_with_progress(&mentions, &mut |done| seen.push(done))
        .unwrap();
    // Once for each of the 35 different questions.
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.len() == 35 && seen[34] == 40);
    // What was answered lately is known, all at once; what is new is asked.
    let mut more = mentions.clone();
    more.push(mention(41, "Chemical", Gold::none()));
    seen.clear();
    let again = linker
        .link_with_progress(&more, &mut |done| seen.push(done))
        .unwrap();
    assert_eq!(seen, [40, 41]);
    assert_eq!(again[..40], first);
}

#[test]
fn free_text_is_looked_up_in_the_group() {
    for (text, group, name, code) in [
        (" Podagra", "Disease", "Podagra", "D006073"),
        (" Podagra", "Chemical", "Podagra", NO_CODE),
        (" Made up", "Disease", "Made up", NO_CODE),
        (
            " Gout<SEP> Breast cancer",
            "Disease",
            "Gout<SEP>Breast cancer",
            "D006073+D001943",
        ),
        (
            " Gout<SEP> Made up",
            "Disease",
            "Gout<SEP>Made up",
            "D006073+NO_CODE",
        ),
        (
            " Gout<SEP> Podagra",
            "Disease",
            "Gout<SEP>Podagra",
            "D006073",
        ),
        ("", "Disease", "", NO_CODE),
    ] {
        let row = recited(text, false, None, group);
        assert_eq!(
            (row.prediction.as_str(), row.predicted_code.as_str()),
            (name, code),
            "{text:?} in {group}"
        );
    }
}

#[test]
fn guided_composites_are_names_of_the_groups_in_their_order() {
    let both = recited(
        " Breast cancer<SEP> Ovarian cancer",
        true,
        Some(3),
        "Disease",
    );
    assert_eq!(both.predicted_code, "D001943+D010051");
    assert_eq!(both.prediction, "Breast cancer<SEP>Ovarian cancer");
    let one = recited(" Breast cancer<SEP> Ovarian cancer", true, None, "Disease");
    assert_eq!(one.predicted_code, "D001943");
    let two_groups = recited(
        " Gout<SEP> Allopurinol",
        true,
        Some(2),
        "Disease<SEP>Chemical",
    );
    assert_eq!(two_groups.predicted_code, "D006073+D000493");
}

#[test]
fn no_answer_is_nil_and_has_no_score() {
    let short = SearchOptions {
        max_new_tokens: 2,
        ..SearchOptions::default()
    };
    let options = LinkOptions {
        search: short,
        ..LinkOptions::default()
    };
    let row = link(
        Recites::new(" Gout"),
        true,
        &[mention(0, "Disease", Gold::none())],
        options,
    )
    .remove(0);
    assert_eq!(
        (row.predicted_code.as_str(), row.prediction.as_str()),
        (NIL, "")
    );
    assert_eq!(
        (row.prediction_score, row.prediction_beam_score, row.margin),
        (0.0, 0.0, None)
    );
    assert!(row.candidates.is_empty());
}

#[test]
fn gold_is_written_in_primary_codes_by_the_protocol() {
    let composite = Gold::composite(["OMIM:114480", "D010051"]);
    let mixed = Gold {
        alternatives: vec![
            Composite(vec!["138900".into()]),
            Composite(vec!["114480".into(), "C9".into()]),
        ],
    };
    for (gold, rule, code, relation, annotation) in [
        (
            Gold::one("138900"),
            GoldRule::AsAnnotated,
            "D006073",
            "EXACT",
            "Gout",
        ),
        (
            composite.clone(),
            GoldRule::AsAnnotated,
            "D001943+D010051",
            "COMPOSITE",
            "Breast Neoplasms<SEP>Ovarian Neoplasms",
        ),
        (
            composite,
            GoldRule::AnyPart,
            "D001943|D010051",
            "EXACT",
            "Breast Neoplasms",
        ),
        (
            mixed.clone(),
            GoldRule::AsAnnotated,
            "D006073|D001943+C9",
            "COMPOSITE",
            "Gout",
        ),
        (
            mixed,
            GoldRule::AnyPart,
            "D006073|D001943|C9",
            "EXACT",
            "Gout",
        ),
        (Gold::one("C9"), GoldRule::AsAnnotated, "C9", "EXACT", ""),
        (Gold::none(), GoldRule::AsAnnotated, "", "", ""),
    ] {
        let options = LinkOptions {
            gold: rule,
            ..LinkOptions::default()
        };
        let row = link(
            Recites::new(" Gout"),
            true,
            &[mention(0, "Disease", gold)],
            options,
        )
        .remove(0);
        assert_eq!(
            (
                row.code.as_str(),
                row.semantic_rel.as_str(),
                row.annotation.as_str()
            ),
            (code, relation, annotation)
        );
    }
}

#[test]
fn what_does_not_fit_together_is_refused_before_any_work() {
    let kb = kb();
    let trie = Trie::for_tokenizer(&kb, &BYTES).unwrap();
    let other = Bytes("another tokenizer");
    let model = || Box::new(Recites::new(""));
    let refused = Linker::with_model(model(), &other, &kb, Some(&trie), LinkOptions::default())
        .err()
        .unwrap();
    assert!(
        matches!(
            &refused,
            Error::Mismatch {
                what: "tokenizer",
                ..
            }
        ),
        "{refused}"
    );
    let empty = LinkOptions {
        batch: 0,
        ..LinkOptions::default()
    };
    assert!(matches!(
        Linker::with_model(model(), &BYTES, &kb, None, empty)
            .err()
            .unwrap(),
        Error::Option { key: "batch", .. }
    ));
    let mut linker =
        Linker::with_model(model(), &BYTES, &kb, Some(&trie), LinkOptions::default()).unwrap();
    let message = linker
        .link(&[mention(4, "Gene", Gold::none())])
        .unwrap_err()
        .to_string();
    for part in ["doc1, mention doc1.4", "\"Gene\"", "Chemical, Disease"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
