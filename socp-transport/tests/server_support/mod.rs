//! Servers on loopback, and raw peers that do as they like.
#![allow(clippy::unwrap_used, dead_code, reason = "tests, and every file uses its part")]

pub(crate) mod authority;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::{HostPort, encode_base64};
use socp_transport::server::{Server, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// More than anything here may take, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it did not happen in time")
}

pub(crate) fn key(name: &str) -> Arc<PrivateKey> {
    let path = format!("{}/../socp-core/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    Arc::new(PrivateKey::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// A key as hellos carry it.
pub(crate) fn pubkey(name: &str) -> String {
    encode_base64(key(name).public_key().spki())
}

pub(crate) fn config(name: &str) -> ServerConfig {
    ServerConfig::new("127.0.0.1:0".parse().unwrap(), key(name))
}

pub(crate) async fn server() -> Server {
    Server::start(config("server-a")).await.unwrap()
}

pub(crate) fn address(server: &Server) -> HostPort {
    server.local_addr().to_string().parse().unwrap()
}

/// A peer with a socket of its own.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) name: &'static str,
}

impl Peer {
    /// Opens a socket and says nothing.
    pub(crate) async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let opened = soon(tokio_tungstenite::client_async("ws://127.0.0.1/some/path", stream)).await;
        Self { socket: opened.unwrap().0, name: "" }
    }

    /// Logs in as the standard has it.
    pub(crate) async fn login(server: &Server, name: &'static str) -> Self {
        let mut peer = Self { name, ..Self::connect(server).await };
        let pubkey = pubkey(name);
        let hello = json!({"client": "raw", "pubkey": pubkey, "enc_pubkey": pubkey});
        peer.send("USER_HELLO", server.id().as_str(), hello).await;
        // A session is open once it answers.
        peer.send("LIST_REQUEST", "", json!({})).await;
        peer.until("LIST_RESPONSE").await;
        peer
    }

    pub(crate) async fn send(&mut self, kind: &str, to: &str, payload: Value) {
        let frame = json!({"type": kind, "from": self.name, "to": to, "ts": 1_700_000_000_000_u64, "payload": payload});
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// A message whose ciphertext is `bytes` long and starts with a number.
    pub(crate) async fn tell(&mut self, to: &str, number: u32, bytes: usize) {
        let ciphertext = format!("{number:08}{}", "A".repeat(bytes.saturating_sub(8)));
        self.send("MSG_DIRECT", to, json!({"ciphertext": ciphertext, "content_sig": "AAAA"})).await;
    }

    /// The next text.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match soon(self.socket.next()).await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next frame of a type; others are passed over.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed before {kind}"));
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The numbers of the messages that arrive next.
    pub(crate) async fn numbers(&mut self, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let frame = self.until("USER_DELIVER").await;
            numbers.push(frame["payload"]["ciphertext"].as_str().unwrap()[..8].parse().unwrap());
        }
        numbers
    }

    /// The code with which the socket is closed; none if it just ends.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = soon(self.socket.next()).await?.ok()? {
                return frame.map(|frame| frame.code.into());
            }
        }
    }
}
