//! What came before, by its author (decisions §3): bounded, and no author's flood makes us forget what another said.
//!
//! The author with the most entries loses the one with the oldest time, so who fills the memory loses only their own. What
//! is lost leaves a floor behind: nothing of that author that is as old counts as new again. Times are compared with
//! times of the same author alone: no clock but the author's matters. What bears the author's newest time stays: more of
//! that time may be under way, since some write the same time on all copies of a message.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::wire::{Timestamp, UserId};

/// What tells one thing that somebody said from all others.
pub(crate) type Digest = [u8; 32];

/// Until when nothing of an author is new any more: what is remembered of that author and is not newer is forgotten.
pub(crate) type Floor = (UserId, Timestamp);

/// Authors that are looked at for one who has something to lose.
const CANDIDATES: usize = 16;

#[derive(Debug)]
pub(crate) struct Repeats {
    /// Up to twice as many are kept while nobody has anything to lose.
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

    /// Forgets the floors that are longest ago, some at once, if there are more than that; says whose.
    pub(crate) fn shrink_floors(&mut self, max: usize) -> Vec<UserId> {
        if self.floors.len() <= max {
            return Vec::new();
        }
        let mut oldest: Vec<(Timestamp, UserId)> =
            self.floors.iter().map(|(author, floor)| (*floor, author.clone())).collect();
        oldest.sort_unstable();
        oldest.truncate(self.floors.len() - max + max / 16);
        let forgotten: Vec<UserId> = oldest.into_iter().map(|(_, author)| author).collect();
        for author in &forgotten {
            self.floors.remove(author);
        }
        forgotten
    }

    /// How many entries and floors there are; the indexes agree.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let entries = self.of.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!((entries, self.of.len()), (self.digests.len(), self.by_size.len()));
        (entries, self.floors.len())
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
            let Some(loser) = self.loser() else { break };
            forgotten.extend(self.forget_oldest(loser));
        }
        forgotten
    }

    /// Who loses the oldest entry: of those with the most, the first one with older ones than its newest; else nobody, within
    /// bounds.
    fn loser(&self) -> Option<UserId> {
        let has_older = |author: &&UserId| {
            let entries = self.of.get(*author);
            entries
                .is_some_and(|entries| entries.first().map(|(ts, _)| ts) < entries.last().map(|(ts, _)| ts))
        };
        let mut largest = self.by_size.iter().rev().map(|(.., author)| author);
        let largest_of_all = largest.clone().next();
        let loser = largest.by_ref().take(CANDIDATES).find(has_older);
        loser.or(largest_of_all.filter(|_| self.digests.len() > 2 * self.max)).cloned()
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

/// Several parts as one: lengths keep "ab","c" and "a","bc" apart.
pub(crate) fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(repeats: &mut Repeats, author: &str, number: u64, ts: u64) -> bool {
        let (author, digest) =
            (author.parse().expect("an id"), digest_of(&[author.as_bytes(), &number.to_be_bytes()]));
        let is_new = !repeats.is_over(&author, Timestamp(ts), &digest);
        repeats.remember(&author, Timestamp(ts), digest);
        is_new
    }

    /// One message to a thousand members, a copy each, all of one time.
    #[test]
    fn copies_of_one_time_are_news_each_however_full_the_memory_is() {
        let mut repeats = Repeats::new(100, []);
        for author in 0..20 {
            for number in 0..10 {
                assert!(said(&mut repeats, &format!("u{author}"), number, 1_000 + number));
            }
        }
        assert_eq!(repeats.sizes().0, 100);
        for number in 0..99 {
            assert!(said(&mut repeats, "alice", number, 5_000), "copy {number}");
        }
        for number in 0..99 {
            assert!(!said(&mut repeats, "alice", number, 5_000), "copy {number} again");
        }
        assert!(repeats.sizes().0 <= 200);
    }

    #[test]
    fn entries_and_floors_are_bounded_whoever_comes() {
        let mut repeats = Repeats::new(10, []);
        let mut forgotten = 0;
        for author in 0..1_000 {
            assert!(said(&mut repeats, &format!("u{author}"), 1, author));
            forgotten += repeats.shrink_floors(32).len();
            let (entries, floors) = repeats.sizes();
            assert!(entries <= 20 && floors <= 32, "{entries} {floors}");
        }
        assert!(forgotten >= 900);
        // Those of the longest ago are forgotten first.
        assert!(said(&mut repeats, "u0", 1, 0) && !said(&mut repeats, "u970", 1, 970));
    }
}
