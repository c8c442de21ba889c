//! Directories that heal (decisions §5): natives compare digests and ask for what differs; standard
//! servers get our adverts when their link comes up and are given time to send theirs.

use std::time::Duration;

use super::Server;
use super::api::{Action, LinkId, Outgoing};
use super::link::Link;
use super::peer::{Request, StoredPresence, digest_of};
use super::timers::Timer;
use crate::crypto::{SharedPayload, Unsigned, Verified};
use crate::wire::{
    Binary, Payload, Presence, PresenceList, PresenceRequest, Recipient, ServerId, UserId, WireText,
};

/// The longest PRESENCE that is kept and passed on: as many links as there may be servers, with ids as ours are.
const MAX_PRESENCE_BYTES: usize = 16 * 1024;

/// A PRESENCE without `links`: envelope, digest and signature, the origin's id three times.
const PRESENCE_BYTES: usize = 3 * 1024;

/// What an entry of `links` takes beside the id, each character of which may need an escape.
const LINK_BYTES: usize = 3;

impl Server {
    /// What a link that has come up exchanges first.
    pub(super) fn start_sync(&mut self, link: LinkId, server: &ServerId, native: bool, first: bool) {
        if native {
            let presence = self.own_presence();
            self.broadcast(vec![link], presence);
            return self.tell_of_others(link, server);
        }
        // Fresh `ts`, signature reused.
        let adverts: Vec<SharedPayload> =
            self.local.values().map(|session| session.advert.payload().clone()).collect();
        for advert in adverts {
            self.broadcast(vec![link], advert);
        }
        if first {
            if let Some(peer) = self.peers.get_mut(server) {
                peer.table.claims.values_mut().for_each(|claim| claim.confirmed = false);
                peer.listed = false;
            }
            self.timers.set(Timer::Relist(server.clone()), self.now.instant + self.config.timing.relist);
        }
    }

    /// Which other servers there are, and what their users amount to, in their own words: a newcomer need not
    /// wait for the next PRESENCE of those that it has no link to.
    fn tell_of_others(&mut self, link: LinkId, newcomer: &ServerId) {
        let now = self.now.instant;
        let others = self.peers.iter().filter(|(server, _)| *server != newcomer);
        let mut texts = Vec::new();
        for (_, peer) in others {
            let reachable = peer.is_reachable(now);
            let announced = peer.announced.as_ref().filter(|announced| reachable || now < announced.until);
            texts.extend(announced.map(|announced| announced.text.clone()));
            let presence =
                peer.table.presence.as_ref().filter(|_| reachable && peer.table.matches_presence());
            texts.extend(presence.map(|presence| presence.text.clone()));
        }
        for text in texts {
            self.out.push(Action::Send { to: vec![link], frame: Outgoing::Relay(text) });
        }
    }

    /// A standard server has had time to list its users; who was known before and is not listed is gone, if it is one
    /// that lists: the others keep theirs until a removal or a failed delivery.
    pub(super) fn on_relisted(&mut self, server: &ServerId) {
        let Some(peer) = self.peers.get(server) else { return };
        let unconfirmed = peer.table.claims.iter().filter(|(_, claim)| !claim.confirmed);
        let gone: Vec<UserId> = unconfirmed.filter(|_| peer.listed).map(|(user, _)| user.clone()).collect();
        for user in gone {
            self.drop_claim(server, &user);
        }
    }

    pub(super) fn on_presence_due(&mut self) {
        self.timers.set(Timer::Presence, self.now.instant + self.config.timing.presence);
        self.settle_rivals();
        let to = self.native_links(&[]);
        if !to.is_empty() {
            let presence = self.own_presence();
            self.broadcast(to, presence);
        }
    }

