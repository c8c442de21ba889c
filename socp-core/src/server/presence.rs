//! Who is online where (§8.2, decisions §5): adverts and removals of other servers, the claims that
//! follow from them, and what local clients are told.

use std::cmp::Reverse;

use super::advert_text::{AdvertText, Beside};
use super::api::{Action, ConflictOf, LinkId, Report};
use super::link::Link;
use super::peer::Claim;
use super::pins::PinOutcome;
use super::timers::Timer;
use super::{Location, Server};
use crate::close_code;
use crate::crypto::{ContentCover, MAX_ROTATIONS, Purpose, SharedPayload, Verified, proven_rotations};
use crate::dialect::Dialect;
use crate::wire::{
    DirectoryEntry, ErrorCode, Frame, KeyField, Meta, Payload, PublicKey, Rotation, ServerId, ServerWelcome,
    Timestamp, UserAdvertise, UserId, UserKeyConflict, UserRemove, UserRemoved,
};

/// The longest advert that is kept, without rotations: key, attestation, signature, `meta` of 4 KiB.
const MAX_ADVERT_BYTES: usize = 8 * 1024;

/// What each step of a chain adds to that, if the chain holds.
const ROTATION_BYTES: usize = 2_560;

/// How news from an origin compares with what is known (decisions §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// Newer than anything known.
    Newer,
    /// The same once more.
    Repeat,
    /// Older than the last match: counts only if the origin's list names it.
    NeedsList,
    /// Older than what is known.
    Stale,
}

impl Server {
    /// USER_ADVERTISE: verify (done) → store the key → claim → tell all local clients → relay to all
    /// servers but the sender and the origin. What changes nothing is neither told nor relayed.
    pub(super) fn on_user_advertise(&mut self, link_id: LinkId, frame: Verified, advert: &UserAdvertise) {
        let origin = advert.server_id.clone();
        if !self.is_gossip_of(link_id, frame.frame(), &origin, advert.issued_at) {
            return;
        }
        if advert.event.is_some() || (advert.meta.is_none() && advert.issued_at.is_some()) {
            return self.dropped("not an advert", advert.user_id.to_string());
        }
        if frame.frame().text().len() > MAX_ADVERT_BYTES + MAX_ROTATIONS * ROTATION_BYTES {
            return self.dropped("advert is too long", advert.user_id.to_string());
        }
        if origin == self.id {
            return self.on_own_advert(link_id, &advert.user_id, advert.issued_at);
        }
        let claim = self.claim_of(&frame, advert);
        match self.freshness(&origin, &advert.user_id, &claim) {
            Freshness::Newer => self.accept_advert(link_id, &frame, advert, claim),
            Freshness::Repeat => self.confirm(&origin, &advert.user_id),
            Freshness::NeedsList => self.hold_for_list(&origin, frame),
            Freshness::Stale => self.dropped("stale advert", format!("{origin}: {}", advert.user_id)),
        }
    }

    /// An advert that waited for its origin's list, now that the list names it.
    pub(super) fn on_listed_advert(&mut self, link_id: LinkId, frame: &Verified) {
        let Payload::UserAdvertise(advert) = frame.frame().payload() else { return };
        let claim = self.claim_of(frame, advert);
        self.accept_advert(link_id, frame, advert, claim);
    }

    fn accept_advert(&mut self, link_id: LinkId, frame: &Verified, advert: &UserAdvertise, claim: Claim) {
        // An advert is one change, and each step of a chain that had to be verified another.
        let steps = claim.key.as_ref().filter(|key| self.is_news(&advert.user_id, key, &advert.rotations));
        let changes = 1 + steps.map_or(0, |_| advert.rotations.len().min(MAX_ROTATIONS));
        let rotations = claim
            .key
            .as_ref()
            .map_or(&[][..], |key| proven_rotations(frame, &advert.user_id, &advert.rotations, key));
        // A chain that does not hold is no reason to keep its length.
        let known = self.users.get(&advert.user_id).map_or(0, |user| user.rotations.len());
        let kept = known.max(rotations.len());
        if frame.frame().text().len() > MAX_ADVERT_BYTES + kept * ROTATION_BYTES {
            return self.dropped("advert is too long", advert.user_id.to_string());
        }
        if !(0..changes).all(|_| self.is_within_rate(link_id, &advert.server_id)) {
            return self.dropped("gossip over its rate", format!("{}: {}", advert.server_id, advert.user_id));
        }
        if self.take_claim(link_id, &advert.server_id, &advert.user_id, claim, rotations) {
            self.remember_of(&advert.server_id, frame.frame());
            self.pass_on(link_id, &advert.server_id, frame.frame());
        }
    }

