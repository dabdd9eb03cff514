//! Limits per minute, kept over all threads.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a server allows; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a minute, repeated ones included.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompts and answers.
    pub tokens_per_minute: Option<u64>,
}

/// Spreads requests evenly: each reserves the next free moment of both limits (the generic cell rate algorithm). Unused
/// time is not saved up beyond one second, so no minute ever holds more than the limit and one second's worth.
#[derive(Debug)]
pub(crate) struct Pacer {
    request_s: f64,
    token_s: f64,
    next: Mutex<Next>,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    request: Instant,
    token: Instant,
    /// Nobody sends before this: the server has asked for a pause.
    paused_until: Instant,
}

const SAVED: Duration = Duration::from_secs(1);

impl Pacer {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let interval = |per_minute: Option<f64>| per_minute.map_or(0.0, |n| 60.0 / n.max(1.0));
        Pacer {
            request_s: interval(limits.requests_per_minute.map(f64::from)),
            token_s: interval(limits.tokens_per_minute.map(|n| n as f64)),
            next: Mutex::new(Next {
                request: now,
                token: now,
                paused_until: now,
            }),
        }
    }

    /// Reserves a request of about so many tokens; returns how long to wait before sending it.
    pub(crate) fn reserve(&self, tokens: u64, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        let mut at = now.max(next.paused_until);
        if self.request_s > 0.0 {
            let start = next.request.max(earliest);
            next.request = start + Duration::from_secs_f64(self.request_s);
            at = at.max(start);
        }
        if self.token_s > 0.0 {
            let start = next.token.max(earliest);
            next.token = start + Duration::from_secs_f64(self.token_s * tokens as f64);
            at = at.max(start);
        }
        at.saturating_duration_since(now)
    }

    /// Corrects a reservation by what the request really took.
    pub(crate) fn settle(&self, reserved: u64, used: u64) {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        let change = Duration::from_secs_f64(self.token_s * reserved.abs_diff(used) as f64);
        next.token = if used > reserved {
            next.token + change
        } else {
            next.token.checked_sub(change).unwrap_or(next.token)
        };
    }

    /// Nobody sends for so long.
    pub(crate) fn pause(&self, wait: Duration, now: Instant) {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        next.paused_until = next.paused_until.max(now + wait);
    }

    /// How long the server has asked to be left alone, from now.
    pub(crate) fn paused(&self, now: Instant) -> Duration {
        let next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        next.paused_until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments, in seconds, at which `count` requests of `tokens` each are sent by one eager client.
    fn sent(limits: Limits, count: usize, tokens: u64) -> Vec<f64> {
        let start = Instant::now();
        let pacer = Pacer::new(&limits, start);
        let waits = (0..count).map(|_| pacer.reserve(tokens, start).as_secs_f64());
        waits.collect()
    }

    #[test]
    fn no_minute_holds_more_than_the_limit_and_a_second() {
        let limits = Limits {
            requests_per_minute: Some(120),
            tokens_per_minute: Some(60_000),
        };
        for (tokens, per_minute) in [(10, 120), (1_000, 60)] {
            let sent = sent(limits, 400, tokens);
            for (i, &first) in sent.iter().enumerate() {
                let within = sent[i..].iter().filter(|&&t| t < first + 60.0).count();
                assert!(
                    within <= per_minute + per_minute / 60 + 1,
                    "{within} of {per_minute}"
                );
            }
            let rate = 60.0 * 399.0 / sent[399];
            assert!(
                (rate - per_minute as f64).abs() < per_minute as f64 * 0.02,
                "{rate}"
            );
        }
    }

    #[test]
    fn without_limits_nobody_waits_and_a_pause_holds_everybody() {
        assert!(
            sent(Limits::default(), 100, 1_000)
                .iter()
                .all(|&t| t == 0.0)
        );
        let now = Instant::now();
        let pacer = Pacer::new(&Limits::default(), now);
        pacer.pause(Duration::from_secs(7), now);
        pacer.pause(Duration::from_secs(2), now);
        assert_eq!(pacer.reserve(1, now), Duration::from_secs(7));
        assert_eq!(
            pacer.reserve(1, now + Duration::from_secs(9)),
            Duration::ZERO
        );
    }

    #[test]
    fn reservations_are_settled() {
        let limits = Limits {
            tokens_per_minute: Some(60),
            ..Limits::default()
        };
        let now = Instant::now();
        let pacer = Pacer::new(&limits, now);
        pacer.reserve(100, now);
        pacer.settle(100, 10);
        let wait = pacer.reserve(1, now).as_secs_f64();
        assert!((9.0..=10.0).contains(&wait), "{wait}");
    }
}