    fn own_presence(&mut self) -> SharedPayload {
        let issued_at = self.next_issued_at();
        let digest = digest_of(self.local.iter().map(|(user, session)| (user, session.issued_at)));
        let linked = self.peers.iter().filter(|(_, peer)| peer.record.native && !peer.links.is_empty());
        let mut room = MAX_PRESENCE_BYTES - PRESENCE_BYTES;
        SharedPayload::new(&Payload::Presence(Presence {
            server_id: self.id.clone(),
            issued_at,
            count: self.local.len() as u64,
            digest: Binary::new(digest),
            // Whoever is left out gets it twice.
            links: linked
                .map(|(server, _)| server.clone())
                .take_while(|server| {
                    room = room.saturating_sub(2 * server.as_str().len() + LINK_BYTES);
                    room > 0
                })
                .collect(),
        }))
    }

    /// One proven link to each native server, without those named.
    fn native_links(&self, without: &[&ServerId]) -> Vec<LinkId> {
        self.peers
            .iter()
            .filter(|(server, peer)| peer.record.native && !without.contains(server))
            .filter_map(|(_, peer)| peer.link())
            .collect()
    }

    /// PRESENCE ✚: what an origin's table must amount to. Not newer than the last: ignored.
    pub(super) fn on_presence(&mut self, link_id: LinkId, frame: &Verified, presence: &Presence) {
        let origin = &presence.server_id;
        let Some((sender, direct)) =
            self.links.get(&link_id).and_then(Link::server).and_then(|link| {
                link.up.then(|| (link.server.clone(), link.proven && link.server == *origin))
            })
        else {
            return;
        };
        if frame.frame().from() != Some(origin.id()) || *origin == self.id {
            return;
        }
        let Ok(digest) = <[u8; 32]>::try_from(presence.digest.bytes()) else { return };
        if presence.links.len() > self.config.limits.servers
            || frame.frame().text().len() > MAX_PRESENCE_BYTES
        {
            return self.dropped("presence is too long", origin.to_string());
        }
        let Some(peer) = self.peers.get_mut(origin) else { return };
        let before = peer.table.presence.as_ref().map(|presence| (presence.issued_at, presence.via));
        let is_old = match before {
            Some((last, _)) => presence.issued_at <= last,
            // After a restart the last one that matched is news once more: it is what neighbours have.
            None => presence.issued_at < peer.matched,
        };
        if is_old {
            return;
        }
        // Each is kept, written to disk and passed on. What is left out for its rate, the next one makes good.
        if !peer.presences.take(self.now.instant) {
            return self.dropped("presence over its rate", origin.to_string());
        }
        let text: WireText = frame.frame().text().clone();
        let fresh_link = direct && before.is_none_or(|(_, via)| via != link_id);
        peer.table.presence =
            Some(StoredPresence { issued_at: presence.issued_at, digest, text, via: link_id });
        self.mark_native(origin);
        self.heard_of(origin, link_id);
        self.remember(frame.frame());
        // In a full mesh that leaves nobody: n² frames an interval instead of n³.
        let without: Vec<&ServerId> = presence.links.iter().chain([origin, &sender]).collect();
        let to = self.native_links(&without);
        self.relay(to, frame.frame());
        if self.settle_if_equal(origin) {
            return;
        }
        // A difference may be gossip in flight; not on a link that has just come up, straight from the origin:
        // whatever that link is to bring comes after this, and the origin answers sooner than any neighbour
        // that we may be asking.
        let timer = Timer::Settle(origin.clone());
        let asking = self.asking(origin);
        if fresh_link && asking != Some(link_id) {
            self.request_presence(origin);
        } else if asking.is_none() && !self.timers.is_set(&timer) {
            self.timers.set(timer, self.now.instant + self.config.timing.presence_settle);
        }
    }

    /// The link on which a PRESENCE_REQUEST is under way.
    fn asking(&self, origin: &ServerId) -> Option<LinkId> {
        self.peers.get(origin)?.table.request.as_ref().map(|request| request.link)
    }

