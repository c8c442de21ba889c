//! The world: a heap of happenings, in virtual time, on one thread.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::check::Checks;
use super::device::{Device, Said};
use super::failure::Failure;
use super::faults::Fault;
use super::liar::Liar;
use super::life::Person;
use super::net::{Site, Wire};
use super::node::{Clock, Node};
use super::setup::Sim;
use super::trace::{Happening, Trace};
use crate::client;
use crate::server::LinkId;
use crate::wire::{Frame, FrameError, FrameType, HostPort, WireText};

/// A happening to be.
#[derive(Debug)]
pub(super) enum Next {
    /// The head of what travels to one end of a wire.
    Arrive(u64, usize),
    /// A machine's deadline, unless it has moved since.
    Wake(Site, u32),
    /// A dial reaches the address.
    DialArrives {
        from: Site,
        life: u32,
        address: HostPort,
    },
    /// A dial has come to nothing.
    DialFails {
        from: Site,
        life: u32,
        address: HostPort,
        why: &'static str,
    },
    /// The driver learns that a link is gone.
    LinkGone(LinkId, &'static str),
    /// A client's pool is done.
    Opened(usize, u32, Box<client::Event>),
    Fault(Fault),
    /// A split heals.
    Heal(Vec<(Site, Site)>),
    /// A node moves again.
    Thaw(Site),
    Start(usize),
    /// A person does something.
    Act(usize),
    Lie(usize),
    /// Whether a login or a message has got everywhere.
    Prompt(super::check::Promise),
}

struct Scheduled {
    at: u64,
    order: u64,
    what: Next,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Frames and bytes that were written to links between servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, bytes: self.bytes + other.bytes }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        let (frames, bytes) =
            (self.frames.saturating_sub(other.frames), self.bytes.saturating_sub(other.bytes));
        Self { frames, bytes }
    }
}

/// Servers, people and liars, joined by links that break. Made by [`Sim`].
pub struct World {
    pub(super) setup: Sim,
    pub(super) rng: ChaCha8Rng,
    /// Microseconds since the beginning.
    pub(super) time: u64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(super) wires: BTreeMap<u64, Wire>,
    pub(super) next_wire: u64,
    pub(super) servers: Vec<Node>,
    pub(super) devices: Vec<Device>,
    pub(super) people: Vec<Person>,
    pub(super) liars: Vec<Liar>,
    said: Vec<Said>,
    /// Directions in which nothing gets through, and how many splits say so.
    pub(super) blocked: BTreeMap<(Site, Site), u32>,
    pub(super) frozen: BTreeMap<Site, u32>,
    /// Whether faults, people and liars go on.
    pub(super) restless: bool,
    pub(super) checks: Checks,
    pub(super) trace: Trace,
    /// A sample of everything that crossed a link: what a liar may have overheard.
    pub(super) overheard: Vec<WireText>,
    pub(super) traffic: BTreeMap<FrameType, Traffic>,
    /// Frames read lately: a broadcast is read once, not by everybody.
    read: VecDeque<Arc<Frame>>,
    events: u64,
}

/// Frames that are kept in their read form.
const READ: usize = 24;

/// Happenings after which a world is given up: it is a bug of ours, or of the machines, that it does not come to rest.
const MAX_EVENTS: u64 = 200_000_000;

impl World {
    /// A world that is about to start, with everything scheduled that its set-up asks for.
    pub(super) fn new(setup: Sim, time: Duration) -> Self {
        let mut world = Self::still(setup);
        world.restless = true;
        world.schedule_start(time);
        world.schedule_faults();
        world.schedule_people();
        world.schedule_liars();
        world
    }

    pub(super) fn still(setup: Sim) -> Self {
        let trace = Trace::new(setup.kept_happenings);
        let rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let mut world = Self {
            checks: Checks::new(setup.servers, setup.prompt),
            rng,
            time: 0,
            heap: BinaryHeap::new(),
            order: 0,
            wires: BTreeMap::new(),
            next_wire: 1,
            servers: Vec::new(),
            devices: Vec::new(),
            people: Vec::new(),
            liars: Vec::new(),
            said: Vec::new(),
            blocked: BTreeMap::new(),
            frozen: BTreeMap::new(),
            restless: false,
            trace,
            overheard: Vec::new(),
            traffic: BTreeMap::new(),
            read: VecDeque::new(),
            events: 0,
            setup,
        };
        world.make_servers();
        world.make_people();
        world.make_liars();
        world
    }

