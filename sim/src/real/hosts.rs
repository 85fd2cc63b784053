//! Hosts of the real world that go and come, and the ways between them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::{JoinSet, LocalSet};

use super::config::config_file;
use super::lab::Lab;
use super::net::RealNet;
use super::process::Launch;
use crate::backend::Backend;
use crate::client::Client;
use crate::ground::Ground;
use crate::scenario::BackendKind;
use crate::scenario::steps::How;

impl Lab {
    /// Starts a host's software; one that runs is killed first.
    ///
    /// # Errors
    /// What kept it from starting.
    pub(super) fn start(&mut self, host: &str) -> io::Result<()> {
        if self.is_running(host) {
            self.crash(host, How::Reset)?;
        }
        if self.dark.borrow().iter().any(|dark| dark == host) {
            self.dark.borrow_mut().retain(|dark| dark != host);
            self.namespaces.set_silent(host, false)?;
        }
        if self.scenario.peers.contains_key(host) {
            return self.start_peer(host);
        }
        self.hang_or_not(host)?;
        let (net, name) = (self.nets[host].clone(), Rc::<str>::from(host));
        let mut software = JoinSet::new();
        if let Some(temper) = self.tempers.get(host).cloned() {
            let backend = Backend { name, temper, net: net.clone() };
            software.spawn_local(alone(net, backend.run()));
        } else if let Some(orders) = self.orders.get(host).cloned() {
            let outcomes = self.outcomes.clone();
            let client = Client { name, net: net.clone(), orders, outcomes };
            software.spawn_local(alone(net, client.run()));
        }
        self.software.insert(host.to_owned(), software);
        Ok(())
    }

