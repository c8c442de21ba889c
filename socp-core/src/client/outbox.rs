//! Commands on their way: queued without a session, cut into drafts with one, each ending in a notice
//! (§14, decisions §6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use crate::Now;
use crate::crypto::{CryptoError, MAX_PLAINTEXT_BYTES};
use crate::wire::{
    DirectoryEntry, Empty, ErrorCode, ErrorReport, FrameRef, FrameType, Id, Part, Payload, Timestamp, UserId,
};

use super::Client;
use super::api::{Action, Command, MessageKind, Notice, SentTo, Text};
use super::directory::Unresolved;
use super::draft::{Content, Draft, DraftId, split};
use super::files::FileCommand;
use super::inbox::{failed, own_code};

/// What is to be sent, and what was.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(u64, Order)>,
    /// The job whose drafts are being made; the others wait for theirs to be written.
    issuing: Option<Issue>,
    jobs: BTreeMap<u64, Job>,
    /// At the border, or lost with their link and listed in `again`.
    drafts: BTreeMap<DraftId, Piece>,
    again: VecDeque<DraftId>,
    listing: Option<Listing>,
    /// Written messages by their time, which is theirs alone.
    sent: BTreeMap<Timestamp, Sent>,
    next_job: u64,
    next_draft: u64,
}

/// A command that was found good.
#[derive(Debug)]
enum Order {
    Tell { to: Box<str>, pieces: Vec<Arc<str>> },
    All { pieces: Vec<Arc<str>> },
    List,
    File { to: Box<str>, path: PathBuf },
}

/// Recipients times pieces, of which `next` counts off.
#[derive(Debug)]
struct Issue {
    job: u64,
    recipients: Vec<UserId>,
    pieces: Vec<Arc<str>>,
    next: usize,
}

#[derive(Debug)]
struct Job {
    reference: u64,
    audience: Audience,
    /// Of a long text, what its recipients got or will get, until the last part is written.
    long: BTreeMap<UserId, LongText>,
    /// Messages that are neither written nor failed.
    open: usize,
    failed: BTreeSet<UserId>,
    why: Option<(ErrorCode, Box<str>)>,
    /// A part or copy that was written may be lost: told once the rest is written.
    doubt: Option<String>,
}

#[derive(Debug)]
enum Audience {
    One(UserId),
    Everyone(usize),
}

/// One message: a text, or its part `index` of `total`.
#[derive(Debug)]
struct Piece {
    job: u64,
    to: UserId,
    text: Arc<str>,
    index: usize,
    total: usize,
    /// Given when it is issued, and again when it is issued again.
    ts: Timestamp,
}

/// A long text on its way to one recipient.
struct LongText {
    id: Box<str>,
    parts: Vec<Option<Arc<Content>>>,
}

impl fmt::Debug for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongText({}, {} parts)", self.id, self.parts.len())
    }
}

impl Piece {
    fn is_last(&self) -> bool {
        self.index + 1 == self.total
    }
}

#[derive(Debug)]
struct Sent {
    job: u64,
    reference: u64,
    kind: MessageKind,
    to: UserId,
    /// When, by our own clock: what was written after the last sign of life may be lost with its link.
    at: Duration,
}

/// LIST_REQUEST and those who wait for its answer.
#[derive(Debug)]
struct Listing {
    references: Vec<u64>,
    /// Until when the answer must have come; `None`: to be asked in the next session.
    until: Option<Duration>,
    users: BTreeSet<UserId>,
}

impl Audience {
    fn kind(&self) -> MessageKind {
        match self {
            Self::One(_) => MessageKind::Direct,
            Self::Everyone(_) => MessageKind::Public,
        }
    }
}

impl Outbox {
    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        let awaited = self.listing.as_ref().is_some_and(|listing| !listing.references.is_empty());
        self.waiting.is_empty() && self.jobs.is_empty() && !awaited
    }

    /// Drafts that are at the border for this session.
    fn in_flight(&self) -> usize {
        self.drafts.len() - self.again.len()
    }

    pub(super) fn list_until(&self) -> Option<Duration> {
        self.listing.as_ref()?.until
    }

    /// The link is gone: what was not written is to be sealed again.
    pub(super) fn on_link_lost(&mut self) {
        self.again = self.drafts.keys().copied().collect();
        if let Some(listing) = &mut self.listing {
            listing.until = None;
            listing.users.clear();
        }
    }

    fn take_draft(&mut self, id: DraftId) -> Option<Piece> {
        let piece = self.drafts.remove(&id)?;
        self.again.retain(|lost| *lost != id);
        Some(piece)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.waiting.len(), self.drafts.len(), self.jobs.len(), self.sent.len()]
    }
}

