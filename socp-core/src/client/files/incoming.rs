//! Files that others send us.

use std::path::PathBuf;
use std::time::Duration;

use crate::Now;
use crate::crypto::{Purpose, RSA_BYTES, Verified};
use crate::wire::{AckStatus, ErrorCode, FileChunk, FileEnd, FileStart, Frame, FrameType, UserId};

use super::super::api::{Action, Doubt, Notice};
use super::super::inbox::failed;
use super::super::label::{escape_detail, escape_label, quote_label};
use super::super::limits::{Limits, Timing};
use super::super::shown::{digest_before, offer_digest, unproven_offer_digest};
use super::super::{Client, dropped};
use super::api::{Expected, FileAction, FileNotice, OfferPolicy, TransferId};
use super::meter::Meter;
use super::outgoing::PAUSE;
use super::{own_code, safe_file_name};

/// Smallest block that any implementation sends, in bytes, but for the last of a file: so many chunks a file may
/// have.
const SMALLEST_BLOCK: u64 = 128;

/// Offers of one sender that are refused within [`PAUSE`] without asking anybody, at most: each refusal
/// costs us a signature. Who pauses after a refusal causes half as many ([`Limits::files_out_per_user`]).
const REFUSALS_PER_USER: usize = 16;

/// The same of all senders together: a tenth of a core's signatures.
const REFUSALS: usize = 64;

/// A file that somebody offers or sends.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) from: UserId,
    /// Whether that is but the server that it came by: it did not say whose the file is.
    pub(super) anonymous: bool,
    pub(super) file_id: Box<str>,
    /// Safe.
    pub(super) name: Box<str>,
    pub(super) size: u64,
    pub(super) accepted: bool,
    /// Chunks that came.
    received: u64,
    /// Chunks that are open, and their bytes.
    opened: u64,
    bytes: u64,
    /// Chunks below this index may come, by our last word.
    pub(super) credit: u64,
    /// When it moved last.
    moved: Duration,
    /// When it was accepted.
    started: Duration,
    meter: Meter,
}

impl Incoming {
    /// When it has failed, unless something happens.
    pub(super) fn deadline(&self, timing: &Timing) -> Duration {
        let patience = if self.accepted { timing.file_idle } else { timing.file_offer };
        self.moved.saturating_add(patience)
    }

    /// Bytes on disk that nobody has accepted.
    fn kept(&self) -> u64 {
        if self.accepted { 0 } else { self.received * RSA_BYTES as u64 }
    }
}

impl Client {
    /// FILE_START (§9.4).
    pub(in super::super) fn on_file_start(
        &mut self,
        now: Now,
        frame: &Verified,
        start: &FileStart,
        out: &mut Vec<Action>,
    ) {
        let Some(from) = author(frame.frame()) else { return };
        if self.incoming_of(&from, &start.file_id).is_some() {
            return dropped(out, "file was offered before", from.as_str());
        }
        let verified = self.check_manifest(frame, &from, start);
        let digest = offer_digest(&from, &start.file_id);
        let unproven = unproven_offer_digest(&from, start, start.ts.or(frame.frame().ts()));
        let before = digest_before(&from, start.file_id.as_bytes(), start.content_sig.as_ref());
        // What is proven binds its time.
        let ts = start.ts.unwrap_or_default();
        let memory = &self.inbox.memory;
        let repeated = match verified {
            Ok(()) => memory.is_known(&digest, &before) || memory.was_shown(&from, ts, &digest),
            Err(_) => memory.was_doubtful(&unproven) || memory.is_known(&digest, &before),
        };
        if repeated {
            return dropped(out, "file was offered before", from.as_str());
        }
        let sha256 = match hash_of(&start.sha256) {
            Some(sha256) if from != self.config.user_id => sha256,
            Some(_) | None => return dropped(out, "file that is none", from.as_str()),
        };
        let Limits { file_bytes, files_in, files_in_per_user, .. } = self.config.limits;
        let of_user = self.files.incoming.values().filter(|file| file.from == from).count();
        let name: Box<str> = safe_file_name(&start.name).into();
        let refusal = match self.config.files {
            OfferPolicy::Refuse => Some("takes no files".to_owned()),
            _ if start.size > file_bytes => Some(format!("takes at most {} MiB", file_bytes >> 20)),
            _ if self.files.incoming.len() >= files_in || of_user >= files_in_per_user => {
                Some("has too many offers already".to_owned())
            }
            OfferPolicy::Ask | OfferPolicy::Accept => None,
        };
        if let Some(why) = refusal {
            return self.refuse(now, &from, start, &name, &why, out);
        }
        match verified {
            Ok(()) => self.inbox.memory.remember(&from, ts, digest, out),
            Err(_) => self.inbox.memory.remember_doubtful(unproven, out),
        }
        let accepted = self.config.files == OfferPolicy::Accept && verified.is_ok();
        let id = self.files.new_transfer();
        let file = Incoming {
            from,
            anonymous: *frame.frame().kind() == FrameType::FileStartDeliver,
            file_id: start.file_id.clone(),
            name: name.clone(),
            size: start.size,
            accepted: false,
            received: 0,
            opened: 0,
            bytes: 0,
            credit: 0,
            moved: now.instant,
            started: now.instant,
            meter: Meter::new(now.instant),
        };
        self.files.incoming.insert(id, file);
        let expected = Expected { transfer: id, name, size: start.size, sha256 };
        out.push(Action::File(FileAction::Expect(expected)));
        if let Some(transfer) = self.transfer(id) {
            let to_all = &*start.mode == "public";
            let offered = FileNotice::Offered { transfer, to_all, verified, accepted };
            out.push(Action::Notify(Notice::File(offered)));
        }
        match accepted {
            true => self.begin(now, id, out),
            false => self.tell_other_end(now, id, AckStatus::Waiting, None, out),
        }
    }

