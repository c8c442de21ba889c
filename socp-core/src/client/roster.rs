//! What the server tells of the users online (decisions §5), as changes of the directory and as notices.

use crate::Now;
use crate::crypto::Verified;
use crate::wire::{DirectoryEntry, Timestamp, UserId, UserKeyConflict, UserRemoved};

use super::api::{Action, Notice};
use super::directory::Change;
use super::records::Record;
use super::{Client, dropped};

impl Client {
    pub(super) fn on_user_added(
        &mut self,
        now: Now,
        frame: &Verified,
        entry: &DirectoryEntry,
        out: &mut Vec<Action>,
    ) {
        if !self.is_event(entry.event.as_deref(), "added") {
            return dropped(out, "another frame relabelled as USER_ADDED", entry.user_id.as_str());
        }
        if entry.user_id == self.config.user_id {
            return self.on_own_entry(now, entry, out);
        }
        self.confirm(now, frame, std::slice::from_ref(entry), out);
    }

    pub(super) fn on_user_removed(&mut self, now: Now, removed: &UserRemoved, out: &mut Vec<Action>) {
        if !self.is_event(removed.event.as_deref(), "removed") {
            return dropped(out, "another frame relabelled as USER_REMOVED", removed.user_id.as_str());
        }
        self.on_gone(now, &removed.user_id, out);
    }

    fn on_gone(&mut self, now: Now, user_id: &UserId, out: &mut Vec<Action>) {
        if let Some(label) = self.directory.remove(user_id) {
            self.on_other_end_gone(now, user_id, &label, out);
            out.push(Action::Notify(Notice::UserRemoved { user_id: user_id.clone(), label }));
        }
    }

    /// `event` tells USER_ADDED and USER_REMOVED from gossip (decisions §5); native servers, which prove a key,
    /// write it.
    fn is_event(&self, event: Option<&str>, name: &str) -> bool {
        event.map_or(self.pin.is_none() || self.must_ask(), |event| event == name)
    }

    pub(super) fn on_user_key_conflict(&mut self, conflict: &UserKeyConflict, out: &mut Vec<Action>) {
        let UserKeyConflict { user_id, pubkey, server_id: _ } = conflict;
        let label = self.directory.label(user_id);
        let pinned = self.key_of(user_id).map(|key| key.id());
        let seen = pubkey.key().ok().map(|key| key.id());
        out.push(Action::Notify(Notice::KeyConflict { user_id: user_id.clone(), label, pinned, seen }));
    }

    /// These users are online, says the server. Labels are told as they are once all are known.
    pub(super) fn confirm(
        &mut self,
        now: Now,
        frame: &Verified,
        entries: &[DirectoryEntry],
        out: &mut Vec<Action>,
    ) {
        let at = Timestamp(now.unix_ms);
        let directory = &mut self.directory;
        let changes: Vec<_> = entries.iter().flat_map(|entry| directory.confirm(frame, entry, at)).collect();
        let mut full = 0_usize;
        for change in changes {
            let label = |id| self.directory.label(id);
            let action = match change {
                Change::Pinned(pin) => Action::Persist(Record::UserPin(pin)),
                Change::Added(user_id) => {
                    Action::Notify(Notice::UserAdded { label: label(&user_id), user_id })
                }
                Change::Renamed { user_id, was } => {
                    Action::Notify(Notice::UserRenamed { label: label(&user_id), user_id, was })
                }
                Change::KeyChanged { user_id, was, now, was_verified, signed } => {
                    let label = label(&user_id);
                    Action::Notify(Notice::KeyChanged { label, user_id, was, now, was_verified, signed })
                }
                Change::KeyConflict { user_id, pinned, seen } => {
                    let (pinned, seen) = (Some(pinned), Some(seen));
                    Action::Notify(Notice::KeyConflict { label: label(&user_id), user_id, pinned, seen })
                }
                Change::NoKey(user_id) => {
                    dropped(out, "a user without a usable key", user_id.as_str());
                    continue;
                }
                Change::Full => {
                    full += 1;
                    continue;
                }
            };
            out.push(action);
        }
        if full > 0 {
            dropped(out, "too many users", &format!("{full} are left out"));
        }
    }

    /// Who was not confirmed since the reconnect has gone.
    pub(super) fn on_missing(&mut self, now: Now, out: &mut Vec<Action>) {
        self.missing_until = None;
        for user_id in self.directory.missing() {
            self.on_gone(now, &user_id, out);
        }
    }
}
