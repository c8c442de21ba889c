//! Stand-ins for the student servers and clients that we are to mesh with, quirks and faults included, after
//! recorded sessions of theirs. They share no code with what is tested: they write, sign, read and check frames
//! themselves, and remember what they refuse and why.
#![allow(dead_code, reason = "every test file uses its part")]

pub(crate) mod f_server;
pub(crate) mod foreign;
pub(crate) mod frame;
pub(crate) mod keys;
pub(crate) mod m_server;
pub(crate) mod ours;
pub(crate) mod r_server;
pub(crate) mod scene;
pub(crate) mod seed_client;
pub(crate) mod seed_server;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use frame::{Received, shorten};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// More than anything here may take, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a peer looks at its clocks.
const TICK: Duration = Duration::from_millis(50);
/// Longest frame that Python's `websockets` reads.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// Frames to one socket, and dials, that wait.
const QUEUE: usize = 4096;

/// A socket.
pub(crate) type LinkId = u64;

/// What a stand-in does when something happens.
pub(crate) trait Peer: Send + 'static {
    /// A socket is open: dialled to an address, or accepted.
    fn opened(&mut self, net: &mut Net, link: LinkId, dialled: Option<&str>);
    fn heard(&mut self, net: &mut Net, link: LinkId, frame: Received);
    fn closed(&mut self, net: &mut Net, link: LinkId);
    /// Nobody answers there.
    fn dial_failed(&mut self, _net: &mut Net, _address: &str) {}
    fn tick(&mut self, _net: &mut Net) {}
}

/// A frame that was refused, and why.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    /// The socket it came on.
    pub(crate) link: LinkId,
    pub(crate) reason: String,
    pub(crate) frame: String,
}

enum Out {
    Text(String),
    Close(u16, &'static str),
}

/// A stand-in's sockets, and what went over them.
pub(crate) struct Net {
    links: BTreeMap<LinkId, mpsc::Sender<Out>>,
    next: LinkId,
    dials: mpsc::Sender<String>,
    /// The socket of the frame that is being heard.
    hearing: LinkId,
    /// Every frame, shortened, with `<` for received and `>` for sent, and every end of a socket.
    pub(crate) log: Vec<String>,
    pub(crate) rejections: Vec<Rejection>,
    /// Every frame as it was received.
    pub(crate) received: Vec<(LinkId, Received)>,
}

impl Net {
    pub(crate) fn dial(&mut self, address: &str) {
        self.dials.try_send(address.to_owned()).unwrap();
    }

    pub(crate) fn send(&mut self, link: LinkId, text: String) {
        self.log.push(format!("{link}> {}", shorten(&text)));
        if let Some(out) = self.links.get(&link) {
            // Whoever is that slow is gone.
            let _ = out.try_send(Out::Text(text));
        }
    }

    pub(crate) fn close(&mut self, link: LinkId, code: u16, reason: &'static str) {
        self.log.push(format!("{link}> close {code} {reason}"));
        if let Some(out) = self.links.get(&link) {
            let _ = out.try_send(Out::Close(code, reason));
        }
    }

    pub(crate) fn reject(&mut self, frame: &Received, reason: impl Into<String>) {
        let reason = reason.into();
        self.log.push(format!("   rejected: {reason}"));
        self.rejections.push(Rejection { link: self.hearing, reason, frame: frame.brief() });
    }
}

struct Inner<P> {
    world: Mutex<(P, Net)>,
    changed: Condvar,
}

impl<P> Inner<P> {
    fn lock(&self) -> MutexGuard<'_, (P, Net)> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<T>(&self, act: impl FnOnce(&mut P, &mut Net) -> T) -> T {
        let mut world = self.lock();
        let (peer, net) = &mut *world;
        let done = act(peer, net);
        self.changed.notify_all();
        done
    }
}

/// A peer that runs, until it is dropped. When a test fails, it tells its story.
pub(crate) struct StandIn<P> {
    inner: Arc<Inner<P>>,
    /// Where it listens; none of a client.
    pub(crate) address: Option<SocketAddr>,
    runtime: Option<Runtime>,
}

impl<P: Peer> StandIn<P> {
    /// Starts one that listens on this port of the loopback.
    pub(crate) fn listen(port: u16, peer: P) -> Self {
        Self::start(Some(port), peer)
    }

