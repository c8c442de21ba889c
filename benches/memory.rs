//! What a user costs the server in memory: `cargo bench -p socp-benches --bench memory`, or one half of it with
//! `-- connections` or `-- remote`, and how many of them. Linux only. Fails while a target is missed.
//!
//! Two figures are taken before and after. *Resident*, which is what has a target, is the resident set of the server's
//! process, so that what the allocator wastes counts; what the kernel keeps for a socket does not. *Live* is what
//! the program asked of its allocator and has not given back. Each half runs in a process of its own: memory that one
//! gave back would be taken again by the other, unseen.
//!
//! - *Remote users*: one machine hears the adverts of 100,000 users, 10,000 each at ten servers, every one with
//!   a key, a name, a server's signature and an attestation of its own. Keys and signatures are made up, of the
//!   true lengths: making 200,000 real ones would take ten minutes and change no length.
//! - *Connections*: 2,000 clients in a process of their own log in over loopback sockets with challenge and proof,
//!   with ids of their own and one key, are sent the directory, and then say nothing. The server runs on all of the
//!   real machinery.

#[path = "../socp-core/tests/support/mod.rs"]
mod support;

use std::alloc::System;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, stream};
use socp_core::crypto::{SharedPayload, Unsigned, aws_lc::PrivateKey};
use socp_core::server::{Event, LinkOrigin};
use socp_core::wire::*;
use socp_transport::server::{Server, ServerConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{FakeSigner, START_MS, World, address, key, now, signed};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Counts what is asked for; gives what the system's allocator gives.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REMOTE_USERS: u64 = 100_000;
const ORIGINS: u64 = 10;
const CONNECTIONS: u64 = 2_000;

/// What a user may cost, in KiB.
const MOST_PER_REMOTE_USER: f64 = 3.0;
const MOST_PER_CONNECTION: f64 = 24.0;

/// Clients that log in at the same time.
const AT_ONCE: usize = 8;

/// How long nothing happens before an idle connection is measured.
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = |default| arguments.get(1).map_or(default, |count| count.parse().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some("clients") => {
            let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
            clients(&arguments[1], number(2), number(3));
        }
        Some("connections") => connections(count(CONNECTIONS)),
        Some("remote") => remote_users(count(REMOTE_USERS)),
        Some(other) => panic!("there is no half called {other}"),
        None => {
            let missed =
                ["connections", "remote"].map(|half| !this_program(&[half]).wait().expect("ours").success());
            assert_eq!(missed, [false; 2], "a target was missed");
        }
    }
}

fn this_program(arguments: &[&str]) -> Child {
    let program = std::env::current_exe().expect("this one");
    Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().expect("this program runs")
}

/// What this process takes, in KiB.
#[derive(Clone, Copy)]
struct Taken {
    resident: f64,
    live: f64,
}

impl Taken {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        let resident = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let stats = ALLOCATOR.stats();
        Self { resident, live: (stats.bytes_allocated - stats.bytes_deallocated) as f64 / 1024.0 }
    }

    /// Says what each of `count` took since.
    fn report(self, what: &str, count: u64, most: f64) {
        let (now, count) = (Self::now(), count as f64);
        let resident = (now.resident - self.resident) / count;
        let live = (now.live - self.live) / count;
        println!(
            "{what}: {resident:.2} KiB each, at most {most} wanted, {live:.2} of them live ({count}; resident {:.1} MiB, then {:.1} MiB)",
            self.resident / 1024.0,
            now.resident / 1024.0
        );
        assert!(resident <= most, "over the target");
    }
}

/// A server that hears of users elsewhere.
fn remote_users(count: u64) {
    let mut world = World::with_servers(1);
    world.nodes[0].config.limits.pinned_users = 2 * count as usize;
    world.nodes[0].config.limits.changes_per_second = u32::MAX;
    world.start(0);
    let origins: Vec<_> = (0..ORIGINS).map(|origin| origin_server(&mut world, 2_000 + origin)).collect();
    let before = Taken::now();
    for user in 0..count {
        let (link, signer) = &origins[(user % ORIGINS) as usize];
        let advert = advert(signer, user);
        // What follows goes to nobody, and is dropped as a driver would once it is sent.
        world.receive(0, *link, advert);
    }
    let online = world.nodes[0].machine.counts().online_users as u64;
    assert_eq!(online, count, "every advert counts");
    before.report("remote user", count, MOST_PER_REMOTE_USER);
}

fn origin_server(world: &mut World, seed: u64) -> (socp_core::server::LinkId, FakeSigner) {
    let signer = FakeSigner::new(key(seed));
    let id = Id::derived_from(&signer.key);
    let link = world.new_link(0);
    world.nodes[0].machine.handle(now(0), Event::LinkOpened { link, origin: LinkOrigin::Accepted });
    let hello = support::hostile::hello(&signer.key, &support::hostile::nowhere(1), None);
    let join = Payload::ServerHelloJoin(hello);
    world.receive(0, link, signed(&id, Recipient::Unnamed, START_MS, &join, &signer));
    (link, signer)
}

