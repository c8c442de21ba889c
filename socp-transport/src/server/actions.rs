//! What the hub does with the machine's actions: everything at once, nothing awaited.

use std::sync::atomic::Ordering::Relaxed;

use futures_util::FutureExt;
use socp_core::close_code;
use socp_core::server::{Action, Event, LinkId, Outgoing, PasswordCheck, Record, Report};
use socp_core::wire::{PublicKey, UserId};
use tracing::debug;

use super::hub::Hub;
use super::password;
use crate::pool::Lane;
use crate::ws::{Entry, Failed, Gate, Item};

const SLOW: &str = "slow consumer";
const SLOW_FOR_FILES: &str = "chunk for a slow consumer";

impl Hub {
    /// Executes a batch in its order. Its records are committed together; its frames leave after that.
    pub(super) fn execute(&mut self, actions: Vec<Action>) {
        self.batch += 1;
        let gate = self.persist(&actions);
        for action in actions {
            match action {
                Action::Persist(_) => {}
                Action::Send { to, frame } => self.send(&to, frame, gate.as_ref()),
                Action::Ping { to } => {
                    for link in to {
                        self.push(link, Item::Ping.into());
                    }
                }
                Action::Close { link, code, reason } => self.close(link, code, reason),
                Action::Dial { address, reach } => {
                    debug!(%address, "dialling");
                    self.context.tasks.spawn(self.context.clone().dial(address, reach));
                }
                Action::Pause { link, until } => {
                    if let Some(handle) = self.links.get(&link) {
                        handle.pause(until);
                    }
                }
                Action::CheckPassword(check) => self.check_password(check),
                Action::WrapChannelKey { members } => self.wrap_channel_key(members),
                Action::Report(report) => self.report(report),
            }
        }
    }

    fn persist(&mut self, actions: &[Action]) -> Option<Gate> {
        let record = |action: &Action| match action {
            Action::Persist(record) => Some(record.clone()),
            Action::Send { .. }
            | Action::Dial { .. }
            | Action::Ping { .. }
            | Action::Close { .. }
            | Action::Pause { .. }
            | Action::WrapChannelKey { .. }
            | Action::CheckPassword(_)
            | Action::Report(_) => None,
        };
        let records: Vec<Record> = actions.iter().filter_map(record).collect();
        if records.is_empty() {
            return None;
        }
        let slot = self.slot.take().expect("no event is handled without a slot");
        let committed = slot.submit(records);
        Some(async move { committed.await.map_err(|_| Failed) }.boxed().shared())
    }

    fn send(&mut self, to: &[LinkId], frame: Outgoing, gate: Option<&Gate>) {
        let item = match frame {
            Outgoing::Relay(text) => Item::Text(text),
            Outgoing::Bulk(text) => return self.send_bulk(to, &Item::Text(text), gate),
            Outgoing::Own(unsigned) => self.signing.item(unsigned, to.len()),
        };
        for link in to {
            self.push(*link, Entry { item: item.clone(), gate: gate.cloned(), written: None });
        }
    }

    /// Queues parts of files. Who is too slow for them loses them, and not the link.
    fn send_bulk(&mut self, to: &[LinkId], item: &Item, gate: Option<&Gate>) {
        for link in to {
            let entry = Entry { item: item.clone(), gate: gate.cloned(), written: None };
            if let Some(handle) = self.links.get_mut(link)
                && handle.outbox.push_bulk(entry).is_err()
            {
                self.context.counters.dropped(SLOW_FOR_FILES);
            }
        }
    }

    /// Queues for a link; one whose queue is full is closed, and the machine told.
    fn push(&mut self, link: LinkId, entry: Entry) {
        // A link that went down while the machine spoke: its end is in the inbox.
        let Some(handle) = self.links.get_mut(&link) else { return };
        if handle.outbox.push(self.batch, entry).is_ok() {
            return;
        }
        let (frames, bytes) = handle.outbox.depth();
        debug!(link = link.0, frames, bytes, "closing a {SLOW}");
        handle.stop.now(close_code::POLICY, SLOW);
        self.links.remove(&link);
        self.context.counters.slow_consumers.fetch_add(1, Relaxed);
        self.own.push_back(Event::LinkClosed { link, why: SLOW.into() });
    }

    fn close(&mut self, link: LinkId, code: u16, reason: &'static str) {
        let Some(mut handle) = self.links.remove(&link) else { return };
        debug!(link = link.0, code, reason, "closing");
        // Behind what is queued; if there is no room, at once.
        if handle.outbox.push(self.batch, Item::Close { code, reason }.into()).is_err() {
            handle.stop.now(code, reason);
        }
    }

    /// Wraps the channel's key on the pool, behind everything that people wait for.
    fn wrap_channel_key(&self, members: Vec<(UserId, PublicKey)>) {
        let (context, pool, channel) = (self.context.clone(), self.pool.clone(), self.channel.clone());
        self.context.tasks.spawn(async move {
            let wraps = pool.run(Lane::Bulk, move || channel.wrap(&members)).await;
            // Without a pool there is no server any more.
            let wraps = wraps.unwrap_or_default();
            context.tell(Event::ChannelKeyWrapped { wraps }).await;
        });
    }

    /// Checks a password on the pool; how many wait is the machine's to bound.
    fn check_password(&self, check: PasswordCheck) {
        let (context, pool, turn) = (self.context.clone(), self.pool.clone(), self.passwords.clone());
        self.context.tasks.spawn(async move {
            let _turn = turn.acquire_owned().await;
            let link = check.link;
            let right = pool.run(Lane::Bulk, move || password::is_right(check)).await;
            // Without a pool there is no server any more.
            let right = right.unwrap_or(false);
            context.tell(Event::PasswordChecked { link, right }).await;
        });
    }

    fn report(&mut self, report: Report) {
        if let Report::IdAssigned { server } = &report {
            self.id.send_replace(server.clone());
        }
        self.reporter.report(report);
    }
}
