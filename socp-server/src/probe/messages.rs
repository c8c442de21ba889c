//! Messages and files on their way (§8.3, §9.2, §9.4, §10).

use socp_core::crypto::{ContentInput, Sealer, Signer, check_content, check_payload};
use socp_core::wire::{
    Binary, ErrorCode, FileChunk, FileEnd, FileStart, Frame, FrameType, Id, Message, Payload, Recipient,
    Timestamp, UserId,
};

use super::cast::Who;
use super::clause::{Outcome, failed, not_applicable};
use super::gossip::{advert, spoilt};
use super::joining::form_words;
use super::stage::{Entry, Mark, Sig, Stage};
use super::users::error_of;

/// A message as its author made it.
pub(super) struct Letter {
    payload: Message,
    from: Id,
    to: Id,
    ts: Timestamp,
}

impl Letter {
    fn ciphertext(&self) -> Binary {
        self.payload.ciphertext.clone()
    }

    /// Whether it came to somebody.
    pub(super) fn came_to(&self, entry: &Entry, who: Who) -> bool {
        brings(entry, who, &self.payload.ciphertext)
    }
}

/// Encrypts and signs a message as §12 has it.
pub(super) fn letter(stage: &Stage, from: Who, to: Who, text: &str) -> Option<Letter> {
    let key = stage.cast.key(to);
    let ciphertext = Binary::new(stage.provider.seal(key, text.as_bytes()).ok()?);
    let (ts, author, recipient) = (Stage::now(), stage.cast.id(from), stage.cast.id(to));
    let input = ContentInput {
        ciphertext: ciphertext.clone(),
        from: author.clone(),
        to: Some(recipient.clone()),
        ts,
    };
    let content_sig = stage.cast.private_key(from).sign(&input.message()).ok()?;
    let payload = Message {
        user_id: None,
        to: Some(recipient.as_str().into()),
        ciphertext,
        sender: Some(author.clone().into()),
        sender_pub: Some(stage.cast.key_field(from)),
        content_sig: Some(Binary::new(content_sig)),
        ts: Some(ts),
        original_ts: None,
        part: None,
        parts_sig: None,
    };
    Some(Letter { payload, from: author, to: recipient, ts })
}

/// The author's own frame.
pub(super) fn direct(stage: &Stage, author: Who, letter: &Letter) -> Option<String> {
    let to = Recipient::parse(letter.to.as_str());
    stage.write_in(stage.dialect(), author, to, letter.ts, &Payload::MsgDirect(letter.payload.clone()))
}

/// The author's server's frame.
fn delivery(stage: &Stage, server: Who, letter: &Letter) -> Option<String> {
    let user_id = Some(UserId::from(letter.to.clone()));
    let payload = Message { user_id, to: None, ..letter.payload.clone() };
    stage.write_in(stage.dialect(), server, stage.to_target(), letter.ts, &Payload::ServerDeliver(payload))
}

fn message_of(frame: &Frame) -> Option<&Message> {
    match frame.payload() {
        Payload::UserDeliver(message)
        | Payload::ServerDeliver(message)
        | Payload::MsgPublicChannel(message)
        | Payload::MsgDirect(message) => Some(message),
        // No message.
        _ => None,
    }
}

/// Whether a letter, as it was encrypted, came to somebody.
fn brings(entry: &Entry, who: Who, letter: &Binary) -> bool {
    let message = entry.came().and_then(message_of);
    entry.who == who && message.is_some_and(|message| message.ciphertext.bytes() == letter.bytes())
}

/// How a letter arrived: whether sender and content_sig are the author's, and the frame is the target's.
fn untouched(stage: &Stage, place: Mark, letter: &Letter) -> Outcome {
    let Some(message) = stage.log[place].frame.as_deref().and_then(message_of) else {
        return failed("what came is no message");
    };
    let sig = |message: &Message| message.content_sig.as_ref().map(|sig| sig.bytes().to_vec());
    if sig(message) != sig(&letter.payload) {
        return failed("the ciphertext came, but content_sig is missing or another one");
    }
    match &message.sender {
        Some(sender) if *sender.id() == letter.from => {}
        Some(sender) => return failed(format!("its sender is said to be {sender}")),
        None => return failed("it does not say who sent it"),
    }
    match stage.signed(place) {
        Sig::Holds(form) => Ok(format!("untouched, signed {}", form_words(form))),
        Sig::KeyUnknown => Ok("untouched".into()),
        Sig::None => failed("untouched, but the frame is not signed by the delivering server"),
        Sig::Wrong => failed("untouched, but the frame's signature does not hold"),
    }
}

