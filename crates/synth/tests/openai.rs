//! The language-model generator against a server that misbehaves.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{concept, contexts, corpus, kb};
use syncabel_corpus::{Corpus, Language, Split};
use syncabel_kb::{BuildOptions, Kb, build};
use syncabel_llm::fault_server::{FaultServer, Faults};
use syncabel_llm::{
    ChatAnswer, ChatBackend, ChatRequest, Error as LlmError, Ledger, OpenAiClient, OpenAiConfig,
    RetryPolicy, RunOptions, Usage,
};
use syncabel_synth::{
    Error, ModelOptions, OpenAi, PromptOptions, Prompts, SynthOptions, SynthReport, TrainSentences,
    synthesise,
};

fn options(in_flight: usize) -> RunOptions {
    RunOptions {
        in_flight,
        retry: RetryPolicy {
            max_attempts: 5,
            initial_wait_ms: 2,
            max_wait_ms: 20,
        },
        ..RunOptions::default()
    }
}

fn generate(
    backend: &dyn ChatBackend,
    kb: &Kb,
    contexts: &TrainSentences,
    ledger: &Path,
    in_flight: usize,
) -> Result<(Corpus, SynthReport), Error> {
    let model = ModelOptions::new("small");
    generate_with(model, backend, kb, contexts, ledger, in_flight)
}

fn generate_with(
    model: ModelOptions,
    backend: &dyn ChatBackend,
    kb: &Kb,
    contexts: &TrainSentences,
    ledger: &Path,
    in_flight: usize,
) -> Result<(Corpus, SynthReport), Error> {
    let prompts = Prompts::new(Language::En, &PromptOptions::default()).unwrap();
    let generator = OpenAi::new(
        backend,
        prompts,
        model,
        options(in_flight),
        ledger.to_owned(),
    );
    synthesise(&generator, kb, contexts, &SynthOptions::default())
}

/// The value of a line `Field: value` of the question.
fn field<'a>(request: &'a ChatRequest, name: &str) -> &'a str {
    let lines = request.messages[1].content.lines();
    lines
        .filter_map(|line| line.strip_prefix(name))
        .next_back()
        .unwrap()
}

/// Writes as many sentences as asked for, about the concept asked for.
fn obey(request: &ChatRequest) -> String {
    let wish = field(request, "Write ");
    let count: usize = wish.split(' ').next().unwrap().parse().unwrap();
    let (name, code) = (field(request, "Name: "), field(request, "Code: "));
    let again = if wish.contains("more") { " again" } else { "" };
    (0..count)
        .map(|n| {
            format!("example: Case {n}{again} of [{name}]{{x}} 🤒 was seen in clinic {code}.\n")
        })
        .collect()
}

/// A backend that is a function of the request.
struct Table<F>(F);

impl<F: Fn(&ChatRequest) -> String + Send + Sync> ChatBackend for Table<F> {
    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, LlmError> {
        Ok(ChatAnswer {
            text: (self.0)(request),
            finish_reason: None,
            usage: Usage::default(),
            attempts: 1,
        })
    }
}

#[test]
fn sentences_become_documents_with_exact_spans() {
    let (kb, dir) = (kb(), tempfile::tempdir().unwrap());
    let (corpus, report) = generate(&Table(obey), &kb, &contexts(&kb), dir.path(), 2).unwrap();
    assert_eq!(
        (report.concepts, report.sentences, report.mentions),
        (3, 9, 9)
    );
    let ids: Vec<&str> = corpus.documents.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(
        ids[..4],
        [
            "openai:D000493:1",
            "openai:D000493:2",
            "openai:D000493:3",
            "openai:D001249:1"
        ]
    );
    for document in &corpus.documents {
        document.validate().unwrap();
        assert_eq!(document.split, Some(Split::Train));
        let mention = &document.mentions[0];
        let chars: Vec<char> = document.text.chars().collect();
        let span = mention.spans[0];
        let covered: String = chars[span.start as usize..span.end as usize]
            .iter()
            .collect();
        assert_eq!(covered, mention.text);
        assert!(!document.text.contains(['[', '{']));
    }
    assert_eq!(
        corpus.documents[0].text,
        "Case 0 of Allopurinol 🤒 was seen in clinic D000493."
    );
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let (kb, dir) = (kb(), tempfile::tempdir().unwrap());
    let stingy = Table(|request: &ChatRequest| {
        let text = obey(request);
        let first = text.lines().next().unwrap();
        format!("{first}\nexample: no mention in this line\nsome talk")
    });
    let (corpus, report) = generate(&stingy, &kb, &contexts(&kb), dir.path(), 1).unwrap();
    // "Case 0 again" comes twice: the third answer repeats the second, so nobody gets three different sentences.
    assert_eq!((corpus.documents.len(), report.failed.len()), (0, 3));
    let failure = &report.failed[0].failure;
    assert_eq!(failure.reason, "2 of 3 sentences after 5 answers");
    assert!(
        failure
            .last_answer
            .as_ref()
            .unwrap()
            .contains("Case 0 again")
    );
    let ledger = Ledger::read(dir.path()).unwrap();
    let mut wishes = Vec::new();
    ledger
        .each_request(|_, request| wishes.push(field(&request, "Write ").to_owned()))
        .unwrap();
    assert_eq!(
        wishes[..5],
        [
            "3 sentences.",
            "2 sentences more.",
            "1 sentence more.",
            "1 sentence more.",
            "1 sentence more."
        ]
    );
    let mut second = None;
    ledger
        .each_request(|_, request| {
            if second.is_none() && field(&request, "Write ").starts_with('2') {
                second = Some(request.messages[1].content.clone());
            }
        })
        .unwrap();
    let second = second.unwrap();
    assert!(
        second.contains("do not repeat them:\n- Case 0 of [Allopurinol] 🤒 was seen"),
        "{second}"
    );
}

