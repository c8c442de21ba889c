//! What goes wrong, and when.

use std::time::Duration;

use super::net::Site;
use super::node::millis;
use super::trace::Happening;
use super::world::{Next, World, micros};

/// A fault that comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cut,
    Split,
    Crash,
    ClockJump,
    Stall,
    Freeze,
    Reset,
    /// Once: the clock that was years ahead is set right.
    ClockMended,
}

/// Four years, in milliseconds.
const YEARS_MS: i64 = 4 * 365 * 24 * 3_600_000;

impl World {
    /// When servers start, with which clocks.
    pub(super) fn schedule_start(&mut self, time: Duration) {
        let faults = self.setup.faults.clone();
        for server in 0..self.servers.len() {
            let mut at = self.between((Duration::ZERO, faults.start_within));
            let introducer = match self.setup.mesh {
                super::Mesh::Introducers(count) => server < count,
                super::Mesh::Full | super::Mesh::Sparse(_) => server == 0,
            };
            if faults.introducers_down && introducer {
                at += micros(time / 3);
            }
            let skew = self.between((Duration::ZERO, faults.skew * 2));
            self.servers[server].clock.skew_ms = (skew / 1000) as i64 - millis(faults.skew);
            self.schedule(at, Next::Start(server));
        }
        if faults.years_ahead && !self.servers.is_empty() {
            let server = self.below(self.servers.len());
            self.servers[server].clock.skew_ms += YEARS_MS;
            self.note(Site::Server(server), "has a clock that is years ahead");
            self.schedule(micros(time / 3), Next::Fault(Fault::ClockMended));
        }
    }

