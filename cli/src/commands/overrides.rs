//! Flags of `dopq submit` that replace fields of the bundle's `container_config.json`.
//!
//! Only the syntax is checked here; the master decides whether a value is allowed.

use clap::Args;
use dopq_common::job::{ENV_NAME_RULE, is_env_name};
use serde_json::{Map, Number, Value};

use crate::client::Client;
use crate::failure::Failure;
use crate::select::one_id;

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Override container_config.json")]
pub(crate) struct Overrides {
    /// The job's name
    #[arg(long)]
    name: Option<String>,
    /// GPUs, or a share of one GPU such as 0.5
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    gpus: Option<Number>,
    /// Memory, such as 20g
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// CPU cores, such as 4 or 0.5
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    cpus: Option<Number>,
    /// Environment variable, such as LR=0.01; can be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Command, split into words like in a shell
    #[arg(long, conflicts_with = "arguments")]
    command: Option<String>,
    /// Stop the job after this time, such as 2h30m
    #[arg(long, value_name = "TIME")]
    time_limit: Option<String>,
    /// Your jobs with a higher number start first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Label that the node must have, such as zone=a; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// How often to retry when your code fails
    #[arg(long, value_name = "NUMBER")]
    retries: Option<u64>,
    /// Start after these jobs: 12,last must succeed, 14:any must end
    #[arg(long, value_name = "JOB,JOB:any", value_delimiter = ',')]
    after: Vec<String>,
    /// Array of tasks by index; %8 runs at most 8 at once
    #[arg(long, value_name = "0-99%8")]
    array: Option<String>,
    /// One task per value, such as lr=0.1,0.01 or seed=1..5; repeated, one per combination
    #[arg(long, value_name = "NAME=VALUES", value_parser = sweep)]
    sweep: Vec<String>,
    /// Cancel the array when more than this many tasks fail
    #[arg(long, value_name = "NUMBER")]
    max_fails: Option<u64>,
    /// Any other field as JSON, such as shm_size='"2g"' or preemptible=true; null removes it
    #[arg(long = "set", value_name = "FIELD=JSON", value_parser = field)]
    fields: Vec<(String, Value)>,
    /// Command as separate words, after --
    #[arg(last = true, value_name = "COMMAND")]
    arguments: Vec<String>,
}

impl Overrides {
    /// Replaces `last` and tasks in `--after` by ids, which are all that a master understands there.
    ///
    /// # Errors
    ///
    /// Those of the master, and of a name that selects no job.
    pub(super) async fn resolve_after(&mut self, client: &Client) -> Result<(), Failure> {
        for after in &mut self.after {
            let (name, kind) = match after.split_once(':') {
                Some((name, kind)) => (name.trim(), format!(":{kind}")),
                None => (after.trim(), String::new()),
            };
            // What else stands there the master refuses, with the place.
            if name.starts_with("last") || name.contains('_') {
                let id = one_id(client, name).await?;
                *after = format!("{id}{kind}");
            }
        }
        Ok(())
    }

    /// The fields that the flags replace. `--set` comes last and so wins over the other flags.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::String);
        set("name", text(&self.name));
        if let Some(gpus) = &self.gpus {
            let name = if gpus
                .as_f64()
                .is_some_and(|number| number < 1.0 && number > 0.0)
            {
                "gpu_share"
            } else {
                "num_gpus"
            };
            set(name, Some(Value::Number(gpus.clone())));
        }
        set("required_memory", text(&self.memory));
        set("cpus", self.cpus.clone().map(Value::Number));
        set("env", object(&self.env));
        set("command", text(&self.command));
        if !self.arguments.is_empty() {
            let words = self.arguments.iter().cloned().map(Value::String).collect();
            set("command", Some(Value::Array(words)));
        }
        set("time_limit", text(&self.time_limit));
        set("priority", self.priority.map(Value::from));
        set("labels", object(&self.label));
        set("retries", self.retries.map(Value::from));
        if !self.after.is_empty() {
            set("after", Some(Value::String(self.after.join(","))));
        }
        set("array", text(&self.array));
        if !self.sweep.is_empty() {
            let axes = self.sweep.iter().cloned().map(Value::String).collect();
            set("sweep", Some(Value::Array(axes)));
        }
        set("max_fails", self.max_fails.map(Value::from));
        for (name, value) in &self.fields {
            set(name, Some(value.clone()));
        }
        fields
    }
}