    /// Whether a manifest is proven to be its sender's, for us.
    fn check_manifest(&self, frame: &Verified, from: &UserId, start: &FileStart) -> Result<(), Doubt> {
        let key = self.key_of(from).ok_or(Doubt::UnknownSender)?;
        let well_formed = start.content_sig.as_ref().is_some_and(|sig| sig.bytes().len() == RSA_BYTES);
        // A signature that does not bind sender, recipient and time counts as none (decisions §1).
        let binds = start.sender.as_ref() == Some(from)
            && start.to.as_deref() == Some(self.config.user_id.as_str())
            && start.ts.is_some();
        if !well_formed || !binds {
            Err(Doubt::NoSignature)
        } else if start.sender_pub.as_ref().is_some_and(|hint| hint.key() != Ok(key)) {
            Err(Doubt::OtherKey)
        } else if !frame.proven_by(Purpose::Content, key) {
            Err(Doubt::BadSignature)
        } else {
            Ok(())
        }
    }

    /// Refuses without asking anybody. Who offers more than any client of ours does learns nothing from silence.
    fn refuse(
        &mut self,
        now: Now,
        from: &UserId,
        start: &FileStart,
        name: &str,
        why: &str,
        out: &mut Vec<Action>,
    ) {
        let refused = &mut self.files.refused;
        while refused.front().is_some_and(|(at, _)| at.saturating_add(PAUSE) <= now.instant) {
            refused.pop_front();
        }
        let of_user = refused.iter().filter(|(_, user)| user == from).count();
        if refused.len() >= REFUSALS || of_user >= REFUSALS_PER_USER {
            return dropped(out, "file refused", from.as_str());
        }
        refused.push_back((now.instant, from.clone()));
        let file_id = start.file_id.clone();
        self.acknowledge(now, from, file_id, AckStatus::Refused, None, Some(why), out);
        let name = escape_label(name);
        let (name, who) = (quote_label(&name), self.directory.named(from));
        let detail = format!("{name} of {who} was refused: this client {why}");
        failed(out, None, own_code("REFUSED"), &detail);
    }

    pub(super) fn incoming_of(&self, from: &UserId, file_id: &str) -> Option<TransferId> {
        let mut incoming = self.files.incoming.iter();
        incoming.find(|(_, file)| file.from == *from && *file.file_id == *file_id).map(|(id, _)| *id)
    }

    pub(super) fn accept(&mut self, now: Now, reference: u64, id: TransferId, out: &mut Vec<Action>) {
        let Some(transfer) = self.transfer(id) else { return };
        out.push(Action::Notify(Notice::File(FileNotice::Accepted { reference, transfer })));
        self.begin(now, id, out);
    }

    fn begin(&mut self, now: Now, id: TransferId, out: &mut Vec<Action>) {
        let Some(file) = self.files.incoming.get_mut(&id) else { return };
        file.accepted = true;
        file.moved = now.instant;
        file.started = now.instant;
        file.meter = Meter::new(now.instant);
        out.push(Action::File(FileAction::Open(id)));
        self.grant(now, id, true, out);
    }

    /// Says how far the sender may go, once it makes enough of a difference: each such word costs a signature.
    fn grant(&mut self, now: Now, id: TransferId, first: bool, out: &mut Vec<Action>) {
        let Limits { file_window, file_windows, .. } = self.config.limits;
        let accepted = self.files.incoming.values().filter(|file| file.accepted).count().max(1) as u64;
        let window = (file_windows / accepted).clamp(1, file_window.max(1));
        let Some(file) = self.files.incoming.get_mut(&id) else { return };
        let credit = file.opened + window;
        if first || credit >= file.credit + window.div_ceil(4) {
            file.credit = credit.max(file.credit);
            self.tell_other_end(now, id, AckStatus::Ready, None, out);
        }
    }

