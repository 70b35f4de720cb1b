//! `GET /portolan/events`: hints as server-sent events, only about repositories that the caller may read.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;

use super::access::Caller;
use crate::Host;

/// A quiet connection is used this often, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams events from now on. The first comment tells the client that it misses nothing from here.
pub(crate) async fn stream(
    State(host): State<Host>,
    caller: Caller,
) -> Sse<impl Stream<Item = Result<Message, Infallible>>> {
    let events = BroadcastStream::new(host.subscribe()).filter_map(move |event| {
        // What a slow client missed is gone; the next event still comes.
        let shown = event.ok().filter(|event| caller.may(event.repository(), "read"));
        std::future::ready(shown.and_then(|event| Message::default().json_data(&event).ok()).map(Ok))
    });
    let hello = futures::stream::once(std::future::ready(Ok(Message::default().comment("listening"))));
    Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
