//! Notices about files as lines.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use socp_core::client::{
    Direction, FileNotice, SentTo, Transfer, escape_label, escape_text, quote_label as quoted,
};

/// One line for people and scripts, or none if another notice says it.
pub(super) fn plain(notice: &FileNotice) -> Option<String> {
    Some(match notice {
        FileNotice::Waiting(transfer) => {
            format!("[file {}] {} waits for earlier files", transfer.id, what(transfer))
        }
        FileNotice::Offering(transfer) => {
            let Transfer { id, label, name, size, .. } = transfer;
            let (label, name) = (quoted(label), quoted(name));
            format!("[file {id}] offering {name} ({}) to {label}", bytes(*size))
        }
        FileNotice::Offered { transfer, to_all, verified, accepted } => {
            let Transfer { id, label, name, size, .. } = transfer;
            let (label, name) = (quoted(label), quoted(name));
            let does = if *accepted { "sends" } else { "offers" };
            let whom = if *to_all { " everybody" } else { "" };
            let doubt = verified.err().map(|doubt| format!(" (not verified: {doubt})")).unwrap_or_default();
            let ask = if *accepted { String::new() } else { format!("; /accept {id} or /reject {id}") };
            format!("[file {id}] {label} {does}{whom} {name} ({}){doubt}{ask}", bytes(*size))
        }
        FileNotice::Accepted { transfer, .. } => {
            format!("[file {}] receiving {}", transfer.id, what(transfer))
        }
        FileNotice::Started(transfer) => format!("[file {}] sending {}", transfer.id, what(transfer)),
        FileNotice::Stopped { transfer, others, .. } if others.is_empty() => {
            format!("[file {}] stopped {}", transfer.id, what(transfer))
        }
        FileNotice::Stopped { transfer, others, .. } => {
            let users = others.len() + 1;
            format!("[file {}] stopped {} to all: {users} did not have it yet", transfer.id, transfer.name)
        }
        FileNotice::Progress { transfer, done, rate, left } => {
            let percent = percent(*done, transfer.size);
            let left = left.map(|left| format!(", {} left", time(left))).unwrap_or_default();
            format!("[file {}] {}: {percent} %, {}/s{left}", transfer.id, what(transfer), bytes(*rate))
        }
        FileNotice::Saved { transfer, path, took } => {
            let how = pace(transfer.size, *took);
            format!("[file {}] saved {} as {}{how}", transfer.id, what(transfer), shown(path))
        }
        FileNotice::Arrived { transfer, confirmed, took } => {
            let Transfer { id, label, name, size, .. } = transfer;
            let (how, label, name) = (pace(*size, *took), quoted(label), quoted(name));
            match confirmed {
                true => format!("[file {id}] {name} has arrived at {label}, complete and verified{how}"),
                false => {
                    format!(
                        "[file {id}] {name} was sent to {label}, whose program does not say whether it arrived{how}"
                    )
                }
            }
        }
        FileNotice::Sent { to: SentTo::User { .. }, .. } | FileNotice::Cancelled { .. } => return None,
        FileNotice::Sent { name, to: SentTo::Everyone { recipients, failed }, .. } => {
            let rest = if *failed > 0 { format!(", not to {failed}") } else { String::new() };
            format!("[file] {} was sent to all: {recipients}{rest}", quoted(name))
        }
        FileNotice::Failed { reference: Some(_), transfer, code, detail } => {
            super::error(code, &named(transfer, detail))
        }
        FileNotice::Failed { reference: None, transfer, code, detail } => {
            format!(
                "[file {}] {} failed: {} {detail}",
                transfer.id,
                what(transfer),
                escape_label(code.as_str())
            )
        }
    })
}

/// `cat.jpg (file 3): bob does not take it`.
fn named(transfer: &Transfer, detail: &str) -> String {
    format!("{} (file {}): {detail}", quoted(&transfer.name), transfer.id)
}

/// How much of it is done.
pub fn percent(done: u64, size: u64) -> u64 {
    done.min(size).saturating_mul(100).checked_div(size).unwrap_or(100)
}

