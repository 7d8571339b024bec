//! Delta tables, to read: the only file of this folder that says deltalake.
//!
//! In: a location and a version. Out: a scan of exactly that version. Promise: a table's log is read once and then
//! followed, so that a query after a commit reads one log entry. Never: a write.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::Session,
    execution::object_store::ObjectStoreUrl,
    object_store::{self, ObjectMeta},
};
use deltalake_core::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use schemas::{
    door::{TableSnapshot, TableSource},
    id::TenantId,
    table::{PARTITION, TRANSACTION, TableName},
};
use url::Url;

use super::files::{File, Files};

/// Versions of a table kept open: the newest, and those of queries planned just before it came.
const VERSIONS_KEPT: usize = 3;

/// After so many versions a table is opened anew from its checkpoint instead of followed further: a followed snapshot
/// only grows (pitfalls 1.4, 5).
const REOPEN_EVERY: u64 = 256;

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Delta cannot open the table.
    #[error("open the Delta table {location}")]
    Open {
        /// Where it lies.
        location: Url,
        /// What Delta says.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// The folder of the tables cannot be read.
    #[error("look for Delta tables in {folder}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Open tables by location.
#[derive(Debug, Default)]
pub(super) struct Lake {
    tables: Mutex<HashMap<Url, Arc<tokio::sync::Mutex<VecDeque<DeltaTable>>>>>,
}

impl Lake {
    /// The table at exactly this version.
    pub(super) async fn at(&self, location: &Url, version: u64) -> Result<Cold, LakeError> {
        let kept = {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tables.entry(location.clone()).or_default())
        };
        let mut kept = kept.lock().await;
        if let Some(table) = kept.iter().find(|table| table.version() == Some(version)) {
            return Cold::new(table).map_err(|source| open_error(location, source));
        }
        // The newest version below, to follow from there; otherwise from the log.
        let near =
            kept.iter().filter(|table| table.version().is_some_and(|at| at < version)).max_by_key(|t| t.version());
        let near = near.filter(|table| table.version().map(|at| at / REOPEN_EVERY) == Some(version / REOPEN_EVERY));
        let table =
            open(location, near.cloned(), Some(version)).await.map_err(|source| open_error(location, source))?;
        let cold = Cold::new(&table).map_err(|source| open_error(location, source))?;
        kept.push_back(table);
        if kept.len() > VERSIONS_KEPT {
            let oldest = kept.iter().enumerate().min_by_key(|(_, table)| table.version()).map(|(at, _)| at);
            oldest.and_then(|at| kept.remove(at));
        }
        Ok(cold)
    }
}

async fn open(location: &Url, near: Option<DeltaTable>, version: Option<u64>) -> Result<DeltaTable, DeltaTableError> {
    let mut table = match near {
        Some(table) => table,
        None => DeltaTableBuilder::from_url(location.clone())?.build()?,
    };
    table.update_incremental(version).await?;
    if version.is_some() && table.version() != version {
        return Err(DeltaTableError::Generic(format!("version {version:?} is not there, only {:?}", table.version())));
    }
    Ok(table)
}

fn open_error(location: &Url, source: DeltaTableError) -> LakeError {
    LakeError::Open { location: location.clone(), source: Box::new(source) }
}

/// A table at one version.
#[derive(Debug)]
pub(super) struct Cold {
    table: DeltaTable,
    files: Files,
}

impl Cold {
    fn new(table: &DeltaTable) -> Result<Self, DeltaTableError> {
        let root = table.log_store().root_url().clone();
        let store = ObjectStoreUrl::parse(&root[..url::Position::BeforePath])
            .map_err(|error| DeltaTableError::Generic(error.to_string()))?;
        let folder = object_store::path::Path::from_url_path(root.path())
            .map_err(|error| DeltaTableError::Generic(error.to_string()))?;
        let log = table.snapshot()?.log_data();
        let files = log.iter().map(|file| {
            let meta = ObjectMeta {
                location: file.object_store_path().parts().fold(folder.clone(), |path, part| path.join(part)),
                size: u64::try_from(file.size()).unwrap_or_default(),
                last_modified: file.modification_datetime()?,
                e_tag: None,
                version: None,
            };
            let date = file.partition_values_map().remove(PARTITION).flatten();
            Ok(Arc::new(File::new(meta, date.as_deref(), file.stats().as_deref())))
        });
        let files = Files { store, files: files.collect::<Result<_, DeltaTableError>>()? };
        Ok(Self { table: table.clone(), files })
    }

