//! Logins: who may come, who hears of it, and how one leaves (§9.1, §9.3).

use std::time::Duration;

use scrypt::Params;
use socp_core::wire::{
    Empty, ErrorCode, Frame, FrameType, Id, LoginProof, Meta, Payload, Recipient, UserHello, UserLogin,
    UserRegister, encode_base64,
};

use super::cast::Who;
use super::clause::{Outcome, failed, not_applicable};
use super::joining::form_words;
use super::stage::{Entry, LinkNo, Login, Mark, Sig, Stage, What};

/// A key of 2,048 bits, whose private half nobody has.
const WEAK_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAo4oKSlzS9dXUH1fW7AxgywqrPS3AMga79R7Ym1v5n1ta2S8iYwRy6e4vLyDKRwbVjDBRsFdqEKNxjeV-O3AOxa1t7L2uSCZLVOi4jTIVOA2jqPmXIgh5Ns_VSzo5iQtf3KbF4Y3eCT6CIugqN_kz_PN8kNVqQ2-mgqLvTU_MikbLMYQ7su7rmy7j6H8mNWj8PHPdMCzSKIRehfM0rg8mg739mk1AU31h8l8VwG4OpKUlLx_Cq-Z87UCeTbQhwIkSg8_kfjPTG3opvVI_qRnRFWDJIU5X1dbT_rrCHKhlA-8tOOjsz91a0IaWoaruJzapO0QsumZhJpxVd_XxhTa4aQIDAQAB";

/// Changes of the channel may be gathered: servers of ours tell them once a second, busy or not.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(3);

/// Whether a frame names a user, in its payload.
pub(super) fn names(frame: &Frame, user: &Id) -> bool {
    frame.payload_canonical().contains(&format!("\"{}\"", user.as_str()))
}

/// An advert or removal of somebody at one of the probe's servers.
fn at_servers(entry: &Entry, kind: &FrameType, user: &Id) -> bool {
    entry.who.is_server() && entry.is(kind).is_some_and(|frame| names(frame, user))
}

/// An ERROR there, with its code.
pub(super) fn error_of(entry: &Entry) -> Option<ErrorCode> {
    match entry.came()?.payload() {
        Payload::Error(report) => Some(report.code.clone()),
        // No ERROR.
        _ => None,
    }
}

fn hello_text(stage: &Stage, who: Who, auth: bool) -> Option<String> {
    let hello = UserHello {
        client: Some("probe-v1".into()),
        pubkey: Some(stage.cast.key_field(who)),
        enc_pubkey: Some(stage.cast.key_field(who)),
        auth: if auth { vec!["pss".into()] } else { Vec::new() },
        ext: Vec::new(),
        meta: auth.then(Meta::empty),
        rotations: Vec::new(),
        nonce: None,
    };
    stage.write(who, stage.to_target(), &Payload::UserHello(hello))
}

/// Logs somebody in, as users do at the target.
pub(super) async fn log_in(stage: &mut Stage, who: Who) -> Result<LinkNo, String> {
    let link = stage.dial(who).await?;
    let since = stage.mark();
    match stage.target.login {
        Login::Unknown => return Err("users log in in no way that the probe knows".into()),
        Login::Hello => {
            if let Some(text) = hello_text(stage, who, false) {
                stage.send_on(link, text).await;
            }
            in_session(stage, who, link, since).await?;
        }
        Login::Password => with_password(stage, who, link).await?,
    }
    stage.use_link(who, link);
    Ok(link)
}

