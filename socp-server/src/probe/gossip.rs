//! Presence: adverts and removals on their way (§8.2).

use socp_core::crypto::check_payload;
use socp_core::wire::{FrameType, Meta, Payload, Recipient, ServerId, UserAdvertise};

use super::cast::Who;
use super::clause::{Need, Outcome, failed};
use super::messages::unreachable;
use super::stage::Stage;
use super::users::{changed, is_told, is_told_gone, kind_at, names};

/// An advert of one of the probe's users at one of its servers, or, wrongly, at another one.
pub(super) fn advert(stage: &Stage, server: Who, user: Who, at: Option<ServerId>) -> Option<String> {
    let advert = UserAdvertise {
        user_id: stage.cast.user(user),
        server_id: at.unwrap_or_else(|| stage.cast.server(server)),
        pubkey: Some(stage.cast.key_field(user)),
        meta: Some(Meta::empty()),
        issued_at: None,
        attestation: None,
        rotations: Vec::new(),
        event: None,
    };
    stage.write(server, Recipient::Everyone, &Payload::UserAdvertise(advert))
}

/// Spoils a frame's signature, and nothing else.
pub(super) fn spoilt(text: &str) -> Option<String> {
    let mut frame: serde_json::Value = serde_json::from_str(text).ok()?;
    let sig = frame["sig"].as_str()?;
    // Its first character is six bits that count.
    let other = if sig.starts_with('A') { "B" } else { "A" };
    let sig = format!("{other}{}", sig.get(1..)?);
    frame["sig"] = sig.into();
    Some(frame.to_string())
}

pub(super) async fn online(stage: &mut Stage) -> Outcome {
    let since = stage.marks.get("second").copied().unwrap_or(0);
    let ann = stage.cast.id(Who::Ann);
    let kinds = [FrameType::ServerWelcome, FrameType::UserAdvertise];
    let told = stage.wait(since, stage.patience, |entry| {
        entry.who == Who::Two
            && kinds.iter().any(|kind| entry.is(kind).is_some_and(|frame| names(frame, &ann)))
    });
    match told.await {
        Some(place) => Ok(kind_at(stage, place)),
        None => failed("probe-2 came after Ann, and is not told that she is here"),
    }
}

pub(super) async fn advertise(stage: &mut Stage) -> Outcome {
    let (since, rob) = (stage.mark(), stage.cast.id(Who::Rob));
    send_rob(stage).await;
    match stage.wait(since, stage.patience, |entry| is_told(entry, Who::Ann, &rob)).await {
        Some(place) => {
            stage.has_heard_of_rob();
            Ok(kind_at(stage, place))
        }
        None => failed("Ann hears nothing of him"),
    }
}

/// Advertises Rob, once.
async fn send_rob(stage: &mut Stage) {
    if stage.marks.contains_key("rob") {
        return;
    }
    if let Some(text) = advert(stage, Who::One, Who::Rob, None) {
        stage.advertises(Who::One, Who::Rob);
        let place = stage.send(Who::One, text).await;
        stage.marks.insert("rob", place);
    }
}

pub(super) async fn relay(stage: &mut Stage) -> Outcome {
    send_rob(stage).await;
    let Some(sent) = stage.marks.get("rob").copied() else { return failed("no advert could be written") };
    stage.cited.insert(sent);
    let rob = stage.cast.id(Who::Rob);
    let came = stage.wait(sent, stage.patience, |entry| {
        entry.who == Who::Two && entry.is(&FrameType::UserAdvertise).is_some_and(|frame| names(frame, &rob))
    });
    let Some(place) = came.await else { return failed("it does not reach probe-2") };
    stage.has_heard_of_rob();
    let (Some(was), Some(is)) = (&stage.log[sent].frame, &stage.log[place].frame) else {
        return failed("what came is no frame");
    };
    if check_payload(&stage.provider, stage.cast.key(Who::One), is, None).is_some() {
        let same = was.text() == is.text();
        return Ok(if same { "to the last byte" } else { "in another spelling; the signature holds" }.into());
    }
    let key = stage.target.key.as_ref();
    if key.is_some_and(|key| check_payload(&stage.provider, key, is, None).is_some()) {
        return failed("re-signed: under probe-1's name, with the target's own signature");
    }
    match is.sig() {
        Some(_) if key.is_none() => failed("re-signed: its signature is not probe-1's any more"),
        Some(_) => failed("its signature does not hold any more"),
        None => failed("without its signature"),
    }
}

