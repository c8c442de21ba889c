//! Server links: who the target is, which dialect it speaks, and how one joins it (§8.1).

use std::time::Duration;

use socp_core::crypto::{SaltLength, SignatureForm};
use socp_core::dialect::{Dialect, Observed};
use socp_core::wire::{Frame, FrameType, Id, KeyForm, Payload, PublicKey, Recipient, ServerWelcome};

use super::cast::Who;
use super::clause::{Outcome, failed, not_applicable};
use super::stage::{LinkNo, Mark, Sig, Stage, What};
use crate::page::short;

/// In time for the most impatient peers that are known.
const WELCOME_TIME: Duration = Duration::from_secs(1);

/// How greetings are written, in this order, until one is answered: the standard's; with the one salt that old
/// Python libraries take; with PEM keys and padding. What none of them moves may take HELLO_LINK and dial back.
const GREETINGS: [Dialect; 3] = [Dialect::Standard, Dialect::Python, Dialect::R];

fn join(stage: &Stage, dialect: Dialect, who: Who) -> Option<String> {
    let to = Recipient::parse(&stage.url.server.address.to_string());
    stage.write_in(dialect, who, to, Stage::now(), &Payload::ServerHelloJoin(stage.hello(who)))
}

fn introductions(stage: &Stage, dialect: Dialect, who: Who) -> Vec<String> {
    let link = Payload::ServerHelloLink(stage.hello(who));
    let announce = Payload::ServerAnnounce(stage.hello(who));
    let texts = [(stage.to_target(), link), (Recipient::Everyone, announce)]
        .map(|(to, payload)| stage.write_in(dialect, who, to, Stage::now(), &payload));
    texts.into_iter().flatten().collect()
}

fn welcome_of(frame: &Frame) -> Option<&ServerWelcome> {
    match frame.payload() {
        Payload::ServerWelcome(welcome) => Some(welcome),
        // Any other frame is none.
        _ => None,
    }
}

/// Opens a socket, says JOIN and waits for WELCOME.
async fn greet(stage: &mut Stage, dialect: Dialect, who: Who) -> Result<(LinkNo, Option<Mark>), String> {
    let link = stage.dial(who).await?;
    let since = stage.mark();
    if let Some(text) = join(stage, dialect, who) {
        stage.send_on(link, text).await;
    }
    let answered = stage.wait(since, stage.short_patience(), |entry| {
        entry.link == link
            && (entry.is(&FrameType::ServerWelcome).is_some() || matches!(entry.what, What::Ended { .. }))
    });
    let answer = answered.await.filter(|place| stage.log[*place].is(&FrameType::ServerWelcome).is_some());
    Ok((link, answer))
}

/// Says HELLO_LINK and ANNOUNCE on a new socket, as to servers that want no JOIN.
async fn link_only(stage: &mut Stage, dialect: Dialect, who: Who) -> Result<LinkNo, String> {
    let link = stage.dial(who).await?;
    introduce(stage, dialect, who, link).await;
    Ok(link)
}

async fn introduce(stage: &mut Stage, dialect: Dialect, who: Who, link: LinkNo) {
    for text in introductions(stage, dialect, who) {
        stage.send_on(link, text).await;
    }
    stage.use_link(who, link);
}

/// §8.1: joins, finds out whom it has before it, and brings up the first server's link.
pub(super) async fn welcome(stage: &mut Stage) -> Outcome {
    for (attempt, dialect) in GREETINGS.into_iter().enumerate() {
        let began = stage.mark();
        let (link, answer) = match greet(stage, dialect, Who::One).await {
            Ok(greeted) => greeted,
            Err(why) => return failed(format!("the target takes no further links: {why}")),
        };
        let Some(place) = answer else {
            stage.close(link);
            continue;
        };
        stage.marks.insert("joined", began);
        stage.marks.insert("welcome", place);
        meet(stage, place, link, dialect).await;
        link_up(stage, link, dialect).await;
        return match attempt {
            0 => Ok(format!("after {}", elapsed(stage, began, place))),
            _ => failed(format!("not in the standard's form; only as dialect {dialect} writes JOIN")),
        };
    }
    // The last chance: whoever writes only on sockets of its own.
    let since = stage.mark();
    if let Ok(link) = link_only(stage, Dialect::M, Who::One).await {
        // Who dials back need not say anything there.
        stage.wait(since, stage.short_patience(), |entry| entry.who == Who::One && entry.link > link).await;
        if stage.has_dialled_back(Who::One) {
            stage.target.dialect = Some(Dialect::M);
            let reason = "it answers no JOIN, and dials back whoever says SERVER_HELLO_LINK";
            stage.target.reasons.push(reason.to_owned());
            return failed("no WELCOME; but SERVER_HELLO_LINK made it dial back");
        }
        stage.close(link);
    }
    failed("no WELCOME, in whatever form JOIN was written, and HELLO_LINK moved nothing")
}

