//! Sentences written by a language model behind an OpenAI-compatible server (paper, synthetic data).
//!
//! One request asks for all sentences of a concept. What counts is kept; for what is missing another request is made that
//! shows what is there already, at most [`ModelOptions::max_answers`] in all. Then the concept fails, with its last answer
//! on record. Everything that was sent and answered is in a [`Ledger`], so an interrupted generation goes on where it was,
//! and the corpus is computed from the ledger in the order of the concepts.
//!
//! # Cost
//! The server's; memory holds no text. What requests and answers cost here: bench `synthesis`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use syncabel_corpus::Language;
use syncabel_llm::{
    ChatAnswer, ChatBackend, ChatRequest, Jobs, Key, Keys, Ledger, Message, Outcome, Progress,
    Role, RunOptions, Sampling, State, Verdict, run,
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
    /// another wording. What a ledger has settled stays settled: failed concepts are looked at anew only where they are asked again
    /// (`retry_failed`).
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

/// Concepts whose answers are read side by side before they are handed on.
const READ_AT_ONCE: usize = 1024;

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
    pub(crate) fn findable(&self, batch: &Batch<'_>, task: &Task) -> Vec<String> {
        if !self.model.find_names {
            return Vec::new();
        }
        let names = batch.kb.names_of(task.concept, task.group);
        findable(names.map(|name| name.text))
    }

    /// What counts in the answers for a task so far.
    fn drafts(&self, batch: &Batch<'_>, task: &Task, answers: &[ChatAnswer]) -> Vec<Draft> {
        drafts(
            answers,
            self.prompts.language(),
            &self.findable(batch, task),
            batch.sentences_per_concept,
        )
    }

    /// What a task that came to its end came to.
    fn outcome(
        &self,
        batch: &Batch<'_>,
        task: usize,
        outcome: Outcome,
    ) -> Result<Vec<Draft>, Failure> {
        match outcome {
            Outcome::Accepted(answers) => accepted(
                &answers,
                self.prompts.language(),
                &self.findable(batch, &batch.tasks[task]),
                batch.sentences_per_concept,
            ),
            Outcome::Failed { reason, answers } => Err(Failure {
                reason,
                last_answer: answers.into_iter().last().map(|answer| answer.text),
            }),
            Outcome::Pending => unreachable!("nothing is pending"),
        }
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
        let mut jobs = Concepts {
            batch,
            generator: self,
            keys: Vec::new(),
        };
        jobs.keys = jobs.rehearse(&ledger)?;
        export::write_tasks(&self.ledger, self, batch, &jobs.keys)?;
        let mut watch = self.watch.lock().unwrap_or_else(|e| e.into_inner());
        let finished = run(self.backend, &ledger, &jobs, &self.run, &mut **watch)?;
        if finished.pending > 0 {
            return Err(self.stopped(format!(
                "{} of {} concepts have no complete answer yet; the same command goes on where this one ended",
                finished.pending,
                batch.tasks.len()
            )));
        }
        // While the answers of some concepts are handed on, in order, those of the next are read.
        let read = |tasks: Range<usize>| -> Result<Vec<_>, Error> {
            tasks
                .into_par_iter()
                .map(|task| Ok(self.outcome(batch, task, finished.outcome(&ledger, task)?)))
                .collect()
        };
        let piece = |start: usize| start..(start + READ_AT_ONCE).min(batch.tasks.len());
        let mut here = read(piece(0))?;
        for start in (0..batch.tasks.len()).step_by(READ_AT_ONCE) {
            let mut next = Ok(Vec::new());
            rayon::in_place_scope(|scope| {
                let next = &mut next;
                if start + READ_AT_ONCE < batch.tasks.len() {
                    scope.spawn(|_| *next = read(piece(start + READ_AT_ONCE)));
                }
                for (task, answer) in piece(start).zip(here.drain(..)) {
                    deliver(task, answer);
                }
            });
            here = next?;
        }
        Ok(())
    }
}