    fn claim_of(&self, frame: &Verified, advert: &UserAdvertise) -> Claim {
        let key = advert.key_field().and_then(|field| field.key().ok().cloned());
        // Most claims are under the pinned key: one of both is enough.
        let pinned = self.users.get(&advert.user_id).and_then(|user| user.key.clone());
        let key = pinned.filter(|pinned| key.as_ref() == Some(pinned)).or(key);
        let accepted = self.is_acceptable(advert);
        let beside = Beside { user: &advert.user_id, server: &advert.server_id, key: key.as_ref() };
        Claim {
            issued_at: advert.issued_at,
            ts: frame.frame().ts().unwrap_or_default().0,
            attested: self.attested(frame, advert),
            text: Some(AdvertText::pack(frame.frame().text(), beside)),
            key,
            // What is refused has its text, to be passed on, and nothing besides.
            meta: advert.meta.clone().filter(|_| accepted).unwrap_or_default(),
            accepted,
            payload_hash: super::seen::payload_hash(frame.frame()),
            confirmed: true,
        }
    }

    /// What we would refuse from our own users counts in its origin's digest, and nowhere else.
    fn is_acceptable(&self, advert: &UserAdvertise) -> bool {
        let short =
            advert.meta.as_ref().is_none_or(|meta| meta.as_str().len() <= self.config.limits.meta_bytes);
        short && (!self.config.strict_ids || advert.user_id.id().is_uuid_v4())
    }

    /// USER_REMOVE: only if the claim still is that server's, which keeping one table per origin ensures.
    pub(super) fn on_user_remove(&mut self, link_id: LinkId, frame: &Verified, removal: &UserRemove) {
        let (origin, user) = (&removal.server_id, &removal.user_id);
        if !self.is_gossip_of(link_id, frame.frame(), origin, removal.issued_at) {
            return;
        }
        if removal.event.is_some() || removal.meta.is_some() {
            return self.dropped("not a removal", user.to_string());
        }
        let Some(peer) = self.peers.get(origin) else { return };
        let table = &peer.table;
        if let Some(issued_at) = removal.issued_at {
            let known = table.claims.get(user).and_then(|claim| claim.issued_at);
            let newest = known.max(table.removed.get(user).copied()).unwrap_or_default();
            if issued_at <= newest.max(if known.is_some() { 0 } else { peer.matched }) {
                return self.dropped("stale removal", format!("{origin}: {user}"));
            }
        } else if !table.claims.contains_key(user) {
            return;
        }
        // What is stale is anybody's replay, and no charge on its origin.
        if !self.is_within_rate(link_id, origin) {
            return self.dropped("gossip over its rate", format!("{origin}: {user}"));
        }
        let Some(table) = self.peers.get_mut(origin).map(|peer| &mut peer.table) else { return };
        if let Some(issued_at) = removal.issued_at {
            if table.removed.len() < self.config.limits.users_per_origin {
                table.removed.insert(user.clone(), issued_at);
            }
            table.newest = table.newest.max(issued_at);
            self.keep_as_over(origin, issued_at);
        }
        self.heard_of(origin, link_id);
        let frame = frame.frame();
        self.remember_of(origin, frame);
        let was_there = self.is_located_at(user, origin);
        self.drop_claim(origin, user);
        if was_there {
            let bare = self.bare_user_links();
            self.relay(bare, frame);
        }
        self.pass_on(link_id, origin, frame);
    }

