//! Each filter by itself, on sentences that it must and must not reject.

mod common;

use common::{corpus, document, kb};
use syncabel_corpus::{Corpus, Document, Language, Origin, Split};
use syncabel_synth::quality::{
    FarFromNamesFilter, FilterReport, Filters, HumanCopyFilter, LanguageFilter, LengthFilter,
    MentionFilter, NearDuplicateFilter, OtherConceptFilter, Quality, RepeatedFilter,
};

fn synthetic(id: &str, text: &str, mention: &str, code: &str) -> Document {
    Document {
        origin: Origin::Synthetic {
            generator: "test".into(),
        },
        ..document(id, Split::Train, text, mention, code)
    }
}

/// Which of the sentences pass, and what was counted.
fn sift(filters: &Filters, documents: &[Document]) -> (Vec<bool>, FilterReport) {
    let (kb, human) = (kb(), corpus());
    let mut quality = Quality::new(&kb, &[&human], filters);
    let kept = documents.iter().map(|d| quality.keep(d)).collect();
    (kept, quality.finish())
}

fn sift_gout(filters: &Filters, sentences: &[(&str, &str)]) -> Vec<bool> {
    let one = |(number, (text, mention)): (usize, &(&str, &str))| {
        synthetic(&format!("s{number}"), text, mention, "D006073")
    };
    let documents: Vec<Document> = sentences.iter().enumerate().map(one).collect();
    sift(filters, &documents).0
}

#[test]
fn mention() {
    let filters = Filters {
        mention: Some(MentionFilter {}),
        ..Filters::default()
    };
    let kept = sift_gout(
        &filters,
        &[
            ("Severe gout hurts.", "gout"),
            ("A gouty joint hurts.", "gout"),
            ("Grade 12 of pain.", "12"),
            ("Gout-like pain.", "Gout"),
        ],
    );
    assert_eq!(kept, [true, false, false, true]);
    let mut changed = synthetic("x", "Severe gout hurts.", "gout", "D006073");
    changed.mentions[0].text = "Gout".into();
    let mut absent = changed.clone();
    absent.mentions.clear();
    let (kept, report) = sift(&filters, &[changed, absent]);
    assert_eq!(kept, [false, false]);
    let why: Vec<&str> = report.filters[0]
        .samples
        .iter()
        .map(|s| s.why.as_str())
        .collect();
    assert_eq!(why, ["`Gout` is not `gout`", "no mention"]);
}

#[test]
fn language() {
    let filters = Filters {
        language: Some(LanguageFilter {}),
        ..Filters::default()
    };
    let sentences = [
        ("The patient with gout was seen by a doctor.", "gout"),
        (
            "Le patient avec la gout est vu par le médecin des urgences.",
            "gout",
        ),
        ("患者有痛风 gout 和疼痛疼痛疼痛。", "gout"),
    ];
    assert_eq!(sift_gout(&filters, &sentences), [true, false, false]);
    let mut french = synthetic(
        "f",
        "Le patient avec la goutte est vu par le médecin.",
        "goutte",
        "D006073",
    );
    french.language = Language::Fr;
    assert_eq!(sift(&filters, &[french]).0, [true]);
}

#[test]
fn length() {
    let filters = Filters {
        length: Some(LengthFilter {
            min_words: 3,
            max_words: 5,
        }),
        ..Filters::default()
    };
    let sentences = [
        ("Bad gout.", "gout"),
        ("Gout of the toe.", "Gout"),
        ("Gout of the left big toe.", "Gout"),
    ];
    assert_eq!(sift_gout(&filters, &sentences), [false, true, false]);
}

#[test]
fn repeated() {
    let filters = Filters {
        repeated: Some(RepeatedFilter {}),
        ..Filters::default()
    };
    let sentences = [
        ("Gout of the toe.", "Gout"),
        ("gout, of the toe!", "gout"),
        ("Gout of the knee.", "Gout"),
    ];
    assert_eq!(sift_gout(&filters, &sentences), [true, false, true]);
}

