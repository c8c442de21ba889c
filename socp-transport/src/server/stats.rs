//! What a server counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use socp_core::server::Counts;

use crate::ws::LinkCounters;

/// Counters that only rise; shared by all tasks of a server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) links: LinkCounters,
    pub(super) accepted: AtomicU64,
    pub(super) refused_links: AtomicU64,
    pub(super) signatures: Arc<AtomicU64>,
    pub(super) verified: AtomicU64,
    pub(super) slow_consumers: AtomicU64,
    pub(super) reports_missed: AtomicU64,
    /// Few fixed texts, so the map stays small.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub(super) fn dropped(&self, why: &'static str) {
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    pub(super) fn snapshot(&self, tables: Counts) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            tables,
            frames_in: get(&self.links.frames_in),
            bytes_in: get(&self.links.bytes_in),
            frames_out: get(&self.links.frames_out),
            bytes_out: get(&self.links.bytes_out),
            accepted: get(&self.accepted),
            refused_links: get(&self.refused_links),
            signatures: get(&self.signatures),
            verified: get(&self.verified),
            slow_consumers: get(&self.slow_consumers),
            reports_missed: get(&self.reports_missed),
            dropped: self.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// A server's tables and counters at one moment; the counters rise from its start on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sizes of the machine's tables: links, local and known users, servers.
    pub tables: Counts,
    /// Frames read.
    pub frames_in: u64,
    /// Bytes of these.
    pub bytes_in: u64,
    /// Frames written.
    pub frames_out: u64,
    /// Bytes of these.
    pub bytes_out: u64,
    /// Links that others opened.
    pub accepted: u64,
    /// Sockets turned away, because there were too many or their handshake failed.
    pub refused_links: u64,
    /// Private-key operations.
    pub signatures: u64,
    /// Frames whose signatures were checked, whatever came of it.
    pub verified: u64,
    /// Links closed because their peers read too slowly.
    pub slow_consumers: u64,
    /// Reports that some subscriber was too slow for.
    pub reports_missed: u64,
    /// Frames and dials that came to nothing, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}
