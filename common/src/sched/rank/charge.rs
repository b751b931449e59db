//! Charges users for attempts.

use crate::id::UserName;
use crate::job::{Active, Charge, ChargeEnd};
use crate::penalty::usage::{Rate, kept};
use crate::sched::state::step::Step;

use super::account::{AttemptCharge, usage_of};

impl Step<'_> {
    /// Brings a user's stored usage up to now; before anything changes what they are charged.
    pub(crate) fn settle(&mut self, name: &UserName) {
        let (usage, _) = usage_of(self.state, self.now, name);
        let now = self.now;
        self.edit_user(name, |user| {
            user.usage = usage.max(0.0);
            user.usage_at = now;
        });
    }

    /// Takes the minimum of an attempt that begins.
    pub(crate) fn charge_deposit(&mut self, name: &UserName, rate: Rate) {
        let deposit = rate.gpus() * self.state.settings().usage.min_charge.as_secs_f64();
        self.edit_user(name, |user| user.usage += deposit);
    }

    /// Closes the account of an attempt that has ended; the user is settled. What is returned is to be
    /// written down with the job.
    pub(crate) fn close_account(
        &mut self,
        name: &UserName,
        active: &Active,
        end: ChargeEnd,
    ) -> Charge {
        let charge = Charge {
            attempt: active.attempt,
            rate: active.rate,
            from: active.assigned_at,
            to: active.charged_until(self.now),
            end,
        };
        let held = charge.to.since(charge.from);
        let settings = &self.state.settings().usage;
        let refund = AttemptCharge::after(settings, charge.rate, held).refund(end);
        let refund = refund * kept(self.now.since(charge.to), settings.half_life);
        // Below zero there is only what sums are rounded by.
        self.edit_user(name, |user| user.usage = (user.usage - refund).max(0.0));
        charge
    }
}
