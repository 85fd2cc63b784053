//! The command under test as a process of its own: started, its log read, asked
//! for its metrics, and ended with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, prlimit};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{self, Answer};
use crate::metrics::Metrics;
use crate::wait::until;

/// The `node` label of every peer started here.
pub const NODE: &str = "node-under-test";
/// The `pod` label of every peer started here.
pub const POD: &str = "pod-under-test";

/// How the log begins to say that a successor has taken over.
const TAKEN_OVER: &str = "another process has taken over";

/// The next port for a peer whose log tells no address.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// The release build of the command, in the target directory that this program is in, whatever
/// this program was built with.
pub fn released() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let target = here.parent().and_then(Path::parent).expect("it is in the folder of its profile");
    let binary = target.join("release/ops-proxy");
    assert!(binary.exists(), "no {}: cargo build --release -p ops-proxy", binary.display());
    binary
}

/// A command line and an environment, about to be started. Nothing is inherited
/// from the environment of the tests.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    command_line: String,
}

impl Launch {
    /// The command at `binary`, without arguments.
    pub fn new(binary: &str) -> Self {
        let mut command = Command::new(binary);
        command.env_clear().env("NODE_NAME", NODE).env("POD_NAME", POD);
        Self { command, command_line: String::new() }
    }

    /// Adds arguments, separated by white space.
    pub fn args(mut self, args: &str) -> Self {
        self.command.args(args.split_whitespace());
        self.command_line.push_str(args);
        self.command_line.push(' ');
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Hands it this socket, as systemd does.
    pub fn given(mut self, socket: impl Into<OwnedFd>) -> Self {
        const FIRST: i32 = 3;
        let mapping = FdMapping { parent_fd: socket.into(), child_fd: FIRST };
        self.command.fd_mappings(vec![mapping]).expect("one descriptor collides with no other");
        self.env("LISTEN_FDS", "1")
    }

    /// Starts it.
    pub fn start(self) -> Process {
        self.start_logging_to(Stdio::piped())
    }

    /// Starts it with `stderr` in the hands of the test, which sees nothing of it.
    pub fn start_logging_to(mut self, stderr: impl Into<Stdio>) -> Process {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .expect("the binary under test starts");
        let stdout = gather(child.stdout.take().expect("stdout is piped"));
        let stderr = child.stderr.take().map_or_else(Output::default, gather);
        let successors = Vec::new();
        Process { child, successors, command_line: self.command_line, stdout, stderr }
    }

    /// Starts it as a peer that writes its log to `stderr`, where the test does not read
    /// it, and waits until it is ready. It listens on an address of its own, since its
    /// log tells none.
    pub async fn peer_logging_to(self, stderr: impl Into<Stdio>) -> Peer {
        // All of 127.0.0.0/8 is this machine, and outgoing connections come from
        // 127.0.0.1: nobody else takes these ports.
        let host = Ipv4Addr::from_bits(0x7f40_0000 | (std::process::id() & 0x3f_ffff));
        let port = 20_000 + NEXT_PORT.fetch_add(2, Ordering::Relaxed);
        let [listen, admin] = [port, port + 1].map(|port| SocketAddr::from((host, port)));
        let launch = self.args(&format!("--listen {listen} --admin {admin} --log-format json"));
        let peer = Peer {
            listen: Some(listen),
            tcp: Vec::new(),
            udp: Vec::new(),
            admin,
            process: launch.start_logging_to(stderr),
        };
        until("the peer to be ready", async || {
            let connected = TcpStream::connect(admin).await.ok()?;
            drop(connected);
            (peer.page("/readyz").await.status == 200).then_some(())
        })
        .await;
        peer
    }

    /// Starts it as a peer and waits until it is ready. The arguments given
    /// before are those of `run`.
    pub async fn peer(self) -> Peer {
        let launch = self.args("--admin 127.0.0.1:0 --log-format json");
        let process = launch.start().logged("ready").await;
        let process = process.logged("ready").await;
        let events = process.events();
        let bound = |what: &str| -> Vec<SocketAddr> {
            let listening = events
                .iter()
                .filter(|event| event.message() == "listening" && event.field("what") == what);
            listening.map(|event| event.field("addr").parse().expect("addr is IP:PORT")).collect()
        };
        Peer {
            listen: bound("listen").first().copied(),
            tcp: bound("tcp"),
            udp: bound("udp"),
            admin: *bound("admin").first().expect("the admin address is logged"),
            process,
        }
    }
}

/// A running command; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Those that have taken over from it, one after another.
    successors: Vec<Pid>,
    command_line: String,
    stdout: Output,
    stderr: Output,
}

