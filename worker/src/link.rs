//! Tells the log how the link to the broker stands: ready once it is there, and what to do while the broker refuses it.

use dopq_common::broker::Link;
use dopq_common::id::WorkerId;
use tokio::sync::watch;

/// Tells every change until the broker is closed.
pub(crate) async fn tell(worker: WorkerId, mut link: watch::Receiver<Link>) {
    let mut last = link.borrow_and_update().clone();
    loop {
        log(&worker, &last);
        loop {
            if link.changed().await.is_err() {
                return;
            }
            let next = link.borrow_and_update().clone();
            if !is_told_by(&last, &next) {
                last = next;
                break;
            }
        }
    }
}

/// Whether the log says it already. The time of a link that stays down adds nothing.
fn is_told_by(last: &Link, next: &Link) -> bool {
    match (last, next) {
        (Link::Down { why: before, .. }, Link::Down { why: now, .. }) => before == now,
        (last, next) => last == next,
    }
}

fn log(worker: &WorkerId, link: &Link) {
    match link {
        Link::Up => tracing::info!(worker.id = %worker, "worker ready"),
        Link::Blocked => {
            tracing::warn!("the broker accepts no messages: its memory or disk alarm is on");
        }
        Link::Down { why, .. } => match remedy(why) {
            Some(remedy) => tracing::error!(
                why,
                remedy,
                "the broker refuses this worker, which gets no jobs until that is mended"
            ),
            None => tracing::warn!(why, "waiting for the broker"),
        },
    }
}

/// What an administrator can do about a link that waiting does not mend.
fn remedy(why: &str) -> Option<&'static str> {
    let is_about = |word: &str| why.contains(word);
    if is_about("ACCESS_REFUSED") {
        Some(
            "check user, password and rights of the account in broker.url; dopq node add NAME --replace makes new ones",
        )
    } else if is_about("NOT_ALLOWED") {
        Some("check the virtual host at the end of broker.url, and the account's rights there")
    } else if is_about("certificate") || is_about("UnknownIssuer") {
        Some("set broker.ca to the certificate of the CA that the broker's is signed by")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_does_not_mend_has_a_remedy() {
        for (why, part) in [
            (
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.",
                "password",
            ),
            ("NOT_ALLOWED - vhost lab not found", "virtual host"),
            ("invalid peer certificate: UnknownIssuer", "broker.ca"),
        ] {
            let told = remedy(why);
            assert!(told.is_some_and(|told| told.contains(part)), "{why}");
        }
        assert_eq!(remedy("Connection refused (os error 111)"), None);
    }

    #[test]
    fn a_link_that_stays_down_is_told_once() {
        let down = |why: &str| Link::Down {
            since: tokio::time::Instant::now(),
            why: why.to_owned(),
        };
        assert!(is_told_by(&down("refused"), &down("refused")));
        assert!(!is_told_by(&down("refused"), &down("does not answer")));
        assert!(!is_told_by(&down("refused"), &Link::Up));
        assert!(!is_told_by(&Link::Up, &Link::Blocked));
    }
}
