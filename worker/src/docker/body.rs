//! Converts a [`Plan`] into the engine's request and adds the rules for every container.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    PortBinding, PortMap, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use dopq_common::id::GpuId;
use dopq_common::job::{HealthCheck, Port};

use super::mounts::PlanMount;
use super::namespace::NETWORK_FILES;
use super::plan::{GpuAccess, JoinedNetwork, Plan, PlanNetwork, Publish};

/// Number of log files that the engine keeps.
const LOG_FILES: &str = "2";

impl Plan {
    /// The engine's request. Sets "off" fields explicitly, so that neither an engine's default nor an image can switch
    /// them on.
    #[must_use]
    pub fn to_body(&self) -> ContainerCreateBody {
        let user = &self.user;
        ContainerCreateBody {
            hostname: user.hostname.clone(),
            domainname: user.domainname.clone(),
            user: user.user.clone(),
            attach_stdin: Some(false),
            attach_stdout: Some(false),
            attach_stderr: Some(false),
            tty: Some(user.tty),
            open_stdin: Some(user.stdin_open),
            stdin_once: Some(false),
            env: Some(
                self.env
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.reveal()))
                    .collect(),
            ),
            cmd: user.command.clone(),
            healthcheck: Some(health(user.healthcheck.as_ref())),
            image: Some(self.image.clone()),
            working_dir: user.working_dir.clone(),
            entrypoint: user.entrypoint.clone(),
            labels: Some(self.labels.clone().into_iter().collect()),
            stop_signal: Some(user.stop_signal.clone()),
            stop_timeout: i64::try_from(self.grace.as_secs()).ok(),
            exposed_ports: self
                .publish
                .as_ref()
                .map(|publish| publish.ports.iter().map(Port::to_string).collect()),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let user = &self.user;
        let memory = signed(self.memory.0);
        HostConfig {
            cpu_shares: Some(self.cpu_shares),
            memory,
            // The limit of memory plus swap equals that of memory, so no swap.
            memory_swap: memory,
            memory_swappiness: user.mem_swappiness,
            nano_cpus: self
                .cpu_limit
                .and_then(|cpu| signed(cpu.0.saturating_mul(1_000_000))),
            cpuset_cpus: user.cpuset_cpus.clone(),
            oom_kill_disable: Some(false),
            pids_limit: Some(self.pids),
            ulimits: Some(
                user.ulimits
                    .iter()
                    .map(|limit| ResourcesUlimits {
                        name: Some(limit.name.clone()),
                        soft: Some(limit.soft),
                        hard: Some(limit.hard),
                    })
                    .collect(),
            ),
            shm_size: signed(user.shm_size.0),
            init: Some(user.init),
            mounts: Some(self.all_mounts()),
            tmpfs: Some(user.tmpfs.clone().into_iter().collect()),
            readonly_rootfs: Some(user.read_only),
            log_config: Some(self.log_config()),
            network_mode: Some(match &self.network {
                PlanNetwork::None => "none".to_owned(),
                PlanNetwork::Bridge(name) => name.clone(),
                PlanNetwork::Host => "host".to_owned(),
                PlanNetwork::Joined(joined) => format!("container:{}", joined.holder),
            }),
            dns: Some(user.dns.clone()),
            extra_hosts: Some(
                user.extra_hosts
                    .iter()
                    .map(|(name, address)| format!("{name}:{address}"))
                    .collect(),
            ),
            group_add: Some(user.group_add.clone()),
            sysctls: Some(user.sysctls.clone().into_iter().collect()),
            device_requests: Some(device_requests(self.gpu_access, &self.gpus)),
            runtime: (self.gpu_access == GpuAccess::NvidiaRuntime && !self.gpus.is_empty())
                .then(|| "nvidia".to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            auto_remove: Some(false),
            privileged: Some(false),
            publish_all_ports: Some(false),
            port_bindings: self.publish.as_ref().map(port_bindings),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            ipc_mode: Some("private".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            ..HostConfig::default()
        }
    }

    fn all_mounts(&self) -> Vec<Mount> {
        let mut mounts: Vec<_> = self.mounts.iter().map(mount).collect();
        if let PlanNetwork::Joined(joined) = &self.network {
            // The engine's own files can be written where the root file system can.
            mounts.extend(network_files(joined, self.user.read_only));
        }
        mounts
    }

    /// The `local` driver: `json-file` replaces bytes that are not UTF-8.
    fn log_config(&self) -> HostConfigLogConfig {
        let size = self.log_bytes.0.to_string();
        let config = [
            ("max-size", size.as_str()),
            ("max-file", LOG_FILES),
            ("compress", "false"),
        ];
        HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(
                config
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect::<HashMap<_, _>>(),
            ),
        }
    }
}

/// Without a port of the machine the engine takes one that is free.
fn port_bindings(publish: &Publish) -> PortMap {
    let binding = PortBinding {
        host_ip: Some(publish.address.to_string()),
        host_port: None,
    };
    let ports = publish.ports.iter();
    ports
        .map(|port| (port.to_string(), Some(vec![binding.clone()])))
        .collect()
}

/// The user's own check, or none. Disables the image's check.
fn health(check: Option<&HealthCheck>) -> HealthConfig {
    let Some(check) = check else {
        return HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        };
    };
    let nanos = |duration: Option<Duration>| {
        duration.and_then(|duration| i64::try_from(duration.as_nanos()).ok())
    };
    HealthConfig {
        test: Some(check.test.clone()),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: check.retries,
        start_period: nanos(check.start_period),
        start_interval: None,
    }
}

fn mount(mount: &PlanMount) -> Mount {
    bind(
        mount.source.as_path(),
        mount.target.to_string(),
        mount.read_only,
    )
}

fn network_files(joined: &JoinedNetwork, read_only: bool) -> impl Iterator<Item = Mount> {
    let own = |name| joined.files.as_path().join(name);
    NETWORK_FILES
        .iter()
        .map(move |name| bind(&own(name), format!("/etc/{name}"), read_only))
}

fn bind(source: &Path, target: String, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn device_requests(access: GpuAccess, gpus: &[GpuId]) -> Vec<DeviceRequest> {
    if gpus.is_empty() {
        return Vec::new();
    }
    match access {
        GpuAccess::Cdi => vec![DeviceRequest {
            driver: Some("cdi".to_owned()),
            device_ids: Some(
                gpus.iter()
                    .map(|id| format!("nvidia.com/gpu={id}"))
                    .collect(),
            ),
            ..DeviceRequest::default()
        }],
        GpuAccess::DeviceRequests => vec![DeviceRequest {
            driver: Some("nvidia".to_owned()),
            device_ids: Some(gpus.iter().map(GpuId::to_string).collect()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }],
        GpuAccess::NvidiaRuntime | GpuAccess::EnvironmentOnly => Vec::new(),
    }
}

/// The engine uses signed numbers; saturates.
fn signed(value: u64) -> Option<i64> {
    Some(i64::try_from(value).unwrap_or(i64::MAX))
}