    /// A kernel accepts what nobody takes. So the whole host of a backend that hangs is silent.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn hang_or_not(&self, host: &str) -> io::Result<()> {
        match self.tempers.get(host) {
            Some(temper) => {
                let hangs = temper.now().kind == BackendKind::Hanging;
                self.namespaces.set_silent(host, hangs)
            }
            None => Ok(()),
        }
    }

    fn start_peer(&mut self, host: &str) -> io::Result<()> {
        self.write_files(host)?;
        let folder = self.folder(host);
        let process = Launch {
            binary: &self.binary,
            namespace: &self.namespaces.name(host),
            host,
            config: &folder.join("config.toml"),
            log: &folder.join("log"),
        };
        let process = process.start()?;
        self.exported.remove(host);
        self.bury(host);
        self.peers.insert(host.to_owned(), process);
        Ok(())
    }

    /// Ends a peer's process without a word, and says what was wrong with its life.
    fn bury(&mut self, host: &str) {
        let Some(mut process) = self.peers.remove(host) else { return };
        self.taken_over += process.taken_over();
        if let Some(amiss) = process.amiss() {
            self.nets[host].wrong(format!("{host}: {amiss}"));
        }
    }

    /// Writes a peer's configuration and the files of its TLS, as they are now.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn write_files(&self, host: &str) -> io::Result<()> {
        let folder = self.folder(host);
        fs::create_dir_all(folder.join("tls"))?;
        let material = self.materials.get(host);
        let contents = material.map(|material| material.contents(&self.certificates));
        for (path, text) in contents.unwrap_or_default() {
            // A peer refuses a key that others may read.
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).write(true).truncate(true).mode(0o600);
            io::Write::write_all(&mut file.open(folder.join(path))?, text.as_bytes())?;
        }
        let text = config_file(&self.scenario.peers[host], host, &folder);
        fs::write(folder.join("config.toml"), text)
    }

    /// Whether a host's software runs.
    pub(super) fn is_running(&mut self, host: &str) -> bool {
        match self.peers.get_mut(host) {
            Some(process) => process.is_running(),
            None => self.software.contains_key(host),
        }
    }

    /// Sends a signal to a peer.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn signal(&mut self, host: &str, signal: Signal) -> Result<(), String> {
        if !self.is_running(host) {
            return Err(format!("{host} does not run"));
        }
        if let Some(process) = self.peers.get_mut(host) {
            process.signal(signal);
        }
        Ok(())
    }

    /// Has a peer replaced by another process of the same program, with its files as they are now,
    /// if it runs.
    pub(super) fn upgrade(&mut self, host: &str) {
        if self.is_running(host)
            && let Some(process) = self.peers.get_mut(host)
        {
            process.upgrade();
        }
    }

    /// Ends a host's software without notice.
    ///
    /// # Errors
    /// What `ip` or `ss` had against it.
    pub(super) fn crash(&mut self, host: &str, how: How) -> io::Result<()> {
        if how == How::Silent {
            self.namespaces.set_silent(host, true)?;
            self.dark.borrow_mut().push(host.to_owned());
        }
        if let Some(process) = self.peers.get_mut(host) {
            // It must not notice what happens to its connections.
            process.signal(Signal::STOP);
        }
        if how == How::Reset
            && let Err(error) = end_connections(&self.nets[host], None)
        {
            if let Some(process) = self.peers.get_mut(host) {
                process.signal(Signal::CONT);
            }
            return Err(error);
        }
        self.bury(host);
        self.exported.remove(host);
        self.software.remove(host);
        if how == How::Silent {
            // What the kernel would still say once it is heard again.
            end_connections(&self.nets[host], None)?;
            self.give_up_on(host);
        }
        Ok(())
    }

    /// All others give up their connections to a host without power, after a while.
    fn give_up_on(&mut self, host: &str) {
        let after = self.scenario.network.notices_cut_after.0;
        let ip = self.namespaces.ip(host);
        let others = self.nets.iter().filter(|(other, _)| *other != host);
        let others: Vec<RealNet> = others.map(|(_, net)| net.clone()).collect();
        let (dark, host) = (self.dark.clone(), host.to_owned());
        self.later.spawn_local(async move {
            tokio::time::sleep(after).await;
            if dark.borrow().contains(&host) {
                for net in others {
                    report(&net, end_connections(&net, Some(ip)));
                }
            }
        });
    }

    /// Cuts the way between two hosts; their connections die of it, after a while.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn partition(&mut self, way: &[String; 2]) -> io::Result<()> {
        self.namespaces.set_way(&way[0], &way[1], false)?;
        self.doom(way);
        Ok(())
    }

    /// Loses what one host sends to another; their connections die of it, after a while.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn lose(&mut self, way: &[String; 2]) -> io::Result<()> {
        self.namespaces.set_one_way(&way[0], &way[1], false)?;
        self.doom(way);
        Ok(())
    }

    /// The connections between two hosts end after a while, unless the way is healed before.
    fn doom(&mut self, way: &[String; 2]) {
        self.cut.borrow_mut().push(way.clone());
        let after = self.scenario.network.notices_cut_after.0;
        let (cut, way, ends) = (self.cut.clone(), way.clone(), self.ends(way));
        self.later.spawn_local(async move {
            tokio::time::sleep(after).await;
            if cut.borrow().contains(&way) {
                for (net, ip) in ends {
                    report(&net, end_connections(&net, Some(ip)));
                }
            }
        });
    }

    /// Ends a cut; what stood before it is dead.
    ///
    /// # Errors
    /// What `ip` or `ss` had against it.
    pub(super) fn heal(&mut self, way: &[String; 2]) -> io::Result<()> {
        for (net, ip) in self.ends(way) {
            end_connections(&net, Some(ip))?;
        }
        self.cut.borrow_mut().retain(|cut| !way.iter().all(|host| cut.contains(host)));
        self.namespaces.set_way(&way[0], &way[1], true)
    }

    /// Opens all ways, and starts what does not run or stands still.
    ///
    /// # Errors
    /// What `ip` or `ss` had against it, or what kept a host from starting.
    pub(super) fn heal_all(&mut self) -> io::Result<()> {
        let cut = self.cut.borrow().clone();
        for way in &cut {
            self.heal(way)?;
        }
        let hosts: Vec<String> = self.nets.keys().cloned().collect();
        for (index, a) in hosts.iter().enumerate() {
            for b in &hosts[index + 1..] {
                self.namespaces.set_way(a, b, true)?;
            }
        }
        for host in &hosts {
            // It may not be frozen, and may not run.
            let _ = self.signal(host, Signal::CONT);
            if !self.is_running(host) {
                self.start(host)?;
            }
            self.names.heal(host, self.namespaces.ip(host));
        }
        Ok(())
    }

    /// Both ends of a way, each with the address of the other.
    fn ends(&self, [a, b]: &[String; 2]) -> [(RealNet, Ipv4Addr); 2] {
        [(a, b), (b, a)].map(|(here, there)| (self.nets[here].clone(), self.namespaces.ip(there)))
    }

    /// From now on a name stands for these hosts, and a lookup takes this long.
    pub(super) fn set_name<'a>(
        &self,
        name: &str,
        hosts: impl Iterator<Item = &'a str>,
        takes: Duration,
    ) {
        let ips = hosts.map(|host| self.namespaces.ip(host)).collect();
        self.names.set(name, ips, takes);
    }
}

/// The software of one host: all of its tasks end with it.
async fn alone(net: RealNet, software: impl Future<Output = turmoil::Result>) {
    if let Err(error) = LocalSet::new().run_until(software).await {
        net.wrong(format!("the software of a host failed: {error}"));
    }
}

fn report(net: &RealNet, done: io::Result<()>) {
    if let Err(error) = done {
        net.wrong(error.to_string());
    }
}

/// Aborts the TCP connections of a host, or those with one other: the kernel tells the other
/// ends with a reset, as far as that reaches them.
fn end_connections(net: &RealNet, with: Option<Ipv4Addr>) -> io::Result<()> {
    let mut command = Command::new("ss");
    command.args(["--kill", "--tcp", "--numeric"]);
    if let Some(ip) = with {
        command.args(["dst", &ip.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What the command runs in is what this thread is in.
    let status = net.inside(|| command.status())??;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other("`ss --kill` failed: the kernel needs INET_DIAG_DESTROY")),
    }
}
