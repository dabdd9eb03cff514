//! Sentences written by a language model behind an OpenAI-compatible server (paper, synthetic data).
//!
//! One request asks for all sentences of a concept. What counts is kept; for what is missing another request is made that
//! shows what is there already, at most [`ModelOptions::max_answers`] in all. Then the concept fails, with its last answer
//! on record. Everything that was sent and answered is in a [`Ledger`], so an interrupted generation goes on where it was,
//! and the corpus is computed from the ledger in the order of the concepts.
//!
//! # Cost
//! The server's; memory holds no text. What requests and answers cost here: bench `synthesis`.

use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use syncabel_corpus::Language;
use syncabel_llm::{
    ChatAnswer, ChatBackend, ChatRequest, Jobs, Key, Ledger, Outcome, Progress, RunOptions,
    Sampling, Verdict, run,
};

use crate::answer::{findable, sentences};
use crate::generator::{Batch, Deliver, Draft, Failure, Generator, Task};
use crate::prompt::Prompts;
use crate::{Error, export};

/// Purpose of the ledgers that hold generated sentences.
pub const PURPOSE: &str = "synth";

/// The model and how it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// Name of the model, as the server calls it.
    pub model: String,
    /// How answers are drawn; the paper's parameters where left out. A `seed` here is the same for all requests; see `seeded`.
    #[serde(default)]
    pub sampling: Sampling,
    /// Send a seed with every request, made from the generation's seed, concept and attempt, so that a server that
    /// honours it repeats itself. Switch it off for servers that refuse the field.
    #[serde(default = "yes")]
    pub seeded: bool,
    /// Most answers to one concept.
    #[serde(default = "default_max_answers")]
    pub max_answers: usize,
    /// In a line without brackets, take the longest name of the concept that stands in it for the mention. Small models
    /// write the name and forget to mark it; such a mention is always a name of the KB, so it shows the linker a context, not
    /// another wording. Of a ledger's failed concepts only those asked again (`retry_failed`) are looked at anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub find_names: bool,
}

fn yes() -> bool {
    true
}

fn default_max_answers() -> usize {
    5
}

impl ModelOptions {
    /// A model with the paper's parameters.
    pub fn new(model: impl Into<String>) -> Self {
        ModelOptions {
            model: model.into(),
            sampling: Sampling::default(),
            seeded: true,
            max_answers: default_max_answers(),
            find_names: false,
        }
    }
}

/// Called about ten times a second while requests are made; `false` ends the generation, which can go on later.
pub type Watch<'a> = dyn FnMut(&Progress) -> bool + Send + 'a;

/// Asks a language model.
pub struct OpenAi<'a> {
    name: &'static str,
    backend: &'a dyn ChatBackend,
    prompts: Prompts,
    model: ModelOptions,
    run: RunOptions,
    ledger: PathBuf,
    watch: Mutex<Box<Watch<'a>>>,
}

impl<'a> OpenAi<'a> {
    /// A generator over a backend. `ledger` is a folder that is made if it does not exist.
    pub fn new(
        backend: &'a dyn ChatBackend,
        prompts: Prompts,
        model: ModelOptions,
        run: RunOptions,
        ledger: PathBuf,
    ) -> Self {
        let model = ModelOptions {
            model: backend.model_name(&model.model),
            ..model
        };
        OpenAi {
            name: "openai",
            backend,
            prompts,
            model,
            run,
            ledger,
            watch: Mutex::new(Box::new(|_| true)),
        }
    }

    /// Calls the generator by another name, which is that of the backend: documents and reports carry it.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        OpenAi { name, ..self }
    }

    /// Shows the progress to `watch`.
    #[must_use]
    pub fn watched(self, watch: impl FnMut(&Progress) -> bool + Send + 'a) -> Self {
        OpenAi {
            watch: Mutex::new(Box::new(watch)),
            ..self
        }
    }

    /// Language of prompts and sentences.
    pub(crate) fn language(&self) -> Language {
        self.prompts.language()
    }

    /// The names that may be found in a line without brackets; none where that is not wanted.
    fn findable(&self, batch: &Batch<'_>, task: &Task) -> Vec<String> {
        if !self.model.find_names {
            return Vec::new();
        }
        findable(
            batch
                .kb
                .names_of(task.concept, task.group)
                .map(|name| name.text),
        )
    }

    fn stopped(&self, reason: impl ToString) -> Error {
        Error::Stopped {
            generator: self.name().to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl Generator for OpenAi<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn generate(&self, batch: &Batch<'_>, deliver: &mut Deliver<'_>) -> Result<(), Error> {
        let ledger = Ledger::open(&self.ledger, PURPOSE)?;
        write_plan(&self.ledger, batch.tasks.len())?;
        let names = batch.tasks.iter().map(|task| self.findable(batch, task));
        let jobs = Concepts {
            batch,
            prompts: &self.prompts,
            model: &self.model,
            names: names.collect(),
        };
        let keys = jobs.rehearse()?;
        export::write_tasks(&self.ledger, self, batch, &keys, &jobs.names)?;
        let mut watch = self.watch.lock().unwrap_or_else(|e| e.into_inner());
        let finished = run(self.backend, &ledger, &jobs, &self.run, &mut **watch)?;
        if finished.pending > 0 {
            return Err(self.stopped(format!(
                "{} of {} concepts have no complete answer yet; the same command goes on where this one ended",
                finished.pending,
                batch.tasks.len()
            )));
        }
        for task in 0..batch.tasks.len() {
            let answer = match finished.outcome(&ledger, task)? {
                Outcome::Accepted(answers) => {
                    let wanted = batch.sentences_per_concept;
                    Ok(drafts(
                        &answers,
                        self.prompts.language(),
                        &jobs.names[task],
                        wanted,
                    ))
                }
                Outcome::Failed { reason, answers } => Err(Failure {
                    reason,
                    last_answer: answers.into_iter().last().map(|answer| answer.text),
                }),
                Outcome::Pending => unreachable!("nothing is pending"),
            };
            deliver(task, answer);
        }
        Ok(())
    }
}

/// What counts in the answers so far, at most as many as are wanted.
pub(crate) fn drafts(
    answers: &[ChatAnswer],
    language: Language,
    names: &[String],
    wanted: usize,
) -> Vec<Draft> {
    let mut kept = Vec::new();
    for answer in answers {
        // The last line of an answer that ran into its limit may end anywhere.
        let text = match answer.finish_reason.as_deref() {
            Some("length") => answer.text.rsplit_once('\n').map_or("", |(whole, _)| whole),
            _ => &answer.text,
        };
        let more = sentences(text, language, names, &kept);
        kept.extend(more);
    }
    kept.truncate(wanted);
    kept
}

/// The tasks of a batch as jobs.
struct Concepts<'a> {
    batch: &'a Batch<'a>,
    prompts: &'a Prompts,
    model: &'a ModelOptions,
    /// For each task, the names that may be found in a line without brackets.
    names: Vec<Vec<String>>,
}

