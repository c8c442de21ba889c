//! Files on their way (§9.4, decisions §6): FILE_START, FILE_CHUNK, FILE_END, and the ACKs that pace them. They
//! are users' own frames, relayed with their own text from user to user; a server keeps nothing of them.

use super::api::LinkId;
use super::deliver::{Route, recipient_of};
use super::link::Link;
use super::{Server, Teller};
use crate::crypto::Verified;
use crate::wire::{ErrorCode, Frame, FrameRef, FrameType, Payload, ServerId, UserId};

impl Server {
    /// A frame of a user here.
    pub(super) fn on_file_frame(&mut self, link: LinkId, user: &UserId, frame: &Verified) {
        let frame = frame.frame();
        match frame.payload() {
            Payload::FileChunk(_) => self.charge_chunk(link),
            // People are to see these: as often as messages.
            _ => self.charge_message(link),
        }
        let starts = *frame.kind() == FrameType::FileStart;
        if let Some(recipient) = recipient_of(frame)
            && *frame.kind() == FrameType::Ack
            && matches!(self.route(&recipient), Route::Unknown)
            && self.peers.contains_key(&ServerId::from(recipient.id().clone()))
        {
            // The file came in a server's name, which is all that is known of its sender: nobody waits for this.
            return self.dropped("acknowledgement to a server", recipient.to_string());
        }
        let onward = if frame.text().len() > self.config.limits.frame_out_bytes {
            Err((ErrorCode::UnknownType, "the frame is too long".to_owned()))
        } else if let Some(recipient) = recipient_of(frame) {
            self.onward(&recipient).map(|to| (to, recipient))
        } else {
            let detail = "no recipient: neither payload.to nor to names a user";
            Err((ErrorCode::UserNotFound, detail.to_owned()))
        };
        match onward {
            Ok((to, recipient)) => {
                let route = self.route(&recipient);
                if let Route::Server { server, .. } = &route
                    && *frame.kind() == FrameType::Ack
                    && !self.is_native(server)
                {
                    // The standard has it, but no peer that we know of expects one between users.
                    return self.dropped("acknowledgement to a server of the standard", server.to_string());
                }
                if let (Route::Server { server, .. }, true, Some(ts)) = (route, starts, frame.ts()) {
                    let teller = Teller::Author(user.clone());
                    self.note_in_transit(FrameType::FileStart, &recipient, ts, teller, &server, to);
                }
                if let Err((code, detail)) = self.pass_to(link, to, user, &recipient, frame) {
                    self.file_undelivered(link, starts, code, &detail, frame);
                }
            }
            Err((code, detail)) => self.file_undelivered(link, starts, code, &detail, frame),
        }
    }

    /// Hundreds of chunks may be under way when somebody leaves; the first word about these says it all.
    fn file_undelivered(&mut self, link: LinkId, starts: bool, code: ErrorCode, detail: &str, frame: &Frame) {
        match starts {
            true => self.undelivered(link, code, detail, frame.reference()),
            false => self.error(link, code, detail, Some(frame.reference())),
        }
    }

    /// A frame of a user elsewhere.
    pub(super) fn on_relayed_file(&mut self, link_id: LinkId, frame: &Verified) {
        let frame = frame.frame();
        if !self.links.get(&link_id).and_then(Link::server).is_some_and(|link| link.up) {
            return;
        }
        if *frame.kind() != FrameType::FileChunk {
            self.remember(frame);
        }
        let Some(recipient) = recipient_of(frame) else {
            return self.dropped("file for nobody", frame.kind().as_str());
        };
        match self.route(&recipient) {
            Route::Local(to) => {
                let Some(author) = frame.from().cloned().map(UserId::from) else { return };
                if let Err((_, why)) = self.pass_to(link_id, to, &author, &recipient, frame) {
                    self.dropped("file frame is too long", why);
                }
            }
            // Of the rest the removal, which is on its way, will tell.
            Route::Server { .. } | Route::Unreachable | Route::Unknown => {
                if *frame.kind() == FrameType::FileStart {
                    let reference = FrameRef { to: Some(recipient.as_str().into()), ..frame.reference() };
                    let detail = format!("{recipient} is not online here");
                    return self.undelivered(link_id, ErrorCode::UserNotFound, &detail, reference);
                }
                self.dropped("file for nobody here", recipient.to_string());
            }
        }
    }
}
