//! What users are told on request: DIRECTORY, LIST_RESPONSE, PUBKEY (§13, §14).

use super::api::LinkId;
use super::{Server, Session};
use crate::crypto::{SharedPayload, Verified};
use crate::wire::{Directory, DirectoryEntry, ErrorCode, Payload, Pubkey, Recipient, UserId};

/// A directory entry without id, meta and rotations: key in base64, server id, punctuation.
const ENTRY_BYTES: usize = 1_100;

/// A step of a rotation without the id: two keys and a signature in base64, punctuation.
const ROTATION_BYTES: usize = 2_250;

impl Server {
    /// Everybody but the newcomer: pages for natives, one USER_ADDED per user for others.
    pub(super) fn send_directory(&mut self, link: LinkId, user: &UserId, bare: bool) {
        if bare {
            let online =
                self.users.iter().filter(|(other, entry)| *other != user && entry.location.is_some());
            let online: Vec<UserId> = online.map(|(other, _)| other.clone()).collect();
            for other in online {
                if let Some(payload) = self.user_added(&other) {
                    // The next one who takes no pages costs no signature for this user.
                    if let Some(entry) = self.users.get_mut(&other) {
                        entry.added = Some(payload.clone());
                    }
                    self.broadcast(vec![link], payload);
                }
            }
            return;
        }
        let users = self.online_users().filter(|entry| entry.user_id != *user).collect();
        for (page, bytes) in self.directory_pages(users) {
            self.send_page(link, user, Payload::Directory(page), bytes);
        }
    }

    /// LIST_REQUEST: the asker included, sorted by label, then id.
    pub(super) fn on_list_request(&mut self, link: LinkId, user: &UserId) {
        let mut users: Vec<DirectoryEntry> = self.online_users().collect();
        users.sort_by_cached_key(|entry| {
            let name = entry.meta.as_ref().and_then(|meta| meta.display_name());
            (name.unwrap_or_else(|| entry.user_id.to_string()), entry.user_id.clone())
        });
        let bare = self.local.get(user).is_some_and(|session: &Session| session.bare);
        let pages = match bare {
            // Receivers without pages get what fits in one frame.
            true => self
                .directory_pages(users)
                .into_iter()
                .take(1)
                .map(|(page, bytes)| (Directory { page: None, pages: None, ..page }, bytes))
                .collect(),
            false => self.directory_pages(users),
        };
        for (page, bytes) in pages {
            // Each page costs a signature.
            self.charge_request(link);
            self.send_page(link, user, Payload::ListResponse(page), bytes);
        }
    }

    fn send_page(&mut self, link: LinkId, user: &UserId, page: Payload, bytes: usize) {
        let frame = self.frame(Recipient::from(user), SharedPayload::later(page, bytes));
        self.send_to(vec![link], frame);
    }

    /// PUBKEY_REQUEST (§13): the frame's `sig` is the directory's signature over the key.
    pub(super) fn on_pubkey_request(
        &mut self,
        link: LinkId,
        user: &UserId,
        frame: &Verified,
        wanted: &UserId,
    ) {
        self.charge_request(link);
        let known = self.users.get(wanted).and_then(|entry| Some((entry.key.clone()?, entry.version)));
        match known {
            Some((key, version)) => {
                let answer = Pubkey { user_id: wanted.clone(), pubkey: key.into(), version };
                self.send(link, Recipient::from(user), &Payload::Pubkey(answer));
            }
            None => {
                let detail = format!("no key is known for {wanted}");
                self.error(link, ErrorCode::UserNotFound, &detail, Some(frame.frame().reference()));
            }
        }
    }

    fn online_users(&self) -> impl Iterator<Item = DirectoryEntry> {
        self.users.iter().filter_map(|(user, entry)| {
            Some(self.directory_entry(user, entry.key.as_ref()?, entry.location.as_ref()?, &entry.meta))
        })
    }

    /// The pages, and about how many bytes each has.
    fn directory_pages(&self, users: Vec<DirectoryEntry>) -> Vec<(Directory, usize)> {
        let size = |entry: &DirectoryEntry| {
            let meta = entry.meta.as_ref().map_or(0, |meta| meta.as_str().len());
            let ids = 1 + entry.rotations.len();
            ENTRY_BYTES
                + 6 * ids * entry.user_id.as_str().len()
                + meta
                + ROTATION_BYTES * entry.rotations.len()
        };
        let pages = pages(users, self.config.limits.frame_out_bytes, size);
        let bytes: Vec<usize> = pages.iter().map(|page| page.iter().map(size).sum()).collect();
        let count = pages.len() as u32;
        let numbered = pages.into_iter().zip(1..);
        let pages = numbered.map(|(users, page)| Directory { users, page: Some(page), pages: Some(count) });
        pages.zip(bytes).collect()
    }
}

/// Splits a list so that each page, written by us, stays under `max_bytes`; always one page at least.
pub(super) fn pages<T>(items: Vec<T>, max_bytes: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    const ENVELOPE_BYTES: usize = 2_048;
    let room = max_bytes.saturating_sub(ENVELOPE_BYTES);
    let mut pages = vec![Vec::new()];
    let mut used = 0;
    for item in items {
        let bytes = size(&item);
        if used > 0 && used + bytes > room {
            pages.push(Vec::new());
            used = 0;
        }
        used += bytes;
        if let Some(page) = pages.last_mut() {
            page.push(item);
        }
    }
    pages
}
