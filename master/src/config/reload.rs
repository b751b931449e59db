//! Reads the settings anew while the master runs, and tells what changed.

use std::sync::Arc;

use dopq_common::settings::{Changed, Mistakes, Snapshot};
use parking_lot::Mutex;

use super::{Args, Config, read};

/// What the names of settings begin with that take effect without a restart. All others need one.
const RELOADABLE: [&str; 1] = ["scheduler."];

/// Whether a setting takes effect without a restart.
#[must_use]
pub fn is_reloadable(name: &str) -> bool {
    RELOADABLE.iter().any(|prefix| name.starts_with(prefix))
}

/// A setting that differs from the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which, before and now.
    pub changed: Changed,
    /// Whether it takes effect without a restart.
    pub applies: bool,
}

/// The settings in force, and where they come from. Clones share them.
#[derive(Debug, Clone)]
pub struct Source {
    args: Arc<Args>,
    in_force: Arc<Mutex<Snapshot>>,
}

impl Source {
    /// `config` was read with these arguments.
    #[must_use]
    pub fn new(args: Args, config: &Config) -> Self {
        Self {
            args: Arc::new(args),
            in_force: Arc::new(Mutex::new(config.values.clone())),
        }
    }

    /// Reads all settings anew. Those that take effect are in force from then on; the caller applies them.
    ///
    /// # Errors
    /// [`Mistakes`]; then nothing changes.
    pub fn reload(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Config, Vec<Difference>), Mistakes> {
        let (config, _) = read(&self.args, environment)?;
        let mut in_force = self.in_force.lock();
        let changed = in_force.changed(&config.values);
        in_force.take(&config.values, is_reloadable);
        drop(in_force);
        let differences = changed.into_iter().map(|changed| Difference {
            applies: is_reloadable(&changed.name),
            changed,
        });
        Ok((config, differences.collect()))
    }
}

#[cfg(test)]
mod tests {
    use dopq_common::settings::Field as _;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn each_prefix_names_settings() {
        for prefix in RELOADABLE {
            let keys = Settings::keys();
            assert!(keys.iter().any(|key| key.name.starts_with(prefix)));
        }
    }

    #[test]
    fn what_changed_is_told_once_if_it_takes_effect_and_else_until_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("master.toml");
        let args = Args {
            config: Some(file.clone()),
            standalone: true,
            ..Args::default()
        };
        std::fs::write(&file, "").expect("written");
        let (config, _) = read(&args, []).expect("right");
        let source = Source::new(args, &config);
        let reload = |text: &str| {
            std::fs::write(&file, text).expect("written");
            source.reload([])
        };
        let names = |differences: Vec<Difference>| -> Vec<(String, bool)> {
            let named = differences.into_iter();
            named.map(|it| (it.changed.name, it.applies)).collect()
        };
        let (config, differences) =
            reload("[scheduler]\nhalf_life = \"2h\"\n[limits]\nentries = 7\n").expect("right");
        assert_eq!(config.settings.scheduler.usage.half_life.as_secs(), 7200);
        let told = differences
            .iter()
            .find(|it| it.changed.name == "scheduler.half_life");
        let told = told.expect("told");
        assert_eq!(
            (&*told.changed.before, &*told.changed.now),
            ("\"24h\"", "\"2h\"")
        );
        assert_eq!(
            names(differences),
            [
                ("limits.entries".to_owned(), false),
                ("scheduler.half_life".to_owned(), true)
            ]
        );
        let text = "[scheduler]\nhalf_life = \"2h\"\n[limits]\nentries = 7\n";
        let (_, again) = reload(text).expect("right");
        assert_eq!(names(again), [("limits.entries".to_owned(), false)]);
        reload("[scheduler]\nhalf_life = \"soon\"\n").expect_err("wrong");
        let (_, back) = reload("").expect("right");
        assert_eq!(names(back), [("scheduler.half_life".to_owned(), true)]);
    }

    #[test]
    fn a_secret_that_changes_is_named_and_not_shown() {
        let secret = |text: &str| vec![("DOPQ_SECRET".to_owned(), text.to_owned())];
        let args = Args {
            standalone: true,
            config: Some("/dev/null".into()),
            ..Args::default()
        };
        let (config, _) = read(&args, secret("first-first-first")).expect("right");
        let source = Source::new(args, &config);
        let (_, differences) = source
            .reload(secret("second-second-second"))
            .expect("right");
        let text = format!("{differences:?} {source:?}");
        assert!(
            text.contains("\"secret\"") && !text.contains("first-") && !text.contains("second-"),
            "{text}"
        );
    }
}
