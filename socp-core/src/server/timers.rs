//! Deadlines: at most one per [`Timer`], so none is ever stale.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::LinkId;
use crate::Deadline;
use crate::wire::{HostPort, ServerId, UserId};

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// HEARTBEAT and ping are due (§8.4).
    Heartbeat,
    /// Our PRESENCE is due.
    Presence,
    /// Changes of the public channel are to be told.
    Channel,
    /// A link may be dead.
    Silence(LinkId),
    /// A peer has not said who it is.
    Greeting(LinkId),
    /// A server that we dialled has sent no WELCOME.
    Welcome(LinkId),
    /// A native peer has not proven itself.
    LinkProof(LinkId),
    /// A LOGIN_CHALLENGE expires.
    Challenge(LinkId),
    /// The border owes the answer to a password check.
    Password(LinkId),
    /// A difference to an origin's PRESENCE can no longer be gossip in flight.
    Settle(ServerId),
    /// An origin may have become unreachable.
    Unreachable(ServerId),
    /// A standard peer has had time to list its users.
    Relist(ServerId),
    /// A session's attestation is to be renewed.
    Renew(UserId),
    /// An address is to be dialled.
    Redial(HostPort),
}

impl Timer {
    fn reason(&self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Presence => "presence",
            Self::Channel => "channel",
            Self::Silence(_) => "silence",
            Self::Greeting(_) => "greeting",
            Self::Welcome(_) => "welcome",
            Self::LinkProof(_) => "link proof",
            Self::Challenge(_) => "challenge",
            Self::Password(_) => "password",
            Self::Settle(_) => "settle",
            Self::Unreachable(_) => "unreachable",
            Self::Relist(_) => "relist",
            Self::Renew(_) => "renew",
            Self::Redial(_) => "redial",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Duration>,
    queue: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets or moves a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(&timer);
        self.at.insert(timer.clone(), at);
        self.queue.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.at.remove_entry(timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    pub(super) fn next(&self) -> Option<Deadline> {
        let (at, timer) = self.queue.first()?;
        Some(Deadline { at: *at, reason: timer.reason() })
    }
}
