//! The small traits through which the binary composes the tiers. `ingest`, `analytics` and `api` never import one
//! another; what one needs of another stands here.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use crate::{
    advisory::Advisory,
    alarm::Alarm,
    id::{DeviceId, LogOffset, ProfileName, TenantId},
    outcome::Outcome,
    reject::{Reject, RejectReason},
    service::ServiceTable,
    table::TableName,
    time::Instant,
    topic::Topic,
    trend::{Bounds, Trend},
};

/// An error of the world behind a door; its cause is in `source`.
pub type DoorError = Box<dyn std::error::Error + Send + Sync>;

/// A message as it came, before anybody looked into it: what the log keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The topic as published.
    pub topic: String,
    /// MQTT 5 content type, if given.
    pub content_type: Option<String>,
    /// The payload as published.
    pub payload: Bytes,
    /// When it came in ([`crate::time::Clock::arrival`]).
    pub arrival: Instant,
    /// Set where the gateway refused the message and answered with an error: it becomes a dead letter only.
    pub refused: Option<RejectReason>,
    /// Whose connection it came over, kept where the message was refused: then the topic may name somebody else, and
    /// the dead letter belongs to the sender.
    pub sender: Option<Principal>,
}

impl Frame {
    /// Whether Forewarn itself wrote it: an alarm, an advisory or an outcome. Such frames must not wait for devices' frames to be
    /// consumed, since consuming those waits for them.
    pub fn is_internal(&self) -> bool {
        self.refused.is_none() && crate::topic::is_internal(&self.topic)
    }
}

/// The write-ahead log, to append to.
#[async_trait]
pub trait Append: Send + Sync {
    /// Returns the frame's place once it is synced to disk; an error means it is not, and nothing may be
    /// acknowledged.
    async fn append(&self, frame: Frame) -> Result<LogOffset, DoorError>;
}

/// What a device shows when it connects.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// MQTT client id.
    pub client_id: &'a str,
    /// MQTT user name.
    pub user_name: Option<&'a str>,
    /// MQTT password.
    pub password: Option<&'a [u8]>,
    /// Whom a client certificate names that the operator's CA has signed.
    pub certified: Option<&'a Principal>,
}

impl Login<'_> {
    /// What a certificate decides; none where there is no certificate. It is the credential: no password is needed or
    /// looked at. Whoever calls himself otherwise than the certificate is refused.
    pub fn by_certificate(&self) -> Option<Result<Principal, Reject>> {
        let principal = self.certified?;
        let name = principal.device_id.as_str();
        let bad = |what| {
            Reject::new(RejectReason::BadCredentials, format!("{what} is not {name}, which the certificate names"))
        };
        Some(match (self.client_id, self.user_name) {
            (client_id, _) if !client_id.is_empty() && client_id != name => Err(bad("the client id")),
            (_, Some(user_name)) if user_name != name => Err(bad("the user name")),
            _ => Ok(principal.clone()),
        })
    }
}

/// Who a connection is: its topics must name this tenant and this device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device_id: DeviceId,
}

/// Knows the devices' credentials. Answers from memory: it is asked on the gateway's own threads.
pub trait DeviceAuth: Send + Sync {
    /// The device behind a login, or [`RejectReason::BadCredentials`].
    fn login(&self, login: &Login<'_>) -> Result<Principal, Reject>;
}

/// A command whose turn it is. As long as it lives, its device gets no other.
pub struct Parcel {
    /// The command's id, which the device's reply names.
    pub command_id: String,
    /// What the device gets: JSON.
    pub payload: Bytes,
    /// After this the device should not get it.
    pub expires: Instant,
    /// Gives the turn on when it is dropped.
    pub turn: Box<dyn std::any::Any + Send>,
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("command_id", &self.command_id).finish_non_exhaustive()
    }
}

/// How a device took a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It acknowledged it; with QoS 0, it was sent.
    Delivered,
    /// It will not have it; says why.
    Refused(String),
}

/// Commands on their way to devices, kept until they are delivered, refused or expired.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Waits for the oldest command of the device that nobody is delivering. Dropped without [`Commands::receipt`], it
    /// is the oldest again.
    async fn next(&self, device: &Principal) -> Parcel;
    /// Notes how the device took it; what comes next follows once that is durable.
    fn receipt(&self, parcel: Parcel, receipt: Receipt);
}

/// Rows of one table that came from one stretch of the log.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Where they belong.
    pub table: TableName,
    /// Of [`crate::table`]'s schema for that table.
    pub batch: RecordBatch,
}

/// One stretch of the log, decoded and without duplicates: shared by the lake committer and the detector.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// First frame.
    pub start: LogOffset,
    /// After the last frame.
    pub end: LogOffset,
    /// The process's clock after the last frame.
    pub now: Instant,
    /// At most one entry per table.
    pub rows: Vec<Rows>,
}