impl Client {
    /// Takes a command on, or fails it at once.
    pub(super) fn on_command(&mut self, now: Now, reference: u64, command: Command, out: &mut Vec<Action>) {
        let limits = &self.config.limits;
        let pieces = |text: Text| {
            let most = limits.text_parts * MAX_PLAINTEXT_BYTES;
            if text.as_str().is_empty() {
                return Err(("BAD_COMMAND", "the text is empty".to_owned()));
            }
            // Cutting between characters may cost a piece.
            let pieces = if text.as_str().len() > most {
                Vec::new()
            } else {
                split(text.as_str(), MAX_PLAINTEXT_BYTES)
            };
            let fits = (1..=limits.text_parts).contains(&pieces.len());
            if fits {
                Ok(pieces)
            } else {
                let size = text.as_str().len();
                let why =
                    format!("this text has {size} bytes, and at most {most} go as one: send it as a file");
                Err(("TOO_LONG", why))
            }
        };
        let order = match command {
            Command::Tell { to, .. }
            | Command::File(FileCommand::Send { to, .. })
            | Command::Whois { user: to }
            | Command::Verify { user: to, .. }
                if to.len() > limits.name_bytes =>
            {
                return failed(
                    out,
                    Some(reference),
                    ErrorCode::UserNotFound,
                    &Unresolved::Unknown.words(&to),
                );
            }
            Command::Tell { to, text } => pieces(text).map(|pieces| Order::Tell { to, pieces }),
            Command::All { text } => pieces(text).map(|pieces| Order::All { pieces }),
            Command::List => Ok(Order::List),
            Command::File(FileCommand::Send { to, path }) => Ok(Order::File { to, path }),
            Command::Whois { user } => return self.on_whois(reference, &user, out),
            Command::Verify { user, verified } => {
                return self.on_verify(now, reference, &user, verified, out);
            }
            Command::Me(change) => return self.on_me(now, reference, change, out),
            Command::File(decision) => return self.on_file_decision(now, reference, decision, out),
        };
        let order = match order {
            Ok(order) => order,
            Err((code, why)) => return failed(out, Some(reference), own_code(code), &why),
        };
        if let Some(why) = self.deaf() {
            return failed(out, Some(reference), ErrorCode::Timeout, why);
        }
        let asking = self.outbox.listing.as_ref().map_or(0, |listing| listing.references.len());
        if self.outbox.waiting.len() + asking >= limits.queued_commands {
            let why = format!("{} commands are waiting already", limits.queued_commands);
            return failed(out, Some(reference), ErrorCode::Timeout, &why);
        }
        self.outbox.waiting.push_back((reference, order));
    }

    /// With a session: makes drafts while there is room at the border.
    pub(super) fn run_commands(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.outbox.listing.as_ref().is_some_and(|listing| listing.until.is_none()) {
            self.request_list(now, out);
        }
        while self.outbox.in_flight() < self.config.limits.drafts_in_flight.max(1) {
            if let Some(id) = self.outbox.again.pop_front() {
                if let Some(piece) = self.outbox.drafts.remove(&id) {
                    self.issue(now, piece, out);
                }
            } else if let Some(mut issue) = self.outbox.issuing.take() {
                let total = issue.pieces.len();
                let (recipient, index) = (issue.next / total, issue.next % total);
                let to = issue.recipients.get(recipient).cloned();
                let text = issue.pieces.get(index).map(Arc::clone);
                issue.next += 1;
                let job = issue.job;
                if let (Some(to), Some(text)) = (to, text) {
                    self.outbox.issuing = Some(issue);
                    let ts = Timestamp::default();
                    self.issue(now, Piece { job, to, text, index, total, ts }, out);
                }
            } else if let Some((reference, order)) = self.outbox.waiting.pop_front() {
                self.start(now, reference, order, out);
            } else {
                break;
            }
        }
    }

