//! The advert path: what it costs a server to take in one verified USER_ADVERTISE and tell everybody.
//!
//! `actions` is the machine alone; `encoded` adds the one signature and the one encoding that all local
//! clients share. The first grows with the number of links by a few nanoseconds each, the second is the
//! price of an RSA signature whatever the number of clients.

#[path = "../socp-core/tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use socp_core::crypto::{Admission, aws_lc};
use socp_core::server::{Action, Event, LinkId, LinkOrigin, Outgoing};
use socp_core::wire::*;
use support::{FakeSigner, START_MS, World, key, now, signed};

/// A server with so many users, and links to so many servers; adverts come in on one more.
struct Bench {
    world: World,
    origin: FakeSigner,
    origin_id: ServerId,
    link: LinkId,
    issued_at: u64,
}

impl Bench {
    fn new(clients: u64, servers: u64) -> Self {
        let mut world = World::with_servers(1);
        world.start(0);
        for user in 0..clients {
            world.add_to_crowd(0, 10_000 + user);
        }
        let mut last = None;
        for server in 0..servers {
            let signer = FakeSigner::new(key(2_000 + server));
            let id = ServerId::from(Id::derived_from(&signer.key));
            let link = world.new_link(0);
            world.nodes[0].machine.handle(now(0), Event::LinkOpened { link, origin: LinkOrigin::Accepted });
            let hello = ServerHello {
                host: "192.0.2.1".into(),
                port: Some(8_765),
                pubkey: signer.key.clone().into(),
                nonce: None,
                ext: Vec::new(),
            };
            let join = Payload::ServerHelloJoin(hello);
            world.receive(0, link, signed(id.id(), Recipient::Unnamed, START_MS, &join, &signer));
            last = Some((signer, id, link));
        }
        assert_eq!(world.linked(0) as u64, servers);
        let (origin, origin_id, link) = last.expect("at least one server");
        Self { world, origin, origin_id, link, issued_at: START_MS }
    }

    /// Hands over one advert of a user that comes, untimed its removal, and says how long the first took.
    fn advert(&mut self, finish: impl Fn(Vec<Action>)) -> Duration {
        self.issued_at += 2;
        let advert = UserAdvertise {
            user_id: "somebody".parse().expect("an id"),
            server_id: self.origin_id.clone(),
            pubkey: Some(key(1).into()),
            meta: Some(Meta::named("somebody")),
            issued_at: Some(self.issued_at),
            attestation: None,
            rotations: Vec::new(),
            event: None,
        };
        let event = self.verified(&Payload::UserAdvertise(advert));
        let at = now(self.issued_at - START_MS);
        let start = Instant::now();
        let actions = self.world.nodes[0].machine.handle(at, event);
        assert!(actions.iter().any(|action| matches!(action, Action::Send { .. })));
        finish(actions);
        let elapsed = start.elapsed();
        let removal = UserRemove {
            user_id: "somebody".parse().expect("an id"),
            server_id: self.origin_id.clone(),
            issued_at: Some(self.issued_at + 1),
            meta: None,
            event: None,
        };
        let event = self.verified(&Payload::UserRemove(removal));
        self.world.nodes[0].machine.handle(at, event);
        elapsed
    }

    fn verified(&self, payload: &Payload) -> Event {
        let frame = signed(self.origin_id.id(), Recipient::Everyone, self.issued_at, payload, &self.origin);
        let frame = match self.world.nodes[0].machine.admit(self.link, frame) {
            Admission::Verify(frame) => frame.verify(&self.world.verifier).expect("signed"),
            Admission::Accept(_) | Admission::Refuse(_) => panic!("an advert is verified"),
        };
        Event::Frame { link: self.link, frame }
    }
}

/// Signs what must be signed and encodes it, once for all links of an action.
fn encode(actions: Vec<Action>, signer: &aws_lc::PrivateKey) {
    for action in actions {
        if let Action::Send { to, frame } = action {
            let text = match frame {
                Outgoing::Own(frame) => frame.sign(signer).expect("a good key").into_text(),
                Outgoing::Relay(text) | Outgoing::Bulk(text) => text,
            };
            let shared: Vec<WireText> = to.iter().map(|_| text.clone()).collect();
            std::hint::black_box(shared);
        }
    }
}

fn fanout(criterion: &mut Criterion) {
    let pem = include_str!("../socp-core/tests/fixtures/keys/server-a.pem");
    let signer = aws_lc::PrivateKey::from_pem(pem).expect("a fixture key");
    let sizes = [1, 10, 100, 1_000].map(|clients| ("clients", clients, clients, 2));
    let meshes = [2, 10, 100].map(|servers| ("servers", servers, 10, servers));
    for (what, size, clients, servers) in sizes.into_iter().chain(meshes) {
        let mut group = criterion.benchmark_group(format!("fanout/{what}"));
        group.throughput(Throughput::Elements(clients + servers - 1));
        let mut bench = Bench::new(clients, servers);
        group.bench_function(BenchmarkId::new("actions", size), |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| bench.advert(|actions| drop(std::hint::black_box(actions)))).sum()
            });
        });
        group.bench_function(BenchmarkId::new("encoded", size), |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| bench.advert(|actions| encode(actions, &signer))).sum()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, fanout);
criterion_main!(benches);
