//! From a language model's answer to sentences: marker lines with bracketed mentions (paper, synthetic data).

use std::cmp::Reverse;

use syncabel_corpus::{CharIndex, Language, SpanChars};

use crate::generator::{Draft, DraftMention};

/// A line longer than this is no sentence, in characters.
const MAX_LINE_CHARS: usize = 1_000;

/// The sentences of an answer, in order: lines with the marker of the language and at least one non-empty bracketed piece.
/// What does not count is left out: other lines, unmatched brackets, sentences that stand in `kept` or came before.
///
/// In a line without any bracket one of `names`, if given, is taken for the mention; see [`named`].
///
/// Models decorate: bullets, numbers, bold type and quotation marks around marker and sentence are looked through.
pub(crate) fn sentences(
    answer: &str,
    language: Language,
    names: &[String],
    kept: &[Draft],
) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    for line in answer.lines() {
        let Some(sentence) = after_marker(line, language) else {
            continue;
        };
        if sentence.chars().count() > MAX_LINE_CHARS {
            continue;
        }
        let draft = match sentence.contains(['[', ']']) {
            true => Draft::from_bracketed(sentence, language),
            false => named(sentence, language, names),
        };
        let Some(draft) = draft.and_then(tidy) else {
            continue;
        };
        let known = kept
            .iter()
            .chain(&drafts)
            .any(|other| other.text == draft.text);
        if !known {
            drafts.push(draft);
        }
    }
    drafts
}

/// The sentences of an answer whose markers were taken off already, as the authors keep them: every line with a bracketed
/// piece; beside them the number of other lines that are not blank.
pub(crate) fn bracketed_lines(answer: &str, language: Language) -> (Vec<Draft>, usize) {
    let lines = answer.lines().filter(|line| !line.trim().is_empty());
    let (mut drafts, mut without) = (Vec::new(), 0);
    for line in lines {
        let sentence = after_marker(line, language).unwrap_or(line);
        match Draft::from_bracketed(sentence, language).and_then(tidy) {
            Some(draft) => drafts.push(draft),
            None => without += 1,
        }
    }
    (drafts, without)
}

/// A name of up to this many characters must be written as the KB writes it, and so must an acronym: "CAT" is no cat, "CHILD" no
/// child.
const MAX_EXACT_CHARS: usize = 4;
/// A word of capitals of up to this many characters is taken for an acronym; terminologies shout whole titles, too.
const MAX_ACRONYM_CHARS: usize = 8;

/// The names of a concept that can be told in running text, the longest first: catalogue forms such as
/// "Anemia, Aplastic" stand in lists, not in sentences.
pub(crate) fn findable<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fit = |name: &&str| {
        name.chars()
            .filter(|c| c.is_alphanumeric())
            .nth(1)
            .is_some()
            && name.chars().any(char::is_alphabetic)
            && !name.contains(';')
            && !name.contains(", ")
    };
    let mut names: Vec<String> = names.filter(fit).map(str::to_owned).collect();
    names.sort_by_cached_key(|name| (Reverse(name.chars().count()), name.clone()));
    names.dedup();
    names
}

