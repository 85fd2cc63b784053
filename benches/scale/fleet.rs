//! A thousand connecting peers in one program: links that register names, refresh
//! them, and serve what is forwarded to them with a small answer.

use std::net::SocketAddr;

use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/// Links to one listening peer, each with as many names.
pub(crate) struct Fleet {
    links: Vec<(OwnedWriteHalf, String)>,
    /// What each OK took in, of whichever link.
    taken: mpsc::Receiver<usize>,
    names: usize,
    _readers: JoinSet<()>,
}

/// A name of a link.
pub(crate) fn name(link: usize, index: usize) -> String {
    format!("app-{index:03}.site-{link:04}.example")
}

impl Fleet {
    /// Dials `to` for each link and registers its names; returns once all of them
    /// have been taken.
    pub(crate) async fn register(to: SocketAddr, links: usize, names: usize) -> Self {
        let (took, taken) = mpsc::channel(links);
        let mut fleet = Self {
            links: Vec::with_capacity(links),
            taken,
            names: links * names,
            _readers: JoinSet::new(),
        };
        for link in 0..links {
            let (reader, mut writer) = connect(to).await.into_split();
            let all: Vec<String> = (0..names).map(|index| name(link, index)).collect();
            let register = format!("REGISTER:{}\n", all.join(","));
            let lines = format!("HELLO:1:site-{link:04}\n{register}");
            writer.write_all(lines.as_bytes()).await.unwrap();
            fleet.links.push((writer, register));
            fleet._readers.spawn(serve(to, reader, took.clone()));
        }
        fleet.taken().await;
        fleet
    }

    /// Registers every name once more; returns once all have been taken.
    pub(crate) async fn refresh(&mut self) {
        for (writer, register) in &mut self.links {
            writer.write_all(register.as_bytes()).await.unwrap();
        }
        self.taken().await;
    }

    async fn taken(&mut self) {
        let all = async {
            let mut left = self.names;
            while left > 0 {
                left -= self.taken.recv().await.expect("a link was lost");
            }
        };
        within("all names to be taken", all).await;
    }
}

/// Reads the lines of a link until it ends.
async fn serve(to: SocketAddr, link: OwnedReadHalf, took: mpsc::Sender<usize>) {
    let mut lines = BufReader::new(link).lines();
    let mut answers = JoinSet::new();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_once(':') {
            Some(("OK", count)) => took.send(count.parse().unwrap()).await.unwrap(),
            Some(("FORWARD", rest)) => {
                let id = rest.split(':').next().unwrap().to_owned();
                answers.spawn(answer(to, id));
            }
            _ => panic!("the peer said {line}"),
        }
        while answers.try_join_next().is_some() {}
    }
}

async fn answer(to: SocketAddr, id: String) {
    let mut data = link::data(connect(to).await, &id).await;
    client::raw_head(&mut data).await;
    data.write_all(ANSWER).await.unwrap();
    data.shutdown().await.unwrap();
    let _ = client::to_end(&mut data).await;
}
