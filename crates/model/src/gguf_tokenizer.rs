//! Tokenizers from the metadata of GGUF files.
//!
//! GGUF keeps vocabulary and merges but names its pre-tokenizer only by a keyword, whose rules live
//! in llama.cpp's source. The keywords of Llama-family models are here; others are an error, since
//! a wrong split gives other tokens without any sign of it.

use std::collections::HashSet;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::weights::gguf::{GgufFile, Value};
use crate::{Error, TextTokenizer};

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const PRE: &str = "tokenizer.ggml.pre";
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// llama.cpp's numbers for kinds of tokens.
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

/// GPT-2's split: contractions, words, numbers and the rest, each with the blank before it.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Llama 3's split: as GPT-2's, but contractions in any case, numbers in threes, one leading
/// non-letter taken into a word and line ends kept apart.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer that the file describes.
pub(crate) fn build(file: &GgufFile) -> Result<TextTokenizer, Error> {
    let tokens = file.texts(TOKENS)?;
    let mut tokenizer = match file.text("tokenizer.ggml.model")? {
        "gpt2" => byte_level(file, &tokens)?,
        "llama" => sentencepiece(file, &tokens)?,
        other => {
            return Err(Error::tokenizer(format!(
                "kind `{other}` is not supported, `gpt2` and `llama` are; \
                 use the model's folder with tokenizer.json"
            )));
        }
    };
    add_special_tokens(&mut tokenizer, file, &tokens)?;
    let known = |id: &u32| (*id as usize) < tokens.len();
    let eos = file
        .token(EOS)?
        .filter(known)
        .ok_or_else(|| file.wrong(EOS, "names no token of the vocabulary"))?;
    let pad = file.token("tokenizer.ggml.padding_token_id")?.filter(known);
    let mut tokenizer = TextTokenizer::from_tokenizer(tokenizer, eos);
    if let Some(pad) = pad {
        tokenizer.set_pad_id(pad);
    }
    Ok(tokenizer)
}

/// Byte-level BPE, as GPT-2 and Llama 3 have it.
fn byte_level(file: &GgufFile, tokens: &[&str]) -> Result<Tokenizer, Error> {
    let merges = file
        .texts(MERGES)?
        .into_iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| file.wrong(MERGES, "has an entry that is no pair"))
        })
        .collect::<Result<Merges, Error>>()?;
    if file.get(PRE).is_none() {
        return Err(file.wrong(
            PRE,
            "is missing, so nothing says how texts are split: convert the model again with a \
             newer llama.cpp, or use its folder with tokenizer.json",
        ));
    }
    let kind = file.text(PRE)?;
    let split = pre_tokenizer(kind)?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary(tokens), merges)
        // Llama 3 takes a whole word that is a token as it is, whatever its merges would give.
        .ignore_merges(is_llama3(kind))
        .build()
        .map_err(Error::tokenizer)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(split));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

fn is_llama3(kind: &str) -> bool {
    matches!(kind, "llama-bpe" | "llama3" | "llama-v3")
}

fn pre_tokenizer(kind: &str) -> Result<PreTokenizerWrapper, Error> {
    // The byte mapping comes last and does no splitting of its own.
    let bytes = || ByteLevel::new(false, true, false).into();
    let pieces: Vec<PreTokenizerWrapper> = match kind {
        "gpt-2" | "gpt2" => vec![isolate(GPT2)?, bytes()],
        "smollm" => vec![Digits::new(true).into(), isolate(GPT2)?, bytes()],
        kind if is_llama3(kind) => vec![isolate(LLAMA3)?, bytes()],
        "default" => vec![
            isolate(r"[\p{P}\$\+<=>\^~\|]+")?,
            isolate(GPT2)?,
            isolate(r"\p{N}+")?,
            isolate("[0-9][0-9][0-9]")?,
            bytes(),
        ],
        other => {
            return Err(Error::tokenizer(format!(
                "pre-tokenizer `{other}` is not supported; `gpt-2`, `smollm`, `llama-bpe` and \
                 `default` are; use the model's folder with tokenizer.json"
            )));
        }
    };
    Ok(PreTokenizers::new(pieces).into())
}