/// A consumer's durable cursor, as the log sees it: all before it is safe elsewhere and may be deleted.
pub trait Cursor: Send + Sync {
    /// Tells that everything before `to` has been made durable by this consumer. Never goes back.
    fn advance(&self, to: LogOffset);
}

/// A consumer's end of the decoded log. Chunks come in order and without holes, the first one at or before the
/// consumer's own durable offset; a chunk never straddles that offset, so those before it are simply skipped.
#[derive(Debug)]
pub struct Feed {
    /// The chunks; bounded, so a slow consumer slows the reader, never the devices' acknowledgement.
    pub chunks: tokio::sync::mpsc::Receiver<Arc<Chunk>>,
    /// To advance once the output of a chunk is durable.
    pub cursor: Arc<dyn Cursor>,
}

impl std::fmt::Debug for dyn Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursor")
    }
}

/// One table at one moment: Delta up to a version, hot rows from there on, cut exactly once.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// Folder or URL of the Delta table.
    pub location: url::Url,
    /// The Delta version that belongs with `hot`; none before the first commit.
    pub version: Option<u64>,
    /// The table's schema.
    pub schema: SchemaRef,
    /// Rows that are durable in the log and not yet in that version.
    pub hot: Vec<RecordBatch>,
    /// Of a rollup: telemetry rows that are neither in `hot` nor in that version, and belong to it
    /// ([`crate::rollup::singles`]).
    pub raw: Vec<RecordBatch>,
}

/// The tables, for whoever queries.
pub trait TableSource: Send + Sync {
    /// Every table there is.
    fn names(&self) -> Vec<TableName>;
    /// One table now; none if there is no such table.
    fn snapshot(&self, table: &TableName) -> Option<TableSnapshot>;
    /// All tables at one moment of the log: of each chunk taken, the rows of every table or of none. A source that is
    /// written to while it is asked says how; for one that stands still, one after the other is the same.
    fn moment(&self) -> BTreeMap<TableName, TableSnapshot> {
        let taken = self.names().into_iter().map(|name| (self.snapshot(&name), name));
        taken.filter_map(|(snapshot, name)| Some((name, snapshot?))).collect()
    }
}

/// The tables of the service database, for whoever queries.
#[async_trait]
pub trait ServiceTables: Send + Sync {
    /// The tenant's rows now, and nobody else's, in [`ServiceTable::schema`]. A table of more rows than are given out
    /// is [`SqlError::Limit`], never a part of it.
    async fn rows(&self, tenant: &TenantId, table: ServiceTable) -> Result<RecordBatch, SqlError>;
}

/// A device that was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSeen {
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device_id: DeviceId,
    /// Its kind.
    pub profile: ProfileName,
    /// Its firmware, if told.
    pub firmware: Option<String>,
    /// Greatest event time heard.
    pub last_seen: Instant,
}

/// A component of a device on which an alarm waits for what a model says of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Awaited {
    /// Which device.
    pub device_id: DeviceId,
    /// Which of its components.
    pub component: String,
}

/// The components of a tenant's devices that models speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpokenFor {
    /// Whose.
    pub tenant: TenantId,
    /// When they were scored.
    pub at: Instant,
    /// After this nobody speaks for them, unless it is said again.
    pub until: Instant,
    /// Profile and component, each once.
    pub components: Vec<(ProfileName, String)>,
}

/// The service side: takes what detection and prognosis found. Taking the same thing twice is the same as once.
#[async_trait]
pub trait ServiceDesk: Send + Sync {
    /// Notes devices that are new, changed profile or firmware, or were not heard of for an hour.
    async fn devices(&self, seen: &[DeviceSeen]) -> Result<(), DoorError>;
    /// Turns alarms into tickets; all or none of them are stored when it returns.
    async fn alarms(&self, alarms: &[Alarm]) -> Result<(), DoorError>;
    /// Keeps advisories and does what each decided; all or none of them are stored when it returns.
    async fn advisories(&self, advisories: &[Advisory]) -> Result<(), DoorError>;
    /// Notes what models speak for, in place of what was noted of the tenant before: there a rule's alarm waits for their
    /// word.
    async fn spoken_for(&self, spoken_for: &SpokenFor) -> Result<(), DoorError>;
    /// Where alarms wait for a model's word, the longest first, at most [`AWAITED_MAX`]. An advisory of any decision is
    /// one.
    async fn awaited(&self, tenant: &TenantId) -> Result<Vec<Awaited>, DoorError>;
}

/// Components asked for at one midnight; some 100 bytes each. The others wait for the next one.
pub const AWAITED_MAX: u32 = 100_000;

/// Where outcomes go on their way into the `outcome` table.
#[async_trait]
pub trait OutcomeSink: Send + Sync {
    /// Returns once it is durable; the same outcome id again makes no second row.
    async fn outcome(&self, outcome: &Outcome) -> Result<(), DoorError>;
}

