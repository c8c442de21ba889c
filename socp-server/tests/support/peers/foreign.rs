//! What the stand-ins for R, M and F have in common: they play their own users, too, who log in in as many
//! ways as there are servers, and differ to us in nothing but what their server sends.

use std::collections::BTreeMap;

use super::keys::Key;
use super::{Got, Known, Net, Peer, StandIn};

/// The users of a foreign server, and those it knows of.
#[derive(Default)]
pub(crate) struct Users {
    pub(crate) local: BTreeMap<String, Local>,
    /// Those of other servers, from adverts.
    pub(crate) remote: BTreeMap<String, Known>,
}

/// A user that the stand-in plays.
pub(crate) struct Local {
    pub(crate) key: Key,
    pub(crate) name: String,
    pub(crate) got: Vec<Got>,
}

impl Users {
    pub(crate) fn add(&mut self, user: &str, name: &str) {
        let local = Local { key: Key::fixture(name), name: name.to_owned(), got: Vec::new() };
        self.local.insert(user.to_owned(), local);
    }
}

/// A server whose users it plays itself.
pub(crate) trait Foreign: Peer {
    fn users(&mut self) -> &mut Users;
    /// A user of that id, with a fixture's key and name, logs in.
    fn arrive(&mut self, net: &mut Net, user: &str, name: &str);
    fn leave(&mut self, net: &mut Net, user: &str);
    /// A user writes to another one, whom the server knows.
    fn tell(&mut self, net: &mut Net, from: &str, to: &str, text: &str);
    /// Whether a link to that server is there for writing.
    fn is_linked(&self, server: &str) -> bool;
}

impl<P: Foreign> StandIn<P> {
    pub(crate) fn arrives(&self, user: &str, name: &str) {
        self.act(|peer, net| peer.arrive(net, user, name));
    }

    pub(crate) fn leaves(&self, user: &str) {
        self.act(|peer, net| peer.leave(net, user));
    }

    /// Waits until it is linked with a server.
    pub(crate) fn linked(&self, server: &str) {
        self.wait("a link", |peer, _| peer.is_linked(server).then_some(()));
    }

    /// Waits until somebody elsewhere is known.
    pub(crate) fn sees(&self, user: &str) -> Known {
        self.wait(&format!("an advert of {user}"), |peer, _| peer.users().remote.get(user).cloned())
    }

    /// Waits until somebody elsewhere has that name.
    pub(crate) fn sees_named(&self, user: &str, name: &str) {
        self.wait(&format!("{user} as {name}"), |peer, _| {
            let named = &peer.users().remote.get(user)?.meta["display_name"];
            (*named == name).then_some(())
        });
    }

    /// Waits until somebody elsewhere is gone.
    pub(crate) fn misses(&self, user: &str) {
        self.wait(&format!("a removal of {user}"), |peer, _| {
            (!peer.users().remote.contains_key(user)).then_some(())
        });
    }

    pub(crate) fn tells(&self, from: &str, to: &str, text: &str) {
        self.sees(to);
        self.act(|peer, net| peer.tell(net, from, to, text));
    }

    /// Waits for a message that one of its users can decrypt.
    pub(crate) fn reads(&self, user: &str, from: &str, text: &str) -> Got {
        self.wait(&format!("a message of {from}: {text}"), |peer, _| {
            let got = &peer.users().local[user].got;
            got.iter().find(|got| got.sender == from && got.text == text).cloned()
        })
    }
}
