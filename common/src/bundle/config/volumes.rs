//! The field `volumes`: names of folders that the administrator offers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{self, Read, wrong};
use crate::bundle::fault::quote;
use crate::id::VolumeName;

/// The most volumes of one job.
const MOST: usize = 32;

pub(super) fn read(value: &Value) -> Read<BTreeSet<VolumeName>> {
    let Value::Array(items) = value else {
        return shape::mismatch(
            "a list of names of the administrator's volumes, such as [\"imagenet\"]",
            value,
        );
    };
    if items.len() > MOST {
        return wrong(format!("a job can use at most {MOST} volumes"));
    }
    let names = shape::list(value, |item| {
        let text = shape::text(item)?;
        text.parse().or_else(|_| {
            wrong(format!(
                "`{}` is not the name of a volume; `dopq status` shows those that there are",
                quote(text)
            ))
        })
    })?;
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::config::{accept, parse};
    use crate::job::{Artifacts, Outdir};

    #[test]
    fn volumes_are_a_list_of_names() {
        let names = read(&json!(["imagenet", "coco.2017", "imagenet"])).expect("names");
        let names: Vec<_> = names.iter().map(VolumeName::as_str).collect();
        assert_eq!(names, ["coco.2017", "imagenet"]);
        let many: Vec<_> = (0..=MOST).map(|n| format!("v{n}")).collect();
        for bad in [
            json!("imagenet"),
            json!({"/data": {"bind": "/data", "mode": "ro"}}),
            json!(["/data:/data"]),
            json!(["../x"]),
            json!([""]),
            json!([7]),
            json!(many),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shared_outdir_needs_a_workspace_and_is_not_published() {
        let document = |fields: &Value| {
            let mut document =
                json!({"name": "train", "executor_name": "anna", "outdir": "shared"});
            for (name, value) in fields.as_object().expect("an object") {
                document[name] = value.clone();
            }
            parse(&document.to_string())
        };
        for fields in [json!({}), json!({"artifacts": "never"})] {
            let spec = document(&fields).expect("valid");
            assert_eq!(
                (spec.outdir, spec.artifacts),
                (Outdir::Shared, Artifacts::Never)
            );
            let volumes: Vec<_> = spec.request.volumes.iter().collect();
            assert_eq!(volumes, [&VolumeName::workspace()]);
        }
        let faults = document(&json!({"artifacts": "always"})).expect_err("a conflict");
        assert_eq!(faults[0].place, "artifacts");
        let own = document(&json!({"outdir": "own"})).expect("valid");
        assert_eq!(
            (own.outdir, own.artifacts),
            (Outdir::Own, Artifacts::Always)
        );
        assert!(own.request.volumes.is_empty());
        assert!(document(&json!({"outdir": "/data"})).is_err());
    }

    #[test]
    fn nothing_else_is_mounted_where_volumes_are() {
        for path in ["/workspace", "/volumes", "/volumes/imagenet/"] {
            let document = json!({
                "name": "train", "executor_name": "anna", "run_params": {"tmpfs": {(path): ""}}
            });
            let document = document.to_string();
            let faults = accept(&document).expect_err(path);
            assert_eq!(faults[0].message, "DoPQ uses this path");
            assert!(parse(&document).is_ok(), "an accepted one stays valid");
        }
    }

    #[test]
    fn docker_pys_volumes_are_refused_with_the_new_way() {
        for name in ["volumes", "mounts", "volumes_from"] {
            let document = json!({
                "name": "train", "executor_name": "anna", "run_params": {(name): ["/data:/data"]}
            });
            let faults = parse(&document.to_string()).expect_err(name);
            let [fault] = &faults[..] else {
                panic!("{faults:?}");
            };
            assert_eq!(fault.place, format!("run_params.{name}"));
            assert!(fault.message.contains("the field `volumes`"), "{fault:?}");
        }
    }
}
