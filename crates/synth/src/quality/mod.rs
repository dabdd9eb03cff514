//! How good is a synthetic sentence? Filters by name, each of which can be switched on and tuned, with counts and samples.
//!
//! A sentence is dropped if any filter that is on rejects it. Every filter looks at every sentence, so the counts do not depend
//! on an order of filters; sentences that were dropped are not compared with later ones. `round_trip` alone comes behind the others and
//! looks at what they kept: it needs a trained linker, which whoever runs it brings along ([`LaterFilter`]).
//!
//! # Cost
//! Bench `synthesis`. In memory stay signatures of 96 bytes and up to twelve table entries a sentence for near-duplicates, a hash a
//! sentence for repetitions, and a hash for each word of the human corpus.

mod human;
mod similar;
mod words;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use syncabel_corpus::{Corpus, Document, Mention, Split};
use syncabel_kb::{ConceptId, GroupId, Kb};

use self::human::HumanText;
use self::similar::{NearDuplicates, Sketch, hash_words, nearness};
pub(crate) use self::words::words as words_of_text;
use self::words::{other_language, other_script, words};

/// The filters of an experiment; one that is left out is off. `filters: all` switches on every one but `round_trip`, with its
/// defaults; `filters: all_with_round_trip` that one as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    /// The mention does not stand where it should, is cut out of a longer word, or has no letter.
    pub mention: Option<MentionFilter>,
    /// The sentence is in another language or script than the corpus.
    pub language: Option<LanguageFilter>,
    /// The sentence is too short or too long.
    pub length: Option<LengthFilter>,
    /// The sentence stands in the corpus already, capitals and punctuation aside.
    pub repeated: Option<RepeatedFilter>,
    /// The sentence is nearly one that stands in the corpus already.
    pub near_duplicate: Option<NearDuplicateFilter>,
    /// The sentence shares a long run of words with a human document.
    pub human_copy: Option<HumanCopyFilter>,
    /// The mention is far from every name of its concept.
    pub far_from_names: Option<FarFromNamesFilter>,
    /// The mention is a name of another concept of the group, and none of its own.
    pub other_concept: Option<OtherConceptFilter>,
    /// A linker trained on human data alone does not find the concept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTripFilter>,
}

/// See [`Filters::round_trip`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundTripFilter {
    /// The concept of every mention must be among this many that the linker ranks highest.
    pub top_k: usize,
    /// Settings of the linker's training that differ from the experiment's, by their names there (`epochs`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub train: BTreeMap<String, serde_json::Value>,
}

impl Default for RoundTripFilter {
    fn default() -> Self {
        RoundTripFilter {
            top_k: 5,
            train: BTreeMap::new(),
        }
    }
}

/// Name of the filter that needs a trained linker.
pub const ROUND_TRIP: &str = "round_trip";

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {}
    };
}

switch!(
    /// See [`Filters::mention`].
    MentionFilter
);
switch!(
    /// See [`Filters::language`].
    LanguageFilter
);
switch!(
    /// See [`Filters::repeated`].
    RepeatedFilter
);
switch!(
    /// See [`Filters::other_concept`].
    OtherConceptFilter
);

/// See [`Filters::length`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LengthFilter {
    /// Fewest words.
    pub min_words: usize,
    /// Most words.
    pub max_words: usize,
}

impl Default for LengthFilter {
    /// 5 to 60 words: wider than what is asked for, since a good sentence of 12 words is no worse for being short.
    fn default() -> Self {
        LengthFilter {
            min_words: 5,
            max_words: 60,
        }
    }
}

/// See [`Filters::near_duplicate`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NearDuplicateFilter {
    /// Jaccard similarity of word trigrams from which on two sentences count as the same.
    pub similarity: f64,
    /// Compare the sentences without their mentions, which finds one phrase used for many concepts.
    pub without_mention: bool,
}

impl Default for NearDuplicateFilter {
    fn default() -> Self {
        NearDuplicateFilter {
            similarity: 0.7,
            without_mention: false,
        }
    }
}

/// See [`Filters::human_copy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HumanCopyFilter {
    /// Words in a row that must not be shared; a human sentence that is shorter must not be repeated whole.
    pub words: usize,
    /// Splits that are looked at. Left at its default, `train` is not among them for `transplant`, whose sentences are human
    /// training sentences.
    pub splits: Vec<Split>,
}

