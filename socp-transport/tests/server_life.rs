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

/// Strangers choose what we dial: a number that only the resolver reads as loopback leads home as well.
#[tokio::test]
async fn an_address_of_a_strangers_choice_leads_nowhere_near_home() {
    use socp_core::wire::HostPort;
    let home = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = home.local_addr().unwrap().port();
    let mut config = config("server-a");
    config.advertise = Some("192.0.2.1:8765".parse::<HostPort>().unwrap());
    config.allow_plain = true;
    let server = Server::start(config).await.unwrap();
    let mut reports = server.reports();
    for (host, name) in [("127.1", "alice"), ("2130706433", "bob"), ("0x7f000001", "server-b")] {
        let mut mallory = Peer { name, ..Peer::connect(&server).await };
        let join = serde_json::json!({ "host": host, "port": port, "pubkey": server_support::pubkey(name) });
        mallory.send("SERVER_HELLO_JOIN", "192.0.2.1:8765", join).await;
        mallory.until("SERVER_WELCOME").await;
        let refused = soon(async {
            loop {
                match reports.next().await.unwrap() {
                    Report::Dropped { why: "dial failed", detail } if detail.starts_with(host) => {
                        break detail;
                    }
                    _ => continue,
                }
            }
        });
        let refused = refused.await;
        assert!(refused.contains("`dial`"), "{refused}");
    }
    let dialled = tokio::time::timeout(Duration::from_millis(100), home.accept()).await;
    assert!(dialled.is_err(), "nobody came");
}

/// §15: the group key is 256 random bits of this run; only its wraps are anywhere.
#[tokio::test]
async fn the_channels_key_is_random_made_at_each_start_and_never_stored() {
    use socp_core::crypto::Opener;
    use socp_transport::store::SqliteStore;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.db");
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let store = Box::new(SqliteStore::open(&file).unwrap());
        let server = Server::start(ServerConfig { store, ..config("server-a") }).await.unwrap();
        let wrap_of = |user: &str| -> String {
            let reader = rusqlite::Connection::open(&file).unwrap();
            let sql = "SELECT wrapped_key FROM group_members WHERE member_id = ?1";
            reader.query_row(sql, [user], |row| row.get(0)).unwrap_or_default()
        };
        let before = ["alice", "bob"].map(wrap_of);
        let _people = (Peer::login(&server, "alice").await, Peer::login(&server, "bob").await);
        soon(async {
            while ["alice", "bob"].map(wrap_of).iter().zip(&before).any(|(now, before)| now == before) {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let opened = ["alice", "bob"].map(|user| {
            let wrap = socp_core::wire::decode_base64(&wrap_of(user)).unwrap();
            key(user).open(&wrap).unwrap().to_vec()
        });
        assert_eq!((opened[0].len(), &opened[0]), (32, &opened[1]), "one key for both");
        let [own, _] = opened;
        soon(server.shutdown()).await.unwrap();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(own.len()).any(|window| window == own), "it is nowhere in the file");
        }
        keys.insert(own);
    }
    assert_eq!(keys.len(), 2, "another one after a restart");
}
