//! The commands' SQL.

use schemas::{
    door::Principal,
    id::{DeviceId, LogOffset, TenantId},
    time::Instant,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Command, State,
    rules::{Order, QUEUE},
};
use crate::{
    id, idempotency,
    idempotency::{Answer, Key, Known, store as answers},
    self_test::{self, rules::Found},
    store::{decode, write},
};

/// The route's name among the kept answers.
const ROUTE: &str = "command";

/// What became of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Ordered {
    /// It waits now; the body of the answer.
    Waiting(Box<Command>, String),
    /// The same request was answered before.
    Answered(idempotency::Answer),
    /// The key came with another body.
    OtherBody,
    /// As many wait as may; the oldest, and when it expires.
    Full {
        /// Its id.
        command_id: String,
        /// When it makes room by itself.
        expires: Instant,
    },
}

/// Puts a command in its device's line.
pub async fn order(
    pool: &SqlitePool,
    to: &Principal,
    order: Order,
    key: Option<Key>,
    actor: &str,
    now: Instant,
    answer: impl Fn(&Command) -> Result<String, serde_json::Error>,
) -> Result<Ordered, sqlx::Error> {
    let mut tx = write(pool).await?;
    if let Some(key) = &key {
        match answers::look(&mut tx, &to.tenant, ROUTE, key, now).await? {
            Known::Fresh => {}
            Known::Answered(answer) => return Ok(Ordered::Answered(answer)),
            Known::OtherBody => return Ok(Ordered::OtherBody),
        }
    }
    if let Some((command_id, expires)) = full(&mut tx, to, now).await? {
        return Ok(Ordered::Full { command_id, expires });
    }
    let command = insert(&mut tx, to, &id::new(now), &order, actor, now).await?;
    let body = answer(&command).map_err(|error| sqlx::Error::Encode(error.into()))?;
    if let Some(key) = &key {
        let answer = Answer { status: 201, body: body.clone() };
        answers::keep(&mut tx, &to.tenant, ROUTE, key, &answer, now).await?;
    }
    tx.commit().await?;
    Ok(Ordered::Waiting(Box::new(command), body))
}

/// What became of an order under an id of the orderer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// It waits now.
    Waiting,
    /// It was ordered before, whatever became of it.
    Known,
    /// As many wait as may.
    Full,
}

/// Puts a command in its device's line under an id that the orderer chose: a repeat orders nothing.
pub async fn order_once(
    tx: &mut SqliteConnection,
    to: &Principal,
    command_id: &str,
    order: &Order,
    actor: &str,
    now: Instant,
) -> Result<Once, sqlx::Error> {
    let select = "select exists (select 1 from command where tenant = ? and command_id = ?)";
    let query = sqlx::query_scalar(select).bind(to.tenant.as_str()).bind(command_id);
    let known: bool = query.fetch_one(&mut *tx).await?;
    if known {
        return Ok(Once::Known);
    }
    if full(tx, to, now).await?.is_some() {
        return Ok(Once::Full);
    }
    insert(tx, to, command_id, order, actor, now).await?;
    Ok(Once::Waiting)
}

/// The oldest command of a device's line and when it expires, if the line is full.
async fn full(
    tx: &mut SqliteConnection,
    to: &Principal,
    now: Instant,
) -> Result<Option<(String, Instant)>, sqlx::Error> {
    expire(tx, Some(to), now).await?;
    let select = "select count(*) as waiting, min(number) as oldest from command \
                  where tenant = ? and device_id = ? and state = 'pending'";
    let query = sqlx::query(select).bind(to.tenant.as_str()).bind(to.device_id.as_str());
    let row = query.fetch_one(&mut *tx).await?;
    if row.try_get::<u32, _>("waiting")? < QUEUE {
        return Ok(None);
    }
    let oldest: i64 = row.try_get("oldest")?;
    let row = sqlx::query("select command_id, expires from command where number = ?").bind(oldest);
    let row = row.fetch_one(&mut *tx).await?;
    Ok(Some((row.try_get("command_id")?, Instant::from_micros(row.try_get("expires")?))))
}

