//! Examples as token ids, cut to the length that fits into a row.
//!
//! A prompt is `sentence<SEP>[mention] is`. When prompt, completion and end token exceed the maximum length, the
//! sentence loses whole words, always from the side that is longer at that moment, so that what stays is the text
//! nearest to the mention; the brackets, the group tag, the question and the completion are never touched. An example
//! whose mention and completion alone are too long is refused and counted.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use syncabel_corpus::marked::{Example, SEP};

use crate::Error;

/// A token sequence of which the end is to be learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Prompt, completion, end token.
    pub tokens: Vec<u32>,
    /// Where the completion starts in `tokens`; at least 1.
    pub completion_start: usize,
}

impl Encoded {
    /// Tokens that go through the model: the last one predicts nothing and stays out.
    pub fn input_len(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Tokens that carry loss.
    pub fn loss_tokens(&self) -> usize {
        self.tokens.len() - self.completion_start
    }
}

/// What encoding had to change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodeReport {
    /// Examples that were given.
    pub examples: usize,
    /// Examples whose sentence lost words far from the mention.
    pub shortened: usize,
    /// Examples that do not fit even without context; they are left out.
    pub refused: usize,
    /// The first few refused ones, as `document mention`.
    pub refused_samples: Vec<String>,
    /// Tokens of all kept examples, completions included.
    pub tokens: u64,
    /// Tokens that carry loss.
    pub loss_tokens: u64,
    /// The longest kept example.
    pub longest: usize,
}

/// Encodes examples in parallel; `None` stands where one was refused.
///
/// # Errors
/// Whatever `encode` reports, and [`Error::NothingFits`] when no example is left. `what` names the examples in it.
pub fn encode_examples<'a>(
    examples: &[&'a Example],
    encode: &(dyn Fn(&str) -> Result<Vec<u32>, syncabel_model::Error> + Sync),
    eos: u32,
    max_length: usize,
    what: &'static str,
) -> Result<(Vec<Option<Encoded>>, EncodeReport), Error> {
    let encoded: Vec<(Option<Encoded>, bool)> = examples
        .par_iter()
        .map(|example| encode_one(example, encode, eos, max_length))
        .collect::<Result<_, _>>()?;

    let mut report = EncodeReport {
        examples: examples.len(),
        ..EncodeReport::default()
    };
    for ((encoded, shortened), example) in encoded.iter().zip(examples) {
        match encoded {
            Some(encoded) => {
                report.shortened += usize::from(*shortened);
                report.tokens += encoded.tokens.len() as u64;
                report.loss_tokens += encoded.loss_tokens() as u64;
                report.longest = report.longest.max(encoded.tokens.len());
            }
            None => {
                report.refused += 1;
                if report.refused_samples.len() < 10 {
                    report
                        .refused_samples
                        .push(format!("{} {}", example.document, example.mention_id));
                }
            }
        }
    }
    if let Some(first) = examples
        .first()
        .filter(|_| report.refused == examples.len())
    {
        return Err(Error::NothingFits {
            what,
            examples: examples.len(),
            max_length,
            document: first.document.clone(),
            mention: first.mention_id.clone(),
        });
    }
    Ok((
        encoded.into_iter().map(|(encoded, _)| encoded).collect(),
        report,
    ))
}

type Encode<'e> = &'e (dyn Fn(&str) -> Result<Vec<u32>, syncabel_model::Error> + Sync);

fn encode_one(
    example: &Example,
    encode: Encode<'_>,
    eos: u32,
    max_length: usize,
) -> Result<(Option<Encoded>, bool), syncabel_model::Error> {
    let mut completion = encode(&example.completion)?;
    completion.push(eos);
    let join = |mut prompt: Vec<u32>| {
        let completion_start = prompt.len();
        prompt.extend_from_slice(&completion);
        Some(Encoded {
            tokens: prompt,
            completion_start,
        })
        .filter(|e| e.completion_start > 0)
    };
    let Some(room) = max_length.checked_sub(completion.len()) else {
        return Ok((None, false));
    };
    let prompt = encode(&example.prompt)?;
    if prompt.len() <= room {
        return Ok((join(prompt), false));
    }
    let shortened = shorten(&example.prompt, encode, room)?;
    Ok((shortened.and_then(join), true))
}

/// The longest version of a prompt that encodes to at most `room` tokens, if there is one.
fn shorten(
    prompt: &str,
    encode: Encode<'_>,
    room: usize,
) -> Result<Option<Vec<u32>>, syncabel_model::Error> {
    let context = Context::of(prompt);
    let mut fits = None;
    // Fewer words never need more tokens by more than a handful, so a binary search finds the limit or lies just
    // below it; what is kept always fits because it was encoded.
    let (mut low, mut high) = (0, context.words());
    while low <= high {
        let words = low.midpoint(high);
        let tokens = encode(&context.nearest(words))?;
        if tokens.len() <= room {
            fits = Some(tokens);
            low = words + 1;
        } else if words == 0 {
            break;
        } else {
            high = words - 1;
        }
    }
    Ok(fits)
}

/// A prompt taken apart: words before the mention, what must stay, words after it, the question.
struct Context<'p> {
    left: Vec<&'p str>,
    core: &'p str,
    right: Vec<&'p str>,
    question: &'p str,
}

impl<'p> Context<'p> {
    fn of(prompt: &'p str) -> Self {
        // A composite tag holds separators too, so the question starts at the last one.
        let (sentence, question) = prompt.split_at(prompt.rfind(SEP).unwrap_or(prompt.len()));
        let start = sentence.find('[').unwrap_or(0);
        let end = sentence
            .rfind('}')
            .map_or(sentence.len(), |at| at + 1)
            .max(start);
        Self {
            left: sentence[..start]
                .split_inclusive(char::is_whitespace)
                .collect(),
            core: &sentence[start..end],
            right: words_with_leading_space(&sentence[end..]),
            question,
        }
    }

