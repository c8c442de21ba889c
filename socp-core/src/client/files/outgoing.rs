//! Files that we send.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::Now;
use crate::wire::{
    AckStatus, ErrorCode, FileEnd, FileStart, FrameType, Id, Payload, PublicKey, Timestamp, UserId,
};

use super::super::Client;
use super::super::api::{Action, Notice, SentTo};
use super::super::inbox::failed;
use super::super::label::{escape_detail, escape_label, quote_label};
use super::super::limits::{Limits, Timing};
use super::api::{Direction, FileAction, FileInfo, FileNotice, SourceId, Transfer, TransferId};
use super::meter::Meter;
use super::sealing::{BLOCK, ChunkRun, Offer, RUN};
use super::{Files, own_code, safe_file_name, with_reason};

/// What `/file` calls everybody.
const EVERYBODY: &str = "public";

/// After a refusal nothing more is offered to whoever refused for so long: who refuses unasked bounds how often.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Why a file did not reach somebody.
pub(super) type Failure = (ErrorCode, Box<str>);

/// Why a file has reached nobody.
#[derive(Debug)]
enum Fiasco {
    /// It was offered to nobody.
    NotOffered(Failure),
    /// The first of its transfers has failed.
    Failed(Transfer, Failure),
    /// We stopped it.
    Stopped(Transfer),
}

/// A file that the user wants sent.
#[derive(Debug)]
pub(super) struct Sending {
    reference: u64,
    pub(super) name: Box<str>,
    /// Known once it was read through.
    pub(super) info: Option<FileInfo>,
    to_all: bool,
    /// Recipients to whom it was not offered yet. They get their numbers once it was read through.
    waiting: VecDeque<Waiting>,
    /// Transfers that are under way.
    open: usize,
    /// Recipients who have it.
    done: Vec<UserId>,
    failed: usize,
    why: Option<Fiasco>,
    /// Whether everybody who has it has said so.
    confirmed: bool,
}

/// Somebody to whom a file was not offered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: TransferId,
    pub(super) to: UserId,
    /// Whether the user knows that it waits for other files.
    told: bool,
}

/// A file on its way to one user.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) source: SourceId,
    pub(super) to: UserId,
    /// The recipient's pinned key, which all chunks are for.
    key: PublicKey,
    pub(super) file_id: Box<str>,
    /// Of the FILE_START.
    pub(super) ts: Timestamp,
    /// Chunks of the file.
    total: u64,
    flow: Flow,
    /// Whether the recipient's client has ever acknowledged anything.
    pub(super) native: bool,
    /// Chunks that the border has, or has written.
    issued: u64,
    /// Chunks that are on the socket.
    written: u64,
    /// FILE_END is sent.
    ended: bool,
    /// When it could go.
    started: Option<Duration>,
    /// When the other end said something last.
    heard: Duration,
    meter: Meter,
}

/// What is known of the other end, and so how far we may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// FILE_START has no answer yet. When it was written.
    Unanswered(Option<Duration>),
    /// A native client has the offer, and nobody has accepted it.
    Held,
    /// Chunks below this index may be sent.
    Credit(u64),
    /// A client of the standard, which says nothing: a pace since then.
    Blind(Duration),
}

impl Sending {
    /// A transfer has failed. One to a single user ends the command, too.
    fn fail(&mut self, transfer: Transfer, (code, why): Failure, out: &mut Vec<Action>) {
        self.failed += 1;
        if self.to_all {
            let (transfer, code, detail) = (transfer.clone(), code.clone(), escape_detail(&why));
            let failed = FileNotice::Failed { reference: None, transfer, code, detail };
            out.push(Action::Notify(Notice::File(failed)));
        }
        self.why.get_or_insert(Fiasco::Failed(transfer, (code, why)));
    }

    /// To whom the transfer of that number will go.
    pub(super) fn waits(&self, id: TransferId) -> Option<&UserId> {
        self.waiting.iter().find(|waiting| waiting.id == id).map(|waiting| &waiting.to)
    }

    /// Those who wait for it wait in vain.
    pub(super) fn give_up(&mut self, code: ErrorCode, why: &str) {
        self.failed += self.waiting.len();
        self.waiting.clear();
        if self.open == 0 {
            self.why.get_or_insert_with(|| Fiasco::NotOffered((code, why.into())));
        }
    }
}

impl Outgoing {
    /// Chunks that are being sealed or written.
    pub(super) fn in_flight(&self) -> u64 {
        self.issued - self.written
    }

