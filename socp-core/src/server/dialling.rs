//! Whom we dial, and when: the bootstrap list, servers met before, and addresses learnt from peers
//! (§8.1, §8.4, decisions §7). Every address is dialled while its server is not linked, for ever, with
//! backoff and jitter: two healed islands find each other.

use std::net::IpAddr;
use std::time::Duration;

use super::Server;
use super::api::{Action, DialPolicy, Introducer, JoinPolicy, PinRank, Report, ServerRecord};
use super::link::Link;
use super::out::cut;
use super::timers::Timer;
use crate::dialect::Dialect;
use crate::wire::{HostPort, PublicKey, ServerId};

/// An address that we keep linked.
#[derive(Debug)]
pub(super) struct Dial {
    /// The key that must answer there.
    pub(super) key: PublicKey,
    /// How the server speaks, as far as is known before it has said anything.
    pub(super) dialect: Dialect,
    pub(super) source: Source,
    /// Failures in a row.
    pub(super) failures: u32,
    /// JOINs in a row that nobody answered, though somebody was there.
    pub(super) unanswered: usize,
    /// A dial or a link that we dialled is open.
    pub(super) busy: bool,
    /// It was dialled once, or need not be: of a listed server, its turn has come.
    tried: bool,
    /// Why the attempt under way will come to nothing.
    trouble: Option<Box<str>>,
    /// It was told that this listed server cannot be joined.
    down: bool,
}

impl Dial {
    fn new(key: PublicKey, dialect: Dialect, source: Source) -> Self {
        Self {
            key,
            dialect,
            source,
            failures: 0,
            unanswered: 0,
            busy: false,
            tried: false,
            trouble: None,
            down: false,
        }
    }
}

/// Where an address comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Another server's word. Given up after [`LEARNT_FAILURES`].
    Learnt(ServerId),
    /// The server itself, over a link: one address a server, the newest.
    Announced,
    /// The operator's list, or a link that came up there.
    Proven,
}

/// A learnt address that was never linked is forgotten after so many failures in a row; others may have to
/// make room after as many.
const LEARNT_FAILURES: u32 = 10;

impl Server {
    pub(super) fn start_dialling(&mut self) {
        let listed = self.config.bootstrap.clone();
        for introducer in listed {
            if introducer.key != self.config.key {
                let dialect = introducer.dialect.unwrap_or(Dialect::Standard);
                let Introducer { address, key, .. } = introducer;
                self.keep_linked(address, key, dialect, Source::Proven, Duration::ZERO);
            }
        }
        self.try_introducers();
        let met: Vec<_> = self
            .peers
            .values()
            .map(|peer| peer.record.clone())
            .filter(|server| server.address.as_ref().is_some_and(|address| self.may_dial(address)))
            .collect();
        for ServerRecord { server_id, key, rank, native, dialect, address, .. } in met {
            let Some(address) = address else { continue };
            match rank >= PinRank::Proven || native {
                true => self.keep_linked(address, key, dialect, Source::Announced, Duration::ZERO),
                // It never proved anything, but it may be one of those that never dial again.
                false => self.keep_learnt_linked(&server_id, address, key, dialect),
            }
        }
    }

    /// Adds an address and dials it after `delay`, unless its server is linked. A better source takes an
    /// address over from a worse one.
    pub(super) fn keep_linked(
        &mut self,
        address: HostPort,
        key: PublicKey,
        dialect: Dialect,
        source: Source,
        delay: Duration,
    ) {
        let own = self.config.address.as_ref();
        if own.is_none() || own == Some(&address) || !self.may_join(&key) {
            return;
        }
        if let Some(dial) = self.dials.get_mut(&address) {
            if source > dial.source {
                dial.source = source;
                dial.key = key.clone();
            }
            return self.note_dialect(&address, &key, dialect);
        }
        if self.dials.len() >= self.config.limits.servers + self.config.bootstrap.len()
            && !self.make_room_for_dial()
        {
            return self.dropped("too many addresses", address.to_string());
        }
        self.timers.set(Timer::Redial(address.clone()), self.now.instant + delay);
        self.dials.insert(address, Dial::new(key, dialect, source));
    }

