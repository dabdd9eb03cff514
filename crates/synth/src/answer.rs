//! From a language model's answer to sentences: marker lines with bracketed mentions (paper, synthetic data).

use syncabel_corpus::Language;

use crate::generator::Draft;

/// A line longer than this is no sentence, in characters.
const MAX_LINE_CHARS: usize = 1_000;

/// The sentences of an answer, in order: lines with the marker of the language and at least one non-empty bracketed piece.
/// What does not count is left out: other lines, unmatched brackets, sentences that stand in `kept` or came before.
///
/// Models decorate: bullets, numbers, bold type and quotation marks around marker and sentence are looked through.
pub(crate) fn sentences(answer: &str, language: Language, kept: &[Draft]) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    for line in answer.lines() {
        let Some(sentence) = after_marker(line, language) else {
            continue;
        };
        if sentence.chars().count() > MAX_LINE_CHARS {
            continue;
        }
        let Some(draft) = Draft::from_bracketed(sentence, language).and_then(tidy) else {
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
    let chars: Vec<char> = draft
        .text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    for mention in &mut draft.mentions {
        let span = &mut mention.span;
        while span.start < span.end && chars[span.start as usize].is_whitespace() {
            span.start += 1;
        }
        while span.end > span.start && chars[span.end as usize - 1].is_whitespace() {
            span.end -= 1;
        }
    }
    draft.mentions.retain(|m| m.span.start < m.span.end);
    draft.text = chars.into_iter().collect();
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
        sentences(answer, language, &[])
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
    fn endless_lines_are_refused() {
        let line = format!("example: [gout] {}", "and so on ".repeat(200));
        assert!(read(&line, Language::En).is_empty());
    }
}
