//! The server's side of SPDY/3.1, as far as Kubernetes' clients speak it: streams that the client opens, inside one
//! connection, for exec, attach and port-forward.
//!
//! `frame` reads and writes bytes and knows no connection, `headers` has the compression that is common to all blocks
//! of a direction, `session` runs a connection. Like every other program that speaks this protocol to kubectl, it does
//! not use flow control: a stream that nobody reads holds up the others of its connection.

mod frame;
mod headers;
mod session;

pub use frame::Error;
pub use headers::Headers;
pub use session::{Opened, Reader, STREAM_LIMIT, Session, Writer};
