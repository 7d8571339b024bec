//! `forewarn dead-letter`: what could not be stored, and sending it through the log again after its cause was mended.

use clap::{Args, Subcommand};
use schemas::{
    id::ProfileName,
    reject::RejectReason,
    time::{Clock, Instant, SystemClock, span},
};
use serde_json::{Value, json};

use super::query::{Format, Source, print};

/// What could not be stored.
#[derive(Debug, Args)]
pub(super) struct DeadLetter {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists dead letters, newest first.
    List(List),
    /// Sends dead letters through the log again, each once; what is still refused is a new letter. Needs a running
    /// server.
    Replay(Replay),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    source: Source,
    /// Only with one of these reasons.
    #[arg(long, value_parser = reason, value_delimiter = ',')]
    reason: Vec<RejectReason>,
    /// Only what arrived then or later: an instant, or how long ago, such as 2d.
    #[arg(long, value_parser = since)]
    since: Option<Instant>,
    /// So many at most.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Form of the answer.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Args)]
struct Replay {
    #[command(flatten)]
    source: Source,
    /// Only with one of these reasons [default: unknown_profile,wrong_type,out_of_range,future_timestamp].
    #[arg(long, value_parser = reason, value_delimiter = ',')]
    reason: Vec<RejectReason>,
    /// Only of devices of this kind.
    #[arg(long)]
    profile: Option<ProfileName>,
    /// Only what arrived then or later: an instant, or how long ago, such as 2d.
    #[arg(long, value_parser = since)]
    since: Option<Instant>,
    /// One JSON object instead of a line.
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<RejectReason, String> {
    RejectReason::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or_else(|| {
        let legal: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("legal is {}", legal.join(", "))
    })
}

fn since(text: &str) -> Result<Instant, String> {
    match text.parse() {
        Ok(instant) => Ok(instant),
        Err(_) => span::parse(text)
            .map(|ago| SystemClock.now().minus(ago))
            .map_err(|_| "an instant such as 2026-11-21T10:00:00Z, or a span such as 2d".into()),
    }
}

impl DeadLetter {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::List(list) => list.run().await,
            Command::Replay(replay) => replay.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut conditions = vec!["true".to_owned()];
        if !self.reason.is_empty() {
            let reasons: Vec<String> = self.reason.iter().map(|reason| format!("'{reason}'")).collect();
            conditions.push(format!("reason in ({})", reasons.join(", ")));
        }
        if let Some(since) = self.since {
            conditions.push(format!("arrival_time >= timestamp '{since}'"));
        }
        let (schema, batches) = self
            .source
            .ask(&format!(
                "select arrival_time, device_id, topic, reason, detail from dead_letter where {} \
                 order by arrival_time desc limit {}",
                conditions.join(" and "),
                self.limit
            ))
            .await?;
        print(self.format, schema, &batches)
    }
}

impl Replay {
    async fn run(self) -> anyhow::Result<()> {
        let client = self.source.client().await?;
        let client = client.ok_or_else(|| anyhow::anyhow!("no server runs here: letters go through its log"))?;
        let mut asked = json!({});
        if !self.reason.is_empty() {
            asked["reasons"] = serde_json::to_value(&self.reason)?;
        }
        if let Some(profile) = &self.profile {
            asked["profile"] = profile.as_str().into();
        }
        if let Some(since) = self.since {
            asked["since"] = since.to_string().into();
        }
        let names = ["replayed", "known", "other_profile", "refused"];
        let mut sums = [0; 4];
        loop {
            let done = client.post("/v1/dead-letters/replay", &asked).await?;
            for (sum, name) in sums.iter_mut().zip(names) {
                *sum += done[name].as_u64().unwrap_or(0);
            }
            asked["until"] = done["until"].clone();
            match &done["next"] {
                Value::Null => break,
                next => asked["since"] = next.clone(),
            }
        }
        let [replayed, known, other_profile, refused] = sums;
        match self.json {
            true => println!(
                "{}",
                json!({ "replayed": replayed, "known": known, "other_profile": other_profile, "refused": refused })
            ),
            false => println!(
                "{replayed} sent again, {known} had been before, {other_profile} of other profiles, \
                 {refused} refused for topic, credential or size: never sent"
            ),
        }
        Ok(())
    }
}