    /// Notes that our table equals the origin's; an older advert is stale from now on.
    fn settle_if_equal(&mut self, origin: &ServerId) -> bool {
        let Some(peer) = self.peers.get_mut(origin) else { return false };
        let equal = peer.table.matches_presence();
        let Some(issued_at) =
            peer.table.presence.as_ref().map(|presence| presence.issued_at).filter(|_| equal)
        else {
            return false;
        };
        peer.matched = peer.matched.max(issued_at);
        peer.table.request = None;
        peer.table.removed.retain(|_, removed| *removed > issued_at);
        let revived = peer.table.claims.values().any(|claim| !claim.confirmed);
        peer.table.claims.values_mut().for_each(|claim| claim.confirmed = true);
        if revived {
            self.relocate_users_of(origin);
        }
        self.timers.cancel(&Timer::Settle(origin.clone()));
        self.keep_as_over(origin, issued_at);
        let askers = self.peers.get_mut(origin).map(|peer| std::mem::take(&mut peer.table.askers));
        for asker in askers.into_iter().flatten() {
            self.answer_presence_request(asker, origin);
        }
        true
    }

    /// Nothing that an origin issued until then counts after our next restart, unless its list names it. One write for
    /// each removal and each PRESENCE that matches; adverts cost none.
    pub(super) fn keep_as_over(&mut self, origin: &ServerId, issued_at: u64) {
        if let Some(peer) = self.peers.get_mut(origin).filter(|peer| peer.record.matched < issued_at) {
            peer.record.matched = issued_at;
            self.persist_server(origin);
        }
    }

    /// Gossip has had its time: who still differs, and has seen nothing newer, asks.
    pub(super) fn on_settled(&mut self, origin: &ServerId) {
        let Some(peer) = self.peers.get_mut(origin) else { return };
        // A request that came to nothing is over; the next PRESENCE starts again.
        let asked = peer.table.request.take().is_some();
        let announced = peer.table.presence.as_ref().map_or(0, |presence| presence.issued_at);
        if !asked && peer.table.newest <= announced && !self.settle_if_equal(origin) {
            let ask_at = self.peers.get(origin).map_or(Duration::ZERO, |peer| peer.table.ask_at);
            // A difference that lasts costs one answer an interval.
            match ask_at <= self.now.instant {
                true => self.request_presence(origin),
                false => self.timers.set(Timer::Settle(origin.clone()), ask_at),
            }
        }
    }

    /// PRESENCE_REQUEST ✚ to the neighbour that brought the PRESENCE.
    fn request_presence(&mut self, origin: &ServerId) {
        let again_at = self.now.instant + self.config.timing.presence;
        let Some(peer) = self.peers.get_mut(origin) else { return };
        let Some(link) = peer.table.presence.as_ref().map(|presence| presence.via) else { return };
        let Some(neighbour) = self.links.get(&link).and_then(Link::server).map(|link| link.server.clone())
        else {
            return;
        };
        peer.table.request = Some(Request { link, waiting: Vec::new(), list: Vec::new(), next_page: 1 });
        peer.table.ask_at = again_at;
        let request = PresenceRequest { server_id: origin.clone() };
        self.send(link, Recipient::from(&neighbour), &Payload::PresenceRequest(request));
        // Should the answer never come, the request is forgotten.
        self.timers.set(Timer::Settle(origin.clone()), again_at);
    }

    pub(super) fn on_presence_request(&mut self, link_id: LinkId, origin: &ServerId) {
        self.charge_request(link_id);
        self.answer_presence_request(link_id, origin);
    }

