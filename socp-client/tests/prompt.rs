//! The prompt, on a terminal that is none.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use support::{PATIENCE, World};

/// The program on a terminal; killed when dropped.
struct Seat {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    /// Without it the terminal is gone.
    _master: Box<dyn MasterPty + Send>,
}

impl Seat {
    fn take(command: &std::process::Command) -> Self {
        let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env("TERM", "xterm");
        builder.env_remove("RUST_LOG");
        let child = pair.slave.spawn_command(builder).unwrap();
        drop(pair.slave);
        let keyboard = pair.master.take_writer().unwrap();
        let mut output = pair.master.try_clone_reader().unwrap();
        let (rows, columns) = (NonZero::new(30).unwrap(), NonZero::new(100).unwrap());
        let screen = Arc::new((Mutex::new(vt100::Parser::new(rows, columns, 0)), Condvar::new()));
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.0.lock().unwrap().process(&bytes[..count]);
                shown.1.notify_all();
            }
        });
        Self { child, keyboard, screen, _master: pair.master }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&[&str]) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.screen.0.lock().unwrap();
        loop {
            let text = parser.screen().contents();
            let lines: Vec<_> = text.lines().map(str::trim_end).collect();
            if wanted(&lines) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not on\n{text}");
            parser = self.screen.1.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Waits until the last line is this.
    fn until_at_prompt(&self, prompt: &str) {
        self.until(prompt, |lines| lines.last() == Some(&prompt));
    }

    fn until_shown(&self, line: &str) {
        self.until(line, |lines| lines.contains(&line));
    }

    fn end(mut self) -> u32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_sits_at_the_prompt() {
    let world = World::new();
    let mut alice = Seat::take(&world.command("alice"));
    alice.until_at_prompt("alice>");
    let mut bob = world.json("bob");
    bob.event_of("ready");
    alice.until_shown("[user added] bob is now available for messaging");

    // What arrives goes above the line that is being typed.
    alice.press("/tell b");
    alice.until_at_prompt("alice> /tell b");
    bob.say("/tell alice knock knock");
    alice.until_shown("[dm] bob: knock knock");
    alice.until_at_prompt("alice> /tell b");
    // The name is completed.
    alice.press("\twho is there?\r");
    assert_eq!(bob.event_of("dm")["text"], "who is there?");
    alice.until_shown("[sent] to bob");
    // Ctrl-C empties the line, the arrow brings the last one back.
    alice.press("/nonsense");
    alice.until_at_prompt("alice> /nonsense");
    // What is typed in the same moment as Ctrl-C goes with it.
    alice.press("\x03");
    alice.until_at_prompt("alice>");
    alice.press("\x1b[A");
    alice.until_at_prompt("alice> /tell bob who is there?");
    alice.press("\x03");
    alice.until_at_prompt("alice>");
    alice.press("/whoa\t\r");
    alice.until("fingerprint", |lines| lines.iter().any(|line| line.starts_with("[whoami] fingerprint ")));
    alice.press("/me name Alice B.\r");
    alice.until_at_prompt("Alice B.>");
    alice.press("\x04");
    assert_eq!(alice.end(), 0);
    bob.event_of("user_removed");
    let history = world.data("alice").join("history");
    assert_eq!(support::mode(&history), 0o600);

    // The history is still there the next time.
    let mut alice = Seat::take(&world.again("alice"));
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
    alice.press("\x1b[A\x1b[A\x1b[A");
    alice.until_at_prompt("alice> /tell bob who is there?");
    alice.press("\x03");
    alice.until_at_prompt("Alice B.>");
    alice.press("/quit\r");
    assert_eq!(alice.end(), 0);
}

/// A paste, or somebody who types on while a line is being taken: nothing of it may be thrown away with a line's
/// reader.
#[test]
fn lines_that_come_all_at_once_are_all_taken() {
    const LINES: usize = 200;
    let world = World::new();
    let mut bob = world.json("bob");
    bob.event_of("ready");
    let mut alice = Seat::take(&world.command("alice"));
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
    alice.until_at_prompt("alice>");
    let pasted: String = (1..=LINES).map(|number| format!("/tell bob {number}\r")).collect();
    alice.press(&pasted);
    for number in 1..=LINES {
        assert_eq!(bob.event_of("dm")["text"], number.to_string());
    }
}

#[test]
fn passwords_are_asked_for_and_do_not_show() {
    let world = World::new();
    let keyless = world.keyless("alice");
    let mut command = world.keyless("alice");
    command.arg("--import-key").arg(support::fixture("alice"));
    let mut alice = Seat::take(&command);
    alice.until_at_prompt("New password:");
    alice.press("one\r");
    alice.until_at_prompt("Again:");
    alice.press("two\r");
    alice.until_shown("These are two different ones.");
    alice.until_at_prompt("New password:");
    alice.press("one\r");
    alice.until_at_prompt("Again:");
    alice.press("one\r");
    // What arrives while a password is typed stands in its line: the session is there before.
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
    alice.until_at_prompt("alice>");
    alice.press("/password\r");
    alice.until_at_prompt("Old password:");
    alice.press("wrong\r");
    alice.until_at_prompt("New password:");
    alice.press("three\r");
    alice.until_at_prompt("Again:");
    alice.press("three\r");
    alice.until_shown("[error] WRONG_PASSWORD the password stays as it is");
    alice.press("/password\r");
    alice.until_at_prompt("Old password:");
    alice.press("one\r");
    alice.until_at_prompt("New password:");
    alice.press("three\r");
    alice.until_at_prompt("Again:");
    alice.press("three\r");
    alice.until_shown("[password] your key has its new password");
    alice.until("nothing shows", |lines| !lines.iter().any(|line| line.contains("three")));
    alice.press("/quit\r");
    assert_eq!(alice.end(), 0);

    let mut alice = Seat::take(&keyless);
    for tries in 1..=3 {
        let prompts = |lines: &[&str]| lines.iter().filter(|line| **line == "Password of your key:").count();
        alice.until("password", |lines| prompts(lines) == tries);
        alice.press("one\r");
    }
    alice.until("refusal", |lines| lines.iter().any(|line| line.contains("wrong password")));
    assert_eq!(alice.end(), 1);
    let mut alice = Seat::take(&keyless);
    alice.until_at_prompt("Password of your key:");
    alice.press("three\r");
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
}

#[test]
fn a_file_that_moves_has_a_bar_below_the_prompt() {
    let world = World::new();
    let mut bob = support::Running::start(world.command("bob").args(["--json", "--auto-accept"]));
    bob.event_of("ready");
    let mut alice = Seat::take(&world.command("alice"));
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
    let path = world.dir.path().join("cat pictures.zip");
    // More than can arrive before it is stopped, on however fast a machine.
    std::fs::write(&path, vec![7; 48 << 20]).unwrap();
    // The path is completed, spaces and all.
    alice.press(&format!("/file bob {}/cat\t", world.dir.path().display()));
    alice.until("completion", |lines| lines.last().is_some_and(|line| line.ends_with("/cat pictures.zip")));
    alice.press("\r");
    alice.until_shown("[file 1] sending \"cat pictures.zip\" to bob");
    alice.press("/tell bob are you");
    let is_bar = |line: &str| {
        let figures = line.strip_prefix("\"cat pictures.zip\" to bob [");
        figures.is_some_and(|rest| rest.contains('#') && rest.contains(" %") && rest.ends_with(" left"))
    };
    alice.until("a bar", |lines| {
        lines.len() == 30
            && lines.last().is_some_and(|line| is_bar(line))
            && lines.contains(&"alice> /tell bob are you")
    });
    // What arrives and what is typed leave it where it is.
    bob.say("/tell alice I am");
    alice.press(" there?");
    alice.until("both", |lines| {
        let prompt = lines.iter().position(|line| *line == "alice> /tell bob are you there?");
        let above = prompt.and_then(|at| lines.get(at.checked_sub(1)?));
        above == Some(&"[dm] bob: I am") && lines.iter().filter(|line| is_bar(line)).count() == 1
    });
    alice.press("\r");
    assert_eq!(bob.event_of("dm")["text"], "are you there?");
    alice.press("/cancel\r");
    alice.until("the end", |lines| {
        let end = |line: &&&str| **line == "[file 1] stopped \"cat pictures.zip\" to bob";
        let is_over = lines.iter().filter(end).count() == 1 && !lines.iter().any(|line| is_bar(line));
        is_over && lines.last() == Some(&"alice>")
    });
}

/// Under a shell, whose the terminal is in between.
#[test]
fn ctrl_z_gives_the_shell_all_lines_of_the_terminal_and_the_bar_comes_back() {
    const SCRIPT: &str = r#"
        "$0" "$@"
        line=0
        while [ $line -lt 40 ]; do line=$((line + 1)); echo "at the shell $line"; done
        read -r enter
        fg > /dev/null
    "#;
    let world = World::new();
    let mut bob = support::Running::start(world.command("bob").args(["--json", "--auto-accept"]));
    bob.event_of("ready");
    let program = world.command("alice");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-m", "-c", SCRIPT]).arg(program.get_program()).args(program.get_args());
    let mut alice = Seat::take(&shell);
    alice.until("ready", |lines| lines.iter().any(|line| line.starts_with("[ready]")));
    let path = world.dir.path().join("cat.zip");
    std::fs::write(&path, vec![7; 48 << 20]).unwrap();
    alice.press(&format!("/file bob {}\r", path.display()));
    let is_bar = |line: &str| line.starts_with("cat.zip to bob [");
    let has_bar = |lines: &[&str]| {
        let bars = lines.iter().filter(|line| is_bar(line)).count();
        bars == 1 && lines.len() == 30 && is_bar(lines[29]) && lines.contains(&"alice>")
    };
    alice.until("a bar", has_bar);
    alice.press("\x1a");
    // All but the line in which the cursor stands.
    alice.until("the shell", |lines| {
        lines.len() == 29 && lines.iter().all(|line| line.starts_with("at the shell"))
    });
    alice.press("\r");
    alice.until("the bar again", has_bar);
}