/// Learns the target's id, key and dialect from its WELCOME.
async fn meet(stage: &mut Stage, place: Mark, link: LinkNo, greeted_as: Dialect) {
    let Some(frame) = stage.log[place].frame.clone() else { return };
    let Some(welcome) = welcome_of(&frame) else { return };
    stage.target.id = frame.from().cloned();
    let from = frame.from().map(Id::as_str);
    let entries = welcome.introducer.iter().chain(&welcome.servers).chain(&welcome.clients);
    let own = entries.filter(|entry| entry.server_id.as_ref().map(|id| id.as_str()) == from);
    let told = own.filter_map(|entry| entry.pubkey.as_ref()?.key().ok().cloned()).next();
    if stage.target.key.is_none() {
        stage.target.key = told;
    }
    if stage.target.key.is_none() {
        // Then it may announce itself.
        let announced = |frame: &Frame| match frame.payload() {
            Payload::ServerAnnounce(hello) => hello.pubkey.key().ok().cloned(),
            _ => None,
        };
        let spoken = stage.wait(place, stage.silence(), |entry| {
            entry.link == link && entry.is(&FrameType::ServerAnnounce).and_then(announced).is_some()
        });
        if let Some(place) = spoken.await {
            stage.target.key = stage.log[place].frame.as_deref().and_then(announced);
        }
    }
    let signature = match stage.signed(place) {
        Sig::Holds(form) => Some(form),
        Sig::None | Sig::KeyUnknown | Sig::Wrong => None,
    };
    let (dialect, mut reasons) = recognised(&frame, signature, greeted_as, stage.target.dialect);
    stage.target.dialect = Some(dialect);
    stage.target.reasons.append(&mut reasons);
}

/// Which dialect somebody speaks, and why.
fn recognised(
    frame: &Frame,
    signature: Option<SignatureForm>,
    greeted_as: Dialect,
    by_list: Option<Dialect>,
) -> (Dialect, Vec<String>) {
    let salt = greeted_as.profile().writing.salt.bytes();
    let took = format!("it answers a JOIN that is signed with a salt of {salt} bytes");
    let shown = Dialect::of(&Observed { frame, signature });
    // Servers of ours name an introducer as well, and a nonce to those alone who send one. No seed signs so short.
    let short_salt = signature.is_some_and(|form| form.salt == SaltLength::Digest);
    if shown == Some(Dialect::Seed) && short_salt {
        return (
            Dialect::Standard,
            vec!["WELCOME is signed with a salt of 32 bytes, as we write".to_owned(), took],
        );
    }
    match (shown, by_list) {
        (Some(dialect), _) => {
            let why = match dialect {
                Dialect::Standard => "WELCOME carries a nonce: one of ours",
                Dialect::Seed => "WELCOME names an introducer and has no nonce",
                Dialect::R => "keys are padded base64 of PEM text",
                Dialect::F => "keys are base64 of PEM text",
                Dialect::M => "WELCOME lists servers among its clients, or has an empty sig",
                Dialect::Python | Dialect::G => "as its frames show",
            };
            (dialect, vec![why.to_owned(), took])
        }
        (None, Some(dialect)) => (dialect, vec!["its key is written so in the list".to_owned(), took]),
        (None, None) if greeted_as == Dialect::R => {
            (greeted_as, vec!["it reads no key but padded base64 of PEM text".to_owned(), took])
        }
        (None, None) => (greeted_as, vec!["nothing shows another dialect".to_owned(), took]),
    }
}

/// The form of a signature, in words.
pub(super) fn form_words(form: SignatureForm) -> String {
    use socp_core::crypto::CanonicalForm;
    let over = match form.canonical {
        CanonicalForm::Sorted => "over the sorted payload",
        CanonicalForm::Ascii => "over the sorted payload in ASCII escapes",
        CanonicalForm::Received => "over the payload as it stands, unsorted",
    };
    format!("{over}, salt {}", form.salt.bytes())
}

/// Makes the first server's link, as the dialect has it.
async fn link_up(stage: &mut Stage, joined: LinkNo, greeted_as: Dialect) {
    let dialect = stage.dialect();
    let profile = dialect.profile();
    if profile.links_without_join {
        stage.close(joined);
        // If it takes no second link there is none, and that shows.
        let _ = link_only(stage, dialect, Who::One).await;
    } else if profile.keys == greeted_as.profile().keys {
        introduce(stage, dialect, Who::One, joined).await;
    } else {
        stage.close(joined);
        if let Ok((link, _)) = greet(stage, dialect, Who::One).await {
            introduce(stage, dialect, Who::One, link).await;
        }
    }
}

