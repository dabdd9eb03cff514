//! Which examples are trained on, in which phases and in which order.
//!
//! Five strategies (paper section on training; the names in a configuration are in `snake_case`):
//!
//! | strategy | one epoch |
//! | --- | --- |
//! | [`HumanOnly`](Strategy::HumanOnly) | every human example once, shuffled |
//! | [`SyntheticOnly`](Strategy::SyntheticOnly) | every synthetic example once, shuffled |
//! | [`Combined`](Strategy::Combined) | both concatenated, shuffled together |
//! | [`Interleaved`](Strategy::Interleaved) | human, synthetic, human, synthetic, ...: the shorter source starts again until the longer one is exhausted, so an epoch is `2 * max(human, synthetic)` long and exactly half human |
//! | [`PretrainThenHuman`](Strategy::PretrainThenHuman) | two phases: synthetic only, then human only |
//!
//! When a source of an interleaved epoch starts again it is shuffled anew. Every order is a function of (seed, phase,
//! epoch, pass) alone, so a resumed run needs no generator state, only its position. The seed of the *sample* is
//! [`Composition::seed`]; the seed of the *order* is [`TrainConfig::seed`](crate::TrainConfig::seed), so that runs can
//! differ in one and share the other.
//!
//! Human data can be made scarce in two independent ways, applied in this order: first the *share* (of rows or
//! documents: the annotation that somebody paid for), then the *held-out concepts* (every remaining example that
//! carries a held-out code is dropped). Both are prefixes of one seeded order, so a larger share contains the smaller
//! one. Synthetic examples are never dropped: concepts held out of the human data are what they are for.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use syncabel_corpus::marked::Example;

use crate::Error;
use crate::random::{shuffle, stream};

/// How human and synthetic examples are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Human examples only.
    HumanOnly,
    /// Synthetic examples only.
    SyntheticOnly,
    /// Both, concatenated.
    Combined,
    /// Strict alternation of the two; the recipe that the paper recommends.
    #[default]
    Interleaved,
    /// Synthetic examples first; then human ones with a third of the learning rate and a fresh optimizer.
    PretrainThenHuman,
}

impl Strategy {
    /// All strategies, in the order in which the paper lists them.
    pub const ALL: [Self; 5] = [
        Self::HumanOnly,
        Self::SyntheticOnly,
        Self::Combined,
        Self::PretrainThenHuman,
        Self::Interleaved,
    ];

    /// The name as it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HumanOnly => "human_only",
            Self::SyntheticOnly => "synthetic_only",
            Self::Combined => "combined",
            Self::Interleaved => "interleaved",
            Self::PretrainThenHuman => "pretrain_then_human",
        }
    }

    fn needs_human(self) -> bool {
        self != Self::SyntheticOnly
    }

    fn needs_synthetic(self) -> bool {
        self != Self::HumanOnly
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a share of the human data is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HumanShareRule {
    /// The first rows in corpus order, as the paper does.
    #[default]
    First,
    /// All rows of a seeded sample of documents.
    SampledDocuments,
}

/// What to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Composition {
    /// How the sources are combined.
    pub strategy: Strategy,
    /// Share of the human data that is kept, from 0 to 1. With 0, every strategy that has a synthetic part becomes
    /// [`Strategy::SyntheticOnly`] (the left end of the paper's curve); the report says so.
    pub human_share: f64,
    /// What the share is a share of.
    pub human_share_rule: HumanShareRule,
    /// Share of the concepts of the human data, from 0 to 1, that is held out of all human training data.
    pub unseen_concept_share: f64,
    /// Seed of the samples: documents and held-out concepts.
    pub seed: u64,
}

impl Default for Composition {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            human_share: 1.0,
            human_share_rule: HumanShareRule::default(),
            unseen_concept_share: 0.0,
            seed: 42,
        }
    }
}

/// Which of a plan's phases this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// The only phase of a strategy that has one.
    Main,
    /// The synthetic phase of [`Strategy::PretrainThenHuman`].
    Pretrain,
    /// The human phase of [`Strategy::PretrainThenHuman`].
    Human,
}

