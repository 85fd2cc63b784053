//! The README's quick start, line by line, on a network of its own: that its ports are free
//! there is all that differs from a reader's machine. That takes root.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use ops_proxy_tests::wait::{skipped, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::BINARY;

/// What the README has its readers type, and what it promises them.
#[derive(Debug)]
enum Step {
    /// Text before the next block says that this is logged first.
    Logged(String),
    /// Commands, as they stand.
    Commands(String),
    /// A command, and the lines that it prints.
    Shown(String, Vec<String>),
}

/// The steps of the section below this heading, up to the next heading.
fn steps(readme: &str, heading: &str) -> Vec<Step> {
    let (_, section) = readme.split_once(heading).expect("the README has this section");
    let section = section.split("\n#").next().expect("a first part");
    let mut steps = Vec::new();
    let mut parts = section.split("```");
    loop {
        let Some(prose) = parts.next() else { return steps };
        for said in prose.split("logs `").skip(1) {
            let line = said.split('`').next().expect("a first part");
            steps.push(Step::Logged(line.to_owned()));
        }
        let Some(block) = parts.next() else { return steps };
        match block.split_once('\n').expect("a block has lines") {
            ("sh", commands) => steps.push(Step::Commands(commands.to_owned())),
            ("console", session) => {
                for one in session.split("$ ").skip(1) {
                    let mut lines = one.lines().map(str::to_owned);
                    let command = lines.next().expect("a command behind the prompt");
                    steps.push(Step::Shown(command, lines.collect()));
                }
            }
            (language, _) => panic!("a block in {language:?} is none that can be run"),
        }
    }
}

/// A shell on a network of its own, and all that was started in it.
struct Machine {
    network: String,
    shell: Child,
    input: ChildStdin,
    directory: TempDir,
    commands: usize,
}

fn ip(args: &[&str]) -> Option<String> {
    let output = Command::new("ip").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
}

impl Machine {
    /// `None` where this process may not have one.
    fn start() -> Option<Self> {
        let network = format!("ops-proxy-readme-{}", std::process::id());
        ip(&["netns", "add", &network])?;
        ip(&["-n", &network, "link", "set", "lo", "up"])?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        fs::create_dir(at("work")).unwrap();
        symlink(BINARY, at("bin/ops-proxy")).unwrap();
        let mut path = OsString::from(at("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").expect("tests have a path"));
        let mut shell = Command::new("ip")
            .args(["netns", "exec", &network, "bash"])
            .env_clear()
            .env("PATH", path)
            .current_dir(at("work"))
            .stdin(Stdio::piped())
            .stdout(File::create(at("stdout")).unwrap())
            .stderr(File::create(at("stderr")).unwrap())
            .spawn()
            .expect("ip was there before");
        let input = shell.stdin.take().expect("it is piped");
        Some(Self { network, shell, input, directory, commands: 0 })
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.directory.path().join(file)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until something that runs here has logged this.
    async fn logged(&self, text: &str) {
        until(&format!("the log to say {text:?}"), async || {
            let said = self.read("stdout") + &self.read("stderr");
            said.contains(text).then_some(())
        })
        .await;
    }

    /// Runs commands as they would be typed; what they print.
    async fn run(&mut self, commands: &str) -> String {
        self.commands += 1;
        let mark = format!("=== {} ", self.commands);
        let before = self.read("stdout").len();
        let typed = format!("{}\necho \"{mark}$?\"\n", commands.trim_end());
        self.input.write_all(typed.as_bytes()).expect("the shell reads");
        let what = format!("the end of {commands:?}");
        let (said, code) = until(&what, async || {
            let printed = self.read("stdout");
            let (said, code) = printed[before..].split_once(&mark)?;
            code.ends_with('\n').then(|| (said.to_owned(), code.trim().to_owned()))
        })
        .await;
        assert_eq!(code, "0", "{commands}\n{said}\n{}", self.read("stderr"));
        said
    }

    /// The processes that run here, the shell among them.
    fn processes(&self) -> Vec<i32> {
        let pids = ip(&["netns", "pids", &self.network]).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().expect("a number")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- stderr\n{}\n---", self.read("stderr"));
        }
        for pid in self.processes() {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_raw(pid).expect("a process has a number"), Signal::KILL);
        }
        let _ = self.shell.wait();
        ip(&["netns", "del", &self.network]);
    }
}

fn there_is(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn readme() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("README.md")).unwrap()
}

#[tokio::test]
async fn the_quick_start_works_as_it_stands_and_answers_as_it_promises() {
    if let Some(missing) = ["ip", "bash", "curl", "python3"].iter().find(|one| !there_is(one)) {
        return skipped(&format!("there is no {missing}"));
    }
    let Some(mut machine) = Machine::start() else {
        return skipped("this process may not have a network of its own");
    };
    let steps = steps(&readme(), "## Use it\n");
    let shown = steps.iter().filter(|step| matches!(step, Step::Shown(..))).count();
    assert!(shown >= 4, "the README promises these answers only: {steps:?}");
    let mut said = String::new();
    for step in steps {
        match step {
            Step::Logged(line) => machine.logged(&line).await,
            Step::Commands(commands) => said = machine.run(&commands).await,
            Step::Shown(command, promised) => {
                let printed = machine.run(&command).await;
                assert_eq!(printed.lines().collect::<Vec<_>>(), promised, "{command}");
            }
        }
    }
    assert!(said.contains("app.example") && said.contains("site-1"), "the status is: {said}");
    let log = machine.read("stderr");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    until("the end of all that was started", async || {
        (machine.processes().len() == 1).then_some(())
    })
    .await;
}