pub(super) async fn local(stage: &mut Stage) -> Outcome {
    let Some(letter) = letter(stage, Who::Ann, Who::Ben, "probe: hello Ben") else {
        return failed("it could not be written");
    };
    let since = stage.mark();
    if let Some(text) = direct(stage, Who::Ann, &letter) {
        stage.send(Who::Ann, text).await;
    }
    let ciphertext = letter.ciphertext();
    let came = stage.wait(since, stage.patience, |entry| brings(entry, Who::Ben, &ciphertext)).await;
    let Some(place) = came else { return failed("nothing came to Ben") };
    stage.marks.insert("letter", since);
    stage.marks.insert("delivered", place);
    if stage.log[place].is(&FrameType::UserDeliver).is_none() {
        return failed("it came, but not as USER_DELIVER");
    }
    untouched(stage, place, &letter)
}

pub(super) async fn content_sig(stage: &mut Stage) -> Outcome {
    let Some(place) = stage.marks.get("delivered").copied() else {
        return not_applicable("dm.local brought nothing");
    };
    stage.cited.insert(place);
    let Some(frame) = stage.log[place].frame.as_deref() else { return failed("what came is no frame") };
    let Some((message, sig)) =
        message_of(frame).and_then(|message| Some((message, message.content_sig.as_ref()?)))
    else {
        return failed("no content_sig");
    };
    let times =
        [("payload.ts", message.ts), ("original_ts", message.original_ts), ("the envelope's ts", frame.ts())];
    let holds = times.into_iter().find(|(_, ts)| {
        let Some(ts) = *ts else { return false };
        let input = ContentInput {
            ciphertext: message.ciphertext.clone(),
            from: stage.cast.id(Who::Ann),
            to: Some(stage.cast.id(Who::Ben)),
            ts,
        };
        check_content(&stage.provider, stage.cast.key(Who::Ann), &input, sig.bytes(), None).is_some()
    });
    let Some((name, _)) = holds else {
        return failed("the sender's time is lost, so that content_sig holds with no ts that came");
    };
    match message.sender_pub.as_ref().map(|key| key.key() == Ok(stage.cast.key(Who::Ann))) {
        Some(true) => Ok(format!("it holds with {name}")),
        Some(false) => failed("sender_pub is not her key"),
        None => failed(format!("it holds with {name}, but sender_pub is missing")),
    }
}

pub(super) async fn out(stage: &mut Stage) -> Outcome {
    let Some(letter) = letter(stage, Who::Ann, Who::Rob, "probe: hello Rob") else {
        return failed("it could not be written");
    };
    let since = stage.mark();
    if let Some(text) = direct(stage, Who::Ann, &letter) {
        stage.send(Who::Ann, text).await;
    }
    let ciphertext = letter.ciphertext();
    let came = stage.wait(since, stage.patience, |entry| {
        entry.who == Who::One
            && entry.is(&FrameType::ServerDeliver).is_some()
            && brings(entry, Who::One, &ciphertext)
    });
    let Some(place) = came.await else { return failed("no SERVER_DELIVER came to probe-1") };
    let Some(message) = stage.log[place].frame.as_deref().and_then(message_of) else {
        return failed("what came is no message");
    };
    if message.user_id.as_ref().map(|user| user.id()) != Some(&letter.to) {
        return failed("its user_id is not the recipient's");
    }
    untouched(stage, place, &letter)
}

pub(super) async fn incoming(stage: &mut Stage) -> Outcome {
    let Some(letter) = letter(stage, Who::Rob, Who::Ann, "probe: hello Ann") else {
        return failed("it could not be written");
    };
    let Some(text) = delivery(stage, Who::One, &letter) else {
        return not_applicable("its dialect is spared such frames");
    };
    let since = stage.send(Who::One, text).await;
    let ciphertext = letter.ciphertext();
    let came = stage.wait(since, stage.patience, |entry| brings(entry, Who::Ann, &ciphertext)).await;
    let Some(place) = came else { return failed("nothing came to Ann") };
    stage.marks.insert("delivery", since);
    untouched(stage, place, &letter)
}

