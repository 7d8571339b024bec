use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use prometheus_client::registry::Registry;
use schemas::profile::Profiles;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    CallOffReason, FailReason, State,
    calendar::calendar,
    store::tests::{SITE, World, ana},
};
use crate::{App, Role, Settings, app::router, device, event, metrics::Metrics, token};

/// The service side over HTTP, without a socket.
struct Door {
    world: World,
    app: Arc<App>,
    tokens: BTreeMap<&'static str, String>,
}

impl Door {
    async fn open() -> Self {
        let world = World::new().await;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let app = App {
            scope: crate::Scope::Service,
            db: world.db.clone(),
            clock: world.clock.clone(),
            profiles: Arc::new(Profiles::builtin()),
            events: event::Hub::default(),
            sql: None,
            trends: None,
            outcomes: None,
            letters: None,
            progress: None,
            courier: None,
            commands: Default::default(),
            registry: Arc::new(registry),
            metrics,
            credentials: device::Credentials::load(&world.db).await.unwrap(),
            settings: Settings::default(),
        };
        let mut tokens = BTreeMap::new();
        for role in Role::ALL {
            let at = "2026-11-01T00:00:00Z".parse().unwrap();
            let (_, secret) = token::create(&world.db, &world.tenant, role, role.as_str(), at).await.unwrap();
            tokens.insert(role.as_str(), secret);
        }
        Self { world, app: Arc::new(app), tokens }
    }

