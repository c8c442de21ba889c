//! What the client does, told as the protocol tells it: given this, when that arrives, then exactly these
//! actions.

mod any;
mod directory;
mod files;
mod inbox;
mod outbox;
mod parts;
mod profile;
mod rotation;
mod seed;
mod session;

use std::time::Duration;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::close_code;
use crate::crypto::{CryptoError, SaltLength};
use crate::dialect::Dialect;
use crate::wire::{
    Directory, FrameRef, FrameType, LoginChallenge, Message, Meta, MetaField, Nonce, UserKeyConflict,
};
