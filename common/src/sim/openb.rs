//! Reads Alibaba's cluster-trace-gpu-v2023 ("openb"): its machines and its tasks.

use crate::id::GpuId;
use crate::resources::{ByteSize, Capacity, GpuAmount, GpuDevice, MilliCpu, MilliGpu, Request};

use super::table::{Table, TraceError};

/// The machines of a trace: columns `cpu_milli`, `memory_mib`, `gpu`, `model`.
///
/// # Errors
/// When the text is not such a table.
pub fn nodes(text: &str) -> Result<Vec<Capacity>, TraceError> {
    let table = Table::read(text)?;
    let cpus = table.numbers::<u64>("cpu_milli")?;
    let memories = table.numbers::<u64>("memory_mib")?;
    let gpus = table.numbers::<u32>("gpu")?;
    let models = table.column("model")?;
    let rows = cpus.into_iter().zip(memories).zip(gpus).zip(models);
    let nodes: Vec<Capacity> = rows
        .map(|(((cpu, memory), gpus), (line, model))| Capacity {
            cpu: MilliCpu(cpu),
            memory: mebibytes(memory),
            gpus: (0..gpus)
                .filter_map(|at| {
                    Some(GpuDevice {
                        id: format!("GPU-{line}-{at}").parse::<GpuId>().ok()?,
                        model: model.to_owned(),
                        memory: ByteSize::default(),
                        healthy: true,
                    })
                })
                .collect(),
            slots_per_gpu: 1,
            labels: [].into(),
            volumes: [].into(),
        })
        .collect();
    if nodes.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(nodes)
}

/// What the tasks of a trace ask for: columns `cpu_milli`, `memory_mib`, `num_gpu`, `gpu_milli` (of each
/// GPU), and perhaps `gpu_spec` (allowed models with `|` between them; empty or absent is any).
///
/// # Errors
/// When the text is not such a table.
pub fn pods(text: &str) -> Result<Vec<Request>, TraceError> {
    let table = Table::read(text)?;
    let cpus = table.numbers::<u64>("cpu_milli")?;
    let memories = table.numbers::<u64>("memory_mib")?;
    let gpus = table.numbers::<u32>("num_gpu")?;
    let millis = table.numbers::<u32>("gpu_milli")?;
    let models = table.optional("gpu_spec");
    let rows = cpus.into_iter().zip(memories).zip(gpus).zip(millis);
    let pods: Vec<Request> = rows
        .zip(models)
        .map(|((((cpu, memory), gpus), milli), models)| Request {
            gpus,
            gpu_amount: GpuAmount::Milli(MilliGpu(milli)),
            gpu_models: models
                .split('|')
                .filter(|model| !model.is_empty())
                .map(str::to_owned)
                .collect(),
            gpu_memory: None,
            cpu: Some(MilliCpu(cpu)),
            memory: Some(mebibytes(memory)),
            labels: [].into(),
            volumes: [].into(),
        })
        .collect();
    if pods.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(pods)
}

const fn mebibytes(count: u64) -> ByteSize {
    ByteSize(count.saturating_mul(ByteSize::MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_tasks_are_read() {
        let read = nodes("sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\n");
        let nodes = read.expect("a table");
        assert_eq!(nodes[0].cpu, MilliCpu(64_000));
        assert_eq!(nodes[0].memory, ByteSize(256 * ByteSize::GIB));
        assert_eq!(nodes[0].gpus.len(), 2);
        let text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n\
                    a,6000,12288,1,460,V100M16|V100M32\nb,1000,1024,0,0,\n";
        let read = pods(text).expect("a table");
        let without = "cpu_milli,memory_mib,num_gpu,gpu_milli\n6000,12288,1,460\n1000,1024,0,0\n";
        let any = pods(without).expect("a table");
        assert_eq!(any[1], read[1]);
        assert!(any[0].gpu_models.is_empty());
        let pods = read;
        assert_eq!(pods[0].gpu_models, ["V100M16", "V100M32"]);
        assert_eq!(pods[0].gpu_amount, GpuAmount::Milli(MilliGpu(460)));
        assert_eq!((pods[1].gpus, pods[1].gpu_models.len()), (0, 0));
    }
}
