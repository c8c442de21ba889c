//! How a world is set up: sizes, who knows whom, what goes wrong, what people do.

use std::time::Duration;

use super::failure::Failure;
use super::keys::Keys;
use super::world::World;
use crate::server::{Limits, Timing};

/// A world to be: `Sim::new(seed).servers(5).users(40).faults(Faults::rough()).run_for(secs(300))`.
///
/// Everything that happens follows from the seed. Two runs with the same seed and set-up are the same, to the
/// last byte: compare [`World::trace_hash`].
#[derive(Clone)]
pub struct Sim {
    pub(super) seed: u64,
    pub(super) name: &'static str,
    pub(super) servers: usize,
    pub(super) users: usize,
    pub(super) liars: usize,
    pub(super) mesh: Mesh,
    pub(super) faults: Faults,
    pub(super) life: Life,
    pub(super) limits: Limits,
    pub(super) timing: Timing,
    pub(super) keys: Keys,
    pub(super) kept_happenings: usize,
    pub(super) prompt: bool,
}

/// Who knows whom at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// Every server lists every other one.
    Full,
    /// The first so many servers are on everybody's bootstrap list; the others are learnt from them.
    Introducers(usize),
    /// Each server lists so many others and dials nobody else: gossip and messages take several hops.
    Sparse(usize),
}

/// What goes wrong while [`Sim::run_for`] runs. `*_every` are mean intervals in the whole world.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// How long a frame takes, drawn evenly for each, order kept.
    pub latency: (Duration, Duration),
    /// A link dies; what was under way on it is lost from some point on.
    pub cut_every: Option<Duration>,
    /// A network is split in two.
    pub partition_every: Option<Duration>,
    /// How long a split lasts.
    pub partition_hold: (Duration, Duration),
    /// The share of splits that stop one direction alone.
    pub one_way: f64,
    /// The share of dials that are refused.
    pub refused_dials: f64,
    /// A server process is killed.
    pub crash_every: Option<Duration>,
    /// How long it takes until it is started again, from what was stored.
    pub down_for: (Duration, Duration),
    /// The share of crashes that come in the middle of a batch: what it persists is stored, some or none of its
    /// frames have left.
    pub crash_in_batch: f64,
    /// By how much wall clocks differ from the truth at the start.
    pub skew: Duration,
    /// A wall clock jumps, forwards or back.
    pub clock_jump_every: Option<Duration>,
    /// How far at most.
    pub clock_jump: Duration,
    /// One server's clock is years ahead for the first third of the time.
    pub years_ahead: bool,
    /// A node stops reading one of its links for a while.
    pub stall_every: Option<Duration>,
    /// A whole process stands still for a while, a suspended laptop.
    pub freeze_every: Option<Duration>,
    /// How long a stall or a freeze lasts.
    pub standstill: (Duration, Duration),
    /// All links of one server die at once.
    pub reset_every: Option<Duration>,
    /// Frames that wait on a link before it is closed as a slow consumer's.
    pub queue_frames: usize,
    /// Every server has two addresses, and both are on the lists.
    pub two_addresses: bool,
    /// The introducers are down for the first third of the time.
    pub introducers_down: bool,
    /// Servers start within this, in any order.
    pub start_within: Duration,
    /// Wake-ups come late by up to this.
    pub late_wakeups: Duration,
}

impl Faults {
    /// A quiet network: some milliseconds of latency, and nothing breaks.
    pub fn none() -> Self {
        let secs = Duration::from_secs;
        Self {
            latency: (Duration::from_millis(1), Duration::from_millis(40)),
            cut_every: None,
            partition_every: None,
            partition_hold: (secs(5), secs(90)),
            one_way: 0.3,
            refused_dials: 0.0,
            crash_every: None,
            down_for: (Duration::from_millis(100), secs(60)),
            crash_in_batch: 0.5,
            skew: Duration::ZERO,
            clock_jump_every: None,
            clock_jump: secs(3600),
            years_ahead: false,
            stall_every: None,
            freeze_every: None,
            standstill: (secs(1), secs(70)),
            reset_every: None,
            queue_frames: 4096,
            two_addresses: false,
            introducers_down: false,
            start_within: secs(3),
            late_wakeups: Duration::ZERO,
        }
    }

