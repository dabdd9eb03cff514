//! Opening and verifying an artefact.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::{Bytes, FLAG, FULL_CHECK_BYTES, MANIFEST_FILE, Manifest, Part, Parts};
use crate::{Digest, Error, Kb};

impl Kb {
    /// Opens an artefact by mmap.
    ///
    /// Up to [`FULL_CHECK_BYTES`] every byte is verified. A larger artefact gets the checks that
    /// cost nothing (see [`crate::artefact`]) and opens in well under a millisecond whatever its size; call
    /// [`Kb::verify`] before trusting a copy that came over a network.
    ///
    /// # Errors
    /// [`Error::NotAKb`], [`Error::Version`], [`Error::Corrupt`], [`Error::DigestMismatch`] or
    /// [`Error::Io`], each with the file.
    pub fn open(dir: &Path) -> Result<Kb, Error> {
        let manifest_path = dir.join(MANIFEST_FILE);
        let json = fs::read(&manifest_path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotAKb {
                path: dir.to_owned(),
                problem: format!("it has no {MANIFEST_FILE}"),
            },
            _ => Error::io(&manifest_path, source),
        })?;
        let manifest = Manifest::parse(&manifest_path, &json)?;
        check_part_list(&manifest_path, &manifest)?;
        let mut mapped = Vec::with_capacity(Part::ALL.len());
        for (part, info) in Part::ALL.into_iter().zip(&manifest.parts) {
            mapped.push(map(&dir.join(part.file()), info.bytes)?);
        }
        let parts = Parts(
            mapped
                .try_into()
                .unwrap_or_else(|_| unreachable!("one file was mapped for each part")),
        );
        let kb = Kb {
            parts,
            manifest,
            dir: Some(dir.to_owned()),
        };
        kb.check_shapes()?;
        if kb.total_bytes() <= FULL_CHECK_BYTES {
            kb.verify()?;
        }
        Ok(kb)
    }

    /// Digests every byte and checks every index, string and order. After it has passed, no
    /// accessor can meet damaged data.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] or [`Error::Corrupt`] with the part.
    pub fn verify(&self) -> Result<(), Error> {
        Part::ALL
            .into_par_iter()
            .zip(&self.manifest.parts)
            .try_for_each(|(part, info)| {
                let found = Digest::of_bytes(self.parts.bytes(part));
                if found == info.digest {
                    return Ok(());
                }
                Err(Error::DigestMismatch {
                    path: self.part_path(part),
                    expected: info.digest,
                    found,
                })
            })?;
        self.check_shapes()?;
        Part::ALL.into_par_iter().try_for_each(|part| {
            self.check_content(part)
                .map_err(|problem| Error::corrupt(&self.part_path(part), problem))
        })
    }

    /// Bytes of all parts together.
    pub fn total_bytes(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.bytes).sum()
    }

    fn part_path(&self, part: Part) -> std::path::PathBuf {
        let dir = self.dir.as_deref().unwrap_or(Path::new("(not written)"));
        dir.join(part.file())
    }

    /// Counts and ends of each table: a few reads per part, whatever its size.
    fn check_shapes(&self) -> Result<(), Error> {
        let counts = &self.manifest.counts;
        let [concepts, names, groups] =
            [counts.concepts, counts.names, counts.groups].map(|count| count as usize);
        Part::ALL.into_iter().try_for_each(|part| {
            let strings = |rows: usize| self.parts.strings(part).check_shape(rows);
            let lists = |rows: usize| self.parts.lists(part).check_shape(rows);
            let numbers = |rows: usize| self.parts.numbers(part).check_shape(rows);
            match part {
                Part::Groups => strings(groups),
                Part::Codes => strings(concepts),
                Part::AltCodes => strings(counts.alt_codes as usize),
                Part::Types => strings(counts.semantic_types as usize),
                Part::Parents => strings(counts.parents as usize),
                Part::Definitions => strings(counts.definitions as usize),
                Part::Names => strings(names),
                Part::Titles => strings(counts.titles as usize),
                Part::ConceptAlts
                | Part::ConceptGroups
                | Part::ConceptTypes
                | Part::ConceptParents
                | Part::ConceptNames => lists(concepts),
                Part::AltOwners => numbers(counts.alt_codes as usize),
                Part::ConceptDefinitions => numbers(concepts + 1),
                Part::GroupNames => numbers(groups + 1),
                Part::NameOwners | Part::NamesFolded => numbers(names),
                Part::Preferred => numbers(concepts),
            }
            .map_err(|problem| Error::corrupt(&self.part_path(part), problem))
        })
    }

    fn check_content(&self, part: Part) -> Result<(), String> {
        let counts = &self.manifest.counts;
        let [concepts, names, groups] =
            [counts.concepts, counts.names, counts.groups].map(|count| count as usize);
        let strings = self.parts.strings(part);
        let lists = self.parts.lists(part);
        let numbers = self.parts.numbers(part);
        match part {
            Part::Groups | Part::Codes | Part::AltCodes | Part::Types | Part::Parents => {
                strings.check_content()?;
                strings.check_sorted(0..strings.len())
            }
            Part::Definitions | Part::Titles => strings.check_content(),
            Part::Names => {
                strings.check_content()?;
                let starts = self.parts.numbers(Part::GroupNames);
                (0..groups).try_for_each(|group| {
                    let bound = |at| starts.get(at).unwrap_or(0) as usize;
                    strings.check_sorted(bound(group)..bound(group + 1).min(names))
                })
            }
            Part::ConceptAlts => lists.check_content(counts.alt_codes as usize),
            Part::ConceptGroups => lists.check_content(groups),
            Part::ConceptTypes => lists.check_content(counts.semantic_types as usize),
            Part::ConceptParents => lists.check_content(counts.parents as usize),
            Part::ConceptNames => lists.check_content(names),
            Part::AltOwners => below(numbers.iter(), concepts),
            Part::NameOwners => below(numbers.iter().map(|owner| owner & !FLAG), concepts),
            Part::NamesFolded => below(numbers.iter(), names),
            Part::Preferred => {
                let titles = counts.titles as usize;
                below(numbers.iter().filter(|value| value & FLAG == 0), names)?;
                let flagged = numbers.iter().filter(|value| value & FLAG != 0);
                below(flagged.map(|value| value & !FLAG), titles)
            }
            Part::ConceptDefinitions => starts(numbers, counts.definitions as usize),
            Part::GroupNames => starts(numbers, names),
        }
    }
}

