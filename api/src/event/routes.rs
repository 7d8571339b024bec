//! `GET /v1/events`: server-sent events for agents, each a CloudEvent.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use schemas::{id::TenantId, time::Instant};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Event, Hub, store};
use crate::{
    app::App,
    auth::Caller,
    body,
    metrics::{Cut, Metrics},
    problem::{self, Problem},
};

/// The routes.
pub fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Events read from the outbox at once.
const PAGE: u32 = 256;
/// Events between the outbox and a client; with [`PAGE`] the most that one slow client holds in memory.
const QUEUE: usize = 64;

/// A CloudEvents 1.0 event.
#[derive(Debug, Serialize, ToSchema)]
struct CloudEvent {
    /// `1.0`.
    specversion: &'static str,
    /// Its place; `Last-Event-ID` resumes after it.
    id: String,
    /// The tenant.
    source: String,
    /// What it tells.
    #[schema(example = "forewarn.ticket.created")]
    r#type: String,
    /// The id of the ticket, alarm or appointment.
    subject: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    time: Instant,
    /// `application/json`.
    datacontenttype: &'static str,
    /// The particulars.
    #[schema(value_type = Object)]
    data: Value,
}

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// After this event; 0 is from the first that is kept. Without it, and without `Last-Event-ID`, from now on.
    after: Option<i64>,
}

/// Streams the tenant's events, those kept after the given place first. Each has its place as `id`, its type as `event`
/// and a CloudEvent as `data`. An event `gap` tells that some were no longer kept. A silent stream carries comments.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(
    Which, ("last-event-id" = Option<i64>, Header, description = "Resumes after this event; overrules `after`")), responses(
    (status = 200, description = "The stream", body = CloudEvent, content_type = "text/event-stream"),
    (status = "4XX", description = "A problem", body = problem::Json, content_type = "application/problem+json")))]
async fn stream(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body::Query(which): body::Query<Which>,
) -> Result<Sse<impl futures::Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let open = Open::new(&app)?;
    let last = match headers.get("last-event-id") {
        Some(header) => Some(place("last-event-id", header.to_str().unwrap_or("not ASCII"))?),
        None => which.after.map(|after| place("after", &after.to_string())).transpose()?,
    };
    // Listening begins before the bounds are read, so nothing falls between.
    let turn = app.events.listen();
    let (low, high) = store::bounds(&app.db).await?;
    let (to_client, events) = mpsc::channel(QUEUE);
    let feed = Feed {
        db: app.db.clone(),
        hub: app.events.clone(),
        tenant: caller.tenant,
        place: last.unwrap_or(high).min(high),
        patience: app.settings.event_patience,
        to_client,
        open,
    };
    tokio::spawn(feed.run(turn, low));
    let keep_alive = KeepAlive::new().interval(app.settings.event_keep_alive);
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(keep_alive))
}

fn place(field: &str, text: &str) -> Result<i64, Problem> {
    let wrong = || Problem::bad_request(field, format!("{field} is {text:?}; legal is the id of an event, or 0"));
    text.parse().ok().filter(|place| *place >= 0).ok_or_else(wrong)
}

/// One open stream, counted.
struct Open(Metrics);

impl Open {
    fn new(app: &App) -> Result<Self, Problem> {
        let most = i64::try_from(app.settings.event_streams).unwrap_or(i64::MAX);
        let open = Self(app.metrics.clone());
        if open.0.streams.inc() >= most {
            return Err(Problem::too_many(format!("{most} event streams are open, the most there may be")));
        }
        Ok(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

/// Reads the outbox for one client.
struct Feed {
    db: SqlitePool,
    hub: Hub,
    tenant: TenantId,
    place: i64,
    patience: Duration,
    to_client: mpsc::Sender<Result<sse::Event, Infallible>>,
    open: Open,
}

/// The stream ends.
struct Over;

impl Feed {
    async fn run(mut self, mut turn: watch::Receiver<u64>, low: i64) {
        if self.gap(low).await.is_err() {
            return;
        }
        loop {
            turn.mark_unchanged();
            if self.catch_up().await.is_err() {
                return;
            }
            tokio::select! {
                changed = turn.changed() => if changed.is_err() { return },
                () = self.hub.closed() => return,
                () = self.to_client.closed() => return,
            }
        }
    }

    async fn gap(&mut self, low: i64) -> Result<(), Over> {
        if self.place + 1 >= low || low == 0 || self.place == 0 {
            return Ok(());
        }
        let data = json!({ "last_event_id": self.place, "first_kept": low });
        self.send(sse::Event::default().event("gap").data(data.to_string())).await
    }

    async fn catch_up(&mut self) -> Result<(), Over> {
        loop {
            let page = match store::after(&self.db, &self.tenant, self.place, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(cause = problem::chain(&error), "read events for a stream");
                    self.open.0.cut(Cut::Database);
                    return Err(Over);
                }
            };
            let full = page.len() == PAGE as usize;
            for event in page {
                self.place = event.event_id;
                let event = self.cloud_event(event);
                self.send(event).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn cloud_event(&self, event: Event) -> sse::Event {
        let (id, kind) = (event.event_id.to_string(), event.kind.clone());
        let json = CloudEvent {
            specversion: "1.0",
            id: id.clone(),
            source: format!("/forewarn/{}", self.tenant),
            r#type: event.kind,
            subject: event.subject,
            time: event.at,
            datacontenttype: "application/json",
            data: event.data,
        };
        let data = serde_json::to_string(&json).unwrap_or_default();
        sse::Event::default().id(id).event(kind).data(data)
    }

    async fn send(&self, event: sse::Event) -> Result<(), Over> {
        tokio::select! {
            sent = tokio::time::timeout(self.patience, self.to_client.send(Ok(event))) => match sent {
                Ok(Ok(())) => Ok(()),
                // The client went away.
                Ok(Err(_)) => Err(Over),
                Err(_) => {
                    tracing::warn!(tenant = %self.tenant, "an event stream is cut off: its client takes nothing");
                    self.open.0.cut(Cut::Slow);
                    Err(Over)
                }
            },
            () = self.hub.closed() => Err(Over),
        }
    }
}
