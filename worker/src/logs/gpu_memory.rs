//! Finds in a program's output that a GPU's memory ran out: it ends the program by an exception of its own, so that
//! nothing but its words tells it from any other failure.

/// The longest line that is quoted, in characters.
const QUOTED_CHARS: usize = 200;

/// Names of the error: of CUDA's two interfaces, of cuBLAS, ROCm, TensorFlow and XLA.
const NAMES: [&str; 6] = [
    "cuda_error_out_of_memory",
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "hip out of memory",
    "oom when allocating tensor",
    "resource_exhausted: out of memory",
];

/// What the error is called in words, and whose memory it must name beside them.
const WORDS: &str = "out of memory";
const OF: [&str; 2] = ["cuda", "gpu"];

/// The last line that says so, shortened.
pub(crate) fn ran_out(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().find(|line| says_so(line))?.trim();
    let mut quoted: String = line.chars().take(QUOTED_CHARS).collect();
    if quoted.len() < line.len() {
        quoted.push('…');
    }
    Some(quoted)
}

fn says_so(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    NAMES.iter().any(|name| line.contains(name))
        || (line.contains(WORDS) && OF.iter().any(|whose| line.contains(whose)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frameworks_say_it_in_their_own_words() {
        for line in [
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
            "RuntimeError: CUDA error: out of memory",
            "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB",
            "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes",
            "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
            "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 85899345920 bytes.",
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[1024,1024]",
            "parallel_for failed: cudaErrorMemoryAllocation: out of memory",
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cudaMalloc(&x, n * sizeof(float)): out of memory",
        ] {
            assert_eq!(
                ran_out(format!("epoch 1\n  {line}\nbye\n").as_bytes()),
                Some(line.to_owned())
            );
        }
    }

    #[test]
    fn other_failures_are_not_the_gpus_memory() {
        for line in [
            "MemoryError: Unable to allocate 8.00 GiB for an array",
            "Killed: out of memory",
            "CUDA error: an illegal memory access was encountered",
            "GPU memory in use: 79 GiB",
            "",
        ] {
            assert_eq!(ran_out(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_last_line_is_quoted_and_not_at_any_length() {
        let output = format!(
            "CUDA out of memory: 1\nCUDA out of memory: {}\n",
            "ä".repeat(300)
        );
        let quoted = ran_out(output.as_bytes()).expect("said");
        assert!(quoted.starts_with("CUDA out of memory: ää"), "{quoted}");
        assert_eq!(quoted.chars().count(), QUOTED_CHARS + 1);
        assert!(quoted.ends_with('…'));
    }
}
