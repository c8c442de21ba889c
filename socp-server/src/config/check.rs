//! Do the settings hold together? Asked before every start, and by `socp-server config`.

use std::collections::BTreeSet;
use std::io::{IsTerminal, stderr};
use std::net::IpAddr;
use std::path::PathBuf;

use socp_core::wire::{HostPort, PublicKey};
use socp_transport::data_dir::{DataDir, server_config_file};
use socp_transport::server::ListenAddress;
use socp_transport::tls::{Roots, ServerTls, TlsFileError};
use socp_transport::{PlainRefused, Scheme, is_loopback};

use super::file::{Places, default_file};
use super::{Configuration, Settings, bootstrap_list, is_fatal};
use crate::args::{CheckArgs, ConfigCommand, RunArgs};
use crate::bootstrap::{ENOUGH, Trusted};
use crate::data;
use crate::error::{Result as Outcome, note, show};
use crate::mistake::{Gravity, Mistake};
use crate::parsed::IntroducerText;

/// How plain links are asked for.
const ALLOW_PLAIN: &str = "allow plain links with --allow-plain (in the file: allow_plain = true)";

/// `socp-server config`.
pub(crate) fn config(command: ConfigCommand) -> Outcome<()> {
    match command {
        ConfigCommand::Default => {
            show(default_file().trim_end());
            Ok(())
        }
        ConfigCommand::Check(CheckArgs { file }) => check(file),
    }
}

fn check(file: Option<PathBuf>) -> Outcome<()> {
    let Some(file) = file.or_else(server_config_file) else {
        return Err("which file? Neither XDG_CONFIG_HOME nor HOME names a place to look for it".into());
    };
    let shown = file.display().to_string();
    if !file.exists() {
        return Err(format!(
            "{shown}: there is no such file; `socp-server config default > {shown}` makes one to start from"
        )
        .into());
    }
    let (mistakes, trusted) =
        match Configuration::gather(RunArgs { config: Some(file), ..RunArgs::default() }) {
            Ok(configuration) => {
                let found = configuration.judge_as_at_a_start();
                let trusted = configuration.introducer_count();
                (configuration.warnings.into_iter().chain(found).collect(), trusted)
            }
            Err(mistakes) => (mistakes, 0),
        };
    let coloured = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    for mistake in &mistakes {
        note(format_args!("{}\n", mistake.snippet(coloured)));
    }
    let count = |gravity| mistakes.iter().filter(|mistake| mistake.gravity == gravity).count();
    let counted = |count, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let warnings = counted(count(Gravity::Warning), "warning");
    if is_fatal(&mistakes) {
        let errors = counted(count(Gravity::Error), "error");
        return Err(format!("{shown}: {errors}, {warnings}: a server would not start with it").into());
    }
    show(format_args!("{shown}: fine ({}, {warnings})", counted(trusted, "trusted introducer")));
    Ok(())
}

/// Reads what the settings name and sees whether everything holds together.
pub(super) fn settle(
    settings: Settings,
    places: Places,
    file: Option<PathBuf>,
) -> Result<Configuration, Vec<Mistake>> {
    let mut mistakes = intervals(&settings, &places);
    let mut taken = |result: Result<_, Mistake>| result.map_err(|mistake| mistakes.push(mistake)).ok();
    let mut trusted = taken(bootstrap_list(&settings, &places)).unwrap_or_default();
    let tls = certificate(&settings, &places).map_err(|mistake| mistakes.push(mistake)).ok().flatten();
    let roots = Roots::with_files(&settings.ca);
    let roots = roots.map_err(|error| mistakes.push(Mistake::error(places.of("tls.ca"), error)));
    let introducers = settings.introducers.iter().enumerate();
    trusted.extend(introducers.map(|(at, IntroducerText { server, key })| Trusted {
        server: server.clone(),
        key: key.key.clone(),
        dialect: key.dialect,
        place: places.of_element("introducers", at),
        is_listed: false,
    }));
    mistakes.extend(listeners(&settings, &places));
    mistakes.extend(trusted.iter().filter_map(|trusted| dialled(trusted, settings.allow_plain)));
    mistakes.extend(named_twice(&trusted));
    mistakes.extend(advertised(&settings, &places));
    mistakes.extend(frames(&settings, &places));
    if settings.allow_plain {
        let what = "plain links may leave this machine, as asked for: everybody on the way sees who writes to whom, \
            and when";
        mistakes.push(Mistake::warning(places.of("allow_plain"), what));
    }
    match roots {
        Ok(roots) if !is_fatal(&mistakes) => {
            Ok(Configuration { settings, trusted, tls, roots, file, warnings: mistakes, places })
        }
        Ok(_) | Err(()) => Err(mistakes),
    }
}

