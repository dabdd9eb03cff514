//! Searches over a pool: best-first against exhaustive enumeration, pooled beams against beams one token a pass, and both
//! against themselves in other company. The model is a hash, so every number can be computed again.

mod common;

use common::{GROUP, HashModel, HashPool, SPECIAL, letters, strings, trie};
use proptest::prelude::*;
use syncabel_decode::{
    Constraint, Error, Hypothesis, Query, Scoring, SearchOptions, Strategy as Way, Trie, Work,
    beam_search, search,
};
use syncabel_kb::GroupId;

const VOCAB: usize = 8;

fn names() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[a-f]{1,6}", 1..24).prop_map(|set| set.into_iter().collect())
}

fn queries(count: usize, groups: usize) -> Vec<Query> {
    (0..count)
        .map(|i| Query::new(vec![i as u32 % 8; 1 + i / 8], GroupId((i % groups) as u16)))
        .collect()
}

fn decode(
    model: &mut HashPool,
    queries: &[Query],
    constraint: Constraint<'_>,
    options: &SearchOptions,
    open: usize,
) -> (Vec<Vec<Hypothesis>>, Work) {
    let mut found = vec![Vec::new(); queries.len()];
    let mut times = vec![0; queries.len()];
    let mut done = |query: usize, answers| {
        found[query] = answers;
        times[query] += 1;
    };
    let work = search(
        model, queries, constraint, SPECIAL, options, open, &mut done,
    )
    .unwrap();
    assert!(
        times.iter().all(|&n| n == 1),
        "every query is answered once"
    );
    assert!(model.open.is_empty() && model.most_open <= open);
    (found, work)
}

/// The score of every name of a list, by the rules of a search, the long way round; best first.
fn enumerated(
    seed: u64,
    query: &Query,
    trie: &Trie,
    answers: impl Iterator<Item = Vec<u32>>,
    options: &SearchOptions,
) -> Vec<(f64, Vec<u32>)> {
    let model = HashModel::new(VOCAB, seed);
    let mut all: Vec<(f64, Vec<u32>)> = answers
        .filter(|answer| answer.len() < options.max_new_tokens)
        .map(|mut answer| {
            answer.push(SPECIAL.eos);
            let sum: f64 = match options.scoring {
                Scoring::Full => model.score(&query.prompt, &answer).iter().sum(),
                Scoring::Local => local(&model, query, trie, &answer),
            };
            let length = answer.len() as f64;
            (sum / length.powf(f64::from(options.length_penalty)), answer)
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    all
}

fn local(model: &HashModel, query: &Query, trie: &Trie, answer: &[u32]) -> f64 {
    let mut node = trie.root(query.groups[0]).unwrap();
    let mut history = query.prompt.clone();
    let mut sum = 0.0;
    for &token in answer {
        let mut allowed: Vec<u32> = trie.children(node).tokens().collect();
        allowed.extend(trie.terminal(node).map(|_| SPECIAL.eos));
        let logits = model.logits(&history);
        let weight = |token: u32| f64::from(logits[token as usize]).exp();
        sum += (weight(token) / allowed.iter().map(|&t| weight(t)).sum::<f64>()).ln();
        history.push(token);
        node = trie.child(node, token).unwrap_or(node);
    }
    sum
}

fn assert_best(found: &[Hypothesis], expected: &[(f64, Vec<u32>)], beams: usize) {
    assert_eq!(found.len(), beams.min(expected.len()));
    for (found, (score, tokens)) in found.iter().zip(expected) {
        assert!((found.score - score).abs() < 1e-5, "{found:?} {score}");
        assert_eq!(&found.tokens, tokens);
    }
}

fn scoring() -> impl Strategy<Value = Scoring> {
    prop_oneof![Just(Scoring::Full), Just(Scoring::Local)]
}

fn penalty() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), Just(1.0), Just(0.5), Just(-0.5)]
}

