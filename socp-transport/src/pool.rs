//! Threads for private-key work: milliseconds each, so never on a runtime worker.
//!
//! Two lanes: what people wait for goes before bulk, since a file is hundreds of private-key operations
//! for every second of its transfer.

use std::any::Any;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Jobs that wait in each lane at most: at 1.6 ms each, two threads have 0.4 s of work.
pub const QUEUED_JOBS: usize = 512;

/// How urgent a job is. Within a lane the order is first come, first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Signatures, chat messages: always first.
    Chat,
    /// File chunks: when there is no chat.
    Bulk,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The lane is full; only [`Pool::try_spawn`] says so.
    #[error("the worker pool's queue is full")]
    Busy,
    /// The pool was dropped before the job's turn.
    #[error("the worker pool is closed")]
    Closed,
    /// The job panicked.
    #[error("a job on the worker pool panicked")]
    Panicked,
}

/// A fixed number of threads. Dropping it waits for the jobs that run, and drops those that wait.
pub struct Pool {
    chat: Queue,
    bulk: Queue,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A lane: the channel to the workers and the room in it, which async callers can wait for.
struct Queue {
    /// `None` once the pool is being dropped.
    jobs: Option<Sender<Queued>>,
    room: Arc<Semaphore>,
}

struct Queued {
    /// Runs the job and delivers the result.
    work: Box<dyn FnOnce() + Send>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    /// Starts as many threads as there are cores.
    ///
    /// # Errors
    /// If the system has no threads to give.
    pub fn new() -> io::Result<Self> {
        Self::with_threads(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// Starts that many threads.
    ///
    /// # Errors
    /// If the system has no threads to give.
    pub fn with_threads(threads: NonZeroUsize) -> io::Result<Self> {
        let (chat, chat_jobs) = Queue::new();
        let (bulk, bulk_jobs) = Queue::new();
        let mut pool = Self { chat, bulk, stopping: Arc::default(), threads: Vec::new() };
        for _ in 0..threads.get() {
            let (chat, bulk, stopping) = (chat_jobs.clone(), bulk_jobs.clone(), Arc::clone(&pool.stopping));
            let worker = thread::Builder::new().name("socp-worker".into());
            pool.threads.push(worker.spawn(move || work(&chat, &bulk, &stopping))?);
        }
        Ok(pool)
    }

    /// Waits for room, runs the job and waits for its result.
    ///
    /// # Errors
    /// If the pool closes first or the job panics.
    pub async fn run<T, F>(&self, lane: Lane, job: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.spawn(lane, job).await?.await
    }

    /// Waits for room and queues the job; the result comes later, so that several jobs run at once while
    /// their results are awaited in order. Cancel safe: without room, nothing was queued.
    ///
    /// # Errors
    /// If the pool is closed.
    pub async fn spawn<T, F>(&self, lane: Lane, job: F) -> Result<Job<T>, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let queue = self.queue(lane);
        let room = Arc::clone(&queue.room).acquire_owned().await.map_err(|_| PoolError::Closed)?;
        queue.push(room, job)
    }

    /// Queues the job if there is room right now.
    ///
    /// # Errors
    /// [`PoolError::Busy`] if there is none.
    pub fn try_spawn<T, F>(&self, lane: Lane, job: F) -> Result<Job<T>, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let queue = self.queue(lane);
        let room = Arc::clone(&queue.room).try_acquire_owned().map_err(|_| PoolError::Busy)?;
        queue.push(room, job)
    }

    /// How many jobs of a lane wait for a thread.
    pub fn waiting(&self, lane: Lane) -> usize {
        QUEUED_JOBS.saturating_sub(self.queue(lane).room.available_permits())
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Chat => &self.chat,
            Lane::Bulk => &self.bulk,
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.chat.jobs = None;
        self.bulk.jobs = None;
        for worker in self.threads.drain(..) {
            // A job may hold the last reference to the pool: a thread cannot wait for itself.
            if worker.thread().id() != thread::current().id() {
                // Jobs' panics are caught; there is nothing to learn here.
                let _ = worker.join();
            }
        }
    }
}

impl Queue {
    fn new() -> (Self, Receiver<Queued>) {
        let (jobs, receiver) = bounded(QUEUED_JOBS);
        (Self { jobs: Some(jobs), room: Arc::new(Semaphore::new(QUEUED_JOBS)) }, receiver)
    }