    /// The index below which chunks may be sent now.
    fn allowed(&self, now: Duration, limits: &Limits) -> u64 {
        let allowed = match self.flow {
            Flow::Unanswered(_) | Flow::Held => 0,
            Flow::Credit(credit) => credit,
            Flow::Blind(since) => {
                let passed = now.saturating_sub(since).as_secs_f64();
                let paced = (passed * limits.blind_chunks_per_second as f64) as u64;
                // By whole runs, so that the next is due at a time that can be told.
                limits.blind_chunks + paced / RUN * RUN
            }
        };
        allowed.min(self.total)
    }

    /// When a paced transfer may go on, if it waits for that.
    fn paced_at(&self, limits: &Limits) -> Option<Duration> {
        let Flow::Blind(since) = self.flow else { return None };
        let beyond = (self.issued + 1).saturating_sub(limits.blind_chunks).div_ceil(RUN) * RUN;
        let rate = limits.blind_chunks_per_second.max(1) as f64;
        (self.issued < self.total).then(|| {
            // A little late rather than early: a deadline that has come must have something to do.
            since.saturating_add(Duration::from_secs_f64(beyond as f64 / rate) + Duration::from_millis(1))
        })
    }

    /// When it has failed or is paced, unless something happens.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Duration> {
        match self.flow {
            // An answer must come from a native: its silence is a failure.
            Flow::Unanswered(since) => {
                let patience = if self.native { timing.file_idle } else { timing.file_answer };
                since.map(|since| since.saturating_add(patience))
            }
            Flow::Held => Some(self.heard.saturating_add(timing.file_offer)),
            Flow::Credit(_) => Some(self.heard.saturating_add(timing.file_idle)),
            // Nobody will say anything; that the link takes no more would end the link.
            Flow::Blind(_) => None,
        }
    }
}

impl Client {
    /// `/file`, once there is a session.
    pub(in super::super) fn start_sending(
        &mut self,
        reference: u64,
        to: &str,
        path: PathBuf,
        out: &mut Vec<Action>,
    ) {
        let nobody = |out: &mut Vec<Action>, why: &str| {
            failed(out, Some(reference), ErrorCode::UserNotFound, why);
        };
        let to_all = to == EVERYBODY;
        let recipients: Vec<UserId> = if to_all {
            self.directory.ids().cloned().collect()
        } else {
            match self.directory.resolve(to) {
                Ok(user) if user == self.config.user_id => return nobody(out, "that is you"),
                Ok(user) => vec![user],
                Err(unresolved) => return nobody(out, &unresolved.words(to)),
            }
        };
        let most = self.config.limits.files_out;
        if recipients.is_empty() {
            return nobody(out, "nobody else is online");
        } else if recipients.len() > most {
            return nobody(out, &format!("a file goes to at most {most} users at a time"));
        } else if self.files.sending.len() >= most {
            let why = format!("{most} files are being sent already");
            return failed(out, Some(reference), ErrorCode::Timeout, &why);
        }
        self.files.next_source += 1;
        let source = SourceId(self.files.next_source);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let sending = Sending {
            reference,
            name: safe_file_name(&name).into(),
            info: None,
            to_all,
            waiting: recipients
                .into_iter()
                .map(|to| Waiting { id: TransferId::default(), to, told: false })
                .collect(),
            open: 0,
            done: Vec::new(),
            failed: 0,
            why: None,
            confirmed: true,
        };
        self.files.sending.insert(source, sending);
        let max_bytes = self.config.limits.file_bytes;
        out.push(Action::File(FileAction::Read { source, path, max_bytes }));
    }

    pub(super) fn on_file_read(
        &mut self,
        source: SourceId,
        result: Result<FileInfo, Box<str>>,
        out: &mut Vec<Action>,
    ) {
        let Files { sending, next_transfer, .. } = &mut self.files;
        let Some(sending) = sending.get_mut(&source) else { return };
        match result {
            Ok(info) => {
                sending.info = Some(info);
                for waiting in &mut sending.waiting {
                    *next_transfer += 1;
                    waiting.id = TransferId(*next_transfer);
                }
            }
            Err(why) => {
                sending.give_up(own_code("NO_FILE"), &why);
                self.finish_sending(source, out);
            }
        }
    }

