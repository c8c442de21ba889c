//! SOCP v1.3 (Secure Overlay Chat Protocol) as a sans-IO library.
pub mod client;
pub mod crypto;
pub mod server;
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
