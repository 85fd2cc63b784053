//! One peer as a process in its host's namespace.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs, or has ended; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// Where its part of the log begins, in bytes.
    begins: u64,
    /// It was told to end.
    told_to_end: bool,
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
        Ok(Process { child, log: self.log.to_owned(), begins, told_to_end: false })
    }
}

impl Process {
    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What must not have become of it so far: it has ended, and nobody has told it to, or it has
    /// failed; or it has logged what no peer may.
    pub(super) fn amiss(&mut self) -> Option<String> {
        let (told, ended) = (self.told_to_end, self.ended());
        // 1: it was interrupted while it drained.
        let as_told = |status: &ExitStatus| told && matches!(status.code(), Some(0 | 1));
        match (ended, self.trouble()) {
            (_, Some(line)) => Some(format!("it has logged: {line}")),
            (Some(status), None) if !as_told(&status) => {
                Some(format!("it has ended: {status}: {}", self.last_words()))
            }
            _ => None,
        }
    }

    /// Sends it a signal; one that has ended hears nothing.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.told_to_end |= matches!(signal, Signal::TERM | Signal::INT);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), None) = (pid, self.ended()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

fn trouble_in(log: &str) -> Option<&str> {
    log.lines().find(|line| {
        line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked at")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_trouble_and_warnings_are_not() {
        let line =
            |level: &str| format!("2026-01-01T00:00:00Z {level:>5} ops_proxy: ERROR is a word\n");
        assert_eq!(trouble_in(&(line("WARN") + &line("INFO"))), None);
        assert!(trouble_in(&(line("INFO") + &line("ERROR"))).unwrap().contains("ERROR ops"));
        assert!(trouble_in("thread 'main' panicked at src/main.rs:1:1").is_some());
    }
}
