//! What must be so once everything works again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure::Failure;
use super::setup::Mesh;
use super::world::{World, micros};
use crate::client::Client;
use crate::wire::{ServerId, UserId};

/// How a world came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How long it took, in virtual time, until everybody knew the truth.
    pub after: Duration,
    /// Direct messages that were sent then, and arrived.
    pub probes: usize,
    /// Users online.
    pub online: usize,
    /// See [`World::trace_hash`].
    pub trace_hash: u64,
    /// How many things have happened.
    pub happenings: u64,
}

/// What is true must stay true for longer than any timer of the machines takes to undo it: an origin is
/// down after 180 s without PRESENCE.
const STAYS: Duration = Duration::from_secs(200);

/// Probes beyond this many are a sample.
const MAX_PROBES: usize = 200;

impl World {
    /// Mends everything and lets the world come to rest: all servers linked, every directory and every roster equal to the truth, and still so later; then a message between every
    /// two users.
    ///
    /// # Errors
    /// The first invariant that broke: also if it takes longer than `within`.
    pub fn settle(&mut self, within: Duration) -> Result<Settled, Box<Failure>> {
        self.mend();
        let began = self.time;
        let poll = if self.people.len() > 1_000 { Duration::from_secs(10) } else { Duration::from_secs(1) };
        let after = loop {
            self.run_for(poll)?;
            let Err(wrong) = self.truth() else { break Duration::from_micros(self.time - began) };
            if self.time - began > micros(within) {
                return Err(Box::new(self.failure("everybody knows the truth in time", &wrong)));
            }
        };
        self.run_for(STAYS)?;
        let truth = match self.truth() {
            Ok(truth) => truth,
            Err(wrong) => return Err(Box::new(self.failure("the truth stays known", &wrong))),
        };
        let probes = self.probe(&truth)?;
        let (online, trace_hash, happenings) = (truth.len(), self.trace_hash(), self.happenings());
        Ok(Settled { after, probes, online, trace_hash, happenings })
    }

    /// Where everybody is, if everybody agrees; else who is wrong.
    pub(super) fn truth(&self) -> Result<BTreeMap<UserId, ServerId>, String> {
        let mut truth = BTreeMap::new();
        for (index, node) in self.servers.iter().enumerate() {
            let Some(machine) = &node.machine else { return Err(format!("s{index} is not running")) };
            for (user, _) in machine.local_users() {
                if let Some(other) = truth.insert(user.clone(), node.id.clone()) {
                    return Err(format!("{user} has sessions at {other} and at {}", node.id));
                }
            }
        }
        self.people_are_online(&truth)?;
        for (index, node) in self.servers.iter().enumerate() {
            let Some(machine) = &node.machine else { continue };
            let known: BTreeMap<&UserId, &ServerId> = machine.user_locations().collect();
            for (user, at) in &truth {
                if known.get(user) != Some(&at) {
                    return Err(format!("s{index} thinks {user} is at {:?}, not at {at}", known.get(user)));
                }
            }
            if let Some((ghost, at)) = known.iter().find(|(user, _)| !truth.contains_key(**user)) {
                return Err(format!("s{index} thinks that {ghost}, who is gone, is at {at}"));
            }
        }
        if let Some(missing) = self.missing_link() {
            return Err(missing);
        }
        self.rosters_agree(&truth)?;
        self.keys_agree(&truth)?;
        Ok(truth)
    }

    /// Everybody who wants to be online has one session, and nobody else has.
    fn people_are_online(&self, truth: &BTreeMap<UserId, ServerId>) -> Result<(), String> {
        for (index, person) in self.people.iter().enumerate() {
            let running = self.running_devices(index);
            let ready =
                |device: &&usize| self.devices[**device].client.as_ref().is_some_and(Client::is_ready);
            if running.len() > 1 {
                return Err(format!("u{index} runs {running:?}"));
            }
            if let Some(device) = running.iter().find(|device| !ready(device)) {
                return Err(format!("d{device} of u{index} has no session"));
            }
            let at = running.first().map(|device| &self.servers[self.devices[*device].server].id);
            if truth.get(&person.id) != at {
                return Err(format!(
                    "u{index} is at {at:?}, but has a session at {:?}",
                    truth.get(&person.id)
                ));
            }
        }
        match truth.keys().find(|user| !self.people.iter().any(|person| person.id == **user)) {
            Some(stranger) => Err(format!("{stranger}, who does not exist, has a session")),
            None => Ok(()),
        }
    }

