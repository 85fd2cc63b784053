//! Chromium without a window, told what to do over the pipe of its DevTools protocol: it says
//! what a page holds at a moment that the test chooses.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ops_proxy_tests::wait::{skipped, until, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

const PROGRAM: &str = "chromium";

/// It takes commands on its descriptor 3, and answers on 4.
const START: &str = "exec chromium --headless=new --no-sandbox --disable-gpu \
                     --disable-dev-shm-usage --no-first-run --remote-debugging-pipe \
                     --user-data-dir=profile about:blank 3<>commands 4<>answers";

/// A browser, ended when dropped.
pub(super) struct Browser {
    child: Child,
    commands: File,
    answers: mpsc::UnboundedReceiver<Value>,
    last: u64,
    _directory: TempDir,
}

/// A page in it.
pub(super) struct Tab(String);

impl Browser {
    /// One of its own; none, which is said, where Chromium is not installed.
    pub(super) async fn start() -> Option<Self> {
        if Command::new(PROGRAM).arg("--version").output().is_err() {
            skipped("chromium is not installed: nothing is shown about the page in a browser");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        let made = Command::new("mkfifo").args([at("commands"), at("answers")]).status().unwrap();
        assert!(made.success());
        let child = Command::new("sh")
            .args(["-c", START])
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at("stderr")).unwrap())
            .spawn()
            .unwrap();
        // For both, so that opening them waits for nobody.
        let both = |file: &str| OpenOptions::new().read(true).write(true).open(at(file)).unwrap();
        let (commands, answers) = (both("commands"), both("answers"));
        let (sender, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let messages = BufReader::new(answers).split(0).map_while(Result::ok);
            for message in messages {
                let message = serde_json::from_slice(&message).expect("messages are JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, commands, answers: receiver, last: 0, _directory: directory })
    }

    /// Opens a page and waits until it is loaded.
    pub(super) async fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({ "url": url })).await;
        let id = &target["targetId"];
        let attach = json!({ "targetId": id, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await;
        let tab = Tab(attached["sessionId"].as_str().unwrap().to_owned());
        self.resize(&tab, 1280, 900, false).await;
        self.holds(&tab, "document.readyState === 'complete'").await;
        tab
    }

    /// What an expression gives on the page.
    pub(super) async fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call(Some(tab), "Runtime.evaluate", asked).await;
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true on the page.
    pub(super) async fn holds(&mut self, tab: &Tab, expression: &str) {
        until(expression, async || (self.evaluate(tab, expression).await == true).then_some(()))
            .await;
    }

    /// Waits until the page shows this text.
    pub(super) async fn says(&mut self, tab: &Tab, text: &str) {
        let shows = format!("document.body.innerText.includes({})", json!(text));
        self.holds(tab, &shows).await;
    }

    /// Gives the window another size, in CSS pixels.
    pub(super) async fn resize(&mut self, tab: &Tab, width: u32, height: u32, mobile: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Whoever looks prefers a dark page, or a light one.
    pub(super) async fn dark(&mut self, tab: &Tab, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call(Some(tab), "Emulation.setEmulatedMedia", wish).await;
    }

    /// Saves what the page looks like, for people, as `target/screenshots/NAME.png`.
    pub(super) async fn screenshot(&mut self, tab: &Tab, name: &str) {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.call(Some(tab), "Page.captureScreenshot", whole).await;
        let png = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let folder = screenshots();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// Calls a method of the protocol and waits for its result.
    async fn call(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(Tab(session)) = tab {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = within(method, self.answers.recv()).await.expect("the browser lives");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its own processes when it is asked to.
        let close = json!({ "id": self.last + 1, "method": "Browser.close" });
        let asked = self.commands.write_all(format!("{close}\0").as_bytes());
        if asked.is_err() || std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Beside what else is built.
fn screenshots() -> PathBuf {
    let binary = Path::new(crate::BINARY);
    let target = binary.ancestors().nth(2).expect("a binary is in target/PROFILE");
    target.join("screenshots")
}
