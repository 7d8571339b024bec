//! Decoded rows to Delta tables, and hot rows to whoever queries.
//!
//! In: a [`Feed`] of chunks. Out: Delta tables under one folder, a [`TableSource`] over hot and cold rows, the log
//! cursor. Promise: rows of a chunk are visible as soon as it is taken, and in Delta exactly once whatever is
//! killed when; the cursor passes a frame only when its rows are in a synced Delta version. Never: a row dropped to
//! make room (a full lake stops taking chunks), a commit without its log offset.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | settings, errors, opening |
//! | `run` | the task: which table is due, what follows a commit |
//! | `hot` | rows not yet in Delta; the cut between hot and cold |
//! | `roll` | what telemetry adds to its rollups between two commits of theirs |
//! | `build` | rollups made from the rows that are there |
//! | `commit` | one cut, committed once |
//! | `part`, `stats` | Parquet files and their statistics |
//! | `table` | one Delta table |
//! | `durable` | the local folder, synced |
//! | `maintain` | files merged, old rows dropped, old files deleted |
//!
//! One committer per table: a second process on the same folder is noticed at its first commit and stops the lake.
//!
//! [`Feed`]: schemas::door::Feed

mod build;
mod commit;
mod durable;
mod hot;
pub mod maintain;
mod metrics;
mod part;
mod roll;
mod run;
mod stats;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arrow::datatypes::{Schema, SchemaRef};
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use schemas::{
    door::{DoorError, TableSource},
    id::{LogOffset, ProfileName},
    profile::Profiles,
    rollup::{self, Span},
    table::{self as tables, TableName},
};
use serde::{Deserialize, Serialize};
use url::Url;

use self::{
    durable::Durable,
    hot::{Hot, Shelf},
    metrics::Metrics,
    roll::Roll,
    run::Slot,
    table::Table,
};

/// When to commit and what to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A table is committed when its oldest hot row has waited this long. 5s: few files, and a restart replays little.
    #[serde(with = "schemas::time::span")]
    pub commit_interval: Duration,
    /// A table is committed when it has this many hot rows.
    pub commit_rows: usize,
    /// A table is committed when its hot rows take this much Arrow memory, and so much at a time, which sorting needs twice
    /// more, and encoding once and its files. All tables together may take four times as much before the lake takes no more
    /// chunks: with the defaults 128 MiB, and 64 MiB for the commit.
    pub commit_bytes: usize,
    /// Whether telemetry is summed up by minute, hour, day and altogether, by each span that holds at least six readings
    /// at the profile's cadence. Switched on after it was off, the rollups are made from the rows that are there when
    /// the lake is opened, which takes a while.
    pub rollups: bool,
    /// A rollup is committed when its oldest increment has waited this long. 30s: few files, and a restart reads so
    /// much more of the log.
    #[serde(with = "schemas::time::span")]
    pub rollup_interval: Duration,
    /// A checkpoint every so many versions: opening a table reads the log from the last one.
    pub checkpoint_every: u64,
    /// Log entries older than this and replaced by a checkpoint are removed; who reads an old version has so long.
    #[serde(with = "schemas::time::span")]
    pub log_retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_secs(5),
            commit_rows: 200_000,
            commit_bytes: 32 << 20,
            rollups: true,
            rollup_interval: Duration::from_secs(30),
            checkpoint_every: 50,
            log_retention: Duration::from_secs(86_400),
        }
    }
}

