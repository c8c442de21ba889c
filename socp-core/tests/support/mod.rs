//! A small world for tests of the server machine: machines joined by FIFO links, virtual time, and
//! signatures that cost nothing but detect any change of key or text. On the public API only.

#![allow(dead_code, unreachable_pub, reason = "every test file includes it and uses a part")]

pub mod hostile;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use socp_core::Now;
use socp_core::crypto::{
    Admission, CryptoError, Refusal, SaltLength, SharedPayload, Signature, Signer, Unsigned, Verified,
    Verifier,
};
use socp_core::server::{
    Action, Config, Event, Introducer, LinkId, LinkOrigin, Outgoing, Record, Report, Server, ServerRecord,
    Snapshot,
};
pub use socp_core::sim::fake_key as key;
use socp_core::sim::fake_signature;
use socp_core::wire::*;

/// Signs with a hash, and counts.
pub struct FakeSigner {
    pub key: PublicKey,
    pub signatures: AtomicUsize,
}

impl FakeSigner {
    pub fn new(key: PublicKey) -> Self {
        Self { key, signatures: AtomicUsize::new(0) }
    }

    pub fn count(&self) -> usize {
        self.signatures.load(Ordering::Relaxed)
    }
}

impl Signer for FakeSigner {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn sign_with(&self, message: &[u8], salt: SaltLength) -> Result<Signature, CryptoError> {
        self.signatures.fetch_add(1, Ordering::Relaxed);
        Ok(fake_signature(&self.key, message, salt))
    }
}

/// Checks them, and counts.
#[derive(Default)]
pub struct FakeVerifier {
    pub verifications: AtomicUsize,
}

impl FakeVerifier {
    pub fn count(&self) -> usize {
        self.verifications.load(Ordering::Relaxed)
    }
}

impl Verifier for FakeVerifier {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8], salt: SaltLength) -> bool {
        self.verifications.fetch_add(1, Ordering::Relaxed);
        signature == &*fake_signature(key, message, salt)
    }
}

