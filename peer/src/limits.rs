//! Every bound in one place, each with its reason.
//!
//! A value that operators can change is a default here and a field of
//! [`Timing`](crate::config::Timing), [`Capacity`](crate::config::Capacity) or
//! [`PeerConfig`](crate::config::PeerConfig). The rest is fixed.

use std::time::Duration;

/// Longest routing name, in bytes (RFC 1035 §2.3.4, as text without the root dot).
pub const NAME_BYTES: usize = 253;

/// Longest peer id, in bytes: a DNS name with room for a suffix.
pub const PEER_ID_BYTES: usize = 255;

/// Longest protocol line, in bytes, without its LF. Thirty names of full length
/// fit. Before HELLO, a stranger can make the peer hold no more than this.
pub const LINE_BYTES: usize = 8 * 1024;

/// Names one link may register. The target scale is a thousand connecting peers with
/// a hundred names each; a single peer with more than this is a mistake.
pub const NAMES_PER_LINK: usize = 10_000;

/// Names known at a time, served or remembered: ten times the target scale, some
/// hundred megabytes. It stops a peer that keeps returning under new ids.
pub const NAMES: usize = 1_000_000;

/// Longest head of a public connection, in bytes: HTTP head, ClientHello
/// handshake message, PROXY protocol header. A common limit in HTTP servers.
pub const HEAD_BYTES: usize = 16 * 1024;

/// What record headers may add to a ClientHello of [`HEAD_BYTES`].
pub const HELLO_RECORD_OVERHEAD: usize = 4 * 1024;

/// Most header fields in one HTTP head, as in common servers.
pub const HTTP_FIELDS: usize = 128;

/// Longest line that begins a chunk of an HTTP body, in bytes, with its extensions.
pub const CHUNK_LINE_BYTES: usize = 1024;

/// Bytes of a request's target that are kept for the access log: as much as anyone reads.
pub const TARGET_BYTES_KEPT: usize = 1024;

/// Longest HTTP method, in bytes: the registered ones are 16 bytes at most.
pub const HTTP_METHOD_BYTES: usize = 32;

/// Most that the client's table of header fields may take in HTTP/2, by the measure of
/// RFC 7541 §4.1: what servers allow is 4 KiB by default, and 64 KiB in the largest.
pub const H2_TABLE_BYTES: usize = 64 * 1024;

/// A client of HTTP/2 that has sent its SETTINGS and nothing else for so long waits for the
/// server's. One that does not wait sends its request within the same packet.
pub const H2_GREETING: Duration = Duration::from_millis(50);

/// Longest name of a namespace, in bytes: a label of DNS (RFC 1123 §2.1).
pub const NAMESPACE_BYTES: usize = 63;

/// Services of Kubernetes that are asked for at once, so that no answer is large.
pub const KUBERNETES_PAGE: usize = 500;

/// Longest answer of the Kubernetes API to a list, in bytes: as many Services with far more
/// annotations than people write. One Service may have 1.5 MiB.
pub const KUBERNETES_PAGE_BYTES: usize = 32 * 1024 * 1024;

/// Longest event of a watch, in bytes: an object of 1.5 MiB, the most that Kubernetes keeps,
/// twice as long as it may get in JSON.
pub const KUBERNETES_EVENT_BYTES: usize = 3 * 1024 * 1024;

/// Annotations for a peer that are kept of one Service: more than there are, so that one that
/// means nothing is among them.
pub const KUBERNETES_ANNOTATIONS: usize = 16;

/// Longest annotation, in bytes: thirty names of full length fit.
pub const KUBERNETES_ANNOTATION_BYTES: usize = 8 * 1024;

/// Characters of a refusal that its log line shows: as much as anyone reads.
pub const KUBERNETES_REFUSAL_CHARS: usize = 600;

/// Longest token of a ServiceAccount or file of CAs, in bytes: many times what there is.
pub const KUBERNETES_FILE_BYTES: u64 = 1024 * 1024;

/// The Kubernetes API must be reached, and must answer, within this time: longer than a control
/// plane that elects another leader takes.
pub const KUBERNETES_TIMEOUT: Duration = Duration::from_secs(15);