    fn start(&mut self, now: Now, reference: u64, order: Order, out: &mut Vec<Action>) {
        let (audience, recipients, pieces) = match order {
            Order::List => {
                if let Some(listing) = &mut self.outbox.listing {
                    return listing.references.push(reference);
                }
                let listing = Listing { references: vec![reference], until: None, users: BTreeSet::new() };
                self.outbox.listing = Some(listing);
                return self.request_list(now, out);
            }
            Order::File { to, path } => return self.start_sending(reference, &to, path, out),
            Order::Tell { to, pieces } => match self.directory.resolve(&to) {
                Ok(user) => (Audience::One(user.clone()), vec![user], pieces),
                Err(unresolved) => {
                    return failed(out, Some(reference), ErrorCode::UserNotFound, &unresolved.words(&to));
                }
            },
            Order::All { pieces } => {
                let recipients: Vec<_> = self.directory.ids().cloned().collect();
                if recipients.is_empty() {
                    return failed(out, Some(reference), ErrorCode::UserNotFound, "nobody else is online");
                }
                (Audience::Everyone(recipients.len()), recipients, pieces)
            }
        };
        let job = self.outbox.next_job;
        self.outbox.next_job += 1;
        let open = recipients.len() * pieces.len();
        let (long, failed) = (BTreeMap::new(), BTreeSet::new());
        self.outbox.jobs.insert(job, Job { reference, audience, long, open, failed, why: None, doubt: None });
        self.outbox.issuing = Some(Issue { job, recipients, pieces, next: 0 });
    }

    /// Has a message sealed and written, with a time of its own.
    fn issue(&mut self, now: Now, piece: Piece, out: &mut Vec<Action>) {
        let Some(kind) = self.outbox.jobs.get(&piece.job).map(|job| job.audience.kind()) else { return };
        let to = piece.to.clone();
        let reachable = to == self.config.user_id || self.directory.is_online(&to);
        let Some(key) = self.key_of(&to).filter(|_| reachable).cloned() else {
            let why = format!("{} is no longer online", self.directory.named(&to));
            return self.settle_piece(&piece, Err((ErrorCode::UserNotFound, why.into())), out);
        };
        let id = DraftId(self.outbox.next_draft);
        self.outbox.next_draft += 1;
        let piece = Piece { ts: self.clock.next(now), ..piece };
        let content = Arc::new(Content::new(Arc::clone(&piece.text), piece.ts));
        let (part, whole) = match piece.total {
            ..=1 => (None, Vec::new()),
            2.. => self.place(&piece, &content),
        };
        self.outbox.drafts.insert(id, piece);
        let (from, own_key) = (self.config.user_id.clone(), self.config.key.clone());
        let (dialect, cover) = (self.dialect(), self.directory.cover(&to));
        out.push(Action::Seal(Draft {
            id,
            kind,
            from,
            own_key,
            to,
            key,
            dialect,
            cover,
            content,
            part,
            whole,
        }));
    }

    /// Notes a part of a long text; gives its place, and with the last one all that its recipient gets.
    fn place(&mut self, piece: &Piece, content: &Arc<Content>) -> (Option<Part>, Vec<Arc<Content>>) {
        let Some(job) = self.outbox.jobs.get_mut(&piece.job) else { return (None, Vec::new()) };
        let long = job.long.entry(piece.to.clone()).or_insert_with(|| {
            let mut random = [0; 16];
            self.chance.fill_bytes(&mut random);
            LongText { id: Id::uuid_v4(random).as_str().into(), parts: vec![None; piece.total] }
        });
        if let Some(place) = long.parts.get_mut(piece.index) {
            *place = Some(Arc::clone(content));
        }
        let (index, total) = (u32::try_from(piece.index), u32::try_from(piece.total));
        let (Ok(index), Ok(total)) = (index, total) else { return (None, Vec::new()) };
        let part = Some(Part { id: long.id.clone(), index, total });
        let whole = match piece.is_last() {
            true => long.parts.iter().cloned().collect::<Option<_>>().unwrap_or_default(),
            false => Vec::new(),
        };
        (part, whole)
    }

    /// A draft is on the socket. If its link died meanwhile, it is not sealed again.
    pub(super) fn on_written(&mut self, id: DraftId, out: &mut Vec<Action>) {
        let Some(piece) = self.outbox.take_draft(id) else { return };
        if let Some(Job { reference, audience, .. }) = self.outbox.jobs.get(&piece.job) {
            let (reference, kind, at) = (*reference, audience.kind(), self.clock.instant);
            let sent = Sent { job: piece.job, reference, kind, to: piece.to.clone(), at };
            self.outbox.sent.insert(piece.ts, sent);
            while self.outbox.sent.len() > self.config.limits.sent_references {
                self.outbox.sent.pop_first();
            }
        }
        self.settle_piece(&piece, Ok(()), out);
    }

