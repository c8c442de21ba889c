//! Payloads of ours as a dialect wants them. Works on canonical text, so that number literals in users' `meta` keep
//! their spelling.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Edit, Profile};
use crate::wire::{
    FrameType, Id, KeyForm, Meta, PublicKey, ascii_form, canonicalise, decode_base64, members, object,
    string_literal,
};

/// Fields that hold a public key which no signature inside the payload covers.
const KEYS: [&str; 4] = ["pubkey", "enc_pubkey", "sender_pub", "recipient_pub"];

/// What the keys of a canonical object map to: the canonical texts of their values.
type Fields = BTreeMap<String, String>;

impl Profile {
    /// A canonical payload of ours in this dialect; `None` if the peer is to be spared it.
    pub(crate) fn dress(&self, kind: &FrameType, canonical: &str) -> Option<String> {
        if self.omits.contains(kind) {
            return None;
        }
        let mut fields = fields_of(canonical);
        let user = fields.get("user_id").and_then(|id| read::<Id>(id));
        if user.is_some_and(|user| !self.takes_user(&user)) {
            return None;
        }
        let edits = self.edits.iter().filter(|(edited, _)| edited == kind);
        for edit in edits.flat_map(|(_, edits)| *edits) {
            edit.apply(&mut fields);
        }
        if self.keys != KeyForm::Der {
            fields.iter_mut().for_each(|(name, value)| write_keys(name, value, self.keys));
        }
        let text = object(&fields);
        Some(if self.writing.ascii { ascii_form(&text).unwrap_or(text) } else { text })
    }

    /// What stands beside a payload in the frame: `,"field":value`, or nothing.
    pub(crate) fn beside(&self, kind: &FrameType, canonical: &str) -> String {
        let repeated = self.repeats.iter().filter(|(repeating, _)| repeating == kind);
        let beside = |(_, field): &(FrameType, &str)| {
            let value = fields_of(canonical).remove(*field)?;
            Some(format!(",{}:{value}", string_literal(field)))
        };
        repeated.filter_map(beside).collect()
    }
}

impl Edit {
    fn apply(self, fields: &mut Fields) {
        match self {
            Self::Add(field, json) => {
                fields.insert(field.into(), json.into());
            }
            Self::Remove(field) => {
                fields.remove(field);
            }
            Self::Copy(field, to) => {
                if let Some(value) = fields.get(field).cloned() {
                    fields.insert(to.into(), value);
                }
            }
            Self::IntoMeta(field) => {
                if let Some(value) = fields.remove(field) {
                    in_meta(fields, |meta| meta.insert(field.into(), value));
                }
            }
            Self::NameIntoMeta(field) => {
                let name = fields.get("meta").and_then(|meta| read::<Meta>(meta)?.display_name());
                let name = name.map(|name| string_literal(&name)).or_else(|| fields.get("user_id").cloned());
                if let Some(name) = name {
                    in_meta(fields, |meta| meta.insert(field.into(), name));
                }
            }
            Self::Encode(field, form) => {
                let bytes = fields.get(field).and_then(|text| decode_base64(&read::<String>(text)?).ok());
                if let Some(bytes) = bytes {
                    fields.insert(field.into(), string_literal(&form.encode(&bytes)));
                }
            }
            Self::ServersAsClients(id) => {
                let servers = fields.get("servers").cloned().unwrap_or_else(|| "[]".into());
                let servers = elements(&servers).into_iter().map(|entry| {
                    let mut entry = fields_of(&entry);
                    if let Some(server) = entry.remove("server_id") {
                        entry.insert(id.into(), server);
                    }
                    object(&entry)
                });
                let servers: Vec<String> = servers.collect();
                fields.insert("clients".into(), format!("[{}]", servers.join(",")));
            }
        }
    }
}

fn in_meta(fields: &mut Fields, change: impl FnOnce(&mut Fields) -> Option<String>) {
    let mut meta = fields.get("meta").map(|meta| fields_of(meta)).unwrap_or_default();
    change(&mut meta);
    fields.insert("meta".into(), object(&meta));
}

/// Writes the keys in a field's value, at whatever depth they stand, in another form.
fn write_keys(name: &str, value: &mut String, form: KeyForm) {
    match value.as_bytes().first() {
        Some(b'"') if KEYS.contains(&name) => {
            if let Some(key) = read::<String>(value).and_then(|text| PublicKey::from_field(&text).ok()) {
                *value = string_literal(&key.to_field_in(form));
            }
        }
        Some(b'{') => {
            let mut inner = fields_of(value);
            inner.iter_mut().for_each(|(name, value)| write_keys(name, value, form));
            *value = object(&inner);
        }
        Some(b'[') => {
            let mut inner = elements(value);
            inner.iter_mut().for_each(|element| write_keys(name, element, form));
            *value = format!("[{}]", inner.join(","));
        }
        _ => {}
    }
}

/// The fields of a canonical object; anything else has none.
fn fields_of(canonical: &str) -> Fields {
    let members = members(canonical, usize::MAX).unwrap_or_default();
    members.into_iter().map(|member| (member.key, member.canonical)).collect()
}

/// The canonical elements of a canonical array.
fn elements(canonical: &str) -> Vec<String> {
    let elements: Vec<&RawValue> = serde_json::from_str(canonical).unwrap_or_default();
    elements.into_iter().filter_map(|element| canonicalise(element.get(), usize::MAX).ok()).collect()
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}