pub(super) async fn once(stage: &mut Stage) -> Outcome {
    let Some(sent) = stage.marks.get("delivery").copied() else {
        return not_applicable("dm.in brought nothing");
    };
    let text = stage.log[sent].text.to_string();
    let Some(ciphertext) =
        stage.log[sent].frame.as_deref().and_then(message_of).map(|message| message.ciphertext.clone())
    else {
        return failed("it could not be written");
    };
    let since = stage.send(Who::One, text).await;
    stage.listen_for(stage.silence()).await;
    match stage.find(since, |entry| brings(entry, Who::Ann, &ciphertext)) {
        Some(_) => failed("it was delivered again"),
        None => Ok("nothing more came".into()),
    }
}

/// Sends a delivery that is not to be taken, and listens whether it was.
pub(super) async fn bad_sig(stage: &mut Stage) -> Outcome {
    let letter = letter(stage, Who::Rob, Who::Ann, "probe: not from Rob's server");
    let text = letter.as_ref().and_then(|letter| spoilt(&delivery(stage, Who::One, letter)?));
    let (Some(letter), Some(text)) = (letter, text) else { return failed("it could not be written") };
    let since = stage.send(Who::One, text).await;
    stage.listen_for(stage.silence()).await;
    let ciphertext = letter.ciphertext();
    match stage.find(since, |entry| brings(entry, Who::Ann, &ciphertext)) {
        Some(_) => failed("it was delivered"),
        None => Ok("nothing came".into()),
    }
}

pub(super) async fn forward(stage: &mut Stage) -> Outcome {
    // Rob's writer must be somebody whom the target knows at probe-2.
    if let Some(text) = advert(stage, Who::Two, Who::Zoe, None) {
        stage.advertises(Who::Two, Who::Zoe);
        stage.send(Who::Two, text).await;
    }
    let letter = letter(stage, Who::Zoe, Who::Rob, "probe: hello Rob, from afar");
    let text = letter.as_ref().and_then(|letter| delivery(stage, Who::Two, letter));
    let (Some(letter), Some(text)) = (letter, text) else { return failed("it could not be written") };
    let sent = stage.send(Who::Two, text).await;
    let ciphertext = letter.ciphertext();
    let came = stage.wait(sent, stage.patience, |entry| brings(entry, Who::One, &ciphertext)).await;
    let Some(place) = came else { return failed("it does not reach probe-1") };
    let Some(frame) = stage.log[place].frame.as_deref() else { return failed("what came is no frame") };
    match check_payload(&stage.provider, stage.cast.key(Who::Two), frame, None) {
        Some(_) if stage.log[sent].text == stage.log[place].text => Ok("to the last byte".into()),
        Some(_) => Ok("in another spelling or envelope; the signature holds".into()),
        None => failed("it arrived, but not under probe-2's signature any more"),
    }
}

pub(super) async fn sender(stage: &mut Stage) -> Outcome {
    // Written and signed by Ann; only the name in the payload is Dot's.
    let Some(mut letter) = letter(stage, Who::Ann, Who::Ben, "probe: not from Dot") else {
        return failed("it could not be written");
    };
    let dot = stage.cast.user(Who::Dot);
    letter.payload.sender = Some(dot.clone());
    let since = stage.mark();
    if let Some(text) = direct(stage, Who::Ann, &letter) {
        stage.send(Who::Ann, text).await;
    }
    stage.listen_for(stage.silence()).await;
    let ciphertext = letter.ciphertext();
    let came = stage.find(since, |entry| brings(entry, Who::Ben, &ciphertext));
    stage.find(since, |entry| entry.who == Who::Ann && error_of(entry).is_some());
    let named = came.and_then(|place| message_of(stage.log[place].frame.as_deref()?)?.sender.clone());
    match (came, named) {
        (None, _) => Ok("it was not delivered".into()),
        (Some(_), Some(named)) if named == dot => failed("sender may be forged: Ben got it in Dot's name"),
        (Some(_), _) => Ok("it was delivered in Ann's own name".into()),
    }
}

/// That a message to somebody fails, and is said to.
pub(super) async fn unreachable(stage: &mut Stage, whom: Who) -> Outcome {
    let Some(letter) = letter(stage, Who::Ann, whom, "probe: is anybody there?") else {
        return failed("it could not be written");
    };
    let since = stage.mark();
    if let Some(text) = direct(stage, Who::Ann, &letter) {
        stage.send(Who::Ann, text).await;
    }
    let told =
        stage.wait(since, stage.patience, |entry| entry.who == Who::Ann && error_of(entry).is_some()).await;
    match told.and_then(|place| error_of(&stage.log[place])) {
        Some(ErrorCode::UserNotFound) => Ok("ERROR USER_NOT_FOUND".into()),
        Some(code) => failed(format!("ERROR {code}")),
        None => failed("no ERROR"),
    }
}

