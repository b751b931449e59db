//! `dopq user import`: users from a CSV file with a header, or from the `config.ini` of DoPQ 1.0.
//!
//! The whole file is checked first, against the master's users and groups too. Nothing is done if a line is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum as _};
use dopq_common::api::{Limits, NewRole, NewUser, Role, User};
use dopq_common::id::{GroupName, UserName};
use serde::Serialize;

use super::context::Context;
use super::roles::{RoleWord, word};
use crate::client::Client;
use crate::exit;
use crate::failure::Failure;
use crate::output::{Column, Table};

/// The longest file that is read.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// The columns, of which only the name must be there.
const COLUMNS: [&str; 4] = ["name", "role", "group", "weight"];
/// Where DoPQ 1.0's configuration lists its users.
const EXECUTORS: &str = "valid.executors";

/// Arguments of `dopq user import`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// CSV with the columns name, role, group and weight; or DoPQ 1.0's config.ini
    file: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What a line asks for; what it leaves out stays.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    line: usize,
    name: UserName,
    role: Option<Role>,
    group: Option<GroupName>,
    weight: Option<f64>,
}

/// What is done for a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    line: usize,
    user: String,
    /// `add`, `change` or `keep`.
    action: &'static str,
    /// What changes.
    detail: String,
}

/// Reads, checks, and then does it line by line.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let rows = rows(&read(&arguments.file)?).map_err(|faults| wrong(&arguments.file, &faults))?;
    let client = context.client()?;
    let users = client
        .users()
        .await
        .map_err(Failure::call("list the users"))?;
    let groups = client.groups().await;
    let groups = groups.map_err(Failure::call("list the groups"))?;
    let known: BTreeMap<&str, &User> = users
        .users
        .iter()
        .map(|user| (user.name.as_str(), user))
        .collect();
    let groups: BTreeSet<&str> = groups
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    let faults: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let group = row.group.as_ref()?;
            let is_there = groups.contains(group.as_str());
            (!is_there).then(|| {
                let line = row.line;
                format!(
                    "line {line}: there is no group {group}; create it with: dopq group set {group}"
                )
            })
        })
        .collect();
    if !faults.is_empty() {
        return Err(wrong(&arguments.file, &faults));
    }
    let steps: Vec<Step> = rows
        .iter()
        .map(|row| step(row, known.get(row.name.as_str()).copied()))
        .collect();
    if !arguments.dry_run {
        for row in &rows {
            let now = known.get(row.name.as_str()).copied();
            apply(&client, row, now).await?;
        }
    }
    context.output.show(
        &steps,
        |steps| table(steps),
        |steps| steps.iter().map(|step| step.user.clone()).collect(),
    )?;
    let count = |action: &str| steps.iter().filter(|step| step.action == action).count();
    let (added, changed) = (count("add"), count("change"));
    context.output.note(&if arguments.dry_run {
        format!("nothing was done; {added} would be added and {changed} changed")
    } else {
        format!("{added} added, {changed} changed; give each a token: dopq user token add NAME")
    });
    Ok(exit::DONE)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX_BYTES {
        let place = path.display();
        return Err(Failure::Usage(format!(
            "{place} is larger than {FILE_MAX_BYTES} bytes"
        )));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn wrong(path: &Path, faults: &[String]) -> Failure {
    Failure::Usage(format!(
        "{}: nothing was done\n{}",
        path.display(),
        faults.join("\n")
    ))
}

/// The rows, or every fault.
fn rows(text: &str) -> Result<Vec<Row>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fields = match executors(text) {
        Some(names) => names,
        None => fields(text)?,
    };
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for (line, fields) in fields {
        match row(line, &fields) {
            Ok(row) => match seen.insert(row.name.clone(), line) {
                Some(first) => {
                    faults.push(format!("line {line}: {} is in line {first} too", row.name))
                }
                None => rows.push(row),
            },
            Err(fault) => faults.push(format!("line {line}: {fault}")),
        }
    }
    if rows.is_empty() && faults.is_empty() {
        faults.push("it lists no user".to_owned());
    }
    if faults.is_empty() {
        Ok(rows)
    } else {
        Err(faults)
    }
}

/// A line's fields by column.
type Fields = BTreeMap<&'static str, String>;

