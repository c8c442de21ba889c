//! Signing: each payload once, on the pool, while frames keep their places in the links' queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, lazy};
use socp_core::crypto::{SharedPayload, Signer, Unsigned};
use socp_core::wire::WireText;
use tokio_util::task::TaskTracker;

use super::{Failure, OwnWork};
use crate::pool::{Lane, Pool};
use crate::ws::{Failed, Item, PendingText};

/// Payloads that wait for signatures before no more input is taken: two cores need 0.8 s for them.
pub(crate) const MAX_UNSIGNED: usize = 1024;

/// Signs for a machine's owner.
pub(crate) struct Signing {
    signer: Arc<dyn Signer>,
    pool: Arc<Pool>,
    work: OwnWork,
    under_way: Arc<Mutex<UnderWay>>,
    signatures: Arc<AtomicU64>,
    tasks: TaskTracker,
}

/// Done once the payload carries its signature.
type Job = Shared<BoxFuture<'static, Result<(), Failed>>>;

/// Payloads that are being signed, by where they are in memory; an entry keeps its payload there, and is gone as soon
/// as it is signed: pages of a directory are half a megabyte each.
type UnderWay = BTreeMap<usize, (SharedPayload, Job)>;

fn lock(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    // Nothing panics while it is held.
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signing {
    pub(crate) fn new(
        signer: Arc<dyn Signer>,
        pool: Arc<Pool>,
        work: OwnWork,
        signatures: Arc<AtomicU64>,
        tasks: TaskTracker,
    ) -> Self {
        Self { signer, pool, work, under_way: Arc::default(), signatures, tasks }
    }

    /// What goes into the queues of `links` links: the text itself, if it is there and shared, or a promise.
    pub(crate) fn item(&mut self, unsigned: Unsigned, links: usize) -> Item {
        if !unsigned.payload().is_signed() {
            let bytes = unsigned.encoded_len();
            let job = self.job(&unsigned);
            let signer = self.signer.clone();
            let text = async move {
                job.await?;
                write(&unsigned, &*signer)
            };
            return Item::Pending { text: text.boxed().shared(), bytes };
        }
        if links > 1
            && let Ok(signed) = unsigned.sign(&*self.signer)
        {
            return Item::Text(signed.into_text());
        }
        // Written when its turn comes, by the link's task: a directory is megabytes.
        let bytes = unsigned.encoded_len();
        let signer = self.signer.clone();
        let text: PendingText = lazy(move |_| write(&unsigned, &*signer)).boxed().shared();
        Item::Pending { text, bytes }
    }

    fn job(&mut self, unsigned: &Unsigned) -> Job {
        let payload = unsigned.payload();
        let place = payload.place();
        // Held until the entry is in: the task takes it out.
        let mut under_way = lock(&self.under_way);
        if let Some((_, job)) = under_way.get(&place) {
            return job.clone();
        }
        let ticket = self.work.begin();
        let (pool, signer, signatures) = (self.pool.clone(), self.signer.clone(), self.signatures.clone());
        let (unsigned, done) = (payload.clone(), self.under_way.clone());
        // On a task of its own, so that it is finished even if nobody waits for it any more.
        let task = self.tasks.spawn(async move {
            let signed = pool.run(Lane::Chat, move || unsigned.sign(&*signer)).await;
            signatures.fetch_add(1, Relaxed);
            lock(&done).remove(&place);
            ticket.finish(match signed {
                Ok(signed) => signed.map_err(Failure::Signer),
                Err(error) => Err(error.into()),
            })
        });
        let job: Job = async move { task.await.unwrap_or(Err(Failed)) }.boxed().shared();
        under_way.insert(place, (payload.clone(), job.clone()));
        job
    }

    /// How much is under way, and whether it failed.
    pub(crate) fn work(&self) -> &OwnWork {
        &self.work
    }
}

fn write(unsigned: &Unsigned, signer: &dyn Signer) -> Result<Option<WireText>, Failed> {
    unsigned.sign(signer).map(|signed| Some(signed.into_text())).map_err(|_| Failed)
}
