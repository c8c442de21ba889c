//! Messages that reached users here (decisions §3): a repeat is known for one whatever its `ts`, on whichever link it
//! comes, and after a restart.

use super::Server;
use super::api::{Action, DeliveryRecord, Record};
use super::seen::delivery_key;
use crate::repeats::Repeats;
use crate::wire::{Message, Timestamp, UserId};

/// What survived, of at most `max` messages.
pub(super) fn restored(
    max: usize,
    delivered: Vec<DeliveryRecord>,
    until: Vec<(UserId, Timestamp)>,
) -> Repeats {
    let mut repeats = Repeats::new(max, until);
    for DeliveryRecord { author, ts, key } in delivered {
        // With a smaller bound than last time, it is forgotten again at each start: the store keeps it.
        repeats.remember(&author, ts, key);
    }
    repeats
}

impl Server {
    /// Whether a message is news to its recipient; `*` is the whole channel. What came from elsewhere can be brought again
    /// by anybody who read along: that is stored.
    pub(super) fn is_new_delivery(
        &mut self,
        recipient: &str,
        author: &UserId,
        ts: Option<Timestamp>,
        message: &Message,
    ) -> bool {
        let sig = message.content_sig.as_ref().map(|sig| sig.bytes()).unwrap_or_default();
        let key = delivery_key(recipient, author.as_str(), message.ciphertext.bytes(), sig);
        let now = Timestamp(self.now.unix_ms);
        let ts = ts.unwrap_or(now);
        // Who is here sends for itself: only what is the same is a repeat, however far back the clock is.
        let is_here = self.local.contains_key(author);
        let over = match is_here {
            true => self.delivered.contains(&key),
            false => self.delivered.is_over(author, ts, &key),
        };
        if over {
            self.dropped("repeated delivery", format!("{author} to {recipient}"));
            return false;
        }
        // What a server said of a user's time, who has left it since, must not silence that user for ever.
        let ts = ts.min(now);
        if !is_here {
            let record = DeliveryRecord { author: author.clone(), ts, key };
            self.out.push(Action::Persist(Record::Delivered(record)));
        }
        for (author, until) in self.delivered.remember(author, ts, key) {
            self.out.push(Action::Persist(Record::DeliveredUntil { author, until }));
        }
        for author in self.delivered.shrink_floors(self.config.limits.seen_entries) {
            self.out.push(Action::Persist(Record::ForgetAuthor(author)));
        }
        true
    }
}
