//! `socp-server probe`: plays servers and users against any SOCP server, and prints a scorecard.
//!
//! It has no machine of ours: it says and expects what the standard says, clause by clause. How a dialect is
//! recognised and written comes from `socp_core::dialect`, signatures and canonical forms from `socp_core::crypto`.

mod cast;
mod clause;
mod errors;
mod gossip;
mod joining;
mod json;
mod life;
mod messages;
mod report;
mod screen;
mod stage;
mod users;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use socp_core::wire::{HostPort, encode_base64};
use socp_transport::raw::{RawDialler, RawListener};
use socp_transport::tls::Roots;
use socp_transport::{PlainRefused, Scheme, is_loopback};
use tokio::time::{Instant, timeout_at};

use crate::args::ProbeArgs;
use crate::error::{Result, note, tell};
use crate::parsed::PeerKey;
use crate::signals::Signals;
use cast::{Cast, Who};
use clause::{CLAUSES, Fault};
use json::Json;
use report::{Result as Scored, Score, Verdict};
use screen::Screen;
use stage::Stage;

/// Something failed, or was not tried for want of time.
const FAILED: u8 = 1;

/// There is no such server, or the probe cannot be made.
const CANNOT: u8 = 2;

/// Where scores are shown.
trait Show {
    fn begin(&mut self, out: &mut dyn Write, url: &str) -> std::io::Result<()>;
    fn clause(&mut self, out: &mut dyn Write, scored: &Scored, stage: &Stage) -> std::io::Result<()>;
    fn summary(&mut self, out: &mut dyn Write, score: &Score, stage: &Stage) -> std::io::Result<()>;
}

/// `socp-server probe`.
pub(crate) fn probe(args: ProbeArgs) -> ExitCode {
    match crate::block_on(run(args)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => FAILED.into(),
        Err(error) => {
            tell(&*error);
            CANNOT.into()
        }
    }
}

/// Returns how many clauses did not pass.
async fn run(args: ProbeArgs) -> Result<usize> {
    let mut signals = Signals::new(false)?;
    let began = Instant::now();
    let deadline = began + args.timeout;
    let mut show: Box<dyn Show> = match args.json {
        true => Box::new(Json),
        false => Box::new(Screen::new(args.verbose)),
    };
    let mut stage = tokio::select! {
        stage = set(&args) => stage?,
        signal = signals.stop() => return Err(format!("{signal}: nothing was tried").into()),
    };
    show.begin(&mut stdout().lock(), &stage.url.to_string())?;
    let mut score = Score::default();
    let why = tokio::select! {
        played = timeout_at(deadline, play(&mut stage, &mut *show, &mut score)) => match played {
            Ok(done) => { done?; None }
            Err(_) => Some(format!("no time was left (--timeout {})", humantime::format_duration(args.timeout))),
        },
        signal = signals.stop() => Some(format!("stopped by {signal}")),
    };
    stage.goodbye().await;
    score.took = began.elapsed();
    score.cut_short = why;
    show.summary(&mut stdout().lock(), &score, &stage)?;
    Ok(score.failed() + usize::from(score.cut_short.is_some()))
}

/// Makes everything ready, and makes sure that there is a server.
async fn set(args: &ProbeArgs) -> Result<Stage> {
    let server = &args.url.server;
    let roots = Roots::with_files(&args.ca).map_err(|error| format!("--ca {error}"))?;
    if server.scheme != Some(Scheme::Wss) {
        let refused = PlainRefused::unless(args.allow_plain, server.address.host(), &server.address);
        let hint = format!("use wss://{} if it speaks TLS, or add --allow-plain", server.address);
        refused.map_err(|refused| format!("{refused}; {hint}"))?;
    }
    let mut dialler = RawDialler::new(roots, args.allow_plain);
    // Before keys are made for nothing.
    let first = dialler.dial(server.scheme, &server.address, &args.url.path).await;
    let mut first = first.map_err(|error| format!("{}: {error}", args.url))?;
    // A server that drops everybody is none.
    if let Ok(heard) = tokio::time::timeout(Duration::from_millis(200), first.next()).await {
        use socp_transport::raw::RawHeard;
        match heard {
            RawHeard::Closed(..) | RawHeard::Lost(_) => {
                return Err(format!("{}: it closes the link at once, before a word", args.url).into());
            }
            // Whoever speaks first may do so.
            RawHeard::Text(_) | RawHeard::Binary(_) => {}
        }
    }
    // It is not needed any more; that it may be gone by now is fine.
    let _ = first.close(socp_core::close_code::NORMAL).await;
    if !is_loopback(server.address.host()) && args.listen.is_none() {
        note(
            "socp-server: a server elsewhere cannot dial the probe back: --listen HOST:PORT says where it can",
        );
    }
    let listeners = [listener(args.listen.as_ref(), 0).await?, listener(args.listen.as_ref(), 1).await?];
    let keys = args.keys.clone();
    if keys.is_none() {
        note("making three RSA-4096 keys: some seconds (--keys DIR keeps them for the next time)");
    }
    let cast = tokio::task::spawn_blocking(move || Cast::new(keys.as_deref())).await??;
    let mut password = [0; 16];
    getrandom::fill(&mut password).map_err(|error| format!("no randomness: {error}"))?;
    let url = args.url.clone();
    let mut stage =
        Stage::new(url, args.quick, args.patience, cast, encode_base64(&password), dialler, listeners);
    if let Some(PeerKey { key, dialect }) = &args.pubkey {
        stage.target.key = Some(key.clone());
        stage.target.dialect = *dialect;
    }
    stage.listen();
    Ok(stage)
}

async fn listener(at: Option<&HostPort>, offset: u16) -> Result<(RawListener, HostPort)> {
    let Some(at) = at else {
        let listener = RawListener::on_loopback().await?;
        let port = listener.address()?.port();
        return Ok((listener, HostPort::new("127.0.0.1", port)?));
    };
    let port =
        at.port().checked_add(offset).ok_or("--listen: there is no next port for the second server")?;
    let at = HostPort::new(at.host(), port)?;
    let listener = RawListener::bind(&at).await.map_err(|error| format!("--listen {at}: {error}"))?;
    Ok((listener, at))
}

/// Tries one clause after the other, and shows each as soon as it is known.
async fn play(stage: &mut Stage, show: &mut dyn Show, score: &mut Score) -> Result<()> {
    for clause in CLAUSES {
        stage.cited.clear();
        let (began, since) = (Instant::now(), stage.mark());
        let missing = clause.needs.iter().find(|need| !stage.has(**need));
        let outcome = match missing {
            Some(need) => Err(Fault::NotApplicable(need.without().to_owned())),
            None => (clause.play)(stage).await,
        };
        let verdict = match outcome {
            Ok(words) => Verdict::Passed(words),
            Err(Fault::Failed(why)) => {
                // Whatever came meanwhile may say why.
                let came = (since..stage.mark()).filter(|place| {
                    let entry = &stage.log[*place];
                    entry.who != Who::Two || entry.came().is_none()
                });
                let came: Vec<_> = came.take(report::SHOWN).collect();
                stage.cited.extend(came);
                Verdict::Failed(why)
            }
            Err(Fault::NotApplicable(why)) => Verdict::NotApplicable(why),
        };
        let cited = stage.cited.iter().copied().collect();
        let scored = Scored { clause, verdict, took: began.elapsed(), cited };
        show.clause(&mut stdout().lock(), &scored, stage)?;
        score.add(scored);
    }
    Ok(())
}
