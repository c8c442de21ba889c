//! What the machine reports, as log lines and for embedders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socp_core::server::{ConflictOf, KeyConflict, PinnedBy, Report};
use socp_core::wire::{HostPort, KeyId};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{debug, info, warn};

use super::stats::Counters;

/// Reports kept for a subscriber that does not ask; older ones are lost to it.
const BACKLOG: usize = 1024;

/// What has not changed is told again after this.
const REMINDER: Duration = Duration::from_mins(10);

/// Subjects whose last line is remembered: more than a bootstrap list has.
const SUBJECTS: usize = 1024;

/// Lines about keys in dispute before [`REMINDER`] has passed: strangers can start a dispute about any id.
const CONFLICTS: usize = 20;

/// What is dropped since a table is full that an operator can enlarge.
const FULL: [&str; 5] = [
    "too many servers",
    "too many addresses",
    "too many addresses from one teller",
    "too many users of one server",
    "too many members of the channel",
];

/// Hands out reports; nobody who listens can hold it up.
#[derive(Debug)]
pub(super) struct Reporter {
    sender: broadcast::Sender<Report>,
    counters: Arc<Counters>,
    /// About what the operator listed.
    listed: Quiet,
    /// About other pins.
    conflicts: Quiet,
    /// About limits that are reached.
    full: Quiet,
}

impl Reporter {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
            counters,
            listed: Quiet::new(SUBJECTS),
            conflicts: Quiet::new(CONFLICTS),
            full: Quiet::new(SUBJECTS),
        }
    }

    pub(super) fn sender(&self) -> broadcast::Sender<Report> {
        self.sender.clone()
    }

    pub(super) fn report(&mut self, report: Report) {
        // Peers chose ids and details: `?` escapes them.
        match &report {
            Report::UserOnline { user, server } => debug!(?user, ?server, "user online"),
            Report::UserOffline { user } => debug!(?user, "user offline"),
            Report::ServerUp { server, link, proven, dialect } => {
                info!(?server, link = link.0, proven, %dialect, "server up");
            }
            Report::ServerDown { server } => info!(?server, "server down"),
            Report::IdAssigned { server } => info!(?server, "an introducer assigned us another id"),
            Report::IntroducerDown { address, why } => self.introducer_down(address, why),
            Report::IntroducerUp { address } => {
                info!(%address, "the trusted introducer is joined now");
                self.listed.forget(&address.to_string());
            }
            Report::KeyConflict(conflict) => self.key_conflict(conflict),
            Report::Dropped { why, detail } => {
                debug!(why, ?detail, "dropped");
                self.counters.dropped(why);
                if FULL.contains(why) && self.full.is_news(why, "", Instant::now()).is_some() {
                    warn!(why, ?detail, "a limit is reached ([limits] in the configuration file)");
                }
            }
        }
        // Nobody may be listening.
        let _ = self.sender.send(report);
    }
}

impl Reporter {
    fn introducer_down(&mut self, address: &HostPort, why: &str) {
        match self.listed.is_news(&address.to_string(), why, Instant::now()) {
            Some(_) => warn!(
                %address,
                ?why,
                "a trusted introducer (bootstrap list, --introducer) cannot be joined; it is tried again, ever more seldom"
            ),
            None => debug!(%address, ?why, "a trusted introducer still cannot be joined"),
        }
    }

