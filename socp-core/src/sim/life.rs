//! People: who they are, where they want to be, and what they say.

use super::device::Said;
use super::keys::KeyPair;
use super::net::Site;
use super::world::{Next, World, micros};
use crate::client;
use crate::wire::{Id, UserId};

/// Somebody with a key, who may run a program for any server.
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) pair: KeyPair,
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
            self.people.push(Person { id, pair, at: None, home });
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
