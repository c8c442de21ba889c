//! The life of one link: reading, writing, and the end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use socp_core::close_code;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Bytes as WsBytes, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::outbox::{Entry, Item, OutboxReader};
use super::stream::half_close;
use super::{LinkLimits, Socket};

/// Longer texts are written in several WebSocket fragments: tungstenite keeps a write buffer as long as the longest
/// fragment that a link ever saw, and a directory page is half a megabyte. What people write is shorter: there are
/// programs that take each fragment for a message.
const WHOLE: usize = 4 * 1024;

/// Bytes of such a fragment. With its header it needs no more room than the frames that every link sees.
const FRAGMENT: usize = 2 * 1024 - 4;

/// What arrives on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A text frame, or a binary one, which may hold a text.
    Text(Bytes),
    /// A ping or pong: the peer lives.
    Alive,
}

/// Takes what a link reads, one after the other: nothing more is read before the future is done.
pub(crate) trait Receive: Send {
    /// Takes one.
    fn receive(&mut self, incoming: Incoming) -> impl Future<Output = ()> + Send;
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// We closed it.
    ByUs {
        /// The close code.
        code: u16,
        /// The reason given.
        reason: &'static str,
    },
    /// The peer closed it.
    ByPeer {
        /// The close code, if it gave one.
        code: Option<u16>,
        /// The reason it gave: not ours, so escape it.
        reason: Box<str>,
    },
    /// The peer broke the WebSocket protocol; we closed the link.
    Violation {
        /// The close code.
        code: u16,
        /// What was wrong.
        why: Box<str>,
    },
    /// The connection is gone.
    Lost {
        /// What the operating system says.
        why: Box<str>,
    },
    /// The peer did not take what we wrote.
    Stalled,
    /// Nobody drives the link any more.
    Abandoned,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUs { code, reason } => write!(f, "closed by us: {code} {reason}"),
            Self::ByPeer { code: Some(code), reason } => {
                write!(f, "closed by the peer: {code} {}", reason.escape_debug())
            }
            Self::ByPeer { code: None, .. } => write!(f, "closed by the peer"),
            Self::Violation { code, why } => write!(f, "closed by us: {code} {why}"),
            Self::Lost { why } => write!(f, "connection lost: {why}"),
            Self::Stalled => write!(f, "the peer does not read"),
            Self::Abandoned => write!(f, "abandoned"),
        }
    }
}

/// Ends a link without waiting for its queue. Clones stop the same link.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<StopInner>);

#[derive(Debug, Default)]
struct StopInner {
    token: CancellationToken,
    close: OnceLock<(u16, &'static str)>,
}

impl Stop {
    /// Drops what waits to be written and closes the link. The first call counts.
    pub(crate) fn now(&self, code: u16, reason: &'static str) {
        self.0.close.get_or_init(|| (code, reason));
        self.0.token.cancel();
    }