impl Default for HumanCopyFilter {
    fn default() -> Self {
        HumanCopyFilter {
            words: 8,
            splits: vec![Split::Train, Split::Validation, Split::Test],
        }
    }
}

/// See [`Filters::far_from_names`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FarFromNamesFilter {
    /// Least nearness to some name: Dice coefficient of character trigrams, 0 to 1; initials count as 1.
    pub nearness: f64,
}

impl Default for FarFromNamesFilter {
    fn default() -> Self {
        FarFromNamesFilter { nearness: 0.3 }
    }
}

impl Filters {
    /// Every filter that needs no model, with its defaults.
    pub fn all() -> Self {
        Filters {
            mention: Some(MentionFilter::default()),
            language: Some(LanguageFilter::default()),
            length: Some(LengthFilter::default()),
            repeated: Some(RepeatedFilter::default()),
            near_duplicate: Some(NearDuplicateFilter::default()),
            human_copy: Some(HumanCopyFilter::default()),
            far_from_names: Some(FarFromNamesFilter::default()),
            other_concept: Some(OtherConceptFilter::default()),
            round_trip: None,
        }
    }

    /// Every filter with its defaults.
    pub fn all_with_round_trip() -> Self {
        Filters {
            round_trip: Some(RoundTripFilter::default()),
            ..Filters::all()
        }
    }

    /// The filters for a generator that writes names into human training sentences: `human_copy` with its default splits
    /// would reject them all, and looks at validation and test only.
    pub fn for_transplant(&self) -> Self {
        let mut filters = self.clone();
        if let Some(copy) = &mut filters.human_copy
            && copy.splits == HumanCopyFilter::default().splits
        {
            copy.splits.retain(|split| *split != Split::Train);
        }
        filters
    }

    /// The filters that need no model.
    pub fn without_model(&self) -> Self {
        Filters {
            round_trip: None,
            ..self.clone()
        }
    }

    /// Names of the filters that are on, in the order of the fields.
    pub fn names(&self) -> Vec<&'static str> {
        let on = [
            ("mention", self.mention.is_some()),
            ("language", self.language.is_some()),
            ("length", self.length.is_some()),
            ("repeated", self.repeated.is_some()),
            ("near_duplicate", self.near_duplicate.is_some()),
            ("human_copy", self.human_copy.is_some()),
            ("far_from_names", self.far_from_names.is_some()),
            ("other_concept", self.other_concept.is_some()),
            (ROUND_TRIP, self.round_trip.is_some()),
        ];
        on.into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| name)
            .collect()
    }
}

/// What the filters did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// Sentences looked at.
    pub sentences: usize,
    /// Sentences kept.
    pub kept: usize,
    /// By filter, in the order of [`Filters`].
    pub filters: Vec<FilterCount>,
    /// Sentences that share a run of words with a human document, by split: none of validation or test is the proof that
    /// nothing leaked into a prompt. Counted where `human_copy` is on.
    pub copies_by_split: BTreeMap<Split, usize>,
}

/// What one filter did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCount {
    /// Its name.
    pub name: String,
    /// Sentences it rejected.
    pub rejected: usize,
    /// Of these, sentences that no other filter rejected.
    pub alone: usize,
    /// A seeded sample of them.
    pub samples: Vec<Reject>,
}

/// A rejected sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The document.
    pub document: String,
    /// Its text.
    pub text: String,
    /// The first mention.
    pub mention: String,
    /// What the filter found.
    pub why: String,
}

/// Rejects kept as samples for each filter.
const SAMPLES: usize = 10;

/// Filters at work on a stream of sentences.
#[derive(Debug)]
pub struct Quality<'a> {
    kb: &'a Kb,
    filters: Filters,
    human: HumanText,
    seen: HashSet<u64>,
    near: NearDuplicates,
    rng: ChaCha8Rng,
    report: FilterReport,
}

impl<'a> Quality<'a> {
    /// Filters over a corpus for this KB. `human` are all human documents, with their splits: they are compared with, never
    /// copied from.
    pub fn new(kb: &'a Kb, human: &[&Corpus], filters: &Filters) -> Self {
        let human = match &filters.human_copy {
            Some(copy) => HumanText::new(human, copy),
            None => HumanText::default(),
        };
        let names = filters.names().into_iter();
        let report = FilterReport {
            filters: names
                .map(|name| FilterCount {
                    name: name.to_owned(),
                    ..FilterCount::default()
                })
                .collect(),
            ..FilterReport::default()
        };
        Quality {
            kb,
            filters: filters.clone(),
            human,
            seen: HashSet::new(),
            near: NearDuplicates::default(),
            rng: ChaCha8Rng::seed_from_u64(0),
            report,
        }
    }

