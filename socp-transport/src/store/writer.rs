//! One thread that owns a store, and the queue to it.
//!
//! The hub reserves room **before** it takes new input, so handing over what the input caused never
//! blocks and never fails for lack of room:
//!
//! ```text
//! let slot = writer.reserve().await?;      // room for one batch
//! let actions = server.handle(now, event); // may ask to persist something
//! let committed = slot.submit(records);    // at once; frames of this batch wait for it
//! ```
//!
//! The thread commits whatever is queued as one transaction.

use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Store, StoreError, Stored};

/// Batches that wait for the writer at most, beside those in the transaction that runs. At 14 µs a record
/// a full queue of single records is 15 ms of work.
pub const QUEUED_BATCHES: usize = 1024;

type Outcome = Result<(), StoreError>;

/// A store on a thread of its own. Dropped without [`StoreWriter::close`] it still writes what is queued.
pub struct StoreWriter<R: Stored> {
    queue: Arc<Queue<R>>,
    failure: watch::Receiver<Option<StoreError>>,
    /// The thread's last word.
    end: oneshot::Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl<R: Stored> StoreWriter<R> {
    /// Starts the thread. Load the snapshot first.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(store: Box<dyn Store<R>>) -> io::Result<Self> {
        let queue = Arc::new(Queue::new());
        let (failed, failure) = watch::channel(None);
        let (ended, end) = oneshot::channel();
        let orders = Arc::clone(&queue);
        let thread = thread::Builder::new().name("socp-store".into()).spawn(move || {
            // Nobody may be waiting.
            let _ = ended.send(write(store, &orders, &failed));
        })?;
        Ok(Self { queue, failure, end, thread: Some(thread) })
    }

    /// Waits for room for one batch. Cancel safe. Keep the slot for the next turn if there is nothing to
    /// persist in this one.
    ///
    /// # Errors
    /// After a failure, with that failure: it is final.
    pub async fn reserve(&self) -> Result<Slot<R>, StoreError> {
        if let Some(error) = &*self.failure.borrow() {
            return Err(error.clone());
        }
        let room = Arc::clone(&self.queue.room).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        Ok(Slot { queue: Arc::clone(&self.queue), room })
    }

    /// Reserves, submits and waits until the records are durable.
    ///
    /// # Errors
    /// If they are not.
    pub async fn commit(&self, records: Vec<R>) -> Result<(), StoreError> {
        self.reserve().await?.submit(records).await
    }

    /// Waits for the store to fail, which must stop the server.
    pub async fn failure(&self) -> StoreError {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await;
        failed.ok().and_then(|error| error.clone()).unwrap_or(StoreError::Stopped)
    }

    /// Writes what is queued, tidies the file and ends the thread. Slots that are still out are void.
    ///
    /// # Errors
    /// If the store failed, now or earlier.
    pub async fn close(mut self) -> Result<(), StoreError> {
        self.queue.close();
        let outcome = (&mut self.end).await.unwrap_or(Err(StoreError::Stopped));
        // The outcome was the thread's last act: this does not wait.
        let joined =
            self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(|_| StoreError::Stopped));
        outcome.and(joined)
    }
}

impl<R: Stored> Drop for StoreWriter<R> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<R: Stored> fmt::Debug for StoreWriter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreWriter")
            .field("room", &self.queue.room.available_permits())
            .finish_non_exhaustive()
    }
}

/// Room for one batch.
pub struct Slot<R> {
    queue: Arc<Queue<R>>,
    room: OwnedSemaphorePermit,
}

impl<R> Slot<R> {
    /// Queues a batch, after all that were submitted before. Nothing at all is durable at once.
    pub fn submit(self, records: Vec<R>) -> Committed {
        if records.is_empty() {
            return Committed::nothing();
        }
        let (done, outcome) = oneshot::channel();
        self.queue.push(Batch { records, done, _room: self.room });
        Committed(Some(outcome.shared()))
    }
}

impl<R> fmt::Debug for Slot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// Resolves once a batch is durable. Clones wait for the same batch.
#[must_use = "frames must wait for it"]
#[derive(Clone, Debug)]
pub struct Committed(Option<Shared<oneshot::Receiver<Outcome>>>);

impl Committed {
    /// For frames that follow from nothing that must be persisted: durable already.
    pub fn nothing() -> Self {
        Self(None)
    }
}

impl Future for Committed {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = &mut self.0 else { return Poll::Ready(Ok(())) };
        outcome.poll_unpin(context).map(|outcome| outcome.unwrap_or(Err(StoreError::Stopped)))
    }
}

/// What waits for the thread. A batch that is dropped tells its waiters that the writer has stopped.
struct Queue<R> {
    waiting: Mutex<Waiting<R>>,
    changed: Condvar,
    /// One permit for each batch that may wait: bounds `waiting`.
    room: Arc<Semaphore>,
}

struct Waiting<R> {
    batches: Vec<Batch<R>>,
    /// The thread is to end when there are no more batches.
    closing: bool,
    /// The thread takes no more batches.
    ended: bool,
}

struct Batch<R> {
    records: Vec<R>,
    done: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl<R> Queue<R> {
    fn new() -> Self {
        let waiting = Waiting { batches: Vec::new(), closing: false, ended: false };
        let room = Arc::new(Semaphore::new(QUEUED_BATCHES));
        Self { waiting: Mutex::new(waiting), changed: Condvar::new(), room }
    }

    fn push(&self, batch: Batch<R>) {
        let mut waiting = self.lock();
        if !waiting.ended {
            waiting.batches.push(batch);
            self.changed.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Waits for batches and takes them all; `None` is the end.
    fn take(&self) -> Option<Vec<Batch<R>>> {
        let idle = |waiting: &mut Waiting<R>| waiting.batches.is_empty() && !waiting.closing;
        let waiting = self.changed.wait_while(self.lock(), idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if waiting.batches.is_empty() {
            waiting.ended = true;
            None
        } else {
            Some(mem::take(&mut waiting.batches))
        }
    }

    /// Nothing under the lock leaves it half changed, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread ends, perhaps because the store panicked: nobody must wait for it any more.
struct Ending<'a, R>(&'a Queue<R>);

impl<R> Drop for Ending<'_, R> {
    fn drop(&mut self) {
        self.0.room.close();
        let mut waiting = self.0.lock();
        waiting.ended = true;
        waiting.batches.clear();
    }
}

/// The thread.
fn write<R: Stored>(
    mut store: Box<dyn Store<R>>,
    queue: &Queue<R>,
    failure: &watch::Sender<Option<StoreError>>,
) -> Outcome {
    let _ending = Ending(queue);
    let mut state: Outcome = Ok(());
    while let Some(batches) = queue.take() {
        let mut records = Vec::new();
        let mut waiting = Vec::with_capacity(batches.len());
        for Batch { records: batch, done, _room: room } in batches {
            records.extend(batch);
            waiting.push(done);
            drop(room);
        }
        if state.is_ok() {
            state = store.commit(&records);
            if let Err(error) = &state {
                failure.send_replace(Some(error.clone()));
            }
        }
        for done in waiting {
            // Nobody may be waiting.
            let _ = done.send(state.clone());
        }
    }
    state.and_then(|()| store.close())
}
