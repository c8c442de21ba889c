//! `socp-server inspect`: recorded frames in, findings out. What is found is `socp_core::inspect`'s business; here are
//! files and screens.

mod json;
mod lines;
mod screen;

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, IsTerminal, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socp_core::crypto::Opener;
use socp_core::crypto::aws_lc::{PrivateKey, Provider};
use socp_core::inspect::{Finding, Inspector, Keyring, Summary};

use crate::args::InspectArgs;
use crate::error::{Result, note};
use json::Json;
use lines::{Line, Lines};
use screen::Screen;

/// Longest keys file that is read; the parties of a big test have some hundred kilobytes.
const MAX_KEYS_BYTES: u64 = 64 * 1024 * 1024;

/// How much is read, and written, at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where findings are shown.
trait Show {
    fn finding(&mut self, out: &mut dyn Write, finding: &Finding) -> std::io::Result<()>;
    fn summary(&mut self, out: &mut dyn Write, summary: &Summary, keys: &Keyring) -> std::io::Result<()>;
}

/// `socp-server inspect`.
pub(crate) fn inspect(args: &InspectArgs) -> Result<()> {
    let keys = args.keys.as_deref().map(read_keys).transpose()?.unwrap_or_default();
    let (input, name) = open(args.frames.as_ref())?;
    let mut show: Box<dyn Show> = match args.json {
        true => Box::new(Json),
        false => Box::new(Screen::new(args.keys.is_some())),
    };
    let provider = Provider::new();
    let inspector = Inspector::new(&provider, keys);
    let inspector = if args.show_text { inspector.showing_text() } else { inspector };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, stdout().lock());
    match look(input, inspector, &mut *show, &mut out) {
        Ok(0) => Err(format!("{name}: there is nothing in it: expected one frame a line").into()),
        Ok(_) => Ok(()),
        Err(Trouble::Reading(error)) => Err(format!("{name}: {error}").into()),
        // That nobody reads on is no trouble: `inspect … | head`.
        Err(Trouble::Writing(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Trouble::Writing(error)) => Err(format!("writing to stdout: {error}").into()),
    }
}

/// Which end failed.
enum Trouble {
    Reading(std::io::Error),
    Writing(std::io::Error),
}

/// Looks at all lines, and returns how many there were. Nothing of them is kept but what the inspector bounds.
fn look(
    input: Box<dyn Read>,
    mut inspector: Inspector<'_>,
    show: &mut dyn Show,
    out: &mut dyn Write,
) -> std::result::Result<usize, Trouble> {
    let mut lines = Lines::new(BufReader::with_capacity(BUFFER_BYTES, input));
    let mut summary = Summary::default();
    let mut seen = 0;
    while let Some((number, line)) = lines.next().map_err(Trouble::Reading)? {
        let finding = match line {
            Line::Whole(bytes) => inspector.look(number, bytes),
            Line::TooLong(bytes) => inspector.too_long(number, bytes),
        };
        seen += 1;
        summary.add(&finding);
        show.finding(out, &finding).map_err(Trouble::Writing)?;
        // Who follows a record that grows sees each frame as it comes.
        if lines.is_drained() {
            out.flush().map_err(Trouble::Writing)?;
        }
    }
    if seen > 0 {
        show.summary(out, &summary, inspector.keyring()).map_err(Trouble::Writing)?;
    }
    out.flush().map_err(Trouble::Writing)?;
    Ok(seen)
}

fn open(path: Option<&PathBuf>) -> Result<(Box<dyn Read>, String)> {
    match path {
        Some(path) if path.as_os_str() != "-" => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
            Ok((Box::new(file), name))
        }
        Some(_) | None => {
            if stdin().is_terminal() {
                note(
                    "reading frames from this terminal, one a line; Ctrl-D ends (socp-server inspect --help)",
                );
            }
            Ok((Box::new(stdin()), "stdin".to_owned()))
        }
    }
}

fn read_keys(path: &Path) -> Result<Keyring> {
    let name = path.display();
    let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let bytes = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if bytes > MAX_KEYS_BYTES {
        return Err(failed(&"longer than any keys file: 64 MiB are read").into());
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let open = |pem: &str| PrivateKey::from_pem(pem).map(|key| Arc::new(key) as Arc<dyn Opener>);
    Ok(Keyring::read(&text, &open).map_err(|error| failed(&error))?)
}
