//! Named set-ups: what the tests, the `simulate` example and their failure reports talk about.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::failure::Failure;
use super::settle::Settled;
use super::setup::{Faults, Life, Mesh, Sim};
use super::world::World;

/// A named set-up, and how long it may take to come to rest.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What `--scenario` calls it.
    pub name: &'static str,
    /// What is tried, in a line.
    pub about: &'static str,
    /// How long the world is restless.
    pub restless: Duration,
    /// Within what virtual time everybody must know the truth once everything is mended.
    pub settles_within: Duration,
    set_up: fn(u64) -> Sim,
}

impl Scenario {
    /// The world of a seed, before it runs.
    pub fn sim(&self, seed: u64) -> Sim {
        (self.set_up)(seed).named(self.name)
    }

    /// Runs a seed to its end: the restless time, then [`World::settle`].
    ///
    /// # Errors
    /// The first invariant that broke; a panic of a machine is one.
    pub fn run(&self, seed: u64) -> Result<Settled, Box<Failure>> {
        self.run_sim(self.sim(seed))
    }

    /// [`Scenario::run`] for a set-up that was changed.
    ///
    /// # Errors
    /// The first invariant that broke; a panic of a machine is one.
    pub fn run_sim(&self, sim: Sim) -> Result<Settled, Box<Failure>> {
        let mut world = World::new(sim, self.restless);
        let run = catch_unwind(AssertUnwindSafe(|| {
            world.run_for(self.restless)?;
            world.settle(self.settles_within)
        }));
        run.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err(Box::new(world.failure("nothing panics", text)))
        })
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All of them, simple ones first.
pub fn scenarios() -> &'static [Scenario] {
    &SCENARIOS
}

/// Longest redial, silence, one PRESENCE interval and the time to ask, and some.
const SETTLES: Duration = secs(300);

const fn scenario(
    name: &'static str,
    about: &'static str,
    restless: u64,
    set_up: fn(u64) -> Sim,
) -> Scenario {
    Scenario { name, about, restless: secs(restless), settles_within: SETTLES, set_up }
}

static SCENARIOS: [Scenario; 19] = [
    scenario("calm", "nothing breaks: every login and every message is known everywhere at once", 40, calm),
    scenario("cuts", "links die, single ones and all of a server's", 45, cuts),
    scenario("splits", "networks split, also in one direction, for seconds or minutes", 120, splits),
    scenario(
        "crashes",
        "servers are killed, also between storing and sending, and start from what they stored",
        90,
        crashes,
    ),
    scenario("clocks", "wall clocks are wrong and jump", 75, clocks),
    scenario("years-ahead", "one server's clock was once years ahead", 75, years_ahead),
    scenario("slow", "nodes stand still or stop reading; queues overflow", 60, slow),
    scenario("storm", "everybody starts, logs in and reconnects at the same moment", 20, storm),
    scenario("roaming", "people log in elsewhere while their first session lives", 45, roaming),
    scenario(
        "two-addresses",
        "every server is listed under two addresses, and all dial all at once",
        20,
        two_addresses,
    ),
    scenario("one-introducer", "all know only one introducer", 45, one_introducer),
    scenario("introducers-down", "the introducers come up last", 90, introducers_down),
    scenario("many-servers", "seven servers behind two introducers, with cuts", 15, many_servers),
    scenario("sparse", "no full mesh: gossip and messages take several hops", 60, sparse),
    scenario(
        "rotations",
        "people replace their keys while all else goes on, and liars find the old ones",
        60,
        rotations,
    ),
    scenario("liars", "hostile peers forge, alter, replay, relabel, redirect and flood", 35, liars),
    scenario(
        "liars-calm",
        "the same in a quiet network, where everything honest must still be prompt",
        25,
        liars_calm,
    ),
    scenario("tight-limits", "every bound is small", 45, tight_limits),
    scenario("everything", "all of it", 60, everything),
];

fn small(seed: u64) -> Sim {
    Sim::new(seed).servers(3 + (seed % 2) as usize).users(5)
}

fn calm(seed: u64) -> Sim {
    let life = Life { act_every: secs(6), ..Life::ordinary() };
    small(seed).life(life).promptly()
}

fn cuts(seed: u64) -> Sim {
    small(seed).faults(Faults {
        latency: (Duration::from_millis(1), Duration::from_millis(400)),
        cut_every: Some(secs(4)),
        reset_every: Some(secs(30)),
        refused_dials: 0.2,
        ..Faults::none()
    })
}

fn splits(seed: u64) -> Sim {
    small(seed).faults(Faults {
        partition_every: Some(secs(25)),
        cut_every: Some(secs(30)),
        ..Faults::none()
    })
}

fn crashes(seed: u64) -> Sim {
    small(seed).faults(Faults { crash_every: Some(secs(15)), ..Faults::none() })
}

