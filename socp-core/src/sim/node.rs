//! Server nodes: a machine with its border, which is what a driver is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::Cause;
use super::keys::KeyPair;
use super::net::Site;
use super::setup::Mesh;
use super::trace::Happening;
use super::world::{World, micros};
use crate::Now;
use crate::crypto::{Admission, RSA_BYTES};
use crate::server::{
    Action, Config, DeliveryRecord, DialPolicy, Event, Introducer, LinkId, MemberRecord, Outgoing, Record,
    Server, ServerRecord, Snapshot, UserRecord,
};
use crate::wire::{Binary, Frame, HostPort, Id, PublicKey, ServerId, Timestamp, UserId, WireText, Wrap};

/// What wall clocks show when a world begins: some day in 2027, in milliseconds.
pub(super) const EPOCH_MS: u64 = 1_800_000_000_000;

/// The clocks of one process, and the deadline of its machine.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Counts the process's lives; 0 before the first.
    pub(super) life: u32,
    /// When this life began, in microseconds of the world.
    started: u64,
    /// What the monotonic clock showed then: no two machines begin at nothing.
    base: Duration,
    /// By how much the wall clock is off, in milliseconds.
    pub(super) skew_ms: i64,
    pub(super) wake_at: Option<u64>,
    pub(super) generation: u32,
}

impl Clock {
    pub(super) fn begin(&mut self, time: u64) {
        self.life += 1;
        self.started = time;
        self.base = Duration::from_secs(u64::from(self.life) * 1_000);
        self.wake_at = None;
        self.generation += 1;
    }

    pub(super) fn now(&self, time: u64) -> Now {
        Now {
            instant: self.base + Duration::from_micros(time - self.started),
            unix_ms: (EPOCH_MS + time / 1000).saturating_add_signed(self.skew_ms),
        }
    }

    /// When an instant of this process is, in the world.
    pub(super) fn world_time(&self, instant: Duration) -> u64 {
        let after = instant.saturating_sub(self.base);
        self.started + after.as_nanos().div_ceil(1_000) as u64
    }
}

/// A server: its machine, its store and its keys.
pub(super) struct Node {
    /// `None` while the process is not running.
    pub(super) machine: Option<Server>,
    pub(super) id: ServerId,
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) pair: KeyPair,
    /// Where it can be dialled.
    pub(super) addresses: Vec<HostPort>,
    pub(super) clock: Clock,
    /// The process is killed in the middle of its next batch.
    pub(super) doomed: bool,
}

/// Numbers of keys: servers, people and liars have ranges of their own.
pub(super) const SERVER_KEYS: u64 = 1_000_000;
pub(super) const LIAR_KEYS: u64 = 2_000_000;

pub(super) fn server_address(server: usize) -> HostPort {
    HostPort::new(&format!("192.0.2.{}", server % 250 + 1), 8_000 + (server / 250) as u16)
        .expect("an address")
}

fn second_address(server: usize) -> HostPort {
    HostPort::new(&format!("server-{server}.example"), 8_000).expect("an address")
}

impl World {
    pub(super) fn make_servers(&mut self) {
        let count = self.setup.servers;
        let pairs: Vec<KeyPair> =
            (0..count).map(|server| (self.setup.keys.pair)(SERVER_KEYS + server as u64)).collect();
        for server in 0..count {
            let key = pairs[server].signer.public_key().clone();
            let id = ServerId::from(Id::derived_from(&key));
            let mut config = Config::new(id.clone(), key, Some(server_address(server)), [0; 32]);
            config.limits = self.setup.limits.clone();
            config.timing = self.setup.timing.clone();
            let listed: Vec<usize> = match self.setup.mesh {
                Mesh::Full => (0..count).collect(),
                Mesh::Introducers(introducers) => (0..introducers.min(count)).collect(),
                // Neighbours in a ring, and chords across it: every server can be reached from every other.
                Mesh::Sparse(degree) => {
                    (0..degree.max(1)).map(|step| (server + 1 + step * step * step) % count.max(1)).collect()
                }
            };
            if matches!(self.setup.mesh, Mesh::Sparse(_)) {
                config.dial = DialPolicy::None;
            }
            let mut addresses = vec![server_address(server)];
            if self.setup.faults.two_addresses {
                addresses.push(second_address(server));
            }
            for other in listed {
                let key = pairs[other].signer.public_key().clone();
                config.bootstrap.push(Introducer::new(server_address(other), key.clone()));
                if self.setup.faults.two_addresses && other != server {
                    config.bootstrap.push(Introducer::new(second_address(other), key));
                }
            }
            self.trace.name(id.as_str(), format!("s{server}"));
            self.servers.push(Node {
                machine: None,
                id,
                config,
                store: Store::default(),
                pair: pairs[server].clone(),
                addresses,
                clock: Clock::default(),
                doomed: false,
            });
        }
    }