/// An advert as our own servers make it.
fn advert(server: &FakeSigner, user: u64) -> Frame {
    let user = FakeSigner::new(key(1_000_000 + user));
    let user_id = UserId::from(Id::derived_from(&user.key));
    let server_id = ServerId::from(Id::derived_from(&server.key));
    let proof = LoginProof {
        nonce: Nonce([7; 32]),
        user_id: user_id.clone(),
        server_id: server_id.clone(),
        host: address(9_000).to_string().into(),
        issued_at: START_MS,
    };
    let sealed =
        signed(user_id.id(), Recipient::Unnamed, START_MS, &Payload::LoginProof(proof.clone()), &user);
    let sig = sealed.sig().expect("signed").clone();
    let advert = support::hostile::advert(&user_id, &server_id, &user.key, "Alice Liddell");
    let (issued_at, attestation) = (Some(START_MS + 1), Some(Attestation { payload: proof, sig }));
    let advert = Payload::UserAdvertise(UserAdvertise { issued_at, attestation, ..advert });
    signed(server_id.id(), Recipient::Everyone, START_MS, &advert, server)
}

fn fixture(name: &str) -> Arc<PrivateKey> {
    let path = format!("{}/../socp-core/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let pem = std::fs::read_to_string(path).expect("a fixture");
    Arc::new(PrivateKey::from_pem(&pem).expect("a key"))
}

/// A server that other people's clients are connected to.
#[tokio::main]
async fn connections(count: u64) {
    let config = ServerConfig::new("127.0.0.1:0".parse().expect("an address"), fixture("server-a"));
    let server = Server::start(config).await.expect("loopback");
    // What the first few links cost once is not theirs.
    let _warm = clients_of(&server, 0, AT_ONCE as u64).await;
    let before = Taken::now();
    let mut clients = clients_of(&server, AT_ONCE as u64, count).await;
    before.report("idle connection", count, MOST_PER_CONNECTION);
    clients.kill().expect("ours");
    clients.wait().expect("ours");
    server.shutdown().await.expect("nothing to lose");
}

/// Starts more clients, after so many, and returns once all are logged in and silent.
async fn clients_of(server: &Server, before: u64, wanted: u64) -> Child {
    let child = this_program(&[
        "clients",
        &server.local_addr().to_string(),
        &before.to_string(),
        &wanted.to_string(),
    ]);
    let started = Instant::now();
    while (server.stats().await.tables.local_users as u64) < before + wanted {
        assert!(started.elapsed() < Duration::from_secs(600), "the clients do not get in");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(IDLE).await;
    child
}

/// The other process: clients that log in, read whatever comes, and end with their standard input.
#[tokio::main]
async fn clients(address: &str, before: u64, count: u64) {
    let signer = fixture("alice");
    let logins =
        stream::iter(before..before + count).map(|number| login(address, number, Arc::clone(&signer)));
    logins.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    // Whoever started us ends us, or has ended.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

async fn login(address: &str, number: u64, signer: Arc<PrivateKey>) {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await.expect("ws");
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let user_id = UserId::from(Id::uuid_v4(bytes));
    let public = signer.public_key().clone();
    let hello = UserHello {
        client: Some("bench".into()),
        pubkey: Some(public.into()),
        enc_pubkey: None,
        auth: vec!["pss".into()],
        ext: Vec::new(),
        meta: Some(Meta::named("Alice Liddell")),
        rotations: Vec::new(),
        nonce: None,
    };
    let frame = |payload: Payload| {
        let shared = SharedPayload::new(&payload);
        let frame = Unsigned::new(user_id.id().clone(), Recipient::Everyone, Timestamp(unix_ms()), shared);
        let signed = frame.sign(&*signer).expect("a good key").into_text();
        Message::text(signed.as_str().to_owned())
    };
    socket.send(frame(Payload::UserHello(hello))).await.expect("open");
    while let Some(message) = socket.next().await {
        let Ok(Message::Text(text)) = message else { continue };
        let received = Frame::parse(text.as_str(), 1 << 20).expect("a frame");
        match received.payload() {
            Payload::LoginChallenge(challenge) => {
                let proof = LoginProof {
                    nonce: challenge.nonce,
                    user_id: user_id.clone(),
                    server_id: challenge.server_id.clone(),
                    host: address.into(),
                    issued_at: unix_ms(),
                };
                socket.send(frame(Payload::LoginProof(proof))).await.expect("open");
            }
            Payload::UserLoggedIn(_) => break,
            Payload::Error(error) => panic!("{}: {}", error.code, error.detail),
            _ => {}
        }
    }
    tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}