    async fn raw(&self, role: &str, method: &str, path: &str, body: Value) -> (StatusCode, String, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.tokens[role]))
            .header("content-type", "application/json")
            .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) })
            .unwrap();
        let response = router(self.app.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, content_type, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Status and JSON of an answer.
    async fn ask(&self, role: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, text) = self.raw(role, method, path, body).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn new_technician() -> Value {
    let day = json!([{"start": "08:00", "end": "12:00"}, {"start": "13:00", "end": "17:00"}]);
    json!({
        "name": "Ana Ruiz", "skills": ["appliance"], "home": {"lat": 40.4168, "lon": -3.7038},
        "time_zone": "Europe/Madrid", "shifts": {"monday": day, "tuesday": day},
    })
}

#[tokio::test]
async fn a_visit_is_offered_confirmed_moved_and_called_off_over_http() {
    let door = Door::open().await;
    let (status, made) = door.ask("admin", "POST", "/v1/technicians", new_technician()).await;
    assert_eq!(status, 201, "{made}");
    let ticket = door.world.ticket("wm-17").await;

    let path = format!("/v1/tickets/{ticket}/slots");
    let (status, offered) = door.ask("agent", "POST", &path, json!({"count": 2})).await;
    assert_eq!(status, 200, "{offered}");
    let slots = offered["slots"].as_array().unwrap();
    assert_eq!(slots.len(), 2);
    assert_eq!(slots[0]["state"], "initialized");
    assert_eq!(slots[0]["window_start"], "2026-11-23T12:00:00Z");
    assert_eq!(slots[0]["expires_at"], "2026-11-23T08:15:00Z");
    assert_eq!(slots[0]["technician_id"], made["technician_id"]);

    let body = json!({"ticket_id": ticket, "slot_id": slots[0]["slot_id"]});
    let (status, confirmed) = door.ask("agent", "POST", "/v1/appointments", body.clone()).await;
    assert_eq!((status, &confirmed["state"]), (201, &json!("confirmed")));
    let (status, again) = door.ask("agent", "POST", "/v1/appointments", body).await;
    assert_eq!((status, &again), (200, &confirmed));

    let one = format!("/v1/appointments/{}", confirmed["appointment_id"].as_str().unwrap());
    assert_eq!(door.ask("agent", "GET", &one, Value::Null).await, (200, confirmed.clone()));
    let (_, page) = door.ask("agent", "GET", &format!("/v1/appointments?ticket_id={ticket}"), Value::Null).await;
    assert_eq!(page["appointments"], json!([confirmed]));

    let (_, shown) = door.ask("agent", "GET", &format!("/v1/tickets/{ticket}"), Value::Null).await;
    assert_eq!(shown["appointments"], json!([confirmed]));

    let (_, offered) = door.ask("agent", "POST", &path, json!({})).await;
    let to = &offered["slots"][1]["slot_id"];
    let patch = |consent: bool| json!({"state": "confirmed", "slot_id": to, "consent": consent});
    let (status, refused) = door.ask("agent", "PATCH", &one, patch(false)).await;
    assert_eq!((status, &refused["field"]), (422, &json!("consent")));
    let (status, moved) = door.ask("agent", "PATCH", &one, patch(true)).await;
    assert_eq!((status, &moved["sequence"]), (200, &json!(1)));
    assert_ne!(moved["window_start"], confirmed["window_start"]);

    let (status, refused) = door.ask("agent", "PATCH", &one, json!({"state": "completed"})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("not_yet")));
    let (status, refused) = door.ask("agent", "PATCH", &one, json!({"state": "cancelled", "reason": "rain"})).await;
    assert_eq!(status, 400, "{refused}");
    let (status, ended) =
        door.ask("agent", "PATCH", &one, json!({"state": "cancelled", "reason": "customer_request"})).await;
    assert_eq!((status, &ended["reason"]), (200, &json!("customer_request")));

    let (status, content_type, file) = door.raw("agent", "GET", &format!("{one}/calendar.ics"), Value::Null).await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, "text/calendar; charset=utf-8; method=CANCEL"));
    assert!(file.contains("METHOD:CANCEL"), "{file}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_field_and_role() {
    let door = Door::open().await;
    let (status, made) = door.ask("admin", "POST", "/v1/technicians", new_technician()).await;
    assert_eq!(status, 201);
    let one = format!("/v1/technicians/{}", made["technician_id"].as_str().unwrap());
    let ticket = door.world.ticket("wm-17").await;
    let slots = format!("/v1/tickets/{ticket}/slots");
    let cases = [
        ("agent", "POST", "/v1/technicians", new_technician(), 403, "null"),
        ("analyst", "GET", "/v1/technicians", Value::Null, 403, "null"),
        ("agent", "GET", one.as_str(), Value::Null, 200, "null"),
        ("agent", "PATCH", one.as_str(), json!({"active": false}), 403, "null"),
        ("admin", "PATCH", one.as_str(), json!({"time_zone": "Mars/Olympus"}), 400, "\"time_zone\""),
        ("admin", "PATCH", one.as_str(), json!({"home": {"lat": 91, "lon": 0}}), 400, "\"home\""),
        ("admin", "PATCH", one.as_str(), json!({"skills": ["A B"]}), 400, "\"skills\""),
        ("admin", "PATCH", one.as_str(), json!({"salary": 1}), 400, "\"salary\""),
        ("admin", "PATCH", "/v1/technicians/nobody", json!({"active": false}), 404, "null"),
        ("agent", "POST", slots.as_str(), json!({"count": 0}), 400, "\"count\""),
        ("agent", "POST", slots.as_str(), json!({"earliest": "soon"}), 400, "\"earliest\""),
        ("analyst", "POST", slots.as_str(), json!({}), 403, "null"),
        ("agent", "POST", "/v1/tickets/none/slots", json!({}), 404, "null"),
        ("agent", "POST", "/v1/appointments", json!({"ticket_id": ticket, "slot_id": "none"}), 404, "null"),
        ("agent", "GET", "/v1/appointments/none", Value::Null, 404, "null"),
        ("agent", "GET", "/v1/appointments/none/calendar.ics", Value::Null, 404, "null"),
        ("agent", "GET", "/v1/appointments?limit=0", Value::Null, 400, "\"limit\""),
    ];
    for (role, method, path, body, expected, field) in cases {
        let (status, answer) = door.ask(role, method, path, body.clone()).await;
        assert_eq!(
            (status, answer["field"].to_string().as_str()),
            (expected, field),
            "{role} {method} {path} {body}: {answer}"
        );
    }
    let (status, changed) = door.ask("admin", "PATCH", &one, json!({"active": false})).await;
    assert_eq!((status, &changed["active"], &changed["name"]), (200, &json!(false), &json!("Ana Ruiz")));
    let (_, answer) = door.ask("agent", "POST", &slots, json!({})).await;
    assert_eq!(answer["shortfall"]["code"], "no_technician");
}