    /// Starts a server, from what it stored if it ran before.
    pub fn start(&mut self, server: usize) {
        if self.servers[server].machine.is_some() {
            return;
        }
        let seed = self.seed();
        let node = &mut self.servers[server];
        node.clock.begin(self.time);
        node.doomed = false;
        node.config.seed = seed;
        let now = node.clock.now(self.time);
        let machine = Server::new(node.config.clone(), node.store.snapshot(), now);
        let deadline = machine.poll_timeout().map(|deadline| deadline.at);
        node.machine = Some(machine);
        self.checks.server_started(server, &self.servers[server].store);
        self.note(Site::Server(server), "starts");
        self.rearm(Site::Server(server), deadline);
    }

    /// `kill -9`: its links die, what it has stored stays.
    pub fn crash(&mut self, server: usize) {
        if self.servers[server].machine.take().is_some() {
            self.note(Site::Server(server), "is killed");
            self.drop_links_of(Site::Server(server));
        }
    }

    pub(super) fn server_wakes(&mut self, server: usize) {
        if self.servers[server].machine.is_none() {
            return;
        }
        let now = self.servers[server].clock.now(self.time);
        self.server_handles(server, Event::Wakeup);
        let next = self.servers[server].machine.as_ref().and_then(Server::poll_timeout);
        if let Some(next) = next.filter(|next| next.at <= now.instant) {
            let detail =
                format!("s{server} at {:?} after a wake-up at {:?} ({})", next.at, now.instant, next.reason);
            self.checks.broken("deadlines lie ahead", detail);
        }
    }

    pub(super) fn server_handles(&mut self, server: usize, event: Event) {
        let node = &mut self.servers[server];
        let now = node.clock.now(self.time);
        let Some(machine) = node.machine.as_mut() else { return };
        let actions = machine.handle(now, event);
        self.perform(server, actions, None);
    }

    /// A frame arrives: what is due fires first, so that what the frame does is seen alone.
    pub(super) fn server_gets(&mut self, server: usize, link: LinkId, text: &WireText) {
        let node = &mut self.servers[server];
        let now = node.clock.now(self.time);
        let Some(machine) = node.machine.as_mut() else { return };
        if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now.instant) {
            self.server_handles(server, Event::Wakeup);
        }
        let frame = match self.read(text) {
            Ok(frame) => frame,
            Err(error) => return self.server_handles(server, Event::Refused { link, refusal: error.into() }),
        };
        let node = &mut self.servers[server];
        let Some(machine) = node.machine.as_mut() else { return };
        let mut cause = Cause::of(link, frame.clone());
        let frame = Frame::clone(&frame);
        let event = match machine.admit(link, frame) {
            Admission::Accept(frame) => Event::Frame { link, frame },
            Admission::Verify(frame) => match frame.verify(&*self.setup.keys.verifier) {
                Ok(frame) => {
                    cause.verified = true;
                    Event::Frame { link, frame }
                }
                Err(refusal) => Event::Refused { link, refusal },
            },
            Admission::Refuse(refusal) => Event::Refused { link, refusal },
        };
        cause.refused = matches!(event, Event::Refused { .. });
        self.checks.before(machine, &cause);
        let actions = machine.handle(now, event);
        self.perform(server, actions, Some(&cause));
    }

    /// Does what a batch asks for: its records are stored before its frames leave.
    fn perform(&mut self, server: usize, actions: Vec<Action>, cause: Option<&Cause>) {
        let mut kept = usize::MAX;
        if self.servers[server].doomed && actions.iter().any(|action| matches!(action, Action::Persist(_))) {
            kept = self.below(actions.len() + 1);
        }
        for action in &actions {
            if let Action::Persist(record) = action {
                self.checks.persisted(server, &self.servers[server].store, record);
                self.servers[server].store.commit(record.clone());
            }
        }
        let crashes = kept < usize::MAX;
        for action in actions.iter().take(kept) {
            self.perform_one(server, action, cause);
        }
        if crashes {
            self.note(Site::Server(server), format!("dies after {kept} of {} actions", actions.len()));
            return self.crash(server);
        }
        self.check_server(server, &actions, cause);
        let deadline = self.servers[server].machine.as_ref().and_then(Server::poll_timeout);
        self.rearm(Site::Server(server), deadline.map(|deadline| deadline.at));
    }

    fn perform_one(&mut self, server: usize, action: &Action, cause: Option<&Cause>) {
        match action {
            Action::Send { to, frame } => {
                let (text, own) = match frame {
                    Outgoing::Own(frame) => {
                        let signed =
                            frame.sign(&*self.servers[server].pair.signer).expect("keys of a world sign");
                        (signed.into_text(), Some(frame.kind()))
                    }
                    Outgoing::Relay(text) | Outgoing::Bulk(text) => (text.clone(), None),
                };
                self.check_sent(server, to, &text, own, cause);
                let kind = match own {
                    Some(kind) => kind.clone(),
                    None => self.read(&text).expect("it was read before it was relayed").kind().clone(),
                };
                self.count(&kind, to, text.len());
                for link in to {
                    self.write(*link, &text);
                }
            }
            Action::Persist(_) => {}
            Action::Dial { address, .. } => self.dial(Site::Server(server), address.clone()),
            Action::Ping { to } => to.iter().for_each(|link| self.ping(*link)),
            Action::Close { link, reason, .. } => self.close(*link, reason),
            Action::Pause { link, until } => {
                let until = self.servers[server].clock.world_time(*until);
                self.pause(*link, until);
            }
            Action::CheckPassword(check) => {
                // Nobody here says where they call from, so nobody is asked for a password.
                unreachable!("{check:?}")
            }
            Action::WrapChannelKey { members } => {
                let wraps = members.iter().map(|(user, key)| wrap(user, key)).collect();
                self.server_handles(server, Event::ChannelKeyWrapped { wraps });
            }
            Action::Report(report) => self.record(Happening::Report(Site::Server(server), report.clone())),
        }
    }
}