/// `: 1.2 MB in 4 s, 285 kB/s`, for what has taken any time worth a word.
fn pace(size: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 0.1 {
        return String::new();
    }
    let rate = bytes((size as f64 / seconds) as u64);
    let took = if seconds < 100.0 { format!("{seconds:.1} s") } else { time(took) };
    format!(": {} in {took}, {rate}/s", bytes(size))
}

/// `cat.jpg of bob`.
fn what(transfer: &Transfer) -> String {
    let of = match transfer.direction {
        Direction::Out => "to",
        Direction::In => "of",
    };
    format!("{} {of} {}", quoted(&transfer.name), quoted(&transfer.label))
}

fn shown(path: &Path) -> String {
    escape_text(&path.to_string_lossy())
}

/// A number of bytes for people.
pub fn bytes(number: u64) -> String {
    if number == 1 {
        return "1 byte".into();
    }
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut scaled = number as f64;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || scaled >= 99.95 { 0 } else { 1 };
    format!("{scaled:.decimals$} {}", UNITS[unit])
}

/// A time for people, rounded up.
pub fn time(left: Duration) -> String {
    match left.as_secs_f64().ceil() as u64 {
        secs @ 0..100 => format!("{secs} s"),
        secs @ 100..6_000 => format!("{} min", secs.div_ceil(60)),
        secs => format!("{} h", secs.div_ceil(3_600)),
    }
}

/// One JSON object.
#[derive(Serialize)]
#[serde(tag = "event")]
pub(super) enum Event<'a> {
    #[serde(rename = "file_waiting")]
    Waiting {
        #[serde(flatten)]
        transfer: File<'a>,
    },
    #[serde(rename = "file_offering")]
    Offering {
        #[serde(flatten)]
        transfer: File<'a>,
    },
    #[serde(rename = "file_offered")]
    Offered {
        #[serde(flatten)]
        transfer: File<'a>,
        to_all: bool,
        verified: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        accepted: bool,
    },
    #[serde(rename = "file_accepted")]
    Accepted {
        #[serde(flatten)]
        transfer: File<'a>,
        #[serde(rename = "ref")]
        reference: u64,
    },
    #[serde(rename = "file_stopped")]
    Stopped {
        #[serde(flatten)]
        transfer: File<'a>,
        /// Transfers of the same file to others that were stopped with it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        others: Vec<u64>,
        #[serde(rename = "ref")]
        reference: u64,
    },
    #[serde(rename = "file_started")]
    Started {
        #[serde(flatten)]
        transfer: File<'a>,
    },
    #[serde(rename = "file_progress")]
    Progress {
        #[serde(flatten)]
        transfer: File<'a>,
        done: u64,
        /// Bytes a second.
        rate: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds_left: Option<u64>,
    },
    #[serde(rename = "file_saved")]
    Saved {
        #[serde(flatten)]
        transfer: File<'a>,
        path: String,
        seconds: f64,
    },
    #[serde(rename = "file_arrived")]
    Arrived {
        #[serde(flatten)]
        transfer: File<'a>,
        confirmed: bool,
        seconds: f64,
    },
    #[serde(rename = "file_sent")]
    Sent {
        name: &'a str,
        to: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        recipients: usize,
        failed: usize,
        confirmed: bool,
        #[serde(rename = "ref")]
        reference: u64,
    },
    #[serde(rename = "file_failed")]
    Failed {
        #[serde(flatten)]
        transfer: File<'a>,
        code: &'a str,
        detail: &'a str,
    },
    /// The end of a command, as other commands end.
    #[serde(rename = "error")]
    Error {
        code: &'a str,
        detail: String,
        transfer: u64,
        #[serde(rename = "ref")]
        reference: u64,
    },
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    transfer: u64,
    direction: &'static str,
    user_id: &'a str,
    label: &'a str,
    name: &'a str,
    size: u64,
}

impl<'a> From<&'a Transfer> for File<'a> {
    fn from(transfer: &'a Transfer) -> Self {
        let Transfer { id, direction, user_id, label, name, size } = transfer;
        let direction = match direction {
            Direction::Out => "out",
            Direction::In => "in",
        };
        Self { transfer: id.0, direction, user_id: user_id.as_str(), label, name, size: *size }
    }
}

