//! Every bound and every interval of the server machine, with where its number comes from.

use std::time::Duration;

/// Bounds (decisions §1, unless said otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame that is read, in bytes; the transport enforces it with close 1009.
    pub frame_in_bytes: usize,
    /// Longest frame that we build, in bytes: Python peers close the socket at 1 MiB.
    pub frame_out_bytes: usize,
    /// Longest `meta`, in bytes.
    pub meta_bytes: usize,
    /// Servers that are known.
    pub servers: usize,
    /// Users of one origin.
    pub users_per_origin: usize,
    /// Users whose keys are pinned, all origins together. 100,000 pins of 0.7 KiB are 70 MB,
    /// and their `meta` up to `meta_bytes` each besides.
    pub pinned_users: usize,
    /// Members of the public channel, each an id in memory and a row in the store; half of them are kept for
    /// logins here.
    pub channel_members: usize,
    /// Wraps of the channel's key that are made, and told of, at once: at 0.9 KiB each, half of a frame.
    pub channel_wraps: usize,
    /// PUBLIC_CHANNEL_* of one origin at once; it tells of changes once a second.
    pub channel_burst: u32,
    /// PUBLIC_CHANNEL_* a second of one origin after that; more is dropped.
    pub channel_per_second: u32,
    /// Users who may log in by a password, each with a `privkey_store` in memory.
    pub accounts: usize,
    /// Longest `privkey_store`, in bytes; the seed's have 4.6 KiB.
    pub privkey_store_bytes: usize,
    /// Wrong passwords a second, and at once, per address (decisions §1).
    pub wrong_passwords_per_second: u32,
    /// Registrations at once, per address: a class behind one router.
    pub registration_burst: u32,
    /// Addresses whose wrong passwords and registrations are counted; beyond, the one that tried least makes room.
    pub password_addresses: usize,
    /// Passwords that wait for their check, which costs 50 ms and 16 MiB each, one after the other.
    pub password_checks: usize,
    /// Adverts and removals a second, per origin; more pauses the link.
    pub changes_per_second: u32,
    /// PRESENCEs of one origin at once: one a minute, one for each link that comes up, and one for each request.
    pub presence_burst: u32,
    /// PRESENCEs a second of one origin after that; more is dropped.
    pub presences_per_second: u32,
    /// Changes of its `meta` that a user may make at once: each is signed twice and told to everybody.
    pub meta_changes: u32,
    /// Clients in a WELCOME.
    pub welcome_clients: usize,
    /// Addresses learnt from one teller.
    pub learnt_addresses_per_teller: usize,
    /// Bad frames a minute before a link is closed (decisions §2); of those that it carried for another server, before
    /// its frames of that server are looked at no more.
    pub bad_frames_per_minute: u32,
    /// ERRORs that a link may cost at once (decisions §2).
    pub error_burst: u32,
    /// ERRORs a second after the burst (decisions §2).
    pub errors_per_second: u32,
    /// ERRORs that all strangers together may cost at once: links that have not logged in.
    pub stranger_error_burst: u32,
    /// ERRORs a second to strangers after that.
    pub stranger_errors_per_second: u32,
    /// Longest text of a peer that is repeated to it or to anybody in an ERROR or a report, in bytes.
    pub quoted_bytes: usize,
    /// Links that have not said yet who they are; further ones are refused.
    pub greeting_links: usize,
    /// Users logged in here.
    pub local_users: usize,
    /// Entries of each duplicate cache (§10): 65,536 hashes of 32 bytes.
    pub seen_entries: usize,
    /// Direct messages a second that a user may send, each of which costs us a signature (two cores make about
    /// a thousand), and frames about files other than chunks, each of which costs its recipient attention;
    /// more pauses the link.
    pub messages_per_second: u32,
    /// Direct messages at once.
    pub message_burst: u32,
    /// Public messages to single members a second that a user may send; more pauses the link. They are relayed, which
    /// costs little, but their recipients open each (600 a second and core).
    pub public_per_second: u32,
    /// The same at once: one to each member of a channel of that size.
    pub public_burst: u32,
    /// Messages a second that a server may bring, each of which may cost a signature here, as on its own link; more
    /// pauses the link. Two cores make about a thousand.
    pub server_messages_per_second: u32,
    /// The same at once.
    pub server_message_burst: u32,
    /// FILE_CHUNKs a second that a user may send; more pauses the link. Files decrypt at 0.285 MB/s per core: this
    /// keeps six cores of a recipient busy.
    pub chunks_per_second: u32,
    /// FILE_CHUNKs at once: a few windows of our clients.
    pub chunk_burst: u32,
    /// LIST_REQUEST, PUBKEY_REQUEST and PRESENCE_REQUEST a second per link; more pauses the link.
    pub requests_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_in_bytes: 1024 * 1024,
            frame_out_bytes: 512 * 1024,
            meta_bytes: 4 * 1024,
            servers: 256,
            users_per_origin: 10_000,
            pinned_users: 100_000,
            channel_members: 20_000,
            channel_wraps: 256,
            channel_burst: 20,
            channel_per_second: 4,
            accounts: 5_000,
            privkey_store_bytes: 8 * 1024,
            wrong_passwords_per_second: 5,
            registration_burst: 50,
            password_addresses: 4_096,
            password_checks: 64,
            changes_per_second: 100,
            presence_burst: 300,
            presences_per_second: 5,
            meta_changes: 5,
            welcome_clients: 500,
            learnt_addresses_per_teller: 8,
            bad_frames_per_minute: 100,
            error_burst: 20,
            errors_per_second: 2,
            stranger_error_burst: 200,
            stranger_errors_per_second: 20,
            quoted_bytes: 512,
            greeting_links: 1024,
            local_users: 10_000,
            seen_entries: 65_536,
            messages_per_second: 100,
            message_burst: 200,
            public_per_second: 400,
            public_burst: 1_000,
            server_messages_per_second: 1_000,
            server_message_burst: 2_000,
            chunks_per_second: 4_000,
            chunk_burst: 4_096,
            requests_per_second: 20,
        }
    }
}

