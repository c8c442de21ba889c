//! What a frame looks like beside the standard: its envelope and payload, without any key.

use serde_json::{Map, Value};

use super::odd::{Odd, Oddity};
use crate::wire::{
    Frame, FrameType, HostPort, Id, KeyError, Payload, PublicKey, Recipient, SPKI_BYTES, decode_base64,
};

/// Longest detail of an oddity, in bytes: it is for people.
const MAX_DETAIL_BYTES: usize = 200;

/// How deep a payload is looked into, and how many values of it.
const MAX_VALUES: usize = 10_000;

/// The envelope (§7).
const ENVELOPE: [&str; 6] = ["type", "from", "to", "ts", "payload", "sig"];

/// The payload of each type of the standard: what it must have, and what it may (§8, §9).
const PAYLOADS: [(FrameType, &[&str], &[&str]); 21] = [
    (FrameType::ServerHelloJoin, &["host", "port", "pubkey"], &[]),
    (FrameType::ServerWelcome, &["assigned_id", "clients"], &["servers"]),
    (FrameType::ServerAnnounce, &["host", "port", "pubkey"], &[]),
    (FrameType::ServerHelloLink, &["host", "port", "pubkey"], &[]),
    (FrameType::UserAdvertise, &["user_id", "server_id", "meta"], &[]),
    (FrameType::UserRemove, &["user_id", "server_id"], &[]),
    (FrameType::ServerDeliver, &["user_id", "ciphertext", "sender", "sender_pub", "content_sig"], &[]),
    (FrameType::Heartbeat, &[], &[]),
    (FrameType::UserHello, &["client", "pubkey", "enc_pubkey"], &[]),
    (FrameType::MsgDirect, &["ciphertext", "sender_pub", "content_sig"], &[]),
    (FrameType::UserDeliver, &["ciphertext", "sender", "sender_pub", "content_sig"], &[]),
    (FrameType::PublicChannelAdd, &["add", "if_version"], &[]),
    (FrameType::PublicChannelUpdated, &["version", "wraps"], &[]),
    (FrameType::PublicChannelKeyShare, &["shares", "creator_pub", "content_sig"], &[]),
    (FrameType::MsgPublicChannel, &["ciphertext", "sender_pub", "content_sig"], &[]),
    (FrameType::FileStart, &["file_id", "name", "size", "sha256", "mode"], &[]),
    (FrameType::FileChunk, &["file_id", "index", "ciphertext"], &[]),
    (FrameType::FileEnd, &["file_id"], &[]),
    (FrameType::Ack, &["msg_ref"], &[]),
    (FrameType::Error, &["code", "detail"], &[]),
    (FrameType::CtrlClose, &[], &[]),
];

/// Fields that hold keys.
const KEYS: [&str; 6] =
    ["pubkey", "enc_pubkey", "sender_pub", "creator_pub", "server_pub_key", "recipient_pub"];

/// Other fields that hold bytes. A `ciphertext` has oddities of its own.
const BINARIES: [&str; 4] = ["content_sig", "parts_sig", "wrapped_key", "wrapped_public_channel_key"];

/// Fields that hold ids.
const IDS: [&str; 6] = ["user_id", "server_id", "assigned_id", "sender", "member_id", "member"];

/// Collects oddities, each once, with all its details.
#[derive(Debug, Default)]
pub(super) struct Odds(pub(super) Vec<Odd>);

impl Odds {
    pub(super) fn note(&mut self, oddity: Oddity, detail: &str) {
        let Some(odd) = self.0.iter_mut().find(|odd| odd.oddity == oddity) else {
            let end = detail.floor_char_boundary(MAX_DETAIL_BYTES);
            return self.0.push(Odd { oddity, detail: detail[..end].into() });
        };
        let known = odd.detail.split(", ").any(|part| part == detail);
        if !known && odd.detail.len() + detail.len() <= MAX_DETAIL_BYTES {
            odd.detail = format!("{}, {detail}", odd.detail).into();
        }
    }

    fn note_if(&mut self, is: bool, oddity: Oddity, detail: &str) {
        if is {
            self.note(oddity, detail);
        }
    }
}