    pub(super) fn schedule_faults(&mut self) {
        for fault in [
            Fault::Cut,
            Fault::Split,
            Fault::Crash,
            Fault::ClockJump,
            Fault::Stall,
            Fault::Freeze,
            Fault::Reset,
        ] {
            self.schedule_fault(fault);
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let faults = &self.setup.faults;
        let every = match fault {
            Fault::Cut => faults.cut_every,
            Fault::Split => faults.partition_every,
            Fault::Crash => faults.crash_every,
            Fault::ClockJump => faults.clock_jump_every,
            Fault::Stall => faults.stall_every,
            Fault::Freeze => faults.freeze_every,
            Fault::Reset => faults.reset_every,
            Fault::ClockMended => None,
        };
        if let Some(every) = every {
            let at = self.time + self.around(every);
            self.schedule(at, Next::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if !self.restless {
            return;
        }
        match fault {
            Fault::Cut => self.cut_some_link(),
            Fault::Split => self.split(),
            Fault::Crash => self.crash_some_server(),
            Fault::ClockJump => self.jump_some_clock(),
            Fault::Stall => self.stall_some_link(),
            Fault::Freeze => self.freeze_some_node(),
            Fault::Reset => self.reset_some_server(),
            Fault::ClockMended => self.mend_clocks(),
        }
        self.schedule_fault(fault);
    }

    fn some_wire(&mut self) -> Option<u64> {
        let index = self.below(self.wires.len());
        self.wires.keys().nth(index).copied()
    }

    fn cut_some_link(&mut self) {
        if let Some(wire) = self.some_wire() {
            let sites = self.wires[&wire].ends.each_ref().map(|end| end.site);
            self.record(Happening::World(format!("the link {}–{} is cut", sites[0], sites[1])));
            self.cut(wire);
        }
    }

    fn reset_some_server(&mut self) {
        let site = Site::Server(self.below(self.servers.len()));
        self.record(Happening::World(format!("all links of {site} are cut")));
        let wires = self.wires.iter().filter(|(_, wire)| wire.ends.iter().any(|end| end.site == site));
        let wires: Vec<u64> = wires.map(|(id, _)| *id).collect();
        for wire in wires {
            self.cut(wire);
        }
    }

    /// Splits servers, and the people with them, in two.
    fn split(&mut self) {
        let share = self.below(100);
        let sides: Vec<bool> = (0..self.servers.len()).map(|_| self.below(100) < share).collect();
        let one_way = self.chance(self.setup.faults.one_way);
        let mut directions = Vec::new();
        for (a, side) in sides.iter().enumerate() {
            for (b, other) in sides.iter().enumerate() {
                if *side && !other {
                    directions.push((Site::Server(a), Site::Server(b)));
                    if !one_way {
                        directions.push((Site::Server(b), Site::Server(a)));
                    }
                }
            }
        }
        for device in 0..self.devices.len() {
            // Some people lose their own network with it.
            if self.below(10) == 0 {
                let server = Site::Server(self.devices[device].server);
                directions.push((Site::Device(device), server));
                directions.push((server, Site::Device(device)));
            }
        }
        let held = self.between(self.setup.faults.partition_hold);
        let shown: Vec<String> = directions.iter().map(|(from, to)| format!("{from}↛{to}")).collect();
        self.record(Happening::World(format!(
            "nothing gets through for {} s: {}",
            held / 1_000_000,
            shown.join(" ")
        )));
        self.block(&directions);
        self.schedule(self.time + held, Next::Heal(directions));
    }

    fn crash_some_server(&mut self) {
        let server = self.below(self.servers.len());
        if self.chance(self.setup.faults.crash_in_batch) {
            self.servers[server].doomed = true;
        } else {
            self.crash(server);
        }
        let at = self.time + self.between(self.setup.faults.down_for);
        self.schedule(at, Next::Start(server));
    }

    fn jump_some_clock(&mut self) {
        let limit = millis(self.setup.faults.clock_jump);
        let by = self.below(2 * limit.unsigned_abs() as usize + 1) as i64 - limit;
        // Half of the jumps set the clock right.
        let right = self.chance(0.5);
        let count = self.servers.len() + self.devices.len();
        let index = self.below(count);
        let (site, clock) = match self.servers.get_mut(index) {
            Some(node) => (Site::Server(index), &mut node.clock),
            None => {
                let device = index - self.servers.len();
                (Site::Device(device), &mut self.devices[device].clock)
            }
        };
        clock.skew_ms = if right { 0 } else { clock.skew_ms + by };
        let skew_ms = clock.skew_ms;
        self.note(site, format!("its clock jumps: off by {} s", skew_ms / 1000));
    }

    fn mend_clocks(&mut self) {
        for server in 0..self.servers.len() {
            if self.servers[server].clock.skew_ms > YEARS_MS / 2 {
                self.servers[server].clock.skew_ms = 0;
                self.note(Site::Server(server), "its clock is set right");
            }
        }
    }

    fn stall_some_link(&mut self) {
        let Some(wire) = self.some_wire() else { return };
        let side = self.below(2);
        let until = self.time + self.between(self.setup.faults.standstill);
        if let Some(wire) = self.wires.get_mut(&wire) {
            let end = &mut wire.ends[side];
            end.paused_until = end.paused_until.max(until);
            let (site, other) = (end.site, wire.ends[1 - side].site);
            let seconds = (until - self.time) / 1_000_000;
            self.note(site, format!("reads nothing from {other} for {seconds} s"));
        }
    }

    fn freeze_some_node(&mut self) {
        let count = self.servers.len() + self.devices.len();
        let index = self.below(count);
        let site = match index.checked_sub(self.servers.len()) {
            None => Site::Server(index),
            Some(device) => Site::Device(device),
        };
        let held = self.between(self.setup.faults.standstill);
        self.note(site, format!("stands still for {} s", held / 1_000_000));
        self.freeze(site);
        self.schedule(self.time + held, Next::Thaw(site));
    }

    /// Everything that was broken works again, and nothing more breaks.
    pub(super) fn mend(&mut self) {
        self.restless = false;
        self.record(Happening::World("everything is mended".into()));
        for liar in 0..self.liars.len() {
            self.liars[liar].gone = true;
            self.drop_links_of(Site::Liar(liar));
        }
        for server in 0..self.servers.len() {
            self.servers[server].clock.skew_ms = 0;
            self.servers[server].doomed = false;
            self.start(server);
        }
        for device in 0..self.devices.len() {
            self.devices[device].clock.skew_ms = 0;
        }
        // Splits and standstills end by themselves; what they hold is let go now.
        self.blocked.clear();
        let frozen: Vec<Site> = self.frozen.keys().copied().collect();
        self.frozen.clear();
        for wire in self.wires.values_mut() {
            for end in &mut wire.ends {
                end.paused_until = end.paused_until.min(self.time);
            }
        }
        for site in frozen {
            self.wake_up(site);
        }
        self.release();
        self.resume_people();
    }
}