    /// As stored.
    fn schema(&self) -> Result<SchemaRef, DeltaTableError> {
        Ok(self.table.snapshot()?.snapshot().arrow_schema())
    }

    /// The first day of which there may be rows of the tenant.
    pub(super) fn first_day(&self, tenant: &TenantId) -> Option<i32> {
        self.files.first_day(tenant)
    }

    /// Its files, whose store the session knows from now on.
    pub(super) fn files(&self, session: &dyn Session) -> &Files {
        if self.table.log_store().root_url().scheme() != "file" {
            let store = self.table.log_store().root_object_store(None);
            session.runtime_env().register_object_store(self.files.store.as_ref(), store);
        }
        &self.files
    }
}

/// Delta tables without hot rows: of a server that has stopped, or that runs in another process and is followed with
/// [`ColdTables::refresh`].
#[derive(Debug)]
pub struct ColdTables {
    root: PathBuf,
    tables: RwLock<BTreeMap<TableName, TableSnapshot>>,
}

impl ColdTables {
    /// Finds every table in `root`, at its latest version: a sub-folder with a table's name and a Delta log in it.
    pub async fn open(root: &Path) -> Result<Self, LakeError> {
        let tables = read_all(root).await?;
        Ok(Self { root: root.into(), tables: RwLock::new(tables) })
    }

    /// Looks for new tables and versions. After an error the tables are those of before.
    pub async fn refresh(&self) -> Result<(), LakeError> {
        let tables = read_all(&self.root).await?;
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
        Ok(())
    }
}

async fn read_all(root: &Path) -> Result<BTreeMap<TableName, TableSnapshot>, LakeError> {
    let folder_error = |source| LakeError::Folder { folder: root.into(), source };
    let root = std::fs::canonicalize(root).map_err(folder_error)?;
    let (mut tables, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for entry in std::fs::read_dir(&root).map_err(folder_error)? {
        let folder = entry.map_err(folder_error)?.path();
        let name: Option<TableName> =
            folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let (Some(name), true) = (name, folder.join("_delta_log").is_dir()) else { continue };
        let Ok(location) = Url::from_directory_path(&folder) else { continue };
        let table = open(&location, None, None).await.map_err(|source| open_error(&location, source))?;
        let end = table.snapshot().map_err(|source| open_error(&location, source))?;
        let end = end.transaction_version(table.log_store().as_ref(), TRANSACTION).await;
        ends.insert(name.clone(), end.map_err(|source| open_error(&location, source))?.unwrap_or_default());
        let cold = Cold::new(&table).map_err(|source| open_error(&location, source))?;
        let (version, schema) = (table.version(), cold.schema().map_err(|source| open_error(&location, source))?);
        tables.insert(name, TableSnapshot { location, version, schema, hot: Vec::new(), raw: Vec::new() });
    }
    // A rollup is committed after its telemetry; until then it lacks rows.
    tables.retain(|name, _| match name {
        TableName::Rollup(_, profile) => ends.get(name) == ends.get(&TableName::Telemetry(profile.clone())),
        _ => true,
    });
    Ok(tables)
}

impl TableSource for ColdTables {
    fn names(&self) -> Vec<TableName> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    fn moment(&self) -> BTreeMap<TableName, TableSnapshot> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
pub(super) mod writing {
    //! Real Delta tables for the tests.
    use super::*;
    use arrow::{array::RecordBatch, datatypes::SchemaRef};
    use deltalake_core::{kernel::StructType, kernel::engine::arrow_conversion::TryIntoKernel as _};

    /// Makes an empty table, version 0.
    pub(in crate::query) async fn create(folder: &Path, schema: &SchemaRef) -> Url {
        std::fs::create_dir_all(folder).unwrap();
        let location = Url::from_directory_path(folder).unwrap();
        let columns: StructType = schema.as_ref().try_into_kernel().unwrap();
        let table = DeltaTableBuilder::from_url(location.clone()).unwrap().build().unwrap();
        table.create().with_columns(columns.fields().cloned()).with_partition_columns(["date"]).await.unwrap();
        location
    }

    /// Appends a batch and tells the new version.
    pub(in crate::query) async fn append(location: &Url, batch: RecordBatch) -> u64 {
        let table = open(location, None, None).await.unwrap();
        table.write([batch]).await.unwrap().version().unwrap()
    }
}
