//! Codes as the scorer compares them.
//!
//! A gold field is alternatives (`|`) of composites (`+`). For comparison every part of a composite is trimmed,
//! the parts are sorted and joined again, so the order in which an annotator wrote them does not matter. With a
//! KB each part is first replaced by the primary code of the concept it resolves to, so that an alternate id
//! and the primary id of one concept are the same answer.

use std::collections::HashMap;

use syncabel_kb::Kb;

/// The answer "none of the KB's concepts".
pub const NIL: &str = "NIL";

/// How annotators and the authors' decoder write "no code was found".
pub const NO_CODE: &str = "NO_CODE";

/// One composite, ready to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Parts, trimmed and resolved, in the order of the field.
    pub(crate) parts: Vec<String>,
    /// Parts sorted and joined by `+`.
    pub(crate) key: String,
    /// Whether every part is a concept of the KB; `true` without a KB.
    pub(crate) known: bool,
}

impl Canonical {
    /// The parts joined in the order of the field: what the authors' code puts into the set of training codes.
    pub(crate) fn unsorted(&self) -> String {
        self.parts.join("+")
    }

    /// Whether this can be a right answer at all.
    pub(crate) fn is_answer(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| is_answer(part))
    }
}

/// Whether a single code can be a right answer.
pub(crate) fn is_answer(code: &str) -> bool {
    code != NIL && code != NO_CODE
}

/// Whether a field is one code, written as it is compared where there is no KB.
pub(crate) fn is_plain(field: &str) -> bool {
    !field.is_empty() && field.trim().len() == field.len() && !field.contains(['+', '|'])
}

/// Canonical forms of code fields, remembered, since the same few thousand codes fill tens of thousands of rows.
#[derive(Debug)]
pub(crate) struct Canonicaliser<'k> {
    kb: Option<&'k Kb>,
    parts: HashMap<String, (String, bool)>,
}

impl<'k> Canonicaliser<'k> {
    pub(crate) fn new(kb: Option<&'k Kb>) -> Self {
        Canonicaliser {
            kb,
            parts: HashMap::new(),
        }
    }

    /// The alternatives of a gold field.
    pub(crate) fn alternatives(&mut self, field: &str) -> Vec<Canonical> {
        field
            .split('|')
            .map(|composite| self.composite(composite))
            .filter(|c| !c.parts.is_empty())
            .collect()
    }

    /// One composite.
    pub(crate) fn composite(&mut self, field: &str) -> Canonical {
        self.of_parts(field.split('+'))
    }

    /// One composite whose parts are already apart.
    pub(crate) fn of_parts<'a>(&mut self, parts: impl IntoIterator<Item = &'a str>) -> Canonical {
        let mut known = true;
        let mut resolved = Vec::new();
        for part in parts {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let (code, in_kb) = self.part(part);
            known &= in_kb;
            resolved.push(code);
        }
        let mut sorted = resolved.clone();
        sorted.sort_unstable();
        Canonical {
            key: sorted.join("+"),
            parts: resolved,
            known,
        }
    }

    fn part(&mut self, part: &str) -> (String, bool) {
        let Some(kb) = self.kb else {
            return (part.to_owned(), true);
        };
        if let Some(found) = self.parts.get(part) {
            return found.clone();
        }
        let found = match kb.resolve(part) {
            Some(concept) => (kb.concept(concept).code().to_owned(), true),
            None => (part.to_owned(), false),
        };
        self.parts.insert(part.to_owned(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composites_are_compared_without_order_and_blanks() {
        let mut codes = Canonicaliser::new(None);
        let gold = codes.alternatives(" B + A |C");
        assert_eq!(gold[0].key, "A+B");
        assert_eq!(gold[0].unsorted(), "B+A");
        assert_eq!(gold[1].key, "C");
        assert_eq!(codes.composite("A+B").key, gold[0].key);
        assert!(codes.alternatives(" | ").is_empty());
    }

    #[test]
    fn nothing_is_never_an_answer() {
        let mut codes = Canonicaliser::new(None);
        for nothing in ["", " ", NIL, NO_CODE, "A+NO_CODE", "+"] {
            assert!(!codes.composite(nothing).is_answer(), "{nothing:?}");
        }
        assert!(codes.composite("A").is_answer());
    }
}
