//! The CPU engine as a [`PoolModel`].

use syncabel_engine::{Engine, Error as EngineError, Run as EngineRun, Wanted as EngineWanted};

use crate::Error;
use crate::search::{PoolModel, Run, Scores, Scoring, State, Wanted};

impl PoolModel for Engine {
    fn vocab_size(&self) -> usize {
        self.weights().shape().vocab
    }

    fn positions(&self) -> usize {
        self.weights().shape().positions
    }

    fn forward(&mut self, runs: &[Run], scoring: Scoring) -> Result<Vec<Scores>, Error> {
        let runs: Vec<EngineRun<'_>> = runs
            .iter()
            .map(|run| EngineRun {
                mention: run.mention,
                after: run.after.map(|state| state.0),
                tokens: &run.tokens,
                score_read: run.score_read,
                wanted: match &run.wanted {
                    Wanted::Tokens(tokens) => EngineWanted::Tokens(tokens),
                    Wanted::Best(count) => EngineWanted::Best(*count),
                },
                among_wanted: scoring == Scoring::Local,
            })
            .collect();
        let scores = Engine::forward(self, &runs).map_err(|error| match error {
            EngineError::NotFinite { mention, step } => Error::NotFinite {
                query: mention,
                step,
            },
            EngineError::Capacity {
                mention,
                needed,
                capacity,
            } => Error::TooLong {
                query: mention,
                needed,
                capacity,
            },
            EngineError::Token { token, vocab } => Error::TokenOutsideVocabulary { token, vocab },
            other => Error::Model(Box::new(other)),
        })?;
        Ok(scores
            .into_iter()
            .map(|scores| Scores {
                state: State(scores.state),
                read: scores.read,
                next: scores.next,
            })
            .collect())
    }

    fn close(&mut self, mention: usize) {
        Engine::close(self, mention);
    }
}
