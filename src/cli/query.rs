//! `forewarn query`: SQL from the command line. Asks the running server, and where none runs, the tables themselves.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use arrow::{
    array::RecordBatch, csv, datatypes::SchemaRef, ipc::writer::StreamWriter, json::ArrayWriter,
    util::pretty::pretty_format_batches_with_schema,
};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use schemas::{door::SqlEngine, id::TenantId, time::SystemClock};

use crate::{client::Client, dev, settings::Settings};

/// Asks a question in SQL.
#[derive(Debug, Args)]
pub(super) struct Query {
    /// One SELECT.
    sql: String,
    #[command(flatten)]
    source: Source,
    /// Form of the answer.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Draws the answer as SVG instead of printing it: columns of numbers as lines over the first column if that is a
    /// time or a number, as bars beside it if it is a name.
    #[arg(long, value_name = "FILE.svg", conflicts_with = "format")]
    plot: Option<PathBuf>,
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The data folder of a server, running or not [default: forewarn-data].
    #[arg(long, conflicts_with = "url")]
    data: Option<PathBuf>,
    /// The API of a running server, such as http://127.0.0.1:8080.
    #[arg(long)]
    url: Option<String>,
    /// Bearer token for --url.
    #[arg(long, env = "FOREWARN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Whose rows, where no server runs.
    #[arg(long, default_value = dev::TENANT)]
    tenant: TenantId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
    Arrow,
}

type Answer = (SchemaRef, Vec<RecordBatch>);

impl Query {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (schema, batches) = self.source.ask(&self.sql).await?;
        if let Some(file) = &self.plot {
            let title = self.sql.split_whitespace().collect::<Vec<_>>().join(" ");
            let picture = analytics::plot::answer(&title, &schema, &batches)?;
            return std::fs::write(file, picture).with_context(|| format!("write {}", file.display()));
        }
        print(self.format, schema, &batches)
    }
}

/// Writes an answer to standard output: a table for a terminal, JSON for a program, unless told otherwise.
pub(super) fn print(format: Option<Format>, schema: SchemaRef, batches: &[RecordBatch]) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Table } else { Format::Json });
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        Format::Table => writeln!(out, "{}", pretty_format_batches_with_schema(schema, batches)?)?,
        Format::Json => {
            let mut writer = ArrayWriter::new(&mut out);
            writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
            writer.finish()?;
            writeln!(out)?;
        }
        Format::Csv => {
            let mut writer = csv::Writer::new(&mut out);
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(schema))?;
            }
            batches.iter().try_for_each(|batch| writer.write(batch))?;
        }
        Format::Arrow => {
            let mut writer = StreamWriter::try_new(&mut out, &schema)?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.finish()?;
        }
    }
    out.flush().context("write the answer")
}

impl Source {
    /// The running server; none where none runs on the data folder.
    pub(super) async fn client(&self) -> anyhow::Result<Option<Client>> {
        if let Some(url) = &self.url {
            let token = self.token.clone().context("--url needs --token or FOREWARN_TOKEN")?;
            return Client::new(url, &token).map(Some);
        }
        Ok(Client::of_running(&self.folder()).await)
    }

    fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| Settings::default().data)
    }

    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<Answer> {
        match self.client().await? {
            Some(client) => client.sql(sql).await,
            None => offline(&self.folder(), &self.tenant, sql).await,
        }
    }
}

/// Asks the Delta tables of a server that does not run.
async fn offline(data: &Path, tenant: &TenantId, sql: &str) -> anyhow::Result<Answer> {
    let lake = data.join("lake");
    anyhow::ensure!(lake.is_dir(), "{} holds no tables: no such folder as {}", data.display(), lake.display());
    let tables = analytics::query::ColdTables::open(&lake).await?;
    let mut registry = prometheus_client::registry::Registry::default();
    let engine =
        analytics::query::Engine::new(Arc::new(tables), Arc::new(SystemClock), Default::default(), &mut registry)?;
    let mut answer = engine.query(tenant, sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.batches.next().await {
        batches.push(batch?);
    }
    Ok((answer.schema, batches))
}
