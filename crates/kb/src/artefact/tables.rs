//! The three shapes of part: string table, list table, number table.
//!
//! Readers go through `from_le_bytes` on byte slices, so nothing depends on alignment or on the
//! machine's byte order, and every access is checked: a damaged part can give wrong answers before
//! [`crate::Kb::verify`] has spoken, but it cannot crash the program.

use crate::Error;

/// Strings, concepts and list values are counted below this, so that one bit of a `u32` stays free.
pub(crate) const COUNT_LIMIT: u64 = 1 << 31;

const WORD: usize = 4;

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(WORD)?;
    let raw = bytes.get(at..at.checked_add(WORD)?)?;
    Some(u32::from_le_bytes(raw.try_into().ok()?))
}

fn count(what: &'static str, value: usize) -> Result<u32, Error> {
    if value as u64 >= COUNT_LIMIT {
        return Err(Error::TooLarge {
            what,
            limit: COUNT_LIMIT,
        });
    }
    Ok(value as u32)
}

/// Numbers: `u32` after `u32`.
#[derive(Clone, Copy)]
pub(crate) struct Numbers<'a>(pub(crate) &'a [u8]);

impl<'a> Numbers<'a> {
    pub(crate) fn len(self) -> usize {
        self.0.len() / WORD
    }

    pub(crate) fn get(self, index: usize) -> Option<u32> {
        word(self.0, index)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).filter_map(move |index| self.get(index))
    }

    /// Cheap check for opening.
    pub(crate) fn check_shape(self, expected: usize) -> Result<(), String> {
        if self.0.len() != expected * WORD {
            return Err(format!(
                "{} bytes where {expected} numbers of {WORD} bytes are due",
                self.0.len()
            ));
        }
        Ok(())
    }

    pub(crate) fn write(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
        values.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

/// A count `n`, then `n + 1` offsets, then a body that the offsets cut into `n` rows.
#[derive(Clone, Copy)]
struct Rows<'a>(&'a [u8]);

impl<'a> Rows<'a> {
    fn len(self) -> usize {
        word(self.0, 0).unwrap_or(0) as usize
    }

    fn body(self) -> &'a [u8] {
        self.0.get((self.len() + 2) * WORD..).unwrap_or(&[])
    }

    /// Start and end of a row in units of the body.
    fn bounds(self, row: usize) -> Option<(usize, usize)> {
        if row >= self.len() {
            return None;
        }
        let start = word(self.0, row + 1)? as usize;
        let end = word(self.0, row + 2)? as usize;
        (start <= end).then_some((start, end))
    }

    fn check_shape(self, expected_rows: usize, unit_bytes: usize) -> Result<(), String> {
        let rows = word(self.0, 0).ok_or("shorter than its own header")? as usize;
        if rows != expected_rows {
            return Err(format!("{rows} rows where {expected_rows} are due"));
        }
        let first = word(self.0, 1).ok_or("the offsets are cut off")?;
        let last = word(self.0, rows + 1).ok_or("the offsets are cut off")? as usize;
        if first != 0 {
            return Err(format!("the first row starts at {first}, not at 0"));
        }
        if last.checked_mul(unit_bytes) != Some(self.body().len()) {
            return Err(format!(
                "the rows need {last} units of {unit_bytes} bytes, the body has {} bytes",
                self.body().len()
            ));
        }
        Ok(())
    }

    fn check_ascending(self) -> Result<(), String> {
        match (0..self.len()).find(|&row| self.bounds(row).is_none()) {
            Some(row) => Err(format!("row {row} ends before it starts")),
            None => Ok(()),
        }
    }
}

/// Strings: row `i` of the body is the UTF-8 text of string `i`.
#[derive(Clone, Copy)]
pub(crate) struct Strings<'a>(pub(crate) &'a [u8]);

impl<'a> Strings<'a> {
    pub(crate) fn len(self) -> usize {
        Rows(self.0).len()
    }