pub(super) async fn unknown(stage: &mut Stage) -> Outcome {
    unreachable(stage, Who::Nil).await
}

pub(super) async fn public(stage: &mut Stage) -> Outcome {
    let (ts, ben) = (Stage::now(), stage.cast.id(Who::Ben));
    let sealed = stage.provider.seal(stage.cast.key(Who::Ben), b"probe: hello all");
    let Ok(ciphertext) = sealed.map(Binary::new) else { return failed("it could not be written") };
    // In the public channel nobody is named (§12).
    let input = ContentInput { ciphertext: ciphertext.clone(), from: stage.cast.id(Who::Ann), to: None, ts };
    let content_sig = stage.cast.private_key(Who::Ann).sign(&input.message()).ok().map(Binary::new);
    let message = Message {
        user_id: None,
        to: Some(ben.as_str().into()),
        ciphertext: ciphertext.clone(),
        sender: Some(stage.cast.user(Who::Ann)),
        sender_pub: Some(stage.cast.key_field(Who::Ann)),
        content_sig: content_sig.clone(),
        ts: Some(ts),
        original_ts: None,
        part: None,
        parts_sig: None,
    };
    let (to, payload) = (Recipient::parse(ben.as_str()), Payload::MsgPublicChannel(message));
    let since = stage.mark();
    if let Some(text) = stage.write_in(stage.dialect(), Who::Ann, to, ts, &payload) {
        stage.send(Who::Ann, text).await;
    }
    let came = stage.wait(since, stage.patience, |entry| brings(entry, Who::Ben, &ciphertext)).await;
    let message = came.and_then(|place| message_of(stage.log[place].frame.as_deref()?));
    match message {
        None => failed("nothing came to Ben"),
        Some(message) if message.content_sig != content_sig => failed("its content_sig was lost"),
        Some(_) => Ok("untouched".into()),
    }
}

pub(super) async fn file(stage: &mut Stage) -> Outcome {
    // The SHA-256 of "probe".
    const SHA256: &str = "ba9c736f19e7f60b7f6764adb0b7908c0a2b394e09b6c09863528c7f2bc86095";
    let sealed = stage.provider.seal(stage.cast.key(Who::Ben), b"probe");
    let Ok(ciphertext) = sealed.map(Binary::new) else { return failed("it could not be written") };
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        return failed(error.to_string());
    }
    let file_id: Box<str> = Id::uuid_v4(bytes).as_str().into();
    let (ben, sender, ts) = (stage.cast.id(Who::Ben), Some(stage.cast.user(Who::Ann)), Some(Stage::now()));
    let to = Some(ben.as_str().into());
    let start = FileStart {
        file_id: file_id.clone(),
        name: "probe.txt".into(),
        size: 5,
        sha256: SHA256.into(),
        mode: "dm".into(),
        to: to.clone(),
        sender: sender.clone(),
        ts,
        sender_pub: None,
        content_sig: None,
    };
    let chunk = FileChunk {
        file_id: file_id.clone(),
        index: 0,
        ciphertext: ciphertext.clone(),
        to: to.clone(),
        sender: sender.clone(),
        ts,
    };
    let end = FileEnd { file_id: file_id.clone(), to, sender, ts };
    let since = stage.mark();
    for payload in [Payload::FileStart(start), Payload::FileChunk(chunk), Payload::FileEnd(end)] {
        if let Some(text) = stage.write(Who::Ann, Recipient::parse(ben.as_str()), &payload) {
            stage.send(Who::Ann, text).await;
        }
    }
    let mut next = since;
    for step in ["FILE_START", "FILE_CHUNK", "FILE_END"] {
        let came = stage.wait(next, stage.patience, |entry| {
            entry.who == Who::Ben
                && entry.came().is_some_and(|frame| {
                    // The seed's clients get them by another name.
                    let name = frame.kind().as_str();
                    name.strip_suffix("_DELIVER").unwrap_or(name) == step
                        && frame.payload_canonical().contains(&*file_id)
                })
        });
        let Some(place) = came.await else { return failed(format!("no {step} came to Ben")) };
        if let Some(Payload::FileChunk(chunk) | Payload::FileChunkDeliver(chunk)) =
            stage.log[place].frame.as_ref().map(|frame| frame.payload())
            && chunk.ciphertext.bytes() != ciphertext.bytes()
        {
            return failed("the chunk's ciphertext was changed");
        }
        next = place + 1;
    }
    Ok("all three, in order, untouched".into())
}