    /// Whether a sentence passes. It is compared with those that passed before.
    pub fn keep(&mut self, document: &Document) -> bool {
        self.report.sentences += 1;
        let words_of = words(&document.text);
        let whole = hash_words(&words_of);
        let sketch = self.sketch(document, &words_of);
        let rejects = self.rejects(document, &words_of, whole, sketch.as_ref());
        if rejects.is_empty() {
            self.report.kept += 1;
            if self.filters.repeated.is_some() {
                self.seen.insert(whole);
            }
            if let Some(sketch) = &sketch {
                self.near.add(sketch);
            }
            return true;
        }
        let alone = rejects.len() == 1;
        for (name, why) in rejects {
            self.count(name, document, why, alone);
        }
        false
    }

    /// What was counted.
    pub fn finish(self) -> FilterReport {
        self.report
    }

    fn sketch(&self, document: &Document, words_of: &[String]) -> Option<Sketch> {
        let filter = self.filters.near_duplicate.as_ref()?;
        if !filter.without_mention {
            return Sketch::of(words_of);
        }
        let inside = |at: u32| {
            document
                .mentions
                .iter()
                .flat_map(|m| &m.spans)
                .any(|s| (s.start..s.end).contains(&at))
        };
        let chars = (0u32..).zip(document.text.chars());
        let text: String = chars
            .map(|(at, c)| if inside(at) { ' ' } else { c })
            .collect();
        Sketch::of(&words(&text))
    }

    /// The filters that reject a sentence, each with its reason.
    fn rejects(
        &mut self,
        document: &Document,
        words_of: &[String],
        whole: u64,
        sketch: Option<&Sketch>,
    ) -> Vec<(&'static str, String)> {
        let filters = &self.filters;
        let mut rejects = Vec::new();
        let mut check =
            |name, reason: Option<String>| rejects.extend(reason.map(|why| (name, why)));
        if filters.mention.is_some() {
            check("mention", bad_mention(document));
        }
        if filters.language.is_some() {
            let foreign =
                other_language(words_of, document.language).map(|l| format!("reads like `{l}`"));
            let script = other_script(&document.text).then(|| "another script".to_owned());
            check("language", foreign.or(script));
        }
        if let Some(length) = filters.length {
            let count = words_of.len();
            let bad = count < length.min_words || count > length.max_words;
            check("length", bad.then(|| format!("{count} words")));
        }
        if filters.repeated.is_some() && self.seen.contains(&whole) {
            check("repeated", Some("stands in the corpus already".to_owned()));
        }
        if let (Some(filter), Some(sketch)) = (filters.near_duplicate, sketch) {
            let nearest = self
                .near
                .nearest(sketch)
                .filter(|(s, _)| *s >= filter.similarity);
            check(
                "near_duplicate",
                nearest.map(|(s, _)| format!("similarity {s:.2}")),
            );
        }
        if filters.human_copy.is_some() {
            let copied = self.human.copied(words_of);
            for split in &copied {
                *self.report.copies_by_split.entry(split.0).or_default() += 1;
            }
            let why = copied
                .into_iter()
                .next()
                .map(|(split, run)| format!("{split}: \"{run}\""));
            check("human_copy", why);
        }
        if let Some(filter) = filters.far_from_names {
            check("far_from_names", self.far(document, filter.nearness));
        }
        if filters.other_concept.is_some() {
            check("other_concept", self.other_concept(document));
        }
        rejects
    }

    /// Concept and group of a mention.
    fn concept(&self, mention: &Mention) -> Option<(ConceptId, GroupId)> {
        let concept = self.kb.resolve(mention.gold.codes().next()?)?;
        let groups = || self.kb.concept(concept).groups();
        let named = self.kb.group_id(&mention.label);
        let named = named.filter(|group| groups().any(|g| g == *group));
        Some((concept, named.or_else(|| groups().next())?))
    }

    fn far(&self, document: &Document, least: f64) -> Option<String> {
        document.mentions.iter().find_map(|mention| {
            let (concept, group) = self.concept(mention)?;
            let names = self.kb.names_of(concept, group);
            let near = names
                .map(|name| nearness(&mention.text, name.text))
                .fold(0.0, f64::max);
            (near < least).then(|| {
                format!(
                    "`{}`: nearness {near:.2} to the names of {}",
                    mention.text,
                    self.kb.concept(concept).preferred_name()
                )
            })
        })
    }