async fn insert(
    tx: &mut SqliteConnection,
    to: &Principal,
    command_id: &str,
    order: &Order,
    actor: &str,
    now: Instant,
) -> Result<Command, sqlx::Error> {
    let insert = "insert into command (tenant, command_id, device_id, name, args, actor, state, created, expires) \
                  values (?, ?, ?, ?, ?, ?, 'pending', ?, ?) returning *";
    let row = sqlx::query(insert)
        .bind(to.tenant.as_str())
        .bind(command_id)
        .bind(to.device_id.as_str())
        .bind(&order.name)
        .bind(&order.args)
        .bind(actor)
        .bind(now.micros())
        .bind(now.plus(order.expires_in).micros())
        .fetch_one(tx)
        .await?;
    read(&row)
}

/// Commands whose time is over are expired; of one device or of all. Tells how many.
async fn expire(tx: &mut SqliteConnection, of: Option<&Principal>, now: Instant) -> Result<u64, sqlx::Error> {
    let update = "update command set state = 'expired', ended = ?1 where state = 'pending' and expires <= ?1 \
                  and (?2 is null or tenant = ?2) and (?3 is null or device_id = ?3)";
    let query = sqlx::query(update).bind(now.micros());
    let query = query.bind(of.map(|of| of.tenant.as_str())).bind(of.map(|of| of.device_id.as_str()));
    query.execute(tx).await.map(|done| done.rows_affected())
}

/// Expires what is over time. Tells how many.
pub(crate) async fn expire_all(pool: &SqlitePool, now: Instant) -> Result<u64, sqlx::Error> {
    // Most of the time there is nothing: no write lock then.
    let select = "select exists (select 1 from command where state = 'pending' and expires <= ?)";
    let due: bool = sqlx::query_scalar(select).bind(now.micros()).fetch_one(pool).await?;
    if !due {
        return Ok(0);
    }
    let mut tx = write(pool).await?;
    let expired = expire(&mut tx, None, now).await?;
    tx.commit().await?;
    Ok(expired)
}

/// Forgets commands that ended before `before`, and those that were delivered and never answered.
pub(crate) async fn forget(pool: &SqlitePool, before: Instant) -> Result<u64, sqlx::Error> {
    let delete = "delete from command where ended < ?1 or (state = 'delivered' and delivered < ?1)";
    sqlx::query(delete).bind(before.micros()).execute(pool).await.map(|done| done.rows_affected())
}

fn principal(row: &SqliteRow) -> Result<Principal, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    Ok(Principal {
        tenant: text("tenant")?.parse().map_err(decode("tenant"))?,
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
    })
}

/// What waits, behind the command `after`, in order.
pub(crate) async fn waiting(pool: &SqlitePool, after: i64, limit: u32) -> Result<Vec<(i64, Principal)>, sqlx::Error> {
    let select = "select number, tenant, device_id from command where state = 'pending' and number > ? \
                  order by number limit ?";
    let rows = sqlx::query(select).bind(after).bind(limit).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get("number")?, principal(row)?))).collect()
}

/// The command of this number, if it waits and its time is not over.
pub(crate) async fn due(pool: &SqlitePool, number: i64, now: Instant) -> Result<Option<Command>, sqlx::Error> {
    let select = "select * from command where number = ? and state = 'pending' and expires > ?";
    let row = sqlx::query(select).bind(number).bind(now.micros()).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// How a device took a command: delivered, or refused with a reason.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) number: i64,
    pub(crate) refused: Option<String>,
    pub(crate) at: Instant,
}