impl PhaseName {
    /// The name as it appears in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Pretrain => "pretrain",
            Self::Human => "human",
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Position of an example in [`Plan::examples`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExampleId(pub u32);

/// Where a phase takes its examples from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// One pool, shuffled in every epoch.
    Pool(Vec<ExampleId>),
    /// Two pools that alternate strictly, human first.
    Alternating {
        /// Human examples.
        human: Vec<ExampleId>,
        /// Synthetic examples.
        synthetic: Vec<ExampleId>,
    },
}

/// One stretch of training with its own optimizer and schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Which phase.
    pub name: PhaseName,
    /// What it trains on.
    pub sources: Sources,
}

impl Phase {
    /// Examples in one epoch.
    pub fn epoch_len(&self) -> usize {
        match &self.sources {
            Sources::Pool(pool) => pool.len(),
            Sources::Alternating { human, synthetic }
                if human.is_empty() || synthetic.is_empty() =>
            {
                human.len() + synthetic.len()
            }
            Sources::Alternating { human, synthetic } => 2 * human.len().max(synthetic.len()),
        }
    }

    /// The order of one epoch, counted from 0. A function of the seed, the phase and `epoch` alone.
    pub fn epoch_order(&self, seed: u64, epoch: u64) -> Vec<ExampleId> {
        let at = EpochSeed { seed, epoch };
        match &self.sources {
            Sources::Pool(pool) => self.pass(pool, "pool", at, 0),
            Sources::Alternating { human, synthetic } => {
                let half = human.len().max(synthetic.len());
                let human = self.repeated(human, "human", at, half);
                let synthetic = self.repeated(synthetic, "synthetic", at, half);
                if human.is_empty() || synthetic.is_empty() {
                    return [human, synthetic].concat();
                }
                human
                    .into_iter()
                    .zip(synthetic)
                    .flat_map(|(h, s)| [h, s])
                    .collect()
            }
        }
    }

    /// The source that has no example, if one has none.
    pub(crate) fn emptied(&self) -> Option<&'static str> {
        match &self.sources {
            Sources::Pool(pool) => pool.is_empty().then_some(self.name.as_str()),
            Sources::Alternating { human, .. } if human.is_empty() => Some("human"),
            Sources::Alternating { synthetic, .. } if synthetic.is_empty() => Some("synthetic"),
            Sources::Alternating { .. } => None,
        }
    }

    /// Keeps only the examples for which `keep` holds, for instance those that fit into a row.
    pub(crate) fn retain(&mut self, keep: impl Fn(ExampleId) -> bool) {
        match &mut self.sources {
            Sources::Pool(pool) => pool.retain(|&id| keep(id)),
            Sources::Alternating { human, synthetic } => {
                human.retain(|&id| keep(id));
                synthetic.retain(|&id| keep(id));
            }
        }
    }

    /// `len` examples of one source: as many shuffled passes as that takes.
    fn repeated(
        &self,
        source: &[ExampleId],
        what: &str,
        at: EpochSeed,
        len: usize,
    ) -> Vec<ExampleId> {
        let mut order = Vec::with_capacity(len + source.len());
        let mut pass = 0;
        while order.len() < len && !source.is_empty() {
            order.extend(self.pass(source, what, at, pass));
            pass += 1;
        }
        order.truncate(len);
        order
    }

    fn pass(&self, source: &[ExampleId], what: &str, at: EpochSeed, pass: u64) -> Vec<ExampleId> {
        let mut order = source.to_vec();
        let purpose = format!("order/{}/{what}", self.name);
        shuffle(
            &mut stream(at.seed, &purpose, &[at.epoch, pass]),
            &mut order,
        );
        order
    }
}

#[derive(Clone, Copy)]
struct EpochSeed {
    seed: u64,
    epoch: u64,
}

