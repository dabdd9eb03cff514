//! The little English that a transplant needs: number of a head noun, articles, spelling, numerals.
//!
//! Everything here is a rule with a table, no dictionary: it has to be right for disease and chemical names, and to
//! leave alone what it does not know.

/// Heads that have no plural in this field, or whose `s` is none.
const NO_NUMBER: [&str; 14] = [
    "diabetes", "rabies", "herpes", "scabies", "measles", "mumps", "rickets", "pancreas", "lens",
    "ascites", "tabes", "facies", "caries", "series",
];

/// Endings of singular nouns that end in `s`.
const SINGULAR_S: [&str; 4] = ["ss", "is", "us", "as"];

/// Head nouns that people count: what is pluralised must end in one of these.
const COUNTABLE: [&str; 52] = [
    "abnormality",
    "abscess",
    "adenoma",
    "allergy",
    "aneurysm",
    "anomaly",
    "arrhythmia",
    "astrocytoma",
    "cancer",
    "carcinoma",
    "cataract",
    "cyst",
    "defect",
    "deficiency",
    "deformity",
    "disability",
    "disease",
    "disorder",
    "dystrophy",
    "failure",
    "fracture",
    "glioma",
    "headache",
    "hemorrhage",
    "hernia",
    "impairment",
    "infarction",
    "infection",
    "injury",
    "leukemia",
    "lesion",
    "lymphoma",
    "malformation",
    "malignancy",
    "melanoma",
    "meningioma",
    "myopathy",
    "neoplasm",
    "neuropathy",
    "obstruction",
    "paralysis",
    "polyp",
    "reaction",
    "retinopathy",
    "sarcoma",
    "seizure",
    "stroke",
    "syndrome",
    "tumor",
    "tumour",
    "ulcer",
    "ataxia",
];

/// Grammatical number of a name, judged by its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Singular,
    Plural,
    /// Cannot be told, or makes no difference.
    Mass,
}

/// The number of a phrase's last word.
pub(super) fn number(phrase: &str) -> Number {
    let head = last_word(phrase).to_ascii_lowercase();
    if head.len() < 4 || !head.is_ascii() || NO_NUMBER.contains(&head.as_str()) {
        return Number::Mass;
    }
    if head.ends_with('s') && !SINGULAR_S.iter().any(|ending| head.ends_with(ending)) {
        return Number::Plural;
    }
    if COUNTABLE.contains(&head.as_str()) {
        Number::Singular
    } else {
        Number::Mass
    }
}

/// The phrase with its last word in the plural, if that is a noun people count.
pub(super) fn pluralise(phrase: &str) -> Option<String> {
    let head = last_word(phrase);
    let lower = head.to_ascii_lowercase();
    if !COUNTABLE.contains(&lower.as_str()) {
        return None;
    }
    let stem = &phrase[..phrase.len() - head.len()];
    let upper = head.chars().all(char::is_uppercase);
    let plural = if let Some(base) = lower.strip_suffix("is") {
        format!("{base}es")
    } else if lower.ends_with('y') {
        format!("{}ies", &lower[..lower.len() - 1])
    } else if lower.ends_with('s') {
        format!("{lower}es")
    } else {
        format!("{lower}s")
    };
    Some(format!("{stem}{}", recase(&plural, head, upper)))
}

/// The phrase with its last word in the singular, if that gives a noun people count.
pub(super) fn singularise(phrase: &str) -> Option<String> {
    let head = last_word(phrase);
    let lower = head.to_ascii_lowercase();
    let candidates = [
        lower.strip_suffix("ies").map(|base| format!("{base}y")),
        lower.strip_suffix("es").map(|base| format!("{base}is")),
        lower.strip_suffix("es").map(str::to_owned),
        lower.strip_suffix('s').map(str::to_owned),
    ];
    let singular = candidates
        .into_iter()
        .flatten()
        .find(|word| COUNTABLE.contains(&word.as_str()))?;
    let upper = head.chars().all(char::is_uppercase);
    Some(format!(
        "{}{}",
        &phrase[..phrase.len() - head.len()],
        recase(&singular, head, upper)
    ))
}

