//! From a generator's answers to a corpus and a report.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::{CharIndex, Corpus, Document, Gold, Mention, Origin};
use syncabel_kb::{ConceptId, GroupId, Kb};

use crate::contexts::{ContextCounts, TrainSentences};
use crate::generator::{Batch, Draft, Failure, Generator, Task};
use crate::import::ImportCounts;
use crate::transplant::Operation;
use crate::{Error, Selection};

/// What is to be generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthOptions {
    /// For which concepts.
    pub selection: Selection,
    /// Sentences per concept and semantic group.
    pub sentences_per_concept: usize,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Keep the story of every mention in the report.
    pub records: bool,
}

impl Default for SynthOptions {
    /// All concepts, three sentences each (the paper's number for English), seed 42.
    fn default() -> Self {
        SynthOptions {
            selection: Selection::default(),
            sentences_per_concept: 3,
            seed: 42,
            records: true,
        }
    }
}

/// What a generation did, with the story of every mention.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SynthReport {
    /// Name of the generator.
    pub generator: String,
    /// Concepts asked for; one in several groups counts once for each.
    pub concepts: usize,
    /// Concepts that failed.
    pub failed: Vec<FailedConcept>,
    /// Sentences made.
    pub sentences: usize,
    /// Mentions in them.
    pub mentions: usize,
    /// How far mentions are from the KB's names of their concept.
    pub distance: Distance,
    /// How often each operation was applied.
    pub operations: BTreeMap<Operation, usize>,
    /// Different human sentences used.
    pub contexts_used: usize,
    /// How often the most used human document was used.
    pub most_used_context: usize,
    /// What the human corpus offered.
    pub contexts: ContextCounts,
    /// One line per mention.
    pub records: Vec<MentionRecord>,
    /// What the import of a corpus left out or changed; `None` for what was generated here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportCounts>,
}

/// How far mentions are from the names of their concept, by count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distance {
    /// The mention is a name, letter by letter.
    pub name: usize,
    /// The mention is a name apart from capitals.
    pub case_only: usize,
    /// The mention is no name of the concept.
    pub changed: usize,
}

impl Distance {
    /// Counts one mention of a concept.
    pub(crate) fn add(&mut self, kb: &Kb, concept: ConceptId, group: GroupId, mention: &str) {
        let names = || kb.names_of(concept, group).map(|name| name.text);
        let folded = mention.to_lowercase();
        *(if names().any(|name| name == mention) {
            &mut self.name
        } else if names().any(|name| name.to_lowercase() == folded) {
            &mut self.case_only
        } else {
            &mut self.changed
        }) += 1;
    }
}

/// A concept without sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedConcept {
    /// Its code.
    pub code: String,
    /// Semantic group.
    pub group: String,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}

/// How a mention came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MentionRecord {
    /// Synthetic document.
    pub document: String,
    /// Code of the concept.
    pub code: String,
    /// The mention.
    pub mention: String,
    /// The KB name it was made from.
    pub source_name: Option<String>,
    /// What was done to the name, in order.
    pub operations: Vec<Operation>,
    /// Human document whose sentence was used.
    pub context: Option<String>,
}

/// Runs a generator over a selection of concepts.
///
/// The documents are ordered by concept, group and number, carry `Origin::Synthetic` and have ids such as
/// `transplant:D003924:2` (with the group in between where a concept has several). One sentence is one document. The
/// label of a mention is its semantic group.
///
/// # Errors
/// Those of the selection, of the generator, and [`Error::BadDraft`], [`Error::BadDelivery`] for a generator that
/// breaks its promises.
pub fn synthesise(
    generator: &dyn Generator,
    kb: &Kb,
    contexts: &TrainSentences,
    options: &SynthOptions,
) -> Result<(Corpus, SynthReport), Error> {
    let mut documents = Vec::new();
    let report = synthesise_into(generator, kb, contexts, options, &mut |document| {
        documents.push(document);
        Ok(())
    })?;
    Ok((Corpus { documents }, report))
}

