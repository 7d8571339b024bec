//! The demo's account: what came in, what became of it, what visits found, which planted failures had a ticket before they
//! happened, how many tickets were right, and whether probabilities came true; with models, and had only the rules spoken.

use std::{collections::HashMap, fmt, ops::Range, sync::atomic::Ordering, time::Duration};

use anyhow::Context;
use arrow::array::{AsArray, types::Int64Type};
use schemas::time::Instant;
use serde::Serialize;
use serde_json::Value;

use super::{
    calibration::Calibrations,
    label::Labels,
    score::{self, By, Calibration, Expected, Said},
};
use crate::{
    client::Client,
    fleet::simulate::{KINDS, Planted, network::Sent},
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
    /// What technicians found.
    #[serde(flatten)]
    labels: Labels,
    /// Self-tests that devices answered.
    self_tests: u64,
    /// Of these, those that a component did not pass.
    self_tests_failed: u64,
    /// Planted faults whose failure was to come while the demo ran.
    planted_failures: u64,
    /// Of these, those that wear brought: the others come at once and cannot be foreseen.
    planted_wear_failures: u64,
    /// Of those by wear, those that did not come: a visit mended the component before.
    failures_averted: u64,
    /// Of those by wear, those of which a ticket spoke between the onset and the failure.
    ticketed_before_failure: u64,
    /// The same as a share.
    ticketed_share: Option<f64>,
    /// The same share, had only the rules spoken.
    ticketed_share_by_rules: Option<f64>,
    /// Median of the time from that word to the failure as planned, in hours of device time.
    median_lead_hours: Option<f64>,
    /// The same, had only the rules spoken.
    median_lead_hours_by_rules: Option<f64>,
    /// Tickets that spoke while wear was under way.
    true_tickets: u64,
    /// Tickets for components in which nothing was under way, or no longer: after a repair.
    false_tickets: u64,
    /// Of these, those of which a rule spoke first; of the others an advisory or a code.
    false_tickets_by_rules: u64,
    /// Tickets that spoke only between failure and repair: neither true nor false.
    late_tickets: u64,
    /// `true_tickets / (true_tickets + false_tickets)`.
    precision: Option<f64>,
    /// The same, had only the rules spoken.
    precision_by_rules: Option<f64>,
    /// Advisories, of all decisions.
    advisories: u64,
    /// Midnights that nothing was foretold at because the machine was still busy with one before: each costs lead.
    midnights_passed_over: u64,
    /// How far probabilities lie from how often it came true: those of all scored device-days.
    calibration: Option<Calibrations>,
    /// The same of advisories alone: few, and the loudest.
    calibration_of_advisories: Calibration,
    /// Device time that passed, in days.
    device_days: f64,
}

impl Account {
    pub(super) async fn draw_up(
        server: &Server,
        client: &Client,
        sent: &Sent,
        planted: &[Planted],
        live: Range<Instant>,
        visits: u64,
        labels: Labels,
    ) -> anyhow::Result<Self> {
        let Range { start: begin, end } = live;
        let totals = server.totals().context("totals of the pipeline")?;
        let durable = server.progress().progress().durable;
        let tables = KINDS.map(|kind| format!("telemetry_{}", kind.profile));
        let counts = tables.iter().map(String::as_str).chain(["fault", "status"]);
        let counts: Vec<String> = counts.map(|table| format!("select count(*) as n from {table}")).collect();
        let rows = number(client, &format!("select sum(n) as n from ({})", counts.join(" union all "))).await?;
        let alarms = number(client, "select count(distinct alarm_id) as n from alarm").await?;

        // A device says whether it passed in replies to self-tests only.
        let tests = async |passed| {
            let query = format!("select count(distinct id) as n from reply where result like '%\"passed\":{passed}%'");
            number(client, &query).await
        };
        let (self_tests_passed, self_tests_failed) = (tests("true").await?, tests("false").await?);

        let opened = opened(client).await?;
        let tickets = opened.len() as u64;
        let said = said(client, &opened).await?;
        let expected = expected(client).await?;
        let of_rules: Vec<Said> = said.iter().filter(|said| said.by == By::Rule).cloned().collect();
        let whole = score::score(&said, planted, begin, end);
        let rules = score::score(&of_rules, planted, begin, end);
        let came = planted.iter().filter(|it| it.failure > begin && it.failure <= end).count() as u64;
        Ok(Self {
            acknowledged: durable - totals.internal - totals.refused,
            stored: totals.stored,
            duplicates: totals.duplicates,
            dead_letters: totals.dead_letters,
            acknowledged_to_devices: sent.acknowledged.load(Ordering::Relaxed),
            left_on_devices: sent.left.load(Ordering::Relaxed),
            rows,
            alarms,
            tickets,
            visits,
            labels,
            self_tests: self_tests_passed + self_tests_failed,
            self_tests_failed,
            planted_failures: came,
            planted_wear_failures: whole.wear_failures,
            failures_averted: whole.averted,
            ticketed_before_failure: whole.ticketed,
            ticketed_share: whole.share(),
            ticketed_share_by_rules: rules.share(),
            median_lead_hours: whole.median_lead_hours,
            median_lead_hours_by_rules: rules.median_lead_hours,
            true_tickets: whole.true_tickets,
            false_tickets: whole.false_tickets,
            false_tickets_by_rules: whole.false_by_rules,
            late_tickets: whole.late_tickets,
            precision: whole.precision(),
            precision_by_rules: rules.precision(),
            advisories: expected.len() as u64,
            midnights_passed_over: client.counted("forewarn_prognosis_landmarks_skipped_total").await?,
            calibration: None,
            calibration_of_advisories: score::calibration(&expected, planted, end),
            device_days: end.hours_since(begin) / 24.0,
        })
    }

