//! What the standard asks, as a table, and how each of it came out.

use std::future::Future;
use std::pin::Pin;

use super::stage::Stage;
use super::{errors, gossip, joining, life, messages, users};

/// One thing that the standard asks.
pub(super) struct Clause {
    /// Its name: subject, dot, matter.
    pub(super) id: &'static str,
    /// Of the standard.
    pub(super) section: &'static str,
    pub(super) title: &'static str,
    /// Whom the probe plays.
    pub(super) role: Role,
    pub(super) sends: &'static str,
    pub(super) expects: &'static str,
    /// What must be there before it can be tried.
    pub(super) needs: &'static [Need],
    pub(super) play: for<'a> fn(&'a mut Stage) -> Play<'a>,
}

/// A clause being tried.
pub(super) type Play<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// Passed, and in words what was seen; or not.
pub(super) type Outcome = Result<String, Fault>;

/// Not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The target does not do what the standard asks.
    Failed(String),
    /// It cannot be told here, or is nothing that the standard asks.
    NotApplicable(String),
}

/// A [`Fault::Failed`].
pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Failed(why.into()))
}

/// A [`Fault::NotApplicable`].
pub(super) fn not_applicable<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::NotApplicable(why.into()))
}

/// Whom the probe plays in a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
    Both,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        }
    }
}

/// What must be there before a clause can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A WELCOME.
    Welcome,
    /// The link of the probe's first server.
    Link,
    /// That of its second one.
    Second,
    /// Ann at the target.
    Ann,
    /// Ben at the target.
    Ben,
    /// Somebody who would hear of gossip: a client, or the second server, of which one has heard of Rob.
    Ear,
}

impl Need {
    /// Why a clause cannot be tried without it.
    pub(super) fn without(self) -> &'static str {
        match self {
            Self::Welcome => "there was no WELCOME",
            Self::Link => "no server link came up",
            Self::Second => "the second server's link did not come up",
            Self::Ann | Self::Ben => "no user of the probe could log in",
            Self::Ear => "no advert of the probe reached anybody, so that silence proves nothing",
        }
    }
}

/// A clause and its parts, each once.
macro_rules! clause {
    ($id:literal, $section:literal, $role:ident, [$($need:ident),*], $play:path, $title:literal, $sends:literal => $expects:literal) => {
        Clause {
            id: $id,
            section: $section,
            title: $title,
            role: Role::$role,
            sends: $sends,
            expects: $expects,
            needs: &[$(Need::$need),*],
            play: |stage| Box::pin($play(stage)),
        }
    };
}

