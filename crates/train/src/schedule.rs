//! The learning rate of each step: linear warm-up, then linear decay to zero.

/// Linear warm-up followed by linear decay.
///
/// Steps count from 0. The first step already has a rate above zero (one part of the warm-up) and the last one too
/// (one part of the decay), so no step is wasted on a rate of zero.
///
/// ```
/// use syncabel_train::Schedule;
///
/// let schedule = Schedule::new(1e-3, 100, 0.1);
/// assert_eq!(schedule.warmup_steps(), 10);
/// assert!((schedule.learning_rate(4) - 0.5e-3).abs() < 1e-12);
/// assert!((schedule.learning_rate(9) - 1e-3).abs() < 1e-12);
/// assert!((schedule.learning_rate(55) - 0.5e-3).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    peak: f64,
    total_steps: u64,
    warmup_steps: u64,
}

impl Schedule {
    /// A schedule over `total_steps` of which `warmup_ratio` (rounded up) climb to `peak`.
    pub fn new(peak: f64, total_steps: u64, warmup_ratio: f64) -> Self {
        let warmup_steps = (warmup_ratio * total_steps as f64).ceil() as u64;
        Self {
            peak,
            total_steps,
            warmup_steps: warmup_steps.min(total_steps),
        }
    }

    /// Steps before the peak is reached.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// The rate at a step, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = (self.total_steps - self.warmup_steps).max(1);
        self.peak * self.total_steps.saturating_sub(step) as f64 / decay_steps as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_and_is_never_zero() {
        for (total, ratio) in [
            (1, 0.0),
            (1, 0.03),
            (7, 0.5),
            (100, 0.03),
            (100, 1.0),
            (1000, 0.0),
        ] {
            let schedule = Schedule::new(2.0, total, ratio);
            let rates: Vec<f64> = (0..total).map(|s| schedule.learning_rate(s)).collect();
            assert!(
                rates.iter().all(|&r| r > 0.0 && r <= 2.0),
                "{total} {ratio} {rates:?}"
            );
            let peak = rates
                .iter()
                .position(|&r| r == 2.0)
                .expect("reaches the peak");
            assert!(rates[..=peak].is_sorted());
            assert!(rates[peak..].is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn steps_beyond_the_end_have_no_rate() {
        assert_eq!(Schedule::new(1.0, 10, 0.1).learning_rate(10), 0.0);
        assert_eq!(Schedule::new(1.0, 10, 0.1).learning_rate(99), 0.0);
    }
}