pub fn parse(text: &str) -> Frame {
    Frame::parse(text, 1 << 20).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A signed frame, as a peer would send it.
pub fn signed(from: &Id, to: Recipient, ts: u64, payload: &Payload, signer: &FakeSigner) -> Frame {
    let frame = Unsigned::new(from.clone(), to, Timestamp(ts), SharedPayload::new(payload));
    parse(frame.sign(signer).expect("fake").text().as_str())
}

/// The same frame without a signature.
pub fn unsigned(from: &Id, to: Recipient, ts: u64, payload: &Payload) -> WireText {
    let frame = Unsigned::new(from.clone(), to, Timestamp(ts), SharedPayload::new(payload));
    let (kind, to, payload) = (frame.kind().as_str(), frame.to().as_str(), frame.payload().canonical());
    let head = format!(r#"{{"type":"{kind}","from":"{from}","to":"{to}","ts":{ts}"#);
    format!(r#"{head},"payload":{payload}}}"#).into()
}

pub fn address(port: u16) -> HostPort {
    HostPort::new("127.0.0.1", port).expect("an address")
}

/// The bootstrap entry of the world's server `node`.
pub fn introducer(node: usize) -> Introducer {
    Introducer::new(address(9_000 + node as u16), key(1_000 + node as u64))
}

pub fn now(ms: u64) -> Now {
    Now { instant: Duration::from_millis(ms), unix_ms: START_MS + ms }
}

pub const START_MS: u64 = 1_795_000_000_000;

/// A server with its border: signer, store, and what it reported.
pub struct Node {
    pub machine: Server,
    pub signer: FakeSigner,
    pub config: Config,
    pub snapshot: Snapshot,
    pub reports: Vec<Report>,
    pub alive: bool,
    pub next_link: u64,
    /// Where others reach it, whatever it says of itself.
    pub listen: HostPort,
}

/// A user at the other end of a link, who answers the challenge and keeps what arrives.
pub struct User {
    pub id: UserId,
    pub signer: FakeSigner,
    pub server: usize,
    pub link: LinkId,
    pub online: bool,
    pub inbox: Vec<Frame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Server(usize, LinkId),
    User(usize),
}

enum Item {
    Text(WireText),
    Close,
}

/// Servers and users joined by links that keep order; one clock for all.
#[derive(Default)]
pub struct World {
    pub nodes: Vec<Node>,
    pub users: Vec<User>,
    wires: BTreeMap<End, End>,
    queue: VecDeque<(End, Item)>,
    pub verifier: FakeVerifier,
    /// How often a link was held back.
    pub pauses: usize,
    pub ms: u64,
    /// Every text that crossed a server link, with both ends: for tests that count.
    pub traffic: Vec<(End, End, WireText)>,
    /// Texts dropped instead of delivered, by a test that breaks the network.
    pub lose: Option<fn(&str) -> bool>,
}

impl World {
    /// `count` servers, not started; each lists those before it in its bootstrap list.
    pub fn with_servers(count: usize) -> Self {
        let mut world = Self::default();
        for index in 0..count {
            let key = key(1_000 + index as u64);
            let listen = address(9_000 + index as u16);
            let mut seed = [0; 32];
            seed[0] = index as u8 + 1;
            let id = ServerId::from(Id::derived_from(&key));
            let mut config = Config::new(id, key.clone(), Some(listen), seed);
            config.bootstrap = (0..count).map(introducer).collect();
            world.add_node(config);
        }
        world
    }

    pub fn add_node(&mut self, config: Config) -> usize {
        let machine = Server::new(config.clone(), Snapshot::default(), now(self.ms));
        self.nodes.push(Node {
            machine,
            signer: FakeSigner::new(config.key.clone()),
            listen: config.address.clone().expect("an address"),
            config,
            snapshot: Snapshot::default(),
            reports: Vec::new(),
            alive: false,
            next_link: 1,
        });
        self.nodes.len() - 1
    }

    /// Starts a server, from its snapshot if it ran before.
    pub fn start(&mut self, node: usize) {
        let now = now(self.ms);
        let entry = &mut self.nodes[node];
        // A restarted process has other chance than the one before.
        entry.config.seed[31] = entry.config.seed[31].wrapping_add(1);
        entry.machine = Server::new(entry.config.clone(), entry.snapshot.clone(), now);
        entry.alive = true;
        self.run();
    }

    pub fn started(count: usize) -> Self {
        let mut world = Self::with_servers(count);
        for node in 0..count {
            world.start(node);
        }
        world.advance(5_000);
        world
    }

    /// `kill -9`: links die, what was under way on them is lost, the snapshot stays.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        let ends: Vec<(End, End)> = self
            .wires
            .iter()
            .filter(|(end, _)| matches!(end, End::Server(server, _) if *server == node))
            .map(|(a, b)| (*a, *b))
            .collect();
        for (own, other) in ends {
            self.wires.remove(&own);
            self.wires.remove(&other);
            self.queue.retain(|(to, _)| *to != own);
            self.closed(other);
        }
        self.run();
    }

    /// Cuts all links between two servers.
    pub fn cut(&mut self, a: usize, b: usize) {
        let ends: Vec<(End, End)> = self
            .wires
            .iter()
            .filter(|(x, y)| matches!((x, y), (End::Server(x, _), End::Server(y, _)) if *x == a && *y == b))
            .map(|(x, y)| (*x, *y))
            .collect();
        for (x, y) in ends {
            self.wires.remove(&x);
            self.wires.remove(&y);
            self.queue.retain(|(to, _)| *to != x && *to != y);
            self.closed(x);
            self.closed(y);
        }
        self.run();
    }

    fn closed(&mut self, end: End) {
        match end {
            End::Server(node, link) => self.handle(node, Event::LinkClosed { link, why: "gone".into() }),
            End::User(user) => self.users[user].online = false,
        }
    }

    /// A user dials a server and logs in with a proof; names carry over into `meta`.
    pub fn login(&mut self, server: usize, name: &str, seed: u64) -> usize {
        let user = self.connect(server, seed);
        self.hello(user, name, true);
        self.run();
        user
    }

    /// A proven login whose answers nobody reads: for tests that need a crowd.
    pub fn add_to_crowd(&mut self, node: usize, seed: u64) {
        let signer = FakeSigner::new(key(seed));
        let id = UserId::from(Id::derived_from(&signer.key));
        let link = self.new_link(node);
        self.nodes[node]
            .machine
            .handle(now(self.ms), Event::LinkOpened { link, origin: LinkOrigin::Accepted });
        let nonce = self.challenge(node, link, &id, &signer);
        let proof = LoginProof {
            nonce,
            user_id: id.clone(),
            server_id: self.id(node),
            host: self.nodes[node].listen.to_string().into(),
            issued_at: START_MS + self.ms,
        };
        let proof = signed(id.id(), Recipient::Unnamed, START_MS, &Payload::LoginProof(proof), &signer);
        self.receive(node, link, proof);
    }

    /// Says hello on a link and returns the nonce of the challenge.
    pub fn challenge(&mut self, node: usize, link: LinkId, id: &UserId, signer: &FakeSigner) -> Nonce {
        let hello = UserHello {
            client: None,
            pubkey: Some(signer.key.clone().into()),
            enc_pubkey: None,
            auth: vec!["pss".into()],
            ext: Vec::new(),
            meta: None,
            rotations: Vec::new(),
            nonce: None,
        };
        let hello = signed(id.id(), Recipient::Unnamed, START_MS, &Payload::UserHello(hello), signer);
        let actions = self.receive(node, link, hello);
        let challenge = actions.iter().find_map(|action| match action {
            Action::Send { frame: Outgoing::Own(frame), .. } => {
                let text = frame.sign(&self.nodes[node].signer).expect("fake").into_text();
                match parse(text.as_str()).payload() {
                    Payload::LoginChallenge(challenge) => Some(challenge.nonce),
                    _ => None,
                }
            }
            _ => None,
        });
        challenge.expect("challenged")
    }

    /// Hands a frame to a machine and returns what it wants done, undone.
    pub fn receive(&mut self, node: usize, link: LinkId, frame: Frame) -> Vec<Action> {
        let now = now(self.ms);
        self.nodes[node].machine.receive(now, link, frame, &self.verifier)
    }

    /// A frame whose checks held on its link's own task, and of which the machine does not know yet.
    pub fn checked(&self, node: usize, link: LinkId, frame: Frame) -> Result<Verified, Refusal> {
        match self.nodes[node].machine.admit(link, frame) {
            Admission::Accept(frame) => Ok(frame),
            Admission::Verify(frame) => frame.verify(&self.verifier),
            Admission::Refuse(refusal) => Err(refusal),
        }
    }

    /// What a user's server makes of a frame for somebody elsewhere; it is under way, and has not arrived.
    pub fn under_way(&mut self, author: usize, to: &UserId, payload: &Payload) -> Frame {
        let User { id, signer, server, link, .. } = &self.users[author];
        let (server, link) = (*server, *link);
        let frame = signed(id.id(), Recipient::from(to), self.unix_ms(), payload, signer);
        let sent = self.receive(server, link, frame).into_iter().find_map(|action| match action {
            Action::Send { frame: Outgoing::Own(frame), .. } => {
                Some(frame.sign(&self.nodes[server].signer).expect("fake").into_text())
            }
            Action::Send { frame: Outgoing::Relay(text) | Outgoing::Bulk(text), .. } => Some(text),
            _ => None,
        });
        parse(sent.expect("sent on").as_str())
    }

    /// A user dials a server and says nothing yet.
    pub fn connect(&mut self, server: usize, seed: u64) -> usize {
        self.connect_from(server, seed, LinkOrigin::Accepted)
    }

    /// The same from somewhere.
    pub fn connect_from(&mut self, server: usize, seed: u64, origin: LinkOrigin) -> usize {
        let key = key(seed);
        let link = self.new_link(server);
        let user = self.users.len();
        let id = UserId::from(Id::derived_from(&key));
        self.users.push(User {
            id,
            signer: FakeSigner::new(key),
            server,
            link,
            online: true,
            inbox: Vec::new(),
        });
        let (a, b) = (End::Server(server, link), End::User(user));
        self.wires.insert(a, b);
        self.wires.insert(b, a);
        self.handle(server, Event::LinkOpened { link, origin });
        user
    }

    pub fn hello(&mut self, user: usize, name: &str, auth: bool) {
        let key = self.users[user].signer.key.clone();
        let hello = UserHello {
            client: Some("test".into()),
            pubkey: Some(key.clone().into()),
            enc_pubkey: Some(key.into()),
            auth: if auth { vec!["pss".into()] } else { Vec::new() },
            ext: Vec::new(),
            meta: Some(Meta::named(name)),
            rotations: Vec::new(),
            nonce: None,
        };
        self.user_sends(user, Recipient::Named("server".into()), &Payload::UserHello(hello));
        self.run();
    }

    pub fn user_sends(&mut self, user: usize, to: Recipient, payload: &Payload) {
        let entry = &self.users[user];
        let frame = signed(entry.id.id(), to, START_MS + self.ms, payload, &entry.signer);
        self.user_sends_text(user, frame.text().clone());
    }

    pub fn user_sends_text(&mut self, user: usize, text: WireText) {
        if let Some(end) = self.wires.get(&End::User(user)) {
            self.queue.push_back((*end, Item::Text(text)));
        }
    }

    /// An encrypted and signed direct message; what it says is its ciphertext.
    pub fn tell(&mut self, user: usize, to: &UserId, text: &str) {
        let ts = Timestamp(START_MS + self.ms);
        let entry = &self.users[user];
        let message = message(&entry.id, to, text, ts, &entry.signer);
        self.user_sends(user, Recipient::from(to), &Payload::MsgDirect(message));
        self.run();
    }

    pub fn log_out(&mut self, user: usize) {
        if let Some(end) = self.wires.remove(&End::User(user)) {
            self.wires.remove(&end);
            self.users[user].online = false;
            self.closed(end);
        }
        self.run();
    }

    pub fn handle(&mut self, node: usize, event: Event) {
        if !self.nodes[node].alive {
            return;
        }
        let actions = self.nodes[node].machine.handle(now(self.ms), event);
        self.perform(node, actions);
    }

    fn perform(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, frame } => {
                    let text = match frame {
                        Outgoing::Own(frame) => {
                            frame.sign(&self.nodes[node].signer).expect("fake").into_text()
                        }
                        Outgoing::Relay(text) | Outgoing::Bulk(text) => text,
                    };
                    for link in to {
                        let own = End::Server(node, link);
                        let Some(other) = self.wires.get(&own).copied() else { continue };
                        if self.lose.is_some_and(|lose| lose(text.as_str())) {
                            continue;
                        }
                        if let End::Server(..) = other {
                            self.traffic.push((own, other, text.clone()));
                        }
                        self.queue.push_back((other, Item::Text(text.clone())));
                    }
                }
                Action::Persist(record) => persist(&mut self.nodes[node].snapshot, record),
                Action::Dial { address, .. } => self.dial(node, address),
                Action::Ping { to } => {
                    for link in to {
                        match self.wires.get(&End::Server(node, link)).copied() {
                            Some(End::Server(other, other_link)) => {
                                self.handle(other, Event::LinkAlive { link: other_link });
                            }
                            Some(End::User(_)) => self.handle(node, Event::LinkAlive { link }),
                            None => {}
                        }
                    }
                }
                Action::Close { link, .. } => {
                    let own = End::Server(node, link);
                    if let Some(other) = self.wires.remove(&own) {
                        self.queue.push_back((other, Item::Close));
                    }
                }
                Action::Pause { .. } => self.pauses += 1,
                Action::CheckPassword(check) => {
                    let right = check.hash[..] == password_hash(&check.password, &check.salt)[..];
                    self.handle(node, Event::PasswordChecked { link: check.link, right });
                }
                Action::WrapChannelKey { members } => {
                    let wraps = members.iter().map(|(user, key)| wrap(user, key)).collect();
                    self.handle(node, Event::ChannelKeyWrapped { wraps });
                }
                Action::Report(report) => self.nodes[node].reports.push(report),
            }
        }
    }

    fn dial(&mut self, node: usize, address: HostPort) {
        let target = self.nodes.iter().position(|other| other.alive && other.listen == address);
        let Some(target) = target else {
            return self.handle(node, Event::DialFailed { address, why: "refused".into() });
        };
        let (ours, theirs) = (self.new_link(node), self.new_link(target));
        self.wires.insert(End::Server(node, ours), End::Server(target, theirs));
        self.wires.insert(End::Server(target, theirs), End::Server(node, ours));
        self.handle(target, Event::LinkOpened { link: theirs, origin: LinkOrigin::Accepted });
        self.handle(node, Event::LinkOpened { link: ours, origin: LinkOrigin::Dialled(address) });
    }

    pub fn new_link(&mut self, node: usize) -> LinkId {
        self.nodes[node].next_link += 1;
        LinkId(self.nodes[node].next_link)
    }

    /// Delivers everything that is under way, at this moment of virtual time.
    pub fn run(&mut self) {
        let mut budget = 2_000_000;
        loop {
            budget -= 1;
            assert!(budget > 0, "the network does not come to rest");
            let Some((to, item)) = self.queue.pop_front() else {
                let due = (0..self.nodes.len()).find(|node| {
                    self.nodes[*node].alive && self.deadline(*node).is_some_and(|at| at <= self.ms)
                });
                match due {
                    Some(node) => self.handle(node, Event::Wakeup),
                    None => return,
                }
                continue;
            };
            match (to, item) {
                (End::Server(node, link), Item::Text(text)) => {
                    if !self.nodes[node].alive {
                        continue;
                    }
                    let actions = self.receive(node, link, parse(text.as_str()));
                    self.perform(node, actions);
                }
                (End::User(user), Item::Text(text)) => self.user_receives(user, parse(text.as_str())),
                (end, Item::Close) => {
                    self.wires.remove(&end);
                    self.closed(end);
                }
            }
        }
    }

    fn user_receives(&mut self, user: usize, frame: Frame) {
        if let Payload::LoginChallenge(challenge) = frame.payload() {
            let entry = &self.users[user];
            let proof = LoginProof {
                nonce: challenge.nonce,
                user_id: entry.id.clone(),
                server_id: challenge.server_id.clone(),
                host: address(9_000 + entry.server as u16).to_string().into(),
                issued_at: START_MS + self.ms,
            };
            self.user_sends(user, Recipient::from(&challenge.server_id), &Payload::LoginProof(proof));
        }
        self.users[user].inbox.push(frame);
    }

    fn deadline(&self, node: usize) -> Option<u64> {
        let at = self.nodes[node].machine.poll_timeout()?.at;
        Some(at.as_nanos().div_ceil(1_000_000) as u64)
    }

    /// Lets time pass, waking every server at its deadlines.
    pub fn advance(&mut self, ms: u64) {
        let until = self.ms + ms;
        self.run();
        loop {
            let next = (0..self.nodes.len())
                .filter(|node| self.nodes[*node].alive)
                .filter_map(|node| self.deadline(node))
                .min();
            match next.filter(|at| *at <= until) {
                Some(at) => {
                    self.ms = at.max(self.ms);
                    self.run();
                }
                None => break,
            }
        }
        self.ms = until;
        self.run();
    }

    pub fn id(&self, node: usize) -> ServerId {
        self.nodes[node].machine.id().clone()
    }

    /// What the wall clock shows.
    pub fn unix_ms(&self) -> u64 {
        START_MS + self.ms
    }

    /// Where a server thinks a user is.
    pub fn location(&self, node: usize, user: &UserId) -> Option<ServerId> {
        let mut known = self.nodes[node].machine.user_locations();
        known.find(|(other, _)| *other == user).map(|(_, server)| server.clone())
    }

    /// What a server keeps of another.
    pub fn pin(&self, node: usize, server: &ServerId) -> Option<&ServerRecord> {
        self.nodes[node].snapshot.servers.iter().find(|record| record.server_id == *server)
    }

    /// Whether a server holds a link to another that is up.
    pub fn is_linked_to(&self, node: usize, server: &ServerId) -> bool {
        self.nodes[node].machine.linked_servers().any(|(other, _)| other == server)
    }

    /// The link on which a server hears another.
    pub fn link_from(&self, node: usize, from: usize) -> LinkId {
        let from = self.id(from);
        let mut linked = self.nodes[node].machine.linked_servers();
        linked.find(|(server, _)| **server == from).expect("linked").1
    }

    /// How many frames of a type a user received.
    pub fn received(&self, user: usize, kind: &FrameType) -> usize {
        self.users[user].inbox.iter().filter(|frame| frame.kind() == kind).count()
    }

    /// Who a server thinks is online.
    pub fn online(&self, node: usize) -> Vec<UserId> {
        self.nodes[node].machine.user_locations().map(|(user, _)| user.clone()).collect()
    }

    pub fn linked(&self, node: usize) -> usize {
        self.nodes[node].machine.linked_servers().count()
    }

    /// The names of USER_ADDED, USER_REMOVED and DIRECTORY as a user saw them, e.g. `+alice`, `-alice`.
    pub fn presence_seen(&self, user: usize) -> Vec<String> {
        let mut seen = Vec::new();
        for frame in &self.users[user].inbox {
            match frame.payload() {
                Payload::UserAdded(entry) => seen.push(format!("+{}", name(entry))),
                Payload::UserRemoved(removed) => {
                    let who = self.users.iter().position(|user| user.id == removed.user_id);
                    seen.push(format!("-{}", who.map_or("?".into(), |who| who.to_string())));
                }
                Payload::Directory(page) => {
                    seen.extend(page.users.iter().map(|entry| format!("+{}", name(entry))))
                }
                _ => {}
            }
        }
        seen
    }

    /// What a user's messages say, with their authors.
    pub fn messages(&self, user: usize) -> Vec<(UserId, String)> {
        let mut messages = Vec::new();
        for frame in &self.users[user].inbox {
            if let Payload::UserDeliver(message) | Payload::MsgPublicChannel(message) = frame.payload() {
                let author = message.sender.clone().expect("a sender");
                messages.push((author, String::from_utf8_lossy(message.ciphertext.bytes()).into_owned()));
            }
        }
        messages
    }

    pub fn errors(&self, user: usize) -> Vec<(String, String)> {
        let mut errors = Vec::new();
        for frame in &self.users[user].inbox {
            if let Payload::Error(error) = frame.payload() {
                errors.push((error.code.to_string(), error.detail.to_string()));
            }
        }
        errors
    }
}

