//! The hosts of a run as network namespaces: each with one cable to a bridge, which is in a
//! namespace of its own. All of them go with the value.
//!
//! Every host knows the hardware address of every other by heart. So a way is cut by telling
//! both ends a wrong one, and a host falls silent by being told a wrong one of everybody:
//! nothing is refused or unreachable, it only never arrives. (A cable that is put back takes
//! the kernel up to a second.)

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::names::SERVER;

/// Where `ip netns` keeps the namespaces that have names.
const MOUNTED: &str = "/run/netns";

/// Where `ip netns exec` looks for what takes the place of files in `/etc`.
const ETC: &str = "/etc/netns";

/// The hardware address of nobody.
const NOBODY: &str = "02:ff:ff:ff:ff:ff";

/// What cannot be had without more rights or other programs.
#[derive(Debug, thiserror::Error)]
pub enum NoNamespaces {
    /// A program is missing.
    #[error("there is no `{0}`: install iproute2, whose `ip` and `ss` this needs")]
    Missing(&'static str),
    /// The rights are missing.
    #[error("cannot make a network namespace: run this as root ({0})")]
    Refused(String),
}

/// Whether this process may make namespaces, and has what that takes.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn can_be_made() -> Result<(), NoNamespaces> {
    for program in ["ip", "ss"] {
        let asked = Command::new(program).arg("-Version").stdout(Stdio::null()).status();
        asked.map_err(|_| NoNamespaces::Missing(program))?;
    }
    static PROBED: AtomicU32 = AtomicU32::new(0);
    let name = format!("opsx-{}-probe{}", std::process::id(), PROBED.fetch_add(1, Relaxed));
    batch(None, &[format!("netns add {name}")])
        .map_err(|error| NoNamespaces::Refused(error.to_string()))?;
    let _ = batch(None, &[format!("netns del {name}")]);
    Ok(())
}

/// The hosts of one run.
#[derive(Debug)]
pub(super) struct Namespaces {
    prefix: String,
    numbers: BTreeMap<String, u8>,
    /// From one host to another: nothing arrives.
    closed: RefCell<BTreeSet<(u8, u8)>>,
    /// Hosts that send, and nothing of it arrives.
    silent: RefCell<BTreeSet<u8>>,
}

