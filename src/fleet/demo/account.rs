//! The demo's account: what came in, what became of it, and which planted failures had a ticket before they happened.

use std::{fmt, sync::atomic::Ordering};

use analytics::evaluate::{self, Failure, Raised};
use anyhow::Context;
use arrow::array::{AsArray, types::Int64Type};
use schemas::time::Instant;
use serde::Serialize;

use crate::{
    client::Client,
    fleet::simulate::{Course, KINDS, Planted, network::Sent},
    server::Server,
};

/// The answer of `forewarn demo --json`.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    /// Messages taken to the log and acknowledged.
    acknowledged: u64,
    /// Of these, those that became at least one row.
    stored: u64,
    /// Of these, those that had been stored before.
    duplicates: u64,
    /// Of these, those that could not be stored and stand in `dead_letter` with a reason.
    dead_letters: u64,
    /// PUBACKs that the devices saw: at most `acknowledged`, since an answer can be lost on the way.
    acknowledged_to_devices: u64,
    /// Messages that devices still held when they stopped.
    left_on_devices: u64,
    /// Rows of telemetry, faults and status, counted by SQL.
    rows: u64,
    /// Alarms raised.
    alarms: u64,
    /// Tickets opened.
    tickets: u64,
    /// Visits booked.
    visits: u64,
    /// Planted faults that came to a failure while the demo ran.
    planted_failures: u64,
    /// Of these, those that wear brought: the others come at once and cannot be foreseen.
    planted_wear_failures: u64,
    /// Of all, those that had a ticket for that component before they happened.
    ticketed_before_failure: u64,
    /// Median of the time from ticket to failure, in hours of device time.
    median_lead_hours: Option<f64>,
    /// Tickets for components in which nothing was planted.
    false_tickets: u64,
    /// Device time that passed, in days.
    device_days: f64,
}

impl Account {
    pub(super) async fn draw_up(
        server: &Server,
        client: &Client,
        sent: &Sent,
        planted: &[Planted],
        begin: Instant,
        end: Instant,
        visits: u64,
    ) -> anyhow::Result<Self> {
        let totals = server.totals().context("totals of the pipeline")?;
        let durable = server.progress().progress().durable;
        let tables = KINDS.map(|kind| format!("telemetry_{}", kind.profile));
        let counts = tables.iter().map(String::as_str).chain(["fault", "status"]);
        let counts: Vec<String> = counts.map(|table| format!("select count(*) as n from {table}")).collect();
        let rows = number(client, &format!("select sum(n) as n from ({})", counts.join(" union all "))).await?;
        let alarms = number(client, "select count(distinct alarm_id) as n from alarm").await?;

        let mut raised = Vec::new();
        for ticket in client.all("/v1/tickets", "tickets").await? {
            let text = |name: &str| ticket[name].as_str().with_context(|| format!("{name} of a ticket"));
            raised.push(Raised {
                device_id: text("device_id")?.to_owned(),
                fault_key: text("fault_key")?.split('/').next().map(str::to_owned),
                at: text("creation_date")?.parse()?,
            });
        }
        let failure = |planted: &&Planted| Failure {
            device_id: planted.device_id.to_string(),
            fault_key: Some(planted.fault_key.component().to_owned()),
            at: planted.failure,
        };
        let came: Vec<&Planted> = planted.iter().filter(|p| p.failure <= end).collect();
        let happened: Vec<Failure> = came.iter().map(failure).collect();
        let begun: Vec<Failure> = planted.iter().filter(|p| p.onset <= end).map(|p| failure(&p)).collect();
        let foreseen = evaluate::lead(&raised, &happened, None)?;
        // A ticket for wear that has begun and not yet failed is not false.
        let justified = evaluate::lead(&raised, &begun, None)?;
        Ok(Self {
            acknowledged: durable - totals.internal - totals.refused,
            stored: totals.stored,
            duplicates: totals.duplicates,
            dead_letters: totals.dead_letters,
            acknowledged_to_devices: sent.acknowledged.load(Ordering::Relaxed),
            left_on_devices: sent.left.load(Ordering::Relaxed),
            rows,
            alarms,
            tickets: raised.len() as u64,
            visits,
            planted_failures: came.len() as u64,
            planted_wear_failures: came.iter().filter(|p| p.course == Course::Wear).count() as u64,
            ticketed_before_failure: foreseen.predicted as u64,
            median_lead_hours: foreseen.median_lead_hours,
            false_tickets: justified.false_tickets as u64,
            device_days: end.hours_since(begin) / 24.0,
        })
    }

    /// What must hold whatever the fleet did.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let told = self.stored + self.duplicates + self.dead_letters;
        anyhow::ensure!(
            self.acknowledged == told,
            "{} messages acknowledged, but {told} stored, duplicate or dead letters",
            self.acknowledged
        );
        anyhow::ensure!(
            self.acknowledged_to_devices <= self.acknowledged,
            "devices saw {} acknowledgements of {} messages",
            self.acknowledged_to_devices,
            self.acknowledged
        );
        Ok(())
    }
}

async fn number(client: &Client, query: &str) -> anyhow::Result<u64> {
    let (_, batches) = client.sql(query).await?;
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).context("one row")?;
    let column = batch.column(0).as_primitive_opt::<Int64Type>().context("a whole number")?;
    Ok(column.value(0).unsigned_abs())
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "messages   {} acknowledged = {} stored + {} duplicates + {} dead letters",
            self.acknowledged, self.stored, self.duplicates, self.dead_letters
        )?;
        writeln!(f, "rows       {} in {:.1} days of device time", self.rows, self.device_days)?;
        writeln!(f, "alarms     {}   tickets {}   visits {}", self.alarms, self.tickets, self.visits)?;
        writeln!(
            f,
            "failures   {} planted ({} by wear), {} with a ticket before they happened, median lead {}",
            self.planted_failures,
            self.planted_wear_failures,
            self.ticketed_before_failure,
            self.median_lead_hours.map_or("none".into(), |hours| format!("{hours:.0} h"))
        )?;
        write!(f, "false      {} tickets", self.false_tickets)
    }
}
