//! What came before, by its author (decisions §3): bounded, and no flood makes us forget what somebody else said.
//!
//! The author with the most entries loses the one with the oldest time, so who fills the memory loses only their own. What
//! is lost leaves a floor behind: nothing of that author that is as old counts as new again. Times are compared with
//! times of the same author alone: no clock but the author's matters.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::wire::{Timestamp, UserId};

/// What tells one thing that somebody said from all others.
pub(crate) type Digest = [u8; 32];

/// Until when nothing of an author is new any more: what is remembered of that author and is not newer is forgotten.
pub(crate) type Floor = (UserId, Timestamp);

#[derive(Debug)]
pub(crate) struct Repeats {
    max: usize,
    /// By author: when it was signed, and what.
    of: BTreeMap<UserId, BTreeSet<(Timestamp, Digest)>>,
    digests: BTreeSet<Digest>,
    /// Authors by how many entries they have, then by how old their oldest is: the last one loses it.
    by_size: BTreeSet<(usize, Reverse<Timestamp>, UserId)>,
    /// The newest time of what was forgotten of each author.
    floors: BTreeMap<UserId, Timestamp>,
}

impl Repeats {
    /// What is left of earlier runs; at most `max` entries, all authors together.
    pub(crate) fn new(max: usize, floors: impl IntoIterator<Item = Floor>) -> Self {
        Self {
            max,
            of: BTreeMap::new(),
            digests: BTreeSet::new(),
            by_size: BTreeSet::new(),
            floors: floors.into_iter().collect(),
        }
    }

    /// Whether it is remembered, whatever time it names.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Whether it came before, or may have.
    pub(crate) fn is_over(&self, from: &UserId, ts: Timestamp, digest: &Digest) -> bool {
        self.contains(digest) || self.is_below_floor(from, ts)
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }

    /// Floors.
    pub(crate) fn floors(&self) -> usize {
        self.floors.len()
    }

    /// Forgets the floor that is longest ago; says whose.
    pub(crate) fn forget_floor(&mut self) -> Option<UserId> {
        let oldest = self.floors.iter().min_by_key(|(_, floor)| **floor)?.0.clone();
        self.floors.remove(&oldest);
        Some(oldest)
    }

    #[cfg(test)]
    pub(crate) fn check(&self) {
        let entries = self.of.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!((entries, self.of.len()), (self.digests.len(), self.by_size.len()));
    }

    fn is_below_floor(&self, from: &UserId, ts: Timestamp) -> bool {
        self.floors.get(from).is_some_and(|floor| ts <= *floor)
    }

    /// Remembers it, if it is new; gives what had to be forgotten for it.
    pub(crate) fn remember(&mut self, from: &UserId, ts: Timestamp, digest: Digest) -> Vec<Floor> {
        let mut forgotten = Vec::new();
        if self.is_below_floor(from, ts) || !self.digests.insert(digest) {
            return forgotten;
        }
        self.unrank(from);
        self.of.entry(from.clone()).or_default().insert((ts, digest));
        self.rank(from);
        while self.digests.len() > self.max {
            let Some((_, _, largest)) = self.by_size.last().cloned() else { break };
            forgotten.extend(self.forget_oldest(largest));
        }
        forgotten
    }

    /// Of that author. What is of the same time goes with it: the floor speaks for all of it.
    fn forget_oldest(&mut self, from: UserId) -> Option<Floor> {
        self.unrank(&from);
        let entries = self.of.get_mut(&from)?;
        let (until, _) = *entries.first()?;
        while let Some((_, digest)) = entries.first().copied().filter(|(ts, _)| *ts <= until) {
            entries.pop_first();
            self.digests.remove(&digest);
        }
        if entries.is_empty() {
            self.of.remove(&from);
        }
        self.rank(&from);
        self.floors.insert(from.clone(), until);
        Some((from, until))
    }

    fn place(&self, from: &UserId) -> Option<(usize, Reverse<Timestamp>, UserId)> {
        let entries = self.of.get(from)?;
        Some((entries.len(), Reverse(entries.first()?.0), from.clone()))
    }

    fn rank(&mut self, from: &UserId) {
        self.by_size.extend(self.place(from));
    }

    fn unrank(&mut self, from: &UserId) {
        if let Some(place) = self.place(from) {
            self.by_size.remove(&place);
        }
    }
}
