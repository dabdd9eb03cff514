//! What must hold for any terminology: the promise of the crate, against a naive oracle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use syncabel_kb::clean::clean_name;
use syncabel_kb::select::{NameSelector, Selection, TfidfIndex};
use syncabel_kb::{BuildOptions, BuildReport, DecisionKind, Error, Kb, RawConcept, build};

/// Few names and groups, so that concepts collide; casings, so that twins occur.
fn concepts() -> impl Strategy<Value = Vec<RawConcept>> {
    let name = prop::sample::select(vec![
        "Flu",
        "FLU",
        "flu",
        "Asthma",
        "ASTHMA",
        "Cold",
        "Common cold",
        "Œdème",
        "ASD",
        "Pain, NOS",
        "Ache",
    ]);
    let group = prop::sample::select(vec!["Disease", "Finding", "Symptom"]);
    let concept = (
        prop::collection::vec(name, 1..5),
        prop::collection::btree_set(group, 1..3),
        prop::option::of(0..12u8),
    );
    prop::collection::vec(concept, 1..9).prop_map(|concepts| {
        let numbered = concepts.into_iter().enumerate();
        numbered
            .map(|(index, (names, groups, alt))| RawConcept {
                code: format!("C{index}"),
                alt_codes: alt.map(|alt| format!("C{alt}")).into_iter().collect(),
                preferred_name: names[0].to_owned(),
                names: names.into_iter().map(str::to_owned).collect(),
                groups: groups.into_iter().map(str::to_owned).collect(),
                ..RawConcept::default()
            })
            .collect()
    })
}

fn made(raw: Vec<RawConcept>, options: &BuildOptions) -> (Kb, BuildReport) {
    build(raw, Vec::new(), options).unwrap_or_else(|error: Error| panic!("{error}"))
}

/// Levels 0 to 2 and the restoring of preferred names, straight from their definition.
fn oracle(raw: &[RawConcept], group: &str) -> BTreeMap<String, String> {
    let members: Vec<&RawConcept> = raw
        .iter()
        .filter(|c| c.groups.iter().any(|g| g == group))
        .collect();
    let carries = |c: &RawConcept, name: &str| c.names.iter().any(|raw| clean_name(raw) == name);
    let all: BTreeSet<String> = members
        .iter()
        .flat_map(|c| &c.names)
        .map(|n| clean_name(n))
        .collect();
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    for level in 0..4 {
        let before = kept.clone();
        let unserved = |c: &&&RawConcept| !before.values().any(|code| *code == c.code);
        for name in all.iter().filter(|name| !before.contains_key(*name)) {
            let carriers: Vec<&&RawConcept> = members.iter().filter(|c| carries(c, name)).collect();
            let poor: Vec<&&RawConcept> = carriers.iter().copied().filter(unserved).collect();
            let titled: Vec<&&RawConcept> = carriers
                .iter()
                .copied()
                .filter(|c| clean_name(&c.preferred_name) == *name)
                .collect();
            let winner = match level {
                0 => (carriers.len() == 1).then(|| carriers[0]),
                1 => (poor.len() == 1).then(|| poor[0]),
                2 => poor.first().copied(),
                _ => titled
                    .iter()
                    .copied()
                    .find(unserved)
                    .or(titled.first().copied()),
            };
            if let Some(winner) = winner {
                kept.insert(name.clone(), winner.code.clone());
            }
        }
    }
    kept
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn disambiguation_follows_its_definition(raw in concepts()) {
        let options = BuildOptions { drop_capitals: false, ..BuildOptions::default() };
        let (kb, report) = made(raw.clone(), &options);
        for (group, name) in kb.groups() {
            let found: BTreeMap<String, String> = kb
                .names(group)
                .map(|name| (name.text.to_owned(), kb.concept(name.concept).code().to_owned()))
                .collect();
            prop_assert_eq!(found, oracle(&raw, name), "{}\n{}", name, report);
        }
    }

    #[test]
    fn a_name_leads_to_one_concept_and_back(
        raw in concepts(),
        drop_capital_twins in any::<bool>(),
        twins_to_preferred in any::<bool>(),
    ) {
        let options = BuildOptions { drop_capital_twins, twins_to_preferred, ..BuildOptions::default() };
        let (kb, report) = made(raw, &options);
        let mut seen = 0;
        for (group, _) in kb.groups() {
            let names: Vec<_> = kb.names(group).collect();
            prop_assert!(names.is_sorted_by(|a, b| a.text < b.text && a.id < b.id));
            for name in names {
                seen += 1;
                prop_assert_eq!(kb.name(name.id), name);
                prop_assert_eq!(kb.concept_of(group, name.text), Some(name.concept));
                prop_assert!(kb.names_of(name.concept, group).any(|other| other == name));
                prop_assert!(kb.concept(name.concept).groups().any(|g| g == group));
                prop_assert!(kb.names_ignoring_case(&name.text.to_uppercase()).any(|other| other == name));
            }
            for concept in kb.concepts() {
                let names: Vec<_> = kb.names_of(concept.id(), group).collect();
                prop_assert!(names.iter().all(|name| name.concept == concept.id()));
                prop_assert!(names.is_sorted_by_key(|name| (!name.preferred, name.text)));
            }
        }
        prop_assert_eq!(seen, kb.name_count());
        // Every row is kept or counted as dropped, by exactly one decision.
        let count = |kinds: &[DecisionKind]| kinds.iter().map(|&kind| report.count_of(kind)).sum::<u64>();
        use DecisionKind as D;
        let kept = count(&[D::KeptLevel0, D::KeptLevel1, D::KeptLevel2, D::PreferredRestored]);
        let dropped = count(&[D::CapitalsDropped, D::CapitalTwinDropped, D::TwinToPreferred]);
        prop_assert_eq!(kept - dropped, kb.name_count() as u64);
    }

    #[test]
    fn the_order_of_the_input_has_no_say(
        (raw, shuffled) in concepts().prop_flat_map(|raw| (Just(raw.clone()), Just(raw).prop_shuffle())),
    ) {
        let (a, report_a) = made(raw, &BuildOptions::default());
        let mut shuffled = shuffled;
        shuffled.iter_mut().for_each(|concept| concept.names.reverse());
        let (b, report_b) = made(shuffled, &BuildOptions::default());
        prop_assert_eq!(a.manifest(), b.manifest());
        prop_assert_eq!(report_a, report_b);
    }

}