    /// FILE_CHUNK (§9.4).
    pub(in super::super) fn on_file_chunk(
        &mut self,
        now: Now,
        frame: &Frame,
        chunk: &FileChunk,
        out: &mut Vec<Action>,
    ) {
        let Some(from) = author(frame) else { return };
        let Some(id) = self.incoming_of(&from, &chunk.file_id) else {
            return dropped(out, "chunk of no file", from.as_str());
        };
        let kept: u64 = self.files.incoming.values().map(Incoming::kept).sum();
        let Some(file) = self.files.incoming.get_mut(&id) else { return };
        let wrong = if chunk.index < file.received {
            return dropped(out, "chunk came before", from.as_str());
        } else if chunk.index > file.received {
            Some("a part of it is missing")
        } else if file.received > file.size / SMALLEST_BLOCK {
            Some("it is longer than announced")
        } else if chunk.ciphertext.bytes().len() != RSA_BYTES {
            Some("a part of it is not one RSA block and cannot be decrypted")
        } else if !file.accepted && kept >= self.config.limits.kept_bytes {
            Some("too much was sent before anybody accepted it")
        } else {
            None
        };
        if let Some(why) = wrong {
            let told = Some((AckStatus::Failed, why));
            return self.fail_incoming(now, id, own_code("FAILED"), why, told, out);
        }
        file.received += 1;
        if file.accepted {
            file.moved = now.instant;
        }
        let ciphertext = chunk.ciphertext.clone();
        out.push(Action::File(FileAction::Keep { transfer: id, ciphertext }));
    }

    /// FILE_END (§9.4).
    pub(in super::super) fn on_file_end(&mut self, frame: &Frame, end: &FileEnd, out: &mut Vec<Action>) {
        let Some(from) = author(frame) else { return };
        match self.incoming_of(&from, &end.file_id) {
            Some(id) => out.push(Action::File(FileAction::End(id))),
            // Complete already, most likely.
            None => dropped(out, "end of no file", from.as_str()),
        }
    }

    pub(super) fn on_chunks_opened(
        &mut self,
        now: Now,
        id: TransferId,
        chunks: u64,
        bytes: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(file) = self.files.incoming.get_mut(&id) else { return };
        file.opened += chunks;
        file.bytes += bytes;
        file.moved = now.instant;
        let done = file.bytes;
        let rate = file.meter.tick(now.instant, done, self.config.timing.progress);
        // The last words of all go with the file itself.
        let complete = done >= file.size;
        if let Some(rate) = rate {
            self.tell_progress(id, done, rate, out);
        }
        if !complete {
            self.grant(now, id, false, out);
        }
    }

    pub(super) fn on_file_saved(&mut self, now: Now, id: TransferId, path: PathBuf, out: &mut Vec<Action>) {
        self.tell_other_end(now, id, AckStatus::Done, None, out);
        let Some(transfer) = self.transfer(id) else { return };
        let Some(file) = self.files.incoming.remove(&id) else { return };
        let took = now.instant.saturating_sub(file.started);
        out.push(Action::Notify(Notice::File(FileNotice::Saved { transfer, path, took })));
    }

    /// Removes what there is of a file.
    pub(super) fn drop_incoming(&mut self, id: TransferId, out: &mut Vec<Action>) {
        if self.files.incoming.remove(&id).is_some() {
            out.push(Action::File(FileAction::Drop(id)));
        }
    }

    /// `told` is what the sender is to know of it.
    pub(super) fn fail_incoming(
        &mut self,
        now: Now,
        id: TransferId,
        code: ErrorCode,
        why: &str,
        told: Option<(AckStatus, &str)>,
        out: &mut Vec<Action>,
    ) {
        let Some(transfer) = self.transfer(id) else { return };
        if let Some((status, detail)) = told {
            self.tell_other_end(now, id, status, Some(detail), out);
        }
        self.drop_incoming(id, out);
        let detail = escape_detail(why);
        out.push(Action::Notify(Notice::File(FileNotice::Failed {
            reference: None,
            transfer,
            code,
            detail,
        })));
    }

    pub(super) fn on_incoming_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let timing = self.config.timing.clone();
        let due = |file: &Incoming| file.deadline(&timing) <= now.instant;
        let ids: Vec<_> =
            self.files.incoming.iter().filter(|(_, file)| due(file)).map(|(id, _)| *id).collect();
        for id in ids {
            let accepted = self.files.incoming.get(&id).is_some_and(|file| file.accepted);
            let (status, why) = match accepted {
                true => (AckStatus::Failed, "nothing more came"),
                false => (AckStatus::Expired, "nobody accepted it in time"),
            };
            self.fail_incoming(now, id, ErrorCode::Timeout, why, Some((status, why)), out);
        }
    }
}

/// Whose a relayed frame is.
fn author(frame: &Frame) -> Option<UserId> {
    let from = frame.from().cloned().map(UserId::from)?;
    frame.payload().named_sender().is_none_or(|sender| *sender == from).then_some(from)
}

/// 64 hex digits.
fn hash_of(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}
