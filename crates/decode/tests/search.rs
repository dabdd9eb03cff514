//! Beam search against exhaustive enumeration, against a dense re-statement of `generate`, and against itself in other
//! batches. The model is a hash, so every number can be computed again from the sequence alone.

mod common;

use common::{GROUP, HashModel, SPECIAL, letters, strings, trie};
use proptest::prelude::*;
use syncabel_decode::{
    Constraint, EarlyStopping, Error, Hypothesis, Query, SearchOptions, SpecialTokens, StepModel,
    Trie, beam_search,
};
use syncabel_kb::GroupId;

const VOCAB: usize = 8;

fn names() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[a-f]{1,5}", 1..24).prop_map(|set| set.into_iter().collect())
}

fn query(prompt: &[u32]) -> Query {
    Query {
        given: Vec::new(),
        prompt: prompt.to_vec(),
        groups: vec![GROUP],
    }
}

fn search(
    seed: u64,
    queries: &[Query],
    constraint: Constraint<'_>,
    options: &SearchOptions,
) -> Vec<Vec<Hypothesis>> {
    beam_search(
        &mut HashModel::new(VOCAB, seed),
        queries,
        constraint,
        SPECIAL,
        options,
    )
    .unwrap()
}

fn with_eos(mut tokens: Vec<u32>) -> Vec<u32> {
    tokens.push(SPECIAL.eos);
    tokens
}

/// Answers with their normalised scores, best first.
fn ranked(
    seed: u64,
    prompt: &[u32],
    answers: Vec<Vec<u32>>,
    length_penalty: f32,
) -> Vec<(Vec<u32>, f64)> {
    let model = HashModel::new(VOCAB, seed);
    let mut scored: Vec<_> = answers
        .into_iter()
        .map(|answer| {
            let sum: f64 = model.score(prompt, &answer).iter().sum();
            let score = sum / (answer.len() as f64).powf(f64::from(length_penalty));
            (answer, score)
        })
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    scored
}

fn assert_same(found: &[Hypothesis], expected: &[(Vec<u32>, f64)]) {
    assert_eq!(found.len(), expected.len());
    for (found, (tokens, score)) in found.iter().zip(expected) {
        assert!(
            (found.score - score).abs() < 1e-5,
            "{found:?} has not the score {score}"
        );
        assert_eq!(&found.tokens, tokens);
    }
}

