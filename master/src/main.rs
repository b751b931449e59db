//! The program `dopq-master`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dopq_master::app::main()
}
