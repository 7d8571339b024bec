use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;

#[test]
fn the_document_is_what_it_was() {
    insta::assert_json_snapshot!(crate::app::document());
}

struct Pipeline(Option<&'static str>);

impl schemas::door::ProgressSource for Pipeline {
    fn progress(&self) -> schemas::door::Progress {
        let trouble = self.0.map(str::to_owned);
        schemas::door::Progress { durable: 7, decoded: 7, committed: 5, detected: Some(7), trouble, limits: Vec::new() }
    }
}

#[tokio::test]
async fn readiness_says_which_part_fails() {
    let alone = World::new().await;
    let ready = alone.json("", "GET /health/ready", "", StatusCode::OK).await;
    assert_eq!(
        ready,
        json!({"status": "ok",
        "checks": {"database": {"status": "ok"}, "log": {"status": "absent"}, "sql": {"status": "absent"}}})
    );
    let well = World::with(|app| app.progress = Some(Arc::new(Pipeline(None)))).await;
    let ready = well.json("", "GET /health/ready", "", StatusCode::OK).await;
    assert_eq!(ready["progress"], json!({"durable": 7, "decoded": 7, "committed": 5, "detected": 7}));
    let full = World::with(|app| app.progress = Some(Arc::new(Pipeline(Some("the disk is full"))))).await;
    let ready = full.json("", "GET /health/ready", "", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(ready["checks"]["log"], json!({"status": "failing", "detail": "the disk is full"}));
    well.app.db.close().await;
    let ready = well.json("", "GET /health/ready", "", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!((&ready["status"], &ready["checks"]["database"]["status"]), (&json!("failing"), &json!("failing")));
    assert_eq!(well.ask("", "GET /health/live", "").await.status, 200);
}

#[tokio::test]
async fn settings_refuse_unknown_keys_and_have_sane_defaults() {
    let settings: Settings = serde_json::from_value(json!({"stall": "2m", "listen": "127.0.0.1:0"})).unwrap();
    assert_eq!(settings.stall, Duration::from_secs(120));
    assert!(serde_json::from_value::<Settings>(json!({"port": 80})).is_err());
    assert!(Settings::default().listen.ip().is_loopback());
    assert!(Settings::default().stall > Settings::default().answer_within);
}

#[tokio::test]
async fn metrics_count_routes_and_never_what_clients_invent() {
    let world = World::new().await;
    for path in ["/v1/nothing", "/v1/tickets/1", "/v1/tickets/2"] {
        world.ask("agent", &format!("GET {path}"), "").await;
    }
    let series =
        |route: &str| format!("forewarn_http_requests_total{{route=\"{route}\",method=\"GET\",status=\"404\"}}");
    assert_eq!(world.metric(&series("none")).await, "1");
    assert_eq!(world.metric(&series("/v1/tickets/{ticket_id}")).await, "2");
}

async fn serving(
    change: impl FnOnce(&mut App),
) -> (World, std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let world = World::with(change).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = crate::serve(listener, world.app.clone(), stop.clone());
    let server = tokio::spawn(async move { server.await.unwrap() });
    (world, address, stop, server)
}

async fn rest(mut tcp: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that the server resets has ended too.
    let _ = tokio::time::timeout(DEADLINE, tcp.read_to_end(&mut bytes)).await.expect("an end within the deadline");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_stop_ends_streams_and_lets_requests_finish() {
    let (world, address, stop, server) = serving(|_| ()).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let token = &world.tokens["agent"];
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let world = &world;
    until("the stream is open", || async { world.metric("forewarn_event_streams").await == "1" }).await;
    stop.cancel();
    assert!(rest(tcp).await.starts_with("HTTP/1.1 200"));
    tokio::time::timeout(DEADLINE, server).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed_and_makes_room() {
    let (world, address, stop, server) = serving(|app| {
        app.settings.stall = Duration::from_millis(200);
        app.settings.connections = 1;
    })
    .await;
    let mut lazy = TcpStream::connect(address).await.unwrap();
    lazy.write_all(b"GET /health/live HTTP/1.1\r\nhost").await.unwrap();
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(next).await.ends_with("ok\n"));
    rest(lazy).await;
    assert_eq!(world.metric("forewarn_http_stalled_total").await, "1");
    stop.cancel();
    server.await.unwrap();
}