fn below(mut values: impl Iterator<Item = u32>, limit: usize) -> Result<(), String> {
    match values.find(|&value| value as usize >= limit) {
        Some(value) => Err(format!("an index is {value}, the limit is {limit}")),
        None => Ok(()),
    }
}

/// Starts of consecutive stretches: from 0, never descending, up to `end`.
fn starts(numbers: super::tables::Numbers<'_>, end: usize) -> Result<(), String> {
    let mut previous = 0;
    for (row, start) in numbers.iter().enumerate() {
        if start < previous || (row == 0 && start != 0) {
            return Err(format!("stretch {row} starts at {start}, after {previous}"));
        }
        previous = start;
    }
    if previous as usize != end {
        return Err(format!("the stretches end at {previous}, not at {end}"));
    }
    Ok(())
}

fn check_part_list(path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let listed = manifest.parts.iter().map(|part| part.name.as_str());
    if listed.eq(Part::ALL.into_iter().map(Part::file)) {
        return Ok(());
    }
    Err(Error::corrupt(path, "the manifest lists other parts"))
}

fn map(path: &Path, expected_bytes: u64) -> Result<Bytes, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let found_bytes = file
        .metadata()
        .map_err(|source| Error::io(path, source))?
        .len();
    if found_bytes != expected_bytes {
        return Err(Error::corrupt(
            path,
            format!("{found_bytes} bytes, but {expected_bytes} were written"),
        ));
    }
    if found_bytes == 0 {
        return Ok(Bytes::Owned(Vec::new())); // nothing to map
    }
    // SAFETY: the map is only read, as bytes, and every access is bounds-checked. Truncating the
    // file under an open KB is the one thing that would hurt; `Kb::write` never does it, it
    // replaces whole folders.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
    Ok(Bytes::Mapped(map))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{BuildOptions, ConceptId, GroupId, NameId, RawConcept, build, lookup};

    fn kb() -> Kb {
        let concept = |code: &str, alt: &str, names: &[&str], groups: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            RawConcept {
                code: code.into(),
                alt_codes: owned(&[alt]),
                preferred_name: names[0].into(),
                names: owned(names),
                groups: owned(groups),
                semantic_types: owned(&["T047"]),
                definitions: owned(&["Words about it."]),
                parents: owned(&["C0"]),
                ..RawConcept::default()
            }
        };
        let raw = vec![
            concept("C1", "1", &["Asthma", "Wheeze"], &["Disease", "Symptom"]),
            concept("C2", "2", &["Œdème", "Swelling", "Wheeze"], &["Symptom"]),
            concept("C3", "3", &["Asthma"], &["Disease"]),
        ];
        build(raw, Vec::new(), &BuildOptions::default()).unwrap().0
    }

    /// Replaces a part and makes the manifest agree, as a forger or a broken writer would.
    fn forge(mut kb: Kb, part: Part, edit: impl FnOnce(&mut Vec<u8>)) -> Kb {
        let mut bytes = kb.parts.bytes(part).to_vec();
        edit(&mut bytes);
        kb.parts.0[part as usize] = Bytes::Owned(bytes);
        let old = kb.manifest;
        let infos = kb.parts.infos();
        kb.manifest = Manifest::new(old.counts, old.sources, old.options, old.decisions, infos);
        kb
    }

    /// Calls everything that reads the parts, with ids in and out of range.
    fn walk(kb: &Kb) -> usize {
        let mut seen = 0;
        for group in (0..4).map(GroupId) {
            for name in kb.names(group) {
                seen += name.text.len() + usize::from(kb.concept_of(group, name.text).is_some());
            }
            for concept in (0..5).map(ConceptId) {
                seen += kb.names_of(concept, group).count();
            }
        }
        for concept in (0..5).map(|id| kb.concept(ConceptId(id))) {
            seen += concept.code().len() + concept.preferred_name().len() + concept.names().count();
            seen += concept.alt_codes().count() + concept.semantic_types().count();
            seen += concept.parents().count() + concept.groups().count();
            seen += concept.definitions().count();
        }
        for text in ["C1", "2", "asthma", "Œdème", "zzz", ""] {
            seen += usize::from(lookup(kb, text, None, None, 3).is_empty());
        }
        seen + kb.name(NameId(u32::MAX)).text.len()
    }

    #[test]
    fn every_part_notices_an_index_out_of_range() {
        for part in Part::ALL {
            let last_word = |bytes: &mut Vec<u8>| {
                let at = bytes.len() - 4;
                bytes[at..].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
            };
            let is_text = part.file().ends_with(".str");
            let forged = match is_text {
                true => forge(kb(), part, |bytes| *bytes.last_mut().unwrap() = 0xff),
                false => forge(kb(), part, last_word),
            };
            walk(&forged);
            let error = forged.verify().expect_err(part.file());
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains(part.file()), "{error}");
        }
    }

    #[test]
    fn a_changed_byte_is_a_digest_mismatch() {
        for part in Part::ALL {
            let mut kb = kb();
            let mut bytes = kb.parts.bytes(part).to_vec();
            bytes[0] ^= 1;
            kb.parts.0[part as usize] = Bytes::Owned(bytes);
            assert!(matches!(kb.verify(), Err(Error::DigestMismatch { .. })));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn no_forgery_makes_an_accessor_panic(
            part in 0..Part::ALL.len(),
            place in any::<prop::sample::Index>(),
            value in prop_oneof![any::<u32>(), 0u32..12],
            cut in 0usize..2,
        ) {
            let forged = forge(kb(), Part::ALL[part], |bytes| {
                let words = bytes.len() / 4;
                if words > 0 {
                    let at = place.index(words) * 4;
                    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                bytes.truncate(bytes.len() - cut);
            });
            walk(&forged);
            let _ = forged.verify();
        }
    }
}