    /// Charges an origin for a change. Over its rate, its own link is read more slowly, and so is one that answers
    /// our request; but a neighbour does not pay for what it merely carries: that is dropped, and the
    /// next PRESENCE tells what is missing.
    fn is_within_rate(&mut self, link_id: LinkId, origin: &ServerId) -> bool {
        let direct =
            self.links.get(&link_id).and_then(Link::server).is_some_and(|link| link.server == *origin);
        let Some(peer) = self.peers.get_mut(origin) else { return false };
        let asked = peer.table.request.as_ref().is_some_and(|request| request.link == link_id);
        if !direct && !asked {
            return peer.changes.take(self.now.instant);
        }
        if let Some(until) = peer.changes.overdraw(self.now.instant) {
            self.out.push(Action::Pause { link: link_id, until });
        }
        true
    }

    /// The server that an advert or removal speaks for: the one it names, if that is its own name.
    pub(super) fn origin(&mut self, link: LinkId, frame: &Frame, named: &ServerId) -> Option<ServerId> {
        if frame.from() != Some(named.id()) {
            self.dropped("gossip not believed", format!("{named}: {}", frame.kind()));
            return None;
        }
        self.speaker_on(link, frame)
    }

    /// Whether a frame speaks for the server it names, and on a link where that may be believed.
    fn is_gossip_of(
        &mut self,
        link_id: LinkId,
        frame: &Frame,
        origin: &ServerId,
        issued_at: Option<u64>,
    ) -> bool {
        let by_origin = self.speaker_on(link_id, frame).as_ref() == Some(origin);
        let link = self.links.get(&link_id).and_then(Link::server);
        let up = link.is_some_and(|link| link.up);
        let direct = link.is_some_and(|link| link.server == *origin);
        // Without `issued_at` nothing orders it: only on its origin's own link, and never from natives.
        let ordered = issued_at.is_some() || (direct && !self.is_native(origin));
        if by_origin && up && issued_at.is_some() && *origin != self.id {
            self.mark_native(origin);
        }
        if !(by_origin && up && ordered) {
            self.dropped("gossip not believed", format!("{origin}: {}", frame.kind()));
        }
        by_origin && up && ordered
    }

    /// A claim in our own name that we do not hold: a newer removal settles it everywhere.
    fn on_own_advert(&mut self, link_id: LinkId, user: &UserId, issued_at: Option<u64>) {
        let Some(issued_at) = issued_at.filter(|_| !self.local.contains_key(user)) else { return };
        // A removal is signed and goes to everybody: once in a while is enough, however often it is replayed.
        let answered = super::seen::user_key(user);
        if self.settled.insert(answered, self.now.instant) {
            self.charge_request(link_id);
            self.issued_at = self.issued_at.max(issued_at);
            self.advertise_removal(user);
        }
    }

    fn attested(&self, frame: &Verified, advert: &UserAdvertise) -> Option<u64> {
        let key = advert.key_field()?;
        let attestation = advert.attestation.as_ref()?;
        let holds = frame.proven_by(Purpose::Attestation, key.key().ok()?);
        holds.then_some(attestation.payload.issued_at)
    }

    /// Whether a login proof of that time still counts (decisions §4).
    pub(super) fn is_current(&self, issued_at: u64) -> bool {
        let timing = &self.config.timing;
        let age = timing.attestation.as_millis() as u64;
        let ahead = timing.attestation_ahead.as_millis() as u64;
        let now = self.now.unix_ms;
        issued_at <= now.saturating_add(ahead) && issued_at.saturating_add(age) >= now
    }

