//! Which concepts sentences are made for.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use syncabel_kb::{ConceptId, GroupId, Kb};

use crate::Error;

/// Which concepts of a KB. Conditions add up; the default is every concept.
///
/// A concept in several groups is taken once for each of them, since it has names in each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Only these codes (primary or alternate).
    pub codes: Option<Vec<String>>,
    /// Only these semantic groups.
    pub groups: Option<Vec<String>>,
    /// Only concepts with a definition, as the paper does for UMLS.
    pub with_definition: bool,
    /// Only so many of what the other conditions leave.
    pub sample: Option<Sample>,
}

/// A seeded sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many concepts; all of them if there are fewer.
    pub concepts: usize,
    /// Seed of the draw.
    pub seed: u64,
}

impl Selection {
    /// The selected concepts with their groups, ordered by concept and group.
    ///
    /// # Errors
    /// [`Error::UnknownCode`], [`Error::UnknownGroup`], [`Error::EmptySelection`].
    pub fn resolve(&self, kb: &Kb) -> Result<Vec<(ConceptId, GroupId)>, Error> {
        let wanted_groups = self
            .groups
            .as_ref()
            .map(|names| group_ids(kb, names))
            .transpose()?;
        let mut concepts = self.candidates(kb)?;
        if self.with_definition {
            concepts.retain(|&concept| kb.concept(concept).definitions().next().is_some());
        }
        if let Some(groups) = &wanted_groups {
            concepts.retain(|&concept| {
                kb.concept(concept)
                    .groups()
                    .any(|group| groups.contains(&group))
            });
        }
        if let Some(Sample {
            concepts: count,
            seed,
        }) = self.sample
        {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut drawn =
                index::sample(&mut rng, concepts.len(), count.min(concepts.len())).into_vec();
            drawn.sort_unstable();
            concepts = drawn.into_iter().map(|at| concepts[at]).collect();
        }
        let mut pairs = Vec::with_capacity(concepts.len());
        for concept in concepts {
            let groups = kb.concept(concept).groups();
            let kept = groups.filter(|group| {
                wanted_groups
                    .as_ref()
                    .is_none_or(|wanted| wanted.contains(group))
            });
            pairs.extend(kept.map(|group| (concept, group)));
        }
        pairs.sort_unstable();
        if pairs.is_empty() {
            let selection = serde_json::to_string(self).unwrap_or_default();
            return Err(Error::EmptySelection { selection });
        }
        Ok(pairs)
    }

    fn candidates(&self, kb: &Kb) -> Result<Vec<ConceptId>, Error> {
        let Some(codes) = &self.codes else {
            return Ok(kb.concepts().map(|c| c.id()).collect());
        };
        let resolve = |code: &String| {
            kb.resolve(code)
                .ok_or_else(|| Error::UnknownCode { code: code.clone() })
        };
        let mut concepts = codes.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        concepts.sort_unstable();
        concepts.dedup();
        Ok(concepts)
    }
}

fn group_ids(kb: &Kb, names: &[String]) -> Result<Vec<GroupId>, Error> {
    let resolve = |name: &String| {
        kb.group_id(name).ok_or_else(|| Error::UnknownGroup {
            group: name.clone(),
            known: kb
                .groups()
                .map(|(_, name)| name.to_owned())
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    names.iter().map(resolve).collect()
}
