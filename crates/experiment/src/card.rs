//! The data card of a synthetic corpus, as files: `card.json`, `card.md`, `sentence_lengths.svg` and `.png`.

use crate::stage::write_atomically;
use anyhow::Result;
use std::path::Path;
use syncabel_corpus::{Corpus, Split};
use syncabel_eval::figures::{Curve, line_chart};
use syncabel_kb::Kb;
use syncabel_synth::card::{Card, Side};

/// Measures a synthetic corpus beside the human ones and writes the card into a folder.
///
/// # Errors
/// A folder that cannot be written to, a corpus without sentences.
pub fn write(
    kb: &Kb,
    human: &[&Corpus],
    synthetic: &[(&str, &Corpus)],
    folder: &Path,
) -> Result<Card> {
    let name = |corpus: &Corpus| match corpus.documents.first().and_then(|d| d.split) {
        None | Some(Split::Train) => "human, train",
        Some(Split::Validation) => "human, validation",
        Some(Split::Test) => "human, test",
    };
    let human = human.iter().filter(|c| !c.documents.is_empty());
    let sides: Vec<_> = human
        .map(|corpus| (name(corpus), corpus.documents.as_slice()))
        .chain(
            synthetic
                .iter()
                .map(|(name, c)| (*name, c.documents.as_slice())),
        )
        .collect();
    let card = Card::new(kb, &sides);
    std::fs::create_dir_all(folder)?;
    write_atomically(
        &folder.join("card.json"),
        &serde_json::to_vec_pretty(&card)?,
    )?;
    let text = format!("# Data card\n\n{card}\n![Words in a sentence](sentence_lengths.svg)\n");
    write_atomically(&folder.join("card.md"), text.as_bytes())?;
    let curves: Vec<Curve> = card.sides.iter().map(lengths).collect();
    let axes = [
        "words in a sentence",
        "share of sentences, % in steps of 4 words",
    ];
    line_chart(
        "the figure of sentence lengths",
        axes,
        &curves,
        folder,
        "sentence_lengths",
    )?;
    Ok(card)
}

/// Share of sentences by length, in steps of four words up to 60.
fn lengths(side: &Side) -> Curve {
    const STEP: usize = 4;
    let share = |step: usize| {
        let range = step * STEP..(step + 1) * STEP;
        let count: usize = side.sentence_lengths.range(range).map(|(_, n)| n).sum();
        let middle = (step * STEP) as f64 + (STEP - 1) as f64 / 2.0;
        (middle, 100.0 * count as f64 / side.sentences.max(1) as f64)
    };
    Curve {
        label: side.name.clone(),
        points: (0..15).map(share).collect(),
    }
}