/// The examples of a run and the phases that go through them.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Kept human examples in corpus order, then synthetic ones: what [`ExampleId`] counts.
    pub examples: Vec<&'a Example>,
    /// One or two phases.
    pub phases: Vec<Phase>,
    /// What was kept and dropped.
    pub report: ComposeReport,
}

impl Plan<'_> {
    /// Digest of every example and of every phase: two plans with the same digest train the same way.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for example in &self.examples {
            for text in [
                &example.document,
                &example.mention_id,
                &example.prompt,
                &example.completion,
            ] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        for phase in &self.phases {
            hasher.update(phase.name.as_str().as_bytes());
            let mut pool = |tag: u8, ids: &[ExampleId]| {
                hasher.update(&[tag]);
                hasher.update(&(ids.len() as u64).to_le_bytes());
                ids.iter().for_each(|id| {
                    hasher.update(&id.0.to_le_bytes());
                });
            };
            match &phase.sources {
                Sources::Pool(ids) => pool(0, ids),
                Sources::Alternating { human, synthetic } => {
                    pool(1, human);
                    pool(2, synthetic);
                }
            }
        }
        hasher.finalize()
    }
}

/// Size and make-up of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Which phase.
    pub name: PhaseName,
    /// Examples that one epoch shows, repeats included.
    pub examples_per_epoch: usize,
    /// How many of them are human.
    pub human_per_epoch: usize,
    /// How many of them are synthetic.
    pub synthetic_per_epoch: usize,
}

/// What [`compose`] did, with every count that a reader of the results will ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComposeReport {
    /// The strategy that was asked for.
    pub strategy: Strategy,
    /// Human rows that were given.
    pub human_given: usize,
    /// Human rows after taking the share.
    pub human_after_share: usize,
    /// Rows that carry a held-out code and were dropped.
    pub human_dropped_held_out: usize,
    /// Human rows that are trained on.
    pub human_kept: usize,
    /// Documents that those rows come from.
    pub human_documents_kept: usize,
    /// Distinct codes in the human rows that were given.
    pub human_codes_given: usize,
    /// Distinct codes in the human rows that are trained on.
    pub human_codes_kept: usize,
    /// Codes held out of all human training data, sorted.
    pub held_out_codes: Vec<String>,
    /// Synthetic rows that are trained on.
    pub synthetic_kept: usize,
    /// Held-out codes that the synthetic rows cover.
    pub held_out_codes_with_synthetic: usize,
    /// The phases.
    pub phases: Vec<PhaseReport>,
    /// Anything a reader might not expect.
    pub notes: Vec<String>,
}

impl fmt::Display for ComposeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "strategy {}", self.strategy)?;
        writeln!(
            f,
            "human: {} rows given, {} after the share, {} dropped for held-out concepts, {} kept ({} documents, {} of {} codes)",
            self.human_given,
            self.human_after_share,
            self.human_dropped_held_out,
            self.human_kept,
            self.human_documents_kept,
            self.human_codes_kept,
            self.human_codes_given
        )?;
        writeln!(
            f,
            "synthetic: {} rows; held-out concepts: {}, of which {} have synthetic rows",
            self.synthetic_kept,
            self.held_out_codes.len(),
            self.held_out_codes_with_synthetic
        )?;
        for phase in &self.phases {
            writeln!(
                f,
                "phase {}: {} examples an epoch ({} human, {} synthetic)",
                phase.name,
                phase.examples_per_epoch,
                phase.human_per_epoch,
                phase.synthetic_per_epoch
            )?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// Selects the examples and lays out the phases.
///
/// Examples keep the order in which they are given; callers hand them over in corpus order.
///
/// # Errors
/// [`Error::Config`] for a share outside of 0 to 1, [`Error::NoExamples`] when the strategy needs a source that is
/// empty (a `human_share` of 0 is no error where there is a synthetic part).
pub fn compose<'a>(
    human: &'a [Example],
    synthetic: &'a [Example],
    composition: &Composition,
) -> Result<Plan<'a>, Error> {
    let strategy = composition.strategy;
    let HumanPart {
        held_out,
        shared,
        kept,
    } = human_part(human, composition)?;
    let synthetic: Vec<&Example> = if strategy.needs_synthetic() {
        synthetic.iter().collect()
    } else {
        Vec::new()
    };

    let mut notes = Vec::new();
    let effective = effective_strategy(
        composition,
        kept.len(),
        shared.len(),
        synthetic.len(),
        &mut notes,
    )?;
    let phases = lay_out(effective, kept.len(), synthetic.len());
    let report = report(
        human, &shared, &kept, &synthetic, &held_out, &phases, strategy, notes,
    );
    Ok(Plan {
        examples: [kept, synthetic].concat(),
        phases,
        report,
    })
}

