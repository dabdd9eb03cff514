//! The transplant on NCBI Disease and MEDIC, where the data is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use syncabel_corpus::marked::MarkOptions;
use syncabel_corpus::{Corpus, CorpusFormat, Origin, ReadOptions, Split};
use syncabel_kb::{BuildOptions, Kb, SourceFormat, build, load};
use syncabel_synth::{
    Operation, Sample, Selection, SynthOptions, SynthReport, TrainSentences, Transplant, synthesise,
};

fn data() -> Option<PathBuf> {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/ncbi_disease"
    ));
    if path.is_dir() {
        return Some(path.to_path_buf());
    }
    // not `eprintln!`: the test harness would swallow it in a test that passes
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {} is absent, the transplant is not tried on real data",
        path.display()
    );
    None
}

fn medic(data: &Path) -> Kb {
    let source = load(
        &data.join("medic_06Jul2012.tsv.gz"),
        SourceFormat::Medic,
        Some("Disease"),
    )
    .unwrap();
    build(
        source.concepts,
        vec![source.digest],
        &BuildOptions::default(),
    )
    .unwrap()
    .0
}

fn corpus(data: &Path, file: &str, split: Split) -> Corpus {
    let options = ReadOptions {
        split: Some(split),
        ..ReadOptions::preset("ncbi_disease").unwrap()
    };
    syncabel_corpus::read(&data.join(file), CorpusFormat::Pubtator, &options)
        .unwrap()
        .0
}

fn run(kb: &Kb, train: &Corpus, options: &SynthOptions) -> (Corpus, SynthReport) {
    let contexts = TrainSentences::from_corpus(train, kb, &MarkOptions::default()).unwrap();
    synthesise(&Transplant, kb, &contexts, options).unwrap()
}

fn sampled(concepts: usize) -> SynthOptions {
    let selection = Selection {
        sample: Some(Sample { concepts, seed: 7 }),
        ..Selection::default()
    };
    SynthOptions {
        selection,
        sentences_per_concept: 3,
        ..SynthOptions::default()
    }
}

#[test]
fn every_concept_of_medic_gets_its_sentences() {
    let Some(data) = data() else { return };
    let kb = medic(&data);
    let train = corpus(&data, "train.pubtator.txt", Split::Train);
    let start = std::time::Instant::now();
    let (synthetic, report) = run(&kb, &train, &SynthOptions::default());
    eprintln!("{report}{:.2} s", start.elapsed().as_secs_f64());
    for record in report.records.iter().step_by(600) {
        let document = synthetic
            .documents
            .iter()
            .find(|d| d.id == record.document)
            .unwrap();
        eprintln!(
            "{} <- {:?} {:?}\n    {}",
            record.mention, record.source_name, record.operations, document.text
        );
    }
    assert_eq!(report.failed, []);
    assert_eq!(report.sentences, 3 * kb.concept_count());
    for document in &synthetic.documents {
        document.validate().unwrap();
        assert_eq!(
            document.origin,
            Origin::Synthetic {
                generator: "transplant".into()
            }
        );
        let code = document.mentions[0].gold.codes().next().unwrap();
        assert!(kb.resolve(code).is_some());
    }
    let ids: HashSet<&str> = synthetic.documents.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids.len(), synthetic.documents.len());

    // Human mentions are a name (or one but for case) in 59 % of cases; copies must not be the rule here either.
    let share = |count: usize| count as f64 / report.mentions as f64;
    assert!(share(report.distance.name) < 0.3, "{:?}", report.distance);
    assert!(
        share(report.distance.changed) > 0.25,
        "{:?}",
        report.distance
    );
    let enough = [
        Operation::Case,
        Operation::SynonymWord,
        Operation::Number,
        Operation::AnotherName,
    ];
    for operation in enough {
        assert!(
            report.operations.get(&operation).copied().unwrap_or(0) > 500,
            "{operation}: {:?}",
            report.operations
        );
    }
}

#[test]
fn no_mention_is_another_concepts_name() {
    let Some(data) = data() else { return };
    let kb = medic(&data);
    let train = corpus(&data, "train.pubtator.txt", Split::Train);
    let (_, report) = run(&kb, &train, &sampled(3000));
    let mut owners: HashMap<String, HashSet<&str>> = HashMap::new();
    let concepts: Vec<_> = kb.concepts().collect();
    for (group, _) in kb.groups() {
        for name in kb.names(group) {
            let code = concepts[name.concept.0 as usize].code();
            owners
                .entry(name.text.to_lowercase())
                .or_default()
                .insert(code);
        }
    }
    let changed = report
        .records
        .iter()
        .filter(|r| r.operations.iter().any(|o| *o != Operation::AnotherName));
    for record in changed {
        // Where the KB itself has case twins, the name was ambiguous before anything was done to it.
        let source = record.source_name.as_ref().unwrap().to_lowercase();
        let twins = owners[&source].len() > 1;
        let owner = owners.get(&record.mention.to_lowercase());
        let own = owner.is_none_or(|codes| {
            codes.contains(record.code.as_str()) && (codes.len() == 1 || twins)
        });
        assert!(own, "{record:?} {owner:?}");
    }
}

#[test]
fn no_sentence_outside_the_training_split_is_used() {
    let Some(data) = data() else { return };
    let kb = medic(&data);
    let mut mixed = corpus(&data, "train.pubtator.txt", Split::Train);
    let train_ids: HashSet<String> = mixed.documents.iter().map(|d| d.id.clone()).collect();
    mixed
        .documents
        .extend(corpus(&data, "test.pubtator.txt", Split::Test).documents);
    mixed
        .documents
        .extend(corpus(&data, "dev.pubtator.txt", Split::Validation).documents);
    let (_, report) = run(&kb, &mixed, &sampled(500));
    assert_eq!(report.contexts.not_train, 200);
    assert!(
        report
            .records
            .iter()
            .all(|r| train_ids.contains(r.context.as_ref().unwrap()))
    );
    // An unsplit corpus is refused rather than trusted.
    for document in &mut mixed.documents {
        document.split = None;
    }
    let refused = TrainSentences::from_corpus(&mixed, &kb, &MarkOptions::default());
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("mark the training documents")
    );
}

#[test]
fn the_same_seed_gives_the_same_corpus_and_sentences_are_used_evenly() {
    let Some(data) = data() else { return };
    let kb = medic(&data);
    let train = corpus(&data, "train.pubtator.txt", Split::Train);
    let (first, report) = run(&kb, &train, &sampled(800));
    assert_eq!(first.documents, run(&kb, &train, &sampled(800)).0.documents);
    let other = SynthOptions {
        seed: 43,
        ..sampled(800)
    };
    assert_ne!(first.documents, run(&kb, &train, &other).0.documents);
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &report.records {
        *uses.entry(record.context.as_deref().unwrap()).or_default() += 1;
    }
    assert!(uses.len() > 450, "of 592 documents {} are used", uses.len());
}