/// The Kubernetes API is asked to end a watch after so long. It costs a request, and finds out
/// about a connection that died without a word.
pub const KUBERNETES_WATCH: Duration = Duration::from_secs(60);

/// After a failure of the Kubernetes API, the first wait is at most so long; it doubles with each
/// further failure.
pub const KUBERNETES_RETRY_BASE: Duration = Duration::from_millis(250);

/// Most that is waited between two attempts at the Kubernetes API.
pub const KUBERNETES_RETRY_CAP: Duration = Duration::from_secs(15);

/// A failure of the Kubernetes API may be a connection that was cut, and a second one that what
/// happened meanwhile is forgotten; so many in a row are worth a line in the log.
pub const KUBERNETES_FAILURES_SAID: u32 = 3;

/// A watch that has lasted so long, or has told something, works.
pub const KUBERNETES_ALIVE: Duration = Duration::from_secs(1);

/// Refusals of Services that one look at them logs: as many as anyone reads.
pub const KUBERNETES_REFUSALS_LOGGED: usize = 20;

/// Changes of Services are gathered for so long, so that many are one.
pub const KUBERNETES_SETTLE: Duration = Duration::from_millis(150);

/// A peer that starts waits so long for the Services that there are, so that those who replace
/// another one register all their names at once.
pub const KUBERNETES_FIRST: Duration = Duration::from_secs(5);

/// A public connection must show its destination, and a peer must send its first
/// line, within this time after accept.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// An HTTP client may be silent for this long between two requests. Longer than load
/// balancers keep connections to what is behind them (60 s is usual): who closes first must
/// not be the end that gets the next request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// At the end of a stretch of requests, its backend has this long to close its connection.
/// Longer than it takes across an ocean, and nobody waits for it.
pub const STRETCH_END: Duration = Duration::from_secs(5);

/// A link ends when a control line cannot be written for this long.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Peers in a path over which a name is reached, at most.
pub const PATH_PEERS: usize = 8;

/// Names that are passed on are looked at again this long after the routes changed, so
/// that many changes are one.
pub const PASS_ON_AFTER: Duration = Duration::from_millis(100);

/// Links that one `connect` keeps at most, whatever its host resolves to.
pub const LINKS_PER_UPSTREAM: usize = 16;

/// The addresses of a listening peer's host are looked up so often, and when a link ends.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Where the address of a link that ended is gone, its host is looked up for so long as often as it
/// would be dialled: whoever takes the place of that peer has another address.
pub const SUCCESSOR_WINDOW: Duration = Duration::from_secs(120);

/// A link to an address that its host no longer resolves to is given up after this time,
/// unless it ends before.
pub const ADDRESS_GRACE: Duration = Duration::from_secs(60);

/// How often a DATA connection is dialled through one address until it reaches the peer
/// that it is for: three peers taken at random miss it once in 400,000 times.
pub const DATA_DIALS: usize = 32;

/// How often the files of the configuration are looked at.
pub const CONFIG_RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// A listening peer must finish its TLS handshake within this time.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A lookup that takes longer counts as hanging: another may begin beside it. The
/// system's resolver repeats a question that was lost after as long.
pub const LOOKUP_OVERDUE: Duration = Duration::from_secs(5);

/// Longest user or password of a SOCKS proxy, in bytes (RFC 1929 §2).
pub const SOCKS_LOGIN_BYTES: usize = 255;

/// Longest head of a proxy's answer to CONNECT, in bytes: ten times what proxies say, cookies
/// and reasons included.
pub const VIA_HEAD_BYTES: usize = 8 * 1024;

/// A listening peer must be found in DNS and accept a connection within this time; so
/// must a backend, where the data timeout leaves it that long. A proxy that leads to a
/// listening peer must have connected to both within it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Fifths of the data timeout, counted from FORWARD, within which a backend must be
/// found in DNS and accept a connection. With the default of 5 s these are 2 s: a SYN
/// that was lost is sent again after 1 s. A FORWARD that was lost with an idle
/// connection is sent again after half of the data timeout; 5/10 + 4/10 leave FAIL a
/// tenth of it, half a second, for its way.
pub const BACKEND_DIAL_FIFTHS: u32 = 2;

