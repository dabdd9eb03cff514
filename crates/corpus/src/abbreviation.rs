//! Abbreviations whose long form the same document defines, found by Schwartz and Hearst's algorithm (2003).
//!
//! About a third of what a first prototype got wrong on unseen NCBI Disease concepts were such abbreviations: one sentence alone cannot
//! tell what `CT` is, while the document says `copper toxicosis (CT)` somewhere else. [`Expander`] collects a document's definitions
//! once and puts long forms in place of short ones inside a mention.
//!
//! Both orders are read, `long form (SF)` and `SF (long form)`. A long form is found by matching the letters and digits of the short form
//! from right to left, the first of them at the start of a word. Beyond the published algorithm, a short form must have a capital letter,
//! and a long form must not cross a line break, leave a bracket open, run on after a comma (`, the`), or hold the short form as a word. And words whose
//! initials are the short form letter by letter come first: the published match is content with `hemochromatosis` for `HH`,
//! where the text has `hereditary hemochromatosis`. A coordination behind the last matched word is cut off: in `ataxias 1 and 2 (SCA1, ..)`
//! the long form of `SCA1` ends with `1`. And an annotated mention may begin earlier than the match, which is content with
//! `chloride diarrhea` for `CLD`: [`Expander::for_mentions`].

use std::collections::HashMap;

use crate::document::SpanChars;
use crate::text::CharIndex;

/// A short form and its long form, where the document defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The abbreviation.
    pub short: SpanChars,
    /// What it stands for.
    pub long: SpanChars,
}

/// Nothing longer is a long form; keeps the cost linear on text full of brackets.
const LONGEST_DEFINITION_BYTES: usize = 300;

/// A longer word is no short form, even without the brackets around it.
const LONGEST_WORD_CHARS: usize = 16;

/// Finds the definitions of a text, in text order. Linear in the length of the text.
///
/// ```
/// use syncabel_corpus::abbreviation::definitions;
/// let text = "Copper toxicosis (CT) in terriers; APC (adenomatous polyposis coli) in people.";
/// let found: Vec<_> = definitions(text).iter()
///     .map(|d| (&text[d.short.start as usize..d.short.end as usize], &text[d.long.start as usize..d.long.end as usize]))
///     .collect();
/// assert_eq!(found, [("CT", "Copper toxicosis"), ("APC", "adenomatous polyposis coli")]);
/// ```
pub fn definitions(text: &str) -> Vec<Definition> {
    let index = CharIndex::new(text);
    let span = |(start, end): (usize, usize)| SpanChars::new(index.char(start), index.char(end));
    brackets(text)
        .filter_map(|(open, close)| definition_at(text, open, close))
        .map(|(short, long)| Definition {
            short: span(short),
            long: span(long),
        })
        .collect()
}

/// Replaces a document's short forms by their long forms.
#[derive(Debug, Clone, Default)]
pub struct Expander {
    /// Long form of each short form; the first definition in the document counts.
    long_forms: HashMap<String, String>,
    /// Length of the longest short form in bytes.
    longest_bytes: usize,
}

impl Expander {
    /// Reads the definitions of a document.
    pub fn for_document(text: &str) -> Self {
        Self::for_mentions(text, &[])
    }

    /// Reads the definitions of a document whose mentions are known.
    ///
    /// A mention that ends where a long form ends and begins before it, with the first letter of the short form,
    /// is the long form (`congenital chloride diarrhea (CLD)`), unless the initials of the shorter one spell
    /// the short form already.
    pub fn for_mentions(text: &str, mentions: &[SpanChars]) -> Self {
        let index = CharIndex::new(text);
        let mut expander = Expander::default();
        for definition in definitions(text) {
            let (Some(short), Some(long)) =
                (index.slice(definition.short), index.slice(definition.long))
            else {
                continue;
            };
            let ends_alike =
                |m: &&SpanChars| m.end == definition.long.end && m.start < definition.long.start;
            let long = mentions
                .iter()
                .filter(ends_alike)
                .filter_map(|&mention| index.slice(mention))
                .filter(|mention| is_fuller(short, long, mention))
                .min_by_key(|mention| mention.len())
                .unwrap_or(long);
            let long = long.split_whitespace().collect::<Vec<_>>().join(" ");
            // `long forms (SFs)` also defines `SF`.
            if let (Some(one), Some(long_one)) = (singular_short(short), singular_long(&long)) {
                expander.add(one, long_one);
            }
            expander.add(short, &long);
        }
        expander
    }

