//! The verifiers of seed logins (decisions §4), and where a link comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socp_core::server::{Caller, PasswordCheck};
use zeroize::Zeroize;

use crate::password::derive;

/// The bits of an IPv6 address that name a network: whoever has one has all addresses in it.
const NETWORK_BITS: u32 = 64;

/// Whether the password is the one that the hash was made of. Takes 50 ms and 16 MiB.
pub(super) fn is_right(check: PasswordCheck) -> bool {
    let PasswordCheck { link: _, salt, hash, password } = check;
    let mut password = password.into_string();
    let derived = derive(&password, &salt);
    password.zeroize();
    let Ok(derived) = derived else { return false };
    // Every byte is looked at, wherever the first difference is.
    let difference = derived.iter().zip(hash).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
    std::hint::black_box(difference) == 0
}

/// Where a link comes from, and whether it is TLS.
pub(super) fn caller(peer: SocketAddr, tls: bool) -> Caller {
    let address = peer.ip().to_canonical();
    let private = tls || address.is_loopback();
    let address = match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - NETWORK_BITS))).into()
        }
    };
    Caller { address, private }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socp_core::server::LinkId;

    #[test]
    fn the_seeds_verifier_opens_for_its_password_alone() {
        // Python: hashlib.scrypt(b"correct horse", salt=b"0123456789abcdef", n=16384, r=8, p=1, dklen=32)
        let hash = [
            0xd0, 0xbb, 0xa9, 0xc8, 0x79, 0x33, 0x00, 0x88, 0x03, 0xaf, 0xd5, 0x03, 0xb2, 0xb8, 0x80, 0x01,
            0xff, 0x3b, 0xbc, 0xc6, 0xc2, 0x6d, 0xc6, 0x94, 0x7c, 0x3b, 0xc5, 0x38, 0x01, 0xe4, 0xd0, 0x3d,
        ];
        for (password, right) in [("correct horse", true), ("correct horsf", false), ("", false)] {
            let salt = b"0123456789abcdef".as_slice().into();
            let check = PasswordCheck { link: LinkId(1), salt, hash, password: password.into() };
            assert_eq!(is_right(check), right, "{password}");
        }
    }

    #[test]
    fn who_calls_from_one_network_is_one_caller() {
        let from = |text: &str, tls| caller(text.parse().unwrap(), tls);
        assert!(from("127.0.0.1:1", false).private && from("[::1]:1", false).private);
        assert!(!from("192.0.2.1:1", false).private && from("192.0.2.1:1", true).private);
        assert!(from("[::ffff:127.0.0.1]:1", false).private);
        assert_eq!(from("[2001:db8::1]:1", false), from("[2001:db8::ffff:2]:9", false));
        assert_ne!(from("[2001:db8::1]:1", false), from("[2001:db8:0:1::1]:1", false));
    }
}
