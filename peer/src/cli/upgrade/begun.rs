//! A process that was started to take over from this one.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use tokio::task::spawn_blocking;

use super::message::{FIRST_DESCRIPTOR, Handover, Said, TAKES_OVER};
use crate::peer::Sockets;
use crate::stream::net::tokio::TokioNet;

/// A process that was started; ended when dropped, unless it was let go.
pub(super) struct Begun {
    child: Option<Child>,
    /// Not there while something is waited for.
    channel: Option<BufReader<UnixStream>>,
}

/// The addresses of what is handed over, and the descriptors.
pub(super) fn descriptors(
    sockets: &Sockets<TokioNet>,
) -> io::Result<(Vec<SocketAddr>, Vec<OwnedFd>)> {
    let tcp = sockets.tcp.iter().map(|(addr, socket)| (*addr, socket.as_fd()));
    let udp = sockets.udp.iter().map(|(addr, socket)| (*addr, socket.as_fd()));
    let copied = tcp.chain(udp).map(|(addr, fd)| Ok((addr, fd.try_clone_to_owned()?)));
    Ok(copied.collect::<io::Result<Vec<_>>>()?.into_iter().unzip())
}

impl Begun {
    /// Starts `program` with the arguments of this process, hands it these descriptors, and
    /// tells it the rest.
    pub(super) fn start(
        program: &Path,
        descriptors: Vec<OwnedFd>,
        handover: &Handover,
    ) -> io::Result<Self> {
        let (mut near, far) = UnixStream::pair()?;
        let mapping = |(fd, number)| FdMapping { parent_fd: fd, child_fd: number };
        let count = descriptors.len();
        let mappings = descriptors.into_iter().zip(FIRST_DESCRIPTOR..).map(mapping).collect();
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(TAKES_OVER, "1")
            .env("LISTEN_FDS", count.to_string())
            // Those name this process.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(far)))
            .fd_mappings(mappings)
            .map_err(io::Error::other)?;
        let child = command.spawn()?;
        // Holds the other end of the channel: without it, the end of the child is seen.
        drop(command);
        let line = serde_json::to_string(handover)? + "\n";
        let mut begun = Self { child: Some(child), channel: None };
        near.write_all(line.as_bytes())?;
        begun.channel = Some(BufReader::new(near));
        Ok(begun)
    }

    /// Returns once it has said `what`.
    ///
    /// # Errors
    /// It has ended, or says something else.
    pub(super) async fn says(&mut self, what: Said) -> io::Result<()> {
        let ended = || io::Error::other("it ended; its own log lines say why");
        let mut channel = self.channel.take().ok_or_else(ended)?;
        // The end of the child ends this, too.
        let reading = spawn_blocking(move || {
            let mut line = String::new();
            channel.read_line(&mut line).map(|_| (line, channel))
        });
        let (line, channel) = reading.await.map_err(io::Error::other)??;
        self.channel = Some(channel);
        match line.trim_end() == what.as_str() {
            true => Ok(()),
            false => Err(ended()),
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// It goes on by itself, and sees the end of this process when this is dropped.
    pub(super) fn let_go(mut self) -> Self {
        self.child = None;
        self
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}
