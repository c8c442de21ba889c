//! Seed logins over sockets, as the seed's clients have them: real scrypt, a real file.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server_support;

use serde_json::{Value, json};
use server_support::{Peer, config, pubkey};
use sha2::{Digest, Sha256};
use socp_core::server::PasswordLogins;
use socp_transport::server::{Server, ServerConfig};
use socp_transport::store::SqliteStore;

/// Python: `hashlib.scrypt(b"correct horse", salt=b"0123456789abcdef", n=16384, r=8, p=1, dklen=32)`.
const VERIFIER: &str = "MDEyMzQ1Njc4OWFiY2RlZg.0LupyHkzAIgDr9UDsriAAf87vMbCbcaUfDvFOAHk0D0";

/// A frame of the seed's client: a type and a payload.
async fn say(peer: &mut Peer, kind: &str, payload: Value) {
    use futures_util::SinkExt;
    let frame = json!({"type": kind, "payload": payload}).to_string();
    peer.socket.send(tokio_tungstenite::tungstenite::Message::text(frame)).await.unwrap();
}

async fn register(peer: &mut Peer) {
    register_as(peer, "alice", VERIFIER).await;
}

async fn register_as(peer: &mut Peer, user: &str, verifier: &str) {
    let registration = json!({
        "user_id": user, "pubkey": pubkey("alice"), "privkey_store": "{}", "pake_password": verifier,
    });
    say(peer, "USER_REGISTER", registration).await;
}

async fn log_in(peer: &mut Peer, user: &str, password: &str) -> Value {
    say(peer, "USER_LOGIN", json!({"user_id": user, "password": password})).await;
    peer.next().await.unwrap()
}

fn on(file: &std::path::Path) -> ServerConfig {
    ServerConfig { store: Box::new(SqliteStore::open(file).unwrap()), ..config("server-a") }
}

#[tokio::test]
async fn a_seeds_client_registers_and_logs_in_and_the_password_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.db");
    let server = Server::start(on(&file)).await.unwrap();
    let mut alice = Peer::connect(&server).await;
    register(&mut alice).await;
    assert_eq!(alice.until("USER_REGISTERED").await["payload"]["user_id"], "alice");
    server.shutdown().await.unwrap();

    let server = Server::start(on(&file)).await.unwrap();
    let mut alice = Peer::connect(&server).await;
    for (user, password) in [("alice", "correct horsf"), ("nobody", "correct horse")] {
        let answer = log_in(&mut alice, user, password).await;
        assert_eq!((&answer["type"], &answer["payload"]["code"]), (&json!("ERROR"), &json!("BAD_KEY")));
    }
    let answer = log_in(&mut alice, "alice", "correct horse").await;
    assert_eq!(
        (&answer["type"], &answer["payload"]["privkey_store"]),
        (&json!("USER_LOGGED_IN"), &json!("{}"))
    );
    let snapshot = alice.until("PUBLIC_CHANNEL_SNAPSHOT").await;
    assert_eq!(snapshot["payload"]["members"], json!(["alice"]));
    assert_eq!(server.users().await.len(), 1);
    // Messages find her.
    let mut bob = Peer::login(&server, "bob").await;
    bob.tell("alice", 1, 512).await;
    assert_eq!(alice.numbers(1).await, [1]);
    // The wrap of the channel's key is made and stored within seconds.
    let wrapped = || {
        let reader = rusqlite::Connection::open(&file).unwrap();
        let sql = "SELECT count(*) FROM group_members WHERE length(wrapped_key) = 683";
        reader.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    server_support::soon(async {
        while wrapped() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_passwords_says_so() {
    let config = ServerConfig { password_logins: PasswordLogins::Never, ..config("server-a") };
    let server = Server::start(config).await.unwrap();
    let mut alice = Peer::connect(&server).await;
    register(&mut alice).await;
    assert_eq!(alice.until("ERROR").await["payload"]["code"], "UNKNOWN_TYPE");
}

/// What a stolen file with fast hashes would give away in hours: none is taken for a verifier.
#[tokio::test]
async fn no_fast_hash_of_a_password_opens_anything() {
    let server = Server::start(config("server-a")).await.unwrap();
    let mut peer = Peer::connect(&server).await;
    let (salt, password) = (b"0123456789abcdef", "correct horse");
    let fast: [(&str, Vec<u8>); 4] = [
        ("sha256", Sha256::digest(password).to_vec()),
        ("salted", Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec()),
        ("peppered", Sha256::new().chain_update(password).chain_update(salt).finalize().to_vec()),
        ("plain", format!("{password:\0<32}").into_bytes()),
    ];
    for (user, hash) in fast {
        let encode = socp_core::wire::encode_base64;
        register_as(&mut peer, user, &format!("{}.{}", encode(salt), encode(&hash))).await;
        peer.until("USER_REGISTERED").await;
        let answer = log_in(&mut peer, user, password).await;
        assert_eq!(
            (&answer["type"], &answer["payload"]["code"]),
            (&json!("ERROR"), &json!("BAD_KEY")),
            "{user}"
        );
    }
    for verifier in [password, "Y29ycmVjdCBob3JzZQ", "$2b$12$abcdefghijklmnopqrstuv", "MDEy.MDEy"] {
        register_as(&mut peer, "other", verifier).await;
        assert_eq!(peer.next().await.unwrap()["payload"]["code"], "UNKNOWN_TYPE", "{verifier}");
    }
    assert!(server.users().await.is_empty());
}
