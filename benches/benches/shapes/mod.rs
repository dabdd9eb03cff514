//! Data shapes that several benches share: MEDIC's names, real where the file is at hand, and a tokenizer without files.

use std::path::Path;

use syncabel_decode::{Error, SpecialTokens, Tokenizer};
use syncabel_kb::{BuildOptions, Digest, Kb, RawConcept, SourceFormat, build, read_source};

/// MEDIC as it stood when the NCBI Disease corpus was made, relative to this crate.
const MEDIC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/data/ncbi_disease/medic_06Jul2012.tsv.gz"
);

/// Size of the vocabulary of [`Pieces`]; that of SmolLM2, so that head and softmax cost what they cost there.
pub(crate) const VOCAB: usize = 49_153;

/// A KB of MEDIC's shape (about 76 thousand names in one group), and what to call it.
pub(crate) fn medic() -> (Kb, &'static str) {
    let (raw, shape) = match read_source(Path::new(MEDIC), SourceFormat::Medic, None) {
        Ok(raw) => (raw, "medic"),
        Err(error) => {
            eprintln!("SKIPPED: real MEDIC ({error}); generated names instead");
            (generated(16_400), "generated")
        }
    };
    let (kb, _) =
        build(raw, vec![], &BuildOptions::default()).expect("both sources are well-formed");
    (kb, shape)
}

/// Concepts whose names are drawn from a small stock of words, the frequent ones often: many names share a beginning.
fn generated(concepts: usize) -> Vec<RawConcept> {
    let mut state = 7u64;
    let mut draw = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut word = move || {
        let rank = draw(4096) * draw(4096) / 4096;
        let syllables = ["ba", "cor", "den", "fi", "gly", "hem", "ios", "ker"];
        (0..4)
            .map(|place| syllables[(rank >> (3 * place)) as usize % 8])
            .collect::<String>()
    };
    let mut name = move |words: usize| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ");
    let concept = |i: usize| {
        let names: Vec<String> = (0..6).map(|n| name(1 + (i + n) % 4)).collect();
        RawConcept {
            code: format!("C{i:06}"),
            preferred_name: names[0].clone(),
            names,
            groups: vec!["Disease".into()],
            ..RawConcept::default()
        }
    };
    (0..concepts).map(concept).collect()
}

/// Tokens are pieces of at most five bytes inside words, numbered by a hash.
pub(crate) struct Pieces;

impl Tokenizer for Pieces {
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(pieces(text))
    }

    fn decode(&self, _: &[u32]) -> String {
        String::new()
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens {
            eos: 0,
            sep: Some(1),
        }
    }

    fn digest(&self) -> Digest {
        Digest::of_bytes(b"pieces of five bytes")
    }
}

/// A space belongs to the word behind it, as in the tokenizers of the Llama family.
fn pieces(text: &str) -> Vec<u32> {
    let bytes = text.as_bytes();
    let words = bytes.chunk_by(|_, &next| next != b' ');
    words.flat_map(|word| word.chunks(5)).map(token).collect()
}

fn token(piece: &[u8]) -> u32 {
    let hash = piece.iter().fold(2_166_136_261u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    2 + hash % (VOCAB as u32 - 2)
}