    fn key_conflict(&mut self, conflict: &KeyConflict) {
        let KeyConflict { of, pinned, pinned_by, seen, replaced } = conflict;
        let fingerprint = |key: &Option<KeyId>| key.map_or("none".into(), |key| key.fingerprint());
        let (pinned, seen) = (fingerprint(pinned), fingerprint(seen));
        let subject = of.to_string();
        let what = match of {
            ConflictOf::User(_) => "user",
            ConflictOf::Server(_) => "server",
            ConflictOf::Address(_) => "server at",
        };
        // What answers where the operator has us dial is bounded. Ids and keys are anybody's to make up: whoever claims
        // a listed id with many keys is told of once.
        let (quiet, news) = match (pinned_by, of) {
            (PinnedBy::BootstrapList, ConflictOf::Address(_)) => (&mut self.listed, seen.as_str()),
            (PinnedBy::BootstrapList, ConflictOf::User(_) | ConflictOf::Server(_)) => {
                (&mut self.conflicts, "")
            }
            (PinnedBy::Store, _) => (&mut self.conflicts, seen.as_str()),
        };
        let Some(hidden) = quiet.is_news(&format!("{what} {subject}"), news, Instant::now()) else {
            return debug!(what, ?subject, ?pinned, ?seen, "another key than the pinned one was seen again");
        };
        match (pinned_by, replaced) {
            (_, true) => info!(
                what,
                ?subject,
                before = ?pinned,
                now = ?seen,
                "a pinned key gave way to one that ranks higher (a proof or the bootstrap list)"
            ),
            (PinnedBy::BootstrapList, false) if !matches!(of, ConflictOf::Address(_)) => warn!(
                what,
                ?subject,
                listed = ?pinned,
                shown = ?seen,
                hidden,
                "somebody claims the id of a server of the bootstrap list with another key, and is refused"
            ),
            (PinnedBy::BootstrapList, false) => warn!(
                what,
                ?subject,
                listed = ?pinned,
                shown = ?seen,
                "not the key of the bootstrap list: nobody is linked there until list and server agree; compare the \
                 fingerprints with the server's operator (`socp-server identity` shows them there)"
            ),
            (PinnedBy::Store, false) => warn!(
                what,
                ?subject,
                ?pinned,
                shown = ?seen,
                hidden,
                "not the key that is pinned in the data directory, and refused; if its owner says that the new one is \
                 right: stop this server, `socp-server forget ID`, start it again"
            ),
        }
    }
}

/// Lines that would come again and again: news of a subject is told, the rest only now and then. Bounded in
/// subjects and in lines, since peers can make both up.
#[derive(Debug)]
struct Quiet {
    /// What was told last of a subject, and when.
    told: BTreeMap<Box<str>, (Box<str>, Instant)>,
    /// Lines that may be told before [`REMINDER`] has passed.
    lines: usize,
    /// Since when they are counted.
    since: Instant,
    /// How many were told, and how many not, since then.
    shown: usize,
    hidden: usize,
}

impl Quiet {
    fn new(lines: usize) -> Self {
        Self { told: BTreeMap::new(), lines, since: Instant::now(), shown: 0, hidden: 0 }
    }

    /// Whether a line about a subject is to be told: with how many that were kept back since the last one.
    fn is_news(&mut self, subject: &str, what: &str, now: Instant) -> Option<usize> {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= REMINDER;
        if is_old(self.since) {
            self.told.retain(|_, (_, at)| !is_old(*at));
            (self.since, self.shown) = (now, 0);
        }
        let known = self.told.get(subject).is_some_and(|(before, at)| **before == *what && !is_old(*at));
        if known {
            return None;
        }
        if self.shown >= self.lines || (self.told.len() >= SUBJECTS && !self.told.contains_key(subject)) {
            self.hidden += 1;
            return None;
        }
        self.told.insert(subject.into(), (what.into(), now));
        self.shown += 1;
        Some(std::mem::take(&mut self.hidden))
    }

    fn forget(&mut self, subject: &str) {
        self.told.remove(subject);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_once_and_again_after_a_while() {
        let (start, minute) = (Instant::now(), Duration::from_mins(1));
        let mut quiet = Quiet::new(SUBJECTS);
        assert_eq!(quiet.is_news("a:1", "refused", start), Some(0));
        assert_eq!(quiet.is_news("a:1", "refused", start + minute), None);
        assert_eq!(quiet.is_news("b:1", "refused", start + minute), Some(0));
        assert_eq!(quiet.is_news("a:1", "no route", start + minute), Some(0), "the reason changed");
        assert_eq!(quiet.is_news("a:1", "no route", start + minute + REMINDER), Some(0));
        quiet.forget("a:1");
        assert_eq!(quiet.is_news("a:1", "no route", start + minute + REMINDER), Some(0));
    }

    #[test]
    fn subjects_that_peers_make_up_flood_no_log() {
        let mut quiet = Quiet::new(CONFLICTS);
        let start = Instant::now();
        let told = (0..100_000).filter(|id| quiet.is_news(&id.to_string(), "", start).is_some()).count();
        assert_eq!(told, CONFLICTS);
        let later = quiet.is_news("another", "", start + REMINDER);
        assert_eq!(later, Some(100_000 - CONFLICTS), "how many were not told is");
        assert!(quiet.told.len() <= SUBJECTS);
    }
}
