//! When to ask again, and how long to wait.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// the second half of the wait. A wait that the server asked for is kept in full, and never makes it shorter: `0` or a date
    /// that is past would be answered by a storm of requests.
    pub fn wait(&self, attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let longest = Duration::from_millis(self.max_wait_ms);
        let doubled = self
            .initial_wait_ms
            .saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let own = Duration::from_millis(doubled)
            .min(longest)
            .mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        retry_after.map_or(own, |asked| asked.max(own).min(longest))
    }
}

/// Whether a status is worth another attempt.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date as seen from `now`; a date that is past means at once.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = match value.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
            (unix_seconds(value)? as f64 - now).max(0.0)
        }
    };
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(86_400.0)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970 (leap days after Hinnant's `days_from_civil`). The two older
/// forms of HTTP dates count as absent.
fn unix_seconds(date: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let fields: Vec<&str> = date.split_once(", ")?.1.split([' ', ':']).collect();
    let [day, month, year, hour, minute, second, "GMT"] = fields[..] else {
        return None;
    };
    let number = |text: &str, most: i64| {
        let number = text.parse::<i64>().ok();
        number.filter(|n| (0..=most).contains(n))
    };
    let at = MONTHS
        .find(month)
        .filter(|at| month.len() == 3 && at % 3 == 0)?;
    let month = at as i64 / 3 + 1;
    let (day, year) = (
        number(day, 31)?,
        number(year, 9999)? - i64::from(month <= 2),
    );
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let minutes = (days * 24 + number(hour, 23)?) * 60 + number(minute, 59)?;
    Some(minutes * 60 + number(second, 60)?)
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
            policy.wait(1, retry_after(" 2 ", UNIX_EPOCH), 0.0),
            Duration::from_secs(2)
        );
        assert_eq!(
            policy.wait(1, retry_after("3600", UNIX_EPOCH), 0.0),
            Duration::from_secs(3)
        );
        for absent in [
            "soon",
            "-1",
            "NaN",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
        ] {
            assert_eq!(retry_after(absent, UNIX_EPOCH), None, "{absent}");
        }
    }

    #[test]
    fn a_date_is_a_wait_from_now() {
        assert_eq!(
            unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            unix_seconds("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(7)));
        let later = now + Duration::from_secs(3600);
        assert_eq!(retry_after(date, later), Some(Duration::ZERO));
    }

    #[test]
    fn a_wish_of_no_time_does_not_switch_the_backoff_off() {
        let policy = RetryPolicy::default();
        let (own, asked) = (
            policy.wait(3, None, 0.5),
            policy.wait(3, Some(Duration::ZERO), 0.5),
        );
        assert_eq!(asked, own);
    }
}
