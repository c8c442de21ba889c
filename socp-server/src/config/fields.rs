//! The one list of everything that can be set: what reads the file, what prints it, and what knows the names
//! goes by it. A limit that is added to its struct and not here does not compile.

use socp_core::server::{Limits, Timing};
use socp_transport::LinkLimits;

use super::Settings;
use super::value::{Count, File, Files, Interval, Maybe, MaybeTexts, Rate, Size, Slot, Switch, Text, Texts};

/// An advert has to fit into a frame, with all that it may carry.
const LEAST_FRAME: usize = 16 * 1024;

/// A part of the file.
pub(super) struct Section<'a> {
    /// As it stands in brackets; empty for what stands before the first of them.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    pub(super) fields: Vec<Field<'a>>,
}

/// One setting.
pub(super) struct Field<'a> {
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    /// A value as the file has it, for a setting without default.
    pub(super) example: &'static str,
    pub(super) slot: Box<dyn Slot + 'a>,
}

impl<'a> Field<'a> {
    fn new(name: &'static str, slot: impl Slot + 'a, about: &'static str) -> Self {
        Self { name, about, example: "", slot: Box::new(slot) }
    }

    fn such_as(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
}

impl Settings {
    /// Everything, in the order of the file.
    pub(super) fn sections(&mut self) -> Vec<Section<'_>> {
        let Self {
            listen,
            advertise,
            allow_plain,
            data_dir,
            server_id,
            log_level,
            bootstrap,
            introducers,
            join_allowlist,
            dial,
            strict_ids,
            require_proof,
            password_logins,
            certificate,
            key,
            ca,
            limits: machine_limits,
            timing: machine_timing,
            links: link_limits,
            max_links,
            max_handshakes,
        } = self;
        let top = vec![
            Field::new(
                "listen",
                Texts(listen),
                "Where to listen: HOST:PORT, with ws:// (plain) or wss:// (TLS) in front or without: then it is TLS \
                 if [tls] names a certificate. Port 0 picks a free one. Flag: --listen.",
            ),
            Field::new(
                "advertise",
                Maybe(advertise),
                "The address that others are to dial, if it is not the first to listen on. Binding: users and \
                 servers that dial another one are turned away. Flag: --advertise.",
            )
            .such_as("\"chat.example:8765\""),
            Field::new(
                "allow_plain",
                Switch(allow_plain),
                "Whether plain ws:// links, listening and dialling, may leave this machine. Everybody on the way \
                 then sees who writes to whom, and when. Flag: --allow-plain.",
            ),
            Field::new(
                "data_dir",
                File(data_dir),
                "Where identity and state are kept; $XDG_DATA_HOME/socp/server if nobody says more. Relative \
                 paths start where this file is. Flag: --data-dir.",
            )
            .such_as("\"/var/lib/socp\""),
            Field::new(
                "server_id",
                Maybe(server_id),
                "The server's id, kept from its first start on; derived from its key if nobody says more. Flag: \
                 --server-id.",
            )
            .such_as("\"6f1b1ad2-7a54-4c6e-9e0a-0c9b4d8a7e21\""),
            Field::new(
                "log_level",
                Text(log_level),
                "error, warn, info, debug, trace, or directives as in \"info,socp_transport=debug\". Flag: \
                 --log-level.",
            ),
            Field::new(
                "bootstrap",
                File(bootstrap),
                "The standard's list of trusted introducers (YAML), one file for all servers of a mesh. An entry \
                 with `tls: true` is dialled over TLS. Flag: --bootstrap.",
            )
            .such_as("\"mesh.yaml\""),
            Field::new(
                "introducers",
                Texts(introducers),
                "Trusted introducers, like entries of the list: \"HOST:PORT#PUBKEY\", with wss:// in front for \
                 TLS. Flag: --introducer.",
            ),
            Field::new(
                "join_allowlist",
                MaybeTexts(join_allowlist),
                "Public keys of the servers that this one links with, whoever of the two dials, also those of \
                 earlier runs. Without it every server may join, with an empty one none. Trusted introducers \
                 (`bootstrap`, `introducers`) always may: naming them is a choice of its own.",
            )
            .such_as("[]"),
            Field::new(
                "dial",
                Text(dial),
                "Which addresses learnt from other servers are dialled: \"reachable\" (all but loopback and \
                 link-local ones, unless this server listens there itself), \"all\", or \"none\".",
            ),
            Field::new("strict_ids", Switch(strict_ids), "Refuse ids that are not UUID v4."),
            Field::new(
                "require_proof",
                Switch(require_proof),
                "Refuse logins of users who do not prove that they have their key.",
            ),
            Field::new(
                "password_logins",
                Text(password_logins),
                "Where users of other clients may register and log in with a password, which crosses the link as \
                 it is: \"private\" (from this machine, and over TLS), \"anywhere\", or \"never\".",
            ),
        ];
        let tls = vec![
            Field::new(
                "certificate",
                File(certificate),
                "The server's certificate and those of the authorities between it and one that clients trust, \
                 its own first (PEM). Read again at SIGHUP. Flag: --tls-cert.",
            )
            .such_as("\"chain.pem\""),
            Field::new(
                "key",
                File(key),
                "Its private key (PEM, without a password). ECDSA keys cost least. Flag: --tls-key.",
            )
            .such_as("\"key.pem\""),
            Field::new(
                "ca",
                Files(ca),
                "Certificates of authorities (PEM) that are trusted, besides the system's, when other servers \
                 are dialled over TLS. Flag: --ca.",
            ),
        ];
        vec![
            Section { name: "", about: "", fields: top },
            Section { name: "tls", about: "TLS.", fields: tls },
            Section {
                name: "links",
                about: "Connections, before and beneath the protocol.",
                fields: links(link_limits, max_links, max_handshakes),
            },
            Section { name: "limits", about: "Bounds of everything.", fields: limits(machine_limits) },
            Section { name: "timing", about: "Intervals and timeouts.", fields: timing(machine_timing) },
        ]
    }
}

