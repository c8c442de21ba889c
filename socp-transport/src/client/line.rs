//! Notices as lines: plain ones for people and scripts, and one JSON object each for programs.

mod files;
mod people;

pub use files::{bytes, percent, time};

use serde::Serialize;
use socp_core::client::{
    Doubt, KnownUser, MessageKind, Notice, PasswordNotice, SentTo, escape_label, escape_text,
    quote_label as named,
};
use socp_core::wire::{ErrorCode, Meta, UserId};

/// A notice as lines of text, without line ends; none if it is not for people. `me` is our own id. What others wrote is
/// escaped: every element is one line.
pub fn plain(notice: &Notice, me: &UserId) -> Vec<String> {
    match notice {
        Notice::Ready { user_id, server_id, proven } => {
            let doubt = if *proven { "" } else { " (this server proves nothing)" };
            let (me, server) = (escape_label(user_id.as_str()), escape_label(server_id.as_str()));
            vec![format!("[ready] you are {me} on server {server}{doubt}")]
        }
        Notice::Reconnected => vec!["[reconnected]".into()],
        Notice::Disconnected { reason } => vec![format!("[disconnected] {reason}; trying again")],
        Notice::LoginRefused { code, detail, retrying } => {
            vec![error(code, detail), format!("[login refused] {}", advice(code, *retrying))]
        }
        Notice::Password(notice) => vec![people::password(notice)],
        Notice::Replaced { detail } => {
            vec![
                error(&ErrorCode::NameInUse, detail),
                "[replaced] this user has logged in elsewhere, so this session is over; start again to take it back"
                    .into(),
                "[replaced] if that was not you, somebody has your key: replace it with `key rotate`".into(),
            ]
        }
        Notice::ServerChanged { was, now } => {
            let (was_id, now_id) =
                (escape_label(was.server_id.as_str()), escape_label(now.server_id.as_str()));
            vec![
                format!(
                    "[SERVER CHANGED] another server answers at {}; it got no message from you",
                    was.address
                ),
                format!("[SERVER CHANGED] was {was_id} with key {}", was.key.id().fingerprint()),
                format!("[SERVER CHANGED] is  {now_id} with key {}", now.key.id().fingerprint()),
                "[SERVER CHANGED] ask its operator which of both is right before you connect again".into(),
            ]
        }
        Notice::ServerNotFresh { server } => vec![
            format!(
                "[SERVER NOT FRESH] what answers at {} was not made for this login; it got no message from you",
                server.address
            ),
            "[SERVER NOT FRESH] somebody may play back an earlier session of the server's, or it runs an older version now"
                .into(),
            "[SERVER NOT FRESH] ask its operator which of both it is before you connect again".into(),
        ],
        Notice::UserAdded { label, .. } => {
            vec![format!("[user added] {} is now available for messaging", named(label))]
        }
        Notice::UserRemoved { label, .. } => {
            vec![format!("[user removed] {} is no longer available", named(label))]
        }
        Notice::UserRenamed { was, label, .. } => {
            vec![format!("[user renamed] {} is now {}", named(was), named(label))]
        }
        Notice::KeyChanged { label, was, now, was_verified, signed, .. } => {
            people::key_changed(label, (was, now), *was_verified, *signed)
        }
        Notice::KeyConflict { label, pinned, seen, .. } => {
            let fingerprint = |key: &Option<socp_core::wire::KeyId>| match key {
                Some(key) => key.fingerprint(),
                None => "unknown".into(),
            };
            vec![
                format!(
                    "[KEY CONFLICT] somebody uses the name of {} with another key; it is not trusted",
                    named(label)
                ),
                format!("[KEY CONFLICT] trusted {}", fingerprint(pinned)),
                format!("[KEY CONFLICT] refused {}", fingerprint(seen)),
            ]
        }
        Notice::Message { kind, label, text, verified, .. } => {
            let kind = match kind {
                MessageKind::Direct => "dm",
                MessageKind::Public => "public",
            };
            let doubt = verified.err().map(|doubt| format!(" (not verified: {doubt})")).unwrap_or_default();
            vec![format!("[{kind}] {}: {}{doubt}", named(label), escape_text(text.as_str()))]
        }
        Notice::Sent { to: SentTo::User { label, .. }, .. } => vec![format!("[sent] to {}", named(label))],
        Notice::Sent { to: SentTo::Everyone { recipients, failed }, .. } => {
            let rest = if *failed > 0 { format!(", not to {failed}") } else { String::new() };
            vec![format!("[sent] to all: {recipients}{rest}")]
        }
        Notice::Failed { code, detail, .. } => vec![error(code, detail)],
        Notice::List { users, .. } => {
            let mut lines = vec![format!("[list] {} online", users.len())];
            lines.extend(users.iter().map(|user| listed(user, me)));
            lines
        }
        Notice::Whois { user, .. } => people::whois(user),
        Notice::Verified { user, .. } => people::verified(user),
        Notice::Me { meta, .. } => people::me(meta),
        Notice::File(notice) => files::plain(notice).into_iter().collect(),
        Notice::Dropped { .. } | Notice::Stopped => Vec::new(),
    }
}

