//! R's dialect between our real binaries and a stand-in for its server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use peers::StandIn;
use peers::keys::{Key, native_id};
use peers::ours::Ours;
use peers::r_server::RServer;
use peers::scene::{First, Scene};
use support::{ServerProcess, free_ports};

const R: &str = "f2d1bdf5-349f-49f9-9998-dffd874ebb7d";
const BOB: &str = "128db151-27fa-459d-8306-bd64f0573013";

struct Pair {
    ours: Ours,
    server: ServerProcess,
    r: StandIn<RServer>,
}

impl Pair {
    /// We dial it: it cannot read what we would send to a stranger, so that the list says what it is.
    fn ours_dials() -> Self {
        let [our_port, port] = free_ports();
        let r = RServer::new(R, "server-b", port).start();
        let key = r.act(|r, _| r.pubkey());
        let ours = Ours::new("server-a", our_port).trusting(port, &key, Some("r"));
        let server = ours.start();
        Self { ours, server, r }
    }

    /// It joins us.
    fn it_dials() -> Self {
        let [our_port, port] = free_ports();
        let ours = Ours::new("server-a", our_port);
        let server = ours.start();
        let r = RServer::new(R, "server-b", port).start();
        r.act(|r, net| r.join(net, &ours.address(), Key::fixture("server-a").spki()));
        Self { ours, server, r }
    }

    fn scene(&self) -> Scene<'_, RServer> {
        Scene { ours: &self.ours, server: &self.server, peer: &self.r, bob: BOB, verified: false }
    }
}

#[test]
fn we_dial_it_and_both_see_and_reach_each_other() {
    Pair::ours_dials().scene().play(First::Alice);
    Pair::ours_dials().scene().play(First::Bob);
}

#[test]
fn it_joins_us_and_both_see_and_reach_each_other() {
    Pair::it_dials().scene().play(First::Alice);
    Pair::it_dials().scene().play(First::Bob);
}

#[test]
fn who_was_online_before_the_link_is_advertised_then() {
    let [our_port, port] = free_ports();
    let ours = Ours::new("server-a", our_port);
    let server = ours.start();
    let _alice = ours.log_in("alice", &server);
    let r = RServer::new(R, "server-b", port).start();
    r.act(|r, net| r.join(net, &ours.address(), Key::fixture("server-a").spki()));
    r.sees(&native_id("alice"));
    r.has_refused_nothing();
    assert_eq!(r.act(|r, _| r.broken_welcome), 0, "a user was listed as a server");
}

#[test]
fn two_of_its_servers_find_each_other_by_ours() {
    const OTHER: &str = "e03802f4-7f14-4783-8c0a-e6e12e8ab1ef";
    let pair = Pair::it_dials();
    pair.r.wait("a link", |r, _| r.servers.contains_key(&pair.server.id).then_some(()));
    let [port] = free_ports();
    let other = RServer::new(OTHER, "server-c", port).start();
    let key = Key::fixture("server-a");
    other.act(|r, net| r.join(net, &pair.ours.address(), key.spki()));
    for (r, server) in [(&other, &*pair.server.id), (&other, R), (&pair.r, OTHER)] {
        r.linked(server);
    }
    // Each of them hears of alice from us alone, and of each other's user directly.
    let mut alice = pair.ours.log_in("alice", &pair.server);
    pair.r.arrives(BOB, "bob");
    pair.scene().told(&mut alice, "user_added");
    other.sees(&native_id("alice"));
    other.sees(BOB);
    pair.scene().talk(&mut alice);
    pair.r.has_refused_nothing();
    other.has_refused_nothing();
    assert_eq!(other.act(|r, _| r.broken_welcome), 0);
}

/// The stand-ins do what was recorded of R.
#[test]
fn its_servers_among_themselves() {
    const OTHER: &str = "e03802f4-7f14-4783-8c0a-e6e12e8ab1ef";
    const LAST: &str = "e035d093-71c9-4979-9879-bbb689df9b82";
    const ALICE: &str = "031972b5-6bc7-4cb4-aa77-f0fe3f1848ec";
    let [first, second, third] = free_ports();
    let a = RServer::new(R, "server-a", first).start();
    let join = |id: &str, key: &str, port: u16| {
        let r = RServer::new(id, key, port).start();
        r.act(|r, net| r.join(net, &format!("127.0.0.1:{first}"), Key::fixture("server-a").spki()));
        r.linked(R);
        a.linked(id);
        r
    };
    let b = join(OTHER, "server-b", second);
    // By A's WELCOME it finds B.
    let c = join(LAST, "server-c", third);
    c.linked(OTHER);
    b.linked(LAST);
    a.arrives(ALICE, "alice");
    b.arrives(BOB, "bob");
    c.sees(ALICE);
    for (r, other, from, to) in [(&a, &b, ALICE, BOB), (&b, &a, BOB, ALICE)] {
        r.tells(from, to, "grüezi ✓");
        assert!(other.reads(to, from, "grüezi ✓").verified);
    }
    a.leaves(ALICE);
    b.misses(ALICE);
    for r in [&a, &b, &c] {
        r.has_refused_nothing();
        assert_eq!(r.act(|r, _| r.broken_welcome), 0);
    }
}