    /// With a session: offers files, and has chunks sealed while there is room at the border.
    pub(in super::super) fn pump_files(&mut self, now: Now, out: &mut Vec<Action>) {
        self.offer_waiting(now, out);
        // Everybody in turn, from the one after whoever had the last.
        let ids = || {
            let served = self.files.served;
            let (before, after) = self.files.out.keys().partition::<Vec<_>, _>(|id| **id <= served);
            after.into_iter().chain(before).copied().collect::<Vec<_>>()
        };
        let ids: VecDeque<TransferId> = ids().into();
        let mut turn = ids.clone();
        let mut room = self.config.limits.chunks_in_flight.saturating_sub(self.chunks_in_flight());
        while let Some(id) = turn.pop_front() {
            if room < RUN {
                break;
            }
            if let Some(run) = self.next_run(now, id) {
                room -= run.chunks();
                self.files.served = id;
                out.push(Action::File(FileAction::Seal(run)));
                turn.push_back(id);
            }
        }
        for id in ids {
            self.end_if_written(now, id, out);
        }
    }

    /// Offers what waits, as far as there is room, and says of the rest that it waits.
    fn offer_waiting(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.files.sending.values().all(|sending| sending.waiting.is_empty()) {
            return;
        }
        let mut under_way = self.under_way();
        let Limits { files_out, files_out_per_user, .. } = self.config.limits;
        let (files_out, files_out_per_user) = (files_out.max(1), files_out_per_user.max(1));
        let Files { sending, out: open, natives, .. } = &mut self.files;
        let mut room = files_out.saturating_sub(open.len());
        let (mut next, mut stuck) = (Vec::new(), Vec::new());
        for (source, sending) in sending.iter_mut().filter(|(_, sending)| sending.info.is_some()) {
            sending.waiting.retain_mut(|waiting| {
                let open = under_way.entry(waiting.to.clone()).or_default();
                let is_full = room == 0 || *open >= files_out_per_user;
                let rests = natives.get(&waiting.to).is_some_and(|until| *until > now.instant);
                if is_full && !waiting.told {
                    waiting.told = true;
                    stuck.push(waiting.id);
                }
                if is_full || rests {
                    return true;
                }
                *open += 1;
                room -= 1;
                sending.open += 1;
                next.push((*source, waiting.id, waiting.to.clone()));
                false
            });
        }
        for (source, id, to) in next {
            self.offer(now, source, id, to, out);
        }
        for transfer in stuck.into_iter().filter_map(|id| self.transfer(id)) {
            out.push(Action::Notify(Notice::File(FileNotice::Waiting(transfer))));
        }
    }

    /// How many transfers there are to each user.
    fn under_way(&self) -> BTreeMap<UserId, usize> {
        let mut under_way = BTreeMap::new();
        for file in self.files.out.values() {
            *under_way.entry(file.to.clone()).or_default() += 1;
        }
        under_way
    }

    fn chunks_in_flight(&self) -> u64 {
        self.files.out.values().map(Outgoing::in_flight).sum()
    }

    /// Offers a file to somebody for whom it waited; the transfer counts as open.
    fn offer(&mut self, now: Now, source: SourceId, id: TransferId, to: UserId, out: &mut Vec<Action>) {
        let key = self.key_of(&to).filter(|_| self.directory.is_online(&to)).cloned();
        let label = self.directory.label(&to);
        let native = self.files.natives.contains_key(&to);
        let Some(sending) = self.files.sending.get_mut(&source) else { return };
        let Some(info) = &sending.info else { return };
        let name = escape_label(&sending.name).into();
        let transfer =
            Transfer { id, direction: Direction::Out, user_id: to.clone(), label, name, size: info.size };
        let Some(key) = key else {
            let who = quote_label(&transfer.label);
            let failure = (ErrorCode::UserNotFound, format!("{who} is no longer online").into());
            sending.open -= 1;
            sending.fail(transfer, failure, out);
            return self.finish_sending(source, out);
        };
        let mut random = [0; 16];
        self.chance.fill_bytes(&mut random);
        let file_id: Box<str> = Id::uuid_v4(random).as_str().into();
        let ts = self.clock.next(now);
        let sha256: String = info.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let start = FileStart {
            file_id: file_id.clone(),
            name: sending.name.clone(),
            size: info.size,
            sha256: sha256.into(),
            mode: if sending.to_all { "public" } else { "dm" }.into(),
            to: Some(to.as_str().into()),
            sender: Some(self.config.user_id.clone()),
            ts: Some(ts),
            sender_pub: Some(self.config.key.clone().into()),
            content_sig: None,
        };
        let file = Outgoing {
            source,
            to: to.clone(),
            key,
            file_id,
            ts,
            total: info.size.div_ceil(BLOCK),
            flow: Flow::Unanswered(None),
            native,
            issued: 0,
            written: 0,
            ended: false,
            started: None,
            heard: now.instant,
            meter: Meter::new(now.instant),
        };
        self.files.out.insert(id, file);
        let (from, own_key) = (self.config.user_id.clone(), self.config.key.clone());
        let dialect = self.dialect();
        out.push(Action::File(FileAction::Offer(Offer {
            transfer: id,
            from,
            own_key,
            to,
            ts,
            dialect,
            start,
        })));
        out.push(Action::Notify(Notice::File(FileNotice::Offering(transfer))));
    }

