//! The service side as its callers see it: a real database in a temporary folder, a clock turned by hand, requests
//! through the whole router.

mod access;
mod advisory;
mod command;
mod dead_letter;
mod desk;
mod door;
mod event;
mod outcome;
mod prognosis;
mod self_test;
mod sql;
mod storm;
mod ticket;
mod trend;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use prometheus_client::registry::Registry;
use schemas::{
    alarm::{Alarm, AlarmSource, AlarmState, Evidence, PerceivedSeverity},
    door::ServiceDesk,
    id::TenantId,
    profile::Profiles,
    time::{Clock, Instant, ManualClock},
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{App, Role, Settings, app::router, desk::Desk, device, event as events, metrics::Metrics, store, token};

/// What a wait may take before the test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) app: Arc<App>,
    router: axum::Router,
    pub(crate) clock: Arc<ManualClock>,
    tenant: TenantId,
    tokens: BTreeMap<&'static str, String>,
    folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut App)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = store::open(&folder.path().join("service.db")).await.unwrap();
        let clock = Arc::new(ManualClock::at(at("2026-11-21T10:00:00Z")));
        let tenant: TenantId = "dev".parse().unwrap();
        let mut tokens = BTreeMap::new();
        for role in Role::ALL {
            let (_, secret) = token::create(&db, &tenant, role, role.as_str(), clock.now()).await.unwrap();
            tokens.insert(role.as_str(), secret);
        }
        let other = "other".parse().unwrap();
        let (_, secret) = token::create(&db, &other, Role::Admin, "stranger", clock.now()).await.unwrap();
        tokens.insert("stranger", secret);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let mut app = App {
            scope: crate::Scope::Service,
            credentials: device::Credentials::load(&db).await.unwrap(),
            db,
            clock: clock.clone(),
            profiles: Arc::new(Profiles::builtin()),
            events: events::Hub::default(),
            sql: None,
            trends: None,
            outcomes: None,
            letters: None,
            progress: None,
            courier: None,
            commands: Default::default(),
            registry: Arc::new(registry),
            metrics,
            settings: Settings::default(),
        };
        change(&mut app);
        let app = Arc::new(app);
        Self { router: router(app.clone()), app, clock, tenant, tokens, folder }
    }

    fn desk(&self) -> Desk {
        Desk::of(&self.app)
    }

    pub(crate) async fn alarms(&self, alarms: &[Alarm]) {
        self.desk().alarms(alarms).await.unwrap();
    }

    async fn response(&self, who: &str, line: &str, headers: &[(&str, &str)], body: &str) -> axum::response::Response {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = self.tokens.get(who) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, who: &str, line: &str, headers: &[(&str, &str)], body: impl ToString) -> Answer {
        let response = self.response(who, line, headers, &body.to_string()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec();
        Answer { status, headers, bytes }
    }

    pub(crate) async fn ask(&self, who: &str, line: &str, body: impl ToString) -> Answer {
        self.send(who, line, &[], body).await
    }

    /// The answer's JSON, its status checked.
    pub(crate) async fn json(&self, who: &str, line: &str, body: impl ToString, status: StatusCode) -> Value {
        let answer = self.ask(who, line, body).await;
        assert_eq!(answer.status, status.as_u16(), "{line}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn tickets(&self) -> Vec<Value> {
        let page = self.json("agent", "GET /v1/tickets?limit=1000", "", StatusCode::OK).await;
        page["tickets"].as_array().unwrap().clone()
    }

    /// What the metrics page says of one series.
    pub(crate) async fn metric(&self, series: &str) -> String {
        let page = self.ask("", "GET /metrics", "").await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{page}")).to_owned()
    }
}

/// The running example: the drum bearing of a washing machine, `minute` minutes after ten.
pub(crate) fn alarm(device: &str, minute: u64) -> Alarm {
    let (tenant, device_id) = ("dev".parse().unwrap(), device.parse().unwrap());
    let raised = at("2026-11-21T10:00:00Z").plus(Duration::from_secs(60 * minute));
    Alarm {
        alarm_id: Alarm::id(&tenant, &device_id, "drum_bearing_vibration", raised),
        tenant,
        device_id,
        profile: "washing_machine".parse().unwrap(),
        firmware: Some("1.4.2".into()),
        specific_problem: "drum_bearing_vibration".into(),
        source: AlarmSource::Rule,
        fault_key: "drum_bearing/wear".parse().unwrap(),
        perceived_severity: PerceivedSeverity::Minor,
        probable_cause: "Bearing worn".into(),
        state: AlarmState::Raised,
        alarm_raised_time: raised,
        alarm_reporting_time: raised.plus(Duration::from_secs(5)),
        alarm_cleared_time: None,
        evidence: Evidence {
            indicator: "vibration_mm_s".into(),
            unit: "mm/s".into(),
            threshold: Some(4.5),
            observed: Some(6.1),
            since: raised.minus(Duration::from_secs(1800)),
            until: raised,
            readings: 30,
            flapping: false,
            reason: "vibration_mm_s at or above 4.5 mm/s for 30 min".into(),
        },
    }
}

pub(crate) fn cleared(alarm: &Alarm) -> Alarm {
    let end = alarm.alarm_raised_time.plus(Duration::from_secs(30));
    Alarm { state: AlarmState::Cleared, alarm_cleared_time: Some(end), ..alarm.clone() }
}

/// Waits until a state is reached.
async fn until<F: Future<Output = bool>>(what: &str, mut reached: impl FnMut() -> F) {
    let wait = async {
        while !reached().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