fn name(entry: &DirectoryEntry) -> String {
    entry.meta.as_ref().and_then(|meta| meta.display_name()).unwrap_or_else(|| entry.user_id.to_string())
}

pub fn message(from: &UserId, to: &UserId, text: &str, ts: Timestamp, signer: &FakeSigner) -> Message {
    let ciphertext = Binary::new(text.as_bytes());
    let mut input = text.as_bytes().to_vec();
    input.extend(format!("{from}{to}{ts}").into_bytes());
    Message {
        user_id: None,
        to: Some(to.as_str().into()),
        ciphertext,
        sender: Some(from.clone()),
        sender_pub: Some(signer.key.clone().into()),
        content_sig: Some(Binary::new(signer.sign(&input).expect("fake"))),
        ts: Some(ts),
        original_ts: None,
        part: None,
        parts_sig: None,
    }
}

/// What stands for scrypt.
pub fn password_hash(password: &str, salt: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(password).chain_update(salt).finalize().to_vec()
}

/// What stands for the channel's key under a member's.
pub fn wrap(user: &UserId, key: &PublicKey) -> Wrap {
    Wrap {
        member_id: user.clone(),
        wrapped_key: Binary::new(fake_signature(key, b"the channel's key", SaltLength::Digest)),
    }
}

/// What a store does with a record.
pub fn persist(snapshot: &mut Snapshot, record: Record) {
    match record {
        Record::OwnId(id) => snapshot.own_id = Some(id),
        Record::IssuedAt(at) => snapshot.issued_at = at,
        Record::Server(record) => {
            snapshot.servers.retain(|other| other.server_id != record.server_id);
            snapshot.servers.push(record);
        }
        Record::ForgetUser(id) => {
            snapshot.users.retain(|other| other.user_id != id);
            snapshot.members.retain(|other| other.member_id != id);
        }
        Record::Account(record) => snapshot.accounts.push(record),
        Record::ChannelVersion(version) => snapshot.channel_version = version,
        Record::Member(record) => {
            snapshot.members.retain(|other| other.member_id != record.member_id);
            snapshot.members.push(record);
        }
        Record::ForgetAuthor(id) => snapshot.delivered_until.retain(|(author, _)| *author != id),
        Record::Delivered(record) => snapshot.delivered.push(record),
        Record::DeliveredUntil { author, until } => {
            snapshot.delivered.retain(|other| other.author != author || other.ts > until);
            snapshot.delivered_until.retain(|(other, _)| *other != author);
            snapshot.delivered_until.push((author, until));
        }
        Record::ForgetServer(id) => snapshot.servers.retain(|other| other.server_id != id),
        Record::User(record) => {
            snapshot.users.retain(|other| other.user_id != record.user_id);
            snapshot.users.push(record);
        }
    }
}