    fn bytes(self, index: usize) -> Option<&'a [u8]> {
        let rows = Rows(self.0);
        let (start, end) = rows.bounds(index)?;
        rows.body().get(start..end)
    }

    /// The string, or an empty one where the table is damaged or the index is out of range.
    pub(crate) fn get(self, index: usize) -> &'a str {
        self.bytes(index)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// Position of a string in a sorted stretch of the table.
    pub(crate) fn find(self, range: std::ops::Range<usize>, text: &str) -> Option<usize> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.bytes(middle).unwrap_or_default().cmp(text.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    pub(crate) fn check_shape(self, expected: usize) -> Result<(), String> {
        Rows(self.0).check_shape(expected, 1)
    }

    /// Full check: every string lies in the body and is UTF-8.
    pub(crate) fn check_content(self) -> Result<(), String> {
        Rows(self.0).check_ascending()?;
        for index in 0..self.len() {
            let bytes = self
                .bytes(index)
                .ok_or_else(|| format!("string {index} lies outside the body"))?;
            std::str::from_utf8(bytes).map_err(|_| format!("string {index} is not UTF-8"))?;
        }
        Ok(())
    }

    /// Full check of a sorted table: strictly ascending by bytes, in every stretch.
    pub(crate) fn check_sorted(self, range: std::ops::Range<usize>) -> Result<(), String> {
        for index in range.start + 1..range.end {
            if self.bytes(index - 1) >= self.bytes(index) {
                return Err(format!("string {index} is out of order"));
            }
        }
        Ok(())
    }

    pub(crate) fn write<S: AsRef<str>>(
        what: &'static str,
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>, Error> {
        let (mut offsets, mut body) = (vec![0u32], Vec::new());
        for string in strings {
            body.extend_from_slice(string.as_ref().as_bytes());
            let end = u32::try_from(body.len()).map_err(|_| Error::TooLarge {
                what,
                limit: u64::from(u32::MAX),
            })?;
            offsets.push(end);
        }
        let mut table = count(what, offsets.len() - 1)?.to_le_bytes().to_vec();
        table.reserve_exact(offsets.len() * WORD + body.len());
        table.extend(offsets.into_iter().flat_map(u32::to_le_bytes));
        table.extend(body);
        Ok(table)
    }
}

/// Lists of numbers: row `i` of the body is list `i`.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a>(pub(crate) &'a [u8]);

impl<'a> Lists<'a> {
    pub(crate) fn len(self) -> usize {
        Rows(self.0).len()
    }

    /// The list; empty where the table is damaged or the index is out of range.
    pub(crate) fn get(self, row: usize) -> impl DoubleEndedIterator<Item = u32> + Clone + 'a {
        let rows = Rows(self.0);
        let (start, end) = rows.bounds(row).unwrap_or_default();
        let bytes = rows
            .body()
            .get(start.saturating_mul(WORD)..end.saturating_mul(WORD))
            .unwrap_or_default();
        let (words, _) = bytes.as_chunks::<WORD>();
        words.iter().map(|raw| u32::from_le_bytes(*raw))
    }

    pub(crate) fn check_shape(self, expected: usize) -> Result<(), String> {
        Rows(self.0).check_shape(expected, WORD)
    }

    /// Full check: the rows ascend and every value is below `limit`.
    pub(crate) fn check_content(self, limit: usize) -> Result<(), String> {
        Rows(self.0).check_ascending()?;
        for row in 0..self.len() {
            if let Some(value) = self.get(row).find(|&value| value as usize >= limit) {
                return Err(format!("row {row} points to {value}, the limit is {limit}"));
            }
        }
        Ok(())
    }

    pub(crate) fn write<L: IntoIterator<Item = u32>>(
        what: &'static str,
        lists: impl IntoIterator<Item = L>,
    ) -> Result<Vec<u8>, Error> {
        let (mut offsets, mut values) = (vec![0u32], Vec::new());
        for list in lists {
            values.extend(list);
            offsets.push(count(what, values.len())?);
        }
        let rows = count(what, offsets.len() - 1)?;
        Ok(Numbers::write(
            std::iter::once(rows).chain(offsets).chain(values),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        let bytes = Strings::write("names", ["", "Asthma", "Œdème"]).unwrap();
        let table = Strings(&bytes);
        assert_eq!(table.len(), 3);
        assert_eq!(table.get(0), "");
        assert_eq!(table.get(2), "Œdème");
        assert_eq!(table.get(3), "");
        assert_eq!(table.find(0..3, "Asthma"), Some(1));
        assert_eq!(table.find(0..3, "asthma"), None);
        assert_eq!(table.find(0..1, "Asthma"), None);
        table.check_shape(3).unwrap();
        table.check_content().unwrap();
        table.check_sorted(0..3).unwrap();
        assert!(table.check_shape(2).is_err());
    }

    #[test]
    fn lists_round_trip() {
        let bytes = Lists::write("lists", [vec![3, 1], vec![], vec![2]]).unwrap();
        let table = Lists(&bytes);
        assert_eq!(table.get(0).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(table.get(1).count(), 0);
        assert_eq!(table.get(7).count(), 0);
        table.check_content(4).unwrap();
        assert!(table.check_content(3).is_err());
    }

    #[test]
    fn no_prefix_of_a_table_passes_its_shape_check_or_panics() {
        let strings = Strings::write("names", ["a", "bc"]).unwrap();
        let lists = Lists::write("lists", [vec![0], vec![1]]).unwrap();
        for cut in 0..strings.len() {
            let table = Strings(&strings[..cut]);
            assert!(table.check_shape(2).is_err(), "{cut}");
            let _ = (table.get(0), table.get(1), table.check_content());
        }
        for cut in 0..lists.len() {
            let table = Lists(&lists[..cut]);
            assert!(table.check_shape(2).is_err(), "{cut}");
            let _ = (table.get(1).count(), table.check_content(2));
        }
    }
}