fn elapsed(stage: &Stage, began: Mark, place: Mark) -> String {
    let took = stage.log[place].at - stage.log[began].at;
    format!("{} ms", took.as_millis())
}

/// The WELCOME, cited.
fn welcomed(stage: &mut Stage) -> Option<(Mark, Box<Frame>)> {
    let place = *stage.marks.get("welcome")?;
    stage.cited.insert(place);
    Some((place, stage.log[place].frame.clone()?))
}

pub(super) async fn time(stage: &mut Stage) -> Outcome {
    let Some((place, _)) = welcomed(stage) else { return failed("there was none") };
    let began = stage.marks.get("joined").copied().unwrap_or(place);
    let took = stage.log[place].at - stage.log[began].at;
    match took <= WELCOME_TIME {
        true => Ok(elapsed(stage, began, place)),
        false => failed(format!("it took {}", elapsed(stage, began, place))),
    }
}

pub(super) async fn assigned_id(stage: &mut Stage) -> Outcome {
    let Some((_, frame)) = welcomed(stage) else { return failed("there was none") };
    let own = stage.cast.id(Who::One);
    match welcome_of(&frame).map(|welcome| welcome.assigned_id.id().clone()) {
        Some(assigned) if assigned == own && frame.to().id() == Some(own.clone()) => {
            Ok(format!("{assigned}, as asked"))
        }
        Some(assigned) if assigned == own => {
            failed(format!("kept, but WELCOME is to “{}”", frame.to().as_str()))
        }
        Some(assigned) => {
            stage.cast.rename(Who::One, assigned.clone());
            failed(format!("another one: {assigned}, though ours is new and unique"))
        }
        None => failed("no assigned_id"),
    }
}

pub(super) async fn clients(stage: &mut Stage) -> Outcome {
    let Some((_, frame)) = welcomed(stage) else { return failed("there was none") };
    let Some(welcome) = welcome_of(&frame) else { return failed("its payload is none of WELCOME") };
    let raw: serde_json::Value = serde_json::from_str(frame.payload_canonical()).unwrap_or_default();
    if !raw["clients"].is_array() {
        return failed("no array `clients` in it");
    }
    let users = welcome.clients.iter().filter(|entry| entry.user_id.is_some()).count();
    let whole = welcome.clients.iter().all(|entry| {
        entry.user_id.is_some()
            && entry.address().is_some()
            && entry.pubkey.as_ref().is_some_and(|key| key.key().is_ok())
    });
    match whole {
        true => Ok(format!("{users} users, {} servers beside them", welcome.servers.len())),
        false if welcome.clients.iter().any(|entry| entry.server_id.is_some()) => {
            failed("its clients are servers, not users")
        }
        false => failed("an entry lacks user_id, host, port or a readable pubkey"),
    }
}

pub(super) async fn server_id(stage: &mut Stage) -> Outcome {
    welcomed(stage);
    match &stage.target.id {
        Some(id) if id.is_uuid_v4() => Ok(id.to_string()),
        Some(id) => failed(format!("“{}” is none", id.as_str().escape_debug())),
        None => failed("WELCOME has no `from`"),
    }
}

/// The texts of key fields, at whatever depth.
fn key_texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    serde_json::Value::String(text) if name == "pubkey" => found.push(text.clone()),
                    other => key_texts(other, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| key_texts(item, found)),
        _ => {}
    }
}

pub(super) async fn key(stage: &mut Stage) -> Outcome {
    let Some(key) = stage.target.key.clone() else {
        return not_applicable("it tells its key nowhere; --pubkey KEY brings it in");
    };
    let words = |key: &PublicKey| format!("key {}", short(key.id()));
    // Whichever frame shows it.
    for place in 0..stage.log.len() {
        let Some(frame) = stage.log[place].came() else { continue };
        let mut texts = Vec::new();
        key_texts(&serde_json::from_str(frame.payload_canonical()).unwrap_or_default(), &mut texts);
        let shown =
            texts.into_iter().find(|text| PublicKey::from_field(text).is_ok_and(|shown| shown == key));
        let Some(text) = shown else { continue };
        stage.cited.insert(place);
        return match (KeyForm::of(&text), text.ends_with('=') || text.contains(['+', '/'])) {
            (KeyForm::Der, false) => Ok(words(&key)),
            (KeyForm::Der, true) => failed("padded, or not of the URL's alphabet"),
            (KeyForm::Pem | KeyForm::PemPadded, _) => failed("base64 of PEM text, not of DER"),
        };
    }
    not_applicable("it shows its key nowhere: it is the command line's")
}