proptest! {
    #[test]
    fn best_first_finds_what_enumeration_finds(
        groups in proptest::collection::vec(names(), 1..3), beams in 1..8usize, seed in any::<u64>(),
        scoring in scoring(), length_penalty in penalty(), open in 1..6usize, max_new_tokens in 2..9usize
    ) {
        let trie = trie(&groups);
        let options = SearchOptions {
            strategy: Way::BestFirst, scoring, beams, length_penalty, max_new_tokens, ..Default::default()
        };
        let queries = queries(7, groups.len());
        let mut model = HashPool::new(VOCAB, seed);
        let (found, _) = decode(&mut model, &queries, Constraint::Guided(&trie), &options, open);
        for (query, found) in queries.iter().zip(&found) {
            let all = groups[usize::from(query.groups[0].0)].iter().map(|name| letters(name));
            assert_best(found, &enumerated(seed, query, &trie, all, &options), beams);
            for answer in found {
                prop_assert_eq!(answer.token_log_probs.len(), answer.tokens.len());
                let sum: f64 = answer.token_log_probs.iter().map(|&x| f64::from(x)).sum();
                prop_assert!((sum - answer.sum_log_prob).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn best_first_within_reach_finds_what_enumeration_finds(
        groups in proptest::collection::vec(names(), 1..3), beams in 1..8usize, seed in any::<u64>(), scoring in scoring(),
        length_penalty in penalty(), open in 1..6usize, max_new_tokens in 2..9usize, multi in 1..3usize,
        within in prop_oneof![Just(0.0f32), 0.0..8.0f32, Just(1e6)]
    ) {
        let trie = trie(&groups);
        // Enumeration is for single answers; of scores renormalised over the trie it knows no separators either.
        let multi_answer = (multi > 1 && scoring == Scoring::Full).then_some(multi);
        let options = SearchOptions {
            strategy: Way::BestFirst, scoring, beams, length_penalty, max_new_tokens, multi_answer, within: Some(within),
            ..Default::default()
        };
        let queries = queries(7, groups.len());
        let (found, work) =
            decode(&mut HashPool::new(VOCAB, seed), &queries, Constraint::Guided(&trie), &options, open);
        prop_assert_eq!(work.unproven, 0);
        for (query, found) in queries.iter().zip(&found) {
            let one: Vec<Vec<u32>> = groups[usize::from(query.groups[0].0)].iter().map(|name| letters(name)).collect();
            let two = one.iter().flat_map(|left| one.iter().map(move |right| [left, &[1][..], right].concat()));
            let two: Vec<Vec<u32>> = if multi_answer.is_some() { two.collect() } else { Vec::new() };
            let all = enumerated(seed, query, &trie, one.iter().cloned().chain(two), &options);
            let sum = |(score, tokens): &(f64, Vec<u32>)| score * (tokens.len() as f64).powf(f64::from(length_penalty));
            let highest = all.iter().map(sum).fold(f64::NEG_INFINITY, f64::max);
            // Where the last digits decide, single and double precision may differ.
            let behind = |answer: &(f64, Vec<u32>)| highest - sum(answer) - f64::from(within);
            let best = |answer: &(f64, Vec<u32>)| sum(answer) == highest;
            prop_assume!(all.iter().all(|answer| best(answer) || behind(answer).abs() > 1e-4));
            let members: Vec<_> = all.iter().filter(|answer| best(answer) || behind(answer) < 0.0).cloned().collect();
            assert_best(found, &members, beams);
        }
    }

    #[test]
    fn best_first_finds_the_best_of_several_names(
        names in proptest::collection::btree_set("[a-f]{1,3}", 1..5), seed in any::<u64>(), limit in 1..4usize,
        beams in 1..6usize, length_penalty in penalty()
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let trie = trie(std::slice::from_ref(&names));
        let mut all: Vec<Vec<u32>> = names.iter().map(|name| letters(name)).collect();
        let mut longest = all.clone();
        for _ in 1..limit {
            longest = longest.iter()
                .flat_map(|left| names.iter().map(move |name| [left, &[1u32][..], &letters(name)].concat()))
                .collect();
            all.extend(longest.iter().cloned());
        }
        let options = SearchOptions {
            strategy: Way::BestFirst, beams, length_penalty, multi_answer: Some(limit), ..Default::default()
        };
        let queries = queries(3, 1);
        let (found, _) = decode(&mut HashPool::new(VOCAB, seed), &queries, Constraint::Guided(&trie), &options, 2);
        for (query, found) in queries.iter().zip(&found) {
            assert_best(found, &enumerated(seed, query, &trie, all.iter().cloned(), &options), beams);
        }
    }

    #[test]
    fn pooled_beams_are_beams(
        groups in proptest::collection::vec(names(), 1..3), beams in 1..6usize, seed in any::<u64>(), open in 1..6usize,
        length_penalty in penalty(), max_new_tokens in 3..9usize, multi in 1..3usize, scoring in scoring()
    ) {
        let trie = trie(&groups);
        let options = SearchOptions {
            scoring, beams, length_penalty, max_new_tokens, multi_answer: (multi > 1).then_some(multi), ..Default::default()
        };
        let queries = queries(9, groups.len());
        let constraint = Constraint::Guided(&trie);
        let expected = beam_search(&mut HashModel::new(VOCAB, seed), &queries, constraint, SPECIAL, &options).unwrap();
        let (found, _) = decode(&mut HashPool::new(VOCAB, seed), &queries, constraint, &options, open);
        for (found, expected) in found.iter().zip(&expected) {
            let tokens = |all: &[Hypothesis]| all.iter().map(|h| h.tokens.clone()).collect::<Vec<_>>();
            prop_assert_eq!(tokens(found), tokens(expected));
            for (found, expected) in found.iter().zip(expected) {
                prop_assert!((found.score - expected.score).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn free_beams_in_a_pool_are_free_beams(beams in 1..5usize, seed in any::<u64>(), open in 1..4usize) {
        let options = SearchOptions { beams, max_new_tokens: 5, ..Default::default() };
        let queries = queries(5, 1);
        let expected =
            beam_search(&mut HashModel::new(VOCAB, seed), &queries, Constraint::Free, SPECIAL, &options).unwrap();
        let (found, _) = decode(&mut HashPool::new(VOCAB, seed), &queries, Constraint::Free, &options, open);
        let tokens = |all: &[Vec<Hypothesis>]| -> Vec<Vec<Vec<u32>>> {
            all.iter().map(|one| one.iter().map(|h| h.tokens.clone()).collect()).collect()
        };
        prop_assert_eq!(tokens(&found), tokens(&expected));
    }

    #[test]
    fn neither_company_nor_order_changes_an_answer(
        names in names(), beams in 1..5usize, seed in any::<u64>(), best_first in any::<bool>(), open in 1..20usize,
        scoring in scoring()
    ) {
        let trie = trie(std::slice::from_ref(&names));
        let strategy = if best_first { Way::BestFirst } else { Way::Beam };
        let options = SearchOptions { strategy, scoring, beams, ..Default::default() };
        let all = queries(16, 1);
        let constraint = Constraint::Guided(&trie);
        let (alone, _) = decode(&mut HashPool::new(VOCAB, seed), &all, constraint, &options, 1);
        let (together, _) = decode(&mut HashPool::new(VOCAB, seed), &all, constraint, &options, open);
        prop_assert_eq!(&alone, &together);
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        let (mut backwards, _) = decode(&mut HashPool::new(VOCAB, seed), &reversed, constraint, &options, open);
        backwards.reverse();
        prop_assert_eq!(&alone, &backwards);
    }
}

proptest! {
    #[test]
    fn given_names_are_answers_with_the_score_that_enumeration_finds(
        names in names(), beams in 1..6usize, seed in any::<u64>(), best_first in any::<bool>(), length_penalty in penalty(),
        open in 1..6usize, every in 1..4usize
    ) {
        let trie = trie(std::slice::from_ref(&names));
        let strategy = if best_first { Way::BestFirst } else { Way::Beam };
        let options = SearchOptions { strategy, beams, length_penalty, ..Default::default() };
        let plain = queries(7, 1);
        let given: Vec<Vec<u32>> = names.iter().step_by(every).map(|name| letters(name)).collect();
        // Said twice, too long, not in the trie, nothing at all: left out.
        let more = given.iter().cloned().chain([letters("abcdefabcdef"), Vec::new()]);
        let said: Vec<Vec<u32>> = given.iter().cloned().chain(more).collect();
        let with: Vec<Query> = plain.iter().map(|query| Query { given: said.clone(), ..query.clone() }).collect();
        let mut model = HashPool::new(VOCAB, seed);
        let (searched, _) = decode(&mut model, &plain, Constraint::Guided(&trie), &options, open);
        let (found, _) = decode(&mut model, &with, Constraint::Guided(&trie), &options, open);
        for ((query, searched), found) in plain.iter().zip(&searched).zip(&found) {
            prop_assert_eq!(&found[..searched.len()], searched);
            let scores = enumerated(seed, query, &trie, given.iter().cloned(), &options);
            for (score, tokens) in &scores {
                let same: Vec<&Hypothesis> = found.iter().filter(|answer| &answer.tokens == tokens).collect();
                prop_assert_eq!(same.len(), 1);
                prop_assert!((same[0].score - score).abs() < 1e-5);
                prop_assert_eq!(same[0].token_log_probs.len(), tokens.len());
            }
            let known = |answer: &Hypothesis| searched.contains(answer) || scores.iter().any(|(_, t)| *t == answer.tokens);
            prop_assert!(found.iter().all(known));
        }
    }
}

#[test]
fn equal_scores_come_in_the_order_of_their_tokens() {
    let names = strings(&["fa", "cb", "ca", "b", "d", "be"]);
    let trie = trie(std::slice::from_ref(&names));
    let mut model = HashPool::new(VOCAB, 1);
    model.model.spread = 0.0;
    for beams in 1..=6 {
        let options = SearchOptions {
            strategy: Way::BestFirst,
            beams,
            ..Default::default()
        };
        let (found, _) = decode(
            &mut model,
            &queries(1, 1),
            Constraint::Guided(&trie),
            &options,
            1,
        );
        // All have the same mean per token.
        let spelled: Vec<_> = found[0]
            .iter()
            .map(|answer| answer.names(&SPECIAL).next().unwrap().to_vec())
            .collect();
        // "b" ends with the smallest token of all, 0; "be" goes on behind it.
        assert_eq!(
            spelled,
            ["b", "be", "ca", "cb", "d", "fa"].map(letters)[..beams]
        );
    }
}

#[test]
fn forced_tokens_are_read_in_one_pass_and_what_is_certain_in_none() {
    let trie = trie(&[strings(&["abcdef", "abcded"]), strings(&["abcdefabc"])]);
    for strategy in [Way::Beam, Way::BestFirst] {
        let options = SearchOptions {
            strategy,
            ..Default::default()
        };
        let mut model = HashPool::new(VOCAB, 1);
        let (_, work) = decode(
            &mut model,
            &queries(1, 1),
            Constraint::Guided(&trie),
            &options,
            1,
        );
        // The prompt; "abcde" at once; d and f, side by side.
        assert_eq!((work.passes, work.prompt_tokens), (3, 1));
        assert_eq!((work.rows, work.forced_rows), (5 + 2, 4));
        // Of one name everything is certain by the local rule; its prompt is read all the same, to say so.
        let options = SearchOptions {
            scoring: Scoring::Local,
            ..options
        };
        let query = [Query::new(vec![1], GroupId(1))];
        let (found, work) = decode(&mut model, &query, Constraint::Guided(&trie), &options, 1);
        assert_eq!((work.passes, work.rows), (1, 0));
        assert_eq!(found[0][0].sum_log_prob, 0.0);
        assert_eq!(found[0][0].tokens.len(), 10);
    }
}

#[test]
fn a_sure_model_is_asked_little() {
    let trie = trie(&[four_letters()]);
    let mut model = HashPool::new(VOCAB, 5);
    model.model.spread = 40.0;
    let options = |strategy, beams| SearchOptions {
        strategy,
        scoring: Scoring::Local,
        beams,
        length_penalty: 0.0,
        ..Default::default()
    };
    let all = queries(32, 1);
    let run = |model: &mut HashPool, options: &SearchOptions| {
        decode(model, &all, Constraint::Guided(&trie), options, 32)
    };
    let (best, work) = run(&mut model, &options(Way::BestFirst, 1));
    let (five, beams) = run(&mut model, &options(Way::Beam, 5));
    assert!(3 * work.rows < beams.rows, "{work:?} {beams:?}");
    for (best, five) in best.iter().zip(&five) {
        assert!(best[0].score >= five[0].score - 1e-6);
    }
}

#[test]
fn reach_costs_nothing_where_the_model_is_sure_and_more_the_farther_it_goes() {
    let trie = trie(&[four_letters()]);
    let mut model = HashPool::new(VOCAB, 5);
    model.model.spread = 12.0;
    let mut run = |within, length_penalty, beams| {
        let options = SearchOptions {
            strategy: Way::BestFirst,
            beams,
            length_penalty,
            within,
            ..Default::default()
        };
        let guided = Constraint::Guided(&trie);
        let (found, work) = decode(&mut model, &queries(32, 1), guided, &options, 32);
        assert_eq!(work.unproven, 0);
        (work.rows, found)
    };
    // Nothing else is within reach of the most probable name, so the length penalty is asked in vain.
    let (proof, best) = run(None, 0.0, 1);
    let (same, alone) = run(Some(0.0), 1.0, 5);
    assert_eq!(proof, same);
    for (best, alone) in best.iter().zip(&alone) {
        assert_eq!(alone.len(), 1);
        assert_eq!(best[0].tokens, alone[0].tokens);
    }
    let reached = [0.0, 1.0, 3.0, 9.0].map(|within| run(Some(within), 1.0, 5).0);
    assert!(
        reached.is_sorted() && reached[3] > reached[0],
        "{reached:?}"
    );
}

#[test]
fn a_search_that_reads_too_much_says_that_nothing_is_proved() {
    let five = (0..6u32.pow(5)).map(|i| spell(i, 5)).collect();
    let trie = trie(&[five]);
    let mut model = HashPool::new(VOCAB, 1);
    model.model.spread = 0.0;
    for (within, unproven) in [(Some(1e6), 2), (None, 2)] {
        let options = SearchOptions {
            strategy: Way::BestFirst,
            beams: 8000,
            length_penalty: 1.0,
            within,
            ..Default::default()
        };
        let guided = Constraint::Guided(&trie);
        let (found, work) = decode(&mut model, &queries(2, 1), guided, &options, 1);
        assert_eq!(work.unproven, unproven);
        assert!(
            found
                .iter()
                .all(|found| !found.is_empty() && found.len() < 7776)
        );
    }
}

/// A flat model and names of one length: every shorter beginning is read before any name is finished.
#[test]
fn a_search_that_has_found_nothing_yet_still_ends_with_a_name_and_all_together_hold_little() {
    let six = (0..6u32.pow(6)).map(|i| spell(i, 6)).collect();
    let trie = trie(&[six]);
    for (within, length_penalty) in [(None, 1.0), (None, 0.0), (Some(2.0), 1.0)] {
        let mut model = HashPool::new(VOCAB, 1);
        model.model.spread = 0.0;
        let options = SearchOptions {
            strategy: Way::BestFirst,
            beams: 1,
            length_penalty,
            within,
            ..Default::default()
        };
        let guided = Constraint::Guided(&trie);
        let (found, work) = decode(&mut model, &queries(12, 1), guided, &options, 8);
        assert_eq!(work.unproven, 12);
        assert!(
            found
                .iter()
                .all(|found| found.len() == 1 && found[0].tokens.len() == 7)
        );
        // Eight that reach 8,192 each would be 65,536.
        assert!(model.most_held < 18_000, "{}", model.most_held);
    }
}

#[test]
fn what_does_not_fit_the_model_is_refused_before_anything_is_read() {
    let trie = trie(&[four_letters()]);
    let mut model = HashPool::new(VOCAB, 1);
    let long = Query::new(vec![1; 20], GROUP);
    let asked = [queries(3, 1), vec![long]].concat();
    let mut search = |positions, strategy| {
        model.positions = positions;
        let options = SearchOptions {
            strategy,
            ..Default::default()
        };
        let guided = Constraint::Guided(&trie);
        let outcome = search(
            &mut model,
            &asked,
            guided,
            SPECIAL,
            &options,
            2,
            &mut |_, _| (),
        );
        (outcome, std::mem::take(&mut model.passes))
    };
    for strategy in [Way::Beam, Way::BestFirst] {
        // Four letters and the end behind twenty tokens.
        let (outcome, passes) = search(24, strategy);
        let refused = matches!(
            outcome,
            Err(Error::TooLong {
                query: 3,
                needed: 25,
                capacity: 24
            })
        );
        assert!(refused && passes == 0, "{outcome:?}");
        assert!(search(25, strategy).0.is_ok());
    }
}

fn four_letters() -> Vec<String> {
    (0..6u32.pow(4)).map(|i| spell(i, 4)).collect()
}

/// The digits of a number in base 6, as letters.
fn spell(number: u32, digits: u32) -> String {
    (0..digits)
        .map(|d| char::from(b'a' + (number / 6u32.pow(d) % 6) as u8))
        .collect()
}

#[test]
fn an_error_leaves_no_mention_open() {
    let trie = trie(&[strings(&["abc", "abd", "b"])]);
    for pass in 1..4 {
        let mut model = HashPool::new(VOCAB, 1);
        model.fails_in = Some(pass);
        let options = SearchOptions::default();
        let guided = Constraint::Guided(&trie);
        let error = search(
            &mut model,
            &queries(9, 1),
            guided,
            SPECIAL,
            &options,
            2,
            &mut |_, _| (),
        );
        assert!(matches!(error.unwrap_err(), Error::Model(_)));
        assert!(model.open.is_empty());
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let trie = trie(&[strings(&["ab"])]);
    let best_first = SearchOptions {
        strategy: Way::BestFirst,
        ..Default::default()
    };
    let local = SearchOptions {
        scoring: Scoring::Local,
        ..Default::default()
    };
    let refused = |constraint, options: &SearchOptions, queries: &[Query]| {
        let mut model = HashPool::new(VOCAB, 1);
        search(
            &mut model,
            queries,
            constraint,
            SPECIAL,
            options,
            2,
            &mut |_, _| (),
        )
        .unwrap_err()
    };
    let one = [Query::new(vec![1], GROUP)];
    let beams_within = SearchOptions {
        within: Some(1.0),
        ..Default::default()
    };
    let endless = SearchOptions {
        within: Some(f32::INFINITY),
        ..best_first.clone()
    };
    for options in [&beams_within, &endless] {
        let error = refused(Constraint::Guided(&trie), options, &one);
        assert!(error.to_string().contains("within"), "{error}");
    }
    for (options, key) in [(&best_first, "strategy"), (&local, "scoring")] {
        assert!(
            refused(Constraint::Free, options, &one)
                .to_string()
                .contains(key)
        );
    }
    let given = [Query {
        given: vec![letters("ab")],
        ..one[0].clone()
    }];
    let error = refused(Constraint::Guided(&trie), &local, &given);
    assert!(error.to_string().contains("given"), "{error}");
    let nowhere = [Query::new(vec![1], GroupId(3))];
    let error = refused(Constraint::Guided(&trie), &best_first, &nowhere);
    assert!(matches!(error, Error::NoSuchGroup { group: 3, .. }));
    let error = beam_search(
        &mut HashModel::new(VOCAB, 1),
        &one,
        Constraint::Guided(&trie),
        SPECIAL,
        &best_first,
    );
    assert!(error.unwrap_err().to_string().contains("beam"));
}
