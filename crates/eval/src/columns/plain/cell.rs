//! Cells as they stand in the file.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

/// A cell, and whether quotes inside of it are written twice.
#[derive(Clone, Copy, Default)]
pub(super) struct Cell<'t> {
    /// What stands in the file, without the quotes around it.
    pub(super) written: &'t str,
    pub(super) quoted: bool,
}

impl<'t> Cell<'t> {
    /// `None` where an opening quote is not that of one whole cell: a tab or a line feed tears it, or text follows the end.
    /// What is between the quotes is looked at by [`Cell::is_whole`] and [`Cell::read`].
    pub(super) fn new(written: &'t str) -> Option<Self> {
        match written.strip_prefix('"') {
            None => Some(Cell {
                written,
                quoted: false,
            }),
            Some(written) => Some(Cell {
                written: written.strip_suffix('"')?,
                quoted: true,
            }),
        }
    }

    /// Whether all quotes inside of quotes are written twice.
    pub(super) fn is_whole(self) -> bool {
        let mut quotes = memchr_iter(b'"', self.written.as_bytes());
        !self.quoted
            || std::iter::from_fn(|| quotes.next().map(|first| (first, quotes.next())))
                .all(|(first, second)| second == Some(first + 1))
    }

    /// What is written; `None` where a quote inside of quotes stands alone.
    pub(super) fn read(self) -> Option<Cow<'t, str>> {
        if !self.quoted || memchr(b'"', self.written.as_bytes()).is_none() {
            return Some(Cow::Borrowed(self.written));
        }
        let mut read = String::with_capacity(self.written.len());
        let mut start = 0;
        let mut quotes = memchr_iter(b'"', self.written.as_bytes());
        while let Some(first) = quotes.next() {
            if quotes.next() != Some(first + 1) {
                return None;
            }
            read.push_str(&self.written[start..=first]);
            start = first + 2;
        }
        read.push_str(&self.written[start..]);
        Some(Cow::Owned(read))
    }
}

/// An offset in characters, as spreadsheets may write it; `None` for anything else.
pub(super) fn chars(cell: &str) -> Option<u32> {
    cell.parse().ok().or_else(|| {
        let cell = cell.trim();
        cell.strip_suffix(".0").unwrap_or(cell).parse().ok()
    })
}

/// A number, or NaN for an empty cell; `None` for anything else.
pub(super) fn number(cell: &str) -> Option<f64> {
    if cell.is_empty() {
        return Some(f64::NAN);
    }
    cell.parse().ok().or_else(|| match cell.trim() {
        "" => Some(f64::NAN),
        cell => cell.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_undone_where_they_are_those_of_a_whole_cell() {
        for (written, expected) in [
            ("a\"\"b", Some("a\"\"b")),
            ("\"\"", Some("")),
            ("\"a b\"", Some("a b")),
            ("\"a\"\"b\"", Some("a\"b")),
            ("\"\"\"\"", Some("\"")),
            ("\"\"\"\"\"é\"\"\"", Some("\"\"é\"")),
            ("\"", None),
            ("\"\"\"", None),
            ("\"a\"\"", None),
            ("\"a\"b", None),
            ("\"a\"b\"", None),
        ] {
            let found = Cell::new(written).and_then(Cell::read);
            assert_eq!(found.as_deref(), expected, "{written}");
            let whole = Cell::new(written).is_some_and(Cell::is_whole);
            assert_eq!(whole, expected.is_some(), "{written}");
        }
    }

    #[test]
    fn numbers_may_have_blanks_around_them() {
        assert_eq!(chars(" 4.0 "), Some(4));
        assert_eq!((chars("4"), chars("-4"), chars("")), (Some(4), None, None));
        assert_eq!(number("\u{a0}0.5 "), Some(0.5));
        assert!(number(" ").is_some_and(f64::is_nan) && number("").is_some_and(f64::is_nan));
        assert_eq!(number("high"), None);
    }
}
