//! The search over a real network: a small random Llama, whose cache must not change what a sequence is worth.
#![cfg(feature = "model")]

mod common;

use common::{GROUP, SPECIAL, letters, strings, trie};
use syncabel_decode::{
    Constraint, Hypothesis, LlamaSteps, Query, SearchOptions, StepModel, Strategy, Trie,
    beam_search, log_normalizer, search as search_pool,
};
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