    pub(super) fn on_offer_written(&mut self, now: Now, id: TransferId, out: &mut Vec<Action>) {
        let mute = self.dialect().profile().omits.contains(&FrameType::Ack);
        if let Some(file) = self.files.out.get_mut(&id)
            && file.flow == Flow::Unanswered(None)
        {
            if !mute {
                file.flow = Flow::Unanswered(Some(now.instant));
                return;
            }
            // Whatever the recipient's program is: no answer gets through.
            file.flow = Flow::Blind(now.instant);
            self.begin_sending(now, id, out);
        }
    }

    /// A file may go.
    fn begin_sending(&mut self, now: Now, id: TransferId, out: &mut Vec<Action>) {
        let Some(file) = self.files.out.get_mut(&id) else { return };
        file.meter = Meter::new(now.instant);
        // After some silence there may be an answer still.
        if file.started.replace(now.instant).is_none()
            && let Some(transfer) = self.transfer(id)
        {
            out.push(Action::Notify(Notice::File(FileNotice::Started(transfer))));
        }
    }

    /// ACK ✚ from the recipient.
    pub(super) fn on_answer(
        &mut self,
        now: Now,
        id: TransferId,
        status: AckStatus,
        credit: Option<u64>,
        why: &str,
        out: &mut Vec<Action>,
    ) {
        let Some(file) = self.files.out.get_mut(&id) else { return };
        file.heard = now.instant;
        let label = self.directory.label(&file.to);
        let fail = |code: &str, did: &str| Err((own_code(code), with_reason(&label, did, why).into()));
        let outcome = match (status, file.flow) {
            (AckStatus::Waiting, Flow::Unanswered(_) | Flow::Blind(_)) => {
                file.flow = Flow::Held;
                return;
            }
            (AckStatus::Ready, flow) => {
                let before = if let Flow::Credit(before) = flow { before } else { 0 };
                file.flow = Flow::Credit(before.max(credit.unwrap_or(file.total)));
                if before == 0 {
                    self.begin_sending(now, id, out);
                }
                return;
            }
            (AckStatus::Waiting, Flow::Held | Flow::Credit(_)) | (AckStatus::Other, _) => return,
            (AckStatus::Done, _) => Ok(true),
            (AckStatus::Refused, _) => {
                if let Some(next_offer) = self.files.natives.get_mut(&file.to) {
                    *next_offer = now.instant.saturating_add(PAUSE);
                }
                fail("REFUSED", "does not take it")
            }
            (AckStatus::Expired, _) => {
                let who = quote_label(&label);
                Err((ErrorCode::Timeout, format!("{who} has not accepted it in time").into()))
            }
            (AckStatus::Cancelled, _) => fail("CANCELLED", "has cancelled it"),
            (AckStatus::Failed, _) => fail("FAILED", "could not save it"),
        };
        self.end_outgoing(now, id, outcome, out);
    }

    /// The next blocks of a transfer, if it may go on.
    fn next_run(&mut self, now: Now, id: TransferId) -> Option<ChunkRun> {
        let file = self.files.out.get(&id)?;
        let chunks = file.allowed(now.instant, &self.config.limits).saturating_sub(file.issued).min(RUN);
        let size = self.files.sending.get(&file.source)?.info.as_ref()?.size;
        let bytes = (chunks * BLOCK).min(size.saturating_sub(file.issued * BLOCK));
        if chunks == 0 {
            return None;
        }
        let ts = self.clock.next(now);
        let file = self.files.out.get_mut(&id)?;
        let run = ChunkRun {
            transfer: id,
            source: file.source,
            from: self.config.user_id.clone(),
            to: file.to.clone(),
            key: file.key.clone(),
            file_id: file.file_id.clone(),
            first: file.issued,
            bytes: usize::try_from(bytes).ok()?,
            ts,
        };
        file.issued += chunks;
        Some(run)
    }

