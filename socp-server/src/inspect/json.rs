//! Findings for programs: one object a line.

use std::io::{Result, Write};

use serde::Serialize;
use serde_json::{Value, json};
use socp_core::inspect::{ContentFinding, ContentShape, Finding, Keyring, SignatureFinding, Summary};

use super::Show;

/// Writes JSON lines.
#[derive(Debug)]
pub(super) struct Json;

/// A line of output; the order of the fields is the order in it.
#[derive(Serialize)]
struct FindingLine<'a> {
    line: usize,
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parties: Option<[&'a str; 2]>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    ts: Option<u64>,
    bytes: usize,
    signature: Option<Value>,
    content: Option<Value>,
    odd: Vec<Value>,
    verdict: &'static str,
    why: &'a str,
    assumed: &'a [Box<str>],
}

impl Show for Json {
    fn finding(&mut self, out: &mut dyn Write, finding: &Finding) -> Result<()> {
        let envelope = finding.envelope.as_ref();
        let odd = finding.odd.iter().map(|odd| {
            let (id, section, words) = (odd.oddity.id(), odd.oddity.section(), odd.oddity.words());
            json!({ "id": id, "section": section, "words": words, "detail": odd.detail })
        });
        let line = FindingLine {
            line: finding.line,
            r#type: envelope.map(|envelope| &*envelope.kind),
            parties: finding.parties.as_ref().map(|(from, to)| [&**from, &**to]),
            from: envelope.map(|envelope| &*envelope.from).filter(|from| !from.is_empty()),
            to: envelope.map(|envelope| &*envelope.to).filter(|to| !to.is_empty()),
            ts: envelope.and_then(|envelope| envelope.ts).map(|ts| ts.0),
            bytes: finding.bytes,
            signature: finding.signature.as_ref().map(signature),
            content: finding.content.as_ref().map(content),
            odd: odd.collect(),
            verdict: finding.verdict.does.as_str(),
            why: &finding.verdict.why,
            assumed: &finding.verdict.assumed,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    }

    fn summary(&mut self, out: &mut dyn Write, summary: &Summary, keys: &Keyring) -> Result<()> {
        let forms = summary.forms.iter().map(|((label, key, canonical, salt), count)| {
            let fingerprint = key.to_string();
            json!({ "key": label, "fingerprint": fingerprint, "canonical": canonical, "salt": salt, "frames": count })
        });
        let reasons = summary.reasons.iter().map(|((does, why), (count, first))| {
            json!({ "verdict": does.as_str(), "why": why, "lines": count, "first": first })
        });
        let odd = summary.odd.iter().map(|(oddity, count)| (oddity.id().to_owned(), Value::from(*count)));
        let verdicts =
            summary.verdicts.iter().map(|(does, count)| (does.as_str().to_owned(), Value::from(*count)));
        let summary = json!({
            "frames": summary.frames,
            "unreadable": summary.unreadable,
            "first_ts": summary.times.map(|(first, _)| first.0),
            "last_ts": summary.times.map(|(_, last)| last.0),
            "signed": summary.signed,
            "under_from": summary.under_from,
            "under_other": summary.under_other,
            "wrong": summary.wrong,
            "forms": forms.collect::<Vec<_>>(),
            "content_sigs": summary.content.0,
            "content_sigs_read": summary.content.1,
            "decrypted": summary.opened,
            "keys_in_file": keys.parties().len(),
            "keys_brought": keys.brought(),
            "types": summary.types,
            "odd": odd.collect::<serde_json::Map<_, _>>(),
            "verdicts": verdicts.collect::<serde_json::Map<_, _>>(),
            "reasons": reasons.collect::<Vec<_>>(),
        });
        serde_json::to_writer(&mut *out, &json!({ "summary": summary }))?;
        out.write_all(b"\n")
    }
}

fn signature(signature: &SignatureFinding) -> Value {
    match &signature.held {
        Some(held) => json!({
            "holds": true,
            "key": held.label,
            "under_from": held.under_from,
            "canonical": held.canonical(),
            "salt": held.form.salt.bytes(),
            "fingerprint": held.key.to_string(),
        }),
        None => json!({
            "holds": false, "key": null, "under_from": false, "canonical": null, "salt": null,
            "tried": signature.tried,
        }),
    }
}

fn content(content: &ContentFinding) -> Value {
    let signature = content.signature.as_ref().map(|signature| match signature {
        Some((label, shape)) => {
            json!({ "holds": true, "key": label, "over": shape_id(*shape), "read": is_read(*shape) })
        }
        None => json!({ "holds": false, "key": null, "over": null, "read": false }),
    });
    let opened = content.opened.as_ref().map(|opened| match &opened.text {
        Some(text) => json!({ "by": opened.by, "bytes": opened.bytes, "text": text }),
        None => json!({ "by": opened.by, "bytes": opened.bytes }),
    });
    json!({ "signature": signature, "decrypted": opened })
}

fn shape_id(shape: ContentShape) -> &'static str {
    match shape {
        ContentShape::Bound(form) => match (form.text, form.digest) {
            (false, false) => "bytes",
            (true, false) => "text",
            (false, true) => "digest-of-bytes",
            (true, true) => "digest-of-text",
        },
        ContentShape::Separated(_) => "separated-text",
        ContentShape::TextAlone(_) => "text-alone",
        ContentShape::Payload => "payload",
    }
}

/// Whether a client of ours takes it for a signature.
pub(super) fn is_read(shape: ContentShape) -> bool {
    matches!(shape, ContentShape::Bound(_) | ContentShape::Payload)
}
