//! People: what others see of us (§15.1), and whom we know by which key (§13).

use std::time::Duration;

use serde_json::Value;

use crate::Now;
use crate::crypto::first_key;
use crate::wire::{
    DirectoryEntry, ErrorCode, ErrorReport, FrameRef, FrameType, Meta, MetaField, Payload, Timestamp, UserId,
    canonicalise,
};

use super::Client;
use super::api::{Action, MetaChange, Notice, UserDetails};
use super::directory::{Unresolved, is_reserved};
use super::inbox::{failed, own_code};
use super::records::Record;

/// Longest display name, in bytes: labels show 64 characters.
const MAX_NAME_BYTES: usize = 256;

/// Changes of our `meta` on their way.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// What the server has not confirmed.
    pending: Option<PendingMeta>,
    /// Wishes that came meanwhile.
    wishes: Vec<(u64, MetaChange)>,
}

#[derive(Debug)]
struct PendingMeta {
    /// The commands that wanted it.
    references: Vec<u64>,
    meta: Meta,
    /// Of the USER_HELLO that brings it.
    ts: Timestamp,
    until: Duration,
}

impl Profile {
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.wishes.is_empty()
    }

    /// Until when the server must have confirmed a change.
    pub(super) fn until(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.until)
    }
}

impl MetaChange {
    /// The `meta` after the change, or what is wrong with it.
    fn applied_to(&self, meta: &Meta, max_bytes: usize) -> Result<Meta, String> {
        let value = self.value.as_deref().map(|text| value_of(self.field, text)).transpose()?;
        let changed = meta.with(self.field, value);
        match changed.as_str().len() > max_bytes {
            true => Err(format!("what others see of you has at most {max_bytes} bytes")),
            false => Ok(changed),
        }
    }
}

fn value_of(field: MetaField, text: &str) -> Result<Value, String> {
    let wrong = |why: &str| Err(why.to_owned());
    let text = text.trim();
    match field {
        MetaField::DisplayName if text.is_empty() => wrong("a name is not blank"),
        MetaField::DisplayName if text.len() > MAX_NAME_BYTES => {
            Err(format!("a name has at most {MAX_NAME_BYTES} bytes"))
        }
        MetaField::Age => match text.parse::<u8>() {
            Ok(years) => Ok(years.into()),
            Err(_) => wrong("an age is a number of years"),
        },
        MetaField::AvatarUrl if !(text.starts_with("https://") || text.starts_with("http://")) => {
            wrong("a picture's address starts with https:// or http://")
        }
        MetaField::Extras => {
            match canonicalise(text, 8).ok().and_then(|json| serde_json::from_str(&json).ok()) {
                Some(Value::Object(extras)) => Ok(Value::Object(extras)),
                Some(_) | None => wrong("extras are a JSON object"),
            }
        }
        MetaField::DisplayName | MetaField::Pronouns | MetaField::AvatarUrl => {
            match text.chars().any(char::is_control) {
                true => wrong("it may not hold control characters"),
                false => Ok(text.into()),
            }
        }
    }
}

impl Client {
    /// `/me`: shows what others see of us, or changes it.
    pub(super) fn on_me(
        &mut self,
        now: Now,
        reference: u64,
        change: Option<MetaChange>,
        out: &mut Vec<Action>,
    ) {
        let Some(change) = change else {
            let meta = self.config.meta.clone();
            return out.push(Action::Notify(Notice::Me { reference, meta }));
        };
        if self.is_ready() && self.must_ask() {
            return refused(reference, "this server shows others nothing of you but your id", out);
        }
        let limits = &self.config.limits;
        if let Err(why) = change.applied_to(&self.config.meta, limits.meta_bytes) {
            return refused(reference, &why, out);
        }
        if self.profile.wishes.len() >= limits.queued_commands {
            let why = format!("{} changes are waiting already", limits.queued_commands);
            return failed(out, Some(reference), ErrorCode::Timeout, &why);
        }
        self.profile.wishes.push((reference, change));
        let is_online = self.is_ready();
        self.pursue_wishes(now, is_online, out);
    }

    /// Tells the server of all that was wished meanwhile at once; of two wishes for a field the later one counts. What
    /// is wished without a session the next hello brings.
    fn pursue_wishes(&mut self, now: Now, is_online: bool, out: &mut Vec<Action>) {
        if self.profile.pending.is_some() || self.profile.wishes.is_empty() {
            return;
        }
        let mut meta = self.config.meta.clone();
        let mut references = Vec::new();
        for (reference, change) in std::mem::take(&mut self.profile.wishes) {
            match change.applied_to(&meta, self.config.limits.meta_bytes) {
                Ok(changed) => {
                    meta = changed;
                    references.push(reference);
                }
                Err(why) => refused(reference, &why, out),
            }
        }
        if !is_online || meta == self.config.meta {
            return self.take_meta(references, meta, out);
        }
        let hello = self.hello(meta.clone());
        let ts = self.send_to_server(now, &Payload::UserHello(hello), out);
        let until = now.instant.saturating_add(self.config.timing.list);
        self.profile.pending = Some(PendingMeta { references, meta, ts, until });
    }

    fn take_meta(&mut self, references: Vec<u64>, meta: Meta, out: &mut Vec<Action>) {
        self.directory.set_own_name(&meta);
        self.config.meta = meta.clone();
        out.push(Action::Persist(Record::Meta(meta.clone())));
        let told = |reference| Action::Notify(Notice::Me { reference, meta: meta.clone() });
        out.extend(references.into_iter().map(told));
    }

