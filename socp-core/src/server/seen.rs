//! Duplicate caches (§10): bounded by count first, by age second.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::repeats::{Digest, digest_of};
use crate::wire::{Frame, UserId};

/// What identifies a frame or a delivery.
pub(super) type SeenKey = Digest;

#[derive(Debug)]
pub(super) struct Seen {
    keys: BTreeSet<SeenKey>,
    order: VecDeque<(Duration, SeenKey)>,
    max_entries: usize,
    max_age: Duration,
}

impl Seen {
    pub(super) fn new(max_entries: usize, max_age: Duration) -> Self {
        Self { keys: BTreeSet::new(), order: VecDeque::new(), max_entries, max_age }
    }

    pub(super) fn contains(&self, key: &SeenKey) -> bool {
        self.keys.contains(key)
    }

    /// Remembers a key; false if it was there already.
    pub(super) fn insert(&mut self, key: SeenKey, now: Duration) -> bool {
        while let Some((at, oldest)) = self.order.front() {
            if self.order.len() < self.max_entries && now.saturating_sub(*at) < self.max_age {
                break;
            }
            self.keys.remove(oldest);
            self.order.pop_front();
        }
        let fresh = self.keys.insert(key);
        if fresh {
            self.order.push_back((now, key));
        }
        fresh
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

/// The key of a gossiped or delivered frame: type, ts, from, to and the canonical payload (decisions §3).
pub(super) fn frame_key(frame: &Frame) -> SeenKey {
    let ts = frame.ts().map_or(0, |ts| ts.0).to_be_bytes();
    let from = frame.from().map_or("", |from| from.as_str());
    digest_of(&[
        frame.kind().as_str().as_bytes(),
        &ts,
        from.as_bytes(),
        frame.to().as_str().as_bytes(),
        frame.payload_canonical().as_bytes(),
    ])
}

/// The key of a user in a cache of its own.
pub(super) fn user_key(user: &UserId) -> SeenKey {
    digest_of(&[user.as_str().as_bytes()])
}

/// What tells two payloads apart.
pub(super) fn payload_hash(frame: &Frame) -> [u8; 32] {
    Sha256::digest(frame.payload_canonical()).into()
}

/// The key of a delivery, whatever its `ts` and the way it came.
pub(super) fn delivery_key(recipient: &str, sender: &str, ciphertext: &[u8], content_sig: &[u8]) -> SeenKey {
    digest_of(&[b"delivery", recipient.as_bytes(), sender.as_bytes(), ciphertext, content_sig])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_forgets_by_count_and_by_age() {
        let secs = Duration::from_secs;
        let mut seen = Seen::new(2, secs(10));
        assert!(seen.insert([1; 32], secs(0)));
        assert!(!seen.insert([1; 32], secs(1)));
        assert!(seen.insert([2; 32], secs(1)) && seen.insert([3; 32], secs(1)));
        assert!(!seen.contains(&[1; 32]) && seen.contains(&[3; 32]) && seen.len() == 2);
        assert!(seen.insert([4; 32], secs(20)));
        assert!(!seen.contains(&[3; 32]) && seen.len() == 1);
    }
}
