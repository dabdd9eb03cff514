//! From a KB name to the mention that is put into a sentence.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use syncabel_corpus::Language;
use syncabel_kb::{ConceptId, GroupId};

use super::english::{self, Number};
use super::lexicon::Lexicon;
use super::operation::{ENGLISH, Material, Operation, TYPO_PROBABILITY, typo};

/// What the place in the sentence asks of the mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) language: Language,
    /// Number of the mention that stood there.
    pub(super) number: Number,
    /// Whether `a` or `an` stands in front.
    pub(super) indefinite: bool,
    /// Whether a noun follows, as in `breast cancer families`.
    pub(super) modifier: bool,
}

/// The mention and its story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) text: String,
    pub(super) operations: Vec<Operation>,
}

/// The concept that a variant must keep denoting.
pub(super) struct Target<'a> {
    pub(super) concept: ConceptId,
    pub(super) group: GroupId,
    pub(super) names: &'a [&'a str],
}

/// Makes a mention out of a name.
///
/// Every step is taken back if its result is a name of another concept of the group, ignoring case, blanks, punctuation,
/// word order and number: so a qualifier that tells two concepts apart is never lost.
pub(super) fn vary(
    name: &str,
    target: &Target<'_>,
    place: Place,
    lexicon: &Lexicon,
    rng: &mut ChaCha8Rng,
) -> Variant {
    let material = Material {
        lexicon,
        names: target.names,
    };
    let mut variant = Variant {
        text: name.to_owned(),
        operations: Vec::new(),
    };
    let apply = |variant: &mut Variant, operation, text: Option<String>| {
        let Some(text) = text.map(|t| t.split_whitespace().collect::<Vec<_>>().join(" ")) else {
            return;
        };
        let usable = !text.is_empty() && text != variant.text;
        if usable && !lexicon.belongs_to_other(target.group, &text, target.concept) {
            variant.text = text;
            variant.operations.push(operation);
        }
    };
    if place.language == Language::En {
        for (operation, probability, rewrite) in ENGLISH {
            if rng.random_bool(probability) {
                let text = rewrite(&variant.text, &material, rng);
                apply(&mut variant, operation, text);
            }
        }
        let text = renumber(&variant.text, place, rng);
        apply(&mut variant, Operation::Number, text);
        if rng.random_bool(TYPO_PROBABILITY) {
            let text = typo(&variant.text, rng);
            apply(&mut variant, Operation::Typo, text);
        }
    }
    if rng.random_bool(0.92) {
        let text = lexicon.decapitalise(&variant.text);
        // Case never changes whose name it is: the check ignores it, and so must we.
        if text != variant.text {
            variant.text = text;
            variant.operations.push(Operation::Case);
        }
    }
    variant
}

/// The number that the place asks for; elsewhere mostly the singular, which people prefer and headings avoid.
fn renumber(text: &str, place: Place, rng: &mut ChaCha8Rng) -> Option<String> {
    let wants_singular = place.indefinite || place.modifier || place.number == Number::Singular;
    match english::number(text) {
        Number::Plural if wants_singular && rng.random_bool(0.85) => english::singularise(text),
        Number::Singular if place.number == Number::Plural && rng.random_bool(0.8) => {
            english::pluralise(text)
        }
        _ => None,
    }
}
