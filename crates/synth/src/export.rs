//! From a ledger to a corpus, without KB, corpus or server: what `synth export` does.
//!
//! Beside its ledger a generation leaves `tasks.jsonl`: what it was about, then one line for each concept with the key
//! of its job. It is written before the first request, so it is there however the run ends.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncabel_corpus::{Document, Language};
use syncabel_llm::{Key, Ledger, Outcome};

use crate::Error;
use crate::generator::{Batch, Failure, Generator};
use crate::openai::{OpenAi, accepted};
use crate::run::{FailedConcept, Place};

const TASKS: &str = "tasks.jsonl";

/// What a generation was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    generator: String,
    language: Language,
    sentences_per_concept: usize,
}

/// One concept of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedTask {
    /// Its code.
    pub code: String,
    /// Semantic group.
    pub group: String,
    /// Whether the concept is in several groups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several_groups: bool,
    /// Names that are mentions in lines without brackets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The job; earlier versions left it out where it was not reached.
    pub key: Option<Key>,
}

/// What an export found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Concepts of the generation.
    pub concepts: usize,
    /// Sentences handed out.
    pub sentences: usize,
    /// Concepts that failed.
    pub failed: Vec<FailedConcept>,
    /// Concepts without an end yet.
    pub pending: usize,
}

/// Hands out the documents of a ledger, in the order of the concepts, whoever was answered first.
///
/// # Errors
/// A folder that is no ledger of a generation; whatever `sink` returns.
pub fn export(
    dir: &Path,
    sink: &mut dyn FnMut(Document) -> Result<(), Error>,
) -> Result<Export, Error> {
    let ledger = Ledger::read(dir)?;
    let path = dir.join(TASKS);
    let bad = |reason: String| Error::Tasks {
        path: path.clone(),
        reason,
    };
    let file = File::open(&path).map_err(|error| {
        bad(format!("{error}; it is written when a run begins: run the generation again, what is answered is not asked again"))
    })?;
    let mut lines = BufReader::new(file).lines();
    let mut line = |number: usize| match lines.next() {
        Some(Ok(line)) => Ok(Some(line)),
        Some(Err(error)) => Err(bad(format!("line {number}: {error}"))),
        None => Ok(None),
    };
    let head = line(1)?.ok_or_else(|| bad("it is empty".to_owned()))?;
    let head: Head = serde_json::from_str(&head).map_err(|e| bad(format!("line 1: {e}")))?;
    let mut export = Export::default();
    let mut number = 1;
    while let Some(text) = line(number + 1)? {
        number += 1;
        let task: ExportedTask =
            serde_json::from_str(&text).map_err(|e| bad(format!("line {number}: {e}")))?;
        export.concepts += 1;
        let outcome = match &task.key {
            Some(key) => ledger.outcome(key)?,
            None => Outcome::Pending,
        };
        export.add(&head, task, outcome, sink)?;
    }
    Ok(export)
}

impl Export {
    fn add(
        &mut self,
        head: &Head,
        task: ExportedTask,
        outcome: Outcome,
        sink: &mut dyn FnMut(Document) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let drafts = match outcome {
            Outcome::Pending => {
                self.pending += 1;
                return Ok(());
            }
            Outcome::Failed { reason, answers } => Err(Failure {
                reason,
                last_answer: answers.into_iter().last().map(|answer| answer.text),
            }),
            Outcome::Accepted(answers) => accepted(
                &answers,
                head.language,
                &task.names,
                head.sentences_per_concept,
            ),
        };
        match drafts {
            Ok(drafts) => {
                let place = Place {
                    generator: &head.generator,
                    code: &task.code,
                    group: &task.group,
                    several_groups: task.several_groups,
                };
                for (number, draft) in (1..).zip(drafts) {
                    self.sentences += 1;
                    sink(place.document(number, draft)?)?;
                }
            }
            Err(failure) => self.failed.push(FailedConcept {
                code: task.code,
                group: task.group,
                failure,
            }),
        }
        Ok(())
    }
}

/// Writes the tasks of a batch with their keys beside the ledger.
pub(crate) fn write_tasks(
    dir: &Path,
    generator: &OpenAi<'_>,
    batch: &Batch<'_>,
    keys: &[Key],
) -> Result<(), Error> {
    let path = dir.join(TASKS);
    let partial = path.with_extension("partial");
    let head = Head {
        generator: generator.name().to_owned(),
        language: generator.language(),
        sentences_per_concept: batch.sentences_per_concept,
    };
    let tasks = batch.tasks.iter().zip(keys).map(|(task, key)| {
        let concept = batch.kb.concept(task.concept);
        ExportedTask {
            code: concept.code().to_owned(),
            group: batch.kb.group_name(task.group).to_owned(),
            several_groups: concept.groups().count() > 1,
            names: generator.findable(batch, task),
            key: Some(*key),
        }
    });
    let write = |path: &PathBuf| -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer(&mut file, &head)?;
        for task in tasks {
            file.write_all(b"\n")?;
            serde_json::to_writer(&mut file, &task)?;
        }
        file.write_all(b"\n")?;
        file.into_inner()?.sync_all()
    };
    write(&partial)
        .and_then(|()| std::fs::rename(&partial, &path))
        .map_err(|source| Error::Write { path, source })
}