/// Waits for a sign of a session: an advert, or whatever a client is told that is neither ERROR nor an
/// acknowledgement of the hello alone.
async fn in_session(stage: &mut Stage, who: Who, link: LinkNo, since: Mark) -> Result<(), String> {
    let id = stage.cast.id(who);
    let decisive = |entry: &Entry| {
        at_servers(entry, &FrameType::UserAdvertise, &id)
            || entry.link == link
                && (matches!(entry.what, What::Ended { .. })
                    || entry.came().is_some_and(|frame| *frame.kind() != FrameType::UserHelloAck))
    };
    let mut sign = stage.wait(since, stage.short_patience(), decisive).await;
    let acknowledged = |stage: &mut Stage| {
        stage
            .find(since, |entry| entry.link == link && entry.is(&FrameType::UserHelloAck).is_some())
            .is_some()
    };
    if sign.is_none() && !acknowledged(stage) {
        // Nobody may be there to hear of it.
        if let Some(text) = stage.write(who, stage.to_target(), &Payload::ListRequest(Empty {})) {
            stage.send_on(link, text).await;
        }
        sign = stage.wait(since, stage.short_patience(), decisive).await;
    }
    let Some(place) = sign else {
        return Err(match acknowledged(stage) {
            true => "USER_HELLO_ACK, and nothing more: no session".into(),
            false => "no answer".into(),
        });
    };
    let entry = &stage.log[place];
    if let Some(code) = error_of(entry) {
        return Err(format!("ERROR {code}"));
    }
    if matches!(entry.what, What::Ended { .. }) {
        return Err("the target ended the link".into());
    }
    // Dialect R gives the id, in `to`.
    if entry.link == link
        && let Some(FrameType::Unknown(name)) = entry.frame.as_ref().map(|frame| frame.kind())
        && &**name == "USER_WELCOME"
        && let Some(given) = entry.frame.as_ref().and_then(|frame| frame.to().id())
    {
        stage.cast.rename(who, given);
    }
    Ok(())
}

/// What the seed keeps of a password.
fn verifier(password: &str, salt: &[u8; 16]) -> Result<String, String> {
    let params = Params::new(14, 8, 1).map_err(|error| error.to_string())?;
    let mut derived = [0; 32];
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut derived).map_err(|error| error.to_string())?;
    Ok(format!("{}.{}", encode_base64(salt), encode_base64(&derived)))
}

async fn with_password(stage: &mut Stage, who: Who, link: LinkNo) -> Result<(), String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let register = UserRegister {
        user_id: stage.cast.user(who),
        pubkey: stage.cast.key_field(who),
        privkey_store: "{}".into(),
        pake_password: verifier(&stage.password, &salt)?.into(),
    };
    let login = UserLogin { user_id: stage.cast.user(who), password: stage.password.clone().into() };
    let steps = [
        (Payload::UserRegister(register), FrameType::UserRegistered),
        (Payload::UserLogin(login), FrameType::UserLoggedIn),
    ];
    for (payload, answer) in steps {
        let since = stage.mark();
        if let Some(text) = stage.write(who, stage.to_target(), &payload) {
            stage.send_on(link, text).await;
        }
        let answered = stage.wait(since, stage.patience, |entry| {
            entry.link == link
                && (entry.is(&answer).is_some()
                    || error_of(entry).is_some()
                    || matches!(entry.what, What::Ended { .. }))
        });
        let Some(place) = answered.await else { return Err(format!("no {answer}")) };
        match error_of(&stage.log[place]) {
            // Registered before, by an earlier login.
            Some(ErrorCode::NameInUse) if answer == FrameType::UserRegistered => {}
            Some(code) => return Err(format!("ERROR {code}")),
            None if stage.log[place].is(&answer).is_some() => {}
            None => return Err("the target ended the link".into()),
        }
    }
    Ok(())
}

pub(super) async fn hello(stage: &mut Stage) -> Outcome {
    let since = stage.mark();
    stage.marks.insert("ann", since);
    stage.target.login = Login::Hello;
    let why = match log_in(stage, Who::Ann).await {
        Ok(_) => return Ok("a session".into()),
        Err(why) => why,
    };
    stage.target.login = Login::Unknown;
    let acknowledged = stage.find(since, |entry| entry.is(&FrameType::UserHelloAck).is_some());
    if acknowledged.is_some() {
        // Accounts would stay there for good: these are nobody's afterwards.
        for who in [Who::Ann, Who::Ben, Who::Dot] {
            let mut bytes = [0; 16];
            if getrandom::fill(&mut bytes).is_ok() {
                stage.cast.rename(who, Id::uuid_v4(bytes));
            }
        }
        stage.target.login = Login::Password;
        let since = stage.mark();
        if log_in(stage, Who::Ann).await.is_ok() {
            stage.marks.insert("ann", since);
            return failed(format!("{why}; users need USER_REGISTER and USER_LOGIN here"));
        }
        stage.target.login = Login::Unknown;
    }
    failed(why)
}

