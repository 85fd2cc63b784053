//! Which process takes connections: this one, or another that takes its place.
//!
//! Both accept from the same sockets. So this one stops before it tells connecting peers to
//! dial again: one that came back to it would replace the link that its requests still use.

use tokio::sync::watch;

/// Who takes connections and datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// This process.
    Here,
    /// Another one soon; this one lets go of its sockets.
    Nobody,
    /// Another one.
    Successor,
}

/// Whether this process takes connections, and how many of its loops do so now.
#[derive(Debug)]
pub struct Accepting {
    taker: watch::Sender<Taker>,
    loops: watch::Sender<usize>,
}

impl Default for Accepting {
    /// By this process.
    fn default() -> Self {
        Self { taker: watch::Sender::new(Taker::Here), loops: watch::Sender::new(0) }
    }
}

impl Accepting {
    /// Tells of changes.
    pub fn taker(&self) -> watch::Receiver<Taker> {
        self.taker.subscribe()
    }

    /// Does `work`, which never ends and is dropped at once when another process is to take
    /// connections; returns when this one takes them again.
    pub async fn unless_handed_over(&self, work: impl Future<Output = ()>) {
        let mut taker = self.taker.subscribe();
        let running = Running::one_more(&self.loops);
        tokio::select! {
            biased;
            // The sender is ours and outlives the wait.
            _ = taker.wait_for(|taker| *taker != Taker::Here) => {}
            () = work => {}
        }
        drop(running);
        let _ = taker.wait_for(|taker| *taker == Taker::Here).await;
    }

    /// Returns once no loop of this process takes anything any more; from then on a successor
    /// does. Has no deadline: the caller sets one.
    pub async fn hand_over(&self) {
        self.taker.send_replace(Taker::Nobody);
        // A loop that begins after this sees it before it works.
        let _ = self.loops.subscribe().wait_for(|loops| *loops == 0).await;
        self.taker.send_replace(Taker::Successor);
    }

    /// This process takes connections again.
    pub fn take_back(&self) {
        self.taker.send_replace(Taker::Here);
    }
}

/// A loop that takes connections, until dropped.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn one_more(loops: &'a watch::Sender<usize>) -> Self {
        loops.send_modify(|loops| *loops += 1);
        Self(loops)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|loops| *loops -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn polled<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_successor_takes_connections_only_once_every_loop_has_let_go() {
        let accepting = Accepting::default();
        let taker = accepting.taker();
        let mut loops = [(); 2].map(|()| Box::pin(accepting.unless_handed_over(pending())));
        for one in &mut loops {
            assert_eq!(polled(&mut one.as_mut()), Poll::Pending);
        }
        let mut handing_over = pin!(accepting.hand_over());
        for one in &mut loops {
            assert_eq!(polled(&mut handing_over), Poll::Pending);
            assert_eq!(*taker.borrow(), Taker::Nobody, "a loop still takes connections");
            assert_eq!(polled(&mut one.as_mut()), Poll::Pending);
        }
        assert_eq!(polled(&mut handing_over), Poll::Ready(()));
        assert_eq!(*taker.borrow(), Taker::Successor);
        accepting.take_back();
        for one in &mut loops {
            assert_eq!(polled(&mut one.as_mut()), Poll::Ready(()), "it may begin again");
        }
    }

    #[test]
    fn a_loop_that_begins_after_that_does_no_work() {
        let accepting = Accepting::default();
        assert_eq!(polled(&mut pin!(accepting.hand_over())), Poll::Ready(()));
        let works = async { panic!("another process has taken over") };
        assert_eq!(polled(&mut pin!(accepting.unless_handed_over(works))), Poll::Pending);
    }
}
