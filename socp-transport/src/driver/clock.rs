//! The machines' clock.

use std::time::{Duration, SystemTime};

use socp_core::{Deadline, Now};
use tokio::time::Instant;

/// Time since a start, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// What a machine is told with every event.
    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { instant: self.start.elapsed(), unix_ms: unix.as_millis().try_into().unwrap_or(u64::MAX) }
    }

    /// The instant of a machine's time.
    pub(crate) fn at(&self, instant: Duration) -> Instant {
        // A machine may say "never" with a time that no clock reaches.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.start.checked_add(instant).unwrap_or_else(|| Instant::now() + FAR)
    }

    /// Until a deadline; for ever without one.
    pub(crate) async fn until(&self, deadline: Option<Deadline>) {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(self.at(deadline.at)).await,
            None => std::future::pending().await,
        }
    }
}
