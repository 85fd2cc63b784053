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
    /// Requests at rest, while names are refreshed, and while they are scraped.
    requests: [(Duration, Duration); 3],
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
        let (mut refreshes, mut refreshing) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let work = timed(fleet.refresh());
            let ((), time) = alongside(work, public.listen(), links, &mut refreshing).await;
            refreshes.push(time);
        }
        let refreshed = public.resident_bytes();

        let mut scrape_bytes = 0;
        let (mut scrapes, mut scraping) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (time, bytes) = scrape(public.admin()).await;
            scrapes.push(time);
            scrape_bytes = bytes;
            alongside(scrape(public.admin()), public.listen(), links, &mut scraping).await;
        }
        let peak = public.peak_resident_bytes();
        Self {
            links,
            names: links * each,
            register,
            refresh: median_and_most(refreshes),
            requests: [at_rest, refreshing, scraping].map(median_and_most),
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

/// Does `work`, and asks for some names, one after the other, for as long as that
/// takes.
async fn alongside<T>(
    work: impl Future<Output = T>,
    public: SocketAddr,
    links: usize,
    asked: &mut Vec<Duration>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            time = request(public, links, asked.len()) => asked.push(time),
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
        let [at_rest, refreshing, scraping] = self.requests.map(both);
        writeln!(f, "| a request at rest: median, slowest | {at_rest} |")?;
        writeln!(f, "| a request while refreshing: median, slowest | {refreshing} |")?;
        writeln!(f, "| a request while scraped: median, slowest | {scraping} |")?;
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
