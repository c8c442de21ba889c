//! Pins: which key belongs to which id, of servers and of users (decisions §2, §4).

use std::collections::BTreeSet;
use std::time::Duration;

use super::api::{
    ConflictOf, KeyConflict, PinRank, PinnedBy, Record, Report, ServerRecord, Snapshot, UserRecord,
};
use super::budget::Budget;
use super::delivered::restored;
use super::link::LinkState;
use super::peer::{Peer, PresenceTable};
use super::{Server, User};
use crate::crypto::{Succession, first_key, succession, tells_more};
use crate::dialect::Dialect;
use crate::wire::{HostPort, PublicKey, Rotation, ServerId, UserId};

/// What became of a key that was seen for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinOutcome {
    /// It is the pinned key.
    Same,
    /// It is pinned from now on; nothing was before.
    First,
    /// It replaced another key that ranked lower.
    Replaced,
    /// Another key is pinned and stays.
    Conflict,
    /// There is no room for another pin.
    Full,
}

impl Server {
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        let remembered = self.config.limits.seen_entries;
        self.delivered = restored(remembered, snapshot.delivered, snapshot.delivered_until);
        for record in snapshot.servers.into_iter().take(self.config.limits.servers) {
            if record.key != self.config.key && record.server_id != self.id {
                self.peers.insert(
                    record.server_id.clone(),
                    new_peer(record, self.now.instant, &self.config.limits),
                );
            }
        }
        for record in snapshot.users.into_iter().take(self.config.limits.pinned_users) {
            let UserRecord { user_id, key, rotations, proven, meta, version } = record;
            let user = User { key: Some(key), rotations, proven, meta, version, ..User::default() };
            self.users.insert(user_id, user);
        }
        for account in snapshot.accounts.into_iter().take(self.config.limits.accounts) {
            if self.users.contains_key(&account.user_id) {
                self.accounts.restore(account);
            }
        }
        for member in snapshot.members.into_iter().take(self.config.limits.channel_members) {
            if self.users.contains_key(&member.member_id) {
                self.channel.restore(member);
            }
        }
    }

    /// The rank of a pin whose owner spoke: the operator's word for a key holds under whatever id it comes,
    /// if the frame was signed with it.
    pub(super) fn rank_of(&self, key: &PublicKey, signed: bool, rank: PinRank) -> PinRank {
        match (signed, self.is_listed_key(key)) {
            (true, true) => PinRank::Bootstrap,
            (true, false) => rank,
            (false, _) => PinRank::Claimed,
        }
    }

    /// Whether the operator lists a key: its holder is an introducer.
    pub(super) fn is_listed_key(&self, key: &PublicKey) -> bool {
        self.config.bootstrap.iter().any(|introducer| introducer.key == *key)
    }

    /// Pins a server's key at a rank, or raises the rank of the same key. A key from which the id derives
    /// gives way to no other, and one that has proven itself to none but the operator's.
    pub(super) fn pin_server(
        &mut self,
        server: &ServerId,
        key: &PublicKey,
        rank: PinRank,
        address: Option<HostPort>,
    ) -> PinOutcome {
        // The id that derives from a key of the operator's list is that key's, met or not.
        let mut listed = self.config.bootstrap.iter().map(|introducer| &introducer.key);
        let owner = listed.find(|listed| server.derives_from(listed)).cloned();
        if let Some(owner) = owner.filter(|_| !server.derives_from(key)) {
            self.report_conflict(ConflictOf::Server(server.clone()), Some(&owner), Some(key), false);
            return PinOutcome::Conflict;
        }
        let Some(peer) = self.peers.get_mut(server) else {
            if !self.has_room_for_server(rank) {
                self.dropped("too many servers", server.to_string());
                return PinOutcome::Full;
            }
            let record = ServerRecord {
                server_id: server.clone(),
                key: key.clone(),
                rank,
                native: false,
                dialect: Dialect::Standard,
                address,
                matched: 0,
            };
            let peer = new_peer(record, self.now.instant, &self.config.limits);
            self.peers.insert(server.clone(), peer);
            self.persist_server(server);
            return PinOutcome::First;
        };
        let before = peer.record.clone();
        // A proof on a link that somebody else dialled is worth as much: who chooses where we dial chooses what is
        // proven there. The operator's word alone takes a proven key's place.
        let proven = before.native;
        let outcome = if peer.record.key == *key {
            peer.record.rank = peer.record.rank.max(rank);
            // A stranger's own claim moves no address that is known.
            if address.is_some() && (rank >= PinRank::Introduced || peer.record.address.is_none()) {
                peer.record.address = address;
            }
            PinOutcome::Same
        } else if !server.derives_from(&peer.record.key)
            && (server.derives_from(key)
                || (rank > peer.record.rank && !(proven && rank < PinRank::Bootstrap)))
        {
            peer.record = ServerRecord { key: key.clone(), rank, address, matched: 0, ..before.clone() };
            peer.matched = 0;
            peer.form = None;
            peer.announced = None;
            PinOutcome::Replaced
        } else {
            PinOutcome::Conflict
        };
        if peer.record != before {
            self.persist_server(server);
        }
        let replaced = outcome == PinOutcome::Replaced;
        match outcome {
            PinOutcome::Replaced | PinOutcome::Conflict => {
                if replaced {
                    self.forget_claims_of(server);
                    for link in self.links.values_mut() {
                        if let LinkState::Server(link) = &mut link.state {
                            link.doubted.remove(server);
                        }
                    }
                }
                let of = ConflictOf::Server(server.clone());
                self.report_conflict(of, Some(&before.key), Some(key), replaced);
            }
            PinOutcome::Same | PinOutcome::First | PinOutcome::Full => {}
        }
        outcome
    }

    pub(super) fn report_conflict(
        &mut self,
        of: ConflictOf,
        pinned: Option<&PublicKey>,
        seen: Option<&PublicKey>,
        replaced: bool,
    ) {
        // A user is not on the list, even if it has a server's key.
        let listed = match &of {
            ConflictOf::User(_) => false,
            ConflictOf::Server(_) | ConflictOf::Address(_) => {
                self.config.bootstrap.iter().any(|introducer| Some(&introducer.key) == pinned)
            }
        };
        let pinned_by = if listed { PinnedBy::BootstrapList } else { PinnedBy::Store };
        let (pinned, seen) = (pinned.map(PublicKey::id), seen.map(PublicKey::id));
        self.report(Report::KeyConflict(KeyConflict { of, pinned, pinned_by, seen, replaced }));
    }

    /// Whether one more server may be known. Strangers, who merely claim an id, never take more than half the
    /// table, so that they keep nobody out.
    fn has_room_for_server(&mut self, rank: PinRank) -> bool {
        let limit = self.config.limits.servers;
        let strangers = self.peers.values().filter(|peer| is_stranger(peer)).count();
        let full = self.peers.len() >= limit || (rank == PinRank::Claimed && strangers >= limit / 2);
        !full || self.make_room_for_server(rank)
    }

    /// Makes room for a server by forgetting one that is not here: strangers first, and for the operator's
    /// own list anybody who is not on it.
    pub(super) fn make_room_for_server(&mut self, rank: PinRank) -> bool {
        let now = self.now.instant;
        let linking: BTreeSet<&ServerId> =
            self.links.values().filter_map(|link| link.server()).map(|link| &link.server).collect();
        let may_go = |peer: &Peer| match rank {
            PinRank::Bootstrap => peer.record.rank < PinRank::Bootstrap,
            PinRank::Claimed | PinRank::Proven => is_stranger(peer),
            // Hearsay displaces nobody.
            PinRank::Introduced => false,
        };
        // Who never proved anything has no grace either.
        let absent = self.peers.iter().filter(|(server, peer)| {
            may_go(peer) && !linking.contains(server) && (is_stranger(peer) || !peer.is_reachable(now))
        });
        let least = absent.min_by_key(|(_, peer)| (peer.record.native, peer.record.rank));
        let Some(least) = least.map(|(server, _)| server.clone()) else { return false };
        self.forget_claims_of(&least);
        self.peers.remove(&least);
        self.out.push(super::Action::Persist(Record::ForgetServer(least)));
        true
    }

    /// Makes room for a user who has proven a key: whoever never did, and is nowhere online, goes first.
    fn make_room_for_user(&mut self) -> bool {
        let stranger = self.users.iter().find(|(id, user)| {
            let absent = user.location.is_none() && user.claimed_by.is_empty();
            !user.proven && absent && !self.accounts.has(id)
        });
        let Some(stranger) = stranger.map(|(user, _)| user.clone()) else { return false };
        self.users.remove(&stranger);
        self.channel.forget(&stranger);
        self.out.push(super::Action::Persist(Record::ForgetUser(stranger)));
        true
    }

    /// From now on this server is believed only with `nonce` and `issued_at`.
    pub(super) fn mark_native(&mut self, server: &ServerId) {
        if let Some(peer) = self.peers.get_mut(server)
            && !peer.record.native
        {
            peer.record.native = true;
            // What it said without `issued_at` is in no digest and no list.
            let unordered = peer.table.claims.iter().filter(|(_, claim)| claim.issued_at.is_none());
            let unordered: Vec<UserId> = unordered.map(|(user, _)| user.clone()).collect();
            self.persist_server(server);
            for user in unordered {
                self.drop_claim(server, &user);
            }
        }
    }

    pub(super) fn is_native(&self, server: &ServerId) -> bool {
        self.peers.get(server).is_some_and(|peer| peer.record.native)
    }

    pub(super) fn persist_server(&mut self, server: &ServerId) {
        if let Some(peer) = self.peers.get(server) {
            self.out.push(super::Action::Persist(Record::Server(peer.record.clone())));
        }
    }

    /// Pins a user's key, to which the proven `rotations` lead: the key from which the id derives, or that key's
    /// rotation, beats any other, else the first stays until it signs for another.
    ///
    /// Half of the room is kept for logins here (`local`): no server's gossip can use it up.
    pub(super) fn pin_user(
        &mut self,
        user: &UserId,
        key: &PublicKey,
        rotations: &[Rotation],
        proven: bool,
        local: bool,
    ) -> PinOutcome {
        let mut outcome = self.judge_user_key(user, key, rotations);
        let room = self.config.limits.pinned_users / if local { 1 } else { 2 };
        if outcome == PinOutcome::First && self.users.len() >= room {
            outcome = PinOutcome::Full;
        }
        if outcome == PinOutcome::Full && proven && self.make_room_for_user() {
            outcome = PinOutcome::First;
        }
        match outcome {
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => {}
            PinOutcome::Conflict | PinOutcome::Full => return outcome,
        }
        let entry = self.users.entry(user.clone()).or_default();
        let learnt = match outcome {
            // Who has just proven the key knows best how it came about, where nothing else tells.
            PinOutcome::Same => {
                let told = local && proven && !rotations.is_empty() && rotations != entry.rotations;
                let tells = told && !user.derives_from(first_key(&entry.rotations, key));
                tells || tells_more(user, key, &entry.rotations, rotations)
            }
            _ => true,
        };
        let changed = learnt || (proven && !entry.proven);
        // A rotation is of the same person: once proven, always proven. Another's key inherits nothing.
        let inherits = outcome == PinOutcome::Same
            || entry.key.as_ref().is_some_and(|pinned| {
                let before = first_key(&entry.rotations, pinned);
                rotations.iter().any(|step| step.old.key().is_ok_and(|old| old == pinned || old == before))
            });
        let was_proven = entry.proven;
        entry.proven = proven || (entry.proven && inherits);
        if learnt {
            entry.rotations = rotations.to_vec();
        }
        entry.key = Some(key.clone());
        // Once proven, always proven: a password, which anybody may have set who came first, opens it no more.
        if outcome == PinOutcome::Replaced || (proven && !was_proven) {
            self.retire_account(user);
        }
        if changed {
            self.persist_user(user);
        }
        outcome
    }

    /// Persists a user that has changed.
    pub(super) fn persist_user(&mut self, user: &UserId) {
        let Some(entry) = self.users.get_mut(user) else { return };
        entry.added = None;
        entry.version += 1;
        let Some(key) = entry.key.clone() else { return };
        let (proven, meta, version) = (entry.proven, entry.meta.clone(), entry.version);
        let (user_id, rotations) = (user.clone(), entry.rotations.clone());
        let record = UserRecord { user_id, key, rotations, proven, meta, version };
        self.out.push(super::Action::Persist(Record::User(record)));
    }

    /// What [`Server::pin_user`] would say, without doing it. `rotations` is a proven chain that ends in `key`,
    /// or empty.
    pub(super) fn judge_user_key(
        &self,
        user: &UserId,
        key: &PublicKey,
        rotations: &[Rotation],
    ) -> PinOutcome {
        let Some(entry) = self.users.get(user) else { return PinOutcome::First };
        let Some(pinned) = entry.key.as_ref() else { return PinOutcome::First };
        if pinned == key {
            return PinOutcome::Same;
        }
        match succession(user, (pinned, &entry.rotations), (key, rotations)) {
            Succession::Signed | Succession::Longer | Succession::Rightful => PinOutcome::Replaced,
            Succession::Superseded | Succession::Stranger => PinOutcome::Conflict,
        }
    }

    /// Whether the pinned key follows from this one, which was given up.
    pub(super) fn is_superseded(&self, user: &UserId, key: &PublicKey) -> bool {
        let steps = self.users.get(user).map_or(&[][..], |entry| &entry.rotations);
        steps.iter().any(|step| step.old.key() == Ok(key))
    }

    /// Whether a chain in gossip would change anything, if it holds: what we know needs no check.
    pub(super) fn is_news(&self, user: &UserId, key: &PublicKey, rotations: &[Rotation]) -> bool {
        let entry = self.users.get(user).filter(|entry| entry.key.as_ref() == Some(key));
        entry.is_none_or(|entry| tells_more(user, key, &entry.rotations, rotations))
    }
}

/// Whether a server merely claims to be one, without proof or anybody's word.
fn is_stranger(peer: &Peer) -> bool {
    peer.record.rank == PinRank::Claimed && !peer.record.native
}

fn new_peer(record: ServerRecord, now: Duration, limits: &super::Limits) -> Peer {
    Peer {
        matched: record.matched,
        listed: false,
        record,
        form: None,
        announced: None,
        links: Vec::new(),
        alive_until: Duration::ZERO,
        via: None,
        table: PresenceTable::default(),
        changes: Budget::new(limits.changes_per_second, f64::from(limits.changes_per_second), now),
        presences: Budget::new(limits.presence_burst, f64::from(limits.presences_per_second), now),
        channel: Budget::new(limits.channel_burst, f64::from(limits.channel_per_second), now),
        channel_version: 0,
    }
}
