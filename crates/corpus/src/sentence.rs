//! Sentence splitting for biomedical text in English, French, Spanish and German.
//!
//! The paper splits with trained Punkt models; these are own rules in three steps:
//!
//! 1. runs of line breaks are boundaries;
//! 2. inside a line, the boundaries of Unicode's UAX-29 are candidates, and written rules take away those that follow an
//!    abbreviation, an initial, an ordinal or a list number, or that lie inside brackets;
//! 3. a boundary inside a protected span (an annotated mention) is suppressed, whatever made it.
//!
//! Spans come trimmed of outer white space, in order, apart from each other, and together hold all that is not white. Cost: one pass over
//! the text, linear in its length plus the number of protected spans (sorted).

mod words;

use unicode_segmentation::UnicodeSegmentation;

use crate::document::{Language, SpanChars};
use crate::text::CharIndex;

/// Splits a text into sentences, in characters.
///
/// ```
/// use syncabel_corpus::{Language, sentence};
/// let text = "E. coli grew (Fig. 2). It was treated i.v. with 2.5 mg.\nDr. Roe agreed.";
/// let cut: Vec<&str> = sentence::split(text, Language::En, &[])
///     .iter().map(|s| &text[s.start as usize..s.end as usize]).collect();
/// assert_eq!(cut, ["E. coli grew (Fig. 2).", "It was treated i.v. with 2.5 mg.", "Dr. Roe agreed."]);
/// ```
pub fn split(text: &str, language: Language, protected: &[SpanChars]) -> Vec<SpanChars> {
    let index = CharIndex::new(text);
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    for (start, end) in lines(text) {
        split_line(text, start, end, language, &mut pieces);
    }
    let spans = pieces
        .into_iter()
        .map(|(start, end)| SpanChars::new(index.char(start), index.char(end)))
        .collect();
    join_protected(spans, protected)
}

/// Byte ranges between runs of line breaks, trimmed, without empty ones.
fn lines(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.split([
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ])
    .filter_map(move |line| {
        let trimmed = line.trim();
        // Both are parts of `text`, so the difference of addresses is the offset.
        let start = trimmed.as_ptr() as usize - text.as_ptr() as usize;
        (!trimmed.is_empty()).then_some((start, start + trimmed.len()))
    })
}

fn split_line(
    text: &str,
    start: usize,
    end: usize,
    language: Language,
    pieces: &mut Vec<(usize, usize)>,
) {
    let mut sentence_start = start;
    let mut piece_start = start;
    let mut brackets = Brackets::default();
    let mut candidates = text[start..end].split_sentence_bounds().peekable();
    while let Some(piece) = candidates.next() {
        let piece_end = piece_start + piece.len();
        brackets.read(piece);
        let cut = match candidates.peek() {
            None => true,
            Some(next) => {
                !brackets.closed_by(&text[piece_end..end])
                    && is_boundary(&text[sentence_start..piece_end], next, language)
            }
        };
        if cut {
            // A closing quote apart from the stop (`. »`) still belongs to the sentence it closes.
            let cut_at = piece_end + leading_closers(&text[piece_end..end], language);
            let trimmed = text[sentence_start..cut_at].trim();
            if !trimmed.is_empty() {
                let trimmed_start = trimmed.as_ptr() as usize - text.as_ptr() as usize;
                pieces.push((trimmed_start, trimmed_start + trimmed.len()));
            }
            sentence_start = cut_at;
            brackets = Brackets::default();
        }
        piece_start = piece_end;
    }
}

/// Bytes of closing quotes and brackets at the start of what follows a boundary.
fn leading_closers(rest: &str, language: Language) -> usize {
    // German texts also quote the other way round, »so«.
    let closes = |c: char| matches!(c, ')' | ']' | '”') || (c == '»' && language != Language::De);
    let run = rest
        .char_indices()
        .take_while(|(_, c)| closes(*c) || c.is_whitespace());
    run.filter(|(_, c)| closes(*c))
        .last()
        .map_or(0, |(at, c)| at + c.len_utf8())
}

/// How far the closing bracket may be; keeps a forgotten one from swallowing a page, and the cost linear.
const BRACKET_REACH_BYTES: usize = 200;

/// Opening brackets of the sentence so far that nothing has closed.
#[derive(Default)]
struct Brackets {
    open: usize,
}