/// The users of DoPQ 1.0's configuration, if `text` is one.
fn executors(text: &str) -> Option<Vec<(usize, Fields)>> {
    let mut lines = (1..).zip(text.lines());
    lines.find_map(|(line, text)| {
        let names = text.trim().strip_prefix(EXECUTORS)?.trim_start();
        let names = names.strip_prefix(['=', ':'])?.split(',').map(str::trim);
        let named = names.filter(|name| !name.is_empty());
        let rows = named.map(|name| (line, Fields::from([("name", name.to_owned())])));
        Some(rows.collect())
    })
}

/// The lines below the header, which names the columns. Commas or semicolons separate them.
fn fields(text: &str) -> Result<Vec<(usize, Fields)>, Vec<String>> {
    let mut lines = (1..)
        .zip(text.lines())
        .filter(|(_, text)| !text.trim().is_empty());
    let Some((_, header)) = lines.next() else {
        return Err(vec!["it is empty".to_owned()]);
    };
    let separator = if header.contains(';') { ';' } else { ',' };
    let (mut columns, mut faults) = (Vec::new(), Vec::new());
    for name in split(header, separator) {
        let known = COLUMNS
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known));
        match known {
            Some(known) if columns.contains(&known) => {
                faults.push(format!("line 1: the column {known} is there twice"));
            }
            Some(known) => columns.push(known),
            None => faults.push(format!(
                "line 1: {name:?} is no column; the header names some of {}",
                COLUMNS.join(", ")
            )),
        }
    }
    if !columns.contains(&"name") && faults.is_empty() {
        faults.push("line 1: the header has no column name".to_owned());
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut rows = Vec::new();
    for (line, text) in lines {
        let values = split(text, separator);
        if values.len() > columns.len() {
            faults.push(format!("line {line}: it has more fields than the header"));
            continue;
        }
        let pairs = columns.iter().copied().zip(values);
        rows.push((line, pairs.filter(|(_, value)| !value.is_empty()).collect()));
    }
    if faults.is_empty() {
        Ok(rows)
    } else {
        Err(faults)
    }
}

/// The fields of a line, without quotation marks around them.
fn split(line: &str, separator: char) -> Vec<String> {
    let fields = line.split(separator).map(str::trim);
    let bare = |field: &str| {
        let inner = field.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        inner.unwrap_or(field).trim().to_owned()
    };
    fields.map(bare).collect()
}

fn row(line: usize, fields: &Fields) -> Result<Row, String> {
    let name = fields.get("name").ok_or("it names no user")?;
    let role = fields.get("role").map(|role| {
        let role = RoleWord::from_str(role, true);
        role.map_err(|_| {
            format!(
                "{:?} is no role; roles are user, operator, admin",
                fields["role"]
            )
        })
    });
    let weight = fields.get("weight").map(|weight| match weight.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok(number),
        Ok(_) | Err(_) => Err(format!("{weight:?} is no weight above 0")),
    });
    let group = fields.get("group").map(|group| group.parse::<GroupName>());
    Ok(Row {
        line,
        name: name
            .parse::<UserName>()
            .map_err(|error| error.to_string())?,
        role: role.transpose()?.map(Role::from),
        group: group.transpose().map_err(|error| error.to_string())?,
        weight: weight.transpose()?,
    })
}

/// What the row changes of the user as they are now.
fn step(row: &Row, now: Option<&User>) -> Step {
    let role_now = now.map_or(Role::User, |user| user.role);
    let mut changes = Vec::new();
    if let Some(role) = row.role.filter(|role| *role != role_now) {
        changes.push(format!("role {}", word(role)));
    }
    if let Some(group) = &row.group
        && now.and_then(|user| user.group.as_deref()) != Some(group.as_str())
    {
        changes.push(format!("group {group}"));
    }
    if let Some(weight) = row.weight.filter(|weight| changes_weight(*weight, now)) {
        changes.push(format!("weight {weight}"));
    }
    Step {
        line: row.line,
        user: row.name.to_string(),
        action: match now {
            None => "add",
            Some(_) if changes.is_empty() => "keep",
            Some(_) => "change",
        },
        detail: changes.join(", "),
    }
}

fn changes_weight(weight: f64, now: Option<&User>) -> bool {
    let weight_now = now.map_or(1.0, |user| user.weight);
    (weight - weight_now).abs() > f64::EPSILON
}

