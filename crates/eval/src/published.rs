//! The authors' numbers, recomputed from the prediction files they released.
//!
//! [`recompute`] reads a folder of released data (predictions, corpora, tables of code repairs) and returns every number of
//! the paper that follows from it. It is written to `results/published/recomputed.json`, so that the report builds where
//! the data is not; nothing in it is text of the corpora, names of concepts or codes.
//!
//! | in the folder | what |
//! |---|---|
//! | `syncabel_predictions/CORPUS_Llama_guided_{with,without}_SynCABEL.tsv.gz` | the systems of the main table |
//! | `syncabel_predictions/ablation/CORPUS_STRATEGY_{guided,unguided}.tsv.gz` | ways of composing training data |
//! | `syncabel_predictions/SPACCC_clinician_sample.tsv.gz` | mismatches judged by a clinician and by judges |
//! | `spaccc/{train.tsv,train_texts.jsonl,code_repairs.tsv}` | training side of seen and unseen, SPACCC |
//! | `quaero/CORPUS_{train,dev}.jsonl`, `quaero/code_repairs.csv` | the same, QUAERO |
//!
//! Files that are absent are left out; MedMentions and EMEA predictions are used where someone has them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncabel_corpus::predictions::read_tsv;
use syncabel_corpus::{CodeRepairs, Corpus, CorpusFormat, Mention, ReadOptions, SeveralIds, read};

use crate::judge::{Agreement, HUMAN_COLUMN};
use crate::{
    Comparison, Error, EvalOptions, EvalReport, Scored, TrainingSet, compare_scored, score_file,
};

/// Corpora of the paper, as the released files call them.
pub const CORPORA: [&str; 4] = ["MM", "MEDLINE", "EMEA", "SPACCC"];

/// Ways of composing training data, as the released files call them.
pub const STRATEGIES: [&str; 5] = [
    "human_only",
    "synthetic_only",
    "combined",
    "pretrain_then_human",
    "interleaved",
];

/// Judge columns of the clinician sample.
const JUDGES: [&str; 5] = [
    "LLM_Evaluation",
    "LLM_Evaluation_v2",
    "LLM_Evaluation_v3",
    "LLM_Evaluation_v4",
    "Termino_Evaluation",
];

/// Everything that was recomputed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recomputed {
    /// One entry per prediction file.
    pub systems: Vec<SystemReport>,
    /// With against without synthetic data, and each strategy against human data alone.
    pub comparisons: Vec<SystemComparison>,
    /// Pairs of files that do not cover the same mentions or differ in gold, with the reason.
    pub not_comparable: Vec<NotComparable>,
    /// Judges against the clinician.
    pub clinician: Vec<JudgeAgreement>,
}

/// The metrics of one prediction file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemReport {
    /// One of [`CORPORA`].
    pub corpus: String,
    /// One of [`STRATEGIES`]; the main files are `interleaved` (with synthetic data) and `human_only` (without).
    pub strategy: String,
    /// Whether a trie constrained the decoder.
    pub guided: bool,
    /// Whether this is a file of the main table or one of the composition ablation.
    pub main: bool,
    /// Name of the file.
    pub file: String,
    /// Its metrics.
    pub report: EvalReport,
}

/// Two systems on the same mentions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemComparison {
    /// The corpus.
    pub corpus: String,
    /// File of the first system.
    pub first: String,
    /// File of the second system.
    pub second: String,
    /// Difference, interval and p-values.
    pub comparison: Comparison,
    /// Bootstrap p-value, corrected for all comparisons of this list (Holm).
    pub p_bootstrap_holm: f64,
    /// McNemar p-value, corrected likewise.
    pub p_mcnemar_holm: f64,
}

/// Two files that cannot be paired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotComparable {
    /// The corpus.
    pub corpus: String,
    /// File of the first system.
    pub first: String,
    /// File of the second system.
    pub second: String,
    /// Why.
    pub reason: String,
}

/// A judge against the clinician.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeAgreement {
    /// The judge's column.
    pub judge: String,
    /// How far they agree; the clinician's verdicts are the rows of the confusion matrix.
    pub agreement: Agreement,
}

