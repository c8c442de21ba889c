//! Links: what each one is, and what its peer may still cost us.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::{LinkId, LinkOrigin};
use super::budget::Budget;
use super::limits::Limits;
use crate::wire::{HostPort, Meta, Nonce, PublicKey, Rotation, ServerId, UserId};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) origin: LinkOrigin,
    pub(super) opened: Duration,
    pub(super) heard: Duration,
    pub(super) state: LinkState,
    /// Bad frames; empty, the link is closed.
    pub(super) bad_frames: Budget,
    /// ERRORs, which cost us a signature each.
    pub(super) errors: Budget,
    /// Messages that cost us a signature each, and frames about files; overdrawn, the link is paused.
    pub(super) messages: Budget,
    /// Public messages to single members; overdrawn, the link is paused.
    pub(super) public: Budget,
    /// Chunks of files; overdrawn, the link is paused.
    pub(super) chunks: Budget,
    /// Requests that cost us work; overdrawn, the link is paused.
    pub(super) requests: Budget,
}

/// What a link is to us. A frame that has no business in a state is refused there.
#[derive(Debug)]
pub(super) enum LinkState {
    /// Accepted; the first frame will say what the peer is (§6).
    Greeting,
    /// A user was challenged to prove its key.
    Login(Login),
    /// Dialled; we have sent SERVER_HELLO_JOIN and wait for the WELCOME.
    Joining(Joining),
    /// A server that said who it is.
    Server(ServerLink),
    /// A user with a session.
    User(UserId),
}

#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: UserId,
    pub(super) key: PublicKey,
    /// The proven chain that leads to `key`, or nothing.
    pub(super) rotations: Vec<Rotation>,
    pub(super) meta: Meta,
    pub(super) nonce: Nonce,
}

#[derive(Debug)]
pub(super) struct Joining {
    /// What was dialled.
    pub(super) address: HostPort,
    /// The key that must answer there.
    pub(super) key: PublicKey,
    /// The nonce in our JOIN.
    pub(super) nonce: Nonce,
    /// HELLO_LINK and ANNOUNCE went out without waiting any longer for a WELCOME.
    pub(super) introduced: bool,
}

#[derive(Debug)]
pub(super) struct ServerLink {
    pub(super) server: ServerId,
    /// The key that the peer showed; its own frames are checked under it.
    pub(super) key: PublicKey,
    /// The nonces of both hellos: set, the link counts only once both LINK_PROOFs hold.
    pub(super) nonces: Option<Nonces>,
    /// What was dialled, if we dialled.
    pub(super) address: Option<HostPort>,
    /// The id that the peer, an introducer, assigned to us; taken once its LINK_PROOF holds.
    pub(super) assigned: Option<ServerId>,
    /// Whether the peer's LINK_PROOF held.
    pub(super) proven: bool,
    /// Whether anything came back where we dialled: silence makes no address worth keeping.
    pub(super) answered: bool,
    /// Whether the link counts as up.
    pub(super) up: bool,
    /// Other servers whose frames it carried and whose pinned keys had not signed them: how many more of each are
    /// worth a check.
    pub(super) doubted: BTreeMap<ServerId, Budget>,
}

impl ServerLink {
    /// Whether users' unsigned frames may come this way (decisions §6).
    pub(super) fn is_trusted(&self) -> bool {
        self.proven || self.address.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Nonces {
    pub(super) ours: Nonce,
    pub(super) theirs: Nonce,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        origin: LinkOrigin,
        state: LinkState,
        now: Duration,
        limits: &Limits,
    ) -> Self {
        Self {
            id,
            origin,
            opened: now,
            heard: now,
            state,
            bad_frames: bad_frames(limits, now),
            errors: Budget::new(limits.error_burst, f64::from(limits.errors_per_second), now),
            messages: Budget::new(limits.message_burst, f64::from(limits.messages_per_second), now),
            public: Budget::new(limits.public_burst, f64::from(limits.public_per_second), now),
            chunks: Budget::new(limits.chunk_burst, f64::from(limits.chunks_per_second), now),
            requests: Budget::new(limits.requests_per_second, f64::from(limits.requests_per_second), now),
        }
    }

    /// The server at the other end, if it said who it is.
    pub(super) fn server(&self) -> Option<&ServerLink> {
        match &self.state {
            LinkState::Server(server) => Some(server),
            LinkState::Greeting | LinkState::Login(_) | LinkState::Joining(_) | LinkState::User(_) => None,
        }
    }

    pub(super) fn is_dialled(&self) -> bool {
        matches!(self.origin, LinkOrigin::Dialled(_))
    }

    /// Whether the peer has not finished saying who it is.
    pub(super) fn is_greeting(&self) -> bool {
        match &self.state {
            LinkState::Greeting | LinkState::Login(_) => true,
            LinkState::Joining(_) | LinkState::Server(_) | LinkState::User(_) => false,
        }
    }
}

impl ServerLink {
    /// A frame that it carried was not signed by the key that is pinned for that server.
    pub(super) fn doubt(&mut self, server: &ServerId, limits: &Limits, now: Duration) {
        if self.doubted.len() >= limits.servers && !self.doubted.contains_key(server) {
            self.doubted.pop_first();
        }
        self.doubted.entry(server.clone()).or_insert_with(|| bad_frames(limits, now)).take(now);
    }

    /// Whether what it carries of that server has been wrong too often to be looked at.
    pub(super) fn is_doubted(&self, server: &ServerId, now: Duration) -> bool {
        self.doubted.get(server).is_some_and(|budget| budget.is_empty(now))
    }
}

fn bad_frames(limits: &Limits, now: Duration) -> Budget {
    Budget::new(limits.bad_frames_per_minute, f64::from(limits.bad_frames_per_minute) / 60.0, now)
}
