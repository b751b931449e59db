//! Arrays: one row, an environment, a log and an outcome for each task, and only what failed is run again.

use std::collections::BTreeMap;

use dopq_tests::bundle::Bundle;
use dopq_tests::programs::Standalone;
use serde_json::{Value, json};

/// How many of these jobs ran at the same time, at the most.
fn most_at_once(tasks: &[Value]) -> usize {
    let text = |task: &Value, field: &str| task[field].as_str().unwrap_or_default().to_owned();
    let runs: Vec<_> = tasks
        .iter()
        .map(|task| (text(task, "started_at"), text(task, "finished_at")))
        .collect();
    let at_start_of = |start: &String| {
        let running = runs.iter().filter(|(from, to)| from <= start && start < to);
        running.count()
    };
    let counts = runs.iter().map(|(start, _)| at_start_of(start));
    counts.max().unwrap_or_default()
}

#[test]
fn a_sweep_runs_each_combination_and_a_retry_only_what_failed() {
    let master = Standalone::start(4);
    let cli = master.admin();
    let script = "echo lr=$lr seed=$seed index=$DOPQ_ARRAY_INDEX; sleep 1; test $lr-$seed != 0.1-2";
    let bundle = Bundle::script("admin", "sweeps", script)
        .with("sweep", json!(["lr=0.1,0.01", "seed=1..3"]))
        .with("array", json!("0-5%2"));
    let id = cli.submit(bundle.path());
    let array = cli.finished(id);
    assert_eq!(array["outcome"]["cause"], json!("user_error"), "{array:#}");
    assert_eq!(array["outcome"]["exit_code"], json!(1), "{array:#}");
    let counts = &array["array"];
    assert_eq!(
        (
            &counts["succeeded"],
            &counts["failed"],
            &counts["failed_indexes"]
        ),
        (&json!(5), &json!(1), &json!("1")),
        "{array:#}"
    );

    let rows = cli.json(&["ps", "--all"]);
    let rows: Vec<_> = rows["jobs"].as_array().expect("rows").iter().collect();
    assert_eq!(rows.len(), 1, "one row for the array: {rows:#?}");
    let listed = cli.json(&["ps", "--all", "--array", &id.to_string()]);
    let listed = listed["jobs"].as_array().expect("tasks").clone();
    assert!(most_at_once(&listed) <= 2, "{listed:#?}");
    let causes: BTreeMap<u64, String> = listed
        .iter()
        .map(|task| {
            let cause = task["outcome"]["cause"].as_str().unwrap_or_default();
            (
                task["task"]["index"].as_u64().expect("an index"),
                cause.to_owned(),
            )
        })
        .collect();
    for (index, (lr, seed)) in ["0.1", "0.01"]
        .into_iter()
        .flat_map(|lr| [1, 2, 3].map(|seed| (lr, seed)))
        .enumerate()
    {
        let expected = if index == 1 {
            "user_error"
        } else {
            "succeeded"
        };
        assert_eq!(
            causes.get(&(index as u64)).map(String::as_str),
            Some(expected)
        );
        let log = cli.run(&["logs", &format!("{id}_{index}")]).ok().text();
        let line = format!("lr={lr} seed={seed} index={index}");
        assert!(
            log.lines().any(|found| found == line),
            "{line} is not in {log}"
        );
    }

    let again = cli.json(&["retry", &id.to_string(), "--failed"]);
    let again = again["id"].as_u64().expect("a job id");
    let again = cli.finished(again);
    assert_eq!(again["array"]["indexes"], json!("1"), "{again:#}");
    assert_eq!(again["array"]["failed"], json!(1), "{again:#}");
    assert_eq!(again["array"]["total"], json!(1), "{again:#}");
}
