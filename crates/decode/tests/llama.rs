//! The search over a real network: a small random Llama, whose cache must not change what a sequence is worth.
#![cfg(feature = "model")]

mod common;

use burn::tensor::DType;
use common::{GROUP, SPECIAL, letters, strings, trie};
use syncabel_decode::{
    BatchSearch, Constraint, DeviceBeams, EarlyStopping, Error, Hypothesis, LlamaSteps, Query,
    Scoring, SearchOptions, StepModel, Strategy, Trie, beam_search, log_normalizer,
    search as search_pool,
};
use syncabel_kb::GroupId;
use syncabel_model::{Llama, LlamaConfig, Precision, device};

const VOCAB: usize = 40;

fn llama() -> (Llama, LlamaConfig) {
    // Wide initial weights, so that the distributions have something to say.
    let config = LlamaConfig {
        initializer_range: 0.4,
        ..LlamaConfig::new(VOCAB, 32, 64, 2, 4, 2)
    };
    (config.init_seeded(3, &device("auto").unwrap()), config)
}

fn names() -> Vec<String> {
    strings(&[
        "a", "ab", "abc", "abd", "b", "bcdefg", "bcdefh", "ca", "cbz", "cby", "daaaa", "e", "fz",
        "fzz",
    ])
}

fn queries() -> Vec<Query> {
    (0..7)
        .map(|i| {
            Query::new(
                (0..3 + i * 2 % 9)
                    .map(|t| (t * 5 + i) % VOCAB as u32)
                    .collect(),
                GROUP,
            )
        })
        .collect()
}

fn search(trie: &Trie, queries: &[Query], options: &SearchOptions) -> Vec<Vec<Hypothesis>> {
    let (model, config) = llama();
    let mut steps = LlamaSteps::new(&model, &config);
    beam_search(
        &mut steps,
        queries,
        Constraint::Guided(trie),
        SPECIAL,
        options,
    )
    .unwrap()
}

/// Sum of log-probabilities of `answer`, every token from a fresh prefill: no beams, no cache.
fn rescored(steps: &mut LlamaSteps<'_>, prompt: &[u32], answer: &[u32]) -> f64 {
    let mut history = prompt.to_vec();
    let mut sum = 0.0;
    for &token in answer {
        let logits = steps.prefill(&[history.clone()], 1, 1).unwrap();
        sum += f64::from(logits[token as usize]) - log_normalizer(&logits).unwrap();
        history.push(token);
    }
    sum
}

#[test]
fn with_a_beam_for_every_name_the_order_is_that_of_scoring_each_name_alone() {
    let names = names();
    let trie = trie(std::slice::from_ref(&names));
    let options = SearchOptions {
        beams: names.len(),
        ..SearchOptions::default()
    };
    let found = search(&trie, &queries(), &options);
    let (model, config) = llama();
    let mut steps = LlamaSteps::new(&model, &config);
    for (query, found) in queries().iter().zip(&found) {
        let mut expected: Vec<(f64, Vec<u32>)> = names
            .iter()
            .map(|name| {
                let answer = [letters(name), vec![SPECIAL.eos]].concat();
                (
                    rescored(&mut steps, &query.prompt, &answer) / answer.len() as f64,
                    answer,
                )
            })
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert_eq!(found.len(), names.len());
        for (found, (score, answer)) in found.iter().zip(&expected) {
            assert!(
                (found.score - score).abs() < 1e-4,
                "{} {score}",
                found.score
            );
            assert_eq!(&found.tokens, answer);
        }
    }
}

#[test]
fn a_narrow_beam_in_any_company_gives_the_same_names_and_true_scores() {
    let trie = trie(&[names()]);
    let options = SearchOptions {
        beams: 3,
        ..SearchOptions::default()
    };
    let together = search(&trie, &queries(), &options);
    let (model, config) = llama();
    let mut steps = LlamaSteps::new(&model, &config);
    for (query, found) in queries().iter().zip(&together) {
        let alone = search(&trie, std::slice::from_ref(query), &options).remove(0);
        assert_eq!(alone.len(), found.len());
        for (alone, found) in alone.iter().zip(found) {
            assert_eq!(alone.tokens, found.tokens);
            assert!((alone.score - found.score).abs() < 1e-4);
            let exact = rescored(&mut steps, &query.prompt, &found.tokens);
            assert!(
                (found.sum_log_prob - exact).abs() < 1e-4,
                "{} {exact}",
                found.sum_log_prob
            );
        }
    }
}

