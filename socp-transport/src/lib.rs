//! The tokio shell around the machines of `socp-core`.

pub mod client;
pub mod data_dir;
mod driver;
pub mod pool;
pub mod server;
pub mod store;
pub mod vault;
mod ws;

pub use driver::Failure;
pub use ws::LinkLimits;
