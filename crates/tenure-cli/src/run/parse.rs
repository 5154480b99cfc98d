//! What appears on the command line of `tenure run` only.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use rustix::process::Signal;
use tenure_core::{Value, WallTime};

use super::launch::not_started;
use crate::{
    args,
    error::{Exit, Failure, Outcome},
    output::time,
};

/// Signals by their names, with and without the prefix.
const SIGNALS: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("WINCH", Signal::WINCH),
    ("TSTP", Signal::TSTP),
    ("CONT", Signal::CONT),
];

/// A list of signals; the type keeps clap from taking it for a repeated flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signals(pub(crate) Vec<i32>);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

/// Where HTTP is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On a port of the loopback.
    Tcp(String),
    /// On a unix socket.
    Unix(PathBuf),
}

/// What the command runs at most once for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OncePer {
    /// For each of these, counted from 1970 in UTC.
    Period(Duration),
    /// For this.
    Name(Value),
}

impl OncePer {
    /// The slot at a time. All have one length, so that their order is that of their bytes.
    pub(crate) fn slot(&self, at: WallTime) -> Value {
        let length = match self {
            Self::Name(name) => return name.clone(),
            Self::Period(length) => u64::try_from(length.as_micros()).unwrap_or(u64::MAX),
        };
        let begin = WallTime::from_micros(at.as_micros() / length.max(1) * length);
        Value::new(time::rfc3339(begin)).unwrap_or_default()
    }
}

/// A length of time, or a name. What looks like a length and is none is refused: taken for a name,
/// it would run once and never again.
pub(crate) fn once_per(text: &str) -> Result<OncePer, String> {
    if let Some(length) = period(text) {
        let shortest = Duration::from_secs(1);
        let too_short = || format!("{text:?} is too short: a slot has a second at least");
        return if length < shortest { Err(too_short()) } else { Ok(OncePer::Period(length)) };
    }
    let letters = text.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
    let digits = text.len() - letters.len();
    // Eight digits alone are a date.
    let is_name = digits == 0 || (letters.is_empty() && digits >= 8);
    if !is_name && letters.chars().all(|it| it.is_ascii_alphabetic()) {
        return Err(format!(
            "{text:?} is no length of time: give one like 30m, 1h, 1d or 1w, or a name that is more \
             than a number and letters, like 2026-11-21"
        ));
    }
    match Value::new(text) {
        Ok(name) if text.trim() == text && !text.is_empty() => Ok(OncePer::Name(name)),
        Ok(_) => Err(String::from("a slot needs a name, like 2026-11-21, or a length, like 1h")),
        Err(error) => Err(error.to_string()),
    }
}

/// A length of time; days and weeks have no other length in UTC than so many hours.
fn period(text: &str) -> Option<Duration> {
    let long = [("d", 24), ("w", 7 * 24)].into_iter().find_map(|(unit, hours)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(hours * 3600)?))
    });
    long.or_else(|| args::duration(text).ok())
}

/// Whose variables are set, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// CONSUL_LOCK_HELD.
    Consul,
    /// ETCD_LOCK_KEY and ETCD_LOCK_REV.
    Etcd,
}

/// A signal by its name.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(name, _)| *name == bare);
    known.map(|(_, signal)| signal.as_raw()).ok_or_else(|| {
        let names: Vec<_> = SIGNALS.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is not one of {}", names.join(", "))
    })
}

/// A list of signals, or `none`.
pub(crate) fn signals(text: &str) -> Result<Signals, String> {
    if text == "none" {
        return Ok(Signals(Vec::new()));
    }
    text.split(',').map(signal).collect::<Result<_, _>>().map(Signals)
}

/// A program and its arguments, separated by spaces.
pub(crate) fn words(text: &str) -> Result<Words, String> {
    let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { Err(String::from("there is no program in it")) } else { Ok(Words(words)) }
}

/// `K=V`.
pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// An address of the loopback with a port, or `unix:PATH`.
pub(crate) fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let address = args::address_of(text)?;
    if args::is_loopback(&address) {
        Ok(Listen::Tcp(address))
    } else {
        Err(format!(
            "{text:?} can be reached from other machines; give 127.0.0.1:PORT or unix:PATH"
        ))
    }
}