/// A frame at one of the probe's servers that is signed by the target.
fn signed_words(stage: &Stage, place: Mark) -> Outcome {
    match stage.signed(place) {
        Sig::Holds(form) => Ok(format!("signed {}", form_words(form))),
        Sig::KeyUnknown => Ok("signed, by a key that is not known here".into()),
        Sig::None => failed("it came unsigned"),
        Sig::Wrong => failed("its signature does not hold under the target's key"),
    }
}

pub(super) async fn advertise(stage: &mut Stage) -> Outcome {
    let (since, id) = (stage.marks.get("ann").copied().unwrap_or(0), stage.cast.id(Who::Ann));
    let came =
        stage.wait(since, stage.patience, |entry| at_servers(entry, &FrameType::UserAdvertise, &id)).await;
    let Some(place) = came else { return failed("no USER_ADVERTISE of Ann came to probe-1") };
    let Some(Payload::UserAdvertise(advert)) = stage.log[place].frame.as_ref().map(|frame| frame.payload())
    else {
        return failed("its payload lacks user_id or server_id");
    };
    if stage.target.id.is_none() {
        stage.target.id = Some(advert.server_id.id().clone());
    }
    let Some(Payload::UserAdvertise(advert)) = stage.log[place].frame.as_ref().map(|frame| frame.payload())
    else {
        return failed("its payload lacks user_id or server_id");
    };
    if Some(advert.server_id.id()) != stage.target.id.as_ref() {
        return failed(format!("server_id is {}, not the target's", advert.server_id));
    }
    if advert.meta.is_none() {
        return failed("no meta in it");
    }
    let key = match advert.key_field().map(|field| field.key().cloned()) {
        Some(Ok(key)) if key == *stage.cast.key(Who::Ann) => "with her key",
        Some(_) => return failed("with another key than hers"),
        None => "without her key",
    };
    signed_words(stage, place).map(|words| format!("{key}; {words}"))
}

pub(super) async fn channel_add(stage: &mut Stage) -> Outcome {
    channel(stage, &FrameType::PublicChannelAdd, true).await
}

pub(super) async fn channel_updated(stage: &mut Stage) -> Outcome {
    channel(stage, &FrameType::PublicChannelUpdated, false).await
}

async fn channel(stage: &mut Stage, kind: &FrameType, names_her: bool) -> Outcome {
    let (since, id) = (stage.marks.get("ann").copied().unwrap_or(0), stage.cast.id(Who::Ann));
    let patience = stage.patience.max(CHANNEL_PATIENCE);
    let came = stage.wait(since, patience, |entry| {
        entry.who == Who::One && entry.is(kind).is_some_and(|frame| !names_her || names(frame, &id))
    });
    let Some(place) = came.await else {
        return match stage.cast.known {
            true => not_applicable("none came: she may be a member since an earlier probe with these keys"),
            false => failed(format!("no {kind} came to probe-1")),
        };
    };
    match stage.log[place].frame.as_ref().map(|frame| frame.payload()) {
        Some(Payload::Misfit(misfit)) => failed(misfit.to_string()),
        _ => signed_words(stage, place),
    }
}

pub(super) async fn told(stage: &mut Stage) -> Outcome {
    let since = stage.mark();
    if let Err(why) = log_in(stage, Who::Ben).await {
        return failed(format!("Ben could not log in: {why}"));
    }
    let id = stage.cast.id(Who::Ben);
    match stage.wait(since, stage.patience, |entry| is_told(entry, Who::Ann, &id)).await {
        Some(place) => Ok(kind_at(stage, place)),
        None => failed("Ann hears nothing of Ben, who is at the same server"),
    }
}

/// Whether a client was told that somebody is there.
pub(super) fn is_told(entry: &Entry, who: Who, user: &Id) -> bool {
    let kinds = [&FrameType::UserAdvertise, &FrameType::UserAdded, &FrameType::Directory];
    entry.who == who && kinds.iter().any(|kind| entry.is(kind).is_some_and(|frame| names(frame, user)))
}

/// Whether a client was told that somebody is gone.
pub(super) fn is_told_gone(entry: &Entry, who: Who, user: &Id) -> bool {
    let kinds = [&FrameType::UserRemove, &FrameType::UserRemoved];
    entry.who == who && kinds.iter().any(|kind| entry.is(kind).is_some_and(|frame| names(frame, user)))
}

/// The type of the frame there.
pub(super) fn kind_at(stage: &Stage, place: Mark) -> String {
    let kind = stage.log[place].frame.as_ref().map(|frame| frame.kind().to_string());
    format!("by {}", kind.unwrap_or_default())
}