    /// The link is gone: messages that were written since the server was last heard of may be gone with it. Each command
    /// is told of once.
    pub(super) fn doubt_written_since(&mut self, heard: Duration, out: &mut Vec<Action>) {
        let (doubtful, sure) =
            std::mem::take(&mut self.outbox.sent).into_iter().partition(|(_, sent)| sent.at > heard);
        self.outbox.sent = sure;
        let doubtful: BTreeMap<Timestamp, Sent> = doubtful;
        let mut told = BTreeSet::new();
        for Sent { job, reference, kind, to, at: _ } in doubtful.into_values() {
            if !told.insert(reference) {
                continue;
            }
            let whose = match kind {
                MessageKind::Direct => format!("your message to {}", self.directory.named(&to)),
                MessageKind::Public => "your message to all".into(),
            };
            let why =
                format!("{whose} may not have arrived: the link broke before the server was heard again");
            match self.outbox.jobs.get_mut(&job) {
                Some(unfinished) => unfinished.doubt = Some(why),
                None => failed(out, Some(reference), ErrorCode::Timeout, &why),
            }
        }
    }

    pub(super) fn on_draft_failed(&mut self, id: DraftId, error: CryptoError, out: &mut Vec<Action>) {
        let Some(piece) = self.outbox.take_draft(id) else { return };
        self.settle_piece(&piece, Err((ErrorCode::BadKey, error.to_string().into())), out);
    }

    /// An ERROR that answers a message of ours (decisions §6). Whether there is one.
    pub(super) fn on_message_refused(&mut self, report: &ErrorReport, out: &mut Vec<Action>) -> bool {
        let Some(FrameRef { kind, to, ts: Some(ts) }) = &report.reference else { return false };
        let is_meant = |own_kind: MessageKind, own_to: &UserId| {
            let own_kind = match own_kind {
                MessageKind::Direct => FrameType::MsgDirect,
                MessageKind::Public => FrameType::MsgPublicChannel,
            };
            FrameType::parse(kind) == own_kind && to.as_deref().is_none_or(|to| to == own_to.as_str())
        };
        if self.outbox.sent.get(ts).is_some_and(|sent| is_meant(sent.kind, &sent.to)) {
            let Some(Sent { reference, to, .. }) = self.outbox.sent.remove(ts) else { return false };
            let named = self.directory.named(&to);
            // Servers know people by their ids.
            let why = renamed(&report.detail, to.as_str(), &named);
            let why = why.unwrap_or_else(|| format!("{named}: {}", report.detail));
            failed(out, Some(reference), report.code.clone(), &why);
            return true;
        }
        // The server may answer before the driver has told us that the frame left.
        let jobs = &self.outbox.jobs;
        let drafts = &self.outbox.drafts;
        let kind_of = |job: &u64| jobs.get(job).map(|job| job.audience.kind());
        let meant = |piece: &Piece| {
            piece.ts == *ts && kind_of(&piece.job).is_some_and(|kind| is_meant(kind, &piece.to))
        };
        let Some(id) = drafts.iter().find(|(_, piece)| meant(piece)).map(|(id, _)| *id) else { return false };
        let Some(piece) = self.outbox.take_draft(id) else { return false };
        let detail = renamed(&report.detail, piece.to.as_str(), &self.directory.named(&piece.to));
        let detail = detail.map_or_else(|| report.detail.clone(), Into::into);
        self.settle_piece(&piece, Err((report.code.clone(), detail)), out);
        true
    }

    fn settle_piece(&mut self, piece: &Piece, how: Result<(), (ErrorCode, Box<str>)>, out: &mut Vec<Action>) {
        let Some(job) = self.outbox.jobs.get_mut(&piece.job) else { return };
        job.open = job.open.saturating_sub(1);
        if let Err(why) = how {
            job.failed.insert(piece.to.clone());
            job.why.get_or_insert(why);
        }
        // Parts are written in their order: nobody needs those before any more.
        if piece.is_last() {
            job.long.remove(&piece.to);
        }
        if job.open == 0
            && let Some(job) = self.outbox.jobs.remove(&piece.job)
        {
            self.finish(job, out);
        }
    }

    fn finish(&self, job: Job, out: &mut Vec<Action>) {
        let Job { reference, audience, long: _, open: _, failed: lost, why, doubt } = job;
        let to = match (audience, why) {
            (Audience::Everyone(all), why) if lost.len() < all => {
                debug_assert_eq!(why.is_some(), !lost.is_empty(), "each failure has its reason");
                SentTo::Everyone { recipients: all - lost.len(), failed: lost.len() }
            }
            (Audience::One(user_id), None) => {
                let label = self.directory.label(&user_id);
                SentTo::User { user_id, label }
            }
            (Audience::Everyone(_) | Audience::One(_), why) => {
                let (code, why) = why.unwrap_or((ErrorCode::Timeout, "not sent".into()));
                return failed(out, Some(reference), code, &why);
            }
        };
        out.push(Action::Notify(Notice::Sent { reference, to }));
        if let Some(doubt) = doubt {
            failed(out, Some(reference), ErrorCode::Timeout, &doubt);
        }
    }