/// Compares a frame with the standard. `object` is the same frame as plain JSON.
pub(super) fn compare(frame: &Frame, object: &Map<String, Value>, odds: &mut Odds) {
    envelope(frame, object, odds);
    recipient(frame, odds);
    let empty = Map::new();
    let payload = object.get("payload").and_then(Value::as_object).unwrap_or(&empty);
    kind(frame, object, payload, odds);
    let mut room = MAX_VALUES;
    for (name, value) in payload {
        look_into(name, value, odds, &mut room);
    }
    of_its_type(frame, payload, odds);
}

fn envelope(frame: &Frame, object: &Map<String, Value>, odds: &mut Odds) {
    let text = frame.text().as_str();
    odds.note_if(text.trim() != text, Oddity::WhiteSpace, "");
    let missing = |name: &str| object.get(name).is_none_or(Value::is_null);
    let bare_close = *frame.kind() == FrameType::CtrlClose;
    odds.note_if(frame.from().is_none() && !bare_close, Oddity::FromMissing, "");
    if !bare_close {
        odds.note_if(missing("to"), Oddity::ToMissing, "");
        odds.note_if(missing("ts"), Oddity::TsMissing, "");
        odds.note_if(missing("payload"), Oddity::PayloadMissing, "");
    }
    odds.note_if(object.get("to").and_then(Value::as_str) == Some(""), Oddity::ToEmpty, "");
    if let (Some(ts), Some(read)) = (object.get("ts"), frame.ts()) {
        let shown = ts.as_str().map_or_else(|| ts.to_string(), str::to_owned);
        odds.note_if(ts.is_string(), Oddity::TsText, &shown);
        odds.note_if(ts.is_f64(), Oddity::TsFraction, "");
        let number = shown.parse::<f64>().unwrap_or_default();
        odds.note_if(number < read.0 as f64 / 2.0, Oddity::TsSeconds, "");
    }
    for name in object.keys().filter(|name| !ENVELOPE.contains(&name.as_str())) {
        odds.note(Oddity::ExtraField, name);
    }
    match object.get("sig").and_then(Value::as_str) {
        Some("") => odds.note(Oddity::SigEmpty, ""),
        Some(sig) => base64_form("sig", sig, odds),
        None if needs_sig(frame.kind()) => odds.note(Oddity::SigMissing, ""),
        None => {}
    }
    if let Some(from) = frame.from() {
        odds.note_if(!from.is_uuid_v4(), Oddity::IdNotUuid, from.as_str());
    }
}

/// `sig` is required on every server payload and every user-content payload; hellos and bootstrap frames may leave it
/// out (§7). What the standard does not have, it does not ask a signature of.
fn needs_sig(kind: &FrameType) -> bool {
    let optional = matches!(
        kind,
        FrameType::ServerHelloJoin
            | FrameType::ServerWelcome
            | FrameType::ServerAnnounce
            | FrameType::ServerHelloLink
            | FrameType::UserHello
            | FrameType::CtrlClose
            | FrameType::Ack
    );
    !optional && PAYLOADS.iter().any(|(standard, ..)| standard == kind)
}

fn recipient(frame: &Frame, odds: &mut Odds) {
    let Recipient::Named(to) = frame.to() else { return };
    let address = to.parse::<HostPort>();
    match frame.kind() {
        FrameType::ServerHelloJoin => {
            odds.note_if(address.is_err() || to.contains('/'), Oddity::JoinTo, to);
        }
        FrameType::ServerAnnounce
        | FrameType::UserAdvertise
        | FrameType::UserRemove
        | FrameType::PublicChannelAdd
        | FrameType::PublicChannelUpdated => odds.note(Oddity::ToNotEveryone, to),
        _ if address.is_ok() => odds.note(Oddity::ToAddress, to),
        // The channel's name.
        _ if **to == *"public" => {}
        _ => odds.note_if(!is_uuid(to), Oddity::IdNotUuid, to),
    }
}

