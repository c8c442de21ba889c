//! The tokio shell around the machines of `socp-core`.

pub mod client;
pub mod data_dir;
mod driver;
mod password;
pub mod pool;
pub mod raw;
mod scheme;
pub mod server;
pub mod store;
pub mod tls;
pub mod vault;
mod ws;

pub use driver::Failure;
pub use scheme::{PlainRefused, Scheme, ServerUrl, ServerUrlError, is_loopback};
pub use ws::LinkLimits;
