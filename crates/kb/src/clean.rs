//! Cleaning of texts and names (paper, section on text format and on synonym cleaning).
//!
//! [`clean_text`] is applied to passages, mentions and names alike: it frees `[ ] { }` for the
//! marks of the model's input and keeps every character offset. [`clean_name`] goes further and is
//! for KB names only.

use std::borrow::Cow;

/// Trailing markers of "not otherwise specified", in English and in Spanish or French.
const UNSPECIFIED: [&str; 6] = ["(NOS)", ", NOS", " NOS", "(SAI)", ", SAI", " SAI"];

/// Which steps [`clean_name_with`] takes beyond [`clean_text`] and white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameCleaning {
    /// Resolve XML character references such as `&apos;` and `&#233;`: MEDIC and MeSH exports
    /// have more than a thousand of them, and no text that is linked ever has.
    pub decode_references: bool,
    /// Strip trailing `(NOS)`, `, NOS`, ` NOS` and the `SAI` equivalents, repeatedly.
    pub strip_unspecified: bool,
    /// Upper-case the first character.
    pub uppercase_first: bool,
}

impl Default for NameCleaning {
    fn default() -> Self {
        Self {
            decode_references: true,
            strip_unspecified: true,
            uppercase_first: true,
        }
    }
}

/// One character of a cleaned text: a no-break space becomes a space, `[` and `{` become `(`, `]`
/// and `}` become `)`, all else stays.
pub fn clean_char(c: char) -> char {
    match c {
        '\u{a0}' => ' ',
        '[' | '{' => '(',
        ']' | '}' => ')',
        other => other,
    }
}

/// Cleans a passage or a mention, one character for one character, so that offsets in characters
/// survive (offsets in bytes do not: a no-break space is two bytes).
///
/// ```
/// use syncabel_kb::clean::clean_text;
/// assert_eq!(clean_text("[1,2]\u{a0}{x}"), "(1,2) (x)");
/// ```
pub fn clean_text(text: &str) -> String {
    text.chars().map(clean_char).collect()
}

/// Cleans a KB name: XML character references resolved, [`clean_text`], runs of white space to one space, outer white space off,
/// trailing "not otherwise specified" markers off, first character upper-cased.
///
/// The result may be empty (`"(NOS)"`); what then happens is for [`crate::build()`] to say.
///
/// ```
/// use syncabel_kb::clean::clean_name;
/// assert_eq!(clean_name(" pneumonia, NOS "), "Pneumonia");
/// ```
pub fn clean_name(name: &str) -> String {
    clean_name_with(name, NameCleaning::default())
}

/// [`clean_name`] with single steps switched off.
pub fn clean_name_with(name: &str, steps: NameCleaning) -> String {
    let name = match steps.decode_references && name.contains('&') {
        true => Cow::Owned(decode_references(name)),
        false => Cow::Borrowed(name),
    };
    let mut clean = String::with_capacity(name.len());
    for word in name.split_whitespace() {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.extend(word.chars().map(clean_char));
    }
    if steps.strip_unspecified {
        strip_unspecified(&mut clean);
    }
    if steps.uppercase_first {
        uppercase_first(&mut clean);
    }
    clean
}

/// Resolves the references of XML; what is none stays as it is.
fn decode_references(name: &str) -> String {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let reference = after.split_once(';');
        rest = match reference.and_then(|(body, rest)| Some((referenced(body)?, rest))) {
            Some((c, rest)) => {
                decoded.push(c);
                rest
            }
            None => {
                decoded.push('&');
                after
            }
        };
    }
    decoded.push_str(rest);
    decoded
}

fn referenced(body: &str) -> Option<char> {
    let code = match body {
        "apos" => return Some('\''),
        "quot" => return Some('"'),
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        _ => body.strip_prefix('#')?,
    };
    let number = match code.strip_prefix('x') {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => code.parse(),
    };
    number.ok().and_then(char::from_u32)
}

/// Strips while anything can be stripped: `Pain, NOS (NOS)` needs two rounds.
fn strip_unspecified(name: &mut String) {
    while let Some(rest) = UNSPECIFIED
        .iter()
        .find_map(|marker| name.strip_suffix(marker))
    {
        let kept_bytes = rest.trim_end().len();
        name.truncate(kept_bytes);
    }
}

fn uppercase_first(name: &mut String) {
    let Some(first) = name.chars().next() else {
        return;
    };
    if !first.is_uppercase() {
        name.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (raw, clean) in [
            ("asthma", "Asthma"),
            ("Asthma", "Asthma"),
            ("  spaced \t out\n", "Spaced out"),
            ("pain\u{a0}NOS", "Pain"),
            ("Pain, NOS (NOS)", "Pain"),
            ("Pain [NOS]", "Pain"),
            ("dolor, SAI", "Dolor"),
            ("dolor (SAI)", "Dolor"),
            ("NOS", "NOS"), // nitric oxide synthase is a name
            ("DINOS", "DINOS"),
            ("(NOS)", ""),
            ("", ""),
            ("œdème", "Œdème"),
            ("{x}[y]", "(x)(y)"),
            ("von Gierke&apos;s Disease", "Von Gierke's Disease"),
            ("m&#233;ni&#xe8;re", "Ménière"),
            (
                "R&D; &; &nope; &#xfffffff; a & b",
                "R&D; &; &nope; &#xfffffff; a & b",
            ),
            ("AT&amp;T", "AT&T"),
        ] {
            assert_eq!(clean_name(raw), clean, "{raw:?}");
            assert_eq!(clean_name(clean), clean, "cleaning twice changes {clean:?}");
        }
    }

    #[test]
    fn steps_switch_off() {
        let steps = NameCleaning {
            decode_references: false,
            strip_unspecified: false,
            uppercase_first: false,
        };
        assert_eq!(clean_name_with("pain&apos;, NOS", steps), "pain&apos;, NOS");
    }

    #[test]
    fn texts_keep_their_character_offsets() {
        let raw = "a\u{a0}[b]\n{c} é";
        assert_eq!(clean_text(raw), "a (b)\n(c) é");
        assert_eq!(clean_text(raw).chars().count(), raw.chars().count());
    }
}