    /// Everything that happens to real networks, often.
    pub fn rough() -> Self {
        let secs = Duration::from_secs;
        Self {
            latency: (Duration::from_millis(1), Duration::from_millis(800)),
            cut_every: Some(secs(15)),
            partition_every: Some(secs(60)),
            refused_dials: 0.1,
            crash_every: Some(secs(60)),
            skew: secs(30),
            clock_jump_every: Some(secs(90)),
            stall_every: Some(secs(60)),
            freeze_every: Some(secs(120)),
            reset_every: Some(secs(120)),
            queue_frames: 64,
            start_within: secs(20),
            late_wakeups: Duration::from_millis(50),
            ..Self::none()
        }
    }
}

/// What people do while [`Sim::run_for`] runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// How often each does something, on average.
    pub act_every: Duration,
    /// The share of acts that log in or out.
    pub coming_and_going: f64,
    /// The share of acts that log in at another server while the first session lives.
    pub roaming: f64,
    /// The share of acts that kill the client instead of quitting; it is started again at once.
    pub crashing: f64,
    /// The share of acts that replace the key, with all clients of the person stopped.
    pub rotating: f64,
    /// Everybody logs in within this after the start.
    pub login_within: Duration,
}

impl Life {
    /// People who talk, and now and then come and go.
    pub fn ordinary() -> Self {
        Self {
            act_every: Duration::from_secs(20),
            coming_and_going: 0.3,
            roaming: 0.0,
            crashing: 0.05,
            rotating: 0.0,
            login_within: Duration::from_secs(30),
        }
    }

    /// People who log in once and then do nothing.
    pub fn idle() -> Self {
        Self { act_every: Duration::MAX, login_within: Duration::from_secs(5), ..Self::ordinary() }
    }
}

impl Sim {
    /// Three servers that all list each other, six people with ordinary lives, a quiet network.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            name: "custom",
            servers: 3,
            users: 6,
            liars: 0,
            mesh: Mesh::Full,
            faults: Faults::none(),
            life: Life::ordinary(),
            limits: Limits::default(),
            timing: Timing::default(),
            keys: Keys::fake(),
            kept_happenings: 120,
            prompt: false,
        }
    }

    /// What the failure report calls it.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// How many servers there are.
    #[must_use]
    pub fn servers(self, servers: usize) -> Self {
        Self { servers, ..self }
    }

    /// How many people there are; each starts at a server of their own choice.
    #[must_use]
    pub fn users(self, users: usize) -> Self {
        Self { users, ..self }
    }

    /// How many hostile peers there are.
    #[must_use]
    pub fn liars(self, liars: usize) -> Self {
        Self { liars, ..self }
    }

    /// Who knows whom.
    #[must_use]
    pub fn mesh(self, mesh: Mesh) -> Self {
        Self { mesh, ..self }
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// What people do.
    #[must_use]
    pub fn life(self, life: Life) -> Self {
        Self { life, ..self }
    }

    /// The servers' bounds.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The servers' intervals.
    #[must_use]
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Where keys and signatures come from; [`Keys::fake`] unless said otherwise.
    #[must_use]
    pub fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// How many happenings a failure report shows: the last ones.
    #[must_use]
    pub fn keep(self, kept_happenings: usize) -> Self {
        Self { kept_happenings, ..self }
    }

    /// Checks the mission as well: a login is known everywhere, and a message arrives, within what the latency
    /// makes of three hops. Only a world in which no links break can hold that.
    #[must_use]
    pub fn promptly(self) -> Self {
        Self { prompt: true, ..self }
    }

    /// Runs the world for so much virtual time, with its faults, its people and its liars.
    ///
    /// # Errors
    /// The first invariant that broke, with what happened before.
    pub fn run_for(self, time: Duration) -> Result<World, Box<Failure>> {
        let mut world = World::new(self, time);
        world.run_for(time)?;
        Ok(world)
    }

    /// The world before anything happened: nobody is started. For scripted scenes.
    pub fn still(self) -> World {
        World::still(self)
    }
}