/// Fifths of the data timeout, counted from FORWARD, within which DATA must be on its
/// way, the dial of the backend included; else FAIL is. The DATA connection has so at
/// least as long as the backend, and the last fifth is for the way of FORWARD and FAIL.
pub const ANSWER_FIFTHS: u32 = 4;

/// An address is used for so long without asking again. The system's resolver tells no
/// lifetime, so this is short: what moves in DNS is followed within it, and at once where
/// the old address refuses. At thousands of requests a second it still is one lookup.
pub const ANSWER_KEPT: Duration = Duration::from_secs(5);

/// That a host cannot be found is believed for so long: requests do not ask one by one,
/// and a name that has just been made is found at the next try.
pub const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// Lookups of one host that may run at a time: one, and one beside it that hangs.
pub const LOOKUPS_PER_HOST: usize = 2;

/// Lookups that may run at a time. Each blocks a thread; with dozens of dead names there
/// is room for those that are not.
pub const LOOKUPS: usize = 128;

/// Hosts whose addresses are remembered before those are forgotten that nobody asks for:
/// as many as a peer may have services, and the peers to connect to.
pub const HOSTS_KNOWN: usize = 2 * NAMES_PER_LINK;

/// A refused client has this long to read its answer before the socket closes.
pub const REFUSE_LINGER: Duration = Duration::from_secs(1);

/// How much of a refused client's upload is read and discarded, in bytes, so that
/// closing does not reset the connection under the answer (RFC 9112 §9.6).
pub const REFUSE_DRAIN_BYTES: usize = 256 * 1024;

/// FORWARD lines that may queue for one link's writer.
pub const FORWARDS_QUEUED_PER_LINK: usize = 1024;

/// Unwritten bytes on a link at which it accepts no more FORWARD lines.
pub const LINK_OUTPUT_BYTES: usize = 64 * 1024;

/// Work that one link may ask for at once: a line costs one, and one for each name in it.
/// Twice all names that a link may hold, withdrawn and registered again.
pub const LINK_WORK_BURST: usize = 4 * NAMES_PER_LINK;

/// Work that one link earns per second. Heartbeats of [`NAMES_PER_LINK`] names every
/// second still fit; a flood costs a few percent of a core.
pub const LINK_WORK_PER_SECOND: usize = 2 * NAMES_PER_LINK;

/// How often the idle DATA connections of a link are gone through for those that have
/// ended. Whoever takes one finds out by itself; this only frees their descriptors.
pub const IDLE_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Requests that one connecting peer carries at a time on one link; one more is
/// answered with `FAIL:<proxy_id>:overloaded`.
pub const FORWARDS_PER_LINK: usize = 10_000;

/// While written bytes are not acknowledged, the kernel is asked this often whether their
/// reader is still there. Together with [`VANISHED_AFTER`] this is less than the 90 s after
/// which keepalive gives up an idle connection.
pub const UNACKNOWLEDGED_LOOK: Duration = Duration::from_secs(15);

/// A reader that has acknowledged nothing for this long, although it was asked, has
/// vanished. A path that was interrupted for a minute costs no connections.
pub const VANISHED_AFTER: Duration = Duration::from_secs(70);

/// This many tries must have gone unanswered: one may be lost, and the window of a reader
/// that pauses is probed only every two minutes, so its silence alone says nothing.
pub const UNANSWERED_TRIES: u32 = 2;

/// How much the relay reads at a time, in bytes, and so the most that it holds of
/// one direction when the other side does not accept it.
pub const RELAY_BYTES: usize = 16 * 1024;

/// Size of a pooled buffer of the relay, in bytes: the most that this process holds
/// for a slow reader.
pub const RELAY_BULK_BYTES: usize = 64 * 1024;

/// Pooled buffers of the relay that wait for bulk: 16 MiB at most.
pub const RELAY_BUFFERS_POOLED: usize = 256;

