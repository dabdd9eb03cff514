//! Words, and which language they are of.

use syncabel_corpus::Language;

/// The words of a text, lower-cased: runs of letters and digits, with inner apostrophes and hyphens taken as breaks.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Words that every text of a language is full of and that the other three languages do not have, or have rarely.
fn function_words(language: Language) -> &'static [&'static str] {
    match language {
        Language::En => &[
            "the", "of", "and", "to", "with", "was", "were", "is", "that", "for", "by", "from",
            "which", "this", "are", "had", "has", "have", "been", "after", "who", "as", "at",
            "not", "be", "it", "or", "their", "her", "his", "but", "than", "an", "when", "during",
            "she", "he", "between", "could", "can", "may", "into", "without",
        ],
        Language::Fr => &[
            "le", "les", "des", "du", "et", "une", "dans", "pour", "par", "sur", "avec", "est",
            "ont", "été", "qui", "au", "aux", "ou", "ne", "pas", "cette", "ce", "sont", "chez",
            "il", "elle", "plus", "après", "l", "d", "était", "sans", "son", "sa", "ses", "leur",
            "nous", "mais", "être", "lors", "entre", "peut",
        ],
        Language::Es => &[
            "el", "los", "las", "del", "y", "una", "con", "por", "para", "se", "fue", "al", "es",
            "lo", "como", "su", "más", "pero", "sus", "sin", "sobre", "entre", "muy", "también",
            "tras", "desde", "presenta", "o", "había", "está", "que", "no", "un", "durante",
            "hasta", "cuando", "fueron", "puede", "ante",
        ],
        Language::De => &[
            "der", "die", "das", "und", "den", "dem", "des", "ein", "eine", "einer", "eines",
            "einem", "mit", "von", "zu", "bei", "im", "ist", "wurde", "wurden", "nicht", "auf",
            "für", "nach", "als", "auch", "sich", "aus", "oder", "war", "waren", "werden", "durch",
            "wird", "kann", "er", "sie", "es", "zur", "zum", "über", "hat",
        ],
    }
}

/// The language whose function words a text is fuller of than of those of `expected`, by at least two; `None` if there is
/// none, which short sentences and lists of terms get the benefit of.
pub(super) fn other_language(words: &[String], expected: Language) -> Option<Language> {
    let count = |language| {
        let list = function_words(language);
        words
            .iter()
            .filter(|word| list.contains(&word.as_str()))
            .count()
    };
    let own = count(expected);
    let others = Language::ALL
        .into_iter()
        .filter(|&language| language != expected);
    others
        .map(|language| (count(language), language))
        .max_by_key(|&(hits, _)| hits)
        .filter(|&(hits, _)| hits >= own + 2)
        .map(|(_, language)| language)
}

/// Whether more than a third of the letters are not Latin or Greek (Greek stands in the names of many substances).
pub(super) fn other_script(text: &str) -> bool {
    let (mut letters, mut foreign) = (0, 0);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        foreign += usize::from(
            !matches!(c, '\0'..='\u{24f}' | '\u{370}'..='\u{3ff}' | '\u{1e00}'..='\u{1eff}'),
        );
    }
    foreign * 3 > letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let sentences = [
            (
                Language::En,
                "The patient was seen with pain after the removal of a tumour.",
            ),
            (
                Language::Fr,
                "Le patient a été vu pour des douleurs après l'ablation de la tumeur.",
            ),
            (
                Language::Es,
                "El paciente fue visto por dolor tras la extirpación del tumor.",
            ),
            (
                Language::De,
                "Der Patient wurde nach der Entfernung des Tumors mit Schmerzen gesehen.",
            ),
        ];
        for (language, text) in sentences {
            for expected in Language::ALL {
                let found = other_language(&words(text), expected);
                assert_eq!(
                    found,
                    (language != expected).then_some(language),
                    "{text} as {expected}"
                );
            }
        }
        assert_eq!(
            other_language(&words("Acute renal failure."), Language::De),
            None
        );
    }

    #[test]
    fn scripts_are_told_apart() {
        assert!(!other_script("TNF-α in Sjögren's œdème"));
        assert!(other_script("患者有疼痛 and"));
    }
}
