//! Lines that know whether they are whole.
//!
//! A line is a JSON object whose last member is the checksum of everything before it:
//!
//! ```text
//! {"key":"3f0a...","attempt":1,...,"sum":"91c2b7d40e55aa10"}\n
//! ^---------- checksummed --------^
//! ```
//! `sum` is the first 8 bytes of BLAKE3, in hex. The line stays plain JSON: any tool reads it.

use serde::Serialize;

const OPEN: &[u8] = br#","sum":""#;
const SUM_CHARS: usize = 16;
const CLOSE: &[u8] = br#""}"#;
const TAIL: usize = OPEN.len() + SUM_CHARS + CLOSE.len();

/// The line of a record, line feed included.
pub(super) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).expect("records hold strings and numbers only");
    debug_assert!(
        line.len() > 2 && line.ends_with(b"}"),
        "a record is a non-empty object"
    );
    line.pop();
    let sum = checksum(&line);
    line.extend_from_slice(OPEN);
    line.extend_from_slice(sum.as_bytes());
    line.extend_from_slice(CLOSE);
    line.push(b'\n');
    line
}

/// Whether a line, without its line feed, carries the checksum of its own content.
pub(super) fn is_whole(line: &[u8]) -> bool {
    let Some(at) = line.len().checked_sub(TAIL) else {
        return false;
    };
    let (content, tail) = line.split_at(at);
    tail.starts_with(OPEN)
        && tail.ends_with(CLOSE)
        && &tail[OPEN.len()..OPEN.len() + SUM_CHARS] == checksum(content).as_bytes()
}

fn checksum(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..SUM_CHARS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let line = write(&serde_json::json!({"key": "a", "text": "œdème\n"}));
        let line = line.strip_suffix(b"\n").unwrap();
        assert!(is_whole(line));
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(!is_whole(&changed), "byte {at}");
            assert!(!is_whole(&line[..at]), "cut at {at}");
        }
    }
}