/// Some intervals make sense in one order only.
fn intervals(settings: &Settings, places: &Places) -> Vec<Mistake> {
    let timing = &settings.timing;
    let pairs = [
        ("heartbeat", timing.heartbeat, "silence", timing.silence),
        ("presence", timing.presence, "presence_lost", timing.presence_lost),
        ("attestation_renewal", timing.attestation_renewal, "attestation", timing.attestation),
        ("redial_first", timing.redial_first, "redial_slowest", timing.redial_slowest),
    ];
    let wrong = pairs.into_iter().filter(|(_, shorter, _, longer)| shorter >= longer);
    let mistake = |(shorter, _, longer, _): (&str, _, &str, _)| {
        let of = |name: &str| places.of(&format!("timing.{name}"));
        Mistake::error(of(shorter).or_else(|| of(longer)), format!("`{shorter}` must be shorter than `{longer}`"))
            .help("make the one longer or the other shorter; `socp-server config default` shows what they are about")
    };
    wrong.map(mistake).collect()
}

fn certificate(settings: &Settings, places: &Places) -> Result<Option<ServerTls>, Mistake> {
    let (chain, key) = match (&settings.certificate, &settings.key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            let lonely =
                Mistake::error(places.of("tls.certificate"), "a certificate without its private key");
            return Err(lonely.help("name it with --tls-key (in the file: key, in [tls])"));
        }
        (None, Some(_)) => {
            let lonely = Mistake::error(places.of("tls.key"), "a private key without its certificate");
            return Err(lonely.help("name it with --tls-cert (in the file: certificate, in [tls])"));
        }
    };
    ServerTls::from_files(chain, key).map(Some).map_err(|error: TlsFileError| {
        let place = if error.path == *key { "tls.key" } else { "tls.certificate" };
        Mistake::error(places.of(place), error)
    })
}

fn listeners(settings: &Settings, places: &Places) -> Vec<Mistake> {
    let certified = settings.certificate.is_some();
    let judge = |(at, listen): (usize, &ListenAddress)| {
        let place = || places.of_element("listen", at);
        let (host, tls) =
            (listen.host(), "give it a certificate with --tls-cert and --tls-key (in the file: [tls])");
        match scheme_of(listen, certified) {
            Scheme::Wss if certified => None,
            Scheme::Wss => {
                let mistake = Mistake::error(place(), format!("to listen on {listen} takes a certificate"));
                Some(mistake.help(tls))
            }
            Scheme::Ws => {
                let refused = PlainRefused::unless(settings.allow_plain, host, listen).err()?;
                Some(Mistake::error(place(), refused).help(format!("{tls}, or {ALLOW_PLAIN}")))
            }
        }
    };
    if settings.listen.is_empty() {
        let nowhere = Mistake::error(places.of("listen"), "no address to listen on");
        return vec![nowhere.help("name one, such as \"127.0.0.1:8765\"")];
    }
    settings.listen.iter().enumerate().filter_map(judge).collect()
}

/// What keeps an introducer from being dialled, or should be known before.
fn dialled(trusted: &Trusted, allow_plain: bool) -> Option<Mistake> {
    let address = &trusted.server.address;
    if trusted.server.scheme == Some(Scheme::Wss) || is_loopback(address.host()) {
        return None;
    }
    let tls = match trusted.is_listed {
        true => "say `tls: true` in its entry".to_owned(),
        false => format!("write wss://{address}#…"),
    };
    let refused = PlainRefused::unless(allow_plain, address.host(), address).err()?;
    let mistake = Mistake::error(trusted.place.clone(), refused);
    Some(mistake.help(format!("if it speaks TLS, {tls}; else {ALLOW_PLAIN}")))
}

