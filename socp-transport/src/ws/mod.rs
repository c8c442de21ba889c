//! WebSocket links, used by the server and the client alike: opening them, their queue of outgoing
//! frames, and the loop that reads and writes one until it ends.
//!
//! tungstenite speaks the protocol, rustls carries it where it is to be private; what it leaves to its caller is done here: the `Origin` check, close
//! codes, bounded buffers, batched writes, a watch on peers that do not read, and a goodbye that
//! arrives.

mod link;
mod open;
mod outbox;
mod stream;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio_tungstenite::WebSocketStream;

pub(crate) use link::{Incoming, LinkCounters, Receive, Stop, run};
pub(crate) use open::{Dialler, accept};
pub(crate) use outbox::{Entry, Failed, Gate, Item, Outbox, PendingText, outbox};
pub(crate) use stream::Stream;

/// An open link.
pub(crate) type Socket = WebSocketStream<Stream>;

/// Bounds and timeouts of every link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Longest frame that is read, in bytes; beyond it the link is closed with 1009 (decisions §1).
    pub frame_in_bytes: usize,
    /// Frames that may wait for a peer. A batch that finds fewer is taken whole, so that a directory or a
    /// resynchronisation of any length gets through; what follows it may add this many again. Who needs more
    /// is closed as a slow consumer. Ten seconds of a busy server's gossip (`limits.md`) are fewer.
    pub queue_frames: usize,
    /// Bytes that may wait for a peer, by the same rule: sixteen of the longest frames that we build. Parts of
    /// files wait apart, as many and as long again; one too many is lost, and its link stays.
    pub queue_bytes: usize,
    /// A write that makes no progress for this long ends the link.
    pub write_stall: Duration,
    /// How long the peer may take to answer our close frame.
    pub close_wait: Duration,
    /// After a close that the peer did not expect, so many bytes of what it still sends are read and thrown away, so
    /// that it gets to read why (decisions §1).
    pub discard_bytes: usize,
    /// And for so long at most (decisions §1).
    pub discard_time: Duration,
    /// TCP connect and all handshakes, TLS and WebSocket, of a link that we open, and all handshakes of one that
    /// we accept.
    pub open_timeout: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            frame_in_bytes: 1024 * 1024,
            queue_frames: 4096,
            queue_bytes: 8 * 1024 * 1024,
            write_stall: Duration::from_secs(20),
            close_wait: Duration::from_secs(2),
            discard_bytes: 8 * 1024 * 1024,
            discard_time: Duration::from_secs(1),
            open_timeout: Duration::from_secs(5),
        }
    }
}
