//! What a broken invariant looks like to who has to mend it.

use std::fmt;
use std::time::Duration;

/// An invariant that broke, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// The world's seed.
    pub seed: u64,
    /// The set-up's name.
    pub scenario: &'static str,
    /// Which invariant.
    pub invariant: &'static str,
    /// What was found instead.
    pub detail: String,
    /// When, in virtual time.
    pub at: Duration,
    /// The last happenings, oldest first.
    pub last: Vec<String>,
}

impl Failure {
    /// The command that plays it again.
    pub fn replay(&self) -> String {
        let Self { seed, scenario, .. } = self;
        format!(
            "cargo run --release -p socp-examples --example simulate -- --scenario {scenario} --seed {seed}"
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, scenario, invariant, detail, at, last } = self;
        for line in last {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "BROKEN {scenario}, seed {seed}, at {at:.3?}: {invariant}")?;
        writeln!(f, "       {detail}")?;
        write!(f, "again: {}", self.replay())
    }
}