fn links<'a>(
    links: &'a mut LinkLimits,
    max_links: &'a mut usize,
    max_handshakes: &'a mut usize,
) -> Vec<Field<'a>> {
    // Frames have the length that [limits] gives them.
    let LinkLimits {
        frame_in_bytes: _,
        queue_frames,
        queue_bytes,
        write_stall,
        close_wait,
        discard_bytes,
        discard_time,
        open_timeout,
    } = links;
    vec![
        Field::new(
            "max_links",
            Count(max_links),
            "Open at once, those that this server dialled not counted.",
        ),
        Field::new(
            "max_handshakes",
            Count(max_handshakes),
            "That have not shaken hands yet, TLS and WebSocket; further ones wait outside.",
        ),
        Field::new("open_timeout", Interval(open_timeout), "TCP connect and handshakes, together."),
        Field::new(
            "write_stall",
            Interval(write_stall),
            "A write without progress for so long ends the link.",
        ),
        Field::new("close_wait", Interval(close_wait), "For the other side's answer to a close frame."),
        Field::new(
            "discard_bytes",
            Size(discard_bytes, 1),
            "Read and thrown away after a close that the other side did not expect, so that it reads why.",
        ),
        Field::new("discard_time", Interval(discard_time), "For so long at most."),
        Field::new(
            "queue_frames",
            Count(queue_frames),
            "Frames that may wait for one that reads slowly; who needs more is closed.",
        ),
        Field::new("queue_bytes", Size(queue_bytes, LEAST_FRAME), "Bytes that may, by the same rule."),
    ]
}