    fn words(&self) -> usize {
        self.left.len() + self.right.len()
    }

    /// The core with the `count` words around it, evenly from both sides as far as they reach.
    fn nearest(&self, count: usize) -> String {
        let half = count / 2;
        let left = (count - half).min(self.left.len());
        let right = (count - left).min(self.right.len());
        let left = (count - right).min(self.left.len());
        let mut text = self.left[self.left.len() - left..].concat();
        text.push_str(self.core);
        text.extend(self.right[..right].iter().copied());
        text.push_str(self.question);
        text
    }
}

fn words_with_leading_space(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut previous_is_space = false;
    for (at, c) in text.char_indices() {
        if at == 0 || (c.is_whitespace() && !previous_is_space) {
            starts.push(at);
        }
        previous_is_space = c.is_whitespace();
    }
    starts
        .iter()
        .enumerate()
        .map(|(i, &start)| &text[start..starts.get(i + 1).copied().unwrap_or(text.len())])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use syncabel_corpus::Origin;

    const EOS: u32 = 0;

    /// One token a byte, except that `<SEP>` is one.
    fn bytes(text: &str) -> Result<Vec<u32>, syncabel_model::Error> {
        Ok(text.replace(SEP, "\u{1}").bytes().map(u32::from).collect())
    }

    fn text(tokens: &[u32]) -> String {
        String::from_utf8(tokens.iter().map(|&t| t as u8).collect())
            .unwrap()
            .replace('\u{1}', SEP)
    }

    fn example(prompt: &str, completion: &str) -> Example {
        Example {
            document: "d1".into(),
            mention_id: "d1.1".into(),
            group: "Disorders".into(),
            prompt: prompt.into(),
            completion: completion.into(),
            codes: vec![],
            origin: Origin::Human,
        }
    }

    const PROMPT: &str = "one two three [AS]{Disorders} four five<SEP>[AS] is";

    #[test]
    fn completion_starts_after_the_prompt_and_ends_with_eos() {
        let (encoded, shortened) = encode_one(&example(PROMPT, " gout"), &bytes, EOS, 100).unwrap();
        let encoded = encoded.unwrap();
        assert!(!shortened);
        assert_eq!(text(&encoded.tokens[..encoded.completion_start]), PROMPT);
        assert_eq!(
            encoded.tokens[encoded.completion_start..],
            [32, 103, 111, 117, 116, EOS]
        );
        assert_eq!(encoded.loss_tokens(), 6);
        assert_eq!(encoded.input_len(), encoded.tokens.len() - 1);
    }

    #[test]
    fn long_sentences_lose_the_words_furthest_from_the_mention() {
        let full = bytes(PROMPT).unwrap().len() + 6;
        for (spare, expected) in [
            (1, "two three [AS]{Disorders} four five<SEP>[AS] is"),
            (5, "two three [AS]{Disorders} four<SEP>[AS] is"),
            (12, "three [AS]{Disorders} four<SEP>[AS] is"),
            (24, "[AS]{Disorders}<SEP>[AS] is"),
        ] {
            let (encoded, shortened) =
                encode_one(&example(PROMPT, " gout"), &bytes, EOS, full - spare).unwrap();
            let encoded = encoded.unwrap();
            assert!(shortened);
            assert_eq!(
                text(&encoded.tokens[..encoded.completion_start]),
                expected,
                "spare {spare}"
            );
        }
    }

    #[test]
    fn every_fragment_and_composite_tag_survives() {
        let prompt = "aaa [lung]{} and bbb [cancer]{A<SEP>B} ccc ddd<SEP>[lung cancer] is";
        let (encoded, _) = encode_one(&example(prompt, " x"), &bytes, EOS, 60).unwrap();
        let kept = text(&encoded.unwrap().tokens);
        assert!(
            kept.contains("[lung]{} and bbb [cancer]{A<SEP>B}")
                && kept.contains("<SEP>[lung cancer] is x"),
            "{kept}"
        );
    }

    #[test]
    fn what_cannot_fit_is_refused_and_counted() {
        let (long, short) = (example(PROMPT, &" x".repeat(40)), example(PROMPT, " gout"));
        let (encoded, report) =
            encode_examples(&[&long, &short], &bytes, EOS, 60, "training").unwrap();
        assert!(encoded[0].is_none() && encoded[1].is_some());
        assert_eq!(
            (report.refused, report.refused_samples),
            (1, vec!["d1 d1.1".to_owned()])
        );
        let error = encode_examples(&[&long], &bytes, EOS, 60, "training")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("max_length = 60") && error.contains("d1.1"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_fits_or_is_refused(
            left in "[a-zé ]{0,30}", right in "[a-z\u{2003} ,]{0,30}", max_length in 8usize..90,
        ) {
            let prompt = format!("{left}[m]{{G}}{right}<SEP>[m] is");
            let (encoded, _) = encode_one(&example(&prompt, " n"), &bytes, EOS, max_length).unwrap();
            if let Some(encoded) = encoded {
                prop_assert!(encoded.tokens.len() <= max_length);
                let kept = text(&encoded.tokens[..encoded.completion_start]);
                let whole = kept.contains("[m]{G}") && kept.ends_with("<SEP>[m] is");
                prop_assert!(whole);
                let sentence = kept.strip_suffix("<SEP>[m] is").unwrap();
                prop_assert!(prompt.contains(sentence), "only the ends go");
            } else {
                let smallest = "[m]{G}_[m] is n_".len();
                prop_assert!(max_length < smallest);
            }
        }
    }
}
