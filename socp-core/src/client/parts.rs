//! Long texts that come in parts (decisions §6): joined into one message, which is shown once its last part proves that
//! they belong together. What does not is shown part by part, and what stays incomplete is shown as that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Now;
use crate::crypto::RSA_BYTES;
use crate::wire::{Binary, Message, PublicKey, Timestamp, UserId};

use super::Client;
use super::api::{Action, Doubt, MessageKind, Text};
use super::sealed::PartsCheck;

/// Longest id of a long text that is read, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Between parts where some are missing.
const GAP: &str = " […] ";

/// Which long text: of whom, and under which id.
pub(super) type LongId = (MessageKind, UserId, Box<str>);

/// The place of a message in a long text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: LongId,
    index: usize,
    total: usize,
}

/// Long texts that are not complete.
#[derive(Debug, Default)]
pub(super) struct Parts {
    texts: BTreeMap<LongId, LongText>,
}

#[derive(Debug)]
struct LongText {
    /// Until when the next part must have come.
    until: Duration,
    parts: Vec<Slot>,
    /// Whether the last part's signature over all of them holds.
    proven: bool,
}

#[derive(Debug, Default)]
struct Slot {
    /// The signature of the part that came last in this place.
    signature: Option<Binary>,
    /// The part itself, once it was opened and its author proven.
    part: Option<ShownPart>,
}

/// A part that could be shown.
#[derive(Clone, Debug)]
pub(super) struct ShownPart {
    pub(super) text: Text,
    pub(super) ts: Timestamp,
    pub(super) digest: [u8; 32],
}

/// What is to be shown now.
enum Ready {
    /// One message.
    Whole(Vec<ShownPart>),
    /// Messages, one after the other.
    Singly(Vec<ShownPart>),
}

impl Parts {
    /// How many are not complete.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.texts.values().map(|long| long.until).min()
    }
}

impl LongText {
    fn ready(&self) -> Option<Ready> {
        let all: Option<Vec<_>> = self.parts.iter().map(|slot| slot.part.clone()).collect();
        Some(if self.proven { Ready::Whole(all?) } else { Ready::Singly(all?) })
    }
}

impl Client {
    /// The place that a message claims in a long text, if it can be one.
    pub(super) fn place_of(&self, kind: MessageKind, from: &UserId, message: &Message) -> Option<Place> {
        let part = message.part.as_ref()?;
        let (index, total) = (usize::try_from(part.index).ok()?, usize::try_from(part.total).ok()?);
        let possible = (2..=self.config.limits.text_parts).contains(&total)
            && index < total
            && part.id.len() <= MAX_ID_BYTES;
        possible.then(|| Place { id: (kind, from.clone(), part.id.clone()), index, total })
    }

    /// A part has arrived, sealed. With the last one: what its signature over all of them must be checked
    /// with. They come in order, so all are there.
    pub(super) fn on_part(
        &mut self,
        now: Now,
        place: &Place,
        key: Option<&PublicKey>,
        message: &Message,
        out: &mut Vec<Action>,
    ) -> Option<PartsCheck> {
        let until = now.instant.saturating_add(self.config.timing.parts);
        if !self.parts.texts.contains_key(&place.id) {
            self.make_room(out);
        }
        let long = self.parts.texts.entry(place.id.clone()).or_insert_with(|| LongText {
            until,
            parts: Vec::new(),
            proven: false,
        });
        long.until = until;
        if long.parts.is_empty() {
            long.parts.resize_with(place.total, Slot::default);
        }
        // Parts of one text that disagree about how many there are belong to no text.
        let slot = long.parts.get_mut(place.index)?;
        slot.signature = message.content_sig.clone();
        if place.index + 1 != place.total || long.parts.len() != place.total {
            return None;
        }
        let signature = message.parts_sig.clone().filter(|sig| sig.bytes().len() == RSA_BYTES)?;
        let mut signed = Vec::new();
        for slot in &long.parts {
            signed.extend_from_slice(slot.signature.as_ref()?.bytes());
        }
        Some(PartsCheck { key: key?.clone(), message: signed, signature })
    }

    /// A part was opened and is its author's. `proven`: it is the last one and its signature over all holds.
    pub(super) fn show_part(&mut self, place: Place, part: ShownPart, proven: bool, out: &mut Vec<Action>) {
        let long = self.parts.texts.get_mut(&place.id).filter(|long| long.parts.len() == place.total);
        let Some(long) = long else {
            // It was given up in the meantime, or fits no other part.
            return self.show_singly(&place.id, vec![part], out);
        };
        long.proven |= proven;
        if let Some(slot) = long.parts.get_mut(place.index) {
            slot.part = Some(part);
        }
        let Some(ready) = long.ready() else { return };
        self.parts.texts.remove(&place.id);
        match ready {
            Ready::Whole(parts) => {
                let text = parts.iter().map(|part| part.text.as_str()).collect();
                self.show_text(&place.id, &parts, text, Ok(()), out);
            }
            Ready::Singly(parts) => self.show_singly(&place.id, parts, out),
        }
    }

    fn show_singly(&mut self, id: &LongId, parts: Vec<ShownPart>, out: &mut Vec<Action>) {
        for part in parts {
            let text = part.text.as_str().to_owned();
            self.show_text(id, &[part], text, Ok(()), out);
        }
    }

    /// What stays incomplete is shown as far as it came.
    fn give_up(&mut self, id: &LongId, out: &mut Vec<Action>) {
        let Some(long) = self.parts.texts.remove(id) else { return };
        let mut text = String::new();
        let mut missing = false;
        for slot in &long.parts {
            match &slot.part {
                Some(part) => text.push_str(part.text.as_str()),
                // One gap for all that are missing in a row.
                None if missing => {}
                None => text.push_str(GAP),
            }
            missing = slot.part.is_none();
        }
        let parts: Vec<_> = long.parts.into_iter().filter_map(|slot| slot.part).collect();
        self.show_text(id, &parts, text.trim().to_owned(), Err(Doubt::PartsMissing), out);
    }

    /// One message made of these parts, none of which will be shown again.
    fn show_text(
        &mut self,
        (kind, from, _): &LongId,
        parts: &[ShownPart],
        text: String,
        verified: Result<(), Doubt>,
        out: &mut Vec<Action>,
    ) {
        let Some(first) = parts.first() else { return };
        for part in parts {
            self.inbox.memory.remember(from, part.ts, part.digest, out);
        }
        self.notify_message(*kind, from, text.into(), verified, first.ts, out);
    }

    /// The text that waits longest goes first.
    fn make_room(&mut self, out: &mut Vec<Action>) {
        while self.parts.texts.len() >= self.config.limits.long_texts.max(1) {
            let oldest = self.parts.texts.iter().min_by_key(|(_, long)| long.until);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.give_up(&id, out);
        }
    }

    pub(super) fn on_parts_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let due = self.parts.texts.iter().filter(|(_, long)| long.until <= now.instant);
        for id in due.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.give_up(&id, out);
        }
    }

    /// Nothing more will come.
    pub(super) fn give_up_parts(&mut self, out: &mut Vec<Action>) {
        for id in self.parts.texts.keys().cloned().collect::<Vec<_>>() {
            self.give_up(&id, out);
        }
    }
}
