//! Lists, the directory, liveness, the end of links, and what can be said of all frames together.

use std::collections::BTreeMap;
use std::time::Duration;

use socp_core::wire::{Empty, Frame, FrameType, Payload, PubkeyRequest};

use super::cast::Who;
use super::clause::{Need, Outcome, failed, not_applicable};
use super::joining::form_words;
use super::stage::{Entry, Mark, Sig, Stage, What};

/// 15 s, and one for the way.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(16);

/// How far a clock may be off before it is no clock.
const CLOCK_MS: u64 = 5 * 60 * 1000;

/// Frames that may come unsigned (§7): hellos and bootstrap, and the goodbye.
const MAY_BE_BARE: [FrameType; 5] = [
    FrameType::ServerHelloJoin,
    FrameType::ServerWelcome,
    FrameType::ServerAnnounce,
    FrameType::ServerHelloLink,
    FrameType::CtrlClose,
];

/// Users' own frames, which nobody signs on the way (§9.3, §9.4).
const USERS_OWN: [FrameType; 4] =
    [FrameType::MsgPublicChannel, FrameType::FileStart, FrameType::FileChunk, FrameType::FileEnd];

pub(super) async fn list(stage: &mut Stage) -> Outcome {
    let since = stage.mark();
    if let Some(text) = stage.write(Who::Ann, stage.to_target(), &Payload::ListRequest(Empty {})) {
        stage.send(Who::Ann, text).await;
    }
    let came = stage.wait(since, stage.patience, |entry| {
        entry.who == Who::Ann && entry.is(&FrameType::ListResponse).is_some()
    });
    let Some(place) = came.await else { return failed("no LIST_RESPONSE") };
    let Some(Payload::ListResponse(list)) = stage.log[place].frame.as_ref().map(|frame| frame.payload())
    else {
        return failed("its payload has no users");
    };
    let at = |who: Who| list.users.iter().position(|user| *user.user_id.id() == stage.cast.id(who));
    let wanted: Vec<_> = [Who::Ann, Who::Ben, Who::Rob]
        .into_iter()
        .filter(|who| *who == Who::Ann || stage.has(if *who == Who::Ben { Need::Ben } else { Need::Ear }))
        .collect();
    let missing: Vec<_> = wanted.iter().filter(|who| at(**who).is_none()).map(|who| who.name()).collect();
    if !missing.is_empty() {
        return failed(format!("it lacks {}", missing.join(", ")));
    }
    // Nobody of them has a name but the id.
    let mut by_id = wanted.clone();
    by_id.sort_by_key(|who| stage.cast.id(*who));
    let places: Vec<_> = by_id.iter().filter_map(|who| at(*who)).collect();
    match places.is_sorted() {
        true => Ok(format!("{} users, sorted", list.users.len())),
        false => failed("all are there, but not sorted"),
    }
}

pub(super) async fn pubkey(stage: &mut Stage) -> Outcome {
    let since = stage.mark();
    let request = PubkeyRequest { user_id: stage.cast.user(Who::Ann) };
    if let Some(text) = stage.write(Who::Ann, stage.to_target(), &Payload::PubkeyRequest(request)) {
        stage.send(Who::Ann, text).await;
    }
    let came = stage
        .wait(since, stage.short_patience(), |entry| {
            entry.who == Who::Ann && entry.is(&FrameType::Pubkey).is_some()
        })
        .await;
    let Some(place) = came else {
        return not_applicable("not answered: the standard's directory is out of band");
    };
    match stage.log[place].frame.as_ref().map(|frame| frame.payload()) {
        Some(Payload::Pubkey(answer)) if answer.pubkey.key() == Ok(stage.cast.key(Who::Ann)) => {}
        _ => return failed("not her key"),
    }
    match stage.signed(place) {
        Sig::Holds(_) => Ok("her key, signed".into()),
        Sig::KeyUnknown => Ok("her key, signed by a key that is not known here".into()),
        Sig::None | Sig::Wrong => failed("her key, but not signed by the directory"),
    }
}

pub(super) async fn heartbeat(stage: &mut Stage) -> Outcome {
    if stage.quick {
        return not_applicable("not waited for: --quick");
    }
    let id = stage.target.id.clone();
    let came = stage.wait(0, HEARTBEAT_PATIENCE, |entry| {
        let from = entry.is(&FrameType::Heartbeat).and_then(|frame| frame.from());
        entry.who.is_server() && from.is_some_and(|from| id.as_ref().is_none_or(|id| id == from))
    });
    match came.await {
        Some(_) => Ok("it came".into()),
        None => failed("none came in 16 s"),
    }
}

pub(super) async fn kept(stage: &mut Stage) -> Outcome {
    if stage.quick {
        return not_applicable("too short a time: --quick");
    }
    match stage.has(Need::Link) {
        true => Ok("still linked".into()),
        false => failed("the link of probe-1 is gone"),
    }
}

pub(super) async fn close(stage: &mut Stage) -> Outcome {
    let Some(link) = stage.link_of(Who::Two) else { return failed("there is none") };
    if let Some(text) = stage.removal(Who::Two, Who::Zoe) {
        stage.removes(Who::Zoe);
        stage.send(Who::Two, text).await;
    }
    let since = stage.mark();
    if let Some(text) = stage.write(Who::Two, stage.to_target(), &Payload::CtrlClose(Empty {})) {
        stage.send(Who::Two, text).await;
    }
    stage.close(link);
    let ended = stage
        .wait(since, stage.patience, |entry| entry.link == link && matches!(entry.what, What::Ended { .. }));
    match ended.await.map(|place| stage.log[place].clone()) {
        Some(Entry { what: What::Ended { closed: true }, text, .. }) => Ok(text.into()),
        Some(entry) => failed(format!("the connection was dropped: {}", entry.text)),
        None => failed("the close frame is not answered"),
    }
}

