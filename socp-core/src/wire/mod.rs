//! The wire format: envelope, typed payloads, canonical JSON, ids and keys (§2–§9).

mod base64;
mod canonical;
mod frame;
mod ids;
mod keys;
mod payload;
mod value;

pub use self::base64::{Base64Error, Base64Form, Binary, decode as decode_base64, encode as encode_base64};
#[cfg(any(feature = "aws-lc", feature = "rsa"))]
pub(crate) use self::base64::{PEM_LINE_BYTES, push_pem_lines};
pub use canonical::{CanonicalError, ascii_form, canonicalise};
pub(crate) use canonical::{members, object, string_literal, without_member};
pub use frame::{Frame, FrameError, MAX_JSON_DEPTH, WireText};
pub use ids::{HostPort, HostPortError, Id, IdError, MAX_ID_BYTES, Recipient, ServerId, UserId};
pub use keys::{KeyError, KeyField, KeyForm, KeyId, PublicKey, SPKI_BYTES};
pub(crate) use keys::{SPKI_PREFIX, SPKI_SUFFIX};
pub use payload::*;
pub use value::{AckStatus, ErrorCode, Meta, MetaField, Nonce, Timestamp};
