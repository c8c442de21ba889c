//! Weaknesses that other implementations are known for, attacked over real sockets and files. SECURITY.md lists them all.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server_support;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::SinkExt;
use serde_json::{Value, json};
use server_support::{Peer, address, config, key, pubkey, soon};
use socp_core::client::Notice;
use socp_core::crypto::aws_lc::Provider;
use socp_core::crypto::{ContentInput, Sealer, Signer};
use socp_core::wire::{Binary, Id, Timestamp, UserId};
use socp_transport::client::{Client, ClientConfig, Notices};
use socp_transport::server::{Server, ServerConfig};
use socp_transport::store::SqliteStore;
use tokio_tungstenite::tungstenite::Message;

/// Python: `hashlib.scrypt(b"correct horse", salt=b"0123456789abcdef", n=16384, r=8, p=1, dklen=32)`.
const VERIFIER: &str = "MDEyMzQ1Njc4OWFiY2RlZg.0LupyHkzAIgDr9UDsriAAf87vMbCbcaUfDvFOAHk0D0";

fn on(file: &Path) -> ServerConfig {
    ServerConfig { store: Box::new(SqliteStore::open(file).unwrap()), ..config("server-a") }
}

async fn say(peer: &mut Peer, frame: &Value) {
    peer.socket.send(Message::text(frame.to_string())).await.unwrap();
}

async fn register(peer: &mut Peer, user: &str, store: &str) -> Value {
    let payload = json!({
        "user_id": user, "pubkey": pubkey("alice"), "privkey_store": store, "pake_password": VERIFIER,
    });
    say(peer, &json!({"type": "USER_REGISTER", "payload": payload})).await;
    peer.next().await.unwrap()
}

async fn log_in(peer: &mut Peer, user: &str, password: &str) -> Value {
    say(peer, &json!({"type": "USER_LOGIN", "payload": {"user_id": user, "password": password}})).await;
    peer.next().await.unwrap()
}

// SQL built from text.

#[tokio::test]
async fn what_would_be_sql_is_only_text() {
    let ids = [
        "x'); DROP TABLE users; --",
        "x\"); DROP TABLE users; --",
        "alice' --",
        "alice' OR '1'='1",
        "%",
        "_____",
        "' UNION SELECT user_id, privkey_store, pake_password FROM users --",
        "?1",
        ":user_id",
        "alice\u{2019}; VACUUM",
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.db");
    let server = Server::start(on(&file)).await.unwrap();
    let mut mallory = Peer::connect(&server).await;
    assert_eq!(register(&mut mallory, "alice", "alice's own").await["type"], "USER_REGISTERED");
    for id in ids {
        let answer = register(&mut mallory, id, &format!("{id} of their own")).await;
        assert_eq!((&answer["type"], &answer["payload"]["user_id"]), (&json!("USER_REGISTERED"), &json!(id)));
    }
    // None of it is somebody else, and no password is anything but one.
    for (user, password) in [("alice", "' OR '1'='1"), ("alice", "x' OR 1=1 --"), ("ALICE", "correct horse")]
    {
        let mut peer = Peer::connect(&server).await;
        let answer = log_in(&mut peer, user, password).await;
        assert_eq!(
            (&answer["type"], &answer["payload"]["code"]),
            (&json!("ERROR"), &json!("BAD_KEY")),
            "{user}"
        );
    }
    // Names that others see are text as well, and what asks for somebody by such a name asks for nobody.
    let mut bob = Peer::login(&server, "bob").await;
    let meta = json!({"display_name": "'); DELETE FROM users; --"});
    bob.send("USER_HELLO", "", json!({"client": "raw", "pubkey": pubkey("bob"), "meta": meta})).await;
    bob.send("PUBKEY_REQUEST", "", json!({"user_id": "alice' --x"})).await;
    assert_eq!(bob.until("ERROR").await["payload"]["code"], "USER_NOT_FOUND");
    server.shutdown().await.unwrap();

    let server = Server::start(on(&file)).await.unwrap();
    for id in ids.into_iter().chain(["alice"]) {
        let mut peer = Peer::connect(&server).await;
        let answer = log_in(&mut peer, id, "correct horse").await;
        let store = if id == "alice" { "alice's own".to_owned() } else { format!("{id} of their own") };
        assert_eq!(answer["payload"]["privkey_store"], json!(store), "{answer}");
        drop(peer);
    }
    server.shutdown().await.unwrap();
    let reader = rusqlite::Connection::open(&file).unwrap();
    let mut statement = reader.prepare("SELECT user_id FROM users ORDER BY user_id").unwrap();
    let stored: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut expected: Vec<&str> = ids.into_iter().chain(["alice", "bob"]).collect();
    expected.sort_unstable();
    assert_eq!(stored, expected);
    let meta: String =
        reader.query_row("SELECT meta FROM users WHERE user_id = 'bob'", [], |row| row.get(0)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&meta).unwrap()["display_name"], "'); DELETE FROM users; --");
}

