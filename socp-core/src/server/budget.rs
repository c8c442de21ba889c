//! A token bucket on the machine's clock.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Budget {
    burst: f64,
    per_second: f64,
    tokens: f64,
    at: Duration,
}

impl Budget {
    pub(super) fn new(burst: u32, per_second: f64, now: Duration) -> Self {
        Self { burst: f64::from(burst), per_second, tokens: f64::from(burst), at: now }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// Puts a token back.
    pub(super) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.tokens >= self.burst
    }

    /// Whether there is no token to take.
    pub(super) fn is_empty(&self, now: Duration) -> bool {
        self.tokens_at(now) < 1.0
    }

    /// How much there is.
    pub(super) fn left(&self, now: Duration) -> f64 {
        self.tokens_at(now)
    }

    /// Takes a token in any case; says until when the taker is to be held back, if there was none.
    pub(super) fn overdraw(&mut self, now: Duration) -> Option<Duration> {
        self.refill(now);
        self.tokens -= 1.0;
        // A rate of nothing a second holds back for good, which is to say for an hour at a time.
        let wait = (-self.tokens / self.per_second).min(3600.0);
        (self.tokens < 0.0).then(|| now + Duration::from_secs_f64(wait))
    }

    fn refill(&mut self, now: Duration) {
        self.tokens = self.tokens_at(now);
        self.at = now;
    }

    fn tokens_at(&self, now: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        (self.tokens + elapsed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refills_up_to_its_burst() {
        let secs = Duration::from_secs;
        let mut budget = Budget::new(2, 1.0, secs(0));
        assert!(budget.take(secs(0)) && budget.take(secs(0)) && !budget.take(secs(0)));
        assert!(budget.is_empty(secs(0)) && !budget.is_empty(secs(1)));
        assert!(budget.take(secs(1)) && !budget.take(secs(1)));
        assert_eq!(budget.overdraw(secs(1)), Some(secs(2)));
        assert_eq!(budget.overdraw(secs(60)), None);
    }
}
