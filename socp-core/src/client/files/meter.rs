//! How fast a file moves.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate is that of so long.
const WINDOW: Duration = Duration::from_secs(8);

/// Samples that are kept for it, at most.
const SAMPLES: usize = 64;

/// Notes how far a transfer is, now and then.
#[derive(Debug)]
pub(super) struct Meter {
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    pub(super) fn new(now: Duration) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    /// Notes that so much is done; bytes a second, if `every` has passed since it was said last.
    pub(super) fn tick(&mut self, now: Duration, done: u64, every: Duration) -> Option<u64> {
        let last = self.samples.back().map_or(now, |(at, _)| *at);
        if now.saturating_sub(last) < every {
            return None;
        }
        self.samples.push_back((now, done));
        // One that is as old as the window stays: the rate is taken from it.
        let is_old = |(at, _): &(Duration, u64)| at.saturating_add(WINDOW) <= now;
        while self.samples.get(1).is_some_and(is_old) || self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let seconds = now.saturating_sub(since).as_secs_f64();
        Some((done.saturating_sub(before) as f64 / seconds) as u64)
    }
}

/// How long the rest takes at that rate.
pub(super) fn time_left(done: u64, size: u64, rate: u64) -> Option<Duration> {
    (rate > 0).then(|| Duration::from_secs_f64(size.saturating_sub(done) as f64 / rate as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let secs = Duration::from_secs;
        let mut meter = Meter::new(secs(10));
        assert_eq!(meter.tick(secs(10), 500, secs(1)), None);
        assert_eq!(meter.tick(secs(11), 1_000, secs(1)), Some(1_000));
        for second in 12..=30 {
            meter.tick(secs(second), 1_000, secs(1));
        }
        assert_eq!(meter.tick(secs(31), 1_800, secs(1)), Some(100), "800 bytes in eight seconds");
        assert_eq!(time_left(1_800, 2_800, 100), Some(secs(10)));
        assert_eq!(time_left(0, 1, 0), None);
    }
}