impl Brackets {
    fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                b'(' | b'[' => self.open += 1,
                b')' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether a bracket is open that is closed soon after: then the stop between them ends no sentence.
    fn closed_by(&self, rest: &str) -> bool {
        let mut inner = 0usize;
        self.open > 0
            && rest
                .bytes()
                .take(BRACKET_REACH_BYTES)
                .any(|byte| match byte {
                    b'(' | b'[' => {
                        inner += 1;
                        false
                    }
                    b')' | b']' if inner == 0 => true,
                    b')' | b']' => {
                        inner -= 1;
                        false
                    }
                    _ => false,
                })
    }
}

/// Whether the candidate boundary between a sentence so far and the piece after it is real.
fn is_boundary(sentence: &str, next: &str, language: Language) -> bool {
    let Some(first) = next.chars().find(|c| c.is_alphanumeric()) else {
        // Nothing but punctuation follows: closing quotes, a second stop.
        return false;
    };
    let before = sentence.trim_end().trim_end_matches(is_closer);
    let Some(stem) = before.strip_suffix('.') else {
        // `?` and `!`; UAX-29 cuts after them even where a lower-case letter shows that the sentence goes on.
        return !first.is_lowercase();
    };
    if first.is_lowercase() {
        return false;
    }
    let next_word = first_word(next);
    let starts_sentence = words::starts_sentence(language, next_word);
    let token = last_token(stem);
    let alone = stem.trim_start().len() == token.len();
    if token.is_empty() {
        return !alone;
    }
    if token.bytes().all(|b| b.is_ascii_digit()) {
        return number_ends_sentence(token, alone, next, starts_sentence, language);
    }
    if token.chars().count() == 1 && token.chars().all(char::is_lowercase) {
        // A unit after a number (`5 h. Der Patient`) ends, a one-letter word (`d. h. Salicylat`) hardly ever does.
        return starts_sentence
            || last_token(stem[..stem.len() - token.len()].trim_end())
                .ends_with(|c: char| c.is_ascii_digit());
    }
    let lower = token.to_lowercase();
    if words::needs_more(language, &lower) {
        return false;
    }
    if words::needs_number(language, &lower) {
        return !first.is_numeric() && !is_roman(next_word);
    }
    if words::may_end(language, &lower) {
        // `etc.`, `et al.`, `i.v.`: an end before a word with a capital, none before a number or a bracket.
        return first.is_uppercase() && !next.trim_start().starts_with(['(', '[']);
    }
    if is_initial(token) {
        return initial_ends_sentence(stem, token, alone, starts_sentence, language);
    }
    if is_dotted_letters(token) {
        // `U.S.`, `z.B.`, `J.M.`: before a usual sentence opener it may be an end.
        return starts_sentence;
    }
    true
}

/// `1. Introduction`, `3. Mai`, `2. 5 mg`: numbers whose stop is no end.
fn number_ends_sentence(
    token: &str,
    alone: bool,
    next: &str,
    starts_sentence: bool,
    language: Language,
) -> bool {
    if alone {
        return false;
    }
    if next.trim_start().starts_with(|c: char| c.is_ascii_digit()) && token.len() <= 3 {
        // Tokenised text cuts decimals apart: `0. 05`.
        return token.len() > 1 && !token.starts_with('0') && starts_sentence;
    }
    let ordinal = language == Language::De && token.len() <= 2;
    !ordinal || starts_sentence
}

/// `J. Smith` and `E. Coli` go on; `hepatitis C. Patients` and `type I. The` end.
fn initial_ends_sentence(
    stem: &str,
    token: &str,
    alone: bool,
    starts_sentence: bool,
    language: Language,
) -> bool {
    if alone {
        return false;
    }
    if starts_sentence {
        return true;
    }
    let previous = last_token(stem[..stem.len() - token.len()].trim_end());
    let common_noun = previous.chars().all(char::is_lowercase) && previous.chars().count() > 2;
    common_noun && !words::is_function_word(language, previous)
}

fn is_closer(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | ')' | ']' | '}' | '»' | '”' | '’' | '“' | '›'
    )
}

/// What stands between the last white space or opening punctuation and the end.
fn last_token(text: &str) -> &str {
    let start = text.rfind(|c: char| c.is_whitespace() || "([{\"'«“„‹/".contains(c));
    match start {
        // The found character may be longer than one byte.
        Some(at) => {
            let skip = text[at..].chars().next().map_or(0, char::len_utf8);
            &text[at + skip..]
        }
        None => text,
    }
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    let end = text
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(text.len());
    &text[..end]
}

