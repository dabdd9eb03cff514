//! OBO stanzas; what is read of them is described in `docs/obo.md`.

use std::path::Path;

use super::Concepts;
use super::lines::{Place, for_each_line};
use super::record::groups_or_default;
use crate::raw::SourceLocation;
use crate::{Error, RawConcept};

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let mut reader = Reader {
        default_group: default_group.map(str::to_owned),
        stanza: Stanza::Header,
        read: Concepts::default(),
    };
    for_each_line(path, |place, line| reader.line(place, line.trim()))?;
    reader.close()?;
    Ok(reader.read)
}

struct Reader {
    default_group: Option<String>,
    stanza: Stanza,
    read: Concepts,
}

enum Stanza {
    Header,
    Term(Box<Term>),
    /// `[Typedef]` and whatever else there is.
    Other,
}

#[derive(Default)]
struct Term {
    concept: RawConcept,
    obsolete: bool,
}

impl Reader {
    fn line(&mut self, place: Place<'_>, line: &str) -> Result<(), Error> {
        if line.is_empty() || line.starts_with('!') {
            return Ok(());
        }
        if line.starts_with('[') {
            self.close()?;
            self.stanza = match line {
                "[Term]" => Stanza::Term(Box::new(Term::at(place.location()))),
                _ => Stanza::Other,
            };
            return Ok(());
        }
        let parts = line.split_once(':');
        let Some((tag, value)) = parts.filter(|(tag, _)| !tag.contains(char::is_whitespace)) else {
            return Err(place.syntax(format!("`{line}` is neither a stanza nor `tag: value`")));
        };
        let value = value.trim();
        match &mut self.stanza {
            Stanza::Header if tag == "default-namespace" => {
                self.default_group.get_or_insert_with(|| plain(value));
                Ok(())
            }
            Stanza::Header | Stanza::Other => Ok(()),
            Stanza::Term(term) => term.tag(place, tag, value),
        }
    }

    /// Ends the current stanza.
    fn close(&mut self) -> Result<(), Error> {
        let Stanza::Term(term) = std::mem::replace(&mut self.stanza, Stanza::Other) else {
            return Ok(());
        };
        if term.obsolete {
            self.read.obsolete += 1;
            return Ok(());
        }
        let mut concept = term.concept;
        for (field, value) in [("id", &concept.code), ("name", &concept.preferred_name)] {
            if value.is_empty() {
                return Err(Error::MissingField {
                    at: concept.location,
                    field,
                });
            }
        }
        let place = Place {
            path: &concept.location.path,
            line: concept.location.line,
        };
        concept.groups = groups_or_default(
            std::mem::take(&mut concept.groups),
            self.default_group.as_deref(),
            place,
            &concept.code,
        )?;
        concept.names.insert(0, concept.preferred_name.clone());
        self.read.concepts.push(concept);
        Ok(())
    }
}

impl Term {
    fn at(location: SourceLocation) -> Self {
        Self {
            concept: RawConcept {
                location,
                ..RawConcept::default()
            },
            obsolete: false,
        }
    }

    fn tag(&mut self, place: Place<'_>, tag: &str, value: &str) -> Result<(), Error> {
        let concept = &mut self.concept;
        match tag {
            "id" => once(place, tag, &mut concept.code, plain(value))?,
            "name" => once(place, tag, &mut concept.preferred_name, plain(value))?,
            "alt_id" => concept.alt_codes.push(plain(value)),
            "is_a" => concept.parents.push(plain(value)),
            "namespace" => concept.groups.push(plain(value)),
            "def" => concept.definitions.push(quoted(place, tag, value)?),
            "synonym" => {
                let name = quoted(place, tag, value)?;
                if !name.trim().is_empty() {
                    concept.names.push(name);
                }
            }
            "is_obsolete" => self.obsolete = plain(value) == "true",
            _ => {}
        }
        Ok(())
    }
}

fn once(place: Place<'_>, tag: &str, slot: &mut String, value: String) -> Result<(), Error> {
    if !slot.is_empty() {
        return Err(place.syntax(format!("a second `{tag}` in the same stanza")));
    }
    *slot = value;
    Ok(())
}

/// An unquoted value: up to an unescaped `!` (comment) or `{` (qualifiers) after a blank.
fn plain(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(unescape)),
            '!' | '{' if text.is_empty() || text.ends_with(' ') => break,
            c => text.push(c),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// The value between the first pair of unescaped quote marks.
fn quoted(place: Place<'_>, tag: &str, value: &str) -> Result<String, Error> {
    let mut chars = value.chars();
    if chars.next() != Some('"') {
        return Err(place.syntax(format!(
            "the value of `{tag}` does not start with a quote mark"
        )));
    }
    let mut text = String::with_capacity(value.len());
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(text),
            '\\' => text.extend(chars.next().map(unescape)),
            c => text.push(c),
        }
    }
    Err(place.syntax(format!("the value of `{tag}` lacks its closing quote mark")))
}

fn unescape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'W' => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (raw, text) in [
            ("HP:0001507 ! Growth abnormality", "HP:0001507"),
            (r#"HP:1 {source="x"} ! y"#, "HP:1"),
            ("Hello! there", "Hello! there"),
            (r"a \! b", "a ! b"),
            (
                r"tab\tnewline\nblank\Wcolon\:",
                "tab\tnewline\nblank colon:",
            ),
            ("true", "true"),
        ] {
            assert_eq!(plain(raw), text, "{raw}");
        }
        let place = Place {
            path: Path::new("x.obo"),
            line: 7,
        };
        let text = quoted(place, "def", r#""He said \"no\" [sic]." [PMID:1, "x"]"#).unwrap();
        assert_eq!(text, r#"He said "no" [sic]."#);
        for bad in ["no quotes", r#""open"#, r#""open\""#, ""] {
            let error = quoted(place, "def", bad).unwrap_err().to_string();
            assert!(error.starts_with("x.obo:7: "), "{error}");
        }
    }
}