    fn other_concept(&self, document: &Document) -> Option<String> {
        document.mentions.iter().find_map(|mention| {
            let (concept, group) = self.concept(mention)?;
            let owners = || {
                self.kb
                    .names_ignoring_case(&mention.text)
                    .filter(|name| name.group == group)
            };
            if owners().any(|name| name.concept == concept) {
                return None;
            }
            let other = owners().next()?;
            let other = self.kb.concept(other.concept);
            Some(format!(
                "`{}` is a name of {} {}",
                mention.text,
                other.code(),
                other.preferred_name()
            ))
        })
    }

    fn count(&mut self, name: &str, document: &Document, why: String, alone: bool) {
        let count = self
            .report
            .filters
            .iter_mut()
            .find(|count| count.name == name);
        let count = count.expect("every filter that is on has a count");
        count.add(document, why, alone, &mut self.rng);
    }
}

impl FilterCount {
    fn add(&mut self, document: &Document, why: String, alone: bool, rng: &mut ChaCha8Rng) {
        self.rejected += 1;
        self.alone += usize::from(alone);
        let reject = || Reject {
            document: document.id.clone(),
            text: document.text.clone(),
            mention: document
                .mentions
                .first()
                .map_or(String::new(), |m| m.text.clone()),
            why,
        };
        // Reservoir sampling: every reject is as likely as any other to be shown.
        if self.samples.len() < SAMPLES {
            self.samples.push(reject());
        } else {
            let at = rng.random_range(0..self.rejected);
            if at < SAMPLES {
                self.samples[at] = reject();
            }
        }
    }
}

/// A filter behind the others: it looks at what they kept, and somebody else judges.
#[derive(Debug)]
pub struct LaterFilter {
    report: FilterReport,
    count: FilterCount,
    rng: ChaCha8Rng,
}

impl LaterFilter {
    /// A filter of this name behind those of the report.
    pub fn new(name: &str, report: FilterReport) -> Self {
        LaterFilter {
            report,
            count: FilterCount {
                name: name.to_owned(),
                ..FilterCount::default()
            },
            rng: ChaCha8Rng::seed_from_u64(0),
        }
    }

    /// Counts a sentence that is rejected for a reason.
    pub fn reject(&mut self, document: &Document, why: String) {
        self.report.kept -= 1;
        // What others rejected never comes here.
        self.count.add(document, why, true, &mut self.rng);
    }

    /// What all filters did.
    pub fn finish(mut self) -> FilterReport {
        self.report.filters.push(self.count);
        self.report
    }
}

/// What is wrong with the mentions of a document, if anything is.
fn bad_mention(document: &Document) -> Option<String> {
    if document.mentions.is_empty() {
        return Some("no mention".to_owned());
    }
    let chars: Vec<char> = document.text.chars().collect();
    document.mentions.iter().find_map(|mention| {
        let mut covered = Vec::new();
        for span in &mention.spans {
            let (start, end) = (span.start as usize, span.end as usize);
            let piece: String = chars.get(start..end)?.iter().collect();
            let letter = |at: Option<usize>| {
                at.and_then(|at| chars.get(at))
                    .is_some_and(|c| c.is_alphanumeric())
            };
            let cut = (letter(start.checked_sub(1)) && letter(Some(start)))
                || (letter(Some(end)) && letter(end.checked_sub(1)));
            if cut {
                return Some(format!("`{piece}` is cut out of a longer word"));
            }
            covered.push(piece);
        }
        let covered = covered.join(" ");
        if covered != mention.text {
            return Some(format!("`{}` is not `{covered}`", mention.text));
        }
        (!covered.chars().any(char::is_alphabetic)).then(|| format!("`{covered}` has no letter"))
    })
}

impl fmt::Display for FilterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.filters.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "filters: {} of {} sentences kept",
            self.kept, self.sentences
        )?;
        for count in &self.filters {
            writeln!(
                f,
                "  {:16} {:>8} rejected, {:>8} by it alone",
                count.name, count.rejected, count.alone
            )?;
        }
        for (split, count) in &self.copies_by_split {
            writeln!(f, "  {count} share a run of words with the {split} split")?;
        }
        Ok(())
    }
}
