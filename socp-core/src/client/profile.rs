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
use super::directory::Unresolved;
use super::inbox::failed;
use super::records::Record;

/// Longest display name, in bytes: labels show 64 characters.
const MAX_NAME_BYTES: usize = 256;

/// A change of our `meta` that the server has not confirmed.
#[derive(Debug)]
pub(super) struct PendingMeta {
    reference: u64,
    meta: Meta,
    /// Of the USER_HELLO that brings it.
    ts: Timestamp,
    pub(super) until: Duration,
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
                true => wrong("there are no control characters in it"),
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
        let refused = |out: &mut Vec<Action>, why: &str| {
            failed(out, Some(reference), ErrorCode::UnknownType, why);
        };
        if self.is_ready() && self.must_ask() {
            return refused(out, "this server shows others nothing of you but your id");
        }
        if self.pending_meta.is_some() {
            return refused(out, "another change is under way");
        }
        let meta = match change.applied_to(&self.config.meta, self.config.limits.meta_bytes) {
            Ok(meta) => meta,
            Err(why) => return refused(out, &why),
        };
        if !self.is_ready() || meta == self.config.meta {
            // The next hello brings it.
            return self.take_meta(reference, meta, out);
        }
        let hello = self.hello(meta.clone());
        let ts = self.send_to_server(now, &Payload::UserHello(hello), out);
        let until = now.instant.saturating_add(self.config.timing.list);
        self.pending_meta = Some(PendingMeta { reference, meta, ts, until });
    }

    fn take_meta(&mut self, reference: u64, meta: Meta, out: &mut Vec<Action>) {
        self.directory.set_own_name(&meta);
        self.config.meta = meta.clone();
        out.push(Action::Persist(Record::Meta(meta.clone())));
        out.push(Action::Notify(Notice::Me { reference, meta }));
    }

    /// USER_ADDED about ourselves: what everybody was told.
    pub(super) fn on_own_entry(&mut self, entry: &DirectoryEntry, out: &mut Vec<Action>) {
        let told = entry.meta.as_ref().and_then(|meta| canonicalise(meta.as_str(), usize::MAX).ok());
        let is_it = |pending: &mut PendingMeta| canonicalise(pending.meta.as_str(), usize::MAX).ok() == told;
        if let Some(PendingMeta { reference, meta, .. }) = self.pending_meta.take_if(is_it) {
            self.take_meta(reference, meta, out);
        }
    }

    /// An ERROR about the hello that brings a change. Whether it was one.
    pub(super) fn on_meta_refused(&mut self, report: &ErrorReport, out: &mut Vec<Action>) -> bool {
        let Some(FrameRef { kind, ts: Some(ts), .. }) = &report.reference else { return false };
        let is_it =
            |pending: &mut PendingMeta| FrameType::parse(kind) == FrameType::UserHello && pending.ts == *ts;
        let Some(pending) = self.pending_meta.take_if(is_it) else { return false };
        failed(out, Some(pending.reference), report.code.clone(), &report.detail);
        true
    }

    /// The link is gone: the next hello brings the change.
    pub(super) fn on_meta_cut_off(&mut self, out: &mut Vec<Action>) {
        if let Some(PendingMeta { reference, meta, .. }) = self.pending_meta.take() {
            self.take_meta(reference, meta, out);
        }
    }

    pub(super) fn fail_meta_change(&mut self, why: &str, out: &mut Vec<Action>) {
        if let Some(pending) = self.pending_meta.take() {
            failed(out, Some(pending.reference), ErrorCode::Timeout, why);
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
            None => failed(out, Some(reference), ErrorCode::UserNotFound, "that is you"),
        }
    }

    /// Whom a name means; else the command has failed.
    fn resolve_person(&self, reference: u64, user: &str, out: &mut Vec<Action>) -> Option<UserDetails> {
        let why = match self.directory.resolve_known(user) {
            Ok(id) => match self.details(&id) {
                Some(details) => return Some(details),
                None => format!("nothing is known of {user}"),
            },
            Err(Unresolved::Unknown) => format!("nobody online is called {user}"),
            Err(Unresolved::Ambiguous(labels)) => format!("{user} may be {}", labels.join(" or ")),
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
        })
    }
}