/// Why the lake cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The folder of all tables.
    #[error("open lake {root}")]
    Root {
        /// Which folder.
        root: PathBuf,
        /// Why not.
        source: DoorError,
    },
    /// A table could not be made, opened or widened.
    #[error("open table {table}")]
    Open {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// A profile gives a metric another type than its column has. Name the new metric differently.
    #[error("table {table}: column {column} is {is}, the profile says {wanted}; a column never changes its type")]
    TypeChanged {
        /// Which table.
        table: TableName,
        /// Which column.
        column: String,
        /// Its type.
        is: String,
        /// The type asked for.
        wanted: String,
    },
    /// A rollup was made by a Forewarn that kept it by other columns. It holds nothing but sums of the telemetry.
    #[error(
        "table {table}: it is kept by {column}, which rollups of its kind no longer are; remove its folder, and it is made \
         anew from the telemetry"
    )]
    Outgrown {
        /// Which table.
        table: TableName,
        /// The key.
        column: String,
    },
    /// Somebody else changed the columns while the lake was open.
    #[error("table {table}: its columns were changed by somebody else; restart to take them")]
    SchemaChanged {
        /// Which table.
        table: TableName,
    },
    /// Somebody else commits for the same log.
    #[error("table {table}: found log offset {found} of another committer while committing {own}")]
    SecondCommitter {
        /// Which table.
        table: TableName,
        /// The offset that the table holds.
        found: LogOffset,
        /// The offset that was to be committed.
        own: LogOffset,
    },
    /// Rows for a table that no profile has, or of another shape.
    #[error("rows from {start} for table {table}: {problem}")]
    Rows {
        /// Which table.
        table: TableName,
        /// Start of the chunk.
        start: LogOffset,
        /// What is wrong.
        problem: String,
    },
    /// A chunk that breaks the order that a feed promises.
    #[error("chunk {start} to {end}: {problem}")]
    Chunk {
        /// First frame.
        start: LogOffset,
        /// After the last frame.
        end: LogOffset,
        /// What is wrong.
        problem: String,
    },
    /// A rollup could not be made from the rows that are there.
    #[error("make table {table} from its telemetry")]
    Build {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// Rows could not be made into Parquet.
    #[error("encode rows of table {table}")]
    Encode {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// Files could not be written.
    #[error("write files of table {table}")]
    Write {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// A version could not be written.
    #[error("commit to table {table}")]
    Commit {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// After a failure it could not be read how far a table is.
    #[error("read table {table} back")]
    Reload {
        /// Which table.
        table: TableName,
        /// Why not.
        source: DoorError,
    },
    /// A task of the lake ended by itself.
    #[error("run a task of the lake")]
    Task {
        /// How.
        source: tokio::task::JoinError,
    },
}

impl LakeError {
    /// Whether trying the same again is no use.
    fn is_final(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Commit { .. } | Self::Reload { .. })
    }
}

/// The tables, open. [`Lake::run`] feeds them.
#[derive(Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    root: Url,
    settings: Settings,
    slots: BTreeMap<TableName, Slot>,
    hot: Arc<Hot>,
    metrics: Metrics,
    committed: Arc<AtomicU64>,
    /// What the log was told.
    released: LogOffset,
}

impl Lake {
    /// Opens every table under `root` and makes those that are missing: one per profile, its rollups, and
    /// [`TableName::FIXED`]. Rollups that lack rows which the log no longer has are made from the telemetry.
    /// Adds the columns of metrics that are new in a profile; a metric that is gone keeps its column, empty from now on.
    pub async fn open(
        root: &Path,
        profiles: &Profiles,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Self, LakeError> {
        let failed = |source: DoorError| LakeError::Root { root: root.to_owned(), source };
        durable::make_folder(root).map_err(|error| failed(error.into()))?;
        let folder = root.canonicalize().map_err(|error| failed(error.into()))?;
        let url = Url::from_directory_path(&folder).map_err(|()| failed("not an absolute path".into()))?;
        Self::open_on(Arc::new(Durable::default()), &url, profiles, settings, registry).await
    }

    /// The same on any store, whose root is that of `root`.
    async fn open_on(
        store: Arc<dyn ObjectStore>,
        root: &Url,
        profiles: &Profiles,
        settings: Settings,
        registry: &mut Registry,
    ) -> Result<Self, LakeError> {
        let (mut wanted, mut rollups) = (wanted(profiles), BTreeSet::new());
        for name in existing(store.as_ref(), root).await? {
            match name {
                TableName::Rollup(span, profile) => drop(rollups.insert((profile, span))),
                name => drop(wanted.entry(name).or_insert_with(|| Arc::new(Schema::empty()))),
            }
        }
        let open = |(name, schema): (TableName, SchemaRef)| {
            let store = Arc::clone(&store);
            async move {
                let failed = |source: url::ParseError| LakeError::Open { table: name.clone(), source: source.into() };
                let url = root.join(&format!("{name}/")).map_err(failed)?;
                Table::open(name, store, url, &schema).await
            }
        };
        let mut tables = futures::future::try_join_all(wanted.into_iter().map(open)).await?;
        if settings.rollups {
            rollups.extend(
                profiles
                    .iter()
                    .flat_map(|profile| Span::worth(profile.cadence).map(|span| (profile.name.clone(), span))),
            );
        } else {
            rollups.clear();
        }
        let schema_of = |profile: &ProfileName, span: Span| {
            let table = tables.iter().find(|table| table.name == TableName::Telemetry(profile.clone()));
            table.map(|table| rollup::schema(&table.schema, span))
        };
        let wanted = rollups.into_iter().filter_map(|(profile, span)| {
            let schema = schema_of(&profile, span)?;
            Some((TableName::Rollup(span, profile), schema))
        });
        let mut rolls = futures::future::try_join_all(Vec::from_iter(wanted).into_iter().map(open)).await?;
        let (mut slots, mut hot) = (BTreeMap::new(), Hot::default());
        for mut table in tables.drain(..) {
            let (own, others) = rolls.into_iter().partition(|roll| is_of(&roll.name, &table.name));
            rolls = others;
            let own = build::rolls(&mut table, own, &settings).await?;
            let shelf = own.iter().map(|(roll, span)| {
                let end = roll.committed.unwrap_or_default();
                Roll::new(roll.name.clone(), *span, roll.url.clone(), roll.schema.clone(), roll.version, end)
            });
            let shelf =
                Shelf::new(table.url.clone(), table.schema.clone(), table.version, table.committed, shelf.collect());
            hot.turns.insert(table.name.clone(), table.turn.clone());
            for (roll, _) in own {
                hot.turns.insert(roll.name.clone(), roll.turn.clone());
                hot.rolls.insert(roll.name.clone(), table.name.clone());
                slots.insert(roll.name.clone(), Slot::new(roll, &settings));
            }
            hot.shelves.insert(table.name.clone(), shelf);
            slots.insert(table.name.clone(), Slot::new(table, &settings));
        }
        let (hot, metrics) = (Arc::new(hot), Metrics::new(registry));
        let (committed, released) = (Arc::default(), LogOffset::default());
        Ok(Self { store, root: root.clone(), settings, slots, hot, metrics, committed, released })
    }

    /// The log offsets of tables, each once: a feed's chunks must not straddle any of them.
    pub fn committed(&self) -> Vec<LogOffset> {
        let offsets = self.slots.values().filter_map(|slot| slot.committed).filter(|offset| offset.0 > 0);
        BTreeSet::from_iter(offsets).into_iter().collect()
    }

    /// Hot and cold rows, for queries; keeps working while and after the lake runs.
    pub fn source(&self) -> Arc<dyn TableSource> {
        self.hot.clone()
    }

    /// The log offset before which all rows are in Delta, but for rollups, as far as this run knows: 0 until the first chunk is done.
    pub fn committed_offset(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.committed)
    }
}

/// Whether a table is a rollup of `telemetry`.
fn is_of(rollup: &TableName, telemetry: &TableName) -> bool {
    matches!((rollup, telemetry), (TableName::Rollup(_, of), TableName::Telemetry(profile)) if of == profile)
}

fn wanted(profiles: &Profiles) -> BTreeMap<TableName, SchemaRef> {
    let telemetry =
        profiles.iter().map(|profile| (TableName::Telemetry(profile.name.clone()), tables::telemetry(profile)));
    let fixed = TableName::FIXED.into_iter().filter_map(|name| tables::fixed(&name).map(|schema| (name, schema)));
    telemetry.chain(fixed).collect()
}

/// Tables that are there, among them those of profiles that are gone.
async fn existing(store: &dyn ObjectStore, root: &Url) -> Result<Vec<TableName>, LakeError> {
    let failed = |source: DoorError| LakeError::Root { root: root.path().into(), source };
    let prefix = object_store::path::Path::from_url_path(root.path()).map_err(|error| failed(error.into()))?;
    let found = store.list_with_delimiter(Some(&prefix)).await.map_err(|error| failed(error.into()))?;
    Ok(found.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse().ok()).collect())
}
