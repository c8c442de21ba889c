//! The network: links that keep order and lose nothing but their ends, in virtual time.

use std::collections::VecDeque;
use std::fmt;

use super::trace::Happening;
use super::world::{Next, World};
use crate::client;
use crate::server::LinkId;
use crate::wire::{FrameType, HostPort, WireText};

/// A node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// A server, from 0.
    Server(usize),
    /// A client: one person's program for one server, from 0 in the order in which they are first started.
    Device(usize),
    /// A hostile peer, from 0.
    Liar(usize),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Server(index) => format!("s{index}"),
            Self::Device(index) => format!("d{index}"),
            Self::Liar(index) => format!("l{index}"),
        })
    }
}

/// What travels on a link.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The answer to a dial: the link is open.
    Opened(HostPort),
    Text(WireText),
    Ping,
    Pong,
    /// The other end has closed, or the link is dead.
    Closed(&'static str),
}

/// One end of a link, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) site: Site,
    /// Which life of the site opened it.
    pub(super) life: u32,
    /// Whether the site still holds it.
    pub(super) open: bool,
    /// Arrival times and what arrives, in order.
    pub(super) inbound: VecDeque<(u64, Item)>,
    /// An arrival is scheduled.
    pub(super) scheduled: bool,
    /// The site does not read until then.
    pub(super) paused_until: u64,
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ends: [Endpoint; 2],
}

/// The ends of wire `n` are the links `2n`, who dialled, and `2n + 1`, who accepted.
pub(super) fn link_of(wire: u64, side: usize) -> LinkId {
    LinkId(wire * 2 + side as u64)
}

pub(super) fn wire_of(link: LinkId) -> (u64, usize) {
    (link.0 / 2, (link.0 % 2) as usize)
}

impl Endpoint {
    pub(super) fn new(site: Site, life: u32) -> Self {
        Self { site, life, open: true, inbound: VecDeque::new(), scheduled: false, paused_until: 0 }
    }
}

/// Frames that liars remember.
const OVERHEARD: usize = 256;

impl World {
    fn latency(&mut self) -> u64 {
        self.between(self.setup.faults.latency)
    }

    /// Puts something on its way to one end of a wire.
    fn put(&mut self, wire_id: u64, side: usize, item: Item) {
        let at = self.time + self.latency();
        let Some(wire) = self.wires.get_mut(&wire_id) else { return };
        let end = &mut wire.ends[side];
        let at = end.inbound.back().map_or(at, |(last, _)| at.max(*last));
        end.inbound.push_back((at, item));
        if !end.scheduled {
            end.scheduled = true;
            self.schedule(at, Next::Arrive(wire_id, side));
        }
    }

    /// Writes a frame to a link; a full queue closes it.
    pub(super) fn write(&mut self, link: LinkId, text: &WireText) {
        let (wire_id, side) = wire_of(link);
        let Some(wire) = self.wires.get(&wire_id).filter(|wire| wire.ends[side].open) else { return };
        if wire.ends[1 - side].inbound.len() >= self.setup.faults.queue_frames {
            self.schedule(self.time, Next::LinkGone(link, "slow consumer"));
            return;
        }
        if self.overheard.len() < OVERHEARD {
            self.overheard.push(text.clone());
        } else if !self.liars.is_empty() {
            let index = self.below(OVERHEARD * 2);
            if let Some(place) = self.overheard.get_mut(index) {
                *place = text.clone();
            }
        }
        self.put(wire_id, 1 - side, Item::Text(text.clone()));
    }

    pub(super) fn count(&mut self, kind: &FrameType, links: &[LinkId], bytes: usize) {
        let between_servers = |link: &&LinkId| {
            let (wire, side) = wire_of(**link);
            self.wires.get(&wire).is_some_and(|wire| matches!(wire.ends[1 - side].site, Site::Server(_)))
        };
        let frames = links.iter().filter(between_servers).count() as u64;
        if frames > 0 {
            let traffic = self.traffic.entry(kind.clone()).or_default();
            traffic.frames += frames;
            traffic.bytes += frames * bytes as u64;
        }
    }