    async fn requested(&self) -> Ended {
        self.0.token.cancelled().await;
        match self.0.close.get() {
            Some(&(code, reason)) => Ended::ByUs { code, reason },
            None => Ended::Abandoned,
        }
    }
}

/// What links count, all together.
#[derive(Debug, Default)]
pub(crate) struct LinkCounters {
    /// Frames read.
    pub(crate) frames_in: AtomicU64,
    /// Bytes of these.
    pub(crate) bytes_in: AtomicU64,
    /// Frames written.
    pub(crate) frames_out: AtomicU64,
    /// Bytes of these.
    pub(crate) bytes_out: AtomicU64,
}

/// Reads and writes a link until it ends, then says goodbye as the end demands.
pub(crate) async fn run(
    socket: Socket,
    mut outbox: OutboxReader,
    stop: Stop,
    receiver: &mut impl Receive,
    limits: &LinkLimits,
    counters: &LinkCounters,
) -> Ended {
    let (mut sink, mut stream) = socket.split();
    let ended = tokio::select! {
        ended = stop.requested() => ended,
        ended = read(&mut stream, receiver, limits, counters) => ended,
        ended = write(&mut sink, &mut outbox, limits, counters) => ended,
    };
    // Nobody may take the queue for a living one while we say goodbye.
    drop(outbox);
    let socket = sink.reunite(stream).expect("both halves come from the split above");
    Box::pin(goodbye(socket, &ended, limits)).await;
    ended
}

async fn read(
    stream: &mut SplitStream<Socket>,
    receiver: &mut impl Receive,
    limits: &LinkLimits,
    counters: &LinkCounters,
) -> Ended {
    // The text before, until the next one is looked for: if nobody held it then, tungstenite would go on for good with
    // the buffer that it is in, however long.
    let mut held = Bytes::new();
    loop {
        let next = poll_fn(|cx| {
            let next = stream.poll_next_unpin(cx);
            held = Bytes::new();
            next
        });
        let incoming = match next.await {
            Some(Ok(Message::Text(text))) => Incoming::Text(text.into()),
            Some(Ok(Message::Binary(bytes))) => Incoming::Text(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Incoming::Alive,
            Some(Ok(Message::Close(frame))) => {
                // The answer leaves while we wait for the end; whatever comes of it, the link is over.
                let _ = timeout(limits.close_wait, stream.next()).await;
                return by_peer(frame);
            }
            // Only written, never read.
            Some(Ok(Message::Frame(_))) => continue,
            Some(Err(error)) => return broken(error),
            None => return Ended::Lost { why: "end of stream".into() },
        };
        if let Incoming::Text(text) = &incoming {
            counters.frames_in.fetch_add(1, Relaxed);
            counters.bytes_in.fetch_add(text.len() as u64, Relaxed);
            held = text.clone();
        }
        receiver.receive(incoming).await;
    }
}

fn by_peer(frame: Option<CloseFrame>) -> Ended {
    match frame {
        Some(frame) => Ended::ByPeer { code: Some(frame.code.into()), reason: frame.reason.as_str().into() },
        None => Ended::ByPeer { code: None, reason: "".into() },
    }
}

/// Which close code an error while reading calls for, if any; tungstenite sends none itself.
fn broken(error: WsError) -> Ended {
    let why = error.to_string().into();
    match error {
        WsError::Capacity(_) => Ended::Violation { code: close_code::TOO_BIG, why },
        WsError::Utf8(_) => Ended::Violation { code: close_code::NOT_UTF8, why: "not UTF-8".into() },
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Lost { why },
        WsError::Protocol(_) => Ended::Violation { code: close_code::PROTOCOL_ERROR, why },
        _ => Ended::Lost { why },
    }
}

/// Parts of files that are written before a flush: what people write meanwhile waits for no more.
const BULK_BATCH: usize = 32;

/// Writes what the queues hold, each in its order, and flushes once they are empty. What people wrote never
/// waits for a file but for a batch of its parts.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    outbox: &mut OutboxReader,
    limits: &LinkLimits,
    counters: &LinkCounters,
) -> Ended {
    let mut writer = Writer { sink, stall: limits.write_stall, dirty: false, written: Vec::new() };
    // How many more parts of a file may be written before a flush.
    let mut bulk = BULK_BATCH;
    loop {
        let next = match outbox.try_next() {
            Some(next) => {
                bulk = 0;
                Some(next)
            }
            None if bulk > 0 => {
                bulk -= 1;
                outbox.try_next_bulk()
            }
            None => None,
        };
        let (entry, place) = match next {
            Some(next) => next,
            None => {
                if let Err(ended) = writer.flush().await {
                    return ended;
                }
                bulk = BULK_BATCH;
                match outbox.next().await {
                    Some(next) => next,
                    None => return Ended::Abandoned,
                }
            }
        };
        if let Err(ended) = writer.entry(entry, counters).await {
            return ended;
        }
        drop(place);
    }
}

struct Writer<'a> {
    sink: &'a mut SplitSink<Socket, Message>,
    stall: Duration,
    /// Whether something has been written since the last flush.
    dirty: bool,
    /// Who wants to know of the next flush.
    written: Vec<oneshot::Sender<()>>,
}

