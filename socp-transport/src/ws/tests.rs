//! Links against raw peers on loopback.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::link::Ended;
use super::open::OpenError;
use super::*;
use crate::tls::Roots;

/// A receiver that hands on what it gets.
struct Forward(mpsc::Sender<Incoming>);

impl Receive for Forward {
    async fn receive(&mut self, incoming: Incoming) {
        self.0.send(incoming).await.unwrap();
    }
}

struct Link {
    outbox: Outbox,
    stop: Stop,
    incoming: mpsc::Receiver<Incoming>,
    ended: JoinHandle<Ended>,
}

/// The accepting end of a link, and a socket to its listener.
async fn link(limits: LinkLimits) -> (Link, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (outbox, reader) = outbox(&limits);
    let stop = Stop::default();
    let (sender, incoming) = mpsc::channel(16);
    let ended = tokio::spawn({
        let stop = stop.clone();
        async move {
            let socket = accept(stream, None, &limits).await.unwrap();
            run(socket, reader, stop, &mut Forward(sender), &limits, &LinkCounters::default()).await
        }
    });
    (Link { outbox, stop, incoming, ended }, peer)
}

/// A raw peer's end.
type PeerSocket = WebSocketStream<TcpStream>;

async fn dialled(limits: LinkLimits) -> (Link, PeerSocket) {
    let (link, peer) = link(limits).await;
    let (socket, _) = tokio_tungstenite::client_async("ws://127.0.0.1/any/path", peer).await.unwrap();
    (link, socket)
}

/// A masked frame with a zero mask, so that the payload stands as it is.
fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

async fn close_code(socket: &mut PeerSocket) -> Option<u16> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code.into());
        }
    }
    None
}

#[tokio::test]
async fn text_and_binary_are_frames_and_a_ping_is_a_sign_of_life() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    socket.send(Message::text("one")).await.unwrap();
    socket.send(Message::binary("two".as_bytes())).await.unwrap();
    socket.send(Message::Ping("!".into())).await.unwrap();
    assert_eq!(link.incoming.recv().await, Some(Incoming::Text("one".into())));
    assert_eq!(link.incoming.recv().await, Some(Incoming::Text("two".into())));
    assert_eq!(link.incoming.recv().await, Some(Incoming::Alive));
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("!".into()));
    socket.close(None).await.unwrap();
    assert_eq!(link.ended.await.unwrap(), Ended::ByPeer { code: None, reason: "".into() });
}

#[tokio::test]
async fn entries_are_written_in_order_and_long_ones_arrive_whole() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    let (sign, signed) = oneshot::channel::<String>();
    let (commit, committed) = oneshot::channel::<()>();
    let text = async { signed.await.map(|text| Some(text.into())).map_err(|_| Failed) }.boxed().shared();
    let gate = async { committed.await.map_err(|_| Failed) }.boxed().shared();
    let (written, was_written) = oneshot::channel();
    let long = "é".repeat(300_000);

    link.outbox.push(1, Item::Text("first".to_owned().into()).into()).unwrap();
    let nothing = async { Ok(None) }.boxed().shared();
    let (unwritten, was_unwritten) = oneshot::channel();
    let nothing = Item::Pending { text: nothing, bytes: 6 };

    link.outbox.push(1, Entry { item: nothing, gate: None, written: Some(unwritten) }).unwrap();
    link.outbox.push(1, Item::Pending { text, bytes: 6 }.into()).unwrap();
    let gated = Item::Text("third".to_owned().into());
    link.outbox.push(1, Entry { item: gated, gate: Some(gate), written: Some(written) }).unwrap();
    link.outbox.push(1, Item::Text(long.clone().into()).into()).unwrap();

    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("first"));
    sign.send("second".to_owned()).unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("second"));
    assert!(socket.next().now_or_never().is_none());
    commit.send(()).unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("third"));
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(long));
    was_written.await.unwrap();
    assert!(was_unwritten.await.is_err());
    assert_eq!(link.outbox.depth(), (0, 0));
}

#[tokio::test]
async fn parts_of_files_are_written_when_nothing_else_waits() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    let (commit, committed) = oneshot::channel::<()>();
    let gate = async { committed.await.map_err(|_| Failed) }.boxed().shared();
    let text = |text: &str| Item::Text(text.to_owned().into());
    link.outbox.push(1, Entry { item: text("first"), gate: Some(gate), written: None }).unwrap();
    let (written, was_written) = oneshot::channel();
    link.outbox.push_bulk(text("chunk 1").into()).unwrap();
    let last = Entry { item: text("chunk 2"), gate: None, written: Some(written) };
    link.outbox.push_bulk(last).unwrap();
    link.outbox.push(2, text("second").into()).unwrap();
    commit.send(()).unwrap();
    for expected in ["first", "second", "chunk 1", "chunk 2"] {
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(expected));
    }
    was_written.await.unwrap();
}

#[tokio::test]
async fn our_close_comes_after_what_was_queued_before_it() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    link.outbox.push(1, Item::Text("last words".to_owned().into()).into()).unwrap();
    link.outbox.push(1, Item::Close { code: 1000, reason: "bye" }.into()).unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("last words"));
    assert_eq!(close_code(&mut socket).await, Some(1000));
    assert_eq!(link.ended.await.unwrap(), Ended::ByUs { code: 1000, reason: "bye" });
}

