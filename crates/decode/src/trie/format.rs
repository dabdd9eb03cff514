//! The trie's file: byte layout, writing, mapping, checks.
//!
//! All numbers are little-endian, so that parts of the mapped file are used as they lie. Parts begin at multiples of
//! 64 bytes, with zeros between them.
//!
//! ```text
//! header, 192 bytes
//!   0    8  magic              "SYNCTRIE"
//!   8    4  version            FORMAT_VERSION; any other is refused
//!  12    4  eos                the token that ends every sequence; not stored in the nodes
//!  16   32  kb digest          what the names came from
//!  48   32  tokenizer digest   what spelled them
//!  80   32  body digest        BLAKE3 of everything behind header and part table
//! 112   32  head digest        BLAKE3 of header and part table, these 32 bytes being zero
//! 144    4  groups             roots are the nodes 0 .. groups, in the order of group ids
//! 148    4  nodes
//! 152    4  terminals          nodes in which a name may end
//! 156    4  merged             names that share their tokens with another one of their group
//! 160    4  parts              entries of the part table
//! 164    4  longest            tokens of the longest name
//! 168    4  wide               nodes with 63 children or more
//! 172    4  starts             bucket starts of all wide nodes
//! 176   16  zero
//! part table, 24 bytes an entry
//!   0    4  kind               below; a reader skips kinds that it does not know
//!   4    4  width              bytes of one element
//!   8    8  offset             from the beginning of the file
//!  16    8  bytes
//! parts
//!  11  node            u64 x nodes               token, children and flags; the bits are those of `trie::node`
//!  12  wide            u32 x 5 x wide            of each wide node: first child, children, place of its first bucket start,
//!                                                buckets, shift; `trie::node` says how children are looked for
//!  13  bucket start    u32 x starts              see there; each wide node has one more than it has buckets
//!   3  terminal bits   u64 x ceil(nodes / 64)    bit n mod 64 of word n div 64: a name may end in node n
//!   4  terminal rank   u32 x ceil(nodes / 64)    bits set in the words before
//!   5  name            u32 x terminals           name id of the k-th set bit
//!   6  concept         u32 x terminals           its concept id
//!   7  merged          u32 x 2 x merged          pairs (dropped name, name that answers for it)
//!   8  shortest        u8 x nodes                tokens to the nearest end of a name, 0 where one may end; 255: or more
//!   9  longest         u8 x nodes                tokens to the farthest end; 255: or more
//! ```
//!
//! **Order of the nodes.** First the roots. Behind them lie the children of the first root side by side, ascending by
//! token; then everything below the first of them, in the same manner, then everything below the second, and so on; then
//! the next root. So the children of a node have larger numbers than the node, a subtree without its top is one stretch,
//! and a run of nodes without a choice is a run of numbers: a step from a node to a child that it finds by reading on
//! costs nothing, and only steps out of large subtrees wait for memory.
//!
//! Kinds 1 (token), 2 (child start) and 10 (forced) were those of version 2.

use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use syncabel_kb::Digest;

use super::check::Structure;
use super::grow::Parts;
use super::node::{Node, WIDE, Wide};
use crate::Error;

/// First bytes of every trie file.
pub const MAGIC: [u8; 8] = *b"SYNCTRIE";

/// Version of the byte layout. A file of another version is refused with both numbers; a trie is a build product, so
/// the way out is always to build it again. Version 1 had 32-bit tokens only and nothing to look ahead with; version 2 had
/// the nodes level by level, their tokens and the places of their children in arrays of their own.
pub const FORMAT_VERSION: u32 = 3;

/// Parts begin at multiples of this: a cache line, and enough for every element type.
const ALIGNMENT: usize = 64;

#[cfg(target_endian = "big")]
compile_error!(
    "trie files are little-endian and used as they lie; this target needs byte swapping on open"
);

/// The head of the file, as it lies there.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 8],
    version: u32,
    pub(super) eos: u32,
    kb_digest: [u8; 32],
    tokenizer_digest: [u8; 32],
    body_digest: [u8; 32],
    head_digest: [u8; 32],
    pub(super) groups: u32,
    pub(super) nodes: u32,
    pub(super) terminals: u32,
    merged: u32,
    parts: u32,
    pub(super) longest_name: u32,
    wide: u32,
    bucket_starts: u32,
    zero: [u32; 4],
}

const HEADER_BYTES: usize = size_of::<Header>();
const ENTRY_BYTES: usize = size_of::<PartEntry>();

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PartEntry {
    kind: u32,
    width: u32,
    offset: u64,
    bytes: u64,
}