/// Notes how devices took commands.
pub(crate) async fn taken(pool: &SqlitePool, taken: &[Taken]) -> Result<(), sqlx::Error> {
    let mut tx = write(pool).await?;
    for Taken { number, refused, at } in taken {
        let query = match refused {
            None => {
                // A reply, or the end of its time, may have come first: when it was delivered is noted all the same.
                let update = "update command set delivered = coalesce(delivered, ?1), \
                              state = iif(state in ('pending', 'expired'), 'delivered', state), \
                              ended = iif(state = 'expired', null, ended) where number = ?2";
                sqlx::query(update).bind(at.micros()).bind(number)
            }
            Some(reason) => {
                let update = "update command set state = 'refused', ended = ?, reason = ? \
                              where number = ? and state = 'pending'";
                sqlx::query(update).bind(at.micros()).bind(reason).bind(number)
            }
        };
        query.execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// A device's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) from: Principal,
    pub(crate) command_id: String,
    pub(crate) ok: bool,
    pub(crate) result: Option<String>,
    pub(crate) at: Instant,
}

/// What replies answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Commands.
    pub(crate) commands: u64,
    /// What those of them found that were self-tests.
    pub(crate) self_tests: Vec<Found>,
}

/// Notes replies, and that the log was read up to `offset`. Only the first reply to a command counts.
pub(crate) async fn answered(pool: &SqlitePool, replies: &[Reply], offset: LogOffset) -> Result<Answered, sqlx::Error> {
    let mut tx = write(pool).await?;
    let mut all = Answered::default();
    for reply in replies {
        let update = "update command set state = 'answered', ended = ?, ok = ?, result = ? \
                      where tenant = ? and command_id = ? and device_id = ? and state <> 'answered'";
        let done = sqlx::query(update)
            .bind(reply.at.micros())
            .bind(reply.ok)
            .bind(&reply.result)
            .bind(reply.from.tenant.as_str())
            .bind(&reply.command_id)
            .bind(reply.from.device_id.as_str())
            .execute(&mut *tx)
            .await?;
        all.commands += done.rows_affected();
        if done.rows_affected() > 0 {
            all.self_tests.extend(self_test::store::replied(&mut tx, reply).await?);
        }
    }
    let frames = i64::try_from(offset.0).unwrap_or(i64::MAX);
    sqlx::query("update reply_offset set frames = ? where frames < ?1").bind(frames).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(all)
}

/// Frames whose replies have been noted.
pub(crate) async fn reply_offset(pool: &SqlitePool) -> Result<LogOffset, sqlx::Error> {
    let frames: i64 = sqlx::query_scalar("select frames from reply_offset").fetch_one(pool).await?;
    Ok(LogOffset(u64::try_from(frames).unwrap_or(0)))
}

/// Which commands a page shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<String>,
    /// That were ordered before the command of this number.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A device's commands, newest first.
pub async fn list(
    pool: &SqlitePool,
    tenant: &TenantId,
    device_id: &DeviceId,
    filter: &Filter,
) -> Result<Vec<Command>, sqlx::Error> {
    let select = "select * from command where tenant = ?1 and device_id = ?2 and (?3 is null or state = ?3) \
                  and (?4 is null or number < ?4) order by number desc limit ?5";
    let query = sqlx::query(select).bind(tenant.as_str()).bind(device_id.as_str()).bind(&filter.state);
    let rows = query.bind(filter.before).bind(filter.limit).fetch_all(pool).await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<Command, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name);
    let at = |name| row.try_get::<Option<i64>, _>(name).map(|micros| micros.map(Instant::from_micros));
    let required = |name: &'static str| at(name)?.ok_or_else(|| decode(name)("no instant"));
    let state = match text("state")?.as_str() {
        "pending" => State::Pending,
        "delivered" => State::Delivered { at: required("delivered")? },
        "answered" => State::Answered {
            delivered: at("delivered")?,
            at: required("ended")?,
            ok: row.try_get("ok")?,
            result: row.try_get("result")?,
        },
        "refused" => State::Refused { at: required("ended")?, reason: text("reason")? },
        "expired" => State::Expired { at: required("ended")? },
        _ => return Err(decode("state")("none of the states")),
    };
    Ok(Command {
        number: row.try_get("number")?,
        command_id: text("command_id")?,
        device_id: text("device_id")?.parse().map_err(decode("device_id"))?,
        name: text("name")?,
        args: text("args")?,
        actor: text("actor")?,
        created: required("created")?,
        expires: required("expires")?,
        state,
    })
}
