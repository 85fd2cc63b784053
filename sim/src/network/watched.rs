//! Tells when the software of a host may have changed anything: that it was polled. A process
//! that is stopped is not.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::fabric::Fabric;

/// A task of a host whose polls are counted.
#[derive(Debug)]
pub(super) struct Watched<T> {
    fabric: Fabric,
    ip: IpAddr,
    task: Pin<Box<T>>,
}

impl<T> Watched<T> {
    /// A task of the host at `ip`.
    pub(super) fn new(fabric: Fabric, ip: IpAddr, task: T) -> Self {
        Self { fabric, ip, task: Box::pin(task) }
    }
}

impl<T: Future> Future for Watched<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        if self.fabric.state().is_held_back(self.ip, cx.waker()) {
            return Poll::Pending;
        }
        self.fabric.state().polled(self.ip);
        self.task.as_mut().poll(cx)
    }
}