    fn freshness(&self, origin: &ServerId, user: &UserId, news: &Claim) -> Freshness {
        let Some(peer) = self.peers.get(origin) else { return Freshness::Stale };
        let known = peer.table.claims.get(user);
        let Some(issued_at) = news.issued_at else {
            return match known {
                Some(known) if known.payload_hash == news.payload_hash => Freshness::Repeat,
                Some(known) if known.ts > news.ts => Freshness::Stale,
                Some(_) | None => Freshness::Newer,
            };
        };
        if let Some(known) = known {
            let known_at = known.issued_at.unwrap_or_default();
            return match issued_at.cmp(&known_at) {
                std::cmp::Ordering::Greater => Freshness::Newer,
                std::cmp::Ordering::Equal if known.payload_hash == news.payload_hash => Freshness::Repeat,
                std::cmp::Ordering::Equal | std::cmp::Ordering::Less => Freshness::Stale,
            };
        }
        if peer.table.removed.get(user).is_some_and(|removed| *removed >= issued_at) {
            Freshness::Stale
        } else if issued_at > peer.matched {
            Freshness::Newer
        } else if peer.table.request.is_some() {
            Freshness::NeedsList
        } else {
            Freshness::Stale
        }
    }

    /// Stores a claim, pins its key, to which the proven `rotations` lead, and tells whoever must know. False if
    /// there is no room.
    pub(super) fn take_claim(
        &mut self,
        link_id: LinkId,
        origin: &ServerId,
        user: &UserId,
        claim: Claim,
        rotations: &[Rotation],
    ) -> bool {
        let Some(peer) = self.peers.get_mut(origin) else { return false };
        let is_new = !peer.table.claims.contains_key(user);
        let without_key = claim.key.is_none();
        if is_new && peer.table.claims.len() >= self.config.limits.users_per_origin {
            self.dropped("too many users of one server", format!("{origin}: {user}"));
            return false;
        }
        let outcome = claim.key.clone().filter(|_| claim.accepted).map(|key| {
            let proven = claim.attested.is_some_and(|at| self.is_current(at));
            self.pin_user(user, &key, rotations, proven, false)
        });
        if outcome == Some(PinOutcome::Conflict) {
            self.tell_conflict(user, claim.key.as_ref(), origin);
        }
        let issued_at = claim.issued_at.unwrap_or_default();
        if let Some(peer) = self.peers.get_mut(origin) {
            peer.table.newest = peer.table.newest.max(issued_at);
            peer.table.removed.remove(user);
            peer.table.claims.insert(user.clone(), claim);
        }
        if let Some(entry) = self.users.get_mut(user) {
            entry.add_claim_by(origin);
        }
        self.heard_of(origin, link_id);
        if without_key {
            self.ask_for_key(link_id, origin, user);
        }
        if outcome == Some(PinOutcome::Replaced) {
            self.end_session_of_old_key(user);
        }
        let moved = self.relocate(user);
        self.join_channel_from(origin, user);
        if !moved && outcome == Some(PinOutcome::Replaced) {
            // The old key's claims are void, and clients must learn the new one.
            self.tell_added(user);
        }
        let bare = if moved { self.bare_user_links() } else { Vec::new() };
        let claim = self.peers.get(origin).and_then(|peer| peer.table.claims.get(user));
        if let Some(text) = claim.filter(|_| !bare.is_empty()).and_then(|claim| claim.advert(user, origin)) {
            self.out.push(Action::Send { to: bare, frame: super::Outgoing::Relay(text) });
        }
        true
    }

    /// A standard server lists a user once more. A native's repeats confirm nothing: its digest does.
    fn confirm(&mut self, origin: &ServerId, user: &UserId) {
        let standard = self.peers.get_mut(origin).filter(|peer| !peer.record.native);
        if let Some(claim) = standard.and_then(|peer| peer.table.claims.get_mut(user)) {
            claim.confirmed = true;
        }
    }

    fn hold_for_list(&mut self, origin: &ServerId, frame: Verified) {
        let max = self.config.limits.users_per_origin;
        if let Some(request) = self.peers.get_mut(origin).and_then(|peer| peer.table.request.as_mut())
            && request.waiting.len() < max
        {
            request.waiting.push(frame);
        }
    }

