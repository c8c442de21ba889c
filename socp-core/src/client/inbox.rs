//! Received messages: opened a few at a time, shown once and in order (decisions §3, §6).

use std::collections::{BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

use crate::Now;
use crate::crypto::{ContentInput, CryptoError, RSA_BYTES};
use crate::wire::{Binary, ErrorCode, Frame, Message, Timestamp, UserId};

use super::api::{Action, Doubt, MessageKind, Notice, Text};
use super::label::escape_detail;
use super::parts::{Place, ShownPart};
use super::records::Record;
use super::sealed::{ContentCheck, Opened, SealedMessage, Unreadable};
use super::{Client, dropped};

/// Messages on their way to the screen, and digests of those that got there.
#[derive(Debug)]
pub(super) struct Inbox {
    pending: VecDeque<Pending>,
    /// The number of the first of `pending`; the others follow.
    first: u64,
    shown: Shown,
    /// Messages shown as not verified, for this run. Apart from the others: anybody can send those, and
    /// enough of them would make us forget what was verified.
    doubtful: Shown,
}

/// Digests of messages, bounded: the oldest go first.
#[derive(Debug, Default)]
struct Shown {
    digests: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Shown {
    fn contains(&self, digest: &[u8; 32]) -> bool {
        self.digests.contains(digest)
    }

    fn remember(&mut self, digest: [u8; 32], max: usize) {
        if self.digests.insert(digest) {
            self.order.push_back(digest);
        }
        while self.order.len() > max {
            if let Some(oldest) = self.order.pop_front() {
                self.digests.remove(&oldest);
            }
        }
    }
}

#[derive(Debug)]
struct Pending {
    arrived: Arrived,
    state: State,
}

/// A message as it arrived.
#[derive(Debug)]
struct Arrived {
    kind: MessageKind,
    from: UserId,
    ts: Timestamp,
    digest: [u8; 32],
    /// Its place in a long text.
    place: Option<Place>,
}

#[derive(Debug)]
enum State {
    Waiting(SealedMessage),
    Opening,
    Done(Opened),
}

impl Inbox {
    pub(super) fn new(shown: Vec<[u8; 32]>, max_shown: usize) -> Self {
        let mut remembered = Shown::default();
        for digest in shown {
            remembered.remember(digest, max_shown);
        }
        Self { pending: VecDeque::new(), first: 0, shown: remembered, doubtful: Shown::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether what is proven to be somebody's was not shown yet.
    pub(super) fn is_new(&self, digest: [u8; 32]) -> bool {
        !self.shown.contains(&digest)
    }

    /// Its repeats will be dropped, across restarts.
    pub(super) fn remember_shown(&mut self, digest: [u8; 32], max: usize, out: &mut Vec<Action>) {
        self.shown.remember(digest, max);
        out.push(Action::Persist(Record::Shown(digest)));
    }

    #[cfg(test)]
    pub(super) fn shown_len(&self) -> usize {
        self.shown.digests.len()
    }
}

impl Client {
    /// USER_DELIVER (§9.2), or a MSG_PUBLIC_CHANNEL (§9.3) on our one ciphertext of it.
    pub(super) fn on_message(
        &mut self,
        now: Now,
        kind: MessageKind,
        frame: &Frame,
        message: &Message,
        out: &mut Vec<Action>,
    ) {
        let author = frame.from().filter(|_| kind == MessageKind::Public && !self.is_from_server(frame));
        let from = match (&message.sender, author) {
            (Some(sender), Some(author)) if sender.id() != author => {
                return dropped(out, "message in another name than its frame's", sender.as_str());
            }
            (Some(sender), _) => sender.clone(),
            (None, Some(author)) => UserId::from(author.clone()),
            (None, None) => return dropped(out, "message names no sender", ""),
        };
        if message.ciphertext.bytes().len() != RSA_BYTES {
            let label = self.directory.named(&from);
            let detail = format!("message of {label} is not one RSA block and cannot be decrypted").into();
            return out.push(Action::Notify(Notice::Failed {
                reference: None,
                code: ErrorCode::UnknownType,
                detail,
            }));
        }
        let digest = shown_digest(&from, message.ciphertext.bytes(), message.content_sig.as_ref());
        if self.inbox.shown.contains(&digest) {
            return dropped(out, "message was shown before", from.as_str());
        }
        if self.inbox.pending.len() >= self.config.limits.received_messages {
            return dropped(out, "too many messages at once", from.as_str());
        }
        let ts = message.ts.or(message.original_ts).or(frame.ts());
        let check = self.content_check(kind, &from, ts, message);
        // What is not its author's is part of nothing.
        let place = self.place_of(kind, &from, message).filter(|_| check.is_ok());
        let key = check.as_ref().ok().map(|check| &check.key);
        let parts = place.as_ref().and_then(|place| self.on_part(now, place, key, message, out));
        let id = self.inbox.first + self.inbox.pending.len() as u64;
        let sealed = SealedMessage { id, ciphertext: message.ciphertext.clone(), check, parts };
        let ts = ts.unwrap_or(Timestamp(now.unix_ms));
        let arrived = Arrived { kind, from, ts, digest, place };
        self.inbox.pending.push_back(Pending { arrived, state: State::Waiting(sealed) });
    }

    /// What must hold for a message to be its sender's, or why nothing can.
    fn content_check(
        &self,
        kind: MessageKind,
        from: &UserId,
        ts: Option<Timestamp>,
        message: &Message,
    ) -> Result<ContentCheck, Doubt> {
        let key = self.key_of(from).ok_or(Doubt::UnknownSender)?.clone();
        let signature = message.content_sig.clone().filter(|sig| sig.bytes().len() == RSA_BYTES);
        let signature = signature.ok_or(Doubt::NoSignature)?;
        let ts = ts.ok_or(Doubt::NoTime)?;
        if message.sender_pub.as_ref().is_some_and(|hint| hint.key() != Ok(&key)) {
            return Err(Doubt::OtherKey);
        }
        let to = match kind {
            MessageKind::Direct => Some(self.config.user_id.id().clone()),
            MessageKind::Public => None,
        };
        let input = ContentInput { ciphertext: message.ciphertext.clone(), from: from.id().clone(), to, ts };
        Ok(ContentCheck { key, input, signature })
    }

    /// Keeps the border busy with the oldest messages.
    pub(super) fn open_messages(&mut self, out: &mut Vec<Action>) {
        for pending in self.inbox.pending.iter_mut().take(self.config.limits.opens_in_flight.max(1)) {
            pending.state = match std::mem::replace(&mut pending.state, State::Opening) {
                State::Waiting(sealed) => {
                    out.push(Action::Open(sealed));
                    State::Opening
                }
                State::Opening => State::Opening,
                State::Done(opened) => State::Done(opened),
            };
        }
    }

    pub(super) fn on_opened(&mut self, opened: Opened, out: &mut Vec<Action>) {
        let at = opened.id.checked_sub(self.inbox.first).and_then(|at| usize::try_from(at).ok());
        let Some(pending) = at.and_then(|at| self.inbox.pending.get_mut(at)) else { return };
        match pending.state {
            State::Opening => pending.state = State::Done(opened),
            State::Waiting(_) | State::Done(_) => return,
        }
        while let Some(Pending { arrived, state }) = self.inbox.pending.pop_front() {
            match state {
                State::Done(opened) => {
                    self.inbox.first += 1;
                    self.show(arrived, opened, out);
                }
                State::Waiting(_) | State::Opening => {
                    self.inbox.pending.push_front(Pending { arrived, state });
                    break;
                }
            }
        }
    }

    fn show(&mut self, arrived: Arrived, opened: Opened, out: &mut Vec<Action>) {
        let Arrived { kind, from, ts, digest, place } = arrived;
        let label = self.directory.named(&from);
        let text = match opened.text {
            Ok(text) => Text::from(text),
            Err(why) => {
                // Its author has signed it, and may not have known yet.
                let ours_before = why == Unreadable::Crypto(CryptoError::Undecryptable)
                    && opened.verified.is_ok()
                    && !self.config.rotations.is_empty();
                let detail = match ours_before {
                    true => format!(
                        "message of {label}: not sealed for your key, perhaps for your previous one; ask for it again"
                    ),
                    false => format!("message of {label}: {why}"),
                };
                let detail = detail.into();
                return out.push(Action::Notify(Notice::Failed {
                    reference: None,
                    code: ErrorCode::InvalidSig,
                    detail,
                }));
            }
        };
        // The pin may have changed while the message was at the border.
        let verified = opened.verified.and_then(|key| match self.key_of(&from) {
            Some(pin) if pin.id() == key => Ok(()),
            Some(_) | None => Err(Doubt::OtherKey),
        });
        let before = self.inbox.shown.contains(&digest);
        if before || (verified.is_err() && self.inbox.doubtful.contains(&digest)) {
            return dropped(out, "message was shown before", from.as_str());
        }
        let max = self.config.limits.shown;
        match (verified, place) {
            (Ok(()), Some(place)) => {
                return self.show_part(place, ShownPart { text, ts, digest }, opened.whole, out);
            }
            (Ok(()), None) => self.inbox.remember_shown(digest, max, out),
            // A twin whose time a relay has altered must not shadow the real one.
            (Err(_), _) => self.inbox.doubtful.remember(digest, max),
        }
        self.notify_message(kind, &from, text, verified, ts, out);
    }

    pub(super) fn notify_message(
        &self,
        kind: MessageKind,
        from: &UserId,
        text: Text,
        verified: Result<(), Doubt>,
        ts: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let (from, label) = (from.clone(), self.directory.label(from));
        out.push(Action::Notify(Notice::Message { kind, from, label, text, verified, ts }));
    }
}

/// What makes two messages or offers the same, whatever the envelope says.
pub(super) fn shown_digest(from: &UserId, content: &[u8], signature: Option<&Binary>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [from.as_str().as_bytes(), content, signature.map_or(&[][..], |sig| sig.bytes())] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A mistake or failure of ours that no code of the standard fits.
pub(super) fn own_code(code: &str) -> ErrorCode {
    ErrorCode::Other(code.into())
}

/// For notices about text that has no better place.
pub(super) fn failed(out: &mut Vec<Action>, reference: Option<u64>, code: ErrorCode, detail: &str) {
    out.push(Action::Notify(Notice::Failed { reference, code, detail: escape_detail(detail) }));
}
