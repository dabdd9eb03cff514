//! The codes of a cell of candidates, without a copy of the cell.
//!
//! A cell of five candidates is a third of its row. [`scan`] reads it as it stands in the file, quotes doubled or not, if it
//! is written as `link` and common libraries write it: objects with `name`, `code` and `score` in this order, strings without
//! escapes. Any other cell, right or wrong, is left to the JSON parser ([`parse`]).

use std::borrow::Cow;

use serde::Deserialize;

/// As [`syncabel_corpus::predictions::Candidate`], without copies of its strings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Candidate<'t> {
    #[serde(borrow, rename = "name")]
    _name: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) code: Cow<'t, str>,
    #[serde(rename = "score")]
    _score: f64,
}

/// The candidates of a cell whose quotes are undone; `None` if it is not such a cell.
pub(super) fn parse(cell: &str) -> Option<Vec<Candidate<'_>>> {
    match cell.trim() {
        "" => Some(Vec::new()),
        cell => serde_json::from_str(cell).ok(),
    }
}

/// Hands over the codes of a cell as it stands in the file, its quotes doubled or not.
///
/// `None` if the cell is not of the usual form; some codes may have been handed over then.
pub(super) fn scan<'t>(written: &'t str, doubled: bool, code: impl FnMut(&'t str)) -> Option<()> {
    match doubled {
        true => Scan::<2>(written).candidates(code),
        false => Scan::<1>(written).candidates(code),
    }
}

/// What is left of a cell in which a quote takes `QUOTE` bytes.
struct Scan<'t, const QUOTE: usize>(&'t str);

impl<'t, const QUOTE: usize> Scan<'t, QUOTE> {
    fn candidates(mut self, mut code: impl FnMut(&'t str)) -> Option<()> {
        self.eat("[")?;
        loop {
            self.eat("{")?;
            self.key("name")?;
            self.string()?;
            self.comma()?;
            self.key("code")?;
            code(self.string()?);
            self.comma()?;
            self.key("score")?;
            self.number()?;
            self.eat("}")?;
            if self.eat("]").is_some() {
                return self.0.is_empty().then_some(());
            }
            self.comma()?;
        }
    }

    fn eat(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn quote(&mut self) -> Option<()> {
        self.eat(&"\"\""[..QUOTE])
    }

    /// A comma, and the blank that Python writes behind it.
    fn comma(&mut self) -> Option<()> {
        self.eat(",")?;
        self.0 = self.0.strip_prefix(' ').unwrap_or(self.0);
        Some(())
    }

    /// A key and its colon.
    fn key(&mut self, name: &str) -> Option<()> {
        self.quote()?;
        self.eat(name)?;
        self.quote()?;
        self.eat(":")?;
        self.0 = self.0.strip_prefix(' ').unwrap_or(self.0);
        Some(())
    }

    fn string(&mut self) -> Option<&'t str> {
        self.quote()?;
        let (string, rest) = self.0.split_at(plain_bytes(self.0.as_bytes()));
        self.0 = rest;
        self.quote()?;
        Some(string)
    }

    /// A number of JSON that a double can hold: few digits before the point, no positive exponent.
    fn number(&mut self) -> Option<()> {
        let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let bytes = self.0.as_bytes();
        let mut length = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(&bytes[length..]);
        let leading_zero = whole > 1 && bytes[length] == b'0';
        if whole == 0 || whole > 300 || leading_zero {
            return None;
        }
        length += whole;
        if bytes.get(length) == Some(&b'.') {
            let fraction = digits(&bytes[length + 1..]);
            if fraction == 0 {
                return None;
            }
            length += 1 + fraction;
        }
        if let Some(exponent) = bytes[length..].strip_prefix(b"e-") {
            let exponent = digits(exponent);
            if exponent == 0 {
                return None;
            }
            length += 2 + exponent;
        }
        self.0 = &self.0[length..];
        Some(())
    }
}

/// Length of the run of bytes that stand for themselves in a JSON string: no quote, no backslash, no control character.
/// Eight bytes are looked at together.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // The highest bit of each byte below `limit`; bytes above the first such byte may be wrong.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let mut length = 0;
    while let Some(word) = bytes.get(length..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let plain = |&&byte: &&u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    length + bytes[length..].iter().take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(written: &str, doubled: bool) -> Option<Vec<String>> {
        let mut codes = Vec::new();
        scan(written, doubled, |code| codes.push(code.to_owned()))?;
        Some(codes)
    }

    fn parsed(cell: &str) -> Option<Vec<String>> {
        let candidates = parse(cell)?;
        Some(
            candidates
                .iter()
                .map(|c| c.code.clone().into_owned())
                .collect(),
        )
    }

    #[test]
    fn usual_cells_are_scanned() {
        for cell in [
            r#"[{"name":"Gout","code":"D006073","score":-0.25}]"#,
            r#"[{"name": "goutte é", "code": "A|B", "score": 1}, {"name": "", "code": "", "score": 1e-05}]"#,
            r#"[{"name":"a name of more than eight bytes","code":"B+C","score":0.30000000000000004},{"name":"b","code":"C","score":-12.5e-7}]"#,
        ] {
            let codes = parsed(cell).unwrap();
            assert_eq!(scanned(cell, false), Some(codes.clone()), "{cell}");
            assert_eq!(
                scanned(&cell.replace('"', "\"\""), true),
                Some(codes),
                "{cell}"
            );
        }
    }

    #[test]
    fn unusual_cells_are_not() {
        let good = r#"[{"name":"Gout","code":"D006073","score":0.25}]"#;
        assert!(scanned(good, false).is_some());
        for (from, to) in [
            ("Gout", r"Go\u0075t"),
            ("Gout", "Go\u{1}ut"),
            ("0.25", "NaN"),
            ("0.25", "01"),
            ("0.25", "1e999"),
            ("0.25", "1."),
            ("0.25", ".5"),
            ("0.25", "1e-"),
            ("}]", "}"),
            ("}]", "}]]"),
            ("}]", "},]"),
            ("score", "scores"),
            ("\"score\":0.25", "\"score\":0.25,\"rank\":1"),
            ("\"code\"", "\"\"code\"\""),
        ] {
            assert_eq!(
                scanned(&good.replacen(from, to, 1), false),
                None,
                "{from} {to}"
            );
        }
        assert_eq!(scanned("", false), None);
        assert_eq!(
            scanned(&good.replace('"', "\"\"").replacen("\"\"", "\"", 1), true),
            None
        );
    }

    proptest! {
        /// Whatever is scanned is what the parser reads.
        #[test]
        fn the_parser_agrees(
            names in prop::collection::vec("[a-zé\"\\\\\t ]{0,20}", 1..4),
            score in "-?[0-9]{1,3}(\\.[0-9]{0,3})?(e-?[0-9]{0,3})?",
            blank in "( |)",
        ) {
            let objects: Vec<String> = names.iter()
                .map(|name| format!("{{\"name\":{blank}\"{name}\",{blank}\"code\":\"{name}\",\"score\":{score}}}"))
                .collect();
            let cell = format!("[{}]", objects.join(","));
            if let Some(codes) = scanned(&cell, false) {
                prop_assert_eq!(Some(codes), parsed(&cell));
            }
            if let Some(codes) = scanned(&cell.replace('"', "\"\""), true) {
                prop_assert_eq!(Some(codes), parsed(&cell));
            }
        }
    }
}