    /// WELCOME.clients count as adverts of the welcoming server, if it is not native (decisions §5).
    pub(super) fn take_welcomed_clients(
        &mut self,
        link_id: LinkId,
        server: &ServerId,
        ts: Option<Timestamp>,
        welcome: &ServerWelcome,
    ) {
        // Others than the seed's may leave the list empty whoever is there.
        let lists = self.dialect(link_id) == Dialect::Seed
            || welcome.clients.iter().any(|entry| entry.user_id.is_some() && entry.server_id.is_none());
        if let Some(peer) = self.peers.get_mut(server) {
            peer.listed |= lists;
        }
        for entry in welcome.clients.iter().filter(|entry| entry.server_id.is_none()) {
            let Some(user) = &entry.user_id else { continue };
            let key = entry.pubkey.as_ref().and_then(|field| field.key().ok().cloned());
            let claim = Claim {
                issued_at: None,
                ts: ts.unwrap_or_default().0,
                attested: None,
                key,
                meta: Meta::empty(),
                accepted: true,
                text: None,
                payload_hash: [0; 32],
                confirmed: true,
            };
            let known = self.peers.get(server).is_some_and(|peer| peer.table.claims.contains_key(user));
            match known {
                true => self.confirm(server, user),
                false => {
                    self.take_claim(link_id, server, user, claim, &[]);
                }
            }
        }
    }

    /// News of an origin: without a link to it, this is its sign of life.
    pub(super) fn heard_of(&mut self, origin: &ServerId, link_id: LinkId) {
        let until = self.now.instant + self.config.timing.presence_lost;
        let Some(peer) = self.peers.get_mut(origin) else { return };
        peer.via = Some(link_id);
        if peer.links.is_empty() {
            let was_reachable = peer.is_reachable(self.now.instant);
            peer.alive_until = peer.alive_until.max(until);
            self.timers.set(Timer::Unreachable(origin.clone()), peer.alive_until);
            if !was_reachable {
                self.relocate_users_of(origin);
            }
        }
    }

    /// Relays gossip with its own text to every server but the sender and the origin.
    pub(super) fn pass_on(&mut self, link_id: LinkId, origin: &ServerId, frame: &Frame) {
        if frame.from() != Some(origin.id()) {
            // Under a name that nobody knows, nobody else would believe it.
            return;
        }
        let sender = self.links.get(&link_id).and_then(Link::server).map(|link| link.server.clone());
        let without: Vec<&ServerId> = sender.iter().chain([origin]).collect();
        let to = self.gossip_links(&without, Some(link_id));
        self.relay(to, frame);
    }

    /// Which of its claims for a user a server's current one is.
    pub(super) fn claim_order(&self, server: &ServerId, user: &UserId) -> u64 {
        let claim = self.peers.get(server).and_then(|peer| peer.table.claims.get(user));
        claim.map_or(0, super::peer::Claim::order)
    }

    pub(super) fn drop_claim(&mut self, origin: &ServerId, user: &UserId) {
        let Some(peer) = self.peers.get_mut(origin) else { return };
        if peer.table.claims.remove(user).is_some() {
            if let Some(entry) = self.users.get_mut(user) {
                entry.claimed_by.retain(|server| server != origin);
            }
            self.relocate(user);
        }
    }

    /// Whether `user` is at `server`, as far as we know.
    pub(super) fn is_located_at(&self, user: &UserId, server: &ServerId) -> bool {
        let location = self.users.get(user).and_then(|entry| entry.location.as_ref());
        matches!(location, Some(Location::At(at)) if at == server)
    }

    pub(super) fn forget_claims_of(&mut self, server: &ServerId) {
        let Some(peer) = self.peers.get_mut(server) else { return };
        let users: Vec<UserId> = std::mem::take(&mut peer.table).claims.into_keys().collect();
        for user in users {
            if let Some(entry) = self.users.get_mut(&user) {
                entry.claimed_by.retain(|other| other != server);
            }
            self.relocate(&user);
        }
    }

