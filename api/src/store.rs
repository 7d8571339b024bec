//! The service database: one SQLite file.
//!
//! In: a path. Out: a pool whose schema is current. Promise: a committed transaction is on disk (write-ahead log,
//! synced at each commit); writers queue, readers do not wait. Never: a schema newer than this program knows is touched.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// Migrations in order; a released one is never changed.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_service", include_str!("../migrations/0001_service.sql")),
    ("0002_visit", include_str!("../migrations/0002_visit.sql")),
    ("0003_dead_letter", include_str!("../migrations/0003_dead_letter.sql")),
    ("0004_command", include_str!("../migrations/0004_command.sql")),
    ("0006_advisory", include_str!("../migrations/0006_advisory.sql")),
    ("0007_storm", include_str!("../migrations/0007_storm.sql")),
    ("0008_nameplate", include_str!("../migrations/0008_nameplate.sql")),
    ("0009_self_test", include_str!("../migrations/0009_self_test.sql")),
    ("0010_self_test_first", include_str!("../migrations/0010_self_test_first.sql")),
    ("0011_prognosis", include_str!("../migrations/0011_prognosis.sql")),
];

/// Connections: one writes at a time, the others read. More only queue for two cores.
const CONNECTIONS: u32 = 8;
/// How long a writer waits for the one before it; a transaction takes milliseconds, so this is a broken disk.
const BUSY: Duration = Duration::from_secs(10);
/// How long a request waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// Why the service database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("make the folder of {path}")]
    Folder {
        /// The database file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// SQLite refuses.
    #[error("open the service database")]
    Sqlite(#[from] sqlx::Error),
    /// A migration fails.
    #[error("bring the service database to {name}")]
    Migrate {
        /// Which migration.
        name: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
    /// The file was written by a newer program.
    #[error("the service database has schema {found}, this program knows {known}: use the newer program")]
    Newer {
        /// In the file.
        found: i64,
        /// In this program.
        known: i64,
    },
}

/// The service database, open: what the binary hands around without knowing whose it is.
pub type Database = SqlitePool;

/// Opens or creates the database and brings its schema up to date.
pub async fn open(path: &Path) -> Result<SqlitePool, OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        // Where the disk is full SQLite rolls back by itself. sqlx 0.9 then fails to, takes the transaction for open for
        // ever, and begins no other on that connection. The ping before this waits until that has shown.
        .test_before_acquire(true)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .connect_with(options)
        .await?;
    migrate(&pool).await?;
    Ok(pool)
}

async fn migrate(pool: &SqlitePool) -> Result<(), OpenError> {
    let create = "create table if not exists schema_version (version integer primary key, name text not null) strict";
    sqlx::query(create).execute(pool).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    for (version, (name, sql)) in (1_i64..).zip(MIGRATIONS.iter().copied()) {
        let failed = |source| OpenError::Migrate { name, source };
        let mut tx = write(pool).await.map_err(failed)?;
        let select = "select coalesce(max(version), 0) from schema_version";
        let found: i64 = sqlx::query_scalar(select).fetch_one(&mut *tx).await.map_err(failed)?;
        if found > known {
            return Err(OpenError::Newer { found, known });
        }
        if version <= found {
            continue;
        }
        sqlx::raw_sql(sql).execute(&mut *tx).await.map_err(failed)?;
        let insert = "insert into schema_version (version, name) values (?, ?)";
        sqlx::query(insert).bind(version).bind(name).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Begins a transaction that writes. It takes the write lock at once: a reader that turns writer later could only fail.
pub async fn write(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    pool.begin_with("begin immediate").await
}

/// Whether the database answers.
pub(crate) async fn ping(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    sqlx::query("select 1").execute(pool).await.map(|_| ())
}

/// A column that holds what this program could not have written: an error of the world, not of the caller.
pub(crate) fn decode<E>(column: &'static str) -> impl Fn(E) -> sqlx::Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_twice_migrates_once_and_a_newer_schema_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/service.db");
        drop(open(&path).await.unwrap());
        let pool = open(&path).await.unwrap();
        let count: i64 = sqlx::query_scalar("select count(*) from schema_version").fetch_one(&pool).await.unwrap();
        assert_eq!(count, MIGRATIONS.len() as i64);
        sqlx::query("insert into schema_version values (99, 'later')").execute(&pool).await.unwrap();
        pool.close().await;
        assert!(matches!(open(&path).await.unwrap_err(), OpenError::Newer { found: 99, .. }));
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_rolled_back_by_itself_does_not_spoil_its_connection() {
        let folder = tempfile::tempdir().unwrap();
        let pool = open(&folder.path().join("service.db")).await.unwrap();
        for _ in 0..3 * CONNECTIONS {
            let mut tx = write(&pool).await.unwrap();
            // As SQLite does on a full disk, unknown to sqlx.
            sqlx::query("rollback").execute(&mut *tx).await.unwrap();
            assert!(tx.commit().await.is_err());
        }
        let mut tx = write(&pool).await.unwrap();
        sqlx::query("create table later (n integer) strict").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn history_cannot_be_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let pool = open(&folder.path().join("service.db")).await.unwrap();
        for sql in ["update ticket_history set text = ''", "delete from ticket_history"] {
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        let journal: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&pool).await.unwrap();
        let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(&pool).await.unwrap();
        let foreign: i64 = sqlx::query_scalar("pragma foreign_keys").fetch_one(&pool).await.unwrap();
        assert_eq!((journal.as_str(), synchronous, foreign), ("wal", 2, 1));
    }
}