    /// Introducers are tried in the list's order (§8.1): the next one as soon as the one before has answered or
    /// failed, or after it has said nothing for a while.
    fn try_introducers(&mut self) {
        let mut at = self.now.instant;
        for Introducer { address, .. } in &self.config.bootstrap {
            if self.dials.get(address).is_some_and(|dial| !dial.tried) {
                self.timers.set(Timer::Redial(address.clone()), at);
                at += self.config.timing.next_introducer;
            }
        }
    }

    fn is_listed(&self, address: &HostPort) -> bool {
        self.config.bootstrap.iter().any(|introducer| introducer.address == *address)
    }

    /// How the server at an address speaks, if somebody could tell.
    fn note_dialect(&mut self, address: &HostPort, key: &PublicKey, dialect: Dialect) {
        // By what its own links have shown: others' words do not change what works.
        let shown = self.peers.values().any(|peer| peer.record.key == *key && peer.record.dialect == dialect);
        if let Some(dial) = self.dials.get_mut(address).filter(|dial| dial.key == *key)
            && dialect != Dialect::Standard
            && shown
        {
            dial.dialect = dialect;
        }
    }

    /// What was guessed of a server's dialect does not hold: the next dial begins as the standard has it.
    pub(super) fn greet_by_join(&mut self, address: &HostPort) {
        if let Some(dial) = self.dials.get_mut(address)
            && dial.dialect.profile().links_without_join
        {
            dial.dialect = Dialect::Standard;
        }
    }

    /// In which dialect a server is greeted. If none is known, every form of a JOIN has its turn until one is
    /// answered.
    pub(super) fn greeting_dialect(&self, address: &HostPort) -> Dialect {
        const TURNS: [Dialect; 4] = [Dialect::Standard, Dialect::Python, Dialect::R, Dialect::M];
        let dial = self.dials.get(address);
        dial.map_or(Dialect::Standard, |dial| match dial.dialect {
            known if known != Dialect::Standard && dial.unanswered < TURNS.len() => known,
            _ => TURNS[dial.unanswered % TURNS.len()],
        })
    }

    /// Somebody was there and said nothing to our JOIN.
    pub(super) fn join_unanswered(&mut self, address: &HostPort) {
        if let Some(dial) = self.dials.get_mut(address) {
            dial.unanswered += 1;
        }
    }

    fn make_room_for_dial(&mut self) -> bool {
        let hopeless = self
            .dials
            .iter()
            .find(|(_, dial)| dial.source < Source::Proven && !dial.busy && dial.failures >= LEARNT_FAILURES);
        let Some(hopeless) = hopeless.map(|(address, _)| address.clone()) else { return false };
        self.forget_dial(&hopeless);
        true
    }

    fn forget_dial(&mut self, address: &HostPort) {
        self.dials.remove(address);
        self.timers.cancel(&Timer::Redial(address.clone()));
    }

    /// When the next address from a peer may be dialled: at most one in [`super::Timing::learnt_dial`].
    fn learnt_slot(&mut self) -> Duration {
        let slot = self.next_learnt_dial.max(self.now.instant);
        self.next_learnt_dial = slot + self.config.timing.learnt_dial;
        slot.saturating_sub(self.now.instant)
    }

    /// An address of another server: bounded per teller and in rate, and only what the policy allows.
    pub(super) fn keep_learnt_linked(
        &mut self,
        teller: &ServerId,
        address: HostPort,
        key: PublicKey,
        dialect: Dialect,
    ) {
        let source = Source::Learnt(teller.clone());
        let told = self.dials.values().filter(|dial| dial.source == source).count();
        if !self.may_dial(&address) {
            return;
        }
        if self.dials.contains_key(&address) {
            return self.note_dialect(&address, &key, dialect);
        }
        if told >= self.config.limits.learnt_addresses_per_teller {
            self.dropped("too many addresses from one teller", format!("{teller}: {address}"));
            return;
        }
        let delay = self.learnt_slot();
        self.keep_linked(address, key, dialect, source, delay);
    }