/// A notice as one JSON object on one line, without a line end; `None` if there is no event for it.
/// Texts of messages are as they were written, labels escaped as everywhere.
pub fn json(notice: &Notice) -> Option<String> {
    let event = match notice {
        Notice::Ready { user_id, server_id, proven } => {
            Event::Ready { user_id: user_id.as_str(), server_id: server_id.as_str(), proven: *proven }
        }
        Notice::Password(PasswordNotice::Found { user_id }) => {
            Event::PasswordServer { user_id: user_id.as_str() }
        }
        Notice::Password(PasswordNotice::Needed { user_id, refused }) => {
            Event::PasswordNeeded { user_id: user_id.as_str(), refused: refused.as_deref() }
        }
        Notice::Password(PasswordNotice::Registered { user_id }) => {
            Event::Registered { user_id: user_id.as_str() }
        }
        Notice::Reconnected => Event::Reconnected,
        Notice::Disconnected { reason } => Event::Disconnected { reason },
        Notice::LoginRefused { code, detail, retrying } => Event::Error {
            code: code.as_str(),
            detail,
            reference: None,
            advice: Some(advice(code, *retrying)),
            retrying: Some(*retrying),
        },
        Notice::Replaced { detail } => Event::Error {
            code: ErrorCode::NameInUse.as_str(),
            detail,
            reference: None,
            advice: None,
            retrying: Some(false),
        },
        Notice::ServerChanged { was, now } => Event::ServerChanged {
            address: was.address.to_string(),
            was: Server { server_id: was.server_id.as_str(), key: was.key.id().to_string() },
            now: Server { server_id: now.server_id.as_str(), key: now.key.id().to_string() },
        },
        Notice::ServerNotFresh { server } => Event::ServerNotFresh {
            address: server.address.to_string(),
            server: Server { server_id: server.server_id.as_str(), key: server.key.id().to_string() },
        },
        Notice::UserAdded { user_id, label } => Event::UserAdded { user_id: user_id.as_str(), label },
        Notice::UserRemoved { user_id, label } => Event::UserRemoved { user_id: user_id.as_str(), label },
        Notice::UserRenamed { user_id, was, label } => {
            Event::UserRenamed { user_id: user_id.as_str(), was, label }
        }
        Notice::KeyChanged { user_id, label, was, now, was_verified, signed } => {
            let (was, now) = (was.to_string(), now.to_string());
            let (was_verified, signed) = (*was_verified, *signed);
            Event::KeyChanged { user_id: user_id.as_str(), label, was, now, was_verified, signed }
        }
        Notice::KeyConflict { user_id, label, pinned, seen } => Event::KeyConflict {
            user_id: user_id.as_str(),
            label,
            pinned: pinned.map(|key| key.to_string()),
            seen: seen.map(|key| key.to_string()),
        },
        Notice::Message { kind, from, label, text, verified, ts } => {
            let message = Message {
                from: from.as_str(),
                label,
                text: text.as_str(),
                verified: verified.is_ok(),
                reason: verified.err(),
                ts: ts.0,
            };
            match kind {
                MessageKind::Direct => Event::Dm(message),
                MessageKind::Public => Event::Public(message),
            }
        }
        Notice::Sent { reference, to: SentTo::User { user_id, label } } => {
            Event::Sent { to: label, user_id: user_id.as_str(), reference: *reference }
        }
        Notice::Sent { reference, to: SentTo::Everyone { recipients, failed } } => {
            Event::SentToAll { to: "*", recipients: *recipients, failed: *failed, reference: *reference }
        }
        Notice::Failed { reference, code, detail } => {
            Event::Error { code: code.as_str(), detail, reference: *reference, advice: None, retrying: None }
        }
        Notice::List { reference, users } => {
            Event::List { users: users.iter().map(User::from).collect(), reference: *reference }
        }
        Notice::Whois { reference, user } => Event::Whois { user: (&**user).into(), reference: *reference },
        Notice::Verified { reference, user } => {
            Event::Verified { user: (&**user).into(), reference: *reference }
        }
        Notice::Me { reference, meta } => Event::Me { meta, reference: *reference },
        Notice::File(notice) => return serde_json::to_string(&files::Event::from(notice)).ok(),
        Notice::Dropped { .. } | Notice::Stopped => return None,
    };
    // It holds nothing but texts, numbers and lists of them.
    serde_json::to_string(&event).ok()
}