async fn leave(stage: &mut Stage, who: Who) {
    let Some(link) = stage.link_of(who) else { return };
    if let Some(text) = stage.write(who, stage.to_target(), &Payload::CtrlClose(Empty {})) {
        stage.send_on(link, text).await;
    }
    stage.close(link);
}

pub(super) async fn remove(stage: &mut Stage) -> Outcome {
    if let Err(why) = log_in(stage, Who::Dot).await {
        return failed(format!("Dot could not log in: {why}"));
    }
    let id = stage.cast.id(Who::Dot);
    // A removal must have something to remove.
    stage.wait(0, stage.patience, |entry| at_servers(entry, &FrameType::UserAdvertise, &id)).await;
    let since = stage.mark();
    leave(stage, Who::Dot).await;
    let gone =
        stage.wait(since, stage.patience, |entry| at_servers(entry, &FrameType::UserRemove, &id)).await;
    match gone {
        Some(place) => signed_words(stage, place),
        None => failed("no USER_REMOVE of Dot came to probe-1"),
    }
}

pub(super) async fn name_in_use(stage: &mut Stage) -> Outcome {
    let first = match log_in(stage, Who::Dot).await {
        Ok(link) => link,
        Err(why) => return failed(format!("Dot could not log in: {why}")),
    };
    let link = match stage.dial(Who::Dot).await {
        Ok(link) => link,
        Err(why) => return failed(why),
    };
    let since = stage.mark();
    // Whether it is let in, and whatever else it is told, if it is told anything.
    let (inside, told) = match stage.target.login {
        Login::Password => match with_password(stage, Who::Dot, link).await {
            Ok(()) => (true, String::new()),
            Err(why) => (false, why),
        },
        Login::Hello | Login::Unknown => {
            if let Some(text) = hello_text(stage, Who::Dot, false) {
                stage.send_on(link, text).await;
            }
            let decisive = stage.wait(since, stage.patience, |entry| {
                entry.link == link && (entry.came().is_some() || matches!(entry.what, What::Ended { .. }))
            });
            match decisive.await.map(|place| &stage.log[place]) {
                None => (false, "no answer".to_owned()),
                Some(entry) => match (error_of(entry), entry.came()) {
                    (Some(code), _) => (false, format!("ERROR {code}")),
                    (None, Some(_)) => (true, String::new()),
                    (None, None) => (false, "the link is closed without a word".to_owned()),
                },
            }
        }
    };
    // What went before may have been about registering.
    let refused =
        stage.find(since, |entry| entry.link == link && error_of(entry) == Some(ErrorCode::NameInUse));
    let first_lives = stage.is_live(first);
    stage.close(link);
    leave(stage, Who::Dot).await;
    match (inside, refused.is_some(), first_lives) {
        (true, _, _) => failed("a second login is taken while the first session is open"),
        (false, true, true) => Ok("ERROR NAME_IN_USE, and the first session stays".into()),
        (false, true, false) => failed("refused, but the first session was closed"),
        (false, false, _) => failed(told),
    }
}

/// A frame's text, changed and without its signature.
pub(super) fn changed(text: &str, change: impl FnOnce(&mut serde_json::Value)) -> Option<String> {
    let mut frame: serde_json::Value = serde_json::from_str(text).ok()?;
    frame.as_object_mut()?.remove("sig");
    change(&mut frame);
    Some(frame.to_string())
}

pub(super) async fn bad_key(stage: &mut Stage) -> Outcome {
    let link = match stage.dial(Who::Eve).await {
        Ok(link) => link,
        Err(why) => return failed(why),
    };
    let text = match stage.target.login {
        Login::Password => {
            let register = UserRegister {
                user_id: stage.cast.user(Who::Eve),
                pubkey: stage.cast.key_field(Who::Eve),
                privkey_store: "{}".into(),
                pake_password: "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into(),
            };
            stage.write(Who::Eve, stage.to_target(), &Payload::UserRegister(register))
        }
        Login::Hello | Login::Unknown => hello_text(stage, Who::Eve, false),
    };
    let weak = text.and_then(|text| {
        changed(&text, |frame| {
            for name in ["pubkey", "enc_pubkey"] {
                if let Some(field) = frame["payload"].get_mut(name) {
                    *field = WEAK_KEY.into();
                }
            }
        })
    });
    let since = stage.mark();
    if let Some(text) = weak {
        stage.send_on(link, text).await;
    }
    let decisive = stage.wait(since, stage.patience, |entry| {
        entry.link == link && (entry.came().is_some() || matches!(entry.what, What::Ended { .. }))
    });
    let outcome = match decisive.await {
        None => failed("no answer"),
        Some(place) => match error_of(&stage.log[place]) {
            Some(ErrorCode::BadKey) => Ok("ERROR BAD_KEY".into()),
            Some(code) => failed(format!("ERROR {code}")),
            None => match &stage.log[place].frame {
                Some(frame) => failed(format!("it is taken: {}", frame.kind())),
                None => failed("the link is closed without an ERROR"),
            },
        },
    };
    stage.close(link);
    outcome
}