    pub(super) fn on_chunks_written(&mut self, now: Now, id: TransferId, chunks: u64, out: &mut Vec<Action>) {
        let Some(file) = self.files.out.get_mut(&id) else { return };
        file.written = (file.written + chunks).min(file.issued);
        let size = self.files.sending.get(&file.source).and_then(|sending| sending.info.as_ref());
        let done = (file.written * BLOCK).min(size.map_or(0, |info| info.size));
        if let Some(rate) = file.meter.tick(now.instant, done, self.config.timing.progress) {
            self.tell_progress(id, done, rate, out);
        }
    }

    /// FILE_END follows the last chunk. A client of the standard says nothing more; a native one will.
    fn end_if_written(&mut self, now: Now, id: TransferId, out: &mut Vec<Action>) {
        let Some(file) = self.files.out.get_mut(&id) else { return };
        let may_go = match file.flow {
            Flow::Credit(_) | Flow::Blind(_) => true,
            Flow::Unanswered(_) | Flow::Held => false,
        };
        if file.ended || !may_go || file.written < file.total {
            return;
        }
        file.ended = true;
        file.heard = now.instant;
        let (to, file_id, flow) = (file.to.clone(), file.file_id.clone(), file.flow);
        let ts = self.clock.next(now);
        let end = FileEnd {
            file_id,
            to: Some(to.as_str().into()),
            sender: Some(self.config.user_id.clone()),
            ts: Some(ts),
        };
        self.send_to_user(&to, ts, &Payload::FileEnd(end), out);
        if matches!(flow, Flow::Blind(_)) {
            self.end_outgoing(now, id, Ok(false), out);
        }
    }

    /// A transfer is over. `Ok` says whether the other end has confirmed it.
    pub(super) fn end_outgoing(
        &mut self,
        now: Now,
        id: TransferId,
        how: Result<bool, Failure>,
        out: &mut Vec<Action>,
    ) {
        let Some(transfer) = self.transfer(id) else { return };
        let Some(file) = self.files.out.remove(&id) else { return };
        let Some(sending) = self.files.sending.get_mut(&file.source) else { return };
        sending.open -= 1;
        match how {
            Ok(confirmed) => {
                sending.confirmed &= confirmed;
                sending.done.push(file.to);
                let took = now.instant.saturating_sub(file.started.unwrap_or(now.instant));
                out.push(Action::Notify(Notice::File(FileNotice::Arrived { transfer, confirmed, took })));
            }
            Err(failure) => sending.fail(transfer, failure, out),
        }
        self.finish_sending(file.source, out);
    }

    /// A transfer is over because we said so, whether it was offered or not.
    pub(super) fn stop_sending(&mut self, source: SourceId, id: TransferId, out: &mut Vec<Action>) {
        let Some(transfer) = self.transfer(id) else { return };
        let Some(sending) = self.files.sending.get_mut(&source) else { return };
        match self.files.out.remove(&id) {
            Some(_) => sending.open -= 1,
            None => sending.waiting.retain(|waiting| waiting.id != id),
        }
        sending.failed += 1;
        // That it was stopped says more than what failed before; the first of several stands for all.
        if !matches!(sending.why, Some(Fiasco::Stopped(_))) {
            sending.why = Some(Fiasco::Stopped(transfer));
        }
        self.finish_sending(source, out);
    }

    /// Which file a transfer of ours is of.
    pub(super) fn source_of(&self, id: TransferId) -> Option<SourceId> {
        let waits = |(_, sending): &(&SourceId, &Sending)| sending.waits(id).is_some();
        let open = self.files.out.get(&id).map(|file| file.source);
        open.or_else(|| self.files.sending.iter().find(waits).map(|(source, _)| *source))
    }

    /// Transfers of a file of ours, those that wait included.
    pub(super) fn transfers_of(&self, source: SourceId) -> Vec<TransferId> {
        let open = self.files.out.iter().filter(|(_, file)| file.source == source).map(|(id, _)| *id);
        let sending = self.files.sending.get(&source).filter(|sending| sending.info.is_some());
        let waiting = sending.into_iter().flat_map(|sending| &sending.waiting).map(|waiting| waiting.id);
        open.chain(waiting).collect()
    }