/// Intervals and timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// HEARTBEAT and ping (§8.4).
    pub heartbeat: Duration,
    /// Silence after which a link is dead (§8.4).
    pub silence: Duration,
    /// A peer must say who it is within this.
    pub greeting: Duration,
    /// To a peer without WELCOME we introduce ourselves after this (decisions §4).
    pub welcome: Duration,
    /// Peers of the dialects that greet without JOIN answer nothing: after this a link that we dialled counts,
    /// and those who write only on links of their own have had time to dial.
    pub dial_back: Duration,
    /// Both LINK_PROOFs must hold within this (decisions §4).
    pub link_proof: Duration,
    /// A LOGIN_CHALLENGE is good for this long (decisions §4).
    pub challenge: Duration,
    /// An address may register one more user after this.
    pub registration: Duration,
    /// A password check that takes longer is given up.
    pub password: Duration,
    /// An attestation counts for this long (decisions §4).
    pub attestation: Duration,
    /// How far ahead of our clock an attestation may be (decisions §4).
    pub attestation_ahead: Duration,
    /// Sessions renew their attestation after this (decisions §4).
    pub attestation_renewal: Duration,
    /// A user may change its `meta` once more after this.
    pub meta_change: Duration,
    /// Users of a server whose link is down stay this long (decisions §5).
    pub grace: Duration,
    /// PRESENCE to all natives (decisions §5).
    pub presence: Duration,
    /// Changes of the public channel are told at most once in this time (decisions §6).
    pub channel: Duration,
    /// How long gossip in flight may explain a difference (decisions §5).
    pub presence_settle: Duration,
    /// Without PRESENCE for this long an origin is down (decisions §5).
    pub presence_lost: Duration,
    /// Users of a standard peer that its new link does not list are gone after this (decisions §5).
    pub relist: Duration,
    /// First redial (decisions §7).
    pub redial_first: Duration,
    /// Slowest redial (decisions §7).
    pub redial_slowest: Duration,
    /// An introducer that says nothing for so long has had its turn, and the next one of the list is tried, too
    /// (§8.1).
    pub next_introducer: Duration,
    /// Two links of one pair opened within this are told apart by who dialled (decisions §5).
    pub tie_break: Duration,
    /// Entries of the duplicate caches are forgotten after this (§10).
    pub seen: Duration,
    /// Learnt addresses are dialled at most once in this time (decisions §1).
    pub learnt_dial: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            heartbeat: secs(15),
            silence: secs(45),
            greeting: secs(10),
            welcome: secs(2),
            dial_back: secs(1),
            link_proof: secs(5),
            challenge: secs(30),
            registration: secs(10),
            password: secs(30),
            attestation: secs(24 * 3600),
            attestation_ahead: secs(600),
            attestation_renewal: secs(12 * 3600),
            meta_change: secs(10),
            grace: secs(60),
            presence: secs(60),
            channel: secs(1),
            presence_settle: secs(2),
            presence_lost: secs(180),
            relist: secs(30),
            redial_first: secs(1),
            redial_slowest: secs(60),
            next_introducer: secs(1),
            tie_break: secs(10),
            seen: secs(600),
            learnt_dial: secs(1),
        }
    }
}
