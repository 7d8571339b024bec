//! What came of a replay: counts, and how well tickets foresaw the recorded failures.

use std::{fmt, time::Duration};

use analytics::evaluate;
use anyhow::Context;
use schemas::{outcome::Outcome, time::Instant};
use serde::Serialize;

use super::{Set, recording::Failure, sender::Sent};
use crate::client::Client;

/// The pipeline has settled when it is done and nothing has come for so long.
const SETTLED: Duration = Duration::from_secs(2);
/// Longest wait for that while nothing moves.
const STUCK: Duration = Duration::from_secs(180);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(200);

/// The answer of `forewarn replay`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    set: &'static str,
    #[serde(flatten)]
    sent: Sent,
    /// Rows of the set's telemetry table on the server.
    rows: Option<u64>,
    /// Against the recorded failures up to the last event time; none where the server could not be asked.
    #[serde(flatten)]
    foresight: Option<Foresight>,
    /// Why something is missing.
    pub(super) note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Foresight {
    failures: u64,
    tickets: u64,
    predicted_failures: u64,
    true_tickets: u64,
    false_tickets: u64,
    late_tickets: u64,
    precision: Option<f64>,
    recall: Option<f64>,
    median_lead_days: Option<f64>,
    lead_days: Vec<f64>,
}

fn table(set: Set) -> (&'static str, &'static str) {
    match set {
        Set::Backblaze => ("backblaze", "telemetry_disk_drive"),
        Set::AppliancePower => ("appliance-power", "telemetry_power_monitor"),
        Set::AzurePdm => ("azure-pdm", "telemetry_industrial_machine"),
    }
}

/// Tells the API what maintenance found.
pub(super) async fn send_outcomes(client: &Client, outcomes: &[Outcome]) -> anyhow::Result<()> {
    for outcome in outcomes {
        let mut body = serde_json::to_value(outcome)?;
        if let Some(body) = body.as_object_mut() {
            body.remove("tenant");
            body.retain(|_, value| !value.is_null());
        }
        client.post("/v1/outcomes", &body).await?;
    }
    Ok(())
}

/// Waits until the server has committed and looked at all it took, and nothing more comes.
async fn settle(client: &Client) -> anyhow::Result<()> {
    let mut last = None;
    let mut quiet = Duration::ZERO;
    loop {
        let progress = client.progress().await?;
        let done = progress.decoded == progress.durable
            && progress.committed >= progress.durable
            && progress.detected.is_none_or(|detected| detected >= progress.durable);
        quiet = if last.as_ref() == Some(&progress) { quiet + POLL } else { Duration::ZERO };
        if done && quiet >= SETTLED {
            return Ok(());
        }
        anyhow::ensure!(quiet < STUCK, "the server's pipeline does not move: {progress:?}");
        last = Some(progress);
        tokio::time::sleep(POLL).await;
    }
}

impl Report {
    pub(super) fn new(set: Set, sent: Sent) -> Self {
        Self { set: table(set).0, sent, rows: None, foresight: None, note: None }
    }

    /// Reads the tickets that rules and devices opened, and holds them against the failures up to `last` and a day.
    pub(super) async fn evaluate(
        &mut self,
        client: &Client,
        failures: &[Failure],
        last: Option<Instant>,
    ) -> anyhow::Result<()> {
        settle(client).await?;
        let name = self.set;
        let telemetry = [Set::Backblaze, Set::AppliancePower, Set::AzurePdm].map(table);
        let (_, telemetry) = telemetry.into_iter().find(|(set, _)| *set == name).context("a known set")?;
        let (_, batches) = client.sql(&format!("select count(*) as n from {telemetry}")).await?;
        self.rows = batches.iter().find_map(count);

        let until = last.map_or(Instant::MAX, |last| last.plus(Duration::from_secs(86_400)));
        let failures: Vec<evaluate::Failure> = failures
            .iter()
            .filter(|failure| failure.at <= until)
            .map(|failure| evaluate::Failure {
                device_id: failure.device_id.to_string(),
                fault_key: failure.component.clone(),
                at: failure.at,
            })
            .collect();
        let mut raised = Vec::new();
        for ticket in client.all("/v1/tickets", "tickets").await? {
            let text = |name: &str| ticket[name].as_str().with_context(|| format!("{name} of a ticket"));
            let component = text("fault_key")?.split('/').next().map(str::to_owned);
            raised.push(evaluate::Raised {
                device_id: text("device_id")?.to_owned(),
                fault_key: component,
                at: text("creation_date")?.parse()?,
            });
        }
        let lead = evaluate::lead(&raised, &failures, None)?;
        let days = |hours: f64| hours / 24.0;
        self.foresight = Some(Foresight {
            failures: lead.failures as u64,
            tickets: lead.tickets as u64,
            predicted_failures: lead.predicted as u64,
            true_tickets: lead.true_tickets as u64,
            false_tickets: lead.false_tickets as u64,
            late_tickets: lead.late_tickets as u64,
            precision: lead.precision,
            recall: lead.recall,
            median_lead_days: lead.median_lead_hours.map(days),
            lead_days: lead.lead_hours.iter().copied().map(days).collect(),
        });
        Ok(())
    }
}

fn count(batch: &arrow::array::RecordBatch) -> Option<u64> {
    use arrow::array::{AsArray, types::Int64Type};
    let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
    (batch.num_rows() == 1).then(|| column.value(0).unsigned_abs())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sent { published, acknowledged, refused, reconnects } = &self.sent;
        writeln!(f, "{}: {published} published, {acknowledged} acknowledged, {refused} refused", self.set)?;
        writeln!(f, "connections tried again: {reconnects}")?;
        if let Some(rows) = self.rows {
            writeln!(f, "rows in the table: {rows}")?;
        }
        if let Some(foresight) = &self.foresight {
            let share = |value: Option<f64>| value.map_or("none".into(), |value| format!("{:.1} %", 100.0 * value));
            writeln!(
                f,
                "tickets: {} ({} before a failure, {} after one, {} without one): precision {}",
                foresight.tickets,
                foresight.true_tickets,
                foresight.late_tickets,
                foresight.false_tickets,
                share(foresight.precision)
            )?;
            writeln!(
                f,
                "failures: {} ({} foreseen): recall {}, median lead {}",
                foresight.failures,
                foresight.predicted_failures,
                share(foresight.recall),
                foresight.median_lead_days.map_or("none".into(), |days| format!("{days:.1} days"))
            )?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