fn clocks(seed: u64) -> Sim {
    small(seed).faults(Faults {
        skew: secs(900),
        clock_jump_every: Some(secs(8)),
        crash_every: Some(secs(40)),
        cut_every: Some(secs(20)),
        ..Faults::none()
    })
}

fn years_ahead(seed: u64) -> Sim {
    small(seed).faults(Faults {
        years_ahead: true,
        crash_every: Some(secs(45)),
        cut_every: Some(secs(20)),
        ..Faults::none()
    })
}

fn slow(seed: u64) -> Sim {
    small(seed).life(Life { act_every: secs(4), ..Life::ordinary() }).faults(Faults {
        stall_every: Some(secs(8)),
        freeze_every: Some(secs(20)),
        queue_frames: 12,
        late_wakeups: Duration::from_millis(200),
        ..Faults::none()
    })
}

fn storm(seed: u64) -> Sim {
    let life = Life {
        login_within: Duration::from_millis(50),
        act_every: secs(10),
        coming_and_going: 0.6,
        ..Life::ordinary()
    };
    Sim::new(seed).servers(4).users(8).life(life).faults(Faults {
        start_within: Duration::from_millis(20),
        reset_every: Some(secs(12)),
        ..Faults::none()
    })
}

fn roaming(seed: u64) -> Sim {
    let life = Life { act_every: secs(5), coming_and_going: 0.15, roaming: 0.4, ..Life::ordinary() };
    let faults = match seed % 2 {
        0 => Faults { skew: secs(5), ..Faults::none() },
        _ => Faults {
            cut_every: Some(secs(20)),
            partition_every: Some(secs(60)),
            skew: secs(5),
            ..Faults::none()
        },
    };
    small(seed).life(life).faults(faults)
}

fn two_addresses(seed: u64) -> Sim {
    small(seed).faults(Faults {
        two_addresses: true,
        start_within: Duration::from_millis(5),
        reset_every: Some(secs(20)),
        latency: (Duration::from_millis(1), Duration::from_millis(500)),
        ..Faults::none()
    })
}

fn one_introducer(seed: u64) -> Sim {
    Sim::new(seed)
        .servers(5)
        .users(5)
        .mesh(Mesh::Introducers(1))
        .faults(Faults { cut_every: Some(secs(30)), ..Faults::none() })
}

fn introducers_down(seed: u64) -> Sim {
    let faults = Faults { introducers_down: true, crash_every: Some(secs(60)), ..Faults::none() };
    Sim::new(seed).servers(5).users(5).mesh(Mesh::Introducers(2)).faults(faults)
}

fn many_servers(seed: u64) -> Sim {
    let faults = Faults { cut_every: Some(secs(20)), ..Faults::none() };
    Sim::new(seed).servers(7).users(3).mesh(Mesh::Introducers(2)).faults(faults)
}

fn sparse(seed: u64) -> Sim {
    let faults = Faults { cut_every: Some(secs(30)), crash_every: Some(secs(90)), ..Faults::none() };
    Sim::new(seed).servers(6).users(5).mesh(Mesh::Sparse(1 + (seed % 2) as usize)).faults(faults)
}

fn rotations(seed: u64) -> Sim {
    let life = Life { act_every: secs(6), rotating: 0.2, roaming: 0.1, ..Life::ordinary() };
    let faults = match seed % 3 {
        0 => Faults::none(),
        1 => Faults { crash_every: Some(secs(20)), cut_every: Some(secs(20)), ..Faults::none() },
        _ => Faults::rough(),
    };
    Sim::new(seed).servers(3).users(4).liars((seed % 2) as usize).life(life).faults(faults)
}

fn liars(seed: u64) -> Sim {
    let faults = Faults { cut_every: Some(secs(40)), crash_every: Some(secs(60)), ..Faults::none() };
    Sim::new(seed).servers(3).users(4).liars(2).faults(faults)
}

fn liars_calm(seed: u64) -> Sim {
    Sim::new(seed)
        .servers(3)
        .users(4)
        .liars(2)
        .life(Life { act_every: secs(6), ..Life::ordinary() })
        .promptly()
}

fn tight_limits(seed: u64) -> Sim {
    let limits = crate::server::Limits {
        servers: 6,
        users_per_origin: 6,
        pinned_users: 24,
        greeting_links: 8,
        local_users: 6,
        seen_entries: 64,
        ..crate::server::Limits::default()
    };
    let faults = Faults { cut_every: Some(secs(30)), ..Faults::none() };
    Sim::new(seed).servers(3).users(5).liars(1).limits(limits).faults(faults)
}

fn everything(seed: u64) -> Sim {
    let faults = Faults {
        skew: secs(60),
        two_addresses: seed.is_multiple_of(3),
        years_ahead: seed.is_multiple_of(5),
        ..Faults::rough()
    };
    let life = Life { roaming: 0.1, ..Life::ordinary() };
    Sim::new(seed).servers(4).users(6).liars((seed % 2) as usize).life(life).faults(faults)
}
