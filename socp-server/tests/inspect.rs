//! `socp-server inspect` with the real binary, on the recorded sessions and on what people feed it by mistake.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{refused, run, server_command};

fn transcript(name: &str, file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../socp-core/tests/fixtures/transcripts");
    folder.join(name).join(file).to_str().unwrap().to_owned()
}

fn temporary(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Runs it with something on stdin.
fn piped(arguments: &[&str], input: &[u8]) -> Output {
    let mut command: Command = server_command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || {
        // It may stop reading.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

fn objects(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_recorded_sessions_give_the_numbers_of_the_table_of_dialects() {
    let table = [
        ("seed", 167, 139, 139, "sorted", 478),
        ("peer-r", 170, 162, 162, "sorted", 478),
        ("peer-m", 163, 121, 89, "sorted", 478),
        ("peer-f", 213, 197, 130, "sorted", 478),
        ("peer-g", 95, 41, 40, "received", 32),
    ];
    for (name, frames, signed, under_from, canonical, salt) in table {
        let (keys, record) = (transcript(name, "keys.json"), transcript(name, "frames.jsonl"));
        let (status, out, log) = run(&["inspect", "--keys", &keys, "--json", &record]);
        assert_eq!((status, log.as_str()), (Some(0), ""), "{name}");
        let mut objects = objects(&out);
        let summary = objects.pop().unwrap()["summary"].clone();
        assert_eq!(objects.len(), frames, "{name}");
        assert_eq!((&summary["frames"], &summary["unreadable"]), (&json!(frames), &json!(0)), "{name}");
        let signatures: Vec<_> =
            objects.iter().map(|object| &object["signature"]).filter(|sig| !sig.is_null()).collect();
        let count = |field: &str| signatures.iter().filter(|sig| sig[field] == json!(true)).count();
        assert_eq!(
            (signatures.len(), count("holds"), count("under_from")),
            (signed, signed, under_from),
            "{name}"
        );
        assert_eq!(summary["under_from"], json!(under_from), "{name}");
        assert_eq!(summary["under_other"], json!(signed - under_from), "{name}");
        assert!(signatures.iter().all(|sig| sig["salt"] == json!(salt)), "{name}");
        assert!(signatures.iter().any(|sig| sig["canonical"] == json!(canonical)), "{name}");
        for (index, object) in objects.iter().enumerate() {
            assert_eq!(object["line"], json!(index + 1), "{name}");
            assert!(
                object["type"].is_string() && object["verdict"].is_string() && object["odd"].is_array(),
                "{object}"
            );
        }
    }
}

/// A frame that is fine, one that speaks in seconds, rubbish, and the beginning of a frame.
const MIX: &str = concat!(
    r#"{"from":"A","to":"B","text":"{\"type\":\"CTRL_CLOSE\",\"from\":\"0f0e0d0c-0b0a-4908-8706-050403020100\"}"}"#,
    "\n\n",
    r#"{"type":"USER_ADVERTISE","from":"srv-b","to":"*","ts":1795343336,"payload":{"user_id":"\u001b[31mbob","server_id":"srv-b","meta":{}}}"#,
    "\nrubbish\n",
    r#"{"type":"HEARTBEAT","from":"srv"#,
);

#[test]
fn people_get_columns_words_once_and_a_summary() {
    let output = piped(&["inspect"], MIX.as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe, and none of a peer's: {text}");
    for line in [
        "     1               A → B               CTRL_CLOSE             unsigned                             accepted",
        "     3  10:28:56.000 srv-b → *           USER_ADVERTISE         unsigned                             refused",
        "                     server  UNKNOWN_TYPE: not JSON: unterminated string at byte 31",
        "Summary",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n---\n{text}");
    }
    // Long lines are wrapped.
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "server UNKNOWN_TYPE: USER_ADVERTISE payload: an id has no control characters",
        "ts-seconds (ts is in seconds, not milliseconds, §7); id-not-uuid",
        r"srv-b, \u{1b}[31mbob; misfit",
        "sig-missing (no sig, and this type needs one, §7, §12)",
        "4 not a frame (7 bytes) refused",
        "a frame is one JSON object at byte 0 odd not-json (not one JSON object, §1)",
        "5 not a frame (31 bytes) refused",
        "frames 2, and 2 lines that are none",
        "server 1 accepted, 3 refused",
    ] {
        assert!(unwrapped.contains(words), "{words}\n---\n{text}");
    }
    // What an oddity means is said once, and in the summary.
    assert_eq!(unwrapped.matches("not one JSON object, §1").count(), 2, "{text}");
}

#[test]
fn without_keys_it_says_what_the_frames_themselves_tell() {
    let (status, out, _) = run(&["inspect", "--json", &transcript("peer-g", "frames.jsonl")]);
    assert_eq!(status, Some(0));
    let mut objects = objects(&out);
    let summary = objects.pop().unwrap()["summary"].clone();
    // The hellos bring the keys; only that of key1, before its first JOIN, and of A for the WELCOME are not known yet.
    assert!(summary["under_from"].as_u64().unwrap() >= 30, "{summary}");
    assert_eq!(summary["keys_in_file"], json!(0));
    assert!(summary["keys_brought"].as_u64().unwrap() >= 5, "{summary}");
    assert!(summary["decrypted"] == json!(0));
}

#[test]
fn plaintext_is_shown_only_when_asked_for() {
    let (keys, record) = (transcript("seed", "keys.json"), transcript("seed", "frames.jsonl"));
    let (_, hidden, _) = run(&["inspect", "--keys", &keys, &record]);
    let (_, shown, _) = run(&["inspect", "--keys", &keys, "--show-text", &record]);
    assert!(hidden.contains("bob decrypts it") && !hidden.contains('“'));
    assert!(shown.contains('“'));
    for output in [hidden, shown] {
        assert!(!output.contains("passw0rd"), "passwords are never shown");
    }
}

#[test]
fn what_cannot_be_looked_at_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| temporary(&folder, name, bytes).to_str().unwrap().to_owned();
    let record = transcript("seed", "frames.jsonl");
    refused(&["inspect", "/nowhere/frames.jsonl"], &["/nowhere/frames.jsonl", "No such file"]);
    refused(&["inspect", &path("empty", b"\n\n")], &["empty", "there is nothing in it"]);
    refused(&["inspect", folder.path().to_str().unwrap()], &["directory"]);
    refused(&["inspect", "--keys", "/nowhere/keys.json", &record], &["/nowhere/keys.json", "No such file"]);
    refused(&["inspect", "--keys", &path("a.json", b"{}"), &record], &["a.json", "missing field `parties`"]);
    refused(&["inspect", "--keys", &path("b.json", b"\xff"), &record], &["b.json", "UTF-8"]);
    let party = br#"{"parties":[{"label":"bob","public_key":"AAAA"}]}"#;
    refused(&["inspect", "--keys", &path("c.json", party), &record], &["c.json", "\"bob\"", "RSA-4096"]);
    let output = piped(&["inspect", "-"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stdin: there is nothing in it"));
    assert_eq!(piped(&["inspect", "--jsn"], b"").status.code(), Some(2));
}

#[test]
fn rubbish_and_huge_lines_are_findings_and_it_goes_on() {
    let frame = br#"{"type":"CTRL_CLOSE"}"#;
    let input = [&[0, 159, 146, 150, b'\n'][..], &vec![b'x'; 9 << 20], b"\n", frame, b"\n"].concat();
    let output = piped(&["inspect", "--json", "-"], &input);
    let objects = objects(&String::from_utf8(output.stdout).unwrap());
    let of =
        |index: usize| (&objects[index]["type"], &objects[index]["odd"][0]["id"], &objects[index]["bytes"]);
    assert_eq!(of(0), (&Value::Null, &json!("not-text"), &json!(4)));
    assert_eq!(of(1), (&Value::Null, &json!("too-long"), &json!(9 << 20)));
    assert_eq!(of(2).0, &json!("CTRL_CLOSE"));
    assert_eq!(objects[3]["summary"]["unreadable"], json!(2));
}
