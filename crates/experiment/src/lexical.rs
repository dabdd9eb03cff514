//! The baseline that needs no model: every mention is answered with the names of its group that are nearest by TF-IDF over
//! character 3-grams.

use syncabel_corpus::marked::{MarkedMention, SEP};
use syncabel_corpus::predictions::{Candidate, Prediction};
use syncabel_decode::{GoldRule, NIL, semantic_rel};
use syncabel_kb::select::TfidfIndex;
use syncabel_kb::{Kb, NameId};

/// Names looked at for each concept that is wanted: a concept may have several names near the mention.
const NAMES_PER_CONCEPT: usize = 4;

/// Answers mentions with the nearest names of a KB.
pub struct NearestNames<'k> {
    kb: &'k Kb,
    index: TfidfIndex,
    concepts: usize,
}

impl<'k> NearestNames<'k> {
    /// Indexes the KB's names. An answer is the nearest name; its candidates are the nearest `concepts`, each with its nearest
    /// name.
    pub fn new(kb: &'k Kb, concepts: usize) -> Self {
        NearestNames {
            kb,
            index: TfidfIndex::fit(kb),
            concepts,
        }
    }

    /// A mention answered, its gold as the corpus has it, with the KB's primary codes.
    pub fn answer(&self, mention: &MarkedMention) -> Prediction {
        let gold = GoldRule::AsAnnotated.resolve(&mention.gold, self.kb);
        let concepts = gold.alternatives.iter().find_map(|all| {
            let of = all.0.iter().map(|code| self.kb.resolve(code));
            of.collect::<Option<Vec<_>>>()
        });
        let names = concepts.unwrap_or_default().into_iter();
        let names = names.map(|id| self.kb.concept(id).preferred_name());
        let row = Prediction {
            filename: mention.document.clone(),
            mention_id: mention.mention_id.clone(),
            label: mention.group.clone(),
            start_span: mention.start_chars,
            end_span: mention.end_chars,
            span: mention.span.clone(),
            code: gold.to_field(),
            semantic_rel: semantic_rel(&gold).to_owned(),
            annotation: names.collect::<Vec<_>>().join(SEP),
            sentence: mention.sentence.clone(),
            ..Prediction::default()
        };
        self.answer_row(&row, mention)
    }

    /// The row of another system with the answer replaced. Its score is the cosine; it has no score of a model.
    pub fn answer_row(&self, row: &Prediction, mention: &MarkedMention) -> Prediction {
        let candidates = self.candidates(mention);
        let best = candidates.first();
        Prediction {
            prediction: best.map_or_else(String::new, |c| c.name.clone()),
            predicted_code: best.map_or_else(|| NIL.to_owned(), |c| c.code.clone()),
            prediction_score: best.map_or(0.0, |c| c.score),
            prediction_beam_score: f64::NAN,
            probability: None,
            margin: None,
            candidates,
            ..row.clone()
        }
    }

    /// The nearest concepts, each with its nearest name.
    fn candidates(&self, mention: &MarkedMention) -> Vec<Candidate> {
        let Some(group) = self.kb.group_id(&mention.group) else {
            return Vec::new();
        };
        let wanted = match self.concepts {
            1 => 1,
            several => several * NAMES_PER_CONCEPT,
        };
        let nearest = self.index.nearest(self.kb, group, &mention.mention, wanted);
        let mut candidates: Vec<Candidate> = Vec::new();
        for (id, cosine) in nearest {
            let candidate = self.candidate(id, cosine);
            if candidates.iter().all(|known| known.code != candidate.code) {
                candidates.push(candidate);
            }
        }
        candidates.truncate(self.concepts);
        candidates
    }

    fn candidate(&self, id: NameId, cosine: f32) -> Candidate {
        let name = self.kb.name(id);
        Candidate {
            name: name.text.to_owned(),
            code: self.kb.concept(name.concept).code().to_owned(),
            score: f64::from(cosine),
        }
    }
}