pub(super) async fn echo(stage: &mut Stage) -> Outcome {
    let sent = stage.marks.get("rob").copied().unwrap_or(0);
    let rob = stage.cast.id(Who::Rob);
    stage.listen_for(stage.silence()).await;
    let back = stage.find(sent, |entry| {
        entry.who == Who::One && entry.is(&FrameType::UserAdvertise).is_some_and(|frame| names(frame, &rob))
    });
    match back {
        Some(_) => failed("it came back to its origin"),
        None => Ok("nothing came back".into()),
    }
}

/// Sends what is not to be believed, and listens whether somebody was told of its user.
async fn disbelieved(stage: &mut Stage, user: Who, text: Option<String>) -> Outcome {
    let (since, id) = (stage.mark(), stage.cast.id(user));
    let Some(text) = text else { return failed("it could not be written") };
    // Should it be believed, it has to be taken back.
    stage.advertises(Who::One, user);
    stage.send(Who::One, text).await;
    stage.listen_for(stage.silence()).await;
    let heard = stage.find(since, |entry| {
        is_told(entry, Who::Ann, &id)
            || entry.who == Who::Two
                && entry.is(&FrameType::UserAdvertise).is_some_and(|frame| names(frame, &id))
    });
    match heard {
        Some(place) => {
            let who = stage.log[place].who.name();
            failed(format!("{who} was told of that user, {}", kind_at(stage, place)))
        }
        None => {
            stage.removes(user);
            Ok("nobody was told".into())
        }
    }
}

pub(super) async fn bad_sig(stage: &mut Stage) -> Outcome {
    let text = advert(stage, Who::One, Who::Bad, None).and_then(|text| spoilt(&text));
    disbelieved(stage, Who::Bad, text).await
}

pub(super) async fn unsigned(stage: &mut Stage) -> Outcome {
    let text = advert(stage, Who::One, Who::Bare, None).and_then(|text| changed(&text, |_| {}));
    disbelieved(stage, Who::Bare, text).await
}

pub(super) async fn foreign(stage: &mut Stage) -> Outcome {
    let at = stage.target.id.clone().map(ServerId::from);
    let text = at.and_then(|at| advert(stage, Who::One, Who::Odd, Some(at)));
    disbelieved(stage, Who::Odd, text).await
}

pub(super) async fn remove_foreign(stage: &mut Stage) -> Outcome {
    let (since, rob) = (stage.mark(), stage.cast.id(Who::Rob));
    let Some(text) = stage.removal(Who::Two, Who::Rob) else { return failed("it could not be written") };
    stage.send(Who::Two, text).await;
    stage.listen_for(stage.silence()).await;
    let told = stage.find(since, |entry| is_told_gone(entry, Who::Ann, &rob));
    match told {
        Some(_) => failed("Ann was told that he is gone"),
        None => Ok("nobody was told; his messages go on to probe-1 (dm.out)".into()),
    }
}

pub(super) async fn remove(stage: &mut Stage) -> Outcome {
    let (since, rob) = (stage.mark(), stage.cast.id(Who::Rob));
    let Some(text) = stage.removal(Who::One, Who::Rob) else { return failed("it could not be written") };
    stage.send(Who::One, text).await;
    stage.removes(Who::Rob);
    let told = stage.wait(since, stage.patience, |entry| is_told_gone(entry, Who::Ann, &rob)).await;
    if told.is_none() {
        return failed("Ann is not told that he is gone");
    }
    if !stage.has(Need::Ann) {
        return Ok("Ann was told".into());
    }
    unreachable(stage, Who::Rob).await.map(|words| format!("Ann was told; {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spoilt_signature_is_another_one_of_the_same_length() {
        let text = r#"{"payload":{},"sig":"Abc","type":"X"}"#;
        assert_eq!(spoilt(text).unwrap(), text.replace("Abc", "Bbc"));
        assert_eq!(spoilt(r#"{"payload":{},"type":"X"}"#), None);
    }
}
