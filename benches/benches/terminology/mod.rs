//! A made-up terminology of MEDIC's shape, so that the KB benches need no file and no tokenizer.

use syncabel_kb::RawConcept;

/// Concepts of MEDIC, which has 6.4 names each on average.
pub(crate) const MEDIC_CONCEPTS: usize = 11_915;

const STEMS: [&str; 24] = [
    "cardi", "nephr", "derm", "oste", "encephal", "hepat", "neur", "my", "arthr", "gastr", "retin",
    "angi", "chondr", "cyst", "aden", "rhin", "pulmon", "lymph", "hem", "glauc", "epilep", "catar",
    "fibr", "leuk",
];
const ENDINGS: [&str; 12] = [
    "itis", "osis", "oma", "opathy", "algia", "emia", "sia", "ectasis", "oid", "al", "ic", "uria",
];
const QUALIFIERS: [&str; 10] = [
    "Congenital",
    "Familial",
    "Type 2",
    "Autosomal Recessive",
    "Juvenile",
    "Syndrome",
    "Deficiency",
    "with Ataxia",
    "of the Left Hand",
    "X-Linked",
];

/// Concepts with six or seven names each: inverted words, capitals, plurals, and now and then a
/// name that another concept has too. The same for the same number.
pub(crate) fn concepts(count: usize) -> Vec<RawConcept> {
    let mut state = 42u64;
    let mut draw = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..count)
        .map(|index| {
            let word = format!(
                "{}o{}{}",
                STEMS[draw(24)],
                STEMS[draw(24)],
                ENDINGS[draw(12)]
            );
            let (first, second) = (QUALIFIERS[draw(10)], QUALIFIERS[draw(10)]);
            let name = format!("{word}, {first} {second} {}", index % 97);
            let mut names = vec![
                name.clone(),
                name.to_uppercase(),
                format!("{first} {word} {second} {}", index % 89),
                format!("{word}s, {second} {first} {}", index % 83),
                format!("{second} {first} {}, {word}", index % 79),
                format!("{word} {index}"),
            ];
            names.extend((index % 5 < 2).then(|| format!("{first} {word}")));
            RawConcept {
                code: format!("D{index:06}"),
                alt_codes: (index % 4 == 0)
                    .then(|| format!("{}", 100_000 + index))
                    .into_iter()
                    .collect(),
                preferred_name: name,
                names,
                groups: vec!["Disease".into()],
                ..RawConcept::default()
            }
        })
        .collect()
}
