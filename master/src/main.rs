//! The program `dopq-master`.

fn main() {}
