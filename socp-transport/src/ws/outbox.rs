//! What waits to be written to one link: a queue that its owner never waits for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::future::{BoxFuture, Shared};
use socp_core::wire::WireText;
use tokio::sync::{mpsc, oneshot};

use super::LinkLimits;

/// A text or a commit will never come, because the signer or the store failed. Whoever drives the
/// machine learns the cause elsewhere and stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// What a frame must wait for, although its text may be there: the commit of its batch.
pub(crate) type Gate = Shared<BoxFuture<'static, Result<(), Failed>>>;

/// A text that is still being signed; shared by all links that it goes to. `None`: it will not be written
/// after all, and its place in the queue stays empty.
pub(crate) type PendingText = Shared<BoxFuture<'static, Result<Option<WireText>, Failed>>>;

/// A place in the queue.
pub(crate) struct Entry {
    /// What is written.
    pub(crate) item: Item,
    /// What must have happened before.
    pub(crate) gate: Option<Gate>,
    /// Told once the frame has been handed to the operating system; dropped if it never is.
    pub(crate) written: Option<oneshot::Sender<()>>,
}

/// What is written.
#[derive(Clone)]
pub(crate) enum Item {
    /// A frame.
    Text(WireText),
    /// A frame that waits for its text, while those behind it wait for their turn.
    Pending {
        /// The text.
        text: PendingText,
        /// Its expected length.
        bytes: usize,
    },
    /// A WebSocket ping.
    Ping,
    /// The close frame; nothing follows it.
    Close {
        /// The close code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        Self { item, gate: None, written: None }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("item", &self.item).field("gated", &self.gate.is_some()).finish()
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Pending { bytes, .. } => write!(f, "Pending({bytes} bytes)"),
            Self::Ping => write!(f, "Ping"),
            Self::Close { code, reason } => write!(f, "Close({code} {reason})"),
        }
    }
}

impl Item {
    /// What it counts for in its queue.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Pending { bytes, .. } => *bytes,
            Self::Ping | Self::Close { .. } => 0,
        }
    }
}

/// The queue took nothing: the peer reads too slowly, or the link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link's queue is full")]
pub(crate) struct Full;

/// More frames than any single batch holds: a newcomer without pages gets one a known user.
const HARD_FRAMES: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Depth {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

/// The end of the queue that is filled.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: mpsc::Sender<Entry>,
    depth: Arc<Depth>,
    frames: usize,
    bytes: usize,
    batch: u64,
    /// Whether this batch found the queue within its bounds.
    welcome: bool,
    /// Frames and bytes up to which further batches may pile up on a long one.
    ceiling: (usize, usize),
}

/// The end of the queue that is emptied.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    entries: mpsc::Receiver<Entry>,
    depth: Arc<Depth>,
}

/// A queue for one link.
pub(crate) fn outbox(limits: &LinkLimits) -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(HARD_FRAMES);
    let depth = Arc::new(Depth::default());
    let outbox = Outbox {
        entries: sender,
        depth: depth.clone(),
        frames: limits.queue_frames,
        bytes: limits.queue_bytes,
        batch: 0,
        welcome: true,
        ceiling: (limits.queue_frames, limits.queue_bytes),
    };
    (outbox, OutboxReader { entries: receiver, depth })
}

impl Outbox {
    /// Adds an entry of a batch (batches are numbered, rising), or refuses it: the link is to be closed.
    ///
    /// A batch that finds the queue within its bounds is taken whole, however long it is: a directory or
    /// a resynchronisation is one batch, and cutting it would keep a peer from ever getting it. After it,
    /// the bounds hold for what is added on top. So the queue holds at most the longest batch and
    /// twice its bounds.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn push(&mut self, batch: u64, entry: Entry) -> Result<(), Full> {
        let frames = self.depth.frames.load(Relaxed) + 1;
        let bytes = self.depth.bytes.load(Relaxed) + entry.item.bytes();
        if batch != self.batch {
            self.batch = batch;
            self.welcome = frames <= self.frames && self.depth.bytes.load(Relaxed) <= self.bytes;
        }
        if self.welcome {
            self.ceiling = (frames + self.frames, bytes + self.bytes);
        } else if frames > self.ceiling.0 || bytes > self.ceiling.1 {
            return Err(Full);
        }
        // Counted before the other end can see and uncount it.
        self.depth.frames.fetch_add(1, Relaxed);
        self.depth.bytes.fetch_add(entry.item.bytes(), Relaxed);
        self.entries.try_send(entry).map_err(|_| Full)
    }

    /// Frames and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.depth.frames.load(Relaxed), self.depth.bytes.load(Relaxed))
    }
}

impl OutboxReader {
    /// The next entry, if one is there.
    pub(crate) fn try_next(&mut self) -> Option<Entry> {
        self.entries.try_recv().ok()
    }

    /// The next entry; none once the other end is gone and the queue empty.
    pub(crate) async fn next(&mut self) -> Option<Entry> {
        self.entries.recv().await
    }

    /// Makes room again for an item that has left.
    pub(crate) fn done(&self, bytes: usize) {
        self.depth.frames.fetch_sub(1, Relaxed);
        self.depth.bytes.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(queue_frames: usize, queue_bytes: usize) -> LinkLimits {
        LinkLimits { queue_frames, queue_bytes, ..LinkLimits::default() }
    }

    fn text(bytes: usize) -> Entry {
        Item::Text("x".repeat(bytes).into()).into()
    }

    #[test]
    fn a_batch_is_never_cut_but_what_follows_a_long_one_is_bounded() {
        let (mut outbox, mut reader) = outbox(&limits(4, 1000));
        for _ in 0..10 {
            outbox.push(1, text(1)).unwrap();
        }
        for batch in 2..6 {
            outbox.push(batch, text(1)).unwrap();
        }
        assert_eq!(outbox.push(6, text(1)), Err(Full));
        assert_eq!(outbox.depth(), (14, 14));

        while let Some(entry) = reader.try_next() {
            reader.done(entry.item.bytes());
        }
        assert_eq!(outbox.depth(), (0, 0));
        for batch in 10..14 {
            outbox.push(batch, text(1)).unwrap();
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (mut outbox, _reader) = outbox(&limits(100, 1000));
        outbox.push(1, text(900)).unwrap();
        outbox.push(2, text(900)).unwrap();
        outbox.push(3, text(900)).unwrap();
        assert_eq!(outbox.push(4, text(900)), Err(Full));
    }

    #[test]
    fn a_link_that_ended_takes_nothing() {
        let (mut outbox, reader) = outbox(&limits(4, 1000));
        drop(reader);
        assert_eq!(outbox.push(1, text(1)), Err(Full));
    }
}
