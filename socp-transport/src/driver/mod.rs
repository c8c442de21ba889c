//! What the drivers of both machines share: a clock, checked frames, signatures, and how they fail.

mod check;
mod clock;
mod failure;
mod own_work;
mod signing;

pub(crate) use check::{Checker, Desk};
pub(crate) use clock::Clock;
pub use failure::Failure;
pub(crate) use own_work::{OwnWork, Ticket};
pub(crate) use signing::{MAX_UNSIGNED, Signing};