/// Kind, name and element width of each part of version 3, in the order of the file.
const KINDS: [(u32, &str, u32); PART_COUNT] = [
    (11, "node", 8),
    (12, "wide", 4),
    (13, "bucket start", 4),
    (3, "terminal bits", 8),
    (4, "terminal rank", 4),
    (5, "name", 4),
    (6, "concept", 4),
    (7, "merged", 4),
    (8, "shortest", 1),
    (9, "longest", 1),
];
const PART_COUNT: usize = 10;
const NODE: usize = 0;
const WIDE_NODE: usize = 1;
const BUCKET_START: usize = 2;
const TERMINAL_BITS: usize = 3;
const TERMINAL_RANK: usize = 4;
const NAME: usize = 5;
const CONCEPT: usize = 6;
const MERGED: usize = 7;
const SHORTEST: usize = 8;
const LONGEST: usize = 9;

impl Header {
    pub(super) fn kb_digest(&self) -> Digest {
        Digest::from_bytes(self.kb_digest)
    }

    pub(super) fn tokenizer_digest(&self) -> Digest {
        Digest::from_bytes(self.tokenizer_digest)
    }

    /// Bytes that each part must have.
    fn expected_bytes(&self) -> [u64; PART_COUNT] {
        let (nodes, terminals) = (u64::from(self.nodes), u64::from(self.terminals));
        let words = nodes.div_ceil(64);
        [
            8 * nodes,
            size_of::<Wide>() as u64 * u64::from(self.wide),
            4 * u64::from(self.bucket_starts),
            8 * words,
            4 * words,
            4 * terminals,
            4 * terminals,
            8 * u64::from(self.merged),
            nodes,
            nodes,
        ]
    }
}

/// The bytes of a trie file, mapped or freshly built, and where its parts lie.
pub(super) struct Image {
    storage: Storage,
    header: Header,
    parts: [Range<usize>; PART_COUNT],
}

enum Storage {
    Mapped(Mmap),
    /// Words rather than bytes, so that every part is aligned; the second field is the length in bytes.
    Built(Vec<u64>, usize),
}

impl Storage {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Built(words, bytes) => &bytemuck::cast_slice(words)[..*bytes],
        }
    }
}

