//! Received messages: opened a few at a time, shown once and in order (decisions §3, §6).

use std::collections::VecDeque;

use crate::Now;
use crate::crypto::{ContentInput, CryptoError, RSA_BYTES};
use crate::wire::{ErrorCode, Frame, Message, Timestamp, UserId};

use super::api::{Action, Doubt, MessageKind, Notice, Text};
use super::label::escape_detail;
use super::parts::{Place, ShownPart};
use super::sealed::{ContentCheck, Opened, SealedMessage, Unreadable};
use super::shown::{Memory, digest_before, message_digest};
use super::{Client, dropped};

/// Why a repeat is dropped.
const SHOWN_BEFORE: &str = "message was shown before";

/// Messages on their way to the screen, and what got there.
#[derive(Debug)]
pub(super) struct Inbox {
    pending: VecDeque<Pending>,
    /// The number of the first of `pending`; the others follow.
    first: u64,
    pub(super) memory: Memory,
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
    pub(super) fn new(memory: Memory) -> Self {
        Self { pending: VecDeque::new(), first: 0, memory }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
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
        let ciphertext = message.ciphertext.bytes();
        let digest = message_digest(&from, ciphertext);
        let before = digest_before(&from, ciphertext, message.content_sig.as_ref());
        if self.inbox.memory.is_known(&digest, &before) {
            return dropped(out, SHOWN_BEFORE, from.as_str());
        }
        if ciphertext.len() != RSA_BYTES {
            if self.inbox.memory.was_doubtful(&digest) {
                return dropped(out, SHOWN_BEFORE, from.as_str());
            }
            self.inbox.memory.remember_doubtful(digest, out);
            let label = self.directory.named(&from);
            let detail = format!("message of {label} is not one RSA block and cannot be decrypted").into();
            return out.push(Action::Notify(Notice::Failed {
                reference: None,
                code: ErrorCode::UnknownType,
                detail,
            }));
        }
        if self.inbox.pending.len() >= self.config.limits.received_messages {
            return dropped(out, "too many messages at once", from.as_str());
        }
        let ts = message.ts.or(message.original_ts).or(frame.ts());
        let check = self.content_check(kind, &from, ts, message);
        if check.is_err() && self.inbox.memory.was_doubtful(&digest) {
            return dropped(out, SHOWN_BEFORE, from.as_str());
        }
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
        // The pin may have changed while the message was at the border.
        let verified = opened.verified.and_then(|key| match self.key_of(&from) {
            Some(pin) if pin.id() == key => Ok(()),
            Some(_) | None => Err(Doubt::OtherKey),
        });
        let memory = &mut self.inbox.memory;
        let repeated = match verified {
            Ok(()) => memory.was_shown(&from, ts, &digest),
            Err(_) => memory.was_doubtful(&digest),
        };
        if repeated {
            return dropped(out, SHOWN_BEFORE, from.as_str());
        }
        let lasts = match opened.text {
            Ok(_) | Err(Unreadable::NotText | Unreadable::Crypto(CryptoError::Undecryptable)) => true,
            // Another time the provider may not fail.
            Err(Unreadable::Crypto(_)) => false,
        };
        match (verified, &place, &opened.text) {
            // It is remembered with the text that it is a part of.
            (Ok(()), Some(_), Ok(_)) => {}
            (Ok(()), _, _) if lasts => memory.remember(&from, ts, digest, out),
            // A twin whose time a relay has altered must not shadow the real one.
            (Err(_), _, _) if lasts => memory.remember_doubtful(digest, out),
            (_, _, _) => {}
        }
        let text = match opened.text {
            Ok(text) => Text::from(text),
            Err(why) => return self.tell_unreadable(&from, why, verified.is_ok(), out),
        };
        match (verified, place) {
            (Ok(()), Some(place)) => {
                self.show_part(place, ShownPart { text, ts, digest }, opened.whole, out);
            }
            (verified, _) => self.notify_message(kind, &from, text, verified, ts, out),
        }
    }

    fn tell_unreadable(&self, from: &UserId, why: Unreadable, verified: bool, out: &mut Vec<Action>) {
        let label = self.directory.named(from);
        // Its author has signed it, and may not have known yet.
        let ours_before = why == Unreadable::Crypto(CryptoError::Undecryptable)
            && verified
            && !self.config.rotations.is_empty();
        let detail = match ours_before {
            true => format!(
                "message of {label}: not sealed for your key, perhaps for your previous one; ask for it again"
            ),
            false => format!("message of {label}: {why}"),
        };
        let (code, detail) = (ErrorCode::InvalidSig, detail.into());
        out.push(Action::Notify(Notice::Failed { reference: None, code, detail }));
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

/// A mistake or failure of ours that no code of the standard fits.
pub(super) fn own_code(code: &str) -> ErrorCode {
    ErrorCode::Other(code.into())
}

/// For notices about text that has no better place.
pub(super) fn failed(out: &mut Vec<Action>, reference: Option<u64>, code: ErrorCode, detail: &str) {
    out.push(Action::Notify(Notice::Failed { reference, code, detail: escape_detail(detail) }));
}