    /// The origin answers in one batch: a fresh PRESENCE, the adverts, the list. A neighbour answers only
    /// while its table gives the digest of the PRESENCE that it has: as a rule it is asking somebody itself,
    /// and answers then.
    fn answer_presence_request(&mut self, link_id: LinkId, origin: &ServerId) {
        let link = self.links.get(&link_id).and_then(Link::server).filter(|link| link.up);
        let Some(asker) = link.map(|link| link.server.clone()) else { return };
        if *origin == self.id {
            let presence = self.own_presence();
            let issued_at = self.issued_at;
            self.broadcast(vec![link_id], presence);
            let adverts: Vec<Unsigned> = self.local.values().map(|session| session.advert.clone()).collect();
            for advert in adverts {
                self.send_to(vec![link_id], advert);
            }
            let users = self.local.iter().map(|(user, session)| (user.clone(), session.issued_at)).collect();
            return self.send_presence_list(link_id, &asker, origin, issued_at, users);
        }
        let Some(peer) = self.peers.get_mut(origin) else { return };
        if !peer.table.matches_presence() {
            peer.table.askers.insert(link_id);
            return;
        }
        let Some(presence) = &peer.table.presence else { return };
        let issued_at = presence.issued_at;
        let adverts = peer.table.claims.iter().filter_map(|(user, claim)| claim.advert(user, origin));
        // Whoever brought the PRESENCE has it.
        let presence = (presence.via != link_id).then(|| presence.text.clone());
        let texts: Vec<WireText> = presence.into_iter().chain(adverts).collect();
        let users =
            peer.table.claims.iter().filter_map(|(user, claim)| Some((user.clone(), claim.issued_at?)));
        let users = users.collect();
        for text in texts {
            self.out.push(Action::Send { to: vec![link_id], frame: Outgoing::Relay(text) });
        }
        self.send_presence_list(link_id, &asker, origin, issued_at, users);
    }

    fn send_presence_list(
        &mut self,
        link: LinkId,
        asker: &ServerId,
        origin: &ServerId,
        issued_at: u64,
        users: Vec<(UserId, u64)>,
    ) {
        let size = |(user, _): &(UserId, u64)| 32 + 6 * user.as_str().len();
        let pages = super::directory::pages(users, self.config.limits.frame_out_bytes, size);
        let count = pages.len() as u32;
        for (index, users) in pages.into_iter().enumerate() {
            let page = index as u32 + 1;
            let list = PresenceList { server_id: origin.clone(), issued_at, users, page, pages: count };
            self.send(link, Recipient::from(asker), &Payload::PresenceList(list));
        }
    }

    /// PRESENCE_LIST ✚: believed if it gives the digest of the PRESENCE it names. Then who waited for it
    /// is taken in, and who is missing from it and not newer is gone.
    pub(super) fn on_presence_list(&mut self, link_id: LinkId, list: &PresenceList) {
        let origin = &list.server_id;
        let max = self.config.limits.users_per_origin;
        let Some(table) = self.peers.get_mut(origin).map(|peer| &mut peer.table) else { return };
        // A newer PRESENCE may have come in between; the digest says whether the list still is the truth.
        let Some(presence) = &table.presence else { return };
        let (digest, issued_at) = (presence.digest, presence.issued_at);
        let Some(request) = table.request.as_mut().filter(|request| request.link == link_id) else { return };
        if list.page != request.next_page || request.list.len() + list.users.len() > max {
            table.request = None;
            return;
        }
        request.next_page += 1;
        request.list.extend(list.users.iter().cloned());
        if list.page < list.pages {
            // It is coming: a long list over a slow link has its time.
            return self
                .timers
                .set(Timer::Settle(origin.clone()), self.now.instant + self.config.timing.presence);
        }
        let Some(request) = table.request.take() else { return };
        let mut listed = request.list;
        listed.sort_unstable();
        if digest_of(listed.iter().map(|(user, issued_at)| (user, *issued_at))) != digest {
            return self.dropped("presence list does not give the digest", origin.to_string());
        }
        let is_listed = |user: &UserId, at: u64| {
            listed.binary_search_by(|(id, issued)| (id, *issued).cmp(&(user, at))).is_ok()
        };
        let gone: Vec<UserId> = table
            .claims
            .iter()
            .filter(|(user, claim)| claim.issued_at.is_some_and(|at| at <= issued_at && !is_listed(user, at)))
            .map(|(user, _)| user.clone())
            .collect();
        for user in gone {
            self.drop_claim(origin, &user);
        }
        for frame in request.waiting {
            let named = match frame.frame().payload() {
                Payload::UserAdvertise(advert) => {
                    advert.issued_at.is_some_and(|issued_at| is_listed(&advert.user_id, issued_at))
                }
                _ => false,
            };
            if named {
                self.on_listed_advert(link_id, &frame);
            }
        }
        self.settle_if_equal(origin);
    }
}
