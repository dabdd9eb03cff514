//! Documents and their mentions, the readers and writers of corpus formats, and the text that the model reads.
//!
//! A corpus comes in as [`Document`]s ([`read`]: PubTator, our JSON Lines, BigBio JSON, SPACCC tables, QUAERO JSON Lines), whoever annotated it: people, a generator of
//! synthetic sentences, or a linker. It leaves as marked sentences ([`marked::mark`]) for linking, as training rows ([`marked::examples`]), or
//! as a file again ([`write()`]). What a linker answers travels in prediction files ([`predictions`]).
//!
//! **One place.** The marked sentence, the prompt and the completion are made in [`marked`] and nowhere else in the workspace, so training and
//! linking cannot disagree about a blank.
//!
//! **Offsets** are Unicode code points everywhere, 0-based, end-exclusive ([`SpanChars`]).
//!
//! **Gold** keeps AND and OR apart ([`Gold`]: alternatives of composites). What a corpus means by `|` and `+` is a rule it must name
//! ([`PubtatorRules`]).
//!
//! # Cost
//! Readers, sentence splitting, abbreviation search and marking are linear in the text; the map from characters to bytes is computed once a
//! document. A corpus is held in memory at about twice its size on disk. What does not fit (a synthetic corpus for all of UMLS) is
//! streamed: read document by document in any format ([`Documents`]), written by [`jsonl::Writer`] and [`predictions::TsvWriter`].
//!
//! # Key types
//! [`Document`], [`Mention`], [`Gold`], [`Corpus`]; [`Documents`], [`ReadOptions`] and [`ReadReport`]; [`marked::MarkedMention`],
//! [`marked::Example`]; [`abbreviation::Expander`]; [`predictions::Prediction`]; [`stats::CorpusStats`].
//!
//! # Example
//! ```
//! use syncabel_corpus::marked::{AbbreviationStep, MarkOptions, mark};
//! use syncabel_corpus::{Document, Gold, Language, Mention, Origin, SpanChars};
//!
//! let document = Document {
//!     id: "note-1".into(),
//!     text: "Copper toxicosis (CT) is inherited. We mapped CT in terriers.".into(),
//!     language: Language::En,
//!     split: None,
//!     origin: Origin::Human,
//!     mentions: vec![Mention {
//!         id: "note-1.1".into(),
//!         spans: vec![SpanChars::new(46, 48)],
//!         text: "CT".into(),
//!         label: "Disease".into(),
//!         gold: Gold::one("C535468"),
//!     }],
//! };
//! document.validate()?;
//! let marked = mark(&document, None, &MarkOptions::default())?;
//! assert_eq!(marked[0].prompt(), "We mapped [CT]{Disease} in terriers.<SEP>[CT] is");
//!
//! let expand = MarkOptions { abbreviations: AbbreviationStep::Expand, ..MarkOptions::default() };
//! let marked = mark(&document, None, &expand)?;
//! assert_eq!(marked[0].prompt(), "We mapped [Copper toxicosis]{Disease} in terriers.<SEP>[Copper toxicosis] is");
//! # Ok::<(), syncabel_corpus::Error>(())
//! ```

pub mod abbreviation;
pub mod bigbio;
mod document;
mod error;
mod format;
mod io;
pub mod jsonl;
pub mod marked;
pub mod predictions;
pub mod pubtator;
pub mod quaero;
mod repairs;
pub mod sentence;
pub mod spaccc;
pub mod stats;
mod stream;
mod text;

pub use document::{
    Composite, Corpus, Document, Gold, Language, Mention, Origin, SpanChars, Split,
};
pub use error::{Error, Location};
pub use format::{
    CorpusFormat, Join, PubtatorRules, ReadOptions, ReadReport, SeveralIds, read, write,
};
pub use repairs::CodeRepairs;
pub use stream::{Documents, Gate};
pub use text::CharIndex;
