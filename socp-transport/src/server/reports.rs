//! What the machine reports, as log lines and for embedders.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use socp_core::server::Report;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, info, warn};

use super::stats::Counters;

/// Reports kept for a subscriber that does not ask; older ones are lost to it.
const BACKLOG: usize = 1024;

/// Hands out reports; nobody who listens can hold it up.
#[derive(Debug)]
pub(super) struct Reporter {
    sender: broadcast::Sender<Report>,
    counters: Arc<Counters>,
}

impl Reporter {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), counters }
    }

    pub(super) fn sender(&self) -> broadcast::Sender<Report> {
        self.sender.clone()
    }

    pub(super) fn report(&self, report: Report) {
        // Peers chose ids and details: `?` escapes them.
        match &report {
            Report::UserOnline { user, server } => debug!(?user, ?server, "user online"),
            Report::UserOffline { user } => debug!(?user, "user offline"),
            Report::ServerUp { server, link, proven, dialect } => {
                info!(?server, link = link.0, proven, %dialect, "server up");
            }
            Report::ServerDown { server } => info!(?server, "server down"),
            Report::IdAssigned { server } => info!(?server, "an introducer assigned us another id"),
            Report::KeyConflict { subject } => {
                warn!(?subject, "another key than the pinned one was seen; an operator must settle it");
            }
            Report::Dropped { why, detail } => {
                debug!(why, ?detail, "dropped");
                self.counters.dropped(why);
            }
        }
        // Nobody may be listening.
        let _ = self.sender.send(report);
    }
}

/// A subscription to a server's reports, from the moment it was made. Bounded: who does not keep up
/// loses the oldest.
#[derive(Debug)]
pub struct Reports {
    receiver: broadcast::Receiver<Report>,
    counters: Arc<Counters>,
    missed: u64,
}

impl Reports {
    pub(super) fn new(sender: &broadcast::Sender<Report>, counters: Arc<Counters>) -> Self {
        Self { receiver: sender.subscribe(), counters, missed: 0 }
    }

    /// The next report; none once the server has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            match self.receiver.recv().await {
                Ok(report) => return Some(report),
                Err(RecvError::Lagged(missed)) => {
                    self.missed += missed;
                    self.counters.reports_missed.fetch_add(missed, Relaxed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many reports this subscription has lost.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
