//! The documents of a JSON file as pieces of text, one in memory at a time.
//!
//! A file is an array, an array under the key `data` of one object, or values one after the other (one of them, or one a
//! line). Only what stands between documents is understood here; a document's own text goes to the JSON parser, which knows
//! what to say about it.

use std::io::{BufRead, Chain, Read};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::error::{Error, Location};
use crate::io;

/// The text of one document, and where it begins.
pub(super) struct Element {
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
    /// Bytes of the line before it.
    pub(super) column: usize,
}

/// How documents are held together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nothing has been read.
    Unknown,
    /// `[ .., .. ]`.
    Array,
    /// `{"data": [ .., .. ], ..}`.
    Wrapped,
    /// One after the other.
    Sequence,
    /// All have been read.
    Ended,
}

pub(super) struct Elements {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    layout: Layout,
    /// Whether a document has been read.
    begun: bool,
    /// Line of the byte that comes next, from 1, and bytes of the line before it.
    line: usize,
    column: usize,
}

impl Elements {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let mut elements = Elements {
            path: path.to_path_buf(),
            reader: io::open(path)?,
            layout: Layout::Unknown,
            begun: false,
            line: 1,
            column: 0,
        };
        for byte in *b"\xef\xbb\xbf" {
            if elements.peek()? != Some(byte) {
                break;
            }
            elements.reader.consume(1);
        }
        Ok(elements)
    }

    /// The next document; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Element>, Error> {
        if self.layout == Layout::Unknown {
            match self.visible()? {
                None => return Ok(None),
                Some(b'[') => {
                    self.skip(b'[');
                    self.layout = Layout::Array;
                }
                Some(_) => {
                    self.layout = Layout::Sequence;
                    return self.first_of_sequence();
                }
            }
        }
        match self.layout {
            Layout::Unknown | Layout::Ended => Ok(None),
            Layout::Array | Layout::Wrapped => self.next_of_array(),
            Layout::Sequence => match self.visible()? {
                None => Ok(None),
                Some(_) => self.element(Vec::new(), self.place()).map(Some),
            },
        }
    }

    /// The first document, unless what begins is an object around all of them.
    fn first_of_sequence(&mut self) -> Result<Option<Element>, Error> {
        const KEY: &[u8] = b"\"data\"";
        let begin = self.place();
        let mut text = Vec::new();
        if self.peek()? == Some(b'{') {
            text.push(b'{');
            self.skip(b'{');
            while let Some(byte) = self.peek()? {
                let key = text[1..].trim_ascii_start();
                let expected = KEY.get(key.len()).copied();
                if Some(byte) != expected && !(key.is_empty() && is_blank(byte)) {
                    break;
                }
                text.push(byte);
                self.skip(byte);
            }
            if text.ends_with(KEY) {
                self.expect(b':', "a colon after \"data\"")?;
                self.expect(b'[', "a list of documents under \"data\"")?;
                self.layout = Layout::Wrapped;
                return self.next_of_array();
            }
        }
        self.element(text, begin).map(Some)
    }

    fn next_of_array(&mut self) -> Result<Option<Element>, Error> {
        if self.visible()? == Some(b']') {
            self.skip(b']');
            self.end()?;
            return Ok(None);
        }
        if self.begun {
            self.expect(b',', "a comma or the end of the list")?;
            if self.visible()? == Some(b']') {
                return Err(self.wrong("a comma after the last document"));
            }
        }
        if self.visible()?.is_none() {
            return Err(self.wrong("the file ends inside of the list of documents"));
        }
        self.begun = true;
        self.element(Vec::new(), self.place()).map(Some)
    }

    /// What stands behind the list of documents.
    fn end(&mut self) -> Result<(), Error> {
        if self.layout == Layout::Wrapped {
            // The other keys of the object around them; a comma would not be the first thing in it.
            match self.visible()? {
                Some(b',') => self.skip(b','),
                Some(b'}') => {}
                _ => return Err(self.wrong("the object around \"data\" does not end")),
            }
            let (path, line, column) = (self.path.clone(), self.line, self.column);
            let column = column.saturating_sub(1);
            let reader: Chain<&[u8], &mut (dyn BufRead + Send)> = b"{".chain(self.reader.as_mut());
            let rest = serde_json::from_reader::<_, IgnoredAny>(reader);
            rest.map_err(|error| json(&path, line, column, &error))?;
        } else if self.visible()?.is_some() {
            return Err(self.wrong("something stands behind the list of documents"));
        }
        self.layout = Layout::Ended;
        Ok(())
    }

    /// A value that begins at a line and column, and of which `text` has been read.
    fn element(
        &mut self,
        mut text: Vec<u8>,
        (line, column): (usize, usize),
    ) -> Result<Element, Error> {
        let mut depth = usize::from(!text.is_empty());
        let (mut in_string, mut escaped) = (false, false);
        // A key that was looked at may have been read in part.
        for &byte in &text {
            in_string ^= byte == b'"';
        }
        loop {
            let buffer = self.reader.fill_buf().map_err(Error::reading(&self.path))?;
            if buffer.is_empty() {
                break;
            }
            let mut taken = 0;
            let mut complete = false;
            for &byte in buffer {
                if in_string {
                    in_string = escaped || byte != b'"';
                    escaped = !escaped && byte == b'\\';
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        // What stands alone ends before what follows it.
                        b'}' | b']' | b',' if depth == 0 => complete = true,
                        b'}' | b']' => depth -= 1,
                        byte if depth == 0 && is_blank(byte) => complete = true,
                        _ => {}
                    }
                    if complete {
                        break;
                    }
                }
                taken += 1;
                (self.line, self.column) = after(byte, self.line, self.column);
                if depth == 0 && !in_string && matches!(byte, b'}' | b']' | b'"') {
                    complete = true;
                    break;
                }
            }
            text.extend_from_slice(&buffer[..taken]);
            self.reader.consume(taken);
            if complete {
                break;
            }
        }
        if text.is_empty() {
            return Err(self.wrong("a document is due"));
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(Element { text, line, column }),
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let lines = good.iter().filter(|&&byte| byte == b'\n').count();
                let start = good.iter().rposition(|&byte| byte == b'\n');
                Err(Error::NotUtf8 {
                    at: Location::line(&self.path, line + lines),
                    byte: start.map_or(column + good.len(), |start| good.len() - start - 1) + 1,
                })
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, Error> {
        let buffer = self.reader.fill_buf().map_err(Error::reading(&self.path))?;
        Ok(buffer.first().copied())
    }

    /// Takes a byte that was looked at.
    fn skip(&mut self, byte: u8) {
        self.reader.consume(1);
        (self.line, self.column) = after(byte, self.line, self.column);
    }

    fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// The next byte that is not blank, without taking it.
    fn visible(&mut self) -> Result<Option<u8>, Error> {
        loop {
            match self.peek()? {
                Some(byte) if is_blank(byte) => self.skip(byte),
                other => return Ok(other),
            }
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Error> {
        if self.visible()? != Some(byte) {
            return Err(self.wrong(&format!("{what} is due")));
        }
        self.skip(byte);
        Ok(())
    }

    /// Something is wrong with the byte that comes next.
    fn wrong(&self, problem: &str) -> Error {
        Error::Json {
            at: Location::line(&self.path, self.line),
            column: self.column + 1,
            problem: problem.to_owned(),
        }
    }
}

/// Line and column of what follows a byte.
fn after(byte: u8, line: usize, column: usize) -> (usize, usize) {
    match byte {
        b'\n' => (line + 1, 0),
        _ => (line, column + 1),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// An error in JSON of which `column` bytes of a `line` of the file stand before it.
pub(super) fn json(path: &Path, line: usize, column: usize, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    let before = if error.line() <= 1 { column } else { 0 };
    Error::Json {
        at: Location::line(path, line + error.line().max(1) - 1),
        column: before + error.column().max(1),
        // The parser's own place counts from the beginning of the document.
        problem: message
            .split(" at line ")
            .next()
            .unwrap_or(&message)
            .to_owned(),
    }
}
