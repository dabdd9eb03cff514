//! The API key, which nobody gets to see.

use std::fmt;

use crate::Error;

/// An API key. It can be sent, and that is all: `Debug` hides it and it has neither `Display` nor serde.
#[derive(Clone)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// The key in an environment variable.
    pub(crate) fn from_env(variable: &str) -> Result<Self, Error> {
        match std::env::var(variable) {
            Ok(key) if !key.trim().is_empty() => Ok(ApiKey(key.trim().to_owned())),
            _ => Err(Error::NoKey {
                variable: variable.to_owned(),
            }),
        }
    }

    /// The header that carries it.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text without the key, should a server repeat it in its message.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([hidden])")
    }
}
