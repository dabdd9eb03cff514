//! The authors' released prediction files, all of them.

mod common;

use common::data;
use rstest::rstest;
use syncabel_corpus::predictions::{read_tsv, write_tsv};

const STRATEGIES: [&str; 6] = [
    "combined_guided",
    "human_only_guided",
    "human_only_unguided",
    "interleaved_guided",
    "pretrain_then_human_guided",
    "synthetic_only_guided",
];

#[rstest]
#[case("MEDLINE_Llama_guided_with_SynCABEL", 3079, 2454)]
#[case("MEDLINE_Llama_guided_without_SynCABEL", 3079, 2387)]
#[case("SPACCC_Llama_guided_with_SynCABEL", 9059, 6071)]
#[case("SPACCC_Llama_guided_without_SynCABEL", 9059, 5815)]
fn main_files_have_their_rows(
    #[case] name: &str,
    #[case] rows: usize,
    #[case] about_correct: usize,
) {
    let Some(path) = data(&format!("syncabel_predictions/{name}.tsv.gz")) else {
        return;
    };
    let predictions = read_tsv(&path).unwrap();
    assert_eq!(predictions.len(), rows);
    let correct = predictions
        .iter()
        .filter(|p| p.code == p.predicted_code)
        .count();
    assert!(correct.abs_diff(about_correct) < 25, "{correct} correct");
    assert!(
        predictions
            .iter()
            .all(|p| !p.sentence.is_empty() && !p.prediction_score.is_nan())
    );
    let extra: Vec<&str> = predictions[0]
        .extra
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(extra, ["LLM_Evaluation", "LLM_Evaluation_v2"]);
}

#[test]
fn ablation_files_have_their_rows() {
    for strategy in STRATEGIES {
        for (corpus, mut rows) in [("MEDLINE", 3079), ("SPACCC", 9059)] {
            let Some(path) = data(&format!(
                "syncabel_predictions/ablation/{corpus}_{strategy}.tsv.gz"
            )) else {
                return;
            };
            let predictions = read_tsv(&path).unwrap();
            let longer = [
                "synthetic_only_guided",
                "pretrain_then_human_guided",
                "human_only_unguided",
            ];
            if corpus == "SPACCC" && longer.contains(&strategy) {
                rows = 9075;
            }
            assert_eq!(predictions.len(), rows, "{corpus} {strategy}");
            let has_ids = predictions.iter().all(|p| !p.mention_id.is_empty());
            assert_eq!(
                has_ids,
                strategy != "synthetic_only_guided",
                "{corpus} {strategy}"
            );
        }
    }
}

#[test]
fn the_clinician_sample_reads_and_everything_round_trips() {
    let Some(path) = data("syncabel_predictions/SPACCC_clinician_sample.tsv.gz") else {
        return;
    };
    let sample = read_tsv(&path).unwrap();
    assert_eq!(sample.len(), 145);
    assert!(
        sample[0]
            .extra
            .iter()
            .any(|(name, _)| name == "Human_Evaluation")
    );
    let Some(path) = data("syncabel_predictions/MEDLINE_Llama_guided_with_SynCABEL.tsv.gz") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for rows in [sample, read_tsv(&path).unwrap()] {
        let copy = dir.path().join("copy.tsv");
        write_tsv(&copy, &rows).unwrap();
        let again = read_tsv(&copy).unwrap();
        // NaN is no equal of itself, its text is.
        assert_eq!(format!("{again:?}"), format!("{rows:?}"));
    }
}
