//! Scores for programs: one object a line.

use std::io::{Result, Write};

use serde_json::{Value, json};

use super::Show;
use super::report::{Result as Scored, Score};
use super::stage::{Stage, What};

/// Writes JSON lines.
#[derive(Debug)]
pub(super) struct Json;

fn line(out: &mut dyn Write, value: &Value) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

impl Show for Json {
    fn begin(&mut self, _: &mut dyn Write, _: &str) -> Result<()> {
        Ok(())
    }

    fn clause(&mut self, out: &mut dyn Write, scored: &Scored, stage: &Stage) -> Result<()> {
        let clause = scored.clause;
        let frames = scored.cited.iter().map(|place| {
            let entry = &stage.log[*place];
            let what = match entry.what {
                What::Sent => "sent",
                What::Came => "came",
                What::CameBinary => "came as binary",
                What::Ended { .. } => "ended",
            };
            json!({ "party": entry.who.name(), "what": what, "text": entry.text })
        });
        line(
            out,
            &json!({
                "clause": clause.id,
                "section": clause.section,
                "title": clause.title,
                "role": clause.role.as_str(),
                "sends": clause.sends,
                "expects": clause.expects,
                "outcome": scored.verdict.as_str(),
                "why": scored.verdict.words(),
                "ms": u64::try_from(scored.took.as_millis()).unwrap_or(u64::MAX),
                "frames": frames.collect::<Vec<_>>(),
            }),
        )
    }

    fn summary(&mut self, out: &mut dyn Write, score: &Score, stage: &Stage) -> Result<()> {
        let target = &stage.target;
        line(
            out,
            &json!({ "summary": {
                "url": stage.url.to_string(),
                "server_id": target.id,
                "key": target.key.as_ref().map(|key| key.id().to_string()),
                "dialect": target.dialect.map(|dialect| dialect.as_str()),
                "reasons": target.reasons,
                "passed": score.passed(),
                "failed": score.failed(),
                "not_applicable": score.not_applicable(),
                "failures": score.failures().map(|(clause, _)| clause.id).collect::<Vec<_>>(),
                "cut_short": score.cut_short,
                "seconds": score.took.as_secs_f64(),
            }}),
        )
    }
}
