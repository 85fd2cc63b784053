//! One peer as a process in its host's namespace, and the processes that take over from it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// How a line of the log goes on, behind its time, level and place, that says who has taken over.
const TAKEN_OVER: &str = ": another process has taken over";

/// One that is killed has gone within this time.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A process that runs, or has ended, and those that have taken over from it; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// Where its part of the log begins, in bytes.
    begins: u64,
    /// It was told to end.
    told_to_end: bool,
    /// Those that have taken over, one from the other. Absent until one is asked to.
    successors: Option<Successors>,
}

/// Who has taken over, as far as the log was read.
#[derive(Debug)]
struct Successors {
    pids: Vec<Pid>,
    /// In bytes.
    read: u64,
}

/// What a process is started with.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// The command.
    pub(super) binary: &'a Path,
    /// The name of its namespace.
    pub(super) namespace: &'a str,
    /// The name of its host.
    pub(super) host: &'a str,
    /// Its configuration.
    pub(super) config: &'a Path,
    /// Where its log goes, behind what is there.
    pub(super) log: &'a Path,
}

impl Launch<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn start(&self) -> io::Result<Process> {
        let log = File::options().create(true).append(true).open(self.log)?;
        let begins = log.metadata()?.len();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace]).arg(self.binary).arg("run").arg("--config");
        command
            .arg(self.config)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("NODE_NAME", self.host).env("POD_NAME", "sim").stdin(Stdio::null());
        // A Ctrl-C is for whoever plays the scenario.
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn()?;
        let (log, successors) = (self.log.to_owned(), None);
        Ok(Process { child, log, begins, told_to_end: false, successors })
    }
}

impl Process {
    /// Whether any process of it runs.
    pub(super) fn is_running(&mut self) -> bool {
        let runs = self.ended().is_none();
        runs || self.successors().iter().any(|pid| lives(*pid))
    }

    /// How the first process has ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What must not have become of it so far: it has ended, and nobody has told it to, or it has
    /// failed; or it has logged what no peer may.
    pub(super) fn amiss(&mut self) -> Option<String> {
        if let Some(line) = self.trouble() {
            return Some(format!("it has logged: {line}"));
        }
        let last = self.successors().last().copied();
        let told = self.told_to_end;
        // 1: it was interrupted while it drained.
        let as_told =
            |status: &ExitStatus| (told || last.is_some()) && matches!(status.code(), Some(0 | 1));
        if let Some(status) = self.ended().filter(|status| !as_told(status)) {
            return Some(format!("it has ended: {status}: {}", self.last_words()));
        }
        // Nobody tells us how one has ended that is no child of ours.
        let gone = last.filter(|pid| !told && !lives(*pid))?;
        let pid = gone.as_raw_nonzero();
        Some(format!("it has ended, as process {pid}, which took over: {}", self.last_words()))
    }

    /// Has it start another process to take over from it.
    pub(super) fn upgrade(&mut self) {
        let read = self.begins;
        self.successors.get_or_insert(Successors { pids: Vec::new(), read });
        self.signal(Signal::USR2);
    }

    /// Whether another was to take over from it: its counters may begin anew at any time.
    pub(super) fn was_upgraded(&self) -> bool {
        self.successors.is_some()
    }

    /// How often another has taken over.
    pub(super) fn taken_over(&mut self) -> usize {
        self.successors().len()
    }

    /// Those that have taken over, one from the other.
    fn successors(&mut self) -> &[Pid] {
        let Some(Successors { pids, read }) = &mut self.successors else { return &[] };
        let mut text = Vec::new();
        let new = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(*read))?;
            log.read_to_end(&mut text)
        });
        // The last line may not be whole.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        if new.is_ok() {
            *read += whole as u64;
            pids.extend(taken_over(&String::from_utf8_lossy(&text[..whole])));
        }
        pids
    }

    /// Sends it a signal; one that has ended hears nothing. Stopping and ending are for the whole
    /// group, anything else is for who has taken over last.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.told_to_end |= matches!(signal, Signal::TERM | Signal::INT);
        if !self.is_running() {
            return;
        }
        let first = self.first();
        let last = self.successors().last().copied();
        let _ = match signal {
            // One that gets ready to take over has no ears for these yet.
            Signal::HUP | Signal::USR2 => kill_process(last.unwrap_or(first), signal),
            _ => kill_process_group(first, signal),
        };
    }

    fn first(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it without a word. Its addresses are free then.
    pub(super) fn kill(&mut self) {
        // Its group may belong to others once nothing of it is left.
        if !self.is_running() {
            return;
        }
        let _ = kill_process_group(self.first(), Signal::KILL);
        let _ = self.child.wait();
        for pid in self.successors() {
            is_over(*pid, GONE_WITHIN);
        }
    }

    /// The first line of its log that no peer may write.
    fn trouble(&self) -> Option<String> {
        let text = fs::read(&self.log).ok()?;
        let text = text.get(usize::try_from(self.begins).ok()?..)?;
        trouble_in(&String::from_utf8_lossy(text)).map(str::to_owned)
    }

    /// The last line of its log, for a message.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or("it has logged nothing").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process runs that may be no child of ours.
fn lives(pid: Pid) -> bool {
    !is_over(pid, Duration::ZERO)
}

/// Whether a process that may be no child of ours ends within this time, or has.
fn is_over(pid: Pid, within: Duration) -> bool {
    // Whoever has adopted it may be slow to take note of its end: then it is still known.
    let Ok(file) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let within = Timespec::try_from(within).ok();
    let mut file = [PollFd::new(&file, PollFlags::IN)];
    poll(&mut file, within.as_ref()).is_ok_and(|count| count > 0)
}

/// Who has taken over, one after the other.
fn taken_over(log: &str) -> impl Iterator<Item = Pid> {
    log.lines().filter(|line| line.contains(TAKEN_OVER)).filter_map(|line| {
        let (_, pid) = line.rsplit_once(" pid=")?;
        pid.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
    })
}

fn trouble_in(log: &str) -> Option<&str> {
    log.lines().find(|line| {
        line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked at")
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn errors_and_panics_are_trouble_and_warnings_are_not() {
        let line =
            |level: &str| format!("2026-01-01T00:00:00Z {level:>5} ops_proxy: ERROR is a word\n");
        assert_eq!(trouble_in(&(line("WARN") + &line("INFO"))), None);
        assert!(trouble_in(&(line("INFO") + &line("ERROR"))).unwrap().contains("ERROR ops"));
        assert!(trouble_in("thread 'main' panicked at src/main.rs:1:1").is_some());
    }

    #[test]
    fn who_took_over_is_in_the_log_of_who_was_there_before() {
        let line = |pid: u32| {
            format!(
                "2026-01-01T00:00:00Z  INFO ops_proxy::cli::run{TAKEN_OVER}; draining pid={pid}\n"
            )
        };
        let others = "2026-01-01T00:00:00Z  INFO ops_proxy: link up pid=7\n";
        let log = line(41) + others + &line(42);
        let pids = taken_over(&log).map(|pid| pid.as_raw_nonzero().get());
        assert!(pids.eq([41, 42]));
    }

    #[test]
    fn a_process_lives_until_it_ends_even_if_nobody_has_taken_note() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(lives(pid));
        child.kill().unwrap();
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), dead).unwrap();
        assert!(!lives(pid), "it is dead, and waits to be buried");
        child.wait().unwrap();
        assert!(!lives(pid));
    }
}
