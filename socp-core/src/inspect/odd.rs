//! What can be odd about a frame: one table of id, § and words. Odd is not bad: most of it is read all the same.

/// Something about a frame that the standard has otherwise, or that makes other implementations stumble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
#[expect(missing_docs, reason = "each has its words in the table below")]
pub enum Oddity {
    NotText,
    NotJson,
    DuplicateKey,
    TooDeep,
    TooLong,
    WhiteSpace,
    Envelope,
    FromMissing,
    FromForeign,
    ToMissing,
    ToEmpty,
    ToNotEveryone,
    ToAddress,
    JoinTo,
    TsMissing,
    TsSeconds,
    TsFraction,
    TsText,
    PayloadMissing,
    ExtraField,
    UnknownType,
    AddedType,
    TypeAlias,
    IdNotUuid,
    Misfit,
    FieldMissing,
    ExtraPayloadField,
    Padded,
    StandardAlphabet,
    NotBase64,
    KeyPem,
    KeyPkcs1,
    KeyRefused,
    KeyChanged,
    EncKeyDiffers,
    AdvertWithoutKey,
    KeyInMeta,
    SigMissing,
    SigEmpty,
    SigWrong,
    SigOtherKey,
    FromKeyUnknown,
    CanonicalAscii,
    CanonicalReceived,
    SaltMax,
    ContentSigMissing,
    ContentSigMalformed,
    ContentSigWrong,
    ContentText,
    ContentDigest,
    ContentSeparated,
    ContentUnbound,
    Plaintext,
    CiphertextSize,
    Undecryptable,
    BlockSize,
    WrapSize,
    FileId,
    FileHash,
    FileMode,
    ErrorCode,
    Password,
}