/// How much a pipe between two sockets may hold, in bytes: as much as a pooled buffer,
/// although in the kernel. It is the default for pipes.
pub const PIPE_BYTES: usize = 64 * 1024;

/// Pooled pipes that wait for bulk; each takes two file descriptors.
pub const PIPES_POOLED: usize = 64;

/// What the kernel may hold of datagrams for one socket, in bytes: at 5,000 large ones a
/// second, some hundred milliseconds in which this process is not scheduled. It takes memory
/// only while it holds some, and it is cut to what the system allows (`net.core.rmem_max`).
pub const UDP_SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Requests over one UDP port at a time, by default. Each has a DATA connection, and whoever
/// sends from forged addresses can open as many as are allowed.
pub const UDP_REQUESTS: usize = 10_000;

/// One source (an IPv4 address or an IPv6 /64) may have this part of them: enough for all who
/// share an address behind NAT.
pub const UDP_SOURCE_SHARE: usize = 5;

/// Datagrams that are received in a row before other tasks get their turn.
pub const UDP_RECEIVED_IN_A_ROW: usize = 64;

/// Bytes of datagrams that wait to be carried on, per request: what comes while a DATA
/// connection is fetched or does not accept more.
pub const UDP_WAITING_BYTES: usize = 1024 * 1024;

/// Bytes of datagrams that wait to be carried on, of all requests over one port.
pub const UDP_WAITING_BYTES_IN_ALL: usize = 64 * 1024 * 1024;

/// How many bytes of datagrams are read or written at a time, about: beyond that, a write does
/// not become cheaper by the datagram.
pub const UDP_BATCH_BYTES: usize = 64 * 1024;

/// While only the last requests may end, one over UDP ends after this time without a datagram:
/// longer than an answer takes, and nobody waits for the full idleness.
pub const UDP_LEAVING_IDLE: Duration = Duration::from_secs(1);

/// First wait between dials; doubles with each failure.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);

/// Longest wait between dials.
pub const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// Longest wait of a peer that another process with its id replaces again and again.
pub const REPLACED_CAP: Duration = Duration::from_secs(300);

/// A task that the peer cannot do without restarts this long after a panic: soon, but
/// without flooding the log.
pub const TASK_RESTART_WAIT: Duration = Duration::from_secs(1);

/// Wait before the next accept after one failed for lack of resources.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Workers that accept connections, at most: each is woken for every connection while it has nothing
/// else to do.
pub const ACCEPTING_WORKERS: usize = 4;

/// Admin connections at a time; scrapers and probes need a handful. To let in one more,
/// another is closed.
pub const ADMIN_CONNECTIONS: usize = 64;

/// Scrapes of many names in progress at a time: one for each of a pair of Prometheus
/// servers. Each holds a copy of all counters until it is read; further ones wait.
pub const ADMIN_SCRAPES: usize = 2;

/// Scrapes that may wait for others: a few seconds' work. One more is answered with
/// 503.
pub const ADMIN_SCRAPES_WAITING: usize = 8;

/// A scraper that took nothing for this long has stopped reading, even on a slow line:
/// its scrape is given up when another wants to begin.
pub const ADMIN_SCRAPE_STALL: Duration = Duration::from_secs(5);

/// A scrape may wait for this long, and is then answered with 503: longer than
/// [`ADMIN_SCRAPE_STALL`], and shorter than the 10 seconds after which Prometheus gives
/// up without having heard why.
pub const ADMIN_SCRAPE_WAIT: Duration = Duration::from_secs(8);

/// An admin client must have its answer within this time: a scrape of 100,000 names
/// over a slow line. A client that stops reading holds a copy of all counters until
/// then.
pub const ADMIN_DEADLINE: Duration = Duration::from_secs(30);

/// How much of a scrape is written at a time, in bytes: a fraction of a millisecond's
/// work, after which other tasks get their turn.
pub const SCRAPE_CHUNK_BYTES: usize = 64 * 1024;

/// Names whose numbers are read at a time, before requests can use the tables again.
pub const SNAPSHOT_ROWS: usize = 512;

