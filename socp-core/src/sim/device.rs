//! Clients: machines with their border, one for each person and server.

use std::collections::{BTreeMap, VecDeque};

use super::keys::KeyPair;
use super::net::Site;
use super::node::{Clock, server_address};
use super::trace::Happening;
use super::world::{Next, World};
use crate::client::{self, Action, Client, Command, Event, Notice, Record, Snapshot};
use crate::crypto::Admission;
use crate::server::LinkId;
use crate::wire::{Frame, Meta, PublicKey, UserId, WireText};

/// A person's program for one server, and what it stores.
pub(super) struct Device {
    pub(super) person: usize,
    pub(super) server: usize,
    /// `None` while the program is not running.
    pub(super) client: Option<Client>,
    config: client::Config,
    store: Store,
    pair: KeyPair,
    pub(super) clock: Clock,
    pub(super) link: Option<LinkId>,
}

#[derive(Default)]
struct Store {
    servers: Vec<client::ServerPin>,
    users: BTreeMap<UserId, client::UserPin>,
    /// The pin that another key took the place of last.
    replaced: BTreeMap<UserId, client::UserPin>,
    shown: Vec<client::Shown>,
    forgotten: BTreeMap<UserId, client::Forgotten>,
    doubtful: Vec<[u8; 32]>,
    meta: Option<Meta>,
}

/// Something that somebody said, and who was shown it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) from: usize,
    /// `None` for everybody.
    pub(super) to: Option<usize>,
    /// How often, by device.
    pub(super) shown: BTreeMap<usize, u32>,
    /// The client reported that it failed.
    pub(super) failed: bool,
}

/// The longest that a client's pool takes, in microseconds.
const POOL: usize = 4_000;

impl World {
    /// A person's program for a server: the same each time.
    pub(super) fn device_for(&mut self, person: usize, server: usize) -> usize {
        let existing = |device: &Device| device.person == person && device.server == server;
        if let Some(device) = self.devices.iter().position(existing) {
            return device;
        }
        let pair = self.people[person].pair.clone();
        let key = pair.signer.public_key().clone();
        let mut config =
            client::Config::new(self.people[person].id.clone(), key, server_address(server), [0; 32]);
        config.meta = Meta::named(&format!("u{person}"));
        self.devices.push(Device {
            person,
            server,
            client: None,
            config,
            store: Store::default(),
            pair,
            clock: Clock::default(),
            link: None,
        });
        self.devices.len() - 1
    }

    pub(super) fn start_device(&mut self, device: usize) {
        if self.devices[device].client.as_ref().is_some_and(|client| !client.is_stopped()) {
            return;
        }
        let seed = self.seed();
        let entry = &mut self.devices[device];
        entry.clock.begin(self.time);
        entry.config.seed = seed;
        let owner = &self.people[entry.person];
        entry.pair = owner.pair.clone();
        entry.config.key = owner.pair.signer.public_key().clone();
        entry.config.rotations = owner.rotations.clone();
        let store = &entry.store;
        let snapshot = Snapshot {
            servers: store.servers.clone(),
            users: store.users.values().cloned().collect(),
            shown: store.shown.clone(),
            forgotten: store.forgotten.values().cloned().collect(),
            doubtful: store.doubtful.clone(),
            shown_before: Vec::new(),
            meta: store.meta.clone(),
        };
        let now = entry.clock.now(self.time);
        let client = Client::new(entry.config.clone(), snapshot, now);
        let deadline = client.poll_timeout().map(|deadline| deadline.at);
        entry.client = Some(client);
        entry.link = None;
        self.note(
            Site::Device(device),
            format!("u{} starts, for s{}", self.devices[device].person, self.devices[device].server),
        );
        self.rearm(Site::Device(device), deadline);
    }

    /// The program is killed; what it stored stays.
    pub(super) fn kill_device(&mut self, device: usize) {
        if self.devices[device].client.take().is_some() {
            self.note(Site::Device(device), "is killed");
            self.devices[device].link = None;
            self.drop_links_of(Site::Device(device));
        }
    }

    pub(super) fn device_gets(&mut self, device: usize, text: &WireText) {
        let read = self.read(text);
        let Some(client) = &self.devices[device].client else { return };
        let event = match read {
            Err(error) => Event::Refused(error.into()),
            Ok(frame) => match client.admit(Frame::clone(&frame)) {
                Admission::Accept(frame) => Event::Frame(frame),
                Admission::Verify(frame) => match frame.verify(&*self.setup.keys.verifier) {
                    Ok(frame) => Event::Frame(frame),
                    Err(refusal) => Event::Refused(refusal),
                },
                Admission::Refuse(refusal) => Event::Refused(refusal),
            },
        };
        self.device_handles(device, event);
    }