    /// Adds how far probabilities came true.
    pub(super) fn with(self, calibration: Calibrations) -> Self {
        Self { calibration: Some(calibration), ..self }
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
        self.labels.check()
    }
}

/// When each ticket was opened.
async fn opened(client: &Client) -> anyhow::Result<HashMap<String, Instant>> {
    let tickets = client.all("/v1/tickets", "tickets").await?;
    tickets.iter().map(|it| Ok((text(it, "ticket_id")?.to_owned(), text(it, "creation_date")?.parse()?))).collect()
}

/// Everything that was said on a ticket: alarms, and advisories that opened or joined one. What waited for a self-test was
/// said when its ticket was opened: before that nobody heard of it.
async fn said(client: &Client, opened: &HashMap<String, Instant>) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    for (path, items, at) in
        [("/v1/alarms", "alarms", "alarm_reporting_time"), ("/v1/advisories", "advisories", "advisory_reporting_time")]
    {
        for item in client.all(path, items).await? {
            let Some(ticket_id) = item["ticket_id"].as_str() else { continue };
            let fault_key = text(&item, "fault_key")?;
            let told: Instant = text(&item, at)?.parse()?;
            said.push(Said {
                device_id: text(&item, "device_id")?.to_owned(),
                component: component(fault_key).to_owned(),
                ticket_id: ticket_id.to_owned(),
                at: opened.get(ticket_id).map_or(told, |opened| told.max(*opened)),
                by: match item["source"].as_str() {
                    Some("rule") => By::Rule,
                    Some(_) => By::Code,
                    None => By::Advisory,
                },
            });
        }
    }
    Ok(said)
}

/// Every probability that was said, of whatever decision.
async fn expected(client: &Client) -> anyhow::Result<Vec<Expected>> {
    let number = |item: &Value, name: &str| item[name].as_f64().with_context(|| format!("{name} of an advisory"));
    let mut expected = Vec::new();
    for item in client.all("/v1/advisories", "advisories").await? {
        expected.push(Expected {
            device_id: text(&item, "device_id")?.to_owned(),
            component: component(text(&item, "fault_key")?).to_owned(),
            at: text(&item, "event_time")?.parse()?,
            horizon: Duration::from_secs_f64(number(&item, "horizon_hours")?.max(0.0) * 3600.0),
            probability: number(&item, "probability")?,
        });
    }
    Ok(expected)
}

fn component(fault_key: &str) -> &str {
    fault_key.split_once('/').map_or(fault_key, |(component, _)| component)
}

fn text<'a>(item: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    item[name].as_str().with_context(|| format!("{name} of an alarm, an advisory or a ticket"))
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
        let Labels { outcomes, outcomes_confirmed, outcomes_no_fault_found, outcome_rows, .. } = &self.labels;
        writeln!(
            f,
            "found      {outcomes} outcomes of visits: {outcomes_confirmed} faults confirmed, {outcomes_no_fault_found} \
             with no fault found; {outcome_rows} are labels in the table outcome"
        )?;
        writeln!(f, "self-tests {}, of which {} failed", self.self_tests, self.self_tests_failed)?;
        let (hours, share) = (
            |lead: Option<f64>| lead.map_or("none".into(), |hours| format!("{hours:.0} h")),
            |share: Option<f64>| share.map_or("none".into(), |share| format!("{:.0} %", share * 100.0)),
        );
        writeln!(
            f,
            "failures   {} planted, {} by wear; of these {} averted by a visit, {} ({}) with a ticket before, median lead {}",
            self.planted_failures,
            self.planted_wear_failures,
            self.failures_averted,
            self.ticketed_before_failure,
            share(self.ticketed_share),
            hours(self.median_lead_hours)
        )?;
        writeln!(
            f,
            "tickets    {} true, {} false, {} after the failure; precision {}",
            self.true_tickets,
            self.false_tickets,
            self.late_tickets,
            share(self.precision)
        )?;
        writeln!(
            f,
            "rules only {} of wear failures, median lead {}, precision {}",
            share(self.ticketed_share_by_rules),
            hours(self.median_lead_hours_by_rules),
            share(self.precision_by_rules)
        )?;
        write!(f, "advisories {}, {} midnights passed over", self.advisories, self.midnights_passed_over)?;
        self.calibration.as_ref().map_or(Ok(()), |calibration| write!(f, "\n{calibration}"))
    }
}
