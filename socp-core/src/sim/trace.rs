//! What happened, kept for the report of a failure, and hashed whole.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::net::Site;
use crate::client::Notice;
use crate::server::Report;
use crate::wire::WireText;

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// A frame arrived.
    Frame { from: Site, to: Site, text: WireText },
    /// A server reported something.
    Report(Site, Report),
    /// A client told its user something.
    Notice(Site, Notice),
    /// Anything else, in words.
    Note(Site, String),
    /// Something that concerns no single node.
    World(String),
}

/// The last happenings, and the hash of all of them.
pub(super) struct Trace {
    last: VecDeque<(u64, Happening)>,
    kept: usize,
    hasher: DefaultHasher,
    /// What ids are called in reports.
    names: BTreeMap<String, String>,
}

impl Trace {
    pub(super) fn new(kept: usize) -> Self {
        Self { last: VecDeque::new(), kept, hasher: DefaultHasher::new(), names: BTreeMap::new() }
    }

    pub(super) fn name(&mut self, id: &str, name: String) {
        self.names.insert(id.to_owned(), name);
    }

    pub(super) fn record(&mut self, at: u64, happening: Happening) {
        at.hash(&mut self.hasher);
        match &happening {
            Happening::Frame { from, to, text } => (from, to, &**text.bytes()).hash(&mut self.hasher),
            Happening::Report(site, _) | Happening::Notice(site, _) => site.hash(&mut self.hasher),
            Happening::Note(site, note) => (site, note).hash(&mut self.hasher),
            Happening::World(note) => note.hash(&mut self.hasher),
        }
        if self.kept > 0 {
            if self.last.len() >= self.kept {
                self.last.pop_front();
            }
            self.last.push_back((at, happening));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last happenings, one a line, ids replaced by names.
    pub(super) fn lines(&self) -> Vec<String> {
        self.last.iter().map(|(at, happening)| format!("{} {}", clock(*at), self.line(happening))).collect()
    }

    fn line(&self, happening: &Happening) -> String {
        match happening {
            Happening::Frame { from, to, text } => {
                self.named(&format!("{from:>4} → {to:<4} {}", summary(text.as_str(), &self.names)))
            }
            Happening::Report(site, report) => self.named(&format!("{site:>4} · {}", report_line(report))),
            Happening::Notice(site, notice) => {
                self.named(&format!("{site:>4} · {}", brief(&format!("{notice:?}"))))
            }
            Happening::Note(site, note) => self.named(&format!("{site:>4} ! {note}")),
            Happening::World(note) => self.named(&format!("   * {note}")),
        }
    }

    /// A text with ids replaced by names.
    pub(super) fn named(&self, text: &str) -> String {
        let mut named = text.to_owned();
        for (id, name) in &self.names {
            if named.contains(id.as_str()) {
                named = named.replace(id.as_str(), name);
            }
        }
        named
    }
}

/// Virtual time as minutes, seconds and milliseconds.
pub(super) fn clock(us: u64) -> String {
    let ms = us / 1000;
    format!("{:>3}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000)
}

fn report_line(report: &Report) -> String {
    match report {
        Report::UserOnline { user, server } => format!("{user} is at {server}"),
        Report::UserOffline { user } => format!("{user} is nowhere"),
        Report::ServerUp { server, link, proven, dialect: _ } => {
            format!("{server} is up on {link:?}{}", if *proven { "" } else { ", unproven" })
        }
        Report::ServerDown { server } => format!("{server} is down"),
        Report::Dropped { why, detail } => format!("dropped: {why}: {detail}"),
        Report::IdAssigned { .. }
        | Report::IntroducerDown { .. }
        | Report::IntroducerUp { .. }
        | Report::KeyConflict(_) => format!("{report:?}"),
    }
}

/// Debug output without keys.
fn brief(text: &str) -> String {
    text.chars().take(160).collect()
}

/// A frame in a line: its type and what tells it from others of its type.
fn summary(text: &str, names: &BTreeMap<String, String>) -> String {
    let Ok(Value::Object(frame)) = serde_json::from_str::<Value>(text) else { return brief(text) };
    let field = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut line = field("type");
    let _ = write!(line, " from={}", field("from"));
    if let Some(Value::Object(payload)) = frame.get("payload") {
        for (name, value) in payload {
            let shown = match (name.as_str(), value) {
                (
                    "pubkey" | "enc_pubkey" | "sender_pub" | "ciphertext" | "content_sig" | "auth" | "client"
                    | "ext" | "introducer",
                    _,
                ) => continue,
                ("attestation", value) => {
                    let at = value.pointer("/payload/issued_at").cloned().unwrap_or_default();
                    format!("attested={at}")
                }
                ("nonce" | "own_nonce" | "digest", Value::String(text)) => {
                    format!("{name}={}", &text[..text.len().min(6)])
                }
                (_, Value::String(text)) => format!("{name}={}", brief(text)),
                (_, Value::Array(list)) => {
                    let ids: Vec<String> =
                        list.iter().take(8).map(|entry| entry_name(entry, names)).collect();
                    format!("{name}={}[{}]", list.len(), ids.join(" "))
                }
                (_, value) => format!("{name}={}", brief(&value.to_string())),
            };
            let _ = write!(line, " {shown}");
        }
    }
    if frame.get("sig").is_none() {
        line.push_str(" unsigned");
    }
    line
}

fn entry_name(entry: &Value, names: &BTreeMap<String, String>) -> String {
    let id = ["user_id", "server_id"].iter().find_map(|name| entry.get(name)?.as_str());
    let id = id.or_else(|| entry.get(0)?.as_str()).unwrap_or("?");
    names.get(id).cloned().unwrap_or_else(|| id.to_owned())
}
