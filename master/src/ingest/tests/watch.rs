//! The whole loop on a real folder.

use std::time::Duration;

use dopq_common::bundle::Limits;
use dopq_common::settings::Share;
use tokio_util::sync::CancellationToken;

use super::folder::Place;
use super::{assert_mixed_is_settled, bundle, mixed};
use crate::bundles::{Bundles, Intake};
use crate::config::Ingest;
use crate::ingest::{Parts, run};
use crate::metrics::{Board, Condition, Metrics, Part, PartState};

/// Runs the loop until `ready` holds of the board's word on ingest.
async fn until(place: &Place, settings: Ingest, ready: impl Fn(&Condition) -> bool) {
    let board = Board::default();
    let bundles = Bundles::open(
        &place.path("bundles").display().to_string(),
        &Default::default(),
    );
    let parts = Parts {
        intake: Intake::new(
            bundles.expect("opened"),
            &place.path("spool"),
            Limits::default(),
        )
        .expect("an intake"),
        submit: place.driver.clone(),
        board: board.clone(),
        metrics: Metrics::default(),
    };
    let shutdown = CancellationToken::new();
    let settings = Ingest {
        poll: Duration::from_millis(5),
        ..settings
    };
    let (url, stop) = (place.path("share").display().to_string(), shutdown.clone());
    let watching = tokio::spawn(async move { run(&url, &settings, parts, stop).await });
    let said = async {
        while !board
            .get(Part::Ingest)
            .is_some_and(|condition| ready(&condition))
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), said).await;
    shutdown.cancel();
    watching.await.expect("no panic").expect("opened");
    waited.unwrap_or_else(|_| panic!("{:?}", board.get(Part::Ingest)));
}

#[tokio::test]
async fn everything_that_lies_there_is_settled_and_said() {
    let place = Place::new();
    for (path, content) in mixed() {
        place.put(path, &content);
    }
    until(&place, Ingest::default(), |condition| {
        condition.state == PartState::Up
            && condition
                .detail
                .contains("2 accepted, 1 rejected, 0 waiting")
    })
    .await;
    assert_mixed_is_settled(&place.files(), &place.driver);
}

#[tokio::test]
async fn everybody_with_an_account_has_a_folder() {
    let place = Place::new();
    place.put("anna/run.zip", &bundle("anna", "a"));
    until(&place, Ingest::default(), |condition| {
        condition.detail.contains("1 accepted")
    })
    .await;
    // Hers was there; his is made.
    for user in ["anna", "bert"] {
        assert!(place.path("share/incoming").join(user).is_dir(), "{user}");
    }
}

#[tokio::test]
async fn a_full_disk_pauses_it_and_says_so() {
    let place = Place::new();
    place.put("anna/run.zip", &bundle("anna", "a"));
    let full = Ingest {
        min_space: Share(1.0),
        ..Ingest::default()
    };
    until(&place, full, |condition| {
        condition.state == PartState::Degraded
            && condition.detail.starts_with("paused, ")
            && condition.detail.contains("1 waiting")
    })
    .await;
    assert_eq!(place.driver.jobs().len(), 0);
    until(&place, Ingest::default(), |condition| {
        condition.detail.contains("1 accepted")
    })
    .await;
}

#[tokio::test]
async fn a_place_that_cannot_be_listed_is_down() {
    let place = Place::new();
    until(&place, Ingest::default(), |condition| {
        condition.state == PartState::Up
    })
    .await;
    let incoming = place.path("share/incoming");
    std::fs::remove_dir_all(&incoming).expect("removed");
    std::fs::write(&incoming, "in the way").expect("written");
    until(&place, Ingest::default(), |condition| {
        condition.state == PartState::Down && condition.detail.contains("list incoming")
    })
    .await;
}