    /// Whether the document defines nothing.
    pub fn is_empty(&self) -> bool {
        self.long_forms.is_empty()
    }

    /// Long form of a short form, exactly as written.
    pub fn long_form(&self, short: &str) -> Option<&str> {
        self.long_forms.get(short).map(String::as_str)
    }

    /// The mention with every short form in it (between word borders, longest first, with or without a plural `s`)
    /// replaced by its long form; `None` if nothing changes.
    ///
    /// What was put in is not looked at again. A short form whose long form stands in the mention already is left alone.
    pub fn expand(&self, mention: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut expanded = String::new();
        let mut position = 0;
        let mut changed = false;
        while position < mention.len() {
            if starts_word(mention, position)
                && let Some((length, long)) = self.short_form_at(mention, position)
            {
                expanded.push_str(&long);
                position += length;
                changed = true;
                continue;
            }
            let next = mention[position..].chars().next().map_or(1, char::len_utf8);
            expanded.push_str(&mention[position..position + next]);
            position += next;
        }
        changed.then_some(expanded)
    }

    fn add(&mut self, short: &str, long: &str) {
        self.longest_bytes = self.longest_bytes.max(short.len());
        self.long_forms
            .entry(short.to_owned())
            .or_insert_with(|| long.to_owned());
    }

    /// The longest short form at a byte position, its length in bytes and what to put there.
    fn short_form_at(&self, mention: &str, position: usize) -> Option<(usize, String)> {
        let rest = &mention[position..];
        // One more byte than the longest, for a plural s.
        let ends = rest
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= self.longest_bytes + 1);
        let mut found = None;
        for end in ends.filter(|&end| {
            rest[end..]
                .chars()
                .next()
                .is_none_or(|c| !c.is_alphanumeric())
        }) {
            let short = &rest[..end];
            let long = match self.long_form(short) {
                Some(long) => Some(long.to_owned()),
                None => short
                    .strip_suffix('s')
                    .and_then(|one| self.long_form(one))
                    .map(plural),
            };
            if let Some(long) = long.filter(|long| !contains_ignoring_case(mention, long)) {
                found = Some((end, long));
            }
        }
        found
    }
}

/// Byte positions of `(` and its `)`, innermost pairs and outer ones, on one line, in order of the opening one.
fn brackets(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut open: Vec<usize> = Vec::new();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => open.push(at),
            b')' => pairs.extend(
                open.pop()
                    .map(|start| (start, at))
                    .filter(|(start, at)| at - start <= LONGEST_DEFINITION_BYTES),
            ),
            b'\n' => open.clear(),
            _ => {}
        }
    }
    pairs.sort_unstable();
    pairs.into_iter()
}

type BytesRange = (usize, usize);

/// The definition that a pair of brackets makes, if any: byte ranges of short and long form.
fn definition_at(text: &str, open: usize, close: usize) -> Option<(BytesRange, BytesRange)> {
    let inner = &text[open + 1..close];
    // `(SF; see text)` and `(SF, also OF)` define with what stands first.
    let first = inner.find([';', ',']).map_or(inner, |end| &inner[..end]);
    let candidate = trimmed_range(text, open + 1, open + 1 + first.len());
    let short = &text[candidate.0..candidate.1];
    let short = short.trim_matches(['"', '\'']);
    let candidate = range_of(text, short);
    let same_line = !text[text[..open].trim_end().len()..open].contains(['\n', '\r']);
    if is_short_form(short) && same_line {
        let before = long_form_window(text, open, short);
        if let Some((start, end)) = best_long_form(short, &text[before.0..before.1]) {
            return Some((candidate, (before.0 + start, before.0 + end)));
        }
    }
    if same_line {
        reversed_definition(text, open, inner)
    } else {
        None
    }
}

/// `SF (long form)`: the word before the bracket is short, and its letters are found from the very start of what is inside.
fn reversed_definition(text: &str, open: usize, inner: &str) -> Option<(BytesRange, BytesRange)> {
    let before = text[..open].trim_end();
    let word_bytes: usize = before
        .chars()
        .rev()
        .take(LONGEST_WORD_CHARS)
        .take_while(|c| !c.is_whitespace())
        .map(char::len_utf8)
        .sum();
    let word_start = before.len() - word_bytes;
    let short = before[word_start..].trim_start_matches(['(', '[', '"', '\'']);
    let first = inner
        .find([';', ','])
        .map_or(inner, |end| &inner[..end])
        .trim();
    if !is_short_form(short) || first.len() <= short.len() {
        return None;
    }
    let (start, end) = best_long_form(short, first)?;
    let leading = first[..start].trim().to_lowercase();
    let only_article = matches!(
        leading.as_str(),
        "" | "the" | "a" | "an" | "for" | "la" | "le" | "el" | "die" | "der" | "das"
    );
    if !only_article || first.split_whitespace().count() > max_words(short) + 1 {
        return None;
    }
    Some((range_of(text, short), range_of(text, &first[start..end])))
}

