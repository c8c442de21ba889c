//! What has to go well between a server of ours and one of R, M or F, with one person on each.

use super::StandIn;
use super::foreign::Foreign;
use super::keys::native_id;
use super::ours::Ours;
use crate::support::ServerProcess;
use crate::support::client::ClientProcess;

/// A name that the canonical forms spell differently.
pub(crate) const NAME: &str = "Zoë ✓ 𝄞";

/// Who comes first.
#[derive(Clone, Copy)]
pub(crate) enum First {
    Alice,
    Bob,
}

/// Alice on our server and bob on theirs.
pub(crate) struct Scene<'a, P> {
    pub(crate) ours: &'a Ours,
    pub(crate) server: &'a ServerProcess,
    pub(crate) peer: &'a StandIn<P>,
    /// Bob's id.
    pub(crate) bob: &'a str,
    /// Whether our client can check their content signatures: R's binds no form that we accept.
    pub(crate) verified: bool,
}

impl<P: Foreign> Scene<'_, P> {
    /// Both come, see each other, write to each other and leave; and nothing of ours was refused.
    pub(crate) fn play(&self, first: First) {
        self.come_and_go(first);
        self.peer.has_refused_nothing();
    }

    /// The same, whatever was refused.
    pub(crate) fn come_and_go(&self, first: First) {
        let id = native_id("alice");
        self.peer.linked(&self.server.id);
        if let First::Bob = first {
            self.peer.arrives(self.bob, "bob");
        }
        let mut alice = self.ours.log_in("alice", self.server);
        self.peer.sees(&id);
        if let First::Alice = first {
            self.peer.arrives(self.bob, "bob");
        }
        self.told(&mut alice, "user_added");
        alice.types(&format!("/me name {NAME}"));
        self.peer.sees_named(&id, NAME);
        self.talk(&mut alice);

        self.peer.leaves(self.bob);
        self.told(&mut alice, "user_removed");
        alice.quit();
        self.peer.misses(&id);
    }

    /// A message in each direction.
    pub(crate) fn talk(&self, alice: &mut ClientProcess) {
        let id = native_id("alice");
        self.peer.tells(self.bob, &id, "grüezi ✓");
        let dm = alice.wait("bob's message", |event| {
            event["event"] == "dm" && event["from"] == self.bob && event["text"] == "grüezi ✓"
        });
        assert!(!self.verified || dm["verified"] == true, "{dm}");
        alice.types(&format!("/tell {} salü 𝄞", self.bob));
        let got = self.peer.reads(self.bob, &id, "salü 𝄞");
        assert!(got.verified, "our client signs what theirs reads");
    }

    /// Waits until alice is told of bob.
    pub(crate) fn told(&self, alice: &mut ClientProcess, kind: &str) {
        alice.wait(&format!("{kind} of bob"), |event| event["event"] == kind && event["user_id"] == self.bob);
    }
}
