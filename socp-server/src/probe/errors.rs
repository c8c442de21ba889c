//! What is wrong, and how it is taken (§9.5, §12).

use socp_core::wire::{ErrorCode, Payload};

use super::cast::Who;
use super::clause::{Outcome, failed};
use super::gossip::spoilt;
use super::messages::{direct, letter};
use super::stage::{Mark, Sig, Stage};
use super::users::{changed, error_of};

/// Waits for an ERROR at Ann, and looks at what it says.
async fn refused(stage: &mut Stage, since: Mark, code: &ErrorCode) -> Outcome {
    let told =
        stage.wait(since, stage.patience, |entry| entry.who == Who::Ann && error_of(entry).is_some()).await;
    let Some(place) = told else { return failed("no ERROR") };
    let Some(Payload::Error(report)) = stage.log[place].frame.as_ref().map(|frame| frame.payload()) else {
        return failed("no ERROR");
    };
    if report.code != *code {
        return failed(format!("ERROR {}", report.code));
    }
    match stage.signed(place) {
        Sig::Holds(_) | Sig::KeyUnknown => Ok(format!("ERROR {code}")),
        Sig::None => failed(format!("ERROR {code}, but unsigned")),
        Sig::Wrong => failed(format!("ERROR {code}, but its signature does not hold")),
    }
}

fn strange(stage: &Stage) -> Option<String> {
    let text = stage.write(Who::Ann, stage.to_target(), &Payload::Heartbeat(socp_core::wire::Empty {}))?;
    changed(&text, |frame| frame["type"] = "PROBE_WHAT_IS_THIS".into())
}

pub(super) async fn unknown_type(stage: &mut Stage) -> Outcome {
    let Some(text) = strange(stage) else { return failed("it could not be written") };
    let since = stage.send(Who::Ann, text).await;
    refused(stage, since, &ErrorCode::UnknownType).await
}

pub(super) async fn bad_sig(stage: &mut Stage) -> Outcome {
    let letter = letter(stage, Who::Ann, Who::Ben, "probe: with a wrong signature");
    let text = letter.as_ref().and_then(|letter| spoilt(&direct(stage, Who::Ann, letter)?));
    let (Some(letter), Some(text)) = (letter, text) else { return failed("it could not be written") };
    let since = stage.send(Who::Ann, text).await;
    let outcome = refused(stage, since, &ErrorCode::InvalidSig).await;
    stage.listen_for(stage.silence()).await;
    match (stage.find(since, |entry| letter.came_to(entry, Who::Ben)), outcome) {
        (Some(_), Err(_)) => failed("it was delivered, and no ERROR INVALID_SIG came"),
        (Some(_), Ok(_)) => failed("ERROR INVALID_SIG came, but it was delivered all the same"),
        (None, outcome) => outcome,
    }
}

pub(super) async fn malformed(stage: &mut Stage) -> Outcome {
    let since = stage.mark();
    for text in ["{\"type\":\"MSG_DIRECT\",\"payload\":{\"to\"", "{\"from\":\"probe\",\"payload\":{}}"] {
        stage.send(Who::Ann, text.to_owned()).await;
    }
    stage.listen_for(stage.silence()).await;
    let told = stage.find(since, |entry| entry.who == Who::Ann && error_of(entry).is_some());
    let Some(link) = stage.link_of(Who::Ann).filter(|link| stage.is_live(*link)) else {
        return failed("the link is gone");
    };
    // Whatever it answers shows that it still listens there.
    let since = stage.mark();
    let asked = stage.write(Who::Ann, stage.to_target(), &Payload::ListRequest(socp_core::wire::Empty {}));
    if let Some(text) = asked {
        stage.send(Who::Ann, text).await;
    }
    let alive = stage.wait(since, stage.patience, |entry| entry.link == link && entry.came().is_some()).await;
    match (alive, told) {
        (Some(_), Some(_)) => Ok("an ERROR, and the link still works".into()),
        (Some(_), None) => Ok("ignored, and the link still works".into()),
        (None, _) => failed("after that nothing is answered any more"),
    }
}
