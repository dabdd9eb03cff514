//! The judge's protocol: what needs no question, the question, and what an answer comes to (paper, LLM as a judge).
//!
//! 1. Codes equal: STRICT.
//! 2. No answer: NO_RELATION.
//! 3. Composite gold and every predicted code is part of it: PARTIAL.
//! 4. A predicted concept without a name: NO_RELATION.
//! 5. Otherwise a language model chooses EXACT, BROAD, NARROW or NO_RELATION; an answer that is none of these counts as
//!    NO_RELATION, and is counted.

use serde_json::Value;
use syncabel_corpus::Language;
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;
use syncabel_llm::{ChatRequest, Message, Role, Sampling};

use super::Label;
use crate::codes::{Canonical, Canonicaliser};

/// Names of one concept shown to the judge, the preferred one first.
const MAX_NAMES: usize = 12;

/// What a mention needs from the judge.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The protocol itself decides.
    Settled(Label),
    /// The question to put to a model: system message and user message.
    Ask([String; 2]),
}

/// Applies the protocol to one mention.
///
/// `right` is the scorer's verdict. Names come from the KB where it has the codes, else from the file's own columns, whose parts
/// are joined by `<SEP>`.
pub fn decide(row: &Prediction, right: bool, language: Language, kb: Option<&Kb>) -> Decision {
    if right {
        return Decision::Settled(Label::Strict);
    }
    let mut codes = Canonicaliser::new(kb);
    let predicted = codes.composite(&row.predicted_code.replace('|', "+"));
    if !predicted.is_answer() {
        return Decision::Settled(Label::NoRelation);
    }
    let gold = codes.alternatives(&row.code);
    let belongs = |composite: &Canonical| {
        composite.parts.len() > 1 && predicted.parts.iter().all(|p| composite.parts.contains(p))
    };
    if gold.iter().any(belongs) {
        return Decision::Settled(Label::Partial);
    }
    let gold_parts: Vec<&str> = gold
        .iter()
        .flat_map(|c| &c.parts)
        .map(String::as_str)
        .collect();
    let predicted_parts: Vec<&str> = predicted.parts.iter().map(String::as_str).collect();
    let predicted = concepts(&predicted_parts, &row.prediction, kb);
    if predicted.is_empty() {
        return Decision::Settled(Label::NoRelation);
    }
    let [system, user] = templates(language);
    let user = fill(
        user,
        &[
            (
                "sentence",
                if row.sentence.is_empty() {
                    &row.span
                } else {
                    &row.sentence
                },
            ),
            ("mention", &row.span),
            ("group", &row.label),
            ("gold", &concepts(&gold_parts, &row.annotation, kb)),
            ("predicted", &predicted),
        ],
    );
    Decision::Ask([system.trim().to_owned(), user.trim().to_owned()])
}

/// The request that puts a question to a model.
pub fn request(model: &str, [system, user]: &[String; 2], sampling: &Sampling) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages: vec![
            Message::new(Role::System, system.clone()),
            Message::new(Role::User, user.clone()),
        ],
        sampling: sampling.clone(),
    }
}

/// What a model's answer says; `None` if it is not one of the four labels that a judge may choose.
///
/// A JSON object with `label` is looked for first; a lone label in capitals does as well, as small models write it.
pub fn parse(answer: &str) -> Option<Label> {
    let allowed = |label: Label| {
        matches!(
            label,
            Label::Exact | Label::Broad | Label::Narrow | Label::NoRelation
        )
    };
    let object = answer.find('{').and_then(|start| {
        let mut values = serde_json::Deserializer::from_str(&answer[start..]).into_iter::<Value>();
        values.next().and_then(Result::ok)
    });
    if let Some(label) = object
        .as_ref()
        .and_then(|o| o.get("label"))
        .and_then(Value::as_str)
    {
        return label.parse().ok().filter(|label| allowed(*label));
    }
    let mut found: Vec<Label> = answer
        .split(|c: char| !c.is_ascii_uppercase() && c != '_')
        .filter_map(|word| word.parse().ok())
        .filter(|label| allowed(*label))
        .collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [label] => Some(label),
        _ => None,
    }
}

