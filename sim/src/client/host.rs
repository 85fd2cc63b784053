//! The host of a client.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ops_proxy::config::Endpoint;

use super::orders::{Order, Orders};
use super::outcome::{Ending, Outcome, Outcomes};
use super::progress::Progress;
use super::{datagrams, exchange, http2, raw};
use crate::ground::Ground;
use crate::scenario::steps::{Request, Via};

/// What a client that was told nothing else waits for the end of a request:
/// longer than every deadline of the peers together. One that is not over by
/// then has outlived them.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(120);

/// The software of one client host.
#[derive(Clone)]
pub struct Client<N> {
    /// The host's name.
    pub name: Rc<str>,
    /// Its network.
    pub net: N,
    /// What it is told to do.
    pub orders: Rc<Orders>,
    /// Where it says how that went.
    pub outcomes: Outcomes,
}

impl<N: Ground> Client<N> {
    /// Carries out orders for ever.
    pub async fn run(self) -> turmoil::Result {
        loop {
            while let Some(order) = self.orders.next_request() {
                let carried_out = self.clone().carry_out(order);
                tokio::task::spawn_local(self.net.watched(carried_out));
            }
            while let Some(order) = self.orders.next_raw() {
                tokio::task::spawn_local(raw::run(self.net.clone(), order));
            }
            self.orders.more().await;
        }
    }

    async fn carry_out(self, order: Order) {
        let began = self.net.elapsed();
        let Order { number, request, .. } = &order;
        let patience = request.patience.map_or(LONGEST_REQUEST, |patience| patience.0);
        let own_will = request.patience.is_some();
        self.outcomes.begin(Outcome {
            number: *number,
            client: self.name.to_string(),
            request: request.clone(),
            began,
            answered: None,
            ended: None,
            sent: 0,
            heads_sent: 0,
            received: 0,
            told: 0,
            answers: Vec::new(),
            end: Ending::Open,
        });
        let mut progress = Progress::begin(*number, self.outcomes.clone(), self.net.clone());
        let asked = ask(&self.net, &mut progress, &order);
        let end = match tokio::time::timeout(patience, asked).await {
            Ok(end) => end,
            Err(_) if own_will => Ending::GaveUp,
            Err(_) => Ending::Open,
        };
        progress.end(end);
    }
}

async fn ask<N: Ground>(net: &N, progress: &mut Progress<N>, order: &Order) -> Ending {
    if order.request.via == Via::Udp {
        return datagrams::run(net, progress, &order.request).await;
    }
    let stream = match connect(net, &order.request).await {
        Ok(stream) => stream,
        Err(error) => return Ending::Failed(error.kind().to_string()),
    };
    match order.request.via {
        Via::Http2 => http2::run(net, progress, stream, order).await,
        _ => exchange::run(net, progress, stream, order).await,
    }
}

async fn connect<N: Ground>(net: &N, request: &Request) -> io::Result<N::Stream> {
    let endpoint: Endpoint = request.to.parse().expect("a checked scenario has endpoints");
    let addresses = net.resolve(&endpoint.host, endpoint.port).await?;
    net.connect(addresses[0]).await
}
