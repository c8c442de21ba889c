//! What waits to be written to one link: two queues that their owner never waits for. What people wrote goes
//! before parts of files.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, Shared};
use socp_core::wire::WireText;
use tokio::sync::{Notify, oneshot};

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

/// Entries that a queue keeps room for while nothing waits. A channel of tokio's would keep 32 at least, and what a
/// login's directory once needed: 6 to 30 KiB a link.
const KEPT_ENTRIES: usize = 4;

/// What both ends share.
#[derive(Debug, Default)]
struct Queues {
    waiting: Mutex<Waiting>,
    /// Wakes the end that empties.
    changed: Notify,
    depth: Depth,
    bulk_depth: Depth,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bulk: VecDeque<Entry>,
    /// One of both ends is gone.
    closed: bool,
}

#[derive(Debug, Default)]
struct Depth {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
enum Lane {
    Chat,
    Bulk,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depth(&self, lane: Lane) -> &Depth {
        match lane {
            Lane::Chat => &self.depth,
            Lane::Bulk => &self.bulk_depth,
        }
    }

    fn push(&self, lane: Lane, most: usize, entry: Entry) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.closed || waiting.queue(lane).len() >= most {
            return Err(Full);
        }
        let depth = self.depth(lane);
        depth.frames.fetch_add(1, Relaxed);
        depth.bytes.fetch_add(entry.item.bytes(), Relaxed);
        waiting.queue(lane).push_back(entry);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }
}

impl Waiting {
    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Entry> {
        match lane {
            Lane::Chat => &mut self.entries,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

/// A place in a queue that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    queues: Arc<Queues>,
    lane: Lane,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let depth = self.queues.depth(self.lane);
        depth.frames.fetch_sub(1, Relaxed);
        depth.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// The end of the queues that is filled.
#[derive(Debug)]
pub(crate) struct Outbox {
    queues: Arc<Queues>,
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
    queues: Arc<Queues>,
}

/// The queues of one link.
pub(crate) fn outbox(limits: &LinkLimits) -> (Outbox, OutboxReader) {
    let queues = Arc::new(Queues::default());
    let outbox = Outbox {
        queues: queues.clone(),
        frames: limits.queue_frames,
        bytes: limits.queue_bytes,
        batch: 0,
        welcome: true,
        ceiling: (limits.queue_frames, limits.queue_bytes),
    };
    (outbox, OutboxReader { queues })
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
        let (waiting, waiting_bytes) = self.depth();
        let (frames, bytes) = (waiting + 1, waiting_bytes + entry.item.bytes());
        if batch != self.batch {
            self.batch = batch;
            self.welcome = frames <= self.frames && waiting_bytes <= self.bytes;
        }
        if self.welcome {
            self.ceiling = (frames + self.frames, bytes + self.bytes);
        } else if frames > self.ceiling.0 || bytes > self.ceiling.1 {
            return Err(Full);
        }
        self.queues.push(Lane::Chat, HARD_FRAMES, entry)
    }

    /// Adds a part of a file, to be written when nothing else waits, or refuses it: that part is lost and
    /// nothing else.
    ///
    /// # Errors
    /// If its queue is full.
    pub(crate) fn push_bulk(&mut self, entry: Entry) -> Result<(), Full> {
        let bytes = self.queues.bulk_depth.bytes.load(Relaxed) + entry.item.bytes();
        if bytes > self.bytes {
            return Err(Full);
        }
        self.queues.push(Lane::Bulk, self.frames.max(1), entry)
    }

    /// Frames and bytes that wait, parts of files aside.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let depth = &self.queues.depth;
        (depth.frames.load(Relaxed), depth.bytes.load(Relaxed))
    }
}

impl Drop for Outbox {
    /// What is queued is still written.
    fn drop(&mut self) {
        self.queues.lock().closed = true;
        self.queues.changed.notify_one();
    }
}

impl OutboxReader {
    /// The next entry that is no part of a file, if one is there. Its place is to be dropped once it has left.
    pub(crate) fn try_next(&mut self) -> Option<(Entry, Place)> {
        self.pop(Lane::Chat)
    }

    /// The next part of a file, if one is there.
    pub(crate) fn try_next_bulk(&mut self) -> Option<(Entry, Place)> {
        self.pop(Lane::Bulk)
    }

    /// The next entry of either kind; none once the other end is gone and the queues empty.
    pub(crate) async fn next(&mut self) -> Option<(Entry, Place)> {
        loop {
            // Looked at first: whoever closes has nothing more to add.
            let closed = self.queues.lock().closed;
            let next = self.try_next().or_else(|| self.try_next_bulk());
            if next.is_some() || closed {
                return next;
            }
            self.queues.changed.notified().await;
        }
    }

    fn pop(&mut self, lane: Lane) -> Option<(Entry, Place)> {
        let mut waiting = self.queues.lock();
        let queue = waiting.queue(lane);
        let entry = queue.pop_front()?;
        if queue.is_empty() {
            queue.shrink_to(KEPT_ENTRIES);
        }
        drop(waiting);
        let place = Place { queues: self.queues.clone(), lane, bytes: entry.item.bytes() };
        Some((entry, place))
    }
}

impl Drop for OutboxReader {
    /// What is queued will never be written.
    fn drop(&mut self) {
        let mut waiting = self.queues.lock();
        waiting.closed = true;
        let left = (std::mem::take(&mut waiting.entries), std::mem::take(&mut waiting.bulk));
        drop(waiting);
        // Whoever waits for one of them learns of it without the lock.
        drop(left);
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

    #[test]
    fn what_was_queued_outlives_the_end_that_queued_it() {
        let (mut outbox, mut reader) = outbox(&limits(4, 1000));
        assert!(reader.next().now_or_never().is_none(), "it waits");
        outbox.push(1, text(1)).unwrap();
        outbox.push_bulk(text(2)).unwrap();
        drop(outbox);
        let mut next = || reader.next().now_or_never().map(|next| next.map(|(entry, _)| entry.item.bytes()));
        assert_eq!([next(), next(), next()], [Some(Some(1)), Some(Some(2)), Some(None)]);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_and_told_if_nothing_will_come_of_it() {
        let (mut outbox, mut reader) = outbox(&limits(4, 1000));
        let waiting = tokio::spawn(async move {
            let first = reader.next().await.map(|(entry, _)| entry.item.bytes());
            (first, reader)
        });
        tokio::task::yield_now().await;
        let (written, told) = oneshot::channel();
        outbox.push(1, text(7)).unwrap();
        let (first, reader) = waiting.await.unwrap();
        assert_eq!(first, Some(7));
        outbox.push(2, Entry { written: Some(written), ..text(1) }).unwrap();
        drop(reader);
        assert!(told.await.is_err());
    }

    #[test]
    fn an_empty_queue_keeps_no_room_for_what_it_once_held() {
        let (mut outbox, mut reader) = outbox(&limits(4096, 1 << 20));
        for _ in 0..4096 {
            outbox.push(1, text(1)).unwrap();
        }
        while reader.try_next().is_some() {}
        assert!(outbox.queues.lock().entries.capacity() <= 2 * KEPT_ENTRIES);
    }
}