pub(super) async fn link(stage: &mut Stage) -> Outcome {
    let Some(link) = stage.link_of(Who::One) else { return failed("there is none") };
    let since = stage.marks.get("joined").copied().unwrap_or(0);
    stage.listen_for(stage.silence()).await;
    let wrong = stage.find(since, |entry| {
        entry.link == link
            && (entry.is(&FrameType::Error).is_some() || matches!(entry.what, What::Ended { .. }))
    });
    match wrong.map(|place| stage.log[place].what.clone()) {
        None => Ok("no ERROR, no close".to_owned()),
        Some(What::Ended { .. }) => failed("the target ended it"),
        Some(_) => failed("ERROR"),
    }
}

/// Joins with the second server, in the dialect that is known by now.
pub(super) async fn second(stage: &mut Stage) -> Outcome {
    let (dialect, since) = (stage.dialect(), stage.mark());
    stage.marks.insert("second", since);
    if dialect.profile().links_without_join {
        return match link_only(stage, dialect, Who::Two).await {
            Ok(link) => settled(stage, link, since).await,
            Err(why) => failed(why),
        };
    }
    match greet(stage, dialect, Who::Two).await {
        Ok((link, answer)) => {
            introduce(stage, dialect, Who::Two, link).await;
            match answer {
                Some(_) => settled(stage, link, since).await,
                None => failed("no WELCOME"),
            }
        }
        Err(why) => failed(why),
    }
}

async fn settled(stage: &mut Stage, link: LinkNo, since: Mark) -> Outcome {
    stage.listen_for(stage.silence()).await;
    if !stage.is_live(link) {
        return failed("the target ended the link");
    }
    match stage.find(since, |entry| entry.who == Who::Two && entry.is(&FrameType::ServerWelcome).is_some()) {
        Some(_) => Ok("WELCOME".to_owned()),
        None => Ok("the link stays; without a WELCOME, as its dialect has it".to_owned()),
    }
}

/// The first server, known at the second.
pub(super) async fn members(stage: &mut Stage) -> Outcome {
    let since = stage.marks.get("second").copied().unwrap_or(0);
    let (one, key) = (stage.cast.id(Who::One), stage.cast.key(Who::One).clone());
    let named = stage.wait(since, stage.patience, |entry| {
        entry.who == Who::Two
            && entry.came().is_some_and(|frame| match frame.payload() {
                Payload::ServerWelcome(welcome) => {
                    welcome.servers.iter().chain(&welcome.clients).any(|entry| {
                        let id = entry.server_id.as_ref().map(|id| id.id());
                        let id = id.or(entry.user_id.as_ref().map(|id| id.id()));
                        let same = entry.pubkey.as_ref().is_some_and(|shown| shown.key() == Ok(&key));
                        id == Some(&one) && same
                    })
                }
                Payload::ServerAnnounce(hello) => {
                    frame.from() == Some(&one) && hello.pubkey.key() == Ok(&key)
                }
                _ => false,
            })
    });
    match named.await {
        Some(place) => {
            let kind = stage.log[place].frame.as_ref().map(|frame| frame.kind().to_string());
            Ok(format!("in {}", kind.unwrap_or_default()))
        }
        None => failed("probe-2 was told of no probe-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socp_core::crypto::CanonicalForm;

    fn frame(payload: &str) -> Frame {
        let text = format!(r#"{{"type":"SERVER_WELCOME","from":"srv","payload":{payload}}}"#);
        Frame::parse(&text, 1 << 20).unwrap()
    }

    #[test]
    fn what_shows_beats_the_list_and_the_list_beats_what_was_answered() {
        let seed = frame(r#"{"assigned_id":"x","introducer":{"server_id":"srv"}}"#);
        let long = SignatureForm { canonical: CanonicalForm::Sorted, salt: SaltLength::Max };
        assert_eq!(recognised(&seed, Some(long), Dialect::Standard, Some(Dialect::R)).0, Dialect::Seed);
        let short = SignatureForm { canonical: CanonicalForm::Sorted, salt: SaltLength::Digest };
        assert_eq!(recognised(&seed, Some(short), Dialect::Standard, None).0, Dialect::Standard);
        let bare = frame(r#"{"assigned_id":"x","clients":[]}"#);
        assert_eq!(recognised(&bare, None, Dialect::R, Some(Dialect::F)).0, Dialect::F);
        assert_eq!(recognised(&bare, None, Dialect::R, None).0, Dialect::R);
        assert_eq!(recognised(&bare, None, Dialect::Python, None).0, Dialect::Python);
        assert_eq!(recognised(&bare, None, Dialect::Standard, None).0, Dialect::Standard);
    }
}