    /// Whether a file of ours goes to everybody.
    pub(super) fn goes_to_all(&self, source: SourceId) -> bool {
        self.files.sending.get(&source).is_some_and(|sending| sending.to_all)
    }

    /// Ends the command if that was the last recipient.
    pub(super) fn finish_sending(&mut self, source: SourceId, out: &mut Vec<Action>) {
        let over = |sending: &Sending| sending.open == 0 && sending.waiting.is_empty();
        if !self.files.sending.get(&source).is_some_and(over) {
            return;
        }
        let Some(sending) = self.files.sending.remove(&source) else { return };
        out.push(Action::File(FileAction::Close(source)));
        let Sending { reference, name, to_all, done, failed: lost, why, confirmed, .. } = sending;
        let name: Box<str> = escape_label(&name).into();
        let to = match (done.first(), why) {
            (Some(_), _) if to_all => SentTo::Everyone { recipients: done.len(), failed: lost },
            (Some(user), _) => SentTo::User { user_id: user.clone(), label: self.directory.label(user) },
            (None, Some(Fiasco::Stopped(transfer))) => {
                return out.push(Action::Notify(Notice::File(FileNotice::Cancelled { reference, transfer })));
            }
            (None, Some(Fiasco::Failed(transfer, (code, detail)))) if !to_all => {
                let (reference, detail) = (Some(reference), escape_detail(&detail));
                let failed = FileNotice::Failed { reference, transfer, code, detail };
                return out.push(Action::Notify(Notice::File(failed)));
            }
            (None, Some(Fiasco::Failed(_, (code, why)))) => {
                return failed(
                    out,
                    Some(reference),
                    code,
                    &format!("{} has reached nobody: {why}", quote_label(&name)),
                );
            }
            (None, Some(Fiasco::NotOffered((code, why)))) => return failed(out, Some(reference), code, &why),
            (None, None) => return failed(out, Some(reference), ErrorCode::Timeout, "not sent"),
        };
        out.push(Action::Notify(Notice::File(FileNotice::Sent { reference, name, to, confirmed })));
    }

    pub(super) fn on_outgoing_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let timing = &self.config.timing;
        let due = |file: &Outgoing| file.deadline(timing).is_some_and(|at| at <= now.instant);
        let ids: Vec<_> = self.files.out.iter().filter(|(_, file)| due(file)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(file) = self.files.out.get_mut(&id) else { continue };
            let label = self.directory.named(&file.to);
            let why = match file.flow {
                Flow::Unanswered(_) if !file.native => {
                    file.flow = Flow::Blind(now.instant);
                    self.begin_sending(now, id, out);
                    continue;
                }
                Flow::Unanswered(_) => format!("{label} does not answer"),
                Flow::Held => format!("{label} has not accepted it in time"),
                Flow::Credit(_) | Flow::Blind(_) => format!("{label} answers no more"),
            };
            self.tell_other_end(now, id, AckStatus::Cancelled, Some("it took too long"), out);
            self.end_outgoing(now, id, Err((ErrorCode::Timeout, why.into())), out);
        }
    }

    /// When a paced transfer may go on, if the border has room.
    pub(in super::super) fn files_paced_at(&self) -> Option<Duration> {
        let limits = &self.config.limits;
        let room = limits.chunks_in_flight.saturating_sub(self.chunks_in_flight());
        let paced = self.files.out.values().filter_map(|file| file.paced_at(limits));
        let chunks = paced.min().filter(|_| room >= RUN);
        chunks.into_iter().chain(self.next_offer_at()).min().filter(|_| self.is_ready())
    }

    /// When somebody who has refused a file may be offered the next, if there is one and room for it.
    fn next_offer_at(&self) -> Option<Duration> {
        let Limits { files_out, files_out_per_user, .. } = self.config.limits;
        let waiting = self.files.sending.values().filter(|sending| sending.info.is_some());
        let mut waiting = waiting.flat_map(|sending| &sending.waiting).peekable();
        if waiting.peek().is_none() || self.files.out.len() >= files_out.max(1) {
            return None;
        }
        let under_way = self.under_way();
        let has_room =
            |user: &UserId| under_way.get(user).is_none_or(|open| *open < files_out_per_user.max(1));
        let rests = waiting.filter(|waiting| has_room(&waiting.to));
        // What is due was offered.
        let rests = rests.filter_map(|waiting| self.files.natives.get(&waiting.to));
        rests.copied().filter(|at| *at > self.clock.instant).min()
    }
}