/// The engine's answers, best-first or by beams.
fn pooled(
    trie: &Trie,
    queries: &[Query],
    options: &SearchOptions,
    open: usize,
) -> Vec<Vec<Hypothesis>> {
    let (model, config) = llama();
    let mut engine = model.engine(&config, Precision::F32).unwrap();
    let mut found = vec![Vec::new(); queries.len()];
    let mut done = |query: usize, answers| found[query] = answers;
    let guided = Constraint::Guided(trie);
    search_pool(
        &mut engine,
        queries,
        guided,
        SPECIAL,
        options,
        open,
        &mut done,
    )
    .unwrap();
    assert_eq!(engine.blocks_in_use(), 0);
    found
}

#[test]
fn the_cpu_engine_finds_what_the_tensor_library_finds() {
    let trie = trie(&[names()]);
    for beams in [1, 3, names().len()] {
        let options = SearchOptions {
            beams,
            ..SearchOptions::default()
        };
        let expected = search(&trie, &queries(), &options);
        for open in [1, 3, 7] {
            let found = pooled(&trie, &queries(), &options, open);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    assert_eq!(found.tokens, expected.tokens);
                    assert!((found.score - expected.score).abs() < 1e-4);
                }
            }
        }
    }
}

#[test]
fn best_first_over_the_engine_finds_the_best_of_all_names() {
    let trie = trie(&[names()]);
    for length_penalty in [0.0, 1.0] {
        let everything = SearchOptions {
            beams: names().len(),
            length_penalty,
            ..SearchOptions::default()
        };
        let all = search(&trie, &queries(), &everything);
        let options = SearchOptions {
            strategy: Strategy::BestFirst,
            beams: 3,
            ..everything
        };
        let found = pooled(&trie, &queries(), &options, 4);
        assert_eq!(found.len(), all.len());
        for (found, all) in found.iter().zip(&all) {
            assert_eq!(found.len(), 3);
            for (found, expected) in found.iter().zip(&all[..3]) {
                assert_eq!(found.tokens, expected.tokens);
                assert!((found.score - expected.score).abs() < 1e-4);
            }
        }
    }
}

/// The answers of the beams that stay on the device.
fn on_device(trie: &Trie, queries: &[Query], options: &SearchOptions) -> Vec<Vec<Hypothesis>> {
    let (model, config) = llama();
    let mut beams = DeviceBeams::new(&model, &config, trie).unwrap();
    beams.search(queries, SPECIAL, options).unwrap()
}

fn assert_alike(found: &[Vec<Hypothesis>], expected: &[Vec<Hypothesis>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let tokens = |answers: &[Hypothesis]| -> Vec<Vec<u32>> {
            answers.iter().map(|answer| answer.tokens.clone()).collect()
        };
        assert_eq!(tokens(found), tokens(expected));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.score - expected.score).abs() < tolerance);
            assert!((found.sum_log_prob - expected.sum_log_prob).abs() < 4.0 * tolerance);
            for (a, b) in found.token_log_probs.iter().zip(&expected.token_log_probs) {
                assert!(f64::from((a - b).abs()) < 4.0 * tolerance, "{a} {b}");
            }
        }
    }
}

#[test]
fn beams_on_the_device_are_those_of_the_host() {
    let other = strings(&["a", "gg", "ghi", "b"]);
    let trie = trie(&[names(), other]);
    let mut queries = queries();
    queries[2].groups = vec![GroupId(1)];
    queries[3].groups = vec![GROUP, GroupId(1)];
    let plain = SearchOptions::default();
    let stops = [
        EarlyStopping::Heuristic,
        EarlyStopping::FirstFull,
        EarlyStopping::Exhaustive,
    ];
    for beams in [1, 2, 5, 30] {
        for early_stopping in stops {
            for length_penalty in [0.0, 1.0] {
                for multi_answer in [None, Some(1), Some(3)] {
                    let options = SearchOptions {
                        beams,
                        early_stopping,
                        length_penalty,
                        multi_answer,
                        max_new_tokens: if beams == 2 { 5 } else { 9 },
                        ..plain.clone()
                    };
                    let expected = search(&trie, &queries, &options);
                    let found = on_device(&trie, &queries, &options);
                    assert!(expected.iter().any(|answers| !answers.is_empty()));
                    assert_alike(&found, &expected, 1e-5);
                }
            }
        }
    }
    assert!(on_device(&trie, &[], &plain).is_empty());
}

#[test]
fn beams_on_the_device_depend_on_nobody_else() {
    let trie = trie(&[names()]);
    let options = SearchOptions::default();
    let together = on_device(&trie, &queries(), &options);
    for (query, found) in queries().iter().zip(&together) {
        let alone = on_device(&trie, std::slice::from_ref(query), &options);
        assert_alike(&alone, std::slice::from_ref(found), 1e-5);
    }
}