    pub(super) fn ping(&mut self, link: LinkId) {
        let (wire, side) = wire_of(link);
        if self.wires.get(&wire).is_some_and(|wire| wire.ends[side].open) {
            self.put(wire, 1 - side, Item::Ping);
        }
    }

    /// A site closes its end: what it wrote before still arrives, then the other end learns of it.
    pub(super) fn close(&mut self, link: LinkId, why: &'static str) {
        let (wire_id, side) = wire_of(link);
        let Some(wire) = self.wires.get_mut(&wire_id) else { return };
        wire.ends[side].open = false;
        wire.ends[side].inbound.clear();
        if wire.ends[1 - side].open {
            self.put(wire_id, 1 - side, Item::Closed(why));
        } else {
            self.wires.remove(&wire_id);
        }
    }

    /// A wire dies: each direction loses what was under way from some point on, and all that is written later.
    pub(super) fn cut(&mut self, wire_id: u64) {
        for side in 0..2 {
            let Some(end) = self.wires.get(&wire_id).map(|wire| &wire.ends[side]) else { return };
            // A dial that has been answered is answered.
            let answered = usize::from(matches!(end.inbound.front(), Some((_, Item::Opened(_)))));
            let waiting = end.inbound.len();
            let keep = self.below(waiting + 1).max(answered);
            let Some(wire) = self.wires.get_mut(&wire_id) else { return };
            wire.ends[side].inbound.truncate(keep);
            if wire.ends[side].open {
                self.put(wire_id, side, Item::Closed("connection reset"));
            }
        }
    }

    fn next_wire_id(&mut self) -> u64 {
        self.next_wire += 1;
        self.next_wire
    }

    /// Closes all links of a site that has died.
    pub(super) fn drop_links_of(&mut self, site: Site) {
        let ends: Vec<(u64, usize)> = self
            .wires
            .iter()
            .flat_map(|(id, wire)| wire.ends.iter().enumerate().map(move |(side, end)| (*id, side, end)))
            .filter(|(_, _, end)| end.site == site)
            .map(|(id, side, _)| (id, side))
            .collect();
        for (wire, side) in ends {
            self.close(link_of(wire, side), "connection reset");
        }
    }

    /// The site at the other end of a link.
    pub(super) fn other_end(&self, link: LinkId) -> Option<Site> {
        let (wire, side) = wire_of(link);
        self.wires.get(&wire).map(|wire| wire.ends[1 - side].site)
    }

    /// Whether something that was written to a link has not been read.
    pub(super) fn is_waiting(&self, link: LinkId) -> bool {
        let (wire, side) = wire_of(link);
        self.wires.get(&wire).is_some_and(|wire| !wire.ends[1 - side].inbound.is_empty())
    }

    pub(super) fn is_open(&self, link: LinkId) -> bool {
        let (wire, side) = wire_of(link);
        self.wires.get(&wire).is_some_and(|wire| wire.ends[side].open)
    }

    pub(super) fn pause(&mut self, link: LinkId, until: u64) {
        let (wire, side) = wire_of(link);
        if let Some(wire) = self.wires.get_mut(&wire) {
            let end = &mut wire.ends[side];
            end.paused_until = end.paused_until.max(until);
        }
    }

    /// Whether what travels to this end gets through at the moment; if not, until when, if that is known.
    fn held(&self, wire: &Wire, side: usize) -> Option<Option<u64>> {
        let (to, from) = (&wire.ends[side], &wire.ends[1 - side]);
        if self.blocked.contains_key(&(from.site, to.site)) || self.frozen.contains_key(&to.site) {
            return Some(None);
        }
        (to.paused_until > self.time).then_some(Some(to.paused_until))
    }