/// What a server has stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) own_id: Option<ServerId>,
    pub(super) issued_at: u64,
    pub(super) servers: BTreeMap<ServerId, ServerRecord>,
    pub(super) users: BTreeMap<UserId, UserRecord>,
    pub(super) channel_version: Option<u64>,
    pub(super) members: BTreeMap<UserId, MemberRecord>,
    pub(super) delivered: Vec<DeliveryRecord>,
    pub(super) delivered_until: BTreeMap<UserId, Timestamp>,
}

impl Store {
    fn commit(&mut self, record: Record) {
        match record {
            Record::OwnId(id) => self.own_id = Some(id),
            Record::IssuedAt(at) => self.issued_at = at,
            Record::Server(record) => {
                self.servers.insert(record.server_id.clone(), record);
            }
            Record::ForgetServer(id) => {
                self.servers.remove(&id);
            }
            Record::User(record) => {
                self.users.insert(record.user_id.clone(), record);
            }
            Record::ForgetUser(id) => {
                self.users.remove(&id);
                self.members.remove(&id);
            }
            // Without passwords there are no accounts.
            Record::Account(_) => {}
            Record::ChannelVersion(version) => self.channel_version = Some(version),
            Record::Member(record) => {
                self.members.insert(record.member_id.clone(), record);
            }
            Record::Delivered(record) => self.delivered.push(record),
            Record::DeliveredUntil { author, until } => {
                self.delivered.retain(|kept| kept.author != author || kept.ts > until);
                self.delivered_until.insert(author, until);
            }
            Record::ForgetAuthor(author) => {
                self.delivered_until.remove(&author);
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            own_id: self.own_id.clone(),
            issued_at: self.issued_at,
            servers: self.servers.values().cloned().collect(),
            users: self.users.values().cloned().collect(),
            accounts: Vec::new(),
            channel_version: self.channel_version.unwrap_or(1),
            members: self.members.values().cloned().collect(),
            delivered: self.delivered.clone(),
            delivered_until: self.delivered_until.clone().into_iter().collect(),
        }
    }
}

/// As long as a wrap of a real key: what it holds nobody looks at.
fn wrap(user: &UserId, key: &PublicKey) -> Wrap {
    Wrap { member_id: user.clone(), wrapped_key: Binary::new(key.spki()[..RSA_BYTES].to_vec()) }
}

pub(super) fn millis(duration: Duration) -> i64 {
    (micros(duration) / 1000) as i64
}
