//! The store of a cluster: Redis, with one script for each commit.
//!
//! Every key starts with `dopq:{cluster}:`; the braces keep a cluster's keys on one Redis node. Beside the records
//! (`job:1423`, `user:anna`, …) there are lists for people with `redis-cli`: `queue:users` and
//! `queue:user:<user>`, `running`, `history`. `changed` has every record's name with the number of the batch that
//! last wrote it; a standby follows it.

mod check;
mod error;
mod options;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dopq_common::id::{Epoch, JobId};
use dopq_common::time::Timestamp;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, FromRedisValue, Script, ScriptInvocation};

use super::codec::{self, Decoder, Encoded, Entry, Item, Line, Loading, Place};
use super::types::{AuditEntry, Batch, Delta, LeaderInfo, Loaded};
use super::{AUDIT_MAX_LINES, Error, KEYS_KEPT};

pub use options::RedisOptions;

/// Approximate records per page of a load: a few milliseconds of Redis's time.
const PAGE_RECORDS: usize = 500;

/// Number of removals kept for followers. Who misses more loads everything.
const DROPPED_MAX: usize = 20_000;

/// The list of the audit log's lines, and that of the lines of users.
const AUDIT: &str = "audit";
const USERS_AUDIT: &str = "audit:users";
/// When tokens were last used, by their ids.
const TOKEN_USES: &str = "token_uses";

/// A page of a load: the last batch's number, the epoch, the batch that the next page begins after, and records.
type Page = (u64, u64, Option<u64>, Vec<String>, Vec<Option<String>>);

/// A Redis. Clones share its connection.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    timeout: Duration,
    prefix: Arc<str>,
    scripts: Arc<Scripts>,
    /// The highest epoch that this process has seen. A Redis that lost data may be behind it, and workers refuse
    /// orders of an older epoch.
    highest: Arc<AtomicU64>,
    /// Why it may lose data.
    faults: Arc<[String]>,
}

