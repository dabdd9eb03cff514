//! A language model as the judge of a prediction file, through the same client, ledger and fault handling as synthesis.

use syncabel_corpus::Language;
use syncabel_corpus::predictions::Prediction;
use syncabel_kb::Kb;
use syncabel_llm::{
    ChatAnswer, ChatBackend, ChatRequest, Jobs, Ledger, Outcome, Progress, RunOptions, Sampling,
    Verdict, run,
};

use super::Label;
use super::protocol::{self, Decision};
use crate::{Error, Scored};

/// Who judges, and how it is asked.
#[derive(Debug, Clone)]
pub struct JudgeOptions {
    /// The model, as the server calls it.
    pub model: String,
    /// Language of the question.
    pub language: Language,
    /// How the answer is drawn; the paper's final judge has temperature 0.1.
    pub sampling: Sampling,
    /// How hard to press the server.
    pub run: RunOptions,
}

impl JudgeOptions {
    /// The paper's temperature, an answer of at most 64 tokens.
    pub fn new(model: impl Into<String>, language: Language) -> Self {
        JudgeOptions {
            model: model.into(),
            language,
            sampling: Sampling {
                temperature: Some(0.1),
                top_p: None,
                max_new_tokens: Some(64),
                seed: Some(42),
                ..Sampling::default()
            },
            run: RunOptions::default(),
        }
    }
}

/// A judge's verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// One for each outcome of the scored file; `None` where the model has not answered yet.
    pub labels: Vec<Option<Label>>,
    /// Mentions that the protocol settles without a question.
    pub settled: usize,
    /// Questions, those with the same words counted once each time.
    pub asked: usize,
    /// Answers that hold no label; they count as NO_RELATION.
    pub unreadable: usize,
    /// Questions without an answer yet; the same command goes on there.
    pub pending: usize,
}

/// Lets a model judge every scored mention that the protocol does not settle.
///
/// Every question and answer is in the ledger, so an interrupted run goes on where it was, a second run asks
/// nothing, and two systems that give the same answer to a mention share one question.
///
/// # Errors
/// [`Error::Judge`] for what no further question can mend: a wrong key, an unknown model, a full disk.
pub fn judge(
    backend: &dyn ChatBackend,
    ledger: &Ledger,
    predictions: &[Prediction],
    scored: &Scored,
    kb: Option<&Kb>,
    options: &JudgeOptions,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Judged, Error> {
    let mut labels = vec![None; scored.outcomes.len()];
    let mut questions = Questions {
        model: backend.model_name(&options.model),
        options,
        questions: Vec::new(),
    };
    let mut places = Vec::new();
    for (place, outcome) in scored.outcomes.iter().enumerate() {
        let row = &predictions[outcome.row as usize];
        match protocol::decide(row, outcome.correct, options.language, kb) {
            Decision::Settled(label) => labels[place] = Some(label),
            Decision::Ask(question) => {
                questions.questions.push(question);
                places.push(place);
            }
        }
    }
    let finished = run(backend, ledger, &questions, &options.run, watch)?;
    let mut unreadable = 0;
    let mut pending = 0;
    for (job, place) in places.iter().enumerate() {
        let answers = match finished.outcome(ledger, job)? {
            Outcome::Accepted(answers) | Outcome::Failed { answers, .. } => answers,
            Outcome::Pending => {
                pending += 1;
                continue;
            }
        };
        let label = answers
            .last()
            .and_then(|answer| protocol::parse(&answer.text));
        unreadable += usize::from(label.is_none());
        labels[*place] = Some(label.unwrap_or(Label::NoRelation));
    }
    Ok(Judged {
        settled: labels.len() - places.len(),
        asked: places.len(),
        labels,
        unreadable,
        pending,
    })
}

struct Questions<'o> {
    model: String,
    options: &'o JudgeOptions,
    questions: Vec<[String; 2]>,
}

