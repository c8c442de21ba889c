//! What peers can do to a server's sockets, and what they cannot.

mod server_support;

use std::time::Duration;

use futures_util::SinkExt;
use server_support::{Peer, config, server, soon};
use socp_transport::server::Server;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_text_of_two_mebibytes_is_answered_with_1009() {
    let server = server().await;
    let mut peer = Peer::connect(&server).await;
    peer.socket.send(Message::text("x".repeat(2 * 1024 * 1024))).await.unwrap();
    assert_eq!(peer.close_code().await, Some(1009));
}

#[tokio::test]
async fn a_text_that_is_not_utf8_is_answered_with_1007() {
    let server = server().await;
    let mut peer = Peer::connect(&server).await;
    // A final, masked text frame of two bytes; the mask is 0.
    peer.socket.get_mut().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await.unwrap();
    assert_eq!(peer.close_code().await, Some(1007));
}

#[tokio::test]
async fn garbage_is_answered_with_an_error_and_the_link_stays() {
    let server = server().await;
    let mut alice = Peer::login(&server, "alice").await;
    for garbage in [Message::binary(vec![0xff, 0x00, 0x80]), Message::text("}{"), Message::text("")] {
        alice.socket.send(garbage).await.unwrap();
        assert_eq!(alice.until("ERROR").await["payload"]["code"], "UNKNOWN_TYPE");
    }
    alice.send("LIST_REQUEST", "", serde_json::json!({})).await;
    alice.until("LIST_RESPONSE").await;
}

#[tokio::test]
async fn half_open_sockets_keep_nobody_out() {
    let mut config = config("server-a");
    config.max_handshakes = 4;
    config.links.open_timeout = Duration::from_millis(200);
    let server = Server::start(config).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.local_addr()).await.unwrap());
    }
    Peer::login(&server, "alice").await;
    assert_eq!(server.stats().await.tables.local_users, 1);
}

#[tokio::test]
async fn links_over_the_limit_are_turned_away() {
    let mut config = config("server-a");
    config.max_links = 1;
    let server = Server::start(config).await.unwrap();
    let _alice = Peer::login(&server, "alice").await;
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    assert!(soon(tokio_tungstenite::client_async("ws://127.0.0.1/", stream)).await.is_err());
    assert_eq!(server.stats().await.refused_links, 1);
}

#[tokio::test]
async fn messages_keep_their_order_while_signatures_are_made_several_at_a_time() {
    let server = server().await;
    let mut alice = Peer::login(&server, "alice").await;
    let mut bob = Peer::login(&server, "bob").await;
    for number in 0..200 {
        alice.tell("bob", number, 16).await;
    }
    assert_eq!(bob.numbers(200).await, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_nobody_waits_for_it() {
    let mut config = config("server-a");
    config.links.queue_bytes = 512 * 1024;
    let server = Server::start(config).await.unwrap();
    let mut alice = Peer::login(&server, "alice").await;
    let mut bob = Peer::login(&server, "bob").await;
    let mut carol = Peer::login(&server, "carol").await;
    let mut sent = 0;
    // Bob does not read. His socket's buffers fill, then his queue.
    while server.stats().await.slow_consumers == 0 {
        alice.tell("bob", sent, 200_000).await;
        alice.tell("carol", sent, 16).await;
        assert_eq!(carol.numbers(1).await, [sent]);
        sent += 1;
        assert!(sent < 1000, "nothing bounds the queue");
    }
    alice.tell("carol", sent, 16).await;
    assert_eq!(carol.numbers(1).await, [sent]);
    let started = Instant::now();
    bob.close_code().await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(server.stats().await.tables.local_users, 2);
}

#[tokio::test]
async fn who_asks_too_often_is_read_more_slowly_and_loses_nothing() {
    let mut config = config("server-a");
    config.limits.requests_per_second = 50;
    let server = Server::start(config).await.unwrap();
    let mut alice = Peer::login(&server, "alice").await;
    let started = Instant::now();
    for _ in 0..120 {
        alice.send("LIST_REQUEST", "", serde_json::json!({})).await;
    }
    for _ in 0..120 {
        alice.until("LIST_RESPONSE").await;
    }
    assert!(started.elapsed() > Duration::from_secs(1));
}