/// A sentence whose mention is the longest of `names` in it, where it stands first: whole words, whatever the capitals
/// of all but short names, a hyphen for a blank and the reverse.
fn named(sentence: &str, language: Language, names: &[String]) -> Option<Draft> {
    let text: Vec<char> = sentence.chars().collect();
    let (start, length) = names.iter().find_map(|name| {
        let name: Vec<char> = name.chars().collect();
        // Files of tasks can be edited; nothing is nowhere.
        if name.is_empty() {
            return None;
        }
        let is_acronym = name.len() <= MAX_ACRONYM_CHARS
            && !name.iter().any(|c| c.is_lowercase() || c.is_whitespace());
        let exact = name.len() <= MAX_EXACT_CHARS || is_acronym;
        let same = |(a, b): (&char, &char)| a == b || !exact && folded(*a) == folded(*b);
        let is = |at: Option<usize>, what: fn(char) -> bool| {
            at.and_then(|at| text.get(at)).is_some_and(|&c| what(c))
        };
        // "Non-Hodgkin lymphoma" is no Hodgkin lymphoma.
        let goes_on = |near: Option<usize>, far: Option<usize>| {
            is(near, char::is_alphanumeric) || is(near, is_hyphen) && is(far, char::is_alphanumeric)
        };
        let whole = |at: usize| {
            let end = at + name.len();
            !goes_on(at.checked_sub(1), at.checked_sub(2)) && !goes_on(Some(end), Some(end + 1))
        };
        let at = text
            .windows(name.len())
            .enumerate()
            .position(|(at, window)| window.iter().zip(&name).all(same) && whole(at))?;
        Some((at, name.len()))
    })?;
    let span = SpanChars {
        start: start as u32,
        end: (start + length) as u32,
    };
    let mention = DraftMention {
        span,
        source_name: None,
        operations: Vec::new(),
    };
    Some(Draft {
        text: sentence.to_owned(),
        language,
        mentions: vec![mention],
        context: None,
    })
}

fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '\u{2010}' | '\u{2011}')
}

/// A character as [`named`] compares it. One for one, so that places stay places.
fn folded(c: char) -> char {
    match c {
        '\u{a0}' => ' ',
        c if is_hyphen(c) => ' ',
        c => c.to_lowercase().next().unwrap_or(c),
    }
}

/// What stands behind the marker, if the line has one: `example:`, `- Example 2:`, `**Example:**`.
fn after_marker(line: &str, language: Language) -> Option<&str> {
    let decoration =
        |c: char| c.is_whitespace() || "-*#>•–.)(\"'“”«»_`".contains(c) || c.is_ascii_digit();
    let word = crate::prompt::marker(language).trim_end_matches([':', ' ']);
    let line = line.trim_start_matches(decoration);
    let head = line.get(..word.len())?;
    if !head.eq_ignore_ascii_case(word) {
        return None;
    }
    let rest = line[word.len()..].trim_start_matches(decoration);
    let rest = rest.strip_prefix([':', '：'])?;
    let quotes = |c: char| c.is_whitespace() || "*\"“”«»`_".contains(c);
    Some(rest.trim_matches(quotes))
}