#[tokio::test]
async fn a_site_is_told_and_read_back() {
    let door = Door::open().await;
    let ask =
        async |role: &str, method: &str, body: Value| door.ask(role, method, "/v1/devices/wm-17/site", body).await;
    assert_eq!(ask("agent", "GET", Value::Null).await.0, 404);
    assert_eq!(ask("analyst", "GET", Value::Null).await.0, 403);
    let site = json!({"lat": SITE.0, "lon": SITE.1, "address": "Calle Mayor 1", "time_zone": "Europe/Madrid"});
    let (status, kept) = ask("agent", "PUT", site).await;
    assert_eq!((status, &kept["lat"], &kept["device_id"]), (200, &json!(SITE.0), &json!("wm-17")));
    assert_eq!(ask("agent", "GET", Value::Null).await, (200, kept));
    for (wrong, field) in [
        (json!({"lat": 95, "lon": 0, "time_zone": "UTC"}), "lat"),
        (json!({"lat": 5, "lon": 0, "time_zone": "nowhere"}), "time_zone"),
        (json!({"lat": 5, "lon": 0, "time_zone": "UTC", "address": "a\u{7}"}), "address"),
    ] {
        let (status, answer) = ask("admin", "PUT", wrong).await;
        assert_eq!((status, &answer["field"]), (400, &json!(field)), "{answer}");
    }
    let site = json!({"lat": SITE.0, "lon": SITE.1, "time_zone": "Asia/Kolkata"});
    let (_, kept) = ask("admin", "PUT", site).await;
    assert_eq!((&kept["address"], &kept["time_zone"]), (&Value::Null, &json!("Asia/Kolkata")), "the later word holds");
}

/// Reads an iCalendar file as RFC 5545 has it: lines end in CRLF, long ones are folded, text is escaped.
fn parsed(file: &str) -> BTreeMap<String, String> {
    assert!(file.ends_with("\r\n") && !file.replace("\r\n", "").contains(['\r', '\n']));
    assert!(file.split("\r\n").all(|line| line.len() <= 75), "a line is longer than 75 octets");
    let unfolded = file.replace("\r\n ", "");
    let unescape = |text: &str| text.replace("\\n", "\n").replace("\\,", ",").replace("\\;", ";").replace("\\\\", "\\");
    let lines = unfolded.lines().map(|line| line.split_once(':').unwrap());
    lines.map(|(name, value)| (name.to_owned(), unescape(value))).collect()
}

#[tokio::test]
async fn the_calendar_file_reads_back() {
    let world = World::new().await;
    world.technician(ana()).await;
    let ticket = world.ticket("wm-17").await;
    let slot = world.slots(&ticket).await.swap_remove(0);
    let (mut appointment, _) = world.confirm(&ticket, &slot.slot_id).await.unwrap();

    let title = "Drum bearing, worn; the customer in the old town says it howls like a wolf in the night";
    let file = parsed(&calendar(&appointment, title, Some("Calle Mayor 1, Getafe")));
    let is = |name: &str, value: &str| assert_eq!(file.get(name).map(String::as_str), Some(value), "{name}");
    is("METHOD", "REQUEST");
    is("VERSION", "2.0");
    is("UID", &appointment.appointment_id);
    is("SEQUENCE", "0");
    is("STATUS", "CONFIRMED");
    is("DTSTART", "20261123T120000Z");
    is("DTEND", "20261123T140000Z");
    is("DTSTAMP", "20261123T080000Z");
    is("SUMMARY", &format!("Service visit: {title}"));
    is("LOCATION", "Calle Mayor 1, Getafe");
    assert_eq!(calendar(&appointment, title, None), calendar(&appointment, title, None), "the same file each time");

    assert!(!calendar(&appointment, title, None).contains("LOCATION"));
    for (state, method, status) in [
        (State::Completed, "REQUEST", "CONFIRMED"),
        (State::Cancelled(CallOffReason::PartMissing), "CANCEL", "CANCELLED"),
        (State::Failed(FailReason::NoAccess), "CANCEL", "CANCELLED"),
    ] {
        (appointment.state, appointment.sequence) = (state, 3);
        let file = parsed(&calendar(&appointment, "x", None));
        assert_eq!(
            (file["METHOD"].as_str(), file["STATUS"].as_str(), file["SEQUENCE"].as_str()),
            (method, status, "3")
        );
    }
}
