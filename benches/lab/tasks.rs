//! A relay of two tasks' worth of work for each connection, by what tokio itself offers.

use std::net::{SocketAddr, TcpListener as Listener};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::cores;

/// Tasks that stay on this thread.
pub(crate) fn relay(listener: Listener, to: SocketAddr) {
    Builder::new_current_thread().enable_io().build().unwrap().block_on(accept(listener, to));
}

/// One listener, and tasks that whichever thread is free takes up.
pub(crate) fn relay_on_all_threads(listen: SocketAddr, to: SocketAddr) {
    let runtime = Builder::new_multi_thread().enable_io().build().unwrap();
    let listener = cores::listener(listen, None);
    // As a task, too: what `block_on` runs is on no worker.
    runtime.block_on(async move { tokio::spawn(accept(listener, to)).await.unwrap() });
}

async fn accept(listener: Listener, to: SocketAddr) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(to).await.unwrap();
            server.set_nodelay(true).unwrap();
            // Clients reset what they are done with.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