/// Human training data of a corpus in the authors' reading; `None` where the files are absent.
///
/// Codes are repaired part by part. For QUAERO the first code of an annotation of several counts, and the first nine tenths
/// of the validation mentions, in file order, belong to the training data.
///
/// # Errors
/// Those of reading.
pub fn training(data: &Path, corpus: &str) -> Result<Option<TrainingSet>, Error> {
    let (folder, format, repairs) = match corpus {
        "SPACCC" => ("spaccc", CorpusFormat::Spaccc, "code_repairs.tsv"),
        "MEDLINE" | "EMEA" => ("quaero", CorpusFormat::Quaero, "code_repairs.csv"),
        _ => return Ok(None),
    };
    let folder = data.join(folder);
    if !folder.is_dir() {
        return Ok(None);
    }
    let options = ReadOptions {
        code_repairs: CodeRepairs::read(&folder.join(repairs))?,
        quaero_several_ids: SeveralIds::First,
        ..ReadOptions::default()
    };
    let read = |file: String| -> Result<Corpus, Error> {
        Ok(read(&folder.join(file), format, &options)?.0)
    };
    if format == CorpusFormat::Spaccc {
        let train = read("train.tsv".to_owned())?;
        return Ok(Some(TrainingSet::from_documents(&train.documents, None)));
    }
    let train = read(format!("{corpus}_train.jsonl"))?;
    let validation = read(format!("{corpus}_dev.jsonl"))?;
    let mentions = |corpus: &Corpus| -> Vec<Mention> {
        corpus
            .documents
            .iter()
            .flat_map(|d| d.mentions.clone())
            .collect()
    };
    let mut all = mentions(&train);
    let validation = mentions(&validation);
    all.extend_from_slice(&validation[..validation.len() * 9 / 10]);
    Ok(Some(TrainingSet::from_mentions(&all, None)))
}

/// A prediction file and what it is.
struct Released {
    path: PathBuf,
    strategy: String,
    guided: bool,
    main: bool,
}

fn released(data: &Path, corpus: &str) -> Vec<Released> {
    let folder = data.join("syncabel_predictions");
    let mut files = Vec::new();
    for (system, strategy) in [("without", "human_only"), ("with", "interleaved")] {
        files.push(Released {
            path: folder.join(format!("{corpus}_Llama_guided_{system}_SynCABEL.tsv.gz")),
            strategy: strategy.to_owned(),
            guided: true,
            main: true,
        });
    }
    for strategy in STRATEGIES {
        for guided in [true, false] {
            let how = if guided { "guided" } else { "unguided" };
            files.push(Released {
                path: folder.join(format!("ablation/{corpus}_{strategy}_{how}.tsv.gz")),
                strategy: strategy.to_owned(),
                guided,
                main: false,
            });
        }
    }
    files.retain(|file| file.path.is_file());
    files
}

/// Recomputes everything that the folder allows.
///
/// # Errors
/// [`Error::NothingToShow`] where the folder holds no prediction file, and those of reading and scoring.
pub fn recompute(data: &Path, options: &EvalOptions) -> Result<Recomputed, Error> {
    let mut recomputed = Recomputed::default();
    let files: Vec<usize> = CORPORA.map(|corpus| released(data, corpus).len()).into();
    let comparing = EvalOptions {
        // One pair of the main table and all others of the ablation against its first.
        bootstrap: options.bootstrap.for_comparisons(files.iter().sum()),
        ..options.clone()
    };
    for corpus in CORPORA {
        let files = released(data, corpus);
        if files.is_empty() {
            continue;
        }
        let training = training(data, corpus)?;
        let mut scored: Vec<(Released, String, Scored)> = Vec::new();
        for file in files {
            let name = file_name(&file.path);
            let verdicts = score_file(&file.path, training.as_ref(), None, options)?;
            recomputed.systems.push(SystemReport {
                corpus: corpus.to_owned(),
                strategy: file.strategy.clone(),
                guided: file.guided,
                main: file.main,
                file: name.clone(),
                report: verdicts.report(options)?,
            });
            scored.push((file, name, verdicts));
        }
        compare_all(corpus, &scored, &comparing, &mut recomputed)?;
    }
    if recomputed.systems.is_empty() {
        return Err(Error::NothingToShow {
            what: "the recomputation",
            why: format!(
                "{} holds no released prediction file",
                data.join("syncabel_predictions").display()
            ),
        });
    }
    correct(&mut recomputed.comparisons);
    recomputed.clinician = clinician(data, options)?;
    Ok(recomputed)
}

