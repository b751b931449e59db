//! The program `dopq-worker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dopq_worker::program::main()
}