async fn apply(client: &Client, row: &Row, now: Option<&User>) -> Result<(), Failure> {
    let (line, name) = (row.line, row.name.as_str());
    let failed = || {
        Failure::call(format!(
            "import line {line}, {name}; the lines before it are done"
        ))
    };
    match (now, row.role) {
        (None, role) => {
            let user = NewUser {
                name: name.to_owned(),
                role: role.unwrap_or_default(),
            };
            client.add_user(&user).await.map_err(failed())?;
        }
        (Some(now), Some(role)) if now.role != role => {
            client
                .set_role(name, &NewRole { role })
                .await
                .map_err(failed())?;
        }
        (Some(_), _) => {}
    }
    let group_now = now.and_then(|user| user.group.as_deref());
    let group = row.group.as_ref().map(GroupName::as_str);
    let group = group.filter(|group| group_now != Some(*group));
    let weight = row.weight.filter(|weight| changes_weight(*weight, now));
    if group.is_none() && weight.is_none() {
        return Ok(());
    }
    let limits = now.map(|user| user.limits.clone()).unwrap_or_default();
    let limits = Limits {
        weight: weight.or(limits.weight),
        group: group.map(|group| Some(group.to_owned())),
        ..limits
    };
    client.set_limits(name, &limits).await.map_err(failed())?;
    Ok(())
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::new(&[
        Column::number("LINE"),
        Column::text("USER").at_least(10),
        Column::new("ACTION"),
        Column::text("CHANGES").at_least(10),
    ]);
    for step in steps {
        table.row([
            step.line.to_string().into(),
            (&step.user).into(),
            step.action.into(),
            (&step.detail).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, role: Role, group: Option<&str>, weight: f64) -> User {
        let mut user: User = serde_json::from_value(serde_json::json!({
            "name": name, "role": "user", "penalty": 0.0, "weight": weight, "queued": 0, "running": 0,
            "finished": 0, "tokens": []
        }))
        .unwrap();
        user.role = role;
        user.group = group.map(str::to_owned);
        user
    }

    #[test]
    fn a_table_is_read_in_any_order_of_columns() {
        let text = "\u{feff}Weight; name ;role\r\n2.5;\"anna\";operator\r\n;bert;\r\n\r\n";
        let rows = rows(text).expect("rows");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].name.as_str(), "anna");
        assert_eq!(
            (rows[0].role, rows[0].weight),
            (Some(Role::Operator), Some(2.5))
        );
        assert_eq!(
            (rows[1].line, rows[1].role, rows[1].weight),
            (3, None, None)
        );
    }

    #[test]
    fn the_configuration_of_dopq_1_lists_users() {
        let text = "[queue]\nmax.history = 500\n[fetcher]\nvalid.executors = reza, anees,ilja,\n";
        let names: Vec<_> = rows(text)
            .expect("rows")
            .into_iter()
            .map(|row| row.name)
            .collect();
        assert_eq!(
            names.iter().map(UserName::as_str).collect::<Vec<_>>(),
            ["reza", "anees", "ilja"]
        );
    }

    #[test]
    fn every_wrong_line_is_told() {
        let text = "name,role,weight,group\nanna,king,1,\nb/t,user,1,\ncarl,user,-1,\ncarl,user,1,a b\n\
                    dora,,,\ndora,,,\n,user,,\neva,,,,x\n";
        let faults = rows(text).expect_err("faults");
        // The fields are counted first.
        assert_eq!(faults, ["line 9: it has more fields than the header"]);
        let faults = rows(&text.replace(",,,,x", "")).expect_err("faults");
        let lines: Vec<_> = faults.iter().filter_map(|fault| fault.get(..6)).collect();
        assert_eq!(
            lines,
            ["line 2", "line 3", "line 4", "line 5", "line 7", "line 8"],
            "{faults:?}"
        );
        for text in [
            "",
            "name,colour\nanna,red\n",
            "role\nuser\n",
            "name\n",
            "name,name\na,b\n",
        ] {
            assert!(rows(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_line_says_what_it_does() {
        let rows =
            rows("name,role,group,weight\nanna,admin,vision,2\nbert,,,\ncarl,user,vision,1\n");
        let rows = rows.expect("rows");
        let anna = user("anna", Role::User, None, 2.0);
        let carl = user("carl", Role::User, Some("vision"), 1.0);
        let told = [
            step(&rows[0], Some(&anna)),
            step(&rows[0], None),
            step(&rows[1], None),
            step(&rows[2], Some(&carl)),
        ];
        let told: Vec<_> = told
            .iter()
            .map(|step| (step.action, step.detail.as_str()))
            .collect();
        let expected = [
            ("change", "role admin, group vision"),
            ("add", "role admin, group vision, weight 2"),
            ("add", ""),
            ("keep", ""),
        ];
        assert_eq!(told, expected);
    }
}
