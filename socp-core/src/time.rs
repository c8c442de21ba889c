//! Time is an input of the machines.

use std::time::Duration;

/// The time that comes with every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: since a start that the driver chose. Timeouts are measured with it.
    pub instant: Duration,
    /// The wall clock: Unix time in milliseconds. It goes into frames and may jump.
    pub unix_ms: u64,
}

/// When a machine wants to be woken at the latest, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the scale of [`Now::instant`].
    pub at: Duration,
    /// For logs.
    pub reason: &'static str,
}
