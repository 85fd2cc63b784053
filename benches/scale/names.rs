//! Names: registered, refreshed, asked for, and scraped.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use ops_proxy_tests::client;

use crate::fleet::{self, Fleet};
use crate::scrape::scrape;
use crate::{median_and_most, megabytes, milliseconds, peer};

/// Requests are asked for of one in so many links.
const ASKED_LINKS: usize = 97;

/// What a listening peer of many names was measured to need.
pub(crate) struct Names {
    links: usize,
    names: usize,
    register: Duration,
    refresh: (Duration, Duration),
    /// Requests at rest, and while names are refreshed.
    requests: [(Duration, Duration); 2],
    scrape: (Duration, Duration),
    scrape_bytes: usize,
    /// Of the peer without names, with them, refreshed, and at most, scraped.
    resident: [usize; 4],
}

impl Names {
    /// Starts a peer and measures it.
    pub(crate) async fn measure(links: usize, each: usize, rounds: usize) -> Self {
        let public = peer("--listen 127.0.0.1:0 --peer-timeout 10m --heartbeat 1m").await;
        let empty = public.resident_bytes();
        let (mut fleet, register) = timed(Fleet::register(public.listen(), links, each)).await;
        let registered = public.resident_bytes();

        let mut at_rest = Vec::new();
        for turn in 0..100 {
            at_rest.push(request(public.listen(), links, turn).await);
        }
        let mut refreshes = Vec::new();
        let mut meanwhile = Vec::new();
        for _ in 0..rounds {
            refreshes.push(refresh(&mut fleet, public.listen(), links, &mut meanwhile).await);
        }
        let refreshed = public.resident_bytes();

        let mut scrapes = Vec::new();
        let mut scrape_bytes = 0;
        for _ in 0..rounds {
            let (time, bytes) = scrape(public.admin()).await;
            scrapes.push(time);
            scrape_bytes = bytes;
        }
        let peak = public.peak_resident_bytes();
        Self {
            links,
            names: links * each,
            register,
            refresh: median_and_most(refreshes),
            requests: [median_and_most(at_rest), median_and_most(meanwhile)],
            scrape: median_and_most(scrapes),
            scrape_bytes,
            resident: [empty, registered, refreshed, peak],
        }
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let output = work.await;
    (output, begun.elapsed())
}

/// Refreshes every name once, and asks for some of them, one after the other, for
/// as long as that takes.
async fn refresh(
    fleet: &mut Fleet,
    public: SocketAddr,
    links: usize,
    meanwhile: &mut Vec<Duration>,
) -> Duration {
    let mut refreshing = pin!(timed(fleet.refresh()));
    loop {
        tokio::select! {
            biased;
            ((), time) = &mut refreshing => return time,
            asked = request(public, links, meanwhile.len()) => meanwhile.push(asked),
        }
    }
}

/// One request on a connection of its own.
async fn request(public: SocketAddr, links: usize, turn: usize) -> Duration {
    let name = fleet::name(turn * ASKED_LINKS % links, 0);
    let (answer, time) = timed(client::get(public, "/", &name)).await;
    assert_eq!(answer.status, 200);
    time
}

/// Markdown, one figure a row.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names;
        let [empty, registered, refreshed, peak] = self.resident;
        let both = |(median, most): (Duration, Duration)| {
            format!("{:.1} ms, {:.1} ms", milliseconds(median), milliseconds(most))
        };
        let rate = |time: Duration| names as f64 / time.as_secs_f64();
        writeln!(f, "| {names} names of {} links | |\n|---|---:|", self.links)?;
        let ms = milliseconds(self.register);
        writeln!(f, "| registering all | {ms:.0} ms, {:.0} a second |", rate(self.register))?;
        let refresh = both(self.refresh);
        writeln!(f, "| refreshing all: median, slowest | {refresh} |")?;
        let [at_rest, meanwhile] = self.requests.map(both);
        writeln!(f, "| a request at rest: median, slowest | {at_rest} |")?;
        writeln!(f, "| a request while refreshing: median, slowest | {meanwhile} |")?;
        let scrape = both(self.scrape);
        writeln!(f, "| `/metrics`: median, slowest | {scrape} |")?;
        writeln!(f, "| its text | {:.1} MB |", megabytes(self.scrape_bytes))?;
        writeln!(f, "| resident without names | {:.1} MB |", megabytes(empty))?;
        let each = registered.saturating_sub(empty) / names;
        let resident = megabytes(registered);
        writeln!(f, "| resident with them | {resident:.1} MB, {each} bytes a name |")?;
        writeln!(f, "| resident once refreshed | {:.1} MB |", megabytes(refreshed))?;
        writeln!(f, "| most resident while scraped | {:.1} MB |\n", megabytes(peak))
    }
}