    /// Hands an event to a client, and everything that follows from it at once.
    pub(super) fn device_handles(&mut self, device: usize, event: Event) {
        let is_wakeup = matches!(event, Event::Wakeup);
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let entry = &mut self.devices[device];
            let now = entry.clock.now(self.time);
            let Some(client) = entry.client.as_mut() else { return };
            let actions = client.handle(now, event);
            for action in actions {
                self.perform_device(device, action, &mut events);
            }
        }
        let entry = &self.devices[device];
        let next = entry.client.as_ref().and_then(Client::poll_timeout);
        if let Some(next) = next.filter(|next| is_wakeup && next.at <= entry.clock.now(self.time).instant) {
            let detail = format!("d{device} after a wake-up: {}", next.reason);
            self.checks.broken("deadlines lie ahead", detail);
        }
        self.rearm(Site::Device(device), next.map(|next| next.at));
    }

    fn perform_device(&mut self, device: usize, action: Action, events: &mut VecDeque<Event>) {
        let link = self.devices[device].link;
        match action {
            Action::Dial(address) => self.dial(Site::Device(device), address),
            Action::Send(frame) => {
                let signed = frame.sign(&*self.devices[device].pair.signer).expect("keys of a world sign");
                if let Some(link) = link {
                    self.write(link, signed.text());
                }
            }
            Action::Seal(draft) => {
                // Without a link it is thrown away, as the contract says.
                let Some(link) = link else { return };
                let sealed = draft.seal(&*self.setup.keys.sealer, &*self.devices[device].pair.signer);
                match sealed {
                    Ok(signed) => {
                        self.write(link, signed.text());
                        events.push_back(Event::Written(draft.id()));
                    }
                    Err(error) => events.push_back(Event::DraftFailed(draft.id(), error)),
                }
            }
            Action::Open(sealed) => {
                let opened = sealed.open(&*self.devices[device].pair.opener, &*self.setup.keys.verifier);
                let (at, life) = (self.time + self.below(POOL) as u64, self.devices[device].clock.life);
                self.schedule(at, Next::Opened(device, life, Box::new(Event::Opened(opened))));
            }
            Action::Persist(record) => self.devices[device].store.commit(record),
            Action::Ping => {
                if let Some(link) = link {
                    self.ping(link);
                }
            }
            Action::Close { reason, .. } => {
                self.devices[device].link = None;
                if let Some(link) = link {
                    self.close(link, reason);
                }
            }
            Action::Notify(notice) => self.notified(device, notice),
            // No server here logs in by password.
            Action::Password(_) => {}
            // People here send no files, and keep none that liars offer.
            Action::File(_) => {}
        }
    }

    fn notified(&mut self, device: usize, notice: Notice) {
        self.check_notice(device, &notice);
        match &notice {
            Notice::Sent { reference, .. } => {
                if let Some(link) = self.devices[device].link {
                    self.promise_message(*reference as usize, device, link);
                }
            }
            Notice::Failed { reference: Some(reference), .. } => {
                if let Some(said) = self.said_mut(*reference as usize) {
                    said.failed = true;
                }
            }
            _ => {}
        }
        self.record(Happening::Notice(Site::Device(device), notice));
    }

    /// A person says something that nobody has said before, to one or to all; returns its number.
    pub(super) fn say(&mut self, device: usize, to: Option<usize>) -> usize {
        let index = self.next_message();
        let text = format!("m{index}").into();
        let from = self.devices[device].person;
        self.keep_said(Said { from, to, shown: BTreeMap::new(), failed: false });
        let command = match to {
            Some(to) => Command::Tell { to: self.people[to].id.as_str().into(), text },
            None => Command::All { text },
        };
        self.device_handles(device, Event::Command { reference: index as u64, command });
        index
    }
}

impl Device {
    /// The key by which it knows somebody.
    pub(super) fn pinned(&self, user: &UserId) -> Option<&PublicKey> {
        Some(&self.store.users.get(user)?.key)
    }

    /// What it had pinned before the key of now.
    pub(super) fn replaced(&self, user: &UserId) -> Option<&client::UserPin> {
        self.store.replaced.get(user)
    }
}

impl Store {
    fn commit(&mut self, record: Record) {
        match record {
            Record::ServerPin(pin) => {
                self.servers.retain(|other| other.address != pin.address);
                self.servers.push(pin);
            }
            Record::UserPin(pin) => {
                let before = self.users.insert(pin.user_id.clone(), pin.clone());
                if let Some(before) = before.filter(|before| before.key != pin.key) {
                    self.replaced.insert(pin.user_id, before);
                }
            }
            Record::Shown(shown) => self.shown.push(shown),
            Record::Forgotten(forgotten) => {
                let client::Forgotten { from, until } = &forgotten;
                self.shown.retain(|shown| shown.from != *from || shown.ts > *until);
                self.forgotten.insert(from.clone(), forgotten);
            }
            Record::Doubtful(digest) => self.doubtful.push(digest),
            Record::Meta(meta) => self.meta = Some(meta),
        }
    }
}
