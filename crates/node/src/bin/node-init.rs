//! The launcher of isolated processes as a program of its own, for this crate's tests. With an argument it plays
//! the node's process instead: it listens on the socket of that name, inside its namespaces, until it is stopped.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use node::supervise::{Entered, enter, stop_signal};

fn main() -> ExitCode {
    let Some(socket) = std::env::args().nth(1) else { return sandbox::init::main() };
    match enter() {
        Ok(Entered::Outside(code)) => code,
        Ok(Entered::Inside) => play(&socket),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells everyone who connects its process id, and keeps the connection open as long as it lives.
fn play(socket: &str) -> ExitCode {
    let stop = stop_signal();
    let _ = std::fs::remove_file(socket);
    let Ok(listener) = UnixListener::bind(socket) else { return ExitCode::FAILURE };
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut writer = &stream;
            let _ = writeln!(writer, "{}", std::process::id());
            open.push(stream);
        }
    });
    while !stop.is_cancelled() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    ExitCode::SUCCESS
}