pub(super) async fn proof(stage: &mut Stage) -> Outcome {
    if stage.target.login == Login::Password {
        return not_applicable("users prove a password here");
    }
    let link = match stage.dial(Who::Eve).await {
        Ok(link) => link,
        Err(why) => return failed(why),
    };
    let since = stage.mark();
    if let Some(text) = hello_text(stage, Who::Eve, true) {
        stage.send_on(link, text).await;
    }
    let challenged = stage.wait(since, stage.short_patience(), |entry| {
        entry.link == link && entry.is(&FrameType::LoginChallenge).is_some()
    });
    let Some(place) = challenged.await else {
        stage.use_link(Who::Eve, link);
        leave(stage, Who::Eve).await;
        return not_applicable("no LOGIN_CHALLENGE: the standard leaves proofs to the directory");
    };
    let signed = stage.signed(place);
    let Some(Payload::LoginChallenge(challenge)) =
        stage.log[place].frame.as_ref().map(|frame| frame.payload())
    else {
        return failed("a LOGIN_CHALLENGE that is none");
    };
    let proof = LoginProof {
        nonce: challenge.nonce,
        user_id: stage.cast.user(Who::Eve),
        server_id: challenge.server_id.clone(),
        host: stage.url.server.address.to_string().into(),
        issued_at: Stage::now().0.max(challenge.after.unwrap_or(0) + 1),
    };
    let to = Recipient::from(&challenge.server_id);
    if let Some(text) = stage.write(Who::Eve, to, &Payload::LoginProof(proof)) {
        stage.send_on(link, text).await;
    }
    let answered = stage.wait(place, stage.patience, |entry| {
        entry.link == link
            && (entry.is(&FrameType::UserLoggedIn).is_some()
                || error_of(entry).is_some()
                || matches!(entry.what, What::Ended { .. }))
    });
    let answered = answered.await;
    stage.use_link(Who::Eve, link);
    leave(stage, Who::Eve).await;
    match answered.map(|place| &stage.log[place]) {
        Some(entry) if entry.is(&FrameType::UserLoggedIn).is_some() => match signed {
            Sig::Holds(_) | Sig::KeyUnknown => Ok("challenged, proven, logged in".into()),
            Sig::None | Sig::Wrong => failed("the challenge is not signed under the target's key"),
        },
        Some(entry) => match error_of(entry) {
            Some(code) => failed(format!("the proof is refused: ERROR {code}")),
            None => failed("the link was closed"),
        },
        None => failed("the proof is not answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socp_core::wire::{KeyError, PublicKey};

    #[test]
    fn the_weak_key_is_weak_and_the_verifier_is_the_seeds() {
        assert_eq!(PublicKey::from_field(WEAK_KEY).unwrap_err(), KeyError::Weak);
        // Python: hashlib.scrypt(b"correct horse", salt=b"0123456789abcdef", n=16384, r=8, p=1, dklen=32)
        let verifier = verifier("correct horse", b"0123456789abcdef").unwrap();
        assert!(verifier.starts_with("MDEyMzQ1Njc4OWFiY2RlZg."), "{verifier}");
        assert_eq!(verifier.len(), 22 + 1 + 43);
    }

    #[test]
    fn a_changed_frame_has_no_signature() {
        let text =
            changed(r#"{"type":"X","payload":{"a":1},"sig":"AA"}"#, |frame| frame["payload"]["a"] = 2.into());
        assert_eq!(text.unwrap(), r#"{"payload":{"a":2},"type":"X"}"#);
    }
}