    fn rosters_agree(&self, truth: &BTreeMap<UserId, ServerId>) -> Result<(), String> {
        for (index, device) in self.devices.iter().enumerate() {
            let Some(client) = device.client.as_ref().filter(|client| client.is_ready()) else { continue };
            let roster = client.users();
            let me = &self.people[device.person].id;
            for known in &roster {
                if truth.get(&known.user_id) != known.server_id.as_ref() {
                    return Err(format!("d{index} sees {} at {:?}", known.user_id, known.server_id));
                }
            }
            let others = truth.keys().filter(|user| *user != me).count();
            if roster.len() != others {
                return Err(format!("d{index} sees {} users, not {others}", roster.len()));
            }
        }
        Ok(())
    }

    /// Everybody who is online is known everywhere by the newest key.
    fn keys_agree(&self, truth: &BTreeMap<UserId, ServerId>) -> Result<(), String> {
        for person in self.people.iter().filter(|person| truth.contains_key(&person.id)) {
            let key = person.pair.signer.public_key();
            for (index, node) in self.servers.iter().enumerate() {
                if node.store.users.get(&person.id).is_none_or(|record| record.key != *key) {
                    return Err(format!("s{index} has not the newest key of {}", person.id));
                }
            }
            for (index, device) in self.devices.iter().enumerate() {
                let ready = device.client.as_ref().is_some_and(Client::is_ready);
                let own = self.people[device.person].id == person.id;
                if ready && !own && device.pinned(&person.id) != Some(key) {
                    return Err(format!("d{index} has not the newest key of {}", person.id));
                }
            }
        }
        Ok(())
    }

    /// Two servers that should be linked and are not.
    fn missing_link(&self) -> Option<String> {
        if matches!(self.setup.mesh, Mesh::Sparse(_)) {
            return None;
        }
        for (index, node) in self.servers.iter().enumerate() {
            let linked: Vec<&ServerId> =
                node.machine.as_ref()?.linked_servers().map(|(server, _)| server).collect();
            let missing =
                self.servers.iter().position(|other| other.id != node.id && !linked.contains(&&other.id));
            if let Some(missing) = missing {
                return Some(format!("s{index} has no link to s{missing}"));
            }
        }
        None
    }

    /// Whether every server is linked to every other.
    pub fn is_meshed(&self) -> bool {
        self.servers.iter().all(|node| node.machine.is_some()) && self.missing_link().is_none()
    }

    /// A message between every two users, each of which arrives once.
    fn probe(&mut self, truth: &BTreeMap<UserId, ServerId>) -> Result<usize, Box<Failure>> {
        let online: Vec<(usize, usize)> = (0..self.people.len())
            .filter(|person| truth.contains_key(&self.people[*person].id))
            .filter_map(|person| Some((person, *self.running_devices(person).first()?)))
            .collect();
        let mut pairs = Vec::new();
        for (from, device) in &online {
            for (to, target) in &online {
                if from != to {
                    pairs.push((*device, *to, *target));
                }
            }
        }
        while pairs.len() > MAX_PROBES {
            let index = self.below(pairs.len());
            pairs.swap_remove(index);
        }
        let probes: Vec<(usize, usize)> =
            pairs.into_iter().map(|(device, to, target)| (self.say(device, Some(to)), target)).collect();
        self.run_for(Duration::from_secs(20))?;
        for (message, target) in &probes {
            let shown = self.said_mut(*message).map(|said| (said.shown.get(target).copied(), said.failed));
            if shown != Some((Some(1), false)) {
                let detail = format!("m{message} for d{target}: {shown:?}");
                return Err(Box::new(self.failure("a message arrives", &detail)));
            }
        }
        Ok(probes.len())
    }
}
