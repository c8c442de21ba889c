//! Messages that reached users here (decisions §3): a repeat is known for one whatever its `ts`, on whichever link it
//! comes, and after a restart.
//!
//! Nobody makes us forget another's: of what is forgotten its author's newest time stays, and nothing that the author
//! signed until then is new any more. Times are compared with times of the same author alone, so that no clock but the
//! author's matters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::api::{Action, DeliveryRecord, Record};
use super::seen::SeenKey;
use crate::wire::UserId;

#[derive(Debug)]
pub(super) struct Delivered {
    keys: BTreeSet<SeenKey>,
    order: VecDeque<DeliveryRecord>,
    /// Until when nothing of an author is new any more, by the author's clock: of whoever has been forgotten.
    until: BTreeMap<UserId, u64>,
    /// So many messages, and so many authors besides.
    max: usize,
}

impl Delivered {
    pub(super) fn new(max: usize) -> Self {
        Self { keys: BTreeSet::new(), order: VecDeque::new(), until: BTreeMap::new(), max }
    }

    pub(super) fn restore(&mut self, deliveries: Vec<DeliveryRecord>, until: Vec<(UserId, u64)>) {
        self.until = until.into_iter().take(self.max).collect();
        for delivery in deliveries {
            self.keys.insert(delivery.key);
            self.order.push_back(delivery);
        }
        // Should the bound be lower than last time.
        self.shrink(u64::MAX);
    }

    /// Whether a message is new.
    pub(super) fn is_new(&self, delivery: &DeliveryRecord) -> bool {
        let DeliveryRecord { key, author, ts } = delivery;
        !self.keys.contains(key) && self.until.get(author).is_none_or(|until| ts > until)
    }

    /// Remembers a message, and says what else is over from now on. `now`: Unix milliseconds.
    pub(super) fn insert(&mut self, delivery: DeliveryRecord, now: u64) -> Vec<Action> {
        self.keys.insert(delivery.key);
        self.order.push_back(delivery);
        self.shrink(now)
    }

    fn shrink(&mut self, now: u64) -> Vec<Action> {
        let mut over = Vec::new();
        while self.order.len() > self.max
            && let Some(DeliveryRecord { key, author, ts }) = self.order.pop_front()
        {
            self.keys.remove(&key);
            if self.until.len() >= self.max && !self.until.contains_key(&author) {
                let longest_ago = self.until.iter().min_by_key(|(_, until)| **until);
                if let Some(author) = longest_ago.map(|(author, _)| author.clone()) {
                    self.until.remove(&author);
                    over.push(Action::Persist(Record::ForgetAuthor(author)));
                }
            }
            // A server that lied about a user's time must not silence that user for ever.
            let until = ts.min(now).max(self.until.get(&author).copied().unwrap_or_default());
            self.until.insert(author.clone(), until);
            over.push(Action::Persist(Record::DeliveredUntil { author, until, key }));
        }
        over
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(author: &str, number: u8, ts: u64) -> DeliveryRecord {
        DeliveryRecord { key: [number; 32], author: author.parse().expect("an id"), ts }
    }

    #[test]
    fn whoever_floods_makes_nobody_elses_message_new_again() {
        let mut delivered = Delivered::new(4);
        let alices = delivery("alice", 1, 100);
        assert!(delivered.is_new(&alices));
        delivered.insert(alices.clone(), 1_000);
        let mut over = Vec::new();
        for number in 2..10 {
            over.extend(delivered.insert(delivery("mallory", number, 1_000), 1_000));
        }
        assert_eq!(delivered.len(), 4);
        assert!(!delivered.is_new(&alices), "forgotten, and no news");
        assert!(!delivered.is_new(&delivery("alice", 50, 99)), "nor is what is older");
        assert!(delivered.is_new(&delivery("alice", 50, 101)));
        // The same after a restart.
        let until = over.into_iter().filter_map(|action| match action {
            Action::Persist(Record::DeliveredUntil { author, until, .. }) => Some((author, until)),
            _ => None,
        });
        let until: Vec<_> = until.collect();
        let mut restarted = Delivered::new(4);
        restarted.restore(vec![delivery("mallory", 9, 1_000)], until);
        assert!(!restarted.is_new(&alices) && !restarted.is_new(&delivery("mallory", 9, 2_000)));
        assert!(restarted.is_new(&delivery("alice", 50, 101)));
    }

    #[test]
    fn a_time_from_the_future_silences_nobody_for_longer_than_until_now() {
        let mut delivered = Delivered::new(1);
        delivered.insert(delivery("alice", 1, u64::MAX), 1_000);
        delivered.insert(delivery("alice", 2, 1_000), 1_000);
        assert!(delivered.is_new(&delivery("alice", 3, 1_001)));
    }

    #[test]
    fn authors_that_are_remembered_are_bounded_too() {
        let mut delivered = Delivered::new(3);
        for number in 0..100 {
            delivered.insert(delivery(&format!("u{number}"), number, u64::from(number)), 1_000);
        }
        assert_eq!((delivered.len(), delivered.until.len()), (3, 3));
    }
}
