//! A world that breaks: servers, clients and liars in virtual time, on one thread, from one seed.
//!
//! The claim of the machines is that directories converge whatever happens. This is where it is tried: on the
//! machines' public API, with links that die, networks that split, processes that are killed between storing and
//! sending, clocks that jump, and peers that lie. After every step it checks what must never break, and
//! once everything is mended, that everybody knows the truth.
//!
//! ```
//! use std::time::Duration;
//! use socp_core::sim::{Faults, Sim};
//!
//! let secs = Duration::from_secs;
//! let mut world = Sim::new(7).servers(3).users(5).faults(Faults::rough()).run_for(secs(60))?;
//! let settled = world.settle(secs(300))?;
//! assert!(settled.after < secs(300));
//! # Ok::<(), Box<socp_core::sim::Failure>>(())
//! ```
//!
//! A [`Failure`] says which invariant broke, what happened before, and the command that plays it again. The named
//! set-ups of [`scenarios`] are what the project's own tests and its `simulate` example run.
//!
//! Links are reliable FIFOs, as WebSocket gives them: loss means that a link dies and what was under way is
//! gone. Signatures are fake ([`Keys::fake`]) but detect every change; a provider's work as well.

mod check;
mod cost;
mod device;
mod failure;
mod faults;
mod keys;
mod liar;
mod life;
mod net;
mod node;
mod scenario;
mod settle;
mod setup;
mod trace;
mod world;

pub use cost::Cost;
pub use failure::Failure;
pub use keys::{KeyPair, Keys, fake_key, fake_signature};
pub use net::Site;
pub use scenario::{Scenario, scenarios};
pub use settle::Settled;
pub use setup::{Faults, Life, Mesh, Sim};
pub use world::{Traffic, World};
