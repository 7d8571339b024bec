//! The part of `bench/query/run` that must be Rust: makes the tables through our own writer, and answers queries in
//! one process as the server does, so that start-up and transport are in no figure.
//!
//! In: `generate …` or `answer …`; for `answer`, one JSON object a line on standard input. Out: one JSON object a line.
//! Promise: the same seed gives the same rows.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
        StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    datatypes::SchemaRef,
    ipc::writer::StreamWriter,
};
use clap::{Parser, Subcommand};
use futures::StreamExt as _;
use prometheus_client::registry::Registry;
use schemas::{
    door::{Chunk, Cursor, Feed, Rows, SqlEngine},
    id::{LogOffset, TenantId},
    profile::{Profile, Profiles},
    table::{self, TableName},
    time::{Instant, SystemClock},
};
use serde::Deserialize;

const TENANT: &str = "dev";
const PROFILE: &str = "washing_machine";
/// 2026-01-01T00:00:00Z.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// Chunks made ahead of the lake.
const AHEAD: usize = 2;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Writes telemetry through the lake, all devices a tick after the other, as a fleet reports.
    Generate {
        #[arg(long)]
        data: PathBuf,
        #[arg(long)]
        rows: u64,
        #[arg(long, default_value_t = 20_000)]
        devices: u32,
        /// Minutes from one reading of a device to the next.
        #[arg(long, default_value_t = 10)]
        minutes: i64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Keeps no rollups: for what they cost.
        #[arg(long)]
        raw: bool,
    },
    /// Answers `{"sql": "…", "to": "FILE"}` with `{"seconds": …, "rows": …}`; the rows go to the file as an Arrow stream.
    Answer {
        #[arg(long)]
        data: PathBuf,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Rollups do not answer for telemetry.
        #[arg(long)]
        raw: bool,
        /// For all queries together; one of them has the eighth part.
        #[arg(long, default_value_t = 8 << 30)]
        memory_bytes: usize,
    },
}

fn main() -> anyhow::Result<()> {
    // As the server does.
    forewarn::memory::small_pages()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match Cli::parse().command {
        Command::Generate { data, rows, devices, minutes, seed, raw } => {
            let fleet = Fleet { devices, step_micros: minutes * 60_000_000, seed };
            runtime.block_on(generate(&data, rows, fleet, !raw))
        }
        Command::Answer { data, threads, raw, memory_bytes } => {
            runtime.block_on(answer(&data, threads, !raw, memory_bytes))
        }
    }
}

// -- rows -----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Fleet {
    devices: u32,
    step_micros: i64,
    seed: u64,
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): a value for each place, so that no
/// row waits for the one before.
fn mix(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn share(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

impl Fleet {
    /// Metric by name: a level of the device's own, the hour of day, noise, and the decimals that a device sends.
    fn value(&self, metric: usize, device: u32, tick: i64) -> f64 {
        const SHAPES: [(f64, f64, i32); 6] =
            [(1100.0, 160.0, 1), (1.9, 1.2, 3), (3.4, 0.8, 3), (40.0, 8.0, 2), (14.0, 3.0, 2), (62.0, 12.0, 1)];
        let (middle, spread, decimals) = SHAPES[metric % SHAPES.len()];
        let own = share(mix(self.seed ^ metric as u64, u64::from(device))) - 0.5;
        let noise =
            share(mix(self.seed.wrapping_add(metric as u64 + 1), (tick as u64) << 20 | u64::from(device))) - 0.5;
        let hour = (tick * self.step_micros / 3_600_000_000 % 24) as f64;
        let daily = (hour / 24.0 * std::f64::consts::TAU).sin() * 0.1;
        let scale = 10_f64.powi(decimals);
        ((middle + spread * (own + noise + daily)) * scale).round() / scale
    }

    /// One reading of each device.
    fn tick(
        &self,
        profile: &Profile,
        schema: &SchemaRef,
        ids: &ArrayRef,
        firmware: &ArrayRef,
        tick: i64,
    ) -> anyhow::Result<RecordBatch> {
        let rows = self.devices as usize;
        let micros = BEGIN_MICROS + tick * self.step_micros;
        let times = |at: i64| -> ArrayRef {
            // A few seconds apart, as devices are.
            let spread = (0..self.devices).map(|device| at + i64::from(device % 600) * 1_000_000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(spread).with_timezone("UTC"))
        };
        let extra = {
            let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
            let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for _ in 0..rows {
                maps.append(false)?;
            }
            maps.finish()
        };
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "tenant" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(TENANT, rows))),
                "device_id" => ids.clone(),
                "boot" => Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(1, rows))),
                "seq" => Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(tick, rows))),
                "event_time" => times(micros),
                "arrival_time" => times(micros + 300_000),
                "late" => Arc::new(BooleanArray::from(vec![false; rows])),
                "firmware" => firmware.clone(),
                "extra" => Arc::new(extra.clone()),
                "date" => {
                    let day =
                        |device: u32| (micros + i64::from(device % 600) * 1_000_000).div_euclid(DAY_MICROS) as i32;
                    Arc::new(Date32Array::from_iter_values((0..self.devices).map(day)))
                }
                "cycle_count" => Arc::new(Int64Array::from_iter_values(
                    (0..self.devices).map(|device| 100 + i64::from(device % 700) + tick / 50),
                )),
                metric => {
                    let at = profile.metrics.iter().position(|known| known.name == metric).unwrap_or_default();
                    Arc::new(Float64Array::from_iter_values(
                        (0..self.devices).map(|device| self.value(at, device, tick)),
                    ))
                }
            }
        });
        Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
    }
}

