//! How fast and how big a generation is: from the KB's concepts over rendered prompts to the corpus, through the ledger.
//!
//! As in `crates/llm/tests/scale.rs`, what is asserted is processor time, and the figures go to stderr (`--nocapture`).

mod common;

use std::time::Instant;

use common::{concept, document};
use syncabel_corpus::marked::MarkOptions;
use syncabel_corpus::{Corpus, Document, Language, Split};
use syncabel_kb::{BuildOptions, Kb, build};
use syncabel_llm::{ChatAnswer, ChatBackend, ChatRequest, Error, RunOptions, Usage};
use syncabel_synth::{
    ModelOptions, OpenAi, PromptOptions, Prompts, SynthOptions, SynthReport, TrainSentences,
    synthesise_into,
};

const CONCEPTS: usize = 100_000;

/// A model that answers at once with three sentences of some twenty words.
struct Prompt;

impl ChatBackend for Prompt {
    fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, Error> {
        let question = &request.messages[1].content;
        let lines = question.lines();
        let name = lines
            .filter_map(|line| line.strip_prefix("Name: "))
            .next_back();
        let name = name.expect("a question names its concept");
        let text = (0..3).map(|n| {
            format!(
                "example: Visit {n} of a patient with [{name}] who had been seen before in another clinic for pain of \
                 the joints and weakness of the hands.\n"
            )
        });
        Ok(ChatAnswer {
            text: text.collect(),
            finish_reason: Some("stop".into()),
            usage: Usage::default(),
            attempts: 1,
        })
    }
}

fn kb() -> Kb {
    let concepts = (0..CONCEPTS).map(|n| {
        let names: Vec<String> = (0..5).map(|m| format!("Hereditary disorder {n}, form {m}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let definition = "An inherited disorder that weakens muscles and comes with pain in the joints of hands and feet.";
        concept(&format!("C{n:06}"), "Disorders", &names, definition)
    });
    build(concepts.collect(), vec![], &BuildOptions::default())
        .unwrap()
        .0
}

/// A human sentence, to be shown in prompts.
fn human(n: usize) -> Document {
    let mention = format!("hereditary disorder {n}, form 1");
    let text = format!("The brother of patient {n} was found to have {mention} in the same year.");
    document(
        &format!("t{n}"),
        Split::Train,
        &text,
        &mention,
        &format!("C{n:06}"),
    )
}

fn generate(kb: &Kb, contexts: &TrainSentences, ledger: &std::path::Path) -> (SynthReport, usize) {
    let generator = OpenAi::new(
        &Prompt,
        Prompts::new(Language::En, &PromptOptions::default()).unwrap(),
        ModelOptions::new("small"),
        RunOptions {
            in_flight: 64,
            ..RunOptions::default()
        },
        ledger.to_owned(),
    );
    let options = SynthOptions {
        records: false,
        ..SynthOptions::default()
    };
    let mut bytes = 0;
    let report = synthesise_into(&generator, kb, contexts, &options, &mut |document| {
        bytes += document.text.len();
        Ok(())
    });
    (report.unwrap(), bytes)
}

/// A line of `/proc/self/status`, in MiB; `None` off Linux.
fn memory_mib(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Processor time of this process, in seconds.
fn processor_s() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a plain system call that fills the structure it is given.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn a_hundred_thousand_concepts_pass_by_and_a_finished_ledger_is_read_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("kb");
    kb().write(&place).unwrap();
    let kb = Kb::open(&place).unwrap();
    let human = Corpus {
        documents: (0..8).map(human).collect(),
    };
    let contexts = TrainSentences::from_corpus(&human, &kb, &MarkOptions::default()).unwrap();
    let ledger = dir.path().join("ledger");
    let before = memory_mib("VmRSS:");
    let (start, processor) = (Instant::now(), processor_s());
    let (report, bytes) = generate(&kb, &contexts, &ledger);
    assert_eq!((report.failed.len(), report.sentences), (0, 3 * CONCEPTS));
    let after = memory_mib("VmRSS:");
    eprintln!(
        "{CONCEPTS} concepts written in {:.1} s ({:.1} s of processor time); resident {before:?} MiB before, {after:?} after",
        start.elapsed().as_secs_f64(),
        processor_s() - processor
    );
    let (start, processor) = (Instant::now(), processor_s());
    assert_eq!(generate(&kb, &contexts, &ledger), (report, bytes));
    let (wall, processor) = (start.elapsed().as_secs_f64(), processor_s() - processor);
    eprintln!("read again in {wall:.1} s ({processor:.1} s of processor time)");
    if let Some(mib) = after {
        assert!(mib < 300, "{mib} MiB");
    }
    // The ledger itself takes two thirds of a second (`crates/llm/tests/scale.rs`); here every prompt is rendered once for its key, and every
    // answer becomes documents again.
    assert!(processor < 8.0, "{processor} s");
}