impl Concepts<'_> {
    /// Renders what every concept may be asked, so that a template that fails for one of them is said before anything is
    /// paid for. Returns the keys of the jobs.
    fn rehearse(&self) -> Result<Vec<Key>, Error> {
        let wanted = self.batch.sentences_per_concept;
        let kept = ["kept".to_owned()];
        for (number, task) in self.batch.tasks.iter().enumerate() {
            let user = |count: usize, kept: &[String]| {
                self.prompts.conversation(self.batch, task, count, kept)
            };
            user(wanted, &[])?;
            // How many are missing is as good as the same for all concepts.
            for missing in 1..if number == 0 { wanted } else { wanted.min(2) } {
                user(missing, &kept)?;
            }
        }
        let keys = (0..self.batch.tasks.len()).map(|job| self.ask(job, &[], 0).key());
        Ok(keys.collect())
    }

    fn ask(&self, job: usize, kept: &[String], attempt: usize) -> ChatRequest {
        let task = &self.batch.tasks[job];
        let count = self.batch.sentences_per_concept - kept.len();
        let messages = self
            .prompts
            .conversation(self.batch, task, count, kept)
            .expect("the templates were tried with every concept");
        let mut sampling = self.model.sampling.clone();
        if self.model.seeded && sampling.seed.is_none() {
            // Servers take 32 bits, some of them signed.
            let seed = self.batch.task_seed(task).wrapping_add(attempt as u64);
            sampling.seed = Some(seed & 0x7fff_ffff);
        }
        ChatRequest {
            model: self.model.model.clone(),
            messages,
            sampling,
        }
    }
}

impl Jobs for Concepts<'_> {
    fn len(&self) -> usize {
        self.batch.tasks.len()
    }

    fn request(&self, job: usize) -> ChatRequest {
        self.ask(job, &[], 0)
    }

    fn verdict(&self, job: usize, answers: &[ChatAnswer]) -> Verdict {
        let wanted = self.batch.sentences_per_concept;
        let drafts = drafts(answers, self.prompts.language(), &self.names[job], wanted);
        if drafts.len() >= wanted {
            return Verdict::Accept;
        }
        let reason = format!("{} of {wanted} sentences", drafts.len());
        if answers.len() >= self.model.max_answers {
            let reason = format!("{reason} after {} answers", answers.len());
            return Verdict::Failed { reason };
        }
        let kept: Vec<String> = drafts.iter().map(shown).collect();
        let request = self.ask(job, &kept, answers.len());
        Verdict::Again { request, reason }
    }
}

/// A draft as it was written, its mentions in brackets.
fn shown(draft: &Draft) -> String {
    let mut text = String::with_capacity(draft.text.len() + 4);
    for (at, c) in (0u32..).zip(draft.text.chars()) {
        if draft.mentions.iter().any(|m| m.span.start == at) {
            text.push('[');
        }
        text.push(c);
        if draft.mentions.iter().any(|m| m.span.end == at + 1) {
            text.push(']');
        }
    }
    text
}

const PLAN: &str = "plan.json";

/// What a generation set out to do, beside its ledger, for `synth status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Concepts, one in several groups counted for each.
    pub concepts: usize,
}

impl Plan {
    /// The plan beside a ledger, if there is one.
    pub fn read(ledger: &std::path::Path) -> Option<Plan> {
        let bytes = std::fs::read(ledger.join(PLAN)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn write_plan(ledger: &std::path::Path, concepts: usize) -> Result<(), Error> {
    let path = ledger.join(PLAN);
    let bytes = serde_json::to_vec(&Plan { concepts }).expect("a number always serialises");
    std::fs::write(&path, bytes).map_err(|source| Error::Write { path, source })
}