struct Nobody;

impl Cursor for Nobody {
    fn advance(&self, _to: LogOffset) {}
}

async fn generate(data: &Path, rows: u64, fleet: Fleet, rollups: bool) -> anyhow::Result<()> {
    let mut profiles = Profiles::builtin();
    let known = profiles.iter().find(|profile| profile.name.as_str() == PROFILE);
    let mut profile = Profile::clone(known.context("no such profile")?);
    // By its cadence the lake chooses which rollups are worth their room.
    profile.cadence = std::time::Duration::from_micros(fleet.step_micros.unsigned_abs());
    profiles.insert(profile.clone());
    let table = TableName::Telemetry(profile.name.clone());
    let schema = table::telemetry(&profile);
    let mut registry = Registry::default();
    let settings = ingest::lake::Settings { rollups, ..Default::default() };
    let lake = ingest::lake::Lake::open(&data.join("lake"), &profiles, settings, &mut registry).await?;
    let (to, chunks) = tokio::sync::mpsc::channel(AHEAD);
    let task = tokio::spawn(lake.run(Feed { chunks, cursor: Arc::new(Nobody) }, Default::default()));
    let ids = (0..fleet.devices).map(|device| format!("wm-{device:06}"));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let firmware = (0..fleet.devices).map(|device| ["1.4.0", "1.4.2", "1.5.0", "2.0.1"][device as usize % 4]);
    let firmware: ArrayRef = Arc::new(StringArray::from_iter_values(firmware));
    let ticks = rows.div_ceil(u64::from(fleet.devices)) as i64;
    // The machine's clock: it measures how long the writer takes.
    #[expect(clippy::disallowed_methods, reason = "a duration")]
    let began = std::time::Instant::now();
    for tick in 0..ticks {
        let batch = fleet.tick(&profile, &schema, &ids, &firmware, tick)?;
        let start = tick as u64 * u64::from(fleet.devices);
        let chunk = Chunk {
            start: LogOffset(start),
            end: LogOffset(start + u64::from(fleet.devices)),
            now: Instant::from_micros(BEGIN_MICROS + tick * fleet.step_micros),
            rows: vec![Rows { table: table.clone(), batch }],
        };
        to.send(Arc::new(chunk)).await.context("the lake has ended")?;
    }
    drop(to);
    task.await??;
    let seconds = began.elapsed().as_secs_f64();
    let rows = ticks as u64 * u64::from(fleet.devices);
    println!("{}", serde_json::json!({ "rows": rows, "seconds": seconds, "rows_per_second": rows as f64 / seconds }));
    Ok(())
}

// -- answers --------------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Asked {
    sql: String,
    to: Option<PathBuf>,
}

async fn answer(data: &Path, threads: usize, rollups: bool, memory_bytes: usize) -> anyhow::Result<()> {
    let tables = Arc::new(analytics::query::ColdTables::open(&data.join("lake")).await?);
    let settings = analytics::query::Settings {
        threads,
        rollups,
        memory_bytes,
        max_rows: usize::MAX,
        timeout: std::time::Duration::from_secs(600),
        ..Default::default()
    };
    let engine = analytics::query::Engine::new(tables, Arc::new(SystemClock), settings, &mut Registry::default())?;
    let tenant: TenantId = TENANT.parse()?;
    for line in std::io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line?)?;
        // The machine's clock: a duration is what is asked for.
        #[expect(clippy::disallowed_methods, reason = "a duration")]
        let began = std::time::Instant::now();
        let reply = match run(&engine, &tenant, &asked.sql).await {
            Ok((schema, batches)) => {
                let seconds = began.elapsed().as_secs_f64();
                if let Some(to) = asked.to {
                    let mut writer = StreamWriter::try_new(std::fs::File::create(to)?, &schema)?;
                    batches.iter().try_for_each(|batch| writer.write(batch))?;
                    writer.finish()?;
                }
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                serde_json::json!({ "seconds": seconds, "rows": rows })
            }
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}

async fn run(
    engine: &analytics::query::Engine,
    tenant: &TenantId,
    sql: &str,
) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut answer = engine.query(tenant, sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.batches.next().await {
        batches.push(batch?);
    }
    Ok((answer.schema, batches))
}
