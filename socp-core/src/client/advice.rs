//! What a server's ERROR means for the person at the keyboard: its words, and what to do.

use crate::wire::{ErrorCode, ErrorReport};

/// The report, its detail followed by what to do about it.
pub(super) fn with_advice(report: &ErrorReport) -> ErrorReport {
    let advice = match report.code {
        ErrorCode::UserNotFound => "see who is online, and write again",
        ErrorCode::Timeout => "try again in a minute",
        ErrorCode::InvalidSig => {
            "the server did not believe a signature: check the clock here, then connect again"
        }
        ErrorCode::BadKey => "the server refuses a key: compare fingerprints with whom it concerns",
        ErrorCode::UnknownType => {
            "the server cannot read this: it may be older than this program, or of another make"
        }
        ErrorCode::NameInUse => "somebody is online under this id: end that session, or take another id",
        ErrorCode::Other(_) => "the standard knows no such code: the server's operator may know more",
    };
    let detail = match report.detail.trim() {
        "" => advice.into(),
        // It knows better when.
        said if said.contains("try again") => said.into(),
        said => format!("{said} ({advice})").into(),
    };
    ErrorReport { detail, ..report.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_standard_says_what_to_do() {
        let codes =
            ["USER_NOT_FOUND", "INVALID_SIG", "BAD_KEY", "TIMEOUT", "UNKNOWN_TYPE", "NAME_IN_USE", "MADE_UP"];
        let mut told = std::collections::BTreeSet::new();
        for code in codes {
            let payload = format!(r#"{{"code":"{code}","detail":"no"}}"#);
            let report: ErrorReport = serde_json::from_str(&payload).expect("an ERROR");
            let detail = with_advice(&report).detail;
            assert!(detail.starts_with("no (") && detail.ends_with(')'), "{detail}");
            told.insert(detail);
            let advised = ErrorReport { detail: "busy: try again in a while".into(), ..report.clone() };
            assert_eq!(&*with_advice(&advised).detail, "busy: try again in a while");
            let silent = ErrorReport { detail: " ".into(), ..report };
            assert!(!with_advice(&silent).detail.starts_with(' '), "an advice without its server's words");
        }
        assert_eq!(told.len(), codes.len(), "each its own");
    }
}
