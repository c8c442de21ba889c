//! Work of our own that is under way: how much, and whether it failed.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::Failure;
use crate::ws::Failed;

/// Counts work that other tasks do for a machine's owner.
#[derive(Clone, Debug)]
pub(crate) struct OwnWork(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    unfinished: AtomicUsize,
    limit: usize,
    finished: Notify,
    failure: OnceLock<Failure>,
    failed: Notify,
}

/// One piece of it; dropped unfinished, it still counts as done.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Inner>);

impl OwnWork {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            unfinished: AtomicUsize::new(0),
            limit,
            finished: Notify::new(),
            failure: OnceLock::new(),
            failed: Notify::new(),
        }))
    }

    pub(crate) fn begin(&self) -> Ticket {
        self.0.unfinished.fetch_add(1, SeqCst);
        Ticket(self.0.clone())
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.0.unfinished.load(SeqCst)
    }

    pub(crate) fn busy(&self) -> bool {
        self.unfinished() >= self.0.limit
    }

    /// Until it is no longer busy.
    pub(crate) async fn relieved(&self) {
        while self.busy() {
            // `notify_one` keeps a permit for whoever comes late.
            self.0.finished.notified().await;
        }
    }

    /// Until a piece fails; the first failure is told.
    pub(crate) async fn failed(&self) -> Failure {
        loop {
            if let Some(failure) = self.0.failure.get() {
                return failure.clone();
            }
            self.0.failed.notified().await;
        }
    }
}

impl Ticket {
    /// Says how it went.
    pub(crate) fn finish(self, result: Result<(), Failure>) -> Result<(), Failed> {
        result.map_err(|failure| {
            self.0.failure.get_or_init(|| failure);
            self.0.failed.notify_one();
            Failed
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, SeqCst);
        self.0.finished.notify_one();
    }
}