/// As [`synthesise`], handing each document to `sink` as soon as its turn has come: a corpus need not fit into memory.
/// With a generator that delivers in order (`openai` does), nothing is held back.
///
/// # Errors
/// As [`synthesise`], and whatever `sink` returns.
pub fn synthesise_into(
    generator: &dyn Generator,
    kb: &Kb,
    contexts: &TrainSentences,
    options: &SynthOptions,
    sink: &mut dyn FnMut(Document) -> Result<(), Error>,
) -> Result<SynthReport, Error> {
    if options.sentences_per_concept == 0 {
        return Err(Error::NoSentences);
    }
    let pairs = options.selection.resolve(kb)?;
    let tasks: Vec<Task> = pairs
        .into_iter()
        .map(|(concept, group)| Task { concept, group })
        .collect();
    let batch = Batch {
        kb,
        contexts,
        tasks: &tasks,
        sentences_per_concept: options.sentences_per_concept,
        seed: options.seed,
    };
    let mut writer = Writer::new(generator.name(), kb, options.records);
    in_order(generator, &batch, |task, answer| {
        writer.add(&tasks[task], answer, sink)
    })?;
    Ok(writer.finish(tasks.len(), contexts.counts()))
}

type Answer = Result<Vec<Draft>, Failure>;

/// Calls `f` with the answer of every task, in order; answers that come early wait.
fn in_order(
    generator: &dyn Generator,
    batch: &Batch<'_>,
    mut f: impl FnMut(usize, Answer) -> Result<(), Error>,
) -> Result<(), Error> {
    let bad = |task, times| Error::BadDelivery {
        generator: generator.name().to_owned(),
        task,
        times,
    };
    let mut waiting: BTreeMap<usize, Answer> = BTreeMap::new();
    let mut next = 0;
    let mut broken = None;
    generator.generate(batch, &mut |task, answer| {
        if broken.is_some() {
            return;
        }
        if task >= batch.tasks.len() {
            broken = Some(bad(task, 1));
        } else if task < next || waiting.insert(task, answer).is_some() {
            broken = Some(bad(task, 2));
        }
        while let (None, Some(answer)) = (&broken, waiting.remove(&next)) {
            broken = f(next, answer).err();
            next += 1;
        }
    })?;
    match broken {
        Some(broken) => Err(broken),
        None if next < batch.tasks.len() => Err(bad(next, 0)),
        None => Ok(()),
    }
}

/// What a synthetic document is about, for its id and annotation.
pub(crate) struct Place<'a> {
    pub(crate) generator: &'a str,
    pub(crate) code: &'a str,
    pub(crate) group: &'a str,
    /// Whether the concept is in several groups, so that the group has to be in the id.
    pub(crate) several_groups: bool,
}

impl Place<'_> {
    /// The document of a draft, the `number`th of its concept, from 1.
    pub(crate) fn document(&self, number: usize, draft: Draft) -> Result<Document, Error> {
        let Place {
            generator,
            code,
            group,
            ..
        } = *self;
        let id = if self.several_groups {
            format!("{generator}:{code}:{group}:{number}")
        } else {
            format!("{generator}:{code}:{number}")
        };
        let index = CharIndex::new(&draft.text);
        let mut mentions = Vec::with_capacity(draft.mentions.len());
        for (number, mention) in (1..).zip(draft.mentions) {
            let span = mention.span;
            let Some(covered) = index.slice(span).filter(|covered| !covered.is_empty()) else {
                return Err(Error::BadDraft {
                    generator: generator.to_owned(),
                    code: code.to_owned(),
                    start: span.start,
                    end: span.end,
                    length: index.len_chars(),
                });
            };
            mentions.push(Mention {
                id: format!("{id}.{number}"),
                spans: vec![span],
                text: covered.to_owned(),
                label: group.to_owned(),
                gold: Gold::one(code),
            });
        }
        Ok(Document {
            id,
            text: draft.text,
            language: draft.language,
            split: Some(syncabel_corpus::Split::Train),
            origin: Origin::Synthetic {
                generator: generator.to_owned(),
            },
            mentions,
        })
    }
}

