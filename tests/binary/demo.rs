//! `ops-proxy demo`: a whole mesh on loopback.

use crate::launch;

#[tokio::test]
async fn the_demo_reaches_its_backend_in_every_way() {
    let (code, stdout, stderr) = launch().args("demo --once").start().output().await;
    assert_eq!(code, Some(0), "{stderr}");
    for way in ["Host", "SNI", "CONNECT", "TCP"] {
        assert!(stdout.contains(way), "{way} is not in:\n{stdout}");
    }
}
