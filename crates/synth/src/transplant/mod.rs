//! Transplanting mentions: synthetic sentences without a language model.
//!
//! A human training sentence of the same semantic group keeps everything but its mention; in its place comes a name
//! of the concept. That alone teaches copying (a prototype that inserted the very name it asked for lifted unseen
//! concepts by half a point), so the name is varied first as people vary names: see [`Operation`].
//!
//! # How human mentions differ from the nearest name
//! NCBI Disease, training part, 5,145 mentions (2 % have several codes), beside the name of MEDIC that is nearest by character
//! 3-grams:
//!
//! | | share |
//! |---|---|
//! | the name itself | 22 % |
//! | capitals only | 37 % |
//! | an abbreviation that is no name (mostly defined in the document) | 10 % |
//! | words exchanged (`heart` and `cardiac`) | 9 % |
//! | nothing in common | 7 % |
//! | words added (`sporadic RCC`) | 5 % |
//! | words left out | 3 % |
//! | a generic word more or less (`disease`, `type`, `of`) | 3 % |
//! | hyphens and blanks | 1 % |
//! | word order; number | 0.5 % each |
//!
//! Order and number are that rare because MEDIC lists most permutations and plurals itself; a name is therefore
//! drawn from sets of names that are the same up to order and number, or one concept's permutations would crowd out its
//! real synonyms. Abbreviations that the KB does not know are not invented.
//!
//! # Limits
//! English only, apart from another name and capitals; what the sentence says about the disease may be false of
//! the inserted one; agreement beyond `a`/`an` and the number of the head is not repaired. Cost: about 50 µs a sentence, learning
//! included.

mod english;
mod lexicon;
mod operation;
mod places;
mod variant;

use std::collections::{BTreeMap, HashSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use syncabel_corpus::{Language, SpanChars};
use syncabel_kb::{GroupId, Name};

use self::lexicon::Lexicon;
pub use self::operation::Operation;
use self::places::{Queue, Slot, indefinite_before};
use self::variant::{Target, Variant, vary};
use crate::generator::{Batch, Deliver, Draft, DraftMention, Failure, Generator, Task};

/// Longer names are taken only where a concept has no shorter one, in characters.
const MAX_NAME_CHARS: usize = 80;

/// Puts names of concepts into human training sentences of the same semantic group.
///
/// Deterministic: the same KB, sentences, selection and seed give the same corpus. Which sentence a concept gets also
/// depends on the concepts before it, since all sentences are to be used equally often.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transplant;

impl Generator for Transplant {
    fn name(&self) -> &str {
        "transplant"
    }

    fn generate(&self, batch: &Batch<'_>, deliver: &mut Deliver<'_>) -> Result<(), crate::Error> {
        let lexicon = Lexicon::learn(batch.kb, batch.contexts);
        let mut queues: BTreeMap<GroupId, Queue<'_>> = BTreeMap::new();
        for (index, task) in batch.tasks.iter().enumerate() {
            let queue = queues
                .entry(task.group)
                .or_insert_with(|| Queue::new(batch.contexts, task.group, batch.seed));
            deliver(index, sentences(batch, task, &lexicon, queue));
        }
        Ok(())
    }
}

fn sentences(
    batch: &Batch<'_>,
    task: &Task,
    lexicon: &Lexicon,
    queue: &mut Queue<'_>,
) -> Result<Vec<Draft>, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(batch.task_seed(task));
    let all: Vec<Name<'_>> = batch.kb.names_of(task.concept, task.group).collect();
    let texts: Vec<&str> = all.iter().map(|name| name.text).collect();
    let names = name_order(&all, &mut rng);
    if names.is_empty() {
        return Err(Failure::new("the concept has no name in its group"));
    }
    let target = Target {
        concept: task.concept,
        group: task.group,
        names: &texts,
    };
    let mut drafts: Vec<Draft> = Vec::with_capacity(batch.sentences_per_concept);
    for number in 0..batch.sentences_per_concept {
        let name = names[number % names.len()];
        let Some(slot) = queue.take(name.text) else {
            return Err(Failure::new(
                "no human training sentence of its group can be used",
            ));
        };
        let mut variant = vary(name.text, &target, slot.place, lexicon, &mut rng);
        if !name.preferred {
            variant.operations.insert(0, Operation::AnotherName);
        }
        drafts.push(insert(&slot, variant, name.text));
    }
    Ok(drafts)
}

/// The order in which names are used: shuffled, names that say something new before their own permutations, unwieldy
/// ones last.
fn name_order<'k>(names: &[Name<'k>], rng: &mut ChaCha8Rng) -> Vec<Name<'k>> {
    let mut shuffled = names.to_vec();
    shuffled.shuffle(rng);
    let mut seen = HashSet::new();
    let mut ranked: Vec<(u8, Name<'k>)> = Vec::with_capacity(shuffled.len());
    for name in shuffled {
        let unwieldy = name.text.chars().count() > MAX_NAME_CHARS || name.text.contains([';', '&']);
        let repeated = !seen.insert(lexicon::bag(name.text));
        ranked.push((if unwieldy { 2 } else { u8::from(repeated) }, name));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let wieldy = ranked.iter().any(|(rank, _)| *rank < 2);
    ranked
        .into_iter()
        .filter(|(rank, _)| !wieldy || *rank < 2)
        .map(|(_, name)| name)
        .collect()
}

/// The sentence with the variant in the place of its mention, the article before it put right.
fn insert(slot: &Slot<'_>, variant: Variant, source_name: &str) -> Draft {
    let (before, after) = slot.sentence.around();
    let mut mention = variant.text;
    let mut text = before.to_owned();
    if before.trim().is_empty() {
        mention = operation::sentence_start(&mention);
    } else if slot.sentence.language == Language::En
        && let Some((rest, capital)) = indefinite_before(before)
    {
        let article = english::indefinite_article(&mention);
        let article = if capital {
            english::capitalise(article)
        } else {
            article.to_owned()
        };
        text = format!("{rest}{article} ");
    }
    let start = text.chars().count() as u32;
    let span = SpanChars {
        start,
        end: start + mention.chars().count() as u32,
    };
    text.push_str(&mention);
    text.push_str(after);
    let mention = DraftMention {
        span,
        source_name: Some(source_name.to_owned()),
        operations: variant.operations,
    };
    Draft {
        text,
        language: slot.sentence.language,
        mentions: vec![mention],
        context: Some(slot.sentence.document.clone()),
    }
}