/// One line per concept: code, preferred or chosen name, further names. Empty if no name is known.
fn concepts(codes: &[&str], chosen: &str, kb: Option<&Kb>) -> String {
    let chosen: Vec<&str> = chosen.split("<SEP>").map(str::trim).collect();
    let mut lines = String::new();
    for (index, code) in codes.iter().enumerate() {
        // The file's names belong to the codes one by one, unless there are fewer or more of them.
        let own = if chosen.len() == codes.len() {
            chosen[index]
        } else {
            chosen[0]
        };
        let concept = kb.and_then(|kb| Some(kb.concept(kb.resolve(code)?)));
        let mut names: Vec<&str> = Vec::new();
        for name in concept.iter().map(|c| c.preferred_name()).chain([own]) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        for name in concept.iter().flat_map(|c| c.names()) {
            if names.len() < MAX_NAMES && !names.contains(&name.text) {
                names.push(name.text);
            }
        }
        if let [first, others @ ..] = &names[..] {
            lines += &format!("- {first} ({code})");
            if !others.is_empty() {
                lines += &format!("; {}", others.join("; "));
            }
            lines.push('\n');
        }
    }
    lines
}

/// System and user template of a language.
fn templates(language: Language) -> [&'static str; 2] {
    match language {
        Language::En => [
            include_str!("../../prompts/judge/en.system.txt"),
            include_str!("../../prompts/judge/en.user.txt"),
        ],
        Language::Fr => [
            include_str!("../../prompts/judge/fr.system.txt"),
            include_str!("../../prompts/judge/fr.user.txt"),
        ],
        Language::Es => [
            include_str!("../../prompts/judge/es.system.txt"),
            include_str!("../../prompts/judge/es.user.txt"),
        ],
        Language::De => [
            include_str!("../../prompts/judge/de.system.txt"),
            include_str!("../../prompts/judge/de.user.txt"),
        ],
    }
}

/// Puts values into `{{name}}`, in one pass: a value that looks like a field stays as it is.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + 400);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        text.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gold: &str, predicted: &str) -> Prediction {
        Prediction {
            label: "ENFERMEDAD".into(),
            span: "DM2".into(),
            sentence: "Paciente con [DM2]{ENFERMEDAD} y {{gold}}.".into(),
            code: gold.into(),
            annotation: "diabetes tipo 2".into(),
            predicted_code: predicted.into(),
            prediction: "diabetes mellitus".into(),
            ..Prediction::default()
        }
    }

    #[test]
    fn what_needs_no_question() {
        let settled = |gold: &str, predicted: &str, right| match decide(
            &row(gold, predicted),
            right,
            Language::Es,
            None,
        ) {
            Decision::Settled(label) => Some(label),
            Decision::Ask(_) => None,
        };
        assert_eq!(settled("A", "A", true), Some(Label::Strict));
        for nothing in ["", "NIL", "NO_CODE"] {
            assert_eq!(settled("A+B", nothing, false), Some(Label::NoRelation));
        }
        assert_eq!(settled("A+B", "B", false), Some(Label::Partial));
        assert_eq!(settled("A+B+C", "C+A", false), Some(Label::Partial));
        assert_eq!(settled("A+B", "B+D", false), None);
        assert_eq!(settled("A", "B", false), None);
        let mut nameless = row("A", "B");
        nameless.prediction.clear();
        assert_eq!(
            decide(&nameless, false, Language::Es, None),
            Decision::Settled(Label::NoRelation)
        );
    }

    #[test]
    fn every_language_asks_in_its_own_words() {
        let mut seen = Vec::new();
        for language in Language::ALL {
            let Decision::Ask([system, user]) = decide(&row("A", "B"), false, language, None)
            else {
                panic!("{language}: no question");
            };
            for label in ["EXACT", "BROAD", "NARROW", "NO_RELATION"] {
                assert!(system.contains(label), "{language}");
            }
            for part in [
                "[DM2]{ENFERMEDAD}",
                "- diabetes tipo 2 (A)",
                "- diabetes mellitus (B)",
                "{{gold}}.",
            ] {
                assert!(user.contains(part), "{language}: {part} is not in {user}");
            }
            assert!(!seen.contains(&system), "{language}");
            seen.push(system);
        }
    }

    #[test]
    fn answers_are_read_leniently_but_not_guessed() {
        for (answer, label) in [
            ("{\"label\": \"EXACT\"}", Some(Label::Exact)),
            (
                "```json\n{ \"label\":\"no relation\" }\n```",
                Some(Label::NoRelation),
            ),
            ("The label is BROAD.", Some(Label::Broad)),
            ("BROAD or NARROW", None),
            ("{\"label\": \"STRICT\"}", None),
            ("{\"label\": \"PARTIAL\"}", None),
            ("{\"label\": 3}", None),
            ("broad", None),
            ("", None),
        ] {
            assert_eq!(parse(answer), label, "{answer}");
        }
    }
}