proptest! {
    #[test]
    fn with_a_beam_for_every_name_it_is_exhaustive(
        names in names(), extra in 0..3usize, seed in any::<u64>(), penalty in prop_oneof![Just(0.0f32), Just(1.0), Just(0.5)]
    ) {
        let trie = trie(std::slice::from_ref(&names));
        let options = SearchOptions { beams: names.len() + extra, length_penalty: penalty, ..Default::default() };
        let found = search(seed, &[query(&[7, 7])], Constraint::Guided(&trie), &options);
        let all = names.iter().map(|name| with_eos(letters(name))).collect();
        assert_same(&found[0], &ranked(seed, &[7, 7], all, penalty));
    }

    #[test]
    fn every_answer_is_a_name_of_its_group_with_the_score_of_its_own_tokens(
        groups in proptest::collection::vec(names(), 1..4), beams in 1..7usize, seed in any::<u64>()
    ) {
        let trie = trie(&groups);
        let queries: Vec<_> =
            (0..9u16).map(|i| Query::new(vec![u32::from(i) % 8; 1 + usize::from(i) % 3], GroupId(i % groups.len() as u16))).collect();
        let options = SearchOptions { beams, ..Default::default() };
        let answers = search(seed, &queries, Constraint::Guided(&trie), &options);
        let model = HashModel::new(VOCAB, seed);
        for (query, found) in queries.iter().zip(&answers) {
            let names = &groups[usize::from(query.groups[0].0)];
            // A narrow beam can follow prefixes of one name only, but it always reaches some name.
            prop_assert!(!found.is_empty() && found.len() <= beams.min(names.len()));
            prop_assert!(found.is_sorted_by(|a, b| a.score >= b.score && a.tokens != b.tokens));
            for answer in found {
                let name = answer.names(&SPECIAL).next().unwrap();
                prop_assert!(trie.lookup(query.groups[0], name).is_some());
                prop_assert!(names.iter().any(|n| letters(n) == name));
                let exact = model.score(&query.prompt, &answer.tokens);
                for (&found, exact) in answer.token_log_probs.iter().zip(&exact) {
                    prop_assert!((f64::from(found) - exact).abs() < 1e-5);
                }
                prop_assert_eq!(answer.token_log_probs.len(), answer.tokens.len());
                prop_assert!((answer.sum_log_prob - exact.iter().sum::<f64>()).abs() < 1e-5);
                prop_assert!((answer.score - answer.sum_log_prob / answer.tokens.len() as f64).abs() < 1e-12);
                let spelling = &exact[..exact.len() - 1];
                let mean = spelling.iter().sum::<f64>() / spelling.len() as f64;
                prop_assert!((answer.mean_token_probability(&SPECIAL) - mean.exp()).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn companions_and_order_do_not_change_an_answer(
        names in names(), beams in 1..6usize, seed in any::<u64>(), cut in 1..11usize, free in any::<bool>()
    ) {
        let trie = trie(std::slice::from_ref(&names));
        let constraint = if free { Constraint::Free } else { Constraint::Guided(&trie) };
        let options = SearchOptions { beams, max_new_tokens: 9, ..Default::default() };
        let queries: Vec<_> = (0..12).map(|i| query(&[i % 8, i / 8])).collect();
        let together = search(seed, &queries, constraint, &options);
        let mut parts = search(seed, &queries[..cut], constraint, &options);
        parts.extend(search(seed, &queries[cut..], constraint, &options));
        prop_assert_eq!(&together, &parts);
        let reversed: Vec<_> = queries.iter().rev().cloned().collect();
        let mut backwards = search(seed, &reversed, constraint, &options);
        backwards.reverse();
        prop_assert_eq!(&together, &backwards);
    }

    #[test]
    fn it_finds_what_a_dense_generate_finds(
        names in names(), beams in 1..6usize, seed in any::<u64>(), free in any::<bool>(), stop in 0..3usize,
        penalty in prop_oneof![Just(1.0f32), Just(0.0), Just(2.0)]
    ) {
        let trie = trie(std::slice::from_ref(&names));
        let early_stopping =
            [EarlyStopping::Heuristic, EarlyStopping::Exhaustive, EarlyStopping::FirstFull][stop];
        let options =
            SearchOptions { beams, max_new_tokens: 8, length_penalty: penalty, early_stopping, ..Default::default() };
        let guide = (!free).then_some(&trie);
        // A dense search counts its dead beams as finished and, told to stop at the first full set, stops too early.
        prop_assume!(stop != 2 || free);
        let constraint = guide.map_or(Constraint::Free, Constraint::Guided);
        let found = search(seed, &[query(&[3])], constraint, &options);
        assert_same(&found[0], &dense::generate(&HashModel::new(VOCAB, seed), &[3], guide, &options));
    }

    #[test]
    fn several_names_are_enumerated_up_to_the_limit(
        names in proptest::collection::btree_set("[a-f]{1,3}", 1..5), seed in any::<u64>(), limit in 1..4usize
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let trie = trie(std::slice::from_ref(&names));
        let mut all: Vec<Vec<u32>> = names.iter().map(|name| letters(name)).collect();
        let mut longest = all.clone();
        for _ in 1..limit {
            let pairs = longest.iter().flat_map(|left| names.iter().map(move |name| [left, &[1u32][..], &letters(name)].concat()));
            longest = pairs.collect();
            all.extend(longest.iter().cloned());
        }
        let options = SearchOptions { beams: all.len(), multi_answer: Some(limit), ..Default::default() };
        let found = search(seed, &[query(&[5])], Constraint::Guided(&trie), &options);
        assert_same(&found[0], &ranked(seed, &[5], all.into_iter().map(with_eos).collect(), 1.0));
        for answer in &found[0] {
            prop_assert!(answer.names(&SPECIAL).all(|name| trie.lookup(GROUP, name).is_some()));
        }
    }
}

#[test]
fn free_search_enumerates_every_sequence() {
    let small = SpecialTokens { eos: 0, sep: None };
    let options = SearchOptions {
        beams: 64,
        max_new_tokens: 3,
        ..Default::default()
    };
    let mut model = HashModel::new(4, 11);
    let found = beam_search(
        &mut model,
        &[query(&[2])],
        Constraint::Free,
        small,
        &options,
    )
    .unwrap();
    // Every sequence over {1, 2, 3} that ends within three tokens (1 + 3 + 9), and the 27 that are cut there.
    assert_eq!(found[0].len(), 13 + 27);
    assert_eq!(
        found[0]
            .iter()
            .filter(|answer| answer.is_finished(&small))
            .count(),
        13
    );
}

#[test]
fn a_mention_that_is_done_costs_nothing_more() {
    let trie = trie(&[strings(&["a"]), strings(&["abcdefabcdef"])]);
    let queries = [query(&[2]), Query::new(vec![2], GroupId(1))];
    let mut model = HashModel::new(VOCAB, 1);
    let answers = beam_search(
        &mut model,
        &queries,
        Constraint::Guided(&trie),
        SPECIAL,
        &SearchOptions::default(),
    )
    .unwrap();
    assert!(
        answers.iter().all(|found| found.len() == 1),
        "dead beams are no answers"
    );
    // Two prompts, one row for "a", twelve for the other name; nothing for beams that do not exist.
    assert_eq!(model.rows_computed, 2 + 1 + 12);
}

#[test]
fn ties_follow_the_written_rule() {
    /// Every token is as likely as any other, always.
    struct Flat;
    impl StepModel for Flat {
        fn vocab_size(&self) -> usize {
            VOCAB
        }
        fn prefill(&mut self, prompts: &[Vec<u32>], _: usize, _: usize) -> Result<Vec<f32>, Error> {
            Ok(vec![0.5; VOCAB * prompts.len()])
        }
        fn step(&mut self, tokens: &[u32], _: &[u32]) -> Result<Vec<f32>, Error> {
            Ok(vec![0.5; VOCAB * tokens.len()])
        }
    }
    let trie = trie(&[strings(&["fa", "cb", "ca", "b", "d"])]);
    let found = beam_search(
        &mut Flat,
        &[query(&[2])],
        Constraint::Guided(&trie),
        SPECIAL,
        &SearchOptions::default(),
    )
    .unwrap();
    // All have the same mean. Shorter ones finish first; of one length, the smaller first token ranks first.
    let order: Vec<_> = found[0]
        .iter()
        .map(|answer| answer.names(&SPECIAL).next().unwrap().to_vec())
        .collect();
    assert_eq!(order, ["b", "d", "ca", "cb", "fa"].map(letters));
}

#[test]
fn no_names_and_names_that_do_not_fit_give_no_answer() {
    let trie = trie(&[strings(&[]), strings(&["abcdef"])]);
    let queries = [query(&[2]), Query::new(vec![2], GroupId(1))];
    let options = SearchOptions {
        max_new_tokens: 6,
        ..Default::default()
    };
    let answers = search(3, &queries, Constraint::Guided(&trie), &options);
    assert!(
        answers.iter().all(Vec::is_empty),
        "six letters and their end are seven tokens"
    );
    let enough = SearchOptions {
        max_new_tokens: 7,
        ..Default::default()
    };
    assert_eq!(
        search(3, &queries, Constraint::Guided(&trie), &enough)[1].len(),
        1
    );
    assert!(search(3, &[], Constraint::Guided(&trie), &options).is_empty());
}

#[test]
fn bad_options_groups_and_models_are_errors_that_say_so() {
    let one = trie(&[strings(&["ab"])]);
    let run = |model: &mut dyn StepModel, group: u16, options: &SearchOptions, trie: &Trie| {
        let queries = [Query::new(vec![2], GroupId(group))];
        beam_search(model, &queries, Constraint::Guided(trie), SPECIAL, options).unwrap_err()
    };
    let good = SearchOptions::default();
    let hash = || HashModel::new(VOCAB, 1);
    for (key, bad) in [
        (
            "beams",
            SearchOptions {
                beams: 0,
                ..good.clone()
            },
        ),
        (
            "max_new_tokens",
            SearchOptions {
                max_new_tokens: 0,
                ..good.clone()
            },
        ),
        (
            "length_penalty",
            SearchOptions {
                length_penalty: f32::NAN,
                ..good.clone()
            },
        ),
        (
            "multi_answer",
            SearchOptions {
                multi_answer: Some(0),
                ..good.clone()
            },
        ),
    ] {
        assert!(run(&mut hash(), 0, &bad, &one).to_string().contains(key));
    }
    assert!(matches!(
        run(&mut hash(), 1, &good, &one),
        Error::NoSuchGroup {
            query: 0,
            group: 1,
            groups: 1
        }
    ));
    let mut small = HashModel::new(3, 1);
    assert!(matches!(
        run(&mut small, 0, &good, &one),
        Error::TokenOutsideVocabulary { token: 3, vocab: 3 }
    ));
    let mut mad = hash();
    mad.spread = f32::NAN;
    assert!(matches!(
        run(&mut mad, 0, &good, &one),
        Error::NotFinite { query: 0, step: 0 }
    ));

    struct Short;
    impl StepModel for Short {
        fn vocab_size(&self) -> usize {
            VOCAB
        }
        fn prefill(&mut self, _: &[Vec<u32>], _: usize, _: usize) -> Result<Vec<f32>, Error> {
            Ok(vec![0.0; VOCAB - 1])
        }
        fn step(&mut self, _: &[u32], _: &[u32]) -> Result<Vec<f32>, Error> {
            Ok(Vec::new())
        }
    }
    assert!(matches!(
        run(&mut Short, 0, &good, &one),
        Error::LogitsShape {
            found: 7,
            expected: 8,
            ..
        }
    ));
}

/// The semantics of `generate`, stated densely: K slots that always exist, dead ones at -10⁹, every sequence in full.
mod dense {
    use super::*;

    const DEAD: f64 = -1e9;

    #[derive(Clone)]
    struct Slot {
        tokens: Vec<u32>,
        score: f64,
        full: bool,
    }

    pub(super) fn generate(
        model: &HashModel,
        prompt: &[u32],
        guide: Option<&Trie>,
        options: &SearchOptions,
    ) -> Vec<(Vec<u32>, f64)> {
        let beams = options.beams;
        let divisor = |length: usize| (length as f64).powf(f64::from(options.length_penalty));
        let empty = Slot {
            tokens: Vec::new(),
            score: DEAD,
            full: false,
        };
        let mut running = vec![empty.clone(); beams];
        running[0].score = 0.0;
        let mut finished = vec![empty; beams];
        for length in 1..=options.max_new_tokens {
            let mut next = Vec::new();
            for slot in &running {
                for token in allowed(guide, &slot.tokens) {
                    let mut history = prompt.to_vec();
                    history.extend(&slot.tokens);
                    let log_prob = model.score(&history, &[token])[0];
                    let mut tokens = slot.tokens.clone();
                    tokens.push(token);
                    next.push(Slot {
                        tokens,
                        score: slot.score + log_prob,
                        full: false,
                    });
                }
            }
            next.sort_by(|a, b| b.score.total_cmp(&a.score));
            next.truncate(2 * beams);
            let last = length == options.max_new_tokens;
            let stops = |slot: &Slot| last || slot.tokens.last() == Some(&SPECIAL.eos);
            for slot in next.iter().take(beams).filter(|slot| stops(slot)) {
                let score = slot.score / divisor(length);
                finished.push(Slot {
                    tokens: slot.tokens.clone(),
                    score,
                    full: true,
                });
            }
            finished.sort_by(|a, b| b.score.total_cmp(&a.score));
            finished.truncate(beams);
            running = next
                .into_iter()
                .filter(|slot| !stops(slot))
                .take(beams)
                .collect();
            let full = finished.iter().all(|slot| slot.full);
            let worst = if full {
                finished[beams - 1].score
            } else {
                DEAD
            };
            let hoped = match options.early_stopping {
                EarlyStopping::Exhaustive if options.length_penalty > 0.0 => options.max_new_tokens,
                _ => length,
            };
            let hopeless = running
                .first()
                .is_none_or(|best| best.score / divisor(hoped) <= worst);
            if hopeless || (full && options.early_stopping == EarlyStopping::FirstFull) {
                break;
            }
        }
        let ended = |slot: &Slot| guide.is_none() || slot.tokens.last() == Some(&SPECIAL.eos);
        let real = |slot: &Slot| slot.full && slot.score > DEAD / 1e3 && ended(slot);
        finished
            .into_iter()
            .filter(real)
            .map(|slot| (slot.tokens, slot.score))
            .collect()
    }

    fn allowed(guide: Option<&Trie>, tokens: &[u32]) -> Vec<u32> {
        let Some(trie) = guide else {
            return (0..VOCAB as u32).collect();
        };
        let mut node = trie.root(GROUP).unwrap();
        for &token in tokens {
            match trie.child(node, token) {
                Some(child) => node = child,
                None => return Vec::new(),
            }
        }
        let mut allowed = trie.children(node).tokens().collect::<Vec<_>>();
        allowed.extend(trie.terminal(node).map(|_| SPECIAL.eos));
        allowed
    }
}
