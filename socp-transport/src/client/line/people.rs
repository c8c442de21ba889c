//! Notices about people and their keys as lines.

use serde::Serialize;
use socp_core::client::{PasswordNotice, UserDetails, escape_label, escape_text, quote_label as named};
use socp_core::wire::{KeyId, Meta, MetaField, Timestamp};

/// Who somebody is, for people.
pub(super) fn whois(user: &UserDetails) -> Vec<String> {
    let UserDetails {
        user_id,
        label,
        online,
        server_id,
        online_local,
        key,
        derived,
        rotations,
        since,
        verified,
        vouched,
        own,
        meta,
    } = user;
    let label = named(label);
    let place = match server_id {
        _ if !online => "not online".to_owned(),
        Some(_) if *online_local => "online on this server".to_owned(),
        Some(server) => format!("online on server {}", escape_label(server.as_str())),
        None => "online".to_owned(),
    };
    let proof = match (derived, rotations) {
        (true, 0) => "proven by the key".to_owned(),
        (true, 1) => "proven by the first key, which signed for this one".to_owned(),
        (true, _) => {
            format!("proven by the first key; this is number {}, each signed by the last", rotations + 1)
        }
        (false, _) => "not proven by the key, which is the first we saw".to_owned(),
    };
    let since = since.map_or("an earlier version".to_owned(), date);
    let checked = match verified {
        Some(at) => format!("checked in person on {}", date(*at)),
        None if *vouched => {
            format!(
                "not checked, but a key that you had checked signed for it: compare it, then /verify {label}"
            )
        }
        None => format!("not checked: compare it in person, then /verify {label}"),
    };
    let known = match own {
        true => "that is you: others compare this fingerprint with theirs".to_owned(),
        false => format!("known since {since}, {checked}"),
    };
    let mut lines = vec![
        format!("[whois] {label}, {place}"),
        format!("[whois] id {}, {proof}", escape_label(user_id.as_str())),
        format!("[whois] fingerprint {}", key.fingerprint()),
        format!("[whois] {known}"),
    ];
    let told = meta.iter().flat_map(fields).filter(|(field, _)| *field != MetaField::DisplayName);
    // It is the user's own word, and nobody's proof.
    lines.extend(told.map(|(field, text)| format!("[whois] says {} {text}", field.as_str())));
    lines
}

/// What a `meta` tells (§15.1), each on one line.
fn fields(meta: &Meta) -> impl Iterator<Item = (MetaField, String)> {
    MetaField::ALL.into_iter().filter_map(|field| {
        let value = meta.field(field)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some((field, escape_text(&text)))
    })
}

/// How it goes at a server that logs users in by password.
pub(super) fn password(notice: &PasswordNotice) -> String {
    let (PasswordNotice::Found { user_id }
    | PasswordNotice::Needed { user_id, .. }
    | PasswordNotice::Registered { user_id }) = notice;
    let me = escape_label(user_id.as_str());
    match notice {
        PasswordNotice::Found { .. } => format!(
            "[login] this server speaks the seed's dialect: it knows you as {me}, by a password, and shows no key"
        ),
        PasswordNotice::Needed { refused: None, .. } => {
            format!("[login] this server wants a password for {me}, or a new one to register {me}")
        }
        PasswordNotice::Needed { refused: Some(why), .. } => {
            format!("[login refused] {why}: the password is wrong, or {me} is somebody else here")
        }
        PasswordNotice::Registered { .. } => {
            format!("[registered] {me} is new at this server, with the password that you gave")
        }
    }
}

/// That somebody has another key.
pub(super) fn key_changed(
    label: &str,
    (was, now): (&KeyId, &KeyId),
    was_verified: bool,
    signed: bool,
) -> Vec<String> {
    // What the old key signed is no alarm.
    let tag = if signed { "[key changed]" } else { "[KEY CHANGED]" };
    let what = match signed {
        true => "has a new key, signed by the old one",
        false => "has proven another key than before",
    };
    let label = named(label);
    let mut lines = vec![
        format!("{tag} {label} {what}"),
        format!("{tag} was {}", was.fingerprint()),
        format!("{tag} is  {}", now.fingerprint()),
    ];
    if was_verified {
        lines.push(format!(
            "{tag} you had checked the old one in person; check the new one, then /verify {label}"
        ));
    }
    lines
}

