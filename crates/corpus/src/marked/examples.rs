//! Training rows: prompt and completion for every mention whose gold the KB can name.

use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_kb::Kb;
use syncabel_kb::select::NameSelector;

use super::group::{self, Target};
use super::{MarkOptions, Marker, completion};
use crate::document::{Corpus, Document, Mention, Origin};
use crate::error::Error;

/// One training row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Document id.
    pub document: String,
    /// Mention id.
    pub mention_id: String,
    /// Semantic group of the tag; several of a composite are joined with [`super::SEP`].
    pub group: String,
    /// What the model is given.
    pub prompt: String,
    /// What it is to write.
    pub completion: String,
    /// Primary codes of every gold concept the KB has, over all alternatives, each once, in gold order.
    pub codes: Vec<String>,
    /// Who annotated the document.
    pub origin: Origin,
}

/// What became of the mentions on their way to training rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExampleReport {
    /// Documents seen.
    pub documents: usize,
    /// Mentions seen.
    pub mentions: usize,
    /// Rows made.
    pub examples: usize,
    /// Rows whose target has several names.
    pub composites: usize,
    /// Rows whose target is not the first alternative, which the KB cannot name.
    pub later_alternatives: usize,
    /// Rows whose mention an abbreviation step changed.
    pub expanded_mentions: usize,
    /// Dropped: the mention has no gold concept.
    pub dropped_without_concept: usize,
    /// Dropped: in every alternative some code is not in the KB.
    pub dropped_unknown_code: usize,
    /// Dropped: the codes are in the KB, but one has no name there under the mention's group.
    pub dropped_without_name: usize,
    /// Up to ten codes that are not in the KB, in order of appearance.
    pub unknown_code_samples: Vec<String>,
}

impl ExampleReport {
    /// Mentions that gave no row.
    pub fn dropped(&self) -> usize {
        self.dropped_without_concept + self.dropped_unknown_code + self.dropped_without_name
    }

    fn note_unknown(&mut self, mention: &Mention, kb: &Kb) {
        const SAMPLES: usize = 10;
        for code in mention
            .gold
            .codes()
            .filter(|code| kb.resolve(code).is_none())
        {
            if self.unknown_code_samples.len() < SAMPLES
                && !self.unknown_code_samples.iter().any(|s| s == code)
            {
                self.unknown_code_samples.push(code.to_owned());
            }
        }
    }
}

impl fmt::Display for ExampleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} examples from {} mentions of {} documents",
            self.examples, self.mentions, self.documents
        )?;
        let rows = [
            (self.composites, "with a composite target"),
            (
                self.later_alternatives,
                "with a later alternative as target",
            ),
            (self.expanded_mentions, "with an expanded abbreviation"),
            (self.dropped_without_concept, "dropped: no gold concept"),
            (self.dropped_unknown_code, "dropped: code not in the KB"),
            (
                self.dropped_without_name,
                "dropped: no name in the mention's group",
            ),
        ];
        for (count, what) in rows.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "  {count:>8} {what}")?;
        }
        if !self.unknown_code_samples.is_empty() {
            writeln!(
                f,
                "           not in the KB, for instance: {}",
                self.unknown_code_samples.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Makes the training rows of a corpus, in corpus order: one per mention.
///
/// The target is the first alternative of which the KB has every concept and the selector a name for each; the names of
/// a composite are joined with [`super::SEP`]. Names are selected by the mention as the model sees it. Mentions without such an alternative
/// are dropped and counted.
///
/// # Errors
/// A bad span, or a group in [`super::GroupRule`] that the KB does not have.
pub fn examples(
    corpus: &Corpus,
    kb: &Kb,
    selector: &NameSelector,
    options: &MarkOptions,
) -> Result<(Vec<Example>, ExampleReport), Error> {
    let mut report = ExampleReport::default();
    let mut rows = Vec::with_capacity(corpus.mention_count());
    for doc in &corpus.documents {
        report.documents += 1;
        report.mentions += doc.mentions.len();
        if doc.mentions.is_empty() {
            continue;
        }
        let maker = Maker {
            doc,
            kb,
            selector,
            options,
            marker: Marker::new(doc, options),
        };
        for mention in &doc.mentions {
            rows.extend(maker.example(mention, &mut report)?);
        }
    }
    report.examples = rows.len();
    Ok((rows, report))
}

struct Maker<'a> {
    doc: &'a Document,
    kb: &'a Kb,
    selector: &'a NameSelector,
    options: &'a MarkOptions,
    marker: Marker<'a>,
}

impl Maker<'_> {
    fn example(
        &self,
        mention: &Mention,
        report: &mut ExampleReport,
    ) -> Result<Option<Example>, Error> {
        if mention.gold.is_none() {
            report.dropped_without_concept += 1;
            return Ok(None);
        }
        // Names are chosen by the mention alone; the sentence is built once the target, hence the tag, is known.
        let shown = self.shown(mention);
        let mut codes_known = false;
        for (i, alternative) in mention.gold.alternatives.iter().enumerate() {
            let (targets, whole) = group::targets(
                self.doc,
                mention,
                alternative,
                self.kb,
                &self.options.groups,
            )?;
            if !whole {
                continue;
            }
            codes_known = true;
            let Some(names) = self.names(&shown, &targets) else {
                continue;
            };
            let marked = self
                .marker
                .mark(mention, group::tag_of(&targets, self.kb))?;
            report.composites += usize::from(names.len() > 1);
            report.later_alternatives += usize::from(i > 0);
            report.expanded_mentions +=
                usize::from(marked.mention != super::clean_context(&marked.span));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Ok(Some(Example {
                prompt: marked.prompt(),
                completion: completion(&names),
                document: marked.document,
                mention_id: marked.mention_id,
                group: marked.group,
                codes: self.codes(mention),
                origin: marked.origin,
            }));
        }
        if codes_known {
            report.dropped_without_name += 1;
        } else {
            report.dropped_unknown_code += 1;
            report.note_unknown(mention, self.kb);
        }
        Ok(None)
    }

    /// The mention as the model sees it.
    fn shown(&self, mention: &Mention) -> String {
        let fragments: Vec<String> = mention
            .spans
            .iter()
            .map(|&span| self.marker.fragment_text(span))
            .collect();
        fragments.join(" ")
    }

    /// The selected name of each target; `None` if one has none.
    fn names(&self, shown: &str, targets: &[Target]) -> Option<Vec<String>> {
        let name = |target: &Target| {
            let id = self
                .selector
                .select(self.kb, shown, target.concept, target.group)?;
            Some(self.kb.name(id).text.to_owned())
        };
        targets.iter().map(name).collect()
    }

    fn codes(&self, mention: &Mention) -> Vec<String> {
        let mut codes: Vec<String> = Vec::new();
        for concept in mention
            .gold
            .codes()
            .filter_map(|code| self.kb.resolve(code))
        {
            let code = self.kb.concept(concept).code().to_owned();
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }
}
