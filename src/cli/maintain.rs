//! `forewarn maintain`: makes rollups that lack rows, merges files, drops what is past its time, deletes what no version
//! needs, once and by hand.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ingest::lake::{
    Lake,
    maintain::{Maintainer, Settings},
};
use prometheus_client::registry::Registry;
use schemas::{
    profile::Profiles,
    time::{Clock, SystemClock},
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::Config;

/// One round by hand, where no server runs: a server holds the lease.
#[derive(Debug, Args)]
pub(super) struct Maintain {
    #[command(flatten)]
    config: Config,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

impl Maintain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let settings = self.config.load(Vec::new())?.settings;
        // Nobody else uses the disk, and nobody appends: as fast as it goes, and every day that is over.
        let maintain = Settings { bytes_per_second: u64::MAX, settle: Duration::ZERO, ..settings.maintain };
        let mut maintainer = Maintainer::offline(&settings.data.join("lake"), maintain, settings.retention)?;
        if settings.lake.rollups {
            let mut profiles = Profiles::builtin();
            if let Some(folder) = &settings.profiles {
                profiles = profiles.with_folder(folder)?;
            }
            // Opening makes the rollups that lack rows, once.
            let (root, mut registry) = (settings.data.join("lake"), Registry::default());
            drop(Lake::open(&root, &profiles, settings.lake, &mut registry).await.context("open the tables")?);
        }
        let (mut tables, mut failure) = (Map::new(), None);
        for (table, done) in maintainer.round(SystemClock.now(), &CancellationToken::new()).await {
            match done {
                Ok(figures) if self.json => {
                    tables.insert(table.to_string(), serde_json::to_value(&figures)?);
                }
                Ok(figures) => println!(
                    "{table}: {} files before, {} after; {} merges, {} rows dropped, {} files deleted",
                    figures.files_before,
                    figures.files_after,
                    figures.merges,
                    figures.rows_dropped,
                    figures.files_deleted
                ),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::warn!("{error:#}");
                    failure = Some(error);
                }
            }
        }
        if self.json {
            println!("{}", json!({ "tables": Value::Object(tables) }));
        }
        failure.map_or(Ok(()), |error| Err(error).context("some tables were not maintained"))
    }
}