    /// Starts one that only dials.
    pub(crate) fn start(port: Option<u16>, peer: P) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let (dials, mut to_dial) = mpsc::channel::<String>(QUEUE);
        let (log, rejections, received) = (Vec::new(), Vec::new(), Vec::new());
        let net = Net { links: BTreeMap::new(), next: 1, dials, hearing: 0, log, rejections, received };
        let inner = Arc::new(Inner { world: Mutex::new((peer, net)), changed: Condvar::new() });
        let address = port.map(|port| {
            // One that was here before may be on its way out.
            let deadline = Instant::now() + PATIENCE;
            let listener = loop {
                match runtime.block_on(TcpListener::bind(("127.0.0.1", port))) {
                    Ok(listener) => break listener,
                    Err(error) if Instant::now() > deadline => panic!("port {port}: {error}"),
                    Err(_) => std::thread::sleep(TICK),
                }
            };
            let address = listener.local_addr().unwrap();
            runtime.spawn(accept(listener, Arc::downgrade(&inner)));
            address
        });
        let weak = Arc::downgrade(&inner);
        runtime.spawn(async move {
            while let Some(address) = to_dial.recv().await {
                tokio::spawn(dial(address, weak.clone()));
            }
        });
        let weak = Arc::downgrade(&inner);
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                inner.act(P::tick);
            }
        });
        Self { inner, address, runtime: Some(runtime) }
    }

    /// Does something as the peer.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut P, &mut Net) -> T) -> T {
        self.inner.act(act)
    }

    /// Waits until something is so.
    pub(crate) fn wait<T>(&self, what: &str, seen: impl FnMut(&mut P, &mut Net) -> Option<T>) -> T {
        let found = self.wait_for(PATIENCE, seen);
        found.unwrap_or_else(|| panic!("not in time: {what}"))
    }

    /// Waits that long until something is so.
    pub(crate) fn wait_for<T>(
        &self,
        patience: Duration,
        mut seen: impl FnMut(&mut P, &mut Net) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut world = self.inner.lock();
        loop {
            let (peer, net) = &mut *world;
            if let Some(found) = seen(peer, net) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            world = self.inner.changed.wait_timeout(world, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that went over its sockets, and what it refused.
    pub(crate) fn story(&self) -> String {
        self.inner.lock().1.log.join("\n")
    }

    pub(crate) fn rejections(&self) -> Vec<Rejection> {
        self.inner.lock().1.rejections.clone()
    }

    /// Asserts that it took whatever it got.
    pub(crate) fn has_refused_nothing(&self) {
        let rejections = self.rejections();
        assert!(rejections.is_empty(), "refused: {rejections:#?}");
    }
}

impl<P> Drop for StandIn<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let place = self.address.map_or("a client".into(), |address| address.to_string());
            eprintln!("the story of {place}:\n{}\n", self.inner.lock().1.log.join("\n"));
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn limits() -> Option<WebSocketConfig> {
    let config = WebSocketConfig::default();
    Some(config.max_message_size(Some(MAX_FRAME_BYTES)).max_frame_size(Some(MAX_FRAME_BYTES)))
}

async fn accept<P: Peer>(listener: TcpListener, inner: Weak<Inner<P>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = inner.clone();
        tokio::spawn(async move {
            let stream = MaybeTlsStream::Plain(stream);
            if let Ok(socket) = tokio_tungstenite::accept_async_with_config(stream, limits()).await {
                run(socket, None, inner).await;
            }
        });
    }
}

async fn dial<P: Peer>(address: String, inner: Weak<Inner<P>>) {
    let dialled = tokio_tungstenite::connect_async_with_config(format!("ws://{address}/"), limits(), true);
    match dialled.await {
        Ok((socket, _)) => run(socket, Some(address), inner).await,
        Err(_) => {
            if let Some(inner) = inner.upgrade() {
                inner.act(|peer, net| peer.dial_failed(net, &address));
            }
        }
    }
}

/// A socket from its first frame to its last.
async fn run<P: Peer>(
    mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    dialled: Option<String>,
    inner: Weak<Inner<P>>,
) {
    let (sender, mut to_send) = mpsc::channel(QUEUE);
    let Some(strong) = inner.upgrade() else { return };
    let link = strong.act(|peer, net| {
        let link = net.next;
        net.next += 1;
        net.links.insert(link, sender);
        net.log.push(format!(
            "{link}: {}",
            dialled.as_deref().map_or("accepted".into(), |at| format!("dialled {at}"))
        ));
        peer.opened(net, link, dialled.as_deref());
        link
    });
    drop(strong);
    let why = loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let Some(inner) = inner.upgrade() else { return };
                    inner.act(|peer, net| {
                        net.hearing = link;
                        net.log.push(format!("{link}< {}", shorten(&text)));
                        let Some(frame) = Received::of(&text) else {
                            let reason = "no JSON object".to_owned();
                            return net.rejections.push(Rejection { link, reason, frame: shorten(&text) });
                        };
                        net.received.push((link, frame.clone()));
                        peer.heard(net, link, frame);
                    });
                }
                Some(Ok(Message::Close(frame))) => break format!("closed by the other: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(Error::Capacity(_))) => {
                    let close = CloseFrame { code: CloseCode::Size, reason: "too big".into() };
                    let _ = socket.close(Some(close)).await;
                    break "closed 1009: too big".to_owned();
                }
                Some(Err(error)) => break error.to_string(),
                None => break "ended".to_owned(),
            },
            out = to_send.recv() => match out {
                Some(Out::Text(text)) => if socket.send(Message::text(text)).await.is_err() { break "gone".to_owned() },
                Some(Out::Close(code, reason)) => {
                    let close = CloseFrame { code: code.into(), reason: reason.into() };
                    let _ = socket.close(Some(close)).await;
                    break "closed by us".to_owned();
                }
                None => break "dropped".to_owned(),
            },
        }
    };
    if let Some(inner) = inner.upgrade() {
        inner.act(|peer, net| {
            net.log.push(format!("{link}: {why}"));
            net.links.remove(&link);
            peer.closed(net, link);
        });
    }
}

/// A message that a stand-in's user got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) public: bool,
    pub(crate) sender: String,
    pub(crate) text: String,
    /// Whether its content signature holds, in this peer's form, under the key that came along.
    pub(crate) verified: bool,
}

/// A user as a foreign server knows it from adverts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) server: String,
    pub(crate) spki: Option<Vec<u8>>,
    pub(crate) meta: Value,
}