struct Scripts {
    commit: Script,
    load: Script,
    take: Script,
    renew: Script,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Redis");
        debug.field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects and checks that this Redis is durable.
    pub(super) async fn open(options: RedisOptions) -> Result<Self, Error> {
        let client = options.client()?;
        // Callers repeat failed calls; the manager only reconnects.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500))
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, config);
        let mut store = Self {
            connection: connection.map_err(error::classify)?,
            timeout: options.timeout,
            prefix: format!("dopq:{{{}}}:", options.cluster).into(),
            scripts: Arc::new(Scripts {
                commit: Script::new(include_str!("scripts/commit.lua")),
                load: Script::new(include_str!("scripts/load.lua")),
                take: Script::new(include_str!("scripts/take.lua")),
                renew: Script::new(include_str!("scripts/renew.lua")),
            }),
            highest: Arc::default(),
            faults: Arc::default(),
        };
        store.faults = store.check(options.require_durability).await?.into();
        store.check_commands().await?;
        Ok(store)
    }

    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(super) async fn take_lead(
        &self,
        me: &LeaderInfo,
        ttl: Duration,
    ) -> Result<Option<Epoch>, Error> {
        let mut call = self.scripts.take.prepare_invoke();
        call.key(self.key("leader")).key(self.key("epoch"));
        call.arg(&me.id).arg(leader_json(me)?).arg(millis(ttl));
        call.arg(self.highest.load(Ordering::Relaxed));
        let epoch: u64 = self.invoke(&call).await?;
        self.saw(epoch);
        Ok((epoch > 0).then_some(Epoch(epoch)))
    }

    pub(super) async fn renew_lead(
        &self,
        me: &LeaderInfo,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.key("leader")).key(self.key("epoch"));
        call.arg(leader_json(me)?)
            .arg(epoch.0)
            .arg(millis(ttl).max(1));
        self.invoke(&call).await
    }

    pub(super) async fn release_lead(&self, me: &LeaderInfo, epoch: Epoch) -> Result<(), Error> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.key("leader")).key(self.key("epoch"));
        call.arg(leader_json(me)?).arg(epoch.0).arg(0);
        let _held: bool = self.invoke(&call).await?;
        Ok(())
    }

    pub(super) async fn leader(&self) -> Result<Option<LeaderInfo>, Error> {
        let mut connection = self.connection.clone();
        let leader: Option<String> = self.call(connection.get(self.key("leader"))).await?;
        let leader = leader.map(|json| serde_json::from_str(&json)).transpose();
        leader.map_err(|source| Error::Corrupt {
            what: "leader".to_owned(),
            source: Box::new(source),
        })
    }

    pub(super) async fn seq(&self) -> Result<u64, Error> {
        let mut connection = self.connection.clone();
        let seq: Option<u64> = self.call(connection.get(self.key("seq"))).await?;
        Ok(seq.unwrap_or(0))
    }

    pub(super) async fn load(&self) -> Result<Loaded, Error> {
        let mut loading = Loading::default();
        let (seq, epoch) = self
            .follow(0, |name, item| loading.add(&name, item))
            .await?;
        Ok(loading.finish(seq, epoch))
    }

    pub(super) async fn load_since(&self, seq: u64) -> Result<Option<Delta>, Error> {
        if seq == 0 {
            return Ok(None);
        }
        let mut connection = self.connection.clone();
        if self.seq().await? < seq {
            return Ok(None);
        }
        let mut items = Vec::new();
        let (at, epoch) = self.follow(seq, |_, item| items.push(item)).await?;
        // Read last: older removals may be missing from the pages.
        let floor: Option<u64> = self.call(connection.get(self.key("floor"))).await?;
        if floor.unwrap_or(0) > seq {
            return Ok(None);
        }
        let mut delta = Delta {
            seq: at,
            epoch,
            changes: Vec::new(),
            accounts: Vec::new(),
        };
        for item in items {
            match item {
                Item::Change(change) => delta.changes.push(change),
                Item::Account(change) => delta.accounts.push(change),
                Item::Ignored => {}
            }
        }
        Ok(Some(delta))
    }

    /// Reads pages until one is the last, and hands what changed to `each`: the batch and the epoch as of it. The
    /// next page is read while one is decoded.
    async fn follow(
        &self,
        since: u64,
        mut each: impl FnMut(String, Item) + Send,
    ) -> Result<(u64, Epoch), Error> {
        let mut decoder = Decoder::default();
        let mut page = self.page(since).await?;
        loop {
            let (seq, epoch, following, names, values) = page;
            self.saw(epoch);
            let decoding = tokio::task::spawn_blocking(move || {
                let records = names.into_iter().zip(values);
                let items: Result<Vec<_>, Error> = records
                    .map(|(name, value)| {
                        let item = decoder.decode(&name, value.as_deref())?;
                        Ok((name, item))
                    })
                    .collect();
                (decoder, items)
            });
            let reading = async {
                match following {
                    Some(after) => self.page(after).await.map(Some),
                    None => Ok(None),
                }
            };
            let (decoded, next) = tokio::join!(decoding, reading);
            let (back, items) = decoded.map_err(|error| Error::Unavailable(Box::new(error)))?;
            decoder = back;
            for (name, item) in items? {
                each(name, item);
            }
            match next? {
                Some(next) => page = next,
                None => return Ok((seq, Epoch(epoch))),
            }
        }
    }

    async fn page(&self, after: u64) -> Result<Page, Error> {
        let mut call = self.scripts.load.prepare_invoke();
        call.key(self.key("seq")).arg(self.prefix.as_ref());
        call.arg(after).arg(PAGE_RECORDS);
        self.invoke(&call).await
    }

    pub(super) async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let encoded = codec::encode(batch)?;
        let mut call = self.scripts.commit.prepare_invoke();
        call.key(self.key("seq")).arg(self.prefix.as_ref());
        call.arg(batch.epoch.0).arg(batch.seq).arg(&encoded.digest);
        call.arg(millis(KEYS_KEPT))
            .arg(AUDIT_MAX_LINES)
            .arg(DROPPED_MAX);
        operations(&mut call, &encoded);
        let answer: Vec<String> = self.invoke(&call).await?;
        let number = answer.get(1).and_then(|text| text.parse().ok());
        match (answer.first().map(String::as_str), number) {
            (Some("ok"), _) => Ok(()),
            (Some("fenced"), Some(theirs)) => Err(Error::Fenced {
                ours: batch.epoch,
                theirs: Epoch(theirs),
            }),
            (Some("sequence"), Some(at)) => Err(Error::OutOfSequence { got: batch.seq, at }),
            (_, _) => Err(Error::Refused {
                why: format!("it answered {answer:?}"),
            }),
        }
    }

    pub(super) async fn ingested(&self, key: &str) -> Result<Option<JobId>, Error> {
        let mut connection = self.connection.clone();
        let job: Option<u64> = self
            .call(connection.hget(self.key("ingested"), key))
            .await?;
        Ok(job.map(JobId))
    }

    pub(super) async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let Ok(limit @ 1..) = isize::try_from(limit) else {
            return Ok(Vec::new());
        };
        let mut connection = self.connection.clone();
        let mut pipe = redis::pipe();
        for list in [AUDIT, USERS_AUDIT] {
            pipe.lrange(self.key(list), -limit, -1);
        }
        let lists: [Vec<String>; 2] = self.call(pipe.query_async(&mut connection)).await?;
        let newest_first = lists.map(|lines| lines.into_iter().rev().collect());
        codec::merged(newest_first, limit.unsigned_abs())
    }

    pub(super) async fn note_token_uses(&self, uses: &[(String, Timestamp)]) -> Result<(), Error> {
        let mut call = redis::cmd("HSET");
        call.arg(self.key(TOKEN_USES));
        for (token, at) in uses {
            call.arg(token).arg(at.as_millis());
        }
        let mut connection = self.connection.clone();
        self.call(call.query_async(&mut connection)).await
    }

    pub(super) async fn token_uses(
        &self,
        tokens: &[String],
    ) -> Result<Vec<Option<Timestamp>>, Error> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection.clone();
        let mut uses = redis::cmd("HMGET");
        uses.arg(self.key(TOKEN_USES)).arg(tokens);
        let uses: Vec<Option<u64>> = self.call(uses.query_async(&mut connection)).await?;
        let times = uses.into_iter().map(|at| at.map(Timestamp::from_millis));
        Ok(times.collect())
    }

    pub(super) async fn forget_token_uses(&self, tokens: &[String]) -> Result<(), Error> {
        let mut connection = self.connection.clone();
        self.call(connection.hdel(self.key(TOKEN_USES), tokens))
            .await
    }

    pub(super) async fn record(&self, entries: &[AuditEntry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let oldest = -isize::try_from(AUDIT_MAX_LINES).unwrap_or(isize::MAX);
        let mut pipe = redis::pipe();
        for Line { by_user, text } in codec::lines(entries)? {
            let list = self.key(if by_user { USERS_AUDIT } else { AUDIT });
            pipe.rpush(&list, text).ignore();
            pipe.ltrim(&list, oldest, -1).ignore();
        }
        let mut connection = self.connection.clone();
        self.call(pipe.query_async(&mut connection)).await
    }

    fn saw(&self, epoch: u64) {
        self.highest.fetch_max(epoch, Ordering::Relaxed);
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn invoke<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Error> {
        let mut connection = self.connection.clone();
        self.call(call.invoke_async(&mut connection)).await
    }

    /// Adds a time-out to a call.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(error::classify),
            Err(elapsed) => Err(Error::Unavailable(Box::new(elapsed))),
        }
    }
}