    pub(super) fn arrive(&mut self, wire_id: u64, side: usize) {
        let Some(wire) = self.wires.get(&wire_id) else { return };
        if let Some(until) = self.held(wire, side) {
            // Released by whoever holds it, or at that time.
            if let Some(until) = until {
                self.schedule(until, Next::Arrive(wire_id, side));
            } else if let Some(wire) = self.wires.get_mut(&wire_id) {
                wire.ends[side].scheduled = false;
            }
            return;
        }
        let Some(wire) = self.wires.get_mut(&wire_id) else { return };
        let end = &mut wire.ends[side];
        let Some((_, item)) = end.inbound.pop_front() else {
            end.scheduled = false;
            return;
        };
        let (site, life, from, open) = (end.site, end.life, wire.ends[1 - side].site, wire.ends[side].open);
        match wire.ends[side].inbound.front().map(|(at, _)| *at) {
            Some(at) => self.schedule(at.max(self.time), Next::Arrive(wire_id, side)),
            None => wire.ends[side].scheduled = false,
        }
        if open && self.is_alive(site, life) {
            self.deliver(link_of(wire_id, side), site, from, item);
        } else {
            // Whoever dialled or was dialled is not there any more.
            self.close(link_of(wire_id, side), "connection reset");
        }
    }

    fn deliver(&mut self, link: LinkId, site: Site, from: Site, item: Item) {
        match item {
            Item::Text(text) => {
                self.record(Happening::Frame { from, to: site, text: text.clone() });
                match site {
                    Site::Server(server) => self.server_gets(server, link, &text),
                    Site::Device(device) => self.device_gets(device, &text),
                    Site::Liar(liar) => self.liar_gets(liar, link, &text),
                }
            }
            Item::Opened(address) => self.on_dialled(site, link, address),
            Item::Ping => {
                let (wire, side) = wire_of(link);
                self.put(wire, 1 - side, Item::Pong);
                self.on_alive(site, link);
            }
            Item::Pong => self.on_alive(site, link),
            Item::Closed(why) => self.link_gone(link, why),
        }
    }

    fn on_alive(&mut self, site: Site, link: LinkId) {
        match site {
            Site::Server(server) => self.server_handles(server, crate::server::Event::LinkAlive { link }),
            Site::Device(device) => self.device_handles(device, client::Event::LinkAlive),
            Site::Liar(_) => {}
        }
    }

    /// The driver of one end finds its link dead.
    pub(super) fn link_gone(&mut self, link: LinkId, why: &'static str) {
        let (wire_id, side) = wire_of(link);
        let Some(wire) = self.wires.get(&wire_id).filter(|wire| wire.ends[side].open) else { return };
        let (site, life) = (wire.ends[side].site, wire.ends[side].life);
        self.close(link, why);
        if !self.is_alive(site, life) {
            return;
        }
        match site {
            Site::Server(server) => {
                self.server_handles(server, crate::server::Event::LinkClosed { link, why: why.into() });
            }
            Site::Device(device) => {
                self.device_handles(device, client::Event::LinkClosed { why: why.into() })
            }
            Site::Liar(liar) => self.liars[liar].forget(link),
        }
    }

    // Dialling.

    pub(super) fn dial(&mut self, from: Site, address: HostPort) {
        let Some(life) = self.life_of(from) else { return };
        let at = self.time + self.latency();
        self.schedule(at, Next::DialArrives { from, life, address });
    }

