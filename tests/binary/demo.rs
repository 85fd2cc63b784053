//! `ops-proxy demo`: a whole mesh on loopback.

use ops_proxy_tests::wait::until;

use crate::launch;

#[tokio::test]
async fn the_demo_reaches_its_backend_in_every_way() {
    let (code, stdout, stderr) = launch().args("demo --once").start().output().await;
    assert_eq!(code, Some(0), "{stderr}");
    for way in ["Host", "SNI", "CONNECT", "TCP"] {
        assert!(stdout.contains(way), "{way} is not in:\n{stdout}");
    }
}

/// Left alone it goes on, and says how to look around.
#[tokio::test]
async fn the_demo_says_what_to_curl_and_ends_cleanly_when_told_to() {
    let mut demo = launch().args("demo").start();
    until("the demo to say what to curl", async || demo.stdout().contains("curl").then_some(()))
        .await;
    demo.terminate();
    let status = demo.ended().await;
    assert_eq!(status.code(), Some(0), "{}", demo.stderr());
}
