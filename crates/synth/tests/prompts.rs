//! Every template, filled: what a model reads is reviewed as text.

mod common;

use std::fs;

use common::{contexts, kb};
use syncabel_corpus::Language;
use syncabel_llm::Role;
use syncabel_synth::{Batch, PromptOptions, Prompts, Task};

fn prompt(language: Language, options: &PromptOptions, code: &str, kept: &[&str]) -> String {
    let prompts = Prompts::new(language, options).unwrap();
    let kept: Vec<String> = kept.iter().map(|&s| s.to_owned()).collect();
    let user = about(code, |batch, task| {
        prompts.user(batch, task, 3 - kept.len(), &kept).unwrap()
    });
    format!("=== system\n{}\n=== user\n{user}\n", prompts.system())
}

/// Calls `f` with a batch of one concept that wants three sentences.
fn about<T>(code: &str, f: impl FnOnce(&Batch<'_>, &Task) -> T) -> T {
    let kb = kb();
    let contexts = contexts(&kb);
    let concept = kb.resolve(code).unwrap();
    let group = kb.concept(concept).groups().next().unwrap();
    let task = Task { concept, group };
    let batch = Batch {
        kb: &kb,
        contexts: &contexts,
        tasks: &[task],
        sentences_per_concept: 3,
        seed: 1,
    };
    f(&batch, &task)
}

#[test]
fn the_first_question_in_every_language() {
    for language in Language::ALL {
        let text = prompt(language, &PromptOptions::default(), "D006073", &[]);
        insta::assert_snapshot!(format!("first_{language}"), text);
    }
}

#[test]
fn what_is_missing_is_asked_for_without_definition_and_examples() {
    let options = PromptOptions {
        style: "note".to_owned(),
        examples: 0,
        min_words: Some(5),
        max_words: Some(12),
        ..PromptOptions::default()
    };
    let kept = ["The [asthma] is back.", "No [asthma] in the family."];
    for language in Language::ALL {
        let text = prompt(language, &options, "D001249", &kept);
        insta::assert_snapshot!(format!("missing_{language}"), text);
    }
}

#[test]
fn a_style_of_ones_own_is_taken_as_it_is() {
    let options = PromptOptions {
        style: "letters from one doctor to another".to_owned(),
        ..PromptOptions::default()
    };
    let text = prompt(Language::En, &options, "D006073", &[]);
    assert!(text.contains("They read like sentences from letters from one doctor to another."));
}

#[test]
fn unknown_fields_are_refused_when_templates_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let with = |system: &str, user: &str| {
        fs::write(dir.path().join("system.j2"), system).unwrap();
        fs::write(dir.path().join("user.j2"), user).unwrap();
        let options = PromptOptions {
            templates: Some(dir.path().to_owned()),
            ..PromptOptions::default()
        };
        Prompts::new(Language::En, &options)
    };
    assert!(with("Write.", "{{ concept.name }}, {{ count }}").is_ok());
    let cases = [
        ("a\n{{ marcker }}", "x", "system.j2:2"),
        ("a", "{{ concept.nam }}", "user.j2:1"),
        ("a", "\n{% if kept %}{{ wrong }}{% endif %}", "user.j2:2"),
        ("a", "{% for x in %}", "user.j2:1"),
    ];
    for (system, user, place) in cases {
        let message = with(system, user).unwrap_err().to_string();
        assert!(message.contains(place), "{message}");
    }
    fs::remove_file(dir.path().join("user.j2")).unwrap();
    let options = PromptOptions {
        templates: Some(dir.path().to_owned()),
        ..PromptOptions::default()
    };
    let message = Prompts::new(Language::En, &options)
        .unwrap_err()
        .to_string();
    assert!(message.contains("user.j2"), "{message}");
}

#[test]
fn contradicting_lengths_are_refused() {
    let options = PromptOptions {
        min_words: Some(40),
        ..PromptOptions::default()
    };
    let message = Prompts::new(Language::En, &options)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`min_words` 40 and `max_words` 30"),
        "{message}"
    );
}

#[test]
fn human_sentences_become_earlier_answers() {
    let options = PromptOptions {
        turns: true,
        ..PromptOptions::default()
    };
    let prompts = Prompts::new(Language::En, &options).unwrap();
    let (messages, single) = about("D006073", |batch, task| {
        let shown = batch.examples(task, options.examples);
        let single: Vec<_> = shown.into_iter().filter(|s| s.single).cloned().collect();
        (prompts.conversation(batch, task, 3, &[]).unwrap(), single)
    });
    assert!(!single.is_empty());
    assert_eq!(messages.len(), 2 + 2 * single.len());
    for (turn, sentence) in messages[1..].as_chunks::<2>().0.iter().zip(single) {
        let [question, answer] = turn;
        assert_eq!((question.role, answer.role), (Role::User, Role::Assistant));
        let about = format!("Code: {}\n", sentence.codes[0]);
        assert!(question.content.contains(&about), "{}", question.content);
        assert!(question.content.ends_with("Write 1 sentence."));
        let mention = format!("[{}]", sentence.surface);
        assert!(answer.content.starts_with("example: "));
        assert!(answer.content.contains(&mention), "{}", answer.content);
    }
    let last = messages.last().unwrap();
    assert!(
        last.content.starts_with("Code: D006073"),
        "no list before it"
    );
    assert!(last.content.ends_with("Write 3 sentences."));
}
