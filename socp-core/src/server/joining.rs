//! How two servers meet (§8.1, decisions §4): JOIN, WELCOME, LINK_PROOF, HELLO_LINK, ANNOUNCE; and what
//! follows when a link comes up or goes down.

use std::collections::BTreeMap;

use super::Server;
use super::api::{Action, JoinPolicy, LinkId, PinRank, Record, Report};
use super::budget::Budget;
use super::foreign::written_by;
use super::link::{Joining, Link, LinkState, Nonces, ServerLink};
use super::peer::Announced;
use super::pins::PinOutcome;
use super::timers::Timer;
use crate::close_code;
use crate::crypto::{Purpose, SharedPayload, Verified};
use crate::dialect::{Dialect, WelcomeClients};
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
        let key = self.dials.get(address).map(|dial| dial.key.clone());
        let (Some(key), Some(_)) = (key, &self.config.address) else {
            self.out.push(Action::Close { link, code: close_code::NORMAL, reason: "no longer wanted" });
            return None;
        };
        let dialect = self.greeting_dialect(address);
        self.set_dialect(link, dialect);
        let nonce = self.nonce();
        let listed = self.config.bootstrap.iter().any(|introducer| introducer.address == *address);
        if dialect.profile().links_without_join && !listed {
            let to = self.server_of_key(&key).map_or(Recipient::Unnamed, |server| Recipient::from(&server));
            // With the nonce one of ours, of whom a foreign introducer told, asks for a JOIN instead.
            self.introduce_ourselves(link, to, Some(nonce));
            self.timers.set(Timer::Welcome(link), self.now.instant + self.config.timing.dial_back);
            return Some(Joining { address: address.clone(), key, nonce, introduced: true });
        }
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
            let (key, address) = (joining.key.clone(), joining.address.clone());
            return match self.profile(link_id).links_without_join {
                // Whoever speaks like this need not answer.
                true => self.link_unanswered(link_id, &key, &address, false),
                false => self.close(link_id, close_code::POLICY, "no welcome"),
            };
        }
        joining.introduced = true;
        self.introduce_ourselves(link_id, Recipient::Unnamed, None);
        let timing = &self.config.timing;
        let patience =
            if self.profile(link_id).links_without_join { timing.dial_back } else { timing.welcome };
        self.timers.set(Timer::Welcome(link_id), self.now.instant + patience);
    }

    pub(super) fn on_joining_frame(&mut self, link_id: LinkId, frame: Verified) {
        let Some(Link { state: LinkState::Joining(joining), .. }) = self.links.get(&link_id) else { return };
        let (key, address) = (joining.key.clone(), joining.address.clone());
        match frame.frame().payload() {
            Payload::ServerWelcome(welcome) => self.on_welcome(link_id, &frame, welcome),
            Payload::Error(error) => {
                let why = format!("it refuses us: {} {}", error.code, error.detail);
                self.note_trouble(&address, &why);
                self.dropped("join refused", format!("{address}: {} {}", error.code, error.detail));
                self.greet_by_join(&address);
                self.close(link_id, close_code::NORMAL, "join refused");
            }
            Payload::CtrlClose(_) => self.close(link_id, close_code::NORMAL, "closed by peer"),
            // A server that sends no WELCOME has said with this who it is.
            _ => {
                self.recognise(link_id, &frame, &key);
                if self.profile(link_id).links_without_join {
                    // It speaks to us, perhaps in others' names.
                    self.link_unanswered(link_id, &key, &address, true);
                    return self.on_frame(link_id, frame);
                }
                let Some(server) = frame.frame().from().cloned().map(ServerId::from) else { return };
                let rank = self.rank_of(&key, true, PinRank::Claimed);
                let outcome = match self.is_native(&server) || self.is_key_of_native(&key) {
                    true => PinOutcome::Conflict,
                    false => self.pin_server(&server, &key, rank, Some(address.clone())),
                };
                if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) {
                    return self.close(link_id, close_code::POLICY, "not the server that was expected");
                }
                self.identify(link_id, &server, &key, None, Some(address), None);
                self.keep_dialect(link_id, &server);
                self.link_up(link_id);
                self.on_frame(link_id, frame);
            }
        }
    }

    fn on_welcome(&mut self, link_id: LinkId, frame: &Verified, welcome: &ServerWelcome) {
        let Some(Link { state: LinkState::Joining(joining), .. }) = self.links.get(&link_id) else { return };
        let (key, address, our_nonce, introduced) =
            (joining.key.clone(), joining.address.clone(), joining.nonce, joining.introduced);
        let Some(server) = frame.frame().from().cloned().map(ServerId::from) else { return };
        self.recognise(link_id, frame, &key);
        let signed = frame.proof(Purpose::Transport).is_some();
        let their_nonce = welcome.nonce.filter(|_| signed);
        if their_nonce.is_none() && (self.is_native(&server) || self.is_key_of_native(&key)) {
            return self.close(link_id, close_code::POLICY, "a native server without a nonce");
        }
        let assigned = Some(&welcome.assigned_id).filter(|assigned| **assigned != self.id).cloned();
        if assigned.as_ref().is_some_and(|assigned| !self.may_adopt(assigned, &key, signed)) {
            self.dropped("assigned id not adopted", format!("{server}: {}", welcome.assigned_id));
            return self.close(link_id, close_code::POLICY, "assigned id not adopted");
        }
        let outcome = if server == self.id && assigned.is_none() {
            PinOutcome::Conflict
        } else if their_nonce.is_some() {
            self.meet(&server, &key, &address)
        } else {
            // Unsigned, it suggests a first pin and changes nothing; signed, it is still its own word.
            let rank = self.rank_of(&key, signed, PinRank::Claimed);
            self.pin_server(&server, &key, rank, Some(address.clone()))
        };
        if matches!(outcome, PinOutcome::Conflict | PinOutcome::Full) {
            return self.close(link_id, close_code::POLICY, "not the server that was expected");
        }
        let nonces = their_nonce.map(|theirs| Nonces { ours: our_nonce, theirs });
        self.identify(link_id, &server, &key, nonces, Some(address.clone()), assigned.clone());
        self.keep_dialect(link_id, &server);
        match (nonces, assigned) {
            // A WELCOME can be a replay: the id is taken once the LINK_PROOF over our nonce names it.
            (Some(_), Some(_)) => return,
            (None, Some(assigned)) => self.adopt(assigned),
            (Some(_) | None, None) => {}
        }
        if let Some(nonces) = nonces {
            self.send_link_proof(link_id, &server, nonces, LinkRole::Dial, &address);
        }
        if !introduced {
            self.introduce_ourselves(link_id, Recipient::from(&server), None);
        }
        self.learn_from_welcome(link_id, &server, welcome, signed);
        if nonces.is_none() {
            self.link_up(link_id);
            if signed && self.profile(link_id).welcome_clients == WelcomeClients::Users {
                self.take_welcomed_clients(link_id, &server, frame.frame().ts(), welcome);
            }
        }
    }

    /// A native server answers where we dialled. A WELCOME can be a replay under any `from`, so another pin
    /// for that id stays until the LINK_PROOF.
    fn meet(&mut self, server: &ServerId, key: &PublicKey, address: &HostPort) -> PinOutcome {
        let listed = self.is_listed_key(key);
        match self.peers.get(server) {
            Some(peer) if peer.record.key != *key => return PinOutcome::Same,
            Some(_) => {}
            None => {
                if listed && self.peers.len() >= self.config.limits.servers {
                    self.make_room_for_server(PinRank::Bootstrap);
                }
            }
        }
        let rank = if listed { PinRank::Introduced } else { PinRank::Claimed };
        self.pin_server(server, key, rank, Some(address.clone()))
    }

    /// Whether an id that an introducer assigned may be taken (decisions §7): only before our first link and
    /// our first user, only from a WELCOME under a bootstrap pin, only a fresh UUID v4, and never in
    /// place of the id that derives from our key, which is ours whatever others say.
    fn may_adopt(&self, id: &ServerId, key: &PublicKey, signed: bool) -> bool {
        let trusted = signed && self.is_listed_key(key);
        let first = self.peers.values().all(|peer| peer.links.is_empty()) && self.local.is_empty();
        let fresh = id.id().is_uuid_v4() && !self.peers.contains_key(id);
        trusted && first && fresh && !self.id.derives_from(&self.config.key)
    }

    fn adopt(&mut self, id: ServerId) {
        self.id = id.clone();
        self.out.push(Action::Persist(Record::OwnId(id.clone())));
        self.report(Report::IdAssigned { server: id });
    }

    /// Whether a native server has shown this key: from others it counts for nothing without a proof.
    pub(super) fn is_key_of_native(&self, key: &PublicKey) -> bool {
        self.peers.values().any(|peer| peer.record.native && peer.record.key == *key)
    }

    /// SERVER_HELLO_JOIN, or SERVER_HELLO_LINK or SERVER_ANNOUNCE as a first frame, on a link that somebody else
    /// dialled.
    pub(super) fn on_server_hello(
        &mut self,
        link_id: LinkId,
        frame: &Verified,
        hello: &ServerHello,
        is_join: bool,
    ) {
        let (Some(from), Ok(key)) = (frame.frame().from(), hello.pubkey.key()) else { return };
        self.recognise(link_id, frame, key);
        let signed = frame.proof(Purpose::Transport).is_some();
        // `type` is not signed: a JOIN that comes again as a HELLO_LINK brings a nonce and proves nothing.
        let their_nonce = hello.nonce.filter(|_| signed && is_join);
        let from = ServerId::from(from.clone());
        let unproven_native = their_nonce.is_none()
            && (self.is_native(&from) || self.is_key_of_native(key) || hello.nonce.is_some());
        let known = self.peers.contains_key(&from);
        let identified = match unproven_native {
            true => Err(Refused {
                code: ErrorCode::InvalidSig,
                detail: "this server has proven itself before: a signed SERVER_HELLO_JOIN with a nonce is needed",
            }),
            false => self.identify_newcomer(&from, key, hello, signed, is_join),
        };
        let server = match identified {
            Ok(server) => server,
            Err(refused) => {
                self.error(link_id, refused.code, refused.detail, Some(frame.frame().reference()));
                return self.close(link_id, close_code::POLICY, refused.detail);
            }
        };
        self.timers.cancel(&Timer::Greeting(link_id));
        let nonces = their_nonce.map(|theirs| Nonces { ours: self.nonce(), theirs });
        let changes_nothing = !signed && known;
        self.identify(link_id, &server, key, nonces, None, None);
        if signed {
            self.keep_dialect(link_id, &server);
        }
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
        // Some take gossip only after a HELLO_LINK.
        match is_join && self.profile(link_id).links_without_join {
            true => self.introduce_ourselves(link_id, Recipient::from(&server), None),
            false => self.announce(link_id),
        }
        // Anybody can name a server and its public key. Where that would bring back users who are gone, and hand over
        // what is written to them, the link waits for the first frame that was signed ([`Server::on_first_word`]). A
        // recording of one will do: nothing else can be had of who proves nothing.
        if nonces.is_none() && !changes_nothing {
            self.link_up(link_id);
        }
    }

    /// A server that said hello unsigned has signed something: it is there, and the link counts.
    pub(super) fn on_first_word(&mut self, link_id: LinkId, frame: &Verified) {
        let waits = |link: &&ServerLink| !link.up && link.nonces.is_none() && link.assigned.is_none();
        let link = self.links.get(&link_id).and_then(Link::server).filter(waits);
        if link.is_some_and(|link| frame.proven_by(Purpose::Transport, &link.key)) {
            self.link_up(link_id);
        }
    }

    /// Pins a newcomer, or assigns it another id if its own is in use under another key (§8.1).
    fn identify_newcomer(
        &mut self,
        from: &ServerId,
        key: &PublicKey,
        hello: &ServerHello,
        signed: bool,
        is_join: bool,
    ) -> Result<ServerId, Refused> {
        let refused = |code, detail| Err(Refused { code, detail });
        if *key == self.config.key {
            return refused(ErrorCode::BadKey, "that is my own key: did you dial yourself?");
        }
        if !self.may_join(key) {
            return refused(ErrorCode::BadKey, "this server joins only servers on its list");
        }
        if !signed && matches!(self.config.join, JoinPolicy::Allowlist(_)) {
            return refused(
                ErrorCode::InvalidSig,
                "this server joins only servers on its list: sign your hello",
            );
        }
        // A JOIN can be a replay under any `from`: it carries no rank.
        let rank = PinRank::Claimed;
        let outcome = match *from == self.id {
            true => PinOutcome::Conflict,
            false => self.pin_server(from, key, rank, hello.address()),
        };
        match outcome {
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => Ok(from.clone()),
            PinOutcome::Full => refused(ErrorCode::Timeout, "this server knows too many servers"),
            PinOutcome::Conflict if signed && is_join => {
                // Who comes again gets the id of last time.
                let before = self.peers.iter().find(|(_, peer)| peer.record.key == *key);
                let assigned = match before {
                    Some((id, _)) => id.clone(),
                    None => {
                        let mut bytes = [0; 16];
                        rand_chacha::rand_core::Rng::fill_bytes(&mut self.rng, &mut bytes);
                        ServerId::from(Id::uuid_v4(bytes))
                    }
                };
                match self.pin_server(&assigned, key, rank, hello.address()) {
                    PinOutcome::First | PinOutcome::Same => Ok(assigned),
                    PinOutcome::Replaced | PinOutcome::Conflict | PinOutcome::Full => {
                        refused(ErrorCode::Timeout, "this server knows too many servers")
                    }
                }
            }
            PinOutcome::Conflict => refused(ErrorCode::BadKey, "another key is pinned for this id"),
        }
    }

    /// From now on the link is this server's.
    pub(super) fn identify(
        &mut self,
        link_id: LinkId,
        server: &ServerId,
        key: &PublicKey,
        nonces: Option<Nonces>,
        address: Option<HostPort>,
        assigned: Option<ServerId>,
    ) {
        self.timers.cancel(&Timer::Welcome(link_id));
        if nonces.is_some() {
            self.timers.set(Timer::LinkProof(link_id), self.now.instant + self.config.timing.link_proof);
        }
        let limits = &self.config.limits;
        let (burst, rate) = (limits.server_message_burst, limits.server_messages_per_second);
        let messages = Budget::new(burst, f64::from(rate), self.now.instant);
        // Passed on as they are, like parts of files.
        let public = Budget::new(limits.chunk_burst, f64::from(limits.chunks_per_second), self.now.instant);
        if let Some(link) = self.links.get_mut(&link_id) {
            let server = server.clone();
            let key = key.clone();
            link.messages = messages;
            link.public = public;
            link.state = LinkState::Server(ServerLink {
                server,
                key,
                nonces,
                address,
                assigned,
                proven: false,
                answered: true,
                up: false,
                doubted: BTreeMap::new(),
            });
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
        let (dialled, assigned, key) = (link.address.clone(), link.assigned.clone(), link.key.clone());
        let role = if dialled.is_some() { LinkRole::Accept } else { LinkRole::Dial };
        let holds = proof.nonce == nonces.ours
            && proof.own_nonce == nonces.theirs
            && proof.from == *server
            && proof.to == *assigned.as_ref().unwrap_or(&self.id)
            && proof.role == role
            && proof.address().is_some_and(|address| match &dialled {
                Some(dialled) => *dialled == address,
                None => self.is_own_address(&address),
            });
        if !holds {
            self.dropped("link proof does not hold", server.to_string());
            return self.close(link_id, close_code::POLICY, "link proof does not hold");
        }
        let first = self.peers.values().all(|peer| peer.links.is_empty()) && self.local.is_empty();
        if assigned.is_some() && !first {
            return self.close(link_id, close_code::POLICY, "assigned id not adopted");
        }
        let rank = if dialled.is_some() { PinRank::Proven } else { PinRank::Claimed };
        let rank = self.rank_of(&key, true, rank);
        match self.pin_server(server, &key, rank, dialled.clone()) {
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => {}
            PinOutcome::Conflict | PinOutcome::Full => {
                return self.close(link_id, close_code::POLICY, "another key is pinned for this id");
            }
        }
        self.timers.cancel(&Timer::LinkProof(link_id));
        if let Some(Link { state: LinkState::Server(link), .. }) = self.links.get_mut(&link_id) {
            link.proven = true;
        }
        self.mark_native(server);
        if let (Some(address), Some(assigned)) = (dialled, assigned) {
            self.adopt(assigned);
            self.send_link_proof(link_id, server, nonces, LinkRole::Dial, &address);
            self.introduce_ourselves(link_id, Recipient::from(server), None);
        }
        self.link_up(link_id);
    }

    /// The addresses of which a dialler must have used one: `--advertise` and our own bootstrap entry. Without either,
    /// any will do.
    fn is_own_address(&self, dialled: &HostPort) -> bool {
        let advertised = self.config.address.as_ref().filter(|_| self.config.address_is_binding);
        let own = self.config.bootstrap.iter().filter(|introducer| introducer.key == self.config.key);
        let mut binding = advertised.into_iter().chain(own.map(|introducer| &introducer.address)).peekable();
        binding.peek().is_none() || binding.any(|address| address == dialled)
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

    fn introduce_ourselves(&mut self, link: LinkId, to: Recipient, nonce: Option<Nonce>) {
        let hello = self.hello(nonce);
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
    fn learn_from_welcome(&mut self, link: LinkId, teller: &ServerId, welcome: &ServerWelcome, signed: bool) {
        let profile = self.profile(link);
        let spoken = self.dialect(link);
        // An introducer is whom the operator lists: anybody may have us dial it and say WELCOME, and what it says of
        // others there is a stranger's word. Unsigned it suggests addresses and first pins (decisions §2).
        let shown = self.links.get(&link).and_then(Link::server).map(|link| &link.key);
        let introducer = shown.is_some_and(|key| self.is_listed_key(key));
        let rank = if signed && introducer { PinRank::Introduced } else { PinRank::Claimed };
        let named = welcome.servers.iter().chain(&welcome.clients);
        for entry in named.take(self.config.limits.servers) {
            let clients_are_servers = profile.welcome_clients == WelcomeClients::Servers;
            let user = entry.user_id.as_ref().filter(|_| clients_are_servers);
            let server = entry.server_id.clone().or_else(|| Some(ServerId::from(user?.id().clone())));
            let (Some(server), Some(field)) = (server, &entry.pubkey) else { continue };
            let Ok(key) = field.key() else { continue };
            let dialect = written_by(spoken, field.form());
            let Some(address) = entry.address().filter(|_| server != *teller) else { continue };
            self.learn_server(teller, &server, key, address, dialect, rank);
        }
    }

    fn learn_server(
        &mut self,
        teller: &ServerId,
        server: &ServerId,
        key: &PublicKey,
        address: HostPort,
        dialect: Dialect,
        rank: PinRank,
    ) {
        if *server == self.id || *key == self.config.key || !self.may_join(key) {
            return;
        }
        match self.pin_server(server, key, rank, Some(address.clone())) {
            PinOutcome::Conflict | PinOutcome::Full => {}
            PinOutcome::Same | PinOutcome::First | PinOutcome::Replaced => {
                self.keep_learnt_linked(teller, address, key.clone(), dialect);
            }
        }
    }

    /// SERVER_ANNOUNCE (§8.1): where a server listens. News is kept and passed on to every other server, and
    /// who links later gets it then ([`Server::start_sync`]): whoever is connected knows of everybody.
    pub(super) fn on_announce(&mut self, link_id: LinkId, frame: &Verified, hello: &ServerHello) {
        let Some(from) = frame.frame().from().cloned().map(ServerId::from) else { return };
        let (Some(teller), Ok(key)) = (self.links.get(&link_id).and_then(Link::server), hello.pubkey.key())
        else {
            return;
        };
        let (teller, up) = (teller.server.clone(), teller.up);
        let signed = frame.proof(Purpose::Transport).is_some();
        // Our own under another name is a liar's: `sig` does not cover the name.
        let others = signed && from != self.id && *key != self.config.key;
        let Some(address) = hello.address().filter(|_| others) else { return };
        if frame.frame().text().len() > MAX_ANNOUNCE_BYTES {
            return self.dropped("announcement is too long", from.to_string());
        }
        // It brings the key that it speaks for: the pinned one, or the one from which the name derives.
        let pinned = self.peers.get(&from).map(|peer| &peer.record.key);
        let is_rightful = |pinned| from.derives_from(key) && !from.derives_from(pinned);
        if pinned.is_some_and(|pinned| pinned != key && (from == teller || !is_rightful(pinned))) {
            return self.dropped("announcement with another key", from.to_string());
        }
        // Nothing orders announcements, so a third party's, which may be old, moves nothing that is known, unless
        // it is the rightful owner's of a name that was known by another key.
        let known = self.peers.get(&from).filter(|peer| peer.record.key == *key);
        let announced = known.and_then(|peer| peer.announced.as_ref());
        if announced.is_some_and(|announced| from != teller || announced.address == address) {
            return;
        }
        self.charge_message(link_id);
        if from == teller {
            if let Some(peer) = self.peers.get_mut(&from) {
                let moved = peer.record.address.as_ref() != Some(&address);
                peer.record.address = Some(address.clone());
                if moved {
                    self.persist_server(&from);
                    if up {
                        let dialect = self.dialect(link_id);
                        self.keep_announced_linked(address.clone(), key.clone(), dialect);
                    }
                }
            }
        } else if up {
            let dialect = written_by(Dialect::Standard, hello.pubkey.form());
            self.learn_server(&teller, &from, key, address.clone(), dialect, PinRank::Claimed);
        }
        // Who is not kept is not passed on either: nothing would end it.
        let until = self.now.instant + self.config.timing.presence_lost;
        let kept = self.peers.get_mut(&from).filter(|peer| peer.record.key == *key);
        let Some(peer) = kept else { return };
        peer.announced = Some(Announced { address, text: frame.frame().text().clone(), until });
        self.remember(frame.frame());
        let to = self.gossip_links(&[&from, &teller], Some(link_id));
        self.relay(to, frame.frame());
    }
}

/// The longest announcement that is kept: key and signature take 1.5 KiB.
const MAX_ANNOUNCE_BYTES: usize = 4 * 1024;

/// An entry of WELCOME without its id and host: key in base64 and punctuation.
const ENTRY_BYTES: usize = 850;