/// The codes that a composition holds out of all human training data.
///
/// # Errors
/// [`Error::Config`] for a share outside of 0 to 1.
pub fn held_out<'a>(
    human: &'a [Example],
    composition: &Composition,
) -> Result<BTreeSet<&'a str>, Error> {
    check_share("unseen_concept_share", composition.unseen_concept_share)?;
    Ok(held_out_codes(human, composition))
}

/// The human examples that a composition trains on, and with them everything human that may go into synthetic data: a
/// study of scarce annotation must not let a generator see what it holds back. All of them where the strategy itself
/// takes none, or the share is 0: synthetic data then stand alone, and are made as the paper makes them.
///
/// # Errors
/// [`Error::Config`] for a share outside of 0 to 1.
pub fn human_for_synthesis<'a>(
    human: &'a [Example],
    composition: &Composition,
) -> Result<Vec<&'a Example>, Error> {
    if !composition.strategy.needs_human() || composition.human_share == 0.0 {
        let all = Composition {
            strategy: Strategy::HumanOnly,
            human_share: 1.0,
            ..composition.clone()
        };
        return Ok(human_part(human, &all)?.kept);
    }
    Ok(human_part(human, composition)?.kept)
}

struct HumanPart<'a> {
    held_out: BTreeSet<&'a str>,
    /// After taking the share.
    shared: Vec<&'a Example>,
    /// Of these, without held-out concepts.
    kept: Vec<&'a Example>,
}

fn human_part<'a>(human: &'a [Example], composition: &Composition) -> Result<HumanPart<'a>, Error> {
    check_share("human_share", composition.human_share)?;
    check_share("unseen_concept_share", composition.unseen_concept_share)?;
    let held_out = held_out_codes(human, composition);
    let shared = if composition.strategy.needs_human() {
        take_share(human, composition)
    } else {
        Vec::new()
    };
    let held = |example: &Example| {
        let mut codes = example.codes.iter();
        codes.any(|code| held_out.contains(code.as_str()))
    };
    let kept = shared.iter().copied().filter(|e| !held(e)).collect();
    Ok(HumanPart {
        held_out,
        shared,
        kept,
    })
}

fn check_share(key: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Config {
        key,
        value: value.to_string(),
        expected: "a share from 0 to 1",
    })
}

/// The first `share` of a seeded order of all distinct codes.
fn held_out_codes<'a>(human: &'a [Example], composition: &Composition) -> BTreeSet<&'a str> {
    let mut codes: Vec<&str> = distinct_codes(human.iter()).into_iter().collect();
    let count = rounded(composition.unseen_concept_share, codes.len());
    shuffle(
        &mut stream(composition.seed, "held-out concepts", &[]),
        &mut codes,
    );
    codes.into_iter().take(count).collect()
}

fn distinct_codes<'a>(examples: impl Iterator<Item = &'a Example>) -> BTreeSet<&'a str> {
    examples
        .flat_map(|example| example.codes.iter().map(String::as_str))
        .collect()
}

fn rounded(share: f64, of: usize) -> usize {
    (share * of as f64).round() as usize
}

