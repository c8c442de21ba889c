//! How two servers meet (§8.1, decisions §4): JOIN, WELCOME, LINK_PROOF, HELLO_LINK, ANNOUNCE; and what
//! follows when a link comes up or goes down.

use std::time::Duration;

use super::Server;
use super::api::{Action, JoinPolicy, LinkId, PinRank, Record, Report};
use super::link::{Joining, Link, LinkState, Nonces, ServerLink};
use super::pins::PinOutcome;
use super::timers::Timer;
use crate::close_code;
use crate::crypto::{Purpose, SharedPayload, Verified};
use crate::wire::{
    ErrorCode, HostPort, Id, LinkProof, LinkRole, Nonce, Payload, PublicKey, Recipient, ServerHello,
    ServerId, ServerWelcome, WelcomeEntry,
};

/// What ends a link whose hello is refused.
struct Refused {
    code: ErrorCode,
    detail: &'static str,
}

impl Server {
    /// We dialled: introduce ourselves. `None` if nobody wants that address any more.
    pub(super) fn join(&mut self, link: LinkId, address: &HostPort) -> Option<Joining> {
        let dialled = self.dials.get(address).map(|dial| dial.key.clone());
        let (Some(key), Some(_)) = (dialled, &self.config.address) else {
            self.out.push(Action::Close { link, code: close_code::NORMAL, reason: "no longer wanted" });
            return None;
        };
        let nonce = self.nonce();
        let hello = self.hello(Some(nonce));
        self.send(link, Recipient::Named(address.to_string().into()), &Payload::ServerHelloJoin(hello));
        self.timers.set(Timer::Welcome(link), self.now.instant + self.config.timing.welcome);
        Some(Joining { address: address.clone(), key, nonce, introduced: false })
    }

    /// No WELCOME: this order of frames suits every server we know (decisions §4).
    pub(super) fn on_welcome_overdue(&mut self, link_id: LinkId) {
        let Some(Link { state: LinkState::Joining(joining), .. }) = self.links.get_mut(&link_id) else {
            return;
        };
        if joining.introduced {
            return self.close(link_id, close_code::POLICY, "no welcome");
        }
        joining.introduced = true;
        self.introduce_ourselves(link_id, Recipient::Unnamed);
        self.timers.set(Timer::Welcome(link_id), self.now.instant + self.config.timing.greeting);
    }