    /// Runs for so much virtual time.
    ///
    /// # Errors
    /// The first invariant that broke.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        let until = self.time + micros(time);
        while let Some(Reverse(next)) = self.heap.peek() {
            if next.at > until {
                break;
            }
            let Some(Reverse(next)) = self.heap.pop() else { break };
            self.time = self.time.max(next.at);
            self.happen(next.what);
            self.events += 1;
            if self.events > MAX_EVENTS {
                self.checks.broken("the world comes to rest", format!("{MAX_EVENTS} happenings"));
            }
            if let Some((invariant, detail)) = self.checks.take_broken() {
                return Err(Box::new(self.failure(invariant, &detail)));
            }
        }
        self.time = until;
        Ok(())
    }

    pub(super) fn failure(&self, invariant: &'static str, detail: &str) -> Failure {
        Failure {
            seed: self.setup.seed,
            scenario: self.setup.name,
            invariant,
            detail: self.trace.named(detail),
            at: Duration::from_micros(self.time),
            last: self.trace.lines(),
        }
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Arrive(wire, side) => self.arrive(wire, side),
            Next::Wake(site, generation) => self.wake(site, generation),
            Next::DialArrives { from, life, address } => self.dial_arrives(from, life, address),
            Next::DialFails { from, life, address, why } => {
                if self.is_alive(from, life) {
                    self.on_dial_failed(from, address, why);
                }
            }
            Next::LinkGone(link, why) => self.link_gone(link, why),
            Next::Opened(device, life, event) => {
                if self.is_alive(Site::Device(device), life) {
                    self.device_handles(device, *event);
                }
            }
            Next::Fault(fault) => self.fault(fault),
            Next::Heal(directions) => self.unblock(&directions),
            Next::Thaw(site) => self.thaw(site),
            Next::Start(server) => self.start(server),
            Next::Act(person) => self.act(person),
            Next::Lie(liar) => self.lie(liar),
            Next::Prompt(promise) => self.check_promise(promise),
        }
    }

    /// What has happened so far, as one number: equal for equal seeds.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.time)
    }

    /// What crossed the links between servers so far, by type of frame.
    pub fn traffic(&self) -> &BTreeMap<FrameType, Traffic> {
        &self.traffic
    }

    /// How many things have happened so far.
    pub fn happenings(&self) -> u64 {
        self.events
    }

    /// Reads a frame, or finds it read.
    pub(super) fn read(&mut self, text: &WireText) -> Result<Arc<Frame>, FrameError> {
        let same = |frame: &&Arc<Frame>| frame.text().bytes().as_ptr() == text.bytes().as_ptr();
        if let Some(frame) = self.read.iter().find(same) {
            return Ok(frame.clone());
        }
        let frame = Arc::new(Frame::parse_bytes(text.bytes().clone())?);
        if self.read.len() >= READ {
            self.read.pop_front();
        }
        self.read.push_back(frame.clone());
        Ok(frame)
    }

    // What people say.

    pub(super) fn next_message(&self) -> usize {
        self.said.len()
    }

    pub(super) fn keep_said(&mut self, said: Said) {
        self.said.push(said);
    }

    pub(super) fn said_mut(&mut self, message: usize) -> Option<&mut Said> {
        self.said.get_mut(message)
    }

    // Chance.

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound.max(1) as u64) as usize
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        f64::from(self.rng.next_u32()) < share * f64::from(u32::MAX)
    }

    /// Microseconds, evenly from a range.
    pub(super) fn between(&mut self, (from, to): (Duration, Duration)) -> u64 {
        let (from, to) = (micros(from), micros(to));
        from + self.rng.next_u64() % (to.saturating_sub(from) + 1)
    }

    /// Microseconds around a mean.
    pub(super) fn around(&mut self, mean: Duration) -> u64 {
        self.between((mean / 2, mean.saturating_mul(3) / 2)).max(1)
    }

    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    // Time.

    pub(super) fn schedule(&mut self, at: u64, what: Next) {
        self.order += 1;
        self.heap.push(Reverse(Scheduled { at, order: self.order, what }));
    }

    pub(super) fn record(&mut self, happening: Happening) {
        self.trace.record(self.time, happening);
    }

    pub(super) fn note(&mut self, site: Site, note: impl Into<String>) {
        self.record(Happening::Note(site, note.into()));
    }

    fn wake(&mut self, site: Site, generation: u32) {
        let Some(clock) = self.clock_mut(site) else { return };
        if clock.generation != generation {
            return;
        }
        clock.wake_at = None;
        if self.frozen.contains_key(&site) {
            return;
        }
        self.wake_up(site);
    }

    /// Tells a machine that a deadline may have come.
    pub(super) fn wake_up(&mut self, site: Site) {
        match site {
            Site::Server(server) => self.server_wakes(server),
            Site::Device(device) => self.device_handles(device, client::Event::Wakeup),
            Site::Liar(_) => {}
        }
    }

    /// Schedules a machine's next deadline, if it has moved.
    pub(super) fn rearm(&mut self, site: Site, deadline: Option<Duration>) {
        let late = self.between((Duration::ZERO, self.setup.faults.late_wakeups));
        let time = self.time;
        let Some(clock) = self.clock_mut(site) else { return };
        let at = deadline.map(|at| clock.world_time(at).max(time));
        if at == clock.wake_at {
            return;
        }
        clock.wake_at = at;
        clock.generation += 1;
        let generation = clock.generation;
        if let Some(at) = at {
            self.schedule(at + late, Next::Wake(site, generation));
        }
    }

    fn clock_mut(&mut self, site: Site) -> Option<&mut Clock> {
        match site {
            Site::Server(server) => Some(&mut self.servers[server].clock),
            Site::Device(device) => Some(&mut self.devices[device].clock),
            Site::Liar(_) => None,
        }
    }

    /// Which life of a site this is; `None` if it is dead.
    pub(super) fn life_of(&self, site: Site) -> Option<u32> {
        match site {
            Site::Server(server) => {
                self.servers[server].machine.as_ref().map(|_| self.servers[server].clock.life)
            }
            Site::Device(device) => {
                self.devices[device].client.as_ref().map(|_| self.devices[device].clock.life)
            }
            Site::Liar(liar) => (!self.liars[liar].gone).then_some(0),
        }
    }

    pub(super) fn is_alive(&self, site: Site, life: u32) -> bool {
        self.life_of(site) == Some(life)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
