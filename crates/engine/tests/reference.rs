//! The engine against a Llama written out in double precision, token by token, without a cache.

use std::sync::Arc;

use proptest::prelude::*;
use syncabel_engine::{Engine, Error, Precision, Run, Scores, Shape, Wanted, Weights};

fn shape(tied: bool, group: usize, head_dim: usize) -> Shape {
    let key_heads = 2;
    Shape {
        vocab: 61,
        hidden: 40,
        inner: 56,
        layers: 3,
        query_heads: key_heads * group,
        key_heads,
        head_dim,
        eps: 1e-5,
        tied,
        positions: 256,
    }
}

/// Reproducible weights by name; wide enough that the distributions have something to say.
fn tensor(name: &str, dims: &[usize]) -> Vec<f32> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    let count = dims.iter().product();
    let scale = if dims.len() == 1 {
        0.3
    } else {
        1.5 / (dims[1] as f32).sqrt()
    };
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0;
            if dims.len() == 1 {
                1.0 + scale * unit
            } else {
                scale * unit
            }
        })
        .collect()
}

fn rope(shape: &Shape, positions: usize) -> (Vec<f32>, Vec<f32>) {
    let half = shape.head_dim / 2;
    let angle = |p: usize, i: usize| p as f32 / 100f32.powf(i as f32 / half as f32);
    let all = (0..positions).flat_map(|p| (0..half).map(move |i| angle(p, i)));
    all.map(|a| (a.cos(), a.sin())).unzip()
}

fn engine(shape: &Shape, precision: Precision) -> Engine {
    let mut read = |name: &str, dims: &[usize]| Ok::<_, ()>(tensor(name, dims));
    let weights = Weights::read(shape.clone(), precision, &mut read).unwrap();
    let own = shape.clone();
    Engine::new(
        Arc::new(weights),
        Box::new(move |positions| rope(&own, positions)),
    )
}