/// That somebody's key was marked, or is not any more.
pub(super) fn verified(user: &UserDetails) -> Vec<String> {
    let UserDetails { label, key, verified, .. } = user;
    let label = named(label);
    let mark =
        if verified.is_some() { "is marked as checked in person" } else { "is no longer marked as checked" };
    vec![format!("[verify] {label} {mark}"), format!("[verify] fingerprint {}", key.fingerprint())]
}

/// What others see of us.
pub(super) fn me(meta: &Meta) -> Vec<String> {
    let lines: Vec<_> = fields(meta).map(|(field, text)| format!("[me] {} {text}", field.as_str())).collect();
    if lines.is_empty() { vec!["[me] nothing but your id".into()] } else { lines }
}

/// A day, in UTC: `2026-11-23`.
fn date(Timestamp(ms): Timestamp) -> String {
    // Days since the first of March of the year 0, counted in years that begin with March: leap days come last.
    let days = ms / 86_400_000 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The same as an object.
#[derive(Serialize)]
pub(super) struct Person<'a> {
    user_id: &'a str,
    label: &'a str,
    online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<&'a str>,
    key: String,
    fingerprint: String,
    proven: bool,
    rotations: usize,
    verified: bool,
    vouched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Meta>,
}

impl<'a> From<&'a UserDetails> for Person<'a> {
    fn from(user: &'a UserDetails) -> Self {
        Self {
            user_id: user.user_id.as_str(),
            label: &user.label,
            online: user.online,
            server_id: user.server_id.as_ref().map(|server| server.as_str()),
            key: user.key.to_string(),
            fingerprint: user.key.fingerprint(),
            proven: user.derived,
            rotations: user.rotations,
            verified: user.verified.is_some(),
            vouched: user.vouched,
            verified_at: user.verified.map(|at| at.0),
            since: user.since.map(|at| at.0),
            own: user.own,
            meta: user.meta.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use socp_core::crypto::aws_lc::PrivateKey;

    use super::*;

    #[test]
    fn days_are_named_as_calendars_do() {
        for (secs, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_465_169, "2026-11-23"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(Timestamp(secs * 1_000)), day);
        }
    }

    #[test]
    fn a_person_is_described_line_by_line() {
        let pem = include_str!("../../../../socp-core/tests/fixtures/keys/bob.pem");
        let key = PrivateKey::from_pem(pem).unwrap().public_key().id();
        let user = UserDetails {
            user_id: "bob-id".parse().unwrap(),
            label: "bob".into(),
            online: true,
            server_id: Some("s".parse().unwrap()),
            online_local: false,
            key,
            derived: false,
            rotations: 0,
            since: Some(Timestamp(1_795_465_169_000)),
            verified: None,
            vouched: false,
            own: false,
            meta: None,
        };
        let fingerprint = key.fingerprint();
        assert_eq!(
            whois(&user),
            [
                "[whois] bob, online on server s".to_owned(),
                "[whois] id bob-id, not proven by the key, which is the first we saw".to_owned(),
                format!("[whois] fingerprint {fingerprint}"),
                "[whois] known since 2026-11-23, not checked: compare it in person, then /verify bob"
                    .to_owned(),
            ]
        );
        let rotated = UserDetails { derived: true, rotations: 1, vouched: true, ..user.clone() };
        assert!(whois(&rotated)[1].ends_with("proven by the first key, which signed for this one"));
        assert!(whois(&rotated)[3].contains("not checked, but a key that you had checked signed for it"));
        let told = r#"{"display_name":"bob","pronouns":"he/him\n[dm] alice: hi","age":7}"#;
        let meta = Some(serde_json::from_str(told).unwrap());
        let about = whois(&UserDetails { meta, ..user.clone() });
        assert_eq!(about[4..], ["[whois] says pronouns he/him⏎[dm] alice: hi", "[whois] says age 7"]);
        let own = whois(&UserDetails { own: true, since: None, ..user.clone() });
        assert_eq!(own[3], "[whois] that is you: others compare this fingerprint with theirs");
        let user = UserDetails { verified: user.since, derived: true, online: false, ..user };
        assert!(whois(&user)[3].ends_with("checked in person on 2026-11-23"));
        assert_eq!(verified(&user)[0], "[verify] bob is marked as checked in person");
        let meta: Meta = serde_json::from_str(r#"{"age":7,"display_name":"b\n","extras":{"a":1}}"#).unwrap();
        assert_eq!(me(&meta), ["[me] display_name b⏎", "[me] age 7", r#"[me] extras {"a":1}"#]);
    }
}