/// `[error] CODE detail`. The code may be one that a peer made up.
fn error(code: &ErrorCode, detail: &str) -> String {
    format!("[error] {} {detail}", escape_label(code.as_str()))
}

/// What to do about a refused login.
fn advice(code: &ErrorCode, retrying: bool) -> &'static str {
    match code {
        ErrorCode::NameInUse if retrying => {
            "this user is online there with another program; end that session, this one tries again meanwhile"
        }
        ErrorCode::BadKey => {
            "the server knows this user by another key: copy key.json and rotations.json here from where that key is, or \
             choose another user id"
        }
        _ if retrying => "trying again",
        _ => "the server's operator may know more",
    }
}

fn listed(user: &KnownUser, me: &UserId) -> String {
    let place = match &user.server_id {
        Some(_) if user.online_local => " on this server".into(),
        Some(server) => format!(" on server {}", escape_label(server.as_str())),
        None => String::new(),
    };
    let you = if user.user_id == *me { " (you)" } else { "" };
    format!("[list] {} {}{place}{you}", named(&user.label), escape_label(user.user_id.as_str()))
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Ready {
        user_id: &'a str,
        server_id: &'a str,
        proven: bool,
    },
    PasswordServer {
        user_id: &'a str,
    },
    PasswordNeeded {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<&'a str>,
    },
    Registered {
        user_id: &'a str,
    },
    Reconnected,
    Disconnected {
        reason: &'a str,
    },
    ServerChanged {
        address: String,
        was: Server<'a>,
        now: Server<'a>,
    },
    ServerNotFresh {
        address: String,
        server: Server<'a>,
    },
    UserAdded {
        user_id: &'a str,
        label: &'a str,
    },
    UserRemoved {
        user_id: &'a str,
        label: &'a str,
    },
    UserRenamed {
        user_id: &'a str,
        was: &'a str,
        label: &'a str,
    },
    KeyChanged {
        user_id: &'a str,
        label: &'a str,
        was: String,
        now: String,
        was_verified: bool,
        signed: bool,
    },
    KeyConflict {
        user_id: &'a str,
        label: &'a str,
        pinned: Option<String>,
        seen: Option<String>,
    },
    Dm(Message<'a>),
    Public(Message<'a>),
    Sent {
        to: &'a str,
        user_id: &'a str,
        #[serde(rename = "ref")]
        reference: u64,
    },
    #[serde(rename = "sent")]
    SentToAll {
        to: &'a str,
        recipients: usize,
        failed: usize,
        #[serde(rename = "ref")]
        reference: u64,
    },
    Error {
        code: &'a str,
        detail: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retrying: Option<bool>,
    },
    Whois {
        #[serde(flatten)]
        user: people::Person<'a>,
        #[serde(rename = "ref")]
        reference: u64,
    },
    Verified {
        #[serde(flatten)]
        user: people::Person<'a>,
        #[serde(rename = "ref")]
        reference: u64,
    },
    Me {
        meta: &'a Meta,
        #[serde(rename = "ref")]
        reference: u64,
    },
    List {
        users: Vec<User<'a>>,
        #[serde(rename = "ref")]
        reference: u64,
    },
}

#[derive(Serialize)]
struct Server<'a> {
    server_id: &'a str,
    key: String,
}

#[derive(Serialize)]
struct Message<'a> {
    from: &'a str,
    label: &'a str,
    text: &'a str,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    reason: Option<Doubt>,
    ts: u64,
}

#[derive(Serialize)]
struct User<'a> {
    user_id: &'a str,
    label: &'a str,
    server_id: Option<&'a str>,
    online_local: bool,
    key: String,
}

impl<'a> From<&'a KnownUser> for User<'a> {
    fn from(user: &'a KnownUser) -> Self {
        let KnownUser { user_id, label, server_id, online_local, key } = user;
        Self {
            user_id: user_id.as_str(),
            label,
            server_id: server_id.as_ref().map(|server| server.as_str()),
            online_local: *online_local,
            key: key.to_string(),
        }
    }
}