/// Frames of the target itself: not those that it passes on, nor those of its fellows, who may dial the probe.
fn own_frames(stage: &Stage) -> Vec<(Mark, &Frame)> {
    let ours: Vec<_> = Who::ALL.iter().map(|who| stage.cast.id(*who)).collect();
    let frames = stage.log.iter().enumerate().filter_map(|(place, entry)| Some((place, entry.came()?)));
    let own = frames.filter(|(place, frame)| match (&stage.target.id, frame.from()) {
        (Some(id), Some(from)) => id == from,
        (_, None) => !stage.is_accepted(stage.log[*place].link),
        (None, Some(from)) => !ours.contains(from),
    });
    own.collect()
}

/// What is wrong with so many frames, by what it is; the first of each is cited.
#[derive(Default)]
struct Faults(BTreeMap<String, (usize, Mark)>);

impl Faults {
    fn add(&mut self, what: String, place: Mark) {
        self.0.entry(what).or_insert((0, place)).0 += 1;
    }

    fn tell(self, stage: &mut Stage, fine: String) -> Outcome {
        if self.0.is_empty() {
            return Ok(fine);
        }
        stage.cited.extend(self.0.values().map(|(_, place)| place));
        let words: Vec<_> = self.0.iter().map(|(what, (count, _))| format!("{count} × {what}")).collect();
        failed(words.join("; "))
    }
}

pub(super) async fn envelopes(stage: &mut Stage) -> Outcome {
    let mut faults = Faults::default();
    let mut count = 0;
    for (place, entry) in stage.log.iter().enumerate() {
        if stage.is_accepted(entry.link) {
            continue;
        }
        match entry.what {
            What::CameBinary => faults.add("a binary message".into(), place),
            What::Came if entry.frame.is_none() => faults.add("text that is no frame".into(), place),
            What::Came | What::Sent | What::Ended { .. } => {}
        }
    }
    for (place, frame) in own_frames(stage) {
        count += 1;
        // A bare goodbye is the standard's own.
        if *frame.kind() == FrameType::CtrlClose {
            continue;
        }
        let raw: serde_json::Value = serde_json::from_str(&stage.log[place].text).unwrap_or_default();
        for name in ["from", "to"] {
            if !raw[name].is_string() {
                faults.add(format!("{} without {name}", frame.kind()), place);
            }
        }
        if !raw["payload"].is_object() {
            faults.add(format!("{} without payload", frame.kind()), place);
        }
        match raw["ts"].as_u64() {
            None => faults.add(format!("{} whose ts is no integer", frame.kind()), place),
            Some(ts) if ts.abs_diff(Stage::now().0) > CLOCK_MS => {
                faults.add("a ts that is far from now, or not in ms".into(), place);
            }
            Some(_) => {}
        }
        if let Payload::Misfit(misfit) = frame.payload() {
            faults.add(misfit.to_string(), place);
        }
    }
    if count == 0 && faults.0.is_empty() {
        return not_applicable("no frame came");
    }
    faults.tell(stage, format!("{count} frames"))
}

pub(super) async fn signatures(stage: &mut Stage) -> Outcome {
    let mut faults = Faults::default();
    let mut forms: BTreeMap<String, usize> = BTreeMap::new();
    let mut unknown = 0;
    for (place, frame) in own_frames(stage) {
        match stage.signed(place) {
            Sig::Holds(form) => *forms.entry(form_words(form)).or_default() += 1,
            Sig::None if MAY_BE_BARE.contains(frame.kind()) || USERS_OWN.contains(frame.kind()) => {}
            Sig::None => faults.add(format!("{} unsigned", frame.kind()), place),
            Sig::KeyUnknown => unknown += 1,
            Sig::Wrong => faults.add(format!("{} under another key or none", frame.kind()), place),
        }
    }
    let unsorted = forms.keys().find(|form| form.contains("unsorted")).cloned();
    if let (Some(form), true) = (unsorted, faults.0.is_empty()) {
        return failed(format!("signed {form}"));
    }
    if forms.is_empty() && faults.0.is_empty() {
        return not_applicable(match unknown {
            0 => "no signed frame came".to_owned(),
            count => format!("{count} signed frames, but its key is not known: --pubkey KEY brings it in"),
        });
    }
    let words: Vec<_> = forms.iter().map(|(form, count)| format!("{count} frames {form}")).collect();
    for words in &words {
        stage.target.reasons.push(format!("signatures: {words}"));
    }
    faults.tell(stage, words.join("; "))
}

pub(super) async fn base64(stage: &mut Stage) -> Outcome {
    const BINARY: [&str; 6] = ["sig", "pubkey", "enc_pubkey", "ciphertext", "sender_pub", "content_sig"];
    fn look(name: &str, value: &serde_json::Value, bad: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) if BINARY.contains(&name) && text.contains(['=', '+', '/']) => {
                bad.push(name.to_owned());
            }
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| look(name, value, bad))
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| look(name, item, bad)),
            _ => {}
        }
    }
    let mut faults = Faults::default();
    let mut count = 0;
    for (place, _) in own_frames(stage) {
        count += 1;
        let mut bad = Vec::new();
        look("", &serde_json::from_str(&stage.log[place].text).unwrap_or_default(), &mut bad);
        bad.into_iter()
            .for_each(|name| faults.add(format!("{name} padded, or of the other alphabet"), place));
    }
    match count {
        0 => not_applicable("no frame came"),
        count => faults.tell(stage, format!("{count} frames")),
    }
}