impl Jobs for Questions<'_> {
    fn len(&self) -> usize {
        self.questions.len()
    }

    fn request(&self, job: usize) -> ChatRequest {
        protocol::request(&self.model, &self.questions[job], &self.options.sampling)
    }

    /// The protocol takes the first answer, readable or not.
    fn verdict(&self, _: usize, _: &[ChatAnswer]) -> Verdict {
        Verdict::Accept
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use syncabel_llm::fault_server::{FaultServer, Faults};
    use syncabel_llm::{OpenAiClient, OpenAiConfig};

    use super::*;
    use crate::{EvalOptions, score};

    fn rows() -> Vec<Prediction> {
        let row = |i: u32| Prediction {
            filename: format!("d{i}"),
            label: "Disorders".into(),
            span: format!("mention {i}"),
            sentence: format!("A [mention {i}]{{Disorders}}."),
            code: if i.is_multiple_of(7) {
                "A+B".into()
            } else {
                format!("C{i}")
            },
            annotation: format!("gold {i}"),
            prediction: format!("name {i}"),
            predicted_code: match i % 7 {
                0 => "B".into(),
                1 => format!("C{i}"),
                2 => String::new(),
                _ => "X".into(),
            },
            ..Prediction::default()
        };
        (0..70).map(row).collect()
    }

    /// Answers by the number in the mention: one in five says nothing that can be read.
    fn answer(request: &ChatRequest) -> String {
        let text = &request.messages[1].content;
        let digits: String = text
            .split("[mention ")
            .nth(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
            .unwrap_or_default();
        let number: usize = digits.parse().unwrap_or(0);
        [
            "{\"label\": \"EXACT\"}",
            "BROAD",
            "{\"label\": \"NARROW\"}",
            "NO_RELATION",
            "I cannot say.",
        ][number % 5]
            .to_owned()
    }

    #[test]
    fn faults_and_a_second_run_change_nothing() {
        let rows = rows();
        let scored = score(&rows, None, None, &EvalOptions::default()).unwrap();
        let options = JudgeOptions::new("judge", Language::En);
        let mut results = Vec::new();
        for faults in [Faults::none(), Faults::all(0.3, 7)] {
            let folder = tempfile::tempdir().unwrap();
            // Disturbed answers that arrive say something else than they should, so only what brings none is used here.
            let mut faults = faults;
            use syncabel_llm::fault_server::Disturbance::{
                AnotherSubject, Late, VeryLong, WithoutMarkers,
            };
            faults
                .kinds
                .retain(|kind| !matches!(kind, Late | WithoutMarkers | AnotherSubject | VeryLong));
            faults.kinds.retain(|kind| format!("{kind:?}") != "Refusal");
            let server = FaultServer::start(faults, Duration::ZERO, answer);
            let client = OpenAiClient::new(&OpenAiConfig::new(server.url())).unwrap();
            let ledger = Ledger::open(&folder.path().join("ledger"), "judge").unwrap();
            let go = || {
                judge(
                    &client,
                    &ledger,
                    &rows,
                    &scored,
                    None,
                    &options,
                    &mut |_| true,
                )
                .unwrap()
            };
            let first = go();
            let requests = server.served().requests;
            assert_eq!(go(), first, "a second run is the same");
            assert_eq!(server.served().requests, requests, "and asks nothing");
            assert_eq!((first.settled, first.asked, first.pending), (30, 40, 0));
            results.push(first);
        }
        assert_eq!(
            results[0], results[1],
            "what was disturbed on the way is not seen in the end"
        );
        let labels = &results[0].labels;
        assert_eq!(labels[0], Some(Label::Partial));
        assert_eq!(labels[1], Some(Label::Strict));
        assert_eq!(labels[2], Some(Label::NoRelation));
        assert_eq!(labels[5], Some(Label::Exact));
        assert_eq!(labels[4], Some(Label::NoRelation), "unreadable");
        assert!(results[0].unreadable > 0);
    }
}
