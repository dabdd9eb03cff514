//! The filter `round_trip`: does a linker that was trained on human data alone find the concept that a synthetic sentence was written for?
//!
//! It runs behind generation and the other filters, in a stage of its own, so that neither is done again when `top_k` or the
//! linker changes:
//!
//! ```text
//! FOLDER/
//!     ranks.jsonl         where the linker ranked each sentence's concept; a run that was interrupted goes on behind it
//!     synthetic.jsonl     the sentences that are kept
//!     filters.json        the counts of all filters, this one last
//!     card.json, ...      the data card of what is kept
//! ```

use crate::config::{Experiment, LinkConfig};
use crate::progress;
use crate::validate::Refusal;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use syncabel_corpus::marked::{self, MarkOptions};
use syncabel_corpus::predictions::Prediction;
use syncabel_corpus::{Composite, Document, Gold, jsonl};
use syncabel_decode::{ConceptRule, LinkModel, LinkOptions, Linker, Trie};
use syncabel_kb::{ConceptId, Kb};
use syncabel_synth::quality::{FilterReport, LaterFilter, ROUND_TRIP, RoundTripFilter};
use syncabel_train::TrainConfig;

/// Time between lines in a log that is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Name of the file with the ranks in a stage's folder.
pub const RANKS: &str = "ranks.jsonl";

/// How the filter links: as the experiment does, but always guided, with one concept an answer and room for `top_k` answers
/// (`link.within` may leave fewer: what is out of its reach has no rank). Concepts are ranked by their best names. A mention of
/// several concepts at once has no rank, since an answer is one name.
pub fn link_config(link: &LinkConfig, top_k: usize) -> LinkConfig {
    LinkConfig {
        guided: true,
        max_answers: 1,
        beams: link.beams.max(top_k),
        concepts: ConceptRule::BestName,
        ..link.clone()
    }
}

/// How the filter's linker is trained: as the experiment says, with the filter's own settings on top.
///
/// # Errors
/// A setting that training does not have, or a value that it refuses, with its key.
pub(crate) fn train_config(
    config: &Experiment,
    filter: &RoundTripFilter,
) -> Result<TrainConfig, Refusal> {
    if filter.train.is_empty() {
        return Ok(config.train.clone());
    }
    const KEY: &str = "synth.filters.round_trip.train";
    let refuse = |message: String| Refusal {
        key: KEY.to_owned(),
        message: crate::config::with_nearest(&message),
    };
    let mut settings = serde_json::to_value(&config.train).map_err(|e| refuse(e.to_string()))?;
    for (key, value) in &filter.train {
        settings[key.as_str()] = value.clone();
    }
    let train: TrainConfig = serde_json::from_value(settings).map_err(|e| refuse(e.to_string()))?;
    match train.validate() {
        Ok(()) => Ok(train),
        Err(error) => Err(crate::validate::train_refusal(KEY, &error)),
    }
}

/// A trained linker at work on synthetic sentences.
pub struct RoundTrip<'a> {
    /// The knowledge base.
    pub kb: &'a Kb,
    /// Its names in the tokens of the model.
    pub trie: &'a Trie,
    /// Trained on human data alone.
    pub model: &'a mut LinkModel,
    /// How it was shown mentions.
    pub marking: &'a MarkOptions,
    /// How to search; see [`link_config`].
    pub link: LinkOptions,
    /// The concept of every mention must be among this many.
    pub top_k: usize,
}

/// What the linker made of one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ranked {
    /// The sentence.
    document: String,
    /// Where the concept stands among the concepts answered, from 1, for the mention that does worst; `None`: it was not answered.
    rank: Option<usize>,
    /// That mention.
    mention: String,
    /// The answer that the linker likes best for it.
    first: String,
}