#[tokio::test]
async fn a_frame_over_the_limit_is_answered_with_1009_although_the_peer_keeps_sending() {
    let (link, mut peer) = link(LinkLimits::default()).await;
    let (mut socket, _) = tokio_tungstenite::client_async("ws://127.0.0.1/", &mut peer).await.unwrap();
    socket.get_mut().write_all(&raw_frame(0x81, &vec![b'x'; 2 * 1024 * 1024])).await.unwrap();
    let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1009);
    drop(socket);
    drop(peer);
    assert!(matches!(link.ended.await.unwrap(), Ended::Violation { code: 1009, .. }));
}

#[tokio::test]
async fn fragments_count_together() {
    let (link, mut socket) = dialled(LinkLimits { frame_in_bytes: 1000, ..LinkLimits::default() }).await;
    let part = vec![b'x'; 600];
    socket.get_mut().write_all(&raw_frame(0x01, &part)).await.unwrap();
    socket.get_mut().write_all(&raw_frame(0x80, &part)).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(1009));
    drop(socket);
    link.ended.await.unwrap();
}

#[tokio::test]
async fn what_is_thrown_away_after_a_close_has_an_end() {
    let limits = LinkLimits {
        frame_in_bytes: 1000,
        discard_bytes: 1024,
        discard_time: Duration::from_secs(3600),
        ..LinkLimits::default()
    };
    let (link, mut socket) = dialled(limits).await;
    // It stays open at this end, and more is under way than is read.
    let flood = vec![b'x'; 64 * 1024];
    socket.get_mut().write_all(&raw_frame(0x01, &flood)).await.unwrap();
    // A bound that does not hold would let it wait for an hour.
    let ended = timeout(Duration::from_secs(20), link.ended).await.expect("it has an end");
    assert!(matches!(ended.unwrap(), Ended::Violation { code: 1009, .. }));
    drop(socket);
}

#[tokio::test]
async fn a_peers_close_is_answered_by_a_close() {
    let (link, mut peer) = dialled(LinkLimits::default()).await;
    peer.close(None).await.unwrap();
    assert_eq!(link.ended.await.unwrap(), Ended::ByPeer { code: None, reason: "".into() });
    assert!(matches!(peer.next().await, Some(Ok(Message::Close(_)))), "and no reset");
}

#[tokio::test]
async fn what_is_not_utf8_is_closed_with_1007_and_what_is_not_websocket_with_1002() {
    for (bytes, code) in [(raw_frame(0x81, b"\xff\xfe"), 1007), (raw_frame(0xf1, b"reserved"), 1002)] {
        let (link, mut socket) = dialled(LinkLimits::default()).await;
        socket.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(close_code(&mut socket).await, Some(code));
        drop(socket);
        assert!(matches!(link.ended.await.unwrap(), Ended::Violation { code: with, .. } if with == code));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let limits = LinkLimits { write_stall: Duration::from_millis(100), ..LinkLimits::default() };
    let (mut link, _socket) = dialled(limits).await;
    for batch in 0.. {
        if link.outbox.push(batch, Item::Text("x".repeat(100_000).into()).into()).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(link.ended.await.unwrap(), Ended::Stalled);
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_text_that_never_comes() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    link.outbox.push(1, Item::Pending { text: pending().boxed().shared(), bytes: 1 }.into()).unwrap();
    link.stop.now(1008, "slow consumer");
    assert_eq!(close_code(&mut socket).await, Some(1008));
    assert_eq!(link.ended.await.unwrap(), Ended::ByUs { code: 1008, reason: "slow consumer" });
}

#[tokio::test]
async fn a_failed_signer_ends_the_link_without_a_frame() {
    let (mut link, mut socket) = dialled(LinkLimits::default()).await;
    let text = async { Err(Failed) }.boxed().shared();
    link.outbox.push(1, Item::Pending { text, bytes: 1 }.into()).unwrap();
    assert_eq!(link.ended.await.unwrap(), Ended::Abandoned);
    assert!(close_code(&mut socket).await.is_none());
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_given_up_and_a_foreign_page_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = LinkLimits { open_timeout: Duration::from_millis(50), ..LinkLimits::default() };
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(matches!(accept(stream, None, &limits).await, Err(OpenError::TimedOut(_))));

    let mut page = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
        Origin: https://evil.example\r\n\r\n";
    page.write_all(request.as_bytes()).await.unwrap();
    let refused = accept(stream, None, &LinkLimits::default()).await;
    assert!(matches!(refused, Err(OpenError::Handshake(_))));
    let mut answer = String::new();
    page.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn connecting_says_why_it_failed() {
    let limits = LinkLimits { open_timeout: Duration::from_millis(50), ..LinkLimits::default() };
    let dialler = Dialler {
        limits: Arc::new(limits),
        roots: Roots::default(),
        allow_plain: false,
        said: BTreeMap::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    assert!(matches!(dialler.connect(&address).await, Err(OpenError::TimedOut(_))));
    drop(listener);
    assert!(matches!(dialler.connect(&address).await, Err(OpenError::Io(_))));
}