/// An introducer that is named again, or an address with a second key, which would never be tried.
fn named_twice(trusted: &[Trusted]) -> Vec<Mistake> {
    let again = trusted.iter().enumerate().filter_map(|(at, entry)| {
        let address = &entry.server.address;
        let first = trusted[..at].iter().find(|first| first.server.address == *address)?;
        let before = match (&first.place, &entry.place) {
            (Some(first), Some(entry)) if first.is_in_file_of(entry) => format!("in line {}", first.line()),
            (Some(first), _) => format!("in {}, line {}", first.file().display(), first.line()),
            (None, _) => "on the command line".into(),
        };
        if first.key == entry.key {
            let what = format!("{address} is named a second time, first {before}: it counts once");
            return Some(Mistake::warning(entry.place.clone(), what).help("leave one of them out"));
        }
        let what = format!("{address} has another key here than {before}: a server has one");
        let help = "keep the one that `socp-server identity` prints on that server";
        Some(Mistake::error(entry.place.clone(), what).help(help))
    });
    again.collect()
}

fn advertised(settings: &Settings, places: &Places) -> Option<Mistake> {
    let advertise = settings.advertise.as_ref().filter(|address| is_everywhere(address.host()))?;
    let what =
        format!("{advertise} is no address that others can dial: it stands for every address of a machine");
    let help = "name the one under which they reach this server";
    Some(Mistake::error(places.of("advertise"), what).help(help))
}

/// Longest frame that implementations read unless they are told otherwise, as ours do (decisions §1).
const USUAL_FRAME: usize = 1024 * 1024;

fn frames(settings: &Settings, places: &Places) -> Option<Mistake> {
    let longest = settings.limits.frame_out_bytes;
    (longest > USUAL_FRAME).then(|| {
        let what = format!(
            "frames of up to {longest} bytes may be built, but others close a link at the first one over \
             {USUAL_FRAME}, unless they were all told otherwise"
        );
        let help = "leave `frame_out_bytes` out, or set `frame_in_bytes` of every server of the mesh higher";
        Mistake::warning(places.of("limits.frame_out_bytes"), what).help(help)
    })
}

impl Configuration {
    /// Where the bootstrap list says that we are, if we listen everywhere and nobody said more. Without an
    /// address of our own we cannot join others (decisions §7).
    ///
    /// A server without a key will make one at its first start, which no list has.
    pub(crate) fn reachable_at(&self, key: Option<&PublicKey>) -> Result<Option<HostPort>, Mistake> {
        let Settings { listen, advertise, .. } = &self.settings;
        if advertise.is_some() || !listen.iter().all(is_wildcard) {
            return Ok(None);
        }
        if let Some(own) = self.own_entry(key) {
            return Ok(Some(own.server.address.clone()));
        }
        if self.trusted.is_empty() {
            return Ok(None);
        }
        let shown: Vec<_> = listen.iter().map(ToString::to_string).collect();
        let what = format!(
            "listening on {}, every address of this machine, it cannot join other servers: they would not know \
             where to dial it",
            shown.join(" and ")
        );
        let help = "add --advertise HOST:PORT (in the file: advertise), or an entry with its own key to the bootstrap list";
        Err(Mistake::error(self.places.of("listen"), what).help(help))
    }

