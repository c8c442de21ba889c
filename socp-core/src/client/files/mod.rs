//! Files (§9.4, decisions §6). The machine decides who gets which chunk when; reading, writing and private-key
//! work are the driver's, and so is what a file system can do wrong.
//!
//! The standard knows no answer to FILE_START. Among natives there is one, ACK: the recipient's client says at
//! once that the offer has arrived, then, once the file is wanted, how many chunks may come, and in the end that
//! the hash was right. So no chunk is sent to somebody who has not accepted, and never more than the recipient
//! has room for: no queue on the way fills, and nobody is closed as a slow consumer for a file. Who does not
//! answer within some seconds is taken for a client of the standard and gets the chunks at a pace that every
//! implementation can follow. Towards us such clients send without being asked: what they send is kept
//! sealed on disk until somebody accepts it.
//!
//! Chunks of a file come in order, on every hop: one that was seen is ignored, a gap ends the transfer. So nobody
//! on the way need remember them.

mod api;
mod incoming;
mod meter;
mod name;
mod outgoing;
mod sealing;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::Now;
use crate::crypto::{Purpose, Verified};
use crate::wire::{Ack, AckStatus, ErrorCode, ErrorReport, FrameRef, FrameType, Payload, UserId};

use super::Client;
use super::api::{Action, Notice};
use super::inbox::{failed, own_code};
use super::label::{escape_detail, escape_label, quote_label};

pub use api::*;
pub use name::{safe_file_name, split_name};
pub use sealing::{ChunkRun, Offer};

use incoming::Incoming;
use outgoing::{Outgoing, Sending};

/// Files under way.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What the user wants sent.
    sending: BTreeMap<SourceId, Sending>,
    /// Each of that to each of its recipients.
    out: BTreeMap<TransferId, Outgoing>,
    incoming: BTreeMap<TransferId, Incoming>,
    next_source: u64,
    next_transfer: u64,
    /// Whose turn it was last.
    served: TransferId,
    /// Users online whose clients have acknowledged something, and when the next file may be offered to each: their
    /// silence is no client of the standard's.
    natives: BTreeMap<UserId, Duration>,
    /// Offers that were lately refused without asking anybody: when, and whose.
    refused: VecDeque<(Duration, UserId)>,
}

impl Files {
    /// Numbers start at 1: people type them.
    fn new_transfer(&mut self) -> TransferId {
        self.next_transfer += 1;
        TransferId(self.next_transfer)
    }

    /// Whether nothing is being sent.
    pub(super) fn is_idle(&self) -> bool {
        self.sending.is_empty()
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.sending.len(), self.out.len(), self.incoming.len()]
    }

    /// Users whose clients acknowledge, and refusals that are remembered.
    #[cfg(test)]
    pub(super) fn memories(&self) -> [usize; 2] {
        [self.natives.len(), self.refused.len()]
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> u64 {
        self.out.values().map(Outgoing::in_flight).sum()
    }
}

impl Client {
    /// Commands about transfers that there are; they need no session of their own.
    pub(super) fn on_file_decision(
        &mut self,
        now: Now,
        reference: u64,
        command: FileCommand,
        out: &mut Vec<Action>,
    ) {
        match command {
            // Waits its turn among the commands.
            FileCommand::Send { .. } => {}
            FileCommand::Accept(id) => match self.find_offer(id) {
                Ok(id) => self.accept(now, reference, id, out),
                Err(why) => failed(out, Some(reference), own_code("NO_FILE"), &why),
            },
            FileCommand::Reject(id) => match self.find_offer(id) {
                Ok(id) => self.stop_transfer(now, reference, id, AckStatus::Refused, out),
                Err(why) => failed(out, Some(reference), own_code("NO_FILE"), &why),
            },
            FileCommand::Cancel(id) => match self.find_transfer(id) {
                Ok(id) => self.stop_transfer(now, reference, id, AckStatus::Cancelled, out),
                Err(why) => failed(out, Some(reference), own_code("NO_FILE"), &why),
            },
        }
    }