/// Names that the status page lists, and rows of one answer of the API; `/metrics` has all names.
pub const STATUS_NAMES: usize = 1_000;

/// Rows of each other table of the status page: as many as anyone reads.
pub const STATUS_ROWS: usize = 50;

/// Names in one part of the status page's table. A part is sent again when anything in it has
/// changed.
pub const STATUS_PART_NAMES: usize = 50;

/// Reasons for a bad state that a peer tells: whoever has more has one reason for them all.
pub const STATUS_REASONS: usize = 10;

/// Values of one setting that are shown.
pub const SETTING_VALUES: usize = 20;

/// Errors that `ops-proxy status` shows: as many as fit a terminal with the rest.
pub const TERMINAL_ERRORS: usize = 10;

/// Rows of one answer of the API, unless its client asks for another number.
pub const API_ROWS: usize = 100;

/// Requests that have ended and can still be traced: at ten a second, those of the last minutes.
/// Each takes some 400 bytes.
pub const ENDED_KEPT: usize = 1_000;

/// Failed requests and refusals that are kept for operators: more than anyone reads.
pub const TROUBLES_KEPT: usize = 100;

/// Status pages that are kept up to date at a time.
pub const ADMIN_STREAMS: usize = 16;

/// Status pages of one source that are kept up to date at a time: browsers open no more than
/// six connections to a host, and reloading the page needs some.
pub const ADMIN_STREAMS_PER_SOURCE: usize = 4;

/// A status page is kept up to date for so long; then it asks again by itself. A client that
/// went without a word has lost its place by then.
pub const ADMIN_STREAM_DEADLINE: Duration = Duration::from_mins(10);

/// How often a status page hears what has changed: as often as anyone can read.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);

/// A status page that has lost its peer asks for it again after this time.
pub const STATUS_RETRY: Duration = Duration::from_secs(2);

/// How often the counters are read from which the rates of the last minute are told.
pub const RATE_EVERY: Duration = Duration::from_secs(10);

/// How many of these readings are kept: those of a minute.
pub const RATE_READINGS: usize = 6;

/// `ops-proxy status` and `trace` wait for so long for an answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// When clients may ask again for a name that `ops-proxy check --dial` asks for permission of,
/// in seconds: it is gone in a round trip.
pub const CHECK_RETRY_AFTER: u16 = 1;

/// Most of an answer that they read, in bytes: a hundred times what there is to say.
pub const ASK_BYTES: usize = 64 * 1024 * 1024;

/// A certificate that is valid for no longer than this is shown as one to renew; the alerts
/// begin at the same time.
pub const CERTIFICATE_SOON: Duration = Duration::from_hours(7 * 24);

/// An admin client must send its request head within this time.
pub const ADMIN_HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// `Retry-After` for a name without a provider: about as long as a peer needs to come
/// back.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Longest `Retry-After` for a name whose backend fails its checks, in seconds: a client
/// that is told to wait for longer does not come back.
pub const RETRY_UNHEALTHY_MOST: u16 = 300;

/// Between two checks of a backend, unless configured.
pub const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// Shortest time between two checks: more often would be load, and tell nothing more.
pub const HEALTH_EVERY_LEAST: Duration = Duration::from_secs(1);

/// Longest time between two checks: more rarely is a mistake.
pub const HEALTH_EVERY_MOST: Duration = Duration::from_hours(1);

/// A check has failed that takes longer, unless configured: a SYN that was lost is sent
/// again after 1 s.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Failures in a row that withdraw a service, unless configured: one may be lost.
pub const HEALTH_FALL: u32 = 3;

/// Successes in a row that bring it back, unless configured.
pub const HEALTH_RISE: u32 = 2;

/// Most failures or successes in a row that may be asked for.
pub const HEALTH_COUNT_MOST: u32 = 10;

/// Checks that run at a time: thousands of services must not take all descriptors from
/// requests.
pub const HEALTH_CHECKS: usize = 128;

/// How much of an answer to a check is read at a time, in bytes: a usual head.
pub const PROBE_READ_BYTES: usize = 1024;

/// Names that one log line lists; it says how many more there are.
pub const NAMES_LOGGED: usize = 10;

