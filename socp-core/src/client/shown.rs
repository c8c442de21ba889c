//! What was shown, so that nothing is shown twice, across restarts (decisions §3).
//!
//! What is proven to be somebody's is remembered by its author ([`Repeats`]): no flood, of whomever, makes us forget what
//! we saw of somebody else.
//!
//! What is not proven has a memory apart: anybody can send that, and enough of it would push out the rest.

use std::collections::{BTreeSet, VecDeque};

use crate::repeats::{Digest, Repeats, digest_of};
use crate::wire::{Binary, FileStart, Timestamp, UserId};

use super::api::Action;
use super::limits::Limits;
use super::records::{Forgotten, Record, Shown, Snapshot};

/// Stores keep no later time: their numbers end there. What claims to be from then on is all of one time.
const LATEST: Timestamp = Timestamp(i64::MAX as u64);

/// Messages and offers that were shown.
#[derive(Debug)]
pub(super) struct Memory {
    /// What is proven to be its author's. Only of those whose key is pinned (and of ourselves) can anything be proven, so
    /// there are no more floors than pins: [`Limits::pinned_users`].
    proven: Repeats,
    /// What older versions remembered, by other digests and without its author. It never grows, and is never
    /// forgotten: nothing else would tell its repeats. At most [`super::MAX_SHOWN`].
    before: BTreeSet<Digest>,
    doubtful: Doubtful,
}

/// The oldest go first.
#[derive(Debug)]
struct Doubtful {
    /// [`Limits::doubtful`].
    max: usize,
    digests: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Memory {
    /// What is left of earlier runs.
    pub(super) fn new(snapshot: &mut Snapshot, limits: &Limits) -> Self {
        let floors = std::mem::take(&mut snapshot.forgotten);
        let floors = floors.into_iter().map(|Forgotten { from, until }| (from, until));
        let mut proven = Repeats::new(limits.shown, floors);
        for Shown { from, ts, digest } in std::mem::take(&mut snapshot.shown) {
            // With a smaller bound than last time, it is forgotten again at each start: the store keeps it.
            proven.remember(&from, ts, digest);
        }
        let mut doubtful =
            Doubtful { max: limits.doubtful, digests: BTreeSet::new(), order: VecDeque::new() };
        for digest in std::mem::take(&mut snapshot.doubtful) {
            doubtful.remember(digest);
        }
        let before = std::mem::take(&mut snapshot.shown_before).into_iter().take(super::MAX_SHOWN).collect();
        Self { proven, before, doubtful }
    }

    /// Whether it need not even be looked at: it was shown, and proven, or older versions say so.
    pub(super) fn is_known(&self, digest: &Digest, before: &Digest) -> bool {
        self.proven.contains(digest) || self.before.contains(before)
    }

    /// Whether what is proven to be of that author and time was shown before, or may have been.
    pub(super) fn was_shown(&self, from: &UserId, ts: Timestamp, digest: &Digest) -> bool {
        self.proven.is_over(from, ts.min(LATEST), digest)
    }

    /// Whether what is not proven was shown before, either so or, later, proven.
    pub(super) fn was_doubtful(&self, digest: &Digest) -> bool {
        self.proven.contains(digest) || self.doubtful.digests.contains(digest)
    }

    /// Repeats of what is proven will be dropped.
    pub(super) fn remember(&mut self, from: &UserId, ts: Timestamp, digest: Digest, out: &mut Vec<Action>) {
        let ts = ts.min(LATEST);
        if self.proven.is_over(from, ts, &digest) {
            return;
        }
        out.push(Action::Persist(Record::Shown(Shown { from: from.clone(), ts, digest })));
        for (from, until) in self.proven.remember(from, ts, digest) {
            out.push(Action::Persist(Record::Forgotten(Forgotten { from, until })));
        }
    }

    /// Repeats of what is not proven will be dropped, as long as there is room: a twin that a relay has altered does not
    /// shadow the real one.
    pub(super) fn remember_doubtful(&mut self, digest: Digest, out: &mut Vec<Action>) {
        if self.doubtful.remember(digest) {
            out.push(Action::Persist(Record::Doubtful(digest)));
        }
    }

    /// How much there is: proven, floors, not proven.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        let (proven, floors) = self.proven.sizes();
        [proven, floors, self.doubtful.order.len()]
    }
}

impl Doubtful {
    /// Whether it is new.
    fn remember(&mut self, digest: Digest) -> bool {
        let new = self.digests.insert(digest);
        if new {
            self.order.push_back(digest);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.digests.remove(&oldest);
            }
        }
        new
    }
}

/// What makes two messages the same, whatever envelope and signature say: nobody but the author encrypts to the same
/// block.
pub(super) fn message_digest(from: &UserId, ciphertext: &[u8]) -> Digest {
    digest_of(&[b"message", from.as_str().as_bytes(), ciphertext])
}

/// What makes two offers the same: their author names no two files alike.
pub(super) fn offer_digest(from: &UserId, file_id: &str) -> Digest {
    digest_of(&[b"file", from.as_str().as_bytes(), file_id.as_bytes()])
}