fn limits(limits: &mut Limits) -> Vec<Field<'_>> {
    let Limits {
        frame_in_bytes,
        frame_out_bytes,
        meta_bytes,
        servers,
        users_per_origin,
        pinned_users,
        accounts,
        privkey_store_bytes,
        wrong_passwords_per_second,
        registration_burst,
        password_addresses,
        password_checks,
        channel_members,
        channel_wraps,
        channel_burst,
        channel_per_second,
        changes_per_second,
        welcome_clients,
        learnt_addresses_per_teller,
        bad_frames_per_minute,
        error_burst,
        errors_per_second,
        stranger_error_burst,
        stranger_errors_per_second,
        quoted_bytes,
        greeting_links,
        local_users,
        seen_entries,
        messages_per_second,
        message_burst,
        public_per_second,
        public_burst,
        server_messages_per_second,
        server_message_burst,
        requests_per_second,
        chunks_per_second,
        chunk_burst,
        presence_burst,
        presences_per_second,
        meta_changes,
    } = limits;
    vec![
        Field::new(
            "frame_in_bytes",
            Size(frame_in_bytes, LEAST_FRAME),
            "Longest frame that is read; a longer one closes its link (1009).",
        ),
        Field::new(
            "frame_out_bytes",
            Size(frame_out_bytes, LEAST_FRAME),
            "Longest frame that is built; longer lists are split. Servers in Python close links at 1 MiB.",
        ),
        Field::new("meta_bytes", Size(meta_bytes, 1), "Longest `meta` of a user."),
        Field::new("local_users", Count(local_users), "Users logged in here."),
        Field::new("servers", Count(servers), "Servers that are known."),
        Field::new("users_per_origin", Count(users_per_origin), "Users of one other server."),
        Field::new(
            "pinned_users",
            Count(pinned_users),
            "Users whose keys are remembered, wherever they are; about 0.7 KiB each, and their `meta`.",
        ),
        Field::new("accounts", Count(accounts), "Users who may log in by a password."),
        Field::new(
            "privkey_store_bytes",
            Size(privkey_store_bytes, 1),
            "Longest encrypted private key that is kept for one of them.",
        ),
        Field::new(
            "wrong_passwords_per_second",
            Rate(wrong_passwords_per_second),
            "Wrong passwords that one address may try; of IPv6 a network (/64) is one address.",
        ),
        Field::new(
            "password_addresses",
            Count(password_addresses),
            "Addresses whose wrong passwords and registrations are counted; beyond, who tried least makes room for \
             the next.",
        ),
        Field::new(
            "registration_burst",
            Rate(registration_burst),
            "Users that may be registered from one address at once.",
        ),
        Field::new(
            "password_checks",
            Count(password_checks),
            "Passwords that wait for their check, which takes 50 ms each.",
        ),
        Field::new(
            "channel_members",
            Count(channel_members),
            "Members of the public channel, who stay members; half of them are kept for logins here.",
        ),
        Field::new(
            "channel_wraps",
            Count(channel_wraps),
            "Members whose copy of the channel's key is made and told of at once.",
        ),
        Field::new(
            "channel_burst",
            Rate(channel_burst),
            "News of the channel that a server may tell at once.",
        ),
        Field::new(
            "channel_per_second",
            Rate(channel_per_second),
            "News of the channel that it may tell after that; more is dropped.",
        ),
        Field::new(
            "changes_per_second",
            Rate(changes_per_second),
            "Logins and logouts that another server may tell of; more slows its link down.",
        ),
        Field::new(
            "messages_per_second",
            Rate(messages_per_second),
            "Direct messages of a user, each of which costs a signature (two cores make about a thousand a \
             second); more slows the link down.",
        ),
        Field::new("message_burst", Rate(message_burst), "Direct messages at once."),
        Field::new(
            "public_per_second",
            Rate(public_per_second),
            "Public messages of a user, one to each member; more slows the link down.",
        ),
        Field::new("public_burst", Rate(public_burst), "Public messages at once."),
        Field::new(
            "server_messages_per_second",
            Rate(server_messages_per_second),
            "Messages that another server brings, each of which may cost a signature; more slows its link down.",
        ),
        Field::new("server_message_burst", Rate(server_message_burst), "Messages of a server at once."),
        Field::new(
            "requests_per_second",
            Rate(requests_per_second),
            "Requests for lists and keys on one link; more slows it down.",
        ),
        Field::new(
            "chunks_per_second",
            Rate(chunks_per_second),
            "Frames of files that a user may send; more slows the link down.",
        ),
        Field::new("chunk_burst", Rate(chunk_burst), "Frames of files at once."),
        Field::new("presence_burst", Rate(presence_burst), "Digests of one other server at once."),
        Field::new(
            "presences_per_second",
            Rate(presences_per_second),
            "Digests of one other server after that; more is dropped, and made good by the next.",
        ),
        Field::new("meta_changes", Rate(meta_changes), "Changes of name that a user may make at once."),
        Field::new("greeting_links", Count(greeting_links), "Links that have not said who they are."),
        Field::new(
            "welcome_clients",
            Count(welcome_clients),
            "Users that a newly joined server is told of at once.",
        ),
        Field::new(
            "learnt_addresses_per_teller",
            Count(learnt_addresses_per_teller),
            "Addresses that are dialled on one server's word.",
        ),
        Field::new(
            "bad_frames_per_minute",
            Rate(bad_frames_per_minute),
            "Bad frames that do not cost the link.",
        ),
        Field::new("error_burst", Rate(error_burst), "ERRORs that one link may cost at once."),
        Field::new("errors_per_second", Rate(errors_per_second), "ERRORs that it may cost after that."),
        Field::new(
            "stranger_error_burst",
            Rate(stranger_error_burst),
            "ERRORs that all links together may cost at once that have not logged in.",
        ),
        Field::new(
            "stranger_errors_per_second",
            Rate(stranger_errors_per_second),
            "ERRORs that they may cost after that.",
        ),
        Field::new(
            "quoted_bytes",
            Size(quoted_bytes, 1),
            "Longest text of others that is repeated in ERRORs and logs.",
        ),
        Field::new("seen_entries", Count(seen_entries), "Frames that are remembered, to drop their repeats."),
    ]
}