    pub(super) fn dial_arrives(&mut self, from: Site, life: u32, address: HostPort) {
        if !self.is_alive(from, life) {
            return;
        }
        let fails = |world: &mut Self, after: u64, why| {
            let at = world.time + after;
            world.schedule(at, Next::DialFails { from, life, address: address.clone(), why });
        };
        let target = self.listener(&address);
        let back = self.latency();
        let refused = self.restless && self.chance(self.setup.faults.refused_dials);
        let Some(target) = target.filter(|_| !refused) else { return fails(self, back, "refused") };
        let lost = self.blocked.contains_key(&(from, target)) || self.blocked.contains_key(&(target, from));
        if lost || self.frozen.contains_key(&target) {
            // As long as the transport waits for an answer.
            return fails(self, 10_000_000, "timed out");
        }
        let Some(target_life) = self.life_of(target) else { return fails(self, back, "refused") };
        let wire = self.next_wire_id();
        let ends = [Endpoint::new(from, life), Endpoint::new(target, target_life)];
        self.wires.insert(wire, Wire { ends });
        self.put(wire, 0, Item::Opened(address));
        self.on_accepted(target, link_of(wire, 1));
    }

    fn listener(&self, address: &HostPort) -> Option<Site> {
        let server =
            self.servers.iter().position(|node| node.machine.is_some() && node.addresses.contains(address));
        let liar = || self.liars.iter().position(|liar| !liar.gone && liar.address == *address);
        server.map(Site::Server).or_else(|| liar().map(Site::Liar))
    }

    fn on_accepted(&mut self, site: Site, link: LinkId) {
        match site {
            Site::Server(server) => {
                let origin = crate::server::LinkOrigin::Accepted;
                self.server_handles(server, crate::server::Event::LinkOpened { link, origin });
            }
            Site::Liar(liar) => self.liars[liar].links.push(link),
            Site::Device(_) => {}
        }
    }

    fn on_dialled(&mut self, site: Site, link: LinkId, address: HostPort) {
        match site {
            Site::Server(server) => {
                let origin = crate::server::LinkOrigin::Dialled(address);
                self.server_handles(server, crate::server::Event::LinkOpened { link, origin });
            }
            Site::Device(device) => {
                self.devices[device].link = Some(link);
                self.device_handles(device, client::Event::LinkOpened);
            }
            Site::Liar(liar) => self.liar_connected(liar, link, &address),
        }
    }

    pub(super) fn on_dial_failed(&mut self, site: Site, address: HostPort, why: &'static str) {
        match site {
            Site::Server(server) => {
                self.server_handles(server, crate::server::Event::DialFailed { address, why: why.into() });
            }
            Site::Device(device) => {
                self.device_handles(device, client::Event::DialFailed { why: why.into() })
            }
            Site::Liar(_) => {}
        }
    }

    // Splits and standstills.

    pub(super) fn block(&mut self, directions: &[(Site, Site)]) {
        for direction in directions {
            *self.blocked.entry(*direction).or_default() += 1;
        }
    }

    pub(super) fn unblock(&mut self, directions: &[(Site, Site)]) {
        for direction in directions {
            if let Some(splits) = self.blocked.get_mut(direction) {
                *splits -= 1;
                if *splits == 0 {
                    self.blocked.remove(direction);
                }
            }
        }
        self.release();
    }

    pub(super) fn freeze(&mut self, site: Site) {
        *self.frozen.entry(site).or_default() += 1;
    }

    pub(super) fn thaw(&mut self, site: Site) {
        let Some(freezes) = self.frozen.get_mut(&site) else { return };
        *freezes -= 1;
        if *freezes == 0 {
            self.frozen.remove(&site);
            self.wake_up(site);
            self.release();
        }
    }

    /// Lets everything travel on that nothing holds any more.
    pub(super) fn release(&mut self) {
        let waiting: Vec<(u64, usize)> = self
            .wires
            .iter()
            .flat_map(|(id, wire)| (0..2).map(move |side| (*id, side, &wire.ends[side])))
            .filter(|(_, _, end)| !end.scheduled && !end.inbound.is_empty())
            .map(|(id, side, _)| (id, side))
            .collect();
        for (wire_id, side) in waiting {
            let at = self.time;
            if let Some(wire) = self.wires.get_mut(&wire_id) {
                wire.ends[side].scheduled = true;
            }
            self.schedule(at, Next::Arrive(wire_id, side));
        }
    }
}