    fn find_offer(&self, id: Option<TransferId>) -> Result<TransferId, String> {
        let waits = |file: &Incoming| !file.accepted;
        if let Some(id) = id {
            return match self.files.incoming.get(&id) {
                Some(file) if waits(file) => Ok(id),
                Some(_) => Err(format!("file {id} is accepted already")),
                None => Err(format!("nobody offers a file {id}")),
            };
        }
        let offers = self.files.incoming.iter().filter(|(_, file)| waits(file));
        self.the_only(offers.map(|(id, _)| *id).collect(), "no file waits to be accepted")
    }

    fn find_transfer(&self, id: Option<TransferId>) -> Result<TransferId, String> {
        if let Some(id) = id {
            let exists = self.transfer(id).is_some();
            return exists.then_some(id).ok_or_else(|| format!("there is no file {id}"));
        }
        // Of what goes to everybody, the first stands for all.
        let going = self.files.sending.keys().flat_map(|source| {
            let several = if self.goes_to_all(*source) { 1 } else { usize::MAX };
            self.transfers_of(*source).into_iter().take(several)
        });
        self.the_only(going.chain(self.files.incoming.keys().copied()).collect(), "no file is under way")
    }

    /// The only one there is.
    fn the_only(&self, all: Vec<TransferId>, none: &str) -> Result<TransferId, String> {
        match all.as_slice() {
            [] => Err(none.to_owned()),
            [only] => Ok(*only),
            [_, _, ..] => {
                let names = all.iter().filter_map(|id| self.transfer(*id)).map(|transfer| {
                    let Transfer { id, direction, label, name, .. } = transfer;
                    let (label, name) = (quote_label(&label), quote_label(&name));
                    match direction {
                        Direction::Out
                            if self.source_of(id).is_some_and(|source| self.goes_to_all(source)) =>
                        {
                            format!("{id} ({name} to all)")
                        }
                        Direction::Out => format!("{id} ({name} to {label})"),
                        Direction::In => format!("{id} ({name} of {label})"),
                    }
                });
                Err(format!("which one: {}?", names.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// A transfer as people see it.
    fn transfer(&self, id: TransferId) -> Option<Transfer> {
        let files = &self.files;
        let (direction, user_id, name, size) = if let Some(file) = files.incoming.get(&id) {
            (Direction::In, &file.from, &file.name, file.size)
        } else {
            let sending = files.sending.get(&self.source_of(id)?)?;
            let to = files.out.get(&id).map(|file| &file.to).or_else(|| sending.waits(id))?;
            (Direction::Out, to, &sending.name, sending.info.as_ref()?.size)
        };
        let label = match self.files.incoming.get(&id) {
            Some(Incoming { anonymous: true, .. }) => {
                format!("somebody at {}", escape_label(user_id.as_str())).into()
            }
            Some(_) | None => self.directory.label(user_id),
        };
        let name = escape_label(name).into();
        Some(Transfer { id, direction, user_id: user_id.clone(), label, name, size })
    }

    /// The user has decided: the other end is told.
    fn stop_transfer(
        &mut self,
        now: Now,
        reference: u64,
        id: TransferId,
        status: AckStatus,
        out: &mut Vec<Action>,
    ) {
        let Some(transfer) = self.transfer(id) else { return };
        let ids = match self.source_of(id) {
            Some(source) if self.goes_to_all(source) => self.transfers_of(source),
            Some(_) | None => vec![id],
        };
        let others = ids.iter().copied().filter(|other| *other != id).collect();
        out.push(Action::Notify(Notice::File(FileNotice::Stopped { reference, transfer, others })));
        for id in ids {
            self.tell_other_end(now, id, status, None, out);
            match self.source_of(id) {
                Some(source) => self.stop_sending(source, id, out),
                None => self.drop_incoming(id, out),
            }
        }
    }

    /// ACK ✚ about a transfer, if there is a session.
    fn tell_other_end(
        &mut self,
        now: Now,
        id: TransferId,
        status: AckStatus,
        detail: Option<&str>,
        out: &mut Vec<Action>,
    ) {
        let (to, file_id, credit) = match (self.files.out.get(&id), self.files.incoming.get(&id)) {
            (Some(file), _) => (file.to.clone(), file.file_id.clone(), None),
            (None, Some(file)) => {
                let credit = (status == AckStatus::Ready).then_some(file.credit);
                (file.from.clone(), file.file_id.clone(), credit)
            }
            (None, None) => return,
        };
        self.acknowledge(now, &to, file_id, status, credit, detail, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    fn acknowledge(
        &mut self,
        now: Now,
        to: &UserId,
        file_id: Box<str>,
        status: AckStatus,
        credit: Option<u64>,
        detail: Option<&str>,
        out: &mut Vec<Action>,
    ) {
        if !self.is_ready() {
            return;
        }
        let ts = self.clock.next(now);
        let ack = Ack {
            msg_ref: file_id,
            to: Some(to.as_str().into()),
            sender: Some(self.config.user_id.clone()),
            ts: Some(ts),
            status: Some(status),
            credit,
            detail: detail.map(Into::into),
        };
        self.send_to_user(to, ts, &Payload::Ack(ack), out);
    }

    /// ACK of another user's client, signed with the key that is pinned to it.
    pub(super) fn on_ack(&mut self, now: Now, frame: &Verified, ack: &Ack, out: &mut Vec<Action>) {
        let Some(from) = frame.frame().from().cloned().map(UserId::from) else { return };
        let proven = self.key_of(&from).is_some_and(|key| frame.proven_by(Purpose::Transport, key));
        // The envelope is not signed: only the payload says who acknowledges what to whom.
        let meant =
            ack.sender.as_ref() == Some(&from) && ack.to.as_deref() == Some(self.config.user_id.as_str());
        let (true, true, Some(status)) = (proven, meant, ack.status) else {
            return super::dropped(out, "acknowledgement that proves nothing", from.as_str());
        };
        if self.directory.is_online(&from) {
            self.files.natives.entry(from.clone()).or_default();
            for file in self.files.out.values_mut().filter(|file| file.to == from) {
                file.native = true;
            }
        }
        let why = ack.detail.as_deref().unwrap_or_default();
        let mut outgoing = self.files.out.iter();
        let sent = outgoing.find(|(_, file)| file.file_id == ack.msg_ref && file.to == from);
        if let Some(id) = sent.map(|(id, _)| *id) {
            return self.on_answer(now, id, status, ack.credit, why, out);
        }
        match (status, self.incoming_of(&from, &ack.msg_ref)) {
            (AckStatus::Cancelled | AckStatus::Failed, Some(id)) => {
                let label = self.directory.label(&from);
                let did =
                    if status == AckStatus::Cancelled { "has cancelled it" } else { "could not send it" };
                let why = with_reason(&label, did, why);
                self.fail_incoming(now, id, own_code("CANCELLED"), &why, None, out);
            }
            (_, _) => super::dropped(out, "acknowledgement of nothing", from.as_str()),
        }
    }

    /// An ERROR about a frame of a file. Whether it was one.
    pub(super) fn on_file_refused(&mut self, now: Now, report: &ErrorReport, out: &mut Vec<Action>) -> bool {
        let Some(FrameRef { kind, to: Some(to), ts }) = &report.reference else { return false };
        let starts = match FrameType::parse(kind) {
            FrameType::FileStart => true,
            FrameType::FileChunk | FrameType::FileEnd | FrameType::Ack => false,
            _ => return false,
        };
        let detail = escape_detail(&report.detail);
        // Who cannot be reached with one frame cannot be with another; of two offers one may have been too much.
        let meant = |file: &Outgoing| file.to.as_str() == &**to && (!starts || Some(file.ts) == *ts);
        let ids: Vec<_> = self.files.out.iter().filter(|(_, file)| meant(file)).map(|(id, _)| *id).collect();
        for id in ids {
            self.end_outgoing(now, id, Err((report.code.clone(), detail.clone())), out);
        }
        let from = |file: &Incoming| !starts && file.accepted && file.from.as_str() == &**to;
        let ids: Vec<_> =
            self.files.incoming.iter().filter(|(_, file)| from(file)).map(|(id, _)| *id).collect();
        for id in ids {
            self.fail_incoming(now, id, report.code.clone(), &detail, None, out);
        }
        true
    }

    /// The other end has gone: its files go with it.
    pub(super) fn on_other_end_gone(&mut self, now: Now, user: &UserId, label: &str, out: &mut Vec<Action>) {
        let why = format!("{} has gone", quote_label(label));
        // Who comes back may do so with another program.
        self.files.natives.remove(user);
        let ids: Vec<_> =
            self.files.out.iter().filter(|(_, file)| file.to == *user).map(|(id, _)| *id).collect();
        for id in ids {
            self.end_outgoing(now, id, Err((ErrorCode::UserNotFound, why.as_str().into())), out);
        }
        let ids: Vec<_> =
            self.files.incoming.iter().filter(|(_, file)| file.from == *user).map(|(id, _)| *id).collect();
        for id in ids {
            self.fail_incoming(now, id, ErrorCode::UserNotFound, &why, None, out);
        }
    }

    /// The session has ended, and with it all that was under way: the others were told that we have gone. What is not
    /// offered yet waits for the next one.
    pub(super) fn on_files_cut_off(&mut self, now: Now, why: &str, out: &mut Vec<Action>) {
        self.files.natives.clear();
        for id in self.files.out.keys().copied().collect::<Vec<_>>() {
            self.end_outgoing(now, id, Err((ErrorCode::Timeout, why.into())), out);
        }
        for id in self.files.incoming.keys().copied().collect::<Vec<_>>() {
            self.fail_incoming(now, id, ErrorCode::Timeout, why, None, out);
        }
    }

    /// We leave: whoever is at the other end of a transfer is told.
    pub(super) fn cancel_files(&mut self, now: Now, out: &mut Vec<Action>) {
        let all = self.files.out.keys().chain(self.files.incoming.keys());
        for id in all.copied().collect::<Vec<_>>() {
            self.tell_other_end(now, id, AckStatus::Cancelled, Some("leaves"), out);
        }
    }

    /// Nothing more is sent or received.
    pub(super) fn fail_files(&mut self, why: &str, out: &mut Vec<Action>) {
        let now = Now { instant: self.clock.instant, unix_ms: 0 };
        for sending in self.files.sending.values_mut() {
            let why = format!("{}: {why}", quote_label(&escape_label(&sending.name)));
            sending.give_up(ErrorCode::Timeout, &why);
        }
        self.on_files_cut_off(now, why, out);
        for source in self.files.sending.keys().copied().collect::<Vec<_>>() {
            self.finish_sending(source, out);
        }
    }

    pub(super) fn on_file_event(&mut self, now: Now, event: FileEvent, out: &mut Vec<Action>) {
        match event {
            FileEvent::Read { source, result } => self.on_file_read(source, result, out),
            FileEvent::OfferWritten(id) => self.on_offer_written(now, id, out),
            FileEvent::Written { transfer, chunks } => self.on_chunks_written(now, transfer, chunks, out),
            FileEvent::SendFailed { transfer, why } => {
                self.tell_other_end(now, transfer, AckStatus::Failed, None, out);
                self.end_outgoing(now, transfer, Err((own_code("NO_FILE"), escape_detail(&why))), out);
            }
            FileEvent::Opened { transfer, chunks, bytes } => {
                self.on_chunks_opened(now, transfer, chunks, bytes, out);
            }
            FileEvent::Saved { transfer, path } => self.on_file_saved(now, transfer, path, out),
            FileEvent::ReceiveFailed { transfer, kind, why } => {
                let told = Some((AckStatus::Failed, kind.words()));
                self.fail_incoming(now, transfer, own_code("NOT_SAVED"), &why, told, out);
            }
        }
    }

    /// When a transfer needs attention at the latest.
    pub(super) fn files_deadline(&self) -> Option<Duration> {
        let timing = &self.config.timing;
        let out = self.files.out.values().filter_map(|file| file.deadline(timing));
        let incoming = self.files.incoming.values().map(|file| file.deadline(timing));
        out.chain(incoming).min()
    }

    pub(super) fn on_files_due(&mut self, now: Now, out: &mut Vec<Action>) {
        self.on_outgoing_due(now, out);
        self.on_incoming_due(now, out);
    }

    fn tell_progress(&self, id: TransferId, done: u64, rate: u64, out: &mut Vec<Action>) {
        let Some(transfer) = self.transfer(id) else { return };
        let left = meter::time_left(done, transfer.size, rate);
        out.push(Action::Notify(Notice::File(FileNotice::Progress { transfer, done, rate, left })));
    }
}

/// `bob has cancelled it: no room`.
fn with_reason(who: &str, did: &str, why: &str) -> String {
    let who = quote_label(who);
    if why.is_empty() { format!("{who} {did}") } else { format!("{who} {did}: {why}") }
}
