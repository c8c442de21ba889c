//! Proof types: what a frame must prove before a machine acts on it, and the evidence that it did.
//!
//! [`Verified`] has private fields and no constructor that skips the check, so a forgotten check does
//! not compile.

use sha2::{Digest, Sha256};

use super::content::{ContentForm, ContentInput, check_content};
use super::rotation::chain_digest;
use super::{SaltLength, Verifier};
use crate::wire::{
    ErrorCode, Frame, FrameError, FrameRef, Id, KeyError, KeyId, Payload, PublicKey, ascii_form,
};

/// What a machine says of a frame before any signature was looked at.
#[derive(Debug)]
pub enum Admission {
    /// The frame needs no check; hand it back with the next event.
    Accept(Verified),
    /// Run the checks (on the link's own task), then hand the result back.
    Verify(Unverified),
    /// The frame is refused already.
    Refuse(Refusal),
}

/// A frame and the checks that it needs.
#[derive(Debug)]
pub struct Unverified {
    frame: Frame,
    checks: Vec<Check>,
    author_was_there: bool,
}

/// One signature to check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) purpose: Purpose,
    pub(crate) key: PublicKey,
    /// Whether the frame is refused if the check fails; else it is taken without this proof.
    pub(crate) required: bool,
    pub(crate) claimed: Claimed,
}

/// What a signature is claimed to cover.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The frame's payload by its `sig` (§12), with the form that matched last for this key.
    Payload { hint: Option<SignatureForm> },
    /// A canonical text by a signature that travels in the payload.
    Text { canonical: String, signature: Box<[u8]> },
    /// Key shares by their `content_sig`.
    Shares { text: String, signature: Box<[u8]> },
    /// All steps of a rotation, each by the key before it.
    Chain { steps: Vec<Step> },
    /// A message's content by its `content_sig`.
    Content { input: ContentInput, signature: Box<[u8]> },
}

/// One step of a rotation (decisions §4).
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) key: PublicKey,
    pub(crate) canonical: String,
    pub(crate) signature: Box<[u8]>,
}

/// What a proof is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The envelope's `sig` over the payload.
    Transport,
    /// The user's own word in an advert (decisions §4).
    Attestation,
    /// The old keys' words for the new ones, up to a key (decisions §4); a frame may bring several chains.
    Rotation,
    /// The author's signature over a message (§12).
    Content,
}

/// How a peer writes what it signs (decisions §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureForm {
    /// Which form of the payload was signed.
    pub canonical: CanonicalForm,
    /// The PSS salt.
    pub salt: SaltLength,
}

/// The forms of a payload that peers sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanonicalForm {
    /// Sorted keys, no white space, raw UTF-8: ours.
    Sorted,
    /// The same with everything beyond ASCII escaped.
    Ascii,
    /// As it stood in the frame.
    Received,
}

/// A check that held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What it is about.
    pub purpose: Purpose,
    /// The key it held under: compare it with the pin of the moment.
    pub key: KeyId,
    /// How the peer signs, to be tried first next time.
    pub form: Option<SignatureForm>,
    /// What the steps of a rotation say, so that one chain's proof is not taken for another's.
    pub(crate) chain: Option<[u8; 32]>,
}

/// A frame whose checks ran. Only a check, or a machine that knows a frame needs none, makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    frame: Frame,
    proofs: Vec<Proof>,
    /// Whether the author was at the server that speaks for it when the frame was admitted: who leaves while a
    /// signature is checked has said what it said.
    author_was_there: bool,
}

/// Why a frame is refused: what the ERROR says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) detail: Box<str>,
    pub(crate) reference: Option<Box<FrameRef>>,
    /// The frame's `from`: a bad frame of a third party is not the fault of the neighbour who carried it.
    pub(crate) from: Option<Id>,
    /// The check that was paid for and did not hold: what it was about, and under which key.
    pub(crate) failed: Option<Box<(Purpose, KeyId)>>,
    /// The WebSocket close code after the ERROR; without one the link stays.
    pub(crate) close: Option<u16>,
    /// The key that the sender says is its own, where the frame has one: a claim, for the operator's eyes.
    pub(crate) shown: Option<PublicKey>,
}