#[test]
fn names_are_found_where_brackets_are_forgotten_and_exported_alike() {
    let (kb, dir) = (kb(), tempfile::tempdir().unwrap());
    let forgetful = Table(|request: &ChatRequest| obey(request).replace(['[', ']'], ""));
    let strict = generate(&forgetful, &kb, &contexts(&kb), dir.path(), 1).unwrap();
    assert_eq!((strict.1.failed.len(), strict.1.sentences), (3, 0));
    let finding = ModelOptions {
        find_names: true,
        ..ModelOptions::new("small")
    };
    let find = |ledger: &Path| {
        generate_with(finding.clone(), &forgetful, &kb, &contexts(&kb), ledger, 1).unwrap()
    };
    // What was settled before stays so.
    assert_eq!(find(dir.path()).1.failed.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let (corpus, report) = find(dir.path());
    assert_eq!((report.failed.len(), report.sentences), (0, 9));
    assert_eq!(corpus.documents[0].mentions[0].text, "Allopurinol");
    let mut exported = Vec::new();
    let keep = &mut |document| {
        exported.push(document);
        Ok(())
    };
    syncabel_synth::export(dir.path(), keep).unwrap();
    assert_eq!(exported, corpus.documents);
    // Without the option the same ledger holds no sentence that counts, and says so.
    let (_, report) = generate(&forgetful, &kb, &contexts(&kb), dir.path(), 1).unwrap();
    let reason = &report.failed[0].failure.reason;
    assert!(reason.contains("under other settings"), "{reason}");
    let none = &mut |_| panic!("the export says the same");
    let exported = syncabel_synth::export(dir.path(), none).unwrap();
    assert_eq!(exported.failed, report.failed);
}

fn many(count: usize) -> Kb {
    let concepts = (0..count).map(|n| {
        let (code, name) = (format!("C{n:05}"), format!("Gout of type {n}"));
        concept(
            &code,
            "Disorders",
            &[&name, &format!("Type {n} gout")],
            "A kind of gout.",
        )
    });
    build(concepts.collect(), vec![], &BuildOptions::default())
        .unwrap()
        .0
}

#[test]
fn faults_and_order_of_completion_do_not_show_in_the_corpus() {
    const CONCEPTS: usize = 1_500;
    let kb = many(CONCEPTS);
    let contexts = {
        let document = common::document(
            "t",
            Split::Train,
            "Pain from gout of type 7.",
            "gout of type 7",
            "C00007",
        );
        let corpus = Corpus {
            documents: vec![document],
        };
        TrainSentences::from_corpus(&corpus, &kb, &Default::default()).unwrap()
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (quiet, _) = generate(&Table(obey), &kb, &contexts, folders[0].path(), 1).unwrap();
    let server = FaultServer::start(Faults::all(0.2, 11), Duration::ZERO, obey);
    let config = OpenAiConfig {
        timeout_s: 3,
        ..OpenAiConfig::new(server.url())
    };
    let client = OpenAiClient::new(&config).unwrap();
    let (noisy, report) = generate(&client, &kb, &contexts, folders[1].path(), 32).unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(noisy, quiet);
    assert_eq!(noisy.documents.len(), CONCEPTS * 3);
    assert_eq!(server.served().good.values().sum::<usize>(), CONCEPTS);
    // The ledger alone gives the same corpus.
    let mut exported = Vec::new();
    let export = syncabel_synth::export(folders[1].path(), &mut |document| {
        exported.push(document);
        Ok(())
    });
    let export = export.unwrap();
    assert_eq!(exported, noisy.documents);
    assert_eq!(
        (export.concepts, export.sentences, export.pending),
        (CONCEPTS, CONCEPTS * 3, 0)
    );
    // A second generation reads the ledger and asks nothing.
    let requests = server.served().requests;
    let (again, _) = generate(&client, &kb, &contexts, folders[1].path(), 32).unwrap();
    assert_eq!(again, noisy);
    assert_eq!(server.served().requests, requests);
}

#[test]
fn no_prompt_holds_a_sentence_of_validation_or_test() {
    let (kb, dir) = (kb(), tempfile::tempdir().unwrap());
    generate(&Table(obey), &kb, &contexts(&kb), dir.path(), 2).unwrap();
    let ledger = Ledger::read(dir.path()).unwrap();
    let (mut prompts, mut train_seen) = (0, 0);
    ledger
        .each_request(|_, request| {
            prompts += 1;
            let text: String = request
                .messages
                .iter()
                .map(|m| m.content.replace(['[', ']'], ""))
                .collect();
            for document in &corpus().documents {
                let shown = text.contains(&document.text.replace(['[', ']'], ""))
                    || text.contains(&document.text.replace('[', "(").replace(']', ")"));
                match document.split {
                    Some(Split::Train) => train_seen += usize::from(shown),
                    _ => assert!(!shown, "{} is in a prompt", document.id),
                }
            }
        })
        .unwrap();
    assert_eq!(prompts, 3);
    // Two concepts of the group with three sentences, one of the group with one.
    assert_eq!(train_seen, 7);
}

#[test]
fn a_missing_model_stops_with_the_servers_words() {
    let (kb, dir) = (kb(), tempfile::tempdir().unwrap());
    struct Missing;
    impl ChatBackend for Missing {
        fn chat(&self, _: &ChatRequest) -> Result<ChatAnswer, LlmError> {
            Err(LlmError::Refused {
                url: "http://x/v1".into(),
                status: 404,
                message: "the model `small` does not exist".into(),
            })
        }
    }
    let error = generate(&Missing, &kb, &contexts(&kb), dir.path(), 2).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the model `small` does not exist"),
        "{error}"
    );
}