/// The file of a program: itself when it names a path, else the first in `PATH`.
///
/// # Errors
/// As `exec` would fail.
pub(crate) fn find_program(program: &Path, path: Option<&std::ffi::OsStr>) -> io::Result<PathBuf> {
    if program.as_os_str().is_empty() {
        return Err(rustix::io::Errno::NOENT.into());
    }
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return executable(program).map(|()| program.to_owned());
    }
    let usual = std::ffi::OsStr::new("/usr/local/bin:/usr/bin:/bin");
    let mut refused = io::Error::from(rustix::io::Errno::NOENT);
    for dir in std::env::split_paths(path.unwrap_or(usual)) {
        let candidate = dir.join(program);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // As the shell does: a later one may be executable.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn executable(file: &Path) -> io::Result<()> {
    if std::fs::metadata(file)?.is_dir() {
        return Err(rustix::io::Errno::ACCESS.into());
    }
    Ok(rustix::fs::access(file, rustix::fs::Access::EXEC_OK)?)
}

/// A hook whose program can be run, by whom it should be possible.
pub(crate) fn hook(flag: &str, words: Option<Words>) -> Outcome<Option<Hook>> {
    let Some(Words(words)) = words else { return Ok(None) };
    let program = Path::new(&words[0]);
    let path = std::env::var_os("PATH");
    let file = find_program(program, path.as_deref())
        .map_err(|error| wrong_hook(flag, not_started(program, &error)))?;
    if rustix::process::geteuid().is_root() {
        let refuse = |why: &str| Err(wrong_hook(flag, refused(&file, why)));
        let about = std::fs::metadata(&file)
            .map_err(|error| wrong_hook(flag, not_started(program, &error)))?;
        if about.uid() != 0 {
            return refuse("it belongs to another user, who could change what root runs");
        }
        if about.mode() & 0o002 != 0 {
            return refuse("everybody may write to it, and so could change what root runs");
        }
    }
    Ok(Some(Hook { file, arguments: words[1..].to_vec() }))
}

fn refused(file: &Path, why: &str) -> Failure {
    let next = format!("chown root {0}; chmod go-w {0}", file.display());
    Failure::new(Exit::Tool, file.display(), why, next)
}

fn wrong_hook(flag: &str, failure: Failure) -> Failure {
    Failure { what: format!("{flag}: {} is refused", failure.what), ..failure }
}

/// A program that is run when something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Its file.
    pub(crate) file: PathBuf,
    /// Its first arguments.
    pub(crate) arguments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        assert_eq!(signal("TERM"), Ok(15));
        assert_eq!(signal("sigusr1"), Ok(10));
        assert!(signal("15").is_err());
        assert_eq!(signals("none"), Ok(Signals(Vec::new())));
        assert_eq!(signals("HUP,INT"), Ok(Signals(vec![1, 2])));
        assert!(signals("HUP,").is_err());
    }

    #[test]
    fn slots_of_time_begin_together_and_are_in_order() {
        let hour = once_per("1h").unwrap();
        let at = |secs: u64| hour.slot(WallTime::from_micros(secs * 1_000_000));
        assert_eq!(at(1_795_237_199).as_str(), "2026-11-21T04:00:00.000Z");
        assert_eq!(at(1_795_237_200), at(1_795_240_799));
        assert!(at(1_795_237_199) < at(1_795_237_200));
        let name = once_per("2026-11-21").unwrap();
        assert_eq!(name.slot(WallTime::from_micros(7)).as_str(), "2026-11-21");
        assert!(once_per("").is_err() && once_per("a\nb").is_err() && once_per(" a").is_err());
        // Taken for names, as they once were, they would run their command once for ever.
        let hours = |hours: u64| OncePer::Period(Duration::from_secs(hours * 3600));
        assert_eq!((once_per("1d"), once_per("2w")), (Ok(hours(24)), Ok(hours(2 * 7 * 24))));
        for wrong in ["1day", "1H", "60", "0s", "1ms", "1.5x", "99999999999999999999d"] {
            assert!(once_per(wrong).is_err(), "{wrong}");
        }
        for name in ["v2", "20261121", "2026-11"] {
            assert!(matches!(once_per(name), Ok(OncePer::Name(_))), "{name}");
        }
    }

    #[test]
    fn only_this_machine_is_listened_to() {
        assert_eq!(listen("unix:/run/x"), Ok(Listen::Unix("/run/x".into())));
        assert!(matches!(listen("127.0.0.1:0"), Ok(Listen::Tcp(_))));
        assert!(listen("0.0.0.0:80").is_err());
        assert!(listen("4040").is_err());
    }

    #[test]
    fn programs_are_found_as_a_shell_would() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let find = |name: &str| find_program(Path::new(name), Some(dir.path().as_os_str()));
        assert_eq!(find("tool").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(find("other").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(find("/").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        assert_eq!(find("tool").unwrap(), path);
        assert!(assignment("A=b=c").is_ok_and(|(name, value)| name == "A" && value == "b=c"));
        assert!(assignment("=b").is_err());
    }
}