/// A message that became a dead letter, to be decoded once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose, and which channel.
    pub topic: Topic,
    /// MQTT 5 content type, if given.
    pub content_type: Option<String>,
    /// The payload as published.
    pub payload: Bytes,
}

/// Where dead letters go when their cause was mended: the log, as a message that arrives now.
#[async_trait]
pub trait Reinject: Send + Sync {
    /// Returns once it is durable. What of it was stored before is a duplicate; what is still refused is a new letter.
    async fn reinject(&self, letter: Letter) -> Result<(), DoorError>;
}

/// Why a query has no answer. The text is for the analyst; internal causes stay in `source`.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Not SQL.
    #[error("{message}")]
    Syntax {
        /// What was expected where, with a hint.
        message: String,
        /// Line, from 1, if known.
        line: Option<u64>,
        /// Column, from 1, if known.
        column: Option<u64>,
    },
    /// SQL that does not fit the tables: an unknown column with the nearest names, a wrong type.
    #[error("{0}")]
    Invalid(String),
    /// A statement that is not allowed; says which are.
    #[error("{0}")]
    Refused(String),
    /// Over a limit; says which and what to do.
    #[error("{0}")]
    Limit(String),
    /// Something broke on our side.
    #[error("run the query")]
    Internal(#[source] DoorError),
}

/// The answer to a query, batch by batch.
pub struct SqlAnswer {
    /// Columns.
    pub schema: SchemaRef,
    /// Rows; dropping the stream cancels the query.
    pub batches: Pin<Box<dyn Stream<Item = Result<RecordBatch, SqlError>> + Send>>,
}

/// Whose SQL is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The engine's own.
    #[default]
    Own,
    /// As PostgreSQL's clients write it, with `pg_catalog` beside the tables.
    Postgres,
}

/// A statement to be run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// One statement.
    pub sql: String,
    /// One row: the values of `$1`, `$2` and so on, in this order whatever the columns are called.
    pub parameters: Option<RecordBatch>,
    /// A shorter time-out than the engine's own; a longer one changes nothing.
    pub timeout: Option<std::time::Duration>,
    /// How to read it.
    pub dialect: Dialect,
}

impl Request {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }
}

/// What a statement takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Columns of its answer.
    pub schema: SchemaRef,
    /// One field for each of `$1`, `$2` and so on; `Utf8` where the statement does not tell the type.
    pub parameters: SchemaRef,
}

/// Answers SQL over one tenant's rows, read-only.
#[async_trait]
pub trait SqlEngine: Send + Sync {
    /// Plans and starts a query.
    async fn query_with(&self, tenant: &TenantId, request: &Request) -> Result<SqlAnswer, SqlError>;

    /// Plans a query without running it; what it is refused for, it is refused for here.
    async fn describe(&self, tenant: &TenantId, request: &Request) -> Result<Statement, SqlError>;

    /// [`SqlEngine::query_with`] for a statement without parameters.
    async fn query(&self, tenant: &TenantId, sql: &str) -> Result<SqlAnswer, SqlError> {
        self.query_with(tenant, &Request::new(sql)).await
    }
}

/// Answers failure trends over one tenant's rows.
#[async_trait]
pub trait TrendSource: Send + Sync {
    /// Every trend that can be told here.
    fn trends(&self) -> Vec<&'static Trend>;
    /// The rows of one of them, in its order.
    async fn rows(&self, tenant: &TenantId, trend: &Trend, bounds: &Bounds) -> Result<SqlAnswer, SqlError>;
    /// A picture of the same rows, as SVG.
    async fn picture(&self, tenant: &TenantId, trend: &Trend, bounds: &Bounds) -> Result<String, SqlError>;
}

/// Whoever holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose rows are shown.
    pub tenant: TenantId,
    /// The token's name, for logs.
    pub name: String,
    /// Whether the token's role may ask in SQL.
    pub may_query: bool,
}

/// Checks the tokens that people and programs show, for doors beside HTTP.
#[async_trait]
pub trait TokenAuth: Send + Sync {
    /// Who holds this token, if it is in force; takes the same time for every wrong secret of a known token.
    async fn token(&self, secret: &str) -> Result<Option<Holder>, DoorError>;
}

/// Where the parts of the pipeline are, for health and for whoever waits until all is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// Frames synced to the log since it began.
    pub durable: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Frames whose rows are in Delta.
    pub committed: u64,
    /// Frames whose alarms are with the service desk; none where detection runs elsewhere.
    pub detected: Option<u64>,
    /// Why appending does not work at present, if so.
    pub trouble: Option<String>,
    /// Which limits hold at present: `disk`, `log` (full), `memory` (devices are not read on).
    #[serde(default)]
    pub limits: Vec<String>,
}

/// Tells where the pipeline is.
pub trait ProgressSource: Send + Sync {
    /// Now.
    fn progress(&self) -> Progress;
}
