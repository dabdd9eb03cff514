//! The data card of a synthetic corpus, as files: `card.json`, `card.md`, and the figures `sentence_lengths`, `novelty` and
//! `names_used`, each as `.svg` and `.png`.

use crate::stage::write_atomically;
use anyhow::Result;
use std::path::Path;
use syncabel_corpus::{Corpus, Document};
use syncabel_eval::figures::{Curve, ShareBar, line_chart, stacked_shares};
use syncabel_kb::Kb;
use syncabel_synth::card::{Card, Measuring, Side};

/// Measures synthetic corpora beside the human ones, each with its name, and writes the card into a folder. The synthetic ones
/// pass by document by document.
///
/// # Errors
/// A corpus that cannot be read, a folder that cannot be written to, a corpus without sentences.
pub fn write<'a>(
    kb: &Kb,
    human: impl IntoIterator<Item = (String, &'a Corpus)>,
    synthetic: impl IntoIterator<Item = (String, impl Iterator<Item = Result<Document>>)>,
    folder: &Path,
) -> Result<Card> {
    let mut measuring = Measuring::new(kb);
    for (name, corpus) in human {
        if corpus.documents.is_empty() {
            continue;
        }
        measuring.side(name);
        corpus.documents.iter().for_each(|d| measuring.add(d));
    }
    for (name, documents) in synthetic {
        measuring.side(name);
        for document in documents {
            measuring.add(&document?);
        }
    }
    let card = measuring.finish();
    files(&card, folder)?;
    Ok(card)
}

/// Writes a card that was measured before.
///
/// # Errors
/// A folder that cannot be written to, a corpus without sentences.
pub fn files(card: &Card, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    write_atomically(&folder.join("card.json"), &serde_json::to_vec_pretty(card)?)?;
    let text = format!(
        "# Data card\n\n{card}\n\
         ![Words in a sentence](sentence_lengths.svg)\n\n\
         ![Mentions that are a name of their concept, but for capitals, or not](novelty.svg)\n\n\
         ![Names of the covered concepts that occur as mentions](names_used.svg)\n"
    );
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
    let bars: Vec<ShareBar> = card.sides.iter().map(novelty).collect();
    let parts = ["a KB name", "one but for capitals", "no name"];
    stacked_shares(&parts, &bars, folder, "novelty")?;
    let bars: Vec<ShareBar> = card.sides.iter().map(names_used).collect();
    let parts = ["names used as mentions", "names not used"];
    stacked_shares(&parts, &bars, folder, "names_used")?;
    Ok(())
}

/// How far mentions are from the names of their concept.
fn novelty(side: &Side) -> ShareBar {
    let far = &side.novelty;
    let counts = [far.name, far.case_only, far.changed];
    shares(&side.name, &counts)
}

/// Names of the covered concepts that occur as mentions, and the others.
fn names_used(side: &Side) -> ShareBar {
    let (used, all) = side.names_used;
    shares(&side.name, &[used, all - used])
}

fn shares(label: &str, counts: &[usize]) -> ShareBar {
    let all = counts.iter().sum::<usize>().max(1) as f64;
    ShareBar {
        label: label.to_owned(),
        parts: counts.iter().map(|&n| n as f64 / all).collect(),
    }
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
