//! F's dialect between our real binaries and a stand-in for its server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use peers::StandIn;
use peers::f_server::FServer;
use peers::keys::{Key, b64u, native_id, pem_of};
use peers::ours::Ours;
use peers::scene::{First, Scene};
use support::{ServerProcess, free_ports};

const F: &str = "6ea82b95-cc76-4529-8c92-b14362fe2d63";
const BOB: &str = "dfc0e105-ddca-4ae1-a41a-758fe2268dba";

struct Pair {
    ours: Ours,
    server: ServerProcess,
    f: StandIn<FServer>,
}

impl Pair {
    fn ours_dials(dialect: Option<&str>) -> Self {
        let [our_port, port] = free_ports();
        let f = FServer::new(F, "server-b", port).start();
        let key = f.act(|f, _| f.pubkey());
        let ours = Ours::new("server-a", our_port).trusting(port, &key, dialect);
        let server = ours.start();
        Self { ours, server, f }
    }

    /// It has us from its introducer, with our key as it was written there.
    fn it_links() -> Self {
        let (pair, our_port) = Self::apart();
        pair.f.act(|f, net| f.link_to(net, &pair.server.id, "127.0.0.1", our_port.into(), &our_key()));
        pair
    }

    /// We are its introducer.
    fn it_joins() -> Self {
        let (pair, _) = Self::apart();
        pair.f.act(|f, net| f.join(net, &pair.ours.address()));
        pair
    }

    fn apart() -> (Self, u16) {
        let [our_port, port] = free_ports();
        let ours = Ours::new("server-a", our_port);
        let server = ours.start();
        let f = FServer::new(F, "server-b", port).start();
        (Self { ours, server, f }, our_port)
    }

    fn scene(&self) -> Scene<'_, FServer> {
        Scene { ours: &self.ours, server: &self.server, peer: &self.f, bob: BOB, verified: true }
    }
}

/// Our key as its introducer would have written it down.
fn our_key() -> String {
    b64u(pem_of(Key::fixture("server-a").spki()).as_bytes())
}

#[test]
fn we_dial_it_and_both_see_and_reach_each_other() {
    Pair::ours_dials(Some("f")).scene().play(First::Alice);
    Pair::ours_dials(Some("f")).scene().play(First::Bob);
}

/// It is recognised by what it sends.
#[test]
fn we_dial_it_as_a_stranger() {
    Pair::ours_dials(None).scene().play(First::Alice);
}

#[test]
fn it_links_to_us_and_both_see_and_reach_each_other() {
    Pair::it_links().scene().play(First::Alice);
    Pair::it_links().scene().play(First::Bob);
}

/// On a link to its introducer it says nothing more: we have to link to it.
#[test]
fn it_joins_by_us_and_both_see_and_reach_each_other() {
    Pair::it_joins().scene().play(First::Alice);
    Pair::it_joins().scene().play(First::Bob);
}

#[test]
fn who_was_online_before_the_link_is_advertised_then() {
    let (pair, our_port) = Pair::apart();
    let _alice = pair.ours.log_in("alice", &pair.server);
    pair.f.act(|f, net| f.link_to(net, &pair.server.id, "127.0.0.1", our_port.into(), &our_key()));
    pair.f.sees(&native_id("alice"));
    pair.f.has_refused_nothing();
}

/// Both know ours; what one relays of the other, signed by itself, is none of its origin's.
#[test]
fn two_of_its_servers_and_ours() {
    const OTHER: &str = "8733a19c-2459-4381-929d-e5cd3739c74d";
    let (pair, our_port) = Pair::apart();
    let [port] = free_ports();
    let other = FServer::new(OTHER, "server-c", port).start();
    let f_key = pair.f.act(|f, _| f.pubkey());
    other.act(|f, net| {
        let f_port = pair.f.address.unwrap().port().into();
        f.link_to(net, F, "127.0.0.1", f_port, &f_key);
        f.link_to(net, &pair.server.id, "127.0.0.1", our_port.into(), &our_key());
    });
    pair.f.act(|f, net| f.link_to(net, &pair.server.id, "127.0.0.1", our_port.into(), &our_key()));
    for (f, server) in [(&other, &*pair.server.id), (&other, F), (&pair.f, OTHER)] {
        f.linked(server);
    }
    let mut alice = pair.ours.log_in("alice", &pair.server);
    pair.f.arrives(BOB, "bob");
    pair.scene().told(&mut alice, "user_added");
    other.sees(&native_id("alice"));
    pair.scene().talk(&mut alice);
    // What they refuse are each other's relays.
    for (f, fellow) in [(&pair.f, OTHER), (&other, F)] {
        let link = f.act(|f, _| f.link_to_server(fellow)).unwrap();
        let ours: Vec<_> = f.rejections().into_iter().filter(|refused| refused.link != link).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

/// The stand-ins do what was recorded of F.
#[test]
fn its_servers_among_themselves() {
    const OTHER: &str = "8733a19c-2459-4381-929d-e5cd3739c74d";
    const INTRODUCER: &str = "9a0f4e45-96af-4779-8da6-aa37555a026b";
    const ALICE: &str = "e2c0e837-a305-48bb-b65a-811b3888447b";
    let [introducer_port, first, second] = free_ports();
    let introducer = FServer::new(INTRODUCER, "server-c", introducer_port).start();
    let join = |id: &str, key: &str, port: u16| {
        let f = FServer::new(id, key, port).start();
        f.act(|f, net| f.join(net, &format!("127.0.0.1:{introducer_port}")));
        introducer.wait("a JOIN", |introducer, _| introducer.servers.contains_key(id).then_some(()));
        f
    };
    let a = join(F, "server-a", first);
    let b = join(OTHER, "server-b", second);
    a.linked(OTHER);
    b.linked(F);
    a.arrives(ALICE, "alice");
    b.arrives(BOB, "bob");
    for (f, other, from, to) in [(&a, &b, ALICE, BOB), (&b, &a, BOB, ALICE)] {
        f.tells(from, to, "grüezi ✓");
        assert!(other.reads(to, from, "grüezi ✓").verified);
    }
    a.leaves(ALICE);
    b.misses(ALICE);
    for f in [&a, &b, &introducer] {
        f.has_refused_nothing();
    }
}