/// Most bytes read from the file of known names: [`NAMES`] of full length fit.
pub const STATE_FILE_BYTES: u64 = 32 << 20;

/// Between two writes of that file at least.
pub const STATE_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// So many times as long as a write took, until the next.
pub const STATE_WRITE_PAUSE: u32 = 10;

/// How often names that nobody serves are checked.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(30);

/// Connections cut at the end of the process have this long to close.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// When only the last requests may end, one that had already arrived has this long to be
/// read, so that it gets its answer. A connection that has sent nothing by then is not
/// waited for.
pub const DRAIN_SETTLE: Duration = Duration::from_millis(100);

/// A link whose names are withdrawn stays for this long: a FORWARD may have been sent on an
/// idle DATA connection just before, and is sent again on the link when that has ended.
pub const LINK_SETTLE: Duration = Duration::from_secs(1);

/// Fewest bytes in a token: 32, as in an HMAC-SHA256 key (RFC 2104 §3), so that
/// guessing is hopeless even with unlimited attempts.
pub const TOKEN_BYTES_MIN: usize = 32;

/// Encrypted bytes of one session that may wait for the socket: one record. A slow
/// reader makes the peer hold little, and a full link is noticed soon.
pub const TLS_BUFFER_BYTES: usize = 16 * 1024;

/// How often the files of certificates, keys and tokens are checked.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Most that a process tells another, in bytes, of what a DATA connection has shown before
/// it is passed back: a chain of certificates, above all.
pub const SHOWN_BYTES: usize = 256 * 1024;

/// How often a process that is to take over looks whether its links are up.
pub const CONNECTED_LOOK: Duration = Duration::from_millis(50);

/// How long a process that is to take over may need until it listens.
pub const TAKEOVER_DEADLINE: Duration = Duration::from_secs(30);

/// How long it may need from then on until its links are up, besides the warm-up.
pub const TAKEOVER_SETTLE: Duration = Duration::from_secs(10);

/// Largest file of certificates, keys, revocations or tokens, in bytes.
pub const TLS_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Public connections served at a time, by default: what a machine with a few
/// gigabytes can carry.
pub const CONNECTIONS: usize = 50_000;

/// Connections from one source at a time, by default. High, because a load balancer
/// without PROXY protocol makes all clients look like one.
pub const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// Connections whose first bytes are not known yet. Each holds at most
/// [`HEAD_BYTES`] for at most [`HEAD_DEADLINE`].
pub const HEADS: usize = 16_384;

/// TLS handshakes of peers that are not finished. In one of them rustls keeps up to 64 KiB
/// of what the other end sent, as for large certificates: 64 MiB in all, whoever they are.
pub const HANDSHAKES: usize = 1024;

/// Connections that a source with an open link may have beyond its limit, so that clients
/// from the same address cannot keep its DATA connections out.
pub const SLOTS_FOR_PEERS: usize = 256;

/// Links at a time: ten times the mesh aimed at.
pub const LINKS: usize = 10_000;

/// Requests that may wait for DATA connections of one link. More than this within the
/// data timeout means that the peer cannot keep up.
pub const PENDING_PER_LINK: usize = 1024;

/// Requests that may wait for DATA connections in total.
pub const PENDING: usize = 16_384;

/// Ids whose client has gone that are remembered until their deadline: as many as may
/// wait, so that a flood of resets does not look like DATA that nobody asked for.
pub const ABANDONED: usize = PENDING;

/// Idle DATA connections that a connecting peer keeps per link at most, unless
/// configured: what a browser's worth of parallel requests takes, ten times over.
pub const IDLE_DATA: usize = 64;

/// Networks in the `allow` list of one service: its REGISTER must fit a line.
pub const ALLOWED_SOURCES: usize = 64;

/// Idle DATA connections accepted from one link; the most that can be configured.
pub const IDLE_DATA_PER_LINK: usize = 1024;

/// Idle DATA connections accepted from all links: about one and a half for each of the
/// [`LINKS`] allowed.
pub const IDLE_DATA_IN_ALL: usize = 16_384;

