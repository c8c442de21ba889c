//! Server links that come up and go down (decisions §5): two links of one pair, farewells, grace.

use std::time::Duration;

use super::Server;
use super::api::{LinkId, LinkOrigin, Report};
use super::link::{Link, LinkState};
use super::timers::Timer;
use crate::close_code;
use crate::wire::ServerId;

impl Server {
    /// A link counts from now on. Two links of one native pair: the new one stays, or, if both were
    /// opened at the same time, the one that the lower id dialled (decisions §5).
    pub(super) fn link_up(&mut self, link_id: LinkId) {
        let Some(link) = self.links.get(&link_id) else { return };
        let Some(server_link) = link.server() else { return };
        let (server, proven, dialled) = (server_link.server.clone(), server_link.proven, link.is_dialled());
        let (opened, dialled_address) = (link.opened, server_link.address.clone());
        let answered = server_link.answered;
        let rival = self.peers.get(&server).and_then(|peer| peer.link()).filter(|_| proven);
        let rival = rival
            .and_then(|rival| self.links.get(&rival))
            .filter(|rival| rival.server().is_some_and(|rival| rival.proven));
        let loser = rival.map(|rival| {
            let together = opened.abs_diff(rival.opened) < self.config.timing.tie_break;
            let ours_stays = self.id < server;
            let new_wins = !together || dialled == rival.is_dialled() || dialled == ours_stays;
            if new_wins { rival.id } else { link_id }
        });
        if loser == Some(link_id) {
            return self.close(link_id, close_code::NORMAL, "duplicate link");
        }
        let is_proven =
            |link: &LinkId| self.links.get(link).and_then(Link::server).is_some_and(|server| server.proven);
        let others = self.peers.get(&server).map(|peer| peer.links.as_slice()).unwrap_or_default();
        // The last link carries the traffic: a proven one, else one that we dialled.
        let at = match (proven, dialled) {
            (true, _) => others.len(),
            (false, true) => others.iter().position(is_proven).unwrap_or(others.len()),
            (false, false) => 0,
        };
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let first = peer.links.is_empty();
        peer.links.insert(at, link_id);
        let (key, address) = (peer.record.key.clone(), peer.record.address.clone());
        let joined = key.clone();
        if let Some(Link { state: LinkState::Server(link), .. }) = self.links.get_mut(&link_id) {
            link.up = true;
        }
        if let Some(loser) = loser {
            self.close(loser, close_code::NORMAL, "duplicate link");
        }
        self.timers.cancel(&Timer::Unreachable(server.clone()));
        let dialect = self.dialect(link_id);
        self.report(Report::ServerUp { server: server.clone(), link: link_id, proven, dialect });
        match dialled_address {
            Some(dialled) if answered => self.dial_succeeded(&dialled, dialect),
            Some(_) => {}
            None => {
                if let Some(address) = address {
                    self.keep_announced_linked(address, key, dialect);
                }
            }
        }
        self.note_joined(&joined);
        if first {
            self.relocate_users_of(&server);
        }
        self.start_sync(link_id, &server, proven, first);
    }

    pub(super) fn on_server_close(&mut self, link_id: LinkId) {
        let Some(link) = self.links.get(&link_id).and_then(Link::server) else { return };
        let (server, proven) = (link.server.clone(), link.proven);
        self.close(link_id, close_code::NORMAL, "closed by peer");
        // A farewell: no grace for whom a proven server takes along.
        if let Some(peer) = self.peers.get_mut(&server).filter(|peer| proven && peer.links.is_empty()) {
            peer.alive_until = self.now.instant;
            self.on_unreachable(&server);
        }
    }

    pub(super) fn on_server_link_closed(&mut self, link: Link) {
        let was_up = link.server().is_some_and(|server| server.up);
        let answered = link.server().is_some_and(|server| server.answered);
        if let LinkOrigin::Dialled(address) = &link.origin {
            if matches!(link.state, LinkState::Joining(_)) {
                self.join_unanswered(address);
            }
            self.dial_ended(address, !(was_up && answered));
        }
        let LinkState::Server(server_link) = link.state else { return };
        self.on_deliveries_cut_off(link.id, link.heard);
        let Some(peer) = self.peers.get_mut(&server_link.server) else { return };
        peer.links.retain(|other| *other != link.id);
        let via_others = peer.via.filter(|via| *via != link.id);
        peer.via = via_others;
        let lost = was_up && peer.links.is_empty();
        let key = peer.record.key.clone();
        for peer in self.peers.values_mut() {
            if peer.via == Some(link.id) {
                peer.via = None;
            }
            peer.table.askers.remove(&link.id);
            if peer.table.request.as_ref().is_some_and(|request| request.link == link.id) {
                peer.table.request = None;
            }
        }
        if lost {
            self.on_last_link_lost(&server_link.server, self.config.timing.grace);
            self.redial_server(&key);
        }
    }

    fn on_last_link_lost(&mut self, server: &ServerId, grace: Duration) {
        let until = self.now.instant + grace;
        if let Some(peer) = self.peers.get_mut(server) {
            peer.alive_until = peer.alive_until.max(until);
            self.timers.set(Timer::Unreachable(server.clone()), peer.alive_until);
            self.timers.cancel(&Timer::Relist(server.clone()));
        }
        self.report(Report::ServerDown { server: server.clone() });
    }

    /// Nothing was heard of a server for its grace: its users are gone, until it is heard again.
    pub(super) fn on_unreachable(&mut self, server: &ServerId) {
        let Some(peer) = self.peers.get(server) else { return };
        if !peer.links.is_empty() {
            return;
        }
        if peer.alive_until > self.now.instant {
            return self.timers.set(Timer::Unreachable(server.clone()), peer.alive_until);
        }
        self.timers.cancel(&Timer::Unreachable(server.clone()));
        if let Some(peer) = self.peers.get_mut(server) {
            // Whoever is back on a link is not back with its users: PRESENCE will tell.
            peer.table.claims.values_mut().for_each(|claim| claim.confirmed = false);
            let presence = peer.table.presence.as_ref().map_or(0, |presence| presence.issued_at);
            // Nor do its old words bring them back, that PRESENCE included, should we be restarted meanwhile.
            let last = peer.table.newest.max(presence);
            if last > 0 {
                self.keep_as_over(server, last.saturating_add(1));
            }
        }
        self.relocate_users_of(server);
    }
}