fn object(pairs: &[(String, String)]) -> Option<Value> {
    let object: Map<String, Value> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    (!object.is_empty()).then_some(Value::Object(object))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    if is_env_name(&name) {
        return Ok((name, value));
    }
    let trimmed = name.trim();
    let meant = if is_env_name(trimmed) {
        format!("; did you mean {trimmed}={}?", value.trim())
    } else {
        String::new()
    };
    Err(format!("{ENV_NAME_RULE}{meant}"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
    }
}

fn sweep(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, values)) if !name.is_empty() && !values.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err("write NAME=VALUES, such as lr=0.1,0.01 or seed=1..5".to_owned()),
    }
}

fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => (name, value),
        Some(_) | None => return Err("write FIELD=JSON, such as shm_size='\"2g\"'".to_owned()),
    };
    match serde_json::from_str(value) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(error) => Err(format!(
            "{value} is not JSON ({error}); quote strings: --set {name}='\"{value}\"'"
        )),
    }
}

fn positive(text: &str) -> Result<Number, String> {
    match serde_json::from_str::<Number>(text) {
        Ok(number) if number.as_f64().is_some_and(|number| number >= 0.0) => Ok(number),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a number >= 0")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        overrides: Overrides,
    }

    fn fields(line: &str) -> Result<Value, String> {
        let words = std::iter::once("submit").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .map(|line| Value::Object(line.overrides.fields()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_fields() {
        let cases = [
            ("", json!({})),
            (
                "--gpus 2 --memory 20g",
                json!({"num_gpus": 2, "required_memory": "20g"}),
            ),
            ("--gpus 0.5", json!({"gpu_share": 0.5})),
            ("--gpus 0", json!({"num_gpus": 0})),
            (
                "--cpus 1.5 --priority -3",
                json!({"cpus": 1.5, "priority": -3}),
            ),
            (
                "-e A=1 --env B=x=y -e A=2",
                json!({"env": {"A": "2", "B": "x=y"}}),
            ),
            (
                "--label team=a --retries 2",
                json!({"labels": {"team": "a"}, "retries": 2}),
            ),
            (
                "--time-limit 2h --name n",
                json!({"time_limit": "2h", "name": "n"}),
            ),
            ("--command a", json!({"command": "a"})),
            (
                "-- python train.py --lr=1",
                json!({"command": ["python", "train.py", "--lr=1"]}),
            ),
            (
                "--set after=[12] --set image=null",
                json!({"after": [12], "image": null}),
            ),
            (
                "--after 12,13:any --after 14",
                json!({"after": "12,13:any,14"}),
            ),
            (
                "--array 0-999%16 --max-fails 0",
                json!({"array": "0-999%16", "max_fails": 0}),
            ),
            (
                "--sweep lr=0.1,0.01 --sweep seed=1..5",
                json!({"sweep": ["lr=0.1,0.01", "seed=1..5"]}),
            ),
            ("--gpus 1 --set num_gpus=3", json!({"num_gpus": 3})),
        ];
        for (line, expected) in cases {
            assert_eq!(fields(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn a_slip_in_a_variable_is_told() {
        assert_eq!(
            variable("LR=a =b"),
            Ok(("LR".to_owned(), "a =b".to_owned()))
        );
        let error = variable("LR =1").unwrap_err();
        assert!(error.contains("did you mean LR=1?"), "{error}");
        for text in ["1A=3", "A B=1", "ü=1", "=1"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hint_on_dependencies_is_accepted() {
        let hint = dopq_common::job::Cause::DependencyFailed.hint();
        let (_, value) = hint.split_once("--after ").expect("an example");
        let value = value
            .split(' ')
            .next()
            .unwrap_or_default()
            .replace("ID", "12");
        let overrides = fields(&format!("--after {value}")).unwrap();
        let base = r#"{"name": "train", "executor_name": "anna"}"#;
        let merged = dopq_common::bundle::config::merge(base, overrides.as_object().unwrap());
        let spec = dopq_common::bundle::config::parse(&merged.unwrap()).unwrap();
        assert_eq!(spec.after[0].kind, dopq_common::job::DependencyKind::Any);
    }

    #[test]
    fn what_has_not_the_shape_is_refused() {
        for line in [
            "--env A",
            "--env =1",
            "--gpus many",
            "--gpus -1",
            "--cpus nan",
            "--set shm_size=2g",
            "--set =1",
            "--sweep seed",
            "--sweep =1",
            "--sweep seed=",
            "--max-fails -1",
            "--command a -- b",
        ] {
            assert!(fields(line).is_err(), "{line}");
        }
        let advice = fields("--set shm_size=2g").unwrap_err();
        assert!(advice.contains("shm_size='\"2g\"'"), "{advice}");
    }
}