fn isolate(pattern: &str) -> Result<PreTokenizerWrapper, Error> {
    let pattern = SplitPattern::Regex(pattern.to_owned());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
        .map(Into::into)
        .map_err(Error::tokenizer)
}

/// Sentencepiece's BPE, as Llama 1 and 2 have it: blanks become `▁`, unknown characters fall back
/// to bytes. The file has scores instead of merges; a merge of two tokens ranks by its result.
fn sentencepiece(file: &GgufFile, tokens: &[&str]) -> Result<Tokenizer, Error> {
    let scores = scores(file, tokens.len())?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary(tokens), merges_from_scores(tokens, &scores))
        .unk_token(tokens.first().copied().unwrap_or_default().to_owned())
        .fuse_unk(true)
        .byte_fallback(true)
        .build()
        .map_err(Error::tokenizer)?;
    let replace = |from: &str, to: &str| Replace::new(from, to).map_err(Error::tokenizer);
    let mut tokenizer = Tokenizer::new(model);
    let mut normalizers = vec![replace(" ", "▁")?.into()];
    let mut decoders = vec![
        replace("▁", " ")?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    // The blank that decoding strips is the one that encoding puts in front: both or neither.
    if file.flag_or(SPACE_PREFIX, true)? {
        normalizers.insert(0, Prepend::new("▁".to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(Error::tokenizer)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

fn scores(file: &GgufFile, count: usize) -> Result<Vec<f64>, Error> {
    let Some(Value::List(list)) = file.get(SCORES) else {
        return Err(file.wrong(SCORES, "is no list"));
    };
    let scores: Option<Vec<f64>> = list
        .iter()
        .map(|value| match value {
            Value::Float(score) => Some(*score),
            _ => None,
        })
        .collect();
    scores
        .filter(|scores| scores.len() == count)
        .ok_or_else(|| file.wrong(SCORES, "does not have one number per token"))
}

/// Every way to make a token of two others. Higher scores merge first; ways to make the same token
/// are ordered by the ids of their parts.
fn merges_from_scores(tokens: &[&str], scores: &[f64]) -> Merges {
    let vocabulary = vocabulary(tokens);
    let mut ranked: Vec<(usize, u32, u32)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (vocabulary.get(left), vocabulary.get(right)) {
                ranked.push((id, l, r));
            }
        }
    }
    ranked.sort_by(|a, b| {
        scores[b.0]
            .total_cmp(&scores[a.0])
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    let text = |id: u32| tokens[id as usize].to_owned();
    ranked
        .into_iter()
        .map(|(_, l, r)| (text(l), text(r)))
        .collect()
}

/// Ids by token; of equal tokens the first counts.
fn vocabulary(tokens: &[&str]) -> Vocab {
    let mut vocabulary = Vocab::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        vocabulary.entry((*token).to_owned()).or_insert(id as u32);
    }
    vocabulary
}

/// Control tokens are special; user-defined ones are only never split.
fn add_special_tokens(
    tokenizer: &mut Tokenizer,
    file: &GgufFile,
    tokens: &[&str],
) -> Result<(), Error> {
    let Some(types) = file.get(TYPES) else {
        return Ok(());
    };
    let Value::List(types) = types else {
        return Err(file.wrong(TYPES, "is no list"));
    };
    if types.len() != tokens.len() {
        return Err(file.wrong(TYPES, "does not have one number per token"));
    }
    let mut seen = HashSet::new();
    for (token, kind) in tokens.iter().zip(types) {
        let special = match kind.as_size() {
            Some(CONTROL) => true,
            Some(USER_DEFINED) => false,
            _ => continue,
        };
        if token.is_empty() || !seen.insert(*token) {
            continue;
        }
        let added = AddedToken::from((*token).to_owned(), special).normalized(false);
        let outcome = if special {
            tokenizer.add_special_tokens([added])
        } else {
            tokenizer.add_tokens([added])
        };
        outcome.map_err(Error::tokenizer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::gguf::tests::file;

    fn pieces(kind: &str, text: &str) -> Vec<String> {
        use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
        let mut string = PreTokenizedString::from(text);
        pre_tokenizer(kind)
            .unwrap()
            .pre_tokenize(&mut string)
            .unwrap();
        string
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, end), _)| text[start..end].to_owned())
            .collect()
    }

    #[test]
    fn pre_tokenizers_split_numbers_their_own_way() {
        let text = "It's 12345 mg.";
        assert_eq!(pieces("gpt-2", text), ["It", "'s", " 12345", " mg", "."]);
        assert_eq!(
            pieces("smollm", text),
            ["It", "'s", " ", "1", "2", "3", "4", "5", " mg", "."]
        );
        assert_eq!(
            pieces("llama-bpe", text),
            ["It", "'s", " ", "123", "45", " mg", "."]
        );
    }

    #[test]
    fn unknown_pre_tokenizers_are_refused_by_name() {
        let message = pre_tokenizer("qwen2").unwrap_err().to_string();
        assert!(message.contains("`qwen2`"), "{message}");
    }

    fn texts(texts: &[&str]) -> Value {
        let text = |text: &&str| Value::Text((*text).to_owned());
        Value::List(texts.iter().map(text).collect())
    }

    #[test]
    fn byte_level_files_must_name_their_pre_tokenizer() {
        let entries = || {
            vec![
                ("tokenizer.ggml.model", Value::Text("gpt2".to_owned())),
                (TOKENS, texts(&["<eos>", "a", "b", "ab"])),
                (MERGES, texts(&["a b"])),
                (EOS, Value::Unsigned(0)),
            ]
        };
        let message = build(&file(entries())).unwrap_err().to_string();
        assert!(message.contains("`tokenizer.ggml.pre`"), "{message}");
        let mut named = entries();
        named.push((PRE, Value::Text("default".to_owned())));
        assert_eq!(build(&file(named)).unwrap().encode("ab").unwrap(), [3]);
    }

    #[test]
    fn sentencepiece_files_say_whether_a_blank_goes_in_front() {
        let tokenizer = |prefix: Option<Value>| {
            let scores = [0.0, 0.0, 0.0, -3.0, -3.0, -3.0, -1.0].map(Value::Float);
            let types = [2, 3, 3, 1, 1, 1, 1].map(Value::Signed);
            let mut entries = vec![
                ("tokenizer.ggml.model", Value::Text("llama".to_owned())),
                (
                    TOKENS,
                    texts(&["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a"]),
                ),
                (SCORES, Value::List(scores.to_vec())),
                (TYPES, Value::List(types.to_vec())),
                (EOS, Value::Unsigned(2)),
            ];
            entries.extend(prefix.map(|prefix| (SPACE_PREFIX, prefix)));
            build(&file(entries))
        };
        for prefix in [None, Some(Value::Bool(true))] {
            let tokenizer = tokenizer(prefix).unwrap();
            assert_eq!(tokenizer.encode("a b").unwrap(), [6, 3, 5]);
            assert_eq!(tokenizer.decode(&[6, 3, 5]), "a b");
        }
        let without = tokenizer(Some(Value::Bool(false))).unwrap();
        assert_eq!(without.encode("a b").unwrap(), [4, 3, 5]);
        assert_eq!(without.encode(" a").unwrap(), [6]);
        assert_eq!(without.decode(&[6]), " a");
        let message = tokenizer(Some(Value::Unsigned(0))).unwrap_err().to_string();
        assert!(message.contains(SPACE_PREFIX), "{message}");
    }

    #[test]
    fn merges_follow_scores() {
        let tokens = ["<unk>", "a", "b", "c", "ab", "bc", "abc"];
        let scores = [0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0];
        let merges = merges_from_scores(&tokens, &scores);
        let joined: Vec<String> = merges.iter().map(|(l, r)| format!("{l}+{r}")).collect();
        assert_eq!(joined, ["b+c", "a+b", "a+bc", "ab+c"]);
    }
}
