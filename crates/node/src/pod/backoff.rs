//! Waiting times between attempts: of restarts and of pulls. After the kubelet (`doBackOff`, client-go `flowcontrol`).

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
/// The kubelet waits ten seconds here, too. The registry is next door, and an image that is being built when its pod
/// starts should not cost ten seconds more than it takes.
const FIRST_PULL: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long, or a pull that long ago, starts the series anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The series 0, 10, 20, 40 … 300 seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The series 1, 2, 4, 8 … 300 seconds: for pulls.
    pub(crate) fn waiting_first() -> Backoff {
        Backoff { next: Some(FIRST_PULL) }
    }

    /// How long to wait before the next attempt, when the last one lasted `ran`.
    pub(crate) fn step(&mut self, ran: Duration) -> Duration {
        if ran >= FORGOTTEN_AFTER {
            self.next = None;
        }
        let now = self.next.unwrap_or(Duration::ZERO);
        self.next = Some(if now.is_zero() { FIRST } else { (now * 2).min(LONGEST) });
        now
    }
}

/// As Go prints it: `10s`, `2m40s`, `5m0s`.
pub(crate) fn text(wait: Duration) -> String {
    match (wait.as_secs() / 60, wait.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_restarts() {
        let mut backoff = Backoff::default();
        let waits: Vec<String> = (0..8).map(|_| text(backoff.step(Duration::from_secs(1)))).collect();
        assert_eq!(waits, ["0s", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        assert_eq!(text(backoff.step(Duration::from_secs(601))), "0s");
        let mut pulls = Backoff::waiting_first();
        let waits = [(); 4].map(|()| text(pulls.step(Duration::ZERO)));
        assert_eq!(waits, ["1s", "2s", "4s", "8s"]);
    }
}
