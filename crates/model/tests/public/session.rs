//! Cached, batched, branching decoding gives the logits of a plain forward pass.

use crate::common::*;
use burn::module::Module;
use syncabel_model::{Checkpoint, Error, LlamaConfig, Packing, Rope, Session};

const TOLERANCE: f32 = 1e-4;

fn prompts() -> Vec<Vec<u32>> {
    vec![
        (10..31).collect(),
        vec![5, 9, 200],
        vec![77],
        (100..112).rev().collect(),
    ]
}

/// Decodes with `beams` beams along fixed parents and compares every row of every step with the
/// uncached pass over that row's whole history.
fn every_step_agrees(checkpoint: &Checkpoint, beams: usize) {
    let (model, config) = (&checkpoint.model, &checkpoint.config);
    let vocab = config.vocab_size;
    let prompts = prompts();
    let mut session = Session::new(model, config, &cpu());
    let first = values(session.prefill(&prompts, beams, 5).unwrap());
    for (row, prompt) in first.chunks(vocab).zip(&prompts) {
        let alone = last_logits(model, config, prompt);
        assert_close(row, &alone, TOLERANCE, "prefill");
    }
    let mut histories: Vec<Vec<u32>> = prompts
        .iter()
        .flat_map(|p| std::iter::repeat_n(p.clone(), beams))
        .collect();
    for step in 0..5usize {
        let rows = histories.len();
        let tokens: Vec<u32> = (0..rows)
            .map(|r| (37 * r + 11 * step) as u32 % 300)
            .collect();
        let parents: Vec<u32> = (0..rows)
            .map(|r| match step {
                0 => r / beams,
                // Beams change places, and some histories die out.
                _ => r / beams * beams + (r * step + 1) % beams,
            } as u32)
            .collect();
        let logits = values(session.step(&tokens, &parents).unwrap());
        histories = (0..rows)
            .map(|r| {
                let mut history = match step {
                    0 => prompts[r / beams].clone(),
                    _ => histories[parents[r] as usize].clone(),
                };
                history.push(tokens[r]);
                history
            })
            .collect();
        for (row, history) in logits.chunks(vocab).zip(&histories) {
            let alone = last_logits(model, config, history);
            assert_close(row, &alone, TOLERANCE, &format!("step {step}"));
        }
    }
}

#[test]
fn steps_agree_with_the_uncached_pass() {
    for name in ["tied", "untied", "llama3", "linear"] {
        for beams in [1, 3] {
            every_step_agrees(&load_folder(name), beams);
        }
    }
}

#[test]
fn a_second_prefill_starts_over() {
    let checkpoint = load_folder("tied");
    let mut session = Session::new(&checkpoint.model, &checkpoint.config, &cpu());
    let run = |session: &mut Session| {
        session.prefill(&[vec![4, 5, 6]], 2, 2).unwrap();
        values(session.step(&[7, 8], &[0, 0]).unwrap())
    };
    let fresh = run(&mut session);
    session.prefill(&prompts(), 3, 9).unwrap();
    assert_eq!(run(&mut session), fresh);
}

#[test]
fn misuse_is_an_error_and_leaves_the_session_usable() {
    let checkpoint = load_folder("tied");
    let config = &checkpoint.config;
    let mut session = Session::new(&checkpoint.model, config, &cpu());
    assert!(matches!(
        session.step(&[1], &[0]),
        Err(Error::Session { .. })
    ));
    assert!(matches!(
        session.prefill(&[], 1, 1),
        Err(Error::Session { .. })
    ));
    assert!(matches!(
        session.prefill(&[vec![]], 1, 1),
        Err(Error::Session { .. })
    ));
    assert!(matches!(
        session.prefill(&[vec![1]], 0, 1),
        Err(Error::Session { .. })
    ));
    let token = config.vocab_size as u32;
    let unknown = session.prefill(&[vec![token]], 1, 1);
    assert!(matches!(
        unknown,
        Err(Error::Token {
            token: 304,
            vocab_size: 304
        })
    ));
    let long = [vec![1; config.max_position_embeddings]];
    assert!(matches!(
        session.prefill(&long, 1, 1),
        Err(Error::Capacity { .. })
    ));
    assert!(session.prefill(&long, 1, 0).is_ok());
    let huge = session.prefill(&[vec![1]], 1, usize::MAX);
    assert!(matches!(huge, Err(Error::Capacity { .. })));

    session.prefill(&[vec![1, 2], vec![3]], 2, 1).unwrap();
    for (tokens, parents) in [
        (vec![1, 2, 3], vec![0, 0, 1]),
        (vec![1, 2, 3, 4], vec![0, 0, 1]),
        (vec![1, 2, 3, 4], vec![0, 1, 1, 1]),
    ] {
        let error = session.step(&tokens, &parents).unwrap_err();
        assert!(matches!(error, Error::Session { .. }), "{error}");
    }
    let unknown = session.step(&[1, 2, 3, 999], &[0, 0, 1, 1]);
    assert!(matches!(unknown, Err(Error::Token { .. })));
    session.step(&[1, 2, 3, 4], &[0, 0, 1, 1]).unwrap();
    let beyond = session.step(&[1, 2, 3, 4], &[0, 1, 2, 3]);
    assert!(matches!(beyond, Err(Error::Capacity { capacity: 1, .. })));
}

#[test]
fn packed_examples_do_not_see_each_other() {
    let Checkpoint { model, config, .. } = load_folder("llama3");
    let device = cpu();
    let (a, b, c): (Vec<u32>, Vec<u32>, Vec<u32>) =
        ((3..10).collect(), vec![50, 60, 70], (200..209).collect());
    let rows = [[&a[..], &b[..]].concat(), [&c[..], &[0]].concat()];
    let packing = Packing::from_lengths(&[vec![7, 3], vec![9]], 10, &device);
    let rope = Rope::new(&config, 9, &device);
    let hidden = model.hidden(ids(&rows, &device), &rope, Some(&packing));
    let packed = values(model.logits(hidden.reshape([20, config.hidden_size])));
    let width = config.vocab_size;
    for (start, example) in [(0, &a), (7, &b), (10, &c)] {
        let alone = full_logits(&model, &config, std::slice::from_ref(example));
        let part = &packed[start * width..][..alone.len()];
        assert_close(part, &alone, TOLERANCE, "packed");
    }
}

#[test]
fn gradients_flow_through_the_packed_pass_and_sessions_ignore_them() {
    let config = LlamaConfig::new(64, 16, 24, 2, 4, 2);
    let device = cpu().autodiff();
    let model = config.init(&device);
    let packing = Packing::from_lengths(&[vec![2, 2]], 4, &device);
    let rope = Rope::new(&config, 4, &device);
    let hidden = model.hidden(ids(&[vec![1, 2, 3, 4]], &device), &rope, Some(&packing));
    let loss = model.logits(hidden.reshape([4, 16])).powi_scalar(2).sum();
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &model);
    assert_eq!(gradients.len(), 2 + 2 * 9);

    let mut session = Session::new(&model, &config, &device);
    let logits = session.prefill(&[vec![1, 2]], 1, 1).unwrap();
    assert!(!logits.device().is_autodiff());
    let plain = last_logits(&model.valid(), &config, &[1, 2]);
    assert_close(
        &values(logits),
        &plain,
        TOLERANCE,
        "session of a training model",
    );
}