/// Two to ten characters, at most two words, starts with a letter or digit, has a capital.
fn is_short_form(text: &str) -> bool {
    let chars = text.chars().count();
    (2..=10).contains(&chars)
        && text.split_whitespace().count() <= 2
        && text.chars().next().is_some_and(char::is_alphanumeric)
        && text.chars().any(char::is_uppercase)
        && !text.contains(['(', ')', '[', ']', '=', '<', '>', '%', ':'])
}

/// Schwartz and Hearst's limit on the words of a long form.
fn max_words(short: &str) -> usize {
    let letters = short.chars().filter(|c| c.is_alphanumeric()).count();
    (letters + 5).min(letters * 2)
}

/// The words before the bracket that a long form may take: on the same line, in the same sentence, not too many.
fn long_form_window(text: &str, open: usize, short: &str) -> BytesRange {
    let end = text[..open].trim_end().len();
    let before = &text[..end];
    let mut words = 0;
    let mut start = end;
    let limit = max_words(short);
    let mut in_word = false;
    for (at, c) in before.char_indices().rev().take(LONGEST_DEFINITION_BYTES) {
        if matches!(c, '\n' | '\r') {
            break;
        }
        // A stop before white space ends a sentence, except that it may be an abbreviation's own (`S. aureus`).
        if in_word && c.is_whitespace() {
            words += 1;
            in_word = false;
            if words == limit {
                break;
            }
            let stem = before[..at].trim_end();
            if stem.ends_with([';', '?', '!'])
                || (stem.ends_with('.') && stem.len() > 1 && !single_letter_before_stop(stem))
            {
                break;
            }
        } else if !c.is_whitespace() {
            in_word = true;
            start = at;
        }
    }
    (start, end)
}

fn single_letter_before_stop(stem: &str) -> bool {
    let mut chars = stem.trim_end_matches('.').chars().rev();
    chars.next().is_some_and(char::is_alphabetic)
        && chars.next().is_none_or(|c| !c.is_alphanumeric())
}

/// Whether a mention that ends like the long form, and begins earlier, is a better one.
fn is_fuller(short: &str, long: &str, mention: &str) -> bool {
    let letters = letters_of(short);
    let spelled = initials_long_form(&letters, long) == Some(0);
    let begins = mention
        .chars()
        .next()
        .zip(letters.first())
        .is_some_and(|(a, &b)| same_letter(a, b));
    !spelled && begins && is_long_form(short, &letters, mention)
}