fn kind(frame: &Frame, object: &Map<String, Value>, payload: &Map<String, Value>, odds: &mut Odds) {
    let name = object.get("type").and_then(Value::as_str).unwrap_or_default();
    match frame.kind() {
        FrameType::Unknown(_) => return odds.note(Oddity::UnknownType, ""),
        FrameType::MsgDirect => odds.note_if(name != "MSG_DIRECT", Oddity::TypeAlias, name),
        _ => {}
    }
    if let Payload::Misfit(misfit) = frame.payload() {
        odds.note(Oddity::Misfit, misfit.why());
    }
    let Some((_, must, may)) = PAYLOADS.iter().find(|(kind, ..)| kind == frame.kind()) else {
        return odds.note(Oddity::AddedType, "");
    };
    for name in must.iter().filter(|name| payload.get(**name).is_none_or(Value::is_null)) {
        odds.note(Oddity::FieldMissing, name);
    }
    for name in payload.keys().filter(|name| !must.contains(&name.as_str()) && !may.contains(&name.as_str()))
    {
        odds.note(Oddity::ExtraPayloadField, name);
    }
}

/// Values whose name says what they should be, at any depth: the reader has bounded that.
fn look_into(name: &str, value: &Value, odds: &mut Odds, room: &mut usize) {
    *room = room.saturating_sub(1);
    if *room == 0 {
        return;
    }
    match value {
        Value::String(text) if KEYS.contains(&name) => key_form(name, text, odds),
        Value::String(text) if BINARIES.contains(&name) => {
            base64_form(name, text, odds);
            let wrap = name.starts_with("wrapped");
            let block = decode_base64(text).is_ok_and(|bytes| bytes.len() == crate::crypto::RSA_BYTES);
            odds.note_if(wrap && !block, Oddity::WrapSize, name);
        }
        Value::String(text) if name == "ciphertext" && decode_base64(text).is_ok() => {
            base64_form(name, text, odds);
        }
        Value::String(text) if IDS.contains(&name) || name == "add" => {
            odds.note_if(!is_uuid(text), Oddity::IdNotUuid, text);
        }
        Value::Array(values) => values.iter().for_each(|value| look_into(name, value, odds, room)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| look_into(name, value, odds, room)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_uuid(text: &str) -> bool {
    text.parse::<Id>().is_ok_and(|id| id.is_uuid_v4())
}

fn base64_form(name: &str, text: &str, odds: &mut Odds) {
    if decode_base64(text).is_err() {
        return odds.note(Oddity::NotBase64, name);
    }
    odds.note_if(text.ends_with('='), Oddity::Padded, name);
    odds.note_if(text.contains(['+', '/']), Oddity::StandardAlphabet, name);
}

fn key_form(name: &str, text: &str, odds: &mut Odds) {
    base64_form(name, text, odds);
    let bytes = decode_base64(text).unwrap_or_else(|_| text.as_bytes().to_vec());
    let pem = bytes.starts_with(b"-----BEGIN");
    odds.note_if(pem, Oddity::KeyPem, name);
    match PublicKey::from_field(text) {
        Ok(_) => odds.note_if(!pem && bytes.len() != SPKI_BYTES, Oddity::KeyPkcs1, name),
        Err(error) => odds.note(Oddity::KeyRefused, &format!("{name}: {error}")),
    }
}

fn of_its_type(frame: &Frame, payload: &Map<String, Value>, odds: &mut Odds) {
    match frame.payload() {
        Payload::UserAdvertise(advert) => match (&advert.pubkey, advert.key_field()) {
            (None, None) => odds.note(Oddity::AdvertWithoutKey, ""),
            (None, Some(_)) => odds.note(Oddity::KeyInMeta, ""),
            (Some(_), _) => {}
        },
        Payload::UserHello(hello) => {
            odds.note_if(hello.key() == Err(KeyError::SeparateEncryptionKey), Oddity::EncKeyDiffers, "");
        }
        Payload::FileStart(start) | Payload::FileStartDeliver(start) => {
            let hex = start.sha256.len() == 64 && start.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            odds.note_if(!hex, Oddity::FileHash, "");
            odds.note_if(!matches!(&*start.mode, "dm" | "public"), Oddity::FileMode, &start.mode);
        }
        Payload::Error(error) => {
            if let crate::wire::ErrorCode::Other(code) = &error.code {
                odds.note(Oddity::ErrorCode, code);
            }
        }
        Payload::UserLogin(_) => odds.note(Oddity::Password, ""),
        _ => {}
    }
    if let Some(file) = payload.get("file_id").and_then(Value::as_str) {
        odds.note_if(!is_uuid(file), Oddity::FileId, file);
    }
}