proptest! {
    #![proptest_config(config(24))] // each case syncs twenty files

    #[test]
    fn written_and_opened_it_is_the_same(raw in concepts()) {
        let (kb, _) = made(raw, &BuildOptions::default());
        let dir = tempfile::tempdir().unwrap();
        kb.write(&dir.path().join("kb")).unwrap();
        let opened = Kb::open(&dir.path().join("kb")).unwrap();
        prop_assert_eq!(kb.manifest(), opened.manifest());
        for concept in kb.concepts() {
            let other = opened.concept(concept.id());
            prop_assert_eq!(concept.code(), other.code());
            prop_assert_eq!(concept.preferred_name(), other.preferred_name());
            prop_assert!(concept.alt_codes().eq(other.alt_codes()));
            prop_assert!(concept.names().eq(other.names()));
        }
    }

    #[test]
    fn selection_and_index_agree(raw in concepts(), mention in "[a-zA-Z ]{0,12}|[Ff]lu|common colds") {
        let (kb, _) = made(raw, &BuildOptions::default());
        let index = TfidfIndex::fit(&kb);
        for (group, _) in kb.groups() {
            let near = index.nearest(&kb, group, &mention, usize::MAX >> 8);
            prop_assert!(near.is_sorted_by(|a, b| a.1 >= b.1));
            prop_assert!(near.iter().all(|&(_, score)| score > 0.0 && score < 1.0001));
            let batch = index.nearest_batch(&kb, &[(group, &mention)], 2);
            prop_assert_eq!(&batch[0][..], &near[..near.len().min(2)]);
            let selector = NameSelector::new(&kb, Selection::Tfidf);
            for concept in kb.concepts() {
                let selected = selector.select(&kb, &mention, concept.id(), group);
                prop_assert_eq!(selected.is_some(), kb.names_of(concept.id(), group).next().is_some());
                let indexed = near.iter().find(|(id, _)| kb.name(*id).concept == concept.id());
                if let (Some(selected), Some(&(indexed, _))) = (selected, indexed) {
                    prop_assert_eq!(selected, indexed);
                }
            }
        }
    }
}