/// Turns answers into documents and counts.
struct Writer<'a> {
    generator: &'a str,
    kb: &'a Kb,
    records: bool,
    report: SynthReport,
    context_uses: BTreeMap<String, usize>,
}

impl<'a> Writer<'a> {
    fn new(generator: &'a str, kb: &'a Kb, records: bool) -> Self {
        let report = SynthReport {
            generator: generator.to_owned(),
            ..SynthReport::default()
        };
        Writer {
            generator,
            kb,
            records,
            report,
            context_uses: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        task: &Task,
        answer: Answer,
        sink: &mut dyn FnMut(Document) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let concept = self.kb.concept(task.concept);
        let code = concept.code().to_owned();
        let group = self.kb.group_name(task.group).to_owned();
        let drafts = match answer {
            Ok(drafts) => drafts,
            Err(failure) => {
                self.report.failed.push(FailedConcept {
                    code,
                    group,
                    failure,
                });
                return Ok(());
            }
        };
        let place = Place {
            generator: self.generator,
            code: &code,
            group: &group,
            several_groups: concept.groups().count() > 1,
        };
        for (number, draft) in (1..).zip(drafts) {
            let context = draft.context.clone();
            let story: Vec<_> = draft
                .mentions
                .iter()
                .map(|m| (m.source_name.clone(), m.operations.clone()))
                .collect();
            let document = place.document(number, draft)?;
            self.count(task, &document, &code, story, context);
            self.report.sentences += 1;
            self.report.mentions += document.mentions.len();
            sink(document)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        task: &Task,
        document: &Document,
        code: &str,
        story: Vec<(Option<String>, Vec<Operation>)>,
        context: Option<String>,
    ) {
        for (mention, (source_name, operations)) in document.mentions.iter().zip(story) {
            let distance = &mut self.report.distance;
            distance.add(self.kb, task.concept, task.group, &mention.text);
            for operation in &operations {
                *self.report.operations.entry(*operation).or_default() += 1;
            }
            if self.records {
                self.report.records.push(MentionRecord {
                    document: document.id.clone(),
                    code: code.to_owned(),
                    mention: mention.text.clone(),
                    source_name,
                    operations,
                    context: context.clone(),
                });
            }
        }
        if let Some(context) = context {
            *self.context_uses.entry(context).or_default() += 1;
        }
    }

    fn finish(mut self, concepts: usize, contexts: ContextCounts) -> SynthReport {
        self.report.concepts = concepts;
        self.report.contexts = contexts;
        self.report.contexts_used = self.context_uses.len();
        self.report.most_used_context = self.context_uses.values().copied().max().unwrap_or(0);
        self.report
    }
}

impl fmt::Display for SynthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} sentences for {} concepts",
            self.generator, self.sentences, self.concepts
        )?;
        match &self.import {
            Some(counts) => counts.fmt(f)?,
            None => writeln!(
                f,
                "{} human documents used, the busiest {} times",
                self.contexts_used, self.most_used_context
            )?,
        }
        let share = |count: usize| count as f64 * 100.0 / self.mentions.max(1) as f64;
        let Distance {
            name,
            case_only,
            changed,
        } = self.distance;
        write!(
            f,
            "mentions: {:.1}% are a KB name, {:.1}% one but for case, ",
            share(name),
            share(case_only)
        )?;
        writeln!(f, "{:.1}% are none", share(changed))?;
        for (operation, count) in &self.operations {
            writeln!(
                f,
                "  {:22} {count:>8}  {:>5.1}%",
                operation.to_string(),
                share(*count)
            )?;
        }
        if !self.failed.is_empty() {
            writeln!(f, "{} concepts failed:", self.failed.len())?;
            let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
            for failed in &self.failed {
                *reasons.entry(&failed.failure.reason).or_default() += 1;
            }
            for (reason, count) in reasons {
                writeln!(f, "  {count} × {reason}")?;
            }
        }
        Ok(())
    }
}
