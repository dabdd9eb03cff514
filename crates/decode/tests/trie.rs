//! The trie as a set of strings, and its file against every kind of damage.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{GROUP, entries, letters, strings, trie};
use proptest::prelude::*;
use syncabel_decode::trie::FORMAT_VERSION;
use syncabel_decode::{Error, NameEntry, NodeId, Trie};
use syncabel_kb::{ConceptId, Digest, GroupId, NameId};

/// Every name that the trie spells below a root, by walking it.
fn spelled(trie: &Trie, group: GroupId) -> BTreeMap<Vec<u32>, NameId> {
    let mut found = BTreeMap::new();
    let mut stack = vec![(trie.root(group).unwrap(), Vec::new())];
    while let Some((node, tokens)) = stack.pop() {
        if let Some(terminal) = trie.terminal(node) {
            found.insert(tokens.clone(), terminal.name);
        }
        for (token, child) in trie.children(node).iter() {
            assert_eq!(trie.child(node, token), Some(child));
            let mut longer = tokens.clone();
            longer.push(token);
            stack.push((child, longer));
        }
    }
    found
}

#[test]
fn a_group_that_is_built_in_many_parts_spells_its_names_and_is_sound() {
    // Some thousand names a part are built side by side.
    let names: BTreeSet<String> = (0..30_000u32)
        .map(|i| {
            let mixed = i.wrapping_mul(2_654_435_761) >> 8;
            let word = (0..3 + i % 4).map(|at| char::from(b'a' + (mixed >> (4 * at) & 15) as u8));
            word.collect()
        })
        .collect();
    assert!(names.len() > 12_000, "{}", names.len());
    let groups = vec![names.into_iter().collect::<Vec<_>>(), vec!["b".to_owned()]];
    let trie = trie(&groups);
    for (group, names) in entries(&groups).iter().enumerate() {
        let expected: BTreeMap<_, _> = names.iter().map(|e| (letters(e.text), e.name)).collect();
        assert_eq!(spelled(&trie, GroupId(group as u16)), expected);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    trie.write(&path).unwrap();
    open_and_verify(&path).unwrap();
}

fn groups_of_names() -> impl Strategy<Value = Vec<Vec<String>>> {
    let names = proptest::collection::btree_set("[a-d]{1,6}", 0..40);
    proptest::collection::vec(names.prop_map(|set| set.into_iter().collect()), 1..4)
}

proptest! {
    #[test]
    fn it_spells_exactly_the_names_of_each_group(groups in groups_of_names()) {
        let trie = trie(&groups);
        prop_assert_eq!(trie.group_count(), groups.len());
        prop_assert_eq!(trie.name_count(), groups.iter().map(Vec::len).sum::<usize>());
        for (group, names) in entries(&groups).iter().enumerate() {
            let expected: BTreeMap<_, _> = names.iter().map(|e| (letters(e.text), e.name)).collect();
            prop_assert_eq!(spelled(&trie, GroupId(group as u16)), expected);
        }
    }

    #[test]
    fn nodes_look_ahead_as_far_as_their_names_go(
        groups in groups_of_names(), concepts in 1..4u32
    ) {
        let digest = Digest::of_bytes(b"test");
        let mut names = entries(&groups);
        names.iter_mut().flatten().for_each(|entry| entry.concept = ConceptId(entry.name.0 * 7 % concepts));
        let trie = Trie::from_names(&names, &letters, 0, digest, digest).unwrap();
        for (group, names) in names.iter().enumerate() {
            let mut stack = vec![(trie.root(GroupId(group as u16)).unwrap(), Vec::new())];
            while let Some((node, tokens)) = stack.pop() {
                let below: Vec<_> = names.iter().filter(|e| letters(e.text).starts_with(&tokens)).collect();
                let lengths: Vec<_> = below.iter().map(|e| letters(e.text).len() - tokens.len()).collect();
                if below.is_empty() {
                    continue;
                }
                prop_assert_eq!(trie.shortest_below(node), *lengths.iter().min().unwrap());
                prop_assert_eq!(trie.longest_below(node), *lengths.iter().max().unwrap());
                let found: BTreeSet<_> = below.iter().map(|e| e.concept).collect();
                prop_assert_eq!(trie.concepts_below(node), found.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(trie.only_concept_below(node), (found.len() == 1).then(|| *found.first().unwrap()));
                // Forced: what all names below begin with, as long as none of them has ended.
                let first = letters(below[0].text);
                let shared = (0..lengths.iter().copied().min().unwrap())
                    .take_while(|&i| below.iter().all(|e| letters(e.text)[tokens.len() + i] == first[tokens.len() + i]))
                    .count();
                prop_assert_eq!(trie.forced_below(node), shared);
                for (token, child) in trie.children(node).iter() {
                    let mut longer = tokens.clone();
                    longer.push(token);
                    stack.push((child, longer));
                }
            }
        }
    }

    #[test]
    fn prefixes_and_strangers_are_no_names(groups in groups_of_names(), probe in "[a-e]{0,7}") {
        let trie = trie(&groups);
        for (group, names) in groups.iter().enumerate() {
            let found = trie.lookup(GroupId(group as u16), &letters(&probe)).is_some();
            prop_assert_eq!(found, names.contains(&probe));
        }
    }

    #[test]
    fn the_order_of_the_names_does_not_reach_the_file(
        groups in groups_of_names(), seed in any::<u64>()
    ) {
        let digest = Digest::of_bytes(b"test");
        let sorted = entries(&groups);
        let mut shuffled = sorted.clone();
        for names in &mut shuffled {
            names.sort_by_key(|entry| Digest::of_bytes(format!("{seed}{}", entry.text).as_bytes()));
        }
        let build = |groups: &[Vec<NameEntry<'_>>]| Trie::from_names(groups, &letters, 0, digest, digest).unwrap();
        let (one, other) = (build(&sorted), build(&shuffled));
        prop_assert_eq!(one.as_bytes(), other.as_bytes());
    }
}

proptest! {
    // Every case waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_written_is_what_is_opened(groups in groups_of_names()) {
        let built = trie(&groups);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.trie");
        built.write(&path).unwrap();
        let digest = Digest::of_bytes(b"test");
        let opened = Trie::open(&path, &digest, &digest).unwrap();
        prop_assert_eq!(opened.as_bytes(), built.as_bytes());
        prop_assert_eq!(opened.stats(), built.stats());
        for group in 0..groups.len() as u16 {
            prop_assert_eq!(spelled(&opened, GroupId(group)), spelled(&built, GroupId(group)));
        }
    }
}

#[test]
fn a_group_without_names_has_a_root_and_nothing_else() {
    let trie = trie(&[strings(&[]), strings(&["ab"])]);
    let empty = trie.root(GroupId(0)).unwrap();
    assert!(trie.children(empty).is_empty() && trie.terminal(empty).is_none());
    assert_eq!(
        trie.lookup(GroupId(1), &letters("ab")).unwrap().name,
        NameId(0)
    );
    assert_eq!(trie.root(GroupId(2)), None);
    assert!(
        trie.children(NodeId(u32::MAX)).is_empty() && trie.terminal(NodeId(u32::MAX)).is_none()
    );
}

#[test]
fn names_that_the_tokenizer_cannot_tell_apart_are_merged_by_rule_and_reported() {
    let digest = Digest::of_bytes(b"test");
    let entry = |id, text, preferred| NameEntry {
        name: NameId(id),
        concept: ConceptId(10 + id),
        preferred,
        text,
    };
    let lower = |text: &str| letters(&text.to_lowercase());
    let names = vec![
        entry(3, "Gout", false),
        entry(1, "gout", true),
        entry(2, "GOUT", true),
        entry(0, "gOut", false),
        entry(4, "goitre", false),
    ];
    let trie = Trie::from_names(&[names], &lower, 0, digest, digest).unwrap();
    let kept = trie.lookup(GroupId(0), &letters("gout")).unwrap();
    assert_eq!(
        (kept.name, kept.concept),
        (NameId(1), ConceptId(11)),
        "preferred first, then the smaller id"
    );
    let merged: Vec<_> = trie
        .merged_names()
        .map(|m| (m.dropped.0, m.kept.0))
        .collect();
    assert_eq!(merged, [(0, 1), (2, 1), (3, 1)]);
    assert_eq!(trie.stats().merged_names, 3);
}

#[test]
fn a_name_that_has_no_spelling_is_refused_by_name() {
    let digest = Digest::of_bytes(b"test");
    for (text, eos) in [("", 0), ("--", 0), ("ab", 3)] {
        let names = [strings(&[]), strings(&[text])];
        let groups = entries(&names);
        let error = Trie::from_names(&groups, &letters, eos, digest, digest).unwrap_err();
        let Error::Unspellable { group: 1, name, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(name, text);
    }
}

#[test]
fn stats_count_what_a_reader_would_count_by_hand() {
    // root -a-> (b -> c) | (d), and "ab" is a name too: a, ab*, abc*, ad*
    let stats = trie(&[strings(&["ab", "abc", "ad"])]).stats();
    assert_eq!((stats.names, stats.nodes), (3, 5));
    // Tokens with their end: ab. abc. ad. = 3 + 4 + 3; forced are the first `a` (3), and the ends of abc and ad.
    assert!((stats.tokens_per_name - 10.0 / 3.0).abs() < 1e-12);
    assert!((stats.forced_share - 0.5).abs() < 1e-12);
    let rows: Vec<_> = stats
        .by_depth
        .iter()
        .map(|row| (row.depth, row.nodes, row.max_allowed))
        .collect();
    assert_eq!(rows, [(0, 1, 1), (1, 1, 2), (2, 2, 2), (3, 1, 1)]);
    assert_eq!(
        stats.parts.iter().map(|part| part.bytes).sum::<u64>(),
        stats.bytes
    );
    assert!(stats.to_string().contains("forced tokens"));
}

#[test]
fn another_knowledge_base_or_tokenizer_is_refused_with_both_digests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    trie(&[strings(&["ab"])]).write(&path).unwrap();
    let (own, other) = (Digest::of_bytes(b"test"), Digest::of_bytes(b"other"));
    for (kb, tokenizer, what) in [(other, own, "knowledge base"), (own, other, "tokenizer")] {
        let message = Trie::open(&path, &kb, &tokenizer).unwrap_err().to_string();
        for part in [
            what,
            &own.to_string(),
            &other.to_string(),
            "build the trie again",
        ] {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

fn open_and_verify(path: &std::path::Path) -> Result<Trie, Error> {
    let trie = Trie::open_any(path)?;
    trie.verify(path)?;
    Ok(trie)
}

#[test]
fn a_file_of_an_older_version_is_refused_with_the_way_out() {
    for version in 1..FORMAT_VERSION {
        let file = format!("tests/data/version_{version}.trie");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let error = Trie::open_any(&path).unwrap_err();
        let Error::Version {
            found, expected, ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!((found, expected), (version, FORMAT_VERSION));
        assert!(
            error.to_string().contains("build the trie again"),
            "{error}"
        );
    }
}

#[test]
fn tokens_take_24_bits_and_larger_ones_are_refused() {
    let digest = Digest::of_bytes(b"test");
    let names = [strings(&["ab", "abc", "ad", "z"])];
    let build = |offset: u32| {
        let shifted = |text: &str| letters(text).iter().map(|t| t + offset).collect();
        Trie::from_names(&entries(&names), &shifted, 1, digest, digest)
    };
    let z = letters("z")[0];
    for offset in [0, 65_000, 65_531, 65_535, 128_000, (1 << 24) - 2 - z] {
        let trie = build(offset).unwrap();
        for name in &names[0] {
            let tokens: Vec<u32> = letters(name).iter().map(|t| t + offset).collect();
            assert!(trie.lookup(GROUP, &tokens).is_some(), "{name} + {offset}");
        }
        for stranger in [offset, (1 << 24) - 1, (1 << 24) + offset + 2, u32::MAX] {
            assert!(trie.lookup(GROUP, &[stranger]).is_none());
        }
    }
    for offset in [(1 << 24) - 1 - z, 1 << 24, u32::MAX - 40] {
        let error = build(offset).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    what: "token ids",
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// Names of one or two tokens, all of them below one root.
fn wide(firsts: &BTreeSet<u32>, seconds: &BTreeSet<u32>) -> (Trie, BTreeSet<Vec<u32>>) {
    let digest = Digest::of_bytes(b"test");
    let top = *firsts.first().unwrap();
    let ones = firsts.iter().map(|&token| vec![token]);
    let twos = seconds.iter().map(|&token| vec![top, token]);
    let names: BTreeSet<Vec<u32>> = ones.chain(twos).collect();
    let texts: Vec<String> = names
        .iter()
        .map(|tokens| {
            tokens
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        })
        .collect();
    let numbers = |text: &str| {
        text[1..]
            .split(',')
            .map(|token| token.parse().unwrap())
            .collect()
    };
    let trie = Trie::from_names(&entries(&[texts]), &numbers, 0, digest, digest).unwrap();
    (trie, names)
}

fn tokens(most: u32, count: std::ops::Range<usize>) -> impl Strategy<Value = BTreeSet<u32>> {
    proptest::collection::btree_set(1..most, count)
}

proptest! {
    #[test]
    fn nodes_with_many_children_find_them_all_and_no_others(
        firsts in prop_oneof![tokens(400, 1..200), tokens((1 << 24) - 1, 1..200)],
        seconds in prop_oneof![tokens(80, 0..70), tokens(130_000, 0..200)],
        strangers in tokens(u32::MAX, 0..50)
    ) {
        let (trie, names) = wide(&firsts, &seconds);
        prop_assert_eq!(spelled(&trie, GROUP).into_keys().collect::<BTreeSet<_>>(), names);
        let root = trie.root(GROUP).unwrap();
        let top = trie.child(root, *firsts.first().unwrap()).unwrap();
        for &near in firsts.iter().chain(&seconds).chain(&strangers) {
            for token in [near.wrapping_sub(1), near, near.saturating_add(1)] {
                prop_assert_eq!(trie.child(root, token).is_some(), firsts.contains(&token));
                prop_assert_eq!(trie.child(top, token).is_some(), seconds.contains(&token));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        prop_assert!(trie.verify(dir.path()).is_ok());
    }
}

/// Makes the checksums of a changed file right again, by the layout that `trie::format` documents.
fn seal(bytes: &mut [u8]) {
    let parts = u32::from_le_bytes(bytes[160..164].try_into().unwrap()) as usize;
    let head = 192 + 24 * parts;
    let body = blake3::hash(&bytes[head..]);
    bytes[80..112].copy_from_slice(body.as_bytes());
    bytes[112..144].fill(0);
    let digest = blake3::hash(&bytes[..head]);
    bytes[112..144].copy_from_slice(digest.as_bytes());
}

#[test]
fn a_file_with_right_checksums_and_wrong_structure_is_an_error() {
    let firsts: BTreeSet<u32> = (0..70).map(|i| 1 + 3 * i).collect();
    let (trie, _) = wide(&firsts, &BTreeSet::from([4, 9]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    let parts = trie.stats().parts;
    // Bytes of an element that say something about the structure. Another token may be as good as the one that was there.
    let checked = [
        ("node", 8, &[0, 1, 2, 3, 7][..]),
        ("wide", 4, &[0, 1, 2, 3]),
        ("bucket start", 4, &[0, 1, 2, 3]),
        ("terminal bits", 8, &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("terminal rank", 4, &[0, 1, 2, 3]),
        ("shortest", 1, &[0]),
        ("longest", 1, &[0]),
    ];
    let mut at = 192 + 24 * (parts.len() - 1);
    let mut changed = 0;
    for part in &parts[..parts.len() - 1] {
        at = at.next_multiple_of(64);
        let (_, width, places) = checked
            .iter()
            .find(|checked| checked.0 == part.name)
            .unwrap_or(&("", 1, &[]));
        for byte in (0..part.bytes as usize).filter(|byte| places.contains(&(byte % width))) {
            let mut bytes = trie.as_bytes().to_vec();
            bytes[at + byte] ^= 0x10;
            seal(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let damaged = Trie::open_any(&path).unwrap();
            walk_everywhere(&damaged);
            let error = damaged.verify(&path).unwrap_err();
            assert!(
                !error.to_string().contains("checksum"),
                "byte {byte} of {}: {error}",
                part.name
            );
            changed += 1;
        }
        at += part.bytes as usize;
    }
    assert!(changed > 600, "{changed}");
    // Bounds of names rest on what the header says of the longest one.
    for longer in [trie.longest_name_tokens() - 1, 300] {
        let mut bytes = trie.as_bytes().to_vec();
        bytes[164..168].copy_from_slice(&(longer as u32).to_le_bytes());
        seal(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let error = Trie::open_any(&path).unwrap().verify(&path).unwrap_err();
        assert!(error.to_string().contains("longest name"), "{error}");
    }
}

/// Asks every node everything: answers may be wrong, but there is no panic and no walk without end.
fn walk_everywhere(trie: &Trie) {
    for node in (0..trie.node_count() as u32 + 2).map(NodeId) {
        let _ = (trie.terminal(node), trie.children(node).iter().count());
        let _ = (trie.child(node, 2), trie.child(node, u32::MAX));
        let _ = (trie.only_concept_below(node), trie.forced_below(node));
        let _ = (trie.shortest_below(node), trie.longest_below(node));
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    let built = trie(&[strings(&["ab", "abc", "ad"]), strings(&["b"])]);
    for length in 0..built.as_bytes().len() {
        std::fs::write(&path, &built.as_bytes()[..length]).unwrap();
        let error = open_and_verify(&path).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { .. }),
            "{length} bytes: {error}"
        );
        assert!(error.to_string().contains("names.trie"));
    }
}

#[test]
fn a_changed_byte_anywhere_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    let built = trie(&[strings(&["ab", "abc", "ad"]), strings(&["b"])]);
    let mut kinds = BTreeSet::new();
    for position in 0..built.as_bytes().len() {
        let mut bytes = built.as_bytes().to_vec();
        bytes[position] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        if let Ok(damaged) = Trie::open_any(&path) {
            // Whoever does not ask gets wrong names, never a panic or a walk without end.
            walk_everywhere(&damaged);
        }
        kinds.insert(match open_and_verify(&path).unwrap_err() {
            Error::NotATrie { .. } => "magic",
            Error::Version {
                expected: FORMAT_VERSION,
                ..
            } => "version",
            Error::Corrupt { .. } => "damage",
            other => panic!("byte {position}: {other}"),
        });
    }
    assert_eq!(kinds.len(), 3);
}

#[test]
fn other_files_and_no_file_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.trie");
    assert!(matches!(
        Trie::open_any(&path).unwrap_err(),
        Error::Io { .. }
    ));
    std::fs::write(&path, "name\tcode\n").unwrap();
    assert!(matches!(
        Trie::open_any(&path).unwrap_err(),
        Error::NotATrie { .. }
    ));
    let nowhere = dir.path().join("missing").join("names.trie");
    assert!(matches!(
        trie(&[strings(&["ab"])]).write(&nowhere).unwrap_err(),
        Error::Io { .. }
    ));
}