impl RoundTrip<'_> {
    /// Links the sentences of `from` and writes those that pass to `to`, and all ranks to `ranks`; what stands there
    /// already is not linked again. Returns the counts of the other filters with this one's behind them.
    ///
    /// # Errors
    /// A corpus that cannot be read, a failure of the model, a disk that is full.
    pub fn filter(
        self,
        from: &Path,
        report: FilterReport,
        ranks: &Path,
        to: &Path,
    ) -> Result<FilterReport> {
        let top_k = self.top_k;
        self.rank(from, report.kept, ranks)?;
        let mut filter = LaterFilter::new(ROUND_TRIP, report);
        let mut writer = jsonl::Writer::create(to)?;
        let mut lines = BufReader::new(open(ranks)?).lines();
        for document in jsonl::Reader::open(from)? {
            let document = document?;
            let line = lines.next().context("fewer ranks than sentences")??;
            let ranked: Ranked = serde_json::from_str(&line)?;
            anyhow::ensure!(
                ranked.document == document.id,
                "{} ranks `{}` where the corpus has `{}`; remove it and run again",
                ranks.display(),
                ranked.document,
                document.id
            );
            match ranked.reason(top_k) {
                Some(why) => filter.reject(&document, why),
                None => writer.write(&document)?,
            }
        }
        writer.finish()?;
        Ok(filter.finish())
    }

    /// Writes the rank of every sentence, behind those that are there already.
    fn rank(self, from: &Path, sentences: usize, ranks: &Path) -> Result<()> {
        let done = complete_lines(ranks)?;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(ranks)
            .with_context(|| format!("cannot write {}", ranks.display()))?;
        let bar = progress::bar(sentences as u64, "sentences").with_prefix(ROUND_TRIP);
        bar.set_position(done as u64);
        bar.reset_eta();
        let (start, mut told) = (Instant::now(), Instant::now());
        let mut linked = 0;
        let piece = self.link.batch.saturating_mul(16);
        let mut linker = self.model.linker(self.kb, Some(self.trie), self.link)?;
        let mut documents = jsonl::Reader::open(from)?.skip(done);
        loop {
            let documents: Vec<Document> =
                documents.by_ref().take(piece).collect::<Result<_, _>>()?;
            if documents.is_empty() {
                bar.finish_and_clear();
                return Ok(());
            }
            let mut lines = Vec::new();
            for ranked in rank_documents(&mut linker, self.kb, self.marking, &documents)? {
                serde_json::to_writer(&mut lines, &ranked)?;
                lines.push(b'\n');
            }
            file.write_all(&lines)
                .with_context(|| format!("cannot write {}", ranks.display()))?;
            bar.inc(documents.len() as u64);
            linked += documents.len();
            if bar.is_hidden() && told.elapsed() >= LOG_EVERY {
                told = Instant::now();
                let rate = linked as f64 / start.elapsed().as_secs_f64();
                let left_min = sentences.saturating_sub(done + linked) as f64 / rate / 60.0;
                tracing::info!(
                    "round trip: {} of {sentences} sentences, {rate:.1} a second, {left_min:.1} min left",
                    done + linked
                );
            }
        }
    }
}

fn rank_documents(
    linker: &mut Linker<'_>,
    kb: &Kb,
    marking: &MarkOptions,
    documents: &[Document],
) -> Result<Vec<Ranked>> {
    let mut mentions = Vec::new();
    for document in documents {
        mentions.extend(marked::mark(document, Some(kb), marking)?);
    }
    let predictions = linker.link(&mentions)?;
    let mut predictions = predictions.iter();
    let ranked = documents.iter().map(|document| {
        let answers = predictions.by_ref().take(document.mentions.len());
        Ranked::worst(kb, document, &answers.collect::<Vec<_>>())
    });
    Ok(ranked.collect())
}

