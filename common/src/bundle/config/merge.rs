//! Applies a client's overrides to a configuration document.

use serde_json::{Map, Value};

use super::{document, fields, shape};
use crate::bundle::{Fault, fault::Faults};

/// Fields that exclude each other: an override of the first removes the second from the document.
/// An `array` beside a `sweep` selects its combinations, so it goes when the sweep is replaced.
const INSTEAD_OF: [(&str, &str); 4] = [
    ("image", "build_flag"),
    ("gpu_share", "num_slots"),
    ("num_slots", "gpu_share"),
    ("sweep", "array"),
];

/// Applies `overrides` to the document `text`. Returns the accepted document in canonical form (sorted keys, no white
/// space), which is stored, sent and read by [`super::parse`].
///
/// An override replaces the field of that name; null removes it; `env` is merged by name.
///
/// # Errors
/// All faults of the document, or of the overridden document.
pub fn merge(text: &str, overrides: &Map<String, Value>) -> Result<String, Vec<Fault>> {
    let mut map = document::read(text)?;
    for (first, second) in INSTEAD_OF {
        let set = overrides.get(first).is_some_and(|value| !value.is_null());
        if set && !overrides.contains_key(second) {
            map.remove(second);
        }
    }
    if overrides.get("build_flag") == Some(&Value::Bool(true)) && !overrides.contains_key("image") {
        map.remove("image");
    }
    for (name, value) in overrides {
        if value.is_null() {
            map.remove(name);
        } else if name == "env" && map.contains_key("env") {
            let merged = merge_env(map.get("env"), value)?;
            map.insert(name.clone(), merged);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    let merged = Value::Object(map).to_string();
    fields::accept(&merged)?;
    Ok(merged)
}

/// The document's environment, overridden, as an object.
fn merge_env(old: Option<&Value>, new: &Value) -> Result<Value, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut merged = Map::new();
    for value in old.into_iter().chain([new]) {
        let holder = Map::from_iter([("env".to_owned(), value.clone())]);
        let pairs = shape::Fields::new("", &holder, &mut faults)
            .take("env", |value| shape::pairs(value, '='));
        for (key, value) in pairs.into_iter().flatten() {
            merged.insert(key, Value::String(value));
        }
    }
    if faults.is_empty() {
        Ok(Value::Object(merged))
    } else {
        Err(faults.into_list())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::config::parse;
    use crate::job::{ImageSource, JobSpec};
    use crate::resources::{GpuAmount, MilliGpu};

    const BASE: &str = r#"{ "name": "train", "executor_name": "anna", "num_slots": 2, "build_flag": true,
        "env": ["A=1", "B=2"], "run_params": {"command": "a b"} }"#;

    fn merged(overrides: Value) -> Result<JobSpec, Vec<Fault>> {
        let overrides = overrides.as_object().expect("an object").clone();
        let text = merge(BASE, &overrides)?;
        assert_eq!(merge(&text, &Map::new()).expect("stable"), text);
        Ok(parse(&text).expect("an accepted document is read again"))
    }

    #[test]
    fn overrides_replace_and_the_environment_is_merged_by_name() {
        let spec = merged(json!({"name": "other", "env": {"B": 3, "C": "x=y"}})).expect("valid");
        assert_eq!(spec.name, "other");
        let env: Vec<_> = spec
            .container
            .env
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(env, ["A=1", "B=3", "C=x=y"]);
        assert_eq!(spec.container.command.expect("kept"), ["a", "b"]);
    }

    #[test]
    fn an_override_displaces_what_it_excludes() {
        let spec = merged(json!({"image": "busybox", "gpu_share": 0.5})).expect("valid");
        assert_eq!(spec.image, ImageSource::Named("busybox".to_owned()));
        assert_eq!(spec.request.gpu_amount, GpuAmount::Milli(MilliGpu(500)));
        let spec = merged(json!({"num_slots": null})).expect("valid");
        assert_eq!(spec.request.gpu_amount, GpuAmount::Slots(1));
    }

    #[test]
    fn a_new_sweep_takes_the_old_array_away_and_an_array_keeps_the_sweep() {
        let base =
            r#"{"name": "train", "executor_name": "anna", "sweep": ["A=1..9"], "array": "3-8%2"}"#;
        for (overrides, indexes, combinations) in [
            (json!({"sweep": ["A=1..3"]}), "0-2", 3),
            (json!({"array": "4"}), "4", 9),
            (json!({"sweep": ["A=1..3"], "array": "1"}), "1", 3),
        ] {
            let overrides = overrides.as_object().expect("an object");
            let spec = parse(&merge(base, overrides).expect("valid")).expect("valid");
            let array = spec.array.expect("an array");
            assert_eq!(array.indexes.to_string(), indexes);
            assert_eq!(spec.sweep.expect("kept").len(), combinations);
        }
    }

    #[test]
    fn faults_of_overrides_are_told() {
        let rules = |overrides| {
            let faults = merged(overrides).expect_err("invalid");
            faults.iter().map(|f| f.rule).collect::<Vec<_>>()
        };
        assert_eq!(rules(json!({"nmae": "x"})), ["config_unknown_field"]);
        assert_eq!(rules(json!({"name": null})), ["config_required"]);
        assert_eq!(rules(json!({"env": "A"})), ["config_value"]);
        assert_eq!(
            rules(json!({"image": "a", "build_flag": true})),
            ["config_conflict"]
        );
    }
}