fn in_words<S: serde::Serializer>(doubt: &Option<Doubt>, serializer: S) -> Result<S::Ok, S::Error> {
    match doubt {
        Some(doubt) => serializer.collect_str(doubt),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use socp_core::wire::Timestamp;

    use super::*;

    fn message(kind: MessageKind, text: &str, verified: Result<(), Doubt>) -> Notice {
        let from = "bob-id".parse().unwrap();
        Notice::Message { kind, from, label: "bob".into(), text: text.into(), verified, ts: Timestamp(7) }
    }

    fn both(notice: &Notice) -> (String, String) {
        let me = "alice-id".parse().unwrap();
        (plain(notice, &me).join("\n"), json(notice).unwrap_or_default())
    }

    #[test]
    fn lines_are_word_for_word_what_scripts_rely_on() {
        let (user_id, label): (UserId, Box<str>) = ("bob-id".parse().unwrap(), "bob".into());
        let to = SentTo::User { user_id: user_id.clone(), label: label.clone() };
        for (notice, plain, json) in [
            (
                Notice::UserAdded { user_id: user_id.clone(), label: label.clone() },
                "[user added] bob is now available for messaging",
                r#"{"event":"user_added","user_id":"bob-id","label":"bob"}"#,
            ),
            (
                Notice::UserRemoved { user_id, label },
                "[user removed] bob is no longer available",
                r#"{"event":"user_removed","user_id":"bob-id","label":"bob"}"#,
            ),
            (
                message(MessageKind::Direct, "hi\nthere\u{1b}", Ok(())),
                "[dm] bob: hi⏎there\\u{1b}",
                r#"{"event":"dm","from":"bob-id","label":"bob","text":"hi\nthere\u001b","verified":true,"ts":7}"#,
            ),
            (
                message(MessageKind::Public, "hi", Err(Doubt::NoSignature)),
                "[public] bob: hi (not verified: no content signature)",
                r#"{"event":"public","from":"bob-id","label":"bob","text":"hi","verified":false,"reason":"no content signature","ts":7}"#,
            ),
            (
                Notice::Ready {
                    user_id: "alice-id".parse().unwrap(),
                    server_id: "s".parse().unwrap(),
                    proven: true,
                },
                "[ready] you are alice-id on server s",
                r#"{"event":"ready","user_id":"alice-id","server_id":"s","proven":true}"#,
            ),
            (
                Notice::Failed { reference: Some(3), code: ErrorCode::UserNotFound, detail: "who?".into() },
                "[error] USER_NOT_FOUND who?",
                r#"{"event":"error","code":"USER_NOT_FOUND","detail":"who?","ref":3}"#,
            ),
            (
                Notice::Failed { reference: None, code: ErrorCode::Other("A\nB".into()), detail: "".into() },
                "[error] A\\u{a}B ",
                r#"{"event":"error","code":"A\nB","detail":""}"#,
            ),
            (
                Notice::Sent { reference: 1, to },
                "[sent] to bob",
                r#"{"event":"sent","to":"bob","user_id":"bob-id","ref":1}"#,
            ),
            (
                Notice::Sent { reference: 2, to: SentTo::Everyone { recipients: 2, failed: 1 } },
                "[sent] to all: 2, not to 1",
                r#"{"event":"sent","to":"*","recipients":2,"failed":1,"ref":2}"#,
            ),
            (
                Notice::Password(PasswordNotice::Needed {
                    user_id: "alice".parse().unwrap(),
                    refused: Some("password invalid".into()),
                }),
                "[login refused] password invalid: the password is wrong, or alice is somebody else here",
                r#"{"event":"password_needed","user_id":"alice","refused":"password invalid"}"#,
            ),
            (
                Notice::UserRenamed {
                    user_id: "bob-id".parse().unwrap(),
                    was: "bob".into(),
                    label: "[dm] alice: hi".into(),
                },
                "[user renamed] bob is now \"[dm] alice: hi\"",
                r#"{"event":"user_renamed","user_id":"bob-id","was":"bob","label":"[dm] alice: hi"}"#,
            ),
            (Notice::Reconnected, "[reconnected]", r#"{"event":"reconnected"}"#),
            (
                Notice::Disconnected { reason: "gone".into() },
                "[disconnected] gone; trying again",
                r#"{"event":"disconnected","reason":"gone"}"#,
            ),
            (Notice::Stopped, "", ""),
        ] {
            assert_eq!(both(&notice), (plain.to_owned(), json.to_owned()));
        }
    }
}
