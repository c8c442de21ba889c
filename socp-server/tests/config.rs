//! `socp-server config` and `run --config`, with the real binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Instant;

use support::authority::Authority;
use support::{PATIENCE, Process, ServerProcess, import, run, server_command};
use tempfile::TempDir;

/// A folder, with a file for the configuration.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Checks `server.toml`: status, stdout, stderr, without the folder's name.
    fn check(&self, text: &str) -> (Option<i32>, String, String) {
        let file = self.write("server.toml", text);
        let (status, out, log) = run(&["config", "check", &file]);
        let short = |text: String| text.replace(&format!("{}/", self.0.path().display()), "");
        (status, short(out), short(log))
    }
}

#[test]
fn the_default_file_is_fine_and_a_server_runs_with_it() {
    let folder = Folder::new();
    let (status, file, log) = run(&["config", "default"]);
    assert_eq!((status, log.as_str()), (Some(0), ""));
    let key_of = |line: &str| line.split(" = ").next().map(str::to_owned);
    let keys: Vec<_> = file.lines().filter_map(key_of).collect();
    for key in
        ["listen", "#data_dir", "allow_plain", "#certificate", "heartbeat", "seen_entries", "max_links"]
    {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    let fine = "server.toml: fine (0 trusted introducers, 0 warnings)";
    assert_eq!(folder.check(&file), (Some(0), fine.into(), String::new()));

    let path = folder.write("server.toml", &file);
    let data = folder.0.path().join("data");
    import(&data, "server-a");
    let arguments =
        ["run", "--config", &path, "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let server = ServerProcess::start(&arguments);
    // The command line beat the file.
    assert_ne!(server.address.port(), 8765);
    server.stop();
}

#[test]
fn what_is_wrong_is_shown_with_its_line_and_what_to_do() {
    let folder = Folder::new();
    let (status, out, log) = folder.check(
        "listen = '127.0.0.1:0'\nalow_plain = true # wörter\nheartbeat = '15s'\n\n[timing]\nsilence = 45\n",
    );
    assert_eq!((status, out.as_str()), (Some(1), ""));
    let expected = r#"error: unknown key "alow_plain"
 --> server.toml:2:1
  |
2 | alow_plain = true # wörter
  | ^^^^^^^^^^
  |
  = help: did you mean "allow_plain"?

error: unknown key "heartbeat"
 --> server.toml:3:1
  |
3 | heartbeat = '15s'
  | ^^^^^^^^^
  |
  = help: its place is in [timing]

error: expected a duration such as "500ms", "15s", "2min" or "12h", found 45
 --> server.toml:6:11
  |
6 | silence = 45
  |           ^^
  |
  = help: for seconds write "45s"

socp-server: server.toml: 3 errors, 0 warnings: a server would not start with it
"#;
    assert_eq!(log, expected);

    let (status, _, log) = folder.check("listen = \n");
    assert_eq!(status, Some(1));
    assert!(
        log.contains(" --> server.toml:1:") && log.contains("1 | listen = \n") && log.contains('^'),
        "{log}"
    );
}

#[test]
fn the_files_that_it_names_are_checked_too() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write("mesh.yaml", "bootstrap_servers:\n  - host: 127.0.0.1\n    port: none\n    pubkey: AAAA\n");
    let (one, two) = (authority.issue("one", &["localhost"]), authority.issue("two", &["localhost"]));
    for (file, name) in [(&one.chain, "chain.pem"), (&two.key, "key.pem")] {
        fs::copy(file, folder.0.path().join(name)).unwrap();
    }
    let tls = "[tls]\ncertificate = 'chain.pem'\nkey = 'key.pem'\n";
    let (status, _, log) = folder.check(&format!("bootstrap = 'mesh.yaml'\n{tls}"));
    assert_eq!(status, Some(1));
    let expected = r#"error: expected a port from 1 to 65535
 --> mesh.yaml:3:11
  |
3 |     port: none
  |           ^^^^
  |
  = help: an entry of `bootstrap_servers` has a host, a port, a pubkey (`socp-server identity` prints a server's) and, if it is dialled over TLS, `tls: true`, and, if it speaks a dialect that it does not show, `dialect`

error: key.pem: not the key of the first certificate in chain.pem
 --> server.toml:4:7
  |
4 | key = 'key.pem'
  |       ^^^^^^^^^

socp-server: server.toml: 2 errors, 0 warnings: a server would not start with it
"#;
    assert_eq!(log, expected);

    // What is only doubtful does not keep a server from starting.
    let expired = authority.issue_expired("old", &["localhost"]);
    for (file, name) in [(&expired.chain, "chain.pem"), (&expired.key, "key.pem")] {
        fs::copy(file, folder.0.path().join(name)).unwrap();
    }
    import(&folder.0.path().join("data"), "server-a");
    let (status, out, log) = folder.check(&format!("data_dir = 'data'\nallow_plain = true\n{tls}"));
    assert_eq!((status, &*out), (Some(0), "server.toml: fine (0 trusted introducers, 3 warnings)"), "{log}");
    for words in
        ["plain links may leave", "expired on 2002-02-03", "does not name 127.0.0.1", "2 | allow_plain"]
    {
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn fewer_introducers_than_the_standard_asks_for_are_a_warning() {
    let folder = Folder::new();
    let keys = ["server-a", "server-b", "server-c"].map(|name| import(&folder.0.path().join(name), name));
    let entry = |port: usize, key: &str| format!("\n  - {{host: 127.0.0.1, port: {port}, pubkey: {key}}}");
    let distinct = |count: usize| -> String { (0..count).map(|at| entry(9001 + at, &keys[at])).collect() };
    let list = |entries: &str| folder.write("mesh.yaml", &format!("bootstrap_servers:{entries}\n"));
    // A server that has never run and one that has are judged alike.
    for data in ["data", "server-b"] {
        let check = || {
            folder
                .check(&format!("bootstrap = 'mesh.yaml'\ndata_dir = '{data}'\nlisten = '127.0.0.1:9002'\n"))
        };
        for (count, warned) in [(0, true), (2, true), (3, false)] {
            list(if count == 0 { " []".to_owned() } else { distinct(count) }.as_str());
            let (status, _, log) = check();
            assert_eq!(status, Some(0), "{log}");
            let few = format!("fewer trusted introducers than the 3 that the standard asks for: {count}");
            assert_eq!(log.contains(&few), warned, "{log}");
        }
        list(&entry(9001, &keys[0]).repeat(3));
        let (status, out, log) = check();
        assert_eq!((status, out.as_str()), (Some(0), "server.toml: fine (1 trusted introducer, 3 warnings)"));
        assert!(
            log.contains("127.0.0.1:9001 is named a second time, first in line 2: it counts once"),
            "{log}"
        );
        assert!(log.contains("mesh.yaml:3:12") && log.contains("mesh.yaml:4:12"), "{log}");
        assert!(log.contains("the standard asks for: 1"), "{log}");
    }
}

#[test]
fn what_a_first_start_would_refuse_or_warn_of_is_said_without_a_key() {
    let folder = Folder::new();
    let key = import(&folder.0.path().join("other"), "server-a");
    let settings = format!(
        "listen = '0.0.0.0:0'\nallow_plain = true\ndata_dir = 'data'\nintroducers = ['127.0.0.1:9#{key}']\n"
    );
    let (status, _, log) = folder.check(&settings);
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("it cannot join other servers") && log.contains("--> server.toml:1:10"), "{log}");
    let path = folder.0.path().join("server.toml");
    let (status, _, log) = run(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("it cannot join other servers"), "{log}");

    let (status, _, log) = folder.check("bootstrap = 'no.yaml'\n");
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("no.yaml: cannot be read") && log.contains("--> server.toml:1:13"), "{log}");
    let (status, _, log) = folder.check("data_dir = 'data'\n[limits]\nframe_out_bytes = '4 MiB'\n");
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("4194304 bytes") && log.contains("--> server.toml:3:19"), "{log}");
}

/// The id of a first start is a server's for good.
#[test]
fn an_id_that_the_data_directory_does_not_have_is_refused_by_the_check_as_by_a_start() {
    let folder = Folder::new();
    let data = folder.0.path().join("data");
    import(&data, "server-a");
    let server = ServerProcess::start(&[
        "run",
        "--listen",
        "127.0.0.1:0",
        "--server-id",
        "srv-a",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    server.stop();
    let (status, _, log) = folder.check("data_dir = 'data'\nserver_id = 'srv-a'\n");
    assert_eq!(status, Some(0), "{log}");
    let (status, _, log) = folder.check("data_dir = 'data'\nserver_id = 'srv-b'\n");
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("--> server.toml:2:13") && log.contains("\"srv-a\" since its first start"), "{log}");
    let path = folder.0.path().join("server.toml");
    let (status, _, log) = run(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("\"srv-a\" since its first start"), "{log}");
    // Nor is an id of one's own that one's own setting refuses in others.
    let (status, _, log) = folder.check("data_dir = 'data'\nserver_id = 'srv-a'\nstrict_ids = true\n");
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("is no UUID v4"), "{log}");
}

#[test]
fn plain_links_beyond_this_machine_are_refused_with_the_way_out() {
    let folder = Folder::new();
    let key = import(&folder.0.path().join("data"), "server-a");
    let list = |tls: &str| {
        let text =
            format!("bootstrap_servers:\n  - host: 192.0.2.10\n    port: 8765\n    pubkey: {key}\n{tls}");
        folder.write("mesh.yaml", &text);
    };
    list("");
    let (status, _, log) = folder.check("bootstrap = 'mesh.yaml'\n");
    assert_eq!(status, Some(1));
    let expected = "error: 192.0.2.10:8765 is beyond this machine, and plain ws:// would show everybody on the way \
                    who writes to whom
 --> mesh.yaml:2:11
  |
2 |   - host: 192.0.2.10
  |           ^^^^^^^^^^
  |
  = help: if it speaks TLS, say `tls: true` in its entry; else allow plain links with --allow-plain (in the file: \
                    allow_plain = true)

socp-server: server.toml: 1 error, 0 warnings: a server would not start with it
";
    assert_eq!(log, expected);
    let (status, _, log) = folder.check("bootstrap = 'mesh.yaml'\nallow_plain = true\n");
    assert_eq!(status, Some(0), "{log}");
    list("    tls: true\n");
    let (status, _, log) = folder.check("bootstrap = 'mesh.yaml'\n");
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("beyond this machine"), "{log}");
}