/// Log-probabilities behind every token of a sequence.
fn reference(shape: &Shape, tokens: &[u32]) -> Vec<Vec<f64>> {
    let get = |name: &str, dims: &[usize]| -> Vec<f64> {
        tensor(name, dims).into_iter().map(f64::from).collect()
    };
    let product = |w: &[f64], x: &[f64]| -> Vec<f64> {
        w.chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect()
    };
    let norm = |x: &[f64], gamma: &[f64]| -> Vec<f64> {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + f64::from(shape.eps)).sqrt();
        x.iter().zip(gamma).map(|(v, g)| v * scale * g).collect()
    };
    let (h, d) = (shape.hidden, shape.head_dim);
    let embedding = get("model.embed_tokens.weight", &[shape.vocab, h]);
    let mut xs: Vec<Vec<f64>> = tokens
        .iter()
        .map(|&t| embedding[t as usize * h..][..h].to_vec())
        .collect();
    let (cos, sin) = rope(shape, tokens.len());
    let turn = |x: &mut [f64], p: usize| {
        for head in x.chunks_exact_mut(d) {
            for i in 0..d / 2 {
                let (c, s) = (f64::from(cos[p * d / 2 + i]), f64::from(sin[p * d / 2 + i]));
                let (a, b) = (head[i], head[i + d / 2]);
                head[i] = a * c - b * s;
                head[i + d / 2] = b * c + a * s;
            }
        }
    };
    for layer in 0..shape.layers {
        let part =
            |name: &str, dims: &[usize]| get(&format!("model.layers.{layer}.{name}.weight"), dims);
        let (query, key) = (shape.query_heads * d, shape.key_heads * d);
        let (wq, wk) = (
            part("self_attn.q_proj", &[query, h]),
            part("self_attn.k_proj", &[key, h]),
        );
        let (wv, wo) = (
            part("self_attn.v_proj", &[key, h]),
            part("self_attn.o_proj", &[h, query]),
        );
        let gamma = part("input_layernorm", &[h]);
        let normed: Vec<_> = xs.iter().map(|x| norm(x, &gamma)).collect();
        let mut qs: Vec<_> = normed.iter().map(|x| product(&wq, x)).collect();
        let mut ks: Vec<_> = normed.iter().map(|x| product(&wk, x)).collect();
        let vs: Vec<_> = normed.iter().map(|x| product(&wv, x)).collect();
        for p in 0..tokens.len() {
            turn(&mut qs[p], p);
            turn(&mut ks[p], p);
        }
        for p in 0..tokens.len() {
            let mut mixed = vec![0.0; query];
            for head in 0..shape.query_heads {
                let from = head / (shape.query_heads / shape.key_heads) * d;
                let score = |t: usize| -> f64 {
                    let dot: f64 = (0..d).map(|i| qs[p][head * d + i] * ks[t][from + i]).sum();
                    (dot / (d as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = (0..=p).map(score).collect();
                let total: f64 = scores.iter().sum();
                for (t, score) in scores.iter().enumerate() {
                    for i in 0..d {
                        mixed[head * d + i] += score / total * vs[t][from + i];
                    }
                }
            }
            for (x, o) in xs[p].iter_mut().zip(product(&wo, &mixed)) {
                *x += o;
            }
        }
        let gamma = part("post_attention_layernorm", &[h]);
        let (gate, up) = (
            part("mlp.gate_proj", &[shape.inner, h]),
            part("mlp.up_proj", &[shape.inner, h]),
        );
        let down = part("mlp.down_proj", &[h, shape.inner]);
        for x in &mut xs {
            let normed = norm(x, &gamma);
            let inner: Vec<f64> = product(&gate, &normed)
                .into_iter()
                .zip(product(&up, &normed))
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect();
            for (x, o) in x.iter_mut().zip(product(&down, &inner)) {
                *x += o;
            }
        }
    }
    let gamma = get("model.norm.weight", &[h]);
    let head = if shape.tied {
        embedding
    } else {
        get("lm_head.weight", &[shape.vocab, h])
    };
    xs.iter()
        .map(|x| {
            let logits = product(&head, &norm(x, &gamma));
            let total = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            logits.iter().map(|l| l - total).collect()
        })
        .collect()
}

const ALL: usize = 61;

fn all_tokens() -> Vec<u32> {
    (0..ALL as u32).collect()
}

fn run<'r>(mention: usize, after: Option<u32>, tokens: &'r [u32], wanted: &'r [u32]) -> Run<'r> {
    Run {
        mention,
        after,
        tokens,
        score_read: true,
        wanted: Wanted::Tokens(wanted),
        among_wanted: false,
    }
}

fn assert_close(scores: &Scores, right: &[f64], within: f64) {
    for &(token, score) in &scores.next {
        let right = right[token as usize];
        assert!(
            (f64::from(score) - right).abs() < within,
            "token {token}: {score} {right}"
        );
    }
}

#[test]
fn every_shape_agrees_with_double_precision() {
    let all = all_tokens();
    for tied in [true, false] {
        for (group, head_dim) in [(1, 8), (2, 16), (3, 64), (4, 20), (6, 16)] {
            let shape = shape(tied, group, head_dim);
            let tokens: Vec<u32> = (0..37).map(|i| (i * 7 + 3) % 61).collect();
            let right = reference(&shape, &tokens);
            let mut engine = engine(&shape, Precision::F32);
            let scores = engine.forward(&[run(0, None, &tokens, &all)]).unwrap();
            assert_close(&scores[0], &right[36], 1e-4);
            for (i, read) in scores[0].read.iter().enumerate() {
                let right = right[i][tokens[i + 1] as usize];
                assert!((f64::from(*read) - right).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn bfloat16_is_near() {
    let shape = shape(true, 3, 16);
    let tokens: Vec<u32> = (0..21).map(|i| (i * 5 + 1) % 61).collect();
    let right = reference(&shape, &tokens);
    let all = all_tokens();
    let scores = engine(&shape, Precision::Bf16)
        .forward(&[run(0, None, &tokens, &all)])
        .unwrap();
    assert_close(&scores[0], &right[20], 0.25);
    let exact = engine(&shape, Precision::F32)
        .forward(&[run(0, None, &tokens, &all)])
        .unwrap();
    assert!(exact[0].next != scores[0].next, "it did round");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Mentions that share beginnings, trees of runs, joining and leaving at any time: every score is that of its own
    /// sequence alone.
    #[test]
    fn company_runs_sharing_and_recycling_change_no_score(
        seed in any::<u64>(), prompts in proptest::collection::vec((0..3usize, 1..40usize), 1..6), passes in 1..7usize
    ) {
        let shape = shape(true, 3, 16);
        let mut engine = engine(&shape, Precision::F32);
        let mut random = seed | 1;
        let mut draw = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let all = all_tokens();
        // Everything that a mention has read, by state.
        let mut known: Vec<(usize, u32, Vec<u32>)> = Vec::new();
        let mut next_mention = 0;
        let mut waiting: Vec<Vec<u32>> = prompts
            .iter()
            .map(|&(kind, length)| (0..length).map(|i| if i < 25 { (kind * 9 + i) as u32 % 61 } else { draw(61) as u32 }).collect())
            .collect();
        for _ in 0..passes {
            /// Mention, state, what it has read, what it is to read.
            type Asked = (usize, Option<u32>, Vec<u32>, Vec<u32>);
            let mut asked: Vec<Asked> = Vec::new();
            for (mention, state, history) in &known {
                if draw(2) == 0 {
                    let tokens: Vec<u32> = (0..1 + draw(20)).map(|_| draw(61) as u32).collect();
                    asked.push((*mention, Some(*state), history.clone(), tokens));
                }
            }
            for _ in 0..draw(3) {
                if let Some(prompt) = waiting.pop() {
                    asked.push((next_mention, None, Vec::new(), prompt));
                    next_mention += 1;
                }
            }
            let runs: Vec<Run<'_>> = asked
                .iter()
                .map(|(m, s, _, tokens)| Run { score_read: s.is_some(), ..run(*m, *s, tokens, &all) })
                .collect();
            let scores = engine.forward(&runs).unwrap();
            for ((mention, _, history, tokens), scores) in asked.iter().zip(scores) {
                let sequence = [&history[..], tokens].concat();
                let right = reference(&shape, &sequence);
                assert_close(&scores, right.last().unwrap(), 1e-4);
                for (i, read) in scores.read.iter().enumerate() {
                    let right = right[history.len() + i][tokens[i + 1] as usize];
                    prop_assert!((f64::from(*read) - right).abs() < 1e-4);
                }
                known.push((*mention, scores.state, sequence));
            }
            if draw(3) == 0 && next_mention > 0 {
                let gone = draw(next_mention);
                engine.close(gone);
                known.retain(|(mention, ..)| *mention != gone);
            }
            known.truncate(12);
        }
        for mention in 0..next_mention {
            engine.close(mention);
        }
        prop_assert_eq!(engine.blocks_in_use(), 0);
    }
}

#[test]
fn prompts_that_begin_alike_share_their_cells_and_long_passes_are_cut() {
    let shape = Shape {
        positions: 4096,
        ..shape(true, 1, 8)
    };
    let mut engine = engine(&shape, Precision::F32);
    let all = all_tokens();
    let long: Vec<u32> = (0..1000).map(|i| (i * 11 + i / 61) % 61).collect();
    let mut other = long.clone();
    *other.last_mut().unwrap() = 5;
    other.push(6);
    let runs = [run(0, None, &long, &all), run(1, None, &other, &all)];
    let together = engine
        .forward(&[
            Run {
                score_read: false,
                ..runs[0]
            },
            Run {
                score_read: false,
                ..runs[1]
            },
        ])
        .unwrap();
    // 1000 tokens take 63 blocks; what is left of the other prompt takes one.
    assert_eq!(engine.blocks_in_use(), 64);
    engine.close(0);
    assert_eq!(
        engine.blocks_in_use(),
        64,
        "a shared block stays as long as somebody sees it"
    );
    let more = engine
        .forward(&[run(1, Some(together[1].state), &[9, 10], &all)])
        .unwrap();
    let alone = self::engine(&shape, Precision::F32)
        .forward(&[run(7, None, &[&other[..], &[9, 10]].concat(), &all)])
        .unwrap();
    for (shared, alone) in more[0].next.iter().zip(&alone[0].next) {
        assert!((shared.1 - alone.1).abs() < 1e-5, "{shared:?} {alone:?}");
    }
    engine.close(1);
    assert_eq!(engine.blocks_in_use(), 0);
}

#[test]
fn scores_among_the_wanted_and_the_best() {
    for tied in [true, false] {
        let shape = shape(tied, 2, 16);
        let mut engine = engine(&shape, Precision::F32);
        let tokens = [3, 1, 4, 1, 5];
        let right = reference(&shape, &tokens).pop().unwrap();
        let wanted = [9, 2, 60];
        let runs = [
            Run {
                score_read: false,
                among_wanted: true,
                ..run(0, None, &tokens, &wanted)
            },
            Run {
                wanted: Wanted::Best(7),
                ..run(1, None, &tokens, &[])
            },
        ];
        let scores = engine.forward(&runs).unwrap();
        let total = wanted
            .iter()
            .map(|&t| right[t as usize].exp())
            .sum::<f64>()
            .ln();
        for (&(token, score), expected) in scores[0].next.iter().zip(wanted) {
            assert_eq!(token, expected);
            assert!((f64::from(score) - (right[token as usize] - total)).abs() < 1e-4);
        }
        assert!(scores[0].read.is_empty());
        let mut order = all_tokens();
        order.sort_by(|&a, &b| right[b as usize].total_cmp(&right[a as usize]));
        let best: Vec<u32> = scores[1].next.iter().map(|pair| pair.0).collect();
        assert_eq!(best, order[..7]);
    }
}

#[test]
fn a_vocabulary_of_several_blocks_is_scored_as_one() {
    for tied in [true, false] {
        let shape = Shape {
            vocab: 1300,
            ..shape(tied, 2, 16)
        };
        let tokens = [3, 1000, 4, 1299, 511];
        let right = reference(&shape, &tokens).pop().unwrap();
        // In no order, at the edges of blocks, one of them twice.
        let wanted = [1299, 0, 511, 512, 7, 1024, 1023, 512];
        for precision in [Precision::F32, Precision::Bf16] {
            let mut engine = engine(&shape, precision);
            let best = Run {
                wanted: Wanted::Best(40),
                ..run(1, None, &tokens, &[])
            };
            let scores = engine
                .forward(&[run(0, None, &tokens, &wanted), best])
                .unwrap();
            let asked: Vec<u32> = scores[0].next.iter().map(|pair| pair.0).collect();
            assert_eq!(asked, wanted);
            let within = if precision == Precision::F32 {
                1e-4
            } else {
                0.25
            };
            assert_close(&scores[0], &right, within);
            assert_close(&scores[1], &right, within);
            if precision == Precision::F32 {
                let mut order: Vec<u32> = (0..1300).collect();
                order.sort_by(|&a, &b| right[b as usize].total_cmp(&right[a as usize]));
                let best: Vec<u32> = scores[1].next.iter().map(|pair| pair.0).collect();
                assert_eq!(best, order[..40]);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = Shape {
        vocab: 1300,
        ..shape(true, 3, 16)
    };
    let tokens: Vec<u32> = (0..150).map(|i| (i * 7 + 3) % 1300).collect();
    for precision in [Precision::F32, Precision::Bf16] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut engine = engine(&shape, precision);
                let wanted = [5, 600, 1299];
                let opened = [
                    run(0, None, &tokens, &wanted),
                    run(1, None, &tokens[9..30], &wanted),
                ];
                let mut scores = engine.forward(&opened).unwrap();
                let state = Some(scores[1].state);
                let more = engine.forward(&[run(1, state, &[8], &wanted)]).unwrap();
                scores.extend(more);
                scores
            })
        };
        let one = on(1);
        assert!([2, 3].iter().all(|&threads| on(threads) == one));
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_nothing_is_held() {
    let shape = shape(true, 2, 16);
    let mut engine = engine(&shape, Precision::F32);
    let long = vec![1; 257];
    let cases = [
        (run(0, None, &[], &[]), Error::EmptyRun { mention: 0 }),
        (
            run(0, None, &[61], &[]),
            Error::Token {
                token: 61,
                vocab: 61,
            },
        ),
        (
            run(0, None, &[1], &[99]),
            Error::Token {
                token: 99,
                vocab: 61,
            },
        ),
        (
            run(3, Some(0), &[1], &[]),
            Error::State {
                mention: 3,
                state: 0,
            },
        ),
        (
            run(2, None, &long, &[]),
            Error::Capacity {
                mention: 2,
                needed: 257,
                capacity: 256,
            },
        ),
    ];
    for (run, error) in cases {
        assert_eq!(engine.forward(&[run]).unwrap_err(), error);
        assert_eq!(engine.blocks_in_use(), 0);
    }
    // A state of one mention is none of another's.
    let state = engine.forward(&[run(0, None, &[1, 2], &[3])]).unwrap()[0].state;
    let foreign = engine.forward(&[run(1, Some(state), &[1], &[])]);
    assert_eq!(foreign.unwrap_err(), Error::State { mention: 1, state });
}

#[test]
fn damaged_weights_are_an_error() {
    let shape = shape(true, 2, 16);
    let mut read = |name: &str, dims: &[usize]| {
        let mut values = tensor(name, dims);
        if name == "model.layers.1.mlp.up_proj.weight" {
            values[17] = f32::NAN;
        }
        Ok::<_, ()>(values)
    };
    let weights = Weights::read(shape.clone(), Precision::F32, &mut read).unwrap();
    let mut engine = Engine::new(Arc::new(weights), Box::new(move |n| rope(&shape, n)));
    let error = engine.forward(&[run(4, None, &[1, 2], &[3])]).unwrap_err();
    assert_eq!(
        error,
        Error::NotFinite {
            mention: 4,
            step: 0
        }
    );
}