fn timing(timing: &mut Timing) -> Vec<Field<'_>> {
    let Timing {
        heartbeat,
        silence,
        greeting,
        welcome,
        dial_back,
        link_proof,
        challenge,
        password,
        attestation,
        attestation_ahead,
        attestation_renewal,
        grace,
        presence,
        channel,
        presence_settle,
        presence_lost,
        relist,
        redial_first,
        redial_slowest,
        next_introducer,
        tie_break,
        seen,
        learnt_dial,
        meta_change,
        registration,
    } = timing;
    vec![
        Field::new("heartbeat", Interval(heartbeat), "Between HEARTBEATs and pings."),
        Field::new("silence", Interval(silence), "Without any sign of life for so long a link is dead."),
        Field::new("greeting", Interval(greeting), "For a new link to say who it is."),
        Field::new(
            "welcome",
            Interval(welcome),
            "For a dialled server's WELCOME; without it we introduce ourselves all the same.",
        ),
        Field::new(
            "dial_back",
            Interval(dial_back),
            "For servers of some dialects, which answer no greeting, to dial us back.",
        ),
        Field::new("link_proof", Interval(link_proof), "For two servers to prove themselves to each other."),
        Field::new("challenge", Interval(challenge), "For a user to answer a LOGIN_CHALLENGE."),
        Field::new("attestation", Interval(attestation), "So long a user's proof of presence counts."),
        Field::new("attestation_ahead", Interval(attestation_ahead), "So far ahead of our clock it may be."),
        Field::new("attestation_renewal", Interval(attestation_renewal), "After this it is renewed."),
        Field::new("meta_change", Interval(meta_change), "After this a user may change its name once more."),
        Field::new("grace", Interval(grace), "So long the users of a server stay whose link is lost."),
        Field::new(
            "presence",
            Interval(presence),
            "Between the digests by which servers compare their users.",
        ),
        Field::new(
            "password",
            Interval(password),
            "For the check of a password; then the login is given up.",
        ),
        Field::new(
            "registration",
            Interval(registration),
            "After this one more user may be registered from an address.",
        ),
        Field::new("channel", Interval(channel), "Between news of the public channel's members."),
        Field::new(
            "presence_settle",
            Interval(presence_settle),
            "So long gossip on its way may explain a difference.",
        ),
        Field::new(
            "presence_lost",
            Interval(presence_lost),
            "Without a digest for so long a server is down.",
        ),
        Field::new(
            "relist",
            Interval(relist),
            "For a server without digests to name its users on a new link; the others are gone.",
        ),
        Field::new(
            "redial_first",
            Interval(redial_first),
            "Before the first redial; each further one waits twice as long.",
        ),
        Field::new("redial_slowest", Interval(redial_slowest), "At most."),
        Field::new(
            "next_introducer",
            Interval(next_introducer),
            "An introducer that says nothing for so long has had its turn: the next one is tried, too.",
        ),
        Field::new("tie_break", Interval(tie_break), "Two links of one pair opened within this: one goes."),
        Field::new("seen", Interval(seen), "So long repeats of a frame are known for ones."),
        Field::new("learnt_dial", Interval(learnt_dial), "Between dials of addresses that peers told us of."),
    ]
}