impl Image {
    /// Lays the parts out as in a file.
    pub(super) fn assemble(
        parts: Parts,
        eos: u32,
        kb: Digest,
        tokenizer: Digest,
    ) -> Result<Self, Error> {
        let mut header = Header {
            magic: MAGIC,
            version: FORMAT_VERSION,
            eos,
            kb_digest: *kb.as_bytes(),
            tokenizer_digest: *tokenizer.as_bytes(),
            groups: parts.groups as u32,
            nodes: parts.nodes.len() as u32,
            terminals: parts.names.len() as u32,
            merged: (parts.merged.len() / 2) as u32,
            parts: PART_COUNT as u32,
            longest_name: parts.longest_name as u32,
            wide: parts.wide.len() as u32,
            bucket_starts: parts.bucket_starts.len() as u32,
            ..Header::zeroed()
        };
        let (table, end) = lay_out(&header);
        let mut words = vec![0u64; end.div_ceil(8)];
        let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..end];
        let head_bytes = HEADER_BYTES + PART_COUNT * ENTRY_BYTES;
        parts.copy_into(bytes, &table);
        header.body_digest = body_digest(&bytes[head_bytes..]);
        header.head_digest = head_digest(&header, &table);
        bytes[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        bytes[HEADER_BYTES..head_bytes].copy_from_slice(bytemuck::cast_slice(&table));
        Self::from_storage(Storage::Built(words, end), Path::new("(a trie in memory)"))
    }

    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(corrupt(path, "the file is empty"));
        }
        // SAFETY: a trie file is only ever replaced as a whole (`write` renames over it), never changed in place, so
        // the mapped bytes stay what they are; `Trie::open` states this for files that others handle.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::from_storage(Storage::Mapped(map), path)
    }

    /// Reads everything: the checksum of the body, and what the walk relies on.
    pub(super) fn verify(&self, path: &Path) -> Result<(), Error> {
        self.check_body(path)?;
        Structure::of(self)
            .check()
            .map_err(|what| corrupt(path, &what))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let written = (|| {
            let mut file = File::create(&beside)?;
            file.write_all(self.bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        })();
        if written.is_err() {
            // The first error is the one to report; a file that was never created needs no removal.
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(io)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn nodes(&self) -> &[Node] {
        bytemuck::cast_slice(&self.bytes()[self.parts[NODE].clone()])
    }

    /// The numbers of a node's children, all of them inside and above its own; none where the file is damaged.
    #[inline]
    pub(super) fn children(&self, node: usize) -> Range<usize> {
        let Some(record) = self.nodes().get(node) else {
            return 0..0;
        };
        let (first, children) = match (record.children(), record.link()) {
            (WIDE, place) => match self.wide().get(place as usize) {
                Some(wide) => (wide.first, wide.children),
                None => (0, 0),
            },
            (few, first) => (first, few),
        };
        self.above(node, first, children)
    }

    /// The children of a node among which the one behind `token` is, if there is one; as safe as [`Image::children`].
    #[inline]
    pub(super) fn children_near(&self, node: usize, token: u32) -> Range<usize> {
        match self.nodes().get(node) {
            Some(record) if record.children() == WIDE => self
                .bucket(record.link(), token)
                .map_or(0..0, |(first, children)| self.above(node, first, children)),
            _ => self.children(node),
        }
    }

    /// First child and number of children of the bucket of a wide node in which `token` would be.
    fn bucket(&self, place: u32, token: u32) -> Option<(u32, u32)> {
        let wide = self.wide().get(place as usize)?;
        let bucket = token.checked_shr(wide.shift)?;
        if bucket >= wide.buckets {
            return None;
        }
        let at = wide.starts as usize + bucket as usize;
        let starts = self.bucket_starts().get(at..at + 2)?;
        let first = wide.first.checked_add(starts[0])?;
        Some((first, starts[1].checked_sub(starts[0])?))
    }

    /// The range, if all of it lies above `node` and inside.
    #[inline]
    fn above(&self, node: usize, first: u32, children: u32) -> Range<usize> {
        let range = first as usize..first as usize + children as usize;
        if range.start > node && range.end <= self.header.nodes as usize {
            range
        } else {
            0..0
        }
    }

    pub(super) fn wide(&self) -> &[Wide] {
        bytemuck::cast_slice(&self.bytes()[self.parts[WIDE_NODE].clone()])
    }

    pub(super) fn bucket_starts(&self) -> &[u32] {
        self.words(BUCKET_START)
    }

    pub(super) fn shortest(&self) -> &[u8] {
        &self.bytes()[self.parts[SHORTEST].clone()]
    }

    pub(super) fn longest(&self) -> &[u8] {
        &self.bytes()[self.parts[LONGEST].clone()]
    }

    pub(super) fn terminal_bits(&self) -> &[u64] {
        bytemuck::cast_slice(&self.bytes()[self.parts[TERMINAL_BITS].clone()])
    }

    pub(super) fn terminal_rank(&self) -> &[u32] {
        self.words(TERMINAL_RANK)
    }

    pub(super) fn names(&self) -> &[u32] {
        self.words(NAME)
    }

    pub(super) fn concepts(&self) -> &[u32] {
        self.words(CONCEPT)
    }

    pub(super) fn merged(&self) -> &[u32] {
        self.words(MERGED)
    }

    /// Name and bytes of each part, with the head and the gaps between parts last.
    pub(super) fn sizes(&self) -> Vec<(&'static str, u64)> {
        let mut sizes: Vec<_> = KINDS
            .iter()
            .zip(&self.parts)
            .map(|(&(_, name, _), range)| (name, range.len() as u64))
            .collect();
        let parts: u64 = sizes.iter().map(|&(_, bytes)| bytes).sum();
        sizes.push(("head and padding", self.bytes().len() as u64 - parts));
        sizes
    }

    fn words(&self, part: usize) -> &[u32] {
        bytemuck::cast_slice(&self.bytes()[self.parts[part].clone()])
    }

    /// Reads header and part table; after this every part lies inside the file, aligned, in its right size.
    fn from_storage(storage: Storage, path: &Path) -> Result<Self, Error> {
        let bytes = storage.bytes();
        if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
            return Err(Error::NotATrie {
                path: path.to_owned(),
            });
        }
        let cut = || corrupt(path, "it ends inside its header");
        let header: Header =
            bytemuck::pod_read_unaligned(bytes.get(..HEADER_BYTES).ok_or_else(cut)?);
        if header.version != FORMAT_VERSION {
            return Err(Error::Version {
                path: path.to_owned(),
                found: header.version,
                expected: FORMAT_VERSION,
            });
        }
        let table_end = (header.parts as usize)
            .checked_mul(ENTRY_BYTES)
            .and_then(|n| n.checked_add(HEADER_BYTES));
        let table_bytes = table_end
            .and_then(|end| bytes.get(HEADER_BYTES..end))
            .ok_or_else(cut)?;
        let table: Vec<PartEntry> = table_bytes
            .chunks_exact(ENTRY_BYTES)
            .map(bytemuck::pod_read_unaligned)
            .collect();
        if head_digest(&header, &table) != header.head_digest {
            return Err(corrupt(path, "the checksum of its header is wrong"));
        }
        let parts = locate(&header, &table, bytes.len()).map_err(|what| corrupt(path, &what))?;
        Ok(Self {
            storage,
            header,
            parts,
        })
    }

    fn check_body(&self, path: &Path) -> Result<(), Error> {
        let head_bytes = HEADER_BYTES + self.header.parts as usize * ENTRY_BYTES;
        if body_digest(&self.bytes()[head_bytes..]) != self.header.body_digest {
            return Err(corrupt(path, "the checksum of its body is wrong"));
        }
        Ok(())
    }
}

/// Where each part of [`KINDS`] lies.
fn locate(
    header: &Header,
    table: &[PartEntry],
    file_bytes: usize,
) -> Result<[Range<usize>; PART_COUNT], String> {
    let expected = header.expected_bytes();
    let mut parts: [Range<usize>; PART_COUNT] = Default::default();
    for (part, (kind, name, width)) in KINDS.into_iter().enumerate() {
        let entry = table
            .iter()
            .find(|entry| entry.kind == kind)
            .ok_or_else(|| format!("part {name:?} is missing"))?;
        if entry.width != width || entry.bytes != expected[part] {
            return Err(format!(
                "part {name:?} has {} bytes of width {}, expected {} of width {width}",
                entry.bytes, entry.width, expected[part]
            ));
        }
        let end = entry
            .offset
            .checked_add(entry.bytes)
            .filter(|&end| end <= file_bytes as u64);
        let end = end.ok_or_else(|| {
            format!("part {name:?} reaches beyond the end of the file (was it cut short?)")
        })?;
        if entry.offset % ALIGNMENT as u64 != 0 {
            return Err(format!(
                "part {name:?} begins at byte {}, which is not aligned",
                entry.offset
            ));
        }
        parts[part] = entry.offset as usize..end as usize;
    }
    Ok(parts)
}

/// Where parts of the sizes that the header asks for are put, and where the file ends.
fn lay_out(header: &Header) -> ([PartEntry; PART_COUNT], usize) {
    let mut table = [PartEntry::zeroed(); PART_COUNT];
    let mut end = HEADER_BYTES + PART_COUNT * ENTRY_BYTES;
    let sizes = header.expected_bytes();
    for (part, (entry, bytes)) in table.iter_mut().zip(sizes).enumerate() {
        let (kind, _, width) = KINDS[part];
        let offset = end.next_multiple_of(ALIGNMENT);
        *entry = PartEntry {
            kind,
            width,
            offset: offset as u64,
            bytes,
        };
        end = offset + bytes as usize;
    }
    (table, end)
}

impl Parts {
    /// Writes every part to its place, and lets go of it.
    fn copy_into(self, bytes: &mut [u8], table: &[PartEntry; PART_COUNT]) {
        let mut put = |part: usize, source: &[u8]| {
            bytes[table[part].offset as usize..][..source.len()].copy_from_slice(source);
        };
        put(NODE, bytemuck::cast_slice(&self.nodes));
        drop(self.nodes);
        put(WIDE_NODE, bytemuck::cast_slice(&self.wide));
        put(BUCKET_START, bytemuck::cast_slice(&self.bucket_starts));
        put(TERMINAL_BITS, bytemuck::cast_slice(&self.terminal_bits));
        put(TERMINAL_RANK, bytemuck::cast_slice(&self.terminal_rank));
        put(NAME, bytemuck::cast_slice(&self.names));
        put(CONCEPT, bytemuck::cast_slice(&self.concepts));
        put(MERGED, bytemuck::cast_slice(&self.merged));
        put(SHORTEST, &self.shortest);
        put(LONGEST, &self.longest);
    }
}

fn body_digest(body: &[u8]) -> [u8; 32] {
    *blake3::hash(body).as_bytes()
}

fn head_digest(header: &Header, table: &[PartEntry]) -> [u8; 32] {
    let mut header = *header;
    header.head_digest = [0; 32];
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytemuck::bytes_of(&header));
    hasher.update(bytemuck::cast_slice(table));
    *hasher.finalize().as_bytes()
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_as_documented() {
        assert_eq!(HEADER_BYTES, 192);
        assert_eq!(ENTRY_BYTES, 24);
        assert_eq!(std::mem::offset_of!(Header, head_digest), 112);
        assert_eq!(std::mem::offset_of!(Header, parts), 160);
        assert_eq!(std::mem::offset_of!(Header, longest_name), 164);
        assert_eq!(std::mem::offset_of!(Header, wide), 168);
    }
}