    /// What somebody should look at, as far as it is known who we are.
    pub(crate) fn judge(&self, key: Option<&PublicKey>) -> Vec<Mistake> {
        let Settings { listen, advertise, bootstrap, .. } = &self.settings;
        let mut warnings = Vec::new();
        // Who names no list at all starts a network, or joins one by hand.
        let asks = bootstrap.is_some() || !self.trusted.is_empty();
        let count = self.introducer_count();
        if asks && count < ENOUGH {
            let place = self.places.of("bootstrap").or_else(|| self.places.of("introducers"));
            let few =
                format!("fewer trusted introducers than the {ENOUGH} that the standard asks for: {count}");
            warnings.push(Mistake::warning(place, few));
        }
        let own = self.own_entry(key);
        if let Some(Trusted { server, place, .. }) = own {
            let listed = &server.address;
            let speaks_tls = |listen: &ListenAddress| scheme_of(listen, self.tls.is_some()) == Scheme::Wss;
            if server.scheme != Some(Scheme::Wss) && listen.iter().all(speaks_tls) {
                let what = format!(
                    "the bootstrap list has this server at {listed} as a plain one, but it speaks TLS"
                );
                warnings.push(Mistake::warning(place.clone(), what).help("say `tls: true` in its entry"));
            }
            match advertise {
                Some(advertise) if advertise != listed => {
                    let what = format!(
                        "the bootstrap list has this server at {listed}, but {advertise} is advertised: clients that \
                         dial what the list says are refused"
                    );
                    warnings.push(Mistake::warning(place.clone(), what));
                }
                None if listen.iter().all(|listen| listen.port() != listed.port()) => {
                    let shown: Vec<_> = listen.iter().map(ToString::to_string).collect();
                    let what = format!(
                        "the bootstrap list has this server at {listed}, but it listens on {}",
                        shown.join(" and ")
                    );
                    warnings.push(Mistake::warning(place.clone(), what));
                }
                Some(_) | None => {}
            }
        }
        if self.settings.strict_ids
            && let Some(own) = self.settings.server_id.as_ref().filter(|own| !own.id().is_uuid_v4())
        {
            let what =
                format!("{own:?} is no UUID v4: servers with `strict_ids`, as this one has it, refuse it");
            let help = "leave `server_id` out: the id that follows from the key is one";
            warnings.push(Mistake::warning(self.places.of("server_id"), what).help(help));
        }
        let first = listen.iter().find(|listen| !is_wildcard(listen));
        let host = advertise.as_ref().or(own.map(|own| &own.server.address)).map(HostPort::host);
        let host = host.or(first.map(ListenAddress::host));
        if let Some(tls) = &self.tls {
            let doubt = |doubt| {
                Mistake::warning(
                    self.places.of("tls.certificate"),
                    format!("the certificate is no good: {doubt}"),
                )
            };
            warnings.extend(tls.doubts(host).into_iter().map(doubt));
        }
        warnings
    }

    /// What [`Configuration::reachable_at`] and [`Configuration::judge`] will say when a server starts.
    fn judge_as_at_a_start(&self) -> Vec<Mistake> {
        let data_dir = self.settings.data_dir.clone().map_or_else(DataDir::default_for_server, Ok);
        let (key, unusable) = match data_dir.map_err(Into::into).and_then(|folder| data::kept_key(&folder)) {
            Ok(key) => (key, None),
            Err(error) => (None, Some(Mistake::error(self.places.of("data_dir"), error))),
        };
        let unreachable = self.reachable_at(key.as_ref()).err();
        let other_id = self.other_id(key.as_ref());
        unusable.into_iter().chain(other_id).chain(unreachable).chain(self.judge(key.as_ref())).collect()
    }

    /// An id that is not the one which the data directory has.
    fn other_id(&self, key: Option<&PublicKey>) -> Option<Mistake> {
        let wanted = self.settings.server_id.as_ref()?;
        let folder = self.settings.data_dir.clone().map_or_else(DataDir::default_for_server, Ok).ok()?;
        let refused = data::judge_id(&folder, wanted, key?).err()?;
        Some(Mistake::error(self.places.of("server_id"), refused))
    }

    /// Each server once, however often it is named.
    fn introducer_count(&self) -> usize {
        self.trusted.iter().map(|trusted| trusted.key.id()).collect::<BTreeSet<_>>().len()
    }

    fn own_entry(&self, key: Option<&PublicKey>) -> Option<&Trusted> {
        self.trusted.iter().find(|trusted| Some(&trusted.key) == key)
    }
}

fn scheme_of(listen: &ListenAddress, certified: bool) -> Scheme {
    listen.scheme().unwrap_or(if certified { Scheme::Wss } else { Scheme::Ws })
}

/// Whether it is every address of this machine.
pub(crate) fn is_wildcard(listen: &ListenAddress) -> bool {
    is_everywhere(listen.host())
}

fn is_everywhere(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified())
}
