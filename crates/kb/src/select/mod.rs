//! Choosing among names: for training targets, and as a lexical baseline.
//!
//! The paper trains the model on the name of the gold concept that is nearest to the mention, by
//! TF-IDF over character 3-grams; edit distance and the preferred name are its rivals
//! ([`NameSelector`]). The same vectors over all names of a group give the baseline that every
//! trained model has to beat ([`TfidfIndex`]).
//!
//! # The formula
//!
//! Text is cleaned ([`crate::clean::clean_text`]), lower-cased and cut at white space; each word,
//! with one blank put before and after it, gives all its runs of three characters (what
//! scikit-learn calls `char_wb`). With `N` names in the KB of which `df(g)` contain the gram `g`:
//!
//! ```text
//! weight(g) = count of g in the text · (1 + ln((1 + N) / (1 + df(g))))
//! score     = cosine of the two weight vectors, from 0 to 1
//! ```
//!
//! Grams that no name contains lengthen the mention's vector (`df` = 0): that changes no order, but
//! keeps nonsense from scoring high.
//!
//! # Ties
//!
//! Higher score first, then the preferred name, then fewer characters, then bytes.

mod selector;
mod tfidf;
mod vector;

pub use selector::{NameSelector, ParseSelectionError, Selection};
pub use tfidf::TfidfIndex;
