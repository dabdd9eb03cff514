//! When to ask again, and how long to wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounded retries with exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Requests in all, the first included; 0 counts as 1.
    pub max_attempts: u32,
    /// Wait after the first failure; doubled after each further one.
    pub initial_wait_ms: u64,
    /// Longest wait; what a server asks for by `Retry-After` is cut to this as well.
    pub max_wait_ms: u64,
}

impl Default for RetryPolicy {
    /// Five attempts, waits of 0.5, 1, 2 and 4 seconds, never more than a minute.
    fn default() -> Self {
        RetryPolicy {
            max_attempts: 5,
            initial_wait_ms: 500,
            max_wait_ms: 60_000,
        }
    }
}

impl RetryPolicy {
    /// Wait after the given failed attempt (from 1). `jitter` between 0 and 1 spreads the requests of many threads over
    /// the second half of the wait; a wait that the server asked for is kept in full.
    pub fn wait(&self, attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let longest = Duration::from_millis(self.max_wait_ms);
        if let Some(asked) = retry_after {
            return asked.min(longest);
        }
        let doubled = self
            .initial_wait_ms
            .saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let full = Duration::from_millis(doubled).min(longest);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// Whether a status is worth another attempt.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

/// `Retry-After` in seconds. The form with a date is not worth a calendar: it counts as absent.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let seconds: f64 = value.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(86_400.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let policy = RetryPolicy {
            max_attempts: 9,
            initial_wait_ms: 100,
            max_wait_ms: 350,
        };
        let waits: Vec<u128> = (1..5)
            .map(|attempt| policy.wait(attempt, None, 1.0).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        assert_eq!(policy.wait(1, None, 0.0).as_millis(), 50);
        assert_eq!(policy.wait(u32::MAX, None, 1.0).as_millis(), 350);
    }

    #[test]
    fn the_servers_wish_counts_up_to_the_limit() {
        let policy = RetryPolicy {
            max_attempts: 2,
            initial_wait_ms: 1,
            max_wait_ms: 3_000,
        };
        assert_eq!(
            policy.wait(1, retry_after(" 2 "), 0.0),
            Duration::from_secs(2)
        );
        assert_eq!(
            policy.wait(1, retry_after("3600"), 0.0),
            Duration::from_secs(3)
        );
        for absent in ["soon", "-1", "NaN", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(retry_after(absent), None, "{absent}");
        }
    }
}