/// A row: the oddity, its name in output for programs, the standard's §, and what it means.
type Row = (Oddity, &'static str, &'static str, &'static str);

const TABLE: [Row; 62] = {
    use Oddity::*;
    [
        (NotText, "not-text", "§1", "not UTF-8"),
        (NotJson, "not-json", "§1", "not one JSON object"),
        (DuplicateKey, "duplicate-key", "§1", "the same key twice: two readers would see two frames"),
        (TooDeep, "too-deep", "§1", "nested too deep to be read"),
        (TooLong, "too-long", "§6", "over 1 MiB: servers close the link (1009)"),
        (WhiteSpace, "white-space", "§6", "white space around the object: there is no framing by newlines"),
        (Envelope, "envelope", "§7", "the envelope cannot be read"),
        (FromMissing, "from-missing", "§7", "no from"),
        (FromForeign, "from-foreign", "§7", "from is not who sent the frame"),
        (ToMissing, "to-missing", "§7", "no to"),
        (ToEmpty, "to-empty", "§7", "to is empty"),
        (ToNotEveryone, "to-not-everyone", "§8", "to is not *, as gossip has it"),
        (ToAddress, "to-address", "§7", "to is an address, not an id"),
        (JoinTo, "join-to", "§8", "to is not the host:port that was dialled"),
        (TsMissing, "ts-missing", "§7", "no ts"),
        (TsSeconds, "ts-seconds", "§7", "ts is in seconds, not milliseconds"),
        (TsFraction, "ts-fraction", "§7", "ts is not an integer"),
        (TsText, "ts-text", "§7", "ts is text, not a number"),
        (PayloadMissing, "payload-missing", "§7", "no payload"),
        (ExtraField, "extra-field", "§7", "fields that the envelope does not have"),
        (UnknownType, "unknown-type", "§8, §9", "a type that nobody here knows"),
        (AddedType, "added-type", "§8, §9", "a type that the standard does not have"),
        (TypeAlias, "type-alias", "§9", "another name of MSG_DIRECT"),
        (IdNotUuid, "id-not-uuid", "§5", "an id that is not a UUID v4"),
        (Misfit, "misfit", "§8, §9", "the payload is not one of this type"),
        (FieldMissing, "field-missing", "§8, §9", "fields of this payload are missing"),
        (ExtraPayloadField, "extra-payload-field", "§8, §9", "fields that this payload does not have"),
        (Padded, "padded", "§2", "base64 with padding"),
        (StandardAlphabet, "standard-alphabet", "§2", "base64 of the standard alphabet (+ and /)"),
        (NotBase64, "not-base64", "§2", "not base64 in any form"),
        (KeyPem, "key-pem", "§2", "the key is PEM text, not DER"),
        (KeyPkcs1, "key-pkcs1", "§2", "the key is PKCS#1, not SubjectPublicKeyInfo"),
        (KeyRefused, "key-refused", "§4, §16", "a key that no server of ours takes"),
        (KeyChanged, "key-changed", "§8.1, §12", "another key than the one known for this id"),
        (EncKeyDiffers, "enc-key-differs", "§9", "enc_pubkey is not a copy of pubkey"),
        (AdvertWithoutKey, "advert-without-key", "§8.2, §13", "no key in the advert: it has to be asked for"),
        (KeyInMeta, "key-in-meta", "§15.1", "the key is in meta, on which nothing should depend"),
        (SigMissing, "sig-missing", "§7, §12", "no sig, and this type needs one"),
        (SigEmpty, "sig-empty", "§7, §12", "sig is empty: it reads as none"),
        (SigWrong, "sig-wrong", "§12", "sig holds under no known key, in no form and with no salt (32, 478)"),
        (SigOtherKey, "sig-other-key", "§12", "signed with another key than from's"),
        (FromKeyUnknown, "from-key-unknown", "§8.1, §12", "nobody said before which key from has"),
        (CanonicalAscii, "canonical-ascii", "§12", "signed with everything beyond ASCII escaped"),
        (CanonicalReceived, "canonical-received", "§12", "signed as it was written, keys not sorted"),
        (
            SaltMax,
            "salt-max",
            "§4",
            "PSS salt of 478 bytes, not the digest's 32: some peers take only one of them",
        ),
        (ContentSigMissing, "content-sig-missing", "§1, §9", "no content_sig: nobody can tell who wrote it"),
        (
            ContentSigMalformed,
            "content-sig-malformed",
            "§12",
            "content_sig is no signature: it counts as none",
        ),
        (ContentSigWrong, "content-sig-wrong", "§12", "content_sig holds in no form"),
        (ContentText, "content-text", "§12", "content_sig is over the base64 text, not over the bytes"),
        (
            ContentDigest,
            "content-digest",
            "§12",
            "content_sig is over the SHA-256 of its input, hashed twice",
        ),
        (
            ContentSeparated,
            "content-separated",
            "§12",
            "content_sig is over its input joined by |: not read here",
        ),
        (ContentUnbound, "content-unbound", "§12", "content_sig binds neither sender, recipient nor time"),
        (Plaintext, "plaintext", "§1", "the content is not encrypted"),
        (CiphertextSize, "ciphertext-size", "§4", "the ciphertext is not one RSA-OAEP block of 512 bytes"),
        (Undecryptable, "undecryptable", "§4", "the recipient's key does not decrypt it"),
        (BlockSize, "block-size", "§9.4", "a block of a file that is not 446 bytes long"),
        (WrapSize, "wrap-size", "§15", "a wrapped key that is not one RSA-OAEP block"),
        (FileId, "file-id", "§9.4", "file_id is not a UUID"),
        (FileHash, "file-hash", "§9.4", "sha256 is not 64 hex digits"),
        (FileMode, "file-mode", "§9.4", "mode is neither dm nor public"),
        (ErrorCode, "error-code", "§9.5", "a code that the standard does not have"),
        (Password, "password", "§13", "a password in clear: anybody on the way can read it"),
    ]
};

impl Oddity {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name, for programs.
    pub fn id(self) -> &'static str {
        self.row().1
    }

    /// The standard's section.
    pub fn section(self) -> &'static str {
        self.row().2
    }

    /// What it means.
    pub fn words(self) -> &'static str {
        self.row().3
    }
}

/// An oddity of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// What it is.
    pub oddity: Oddity,
    /// Where, or what it was; text of peers: escape it before showing. Empty if there is no more to say.
    pub detail: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oddity_has_its_own_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{}", row.1);
            assert!(row.2.starts_with('§') && !row.3.is_empty(), "{}", row.1);
        }
        let ids: std::collections::BTreeSet<_> = Oddity::all().map(Oddity::id).collect();
        assert_eq!(ids.len(), TABLE.len());
    }
}
