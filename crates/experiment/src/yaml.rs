//! Where in a YAML text a key stands.
//!
//! The parser tells lines only with its errors, and loses them for keys inside tagged enums and for trees that were
//! changed before they were typed. So the text is walked once more, after something went wrong, by a visitor that fails
//! on purpose at the key it looks for: the line of that failure is the line of the key.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

/// One step of a path into a YAML tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A key of a mapping.
    Key(String),
    /// A position in a sequence, from 0.
    Index(usize),
}

/// The steps of a dotted path: `corpus.train[0].path`.
pub(crate) fn steps(dotted: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in dotted.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        steps.extend(
            pieces
                .next()
                .filter(|key| !key.is_empty())
                .map(|key| Step::Key(key.to_owned())),
        );
        let index = |piece: &str| piece.trim_end_matches(']').parse().ok().map(Step::Index);
        steps.extend(pieces.filter_map(index));
    }
    steps
}

/// The line (from 1) of the key that a path leads to, or of the longest beginning of the path that the text has; `None`
/// where it has nothing of it.
pub(crate) fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    (1..=path.len())
        .rev()
        .find_map(|length| exact_line_of(text, &path[..length]))
}

/// As [`line_of`], for the whole path only.
pub(crate) fn exact_line_of(text: &str, path: &[Step]) -> Option<usize> {
    let found = Cell::new(false);
    let walk = Walk {
        path,
        found: &found,
    };
    let error = walk
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    let place = error.location().filter(|_| found.get())?;
    Some(place.line())
}

/// The first key that stands twice in one mapping, with line and column (from 1) of the second place.
pub(crate) fn repeated_key(text: &str) -> Option<(String, usize, usize)> {
    let found = Cell::new(None);
    let error = Repeats { found: &found }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    let key = found.take()?;
    let place = error.location()?;
    Some((key, place.line(), place.column()))
}

/// Line and column (from 1) of the first byte that is not UTF-8, the column in bytes.
pub(crate) fn not_utf8(bytes: &[u8]) -> Option<(usize, usize)> {
    let good = std::str::from_utf8(bytes).err()?.valid_up_to();
    let line = bytes[..good].iter().filter(|b| **b == b'\n').count() + 1;
    let start = bytes[..good]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |p| p + 1);
    Some((line, good - start + 1))
}

/// Fails at the last step of a path.
#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a [Step],
    found: &'a Cell<bool>,
}

impl Walk<'_> {
    fn stop<E: serde::de::Error>(&self) -> E {
        self.found.set(true);
        E::custom("here")
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

/// Scalars end a walk.
macro_rules! ignore_scalars {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any YAML")
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
        fn visit_none<E>(self) -> Result<(), E> {
            Ok(())
        }
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    ignore_scalars!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.path.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let key = || KeyWalk {
            wanted,
            last: rest.is_empty(),
            walk: self,
        };
        while let Some(hit) = map.next_key_seed(key())? {
            if hit {
                map.next_value_seed(Walk { path: rest, ..self })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let wanted = match self.path.split_first() {
            Some((Step::Index(wanted), rest)) => Some((*wanted, rest)),
            _ => None,
        };
        for position in 0.. {
            let more = match wanted {
                Some((index, [])) if index == position => items.next_element_seed(Here(self))?,
                Some((index, rest)) if index == position => {
                    items.next_element_seed(Walk { path: rest, ..self })?
                }
                _ => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// A key of a mapping: does it match? Fails where it is the last step.
struct KeyWalk<'a> {
    wanted: &'a str,
    last: bool,
    walk: Walk<'a>,
}

impl<'de> DeserializeSeed<'de> for KeyWalk<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<bool, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyWalk<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(self.walk.stop()),
            hit => Ok(hit),
        }
    }
}

/// Fails at whatever stands here.
struct Here<'a>(Walk<'a>);

impl<'de> DeserializeSeed<'de> for Here<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Here<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // whatever is visited is "wrong", and being asked what would be right means that the place was reached
        self.0.found.set(true);
        f.write_str("here")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.0.stop())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.0.stop())
    }
}

/// Fails at the first key that stands twice in one mapping.
#[derive(Clone, Copy)]
struct Repeats<'a> {
    found: &'a Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Repeats<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Repeats<'_> {
    type Value = ();

    ignore_scalars!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while map
            .next_key_seed(NewKey {
                seen: &mut seen,
                found: self.found,
            })?
            .is_some()
        {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }
}

struct NewKey<'a> {
    seen: &'a mut BTreeSet<String>,
    found: &'a Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        if self.seen.insert(key.to_owned()) {
            return Ok(());
        }
        self.found.set(Some(key.to_owned()));
        Err(E::custom("twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: t
train:
  epochs: 3
corpus:
  train:
    - path: a
    - {path: b,
       format: jsonl}
matrix: {train.epochs: [1, 2],
         seed: []}
";

    #[test]
    fn keys_are_found_in_block_and_flow_style() {
        for (path, line) in [
            ("name", Some(1)),
            ("train.epochs", Some(3)),
            ("corpus.train[1].path", Some(7)),
            ("corpus.train[1].format", Some(8)),
            ("matrix.seed", Some(10)),
            ("train.missing", Some(2)),
            ("missing", None),
        ] {
            assert_eq!(line_of(TEXT, &steps(path)), line, "{path}");
        }
        let dotted = [Step::Key("matrix".into()), Step::Key("train.epochs".into())];
        assert_eq!(line_of(TEXT, &dotted), Some(9));
        assert_eq!(line_of(TEXT, &steps("corpus.train[0]")), Some(6));
        assert_eq!(exact_line_of(TEXT, &steps("train.missing")), None);
    }

    #[test]
    fn a_repeated_key_is_found_where_it_stands_again() {
        let text = "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n";
        assert_eq!(repeated_key(text), Some(("c".to_owned(), 5, 3)));
        assert_eq!(repeated_key(TEXT), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found() {
        assert_eq!(not_utf8(b"a: 1\nb: \xff\n"), Some((2, 4)));
        assert_eq!(not_utf8("é: 1".as_bytes()), None);
    }
}
