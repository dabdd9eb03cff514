//! The artefact on disk: round trip, same bytes, damage, old versions.

use std::fs;
use std::path::{Path, PathBuf};

use syncabel_kb::artefact::MANIFEST_FILE;
use syncabel_kb::{BuildOptions, Error, Kb, SourceFormat, build, inspect, load, lookup};

/// Three groups, ambiguous names, case twins, alternate codes: `tests/data/tiny.tsv`.
fn tiny() -> Kb {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny.tsv");
    let source = load(&path, SourceFormat::Tsv, None).unwrap();
    build(
        source.concepts,
        vec![source.digest],
        &BuildOptions::default(),
    )
    .unwrap()
    .0
}

/// Everything a KB says, as text.
fn dump(kb: &Kb) -> String {
    let mut text = String::new();
    for concept in kb.concepts() {
        text += &lookup::ConceptCard::new(kb, concept).to_string();
    }
    for (group, name) in kb.groups() {
        text += &format!("{name}\n");
        for name in kb.names(group) {
            text += &format!("  {name:?}\n");
        }
    }
    text
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn what_is_written_is_what_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let built = tiny();
    built.write(&dir.path().join("kb")).unwrap();
    let opened = Kb::open(&dir.path().join("kb")).unwrap();
    assert_eq!(opened.manifest(), built.manifest());
    assert_eq!(dump(&opened), dump(&built));
    opened.verify().unwrap();
}

#[test]
fn building_twice_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    tiny().write(&dir.path().join("a")).unwrap();
    tiny().write(&dir.path().join("b")).unwrap();
    assert_eq!(files(&dir.path().join("a")), files(&dir.path().join("b")));
}

#[test]
fn writing_replaces_a_kb_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("kb");
    fs::create_dir(&target).unwrap();
    tiny().write(&target).unwrap(); // an empty folder may be filled
    let open = Kb::open(&target).unwrap();
    tiny().write(&target).unwrap();
    assert_eq!(dump(&open), dump(&tiny())); // the old one stays readable
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let thesis = dir.path().join("thesis");
    fs::create_dir(&thesis).unwrap();
    fs::write(thesis.join("chapter1.tex"), "years of work").unwrap();
    assert!(matches!(
        tiny().write(&thesis),
        Err(Error::WouldReplace { .. })
    ));
    assert!(thesis.join("chapter1.tex").exists());
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(
        tiny().write(&file),
        Err(Error::WouldReplace { .. })
    ));
    assert!(matches!(
        tiny().write(&dir.path().join("no/such/place")),
        Ok(()) | Err(Error::Io { .. })
    ));
}

#[test]
fn every_kind_of_damage_is_an_error_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("kb");
    let names: Vec<PathBuf> = {
        tiny().write(&target).unwrap();
        files(&target).into_iter().map(|(name, _)| name).collect()
    };
    for name in names {
        let path = target.join(&name);
        let whole = fs::read(&path).unwrap();
        let mut damages = vec![Vec::new(), [whole.as_slice(), b"x"].concat()];
        for cut in [1, whole.len() / 2, whole.len() - 1] {
            damages.push(whole[..cut].to_vec());
        }
        for place in (0..whole.len()).step_by(whole.len().div_ceil(40)) {
            let mut flipped = whole.clone();
            flipped[place] ^= 0x15;
            damages.push(flipped);
        }
        for damaged in damages.into_iter().filter(|damaged| *damaged != whole) {
            fs::write(&path, &damaged).unwrap();
            let blank = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            match Kb::open(&target) {
                // White space around the manifest is no damage.
                Ok(_) => assert!(
                    name.as_os_str() == MANIFEST_FILE && blank(&damaged) == blank(&whole),
                    "{}: {} bytes opened",
                    name.display(),
                    damaged.len()
                ),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(&*name.to_string_lossy()), "{message}");
                }
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(Kb::open(&target).is_err());
        fs::write(&path, &whole).unwrap();
    }
    Kb::open(&target).unwrap();
}

#[test]
fn other_versions_and_other_folders_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("kb");
    tiny().write(&target).unwrap();
    let manifest = target.join(MANIFEST_FILE);
    let text = fs::read_to_string(&manifest).unwrap();

    fs::write(
        &manifest,
        text.replace("\"format_version\": 1", "\"format_version\": 2"),
    )
    .unwrap();
    let error = Kb::open(&target).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Version {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );

    fs::write(&manifest, text.replace("syncabel-kb", "syncabel-trie")).unwrap();
    assert!(matches!(Kb::open(&target), Err(Error::NotAKb { .. })));
    assert!(matches!(Kb::open(dir.path()), Err(Error::NotAKb { .. })));
    assert!(matches!(Kb::open(&manifest), Err(Error::NotAKb { .. })));
    assert!(matches!(
        Kb::open(&dir.path().join("absent")),
        Err(Error::NotAKb { .. })
    ));
}

/// The artefact that format 1 wrote when it was new must open as long as the version is 1.
#[test]
fn the_first_version_still_opens() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kb_v1");
    let kb = Kb::open(&fixture).unwrap();
    assert_eq!(dump(&kb), dump(&tiny()));
    assert_eq!(kb.digest(), tiny().digest());
}

#[test]
fn tiny_in_full() {
    insta::assert_snapshot!(dump(&tiny()));
}

#[test]
fn inspection_of_tiny() {
    insta::assert_snapshot!(inspect(&tiny()).unwrap().to_string());
}
