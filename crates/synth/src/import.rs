//! Corpora that others generated, brought into the form that every generator here delivers.
//!
//! The authors publish their sets in two forms. A table with a row for each concept holds the code and what the language
//! model said: lines with bracketed mentions, or the word `FAIL` ([`Importer::answer`]). The BigBio files made from it have a
//! document for each sentence ([`Importer::document`]); early ones keep the brackets in the text, mark every other place
//! where the mention's words stand as well, and number mentions from 1 for each wording. Both come out as documents without brackets whose
//! mentions are the bracketed pieces.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, SpanChars, Split};
use syncabel_kb::{GroupId, Kb};

use crate::answer::bracketed_lines;
use crate::generator::Failure;
use crate::run::{FailedConcept, Place, SynthReport};
use crate::{Draft, Error};

/// Name of the generator where a corpus does not name its own.
pub const NAME: &str = "import";

/// The word by which the authors mark concepts without an answer that counts.
const FAIL: &str = "FAIL";

/// What was left out or changed on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCounts {
    /// Lines of answers that hold no sentence with a bracketed mention.
    pub lines_without_mention: usize,
    /// Sentences whose brackets were taken out of the text.
    pub brackets_removed: usize,
    /// Mentions dropped because they stood outside of the brackets of such a sentence.
    pub mentions_outside_brackets: usize,
    /// Sentences left out because the KB has none of their concepts.
    pub sentences_without_concept: usize,
    /// Documents that got another id because theirs had been used.
    pub renamed_documents: usize,
}

impl fmt::Display for ImportCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            (
                self.lines_without_mention,
                "lines without a bracketed mention left out",
            ),
            (self.brackets_removed, "sentences rid of their brackets"),
            (
                self.mentions_outside_brackets,
                "mentions outside of brackets dropped",
            ),
            (
                self.sentences_without_concept,
                "sentences left out, their concepts are not in the KB",
            ),
            (
                self.renamed_documents,
                "documents renamed, their ids had been used",
            ),
        ];
        for (count, what) in rows.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "{count} {what}")?;
        }
        Ok(())
    }
}

/// Where documents go.
pub type Sink<'a> = dyn FnMut(Document) -> Result<(), Error> + 'a;

/// Takes in a corpus piece by piece and counts.
#[derive(Debug)]
pub struct Importer<'a> {
    kb: &'a Kb,
    /// Labels that the experiment maps to groups.
    mapped: &'a BTreeMap<String, String>,
    report: SynthReport,
    counts: ImportCounts,
    concepts: BTreeSet<String>,
    unknown: BTreeSet<String>,
    ids: HashSet<String>,
    /// Sentences so far by code, for the ids of what comes from answers. Only looked up, never iterated.
    sentences: HashMap<String, usize>,
}

impl<'a> Importer<'a> {
    /// An importer for this KB. Labels in `mapped` stay as they are; others that are no group of the KB give way to the
    /// concept's group.
    pub fn new(kb: &'a Kb, mapped: &'a BTreeMap<String, String>) -> Self {
        Importer {
            kb,
            mapped,
            report: SynthReport {
                generator: NAME.to_owned(),
                ..SynthReport::default()
            },
            counts: ImportCounts::default(),
            concepts: BTreeSet::new(),
            unknown: BTreeSet::new(),
            ids: HashSet::new(),
            sentences: HashMap::new(),
        }
    }

    /// Takes in one document.
    ///
    /// # Errors
    /// Whatever `sink` returns.
    pub fn document(&mut self, mut document: Document, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.remove_brackets(&mut document);
        trim_end(&mut document);
        if !matches!(document.origin, Origin::Synthetic { .. }) {
            document.origin = Origin::Synthetic {
                generator: NAME.to_owned(),
            };
        }
        document.split = Some(Split::Train);
        self.take(document, sink)
    }

    /// Takes in what a language model answered for one concept.
    ///
    /// # Errors
    /// Whatever `sink` returns.
    pub fn answer(
        &mut self,
        code: &str,
        answer: &str,
        language: Language,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let (drafts, without) = bracketed_lines(answer, language);
        if drafts.is_empty() {
            let reason = match answer.contains(FAIL) {
                true => "marked FAIL",
                false => "no sentence with a bracketed mention",
            };
            self.concepts.insert(code.to_owned());
            self.report.failed.push(FailedConcept {
                code: code.to_owned(),
                group: String::new(),
                failure: Failure {
                    reason: reason.to_owned(),
                    last_answer: Some(answer.to_owned()),
                },
            });
            return Ok(());
        }
        self.counts.lines_without_mention += without;
        for draft in drafts {
            let document = self.drafted(code, draft)?;
            self.take(document, sink)?;
        }
        Ok(())
    }

    /// What was taken in.
    pub fn finish(mut self) -> SynthReport {
        let unknown = self.unknown.into_iter().map(|code| FailedConcept {
            code,
            group: String::new(),
            failure: Failure::new("the KB does not have this code"),
        });
        self.report.failed.extend(unknown);
        self.report.concepts = self.concepts.len();
        self.report.import = Some(self.counts);
        self.report
    }

