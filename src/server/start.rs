//! How a process starts: everything is opened and checked first, ports last.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use prometheus_client::registry::Registry;
use schemas::{
    door::{Append, Commands, DeviceAuth, OutcomeSink, Reinject, ServiceTables, SqlEngine, TableSource, TrendSource},
    id::{LogOffset, TenantId},
    profile::Profiles,
    time::Clock,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Server,
    background::Background,
    letters::LoggedLetters,
    outcomes::LoggedOutcomes,
    progress::{Nowhere, Offsets},
};
use crate::{
    dev::{self, Addresses, Secrets},
    settings::{Role, Settings},
};

/// How often the tables of another process are looked at: as often as it commits.
const FOLLOW: Duration = Duration::from_secs(5);

/// Reads the pipeline's totals.
pub(super) type Totals = Box<dyn Fn() -> ingest::decode::Totals + Send + Sync>;

pub(super) async fn start(settings: Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Server> {
    let role = |role| settings.roles.contains(&role);
    let data = settings.data.clone();
    std::fs::create_dir_all(&data).with_context(|| format!("create the data folder {}", data.display()))?;
    let mut profiles = Profiles::builtin();
    if let Some(folder) = &settings.profiles {
        profiles = profiles.with_folder(folder)?;
    }
    for profile in profiles.iter() {
        // The detector would say it too, but only where it runs.
        analytics::detect::Rulebook::check(profile)?;
    }
    let profiles = Arc::new(profiles);
    let mut registry = Registry::default();

    let intake = CancellationToken::new();
    let pipeline_stop = CancellationToken::new();
    let service = CancellationToken::new();
    let mut server = Server {
        gateway: None,
        http: None,
        mqtt: None,
        postgres: None,
        flight: None,
        log: None,
        progress: Arc::new(Nowhere),
        totals: None,
        intake: intake.clone(),
        pipeline: pipeline_stop.clone(),
        service: service.clone(),
        intake_tasks: JoinSet::new(),
        pipeline_tasks: JoinSet::new(),
        service_tasks: JoinSet::new(),
        background: Background::start().context("start the background threads")?,
        settings: settings.clone(),
    };

    let background = server.background.handle().clone();

    // The service database holds tokens, device credentials and tickets: every role needs some of it.
    let database = data.join(&settings.api.database);
    let db = api::store::open(&database).await.with_context(|| format!("open {}", database.display()))?;
    let credentials = api::device::Credentials::load(&db).await.context("load device credentials")?;
    let api_metrics = api::metrics::Metrics::register(&mut registry);
    api::appointment::metrics::register(&mut registry);
    let events = api::event::Hub::default();
    let command_metrics = api::command::metrics::Metrics::register(&mut registry);
    let mut courier = None;
    let gateway_limit = Arc::new(super::progress::Gateway::new());

    let mut tables: Option<Arc<dyn TableSource>> = None;
    let mut outcomes: Option<Arc<dyn OutcomeSink>> = None;
    let mut letters: Option<Arc<dyn Reinject>> = None;
    let mut gateway_log: Option<Arc<dyn Append>> = None;
    if role(Role::Ingest) {
        let log = ingest::log::Log::open(&data.join("log"), &settings.log, &mut registry)?;
        server.log = Some(log.clone());
        let lake =
            ingest::lake::Lake::open(&data.join("lake"), &profiles, settings.lake.clone(), &mut registry).await?;
        tables = Some(lake.source());
        let maintainer = lake.maintainer(settings.maintain.clone(), settings.retention.clone())?;
        let (maintain_clock, stop) = (clock.clone(), pipeline_stop.clone());
        server.pipeline_tasks.spawn_on(
            async move { maintainer.run(maintain_clock, stop).await.map_err(|error| anyhow::anyhow!(error)) },
            &background,
        );
        let mut pipeline = ingest::pipeline::Pipeline::open(
            log.clone(),
            &data.join("state"),
            profiles.clone(),
            clock.clone(),
            settings.pipeline.clone(),
            &mut registry,
        )?;
        let status = pipeline.status();
        let lake_feed = pipeline.consumer("lake", &lake.committed());
        let committed = lake.committed_offset();
        let append: Arc<dyn Append> = Arc::new(log.clone());
        outcomes = Some(Arc::new(LoggedOutcomes { log: append.clone(), clock: clock.clone() }));
        letters = Some(Arc::new(LoggedLetters { log: append.clone(), clock: clock.clone() }));
        gateway_log = Some(append.clone());

        let (handed_out, rounds) = api::command::Courier::open(db.clone(), clock.clone(), command_metrics.clone())
            .await
            .context("read commands")?;
        courier = Some(handed_out);
        let stop = service.clone();
        server.service_tasks.spawn(async move {
            rounds.run(stop).await;
            Ok(())
        });
        let read = api::command::replies::offset(&db).await.context("read how far replies were read")?;
        let feed = pipeline.consumer("replies", &[read]);
        let (replies, metrics, stop) = (db.clone(), command_metrics.clone(), pipeline_stop.clone());
        let hub = events.clone();
        server.pipeline_tasks.spawn_on(
            async move { Ok(api::command::replies::run(replies, feed, metrics, hub, stop).await?) },
            &background,
        );

        let mut detected = None;
        if role(Role::Analytics) {
            let detector = analytics::detect::Detector::open(
                &data.join("state"),
                profiles.clone(),
                clock.clone(),
                settings.detect.clone(),
                &mut registry,
            )?;
            let feed = pipeline.consumer("detector", &[detector.durable()]);
            detected = Some(detector.position());
            let desk = api::desk::Desk::new(db.clone(), profiles.clone(), events.clone(), api_metrics.clone());
            let desk = Arc::new(desk.with_storm(settings.api.storm));
            if settings.prognosis.enabled
                && let Some(tables) = &tables
            {
                let metrics = analytics::prognosis::Metrics::register(&mut registry);
                // Made by a thread that gives way, its threads do too.
                let (of_tables, of_clock) = (tables.clone(), clock.clone());
                let engine = background.spawn_blocking(move || analytics::prognosis::engine(of_tables, of_clock));
                let engine = engine.await.context("start the queries of prognosis")??;
                for tenant in tenants(&db, settings.dev).await? {
                    let service = analytics::prognosis::service::Service::open(
                        analytics::prognosis::store::Tables::new(engine.clone(), tenant),
                        profiles.clone(),
                        &data,
                        clock.clone(),
                        settings.prognosis.clone(),
                        metrics.clone(),
                    );
                    let (desk, log, stop) = (desk.clone(), append.clone(), pipeline_stop.clone());
                    // A thread of its own: a midnight's work must not hold a thread that acknowledges messages.
                    let runtime = background.clone();
                    server.pipeline_tasks.spawn_on(
                        async move {
                            tokio::task::spawn_blocking(move || runtime.block_on(service.run(desk, log, stop))).await?;
                            Ok(())
                        },
                        &background,
                    );
                }
            }
            let stop = pipeline_stop.clone();
            server
                .pipeline_tasks
                .spawn_on(async move { Ok(detector.run(feed, desk, append, stop).await?) }, &background);
        }
        let stop = pipeline_stop.clone();
        server.pipeline_tasks.spawn_on(async move { Ok(lake.run(lake_feed, stop).await?) }, &background);
        let totals = status.clone();
        server.totals = Some(Box::new(move || totals.totals()));
        server.progress = Arc::new(Offsets {
            gateway: gateway_limit.clone(),
            log,
            pipeline: status,
            committed: Box::new(move || LogOffset(committed.load(Ordering::Acquire))),
            detected,
        });
        let stop = pipeline_stop.clone();
        server.pipeline_tasks.spawn_on(async move { Ok(pipeline.run(stop).await?) }, &background);
    }

    let mut sql: Option<Arc<dyn SqlEngine>> = None;
    let mut trends: Option<Arc<dyn TrendSource>> = None;
    if role(Role::Analytics) {
        let tables = match tables {
            Some(hot_and_cold) => hot_and_cold,
            None => {
                let cold = Arc::new(analytics::query::ColdTables::open(&data.join("lake")).await?);
                server.service_tasks.spawn(follow(cold.clone(), service.clone()));
                cold
            }
        };
        let service: Arc<dyn ServiceTables> = Arc::new(api::table::Tables::new(db.clone()));
        let engine = analytics::query::Engine::with_service(
            tables,
            Some(service),
            clock.clone(),
            settings.query.clone(),
            &mut registry,
        )?;
        let engine = Arc::new(engine);
        trends = Some(engine.clone());
        sql = Some(engine);
    }

    // Changes of the credentials, made in any process, are followed by the relay that runs beside HTTP.
    let auth: Arc<dyn DeviceAuth> = match settings.dev {
        true => Arc::new(dev_secrets(&data, &db, clock.as_ref()).await?),
        false => Arc::new(credentials.clone()),
    };
    if let Some(log) = gateway_log {
        let commands = courier.clone().map(|courier| Arc::new(courier) as Arc<dyn Commands>);
        let doors = ingest::gateway::Doors { log: log.clone(), auth, commands };
        // Binding checks the port; nothing is taken before the log, the tables and the database are open.
        let gateway =
            ingest::gateway::Gateway::start(settings.gateway.clone(), doors, clock.clone(), &mut registry).await?;
        server.mqtt = Some(gateway.local_addr());
        let _ = gateway_limit.set(Box::new(gateway.limit()));
        server.gateway = Some(gateway);
        if let Some(subscriber) = settings.subscriber.clone() {
            let metrics = ingest::subscriber::Metrics::register(&mut registry);
            let (clock, stop) = (clock.clone(), intake.clone());
            server
                .intake_tasks
                .spawn(async move { Ok(ingest::subscriber::run(subscriber, log, clock, metrics, stop).await?) });
        }
    }

    if settings.postgres.enabled
        && let Some(engine) = sql.clone()
    {
        let listen = settings.postgres.listen;
        let bound = TcpListener::bind(listen).await;
        let listener = bound.with_context(|| format!("listen on postgres.listen = {listen} (--pg takes another)"))?;
        server.postgres = Some(listener.local_addr()?);
        let tokens = Arc::new(api::token::Tokens::new(db.clone(), clock.clone()));
        let door =
            analytics::postgres::Postgres::new(listener, engine, tokens, settings.postgres.clone(), &mut registry);
        let stop = service.clone();
        server.service_tasks.spawn(async move {
            door.run(stop).await;
            Ok(())
        });
    }

    if settings.flight.enabled
        && let Some(engine) = sql.clone()
    {
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("ask the operating system for random bytes")?;
        let tokens = Arc::new(api::token::Tokens::new(db.clone(), clock.clone()));
        let doors = analytics::flight::Doors { engine, tokens, key };
        let door = analytics::flight::Flight::open(settings.flight.clone(), doors, &mut registry).await?;
        server.flight = Some(door.local_addr());
        let stop = service.clone();
        server.service_tasks.spawn(async move { Ok(door.run(stop).await?) });
    }

    // Every process tells how it is; only the api role answers more.
    let listen = settings.api.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on api.listen = {listen}"))?;
    let address = listener.local_addr()?;
    let scope = if role(Role::Api) { api::Scope::Service } else { api::Scope::Operations };
    server.http = Some(address);
    let app = Arc::new(api::App {
        scope,
        db,
        clock,
        profiles,
        events,
        sql,
        trends,
        outcomes,
        letters,
        progress: server.totals.is_some().then(|| server.progress()),
        registry: Arc::new(registry),
        metrics: api_metrics,
        credentials,
        courier,
        commands: command_metrics,
        settings: settings.api.clone(),
    });
    server.service_tasks.spawn(async move { Ok(api::serve(listener, app, service).await?) });
    if settings.dev {
        // Where the roles are parted, each process tells of its own doors only.
        let secrets = Secrets::of(&data);
        let others = secrets.addresses().unwrap_or_default();
        let http = if role(Role::Api) { Some(address) } else { others.http };
        let (mqtt, postgres) = (server.mqtt.or(others.mqtt), server.postgres.or(others.postgres));
        let flight = server.flight.or(others.flight);
        secrets.keep_addresses(&Addresses { mqtt, http, postgres, flight })?;
    }
    info!(mqtt = ?server.mqtt, http = ?server.http, postgres = ?server.postgres, flight = ?server.flight, roles = ?settings.roles, "ready");
    Ok(server)
}

/// Follows the tables that another process writes, until told to stop.
async fn follow(tables: Arc<analytics::query::ColdTables>, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(FOLLOW) => {}
        }
        if let Err(error) = tables.refresh().await {
            tracing::warn!(
                "look for new versions of the tables; those of before stand: {:#}",
                anyhow::Error::new(error)
            );
        }
    }
}

/// Whose devices are scored: everybody's who has a token; who comes later, from the next start on.
async fn tenants(db: &api::store::Database, dev: bool) -> anyhow::Result<BTreeSet<TenantId>> {
    let mut tenants = api::token::tenants(db).await.context("list tenants")?;
    if dev {
        tenants.insert(dev::TENANT.parse()?);
    }
    Ok(tenants)
}

/// Makes the secrets of `--dev`, and their logins.
async fn dev_secrets(
    data: &Path,
    db: &api::store::Database,
    clock: &dyn Clock,
) -> anyhow::Result<api::device::DevCredentials> {
    let secrets = Secrets::of(data);
    let tenant: TenantId = dev::TENANT.parse()?;
    let known = match secrets.admin_token() {
        Ok(token) => api::token::verify(db, &token, clock.arrival()).await?.is_some(),
        Err(_) => false,
    };
    if !known {
        let (_, token) = api::token::create(db, &tenant, api::Role::Admin, "dev", clock.arrival()).await?;
        secrets.keep_admin_token(&token)?;
    }
    let password = secrets.ensure_device_password()?;
    Ok(api::device::DevCredentials::new(tenant, &password))
}