/// The sentences of a concept that was accepted. A ledger may have accepted under other rules (`find_names`, fewer sentences) what
/// does not do now.
pub(crate) fn accepted(
    answers: &[ChatAnswer],
    language: Language,
    names: &[String],
    wanted: usize,
) -> Result<Vec<Draft>, Failure> {
    let drafts = drafts(answers, language, names, wanted);
    if drafts.len() >= wanted {
        return Ok(drafts);
    }
    Err(Failure {
        reason: format!(
            "{} of {wanted} sentences in answers that were accepted under other settings",
            drafts.len()
        ),
        last_answer: answers.last().map(|answer| answer.text.clone()),
    })
}

/// What counts in the answers so far, at most as many as are wanted.
fn drafts(
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
struct Concepts<'a, 'b> {
    batch: &'a Batch<'a>,
    generator: &'a OpenAi<'b>,
    /// Of the first requests.
    keys: Vec<Key>,
}

impl Concepts<'_, '_> {
    /// Renders what every concept may be asked, so that a template that fails for one of them is said before anything is
    /// paid for. Returns the keys of the jobs.
    fn rehearse(&self, ledger: &Ledger) -> Result<Vec<Key>, Error> {
        let wanted = self.batch.sentences_per_concept;
        let kept = vec!["kept".to_owned(); wanted];
        let again = self.generator.run.retry_failed;
        let task = Message::new(Role::System, self.generator.prompts.system());
        let keys = Keys::new(&self.generator.model.model, &task);
        let rehearse = |job: usize| {
            let key = keys.key(&self.ask(job, &[], 0)?);
            match ledger.state(&key) {
                // The first one stands for all.
                _ if job == 0 => {}
                Some(State::Accepted) => return Ok(key),
                Some(State::Failed) if !again => return Ok(key),
                _ => {}
            }
            // How many are missing is as good as the same for all concepts.
            for missing in 1..if job == 0 { wanted } else { wanted.min(2) } {
                self.conversation(job, &kept[missing..])?;
            }
            Ok(key)
        };
        (0..self.batch.tasks.len())
            .into_par_iter()
            .map(rehearse)
            .collect()
    }

    fn conversation(&self, job: usize, kept: &[String]) -> Result<Vec<Message>, Error> {
        let count = self.batch.sentences_per_concept - kept.len();
        let prompts = &self.generator.prompts;
        prompts.conversation(self.batch, &self.batch.tasks[job], count, kept)
    }

    fn ask(&self, job: usize, kept: &[String], attempt: usize) -> Result<ChatRequest, Error> {
        let model = &self.generator.model;
        let mut sampling = model.sampling.clone();
        if model.seeded && sampling.seed.is_none() {
            // Servers take 32 bits, some of them signed.
            let seed = self.batch.task_seed(&self.batch.tasks[job]);
            sampling.seed = Some(seed.wrapping_add(attempt as u64) & 0x7fff_ffff);
        }
        Ok(ChatRequest {
            model: model.model.clone(),
            messages: self.conversation(job, kept)?,
            sampling,
        })
    }
}

/// The templates were tried with every concept before the first request.
const TRIED: &str = "the templates were tried with every concept";

impl Jobs for Concepts<'_, '_> {
    fn len(&self) -> usize {
        self.batch.tasks.len()
    }

    fn request(&self, job: usize) -> ChatRequest {
        self.ask(job, &[], 0).expect(TRIED)
    }

    fn key(&self, job: usize) -> Key {
        self.keys[job]
    }

    fn verdict(&self, job: usize, answers: &[ChatAnswer]) -> Verdict {
        let wanted = self.batch.sentences_per_concept;
        let task = &self.batch.tasks[job];
        let drafts = self.generator.drafts(self.batch, task, answers);
        if drafts.len() >= wanted {
            return Verdict::Accept;
        }
        let reason = format!("{} of {wanted} sentences", drafts.len());
        if answers.len() >= self.generator.model.max_answers {
            let reason = format!("{reason} after {} answers", answers.len());
            return Verdict::Failed { reason };
        }
        let kept: Vec<String> = drafts.iter().map(shown).collect();
        let request = self.ask(job, &kept, answers.len()).expect(TRIED);
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
