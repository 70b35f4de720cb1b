//! The launcher as a program of its own, for tests: the `portolan` binary does the same under its hidden
//! command `sandbox-init`.

fn main() -> std::process::ExitCode {
    sandbox::init::main()
}
