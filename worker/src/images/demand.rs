//! Which images orders need now, so that what is made ahead of orders gives way to them.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What orders need.
#[derive(Debug, Default)]
pub(super) struct Demand(watch::Sender<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Images that orders ask for, by name, and how many do.
    asked: BTreeMap<String, usize>,
    /// How many orders have an image made or wait for their turn.
    making: usize,
}

/// An order asks for an image until this is dropped.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    demand: &'a Demand,
    image: String,
}

/// An order has its image made until this is dropped.
#[derive(Debug)]
pub(super) struct Making<'a>(&'a Demand);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.demand.0.send_modify(|table| {
            if let Some(count) = table.asked.get_mut(&self.image) {
                *count -= 1;
                if *count == 0 {
                    table.asked.remove(&self.image);
                }
            }
        });
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|table| table.making -= 1);
    }
}

impl Demand {
    /// An order asks for this image.
    pub(super) fn ask(&self, image: &str) -> Asked<'_> {
        let image = image.to_owned();
        self.0
            .send_modify(|table| *table.asked.entry(image.clone()).or_default() += 1);
        Asked {
            demand: self,
            image,
        }
    }

    /// The image of an order is made.
    pub(super) fn make(&self) -> Making<'_> {
        self.0.send_modify(|table| table.making += 1);
        Making(self)
    }

    /// Whether no image is made for an order.
    pub(super) fn is_idle(&self) -> bool {
        self.0.borrow().making == 0
    }

    /// Waits until an image that is made ahead is to be given up: no order asks for it, and another is made for an
    /// order or this one is `withdrawn`.
    pub(super) async fn is_against(&self, image: &str, withdrawn: &CancellationToken) {
        let mut table = self.0.subscribe();
        loop {
            let is_withdrawn = withdrawn.is_cancelled();
            {
                let now = table.borrow_and_update();
                if !now.asked.contains_key(image) && (is_withdrawn || now.making > 0) {
                    return;
                }
            }
            tokio::select! {
                changed = table.changed() => if changed.is_err() {
                    return;
                },
                () = withdrawn.cancelled(), if !is_withdrawn => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_made_ahead_goes_on_only_while_it_holds_nobody_up_or_somebody_waits_for_it() {
        let (demand, withdrawn) = (Demand::default(), CancellationToken::new());
        let given_up = |image: &str| {
            demand
                .is_against(image, &withdrawn)
                .now_or_never()
                .is_some()
        };
        assert!(demand.is_idle() && !given_up("a"));
        let other = demand.ask("b");
        assert!(demand.is_idle() && !given_up("a"), "it may be there");
        let making = demand.make();
        assert!(!demand.is_idle() && given_up("a"));
        let asked = demand.ask("a");
        let twice = demand.ask("a");
        drop(asked);
        assert!(!given_up("a"), "an order waits for it");
        withdrawn.cancel();
        assert!(!given_up("a"), "an order waits for it");
        drop((making, other));
        assert!(demand.is_idle() && !given_up("a"));
        drop(twice);
        assert!(given_up("a"), "nobody wants it");
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_every_change() {
        let (demand, withdrawn) = (Demand::default(), CancellationToken::new());
        let asked = demand.ask("a");
        let waiting = demand.is_against("a", &withdrawn);
        let changing = async {
            tokio::task::yield_now().await;
            withdrawn.cancel();
            tokio::task::yield_now().await;
            drop(asked);
        };
        tokio::join!(waiting, changing);
    }
}
