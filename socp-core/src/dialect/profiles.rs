//! The table. Facts: `docs/dialects.md`.

use super::{Dialect, Edit, Logins, Mark, Profile, UserFrames, WelcomeClients, Writing};
use crate::crypto::{ContentCover, SaltLength};
use crate::wire::{Base64Form, FrameType, KeyForm};

const STANDARD: Profile = Profile {
    name: "standard",
    recognised_by: &[&[Mark::Nonce]],
    keys: KeyForm::Der,
    writing: Writing::STANDARD,
    edits: &[],
    repeats: &[],
    omits: &[],
    relays: true,
    resigns: false,
    only_uuids: false,
    one_way: false,
    links_without_join: false,
    welcome_clients: WelcomeClients::Users,
    asks_for_keys: false,
    user_frames: UserFrames::Relayed,
    logins: Logins::Key,
    tells_of_all: true,
    content: Some(ContentCover::Bytes),
};

/// Python peers on a `cryptography` older than 42 take the longest salt and no other; newer ones take both.
const PYTHON: Writing = Writing { ascii: false, salt: SaltLength::Max, sig: Base64Form::Url };

/// The same on `json.dumps` as it comes.
const PYTHON_ASCII: Writing = Writing { ascii: true, ..PYTHON };

const CHANNEL: [FrameType; 3] =
    [FrameType::PublicChannelAdd, FrameType::PublicChannelUpdated, FrameType::PublicChannelKeyShare];

/// In the order of [`Dialect`].
pub(super) static PROFILES: [Profile; Dialect::ALL.len()] = [
    STANDARD,
    // Nothing shows it before our first JOIN: it answers none that is signed otherwise.
    Profile { name: "python", recognised_by: &[], writing: PYTHON, ..STANDARD },
    Profile {
        name: "seed",
        recognised_by: &[
            &[Mark::Join, Mark::ToUrl],
            &[Mark::Welcome, Mark::Introducer, Mark::Salt(SaltLength::Max)],
        ],
        writing: PYTHON,
        // Its published client reads the list there.
        repeats: &[(FrameType::ListResponse, "users")],
        // Frames whose `from` is not the link's peer are thrown away.
        relays: false,
        user_frames: UserFrames::Wrapped,
        // Neither its servers nor its clients know these.
        omits: &[FrameType::Ack, FrameType::CtrlClose],
        logins: Logins::Password,
        // Of those at other servers alone.
        tells_of_all: false,
        ..STANDARD
    },
    Profile {
        name: "r",
        recognised_by: &[&[Mark::Key(KeyForm::PemPadded)], &[Mark::Welcome, Mark::PaddedSig]],
        keys: KeyForm::PemPadded,
        writing: Writing { sig: Base64Form::UrlPadded, ..PYTHON_ASCII },
        edits: &[
            (FrameType::ServerWelcome, &[Edit::ServersAsClients("user_id")]),
            (FrameType::UserAdvertise, &[Edit::Remove("pubkey")]),
            (
                FrameType::ServerDeliver,
                &[
                    Edit::Copy("ts", "original_ts"),
                    Edit::Encode("ciphertext", Base64Form::Standard),
                    Edit::Encode("content_sig", Base64Form::UrlPadded),
                ],
            ),
        ],
        omits: &CHANNEL,
        relays: false,
        welcome_clients: WelcomeClients::Servers,
        asks_for_keys: true,
        user_frames: UserFrames::Unknown,
        content: Some(ContentCover::Barred),
        ..STANDARD
    },
    Profile {
        name: "m",
        recognised_by: &[
            &[Mark::HelloLinkFirst, Mark::Key(KeyForm::Der), Mark::Salt(SaltLength::Max), Mark::Uuid],
            &[Mark::Welcome, Mark::ServersAmongClients],
            &[Mark::Welcome, Mark::EmptySig, Mark::FreeId],
        ],
        writing: PYTHON_ASCII,
        edits: &[
            (FrameType::ServerWelcome, &[Edit::ServersAsClients("server_id")]),
            (FrameType::UserAdvertise, &[Edit::IntoMeta("pubkey"), Edit::NameIntoMeta("username")]),
            (
                FrameType::ServerDeliver,
                &[Edit::Add("inner_type", "\"MSG_DIRECT\""), Edit::Add("public", "false")],
            ),
        ],
        relays: false,
        one_way: true,
        links_without_join: true,
        welcome_clients: WelcomeClients::Servers,
        user_frames: UserFrames::Unknown,
        content: Some(ContentCover::Digest),
        ..STANDARD
    },
    Profile {
        name: "f",
        recognised_by: &[&[Mark::Key(KeyForm::Pem)]],
        keys: KeyForm::Pem,
        writing: PYTHON_ASCII,
        edits: &[(FrameType::UserAdvertise, &[Edit::IntoMeta("pubkey")])],
        relays: false,
        resigns: true,
        only_uuids: true,
        links_without_join: true,
        user_frames: UserFrames::Unknown,
        content: Some(ContentCover::Text),
        ..STANDARD
    },
    Profile {
        name: "g",
        // It shows nothing that a peer of the standard might not show as well: by the operator's word alone.
        recognised_by: &[],
        omits: &[
            FrameType::UserAdvertise,
            FrameType::UserRemove,
            FrameType::PublicChannelAdd,
            FrameType::PublicChannelUpdated,
            FrameType::PublicChannelKeyShare,
        ],
        relays: false,
        user_frames: UserFrames::Unknown,
        content: None,
        ..STANDARD
    },
];