    /// An address that a server says is its own: the newest replaces the one before.
    pub(super) fn keep_announced_linked(&mut self, address: HostPort, key: PublicKey, dialect: Dialect) {
        if !self.may_dial(&address) {
            return;
        }
        let before = self.dials.iter().find(|(other, dial)| {
            **other != address && dial.key == key && dial.source == Source::Announced && !dial.busy
        });
        let delay = match before.map(|(other, _)| other.clone()) {
            Some(before) => {
                self.forget_dial(&before);
                self.config.timing.learnt_dial
            }
            None if self.dials.contains_key(&address) => Duration::ZERO,
            None => self.learnt_slot(),
        };
        self.keep_linked(address, key, dialect, Source::Announced, delay);
    }

    /// Whether the operator lets the holder of a key into our mesh, whoever dials: by `join`, or by the bootstrap
    /// list, which is a choice of its own.
    pub(super) fn may_join(&self, key: &PublicKey) -> bool {
        match &self.config.join {
            JoinPolicy::Open => true,
            JoinPolicy::Allowlist(keys) => keys.contains(key) || self.is_listed_key(key),
        }
    }

    pub(super) fn may_dial(&self, address: &HostPort) -> bool {
        match self.config.dial {
            DialPolicy::All => true,
            DialPolicy::None => false,
            DialPolicy::Reachable => self.reachable().includes(scope(address.host())),
        }
    }

    /// Where an address may lead that was not refused by its looks. The operator's own may lead anywhere.
    fn reach_of(&self, address: &HostPort) -> Reach {
        // A machine's own name leads home on many: who is reached by it as well is at home there.
        let is_home = self.config.address.as_ref().is_some_and(|own| own.host() == address.host());
        match self.config.dial {
            DialPolicy::Reachable if !is_home && !self.is_listed(address) => self.reachable(),
            DialPolicy::Reachable | DialPolicy::All | DialPolicy::None => Reach::EVERYWHERE,
        }
    }

    fn reachable(&self) -> Reach {
        Reach { own: Some(self.config.address.as_ref().map_or(Scope::Nowhere, |own| scope(own.host()))) }
    }

    pub(super) fn on_redial_due(&mut self, address: &HostPort) {
        let Some(dial) = self.dials.get_mut(address) else { return };
        dial.tried = true;
        let (key, busy) = (dial.key.clone(), dial.busy);
        // We dial only whom we hold no link to (decisions §5).
        if busy || self.is_linked(&key) {
            return self.try_introducers();
        }
        if let Some(dial) = self.dials.get_mut(address) {
            dial.busy = true;
            dial.trouble = None;
            let reach = self.reach_of(address);
            self.out.push(Action::Dial { address: address.clone(), reach });
        }
    }

    /// Why a dial, or a link that we dialled, is about to come to nothing. What was said first is the reason;
    /// says whether this was.
    pub(super) fn note_trouble(&mut self, address: &HostPort, why: &str) -> bool {
        let quoted = self.config.limits.quoted_bytes;
        let Some(dial) = self.dials.get_mut(address).filter(|dial| dial.trouble.is_none()) else {
            return false;
        };
        dial.trouble = Some(cut(why, quoted).into());
        true
    }

    pub(super) fn on_dial_failed(&mut self, address: &HostPort, why: &str) {
        self.dropped("dial failed", format!("{address}: {why}"));
        self.note_trouble(address, why);
        self.dial_ended(address, true);
    }

    /// A dial or a dialled link is over; the next one follows later the more have failed.
    pub(super) fn dial_ended(&mut self, address: &HostPort, failed: bool) {
        let Some(dial) = self.dials.get_mut(address) else { return };
        dial.busy = false;
        dial.failures = if failed { dial.failures.saturating_add(1) } else { 0 };
        let failures = dial.failures;
        let (key, source, trouble) = (dial.key.clone(), dial.source.clone(), dial.trouble.take());
        if failed && self.is_listed(address) {
            self.introducer_failed(address, &key, trouble.unwrap_or_else(|| "the link ended".into()));
        }
        let superseded = source == Source::Announced
            && self
                .dials
                .iter()
                .any(|(other, dial)| other != address && dial.key == key && dial.source == source);
        if failed && (superseded || (matches!(source, Source::Learnt(_)) && failures >= LEARNT_FAILURES)) {
            return self.forget_dial(address);
        }
        let timing = &self.config.timing;
        let doublings = failures.saturating_sub(1).min(16);
        let around = timing.redial_first.saturating_mul(1 << doublings).min(timing.redial_slowest);
        let delay = self.jitter(around);
        self.timers.set(Timer::Redial(address.clone()), self.now.instant + delay);
    }