impl Ranked {
    fn worst(kb: &Kb, document: &Document, answers: &[&Prediction]) -> Self {
        let one = |(mention, answer): (&syncabel_corpus::Mention, &&Prediction)| {
            let first = answer.candidates.first();
            Ranked {
                document: document.id.clone(),
                rank: rank(kb, answer, &mention.gold),
                mention: mention.text.clone(),
                first: first.map_or("nothing".to_owned(), |c| format!("{} {}", c.code, c.name)),
            }
        };
        let each = document.mentions.iter().zip(answers).map(one);
        // `None` would come before every number.
        let worst = each.max_by_key(|ranked| ranked.rank.unwrap_or(usize::MAX));
        worst.unwrap_or_else(|| Ranked {
            document: document.id.clone(),
            rank: None,
            mention: String::new(),
            first: "nothing".to_owned(),
        })
    }

    /// Why the sentence is rejected, if it is.
    fn reason(&self, top_k: usize) -> Option<String> {
        let Ranked { mention, first, .. } = self;
        match self.rank {
            Some(rank) if rank <= top_k => None,
            Some(rank) => Some(format!("`{mention}`: ranked {rank}, behind {first}")),
            None => Some(format!(
                "`{mention}`: not among the answers; first is {first}"
            )),
        }
    }
}

/// Where the gold concept stands among the different concepts answered, from 1; for alternatives the best of them, for a
/// composite the worst of its parts.
fn rank(kb: &Kb, answer: &Prediction, gold: &Gold) -> Option<usize> {
    let mut concepts: Vec<ConceptId> = Vec::new();
    for concept in answer.candidates.iter().filter_map(|c| kb.resolve(&c.code)) {
        if !concepts.contains(&concept) {
            concepts.push(concept);
        }
    }
    let of_code = |code: &String| {
        let concept = kb.resolve(code)?;
        concepts.iter().position(|c| *c == concept).map(|at| at + 1)
    };
    let of_composite = |Composite(codes): &Composite| {
        let ranks = codes.iter().map(of_code).collect::<Option<Vec<_>>>()?;
        ranks.into_iter().max()
    };
    gold.alternatives.iter().filter_map(of_composite).min()
}

/// Counts the lines of a file and cuts off one that is not complete; 0 for a file that is not there.
fn complete_lines(path: &Path) -> Result<usize> {
    if !path.is_file() {
        return Ok(0);
    }
    let mut reader = BufReader::new(open(path)?);
    let (mut lines, mut bytes, mut line) = (0, 0, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        lines += 1;
        bytes += line.len() as u64;
        line.clear();
    }
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_len(bytes))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(lines)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncabel_corpus::predictions::Candidate;
    use syncabel_kb::{BuildOptions, RawConcept, build};

    fn kb() -> Kb {
        let concept = |code: &str| RawConcept {
            code: code.into(),
            preferred_name: format!("Name of {code}"),
            groups: vec!["Disorders".into()],
            ..RawConcept::default()
        };
        let concepts = ["A", "B", "C"].map(concept).to_vec();
        build(concepts, vec![], &BuildOptions::default()).unwrap().0
    }

    fn answer(codes: &[&str]) -> Prediction {
        let candidate = |code: &&str| Candidate {
            name: format!("name of {code}"),
            code: (*code).to_owned(),
            score: 0.0,
        };
        Prediction {
            candidates: codes.iter().map(candidate).collect(),
            ..Prediction::default()
        }
    }

    #[test]
    fn ranks_count_concepts_and_not_names() {
        let kb = kb();
        let rank = |codes: &[&str], gold: &str| rank(&kb, &answer(codes), &Gold::from_field(gold));
        assert_eq!(rank(&["A", "A", "B"], "B"), Some(2));
        assert_eq!(rank(&["A", "B"], "C"), None);
        assert_eq!(rank(&["A", "B"], "C|B"), Some(2));
        assert_eq!(rank(&["A", "B"], "A+B"), Some(2));
        assert_eq!(rank(&["A", "B"], "A+C"), None);
        assert_eq!(rank(&[], "A"), None);
        assert_eq!(rank(&["A"], ""), None);
    }

    #[test]
    fn a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RANKS);
        assert_eq!(complete_lines(&path).unwrap(), 0);
        std::fs::write(&path, "{}\n{}\n{\"docu").unwrap();
        assert_eq!(complete_lines(&path).unwrap(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n");
    }
}