    fn drafted(&mut self, code: &str, draft: Draft) -> Result<Document, Error> {
        let number = self.sentences.entry(code.to_owned()).or_default();
        *number += 1;
        let group = self.kb.resolve(code).and_then(|concept| {
            let group = self.kb.concept(concept).groups().next()?;
            Some(self.kb.group_name(group))
        });
        let place = Place {
            generator: NAME,
            code,
            group: group.unwrap_or_default(),
            several_groups: false,
        };
        place.document(*number, draft)
    }

    fn take(&mut self, mut document: Document, sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut known = false;
        for mention in &mut document.mentions {
            for code in mention.gold.codes() {
                self.concepts.insert(code.to_owned());
                if self.kb.resolve(code).is_none() {
                    self.unknown.insert(code.to_owned());
                }
            }
            let group = only_group(self.kb, &mention.gold);
            known |= mention
                .gold
                .codes()
                .any(|code| self.kb.resolve(code).is_some());
            let named = self.kb.group_id(&mention.label).is_some()
                || self.mapped.contains_key(&mention.label);
            if let (Some(group), false) = (group, named) {
                mention.label = self.kb.group_name(group).to_owned();
            }
        }
        if !known {
            self.counts.sentences_without_concept += 1;
            return Ok(());
        }
        self.number(&mut document);
        self.measure(&document);
        self.report.sentences += 1;
        self.report.mentions += document.mentions.len();
        sink(document)
    }

    /// Ids that are unique in the corpus and in the document.
    fn number(&mut self, document: &mut Document) {
        let mut again = 1;
        let mut id = document.id.clone();
        while !self.ids.insert(id.clone()) {
            again += 1;
            id = format!("{}#{again}", document.id);
        }
        self.counts.renamed_documents += usize::from(again > 1);
        let different: HashSet<&str> = document.mentions.iter().map(|m| m.id.as_str()).collect();
        if again > 1 || different.len() < document.mentions.len() {
            for (number, mention) in (1..).zip(&mut document.mentions) {
                mention.id = format!("{id}.{number}");
            }
        }
        document.id = id;
    }

    fn measure(&mut self, document: &Document) {
        for mention in &document.mentions {
            let concept = mention.gold.codes().find_map(|code| self.kb.resolve(code));
            let Some(concept) = concept else { continue };
            let groups = || self.kb.concept(concept).groups();
            let named = self.kb.group_id(&mention.label);
            let named = named.filter(|group| groups().any(|g| g == *group));
            if let Some(group) = named.or_else(|| groups().next()) {
                let distance = &mut self.report.distance;
                distance.add(self.kb, concept, group, &mention.text);
            }
        }
    }

    /// Takes brackets out of a text whose mentions stand in brackets, and keeps only those mentions.
    fn remove_brackets(&mut self, document: &mut Document) {
        let chars: Vec<char> = document.text.chars().collect();
        let inside = |mention: &Mention| match mention.spans[..] {
            [span] => {
                let before = (span.start as usize).checked_sub(1);
                before.is_some_and(|at| chars.get(at) == Some(&'['))
                    && chars.get(span.end as usize) == Some(&']')
            }
            _ => false,
        };
        let all = document.mentions.len();
        if !document.mentions.iter().any(inside) {
            return;
        }
        document.mentions.retain(inside);
        // A second entry for the same piece says nothing new.
        let mut seen = BTreeSet::new();
        document.mentions.retain(|m| seen.insert(m.spans[0].start));
        let mut gone = vec![false; chars.len()];
        for mention in &document.mentions {
            let span = mention.spans[0];
            gone[span.start as usize - 1] = true;
            gone[span.end as usize] = true;
            tag_behind(&chars, span.end as usize + 1).for_each(|at| gone[at] = true);
        }
        let mut left_before = Vec::with_capacity(chars.len() + 1);
        let mut left = 0u32;
        for gone in &gone {
            left_before.push(left);
            left += u32::from(!gone);
        }
        left_before.push(left);
        for mention in &mut document.mentions {
            let SpanChars { start, end } = mention.spans[0];
            let new = |at: u32| left_before[at as usize];
            mention.spans[0] = SpanChars::new(new(start), new(end));
        }
        let kept = chars.iter().zip(&gone).filter(|(_, gone)| !**gone);
        document.text = kept.map(|(c, _)| *c).collect();
        self.counts.brackets_removed += 1;
        self.counts.mentions_outside_brackets += all - document.mentions.len();
    }
}

/// The positions of a `{...}` that begins at `start`; none if there is no such thing.
fn tag_behind(chars: &[char], start: usize) -> std::ops::Range<usize> {
    let length = match chars.get(start) {
        Some('{') => chars[start..].iter().position(|c| *c == '}'),
        _ => None,
    };
    start..length.map_or(start, |length| start + length + 1)
}