/// The second main file against the first, and each file of the ablation against its human-only one.
fn compare_all(
    corpus: &str,
    scored: &[(Released, String, Scored)],
    options: &EvalOptions,
    recomputed: &mut Recomputed,
) -> Result<(), Error> {
    for main in [true, false] {
        let base = scored
            .iter()
            .find(|(file, _, _)| file.main == main && file.guided && file.strategy == "human_only");
        let Some((_, first, base)) = base else {
            continue;
        };
        for (_, second, verdicts) in scored
            .iter()
            .filter(|(file, name, _)| file.main == main && name != first)
        {
            let [corpus, first, second] =
                [corpus, first.as_str(), second.as_str()].map(str::to_owned);
            let reason = match compare_scored(base, verdicts, options) {
                Ok(comparison) => {
                    recomputed.comparisons.push(SystemComparison {
                        corpus,
                        first,
                        second,
                        comparison,
                        p_bootstrap_holm: 0.0,
                        p_mcnemar_holm: 0.0,
                    });
                    continue;
                }
                Err(Error::DifferentMentions {
                    only_first,
                    only_second,
                    ..
                }) => format!(
                    "{only_first} mentions only in the first, {only_second} only in the second (other document ids or offsets)"
                ),
                Err(Error::DifferentGold { .. }) => {
                    "gold codes differ between the files".to_owned()
                }
                Err(error) => return Err(error),
            };
            recomputed.not_comparable.push(NotComparable {
                corpus,
                first,
                second,
                reason,
            });
        }
    }
    Ok(())
}

fn correct(comparisons: &mut [SystemComparison]) {
    let of = |p: fn(&Comparison) -> f64| -> Vec<f64> {
        let values: Vec<f64> = comparisons.iter().map(|c| p(&c.comparison)).collect();
        crate::Correction::Holm.adjust(&values)
    };
    let (bootstrap, mcnemar) = (of(|c| c.p_bootstrap), of(|c| c.p_mcnemar));
    for ((comparison, b), m) in comparisons.iter_mut().zip(bootstrap).zip(mcnemar) {
        comparison.p_bootstrap_holm = b;
        comparison.p_mcnemar_holm = m;
    }
}

/// Judges against the clinician on the released sample; empty where it is absent.
fn clinician(data: &Path, options: &EvalOptions) -> Result<Vec<JudgeAgreement>, Error> {
    let path = data.join("syncabel_predictions/SPACCC_clinician_sample.tsv.gz");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let rows = read_tsv(&path)?;
    JUDGES
        .into_iter()
        .map(|judge| {
            Ok(JudgeAgreement {
                judge: judge.to_owned(),
                agreement: Agreement::of_columns(&rows, HUMAN_COLUMN, judge, options.bootstrap)?,
            })
        })
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl Recomputed {
    /// The metrics of a file of the main table.
    pub fn main(&self, corpus: &str, strategy: &str) -> Option<&EvalReport> {
        self.find(corpus, strategy, true, true)
    }

    /// The metrics of a file of the composition ablation.
    pub fn ablation(&self, corpus: &str, strategy: &str, guided: bool) -> Option<&EvalReport> {
        self.find(corpus, strategy, guided, false)
    }

    fn find(&self, corpus: &str, strategy: &str, guided: bool, main: bool) -> Option<&EvalReport> {
        let matches = |s: &&SystemReport| {
            s.corpus == corpus && s.strategy == strategy && s.guided == guided && s.main == main
        };
        self.systems.iter().find(matches).map(|s| &s.report)
    }

    /// JSON with one line per entry, so that a change shows where it is.
    ///
    /// # Errors
    /// [`Error::NothingToShow`] if a number cannot be written, which does not happen for finite ones.
    pub fn to_json(&self) -> Result<String, Error> {
        fn lines<T: Serialize>(entries: &[T]) -> Result<String, Error> {
            let json = entries.iter().map(serde_json::to_string);
            let lines = json
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| Error::NothingToShow {
                    what: "the recomputation",
                    why: e.to_string(),
                })?;
            Ok(lines.join(",\n"))
        }
        Ok(format!(
            "{{\"systems\": [\n{}\n],\n\"comparisons\": [\n{}\n],\n\"not_comparable\": [\n{}\n],\n\"clinician\": [\n{}\n]}}\n",
            lines(&self.systems)?,
            lines(&self.comparisons)?,
            lines(&self.not_comparable)?,
            lines(&self.clinician)?
        ))
    }
}