/// In this order: each leaves the scene as the next ones need it.
pub(super) static CLAUSES: &[Clause] = &[
    clause!("join.welcome", "§8.1", Server, [], joining::welcome,
        "JOIN is answered with WELCOME", "SERVER_HELLO_JOIN in the standard's form" => "SERVER_WELCOME"),
    clause!("join.time", "§8.1", Server, [Welcome], joining::time,
        "WELCOME comes within a second", "the same" => "WELCOME before the first peers give up: 1 s"),
    clause!("join.assigned-id", "§8.1", Server, [Welcome], joining::assigned_id,
        "a unique id is kept", "the same" => "assigned_id = our id, to = our id"),
    clause!("join.clients", "§8.1", Server, [Welcome], joining::clients,
        "WELCOME lists users", "the same" => "clients: [{user_id, host, port, pubkey}]"),
    clause!("join.id", "§5", Server, [Welcome], joining::server_id,
        "the server's id is a UUID v4", "the same" => "from = a UUID v4"),
    clause!("join.key", "§4", Server, [], joining::key,
        "its key is RSA-4096, base64url of DER", "the same" => "a pubkey: 550 bytes of SPKI, unpadded"),
    clause!("join.link", "§8.1", Server, [Link], joining::link,
        "the newcomer's link stays", "SERVER_HELLO_LINK, SERVER_ANNOUNCE" => "no ERROR, no close"),
    clause!("user.hello", "§9.1", Client, [], users::hello,
        "a USER_HELLO is a login", "USER_HELLO of Ann" => "a session: she is advertised, or answered"),
    clause!("user.advertise", "§9.1", Both, [Link, Ann], users::advertise,
        "who logs in is advertised to servers", "the same" => "USER_ADVERTISE {user_id, server_id, meta}, signed"),
    clause!("channel.add", "§9.3", Both, [Link, Ann], users::channel_add,
        "who logs in joins the public channel", "the same" => "PUBLIC_CHANNEL_ADD {add: [Ann]}, signed"),
    clause!("channel.updated", "§9.3", Both, [Link, Ann], users::channel_updated,
        "the channel's new version is told", "the same" => "PUBLIC_CHANNEL_UPDATED {version, wraps}"),
    clause!("user.told", "§8.2", Client, [Ann], users::told,
        "clients hear of users at their own server", "USER_HELLO of Ben" => "Ann is told of Ben"),
    clause!("user.remove", "§8.2", Both, [Link, Ann], users::remove,
        "who leaves is removed at servers", "Dot logs in and leaves" => "USER_REMOVE {user_id, server_id}, signed"),
    clause!("user.name-in-use", "§9.1", Client, [Ann], users::name_in_use,
        "a connected id is not given away", "USER_HELLO of Dot, twice" => "ERROR NAME_IN_USE; the first stays"),
    clause!("user.bad-key", "§4", Client, [], users::bad_key,
        "a weak key is refused", "USER_HELLO of Eve with RSA-2048" => "ERROR BAD_KEY"),
    clause!("user.proof", "§13", Client, [Ann], users::proof,
        "possession of the key is proven", "USER_HELLO of Eve with auth: [\"pss\"]" => "LOGIN_CHALLENGE, then USER_LOGGED_IN"),
    clause!("mesh.second", "§8.1", Server, [Link], joining::second,
        "a second server joins", "JOIN, HELLO_LINK, ANNOUNCE of probe-2" => "WELCOME, or another sign of life"),
    clause!("mesh.members", "§8.1", Server, [Second], joining::members,
        "a newcomer learns of the other servers", "the same" => "probe-1 and its key in WELCOME, or its ANNOUNCE"),
    clause!("mesh.online", "§8.1", Both, [Second, Ann], gossip::online,
        "a newcomer learns who is online", "the same" => "Ann in WELCOME.clients, or her advert"),
    clause!("gossip.advertise", "§8.2", Both, [Link, Ann], gossip::advertise,
        "an advert reaches clients", "USER_ADVERTISE of Rob by probe-1" => "Ann is told of Rob"),
    clause!("gossip.relay", "§8.2", Server, [Link, Second], gossip::relay,
        "an advert is forwarded as it was signed", "the same" => "USER_ADVERTISE at probe-2, signed by probe-1"),
    clause!("gossip.echo", "§10", Server, [Link, Ear], gossip::echo,
        "an advert does not come back", "the same" => "no advert of Rob at probe-1"),
    clause!("gossip.bad-sig", "§8.2", Server, [Link, Ear], gossip::bad_sig,
        "an advert with a wrong signature counts for nothing", "USER_ADVERTISE with a changed sig" => "nobody hears of it"),
    clause!("gossip.unsigned", "§16", Server, [Link, Ear], gossip::unsigned,
        "an advert without signature counts for nothing", "USER_ADVERTISE without sig" => "nobody hears of it"),
    clause!("gossip.foreign", "§8.2", Server, [Link, Ear], gossip::foreign,
        "nobody advertises for another server", "USER_ADVERTISE by probe-1, server_id = the target" => "nobody hears of it"),
    clause!("gossip.remove-foreign", "§8.2", Server, [Second, Ear], gossip::remove_foreign,
        "nobody removes another server's users", "USER_REMOVE of Rob by probe-2" => "nobody hears of it"),
    clause!("list", "§14", Client, [Ann], life::list,
        "/list names who is online, sorted", "LIST_REQUEST of Ann" => "LIST_RESPONSE with Ann, Ben and Rob"),
    clause!("directory.pubkey", "§13", Client, [Ann], life::pubkey,
        "the directory signs the keys that it gives", "PUBKEY_REQUEST for Ann" => "PUBKEY, signed"),
    clause!("dm.local", "§9.2", Client, [Ann, Ben], messages::local,
        "MSG_DIRECT is delivered, untouched", "MSG_DIRECT of Ann to Ben" => "USER_DELIVER, same ciphertext and content_sig"),
    clause!("dm.content-sig", "§12", Client, [Ann, Ben], messages::content_sig,
        "the recipient can check content_sig", "the same" => "sender, sender_pub and the sender's ts arrive"),
    clause!("dm.out", "§10", Both, [Link, Ann, Ear], messages::out,
        "a message to a user elsewhere goes to that server", "MSG_DIRECT of Ann to Rob" => "SERVER_DELIVER to probe-1, untouched, signed"),
    clause!("dm.in", "§8.3", Both, [Link, Ann, Ear], messages::incoming,
        "SERVER_DELIVER is delivered to a local user", "SERVER_DELIVER of Rob to Ann" => "USER_DELIVER, untouched"),
    clause!("dm.once", "§10", Both, [Link, Ann, Ear], messages::once,
        "what comes twice is delivered once", "the same frame again" => "nothing more at Ann"),
    clause!("dm.bad-sig", "§8.1", Both, [Link, Ann, Ear], messages::bad_sig,
        "a delivery with a wrong signature is dropped", "SERVER_DELIVER with a changed sig" => "nothing at Ann"),
    clause!("dm.forward", "§8.3", Server, [Link, Second, Ear], messages::forward,
        "a delivery in transit is forwarded unchanged", "SERVER_DELIVER of Zoe at probe-2 to Rob" => "the same payload and signature at probe-1"),
    clause!("dm.sender", "§7", Client, [Ann, Ben], messages::sender,
        "nobody writes as somebody else", "MSG_DIRECT of Ann with sender = Dot" => "no delivery that names Dot"),
    clause!("dm.unknown", "§10", Client, [Ann], messages::unknown,
        "a message to nobody is reported", "MSG_DIRECT of Ann to an id that nobody has" => "ERROR USER_NOT_FOUND"),
    clause!("dm.public", "§9.3", Client, [Ann, Ben], messages::public,
        "a public message reaches a member", "MSG_PUBLIC_CHANNEL of Ann, for Ben" => "MSG_PUBLIC_CHANNEL at Ben, untouched"),
    clause!("file.relay", "§9.4", Client, [Ann, Ben], messages::file,
        "a file passes from user to user", "FILE_START, FILE_CHUNK, FILE_END of Ann to Ben" => "all three at Ben, in order"),
    clause!("dm.removed", "§8.2", Both, [Link, Ann, Ear], gossip::remove,
        "a removal reaches clients and ends routing", "USER_REMOVE of Rob by probe-1" => "Ann is told; USER_NOT_FOUND for Rob"),
    clause!("error.unknown-type", "§9.5", Client, [Ann], errors::unknown_type,
        "an unknown type is refused", "a frame of type PROBE_WHAT_IS_THIS" => "ERROR UNKNOWN_TYPE"),
    clause!("error.bad-sig", "§12", Client, [Ann, Ben], errors::bad_sig,
        "a wrong signature is refused, and nothing happens", "MSG_DIRECT of Ann with a changed sig" => "ERROR INVALID_SIG, nothing at Ben"),
    clause!("error.malformed", "§7", Client, [Ann], errors::malformed,
        "broken JSON is survived", "half an object; one without type" => "an ERROR or nothing, and the link still works"),
    clause!("heartbeat.comes", "§8.4", Server, [Link], life::heartbeat,
        "a HEARTBEAT comes every 15 s", "HEARTBEAT every 10 s" => "HEARTBEAT within 16 s"),
    clause!("heartbeat.kept", "§8.4", Server, [Link], life::kept,
        "who heartbeats stays linked", "the same" => "the link is still there"),
    clause!("close.ctrl", "§6", Server, [Second], life::close,
        "links end with a close frame", "CTRL_CLOSE and close 1000 by probe-2" => "a close frame in answer"),
    clause!("frame.envelope", "§7", Both, [], life::envelopes,
        "every frame is a whole envelope in a text message", "everything above" => "type, from, to, ts in ms, payload; its own from"),
    clause!("frame.signed", "§12", Both, [], life::signatures,
        "every server frame is signed as §12 says", "everything above" => "sig over the sorted payload, PSS, under its key"),
    clause!("frame.base64", "§4", Both, [], life::base64,
        "binary values are base64url, unpadded", "everything above" => "no padding, no + and /"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clause_has_a_name_of_its_own_and_says_what_it_is_about() {
        let mut ids: Vec<_> = CLAUSES.iter().map(|clause| clause.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CLAUSES.len());
        for clause in CLAUSES {
            assert!(clause.section.starts_with('§'), "{}", clause.id);
            assert!(clause.title.chars().count() <= 52, "{}: too long for 80 columns", clause.id);
            assert!(clause.id.chars().count() <= 21, "{}", clause.id);
        }
    }
}