/// Blanks inside the brackets move out; a mention of blanks alone is none. Controls and line breaks become blanks.
fn tidy(mut draft: Draft) -> Option<Draft> {
    if draft.text.contains(char::is_control) {
        let blank = |c: char| if c.is_control() { ' ' } else { c };
        draft.text = draft.text.chars().map(blank).collect();
    }
    let index = CharIndex::new(&draft.text);
    for mention in &mut draft.mentions {
        let span = &mut mention.span;
        let inside = index.slice(*span)?;
        let blanks = |piece: &str| inside.chars().count() as u32 - piece.chars().count() as u32;
        let (before, behind) = (blanks(inside.trim_start()), blanks(inside.trim_end()));
        span.start = (span.start + before).min(span.end);
        span.end = span.end.saturating_sub(behind).max(span.start);
    }
    draft.mentions.retain(|m| m.span.start < m.span.end);
    (!draft.mentions.is_empty()).then_some(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str, language: Language) -> Vec<(String, Vec<String>)> {
        let mention = |draft: &Draft, start: u32, end: u32| {
            let chars = draft.text.chars().skip(start as usize);
            chars.take((end - start) as usize).collect()
        };
        sentences(answer, language, &[], &[])
            .into_iter()
            .map(|d| {
                let mentions = d
                    .mentions
                    .iter()
                    .map(|m| mention(&d, m.span.start, m.span.end));
                (d.text.clone(), mentions.collect())
            })
            .collect()
    }

    #[test]
    fn marked_lines_with_brackets_count_and_nothing_else() {
        let answer = "Sure! Here you go:\n\
            example: Pain from [gout] woke him.\n\
            example: no mention here\n\
            example: an [open one\n\
            [gout] without a marker\n\
            example: []\n\
            example: Pain from [gout] woke him.\n\
            counterexample: the [gout]\n";
        let found = read(answer, Language::En);
        assert_eq!(
            found,
            [("Pain from gout woke him.".into(), vec!["gout".to_string()])]
        );
    }

    #[test]
    fn decoration_is_looked_through() {
        for line in [
            "1. Example: A [gout] attack.",
            "- **Example 2:** A [gout] attack.",
            "EXAMPLE : \"A [gout] attack.\"",
            "* example: A [ gout]{Disorders} attack.",
        ] {
            let found = read(line, Language::En);
            assert_eq!(found.len(), 1, "{line}");
            assert_eq!(found[0].1, ["gout"], "{line}");
            assert!(found[0].0.ends_with("attack."), "{line}");
        }
    }

    #[test]
    fn several_mentions_and_any_script() {
        let answer = "exemple : L'[œdème] 🤒 et l'[anasarque] chez un patient.\n\
            exemple: Une [dyspnée] d'effort.";
        let found = read(answer, Language::Fr);
        assert_eq!(found[0].1, ["œdème", "anasarque"]);
        assert_eq!(found[1].1, ["dyspnée"]);
        assert_eq!(read("Beispiel: Ein [Ödem].", Language::De)[0].1, ["Ödem"]);
        assert_eq!(
            read("ejemplo: Una [disnea].", Language::Es)[0].1,
            ["disnea"]
        );
    }

    #[test]
    fn a_name_is_the_mention_where_nothing_is_bracketed() {
        let names = [
            "ALS",
            "Tongue Tie",
            "Ankyloglossia",
            "Tie, Tongue",
            "Motor Neuron Disease",
            "MARNER TYPE CATARACT",
            "LEOPARD",
            "A",
        ];
        let names = findable(names.into_iter());
        assert_eq!(
            names,
            [
                "MARNER TYPE CATARACT",
                "Motor Neuron Disease",
                "Ankyloglossia",
                "Tongue Tie",
                "LEOPARD",
                "ALS"
            ]
        );
        let mention = |line: &str| {
            let drafts = sentences(&format!("example: {line}"), Language::En, &names, &[]);
            drafts.first().map(|draft| {
                let span = draft.mentions[0].span;
                let chars = draft.text.chars().skip(span.start as usize);
                chars
                    .take((span.end - span.start) as usize)
                    .collect::<String>()
            })
        };
        let found = [
            ("She had tongue-tie and was breast-fed.", "tongue-tie"),
            ("Élan: tongue tie is ankyloglossia.", "ankyloglossia"),
            ("In ALS, motor neurons die.", "ALS"),
            ("Ankyloglossia", "Ankyloglossia"),
            ("A Marner type cataract.", "Marner type cataract"),
            ("The LEOPARD syndrome.", "LEOPARD"),
        ];
        for (line, wanted) in found {
            assert_eq!(mention(line).as_deref(), Some(wanted), "{line}");
        }
        // Words of which a name is a part, a short name in other letters, and what the model did mark.
        for line in [
            "The tongue-tied child.",
            "It was als ob.",
            "A leopard bit him.",
            "An ALS-like picture.",
            "Non-LEOPARD cases.",
            "[other] in tongue tie].",
            "Nothing.",
            "",
        ] {
            assert_eq!(mention(line), None, "{line}");
        }
        assert_eq!(
            mention("A [short frenulum] in tongue tie.").as_deref(),
            Some("short frenulum")
        );
    }

    #[test]
    fn endless_lines_are_refused() {
        let line = format!("example: [gout] {}", "and so on ".repeat(200));
        assert!(read(&line, Language::En).is_empty());
    }
}