impl Process {
    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.lines().join("\n")
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lines().join("\n")
    }

    /// The log events so far, of a process that logs JSON.
    pub fn events(&self) -> Vec<Event> {
        self.stderr.lines().iter().filter_map(|line| Event::parse(line)).collect()
    }

    /// Waits for an event with this message.
    ///
    /// # Panics
    /// When the process ends without one.
    pub async fn logged(mut self, message: &str) -> Self {
        until(&format!("the log to say {message:?}"), async || {
            if self.events().iter().any(|event| event.message() == message) {
                return Some(());
            }
            if let Some(status) = self.child.try_wait().expect("own child") {
                panic!("{:?} ended, {status}", self.command_line);
            }
            None
        })
        .await;
        self
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process of our own, not waited for yet");
    }

    /// The process, or the last that has taken over from it.
    fn pid(&self) -> Pid {
        self.successors.last().copied().unwrap_or_else(|| Pid::from_child(&self.child))
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Has a new process take over, and waits until it has: from then on, the new one gets
    /// the signals. Both write to the same log.
    pub async fn upgrade(&mut self) {
        self.ask_for_upgrade();
        let known = self.successors.clone();
        let pid = until("another process to take over", async || {
            let events = self.events().into_iter();
            let taken = events.filter(|event| event.message().starts_with(TAKEN_OVER));
            let mut pids = taken.filter_map(|event| Pid::from_raw(event.number("pid") as i32));
            pids.find(|pid| !known.contains(pid))
        });
        let pid = pid.await;
        self.successors.push(pid);
    }

    /// Sends SIGUSR2.
    pub fn ask_for_upgrade(&self) {
        self.signal(Signal::USR2);
    }

    /// Kills it and all that have taken over from it.
    fn kill_all(&mut self) {
        // Fails only if there are none any more.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }

    /// A process that this one has started.
    pub fn child(&self) -> Option<Pid> {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).expect("a running process of our own");
        Pid::from_raw(children.split_whitespace().next()?.parse().expect("a process id"))
    }

    /// Kills a process that this one has started.
    pub fn kill(&self, child: Pid) {
        kill_process(child, Signal::KILL).expect("a process that was started by ours");
    }

    /// Waits for the end of the process that was started first; the exit code.
    pub async fn first_ended(&mut self) -> Option<i32> {
        let what = format!("the first process of {:?} to end", self.command_line);
        until(&what, async || self.child.try_wait().expect("own child")).await.code()
    }

    /// How many TCP sockets it listens on.
    pub fn tcp_listeners(&self) -> usize {
        let pid = self.pid();
        let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("a process of our own")
            .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.replace(']', "")))
            .collect();
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("it has a network");
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        // The state, 0A for one that listens, and the inode.
        rows.filter(|row| row[3] == "0A" && inodes.iter().any(|inode| inode == row[9])).count()
    }

    /// Waits for its end and for all of its output.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{:?} to end", self.command_line);
        let status = until(&what, async || self.child.try_wait().expect("own child")).await;
        self.stdout.join();
        self.stderr.join();
        status
    }

    /// Waits for its end; the exit code, stdout and stderr.
    pub async fn output(mut self) -> (Option<i32>, String, String) {
        let status = self.ended().await;
        (status.code(), self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_all();
        self.stdout.join();
        self.stderr.join();
        if std::thread::panicking() {
            println!("--- stderr of {:?}\n{}\n---", self.command_line, self.stderr());
        }
    }
}

/// Lines that a thread reads from a pipe until it closes.
#[derive(Debug, Default)]
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

fn gather(pipe: impl Read + Send + 'static) -> Output {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let gathered = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            gathered.lock().unwrap().push(line);
        }
    });
    Output { lines, reader: Some(reader) }
}

impl Output {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// All of it, of a process that has ended.
    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading lines does not panic");
        }
    }
}

/// One event of a JSON log.
#[derive(Debug, Clone)]
pub struct Event(Value);

