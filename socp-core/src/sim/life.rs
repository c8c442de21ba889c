//! People: who they are, where they want to be, and what they say.

use super::device::Said;
use super::keys::KeyPair;
use super::net::Site;
use super::trace::Happening;
use super::world::{Next, World, micros};
use crate::client;
use crate::crypto::{MAX_ROTATIONS, rotate};
use crate::wire::{Id, KeyId, Rotation, UserId};

/// People's later keys have numbers from here on, as many as people for each rotation.
const LATER_KEYS: u64 = 1 << 40;

/// Somebody with a key, who may run a program for any server.
pub(super) struct Person {
    pub(super) id: UserId,
    /// The key of now, and those before it, oldest first.
    pub(super) pair: KeyPair,
    pub(super) old_pairs: Vec<KeyPair>,
    pub(super) rotations: Vec<Rotation>,
    /// The program that is meant to be online.
    pub(super) at: Option<usize>,
    home: usize,
}

impl World {
    pub(super) fn make_people(&mut self) {
        for person in 0..self.setup.users {
            let pair = (self.setup.keys.pair)(1 + person as u64);
            let id = UserId::from(Id::derived_from(pair.signer.public_key()));
            self.trace.name(id.as_str(), format!("u{person}"));
            let home = self.below(self.setup.servers);
            let (old_pairs, rotations) = Default::default();
            self.people.push(Person { id, pair, old_pairs, rotations, at: None, home });
        }
    }

    pub(super) fn schedule_people(&mut self) {
        for person in 0..self.people.len() {
            let at = self.below(micros(self.setup.life.login_within) as usize) as u64;
            self.schedule(at, Next::Act(person));
        }
    }

    /// Somebody logs in at a server.
    pub fn log_in(&mut self, person: usize, server: usize) {
        let device = self.device_for(person, server);
        self.people[person].at = Some(device);
        self.start_device(device);
    }

    /// Somebody quits, if they are online.
    pub fn log_out(&mut self, person: usize) {
        if let Some(device) = self.people[person].at.take() {
            self.device_handles(device, client::Event::Shutdown);
        }
    }

    /// Somebody who is online sends a direct message to somebody else.
    pub fn tell(&mut self, from: usize, to: usize) {
        if let Some(device) = self.people[from].at {
            self.say(device, Some(to));
        }
    }

    pub(super) fn act(&mut self, person: usize) {
        if !self.restless {
            return;
        }
        self.act_once(person);
        let life = &self.setup.life;
        if life.act_every < std::time::Duration::from_secs(1 << 30) {
            let at = self.time + self.around(life.act_every);
            self.schedule(at, Next::Act(person));
        }
    }

    fn act_once(&mut self, person: usize) {
        let Some(device) = self.people[person].at else {
            return self.log_in(person, self.people[person].home);
        };
        if self.devices[device].client.as_ref().is_none_or(client::Client::is_stopped) {
            // The session was ended by another login of the same person: this one is over.
            self.people[person].at = None;
            return;
        }
        let life = self.setup.life.clone();
        if self.chance(life.coming_and_going) {
            self.log_out(person);
        } else if self.chance(life.roaming) {
            let server = self.below(self.servers.len());
            self.log_in(person, server);
        } else if life.rotating > 0.0 && self.chance(life.rotating) {
            self.rotate_key(person);
            self.start_device(device);
        } else if self.chance(life.crashing) {
            self.kill_device(device);
            self.start_device(device);
        } else if self.chance(0.1) {
            self.say(device, None);
        } else if self.chance(0.1) {
            let reference = self.next_message() as u64;
            self.keep_said(Said { from: person, to: None, shown: Default::default(), failed: false });
            let command = client::Command::List;
            self.device_handles(device, client::Event::Command { reference, command });
        } else {
            let to = self.below(self.people.len());
            if to != person {
                self.say(device, Some(to));
            }
        }
    }

    /// Somebody replaces their key, as `socp-client key rotate` does: while no program of theirs runs.
    fn rotate_key(&mut self, person: usize) {
        for device in self.running_devices(person) {
            self.kill_device(device);
        }
        let entry = &self.people[person];
        if entry.rotations.len() >= MAX_ROTATIONS {
            return;
        }
        let number = LATER_KEYS * (1 + entry.rotations.len() as u64) + person as u64;
        let new = (self.setup.keys.pair)(number);
        let chain = rotate(&entry.id, entry.rotations.clone(), &*entry.pair.signer, new.signer.public_key());
        let entry = &mut self.people[person];
        entry.rotations = chain.expect("keys of a world sign, and each is new");
        let old = std::mem::replace(&mut entry.pair, new);
        entry.old_pairs.push(old);
        self.record(Happening::World(format!(
            "u{person} has its key number {}",
            self.people[person].rotations.len() + 1
        )));
    }

    /// Which of a person's keys this is, oldest first, if it is one.
    pub(super) fn key_number(&self, user: &UserId, key: KeyId) -> Option<usize> {
        let person = self.people.iter().find(|person| person.id == *user)?;
        let mut pairs = person.old_pairs.iter().chain([&person.pair]);
        pairs.position(|pair| pair.signer.public_key().id() == key)
    }

    /// The programs of a person that run.
    pub(super) fn running_devices(&self, person: usize) -> Vec<usize> {
        let runs = |device: &super::device::Device| {
            device.client.as_ref().is_some_and(|client| !client.is_stopped())
        };
        let devices = self.devices.iter().enumerate();
        devices
            .filter(|(_, device)| device.person == person && runs(device))
            .map(|(index, _)| index)
            .collect()
    }

    /// What a program is meant to do once everything is well: somebody who wants to be online is.
    pub(super) fn resume_people(&mut self) {
        for person in 0..self.people.len() {
            let Some(device) = self.people[person].at else { continue };
            if self.running_devices(person).is_empty() {
                self.start_device(device);
                self.note(Site::Device(device), "is started again");
            }
        }
    }
}
