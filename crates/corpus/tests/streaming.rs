//! Every format is read document by document: the same documents as when it is read whole, and memory that does not grow with
//! the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use syncabel_corpus::{CorpusFormat, Document, Documents, ReadOptions, read};

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

/// Mentions of a document, each `goutte` and a blank behind it.
const MENTIONS: usize = 1000;

const FORMATS: [CorpusFormat; 5] = [
    CorpusFormat::Pubtator,
    CorpusFormat::Jsonl,
    CorpusFormat::Bigbio,
    CorpusFormat::Spaccc,
    CorpusFormat::Quaero,
];

/// Writes so many documents of the same mentions.
fn write(folder: &Path, format: CorpusFormat, documents: usize) -> PathBuf {
    let path = folder.join(format!("{documents}.{format}"));
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    let text = "goutte ".repeat(MENTIONS);
    let each = |mention: &dyn Fn(usize, usize) -> String, between: &str| {
        let mentions: Vec<String> = (0..MENTIONS).map(|i| mention(7 * i, 7 * i + 6)).collect();
        mentions.join(between)
    };
    match format {
        CorpusFormat::Pubtator => {
            for d in 0..documents {
                let row = |from, to| format!("d{d}\t{from}\t{to}\tgoutte\tD\tC1\n");
                write!(file, "d{d}|t|{text}\n{}\n", each(&row, "")).unwrap();
            }
        }
        CorpusFormat::Jsonl | CorpusFormat::Quaero => {
            let mention = |from, to| match format {
                CorpusFormat::Jsonl => format!(
                    "{{\"spans\":[[{from},{to}]],\"text\":\"goutte\",\"label\":\"D\",\"gold\":[[\"C1\"]]}}"
                ),
                _ => format!(
                    "{{\"id\":\"{from}\",\"type\":\"D\",\"spans\":[[{from},{to}]],\"text\":\"goutte\",\"cui\":\"C1\"}}"
                ),
            };
            let key = match format {
                CorpusFormat::Jsonl => "id",
                _ => "doc_id",
            };
            let mentions = each(&mention, ",");
            for d in 0..documents {
                writeln!(
                    file,
                    "{{\"{key}\":\"d{d}\",\"text\":\"{text}\",\"mentions\":[{mentions}]}}"
                )
                .unwrap();
            }
        }
        CorpusFormat::Bigbio => {
            let entity = |from, to| {
                format!(
                    "{{\"id\":\"{from}\",\"type\":\"D\",\"text\":[\"goutte\"],\"offsets\":[[{from},{to}]],\"normalized\":[{{\"db_name\":\"x\",\"db_id\":\"C1\"}}]}}"
                )
            };
            let entities = each(&entity, ", ");
            let length = text.len();
            for d in 0..documents {
                let before = if d == 0 { "[" } else { "," };
                write!(file, "{before}{{\"id\":\"d{d}\",\"passages\":[{{\"id\":\"p\",\"type\":\"t\",\"text\":[\"{text}\"],\"offsets\":[[0,{length}]]}}],\"entities\":[{entities}]}}").unwrap();
            }
            write!(file, "]").unwrap();
        }
        _ => {
            // Label after label, as in the real tables: the rows of a document lie far apart.
            writeln!(file, "filename\tlabel\tstart_span\tend_span\tspan\tcode").unwrap();
            for half in 0..2 {
                for d in 0..documents {
                    let mut rows = String::new();
                    for i in (0..MENTIONS).filter(|i| i % 2 == half) {
                        let (from, to) = (7 * i, 7 * i + 6);
                        writeln!(rows, "d{d}\tL{half}\t{from}\t{to}\tgoutte\tC1").unwrap();
                    }
                    file.write_all(rows.as_bytes()).unwrap();
                }
            }
            let texts = folder.join(format!("{documents}_texts.jsonl"));
            let mut texts = BufWriter::new(std::fs::File::create(texts).unwrap());
            for d in (0..documents).rev() {
                writeln!(texts, "{{\"doc_id\":\"d{d}\",\"text\":\"{text}\"}}").unwrap();
            }
        }
    }
    file.flush().unwrap();
    path
}

/// Reads a file document by document; gives how many mentions there are and the most bytes that were held.
fn stream(path: &Path, format: CorpusFormat) -> (usize, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let documents = Documents::open(path, format, &ReadOptions::default()).unwrap();
    let mentions = documents.map(|document| document.unwrap().mentions.len());
    let mentions = mentions.sum();
    (mentions, PEAK.load(Ordering::Relaxed) - before)
}

/// One test, for all would count into the same numbers.
#[test]
fn formats_are_read_as_streams() {
    const DOCUMENTS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let path = write(folder.path(), format, 3);
        let (corpus, report) = read(&path, format, &ReadOptions::default()).unwrap();
        let mut streamed = Documents::open(&path, format, &ReadOptions::default()).unwrap();
        let documents: Vec<Document> = streamed.by_ref().map(Result::unwrap).collect();
        assert_eq!(documents, corpus.documents, "{format}");
        assert_eq!(streamed.report(), &report, "{format}");
        assert_eq!(report.mentions, 3 * MENTIONS);

        let path = write(folder.path(), format, DOCUMENTS);
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        let (mentions, peak) = stream(&path, format);
        println!("{format}: {size} bytes, {peak} held at most");
        assert_eq!(mentions, DOCUMENTS * MENTIONS);
        // Of SPACCC it is kept where every row lies.
        let kept = match format {
            CorpusFormat::Spaccc => 3 * 16 * mentions,
            _ => 0,
        };
        assert!(
            peak < kept + (4 << 20) && size > 8 << 20,
            "{format}: {peak} bytes held of a file of {size}"
        );
    }
}