/// Idle DATA connections that a link keeps however quiet it is: one for a page and one
/// for what it loads next.
pub const IDLE_DATA_SPARE: usize = 2;

/// A request's first bytes go out with its FORWARD on a DATA connection that has been
/// idle for no longer than this: no middlebox forgets one so soon. On an older one they
/// wait for DATA, so that the request can still be sent elsewhere.
pub const IDLE_DATA_FRESH: Duration = Duration::from_secs(60);

/// FORWARD lines whose broken DATA connection a connecting peer remembers, per link:
/// no more than this break within a round trip.
pub const BROKEN_FORWARDS: usize = 1024;

/// A day, the unit of certificate lifetimes.
pub const DAY: Duration = Duration::from_hours(24);

/// Days that a CA from `ops-proxy pki` lasts: long, so that it is rarely renewed.
/// Revocation does not need it to be short.
pub const CA_DAYS: u64 = 3650;

/// Days that a peer's certificate from `ops-proxy pki` lasts, as with other CAs.
pub const CERTIFICATE_DAYS: u64 = 90;

/// Most days that may be requested: a hundred years fit every date format in use.
pub const CERTIFICATE_DAYS_MAX: u64 = 36_500;

/// A new certificate is backdated by this much, because clocks differ.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_hours(1);

/// Log lines that wait for whoever reads stderr: a burst of some thousands, in a few
/// megabytes. Further ones are lost and counted; nobody waits for a line.
pub const LOG_LINES_QUEUED: usize = 8_192;

/// Lines of the access log that wait for its writer: more than a second of all that one peer
/// can serve, in some tens of megabytes if they are all there. Further ones are lost and
/// counted; nobody waits for a line.
pub const ACCESS_LINES_QUEUED: usize = 131_072;

/// Connecting peers whose links have a series each; those of all others have one together.
pub const LINKED_PEERS_SHOWN: usize = 1000;

/// Spans that wait to be sent to a collector. Further ones are lost and counted.
pub const OTLP_QUEUED: usize = 16_384;

/// Spans sent to a collector at once: as many as its own clients send.
pub const OTLP_BATCH: usize = 512;

/// A span waits this long for others to be sent with.
pub const OTLP_BATCH_WAIT: Duration = Duration::from_secs(1);

/// A collector must be reached, and must answer, within this time.
pub const OTLP_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a collector's answer that are read; it has little to say.
pub const OTLP_ANSWER_BYTES: usize = 64 * 1024;

/// A process that ends waits at most so long for its last spans to be sent.
pub const OTLP_FLUSH: Duration = Duration::from_secs(3);

/// While spans cannot be sent, the log says so this often.
pub const OTLP_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of the access log that are written at once, up to the end of a line: enough for a
/// call of the system not to matter.
pub const ACCESS_WRITE_BYTES: usize = 64 * 1024;

/// At the end of the process, what is queued for stderr has this long to be written:
/// longer than its writer waits by itself, and no longer than an operator would.
pub const LOG_FLUSH: Duration = Duration::from_millis(1_500);

/// Log lines of one reason that one source may provoke at once: enough to see what is
/// going on.
pub const LOG_BURST: u32 = 5;

/// A source that keeps on provoking lines of one reason gets one in so long.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Log lines that all sources together may provoke at once.
pub const LOG_BURST_IN_ALL: u32 = 100;

/// All sources that keep on provoking lines get one in so long: twenty in a second,
/// which an operator can still scroll through and a disk can hold.
pub const LOG_INTERVAL_IN_ALL: Duration = Duration::from_millis(50);

/// Pairs of source and reason whose log lines are counted at a time; the oldest makes
/// room. Each takes some hundred bytes.
pub const LOG_SOURCES: usize = 1_024;

/// How often it is said how many log lines were left out.
pub const LOG_SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Sources named in one such summary: those with most lines left out. The rest is
/// added up.
pub const LOG_SUMMARY_SOURCES: usize = 20;

/// Characters of a text from the other end that one log line shows. Our own are
/// shorter.
pub const LOG_TEXT_CHARS: usize = 200;