    /// Nothing more will be written: every command ends now.
    pub(super) fn fail_commands(&mut self, why: &str, out: &mut Vec<Action>) {
        let Outbox { waiting, issuing, jobs, drafts, again, listing, sent: _, next_job: _, next_draft: _ } =
            &mut self.outbox;
        again.clear();
        let issuing = issuing.take();
        let jobs = std::mem::take(jobs);
        let drafts = std::mem::take(drafts);
        let listing = listing.take();
        let waiting = std::mem::take(waiting);
        for (id, mut job) in jobs {
            job.why.get_or_insert((ErrorCode::Timeout, why.into()));
            let unwritten = drafts.values().filter(|piece| piece.job == id).map(|piece| piece.to.clone());
            job.failed.extend(unwritten);
            if let Some(issue) = issuing.as_ref().filter(|issue| issue.job == id) {
                let unmade = issue.recipients.iter().skip(issue.next / issue.pieces.len());
                job.failed.extend(unmade.cloned());
            }
            self.finish(job, out);
        }
        for reference in listing.into_iter().flat_map(|listing| listing.references) {
            failed(out, Some(reference), ErrorCode::Timeout, why);
        }
        for (reference, _) in waiting {
            failed(out, Some(reference), ErrorCode::Timeout, why);
        }
    }

    /// Asks who is online, for nobody in particular.
    pub(super) fn refresh_list(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.outbox.listing.is_none() {
            let listing = Listing { references: Vec::new(), until: None, users: BTreeSet::new() };
            self.outbox.listing = Some(listing);
            self.request_list(now, out);
        }
    }

    fn request_list(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.must_ask() {
            // Who is not in the answer has gone.
            self.directory.begin_session();
            self.note_listed(now);
        }
        if let Some(listing) = &mut self.outbox.listing {
            listing.until = Some(now.instant.saturating_add(self.config.timing.list));
        }
        self.send_to_server(now, &Payload::ListRequest(Empty {}), out);
    }

    /// A page of the answer to LIST_REQUEST. Whether one was awaited.
    pub(super) fn on_listed(
        &mut self,
        users: &[DirectoryEntry],
        is_last: bool,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(mut listing) = self.outbox.listing.take_if(|listing| listing.until.is_some()) else {
            return false;
        };
        let room = self.config.limits.users.saturating_sub(listing.users.len());
        listing.users.extend(users.iter().take(room).map(|entry| entry.user_id.clone()));
        if !is_last {
            self.outbox.listing = Some(listing);
            return true;
        }
        listing.users.insert(self.config.user_id.clone());
        let mut users: Vec<_> = listing.users.iter().filter_map(|id| self.view(id)).collect();
        users.sort_by(|a, b| (&a.label, &a.user_id).cmp(&(&b.label, &b.user_id)));
        for reference in listing.references {
            out.push(Action::Notify(Notice::List { reference, users: users.clone() }));
        }
        true
    }

    pub(super) fn on_list_timeout(&mut self, out: &mut Vec<Action>) {
        for reference in self.outbox.listing.take().into_iter().flat_map(|listing| listing.references) {
            failed(out, Some(reference), ErrorCode::Timeout, "the server did not answer");
        }
    }
}

/// A server's words with somebody's name in place of the id; none if it is not in there. An id may be as short as a
/// letter, so only where it stands as a word.
fn renamed(words: &str, id: &str, name: &str) -> Option<String> {
    let continues = |character: char| character.is_alphanumeric() || "-_".contains(character);
    let mut renamed = String::new();
    let mut from = 0;
    for (at, _) in words.match_indices(id) {
        let end = at + id.len();
        let alone = !words[..at].ends_with(continues) && !words[end..].starts_with(continues);
        if alone {
            renamed.push_str(&words[from..at]);
            renamed.push_str(name);
            from = end;
        }
    }
    renamed.push_str(&words[from..]);
    (from > 0).then_some(renamed)
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn an_id_in_a_servers_words_gives_way_to_the_name_only_where_it_is_a_word() {
        for (words, id, expected) in [
            ("e is not here", "e", Some("bob is not here")),
            ("there is no user e.", "e", Some("there is no user bob.")),
            ("user \"e\" (e) left", "e", Some("user \"bob\" (bob) left")),
            ("the server of e-2 is gone", "e", None),
            ("nobody", "e", None),
            ("4567-aa", "4567-aa", Some("bob")),
            ("é: ée", "é", Some("bob: ée")),
        ] {
            assert_eq!(renamed(words, id, "bob").as_deref(), expected, "{words}");
        }
    }
}
