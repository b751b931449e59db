//! Checks that a Redis is durable, and that its account may use every command.

use std::collections::BTreeMap;

use redis::Script;

use super::{Error, Redis};

impl Redis {
    /// Refuses an account that lacks a command: a script stops at the first one, and what it wrote before stays.
    pub(super) async fn check_commands(&self) -> Result<(), Error> {
        let script = Script::new(include_str!("scripts/check.lua"));
        let mut call = script.prepare_invoke();
        call.key(self.key("check")).arg(self.prefix.as_ref());
        let refused: Vec<String> = self.invoke(&call).await?;
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::Unsuitable(format!(
            "its account may not use {} on keys that begin with {}; docs/OPERATIONS.md has the account's rights",
            refused.join(", "),
            self.prefix,
        )))
    }

    /// Refuses a Redis that would lose data, or only warns and says why.
    pub(super) async fn check(&self, require_durability: bool) -> Result<Vec<String>, Error> {
        let mut connection = self.connection.clone();
        let info = redis::cmd("INFO");
        let info: String = self.call(info.query_async(&mut connection)).await?;
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync");
        // Hosted servers and restricted accounts do not show their configuration; then use INFO.
        let fsync = self.call(config.query_async(&mut connection)).await;
        let fsync: BTreeMap<String, String> = fsync.unwrap_or_default();
        let fsync = fsync.get("appendfsync").map(String::as_str);

        let faults = faults(&info, fsync);
        if faults.is_empty() {
            if fsync == Some("everysec") {
                tracing::warn!(
                    "Redis flushes its append-only file once a second: a power cut may lose what was \
                     accepted in the last one; `appendfsync always` keeps it"
                );
            }
            return Ok(faults);
        }
        if require_durability {
            return Err(Error::Unsuitable(faults.join("; ")));
        }
        for fault in &faults {
            tracing::warn!(fault, "this Redis may lose accepted jobs");
        }
        Ok(faults)
    }
}

/// All problems, with their remedies.
fn faults(info: &str, fsync: Option<&str>) -> Vec<String> {
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.trim().split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let mut faults = Vec::new();
    if let Some(
        policy @ ("allkeys-lru" | "allkeys-lfu" | "allkeys-random" | "volatile-lru"
        | "volatile-lfu" | "volatile-random" | "volatile-ttl"),
    ) = field("maxmemory_policy")
    {
        faults.push(format!(
            "its maxmemory-policy is {policy}, which deletes records; set noeviction"
        ));
    }
    if field("aof_enabled") == Some("0") {
        faults.push(
            "it writes no append-only file, so a restart loses jobs; set appendonly yes".to_owned(),
        );
    } else if fsync == Some("no") {
        faults.push("its appendfsync is no; set always, or at least everysec".to_owned());
    }
    if field("role") == Some("slave") {
        faults.push("it is a read-only replica; use the primary's address".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::faults;

    const GOOD: &str = "# Memory\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\nrole:master\r\n";

    #[test]
    fn each_setting_that_loses_data_is_named_with_its_cure() {
        assert_eq!(faults(GOOD, Some("always")), [] as [&str; 0]);
        assert_eq!(faults(GOOD, None), [] as [&str; 0]);
        for (bad, fsync, word) in [
            (
                GOOD.replace("noeviction", "allkeys-lru"),
                Some("always"),
                "noeviction",
            ),
            (
                GOOD.replace("aof_enabled:1", "aof_enabled:0"),
                None,
                "appendonly yes",
            ),
            (GOOD.to_owned(), Some("no"), "appendfsync"),
            (GOOD.replace("role:master", "role:slave"), None, "primary"),
        ] {
            let faults = faults(&bad, fsync);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(
                faults.iter().all(|fault| fault.contains(word)),
                "{faults:?}"
            );
        }
    }
}