/// Writes a lower-case word with the capitals of its model: all, the first letter, or none.
pub(super) fn recase(word: &str, model: &str, all_upper: bool) -> String {
    if all_upper && model.chars().count() > 1 {
        word.to_uppercase()
    } else if model.chars().next().is_some_and(char::is_uppercase) {
        capitalise(word)
    } else {
        word.to_owned()
    }
}

/// First character in upper case.
pub(super) fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// The last run of letters of a phrase.
pub(super) fn last_word(phrase: &str) -> &str {
    let start = phrase.rfind(|c: char| !c.is_alphabetic()).map_or(0, |at| {
        at + phrase[at..].chars().next().map_or(0, char::len_utf8)
    });
    &phrase[start..]
}

/// `a` or `an` before this text.
pub(super) fn indefinite_article(text: &str) -> &'static str {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
    let Some(first) = word.chars().next() else {
        return "a";
    };
    let spelled_out = word.chars().count() == 1 || is_acronym(&word);
    let vowel = if spelled_out {
        "AEFHILMNORSX8aefhilmnorsx".contains(first)
    } else {
        let lower = word.to_lowercase();
        let sounds_like_you = ["uni", "eu", "ure", "uro", "ute", "one", "uvu"]
            .iter()
            .any(|s| lower.starts_with(s));
        let silent_h = ["heir", "hour", "hono"]
            .iter()
            .any(|s| lower.starts_with(s));
        silent_h || ("aeiou8".contains(lower.chars().next().unwrap_or('b')) && !sounds_like_you)
    };
    if vowel { "an" } else { "a" }
}

/// Whether a word is written as an acronym: two capitals or more, and nothing that would be read as a word.
pub(super) fn is_acronym(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let upper = word.chars().filter(|c| c.is_uppercase()).count();
    upper >= 2 && letters <= 7 && upper * 2 > letters
}

/// American and British forms, lower-case, as pieces of words.
const SPELLINGS: [(&str, &str); 26] = [
    ("tumor", "tumour"),
    ("anemi", "anaemi"),
    ("leukemi", "leukaemi"),
    ("hemorrh", "haemorrh"),
    ("hemophil", "haemophil"),
    ("hemochrom", "haemochrom"),
    ("hemoglobin", "haemoglobin"),
    ("hematolog", "haematolog"),
    ("hematoma", "haematoma"),
    ("hematuria", "haematuria"),
    ("hemoly", "haemoly"),
    ("edema", "oedema"),
    ("ischemi", "ischaemi"),
    ("glycemi", "glycaemi"),
    ("uremi", "uraemi"),
    ("toxemi", "toxaemi"),
    ("bacteremi", "bacteraemi"),
    ("calcemi", "calcaemi"),
    ("esophag", "oesophag"),
    ("diarrhea", "diarrhoea"),
    ("celiac", "coeliac"),
    ("fetal", "foetal"),
    ("pediatric", "paediatric"),
    ("color", "colour"),
    ("gynec", "gynaec"),
    ("behavior", "behaviour"),
];

/// The phrase in the other spelling, where a word has two. One word is changed.
pub(super) fn respell(phrase: &str) -> Option<String> {
    let lower = phrase.to_ascii_lowercase();
    if lower.len() != phrase.len() {
        return None;
    }
    for (american, british) in SPELLINGS {
        let (from, to) = if lower.contains(british) {
            (british, american)
        } else {
            (american, british)
        };
        // `color` must not fire inside `colorectal`.
        let found = lower
            .match_indices(from)
            .find(|(at, _)| from != "color" || !lower[*at..].starts_with("colorec"));
        if let Some((at, _)) = found {
            let model = &phrase[at..at + from.len()];
            let upper = model.chars().all(char::is_uppercase);
            return Some(format!(
                "{}{}{}",
                &phrase[..at],
                recase(to, model, upper),
                &phrase[at + from.len()..]
            ));
        }
    }
    None
}