impl Writer<'_> {
    async fn entry(&mut self, entry: Entry, counters: &LinkCounters) -> Result<(), Ended> {
        let Entry { item, gate, written } = entry;
        if let Some(gate) = gate {
            self.awaited(gate).await?;
        }
        match item {
            Item::Text(text) => self.text(text.bytes(), counters).await?,
            Item::Pending { text, bytes: _ } => {
                let Some(text) = self.awaited(text).await? else { return Ok(()) };
                self.text(text.bytes(), counters).await?;
            }
            Item::Ping => self.feed(Message::Ping(WsBytes::new())).await?,
            Item::Close { code, reason } => {
                self.flush().await?;
                return Err(Ended::ByUs { code, reason });
            }
        }
        self.written.extend(written);
        Ok(())
    }

    /// Waits for work of our own; what was written before it leaves meanwhile.
    async fn awaited<T>(
        &mut self,
        mut work: impl Future<Output = Result<T, super::Failed>> + Unpin,
    ) -> Result<T, Ended> {
        let done = match (&mut work).now_or_never() {
            Some(done) => done,
            None => {
                self.flush().await?;
                work.await
            }
        };
        done.map_err(|super::Failed| Ended::Abandoned)
    }

    async fn text(&mut self, text: &Bytes, counters: &LinkCounters) -> Result<(), Ended> {
        let most = if text.len() <= WHOLE { WHOLE } else { FRAGMENT };
        let mut start = 0;
        loop {
            let end = text.len().min(start + most);
            let kind = OpCode::Data(if start == 0 { Data::Text } else { Data::Continue });
            let last = end == text.len();
            self.feed(Message::Frame(Frame::message(text.slice(start..end), kind, last))).await?;
            if last {
                break;
            }
            start = end;
        }
        counters.frames_out.fetch_add(1, Relaxed);
        counters.bytes_out.fetch_add(text.len() as u64, Relaxed);
        Ok(())
    }

    async fn feed(&mut self, message: Message) -> Result<(), Ended> {
        self.dirty = true;
        progress(self.stall, self.sink.feed(message)).await
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.dirty {
            progress(self.stall, self.sink.flush()).await?;
            self.dirty = false;
        }
        for written in self.written.drain(..) {
            // Whoever asked may have lost interest.
            let _ = written.send(());
        }
        Ok(())
    }
}

async fn progress(stall: Duration, step: impl Future<Output = Result<(), WsError>>) -> Result<(), Ended> {
    match timeout(stall, step).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ended::Lost { why: error.to_string().into() }),
        Err(_) => Err(Ended::Stalled),
    }
}

async fn goodbye(mut socket: Socket, ended: &Ended, limits: &LinkLimits) {
    let deadline = Instant::now() + limits.close_wait;
    match ended {
        Ended::ByUs { code, reason } => {
            if matches!(timeout_at(deadline, send_close(&mut socket, *code, reason)).await, Ok(Ok(()))) {
                // Until the peer's close frame, or its end of the connection.
                while let Ok(Some(Ok(_))) = timeout_at(deadline, socket.next()).await {}
            }
        }
        Ended::Violation { code, why } => {
            if matches!(timeout_at(deadline, send_close(&mut socket, *code, why)).await, Ok(Ok(()))) {
                let discarded = half_close(socket.into_inner(), limits.discard_bytes);
                let _ = timeout(limits.discard_time, discarded).await;
            }
        }
        Ended::ByPeer { .. } => {
            // tungstenite writes the answer to a close frame and, at the side that was dialled, does not flush it.
            let _ = timeout_at(deadline, socket.get_mut().shutdown()).await;
        }
        Ended::Lost { .. } | Ended::Stalled | Ended::Abandoned => {}
    }
}

async fn send_close(socket: &mut Socket, code: u16, reason: &str) -> Result<(), WsError> {
    // A control frame holds 125 bytes, the code among them.
    let reason = &reason[..reason.floor_char_boundary(123)];
    let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from(reason) };
    socket.send(Message::Close(Some(frame))).await
}