impl<'a> From<&'a FileNotice> for Event<'a> {
    fn from(notice: &'a FileNotice) -> Self {
        match notice {
            FileNotice::Waiting(transfer) => Self::Waiting { transfer: transfer.into() },
            FileNotice::Offering(transfer) => Self::Offering { transfer: transfer.into() },
            FileNotice::Offered { transfer, to_all, verified, accepted } => Self::Offered {
                transfer: transfer.into(),
                to_all: *to_all,
                verified: verified.is_ok(),
                reason: verified.err().map(|doubt| doubt.to_string()),
                accepted: *accepted,
            },
            FileNotice::Accepted { reference, transfer } => {
                Self::Accepted { transfer: transfer.into(), reference: *reference }
            }
            FileNotice::Started(transfer) => Self::Started { transfer: transfer.into() },
            FileNotice::Stopped { reference, transfer, others } => {
                let others = others.iter().map(|id| id.0).collect();
                Self::Stopped { transfer: transfer.into(), others, reference: *reference }
            }
            FileNotice::Progress { transfer, done, rate, left } => Self::Progress {
                transfer: transfer.into(),
                done: *done,
                rate: *rate,
                seconds_left: left.map(|left| left.as_secs_f64().ceil() as u64),
            },
            FileNotice::Saved { transfer, path, took } => Self::Saved {
                transfer: transfer.into(),
                path: path.to_string_lossy().into_owned(),
                seconds: took.as_secs_f64(),
            },
            FileNotice::Arrived { transfer, confirmed, took } => Self::Arrived {
                transfer: transfer.into(),
                confirmed: *confirmed,
                seconds: took.as_secs_f64(),
            },
            FileNotice::Sent { reference, name, to, confirmed } => {
                let (to, user_id, recipients, failed) = match to {
                    SentTo::User { user_id, label } => (&**label, Some(user_id.as_str()), 1, 0),
                    SentTo::Everyone { recipients, failed } => ("*", None, *recipients, *failed),
                };
                let (confirmed, reference) = (*confirmed, *reference);
                Self::Sent { name, to, user_id, recipients, failed, confirmed, reference }
            }
            FileNotice::Failed { reference: None, transfer, code, detail } => {
                Self::Failed { transfer: transfer.into(), code: code.as_str(), detail }
            }
            FileNotice::Failed { reference: Some(reference), transfer, code, detail } => Self::Error {
                code: code.as_str(),
                detail: named(transfer, detail),
                transfer: transfer.id.0,
                reference: *reference,
            },
            FileNotice::Cancelled { reference, transfer } => Self::Error {
                code: "CANCELLED",
                detail: named(transfer, "cancelled"),
                transfer: transfer.id.0,
                reference: *reference,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use socp_core::client::{Doubt, TransferId};
    use socp_core::wire::ErrorCode;

    use super::*;

    fn transfer(direction: Direction) -> Transfer {
        Transfer {
            id: TransferId(3),
            direction,
            user_id: "bob-id".parse().unwrap(),
            label: "bob".into(),
            name: "cat.jpg".into(),
            size: 1_234_567,
        }
    }

    #[test]
    fn lines_are_word_for_word_what_scripts_rely_on() {
        let whose = r#""transfer":3,"direction":"in","user_id":"bob-id","label":"bob","name":"cat.jpg","size":1234567"#;
        let (coming, going) = (transfer(Direction::In), transfer(Direction::Out));
        let offered = |verified, accepted| FileNotice::Offered {
            transfer: coming.clone(),
            to_all: false,
            verified,
            accepted,
        };
        for (notice, line, json) in [
            (
                offered(Ok(()), false),
                "[file 3] bob offers cat.jpg (1.2 MB); /accept 3 or /reject 3",
                format!(r#"{{"event":"file_offered",{whose},"to_all":false,"verified":true,"accepted":false}}"#),
            ),
            (
                offered(Err(Doubt::NoSignature), false),
                "[file 3] bob offers cat.jpg (1.2 MB) (not verified: no content signature); /accept 3 or /reject 3",
                format!(
                    r#"{{"event":"file_offered",{whose},"to_all":false,"verified":false,"reason":"no content signature","accepted":false}}"#
                ),
            ),
            (
                FileNotice::Progress {
                    transfer: coming.clone(),
                    done: 500_000,
                    rate: 285_000,
                    left: Some(Duration::from_millis(2_578)),
                },
                "[file 3] cat.jpg of bob: 40 %, 285 kB/s, 3 s left",
                format!(r#"{{"event":"file_progress",{whose},"done":500000,"rate":285000,"seconds_left":3}}"#),
            ),
            (
                FileNotice::Saved {
                    transfer: coming.clone(),
                    path: "/home/a/cat.jpg".into(),
                    took: Duration::from_millis(2_500),
                },
                "[file 3] saved cat.jpg of bob as /home/a/cat.jpg: 1.2 MB in 2.5 s, 494 kB/s",
                format!(r#"{{"event":"file_saved",{whose},"path":"/home/a/cat.jpg","seconds":2.5}}"#),
            ),
            (
                FileNotice::Failed {
                    reference: None,
                    transfer: coming.clone(),
                    code: ErrorCode::UserNotFound,
                    detail: "bob has gone".into(),
                },
                "[file 3] cat.jpg of bob failed: USER_NOT_FOUND bob has gone",
                format!(r#"{{"event":"file_failed",{whose},"code":"USER_NOT_FOUND","detail":"bob has gone"}}"#),
            ),
            (
                FileNotice::Failed {
                    reference: Some(7),
                    transfer: going.clone(),
                    code: ErrorCode::Other("REFUSED".into()),
                    detail: "bob does not take it".into(),
                },
                "[error] REFUSED cat.jpg (file 3): bob does not take it",
                r#"{"event":"error","code":"REFUSED","detail":"cat.jpg (file 3): bob does not take it","transfer":3,"ref":7}"#
                    .to_owned(),
            ),
            (
                FileNotice::Cancelled { reference: 7, transfer: going.clone() },
                "",
                r#"{"event":"error","code":"CANCELLED","detail":"cat.jpg (file 3): cancelled","transfer":3,"ref":7}"#
                    .to_owned(),
            ),
            (
                FileNotice::Stopped {
                    reference: 7,
                    transfer: going.clone(),
                    others: vec![TransferId(4), TransferId(5)],
                },
                "[file 3] stopped cat.jpg to all: 3 did not have it yet",
                format!(
                    r#"{{"event":"file_stopped",{},"others":[4,5],"ref":7}}"#,
                    whose.replace(r#""in""#, r#""out""#)
                ),
            ),
            (
                FileNotice::Waiting(going.clone()),
                "[file 3] cat.jpg to bob waits for earlier files",
                format!(r#"{{"event":"file_waiting",{}}}"#, whose.replace(r#""in""#, r#""out""#)),
            ),
            (
                FileNotice::Arrived {
                    transfer: going.clone(),
                    confirmed: true,
                    took: Duration::from_millis(50),
                },
                "[file 3] cat.jpg has arrived at bob, complete and verified",
                format!(
                    r#"{{"event":"file_arrived",{},"confirmed":true,"seconds":0.05}}"#,
                    whose.replace(r#""in""#, r#""out""#)
                ),
            ),
            (
                FileNotice::Offering(going),
                "[file 3] offering cat.jpg (1.2 MB) to bob",
                format!(r#"{{"event":"file_offering",{}}}"#, whose.replace(r#""in""#, r#""out""#)),
            ),
            (
                FileNotice::Sent {
                    reference: 7,
                    name: "cat.jpg".into(),
                    to: SentTo::Everyone { recipients: 2, failed: 1 },
                    confirmed: true,
                },
                "[file] cat.jpg was sent to all: 2, not to 1",
                r#"{"event":"file_sent","name":"cat.jpg","to":"*","recipients":2,"failed":1,"confirmed":true,"ref":7}"#
                    .to_owned(),
            ),
        ] {
            assert_eq!(plain(&notice).unwrap_or_default(), line);
            assert_eq!(serde_json::to_string(&Event::from(&notice)).unwrap(), json);
        }
    }

    #[test]
    fn numbers_are_for_people() {
        for (number, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (999_499, "999 kB"),
            (999_600, "1.0 MB"),
            (67_108_864, "67.1 MB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (secs, text) in [(1, "1 s"), (99, "99 s"), (100, "2 min"), (3_600, "60 min"), (7_300, "3 h")] {
            assert_eq!(time(Duration::from_secs(secs)), text);
        }
    }
}