/// The same of an offer that is not proven to be its author's: others name files as they like, and may all come under one
/// server's name.
pub(super) fn unproven_offer_digest(from: &UserId, start: &FileStart, ts: Option<Timestamp>) -> Digest {
    let FileStart { file_id, name, size, sha256, .. } = start;
    let (size, ts) = (size.to_be_bytes(), ts.unwrap_or_default().0.to_be_bytes());
    let texts = [from.as_str(), file_id, name, sha256].map(str::as_bytes);
    let [from, file_id, name, sha256] = texts;
    digest_of(&[b"unproven file", from, file_id, name, sha256, &size, &ts])
}

/// What older versions remembered of either.
pub(super) fn digest_before(from: &UserId, content: &[u8], signature: Option<&Binary>) -> Digest {
    digest_of(&[from.as_str().as_bytes(), content, signature.map_or(&[][..], |sig| sig.bytes())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(shown: usize) -> Memory {
        let limits = Limits { shown, doubtful: 3, ..Limits::default() };
        Memory::new(&mut Snapshot::default(), &limits)
    }

    fn user(name: &str) -> UserId {
        name.parse().expect("a good id")
    }

    fn digest(from: &str, n: u64) -> Digest {
        message_digest(&user(from), &n.to_be_bytes())
    }

    fn remember(memory: &mut Memory, from: &str, ts: u64) -> Vec<Action> {
        let mut out = Vec::new();
        memory.remember(&user(from), Timestamp(ts), digest(from, ts), &mut out);
        out
    }

    fn was_shown(memory: &Memory, from: &str, ts: u64) -> bool {
        memory.was_shown(&user(from), Timestamp(ts), &digest(from, ts))
    }

    #[test]
    fn who_floods_loses_their_own() {
        let mut memory = memory(10);
        for ts in 1..=3 {
            remember(&mut memory, "alice", ts);
        }
        for ts in 1..=1000 {
            remember(&mut memory, "mallory", ts);
        }
        assert_eq!(memory.sizes(), [10, 1, 0], "nothing of alice's was lost");
        assert!((1..=3).all(|ts| was_shown(&memory, "alice", ts)));
        assert!((1..=1000).all(|ts| was_shown(&memory, "mallory", ts)));
        assert!(!was_shown(&memory, "mallory", 1001));
        assert!(!was_shown(&memory, "alice", 4));
    }

    #[test]
    fn nothing_counts_as_new_again_however_many_flood() {
        let mut memory = memory(10);
        for ts in 1..=3 {
            remember(&mut memory, "alice", ts);
        }
        for n in 0..100 {
            remember(&mut memory, &format!("mallory-{n}"), 1000 + n);
        }
        assert!(memory.sizes()[0] <= 20);
        assert!((1..=3).all(|ts| was_shown(&memory, "alice", ts)));
        assert!(!was_shown(&memory, "alice", 4), "what is newer is new");
        assert!(!was_shown(&memory, "bob", 1), "others have no floor");
    }

    /// A clock that was a year ahead for one message must not silence its owner for that year.
    #[test]
    fn a_time_far_ahead_is_remembered_longest() {
        let mut memory = memory(10);
        remember(&mut memory, "alice", 1_000_000);
        for ts in 1..=1000 {
            assert!(!was_shown(&memory, "alice", ts));
            remember(&mut memory, "alice", ts);
        }
        assert!(was_shown(&memory, "alice", 1_000_000) && was_shown(&memory, "alice", 1));
    }

    #[test]
    fn what_is_forgotten_is_told_to_the_store() {
        let mut memory = memory(2);
        remember(&mut memory, "alice", 1);
        // Two of one time go together.
        memory.remember(&user("alice"), Timestamp(1), digest("alice", 7), &mut Vec::new());
        let shown =
            Record::Shown(Shown { from: user("alice"), ts: Timestamp(2), digest: digest("alice", 2) });
        let forgotten = Record::Forgotten(Forgotten { from: user("alice"), until: Timestamp(1) });
        assert_eq!(remember(&mut memory, "alice", 2), [Action::Persist(shown), Action::Persist(forgotten)]);
        assert_eq!(memory.sizes(), [1, 1, 0]);
        assert_eq!(remember(&mut memory, "alice", 1), [], "the floor speaks for it");
        // Times that no store can keep are of one time.
        let mut out = Vec::new();
        memory.remember(&user("bob"), Timestamp(u64::MAX), digest("bob", 1), &mut out);
        let ts = Timestamp(i64::MAX as u64);
        assert_eq!(
            out[0],
            Action::Persist(Record::Shown(Shown { from: user("bob"), ts, digest: digest("bob", 1) }))
        );
    }

    #[test]
    fn what_is_not_proven_pushes_out_nothing_that_is() {
        let mut memory = memory(2);
        remember(&mut memory, "alice", 1);
        let mut out = Vec::new();
        for n in 0..100 {
            memory.remember_doubtful(digest("junk", n), &mut out);
            memory.remember_doubtful(digest("junk", n), &mut out);
        }
        assert_eq!((memory.sizes(), out.len()), ([1, 0, 3], 100));
        assert!(was_shown(&memory, "alice", 1) && memory.was_doubtful(&digest("alice", 1)));
        assert!(memory.was_doubtful(&digest("junk", 99)) && !memory.was_doubtful(&digest("junk", 96)));
        assert!(!was_shown(&memory, "junk", 99), "its real twin may still come");
    }
}