impl Namespaces {
    /// Makes a namespace for each of these hosts.
    ///
    /// # Errors
    /// What `ip` had against it, or the file that could not be written.
    pub(super) fn make<'a>(
        prefix: String,
        hosts: impl Iterator<Item = &'a str>,
    ) -> io::Result<Self> {
        let numbers = (1..=u8::MAX).zip(hosts).map(|(number, host)| (host.to_owned(), number));
        let numbers = numbers.collect();
        let made = Self { prefix, numbers, closed: RefCell::default(), silent: RefCell::default() };
        for (namespace, lines) in made.plan() {
            batch(namespace.as_deref(), &lines)?;
        }
        for host in made.numbers.keys() {
            made.write_etc(host)?;
        }
        Ok(made)
    }

    /// What to tell `ip`, in order, and in which namespace.
    fn plan(&self) -> Vec<(Option<String>, Vec<String>)> {
        let bridge = format!("{}-bridge", self.prefix);
        let mut outside = vec![format!("netns add {bridge}")];
        let mut within = vec!["link add name br0 type bridge".to_owned(), "link set br0 up".into()];
        let mut hosts = Vec::new();
        for (host, number) in &self.numbers {
            let name = self.name(host);
            outside.push(format!("netns add {name}"));
            outside.push(format!(
                "link add name p{number} netns {bridge} type veth peer name eth0 netns {name}"
            ));
            within.push(format!("link set p{number} master br0 up"));
            let mut lines = vec![
                "link set lo up".to_owned(),
                format!("link set eth0 address {}", mac(*number)),
                format!("addr add {}/24 dev eth0", ip(*number)),
                "link set eth0 up".to_owned(),
            ];
            lines.extend(self.neighbours(*number));
            hosts.push((Some(name), lines));
        }
        [vec![(None, outside), (Some(bridge), within)], hosts].concat()
    }

    /// The name of a host's namespace.
    pub(super) fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Where a host's namespace is mounted.
    pub(super) fn mounted(&self, host: &str) -> PathBuf {
        Path::new(MOUNTED).join(self.name(host))
    }

    /// The address of a host.
    pub(super) fn ip(&self, host: &str) -> Ipv4Addr {
        ip(self.numbers[host])
    }

    /// What `a` and `b` send to each other arrives nowhere from now on; or it arrives again.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn set_way(&self, a: &str, b: &str, is_open: bool) -> io::Result<()> {
        self.set_one_way(a, b, is_open)?;
        self.set_one_way(b, a, is_open)
    }

    /// What `from` sends to `to` arrives nowhere from now on; or it arrives again.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn set_one_way(&self, from: &str, to: &str, is_open: bool) -> io::Result<()> {
        let way = (self.numbers[from], self.numbers[to]);
        match is_open {
            true => self.closed.borrow_mut().remove(&way),
            false => self.closed.borrow_mut().insert(way),
        };
        self.teach(from)
    }

    /// What this host sends arrives nowhere from now on; or it arrives again.
    ///
    /// # Errors
    /// What `ip` had against it.
    pub(super) fn set_silent(&self, host: &str, is_silent: bool) -> io::Result<()> {
        let number = self.numbers[host];
        let changes = match is_silent {
            true => self.silent.borrow_mut().insert(number),
            false => self.silent.borrow_mut().remove(&number),
        };
        if changes { self.teach(host) } else { Ok(()) }
    }

    /// Tells a host the addresses that it is to go by.
    fn teach(&self, host: &str) -> io::Result<()> {
        batch(Some(&self.name(host)), &self.neighbours(self.numbers[host]))
    }

    /// The hardware addresses of all others, as this host is to know them.
    fn neighbours(&self, number: u8) -> Vec<String> {
        let (closed, silent) = (self.closed.borrow(), self.silent.borrow());
        let others = self.numbers.values().copied().filter(|other| *other != number);
        let neighbour = |other| {
            let nowhere = silent.contains(&number) || closed.contains(&(number, other));
            let mac = if nowhere { NOBODY.to_owned() } else { mac(other) };
            format!("neigh replace {} lladdr {mac} dev eth0 nud permanent", ip(other))
        };
        others.map(neighbour).collect()
    }

    /// What takes the place of files in `/etc` for the peer on this host.
    fn write_etc(&self, host: &str) -> io::Result<()> {
        let directory = Path::new(ETC).join(self.name(host));
        fs::create_dir_all(&directory)?;
        // Twenty seconds in all, as where two servers are asked twice.
        let resolv = format!("nameserver {}\noptions timeout:10 attempts:2 ndots:0\n", SERVER.ip());
        let files = [
            ("resolv.conf", resolv),
            ("nsswitch.conf", "hosts: files dns\n".to_owned()),
            ("hosts", "127.0.0.1 localhost\n".to_owned()),
        ];
        // A machine without the file goes by the same default.
        for (file, text) in files.iter().filter(|(file, _)| Path::new("/etc").join(file).exists()) {
            fs::write(directory.join(file), text)?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let hosts = self.numbers.keys().map(String::as_str).chain(["bridge"]);
        for name in hosts.map(|host| self.name(host)) {
            // One that was never made is none that stays behind.
            let _ = batch(None, &[format!("netns del {name}")]);
            let _ = fs::remove_dir_all(Path::new(ETC).join(&name));
        }
        // Only where nobody else uses it.
        let _ = fs::remove_dir(ETC);
    }
}

/// As in the simulation, since scenarios name networks.
fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 0, number)
}

fn mac(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Has `ip` do all of this, in the namespace of this name.
fn batch(namespace: Option<&str>, lines: &[String]) -> io::Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-batch", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it thinks of that, it says when it ends.
        let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_cable_to_the_bridge_and_knows_all_others() {
        let numbers = [("edge".to_owned(), 1), ("site".to_owned(), 2)].into();
        // Never made, and so nothing to remove.
        let planned = std::mem::ManuallyDrop::new(Namespaces {
            prefix: "x".to_owned(),
            numbers,
            closed: RefCell::default(),
            silent: RefCell::default(),
        });
        let plan = planned.plan();
        assert_eq!(plan.len(), 4);
        let link = "link add name p2 netns x-bridge type veth peer name eth0 netns x-site";
        assert!(plan[0].1.iter().any(|line| line == link));
        let site = &plan[3];
        assert_eq!(site.0.as_deref(), Some("x-site"));
        assert!(site.1.contains(&"addr add 192.168.0.2/24 dev eth0".to_owned()));
        let knows = "neigh replace 192.168.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent";
        assert_eq!(site.1.last().map(String::as_str), Some(knows));
        planned.silent.borrow_mut().insert(1);
        assert!(planned.neighbours(1)[0].contains(NOBODY));
        assert!(!planned.neighbours(2)[0].contains(NOBODY));
        planned.silent.borrow_mut().clear();
        planned.closed.borrow_mut().insert((2, 1));
        assert!(planned.neighbours(2)[0].contains(NOBODY));
        assert!(!planned.neighbours(1)[0].contains(NOBODY), "only one of them is not heard");
    }
}
