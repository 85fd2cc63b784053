//! HTTP/2 in clear text, as a client speaks it: its exchanges are streams of one connection, one
//! after another or all at once. What each must hear is in [`stream`](super::stream).
//!
//! All of it is one task: the connection is driven beside the streams.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::AsyncReadExt;

use super::orders::Order;
use super::outcome::{Answered, Ending};
use super::pace::Cuts;
use super::paced::Paced;
use super::progress::Progress;
use super::stream::{Asked, Asking, Then};
use crate::ground::Ground;
use crate::message::H2_FORGETS_AFTER;

/// A client that has all its answers takes no longer than this to say so.
const GOODBYE: Duration = Duration::from_secs(1);

/// Carries out one request on a fresh connection.
pub(super) async fn run<N: Ground>(
    net: &N,
    progress: &Progress<N>,
    stream: N::Stream,
    order: &Order,
) -> Ending {
    let seed = progress.number() as u64 + 1;
    let rate = order.request.read_rate.map(|rate| rate.0);
    let mut stream = Paced::new(stream, rate, Cuts::of(&order.request, seed));
    let end = match converse(progress, order, seed, &mut stream).await {
        Ok(end) | Err(end) => end,
    };
    match end {
        // A client that has enough, or sees garbage, does not say goodbye.
        Ending::Left | Ending::Corrupt(_) => net.abort(stream.into_inner()),
        _ => drop(stream),
    }
    end
}

async fn converse<N: Ground>(
    progress: &Progress<N>,
    order: &Order,
    seed: u64,
    stream: &mut Paced<N::Stream>,
) -> Result<Ending, Ending> {
    let abort_after = order.request.abort_after.map_or(u64::MAX, |size| size.0);
    let asking = Asking::new(progress, stream.signs(), abort_after);
    let mut builder = Builder::new();
    builder.enable_push(false).reset_stream_duration(H2_FORGETS_AFTER);
    let shaken = builder.handshake::<_, Bytes>(&mut *stream).await;
    let (sender, connection) = shaken.map_err(|error| asking.ended(&error, false))?;
    let mut connection = Box::pin(connection);
    let mut is_over = false;
    if order.request.awaits_settings {
        std::future::poll_fn(|cx| {
            is_over = connection.as_mut().poll(cx).is_ready();
            if is_over || asking.signs().heard() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    let end = {
        let mut asked = pin!(ask_all(&asking, order, seed, sender));
        loop {
            tokio::select! {
                biased;
                () = asking.has_enough() => return Err(Ending::Left),
                end = &mut asked => break end?,
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    };
    if !is_over {
        // Nobody has a hand on it any more, so it ends.
        let _ = tokio::time::timeout(GOODBYE, &mut connection).await;
    }
    drop(connection);
    if order.request.half_close {
        while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    }
    Ok(end)
}

/// Has all exchanges of the order.
async fn ask_all<N: Ground>(
    asking: &Asking<'_, N>,
    order: &Order,
    seed: u64,
    sender: SendRequest<Bytes>,
) -> Result<Ending, Ending> {
    let all = Asked::all(order, seed);
    let last = all.len() - 1;
    let answers = Answers { asking, in_order: RefCell::new(vec![None; all.len()]) };
    let ask = |number: usize| {
        let (sender, asked, answers) = (sender.clone(), &all[number], &answers);
        async move {
            let (answer, then) = asking.ask(sender, asked).await?;
            answers.take(number, answer);
            // It is the last answer, and more were to come.
            if then == Then::Refused && number < last { Err(Ending::Closed) } else { Ok(()) }
        }
    };
    if order.request.pipelined {
        let ends = together((0..=last).map(|number| Box::pin(ask(number))).collect()).await;
        ends.into_iter().collect::<Result<(), Ending>>()?;
    } else {
        for number in 0..=last {
            ask(number).await?;
        }
    }
    Ok(Ending::Whole)
}

/// Tells of answers in the order of their requests, up to the first that has not come.
struct Answers<'a, N: Ground> {
    asking: &'a Asking<'a, N>,
    /// Those that were not told of.
    in_order: RefCell<Vec<Option<Answered>>>,
}

impl<N: Ground> Answers<'_, N> {
    fn take(&self, number: usize, answer: Answered) {
        let mut in_order = self.in_order.borrow_mut();
        let told = in_order.iter().position(|one| one.is_none());
        in_order[number] = Some(answer);
        let (Some(from), until) = (told, in_order.iter().position(|one| one.is_none())) else {
            return;
        };
        for one in in_order[from..until.unwrap_or(in_order.len())].iter().flatten() {
            self.asking.got(*one);
        }
    }
}

/// All of these at once, each looked at in its turn; how they ended.
async fn together<F: Future>(mut all: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut ends: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (one, end) in all.iter_mut().zip(&mut ends).filter(|(_, end)| end.is_none()) {
            if let Poll::Ready(output) = one.as_mut().poll(cx) {
                *end = Some(output);
            }
        }
        if ends.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    ends.into_iter().flatten().collect()
}