    pub(super) fn relocate_users_of(&mut self, server: &ServerId) {
        let users: Vec<UserId> = self
            .peers
            .get(server)
            .map(|peer| peer.table.claims.keys().cloned().collect())
            .unwrap_or_default();
        for user in users {
            self.relocate(&user);
        }
    }

    /// Who is claimed by more than one server is looked at again: attestations expire, and a wall clock that was
    /// wrong when a claim came may have been set right.
    pub(super) fn settle_rivals(&mut self) {
        let rivals = self
            .users
            .iter()
            .filter(|(user, entry)| entry.claimed_by.len() + usize::from(self.local.contains_key(*user)) > 1);
        let rivals: Vec<UserId> = rivals.map(|(user, _)| user.clone()).collect();
        for user in rivals {
            self.relocate(&user);
        }
    }

    /// A user's location and `meta` are those of the best live claim (decisions §5). True if the user is
    /// somewhere else than before.
    pub(super) fn relocate(&mut self, user: &UserId) -> bool {
        let Some(entry) = self.users.get(user) else { return false };
        let best = self.best_claim(user);
        let (before, meta_before) = (entry.location.clone(), entry.meta.clone());
        let (location, meta) = best.map_or((None, meta_before.clone()), |(at, meta)| (Some(at), meta));
        let (moved, renamed) = (location != before, meta != meta_before);
        if let Some(entry) = self.users.get_mut(user).filter(|_| moved || renamed) {
            entry.location = location.clone();
            entry.meta = meta;
            entry.added = None;
        }
        if renamed {
            self.persist_user(user);
        }
        if matches!(location, Some(Location::At(_))) {
            // A better attested claim elsewhere ends our session, if there is one.
            self.end_moved_session(user);
        }
        if (moved || renamed) && location.is_some() {
            self.tell_added(user);
        }
        match location {
            _ if !moved => {}
            Some(Location::At(server)) => self.report(Report::UserOnline { user: user.clone(), server }),
            Some(Location::Local) => {
                let server = self.id.clone();
                self.report(Report::UserOnline { user: user.clone(), server });
            }
            None => {
                let payload = UserRemoved { user_id: user.clone(), event: Some("removed".into()) };
                let to = self.user_links();
                self.broadcast(to, SharedPayload::new(&Payload::UserRemoved(payload)));
                self.report(Report::UserOffline { user: user.clone() });
            }
        }
        moved
    }

    /// The best of other servers' live claims: when its attestation was issued, and all else that counts.
    fn best_remote_claim(&self, user: &UserId) -> Option<(Option<u64>, &ServerId, &Claim)> {
        let entry = self.users.get(user)?;
        let live = entry.claimed_by.iter().filter_map(|server| {
            let peer = self.peers.get(server).filter(|peer| peer.is_reachable(self.now.instant))?;
            // A claim under another key than the pinned one is void, whenever the pin moved.
            let agrees = |claim: &&Claim| {
                let current = claim.confirmed || !peer.record.native;
                claim.accepted && current && (claim.key.is_none() || claim.key == entry.key)
            };
            let claim = peer.table.claims.get(user).filter(agrees)?;
            Some((claim.attested.filter(|issued_at| self.is_current(*issued_at)), server, claim))
        });
        live.max_by_key(|(attested, server, claim)| (*attested, claim.order(), Reverse(*server)))
    }

    /// When the best remote claim was attested, if it was by this key.
    pub(super) fn remotely_attested(&self, user: &UserId, key: &PublicKey) -> Option<u64> {
        self.best_remote_claim(user).filter(|(.., claim)| claim.key.as_ref() == Some(key))?.0
    }

    fn best_claim(&self, user: &UserId) -> Option<(Location, Meta)> {
        let local = self.local.get(user);
        let remote = self.best_remote_claim(user);
        let ours = local.and_then(|session| session.attested).filter(|at| self.is_current(*at));
        // An unattested claim never beats our own session; a better attested one does.
        match (local, remote) {
            (Some(session), Some((attested, ..))) if attested.is_none() || attested <= ours => {
                Some((Location::Local, session.meta.clone()))
            }
            (_, Some((_, server, claim))) => Some((Location::At(server.clone()), claim.meta.clone())),
            (Some(session), None) => Some((Location::Local, session.meta.clone())),
            (None, None) => None,
        }
    }

