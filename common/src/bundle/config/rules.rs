//! Rules on new configurations that stored ones need not meet.

use std::time::Duration;

use url::form_urlencoded::byte_serialize;

use crate::bundle::fault::{Faults, quote};
use crate::job::JobSpec;

/// The least time between two health checks: each starts a process in the container, by the engine that all jobs share.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Programs that watch the engine act on containers with labels of such names; names with a dot are others' as well.
const OTHERS: [&str; 3] = ["autoheal", "caddy", "ofelia"];

/// The most that build arguments take in the address of a build, where quotes, blanks and letters beyond ASCII take up to
/// eight bytes each. The HTTP client takes addresses of 65,534 bytes; labels and proxies are in them too.
const BUILD_ARGS_MAX_ENCODED: usize = 48 * 1024;

/// The name space of facts about an image, on which nothing acts.
const FACTS: &str = "org.opencontainers.image.";

/// Records every broken rule.
pub(super) fn check(spec: &JobSpec) -> Faults {
    let mut faults = Faults::default();
    let health = spec.container.healthcheck.as_ref();
    if let Some(interval) = health.and_then(|health| health.interval)
        && interval < HEALTH_INTERVAL
    {
        faults.add(
            "config_value",
            "run_params.healthcheck.interval",
            "it must be at least 5000000000 (5 s)",
        );
    }
    let args = serde_json::to_vec(&spec.build_args).unwrap_or_default();
    let encoded: usize = byte_serialize(&args).map(str::len).sum();
    if encoded > BUILD_ARGS_MAX_ENCODED {
        let message = format!(
            "they take {encoded} bytes in an address, where special characters take up to 8; at most \
             {BUILD_ARGS_MAX_ENCODED} are allowed"
        );
        faults.add("config_value", "build_args", message);
    }
    for name in spec.container.labels.keys() {
        let lower = name.to_ascii_lowercase();
        let is_foreign = lower.contains('.') || OTHERS.iter().any(|other| lower.starts_with(other));
        if is_foreign && !lower.starts_with(FACTS) {
            faults.add(
                "config_value",
                format!("run_params.labels.{}", quote(name)),
                "this name belongs to another program; use a name without dots, such as team",
            );
        }
    }
    for path in spec.container.tmpfs.keys() {
        let inside = path.trim_matches('/');
        if inside == "workspace" || inside == "volumes" || inside.starts_with("volumes/") {
            let place = format!("run_params.tmpfs.{}", quote(path));
            faults.add("config_value", place, "DoPQ uses this path");
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use crate::bundle::config::{accept, parse};

    #[test]
    fn build_arguments_fit_into_an_address() {
        for (value, fits) in [
            ("x".repeat(16_000), true),
            ("\"".repeat(8_000), true),
            ("\"".repeat(16_000), false),
            ("\u{1}".repeat(7_000), false),
        ] {
            let config = serde_json::json!({
                "name": "train", "executor_name": "anna", "required_memory": "1g", "num_gpus": 1,
                "build_args": {"A": value},
            });
            let config = config.to_string();
            let accepted = accept(&config).map_err(|faults| faults[0].to_string());
            assert_eq!(accepted.is_ok(), fits, "{accepted:?}");
            assert!(parse(&config).is_ok(), "a stored one stays valid");
        }
    }
}
