//! What a record says that a server said and did, told to a machine in that server's place: [`crate::inspect`] asks
//! real machines for their verdicts, and they have to be where the recorded server was.

use super::Server;
use super::admission::Rule;
use super::api::{Introducer, LinkId};
use super::dialling::Source;
use super::link::LinkState;
use crate::dialect::Dialect;
use crate::wire::{Frame, HostPort, Id, Nonce, PublicKey, ServerId};

/// How a machine meets a frame, before any signature is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meets {
    /// By its rules.
    Rules,
    /// It has had it before.
    Repeat,
    /// It has no use for it.
    Ignored(&'static str),
}

impl Server {
    /// Who the recorded server is.
    pub(crate) fn replay_identity(&mut self, id: Option<&Id>, key: Option<&PublicKey>) {
        if let Some(id) = id {
            self.id = ServerId::from(id.clone());
        }
        if let Some(key) = key {
            self.config.key = key.clone();
        }
    }

    /// The recorded server dialled this address, so its operator's list has it, with this key.
    pub(crate) fn replay_dial(&mut self, address: &HostPort, key: &PublicKey) {
        let introducer = Introducer::new(address.clone(), key.clone());
        if !self.config.bootstrap.contains(&introducer) {
            self.config.bootstrap.push(introducer);
        }
        let (dialect, source) = (Dialect::Standard, Source::Proven);
        self.keep_linked(address.clone(), key.clone(), dialect, source, std::time::Duration::ZERO);
    }

    /// The recorded server sent this nonce on a link.
    pub(crate) fn replay_nonce(&mut self, link: LinkId, nonce: Nonce) {
        let Some(link) = self.links.get_mut(&link) else { return };
        match &mut link.state {
            LinkState::Login(login) => login.nonce = nonce,
            LinkState::Joining(joining) => joining.nonce = nonce,
            LinkState::Server(server) => {
                if let Some(nonces) = &mut server.nonces {
                    nonces.ours = nonce;
                }
            }
            LinkState::User(user) => {
                if let Some((challenge, _)) =
                    self.local.get_mut(user).and_then(|session| session.challenge.as_mut())
                {
                    *challenge = nonce;
                }
            }
            LinkState::Greeting => {}
        }
    }

    /// Whether nobody has said yet who is at the other end of a link.
    pub(crate) fn awaits_hello(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| matches!(link.state, LinkState::Greeting))
    }

    /// Which of the answers to a frame this is that [`Server::admit`] does not tell apart.
    pub(crate) fn meets(&self, link: LinkId, frame: &Frame) -> Meets {
        match self.links.get(&link).map(|link| self.rule(link, frame, self.is_author_there(link, frame))) {
            Some(Ok(Rule::Repeat)) => Meets::Repeat,
            Some(Ok(Rule::Ignore(why))) => Meets::Ignored(why),
            Some(Ok(Rule::Checks(_)) | Err(_)) | None => Meets::Rules,
        }
    }
}