// Replays.

async fn bobs_client(server: &Server, file: &Path) -> (Client, Notices) {
    let mut config = ClientConfig::new(address(server), key("bob"));
    config.store = Box::new(SqliteStore::open(file).unwrap());
    let (client, mut notices) = Client::start(config).await.unwrap();
    next(&mut notices, |notice| matches!(notice, Notice::Ready { .. }).then(String::new)).await;
    (client, notices)
}

async fn next(notices: &mut Notices, wanted: impl Fn(&Notice) -> Option<String>) -> String {
    soon(async {
        loop {
            if let Some(text) = wanted(&notices.next().await.expect("the client stopped")) {
                return text;
            }
        }
    })
    .await
}

fn text_of(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Message { text, .. } => Some(text.to_string()),
        _ => None,
    }
}

/// A message of alice's to bob, sealed and signed for real.
fn message(text: &str) -> Value {
    let (alice, bob) = (key("alice"), key("bob"));
    let to = UserId::from(Id::derived_from(bob.public_key()));
    let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let ciphertext = Binary::new(Provider::new().seal(bob.public_key(), text.as_bytes()).unwrap());
    let from: Id = "alice".parse().unwrap();
    let input =
        ContentInput { ciphertext: ciphertext.clone(), from, to: Some(to.id().clone()), ts: Timestamp(ts) };
    let content_sig = Binary::new(alice.sign(&input.message()).unwrap());
    json!({
        "type": "MSG_DIRECT", "from": "alice", "to": to.as_str(), "ts": ts, "sig": "",
        "payload": {
            "ciphertext": ciphertext.text(), "content_sig": content_sig.text(), "sender_pub": pubkey("alice"),
        },
    })
}

#[tokio::test]
async fn a_message_replayed_after_restarts_of_server_and_client_is_shown_once() {
    let directory = tempfile::tempdir().unwrap();
    let [server_file, client_file] = ["server.db", "client.db"].map(|name| directory.path().join(name));
    let server = Server::start(on(&server_file)).await.unwrap();
    let listen = server.local_addr().to_string();
    let (client, mut to_bob) = bobs_client(&server, &client_file).await;
    let mut alice = Peer::login(&server, "alice").await;
    let recorded = message("pay the bearer");
    say(&mut alice, &recorded).await;
    assert_eq!(next(&mut to_bob, text_of).await, "pay the bearer");
    // At once, in another envelope, by the same link.
    say(&mut alice, &recorded).await;
    let mut later = recorded.clone();
    later["ts"] = json!(recorded["ts"].as_u64().unwrap() + 1);
    say(&mut alice, &later).await;
    say(&mut alice, &message("first")).await;
    assert_eq!(next(&mut to_bob, text_of).await, "first", "and nothing in between");
    soon(client.quit()).await.unwrap();
    drop(alice);
    server.shutdown().await.unwrap();

    // The server's duplicate caches are gone with it; what bob was shown is not.
    let mut again = on(&server_file);
    again.listen = vec![listen.parse().unwrap()];
    let server = Server::start(again).await.unwrap();
    let (client, mut to_bob) = bobs_client(&server, &client_file).await;
    let mut alice = Peer::login(&server, "alice").await;
    say(&mut alice, &recorded).await;
    say(&mut alice, &later).await;
    say(&mut alice, &message("second")).await;
    assert_eq!(next(&mut to_bob, text_of).await, "second");
    soon(client.quit()).await.unwrap();
    server.shutdown().await.unwrap();
}