    pub(super) fn on_joining_frame(&mut self, link_id: LinkId, frame: Verified) {
        let Some(Link { state: LinkState::Joining(joining), .. }) = self.links.get(&link_id) else { return };
        let (key, address) = (joining.key.clone(), joining.address.clone());
        match frame.frame().payload() {
            Payload::ServerWelcome(welcome) => self.on_welcome(link_id, &frame, welcome),
            Payload::Error(error) => {
                self.dropped("join refused", format!("{address}: {} {}", error.code, error.detail));
                self.close(link_id, close_code::NORMAL, "join refused");
            }
            Payload::CtrlClose(_) => self.close(link_id, close_code::NORMAL, "closed by peer"),
            // A server that sends no WELCOME has said with this who it is.
            _ => {
                let Some(server) = frame.frame().from().cloned().map(ServerId::from) else { return };
                let outcome = self.pin_server(&server, &key, PinRank::Introduced, Some(address.clone()));
                if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) || self.is_native(&server) {
                    return self.close(link_id, close_code::POLICY, "not the server that was expected");
                }
                self.identify(link_id, &server, None, Some(address));
                self.link_up(link_id);
            }
        }
    }

    fn on_welcome(&mut self, link_id: LinkId, frame: &Verified, welcome: &ServerWelcome) {
        let Some(Link { state: LinkState::Joining(joining), .. }) = self.links.get(&link_id) else { return };
        let (key, address, our_nonce, introduced) =
            (joining.key.clone(), joining.address.clone(), joining.nonce, joining.introduced);
        let Some(server) = frame.frame().from().cloned().map(ServerId::from) else { return };
        let signed = frame.proof(Purpose::Transport).is_some();
        let their_nonce = welcome.nonce.filter(|_| signed);
        // First of all, since the id that is taken may be the introducer's own.
        if welcome.assigned_id != self.id && !self.adopt(&welcome.assigned_id, &key, signed) {
            self.dropped("assigned id not adopted", format!("{server}: {}", welcome.assigned_id));
            return self.close(link_id, close_code::POLICY, "assigned id not adopted");
        }
        // Unsigned, it suggests and changes nothing.
        let rank = if signed { PinRank::Introduced } else { PinRank::Claimed };
        let outcome = match server == self.id {
            true => PinOutcome::Conflict,
            false => self.pin_server(&server, &key, rank, Some(address.clone())),
        };
        let downgraded = their_nonce.is_none() && self.is_native(&server);
        if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) || downgraded {
            return self.close(link_id, close_code::POLICY, "not the server that was expected");
        }
        let nonces = their_nonce.map(|theirs| Nonces { ours: our_nonce, theirs });
        self.identify(link_id, &server, nonces, Some(address.clone()));
        if let Some(nonces) = nonces {
            self.send_link_proof(link_id, &server, nonces, LinkRole::Dial, &address);
        }
        if !introduced {
            self.introduce_ourselves(link_id, Recipient::from(&server));
        }
        if signed {
            self.learn_from_welcome(&server, welcome);
        }
        if nonces.is_none() {
            self.link_up(link_id);
            self.take_welcomed_clients(link_id, &server, frame.frame().ts(), welcome);
        }
    }

    /// Takes the id that an introducer assigned (decisions §7): only before our first link and our first
    /// user, only from a WELCOME under a bootstrap pin, only a fresh UUID v4.
    fn adopt(&mut self, id: &ServerId, key: &PublicKey, signed: bool) -> bool {
        let trusted = signed && self.config.bootstrap.iter().any(|introducer| introducer.key == *key);
        let first = self.peers.values().all(|peer| peer.links.is_empty()) && self.local.is_empty();
        let fresh = id.id().is_uuid_v4() && !self.peers.contains_key(id);
        if trusted && first && fresh {
            self.id = id.clone();
            self.out.push(Action::Persist(Record::OwnId(id.clone())));
            self.report(Report::IdAssigned { server: id.clone() });
        }
        trusted && first && fresh
    }

    /// SERVER_HELLO_JOIN, or SERVER_HELLO_LINK as a first frame, on a link that somebody else dialled.
    pub(super) fn on_server_hello(
        &mut self,
        link_id: LinkId,
        frame: &Verified,
        hello: &ServerHello,
        is_join: bool,
    ) {
        let (Some(from), Ok(key)) = (frame.frame().from(), hello.pubkey.key()) else { return };
        let signed = frame.proof(Purpose::Transport).is_some();
        let their_nonce = hello.nonce.filter(|_| signed);
        let identified = self.identify_newcomer(&ServerId::from(from.clone()), key, hello, is_join && signed);
        let identified =
            identified.and_then(|server| match their_nonce.is_none() && self.is_native(&server) {
                true => Err(Refused {
                    code: ErrorCode::InvalidSig,
                    detail: "this id has proven itself: nonce is missing",
                }),
                false => Ok(server),
            });
        let server = match identified {
            Ok(server) => server,
            Err(refused) => {
                self.error(link_id, refused.code, refused.detail, Some(frame.frame().reference()));
                return self.close(link_id, close_code::POLICY, refused.detail);
            }
        };
        self.timers.cancel(&Timer::Greeting(link_id));
        let nonces = their_nonce.filter(|_| is_join).map(|theirs| Nonces { ours: self.nonce(), theirs });
        self.identify(link_id, &server, nonces, None);
        if is_join {
            let welcome = self.welcome(&server, nonces.map(|nonces| nonces.ours));
            self.send(link_id, Recipient::from(&server), &Payload::ServerWelcome(welcome));
        }
        if let Some(nonces) = nonces {
            // What was dialled stands in JOIN's `to`; a peer that leaves it out gets no valid proof.
            if let Some(dialled) = frame.frame().to().address() {
                self.send_link_proof(link_id, &server, nonces, LinkRole::Accept, &dialled);
            }
        }
        self.announce(link_id);
        if nonces.is_none() {
            self.link_up(link_id);
        }
    }

    /// Pins a newcomer, or assigns it another id if its own is in use under another key (§8.1).
    fn identify_newcomer(
        &mut self,
        from: &ServerId,
        key: &PublicKey,
        hello: &ServerHello,
        may_assign: bool,
    ) -> Result<ServerId, Refused> {
        let refused = |code, detail| Err(Refused { code, detail });
        if *key == self.config.key {
            return refused(ErrorCode::BadKey, "that is my own key: did you dial yourself?");
        }
        match &self.config.join {
            JoinPolicy::Allowlist(keys) if !keys.contains(key) => {
                return refused(ErrorCode::BadKey, "this server joins only servers on its list");
            }
            JoinPolicy::Allowlist(_) | JoinPolicy::Open => {}
        }
        let outcome = match *from == self.id {
            true => PinOutcome::Conflict,
            false => self.pin_server(from, key, PinRank::Claimed, hello.address()),
        };
        match outcome {
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => Ok(from.clone()),
            PinOutcome::Full => refused(ErrorCode::Timeout, "this server knows too many servers"),
            PinOutcome::Conflict if may_assign => {
                let mut bytes = [0; 16];
                rand_chacha::rand_core::Rng::fill_bytes(&mut self.rng, &mut bytes);
                let assigned = ServerId::from(Id::uuid_v4(bytes));
                match self.pin_server(&assigned, key, PinRank::Claimed, hello.address()) {
                    PinOutcome::First => Ok(assigned),
                    PinOutcome::Same | PinOutcome::Replaced | PinOutcome::Conflict | PinOutcome::Full => {
                        refused(ErrorCode::Timeout, "this server knows too many servers")
                    }
                }
            }
            PinOutcome::Conflict => refused(ErrorCode::BadKey, "another key is pinned for this id"),
        }
    }

    /// From now on the link is this server's.
    fn identify(
        &mut self,
        link_id: LinkId,
        server: &ServerId,
        nonces: Option<Nonces>,
        address: Option<HostPort>,
    ) {
        self.timers.cancel(&Timer::Welcome(link_id));
        if nonces.is_some() {
            self.timers.set(Timer::LinkProof(link_id), self.now.instant + self.config.timing.link_proof);
        }
        if let Some(link) = self.links.get_mut(&link_id) {
            let server = server.clone();
            link.state = LinkState::Server(ServerLink { server, nonces, address, proven: false, up: false });
        }
    }

    pub(super) fn on_link_proof_overdue(&mut self, link_id: LinkId) {
        if self.links.get(&link_id).and_then(Link::server).is_some_and(|link| !link.up) {
            self.close(link_id, close_code::POLICY, "no link proof");
        }
    }

    /// LINK_PROOF ✚: every field must be what this very link had (decisions §4).
    pub(super) fn on_link_proof(&mut self, link_id: LinkId, server: &ServerId, proof: &LinkProof) {
        let Some(link) = self.links.get(&link_id).and_then(Link::server) else { return };
        let Some(nonces) = link.nonces.filter(|_| !link.proven) else { return };
        let dialled = link.address.clone();
        let role = if dialled.is_some() { LinkRole::Accept } else { LinkRole::Dial };
        let expected_address = dialled.clone().or_else(|| self.binding_address());
        let holds = proof.nonce == nonces.ours
            && proof.own_nonce == nonces.theirs
            && proof.from == *server
            && proof.to == self.id
            && proof.role == role
            && proof
                .address()
                .is_some_and(|address| expected_address.is_none_or(|expected| expected == address));
        if !holds {
            self.dropped("link proof does not hold", server.to_string());
            return self.close(link_id, close_code::POLICY, "link proof does not hold");
        }
        self.timers.cancel(&Timer::LinkProof(link_id));
        if let Some(Link { state: LinkState::Server(link), .. }) = self.links.get_mut(&link_id) {
            link.proven = true;
        }
        self.mark_native(server);
        if let (Some(address), Some(peer)) = (dialled, self.peers.get(server)) {
            let key = peer.record.key.clone();
            self.pin_server(server, &key, PinRank::Proven, Some(address));
        }
        self.link_up(link_id);
    }

    /// The address that a dialler must have used: `--advertise`, else our own bootstrap entry.
    fn binding_address(&self) -> Option<HostPort> {
        if self.config.address_is_binding {
            return self.config.address.clone();
        }
        let own = self.config.bootstrap.iter().find(|introducer| introducer.key == self.config.key);
        own.map(|introducer| introducer.address.clone())
    }

    fn send_link_proof(
        &mut self,
        link: LinkId,
        server: &ServerId,
        nonces: Nonces,
        role: LinkRole,
        dialled: &HostPort,
    ) {
        let proof = LinkProof {
            nonce: nonces.theirs,
            own_nonce: nonces.ours,
            from: self.id.clone(),
            to: server.clone(),
            role,
            host: dialled.host().into(),
            port: Some(dialled.port()),
        };
        self.send(link, Recipient::from(server), &Payload::LinkProof(proof));
    }

    fn introduce_ourselves(&mut self, link: LinkId, to: Recipient) {
        let hello = self.hello(None);
        self.send(link, to, &Payload::ServerHelloLink(hello));
        self.announce(link);
    }

    fn announce(&mut self, link: LinkId) {
        let payload = SharedPayload::new(&Payload::ServerAnnounce(self.hello(None)));
        self.broadcast(vec![link], payload);
    }

    fn hello(&self, nonce: Option<Nonce>) -> ServerHello {
        let address = self.config.address.as_ref();
        ServerHello {
            host: address.map_or("", HostPort::host).into(),
            port: address.map(HostPort::port),
            pubkey: self.config.key.clone().into(),
            nonce,
            ext: Vec::new(),
        }
    }

    /// SERVER_WELCOME: servers first, then as many of our users as fit (decisions §1).
    fn welcome(&self, newcomer: &ServerId, nonce: Option<Nonce>) -> ServerWelcome {
        let mut room = self.config.limits.frame_out_bytes.saturating_sub(ENTRY_BYTES * 4);
        let mut fits = |entry: &WelcomeEntry| {
            let id = entry.server_id.as_ref().map(ServerId::as_str).unwrap_or_default().len()
                + entry.user_id.as_ref().map_or(0, |user| user.as_str().len());
            let bytes = ENTRY_BYTES + 6 * id + entry.host.len();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        let own = self.config.address.as_ref();
        let entry = |address: Option<&HostPort>, key: &PublicKey| WelcomeEntry {
            user_id: None,
            server_id: None,
            host: address.map_or("", HostPort::host).into(),
            port: address.map(HostPort::port),
            pubkey: Some(key.clone().into()),
        };
        let linked = self.peers.iter().filter(|(server, peer)| *server != newcomer && !peer.links.is_empty());
        let servers = linked
            .filter_map(|(server, peer)| {
                let address = peer.record.address.as_ref()?;
                Some(WelcomeEntry {
                    server_id: Some(server.clone()),
                    ..entry(Some(address), &peer.record.key)
                })
            })
            .take_while(&mut fits)
            .collect();
        let clients = self
            .local
            .iter()
            .take(self.config.limits.welcome_clients)
            .map(|(user, session)| WelcomeEntry { user_id: Some(user.clone()), ..entry(own, &session.key) })
            .take_while(&mut fits)
            .collect();
        let introducer = WelcomeEntry { server_id: Some(self.id.clone()), ..entry(own, &self.config.key) };
        ServerWelcome {
            assigned_id: newcomer.clone(),
            clients,
            servers,
            introducer: Some(introducer),
            nonce,
            ext: Vec::new(),
        }
    }

    /// The servers that a WELCOME names, in either list (decisions §7).
    pub(super) fn learn_from_welcome(&mut self, teller: &ServerId, welcome: &ServerWelcome) {
        let named = welcome.servers.iter().chain(&welcome.clients);
        for entry in named.take(self.config.limits.servers) {
            let (Some(server), Some(Ok(key))) =
                (&entry.server_id, entry.pubkey.as_ref().map(|field| field.key()))
            else {
                continue;
            };
            let Some(address) = entry.address().filter(|_| server != teller) else { continue };
            self.learn_server(teller, server, key, address, PinRank::Introduced);
        }
    }

    fn learn_server(
        &mut self,
        teller: &ServerId,
        server: &ServerId,
        key: &PublicKey,
        address: HostPort,
        rank: PinRank,
    ) {
        if *server == self.id || *key == self.config.key {
            return;
        }
        match self.pin_server(server, key, rank, Some(address.clone())) {
            PinOutcome::Conflict | PinOutcome::Full => {}
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => {
                self.keep_learnt_linked(teller, address, key.clone());
            }
        }
    }

    /// SERVER_ANNOUNCE (§8.1): where a server listens. A third party's is passed on if it was news.
    pub(super) fn on_announce(&mut self, link_id: LinkId, frame: &Verified, hello: &ServerHello) {
        let Some(from) = frame.frame().from().cloned().map(ServerId::from) else { return };
        let (Some(teller), Ok(key)) = (self.links.get(&link_id).and_then(Link::server), hello.pubkey.key())
        else {
            return;
        };
        let (teller, up) = (teller.server.clone(), teller.up);
        let signed = frame.proof(Purpose::Transport).is_some();
        let known = self.peers.get(&from).and_then(|peer| peer.record.address.clone());
        let news = from != self.id && known.is_none_or(|known| Some(known) != hello.address());
        let Some(address) = hello.address().filter(|_| news && signed) else { return };
        if from == teller {
            if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.record.key == *key) {
                peer.record.address = Some(address.clone());
                self.persist_server(&from);
                if up && self.may_dial(&address) {
                    self.keep_linked(address, key.clone(), None, self.config.timing.redial_first);
                }
            }
        } else if up {
            self.learn_server(&teller, &from, key, address, PinRank::Claimed);
        }
        self.remember(frame.frame());
        let to = self.server_links(&[&from, &teller], Some(link_id));
        self.relay(to, frame.frame());
    }

    /// A link counts from now on. Two links of one native pair: the new one stays, or, if both were
    /// opened at the same time, the one that the lower id dialled (decisions §5).
    pub(super) fn link_up(&mut self, link_id: LinkId) {
        let Some(link) = self.links.get(&link_id) else { return };
        let Some(server_link) = link.server() else { return };
        let (server, proven, dialled) = (server_link.server.clone(), server_link.proven, link.is_dialled());
        let opened = link.opened;
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
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let first = peer.links.is_empty();
        // The last link carries the traffic: a proven one, else one that we dialled.
        let at = if proven || dialled { peer.links.len() } else { 0 };
        peer.links.insert(at, link_id);
        let (key, address) = (peer.record.key.clone(), peer.record.address.clone());
        if let Some(Link { state: LinkState::Server(link), .. }) = self.links.get_mut(&link_id) {
            link.up = true;
        }
        if let Some(loser) = loser {
            self.close(loser, close_code::NORMAL, "duplicate link");
        }
        self.timers.cancel(&Timer::Unreachable(server.clone()));
        self.report(Report::ServerUp { server: server.clone(), link: link_id, proven });
        self.dial_succeeded(&key);
        if let Some(address) = address.filter(|address| self.may_dial(address)) {
            self.keep_linked(address, key, None, self.config.timing.redial_first);
        }
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
        if let super::api::LinkOrigin::Dialled(address) = &link.origin {
            self.dial_ended(address, !was_up);
        }
        let LinkState::Server(server_link) = link.state else { return };
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
        self.relocate_users_of(server);
    }
}

/// An entry of WELCOME without its id and host: key in base64 and punctuation.
const ENTRY_BYTES: usize = 850;
