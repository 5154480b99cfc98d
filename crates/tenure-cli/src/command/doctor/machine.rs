//! What a machine does to leases: clocks, stalls, throttling, pressure, proof of death, disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
    time::{ClockId, clock_gettime},
};
use tenure_core::timing::Ttl;

use super::{Check, is_risky};
use crate::{output::time::span, realtime};

/// How long stalls are looked for, in steps of a millisecond.
const LOOKS: u32 = 700;
/// Writes whose time is taken.
const WRITES: usize = 30;
/// Clock sources that cost no call into the hypervisor and do not jump.
const GOOD_CLOCKS: [&str; 6] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "xen",
    "riscv_clocksource",
];

/// Everything about this machine.
pub(super) fn checks(ttl: Ttl, data_dir: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![death_proof(), clock_source(), suspended(), real_time()];
    checks.push(stalls(ttl));
    checks.extend(throttling());
    checks.extend(["cpu", "io", "memory"].into_iter().filter_map(pressure));
    checks.extend(data_dir.map(|dir| disk(dir, ttl)));
    checks
}

/// The kernel tells at once when another process has died.
fn death_proof() -> Check {
    let name = "proof of death";
    let advice = "leases still end by themselves, a ttl after a death; Linux 5.3 or later is needed, \
                  and a sandbox must allow pidfd_open";
    match proved_in() {
        Ok(took) => {
            Check::good(name, format!("a process that dies is known dead after {}", span(took)))
        }
        Err(error) => Check::unless(true, name, format!("not here: {error}"), advice),
    }
}

/// Nothing is wrong where it is not allowed: leases are kept without it, too.
fn real_time() -> Check {
    let found = match realtime::allowed() {
        Ok(()) => String::from("--realtime is allowed"),
        Err(error) => format!("--realtime is not allowed ({error}): {}", realtime::ALLOW),
    };
    Check::good("real time", found)
}

fn proved_in() -> io::Result<Duration> {
    // Something that lives until it is killed, with nothing but what every system has.
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let known = (|| {
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let begun = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the pidfd stayed silent")),
            _ => Ok(begun.elapsed()),
        }
    })();
    // It is dead, or must be.
    let _ = child.kill();
    child.wait()?;
    known
}

fn clock_source() -> Check {
    const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let name = "clock";
    let Ok(source) = fs::read_to_string(PATH) else {
        return Check::good(name, "its source is not shown here");
    };
    let source = source.trim();
    let wrong = !GOOD_CLOCKS.contains(&source);
    let advice = "reading this clock is slow, or it is a fallback because another was found wrong; \
                  leases bear 1 % of drift, see --drift";
    Check::unless(wrong, name, format!("its source is {source}"), advice)
}

/// Leases are counted with the clock that goes on while a machine sleeps.
fn suspended() -> Check {
    let at = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let slept = at(ClockId::Boottime).saturating_sub(at(ClockId::Monotonic));
    if slept < Duration::from_secs(1) {
        return Check::good("sleep", "this machine has not slept since it was started");
    }
    // Nothing is wrong with that: such a holder has lost its lease and finds out before it acts.
    Check::good("sleep", format!("it has slept for {}; leases went on meanwhile", span(slept)))
}

/// How long a process that wants to run does not.
fn stalls(ttl: Ttl) -> Check {
    let step = Duration::from_millis(1);
    let mut longest = Duration::ZERO;
    for _ in 0..LOOKS {
        let begun = Instant::now();
        std::thread::sleep(step);
        longest = longest.max(begun.elapsed().saturating_sub(step));
    }
    let advice = format!(
        "the machine is overloaded, or its hypervisor is: a lease of {ttl} may run out between \
         two renewals; give it processors, or a longer --ttl"
    );
    let found = format!("the longest in {} ms was {}", LOOKS, span(longest));
    Check::unless(is_risky(longest, ttl), "stalls", found, advice)
}

/// Whether the control group of this process was kept from running.
fn throttling() -> Option<Check> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let of = |name: &str| {
        let value =
            stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        value.unwrap_or(0)
    };
    let (times, micros) = (of("nr_throttled "), of("throttled_usec "));
    let limit = fs::read_to_string(group.join("cpu.max")).unwrap_or_default();
    let limit = match limit.split_whitespace().next() {
        None | Some("max") => String::from("no limit"),
        Some(_) => format!("limit {}", limit.trim()),
    };
    let found = match times {
        0 => format!("{limit}, never held back"),
        _ => format!(
            "{limit}, held back {times} times, {} in all",
            span(Duration::from_micros(micros))
        ),
    };
    let advice = "a process that is held back cannot renew: raise cpu.max (in Kubernetes the limit \
                  of processors, or leave it out)";
    Some(Check::unless(times > 0, "cpu limit", found, advice))
}

/// Share of the last ten seconds in which something waited, as the kernel counts it.
fn pressure(what: &'static str) -> Option<Check> {
    let text = fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
    let share = some_avg10(&text)?;
    let name = match what {
        "cpu" => "cpu pressure",
        "io" => "disk pressure",
        _ => "memory pressure",
    };
    let advice = match what {
        "cpu" => "something always waits for a processor; leases need one in time",
        "io" => "the disk is busy: writes that are to survive take longer, and with them elections",
        _ => "memory is short: a page that must be read again takes longer than a renewal may",
    };
    let found = format!("something waited in {share:.0} % of the last 10 s");
    Some(Check::unless(share > 40.0, name, found, advice))
}

fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

/// How long a small write takes that is to survive a loss of power.
fn disk(dir: &Path, ttl: Ttl) -> Check {
    let name = "disk";
    let advice = "every grant waits for such a write at a quorum of nodes: put the data on a local \
                  disk that nothing else keeps busy";
    match writes(dir) {
        Ok(times) => {
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            let found =
                format!("a write that survives takes {}, at worst {}", span(median), span(worst));
            Check::unless(is_risky(worst, ttl), name, found, advice)
        }
        Err(error) => {
            let found = format!("{} cannot be written to: {error}", dir.display());
            Check::unless(true, name, found, "give a directory that exists and belongs to the user")
        }
    }
}

/// In order of their length, at least one. The file is gone afterwards, whatever happens.
fn writes(dir: &Path) -> io::Result<Vec<Duration>> {
    let path = dir.join(format!(".tenure-doctor-{}", std::process::id()));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_proved_here() {
        let check = death_proof();
        assert_eq!(check.advice, None, "{check:?}");
    }

    #[test]
    fn pressure_is_read_as_the_kernel_writes_it() {
        let text =
            "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0 total=1\n";
        assert_eq!(some_avg10(text), Some(12.5));
        assert_eq!(some_avg10("rubbish"), None);
    }

    #[test]
    fn the_disk_is_measured_and_left_as_it_was() {
        let dir = std::env::temp_dir().join(format!("tenure-doctor-test-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let check = disk(&dir, Ttl::MAX);
        assert_eq!(check.advice, None, "{check:?}");
        // Empty again, or this fails.
        fs::remove_dir(&dir).unwrap();
        assert!(disk(&dir, Ttl::MAX).advice.is_some());
    }
}