/// Takes off white space behind the last mention: the authors' texts end with a line break.
fn trim_end(document: &mut Document) {
    let end = document.mentions.iter().map(Mention::end_chars).max();
    let end = end.unwrap_or(0) as usize;
    let chars = document.text.chars().count();
    let trimmed = document.text.trim_end().chars().count();
    let kept = trimmed.max(end.min(chars));
    document.text = document.text.chars().take(kept).collect();
}

/// The group of the first concept that the KB has, if it has only one.
fn only_group(kb: &Kb, gold: &Gold) -> Option<GroupId> {
    let concept = gold.codes().find_map(|code| kb.resolve(code))?;
    let mut groups = kb.concept(concept).groups();
    groups.next().filter(|_| groups.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_kb::{BuildOptions, RawConcept, build};

    fn kb() -> Kb {
        let concept = |(code, name): (&str, &str)| RawConcept {
            code: code.into(),
            preferred_name: name.into(),
            groups: vec!["Disorders".into()],
            ..RawConcept::default()
        };
        let concepts = [("C1", "Gout"), ("C2", "Edema")].map(concept);
        build(concepts.into(), vec![], &BuildOptions::default())
            .unwrap()
            .0
    }

    fn import(f: impl FnOnce(&mut Importer<'_>, &mut Sink<'_>)) -> (Vec<Document>, SynthReport) {
        let (kb, mapped) = (kb(), BTreeMap::new());
        let mut documents = Vec::new();
        let mut importer = Importer::new(&kb, &mapped);
        f(&mut importer, &mut |document| {
            documents.push(document);
            Ok(())
        });
        let report = importer.finish();
        for document in &documents {
            document.validate().unwrap();
        }
        (documents, report)
    }

    fn mention(start: u32, text: &str, code: &str) -> Mention {
        Mention {
            id: "0_0_T1".into(),
            spans: vec![SpanChars::new(start, start + text.chars().count() as u32)],
            text: text.into(),
            label: "LLM_generated".into(),
            gold: Gold::one(code),
        }
    }

    fn document(text: &str, mentions: Vec<Mention>) -> Document {
        Document {
            id: "0_0".into(),
            text: text.into(),
            language: Language::Fr,
            split: None,
            origin: Origin::Human,
            mentions,
        }
    }

    #[test]
    fn brackets_in_the_text_go_and_only_bracketed_pieces_stay() {
        let text = "L'[œdème] 🤒 puis la [goutte]{X} ; la goutte.\n";
        let mentions = vec![
            mention(3, "œdème", "C2"),
            mention(21, "goutte", "C1"),
            mention(37, "goutte", "C1"),
        ];
        let (documents, report) = import(|importer, sink| {
            importer
                .document(document(text, mentions.clone()), sink)
                .unwrap();
            importer
                .document(
                    document("la goutte\n", vec![mention(3, "goutte", "C1")]),
                    sink,
                )
                .unwrap();
            importer
                .document(document("la fin", vec![mention(3, "fin", "C9")]), sink)
                .unwrap();
        });
        assert_eq!(documents[0].text, "L'œdème 🤒 puis la goutte ; la goutte.");
        let ids: Vec<&str> = documents[0]
            .mentions
            .iter()
            .map(|m| m.id.as_str())
            .collect();
        assert_eq!(ids, ["0_0.1", "0_0.2"], "the authors' ids repeat");
        assert_eq!(documents[0].mentions[0].label, "Disorders");
        assert_eq!(documents[1].text, "la goutte");
        assert_eq!(documents[1].id, "0_0#2");
        let origin = Origin::Synthetic {
            generator: NAME.into(),
        };
        assert_eq!(
            (&documents[1].origin, documents[1].split),
            (&origin, Some(Split::Train))
        );
        let expected = ImportCounts {
            brackets_removed: 1,
            mentions_outside_brackets: 1,
            sentences_without_concept: 1,
            renamed_documents: 1,
            ..ImportCounts::default()
        };
        assert_eq!(report.import, Some(expected));
        assert_eq!(
            (report.concepts, report.sentences, report.mentions),
            (3, 2, 3)
        );
        assert_eq!(report.failed[0].code, "C9");
    }

    #[test]
    fn answers_become_sentences_and_failures_stay_on_record() {
        let (documents, report) = import(|importer, sink| {
            let answer =
                "The [gout] was seen.\nSure, here it is:\nexample: HEART FAILURE and [gout].\n";
            importer.answer("C1", answer, Language::En, sink).unwrap();
            importer
                .answer("C1", "More [gouts].", Language::En, sink)
                .unwrap();
            importer.answer("C2", "FAIL", Language::En, sink).unwrap();
        });
        let ids: Vec<&str> = documents.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["import:C1:1", "import:C1:2", "import:C1:3"]);
        assert_eq!(documents[1].text, "HEART FAILURE and gout.");
        assert_eq!(report.import.unwrap().lines_without_mention, 1);
        assert_eq!(report.distance.case_only, 2);
        assert_eq!(
            (report.failed.len(), report.failed[0].code.as_str()),
            (1, "C2")
        );
        assert_eq!(report.failed[0].failure.reason, "marked FAIL");
    }
}
