//! The scenario: alice on A, bob on B. Nobody refreshes anything.

use socp_core::client::Command;
use tokio::time::Instant;

use super::keys::Keys;
use super::mesh::Mesh;
use super::person::Person;
use crate::error::{Result, show};

/// Both log in and talk. What somebody must see and does not is the error.
pub(super) async fn play(mesh: &Mesh, keys: &Keys, deadline: Instant) -> Result<[Person; 2]> {
    let [a, b, _] = &mesh.servers;
    show("\nAlice logs in on server A.");
    let mut alice = Person::log_in("alice", &keys.alice, a, mesh).await?;
    alice.sees(&["[ready]…"], deadline).await?;

    show("\nBob logs in on server B: each sees the other at once.");
    let mut bob = Person::log_in("bob", &keys.bob, b, mesh).await?;
    alice.sees(&["[user added] bob is now available for messaging"], deadline).await?;
    bob.sees(&["[ready]…", "[user added] alice is now available for messaging"], deadline).await?;

    show("\nThey talk across servers.");
    bob.types(tell("alice", "hello across servers!")).await?;
    bob.sees(&["[sent] to alice"], deadline).await?;
    alice.sees(&["[dm] bob: hello across servers!"], deadline).await?;
    alice.types(all("hello mesh!")).await?;
    alice.sees(&["[sent] to all…"], deadline).await?;
    bob.sees(&["[public] alice: hello mesh!"], deadline).await?;
    alice.types(tell("bob", "hello")).await?;
    alice.sees(&["[sent] to bob"], deadline).await?;
    bob.sees(&["[dm] alice: hello"], deadline).await?;
    bob.types(all("hello mesh!")).await?;
    bob.sees(&["[sent] to all…"], deadline).await?;
    alice.sees(&["[public] bob: hello mesh!"], deadline).await?;

    show("\nBoth know who is there.");
    for person in [&mut alice, &mut bob] {
        person.types(Command::List).await?;
        person.sees(&["[list] 2 online"], deadline).await?;
    }
    Ok([alice, bob])
}

/// They leave, one after the other.
pub(super) async fn goodbye(mut alice: Person, bob: Person, deadline: Instant) -> Result<()> {
    show("\nBob leaves.");
    bob.quit().await?;
    alice.sees(&["[user removed] bob is no longer available"], deadline).await?;
    alice.quit().await
}

fn tell(to: &str, text: &str) -> Command {
    Command::Tell { to: to.into(), text: text.into() }
}

fn all(text: &str) -> Command {
    Command::All { text: text.into() }
}