fn letters_of(short: &str) -> Vec<char> {
    short.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The bytes of `window` that are the long form of `short`; they reach to its end, a coordination aside.
fn best_long_form(short: &str, window: &str) -> Option<BytesRange> {
    let letters = letters_of(short);
    let by_initials = initials_long_form(&letters, window)
        .filter(|&at| is_long_form(short, &letters, &window[at..]))
        .map(|at| (at, window.len()));
    by_initials.or_else(|| matched_long_form(short, &letters, window))
}

/// Where a long form ends whose last matched letter stands at byte `last`: with the word of that letter, if a
/// coordination follows (`ataxias 1 and 2`), else with the window.
fn end_before_coordination(window: &str, last: usize) -> usize {
    const JOINTS: [&str; 7] = ["and", "or", "et", "ou", "und", "oder", "y"];
    let word_end = window[last..]
        .find(char::is_whitespace)
        .map_or(window.len(), |at| last + at);
    let joint = window[word_end..].split_whitespace().next();
    if joint.is_some_and(|word| JOINTS.contains(&word)) {
        word_end
    } else {
        window.len()
    }
}

/// Byte at which the last words of `window` begin whose initials are the letters, small words aside.
fn initials_long_form(letters: &[char], window: &str) -> Option<usize> {
    const SMALL: [&str; 14] = [
        "of", "the", "and", "in", "with", "to", "for", "de", "la", "du", "des", "del", "y", "und",
    ];
    let mut wanted = letters.iter().rev().peekable();
    let mut start = None;
    for word in window
        .rsplit(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty())
    {
        let Some(&&letter) = wanted.peek() else { break };
        if word
            .chars()
            .next()
            .is_some_and(|initial| same_letter(initial, letter))
        {
            wanted.next();
            start = Some(range_of(window, word).0);
        } else if !SMALL.contains(&word) {
            return None;
        }
    }
    // A part of a hyphenated word is no place to begin.
    start.filter(|&at| wanted.peek().is_none() && !window[..at].ends_with('-'))
}

/// Schwartz and Hearst's match from right to left.
fn matched_long_form(short: &str, letters: &[char], window: &str) -> Option<BytesRange> {
    let chars: Vec<(usize, char)> = window.char_indices().collect();
    let mut at = chars.len();
    let mut last = None;
    for (i, wanted) in letters.iter().enumerate().rev() {
        loop {
            at = at.checked_sub(1)?;
            let here = same_letter(chars[at].1, *wanted);
            let word_start = at == 0 || !chars[at - 1].1.is_alphanumeric();
            if here && (i > 0 || word_start) {
                last.get_or_insert(at);
                break;
            }
        }
    }
    // The whole word that the first letter was found in, for instance `non-X` and not `X`.
    let start = window[..chars.get(at)?.0]
        .rfind(char::is_whitespace)
        .map_or(0, |p| p + char_len_at(window, p));
    let start = start + window[start..].len()
        - window[start..]
            .trim_start_matches(['(', '[', '"', '\''])
            .len();
    let start = start.min(chars[at].0);
    let end = end_before_coordination(window, chars.get(last?)?.0);
    is_long_form(short, letters, &window[start..end]).then_some((start, end))
}

fn is_long_form(short: &str, letters: &[char], long: &str) -> bool {
    let words = long
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|w| !w.is_empty())
        .count();
    let repeats = long
        .split(|c: char| c.is_whitespace() || "()[]".contains(c))
        .any(|w| w == short);
    let opened = long.matches('(').count() == long.matches(')').count();
    let runs_on = [", the ", ", a ", ", an ", ", which "]
        .iter()
        .any(|comma| long.contains(comma));
    !runs_on
        && long.len() > short.len()
        && words <= letters.len() * 2 + 2
        && !repeats
        && opened
        && long.chars().any(char::is_lowercase)
}

fn same_letter(a: char, b: char) -> bool {
    a == b || a.to_lowercase().eq(b.to_lowercase())
}

fn starts_word(text: &str, position: usize) -> bool {
    text[..position]
        .chars()
        .next_back()
        .is_none_or(|c| !c.is_alphanumeric())
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.len() >= part.len() && text.to_lowercase().contains(&part.to_lowercase())
}

