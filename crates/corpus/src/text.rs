//! Character offsets over UTF-8 text, computed once a document.

use crate::document::SpanChars;

/// Maps character offsets of a text to bytes and back.
///
/// Built in one pass; costs nothing for ASCII text and four bytes a character otherwise. Character to byte is O(1),
/// byte to character O(log n).
#[derive(Debug, Clone)]
pub struct CharIndex<'t> {
    text: &'t str,
    /// Byte offset of every character and, last, the length; `None` if characters are bytes.
    bytes_of_chars: Option<Vec<u32>>,
}

impl<'t> CharIndex<'t> {
    /// Indexes a text.
    pub fn new(text: &'t str) -> Self {
        let bytes_of_chars = (!text.is_ascii()).then(|| {
            let mut offsets: Vec<u32> = text.char_indices().map(|(byte, _)| byte as u32).collect();
            offsets.push(text.len() as u32);
            offsets
        });
        CharIndex {
            text,
            bytes_of_chars,
        }
    }

    /// Length of the text in characters.
    pub fn len_chars(&self) -> usize {
        self.bytes_of_chars
            .as_ref()
            .map_or(self.text.len(), |b| b.len() - 1)
    }

    /// Byte offset of a character offset, which may be the length.
    pub fn byte(&self, char: u32) -> Option<usize> {
        match &self.bytes_of_chars {
            None => ((char as usize) <= self.text.len()).then_some(char as usize),
            Some(bytes) => bytes.get(char as usize).map(|&b| b as usize),
        }
    }

    /// Character offset of a byte offset that lies on a character border.
    pub fn char(&self, byte: usize) -> u32 {
        match &self.bytes_of_chars {
            None => byte as u32,
            Some(bytes) => bytes.partition_point(|&b| (b as usize) < byte) as u32,
        }
    }

    /// The text under a span; `None` if it leaves the text or runs backwards.
    pub fn slice(&self, span: SpanChars) -> Option<&'t str> {
        self.text.get(self.byte(span.start)?..self.byte(span.end)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_both_ways() {
        for text in ["plain", "é𝛼b\u{301}c", ""] {
            let index = CharIndex::new(text);
            let chars: Vec<(usize, char)> = text.char_indices().collect();
            assert_eq!(index.len_chars(), chars.len());
            for (i, (byte, _)) in chars.iter().enumerate() {
                assert_eq!(index.byte(i as u32), Some(*byte));
                assert_eq!(index.char(*byte), i as u32);
            }
            assert_eq!(index.byte(chars.len() as u32), Some(text.len()));
            assert_eq!(index.byte(chars.len() as u32 + 1), None);
        }
    }

    #[test]
    fn slices_by_characters() {
        let index = CharIndex::new("é𝛼bc");
        assert_eq!(index.slice(SpanChars::new(1, 3)), Some("𝛼b"));
        assert_eq!(index.slice(SpanChars::new(3, 5)), None);
        assert_eq!(index.slice(SpanChars::new(3, 1)), None);
    }
}
