//! What a build decided, how often, and a few examples of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::RawConcept;

/// Examples kept of each decision.
const SAMPLES: usize = 5;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $words:literal),* $(,)?) => {
        /// A class of decision. Rows are (concept, group, name).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum DecisionKind { $($(#[$doc])* $kind),* }

        impl DecisionKind {
            /// All classes, in the order of the build.
            pub const ALL: [DecisionKind; [$($words),*].len()] = [$(DecisionKind::$kind),*];

            /// The class in words.
            pub fn words(self) -> &'static str {
                match self { $(DecisionKind::$kind => $words),* }
            }
        }
    };
}

kinds! {
    /// A concept that repeats another one word for word.
    IdenticalConcept = "concepts that repeat another one exactly",
    /// A concept that was merged into another one of the same code.
    MergedConcept = "concepts merged into one of the same code",
    /// An alternate code that is some concept's primary code; the primary code wins.
    AltCodeIsPrimary = "alternate codes dropped: primary code of a concept",
    /// An alternate code of several concepts; the first by code has it.
    AltCodeShared = "alternate codes dropped: another concept has them",
    /// A name that was empty after cleaning.
    EmptyNameSkipped = "names skipped: empty after cleaning",
    /// A name that cleaning changed.
    NameCleaned = "names changed by cleaning",
    /// A name that the same concept has already.
    RepeatedName = "names dropped: repeated in their concept",
    /// Level 0: only one concept of the group carries the name.
    KeptLevel0 = "rows kept at level 0: unique in the group",
    /// Level 1: only one concept without a name carries it.
    KeptLevel1 = "rows kept at level 1: unique among concepts without a name",
    /// Level 2: the first concept without a name has it.
    KeptLevel2 = "rows kept at level 2: first of the concepts without a name",
    /// A preferred name that nobody held, given back.
    PreferredRestored = "rows kept: preferred name that nobody held",
    /// A row lost to disambiguation.
    AmbiguousDropped = "rows dropped: ambiguous in the group",
    /// A name in capitals beside another casing of it in the same concept.
    CapitalsDropped = "rows dropped: capitals of another name of the concept",
    /// A name in capitals beside another casing of it in another concept (option).
    CapitalTwinDropped = "rows dropped: capitals of a name of another concept",
    /// A name beside another casing of it that is the preferred name of another concept (option).
    TwinToPreferred = "rows dropped: another casing is a preferred name of another concept",
    /// A concept and group without any name: it can never be predicted.
    WithoutName = "(concept, group) pairs left without a name",
    /// A preferred name that another concept of the group holds.
    PreferredLost = "(concept, group) pairs whose preferred name leads elsewhere",
    /// A lower-cased name that leads to several concepts of a group, depending on its casing.
    CaseTwins = "names that lead to several concepts depending on their casing",
}

/// How often each decision was taken.
pub type DecisionCounts = BTreeMap<DecisionKind, u64>;

/// One class of decision with its count and its first examples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// How often.
    pub count: u64,
    /// The first few, in the order of the build.
    pub samples: Vec<String>,
}

/// The report of a build. Displays as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    /// Concepts read.
    pub concepts_in: u64,
    /// Names read, preferred names included.
    pub names_in: u64,
    /// Concepts in the KB.
    pub concepts: u64,
    /// Names in the KB, counted once per group.
    pub names: u64,
    /// Semantic groups.
    pub groups: u64,
    /// Every class of decision that was taken at least once.
    pub decisions: BTreeMap<DecisionKind, Decision>,
}

impl BuildReport {
    pub(super) fn new(raw: &[RawConcept]) -> Self {
        Self {
            concepts_in: raw.len() as u64,
            names_in: raw.iter().map(|concept| concept.names.len() as u64).sum(),
            ..Self::default()
        }
    }

    /// How often a decision was taken.
    pub fn count_of(&self, kind: DecisionKind) -> u64 {
        self.decisions
            .get(&kind)
            .map_or(0, |decision| decision.count)
    }

    /// The counts alone, every class present.
    pub fn counts(&self) -> DecisionCounts {
        DecisionKind::ALL
            .into_iter()
            .map(|kind| (kind, self.count_of(kind)))
            .collect()
    }

    pub(super) fn count(&mut self, kind: DecisionKind, sample: impl FnOnce() -> String) {
        self.count_many(kind, 1, sample);
    }

    pub(super) fn count_many(
        &mut self,
        kind: DecisionKind,
        times: usize,
        sample: impl FnOnce() -> String,
    ) {
        if times == 0 {
            return;
        }
        let decision = self.decisions.entry(kind).or_default();
        decision.count += times as u64;
        if decision.samples.len() < SAMPLES {
            decision.samples.push(sample());
        }
    }

    /// Adds the decisions of another report.
    pub(super) fn add(&mut self, other: Self) {
        for (kind, more) in other.decisions {
            let decision = self.decisions.entry(kind).or_default();
            decision.count += more.count;
            let room = SAMPLES - decision.samples.len();
            decision.samples.extend(more.samples.into_iter().take(room));
        }
    }
}

impl fmt::Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>9}  concepts read", self.concepts_in)?;
        writeln!(f, "{:>9}  names read", self.names_in)?;
        for (kind, decision) in &self.decisions {
            writeln!(f, "{:>9}  {}", decision.count, kind.words())?;
            for sample in &decision.samples {
                writeln!(f, "           - {sample}")?;
            }
        }
        write!(
            f,
            "{:>9}  concepts, {} names, {} groups in the KB",
            self.concepts, self.names, self.groups
        )
    }
}