fn char_len_at(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

/// The range of `text[start..end]` without outer white space.
fn trimmed_range(text: &str, start: usize, end: usize) -> BytesRange {
    range_of(text, text[start..end].trim())
}

/// Where a part of `text` stands in it.
fn range_of(text: &str, part: &str) -> BytesRange {
    // `part` was cut out of `text`, so the difference of addresses is its offset.
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    (start, start + part.len())
}

fn singular_short(short: &str) -> Option<&str> {
    let one = short.strip_suffix('s')?;
    (one.chars().count() >= 2 && one.chars().next_back().is_some_and(char::is_uppercase))
        .then_some(one)
}

fn singular_long(long: &str) -> Option<&str> {
    let one = long.strip_suffix('s')?;
    (!one.ends_with(['s', 'i', 'u'])).then_some(one)
}

fn plural(long: &str) -> String {
    if long.ends_with('s') {
        long.to_owned()
    } else {
        format!("{long}s")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let index = CharIndex::new(text);
        let slice = |s| index.slice(s).unwrap().to_owned();
        definitions(text)
            .into_iter()
            .map(|d| (slice(d.short), slice(d.long)))
            .collect()
    }

    #[rstest]
    #[case("the copper toxicosis (CT) locus", "CT", "copper toxicosis")]
    #[case(
        "T-cell prolymphocytic leukemia (T-PLL) is",
        "T-PLL",
        "T-cell prolymphocytic leukemia"
    )]
    #[case(
        "hemolytic uremic syndrome (HUS; see text)",
        "HUS",
        "hemolytic uremic syndrome"
    )]
    #[case(
        "spinocerebellar ataxia type 2 (SCA2)",
        "SCA2",
        "spinocerebellar ataxia type 2"
    )]
    #[case(
        "X-linked dilated cardiomyopathy (XLDCM)",
        "XLDCM",
        "X-linked dilated cardiomyopathy"
    )]
    #[case(
        "hereditary hemochromatosis (HH) is",
        "HH",
        "hereditary hemochromatosis"
    )]
    #[case(
        "attenuated adenomatous polyposis coli (AAPC)",
        "AAPC",
        "attenuated adenomatous polyposis coli"
    )]
    #[case(
        "a deficiency of the complement (DOC) is",
        "DOC",
        "deficiency of the complement"
    )]
    #[case("with HD (Huntington disease), a", "HD", "Huntington disease")]
    #[case("with HD (the Huntington disease) a", "HD", "Huntington disease")]
    #[case("ataxia-telangiectasia (A-T) gene", "A-T", "ataxia-telangiectasia")]
    #[case(
        "le syndrome d’Alport lié à l’X (SALX) est",
        "SALX",
        "syndrome d’Alport lié à l’X"
    )]
    #[case(
        "Breast cancer. Chronic liver disease (CLD)",
        "CLD",
        "Chronic liver disease"
    )]
    #[case(
        "of spinocerebellar ataxias 1 and 2 (SCA1, n = 11; SCA2, n = 10)",
        "SCA1",
        "spinocerebellar ataxias 1"
    )]
    #[case(
        "hereditary nonpolyposis colorectal cancer (\"HNPCC\")",
        "HNPCC",
        "hereditary nonpolyposis colorectal cancer"
    )]
    fn one_definition(#[case] text: &str, #[case] short: &str, #[case] long: &str) {
        assert_eq!(found(text), [(short.to_owned(), long.to_owned())]);
    }

    #[rstest]
    #[case("in three of them (see below)")]
    #[case("the patients (n = 12) were")]
    #[case("a mutation (C282Y) of the gene")]
    #[case("the Pendred, the disease gene (PDS)")]
    #[case("cancer\n(CA) in")]
    #[case("Cats were ill. Dogs (CD) too")]
    #[case("mutations (1) were (P<0.05)")]
    #[case("the gene (APC) and")]
    #[case("() ( ) (")]
    fn no_definition(#[case] text: &str) {
        assert_eq!(found(text), []);
    }

    #[test]
    fn mentions_are_expanded_between_word_borders() {
        let expander = Expander::for_document(
            "Huntington disease (HD), spinocerebellar ataxias (SCAs), atypical haemolytic uraemia (aHU).",
        );
        let cases = [
            ("HD", Some("Huntington disease")),
            ("HDs", Some("Huntington diseases")),
            ("SCA", Some("spinocerebellar ataxia")),
            ("SCAs", Some("spinocerebellar ataxias")),
            (
                "juvenile HD patients",
                Some("juvenile Huntington disease patients"),
            ),
            ("HD-like disease", Some("Huntington disease-like disease")),
            (
                "HD and SCA",
                Some("Huntington disease and spinocerebellar ataxia"),
            ),
            ("HDL", None),
            ("xHD", None),
            ("hd", None),
            ("Huntington disease (HD)", None),
            ("gout", None),
            ("", None),
        ];
        for (mention, expected) in cases {
            assert_eq!(expander.expand(mention).as_deref(), expected, "{mention}");
        }
    }

    #[rstest]
    // The match stops at `chloride`, the mention says where the disease's name begins.
    #[case(
        "Congenital chloride diarrhea (CLD) is",
        (0, 28),
        "CLD",
        "Congenital chloride diarrhea"
    )]
    // Initials that spell the short form are trusted more than a mention.
    #[case("canine copper toxicosis (CT) is", (0, 23), "CT", "copper toxicosis")]
    // A mention that begins with another letter is no long form.
    #[case("familial chloride diarrhea (CLD) is", (0, 26), "CLD", "chloride diarrhea")]
    fn a_mention_says_where_a_long_form_begins(
        #[case] text: &str,
        #[case] (start, end): (u32, u32),
        #[case] short: &str,
        #[case] long: &str,
    ) {
        let expander = Expander::for_mentions(text, &[SpanChars::new(start, end)]);
        assert_eq!(expander.long_form(short), Some(long));
    }

    #[test]
    fn long_forms_are_not_expanded_again() {
        let expander =
            Expander::for_document("Huntington disease (HD) and HD-like ataxia syndrome (HDAS).");
        assert_eq!(
            expander.expand("HDAS").as_deref(),
            Some("HD-like ataxia syndrome")
        );
    }

    #[test]
    fn the_first_definition_counts() {
        let expander = Expander::for_document("Crohn disease (CD) and celiac disease (CD).");
        assert_eq!(expander.long_form("CD"), Some("Crohn disease"));
    }
}
