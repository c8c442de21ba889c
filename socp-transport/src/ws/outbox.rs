//! What waits to be written to one link: two queues that their owner never waits for. What people wrote goes
//! before parts of files.

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

/// A place in a queue that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    depth: Arc<Depth>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.depth.frames.fetch_sub(1, Relaxed);
        self.depth.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

type Placed = (Entry, Place);

/// The end of the queues that is filled.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: mpsc::Sender<Placed>,
    depth: Arc<Depth>,
    bulk: mpsc::Sender<Placed>,
    bulk_depth: Arc<Depth>,
    frames: usize,
    bytes: usize,
    batch: u64,
    /// Whether this batch found the queue within its bounds.
    welcome: bool,
    /// Frames and bytes up to which further batches may pile up on a long one.
    ceiling: (usize, usize),
}

/// The end of the queues that is emptied.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    entries: mpsc::Receiver<Placed>,
    bulk: mpsc::Receiver<Placed>,
}

/// The queues of one link.
pub(crate) fn outbox(limits: &LinkLimits) -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(HARD_FRAMES);
    let (bulk, bulk_receiver) = mpsc::channel(limits.queue_frames.max(1));
    let outbox = Outbox {
        entries: sender,
        depth: Arc::default(),
        bulk,
        bulk_depth: Arc::default(),
        frames: limits.queue_frames,
        bytes: limits.queue_bytes,
        batch: 0,
        welcome: true,
        ceiling: (limits.queue_frames, limits.queue_bytes),
    };
    (outbox, OutboxReader { entries: receiver, bulk: bulk_receiver })
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
        let place = Place::take(&self.depth, entry.item.bytes());
        self.entries.try_send((entry, place)).map_err(|_| Full)
    }

    /// Adds a part of a file, to be written when nothing else waits, or refuses it: that part is lost and
    /// nothing else.
    ///
    /// # Errors
    /// If its queue is full.
    pub(crate) fn push_bulk(&mut self, entry: Entry) -> Result<(), Full> {
        if self.bulk_depth.bytes.load(Relaxed) + entry.item.bytes() > self.bytes {
            return Err(Full);
        }
        let place = Place::take(&self.bulk_depth, entry.item.bytes());
        self.bulk.try_send((entry, place)).map_err(|_| Full)
    }

    /// Frames and bytes that wait, parts of files aside.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.depth.frames.load(Relaxed), self.depth.bytes.load(Relaxed))
    }
}

impl Place {
    /// Counted before the other end can see and uncount it.
    fn take(depth: &Arc<Depth>, bytes: usize) -> Self {
        depth.frames.fetch_add(1, Relaxed);
        depth.bytes.fetch_add(bytes, Relaxed);
        Self { depth: depth.clone(), bytes }
    }
}

impl OutboxReader {
    /// The next entry that is no part of a file, if one is there. Its place is to be dropped once it has left.
    pub(crate) fn try_next(&mut self) -> Option<(Entry, Place)> {
        self.entries.try_recv().ok()
    }

    /// The next part of a file, if one is there.
    pub(crate) fn try_next_bulk(&mut self) -> Option<(Entry, Place)> {
        self.bulk.try_recv().ok()
    }

    /// The next entry of either kind; none once the other end is gone and the queues empty.
    pub(crate) async fn next(&mut self) -> Option<(Entry, Place)> {
        tokio::select! {
            biased;
            Some(next) = self.entries.recv() => Some(next),
            Some(next) = self.bulk.recv() => Some(next),
            else => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

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

        while reader.try_next().is_some() {}
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
    fn parts_of_files_come_last_and_a_full_queue_of_them_keeps_nobody_out() {
        let (mut outbox, mut reader) = outbox(&limits(4, 1000));
        for bytes in 1..=4 {
            outbox.push_bulk(text(bytes)).unwrap();
        }
        assert_eq!(outbox.push_bulk(text(5)), Err(Full));
        outbox.push(1, text(100)).unwrap();
        assert_eq!(outbox.depth(), (1, 100));
        let mut next = || {
            let next = reader.next().now_or_never().flatten();
            next.map(|(entry, _)| entry.item.bytes())
        };
        assert_eq!([next(), next(), next()], [Some(100), Some(1), Some(2)]);
        outbox.push_bulk(text(990)).unwrap();
        assert_eq!(outbox.push_bulk(text(990)), Err(Full), "bytes are bounded, too");
    }

    #[test]
    fn a_link_that_ended_takes_nothing() {
        let (mut outbox, reader) = outbox(&limits(4, 1000));
        drop(reader);
        assert_eq!(outbox.push(1, text(1)), Err(Full));
        assert_eq!(outbox.push_bulk(text(1)), Err(Full));
    }
}