/// Adds the arguments of `commit.lua`.
fn operations(call: &mut ScriptInvocation<'_>, batch: &Encoded) {
    for Entry { name, value, place } in &batch.entries {
        let id = name.split_once(':').map_or("", |(_, id)| id);
        let Some(value) = value else {
            call.arg("D").arg(name);
            continue;
        };
        match place {
            Place::Queue { user, score } => {
                call.arg("J").arg(id).arg(user).arg("q").arg(*score);
            }
            Place::Running { user, score } => {
                call.arg("J").arg(id).arg(user).arg("r").arg(*score);
            }
            Place::History { user, score } => {
                call.arg("J").arg(id).arg(user).arg("h").arg(*score);
            }
            Place::Users { rank } => {
                call.arg("U").arg(id).arg(*rank);
            }
            Place::None if name.starts_with("key:") => {
                call.arg("K").arg(id);
            }
            Place::None => {
                call.arg("P").arg(name);
            }
        }
        call.arg(value);
    }
    for (key, job) in &batch.marks {
        call.arg("I").arg(key).arg(*job);
    }
    for line in &batch.audit {
        call.arg(if line.by_user { "M" } else { "L" });
        call.arg(&line.text);
    }
}

fn leader_json(leader: &LeaderInfo) -> Result<String, Error> {
    serde_json::to_string(leader).map_err(|source| Error::Corrupt {
        what: "leader".to_owned(),
        source: Box::new(source),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