    fn push<T, F>(&self, room: OwnedSemaphorePermit, job: F) -> Result<Job<T>, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, result) = oneshot::channel();
        let work = Box::new(move || {
            // Whoever asked may be gone by now: nobody needs the result.
            if !sender.is_closed() {
                let _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
            }
        });
        let jobs = self.jobs.as_ref().ok_or(PoolError::Closed)?;
        // There is as much room in the channel as the semaphore gives out.
        jobs.try_send(Queued { work, _room: room }).map_err(|_| PoolError::Closed)?;
        Ok(Job(result))
    }
}

/// The result to come of a queued job. Dropped before the job's turn, the job does not run.
#[must_use = "a job that nobody waits for does not run"]
#[derive(Debug)]
pub struct Job<T>(oneshot::Receiver<Result<T, Box<dyn Any + Send>>>);

impl<T> Future for Job<T> {
    type Output = Result<T, PoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map(|result| match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(PoolError::Panicked),
            Err(_) => Err(PoolError::Closed),
        })
    }
}

/// A thread.
fn work(chat: &Receiver<Queued>, bulk: &Receiver<Queued>, stopping: &AtomicBool) {
    loop {
        let next = select_biased! {
            recv(chat) -> job => job,
            recv(bulk) -> job => job,
        };
        match next {
            Ok(Queued { work, _room: room }) if !stopping.load(Ordering::Relaxed) => {
                drop(room);
                work();
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex, mpsc};

    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    /// Keeps the only thread of a pool busy until told.
    fn blocker(pool: &Pool) -> (mpsc::SyncSender<()>, Job<()>) {
        let (go, wait) = mpsc::sync_channel(1);
        let (started, running) = mpsc::sync_channel(1);
        let job = pool.try_spawn(Lane::Chat, move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        });
        running.recv().unwrap();
        (go, job.unwrap())
    }

    #[tokio::test]
    async fn jobs_run_at_once_and_are_awaited_in_order() {
        let pool = pool(2);
        let meeting = Arc::new(Barrier::new(2));
        // Each waits for the other: one thread alone would hang.
        let meet = |name| {
            let meeting = Arc::clone(&meeting);
            move || {
                meeting.wait();
                name
            }
        };
        let first = pool.try_spawn(Lane::Chat, meet("first")).unwrap();
        let second = pool.spawn(Lane::Chat, meet("second")).await.unwrap();
        assert_eq!((first.await, second.await), (Ok("first"), Ok("second")));
    }

    #[tokio::test]
    async fn a_panic_costs_the_job_and_not_the_pool() {
        let pool = pool(1);
        assert_eq!(pool.run(Lane::Chat, || -> u8 { panic!("on purpose") }).await, Err(PoolError::Panicked));
        assert_eq!(pool.run(Lane::Chat, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn chat_goes_before_bulk() {
        let pool = pool(1);
        let (go, blocked) = blocker(&pool);
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |lane| {
            let order = Arc::clone(&order);
            pool.try_spawn(lane, move || order.lock().unwrap().push(lane)).unwrap()
        };
        let jobs = [note(Lane::Bulk), note(Lane::Bulk), note(Lane::Chat)];
        assert_eq!((pool.waiting(Lane::Bulk), pool.waiting(Lane::Chat)), (2, 1));
        go.send(()).unwrap();
        blocked.await.unwrap();
        for job in jobs {
            job.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [Lane::Chat, Lane::Bulk, Lane::Bulk]);
    }

    #[tokio::test]
    async fn a_full_lane_is_busy_and_an_unwanted_job_does_not_run() {
        let pool = pool(1);
        let (go, blocked) = blocker(&pool);
        let ran = Arc::new(AtomicBool::new(false));
        let unwanted = Arc::clone(&ran);
        drop(pool.try_spawn(Lane::Bulk, move || unwanted.store(true, Ordering::Relaxed)).unwrap());
        let jobs: Vec<_> = (1..QUEUED_JOBS).map(|_| pool.try_spawn(Lane::Bulk, || ()).unwrap()).collect();
        assert_eq!(pool.try_spawn(Lane::Bulk, || ()).map(drop), Err(PoolError::Busy));
        assert!(pool.try_spawn(Lane::Chat, || ()).is_ok());
        go.send(()).unwrap();
        blocked.await.unwrap();
        for job in jobs {
            job.await.unwrap();
        }
        assert!(!ran.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn dropping_the_pool_drops_what_waits() {
        let pool = pool(1);
        let (go, blocked) = blocker(&pool);
        let waiting = pool.try_spawn(Lane::Chat, || ()).unwrap();
        let dropping = thread::spawn(move || drop(pool));
        thread::sleep(std::time::Duration::from_millis(50));
        go.send(()).unwrap();
        dropping.join().unwrap();
        assert_eq!(blocked.await, Ok(()));
        assert_eq!(waiting.await, Err(PoolError::Closed));
    }
}
