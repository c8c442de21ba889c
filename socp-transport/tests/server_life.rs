//! How servers start, meet, and end.

mod server_support;

use std::time::Duration;

use server_support::{Peer, address, config, key, server, soon};
use socp_core::server::{Introducer, Record, Report, Snapshot};
use socp_transport::Failure;
use socp_transport::server::{Server, ServerConfig, StartError};
use socp_transport::store::{Store, StoreError};
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = server().await;
    let listen = first.local_addr().to_string().parse().unwrap();
    let error = Server::start(ServerConfig::new(listen, key("server-b"))).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn a_shutdown_says_goodbye_to_everybody() {
    let server = server().await;
    let mut alice = Peer::login(&server, "alice").await;
    let mut stranger = Peer::connect(&server).await;
    let goodbyes = async { (alice.close_code().await, stranger.close_code().await) };
    let (stopped, goodbyes) = tokio::join!(soon(server.shutdown()), goodbyes);
    assert_eq!(stopped, Ok(()));
    assert_eq!(goodbyes, (Some(1000), Some(1000)));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_who_does_not_answer() {
    let server = server().await;
    let _deaf = Peer::login(&server, "alice").await;
    let reports = server.reports();
    let started = Instant::now();
    assert_eq!(soon(server.shutdown()).await, Ok(()));
    assert!(started.elapsed() < Duration::from_secs(6));
    drop(reports);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_dial() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config("server-b");
    let address = deaf.local_addr().unwrap().to_string().parse().unwrap();
    config.bootstrap = vec![Introducer::new(address, key("server-a").public_key().clone())];
    let server = Server::start(config).await.unwrap();
    let _dialled = soon(deaf.accept()).await.unwrap();
    let started = Instant::now();
    assert_eq!(soon(server.shutdown()).await, Ok(()));
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A disk that is full.
struct Full;

impl Store<Record> for Full {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot::default())
    }

    fn commit(&mut self, _batch: &[Record]) -> Result<(), StoreError> {
        Err(StoreError::Failed { file: "/dev/full".into(), what: "writing", why: "disk full".into() })
    }
}

#[tokio::test]
async fn a_server_that_cannot_remember_stops_before_it_speaks() {
    let mut config = config("server-a");
    config.store = Box::new(Full);
    let server = Server::start(config).await.unwrap();
    let mut alice = Peer { name: "alice", ..Peer::connect(&server).await };
    let pubkey = server_support::pubkey("alice");
    alice
        .send("USER_HELLO", server.id().as_str(), serde_json::json!({"client": "raw", "pubkey": pubkey}))
        .await;
    alice.send("LIST_REQUEST", "", serde_json::json!({})).await;
    assert_eq!(alice.next().await, None);
    assert!(matches!(soon(server.wait()).await, Err(Failure::Store(StoreError::Failed { .. }))));
    assert_eq!(server.stats().await.tables.local_users, 0);
}

#[tokio::test]
async fn servers_find_each_other_and_their_users_talk() {
    let first = server().await;
    let mut config = config("server-b");
    let introducer = Introducer::new(address(&first), key("server-a").public_key().clone());
    config.bootstrap = vec![introducer];
    let mut reports = first.reports();
    let second = Server::start(config).await.unwrap();
    soon(async {
        loop {
            match reports.next().await.unwrap() {
                Report::ServerUp { server, proven, .. } => {
                    assert_eq!((server, proven), (second.id(), true));
                    break;
                }
                _ => continue,
            }
        }
    })
    .await;
    assert_eq!(first.servers().await, [second.id()]);

    let mut alice = Peer::login(&first, "alice").await;
    let mut bob = Peer::login(&second, "bob").await;
    soon(async {
        while first.users().await.len() < 2 || second.users().await.len() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for number in 0..20 {
        alice.tell("bob", number, 16).await;
    }
    assert_eq!(bob.numbers(20).await, (0..20).collect::<Vec<_>>());

    soon(second.shutdown()).await.unwrap();
    soon(async {
        while first.users().await.len() > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_an_address_others_can_dial_nobody_is_joined() {
    let first = server().await;
    let mut config = ServerConfig::new("0.0.0.0:0".parse().unwrap(), key("server-b"));
    let introducer = Introducer::new(address(&first), key("server-a").public_key().clone());
    config.bootstrap = vec![introducer];
    config.allow_plain = true;
    let second = Server::start(config).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(first.stats().await.accepted, 0);
    soon(second.shutdown()).await.unwrap();
}