fn take_share<'a>(human: &'a [Example], composition: &Composition) -> Vec<&'a Example> {
    match composition.human_share_rule {
        HumanShareRule::First => human
            .iter()
            .take(rounded(composition.human_share, human.len()))
            .collect(),
        HumanShareRule::SampledDocuments => {
            let mut seen = HashSet::new();
            let mut documents: Vec<&str> = human
                .iter()
                .map(|e| e.document.as_str())
                .filter(|d| seen.insert(*d))
                .collect();
            let count = rounded(composition.human_share, documents.len());
            // Sorted first: the sample must not depend on the order of the corpus.
            documents.sort_unstable();
            shuffle(
                &mut stream(composition.seed, "sampled documents", &[]),
                &mut documents,
            );
            let chosen: HashSet<&str> = documents.into_iter().take(count).collect();
            human
                .iter()
                .filter(|e| chosen.contains(e.document.as_str()))
                .collect()
        }
    }
}

/// Refuses empty sources, except where the user asked for none of the human data.
fn effective_strategy(
    composition: &Composition,
    human: usize,
    human_after_share: usize,
    synthetic: usize,
    notes: &mut Vec<String>,
) -> Result<Strategy, Error> {
    let strategy = composition.strategy;
    let missing = |source_name, why: String| Error::NoExamples {
        strategy: strategy.as_str(),
        source_name,
        why,
    };
    if strategy.needs_synthetic() && synthetic == 0 {
        return Err(missing("synthetic", String::new()));
    }
    if !strategy.needs_human() || human > 0 {
        return Ok(strategy);
    }
    if composition.human_share == 0.0 && strategy.needs_synthetic() {
        notes.push(format!(
            "human_share is 0: {strategy} trains on synthetic examples only"
        ));
        return Ok(Strategy::SyntheticOnly);
    }
    let why = if human_after_share > 0 {
        ": all of them carry held-out codes; lower `unseen_concept_share`".to_owned()
    } else {
        format!(" after taking a human_share of {}", composition.human_share)
    };
    Err(missing("human", why))
}

fn lay_out(strategy: Strategy, human: usize, synthetic: usize) -> Vec<Phase> {
    let ids = |from: usize, to: usize| (from..to).map(|i| ExampleId(i as u32)).collect::<Vec<_>>();
    let (human_ids, synthetic_ids) = (ids(0, human), ids(human, human + synthetic));
    let phase = |name, sources| Phase { name, sources };
    match strategy {
        Strategy::HumanOnly => vec![phase(PhaseName::Main, Sources::Pool(human_ids))],
        Strategy::SyntheticOnly => vec![phase(PhaseName::Main, Sources::Pool(synthetic_ids))],
        Strategy::Combined => vec![phase(
            PhaseName::Main,
            Sources::Pool(ids(0, human + synthetic)),
        )],
        Strategy::Interleaved => {
            let sources = Sources::Alternating {
                human: human_ids,
                synthetic: synthetic_ids,
            };
            vec![phase(PhaseName::Main, sources)]
        }
        Strategy::PretrainThenHuman => vec![
            phase(PhaseName::Pretrain, Sources::Pool(synthetic_ids)),
            phase(PhaseName::Human, Sources::Pool(human_ids)),
        ],
    }
}

#[allow(clippy::too_many_arguments)] // one call, and every argument is another list to count
fn report(
    given: &[Example],
    shared: &[&Example],
    kept: &[&Example],
    synthetic: &[&Example],
    held_out: &BTreeSet<&str>,
    phases: &[Phase],
    strategy: Strategy,
    notes: Vec<String>,
) -> ComposeReport {
    let synthetic_codes = distinct_codes(synthetic.iter().copied());
    ComposeReport {
        strategy,
        human_given: given.len(),
        human_after_share: shared.len(),
        human_dropped_held_out: shared.len() - kept.len(),
        human_kept: kept.len(),
        human_documents_kept: kept
            .iter()
            .map(|e| e.document.as_str())
            .collect::<HashSet<_>>()
            .len(),
        human_codes_given: distinct_codes(given.iter()).len(),
        human_codes_kept: distinct_codes(kept.iter().copied()).len(),
        held_out_codes: held_out.iter().map(|&code| code.to_owned()).collect(),
        synthetic_kept: synthetic.len(),
        held_out_codes_with_synthetic: held_out.intersection(&synthetic_codes).count(),
        phases: phases
            .iter()
            .map(|phase| phase_report(phase, kept.len()))
            .collect(),
        notes,
    }
}