/// Runs with a folder in which configuration files are looked for.
fn process_at(config_home: &Path, arguments: &[&str]) -> Process {
    let mut command = server_command(arguments);
    command.env("XDG_CONFIG_HOME", config_home);
    Process::start(command)
}

#[test]
fn without_a_name_the_file_is_looked_for_where_files_of_its_kind_are() {
    let folder = Folder::new();
    let mut absent = process_at(folder.0.path(), &["config", "check"]);
    assert_eq!(absent.exit().code(), Some(1));
    let log = absent.log_at_end();
    assert!(
        log.contains("socp/server.toml: there is no such file") && log.contains("config default"),
        "{log}"
    );

    fs::create_dir(folder.0.path().join("socp")).unwrap();
    import(&folder.0.path().join("socp/data"), "server-a");
    folder.write("socp/server.toml", "listen = '127.0.0.1:0'\ndata_dir = 'data'\nserver_id = 'by-file'\n");
    let mut check = process_at(folder.0.path(), &["config", "check"]);
    assert_eq!(check.exit().code(), Some(0), "{}", check.log());
    let server = process_at(folder.0.path(), &[]);
    let line = server.line(Instant::now() + PATIENCE).unwrap();
    assert!(line.ends_with(" server_id=by-file"), "{line}");
}