impl Unverified {
    pub(crate) fn new(frame: Frame, checks: Vec<Check>) -> Self {
        Self { frame, checks, author_was_there: false }
    }

    pub(crate) fn with_author_there(self, author_was_there: bool) -> Self {
        Self { author_was_there, ..self }
    }

    /// Runs the checks. Each costs one public-key operation, or a few while it is not known which of
    /// the accepted forms the peer signs.
    pub fn verify(self, verifier: &dyn Verifier) -> Result<Verified, Refusal> {
        let mut proofs = Vec::with_capacity(self.checks.len());
        for check in &self.checks {
            match check.run(&self.frame, verifier) {
                Ok(proof) => proofs.push(proof),
                Err(()) if !check.required => {}
                Err(()) => {
                    let what = match check.purpose {
                        Purpose::Transport => "sig does not hold",
                        Purpose::Attestation => "attestation does not hold",
                        Purpose::Rotation => "the rotations do not hold",
                        Purpose::Content => "content_sig does not hold",
                    };
                    let refusal = Refusal::of(&self.frame, ErrorCode::InvalidSig, what);
                    return Err(Refusal {
                        failed: Some(Box::new((check.purpose, check.key.id()))),
                        ..refusal
                    });
                }
            }
        }
        Ok(Verified { frame: self.frame, proofs, author_was_there: self.author_was_there })
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl Check {
    fn run(&self, frame: &Frame, verifier: &dyn Verifier) -> Result<Proof, ()> {
        let proof = |form| Proof { purpose: self.purpose, key: self.key.id(), form, chain: None };
        match &self.claimed {
            Claimed::Payload { hint } => {
                let form = check_payload(verifier, &self.key, frame, *hint).ok_or(())?;
                Ok(proof(Some(form)))
            }
            Claimed::Text { canonical, signature } => {
                if check_text(verifier, &self.key, canonical, signature) { Ok(proof(None)) } else { Err(()) }
            }
            Claimed::Shares { text, signature } => match check_shares(verifier, &self.key, text, signature) {
                true => Ok(proof(None)),
                false => Err(()),
            },
            Claimed::Chain { steps } => {
                // The first step that fails is the last that costs anything.
                let holds = |step: &Step| check_text(verifier, &step.key, &step.canonical, &step.signature);
                let chain = Some(chain_digest(steps.iter().map(|step| step.canonical.as_str())));
                if steps.iter().all(holds) { Ok(Proof { chain, ..proof(None) }) } else { Err(()) }
            }
            Claimed::Content { input, signature } => {
                let matched: Option<ContentForm> = check_content(verifier, &self.key, input, signature, None);
                matched.map(|_| proof(None)).ok_or(())
            }
        }
    }
}

/// A canonical text, which peers sign as it is or with everything beyond ASCII escaped, with either salt.
fn check_text(verifier: &dyn Verifier, key: &PublicKey, canonical: &str, signature: &[u8]) -> bool {
    let ascii = ascii_form(canonical);
    let holds = |text: &str| {
        [SaltLength::Digest, SaltLength::Max]
            .iter()
            .any(|salt| verifier.verify(key, text.as_bytes(), signature, *salt))
    };
    std::iter::once(canonical).chain(ascii.as_deref()).any(holds)
}

/// What a creator signs of key shares ([`PublicChannelKeyShare::signed_text`]), hashed once by PSS or once more before
/// (decisions §1), with either salt.
///
/// [`PublicChannelKeyShare::signed_text`]: crate::wire::PublicChannelKeyShare::signed_text
pub fn check_shares(verifier: &dyn Verifier, key: &PublicKey, text: &str, signature: &[u8]) -> bool {
    let digest = Sha256::digest(text);
    [text.as_bytes(), &digest].into_iter().any(|signed| {
        let salts = [SaltLength::Digest, SaltLength::Max];
        salts.into_iter().any(|salt| verifier.verify(key, signed, signature, salt))
    })
}

/// Tries the forms of a frame's payload that peers sign, `hint` (the one that matched last) first, and says in which
/// one its `sig` holds under this key. `None` if in none, or if there is no `sig`.
pub fn check_payload(
    verifier: &dyn Verifier,
    key: &PublicKey,
    frame: &Frame,
    hint: Option<SignatureForm>,
) -> Option<SignatureForm> {
    let sig = frame.sig()?.bytes();
    let sorted = frame.payload_canonical();
    let ascii = ascii_form(sorted);
    let received =
        Some(frame.payload_received()).filter(|text| *text != sorted && Some(*text) != ascii.as_deref());
    let text_of = |form: CanonicalForm| match form {
        CanonicalForm::Sorted => Some(sorted),
        CanonicalForm::Ascii => ascii.as_deref(),
        CanonicalForm::Received => received,
    };
    let holds = |form: &SignatureForm| {
        text_of(form.canonical).is_some_and(|text| verifier.verify(key, text.as_bytes(), sig, form.salt))
    };
    if let Some(form) = hint.filter(|form| holds(form)) {
        return Some(form);
    }
    [CanonicalForm::Sorted, CanonicalForm::Ascii, CanonicalForm::Received]
        .into_iter()
        .flat_map(|canonical| {
            [SaltLength::Digest, SaltLength::Max].map(|salt| SignatureForm { canonical, salt })
        })
        .filter(|form| Some(*form) != hint)
        .find(holds)
}

impl Verified {
    /// A frame that needs no check. Only the machines may say so.
    pub(crate) fn unchecked(frame: Frame) -> Self {
        Self { frame, proofs: Vec::new(), author_was_there: false }
    }

    pub(crate) fn with_author_there(self, author_was_there: bool) -> Self {
        Self { author_was_there, ..self }
    }

    pub(crate) fn author_was_there(&self) -> bool {
        self.author_was_there
    }

    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Which checks held.
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// The proof of a purpose, if it was asked for and held.
    pub fn proof(&self, purpose: Purpose) -> Option<&Proof> {
        self.proofs.iter().find(|proof| proof.purpose == purpose)
    }

    /// Whether a purpose was proven under `key`.
    pub fn proven_by(&self, purpose: Purpose, key: &PublicKey) -> bool {
        self.proofs.iter().any(|proof| proof.purpose == purpose && proof.key == key.id())
    }
}

impl Refusal {
    pub(crate) fn of(frame: &Frame, code: ErrorCode, detail: impl Into<Box<str>>) -> Self {
        let from = frame.from().cloned();
        let shown = match frame.payload() {
            Payload::ServerHelloJoin(hello)
            | Payload::ServerHelloLink(hello)
            | Payload::ServerAnnounce(hello) => Some(&hello.pubkey),
            Payload::ServerWelcome(welcome) => {
                welcome.introducer.as_ref().and_then(|entry| entry.pubkey.as_ref())
            }
            _ => None,
        };
        let shown = shown.and_then(|field| field.key().ok()).cloned();
        let reference = Some(Box::new(frame.reference()));
        Self { code, detail: detail.into(), reference, from, failed: None, close: None, shown }
    }

    pub(crate) fn closing(mut self, close: u16) -> Self {
        self.close = Some(close);
        self
    }

    /// Of a frame whose payload is not one of its type: no rule is asked about it.
    pub(crate) fn of_misfit(frame: &Frame) -> Option<Self> {
        let Payload::Misfit(misfit) = frame.payload() else { return None };
        Some(Self::of(frame, ErrorCode::UnknownType, misfit.to_string()))
    }

    pub(crate) fn bad_key(frame: &Frame, error: KeyError) -> Self {
        Self::of(frame, ErrorCode::BadKey, error.to_string())
    }

    /// The code of the ERROR that answers the frame.
    pub fn code(&self) -> &ErrorCode {
        &self.code
    }

    /// What is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        let close = match &error {
            FrameError::TooLong { .. } => Some(crate::close_code::TOO_BIG),
            FrameError::NotText | FrameError::Json(_) | FrameError::Envelope { .. } => None,
        };
        let detail = error.to_string().into();
        Self {
            code: ErrorCode::UnknownType,
            detail,
            reference: None,
            from: None,
            failed: None,
            close,
            shown: None,
        }
    }
}
