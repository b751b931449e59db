//! Live traffic: for whoever listens now, bounded, never in the way.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, LiveStream};

use super::Bench;
use crate::soon;

pub(crate) async fn topics_are_chosen_by_pattern(bench: Bench) {
    let listen = async |topics: &[&str]| {
        let stream = bench.master.subscribe_live(topics).await;
        stream.expect("it is open")
    };
    let mut logs = listen(&["log.12.*", "log.#"]).await;
    let mut heartbeats = listen(&["heartbeat.*"]).await;
    let mut everything = listen(&["#"]).await;
    for topic in [
        "log.12.1",
        "heartbeat.gpu-01",
        "heartbeat.gpu-01.lab",
        "log.13.1",
    ] {
        tell(&bench.worker, topic, topic).await;
    }
    tell(&bench.worker, "log.end", "end").await;
    tell(&bench.worker, "heartbeat.end", "end").await;
    // Two patterns match the first, which comes once.
    assert_eq!(until_end(&mut logs).await, ["log.12.1", "log.13.1"]);
    assert_eq!(until_end(&mut heartbeats).await, ["heartbeat.gpu-01"]);
    assert_eq!(until_end(&mut everything).await.len(), 4);
}

pub(crate) async fn a_dropped_subscription_gets_nothing(bench: Bench) {
    let dropped = bench.master.subscribe_live(&["a"]).await.expect("open");
    drop(dropped);
    // Nobody listens, which is no error.
    tell(&bench.worker, "a", "lost").await;
    let mut stream = bench.master.subscribe_live(&["a"]).await.expect("open");
    tell(&bench.worker, "a", "end").await;
    assert_eq!(until_end(&mut stream).await, [] as [&str; 0]);
    assert_eq!(stream.dropped(), 0);
}

pub(crate) async fn a_slow_subscriber_loses_the_oldest(bench: Bench) {
    let mut slow = bench.master.subscribe_live(&["a"]).await.expect("open");
    let mut quick = bench.master.subscribe_live(&["a"]).await.expect("open");
    let publish = async {
        for number in 0..3000 {
            tell(&bench.worker, "a", &number.to_string()).await;
        }
        tell(&bench.worker, "a", "end").await;
    };
    let (quick, ()) = futures::future::join(until_end(&mut quick), publish).await;
    // Everything has passed the slow one's door: wait until it is inside, then look.
    soon("the slow one to lose", async {
        while slow.dropped() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let slow = until_end(&mut slow).await;
    assert!(slow.len() < 3000, "{} were kept", slow.len());
    assert_eq!(slow.last().map(String::as_str), Some("2999"));
    assert!(quick.windows(2).all(|pair| {
        let number = |text: &String| text.parse::<u32>().expect("a number");
        pair.iter().map(number).is_sorted()
    }));
}

async fn tell(broker: &Broker, topic: &str, text: &str) {
    let body = Bytes::from(text.to_owned());
    broker.publish_live(topic, body).await.expect("it is open");
}

/// What came before the text `end`.
async fn until_end(stream: &mut LiveStream) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let message = soon("a live message", stream.next()).await;
        let message = message.expect("it is open");
        let text = String::from_utf8(message.body.to_vec()).expect("a text");
        if text == "end" {
            return texts;
        }
        texts.push(text);
    }
}