impl Event {
    fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(Value::is_object).map(Self)
    }

    /// What happened.
    pub fn message(&self) -> &str {
        self.field("message")
    }

    /// `INFO`, `WARN` and so on.
    pub fn level(&self) -> &str {
        self.0["level"].as_str().unwrap_or_default()
    }

    /// A field of the event as a number; 0 when it has none of that name.
    pub fn number(&self, name: &str) -> f64 {
        self.0["fields"][name].as_f64().unwrap_or_default()
    }

    /// A field of the event as text; empty when it has none of that name.
    pub fn field(&self, name: &str) -> &str {
        self.0["fields"][name].as_str().unwrap_or_default()
    }
}

/// A running peer that was ready. When dropped it is killed, and its log must
/// hold no ERROR event and no panic.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    listen: Option<SocketAddr>,
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Peer {
    /// Where it takes public traffic and connecting peers.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn listen(&self) -> SocketAddr {
        self.listen.expect("started with --listen")
    }

    /// Its raw TCP listeners, in the order of the arguments.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Its UDP ports, in the order of the arguments.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Where its admin pages are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its log events so far.
    pub fn events(&self) -> Vec<Event> {
        self.process.events()
    }

    /// Waits for a log event of which this holds, and says `what` that is. What a peer has counted
    /// or answered may not be in its log yet.
    pub async fn logged(&self, what: &str, holds: impl Fn(&Event) -> bool) -> Event {
        until(&format!("the log to say {what}"), async || {
            self.events().into_iter().find(|event| holds(event))
        })
        .await
    }

    /// Its log so far, as it was written.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.process.signal(Signal::INT);
    }

    /// Lets it open no more than so many files in all.
    pub fn limit_files(&self, files: u64) {
        let pid = self.process.pid();
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        prlimit(Some(pid), Resource::Nofile, limit).expect("a process of our own");
    }

    /// The memory that it has in use, in bytes.
    pub fn resident_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it ever had in use, in bytes.
    pub fn peak_resident_bytes(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    /// The threads that it has.
    pub fn threads(&self) -> usize {
        self.status("Threads:").parse().expect("a number")
    }

    /// How often each of its workers has waited for something to do, in their order.
    pub fn workers(&self) -> Vec<usize> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.child.id()));
        let mut workers: Vec<(String, usize)> = tasks
            .expect("a running process")
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .filter_map(|status| {
                let field = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
                let name = field("Name:")?.trim();
                let waits = field("voluntary_ctxt_switches:")?.trim().parse().ok()?;
                name.starts_with("worker ").then(|| (name.to_owned(), waits))
            })
            .collect();
        workers.sort();
        workers.into_iter().map(|(_, waits)| waits).collect()
    }

    fn status_bytes(&self, what: &str) -> usize {
        let status = self.status(what);
        let kibibytes = status.strip_suffix(" kB");
        kibibytes.and_then(|number| number.parse::<usize>().ok()).expect("a number in kB") * 1024
    }

    fn status(&self, what: &str) -> String {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        line.expect("a line of the status").trim().to_owned()
    }

    /// Waits for its end; the exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    pub async fn exit_code(&mut self) -> i32 {
        let status = self.process.ended().await;
        status.code().unwrap_or_else(|| panic!("ended by signal {:?}", status.signal()))
    }

    /// An admin page.
    pub async fn page(&self, path: &str) -> Answer {
        client::get(self.admin, path, "admin").await
    }

    /// Its metrics now, read strictly.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.page("/metrics").await;
        assert_eq!(answer.status, 200);
        Metrics::parse(&answer.text()).expect("valid text format")
    }

    /// Waits until `holds` of its metrics.
    pub async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, async || Some(self.metrics().await).filter(&holds)).await
    }

    /// Waits until these names, and no others, have a live provider.
    pub async fn serves(&self, names: &[&str]) {
        self.until(&format!("providers of {names:?}"), |metrics| {
            let up = |name: &str| metrics.value("ops_proxy_client_up", &[("client_name", name)]);
            metrics.value("ops_proxy_clients_connected", &[]) == names.len() as f64
                && names.iter().all(|name| up(name) == 1.0)
        })
        .await;
    }

    /// Waits until no request runs and no DATA connection is waited for.
    pub async fn quiet(&self) -> Metrics {
        self.until("no request", |metrics| {
            metrics.value("ops_proxy_connections_active", &[]) == 0.0
                && metrics.value("ops_proxy_pending_data_connections", &[]) == 0.0
        })
        .await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.process.kill_all();
        self.process.stderr.join();
        let log = self.log();
        let errors = self.events().iter().filter(|event| event.level() == "ERROR").count();
        assert!(errors == 0 && !log.contains("panicked at"), "errors in the log:\n{log}");
    }
}