const NUMERALS: [(&str, &str); 12] = [
    ("I", "1"),
    ("II", "2"),
    ("III", "3"),
    ("IV", "4"),
    ("V", "5"),
    ("VI", "6"),
    ("VII", "7"),
    ("VIII", "8"),
    ("IX", "9"),
    ("X", "10"),
    ("XI", "11"),
    ("XII", "12"),
];

/// Whether a word is a Roman numeral up to twelve, possibly with a letter behind it (`IVA`).
pub(super) fn is_roman(word: &str) -> bool {
    let bare = word
        .strip_suffix(['A', 'B', 'C', 'D', 'a', 'b', 'c', 'd'])
        .filter(|b| !b.is_empty())
        .unwrap_or(word);
    NUMERALS
        .iter()
        .any(|(roman, _)| *roman == word || *roman == bare)
}

/// The numeral in the other notation, `II` for `2` and the other way round.
pub(super) fn other_numeral(word: &str) -> Option<&'static str> {
    NUMERALS.iter().find_map(|&(roman, arabic)| match word {
        w if w == roman => Some(arabic),
        w if w == arabic => Some(roman),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_follows_the_head() {
        for (phrase, expected) in [
            ("Breast Cancer", Some("Breast Cancers")),
            ("PAH Deficiency", Some("PAH Deficiencies")),
            ("ABSCESS", Some("ABSCESSES")),
            ("Facial Paralysis", Some("Facial Paralyses")),
            ("Gout", None),
            ("diabetes", None),
        ] {
            assert_eq!(pluralise(phrase).as_deref(), expected, "{phrase}");
        }
        for (phrase, expected) in [
            ("Eye Diseases", Some("Eye Disease")),
            ("Brain Injuries", Some("Brain Injury")),
            ("Abscesses", Some("Abscess")),
            ("Paralyses", Some("Paralysis")),
            ("Rickets", None),
            ("Measles", None),
        ] {
            assert_eq!(singularise(phrase).as_deref(), expected, "{phrase}");
        }
        assert_eq!(number("Eye Diseases"), Number::Plural);
        assert_eq!(number("eye disease"), Number::Singular);
        assert_eq!(number("tuberculosis"), Number::Mass);
        assert_eq!(number("diabetes"), Number::Mass);
    }

    #[test]
    fn articles_follow_the_sound() {
        for (text, article) in [
            ("eye disease", "an"),
            ("unilateral cyst", "a"),
            ("ulcer", "an"),
            ("HIV infection", "an"),
            ("MRI", "an"),
            ("TSH deficiency", "a"),
            ("X-linked disorder", "an"),
            ("hereditary disease", "a"),
            ("Ewing sarcoma", "an"),
            ("European disease", "a"),
        ] {
            assert_eq!(indefinite_article(text), article, "{text}");
        }
    }

    #[test]
    fn spelling_goes_both_ways_and_leaves_colorectal_alone() {
        assert_eq!(respell("Wilms Tumor").as_deref(), Some("Wilms Tumour"));
        assert_eq!(
            respell("HAEMOLYTIC crisis").as_deref(),
            Some("HEMOLYTIC crisis")
        );
        assert_eq!(respell("Edema").as_deref(), Some("Oedema"));
        assert_eq!(respell("Oedema").as_deref(), Some("Edema"));
        assert_eq!(respell("colorectal cancer"), None);
        assert_eq!(
            respell("color blindness").as_deref(),
            Some("colour blindness")
        );
    }

    #[test]
    fn numerals() {
        assert_eq!(other_numeral("II"), Some("2"));
        assert_eq!(other_numeral("4"), Some("IV"));
        assert_eq!(other_numeral("A"), None);
        assert!(is_roman("IVA") && is_roman("I") && !is_roman("A") && !is_roman("VACUUM"));
    }
}