    /// USER_ADDED about ourselves: what everybody was told.
    pub(super) fn on_own_entry(&mut self, now: Now, entry: &DirectoryEntry, out: &mut Vec<Action>) {
        let told = entry.meta.as_ref().and_then(|meta| canonicalise(meta.as_str(), usize::MAX).ok());
        let is_it = |pending: &mut PendingMeta| canonicalise(pending.meta.as_str(), usize::MAX).ok() == told;
        if let Some(PendingMeta { references, meta, .. }) = self.profile.pending.take_if(is_it) {
            self.take_meta(references, meta, out);
            self.pursue_wishes(now, true, out);
        }
    }

    /// An ERROR about the hello that brings a change. Whether it was one.
    pub(super) fn on_meta_refused(&mut self, now: Now, report: &ErrorReport, out: &mut Vec<Action>) -> bool {
        let Some(FrameRef { kind, ts: Some(ts), .. }) = &report.reference else { return false };
        let is_it =
            |pending: &mut PendingMeta| FrameType::parse(kind) == FrameType::UserHello && pending.ts == *ts;
        let Some(pending) = self.profile.pending.take_if(is_it) else { return false };
        for reference in pending.references {
            failed(out, Some(reference), report.code.clone(), &report.detail);
        }
        self.pursue_wishes(now, true, out);
        true
    }

    /// The link is gone: the next hello brings the changes.
    pub(super) fn on_meta_cut_off(&mut self, now: Now, out: &mut Vec<Action>) {
        if let Some(PendingMeta { references, meta, .. }) = self.profile.pending.take() {
            self.take_meta(references, meta, out);
        }
        self.pursue_wishes(now, false, out);
    }

    pub(super) fn on_meta_late(&mut self, now: Now, out: &mut Vec<Action>) {
        for reference in self.profile.pending.take().into_iter().flat_map(|pending| pending.references) {
            failed(out, Some(reference), ErrorCode::Timeout, "the server did not answer");
        }
        self.pursue_wishes(now, true, out);
    }

    pub(super) fn fail_meta_changes(&mut self, why: &str, out: &mut Vec<Action>) {
        let Profile { pending, wishes } = std::mem::take(&mut self.profile);
        let sent = pending.into_iter().flat_map(|pending| pending.references);
        for reference in sent.chain(wishes.into_iter().map(|(reference, _)| reference)) {
            failed(out, Some(reference), ErrorCode::Timeout, why);
        }
    }

    /// `/whois`: somebody online, or whom we met once.
    pub(super) fn on_whois(&self, reference: u64, user: &str, out: &mut Vec<Action>) {
        if let Some(user) = self.resolve_person(reference, user, out) {
            out.push(Action::Notify(Notice::Whois { reference, user: user.into() }));
        }
    }

    /// `/verify`: the key's fingerprint was compared in person, or that is taken back.
    pub(super) fn on_verify(
        &mut self,
        now: Now,
        reference: u64,
        user: &str,
        verified: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(user) = self.resolve_person(reference, user, out) else { return };
        let at = verified.then_some(Timestamp(now.unix_ms));
        match self.directory.verify(&user.user_id, at) {
            Some(pin) => {
                out.push(Action::Persist(Record::UserPin(pin)));
                let user = UserDetails { verified: at, ..user };
                out.push(Action::Notify(Notice::Verified { reference, user: user.into() }));
            }
            // Nobody but ourselves is known without a pin.
            None => refused(reference, "that is you", out),
        }
    }

    /// Whom a name means; else the command has failed.
    fn resolve_person(&self, reference: u64, user: &str, out: &mut Vec<Action>) -> Option<UserDetails> {
        let why = match self.directory.resolve_known(user) {
            Ok(id) => match self.details(&id) {
                Some(details) => return Some(details),
                None => format!("nothing is known of {user}"),
            },
            Err(Unresolved::Unknown) if !is_reserved(user) => {
                format!("nobody was ever met who is called {user}")
            }
            Err(unresolved) => unresolved.words(user),
        };
        failed(out, Some(reference), ErrorCode::UserNotFound, &why);
        None
    }

    fn details(&self, id: &UserId) -> Option<UserDetails> {
        let key = self.key_of(id)?;
        let view = self.view(id);
        let pin = self.directory.pinned(id);
        let own = *id == self.config.user_id;
        let rotations =
            if own { &self.config.rotations[..] } else { pin.map_or(&[][..], |pin| &pin.rotations) };
        Some(UserDetails {
            user_id: id.clone(),
            label: self.directory.label(id),
            online: view.is_some(),
            server_id: view.as_ref().and_then(|view| view.server_id.clone()),
            online_local: view.is_some_and(|view| view.online_local),
            key: key.id(),
            derived: id.derives_from(first_key(rotations, key)),
            rotations: rotations.len(),
            since: pin.and_then(|pin| pin.since),
            verified: pin.and_then(|pin| pin.verified),
            vouched: pin.is_some_and(|pin| pin.vouched),
            own,
            meta: if own { Some(self.config.meta.clone()) } else { self.directory.meta(id).cloned() },
        })
    }
}

/// A change that is none.
fn refused(reference: u64, why: &str, out: &mut Vec<Action>) {
    failed(out, Some(reference), own_code("BAD_COMMAND"), why);
}