    /// USER_ADDED to every local client but the user: one signature, one encoding.
    pub(super) fn tell_added(&mut self, user: &UserId) {
        let Some(payload) = self.user_added(user) else { return };
        let to =
            self.local.iter().filter(|(other, _)| *other != user).map(|(_, session)| session.link).collect();
        self.broadcast(to, payload);
    }

    /// USER_ADDED about a user.
    pub(super) fn user_added(&self, user: &UserId) -> Option<SharedPayload> {
        let entry = self.users.get(user)?;
        if let Some(payload) = &entry.added {
            return Some(payload.clone());
        }
        let told = self.directory_entry(user, entry.key.as_ref()?, entry.location.as_ref()?, &entry.meta);
        Some(SharedPayload::new(&Payload::UserAdded(DirectoryEntry { event: Some("added".into()), ..told })))
    }

    pub(super) fn directory_entry(
        &self,
        user: &UserId,
        key: &PublicKey,
        location: &Location,
        meta: &Meta,
    ) -> DirectoryEntry {
        let (server_id, online_local) = match location {
            Location::Local => (self.id.clone(), true),
            Location::At(server) => (server.clone(), false),
        };
        let content_form = self.content_form(location);
        DirectoryEntry {
            content_form,
            user_id: user.clone(),
            pubkey: Some(key.clone().into()),
            server_id: Some(server_id),
            online_local: Some(online_local),
            meta: Some(meta.clone()),
            rotations: self.users.get(user).map(|entry| entry.rotations.clone()).unwrap_or_default(),
            event: None,
        }
    }

    /// What clients of a user's server want signed, where that is not the standard's form.
    fn content_form(&self, location: &Location) -> Option<Box<str>> {
        let Location::At(server) = location else { return None };
        let peer = self.peers.get(server)?;
        let dialect = peer.link().map_or(peer.record.dialect, |link| self.dialect(link));
        let cover = dialect.profile().content?;
        (cover != ContentCover::default()).then(|| cover.as_str().into())
    }

    /// Clients that know the user are told of a key that was refused (decisions §4).
    pub(super) fn tell_conflict(&mut self, user: &UserId, key: Option<&PublicKey>, server: &ServerId) {
        if key.is_some_and(|key| self.is_superseded(user, key)) {
            // It was its owner's, and may still be on another device: nobody else claims the id.
            return;
        }
        let pinned = self.users.get(user).and_then(|entry| entry.key.clone());
        self.report_conflict(ConflictOf::User(user.clone()), pinned.as_ref(), key, false);
        // A stranger who shows wrong keys is not worth a signature and a broadcast each time.
        let Some(key) = key.filter(|_| self.conflicts.take(self.now.instant)) else { return };
        let payload = UserKeyConflict {
            user_id: user.clone(),
            pubkey: KeyField::from(key.clone()),
            server_id: server.clone(),
        };
        let to = self.user_links();
        self.broadcast(to, SharedPayload::new(&Payload::UserKeyConflict(payload)));
    }

    /// A session under a key that is no longer the user's cannot go on: nobody would believe what it signs.
    fn end_session_of_old_key(&mut self, user: &UserId) {
        let pinned = self.users.get(user).and_then(|entry| entry.key.as_ref());
        let Some(session) = self.local.get(user).filter(|session| Some(&session.key) != pinned) else {
            return;
        };
        let link = session.link;
        self.error(link, ErrorCode::BadKey, "another key is in use for this id", None);
        self.close(link, close_code::POLICY, "another key is in use for this id");
    }

    fn end_moved_session(&mut self, user: &UserId) {
        let Some(link) = self.local.get(user).map(|session| session.link) else { return };
        self.error(link, ErrorCode::NameInUse, "moved", None);
        self.close(link, close_code::POLICY, "moved to another server");
    }
}
