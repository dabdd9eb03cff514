//! A corpus in Parquet is read row group by row group: memory does not grow with the file.

#![cfg(feature = "parquet")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use syncabel_corpus::{Document, Gold, Language, Mention, Origin, ReadOptions, SpanChars};
use syncabel_experiment::parquet::{Documents, GROUP_ROWS, Writer};

/// Counts the bytes that are held, and the most that ever were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Mentions of a document.
const MENTIONS: usize = 64;

fn document(number: usize) -> Document {
    let text = format!("{number:>8} {}", "goutte ".repeat(MENTIONS));
    let mention = |i: usize| Mention {
        id: format!("{number}.{i}"),
        spans: vec![SpanChars::new(9 + 7 * i as u32, 15 + 7 * i as u32)],
        text: "goutte".into(),
        label: "D".into(),
        gold: Gold::one("C1"),
    };
    Document {
        id: number.to_string(),
        text,
        language: Language::Fr,
        split: None,
        origin: Origin::Human,
        mentions: (0..MENTIONS).map(mention).collect(),
    }
}

/// Bytes held at most while a table of so many row groups is read.
fn peak(path: &Path, groups: usize) -> usize {
    let documents = groups * GROUP_ROWS / MENTIONS;
    let mut writer = Writer::create(path).unwrap();
    for number in 0..documents {
        writer.write(&document(number)).unwrap();
    }
    writer.finish().unwrap();
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let streamed = Documents::open(path, &ReadOptions::default()).unwrap();
    let mut read = 0;
    for (number, found) in streamed.enumerate() {
        assert_eq!(found.unwrap(), document(number));
        read += 1;
    }
    assert_eq!(read, documents);
    PEAK.load(Ordering::Relaxed) - before
}

#[test]
fn memory_is_that_of_a_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.parquet");
    let [few, many] = [3, 12].map(|groups| {
        let peak = peak(&path, groups);
        let size = std::fs::metadata(&path).unwrap().len();
        println!("{groups} row groups, {size} bytes: {peak} held at most");
        peak
    });
    assert!(
        many < few + few / 2,
        "{few} bytes held of 3 row groups, {many} of 12"
    );
}