    fn introducer_failed(&mut self, address: &HostPort, key: &PublicKey, why: Box<str>) {
        // Of two links of one pair one goes: that is no failure. Whoever merely shows the key has said nothing.
        let stands = |link: &Link| {
            link.server()
                .is_some_and(|server| server.key == *key && (link.is_dialled() || server.nonces.is_some()))
        };
        let has_another = self.links.values().any(stands);
        if !has_another && let Some(dial) = self.dials.get_mut(address) {
            dial.down = true;
            self.report(Report::IntroducerDown { address: address.clone(), why });
        }
        self.try_introducers();
    }

    /// A link is up: the listed servers that could not be joined, and now are.
    pub(super) fn note_joined(&mut self, key: &PublicKey) {
        if !self.is_linked(key) {
            return;
        }
        let back = self.dials.iter_mut().filter(|(_, dial)| dial.key == *key && dial.down);
        let back: Vec<HostPort> = back
            .map(|(address, dial)| {
                dial.down = false;
                address.clone()
            })
            .collect();
        for address in back {
            self.report(Report::IntroducerUp { address });
        }
        self.try_introducers();
    }

    /// A link has come up where we dialled. Other addresses of that server are given up, but for the operator's.
    pub(super) fn dial_succeeded(&mut self, address: &HostPort, dialect: Dialect) {
        let Some(dial) = self.dials.get_mut(address) else { return };
        dial.failures = 0;
        dial.unanswered = 0;
        dial.dialect = dialect;
        dial.source = Source::Proven;
        let key = dial.key.clone();
        let others = self.dials.iter().filter(|(other, dial)| {
            *other != address && dial.key == key && !dial.busy && !self.is_listed(other)
        });
        let others: Vec<HostPort> = others.map(|(other, _)| other.clone()).collect();
        for other in others {
            self.forget_dial(&other);
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

    /// Whether the holder of a key is at the other end of a link. Who merely showed that key on a link that
    /// they opened does not count.
    fn is_linked(&self, key: &PublicKey) -> bool {
        let links = self.peers.values().filter(|peer| peer.record.key == *key).flat_map(|peer| &peer.links);
        links
            .filter_map(|link| self.links.get(link))
            .any(|link| link.is_dialled() || link.server().is_some_and(|server| server.proven))
    }
}

/// Which network addresses an [`Action::Dial`] may lead to (decisions §7). A name says nothing, and much reads as an
/// address that the machine does not know for one, so that the driver asks once it has resolved what it dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What is no address of the wide network is dialled only by who is reached there as well. `None`: all is dialled.
    own: Option<Scope>,
}

impl Reach {
    /// Every address will do.
    pub const EVERYWHERE: Self = Self { own: None };

    /// Whether this one will do.
    pub fn allows(self, ip: IpAddr) -> bool {
        self.includes(scope_of(ip))
    }

    fn includes(self, scope: Scope) -> bool {
        match (self.own, scope) {
            (None, _) | (Some(_), Scope::Anywhere) => true,
            (Some(_), Scope::Nowhere) => false,
            (Some(own), home) => own == home,
        }
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

/// What a host says of itself, before it is resolved.
fn scope(host: &str) -> Scope {
    let host = host.split('%').next().unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(ip) => scope_of(ip),
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Scope::Loopback,
        Err(_) => Scope::Anywhere,
    }
}

fn scope_of(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        ip if ip.is_unspecified() || ip.is_multicast() => Scope::Nowhere,
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if ip.is_link_local() => Scope::LinkLocal,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Scope::LinkLocal,
        IpAddr::V4(_) | IpAddr::V6(_) => Scope::Anywhere,
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
