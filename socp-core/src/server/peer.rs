//! Other servers: pins, links, and what each one says about its own users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::advert_text::{AdvertText, Beside};
use super::api::{LinkId, ServerRecord};
use super::budget::Budget;
use crate::crypto::{SignatureForm, Verified};
use crate::wire::{HostPort, Meta, PublicKey, ServerId, UserId, WireText};

/// A known server.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) record: ServerRecord,
    /// How it signs, to be tried first.
    pub(super) form: Option<SignatureForm>,
    /// Its links that are up; the last carries the traffic.
    pub(super) links: Vec<LinkId>,
    /// Where it says that it listens, in its own signed words, to be passed on.
    pub(super) announced: Option<Announced>,
    /// Without a link, it counts as reachable until then.
    pub(super) alive_until: Duration,
    /// The neighbour that last brought news of it, for when no link is up.
    pub(super) via: Option<LinkId>,
    pub(super) table: PresenceTable,
    /// Whether it has listed its users since its first link came up, as a seed does in WELCOME.
    pub(super) listed: bool,
    /// `issued_at` of the last PRESENCE that `table` matched; at first what was over when we were started.
    pub(super) matched: u64,
    /// Its adverts and removals: each that changes something costs us a signature and a broadcast.
    pub(super) changes: Budget,
    /// Its PRESENCEs.
    pub(super) presences: Budget,
    /// Its PUBLIC_CHANNEL_*.
    pub(super) channel: Budget,
    /// The newest version of the public channel that it told of.
    pub(super) channel_version: u64,
}

impl Peer {
    pub(super) fn is_reachable(&self, now: Duration) -> bool {
        !self.links.is_empty() || now < self.alive_until
    }

    /// The link that carries its traffic.
    pub(super) fn link(&self) -> Option<LinkId> {
        self.links.last().copied()
    }
}

/// A server's SERVER_ANNOUNCE.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) address: HostPort,
    pub(super) text: WireText,
    /// Until then it is passed on even if nothing else is heard of the server.
    pub(super) until: Duration,
}

/// What one origin says about its users.
#[derive(Debug, Default)]
pub(super) struct PresenceTable {
    /// The newest advert of each user, also those that are outranked or refused for their key.
    pub(super) claims: BTreeMap<UserId, Claim>,
    /// `issued_at` of removals newer than the last match.
    pub(super) removed: BTreeMap<UserId, u64>,
    /// The newest `issued_at` of any advert or removal.
    pub(super) newest: u64,
    pub(super) presence: Option<StoredPresence>,
    /// No further PRESENCE_REQUEST before.
    pub(super) ask_at: Duration,
    /// Links that asked for this table while it did not match: answered once it does.
    pub(super) askers: BTreeSet<LinkId>,
    /// A PRESENCE_REQUEST is under way: adverts older than the last match wait for the list.
    pub(super) request: Option<Request>,
}

/// A user's advert as an origin issued it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// `issued_at`, from natives.
    pub(super) issued_at: Option<u64>,
    /// The envelope's `ts`, for those without `issued_at`.
    pub(super) ts: u64,
    /// `issued_at` of the attestation, if its signature holds; it counts while it is current.
    pub(super) attested: Option<u64>,
    pub(super) key: Option<PublicKey>,
    pub(super) meta: Meta,
    /// Whether it may count as a location; others count in the digest and nowhere else. Its key must agree
    /// with the pin besides, which may move.
    pub(super) accepted: bool,
    /// The advert's own text, to be passed on; WELCOME entries have none.
    pub(super) text: Option<AdvertText>,
    pub(super) payload_hash: [u8; 32],
    /// False while it may be out of date: after a native origin was unreachable until its PRESENCE says that
    /// nothing has changed (till then the claim does not count); after a standard peer's link came up
    /// until it lists the user again.
    pub(super) confirmed: bool,
}

impl Claim {
    pub(super) fn order(&self) -> u64 {
        self.issued_at.unwrap_or(self.ts)
    }

    /// The advert as it came, given what it is kept under.
    pub(super) fn advert(&self, user: &UserId, server: &ServerId) -> Option<WireText> {
        Some(self.text.as_ref()?.unpack(Beside { user, server, key: self.key.as_ref() }))
    }
}

#[derive(Debug)]
pub(super) struct StoredPresence {
    pub(super) issued_at: u64,
    pub(super) digest: [u8; 32],
    pub(super) text: WireText,
    pub(super) via: LinkId,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) link: LinkId,
    pub(super) waiting: Vec<Verified>,
    pub(super) list: Vec<(UserId, u64)>,
    pub(super) next_page: u32,
}

impl PresenceTable {
    /// The digest over what counts (decisions §5).
    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(self.claims.iter().filter_map(|(user, claim)| Some((user, claim.issued_at?))))
    }

    pub(super) fn matches_presence(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.digest == self.digest())
    }
}

/// SHA-256 over the lines `user_id` NUL `issued_at` LF, which the caller gives in the order of the ids.
pub(super) fn digest_of<'a>(users: impl Iterator<Item = (&'a UserId, u64)>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (user, issued_at) in users {
        hash.update(user.as_str().as_bytes());
        hash.update([0]);
        hash.update(issued_at.to_string().as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().into()
}
