//! Live parts: a stream of server-sent events that carries a part's new HTML whenever it differs from the last.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream;
use maud::Markup;

/// How often a part is made again while somebody looks at it and waits.
pub(crate) const BEAT: Duration = Duration::from_millis(700);
/// The same for what somebody only has before their eyes.
pub(crate) const CALM_BEAT: Duration = Duration::from_secs(3);
/// A stream ends after this many beats; the browser opens a new one by itself.
const BEATS: u32 = 2000;

/// A part as it is now, and whether it can still change.
pub(crate) struct Part {
    pub(crate) markup: Markup,
    pub(crate) finished: bool,
}

/// Streams a part until it is finished, made again after each beat.
pub(crate) fn stream<F, Made>(beat: Duration, make: F) -> impl IntoResponse + use<F, Made>
where
    F: Fn() -> Made + Send + 'static,
    Made: Future<Output = Part> + Send,
{
    let first = (make, String::new(), 0_u32, false);
    let events = stream::unfold(first, move |(make, last, beats, finished)| async move {
        if finished {
            let end = Event::default().event("end").data("");
            return (beats < BEATS).then_some((Ok::<_, Infallible>(end), (make, last, BEATS, true)));
        }
        let mut beats = beats;
        loop {
            if beats >= BEATS {
                return None;
            }
            if beats > 0 {
                tokio::time::sleep(beat).await;
            }
            beats += 1;
            let part = make().await;
            let html = part.markup.into_string();
            if html != last || part.finished {
                // An event's data has no bare line ends: each line is a field of its own, joined by the browser.
                let event = Event::default().event("part").data(&html);
                return Some((Ok(event), (make, html, beats, part.finished)));
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
