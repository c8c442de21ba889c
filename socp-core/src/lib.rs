//! SOCP v1.3 (Secure Overlay Chat Protocol) as a sans-IO library: the wire format, the proofs, and two state machines,
//! a [`server::Server`] and a [`client::Client`], that take events and return actions.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or waits. A driver does: `socp-transport` is one on
//! tokio; a test, a simulator or your own program can be another.
//!
//! # The contract
//!
//! - **One call in, one ordered list out.** `handle(now, event)` returns the actions that follow, and their order is
//!   their meaning: what a batch persists is durable before the batch's frames leave; an ERROR comes before its close.
//! - **`handle` cannot fail.** A bad peer is normal and yields an ERROR, a close, a report. A panic is a bug of ours.
//! - **Checks are named here and run elsewhere.** `admit` says which signatures a frame needs; the driver runs
//!   [`crypto::Unverified::verify`] on any thread and hands the [`crypto::Verified`] back. There is no other way to
//!   make one.
//! - **Signing is the driver's.** A frame of ours leaves the machine as [`crypto::Unsigned`], which has no text. Its
//!   payload is signed once, however many envelopes and links carry it.
//! - **Time and chance are inputs.** [`Now`] comes with every event, a seed with the configuration. Same seed, same
//!   events, same actions. [`Now::instant`] must not run backwards (if it does, time stands still until it has caught
//!   up); [`Now::unix_ms`] may jump.
//! - **Deadlines.** Call `handle` with a wake-up no later than `poll_timeout` says. Late is safe: whatever is due fires
//!   at the start of every `handle`. After a wake-up the next deadline lies strictly ahead.
//! - **Everything is bounded**, in `Limits` structs whose fields say where the numbers come from.
//!
//! # A frame's way
//!
//! ```
//! use socp_core::crypto::{Admission, SaltLength, Verifier};
//! use socp_core::server::{Config, Event, LinkId, LinkOrigin, Server, Snapshot};
//! use socp_core::wire::{Frame, Id, PublicKey};
//! use socp_core::Now;
//!
//! /// A provider; `socp_core::crypto::aws_lc` and `::rsa` are two, behind features.
//! struct Nobody;
//! impl Verifier for Nobody {
//!     fn verify(&self, _: &PublicKey, _: &[u8], _: &[u8], _: SaltLength) -> bool {
//!         false
//!     }
//! }
//!
//! # let field = include_str!("../tests/fixtures/server-a.pub.b64u").trim();
//! let key = PublicKey::from_field(field)?;
//! let config = Config::new(Id::derived_from(&key).into(), key, None, [7; 32]);
//! let mut server = Server::new(config, Snapshot::default(), Now::default());
//!
//! let link = LinkId(1);
//! server.handle(Now::default(), Event::LinkOpened { link, origin: LinkOrigin::Accepted });
//!
//! let frame = Frame::parse(r#"{"type":"HEARTBEAT","from":"srv-b","payload":{}}"#, 1 << 20)?;
//! let event = match server.admit(link, frame) {
//!     Admission::Accept(frame) => Event::Frame { link, frame },
//!     Admission::Verify(frame) => match frame.verify(&Nobody) {
//!         Ok(frame) => Event::Frame { link, frame },
//!         Err(refusal) => Event::Refused { link, refusal },
//!     },
//!     Admission::Refuse(refusal) => Event::Refused { link, refusal },
//! };
//! let actions = server.handle(Now::default(), event);
//! // A report for the operator, and an ERROR for the stranger whose first frame is no hello.
//! assert_eq!(actions.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None by default. `aws-lc`: the fast provider, needs a C compiler. `rsa`: the portable provider, pure Rust, also for
//! wasm. The machines use neither. `sim`: a deterministic world of servers, clients and liars, for tests.

pub mod client;
pub mod crypto;
pub mod dialect;
pub mod inspect;
mod repeats;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
pub mod wire;

pub use time::{Deadline, Now};

/// WebSocket close codes that we use (RFC 6455 §7.4).
pub mod close_code {
    /// A normal end.
    pub const NORMAL: u16 = 1000;
    /// Malformed WebSocket traffic.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A text that is not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// The peer broke a rule of ours: refused hello, too many bad frames, too slow.
    pub const POLICY: u16 = 1008;
    /// A frame over the limit.
    pub const TOO_BIG: u16 = 1009;
}