fn phase_report(phase: &Phase, human: usize) -> PhaseReport {
    let examples_per_epoch = phase.epoch_len();
    let human_per_epoch = match &phase.sources {
        Sources::Pool(pool) => pool.iter().filter(|id| (id.0 as usize) < human).count(),
        Sources::Alternating { .. } => examples_per_epoch / 2,
    };
    PhaseReport {
        name: phase.name,
        examples_per_epoch,
        human_per_epoch,
        synthetic_per_epoch: examples_per_epoch - human_per_epoch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, prop_compose, proptest};
    use syncabel_corpus::Origin;

    fn example(document: usize, mention: usize, codes: &[usize], origin: Origin) -> Example {
        Example {
            document: format!("d{document:02}"),
            mention_id: format!("d{document:02}.{mention}"),
            group: "Disorders".into(),
            prompt: format!("[m{mention}]{{Disorders}}<SEP>[m{mention}] is"),
            completion: format!(" n{mention}"),
            codes: codes.iter().map(|c| format!("C{c:02}")).collect(),
            origin,
        }
    }

    prop_compose! {
        fn humans(most: usize)(rows in prop::collection::vec((0usize..6, prop::collection::vec(0usize..12, 1..3)), 1..most)) -> Vec<Example> {
            rows.iter().enumerate().map(|(i, (d, codes))| example(*d, i, codes, Origin::Human)).collect()
        }
    }

    fn synthetics(n: usize) -> Vec<Example> {
        let origin = || Origin::Synthetic {
            generator: "transplant".into(),
        };
        (0..n)
            .map(|i| example(90 + i % 3, i, &[i % 12], origin()))
            .collect()
    }

    fn with(strategy: Strategy) -> Composition {
        Composition {
            strategy,
            ..Composition::default()
        }
    }

    proptest! {
        #[test]
        fn synthesis_sees_no_more_of_the_human_part_than_training(
            human in humans(20), human_share in 0.3f64..1.0, unseen_concept_share in 0.0f64..0.6, seed: u64,
        ) {
            let synthetic = synthetics(3);
            let part = Composition { human_share, unseen_concept_share, seed, ..with(Strategy::Combined) };
            if let Ok(plan) = compose(&human, &synthetic, &part) {
                let seen = human_for_synthesis(&human, &part).unwrap();
                prop_assert_eq!(&seen[..], &plan.examples[..plan.report.human_kept]);
            }
            let alone = Composition { strategy: Strategy::SyntheticOnly, ..part };
            prop_assert!(human_for_synthesis(&human, &alone).unwrap().len() <= human.len());
            let none = Composition { human_share: 0.0, unseen_concept_share: 0.0, ..with(Strategy::Interleaved) };
            prop_assert_eq!(human_for_synthesis(&human, &none).unwrap().len(), human.len());
        }

        #[test]
        fn interleaving_alternates_strictly_and_covers_everything(
            human in humans(20), n in 1usize..40, seed: u64, epoch in 0u64..3,
        ) {
            let synthetic = synthetics(n);
            let plan = compose(&human, &synthetic, &with(Strategy::Interleaved)).unwrap();
            let order = plan.phases[0].epoch_order(seed, epoch);
            let longer = human.len().max(n);
            prop_assert_eq!(order.len(), 2 * longer);
            prop_assert_eq!(order.len(), plan.phases[0].epoch_len());
            let mut seen = vec![0usize; plan.examples.len()];
            for (position, id) in order.iter().enumerate() {
                prop_assert_eq!((id.0 as usize) < human.len(), position % 2 == 0);
                seen[id.0 as usize] += 1;
            }
            // Every example of a source is used as often as any other, give or take one.
            for part in [&seen[..human.len()], &seen[human.len()..]] {
                let (low, high) = (part.iter().min().unwrap(), part.iter().max().unwrap());
                prop_assert!(*low >= 1 && high - low <= 1);
            }
        }

        #[test]
        fn pools_show_each_example_once(human in humans(20), n in 1usize..20, seed: u64) {
            let synthetic = synthetics(n);
            for strategy in [Strategy::HumanOnly, Strategy::SyntheticOnly, Strategy::Combined, Strategy::PretrainThenHuman] {
                let plan = compose(&human, &synthetic, &with(strategy)).unwrap();
                let mut all: Vec<ExampleId> = Vec::new();
                for phase in &plan.phases {
                    let mut order = phase.epoch_order(seed, 0);
                    prop_assert_eq!(order.len(), phase.epoch_len());
                    order.sort();
                    all.extend(order);
                }
                all.sort();
                let expected: Vec<ExampleId> = (0..plan.examples.len()).map(|i| ExampleId(i as u32)).collect();
                prop_assert_eq!(all, expected);
            }
        }

        #[test]
        fn held_out_concepts_never_reach_human_training(human in humans(40), share in 0.0f64..=1.0, seed: u64) {
            let synthetic = synthetics(12);
            let composition = Composition { unseen_concept_share: share, human_share: 1.0, seed, ..with(Strategy::Combined) };
            match compose(&human, &synthetic, &composition) {
                Ok(plan) => {
                    let held: HashSet<&String> = plan.report.held_out_codes.iter().collect();
                    let codes = distinct_codes(human.iter()).len();
                    prop_assert_eq!(held.len(), rounded(share, codes));
                    let kept = &plan.examples[..plan.report.human_kept];
                    prop_assert!(kept.iter().all(|e| e.codes.iter().all(|c| !held.contains(c))));
                    // Dropped are exactly the rows with any held-out code.
                    let expected = human.iter().filter(|e| e.codes.iter().all(|c| !held.contains(c))).count();
                    prop_assert_eq!(expected, kept.len());
                    prop_assert_eq!(plan.report.synthetic_kept, 12);
                }
                Err(Error::NoExamples { source_name: "human", .. }) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn larger_shares_contain_smaller_ones(human in humans(40), a in 0.0f64..=1.0, b in 0.0f64..=1.0, seed: u64) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            for rule in [HumanShareRule::First, HumanShareRule::SampledDocuments] {
                let take = |share| {
                    let composition = Composition { human_share: share, human_share_rule: rule, seed, ..Composition::default() };
                    take_share(&human, &composition).iter().map(|e| e.mention_id.clone()).collect::<BTreeSet<_>>()
                };
                prop_assert!(take(low).is_subset(&take(high)));
                prop_assert_eq!(take(1.0).len(), human.len());
                prop_assert!(take(0.0).is_empty());
            }
        }
    }

    #[test]
    fn first_share_is_a_prefix_in_corpus_order() {
        let human: Vec<Example> = (0..10)
            .map(|i| example(i, i, &[i], Origin::Human))
            .collect();
        let composition = Composition {
            human_share: 0.35,
            ..with(Strategy::HumanOnly)
        };
        let plan = compose(&human, &[], &composition).unwrap();
        let ids: Vec<&str> = plan
            .examples
            .iter()
            .map(|e| e.mention_id.as_str())
            .collect();
        assert_eq!(ids, ["d00.0", "d01.1", "d02.2", "d03.3"]);
    }

    #[test]
    fn sampled_documents_are_whole() {
        let human: Vec<Example> = (0..30)
            .map(|i| example(i / 5, i, &[i], Origin::Human))
            .collect();
        let composition = Composition {
            human_share: 0.5,
            human_share_rule: HumanShareRule::SampledDocuments,
            ..with(Strategy::HumanOnly)
        };
        let plan = compose(&human, &[], &composition).unwrap();
        assert_eq!(plan.report.human_documents_kept, 3);
        assert_eq!(plan.examples.len(), 15);
        assert!(
            plan.examples.is_sorted_by_key(|e| e.mention_id.clone()),
            "corpus order is kept"
        );
    }

    #[test]
    fn phases_of_pretraining_are_pure() {
        let human: Vec<Example> = (0..4).map(|i| example(i, i, &[i], Origin::Human)).collect();
        let synthetic = synthetics(6);
        let plan = compose(&human, &synthetic, &with(Strategy::PretrainThenHuman)).unwrap();
        let names: Vec<PhaseName> = plan.phases.iter().map(|p| p.name).collect();
        assert_eq!(names, [PhaseName::Pretrain, PhaseName::Human]);
        assert!(plan.phases[0].epoch_order(1, 0).iter().all(|id| id.0 >= 4));
        assert!(plan.phases[1].epoch_order(1, 0).iter().all(|id| id.0 < 4));
    }

    #[test]
    fn restarts_and_epochs_are_shuffled_anew() {
        let human: Vec<Example> = (0..12)
            .map(|i| example(i, i, &[i], Origin::Human))
            .collect();
        let synthetic = synthetics(24);
        let plan = compose(&human, &synthetic, &with(Strategy::Interleaved)).unwrap();
        let human_of = |epoch| -> Vec<ExampleId> {
            plan.phases[0]
                .epoch_order(42, epoch)
                .into_iter()
                .step_by(2)
                .collect()
        };
        let first = human_of(0);
        assert_ne!(
            first[..12],
            first[12..],
            "the second pass has its own order"
        );
        assert_ne!(first, human_of(1));
        assert_eq!(first, human_of(0));
    }

    #[test]
    fn no_human_data_at_all_is_the_left_end_of_the_curve() {
        let human = [example(0, 0, &[0], Origin::Human)];
        let synthetic = synthetics(5);
        for strategy in [
            Strategy::Combined,
            Strategy::Interleaved,
            Strategy::PretrainThenHuman,
        ] {
            let composition = Composition {
                human_share: 0.0,
                ..with(strategy)
            };
            let plan = compose(&human, &synthetic, &composition).unwrap();
            assert_eq!((plan.phases.len(), plan.examples.len()), (1, 5));
            assert!(plan.report.notes[0].contains("synthetic examples only"));
        }
    }

    #[test]
    fn empty_sources_and_bad_shares_are_refused() {
        let human = [example(0, 0, &[0], Origin::Human)];
        let refuse = |human: &[Example], synthetic: &[Example], composition: Composition| {
            compose(human, synthetic, &composition)
                .unwrap_err()
                .to_string()
        };
        let message = refuse(&human, &[], with(Strategy::Interleaved));
        assert!(
            message.contains("`interleaved` needs synthetic"),
            "{message}"
        );
        let message = refuse(&[], &synthetics(3), with(Strategy::HumanOnly));
        assert!(message.contains("needs human"), "{message}");
        let held = Composition {
            unseen_concept_share: 1.0,
            ..with(Strategy::HumanOnly)
        };
        let message = refuse(&human, &[], held);
        assert!(
            message.contains("lower `unseen_concept_share`"),
            "{message}"
        );
        for share in [-0.1, 1.5, f64::NAN] {
            let message = refuse(
                &human,
                &[],
                Composition {
                    human_share: share,
                    ..with(Strategy::HumanOnly)
                },
            );
            assert!(message.contains("human_share"), "{message}");
        }
    }

    #[test]
    fn digest_sees_text_and_membership() {
        let human: Vec<Example> = (0..4).map(|i| example(i, i, &[i], Origin::Human)).collect();
        let digest = |human: &[Example], strategy| {
            compose(human, &synthetics(4), &with(strategy))
                .unwrap()
                .digest()
        };
        let base = digest(&human, Strategy::Combined);
        assert_eq!(base, digest(&human, Strategy::Combined));
        assert_ne!(base, digest(&human, Strategy::Interleaved));
        let mut changed = human.clone();
        changed[2].completion.push('x');
        assert_ne!(base, digest(&changed, Strategy::Combined));
    }
}
