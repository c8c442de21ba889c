//! Whom we dial, and when: the bootstrap list, servers met before, and addresses learnt from peers
//! (§8.1, §8.4, decisions §7). Every address is dialled while its server is not linked, for ever, with
//! backoff and jitter: two healed islands find each other.

use std::net::IpAddr;
use std::time::Duration;

use super::Server;
use super::api::{Action, DialPolicy, PinRank};
use super::timers::Timer;
use crate::wire::{HostPort, PublicKey, ServerId};

/// An address that we keep linked.
#[derive(Debug)]
pub(super) struct Dial {
    /// The key that must answer there.
    pub(super) key: PublicKey,
    /// Who told us, for addresses that have never been linked.
    pub(super) teller: Option<ServerId>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// A dial or a link that we dialled is open.
    pub(super) busy: bool,
}

/// A learnt address that was never linked is forgotten after so many failures in a row.
const LEARNT_FAILURES: u32 = 10;

impl Server {
    pub(super) fn start_dialling(&mut self) {
        let listed = self.config.bootstrap.clone();
        for introducer in listed {
            if introducer.key != self.config.key {
                self.keep_linked(introducer.address, introducer.key, None, Duration::ZERO);
            }
        }
        let met: Vec<_> = self
            .peers
            .values()
            .filter(|peer| peer.record.rank >= PinRank::Proven || peer.record.native)
            .filter_map(|peer| Some((peer.record.address.clone()?, peer.record.key.clone())))
            .filter(|(address, _)| self.may_dial(address))
            .collect();
        for (address, key) in met {
            self.keep_linked(address, key, None, Duration::ZERO);
        }
    }

    /// Adds an address if it is new and dials it after `delay`, unless its server is linked.
    pub(super) fn keep_linked(
        &mut self,
        address: HostPort,
        key: PublicKey,
        teller: Option<ServerId>,
        delay: Duration,
    ) {
        let own = self.config.address.as_ref();
        if own.is_none() || own == Some(&address) || self.dials.contains_key(&address) {
            return;
        }
        if self.dials.len() >= self.config.limits.servers + self.config.bootstrap.len() {
            self.dropped("too many addresses", address.to_string());
            return;
        }
        self.timers.set(Timer::Redial(address.clone()), self.now.instant + delay);
        self.dials.insert(address, Dial { key, teller, failures: 0, busy: false });
    }

    /// An address from a peer: bounded per teller and in rate, and only what the policy allows.
    pub(super) fn keep_learnt_linked(&mut self, teller: &ServerId, address: HostPort, key: PublicKey) {
        let told = self.dials.values().filter(|dial| dial.teller.as_ref() == Some(teller)).count();
        if !self.may_dial(&address) || self.dials.contains_key(&address) {
            return;
        }
        if told >= self.config.limits.learnt_addresses_per_teller {
            self.dropped("too many addresses from one teller", format!("{teller}: {address}"));
            return;
        }
        let slot = self.next_learnt_dial.max(self.now.instant);
        self.next_learnt_dial = slot + self.config.timing.learnt_dial;
        self.keep_linked(address, key, Some(teller.clone()), slot.saturating_sub(self.now.instant));
    }

    pub(super) fn may_dial(&self, address: &HostPort) -> bool {
        match self.config.dial {
            DialPolicy::All => true,
            DialPolicy::None => false,
            DialPolicy::Reachable => match scope(address.host()) {
                Scope::Nowhere => false,
                Scope::Anywhere => true,
                scope_of_address => {
                    self.config.address.as_ref().is_some_and(|own| scope(own.host()) == scope_of_address)
                }
            },
        }
    }

    pub(super) fn on_redial_due(&mut self, address: &HostPort) {
        let Some(dial) = self.dials.get(address) else { return };
        // We dial only whom we hold no link to (decisions §5).
        if dial.busy || self.is_linked(&dial.key) {
            return;
        }
        if let Some(dial) = self.dials.get_mut(address) {
            dial.busy = true;
            self.out.push(Action::Dial { address: address.clone() });
        }
    }

    pub(super) fn on_dial_failed(&mut self, address: &HostPort, why: &str) {
        self.dropped("dial failed", format!("{address}: {why}"));
        self.dial_ended(address, true);
    }

    /// A dial or a dialled link is over; the next one follows later the more have failed.
    pub(super) fn dial_ended(&mut self, address: &HostPort, failed: bool) {
        let Some(dial) = self.dials.get_mut(address) else { return };
        dial.busy = false;
        dial.failures = if failed { dial.failures.saturating_add(1) } else { 0 };
        let failures = dial.failures;
        if dial.teller.is_some() && failures >= LEARNT_FAILURES {
            self.dials.remove(address);
            return;
        }
        let timing = &self.config.timing;
        let doublings = failures.saturating_sub(1).min(16);
        let around = timing.redial_first.saturating_mul(1 << doublings).min(timing.redial_slowest);
        let delay = self.jitter(around);
        self.timers.set(Timer::Redial(address.clone()), self.now.instant + delay);
    }

    /// A server is linked: its addresses have proven themselves and start afresh next time.
    pub(super) fn dial_succeeded(&mut self, key: &PublicKey) {
        for dial in self.dials.values_mut().filter(|dial| dial.key == *key) {
            dial.failures = 0;
            dial.teller = None;
        }
    }

    /// The last link to a server is gone: its addresses are dialled again.
    pub(super) fn redial_server(&mut self, key: &PublicKey) {
        let addresses: Vec<HostPort> = self
            .dials
            .iter()
            .filter(|(_, dial)| dial.key == *key && !dial.busy)
            .map(|(address, _)| address.clone())
            .collect();
        for address in addresses {
            if !self.timers.is_set(&Timer::Redial(address.clone())) {
                let delay = self.jitter(self.config.timing.redial_first);
                self.timers.set(Timer::Redial(address), self.now.instant + delay);
            }
        }
    }

    fn is_linked(&self, key: &PublicKey) -> bool {
        self.peers.values().any(|peer| peer.record.key == *key && !peer.links.is_empty())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Unspecified and multicast addresses: nobody listens there.
    Nowhere,
    Loopback,
    LinkLocal,
    Anywhere,
}

fn scope(host: &str) -> Scope {
    let host = host.split('%').next().unwrap_or(host);
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Scope::Nowhere,
        Ok(ip) if ip.is_loopback() => Scope::Loopback,
        Ok(IpAddr::V4(ip)) if ip.is_link_local() => Scope::LinkLocal,
        Ok(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Scope::LinkLocal,
        Ok(IpAddr::V4(_) | IpAddr::V6(_)) => Scope::Anywhere,
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Scope::Loopback,
        Err(_) => Scope::Anywhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_nowhere_or_home_are_told_apart() {
        for (host, expected) in [
            ("0.0.0.0", Scope::Nowhere),
            ("::", Scope::Nowhere),
            ("127.0.0.53", Scope::Loopback),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("localhost", Scope::Loopback),
            ("169.254.1.1", Scope::LinkLocal),
            ("fe80::1%eth0", Scope::LinkLocal),
            ("192.0.2.1", Scope::Anywhere),
            ("example.org", Scope::Anywhere),
        ] {
            assert_eq!(scope(host), expected, "{host}");
        }
    }
}
