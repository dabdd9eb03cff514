//! Answers as a person wants to read them.

use anyhow::Result;
use std::io::Write;
use syncabel_corpus::predictions::Prediction;
use syncabel_decode::{Explanation, Piece};
use syncabel_kb::Kb;

/// Characters of a definition that are shown.
const DEFINITION_CHARS: usize = 160;

/// Writes one mention with its candidates: score, name, code, definition, and the tokens, of which those that the trie
/// forced carry a star.
pub(super) fn write(
    out: &mut dyn Write,
    kb: &Kb,
    prediction: &Prediction,
    explanation: &Explanation,
) -> Result<()> {
    let Prediction {
        mention_id,
        span,
        label,
        sentence,
        predicted_code,
        ..
    } = prediction;
    writeln!(
        out,
        "{mention_id}  {span}  {{{label}}}  ->  {predicted_code}"
    )?;
    writeln!(out, "    {sentence}")?;
    if let Some(probability) = prediction.probability {
        writeln!(out, "    probability {probability:.3}")?;
    }
    if let Some(margin) = prediction.margin {
        writeln!(out, "    lead over the next concept {margin:.3} nats")?;
    }
    let pairs = prediction.candidates.iter().zip(&explanation.candidates);
    for (rank, (candidate, pieces)) in pairs.enumerate() {
        let (score, name, code) = (candidate.score, &candidate.name, &candidate.code);
        writeln!(out, "  {}  {score:.6}  {name}  {code}", rank + 1)?;
        let concepts = code.split('+').filter_map(|code| kb.resolve(code));
        for definition in concepts.filter_map(|id| kb.concept(id).definitions().next()) {
            writeln!(out, "       {}", shortened(definition))?;
        }
        writeln!(out, "       {}", tokens(pieces))?;
    }
    writeln!(out)?;
    Ok(())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(DEFINITION_CHARS).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    short
}

/// Tokens with their probabilities.
fn tokens(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| {
        let text = if piece.text.is_empty() {
            "(end)"
        } else {
            &piece.text
        };
        let star = if piece.forced { "*" } else { "" };
        format!("{text}{star} {:.3}", piece.log_prob.exp())
    };
    pieces.iter().map(one).collect::<Vec<_>>().join(" |")
}
