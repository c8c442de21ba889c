//! Private keys at rest: a client's under a password, a server's in a file for its owner alone.

mod file;
mod identity;
mod sealed;

pub use file::{MAX_FILE_BYTES, read_private, write_private};
pub use identity::{IdentityError, load_or_create};
pub use sealed::{VaultError, open, seal};