fn is_initial(token: &str) -> bool {
    let last = token.rsplit(['-', '.']).next().unwrap_or(token);
    let mut chars = last.chars();
    chars.next().is_some_and(char::is_uppercase) && chars.next().is_none()
}

fn is_dotted_letters(token: &str) -> bool {
    token.contains('.')
        && token
            .split('.')
            .all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic))
}

fn is_roman(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| "IVXLC".contains(c))
}

/// Undoes the boundaries that a protected span touches.
fn join_protected(sentences: Vec<SpanChars>, protected: &[SpanChars]) -> Vec<SpanChars> {
    let mut protected = protected.to_vec();
    protected.sort_unstable();
    let mut joined: Vec<SpanChars> = Vec::with_capacity(sentences.len());
    let mut spans = protected.into_iter().peekable();
    // Farthest end of the protected spans that start before the gap at hand.
    let mut reach = 0;
    for sentence in sentences {
        while let Some(span) = spans.next_if(|span| span.start < sentence.start) {
            reach = reach.max(span.end);
        }
        match joined.last_mut() {
            Some(last) if reach > last.end => last.end = sentence.end,
            _ => joined.push(sentence),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn cut(text: &str, language: Language) -> Vec<&str> {
        let index = CharIndex::new(text);
        split(text, language, &[])
            .into_iter()
            .map(|s| index.slice(s).unwrap())
            .collect()
    }

    // `|` marks the places to cut.
    #[rstest]
    #[case("E. coli and S. aureus grew.| The patient died.")]
    #[case("E. Coli was found.| Then it went.")]
    #[case("A vs. B was tested.| See Fig. 2 and Figs. 3A, B.| It works.")]
    #[case("A dose of 2.5 mg i.v. was given.| No effect.")]
    #[case("He got 5 mg i.v.| The next day he left.")]
    #[case("Dr. Smith, Prof. Roe and J. R. Hartley agreed.| We did not.")]
    #[case("See Smith et al. (1999) for more.| Jones et al. 2001 disagree.")]
    #[case("Case no. 3 and No. 4 were lost.| No.| Case 5 was not.")]
    #[case("She had hepatitis C. |The liver was big.")]
    #[case("Patients with vitamin D.| Calcium was low.")]
    #[case("He was deficient in factor V.| We treated him.")]
    #[case("He said \"It hurts.\"| Then he left.")]
    #[case("It hurts (badly).| Then he left.")]
    #[case("It hurts (see Tab. 3. Also Fig. 4).| Then he left.")]
    #[case("Is it gout?| Yes!| It is.")]
    #[case("The so-called (what?) disease.| It is rare.")]
    #[case("P was 0. 05 in mice.| It was less in rats.")]
    #[case("1. Introduction| \n2. Methods| \n")]
    #[case("approx. 30 cases, i.e. Many, e.g. Smith's.| Next.")]
    #[case("The U.S. Army had it.| The E.U. did not.")]
    #[case("Gout hurts.| \r\n\r\n Gout again")]
    #[case("The cells (ca. 20%) died.| APC mutations were found.")]
    #[case("deficiency of C6.| A family was seen.")]
    #[case("St. Louis encephalitis was seen in group A.| Patients died.")]
    fn english(#[case] marked: &str) {
        check(marked, Language::En);
    }

    #[rstest]
    #[case("Le Dr. Martin et M. Durand l' ont vu.| Il va bien.")]
    #[case("Voir p. ex. La figure, cf. Fig. 2.| Fin.")]
    #[case("Prendre 2,5 mg env. 3 fois par jour.| Ne pas dépasser la dose.")]
    #[case("Qu' est-ce que Prialt ?| Prialt est une solution.")]
    #[case("« Il a mal. »| Puis il part.")]
    #[case("Les tumeurs du cou .| Le traitement .")]
    #[case("Carence en vitamine B.| Les patients guérissent.")]
    #[case("Mme. Curie n'a pas vu S. aureus.| Elle est partie.")]
    fn french(#[case] marked: &str) {
        check(marked, Language::Fr);
    }

    #[rstest]
    #[case("La Dra. Pérez y el Sr. Gil lo vieron.| Mejoró.")]
    #[case("Se dio p. ej. Aspirina, aprox. 3 veces.| Fin.")]
    #[case("Hb 9,5 g/dl, leucocitos 10.500/mm3.| Se ingresó en EE. UU. por fiebre.")]
    #[case("Se trató vía i.v. con éxito.| El paciente mejoró.")]
    #[case("Hepatitis C.| El paciente mejoró.")]
    #[case("La habitación n.º 3 y la núm. 4.| ¿Duele?| ¡Sí!")]
    #[case("Se aisló E. coli y S. aureus.| La evolución fue buena.")]
    #[case("Ver Fig. 2 (fig. 3).| No hay más.")]
    fn spanish(#[case] marked: &str) {
        check(marked, Language::Es);
    }

    #[rstest]
    #[case("Man gibt z. B. Aspirin, d. h. Salicylat.| Es hilft.")]
    #[case("Man gibt z.B. Aspirin bzw. Ibuprofen usw. in Dosen.| Es hilft.")]
    #[case("Dr. med. Weiß kam am 3. Mai und am 1. Tag.| Der Patient schlief.")]
    #[case("Sie gehörte zu Gruppe 2.| Die Patienten schliefen.")]
    #[case("Siehe Abb. 2 und Tab. 3.| Das ist alles.")]
    #[case("Etwa 2,5 mg i.v. oder ca. 3 mg p.o. täglich.| Nicht mehr.")]
    #[case("„Es schmerzt.“| Dann ging er.")]
    fn german(#[case] marked: &str) {
        check(marked, Language::De);
    }

    fn check(marked: &str, language: Language) {
        let text = marked.replace('|', "");
        let expected: Vec<&str> = marked
            .split('|')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .collect();
        assert_eq!(cut(&text, language), expected);
    }

    #[test]
    fn a_protected_span_is_never_cut() {
        let text = "Type I. Gout\nand fever. The end.";
        let whole = split(text, Language::En, &[SpanChars::new(0, 23)]);
        assert_eq!(whole, [SpanChars::new(0, 23), SpanChars::new(24, 32)]);
        let line_break = split(
            text,
            Language::En,
            &[SpanChars::new(8, 16), SpanChars::new(9, 12)],
        );
        assert_eq!(line_break.len(), 2);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(cut("", Language::En).is_empty());
        assert!(cut(" \n\t \r\n", Language::De).is_empty());
        assert_eq!(cut("...", Language::En), ["..."]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn sentences_are_ordered_trimmed_and_complete(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "Dr.", "E.", "coli", "The", "gout", "é𝛼", "2.", "5", "(", ")", "\"", ".", "?", "!", "\n", "\r\n", "\u{a0}",
                    "i.v.", "z.", "B.", "al.", "3.5", "…", "»", "Fig.", "A.", "[", "]", "Und", "no.",
                ]),
                0..60,
            ),
            glue in prop::collection::vec(any::<bool>(), 60),
            raw_spans in prop::collection::vec((0usize..300, 1usize..40), 0..6),
            language in prop::sample::select(Language::ALL.to_vec()),
        ) {
            let text: String = words.iter().zip(&glue).map(|(w, g)| format!("{w}{}", if *g { " " } else { "" })).collect();
            let chars: Vec<char> = text.chars().collect();
            let protected: Vec<SpanChars> = raw_spans
                .iter()
                .map(|(start, len)| SpanChars::new(*start as u32, (start + len) as u32))
                .filter(|s| {
                    s.end as usize <= chars.len()
                        && !chars[s.start as usize].is_whitespace()
                        && !chars[s.end as usize - 1].is_whitespace()
                })
                .collect();
            let sentences = split(&text, language, &protected);
            let mut covered = vec![false; chars.len()];
            let mut last_end = 0;
            for s in &sentences {
                prop_assert!(s.start < s.end && last_end <= s.start);
                prop_assert!(!chars[s.start as usize].is_whitespace() && !chars[s.end as usize - 1].is_whitespace());
                covered[s.start as usize..s.end as usize].fill(true);
                last_end = s.end;
            }
            for (i, c) in chars.iter().enumerate() {
                prop_assert!(covered[i] || c.is_whitespace(), "character {} is in no sentence", i);
            }
            for span in &protected {
                prop_assert!(sentences.iter().any(|s| s.contains(*span)), "{:?} is cut", span);
            }
        }
    }
}