#[test]
fn local_scores_on_the_device_are_those_of_the_engine() {
    let trie = trie(&[names()]);
    for multi_answer in [None, Some(2)] {
        let options = SearchOptions {
            scoring: Scoring::Local,
            multi_answer,
            ..SearchOptions::default()
        };
        let expected = pooled(&trie, &queries(), &options, 4);
        assert_alike(&on_device(&trie, &queries(), &options), &expected, 1e-5);
    }
}

#[test]
fn weights_in_bfloat16_change_scores_a_little() {
    let trie = trie(&[names()]);
    // All names are found, whatever their order.
    let options = SearchOptions {
        beams: names().len(),
        early_stopping: EarlyStopping::Exhaustive,
        ..SearchOptions::default()
    };
    let exact = on_device(&trie, &queries(), &options);
    let (model, config) = llama();
    let model = model.cast(DType::BF16);
    assert_eq!(model.dtype(), DType::BF16);
    let mut beams = DeviceBeams::new(&model, &config, &trie).unwrap();
    let rounded = beams.search(&queries(), SPECIAL, &options).unwrap();
    let mut gaps = Vec::new();
    for (rounded, exact) in rounded.iter().zip(&exact) {
        assert_eq!(rounded.len(), names().len());
        for answer in rounded {
            let same = exact.iter().find(|other| other.tokens == answer.tokens);
            gaps.push((answer.score - same.unwrap().score).abs());
        }
    }
    // Eight bits of mantissa: not what float32 says, and close to it. These logits are larger than those of a trained model.
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    assert!((1e-4..0.1).contains(&mean), "{mean}");
}

#[test]
fn what_the_device_cannot_search_is_refused() {
    let trie = trie(&[names()]);
    let (model, config) = llama();
    let mut beams = DeviceBeams::new(&model, &config, &trie).unwrap();
    let mut refused = |query: Query, options: &SearchOptions| {
        beams.search(&[query], SPECIAL, options).unwrap_err()
    };
    let query = Query::new(vec![5], GROUP);
    let best_first = SearchOptions {
        strategy: Strategy::BestFirst,
        ..SearchOptions::default()
    };
    let error = refused(query.clone(), &best_first);
    assert!(
        matches!(
            error,
            Error::Option {
                key: "strategy",
                ..
            }
        ),
        "{error}"
    );
    let plain = SearchOptions::default();
    let error = refused(Query::new(vec![5], GroupId(7)), &plain);
    assert!(
        matches!(
            error,
            Error::NoSuchGroup {
                query: 0,
                group: 7,
                ..
            }
        ),
        "{error}"
    );
    let given = Query {
        given: vec![vec![2]],
        ..query.clone()
    };
    assert!(matches!(
        refused(given, &plain),
        Error::Option { key: "given", .. }
    ));
    assert!(matches!(
        refused(Query::new(vec![], GROUP), &plain),
        Error::Model(_)
    ));

    let small = LlamaConfig::new(5, 32, 64, 1, 4, 2);
    let model = small.init_seeded(1, &device("auto").unwrap());
    let error = DeviceBeams::new(&model, &small, &trie).unwrap_err();
    assert!(
        matches!(error, Error::TokenOutsideVocabulary { vocab: 5, .. }),
        "{error}"
    );
}

#[test]
fn scores_that_are_no_numbers_are_an_error_on_the_device_too() {
    let trie = trie(&[names()]);
    let config = LlamaConfig {
        // Infinite as float32, so that the first norm is no number.
        initializer_range: 1e39,
        ..LlamaConfig::new(VOCAB, 32, 64, 2, 4, 2)
    };
    let model = config.init_seeded(3, &device("auto").unwrap());
    let mut beams = DeviceBeams::new(&model, &config, &trie).unwrap();
    let found = beams.search(&queries(), SPECIAL, &SearchOptions::default());
    assert!(
        matches!(found, Err(Error::NotFinite { step: 0, .. })),
        "{found:?}"
    );
}

#[test]
fn a_token_beyond_the_head_is_an_error_not_a_panic() {
    let trie = trie(&[names()]);
    let config = LlamaConfig::new(20, 32, 64, 1, 4, 2);
    let model = config.init_seeded(1, &device("auto").unwrap());
    let mut steps = LlamaSteps::new(&model, &config);
    let query = [Query::new(vec![5], GROUP)];
    let options = SearchOptions {
        beams: 20,
        ..SearchOptions::default()
    };
    let error = beam_search(
        &mut steps,
        &query,
        Constraint::Guided(&trie),
        SPECIAL,
        &options,
    )
    .unwrap_err();
    assert!(error.to_string().contains("vocabulary of 20"), "{error}");
}