#[test]
fn near_duplicate() {
    let long = "During the second week after surgery the patient had an attack of gout in the left knee that was treated with colchicine for three days";
    let near = long.replace("three days", "five days");
    let other = "Urate crystals were seen under the microscope, which settled the diagnosis of gout in this young woman with a swollen ankle";
    let sentences = [(long, "gout"), (near.as_str(), "gout"), (other, "gout")];
    let with = |without_mention| Filters {
        near_duplicate: Some(NearDuplicateFilter {
            similarity: 0.7,
            without_mention,
        }),
        ..Filters::default()
    };
    assert_eq!(sift_gout(&with(false), &sentences), [true, false, true]);
    // One phrase for two concepts.
    let phrase = |name: &str| {
        format!("The patient was seen for {name} last week and went home with tablets.")
    };
    let two = [
        synthetic("1", &phrase("gout"), "gout", "D006073"),
        synthetic(
            "2",
            &phrase("bronchial asthma in childhood"),
            "bronchial asthma in childhood",
            "D001249",
        ),
    ];
    assert_eq!(sift(&with(false), &two).0, [true, true]);
    assert_eq!(sift(&with(true), &two).0, [true, false]);
}

#[test]
fn human_copy() {
    let filters = Filters {
        human_copy: Some(HumanCopyFilter {
            words: 6,
            ..HumanCopyFilter::default()
        }),
        ..Filters::default()
    };
    let documents = [
        synthetic(
            "1",
            "We read that the tester saw gout in both great toes at once.",
            "gout",
            "D006073",
        ),
        synthetic(
            "2",
            "Childhood asthma was common in the valley.",
            "asthma",
            "D001249",
        ),
        synthetic(
            "3",
            "Wheezing began after asthma had been quiet.",
            "asthma",
            "D001249",
        ),
        synthetic("4", "Asthma was common in the valley.", "Asthma", "D001249"),
        synthetic("5", "The tester saw gout in one toe.", "gout", "D006073"),
    ];
    let (kept, report) = sift(&filters, &documents);
    assert_eq!(kept, [false, false, false, false, true]);
    let counts: Vec<_> = report.copies_by_split.into_iter().collect();
    assert_eq!(
        counts,
        [(Split::Train, 1), (Split::Validation, 2), (Split::Test, 1)]
    );
    // A human sentence shorter than a run, repeated whole.
    let short = Corpus {
        documents: vec![document(
            "h",
            Split::Test,
            "Gout struck him again.",
            "Gout",
            "D006073",
        )],
    };
    let kb = kb();
    let mut quality = Quality::new(&kb, &[&short], &filters);
    assert!(!quality.keep(&synthetic("6", "gout struck him again", "gout", "D006073")));
    assert!(quality.keep(&synthetic("7", "Gout struck him twice.", "Gout", "D006073")));
}

#[test]
fn far_from_names_and_other_concept() {
    let filters = Filters {
        far_from_names: Some(FarFromNamesFilter::default()),
        other_concept: Some(OtherConceptFilter {}),
        ..Filters::default()
    };
    let documents = [
        synthetic(
            "1",
            "Acute gouty arthritis again.",
            "gouty arthritis",
            "D006073",
        ),
        synthetic("2", "The harbour was full.", "harbour", "D006073"),
        synthetic("3", "His asthma was bad.", "asthma", "D006073"),
        // Allopurinol is in another group: far from every name, but no twin.
        synthetic("4", "He took allopurinol.", "allopurinol", "D006073"),
    ];
    let (kept, report) = sift(&filters, &documents);
    assert_eq!(kept, [true, false, false, false]);
    let counts: Vec<_> = report
        .filters
        .iter()
        .map(|f| (f.name.as_str(), f.rejected, f.alone))
        .collect();
    assert_eq!(counts, [("far_from_names", 3, 2), ("other_concept", 1, 0)]);
    assert!(
        report.filters[1].samples[0]
            .why
            .contains("`asthma` is a name of D001249 Asthma")
    );
}

#[test]
fn all_filters_pass_a_good_sentence_and_samples_are_bounded() {
    let good = synthetic(
        "1",
        "Two attacks of gout were treated with colchicine at home.",
        "gout",
        "D006073",
    );
    let mut documents = vec![good];
    documents.extend((0..100).map(|n| synthetic(&n.to_string(), "Bad gout.", "gout", "D006073")));
    let (kept, report) = sift(&Filters::all(), &documents);
    assert_eq!((report.sentences, report.kept), (101, 1));
    assert!(kept[0] && !kept[1..].iter().any(|&k| k));
    let length = report.filters.iter().find(|f| f.name == "length").unwrap();
    assert_eq!(
        (length.rejected, length.alone, length.samples.len()),
        (100, 100, 10)
    );
    let text = report.to_string();
    assert!(text.contains("1 of 101 sentences kept"), "{text}");
}
