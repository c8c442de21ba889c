//! M's dialect between our real binaries and a stand-in for its server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peers/mod.rs"]
mod peers;
mod support;

use std::time::Duration;

use peers::StandIn;
use peers::foreign::Foreign;
use peers::keys::native_id;
use peers::m_server::MServer;
use peers::ours::Ours;
use peers::scene::{First, Scene};
use support::{ServerProcess, free_ports};

const M: &str = "4577640c-f770-4d64-88fb-fa6128939cef";
const BOB: &str = "0068766b-05fa-47b3-814f-a23be45a4a8b";

struct Pair {
    ours: Ours,
    server: ServerProcess,
    m: StandIn<MServer>,
}

impl Pair {
    fn ours_dials(dialect: Option<&str>) -> Self {
        let [our_port, port] = free_ports();
        let m = MServer::new(M, "server-b", port).start();
        let key = m.act(|m, _| m.pubkey());
        let ours = Ours::new("server-a", our_port).trusting(port, &key, dialect);
        // A stranger is greeted in every way we know, one after the other.
        let ours = ours.set("[timing]\nwelcome = \"500ms\"\nredial_first = \"200ms\"\n");
        let server = ours.start();
        Self { ours, server, m }
    }

    /// It has us from its introducer, and says HELLO_LINK.
    fn it_dials() -> Self {
        let [our_port, port] = free_ports();
        let ours = Ours::new("server-a", our_port);
        let server = ours.start();
        let m = MServer::new(M, "server-b", port).start();
        m.act(|m, net| m.link_to(net, &server.id, "127.0.0.1", our_port.into(), &ours.pubkey));
        Self { ours, server, m }
    }

    fn scene(&self) -> Scene<'_, MServer> {
        Scene { ours: &self.ours, server: &self.server, peer: &self.m, bob: BOB, verified: true }
    }
}

#[test]
fn we_dial_it_and_both_see_and_reach_each_other() {
    Pair::ours_dials(Some("m")).scene().play(First::Alice);
    Pair::ours_dials(Some("m")).scene().play(First::Bob);
}

/// It answers no greeting, so we greet it in every way we know until one is left.
#[test]
fn we_dial_it_as_a_stranger() {
    let pair = Pair::ours_dials(None);
    pair.scene().come_and_go(First::Alice);
    let refused = pair.m.rejections();
    assert!(refused.iter().all(|refused| refused.reason == "the key is not base64 of DER"), "{refused:#?}");
}

#[test]
fn it_links_to_us_and_both_see_and_reach_each_other() {
    Pair::it_dials().scene().play(First::Alice);
    Pair::it_dials().scene().play(First::Bob);
}

#[test]
fn who_was_online_before_the_link_is_seen() {
    let [our_port, port] = free_ports();
    let m = MServer::new(M, "server-b", port).start();
    m.arrives(BOB, "bob");
    let ours = Ours::new("server-a", our_port);
    let server = ours.start();
    let mut alice = ours.log_in("alice", &server);
    m.act(|m, net| m.link_to(net, &server.id, "127.0.0.1", our_port.into(), &ours.pubkey));
    // Her advert makes it tell of its own.
    m.sees(&native_id("alice"));
    let pair = Pair { ours, server, m };
    pair.scene().told(&mut alice, "user_added");
    pair.scene().talk(&mut alice);
    pair.m.has_refused_nothing();
}

/// It dials back when it is linked to, and says nothing there until it has something to say.
#[test]
fn its_silent_dial_back_is_waited_for() {
    let [our_port, port] = free_ports();
    let m = MServer::new(M, "server-b", port).start();
    let key = m.act(|m, _| m.pubkey());
    let ours = Ours::new("server-a", our_port).trusting(port, &key, Some("m"));
    let ours = ours.set("[timing]\ngreeting = \"1s\"\n");
    let server = ours.start();
    let pair = Pair { ours, server, m };
    pair.m.linked(&pair.server.id);
    let lost = |m: &mut MServer| (!m.is_linked(&pair.server.id)).then_some(());
    let lost = pair.m.wait_for(Duration::from_secs(3), |m, _| lost(m));
    assert!(lost.is_none(), "we have closed the link");
    pair.scene().play(First::Alice);
}

/// Its WELCOMEs are unsigned, and so are first suggestions.
#[test]
fn its_introducer_tells_us_of_its_servers() {
    let [our_port, introducer_port, port] = free_ports();
    let introducer = MServer::introducer("server-c", introducer_port).start();
    let m = MServer::new(M, "server-b", port).start();
    m.act(|m, net| m.join(net, &format!("127.0.0.1:{introducer_port}")));
    introducer.wait("M's JOIN", |introducer, _| introducer.servers.contains_key(M).then_some(()));
    let key = introducer.act(|introducer, _| introducer.pubkey());
    let ours = Ours::new("server-a", our_port).trusting(introducer_port, &key, Some("m"));
    let server = ours.start();
    let pair = Pair { ours, server, m };
    pair.scene().play(First::Alice);
    introducer.has_refused_nothing();
}

/// The stand-ins do what was recorded of M.
#[test]
fn its_servers_among_themselves() {
    const OTHER: &str = "7f132aaa-c01c-4bfe-b3ca-2b2d170bab8c";
    const ALICE: &str = "045bf921-9123-4dd6-8905-3f516cb82e47";
    let [introducer_port, first, second] = free_ports();
    let introducer = MServer::introducer("server-c", introducer_port).start();
    let join = |id: &str, key: &str, port: u16| {
        let m = MServer::new(id, key, port).start();
        m.act(|m, net| m.join(net, &format!("127.0.0.1:{introducer_port}")));
        introducer.wait("a JOIN", |introducer, _| introducer.servers.contains_key(id).then_some(()));
        m
    };
    let a = join(M, "server-a", first);
    let b = join(OTHER, "server-b", second);
    a.linked(OTHER);
    b.linked(M);
    a.arrives(ALICE, "alice");
    b.sees(ALICE);
    b.arrives(BOB, "bob");
    for (m, other, from, to) in [(&a, &b, ALICE, BOB), (&b, &a, BOB, ALICE)] {
        m.tells(from, to, "grüezi ✓");
        assert!(other.reads(to, from, "grüezi ✓").verified);
    }
    a.leaves(ALICE);
    b.misses(ALICE);
    for m in [&a, &b, &introducer] {
        m.has_refused_nothing();
    }
}
